"""THE table: one row per gate.

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
from collections.abc import Callable
from typing import Any

from fastprop.gates import values
from fastprop.gates.partials import (
    angle_partial,
    arcsin_partial,
    bell,
    choose,
    clip_partials,
    divide_partial,
    flat,
    hypot_partial,
    larger,
    leaky_relu_partial,
    logaddexp_partial,
    logsumexp_partials,
    over,
    power_base,
    power_exponent,
    prod_partials,
    remainder_divisor,
    shares,
    silu_partial,
    within,
)
from fastprop.gates.row import ANY, SEQUENCE, Row

inf, nan = math.inf, math.nan

POSITIVE = (0.0, inf)
UNIT = (-1.0, 1.0)

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
                  divide_partial, lambda x, y: -divide(divide(x, y), y),
                  at=((1.0, 0.0), (1.0, -0.0), (0.0, 0.0), (3.0, 2.0)))
negative   = _row("negative",   "``-x``.",    lambda x: -x,       lambda x: -1.0)
positive   = _row("positive",   "``+x``.",    lambda x: x,        lambda x: 1.0)
power      = _row("power",      "``x**y`` as C's pow: ``0**0`` is 1.", values.power, power_base, power_exponent,
                  domain=(POSITIVE, ANY), at=((0.0, 0.0), (0.0, -1.0), (0.0, 0.5), (0.0, 2.0), (-2.0, 2.0)))
reciprocal = _row("reciprocal", "``1 / x``.", values.reciprocal,  lambda x: -square(reciprocal(x)), at=(0.0, -0.0))
square     = _row("square",     "``x * x``.", lambda x: x * x,    lambda x: 2.0 * x)
sqrt       = _row("sqrt",       "The square root.", values.sqrt,
                  lambda x: divide(0.5, sqrt(x) + 0.0),  # +inf at -0 too
                  domain=POSITIVE, at=(0.0, -0.0, 5e-324, -1.0))
cbrt       = _row("cbrt",       "The cube root.", math.cbrt, lambda x: divide(1.0, 3.0 * square(cbrt(x))), at=(0.0,))
fma        = _row("fma",        "``x * y + z``, rounded once.", values.fma, lambda x, y, z: y, lambda x, y, z: x,
                  lambda x, y, z: 1.0)
hypot      = _row("hypot",      "``sqrt(x*x + y*y)`` without overflow.", math.hypot, hypot_partial,
                  lambda x, y: hypot_partial(y, x), at=((0.0, 0.0), (1e200, 1e200), (1e-200, 1e-200)))
share      = _row("share",      "``x / (x + y)``, and right in the last digits of what is lacking of 1.", values.share,
                  lambda x, y: divide(share(y, x), x + y), lambda x, y: -divide(share(x, y), x + y),
                  domain=POSITIVE, at=((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1e-300), (1e-300, 1.0)))
remainder  = _row("remainder",  "``x - floor(x / y) * y``: it has y's sign.", values.remainder,
                  lambda x, y: 1.0 + flat(remainder(x, y)), remainder_divisor,
                  at=((5.0, 3.0), (-5.0, 3.0), (5.0, -3.0), (1.0, 0.0)))
floor_divide = _row("floor_divide", "``floor(x / y)``; its derivatives are 0.", values.floor_divide,
                    lambda x, y: flat(floor_divide(x, y)), lambda x, y: flat(floor_divide(x, y)),
                    at=((5.0, 3.0), (-5.0, 3.0), (6.0, -3.0), (1.0, 0.0), (0.0, 0.0), (1.0, 0.1)), strong=True)

# Choices and steps
absolute   = _row("absolute", "The magnitude; derivative 0 at 0.", abs,   lambda x: sign(x), at=_STEPS, strong=True)
sign       = _row("sign",     "-1, 0 or 1.",                       values.sign,  flat, at=_STEPS, strong=True)
floor      = _row("floor",    "The integer below.",                values.floor, flat, at=_STEPS, strong=True)
ceil       = _row("ceil",     "The integer above.",                values.ceil,  flat, at=_STEPS, strong=True)
round      = _row("round",    "The nearest integer, the even one of two.", values.round, flat, at=_STEPS, strong=True)
trunc      = _row("trunc",    "The nearest integer towards 0.",    values.trunc, flat, at=_STEPS, strong=True)
maximum    = _row("maximum",  "The larger; a tie shares the gradient.",  values.maximum, larger,
                  lambda x, y: larger(y, x), at=_TIES, strong=True)
minimum    = _row("minimum",  "The smaller; a tie shares the gradient.", values.minimum, lambda x, y: larger(-x, -y),
                  lambda x, y: larger(-y, -x), at=_TIES, strong=True)
clip       = _row("clip",     "``minimum(maximum(x, min), max)``; None is no bound.", values.clip,
                  lambda x, low, high: clip_partials(x, low, high)[0],
                  lambda x, low, high: clip_partials(x, low, high)[1],
                  lambda x, low, high: clip_partials(x, low, high)[2],
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
log        = _row("log",      "The natural logarithm.", values.log,   lambda x: over(1.0, x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log2       = _row("log2",     "The logarithm to base 2.",  values.log2,  lambda x: over(1.0 / _LN2, x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log10      = _row("log10",    "The logarithm to base 10.", values.log10, lambda x: over(1.0 / math.log(10.0), x),
                  domain=POSITIVE, at=(0.0, -0.0, -1.0))
log1p      = _row("log1p",    "``log(1 + x)``.",        values.log1p, lambda x: over(1.0, 1.0 + x),
                  domain=(-1.0, inf), at=(-1.0, -2.0, 1e-20))
logaddexp  = _row("logaddexp", "``log(exp(x) + exp(y))``.", values.logaddexp, logaddexp_partial,
                  lambda x, y: logaddexp_partial(y, x), at=((inf, inf), (-inf, -inf), (1000.0, 1000.0), (1.0, -40.0)))

# Circular and hyperbolic functions
sin        = _row("sin",      "The sine.",              values.sin,   lambda x: cos(x), at=(1e22, inf))
cos        = _row("cos",      "The cosine.",            values.cos,   lambda x: -sin(x), at=(1e22, inf))
tan        = _row("tan",      "The tangent.",           values.tan,   lambda x: reciprocal(square(cos(x))), at=(1e22,))
sech       = _row("sech",     "``1 / cosh(x)``.",       values.sech,  lambda x: -sech(x) * tanh(x), at=(720.0, -inf))
arcsin     = _row("arcsin",   "The inverse sine.",      values.arcsin, arcsin_partial, domain=UNIT,
                  at=(1.0, -1.0, 2.0))
arccos     = _row("arccos",   "The inverse cosine.",    values.arccos, lambda x: -arcsin_partial(x), domain=UNIT,
                  at=(1.0, -1.0, 2.0))
arctan     = _row("arctan",   "The inverse tangent.",   math.atan,    lambda x: square(reciprocal(hypot(1.0, x))),
                  at=(1e155, inf))
arctan2    = _row("arctan2",  "The angle of the point (x, y); y comes first.", math.atan2,
                  lambda y, x: angle_partial(x, y), lambda y, x: -angle_partial(y, x),
                  at=((0.0, 0.0), (1e200, 1e200), (1e-200, 1e-200), (0.0, -1.0)), names=("y", "x"))
sinh       = _row("sinh",     "The hyperbolic sine.",    values.sinh, lambda x: cosh(x), at=(711.0,))
cosh       = _row("cosh",     "The hyperbolic cosine.",  values.cosh, lambda x: sinh(x), at=(711.0,))
tanh       = _row("tanh",     "The hyperbolic tangent.", math.tanh,   lambda x: square(sech(x)), at=(20.0, 400.0))
arcsinh    = _row("arcsinh",  "The inverse hyperbolic sine.",   math.asinh,     lambda x: reciprocal(hypot(1.0, x)),
                  at=(1e200,))
arccosh    = _row("arccosh",  "The inverse hyperbolic cosine.", values.arccosh,
                  lambda x: reciprocal(sqrt(x - 1.0) * sqrt(x + 1.0)),
                  domain=(1.0, inf), at=(1.0, 1e200, 0.5, -2.0))
arctanh    = _row("arctanh",  "The inverse hyperbolic tangent.", values.arctanh, lambda x: over(1.0, fma(-x, x, 1.0)),
                  domain=UNIT, at=(1.0, -1.0, 2.0))

# Special functions
erf        = _row("erf",      "The error function.",     math.erf,   lambda x: bell(values.ERF_SLOPE, 1.0, x),
                  at=(27.0,))
erfc       = _row("erfc",     "``1 - erf(x)``.",         math.erfc,  lambda x: -bell(values.ERF_SLOPE, 1.0, x),
                  at=(27.0,))
ndtr       = _row("ndtr",     "The normal distribution function.", values.ndtr,
                  lambda x: bell(values.NDTR_SLOPE, 0.5, x), at=(-38.0, -inf))
gammaln    = _row("gammaln",  "The logarithm of the gamma function's magnitude.", values.gammaln,
                  lambda x: within(x != 0.0, digamma(x), x), at=(0.0, -1.0, 1.0, 2.0, -2.5))
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
silu        = _row("silu",        "``x * sigmoid(x)``.",    values.silu, silu_partial, at=(-inf, inf, -740.0))
gelu        = _row("gelu",        "``x * ndtr(x)``, the exact form.", values.gelu,
                   lambda x: ndtr(x) + strong_multiply(bell(values.NDTR_SLOPE, 0.5, x), x), at=(-inf, inf))
relu        = _row("relu",        "``maximum(x, 0)``; its derivative at 0 is 0.", values.relu,
                   lambda x: choose(x > 0.0, 1.0, flat(x)), at=_STEPS, strong=True)
leaky_relu  = _row("leaky_relu",  "x where it is positive, else ``negative_slope * x``.", values.leaky_relu,
                   leaky_relu_partial,
                   lambda x, slope: choose(x > 0.0, 0.0, x), at=((0.0, 0.01), (-1.0, 0.01), (nan, 0.01)),
                   defaults=(0.01,), names=("x", "negative_slope"))
elu         = _row("elu",         "x where it is positive, else ``alpha * expm1(x)``.", values.elu,
                   lambda x, alpha: choose(x > 0.0, 1.0, alpha * exp(x)),
                   lambda x, alpha: choose(x > 0.0, 0.0, expm1(x)),
                   at=((0.0, 1.0), (-40.0, 1.0), (nan, 1.0)), defaults=(1.0,), names=("x", "alpha"))

# One sequence of any length (dot: two)
sum         = _nary("sum",       "The sum.",                               values.sum,  lambda x: [1.0] * len(x))
prod        = _nary("prod",      "The product.",                           values.prod, prod_partials,
                    at=((0.0, 2.0, 3.0), (0.0, 0.0, 3.0), (0.0, 1e200, 1e200, 1e200)))
mean        = _nary("mean",      "The mean.",                              values.mean, lambda x: [1 / len(x)] * len(x))
max         = _nary("max",       "The largest; ties share the gradient.",  values.max,
                    lambda x: shares(x, max(x)), at=((1.0, 1.0, 0.0), (nan, 1.0)), strong=True)
min         = _nary("min",       "The smallest; ties share the gradient.", values.min,
                    lambda x: shares(x, min(x)), at=((1.0, 1.0, 2.0), (nan, 1.0)), strong=True)
dot         = _nary("dot",       "The sum of the products of two sequences.", values.dot,
                    lambda x: [*x[len(x) // 2 :], *x[: len(x) // 2]])
logsumexp   = _nary("logsumexp", "``log(sum(exp(x)))``.",                  values.logsumexp, logsumexp_partials,
                    at=((-inf, -inf), (inf, 0.0), (inf, inf), (1000.0, 1000.0), (1e12, 1e12 + 1.0, 1e12 - 1.0)))

# The chain rule's own product: a factor of exactly 0 makes it exactly 0
strong_multiply = _row("strong_multiply", "``pull * partial``, but 0 if either is 0.", values.strong_multiply,
                       lambda pull, partial: partial, lambda pull, partial: pull,
                       at=((0.0, inf), (0.0, nan), (inf, 0.0), (nan, 0.0)),
                       names=("pull", "partial"))

# What random numbers are made of (fastprop.random)
random_integer = _row("random_integer", "An integer from 0 to 2**53 that two integers decide, and looks random.",
                      values.random_integer, lambda key, counter: flat(random_integer(key, counter)),
                      lambda key, counter: flat(random_integer(key, counter)),
                      domain=(values.KEYS, values.COUNTERS),
                      at=((0.0, 0.0), (2.0**53, -(2.0**53)), (1.0, -1.0), (0.5, 0.0), (-1.0, 0.0), (1.0, nan)),
                      strong=True, names=("key", "counter"))
# fmt: on

# The gates that are methods of handles too: those whose first operand is one.
methods = [name for name, row in table.items() if row.arity > 0 and row.partials[0] is not None]
methods = [name for name in methods if name not in ("strong_multiply", "random_integer")]
