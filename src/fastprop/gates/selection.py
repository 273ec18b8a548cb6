"""Numbers of a block that are chosen: by indices, by conditions, by where they stand in a matrix."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import GetItem, Scatter, Sum, is_handle, shape_of
from fastprop.gates.items import as_item, described, keeps_truths, moves

__all__ = ["take_along_axis", "select", "diagonal", "diag", "tril", "triu"]


def taken(a: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the elements of a block at some indices along an axis; without one, of all its numbers in a row."""
    if axis is None:
        return (a if len(a.shape) == 1 else a.reshape(-1))[indices]
    if not -len(a.shape) <= axis < len(a.shape):
        raise ValueError(f"take: axis {axis} is out of bounds for {len(a.shape)} axes")
    return a[(slice(None),) * (axis % len(a.shape)) + (indices,)]


@moves
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """Return numbers of every row along an axis, each row at indices of its own.

    Parameters
    ----------
    arr : Array or array_like
        The block.
    indices : array of int
        With as many axes as `arr`; along the others it has its length, or one.
    axis : int, optional
        Along which axis; None: of all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> a = fp.Array([[3.0, 1.0], [2.0, 5.0]])
    >>> fp.take_along_axis(a, fp.argmax(a, axis=1, keepdims=True), axis=1).value
    array([[3.],
           [5.]])
    """
    arr = as_item(arr)
    if axis is None:
        arr, axis = blocks.Reshape(-1)(arr), 0
    shape, given = shape_of(arr), shape_of(indices)
    place = normalize_axis_index(axis, len(shape))
    if len(given) != len(shape):
        raise ValueError(f"take_along_axis: {described(arr)} and indices of shape {given}; expected as many axes")
    rows = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - k - 1)) for k, n in enumerate(shape)]
    try:
        np.broadcast_shapes((*shape[:place], 1, *shape[place + 1 :]), given)
    except ValueError:
        raise ValueError(
            f"take_along_axis: {described(arr)} and indices of shape {given} differ in more than axis {place}"
        ) from None
    return arr[(*rows[:place], indices if is_handle(indices) else np.asarray(indices), *rows[place + 1 :])]


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    """Return, number by number, the choice of the first condition that holds.

    Parameters
    ----------
    condlist : sequence of bool, array of bool or conditions
        The conditions, in order.
    choicelist : sequence of Array, Unit or array_like
        What is chosen, one for each condition.
    default : Array, Unit or array_like, optional
        What is chosen where none holds.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Array([-2.0, 0.5, 3.0])
    >>> fp.select([x < 0.0, x > 1.0], [0.0 * x, 1.0 + 0.0 * x], x).value
    array([-0. ,  0.5,  1. ])
    """
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(f"select: {len(condlist)} conditions and {len(choicelist)} choices; expected one for each")
    condlist = [np.asarray(x) if isinstance(x, list) else x for x in condlist]
    for position, condition in enumerate(condlist):
        if not gates.is_condition(condition) and getattr(condition, "dtype", type(condition)) not in (bool, np.bool_):
            raise TypeError(f"select: condition {position} is {condition!r:.60}; expected truth values, as x > 0 gives")
    result = as_item(default)
    for condition, choice in zip(reversed(condlist), reversed(choicelist)):
        result = gates.where(condition, as_item(choice), result)
    return result


def _places(a: Any, offset: int, axis1: int, axis2: int) -> tuple[Any, Any]:
    """Return a block with two axes last, and the indices of a diagonal of them."""
    shape = shape_of(a)
    if len(shape) < 2:
        raise ValueError(f"a diagonal of {described(a)}; expected a block of two axes or more")
    i, j = normalize_axis_index(axis1, len(shape)), normalize_axis_index(axis2, len(shape))
    if i == j:
        raise ValueError(f"a diagonal along axis {i} and the same axis; expected two different ones")
    last = blocks.transpose(a, (*[k for k in range(len(shape)) if k not in (i, j)], i, j))
    offset = operator.index(offset)
    rows = np.arange(max(min(shape[i], shape[j] - offset) - max(-offset, 0), 0)) + max(-offset, 0)
    return last, (..., rows, rows + offset)


@moves
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonals of the matrices along two axes.

    Parameters
    ----------
    a : Array or array_like
        The block.
    offset : int, optional
        How far above the main diagonal.
    axis1, axis2 : int, optional
        Which axes are the rows and the columns.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.diagonal(fp.Array([[1.0, 2.0], [3.0, 4.0]])).value
    array([1., 4.])
    """
    last, places = _places(as_item(a), offset, axis1, axis2)
    return GetItem(places)(last)


def diagonal_sum(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sums along the diagonals of the matrices along two axes."""
    return Sum(-1)(diagonal(a, offset, axis1, axis2))


@moves
@keeps_truths
def diag(v: Any, k: int = 0) -> Any:
    """Return the diagonal of a matrix; of a row of numbers, the matrix that has them there and zeros elsewhere.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.diag(fp.Array([1.0, 2.0])).value
    array([[1., 0.],
           [0., 2.]])
    """
    v = as_item(v)
    if len(shape_of(v)) != 1:
        if len(shape_of(v)) != 2:
            raise ValueError(f"diag: {described(v)}; expected one or two axes")
        return diagonal(v, k)
    rows = np.arange(shape_of(v)[0]) + max(-operator.index(k), 0)
    size = shape_of(v)[0] + abs(k)
    return Scatter((size, size), (rows, rows + k))(v)


@moves
@keeps_truths
def tril(m: Any, k: int = 0) -> Any:
    """Return matrices with zeros above a diagonal, whatever was there.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.tril(fp.Array([[1.0, 2.0], [3.0, 4.0]])).value
    array([[1., 0.],
           [3., 4.]])
    """
    m = as_item(m)
    return np.where(np.tri(*_matrix("tril", m), k, dtype=bool), m, 0)


@moves
@keeps_truths
def triu(m: Any, k: int = 0) -> Any:
    """Return matrices with zeros below a diagonal, whatever was there.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.triu(fp.Array([[1.0, 2.0], [3.0, 4.0]])).value
    array([[1., 2.],
           [0., 4.]])
    """
    m = as_item(m)
    return np.where(np.tri(*_matrix("triu", m), k - 1, dtype=bool), 0, m)


def _matrix(name: str, m: Any) -> tuple[int, int]:
    """Return the lengths of the last two axes."""
    if len(shape_of(m)) < 2:
        raise ValueError(f"{name}: {described(m)}; expected matrices along the last two axes")
    return shape_of(m)[-2], shape_of(m)[-1]
