"""Unit, and the recording of gates on numbers."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t


cdef class Unit:
    cdef Link link
    cdef PyObject* label            # owned; the name, or NULL
    cdef object __weakref__


cdef extern from "Python.h":
    object owned "(PyObject*)"(PyObject* item)      # hand a new reference over to Cython's keeping


cdef inline Link* link_of(PyObject* unit) noexcept:
    return &(<Unit>unit).link


cdef PyObject* append(
    PyObject* home, int opcode, int32_t first, int32_t second, double p, double q, double value
) except NULL
cdef PyObject* record_one(int opcode, bint strong, PyObject* unit, double partial, double value) except NULL
cdef bint are_single(tuple operands)
cdef Link* captured(PyObject* trace, Link* link) except NULL
cdef object apply_kernel(int opcode, list operands)
cdef Unit pin(PyObject* home, Py_ssize_t slot)
