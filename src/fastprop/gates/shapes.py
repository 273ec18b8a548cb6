"""The same numbers in other shapes and orders, side by side, repeated, and framed: NumPy's functions of these names.

Of plain arrays alone they are NumPy's own, so that integers stay integers.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fastprop import gates
from fastprop.gates import blocks, recorder_of
from fastprop.gates.blocks import Block, GetItem, Reshape, Scatter, Stack, shape_of
from fastprop.gates.items import as_item, described, integers, keeps_truths, moves

__all__ = [
    "reshape",
    "ravel",
    "transpose",
    "squeeze",
    "expand_dims",
    "swapaxes",
    "moveaxis",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_to",
    "broadcast_arrays",
    "stack",
    "concatenate",
    "hstack",
    "vstack",
    "split",
    "array_split",
    "pad",
    "flip",
    "roll",
    "tile",
    "repeat",
]

_FRAMES = ("edge", "reflect", "symmetric", "wrap")  # that repeat numbers of the block


class Concatenate(Block):
    """Blocks one behind the other along an axis."""

    gathers = True

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, *parts: Any) -> Any:
        """Return the blocks in one."""
        return np.concatenate(parts, self.axis)

    def backward(self, pull: Any, *parts: Any) -> Any:
        """Return every block's part of the pull."""
        ends = np.cumsum([shape_of(part)[self.axis] for part in parts]).tolist()
        before = (slice(None),) * self.axis
        return tuple([pull[(*before, slice(a, b))] for a, b in zip([0, *ends], ends)])

    def tangent(self, tangents: tuple[Any, ...], *parts: Any) -> Any:
        """Return the tangents, zeros where there is none, in one."""
        pairs = zip(tangents, parts)
        return self(*[np.zeros(shape_of(part)) if tangent is None else tangent for tangent, part in pairs])


@moves
def reshape(a: Any, shape: Any) -> Any:
    """Return the same numbers, in the same order, in another shape.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    shape : int or tuple of int
        The new shape; -1 stands for what is left.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.reshape(fp.Array([1.0, 2.0, 3.0, 4.0]), (2, -1)).value
    array([[1., 2.],
           [3., 4.]])
    """
    return Reshape(shape)(as_item(a))


@moves
def ravel(a: Any) -> Any:
    """Return all numbers in a row, as ``reshape(a, -1)`` does.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.ravel(fp.Array([[1.0, 2.0], [3.0, 4.0]])).value
    array([1., 2., 3., 4.])
    """
    return Reshape(-1)(as_item(a))


@moves
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """Return a block with its axes in another order.

    Parameters
    ----------
    a : Array or array_like
        The block.
    axes : sequence of int, optional
        Which axis comes where; by default their order is reversed.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.transpose(fp.Array([[1.0, 2.0, 3.0]])).shape
    (3, 1)
    """
    return blocks.transpose(as_item(a), None if axes is None else tuple(axes))


@moves
def squeeze(a: Any, axis: Any = None) -> Any:
    """Return a block without axes of length one.

    Parameters
    ----------
    a : Array or array_like
        The block.
    axis : int or tuple of int, optional
        Which of them; a ValueError if its length is another one.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.squeeze(fp.Array([[[1.0], [2.0]]])).shape
    (2,)
    """
    a = as_item(a)
    shape = shape_of(a)
    if axis is None:
        return blocks.reshape(a, tuple(length for length in shape if length != 1))
    axes = normalize_axis_tuple(axis, len(shape), "axis")
    for k in axes:
        if shape[k] != 1:
            raise ValueError(f"squeeze: axis {k} of {described(a)} has length {shape[k]}; only those of length 1 go")
    return blocks.reshape(a, tuple(length for k, length in enumerate(shape) if k not in axes))


@moves
def expand_dims(a: Any, axis: Any) -> Any:
    """Return a block with new axes of length one.

    Parameters
    ----------
    a : Array or array_like
        The block.
    axis : int or tuple of int
        Where they are in the result.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.expand_dims(fp.Array([1.0, 2.0]), 1).shape
    (2, 1)
    """
    a = as_item(a)
    new = axis if isinstance(axis, tuple) else (axis,)
    axes = normalize_axis_tuple(new, len(shape_of(a)) + len(new), "axis")
    lengths = iter(shape_of(a))
    return Reshape(tuple(1 if k in axes else next(lengths) for k in range(len(shape_of(a)) + len(new))))(a)


