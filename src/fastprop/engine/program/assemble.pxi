"""Gradients inside of a program, whose sweeps stand among its instructions forward; and the whole, put together."""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy

from fastprop.engine.trace cimport Draft
from fastprop.engine.kernels cimport POSITIVE
from fastprop.engine.executor.instructions cimport *

cdef enum:
    TOGETHER_SLOTS = 1 << 15    # of gradients that are written together: what they pull stays in the cache


cdef class Assembler(Pulls):
    """Writes one program."""

    cdef int32_t mark(self, int32_t r) except -1:
        """Let what is on the ways from a gradient's variables to its ends be active; returns the first run of it."""
        cdef int32_t gate = self.run[r], end = self.first[gate + 1], lowest = gate, i, j, x
        cdef Gradient region = self.draft.payload[gate]
        cdef int32_t begin = self.first[gate] + <int32_t>region.ends
        cdef uint8_t[::1] leads = np.zeros(gate + 1, np.uint8)
        np.asarray(self.active)[:] = 0
        for j in range(begin + <int32_t>region.ends, end):
            x = self.operand[j] - self.inputs
            self.active[x] = 1
            lowest = min(lowest, x)
        for i in range(lowest, gate):
            if self.opcode[i] == RESULT:
                self.active[i] = self.active[i - 1]
            for j in range(self.first[i], self.first[i + 1] if self.opcode[i] != RESULT else 0):
                if self.is_active(self.operand[j]):
                    self.active[i] = 1
        for j in range(begin, begin + <int32_t>region.ends):
            if self.is_active(self.operand[j]):
                leads[self.operand[j] - self.inputs] = 1
        for i in range(gate - 1, lowest - 1, -1):
            for j in range(self.first[i], self.first[i + 1] if leads[i] else 0):
                if self.is_active(self.operand[j]):
                    leads[self.operand[j] - self.inputs] = 1
        for i in range(lowest, gate):
            self.active[i] = self.active[i] and leads[i]
        return self.run_of[lowest] if lowest < gate else r

    cdef int survey_gradient(self, int32_t r) except -1:
        """Find out how long a gradient needs values, and for what it needs what is saved."""
        cdef int32_t q, i, j, lowest = self.mark(r)
        cdef Rule rule
        for q in range(lowest, r):
            if self.is_variables(q):
                continue
            for i in range(self.run[q], self.run[q + 1]):
                if not self.active[i]:
                    continue
                rule = rule_of(self.opcode[i], 0)
                if rule.u == KEPT:
                    self.swept[q] = r
                if rule.u == VALUE or rule.w == VALUE or self.is_chain(q):
                    self.death[self.base + q] = max(self.death[self.base + q], r)
                for j in range(self.first[i], self.first[i + 1]):
                    if is_read_backward(self.opcode[i], j - self.first[i]):
                        self.outlive(self.operand[j], r)
        return 0

    cdef int sweep(self, int32_t r) except -1:
        """Write a gradient: what says where it ends, then its instructions backward, and those of others with it."""
        cdef int32_t end = self.end_of_group(r), k
        cdef Gradient region = self.draft.payload[self.run[r]]
        cdef Instruction* step
        for k in range(<int32_t>region.ends):       # what fills a row is written before
            self.row_of(self.operand[self.first[self.run[r]] + k])
        cdef Py_ssize_t at = self.program.ahead.length
        step = self.program.write(&self.program.ahead)
        step.opcode, step.closed, step.saved = REGION, 1, -1
        if end > r + 1:
            self.write_together(r, end)
        else:
            self.write_sweep(r, [])
        self.program.ahead.instruction[at].count = <int32_t>self.program.ahead.length
        return 0

    cdef int write_sweep(self, int32_t r, list keys) except -1:
        """Write a gradient's instructions; and, for each, of which run it pulls, the last one first, and its number."""
        cdef int32_t q, k, place, lowest = self.mark(r), begin = self.first[self.run[r]]
        cdef Gradient region = self.draft.payload[self.run[r]]
        cdef int32_t ends = <int32_t>region.ends
        pulls = [self.row_of(self.operand[begin + k]) for k in range(ends)]
        self.aim_variables(r, begin + 2 * ends)
        self.pulls = &self.program.ahead
        cdef Py_ssize_t at = self.program.ahead.length
        for k in range(ends):
            self.put_pull(self.operand[begin + ends + k], pulls[k])
        at = self.note_sweep(keys, at, self.runs)
        for q in range(r - 1, lowest - 1, -1):
            if self.adjoint[self.base + q] >= 0 and self.aim_of[self.base + q] < 0:
                self.pull_run(q)
                at = self.note_sweep(keys, at, q)
        for q in range(lowest, r):
            place = self.base + q
            for k in range(self.run[q], self.run[q + 1] if self.aim_of[place] >= 0 else 0):
                self.make_ready(self.inputs + k)
                self.arrived[k] = 0
            if self.aim_of[place] >= 0 and not self.is_variables(q):
                self.give_array(q, region)
            self.adjoint[place], self.owner[place], self.sharers[place], self.aim_of[place] = -1, place, 1, -1
            if self.swept[q] == r and self.saved[place] >= 0:
                self.release(self.saved[place], self.size_of(place) * self.kept_arity(q))
        self.note_sweep(keys, at, -1)
        self.pulls = &self.program.back
        return 0

    cdef Py_ssize_t note_sweep(self, list keys, Py_ssize_t at, int32_t q) except -1:
        """Note of what was written from an instruction on that it pulls a run; returns what comes next."""
        cdef Py_ssize_t i
        for i in range(at, self.program.ahead.length):
            keys.append((-q, i - at))
        return self.program.ahead.length

    cdef int32_t end_of_group(self, int32_t r) except -1:
        """The run behind the gradients, from one on, at a point, that need nothing of each other, and no region."""
        cdef int32_t end = r, gate, begin, j, x, lowest = r
        cdef Gradient region
        if self.lanes or not self.recycling:
            return r + 1
        while end < self.runs and end - r < MOST_TOGETHER and self.is_gradient(end):
            gate, region = self.run[end], self.draft.payload[self.run[end]]
            begin = self.first[gate] + 2 * <int32_t>region.ends
            for j in range(self.first[gate], self.first[gate + 1]):
                x = self.operand[j] - self.inputs
                if x >= 0 and self.run_of[x] >= r:
                    return end if end - r >= LEAST_TOGETHER else r + 1
                if j >= begin:
                    lowest = min(lowest, self.run_of[x])
            end += 1
        for j in range(lowest, r if end - r >= LEAST_TOGETHER else lowest):
            if self.opcode[self.run[j]] == REGION and not self.is_variables(j) and not self.is_gradient(j):
                return r + 1
        return end if end - r >= LEAST_TOGETHER else r + 1

    cdef int write_together(self, int32_t r, int32_t end) except -1:
        """Write gradients run by run, one after the other's, so that what they multiply by one matrix lies together.

        Each has slots of its own, as many as stay in the cache; what is left is written later.
        """
        cdef Py_ssize_t begin = self.program.ahead.length, slots = self.program.slots
        cdef int32_t row, start, size
        cdef int32_t[::1] spare = self.spare
        cdef dict spare_long = self.spare_long
        cdef list freed = [], keys = []
        cdef Instruction* step
        for row in range(r, end):
            if row > r:
                if (self.program.slots - slots) // (row - r) * (row - r + 1) > TOGETHER_SLOTS:
                    break
                self.value[self.base + row] = self.allocate(self.run[row + 1] - self.run[row])
            self.spare, self.spare_long = np.full(POOLED_SIZES + 1, -1, np.int32), {}
            self.write_sweep(row, keys)
            for size in range(POOLED_SIZES + 1):
                start = self.spare[size]
                while start >= 0:
                    freed.append((start, size))
                    start = self.next_spare[start]
            freed += [(at, length) for length, those in self.spare_long.items() for at in those]
            self.spare, self.spare_long = spare, spare_long
        for start, size in freed:
            self.release(start, size)
        step = self.program.ahead.instruction + begin
        written = np.empty((len(keys), sizeof(Instruction)), np.uint8)
        cdef uint8_t[:, ::1] copy = written
        memcpy(&copy[0, 0], step, len(keys) * sizeof(Instruction))
        written[:] = written[sorted(range(len(keys)), key=keys.__getitem__)]
        memcpy(step, &copy[0, 0], len(keys) * sizeof(Instruction))
        return 0

    cdef int aim_variables(self, int32_t r, int32_t begin) except -1:
        """Let the adjoints of the variables, whose operands begin there, be a gradient's own numbers."""
        cdef int32_t j, x, place
        for j in range(begin, self.first[self.run[r] + 1]):
            x = self.operand[j]
            place = self.range_of(x)
            if self.offset_of(x) == 0:
                self.aim_of[place] = self.value[self.base + r] + j - begin
                self.adjoint[place] = self.aim_of[place] if self.lanes else -1
            if self.adjoint_aimed(x) != self.value[self.base + r] + j - begin:
                raise ValueError(f"gate {self.run[r]} (gradient) has variables that are not whole, or not in order")
        return 0

    cdef int32_t adjoint_aimed(self, int32_t x) noexcept:
        return self.aim_of[self.range_of(x)] + self.offset_of(x)

    cdef int put_pull(self, int32_t end, int32_t slot) except -1:
        """Write that a pull is put on a number, if anything is wanted of it."""
        cdef Py_ssize_t at
        cdef Instruction* step
        self.here[0] = end
        at = self.aim(1)
        if at >= 0:
            step = self.program.write(self.pulls)
            step.opcode, step.count, step.arity, step.operand = PASS, 1, 1, <int32_t>at
            step.result, step.saved = slot, -1
        return 0

    cdef int write_outers(self) except -1:
        """Write to the index which rows the outer products are of, and make room for how these are pulled."""
        cdef int32_t x
        found = []
        for first, left, right in self.outers.found:
            found.append((first, len(left), len(right), self.program.indices))
            self.measure(MATMUL, len(left), len(right))
            factors = np.concatenate([left, right])
            for x in factors:
                self.program.push_index(self.slot_of(x))
            for x in np.full(2 * len(factors) if self.gradient else 0, -1, np.int32):
                self.program.push_index(x)
        self.program.outers = np.array(found, np.int32).reshape(-1, 4)
        return 0

    cdef Program finish(self):
        """The program, with what its caller needs to know."""
        cdef Program program = self.program
        cdef Draft draft = self.draft
        program.outputs, program.guards = self.slots_of(draft.outputs), self.slots_of(draft.guards)
        program.expected = draft.expected
        program.uniform, program.summed = np.asarray(self.uniform), np.asarray(self.summed)
        program.single, program.entire = np.asarray(self.single), np.zeros(self.inputs, np.uint8)
        found = [(start, *ends) for start, (_, *ends) in self.starts.items()]
        program.starts = np.array(found, np.int32).reshape(-1, 3)
        return program


