"""Outer products that are summed over the lanes: outputs of a program, in rows and columns, that no row is written for.

Where second derivatives are summed up, an output for every number of a matrix is a product of two rows of lanes, or a
sum of a few. All these products share their factors: the sums are a product of matrices, whose depth are the lanes. Run
backward, what is pulled on the sums is a matrix that is the same in all lanes, and the pulls on the factors are its
products with the rows of the other side.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.kernels cimport ADD, STRONG_MULTIPLY
from fastprop.engine.executor.instructions cimport TOTAL
from fastprop.engine.trace cimport Draft

cdef enum:
    FEWEST_COLUMNS = 4      # of a matrix that is taken as a whole
    FEWEST_NUMBERS = 16
    MOST_TERMS = 8          # of each of its numbers


cdef int32_t[::1] uses_in(Draft draft):
    """How often each input, and then each gate, is an operand, an output or a guard."""
    ends = np.concatenate([draft.operand, draft.outputs, draft.guards])
    return np.bincount(ends[ends >= 0], minlength=draft.inputs + len(draft) + 1).astype(np.int32)


cdef class Outers:
    """What is found in a draft."""

    cdef Draft draft
    cdef const int32_t[::1] output
    cdef int32_t[::1] first
    cdef int32_t[::1] operand
    cdef uint8_t[::1] opcode
    cdef int32_t[::1] uses          # input or gate -> how often it is an operand, an output or a guard
    cdef const int32_t[::1] stands_for      # gate -> what its number is: its own, or what a variable stands for
    cdef uint8_t[::1] same          # input -> whether it is one number for all lanes
    cdef int32_t inputs
    cdef Py_ssize_t end             # so many outputs are sums
    cdef int32_t[::1] columns       # term after term, the factors that a row's products have
    cdef Py_ssize_t room            # for so many of each
    cdef readonly list found        # (the first output, the factors of rows, of columns)
    cdef readonly object dropped    # uint8: gate -> whether it is no gate of the program

    def __init__(self, Draft draft, uniform, const int32_t[::1] stands_for, Py_ssize_t sums):
        n = len(draft)
        self.draft, self.inputs, self.end, self.room = draft, draft.inputs, sums, sums
        self.output, self.first, self.operand, self.opcode = draft.outputs, draft.first, draft.operand, draft.opcode
        self.stands_for = stands_for
        self.found, self.dropped = [], np.zeros(n, np.uint8)
        if sums == 0:
            return
        self.uses = uses_in(draft)
        self.same = np.array(uniform, np.uint8)
        self.columns = np.empty(MOST_TERMS * sums + 1, np.int32)

    cdef int find(self) except -1:
        """Find all, from the first output on."""
        cdef Py_ssize_t k = 0, rows, columns
        cdef list left = []
        while k < self.end:
            left.clear()
            columns = self.first_row(k, left)
            if columns < FEWEST_COLUMNS:
                k += max(columns, <Py_ssize_t>1)
                continue
            rows = 1
            while self.is_row(k + rows * columns, columns, left):
                rows += 1
            if rows > 1 and rows * columns >= FEWEST_NUMBERS:
                self.keep(k, rows, columns, left)
            k += rows * columns
        return 0

    cdef int32_t terms_of(self, Py_ssize_t k, int32_t* term) noexcept:
        """Write the gates that are an output's terms: products that nobody else reads; returns how many, or 0."""
        cdef int32_t gate = self.output[k] - self.inputs, j, n
        if gate < 0 or self.uses[gate + self.inputs] != 1:
            return 0
        if self.opcode[gate] == STRONG_MULTIPLY:
            term[0] = gate
            return 1
        n = self.first[gate + 1] - self.first[gate]
        if (self.opcode[gate] != ADD and self.opcode[gate] != TOTAL) or n > MOST_TERMS:
            return 0
        for j in range(n):
            term[j] = self.operand[self.first[gate] + j] - self.inputs
            if term[j] < 0 or self.opcode[term[j]] != STRONG_MULTIPLY or self.uses[term[j] + self.inputs] != 1:
                return 0
        return n

    cdef int32_t other(self, int32_t gate, int32_t factor) noexcept:
        """The other factor of a product that has this one; -1: it has not."""
        cdef int32_t a = self.operand[self.first[gate]], b = self.operand[self.first[gate] + 1]
        return b if a == factor else a if b == factor else -1

    cdef bint is_row_of_lanes(self, int32_t x) noexcept:
        if x >= self.inputs:
            x = self.stands_for[x - self.inputs]
        return x >= self.inputs or (x >= 0 and not self.same[x])

    cdef Py_ssize_t first_row(self, Py_ssize_t k, list left) except -1:
        """How many outputs from one on have a factor in common, in each of their terms; notes all factors."""
        cdef int32_t term[MOST_TERMS]
        cdef int32_t after[MOST_TERMS]
        cdef int32_t common[MOST_TERMS]
        cdef int32_t t, n = self.terms_of(k, term), x
        cdef Py_ssize_t count = 1
        if n == 0 or k + 1 == self.end or self.terms_of(k + 1, after) != n:
            return 0
        for t in range(n):
            common[t] = self.operand[self.first[term[t]]]
            if self.other(after[t], common[t]) < 0:
                common[t] = self.operand[self.first[term[t]] + 1]
            self.columns[t * self.room] = self.other(term[t], common[t])
            if not (self.is_row_of_lanes(common[t]) and self.is_row_of_lanes(self.columns[t * self.room])):
                return 0
        while k + count < self.end and self.terms_of(k + count, after) == n:
            for t in range(n):
                x = self.other(after[t], common[t])
                if not self.is_row_of_lanes(x):
                    break
                self.columns[t * self.room + count] = x
            else:
                count += 1
                continue
            break
        left.append([common[t] for t in range(n)])
        return count

    cdef bint is_row(self, Py_ssize_t k, Py_ssize_t columns, list left) except -1:
        """Whether outputs from one on have the columns' factors, and others in common, which are noted."""
        cdef int32_t term[MOST_TERMS]
        cdef int32_t common[MOST_TERMS]
        cdef int32_t t, n = <int32_t>len(left[0])
        cdef Py_ssize_t j
        for j in range(columns):
            if k + j >= self.end or self.terms_of(k + j, term) != n:
                return False
            for t in range(n):
                if j == 0:
                    common[t] = self.other(term[t], self.columns[t * self.room])
                    if not self.is_row_of_lanes(common[t]):
                        return False
                elif self.other(term[t], self.columns[t * self.room + j]) != common[t]:
                    return False
        left.append([common[t] for t in range(n)])
        return True

    cdef int keep(self, Py_ssize_t k, Py_ssize_t rows, Py_ssize_t columns, list left) except -1:
        cdef int32_t term[MOST_TERMS]
        cdef int32_t t
        cdef Py_ssize_t j
        for t in range(<int32_t>len(left[0])):
            right = np.array(self.columns[t * self.room : t * self.room + columns])
            self.found.append((k, np.array([common[t] for common in left], np.int32), right))
        for j in range(k, k + rows * columns):
            self.dropped[self.output[j] - self.inputs] = True
            for t in range(self.terms_of(j, term)):
                self.dropped[term[t]] = True
        return 0


cdef Outers outers_of(Draft draft, uniform, const int32_t[::1] stands_for, Py_ssize_t sums):
    """Find them among so many outputs, which are summed."""
    cdef Outers outers = Outers(draft, uniform, stands_for, sums)
    outers.find()
    return outers