@moves
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Return a block with two axes exchanged.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.swapaxes(fp.Array([[1.0, 2.0, 3.0]]), 0, 1).shape
    (3, 1)
    """
    a = as_item(a)
    order = list(range(len(shape_of(a))))
    i, j = normalize_axis_index(axis1, len(order)), normalize_axis_index(axis2, len(order))
    order[i], order[j] = order[j], order[i]
    return blocks.transpose(a, tuple(order))


@moves
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Return a block with some axes moved to other places; the others keep their order.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.moveaxis(fp.Array(np.zeros((2, 3, 4))), 0, -1).shape
    (3, 4, 2)
    """
    a = as_item(a)
    places = np.arange(len(shape_of(a)))
    order = np.moveaxis(np.empty((0,) * len(places)), source, destination)  # which checks the axes
    sources = normalize_axis_tuple(source, order.ndim)
    goals = normalize_axis_tuple(destination, order.ndim)
    rest = iter([k for k in range(order.ndim) if k not in sources])
    at = dict(zip(goals, sources))
    return blocks.transpose(a, tuple(at[k] if k in at else next(rest) for k in range(order.ndim)))


def _at_least(dimensions: int, a: Any) -> Any:
    """Return a block with axes of length one added as NumPy adds them."""
    a = as_item(a)
    shape = shape_of(a)
    if len(shape) >= dimensions:
        return a
    if dimensions == 3 and shape:
        return Reshape((1, *shape, 1) if len(shape) == 1 else (*shape, 1))(a)
    return Reshape((1,) * (dimensions - len(shape)) + shape)(a)


@moves
def atleast_1d(*arrays: Any) -> Any:
    """Return operands with at least one axis; a Unit becomes an Array of one number.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.atleast_1d(fp.Unit(3.0)).value
    array([3.])
    """
    found = tuple(_at_least(1, a) for a in arrays)
    return found[0] if len(found) == 1 else found


@moves
def atleast_2d(*arrays: Any) -> Any:
    """Return operands with at least two axes; the new ones come first.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.atleast_2d(fp.Array([1.0, 2.0])).shape
    (1, 2)
    """
    found = tuple(_at_least(2, a) for a in arrays)
    return found[0] if len(found) == 1 else found


@moves
def atleast_3d(*arrays: Any) -> Any:
    """Return operands with at least three axes; a row of n numbers becomes one of shape (1, n, 1).

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.atleast_3d(fp.Array([1.0, 2.0])).shape
    (1, 2, 1)
    """
    found = tuple(_at_least(3, a) for a in arrays)
    return found[0] if len(found) == 1 else found


@moves
def broadcast_to(a: Any, shape: Any) -> Any:
    """Return numbers repeated along new axes and along those of length one.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.broadcast_to(fp.Array([1.0, 2.0]), (2, 2)).value
    array([[1., 2.],
           [1., 2.]])
    """
    return blocks.broadcast_to(as_item(a), tuple(shape) if np.ndim(shape) else (operator.index(shape),))


@moves
def broadcast_arrays(*arrays: Any) -> Any:
    """Return operands repeated into their common shape.

    Examples
    --------
    >>> import fastprop as fp
    >>> [a.shape for a in fp.broadcast_arrays(fp.Array([1.0, 2.0]), fp.Array([[1.0], [2.0]]))]
    [(2, 2), (2, 2)]
    """
    items = [as_item(a) for a in arrays]
    shape = np.broadcast_shapes(*map(shape_of, items))
    return tuple(blocks.broadcast_to(item, shape) for item in items)


def _parts(name: str, arrays: Any) -> list[Any]:
    """Return the blocks of a sequence of them, plain integers as they are; an Array is one of its rows."""
    parts = [as_item(part) if recorder_of(part) is not None else np.asarray(part) for part in arrays]
    if not parts:
        raise ValueError(f"{name}: there is nothing to join; expected at least one block")
    return parts


@moves
def stack(arrays: Any, axis: int = 0) -> Any:
    """Return equal blocks, or numbers, side by side along a new axis.

    Parameters
    ----------
    arrays : sequence of Array, Unit or array_like
        Of one shape.
    axis : int, optional
        Where the new axis is in the result.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.stack([fp.Array([1.0, 2.0]), [3.0, 4.0]], axis=1).value
    array([[1., 3.],
           [2., 4.]])
    """
    parts = _parts("stack", arrays)
    shapes = sorted(set(map(shape_of, parts)))
    if len(shapes) > 1:
        raise ValueError(f"stack: blocks of the shapes {shapes} stand side by side; expected equal ones")
    place = normalize_axis_index(axis, len(shapes[0]) + 1)
    order = (*range(1, place + 1), 0, *range(place + 1, len(shapes[0]) + 1))
    return blocks.transpose(Stack((len(parts),))(*parts), order)


