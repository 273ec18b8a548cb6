"""vmap under trace: a gate that runs a body at every lane, and what it reads, writes and pulls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.batching import Columns, LaneCall, columns_of, lane_signature, scale_of
from fastprop.circuits.branches import UNKNOWN, Paths
from fastprop.circuits.pipeline import PASSES, Plan
from fastprop.circuits.signature import Signature, positions_of
from fastprop.circuits.trace import LazyBundle, Recording, current_trace, record
from fastprop.circuits.unrolling import lane_by_lane
from fastprop.engine.bundle import Bundle, LaneBlock, object_array
from fastprop.engine.opaque import Opaque, ResultOf
from fastprop.engine.tape import Trace, Unit, belongs
from fastprop.engine.trace import outside_gate
from fastprop.handles.nesting import LEAF, as_number, described, is_handle

__all__ = ["MapGate", "MapState", "record_map"]


class MapGate:
    """A body and the lanes that it is run at; the payload of a gate outside of the table.

    `sources` says for every own input of the body where it comes from: ("unit", operand), ("leaf", leaf, axis, number),
    ("block", gate, output), ("units", operands) or ("array", column).
    """

    body: Paths

    def __init__(self, name: str, lanes: int, reduce: str | None, dtype: np.dtype[Any], signature: Signature):
        self.name, self.lanes, self.reduce, self.dtype = name, lanes, reduce, dtype
        self.signature = signature  # of one lane's arguments
        self.sources: list[tuple[Any, ...]] = []
        self.operands: list[Unit] = []  # while it is recorded
        self._places: dict[Any, int] = {}  # what an operand is -> its number
        self.outputs = 0
        self.argnums: list[int] | None = None  # own inputs whose gradients are outputs, for vmap of grad
        self.gives_value = True
        self.sealed = False  # once it is recorded, no operand can be added
        self.blocks: list[Any] = []  # the lanes of the outputs, while it is recorded

    def operand(self, unit: Any) -> int:
        """Return the number of an operand, which is added if it is new."""
        tape = unit._tape
        key = (tape.number, unit._slot) if tape is not None else id(unit)
        if key not in self._places:
            trace = current_trace()
            if trace is not None and not self.sealed and not belongs(unit, trace):
                raise ValueError(
                    f"{self.name}: a vmap in a traced function got a result that was computed outside of it; pass it "
                    "as an argument, or give its .value if a constant is meant"
                )
            self._places[key] = len(self.operands)
            self.operands.append(unit)
        return self._places[key]

    def captured_operands(self, recording: Recording) -> list[int]:
        """Return the numbers of the operands that are a recording's inputs beside those of the arguments."""
        found = [self.operand(unit) for unit in recording.outer]
        for handle, place in recording.captured:
            key = (id(handle), place)
            if key not in self._places:
                unit = handle if place < 0 else handle[tuple(int(i) for i in np.unravel_index(place, handle.shape))]
                self._places[key] = len(self.operands)
                self.operands.append(unit)
            found.append(self._places[key])
        return found

    @property
    def scale(self) -> float:
        """What a sum over the lanes is multiplied with."""
        return scale_of(self.reduce, self.lanes)


# Recording ------------------------------------------------------------------------------------------------------------


