"""vmap under trace: a region that runs a body at every lane, and how it is recorded."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.branches import Node, Tree
from fastprop.circuits.pipeline import PASSES
from fastprop.circuits.signature import Signature, lane_signature, positions_of, scale_of
from fastprop.circuits.trace import LazyBundle, Recording, Whole, current_trace, record
from fastprop.circuits.unrolling import in_order, lane_by_lane
from fastprop.engine.bundle import Bundle, LaneBlock, object_array
from fastprop.engine.run import Arrays, Kind, MapRegion, MapRun, PackRegion, Wires
from fastprop.engine.tape import Trace, Unit, belongs
from fastprop.engine.trace import region_gate
from fastprop.handles.nesting import LEAF, as_number, described, is_handle

__all__ = ["RecordedMap", "Retrace", "record_map"]

Given = tuple[Kind, int, int, float]  # of an input of a body: what it is, and where

# What pays, in gates that are run uncompiled: the price of a call of the function, of a path that is kept,
# of each of its gates from the start that are recorded, and of each that is optimised.
OF_A_CALL = 100
OF_A_PATH = 1200
OF_A_RECORDING = 2
OF_A_GATE = 8


class Retrace(Exception):  # noqa: N818 (never seen outside)
    """A body took a path that needs the function around it to be recorded again."""


class Grown(Exception):  # noqa: N818 (never seen outside)
    """While a map is recorded, a path uses more operands than were known."""


class RecordedMap(MapRegion):
    """A map as it was recorded, and what is recorded later: other paths of its body.

    `leaves` says for every leaf of the body's arguments that is no array what each of its numbers is.
    """

    body: Tree

    def __init__(self, f: Callable[..., Any], name: str, lanes: int, signature: Signature, trace: Trace):
        outer: Recording = trace.recording
        super().__init__(name, lanes, outer.dtype == np.float32)
        self.function, self.trace = f, trace
        self.dtype, self.passes = outer.dtype, outer.passes or PASSES
        self.signature = signature  # of one lane's arguments
        self.leaves: list[list[Given] | None] = []
        self.operands: list[Unit] = []  # while it is recorded
        self._numbers: dict[Any, int] = {}  # what an operand is -> its number
        self._sealed = False  # once it is recorded, no operand can be added
        self._form: Any = None  # of the result: its nesting, and the shapes of its leaves
        self.most = outer.max_paths
        self._places: list[tuple[int, int]] = []
        self._parts: Any = None
        self._own: list[Given] = []
        # paths that were run where the map was recorded, and will be run there again at once
        self._remembered: dict[Any, tuple[Recording, list[Given]]] = {}

    def grow_from(self, point: np.ndarray[Any, Any]) -> Recording:
        """Record the first path, at a point; returns its recording."""
        self._places = [(k, i) for k in range(len(self.signature.shapes)) for i in range(self.signature.size(k))]
        sizes = [self.signature.size(k) for k in range(len(self.signature.shapes))]
        self.first_input = np.cumsum([0, *sizes]).tolist()
        self._own = [self._given(leaf, element) for leaf, element in self._places]
        varying = [self.axis[leaf] >= 0 for leaf, _ in self._places]
        self.body = Tree(self.name, len(self._places), np.array(varying, np.uint8), self.passes, self.most)
        recording = self.record_lane(point)
        self.body.add(recording, self.captured_operands(recording), point)
        return recording

    def spread(self, leaves: Sequence[int]) -> None:
        """Let leaves have a gradient in every lane, even if they are the same in all."""
        for i, (leaf, _) in enumerate(self._places):
            self.body.varying[i] |= leaf in leaves

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
        found = [self._number_of(key, functools.partial(outer.__getitem__, key)) for key in recording.outer_keys]
        for handle, place in recording.captured:
            found.append(self._number_of((handle, place), functools.partial(_number_in, handle, place)))
        return found

    # paths

    def record_lane(self, point: np.ndarray[Any, Any], beginning: tuple[bool, ...] = ()) -> Recording:
        """Record the path that a point takes, whose first guards come out as is known."""
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
        guards = self.trace.guards
        decided = len(guards)
        recording = record(
            self.function, self.signature, points, self.dtype, parent=self.trace, lazily=False, forced=beginning
        )
        if self._sealed and len(guards) > decided:
            del guards[decided:]
            raise Retrace(f"{self.name} takes a path on which it decides by what is outside of it")
        self._order(recording)
        return recording

    def keep(self, point: np.ndarray[Any, Any], beginning: tuple[bool, ...] = ()) -> None:
        """Record a path and keep it; Retrace if it needs more of what is outside, and then nothing has changed."""
        recording = self.record_lane(point, beginning)
        self.body.add(recording, self.captured_operands(recording), point)

    def _order(self, recording: Recording) -> None:
        """Let a result be as that of the first path: TypeError if it has another structure."""
        form = recording.nesting, [shape for _, shape in recording.outputs]
        if self._form is None:
            self._form = form
        order = in_order(recording.name, self._form, form)
        if order != list(range(len(order))):
            starts = [recording.outputs[k][0] for k in order]
            sizes = [math.prod(form[1][k] or ()) for k in order]
            old = recording.draft.outputs
            outputs = [old[start : start + size] for start, size in zip(starts, sizes)]
            recording.draft = recording.draft.replace(outputs=np.concatenate(outputs))

    def wires(self, node: Node, columns: Sequence[int] = (), operands: Sequence[Given] | None = None) -> Wires:
        """Return where the inputs of a part of the body come from; `operands`: of one that is not kept."""
        given: list[Given] = []
        places: list[tuple[int, int]] = []
        own = len(self._places)
        for i in node.uses.tolist():
            if i >= own:
                given.append((Kind.OPERAND, i - own, 0, 0.0) if operands is None else operands[i - own])
                continue
            leaf, element = self._places[i]
            places.append((leaf, element))
            given.append(self._own[i])
        given += [(Kind.COLUMN, column, 0, 0.0) for column in columns]
        covered = Counter(leaf for leaf, _ in places)
        covers = [covered[k] == self.signature.size(k) for k in range(len(self.leaves))]
        return Wires(node.plan, given, places, covers, bool(node.children))

    def _given(self, leaf: int, element: int) -> Given:
        """Return where a number of the body's arguments comes from."""
        numbers = self.leaves[leaf]
        if numbers is not None:
            return numbers[element]
        return (Kind.SAME if self.axis[leaf] < 0 else Kind.LANE, leaf, element, 0.0)

    def only_path(self) -> Node | None:
        """Return the path that all lanes take, if nothing is decided."""
        root = self.body.root
        if root is None or root.children or (self.most > 0 and len(root.cuts)):
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
            children = [number[node.children[side]] if side in node.children else -1 for side in (False, True)]
            checked = len(node.cuts) - bool(node.children)
            parts.append((read, len(node.uses), len(node.exports), children, checked, not node.children))
            if node.wired is None or node.wired[0] != read or node.wired[1].plan is not node.plan:
                node.wired = read, self.wires(node, read)
            wires.append(node.wired[1])
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
            for k in range(len(groups) - 1, -1, -1):  # the last guards first: what is cut there leaves the others
                node, guard = nodes[int(groups[k]) >> 32].now_at(int(groups[k]) & 0xFFFFFFFF)
                beginning = node.outcomes(guard)
                if beginning is None:
                    again[lanes[group_of == k]] = 1
                else:
                    self._settle(run, both, node, guard, beginning, lanes[group_of == k], again)
            if self._sealed:
                self._remembered.clear()
        return again if again.any() else None

    def _settle(
        self, run: MapRun, both: bool, node: Node, guard: int, beginning: tuple[bool, ...], lanes: Any, again: Any
    ) -> None:
        """Buy or rent: record a way when the gates run uncompiled for its lanes reach what that costs."""
        gates = node.spent.get(guard, 0) + len(lanes) * (node.end + OF_A_CALL)
        price = OF_A_PATH + OF_A_RECORDING * node.end + OF_A_GATE * len(node.segment)
        if gates >= price and not self.body.full:
            point = self.lane_point(run, int(lanes[int(0.618 * len(lanes))]))  # so that in order, too, they halve
            self.keep(point, beginning)
            self._check_operands()
            again[lanes] = 1
            return
        node.spent[guard] = gates
        for lane in lanes.tolist():
            self._run_uncompiled(run, both, lane, beginning)

    def _check_operands(self) -> None:
        """While it is recorded: begin anew if there are more operands than the run knows."""
        if len(self._numbers) > self.numbers:
            raise Grown

    def lane_point(self, run: MapRun, lane: int) -> np.ndarray[Any, Any]:
        """Return the body's arguments in a lane, one number after the other."""
        found: list[Any] = []
        for leaf, numbers in enumerate(self.leaves):
            if numbers is not None:
                found.append([run.value_of(given) for given in numbers])
            else:
                values = run.arrays.values[self.array[leaf]]
                found.append(np.ravel(values if self.axis[leaf] < 0 else np.take(values, lane, self.axis[leaf])))
        return np.concatenate([np.zeros(0), *found])

    def _run_uncompiled(self, run: MapRun, both: bool, lane: int, beginning: tuple[bool, ...]) -> None:
        """Run one lane on a way that is not kept, whose guards hold there also as circuits round."""
        point = self.lane_point(run, lane)
        while True:
            gates, guards = len(self.trace), len(self.trace.guards)
            key = point.tobytes(), beginning
            recording, operands = self._remembered.get(key) or (None, [])
            if recording is None:
                recording = self.record_lane(point, beginning)
                operands = self._operands_for_once(recording, gates)
                if not self._sealed and all(kind is not Kind.NUMBER for kind, _, _, _ in operands):
                    self._remembered[key] = recording, operands
            if (len(self.trace.guards), len(self.trace)) != (guards, gates) and not self.body.full:
                self.body.add(recording, self.captured_operands(recording), point)  # else it would be learnt each time
            self._check_operands()
            if recording.draft.payload:
                broken = self._run_plan(run, both, lane, recording, point, operands)
            else:
                broken = run.run_draft(recording.draft, self._own + operands, lane, both)
            if broken < 0:
                return
            outcomes = recording.outcomes
            beginning = (*outcomes[:broken], not outcomes[broken])

    def _run_plan(
        self, run: MapRun, both: bool, lane: int, recording: Recording, point: Any, operands: Sequence[Given]
    ) -> int:
        """Run one lane by a program, which is thrown away; return the guard that came out otherwise, or -1."""
        tree = Tree(self.name, len(self._places), self.body.varying, self.passes, 0)
        leaf = tree.add(recording, range(len(operands)), point)
        tree.built()
        broken: int = run.sweep_one(self.wires(leaf, (), operands), lane, both)
        return broken

    def _operands_for_once(self, recording: Recording, gates: int) -> list[Given]:
        """Return where the operands of a path come from that is not kept.

        What the body itself computed of outer values, while these are known, is a number: it is another gate each time.
        """
        found: list[Given] = []
        outer = dict(zip(recording.outer_keys, recording.outer))
        for key, unit in outer.items():
            if key not in self._numbers and not self._sealed and key[1] >= gates:
                found.append((Kind.NUMBER, 0, 0, unit._recorded))
            else:
                found.append((Kind.OPERAND, self._number_of(key, functools.partial(outer.__getitem__, key)), 0, 0.0))
        for handle, place in recording.captured:
            number = self._number_of((handle, place), functools.partial(_number_in, handle, place))
            found.append((Kind.OPERAND, number, 0, 0.0))
        return found

    def settle(self) -> None:
        """Let no operand be added any more."""
        self.seal(len(self.operands))
        self._sealed = True
        self.sole = self.only_path()


