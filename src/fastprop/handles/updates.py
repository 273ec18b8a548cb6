"""Functional updates: ``a.at[index].set(v)`` is a block that differs from `a` at an index, as JAX has it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates.blocks import Reshape, Scatter, broadcast_to, reshape, shape_of
from fastprop.gates.items import as_item
from fastprop.handles.indexing import own_index, trace_of
from fastprop.handles.nesting import is_handle

__all__ = ["At"]


class At:
    """Where a block is changed: ``a.at[index]`` has `set` and `add`."""

    __slots__ = ("block",)

    def __init__(self, block: Any):
        self.block = block

    def __getitem__(self, index: Any) -> Place:
        return Place(self.block, index)

    def __repr__(self) -> str:
        return "<the places of an Array: use .at[index].set(value) or .at[index].add(value)>"


class Place:
    """A part of a block that is to be changed."""

    __slots__ = ("block", "index")

    def __init__(self, block: Any, index: Any):
        self.block, self.index = block, index

    def set(self, value: Any) -> Any:
        """Return the block with other numbers there; where an index is named twice, the last one counts."""
        if trace_of(self.index) is not None:
            return _changed(self.block, self.index, value, lambda new, old: new)
        shape = shape_of(self.block)
        places = _places(shape, own_index(self.index))
        value = _fitting(value, places.shape)
        owner = np.full(math.prod(shape), -1)
        owner[places.reshape(-1)] = np.arange(places.size)
        if places.size == 0:
            return gates.positive(self.block)
        numbers = reshape(value, (places.size,))[np.maximum(owner, 0).reshape(shape)]
        return gates.where((owner >= 0).reshape(shape), numbers, self.block)

    def add(self, value: Any) -> Any:
        """Return the block with numbers added there, as often as an index is named."""
        if trace_of(self.index) is not None:
            return _changed(self.block, self.index, value, gates.add)
        index, shape = own_index(self.index), shape_of(self.block)
        value = _fitting(value, _places(shape, index).shape)
        return self.block + Scatter(shape, index)(value)


def _places(shape: tuple[int, ...], index: Any) -> np.ndarray[Any, Any]:
    """Return which numbers of a block an index picks."""
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[index])


def _fitting(value: Any, shape: tuple[int, ...]) -> Any:
    """Return what is to stand at an index, in the shape of what is there."""
    value = as_item(value)
    try:
        fits = np.broadcast_shapes(shape_of(value), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"at: the index picks shape {shape}, the value has {shape_of(value)}; expected one that fits")
    return broadcast_to(value, shape)


def _changed(block: Any, index: Any, value: Any, change: Any) -> Any:
    """Return a block changed at an index of which some parts are traced integers: chosen by conditions."""
    parts = list(index) if isinstance(index, tuple) else [index]
    several = [k for k, part in enumerate(parts) if is_handle(part) and shape_of(part)]
    if any(part is None or part is Ellipsis or isinstance(part, (list, np.ndarray)) for part in parts) or (
        several and any(not isinstance(part, slice) for k, part in enumerate(parts) if k != several[0])
    ):
        raise TypeError(
            "at: beside traced integers there may be integers and slices, beside a traced array of them slices; write "
            "fp.where(np.arange(n) == i, v, a) for anything else"
        )
    if several:
        axis = several[0]
        rows = _fitting(value, shape_of(block[index]))
        for place in np.ndindex(shape_of(parts[axis])):
            one = (*parts[:axis], parts[axis][place], *parts[axis + 1 :])
            block = _changed(block, one, rows[(slice(None),) * axis + place], change)
        return block
    shape = shape_of(block)
    value = _fitting(value, shape_of(block[index]))  # which checks that the index is in range
    parts += [slice(None)] * (len(shape) - len(parts))
    lengths = [len(range(*part.indices(n))) if isinstance(part, slice) else 1 for part, n in zip(parts, shape)]
    whole = tuple(n if isinstance(part, slice) else 1 for part, n in zip(parts, shape))
    slices = tuple(part if isinstance(part, slice) else slice(None) for part in parts)
    there = np.zeros(whole, bool)
    there[slices] = True
    chosen: Any = there
    for axis, (part, n) in enumerate(zip(parts, shape)):
        if not isinstance(part, slice):
            along = np.arange(float(n)).reshape((-1,) + (1,) * (len(shape) - axis - 1))
            chosen = (gates.subtract(along, gates.where(part < 0, part + n, part)) == 0.0) & chosen
    new = Scatter(whole, slices)(Reshape(tuple(lengths))(value))
    return gates.where(chosen, change(new, block), block)
