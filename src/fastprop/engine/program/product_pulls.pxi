"""The pulls on what products multiply: matrices, rows, and what is added."""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport *


cdef class ProductPulls(Adjoints):
    """Writes the instructions backward of products."""

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
        cdef int32_t rows = self.rows_of(r), columns = self.columns_of(r), first = self.first[self.run[r]] + 1, i
        cdef int32_t middle = first + rows * columns, behind = middle + self.said_by(r) * columns
        cdef const int32_t[::1] number = self.operand[first:middle]
        cdef const int32_t[::1] added = self.operand[behind : self.first[self.run[r] + 1]]
        cdef bint wanted = False
        if self.lanes:
            self.gather_rows(range(self.run[r], self.run[r + 1]))
            wanted = self.any_is_active(number) or self.any_is_active(added)
        for i in range(self.said_by(r) - 1, -1, -1):
            if self.lanes:
                self.write_matmul_pull(
                    r, i, rows, number, self.operand[middle + i * columns : middle + (i + 1) * columns], added, wanted
                )
            else:
                self.pull_vector_product(r, i)
        return 0

    cdef int pull_dots(self, int32_t r) except -1:
        """Write the pulls of a product of which this run is the first row, and take the rows' adjoints back."""
        cdef list gates = self.dots.rows[self.run[r]]
        number = np.concatenate([self.dots.numbers[gate] for gate in gates])
        self.gather_rows(gates)
        self.write_matmul_pull(
            r, 0, <int32_t>len(gates), number, self.dots.columns[self.run[r]], np.zeros(0, np.int32),
            self.any_is_active(number)
        )
        return self.release(self.adjoint[self.base + r], <int32_t>len(gates))

    cdef int write_matmul_pull(
        self, int32_t r, int32_t i, int32_t rows, const int32_t[::1] number, const int32_t[::1] column,
        const int32_t[::1] added, bint wanted
    ) except -1:
        """Write the pulls on the rows that are a product's vector i, and on its matrix and what it adds: these sum up.

        The latter only if they are `wanted`.
        """
        cdef int32_t columns = <int32_t>column.shape[0], k, x
        cdef Py_ssize_t of_matrix = self.matrix_at[r][i]
        cdef int32_t start = self.program.index[of_matrix], begins = self.program.index[of_matrix + 3]
        cdef Instruction* step
        if wanted:
            self.note_sums(number, start >= 0)
            self.note_sums(added, begins >= 0)
        cdef int32_t[::1] target = np.full(2 * columns, -1, np.int32)
        for k in range(columns):
            x = column[k]
            if self.is_active(x):
                target[columns + k] = self.mode_of(x)
                target[k] = self.adjoint_of(x)
        at = self.program.indices
        self.program.push_index(<int32_t>of_matrix)
        self.program.push_index(self.inputs if wanted else 0)
        for x in (start, begins):
            self.program.push_index(<int32_t>self.starts[x][0] if x >= 0 else -1)
        for k in range(2 * columns):
            self.program.push_index(target[k])
        step = self.program.write(self.pulls)
        step.opcode, step.count, step.arity, step.operand = MATMUL_PULL, rows, columns, <int32_t>at
        step.result, step.saved = self.adjoint[self.base + r] + i * rows, -1
        return 0

    cdef bint any_is_active(self, const int32_t[::1] operands) noexcept:
        cdef Py_ssize_t k
        for k in range(operands.shape[0]):
            if self.is_active(operands[k]):
                return True
        return False

    cdef int ready_outers(self) except -1:
        """Write to the index where factors of outer products are pulled, after all other outputs, and how."""
        cdef Py_ssize_t at, count
        cdef int32_t x
        for (_, left, right), (_, rows, columns, begin) in zip(self.outers.found, self.program.outers.tolist()):
            count = rows + columns
            at = begin + count
            for x in np.concatenate([left, right]):
                if self.is_active(x):
                    self.program.index[at + count] = self.mode_of(x)
                    self.program.index[at] = self.adjoint_of(x)
                at += 1
        return 0

    cdef int pull_batch(self, int32_t r) except -1:
        """Write the pulls on both matrices of a product."""
        cdef int32_t begin = self.first[self.run[r]] + 1, end = self.first[self.run[r] + 1], depth = self.depth_of(r)
        cdef int32_t middle = begin + self.said_by(r) * depth, j, x
        cdef Instruction* step
        cdef set seen = set(), again = set()
        if self.lanes:
            self.gather_rows(range(self.run[r], self.run[r + 1]))
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
