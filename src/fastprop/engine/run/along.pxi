"""Maps in the lanes of another one: along its own lanes step by step, at a block of the other's lanes each.

A number of the outer body is a row, and so is an operand here; a number of an array is a column, or a number where the
array is the same in all outer lanes. What is summed over the steps is added to rows.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

from fastprop.engine.program cimport Wiring

from fastprop.handles.indexing import in_lane


cdef struct Track:              # a column, or a number, that moves on at every step
    char* base                  # NULL: there is none
    Py_ssize_t step             # in bytes
    Py_ssize_t lane             # from one lane to the next; 0: it is one number
    bint add


cdef struct Stack:              # outputs of a step, which go to an array
    Py_ssize_t first
    Py_ssize_t array
    Py_ssize_t numbers


cdef class Inner:
    """One program of the body, and its workspace: forward alone, or forward and backward."""

    cdef LanesRun run
    cdef Bench bench
    cdef LaneArrays arrays
    cdef bint gradient
    cdef uint8_t[::1] wanted
    cdef uint8_t[::1] uniform
    cdef Memory tracks
    cdef Track* input
    cdef Track* gradient_of     # an input
    cdef Track* value           # of an output
    cdef Track* pull
    cdef Track* array           # of the body: its value
    cdef Track* adjoint
    cdef int32_t[:, ::1] copied     # numbers side by side, here and around: first input, slot, target, how many
    cdef int32_t[::1] aimed     # the inputs that are anything else, but constants
    cdef int32_t[::1] moving    # the inputs that are others at every step: so many
    cdef Py_ssize_t movers
    cdef int32_t[::1] giving    # those whose gradients are a number per lane
    cdef int32_t[::1] summing   # and those whose gradients are summed up over the lanes
    cdef Memory sums            # of uniform inputs' gradients, at a step

    def __init__(self, LanesRun run, bint gradient, uniform, wanted):
        cdef Py_ssize_t inputs = run.program.inputs, outputs = run.program.outputs_count
        cdef Py_ssize_t arrays = 0 if run.arrays is None else run.arrays.count
        self.run, self.gradient = run, gradient
        self.uniform, self.wanted = uniform, wanted
        self.bench = run.new_bench()
        self.arrays = self.bench.arrays
        self.tracks = Memory((2 * inputs + 2 * outputs + 2 * arrays + 1) * <Py_ssize_t>sizeof(Track))
        self.input = <Track*>self.tracks.start
        self.gradient_of = self.input + inputs
        self.value = self.gradient_of + inputs
        self.pull = self.value + outputs
        self.array = self.pull + outputs
        self.adjoint = self.array + arrays
        self.sums = Memory(inputs * run.sum_bytes())
        self.moving = np.zeros(inputs + 1, np.int32)
        self.giving = np.flatnonzero(np.logical_and(wanted, np.logical_not(uniform))).astype(np.int32)
        self.summing = np.flatnonzero(np.logical_and(wanted, uniform)).astype(np.int32)

    cdef int begin(self) noexcept nogil:
        """Forget where outputs and arrays were; where inputs are, and their gradients, is said anew in every block."""
        cdef char* rest = <char*>self.value
        memset(rest, 0, <size_t>(self.tracks.start + self.tracks.nbytes - rest))
        return 0

    cdef void settle(self, LanesRun run) noexcept nogil:
        """Take what is the same at all steps, and list what is not, once it is known where everything is."""
        cdef Py_ssize_t i
        self.movers = 0
        for i in self.aimed:
            if self.input[i].base == NULL:
                continue
            if self.input[i].step:
                self.moving[self.movers] = <int32_t>i
                self.movers += 1
            else:
                self.take(run, i, 0)

    cdef inline void take(self, LanesRun run, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
        """Let an input be what it is at a step."""
        cdef const Track* track = &self.input[i]
        if track.lane:
            run.aim(&run.input[i], track.base + j * track.step, track.lane, False)
        elif self.uniform[i]:
            run.set_number(i, number_at(track.base + j * track.step, run.single))
        else:
            self.bench.space.row[i] = <char*>self.bench.space.base + i * run.width * run.size
            fill_row(
                self.bench.space.row[i], run.width, number_at(track.base + j * track.step, run.single), run.single
            )

    cdef void move(self, LanesRun run, Py_ssize_t j, bint backward) noexcept nogil:
        """Let everything be what it is at a step."""
        cdef Py_ssize_t i, k
        for i in range(self.movers):
            self.take(run, self.moving[i], j)
        for i in range(run.program.outputs_count):
            self.place(&run.value[i], &self.value[i], j)
            if backward:
                self.place(&run.pull[i], &self.pull[i], j)
        for i in range(self.arrays.count if self.arrays is not None else 0):
            if self.array[i].base != NULL:
                self.arrays.value[i].one.data = self.array[i].base + j * self.array[i].step
            if self.adjoint[i].base != NULL:
                self.arrays.adjoint[i].one.data = self.adjoint[i].base + j * self.adjoint[i].step
        for k in range(self.giving.shape[0] if backward else 0):
            self.place(&run.gradient[self.giving[k]], &self.gradient_of[self.giving[k]], j)

    cdef inline void place(self, Column* column, const Track* track, Py_ssize_t j) noexcept nogil:
        if track.base == NULL:
            column.data = NULL
        else:
            self.run.aim(column, track.base + j * track.step, track.lane, track.add)

    cdef void collect(self, Py_ssize_t j) noexcept nogil:
        """Add what a step pulled on numbers of arrays that are the same in all lanes, and forget it."""
        cdef Py_ssize_t i
        cdef char* sums
        for i in self.summing:
            if self.gradient_of[i].base != NULL:
                sums = self.sums.start + i * self.run.sum_bytes()
                if self.run.single:
                    widen_sums(sums)
                add_number_at(
                    self.gradient_of[i].base + j * self.gradient_of[i].step, total_of(sums, self.run.single),
                    self.run.single
                )
                memset(sums, 0, <size_t>self.run.sum_bytes())
                self.collect_number(i, j)

    cdef inline void collect_number(self, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
        """Add what is summed up by the number to where it goes at a step, and forget it."""
        cdef double* sums = self.run.matrix_sums(0)
        if self.run.program.sums_begin <= i < self.run.program.sums_end:
            add_number_at(self.gradient_of[i].base + j * self.gradient_of[i].step, sums[i], self.run.single)
            sums[i] = 0.0


cdef class Along(LaneRegion):
    """One use of a map by a Bench, in whose lanes it is run."""

    cdef MapRegion region
    cdef Wires wires
    cdef LaneArrays outer       # the arrays of the body around it
    cdef Inner ahead
    cdef Inner both
    cdef Memory stacked
    cdef Stack* stack           # outputs that go to arrays
    cdef Py_ssize_t stacks
    cdef uint8_t[::1] summed    # output
    cdef int32_t[::1] gradient_array    # leaf -> the array that its gradient becomes, or -1
    cdef uint8_t[::1] whole     # leaf: whether maps in the body read it as a whole
    cdef uint8_t[::1] cleared   # leaf: whether its gradient is added to, or written in part
    cdef int32_t[::1] bound     # array of the body -> what it is
    cdef int32_t[::1] which     # and which leaf or array
    cdef Memory pulls           # rows: those on the sums, scaled

    def __init__(self, Wiring wiring, LanesRun run, Bench bench):
        cdef MapRegion region = wiring.region
        cdef Py_ssize_t k
        LaneRegion.__init__(self, wiring)
        self.region, self.outer = region, bench.arrays
        plan = region.only_path()
        self.wires = region.wires(plan).stack(region.value_arrays)
        plan = self.wires.plan
        self.summed = np.full(max(region.outputs, 1), region.summed, np.uint8)
        self.stacks = len(self.wires.stacks)
        self.stacked = Memory(self.stacks * <Py_ssize_t>sizeof(Stack))
        self.stack = <Stack*>self.stacked.start
        for k, (first, a, n) in enumerate(self.wires.stacks):
            self.stack[k] = Stack(first, a, n)
            self.summed[first : first + n] = 0
        self.gradient_array = np.full(len(region.array) + 1, -1, np.int32)
        for leaf, a in region.gradient_arrays:
            self.gradient_array[<Py_ssize_t>leaf] = a
        self.whole = np.zeros(len(region.array) + 1, np.uint8)
        self.bound = np.array([bound for bound, _, _ in region.body_arrays], np.int32)
        self.which = np.array([which for _, which, _ in region.body_arrays], np.int32)
        for k in range(self.bound.shape[0]):
            if self.bound[k] == LEAF:
                self.whole[self.which[k]] = 1
        self.cleared = np.array(self.whole)
        for k in range(len(region.array)):
            if not self.wires.covers[k]:
                self.cleared[k] = 1
        self.pulls = Memory(region.outputs * run.width * run.size)
        if not region.gradients:
            self.ahead = self.inner(plan, run, False)
        if region.gradients or wiring.pull >= 0:
            self.both = self.inner(plan, run, True)

    cdef Inner inner(self, plan, LanesRun run, bint gradient):
        """The program of the body, for what is uniform and wanted here."""
        cdef MapRegion region = self.region
        cdef Source* source
        cdef Py_ssize_t i, a
        same, asked = np.ones(self.wires.inputs, np.uint8), np.zeros(self.wires.inputs, np.uint8)
        cdef uint8_t[::1] uniform = same, wanted = asked
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == OPERAND:
                wanted[i] = gradient and not region.gradients and self.wiring.target[source.which] >= 0
                uniform[i] = run.is_number(self.wiring.operand[source.which])
                if wanted[i] and not run.is_sum(self.wiring.target[source.which]):
                    uniform[i] = False      # a variable's gradient is one of every lane
            elif source.kind == CARRY:
                wanted[i], uniform[i] = gradient, False
            elif source.kind != NUMBER:
                a = region.array_of[source.which]
                wanted[i] = gradient and not region.gradients and self.is_pulled(a)
                uniform[i] = self.outer.same[a] and not (wanted[i] and not self.outer.pooled[a])
            if region.gradients and self.wires.leaf[i] >= 0:
                wanted[i] = self.gradient_array[self.wires.leaf[i]] >= 0
                uniform[i] = uniform[i] and not wanted[i]
        program = self.program(plan, gradient, same, asked, self.wanted_in_body(gradient))
        cdef LanesRun steps = LanesRun(program, region.single, run.lanes)
        steps.arrays = self.arrays_of(program)
        steps.join(run)
        cdef Inner inner = Inner(steps, gradient, same, asked)
        self.ready(inner)
        self.part_inputs(inner)
        for i in range(self.wires.inputs):
            if self.wires.source[i].kind == NUMBER:
                steps.set_number(i, self.wires.source[i].number)
                if not uniform[i]:      # its gradient is one of every lane
                    fill_row(inner.bench.space.row[i], run.width, self.wires.source[i].number, region.single)
        return inner

    cdef int part_inputs(self, Inner inner) except -1:
        """Tell inputs that are numbers around, in stretches, from those that are aimed one by one."""
        given = self.wires.given
        numbers = (given["kind"] == OPERAND) & (np.asarray(inner.uniform) != 0)
        inner.aimed = np.flatnonzero(~numbers & (given["kind"] != NUMBER)).astype(np.int32)
        places = np.flatnonzero(numbers)
        slots, targets = [of[given["which"][places]] for of in (self.wiring.operands, self.wiring.targets)]
        unlike = (np.diff(targets) != 1) & (np.maximum(targets[1:], targets[: len(targets) - 1]) >= 0)
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(slots) != 1) | unlike) + 1
        begins = np.append(0, breaks)[: len(places)]
        counts = np.diff(np.append(begins, len(places)))
        inner.copied = np.stack([places[begins], slots[begins], targets[begins], counts], 1).astype(np.int32)
        return 0

    cdef object program(self, plan, bint gradient, uniform, wanted, arrays):
        """What a step is."""
        return plan.along(gradient, uniform, wanted, arrays, False)

    cdef int ready(self, Inner inner) except -1:
        """Let a program have sums of its own."""
        inner.run.take_strands(1)
        inner.bench.space.sums = inner.run.matrix_sums(0)
        return 0

    cdef object wanted_in_body(self, bint gradient):
        """Which arrays that the body gets from outside are wanted to have adjoints."""
        found = set()
        for b in range(self.bound.shape[0] if gradient else 0):
            a = self.outer_array(b)
            if self.bound[b] == LEAF and self.region.gradients:
                if self.gradient_array[self.which[b]] >= 0:
                    found.add(b)
            elif (self.bound[b] == LEAF or self.bound[b] == OUTER) and not self.region.gradients:
                if self.is_pulled(a):
                    found.add(b)
        return frozenset(found)

    cdef bint is_pulled(self, Py_ssize_t a) except -1:
        """Whether it pulls on an array of the body around it."""
        return self.outer.wanted[a] and (self.wiring.active_arrays is None or a in self.wiring.active_arrays)

    cdef Py_ssize_t outer_array(self, Py_ssize_t b) noexcept nogil:
        """The array of the body around it that an array of the body is."""
        return self.region.array_of[self.which[b]] if self.bound[b] == LEAF else self.which[b]

    cdef LaneArrays arrays_of(self, program):
        """The arrays of the body, if it has any."""
        cdef Py_ssize_t b, a
        if self.bound.shape[0] == 0:
            return None
        flags = np.zeros((5, self.bound.shape[0]), np.uint8)
        inside = arrays_inside(program)
        for b in range(self.bound.shape[0]):
            flags[2, b] = self.bound[b] == OWN
            flags[3, b] = b in inside or (program.gradient and b in program.active_arrays)
            flags[4, b] = b in inside
            if self.bound[b] == LEAF or self.bound[b] == OUTER:
                a = self.outer_array(b)
                flags[0, b] = self.outer.same[a]
                flags[1, b] = self.outer.pooled[a] and not self.region.gradients
        return LaneArrays([shape for _, _, shape in self.region.body_arrays], flags, self.region.single)

    # where everything is in a block of lanes

    cdef void aim(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin, bint both) noexcept nogil:
        """Find what the steps read and write."""
        inner.begin()
        self.aim_inputs(inner, run, bench, begin)
        self.aim_arrays(self.outer, inner.arrays, inner, both)
        if self.region.gradients:
            self.aim_given_gradients(inner)
        elif both:
            self.aim_gradients(inner, run, bench, begin)
            self.aim_pulls(inner, run, bench, begin)
        if not both or self.region.gradients:
            self.aim_values(inner, run, bench, begin)

    cdef void aim_inputs(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin) noexcept nogil:
        cdef Py_ssize_t i, k
        cdef Source* source
        cdef LaneArray* array
        cdef int axis
        cdef char* row
        for k in range(inner.copied.shape[0]):
            memcpy(
                inner.run.numbers.start + inner.copied[k, 0] * run.size,
                run.numbers.start + inner.copied[k, 1] * run.size, <size_t>(inner.copied[k, 3] * run.size)
            )
        for i in inner.aimed:
            source = &self.wires.source[i]
            if source.kind == OPERAND:
                row = <char*>bench.space.row[self.wiring.operand[source.which]]
                if run.is_number(self.wiring.operand[source.which]):
                    inner.input[i] = Track(row, 0, 0, False)
                else:
                    inner.input[i] = Track(row - begin * run.size, 0, run.size, False)
            elif source.kind == LANE or source.kind == SAME:
                array = &self.outer.value[self.region.array_of[source.which]]
                axis = self.region.axis_of[source.which]
                inner.input[i] = track_of(array, axis, source.element, False)

    cdef void aim_gradients(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin) noexcept nogil:
        """Let what is pulled be added to rows, to columns, or to sums."""
        cdef Py_ssize_t i, slot, adjoints = inner.run.program.adjoints
        cdef Source* source
        cdef char* row
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if not inner.wanted[i]:
                continue
            if source.kind == OPERAND:
                slot = self.wiring.target[source.which]
                row = <char*>bench.space.row[slot]
                if inner.uniform[i]:
                    inner.bench.space.row[adjoints + i] = row
                else:
                    inner.gradient_of[i] = Track(row - begin * run.size, 0, run.size, True)
            else:
                if inner.uniform[i]:
                    inner.bench.space.row[adjoints + i] = inner.sums.start + i * run.sum_bytes()
                inner.gradient_of[i] = track_of(
                    &self.outer.adjoint[self.region.array_of[source.which]], self.region.axis_of[source.which],
                    source.element, True
                )

    cdef void aim_given_gradients(self, Inner inner) noexcept nogil:
        """Let the gradients that the map gives go to arrays."""
        cdef Py_ssize_t i, leaf
        inner.run.pull[0].constant = 1.0
        for i in range(self.wires.inputs):
            if inner.wanted[i]:
                leaf = self.wires.leaf[i]
                inner.gradient_of[i] = track_of(
                    &self.outer.value[self.gradient_array[leaf]], 0, self.wires.element[i], self.whole[leaf]
                )

    cdef void aim_values(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin) noexcept nogil:
        cdef Py_ssize_t k, n
        cdef char* row
        for k in range(self.region.outputs if self.region.summed else 0):
            if self.summed[k]:
                row = <char*>bench.space.row[self.wiring.result + k]
                inner.value[k] = Track(row - begin * run.size, 0, run.size, True)
        for k in range(self.stacks):
            for n in range(self.stack[k].numbers):
                inner.value[self.stack[k].first + n] = track_of(&self.outer.value[self.stack[k].array], 0, n, False)

    cdef void aim_pulls(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin) noexcept nogil:
        cdef Py_ssize_t k, n
        cdef char* row
        for k in range(self.region.outputs):
            inner.run.pull[k].constant = 0.0
        for k in range(self.region.outputs if self.region.summed else 0):
            if self.summed[k]:
                row = self.pulls.start + k * run.width * run.size
                scale_row(row, <char*>bench.space.row[self.wiring.pull + k], run.width, self.region.scale, run.single)
                inner.pull[k] = Track(row - begin * run.size, 0, run.size, False)
        for k in range(self.stacks):
            if self.outer.wanted[self.stack[k].array]:
                for n in range(self.stack[k].numbers):
                    inner.pull[self.stack[k].first + n] = track_of(
                        &self.outer.adjoint[self.stack[k].array], 0, n, False
                    )

    cdef void aim_arrays(self, LaneArrays outer, LaneArrays arrays, Inner inner, bint both) noexcept nogil:
        """Let the arrays of the body be those that they are outside of it."""
        cdef Py_ssize_t b, a
        cdef int axis
        for b in range(self.bound.shape[0]):
            if self.bound[b] >= OWN:
                continue
            a = self.outer_array(b)
            axis = self.region.axis_of[self.which[b]] if self.bound[b] == LEAF else 0 if self.bound[b] == MADE else -1
            arrays.enter(&arrays.value[b], b, VALUE, &outer.value[a], axis)
            inner.array[b] = Track(outer.value[a].one.data, step_of(&outer.value[a], axis), 0, False)
            if not (both and arrays.wanted[b]):
                continue
            if self.bound[b] == LEAF and self.region.gradients:
                a, axis = self.gradient_array[self.which[b]], 0
                arrays.enter(&arrays.adjoint[b], b, ADJOINT, &outer.value[a], axis)
                inner.adjoint[b] = Track(outer.value[a].one.data, step_of(&outer.value[a], axis), 0, False)
            else:
                arrays.enter(&arrays.adjoint[b], b, ADJOINT, &outer.adjoint[a], axis)
                inner.adjoint[b] = Track(outer.adjoint[a].one.data, step_of(&outer.adjoint[a], axis), 0, False)

    # sweeps

    cdef int steps(
        self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count, bint both
    ) except -1 nogil:
        """Run all steps at a block of lanes."""
        cdef Py_ssize_t j, since = 0, work = inner.bench.ahead.length + inner.bench.back.length + 1
        cdef Py_ssize_t patience = max(PATIENCE // (run.width * work), <Py_ssize_t>1)
        inner.run.lanes, inner.run.lane = run.lanes, run.lane
        self.aim(inner, run, bench, begin, both)
        if self.region.lanes:       # else there is nothing to be read
            inner.settle(inner.run)
        if both:
            clear_sums(inner.run, 0)
        for j in range(self.region.lanes):
            inner.move(inner.run, j, both)
            inner.run.step = j
            if self.region.gradients:
                self.clear_given(run, j, begin, count)
            if not inner.run.block(inner.bench, 0, begin, begin + count, both):
                with gil:
                    raise self.broken_at(inner, j, begin)
            if both and not self.region.gradients:
                inner.collect(j)
            since += 1
            if since == patience:
                since = 0
                with gil:
                    look_for_signals()
                if inner.run.is_stopped():
                    return 0
        return 0

    cdef object broken_at(self, Inner inner, Py_ssize_t j, Py_ssize_t begin):
        """The error for an index that is out of range at a step, in some lane."""
        cdef LanesRun run = inner.run
        cdef Py_ssize_t i, lane = run.diverged - begin
        point = np.zeros(run.program.inputs)
        for i in range(run.program.inputs):
            at = <char*>inner.bench.space.row[i]
            point[i] = run.number(at + (0 if run.is_number(i) else lane * run.size))
        error = self.divergence(run.broken, point, j)
        run.diverged = -1
        return in_lane(error, begin + lane)

    cdef object divergence(self, Py_ssize_t guard, point, Py_ssize_t j):
        """The error for a guard that does not hold at a step."""
        return self.wires.plan.divergence(guard, point, j)

    cdef void clear_given(self, LanesRun run, Py_ssize_t j, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
        """Let gradients be zeros to which the maps in the body add."""
        cdef Py_ssize_t leaf, n, k, numbers
        cdef LaneArray* array
        cdef char* at
        cdef int i
        for leaf in range(self.whole.shape[0]):
            if not self.cleared[leaf] or self.gradient_array[leaf] < 0:
                continue
            array = &self.outer.value[self.gradient_array[leaf]]
            numbers = 1
            for i in range(1, array.one.ndim):
                numbers *= array.one.shape[i]
            for n in range(numbers):
                at = array.one.data + offset_of(&array.one, 0, n) + j * array.one.stride[0]
                for k in range(begin, begin + count):
                    memset(at + k * array.lane, 0, <size_t>run.size)

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k
        cdef bint summed = self.region.summed
        for k in range(self.wiring.results):
            fill_row(bench.space.row[self.wiring.result + k], run.width, 0.0, run.single)
        if self.region.gradients:
            self.steps(self.both, run, bench, begin, count, True)
        else:
            self.steps(self.ahead, run, bench, begin, count, False)
        for k in range(self.wiring.results if summed and self.region.scale != 1.0 else 0):
            row = <char*>bench.space.row[self.wiring.result + k]
            scale_row(row, row, run.width, self.region.scale, run.single)
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        if not self.region.gradients:
            self.steps(self.both, run, bench, begin, count, True)
            self.leave_sums(self.both, self.both.run, run, bench)
        return 0

    cdef void leave_sums(self, Inner inner, LanesRun steps, LanesRun run, Bench bench) noexcept nogil:
        """Add what was summed up by the number to the sums of what is around."""
        cdef Py_ssize_t k, i, first, target
        cdef const double* found = steps.matrix_sums(0)
        for k in range(inner.copied.shape[0]):
            first, target = inner.copied[k, 0], inner.copied[k, 2]
            if target < 0:
                continue
            for i in range(
                max(first, steps.program.sums_begin), min(first + inner.copied[k, 3], steps.program.sums_end)
            ):
                self.add_total(run, bench, target + i - first, found[i])

    cdef inline void add_total(self, LanesRun run, Bench bench, Py_ssize_t slot, double total) noexcept nogil:
        """Add to the sum of an input of what is around."""
        cdef float narrow = <float>total
        if self.region.sums_numbers:
            bench.space.sums[slot - run.program.adjoints] += total
        else:
            add_up_row(
                <char*>bench.space.row[slot], 1, <const void*>&narrow if run.single else <const void*>&total, run.single
            )


cdef Py_ssize_t step_of(const LaneArray* array, int axis) noexcept nogil:
    """From one number along an axis to the next (-1: there is no such axis)."""
    return 0 if axis < 0 else array.one.stride[axis]


cdef Track track_of(const LaneArray* array, int axis, Py_ssize_t element, bint add) noexcept nogil:
    """A number of a step's part of an array."""
    return Track(array.one.data + offset_of(&array.one, axis, element), step_of(array, axis), array.lane, add)


cdef void scale_row(char* to, const char* row, Py_ssize_t n, double scale, bint single) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        if single:
            (<float*>to)[k] = <float>((<const float*>row)[k] * scale)
        else:
            (<double*>to)[k] = (<const double*>row)[k] * scale
