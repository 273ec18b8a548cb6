"""THE table: one row per gate, and how a gate is applied.

A row knows the gate's value on plain floats and its partials as compositions of other rows, so the same line serves as
the definition, as the reference's arithmetic, and, recorded on a tape, as the derivative of a derivative.

The partials hold at kinks and ties, at 0 and in the tails, and so do theirs: ``tanh`` has ``square(sech(x))``, where
``1 - square(tanh(x))`` has no digits left beyond 19. Where no derivative exists they follow one policy: the
subgradient of least norm if the gate is locally convex there (supergradient if concave), else the limit, infinity
included; outside of the domain value and derivative are NaN. They never branch on a handle: choices are `choose`.
"""

# Rows refer to rows that come later, each within a lambda:
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from itertools import accumulate
from numbers import Real
from typing import Any

import numpy as np

from fastprop import _values as values

SEQUENCE = -1  # the arity of a gate that takes one sequence (dot: two) of any length

inf, nan, pi = math.inf, math.nan, math.pi

ANY, POSITIVE, UNIT = (-inf, inf), (0.0, inf), (-1.0, 1.0)  # domains


# How a gate is applied -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Row:
    """One gate: a row of the table, callable on numbers and on the handles of either engine."""

    name: str
    arity: int
    value: Callable[..., float]
    partials: Any  # one callable (or None: a constant operand) per operand; n-ary: one callable that gives a list
    domain: tuple[tuple[float, float], ...] = (ANY,)  # one closed interval per operand
    at: tuple[Any, ...] = ()  # test points of the row's own: kinks, ties, branch points, tails
    strong: bool = False  # an operand whose partial is exactly 0 was not chosen, to any order (maximum, relu, where …)
    defaults: tuple[float, ...] = ()  # of the last operands
    names: tuple[str, ...] = ()  # of the operands that may be given by keyword
    doc: str = ""  # one sentence, for the function's docstring and the table in the docs

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """Apply the gate to numbers, arrays, or the handles of an engine."""
        if len(operands) == self.arity and not options:
            for operand in operands:
                if type(operand) is not float:
                    break
            else:
                return self.value(*operands)
        return apply(self, *self.bind(operands, options))

    def __repr__(self) -> str:
        return f"<gate {self.name}>"

    def __reduce__(self) -> str:
        return self.name  # a row is pickled and copied as the global that it is

    def bind(self, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Complete a call: all operands, keywords and defaults filled in, and the options that are left."""
        if self.arity == SEQUENCE:
            return _bind_sequence(self, operands, options)
        given = list(operands)
        missing = self.arity - len(self.defaults)  # operands that have no default
        for position in range(len(given), self.arity):
            name = self.names[position] if self.names else None
            if name in options:
                given.append(options[name])
            elif position >= missing:
                given.append(self.defaults[position - missing])
            else:
                break
        unknown = [name for name in options if name not in self.names[len(operands) :]]
        if unknown:
            raise TypeError(f"{self.name}() got an unexpected or repeated keyword {unknown[0]!r}")
        if len(given) != self.arity:
            raise TypeError(f"{self.name}() takes {self.arity} operand{'s' * (self.arity > 1)}, got {len(operands)}")
        for position, default in enumerate(self.defaults, missing):
            if given[position] is None and math.isinf(default):  # a bound of clip that is not there
                given[position] = default
        if self.partials[0] is None and hasattr(type(given[0]), "__fastprop_gate__") and not is_condition(given[0]):
            raise TypeError(f"{self.name}: operand 0 is a handle; expected a plain number there, as .value is")
        return tuple(given), {}

    def evaluate(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return the value on plain numbers or on arrays of them."""
        if self.arity == SEQUENCE:
            return _evaluate_sequence(self, operands, options)
        return _evaluate_elementwise(self, operands)


class Gate:
    """A gate of the user's own.

    A subclass gives `forward` and `backward`; options go to its ``__init__``, and an instance is called on operands:

    >>> class Cube(Gate):
    ...     def forward(self, x):
    ...         return x * x * x
    ...     def backward(self, pull, x):
    ...         return pull * 3.0 * x * x
    >>> Cube()(2.0)
    8.0

    A circuit calls it back: at one point with floats (or arrays, where operands are Arrays), in lanes one by one, in
    order. If the class says ``vectorised = True``, it is called once for many lanes, with arrays whose first axis are
    the lanes (constants stay as they are), and gives such arrays.
    """

    vectorised = False

    @property
    def name(self) -> str:
        """The gate's name in messages and summaries: that of its class."""
        return type(self).__name__

    def __call__(self, *operands: Any) -> Any:
        """Apply the gate to numbers, arrays, or the handles of an engine."""
        return apply(self, operands, {})

    def forward(self, *values: Any) -> Any:
        """Return the gate's value, from its operands' values (floats or arrays)."""
        raise NotImplementedError(f"{self.name} has no forward(self, *values)")

    def backward(self, pull: Any, *values: Any) -> Any:
        """Return the pull on the operand, or a tuple with one per operand, from the pull on the gate's result."""
        raise NotImplementedError(f"{self.name} has no backward(self, pull, *values)")

    def evaluate(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return forward's value on plain numbers or on arrays of them."""
        numbers = [number(self, position, x, arrays=True) for position, x in enumerate(operands)]
        return self.forward(*numbers, **options)


def apply(gate: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Apply a gate: recorded by the engine whose handles are among the operands, else on plain numbers."""
    for operand in operands:
        record = recorder_of(operand)
        if record is not None:
            return record(gate, operands, options)
    return gate.evaluate(operands, options)


def recorder_of(operand: Any) -> Any:
    """Return the recording function of the engine that a handle belongs to, also in nested lists; else None."""
    waiting = [operand]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif hasattr(type(item), "__fastprop_gate__"):
            return type(item).__fastprop_gate__
    return None


def is_condition(x: Any) -> bool:
    """Say whether `x` is what comparing traced values gives."""
    return getattr(type(x), "__fastprop_condition__", False)


def as_real(x: Any) -> float | None:
    """Return a real number as `float()` rounds it; None for a bool, a string, and whatever else is none."""
    if type(x) is float:
        return x
    if isinstance(x, bool):
        return None
    if isinstance(x, (Real, Decimal)):
        return float(x)
    if isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "iuf":
        return float(x)
    return None


def as_reals(x: Any, what: str) -> np.ndarray:
    """Return an array, or nested lists, of real numbers as an array; NumPy alone would count True in a list as 1."""
    reals: list[float] = []
    array = np.asarray(x)
    waiting = [x] if isinstance(x, (list, tuple)) else list(array.flat)[::-1] if array.dtype.kind == "O" else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif isinstance(item, np.ndarray) and item.dtype.kind in "iuf":
            reals.extend(item.flat)
        else:
            real = as_real(item)
            if real is None:
                kind = type(item).__name__
                raise TypeError(f"{what}, element {len(reals)}, is {item!r:.60} ({kind}); expected a real number")
            reals.append(real)
    if array.dtype.kind == "O":
        array = np.array(reals).reshape(array.shape)
    if array.dtype.kind not in "iuf" and array.size > 0:
        raise TypeError(f"{what} has dtype {array.dtype}; expected real numbers")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def number(gate: Any, position: int, operand: Any, arrays: bool = False, condition: bool = False) -> Any:
    """Return an operand as a float (or, with ``arrays``, an array of floats), or raise a TypeError that says which."""
    real = as_real(operand)
    if real is not None:
        return real
    if condition and (isinstance(operand, (bool, np.bool_)) or getattr(operand, "dtype", None) in (np.dtype(bool),)):
        return float(operand) if np.ndim(operand) == 0 else np.asarray(operand, np.float64)
    if arrays and isinstance(operand, (np.ndarray, list, tuple)) and np.ndim(operand) > 0:
        return as_reals(operand, f"{gate.name}: operand {position}")
    kind = f"{operand.dtype} array" if isinstance(operand, np.ndarray) else type(operand).__name__
    raise TypeError(
        f"{gate.name}: operand {position} is {operand!r:.60} ({kind}), expected a real number; "
        "convert it with float() if it stands for one"
    )


def choose(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, else y: `where`, which a plain bool decides without recording a gate."""
    return branch(condition, lambda: x, lambda: y)


def branch(condition: Any, x: Callable[[], Any], y: Callable[[], Any]) -> Any:
    """Return `choose` of what two functions give; a plain bool calls one of them alone."""
    if isinstance(condition, (bool, np.bool_)):
        return x() if condition else y()
    return where(condition, x(), y())


def flag(condition: Any) -> Any:
    """Return 1 where the condition holds, else 0."""
    return condition.unit if is_condition(condition) else choose(condition, 1.0, 0.0)


def held(x: Any) -> Any:
    """Return a result, or a number, as a constant, through which nothing is pulled."""
    tape: Any = getattr(x, "_tape", None)
    return tape.constant(x) if hasattr(tape, "constant") else getattr(x, "value", x)


def _evaluate_elementwise(row: Row, operands: tuple[Any, ...]) -> Any:
    """Return the row's value on numbers, or on arrays in NumPy's broadcasting and dtypes (integers as float64)."""
    numbers = [
        number(row, position, operand, arrays=True, condition=row.name == "where" and position == 0)
        for position, operand in enumerate(operands)
    ]
    if all(type(x) is float for x in numbers):
        return row.value(*numbers)
    dtype = result_dtype(row, numbers)
    with np.errstate(all="ignore"):  # NaN and infinity propagate, without a warning, as they do for scalars
        if row.name in _UFUNCS:
            return _UFUNCS[row.name](*[np.asarray(x, dtype) for x in numbers])
        return np.frompyfunc(row.value, row.arity, 1)(*[np.asarray(x, np.float64) for x in numbers]).astype(dtype)


def result_dtype(row: Row, numbers: Sequence[Any]) -> np.dtype[Any]:
    """Return the dtype of a row's result on floats and arrays: floats are weak, and a condition has no say."""
    dtypes = [x.dtype for x in numbers[row.partials[0] is None :] if isinstance(x, np.ndarray)]
    return np.result_type(*dtypes) if dtypes else np.dtype(np.float64)


def _bind_sequence(row: Row, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    expected = 2 if row.name == "dot" else 1
    if expected == 1 and 1 < len(operands) <= 3 and len(getattr(operands[0], "shape", ())) > 0:  # as NumPy's: a, axis
        operands, options = operands[:1], {**dict(zip(("axis", "keepdims"), operands[1:])), **options}
    if len(operands) != expected:
        hint = f"; {row.name}imum takes two numbers" if row.name in ("max", "min") else ""
        raise TypeError(
            f"{row.name}() takes {'two sequences' if expected == 2 else 'one sequence'}, "
            f"got {len(operands)} operand{'s' * (len(operands) != 1)}{hint}"
        )
    for name in options:
        if name not in ("axis", "keepdims") or expected == 2:
            raise TypeError(f"{row.name}() got an unexpected keyword {name!r}")
    return operands, options


def _evaluate_sequence(row: Row, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return an n-ary row's value on one sequence (dot: two) of numbers, or along axes of an array."""
    plain = not options and all(type(operand) in (list, tuple) for operand in operands)
    if plain and not any(isinstance(x, (list, tuple, np.ndarray)) for operand in operands for x in operand):
        if len({len(operand) for operand in operands}) > 1:
            raise ValueError(f"dot: the sequences have lengths {len(operands[0])} and {len(operands[1])}")
        return row.value(*[number(row, k, x) for operand in operands for k, x in enumerate(operand)])
    arrays = [np.asarray(number(row, position, x, arrays=True)) for position, x in enumerate(operands)]
    with np.errstate(all="ignore"):
        result = _REDUCTIONS[row.name](*arrays, **options)
    return float(result) if type(result) is np.float64 else result


def _logsumexp_array(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> Any:
    top = np.max(x, axis=axis, keepdims=True, initial=-inf)
    finite = np.where(np.isfinite(top), top, 0.0).astype(x.dtype)
    result = finite + np.log(np.sum(np.exp(x - finite), axis=axis, keepdims=True))
    return result if keepdims else np.squeeze(result, axis)[()]


# Partials that need more than a line ----------------------------------------------------------------------------------


def _within(condition: Any, partial: Any, x: Any) -> Any:
    """Return the partial where the condition holds, else a NaN whose derivatives in x are NaN, to any order."""
    return branch(condition, lambda: partial, lambda: divide(nan, x))


def _flat(x: Any) -> Any:
    """Return the derivative of a step: 0, or NaN at NaN."""
    return _within(x == x, 0.0, x)


def _power_base(x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)) and y == 0.0:
        return 0.0  # so that the derivatives of x**2 come to an end
    less = y - 1.0
    slope = power(x, less)
    if type(y) is not float or y.is_integer() != less.is_integer() or absolute(y) > 2.0**53:
        exact = (less + 1.0 == y) & (less != y) | (absolute(y) == inf)  # else less may be an integer, or even
        slope = choose(exact | (x >= 0.0) | (x == -inf), slope, divide(power(x, y), x))
    return strong_multiply(y, slope)  # x**0 has derivative 0 at 0 and at NaN too


def _power_exponent(x: Any, y: Any) -> Any:
    return choose((x == 0.0) & (y == 0.0), 0.0, _within(x >= 0.0, strong_multiply(power(x, y), log(x)), x))


def _divide_partial(x: Any, y: Any) -> Any:
    """Return 1 / y, but NaN where x / y is 0 / 0."""
    usual = y != 0.0
    if not is_condition(usual) and np.all(usual):
        return reciprocal(y)
    value = divide(x, y)
    return divide(flag(usual | (value == value)), y)


def _over(x: float, y: Any) -> Any:
    """Return x / y, the slope of a logarithm: +inf at -0 too, and NaN outside of the domain."""
    return divide(choose(y >= 0.0, x, nan), y + 0.0)


def _bell(height: float, rate: float, x: Any) -> Any:
    return height * exp(-rate * square(x))


def _clip_partials(x: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
    """Return what x, low and high get of the gradient: 1 for the one chosen (x at a bound), NaN at NaN."""
    none = _flat(x) + _flat(low) + _flat(high)
    below = choose(low > high, none, choose(x < low, 1.0 + none, none))
    above = choose((low > high) | (x > high), 1.0 + none, none)
    return choose((x >= low) & (x <= high), 1.0, none), below, above


def _leaky_relu_partial(x: Any, slope: Any) -> Any:
    at_zero = clip(slope, 0.0, 1.0)  # least norm
    return choose(x > 0.0, 1.0, choose(x < 0.0, slope, _within(x == 0.0, at_zero, x)))


def _logaddexp_partial(x: Any, y: Any) -> Any:
    equal = (x == y) & ((x == inf) | (x == -inf))
    return choose(equal, choose(x == inf, 0.5, 0.0), sigmoid(x - y))


def _hypot_partial(x: Any, y: Any) -> Any:
    h = hypot(x, y)
    one_infinite = choose(absolute(y) < inf, sign(x), nan)
    overflown = choose(absolute(x) == inf, one_infinite, divide(0.25 * x, hypot(0.25 * x, 0.25 * y)))
    tiny = divide(2.0**600 * x, hypot(2.0**600 * x, 2.0**600 * y))  # where h is rounded as a subnormal
    return choose(h == 0.0, 0.0, choose(h == inf, overflown, choose(h < 1e-290, tiny, divide(x, h))))


def _angle_partial(x: Any, y: Any) -> Any:
    h = hypot(x, y)
    return choose(h == inf, _flat(x) + _flat(y), divide(divide(x, h), h))  # x / h**2


def _arcsin_partial(x: Any) -> Any:
    return reciprocal(sqrt(fma(-x, x, 1.0)))  # 1 - x*x rounded once: right near 1, and its derivative at 0


def _remainder_divisor(x: Any, y: Any) -> Any:
    rest = remainder(x, y)
    usual = -round(divide(x - rest, y))  # floor(x / y), also where x / y rounds up to an integer
    return choose((absolute(y) == inf) & (rest == rest), choose(rest == y, 1.0, 0.0), usual)


def _larger(x: Any, y: Any) -> Any:
    """Return 1 if x is the larger, 1/2 at a tie, 0 if it is the smaller, NaN at NaN."""
    return branch(x > y, lambda: 1.0, lambda: branch(x == y, lambda: 0.5, lambda: _flat(maximum(x, y))))


def _shares(operands: Sequence[Any], value: Any) -> list[Any]:
    """Return for each operand that is the value 1 over their number, 0 for the others."""
    chosen = [flag(x == value) for x in operands]
    ties = reduce(add, chosen, _flat(value))
    return [divide(x, ties) for x in chosen]


def _prod_partials(x: Sequence[Any]) -> list[Any]:
    """Return the products of the others: no division, so right at zeros, to any order."""
    after = list(accumulate(x[:0:-1], strong_multiply, initial=1.0))[::-1]
    return [strong_multiply(*both) for _, *both in zip(x, accumulate(x[:-1], multiply, initial=1.0), after)]


def _logsumexp_partials(x: Sequence[Any]) -> list[Any]:
    """Return the softmax, as the sigmoids of what operands are above the others: right in the tails, to any order."""
    if len(x) == 2:
        return [_logaddexp_partial(*x), _logaddexp_partial(*x[::-1])]
    top = max(x) if x else 0.0
    above = [choose(d == d, d, 0.0) for d in map(subtract, x, [held(top)] * len(x))]  # NaN: both are infinite
    powers = [exp(d) for d in above]
    ordered = branch(top > -inf, lambda: 0.0, lambda: -top)  # else infinity, for all are -inf, or NaN
    after = list(accumulate(powers[:0:-1], add, initial=0.0))[::-1]
    others = map(add, accumulate(powers[:-1], add, initial=ordered), after)
    return [sigmoid(d - log(rest)) for d, rest in zip(above, others)]


def _silu_partial(x: Any) -> Any:
    half = exp(0.5 * x)  # twice: sigmoid(x) may be subnormal, and its error would grow by x
    tail = strong_multiply(strong_multiply(1.0 + x, half), half)
    return choose(x < -600.0, tail, sigmoid(x) + strong_multiply(sigmoid(x) * sigmoid(-x), x))


# The table ------------------------------------------------------------------------------------------------------------

table: dict[str, Row] = {}

_LN2, _ROOT_LN2 = math.log(2.0), math.sqrt(math.log(2.0))
_STEPS = (0.0, -0.0, 0.5, -0.5, 2.5, nan)
_TIES = ((1.0, 1.0), (0.0, -0.0), (nan, 1.0), (1.0, nan))


def _row(name: str, doc: str, value: Callable[..., float], *partials: Any, domain: Any = ANY, **rest: Any) -> Row:
    domains = domain if isinstance(domain[0], tuple) else (domain,) * len(partials)
    table[name] = Row(name, len(partials), value, partials, domains, doc=doc, **rest)
    return table[name]


def _nary(name: str, doc: str, value: Callable[..., float], partial: Any, **rest: Any) -> Row:
    table[name] = Row(name, SEQUENCE, value, partial, doc=doc, **rest)
    return table[name]


# Aligned, to be read down the columns.
# fmt: off
# Arithmetic
add        = _row("add",        "``x + y``.", lambda x, y: x + y, lambda x, y: 1.0, lambda x, y: 1.0)
subtract   = _row("subtract",   "``x - y``.", lambda x, y: x - y, lambda x, y: 1.0, lambda x, y: -1.0)
multiply   = _row("multiply",   "``x * y``.", lambda x, y: x * y, lambda x, y: y,   lambda x, y: x)
divide     = _row("divide",     "``x / y``.", values.divide,
                  _divide_partial, lambda x, y: -divide(divide(x, y), y),
                  at=((1.0, 0.0), (1.0, -0.0), (0.0, 0.0), (3.0, 2.0)))
negative   = _row("negative",   "``-x``.",    lambda x: -x,       lambda x: -1.0)
positive   = _row("positive",   "``+x``.",    lambda x: x,        lambda x: 1.0)
power      = _row("power",      "``x**y`` as C's pow: ``0**0`` is 1.", values.power, _power_base, _power_exponent,
                  domain=(POSITIVE, ANY), at=((0.0, 0.0), (0.0, -1.0), (0.0, 0.5), (0.0, 2.0), (-2.0, 2.0)))
reciprocal = _row("reciprocal", "``1 / x``.", values.reciprocal,  lambda x: -square(reciprocal(x)), at=(0.0, -0.0))
square     = _row("square",     "``x * x``.", lambda x: x * x,    lambda x: 2.0 * x)
sqrt       = _row("sqrt",       "The square root.", values.sqrt,
                  lambda x: divide(0.5, sqrt(x) + 0.0),  # +inf at -0 too
                  domain=POSITIVE, at=(0.0, -0.0, 5e-324, -1.0))
cbrt       = _row("cbrt",       "The cube root.", math.cbrt, lambda x: divide(1.0, 3.0 * square(cbrt(x))), at=(0.0,))
fma        = _row("fma",        "``x * y + z``, rounded once.", values.fma, lambda x, y, z: y, lambda x, y, z: x,
                  lambda x, y, z: 1.0)
hypot      = _row("hypot",      "``sqrt(x*x + y*y)`` without overflow.", math.hypot, _hypot_partial,
                  lambda x, y: _hypot_partial(y, x), at=((0.0, 0.0), (1e200, 1e200), (1e-200, 1e-200)))
remainder  = _row("remainder",  "``x - floor(x / y) * y``: it has y's sign.", values.remainder,
                  lambda x, y: 1.0 + _flat(remainder(x, y)), _remainder_divisor,
                  at=((5.0, 3.0), (-5.0, 3.0), (5.0, -3.0), (1.0, 0.0)))

# Choices and steps
absolute   = _row("absolute", "The magnitude; derivative 0 at 0.", abs,   lambda x: sign(x), at=_STEPS, strong=True)
sign       = _row("sign",     "-1, 0 or 1.",                       values.sign,  _flat, at=_STEPS, strong=True)
floor      = _row("floor",    "The integer below.",                values.floor, _flat, at=_STEPS, strong=True)
ceil       = _row("ceil",     "The integer above.",                values.ceil,  _flat, at=_STEPS, strong=True)
round      = _row("round",    "The nearest integer, the even one of two.", values.round, _flat, at=_STEPS, strong=True)
trunc      = _row("trunc",    "The nearest integer towards 0.",    values.trunc, _flat, at=_STEPS, strong=True)
maximum    = _row("maximum",  "The larger; a tie shares the gradient.",  values.maximum, _larger,
                  lambda x, y: _larger(y, x), at=_TIES, strong=True)
minimum    = _row("minimum",  "The smaller; a tie shares the gradient.", values.minimum, lambda x, y: _larger(-x, -y),
                  lambda x, y: _larger(-y, -x), at=_TIES, strong=True)
clip       = _row("clip",     "``minimum(maximum(x, min), max)``; None is no bound.", values.clip,
                  lambda x, low, high: _clip_partials(x, low, high)[0],
                  lambda x, low, high: _clip_partials(x, low, high)[1],
                  lambda x, low, high: _clip_partials(x, low, high)[2],
                  at=((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (2.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (0.5, 1.0, 0.0),
                      (nan, 0.0, 1.0)), strong=True, defaults=(-inf, inf), names=("x", "min", "max"))
where      = _row("where",    "x where the condition holds, else y.", values.where,
                  None, lambda condition, x, y: choose(condition != 0.0, 1.0, 0.0),
                  lambda condition, x, y: choose(condition != 0.0, 0.0, 1.0),
                  at=((1.0, 2.0, nan), (0.0, inf, 2.0)), strong=True, names=("condition", "x", "y"))

# Exponentials and logarithms
exp        = _row("exp",      "``e**x``.",              values.exp,   lambda x: exp(x), at=(-740.0, 710.0))
exp2       = _row("exp2",     "``2**x``.",              values.exp2,  lambda x: square(_ROOT_LN2 * exp2(0.5 * x)),
                  at=(-1070.0, 1024.0))
expm1      = _row("expm1",    "``exp(x) - 1``.",        values.expm1, lambda x: exp(x), at=(-40.0, 1e-20))
log        = _row("log",      "The natural logarithm.", values.log,   lambda x: _over(1.0, x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log2       = _row("log2",     "The logarithm to base 2.",  values.log2,  lambda x: _over(1.0 / _LN2, x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log10      = _row("log10",    "The logarithm to base 10.", values.log10, lambda x: _over(1.0 / math.log(10.0), x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log1p      = _row("log1p",    "``log(1 + x)``.",        values.log1p, lambda x: _over(1.0, 1.0 + x),
                  domain=(-1.0, inf), at=(-1.0, -2.0, 1e-20))
logaddexp  = _row("logaddexp", "``log(exp(x) + exp(y))``.", values.logaddexp, _logaddexp_partial,
                  lambda x, y: _logaddexp_partial(y, x), at=((inf, inf), (-inf, -inf), (1000.0, 1000.0), (1.0, -40.0)))

# Circular and hyperbolic functions
sin        = _row("sin",      "The sine.",              values.sin,   lambda x: cos(x), at=(1e22, inf))
cos        = _row("cos",      "The cosine.",            values.cos,   lambda x: -sin(x), at=(1e22, inf))
tan        = _row("tan",      "The tangent.",           values.tan,   lambda x: reciprocal(square(cos(x))), at=(1e22,))
sech       = _row("sech",     "``1 / cosh(x)``.",       values.sech,  lambda x: -sech(x) * tanh(x), at=(720.0, -inf))
arcsin     = _row("arcsin",   "The inverse sine.",      values.arcsin, _arcsin_partial, domain=UNIT,
                  at=(1.0, -1.0, 2.0))
arccos     = _row("arccos",   "The inverse cosine.",    values.arccos, lambda x: -_arcsin_partial(x), domain=UNIT,
                  at=(1.0, -1.0, 2.0))
arctan     = _row("arctan",   "The inverse tangent.",   math.atan,    lambda x: square(reciprocal(hypot(1.0, x))),
                  at=(1e155, inf))
arctan2    = _row("arctan2",  "The angle of the point (x, y); y comes first.", math.atan2,
                  lambda y, x: _angle_partial(x, y), lambda y, x: -_angle_partial(y, x),
                  at=((0.0, 0.0), (1e200, 1e200), (1e-200, 1e-200), (0.0, -1.0)), names=("y", "x"))
sinh       = _row("sinh",     "The hyperbolic sine.",    values.sinh, lambda x: cosh(x), at=(711.0,))
cosh       = _row("cosh",     "The hyperbolic cosine.",  values.cosh, lambda x: sinh(x), at=(711.0,))
tanh       = _row("tanh",     "The hyperbolic tangent.", math.tanh,   lambda x: square(sech(x)), at=(20.0, 400.0))
arcsinh    = _row("arcsinh",  "The inverse hyperbolic sine.",   math.asinh,     lambda x: reciprocal(hypot(1.0, x)),
                  at=(1e200,))
arccosh    = _row("arccosh",  "The inverse hyperbolic cosine.", values.arccosh,
                  lambda x: reciprocal(sqrt(x - 1.0) * sqrt(x + 1.0)),
                  domain=(1.0, inf), at=(1.0, 1e200, 0.5, -2.0))
arctanh    = _row("arctanh",  "The inverse hyperbolic tangent.", values.arctanh, lambda x: _over(1.0, fma(-x, x, 1.0)),
                  domain=UNIT, at=(1.0, -1.0, 2.0))

# Special functions
erf        = _row("erf",      "The error function.",     math.erf,   lambda x: _bell(values.ERF_SLOPE, 1.0, x),
                  at=(27.0,))
erfc       = _row("erfc",     "``1 - erf(x)``.",         math.erfc,  lambda x: -_bell(values.ERF_SLOPE, 1.0, x),
                  at=(27.0,))
ndtr       = _row("ndtr",     "The normal distribution function.", values.ndtr,
                  lambda x: _bell(values.NDTR_SLOPE, 0.5, x), at=(-38.0, -inf))
gammaln    = _row("gammaln",  "The logarithm of the gamma function's magnitude.", values.gammaln,
                  lambda x: _within(x != 0.0, digamma(x), x), at=(0.0, -1.0, 1.0, 2.0, -2.5))
digamma    = _row("digamma",  "The derivative of gammaln.", values.digamma, lambda x: polygamma(1.0, x),
                  at=(-1.0, 1.4616321449683623))
polygamma  = _row("polygamma", "The n-th derivative of digamma; n is a plain number.", values.polygamma, None,
                  lambda n, x: polygamma(n + 1.0, x), at=((1.0, 1.0), (1.0, -0.5), (2.0, 3.0), (3.0, -1.25)),
                  names=("n", "x"))

# Activations
sigmoid     = _row("sigmoid",     "``1 / (1 + exp(-x))``.", values.sigmoid,     lambda x: sigmoid(x) * sigmoid(-x),
                   at=(40.0, -740.0))
log_sigmoid = _row("log_sigmoid", "``log(sigmoid(x))``.", values.log_sigmoid, lambda x: sigmoid(-x), at=(-inf, 40.0))
softplus    = _row("softplus",    "``log(1 + exp(x))``.", values.softplus,   lambda x: sigmoid(x), at=(20.0001, 800.0))
silu        = _row("silu",        "``x * sigmoid(x)``.",    values.silu, _silu_partial, at=(-inf, inf, -740.0))
gelu        = _row("gelu",        "``x * ndtr(x)``, the exact form.", values.gelu,
                   lambda x: ndtr(x) + strong_multiply(_bell(values.NDTR_SLOPE, 0.5, x), x), at=(-inf, inf))
relu        = _row("relu",        "``maximum(x, 0)``; its derivative at 0 is 0.", values.relu,
                   lambda x: choose(x > 0.0, 1.0, _flat(x)), at=_STEPS, strong=True)
leaky_relu  = _row("leaky_relu",  "x where it is positive, else ``negative_slope * x``.", values.leaky_relu,
                   _leaky_relu_partial,
                   lambda x, slope: choose(x > 0.0, 0.0, x), at=((0.0, 0.01), (-1.0, 0.01), (nan, 0.01)),
                   defaults=(0.01,), names=("x", "negative_slope"))
elu         = _row("elu",         "x where it is positive, else ``alpha * expm1(x)``.", values.elu,
                   lambda x, alpha: choose(x > 0.0, 1.0, alpha * exp(x)),
                   lambda x, alpha: choose(x > 0.0, 0.0, expm1(x)),
                   at=((0.0, 1.0), (-40.0, 1.0), (nan, 1.0)), defaults=(1.0,), names=("x", "alpha"))

# One sequence of any length (dot: two)
sum         = _nary("sum",       "The sum.",                               values.sum,  lambda x: [1.0] * len(x))
prod        = _nary("prod",      "The product.",                           values.prod, _prod_partials,
                    at=((0.0, 2.0, 3.0), (0.0, 0.0, 3.0), (0.0, 1e200, 1e200, 1e200)))
mean        = _nary("mean",      "The mean.",                              values.mean, lambda x: [1 / len(x)] * len(x))
max         = _nary("max",       "The largest; ties share the gradient.",  values.max,
                    lambda x: _shares(x, max(x)), at=((1.0, 1.0, 0.0), (nan, 1.0)), strong=True)
min         = _nary("min",       "The smallest; ties share the gradient.", values.min,
                    lambda x: _shares(x, min(x)), at=((1.0, 1.0, 2.0), (nan, 1.0)), strong=True)
dot         = _nary("dot",       "The sum of the products of two sequences.", values.dot,
                    lambda x: [*x[len(x) // 2 :], *x[: len(x) // 2]])
logsumexp   = _nary("logsumexp", "``log(sum(exp(x)))``.",                  values.logsumexp, _logsumexp_partials,
                    at=((-inf, -inf), (inf, 0.0), (inf, inf), (1000.0, 1000.0), (1e12, 1e12 + 1.0, 1e12 - 1.0)))

# The chain rule's own product: a factor of exactly 0 makes it exactly 0
strong_multiply = _row("strong_multiply", "``pull * partial``, but 0 if either is 0.", values.strong_multiply,
                       lambda pull, partial: partial, lambda pull, partial: pull,
                       at=((0.0, inf), (0.0, nan), (inf, 0.0), (nan, 0.0)),
                       names=("pull", "partial"))
# fmt: on

_UFUNCS: dict[str, Any] = {name: getattr(np, name) for name in table if isinstance(getattr(np, name, None), np.ufunc)}
_UFUNCS |= {"clip": np.clip, "where": np.where, "round": np.rint, "strong_multiply": values.strong_product}
for _name in ("maximum", "minimum"):  # where NumPy's may give -0 for the larger of 0 and -0
    del _UFUNCS[_name]
_REDUCTIONS: dict[str, Any] = {name: getattr(np, name) for name in ("sum", "prod", "mean", "max", "min", "dot")}
_REDUCTIONS["logsumexp"] = _logsumexp_array
