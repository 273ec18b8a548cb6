"""The instructions forward."""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.kernels cimport ADD, MULTIPLY
from fastprop.engine.executor.instructions cimport *
from fastprop.engine.executor.rules cimport KEPT, rule_of


cdef class Forward(Layout):
    """Writes the instructions forward."""

    cdef Py_ssize_t take(self, int32_t r, int32_t j) except -1:
        """Write the operands j of a run's gates."""
        cdef int32_t begin = self.run[r], i, x
        if self.lanes:
            x = self.number_of(self.operand[self.first[begin] + j])
            if x < 0 or (x < self.inputs and self.uniform[x]):
                return self.program.push_operand(self.slot_of(x), BROADCAST, 0)
            return self.program.push_operand(self.slot_of(x), CONTIGUOUS, 0)
        for i in range(begin, self.run[r + 1]):
            self.slots[i - begin] = self.slot_of(self.operand[self.first[i] + j])
        return self.describe(self.run[r + 1] - begin, 0)

    cdef Py_ssize_t take_list(self, int32_t r) except -1:
        """Write the operands of every gate of a run, gate after gate."""
        return self.describe(self.list_slots(r), 0)

    cdef Py_ssize_t index_list(self, int32_t r) except -1:
        """The same, to be gathered in any case."""
        cdef Py_ssize_t k, at = self.program.indices
        for k in range(self.list_slots(r)):
            self.program.push_index(self.slots[k])
        return self.program.push_operand(<int32_t>at, GATHER, 0)

    cdef Py_ssize_t list_slots(self, int32_t r) noexcept:
        cdef int32_t k, begin = self.first[self.run[r]], end = self.first[self.run[r + 1]]
        for k in range(begin, end):
            self.slots[k - begin] = self.slot_of(self.operand[k])
        return end - begin

    cdef inline bint in_lists(self, int32_t r) noexcept:
        cdef int opcode = self.opcode[self.run[r]]
        if self.lanes:
            return False
        if opcode == PRODUCTS or opcode == TOTAL:
            return self.run[r + 1] - self.run[r] < WIDE
        return opcode == ITEM or is_list(opcode)

    cdef int forward(self) except -1:
        """Write the instructions forward."""
        cdef int32_t r, j, arity, begin, count, place
        cdef int opcode
        cdef Instruction* step
        for r in range(self.runs):
            begin, count = self.run[r], self.run[r + 1] - self.run[r]
            opcode = self.opcode[begin]
            arity = self.first[begin + 1] - self.first[begin]
            place = self.base + r
            at = self.program.operands
            if self.dropped[r] or self.part[r] == FACTORS or self.part[r] == OTHER_ROW or self.is_variables(r):
                self.bury(r)
                continue
            if self.part[r] == FIRST_ROW:
                self.write_dots(begin)
                self.bury(r)
                continue
            if self.is_gradient(r):
                if self.value[place] < 0:       # else it was written together with one before it
                    self.value[place] = self.allocate(count)
                    self.sweep(r)
                self.bury(r)
                continue
            if self.is_chain(r):
                self.program.push_operand(self.slot_of(self.operand[self.first[begin]]), CONTIGUOUS, 0)
                self.take(r, 1)
                opcode = CHAIN_ADD if opcode == ADD else CHAIN_MULTIPLY
            elif self.in_lists(r):
                if is_list(opcode):
                    self.take_list(r)
                elif opcode == ITEM:
                    self.list_slots(r)
                    self.push_items(count, arity)
                else:
                    self.index_list(r)
                    arity = arity // 2 if opcode == PRODUCTS else arity
                    opcode = LIST_PRODUCTS if opcode == PRODUCTS else LIST_TOTAL
            elif opcode == MATMUL:
                self.write_products(r)
                self.bury(r)
                continue
            elif opcode == BATCH_MATMUL:
                at, arity = self.program.indices, self.depth_of(r)
                self.write_matrices(r)
            elif opcode != REGION:
                for j in range(arity):
                    self.take(r, j)
            self.value[place] = self.place_for(r)
            if self.swept[r] >= 0 or (self.gradient and rule_of(opcode, 0).u == KEPT and self.any_active(r)):
                self.saved[place] = self.allocate(count * arity)
            self.measure(opcode, count, arity)
            step = self.program.write(&self.program.ahead)
            step.opcode, step.count, step.arity, step.operand = opcode, count, arity, <int32_t>at
            step.result, step.saved = self.value[place], self.saved[place]
            if opcode == REGION:
                step.count = <int32_t>len(self.program.regions)
                self.region_number[r] = len(self.program.regions)
                self.program.regions.append(self.wiring(r))
            self.bury(r)
        return 0

    cdef int32_t kept_arity(self, int32_t r) noexcept:
        return self.first[self.run[r] + 1] - self.first[self.run[r]]

    # products: their operands are how many vectors there are, a matrix, the vectors, a row for every column, and what
    # is added to every row of each of them, or nothing

    cdef inline int32_t said_by(self, int32_t r) noexcept:
        """The number that a product's first operand is."""
        return <int32_t>self.draft.constants[~self.operand[self.first[self.run[r]]]]

    cdef inline int32_t rows_of(self, int32_t r) noexcept:
        return (self.run[r + 1] - self.run[r]) // self.said_by(r)

    cdef inline int32_t columns_of(self, int32_t r) noexcept:
        return (self.kept_arity(r) - 1) // (self.rows_of(r) + self.said_by(r))

    cdef int write_products(self, int32_t r) except -1:
        """Write the products of a matrix with some vectors."""
        cdef int32_t rows = self.rows_of(r), columns = self.columns_of(r), k
        cdef Instruction* step
        self.write_matrix(r)
        self.value[self.base + r] = self.allocate(self.run[r + 1] - self.run[r])
        self.measure(MATMUL, rows, columns)
        for k, at in enumerate(self.matrix_at[r]):
            step = self.program.write(&self.program.ahead)
            step.opcode, step.count, step.arity, step.operand = MATMUL, rows, columns, <int32_t>at
            step.result, step.saved = self.value[self.base + r] + k * rows, -1
        return 0

    cdef int write_matrix(self, int32_t r) except -1:
        """Write to the index what the products of a matrix with some vectors multiply and add, one after the other."""
        cdef int32_t vectors = self.said_by(r), rows = self.rows_of(r), columns = self.columns_of(r), first, i, k, x
        cdef int32_t added = self.kept_arity(r) - 1 - (rows + vectors) * columns, vector
        cdef Py_ssize_t at = self.program.indices, words
        first = self.first[self.run[r]] + 1
        vector = first + rows * columns
        for k in range(5):
            self.program.push_index(-1)
        for k in range(columns):
            self.program.push_index(self.row_of(self.operand[vector + k]))
        self.program.index[at + 2] = self.operand[first + 1] - self.operand[first] if columns > 1 else 1
        if not self.is_even(at, self.operand[first : vector], rows, columns):
            for k in range(rows * columns):
                self.program.push_index(self.slot_of(self.operand[first + k]))
            if self.lanes:
                self.need(96 + rows * columns // 8 + 2 * rows + 2 * columns)    # a copy of it, and of its sums
        if not self.lanes:      # perhaps a copy
            self.need(rows * columns + rows + 2 * columns)
        if added and not self.is_even(at + 3, self.operand[vector + vectors * columns :], rows, 1):
            self.program.index[at + 3] = -2
            for k in range(rows):
                self.program.push_index(self.slot_of(self.operand[vector + vectors * columns + k]))
        words = self.program.indices - at
        self.matrix_at[r] = [at + i * words for i in range(vectors)]
        for i in range(1, vectors):
            for k in range(words):
                x = self.program.index[at + k]
                if 5 <= k < 5 + columns:
                    x = self.row_of(self.operand[vector + i * columns + k - 5])
                self.program.push_index(x)
        return 0

    cdef int write_dots(self, int32_t gate) except -1:
        """Write a product of which this gate is the first row."""
        cdef list gates = self.dots.rows[gate]
        cdef const int32_t[::1] column = self.dots.columns[gate], number
        cdef int32_t rows = <int32_t>len(gates), columns = <int32_t>column.shape[0], k
        cdef Py_ssize_t at = self.program.indices
        cdef Instruction* step
        self.matrix_at[self.run_of[gate]] = [at]
        for k in range(5):
            self.program.push_index(-1)
        for k in range(columns):
            self.program.push_index(self.slot_of(column[k]))
        number = np.concatenate([self.dots.numbers[g] for g in gates])
        self.program.index[at + 2] = number[1] - number[0]
        if not self.is_even(at, number, rows, columns):
            for k in range(rows * columns):
                self.program.push_index(self.slot_of(number[k]))
            self.need(96 + rows * columns // 8 + 2 * rows + 2 * columns)
        self.measure(MATMUL, rows, columns)
        step = self.program.write(&self.program.ahead)
        step.opcode, step.count, step.arity, step.operand = MATMUL, rows, columns, <int32_t>at
        step.result, step.saved, step.closed = self.allocate(rows), -1, 1
        for k in range(rows):
            self.value[self.base + self.run_of[<int32_t>gates[k]]] = step.result + k
        return 0

    # products of two matrices: their operands are how many rows there are, a matrix by rows, and one by columns

    cdef inline int32_t depth_of(self, int32_t r) noexcept:
        """How many numbers are in a row of the one, and in a column of the other."""
        cdef int32_t rows = self.said_by(r)
        return (self.kept_arity(r) - 1) // (rows + (self.run[r + 1] - self.run[r]) // rows)

    cdef int write_matrices(self, int32_t r) except -1:
        """Write to the index what a product of two matrices multiplies."""
        cdef int32_t rows = self.said_by(r), results = self.run[r + 1] - self.run[r], j
        cdef int32_t columns = results // rows
        self.matrix_at[r] = self.program.indices
        self.program.push_index(rows)
        self.program.push_index(columns)
        for j in range(self.first[self.run[r]] + 1, self.first[self.run[r] + 1]):
            self.program.push_index(self.row_of(self.operand[j]))
        # the slots of the results; or both matrices, what is brought, and a column of pulls
        return self.need(2 + results // 8 if self.lanes else self.kept_arity(r) + self.depth_of(r) + rows)

    cdef bint is_even(self, Py_ssize_t at, const int32_t[::1] operand, int32_t rows, int32_t columns) except -1:
        """Whether operands are inputs that lie evenly in rows and columns; if so, write how."""
        cdef int32_t start = operand[0], i, k
        cdef int32_t down = operand[columns] - start if rows > 1 else columns
        cdef int32_t across = operand[1] - start if columns > 1 else 1
        for i in range(rows):
            for k in range(columns):
                if operand[i * columns + k] != start + i * down + k * across:
                    return False
        for i in (0, rows - 1):
            for k in (0, columns - 1):
                if not 0 <= start + i * down + k * across < self.inputs:
                    return False
        self.program.index[at], self.program.index[at + 1] = start, down
        number, low, high = self.starts.get(start, (len(self.starts), start, start))
        ends = [start + i * down + k * across for i in (0, rows - 1) for k in (0, columns - 1)]
        self.starts[start] = number, min(low, *ends), max(high, *ends)
        return True

    cdef Wiring wiring(self, int32_t r):
        """Where a region finds its operands and puts its results."""
        cdef int32_t begin = self.run[r]
        cdef Region region = self.draft.payload[begin]
        self.program.ordered = self.program.ordered or region.ordered
        slots = self.slots_of(self.operand[self.first[begin] : self.first[begin + 1]])
        return Wiring(region, slots, self.value[self.base + r], self.run[r + 1] - begin)

    cdef bint any_active(self, int32_t r) noexcept:
        cdef int32_t i
        for i in range(self.run[r], self.run[r + 1]):
            if self.active[i]:
                return True
        return False

    cdef int bury(self, int32_t time) except -1:
        """Take back the slots of the values that are not needed after this time."""
        cdef int32_t place = self.dying[time]
        while place >= 0:
            if self.value[place] >= 0:
                self.release(self.value[place], self.size_of(place))
            place = self.next_dying[place]
        return 0
