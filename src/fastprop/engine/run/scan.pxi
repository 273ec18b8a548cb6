"""Scans at one point: a body at one step after the other, each of which is given what the one before it carries on.

A scan is recorded as a map whose lanes are its steps: leaves of the body's arguments lie in arrays step by step, or are
carried. Of a scan that is run backward, what is carried into each step is kept; the steps are run forward once more,
one by one, before they are run backward. A map whose lanes are taken in turn is run as a scan that carries nothing.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

from fastprop.engine.program cimport Wiring

from numpy.linalg import LinAlgError

from fastprop.handles.indexing import OutOfRangeError, in_lane


cdef enum:
    OFTEN = 15              # of steps, one in so many and one looks whether somebody interrupts


cdef struct Move:           # inputs of a step side by side, and where they are in an array: evenly
    const char* begin       # at the first place
    Py_ssize_t stride       # from place to place, in bytes
    Py_ssize_t apart        # from one to the next; UNEVEN: each is looked for
    Py_ssize_t stretch


cdef class ScanRun:
    """One use of a scan: its operands, what it carries, and what is pulled; or of a map that takes lanes in turn.

    Parameters
    ----------
    region : MapRegion
        With `carried`, so many numbers, of which `begins` says which operands they are at first, and `backwards`,
        whether the last step of the arrays is the first one; or with `in_turn`.
    arrays : Arrays
        Of what is around it.
    wanted, active_arrays
        The operands that have gradients, and the arrays.
    keeps : bool
        Whether it may be run backward.
    """

    cdef readonly MapRegion region
    cdef Arrays arrays
    cdef Wires wires
    cdef Py_ssize_t carried
    cdef bint backwards
    cdef bint kept                      # whether what is carried is there for all steps
    cdef Py_ssize_t rooms               # for what is carried: of all steps, or two
    cdef int32_t[::1] begins
    cdef SlotRuns starts                # the same, in runs
    cdef uint8_t[::1] wanted
    cdef uint8_t[::1] wanted_leaf
    cdef object active_arrays
    cdef PointRun ahead                 # a step forward
    cdef PointRun both                  # and backward
    cdef SlotRuns ends                  # where what is carried on comes out of a step forward
    cdef SlotRuns onward                # the same for the inputs of the next step; None: only by way of the carry
    cdef list rows                      # and what goes to each of the stacks
    cdef Memory memory
    cdef Memory numbers                 # as the programs have them: the operands, then what is carried
    cdef char* own                      # room for the operands
    cdef char* operand                  # where they are
    cdef char* carry                    # one room after the other
    cdef char* before                   # what is carried into the first step, if it lies elsewhere
    cdef char* after                    # where what the last one carries on goes, if that is elsewhere
    cdef Py_ssize_t size                # of a number, in bytes
    cdef double* pulled                 # on the operands
    cdef double* pull                   # on what is carried
    cdef double* pulls                  # on the outputs of a step
    cdef double* total                  # what was pulled on inputs that are the same at all steps
    cdef double* sums                   # of a map: outputs that are summed, and what is pulled on them
    cdef double* pull_on_sums
    cdef int32_t[::1] summed            # which outputs these are
    cdef Memory stacked
    cdef Stack* stack                   # outputs that go to arrays
    cdef Py_ssize_t stacks
    cdef Memory moved
    cdef Move* move                     # of inputs that lie in arrays step by step
    cdef Py_ssize_t moves
    cdef bint has_arrays                # the body
    cdef list bound                     # arrays of the body that are a part of one at every step: (its own, whose)
    cdef list aside                     # those of them, and of what is around, whose array another one is, too

    def __init__(self, MapRegion region, Arrays arrays, wanted, active_arrays, bint keeps):
        cdef Py_ssize_t k
        self.region, self.arrays = region, arrays
        self.wires = region.wires(region.only_path()).stack(region.value_arrays)
        self.carried, self.backwards, self.begins = 0, False, np.zeros(0, np.int32)
        if not region.in_turn:
            self.carried, self.backwards, self.begins = region.carried, region.backwards, region.begins
        self.starts = SlotRuns(self.begins)
        self.rooms = region.lanes + 1 if keeps else 2
        cdef Py_ssize_t n = region.numbers, inputs = self.wires.inputs, outputs = self.wires.outputs
        if self.carried and self.rooms > (<Py_ssize_t>1 << 43) // self.carried:
            raise MemoryError(f"{region.name}: no memory for {self.rooms} steps that carry {self.carried} numbers")
        self.size = 4 if region.single else 8
        self.numbers = Memory((n + self.rooms * self.carried) * self.size)
        self.own = self.operand = self.numbers.start
        self.carry = self.operand + n * self.size
        self.memory = Memory((n + self.carried + 3 * outputs + inputs) * <Py_ssize_t>sizeof(double))
        self.pulled = <double*>self.memory.start
        self.pull = self.pulled + n
        self.pulls = self.pull + self.carried
        self.sums = self.pulls + outputs
        self.pull_on_sums = self.sums + outputs
        self.total = self.pull_on_sums + outputs
        self.wanted, self.active_arrays = np.array(wanted, np.uint8), frozenset(active_arrays)
        self.wanted_leaf = np.array([a in active_arrays for a in region.array.tolist()] + [False], np.uint8)
        self.stacks = len(self.wires.stacks)
        self.stacked = Memory(self.stacks * <Py_ssize_t>sizeof(Stack))
        self.stack = <Stack*>self.stacked.start
        adds = np.full(outputs, region.summed and region.in_turn)
        for k, (first, a, n) in enumerate(self.wires.stacks):
            self.stack[k] = Stack(first, a, n)
            adds[first : first + n] = False
        self.summed = np.flatnonzero(adds).astype(np.int32)
        self.moved = Memory(self.wires.stretches * <Py_ssize_t>sizeof(Move))
        self.move, self.has_arrays = <Move*>self.moved.start, len(region.body_arrays) > 0
        self.bound, self.aside, once = [], [], set()
        for b, (bound, which, _) in enumerate(region.body_arrays):
            if bound == LEAF or bound == OUTER:
                a = region.array_of[<Py_ssize_t>which] if bound == LEAF else which
                if a in once:
                    axis = region.axis_of[<Py_ssize_t>which] if bound == LEAF else -1
                    self.aside.append((b, a, axis))
                once.add(a)
            if bound == LEAF or bound == MADE:
                a = region.array_of[<Py_ssize_t>which] if bound == LEAF else which
                axis = region.axis_of[<Py_ssize_t>which] if bound == LEAF else 0
                self.bound.append((b, a, bound == MADE, axis))

    cdef PointRun opened(self, bint both):
        """The program of a step, which has what is the same at all steps."""
        cdef PointRun run
        cdef const Stretch* stretch
        cdef Py_ssize_t k
        if both and self.both is None:
            self.both = self.make(True)
        elif not both and self.ahead is None:
            self.ahead = self.make(False)
            self.find_ends()
        run = self.both if both else self.ahead
        for k in range(self.wires.stretches):
            stretch = &self.wires.stretch[k]
            if self.wires.source[stretch.first].kind == OPERAND:
                copy_numbers(
                    <char*>run.space.base + stretch.first * self.size,
                    self.operand + self.wires.source[stretch.first].which * self.size, stretch.count, run.single
                )
        self.find_moves()
        for b, (bound, which, _) in enumerate(self.region.body_arrays):
            if bound == OUTER:
                run.arrays.put(b, self.arrays.values[<Py_ssize_t>which])
                run.arrays.put_adjoint(b, self.outer_adjoint(which) if both else None)
        return run

    cdef int find_ends(self) except -1:
        """Find where what is carried on, and what goes to arrays, comes out of a step."""
        slots = self.ahead.program.outputs
        self.ends = SlotRuns(slots[: self.carried])
        self.rows = [SlotRuns(slots[first : first + n]) for first, _, n in self.wires.stacks]
        given = self.wires.given
        inputs, carried = np.arange(len(given)), given["kind"] == CARRY
        coming = np.where(carried, slots[np.where(carried, given["element"], 0)] if self.carried else -1, -1)
        moved = np.where(coming == inputs, -1, coming)      # what stays as it is lies there already
        if self.rooms == 2 and not ((moved >= 0) & (moved < len(given))).any():
            self.onward = SlotRuns(moved)
        return 0

    cdef PointRun make(self, bint gradient):
        cdef Py_ssize_t i
        cdef const Source* source
        cdef PointRun run
        asked, arrays = np.zeros(self.wires.inputs, np.uint8), []
        cdef uint8_t[::1] wanted = asked
        for i in range(self.wires.inputs if gradient else 0):
            source = &self.wires.source[i]
            wanted[i] = source.kind == CARRY or self.is_wanted(source)
        for b, (bound, which, _) in enumerate(self.region.body_arrays if gradient else ()):
            if self.wanted_leaf[<Py_ssize_t>which] if bound == LEAF else bound == OUTER and which in self.active_arrays:
                arrays.append(b)
        run = PointRun(
            self.wires.plan.step(gradient, asked, arrays, self.carried_to()), self.region.single,
            len(self.region.body_arrays)
        )
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == NUMBER:
                run.put(i, source.number)
        return run

    cdef object carried_to(self):
        """For each output the input that it is at the next step; -1: none, or what is carried is kept for all steps."""
        given, found = self.wires.given, np.full(self.wires.outputs, -1, np.int32)
        if self.rooms == 2:
            inputs = np.flatnonzero(given["kind"] == CARRY)
            found[given["element"][inputs]] = inputs
        return found

    cdef bint is_wanted(self, const Source* source):
        """Whether an input that is not carried has a gradient."""
        if source.kind == OPERAND:
            return self.wanted[source.which]
        return (source.kind == LANE or source.kind == SAME) and self.wanted_leaf[source.which]

    cdef inline int axis_of(self, const Source* source) noexcept:
        """Along which axis of its array the steps' numbers lie; -1: they are the same at all steps."""
        return self.region.axis_of[source.which] if source.kind == LANE else -1

    cdef inline ArrayRef at_place(self, const ArrayRef* array, const Source* source, Py_ssize_t j) noexcept:
        """The array that an input is of, as if a step were its first one."""
        cdef ArrayRef here = array[0]
        cdef int axis = self.axis_of(source)
        if axis >= 0:
            here.data += j * array.stride[axis]
        return here

    cdef inline char* place(self, const ArrayRef* array, const Source* source, Py_ssize_t i, Py_ssize_t j) noexcept:
        """Where an array has a number at a step, so many behind an input's."""
        cdef int axis = self.axis_of(source)
        return array.data + offset_of(array, axis, source.element + i) + (j * array.stride[axis] if axis >= 0 else 0)

    cdef object outer_adjoint(self, Py_ssize_t a):
        """The adjoint of an array that is the same at all steps, to which they add."""
        if a not in self.active_arrays:
            return None
        self.arrays.clear_adjoint(a)
        return self.arrays.adjoints[a]

    # steps

    cdef inline Py_ssize_t place_of(self, Py_ssize_t step) noexcept:
        """Where in the arrays a step is."""
        return self.region.lanes - 1 - step if self.backwards else step

    cdef inline char* carry_of(self, Py_ssize_t step) noexcept:
        """What is carried into a step."""
        if step == 0 and self.before != NULL:
            return self.before
        if step == self.region.lanes and self.after != NULL:
            return self.after
        return self.carry + (step if self.rooms > 2 else step & 1) * self.carried * self.size

    cdef int find_moves(self) except -1:
        """Find where inputs lie in arrays."""
        cdef Py_ssize_t k
        cdef int axis
        cdef const Source* source
        cdef const ArrayRef* array
        self.moves = 0
        for k in range(self.wires.stretches):
            source = &self.wires.source[self.wires.stretch[k].first]
            if source.kind == LANE or source.kind == SAME:
                array, axis = &self.arrays.value[self.region.array_of[source.which]], self.axis_of(source)
                self.move[self.moves] = Move(
                    self.place(array, source, 0, 0), array.stride[axis] if axis >= 0 else 0,
                    self.size if self.wires.stretch[k].count == 1 else spacing_of(array, axis), k
                )
                self.moves += 1
        return 0

    cdef int take_step(self, PointRun run, Py_ssize_t step, bint both) except -1:
        """Let inputs and arrays be what they are at a step, and run it forward."""
        cdef Py_ssize_t k, i, broken, j = self.place_of(step)
        cdef const char* carry = self.carry_of(step)
        cdef const Stretch* stretch
        cdef const Source* source
        for k in range(self.wires.stretches if both or step == 0 or self.onward is None else 0):
            stretch = &self.wires.stretch[k]
            source = &self.wires.source[stretch.first]
            if source.kind == CARRY:
                copy_numbers(
                    <char*>run.space.base + stretch.first * self.size, carry + source.element * self.size,
                    stretch.count, run.single
                )
        for k in range(self.moves):
            self.take_numbers(run, &self.move[k], j)
        if self.has_arrays:
            self.take_arrays(run, j, both)
        try:
            run.sweep(True, 0)
        except (OutOfRangeError, LinAlgError) as error:
            if self.region.in_turn:
                raise in_lane(error, j) from None
            raise
        if run.program.guards_count:
            broken = run.broken_guard()
            if broken >= 0:
                inputs = np.array([run.get(i) for i in range(self.wires.inputs)])
                if self.region.in_turn:
                    raise self.wires.plan.divergence(broken, inputs, j)
                raise at_step(self.wires.plan.divergence(broken, inputs), j)
        return 0

    cdef inline void take_numbers(self, PointRun run, const Move* move, Py_ssize_t j) noexcept:
        """Let inputs be numbers of an array."""
        cdef const Stretch* stretch = &self.wires.stretch[move.stretch]
        cdef const char* at = move.begin + j * move.stride
        cdef Py_ssize_t k
        if move.apart == UNEVEN:
            self.look_for_numbers(run, stretch, j)
        elif move.apart == self.size:
            copy_numbers(<char*>run.space.base + stretch.first * self.size, at, stretch.count, run.single)
        else:
            for k in range(stretch.count):
                run.put(stretch.first + k, number_at(at + k * move.apart, run.single))

    cdef void look_for_numbers(self, PointRun run, const Stretch* stretch, Py_ssize_t j) noexcept:
        """The same where they lie unevenly."""
        cdef const Source* source = &self.wires.source[stretch.first]
        cdef ArrayRef array = self.at_place(&self.arrays.value[self.region.array_of[source.which]], source, j)
        put_slots(run, stretch.first, &array, self.axis_of(source), source.element, stretch.count)

    cdef int take_arrays(self, PointRun run, Py_ssize_t j, bint both) except -1:
        """Let the arrays of the body be parts of those outside, with adjoints to which gradients are added."""
        cdef Arrays outer = self.arrays
        cdef Py_ssize_t b, a
        cdef bint made
        run.arrays.begin()
        for b, a, made, axis in self.bound:
            run.arrays.put(b, part_of(outer.values[a], axis, j))
            run.arrays.kept[b] = made
            if both and (outer.arrived[a] if made else a in self.active_arrays):
                run.arrays.put_adjoint(b, part_of(outer.adjoints[a], axis, j))
                run.arrays.arrived[b] = True
            elif both:
                run.arrays.put_adjoint(b, None)
        for b, (bound, which, _) in enumerate(self.region.body_arrays):
            if both and bound == OUTER and which in self.active_arrays:
                run.arrays.arrived[b] = True
        for b, a, axis in self.aside if both else ():   # threads in the body add to each by itself
            run.arrays.put_adjoint(b, None)
        return 0

    cdef int add_aside(self, PointRun run, Py_ssize_t j) except -1:
        """Add what a step has pulled on arrays that are others, too."""
        for b, a, axis in self.aside:
            if run.arrays.arrived[b] and a in self.active_arrays:
                adjoint = part_of(self.arrays.adjoints[a], axis, j)
                adjoint += run.arrays.adjoints[b]
        return 0

    cdef int let_go(self, PointRun run) except -1:
        """Do not hold on to arrays from outside, and to what was made for them."""
        for b, (bound, _, _) in enumerate(self.region.body_arrays):
            if bound != OWN:
                run.arrays.put(b, None)
                run.arrays.put_adjoint(b, None)
                run.arrays.kept[b] = False
        return 0

    cdef int leave_step(self, PointRun run, Py_ssize_t step) except -1:
        """Put into arrays what comes out of a step, which may be its inputs, then carry on what is carried."""
        cdef Py_ssize_t k, n, end, apart, j = self.place_of(step)
        cdef const int32_t* output = run.program.output
        cdef const ArrayRef* array
        cdef char* at
        for k in range(self.stacks):
            array = &self.arrays.value[self.stack[k].array]
            if self.stack[k].numbers == 1:
                put_number_at(array.data + j * array.stride[0], run.get(output[self.stack[k].first]), run.single)
                continue
            if spacing_of(array, 0) == self.size:
                (<SlotRuns>self.rows[k]).copy(array.data + j * array.stride[0], run)
                continue
            n = 0
            while n < self.stack[k].numbers:
                end = n + min(self.stack[k].numbers - n, evenly_from(array, 0, n, &at, &apart))
                at += j * array.stride[0]
                while n < end:
                    put_number_at(at, run.get(output[self.stack[k].first + n]), run.single)
                    n, at = n + 1, at + apart
        self.add_sums(run)
        if self.onward is not None and step < self.region.lanes - 1:
            self.onward.copy(<char*>run.space.base, run)
        else:
            self.ends.copy(self.carry_of(step + 1), run)
        return 0

    cdef inline void add_sums(self, PointRun run) noexcept:
        """Add up those outputs that are summed."""
        cdef int32_t k
        for k in self.summed:
            self.sums[k] += run.get(run.program.output[k])

    # sweeps

    cdef int forward(self) except -1:
        """Run all steps forward."""
        cdef Py_ssize_t step, k
        cdef PointRun run
        memset(self.sums, 0, <size_t>self.wires.outputs * sizeof(double))
        stacked = {self.stack[k].array for k in range(self.stacks)}
        for a, shape in self.region.value_arrays:
            if a >= 0:
                self.make_array(a, shape, a in stacked)
        run = self.opened(False)
        if self.before == NULL:
            self.starts.copy_from(self.operand, self.carry, self.region.single)
        for step in range(self.region.lanes):
            self.take_step(run, step, False)
            self.leave_step(run, step)
            if step & OFTEN == 0:
                look_for_signals()
        self.kept = self.rooms > self.region.lanes
        if self.has_arrays:
            self.let_go(run)
        return 0

    cdef int make_array(self, Py_ssize_t a, tuple shape, bint stacked) except -1:
        """Make an array for results: each step's numbers lie in C's order, what a map in the body makes as maps do."""
        cdef tuple last = (*(shape[::-1] if stacked else shape), self.region.lanes)
        if self.arrays.kept[a]:
            return 0
        found = self.arrays.reused(self.arrays.values, self.arrays.spare_values, a)
        if found is not None:
            turned = found.T if stacked else np.moveaxis(found, 0, -1)
            if is_made_so(turned, last, self.region.single):
                return self.arrays.put(a, found)
        found = fresh(last, self.region.single)
        return self.arrays.put(a, found.T if stacked else np.moveaxis(found, -1, 0))

    cdef int backward(self) except -1:
        """Run all steps backward, from what is pulled on the last carry and on the arrays that they made."""
        cdef Py_ssize_t step, k, i
        cdef const Source* source
        cdef PointRun run
        if self.carried and not self.kept:
            self.forward()
        memset(self.sums, 0, <size_t>self.wires.outputs * sizeof(double))
        memset(self.pulled, 0, <size_t>self.region.numbers * sizeof(double))
        memset(self.total, 0, <size_t>self.wires.inputs * sizeof(double))
        for k in range(self.wanted_leaf.shape[0] - 1):
            if self.wanted_leaf[k]:
                self.arrays.clear_adjoint(self.region.array_of[k])
        run = self.opened(True)
        for step in range(self.region.lanes - 1, -1, -1):
            self.take_step(run, step, True)
            self.add_sums(run)
            self.take_pulls(run, step)
            run.pull(self.pulls)
            self.put_gradients(run, step)
            self.add_aside(run, self.place_of(step))
            if step & OFTEN == 0:
                look_for_signals()
        if self.has_arrays:
            self.let_go(run)
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == OPERAND and self.wanted[source.which]:
                self.pulled[source.which] += self.total[i]
            elif source.kind == SAME and self.wanted_leaf[source.which]:
                add_number_at(
                    self.place(&self.arrays.adjoint[self.region.array_of[source.which]], source, 0, 0), self.total[i],
                    self.region.single
                )
        for k in range(self.carried):
            self.pulled[self.begins[k]] += self.pull[k]
        self.kept = False
        return 0

    cdef int take_pulls(self, PointRun run, Py_ssize_t step) except -1:
        """Find what is pulled on the outputs of a step."""
        cdef Py_ssize_t k, n, end, apart, j = self.place_of(step)
        cdef const ArrayRef* array
        cdef char* at
        memset(self.pulls, 0, <size_t>self.wires.outputs * sizeof(double))
        memcpy(self.pulls, self.pull, <size_t>self.carried * sizeof(double))
        for k in self.summed:
            self.pulls[k] = self.pull_on_sums[k] * self.region.scale
        for k in range(self.stacks):
            if self.arrays.arrived[self.stack[k].array]:
                array = &self.arrays.adjoint[self.stack[k].array]
                n = 0
                while n < self.stack[k].numbers:
                    end = n + min(self.stack[k].numbers - n, evenly_from(array, 0, n, &at, &apart))
                    at += j * array.stride[0]
                    while n < end:
                        self.pulls[self.stack[k].first + n] = number_at(at, run.single)
                        n, at = n + 1, at + apart
        return 0

    cdef int put_gradients(self, PointRun run, Py_ssize_t step) except -1:
        """Add the gradients of a step to where they go."""
        cdef Py_ssize_t k, adjoints = run.program.adjoints, j = self.place_of(step)
        cdef const Stretch* stretch
        cdef const Source* source
        cdef ArrayRef array
        memset(self.pull, 0, <size_t>self.carried * sizeof(double))
        for k in range(self.wires.stretches):
            stretch = &self.wires.stretch[k]
            source = &self.wires.source[stretch.first]
            if source.kind == CARRY:
                read_numbers(self.pull + source.element, run, adjoints + stretch.first, stretch.count)
            elif source.kind == OPERAND or source.kind == SAME:
                self.add_totals(run, stretch.first, stretch.count)
            elif source.kind == LANE and self.wanted_leaf[source.which]:
                array = self.at_place(&self.arrays.adjoint[self.region.array_of[source.which]], source, j)
                give_slots(
                    run, adjoints + stretch.first, &array, self.axis_of(source), source.element, stretch.count, True
                )
        return 0

    cdef void add_totals(self, PointRun run, Py_ssize_t first, Py_ssize_t count) noexcept:
        """Add the gradients of inputs that are the same at all steps; those that nobody wants are anything."""
        cdef Py_ssize_t i
        cdef const float* narrow = <const float*>run.space.base + run.program.adjoints
        cdef const double* wide = <const double*>run.space.base + run.program.adjoints
        for i in range(first, first + count if run.single else first):
            self.total[i] += narrow[i]
        for i in range(first, first if run.single else first + count):
            self.total[i] += wide[i]

    cdef int take_operands(self, PointRun run, SlotRuns slots, char* result) except -1:
        """Let the operands be what they are now; what the last step carries on goes to `result`.

        If nothing is kept for running backward, that is done without a copy, where numbers lie side by side.
        """
        cdef char* whole = slots.whole(run) if self.rooms == 2 and self.region.lanes > 0 else NULL
        self.before = self.after = NULL
        self.operand = self.own if whole == NULL else whole
        if whole == NULL:
            slots.copy(self.own, run)
            return 0
        self.after = result
        if self.starts.runs == 1:
            self.before = whole + self.starts.run.slot * self.size
        return 0

    # for Python: where it is recorded

    def run_at(self, operands):
        """Run forward at some operands; returns what the last step carries on."""
        cdef Py_ssize_t k
        self.operand, self.before, self.after = self.own, NULL, NULL
        for k, number in enumerate(operands):
            put_number_at(self.operand + k * self.size, number, self.region.single)
        self.forward()
        last = np.empty(self.carried, np.float32 if self.region.single else np.float64)
        memcpy(cnp.PyArray_DATA(last), self.carry_of(self.region.lanes), <size_t>(self.carried * self.size))
        return last.tolist()


