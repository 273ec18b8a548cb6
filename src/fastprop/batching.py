"""Circuits at many points: which column of which array is which input of which lane."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.binding import checked_output, per_argument, refuse_overlap
from fastprop.engine.lanes import LanesRun
from fastprop.engine.opaque import has_vmap
from fastprop.engine.replay import PointRun
from fastprop.nesting import LEAF
from fastprop.operands import as_array
from fastprop.plan import Plan
from fastprop.signature import Signature, as_leaf, shape_of, spread_axes
from fastprop.threads import run_on_threads

__all__ = ["BoundLanes", "Columns", "LaneCall", "batch_values", "checked_reduce", "columns_of"]

THREAD_WORTHY = 200_000  # lanes times gates from which on a second thread pays


def checked_reduce(reduce: Any, name: str) -> Any:
    """Return how lanes are reduced, or raise."""
    if reduce not in (None, "sum", "mean"):
        raise ValueError(f"{name}: reduce is {reduce!r}; expected None, 'sum' or 'mean'")
    return reduce


def scale_of(reduce: str | None, lanes: int) -> float:
    """Return what a sum over lanes is multiplied with; the mean of no lanes is NaN."""
    if reduce != "mean":
        return 1.0
    return 1.0 / lanes if lanes else math.nan


def columns_of(array: np.ndarray[Any, Any], axis: int) -> list[np.ndarray[Any, Any]]:
    """Return for every number of a lane its column: one number per lane, without a copy."""
    by_lane = np.moveaxis(array, axis, 0)
    return [by_lane[(slice(None), *place)] for place in np.ndindex(by_lane.shape[1:])]


class Columns:
    """The inputs of a body, lane by lane: each is a number for all lanes, or an array of one number per lane."""

    def __init__(self, lanes: int, inputs: list[Any]):
        self.lanes, self.inputs = lanes, inputs

    @property
    def uniform(self) -> np.ndarray[Any, Any]:
        """Which inputs are one number for all lanes."""
        return np.array([not isinstance(x, np.ndarray) for x in self.inputs], np.uint8)

    def lane(self, i: int) -> np.ndarray[Any, Any]:
        """Return the inputs of one lane."""
        return np.array([x[i] if isinstance(x, np.ndarray) else x for x in self.inputs], np.float64)


def lane_signature(
    name: str, args: Sequence[Any], in_axes: Any, static: Sequence[int] = ()
) -> tuple[Signature, list[int | None], int]:
    """Return the signature of one lane's arguments, the lane axis of every leaf, and how many lanes there are."""
    whole = Signature(args, static, name)
    axes = spread_axes(in_axes, whole)
    lanes = lane_count(whole, axes)
    one = Signature(args, static, name).emptied()
    for k, axis in enumerate(axes):
        shape = whole.shapes[k]
        if axis is not None and shape is not None:
            one.shapes[k] = (*shape[:axis], *shape[axis + 1 :]) or None
    return one, axes, lanes


def lane_count(signature: Signature, axes: Sequence[int | None]) -> int:
    """Return how many lanes there are, if all leaves agree."""
    found: dict[int, str] = {}
    for k, axis in enumerate(axes):
        shape = signature.shapes[k]
        if axis is not None and shape is not None:
            found.setdefault(shape[axis], signature.name(k))
    if not found:
        raise ValueError(f"{signature.owner}: no argument has a lane axis; give at least one in in_axes")
    if len(found) > 1:
        sizes = ", ".join(f"{name} has {size}" for size, name in found.items())
        raise ValueError(f"{signature.owner}: the arguments have different numbers of lanes: {sizes}")
    return next(iter(found))


def body_inputs(
    signature: Signature, axes: Sequence[int | None], leaves: Sequence[Any], starts: Sequence[int], count: int
) -> list[Any]:
    """Return the inputs of a body that belong to its arguments, as columns or numbers."""
    inputs: list[Any] = [0.0] * count
    for leaf, axis, start in zip(leaves, axes, starts):
        if start < 0:
            continue
        if axis is None:
            numbers = [float(leaf)] if shape_of(leaf) is None else [float(x) for x in leaf.flat]
            inputs[start : start + len(numbers)] = numbers
        else:
            columns = columns_of(leaf, axis)
            inputs[start : start + len(columns)] = columns
    return inputs


