"""Running sums and products, differences, and what stands in order: sort, argsort, searchsorted."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import Block, GetItem, Reshape, shape_of, value_of
from fastprop.gates.items import as_item, as_recorded, is_traced
from fastprop.gates.partials import choose
from fastprop.gates.shapes import concatenate, flip
from fastprop.gates.values import strong_product

__all__ = ["cumsum", "cumprod", "diff", "sort", "argsort", "searchsorted"]


def _front(x: Any, axis: int, length: int) -> Any:
    """Return the first numbers along an axis."""
    return GetItem((slice(None),) * axis + (slice(0, length),))(x)


def _shifted(x: Any, axis: int, first: float) -> Any:
    """Return the numbers moved by one place along an axis, another one before them."""
    shape = shape_of(x)
    one = np.full((*shape[:axis], min(1, shape[axis]), *shape[axis + 1 :]), first)
    return concatenate([one, _front(x, axis, shape[axis] - 1)], axis) if shape[axis] else x


class CumSum(Block):
    """The sums of all numbers so far along an axis, added up as float64."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Return the sums."""
        return np.cumsum(x, self.axis, dtype=np.float64).astype(x.dtype)

    def on_objects(self, x: np.ndarray) -> Any:
        """Record the sums."""
        return np.add.accumulate(x, self.axis)

    def backward(self, pull: Any, x: Any) -> Any:
        """Return the sums of all pulls from there on."""
        return flip(self(flip(pull, self.axis)), self.axis)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the sums of the tangents."""
        return self(tangents[0])


class Recurrence(Block):
    """Along an axis, ``y[k] = terms[k] + factors[k] * y[k - 1]``; a factor of exactly 0 makes a product 0."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, terms: Any, factors: Any) -> Any:
        """Return all y, one after the other."""
        terms, factors = np.moveaxis(terms, self.axis, 0), np.moveaxis(factors, self.axis, 0)
        found = terms.copy()
        for k in range(1, len(terms)):
            found[k] = terms[k] + strong_product(factors[k], found[k - 1])
        return np.moveaxis(found, 0, self.axis)

    def backward(self, pull: Any, terms: Any, factors: Any) -> Any:
        """Return what is pulled on the terms, which is a recurrence from the end, and on the factors."""
        behind = flip(_shifted(flip(factors, self.axis), self.axis, 0.0), self.axis)
        on_terms = flip(self(flip(pull, self.axis), flip(behind, self.axis)), self.axis)
        return on_terms, gates.strong_multiply(on_terms, _shifted(self(terms, factors), self.axis, 0.0))

    def tangent(self, tangents: tuple[Any, ...], terms: Any, factors: Any) -> Any:
        """Return the recurrence of what the tangents bring."""
        along: Any = 0.0 if tangents[0] is None else tangents[0]
        if tangents[1] is not None:
            along = along + gates.strong_multiply(tangents[1], _shifted(self(terms, factors), self.axis, 0.0))
        return self(along, factors)


class CumProd(Block):
    """The products of all numbers so far along an axis; a zero among them is nothing special."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Return the products."""
        return np.cumprod(x, self.axis)

    def on_objects(self, x: np.ndarray) -> Any:
        """Record the products."""
        return np.multiply.accumulate(x, self.axis)

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull on each number with the product before it times what comes back from behind it."""
        behind = _shifted(flip(x, self.axis), self.axis, 0.0)
        back = flip(Recurrence(self.axis)(flip(pull, self.axis), behind), self.axis)
        return gates.strong_multiply(_shifted(self(x), self.axis, 1.0), back)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the recurrence of the product rule."""
        along = gates.strong_multiply(tangents[0], _shifted(self(x), self.axis, 1.0))
        return Recurrence(self.axis)(along, x)


class Sort(Block):
    """The numbers along an axis in order, stable, NaN last; a pull goes to the number that it stands for."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Return them in order."""
        return np.sort(x, self.axis, kind="stable")

    def places(self, x: Any) -> tuple[Any, ...]:
        """Return the index that puts the numbers in order."""
        order = np.argsort(np.asarray(value_of(x)), self.axis, kind="stable")
        places: list[Any] = list(np.indices(order.shape, sparse=True))
        places[self.axis] = order
        return tuple(places)

    def on_objects(self, x: np.ndarray) -> Any:
        """Record a network that puts them in order."""
        return self._networked(x, 0)

    def _networked(self, x: np.ndarray, which: int) -> np.ndarray:
        """Return the numbers in order (0), or where they stood (1)."""
        rows = np.moveaxis(x, self.axis, -1)
        found = np.empty_like(rows)
        for place in np.ndindex(rows.shape[:-1]):
            for k, pair in enumerate(_in_order(list(rows[place]))):
                found[(*place, k)] = pair[which]
        return np.moveaxis(found, -1, self.axis)

    def backward(self, pull: Any, x: Any) -> Any:
        """Put the pulls back where the numbers stood."""
        return blocks.Scatter(shape_of(x), self.places(x))(pull)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the tangents in the numbers' order."""
        return GetItem(self.places(x))(tangents[0])


class ArgSort(Sort):
    """Where the numbers in order stood, in circuits."""

    integral = True

    def on_objects(self, x: np.ndarray) -> Any:
        """Record a network that puts the places in the numbers' order."""
        return self._networked(x, 1)


