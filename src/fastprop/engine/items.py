"""Numbers of a block at traced indices: a gate for every number of the result, a guard for every index."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.integers import Integer, as_integer
from fastprop.engine.tape import current_tape, is_index, item
from fastprop.gates import is_condition
from fastprop.handles.indexing import OutOfRangeError, is_integer, looking, out_of_range
from fastprop.handles.nesting import is_handle

__all__ = ["items_at", "object_array"]


def object_array(items: list[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return items as an object array of a shape."""
    made = np.empty(len(items), object)
    for i, number in enumerate(items):  # NumPy would ask each of them for an array
        made[i] = number
    return made.reshape(shape)


def items_at(numbers: np.ndarray[Any, Any], index: Any) -> Any:
    """Return the numbers of an object array at an index of which some parts are traced, as NumPy's indexing has it.

    NumPy itself says which number goes where: it indexes the places of a block that is, along the axis of a traced
    part, as long as that part, and so tells which of its indices is meant.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    axes = _axes(parts, numbers.ndim)
    sizes, traced = list(numbers.shape), {}
    for k, part in enumerate(parts):
        if is_handle(part) or (isinstance(part, list) and any(map(is_handle, part))):
            indices = _listed(part) if isinstance(part, list) else _indices(part)
            traced[axes[k]] = _checked(indices, numbers.shape[axes[k]])
            sizes[axes[k]] = indices.size
            parts[k] = np.arange(indices.size).reshape(indices.shape) if indices.shape else 0
    places = np.arange(math.prod(sizes)).reshape(sizes)[tuple(parts)]
    found = _Items(numbers, traced).at(np.unravel_index(np.ravel(places), sizes))
    return object_array(found, np.shape(places)) if np.shape(places) else found[0]


def _axes(parts: list[Any], ndim: int) -> list[int]:
    """Return the axis at which each part of an index begins; the ellipsis becomes slices, or stays if it is of none."""

    def length(part: Any) -> int:
        if part is None or part is Ellipsis:
            return 0
        return np.ndim(part) if getattr(part, "dtype", None) == np.bool_ else 1

    rest = ndim - sum(map(length, parts))
    for k, part in enumerate(parts):
        if part is Ellipsis and rest > 0:
            parts[k : k + 1] = [slice(None)] * rest
            break
    if rest < 0:
        raise IndexError(f"too many indices for array: array is {ndim}-dimensional, but {ndim - rest} were indexed")
    return np.cumsum([0, *map(length, parts)]).tolist()  # type: ignore[no-any-return]


def _indices(part: Any) -> np.ndarray[Any, Any]:
    """Return the integers in a traced part of an index."""
    if not is_integer(part):
        raise TypeError(
            f"only integers, slices and truth values are indices, and {part!r:.60} is none: elements of integer arrays "
            "and NumPy integers (np.int64(2), where 2 is a float) among the arguments are, and what + - * // % make of "
            "such alone; of an array of floats .astype(int) makes integers"
        )
    if isinstance(part, Integer):
        return object_array([part], ())
    return part.numbers  # type: ignore[no-any-return]


def _listed(part: list[Any]) -> np.ndarray[Any, Any]:
    """Return the integers in a list, some of which are traced."""
    trace = next(x for x in part if is_handle(x))._tape
    units = [_indices(x)[()] if is_handle(x) else as_integer(trace._variable(float(operator.index(x)))) for x in part]
    return object_array(units, (len(part),))


def _checked(indices: np.ndarray[Any, Any], size: int) -> list[Any]:
    """Return indices, each of which is one of an axis."""
    found, who = list(indices.flat), looking.who
    for index in found:
        if not (is_index(index, size) if who is None else _is_looked_up(index, size, who)):
            stale = getattr(index._tape.recording, "stale", False) and index._tape.stand_ins
            raise OutOfRangeError(out_of_range(None if stale else index._recorded, size, who))
    return found


def _is_looked_up(index: Any, size: int, who: str) -> bool:
    """Record whether a traced integer is an index, and who looks numbers up by it."""
    trace: Any = current_tape()
    known = len(getattr(trace, "guards", ()))
    found = is_index(index, size)
    for slot in getattr(trace, "guards", ())[known:]:
        trace.recording.looked_up[slot] = who
    return found


class _Items:
    """The numbers of a block along the axes that are indexed, as lists."""

    def __init__(self, numbers: np.ndarray[Any, Any], traced: dict[int, list[Any]]):
        self.axes, self.indices = sorted(traced), traced
        self.sizes = [numbers.shape[axis] for axis in self.axes]
        self.rest = [axis for axis in range(numbers.ndim) if axis not in traced]
        shape = [numbers.shape[axis] for axis in self.rest]
        self.rows = numbers.transpose(*self.rest, *self.axes).reshape(*shape, math.prod(self.sizes))
        self.lists: dict[Any, tuple[list[Any], type | None]] = {}
        self.combined: dict[Any, Any] = {}

    def at(self, coordinates: Sequence[np.ndarray[Any, Any]]) -> list[Any]:
        """Return the numbers at coordinates, of which those along the indexed axes say which index is meant."""
        found = []
        for place in zip(*[x.tolist() for x in coordinates]):
            row = tuple([place[axis] for axis in self.rest])
            which = tuple([place[axis] for axis in self.axes])
            if row not in self.lists:
                self.lists[row] = _alike(self.rows[row].tolist())
            if which not in self.combined:
                self.combined[which] = self._index(which)
            numbers, kind = self.lists[row]
            number = item(self.combined[which], numbers)
            found.append(as_integer(number) if kind is Integer else number != 0.0 if kind is bool else number)
        return found

    def _index(self, which: tuple[int, ...]) -> Any:
        """Return the index in a list that indices along several axes are together."""
        found = [self.indices[axis][k] for axis, k in zip(self.axes, which)]
        if len(found) == 1:
            return found[0]
        total: Any = 0.0
        for index, size in zip(found, self.sizes):
            total = total * float(size) + gates.where(index < 0.0, index + float(size), index)
        return total


def _alike(numbers: list[Any]) -> tuple[list[Any], type | None]:
    """Return numbers as what the gate takes, and what they are: integers, truth values, or neither."""
    if all(isinstance(x, Integer) for x in numbers):
        return numbers, Integer
    if any(isinstance(x, bool) or is_condition(x) for x in numbers):
        return [x.unit if is_condition(x) else float(x) for x in numbers], bool
    return numbers, None
