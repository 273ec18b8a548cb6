# ruff: noqa: D102 (forward, backward and tangent mean in every class what they mean in Gate)
"""The structural gates: block gates that move, repeat, reduce and multiply numbers, as NumPy does.

A block gate's `forward` sees floats and NumPy arrays only. Its `backward` and its `tangent` are written with gates and
operators alone, so that the same lines carry numbers in a sweep and, given handles, record the derivative of a
derivative. A handle is anything whose type has `__fastprop_gate__`; here only its `value` and its `shape` are read.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fastprop import gates
from fastprop.gates import Gate
from fastprop.gates.numbers import as_array, as_reals
from fastprop.gates.values import strong_product


def is_handle(x: Any) -> bool:
    """Whether `x` is a Unit or an Array of either engine."""
    return hasattr(type(x), "__fastprop_gate__")


def value_of(x: Any) -> Any:
    """The number or block behind a handle; anything else is its own value."""
    return x.value if is_handle(x) else x


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a handle, an array or a number."""
    shape: tuple[int, ...] = x.shape if hasattr(x, "shape") else np.shape(x)
    return shape


def wide_sum(x: Any, axis: Any, keepdims: bool) -> Any:
    """The sum along axes in the dtype of `x`, added up as float64."""
    result = np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64)
    return result.astype(x.dtype, copy=False) if isinstance(x, np.ndarray) else result


def total(parts: Sequence[Any]) -> Any:
    """The sum of the numbers, blocks or handles that are there (0.0 if none is)."""
    result = parts[0] if parts else 0.0
    for part in parts[1:]:
        result = result + part
    return result


# Structural gates. A linear gate's tangent is the gate itself, applied to the tangent.