def _number_in(handle: Any, place: int) -> Any:
    """Return a captured Unit, or a number of a captured Array."""
    return handle if place < 0 else handle[tuple(int(i) for i in np.unravel_index(place, handle.shape))]


# Recording ------------------------------------------------------------------------------------------------------------


def record_map(
    f: Callable[..., Any],
    name: str,
    args: Sequence[Any],
    in_axes: Any,
    reduce: str | None,
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Record a vmap on the current trace; returns Units (reduced), or LaneBlocks."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if outer.parent is not None:  # inside of another vmap: its lanes are gates of the outer one's body
        return lane_by_lane(f, name, args, in_axes, reduce, kwargs)
    one, axes, lanes = lane_signature(name, args, in_axes, (), kwargs)
    kind = _gradient_kind(f, outer) if reduce is None else None
    region = RecordedMap(kind[1] if kind else f, name, lanes, one, trace)
    region.summed, region.scale = reduce is not None, scale_of(reduce, lanes)
    leaves = _flat_leaves(one, args, kwargs)
    _take_leaves(region, leaves, axes)
    examples = [() if k in one.fixed else _example(leaf, axes[k], outer) for k, leaf in enumerate(leaves)]
    point = np.concatenate([np.zeros(0), *[np.ravel(x).astype(np.float64) for x in examples]])
    recording = _first_path(region, outer, point)
    if kind:
        _give_gradients(region, kind, recording)
    else:
        region.outputs = len(recording.draft.outputs)
        if reduce is None:
            region.value_arrays = [(_made(outer, lanes, shape), shape or ()) for _, shape in recording.outputs]
    sums = _run_examples(region, outer)
    region.settle()
    units = region_gate(trace, region.operands, region, sums)
    region.operands = []
    if kind:
        return _gradient_blocks(region, kind, units[0], outer)
    return _sums(recording, units) if reduce else _blocks(recording, region, units[0])


def _made(outer: Recording, lanes: int, shape: tuple[int, ...] | None) -> int:
    """Return the number of an array that a map makes."""
    whole = Whole("made", shape=(lanes, *(shape or ())))
    return outer.array_of(whole, None)


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
    sums: list[float]
    outer.maps.append(region)
    while True:
        before = len(region.operands)
        region.seal(before)
        run = MapRun(region, arrays, np.zeros(before, np.uint8), ())
        try:
            sums = run.run_at([unit._recorded for unit in region.operands])
            break
        except Grown:
            continue
    for a in region.makes:
        outer.examples[a] = arrays.values[a]
    return sums


def _first_path(region: RecordedMap, outer: Recording, point: np.ndarray[Any, Any]) -> Recording:
    """Record the paths that were known when the function around the map was recorded before, else that of a point."""
    known = outer.known[len(outer.maps)] if len(outer.maps) < len(outer.known) else []
    if not all(len(other) == len(point) for other in known):
        known = []
    recording = region.grow_from(known[0] if known else point)
    for other in known[1:]:
        if not region.body.full:
            region.keep(other)
    return recording


def _sums(recording: Recording, units: Sequence[Unit]) -> Any:
    """Return the reduced outputs, in the form of the body's result."""
    parts: list[Any] = []
    for start, shape in recording.outputs:
        if shape is None:
            parts.append(units[start])
        else:
            parts.append(Bundle(object_array(list(units[start : start + math.prod(shape)]), shape)))
    return recording.nesting.unflatten(parts)


def _flat_leaves(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> list[Any]:
    found = signature.taken_apart(args, kwargs)
    for k, leaf in enumerate(found):
        if k in signature.fixed:
            continue
        number = leaf if is_handle(leaf) else as_number(leaf)
        if number is None:
            raise TypeError(f"{signature.name(k)} is {described(leaf)}; vmap takes numbers, arrays, Units and Arrays")
        found[k] = number
    return found


def _example(leaf: Any, axis: int | None, outer: Recording) -> Any:
    """Return the values of a leaf at the first lane."""
    values: Any
    if isinstance(leaf, LaneBlock):
        values = outer.examples[leaf.number]
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


def _take_leaves(region: RecordedMap, leaves: Sequence[Any], axes: Sequence[int | None]) -> None:
    """Say where the leaves of the body's arguments come from."""
    arrays = [_whole(region, leaf, axis) for leaf, axis in zip(leaves, axes)]
    region.take_leaves(list(region.signature.shapes), arrays, [-1 if axis is None else axis for axis in axes])
    for leaf, a in zip(leaves, arrays):
        region.leaves.append(None if a >= 0 else _numbers(region, leaf))


def _whole(region: RecordedMap, leaf: Any, axis: int | None) -> int:
    """Return the number of the array that a leaf is, if it is read as a whole; else -1."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if isinstance(leaf, LaneBlock):
        region.operand(leaf.map_unit)
        number: int = leaf.number
        return number
    if isinstance(leaf, LazyBundle):
        return leaf.array()
    if axis is None:
        return -1
    if isinstance(leaf, Bundle):
        packed = _packed(region, leaf)
        region.operand(packed.map_unit)
        return packed.number
    if is_handle(leaf):
        return outer.array_of(Whole("captured", handle=leaf), np.asarray(leaf.value, region.dtype))
    constant = np.ascontiguousarray(leaf, region.dtype)
    return outer.array_of(Whole("constant", values=constant), constant)


def _packed(region: RecordedMap, bundle: Bundle) -> LaneBlock:
    """Record that a block of numbers becomes an array, which maps can read."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    numbers = [x if isinstance(x, Unit) else trace._variable(x) for x in bundle.numbers.flat]
    values = np.array([x._recorded for x in numbers], region.dtype).reshape(bundle.shape)
    a = outer.array_of(Whole("made", shape=bundle.shape), values)
    return _block(region_gate(trace, numbers, PackRegion(len(numbers), a, bundle.shape), [])[0], a, bundle.shape)


def _numbers(region: RecordedMap, leaf: Any) -> list[Given]:
    """Return what each number of a leaf is that is the same in all lanes."""
    if leaf is None or isinstance(leaf, (bool, str)):
        return []
    if isinstance(leaf, Bundle):
        numbers = list(leaf.numbers.flat)
    elif is_handle(leaf) and not isinstance(leaf, Unit):
        numbers = [leaf[place] for place in np.ndindex(leaf.shape)]
    else:
        numbers = [float(x) for x in leaf.flat] if isinstance(leaf, np.ndarray) else [leaf]
    return [
        (Kind.NUMBER, 0, 0, x) if isinstance(x, float) else (Kind.OPERAND, region.operand(x), 0, 0.0) for x in numbers
    ]


def _blocks(recording: Recording, region: RecordedMap, unit: Unit) -> Any:
    parts = [_block(unit, a, (region.lanes, *shape)) for a, shape in region.value_arrays]
    return recording.nesting.unflatten(parts)


def _block(unit: Unit, a: int, shape: tuple[int, ...]) -> LaneBlock:
    return LaneBlock(_mapped, unit, a, shape)


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
    region.gradients = True
    if kind[0] == "value_and_grad":
        region.value_arrays = [(_made(outer, region.lanes, None), ())]
    for position in positions_of(kind[2], one.count, region.name)[0]:
        for k in one.leaves_of_argument(position):
            region.gradient_arrays.append((k, _made(outer, region.lanes, one.shapes[k])))
    region.spread([k for k, _ in region.gradient_arrays])


def _gradient_blocks(region: RecordedMap, kind: Any, unit: Unit, outer: Recording) -> Any:
    one = region.signature
    positions, single = positions_of(kind[2], one.count, region.name)
    blocks = {k: _block(unit, a, outer.arrays[a].shape) for k, a in region.gradient_arrays}
    per_argument = [one.gradient_of(position, blocks) for position in positions]
    gradient = per_argument[0] if single else tuple(per_argument)
    if kind[0] == "grad":
        return gradient
    return _block(unit, region.value_arrays[0][0], (region.lanes,)), gradient
