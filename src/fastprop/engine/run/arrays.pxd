"""Arrays: where the arrays of one use of a program are, and their adjoints."""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy


cdef struct ArrayRef:
    char* data                  # NULL: there is none
    int ndim
    const Py_ssize_t* shape
    const Py_ssize_t* stride    # in bytes


cdef class Arrays:
    cdef readonly Py_ssize_t count
    cdef ArrayRef* value
    cdef ArrayRef* adjoint
    cdef uint8_t* arrived       # whether the adjoint holds what has been pulled so far; else its numbers mean nothing
    cdef uint8_t* kept          # whether results are written to the array that is there
    cdef readonly list values   # the arrays themselves, which are kept alive
    cdef readonly list adjoints
    cdef list spare_values      # what was made before, to be written again once nobody has it
    cdef list spare_adjoints

    cdef int put(self, Py_ssize_t a, array) except -1
    cdef int put_adjoint(self, Py_ssize_t a, array) except -1
    cdef int clear_adjoint(self, Py_ssize_t a) except -1
    cdef int begin(self) except -1
    cdef int make(self, Py_ssize_t a, tuple shape, bint single) except -1
    cdef int renew_adjoint(self, Py_ssize_t a) except -1
    cdef object reused(self, list held, list spare, Py_ssize_t a)
    cdef int check(self, Py_ssize_t a) except -1


cdef enum:
    UNEVEN = 1              # as numbers never are, or else are taken one by one

cdef Py_ssize_t offset_of(const ArrayRef* array, int axis, Py_ssize_t element) noexcept nogil
cdef Py_ssize_t spacing_of(const ArrayRef* array, int axis) noexcept nogil
cdef Py_ssize_t evenly_from(
    const ArrayRef* array, int axis, Py_ssize_t element, char** at, Py_ssize_t* step
) noexcept nogil
cdef void add_numbers(
    const ArrayRef* array, Py_ssize_t element, const double* more, Py_ssize_t n, bint single, bint adds
) noexcept nogil


cdef inline void move(char* to, const char* at, bint single) noexcept nogil:
    """Copy a number, at any alignment."""
    if single:
        memcpy(to, at, sizeof(float))
    else:
        memcpy(to, at, sizeof(double))


cdef inline double number_at(const char* at, bint single) noexcept nogil:
    cdef double wide = 0.0
    cdef float narrow = 0.0
    if single:
        memcpy(&narrow, at, sizeof(float))
        return narrow
    memcpy(&wide, at, sizeof(double))
    return wide


cdef inline void put_number_at(char* at, double number, bint single) noexcept nogil:
    cdef float narrow = <float>number
    if single:
        memcpy(at, &narrow, sizeof(float))
    else:
        memcpy(at, &number, sizeof(double))


cdef inline void add_number_at(char* at, double more, bint single) noexcept nogil:
    put_number_at(at, number_at(at, single) + more, single)
