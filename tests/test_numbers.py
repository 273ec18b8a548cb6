"""Numbers that were wrong once, and their kind: against mpmath, Python and NumPy."""

import math
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from mpmath import mp

import fastprop as fp
from fastprop import gates


@pytest.mark.parametrize("digits", [0, 1, 2, 5, 15, -1, -2])
@pytest.mark.parametrize("x", [1.23456, 2.675, -2.5, 1e300, 125.0, 0.5, -0.0, 5e-324])
def test_round_is_decimal(engine, x, digits):
    rounded = round(engine.Unit(x), digits)
    exact = Decimal(x).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN) if abs(x) < 1e20 else x
    assert rounded.value == round(x, digits) == float(exact)
    leaf = engine.Unit(x)
    (round(leaf, digits) * 3.0 + leaf).backward()
    assert leaf.grad == 1.0
    assert engine.grad(lambda v: round(v, digits) * v)(x) == pytest.approx(round(x, digits))
    array = engine.Array([x, x])
    assert round(array, digits).value.tolist() == [round(x, digits)] * 2


def test_round_in_circuits_and_lanes():
    x = np.array([1.23456, 2.675, -0.125, math.nan, math.inf])
    expected = [round(float(v), 2) for v in x]
    np.testing.assert_array_equal(fp.vmap(lambda v: round(v, 2))(x), expected)
    np.testing.assert_array_equal([fp.compile(lambda v: round(v, 2))(float(v)) for v in x], expected)
    assert fp.compile(fp.grad(lambda v: round(v, 2) + v))(1.2345) == 1.0
    with pytest.raises(TypeError):
        round(fp.Unit(1.0), 1.5)


BASES = (-1.0, -2.0, -0.5, -1.0000001, 3.0, 0.25)
EXPONENTS = (1e308, 1e17, 1e17 + 16, 2.0**53, 2.0**53 + 2, 2.0**53 - 1, 1e15 + 1, -1e17, -7.0, 8.0, 1e-170, 0.5)


@pytest.mark.parametrize("x", BASES)
@pytest.mark.parametrize("y", EXPONENTS)
def test_slope_of_powers(engine, x, y):
    with mp.workdps(60):
        size = mp.mpf(y) * mp.power(abs(mp.mpf(x)), mp.mpf(y) - 1)
    expected = float(size) if abs(size) < mp.mpf(10) ** 308.25 else math.copysign(math.inf, y)
    if x < 0.0:
        expected = math.nan if not y.is_integer() else expected if int(y) % 2 else -expected
    for found in (
        engine.grad(lambda v: gates.power(v, y))(x),
        engine.grad(lambda v: gates.power(v, y))(engine.Unit(x)).value,
        engine.grad(gates.power)(x, y),
        engine.grad(gates.power)(engine.Unit(x), engine.Unit(y)).value,
        *([fp.compile(lambda a, b: fp.grad(fp.power)(a, b))(x, y)] if engine is fp else []),
        *(fp.compile(fp.vmap(fp.grad(fp.power)))(np.full(9, x), np.full(9, y))[:9:4] if engine is fp else []),
    ):
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-300, nan_ok=True)


def test_zero_to_the_power_twice(engine):
    for y in (2.0, 1.0, 0.5, 3.5):
        second = engine.grad(engine.grad(lambda v: gates.power(0.0, v)))
        assert second(y) == 0.0
        assert second(engine.Unit(y)).value == 0.0


def test_one_over_a_dot(engine):
    def f(z):
        return 1.0 / gates.dot([3.0, 4.0], [z, z])

    for way in (engine.grad(f)(-0.0), engine.jvp(f, (-0.0,), (1.0,))[1], engine.grad(f)(engine.Unit(-0.0)).value):
        assert way == -math.inf


