"""Circuits at many points: values of a batch, and lanes bound to arrays that are read and written in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.bind import check_integers, checked_output, per_argument, refuse_overlap
from fastprop.circuits.pipeline import Plan
from fastprop.circuits.signature import (
    LeafName,
    Signature,
    as_leaf,
    checked_reduce,
    lane_signature,
    nesting_key,
    scale_of,
)
from fastprop.engine.run import Arrays, Kind, MapRegion, MapRun, Wires, joined, sources
from fastprop.handles.nesting import LEAF

__all__ = ["BoundLanes", "batch_values"]


def single_output(recording: Any) -> None:
    """Raise unless the function returns one number."""
    if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
        raise TypeError(f"{recording.name} returns more than one number per lane; gradients and reduce need one")


class CircuitMap(MapRegion):
    """A circuit as the body of a map: every leaf of its arguments is an array, or a number that is an operand."""

    def __init__(self, plan: Plan, one: Signature, axes: Sequence[int | None], lanes: int, reduce: str | None):
        recording = plan.recording
        super().__init__(recording.name, lanes, plan.single)
        self.plan = plan
        self.summed, self.scale = reduce is not None, scale_of(reduce, lanes)
        self.outputs = len(plan.draft.outputs)
        arrays = [k if axes[k] is not None or one.shapes[k] is not None else -1 for k in range(len(axes))]
        self.take_leaves(list(one.shapes), arrays, [-1 if axis is None else axis for axis in axes])
        self.numbers_of_leaves = [k for k, a in enumerate(arrays) if a < 0]
        self.seal(len(self.numbers_of_leaves) + len(recording.captured))

    def wires(self, plan: Plan) -> Wires:
        """Return where the inputs come from."""
        recording = plan.recording
        leaves, elements = recording.input_places()
        kind = np.where(self.axis < 0, Kind.SAME, Kind.LANE)
        which = np.arange(len(self.array))
        kind[self.array < 0] = Kind.OPERAND
        which[self.array < 0] = np.arange(len(self.numbers_of_leaves))
        first = len(self.numbers_of_leaves)
        captured = sources(Kind.OPERAND, np.arange(first, first + len(recording.captured)))
        at = leaves.astype(np.intp)  # NumPy itself crashes where it has no memory to make an index of int32
        given = joined([sources(kind.take(at), which.take(at), elements), captured])
        return Wires(plan, given, leaves, elements, [start >= 0 for start in recording.starts])

    def only_path(self) -> Plan:
        """Return the path that all lanes take."""
        return self.plan

    def operand_values(self, leaves: Sequence[Any]) -> list[float]:
        """Return the operands: the leaves that are numbers, then what was captured."""
        found = [float(leaves[k]) for k in self.numbers_of_leaves]
        return [*found, *self.plan.recording.captured_values().tolist()]


def _arrays_of(leaves: Sequence[Any], more: int) -> Arrays:
    """Return the leaves that are arrays, by their numbers, and room for more."""
    arrays = Arrays(len(leaves) + more)
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray):
            arrays.set(k, leaf)
    return arrays


class _Guards:
    """The guards of a circuit, looked at in all lanes before anything is written."""

    def __init__(self, plan: Plan, one: Signature, axes: Sequence[int | None], lanes: int, arrays: Arrays):
        self.run = None
        if plan.recording.outcomes:
            region = CircuitMap(plan.guards_alone(), one, axes, lanes, None)
            self.run = MapRun(region, arrays, np.zeros(region.numbers, np.uint8), ())

    def check(self, operands: Sequence[float]) -> None:
        """Raise DivergenceError if some lane goes another way than where the circuit was recorded."""
        if self.run is not None:
            self.run.run_at(operands)


def _prepare(circuit: Any, args: Sequence[Any], in_axes: Any, name: str) -> tuple[Signature, list[int | None], int]:
    """Return the form of one lane's arguments, which must be the circuit's."""
    recorded = circuit._recording.signature
    recorded.check_static(args)
    given = Signature(args, tuple(recorded.static), name)
    if list(map(nesting_key, given.nestings)) == list(map(nesting_key, recorded.nestings)):
        args = recorded.build(recorded.taken_apart(args))[0]  # with the keys of dicts in the same order
    one, axes, lanes = lane_signature(name, args, in_axes, tuple(recorded.static))
    if one.form != recorded.form:
        for k, (shape, expected) in enumerate(zip(one.shapes, recorded.shapes)):
            if shape != expected:
                raise ValueError(
                    f"{one.name(k)} has shape {shape or ()} per lane, but the circuit was traced with {expected or ()}"
                )
        raise ValueError(f"{name}: the arguments are not nested as those with which the circuit was recorded")
    if circuit._recording.arrays:
        raise ValueError(f"{name} has a vmap in it and can't be batched as a circuit; use fp.compile(fp.vmap({name}))")
    return one, axes, lanes


def batch_values(circuit: Any, args: Sequence[Any], in_axes: Any, reduce: Any, out: Any = None) -> Any:
    """Return the values of a circuit at many points, in `out` if it is given."""
    recording = circuit._recording
    checked_reduce(reduce, circuit.name)
    one, axes, lanes = _prepare(circuit, args, in_axes, circuit.name)
    leaves = _leaves(one, args, recording)
    if out is not None:
        shape = (*(() if reduce else (lanes,)), *checked_single(recording))
        checked_output(out, shape, recording.dtype, "out")
        refuse_overlap([("out", out)], [(one.name(k), x) for k, x in enumerate(leaves) if isinstance(x, np.ndarray)])
    arrays = _arrays_of(leaves, len(recording.outputs))
    region = CircuitMap(circuit._plan, one, axes, lanes, reduce)
    if reduce is None:
        region.value_arrays = [(len(leaves) + i, shape or ()) for i, (_, shape) in enumerate(recording.outputs)]
    operands = region.operand_values(leaves)
    if out is not None:
        _Guards(circuit._plan, one, axes, lanes, arrays).check(operands)
        if reduce is None:
            arrays.set(len(leaves), out, True)
    run = MapRun(region, arrays, np.zeros(region.numbers, np.uint8), ())
    sums = run.run_at(operands)
    if reduce is None:
        return recording.nesting.unflatten(arrays.values[len(leaves) :]) if out is None else out
    found = _summed_values(recording, sums)
    if out is None:
        return found
    out[...] = found
    return out


def checked_single(recording: Any) -> tuple[int, ...]:
    """Return the shape of what a function returns, which must be one number or array if it goes to one array."""
    if recording.nesting is not LEAF:
        raise TypeError(f"{recording.name} returns more than one number or array, and there is one out")
    shape: tuple[int, ...] = recording.outputs[0][1] or ()
    return shape


def _leaves(one: Signature, args: Sequence[Any], recording: Any) -> list[Any]:
    recorded = recording.signature
    owns = [own if integer else None for own, integer in zip(recorded.call_form.dtypes, recorded.integers)]
    leaves = enumerate(one.taken_apart(args))
    return [as_leaf(leaf, recording.dtype, LeafName(one, k), owns[k]) for k, leaf in leaves]


def _summed_values(recording: Any, sums: Sequence[float]) -> Any:
    """Return the outputs' sums over all lanes in the form of the result."""
    parts: list[Any] = []
    for start, shape in recording.outputs:
        if shape is None:
            parts.append(sums[start])
        else:
            size = int(np.prod(shape))
            parts.append(np.array(sums[start : start + size], recording.dtype).reshape(shape))
    return recording.nesting.unflatten(parts)


