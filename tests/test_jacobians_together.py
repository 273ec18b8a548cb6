"""Jacobians and Hessians in traced code whose columns are recorded together: maps are pushed along all at once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.derivatives import call
from fastprop.handles.nesting import flatten
from test_outer import programs_of

RANDOM = np.random.default_rng(11)
INF, NAN = math.inf, math.nan
XS, YS, LABELS = RANDOM.normal(size=(40, 4)), RANDOM.normal(size=40), RANDOM.integers(0, 3, 40)
W = RANDOM.normal(size=(3, 4))
P = {"w": W, "b": [RANDOM.normal(size=3), 0.3]}


def hidden(p, x):
    return fp.tanh(p["w"] @ x + p["b"][0]) * p["b"][1]


def residuals(p, xs, ys, labels):
    return fp.vmap(lambda x, y: fp.sum(hidden(p, x)) - y)(xs, ys)


def scores(p, xs, ys, labels):
    return fp.vmap(hidden, in_axes=(None, 0))(p, xs)


def picked(p, xs, ys, labels):
    return fp.vmap(lambda x, y, k: (hidden(p, x)[k] - y, fp.sum(x)))(xs, ys, labels)


def deciding(p, xs, ys, labels):
    return fp.vmap(lambda x, y: fp.sum(hidden(p, x)) * y if x[0] > 0.0 else p["b"][1] * y)(xs, ys)


def loss(p, xs, ys, labels):
    return fp.mean(fp.vmap(lambda x, k: fp.logsumexp(hidden(p, x)) - hidden(p, x)[k])(xs, labels))


def regularised(p, xs, ys, labels):
    return loss(p, xs, ys, labels) + 0.1 * fp.sum(p["w"] ** 2) + fp.sum(residuals(p, xs, ys, labels) ** 2)


def deciding_loss(p, xs, ys, labels):
    return fp.sum(deciding(p, xs, ys, labels) ** 2)


def across(p, xs, ys, labels):
    return fp.sum(fp.vmap(lambda x, y: (fp.sum(hidden(p, x)) - fp.lane_mean(y)) ** 2)(xs, ys))


def in_maps(p, xs, ys, labels):
    return fp.sum(fp.vmap(lambda x: fp.sum(fp.vmap(lambda row: fp.tanh(row @ x))(p["w"])) ** 2)(xs)) * p["b"][1]


def unpacked(p, xs, ys, labels):
    found = residuals(p, xs, ys, labels)
    return [found[0] * found[-1], found, fp.exp(found * 0.1)]


JACOBIANS = [residuals, scores, picked, deciding, unpacked]
HESSIANS = [loss, regularised, deciding_loss, across, in_maps]


def derivative_of(f):
    return (fp.jacobian if f in JACOBIANS else fp.hessian)(f)


def leaves_of(tree):
    return flatten(tree)[0]


def together(monkeypatch):
    """The Jacobians, from now on, whose columns are recorded together."""
    found, before = [], call.Call.by_columns_together

    def noted(self, *args):
        found.append(self)
        return before(self, *args)

    monkeypatch.setattr(call.Call, "by_columns_together", noted)
    return found


@pytest.mark.parametrize("dtype, lanes", [("float64", 1), ("float64", 3), ("float64", 40), ("float32", 8)])
@pytest.mark.parametrize("f", [*JACOBIANS, *HESSIANS])
def test_maps_are_pushed_along_all_columns(f, dtype, lanes, monkeypatch):
    found = together(monkeypatch)
    p = {"w": P["w"].astype(dtype), "b": [P["b"][0].astype(dtype), P["b"][1]]}
    args = p, XS[:lanes].astype(dtype), YS[:lanes].astype(dtype), LABELS[:lanes]
    compiled = fp.compile(derivative_of(f))
    results = [compiled(*args), compiled(*args)]
    rows = {residuals: lanes, scores: 3 * lanes, picked: 2 * lanes, deciding: lanes, unpacked: 1 + 2 * lanes}
    assert bool(found) == (rows.get(f, 16) >= 16)  # of 16 numbers: else rows are fewer than columns
    with fp.eager():
        expected = derivative_of(f)(P, args[1].astype(float), args[2].astype(float), args[3])
    tolerance = 1e-11 if dtype == "float64" else 2e-4
    for result in results:
        for x, y in zip(leaves_of(result), leaves_of(expected), strict=True):
            assert np.shape(x) == np.shape(y)
            assert getattr(x, "dtype", dtype) == dtype
            assert_allclose(x, y, tolerance, tolerance)
    moved = {"w": p["w"] * 0.5, "b": [p["b"][0] + 0.1, -0.2]}  # at other numbers, and on other ways
    other = {"w": P["w"] * 0.5, "b": [P["b"][0] + 0.1, -0.2]}
    with fp.eager():
        expected = derivative_of(f)(other, args[1].astype(float)[::-1], args[2].astype(float), args[3])
    for x, y in zip(leaves_of(compiled(moved, args[1][::-1].copy(), *args[2:])), leaves_of(expected), strict=True):
        assert_allclose(x, y, tolerance, tolerance)


@pytest.mark.parametrize("f", HESSIANS)
def test_by_difference(f):
    flat, nesting = flatten(P, nones=True)
    gradient = fp.compile(fp.grad(f))

    def slope(numbers):
        leaves, start = [], 0
        for x in flat:
            part = numbers[start : start + np.size(x)]
            leaves.append(part.reshape(np.shape(x)) if np.shape(x) else float(part[0]))
            start += np.size(x)
        return np.concatenate([np.ravel(x) for x in leaves_of(gradient(nesting.unflatten(leaves), XS, YS, LABELS))])

    at = np.concatenate([np.ravel(x) for x in flat])
    steps = 1e-5 * np.eye(len(at))
    expected = [(slope(at + step) - slope(at - step)) / 2e-5 for step in steps]
    found = [np.reshape(row, (np.size(part), -1)) for part, row in zip(flat, _rows(f))]
    assert_allclose(np.concatenate(found), expected, 1e-5, 1e-7)


def _rows(f):
    """The Hessian's rows of each leaf, flattened: by compiled code."""
    hessian = fp.compile(fp.hessian(f))(P, XS, YS, LABELS)
    blocks = [hessian["w"], hessian["b"][0], hessian["b"][1]]
    for block in blocks:
        parts = leaves_of(block)
        outer = np.ndim(parts[-1])
        yield np.concatenate([np.reshape(x, (*np.shape(parts[-1])[:outer], -1)) for x in parts], axis=-1)