def record_map(f: Callable[..., Any], name: str, args: Sequence[Any], in_axes: Any, reduce: str | None) -> Any:
    """Record a vmap on the current trace; returns Units (reduced), or LaneBlocks."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if outer.parent is not None:  # inside of another vmap: its lanes are gates of the outer one's body
        return lane_by_lane(f, name, args, in_axes, reduce)
    one, axes, lanes = lane_signature(name, args, in_axes)
    leaves = _flat_leaves(one, args)
    examples = [_example(leaf, axis, outer) for leaf, axis in zip(leaves, axes)]
    kind = _gradient_kind(f, outer) if reduce is None else None
    gate = MapGate(name, lanes, reduce, outer.dtype, one)
    gate.body = Paths(_recorder(gate, kind[1] if kind else f, trace), name, outer.max_paths)
    for leaf, axis, shape in zip(leaves, axes, one.shapes):
        gate.sources += _sources(gate, leaf, axis, shape)
    gate.body.add(np.concatenate([np.zeros(0), *[np.ravel(x).astype(np.float64) for x in examples]]))
    recording = gate.body.plans[0].recording
    gate.outputs = len(recording.draft.outputs)
    if kind:
        _give_gradients(gate, kind, recording)
    sums = _run_examples(gate, trace)
    unit = outside_gate(trace, gate.operands, sums[0] if reduce and len(sums) else 0.0)
    trace.outsiders[unit._slot] = gate
    gate.sealed = True
    outer.gates.append(gate)
    if kind:
        return _gradient_blocks(gate, kind, unit)
    return _blocks(gate, recording, unit) if reduce is None else _units(gate, recording, unit, sums)


def _gradient_kind(f: Any, outer: Recording) -> Any:
    """Return what `grad` or `value_and_grad` made of a function, if the body can be swept without recording it."""
    kind = getattr(f, "__fastprop__", None)
    if kind is None or outer.differentiable or kind[0] not in ("grad", "value_and_grad") or kind[3]:
        return None
    return kind


def _recorder(gate: MapGate, f: Callable[..., Any], trace: Trace) -> Callable[..., Plan]:
    """Return what records a path of a body."""
    outer: Recording = trace.recording
    dtype, passes = outer.dtype, outer.passes or PASSES

    def record_path(vector: np.ndarray[Any, Any], beginning: tuple[bool, ...] = ()) -> Plan:
        points, at = [], 0
        for k, shape in enumerate(gate.signature.shapes):
            size = gate.signature.size(k)
            points.append(float(vector[at]) if shape is None else vector[at : at + size].reshape(shape))
            at += size
        decided = len(trace.guards)
        recording = record(f, gate.signature, points, dtype, parent=trace, lazily=False, forced=beginning)
        if gate.sealed and len(trace.guards) > decided:
            raise Retrace(f"{gate.name} takes a path on which it decides by what is outside of it")
        return Plan(recording, passes)

    return record_path


def _run_examples(gate: MapGate, trace: Trace) -> list[float]:
    """Run a gate where it is recorded; returns the sums, and lets the gate have the lanes."""
    runner = _Runner(
        gate,
        lambda k: gate.operands[k]._recorded,
        trace.recording.given,
        lambda producer, j: producer.blocks[j],
    )
    sums, gate.blocks = runner.forward()
    for plan in gate.body.plans:
        gate.captured_operands(plan.recording)
    return sums


def _units(gate: MapGate, recording: Recording, unit: Unit, sums: Sequence[float]) -> Any:
    """Return the reduced outputs, in the form of the body's result."""
    trace = current_trace()
    assert trace is not None
    units = [unit]
    for k in range(1, gate.outputs):
        units.append(outside_gate(trace, [unit], sums[k]))
        trace.outsiders[units[-1]._slot] = ResultOf(gate, k)
    parts: list[Any] = []
    for start, shape in recording.outputs:
        if shape is None:
            parts.append(units[start])
        else:
            parts.append(Bundle(object_array(units[start : start + math.prod(shape)], shape)))
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
    if isinstance(leaf, LaneBlock):
        values = (
            np.stack([leaf.gate.blocks[j] for j in leaf.columns.flat], -1)
            if leaf.columns.size
            else np.zeros((leaf.lanes, 0))
        )
        values = values.reshape(leaf.shape)
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


