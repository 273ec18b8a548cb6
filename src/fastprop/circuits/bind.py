"""Circuits bound to arrays at one point: what goes where, proved once, so that a call has nothing left to check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.engine.run import BoundCall, PointRun
from fastprop.errors import DivergenceError
from fastprop.gates.numbers import as_array

__all__ = ["BoundPoint", "checked_array", "checked_output", "refuse_overlap"]


def checked_array(leaf: Any, dtype: np.dtype[Any], shape: tuple[int, ...] | None, name: str) -> np.ndarray[Any, Any]:
    """Return an array that can be read in place, or raise."""
    if not isinstance(leaf, np.ndarray) or as_array(leaf) is None:
        raise TypeError(f"{name} is a {type(leaf).__name__}; bind takes NumPy arrays, which are read at every call")
    if leaf.dtype != dtype:
        raise TypeError(f"{name} has dtype {leaf.dtype}; expected {dtype} in native byte order, which is read in place")
    if leaf.shape != (shape or ()) and not (shape is None and leaf.shape == (1,)):
        raise ValueError(f"{name} has shape {leaf.shape}; expected {shape or ()}")
    return leaf


def checked_output(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> np.ndarray[Any, Any]:
    """Return an array that can be written in place, or raise."""
    if not isinstance(array, np.ndarray) or as_array(array) is None:
        raise TypeError(f"{name} is a {type(array).__name__}; expected a NumPy array of dtype {dtype}")
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; expected {dtype} in native byte order")
    if array.shape != shape and not (shape == () and array.shape == (1,)):
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only; give an array that can be written")
    if overlaps_itself(array):
        raise ValueError(f"{name} overlaps itself in memory, as a broadcast array does; give it an array of its own")
    return array


def overlaps_itself(array: np.ndarray[Any, Any]) -> bool:
    """Say whether numbers of an array may stand in the same place, as in a broadcast one."""
    reach = array.itemsize
    for stride, length in sorted((abs(stride), n) for stride, n in zip(array.strides, array.shape) if n > 1):
        if stride < reach:
            return array.size > 0
        reach = stride * length
    return False


def check_integers(arrays: Sequence[tuple[str, Any]]) -> None:
    """Raise unless all numbers in arrays that stand for integers are such."""
    for name, array in arrays:
        if not np.all(np.trunc(array) == array):
            raise TypeError(f"{name} holds other numbers than integers, which it held where the circuit was recorded")


def refuse_overlap(outputs: Sequence[tuple[str, Any]], inputs: Sequence[tuple[str, Any]]) -> None:
    """Raise if an output shares memory with an input or with another output."""
    bounds: list[Any] = []
    for name, array in [*outputs, *inputs]:
        low, high = np.lib.array_utils.byte_bounds(array)
        bounds.append((low, high, len(bounds), name, array))
    bounds.sort(key=lambda item: item[:3])
    for i, (_, high, number, name, array) in enumerate(bounds):
        for j in range(i + 1, len(bounds)):
            low, _, other, another, its = bounds[j]
            if low >= high:
                break
            if min(number, other) < len(outputs) and np.shares_memory(array, its):
                first, second = (name, another) if number < len(outputs) else (another, name)
                raise ValueError(f"{first} overlaps {second} in memory; give it an array of its own")


def pieces(start: int, array: np.ndarray[Any, Any]) -> list[tuple[int, np.ndarray[Any, Any]]]:
    """Return an array as parts that are copied to and from as many slots in a row, the first of them `start`."""
    if array.size == 0:
        return []
    if array.ndim < 2 or array.flags.c_contiguous:
        return [(start, array)]
    length = array.shape[-1]
    return [(start + k * length, array[place]) for k, place in enumerate(np.ndindex(array.shape[:-1]))]


def is_row(nesting: Any, given: Any) -> bool:
    """Say whether one array is given for a flat container of numbers."""
    flat = nesting.kind is not None and nesting.children is None
    return flat and isinstance(given, np.ndarray) and given.ndim == 1


def paired(
    signature: Any, starts: Sequence[int], position: int, given: Any, name: str
) -> list[tuple[int, Any, Any, str]]:
    """Return for an argument's arrays: the first of its inputs (-1: not used), the array, its shape, its name."""
    nesting = signature.nesting_of(position)
    leaves = signature.leaves_of_argument(position)
    if is_row(nesting, given) and all(signature.shapes[k] is None for k in leaves):
        return [(starts[leaves[0]] if leaves else -1, given, (nesting.size,), name)]
    found = nesting.leaves_of(given, name)
    return [
        (starts[k], leaf, signature.shapes[k], name + nesting.path(i)) for i, (k, leaf) in enumerate(zip(leaves, found))
    ]


def per_argument(signature: Any, grad: Any) -> list[Any]:
    """Return what was given for the gradient of every argument that is not static."""
    count = len(signature.positions)
    if isinstance(grad, tuple) and count > 1 and len(grad) == count:
        return list(grad)
    return [grad] + [None] * (count - 1)


