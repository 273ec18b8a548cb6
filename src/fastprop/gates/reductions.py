"""What makes one number of many, or weighs many against each other; and what says something about them.

The sum, the mean, the product, the extremes and logsumexp are rows of the table of gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import Composed, Max, Mean, Min, Reduction, Sum, shape_of, value_of
from fastprop.gates.items import as_item, as_recorded, is_traced
from fastprop.gates.partials import choose, held, least
from fastprop.gates.shares import LogSoftmax, Softmax

__all__ = ["var", "std", "norm", "softmax", "log_softmax", "argmax", "argmin", "any", "all", "count_nonzero"]


class Weighed(Reduction, Composed):
    """A reduction whose pull goes to each number by a slope, which is written with gates."""

    slopes: Callable[[Any], Any]

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull on each number by its slope."""
        return gates.strong_multiply(self.spread(pull, x), self.slopes(x))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the sum of tangents by slopes."""
        return Sum(self.axis, self.keepdims)(gates.strong_multiply(tangents[0], self.slopes(x)))


class Var(Weighed):
    """The sum of squares of what numbers are away from their mean, over their number less `ddof`."""

    single = ()

    def __init__(self, axis: Any, ddof: int, keepdims: bool):
        super().__init__(axis, keepdims)
        self.ddof = ddof

    def divisor(self, x: Any) -> float:
        """Return what the sum of squares is divided by."""
        return float(max(self.count(x) - self.ddof, 0))

    def forward(self, x: Any) -> Any:
        """Return the variances."""
        deviations = x - Mean(self.axis, True).forward(x)
        return np.divide(blocks.wide_sum(deviations * deviations, self.axis, self.keepdims), self.divisor(x))

    def slopes(self, x: Any) -> Any:
        """Return twice what each number is away from the mean, divided as the sum is."""
        divisor = self.divisor(x)
        slopes = gates.divide(gates.subtract(x, Mean(self.axis, True)(x)), 0.5 * divisor)
        if divisor == 0.0 or np.isfinite(np.asarray(value_of(slopes))).all():
            return slopes
        return gates.subtract(slopes, Mean(self.axis, True)(slopes))  # their mean, which goes to the mean, is not 0

    def composed(self, x: Any) -> Any:
        """Return the same, of other gates."""
        mean, total, divisor = Mean(self.axis, True)(x), Sum(self.axis, self.keepdims), self.divisor(x)
        if divisor == 0.0 and 0 not in shape_of(x):
            deviations = x - mean
            value = gates.divide(total(deviations * deviations), divisor)
            # infinite: what is pulled on the mean would be infinity less infinity
            return held(value) + total(gates.strong_multiply(x - held(x), gates.divide(deviations, divisor)))
        deviations = x - held(mean)  # what is pulled on the mean adds up to 0, or to infinity less infinity
        apart = mean - held(mean)
        apart = blocks.reshape(apart * apart * float(self.count(x)), self.reduced_shape(x))  # of a slope that is not 0
        return gates.divide(total(deviations * deviations) - apart, divisor)


class Length(Weighed):
    """The root of the sum of squares over a divisor, without overflow; at 0 and at infinity its derivatives are 0."""

    def __init__(self, axis: Any, keepdims: bool, divisor: float = 1.0):
        super().__init__(axis, keepdims)
        self.divisor = divisor

    def forward(self, x: Any) -> Any:
        """Return the roots, of numbers scaled by powers of two, which cost no digit."""
        scale = self.scale(x)
        scaled = np.divide(x, scale)
        root = np.sqrt(np.divide(blocks.wide_sum(scaled * scaled, self.axis, True), self.divisor)) * scale
        return root if self.keepdims else np.squeeze(root, self.axes(x))

    def scale(self, x: Any) -> Any:
        """Return the power of two below the greatest magnitudes."""
        top = np.max(np.abs(x), axis=self.axis, keepdims=True, initial=0.0)
        power = np.ldexp(top.dtype.type(0.5), np.frexp(top)[1])
        return np.where(top < np.inf, np.maximum(power, np.finfo(top.dtype).tiny), 1.0).astype(top.dtype)

    def slopes(self, x: Any) -> Any:
        """Return the numbers over root and divisor; 0 where the root is 0 or infinite, and of 0."""
        root = Length(self.axis, True, self.divisor)(x)
        plain = np.asarray(value_of(root))
        if np.all((plain >= np.finfo(plain.dtype).tiny) & (plain < math.inf)):
            return gates.divide(gates.divide(x, root), self.divisor)
        scaled = gates.divide(x, self.scale(np.asarray(value_of(x))))
        root = Length(self.axis, True, self.divisor)(scaled)
        still = (root == 0.0) | (root == math.inf) | ((scaled == 0.0) & (root != root))
        return gates.where(still, 0.0, gates.divide(gates.divide(scaled, gates.where(still, 1.0, root)), self.divisor))

    def composed(self, x: Any) -> Any:
        """Return the same, of other gates."""
        if 0 in shape_of(x):
            return Sum(self.axis, self.keepdims)(x)
        scaled, scale = _scaled(x, gates.absolute(x), self.axis)
        total = gates.divide(Sum(self.axis, True)(scaled * scaled), self.divisor)
        zero = total == 0.0
        root = gates.where(zero, 0.0, gates.sqrt(gates.where(zero, 1.0, total))) * scale
        return root if self.keepdims else blocks.reshape(root, self.reduced_shape(x))


def _scaled(x: Any, sizes: Any, axis: Any, most: type[Reduction] = Max) -> tuple[Any, Any]:
    """Return numbers over the power of two below their greatest (or least) size, and that; 1 if it is no number."""
    top = held(most(axis, True)(sizes))
    scale = choose(top < math.inf, gates.maximum(gates.exp2(gates.floor(gates.log2(top))), least(x)), 1.0)
    return x / scale, scale


def softmax(x: Any, axis: int = -1) -> Any:
    """Return exponentials over their sum along an axis: shares that add up to 1.

    Where the greatest number is infinite they are NaN. Their derivatives are right to the last digits, also where a
    share is nearly 1.

    Parameters
    ----------
    x : Array or array_like
        The logits.
    axis : int, optional
        Along which axis; the last one by default.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.softmax(fp.Array([0.0, 0.0])).value
    array([0.5, 0.5])
    """
    return _weighed(Softmax, x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Return the logarithms of the softmax along an axis, safe from overflow.

    Parameters
    ----------
    x : Array or array_like
        The logits.
    axis : int, optional
        Along which axis; the last one by default.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.log_softmax(fp.Array([40.0, 0.0])).value
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _weighed(LogSoftmax, x, axis)


def _weighed(gate: type[Softmax], x: Any, axis: int) -> Any:
    x = as_item(x)
    if not shape_of(x):
        raise ValueError(f"{gate.__name__.lower()} of a single number; expected a block with an axis to weigh along")
    return gate(normalize_axis_index(axis, len(shape_of(x))))(x)


def var(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """Return the variance: the mean square of what numbers are away from their mean.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int or tuple of int, optional
        Along which axes; all by default.
    ddof : int, optional
        The sum of squares is divided by their number less this.
    keepdims : bool, optional
        Whether the result keeps these axes, with length 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.var(fp.Array([1.0, 3.0]), ddof=1).value
    2.0
    """
    return Var(axis, ddof, keepdims)(as_item(a))


def std(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False) -> Any:
    """Return the standard deviation: the root of the variance, without overflow.

    Where all numbers are equal, its derivatives are 0.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int or tuple of int, optional
        Along which axes; all by default.
    ddof : int, optional
        The sum of squares is divided by their number less this.
    keepdims : bool, optional
        Whether the result keeps these axes, with length 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.std(fp.Array([[1.0, 3.0], [2.0, 2.0]]), axis=1).value
    array([1., 0.])
    """
    a, var = as_item(a), Var(axis, ddof, keepdims)
    divisor = var.divisor(a)
    if divisor == 0.0:  # it is infinite or NaN, and so is its root
        return var(a)
    return Length(axis, keepdims, divisor)(gates.subtract(a, Mean(axis, True)(a)))


def _power_norm(size: Any, p: float, axis: Any, keepdims: bool) -> Any:
    """Return the p-th root of the sum of p-th powers of magnitudes, scaled; all its derivatives at 0 are 0."""
    if 0 in shape_of(size):
        return Sum(axis, keepdims)(size) + gates.power(0.0, 1.0 / p)
    scaled, scale = _scaled(size, size, axis, Max if p > 0.0 else Min)
    total = Sum(axis, keepdims)(gates.power(scaled, p))
    if p < 0.0:
        return gates.power(total, 1.0 / p) * blocks.reshape(scale, shape_of(total))
    zero = total == 0.0
    root = gates.power(gates.where(zero, 1.0, total), 1.0 / p)
    return gates.where(zero, 0.0, root) * blocks.reshape(scale, shape_of(total))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return a norm of vectors or matrices, without overflow; all its derivatives at 0 are 0.

    Parameters
    ----------
    x : Array or array_like
        Vectors, or matrices.
    ord : {None, 0, 1, -1, inf, -inf, "fro"} or float, optional
        The order, as in `numpy.linalg.norm`; by default the root of the sum of squares. Of matrices there are "fro", 1,
        -1, inf and -inf.
    axis : int or pair of int, optional
        Along which axis the vectors lie, or along which two the matrices.
    keepdims : bool, optional
        Whether the result keeps these axes, with length 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.norm(fp.Array([3.0, 4.0])).value
    5.0
    """
    x = as_item(x)
    if axis is None and ord is None:
        return Length(None, keepdims)(x)
    axes = tuple(range(len(shape_of(x)))) if axis is None else Reduction(axis).axes(x)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    if len(axes) != 1:
        raise ValueError(f"norm along the axes {axes} of shape {shape_of(x)}; expected one axis, or two of matrices")
    if ord is None or ord == 2:
        return Length(axes, keepdims)(x)
    if isinstance(ord, str):
        raise ValueError(f"norm: ord {ord!r} is one of matrices; of vectors it is a number")
    size = gates.absolute(x)
    if ord in (math.inf, -math.inf):
        return _extreme(ord, x, axes, keepdims)(size)
    if ord in (0, 1):
        return Sum(axes, keepdims)(gates.where(x != x, 1.0, gates.absolute(gates.sign(x))) if ord == 0 else size)
    return _power_norm(size, float(ord), axes, keepdims)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if ord is None or ord in ("fro", "f"):
        return Length(axes, keepdims)(x)
    if ord not in (1, -1, math.inf, -math.inf):
        raise TypeError(
            f"the norm {ord!r} of matrices is no gate of fastprop's; there are 'fro', 1, -1, inf and -inf, and "
            "np.linalg.eigh of a.T @ a"
        )
    sums = Sum(axes[0] if abs(ord) == 1 else axes[1], True)(gates.absolute(x))
    return _extreme(ord, x, axes, keepdims)(sums)


