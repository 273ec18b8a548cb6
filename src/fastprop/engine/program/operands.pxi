"""How the operands of a run are written: side by side, one for all, evenly in pieces, or number by number."""
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport (
    ADD_TO, BROADCAST, CONTIGUOUS, GATHER, ITEM_WORDS, PIECE_WORDS, PIECES,
)

cdef enum:
    LEAST_PIECE = 8         # numbers that lie evenly, on average: fewer are gathered one by one


cdef class Operands:
    """Writes the operands of a program."""

    cdef Program program
    cdef int32_t[::1] slots         # those at work

    cdef Py_ssize_t describe(self, Py_ssize_t n, int mode) except -1:
        """Write the operand that `slots[:n]` are: side by side, one, or to be gathered."""
        cdef Py_ssize_t k
        cdef bint same = True, consecutive = True
        for k in range(1, n):
            same = same and self.slots[k] == self.slots[0]
            consecutive = consecutive and self.slots[k] == self.slots[k - 1] + 1
        if consecutive:
            return self.program.push_operand(self.slots[0], CONTIGUOUS, mode)
        if same:
            return self.program.push_operand(self.slots[0], BROADCAST, mode)
        at = self.program.indices
        if self.in_pieces(n):
            return self.program.push_operand(<int32_t>at, PIECES, mode)
        for k in range(n):
            self.program.push_index(self.slots[k])
        return self.program.push_operand(<int32_t>at, GATHER, mode)

    cdef bint in_pieces(self, Py_ssize_t n) except -1:
        """Write `slots[:n]` to the index as pieces that lie evenly, if they are few, and most of them side by side."""
        cdef Py_ssize_t begin = 0, end, most = n // LEAST_PIECE, apart = n // 2, at = self.program.indices
        cdef int32_t step
        while begin < n:
            end = begin + 1
            step = self.slots[end] - self.slots[begin] if end < n else 1
            while end < n and self.slots[end] == self.slots[end - 1] + step:
                end += 1
            most -= 1
            apart -= end - begin if step != 0 and step != 1 else 0
            if most < 0 or apart < 0:
                self.program.indices = at
                return False
            for x in (end - begin, self.slots[begin], step):
                self.program.push_index(<int32_t>x)
            begin = end
        return True

    cdef Py_ssize_t push_items(self, Py_ssize_t count, Py_ssize_t arity) except -1:
        """Write the operands of gates that pick a number: `slots` are of each gate an index, then the numbers.

        Where the numbers of every gate lie evenly, as those of a table do, it is written how.
        """
        cdef Py_ssize_t i, k, at = self.program.indices
        cdef bint even = arity > ITEM_WORDS
        for i in range(0, count * arity, arity):
            for k in range(i + 3, i + arity):
                even = even and self.slots[k] - self.slots[k - 1] == self.slots[i + 2] - self.slots[i + 1]
        for i in range(0, count * arity if even else 0, arity):
            for x in (self.slots[i], self.slots[i + 1], self.slots[i + 2] - self.slots[i + 1]):
                self.program.push_index(<int32_t>x)
        for i in range(0 if even else count * arity):
            self.program.push_index(self.slots[i])
        return self.program.push_operand(<int32_t>at, PIECES if even else GATHER, ADD_TO)
