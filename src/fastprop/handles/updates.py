"""Functional updates: ``a.at[index].set(v)`` is a block that differs from `a` at an index, as JAX has it.

NumPy's arrays have no `at`: `at` gives it to them, and a `Given` has one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from fastprop import gates
from fastprop.gates.blocks import Reshape, Scatter, broadcast_to, reshape, shape_of
from fastprop.gates.items import as_item, holds_handles
from fastprop.handles.indexing import own_index, trace_of
from fastprop.handles.nesting import described, is_handle
from fastprop.handles.operands import Values

__all__ = ["At", "Given", "at", "refuse_assignment"]


def at(a: Any) -> At:
    """Return where to change numbers of an array: ``at(a)[index].set(v)`` is ``a.at[index].set(v)``.

    NumPy's arrays have no ``.at``; this is for them, and for all else that is an array.

    Parameters
    ----------
    a : array_like or Array
        What stays as it is.

    Returns
    -------
    At
        ``at(a)[index]`` has `set`, `add`, `multiply`, `divide`, `max` and `min`, which return the array with other
        numbers there, and `get`; as JAX's ``a.at`` has. What is recorded is recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.grad(lambda x: fp.sum(fp.at(np.zeros(3))[1].set(x) ** 2))(3.0)
    6.0
    """
    block = as_item(a)
    if not is_handle(block) and not _is_numbers(block):
        raise TypeError(f"at: {described(a)} is no array; expected one of numbers, or an Array")
    return At(block)


def _is_numbers(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind in "biuf"


class At:
    """Where a block is changed: ``a.at[index]`` has `set`, `add`, `multiply`, `divide`, `max`, `min` and `get`."""

    __slots__ = ("block",)

    def __init__(self, block: Any):
        self.block = block

    def __getitem__(self, index: Any) -> Place:
        return Place(self.block, index)

    def __repr__(self) -> str:
        return "<the places of an Array: use .at[index].set(value), .at[index].add(value)>"


class Place:
    """A part of a block that is to be changed."""

    __slots__ = ("block", "index")

    def __init__(self, block: Any, index: Any):
        self.block, self.index = block, index

    def __repr__(self) -> str:
        kind = described(self.block).partition(" (")[0]
        return f"<the place {self.index!r:.60} of {kind}: use .set(value), .add(value) or .get()>"

    def get(self) -> Any:
        """Return what is there."""
        return self._traced[self.index]

    def set(self, value: Any) -> Any:
        """Return the block with other numbers there; where an index is named twice, the last one counts."""
        if trace_of(self.index) is not None:
            return _changed(self._traced, self.index, value, lambda new, old: new)
        if self._is_plain(value):
            return self._plainly(None, value)
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
            return _changed(self._traced, self.index, value, gates.add)
        if self._is_plain(value):
            return self._plainly(np.add, value)
        index, shape = own_index(self.index), shape_of(self.block)
        value = _fitting(value, _places(shape, index).shape)
        return self.block + Scatter(shape, index)(value)

    def multiply(self, value: Any) -> Any:
        """Return the block with what is there multiplied, as often as an index is named."""
        return self._folded(np.multiply, value)

    def divide(self, value: Any) -> Any:
        """Return the block with what is there divided, as often as an index is named."""
        return self._folded(np.divide, value)

    def max(self, value: Any) -> Any:
        """Return the block with the larger number there; ties share the gradient."""
        return self._folded(np.maximum, value)

    def min(self, value: Any) -> Any:
        """Return the block with the smaller number there; ties share the gradient."""
        return self._folded(np.minimum, value)

    def _folded(self, ufunc: np.ufunc, value: Any) -> Any:
        """Return the block with a function of what is there and the value, one after the other for an index."""
        gate = gates.table[ufunc.__name__]
        if trace_of(self.index) is not None:
            return _changed(self._traced, self.index, value, lambda new, old: gate(old, new))
        if self._is_plain(value):
            return self._plainly(ufunc, value)
        index, shape = own_index(self.index), shape_of(self.block)
        places = _places(shape, index)
        numbers = reshape(_fitting(value, places.shape), (places.size,))
        block = reshape(self.block, (math.prod(shape),))
        for chosen in _rounds(places.reshape(-1)):
            there = places.reshape(-1)[chosen]
            block = Place(block, there).set(gate(block[there], numbers[chosen]))
        return reshape(block, shape)

    @property
    def _traced(self) -> Any:
        """The block, as one of a trace if a part of the index belongs to that."""
        trace = trace_of(self.index)
        return self.block if trace is None or is_handle(self.block) else trace.as_block(self.block)

    def _is_plain(self, value: Any) -> bool:
        return isinstance(self.block, np.ndarray) and not holds_handles(value)

    def _plainly(self, ufunc: np.ufunc | None, value: Any) -> Any:
        """Return a plain array with plain numbers there."""
        index = own_index(self.index)
        _fitting(value, _places(self.block.shape, index).shape)
        value = np.asarray(value)
        if not _is_numbers(value):
            raise TypeError(f"at: the value is {described(value)}; expected numbers")
        found = self.block.astype(np.result_type(self.block, value, *[np.float64] * (ufunc is np.divide)))
        if ufunc is None:
            found[index] = value
        else:
            ufunc.at(found, index, value)
        return found


class Given(Values):
    """A plain array with the face of a traced one: what a scan without a circuit gives to its step."""

    @property
    def at(self) -> At:
        """Where to change numbers: ``a.at[index].set(v)`` is another array."""
        return At(self)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array.view(Given)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self.flags.writeable:  # what NumPy makes of it, it also fills
            refuse_assignment("an array that a step is given")
        super().__setitem__(index, value)


def refuse_assignment(what: str) -> NoReturn:
    """Refuse: a block is a value."""
    raise TypeError(
        f"{what} is what it was computed as, and can't be assigned to; write a = a.at[i].set(v), or "
        "a = a.at[i].add(v) for a[i] += v; of a mask a = fp.where(mask, v, a)"
    )


def _rounds(places: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Yield positions in a row of places, in each of whose parts no place stands twice, in order."""
    left = np.arange(places.size)
    while left.size:
        first = np.sort(np.unique(places[left], return_index=True)[1])
        yield left[first]
        left = np.delete(left, first)


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
    chosen: Any = None if there.all() else there
    for axis, (part, n) in enumerate(zip(parts, shape)):
        if not isinstance(part, slice):
            along = np.arange(float(n)).reshape((-1,) + (1,) * (len(shape) - axis - 1))
            same = gates.subtract(along, gates.where(part < 0, part + n, part)) == 0.0
            chosen = same if chosen is None else same & chosen
    new = Scatter(whole, slices)(Reshape(tuple(lengths))(value))
    return gates.where(chosen, change(new, block), block)
