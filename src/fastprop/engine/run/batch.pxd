"""Batch: a program at many lanes, and before it what is the same in all of them."""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t


@cython.final
cdef class Batch:
    cdef readonly LanesRun run
    cdef readonly PointRun before       # or None
    cdef readonly bint gradient
    cdef bint sums_are_whole            # all gradients that are wanted are those of matrices
    cdef Py_ssize_t inputs              # of the draft, of which the program's are the first
    cdef Py_ssize_t gates
    cdef uint8_t[::1] uniform
    cdef uint8_t[::1] wanted
    cdef Memory pulls                   # on what was computed before
    cdef int32_t[::1] taken             # the inputs from which it is computed
    cdef int32_t[::1] taken_below       # how many of these lie before an input

    cdef int put(self, Py_ssize_t i, double value) except -1
    cdef bint takes_before(self, Py_ssize_t i, Py_ssize_t count) noexcept
    cdef int put_before(self, Py_ssize_t i, const char* at, Py_ssize_t count) noexcept
    cdef int open(self) except -1
    cdef int sweep(self) except -1
    cdef double value_sum(self, Py_ssize_t k) noexcept
    cdef int gradient_sums(self, double* sums) except -1
