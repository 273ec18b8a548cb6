"""The gates' values on plain floats: the C library's, without Python's exceptions.

Where `math` raises, these give infinity or NaN as IEEE 754 and NumPy do; what `math` lacks is written here, to a few
units in the last place. The compiled kernels are written apart from these, and the tests hold the two together.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache, reduce
from typing import Any

import numpy as np

inf, nan, pi = math.inf, math.nan, math.pi
ERF_SLOPE, NDTR_SLOPE = 2.0 / math.sqrt(pi), 1.0 / math.sqrt(2.0 * pi)  # of erf and ndtr at 0
_LOG_POLE = {0.0: -inf}
KEYS, COUNTERS = (0.0, 2.0**53), (-(2.0**53), 2.0**53)  # of random_integer
_WORD, _GOLDEN = 2**64 - 1, 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio
_FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def ieee(function: Callable[[float], float], poles: dict[float, float] | None = None) -> Callable[[float], float]:
    """Return a function of `math` that gives infinity or NaN, as C does, where Python raises."""

    def value(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return poles.get(x, nan) if poles else nan
        except OverflowError:
            return math.copysign(inf, x)

    return value


exp, expm1, sinh = ieee(math.exp), ieee(math.expm1), ieee(math.sinh)
log, log2, log10 = ieee(math.log, _LOG_POLE), ieee(math.log2, _LOG_POLE), ieee(math.log10, _LOG_POLE)
log1p = ieee(math.log1p, {-1.0: -inf})
sqrt, sin, cos, tan = ieee(math.sqrt), ieee(math.sin), ieee(math.cos), ieee(math.tan)
arcsin, arccos, arccosh = ieee(math.asin), ieee(math.acos), ieee(math.acosh)
arctanh = ieee(math.atanh, {1.0: inf, -1.0: -inf})
exp2 = ieee(math.exp2)


def cosh(x: float) -> float:
    try:
        return math.cosh(x)
    except OverflowError:
        return inf


def reciprocal(x: float) -> float:
    return divide(1.0, x)


def divide(x: float, y: float) -> float:
    try:
        return x / y
    except ZeroDivisionError:
        return nan if x == 0.0 or x != x else math.copysign(inf, x) * math.copysign(1.0, y)


def share(x: float, y: float) -> float:
    return divide(x, x + y)


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except ValueError:
        if x != 0.0:
            return nan
    except OverflowError:
        pass
    odd = math.fabs(y) < 2.0**53 and math.fmod(y, 2.0) != 0.0 and y == math.trunc(y)
    return math.copysign(inf, x) if odd else inf


def sign(x: float) -> float:
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else x + 0.0  # 0 at -0, NaN at NaN


def maximum(x: float, y: float) -> float:
    if x != x or y != y:
        return nan
    return y if y > x or (y == x and math.copysign(1.0, y) > 0.0) else x  # +0 beats -0


def minimum(x: float, y: float) -> float:
    return -maximum(-x, -y)


def clip(x: float, low: float, high: float) -> float:
    return minimum(maximum(x, low), high)


def where(condition: float, x: float, y: float) -> float:
    return x if condition else y


def fma(x: float, y: float, z: float) -> float:
    if not (math.isfinite(x) and math.isfinite(y)):
        return x * y + z
    if not math.isfinite(z):
        return z
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        return x * y + z  # for the sign of the zero
    try:
        return float(exact)
    except OverflowError:
        return inf if exact > 0 else -inf


def integral(function: Callable[[float], float]) -> Callable[[float], float]:
    """Return floor, ceil … as a float function that keeps NaN, the infinities and the sign of zero."""
    return lambda x: math.copysign(float(function(x)), x) if math.isfinite(x) else x


floor, ceil, round, trunc = (integral(function) for function in (math.floor, math.ceil, builtins.round, math.trunc))


def remainder(x: float, y: float) -> float:
    try:
        return x % y if math.isfinite(x) else nan
    except ZeroDivisionError:
        return nan


def floor_divide(x: float, y: float) -> float:
    return x // y if y != 0.0 else divide(x, y)


def logaddexp(x: float, y: float) -> float:
    if x == y:
        return x + math.log(2.0)  # infinities too
    return builtins.max(x, y) + math.log1p(exp(-math.fabs(x - y))) if x == x and y == y else nan


def sech(x: float) -> float:
    q = math.exp(-math.fabs(x))  # 1 / cosh(x) is 0 from 711 on, sech(x) is not
    return 2.0 * q / (1.0 + q * q)


def ndtr(x: float) -> float:
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


def sigmoid(x: float) -> float:
    q = math.exp(-math.fabs(x))
    return (q if x < 0.0 else 1.0) / (1.0 + q)


def softplus(x: float) -> float:
    return builtins.max(x, 0.0) + math.log1p(math.exp(-math.fabs(x)))


def log_sigmoid(x: float) -> float:
    return -softplus(-x)


def relu(x: float) -> float:
    return 0.0 if x <= 0.0 else x


def leaky_relu(x: float, slope: float) -> float:
    return x if x > 0.0 else slope * x


def elu(x: float, alpha: float) -> float:
    return x if x > 0.0 else alpha * expm1(x)


_BERNOULLI_TOP = (1, -1, 1, -1, 5, -691, 7, -3617, 43867, -174611)
_BERNOULLI_BOTTOM = (6, 30, 42, 30, 66, 2730, 6, 510, 798, 330)
_BERNOULLI = tuple(p / q for p, q in zip(_BERNOULLI_TOP, _BERNOULLI_BOTTOM, strict=True))  # B2, B4, …


def _hurwitz(s: float, x: float) -> float:
    """Return the sum of ``((x + k) / x)**-s`` over k = 0, 1, … for x > 0, s > 1, by Euler and Maclaurin."""
    total, y = 0.0, x
    while y < 20.0 + s:
        term = power(y / x, -s)
        total, y = total + term, y + 1.0
        if term <= 1e-19 * total:
            return total
    tail = power(y / x, -s)
    total += y * tail / (s - 1.0) + 0.5 * tail
    factor = s * tail / y
    for j, bernoulli in enumerate(_BERNOULLI, 1):
        total += bernoulli * factor / math.factorial(2 * j)
        factor *= (s + 2 * j - 1) * (s + 2 * j) / (y * y)
    return total


@cache
def _zeta(k: int) -> float:
    return _hurwitz(k, 1.0)


def gammaln(x: float) -> float:
    for root in (1.0, 2.0):
        z = x - root
        if math.fabs(z) < 0.25:  # math.lgamma loses its digits where it goes through 0
            series = 0.0
            for k in range(39, 1, -1):
                series = series * -z + _zeta(k) / k
            return z * (z * series - 0.57721566490153286061) + (math.log1p(z) if root == 2.0 else 0.0)
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return inf


def digamma(x: float) -> float:
    if x <= 0.0:
        if x == 0.0:
            return -math.copysign(inf, x)
        if not math.isfinite(x) or x == math.floor(x):
            return nan
        return digamma(1.0 - x) - pi / math.tan(pi * (x - builtins.round(x)))
    if math.isinf(x):
        return x
    total = 0.0
    while x < 12.0:
        total, x = total - 1.0 / x, x + 1.0
    power = 1.0
    for j, bernoulli in enumerate(_BERNOULLI, 1):
        power /= x * x
        total -= bernoulli / (2 * j) * power
    return total + math.log(x) - 0.5 / x


def polygamma(n: float, x: float) -> float:
    if not 0.0 <= n < inf or n != math.floor(n) or x != x:
        return nan
    if n == 0.0:
        return digamma(x)
    sign = -1.0 if math.fmod(n, 2.0) == 0.0 else 1.0
    if x > 0.0:
        if x == inf:
            return sign * 0.0
        if n < 100.0:
            return sign * math.gamma(n + 1.0) * power(x, -n) * (_hurwitz(n + 1.0, x) / x)
        return sign * exp(math.lgamma(n + 1.0) - (n + 1.0) * math.log(x) + math.log(_hurwitz(n + 1.0, x)))
    if x == 0.0:
        return inf if sign > 0.0 else -math.copysign(inf, x)
    if x == -inf or x == math.floor(x):
        return nan
    if x > -0.25:
        return polygamma(n, 1.0 + x) + sign * math.gamma(n + 1.0) * power(x, -(n + 1.0))
    cot, polynomial = 1.0 / math.tan(pi * (x - builtins.round(x))), [0.0, 1.0]  # of cot: its derivatives
    for _ in range(int(n)):
        slope = [k * c for k, c in enumerate(polynomial)][1:]
        polynomial = [-a - b for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    derivative = reduce(lambda total, c: total * cot + c, reversed(polynomial), 0.0)
    return -power(pi, n + 1.0) * derivative - sign * polygamma(n, 1.0 - x)


def silu(x: float) -> float:
    if x < -600.0:
        half = exp(0.5 * x)  # in two halves: exp(x) is subnormal, and its error would grow by x
        return -0.0 if half == 0.0 else (x * half) * half
    return x * sigmoid(x)


def gelu(x: float) -> float:
    return -0.0 if x == -inf else x * ndtr(x)


def sum(*x: float) -> float:
    return reduce(lambda total, term: total + term, x, 0.0)  # not Python's sum: 3.12 compensates


def prod(*x: float) -> float:
    return math.prod(x, start=1.0)


def mean(*x: float) -> float:
    return sum(*x) / len(x) if x else nan


def max(*x: float) -> float:
    if not x:
        raise ValueError("max of no numbers: give at least one")
    return reduce(maximum, x)


def min(*x: float) -> float:
    if not x:
        raise ValueError("min of no numbers: give at least one")
    return reduce(minimum, x)


def dot(*x: float) -> float:
    return sum(*[a * b for a, b in zip(x[: len(x) // 2], x[len(x) // 2 :], strict=True)])


def logsumexp(*x: float) -> float:
    top = reduce(maximum, x, -inf)
    if not math.isfinite(top):
        return top
    others = list(x)
    others.remove(top)
    return top + math.log1p(sum(*[math.exp(term - top) for term in others]))


def random_integer(key: float, counter: float) -> float:
    """Return a number of SplitMix64 (Steele, Lea and Flood 2014), counted from a seed mixed of the key: 53 bits."""
    if not (_is_integer_in(key, KEYS) and _is_integer_in(counter, COUNTERS)):
        return nan
    return float(_mixed(_mixed(int(key) + _GOLDEN) + int(counter) * _GOLDEN) >> 11)


def _is_integer_in(x: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= x <= bounds[1] and x == math.floor(x)


def _mixed(state: int) -> int:
    """Return 64 bits of which each depends on all of the state's: Stafford's variant 13 of MurmurHash3's last step."""
    state &= _WORD
    state = (state ^ state >> 30) * _FACTORS[0] & _WORD
    state = (state ^ state >> 27) * _FACTORS[1] & _WORD
    return state ^ state >> 31


