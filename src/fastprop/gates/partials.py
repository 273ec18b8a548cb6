"""Partials that need more than a line, as compositions of rows.

They refer to rows that are made from them, so only when they are called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import numpy as np

from fastprop import gates

inf, nan = math.inf, math.nan


def choose(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, else y: `where`, which a plain bool decides without recording a gate."""
    if isinstance(condition, (bool, np.bool_)):
        return x if condition else y
    return gates.where(condition, x, y)


def within(condition: Any, partial: Any, x: Any) -> Any:
    """Return the partial where the condition holds, else a NaN whose derivatives in x are NaN, to any order."""
    if isinstance(condition, (bool, np.bool_)):
        return partial if condition else nan * gates.exp(x)
    return gates.where(condition, partial, nan * gates.exp(x))


def flat(x: Any) -> Any:
    """Return the derivative of a step: 0, or NaN at NaN."""
    return within(x == x, 0.0, x)


def power_base(x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)) and y == 0.0:
        return 0.0  # so that the derivatives of x**2 come to an end
    return gates.strong_multiply(y, gates.power(x, y - 1.0))  # x**0 has derivative 0 at 0 and at NaN too


def power_exponent(x: Any, y: Any) -> Any:
    smooth = gates.strong_multiply(gates.power(x, y), gates.log(x))
    at_zero = choose(
        y == 0.0, 0.0, choose(y > 1.0, x * gates.strong_multiply(gates.power(x, y - 1.0), gates.log(x)), smooth)
    )
    return choose(x == 0.0, at_zero, within(x > 0.0, smooth, x))


def over(x: float, y: Any) -> Any:
    """Return x / y, the slope of a logarithm: +inf at -0 too, and NaN outside of the domain."""
    return within(y >= 0.0, gates.divide(x, y + 0.0), y)


def bell(height: float, rate: float, x: Any) -> Any:
    return height * gates.exp(-rate * gates.square(x))


def clip_partials(x: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
    """Return what x, low and high get of the gradient: 1 for the one chosen (x at a bound), NaN at NaN."""
    none = flat(x) + flat(low) + flat(high)
    below = choose(low > high, none, choose(x < low, 1.0, none))
    above = choose(low > high, 1.0 + none, choose(x > high, 1.0, none))
    return choose((x >= low) & (x <= high), 1.0, none), below, above


def leaky_relu_partial(x: Any, slope: Any) -> Any:
    at_zero = gates.clip(slope, 0.0, 1.0)  # least norm
    return choose(x > 0.0, 1.0, choose(x < 0.0, slope, within(x == 0.0, at_zero, x)))


def logaddexp_partial(x: Any, y: Any) -> Any:
    equal = (x == y) & ((x == inf) | (x == -inf))
    return choose(equal, choose(x == inf, 0.5, 0.0), gates.sigmoid(x - y))


def hypot_partial(x: Any, y: Any) -> Any:
    h = gates.hypot(x, y)
    one_infinite = choose(gates.absolute(y) < inf, gates.sign(x), nan)
    overflown = choose(gates.absolute(x) == inf, one_infinite, gates.divide(0.25 * x, gates.hypot(0.25 * x, 0.25 * y)))
    return choose(h == 0.0, 0.0, choose(h == inf, overflown, gates.divide(x, h)))


def angle_partial(x: Any, y: Any) -> Any:
    h = gates.hypot(x, y)
    return choose(h == inf, flat(x) + flat(y), gates.divide(gates.divide(x, h), h))  # x / h**2


def arcsin_partial(x: Any) -> Any:
    return gates.reciprocal(
        gates.sqrt(gates.fma(-x, x, 1.0))
    )  # 1 - x*x rounded once: right near 1, and its derivative at 0


def remainder_divisor(x: Any, y: Any) -> Any:
    return -gates.round(
        gates.divide(x - gates.remainder(x, y), y)
    )  # floor(x / y), also where x / y rounds up to an integer


def larger(x: Any, y: Any) -> Any:
    """Return 1 if x is the larger, 1/2 at a tie, 0 if it is the smaller, NaN at NaN."""
    return choose(x > y, 1.0, choose(x < y, 0.0, choose(x == y, 0.5, flat(x) + flat(y))))


def largest(i: int, operands: Sequence[Any], sign: float) -> Any:
    """Return 1 over the number of largest operands (sign -1: smallest) if operand i is one of them, else 0."""
    x = operands[i]
    leads = reduce(and_, [(x >= y) if sign > 0.0 else (x <= y) for y in operands])
    ordered = reduce(and_, [y == y for y in operands])
    ties = reduce(lambda total, y: total + choose(x == y, 1.0, 0.0), operands, 0.0)
    return within(ordered, choose(leads, gates.divide(1.0, ties), 0.0), x)


def prod_partial(i: int, operands: Sequence[Any]) -> Any:
    return gates.prod([*operands[:i], *operands[i + 1 :]])  # no division: right at zeros, to any order


def logsumexp_partial(i: int, operands: Sequence[Any]) -> Any:
    x, others = operands[i], [*operands[:i], *operands[i + 1 :]]
    rest = gates.logsumexp(others)
    ties = reduce(lambda total, y: total + choose(x == y, 1.0, 0.0), others, 1.0)
    infinite = (x == rest) & ((x == inf) | (x == -inf))
    return choose(infinite, choose(x == inf, gates.divide(1.0, ties), 0.0), gates.sigmoid(x - rest))