class LaneCall:
    """One plan at some lanes: what is read, what is written, and the sums that come back.

    Inputs in `spread` are one number for all lanes, but have a gradient for each. What depends on the other uniform
    inputs alone is computed once, before the lanes, and pulled once, after them.
    """

    def __init__(
        self,
        plan: Plan,
        columns: Columns,
        *,
        gradient: bool,
        wanted: np.ndarray[Any, Any] | None = None,
        spread: Sequence[int] = (),
        sums_values: bool = False,
        index: np.ndarray[Any, Any] | None = None,
    ):
        self.plan, self.columns = plan, columns
        self.gradient, self.sums_values = gradient, sums_values
        uniform = columns.uniform
        uniform[list(spread)] = 0
        if wanted is None:
            wanted = np.zeros(len(uniform), np.uint8)
        self.program, before = plan.lanes(gradient, uniform, wanted)
        lanes = columns.lanes if index is None else len(index)
        self.run = LanesRun(self.program, plan.single, lanes, sums_values, index)
        self.before = None if before is None else PointRun(before, plan.single)
        self.numbers = np.zeros(len(uniform))  # of the uniform inputs
        self.spread: dict[int, np.ndarray[Any, Any]] = {}
        for i, x in enumerate(columns.inputs):
            self._set_input(i, x, bool(uniform[i]))
        self.wanted = [i for i in range(len(uniform)) if uniform[i] and wanted[i]]
        self.most_threads = 1 + lanes * max(len(plan.draft), 1) // THREAD_WORTHY
        if self.program.outside:
            self.most_threads = 1  # gates of the user's own take the lanes in order

    def _set_input(self, i: int, x: Any, uniform: bool) -> None:
        if isinstance(x, np.ndarray):
            self.run.set_input(i, x)
        elif uniform:
            self.set_uniform(i, float(x))
        else:
            self.spread[i] = np.array([x], self.plan.recording.dtype)
            self.run.set_input(i, np.broadcast_to(self.spread[i], (self.columns.lanes,)))

    def set_uniform(self, i: int, value: float) -> None:
        """Give the value of an input that is one number for all lanes."""
        if i in self.spread:
            self.spread[i][0] = value
        else:
            self.numbers[i] = value
            self.run.set_uniform(i, value)

    def __call__(self) -> None:
        """Run all lanes."""
        run = self.run
        if self.before is not None:
            self.before.forward(self.numbers)
            for k, value in enumerate(self.before.values()):
                run.set_uniform(len(self.numbers) + k, value)
        run.begin()
        run_on_threads(lambda main: run.work(self.gradient, main), run.stop, self.most_threads)

    def value_sum(self, k: int) -> float:
        """Return the sum of an output over all lanes."""
        rows = 0
        if self.gradient:
            rows = len(self.wanted) + len(self.program.uniform) - len(self.numbers)
        return float(self.run.total(rows + k))

    def gradient_sums(self) -> dict[int, float]:
        """Return the summed gradient of every uniform input that is wanted."""
        sums = {i: float(self.run.total(row)) for row, i in enumerate(self.wanted)}
        if self.before is not None and self.wanted:
            pulls = [self.run.total(len(self.wanted) + k) for k in range(len(self.program.uniform) - len(self.numbers))]
            found = self.before.backward(np.array(pulls))
            for i in self.wanted:
                sums[i] += float(found[i])
        return sums


def single_output(recording: Any) -> None:
    """Raise unless the function returns one number."""
    if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
        raise TypeError(f"{recording.name} returns more than one number per lane; gradients and reduce need one")


