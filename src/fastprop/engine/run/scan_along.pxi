"""Scans in the lanes of a map: step by step, at a block of the map's lanes each; what is carried are rows."""
import numpy as np

from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset

from fastprop.engine.program cimport Wiring


cdef class ScanAlong(Along):
    """One use of a scan by a Bench.

    Of a scan that is run backward, what is carried into each step is kept, in rows; gradients of what is the same at
    all steps and in all lanes are added up over both, and then go to the sums of what is around.
    """

    cdef Py_ssize_t carried
    cdef bint backwards
    cdef int32_t[::1] begins            # number that is carried -> operand
    cdef int32_t[::1] carry             # the inputs that are carried
    cdef int32_t[::1] wanted            # those whose gradients go to rows or columns
    cdef int32_t[::1] collected         # those whose gradients are summed up over the lanes of every step
    cdef bint by_place                  # whether all that it reads and writes are rows: no lane is looked up
    cdef Memory rows
    cdef Py_ssize_t rooms               # for what is carried
    cdef Py_ssize_t room                # bytes of one
    cdef char* pull                     # rows: of what is pulled on what a step carries on
    cdef char* pulled                   # and of what that brings
    cdef Py_ssize_t kept                # the block of which everything that is carried is there, or -1
    cdef LaterSteps later               # or None

    def __init__(self, Wiring wiring, LanesRun run, Bench bench):
        cdef MapRegion region = wiring.region
        self.carried, self.backwards, self.begins = region.carried, region.backwards, region.begins
        Along.__init__(self, wiring, run, bench)
        self.list_inputs()
        self.rooms = region.lanes + 1 if self.both is not None else 2
        self.room = self.carried * run.width * run.size
        if self.room and self.rooms > (<Py_ssize_t>1 << 46) // self.room:
            raise MemoryError(f"{region.name}: no memory for {self.rooms} steps that carry {self.carried} rows")
        self.rows = Memory((self.rooms + 2) * self.room)
        self.pull = self.rows.start + self.rooms * self.room
        self.pulled = self.pull + self.room
        self.kept = -1
        if self.both is not None:
            self.later = later_steps(self.both.run, self.both.bench, region.lanes, not self.collected.shape[0])
        if self.later is not None:
            self.ahead = self.both      # which leaves what is wanted later

    cdef object program(self, plan, bint gradient, uniform, wanted, arrays):
        return plan.along(gradient, uniform, wanted, arrays, True)

    cdef int ready(self, Inner inner) except -1:
        inner.run.take_strands(1)
        inner.run.aim_sums(inner.bench, 0)
        return 0

    cdef object divergence(self, Py_ssize_t guard, point, Py_ssize_t j):
        return at_step(self.wires.plan.divergence(guard, point), j)

    cdef int list_inputs(self) except -1:
        """List the inputs that need something at every step."""
        kinds = self.wires.given["kind"]
        self.carry = np.flatnonzero(kinds == CARRY).astype(np.int32)
        self.by_place = not (np.isin(kinds, (LANE, SAME)).any() or self.stacks or self.region.body_arrays)
        both = np.zeros(len(kinds), np.uint8) if self.both is None else np.asarray(self.both.wanted) & self.both.uniform
        wanted = np.zeros(len(kinds), np.uint8) if self.both is None else np.array(self.both.wanted)
        if self.both is not None:       # numbers that are the same everywhere have sums
            wanted &= ~((kinds == OPERAND) & (np.asarray(self.both.uniform) != 0))
        self.wanted = np.flatnonzero((kinds != CARRY) & (wanted != 0)).astype(np.int32)
        self.collected = np.flatnonzero((kinds == LANE) & (both != 0)).astype(np.int32)
        return 0

    # where everything is in a block of lanes

    cdef void aim(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin, bint both) noexcept nogil:
        cdef Py_ssize_t k, n
        inner.begin()
        self.aim_inputs(inner, run, bench, begin)
        self.aim_arrays(self.outer, inner.arrays, inner, both)
        for k in range(self.stacks):
            for n in range(self.stack[k].numbers):
                if not both:
                    inner.value[self.stack[k].first + n] = track_of(&self.outer.value[self.stack[k].array], 0, n, False)
                elif self.outer.wanted[self.stack[k].array]:
                    inner.pull[self.stack[k].first + n] = track_of(
                        &self.outer.adjoint[self.stack[k].array], 0, n, False
                    )
        if both:
            for k in range(self.region.outputs):
                inner.run.pull[k].constant = 0.0
            self.aim_gradients(inner, run, bench, begin)

    cdef void aim_gradients(self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin) noexcept nogil:
        """Let gradients of rows go to rows, and those of arrays to columns; uniform ones are summed up first."""
        cdef Py_ssize_t i, slot
        cdef Source* source
        for i in self.wanted:
            source = &self.wires.source[i]
            if source.kind == LANE:
                inner.gradient_of[i] = track_of(
                    &self.outer.adjoint[self.region.array_of[source.which]], self.region.axis_of[source.which],
                    source.element, True
                )
            elif not inner.uniform[i]:
                slot = self.wiring.target[source.which]
                inner.gradient_of[i] = Track(<char*>bench.space.row[slot] - begin * run.size, 0, run.size, True)

    cdef void aim_carry(self, LanesRun run, Py_ssize_t step, Py_ssize_t begin, bint both) noexcept nogil:
        """Let a step read and write what is carried."""
        cdef Py_ssize_t i, row = run.width * run.size, back = begin * run.size
        cdef char* into = self.carry_of(step)
        cdef char* on = self.carry_of(step + 1)
        cdef Source* source
        for i in self.carry:
            source = &self.wires.source[i]
            run.aim(&run.input[i], into + source.element * row - back, run.size, False)
            if both:
                run.aim(&run.gradient[i], self.pulled + source.element * row - back, run.size, False)
        for i in range(self.carried):
            if both:
                run.aim(&run.pull[i], self.pull + i * row - back, run.size, False)
            else:
                run.aim(&run.value[i], on + i * row - back, run.size, False)

    cdef inline char* carry_of(self, Py_ssize_t step) noexcept nogil:
        return self.rows.start + step % self.rooms * self.room

    # sweeps

    cdef int steps(
        self, Inner inner, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count, bint both
    ) except -1 nogil:
        cdef Py_ssize_t step, k, j, since = 0, work = inner.bench.ahead.length + inner.bench.back.length + 1
        cdef Py_ssize_t patience = max(PATIENCE // (run.width * work), <Py_ssize_t>1)
        inner.run.lanes, inner.run.lane = run.lanes, NULL if self.by_place else run.lane
        self.aim(inner, run, bench, begin, both)
        if self.region.lanes:       # else there is nothing to be read
            inner.settle(inner.run)
        if both:
            clear_sums(inner.run, 0)
        for k in range(self.region.lanes):
            step = self.region.lanes - 1 - k if both else k
            j = self.region.lanes - 1 - step if self.backwards else step
            inner.move(inner.run, j, both)
            self.aim_carry(inner.run, step, begin, both)
            if self.later is not None:
                self.later.begin(step, both)
            if both:
                memset(self.pulled, 0, <size_t>self.room)
            if not inner.run.block(inner.bench, 0, begin, begin + count, both):
                with gil:
                    raise self.broken_at(inner, j, begin)
            if both:
                memcpy(self.pull, self.pulled, <size_t>self.room)
                inner.run.widen(0)
                self.collect_arrays(inner, inner.run, j)
            since += 1
            if since == patience:
                since = 0
                with gil:
                    look_for_signals()
                if inner.run.is_stopped():
                    return 0
        return 0

    cdef void collect_arrays(self, Inner inner, LanesRun run, Py_ssize_t j) noexcept nogil:
        """Add what a step pulled on numbers of arrays that are the same in all lanes, and forget it."""
        cdef Py_ssize_t i
        for i in self.collected:
            if run.sum_row[i] >= 0:
                add_number_at(
                    inner.gradient_of[i].base + j * inner.gradient_of[i].step, run.sum_of(run.sum_row[i]), run.single
                )
                memset(run.partial_sums(0, run.sum_row[i]), 0, <size_t>run.sum_bytes())
            inner.collect_number(i, j)

    cdef void leave_sums(self, Inner inner, LanesRun steps, LanesRun run, Bench bench) noexcept nogil:
        cdef Py_ssize_t i
        cdef const Source* source
        Along.leave_sums(self, inner, steps, run, bench)
        for i in steps.summed:
            source = &self.wires.source[i]
            if source.kind == OPERAND:
                self.add_total(run, bench, self.wiring.target[source.which], steps.sum_of(steps.sum_row[i]))

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k, row = run.width * run.size
        cdef const char* last
        self.kept = -1
        self.take_carry(run, bench)
        self.steps(self.ahead, run, bench, begin, count, False)
        last = self.carry_of(self.region.lanes)
        for k in range(self.carried):
            memcpy(bench.space.row[self.wiring.result + k], last + k * row, <size_t>(count * run.size))
            run.repeat_last(<char*>bench.space.row[self.wiring.result + k], count)
        if self.rooms > self.region.lanes:
            self.kept = begin
        return 0

    cdef void take_carry(self, LanesRun run, Bench bench) noexcept nogil:
        """Let the first step be given what is carried into the scan."""
        cdef Py_ssize_t k, slot, row = run.width * run.size
        for k in range(self.carried):
            slot = self.wiring.operand[self.begins[k]]
            if run.is_number(slot):
                fill_row(
                    self.carry_of(0) + k * row, run.width, run.number(<char*>bench.space.row[slot]), run.single
                )
            else:
                memcpy(self.carry_of(0) + k * row, bench.space.row[slot], <size_t>row)

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k, row = run.width * run.size
        cdef int32_t target
        if self.kept != begin:
            self.take_carry(run, bench)
            self.steps(self.ahead, run, bench, begin, count, False)
        self.kept = -1
        for k in range(self.carried):
            memcpy(self.pull + k * row, bench.space.row[self.wiring.pull + k], <size_t>row)
        self.steps(self.both, run, bench, begin, count, True)
        for k in range(self.carried):
            target = self.wiring.target[self.begins[k]]
            if target >= 0 and run.is_sum(target):
                self.add_total(run, bench, target, total_of_row(self.pull + k * row, count, run.single))
            elif target >= 0:
                add_row(bench.space.row[target], count, self.pull + k * row, run.single)
        self.leave_sums(self.both, self.both.run, run, bench)
        return 0