def test_one_map_for_all_columns_whose_sums_are_products():
    def logistic(w, xs, ys):
        return fp.mean(fp.vmap(lambda x, y: fp.softplus(x @ w) - y * (x @ w))(xs, ys))

    xs, ys, w = RANDOM.normal(size=(300, 9)), (RANDOM.random(300) > 0.5) * 1.0, RANDOM.normal(size=9)
    compiled = fp.compile(fp.hessian(logistic))
    programs = programs_of(lambda: compiled(w, xs, ys))
    assert max(program.outers[:, 1:3].tolist() for program in programs if len(program.outers)) == [[9, 9]]
    slope = 1.0 / (1.0 + np.exp(-xs @ w))
    assert_allclose(compiled(w, xs, ys), (xs.T * slope * (1.0 - slope)) @ xs / 300, 1e-12, 1e-12)


def test_few_columns_of_many_rows_without_maps(monkeypatch):
    found = together(monkeypatch)

    def curve(q, t):
        return q[0] * fp.exp(-q[1] * t) + q[2]

    q, t = np.array([2.0, 0.7, 0.1]), np.linspace(0.0, 3.0, 50)
    expected = np.stack([np.exp(-0.7 * t), -2.0 * t * np.exp(-0.7 * t), np.ones(50)], axis=1)
    assert_allclose(fp.compile(fp.jacobian(curve))(q, t), expected, 1e-13)
    assert_allclose(fp.compile(fp.jacobian(lambda q: curve(q, t)[:2]))(q), expected[:2], 1e-13)
    assert len(found) == 1  # two rows are fewer


def test_sparse_hessians(monkeypatch):
    found = together(monkeypatch)
    x = RANDOM.normal(size=30)

    def rosenbrock(x):
        return fp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    compiled = fp.compile(fp.hessian(rosenbrock))(x)
    assert found
    expected = np.zeros((30, 30))
    for i in range(29):
        expected[i, i] += 1200.0 * x[i] ** 2 - 400.0 * x[i + 1] + 2.0
        expected[i + 1, i + 1] += 200.0
        expected[i, i + 1] = expected[i + 1, i] = -400.0 * x[i]
    assert_allclose(compiled, expected, 1e-12, 1e-12)


def test_dense_hessians_of_few_gates_are_swept(monkeypatch):
    found = together(monkeypatch)
    x = RANDOM.normal(size=20)
    share = np.exp(x) / np.exp(x).sum()
    assert_allclose(fp.compile(fp.hessian(fp.logsumexp))(x), np.diag(share) - np.outer(share, share), 1e-12, 1e-15)
    assert not found


