"""Partials that need more than a line, as compositions of rows.

They refer to rows that are made from them, so only when they are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates.row import is_condition

inf, nan = math.inf, math.nan


def choose(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, else y: `where`, which a plain bool decides without recording a gate."""
    return branch(condition, lambda: x, lambda: y)


def branch(condition: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
    """Return `choose` of what two functions give; a plain bool calls one of them alone."""
    if isinstance(condition, (bool, np.bool_)):
        return x() if condition else y()
    return gates.where(condition, x(), y())


def flag(condition: Any) -> Any:
    """Return 1 where the condition holds, else 0."""
    if is_condition(condition):
        return condition.as_numbers() if hasattr(condition, "as_numbers") else condition.unit  # of a block, or of one
    return choose(condition, 1.0, 0.0)


def held(x: Any) -> Any:
    """Return a result, or a number, as a constant, through which nothing is pulled."""
    tape: Any = getattr(x, "_tape", None)
    if hasattr(tape, "constant"):
        return tape.constant(x)
    return x if hasattr(type(x), "__fastprop_block__") else getattr(x, "value", x)  # a block of constants, or a number


def within(condition: Any, partial: Any, x: Any) -> Any:
    """Return the partial where the condition holds, else a NaN whose derivatives in x are NaN, to any order."""
    return branch(condition, lambda: partial, lambda: gates.divide(nan, x))


def flat(x: Any) -> Any:
    """Return the derivative of a step: 0, or NaN at NaN."""
    return within(x == x, 0.0, x)


def power_base(x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)) and y == 0.0:
        return 0.0  # so that the derivatives of x**2 come to an end
    less = y - 1.0
    slope = gates.power(x, less)
    if type(y) is not float or y.is_integer() != less.is_integer() or gates.absolute(y) > 2.0**53:
        exact = (less + 1.0 == y) & (less != y) | (gates.absolute(y) == inf)  # else less may be an integer, or even
        slope = choose(exact | (x >= 0.0) | (x == -inf), slope, gates.divide(gates.power(x, y), x))
    return gates.strong_multiply(y, slope)  # x**0 has derivative 0 at 0 and at NaN too


def power_exponent(x: Any, y: Any) -> Any:
    smooth = gates.strong_multiply(gates.power(x, y), gates.log(x))
    return choose((x == 0.0) & (y == 0.0), 0.0, within(x >= 0.0, smooth, x))


def divide_partial(x: Any, y: Any) -> Any:
    """Return 1 / y, but NaN where x / y is 0 / 0."""
    usual = y != 0.0
    if not is_condition(usual) and np.all(usual):
        return gates.reciprocal(y)
    value = gates.divide(x, y)
    return gates.divide(flag(usual | (value == value)), y)


def over(x: float, y: Any) -> Any:
    """Return x / y, the slope of a logarithm: +inf at -0 too, and NaN outside of the domain."""
    return gates.divide(choose(y >= 0.0, x, nan), y + 0.0)


def bell(height: float, rate: float, x: Any) -> Any:
    return height * gates.exp(-rate * gates.square(x))


def clip_partials(x: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
    """Return what x, low and high get of the gradient: 1 for the one chosen (x at a bound), NaN at NaN."""
    none = flat(x) + flat(low) + flat(high)
    below = choose(low > high, none, choose(x < low, 1.0 + none, none))
    above = choose((low > high) | (x > high), 1.0 + none, none)
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
    tiny = gates.divide(2.0**600 * x, gates.hypot(2.0**600 * x, 2.0**600 * y))  # where h is rounded as a subnormal
    return choose(h == 0.0, 0.0, choose(h == inf, overflown, choose(h < 1e-290, tiny, gates.divide(x, h))))


def angle_partial(x: Any, y: Any) -> Any:
    h = gates.hypot(x, y)
    return choose(h == inf, flat(x) + flat(y), gates.divide(gates.divide(x, h), h))  # x / h**2


def arcsin_partial(x: Any) -> Any:
    within_one = gates.fma(-x, x, 1.0)  # 1 - x*x rounded once: right near 1, and its derivative at 0
    return gates.reciprocal(gates.sqrt(within_one))


def remainder_divisor(x: Any, y: Any) -> Any:
    rest = gates.remainder(x, y)
    usual = -gates.round(gates.divide(x - rest, y))  # floor(x / y), also where x / y rounds up to an integer
    return choose((gates.absolute(y) == inf) & (rest == rest), choose(rest == y, 1.0, 0.0), usual)


def least(x: Any) -> float:
    """Return the least number whose reciprocal is finite, in what a trace or a block computes in."""
    recording = getattr(getattr(x, "_tape", None), "recording", None)
    dtype = getattr(recording, "dtype", getattr(x, "dtype", np.float64))
    return float(np.finfo(np.result_type(dtype, np.float32)).tiny)  # also of integers


def larger(x: Any, y: Any) -> Any:
    """Return 1 if x is the larger, 1/2 at a tie, 0 if it is the smaller, NaN at NaN."""
    return branch(x > y, lambda: 1.0, lambda: branch(x == y, lambda: 0.5, lambda: flat(gates.maximum(x, y))))


def shares(operands: Sequence[Any], value: Any) -> list[Any]:
    """Return for each operand that is the value 1 over their number, 0 for the others."""
    chosen = [flag(x == value) for x in operands]
    ties = reduce(gates.add, chosen, flat(value))
    return [gates.divide(x, ties) for x in chosen]


def prod_partials(x: Sequence[Any]) -> list[Any]:
    """Return the products of the others: no division, so right at zeros, to any order."""
    after = list(accumulate(x[:0:-1], gates.strong_multiply, initial=1.0))[::-1]
    return [gates.strong_multiply(*both) for _, *both in zip(x, accumulate(x[:-1], gates.multiply, initial=1.0), after)]


def logsumexp_partials(x: Sequence[Any]) -> list[Any]:
    """Return the softmax, as the sigmoids of what operands are above the others: right in the tails, to any order."""
    if len(x) == 2:
        return [logaddexp_partial(*x), logaddexp_partial(*x[::-1])]
    top = gates.max(x) if x else 0.0
    above = [choose(d == d, d, 0.0) for d in map(gates.subtract, x, [held(top)] * len(x))]  # NaN: both are infinite
    powers = [gates.exp(d) for d in above]
    # of less than the least number, the logarithm would have an infinite slope; of -inf alone, or NaN, all are in order
    ordered = branch(top > -inf, lambda: least(top), lambda: -top)
    after = list(accumulate(powers[:0:-1], gates.add, initial=0.0))[::-1]
    others = map(gates.add, accumulate(powers[:-1], gates.add, initial=ordered), after)
    return [gates.sigmoid(d - gates.log(rest)) for d, rest in zip(above, others)]


def silu_partial(x: Any) -> Any:
    half = gates.exp(0.5 * x)  # twice: sigmoid(x) may be subnormal, and its error would grow by x
    tail = gates.strong_multiply(gates.strong_multiply(1.0 + x, half), half)
    return choose(x < -600.0, tail, gates.sigmoid(x) + gates.strong_multiply(gates.sigmoid(x) * gates.sigmoid(-x), x))
