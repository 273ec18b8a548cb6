"""Draft: a finished tape on its way to a program."""
from libc.stdint cimport int32_t, uint8_t


# An operand of a draft's gate: an input (below `inputs`), a gate (inputs + its number), or the constant ~operand (< 0).
cdef class Draft:
    cdef readonly int32_t inputs
    cdef readonly object constants      # float64
    cdef readonly object opcode         # uint8, one per gate
    cdef readonly object first          # int32, one per gate and one more: where its operands begin
    cdef readonly object operand        # int32
    cdef readonly object origin         # int32: the slot on the tape
    cdef readonly object outputs        # int32: operands
    cdef readonly object guards         # int32: operands, 1.0 or 0.0 when they hold
    cdef readonly object expected       # uint8, one per guard
    cdef readonly object run            # int32: where runs begin, and the end; None: every gate is one
    cdef readonly dict payload          # what regions do, by the number of the gate


cdef class Writer:
    cdef Draft draft
    cdef uint8_t[::1] old_opcode        # of the draft that is written anew
    cdef int32_t[::1] old_first
    cdef int32_t[::1] old_operand
    cdef int32_t[::1] old_origin
    cdef uint8_t[::1] opcode
    cdef int32_t[::1] first
    cdef int32_t[::1] operand
    cdef int32_t[::1] origin
    cdef dict payload
    cdef dict places                    # of constants, by their bits
    cdef list constants
    cdef Py_ssize_t gates
    cdef Py_ssize_t operands
    cdef double[4] recent
    cdef int32_t[4] recent_place
    cdef int turn

    cdef int32_t constant(self, double value) except? 0
    cdef int room(self, Py_ssize_t gates, Py_ssize_t operands) except -1
    cdef int32_t gate(self, int opcode, const int32_t* operand, Py_ssize_t n, int32_t origin) except? -2147483647
    cdef int32_t copy(self, Py_ssize_t i, int32_t[::1] moved) except? -2147483647
    cdef Py_ssize_t renamed(self, Py_ssize_t i, int32_t[::1] moved, int32_t* here) noexcept
    cdef Draft finish(self, int32_t[::1] moved)


cdef Py_ssize_t item_at(double index, Py_ssize_t n) noexcept
cdef double products_of(Py_ssize_t n, const double* x, double* partial) noexcept
cpdef Draft apart(Draft draft, list products=*)
