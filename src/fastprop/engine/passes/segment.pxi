"""Segments: straight parts of drafts, between one decision and the next.

The ways through a function have their first gates in common, gate for gate; so these are kept once, and a segment holds
what comes after them up to its own decision. Gates are known by their places in the whole; a segment's operands are the
inputs, then earlier gates (`Segment.before` says which), then its own.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.executor.instructions cimport REGION, RESULT


cdef class Segment:
    """A part of a draft: its gates are those from `begin` on, of the whole."""

    cdef readonly Draft draft
    cdef readonly object before     # int32: places of the earlier gates that are its inputs, behind the true ones
    cdef readonly Py_ssize_t begin

    def __init__(self, Draft draft, before, Py_ssize_t begin):
        self.draft, self.before, self.begin = draft, before, begin

    def __len__(self):
        return len(self.draft)

    @property
    def inputs(self):
        """How many inputs there are beside earlier gates."""
        return self.draft.inputs - len(self.before)

    def place(self, operand):
        """Return the place in the whole of the gate that an operand is, or -1."""
        if operand < self.inputs:
            return -1
        if operand < self.draft.inputs:
            return int(self.before[operand - self.inputs])
        return self.begin + int(operand) - self.draft.inputs

    def part(self, Py_ssize_t begin, Py_ssize_t end, outputs, guards, expected):
        """Return the gates from one place of the whole to another as a segment of their own."""
        draft, inputs = self.draft, self.inputs
        low, high = begin - self.begin, end - self.begin
        first = draft.first[low : high + 1]
        own = draft.operand[first[0] : first[len(first) - 1]]
        ends = [own, np.asarray(outputs, np.int32), np.asarray(guards, np.int32)]
        whole = np.concatenate(ends).astype(np.int64)
        place = np.full(len(whole), -1, np.int64)
        earlier = (whole >= inputs) & (whole < draft.inputs)
        place[earlier] = self.before[whole[earlier] - inputs]
        own = whole >= draft.inputs
        place[own] = whole[own] - draft.inputs + self.begin
        before = np.unique(place[(place >= 0) & (place < begin)])
        used, constants = np.unique(whole[whole < 0], return_inverse=True)
        moved = whole.copy()
        moved[whole < 0] = ~constants
        is_before, is_own = (place >= 0) & (place < begin), place >= begin
        moved[is_before] = inputs + np.searchsorted(before, place[is_before])
        moved[is_own] = inputs + len(before) + place[is_own] - begin
        sizes = np.cumsum([len(part) for part in ends])
        payload = {g - low: what for g, what in draft.payload.items() if low <= g < high}
        made = Draft(
            inputs + len(before), draft.constants[~used], draft.opcode[low:high].copy(), first - first[0],
            moved[: sizes[0]], draft.origin[low:high].copy(), moved[sizes[0] : sizes[1]], moved[sizes[1] :],
            np.array(expected, np.uint8), payload=payload,
        )
        return Segment(made, before.astype(np.int32), begin)


def whole(Draft draft, numbers, Py_ssize_t inputs):
    """Return a draft as a segment whose inputs are called `numbers`, among so many."""
    cdef Py_ssize_t old = draft.inputs
    names = np.asarray(numbers, np.int64)

    def renamed(operands):
        found = operands.astype(np.int64)
        found[operands >= old] += inputs - old
        given = (operands >= 0) & (operands < old)
        found[given] = names[operands[given]]
        return found

    made = replaced(draft, dict(
        inputs=inputs, operand=renamed(draft.operand), outputs=renamed(draft.outputs), guards=renamed(draft.guards)
    ))
    return Segment(made, np.zeros(0, np.int32), 0)


def varying_gates(Draft draft, varies):
    """Return for every gate whether it depends on an input that varies; a region's numbers do."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef const uint8_t[::1] given = np.ascontiguousarray(varies, np.uint8)
    cdef Py_ssize_t n = len(draft), i
    cdef int32_t inputs = draft.inputs, j, x
    found = np.zeros(max(n, 1), np.uint8)
    cdef uint8_t[::1] varying = found
    for i in range(n):
        varying[i] = opcode[i] == REGION or opcode[i] == RESULT
        for j in range(first[i], first[i + 1]):
            x = operand[j]
            if x >= 0 and (given[x] if x < inputs else varying[x - inputs]):
                varying[i] = 1
    return found[:n]


def only_used(Draft draft):
    """Return a draft without the inputs that nothing uses, and the numbers of the others."""
    ends = (draft.operand, draft.outputs, draft.guards)
    used = np.unique(np.concatenate([x[(x >= 0) & (x < draft.inputs)] for x in ends]))
    moved = np.zeros(draft.inputs + 1, np.int64)
    moved[used] = np.arange(len(used))

    def renamed(operands):
        found = operands.astype(np.int64)
        given = (operands >= 0) & (operands < draft.inputs)
        found[given] = moved[operands[given]]
        found[operands >= draft.inputs] -= draft.inputs - len(used)
        return found

    made = replaced(draft, dict(
        inputs=len(used), operand=renamed(draft.operand), outputs=renamed(draft.outputs), guards=renamed(draft.guards)
    ))
    return made, used