class BoundPoint(BoundCall):
    """A circuit at one point that reads and writes arrays in place; call it to run it."""

    grad: Any
    value: Any
    name: str

    def __new__(cls, circuit: Any, arrays: Sequence[Any], grad: Any, value: Any) -> BoundPoint:
        """Prove that the arrays fit, and bind them."""
        recording = circuit._recording
        if recording.arrays:
            raise ValueError("a circuit with a vmap in it can't be bound at one point; call it instead")
        recording.signature.check_static(arrays)
        read = _placed(recording, list(enumerate(arrays)), "argument")
        for _, array, shape, name in read:
            checked_array(array, recording.dtype, shape, name)
        integers = _integers(recording, read)
        run = PointRun(circuit._plan.point(True), circuit._plan.single)
        values, made = _values(recording, value)
        trees, grad = _gradient_trees(recording, arrays, grad)
        written = _placed(recording, trees, "grad of argument")
        for _, array, shape, name in written:
            checked_output(array, shape or (), recording.dtype, name)
        outputs = [("value", array) for _, array in values] + [(name, array) for _, array, _, name in written]
        refuse_overlap(outputs, [(name, array) for _, array, _, name in read])
        for _, array, _, _ in written:
            array[...] = 0.0
        inputs = [piece for start, array, _, _ in read if start >= 0 for piece in pieces(start, array)]
        self: BoundPoint = BoundCall.__new__(
            cls,
            run,
            inputs,
            _value_slots(run, values),
            [(run.program.adjoints + k, x) for at, array, _, _ in written if at >= 0 for k, x in pieces(at, array)],
            True,
            _checked_first(integers, _put_captured(recording) if recording.captured else None),
            _diverged(circuit, inputs),
        )
        self.grad, self.value, self.name = grad, made, circuit.name
        return self

    def __init__(self, *_: Any) -> None: ...

    def __repr__(self) -> str:
        return f"<{self.name} bound to arrays: a call reads and writes them>"

    def __reduce__(self) -> Any:
        raise TypeError("a bound circuit can be neither copied nor pickled; bind the circuit again")


def _placed(recording: Any, trees: Sequence[tuple[int, Any]], noun: str) -> list[tuple[int, Any, Any, str]]:
    """Return the arrays given for arguments, as `paired` does."""
    signature = recording.signature
    found = []
    for position, tree in trees:
        if position in signature.positions and tree is not None:
            found += paired(signature, recording.starts, position, tree, f"{noun} {position}")
    return found


def _gradient_trees(recording: Any, arrays: Sequence[Any], grad: Any) -> tuple[list[tuple[int, Any]], Any]:
    """Return where the gradients of arguments go, by position, and all of them as the caller sees them."""
    signature = recording.signature
    if grad is not None:
        return list(zip(signature.positions, per_argument(signature, grad))), grad
    made = [_zeros(signature, position, arrays[position], recording.dtype) for position in signature.positions]
    return list(zip(signature.positions, made)), made[0] if len(made) == 1 else tuple(made)


def _zeros(signature: Any, position: int, given: Any, dtype: np.dtype[Any]) -> Any:
    """Return new arrays for the gradient of an argument."""
    nesting = signature.nesting_of(position)
    if is_row(nesting, given):
        return np.zeros(given.shape, dtype)
    return nesting.unflatten(
        [np.zeros(signature.shapes[k] or (), dtype) for k in signature.leaves_of_argument(position)]
    )


def _values(recording: Any, value: Any) -> tuple[list[tuple[int, Any]], Any]:
    """Return the arrays for the outputs, each with its first one, and these arrays as the function's result."""
    given = [None] * len(recording.outputs) if value is None else recording.nesting.leaves_of(value, "value")
    bound = []
    for (start, shape), array in zip(recording.outputs, given):
        if array is None:
            array = np.zeros(shape or (), recording.dtype)
        bound.append((start, checked_output(array, shape or (), recording.dtype, "value")))
    return bound, recording.nesting.unflatten([array for _, array in bound])


def _value_slots(run: PointRun, values: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return for every output its slot, and the place in an array to which it goes."""
    slots = run.program.outputs
    return [
        (int(slots[start + k + j]), row[j : j + 1])
        for start, array in values
        for k, row in pieces(0, np.atleast_1d(array))
        for row in [row.reshape(-1)]
        for j in range(row.size)
    ]


def _integers(recording: Any, read: Sequence[tuple[int, Any, Any, str]]) -> list[tuple[str, Any]]:
    """Return the names of those arrays that stand for integers, and these."""
    signature, found = recording.signature, []
    leaves = [(recording.starts[k], signature.size(k)) for k, integer in enumerate(signature.integers) if integer]
    for start, array, _, name in read:
        inside = [(at - start, size) for at, size in leaves if at >= 0 <= start <= at < start + array.size]
        found += [(name, array if size == array.size else array[at : at + size]) for at, size in inside]
    return found


def _checked_first(integers: Sequence[tuple[str, Any]], put: Any) -> Any:
    """Return what looks at integers before every call, and then does what else there is to do."""
    if not integers:
        return put

    def look(run: PointRun) -> None:
        check_integers(integers)
        if put is not None:
            put(run)

    return look


def _put_captured(recording: Any) -> Any:
    """Return what puts the values of captured leaves before every call."""

    def put(run: PointRun) -> None:
        for k, value in enumerate(recording.captured_values()):
            run.write(recording.own_inputs + k, value)

    return put


def _diverged(circuit: Any, inputs: Sequence[tuple[int, Any]]) -> Any:
    """Return what makes the error for a guard that does not hold, from the arrays as they are then."""

    def error(guard: int) -> Exception:
        recording = circuit._recording
        vector = np.zeros(recording.draft.inputs)
        for start, array in inputs:
            vector[start : start + array.size] = array.reshape(-1)
        vector[recording.own_inputs :] = recording.captured_values()
        divergence: DivergenceError = circuit._plan.divergence(guard, vector)
        return divergence

    return error