class Block(Gate):
    """A gate on blocks; infinities and NaN go through it without a warning, as they do through gates on numbers."""

    integral = False  # whether its value are integers, which index
    gathers = False  # whether it puts operands together: integers alone stay integers
    moves = False  # whether it only picks numbers, or puts them elsewhere

    def __init_subclass__(cls, moves: bool = False) -> None:
        super().__init_subclass__()
        cls.moves = moves
        if "forward" in vars(cls) and not moves:  # which never warns
            cls.forward = np.errstate(all="ignore")(cls.forward)  # type: ignore[method-assign]

    @property
    def name(self) -> str:
        """The gate's name in messages and summaries: as NumPy writes it."""
        return super().name.lower()

    def evaluate(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return the value, one number as a float; truth values that are only moved stay what they are."""
        if self.moves and getattr(operands[0], "dtype", None) == np.bool_:
            return self.forward(*operands)
        found = super().evaluate(operands, options)
        return tuple(map(_as_number, found)) if type(found) is tuple else _as_number(found)

    def on_objects(self, *blocks: Any) -> Any:
        """Return the value of object arrays of Units, on which it is recorded number by number."""
        return self.forward(*blocks)


def _as_number(found: Any) -> Any:
    """Return one number as a float, or a float32 as NumPy's, and anything else as it is."""
    if not isinstance(found, (np.ndarray, np.floating)) or found.ndim or found.dtype.kind != "f":
        return found
    return float(found) if found.dtype == np.float64 else np.float32(found)


class Composed(Block):
    """A gate that circuits have as others: those that `composed` applies to its operands."""

    def composed(self, *operands: Any) -> Any:
        """Return what the gate does, of other gates."""
        raise NotImplementedError(f"{self.name} has no composed(self, *operands)")


class Linear(Block):
    """A gate of one operand that is linear in it."""

    def tangent(self, tangents: tuple[Any, ...], *_: Any) -> Any:
        return self(tangents[0])


class Reshape(Linear, moves=True):
    """The same numbers, in the same order, in another shape."""

    def __init__(self, shape: Any):
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return x.reshape(self.shape) if isinstance(x, np.ndarray) else np.reshape(x, self.shape)

    def backward(self, pull: Any, x: Any) -> Any:
        return reshape(pull, shape_of(x))


class Transpose(Linear, moves=True):
    """The axes in another order."""

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def forward(self, x: Any) -> Any:
        return np.transpose(x, self.axes)

    def backward(self, pull: Any, x: Any) -> Any:
        return Transpose(tuple(int(i) for i in np.argsort(self.axes)))(pull)


class BroadcastTo(Linear, moves=True):
    """Numbers repeated along new axes and along axes of length one."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return np.broadcast_to(x, self.shape)

    def backward(self, pull: Any, x: Any) -> Any:
        return unbroadcast(pull, shape_of(x))


class AsType(Linear):
    """The same numbers, rounded to another dtype."""

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        if self.dtype.kind in "cOSUVmM":
            raise TypeError(f"astype: an Array has float32 or float64 numbers, which can't be {self.dtype}")

    def forward(self, x: Any) -> Any:
        return np.asarray(x).astype(self.dtype)

    def backward(self, pull: Any, x: Any) -> Any:
        return AsType(value_of(x).dtype)(pull)


class GetItem(Linear, moves=True):
    """A part of a block, by integers, slices, ellipsis, newaxis, integer arrays or a mask."""

    def __init__(self, index: Any):
        self.index = index

    def forward(self, x: Any) -> Any:
        return x[self.index]

    def backward(self, pull: Any, x: Any) -> Any:
        return Scatter(shape_of(x), self.index)(pull)


class Scatter(Linear):
    """Zeros, with a part added to at an index: where the pull on an item goes."""

    def __init__(self, shape: tuple[int, ...], index: Any):
        self.shape = shape
        self.index = index

    def forward(self, part: Any) -> Any:
        part = np.asarray(part)
        if any(isinstance(i, np.ndarray) for i in (self.index if isinstance(self.index, tuple) else (self.index,))):
            size = math.prod(self.shape)  # an integer array may name a place twice: what meets there is added up
            places = np.arange(size).reshape(self.shape)[self.index]
            sums = np.bincount(places.reshape(-1), np.broadcast_to(part, places.shape).reshape(-1), size)
            return sums.reshape(self.shape).astype(part.dtype, copy=False)
        block = np.zeros(self.shape, part.dtype)
        block[self.index] = part
        return block

    def on_objects(self, part: Any) -> Any:
        """Return an object array of zeros, and of what is there."""
        block = np.full(self.shape, 0.0, object)
        places = np.arange(block.size).reshape(self.shape)[self.index]
        flat = block.reshape(-1)
        for place, number in zip(np.ravel(places), np.broadcast_to(np.asarray(part, object), np.shape(places)).flat):
            flat[place] = number if isinstance(flat[place], float) and flat[place] == 0.0 else flat[place] + number
        return block

    def backward(self, pull: Any, part: Any) -> Any:
        return GetItem(self.index)(pull)


class Stack(Block):
    """Equal blocks or single numbers side by side, in a shape of their own."""

    gathers = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, *parts: Any) -> Any:
        if not parts:
            return np.zeros(self.shape)
        return np.stack(parts).reshape(self.shape + np.shape(parts[0]))

    def on_objects(self, *parts: Any) -> Any:
        """Return the numbers of all blocks in one."""
        numbers = np.concatenate([part.reshape(-1) for part in parts])
        return numbers.reshape(self.shape + parts[0].shape)

    def backward(self, pull: Any, *parts: Any) -> Any:
        rows = reshape(pull, (len(parts), *shape_of(parts[0])))
        if isinstance(rows, np.ndarray) and rows.ndim == 1:
            return tuple(rows.tolist())
        return tuple(rows[i] for i in range(len(parts)))

    def tangent(self, tangents: tuple[Any, ...], *parts: Any) -> Any:
        zero = np.zeros(shape_of(parts[0])) if shape_of(parts[0]) else 0.0
        return self(*(zero if tangent is None else tangent for tangent in tangents))


class Reduction(Block):
    """A gate that leaves one number along some axes."""

    single: tuple[int, ...] = (0, -1)  # what NumPy takes for an axis of a single number

    def __init__(self, axis: Any = None, keepdims: bool = False):
        if isinstance(axis, bool):
            raise TypeError(f"{self.name} along the axis {axis}; expected an integer, a tuple of them, or None")
        self.axis = axis if axis is None or isinstance(axis, tuple) else operator.index(axis)
        self.keepdims = bool(keepdims)

    def axes(self, x: Any) -> tuple[int, ...]:
        """The axes that are reduced, counted from the front."""
        dimensions = len(shape_of(x))
        if self.axis is None or (dimensions == 0 and self.axis in self.single):
            return tuple(range(dimensions))
        return normalize_axis_tuple(self.axis, dimensions)

    def spread(self, pull: Any, x: Any) -> Any:
        """The pull on the result, repeated over the numbers of `x` that it came from."""
        axes = self.axes(x)
        kept = tuple(1 if axis in axes else length for axis, length in enumerate(shape_of(x)))
        return broadcast_to(reshape(pull, kept), shape_of(x))

    def count(self, x: Any) -> int:
        """How many numbers go into one of the result."""
        return math.prod(shape_of(x)[axis] for axis in self.axes(x))

    def reduced_shape(self, x: Any) -> tuple[int, ...]:
        """The shape of what is left."""
        axes = self.axes(x)
        kept = [1 if i in axes else n for i, n in enumerate(shape_of(x)) if self.keepdims or i not in axes]
        return tuple(kept)

    def of_rows(self, function: Any, x: np.ndarray) -> Any:
        """Return what a function makes of every row of numbers that is reduced to one."""
        axes = self.axes(x)
        rest = [i for i in range(x.ndim) if i not in axes]
        rows = x.transpose(*rest, *axes).reshape([x.shape[i] for i in rest] + [self.count(x)])
        found = np.empty(rows.shape[:-1], object)
        if not found.size and not self.count(x):
            function(x.reshape(-1))  # which has its error of none, where there is no row of none either
        for place in np.ndindex(found.shape):
            found[place] = function(rows[place])
        return found.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if self.keepdims else found


class Sum(Reduction):
    """The sum along axes."""

    def forward(self, x: Any) -> Any:
        return wide_sum(x, self.axis, self.keepdims)

    def backward(self, pull: Any, x: Any) -> Any:
        return self.spread(pull, x)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        return self(tangents[0])


class Mean(Reduction):
    """The mean along axes."""

    single = ()

    def forward(self, x: Any) -> Any:
        return np.divide(wide_sum(x, self.axis, self.keepdims), float(self.count(x)))

    def backward(self, pull: Any, x: Any) -> Any:
        return self.spread(pull, x) / float(max(self.count(x), 1))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        return (self if self.count(x) else Sum(self.axis, self.keepdims))(tangents[0])  # of none it hangs on nothing


class Max(Reduction):
    """The greatest number along axes; those that tie for it share its pull evenly."""

    choose: Any = staticmethod(np.max)

    sign: Any = 0.0  # of two zeros, the one that is chosen

    def forward(self, x: Any) -> Any:
        chosen = self.choose(x, axis=self.axis, keepdims=self.keepdims)
        zero = chosen == 0.0
        if np.any(zero):
            there = np.any((x == 0.0) & (np.signbit(x) == np.signbit(self.sign)), self.axis, keepdims=self.keepdims)
            chosen = np.where(zero, np.where(there, self.sign, -self.sign), chosen).astype(np.asarray(x).dtype)[()]
        return chosen

    def shares(self, x: Any) -> np.ndarray:
        """Each number's share of the pull: NaN wherever the result is."""
        x = np.asarray(value_of(x))
        chosen = (x == self.choose(x, axis=self.axis, keepdims=True)).astype(x.dtype)
        with np.errstate(invalid="ignore"):
            return np.asarray(chosen / np.sum(chosen, axis=self.axis, keepdims=True))

    def slopes(self, x: Any) -> Any:
        """The shares, as constants; those that are NaN are so to any order."""
        shares = self.shares(x)
        if not is_handle(x) or not np.isnan(shares).any():
            return shares
        return gates.where(np.isnan(shares), gates.divide(math.nan, type(self)(self.axis, True)(x)), shares)

    def backward(self, pull: Any, x: Any) -> Any:
        return gates.strong_multiply(self.spread(pull, x), self.slopes(x))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        return Sum(self.axis, self.keepdims)(gates.strong_multiply(tangents[0], self.slopes(x)))


class Min(Max):
    """The least number along axes; those that tie for it share its pull evenly."""

    choose: Any = staticmethod(np.min)
    sign: Any = -0.0


class Prod(Reduction):
    """The product along axes; a zero among the factors is nothing special."""

    def forward(self, x: Any) -> Any:
        return np.prod(x, axis=self.axis, keepdims=self.keepdims)

    def backward(self, pull: Any, x: Any) -> Any:
        return gates.strong_multiply(self.spread(pull, x), self.others(x))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        return Sum(self.axis, self.keepdims)(gates.strong_multiply(tangents[0], self.others(x)))

    def others(self, x: Any) -> Any:
        """For each factor the product of the others: the reduced axes go last, as one, and back again."""
        shape, axes = shape_of(x), self.axes(x)
        kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
        order = (*kept, *axes)
        rows = reshape(transpose(x, order), (*(shape[axis] for axis in kept), self.count(x)))
        back = reshape(ProdOfOthers()(rows), tuple(shape[axis] for axis in order))
        return transpose(back, tuple(int(i) for i in np.argsort(order)))


class ProdOfOthers(Block):
    """Along the last axis, for each factor the product of the others; what is 0 behind it makes that exactly 0."""

    def forward(self, x: Any) -> Any:
        ones = np.ones_like(x[..., :1])
        before = np.cumprod(np.concatenate([ones, x[..., :-1]], axis=-1), axis=-1)
        behind = np.concatenate([ones, x[..., :0:-1]], axis=-1)
        nothing = np.logical_or.accumulate(behind == 0.0, axis=-1)
        after = np.where(nothing, ones, np.cumprod(behind, axis=-1)) * np.where(nothing, 0.0 * ones, ones)
        return strong_product(before, after[..., ::-1])

    def backward(self, pull: Any, x: Any) -> Any:
        pull = reshape(pull, (*shape_of(pull), 1))
        on_table = gates.strong_multiply(broadcast_to(pull, shape_of(self.table(x))), ProdOfOthers()(self.table(x)))
        return Sum(-2)(gates.where(self.own(x), 0.0, on_table))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        tangent = reshape(tangents[0], (*shape_of(x)[:-1], 1, shape_of(x)[-1]))
        along = gates.strong_multiply(broadcast_to(tangent, shape_of(self.table(x))), ProdOfOthers()(self.table(x)))
        return Sum(-1)(gates.where(self.own(x), 0.0, along))

    def own(self, x: Any) -> np.ndarray:
        """True where row i meets factor i."""
        return np.eye(shape_of(x)[-1], dtype=bool)

    def table(self, x: Any) -> Any:
        """One row of all factors for each factor, with a one in that factor's own place."""
        return gates.where(self.own(x), 1.0, reshape(x, (*shape_of(x)[:-1], 1, shape_of(x)[-1])))


class MatMul(Block):
    """The matrix product of the last two axes, broadcast over the others; a single axis is a row or a column.

    What comes out infinite or NaN is computed again, term by term in the order of the source.
    """

    multiply: Any = staticmethod(np.multiply)

    def forward(self, a: Any, b: Any) -> Any:
        self.check(shape_of(a), shape_of(b))
        result = np.matmul(a, b)
        again = ~np.isfinite(result)
        if not np.any(again):
            return result
        rows = a[..., np.newaxis, :] if np.ndim(b) > 1 else a
        columns = b if np.ndim(b) == 1 else np.swapaxes(b, -1, -2)
        if np.ndim(a) > 1 and np.ndim(b) > 1:
            columns = columns[..., np.newaxis, :, :]
        rows, columns = np.broadcast_arrays(rows, columns)
        total = np.zeros(np.count_nonzero(again), result.dtype)
        for k in range(rows.shape[-1]):
            total = total + self.multiply(rows[..., k][again], columns[..., k][again])
        if np.ndim(result) == 0:
            return total[0]
        result[again] = total
        return result

    @staticmethod
    def check(left: tuple[int, ...], right: tuple[int, ...]) -> None:
        """Raise for shapes that have no product."""
        if not left or not right:
            raise ValueError("matmul: a single number is no matrix; multiply by it")
        inner, outer = left[-1], right[max(len(right) - 2, 0)]
        if inner != outer:
            raise ValueError(f"matmul of the shapes {left} and {right}: {inner} and {outer} differ")
        try:
            np.broadcast_shapes(left[:-2], right[:-2])
        except ValueError:
            raise ValueError(f"matmul of the shapes {left} and {right}: their stacks do not broadcast") from None

    def backward(self, pull: Any, a: Any, b: Any) -> Any:
        rows, columns = shape_of(a), shape_of(b)
        left = reshape(a, (1, *rows)) if len(rows) == 1 else a
        right = reshape(b, (*columns, 1)) if len(columns) == 1 else b
        batch = np.broadcast_shapes(shape_of(left)[:-2], shape_of(right)[:-2])
        pull = reshape(pull, (*batch, shape_of(left)[-2], shape_of(right)[-1]))
        on_left = unbroadcast(StrongMatMul()(pull, swap_last(right)), shape_of(left))
        on_right = unbroadcast(StrongMatMul()(swap_last(left), pull), shape_of(right))
        return reshape(on_left, rows), reshape(on_right, columns)

    def tangent(self, tangents: tuple[Any, ...], a: Any, b: Any) -> Any:
        along_a, along_b = tangents
        parts = [] if along_a is None else [StrongMatMul()(along_a, b)]
        return total(parts if along_b is None else [*parts, StrongMatMul()(a, along_b)])


class StrongMatMul(MatMul):
    """The chain rule's own: a factor of exactly 0 makes a product exactly 0."""

    multiply = staticmethod(strong_product)


# The same as functions, on numbers, arrays and handles


def reshape(x: Any, shape: Any) -> Any:
    """Return `x` in another shape; `x` itself if it has it already."""
    return x if shape_of(x) == shape else Reshape(shape)(x)


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` repeated into `shape`; `x` itself if it has it already."""
    return x if shape_of(x) == shape else BroadcastTo(shape)(x)


def transpose(x: Any, axes: tuple[int, ...] | None = None) -> Any:
    """`x` with its axes in another order, reversed by default."""
    dimensions = len(shape_of(x))
    order = tuple(reversed(range(dimensions)))
    if axes is not None:
        order = tuple(normalize_axis_index(axis, dimensions) for axis in axes)
        if sorted(order) != list(range(dimensions)):
            raise ValueError(f"transpose: axes {tuple(axes)} are no order of the {dimensions} axes of {shape_of(x)}")
    return x if order == tuple(range(dimensions)) else Transpose(order)(x)


def swap_last(x: Any) -> Any:
    """The last two axes exchanged."""
    dimensions = len(shape_of(x))
    return transpose(x, (*range(dimensions - 2), dimensions - 1, dimensions - 2))


def unbroadcast(pull: Any, shape: tuple[int, ...]) -> Any:
    """The pull on an operand of `shape` that was broadcast: summed over the axes along which it was repeated."""
    have = shape_of(pull)
    if have == shape:
        return pull
    new = len(have) - len(shape)
    stretched = (axis + new for axis, length in enumerate(shape) if length == 1 and have[axis + new] != 1)
    axes = (*range(new), *stretched)
    return reshape(Sum(axes)(pull) if axes else pull, shape)


def dot(a: Any, b: Any) -> Any:
    """NumPy's dot product of two blocks."""
    gate, operands = dot_product(a, b)
    return gate(*operands)


def dot_product(a: Any, b: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the last gate of a dot product, and its operands."""
    left, right = shape_of(a), shape_of(b)
    if not left or not right:
        return gates.multiply, (a, b)
    for i, x in enumerate((a, b)):
        if as_array(x) is None:
            as_reals(x, f"dot: operand {i}")  # which says what to use
    if left[-1] != right[max(len(right) - 2, 0)]:
        raise ValueError(f"dot: shapes {left} and {right} do not meet: the last axis of the one is summed with the "
                         f"last{' but one' * (len(right) > 1)} of the other")  # fmt: skip
    if (len(left) <= 2 and len(right) <= 2) or len(right) == 1:
        return MatMul(), (a, b)
    last = len(right) - 1
    columns = transpose(b, (last - 1, *range(last - 1), last))
    table = MatMul()(reshape(a, (math.prod(left[:-1]), left[-1])), reshape(columns, (right[-2], -1)))
    return Reshape((*left[:-1], *right[:-2], right[-1])), (table,)