def _sources(gate: MapGate, leaf: Any, axis: int | None, shape: tuple[int, ...] | None) -> list[tuple[Any, ...]]:
    """Return where the inputs of the body come from that stand for a leaf."""
    if isinstance(leaf, LaneBlock):
        if axis != 0:
            raise ValueError(f"{gate.name}: lanes of another vmap have their lane axis first; in_axes says {axis}")
        gate.operand(leaf.map_unit)
        return [("block", leaf.gate, int(j)) for j in leaf.columns.flat]
    if isinstance(leaf, LazyBundle) and axis is not None:
        size = math.prod(shape or ())
        return [("leaf", leaf.leaf, axis, j) for j in range(size)]
    if isinstance(leaf, Bundle) or (is_handle(leaf) and not isinstance(leaf, Unit)):
        numbers = (
            leaf.numbers
            if isinstance(leaf, Bundle)
            else object_array([leaf[i] for i in np.ndindex(leaf.shape)], leaf.shape)
        )
        if axis is None:
            return [_source(gate, x) for x in numbers.flat]
        return [("units", [_source(gate, x) for x in column]) for column in columns_of(numbers, axis)]
    if isinstance(leaf, np.ndarray):
        if axis is None:
            return [("number", float(x)) for x in leaf.flat]
        return [("array", np.ascontiguousarray(column, gate.dtype)) for column in columns_of(leaf, axis)]
    return [_source(gate, leaf)]


def _source(gate: MapGate, x: Any) -> tuple[Any, ...]:
    return ("number", x) if isinstance(x, float) else ("unit", gate.operand(x))


def _blocks(gate: MapGate, recording: Recording, unit: Unit) -> Any:
    parts = []
    for start, shape in recording.outputs:
        size = math.prod(shape or ())
        parts.append(_block(gate, unit, np.arange(start, start + size).reshape(shape or ())))
    return recording.nesting.unflatten(parts)


def _block(gate: MapGate, unit: Unit, columns: np.ndarray[Any, Any]) -> LaneBlock:
    return LaneBlock(_mapped, gate, unit, columns)


def _mapped(f: Any, operands: Any, axes: Any, reduce: Any) -> Any:
    return record_map(f, getattr(f, "name", "a gate"), operands, axes, reduce)


def _give_gradients(gate: MapGate, kind: Any, recording: Recording) -> None:
    """Let the outputs be the value, if it is wanted, and the gradients of some arguments."""
    if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
        raise TypeError(
            f"{kind[0]} is only defined for functions that return one number, and {recording.name} returns more"
        )
    gate.gives_value = kind[0] == "value_and_grad"
    gate.argnums = []
    one = gate.signature
    for position in positions_of(kind[2], one.count, gate.name)[0]:
        for k in one.leaves_of_argument(position):
            gate.argnums += range(recording.starts[k], recording.starts[k] + one.size(k))
    gate.outputs = len(gate.argnums) + gate.gives_value


def _gradient_blocks(gate: MapGate, kind: Any, unit: Unit) -> Any:
    at = int(gate.gives_value)
    per_argument = []
    one = gate.signature
    positions, single = positions_of(kind[2], one.count, gate.name)
    for position in positions:
        parts: dict[int, Any] = {}
        for k in one.leaves_of_argument(position):
            parts[k] = _block(gate, unit, np.arange(at, at + one.size(k)).reshape(one.shapes[k] or ()))
            at += one.size(k)
        per_argument.append(one.gradient_of(position, parts))
    gradient = per_argument[0] if single else tuple(per_argument)
    return (_block(gate, unit, np.array(0)), gradient) if gate.gives_value else gradient


# Running --------------------------------------------------------------------------------------------------------------


