"""Derivatives of derivatives: through every gate to fourth order, at ties, and in every mix of transforms."""

import functools
import itertools
import math

import numpy as np
import pytest
from mpmath import mp

import fastprop
from fastprop import gates, reference

ORDERS = (1, 2, 3, 4)
SLOPES = (1.0, 0.75, -0.5)  # along which line through a point its operands move
SAMPLES = (-2.3, -0.7, -0.3, 0.2, 0.45, 1.3, 2.6)

# What each gate of the table is, for mpmath. A gate that is missing here fails the first test.
EXACT = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "share": lambda x, y: x / (x + y),
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "power": lambda x, y: x**y,
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "sqrt": mp.sqrt,
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "fma": lambda x, y, z: x * y + z,
    "hypot": lambda x, y: mp.sqrt(x * x + y * y),
    "remainder": lambda x, y: x - mp.floor(x / y) * y,
    "floor_divide": lambda x, y: mp.floor(x / y),
    "absolute": abs,
    "sign": mp.sign,
    "floor": mp.floor,
    "ceil": mp.ceil,
    "round": mp.nint,
    "trunc": lambda x: mp.sign(x) * mp.floor(abs(x)),
    "maximum": max,
    "minimum": min,
    "clip": lambda x, low, high: min(max(x, low), high),
    "where": lambda condition, x, y: x if condition else y,
    "exp": mp.exp,
    "exp2": lambda x: mp.mpf(2) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "log1p": mp.log1p,
    "logaddexp": lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "sech": mp.sech,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arctan2": mp.atan2,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "ndtr": mp.ncdf,
    "gammaln": lambda x: mp.log(abs(mp.gamma(x))),
    "digamma": mp.digamma,
    "polygamma": lambda n, x: mp.polygamma(int(n), x),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": lambda x: x * mp.ncdf(x),
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "sum": lambda *x: mp.fsum(x),
    "prod": lambda *x: mp.fprod(x),
    "mean": lambda *x: mp.fsum(x) / len(x),
    "max": max,
    "min": min,
    "dot": lambda *x: mp.fdot(x[: len(x) // 2], x[len(x) // 2 :]),
    "logsumexp": lambda *x: mp.log(mp.fsum(map(mp.exp, x))),
    "strong_multiply": lambda x, y: x * y,
    "random_integer": lambda key, counter: mp.mpf(0),  # but for a constant: an integer has no neighbours
}

# Slopes of gates of one operand, where differences of values in the tails take hundreds of digits.
BELL = lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)  # noqa: E731
SLOPES_OF_ONE = {"erf": BELL, "erfc": lambda x: -BELL(x), "ndtr": mp.npdf}

# Points that the table lists because the gate, or a derivative of it, has no derivative there.
SINGULAR = {
    "cbrt": [0.0],
    "hypot": [(0.0, 0.0)],
    "arctan2": [(0.0, 0.0), (0.0, -1.0)],
    "strong_multiply": [(0.0, math.inf), (0.0, math.nan)],
    "leaky_relu": [(0.0, 0.01)],
    "elu": [(0.0, 1.0)],
}


def smooth_points(row):
    """Points inside of the domain, and how many digits they take: samples, and the row's own where it is smooth."""
    if row.arity == gates.SEQUENCE:
        return [((0.45, -1.3, 2.6, 0.2), 60)]
    if row.name == "random_integer":
        return [((3.0, 5.0), 60), ((0.0, -1.0), 60), ((2.0**53 - 1.0, 7.0), 60)]
    domains = [(low, high) if constant is not None else None for (low, high), constant in zip(row.domain, row.partials)]
    inside = [[2.0] if d is None else [x for x in SAMPLES if d[0] < x < d[1]] for d in domains]
    columns = [column[i:] + column[:i] for i, column in enumerate(inside)]  # no two operands are equal: no ties
    points = [(tuple(column[k % len(column)] for column in columns), 60) for k in range(len(SAMPLES))]
    if not row.strong:
        for point in row.at:
            given = point if isinstance(point, tuple) else (point,)
            limits = [(-math.inf, math.inf) if d is None else d for d in domains]
            within = all(a < x < b for x, (a, b) in zip(given, limits)) and math.isfinite(row.value(*given))
            if within and point not in SINGULAR.get(row.name, ()):
                tail = any(abs(x) > 20.0 or 0.0 < abs(x) < 1e-3 for x in given)
                points.append((given, 400 if tail and row.name not in SLOPES_OF_ONE else 60))  # 5e-324 has a root
    return points


