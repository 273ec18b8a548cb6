"""LanesRun: a program at many points."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t

from fastprop.engine.executor.instructions cimport Coming, Executor, Space, Stream
from fastprop.engine.program cimport Program, Wiring


cdef struct Column:         # a number per lane, in a caller's array; NULL: not wanted
    char* data
    Py_ssize_t stride       # in bytes
    double constant         # of a pull, where data is NULL
    bint add                # of a gradient: to what is there


cdef class Bench:
    cdef Memory memory
    cdef Space space
    cdef Memory addresses       # of rows of the caller's arrays, in the order in which they are needed
    cdef Py_ssize_t reads       # so many of them are inputs
    cdef Py_ssize_t streams
    cdef Py_ssize_t near        # so many inputs of the next block are fetched while this one goes backward
    cdef Py_ssize_t at_once     # bytes to ask for at every chance forward
    cdef Py_ssize_t at_once_back
    cdef Coming soon            # of this block
    cdef Coming next            # inputs of the next one
    cdef Stream ahead
    cdef Stream back
    cdef list regions           # one use of each
    cdef Memory pointers
    cdef PyObject** region      # the same, for loops without the GIL
    cdef LaneArrays arrays      # or None


cdef class LaneRegion:
    cdef Wiring wiring
    cdef int32_t[::1] made      # the arrays on whose adjoints a gradient inside leaves what it has pulled

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil
    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil
    cdef void forget_made(self, LaneArrays arrays, Py_ssize_t begin) noexcept nogil


cdef class CalledInLanes(LaneRegion):
    cdef list columns(self, LanesRun run, Bench bench, Py_ssize_t count)
    cdef int call(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1
    cdef int call_back(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1


@cython.final
cdef class LanesRun:
    cdef readonly Program program
    cdef readonly bint single
    cdef readonly Py_ssize_t lanes
    cdef readonly Py_ssize_t width
    cdef readonly Py_ssize_t strands
    cdef readonly Py_ssize_t diverged   # the first lane of which a guard came out otherwise, or -1
    cdef readonly Py_ssize_t broken     # that guard
    cdef Py_ssize_t size
    cdef list inputs_kept               # arrays that are kept alive
    cdef Memory table                   # of columns
    cdef Column* input
    cdef Column* gradient
    cdef Column* value
    cdef Column* pull
    cdef Memory numbers                 # constants, then uniform inputs
    cdef int32_t[:, ::1] starts         # of matrices: inputs, the first and the last one
    cdef Memory pointers
    cdef char** start                   # where they lie, if that is not among the numbers
    cdef char** put                     # where their gradients are put, if that is not among the sums
    cdef int32_t[::1] entire            # how many inputs before one have a gradient that can be put there
    cdef Py_ssize_t puts                # so many gradients are
    cdef int32_t[::1] singles           # how many inputs before one are read by themselves
    cdef Memory sums                    # per strand: partial sums of each summed input, and of each summed output
    cdef const int64_t* lane            # which lanes; NULL: all
    cdef int32_t* stray                 # lane -> the guard that came out otherwise; NULL: then nothing is run on
    cdef bint narrows                   # blocks are only as wide as they need to be
    cdef list benches
    cdef uint8_t[::1] uniform
    cdef uint8_t[::1] wanted
    cdef uint8_t[::1] once              # input: whether one pull is its whole gradient
    cdef bint sums_values
    cdef Py_ssize_t values_summed       # so many outputs have partial sums
    cdef int32_t[::1] value_row         # output -> its row of these, or -1: an outer product is summed up
    cdef int32_t[::1] in_rows           # the outputs that have one
    cdef bint knows_sums                # outputs were summed up before, at the same inputs
    cdef Memory outer_pulls             # on sums of outer products, by the output; or None
    cdef Py_ssize_t lead                # lanes of a short first block, which lets the others begin on a cache line
    cdef Py_ssize_t summed_inputs
    cdef int32_t[::1] summed            # the inputs that have partial sums
    cdef int32_t[::1] sum_row           # input -> its row of these, or -1
    cdef int32_t[::1] varying           # the inputs that are no numbers
    cdef const Executor* executor
    cdef bint stopped
    cdef LanesRun within                # the run of which this is a step, or None
    cdef Py_ssize_t step                # and which one, of a map; -1: of a scan
    cdef LanesRun outermost             # the run of which all of these are a part, or None
    cdef LaneArrays arrays              # that the regions read and make, or None
    cdef Py_ssize_t next_strand

    cdef int take_lanes(self, Py_ssize_t lanes, const int64_t* lane) except -1
    cdef int follow(self, LanesRun other) except -1
    cdef int take_strands(self, Py_ssize_t strands) except -1
    cdef int run_list(
        self, Bench bench, Py_ssize_t strand, const int64_t* lane, Py_ssize_t lanes, bint backward
    ) except -1 nogil
    cdef void widen(self, Py_ssize_t strand) noexcept nogil
    cdef void aim_sums(self, Bench bench, Py_ssize_t strand) noexcept nogil
    cdef int join(self, LanesRun outer) except -1
    cdef bint is_stopped(self) noexcept nogil
    cdef void aim(self, Column* column, char* data, Py_ssize_t stride, bint add) noexcept nogil
    cdef void set_number(self, Py_ssize_t slot, double value) noexcept nogil
    cdef int point(self, Column* column, array, bint writing) except -1
    cdef Py_ssize_t sums_per_strand(self) noexcept nogil
    cdef Py_ssize_t sum_bytes(self) noexcept nogil
    cdef char* partial_sums(self, Py_ssize_t strand, Py_ssize_t row) noexcept nogil
    cdef Py_ssize_t sums_nbytes(self) noexcept nogil
    cdef double sum_of(self, Py_ssize_t row) noexcept nogil
    cdef double* matrix_sums(self, Py_ssize_t strand) noexcept nogil
    cdef Bench new_bench(self)
    cdef Py_ssize_t fetch(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef int fetch_repeated(self, Bench bench) noexcept nogil
    cdef void gather(self, char* row, const Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef void repeat_last(self, char* row, Py_ssize_t count) noexcept nogil
    cdef void scatter(self, const char* row, Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef void seed(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef void deliver(self, Bench bench, Py_ssize_t begin, Py_ssize_t count, bint before) noexcept nogil
    cdef void aim_outputs(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef bint is_whole(self, const Column* column, Py_ssize_t count) noexcept nogil
    cdef void put_outputs(self, Bench bench, Py_ssize_t strand, Py_ssize_t begin, Py_ssize_t count) noexcept nogil
    cdef Py_ssize_t begin_of(self, Py_ssize_t block) noexcept nogil
    cdef int block(
        self, Bench bench, Py_ssize_t strand, Py_ssize_t begin, Py_ssize_t end, bint backward
    ) except -1 nogil
    cdef Py_ssize_t sweep(
        self, Bench bench, bint forward, Py_ssize_t at, Py_ssize_t end, Py_ssize_t begin, Py_ssize_t count,
        bint inside=*
    ) except -1 nogil
    cdef double number(self, const char* at) noexcept nogil
    cdef bint is_aligned(self, const char* at) noexcept nogil
    cdef bint is_input(self, Py_ssize_t slot) noexcept nogil
    cdef bint is_number(self, Py_ssize_t slot) noexcept nogil
    cdef bint is_sum(self, Py_ssize_t slot) noexcept nogil
    cdef int strand(self, Bench bench, Py_ssize_t strand, bint backward, bint main) except -1 nogil
    cdef int prepare(self) except -1