def random_integers(keys: Any, counters: Any) -> Any:
    """Return the same of arrays, number by number."""
    dtype = np.result_type(keys, counters)
    keys, counters = np.broadcast_arrays(np.asarray(keys, np.float64), np.asarray(counters, np.float64))
    right = (keys >= KEYS[0]) & (keys <= KEYS[1]) & (keys == np.floor(keys))
    right &= (np.abs(counters) <= COUNTERS[1]) & (counters == np.floor(counters))
    states = _all_mixed(np.where(right, keys, 0.0).astype(np.uint64) + np.uint64(_GOLDEN))
    steps = np.where(right, counters, 0.0).astype(np.int64).astype(np.uint64)
    found = (_all_mixed(states + steps * np.uint64(_GOLDEN)) >> np.uint64(11)).astype(np.float64)
    return np.where(right, found, nan).astype(dtype)[()]


def _all_mixed(states: Any) -> Any:
    states = (states ^ states >> np.uint64(30)) * np.uint64(_FACTORS[0])
    states = (states ^ states >> np.uint64(27)) * np.uint64(_FACTORS[1])
    return states ^ states >> np.uint64(31)


def strong_multiply(pull: float, partial: float) -> float:
    product = pull * partial
    return 0.0 if product != product and (pull == 0.0 or partial == 0.0) else product


def strong_product(pull: Any, partial: Any) -> Any:
    """Return the same of arrays, number by number."""
    product = np.multiply(pull, partial)
    lost = np.isnan(product)
    if lost.any():
        product = np.where(lost & (np.equal(pull, 0.0) | np.equal(partial, 0.0)), 0.0, product)
    return product
