"""What the tests of the table and of the kernels measure against: mpmath's truth, error in units in the last place."""

from __future__ import annotations

import functools
import math
import operator
import random
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
from mpmath import mp, mpf

from fastprop import gates

PRECISION = 250  # bits: what cancels in these formulas cancels far above the last of them
inf, nan = math.inf, math.nan


def exp(x: Any) -> Any:
    """Return e**x, as 0 or as a number too large for a double where the exponent itself would be astronomical."""
    return mp.exp(x if abs(x) < 4000 else mpf(4000) if x > 0 else mpf(-4000))


def _power(x: Any, y: Any) -> Any:
    if x == 0:
        return mpf(1) if y == 0 else mpf(0) if y > 0 else mp.inf
    size = exp(y * mp.log(abs(x)))
    return -size if x < 0 and int(y) % 2 else size


def _power_base(x: Any, y: Any) -> Any:
    size = abs(y) * exp((y - 1) * mp.log(abs(x)))
    return size if (y > 0) == (x > 0 or int(y) % 2 == 1) else -size


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + exp(-x)) if x > 0 else exp(x) / (1 + exp(x))


def _softplus(x: Any) -> Any:
    return max(x, mpf(0)) + mp.log1p(exp(-abs(x)))


def _sech(x: Any) -> Any:
    return 2 * exp(-abs(x)) / (1 + exp(-2 * abs(x)))


def _sinh(x: Any) -> Any:
    return mp.sinh(x) if abs(x) < 4000 else mp.sign(x) * exp(abs(x))


def _cosh(x: Any) -> Any:
    return mp.cosh(x) if abs(x) < 4000 else exp(abs(x))


def _tanh(x: Any) -> Any:
    return mp.tanh(x) if abs(x) < 4000 else mp.sign(x)


def _erf(x: Any) -> Any:
    return mp.erf(x) if abs(x) < 60 else mp.sign(x)


def _erfc(x: Any) -> Any:
    return mp.erfc(x) if abs(x) < 60 else mpf(0) if x > 0 else mpf(2)


def _bell(x: Any, rate: Any) -> Any:
    return exp(-rate * x * x)


def _ndtr(x: Any) -> Any:
    return _erfc(-x / mp.sqrt(2)) / 2


def _density(x: Any) -> Any:
    return _bell(x, mpf(1) / 2) / mp.sqrt(2 * mp.pi)


def _gammaln(x: Any) -> Any:
    if x > 0:
        return mp.loggamma(x)
    return mp.log(mp.pi / abs(mp.sinpi(x))) - mp.loggamma(1 - x)


def _digamma(x: Any) -> Any:
    if x > 0:
        return mp.psi(0, x)
    return mp.psi(0, 1 - x) - mp.pi * mp.cospi(x) / mp.sinpi(x)


def _polygamma(n: Any, x: Any) -> Any:
    if n == 0:
        return _digamma(x)
    if n == 1 and x < 0:  # mpmath goes up by steps of 1
        return (mp.pi / mp.sinpi(x)) ** 2 - mp.psi(1, 1 - x)
    return mp.psi(int(n), x)


def _logaddexp(x: Any, y: Any) -> Any:
    return max(x, y) + mp.log1p(exp(-abs(x - y)))


@functools.cache
def _logsumexp_in(precision: int, x: tuple[Any, ...]) -> Any:
    top = max(x)
    return top + mp.log(mp.fsum(exp(term - top) for term in x))


def _logsumexp(*x: Any) -> Any:
    return _logsumexp_in(mp.prec, x)  # once for all partials


def _remainder(x: Any, y: Any) -> Any:
    with mp.workprec(2200):  # a quotient of 1e600 is an integer too
        return x - mp.floor(x / y) * y


def _remainder_divisor(x: Any, y: Any) -> Any:
    with mp.workprec(2200):
        return -mp.floor(x / y)


