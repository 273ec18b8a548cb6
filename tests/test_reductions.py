"""Reductions and scans of arrays, against NumPy and SciPy on every front, and at their edges."""

import math
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference
from fronts import (
    blocks,
    check_derivatives,
    check_edge,
    check_edge_everywhere,
    check_layouts,
    check_values,
    fixed,
    numbers,
)

block = blocks()

INF, NAN = math.inf, math.nan


def softmax(m, a, axis=-1):
    """The softmax by NumPy's own functions, or fastprop's."""
    if m is np and isinstance(a, np.ndarray):
        return np.exp(a) / np.exp(a).sum(axis, keepdims=True)
    return fp.softmax(a, axis)


def log_softmax(m, a, axis=-1):
    """Its logarithm, likewise."""
    if m is np and isinstance(a, np.ndarray):
        return a - np.log(np.exp(a).sum(axis, keepdims=True))
    return fp.log_softmax(a, axis)


def norm(m, a, *args, **options):
    """NumPy's norm, or fastprop's."""
    return (np.linalg if m is np else m).norm(a, *args, **options)


ROWS = {
    "var": (lambda m, a: m.var(a), block(2, 3)),
    "var along axes": (lambda m, a: m.var(a, axis=(0, -1), ddof=1, keepdims=True), block(2, 3, 2)),
    "std": (lambda m, a: m.std(a), block(2, 3)),
    "std along an axis": (lambda m, a: m.std(a, axis=1, ddof=1), block(2, 3)),
    "std kept": (lambda m, a: m.std(a, 0, keepdims=True), block(2, 3)),
    "norm": (lambda m, a: norm(m, a), block(2, 3)),
    "norm along an axis": (lambda m, a: norm(m, a, axis=-1), block(2, 3)),
    "norm 1": (lambda m, a: norm(m, a, 1, axis=0), block(2, 3)),
    "norm 2": (lambda m, a: norm(m, a, 2), block(4)),
    "norm 3": (lambda m, a: norm(m, a, 3, axis=1, keepdims=True), block(2, 3)),
    "norm 2.5": (lambda m, a: norm(m, a, 2.5), block(4)),
    "norm 0": (lambda m, a: norm(m, a, 0) * a, block(4)),
    "norm inf": (lambda m, a: norm(m, a, INF), block(4)),
    "norm -inf": (lambda m, a: norm(m, a, -INF, 1), block(2, 3)),
    "norm fro": (lambda m, a: norm(m, a, "fro", axis=(0, 2)), block(2, 2, 2)),
    "norm 1 of matrices": (lambda m, a: norm(m, a, 1, (1, 2)), block(2, 2, 3)),
    "norm -1 of a matrix": (lambda m, a: norm(m, a, -1), block(2, 3)),
    "norm inf of matrices": (lambda m, a: norm(m, a, INF, (0, 1), keepdims=True), block(3, 2, 2)),
    "norm -inf of a matrix": (lambda m, a: norm(m, a, -INF), block(3, 2)),
    "softmax": (lambda m, a: softmax(m, a), block(2, 3)),
    "softmax along an axis": (lambda m, a: softmax(m, a, 0), block(3, 2)),
    "log_softmax": (lambda m, a: log_softmax(m, a), block(2, 3)),
    "log_softmax along an axis": (lambda m, a: log_softmax(m, a, -2), block(2, 2, 2)),
    "sum along no axis": (lambda m, a: m.sum(a, axis=()), block(2, 3)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["argmax", "argmin", "any", "all", "count_nonzero"])
def test_what_has_no_derivative(name, axis, keepdims):
    x = np.array([[1.0, 0.0, -2.0], [3.0, 0.5, 3.0]])
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    for engine in (reference, fp):
        found = getattr(np, name)(engine.Array(x), axis=axis, keepdims=keepdims)
        assert_array_equal(found, expected)
        assert np.asarray(found).dtype == np.asarray(expected).dtype
        assert_array_equal(getattr(engine, name)(x, axis=axis, keepdims=keepdims), expected)
    traced = fp.compile(lambda x: fp.where(getattr(fp, name)(x, axis=axis, keepdims=keepdims) == expected, 1.0, 0.0))
    assert_array_equal(traced(x), np.ones(np.shape(expected)))
    moved = x[::-1] - 1.0
    expected = getattr(np, name)(moved, axis=axis, keepdims=keepdims)
    counted = fp.compile(fp.vmap(lambda x: getattr(np, name)(x, axis=axis, keepdims=keepdims) * 1.0))
    assert_array_equal(counted(np.stack([x, moved]))[1], expected)


def test_where_the_extremes_are_in_circuits():
    f = fp.compile(lambda x: x[fp.argmax(x)] * 2.0)
    assert f(np.array([1.0, 5.0, 5.0])) == 10.0
    assert f(np.array([7.0, 5.0, 5.0])) == 14.0
    assert_array_equal(fp.compile(fp.grad(lambda x: x[np.argmin(x)] ** 2))(np.array([2.0, -1.0, 3.0])), [0, -2, 0])
    first = fp.compile(lambda x: fp.argmax(x))
    for row in ([1.0, 3.0, 3.0], [1.0, NAN, 3.0, NAN], [NAN, 1.0], [-INF, -INF]):
        assert first(np.array(row)) == np.argmax(row)
    with pytest.raises(ValueError, match="argmax"):
        fp.argmax(fp.Array(np.zeros(0)))
    w = fp.Array([1.0, 2.0])
    of_leaf = fp.compile(lambda x: x[fp.argmax(w)])
    assert of_leaf(np.array([3.0, 4.0])).value == 4.0
    w.value = [2.0, 1.0]
    assert of_leaf(np.array([3.0, 4.0])).value == 3.0


def test_truths_of_conditions():
    f = fp.compile(lambda x: fp.where(fp.any(x > 1.0) & fp.all(x > 0.0), fp.count_nonzero(x > 1.0), -1.0))
    assert f(np.array([2.0, 3.0, 0.5])) == 2.0
    assert f(np.array([2.0, 3.0, -0.5])) == -1.0


@pytest.mark.parametrize("name", ["std along an axis", "softmax", "norm 3"])
def test_layouts(name):
    check_layouts(*ROWS[name])


@settings(max_examples=20)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    single=st.booleans(),
    keepdims=st.booleans(),
    data=st.data(),
)
def test_random_shapes_axes_and_dtypes(shape, single, keepdims, data):
    x = fixed(*shape).astype(np.float32 if single else np.float64)
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    for f in (np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std):
        handle = fp.Array(x)
        found, expected = f(handle, axis=axis, keepdims=keepdims), f(x, axis=axis, keepdims=keepdims)
        assert found.shape == np.shape(expected)
        assert not found.shape or found.dtype == x.dtype
        assert_allclose(found.value, expected, rtol=1e-5 if single else 1e-13, atol=1e-6 if single else 1e-14)
        found.backward(np.ones(found.shape, x.dtype) if found.shape else 1.0)
        assert handle.grad.dtype == x.dtype