class MapState:
    """Runs what the executor leaves to others, at one set of arguments: vmaps, and gates of the user's own."""

    def __init__(self, circuit: Any, leaves: Sequence[Any], wanted: set[int] | None = None, gradient: bool = False):
        self.leaves = leaves
        self.wanted = set(range(len(leaves))) if wanted is None else wanted
        self.gradient = gradient
        self.leaf_gradients: dict[int, np.ndarray[Any, Any]] = {}
        self._blocks: dict[int, list[Any]] = {}
        self._sums: dict[int, list[float]] = {}
        self._unit_gradients: dict[int, Any] = {}
        self._pulls: dict[int, dict[int, Any]] = {}

    def __call__(self, outsider: Any, run: Any, forward: bool) -> None:
        """Run a gate, forward or backward."""
        payload = outsider.payload
        if isinstance(payload, ResultOf):
            if forward:
                run.write(outsider.result, self._sums[id(payload.gate)][payload.output])
            else:
                self._add_pull(payload.gate, payload.output, run.read(outsider.pull))
            return
        if isinstance(payload, Opaque):
            self._run_opaque(payload, outsider, run, forward)
            return
        runner = _Runner(payload, lambda k: run.read(outsider.operands[k]), self.leaves, self._block_of)
        if forward:
            self._forward(payload, runner, run, outsider)
        else:
            self._backward(payload, runner, run, outsider)

    def _run_opaque(self, gate: Opaque, outsider: Any, run: Any, forward: bool) -> None:
        numbers = [run.read(slot) for slot in outsider.operands]
        if forward:
            self._sums[id(gate)] = gate.forward(numbers)
            run.write(outsider.result, self._sums[id(gate)][0])
            return
        pulls = [0.0] * len(self._sums[id(gate)])
        for k, pull in self._pulls.pop(id(gate), {}).items():
            pulls[k] = pull
        pulls[0] = run.read(outsider.pull)
        for target, part in zip(outsider.targets, gate.backward(pulls, numbers)):
            if target >= 0 and part != 0.0:
                run.write(target, run.read(target) + part)

    def _block_of(self, gate: MapGate, j: int) -> Any:
        return self._blocks[id(gate)][j]

    def _forward(self, gate: MapGate, runner: _Runner, run: Any, outsider: Any) -> None:
        fused = self.gradient and gate.reduce is not None and gate.outputs == 1
        if fused:  # the gradient is linear in the pull: it is taken at once, with 1, and multiplied later
            sums, blocks, arrived = runner.run([gate.scale], self._is_wanted)
            self._unit_gradients[id(gate)] = arrived
        else:
            sums, blocks = runner.forward()
        self._sums[id(gate)], self._blocks[id(gate)] = sums, blocks
        run.write(outsider.result, sums[0] if gate.reduce and sums else 0.0)

    def _is_wanted(self, source: tuple[Any, ...]) -> bool:
        return source[0] in ("unit", "units", "block") or (source[0] == "leaf" and source[1] in self.wanted)

    def _add_pull(self, gate: Any, output: int, pull: Any) -> None:
        pulls = self._pulls.setdefault(id(gate), {})
        pulls[output] = pulls[output] + pull if output in pulls else pull

    def _backward(self, gate: MapGate, runner: _Runner, run: Any, outsider: Any) -> None:
        if gate.argnums is not None:
            raise TypeError(
                f"{gate.name}: the derivative of a compiled gradient is not recorded; trace it without vmap"
            )
        if gate.reduce is not None and gate.outputs == 1:
            pull = run.read(outsider.pull)
            if pull != 0.0:
                self._deliver(gate, self._unit_gradients[id(gate)], pull, run, outsider)
            return
        pulls = self._pulls.get(id(gate), {})
        if gate.reduce is not None:
            pulls[0] = run.read(outsider.pull)
        if pulls:
            given = [pulls.get(k, 0.0) for k in range(gate.outputs)]
            given = [x * gate.scale if gate.reduce else x for x in given]
            self._deliver(gate, runner.run(given, self._is_wanted)[2], 1.0, run, outsider)

    def _deliver(self, gate: MapGate, arrived: dict[Any, Any], pull: float, run: Any, outsider: Any) -> None:
        """Add what arrived on a body's inputs to what they are outside."""
        for key, part in arrived.items():
            kind = key[0]
            part = part * pull
            if kind == "operand":
                target = outsider.targets[key[1]]
                if target >= 0:
                    run.write(target, run.read(target) + float(part))
            elif kind == "leaf":
                _, leaf, axis, j = key
                if leaf not in self.leaf_gradients:
                    self.leaf_gradients[leaf] = np.zeros(self.leaves[leaf].shape, gate.dtype)
                columns_of(self.leaf_gradients[leaf], axis)[j][...] += part
            elif kind == "block":
                self._add_pull(key[1], key[2], part)

    # for the circuit

    def block(self, columns: Any) -> np.ndarray[Any, Any]:
        """Return the lanes of an output, lanes first."""
        gate, numbers = columns
        found = [self._blocks[id(gate)][j] for j in numbers.flat]
        if not found:
            return np.zeros((gate.lanes, *numbers.shape), gate.dtype)
        if numbers.shape == ():
            return np.array(found[0])
        return np.moveaxis(np.array(found).reshape((*numbers.shape, gate.lanes)), -1, 0)

    def pull_block(self, columns: Any, pull: np.ndarray[Any, Any]) -> None:
        """Put a pull on the lanes of an output."""
        gate, numbers = columns
        for j, column in zip(numbers.flat, columns_of(pull, 0)):
            self._add_pull(gate, int(j), np.array(column))