class Search(Block):
    """How many of some numbers in order come before each of others, in circuits."""

    integral = True

    def __init__(self, side: str):
        self.side = side

    def on_objects(self, a: np.ndarray, v: np.ndarray) -> Any:
        """Record a comparison for each of the numbers; NaN comes last."""
        found = np.empty(v.shape, object)
        for place in np.ndindex(v.shape):
            x = v[place]
            counts = [(number < x) | ((x != x) & (number == number)) for number in a]
            if self.side == "right":
                counts = [(number <= x) | (x != x) for number in a]
            found[place] = gates.sum([choose(count, 1.0, 0.0) for count in counts]) if counts else 0.0
        return found


def _in_order(row: list[Any]) -> list[tuple[Any, Any]]:
    """Return numbers in order with the places where they stood, by Batcher's network of odd and even merges."""
    pairs: list[tuple[Any, Any]] = [(x, float(k)) for k, x in enumerate(row)]
    n = len(pairs)
    run = 1
    while run < n:
        step = run
        while step >= 1:
            for start in range(step % run, n - step, 2 * step):
                for i in range(start, min(start + step, n - step)):
                    if i // (2 * run) == (i + step) // (2 * run):
                        pairs[i], pairs[i + step] = _exchanged(pairs[i], pairs[i + step])
            step //= 2
        run *= 2
    return pairs


def _exchanged(first: tuple[Any, Any], second: tuple[Any, Any]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return two numbers with their places in order: by value, NaN last, and equal ones by place."""
    (x, i), (y, j) = first, second
    both, alone = (x != x) & (y != y), (x != x) & (y == y)
    swap = (x > y) | alone | (((x == y) | both) & (i > j))
    return (choose(swap, y, x), choose(swap, j, i)), (choose(swap, x, y), choose(swap, i, j))


def _in_a_row(a: Any, axis: int | None) -> tuple[Any, int]:
    """Return a block and one of its axes; without one, all numbers in a row, and so a single one."""
    a = as_item(a)
    if axis is None or (not shape_of(a) and axis in (0, -1)):
        return Reshape(-1)(a), 0
    return a, normalize_axis_index(axis, len(shape_of(a)))


def cumsum(a: Any, axis: int | None = None) -> Any:
    """Return the sums of all numbers so far, added up as float64.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; by default all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.cumsum(fp.Array([1.0, 2.0, 3.0])).value
    array([1., 3., 6.])
    """
    a, place = _in_a_row(a, axis)
    return CumSum(place)(a)


def cumprod(a: Any, axis: int | None = None) -> Any:
    """Return the products of all numbers so far; its derivatives are right at zeros.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; by default all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.cumprod(fp.Array([1.0, 2.0, 3.0])).value
    array([1., 2., 6.])
    """
    a, place = _in_a_row(a, axis)
    return CumProd(place)(a)


def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Return what each number along an axis is above the one before, `n` times over.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    n : int, optional
        How often differences are taken.
    axis : int, optional
        Along which axis.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.diff(fp.Array([1.0, 2.0, 4.0])).value
    array([1., 2.])
    """
    if operator.index(n) < 0:
        raise ValueError(f"diff: {n} differences; expected none below 0")
    a = as_item(a)
    if gates.is_condition(a) or getattr(a, "dtype", None) == np.bool_:
        a = gates.positive(a)  # truth values count as 1 and 0
    before = (slice(None),) * normalize_axis_index(axis, len(shape_of(a)))
    for _ in range(n):
        a = GetItem((*before, slice(1, None)))(a) - GetItem((*before, slice(None, -1)))(a)
    return a


def sort(a: Any, axis: int | None = -1) -> Any:
    """Return numbers in order along an axis; the sort is stable, NaN comes last, and pulls go where they came from.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; None: all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.sort(fp.Array([3.0, 1.0, 2.0])).value
    array([1., 2., 3.])
    """
    a = as_item(a)
    if axis is not None:
        normalize_axis_index(axis, len(shape_of(a)))  # of a single number there is none, as in NumPy
    a, place = _in_a_row(a, axis)
    return Sort(place)(a)


def argsort(a: Any, axis: int | None = -1) -> Any:
    """Return the indices that put numbers in order: plain integers, which have no derivative; in circuits, traced ones.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; None: all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.argsort(fp.Array([3.0, 1.0, 2.0]))
    array([1, 2, 0])
    """
    a, place = _in_a_row(as_recorded(a), axis)
    if is_traced(a):
        return ArgSort(place)(a)
    return np.argsort(np.asarray(value_of(a)), place, kind="stable")


def searchsorted(a: Any, v: Any, side: str = "left") -> Any:
    """Return where numbers belong among numbers in order: plain integers; in circuits, traced ones.

    Parameters
    ----------
    a : Array or array_like
        Numbers in order, along one axis.
    v : Array, Unit or array_like
        The numbers that are looked for.
    side : {"left", "right"}, optional
        Whether they belong before or behind equal ones.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.searchsorted(fp.Array([1.0, 2.0, 4.0]), [2.0, 3.0])
    array([1, 2])
    """
    if side not in ("left", "right"):
        raise ValueError(f'searchsorted: side {side!r}; expected "left" or "right"')
    a, v = as_recorded(a), as_recorded(v)
    if len(shape_of(a)) != 1:
        raise ValueError(f"searchsorted in shape {shape_of(a)}; expected one axis")
    if is_traced(a) or is_traced(v):
        return Search(side)(a, v)
    found = np.searchsorted(np.asarray(value_of(a)), np.asarray(value_of(v)), side)  # type: ignore[call-overload]
    return found if shape_of(found) else int(found)
