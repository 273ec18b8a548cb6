"""The ways that a function with branches can go.

At one point a function has a plan per way (`Paths`). In lanes it is a tree of segments (`Tree`): straight parts between
the guards that are known to go both ways, each a program of its own; a guard with one known outcome stays inside of a
segment and is checked. What ways have in common is stored and run once, and no guard is computed in two places.
"""

from __future__ import annotations

import bisect
import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.pipeline import Plan
from fastprop.circuits.trace import Recording
from fastprop.engine.trace import NAMES, Draft, Segment, drop, only_used, varying_gates, whole
from fastprop.threads import give_lock

__all__ = ["MOST_PATHS", "Node", "Paths", "Tree"]

MOST_PATHS = 512
OFTEN = 3  # times that gates are optimised anew, from which on their segment is cut in two


def warn_of_many(name: str, most: int) -> None:
    """Say that no more paths are compiled."""
    warnings.warn(
        f"{name} has taken {most} different paths, and no more are compiled: points on others are "
        "computed by calling the function, some hundred times slower; fp.where in the place of an if, or fewer "
        "turns of a loop, make fewer paths (fp.compile takes max_paths)",
        RuntimeWarning,
        stacklevel=2,
    )


def _common(outcomes: bytes, other: bytes) -> int:
    """Return how many first outcomes are the same."""
    pairs = enumerate(zip(outcomes, other))
    return next((i for i, (mine, theirs) in pairs if mine != theirs), min(len(outcomes), len(other)))