def _extreme(order: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Return the gate of the greatest or the least of some sizes; the greatest of none is 0."""
    return (Sum if 0 in shape_of(x) and order > 0 else Max if order > 0 else Min)(axes, keepdims)


class Arg(Reduction):
    """Where along an axis the extreme number is, in circuits: an integer. The first of equal ones; the first NaN."""

    integral = True

    def __init__(self, better: Callable[[Any, Any], Any], axis: Any, keepdims: bool):
        super().__init__(axis, keepdims)
        if isinstance(axis, tuple):
            raise TypeError(f"argmax or argmin along the axes {axis}; expected an integer, or None")
        self.better = better

    def on_objects(self, x: np.ndarray) -> Any:
        """Record a choice for each number."""
        return self.of_rows(self._of_row, x)

    def _of_row(self, row: np.ndarray) -> Any:
        if not row.size:
            raise ValueError("argmax or argmin of no numbers: there is none to point at")
        best, index = row[0], 0.0
        for k, x in enumerate(row[1:], 1):
            better = self.better(x, best) | ((x != x) & (best == best))
            best, index = choose(better, x, best), choose(better, float(k), index)
        return index


def _arg(name: str, better: Callable[[Any, Any], Any], a: Any, axis: Any, keepdims: bool) -> Any:
    a = as_recorded(a)
    if is_traced(a):
        return Arg(better, axis, keepdims)(a)
    found = getattr(np, name)(np.asarray(value_of(a)), axis=axis, keepdims=keepdims)
    return found if shape_of(found) else int(found)


def argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Return where the greatest number is: plain integers, which have no derivative; in circuits, traced ones.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; by default the place among all numbers in a row.
    keepdims : bool, optional
        Whether the result keeps the axis, with length 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.argmax(fp.Array([1.0, 3.0, 3.0]))
    1
    """
    return _arg("argmax", lambda x, y: x > y, a, axis, keepdims)


def argmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Return where the least number is: plain integers, which have no derivative; in circuits, traced ones.

    Parameters
    ----------
    a : Array or array_like
        The numbers.
    axis : int, optional
        Along which axis; by default the place among all numbers in a row.
    keepdims : bool, optional
        Whether the result keeps the axis, with length 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.argmin(fp.Array([1.0, 3.0, 1.0]))
    0
    """
    return _arg("argmin", lambda x, y: x < y, a, axis, keepdims)


def _truths(a: Any) -> Any:
    """Return truth values: of numbers, whether they are not 0."""
    if gates.is_condition(a):
        return a
    a = as_recorded(a)
    return a != 0.0 if is_traced(a) else np.asarray(value_of(a)) != 0.0


def _decided(name: str, a: Any, axis: Any, keepdims: bool) -> Any:
    """Return NumPy's `any` or `all` of truth values, or of conditions as one, or along axes."""
    truths = _truths(a)
    if gates.is_condition(truths):
        Reduction(axis).axes(truths)  # which is an error if there is no such axis
        return getattr(truths, name)(axis, keepdims) if shape_of(truths) else truths
    found = getattr(np, name)(truths, axis=axis, keepdims=keepdims)
    return found if shape_of(found) else bool(found)


def any(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return whether one of the numbers is not 0, or one of the conditions holds: bools, in circuits conditions.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.any(fp.Array([0.0, 2.0]))
    True
    """
    return _decided("any", a, axis, keepdims)


def all(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return whether none of the numbers is 0, or all conditions hold: bools, in circuits conditions.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.all(fp.Array([0.0, 2.0]))
    False
    """
    return _decided("all", a, axis, keepdims)


def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return how many of the numbers are not 0, or how many conditions hold.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.count_nonzero(fp.Array([0.0, 2.0, 3.0]))
    2
    """
    truths = _truths(a)
    if gates.is_condition(truths):
        Reduction(axis).axes(truths)
        return truths.sum(axis, keepdims) if shape_of(truths) else truths.unit
    found = np.count_nonzero(truths, axis=axis, keepdims=keepdims)
    return found if shape_of(found) else int(found)
