"""Once: a draft at one point, gate by gate, for what is not worth a program."""
from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.trace cimport Draft


cdef class Once:
    cdef Draft draft
    cdef Memory memory
    cdef double* value          # of inputs, then gates; constants before them, at their (negative) operands
    cdef double* adjoint        # of inputs, then gates
    cdef double* partial        # per operand
    cdef double* here
    cdef uint8_t[::1] opcode
    cdef int32_t[::1] first
    cdef int32_t[::1] operand
    cdef Py_ssize_t gates
    cdef Py_ssize_t inputs
    cdef Py_ssize_t constants
    cdef bint single

    cdef double rounded(self, double x) noexcept nogil
    cdef Py_ssize_t forward(self) except -2
    cdef double one(self, int opcode, Py_ssize_t n, double* partial) except? -1
    cdef int region(self, Py_ssize_t i) except -1
    cdef int backward(self) except -1
    cdef int pull_down(self, Py_ssize_t end, int32_t low) except -1