@pytest.mark.parametrize("at", [0.0, 1e12, -1e12, 1e16, 700.0])
def test_slopes_of_logsumexp(engine, at):
    points = [at + v for v in (0.0, 0.5, -1.25, -40.0)]
    with mp.workdps(60):
        powers = [mp.exp(mp.mpf(v) - mp.mpf(points[0])) for v in points]
        expected = [float(p / mp.fsum(powers)) for p in powers]
        first = float(powers[1] / mp.fsum(powers) * (1 - powers[1] / mp.fsum(powers)))
    recorded = engine.grad(gates.logsumexp)([engine.Unit(v) for v in points])
    assert [slope.value for slope in recorded] == pytest.approx(expected, rel=1e-13)
    assert engine.grad(gates.logsumexp)(points) == pytest.approx(expected, rel=1e-13)
    assert engine.hessian(gates.logsumexp)(points)[1][1] == pytest.approx(first, rel=1e-12)
    if engine is fp:
        traced = fp.compile(lambda x: fp.grad(fp.logsumexp)(x))
        assert traced(points) == pytest.approx(expected, rel=1e-13)


INFINITE = [
    ((-math.inf, -math.inf, -math.inf), (0.0, 0.0, 0.0)),
    ((math.inf, 0.0, math.inf), (0.5, 0.0, 0.5)),
    ((math.inf, 0.0, -math.inf), (1.0, 0.0, 0.0)),
    ((-math.inf, 3.0, -math.inf), (0.0, 1.0, 0.0)),
]


@pytest.mark.parametrize(("x", "expected"), INFINITE)
def test_slopes_of_logsumexp_at_infinity(engine, x, expected):
    assert engine.grad(gates.logsumexp)(list(x)) == list(expected)
    assert [u.value for u in engine.grad(gates.logsumexp)([engine.Unit(v) for v in x])] == list(expected)
    if engine is fp:
        assert fp.compile(lambda p: fp.grad(fp.logsumexp)(p))(list(x)) == list(expected)


def test_prod_with_a_zero_and_an_overflow(engine):
    for x in ([0.0, 1e200, 1e200, 1e200], [1e200, 0.0, 1e200, 1e200]):
        expected = [math.inf if v == 0.0 else 0.0 for v in x]
        assert engine.grad(gates.prod)(list(x)) == expected
        assert [u.value for u in engine.grad(gates.prod)([engine.Unit(v) for v in x])] == expected
        assert engine.grad(lambda a: a.prod())(np.array(x)).tolist() == expected
        if engine is fp:
            assert fp.compile(fp.grad(fp.prod))(list(x)) == expected
            assert fp.compile(lambda p: fp.grad(fp.prod)(p))(list(x)) == expected


@pytest.mark.parametrize("x", [-700.0, -735.0, -740.0, -744.0, -20.0])
def test_silu_in_the_subnormals(engine, x):
    with mp.workdps(400):
        sigma = 1 / (1 + mp.exp(-mp.mpf(x)))
        value, slope = float(x * sigma), float(sigma * (1 + x * (1 - sigma)))
    assert abs(engine.silu(engine.Unit(x)).value - value) <= 4 * math.ulp(value)
    assert abs(engine.grad(gates.silu)(x) - slope) <= 4 * math.ulp(slope)
    recorded = engine.grad(gates.silu)(engine.Unit(x)).value
    assert abs(recorded - slope) <= 16 * math.ulp(slope)


@pytest.mark.parametrize("x", [1e200, 1e160, 1e5, 1e-150])
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_digamma_far_out(engine, x, order):
    with mp.workdps(40):
        exact = float(mp.polygamma(order, mp.mpf(x)))
    assert engine.polygamma(float(order), engine.Unit(x)).value == pytest.approx(exact, rel=1e-12)
    if order == 1:
        assert engine.grad(gates.digamma)(x) == pytest.approx(exact, rel=1e-12)


def test_exp2_at_the_edge(engine):
    slope = float(mp.log(2) * mp.mpf(2) ** 1024)
    assert engine.grad(gates.exp2)(1024.0) == pytest.approx(slope, rel=1e-12)
    assert engine.grad(gates.exp2)(engine.Unit(1024.0)).value == pytest.approx(slope, rel=1e-12)