@moves
def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    """Return blocks one behind the other along an axis.

    Parameters
    ----------
    arrays : sequence of Array or array_like
        Of one shape but for that axis.
    axis : int, optional
        Which one; None: all numbers of all blocks in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.concatenate([fp.Array([1.0, 2.0]), [3.0]]).value
    array([1., 2., 3.])
    """
    parts = _parts("concatenate", arrays)
    if axis is None:
        parts, axis = [Reshape(-1)(part) for part in parts], 0
    shapes = [shape_of(part) for part in parts]
    if () in shapes:
        raise ValueError("concatenate: a single number has no axis; stack them, or use atleast_1d")
    place = normalize_axis_index(axis, len(shapes[0]))
    rest = {(*shape[:place], *shape[place + 1 :]) for shape in shapes}
    if len(rest) > 1 or len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"concatenate: the shapes {', '.join(map(str, shapes))} differ in more than axis {place}")
    return parts[0] if len(parts) == 1 else Concatenate(place)(*parts)


@moves
def hstack(tup: Any) -> Any:
    """Return blocks one behind the other along the second axis, or along the only one.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.hstack([fp.Unit(1.0), fp.Array([2.0, 3.0])]).value
    array([1., 2., 3.])
    """
    parts = [_at_least(1, part) for part in _parts("hstack", tup)]
    return concatenate(parts, 0 if len(shape_of(parts[0])) == 1 else 1)


@moves
def vstack(tup: Any) -> Any:
    """Return blocks one below the other; what has one axis is a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.vstack([fp.Array([1.0, 2.0]), [3.0, 4.0]]).value
    array([[1., 2.],
           [3., 4.]])
    """
    return concatenate([_at_least(2, part) for part in _parts("vstack", tup)], 0)


def _cuts(a: Any, points: list[int], axis: int) -> list[Any]:
    """Return the parts of a block between points along an axis."""
    before = (slice(None),) * axis
    ends = [0, *points, shape_of(a)[axis]]
    return [a[(*before, slice(start, end))] for start, end in itertools.pairwise(ends)]


@moves
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Return a list of the parts of a block along an axis.

    Parameters
    ----------
    ary : Array or array_like
        The block.
    indices_or_sections : int or sequence of int
        How many equal parts, or where to cut.
    axis : int, optional
        Along which axis.

    Raises
    ------
    ValueError
        If the parts are not equal; `array_split` takes those, too.

    Examples
    --------
    >>> import fastprop as fp
    >>> [part.value for part in fp.split(fp.Array([1.0, 2.0, 3.0]), [1])]
    [array([1.]), array([2., 3.])]
    """
    ary = as_item(ary)
    length = shape_of(ary)[normalize_axis_index(axis, len(shape_of(ary)))]
    if np.ndim(indices_or_sections) == 0 and length % operator.index(indices_or_sections):
        raise ValueError(
            f"split: {length} along axis {axis} do not make {indices_or_sections} equal parts; array_split takes others"
        )
    return array_split(ary, indices_or_sections, axis)


@moves
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Return a list of the parts of a block along an axis, the first ones longer by one if they can't be equal.

    Examples
    --------
    >>> import fastprop as fp
    >>> [part.value for part in fp.array_split(fp.Array([1.0, 2.0, 3.0]), 2)]
    [array([1., 2.]), array([3.])]
    """
    ary = as_item(ary)
    place = normalize_axis_index(axis, len(shape_of(ary)))
    if np.ndim(indices_or_sections):
        return _cuts(ary, [operator.index(i) for i in indices_or_sections], place)
    sections = operator.index(indices_or_sections)
    if sections <= 0:
        raise ValueError(f"array_split: {sections} parts; expected at least one")
    each, more = divmod(shape_of(ary)[place], sections)
    return _cuts(ary, np.cumsum([each + (k < more) for k in range(sections - 1)], dtype=int).tolist(), place)


