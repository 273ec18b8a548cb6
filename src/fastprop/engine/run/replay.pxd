"""PointRun: a program at one point."""
cimport cython
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport Executor, Space, Stream
from fastprop.engine.program cimport Program, Wiring


cdef class Memory:
    cdef void* raw
    cdef char* start            # on a cache line
    cdef readonly Py_ssize_t nbytes


ctypedef const int32_t* (*stepping)(const Stream*, const Space*, const int32_t*) noexcept nogil


cdef class PointRegion:
    cdef Wiring wiring

    cdef int forward(self, PointRun run) except -1
    cdef int backward(self, PointRun run) except -1


cdef class CalledAtPoint(PointRegion):
    cdef object numbers(self, PointRun run)


@cython.final
cdef class PointRun:
    cdef readonly Program program
    cdef readonly bint single
    cdef Memory memory
    cdef Stream ahead
    cdef Stream back
    cdef Space space
    cdef const Executor* executor
    cdef stepping run
    cdef bint busy
    cdef Py_ssize_t size        # of a number, in bytes
    cdef readonly Py_ssize_t tail   # the first slot behind the program's, for what is read out between sweeps
    cdef readonly Arrays arrays
    cdef list regions           # one use of each

    cdef double get(self, Py_ssize_t slot) noexcept
    cdef void put(self, Py_ssize_t slot, double value) noexcept
    cdef bint is_short(self) noexcept
    cdef int sweep(self, bint forward, Py_ssize_t begin) except -1
    cdef Py_ssize_t broken_guard(self) noexcept
    cdef int pull(self, const double* pulls) except -1