cdef object part_of(array, Py_ssize_t axis, Py_ssize_t j):
    """An array at a step, along an axis; all of it, if that is -1."""
    return array if axis < 0 else array[j] if axis == 0 else np.moveaxis(array, axis, 0)[j]


cdef object at_step(error, Py_ssize_t j):
    """The error for an index that is out of range, with the step at which it is."""
    return OutOfRangeError(f"{error.text}, at step {j}", error.lanes) if isinstance(error, OutOfRangeError) else error


cdef class ScanAtPoint(PointRegion):
    """A scan in a program at one point."""

    cdef ScanRun run
    cdef SlotRuns operands
    cdef SlotRuns targets

    def __init__(self, Wiring wiring, PointRun run):
        PointRegion.__init__(self, wiring)
        cdef MapRegion region = wiring.region
        self.operands = SlotRuns(wiring.operands[: region.numbers])
        self.targets = SlotRuns(wiring.targets[: region.numbers])
        wanted = (wiring.targets >= 0)[: region.numbers]
        active = run.program.active_arrays if wiring.active_arrays is None else wiring.active_arrays
        self.run = ScanRun(region, run.arrays, wanted, active, run.program.gradient)

    cdef int forward(self, PointRun run) except -1:
        cdef char* result = <char*>run.space.base + self.wiring.result * run.size
        self.run.take_operands(run, self.operands, result)
        self.run.kept = False
        self.run.forward()
        if self.run.after == NULL:
            memcpy(result, self.run.carry_of(self.run.region.lanes), <size_t>(self.run.carried * run.size))
        return 0

    cdef int backward(self, PointRun run) except -1:
        if not self.run.kept:
            self.run.take_operands(run, self.operands, NULL)
        read_numbers(self.run.pull, run, self.wiring.pull, self.run.carried)
        self.run.backward()
        self.targets.add(run, self.run.pulled)
        forget_made(self.wiring, run.arrays)
        return 0