def _random_integer(key: Any, counter: Any) -> Any:
    """Go through SplitMix64 step by step, as the paper has it; its seed is the first number of the key's own."""

    def numbers(state: int, step: int) -> Iterator[int]:
        while True:
            state = (state + step) % 2**64
            mixed = (state ^ state // 2**30) * 0xBF58476D1CE4E5B9 % 2**64
            mixed = (mixed ^ mixed // 2**27) * 0x94D049BB133111EB % 2**64
            yield mixed ^ mixed // 2**31

    if key != mp.floor(key) or counter != mp.floor(counter) or not 0 <= key <= 2**53 or abs(counter) > 2**53:
        return mp.nan
    golden = int(mp.floor(2**64 / mp.phi)) | 1
    seed = next(numbers(int(key), golden))
    return mpf(next(numbers(seed, int(counter) * golden)) // 2**11)


def _floor_divide(x: Any, y: Any) -> Any:
    return -_remainder_divisor(x, y)


def _hypot(x: Any, y: Any) -> Any:
    return mp.sqrt(x * x + y * y)


def _cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


ONE = mpf(1)
Formula = Callable[..., Any]

# The value and the partials of gates of numbers, written apart from gates/ and from the kernels.
TRUTH: dict[str, tuple[Formula, ...]] = {
    "add": (lambda x, y: x + y, lambda x, y: ONE, lambda x, y: ONE),
    "subtract": (lambda x, y: x - y, lambda x, y: ONE, lambda x, y: -ONE),
    "multiply": (lambda x, y: x * y, lambda x, y: y, lambda x, y: x),
    "divide": (lambda x, y: x / y, lambda x, y: 1 / y, lambda x, y: -x / y / y),
    "negative": (lambda x: -x, lambda x: -ONE),
    "positive": (lambda x: x, lambda x: ONE),
    "power": (_power, _power_base, lambda x, y: _power(x, y) * mp.log(x) if x > 0 else mp.nan),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / (x * x)),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "sqrt": (mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x))),
    "cbrt": (_cbrt, lambda x: 1 / (3 * _cbrt(x) ** 2)),
    "fma": (lambda x, y, z: x * y + z, lambda x, y, z: y, lambda x, y, z: x, lambda x, y, z: ONE),
    "hypot": (_hypot, lambda x, y: x / _hypot(x, y), lambda x, y: y / _hypot(x, y)),
    "remainder": (_remainder, lambda x, y: ONE, _remainder_divisor),
    "floor_divide": (_floor_divide, lambda x, y: mpf(0), lambda x, y: mpf(0)),
    "absolute": (abs, mp.sign),
    "sign": (mp.sign, lambda x: mpf(0)),
    "floor": (mp.floor, lambda x: mpf(0)),
    "ceil": (mp.ceil, lambda x: mpf(0)),
    "round": (mp.nint, lambda x: mpf(0)),
    "trunc": (lambda x: mp.floor(x) if x > 0 else mp.ceil(x), lambda x: mpf(0)),
    "maximum": (max, lambda x, y: mpf(x > y), lambda x, y: mpf(y > x)),
    "minimum": (min, lambda x, y: mpf(x < y), lambda x, y: mpf(y < x)),
    "clip": (
        lambda x, low, high: min(max(x, low), high),
        lambda x, low, high: mpf(low <= x <= high),
        lambda x, low, high: mpf(x < low <= high),
        lambda x, low, high: mpf(high < max(x, low)),
    ),
    "where": (
        lambda c, x, y: x if c else y,
        lambda c, x, y: mpf(0),
        lambda c, x, y: mpf(c != 0),
        lambda c, x, y: mpf(c == 0),
    ),
    "exp": (exp, exp),
    "exp2": (lambda x: exp(x * mp.log(2)), lambda x: exp(x * mp.log(2)) * mp.log(2)),
    "expm1": (lambda x: mp.expm1(x) if abs(x) < 4000 else exp(x) - 1, exp),
    "log": (mp.log, lambda x: 1 / x),
    "log2": (lambda x: mp.log(x) / mp.log(2), lambda x: 1 / (x * mp.log(2))),
    "log10": (lambda x: mp.log(x) / mp.log(10), lambda x: 1 / (x * mp.log(10))),
    "log1p": (mp.log1p, lambda x: 1 / (1 + x)),
    "logaddexp": (_logaddexp, lambda x, y: _sigmoid(x - y), lambda x, y: _sigmoid(y - x)),
    "sin": (mp.sin, mp.cos),
    "cos": (mp.cos, lambda x: -mp.sin(x)),
    "tan": (mp.tan, lambda x: 1 / mp.cos(x) ** 2),
    "sech": (_sech, lambda x: -_sech(x) * _tanh(x)),
    "arcsin": (mp.asin, lambda x: 1 / mp.sqrt((1 - x) * (1 + x))),
    "arccos": (mp.acos, lambda x: -1 / mp.sqrt((1 - x) * (1 + x))),
    "arctan": (mp.atan, lambda x: 1 / (1 + x * x)),
    "share": (lambda x, y: x / (x + y), lambda x, y: y / (x + y) ** 2, lambda x, y: -x / (x + y) ** 2),
    "arctan2": (mp.atan2, lambda y, x: x / (x * x + y * y), lambda y, x: -y / (x * x + y * y)),
    "sinh": (_sinh, _cosh),
    "cosh": (_cosh, _sinh),
    "tanh": (_tanh, lambda x: _sech(x) ** 2),
    "arcsinh": (lambda x: mp.sign(x) * mp.asinh(abs(x)), lambda x: 1 / mp.sqrt(1 + x * x)),
    "arccosh": (mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1))),
    "arctanh": (mp.atanh, lambda x: 1 / ((1 - x) * (1 + x))),
    "erf": (_erf, lambda x: 2 / mp.sqrt(mp.pi) * _bell(x, 1)),
    "erfc": (_erfc, lambda x: -2 / mp.sqrt(mp.pi) * _bell(x, 1)),
    "ndtr": (_ndtr, _density),
    "gammaln": (_gammaln, _digamma),
    "digamma": (_digamma, lambda x: _polygamma(1, x)),
    "polygamma": (_polygamma, lambda n, x: mpf(0), lambda n, x: _polygamma(n + 1, x)),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "log_sigmoid": (lambda x: -_softplus(-x), lambda x: _sigmoid(-x)),
    "softplus": (_softplus, _sigmoid),
    "silu": (lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x))),
    "gelu": (lambda x: x * _ndtr(x), lambda x: _ndtr(x) + x * _density(x)),
    "relu": (lambda x: max(x, mpf(0)), lambda x: mpf(x > 0)),
    "leaky_relu": (
        lambda x, s: x if x > 0 else s * x,
        lambda x, s: ONE if x > 0 else s,
        lambda x, s: mpf(0) if x > 0 else x,
    ),
    "elu": (
        lambda x, a: x if x > 0 else a * TRUTH["expm1"][0](x),
        lambda x, a: ONE if x > 0 else a * exp(x),
        lambda x, a: mpf(0) if x > 0 else TRUTH["expm1"][0](x),
    ),
    "strong_multiply": (lambda x, y: x * y, lambda x, y: y, lambda x, y: x),
    "random_integer": (_random_integer, lambda x, y: 0 * _random_integer(x, y), lambda x, y: 0 * _random_integer(x, y)),
}