def assemble(Draft draft, *, bint lanes=False, bint gradient=True, wanted=None, uniform=None, bint recycling=True,
             arrays=(), Py_ssize_t sums=0, bint dots=False, onward=None):
    """Return the program of a draft.

    Parameters
    ----------
    draft : Draft
        In order; its runs are used for one point, in lanes every gate is a run.
    lanes : bool, optional
        Whether a slot is a row of numbers, one per lane.
    gradient : bool, optional
        Whether it shall run backward, too.
    wanted : array of bool, optional
        The inputs whose gradients are wanted; all by default.
    uniform : array of bool, optional
        The inputs that are one number for all lanes.
    recycling : bool, optional
        Whether slots are used again.
    arrays : iterable of int, optional
        The arrays of the recording whose gradients are wanted.
    sums : int, optional
        So many outputs of lanes, the first ones, are only summed up: what is pulled on one is the same in all lanes.
    dots : bool, optional
        Whether, in lanes, sums whose products are strong may become products of matrices.
    onward : array of int, optional
        At one point, for each output the input that it is at the next step, or -1. If it can be, and nothing is run
        backward, it is written there at once: the inputs are then others after a run than before.

    Raises
    ------
    ValueError
        Where an index of the draft is wrong, or a gate of it has to be expanded.
    """
    verify_before(draft, lanes, gradient, wanted, uniform, sums, onward)
    cdef Assembler assembler = Assembler(draft, lanes, gradient, wanted, uniform, recycling, arrays, sums, dots, onward)
    assembler.survey()
    assembler.layout()
    assembler.forward()
    assembler.write_outers()
    # outputs and guards are read between the sweeps
    cdef Program program = assembler.finish()
    assembler.bury(assembler.runs)
    if gradient:
        assembler.backward()
    program.settle()
    if not lanes:
        put_together(program)
        write_words(program)
    if is_verifying():
        verify_program(program)
    return program