@functools.cache
def exact_derivatives(row, point, slopes, digits):
    """The derivatives of order 1 to 4 along a line through a point, up to the first that overflows."""
    with mp.workdps(digits):

        def along(t):
            return EXACT[row.name](*[mp.mpf(x) + a * t if a else mp.mpf(x) for x, a in zip(point, slopes)])

        try:
            if slope := SLOPES_OF_ONE.get(row.name):
                return [float(mp.diff(slope, mp.mpf(point[0]), order - 1)) for order in ORDERS]
            found = [float(mp.re(mp.diff(along, 0, order))) for order in ORDERS]
        except (ZeroDivisionError, ValueError):  # a pole
            return []
        return list(itertools.takewhile(math.isfinite, found))


def apply_row(engine, row, operands):
    gate = getattr(engine, row.name)
    if row.name == "dot":
        return gate(operands[: len(operands) // 2], operands[len(operands) // 2 :])
    return gate(list(operands)) if row.arity == gates.SEQUENCE else gate(*operands)


def line(engine, row, point, slopes):
    return lambda t: apply_row(engine, row, [x + a * t if a else x for x, a in zip(point, slopes)])


def lines(row, point):
    """Slopes along which to go through a point: all operands at once, then, if there are several, each alone."""
    count = len(point)
    constant = [row.arity != gates.SEQUENCE and row.partials[i] is None for i in range(count)]
    free = [0.0 if fixed else SLOPES[i % 3] for i, fixed in enumerate(constant)]
    alone = [[free[i] if i == k else 0.0 for i in range(count)] for k in range(count) if free[k]]
    return [free] if alone == [free] else [free, *alone]


def derivatives(engine, f, x):
    """The derivatives of order 1 to 4, by sweeps backward over sweeps backward; the last by one forward."""
    first = engine.grad(f)
    second = engine.grad(first)
    third = engine.grad(second)
    _, fourth = engine.jvp(third, (x,), (1.0,))
    return [first(x), second(x), third(x), fourth]


def tangents(engine, f, x):
    """The derivatives of order 1 to 4, by sweeps forward over sweeps forward; the last by one backward."""

    def along(g):
        return lambda t: engine.jvp(g, (t,), (1.0,))[1]

    first = along(f)
    second = along(first)
    third = along(second)
    return [first(x), second(x), third(x), engine.grad(third)(x)]


def assert_close(found, expected, rel=1e-10):
    """Equal to ten digits of the largest derivative: those near a root of a derivative cancel."""
    scale = max(map(abs, expected), default=0.0)
    assert found == pytest.approx(expected, rel=rel, abs=max(rel * 1e-2 * min(scale, 1e300), 1e-300))


def test_every_gate_has_an_exact_counterpart():
    assert set(EXACT) == set(gates.table)
    for name, slope in SLOPES_OF_ONE.items():
        assert mp.almosteq(mp.diff(EXACT[name], 0.45), slope(mp.mpf(0.45)), 1e-12)


@pytest.mark.parametrize("name", sorted(gates.table))
def test_gate_to_fourth_order(name):
    row = gates.table[name]
    checked = 0
    for number, (point, digits) in enumerate(smooth_points(row)):
        for slopes in lines(row, point):
            expected = exact_derivatives(row, point, tuple(slopes), digits)
            for engine in (reference, fastprop):  # both at once: what takes long is mpmath
                found = (derivatives if number % 2 else tangents)(engine, line(engine, row, point, slopes), 0.0)
                assert_close(found[: len(expected)], expected)
            checked += len(expected)
    assert checked >= 4


def weighted(*branches):
    """The derivatives of order 1 to 4 of a weighted sum of functions, for mpmath."""
    return lambda x: [
        float(sum(weight * mp.re(mp.diff(branch, mp.mpf(x), order)) for weight, branch in branches)) for order in ORDERS
    ]


# At a tie the selection is frozen: one branch, or the average of those that tie, and this is differentiated on.
TIES = {
    "maximum": (lambda fp, x: fp.maximum(x**2, x**3), 1.0, weighted((0.5, lambda x: x**2), (0.5, lambda x: x**3))),
    "minimum": (lambda fp, x: fp.minimum(fp.sin(x), x), 0.0, weighted((0.5, mp.sin), (0.5, lambda x: x))),
    "max": (
        lambda fp, x: fp.max([x**2, x**4, fp.exp(x), x * 0.5]) if x < 1.0 else fp.max([x**2, x**4, 0.5 * x, x]),
        1.0,
        weighted((1 / 3, lambda x: x**2), (1 / 3, lambda x: x**4), (1 / 3, lambda x: x)),
    ),
    "min": (
        lambda fp, x: fp.min([fp.cosh(x), fp.cos(x), 1.0, fp.exp(x) + 1.0]),
        0.0,
        weighted((1 / 3, mp.cosh), (1 / 3, mp.cos)),
    ),
    "absolute": (lambda fp, x: fp.absolute(x**2 - x), 1.0, lambda x: [0.0] * 4),
    "absolute, factor": (lambda fp, x: x**2 * abs(x) + fp.sin(x), 0.0, weighted((1, mp.sin))),
    "relu": (lambda fp, x: fp.relu(x**3 - x) + x**2, 1.0, weighted((1, lambda x: x**2))),
    "leaky_relu": (lambda fp, x: fp.leaky_relu(fp.sin(x)), 0.0, weighted((0.01, mp.sin))),
    "elu": (lambda fp, x: fp.elu(x), 0.0, weighted((1, mp.exp))),
    "elu, alpha": (
        lambda fp, x: fp.elu(x, 1.0 + 0.75 * x),
        0.0,
        weighted((1, lambda x: (1 + 0.75 * x) * mp.expm1(x))),
    ),
    "leaky_relu, slope": (lambda fp, x: fp.leaky_relu(x, x + 1.0), -1.0, weighted((1, lambda x: x * (x + 1)))),
    "clip, low": (lambda fp, x: fp.clip(x**3, 1.0, 8.0), 1.0, weighted((1, lambda x: x**3))),
    "clip, high": (lambda fp, x: fp.clip(x**3, 1.0, 8.0), 2.0, weighted((1, lambda x: x**3))),
    "clip, outside": (lambda fp, x: fp.clip(x**3, 1.0, 8.0), 3.0, lambda x: [0.0] * 4),
    "where, chosen": (lambda fp, x: fp.where(x > 0.0, fp.log(x), x**3), 2.0, weighted((1, mp.log))),
    "where, dead branch": (lambda fp, x: fp.where(x > 0.0, fp.log(x), x**3), 0.0, weighted((1, lambda x: x**3))),
    "where, dead NaN": (
        lambda fp, x: fp.where(x > 0.0, fp.sqrt(x) * math.inf, x * x),
        -1.0,
        weighted((1, lambda x: x * x)),
    ),
    "sign": (lambda fp, x: fp.sign(x) * x**2, -2.0, weighted((-1, lambda x: x**2))),
    "floor": (lambda fp, x: fp.floor(x) * x**3, 2.0, weighted((2, lambda x: x**3))),
    "ceil": (lambda fp, x: fp.ceil(x) * x**3, 2.0, weighted((2, lambda x: x**3))),
    "round": (lambda fp, x: fp.round(x) * x**3, 2.5, weighted((2, lambda x: x**3))),
    "trunc": (lambda fp, x: fp.trunc(x) * x**3, -2.0, weighted((-2, lambda x: x**3))),
    "prod, one zero": (
        lambda fp, x: fp.prod([x, x - 1.0, x + 2.0]),
        1.0,
        weighted((1, lambda x: x * (x - 1) * (x + 2))),
    ),
    "hypot at 0": (lambda fp, x: fp.hypot(x, 0.0), 0.0, lambda x: [0.0]),
    "power, integer": (lambda fp, x: x**3, 0.0, weighted((1, lambda x: x**3))),
    "power, square of negative": (lambda fp, x: x**2, -2.0, weighted((1, lambda x: x**2))),
    "sigmoid": (lambda fp, x: fp.sigmoid(x), 0.0, weighted((1, EXACT["sigmoid"]))),
    "softplus": (lambda fp, x: fp.softplus(x), 0.0, weighted((1, EXACT["softplus"]))),
    "logsumexp": (
        lambda fp, x: fp.logsumexp([x, 2.0 * x, x]),
        0.0,
        weighted((1, lambda x: mp.log(2 * mp.exp(x) + mp.exp(2 * x)))),
    ),
    "logaddexp": (
        lambda fp, x: fp.logaddexp(x, 2.0 * x),
        0.0,
        weighted((1, lambda x: mp.log(mp.exp(x) + mp.exp(2 * x)))),
    ),
    "tanh": (lambda fp, x: fp.tanh(x), 0.0, weighted((1, mp.tanh))),
}


@pytest.mark.parametrize("way", [derivatives, tangents], ids=["rev", "fwd"])
@pytest.mark.parametrize("name", TIES)
def test_ties_kinks_and_choices_to_fourth_order(engine, name, way):
    f, x, expected = TIES[name]
    with mp.workdps(60):
        wanted = expected(x)
    assert_close(way(engine, lambda t: f(engine, t), x)[: len(wanted)], wanted)


@pytest.mark.parametrize("name", sorted(name for name, row in gates.table.items() if row.arity in (1, 2)))
def test_gate_on_arrays_equals_gate_on_units(engine, name):
    """Second derivatives of the elementwise gates, over an array and number by number."""
    row = gates.table[name]
    points = [point for point, digits in smooth_points(row) if digits == 60][:3]
    columns = [np.array(column) for column in zip(*points)]
    free = [i for i in range(row.arity) if row.partials[i] is not None]
    gate = getattr(engine, name)

    def f(*operands):
        given = list(columns) if len(free) == row.arity else [columns[0][0], None]
        for i, operand in zip(free, operands):
            given[i] = operand
        return (gate(*given) * np.array([1.0, 2.0, 3.0])).sum()

    found = engine.hessian(f, argnums=tuple(range(len(free))))(*[columns[i] for i in free])
    for k, point in enumerate(points):

        def g(*operands, point=point):
            given = list(point)
            for i, operand in zip(free, operands):
                given[i] = operand
            return gate(*given)

        single = engine.hessian(g, argnums=tuple(range(len(free))))(*[point[i] for i in free])
        for i in range(len(free)):
            for j in range(len(free)):
                expected = np.zeros(3)
                expected[k] = single[i][j] * (k + 1)
                np.testing.assert_allclose(found[i][j][k], expected, rtol=1e-11, atol=1e-13)


# Perturbation confusion: every transform has variables of its own


def test_inner_gradient_takes_outer_variable_as_constant(engine):
    assert engine.grad(lambda x: x * engine.grad(lambda y: x * y)(1.0))(3.0) == 6.0
    assert engine.grad(lambda x: x * engine.grad(lambda y: x + y)(1.0))(3.0) == 1.0
    assert engine.grad(lambda x: x * engine.grad(lambda y: x + y)(x))(3.0) == 1.0
    assert engine.grad(lambda x: engine.grad(lambda y: x * y * y)(x))(3.0) == 12.0  # 2 x y at y = x, again by x


def test_the_same_in_forward_mode(engine):
    def tangent(f, x):
        return engine.jvp(f, (x,), (1.0,))[1]

    assert tangent(lambda x: x * tangent(lambda y: x * y, 1.0), 3.0) == 6.0
    assert tangent(lambda x: x * tangent(lambda y: x + y, 1.0), 3.0) == 1.0
    assert tangent(lambda x: x * tangent(lambda y: x + y, x), 3.0) == 1.0


@pytest.mark.parametrize("outer", ["rev", "fwd"])
@pytest.mark.parametrize("inner", ["rev", "fwd"])
def test_the_same_in_mixed_modes(engine, outer, inner):
    ways = {"rev": engine.grad, "fwd": lambda f: lambda x: engine.jvp(f, (x,), (1.0,))[1]}
    out, ins = ways[outer], ways[inner]
    assert out(lambda x: x * ins(lambda y: x * y * x)(2.0))(3.0) == 27.0  # x³
    assert (
        out(lambda x: ins(lambda y: ins(lambda z: x * y * z * z)(y))(x))(2.0) == 8.0 * 2.0
    )  # d(2xy²)/dy = 4xy at y = x
    assert out(lambda x: ins(lambda x: x * x * x)(x))(2.0) == 12.0


def test_three_levels_of_closures(engine):
    f = engine.grad(lambda x: engine.grad(lambda y: engine.grad(lambda z: x**3 * y**2 * z)(5.0) * x)(7.0))
    assert f(2.0) == pytest.approx(2 * 7.0 * 4 * 2.0**3)  # d/dx of 2 y x⁴


def test_a_function_that_is_returned_keeps_no_tag(engine):
    """The function-valued classic: an addition curried over x, differentiated twice."""

    def curried(x):
        return lambda f: lambda y: f(x + y)

    def derivative_of_curried(f):
        return lambda y: engine.grad(lambda x: curried(x)(f)(y))(0.0)

    twice = derivative_of_curried(derivative_of_curried(engine.exp))
    assert twice(1.0) == pytest.approx(math.e, rel=1e-14)


def test_inner_value_is_used_outside_of_its_transform(engine):
    def f(x):
        value, gradient = engine.value_and_grad(lambda y: y**3 * x)(x)
        return value * gradient  # x⁴ · 3x³

    assert engine.grad(f)(2.0) == pytest.approx(21.0 * 2.0**6)


def test_aux_of_an_inner_transform_is_differentiated_outside(engine):
    def f(x):
        gradient, aux = engine.grad(lambda y: (y * y, [y * x, "kept"]), has_aux=True)(x)
        assert aux[1] == "kept"
        return gradient + aux[0]

    assert engine.grad(f)(3.0) == 8.0


# Every mix of transforms gives the closed form


def test_grad_of_vjp(engine):
    def f(x):
        value, pull_back = engine.vjp(lambda y: [engine.sin(y), y**3], x)
        (gradient,) = pull_back([2.0, x])
        return gradient + value[0]

    x = 0.7  # 2 cos x + 3 x³ + sin x
    assert engine.grad(f)(x) == pytest.approx(-2 * math.sin(x) + 9 * x**2 + math.cos(x), rel=1e-13)


def test_grad_by_the_pull(engine):
    _, pull_back = engine.vjp(lambda x, y: [x * y, engine.exp(x)], 0.5, 3.0)
    f = engine.grad(lambda pull: pull_back([pull, pull * pull])[0])
    assert f(2.0) == pytest.approx(3.0 + 4.0 * math.exp(0.5), rel=1e-14)
    g = engine.jvp(lambda pull: pull_back([pull, 0.0]), (2.0,), (1.0,))
    assert g == ((6.0, 1.0), (3.0, 0.5))


def test_jvp_of_vjp_is_a_hessian_product(engine):
    def f(x):
        return x[0] ** 2 * x[1] + engine.sin(x[1])

    def gradient(x):
        return engine.vjp(f, x)[1](1.0)[0]

    x, v = [3.0, 0.5], [0.25, -2.0]
    _, product = engine.jvp(gradient, (x,), (v,))
    expected = [2 * 0.5 * 0.25 + 2 * 3.0 * -2.0, 2 * 3.0 * 0.25 - math.sin(0.5) * -2.0]
    assert product == pytest.approx(expected, rel=1e-14)
    assert engine.hvp(f, (x,), (v,)) == pytest.approx(expected, rel=1e-14)
    along = engine.grad(lambda x: engine.jvp(f, (x,), (v,))[1])(x)
    assert along == pytest.approx(expected, rel=1e-14)


def test_tangents_may_be_variables(engine):
    f = engine.grad(lambda v: engine.jvp(lambda x: x**3, (2.0,), (v * v,))[1])
    assert f(5.0) == 12.0 * 10.0


def test_jacobian_of_jacobian(engine):
    x = np.array([0.5, -1.0, 2.0])
    found = engine.jacobian(engine.jacobian(lambda a: a * a * a))(x)
    expected = np.zeros((3, 3, 3))
    for i in range(3):
        expected[i, i, i] = 6 * x[i]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_hessian_of_hessian_entries(engine):
    def trace(x):
        rows = engine.hessian(lambda y: y[0] ** 4 * y[1] ** 3)(x)
        return rows[0][0] + rows[1][1]

    found = engine.hessian(trace)([2.0, 3.0])  # of 12 x² y³ + 6 x⁴ y
    expected = [[24 * 27 + 72 * 4 * 3, 72 * 2 * 9 + 24 * 8], [72 * 2 * 9 + 24 * 8, 72 * 4 * 3]]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def rosenbrock(x):
    return sum(100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2 for i in range(len(x) - 1))


def rosenbrock_hessian(x):
    found = np.zeros((len(x), len(x)))
    for i in range(len(x) - 1):
        found[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        found[i + 1, i + 1] += 200
        found[i, i + 1] = found[i + 1, i] = -400 * x[i]
    return found


def test_hessian_of_rosenbrock(engine):
    x = [-1.2, 1.0, 0.7, -0.3, 2.0]
    np.testing.assert_allclose(engine.hessian(rosenbrock)(x), rosenbrock_hessian(x), rtol=1e-13, atol=1e-11)
    np.testing.assert_allclose(engine.hessian(rosenbrock)(np.array(x)), rosenbrock_hessian(x), rtol=1e-13, atol=1e-11)
    v = [1.0, -2.0, 0.5, 0.0, 3.0]
    np.testing.assert_allclose(engine.hvp(rosenbrock, (x,), (v,)), rosenbrock_hessian(x) @ v, rtol=1e-12)


def test_hessian_of_rosenbrock_in_array_form(engine):
    def f(x):
        return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()

    x = np.array([-1.2, 1.0, 0.7, -0.3, 2.0])
    np.testing.assert_allclose(engine.hessian(f)(x), rosenbrock_hessian(x), rtol=1e-13, atol=1e-11)
    v = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    np.testing.assert_allclose(engine.hvp(f, (x,), (v,)), rosenbrock_hessian(x) @ v, rtol=1e-12)


ARRAY_FUNCTIONS = {
    "sum": lambda fp, a: (a.sum(axis=0) ** 3).sum(),
    "mean": lambda fp, a: (a.mean(axis=1, keepdims=True) * a**2).sum(),
    "max": lambda fp, a: (a.max(axis=1) ** 3).sum(),
    "min": lambda fp, a: a.min() ** 4,
    "prod": lambda fp, a: a.prod(),
    "prod, axis": lambda fp, a: (a.prod(axis=0) ** 2).sum(),
    "logsumexp": lambda fp, a: fp.logsumexp(a),
    "matmul": lambda fp, a: (a @ (a.T * a.T)).sum() ** 2,
    "matvec": lambda fp, a: fp.exp(a @ np.array([0.5, -1.0, 2.0]) * 0.1).sum(),
    "dot": lambda fp, a: a[0].dot(a[1]) ** 2,
    "reshape": lambda fp, a: (a.reshape(3, 2) @ a).sum() ** 2,
    "transpose": lambda fp, a: (a.transpose() * a.reshape(3, 2)).sum() ** 2,
    "getitem": lambda fp, a: a[0, 1] ** 2 * a[1, 2] + (a[:, 0] * a[:, 2] ** 2).sum(),
    "iterate": lambda fp, a: sum(x * y * y for x, y in zip(a[0], a[1])),
    "stack": lambda fp, a: (fp.Array([a[0, 0], a[1, 1], 2.0]) ** 3).sum(),
    "broadcast": lambda fp, a: (a[0] * a[:, 1:2] ** 2).sum(),
    "unit": lambda fp, a: (a * a[0, 0] * a.sum()).sum(),
    "maximum": lambda fp, a: (fp.maximum(a[0], a[1]) ** 3).sum(),
    "where": lambda fp, a: fp.where(a > 0.6, a**3, a**2).sum(),
}


@pytest.mark.parametrize("name", ARRAY_FUNCTIONS)
def test_array_gates_to_second_order(engine, name):
    """Every way to the second derivatives agrees, and with differences of the gradient."""
    a = np.array([[0.5, -1.25, 2.0], [0.75, 1.5, -0.25]])

    def f(x):
        return ARRAY_FUNCTIONS[name](engine, x)

    hessian = engine.hessian(f)(a)
    assert hessian.shape == (2, 3, 2, 3)
    by_columns = engine.jacobian(engine.grad(f))(a)
    np.testing.assert_allclose(hessian, by_columns, rtol=1e-12, atol=1e-12)
    v = np.array([[1.0, 0.5, -0.25], [2.0, -1.0, 0.125]])
    product = np.tensordot(hessian, v, 2)
    np.testing.assert_allclose(engine.hvp(f, (a,), (v,)), product, rtol=1e-11, atol=1e-11)
    along = engine.grad(lambda x: engine.jvp(f, (x,), (v,))[1])(a)
    np.testing.assert_allclose(along, product, rtol=1e-11, atol=1e-11)
    engine.check_grads(f, (a,), order=2, atol=1e-5, rtol=1e-5)


def test_a_gate_of_the_users_own_to_second_order(engine):
    class Cube(engine.Gate):
        def forward(self, x):
            return x * x * x

        def backward(self, pull, x):
            return pull * 3.0 * x * x

    cube = Cube()
    x = 2.0
    assert engine.grad(cube)(x) == 12.0
    assert engine.grad(engine.grad(cube))(x) == 12.0
    assert engine.grad(engine.grad(engine.grad(cube)))(x) == 6.0
    assert engine.jvp(cube, (x,), (0.5,)) == (8.0, 6.0)
    assert engine.jvp(engine.grad(cube), (x,), (1.0,)) == (12.0, 12.0)
    assert engine.grad(lambda x: engine.jvp(cube, (x,), (1.0,))[1])(x) == 12.0
    assert engine.jvp(lambda x: engine.jvp(cube, (x,), (1.0,))[1], (x,), (1.0,)) == (12.0, 12.0)


def test_a_gate_of_the_users_own_with_several_operands_and_arrays(engine):
    class Scaled(engine.Gate):
        def __init__(self, factor):
            self.factor = factor

        def forward(self, x, y):
            return self.factor * x * x * y

        def backward(self, pull, x, y):
            return 2.0 * self.factor * pull * x * y, (self.factor * pull * x * x).sum()

    gate = Scaled(3.0)
    x, y = np.array([1.0, 2.0]), 0.5
    jacobian = engine.jacobian(gate, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(jacobian[0], np.diag(6.0 * x * y))
    np.testing.assert_allclose(jacobian[1], 3.0 * x**2)
    hessian = engine.hessian(lambda x, y: gate(x, y).sum(), argnums=(0, 1))(x, y)
    np.testing.assert_allclose(hessian[0][0], np.diag([3.0, 3.0]))
    np.testing.assert_allclose(hessian[0][1], 6.0 * x)
    np.testing.assert_allclose(hessian[1][0], 6.0 * x)
    assert hessian[1][1] == 0.0
    product = engine.hvp(lambda x, y: gate(x, y).sum(), (x, y), (np.array([1.0, -1.0]), 2.0))
    np.testing.assert_allclose(product[0], [3.0 + 12.0, -3.0 + 24.0])
    assert product[1] == pytest.approx(6.0 - 12.0)


def test_a_gate_that_returns_too_many_pulls_is_refused_when_recorded(engine):
    class Wrong(engine.Gate):
        def forward(self, x):
            return x * x

        def backward(self, pull, x):
            return pull * x, pull * x

    with pytest.raises(ValueError, match=r"Wrong.*2 pulls for 1 operand"):
        engine.grad(engine.grad(Wrong()))(1.0)


def test_strong_zero_survives_second_order(engine):
    """What a choice did not take stays without effect, were it infinite or NaN."""
    f = lambda x: engine.where(x > 0.0, x**1.5, x * 0.0)  # noqa: E731
    assert engine.grad(f)(0.0) == 0.0
    assert engine.grad(engine.grad(f))(0.0) == 0.0
    g = lambda x: engine.maximum(x, engine.sqrt(x - 1.0)) ** 2  # noqa: E731
    assert engine.grad(engine.grad(g))(1.0) == 2.0


def test_depth_ten(engine):
    f = engine.exp
    for _ in range(5):
        f = engine.grad(f)
    assert f(1.0) == pytest.approx(math.e, rel=1e-13)
    g = lambda x: x**9  # noqa: E731
    for _ in range(6):
        g = engine.grad(g)
    assert g(1.0) == pytest.approx(math.factorial(9) / math.factorial(3), rel=1e-12)
