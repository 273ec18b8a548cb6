"""The gates' kernels, and what Python needs of them: values and partials of arrays, and of one point.

Each kernel is one function: a gate's value and its partials, side by side. Its forms are the most accurate ones that we
know: partials to 4 units in the last place over the whole domain, values as near as the C library's. The rows of
gates/ hold for derivatives of any order, these for the first alone (as gates, ``exp(-abs(x))`` forms would give wrong
third derivatives at 0). The tests hold the two together, and both to mpmath.
"""

from libc.math cimport (
    INFINITY, NAN, acos, acosh, asin, asinh, atan, atan2, atanh, cbrt, ceil, copysign, cos, cosh, erf, erfc, exp, exp2,
    expm1, fabs, floor, fma, fmax, fmod, hypot, isfinite, isinf, log, log10, log1p, log2, pow, rint, signbit, sin, sinh,
    sqrt, tan, tanh, tgamma, trunc
)
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

cdef extern from "<math.h>" nogil:
    double lgamma_r(double x, int* sign)  # lgamma writes its sign to a global, which threads share


cdef extern from * nogil:
    """
    static const double LN2 = 0.6931471805599453, LN10 = 2.302585092994046, PI = 3.141592653589793;
    static const double TWO_200 = 0x1p200, TWO_MINUS_200 = 0x1p-200;
    static const double TWO_600 = 0x1p600, TWO_MINUS_600 = 0x1p-600, TWO_53 = 0x1p53;
    static const uint64_t GOLDEN = 0x9E3779B97F4A7C15; /* 2**64 divided by the golden ratio */
    """
    const uint64_t GOLDEN
    const double LN2, LN10, PI, TWO_200, TWO_MINUS_200, TWO_600, TWO_MINUS_600, TWO_53

include "kernels/arithmetic.pxi"
include "kernels/elementary.pxi"
include "kernels/special.pxi"
include "kernels/activation.pxi"


# The table of kernels, filled at import -------------------------------------------------------------------------------

cdef Kernel[OPCODES] TABLE


cdef const Kernel* kernel(int opcode) noexcept nogil:
    return &TABLE[opcode] if 0 <= opcode < OPCODES else NULL


cdef void one(int opcode, const char* name, unary function, bint strong) noexcept:
    TABLE[opcode] = Kernel(name, 1, strong, function, NULL, NULL, NULL)


cdef void two(int opcode, const char* name, binary function, bint strong) noexcept:
    TABLE[opcode] = Kernel(name, 2, strong, NULL, function, NULL, NULL)


cdef void three(int opcode, const char* name, ternary function, bint strong) noexcept:
    TABLE[opcode] = Kernel(name, 3, strong, NULL, NULL, function, NULL)


cdef void many(int opcode, const char* name, sequence function, bint strong) noexcept:
    TABLE[opcode] = Kernel(name, -1, strong, NULL, NULL, NULL, function)


include "made/kernels.pxi"

opcode_of = {TABLE[index].name.decode(): index for index in range(OPCODES)}
arity_of = {TABLE[index].name.decode(): TABLE[index].arity for index in range(OPCODES)}
strong_names = frozenset([TABLE[index].name.decode() for index in range(OPCODES) if TABLE[index].strong])


# Arrays and single points, for Python ---------------------------------------------------------------------------------

cdef inline double load(const char* block, Py_ssize_t i, bint single) noexcept nogil:
    return (<const float*> block)[i] if single else (<const double*> block)[i]


cdef inline void store(char* block, Py_ssize_t i, double x, bint single) noexcept nogil:
    if single:
        (<float*> block)[i] = <float> x
    else:
        (<double*> block)[i] = x


cdef void run(const Kernel* gate, Py_ssize_t n, char** x, char* value, char** dx, bint single) noexcept nogil:
    """Apply an elementwise kernel to n points; value or dx may be NULL: not wanted."""
    cdef double[3] partial
    cdef double y
    cdef Py_ssize_t i
    cdef int k
    for i in range(n):
        if gate.arity == 1:
            y = gate.one(load(x[0], i, single), &partial[0])
        elif gate.arity == 2:
            y = gate.two(load(x[0], i, single), load(x[1], i, single), &partial[0], &partial[1])
        else:
            y = gate.three(load(x[0], i, single), load(x[1], i, single), load(x[2], i, single),
                           &partial[0], &partial[1], &partial[2])
        if value != NULL:
            store(value, i, y, single)
        if dx != NULL:
            for k in range(gate.arity):
                store(dx[k], i, partial[k], single)


