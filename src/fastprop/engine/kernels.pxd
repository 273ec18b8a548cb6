"""The gates' kernels: each gives a gate's value and its partials, side by side."""

cimport cython
from libc.math cimport fabs

include "made/opcodes.pxi"  # enum Opcode: the gates in the order of the table, then OPCODES


# Every partial is set; only power takes NULL for dy: with a constant exponent no logarithm is wanted.
ctypedef double (*unary)(double x, double* dx) noexcept nogil
ctypedef double (*binary)(double x, double y, double* dx, double* dy) noexcept nogil
ctypedef double (*ternary)(double x, double y, double z, double* dx, double* dy, double* dz) noexcept nogil
ctypedef double (*sequence)(Py_ssize_t n, const double* x, double* dx) noexcept nogil  # dx is not x; dot: n of both

cdef struct Kernel:
    const char* name
    int arity  # 1, 2, 3, or -1: a sequence
    bint strong  # an operand whose partial is exactly 0 was not chosen: no derivative of any order comes through
    unary one
    binary two
    ternary three
    sequence many

cdef const Kernel* kernel(int opcode) noexcept nogil  # NULL if there is no such opcode


cdef inline double weighed(double pull, double partial) noexcept nogil:
    """Return a pull (or a tangent) times a partial: exactly 0 if either is."""
    cdef double product = pull * partial
    if product != product and (pull == 0.0 or partial == 0.0):
        return 0.0
    return product


# The commonest gates, inline for the tape. (A file's directives don't reach those who cimport these; decorators do.)

cdef inline double add_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    dx[0] = 1.0
    dy[0] = 1.0
    return x + y


cdef inline double subtract_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    dx[0] = 1.0
    dy[0] = -1.0
    return x - y


cdef inline double multiply_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    dx[0] = y
    dy[0] = x
    return x * y


@cython.cdivision(True)
cdef inline double divide_twice(double x, double y) noexcept nogil:
    cdef double once = x / y
    if fabs(once) < 1e-280 and fabs(y) < 1.0:  # rounded as a subnormal, and its error would grow: in units of 2**-200
        return ((x * 1.6069380442589903e60) / y) / y * 6.223015277861142e-61
    return once / y


@cython.cdivision(True)
cdef inline double divide_gate(double x, double y, double* dx, double* dy) noexcept nogil:
    cdef double value = x / y
    if y == 0.0 and value != value:
        dx[0] = value  # 0 / 0 lies outside of the domain
    else:
        dx[0] = 1.0 / y
    dy[0] = -divide_twice(x, y)
    return value


cdef inline double negative_gate(double x, double* dx) noexcept nogil:
    dx[0] = -1.0
    return -x