def test_sums_of_float32_lanes_are_as_accurate_as_numpys():
    x = np.full(20_000_000, 0.1, np.float32)
    exact = float(np.sum(x, dtype=np.float64))
    circuit = fp.trace(lambda w, v: w * v, 1.0, 1.0, dtype="float32")
    value = np.zeros((), np.float32)
    gradient = np.zeros((), np.float32)
    circuit.bind(np.ones((), np.float32), x, in_axes=(None, 0), reduce="sum", grad=gradient, value=value)()
    assert value == pytest.approx(exact, rel=2e-7)
    assert gradient == pytest.approx(exact, rel=2e-7)


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sums_of_float32_arrays(engine, name):
    block = engine.Array(np.full((2**17, 2), 0.1, np.float32))
    exact = np.full((2**17, 2), np.float32(0.1), np.float64)
    found = getattr(block, name)(0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.value, getattr(exact, name)(0), rtol=1e-7)


ZEROS = {  # a function, a point, and its gradient there by the rule for zero
    "norm by hand": (lambda p: gates.sqrt(p[0] * p[0] + p[1] * p[1]), (0.0, 0.0), (0.0, 0.0)),
    "a weight of 0": (lambda p: 0.0 * gates.log(p[0]) + p[1], (0.0, 2.0), (0.0, 1.0)),
    "entropy at 0": (lambda p: p[0] * gates.log(p[1]), (0.0, 0.0), (-math.inf, 0.0)),
    "the price": (lambda p: gates.sqrt(p[0]) * gates.sqrt(p[0]) + p[1], (0.0, 1.0), (0.0, 1.0)),
    "zero times infinity": (lambda p: p[0] * p[1], (0.0, math.inf), (math.inf, 0.0)),
    "zero over zero": (lambda p: p[0] / p[1], (0.0, 0.0), (math.nan, math.nan)),
    "over infinity": (lambda p: gates.sqrt(p[0]) / p[1], (0.0, math.inf), (0.0, 0.0)),
    "the branch not taken": (lambda p: gates.where(p[0] > 0.0, gates.sqrt(p[0]), p[1]), (0.0, 3.0), (0.0, 1.0)),
    "relu of a root": (lambda p: gates.sqrt(gates.relu(p[0]) + gates.relu(p[1])), (-1.0, -2.0), (0.0, 0.0)),
}


@pytest.mark.parametrize("name", ZEROS)
def test_rule_for_zero(engine, name):
    f, point, expected = ZEROS[name]
    point = list(point)
    ways = [engine.grad(f)(point), [u.value for u in engine.grad(f)(list(map(engine.Unit, point)))]]
    units = [[float(i == j) for i in range(2)] for j in range(2)]
    ways.append([engine.jvp(f, (point,), (v,))[1] for v in units])
    for outputs in (1, 3):
        ways += engine.jacobian(lambda p, n=outputs: [f(p)] * n)(point)
    if engine is fp:
        ways += [fp.compile(fp.grad(f))(point), fp.compile(lambda p: fp.grad(f)(p))(point)]
        ways += [fp.vmap(fp.grad(f))(np.array([point] * 9))[4], fp.trace(f, [1.5, 2.5]).value_and_grad(point)[1]]
    for found in ways:
        np.testing.assert_array_equal(found, expected)


