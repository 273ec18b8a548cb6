"""Gradients inside of what is compiled, through products of matrices: at a point, in steps of a scan, in lanes."""

import gc
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop.engine.program import Program
from fastprop.engine.trace import let_verify
from programs import seeds

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


def layers(ws, x):
    """Layers with what products are not, numbers that many read, and a number that decides nothing."""
    for w in ws:
        x = fp.tanh(w @ x) + x[0] * 0.1
    return fp.where(x > 0.2, x * x, x)


def gradients_in(compiled):
    """The lines of listings that begin gradients inside, and products that are taken together in them."""
    gc.collect()
    programs = [x for x in gc.get_objects() if isinstance(x, Program) and not x.lanes]
    lines = [line for program in programs for line in program.listing()]
    return (
        sum(line.startswith("gradient of") for line in lines),
        sum(line.startswith("pull matmul") and "together" in line for line in lines),
    )


@pytest.mark.parametrize("seed", seeds(30, 300))
def test_rows_of_a_jacobian_are_what_they_are_eagerly(seed):
    rng = np.random.default_rng(seed)
    sizes, single = rng.integers(1, 40, rng.integers(2, 5)).tolist(), rng.random() < 0.5
    special, dtype = [None, 0.0, -0.0, np.inf, np.nan][seed % 5], np.float32 if single else np.float64
    ws = [rng.normal(size=(b, a)).astype(dtype) * 0.5 for a, b in itertools.pairwise(sizes)]
    x = rng.normal(size=sizes[0]).astype(dtype)
    if special is not None:
        ws[-1][rng.integers(sizes[-1]), rng.integers(sizes[-2])] = special
        x[rng.integers(sizes[0])] = special
    compiled = fp.compile(lambda ws, x: fp.jacobian(lambda x: layers(ws, x))(x))
    tolerance = 1e-4 if single else 1e-11
    with fp.eager():
        expected = fp.jacobian(lambda x: layers(ws, x))(x)
    for _ in range(2):
        found = compiled(ws, x)
        assert found.dtype == dtype
        assert_allclose(found, expected, tolerance, tolerance)


@pytest.mark.parametrize("size", [20, 70, 300])
def test_rows_are_swept_together_and_products_of_one_matrix_with_them(size):
    """As many as stay in the cache, and 64 at most."""
    rng = np.random.default_rng(0)
    ws = [rng.normal(size=(size, size)) * size**-0.5 for _ in range(2)]
    x = rng.normal(size=size)
    before = gradients_in(None)
    compiled = fp.compile(lambda ws, x: fp.jacobian(lambda x: fp.tanh(ws[1] @ fp.tanh(ws[0] @ x)))(x))
    found = compiled(ws, x)
    groups, products = np.subtract(gradients_in(compiled), before)
    assert (groups == 1) == (size == 20)
    assert groups <= size / 10
    assert products == 2 * groups
    hidden = np.tanh(ws[0] @ x)
    outside = 1.0 - np.tanh(ws[1] @ hidden) ** 2
    assert_allclose(found, outside[:, None] * (ws[1] * (1.0 - hidden**2)) @ ws[0], 1e-10, 1e-13)


@pytest.mark.parametrize("results", [60, 65, 70, 90])
def test_rows_through_products_of_many_numbers_have_adjoints_of_their_own(results):
    """What is pulled on one row's product is still needed while that of the next row is written, however long it is."""
    v, w = RANDOM.normal(size=(results, 8)), RANDOM.normal(size=(8, results))
    directions = RANDOM.normal(size=(6, results, results))
    slopes = 1.0 - np.tanh(v @ w) ** 2
    expected = [direction * slopes @ w.T for direction in directions]

    def rows(v, w):
        return fp.jacobian(lambda v: fp.stack([fp.sum(fp.tanh(v @ w) * direction) for direction in directions]))(v)

    def pulled(v, w):
        _, pull = fp.vjp(lambda v: fp.tanh(v @ w), v)
        return [pull(direction)[0] for direction in directions]

    for f in (rows, pulled):
        assert_allclose(fp.compile(f)(v, w), expected, 1e-11, 1e-12)


def test_pulls_that_hang_on_other_gradients_are_swept_after_them():
    def chained(w, x):
        _, pull = fp.vjp(lambda x: fp.tanh(w @ x), x)
        found = [pull(direction)[0] for direction in np.eye(6)]
        more = [pull(found[k] * 0.5)[0] for k in range(6)]
        return found, more, [pull(part * 2.0)[0] for part in more]

    w, x = RANDOM.normal(size=(6, 6)), RANDOM.normal(size=6)
    compiled = fp.compile(chained)(w, x)
    jacobian = (1.0 - np.tanh(w @ x) ** 2)[:, None] * w
    expected = [jacobian, 0.5 * jacobian @ jacobian, jacobian @ jacobian @ jacobian]
    for part, other in zip(compiled, expected, strict=True):
        assert_allclose(part, other, 1e-12, 1e-14)


def test_rows_through_maps_and_arrays_are_swept_one_by_one():
    xs = RANDOM.normal(size=(30, 5))

    def values(w):
        found = fp.vmap(lambda x: fp.tanh(w @ x))(xs)
        return fp.stack([fp.sum(found), fp.sum(found * found), found[0], found[3] * w[0], w[1]])

    w = RANDOM.normal(size=5)
    with fp.eager():
        expected = fp.jacobian(values)(w)
    compiled = fp.compile(lambda w: [fp.grad(lambda w, k=k: values(w)[k])(w) for k in range(5)])
    for _ in range(2):
        assert_allclose(compiled(w), expected, 1e-12, 1e-14)
