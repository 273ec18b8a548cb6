"""Gradients inside of what is compiled, through products of matrices: at a point, in steps of a scan, in lanes."""

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.trace import let_verify

RANDOM = np.random.default_rng(7)
NETWORK = [0.4 * RANDOM.normal(size=shape) for shape in ((12, 16), (12,), (5, 12), (5,))]
HEADS = [0.4 * RANDOM.normal(size=(16, 7)) for _ in range(3)]
X, Y = 0.4 * RANDOM.normal(size=(8, 16)), 0.4 * RANDOM.normal(size=(8, 5))
SQUARE = 0.4 * RANDOM.normal(size=(6, 6))


@pytest.fixture(autouse=True)
def everything_is_verified():
    before = let_verify(True)
    yield
    let_verify(before)


def batched(p, x):
    return fp.tanh(x @ p[0].T + p[1]) @ p[2].T + p[3]


def single(p, x):
    return p[2] @ fp.tanh(p[0] @ x + p[1]) + p[3]


def attention(p, x):
    q, k, v = x @ p[0], x @ p[1], x @ p[2]
    return fp.softmax(q @ k.T) @ v


def recurrent(p, xs):
    h = p[1] * 0.0
    for x in xs:
        h = fp.tanh(p[0] @ x + p[2].T[:, :5] @ h[:5] + p[1])
    return h


def squares(a):
    return fp.sum(a * a)


def moved(p, slopes):
    return [w - 0.1 * slope for w, slope in zip(p, slopes)]


def two_steps(p, s):
    def loss(p):
        return fp.mean((batched(p, s * X) - Y) ** 2)

    before, slopes = fp.value_and_grad(loss)(p)
    p = moved(p, slopes)
    after, slopes = fp.value_and_grad(loss)(p)
    return moved(p, slopes), before, after


def pulled_twice(p, s):
    def several(p):
        return [squares(batched(p, X) - s * Y), fp.sum(batched(p, X)[0]), fp.sum(single(p, X[1]))]

    out, pull = fp.vjp(several, p)
    return [a + 2.0 * b for a, b in zip(pull([1.0, 0.0, 0.5])[0], pull([out[1], 2.0, 0.0])[0])], out


PROGRAMS = {
    "batched": (lambda p, s: fp.value_and_grad(lambda p: fp.mean((batched(p, s * X) - Y) ** 2))(p), NETWORK),
    "two steps": (two_steps, NETWORK),
    "pulled twice": (pulled_twice, NETWORK),
    "single": (lambda p, s: fp.value_and_grad(lambda p: squares(single(p, s * X[0])))(p), NETWORK),
    "of inputs": (lambda p, s: fp.grad(lambda x: squares(batched(p, x) - Y))(s * X) * X, NETWORK),
    "of constants": (lambda p, s: fp.grad(lambda x: squares(X @ (p[0].T * x)))(s), NETWORK),
    "attention": (lambda p, s: fp.value_and_grad(lambda p: squares(attention(p, s * X)))(p), HEADS),
    "attention's inputs": (lambda p, s: fp.grad(lambda x: squares(attention(p, x)))(s * X), HEADS),
    "recurrent": (lambda p, s: fp.value_and_grad(lambda p: squares(recurrent(p, s * X)))(p), NETWORK),
    "jacobian": (lambda p, s: fp.jacobian(lambda x: single(p, x))(s * X[0]), NETWORK),
    "both matrices": (
        lambda p, s: fp.grad(lambda a: fp.tanh(0.01 * squares(a @ p[0] + (a @ p[0]) ** 2) * s))(p[0].T), [SQUARE]
    ),
    "held": (
        lambda p, s: fp.grad(lambda p: squares(fp.stop_gradient(batched(p, s * X)) * batched(p, X)))(p), NETWORK
    ),
}  # fmt: skip


def in_steps(f):
    def step(carry, s):
        return [0.9 * w for w in carry], f(carry, s)

    return lambda p, s: fp.scan(step, p, np.array([1.0, -0.5]) * s)


PLACES = {
    "point": lambda f: f,
    "steps": in_steps,
    "lanes": lambda f: lambda p, s: fp.vmap(f, in_axes=(None, 0))(p, np.array([1.0, 2.0, -0.5]) * s),
    "lanes of what is computed": lambda f: (
        lambda p, s: fp.vmap(lambda r: f([w * s for w in p], r))(np.linspace(0.1, 1.0, 35))
    ),
    "lanes of their own": lambda f: (
        lambda p, s: fp.vmap(lambda r: f([w * r for w in p], s * r))(np.array([1.0, 2.0, -0.5]))
    ),
    "closures in lanes": lambda f: lambda p, s: fp.vmap(lambda r: f(p, r))(np.array([1.0, 2.0, -0.5]) * s),
}


def numbers_of(tree):
    if isinstance(tree, (list, tuple)):
        return np.concatenate([numbers_of(part) for part in tree])
    return np.ravel(np.asarray(fp.stop_gradient(tree), np.float64))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_products_are_swept_inside(name, place):
    f, p = PROGRAMS[name]
    f = PLACES[place](f)
    with fp.eager():
        expected = numbers_of(f(p, 0.7))
    scale = np.abs(expected).max()
    for dtype, digits in (("float64", 1e-10), ("float32", 1e-4)):
        compiled = fp.compile(f, dtype=dtype)
        given = [w.astype(dtype) for w in p]
        for _ in range(2):
            np.testing.assert_allclose(numbers_of(compiled(given, 0.7)), expected, rtol=digits, atol=digits * scale)


@pytest.mark.parametrize("name", ["batched", "two steps", "attention"])
def test_sums_become_products_beside_gradients(name):
    f, p = PROGRAMS[name]
    compiled = fp.compile(f)
    compiled(p, 0.7)
    report = compiled.circuits()[0].summary()
    assert " product" in report and "no products" not in report


def test_what_is_the_same_in_all_lanes_multiplies_in_each_of_them():
    """A variable may stand for one number of all lanes, where a product wants a row."""
    a, x, y = RANDOM.normal(size=(6, 8)), RANDOM.normal(size=(8, 8)), RANDOM.normal(size=(8, 6))

    def of_lane(a, s):
        return fp.value_and_grad(lambda a: fp.mean((x @ a.T * s - y) ** 2))(a)

    scales = np.linspace(-1.0, 2.0, 300)
    values, slopes = fp.compile(lambda a: fp.vmap(lambda s: of_lane(a * 1.0, s))(scales))(a)
    for s, value, slope in zip(scales, values, slopes):
        error = x @ a.T * s - y
        np.testing.assert_allclose(value, np.mean(error**2), rtol=1e-12)
        np.testing.assert_allclose(slope, 2.0 * s * error.T @ x / error.size, rtol=1e-10, atol=1e-13)