KINDS = {  # of pulls: a function, a point where a partial of 0 meets an infinite pull, and the gradient there
    "product": (lambda a, b: gates.sqrt(a * b), (0.0, 0.0), (0.0, 0.0)),
    "twice": (lambda a, b: gates.log(a * a) * b, (0.0, 2.0), (0.0, -math.inf)),
    "quotient": (lambda a, b: gates.sqrt(a / b), (0.0, math.inf), (0.0, 0.0)),
    "divisor": (lambda a, b: gates.sqrt(a / b), (0.0, 2.0), (math.inf, 0.0)),
    "inverse": (lambda a, b: gates.sqrt(gates.reciprocal(a)) * b, (math.inf, 2.0), (0.0, 0.0)),
    "root": (lambda a, b: gates.log(gates.reciprocal(gates.sqrt(a))) * b, (math.inf, 2.0), (0.0, -math.inf)),
    "kept": (lambda a, b: gates.sqrt(gates.sin(a)) * gates.cos(b), (0.0, math.pi / 2), (math.inf, 0.0)),
    "rectified": (lambda a, b: gates.sqrt(gates.relu(a)) * b, (-1.0, 2.0), (0.0, 0.0)),
    "larger": (lambda a, b: gates.sqrt(gates.maximum(a, b)), (-1.0, 0.0), (0.0, math.inf)),
    "chosen": (lambda a, b: gates.where(a > 0.0, gates.sqrt(a), b), (0.0, 2.0), (0.0, 1.0)),
}


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("lanes", [1, 7, 64, 300])
@pytest.mark.parametrize("name", KINDS)
def test_rule_for_zero_in_lanes(instruction_set, name, lanes, single):
    f, point, expected = KINDS[name]
    dtype = np.float32 if single else np.float64
    special = np.arange(lanes) % 3 == 0
    usual = fp.grad(f, argnums=(0, 1))(1.25, 0.75)
    a, b = (np.where(special, x, y).astype(dtype) for x, y in zip(point, (1.25, 0.75)))
    circuit = fp.trace(f, 1.25, 0.75, dtype=dtype)
    gradients = [np.full(lanes, 7.0, dtype) for _ in range(2)]
    circuit.bind(a, b, in_axes=(0, 0), grad=tuple(gradients))()
    for found, there, elsewhere in zip(gradients, expected, usual):
        if name == "kept" and there == math.inf:
            there = found[0]  # cos(pi / 2) is not quite 0
        np.testing.assert_array_equal(found[special], np.full(special.sum(), there, dtype))
        np.testing.assert_allclose(found[~special], elsewhere, rtol=1e-5 if single else 1e-14)
    at_one_point = circuit.vjp(point, 1.0)[1]
    assert name == "kept" or (dtype(at_one_point[0]), dtype(at_one_point[1])) == expected


@pytest.mark.parametrize("lanes", [1, 7, 300])
def test_rule_for_zero_where_lanes_are_summed(instruction_set, lanes):
    x = np.where(np.arange(lanes) % 3 == 0, 0.0, 4.0)
    circuit = fp.trace(lambda w, x: fp.sqrt(w * x), 1.0, 1.0)
    gradient = np.zeros(())
    circuit.bind(np.ones(()), x, in_axes=(None, 0), reduce="sum", grad=gradient)()
    assert gradient == np.count_nonzero(x)


def products():
    """Functions of an infinite entry, and the gradients by the rule for zero."""
    A, b = np.array([[math.inf, math.nan], [1.0, 2.0]]), np.ones(2)
    yield lambda b: (A @ b)[1], b, [1.0, 2.0]
    yield lambda b: gates.min(np.array([[math.inf], [1.0]]) @ b), np.array([3.0]), [1.0]
    w, B = np.array([0.0, 1.0]), np.array([[math.inf], [2.0]])
    yield lambda b: w @ (B @ b), np.array([3.0]), [2.0]
    yield lambda M: w @ (M @ np.array([3.0])), B, [[0.0], [3.0]]
    yield lambda M: (M @ np.array([[math.inf], [2.0]])).sum(), np.array([[0.0, 1.0]]), [[math.inf, 2.0]]
    yield lambda v: (np.array([[0.0, 1.0]]) @ v).sum(), np.array([[math.inf], [2.0]]), [[0.0], [1.0]]


@pytest.mark.parametrize("number", range(6))
def test_matrix_products_obey_the_rule(engine, number):
    f, point, expected = list(products())[number]
    np.testing.assert_array_equal(engine.grad(f)(point), expected)
    np.testing.assert_array_equal(engine.grad(f)(engine.Array(point)).value, expected)


def test_products_that_overflow_are_in_the_order_of_the_source(engine):
    row = engine.Array([[1e308, 1e308, -1e308, -1e308]])
    assert (row @ np.ones(4)).value.tolist() == [math.inf]
    left = np.array([[1e308, -1e308, 1e308, 1e-3]])
    assert (engine.Array(left) @ np.array([1.0, 1.0, 1.0, 2.0])).value.tolist() == [1e308]
