"""Shares of a whole, which add up to 1: the softmax and its logarithm, and logsumexp, whose slopes they are.

Their derivatives have no differences of what is nearly equal, so they are right to the last digits, however far numbers
are apart. In circuits they are composed of other gates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import Block, Composed, Max, Reduction, Sum, is_handle, shape_of, value_of
from fastprop.gates.partials import held, least
from fastprop.gates.row import logsumexp_array
from fastprop.gates.shapes import concatenate
from fastprop.gates.values import strong_product

__all__ = ["LogSoftmax", "LogSumExp", "Softmax"]


class Others(Block):
    """Along an axis, for each number the sum of the others: no difference, so right in the last digits."""

    def __init__(self, axis: int):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Return the sums of those before and of those behind."""
        x = np.moveaxis(x, self.axis, -1)
        before, behind = np.zeros_like(x), np.zeros_like(x)
        np.cumsum(x[..., :-1], -1, out=before[..., 1:])
        np.cumsum(x[..., :0:-1], -1, out=behind[..., 1:])
        return np.moveaxis(before + behind[..., ::-1], -1, self.axis)

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull as it sums: every number is one of the others of all others."""
        return self(pull)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the sums of the tangents."""
        return self(tangents[0])


class Lacking(Others):
    """What each share lacks of 1, added up of the others; its derivative is that of the difference, which is exact."""

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull on each share what is pulled on 1 less that."""
        return gates.negative(pull)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return what the tangents take from 1."""
        return gates.negative(tangents[0])


def _of(gate: Block, x: Any) -> Any:
    """Return what a gate makes of a handle, recorded, or of an array."""
    if is_handle(x):
        return gate(x)
    with np.errstate(all="ignore"):
        return gate.forward(x)


def _times(x: Any, y: Any) -> Any:
    """Return the strong product of handles, recorded, or of arrays."""
    if is_handle(x) or is_handle(y):
        return gates.strong_multiply(x, y)
    with np.errstate(all="ignore"):
        return strong_product(x, y)


class Softmax(Composed):
    """Powers over their sum, along one axis; NaN where the greatest number is infinite."""

    def __init__(self, axis: int):
        self.axis = axis

    def powers(self, x: Any) -> tuple[Any, Any]:
        """Return what the numbers are above the greatest, and the exponentials of that."""
        above = x - np.max(x, axis=self.axis, keepdims=True, initial=-np.inf)
        return above, np.exp(above)

    def others(self, shares: Any) -> Any:
        """Return for each share the sum of the others; of one that is alone, what it lacks of 1, or NaN."""
        return 1.0 - shares if shape_of(shares)[self.axis] == 1 else _of(Lacking(self.axis), shares)

    def above_mean(self, along: Any, shares: Any) -> Any:
        """Return pulls or tangents less about their mean by shares, which changes nothing, and leaves no difference."""
        if 0 in shape_of(shares):
            return along
        with np.errstate(all="ignore"):
            mean = np.sum(np.asarray(value_of(shares)) * np.asarray(value_of(along)), axis=self.axis, keepdims=True)
        if not np.isfinite(mean).all():
            mean = np.where(np.isfinite(mean), mean, 0.0).astype(mean.dtype)
        return along - mean

    def forward(self, x: Any) -> Any:
        """Return the shares."""
        powers = self.powers(x)[1]
        return powers / blocks.wide_sum(powers, self.axis, True)

    def composed(self, x: Any) -> Any:
        """Return what share each power has of itself and the others."""
        if 0 in shape_of(x):
            return x
        powers = gates.exp(x - _top(x, self.axis))
        return gates.share(powers, _others(powers, self.axis, 0.0))

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull on each number, by what it takes from the others."""
        shares = _of(self, x)
        pull = self.above_mean(pull, shares)
        weighted = _times(pull, shares)
        inner = _times(pull, self.others(shares)) - _of(Others(self.axis), weighted)
        return _times(shares, inner)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return what the tangents bring, which is what pulls would: its matrix is symmetric."""
        return self.backward(tangents[0], x)