def test_methods(engine):
    x = fixed(2, 3)
    a = engine.Array(x)
    assert_allclose(a.var(axis=0, ddof=1).value, x.var(axis=0, ddof=1), rtol=1e-14)
    assert_allclose(a.std(1, keepdims=True).value, x.std(1, keepdims=True), rtol=1e-14)
    assert a.argmax() == x.argmax()
    assert_array_equal(a.argmin(axis=1), x.argmin(axis=1))
    assert a.any() and not (a * 0.0).all()


ANY = None

EDGES = {
    "max with NaN": (lambda m, a: m.max(a, axis=1), [[[NAN, 1.0], [2.0, 1.0]]], [NAN, 2], [[[NAN, NAN], [1, 0]]]),
    "max of ties": (lambda m, a: m.max(a), [[1.0, 1.0, 0.0]], 1, [[0.5, 0.5, 0]]),
    "max of -inf": (lambda m, a: m.max(a), [[-INF, -INF]], -INF, [[0.5, 0.5]]),
    "max of zeros": (lambda m, a: 1.0 / m.max(a), [[0.0, -0.0]], INF, [ANY]),
    "max of zeros, turned": (lambda m, a: 1.0 / m.max(a), [[-0.0, 0.0]], INF, [ANY]),
    "max of -0": (lambda m, a: 1.0 / m.max(a), [[-0.0, -0.0]], -INF, [ANY]),
    "min of zeros": (lambda m, a: 1.0 / m.min(a), [[0.0, -0.0]], -INF, [ANY]),
    "min of zeros, turned": (lambda m, a: 1.0 / m.min(a), [[-0.0, 0.0]], -INF, [ANY]),
    "ties of zeros": (lambda m, a: m.min(a), [[-0.0, 0.0]], 0, [[0.5, 0.5]]),
    "prod with NaN": (lambda m, a: m.prod(a), [[NAN, 2.0, 3.0]], NAN, [[6, NAN, NAN]]),
    "prod with inf": (lambda m, a: m.prod(a), [[INF, 0.0, 3.0]], NAN, [[0, INF, NAN]]),
    "prod of rows with zeros": (lambda m, a: m.prod(a, axis=1), [[[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]]], [0, 0],
     [[[0, 6, 0], [0, 0, 0]]]),
    "prod that overflows": (lambda m, a: m.prod(a), [[1e200, 1e200, 1e-300]], INF, [[1e-100, 1e-100, INF]]),
    "prod that underflows": (lambda m, a: m.prod(a), [[1e-200, 1e-200, 1e300]], 0, [[1e100, 1e100, 0]]),
    "var, ddof n": (lambda m, a: m.var(a, ddof=2), [[3.0, 4.0]], INF, [[-INF, INF]]),
    "var, ddof above n": (lambda m, a: m.var(a, ddof=3), [[3.0, 4.0]], INF, [[-INF, INF]]),
    "var, ddof n, beside the mean": (lambda m, a: m.var(a, ddof=3), [[3.0, 3.5, 4.0]], INF, [[-INF, NAN, INF]]),
    "std, ddof above n, beside the mean": (lambda m, a: m.std(a, ddof=4), [[3.0, 3.5, 4.0]], INF, [[-INF, NAN, INF]]),
    "std of one, ddof 1": (lambda m, a: m.std(a, axis=1, ddof=1), [[[3.0]]], NAN, [NAN]),
    "var beside inf": (lambda m, a: m.var(a), [[INF, 1.0, 2.0]], NAN, [NAN]),
    "var that overflows": (lambda m, a: m.var(a), [[-1e308, 1e308]], INF, [[-1e308, 1e308]]),
    "var of one, ddof 1": (lambda m, a: m.var(a, ddof=1), [[3.0]], NAN, [[NAN]]),
    "var of large numbers": (lambda m, a: m.var(a), [[1e16, 1e16 + 2, 1e16 + 4]], 8 / 3, [[-4 / 3, 0, 4 / 3]]),
    "std of equals": (lambda m, a: m.std(a, axis=1), [[[2.0, 2.0], [1.0, 3.0]]], [0, 1], [[[0, 0], [-0.5, 0.5]]]),
    "std of one": (lambda m, a: m.std(a), [[2.0]], 0, [[0]]),
    "std of huge": (lambda m, a: m.std(a), [[1e200, -1e200]], 1e200, [[0.5, -0.5]]),
    "std of tiny": (lambda m, a: m.std(a), [[1e-200, -1e-200]], 1e-200, [[0.5, -0.5]]),
    "std of the least": (lambda m, a: m.std(a), [[5e-324, -5e-324]], 5e-324, [[0.5, -0.5]]),
    "std that overflows": (lambda m, a: m.std(a, ddof=1), [[1.5e308, -1.5e308]], INF, [[0.5**0.5, -(0.5**0.5)]]),
    "norm of a zero row": (lambda m, a: m.norm(a, axis=1), [[[0.0, 0.0], [3.0, 4.0]]], [0, 5],
     [[[0, 0], [0.6, 0.8]]]),
    "norm of a zero matrix": (lambda m, a: m.norm(a), [np.zeros((2, 2))], 0, [0]),
    "norm of huge": (lambda m, a: m.norm(a), [[3e200, 4e200]], 5e200, [[0.6, 0.8]]),
    "norm of the least": (lambda m, a: m.norm(a), [[5e-324, 1e-323]], 1e-323, [[0.2**0.5, 0.8**0.5]]),
    "norm 3 of the least": (lambda m, a: m.norm(a, 3), [[5e-324, 0.0]], 5e-324, [[1, 0]]),
    "norm that overflows": (lambda m, a: m.norm(a), [[1.5e308, 1.5e308]], INF, [[0.5**0.5, 0.5**0.5]]),
    "norm of inf": (lambda m, a: m.norm(a), [[INF, 1.0]], INF, [[0, 0]]),
    "norm of NaN beside 0": (lambda m, a: m.norm(a), [[NAN, 0.0, 2.0]], NAN, [[NAN, 0, NAN]]),
    "norm 0 with NaN": (lambda m, a: m.norm(a, 0), [[NAN, 0.0, 2.0]], 2, [0]),
    "norm -2 of nothing": (lambda m, a: m.norm(a, -2, axis=0), [np.zeros((0, 2))], [INF, INF], [0]),
    "norm -1 of inf": (lambda m, a: m.norm(a, -1), [[INF, INF]], INF, [0]),
    "norm -1 of far numbers": (lambda m, a: m.norm(a, -1), [[1e-200, 1e200]], 1e-200, [[1, 0]]),
    "norm inf of nothing": (lambda m, a: m.norm(a, INF, axis=0), [np.zeros((0, 2))], [0, 0], [0]),
    "norm 1 of no matrix": (lambda m, a: m.norm(a, 1), [np.zeros((3, 0))], 0, [0]),
    "norm 1 with zero": (lambda m, a: m.norm(a, 1), [[0.0, 2.0]], 2, [[0, 1]]),
    "norm inf of zeros": (lambda m, a: m.norm(a, INF), [[0.0, 0.0]], 0, [0]),
    "norm 3 of zeros": (lambda m, a: m.norm(a, 3), [[0.0, 0.0]], 0, [0]),
    "norm inf of ties": (lambda m, a: m.norm(a, INF), [[2.0, -2.0, 1.0]], 2, [[0.5, -0.5, 0]]),
    "norm -inf of ties": (lambda m, a: m.norm(a, -INF), [[2.0, -1.0, 1.0]], 1, [[0, -0.5, 0.5]]),
    "logsumexp that overflows": (lambda m, a: m.logsumexp(a), [[-1.5e308, 1.5e308]], 1.5e308, [[0, 1]]),
    "logsumexp of nothing": (lambda m, a: m.logsumexp(a), [np.zeros(0)], -INF, [0]),
    "log_softmax near 0": (lambda m, a: m.log_softmax(a)[0], [[40.0, 0.0]], -4.248354255291589e-18,
     [[4.248354255291589e-18, -4.248354255291589e-18]]),
    "softmax near 1": (lambda m, a: m.softmax(a)[0], [[40.0, 0.0]], 1,
     [[4.248354255291589e-18, -4.248354255291589e-18]]),
    "softmax that underflows": (lambda m, a: m.softmax(a)[1], [[740.0, 0.0]], math.exp(-740),
     [[-math.exp(-740), math.exp(-740)]]),
    "softmax of inf": (lambda m, a: m.softmax(a), [[INF, 0.0]], [NAN, NAN], [NAN]),
    "log_softmax of inf": (lambda m, a: m.log_softmax(a), [[INF, 0.0]], [NAN, NAN], [NAN]),
    "softmax of -inf alone": (lambda m, a: m.softmax(a), [[-INF, -INF]], [NAN, NAN], [NAN]),
    "softmax beside -inf": (lambda m, a: m.softmax(a), [[-INF, 0.0, 0.0]], [0, 0.5, 0.5], [0]),
    "log_softmax beside -inf": (lambda m, a: m.log_softmax(a), [[-INF, 0.0]], [-INF, 0], [[1, -1]]),
    "softmax of one": (lambda m, a: m.softmax(a) * 3.0 + m.log_softmax(a), [[5.0]], [3], [0]),
    "softmax of inf alone": (lambda m, a: m.softmax(a), [[INF]], NAN, [NAN]),
    "log_softmax of NaN alone": (lambda m, a: m.log_softmax(a), [[NAN]], NAN, [NAN]),
    "softmax of nothing": (lambda m, a: m.softmax(a), [np.zeros(0)], [], [0]),
    "distances": (lambda m, a: m.sum(m.norm(a - m.stack([a[1], a[0]]), axis=-1)), [[[0.0, 0.0], [3.0, 4.0]]], 10,
     [[[-1.2, -1.6], [1.2, 1.6]]]),
    "all distances": (lambda m, a: m.sum(m.norm(a[:, None] - a[None], axis=-1)), [[[0.0, 0.0], [3.0, 4.0]]], 10,
     [[[-1.2, -1.6], [1.2, 1.6]]]),
    "all distances by sqrt": (lambda m, a: m.sum(m.sqrt(m.sum((a[:, None] - a[None]) ** 2, axis=-1))),
     [[[0.0, 0.0], [3.0, 4.0]]], 10, [[[-1.2, -1.6], [1.2, 1.6]]]),
    "weights of 0": (lambda m, w, x: m.sum(w * m.log(x)), [[0.0, 1.0], [0.0, 2.0]], NAN, [ANY, [0, 0.5]]),
    "a vector over its norm at 0": (lambda m, a: m.sum(a / m.maximum(m.norm(a), 1e-6)), [[0.0, 0.0]], 0, [1e6]),
    "mean of nothing": (lambda m, a: m.mean(a), [np.zeros(0)], NAN, [0]),
    "var of nothing": (lambda m, a: m.var(a), [np.zeros(0)], NAN, [0]),
    "norm of nothing": (lambda m, a: m.norm(a), [np.zeros(0)], 0, [0]),
    "max of rows of (2, 0)": (lambda m, a: m.max(a, axis=0), [np.zeros((2, 0))], [], [0]),
    "sum of a number along axis 0": (lambda m, a: m.sum(a, axis=0), [3.0], 3, [1]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES.values(), ids=EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


@pytest.mark.parametrize("rows", [1, 3, 4, 9, 17])
def test_equal_rows_have_equal_logsumexps(rows):
    """Some are computed eight at once, and a last one that is left alone would not tie with them to the last bit."""
    slopes = fp.compile(fp.grad(lambda x: fp.max(fp.logsumexp(x, axis=1))))
    rng = np.random.default_rng(0)
    for _ in range(300):
        x = np.tile(3.0 * rng.normal(size=5), (rows, 1))
        assert_allclose(slopes(x).sum(1), np.full(rows, 1.0 / rows), rtol=1e-14)


@pytest.mark.parametrize("rows", [3, 4, 16, 37])
@pytest.mark.parametrize("terms", [5, 100, 20000])
def test_float32_rows_have_their_digits_however_long_they_are(rows, terms):
    """At one point and in lanes, in a few units; long sums are added up in parts."""
    terms = min(terms, 60000 // rows)
    x = np.random.default_rng(1).normal(size=(rows, terms)).astype(np.float32) - 3.0
    x[:, 0] = 4.0
    wide = x.astype(np.float64)
    exact = np.log(np.exp(wide).sum(1))
    shares = np.exp(wide - exact[:, None])

    values = fp.compile(lambda x: fp.logsumexp(x, axis=1))(x)
    slopes = fp.compile(fp.grad(lambda x: fp.sum(fp.logsumexp(x, axis=1))))(x)
    mapped = fp.compile(fp.vmap(fp.value_and_grad(fp.logsumexp)))(x)
    for found, wanted in ((values, exact), (slopes, shares), (mapped[0], exact), (mapped[1], shares)):
        assert found.dtype == np.float32
        assert_allclose(found, wanted, rtol=2e-6)


def test_logsumexp_near_0(engine):
    tiny = 4.248354255291589e-18
    check_edge(engine, engine.logsumexp, [[0.0, -40.0]], tiny, [[1.0, tiny]])
    rows = np.array([[0.0, -40.0], [-INF, 0.0], [INF, 0.0], [-INF, -INF]])
    expected = [tiny, 0.0, INF, -INF]
    assert_allclose(engine.logsumexp(engine.Array(rows), axis=1).value, expected, rtol=1e-14)
    assert_allclose(engine.logsumexp(rows, axis=1), expected, rtol=1e-14)
    assert fp.compile(fp.logsumexp)(rows[0]) == pytest.approx(tiny, rel=1e-14)


HESSIANS = {
    "max squared": (lambda m, a: m.max(a) ** 2, [3.0, 3.0], [[0.5, 0.5], [0.5, 0.5]]),
    "max of squares": (lambda m, a: m.max(a * a), [3.0, 3.0], [[1, 0], [0, 1]]),
    "log_softmax": (lambda m, a: m.log_softmax(a)[0], [40.0, 0.0],
     4.248354255291589e-18 * np.array([[-1, 1], [1, -1]])),
    "logsumexp of -inf": (lambda m, a: m.logsumexp(a), [-INF, -INF], [[0, 0], [0, 0]]),
    "var of equals": (lambda m, a: m.var(a), [2.0, 2.0], [[0.5, -0.5], [-0.5, 0.5]]),
    "std of equals": (lambda m, a: m.std(a), [2.0, 2.0], [[0, 0], [0, 0]]),
    "norm at 0": (lambda m, a: m.norm(a), [0.0, 0.0], [[0, 0], [0, 0]]),
    "norm beside 0": (lambda m, a: m.norm(a), [0.0, 2.0], [[0.5, 0], [0, 0]]),
    "norm squared at 0": (lambda m, a: m.norm(a) ** 2, [0.0, 0.0], [[0, 0], [0, 0]]),
    "x @ x at 0": (lambda m, a: a @ a, [0.0, 0.0], [[2, 0], [0, 2]]),
    "prod": (lambda m, a: m.prod(a), [0.0, 0.0, 5.0], [[0, 5, 0], [5, 0, 0], [0, 0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "point", "expected"), HESSIANS.values(), ids=HESSIANS)
def test_hessians(f, point, expected):
    for engine in (reference, fp):
        found = engine.hessian(lambda a: f(engine, a))(np.array(point))  # noqa: B023
        assert_allclose(found, expected, rtol=1e-13, atol=0.0)
    assert_allclose(fp.compile(fp.hessian(lambda a: f(fp, a)))(np.array(point)), expected, rtol=1e-12, atol=0.0)


MAX_OF_NAN = [[NAN, 1.0], [NAN, INF], [INF, NAN, INF]]
EVERYWHERE = {
    "eager": lambda f, x: fp.hessian(lambda a: f(fp, a))(x),
    "reference": lambda f, x: reference.hessian(lambda a: f(reference, a))(x),
    "forward": lambda f, x: np.stack([fp.hvp(lambda a: f(fp, a), (x,), (e,)) for e in np.eye(len(x))]),
    "compiled": lambda f, x: fp.compile(fp.hessian(lambda a: f(fp, a)))(x),
    "mapped": lambda f, x: fp.vmap(fp.hessian(lambda a: f(fp, a)))(x[None])[0],
}


@pytest.mark.parametrize("front", EVERYWHERE.values(), ids=EVERYWHERE)
@pytest.mark.parametrize("x", MAX_OF_NAN, ids=str)
def test_an_extreme_of_nan_is_nan_to_any_order(x, front):
    x = np.array(x)
    for f in (lambda m, a: m.max(a), lambda m, a: m.min(a * a)):
        assert np.isnan(front(f, x)).all()
    assert not front(lambda m, a: m.max(m.where(np.isnan(x), 0.0, a)), x).any()


def shares_of(x):
    """The softmax in 60 digits, and for each share the sum of the others."""
    with mpmath.workdps(60):
        powers = [mpmath.exp(float(a)) for a in x]
        p = [power / mpmath.fsum(powers) for power in powers]
        return p, [mpmath.fsum(b for j, b in enumerate(p) if j != i) for i in range(len(p))]


@pytest.mark.parametrize(
    "x", [[0.0, 40.0, 80.0], [80.0, 40.0, 0.0], [0.0, 0.0, 300.0], [-30.0, 0.0, 5.0, 37.0]], ids=str
)
def test_hessians_of_shares_keep_their_digits(x):
    p, others = shares_of(x)
    n = len(x)
    with mpmath.workdps(60):
        of_sum = [[p[i] * others[i] if i == j else -p[i] * p[j] for j in range(n)] for i in range(n)]
        slope = [[others[i] if i == j else -p[j] for j in range(n)] for i in range(n)]
        of_share = [
            [[float(p[k] * (slope[k][i] * slope[k][j] - of_sum[i][j])) for j in range(n)] for i in range(n)]
            for k in range(n)
        ]
        of_sum = np.array([[float(a) for a in row] for row in of_sum])
    for name, front in EVERYWHERE.items():
        assert_allclose(front(lambda m, a: m.logsumexp(a), np.array(x)), of_sum, rtol=1e-13)
        if name not in ("compiled", "mapped"):  # which docs/limits.md tells of
            assert_allclose(front(lambda m, a: m.logsumexp(a[None], axis=(0, 1)), np.array(x)), of_sum, rtol=1e-13)
            for k in range(n):
                assert_allclose(front(lambda m, a: m.log_softmax(a)[k], np.array(x)), -of_sum, rtol=1e-13)  # noqa: B023
                assert_allclose(front(lambda m, a: m.softmax(a)[k], np.array(x)), of_share[k], rtol=1e-13)  # noqa: B023


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hessians_of_logsumexp_are_finite_where_shares_vanish(dtype):
    """The slope of the logarithm of what others are, below the least normal number, would be infinite."""
    smallest = np.finfo(dtype).tiny
    far = -np.log(smallest)

    def f(a):
        return fp.logsumexp(a)

    for apart in (far - 2.0, far + 2.0, far + 12.0, far + 40.0):
        x, v = np.array([apart, 0.0, 1.0, -2.0], dtype), np.array([1.0, 1.0, -1.0, 0.5], dtype)
        expected = fp.hessian(f)(x)
        for front in (fp.compile(fp.hessian(f)), lambda x: fp.vmap(fp.hessian(f))(x[None])[0]):
            assert_allclose(front(x), expected, rtol=1e-3, atol=2.0 * smallest)
        for product in (
            lambda x, v: fp.hvp(f, (x,), (v,)),
            lambda x, v: fp.grad(lambda x: fp.dot(fp.grad(f)(x), v))(x),
            lambda x, v: fp.hvp(lambda x: fp.nn.cross_entropy(x, 1), (x,), (v,)),
        ):
            assert_allclose(fp.compile(product)(x, v), expected @ v, rtol=1e-3, atol=2.0 * smallest)


@pytest.mark.parametrize("x", [[1.0, 2.0, 4.0], [2.0, 2.0, 2.0], [-1.0, 5.0]], ids=str)
def test_an_infinite_pull_on_a_variance(x):
    x = np.array(x)
    with np.errstate(invalid="ignore"):
        expected = np.where(x == x.mean(), 0.0, (x - x.mean()) * INF)
    for engine in (reference, fp):
        for found in (
            engine.grad(lambda a: INF * engine.var(a))(x),  # noqa: B023
            engine.vjp(engine.var, x)[1](INF)[0],
            [engine.jvp(engine.var, (x,), (e,))[1] * INF if e @ x != x.mean() else 0.0 for e in np.eye(len(x))],
        ):
            assert_array_equal(np.array(found), expected)
    total = fp.grad(lambda a: INF * fp.var(a))
    assert_array_equal(fp.compile(total)(x), expected)
    assert_array_equal(fp.compile(fp.vmap(total))(np.stack([x, x]))[1], expected)


def test_the_mean_of_none_has_no_slope():
    none = np.zeros(0)

    def mapped(w):
        return fp.vmap(lambda w, x: w * fp.sin(x), (None, 0), "mean")(w, none)

    def summed(w):
        return fp.mean(fp.vmap(lambda w, x: w * fp.sin(x), (None, 0))(w, none))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (mapped, summed):
            for value, slope in (
                fp.value_and_grad(f)(2.0),
                fp.compile(fp.value_and_grad(f))(2.0),
                fp.jvp(f, (2.0,), (1.0,)),
                fp.compile(lambda w, f=f: fp.jvp(f, (w,), (1.0,)))(2.0),
                fp.trace(f, 2.0).jvp((2.0,), (1.0,)),
            ):
                assert math.isnan(value) and slope == 0.0
        for engine in (reference, fp):
            value, tangent = engine.jvp(lambda a: engine.mean(engine.sin(a)), (none,), (none,))  # noqa: B023
            assert math.isnan(value) and tangent == 0.0
        assert math.isnan(fp.mean(none)) and np.isnan(fp.mean(np.zeros((0, 2)), axis=0)).all()


def test_a_masked_row_of_attention_brings_nothing(engine):
    scores = np.array([[0.0, 1.0], [-INF, -INF]])
    v = engine.Array([[1.0, 2.0], [3.0, 4.0]])
    rows = np.array([[True], [False]])
    engine.where(rows, engine.softmax(engine.Array(scores)) @ v, 0.0).backward(np.ones((2, 2)))
    weights = np.exp(scores[0]) / np.exp(scores[0]).sum()
    assert_allclose(v.grad, np.repeat(weights[:, None], 2, axis=1), rtol=1e-14)


def test_float32_adds_up_as_float64():
    ones = fp.Array(np.ones((2**20, 2), np.float32) * np.float32(0.1))
    assert_array_equal(fp.mean(ones, axis=0).value, np.float32([0.1, 0.1]))
    a = fp.Array(np.ones(3, np.float32))
    a[np.zeros(2**20, int)].sum().backward()
    assert_array_equal(a.grad, [2**20, 0, 0])


REFUSED = {
    "max of no rows of nothing": (lambda a: fp.max(a[:0, :0], axis=1), ValueError, "zero-size"),
    "argmax of no rows of nothing": (lambda a: fp.argmax(a[:0, :0], axis=1), ValueError, "argmax"),
    "max of rows of nothing": (lambda a: fp.max(a[:, :0], axis=1), ValueError, "zero-size"),
    "argmax of nothing": (lambda a: fp.argmax(a[:, :0]), ValueError, "argmax"),
    "an axis twice": (lambda a: fp.sum(a, axis=(0, 0)), ValueError, "duplicate"),
    "a truth value for an axis": (lambda a: fp.count_nonzero(a, axis=True), TypeError, "integer"),
    "the extreme along two axes": (lambda a: fp.argmin(a, axis=(0, 1)), TypeError, "integer"),
    "an axis too far": (lambda a: fp.std(a, axis=2), np.exceptions.AxisError, "out of bounds"),
    "softmax of a number": (lambda a: fp.softmax(a[0, 0]), ValueError, "single number"),
    "norm of three axes": (lambda a: fp.norm(a[None], 2), ValueError, "expected one axis, or two"),
    "spectral norm": (lambda a: fp.norm(a, 2), TypeError, "np.linalg.eigh"),
    "fro of vectors": (lambda a: fp.norm(a[0], "fro"), ValueError, "one of matrices"),
    "out": (lambda a: np.std(a, out=np.zeros(())), TypeError, "out"),
    "median": (lambda a: np.median(a), TypeError, "use np.sort"),
    "diagonals of stacks": (lambda a: np.linalg.diagonal(a), TypeError, "axis1=-2"),
    "lstsq": (lambda a: np.linalg.lstsq(a, a), TypeError, "use np.linalg.qr"),
    "trace": (lambda a: fp.trace(a), TypeError, r"a\.trace\(\)"),
}


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call(fp.Array(np.ones((2, 3))))
    with pytest.raises(kind):
        fp.compile(call)(np.ones((2, 3)))


def test_plain_numbers(engine):
    assert engine.std([1.0, 3.0]) == 1.0
    assert numbers(engine.norm(np.array([3.0, 4.0]))) == 5.0
    assert engine.argmax([1.0, 2.0]) == 1


def test_single_numbers(engine):
    for f in (np.max, np.min, np.sum, np.std, np.linalg.norm, np.flip, np.squeeze):
        for value in (0.0, -0.0, 2.0):
            u = engine.Unit(value)
            result = f(u)
            result.backward()
            assert result.value == (0.0 if f is np.std else value)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gap", [30.0, 88.0, 95.0, 103.0, 110.0, 709.0, 730.0, 745.0, 800.0, np.inf])
def test_slopes_are_finite_however_far_the_others_are(name, dtype, gap):
    """Where the others' sum is too small for a reciprocal, circuits too."""
    function = getattr(fp, name)
    for x in ([0.0, -gap], [-gap, -gap, 0.0], [3.0, -gap, -gap, 1.0]):
        x = np.array(x, dtype)

        def loss(x):
            return function(x)[0] * 1.5 + function(x)[-1]

        expected, tiny = np.asarray(fp.grad(loss)(x)), float(np.finfo(dtype).tiny)
        assert np.isfinite(expected).all()
        for found in (fp.compile(fp.grad(loss))(x), fp.compile(fp.vmap(fp.grad(loss)))(np.stack([x, x]))[1]):
            np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype is np.float32 else 1e-12, atol=4.0 * tiny)
        values = fp.compile(function)(x)
        np.testing.assert_allclose(values, function(x), rtol=5e-6 if dtype is np.float32 else 1e-13, atol=2.0 * tiny)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x", [[0.0, -INF], [1e30, 0.0], [-INF, 3.0, -INF], [0.0, -800.0, -INF]])
def test_a_share_without_others_does_not_change(name, dtype, x):
    """Its derivatives are exactly 0, so that pulls that are no numbers bring nothing, in circuits as without."""
    x = np.array(x, dtype)
    alone = int(np.argmax(x))

    def loss(x, pull):
        return getattr(fp, name)(x)[alone] * pull

    for pull in (1.0, INF, NAN):
        expected = reference.grad(lambda x: getattr(reference, name)(x)[alone] * pull)(x)  # noqa: B023
        lanes = fp.vmap(fp.grad(loss), in_axes=(0, None))
        for found in (fp.grad(loss)(x, pull), fp.compile(fp.grad(loss))(x, pull), fp.compile(lanes)(x[None], pull)[0]):
            assert_array_equal(found, expected)
            assert_array_equal(found, np.zeros(len(x)))


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "logsumexp"])
@pytest.mark.parametrize("engine", [fp, reference], ids=["engine", "reference"])
def test_a_single_number_is_reduced_to_itself(name, engine):
    unit = engine.Unit(1.5)
    found = getattr(engine, name)(unit, axis=None)
    found.backward()
    assert (found.value, unit.grad) == (1.5, 1.0)
    assert fp.compile(lambda x: getattr(fp, name)(x, axis=None))(1.5) == 1.5


@pytest.mark.parametrize(("shape", "axis"), [((0, 3), -1), ((2, 0), 0), ((0, 3), 0)])
@pytest.mark.parametrize("order", [3.0, -1.0, INF])
def test_norms_of_no_numbers_and_of_none_at_all(shape, axis, order):
    x = np.zeros(shape)
    np.testing.assert_array_equal(
        fp.compile(lambda x: fp.norm(x, order, axis=axis))(x), fp.norm(fp.Array(x), order, axis=axis).value
    )


def outcome(call):
    """What a call gives, as plain numbers, or the kind of its error."""
    try:
        return np.asarray(numbers(call())).tolist()
    except (ValueError, TypeError) as error:
        return type(error)


SINGLE = ["sum", "mean", "max", "prod", "var", "std", "argmax", "any", "count_nonzero"]


@pytest.mark.parametrize("name", [*SINGLE, "sort", "argsort", "cumsum", "cumprod", "flip"])
def test_axes_of_a_single_number_are_numpys(name):
    for axis in (None, (), 0, -1, 1, (0,)):
        expected = outcome(lambda: getattr(np, name)(1.5, axis=axis))  # noqa: B023
        found = [outcome(lambda: getattr(m, name)(m.Unit(1.5), axis=axis)) for m in (reference, fp)]  # noqa: B023
        traced = fp.compile(lambda x: getattr(fp, name)(x, axis=axis))  # noqa: B023
        assert [*found, outcome(lambda: traced(1.5))] == [expected] * 3, axis  # noqa: B023


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "logsumexp"])
@pytest.mark.parametrize("axis", [1, -1, (1, 2), (-2, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_of_each_lane_of_many_numbers(name, axis, keepdims):
    """Of what a map has made: by another map, and no number is a gate of its own."""
    xs = np.random.default_rng(0).normal(size=(70, 4, 6))
    weights = np.cos(np.arange(70))

    def reduced(xs):
        made = fp.vmap(lambda x: fp.tanh(x) * 1.5)(xs)
        return getattr(fp, name)(made, axis=axis, keepdims=keepdims)

    def weighed(xs):
        return fp.sum(fp.sum(reduced(xs).reshape(70, -1), axis=1) * weights)

    compiled, gradient = fp.compile(reduced), fp.compile(fp.grad(weighed))
    for scale in (1.0, -0.5):
        with fp.eager():
            expected, slope = reduced(xs * scale), fp.grad(weighed)(xs * scale)
        assert_allclose(compiled(xs * scale), expected, 1e-12, 1e-14)
        assert_allclose(gradient(xs * scale), slope, 1e-12, 1e-15)
    assert len(fp.trace(reduced, xs)) == 2