class Exact:
    """A number of mpmath's that goes through gates, each by its truth: rows' partials in many digits."""

    __hash__ = None

    def __init__(self, x: Any):
        self.x = x

    @staticmethod
    def __fastprop_gate__(gate: Any, operands: Any, options: Any) -> Exact:
        return Exact(TRUTH[gate.name][0](*map(many_digits, operands)))


def many_digits(x: Any) -> Any:
    return x.x if isinstance(x, Exact) else mpf(x)


for _symbol in ("add", "sub", "mul", "truediv"):
    _apply = getattr(operator, _symbol)
    setattr(Exact, f"__{_symbol}__", lambda x, y, f=_apply: Exact(f(x.x, many_digits(y))))
    setattr(Exact, f"__r{_symbol}__", lambda x, y, f=_apply: Exact(f(many_digits(y), x.x)))
for _symbol in ("lt", "le", "gt", "ge", "eq", "ne"):
    _apply = getattr(operator, _symbol)
    setattr(Exact, f"__{_symbol}__", lambda x, y, f=_apply: bool(f(x.x, many_digits(y))))
Exact.__neg__ = lambda x: Exact(-x.x)


def truth_of_row(row: gates.Row) -> tuple[Formula, ...]:
    """Return what stands for a gate's formulas: its row's value on floats, and its partials in many digits."""

    def operands(x: Any) -> list[Any]:  # those that have no partial are plain numbers
        return [Exact(item) if partial is not None else float(item) for item, partial in zip(x, row.partials)]

    def exact(partial: Any) -> Formula:
        return lambda *x: many_digits(partial(*operands(x))) if partial is not None else mpf(0)

    return (lambda *x: mpf(row.value(*map(float, x))), *map(exact, row.partials))


