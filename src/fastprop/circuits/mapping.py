"""vmap under trace: a region that runs a body at every lane, and how it is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.engine.run.along import Along
from fastprop.engine.run.arrays import Arrays
from fastprop.engine.run.lanes import LaneRegion
from fastprop.engine.trace.bundle import Bundle, LaneBlock, object_array
from fastprop.engine.run.map import Bound, Kind, MapRegion, MapRun, Wires
from fastprop.engine.trace.traced import region_gate
from fastprop.engine.trace.tracing import Trace, belongs
from fastprop.engine.tape.unit import Unit
from fastprop.handles.nesting import LEAF, as_number, described, is_handle, is_part
from fastprop.circuits.branches import UNKNOWN, Paths
from fastprop.circuits.pipeline import PASSES, Plan
from fastprop.circuits.derived import Packed, Unpacked, pulled_map, pushed_map
from fastprop.circuits.trace import LazyBundle, Recording, Whole, current_trace, innermost_scope, record
from fastprop.circuits.signature import Signature, lane_signature, positions_of, scale_of
from fastprop.circuits.unrolling import MIXED, lane_by_lane

__all__ = ["RecordedMap", "Retrace", "record_map"]

Given = tuple[Kind, int, int, float]  # of an input of a body: what it is, and where


class Retrace(Exception):  # noqa: N818 (never seen outside)
    """A body took a path that needs the function around it to be recorded again."""


class RecordedMap(MapRegion):
    """A map as it was recorded, and what is recorded later: other paths of its body.

    `leaves` says for every leaf of the body's arguments that is no array what each of its numbers is.
    """

    body: Paths

    def __init__(self, f: Callable[..., Any], name: str, lanes: int, signature: Signature, trace: Trace):
        outer: Recording = trace.recording
        super().__init__(name, lanes, outer.dtype == np.float32)
        self.dtype, self.passes, self.differentiable = outer.dtype, outer.passes, outer.differentiable
        self.signature = signature  # of one lane's arguments
        self.leaves: list[list[Given] | None] = []
        self.function: Any = f
        self.reduce: str | None = None
        self.given: list[Any] = []  # the leaves
        self.axes: list[int | None] = []
        self.leaf_operand: dict[int, int] = {}  # leaf that is an array -> the operand that stands for it
        self.keeps_arrays = True  # what maps in the body make is returned as arrays
        self.operands: list[Unit] = []  # while it is recorded
        self._numbers: dict[Any, int] = {}  # what an operand is -> its number
        self._sealed = False  # once it is recorded, no operand can be added
        # what it computes of outside results alone is recorded in it, so that a derivative of it finds the same operands
        self.inward = trace.inward or innermost_scope() is not outer.scope
        self.unrolled = outer.unrolled  # maps in its body are recorded lane by lane
        self.body = Paths(self._recorder(f, trace), name, outer.max_paths)

    # operands

    def operand(self, unit: Any) -> int:
        """Return the number of an operand, which is added if it is new."""
        tape = unit._tape
        key = (tape.number, unit._slot) if tape is not None else (unit, -1)
        if key not in self._numbers:
            trace = current_trace()
            if trace is not None and not self._sealed and not belongs(unit, trace):
                raise ValueError(
                    f"{self.name}: a vmap in a traced function got a result that was computed outside of it; pass it "
                    "as an argument, or give its .value if a constant is meant"
                )
        return self._number_of(key, lambda: unit)

    def _number_of(self, key: Any, unit: Callable[[], Any]) -> int:
        if key not in self._numbers:
            if self._sealed:
                raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
            self._numbers[key] = len(self.operands)
            self.operands.append(unit())
        return self._numbers[key]

    def captured_operands(self, recording: Recording) -> list[int]:
        """Return the numbers of the operands that are a recording's inputs beside those of the arguments."""
        outer = dict(zip(recording.outer_keys, recording.outer))
        found = [self._number_of(key, lambda key=key: outer[key]) for key in recording.outer_keys]
        for handle, place in recording.captured:
            found.append(self._number_of((handle, place), lambda h=handle, p=place: _number_in(h, p)))
        return found

    # paths

    def _recorder(self, f: Callable[..., Any], trace: Trace) -> Callable[..., Plan]:
        """Return what records a path of the body."""

        def record_path(vector: np.ndarray[Any, Any], beginning: tuple[bool, ...] = ()) -> Plan:
            points, at = [], 0
            for k, shape in enumerate(self.signature.shapes):
                size = self.signature.size(k)
                points.append(float(vector[at]) if shape is None else vector[at : at + size].reshape(shape))
                at += size
            decided = len(trace.guards)
            recording = self._record(f, points, trace, beginning)
            if recording.outcomes and not self.unrolled:  # a path has no arrays of its own
                self.unrolled = True
                if recording.arrays:
                    recording = self._record(f, points, trace, beginning)
            if self._sealed and len(trace.guards) > decided:
                raise Retrace(f"{self.name} takes a path on which it decides by what is outside of it")
            return Plan(recording, self.passes or PASSES)

        return record_path

    def _record(self, f: Callable[..., Any], points: list[Any], trace: Trace, beginning: tuple[bool, ...]) -> Recording:
        """Record a path of the body."""
        return record(
            f,
            self.signature,
            points,
            self.dtype,
            parent=trace,
            lazily=[] if self.unrolled else np.flatnonzero(self.array >= 0).tolist(),
            keeps_arrays=self.keeps_arrays,
            unrolled=self.unrolled,
            inward=self.inward,
            differentiable=self.differentiable or self.gradients,
            passes=self.passes,
            forced=beginning,
        )

    # derivatives, while the function around it is recorded

    @property
    def captured(self) -> set[int]:
        """The operands that the body gets by themselves, and not as arrays among its arguments."""
        inside = {self._numbers[key] for plan in self.body.plans for key in plan.recording.outer_keys}
        return set(range(self.numbers)) - (set(self.leaf_operand.values()) - inside)

    def recorded_pulls(self, pull: Any, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on each operand, recorded as a map."""
        found: list[Any] = pulled_map(self, record_map, pull, operands, wanted)
        return found

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Any:
        """Return the tangents of the results, recorded as a map."""
        return pushed_map(self, record_map, tangents, operands)

    def forget(self) -> None:
        """Let go of what only derivatives need."""
        self.given, self.function = [], None

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
            else:
                values = whole.values if whole.kind == "constant" else np.asarray(whole.handle.value, self.dtype)
                bound = Bound.OUTER, outer.array_of(whole, values)
            self.body_arrays.append((*bound, shape))

    def in_lanes(self, wiring: Any, run: Any, bench: Any) -> LaneRegion:
        """Return one use of it in the lanes of another map."""
        return Along(wiring, run, bench)

    @property
    def work(self) -> int:
        """How many gates its lanes have in all."""
        return self.lanes * int(self.body.plans[0].work)

    def wires(self, plan: Plan) -> Wires:
        """Return where the inputs of a path come from."""
        recording = plan.recording
        given: list[Given] = []
        places = recording.input_places()
        for leaf, element in places:
            numbers = self.leaves[leaf]
            if numbers is not None:
                given.append(numbers[element])
            else:
                given.append((Kind.SAME if self.axis[leaf] < 0 else Kind.LANE, leaf, element, 0.0))
        given += [(Kind.OPERAND, k, 0, 0.0) for k in self.captured_operands(recording)]
        return Wires(plan, given, places, [start >= 0 for start in recording.starts])

    def only_path(self) -> Plan | None:
        """Return the path that all lanes take, if nothing is decided."""
        plans = self.body.plans
        if len(plans) == 1 and (self.body.most == 0 or not plans[0].recording.outcomes):
            return plans[0]
        return None

    def parts(self, run: MapRun) -> Iterator[tuple[Plan, Any]]:
        """Yield the paths, each with its lanes; lanes of no path get one each, which is thrown away."""
        plans = self.body.plans

        def inputs(plan: Plan) -> list[Any]:
            return run.inputs(self.wires(plan))

        own = inputs(plans[0])[: plans[0].recording.own_inputs]
        taken = self.body.part(self.lanes, inputs, own)
        for number in np.unique(taken).tolist():
            index = np.flatnonzero(taken == number).astype(np.int64)
            if number != UNKNOWN:
                yield plans[number], index
                continue
            for lane in index:
                index = np.array([lane], np.int64)
                yield self._once(run, own, int(lane)), index

    def _once(self, run: MapRun, own: Sequence[Any], lane: int) -> Plan:
        """Return a path for one lane, whose guards hold there also as circuits round."""
        beginning: tuple[bool, ...] = ()
        while True:
            plan = self.body.once(own, lane, beginning)
            broken = plan.broken_guard(run.lane_inputs(self.wires(plan), lane))
            if broken < 0:
                return plan
            outcomes = plan.recording.outcomes
            beginning = (*outcomes[:broken], not outcomes[broken])

    def settle(self) -> None:
        """Let no operand be added any more."""
        for plan in self.body.plans:
            self.captured_operands(plan.recording)
        self.seal(len(self.operands))
        self._sealed = True


def _number_in(handle: Any, place: int) -> Any:
    """Return a captured Unit, or a number of a captured Array."""
    return handle if place < 0 else handle[tuple(int(i) for i in np.unravel_index(place, handle.shape))]


# Recording ------------------------------------------------------------------------------------------------------------


def record_map(f: Callable[..., Any], name: str, args: Sequence[Any], in_axes: Any, reduce: str | None) -> Any:
    """Record a vmap on the current trace; returns Units (reduced), or LaneBlocks."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if outer.unrolled:
        return lane_by_lane(f, name, args, in_axes, reduce)
    one, axes, lanes = lane_signature(name, args, in_axes)
    plain = reduce is None and innermost_scope() is outer.scope
    kind = _gradient_kind(f, outer) if plain else None
    region = RecordedMap(kind[1] if kind else f, name, lanes, one, trace)
    region.scale, region.gradients = scale_of(reduce, lanes), kind is not None
    region.reduce, region.keeps_arrays = reduce, reduce in (None, MIXED)
    leaves = _flat_leaves(one, args)
    leaves = _take_leaves(region, leaves, axes)
    examples = [_example(leaf, axis, outer) for leaf, axis in zip(leaves, axes)]
    region.body.add(np.concatenate([np.zeros(0), *[np.ravel(x).astype(np.float64) for x in examples]]))
    recording = region.body.plans[0].recording
    if outer.parent is not None and recording.outcomes:  # a map in a map has one path
        return lane_by_lane(f, name, args, in_axes, reduce)
    if kind:
        _give_gradients(region, kind, recording)
    else:
        region.outputs = len(recording.draft.outputs)
        if reduce in (None, MIXED):
            sums = recording.nesting.children[0].size if reduce == MIXED else 0
            region.value_arrays = _result_arrays(recording, outer, lanes, sums)
        region.summed = any(a < 0 for a, _ in region.value_arrays) or not region.keeps_arrays
    region.bind_arrays(recording, outer)
    values = _run_examples(region, outer)
    region.settle()
    units = region_gate(trace, region.operands, region, values)
    region.operands = []
    if kind:
        return _gradient_blocks(region, kind, units[0], outer)
    return _results(recording, region, units)


def _made(outer: Recording, lanes: int, shape: tuple[int, ...] | None) -> int:
    """Return the number of an array that a map makes."""
    whole = Whole("made", shape=(lanes, *(shape or ())))
    return outer.array_of(whole, None)


def _result_arrays(recording: Recording, outer: Recording, lanes: int, sums: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the array that each leaf of the body's result becomes, -1 for the first `sums`, and its shape in a lane."""
    made: dict[int, int] = {}  # array of the body -> array outside
    found = []
    for k, (_, shape) in enumerate(recording.outputs):
        if k < sums:
            found.append((-1, shape or ()))
            continue
        a = made.get(recording.made.get(k, -1))
        if a is None:
            a = _made(outer, lanes, shape)
            if k in recording.made:
                made[recording.made[k]] = a
        found.append((a, shape or ()))
    return found


def _gradient_kind(f: Any, outer: Recording) -> Any:
    """Return what `grad` or `value_and_grad` made of a function, if the body can be swept without recording it."""
    kind = getattr(f, "__fastprop__", None)
    if kind is None or outer.differentiable or kind[0] not in ("grad", "value_and_grad") or kind[3]:
        return None
    return kind


def _run_examples(region: RecordedMap, outer: Recording) -> list[float]:
    """Run a map where it is recorded; returns the sums, and lets the arrays that it makes have examples."""
    arrays = Arrays(len(outer.arrays))
    for a, values in enumerate(outer.examples):
        if values is not None:
            arrays.set(a, np.asarray(values, region.dtype))
    while True:
        region.seal(len(region.operands))
        run = MapRun(region, arrays, np.zeros(len(region.operands), np.uint8), ())
        sums = run.run_at([unit._recorded for unit in region.operands])
        before = len(region.operands)
        for plan in region.body.plans:
            region.captured_operands(plan.recording)
        if len(region.operands) == before:
            break
    for a in region.makes:
        outer.examples[a] = arrays.values[a]
    return sums


def _results(recording: Recording, region: RecordedMap, units: Sequence[Unit]) -> Any:
    """Return the outputs, summed or as arrays, in the form of the body's result."""
    parts: list[Any] = []
    for k, (start, shape) in enumerate(recording.outputs):
        a = region.value_arrays[k][0] if region.value_arrays else -1
        if a >= 0:
            parts.append(_block(units[0], a, (region.lanes, *(shape or ()))))
        elif shape is None:
            parts.append(units[start])
        else:
            parts.append(Bundle(object_array(list(units[start : start + math.prod(shape)]), shape)))
    return recording.nesting.unflatten(parts)


def _flat_leaves(signature: Signature, args: Sequence[Any]) -> list[Any]:
    found = signature.taken_apart(args)
    for k, leaf in enumerate(found):
        number = leaf if is_handle(leaf) else as_number(leaf)
        if number is None:
            raise TypeError(f"{signature.name(k)} is {described(leaf)}; vmap takes numbers, arrays, Units and Arrays")
        found[k] = number
    return found


def _example(leaf: Any, axis: int | None, outer: Recording) -> Any:
    """Return the values of a leaf at the first lane."""
    values: Any
    if isinstance(leaf, LaneBlock):
        values = leaf.map_unit._tape.recording.examples[leaf.number]
    elif isinstance(leaf, LazyBundle):
        values = leaf.given
    elif isinstance(leaf, Bundle):
        values = np.array([x if isinstance(x, float) else x._recorded for x in leaf.numbers.flat]).reshape(leaf.shape)
    elif isinstance(leaf, Unit):
        return leaf._recorded
    else:
        values = leaf.value if is_handle(leaf) else leaf
    if axis is None:
        return values
    shape = (*np.shape(values)[:axis], *np.shape(values)[axis + 1 :])
    if np.shape(values)[axis] == 0:
        return np.zeros(shape) if shape else 0.0
    picked = np.take(values, 0, axis)
    return picked if shape else float(picked)


def _take_leaves(region: RecordedMap, leaves: Sequence[Any], axes: Sequence[int | None]) -> list[Any]:
    """Say where the leaves of the body's arguments come from; returns them, numbers that are mapped as an array."""
    found = [_packed(x) if is_part(type(x)) and axis is not None else x for x, axis in zip(leaves, axes)]
    arrays = [_whole(region, leaf, axis) for leaf, axis in zip(found, axes)]
    region.take_leaves(list(region.signature.shapes), arrays, [-1 if axis is None else axis for axis in axes])
    for k, (leaf, a) in enumerate(zip(found, arrays)):
        region.leaves.append(None if a >= 0 else _numbers(region, leaf))
        if a >= 0 and getattr(leaf, "map_unit", None) is not None:
            region.leaf_operand[k] = region.operand(leaf.map_unit)
    region.given, region.axes = found, list(axes)
    return found


def _whole(region: RecordedMap, leaf: Any, axis: int | None) -> int:
    """Return the number of the array that a leaf is, if it is read as a whole; else -1."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if isinstance(leaf, (LaneBlock, LazyBundle)):
        return leaf.array()
    if axis is None:
        return -1
    if is_handle(leaf):
        return outer.array_of(Whole("captured", handle=leaf), np.asarray(leaf.value, region.dtype))
    constant = np.ascontiguousarray(leaf, region.dtype)
    return outer.array_of(Whole("constant", values=constant), constant)


def _packed(bundle: Bundle) -> LaneBlock:
    """Record that a block of numbers becomes an array, which maps can read."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    numbers = [x if isinstance(x, Unit) else trace._variable(x) for x in bundle.numbers.flat]
    values = np.array([x._recorded for x in numbers], outer.dtype).reshape(bundle.shape)
    a = outer.array_of(Whole("made", shape=bundle.shape), values)
    return _block(region_gate(trace, numbers, Packed(len(numbers), a, bundle.shape), [])[0], a, bundle.shape)


def _numbers(region: RecordedMap, leaf: Any) -> list[Given]:
    """Return what each number of a leaf is that is the same in all lanes."""
    if isinstance(leaf, Bundle):
        numbers = list(leaf.numbers.flat)
    elif is_handle(leaf) and not isinstance(leaf, Unit):
        numbers = [leaf[place] for place in np.ndindex(leaf.shape)]
    else:
        numbers = [float(x) for x in leaf.flat] if isinstance(leaf, np.ndarray) else [leaf]
    return [
        (Kind.NUMBER, 0, 0, x) if isinstance(x, float) else (Kind.OPERAND, region.operand(x), 0, 0.0) for x in numbers
    ]


def _block(unit: Unit, a: int, shape: tuple[int, ...]) -> LaneBlock:
    return LaneBlock(_mapped, _unpacked, unit, a, shape)


def _unpacked(block: LaneBlock) -> list[Unit]:
    """Record that an array becomes numbers, where it was made."""
    trace = block.map_unit._tape
    values = np.ravel(trace.recording.examples[block.number]).tolist()
    units: list[Unit] = region_gate(trace, [block.map_unit], Unpacked(block.number, block.shape), values)
    return units[: block.size]


def _mapped(f: Any, operands: Any, axes: Any, reduce: Any) -> Any:
    return record_map(f, getattr(f, "name", "a gate"), operands, axes, reduce)


def _give_gradients(region: RecordedMap, kind: Any, recording: Recording) -> None:
    """Let what the map makes be the value, if it is wanted, and the gradients of some arguments."""
    if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
        raise TypeError(
            f"{kind[0]} is only defined for functions that return one number, and {recording.name} returns more"
        )
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    one = region.signature
    if kind[0] == "value_and_grad":
        region.value_arrays = [(_made(outer, region.lanes, None), ())]
    for position in positions_of(kind[2], one.count, region.name)[0]:
        for k in one.leaves_of_argument(position):
            region.gradient_arrays.append((k, _made(outer, region.lanes, one.shapes[k])))


def _gradient_blocks(region: RecordedMap, kind: Any, unit: Unit, outer: Recording) -> Any:
    one = region.signature
    positions, single = positions_of(kind[2], one.count, region.name)
    blocks = {k: _block(unit, a, outer.arrays[a].shape) for k, a in region.gradient_arrays}
    per_argument = [one.gradient_of(position, blocks) for position in positions]
    gradient = per_argument[0] if single else tuple(per_argument)
    if kind[0] == "grad":
        return gradient
    return _block(unit, region.value_arrays[0][0], (region.lanes,)), gradient
