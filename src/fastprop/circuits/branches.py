"""The ways that a function with branches can go.

At one point a function has a plan per way (`paths`). In lanes it is a tree of segments (`Tree`): straight parts between
the guards that are known to go both ways, each a program of its own; a guard with one known outcome stays inside of a
segment and is checked. What ways have in common is stored and run once, and no guard is computed in two places. Where
segments are so short that parting lanes costs more than computing them all, they are one, in which conditions choose.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.paths import warn_of_many
from fastprop.circuits.pipeline import Plan
from fastprop.circuits.trace import Recording, decides
from fastprop.engine.trace import NAMES, Draft, Segment, chosen, drop, marked, only_used, varying_gates, whole
from fastprop.threads import give_lock

__all__ = ["Node", "Tree"]

OFTEN = 3  # times that gates are optimised anew, from which on their segment is cut in two

# What lanes cost, in additions: parting them once, choosing one number, a division or root, any other function.
OF_A_PARTING = 32
OF_A_CHOICE = 3
OF_A_DIVISION = 4
OF_A_FUNCTION = 12
MOST_CHOSEN = 4000  # additions that segments may cost which are computed whether a lane needs them or not


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
        self.point = point  # of a leaf: where it was recorded
        self.exports: dict[int, int] = {}  # places of gates that those below it need -> their numbers
        self.plan: Plan | None = None
        self.uses: Any = None  # the inputs that the plan has
        self.imports: list[int] = []  # and behind them: places of gates above
        self.wired: Any = None  # the columns that it reads, and where all its inputs come from
        self.varying: Any = None
        self.builds = 0  # times that its gates were optimised
        self.whole: Node | None = None  # it and all below it as one segment, if that is cheaper
        self.checks: list[tuple[Node, int]] = []  # of such a one: what its guards are
        self._cost = -1
        self._code: bytes | None = None
        self._shape: Any = None

    @property
    def end(self) -> int:
        """The place behind its last gate."""
        return self.segment.begin + len(self.segment)

    @property
    def shape(self) -> Any:
        """What a leaf computes but for its constants, if that can be told."""
        if self._shape is None:
            self._shape = (self.segment.shape(),)
        return self._shape[0]

    @property
    def code(self) -> bytes:
        """The opcodes of its gates."""
        if self._code is None:
            self._code = self.segment.draft.opcode.tobytes()
        return self._code

    @property
    def cost(self) -> int:
        """What its gates cost a lane, in additions."""
        if self._cost < 0:
            self._cost = int(_COST[self.segment.draft.opcode].sum())
        return self._cost

    def now_at(self, guard: int) -> tuple[Node, int]:
        """Return where one of its guards is since it was cut."""
        node = self
        if self.checks:
            node, guard = self.checks[guard]
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
        return tuple(itertools.chain.from_iterable(reversed(parts)))

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

    def add(self, recording: Recording, places: Any, numbers: Sequence[int], point: Any) -> Node:
        """Take a way in, whose inputs are these of the arguments', and of those behind them; returns its leaf."""
        with self._lock:
            names = np.concatenate([places, self.own + np.array(numbers, np.int64)])
            self._inputs = max(self._inputs, int(names.max(initial=-1)) + 1)
            every = whole(recording.draft, names, self._inputs)
            self.recorded += len(every)
            return self._insert(every, recording, point)

    def _insert(self, every: Segment, recording: Recording, point: Any) -> Node:
        node, at, outcomes = self.root, 0, recording.outcomes
        code = every.draft.opcode.tobytes()
        parent, side = None, False
        while node is not None:
            known = node.expected
            decided = len(known) - bool(node.children)
            mine = outcomes[at : at + decided]
            if mine != known[: len(mine)]:
                decided = next(k for k, outcome in enumerate(mine) if outcome != known[k])
                self._split(node, decided)
            agree = node.code == code[node.segment.begin : node.end]
            if agree and not node.children and len(outcomes) == at + decided:
                return node
            if len(outcomes) < at + decided + 1 or not node.children or not agree:
                raise changed_its_mind(self.name)
            at += decided + 1
            parent, side = node, outcomes[at - 1]
            node = node.children.get(side)
        begin = 0 if parent is None else int(recording.cuts[at - 1])
        draft = every.draft
        segment = every.part(begin, len(draft), draft.outputs, draft.guards[at:], draft.expected[at:])
        leaf = Node(segment, recording.shortened(begin), at, recording.cuts[at:], point)
        self._attach(leaf, parent, side)
        self._changed(leaf)
        self.leaves.append(leaf)
        self.version += 1
        return self._cut_before_regions(leaf) if self.most else leaf

    def _cut_before_regions(self, leaf: Node) -> Node:
        """Let no guard stand before a gate of the user's own in a segment, which other lanes must not reach.

        Where nothing decides but indices are checked, all lanes do.
        """
        if not decides(leaf.segment.draft):
            return leaf
        for gate in sorted(leaf.segment.draft.payload):
            place = gate + leaf.segment.begin
            guards = int(np.searchsorted(leaf.cuts, place, "right"))
            if guards:
                first = leaf.segment.begin
                leaf = self._split(leaf, guards - 1)
                return self._cut_before_regions(leaf) if leaf.segment.begin > first else leaf
        return leaf

    def _changed(self, node: Node) -> None:
        """Let nothing be made of it, and of those above it, that holds for what was below them."""
        above: Node | None = node
        while above is not None:
            above.whole, above = None, above.parent

    def _attach(self, node: Node, parent: Node | None, side: bool) -> None:
        node.parent, node.side = parent, side
        if node.whole is not None:
            node.whole.parent = parent
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
        for side, child in below.children.items():
            self._attach(child, below, side)
        below.exports = {place: k for k, place in enumerate(p for p in node.exports if p >= cut)}
        node.segment = old.part(old.begin, cut, [], draft.guards[: guard + 1], draft.expected[: guard + 1])
        node._cost, node._code, node._shape = -1, None, None
        self._changed(node)
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
                self._choose()
                self._nodes = list(self._parts())
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

    def _parts(self) -> Iterator[Node]:
        """Yield what is run: nodes, or such as stand for all that is below one."""
        stack = [self.root] if self.root is not None else []
        while stack:
            node = stack.pop()
            yield node.whole or node
            if node.whole is None:
                stack += [node.children[side] for side in (True, False) if side in node.children]

    def _choose(self) -> None:
        """Find the nodes for which it is cheaper to compute all that is below them than to part lanes."""
        branches = self.most and self.root is not None and self.root.children
        nodes = list(self._below(self.root)) if branches else []
        kept: dict[Node, _Cost] = {}
        choose: set[Node] = set()
        of_a_split = OF_A_CHOICE * len(self.leaves[0].segment.draft.outputs) if self.leaves else 0
        for node in reversed(nodes):
            found = _cost(node, [kept[child] for child in node.children.values()], of_a_split)
            if node.children and found.all_below <= found.parted:
                choose.add(node)
            kept[node] = found
        stack = nodes[:1]
        while stack:
            node = stack.pop()
            if node not in choose:
                node.whole = None
                stack += node.children.values()
            elif node.whole is None:
                node.whole = self._whole(node)

    def _whole(self, top: Node) -> Node:
        """Return a node that stands for all that is below one."""
        nodes = list(self._below(top))
        number: dict[Node | None, int] = {node: k for k, node in enumerate(nodes)}
        above = [number.get(node.parent, -1) for node in nodes]
        segment, names = chosen([node.segment for node in nodes], above, [node.side for node in nodes], self._inputs)
        whole = Node(segment, top.recording, top.guards, np.zeros(len(names), np.int64), None)
        whole.parent, whole.side = top.parent, top.side
        whole.checks = [(nodes[k], guard) for k, guard in names]
        return whole

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
        ours = [x[(x >= inputs) & (x < draft.inputs)] - inputs for x in ends]
        needed = marked(draft.inputs - inputs, np.concatenate(ours))
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