@moves
@keeps_truths
def pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0.0) -> Any:
    """Return a block with a frame around it.

    Parameters
    ----------
    array : Array or array_like
        The block.
    pad_width : int, pair of int, or a pair for every axis
        How many numbers come before and behind.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}, optional
        Where they come from, as in NumPy.
    constant_values : number or Unit, optional
        What the frame of the mode "constant" consists of; a Unit receives what is pulled on it.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.pad(fp.Array([1.0, 2.0]), (1, 2)).value
    array([0., 1., 2., 0., 0.])
    """
    array = as_item(array)
    shape = shape_of(array)
    widths = np.broadcast_to(integers("pad: pad_width", pad_width, 0), (len(shape), 2)).tolist()
    if mode in _FRAMES:
        for axis, width in enumerate(widths):
            if any(width):
                places = np.pad(np.arange(shape[axis]), width, mode)  # type: ignore[call-overload]
                array = array[(slice(None),) * axis + (places,)]
        return array
    if mode != "constant":
        raise TypeError(f'pad: mode {mode!r} is no gate of fastprop\'s; use "constant" or one of {", ".join(_FRAMES)}')
    if shape_of(as_item(constant_values)) != ():
        raise TypeError("pad: the constant is no single number; pad axis by axis, or concatenate")
    if not shape:
        return array
    new = tuple(before + length + behind for length, (before, behind) in zip(shape, widths))
    inside = tuple(slice(before, before + length) for length, (before, _) in zip(shape, widths))
    framed = Scatter(new, inside)(array)
    if not gates.recorder_of(constant_values) and constant_values == 0:
        return framed
    own = np.zeros(new, bool)
    own[inside] = True
    whole = not gates.recorder_of(constant_values) and float(constant_values).is_integer()
    if whole and framed.dtype.kind == "i":
        return np.where(own, framed, int(constant_values))
    return gates.where(own, framed, constant_values)


@moves
def flip(m: Any, axis: Any = None) -> Any:
    """Return a block with the order of its numbers reversed along axes, all by default.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.flip(fp.Array([1.0, 2.0, 3.0])).value
    array([3., 2., 1.])
    """
    m = as_item(m)
    dimensions = len(shape_of(m))
    axes = range(dimensions) if axis is None else normalize_axis_tuple(axis, dimensions)
    if not dimensions:
        return m
    back = slice(None, None, -1)
    return GetItem(tuple(back if k in axes else slice(None) for k in range(dimensions)))(m)


@moves
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Return a block with its numbers moved along axes; what leaves at one end comes in at the other.

    Parameters
    ----------
    a : Array or array_like
        The block.
    shift : int or tuple of int
        By how many places.
    axis : int or tuple of int, optional
        Along which axes; by default as if all numbers stood in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.roll(fp.Array([1.0, 2.0, 3.0]), 1).value
    array([3., 1., 2.])
    """
    a = as_item(a)
    if axis is None:
        return blocks.reshape(roll(Reshape(-1)(a), shift, 0), shape_of(a))
    axes = normalize_axis_tuple(axis, len(shape_of(a)), allow_duplicate=True)
    for k, by in zip(*np.broadcast_arrays(axes, integers("roll: shift", shift))):
        places = np.roll(np.arange(shape_of(a)[k]), by)
        a = GetItem((slice(None),) * int(k) + (places,))(a)
    return a


@moves
def tile(A: Any, reps: Any) -> Any:
    """Return a block repeated as a whole along axes.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.tile(fp.Array([1.0, 2.0]), (2, 2)).value
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]])
    """
    A = as_item(A)
    times = np.atleast_1d(integers("tile: reps", reps, 0)).tolist()
    shape = shape_of(A)
    shape = (1,) * (len(times) - len(shape)) + shape
    times = [1] * (len(shape) - len(times)) + times
    rows = blocks.reshape(A, tuple(length for n in shape for length in (1, n)))
    spread = blocks.broadcast_to(rows, tuple(length for pair in zip(times, shape) for length in pair))
    return Reshape(tuple(n * length for n, length in zip(times, shape)))(spread)


@moves
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Return a block with each of its numbers, or rows, repeated.

    Parameters
    ----------
    a : Array or array_like
        The block.
    repeats : int or sequence of int
        How often, one for all or one for each.
    axis : int, optional
        Along which axis; by default all numbers in a row.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.repeat(fp.Array([1.0, 2.0]), [2, 1]).value
    array([1., 1., 2.])
    """
    a = as_item(a)
    if axis is None:
        a, axis = Reshape(-1)(a), 0
    place = normalize_axis_index(axis, len(shape_of(a)))
    places = np.repeat(np.arange(shape_of(a)[place]), integers("repeat: repeats", repeats, 0))
    return GetItem((slice(None),) * place + (places,))(a)
