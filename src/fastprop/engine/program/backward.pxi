"""From a draft in order to a program: after the instructions forward those backward.

Slots are given to whole runs and taken back when nothing needs them: a value lives until its last use, forward or
backward.
"""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.kernels cimport ADD
from fastprop.engine.executor.instructions cimport *


cdef class Pulls(ProductPulls):
    """Writes the instructions backward."""

    cdef int fill_here(self, int32_t r, int32_t j) noexcept:
        cdef int32_t i
        for i in range(self.run[r], self.run[r + 1]):
            self.here[i - self.run[r]] = self.operand[self.first[i] + j]
        return 0

    cdef int push_source(self, int32_t r, int32_t j, int source) except -1:
        """Write where a partial is: in an operand, in the value, or in what was saved."""
        cdef int32_t place = self.base + r
        cdef int32_t count = self.run[r + 1] - self.run[r]
        if source == VALUE:
            self.program.push_operand(self.value[place], CONTIGUOUS, 0)
        elif source == KEPT:
            self.program.push_operand(self.saved[place] + j * count, CONTIGUOUS, 0)
        else:
            self.take(r, source)
        return 0

    cdef int pull_operand(self, int32_t r, int32_t j) except -1:
        """Write the pull on the operands j of a run."""
        cdef int32_t begin = self.run[r], count = self.run[r + 1] - begin
        cdef int opcode = self.opcode[begin]
        cdef Rule rule = rule_of(opcode, j)
        cdef Instruction* step
        if rule.kind == NOTHING:
            return 0
        if opcode == PRODUCTS and self.is_unity(r, rule.u):
            rule = Rule(PASS, NOTHING, NOTHING)
        self.fill_here(r, j)
        if rule.kind == PASS and (self.share(r, count) or self.is_heir(r)):
            return 0
        at = self.aim(count)
        if at < 0:
            return 0
        # the target, then u and w, side by side in the pool
        at = self.program.operands - 1
        if rule.u != NOTHING:
            self.push_source(r, j, rule.u)
        if rule.w != NOTHING:
            self.push_source(r, j, rule.w)
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.operand = rule.kind, count, <int32_t>at
        step.arity = 1 + (rule.u != NOTHING) + (rule.w != NOTHING)
        step.result, step.saved = self.adjoint[self.base + r], 0 if self.is_pulled_once(self.here[0]) else -1
        return 0

    cdef inline bint is_pulled_once(self, int32_t x) noexcept:
        """Whether x is a varying input, in lanes, to which one gate alone brings its whole gradient."""
        return self.lanes and 0 <= x < self.inputs and not self.uniform[x] and self.uses[x] == 1

    cdef bint any_wanted(self, int32_t r, int32_t j) noexcept:
        """Whether an operand j of a run's gates is to be pulled."""
        cdef int32_t i
        for i in range(self.run[r], self.run[r + 1]):
            if self.is_active(self.operand[self.first[i] + j]):
                return True
        return False

    cdef int pull_list(self, int32_t r) except -1:
        """Write the pulls on all operands of a run's gates: targets, or pairs of a partial's place and a target."""
        cdef int32_t i, j, x, begin = self.run[r]
        cdef int32_t arity = self.first[begin + 1] - self.first[begin], pulled = 0
        cdef int opcode = self.opcode[begin]
        cdef Instruction* step
        for j in range(self.first[begin], self.first[self.run[r + 1]]):
            if self.is_active(self.operand[j]):
                self.make_ready(self.operand[j])
        at = self.program.indices
        for j in range(arity):
            self.here[j] = self.any_wanted(r, j)
            pulled += self.here[j]
        for i in range(begin, self.run[r + 1]):
            for j in range(arity):
                if self.here[j]:
                    x = self.operand[self.first[i] + j]
                    if opcode == PRODUCTS:
                        self.program.push_index(self.slot_of(self.operand[self.first[i] + (j ^ 1)]))
                    elif opcode != TOTAL:
                        self.program.push_index(self.saved[self.base + r] + (i - begin) * arity + j)
                    self.program.push_index(self.adjoint_of(x) if self.is_active(x) else self.trash)
        at = self.program.push_operand(<int32_t>at, GATHER, ADD_TO)
        step = self.program.write(self.pulls)
        step.opcode = LIST_PASS if opcode == TOTAL else LIST_PRODUCT
        step.count, step.arity = self.run[r + 1] - begin, pulled
        step.operand = <int32_t>at
        step.result, step.saved = self.adjoint[self.base + r], -1
        return 0

    cdef int pull_item(self, int32_t r) except -1:
        """Write the pull on one of the numbers of every gate, which can all be added to."""
        cdef int32_t i, j, k, x, begin = self.run[r], end = self.run[r + 1]
        cdef Instruction* step
        for j in range(self.first[begin], self.first[end]):
            if self.is_active(self.operand[j]) and not self.add_up(self.operand[j]):
                self.make_ready(self.operand[j])
        at = self.program.operands
        for i in range(begin, end):
            for j in range(self.first[i], self.first[i + 1]):
                x, k = self.operand[j], j - self.first[begin]
                if j == self.first[i]:
                    x = self.number_of(x)
                    self.note_place(k, self.slot_of(x), x < 0 or (x < self.inputs and self.uniform[x]))
                elif self.is_active(x) and self.lanes and x < self.inputs and self.uniform[x]:
                    self.note_place(k, x, True)
                else:
                    self.note_place(k, self.adjoint_of(x) if self.is_active(x) else self.trash, False)
        if not self.lanes:
            self.push_items(end - begin, self.kept_arity(r))
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.arity = ITEM_PULL, end - begin, self.kept_arity(r)
        step.operand = <int32_t>at
        step.result, step.saved = self.adjoint[self.base + r], -1
        return 0

    cdef int note_place(self, int32_t k, int32_t slot, bint uniform) except -1:
        """Note place k of a list: in lanes it is written, an operand of its own."""
        if self.lanes:
            self.program.push_operand(slot, BROADCAST if uniform else CONTIGUOUS, ADD_TO)
        self.slots[k] = slot
        return 0

    cdef int pull_chain(self, int32_t r) except -1:
        """Write the pull on a chain's operands and on its start: targets of x, x, target of the start, the start."""
        cdef int32_t begin = self.run[r], count = self.run[r + 1] - begin
        cdef int32_t start = self.operand[self.first[begin]]
        cdef Instruction* step
        self.fill_here(r, 1)
        at = self.program.operands
        if self.aim(count) < 0:
            for k in range(count):
                self.slots[k] = self.trash
            self.describe(count, ADD_TO)
        at = self.program.operands - 1
        self.take(r, 1)
        self.here[0] = start
        if self.aim(1) < 0:
            self.program.push_operand(self.trash, CONTIGUOUS, ASSIGN)
        self.program.push_operand(self.slot_of(start), CONTIGUOUS, 0)
        step = self.program.write(self.pulls)
        step.opcode = CHAIN_PASS if self.opcode[begin] == ADD else CHAIN_PRODUCT
        step.count, step.arity, step.operand, step.closed = count, 4, <int32_t>at, self.is_closed(self.base + r)
        step.result, step.saved = self.adjoint[self.base + r], self.value[self.base + r]
        return 0

    cdef int pull_region(self, int32_t r) except -1:
        """Let a region pull; every operand that is active has adjoints to which it can add."""
        cdef int32_t begin = self.run[r], j, x
        cdef Instruction* step
        cdef Region region = self.draft.payload[begin]
        cdef Py_ssize_t number = self.region_number[r]
        if self.pulls == &self.program.ahead and self.first[begin + 1] - self.first[begin] == region.numbers:
            number = self.another_use(r)        # others may pull on it, too
        cdef Wiring wiring = self.program.regions[number]
        wiring.pull = self.adjoint[self.base + r]
        wiring.targets[:] = -1
        for j in range(min(self.first[begin + 1] - self.first[begin], <int32_t>region.numbers)):
            x = self.operand[self.first[begin] + j]
            if self.is_active(x):
                if not region.sums_numbers or not self.add_up(x):
                    self.make_ready(x)
                wiring.target[j] = self.adjoint_of(x)
        if self.pulls == &self.program.ahead:
            wiring.active_arrays = frozenset(region.arrays_of(np.flatnonzero(wiring.targets >= 0)))
        step = self.program.write(self.pulls)
        step.opcode, step.count = REGION_PULL, <int32_t>number
        step.result, step.saved = self.adjoint[self.base + r], -1
        return 0

    cdef Py_ssize_t another_use(self, int32_t r) except -1:
        """The number of another use of a region."""
        self.program.regions.append(self.wiring(r))
        return len(self.program.regions) - 1

    cdef int give_array(self, int32_t r, Gradient gradient) except -1:
        """Let the adjoint of an array that is a variable become an array."""
        cdef Instruction* step
        cdef Py_ssize_t number = self.another_use(r)
        (<Wiring>self.program.regions[number]).gives = gradient.arrays[self.draft.payload[self.run[r]].array]
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.result, step.saved = REGION_PULL, <int32_t>number, self.value[self.base + r], -1
        return 0

    cdef int backward(self) except -1:
        """Write the instructions backward."""
        cdef int32_t r, place
        cdef Py_ssize_t k
        seeds = np.full(len(self.draft.outputs), -1, np.int32)
        assigned = np.zeros(len(self.draft.outputs), np.uint8)
        for k in range(len(self.draft.outputs)):
            self.here[0] = self.draft.outputs[k]
            place = self.range_of(self.here[0])
            if place >= self.base and self.dropped[place - self.base]:
                continue
            if place >= 0 and self.is_active(self.here[0]):
                if self.is_row(self.here[0]):
                    assigned[k] = not self.has_arrived(self.here[0])
                elif self.adjoint[place] < 0 and self.pulled_size(place) == 1:
                    self.arrive(place)
                    assigned[k] = 1
                self.make_ready(self.here[0])
                seeds[k] = self.adjoint_of(self.here[0])
        self.ready_outers()
        self.program.prologue = self.program.back.length
        self.program.seeds, self.program.assigned = seeds, assigned
        for r in range(self.runs - 1, -1, -1):
            place = self.base + r
            if self.adjoint[place] >= 0:
                self.pull_run(r)
            if self.saved[place] >= 0:
                self.release(self.saved[place], self.size_of(place) * self.kept_arity(r))
            self.bury(2 * self.runs - r)
        for place in range(self.base):
            if self.lanes and not self.wanted[place]:
                continue
            self.clear(place)
        self.program.entire[:] = (np.asarray(self.sums) == 1) & (np.asarray(self.summed) == 0)
        return 0

    cdef int pull_run(self, int32_t r) except -1:
        """Write what a run pulls, and take back its adjoints."""
        cdef int32_t j
        if self.part[r] != NO_PART:     # other rows than the first have left their pulls to that
            return self.pull_dots(r) if self.part[r] == FIRST_ROW else 0
        if self.opcode[self.run[r]] == REGION:
            self.pull_region(r)
        elif self.is_chain(r):
            self.pull_chain(r)
        elif self.opcode[self.run[r]] == ITEM:
            self.pull_item(r)
        elif self.opcode[self.run[r]] == MATMUL:
            self.pull_products(r)
        elif self.opcode[self.run[r]] == BATCH_MATMUL:
            self.pull_batch(r)
        elif self.in_lists(r):
            self.pull_list(r)
        else:
            for j in range(self.kept_arity(r)):
                self.pull_operand(r, j)
        return self.leave(self.base + r)
