"""Running sums and products, differences, sorting and searching, against NumPy on every front, and at their edges."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference
from fronts import blocks, check_derivatives, check_edge_everywhere, check_layouts, check_refused, check_values, fixed

block = blocks()

INF, NAN = math.inf, math.nan

ROWS = {
    "cumsum": (lambda m, a: m.cumsum(a), block(2, 3)),
    "cumsum along an axis": (lambda m, a: m.cumsum(a, axis=-2), block(2, 3)),
    "cumprod": (lambda m, a: m.cumprod(a), block(2, 2)),
    "cumprod along an axis": (lambda m, a: m.cumprod(a, 1), block(2, 3)),
    "diff": (lambda m, a: m.diff(a), block(2, 3)),
    "diff twice": (lambda m, a: m.diff(a, 2, axis=0), block(3, 2)),
    "diff of nothing": (lambda m, a: m.diff(a, 3), block(2)),
    "sort": (lambda m, a: m.sort(a), block(2, 5)),
    "sort along an axis": (lambda m, a: m.sort(a, axis=0), block(3, 2)),
    "sort of all": (lambda m, a: m.sort(a, axis=None), block(2, 3)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


@pytest.mark.parametrize("name", ["cumsum", "cumprod along an axis", "sort"])
def test_layouts(name):
    check_layouts(*ROWS[name])


@settings(max_examples=20)
@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=2).map(tuple), single=st.booleans(), data=st.data())
def test_random_shapes_and_dtypes(shape, single, data):
    x = np.round(fixed(*shape), 1).astype(np.float32 if single else np.float64)
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    for f in (np.cumsum, np.cumprod, np.sort):
        handle = fp.Array(x)
        found, expected = f(handle, axis=axis), f(x, axis=axis)
        assert found.dtype == x.dtype
        assert_allclose(found.value, expected, rtol=1e-5 if single else 1e-14, atol=1e-6)
        found.backward(np.ones(found.shape, x.dtype))
    assert_array_equal(np.argsort(fp.Array(x), axis=axis), np.argsort(x, axis=axis, kind="stable"))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8])
def test_networks_put_everything_in_order(n):
    ordered = fp.compile(lambda x: (fp.sort(x), fp.argsort(x) * 1.0))
    random = np.random.default_rng(n)
    rows = [np.array(row) for row in itertools.permutations(range(n))] if n <= 4 else random.permuted(
        np.tile(np.arange(float(n)), (30, 1)), axis=1
    )  # fmt: skip
    for row in [*rows, *random.choice([0.0, 1.0, NAN, -INF], (30, n))]:
        found, places = ordered(row.astype(float))
        assert_array_equal(found, np.sort(row))
        assert_array_equal(places, np.argsort(row, kind="stable"))


def test_sort_in_lanes_and_its_gradient():
    f = fp.compile(fp.vmap(fp.grad(lambda x: fp.sum(fp.sort(x) * np.arange(1.0, 4.0)))))
    rows = np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 3.0], [NAN, 1.0, 0.0]])
    assert_array_equal(f(rows), [[3, 1, 2], [1, 2, 3], [3, 2, 1]])
    ranked = fp.compile(lambda x, y: y[fp.argsort(x)])
    assert_array_equal(ranked(np.array([3.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0])), [20, 30, 10])


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(engine, side):
    a, v = np.array([-1.0, 0.0, 0.0, 2.0]), np.array([[-2.0, -1.0, -0.0], [0.5, 2.0, NAN]])
    expected = np.searchsorted(a, v, side)
    assert_array_equal(np.searchsorted(engine.Array(a), engine.Array(v), side), expected)
    assert_array_equal(engine.searchsorted(a, v, side), expected)
    assert engine.searchsorted(engine.Array(a), engine.Unit(1.0), side) == 3
    traced = fp.compile(lambda a, v: fp.searchsorted(a, v, side) * 1.0)
    assert_array_equal(traced(a, v), expected)
    assert fp.compile(lambda a, x: a[fp.searchsorted(a, x, side)])(a, 1.0) == 2.0


def test_methods(engine):
    x = fixed(2, 3)
    a = engine.Array(x)
    assert_allclose(a.cumsum(axis=0).value, x.cumsum(axis=0), rtol=1e-15)
    assert_allclose(a.cumprod().value, x.cumprod(), rtol=1e-15)
    assert_array_equal(a.argsort(axis=0), x.argsort(axis=0))
    assert_array_equal(a.sort().value, np.sort(x))
    assert a[0].sort().searchsorted(100.0) == 3


EDGES = {
    "cumprod with a zero": (lambda m, a: m.cumprod(a), [[2.0, 0.0, 3.0, 4.0]], [2, 0, 0, 0], [[1, 32, 0, 0]]),
    "cumprod with zeros": (lambda m, a: m.cumprod(a), [[2.0, 0.0, 3.0, 0.0, 5.0]], [2, 0, 0, 0, 0],
     [[1, 8, 0, 0, 0]]),
    "cumprod with NaN": (lambda m, a: m.cumprod(a), [[2.0, NAN, 0.0]], [2, NAN, NAN], [[NAN, 2, NAN]]),
    "sort of ties": (lambda m, a: m.sort(a) * np.array([1.0, 2.0, 3.0]), [[2.0, 1.0, 1.0]], [1, 2, 6], [[3, 1, 2]]),
    "sort of NaN": (lambda m, a: m.sort(a), [[NAN, 1.0, 0.0]], [0, 1, NAN], [1]),
    "diff of nothing": (lambda m, a: m.diff(a, n=3), [[1.0, 2.0]], [], [0]),
    "cumsum of nothing": (lambda m, a: m.cumsum(a), [np.zeros(0)], [], [0]),
    "cumsum of infinities": (lambda m, a: m.cumsum(a), [[INF, -INF, 1.0]], [INF, NAN, NAN], [[3, 2, 1]]),
    "cumprod that overflows": (lambda m, a: m.cumprod(a), [[1e200, 1e200, 0.0]], [1e200, INF, NAN],
     [[1e200, 1e200, INF]]),
    "cumprod of nothing": (lambda m, a: m.cumprod(a), [np.zeros(0)], [], [0]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES.values(), ids=EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


def test_hessian_of_cumprod_at_zeros():
    for engine in (reference, fp):
        found = engine.hessian(lambda a: engine.sum(engine.cumprod(a)))(np.array([0.0, 0.0, 5.0]))  # noqa: B023
        assert_array_equal(found, [[0, 6, 0], [6, 0, 0], [0, 0, 0]])


def test_argsort_of_ties_and_nan(engine):
    a = engine.Array([NAN, 1.0, 1.0, -INF])
    assert_array_equal(np.argsort(a), [3, 1, 2, 0])
    assert np.argsort(a).dtype == np.int64


def test_float32_is_added_up_as_float64():
    a = fp.Array(np.full(2**20, np.float32(0.1)))
    assert fp.cumsum(a).value[-1] == np.float32(2**20 * float(np.float32(0.1)))


REFUSED = {
    "fewer than no differences": (lambda a: fp.diff(a, -1), "none below 0"),
    "searching in a matrix": (lambda a: fp.searchsorted(a, 1.0), "expected one axis"),
    "searching at another side": (lambda a: fp.searchsorted(a[0], 1.0, "middle"), '"left" or "right"'),
    "an axis too far": (lambda a: fp.sort(a, axis=2), "out of bounds"),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, text):
    check_refused(call, text)