def _prepare(circuit: Any, args: Sequence[Any], in_axes: Any, name: str) -> tuple[Signature, list[int | None], int]:
    """Return the form of one lane's arguments, which must be the circuit's."""
    recorded = circuit._recording.signature
    recorded.check_static(args)
    one, axes, lanes = lane_signature(name, args, in_axes, tuple(recorded.static))
    if one.form != recorded.form:
        for k, (given, expected) in enumerate(zip(one.shapes, recorded.shapes)):
            if given != expected:
                raise ValueError(
                    f"{one.name(k)} has shape {given or ()} per lane, but the circuit was traced with {expected or ()}"
                )
        raise ValueError(f"{name}: the arguments are not nested as those with which the circuit was recorded")
    if has_vmap(circuit._plan.draft):
        raise ValueError(f"{name} has a vmap in it and can't be batched as a circuit; use fp.compile(fp.vmap({name}))")
    return one, axes, lanes


def raise_divergence(circuit: Any, call: LaneCall) -> None:
    """Raise if a lane went another way than where the circuit was recorded."""
    if call.run.diverged >= 0:
        lane = call.run.diverged
        raise circuit._plan.divergence(call.run.broken, call.columns.lane(lane), lane)


def batch_values(circuit: Any, args: Sequence[Any], in_axes: Any, reduce: Any, out: Any = None) -> Any:
    """Return the values of a circuit at many points, in `out` if it is given."""
    recording = circuit._recording
    checked_reduce(reduce, circuit.name)
    one, axes, lanes = _prepare(circuit, args, in_axes, circuit.name)
    leaves = _leaves(one, args, recording.dtype)
    inputs = body_inputs(one, axes, leaves, recording.starts, recording.own_inputs) + recording.captured_values()
    columns = Columns(lanes, inputs)
    call = LaneCall(circuit._plan, columns, gradient=False, sums_values=reduce is not None)
    made = None
    if out is not None:
        shape = (*(() if reduce else (lanes,)), *checked_single(recording))
        checked_output(out, shape, recording.dtype, "out")
        refuse_overlap([("out", out)], [(one.name(k), x) for k, x in enumerate(leaves) if isinstance(x, np.ndarray)])
    if reduce is None:
        made = bind_values(call, recording, lanes, out)
    call()
    raise_divergence(circuit, call)
    if reduce is None:
        return recording.nesting.unflatten(made) if out is None else out
    found = summed_values(call, recording, scale_of(reduce, lanes))
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


def _leaves(signature: Signature, args: Sequence[Any], dtype: np.dtype[Any]) -> list[Any]:
    return [as_leaf(leaf, dtype, signature.name(k)) for k, leaf in enumerate(signature.taken_apart(args))]


def bind_values(call: LaneCall, recording: Any, lanes: int, out: Any = None) -> list[Any]:
    """Make arrays for the outputs of all lanes; returns one per leaf of the result, lanes first."""
    made = []
    for start, shape in recording.outputs:
        block = np.moveaxis(np.empty((*(shape or ()), lanes), recording.dtype), -1, 0) if out is None else out
        for j, column in enumerate(columns_of(block, 0)):
            call.run.set_value(start + j, column)
        made.append(block)
    return made


def summed_values(call: LaneCall, recording: Any, scale: float) -> Any:
    """Return the outputs' sums over all lanes, times a scale, in the form of the result."""
    parts: list[Any] = []
    for start, shape in recording.outputs:
        if shape is None:
            parts.append(call.value_sum(start) * scale)
        else:
            sums = [call.value_sum(start + j) * scale for j in range(math.prod(shape))]
            parts.append(np.array(sums, recording.dtype).reshape(shape))
    return recording.nesting.unflatten(parts)


