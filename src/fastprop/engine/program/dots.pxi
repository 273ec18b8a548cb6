"""Sums of products of which a factor of exactly 0 is exactly 0, as recorded derivatives have them, in rows: products.

In lanes, where one factor of each is the same number in all of them: rows of a matrix that multiply the same columns.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.kernels cimport STRONG_MULTIPLY
from fastprop.engine.executor.instructions cimport TOTAL
from fastprop.engine.program cimport Gradient
from fastprop.engine.trace cimport Draft

cdef enum:
    SHORTEST_ROW = 4

cdef enum Part:     # of a product, a gate is
    NO_PART
    FACTORS         # two of its factors
    FIRST_ROW       # the first of its rows, where all of them are computed
    OTHER_ROW


cdef class Dots:
    """What is found in a draft."""

    cdef readonly dict rows         # the first gate of each -> all of them
    cdef readonly dict columns      # the first gate of each -> the factors that all have in common
    cdef readonly dict numbers      # gate -> its factors that are numbers
    cdef readonly object part       # uint8: gate -> which part it is
    cdef readonly object read_at    # int32: gate -> the first row of the product that it is a part of, or -1

    def __init__(self, Draft draft, uniform, const int32_t[::1] stands_for):
        self.rows, self.columns, self.numbers = {}, {}, {}
        self.part, self.read_at = np.zeros(len(draft), np.uint8), np.full(len(draft), -1, np.int32)
        if not any([isinstance(what, Gradient) for what in draft.payload.values()]):
            self.find(draft, np.array(uniform, np.uint8), stands_for)

    cdef int find(self, Draft draft, uint8_t[::1] same, const int32_t[::1] stands_for) except -1:
        cdef int32_t[::1] first = draft.first, operand = draft.operand
        cdef uint8_t[::1] opcode = draft.opcode, part = self.part
        cdef int32_t[::1] read_at = self.read_at
        cdef int32_t inputs = draft.inputs, n = <int32_t>len(draft), gate, count, j, product, a, b
        cdef int32_t[::1] uses = uses_in(draft)
        cdef int32_t[::1] number, column
        cdef dict alike = {}        # the columns -> the gates that are their rows
        for gate in range(n):
            count = first[gate + 1] - first[gate] if opcode[gate] == TOTAL else 0
            if count < SHORTEST_ROW:
                continue
            numbers, columns = np.empty(count, np.int32), np.empty(count, np.int32)
            number, column = numbers, columns
            for j in range(count):
                product = operand[first[gate] + j] - inputs
                if product < 0 or opcode[product] != STRONG_MULTIPLY or uses[product + inputs] != 1:
                    break
                a, b = operand[first[product]], operand[first[product] + 1]
                a = a if a < inputs else stands_for[a - inputs]
                b = b if b < inputs else stands_for[b - inputs]
                if not (0 <= a < inputs and same[a]):
                    a, b = b, a
                if not (0 <= a < inputs and same[a]) or b < 0 or (b < inputs and same[b]):
                    break
                number[j], column[j] = a, b
            else:
                self.numbers[gate] = numbers
                alike.setdefault(columns.tobytes(), []).append(gate)
        for key, gates in alike.items():
            if len(gates) < 2:
                continue
            self.rows[gates[0]], self.columns[gates[0]] = gates, np.frombuffer(key, np.int32)
            for gate in gates:
                part[gate], read_at[gate] = OTHER_ROW if gate != gates[0] else FIRST_ROW, gates[0]
                for j in range(first[gate], first[gate + 1]):
                    part[operand[j] - inputs], read_at[operand[j] - inputs] = FACTORS, gates[0]
        return 0
