"""Where adjoints lie, and how what is pulled arrives there.

Slots are given to whole runs: an adjoint lives from the first pull that arrives (which is assigned, so nothing is
cleared) until it is passed on.
"""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport *


cdef class Adjoints(Forward):
    """Gives out the slots of adjoints, after a layout and the instructions forward."""

    cdef int arrive(self, int32_t place) except -1:
        """Give a range slots for its adjoints, at the first pull that arrives."""
        cdef int32_t x
        if place < self.base:
            self.adjoint[place] = <int32_t>self.program.adjoints + place
            return 0
        if self.aim_of[place] >= 0:
            self.adjoint[place] = self.aim_of[place]
            return 0
        if self.part[place - self.base] != NO_PART:
            return self.arrive_at_dots(self.dots.rows[self.run[self.read_at[place - self.base]]])
        x = self.heir_of(place) if self.lanes else -1
        if x >= 0:
            self.adjoint[x] = self.adjoint[place] = <int32_t>self.program.adjoints + x
            self.owner[place] = x
            self.sharers[x] += 1
        else:
            self.adjoint[place] = self.allocate(self.pulled_size(place))
        return 0

    cdef int arrive_at_dots(self, list gates) except -1:
        """Give the rows of a product, each a gate of its own, slots side by side."""
        cdef int32_t start = self.allocate(<int32_t>len(gates)), gate
        for gate in gates:
            self.adjoint[self.base + self.run_of[gate]] = start
            start += 1
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

    cdef bint is_unity(self, int32_t r, int32_t j) except -1:
        """Whether the operands j of a run are all the constant 1."""
        cdef int32_t x = self.operand[self.first[self.run[r]] + j], i
        if x >= 0 or <double>self.draft.constants[~x] != 1.0:
            return False
        for i in range(self.run[r], self.run[r + 1]):
            if self.operand[self.first[i] + j] != x:
                return False
        return True

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
        cdef int32_t r = self.run_of[x - self.inputs]
        cdef int opcode = self.opcode[self.run[r]]
        return self.aim_of[self.base + r] >= 0 or opcode == MATMUL or opcode == BATCH_MATMUL or self.part[r] != NO_PART

    cdef bint has_arrived(self, int32_t x) except -1:
        """Whether something has been pulled on such a row; from now on, it has."""
        cdef bint before = self.arrived[x - self.inputs]
        if self.adjoint[self.range_of(x)] < 0:
            self.arrive(self.range_of(x))
        self.arrived[x - self.inputs] = 1
        return before

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

    cdef int gather_rows(self, gates) except -1:
        """Let every row of a product's results, in lanes, have been pulled; it can be pulled anew, further up."""
        cdef int32_t gate
        for gate in gates:
            self.make_ready(self.inputs + gate)
            self.arrived[gate] = 0
        return 0

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

    cdef bint add_up(self, int32_t x) noexcept:
        """Let the gradient of a number that is the same in all lanes be summed up by the input, if it is one."""
        if not self.lanes or x >= self.inputs or not self.uniform[x]:
            return False
        self.sums[x] += 2
        self.note_sum(x)
        return True

    cdef int note_sums(self, const int32_t[::1] operands, bint even) except -1:
        """Say that the gradients of some operands, where they are inputs, are summed up by the input."""
        cdef Py_ssize_t k
        cdef int32_t x
        for k in range(operands.shape[0]):
            x = operands[k]
            if x >= 0:
                self.sums[x] += 1 if even else 2
                self.note_sum(x)
        return 0

    cdef void note_sum(self, int32_t x) noexcept:
        """Say that the gradient of an input is summed up by the input."""
        if self.program.sums_end == 0 or x < self.program.sums_begin:
            self.program.sums_begin = x
        self.program.sums_end = max(self.program.sums_end, <Py_ssize_t>x + 1)
