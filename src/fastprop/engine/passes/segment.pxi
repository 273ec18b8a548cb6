"""Segments: straight parts of drafts, between one decision and the next.

The ways through a function have their first gates in common, gate for gate; so these are kept once, and a segment holds
what comes after them up to its own decision. Gates are known by their places in the whole; a segment's operands are the
inputs, then earlier gates (`Segment.before` says which), then its own.
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp

from fastprop.engine.executor.instructions cimport BATCH_MATMUL, BOTH, NEITHER, REGION
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

    def shape(self):
        """Return what it computes but for its constants; None if it decides or holds more than numbers.

        First comes the place of the last earlier gate that it uses: up to there, places name the same gates.
        """
        draft = self.draft
        if len(draft.guards) or draft.payload:
            return None
        ends = [int(max(self.before, default=-1)), draft.opcode.tobytes(), draft.first.tobytes()]
        for operands in (draft.operand, draft.outputs):
            found = operands.astype(np.int64)
            found[operands < 0] = -1
            earlier = (operands >= self.inputs) & (operands < draft.inputs)
            found[earlier] = -2 - self.before[operands[earlier] - self.inputs]
            found[operands >= draft.inputs] += (1 << 40) - draft.inputs
            ends.append(found.tobytes())
        rows = draft.operand[draft.first[:-1][draft.opcode == BATCH_MATMUL]]     # how many a product has is no number
        return *ends, draft.constants[~rows].tobytes()

    def part(self, Py_ssize_t begin, Py_ssize_t end, outputs, guards, expected):
        """Return the gates from one place of the whole to another as a segment of their own."""
        draft, inputs = self.draft, self.inputs
        low, high = begin - self.begin, end - self.begin
        if low == 0 and high == len(draft) and not len(self.before):
            return Segment(replaced(draft, dict(outputs=outputs, guards=guards, expected=expected)), self.before, begin)
        first = draft.first[low : high + 1]
        own = draft.operand[first[0] : first[len(first) - 1]]
        ends = [own, np.asarray(outputs, np.int32), np.asarray(guards, np.int32)]
        whole = np.concatenate(ends).astype(np.int64)
        place = np.full(len(whole), -1, np.int64)
        earlier = (whole >= inputs) & (whole < draft.inputs)
        place[earlier] = self.before[whole[earlier] - inputs]
        own = whole >= draft.inputs
        place[own] = whole[own] - draft.inputs + self.begin
        is_before, is_own, is_constant = (place >= 0) & (place < begin), place >= begin, whole < 0
        before = marked(begin, place[is_before])
        used = marked(len(draft.constants), ~whole[is_constant])
        moved = whole.copy()
        moved[is_constant] = ~np.searchsorted(used, ~whole[is_constant])
        moved[is_before] = inputs + np.searchsorted(before, place[is_before])
        moved[is_own] = inputs + len(before) + place[is_own] - begin
        sizes = np.cumsum([len(part) for part in ends])
        made = replaced(draft, dict(
            inputs=inputs + len(before), constants=draft.constants[used], opcode=draft.opcode[low:high].copy(),
            first=first - first[0], operand=moved[: sizes[0]], origin=draft.origin[low:high].copy(),
            outputs=moved[sizes[0] : sizes[1]], guards=moved[sizes[1] :], expected=np.array(expected, np.uint8),
            payload={g - low: what for g, what in draft.payload.items() if low <= g < high},
        ))
        return Segment(made, before.astype(np.int32), begin)


def marked(Py_ssize_t size, numbers):
    """Return which of so many numbers are among some, in order."""
    found = np.zeros(size, np.bool_)
    found[numbers] = True
    return np.flatnonzero(found)


def whole(Draft draft, numbers, Py_ssize_t inputs):
    """Return a draft as a segment whose inputs are called `numbers`, among so many."""
    names = np.asarray(numbers, np.int32)
    if draft.inputs == inputs and np.array_equal(names, np.arange(inputs)):
        return Segment(draft, np.zeros(0, np.int32), 0)
    return Segment(with_inputs(draft, inputs, names), np.zeros(0, np.int32), 0)


cdef Draft with_inputs(Draft draft, Py_ssize_t inputs, names):
    """A draft with so many inputs, among which its own have these numbers."""
    if len(names) != draft.inputs:
        raise ValueError(f"{len(names)} numbers are given to {draft.inputs} inputs; expected one for each")
    changed = {"inputs": inputs}
    for name in ("operand", "outputs", "guards"):
        changed[name] = renamed_inputs(getattr(draft, name), names, <int32_t>(inputs - draft.inputs))
    return replaced(draft, changed)


cdef object renamed_inputs(const int32_t[::1] operand, const int32_t[::1] names, int32_t further):
    """Operands, of which inputs have other numbers, and gates are so much further."""
    cdef Py_ssize_t k, inputs = names.shape[0]
    found = np.empty(operand.shape[0], np.int32)
    cdef int32_t[::1] renamed = found
    for k in range(operand.shape[0]):
        if operand[k] >= inputs:
            renamed[k] = operand[k] + further
        else:
            renamed[k] = names[operand[k]] if operand[k] >= 0 else operand[k]
    return found


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
        varying[i] = opcode[i] == REGION
        for j in range(first[i], first[i + 1]):
            x = operand[j]
            if x >= 0 and (given[x] if x < inputs else varying[x - inputs]):
                varying[i] = 1
    return found[:n]


cdef object are_read(Draft draft):
    """Return for every input whether it is an operand, an output or a guard."""
    found = np.zeros(draft.inputs, np.bool_)
    cdef uint8_t[::1] read = found.view(np.uint8)
    cdef const int32_t[::1] operand
    cdef int32_t inputs = draft.inputs
    cdef Py_ssize_t k
    for operands in (draft.operand, draft.outputs, draft.guards):
        operand = operands
        for k in range(operand.shape[0]):
            if 0 <= operand[k] < inputs:
                read[operand[k]] = 1
    return found


def only_used(Draft draft):
    """Return a draft without the inputs that nothing uses, and the numbers of the others."""
    used = np.flatnonzero(are_read(draft))
    if len(used) == draft.inputs:
        return draft, used
    moved = np.zeros(draft.inputs, np.int32)
    moved[used] = np.arange(len(used))
    return with_inputs(draft, len(used), moved), used


cdef class Choosing:
    """The segments of a tree, all of whose gates are computed, so that conditions can choose between their results.

    What a lane does not reach is computed in vain: nothing is pulled on it, and its guards count as if they held.
    """

    cdef Py_ssize_t inputs
    cdef Py_ssize_t base        # inputs, with the earlier gates that are
    cdef int64_t top            # the place of the first gate
    cdef object before          # places of those
    cdef object starts          # the number of each segment's first gate
    cdef object begins          # its place
    cdef list above             # the segment of which each is a part of the tree below
    cdef object parents         # int64: the same
    cdef list sides             # and how that one's last guard comes out there
    cdef list segments
    cdef list constants
    cdef list opcode            # of the gates behind those of the segments
    cdef list operands
    cdef list renamed           # of each segment: operands, outputs, guards
    cdef dict made              # (condition, two constants) -> what is chosen of them

    def __init__(self, list segments, list above, list sides, Py_ssize_t inputs):
        cdef Segment segment = segments[0]
        self.segments, self.above, self.sides, self.inputs, self.top = segments, above, sides, inputs, segment.begin
        earlier = np.concatenate([segment.before for segment in segments])
        self.before = np.unique(earlier[earlier < self.top]).astype(np.int64)
        self.base = inputs + len(self.before)
        self.starts = self.base + np.cumsum([0, *map(len, segments)])
        self.begins = np.array([segment.begin for segment in segments], np.int64)
        self.parents = np.array(above, np.int64)
        self.opcode, self.operands, self.renamed, self.constants, self.made = [], [], [], [], {}
        for k, segment in enumerate(segments):
            draft = segment.draft
            self.renamed.append([self.rename(k, segment, x) for x in (draft.operand, draft.outputs, draft.guards)])
            self.constants += segment.draft.constants.tolist()

    cdef object rename(self, Py_ssize_t k, Segment segment, const int32_t[::1] operand):
        """A segment's operands, as they are called here."""
        cdef const int32_t[::1] before = segment.before
        cdef const int64_t[::1] earlier = self.before
        cdef const int64_t[::1] begin = self.begins
        cdef const int64_t[::1] start = self.starts
        cdef const int64_t[::1] above = self.parents
        cdef int32_t own = segment.inputs, given = segment.draft.inputs, x
        cdef Py_ssize_t constants = len(self.constants), i, owner
        cdef int64_t place
        found = np.empty(operand.shape[0], np.int64)
        cdef int64_t[::1] there = found
        for i in range(operand.shape[0]):
            x = operand[i]
            if x < 0:
                there[i] = x - constants
            elif x < own:
                there[i] = x
            elif x >= given:
                there[i] = start[k] + x - given
            else:
                place = before[x - own]
                owner = k
                while place < begin[owner] and place >= self.top:
                    owner = above[owner]
                if place >= self.top:
                    there[i] = start[owner] + place - begin[owner]
                else:
                    there[i] = self.inputs + lower(earlier, place)
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

    def decision(self, Py_ssize_t k):
        """The condition that decides what follows a segment."""
        guards = self.renamed[k][2]
        return int(guards[len(guards) - 1])

    def outputs(self):
        """What comes out, chosen by the conditions, from the leaves up.

        Leaves that differ in constants alone are one leaf, of constants that are chosen.
        """
        cdef list found = [None] * len(self.segments)
        for k in range(len(self.segments) - 1, -1, -1):
            if found[k] is None:
                found[k] = self.leaf(k)
            parent = self.above[k]
            if k == 0:
                return self.ends(found[k])
            mine, other = found[k], found[parent]
            found[parent] = mine if other is None else self.choice(
                parent, *((mine, other) if self.sides[k] else (other, mine))
            )

    def leaf(self, Py_ssize_t k):
        """A leaf: its number, its shape, and its constants, operand after operand."""
        operands, outputs, _ = self.renamed[k]
        names = np.concatenate([operands, outputs])
        return k, self.segments[k].shape(), names[names < 0].tolist()

    def choice(self, Py_ssize_t k, x, y):
        """What follows a segment: one of two leaves, or of what comes out of them."""
        condition, end = self.decision(k), self.begins[k] + len(self.segments[k])
        if type(x) is tuple and type(y) is tuple and x[1] is not None and x[1] == y[1] and x[1][0] < end:
            return x[0], x[1], [self.chosen_constant(condition, a, b) for a, b in zip(x[2], y[2])]
        return [
            a if a == b else self.gate(WHERE, condition, a, b) for a, b in zip(self.ends(x), self.ends(y))
        ]

    def chosen_constant(self, int condition, int x, int y):
        """One of two constants, or of what was chosen of such."""
        if x == y or x < 0 and y < 0 and same(self.constants[~x], self.constants[~y]):
            return x
        key = (condition, *(repr(self.constants[~z]) if z < 0 else z for z in (x, y)))
        if key not in self.made:
            self.made[key] = self.gate(WHERE, condition, x, y)
        return self.made[key]

    def ends(self, found):
        """What comes out of a leaf, which is written anew if its constants were chosen."""
        if type(found) is not tuple:
            return found
        k, _, names = found
        cdef Segment segment = self.segments[k]
        operands, outputs, _ = self.renamed[k]
        given = np.concatenate([operands, outputs])
        if given[given < 0].tolist() == names:
            return outputs.tolist()
        begin, end, first = int(self.starts[k]), int(self.starts[k + 1]), segment.draft.first.tolist()
        there = int(self.starts[len(self.segments)]) + len(self.opcode) - begin
        given[given < 0] = names
        moved = given + np.where((given >= begin) & (given < end), there, 0)
        for i, opcode in enumerate(segment.draft.opcode.tolist()):
            self.gate(opcode, *moved[first[i] : first[i + 1]].tolist())
        return moved[len(operands) :].tolist()

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
        condition = self.decision(parent)
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


cdef bint same(double x, double y) noexcept:
    """Whether two numbers are the same bit by bit."""
    return memcmp(&x, &y, sizeof(double)) == 0


cdef Py_ssize_t lower(const int64_t[::1] numbers, int64_t number) noexcept:
    """Where a number is among numbers in order."""
    cdef Py_ssize_t low = 0, high = numbers.shape[0], middle
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low


def chosen(list segments, list above, list sides, Py_ssize_t inputs):
    """Return a tree of segments as one that computes them all and chooses, and which guards its guards are.

    Parents come first; `above` and `sides` say under which segment, and which outcome of its last guard, each is.
    """
    return Choosing(segments, above, sides, inputs).segment()