def _arrays(one: Signature, arrays: Sequence[Any], axes: Sequence[int | None], dtype: np.dtype[Any]) -> list[Any]:
    """Return the leaves of arguments, which must be arrays of a dtype; what is the same in all lanes may be a float."""
    leaves = one.taken_apart(arrays)
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray):
            if leaf.dtype != dtype:
                raise TypeError(f"{one.name(k)} has dtype {leaf.dtype}; expected {dtype}, which is read in place")
        elif axes[k] is not None or type(leaf) is not float:
            raise TypeError(
                f"{one.name(k)} is a {type(leaf).__name__}; bind takes arrays, which are read at every call"
            )
    return leaves


class BoundLanes:
    """A circuit at many points that reads and writes arrays in place; call it to run it."""

    def __init__(self, circuit: Any, arrays: Sequence[Any], grad: Any, value: Any, in_axes: Any, reduce: Any):
        recording, dtype = circuit._recording, circuit.dtype
        checked_reduce(reduce, circuit.name)
        single_output(recording)
        one, axes, lanes = _prepare(circuit, arrays, in_axes, circuit.name)
        self.name, self._dtype, self._reduce, self._lanes = circuit.name, dtype, reduce, lanes
        self._leaves = _arrays(one, arrays, axes, dtype)
        integers = recording.signature.integers
        self._integers = [(one.name(k), leaf) for k, leaf in enumerate(self._leaves) if integers[k]]
        targets = list(self._targets(one, axes, per_argument(one, grad), grad is None))
        shape = (lanes,) if reduce is None else ()
        self.value = np.zeros(shape, dtype) if value is None else checked_output(value, shape, dtype, "value")
        written = [("value", self.value)] + [(f"grad of {one.name(k)}", array) for k, array in targets]
        read = [(one.name(k), x) for k, x in enumerate(self._leaves) if isinstance(x, np.ndarray)]
        refuse_overlap(written, read)
        for _, array in targets:
            array[...] = 0.0
        self._region = CircuitMap(circuit._plan, one, axes, lanes, reduce)
        self._arrays = _arrays_of(self._leaves, 1 + len(targets))
        self._guards = _Guards(circuit._plan, one, axes, lanes, self._arrays)
        if reduce is None:
            self._bind_lanes(one, axes, targets)
        self._bind_sums(targets if reduce else [])
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.name} bound to arrays of {self._lanes} lanes: a call reads and writes them>"

    def __reduce__(self) -> Any:
        raise TypeError("a bound circuit can be neither copied nor pickled; bind the circuit again")

    def _targets(
        self, one: Signature, axes: Sequence[int | None], given: Sequence[Any], make: bool
    ) -> Iterator[tuple[int, Any]]:
        """Yield the leaves whose gradients are wanted, and where they go."""
        made: dict[int, Any] = {}
        for position, tree in zip(one.positions, given):
            if tree is None and not make:
                continue
            nesting = one.nesting_of(position)
            numbers = one.leaves_of_argument(position)
            if make:
                tree = nesting.unflatten([self._fresh(one, axes, k) for k in numbers])
            for k, array in zip(numbers, nesting.leaves_of(tree, f"grad of argument {position}")):
                self._checked_shape(one, axes, k, array)
                made[k] = array
                yield k, array
        self.grad = None
        if make:
            found = tuple(one.gradient_of(position, made) for position in one.positions)
            self.grad = found[0] if len(found) == 1 else found

    def _fresh(self, one: Signature, axes: Sequence[int | None], k: int) -> np.ndarray[Any, Any]:
        shape, dtype = one.shapes[k] or (), self._dtype
        if axes[k] is None and self._reduce is not None:
            return np.zeros(shape, dtype)
        block = np.zeros((*shape, self._lanes), dtype)
        return np.moveaxis(block, -1, axes[k] or 0)

    def _checked_shape(self, one: Signature, axes: Sequence[int | None], k: int, array: Any) -> None:
        shape = one.shapes[k] or ()
        name = f"grad of {one.name(k)}"
        axis = axes[k]
        if axis is not None:
            expected = (*shape[:axis], self._lanes, *shape[axis:])
        elif self._reduce is not None:
            expected = shape
        else:
            expected = (self._lanes, *shape)
            if isinstance(array, np.ndarray) and array.shape == (*shape, self._lanes) != expected:
                expected = array.shape
        checked_output(array, expected, self._dtype, name)

    def _bind_lanes(self, one: Signature, axes: Sequence[int | None], targets: Sequence[tuple[int, Any]]) -> None:
        """Let the value and the gradients of every lane go to arrays."""
        first = len(self._leaves)
        self._region.gradients = True
        self._region.value_arrays = [(first, ())]
        self._arrays.set(first, self.value, True)
        for i, (k, array) in enumerate(targets):
            axis = axes[k]
            if axis is None:
                axis = 0 if array.shape == (self._lanes, *(one.shapes[k] or ())) else array.ndim - 1
            self._arrays.set(first + 1 + i, np.moveaxis(array, axis, 0), True)
        self._region.gradient_arrays = [(k, first + 1 + i) for i, (k, _) in enumerate(targets)]

    def _bind_sums(self, targets: Sequence[tuple[int, Any]]) -> None:
        """Let the gradients of a sum over the lanes go to arrays."""
        region = self._region
        places = {leaf: number for number, leaf in enumerate(region.numbers_of_leaves)}
        wanted = np.zeros(region.numbers, np.uint8)
        self._numbers = []  # (operand, array)
        for k, array in targets:
            if k in places:
                wanted[places[k]] = 1
                self._numbers.append((places[k], array))
            else:
                self._arrays.set_adjoint(k, array)
        self._run = MapRun(region, self._arrays, wanted, {k for k, _ in targets if k not in places})

    def __call__(self) -> None:
        """Run once."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("this bound circuit is in use by another thread; bind one for each thread")
        try:
            check_integers(self._integers)
            operands = self._region.operand_values(self._leaves)
            self._guards.check(operands)
            pulled, sums = self._run.pulled_at(operands, [1.0])
            if self._reduce is not None:
                self.value[...] = sums[0]
            for place, array in self._numbers:
                array[...] = pulled[place]
        finally:
            self._lock.release()