@given(
    lanes=st.integers(1, 20),
    outputs=st.integers(1, 3),
    inputs=st.integers(1, 4),
    single=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(["tanh", "sin", "relu", "square", "swap", "mix", "where"])), max_size=5),
    zeros=st.sets(st.integers(0, 79), max_size=5),
    second=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_columns_and_rows_are_the_same(lanes, outputs, inputs, single, steps, zeros, second):
    dtype = np.float32 if single else np.float64
    xs = RANDOM.normal(size=(lanes, 4)).astype(dtype)
    for k in zeros:
        xs[k // 4 % lanes, k % 4] = 0.0
    w = RANDOM.normal(size=inputs).astype(dtype)

    def lane(w, x):
        numbers = [w[k % inputs] * x[k % 4] for k in range(max(outputs, inputs))]
        for (step,) in steps:
            if step == "swap":
                numbers = numbers[::-1]
            elif step == "mix":
                numbers = [a + b * x[0] for a, b in zip(numbers, [*numbers[1:], w[0]])]
            elif step == "where":
                numbers = [fp.where(a > 0.0, a * w[-1], x[1]) for a in numbers]
            else:
                numbers = [getattr(fp, step)(a) for a in numbers]
        return fp.stack(numbers[:outputs])

    def total(w, xs):
        return fp.sum(fp.vmap(lambda x: fp.sum(lane(w, x) ** 2))(xs))

    f = fp.hessian(total) if second else fp.jacobian(lambda w, xs: fp.vmap(lane, in_axes=(None, 0))(w, xs))
    found = fp.compile(f)(w, xs)
    columns = call.MOST_COLUMNS
    try:
        call.MOST_COLUMNS = 0
        by_rows = fp.compile(f)(w, xs)
    finally:
        call.MOST_COLUMNS = columns
    tolerance = 1e-3 if single else 1e-10
    assert found.dtype == dtype
    assert_allclose(found, by_rows, tolerance, tolerance)
    with fp.eager():
        assert_allclose(found, f(w.astype(float), xs.astype(float)), tolerance, tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_factors_of_exactly_0(dtype, every_instruction_set):
    """What was not chosen in a lane brings nothing to any column, whatever there is."""
    w, xs = np.array([1.0, 2.0, 0.0], dtype), np.ones((20, 3), dtype)
    xs[2], xs[3, 1], xs[5, 0], xs[7] = [-1.0, INF, NAN], NAN, INF, [-2.0, NAN, 1.0]

    def values(w, xs):
        return fp.vmap(lambda x: fp.where(x[0] > 0.0, fp.relu(w[0] * x[0]) ** 2 * w[2], w[1]) * (w @ x))(xs)

    for _ in every_instruction_set:
        for f in (fp.jacobian(values), fp.hessian(lambda w, xs: fp.sum(values(w, xs)[1:2]))):
            found = fp.compile(f)(w, xs)
            with fp.eager():
                assert_array_equal(found, f(w, xs))


def test_what_is_differentiated_again():
    w, xs = RANDOM.normal(size=3), RANDOM.normal(size=(8, 3))

    def values(w):
        return fp.vmap(lambda x: fp.tanh(w @ x) * x[0])(xs)

    def size(w):
        return fp.sum(fp.jacobian(values)(w) ** 2)

    def trace(w):
        hessian = fp.hessian(lambda w: fp.sum(values(w) ** 2))(w)
        return hessian[0, 0] + hessian[1, 1] + hessian[2, 2]

    for f in (size, trace):
        compiled = fp.compile(fp.grad(f))(w)
        with fp.eager():
            assert_allclose(compiled, fp.grad(f)(w), 1e-11, 1e-13)
        assert_allclose(compiled, fp.numerical_grad(f, (w,))[0], 1e-6, 1e-8)
        assert_allclose(fp.compile(lambda w: fp.jvp(f, (w,), (w,))[1])(w), compiled @ w, 1e-11)  # noqa: B023


def test_newton_in_a_scan_and_over_many_models():
    xs, w = RANDOM.normal(size=(60, 3)), RANDOM.normal(size=3) * 0.1
    ys = (xs @ [1.0, -0.5, 0.2] + 0.3 * RANDOM.normal(size=60) > 0.0) * 1.0

    def objective(w, ys):
        return fp.mean(fp.vmap(lambda x, y: fp.softplus(x @ w) - y * (x @ w))(xs, ys)) + 0.01 * fp.sum(w * w)

    def step(w, ys):
        return w - np.linalg.solve(fp.hessian(objective)(w, ys), fp.grad(objective)(w, ys))

    best = fp.compile(lambda w: fp.scan(lambda w, _: (step(w, ys), None), w, None, length=8)[0])(w)
    assert_allclose(fp.grad(objective)(best, ys), 0.0, atol=1e-14)
    many = np.stack([ys, 1.0 - ys])
    moved = fp.compile(fp.vmap(step, in_axes=(None, 0)))(w, many)
    for found, labels in zip(moved, many):
        share = 1.0 / (1.0 + np.exp(-xs @ w))
        slope = xs.T @ (share - labels) / 60 + 0.02 * w
        curvature = (xs.T * share * (1.0 - share)) @ xs / 60 + 0.02 * np.eye(3)
        assert_allclose(found, w - np.linalg.solve(curvature, slope), 1e-10)
