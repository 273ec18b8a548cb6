"""From a draft in order to a program: after the instructions forward those backward, and where adjoints lie.

Slots are given to whole runs and taken back when nothing needs them: a value lives until its last use, forward or
backward, an adjoint from the first pull that arrives (which is assigned, so nothing is cleared) until it is passed on.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.trace cimport Draft
from fastprop.engine.kernels cimport ADD
from fastprop.engine.executor.instructions cimport *


cdef class Pulls(Forward):
    """Writes the instructions backward, after a layout and the instructions forward."""

    cdef int arrive(self, int32_t place) except -1:
        """Give a range slots for its adjoints, at the first pull that arrives."""
        cdef int32_t x
        if place < self.base:
            self.adjoint[place] = <int32_t>self.program.adjoints + place
            return 0
        if self.aim_of[place] >= 0:
            self.adjoint[place] = self.aim_of[place]
            return 0
        x = self.heir_of(place) if self.lanes else -1
        if x >= 0:
            self.adjoint[x] = self.adjoint[place] = <int32_t>self.program.adjoints + x
            self.owner[place] = x
            self.sharers[x] += 1
        else:
            self.adjoint[place] = self.allocate(self.pulled_size(place))
        return 0

    cdef int32_t heir_of(self, int32_t place) except -2:
        """In lanes, a varying input whose whole gradient is the pull on this gate, so that they share a row; or -1."""
        cdef int32_t j, x, gate = self.run[place - self.base]
        cdef int opcode = self.opcode[gate]
        for j in range(self.first[gate + 1] - self.first[gate]):
            x = self.operand[self.first[gate] + j]
            if 0 <= x < self.inputs and self.wanted[x] and not self.uniform[x] and self.uses[x] == 1:
                if rule_of(opcode, j).kind == PASS or (opcode == PRODUCTS and self.is_unity(place - self.base, j ^ 1)):
                    return x
        return -1

    cdef int clear(self, int32_t place) except -1:
        """Let a range have adjoints that can be added to."""
        cdef Instruction* step
        if self.adjoint[place] < 0:
            self.arrive(place)
            step = self.program.write(self.pulls)
            step.opcode, step.count, step.result = CLEAR, self.pulled_size(place), self.adjoint[place]
        return 0

    cdef int make_ready(self, int32_t x) except -1:
        """Let a number have an adjoint that can be added to."""
        cdef Instruction* step
        if self.lanes and x < self.inputs and self.uniform[x]:
            self.summed[x] = 1
        if not self.is_row(x):
            return self.clear(self.range_of(x))
        if not self.has_arrived(x):
            step = self.program.write(self.pulls)
            step.opcode, step.count, step.result = CLEAR, 1, self.adjoint_of(x)
        return 0

    cdef inline bint is_row(self, int32_t x) noexcept:
        """Whether pulls arrive at a row of its own in a range of several: in lanes, at a variable's, or a product's."""
        if not self.lanes or x < self.inputs:
            return False
        cdef int opcode = self.opcode[self.run[self.run_of[x - self.inputs]]]
        return self.aim_of[self.range_of(x)] >= 0 or opcode == MATMUL or opcode == BATCH_MATMUL

    cdef bint has_arrived(self, int32_t x) except -1:
        """Whether something has been pulled on such a row; from now on, it has."""
        cdef bint before = self.arrived[x - self.inputs]
        if self.adjoint[self.range_of(x)] < 0:
            self.arrive(self.range_of(x))
        self.arrived[x - self.inputs] = 1
        return before

    cdef int leave(self, int32_t place) except -1:
        """Take back the adjoint slots of a range that has passed its pulls on."""
        cdef int32_t owner = self.owner[place]
        self.sharers[owner] -= 1
        if self.sharers[owner] == 0:
            self.release(self.adjoint[place], self.pulled_size(place))
        return 0

    cdef bint covers(self, Py_ssize_t n) noexcept:
        """Whether the operands `here[:n]` are a whole range, in order."""
        cdef Py_ssize_t k
        cdef int32_t place = self.range_of(self.here[0])
        if place < 0 or self.size_of(place) != n or self.offset_of(self.here[0]) != 0:
            return False
        for k in range(1, n):
            if self.here[k] != self.here[0] + k:
                return False
        return True

    cdef Py_ssize_t aim(self, Py_ssize_t n) except -2:
        """Write the target that `here[:n]` are, ready to be pulled; -1: nobody wants it."""
        cdef Py_ssize_t k
        cdef int32_t place
        cdef bint any_active = False, same = True
        for k in range(n):
            any_active = any_active or self.is_active(self.here[k])
            same = same and self.here[k] == self.here[0]
        if not any_active:
            return -1
        place = self.range_of(self.here[0])
        if self.is_row(self.here[0]):
            same = self.has_arrived(self.here[0])
            return self.program.push_operand(self.adjoint_of(self.here[0]), CONTIGUOUS, ADD_TO if same else ASSIGN)
        if self.lanes and place < self.base and self.uniform[place]:
            self.summed[place] = 1
            return self.program.push_operand(self.adjoint[place], BROADCAST, ADD_TO)
        if place >= 0 and self.adjoint[place] < 0 and (self.covers(n) or (same and self.pulled_size(place) == 1)):
            self.arrive(place)
            return self.program.push_operand(
                self.adjoint[place], BROADCAST if same and n > 1 else CONTIGUOUS, ASSIGN
            )
        for k in range(n):
            if self.is_active(self.here[k]):
                self.make_ready(self.here[k])
                self.slots[k] = self.adjoint_of(self.here[k])
            else:
                self.slots[k] = self.trash
        return self.describe(n, ADD_TO)

    cdef int share(self, int32_t r, Py_ssize_t n) except -1:
        """Let `here[:n]`, pulled by nothing but this run and by what arrived here, have the same adjoint slots."""
        cdef int32_t place = self.range_of(self.here[0])
        if place < self.base or self.adjoint[place] >= 0 or self.uses[place] != n or not self.covers(n):
            return 0
        if self.aim_of[place] >= 0 or self.is_row(self.here[0]):
            return 0
        if self.size_of(self.base + r) != n or not self.is_active(self.here[0]):
            return 0
        self.adjoint[place] = self.adjoint[self.base + r]
        self.owner[place] = self.owner[self.base + r]
        self.sharers[self.owner[place]] += 1
        return 1

    cdef bint is_heir(self, int32_t r) noexcept:
        """Whether `here` is the input that has its adjoint row in common with this run."""
        cdef int32_t x = self.here[0]
        return self.lanes and 0 <= x < self.inputs and self.adjoint[x] == self.adjoint[self.base + r]

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

    cdef bint is_unity(self, int32_t r, int32_t j) except -1:
        """Whether the operands j of a run are all the constant 1."""
        cdef int32_t x = self.operand[self.first[self.run[r]] + j], i
        if x >= 0 or <double>self.draft.constants[~x] != 1.0:
            return False
        for i in range(self.run[r], self.run[r + 1]):
            if self.operand[self.first[i] + j] != x:
                return False
        return True

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

    cdef bint add_up(self, int32_t x) noexcept:
        """Let the gradient of a number that is the same in all lanes be summed up by the input, if it is one."""
        if not self.lanes or x >= self.inputs or not self.uniform[x]:
            return False
        self.sums[x] += 2
        self.note_sum(x)
        return True

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

    cdef int pull_vector_product(self, int32_t r, int32_t i) except -1:
        """Write, for one point, the pulls on a product's vector i, on its matrix, and on what it adds."""
        cdef int32_t vectors = self.said_by(r), rows = self.rows_of(r), columns = self.columns_of(r), k
        cdef int32_t first = self.first[self.run[r]] + 1, vector = first + (rows + i) * columns
        cdef int32_t added = first + (rows + vectors) * columns, adds = self.first[self.run[r] + 1] - added
        cdef Py_ssize_t of_matrix = self.matrix_at[r][i]
        cdef bint even = self.program.index[of_matrix] >= 0, added_even = self.program.index[of_matrix + 3] >= 0
        cdef Instruction* step
        for k in range(columns):
            self.here[k] = self.operand[vector + k]
        target = self.aim(columns)
        on_matrix = self.ready_start(first, rows * columns, even)
        on_added = self.ready_start(added, adds, added_even)
        at = self.program.indices
        for x in (of_matrix, target, on_matrix, on_added):
            self.program.push_index(<int32_t>x)
        self.push_adjoints(first, rows * columns if on_matrix == -2 else 0)
        self.push_adjoints(added, rows if on_added == -2 else 0)
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.arity, step.operand = MATMUL_PULL, rows, columns, <int32_t>at
        step.result, step.saved = self.adjoint[self.base + r] + i * rows, -1
        return 0

    cdef int32_t ready_start(self, int32_t first, int32_t n, bint even) except -3:
        """Let operands be ready to be added to; returns the first adjoint if they are even, else -2; none: -1."""
        cdef int32_t k
        cdef bint wanted = False
        for k in range(first, first + n):
            if self.is_active(self.operand[k]):
                self.make_ready(self.operand[k])
                wanted = True
        if not wanted:
            return -1
        return self.adjoint_of(self.operand[first]) if even else -2

    cdef int push_adjoints(self, int32_t first, int32_t n) except -1:
        """Write the adjoint slots of operands to the index."""
        cdef int32_t k, x
        for k in range(first, first + n):
            x = self.operand[k]
            self.program.push_index(self.adjoint_of(x) if self.is_active(x) else self.trash)
        return 0

    cdef int pull_products(self, int32_t r) except -1:
        """Write the pulls on the products of a matrix with some vectors, the last one first."""
        cdef int32_t first = self.first[self.run[r]] + 1, rows = self.rows_of(r), columns = self.columns_of(r), k, i
        cdef int32_t added = first + (rows + self.said_by(r)) * columns
        cdef bint wanted = False
        if self.lanes:
            for k in range(first, first + rows * columns):
                wanted = wanted or self.is_active(self.operand[k])
            for k in range(added, self.first[self.run[r] + 1]):
                wanted = wanted or self.is_active(self.operand[k])
            self.gather_rows(r)
        for i in range(self.said_by(r) - 1, -1, -1):
            if self.lanes:
                self.pull_matmul(r, i, wanted)
            else:
                self.pull_vector_product(r, i)
        return 0

    cdef int pull_matmul(self, int32_t r, int32_t i, bint wanted) except -1:
        """Write, for lanes, the pulls on the rows that are a product's vector i, and on its matrix, which are summed.

        Those on the matrix, or on what is added, if they are `wanted`.
        """
        cdef int32_t rows = self.rows_of(r), columns = self.columns_of(r), k, x
        cdef int32_t first = self.first[self.run[r]] + 1, added = first + (rows + self.said_by(r)) * columns
        cdef Py_ssize_t of_matrix = self.matrix_at[r][i]
        cdef int32_t start = self.program.index[of_matrix], added_start = self.program.index[of_matrix + 3]
        cdef Instruction* step
        if wanted:
            self.note_sums(first, rows * columns, start >= 0)
            self.note_sums(added, self.first[self.run[r] + 1] - added, added_start >= 0)
        cdef int32_t[::1] target = np.full(2 * columns, -1, np.int32)
        for k in range(columns):
            x = self.operand[first + (rows + i) * columns + k]
            if self.is_active(x):
                target[columns + k] = self.mode_of(x)
                target[k] = self.adjoint_of(x)
        at = self.program.indices
        self.program.push_index(<int32_t>of_matrix)
        self.program.push_index(self.inputs if wanted else 0)
        for x in (start, added_start):
            self.program.push_index(<int32_t>self.starts[x][0] if x >= 0 else -1)
        for k in range(2 * columns):
            self.program.push_index(target[k])
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.arity, step.operand = MATMUL_PULL, rows, columns, <int32_t>at
        step.result, step.saved = self.adjoint[self.base + r] + i * rows, -1
        return 0

    cdef int gather_rows(self, int32_t r) except -1:
        """Let every row of a product's results, in lanes, have been pulled; it can be pulled anew, further up."""
        cdef int32_t k
        for k in range(self.run[r], self.run[r + 1]):
            self.make_ready(self.inputs + k)
            self.arrived[k] = 0
        return 0

    cdef int mode_of(self, int32_t x) except -1:
        """How a row is pulled that can be assigned if nothing arrived there yet; from now on something has."""
        cdef int32_t place = self.range_of(x)
        if self.is_row(x):
            return ADD_TO if self.has_arrived(x) else ASSIGN
        if self.adjoint[place] < 0 and self.pulled_size(place) == 1:
            self.arrive(place)
            return ASSIGN
        self.make_ready(x)
        return ADD_TO

    cdef int pull_batch(self, int32_t r) except -1:
        """Write the pulls on both matrices of a product."""
        cdef int32_t begin = self.first[self.run[r]] + 1, end = self.first[self.run[r] + 1], depth = self.depth_of(r)
        cdef int32_t middle = begin + self.said_by(r) * depth, j, x
        cdef Instruction* step
        cdef set seen = set(), again = set()
        if self.lanes:
            self.gather_rows(r)
        cdef int32_t[::1] modes = np.full(end - begin, ADD_TO, np.int32)
        cdef int32_t[2] wanted = [0, 0]
        for j in range(begin, end):
            x = self.operand[j]
            if self.is_active(x):
                wanted[j >= middle] = 1
                (again if x in seen else seen).add(x)
        for j in range(begin, end):
            x = self.operand[j]
            if self.is_active(x) and self.lanes and x not in again:
                modes[j - begin] = self.mode_of(x)
            elif self.is_active(x):         # whichever comes first, it can be added to
                self.make_ready(x)
        at = self.program.indices
        for x in (self.matrix_at[r], wanted[0], wanted[1]):
            self.program.push_index(<int32_t>x)
        for j in range(begin, end):
            x = self.operand[j]
            self.program.push_index(self.adjoint_of(x) if self.is_active(x) else -1 if self.lanes else self.trash)
        for j in range(end - begin if self.lanes else 0):
            self.program.push_index(modes[j])
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.arity, step.operand = BATCH_MATMUL_PULL, self.run[r + 1] - self.run[r], depth, at
        step.result, step.saved = self.adjoint[self.base + r], -1
        return 0

    cdef int note_sums(self, int32_t first, int32_t n, bint even) except -1:
        """Say that the gradients of some operands, where they are inputs, are summed up by the input."""
        cdef int32_t k, x
        for k in range(first, first + n):
            x = self.operand[k]
            if x >= 0:
                self.sums[x] += 1 if even else 2
                self.note_sum(x)
        return 0

    cdef void note_sum(self, int32_t x) noexcept:
        """Say that the gradient of an input is summed up by the input."""
        if self.program.sums_end == 0 or x < self.program.sums_begin:
            self.program.sums_begin = x
        self.program.sums_end = max(self.program.sums_end, <Py_ssize_t>x + 1)

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
            if place >= 0 and self.is_active(self.here[0]):
                if self.adjoint[place] < 0 and self.pulled_size(place) == 1:
                    self.arrive(place)
                    assigned[k] = 1
                self.make_ready(self.here[0])
                seeds[k] = self.adjoint_of(self.here[0])
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