def _arrays(one: Signature, arrays: Sequence[Any], axes: Sequence[int | None], dtype: np.dtype[Any]) -> list[Any]:
    """Return the leaves of arguments, which must be arrays of a dtype; what is the same in all lanes may be a float."""
    leaves = one.taken_apart(arrays)
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray) and as_array(leaf) is not None:
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
        self._circuit, self._reduce, self._lanes = circuit, reduce, lanes
        leaves = _arrays(one, arrays, axes, dtype)
        self._uniform = [(k, leaf) for k, leaf in enumerate(leaves) if axes[k] is None]
        wanted, spread, targets = self._targets(one, axes, per_argument(one, grad), grad is None)
        shape = (lanes,) if reduce is None else ()
        self.value = np.zeros(shape, dtype) if value is None else checked_output(value, shape, dtype, "value")
        written = [("value", self.value)] + [(f"grad of {one.name(k)}", array) for k, array in targets]
        refuse_overlap(written, [(one.name(k), x) for k, x in enumerate(leaves) if isinstance(x, np.ndarray)])
        for _, array in targets:
            array[...] = 0.0
        inputs = body_inputs(one, axes, leaves, recording.starts, recording.own_inputs) + recording.captured_values()
        self._call = LaneCall(
            circuit._plan,
            Columns(lanes, inputs),
            gradient=True,
            wanted=wanted,
            spread=spread,
            sums_values=reduce is not None,
        )
        self._bind(one, axes, targets)
        self._call.run.set_pull(0, scale_of(reduce, lanes))
        if reduce is None:
            self._call.run.set_value(0, self.value)
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("a bound circuit can be neither copied nor pickled; bind the circuit again")

    def _targets(
        self, one: Signature, axes: Sequence[int | None], given: Sequence[Any], make: bool
    ) -> tuple[np.ndarray[Any, Any], list[int], list[tuple[int, Any]]]:
        """Return the inputs whose gradients are wanted, those of them that are spread over lanes, and the arrays."""
        recording = self._circuit._recording
        wanted = np.zeros(recording.draft.inputs, np.uint8)
        spread: list[int] = []
        targets: list[tuple[int, Any]] = []
        for position, tree in zip(one.positions, given):
            if tree is None and not make:
                continue
            nesting = one.nestings[one.positions.index(position)]
            numbers = one.leaves_of_argument(position)
            if make:
                tree = nesting.unflatten([self._fresh(one, axes, k) for k in numbers])
            for k, array in zip(numbers, nesting.leaves_of(tree, f"grad of argument {position}")):
                self._checked_shape(one, axes, k, array)
                start, size = recording.starts[k], one.size(k)
                if start >= 0:
                    wanted[start : start + size] = 1
                    if axes[k] is None and self._reduce is None:
                        spread += range(start, start + size)
                targets.append((k, array))
        self.grad = None
        if make:
            found = tuple(one.gradient_of(position, dict(targets)) for position in one.positions)
            self.grad = found[0] if len(found) == 1 else found
        return wanted, spread, targets

    def _fresh(self, one: Signature, axes: Sequence[int | None], k: int) -> np.ndarray[Any, Any]:
        shape, dtype = one.shapes[k] or (), self._circuit.dtype
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
        checked_output(array, expected, self._circuit.dtype, name)

    def _bind(self, one: Signature, axes: Sequence[int | None], targets: Sequence[tuple[int, Any]]) -> None:
        recording = self._circuit._recording
        self._sums: list[tuple[Any, int]] = []
        for k, array in targets:
            start = recording.starts[k]
            if start < 0:
                continue
            if axes[k] is None and self._reduce is not None:
                self._sums.append((array, start))
                continue
            axis = axes[k]
            if axis is None:
                axis = 0 if array.shape == (self._lanes, *(one.shapes[k] or ())) else array.ndim - 1
            for j, column in enumerate(columns_of(array, axis)):
                self._call.run.set_gradient(start + j, column)

    def __call__(self) -> None:
        """Run once."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("this bound circuit is in use by another thread; bind one for each thread")
        try:
            self._read_uniform()
            self._call()
            raise_divergence(self._circuit, self._call)
            if self._reduce is not None:
                self.value[...] = self._call.value_sum(0) * scale_of(self._reduce, self._lanes)
            sums = self._call.gradient_sums() if self._sums else {}
            for array, start in self._sums:
                array[...] = np.array([sums[start + j] for j in range(array.size)]).reshape(array.shape)
        finally:
            self._lock.release()

    def _read_uniform(self) -> None:
        recording = self._circuit._recording
        for k, leaf in self._uniform:
            start = recording.starts[k]
            if start >= 0:
                for j, number in enumerate(np.ravel(leaf).tolist()):
                    self._call.set_uniform(start + j, number)
        for j, number in enumerate(recording.captured_values()):
            self._call.set_uniform(recording.own_inputs + j, number)
