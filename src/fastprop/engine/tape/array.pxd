"""Block: the compiled half of an Array; Record: what a tape knows of a gate on blocks."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport Executor


cdef class Block:
    cdef Link link
    cdef object numbers             # a plain array, read-only
    cdef object slope               # the gradient, likewise; None stands for zeros
    cdef public object name
    cdef object __weakref__

    cdef int hold(self, object numbers) except -1


cdef class Record:
    cdef object gate                # a Row, a Gate, or None: the variable of a transform
    cdef tuple operands             # their values
    cdef object value

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1
    cdef int push(self, Tape tape, Py_ssize_t slot) except -1
    cdef Py_ssize_t nbytes(self) except -1


cdef void use_loops(const Executor* executor) noexcept
cdef Link* link_of_any(object handle) noexcept
cdef object add_block(PyObject* home, Record record, tuple handles)
cdef object add_record(PyObject* home, Record record, Py_ssize_t n, Link** links)
cdef Block new_array(object numbers)
cdef object part_of(Nodes* nodes, int32_t operand, object like)
cdef Py_ssize_t seed(Tape tape, Link* link, object pull) except -1