class Paths:
    """The plans of one function at a point, told apart by how their guards come out."""

    def __init__(self, name: str, most: int = MOST_PATHS):
        self.name, self.most = name, most
        self.plans: list[Plan] = []
        self._numbers: dict[bytes, int] = {}  # how a plan's guards come out -> its number
        self._ordered: list[bytes] = []  # the same, those that begin alike side by side
        self._warned = False
        self._lock: Any
        give_lock(self)

    def keep(self, plan: Plan) -> int:
        """Take a plan in, unless there is one of its path; returns its number."""
        with self._lock:
            outcomes = bytes(plan.recording.outcomes)
            if outcomes not in self._numbers:
                self._numbers[outcomes] = len(self.plans)
                self.plans.append(plan)
                bisect.insort(self._ordered, outcomes)
            return self._numbers[outcomes]

    def replace(self, old: Plan, plan: Plan) -> int:
        """Put a plan in the place of another one, or of one of its own path; returns its number."""
        with self._lock:
            outcomes = bytes(plan.recording.outcomes)
            if outcomes not in self._numbers and old in self.plans:
                before = self._ordered.pop(bisect.bisect_left(self._ordered, bytes(old.recording.outcomes)))
                self._numbers[outcomes] = self._numbers.pop(before)
                bisect.insort(self._ordered, outcomes)
            number = self.keep(plan)
            self.plans[number] = plan
            return number

    @property
    def full(self) -> bool:
        """Whether no more paths are recorded; says so once."""
        if len(self.plans) < self.most:
            return False
        if not self._warned:
            self._warned = True
            warn_of_many(self.name, self.most)
        return True

    def begins(self, beginning: tuple[bool, ...]) -> int | None:
        """Return a plan whose guards begin to come out like this, if there is one.

        Of several it is one of middling length, so that few have to be tried where paths are turns of a loop.
        """
        start = bytes(beginning)
        first, end = bisect.bisect_left(self._ordered, start), bisect.bisect_left(self._ordered, start + b"\2")
        return self._numbers[self._ordered[(first + end) // 2]] if first < end else None

    def shared(self, plan: Plan) -> int:
        """Return how many guards a plan has in common with the one of another path that is most like it."""
        outcomes = bytes(plan.recording.outcomes)
        at = bisect.bisect_left(self._ordered, outcomes)
        alike = self._ordered[max(at - 1, 0) : at + 1]
        return max([_common(outcomes, other) for other in alike], default=0)


# ------------------------------------------------------------------------------------------------ the tree of segments


class Node:
    """A segment of a function's ways: its gates, its guards, and what follows each outcome of the last one.

    A leaf has no children, and the function's outputs; the last guard of another node decides.
    """

    def __init__(self, segment: Segment, recording: Recording, guards: int, cuts: Any, point: Any):
        self.segment, self.recording = segment, recording
        self.expected = tuple(map(bool, segment.draft.expected))  # how its guards come out
        self.parent: Node | None = None
        self.side = False  # of the parent
        self.children: dict[bool, Node] = {}
        self.rest: Node | None = None  # of what it was before it was cut
        self.guards = guards  # before it
        self.cuts = np.array(cuts, np.int64)  # how many gates there were when its own were decided
        self.spent: dict[int, int] = {}  # guard -> gates run uncompiled where it came out otherwise
        self.point = point  # of a leaf: where it was recorded
        self.exports: dict[int, int] = {}  # places of gates that those below it need -> their numbers
        self.plan: Plan | None = None
        self.uses: Any = None  # the inputs that the plan has
        self.imports: list[int] = []  # and behind them: places of gates above
        self.wired: Any = None  # the columns that it reads, and where all its inputs come from
        self.varying: Any = None
        self.builds = 0  # times that its gates were optimised

    @property
    def end(self) -> int:
        """The place behind its last gate."""
        return self.segment.begin + len(self.segment)

    def now_at(self, guard: int) -> tuple[Node, int]:
        """Return where one of its guards is since it was cut."""
        node = self
        while guard >= len(node.cuts) and node.rest is not None:
            node, guard = node.rest, guard - len(node.cuts)
        return node, guard

    def outcomes(self, guard: int) -> tuple[bool, ...] | None:
        """Return how all guards come out where one of its own comes out as is not known; None if both ways are."""
        last = not self.expected[guard]
        if self.children and guard == len(self.cuts) - 1:
            if len(self.children) == 2:
                return None
            last = True not in self.children
        parts = [(*self.expected[:guard], last)]
        node = self
        while node.parent is not None:
            parts.append((*node.parent.expected[:-1], node.side))
            node = node.parent
        return tuple(outcome for part in reversed(parts) for outcome in part)

    def above(self, place: int) -> Node:
        """Return the node among those above it in which a gate is."""
        node = self.parent
        while node is not None and place < node.segment.begin:
            node = node.parent
        assert node is not None
        return node


class Tree:
    """All known ways of a function; grows in place.

    Parameters
    ----------
    name : str
        The function's.
    own : int
        How many inputs belong to its arguments; further ones are numbered behind them.
    varying : array of bool
        Which of these vary from lane to lane; the further ones do not.
    passes : tuple of str
        Those that every segment goes through.
    most : int
        So many ways are kept.
    """

    def __init__(self, name: str, own: int, varying: Any, passes: tuple[str, ...], most: int):
        self.name, self.own, self.most, self.passes = name, own, most, passes
        self.varying = np.asarray(varying, np.uint8)
        self.root: Node | None = None
        self.leaves: list[Node] = []
        self.version = 0
        self.recorded = self.optimised = 0  # gates, so far
        self._lock: Any
        give_lock(self)
        self._inputs = own
        self._warned = False
        self._nodes: list[Node] = []
        self._built = -1

    @property
    def lock(self) -> Any:
        """What whoever looks at it, or lets it grow, holds."""
        return self._lock

    @property
    def full(self) -> bool:
        """Whether no more ways are kept; says so once."""
        if len(self.leaves) < self.most:
            return False
        if not self._warned and self.most:
            self._warned = True
            warn_of_many(self.name, self.most)
        return True

    # growing

    def add(self, recording: Recording, places: Sequence[int], numbers: Sequence[int], point: Any) -> Node:
        """Take a way in, whose inputs are these of the arguments', and of those behind them; returns its leaf."""
        with self._lock:
            names = [*places, *(self.own + k for k in numbers)]
            self._inputs = max(self._inputs, *names, 0) + 1 if names else self._inputs
            every = whole(recording.draft, names, self._inputs)
            self.recorded += len(every)
            return self._insert(every, recording, point)

    def _insert(self, every: Segment, recording: Recording, point: Any) -> Node:
        node, at, outcomes = self.root, 0, recording.outcomes
        parent, side = None, False
        while node is not None:
            known = node.expected
            decided = len(known) - bool(node.children)
            mine = outcomes[at : at + decided]
            differs = next((k for k, outcome in enumerate(mine) if outcome != known[k]), None)
            if differs is not None:
                decided = differs
                self._split(node, differs)
            if not node.children and len(outcomes) == at + decided and self._agree(node, every):
                return node
            if len(outcomes) < at + decided + 1 or not node.children or not self._agree(node, every):
                raise changed_its_mind(self.name)
            at += decided + 1
            parent, side = node, outcomes[at - 1]
            node = node.children.get(side)
        begin = 0 if parent is None else int(recording.cuts[at - 1])
        draft = every.draft
        segment = every.part(begin, len(draft), draft.outputs, draft.guards[at:], draft.expected[at:])
        leaf = Node(segment, recording.shortened(begin), at, recording.cuts[at:], point)
        self._attach(leaf, parent, side)
        self.leaves.append(leaf)
        self.version += 1
        return self._cut_before_regions(leaf) if self.most else leaf

    def _agree(self, node: Node, every: Segment) -> bool:
        """Whether a recording's gates are those of a node, as far as that goes."""
        begin, end = node.segment.begin, node.end
        return np.array_equal(node.segment.draft.opcode, every.draft.opcode[begin:end])

    def _cut_before_regions(self, leaf: Node) -> Node:
        """Let no guard stand before a gate of the user's own in a segment, which other lanes must not reach."""
        for gate in sorted(leaf.segment.draft.payload):
            place = gate + leaf.segment.begin
            guards = int(np.searchsorted(leaf.cuts, place, "right"))
            if guards:
                first = leaf.segment.begin
                leaf = self._split(leaf, guards - 1)
                return self._cut_before_regions(leaf) if leaf.segment.begin > first else leaf
        return leaf

    def _attach(self, node: Node, parent: Node | None, side: bool) -> None:
        node.parent, node.side = parent, side
        if parent is None:
            self.root = node
        else:
            parent.children[side] = node

    def _split(self, node: Node, guard: int) -> Node:
        """Let a node end at one of its guards, and another one follow; returns that."""
        old, cut = node.segment, int(node.cuts[guard])
        draft = old.draft
        low = old.part(cut, node.end, draft.outputs, draft.guards[guard + 1 :], draft.expected[guard + 1 :])
        below = Node(low, node.recording, node.guards + guard + 1, node.cuts[guard + 1 :], node.point)
        below.children, below.builds = node.children, node.builds
        below.spent = {g - guard - 1: gates for g, gates in node.spent.items() if g > guard}
        node.spent = {g: gates for g, gates in node.spent.items() if g <= guard}
        for side, child in below.children.items():
            self._attach(child, below, side)
        below.exports = {place: k for k, place in enumerate(p for p in node.exports if p >= cut)}
        node.segment = old.part(old.begin, cut, [], draft.guards[: guard + 1], draft.expected[: guard + 1])
        node.exports = {place: k for k, place in enumerate(p for p in node.exports if p < cut)}
        node.cuts, node.children, node.plan, node.varying = node.cuts[: guard + 1].copy(), {}, None, None
        node.expected = node.expected[: guard + 1]
        if node in self.leaves:
            self.leaves[self.leaves.index(node)] = below
            node.point = None
        below.rest, node.rest = node.rest, below
        self._attach(below, node, bool(draft.expected[guard]))
        self.version += 1
        return below

    # building

    @property
    def nodes(self) -> list[Node]:
        """The nodes as they were built last, parents first."""
        return self._nodes

    def built(self) -> tuple[int, list[Node]]:
        """Return a number that changes with the tree, and its nodes, parents first, all of them with plans."""
        with self._lock:
            if self._built != self.version:
                self._halve()
                self._nodes = list(self._below(self.root))
                for node in reversed(self._nodes):  # those below say what they need
                    if node.plan is None:
                        self._build(node)
                self._built = self.version
            return self.version, self._nodes

    def _below(self, root: Node | None) -> Iterator[Node]:
        stack = [root] if root is not None else []
        while stack:
            node = stack.pop()
            yield node
            stack += [node.children[side] for side in (True, False) if side in node.children]

    def _halve(self) -> None:
        """Cut in two what would be optimised once too often, so that doing so stays cheap however ways come."""
        for node in list(self._below(self.root)):
            if node.plan is None and node.builds >= OFTEN:
                node.builds = 0
                cuts = node.cuts[: len(node.cuts) - bool(node.children)]
                middle = np.searchsorted(cuts, (node.segment.begin + node.end) // 2)
                if middle < len(cuts) and len(cuts) > 1:
                    self._split(node, int(middle))

    def _build(self, node: Node) -> None:
        """Make the plan of a node, and tell those above it what it needs of them."""
        segment, draft = node.segment, node.segment.draft
        checked = draft.guards
        if node.children:
            own = [draft.inputs + place - segment.begin for place in node.exports]
            outputs, checked = [*own, int(draft.guards[-1])], draft.guards[:-1]
            draft = draft.replace(outputs=outputs)
        kept = drop(draft.replace(guards=checked, expected=draft.expected[: len(checked)]))
        made, imports = self._completed(node, kept)
        made, uses = only_used(made)
        recording = copy.copy(node.recording)
        recording.draft = made
        recording.outcomes = node.expected[: len(checked)]
        node.uses, node.imports = uses[: len(uses) - len(imports)], [place for _, place in imports]
        node.plan = Plan(recording, self.passes)
        node.builds += 1
        self.optimised += len(kept)
        for owner, place in imports:
            if place not in owner.exports:
                owner.exports[place] = len(owner.exports)
                owner.plan = None

    def _completed(self, node: Node, draft: Draft) -> tuple[Draft, list[tuple[Node, int]]]:
        """Return a node's draft with what it needs of those above as inputs behind the others, or computed again.

        What is the same in all lanes is computed again: that is done once for all of them.
        """
        segment = node.segment
        inputs, before = segment.inputs, segment.before
        ends = (draft.operand, draft.outputs, draft.guards)
        needed = np.unique(np.concatenate([x[(x >= inputs) & (x < draft.inputs)] for x in ends])) - inputs
        imports: list[tuple[Node, int]] = []
        again: dict[int, tuple[Node, int]] = {}  # place -> where it is
        stack = [int(before[k]) for k in needed]
        seen = set(stack)
        while stack:
            place = stack.pop()
            owner = node.above(place)
            local = place - owner.segment.begin
            if self._is_given(owner, local):
                imports.append((owner, place))
                continue
            inner = owner.segment.draft
            for local in _with_its_region(inner, local):  # noqa: B020
                again[owner.segment.begin + local] = owner, local
                for x in inner.operand[inner.first[local] : inner.first[local + 1]].tolist():
                    earlier = owner.segment.place(x)
                    if earlier >= 0 and earlier not in seen:
                        seen.add(earlier)
                        stack.append(earlier)
        imports.sort(key=lambda item: item[1])
        return _with_gates(self._inputs, segment, draft, imports, dict(sorted(again.items()))), imports

    def _is_given(self, owner: Node, local: int) -> bool:
        """Whether a gate's numbers are handed down: those that vary are, but for what goes with arrays."""
        if owner.varying is None:
            inputs, draft = owner.segment.inputs, owner.segment.draft
            varies = np.zeros(draft.inputs, np.uint8)
            varies[: self.own] = self.varying
            for k, place in enumerate(owner.segment.before.tolist()):
                above = owner.above(place)
                varies[inputs + k] = self._is_given(above, place - above.segment.begin)
            owner.varying = varying_gates(draft, varies)
            for gate, region in draft.payload.items():
                if region.makes:
                    numbers = _with_its_region(draft, gate)
                    owner.varying[numbers.start : numbers.stop] = 0
        return bool(owner.varying[local])


def _with_its_region(draft: Draft, gate: int) -> range:
    """Return a gate; or, of a region, all its numbers."""
    first = gate
    while NAMES[int(draft.opcode[first])] == "result":
        first -= 1
    end = gate + 1
    while first in draft.payload and end < len(draft) and NAMES[int(draft.opcode[end])] == "result":
        end += 1
    return range(first, end) if first in draft.payload else range(gate, gate + 1)


def _with_gates(
    inputs: int, segment: Segment, draft: Draft, imports: list[tuple[Node, int]], again: dict[int, tuple[Node, int]]
) -> Draft:
    """Return a segment's draft whose earlier gates are inputs, or gates that are computed again."""
    old = segment.inputs
    base = inputs + len(imports)
    names = {place: inputs + k for k, (_, place) in enumerate(imports)}
    names.update({place: base + k for k, place in enumerate(again)})
    constants = list(draft.constants)
    opcode, first, operand, origin, payload = [], [0], [], [], {}
    for k, (owner, local) in enumerate(again.values()):
        inner = owner.segment.draft
        for x in inner.operand[inner.first[local] : inner.first[local + 1]].tolist():
            if x < 0:
                constants.append(inner.constants[~x])
                operand.append(~(len(constants) - 1))
            else:
                place = owner.segment.place(x)
                operand.append(x if place < 0 else names[place])
        opcode.append(inner.opcode[local])
        origin.append(inner.origin[local])
        first.append(len(operand))
        if local in inner.payload:
            payload[k] = inner.payload[local]
    moved = np.arange(draft.inputs, dtype=np.int64)
    for k, place in enumerate(segment.before.tolist()):
        moved[old + k] = names.get(place, 0)

    def renamed(operands: Any) -> Any:
        found = operands.astype(np.int64)
        given = (operands >= 0) & (operands < draft.inputs)
        found[given] = moved[operands[given]]
        found[operands >= draft.inputs] += base + len(again) - draft.inputs
        return found

    payload.update({gate + len(again): what for gate, what in draft.payload.items()})
    return Draft(
        base,
        constants,
        np.concatenate([np.array(opcode, np.uint8), draft.opcode]),
        np.concatenate([np.array(first[:-1], np.int64), draft.first.astype(np.int64) + len(operand)]),
        np.concatenate([np.array(operand, np.int64), renamed(draft.operand)]),
        np.concatenate([np.array(origin, np.int64), draft.origin]),
        renamed(draft.outputs),
        renamed(draft.guards),
        draft.expected,
        payload=payload,
    )


def changed_its_mind(name: str) -> RuntimeError:
    """Return the error for a function that does not do the same at the same arguments."""
    return RuntimeError(
        f"{name} took another way at the same arguments; what is traced or compiled must depend on nothing that "
        "changes but its arguments and the leaves that it captures"
    )
