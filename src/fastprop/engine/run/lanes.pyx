"""LanesRun: a program at many points at once, block after block of lanes, on as many threads as are wanted.

Lanes are cut into blocks of the program's fixed width, the last one filled up, and blocks into strands: a strand's sums
are added up in order, then the strands', so that the same bits come out whatever the number of threads.
"""
import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from fastprop.engine.program.instructions cimport PRODUCT, Coming, Executor, Instruction, Space, Stream
from fastprop.engine.kernels.kernels cimport EXP
from fastprop.engine.program.program cimport Program, Wiring, executor, sweeping
from fastprop.engine.run.replay cimport Memory

cdef extern from *:
    """
    static Py_ssize_t following(Py_ssize_t *number) { return __atomic_fetch_add(number, 1, __ATOMIC_RELAXED); }
    """
    Py_ssize_t following(Py_ssize_t* number) noexcept nogil
    void publish() noexcept nogil
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t i) noexcept

cdef enum:
    STRANDS = 32            # at most, of sums
    FINEST = 256            # strands at most where nothing is summed up: the finer, the less threads wait at the end
    CACHE = 2500000         # bytes that the rows of a block may take; half of them, at most, are at work together
    FORESEEN = 1 << 16      # bytes of the next block's inputs that are fetched into the cache beforehand
    PAST_CACHE = 1 << 25    # bytes of gradients from which on no cache keeps them
    WIDEST = 512
    WIDEST_STREAMED = 256   # where gradients go past the cache: their rows and the foreseen inputs want the nearest one
    NARROWEST = 64


cdef inline void move(char* to, const char* at, bint single) noexcept nogil:
    """Copy a number, at any alignment."""
    if single:
        memcpy(to, at, sizeof(float))
    else:
        memcpy(to, at, sizeof(double))


cdef class Bench:
    """The workspace of one thread."""


cdef class LaneRegion:
    """One use of a region by a Bench: it reads and writes rows of a block of lanes."""

    def __init__(self, Wiring wiring):
        self.wiring = wiring

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            raise NotImplementedError(f"{type(self).__name__} can't be run in lanes")

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            raise NotImplementedError(f"{type(self).__name__} can't be run backward in lanes")