cdef const Kernel* checked(int opcode, tuple operands, bint elementwise) except NULL:
    """Return the opcode's kernel, if it takes these operands."""
    cdef const Kernel* gate = kernel(opcode)
    if gate == NULL:
        raise ValueError(f"there is no opcode {opcode}; they go from 0 to {OPCODES - 1}")
    name = gate.name.decode()
    if elementwise and gate.arity < 0:
        raise ValueError(f"{name} takes a sequence; only elementwise gates are applied to arrays point by point")
    if gate.arity >= 0 and len(operands) != gate.arity:
        raise ValueError(f"{name} takes {gate.arity} operand(s), got {len(operands)}")
    if gate.many is dot_gate and len(operands) % 2:
        raise ValueError(f"dot takes two halves of one length, got {len(operands)} operands in all")
    return gate


cdef bint check_arrays(const Kernel* gate, tuple operands) except -1:
    """Return whether the operands are float32, not float64; raise if they are neither, or differ, or have gaps."""
    first = operands[0]
    for position, operand in enumerate(operands):
        if not isinstance(operand, np.ndarray) or operand.dtype not in (np.float64, np.float32):
            kind = operand.dtype if isinstance(operand, np.ndarray) else type(operand).__name__
            raise TypeError(f"{gate.name.decode()}: operand {position} is {kind}, expected a float64 or float32 array")
        if operand.dtype != first.dtype or operand.shape != first.shape:
            raise ValueError(f"{gate.name.decode()}: operand {position} is {operand.dtype}{list(operand.shape)}, "
                             f"operand 0 is {first.dtype}{list(first.shape)}; bring them to one shape and dtype first")
        if not operand.flags.c_contiguous or not operand.flags.aligned or not operand.dtype.isnative:
            raise ValueError(f"{gate.name.decode()}: operand {position} is not C-contiguous, aligned and of native "
                             "byte order; np.ascontiguousarray makes it so")
    return first.dtype == np.float32


cdef char* address(array) except NULL:
    return <char*> <size_t> array.ctypes.data


def evaluate(int opcode, tuple operands):
    """Return an elementwise gate's value at every point of equally shaped arrays; float32 is computed in float64."""
    cdef const Kernel* gate = checked(opcode, operands, True)
    cdef bint single = check_arrays(gate, operands)
    cdef char* x[3]
    for k, operand in enumerate(operands):
        x[<int> k] = address(operand)
    result = np.empty_like(operands[0], subok=False)
    cdef char* value = address(result)
    cdef Py_ssize_t n = result.size
    with nogil:
        run(gate, n, x, value, NULL, single)
    return result


def partials(int opcode, tuple operands):
    """Return an elementwise gate's partials at every point of equally shaped arrays, one array per operand."""
    cdef const Kernel* gate = checked(opcode, operands, True)
    cdef bint single = check_arrays(gate, operands)
    cdef char* x[3]
    cdef char* dx[3]
    results = []  # no list comprehensions: Cython 3.3's free an item twice when memory runs out
    for k, operand in enumerate(operands):
        results.append(np.empty_like(operand, subok=False))
        x[<int> k] = address(operand)
        dx[<int> k] = address(results[k])
    cdef Py_ssize_t n = operands[0].size
    with nogil:
        run(gate, n, x, NULL, dx, single)
    return tuple(results)


def scalar(int opcode, tuple operands):
    """Return a gate's value at one point and the tuple of its partials there (dot: both halves in one tuple)."""
    cdef const Kernel* gate = checked(opcode, operands, False)
    cdef Py_ssize_t n = len(operands), i
    cdef double value
    cdef list partials = []
    cdef double* x = <double*> malloc((2 * n + 1) * sizeof(double))
    cdef double* dx = x + n
    if x == NULL:
        raise MemoryError(f"no memory for {n} operands")
    try:
        for i in range(n):
            x[i] = operands[i]
        if gate.arity == 1:
            value = gate.one(x[0], dx)
        elif gate.arity == 2:
            value = gate.two(x[0], x[1], dx, dx + 1)
        elif gate.arity == 3:
            value = gate.three(x[0], x[1], x[2], dx, dx + 1, dx + 2)
        else:
            value = gate.many(n, x, dx)
        for i in range(n):
            partials.append(dx[i])
        return value, tuple(partials)
    finally:
        free(x)