class LogSoftmax(Softmax):
    """The logarithms of the softmax, to the last digits where a share is nearly 1."""

    def forward(self, x: Any) -> Any:
        """Return the numbers less their logsumexp."""
        above, powers = self.powers(x)
        equal = above == 0.0
        others = np.sum(np.where(equal, 0.0, powers), axis=self.axis, keepdims=True, dtype=np.float64)
        more = np.sum(equal, axis=self.axis, keepdims=True) - 1.0
        return above - np.log1p(others + more).astype(above.dtype)

    def composed(self, x: Any) -> Any:
        """Return the logarithms of these sigmoids."""
        above, others = _above_others(x, self.axis)
        return _unless_alone(gates.log_sigmoid(above), others, 0.0, x)

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull what is pulled on a number and not on the others."""
        shares = _of(Softmax(self.axis), x)
        return _times(pull, self.others(shares)) - _times(shares, _of(Others(self.axis), pull))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return what each tangent is above the mean of all."""
        shares = _of(Softmax(self.axis), x)
        tangent = self.above_mean(tangents[0], shares)
        weighted = _times(shares, tangent)
        return _times(tangent, self.others(shares)) - _of(Others(self.axis), weighted)


def _top(x: Any, axis: int) -> Any:
    """Return the greatest number along an axis, through which nothing is pulled; NaN if it is infinite."""
    top = held(Max(axis, True)(x))
    return gates.where((top < math.inf) & (top > -math.inf), top, gates.divide(math.nan, Sum(axis, True)(x)))


def _others(powers: Any, axis: int, more: float) -> Any:
    """Return for each power the sum of the others along an axis, and of a number that is added to all."""
    n = shape_of(powers)[axis]
    if n == 1:
        return np.full(shape_of(powers), more)
    part = [powers[(*[slice(None)] * axis, slice(i, i + 1))] for i in range(n)]
    before, behind = [more], [0.0]
    for i in range(n - 1):
        before.append(before[-1] + part[i])
        behind.append(behind[-1] + part[-1 - i])
    return concatenate([a + b for a, b in zip(before, reversed(behind))], axis)


def _above_others(x: Any, axis: int) -> tuple[Any, Any]:
    """Return what each number is above the logsumexp of the others along an axis, and the sum of the others' powers.

    Both above the greatest number, and NaN if that is infinite. The logarithm of less than the least number that has a
    finite reciprocal would have an infinite slope: this much is added to the sums. Of single numbers there are none.
    """
    if 0 in shape_of(x):
        return x, None
    above = x - _top(x, axis)
    if shape_of(x)[axis] == 1:
        return above + math.inf, None
    others = _others(gates.exp(above), axis, least(x))
    return above - gates.log(others), others


def _unless_alone(found: Any, others: Any, alone: float, x: Any) -> Any:
    """Return what was found, and a constant where the sum of the others' powers is but what is added to it."""
    return found if others is None else gates.where(others == least(x), alone, found)


class LogSumExp(Reduction):
    """The logarithm of the sum of exponentials along axes, safe from overflow and at infinities."""

    def forward(self, x: Any) -> Any:
        """Return the logarithms."""
        return logsumexp_array(x, self.axis, self.keepdims)

    def levels(self, x: Any) -> tuple[Any, Any]:
        """The greatest numbers, and what to subtract so that no exponential overflows."""
        greatest = np.max(x, axis=self.axis, keepdims=True, initial=-np.inf)
        return greatest, np.where(np.isfinite(greatest), greatest, 0.0)

    def weights(self, x: Any) -> Any:
        """The softmax of `x`; at an infinite result its limit along equal numbers, none at -inf."""
        greatest, shift = self.levels(np.asarray(value_of(x)))
        limits = np.where(greatest == np.inf, Max(self.axis).shares(x), 0.0) if self.count(x) else 0.0
        if is_handle(x) and self.count(x):  # which will be differentiated
            usual = not np.isinf(greatest).any()
            return self.softmax(x) if usual else gates.where(np.isinf(greatest), limits, self.softmax(x))
        powers = gates.exp(x - shift)
        return gates.where(np.isinf(greatest), limits, gates.divide(powers, Sum(self.axis, True)(powers)))

    def softmax(self, x: Any) -> Any:
        """The softmax along axes, which go last, as one, and back again."""
        axes = self.axes(x)
        if len(axes) == 1:
            return Softmax(axes[0])(x)
        kept = [axis for axis in range(len(shape_of(x))) if axis not in axes]
        order = (*kept, *axes)
        lengths = tuple(shape_of(x)[axis] for axis in order)
        rows = blocks.reshape(blocks.transpose(x, order), (*lengths[: len(kept)], self.count(x)))
        back = blocks.reshape(Softmax(len(kept))(rows), lengths)
        return blocks.transpose(back, tuple(int(i) for i in np.argsort(order)))

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull on each number by its share."""
        return gates.strong_multiply(self.spread(pull, x), self.weights(x))

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the sum of tangents by shares."""
        return Sum(self.axis, self.keepdims)(gates.strong_multiply(tangents[0], self.weights(x)))