class _Runner:
    """One gate at one set of arguments: the inputs of its plans, and its lanes parted by path."""

    def __init__(self, gate: MapGate, operand: Callable[[int], float], leaves: Sequence[Any], block: Any):
        self.gate, self._operand = gate, operand
        self.own = [self._input(source, leaves, block) for source in gate.sources]
        body, lanes = gate.body, gate.lanes
        if len(body.plans) == 1 and (body.most == 0 or not body.plans[0].recording.outcomes):
            self.taken = None
        else:
            self.taken = body.part(lanes, self.inputs, self.own)

    def _input(self, source: tuple[Any, ...], leaves: Sequence[Any], block: Any) -> Any:
        kind = source[0]
        if kind == "unit":
            return self._operand(source[1])
        if kind == "leaf":
            return columns_of(leaves[source[1]], source[2])[source[3]]
        if kind == "block":
            return block(source[1], source[2])
        if kind == "units":
            return np.array([x[1] if x[0] == "number" else self._operand(x[1]) for x in source[1]], self.gate.dtype)
        return source[1]

    def inputs(self, plan: Plan) -> list[Any]:
        """Return all inputs of a plan."""
        gate, recording = self.gate, plan.recording
        before = len(gate.operands)
        numbers = gate.captured_operands(recording)
        if len(gate.operands) > before and gate.sealed:
            raise Retrace(f"{gate.name} takes a path on which it uses more of what is outside of it")
        return self.own + [self._operand(k) for k in numbers]

    def parts(self) -> Iterator[tuple[Plan, Any]]:
        """Yield the plans, each with its lanes (None: all); lanes of no plan get one each, which is thrown away."""
        if self.taken is None or (len(self.taken) and np.all(self.taken == self.taken[0]) and self.taken[0] != UNKNOWN):
            yield self.gate.body.plans[0 if self.taken is None else int(self.taken[0])], None
            return
        for number in np.unique(self.taken).tolist():
            index = np.flatnonzero(self.taken == number).astype(np.int64)
            if number != UNKNOWN:
                yield self.gate.body.plans[number], index
                continue
            for lane in index:
                index = np.array([lane], np.int64)
                yield self._once(index), index

    def _once(self, index: np.ndarray[Any, Any]) -> Plan:
        """Return a plan for one lane, whose guards hold there also as circuits round."""
        beginning: tuple[bool, ...] = ()
        while True:
            plan = self.gate.body.once(self.own, int(index[0]), beginning)
            run = self._call(plan, index, False, (), ()).run
            run.begin()
            run.work(False, True)
            if run.diverged < 0:
                return plan
            outcomes = plan.recording.outcomes
            beginning = (*outcomes[: run.broken], not outcomes[run.broken])

    def forward(self) -> tuple[list[float], list[Any]]:
        """Return the outputs' sums (scaled) and, if they are not reduced, their lanes."""
        if self.gate.argnums is not None:
            return self._gradient_lanes()
        sums, blocks, _ = self.run(None, lambda source: False)
        return sums, blocks

    def run(
        self, pulls: list[Any] | None, wanted: Callable[[tuple[Any, ...]], bool]
    ) -> tuple[list[float], list[Any], Any]:
        """Run forward and, from pulls, backward; also return what arrives on the inputs, by what they are."""
        gate = self.gate
        blocks = [] if gate.reduce else [np.empty(gate.lanes, gate.dtype) for _ in range(gate.outputs)]
        sums = [0.0] * gate.outputs
        arrived: dict[Any, Any] = {}
        chosen = [wanted(source) for source in gate.sources]
        columns = {
            i: np.zeros(gate.lanes, gate.dtype)
            for i, x in enumerate(self.own)
            if chosen[i] and isinstance(x, np.ndarray)
        }
        for plan, index in self.parts():
            call = self._call(plan, index, pulls is not None, chosen, ())
            for k, block in enumerate(blocks):
                call.run.set_value(k, block)
            for i, column in columns.items():
                call.run.set_gradient(i, column)
            for k, pull in enumerate(pulls or ()):
                call.run.set_pull(k, float(pull) if np.ndim(pull) == 0 else np.ascontiguousarray(pull, gate.dtype))
            call()
            self._check(plan, call)
            for k in range(gate.outputs if gate.reduce else 0):
                sums[k] += call.value_sum(k)
            if pulls is not None:
                for i, total in call.gradient_sums().items():
                    key = self._key(plan, i)
                    arrived[key] = arrived.get(key, 0.0) + total
        if pulls is not None:
            self._add_columns(columns, arrived)
        return [x * gate.scale for x in sums], blocks, arrived

    def _call(self, plan: Plan, index: Any, gradient: bool, chosen: Sequence[bool], spread: Sequence[int]) -> LaneCall:
        inputs = self.inputs(plan)
        wanted = np.ones(len(inputs), np.uint8)
        wanted[: len(chosen)] = chosen
        return LaneCall(
            plan,
            Columns(self.gate.lanes, inputs),
            gradient=gradient,
            wanted=wanted if gradient else None,
            spread=spread,
            sums_values=self.gate.reduce is not None,
            index=index,
        )

    def _check(self, plan: Plan, call: LaneCall) -> None:
        if call.run.diverged >= 0:
            lane = call.run.diverged
            raise plan.divergence(call.run.broken, call.columns.lane(lane), lane)

    def _key(self, plan: Plan, i: int) -> Any:
        """Say what the input of a plan is outside."""
        own = len(self.gate.sources)
        if i >= own:
            return "operand", self.gate.captured_operands(plan.recording)[i - own]
        source = self.gate.sources[i]
        return ("operand", source[1]) if source[0] == "unit" else source

    def _add_columns(self, columns: dict[int, Any], arrived: dict[Any, Any]) -> None:
        for i, column in columns.items():
            source = self.gate.sources[i]
            if source[0] == "units":
                for lane, x in enumerate(source[1]):
                    if x[0] == "unit":
                        key = ("operand", x[1])
                        arrived[key] = arrived.get(key, 0.0) + float(column[lane])
            else:
                arrived[source] = arrived[source] + column if source in arrived else column

    def _gradient_lanes(self) -> tuple[list[float], list[Any]]:
        """Return the value, if wanted, and the gradients of every lane."""
        gate = self.gate
        assert gate.argnums is not None
        rows = np.zeros((gate.outputs, gate.lanes), gate.dtype)
        value = rows[0] if gate.gives_value else np.empty(gate.lanes, gate.dtype)
        gradients = dict(zip(gate.argnums, rows[int(gate.gives_value) :]))
        chosen = [i in gradients for i in range(len(gate.sources))]
        spread = [i for i in gradients if not isinstance(self.own[i], np.ndarray)]
        for plan, index in self.parts():
            call = self._call(plan, index, True, chosen, spread)
            for i, row in gradients.items():
                call.run.set_gradient(i, row)
            call.run.set_value(0, value)
            call.run.set_pull(0, 1.0)
            call()
            self._check(plan, call)
        return [], list(rows)


class Retrace(Exception):  # noqa: N818 (never seen outside)
    """A body took a path that needs the function around it to be recorded again."""
