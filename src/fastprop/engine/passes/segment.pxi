"""Segments: straight parts of drafts, between one decision and the next.

The ways through a function have their first gates in common, gate for gate; so these are kept once, and a segment holds
what comes after them up to its own decision. Gates are known by their places in the whole; a segment's operands are the
inputs, then earlier gates (`Segment.before` says which), then its own.
"""
import numpy as np

from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.executor.instructions cimport BOTH, NEITHER, REGION, RESULT
from fastprop.engine.kernels cimport WHERE


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


cdef class Choosing:
    """The segments of a tree, all of whose gates are computed, so that conditions can choose between their results.

    What a lane does not reach is computed in vain: nothing is pulled on it, and its guards count as if they held.
    """

    cdef Py_ssize_t inputs
    cdef Py_ssize_t base        # inputs, with the earlier gates that are
    cdef Py_ssize_t top
    cdef object before          # places of those
    cdef object starts          # the number of each segment's first gate
    cdef list above             # the segment of which each is a part of the tree below
    cdef list sides             # and how that one's last guard comes out there
    cdef list segments
    cdef list constants
    cdef list opcode            # of the gates behind those of the segments
    cdef list operands
    cdef list renamed           # of each segment: operands, outputs, guards
    cdef list chains            # of each segment: where it and those above it begin, and with which numbers

    def __init__(self, list segments, list above, list sides, Py_ssize_t inputs):
        cdef Segment segment = segments[0]
        self.segments, self.above, self.sides, self.inputs, self.top = segments, above, sides, inputs, segment.begin
        earlier = np.unique(np.concatenate([segment.before for segment in segments]))
        self.before = earlier[earlier < self.top]
        self.base = inputs + len(self.before)
        self.starts = self.base + np.cumsum([0, *map(len, segments)])
        self.opcode, self.operands, self.renamed, self.chains = [], [], [], []
        self.constants = []
        for k, segment in enumerate(segments):
            self.renamed.append(self.rename(k, segment))
            self.constants += segment.draft.constants.tolist()

    def rename(self, Py_ssize_t k, Segment segment):
        """The operands, outputs and guards of a segment, as they are called here."""
        draft, own = segment.draft, segment.inputs
        begins, starts = self.chains[self.above[k]] if k else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        begins, starts = np.append(begins, segment.begin), np.append(starts, self.starts[k])
        self.chains.append((begins, starts))
        place = segment.before.astype(np.int64)
        owner = np.maximum(np.searchsorted(begins, place, "right") - 1, 0)
        moved = np.arange(draft.inputs, dtype=np.int64)
        moved[own:] = np.where(
            place < self.top, self.inputs + np.searchsorted(self.before, place), starts[owner] + place - begins[owner]
        )
        found = []
        for operands in (draft.operand, draft.outputs, draft.guards):
            there = operands.astype(np.int64)
            given = (operands >= 0) & (operands < draft.inputs)
            there[given] = moved[operands[given]]
            there[operands >= draft.inputs] += self.starts[k] - draft.inputs
            there[operands < 0] -= len(self.constants)
            found.append(there)
        return found

    def gate(self, int opcode, *operands):
        """Add a gate; returns its number."""
        self.opcode.append(opcode)
        self.operands.append(operands)
        return int(self.starts[len(self.segments)]) + len(self.opcode) - 1

    def constant(self, double number):
        """Add a constant; returns what it is called."""
        self.constants.append(number)
        return -len(self.constants)

    def outputs(self):
        """What comes out, chosen by the conditions, from the leaves up."""
        cdef list found = [None] * len(self.segments)
        for k in range(len(self.segments) - 1, -1, -1):
            mine = self.renamed[k][1].tolist() if found[k] is None else found[k]
            if k == 0:
                return mine
            parent = self.above[k]
            other, condition = found[parent], int(self.renamed[parent][2][-1])
            found[parent] = mine if other is None else [
                x if x == y else self.gate(WHERE, condition, *((x, y) if self.sides[k] else (y, x)))
                for x, y in zip(mine, other)
            ]

    def guards(self):
        """The guards that are checked, how they come out, and which ones these are: segments and their guards."""
        cdef list found = [], expected = [], names = [], reached = []
        children = np.bincount([x for x in self.above if x >= 0], minlength=len(self.segments)).tolist()
        for k in range(len(self.segments)):
            reached.append(self.reach(k, reached, children))
            outcomes = self.segments[k].draft.expected.tolist()
            for g, condition in enumerate(self.renamed[k][2].tolist()[: len(outcomes) - (children[k] == 2)]):
                if reached[k] is not None:
                    condition = self.gate(WHERE, reached[k], condition, self.constant(outcomes[g]))
                found.append(condition)
                expected.append(outcomes[g])
                names.append((k, g))
        return found, expected, names

    def reach(self, Py_ssize_t k, list reached, list children):
        """The condition that a lane reaches a segment; None: all do."""
        parent = self.above[k]
        if k == 0 or children[parent] < 2:
            return None if k == 0 else reached[parent]
        condition = int(self.renamed[parent][2][-1])
        if not self.sides[k]:
            condition = self.gate(NEITHER, condition)
        return condition if reached[parent] is None else self.gate(BOTH, reached[parent], condition)

    def segment(self):
        """The segment that they become, and which of their guards its guards are."""
        outputs = self.outputs()
        guards, expected, names = self.guards()
        drafts = [(<Segment>segment).draft for segment in self.segments]
        sizes = np.concatenate([*[np.diff(draft.first) for draft in drafts], [len(x) for x in self.operands]])
        last = [x for operands in self.operands for x in operands]
        draft = Draft(
            self.base,
            self.constants,
            np.concatenate([*[draft.opcode for draft in drafts], np.array(self.opcode, np.uint8)]),
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([*[operands for operands, _, _ in self.renamed], np.array(last, np.int64)]),
            np.full(len(sizes), -1),
            outputs, guards, expected,
        )
        return Segment(draft, np.asarray(self.before, np.int32), self.top), names


def chosen(list segments, list above, list sides, Py_ssize_t inputs):
    """Return a tree of segments as one that computes them all and chooses, and which guards its guards are.

    Parents come first; `above` and `sides` say under which segment, and which outcome of its last guard, each is.
    """
    return Choosing(segments, above, sides, inputs).segment()
