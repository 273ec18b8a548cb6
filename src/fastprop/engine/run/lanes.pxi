"""LanesRun: a program at many points at once, block after block of lanes, on as many threads as are wanted.

Lanes are cut into blocks of the program's fixed width, the last one filled up, and blocks into strands: a strand's sums
are added up in order, then the strands', so that the same bits come out whatever the number of threads.
"""
import numpy as np

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from fastprop.engine.executor.instructions cimport PRODUCT, Executor, Space, Stream
from fastprop.engine.program cimport Program, Wiring, executor, is_gradient, sweeping

cdef extern from *:
    """
    #include <executor/lists.h>
    #include <executor/rows.h>

    static Py_ssize_t following(Py_ssize_t *number) { return __atomic_fetch_add(number, 1, __ATOMIC_RELAXED); }
    """
    bint lies_well(const void* data, Py_ssize_t size) noexcept nogil
    void gather_list(char* row, const char* data, const int64_t* lane, Py_ssize_t n, int single) noexcept nogil
    void scatter_list(
        char* data, const char* row, const int64_t* lane, Py_ssize_t n, int add, int single
    ) noexcept nogil
    bint all_are(const char* row, Py_ssize_t n, int truth, int single) noexcept nogil
    Py_ssize_t following(Py_ssize_t* number) noexcept nogil
    enum:
        SUM_BYTES
        SINGLE_SUM_BYTES
    void fill_row(void* row, Py_ssize_t n, double number, int single) noexcept nogil
    void add_row(void* row, Py_ssize_t n, const void* other, int single) noexcept nogil
    void add_number(void* to, const void* more, int single) noexcept nogil
    void add_up_row(char* sums, Py_ssize_t n, const void* row, int single) noexcept nogil
    void widen_sums(char* sums) noexcept nogil
    double total_of(const char* sums, int single) noexcept nogil
    double total_of_strands(const char* sums, Py_ssize_t strands, Py_ssize_t apart, int single) noexcept nogil
    void publish() noexcept nogil
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t i) noexcept

cdef enum:
    STRANDS = 32            # at most, of sums; as many as FINER if all their sums take no more than STRAND_BYTES
    FINER = 64
    STRAND_BYTES = 1 << 20
    FINEST = 256            # strands at most where nothing is summed up: the finer, the less threads wait at the end
    PATIENCE = 1 << 20      # lanes times instructions between two looks for Ctrl-C
    FORESEEN = 1 << 16      # bytes of the next block's inputs that are fetched into the cache beforehand
    PAST_CACHE = 1 << 25    # bytes of gradients from which on no cache keeps them
    NARROWEST = 16          # lanes of a block, which is a multiple of so many
    SCRATCH_ROW = 128       # bytes of a row of the scratch, at least: there are pointers in it, too


cdef class Bench:
    """The workspace of one thread."""


