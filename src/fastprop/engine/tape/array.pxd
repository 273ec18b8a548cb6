"""Block: the compiled half of an Array; Record: what a tape knows of a gate on blocks."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t


cdef class Block:
    cdef Link link
    cdef object numbers             # read-only
    cdef object slope               # the gradient, read-only; None stands for zeros
    cdef public object name
    cdef object __weakref__

    cdef int hold(self, object numbers) except -1


cdef class Record:
    cdef readonly object gate       # a Row, a Gate, or None: the variable of a transform
    cdef readonly tuple kept        # of a Row, the partials, None for a constant; of a Gate, the operands' values
    cdef readonly tuple operands    # their values
    cdef readonly object value

    cpdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1
    cpdef int push(self, Tape tape, Py_ssize_t slot) except -1
    cdef Py_ssize_t nbytes(self) except -1
    cdef object pulls(self, object along)
    cdef object tangent(self, list tangents)


cdef Link* link_of_any(object handle) noexcept
cdef object add_block(PyObject* home, Record record, tuple handles)
cdef Block new_array(object numbers)
cdef object part_of(Nodes* nodes, int32_t operand, object like)
cdef Py_ssize_t seed(Tape tape, Link* link, object pull) except -1