@dataclasses.dataclass(frozen=True)
class _Cost:
    """What all that is below a node costs a lane, in additions, if it is computed at once, and at the least.

    Leaves that differ in constants alone have a `shape` and are computed once, by `body`.
    """

    leaves: int
    all_below: float
    parted: float
    shape: Any = None
    body: float = 0

    @property
    def least(self) -> float:
        return min(self.all_below, self.parted)


def _cost(node: Node, below: Sequence[_Cost], of_a_split: int) -> _Cost:
    """Return what a node costs with what is below it."""
    if not below:
        all_below = math.inf if node.segment.draft.payload else node.cost
        return _Cost(1, all_below, node.cost, node.shape, node.cost)
    leaves = sum(cost.leaves for cost in below)
    shape = below[0].shape if len(below) == 2 and below[0].shape == below[1].shape else None
    shape = None if shape is None or shape[0] >= node.end else shape
    spared = 0 if shape is None else below[0].body + of_a_split - 1
    all_below = node.cost + of_a_split * (len(below) == 2) + sum(cost.all_below for cost in below) - spared
    if node.segment.draft.payload or all_below > MOST_CHOSEN:
        all_below = math.inf
    parted = node.cost + OF_A_PARTING + sum(cost.leaves / leaves * cost.least for cost in below)
    return _Cost(leaves, all_below, parted, shape, below[0].body if shape is not None else 0)


def _with_its_region(draft: Draft, gate: int) -> range:
    """Return a gate; or, of a region, all its numbers."""
    first = gate
    while NAMES[int(draft.opcode[first])] == "result":
        first -= 1
    end = gate + 1
    while end < len(draft) and NAMES[int(draft.opcode[end])] == "result":
        end += 1
    return range(first, end)


def _with_gates(
    inputs: int, segment: Segment, draft: Draft, imports: list[tuple[Node, int]], again: dict[int, tuple[Node, int]]
) -> Draft:
    """Return a segment's draft whose earlier gates are inputs, or gates that are computed again."""
    if draft.inputs == inputs and not imports and not again:
        return draft
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


def _costs() -> np.ndarray[Any, Any]:
    """Return what a gate costs a lane by its opcode, in additions."""
    plain = "add subtract multiply negative positive square absolute sign maximum minimum where relu fma "
    plain += "less less_equal equal not_equal both either not stop_gradient sum prod mean dot batch_matmul result"
    found = np.full(256, OF_A_FUNCTION, np.int64)
    for opcode, name in NAMES.items():
        if name in plain.split():
            found[opcode] = 1
        elif name in ("divide", "reciprocal", "sqrt"):
            found[opcode] = OF_A_DIVISION
    return found


_COST = _costs()


def changed_its_mind(name: str) -> RuntimeError:
    """Return the error for a function that does not do the same at the same arguments."""
    return RuntimeError(
        f"{name} took another way at the same arguments; what is traced or compiled must depend on nothing that "
        "changes but its arguments and the leaves that it captures"
    )
