"""A map as it was recorded: a body, the ways that it is known to go, and what is recorded later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from fastprop.circuits.branches import Node, Tree
from fastprop.circuits.derived import pulled_map, pushed_map
from fastprop.circuits.enclosed import enclosed
from fastprop.circuits.lanes import Asked
from fastprop.circuits.operands import SLOT, Operands
from fastprop.circuits.paths import warn_of_strays
from fastprop.circuits.pipeline import PASSES
from fastprop.circuits.signature import Signature, numbered, scale_of
from fastprop.circuits.trace import Recording, Retrace, decides, innermost_scope, record
from fastprop.circuits.unrolling import in_order
from fastprop.engine.run import Along, Bound, Kind, LaneRegion, MapRegion, MapRun, Wires, joined, sources
from fastprop.engine.tape import Trace
from fastprop.engine.trace import Draft, hoist
from fastprop.handles.indexing import OutOfRangeError, in_lane

__all__ = ["Given", "Grown", "RecordedMap"]

Numbers = np.ndarray[Any, Any]
Given = np.ndarray[Any, Any]  # of inputs of a body: what they are, and where (`sources`)

# What pays, in gates that are run uncompiled: the price of a call of the function, of a path that is kept,
# of each of its gates from the start that are recorded, and of each that is optimised.
OF_A_CALL = 100
OF_A_PATH = 1000
OF_A_RECORDING = 1
OF_A_GATE = 20

# So many lanes, and at least half of all, that are run uncompiled on ways of which nothing was heard before, at so many
# calls, are told to the user.
MANY_STRAYS = 16
AT_CALLS = 4

# Numbers of a lane's own that maps in a body read, times the lanes of these, from which on lanes are taken in turn: as
# products, which have the inner lanes side by side.
OF_A_TURN = 1 << 13


class Rent:
    """What was paid, in gates, for a way that is run uncompiled, and what keeping it would cost."""

    __slots__ = ("lane", "paid", "point", "price")

    def __init__(self, price: int, point: np.ndarray[Any, Any], lane: int):
        self.paid, self.price, self.point, self.lane = 0, price, point, lane

    def pay(self, gates: int) -> int:
        """Pay for some gates; return by how much more is paid now than it would cost."""
        before = max(self.paid, self.price)
        self.paid += gates
        return max(self.paid - before, 0)


class Grown(Exception):  # noqa: N818 (never seen outside)
    """While a map is recorded, a path uses more operands than were known."""


class RecordedMap(MapRegion):
    """A map as it was recorded, and what is recorded later: other paths of its body.

    `leaves` says for every leaf of the body's arguments that is no array what each of its numbers is.
    """

    body: Tree

    def __init__(
        self, f: Callable[..., Any], name: str, lanes: int, signature: Signature, trace: Trace, record_map: Any
    ):
        outer: Recording = trace.recording
        super().__init__(name, lanes, outer.dtype == np.float32)
        self.trace, self.dtype, self._record_map = trace, outer.dtype, record_map
        self.passes = PASSES if outer.passes is None else outer.passes
        self.differentiable = outer.differentiable
        self.signature = signature  # of one lane's arguments
        self.leaves: list[Given | None] = []
        self.function: Any = f
        self.results: Any = None  # where each leaf of the result begins, and its shape
        self.integers: list[bool] = []  # which of these are integers, on all paths that are known
        self.reduce: str | None = None
        self.given: list[Any] = []  # the leaves
        self.axes: list[int | None] = []
        self.sums_of_gradients: dict[str, Any] = {}  # by what is reduced: the value, and gradients by what is shared
        self.swept: RecordedMap | None = None  # the same run backward, where each lane has a sweep of its own
        self.leaf_operand: dict[int, int] = {}  # leaf that is an array -> the operand that stands for it
        self.keeps_arrays = True  # what maps in the body make is returned as arrays
        self.operands = Operands(name, trace)
        # what it computes of outside results alone is recorded in it, so that its derivative finds the same operands
        self.inward = trace.inward or innermost_scope() is not outer.scope
        self.unrolled = outer.unrolled  # maps in its body are recorded lane by lane
        self._form: Any = None  # of the result: its nesting, and the shapes of its leaves
        self.most = outer.max_paths
        self._leaf_of: Any = None  # int32: of each number of the arguments, its leaf
        self._element_of: Any = None  # int64: and which of the leaf's it is
        self._parts: Any = None
        self._is_lane_s: Any = None  # bool: of each number, whether every lane has its own, which is no integer
        self._own: Given = sources([], 0)
        self._rents: dict[bytes, Rent] = {}  # outcomes of a way that is not kept -> what was paid for it
        self._surplus = 0  # what was paid for ways in all beyond their prices
        self._shared = 0  # what it costs besides to make anew what they are parts of
        self._pays = False  # whether more was paid than keeping them costs
        self._strays = 0  # lanes on ways that were never heard of, at this call
        self._crowds = 0  # calls at which most lanes were such
        # paths that were run where the map was recorded, and will be run there again at once
        self._remembered: dict[Any, tuple[Recording, Given]] = {}

    def grow_from(self, point: np.ndarray[Any, Any]) -> Recording:
        """Record the first path, at a point; returns its recording."""
        sizes = [self.signature.size(k) for k in range(len(self.signature.shapes))]
        self.first_input = np.cumsum([0, *sizes]).tolist()
        self._leaf_of, self._element_of = numbered(range(len(sizes)), sizes)
        self._is_lane_s = ((self.axis >= 0) & ~np.array(self.signature.integers, np.bool_))[self._leaf_of]
        self._own = joined([self._own, *map(self._given, range(len(sizes)), sizes)])
        self.body = Tree(self.name, len(self._own), self.axis[self._leaf_of] >= 0, self.passes, self.most)
        recording = self.record_lane(point)
        recording.finish()
        self._add(recording, point)
        return recording

    def reduced(self, reduce: str) -> RecordedMap:
        """Return the same map, once it is settled, whose results are added up: they share the body and its paths."""
        other = RecordedMap(self.function, self.name, self.lanes, self.signature, self.trace, self._record_map)
        other.__dict__.update(self.__dict__)
        other.take_leaves(self.leaf_shapes, self.array.tolist(), self.axis.tolist())
        other.body, other.first_input, other.body_arrays = self.body, self.first_input, self.body_arrays
        other.outputs, other.sole, other.in_turn = self.outputs, self.sole, self.in_turn
        other.reduce, other.scale, other.summed = reduce, scale_of(reduce, self.lanes), True
        other._parts = None
        other.seal(len(self.operands))
        return other

    def takes_turns(self) -> bool:
        """Say whether its lanes are better run one after the other, each at a point.

        That is where maps in the body have products of matrices, of much that every lane has for its own, as in steps
        of several models. It does not depend on how many lanes there are: the same bits come out.
        """
        node = self.only_path()
        if node is None or node.plan is None:
            return False
        if not any(isinstance(region, RecordedMap) for region in node.plan.draft.payload.values()):
            return False
        own = node.uses[node.uses < len(self._own)]
        same = np.ones(len(node.uses), np.uint8)
        same[: len(own)] = ~self.body.varying[own].astype(np.bool_)
        _, draft = hoist(node.plan.draft, same)
        varies = np.ones(draft.inputs + len(draft), np.bool_)
        varies[: draft.inputs] = False
        varies[: len(same)] = same == 0
        return sum(self._work_in_lane(draft, varies, gate) for gate in draft.payload) >= OF_A_TURN

    def _work_in_lane(self, draft: Draft, varies: np.ndarray[Any, Any], gate: int) -> int:
        """Return how many numbers of a lane's own all lanes of a map in the body read."""
        region = draft.payload[gate]
        if type(region) is not RecordedMap or not (region.in_turn or any(plan.has_products for plan in region.plans)):
            return 0
        begin = int(draft.first[gate])
        read = draft.operand[begin : begin + region.numbers]
        numbers = int(np.count_nonzero(varies[read[read >= 0]]))
        for leaf, (a, axis) in enumerate(zip(region.array.tolist(), region.axis.tolist())):
            if a >= 0 and axis < 0 and self._varies(a):
                numbers += region.signature.size(leaf)
        return region.lanes * numbers

    def _varies(self, array: int) -> bool:
        """Whether an array of the body is another one in every lane; what is differentiated has a gradient in each."""
        whole = self.body.leaves[0].recording.arrays[array]
        return bool(self.axis[whole.leaf] >= 0) if whole.kind == "leaf" else whole.kind in ("made", "variable")

    def spread(self, leaves: Sequence[int]) -> None:
        """Let leaves have a gradient in every lane, even if they are the same in all."""
        self.body.varying |= np.isin(self._leaf_of, leaves)

    # operands

    def captured_operands(self, recording: Recording) -> list[int]:
        """Return the numbers of the operands that are a recording's inputs beside those of the arguments."""
        return [
            *self.operands.results(recording.outer_keys),
            *self.operands.leaves(recording.captured),
        ]

    # paths

    def record_lane(self, point: np.ndarray[Any, Any], beginning: tuple[bool, ...] = (), lane: int = 0) -> Recording:
        """Record the path that a point takes, whose first guards come out as is known, up to its draft.

        `lane` is for errors.
        """
        points, at = [], 0
        for k, shape in enumerate(self.signature.shapes):
            size = self.signature.size(k)
            if k in self.signature.fixed:
                points.append(self.signature.fixed[k])
            elif shape is None:
                points.append(float(point[at]))
            else:
                points.append(point[at : at + size].reshape(shape))
            at += size
        decided = len(self.trace.guards)
        try:
            recording = self._record(points, beginning)
        except Asked as asked:
            if not self.operands.sealed:
                raise
            raise Retrace(f"{self.name} takes a path on which it asks for the number of its lane") from asked
        except (OutOfRangeError, LinAlgError) as error:
            self._refuse_decisions(decided)  # then the index is perhaps one of what is outside, as it was before
            unknown = np.where(self._is_lane_s, np.nan, point)
            if self.lanes or isinstance(error, OutOfRangeError) or np.array_equal(point, unknown, equal_nan=True):
                raise in_lane(error, lane) from None
            return self.record_lane(unknown, beginning, lane)  # there is none, and NaN is not singular, as zeros are
        if recording.decides and not self.unrolled:  # a path has no arrays of its own
            self.unrolled = True
            if recording.arrays or recording.wasted or recording.spans_checks:
                recording = self._record(points, beginning)
        self._refuse_decisions(decided)
        self._order(recording)
        return recording

    def _refuse_decisions(self, decided: int) -> None:
        """Once it is recorded, nothing can be decided by what is outside: so many guards there were."""
        if self.operands.sealed and len(self.trace.guards) > decided:
            self.trace.forget_guards(decided)
            raise Retrace(f"{self.name} takes a path on which it decides by what is outside of it")

    def keep(self, point: np.ndarray[Any, Any], beginning: tuple[bool, ...] = (), lane: int = 0) -> None:
        """Record a path and keep it; Retrace if it needs more of what is outside, and then nothing has changed."""
        recording = self.record_lane(point, beginning, lane)
        recording.finish()
        self._add(recording, point)

    def _add(self, recording: Recording, point: np.ndarray[Any, Any]) -> None:
        operands = self.captured_operands(recording)  # first, as it may raise
        used = [k for k, start in enumerate(recording.starts) if start >= 0]
        places = [np.arange(self.first_input[k], self.first_input[k + 1]) for k in used]
        self.body.add(recording, np.concatenate([np.zeros(0, np.int64), *places]), operands, point)

    def _record(self, points: list[Any], beginning: tuple[bool, ...]) -> Recording:
        """Record a path of the body."""
        return record(
            self.function,
            self.signature,
            points,
            self.dtype,
            parent=self.trace,
            lazily=[] if self.unrolled else np.flatnonzero(self.array >= 0).tolist(),
            keeps_arrays=self.keeps_arrays,
            unrolled=self.unrolled,
            inward=self.inward,
            stale=self.operands.sealed,
            differentiable=self.differentiable or self.gradients,
            passes=self.passes,
            forced=beginning,
            finished=False,
        )

    def _order(self, recording: Recording) -> None:
        """Let a result be as that of the first path: TypeError if it has another structure."""
        form = recording.nesting, [shape for _, shape in recording.outputs]
        if self._form is None:
            self._form, self.results, self.integers = form, recording.outputs, recording.integer_outputs
        order = in_order(recording.name, self._form, form)
        integers = [before and recording.integer_outputs[k] for before, k in zip(self.integers, order)]
        if integers != self.integers and self.operands.sealed:
            raise Retrace(f"{self.name} takes a path on which it returns numbers, where it returned integers")
        self.integers = integers
        if order != list(range(len(order))):
            recording.finish()
            starts = [recording.outputs[k][0] for k in order]
            sizes = [math.prod(form[1][k] or ()) for k in order]
            old = recording.draft.outputs
            outputs = [old[start : start + size] for start, size in zip(starts, sizes)]
            recording.draft = recording.draft.replace(outputs=np.concatenate(outputs))
            recording.outputs = self.results

    # derivatives, while the function around it is recorded

    @property
    def captured(self) -> set[int]:
        """The operands that the body gets by themselves, and not as arrays among its arguments."""
        return set(range(self.numbers)) - (set(self.leaf_operand.values()) - self._inside)

    @property
    def _inside(self) -> set[int]:
        """The operands that the body uses itself."""
        return {k for leaf in self.body.leaves for k in self.operands.find(leaf.recording.outer_keys).tolist()}

    def is_swept(self, numbers: Numbers, arrays: Numbers) -> bool:
        """Say whether gradients inside can go through it: not through arrays that maps in its body read."""
        are_arrays = np.zeros(self.numbers, np.bool_)
        are_arrays[list(self.leaf_operand.values())] = True
        if are_arrays[numbers].any() or not are_arrays[arrays].all():
            return False
        return not len(arrays) or self._inside.isdisjoint(arrays.tolist())

    def arrays_of(self, operands: Numbers) -> set[int]:
        """Return the arrays on which it pulls, where these operands depend on variables."""
        return {int(self.array[k]) for k, m in self.leaf_operand.items() if m in operands}

    def pulled_example(self, arrays: Any, pulls: Numbers, numbers: Numbers, active: Any) -> Numbers:
        """Return what pulls on the sums bring to the operands where the map is recorded."""
        run = MapRun(self, arrays, np.ones(self.numbers, np.uint8), self.arrays_of(active))
        found: Numbers = run.pulled_at(numbers, pulls[: self.outputs], anew=False)[0]
        return found

    def recorded_pulls(self, pull: Any, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on each operand, recorded as a map."""
        found: list[Any] = pulled_map(self, self._record_map, pull, operands, wanted)
        return found

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Any:
        """Return the tangents of the results, recorded as a map."""
        return pushed_map(self, self._record_map, [tangents], operands)[0]

    def recorded_tangents(self, tangents: Sequence[Sequence[Any]], operands: Sequence[Any]) -> list[Any]:
        """Return them along several directions at once, recorded as one map."""
        found: list[Any] = pushed_map(self, self._record_map, tangents, operands)
        return found

    @property
    def tangent_work(self) -> int:
        """How many gates a tangent takes, about, in a lane."""
        return max((leaf.end for leaf in self.body.leaves), default=1)

    def forget(self) -> None:
        """Let go of what only derivatives need."""
        self.given, self.sums_of_gradients, self.swept = [], {}, None

    def bind_arrays(self, recording: Recording, outer: Recording) -> None:
        """Say what the arrays of the body are outside of it; those that it returns are among `value_arrays` already."""
        returned = {recording.made[k]: a for k, (a, _) in enumerate(self.value_arrays) if k in recording.made}
        for b, (whole, shape) in enumerate(zip(recording.arrays, recording.array_shapes)):
            if whole.kind == "leaf":
                bound = Bound.LEAF, whole.leaf
            elif whole.kind == "outer":
                bound = Bound.OUTER, whole.leaf
            elif whole.kind == "made":
                bound = (Bound.MADE, returned[b]) if b in returned else (Bound.OWN, -1)
            elif whole.kind == "variable":
                bound = Bound.STAND_IN, -1
            else:
                values = whole.values if whole.kind == "constant" else np.asarray(whole.handle.value, self.dtype)
                bound = Bound.OUTER, outer.array_of(whole, values)
            self.body_arrays.append((*bound, shape))

    def in_lanes(self, wiring: Any, run: Any, bench: Any) -> LaneRegion:
        """Return one use of it in the lanes of another map."""
        return Along(wiring, run, bench)

    @property
    def title(self) -> str:
        """What it is, and how often its body is run."""
        return f"the vmap of {self.name}, {self.lanes} lanes{', one after the other' if self.in_turn else ''}"

    @property
    def plans(self) -> list[Any]:
        """What its body became, part by part, as far as that was run."""
        with self.body.lock:
            return [node.plan for node in self.body.built()[1] if node.plan is not None]

    @property
    def work(self) -> int:
        """How many gates its lanes have in all."""
        return self.lanes * max((self._work(leaf) for leaf in self.body.leaves), default=1)

    def _work(self, leaf: Node) -> int:
        return leaf.end + (0 if leaf.plan is None else leaf.plan.work)

    def wires(self, node: Node, columns: Sequence[int] = (), operands: Given | None = None) -> Wires:
        """Return where the inputs of a part of the body come from; `operands`: of one that is not kept."""
        if operands is None and node.wired is not None:
            reader, read, known = node.wired
            if reader is self.value_arrays and read == tuple(columns) and known.plan is node.plan:
                return known  # type: ignore[no-any-return]
        own = len(self._own)
        count = int(np.searchsorted(node.uses, own))  # of the inputs that are its own, which come first
        mine, others = node.uses[:count], node.uses[count:] - own
        mine = slice(own) if count == own else mine
        outside = sources(Kind.OPERAND, others) if operands is None else operands[others]
        given = joined([self._own[mine], outside, sources(Kind.COLUMN, np.array(columns, np.int32))])
        leaves = self._leaf_of[mine]
        sizes = [self.signature.size(k) for k in range(len(self.leaves))]
        covers = np.bincount(leaves, minlength=len(sizes)) == sizes
        made = Wires(node.plan, given, leaves, self._element_of[mine], covers, bool(node.children))
        if operands is None:
            node.wired = self.value_arrays, tuple(columns), made
        return made

    def _given(self, leaf: int, size: int) -> Given:
        """Return where the numbers of a leaf of the body's arguments come from."""
        numbers = self.leaves[leaf]
        if numbers is not None:
            return numbers
        return sources(Kind.SAME if self.axis[leaf] < 0 else Kind.LANE, leaf, np.arange(size))

    def only_path(self) -> Node | None:
        """Return the path that all lanes take, if nothing is decided."""
        root = self.body.root
        if root is None or root.children or (self.most > 0 and len(root.cuts) and decides(root.segment.draft)):
            return None
        self.body.built()
        return root

    def known_points(self) -> list[Any]:
        """Return a point on every path that is known."""
        with self.body.lock:
            return [leaf.point for leaf in self.body.leaves]

    def tree(self) -> tuple[int, list[Node], list[Any], list[Wires]]:
        """Return a number that changes with the tree, its nodes, these as `Parted` takes them, and their inputs."""
        with self.body.lock:
            version, nodes = self.body.built()
            if self._parts is None or self._parts[0] != version:
                self._parts = version, nodes, *self._taken_apart(nodes)
            return self._parts  # type: ignore[no-any-return]

    def _taken_apart(self, nodes: Sequence[Node]) -> tuple[list[Any], list[Wires]]:
        number = {node: k for k, node in enumerate(nodes)}
        column: dict[Node, int] = {}
        parts, wires = [], []
        for node in nodes:
            above = node.parent
            column[node] = 0 if above is None else column[above] + len(above.exports)
            owners = [(node.above(place), place) for place in node.imports]
            read = [column[owner] + owner.exports[place] for owner, place in owners]
            below = [node.children.get(side) for side in (False, True)]
            children = [-1 if child is None else number[child.whole or child] for child in below]
            checked = len(node.cuts) - bool(node.children)
            parts.append((read, len(node.uses), len(node.exports), children, checked, not node.children))
            wires.append(self.wires(node, read))
        return parts, wires

    def settle_strays(
        self, run: MapRun, both: bool, nodes: Sequence[Node], lanes: Any, parts: Any, guards: Any
    ) -> np.ndarray[Any, Any] | None:
        """Run lanes on ways that are not known; return which lanes are to be run again, as their way is known now.

        `parts` and `guards` say in which nodes they left the tree, and at which of their guards.
        """
        again = np.zeros(self.lanes, np.uint8)
        with self.body.lock:
            groups, group_of = np.unique(parts * (1 << 32) + guards, return_inverse=True)
            self._shared = OF_A_GATE * sum(len(nodes[k].segment) for k in np.unique(parts).tolist())
            for k in range(len(groups)):
                node, guard = nodes[int(groups[k]) >> 32].now_at(int(groups[k]) & 0xFFFFFFFF)
                beginning, mine = node.outcomes(guard), lanes[group_of == k]
                done = 0
                if beginning is not None and not self._pays:
                    done = self._rent(run, both, node, beginning, mine.tolist())
                again[mine[done:]] = 1
            if self._pays:
                self._buy()
            if self.operands.sealed:
                self._remembered.clear()
            self._heed_strays()
        return again if again.any() else None

    def _heed_strays(self) -> None:
        """Say once that most lanes take ways that no other takes, call after call."""
        strays, self._strays = self._strays, 0
        if strays >= max(MANY_STRAYS, self.lanes / 2):
            self._crowds += 1
            if self._crowds == AT_CALLS:
                warn_of_strays(self.name, strays, self.lanes)

    def _rent(self, run: MapRun, both: bool, node: Node, beginning: tuple[bool, ...], lanes: Sequence[int]) -> int:
        """Run lanes uncompiled, until so much was paid for their ways that it pays to keep them; return how many."""
        for done, lane in enumerate(lanes, 1):
            outcomes, gates = self._run_uncompiled(run, both, lane, beginning)
            if self.body.full:
                continue
            rent = self._rents.get(outcomes)
            if rent is None:
                self._strays += 1
                if len(self._rents) >= 4 * self.most:  # of most lanes' ways nothing is heard again
                    self._rents.clear()
                    self._surplus = 0
                rent = Rent(OF_A_PATH + OF_A_RECORDING * node.end, self.lane_point(run, lane), lane)
                self._rents[outcomes] = rent
            self._surplus += rent.pay(gates)
            self._pays = rent.paid >= rent.price and self._surplus >= self._shared
            if self._pays:
                return done
        return len(lanes)

    def _buy(self) -> None:
        """Keep all ways that were paid for."""
        for outcomes, rent in list(self._rents.items()):
            if rent.paid >= rent.price and not self.body.full:
                del self._rents[outcomes]
                self.keep(rent.point, tuple(map(bool, outcomes)), rent.lane)
        self._surplus, self._pays = 0, False
        if self.body.full:
            self._rents.clear()
        self._check_operands()

    def _check_operands(self) -> None:
        """While it is recorded: begin anew if there are more operands than the run knows."""
        if len(self.operands) > self.numbers:
            raise Grown

    def lane_point(self, run: MapRun, lane: int) -> np.ndarray[Any, Any]:
        """Return the body's arguments in a lane, one number after the other."""
        point: np.ndarray[Any, Any] = run.point_of(self._own, lane)
        return point

    def _run_uncompiled(self, run: MapRun, both: bool, lane: int, beginning: tuple[bool, ...]) -> tuple[bytes, int]:
        """Run one lane on a way that is not kept, whose guards hold there also as circuits round.

        Return how these came out, and how many gates it took.
        """
        point = self.lane_point(run, lane)
        cost = 0
        while True:
            gates, guards = len(self.trace), len(self.trace.guards)
            key = None if self.operands.sealed and not self._remembered else (point.tobytes(), beginning)
            recording, operands = self._remembered.get(key) or (None, sources([], 0))
            cost += OF_A_CALL if recording is None else OF_A_CALL // 4
            if recording is None:
                recording = self.record_lane(point, beginning, lane)
                cost += recording.gates
                operands = self._operands_for_once(recording, gates)
                if not self.operands.sealed and (operands["kind"] != Kind.NUMBER).all():
                    self._remembered[key] = recording, operands
            if (len(self.trace.guards), len(self.trace)) != (guards, gates) and not self.body.full:
                recording.finish()
                self._add(recording, point)  # else it would be learnt each time
            self._check_operands()
            given = joined([self._own, operands])
            if self._is_fresh(run, recording, operands):
                assert recording.trace is not None
                run.run_trial(recording.trace, recording.slots, recording.ends, given, lane, both)
                return bytes(recording.outcomes), cost
            recording.finish()
            if any(not region.inside for region in recording.draft.payload.values()):
                broken = self._run_plan(run, both, lane, recording, point, operands)
            else:
                broken = run.run_draft(recording.draft, given, lane, both)
            if broken < 0:
                return bytes(recording.outcomes), cost
            outcomes = recording.outcomes
            beginning = (*outcomes[:broken], not outcomes[broken])

    def _is_fresh(self, run: MapRun, recording: Recording, operands: Given) -> bool:
        """Whether what was traced can be swept as it is: what it uses of outside has the values that it had."""
        if recording.trace is None or self.single or not recording.trace.indices_hold:
            return False
        values = recording.outer_values.tolist()
        return all(run.value_of(given) == value for given, value in zip(operands.tolist(), values))

    def _run_plan(self, run: MapRun, both: bool, lane: int, recording: Recording, point: Any, operands: Given) -> int:
        """Run one lane by a program, which is thrown away; return the guard that came out otherwise, or -1."""
        tree = Tree(self.name, len(self._own), self.body.varying, self.passes, 0)
        leaf = tree.add(recording, np.arange(tree.own), range(len(operands)), point)
        tree.built()
        broken: int = run.sweep_one(self.wires(leaf, (), operands), lane, both)
        return broken

    def _operands_for_once(self, recording: Recording, gates: int) -> Given:
        """Return where the operands of a path come from that is not kept.

        What the body itself computed of outer values, while these are known, is a number: it is another gate each time.
        """
        if recording.trace is not None and (recording.trace.regions or recording.trace.uses_leaves):
            recording.finish()  # which numbers what is captured
        keys = recording.outer_keys
        fresh = np.zeros(len(keys), np.bool_)
        if not self.operands.sealed:
            fresh = (keys & SLOT >= gates) & (self.operands.find(keys) < 0)
        outer = sources(np.where(fresh, Kind.NUMBER, Kind.OPERAND), 0, 0, np.where(fresh, recording.outer_values, 0.0))
        outer["which"][~fresh] = self.operands.results(keys[~fresh])
        return joined([outer, sources(Kind.OPERAND, self.operands.leaves(recording.captured))])

    def settle(self) -> None:
        """Let no operand be added any more."""
        self.seal(len(self.operands))
        self.operands.seal()
        self.function = enclosed(self.function)
        self.sole = self.only_path()
