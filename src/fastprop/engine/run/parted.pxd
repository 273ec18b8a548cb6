"""Parted: a tree of programs at many lanes."""
from libc.stdint cimport int32_t, int64_t, uint8_t


cdef struct Part:               # one program
    int32_t[2] child            # the part that follows if its guard is false, and if it is true; -1: none is known
    int32_t column              # the first of the columns that it hands down
    int32_t exports             # how many
    int32_t imports             # how many columns of those above it reads: its inputs from `inputs` on
    int32_t inputs
    int32_t checked             # guards beside the one that decides
    const int32_t* source       # the columns that it reads
    bint leaf


cdef struct Stray:              # a lane that left the tree
    int64_t lane
    int32_t part
    int32_t guard               # of the part's


cdef class Worker:
    cdef list runs              # of each part: forward, and forward and backward
    cdef list benches
    cdef void** run             # the same, borrowed
    cdef void** bench
    cdef Memory table
    cdef Memory memory
    cdef int64_t* index         # lanes of the chunk, part by part
    cdef int64_t* aside
    cdef int64_t* begin         # of each part's lanes in `index`
    cdef int64_t* end
    cdef int32_t* stray         # lane of the chunk -> the guard at which it left, or -1
    cdef char* columns
    cdef char* pulls
    cdef char* decision
    cdef Stray* found
    cdef Py_ssize_t count
    cdef Py_ssize_t room

    cdef int note(self, int64_t lane, Py_ssize_t part, Py_ssize_t guard) except -1 nogil


cdef class Parted:
    cdef list batches           # of each part: forward (or None), and forward and backward (or None)
    cdef Memory table
    cdef Part* part
    cdef Py_ssize_t parts
    cdef Py_ssize_t lanes
    cdef Py_ssize_t chunk
    cdef Py_ssize_t columns
    cdef Py_ssize_t size
    cdef Py_ssize_t chunks
    cdef Py_ssize_t strands
    cdef Py_ssize_t next_strand
    cdef Py_ssize_t gates
    cdef bint single
    cdef bint backward
    cdef bint stopped
    cdef bint ordered
    cdef bint summed
    cdef object sources
    cdef list workers
    cdef const uint8_t[::1] waiting
    cdef bint all_wait

    cdef Worker new_worker(self)
    cdef int ready(self, Worker worker) except -1
    cdef int run_chunk(self, Worker worker, Py_ssize_t strand, Py_ssize_t chunk) except -1 nogil
    cdef int aim(self, Worker worker, Py_ssize_t first) except -1 nogil
    cdef void aim_part(
        self, Worker worker, const Part* part, int which, void* at, char* values, char* pulls, char* decision,
        int32_t* stray, Py_ssize_t row
    ) noexcept nogil
    cdef strays(self)
    cdef int descend(self, Worker worker, Py_ssize_t strand, Py_ssize_t first) except -1 nogil
    cdef int ascend(self, Worker worker, Py_ssize_t strand) except -1 nogil
    cdef int set_aside(self, Worker worker, Py_ssize_t k, Py_ssize_t first) except -1 nogil
    cdef int divide(self, Worker worker, Py_ssize_t k, Py_ssize_t first) except -1 nogil
