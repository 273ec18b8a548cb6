"""LaneArrays: the arrays of a map's body, at many lanes of the map."""
from libc.stdint cimport uint8_t


cdef struct LaneArray:
    ArrayRef one                # what it is in lane 0
    Py_ssize_t lane             # from one lane to the next, in bytes; 0: it is the same in all


cdef class LaneArrays:
    cdef readonly Py_ssize_t count
    cdef LaneArray* value
    cdef LaneArray* adjoint
    cdef uint8_t[::1] same      # the same in all lanes
    cdef uint8_t[::1] pooled    # and its adjoint is a sum over the lanes
    cdef uint8_t[::1] own       # of a block, seen by nobody outside of the body
    cdef uint8_t[::1] wanted    # its adjoint is
    cdef uint8_t[::1] inside    # its adjoint is a block's own, of gradients inside
    cdef readonly list shapes   # in a lane
    cdef readonly object flags  # the five above
    cdef bint single
    cdef Py_ssize_t row         # of an array of its own: bytes of a number's lanes
    cdef Memory table
    cdef Memory axes            # shapes, and strides of values and of adjoints
    cdef Memory rows            # of arrays of its own
    cdef Memory pools           # per strand: adjoints that are sums
    cdef Py_ssize_t pool        # bytes of a strand's

    cdef Py_ssize_t* axes_of(self, Py_ssize_t a, int which) noexcept nogil
    cdef Py_ssize_t length(self, Py_ssize_t a) noexcept nogil
    cdef void lay(self, LaneArray* array, Py_ssize_t a, int which, Py_ssize_t size) noexcept nogil
    cdef void refer(self, LaneArray* to, Py_ssize_t a, int which, const ArrayRef* whole, int axis) noexcept nogil
    cdef void enter(self, LaneArray* to, Py_ssize_t a, int which, const LaneArray* outer, int axis) noexcept nogil
    cdef LaneArrays of_a_bench(self, Py_ssize_t width)
    cdef void take(self, LaneArrays given) noexcept nogil
    cdef void open(self, Py_ssize_t begin, bint backward) noexcept nogil
    cdef void forget(self, Py_ssize_t a, Py_ssize_t begin) noexcept nogil
    cdef int make_pools(self, Py_ssize_t strands) except -1
    cdef void use_pool(self, LaneArrays given, Py_ssize_t strand) noexcept nogil
    cdef int empty_pools(self, Py_ssize_t strands, Py_ssize_t a, const ArrayRef* to) except -1