@cython.final
cdef class LanesRun:
    """A program, the arrays that it reads and writes, and how many lanes there are."""

    def __init__(self, Program program, bint single, Py_ssize_t lanes, bint sums_values=False, index=None):
        cdef Py_ssize_t i, outputs = len(program.outputs)
        cdef const int64_t[::1] view
        self.program, self.single = program, single
        self.size = 4 if single else 8
        self.sums_values = sums_values
        self.executor = executor()
        self.once = np.zeros(program.inputs + 1, np.uint8)
        for i in range(program.back.length):
            if program.back.instruction[i].saved == 0 and program.back.instruction[i].opcode == PRODUCT:
                self.once[program.operand[program.back.instruction[i].operand].start - program.adjoints] = 1
        self.table = Memory((2 * program.inputs + 2 * outputs + 1) * <Py_ssize_t>sizeof(Column))
        self.input = <Column*>self.table.start
        self.gradient = self.input + program.inputs
        self.value = self.gradient + program.inputs
        self.pull = self.value + outputs
        self.numbers = Memory((program.inputs + len(program.constants) + 1) * self.size)
        for i, value in enumerate(program.constants.tolist()):
            self.set_number(program.inputs + i, value)
        self.uniform, self.wanted = program.uniform, program.wanted
        self.sum_row = np.full(program.inputs + 1, -1, np.int32)
        self.summed = places_where(program.summed != 0) if program.gradient else np.zeros(0, np.int32)
        self.summed_inputs = self.summed.shape[0]
        for i in range(self.summed_inputs):
            self.sum_row[self.summed[i]] = <int32_t>i
        self.value_row = np.where(program.outputs >= 0, np.cumsum(program.outputs >= 0) - 1, -1).astype(np.int32)
        self.in_rows = places_where(program.outputs >= 0)
        self.values_summed = self.in_rows.shape[0] if sums_values else 0
        self.starts = program.starts
        self.pointers = Memory(2 * self.starts.shape[0] * <Py_ssize_t>sizeof(char*))
        self.start = <char**>self.pointers.start
        self.put = self.start + self.starts.shape[0]
        memset(self.start, 0, <size_t>self.pointers.nbytes)
        self.entire, self.singles = counts_before(program.entire), counts_before(program.single)
        self.varying = places_where(program.uniform == 0)
        self.inputs_kept, self.benches, self.sums = [], [], Memory(0)
        self.lanes = self.diverged = self.step = -1
        if index is None:
            self.take_lanes(lanes, NULL)
        else:
            view = index
            self.take_lanes(lanes, &view[0] if view.shape[0] else NULL)
            self.inputs_kept.append(index)

    cdef int take_lanes(self, Py_ssize_t lanes, const int64_t* lane) except -1:
        """Say how many lanes there are, and which if not all."""
        cdef Py_ssize_t blocks, width
        self.lane = lane
        if lanes == self.lanes:
            return 0
        width = best_width(self, lanes)
        if width != self.width:
            self.benches.clear()
        blocks = (lanes + width - 1) // width
        self.lanes, self.width = lanes, width
        if self.sums_nbytes():
            fine = self.sums_nbytes() * FINER <= STRAND_BYTES
            return self.take_strands(min(blocks, FINER if fine and not self.program.active_arrays else STRANDS))
        return self.take_strands(min(blocks, FINEST))

    cdef int take_strands(self, Py_ssize_t strands) except -1:
        """Say how many strands there are, whose sums are 0."""
        cdef Py_ssize_t nbytes = strands * self.sums_nbytes()
        self.strands = strands
        if nbytes != self.sums.nbytes:
            self.sums = Memory(nbytes)
        memset(self.sums.start, 0, <size_t>self.sums.nbytes)
        return 0

    cdef int follow(self, LanesRun other) except -1:
        """Read, write and add up what another run of the same program does."""
        self.sums, self.strands = other.sums, other.strands
        memcpy(self.table.start, other.table.start, <size_t>self.table.nbytes)
        memcpy(self.numbers.start, other.numbers.start, <size_t>self.numbers.nbytes)
        memcpy(self.start, other.start, <size_t>self.pointers.nbytes)
        return 0

    cdef int join(self, LanesRun outer) except -1:
        """Run the same lanes as another run, block by block as it does."""
        self.within, self.outermost = outer, outer if outer.outermost is None else outer.outermost
        if self.width != outer.width:
            self.benches.clear()
        self.lanes, self.width, self.lane = outer.lanes, outer.width, NULL
        return 0

    cdef inline bint is_stopped(self) noexcept nogil:
        return self.stopped if self.outermost is None else self.outermost.stopped

    cdef inline void aim(self, Column* column, char* data, Py_ssize_t stride, bint add) noexcept nogil:
        """Let a column be numbers in memory that somebody else keeps."""
        column.data, column.stride, column.add = data, stride, add

    cdef void set_number(self, Py_ssize_t slot, double value) noexcept nogil:
        if self.single:
            (<float*>self.numbers.start)[slot] = <float>value
        else:
            (<double*>self.numbers.start)[slot] = value

    cdef int point(self, Column* column, array, bint writing) except -1:
        """Let a column be a one-dimensional array, which is kept alive."""
        if array.dtype != (np.float32 if self.single else np.float64) or array.ndim != 1:
            raise ValueError(f"a column is {array.dtype}{list(array.shape)}; expected one axis of the circuit's dtype")
        if writing and not array.flags.writeable:
            raise ValueError("an output array is read-only")
        column.data = <char*><size_t>array.ctypes.data
        column.stride = array.strides[0] if array.shape[0] > 1 else self.size
        self.inputs_kept.append(array)
        return 0

    def set_input(self, Py_ssize_t i, array):
        """Read an input from an array of one number per lane (in all, not only of the lanes that are run)."""
        self.point(&self.input[i], array, False)

    def set_uniform(self, Py_ssize_t i, double value):
        """Give the value of a uniform input."""
        self.set_number(i, value)

    def set_gradient(self, Py_ssize_t i, array):
        """Write the gradient of a varying input to an array."""
        self.point(&self.gradient[i], array, True)

    def set_value(self, Py_ssize_t k, array):
        """Write an output to an array."""
        self.point(&self.value[k], array, True)

    def set_pull(self, Py_ssize_t k, pull):
        """Give the pull on an output: one number for all lanes, or an array."""
        if isinstance(pull, float):
            self.pull[k].data = NULL
            self.pull[k].constant = pull
        else:
            self.point(&self.pull[k], pull, False)

    # sums, per strand

    cdef inline Py_ssize_t sums_per_strand(self) noexcept nogil:
        cdef Py_ssize_t gradients = self.summed_inputs if self.program.gradient else 0
        return gradients + self.values_summed

    cdef inline Py_ssize_t sum_bytes(self) noexcept nogil:
        return SINGLE_SUM_BYTES if self.single else SUM_BYTES

    cdef Py_ssize_t sums_nbytes(self) noexcept nogil:
        """Bytes of a strand's sums: those in parts, then those of products' numbers."""
        return (
            self.sums_per_strand() * self.sum_bytes()
            + (self.program.sums_end - self.program.sums_begin) * <Py_ssize_t>sizeof(double)
            + (self.program.outputs_count if self.program.outers_count else 0) * <Py_ssize_t>sizeof(double)
        )

    cdef char* partial_sums(self, Py_ssize_t strand, Py_ssize_t row) noexcept nogil:
        return self.sums.start + strand * self.sums_nbytes() + row * self.sum_bytes()

    cdef double* matrix_sums(self, Py_ssize_t strand) noexcept nogil:
        """A strand's sums of products' numbers, by the input."""
        return <double*>self.partial_sums(strand, self.sums_per_strand()) - self.program.sums_begin

    cdef double sum_of(self, Py_ssize_t row) noexcept nogil:
        return total_of_strands(self.partial_sums(0, row), self.strands, self.sums_nbytes(), self.single)

    def total(self, Py_ssize_t i):
        """Return the gradient of a uniform input, summed over all lanes."""
        return gradient_sum(self, i)

    # one thread's work

    cdef Bench new_bench(self):
        """A workspace: rows, and where each of them is."""
        cdef Bench bench = Bench.__new__(Bench)
        cdef Program program = self.program
        cdef Py_ssize_t row = self.width * self.size, i
        cdef Py_ssize_t pointers = (program.slots * <Py_ssize_t>sizeof(void*) + 63) // 64 * 64
        bench.memory = Memory(pointers + (program.slots + 2) * row + program.scratch * max(row, SCRATCH_ROW))
        bench.space.row = <void**>bench.memory.start
        bench.space.base = bench.memory.start + pointers
        bench.space.width = self.width
        bench.space.scratch = <char*>bench.space.base + (program.slots + 1) * row
        for i in range(program.slots):
            bench.space.row[i] = <char*>bench.space.base + i * row
        for i in range(program.inputs):
            if self.uniform[i]:
                bench.space.row[i] = self.numbers.start + i * self.size
        for i in range(program.inputs, program.inputs + <Py_ssize_t>len(program.constants)):
            bench.space.row[i] = self.numbers.start + i * self.size
        program.stream(&bench.ahead, True)
        program.stream(&bench.back, False)
        bench.arrays = None if self.arrays is None else self.arrays.of_a_bench(self.width)
        bench.regions = []
        bench.pointers = Memory(len(program.regions) * <Py_ssize_t>sizeof(PyObject*))
        bench.region = <PyObject**>bench.pointers.start
        for i, wiring in enumerate(program.regions):
            bench.regions.append(wiring.region.in_lanes(wiring, self, bench))
            bench.region[i] = PyList_GET_ITEM(bench.regions, i)
        bench.addresses = Memory((2 * program.inputs + len(program.outputs)) * <Py_ssize_t>sizeof(void*))
        return bench

    cdef Py_ssize_t fetch(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Point the rows of varying inputs to the caller's arrays, or copy and fill up."""
        cdef Py_ssize_t i, k, row = self.width * self.size, last = -1
        cdef char* own
        for i in self.varying:
            if i <= last or self.input[i].data == NULL or self.input[i].stride == 0:
                continue
            if self.lane == NULL and self.input[i].stride == self.size and count == self.width:
                bench.space.row[i] = self.input[i].data + begin * self.size
                continue
            own = <char*>bench.space.base + i * row
            last = last_beside(self, i)
            if last > i:
                self.executor.turn_columns(
                    own, self.width, self.input[i].data + begin * self.input[i].stride, self.input[i].stride, count,
                    last - i + 1, self.single
                )
            else:
                self.gather(own, &self.input[i], begin, count)
            for k in range(i, last + 1):
                bench.space.row[k] = <char*>bench.space.base + k * row
                self.repeat_last(<char*>bench.space.row[k], count)
        return 0

    cdef int fetch_repeated(self, Bench bench) noexcept nogil:
        """Fill the rows of varying inputs that are one number all the same, and aim matrices: once for many blocks."""
        cdef Py_ssize_t i
        for i in range(self.starts.shape[0]):
            bench.space.row[self.starts[i, 0]] = (
                self.numbers.start + self.starts[i, 0] * self.size if self.start[i] == NULL else self.start[i]
            )
        if self.lanes == 0:     # an array of no lanes holds not even that one
            return 0
        for i in self.varying:
            if self.input[i].data != NULL and self.input[i].stride == 0:
                bench.space.row[i] = <char*>bench.space.base + i * self.width * self.size
                fill_row(bench.space.row[i], self.width, self.number(self.input[i].data), self.single)
        return 0

    cdef void gather(self, char* row, const Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
        if self.lane == NULL and column.stride == self.size:
            memcpy(row, column.data + begin * self.size, <size_t>(count * self.size))
            return
        if self.lane != NULL and column.stride == self.size and lies_well(column.data, self.size):
            gather_list(row, column.data, self.lane + begin, count, self.single)
            return
        for k in range(count):
            at = column.data + (self.lane[begin + k] if self.lane != NULL else begin + k) * column.stride
            move(row + k * self.size, at, self.single)

    cdef void repeat_last(self, char* row, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t width = self.width
        if self.narrows:
            width = min(width, (count + NARROWEST - 1) // NARROWEST * NARROWEST)
        fill_row(row + count * self.size, width - count, self.number(row + (count - 1) * self.size), self.single)

    cdef void scatter(self, const char* row, Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
        if self.lane != NULL and column.stride == self.size and lies_well(column.data, self.size):
            scatter_list(column.data, row, self.lane + begin, count, column.add, self.single)
            return
        if column.add and self.lane == NULL and column.stride == self.size and self.is_aligned(column.data):
            add_row(column.data + begin * self.size, count, row, self.single)
            return
        if column.add:
            for k in range(count):
                at = column.data + (self.lane[begin + k] if self.lane != NULL else begin + k) * column.stride
                add_number(at, row + k * self.size, self.single)
            return
        if self.lane == NULL and column.stride == self.size:
            memcpy(column.data + begin * self.size, row, <size_t>(count * self.size))
            return
        for k in range(count):
            at = column.data + (self.lane[begin + k] if self.lane != NULL else begin + k) * column.stride
            move(at, row + k * self.size, self.single)

    cdef void seed(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Put the pulls on the outputs; on the lanes that only fill up, 0."""
        cdef Py_ssize_t k, slot
        cdef Column* pull
        cdef char* row
        cdef char* pulls
        for k in self.in_rows:
            slot = self.program.seed[k]
            if slot < 0:
                continue
            pull, row = &self.pull[k], <char*>bench.space.row[slot]
            pulls = row if self.program.seed_assigned[k] else <char*>bench.space.scratch
            if pull.data == NULL:
                fill_row(pulls, count, pull.constant, self.single)
            else:
                self.gather(pulls, pull, begin, count)
            if self.diverged >= 0:
                silence(self, pulls, begin, count)
            if self.program.seed_assigned[k]:
                memset(row + count * self.size, 0, <size_t>((self.width - count) * self.size))
            elif self.is_sum(slot):
                add_up_row(row, count, pulls, self.single)
            else:
                add_row(row, count, pulls, self.single)

    cdef void deliver(self, Bench bench, Py_ssize_t begin, Py_ssize_t count, bint before) noexcept nogil:
        """Before the sweep backward, let gradients be written in place where they can; after it, copy the others."""
        cdef Py_ssize_t i, slot
        cdef bint direct
        for i in self.varying:
            if not self.wanted[i]:
                continue
            slot = self.program.adjoints + i
            direct = self.is_whole(&self.gradient[i], count)
            if before:
                bench.space.row[slot] = (
                    self.gradient[i].data + begin * self.size if direct
                    else <char*>bench.space.base + slot * self.width * self.size
                )
            elif not direct and self.gradient[i].data != NULL:
                self.scatter(<char*>bench.space.row[slot], &self.gradient[i], begin, count)

    cdef void aim_outputs(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Let outputs be written in place where they can."""
        cdef Py_ssize_t j, k, slot
        for j in range(self.in_rows.shape[0] - 1, -1, -1):      # of two in one slot, the first is written
            k = self.in_rows[j]
            slot = self.program.output[k]
            if not self.is_input(slot):
                bench.space.row[slot] = (
                    self.value[k].data + begin * self.size if self.is_whole(&self.value[k], count)
                    else <char*>bench.space.base + slot * self.width * self.size
                )

    cdef inline bint is_whole(self, const Column* column, Py_ssize_t count) noexcept nogil:
        """Whether a block can be written straight to a column."""
        return (
            self.lane == NULL and column.data != NULL and column.stride == self.size and count == self.width
            and not column.add
        )

    cdef void put_outputs(self, Bench bench, Py_ssize_t strand, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Add up the outputs, and write those that aren't in place yet."""
        cdef Py_ssize_t k, slot, row = self.summed_inputs if self.program.gradient else 0
        cdef const char* out
        for k in self.in_rows:
            slot = self.program.output[k]
            out = <const char*>bench.space.row[slot]
            if self.is_number(slot):
                fill_row(bench.space.scratch, count, self.number(out), self.single)
                out = <const char*>bench.space.scratch
            if self.diverged >= 0:
                memcpy(bench.space.scratch, out, <size_t>(count * self.size))
                silence(self, <char*>bench.space.scratch, begin, count)
                out = <const char*>bench.space.scratch
            if self.sums_values and not self.knows_sums:
                add_up_row(self.partial_sums(strand, row + self.value_row[k]), count, out, self.single)
            if self.value[k].data != NULL and out != self.value[k].data + begin * self.size:
                self.scatter(out, &self.value[k], begin, count)
        if not self.knows_sums:
            add_outers(self, bench, strand)

    cdef inline Py_ssize_t begin_of(self, Py_ssize_t block) noexcept nogil:
        if self.lead > 0:
            block -= 1
        return max(<Py_ssize_t>0, min(self.lanes, self.lead + block * self.width))

    cdef int block(
        self, Bench bench, Py_ssize_t strand, Py_ssize_t begin, Py_ssize_t end, bint backward
    ) except -1 nogil:
        """Run a block of lanes; 0 if a guard came out otherwise."""
        cdef Py_ssize_t count = end - begin
        if bench.arrays is not None:
            bench.arrays.open(begin, backward)
        foresee(self, bench, begin, end)
        bench.space.coming = &bench.soon
        self.fetch(bench, begin, count)
        self.aim_outputs(bench, begin, count)
        self.sweep(bench, True, 0, bench.ahead.length, begin, count)
        if self.program.guards_count and not guards_hold(self, bench, begin, count):
            return 0
        self.put_outputs(bench, strand, begin, count)
        if not backward:
            return 1
        bench.space.coming = &bench.next
        self.deliver(bench, begin, count, True)
        if self.program.prologue:
            self.sweep(bench, False, 0, self.program.prologue, begin, count)
        self.seed(bench, begin, count)
        pull_outers(self, bench)
        self.sweep(bench, False, self.program.prologue, bench.back.length, begin, count)
        self.deliver(bench, begin, count, False)
        return 1

    # regions

    cdef Py_ssize_t sweep(
        self, Bench bench, bint forward, Py_ssize_t at, Py_ssize_t end, Py_ssize_t begin, Py_ssize_t count,
        bint inside=False
    ) except -1 nogil:
        """Run instructions of a block, and regions; returns `end`. With `inside`, backward, of a gradient inside."""
        cdef const Stream* stream = &bench.ahead if forward or inside else &bench.back
        cdef sweeping run = self.executor.forward if forward else self.executor.backward
        cdef PyObject* region
        bench.space.count = count
        while True:
            at = run(stream, &bench.space, at, end, self.single)
            if at >= end:
                return end
            if forward and is_gradient(stream.instruction[at]):
                at = self.sweep(bench, False, at + 1, stream.instruction[at].count, begin, count, True)
                continue
            region = bench.region[stream.instruction[at].count]
            if forward:
                (<LaneRegion>region).forward(self, bench, begin, count)
            else:
                (<LaneRegion>region).backward(self, bench, begin, count)
                (<LaneRegion>region).forget_made(bench.arrays, begin)
            at += 1

    cdef inline double number(self, const char* at) noexcept nogil:
        cdef double number = 0.0
        cdef float narrow = 0.0
        if not self.single:
            memcpy(&number, at, sizeof(double))
            return number
        memcpy(&narrow, at, sizeof(float))
        return narrow

    cdef inline bint is_aligned(self, const char* at) noexcept nogil:
        return (<size_t>at) % <size_t>self.size == 0

    cdef inline bint is_input(self, Py_ssize_t slot) noexcept nogil:
        """Whether a slot is an input or a constant."""
        return slot < self.program.inputs + self.program.constants_count

    cdef inline bint is_number(self, Py_ssize_t slot) noexcept nogil:
        """Whether a slot is one number for all lanes."""
        return self.uniform[slot] != 0 if slot < self.program.inputs else self.is_input(slot)

    cdef inline bint is_sum(self, Py_ssize_t slot) noexcept nogil:
        """Whether a slot holds the partial sums of a uniform input's gradient."""
        cdef Py_ssize_t i = slot - self.program.adjoints
        return self.program.gradient and 0 <= i < self.program.inputs and self.uniform[i] != 0

    cdef int strand(self, Bench bench, Py_ssize_t strand, bint backward, bint main) except -1 nogil:
        """Run the blocks of a strand in order."""
        cdef Py_ssize_t blocks = (self.lanes - self.lead + self.width - 1) // self.width + (self.lead > 0)
        cdef Py_ssize_t at = strand * blocks // self.strands
        cdef Py_ssize_t end = (strand + 1) * blocks // self.strands
        cdef Py_ssize_t patience = max(
            PATIENCE // (self.width * (bench.ahead.length + bench.back.length + 1)), <Py_ssize_t>1
        )
        cdef Py_ssize_t stop
        clear_sums(self, strand)
        self.aim_sums(bench, strand)
        bench.space.put = self.put if self.puts else NULL
        if bench.arrays is not None:
            bench.arrays.use_pool(self.arrays, strand)
        while at < end and not self.stopped:
            stop = min(end, at + patience)
            while at < stop:
                if not self.block(bench, strand, self.begin_of(at), self.begin_of(at + 1), backward):
                    self.stopped = True
                    break
                self.widen(strand)
                at += 1
            publish()
            if main:
                with gil:
                    look_for_signals()
        return 0

    cdef void widen(self, Py_ssize_t strand) noexcept nogil:
        """Add what a block's float32 sums are to a strand's, which are float64."""
        cdef Py_ssize_t k
        for k in range(self.sums_per_strand() if self.single else 0):
            widen_sums(self.partial_sums(strand, k))

    cdef void aim_sums(self, Bench bench, Py_ssize_t strand) noexcept nogil:
        """Let the gradients of uniform inputs be added up in a strand's sums."""
        cdef Py_ssize_t i
        for i in self.summed:
            bench.space.row[self.program.adjoints + i] = self.partial_sums(strand, self.sum_row[i])
        bench.space.sums = self.matrix_sums(strand)

    cdef int run_list(
        self, Bench bench, Py_ssize_t strand, const int64_t* lane, Py_ssize_t lanes, bint backward
    ) except -1 nogil:
        """Run some lanes, as a part of a strand; `diverged` is one that left its way, or -1."""
        cdef Py_ssize_t begin = 0, end = lanes
        cdef int64_t strayed = -1
        self.lane, self.lanes = lane, lanes
        if follow_each_other(lane, lanes):
            self.lane, begin, end = NULL, lane[0], lane[0] + lanes
        self.aim_sums(bench, strand)
        bench.space.put = NULL
        while begin < end:
            self.diverged = -1
            bench.space.width = min(self.width, (end - begin + NARROWEST - 1) // NARROWEST * NARROWEST)
            self.block(bench, strand, begin, min(begin + self.width, end), backward)
            self.widen(strand)
            if self.diverged >= 0:
                strayed = self.diverged
            begin += self.width
        self.diverged = strayed
        return 0

    def work(self, bint backward, bint main=True):
        """Run strands until none is left; several threads may do so at once."""
        cdef Bench bench
        cdef Py_ssize_t mine
        bench = self.benches.pop() if self.benches else self.new_bench()
        try:
            if bench.arrays is not None:
                bench.arrays.take(self.arrays)
            self.fetch_repeated(bench)
            list_streams(self, bench)
            with nogil:     # also between strands: threads that wait for each other there lose a tenth
                mine = following(&self.next_strand)
                while mine < self.strands and not self.stopped:
                    self.strand(bench, mine, backward, main)
                    mine = following(&self.next_strand)
        except BaseException:
            self.stopped = True
            raise
        finally:
            self.benches.append(bench)

    def stop(self):
        """Make all threads end soon."""
        self.stopped = True

    def begin(self):
        """Make ready for another run."""
        self.prepare()

    cdef int prepare(self) except -1:
        self.stopped = False
        self.diverged = -1
        self.next_strand = 0
        self.lead = best_lead(self)
        if self.arrays is not None:
            self.arrays.make_pools(self.strands)
        return 0