FORMULAS = dict(TRUTH)  # those above; a gate that has none yet is measured against its row
TRUTH |= {
    name: truth_of_row(row) for name, row in gates.table.items() if row.arity != gates.SEQUENCE and name not in FORMULAS
}

# The value of every gate of a sequence, and the partial in operand i.
SEQUENCE_TRUTH: dict[str, tuple[Formula, Formula]] = {
    "sum": (lambda *x: mp.fsum(x), lambda i, x: ONE),
    "prod": (lambda *x: mp.fprod(x), lambda i, x: mp.fprod(x[:i] + x[i + 1 :])),
    "mean": (lambda *x: mp.fsum(x) / len(x), lambda i, x: ONE / len(x)),
    "max": (max, lambda i, x: mpf(x[i] == max(x)) / x.count(max(x))),
    "min": (min, lambda i, x: mpf(x[i] == min(x)) / x.count(min(x))),
    "dot": (
        lambda *x: mp.fsum(a * b for a, b in zip(x[: len(x) // 2], x[len(x) // 2 :])),
        lambda i, x: x[(i + len(x) // 2) % len(x)],
    ),
    "logsumexp": (_logsumexp, lambda i, x: exp(x[i] - _logsumexp(*x))),
}

# The largest summand, where a value (0) or a partial (1, 2 …) goes through 0 between two that cancel.
SUMMANDS: dict[tuple[str, int], Formula] = {
    ("silu", 1): lambda x: _sigmoid(x),
    ("gelu", 1): lambda x: _ndtr(x),
    ("gammaln", 1): lambda x: abs(mp.psi(0, 1 - x)) if x < 0 else mpf(0),
    ("digamma", 0): lambda x: abs(mp.psi(0, 1 - x)) if x < 0 else mpf(0),
    ("polygamma", 0): lambda n, x: abs(mp.psi(int(n), 1 - x)) if x < 0 else mpf(0),
    ("polygamma", 2): lambda n, x: abs(mp.psi(int(n) + 1, 1 - x)) if x < 0 else mpf(0),
    ("logaddexp", 0): lambda x, y: abs(max(x, y)),
    ("logsumexp", 0): lambda *x: abs(max(x)),
    ("sum", 0): lambda *x: mp.fsum(abs(term) for term in x),
    ("mean", 0): lambda *x: mp.fsum(abs(term) for term in x) / len(x),
    ("dot", 0): lambda *x: mp.fsum(abs(a * b) for a, b in zip(x[: len(x) // 2], x[len(x) // 2 :])),
}

# fmt: off
# Hostile points: gate, operands, value, partials (None: not promised).
EDGES: list[tuple[str, tuple[float, ...], float | None, tuple[float | None, ...]]] = [
    ("absolute", (0.0,), 0.0, (0.0,)), ("absolute", (-0.0,), 0.0, (0.0,)), ("absolute", (nan,), nan, (nan,)),
    ("relu", (nan,), nan, (nan,)), ("sign", (nan,), nan, (nan,)), ("sign", (-0.0,), 0.0, (0.0,)),
    ("sign", (3.0,), 1.0, (0.0,)), ("relu", (0.0,), 0.0, (0.0,)), ("leaky_relu", (0.0, 0.01), 0.0, (0.01, 0.0)),
    ("leaky_relu", (0.0, -0.5), 0.0, (0.0, 0.0)), ("leaky_relu", (0.0, 2.0), 0.0, (1.0, 0.0)),
    ("clip", (1.0, -1.0, 1.0), 1.0, (1.0, 0.0, 0.0)), ("clip", (-1.0, -1.0, 1.0), -1.0, (1.0, 0.0, 0.0)),
    ("clip", (2.0, -1.0, 1.0), 1.0, (0.0, 0.0, 1.0)), ("clip", (-2.0, -1.0, 1.0), -1.0, (0.0, 1.0, 0.0)),
    ("clip", (0.0, 1.0, -1.0), -1.0, (0.0, 0.0, 1.0)), ("clip", (nan, 0.0, 1.0), nan, (nan, nan, nan)),
    ("clip", (5.0, -inf, inf), 5.0, (1.0, 0.0, 0.0)),
    ("maximum", (1.0, 1.0), 1.0, (0.5, 0.5)), ("maximum", (0.0, -0.0), 0.0, (0.5, 0.5)),
    ("maximum", (-0.0, 0.0), 0.0, (0.5, 0.5)), ("minimum", (0.0, -0.0), -0.0, (0.5, 0.5)),
    ("maximum", (nan, 1.0), nan, (nan, nan)), ("minimum", (1.0, nan), nan, (nan, nan)),
    ("sqrt", (0.0,), 0.0, (inf,)), ("sqrt", (-0.0,), -0.0, (inf,)),
    ("sqrt", (5e-324,), 2.2227587494850775e-162, (2.249e161,)),
    ("sqrt", (-1.0,), nan, (nan,)), ("log", (-1.0,), nan, (nan,)), ("arctanh", (2.0,), nan, (nan,)),
    ("log2", (-1.0,), nan, (nan,)), ("log10", (-1.0,), nan, (nan,)), ("log1p", (-2.0,), nan, (nan,)),
    ("arcsin", (1.5,), nan, (nan,)), ("arccos", (-inf,), nan, (nan,)), ("arccosh", (0.5,), nan, (nan,)),
    ("arccosh", (-3.0,), nan, (nan,)), ("arcsin", (1.0,), math.pi / 2, (inf,)), ("arctanh", (1.0,), inf, (inf,)),
    ("log", (0.0,), -inf, (inf,)), ("log", (-0.0,), -inf, (inf,)), ("log1p", (-1.0,), -inf, (inf,)),
    ("reciprocal", (0.0,), inf, (-inf,)), ("reciprocal", (-0.0,), -inf, (-inf,)),
    ("divide", (1.0, 0.0), inf, (inf, -inf)), ("divide", (1.0, -0.0), -inf, (-inf, -inf)),
    ("exp", (-740.0,), 4.2e-322, (4.2e-322,)), ("exp", (710.0,), inf, (inf,)),
    ("expm1", (-40.0,), -1.0, (4.248354255291589e-18,)),
    ("sigmoid", (40.0,), 1.0, (4.248354255291589e-18,)), ("sigmoid", (-740.0,), 4.2e-322, (4.2e-322,)),
    ("softplus", (20.0001,), 20.000100002060947, (0.999999997939051,)), ("log_sigmoid", (-inf,), -inf, (1.0,)),
    ("tanh", (20.0,), 1.0, (1.6993417021166355e-17,)),
    ("silu", (-inf,), 0.0, (0.0,)), ("silu", (inf,), inf, (1.0,)),
    ("gelu", (-inf,), 0.0, (0.0,)), ("gelu", (inf,), inf, (1.0,)),
    ("arcsinh", (1e200,), 461.2101657793691, (1e-200,)), ("arccosh", (1e200,), 461.2101657793691, (1e-200,)),
    ("sin", (1e22,), -0.8522008497671888, (0.5232147853951389,)), ("sin", (inf,), nan, (nan,)),
    ("tan", (-inf,), nan, (nan,)),
    ("gammaln", (0.0,), inf, (nan,)), ("gammaln", (-2.0,), inf, (nan,)), ("digamma", (-1.0,), nan, (nan,)),
    ("erfc", (27.0,), 5.237048923789256e-319, (-2.8300475e-317,)),
    ("power", (0.0, 0.0), 1.0, (0.0, 0.0)), ("power", (nan, 0.0), 1.0, (0.0, None)),
    ("power", (0.0, -1.0), inf, (-inf, -inf)), ("power", (0.0, 0.5), 0.0, (inf, 0.0)),
    ("power", (-2.0, 2.0), 4.0, (-4.0, nan)), ("power", (0.0, 2.0), 0.0, (0.0, 0.0)),
    ("power", (1e200, 2.0), inf, (2e200, inf)),
    ("multiply", (0.0, inf), nan, (inf, 0.0)), ("divide", (0.0, 0.0), nan, (nan, nan)),
    ("arctan2", (0.0, 0.0), 0.0, (nan, nan)), ("arctan2", (1e200, 1e200), math.pi / 4, (5e-201, -5e-201)),
    ("arctan2", (1e-200, 1e-200), math.pi / 4, (5e199, -5e199)),
    ("hypot", (0.0, 0.0), 0.0, (0.0, 0.0)),
    ("hypot", (1e200, 1e200), 1.4142135623730951e200, (0.7071067811865475,) * 2),
    ("hypot", (1e-200, 1e-200), 1.4142135623730951e-200, (0.7071067811865475,) * 2),
    ("logsumexp", (-inf, -inf), -inf, (0.0, 0.0)), ("logsumexp", (inf, 0.0), inf, (1.0, 0.0)),
    ("logsumexp", (inf, inf), inf, (0.5, 0.5)), ("logsumexp", (inf, inf, 1.0), inf, (0.5, 0.5, 0.0)),
    ("logsumexp", (1000.0, 1000.0), 1000.6931471805599, (0.5, 0.5)), ("logsumexp", (3.0,), 3.0, (1.0,)),
    ("logsumexp", (nan, 1.0), nan, (nan, nan)), ("logsumexp", (-inf, 2.0), 2.0, (0.0, 1.0)),
    ("logaddexp", (inf, inf), inf, (0.5, 0.5)), ("logaddexp", (-inf, -inf), -inf, (0.0, 0.0)),
    ("logaddexp", (inf, 1.0), inf, (1.0, 0.0)), ("logaddexp", (-inf, 1.0), 1.0, (0.0, 1.0)),
    ("where", (0.0, -inf, 7.0), 7.0, (0.0, 0.0, 1.0)), ("where", (1.0, 7.0, nan), 7.0, (0.0, 1.0, 0.0)),
    ("prod", (0.0, 2.0, 3.0), 0.0, (6.0, 0.0, 0.0)), ("prod", (0.0, 0.0, 3.0), 0.0, (0.0, 0.0, 0.0)),
    ("max", (1.0, 3.0, 3.0), 3.0, (0.0, 0.5, 0.5)), ("min", (1.0, 1.0, 3.0), 1.0, (0.5, 0.5, 0.0)),
    ("max", (1.0, nan), nan, (nan, nan)), ("sum", (), 0.0, ()),
    ("prod", (), 1.0, ()), ("mean", (1.0, 3.0), 2.0, (0.5, 0.5)),
    ("dot", (1.0, 2.0, 3.0, 4.0), 11.0, (3.0, 4.0, 1.0, 2.0)), ("dot", (), 0.0, ()),
    ("remainder", (5.0, -3.0), -1.0, (1.0, 2.0)), ("remainder", (-5.0, 3.0), 1.0, (1.0, 2.0)),
    ("floor_divide", (5.0, -3.0), -2.0, (0.0, 0.0)), ("floor_divide", (1.0, 0.1), 9.0, (0.0, 0.0)),
    ("floor_divide", (1.0, -0.0), -inf, (0.0, 0.0)), ("floor_divide", (0.0, 0.0), nan, (nan, nan)),
    ("floor_divide", (inf, 1.0), nan, (nan, nan)), ("floor_divide", (-5.0, inf), -1.0, (0.0, 0.0)),
    ("remainder", (1.0, 0.0), nan, (nan, nan)), ("round", (2.5,), 2.0, (0.0,)), ("round", (-0.4,), -0.0, (0.0,)),
    ("strong_multiply", (0.0, inf), 0.0, (inf, 0.0)), ("strong_multiply", (2.0, inf), inf, (inf, 2.0)),
    ("elu", (0.0, 1.0), 0.0, (1.0, 0.0)), ("elu", (-inf, 2.0), -2.0, (0.0, -1.0)),
    ("cbrt", (-8.0,), -2.0, (1.0 / 12.0,)),
    ("cbrt", (0.0,), 0.0, (inf,)), ("fma", (1e308, 10.0, -inf), -inf, (10.0, 1e308, 1.0)),
    ("floor", (-0.5,), -1.0, (0.0,)), ("ceil", (-0.5,), -0.0, (0.0,)), ("trunc", (inf,), inf, (0.0,)),
]

# Roots, kinks, poles, branch points and ends of ranges, near which points lie closely.
NEAR = [0.0, 1.0, -1.0, 0.5, 2.0, 1.4616321449683623, -0.504083008264455409, -1.2784645427610737, -0.7517915, 709.78,
        -745.13, -708.4, 26.54, 27.2, -38.4, -37.5, 36.7, 1024.0, -1074.0, 0.25, -0.25, 16.0, 15.5, -15.0, 4.5, -2.5,
        -2.4570247382208006, -3.0, -10.0, math.pi, math.pi / 2, 355.0, 710.5, 745.0, 354.9, 372.5]
# fmt: on


def ulps(given: float, truth: Any, summand: Any = 0) -> float:
    """Return the error of a double in units in the last place of the truth (or of its largest summand)."""
    if mpmath.isnan(truth) or given != given:
        return 0.0 if mpmath.isnan(truth) and given != given else inf
    largest = mpf(2) ** 1024 - mpf(2) ** 970  # rounds to infinity from here on
    if math.isinf(given) or mpmath.isinf(truth) or abs(truth) >= largest:
        return 0.0 if math.isinf(given) and abs(truth) >= largest * (1 - mpf(2) ** -51) and given * truth > 0 else inf
    size = max(abs(truth), abs(summand))
    unit = mp.ldexp(1, max(int(mp.frexp(size)[1]) - 53, -1074) if size else -1074)
    return float(abs(mpf(given) - truth) / unit)


def points(intervals: tuple[tuple[float, float], ...], count: int, seed: int) -> Iterator[tuple[float, ...]]:
    """Yield points of a domain: over the whole exponent range, moderate ones, and close to the points in NEAR."""
    generator = random.Random(seed)

    def coordinate(low: float, high: float) -> float:
        while True:
            kind = generator.random()
            if kind < 0.3:
                x = math.ldexp(generator.uniform(1.0, 2.0), generator.randint(-1074, 1023))
            elif kind < 0.7:
                x = 10.0 ** generator.uniform(-3.0, 3.0)
            elif kind < 0.8:
                x = generator.uniform(0.0, 1.0)
            else:
                offset = 10.0 ** generator.uniform(-17.0, -1.0) * generator.choice([-1.0, 1.0])
                x = generator.choice(NEAR) * (1.0 + offset) if kind < 0.95 else generator.choice(NEAR) + offset
            x *= generator.choice([-1.0, 1.0])
            if low <= x <= high and math.isfinite(x):
                return x

    for _ in range(count):
        yield tuple(coordinate(low, high) for low, high in intervals)


def places(name: str, count: int, seed: int = 1) -> Iterator[tuple[float, ...]]:
    """Yield points of a domain without the poles; of two operands, some on one scale, and all kinds of powers."""
    generator = random.Random(seed)
    for point in points(gates.table[name].domain, count, seed):
        if name in ("gammaln", "digamma", "polygamma") and point[-1] <= 0.0 and point[-1] == math.floor(point[-1]):
            continue
        if name == "polygamma":
            if -50.0 < point[1] < 1e10:
                yield float(generator.randint(0, 5)), point[1]
        elif 0.0 not in point:
            yield point
            if len(point) == 2 and generator.random() < 0.5:
                second = point[0] * 10.0 ** generator.uniform(-3.0, 3.0)
                if math.isfinite(second) and second != 0.0:
                    yield point[0], second * (1.0 if name == "power" else generator.choice([-1.0, 1.0]))
            if name == "power":
                yield math.exp(generator.uniform(-700.0, 700.0)), generator.uniform(-3.0, 3.0)
                yield generator.uniform(0.5, 2.0), 10.0 ** generator.uniform(0.0, 4.0) * generator.choice([-1.0, 1.0])
                yield -point[0], float(generator.randint(-9, 9))


def same(given: float, expected: float, relative: float = 2e-15) -> bool:
    """Return whether two floats agree: NaN with NaN, infinities and signs of zero exactly, subnormals to a unit."""
    if expected != expected or math.isinf(expected) or given != given or math.isinf(given):
        return given == expected or (given != given and expected != expected)
    return abs(given - expected) <= max(relative * abs(expected), 1e-323)