cdef class CalledInLanes(LaneRegion):
    """A region that is Python's: its `forward_lanes` and `backward_lanes` take and give columns, one number per lane."""

    cdef list columns(self, LanesRun run, Bench bench, Py_ssize_t count):
        cdef int32_t slot
        found = []
        for slot in self.wiring.operand:
            found.append(run.read(bench, slot, count))
        return found

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            return self.call(run, bench, count)

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            return self.call_back(run, bench, count)

    cdef int call(self, LanesRun run, Bench bench, Py_ssize_t count) except -1:
        cdef Py_ssize_t k = self.wiring.result
        for column in self.wiring.region.forward_lanes(self.columns(run, bench, count), count):
            run.write(bench, k, column)
            k += 1
        return 0

    cdef int call_back(self, LanesRun run, Bench bench, Py_ssize_t count) except -1:
        cdef Py_ssize_t k
        pulls = []
        for k in range(self.wiring.pull, self.wiring.pull + self.wiring.results):
            pulls.append(run.read(bench, k, count))
        columns = self.columns(run, bench, count)
        for k, column in enumerate(self.wiring.region.backward_lanes(pulls, columns, count)):
            if self.wiring.target[k] >= 0:
                run.add(bench, self.wiring.target[k], column)
        return 0


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
        self.summed_inputs = 0
        for i in range(program.inputs):
            self.summed_inputs += self.uniform[i] and self.wanted[i]
        self.inputs_kept = []
        self.benches = []
        self.sums = Memory(0)
        self.lanes = -1
        self.diverged = -1
        if index is None:
            self.take_lanes(lanes, NULL)
        else:
            view = index
            self.take_lanes(lanes, &view[0] if view.shape[0] else NULL)
            self.inputs_kept.append(index)

    cdef int take_lanes(self, Py_ssize_t lanes, const int64_t* lane) except -1:
        """Say how many lanes there are, and which if not all."""
        cdef Py_ssize_t rows, blocks, width = WIDEST_STREAMED if np.any(self.once) else WIDEST
        self.lane = lane
        if lanes == self.lanes:
            return 0
        while width > NARROWEST and (self.program.slots * width * self.size > CACHE or width >= 2 * lanes):
            width //= 2
        if width != self.width:
            self.benches.clear()
        rows = (self.summed_inputs if self.program.gradient else 0)
        rows += self.program.outputs_count if self.sums_values else 0
        blocks = (lanes + width - 1) // width
        self.lanes, self.width = lanes, width
        self.strands = min(blocks, <Py_ssize_t>(STRANDS if rows else FINEST))
        if self.strands * rows * <Py_ssize_t>SUM_BYTES != self.sums.nbytes:
            self.sums = Memory(self.strands * rows * <Py_ssize_t>SUM_BYTES)
        return 0

    cdef int follow(self, LanesRun outer) except -1:
        """Run the same lanes as another run, block by block as it does."""
        self.outermost = outer if outer.outermost is None else outer.outermost
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

    cdef char* partial_sums(self, Py_ssize_t strand, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t rows = (self.summed_inputs if self.program.gradient else 0)
        if self.sums_values:
            rows += self.program.outputs_count
        return self.sums.start + (strand * rows + row) * SUM_BYTES

    cdef double sum_of(self, Py_ssize_t row) noexcept nogil:
        cdef Py_ssize_t strand
        cdef double all_strands = 0.0
        for strand in range(self.strands):
            all_strands += total_of(self.partial_sums(strand, row), self.single)
        return all_strands

    def total(self, Py_ssize_t row):
        """Return a sum over all lanes: of the gradients of the uniform inputs that are wanted, then of the outputs."""
        return self.sum_of(row)

    # one thread's work

    cdef Bench new_bench(self):
        """A workspace: rows, and where each of them is."""
        cdef Bench bench = Bench.__new__(Bench)
        cdef Program program = self.program
        cdef Py_ssize_t row = self.width * self.size, i
        cdef Py_ssize_t pointers = (program.slots * <Py_ssize_t>sizeof(void*) + 63) // 64 * 64
        bench.memory = Memory(pointers + (program.slots + program.scratch + 2) * row)
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
        cdef Py_ssize_t i, row = self.width * self.size
        cdef char* own
        for i in range(self.program.inputs):
            if self.uniform[i] or self.input[i].data == NULL or self.input[i].stride == 0:
                continue
            if self.lane == NULL and self.input[i].stride == self.size and count == self.width:
                bench.space.row[i] = self.input[i].data + begin * self.size
                continue
            own = <char*>bench.space.base + i * row
            bench.space.row[i] = own
            self.gather(own, &self.input[i], begin, count)
            self.repeat_last(own, count)
        return 0

    cdef int fetch_repeated(self, Bench bench) noexcept nogil:
        """Fill the rows of varying inputs that are one number all the same: once for many blocks."""
        cdef Py_ssize_t i
        for i in range(self.program.inputs):
            if not self.uniform[i] and self.input[i].data != NULL and self.input[i].stride == 0:
                bench.space.row[i] = <char*>bench.space.base + i * self.width * self.size
                fill_row(bench.space.row[i], self.width, self.number(self.input[i].data), self.single)
        return 0

    cdef void gather(self, char* row, const Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
        if self.lane == NULL and column.stride == self.size:
            memcpy(row, column.data + begin * self.size, <size_t>(count * self.size))
            return
        for k in range(count):
            at = column.data + (self.lane[begin + k] if self.lane != NULL else begin + k) * column.stride
            move(row + k * self.size, at, self.single)

    cdef void repeat_last(self, char* row, Py_ssize_t count) noexcept nogil:
        fill_row(row + count * self.size, self.width - count, self.number(row + (count - 1) * self.size), self.single)

    cdef void scatter(self, const char* row, Column* column, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t k
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

    cdef bint guards_hold(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Look for lanes that would have gone another way."""
        cdef Py_ssize_t g, k, at
        cdef double truth
        for g in range(self.program.guards_count):
            row = <char*>bench.space.row[self.program.guard[g]]
            for k in range(count):
                at = 0 if self.is_number(self.program.guard[g]) else k
                truth = self.number(row + at * self.size)
                if (truth != 0.0) != self.program.guard_expected[g]:
                    if self.diverged < 0:
                        self.diverged = self.lane[begin + k] if self.lane != NULL else begin + k
                        self.broken = g
                    return False
        return True

    cdef void seed(self, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Put the pulls on the outputs; on the lanes that only fill up, 0."""
        cdef Py_ssize_t k, slot
        cdef Column* pull
        cdef char* row
        cdef char* pulls
        for k in range(self.program.outputs_count):
            slot = self.program.seed[k]
            if slot < 0:
                continue
            pull, row = &self.pull[k], <char*>bench.space.row[slot]
            pulls = row if self.program.seed_assigned[k] else <char*>bench.space.scratch
            if pull.data == NULL:
                fill_row(pulls, count, pull.constant, self.single)
            else:
                self.gather(pulls, pull, begin, count)
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
        for i in range(self.program.inputs):
            if self.uniform[i] or not self.wanted[i]:
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
        cdef Py_ssize_t k, slot
        for k in range(self.program.outputs_count - 1, -1, -1):     # of two in one slot, the first is written
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
        for k in range(self.program.outputs_count):
            slot = self.program.output[k]
            out = <const char*>bench.space.row[slot]
            if self.is_number(slot):
                fill_row(bench.space.scratch, count, self.number(out), self.single)
                out = <const char*>bench.space.scratch
            if self.sums_values:
                add_up_row(self.partial_sums(strand, row + k), count, out, self.single)
            if self.value[k].data != NULL and out != self.value[k].data + begin * self.size:
                self.scatter(out, &self.value[k], begin, count)

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
        self.foresee(bench, begin, end)
        bench.space.coming = &bench.soon
        self.fetch(bench, begin, count)
        self.aim_outputs(bench, begin, count)
        self.sweep(bench, True, 0, bench.ahead.length, begin, count)
        if self.program.guards_count and not self.guards_hold(bench, begin, count):
            return 0
        self.put_outputs(bench, strand, begin, count)
        if not backward:
            return 1
        bench.space.coming = &bench.next
        self.deliver(bench, begin, count, True)
        if self.program.prologue:
            self.sweep(bench, False, 0, self.program.prologue, begin, count)
        self.seed(bench, begin, count)
        self.sweep(bench, False, self.program.prologue, bench.back.length, begin, count)
        self.deliver(bench, begin, count, False)
        return 1

    # regions

    cdef int sweep(
        self, Bench bench, bint forward, Py_ssize_t at, Py_ssize_t end, Py_ssize_t begin, Py_ssize_t count
    ) except -1 nogil:
        """Run instructions of a block, and the regions between them."""
        cdef const Stream* stream = &bench.ahead if forward else &bench.back
        cdef sweeping run = self.executor.forward if forward else self.executor.backward
        cdef PyObject* region
        while True:
            at = run(stream, &bench.space, at, end, self.single)
            if at >= end:
                return 0
            region = bench.region[stream.instruction[at].count]
            if forward:
                (<LaneRegion>region).forward(self, bench, begin, count)
            else:
                (<LaneRegion>region).backward(self, bench, begin, count)
            at += 1

    def read(self, Bench bench, Py_ssize_t slot, Py_ssize_t count):
        """Return a copy of the numbers at a slot: one per lane, or one for all."""
        cdef char* row = <char*>bench.space.row[slot]
        if slot < self.program.adjoints and self.is_number(slot):
            return self.number(row)
        found = np.empty(count, np.float32 if self.single else np.float64)
        memcpy(<void*><size_t>found.ctypes.data, row, <size_t>(count * self.size))
        return found

    def write(self, Bench bench, Py_ssize_t slot, column):
        """Put one number per lane at a slot."""
        numbers = np.ascontiguousarray(column, np.float32 if self.single else np.float64)
        memcpy(bench.space.row[slot], <void*><size_t>numbers.ctypes.data, <size_t>numbers.nbytes)
        self.repeat_last(<char*>bench.space.row[slot], len(numbers))

    def add(self, Bench bench, Py_ssize_t slot, column):
        """Add a pull of one number per lane to what has arrived at a slot."""
        numbers = np.ascontiguousarray(column, np.float32 if self.single else np.float64)
        cdef void* row = bench.space.row[slot]
        if self.is_sum(slot):
            add_up_row(row, len(numbers), <void*><size_t>numbers.ctypes.data, self.single)
        else:
            add_row(row, len(numbers), <void*><size_t>numbers.ctypes.data, self.single)

    cdef int list_streams(self, Bench bench) noexcept nogil:
        """List the callers' arrays that are read and written block after block: the inputs, then the others."""
        cdef char** row = <char**>bench.addresses.start
        cdef Py_ssize_t i, n = 0, pieces = self.width * self.size // 512
        cdef Instruction step
        for i in range(self.program.inputs):
            if not self.uniform[i] and self.is_whole(&self.input[i], self.width):
                row[n] = self.input[i].data
                n += 1
        bench.reads = n
        bench.space.past_cache = self.streamed_bytes() > PAST_CACHE
        bench.chances = bench.ahead.length
        for i in range(bench.ahead.length):
            step = bench.ahead.instruction[i]
            if step.arity == 1 and (step.saved >= 0 or step.opcode == EXP):
                bench.chances += pieces     # one per piece of a gate that takes long
        for i in range(self.program.outputs_count):
            if self.is_whole(&self.value[i], self.width):
                row[n] = self.value[i].data
                n += 1
        for i in range(self.program.inputs):
            if self.program.gradient and self.wanted[i] and self.is_whole(&self.gradient[i], self.width):
                if not (bench.space.past_cache and self.bypasses(&self.gradient[i], i)):
                    row[n] = self.gradient[i].data
                    n += 1
        bench.streams = n
        return 0

    cdef Py_ssize_t streamed_bytes(self) noexcept nogil:
        """Bytes of the gradients that are written in place."""
        cdef Py_ssize_t i, total = 0
        for i in range(self.program.inputs):
            if self.program.gradient and self.wanted[i] and self.is_whole(&self.gradient[i], self.width):
                total += self.lanes * self.size
        return total

    cdef bint bypasses(self, const Column* column, Py_ssize_t i) noexcept nogil:
        """Whether the gradient of an input will be written past the cache."""
        return self.once[i] and ((<size_t>column.data + <size_t>(self.lead * self.size)) & 63) == 0

    cdef void foresee(self, Bench bench, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
        """Say what is coming: forward, what this block still needs; backward, the next one's first inputs.

        Those too forward where gradients go past the cache: that keeps the way to memory busy backward.
        """
        cdef Py_ssize_t row_bytes = self.width * self.size
        cdef Py_ssize_t first = min(bench.reads, FORESEEN // row_bytes)
        self.expect(&bench.soon, bench, first, bench.streams, begin, end, bench.chances)
        self.expect(&bench.next, bench, 0, first, end, min(end + self.width, self.lanes), bench.back.length)
        if bench.space.past_cache and first == bench.reads:
            bench.soon.then = &bench.next
            bench.soon.at_once = self.at_once(bench.soon.rows + bench.next.rows, bench.chances)
            bench.next.at_once = bench.soon.at_once

    cdef void expect(
        self, Coming* coming, Bench bench, Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end,
        Py_ssize_t chances
    ) noexcept nogil:
        coming.row = <char**>bench.addresses.start + first
        coming.rows = last - first if end - begin == self.width else 0
        coming.reads = bench.reads - first
        coming.begin = coming.now = begin * self.size
        coming.end = end * self.size
        coming.at_once = self.at_once(coming.rows, chances)
        coming.then = NULL

    cdef inline Py_ssize_t at_once(self, Py_ssize_t rows, Py_ssize_t chances) noexcept nogil:
        """How much of so many rows to ask for at every chance, in bytes: whole lines."""
        return (rows * self.width * self.size // max(chances, <Py_ssize_t>1) // 64 + 1) * 64

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
        return 0 <= i < self.program.inputs and self.uniform[i] != 0

    cdef int strand(self, Bench bench, Py_ssize_t strand, bint backward, bint main) except -1 nogil:
        """Run the blocks of a strand in order."""
        cdef Py_ssize_t blocks = (self.lanes - self.lead + self.width - 1) // self.width + (self.lead > 0)
        cdef Py_ssize_t at = strand * blocks // self.strands
        cdef Py_ssize_t end = (strand + 1) * blocks // self.strands
        cdef Py_ssize_t patience = max(
            PATIENCE // (self.width * (bench.ahead.length + bench.back.length + 1)), <Py_ssize_t>1
        )
        cdef Py_ssize_t i, k = 0, stop
        for i in range(self.program.inputs):
            if self.program.gradient and self.uniform[i] and self.wanted[i]:
                bench.space.row[self.program.adjoints + i] = self.partial_sums(strand, k)
                k += 1
        if bench.arrays is not None:
            bench.arrays.use_pool(self.arrays, strand)
        while at < end and not self.stopped:
            stop = min(end, at + patience)
            while at < stop:
                if not self.block(bench, strand, self.begin_of(at), self.begin_of(at + 1), backward):
                    self.stopped = True
                    break
                at += 1
            publish()
            if main:
                with gil:
                    PyErr_CheckSignals()
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
            self.list_streams(bench)
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

    cdef Py_ssize_t best_lead(self) noexcept:
        """The first lane from which on what is written lies on cache lines; 0 if lanes are few or summed up."""
        cdef Py_ssize_t i
        cdef size_t beyond = 0
        if self.lane != NULL or self.sums_values or self.summed_inputs or self.lanes < 16 * self.width:
            return 0
        for i in range(self.program.inputs):
            if self.wanted[i] and self.is_whole(&self.gradient[i], self.width):
                beyond = <size_t>self.gradient[i].data & 63
                return <Py_ssize_t>(64 - beyond) // self.size if beyond and beyond % <size_t>self.size == 0 else 0
        return 0

    def begin(self):
        """Make ready for another run."""
        self.prepare()

    cdef int prepare(self) except -1:
        self.stopped = False
        self.diverged = -1
        self.next_strand = 0
        self.lead = self.best_lead()
        memset(self.sums.start, 0, <size_t>self.sums.nbytes)
        if self.arrays is not None:
            self.arrays.make_pools(self.strands)
        return 0
