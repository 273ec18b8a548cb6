"""Trace: a tape that keeps what a circuit needs to know."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t


cdef class Trace(Tape):
    cdef readonly Trace parent      # the trace in which this one is made, whose results may be used
    cdef readonly list codes        # code objects, by their numbers
    cdef dict code_numbers
    cdef PyObject* last_code        # borrowed from codes
    cdef int32_t last_number
    cdef bint last_ours             # whether it is the package's own
    cdef list ours
    cdef public object recording    # who records
    cdef public bint inward         # gates on results of its parents alone are recorded here, too
    cdef readonly list guards       # slots
    cdef readonly list outcomes     # of each of them
    cdef readonly list decided      # of every guard: how many slots there were
    cdef public tuple forced        # how the first guards come out, whatever Python says
    cdef readonly dict regions      # slot -> what a region does
    cdef readonly dict stand_ins    # key of a parent's result -> the input that stands for it: its slot, or a Unit

    cpdef bint note_guard(self, Py_ssize_t slot, bint outcome) except -1


cdef int note_source(PyObject* home) except -1
cdef PyObject* inward_home(PyObject* home) except NULL
cdef PyObject* traced_home(Py_ssize_t n, Link** links) except? NULL
cdef bint is_traced(const Link* link) noexcept
cdef int refuse_to_bake(str what, const Link* link) except -1
cdef str place_of(Trace trace, Py_ssize_t slot)
