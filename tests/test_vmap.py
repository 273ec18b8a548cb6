"""vmap: axes, nesting, regions in sequence, reductions, what bodies capture, gradients of every kind of argument."""

import collections
import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp

Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Model:
    w: Any
    b: Any


X = np.linspace(-2.0, 2.0, 5)
W = np.arange(15.0).reshape(3, 5) / 7.0


def ways(f):
    """A function as it is, compiled, and traced at its first arguments."""

    def traced(*args):
        return fp.trace(f, *args)(*args)

    def eagerly(*args):
        with fp.eager():
            return f(*args)

    return f, fp.compile(f), traced, eagerly


def agree(found, expected, rtol=1e-13):
    if isinstance(expected, (tuple, list)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            agree(a, b, rtol)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            agree(found[key], expected[key], rtol)
    else:
        found = found.value if isinstance(found, (fp.Array, fp.Unit)) else found  # leaves were captured
        assert np.shape(found) == np.shape(expected)
        assert_allclose(found, expected, rtol=rtol, atol=1e-14)


AXES = [
    (lambda x: x * x, (X,), 0, X * X),
    (lambda x: x[0] * x[4], (W,), 0, W[:, 0] * W[:, 4]),
    (lambda x: x[0] * x[2], (W,), 1, W[0] * W[2]),
    (lambda x: x[0] * x[2], (W,), -1, W[0] * W[2]),
    (lambda x: x * 2.0, (W,), -2, W * 2.0),
    (lambda x, y: x * y, (X, X + 1.0), 0, X * (X + 1.0)),
    (lambda x, y: x * y, (X, 3.0), (0, None), X * 3.0),
    (lambda x, y: x.sum() * y, (W, X), [None, 0], W.sum() * X),
    (lambda x, y: x.sum() * y, (W, X), (1, 0), W.sum(0) * X),
    (lambda p: p["a"] * p["b"][1], ({"a": X, "b": (1.0, X)},), ({"a": 0, "b": (None, 0)},), X * X),
    (lambda p, q: p.a * p.b * q, (Pair(X, X), 2.0), (0, None), X * X * 2.0),
    (lambda p, q: p[0] * q, ([2.0], X), (None, 0), 2.0 * X),
    (lambda m: m.w * m.b, (Model(X, X + 2.0),), 0, X * (X + 2.0)),
    (lambda x: (x, {"double": x * 2.0, "rows": fp.Array([x, x])}), (X,), 0,
     (X, {"double": 2.0 * X, "rows": np.stack([X, X], 1)})),
    (lambda x: 4.0, (X,), 0, np.full(5, 4.0)),
    (lambda x: x, (W,), 1, W.T),
    (lambda x: x > 0, (X,), 0, (X > 0).astype(float)),
    (lambda x: fp.where(x > 0, x, 0.0), (X,), 0, np.maximum(X, 0.0)),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(AXES)))
def test_axes(row):
    f, args, axes, expected = AXES[row]
    for call in ways(fp.vmap(f, in_axes=axes))[:3]:
        agree(call(*args), expected)
    if row not in (16,):
        agree(ways(fp.vmap(f, in_axes=axes))[3](*args), expected)


@pytest.mark.parametrize(
    ("args", "axes", "error", "match"),
    [
        ((X, W), 0, ValueError, "different numbers of lanes"),
        ((1.0, 2.0), None, ValueError, "no argument has a lane axis"),
        ((X, 1.0), 0, ValueError, "is a number and has no axis 0"),
        ((X, X), (0,), ValueError, "a tuple of 2"),
        ((X, X), 1, ValueError, "no axis 1"),
        ((X, X), ("0", 0), TypeError, r"in_axes\[0\] holds a str"),
        ((X, X), True, TypeError, "axis is True"),
        ((X, [X]), (0, {"a": 0}), ValueError, "not nested as the argument"),
        ((X, "a"), 0, (TypeError, ValueError), "argument 1"),
    ],
)
def test_wrong_axes(args, axes, error, match):
    for call in ways(fp.vmap(lambda x, y: x, in_axes=axes)):
        with pytest.raises(error, match=match):
            call(*args)


def test_wrong_calls():
    with pytest.raises(TypeError, match="takes a function"):
        fp.vmap(1.0)
    with pytest.raises(ValueError, match="reduce is 'max'"):
        fp.vmap(lambda x: x, reduce="max")
    with pytest.raises(TypeError, match="returned None"):
        fp.vmap(lambda x: None)(X)


# Reductions, lanes


@pytest.mark.parametrize("lanes", [0, 1, 2, 7, 64, 129, 1000])
def test_numbers_of_lanes(lanes):
    x = np.random.default_rng(lanes).normal(size=lanes)
    for f in (lambda x, w: x * x * w, lambda x, w: x * x * w if x > 0 else -x * w):
        expected = np.array([f(a, 0.5) for a in x])
        agree(fp.vmap(f, (0, None))(x, 0.5), expected)
        for reduce in ("sum", "mean"):
            with np.errstate(invalid="ignore"):
                total = expected.sum() / (1.0 if reduce == "sum" else np.float64(lanes))
            for call in ways(fp.vmap(f, (0, None), reduce)):
                if call.__name__ == "traced" and f(-1.0, 0.5) == f(1.0, 0.5) == 0.5 != f(-2.0, 0.5) / 4.0:
                    continue  # a Circuit holds all lanes to one path
                agree(call(x, 0.5), total, 1e-12)
            mapped = fp.vmap(f, (0, None), reduce)
            for gradient in (fp.compile(fp.grad(mapped, (0, 1))), fp.grad(mapped, (0, 1))):
                by_x, by_w = gradient(x, 0.5)
                assert by_x.shape == (lanes,)
                if lanes or reduce == "sum":
                    agree(by_w, total / 0.5, 1e-11)


def test_reductions_of_several_results():
    f = fp.vmap(lambda x: (x, {"a": fp.Array([x, x * x])}), reduce="mean")
    for call in ways(f):
        agree(call(X), (X.mean(), {"a": np.array([X.mean(), (X * X).mean()])}))
    compiled = fp.compile(fp.grad(lambda x: f(x)[0] * f(x)[1]["a"][1]))
    agree(compiled(X), (X * X).mean() / 5 + 2 * X * X.mean() / 5)


# Nesting


def test_nested_vmaps():
    y = np.array([1.0, 2.0, 3.0])
    outer = fp.vmap(fp.vmap(lambda x, y: x * y + x, in_axes=(None, 0)), in_axes=(0, None))
    for call in ways(outer):
        agree(call(X, y), X[:, None] * y + X[:, None])
    inner = fp.vmap(fp.vmap(lambda x, y: fp.tanh(x * y), (None, 0), "sum"), (0, None), "mean")
    t = np.tanh(X[:, None] * y)
    for call in ways(inner):
        agree(call(X, y), t.sum(1).mean())
    by_x, by_y = fp.compile(fp.grad(inner, (0, 1)))(X, y)
    agree(by_x, ((1 - t * t) * y).sum(1) / 5)
    agree(by_y, ((1 - t * t) * X[:, None]).sum(0) / 5)
    matrix = fp.vmap(fp.vmap(lambda x: x * x if x > 0.5 else -x))
    agree(matrix(W), np.where(W > 0.5, W * W, -W))
    three = fp.vmap(fp.vmap(fp.vmap(lambda x, y, z: x * y * z, (None, None, 0)), (None, 0, None)), (0, None, None))
    agree(three(X, y, y), X[:, None, None] * y[:, None] * y)
    empty = fp.vmap(fp.vmap(lambda x: x * x, reduce="sum"))
    agree(empty(np.zeros((3, 0))), np.zeros(3))
    agree(fp.vmap(fp.vmap(lambda x: (x, fp.Array([x, x]))))(np.zeros((3, 0))), (np.zeros((3, 0)), np.zeros((3, 0, 2))))


def test_vmap_of_transforms():
    agree(fp.vmap(fp.grad(lambda x: x**3))(X), 3 * X**2)
    agree(fp.vmap(fp.grad(fp.grad(lambda x: x**3)))(X), 6 * X)
    agree(fp.vmap(lambda x: fp.jvp(lambda y: y**3, (x,), (1.0,)))(X), (X**3, 3 * X**2))
    value, (by_w, by_x) = fp.vmap(fp.value_and_grad(lambda w, x: w * x**3, (0, 1)), (None, 0))(2.0, X)
    agree((value, by_w, by_x), (2 * X**3, X**3, 6 * X**2))
    found = fp.vmap(fp.grad(lambda p, x: p["a"] * x[0] * x[1] if x[0] > 1 else p["b"][0] * x[2]), (None, 0))(
        {"a": 2.0, "b": [3.0]}, W
    )
    above = W[:, 0] > 1
    agree(found, {"a": np.where(above, W[:, 0] * W[:, 1], 0.0), "b": [np.where(above, 0.0, W[:, 2])]})
    for reduce, scale in (("sum", 5.0), ("mean", 1.0)):
        agree(fp.vmap(fp.grad(lambda x: x**3), reduce=reduce)(X), (3 * X**2).mean() * scale)
        agree(fp.compile(fp.vmap(fp.grad(lambda x: x**3), reduce=reduce))(X), (3 * X**2).mean() * scale)
    sums = fp.compile(fp.grad(lambda x: fp.vmap(fp.grad(lambda y: y**4))(x).sum()))
    agree(sums(X), 12 * X**2)
    with pytest.raises(TypeError, match="argnums"):
        fp.vmap(fp.grad(lambda x: x, 3))(X)


# Regions in sequence


def test_the_logarithm_of_a_mean():
    def f(w, x):
        return fp.log(fp.vmap(lambda x: fp.exp(w * x))(x).mean())

    def g(w, x):
        return fp.log(fp.vmap(lambda w, x: fp.exp(w * x), (None, 0), "mean")(w, x))

    e = np.exp(0.7 * X)
    for h in (f, g):
        for call in ways(h):
            agree(call(0.7, X), np.log(e.mean()))
        by_w, by_x = fp.compile(fp.grad(h, (0, 1)))(0.7, X)
        agree(by_w, (X * e).sum() / e.sum())
        agree(by_x, 0.7 * e / e.sum())
        circuit = fp.trace(h, 0.1, X * 2.0)
        agree(circuit.value_and_grad(0.7, X), (np.log(e.mean()), (X * e).sum() / e.sum()))


def standardised(w, x):
    """vmap, then numbers, then vmap of both, then numbers."""
    a = fp.vmap(lambda y: fp.tanh(w * y) + y)(x)
    mean = a.mean()
    spread = fp.sqrt(fp.vmap(lambda z: (z - mean) ** 2)(a).mean())
    b = fp.vmap(lambda z, y: fp.where(z > mean, (z - mean) / spread, y * w))(a, x)
    return fp.log(fp.vmap(lambda u, z: u * u + z * spread + 3.0)(b, a).sum()) * w


def test_vmap_numbers_vmap():
    for w in (0.5, -1.5):
        value, (by_w, by_x) = fp.value_and_grad(standardised, (0, 1))(w, X)
        slopes = fp.numerical_grad(standardised, (w, X))
        agree(by_w, slopes[0], 1e-6)
        assert_allclose(by_x, slopes[1], rtol=1e-6, atol=1e-7)
        compiled = fp.compile(fp.value_and_grad(standardised, (0, 1)))
        circuit = fp.trace(standardised, 0.3, X + 0.1)
        for found in (compiled(w, X), circuit.value_and_grad(w, X, argnums=(0, 1))):
            agree(found[0], value)
            agree(found[1][0], by_w, 1e-12)
            agree(found[1][1], by_x, 1e-12)
        run = circuit.forward(w, X)
        for times in (1, 2, 3):
            run.backward()
            agree(run.grads[0], by_w * times, 1e-12)
            agree(run.grads[1], by_x * times, 1e-12)


def test_lanes_as_results_take_a_pull_each():
    circuit = fp.trace(lambda w, x: (fp.vmap(lambda y: fp.sin(w * y))(x), fp.vmap(lambda y: y * y)(x), w * 2.0), 0.5, X)
    pull = np.arange(1.0, 6.0)
    value, (by_w, by_x) = circuit.vjp((0.7, X), (pull, pull * 10.0, 100.0))
    agree(value, (np.sin(0.7 * X), X * X, 1.4))
    agree(by_w, (pull * X * np.cos(0.7 * X)).sum() + 200.0)
    agree(by_x, pull * 0.7 * np.cos(0.7 * X) + 20.0 * pull * X)
    with pytest.raises(ValueError, match=r"the pull\[0\] has shape \(4,\)"):
        circuit.vjp((0.7, X), (pull[:4], pull, 1.0))


def test_gates_on_lanes():
    def f(x):
        a = fp.vmap(lambda y: y * y)(x)
        return (a * 2.0 + x - a / 4.0, np.exp(a), a.sum(), np.mean(a), fp.maximum(a, 1.0), -a)

    a = X * X
    for call in ways(f)[1:3]:
        agree(call(X), (a * 1.75 + X, np.exp(a), a.sum(), a.mean(), np.maximum(a, 1.0), -a))


# What bodies capture


def test_bodies_capture_outer_values_leaves_and_constants():
    leaf, block = fp.Unit(2.0), fp.Array([3.0, 5.0])
    constant = np.array([7.0, 11.0])

    def f(w, x):
        inner = fp.exp(w)

        def body(y):
            return y * inner * leaf + block[1] * y + constant[0] * w + y * (block * block).sum()

        return fp.vmap(body)(x).mean() + inner

    def expected(w, x, leaf, block):
        return (x * np.exp(w) * leaf + block[1] * x + 7.0 * w + x * (block * block).sum()).mean() + np.exp(w)

    compiled, slopes = fp.compile(f), fp.compile(fp.grad(f, (0, 1)))
    circuit = fp.trace(f, 0.0, X)
    for w, value, values in [(0.3, 2.0, [3.0, 5.0]), (-0.4, -1.0, [1.0, 2.0])]:
        leaf.value, block.value = value, values
        x = X + 1.0
        agree(compiled(w, x), expected(w, x, value, np.array(values)))
        by_w, by_x = slopes(w, x)
        agree(by_w, x.mean() * np.exp(w) * value + 7.0 + np.exp(w))
        agree(by_x, np.full(5, np.exp(w) * value + values[1] + np.square(values).sum()) / 5)
    leaf.grad, block.grad = 0.0, [0.0, 0.0]
    run = circuit.forward(-0.4, X + 1.0)
    run.backward(10.0)
    agree(leaf.grad, 10.0 * np.exp(-0.4) * (X + 1.0).mean())
    agree(np.asarray(block.grad), 10.0 * (X + 1.0).mean() * np.array([2.0 * 1.0, 1.0 + 2.0 * 2.0]))


def test_eager_handles_through_vmap():
    f = fp.vmap(lambda w, x: w * x * x if x > 0 else -x, in_axes=(None, 0))
    w, x = fp.Unit(3.0), fp.Array([1.0, -2.0, 4.0])
    y = f(w, x)
    assert_array_equal(y.value, [3.0, 2.0, 48.0])
    y.backward(np.array([1.0, 10.0, 100.0]))
    assert w.grad == 1.0 + 1600.0
    assert_array_equal(x.grad, [6.0, -10.0, 2400.0])
    agree(fp.grad(lambda w: f(w, X).sum())(2.0), (X * X)[X > 0].sum())
    agree(fp.grad(fp.grad(lambda w: f(w * w, X).sum()))(2.0), 2 * (X * X)[X > 0].sum())
    assert f(2.0, np.array([fp.Unit(3.0).value, 1.0])).tolist() == [18.0, 2.0]
    total = fp.vmap(lambda x: x * w, reduce="mean")(x)
    w.grad = 0.0
    total.backward()
    assert w.grad == 1.0


def test_gradients_of_uniform_mapped_and_computed_arguments():
    def body(w, v, x, y):
        return fp.vmap(lambda w, r, y, k: w[0] * r + w[1] * y[0] * r + fp.sin(k) * y[0], (None, 0, 1, 0), "sum")(
            w, x * v, y, x
        )

    w, v, y = [0.5, -1.5], 0.7, np.linspace(1.0, 2.0, 5).reshape(1, 5)
    by_w, by_v, by_x, by_y = fp.compile(fp.grad(body, (0, 1, 2, 3)))(w, v, X, y)
    r = X * v
    agree(by_w, [r.sum(), (y[0] * r).sum()])
    agree(by_v, (X * (w[0] + w[1] * y[0])).sum())
    agree(by_x, v * (w[0] + w[1] * y[0]) + np.cos(X) * y[0])
    agree(by_y, (w[1] * r + np.sin(X)).reshape(1, 5))
    for argnum, expected in enumerate((by_w, by_v, by_x, by_y)):  # wanted alone
        agree(fp.compile(fp.grad(body, argnum))(w, v, X, y), expected)


def test_a_mapped_argument_that_is_used_outside_as_well():
    f = fp.compile(fp.value_and_grad(lambda x: fp.vmap(lambda y: y * x[0])(x).sum() + x[1] * 10.0 + (x * x).sum()))
    value, slope = f(X)
    agree(value, (X * X[0]).sum() + X[1] * 10.0 + (X * X).sum())
    expected = X[0] + 2 * X
    expected[0] += X.sum()
    expected[1] += 10.0
    agree(slope, expected)


def test_the_same_lanes_mapped_twice_and_a_dead_one():
    def f(x):
        a = fp.vmap(lambda y: y * y)(x)
        fp.vmap(lambda y: fp.log(y))(a)  # not used
        return (a + a).sum() + fp.vmap(lambda y: y * 3.0, reduce="sum")(a)

    agree(fp.compile(fp.value_and_grad(f))(X), (5 * (X * X).sum(), 10 * X))


def test_layouts_of_mapped_arrays():
    f = fp.compile(fp.value_and_grad(fp.vmap(lambda x: x[0] * x[1] * x[1], reduce="sum")))
    x = np.random.default_rng(0).normal(size=(70, 2))
    expected = ((x[:, 0] * x[:, 1] ** 2).sum(), np.stack([x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], 1))
    frozen = x.copy()
    frozen.flags.writeable = False
    misaligned = np.frombuffer(bytearray(70 * 16 + 1), np.float64, 140, 1).reshape(70, 2)
    misaligned[:] = x
    for given_x in (
        x,
        np.asfortranarray(x),
        np.repeat(x, 2, 0)[::2],
        x[::-1].copy()[::-1],
        x.astype(">f8"),
        frozen,
        misaligned,
    ):
        agree(f(given_x), expected, 1e-12)
    assert_array_equal(fp.vmap(lambda x: x * 2.0)(np.arange(3)), [0.0, 2.0, 4.0])
    assert fp.vmap(lambda x: x)(x.astype(np.float32)).dtype == np.float32
    with pytest.raises(TypeError, match="float32"):
        fp.compile(fp.vmap(lambda x: x), dtype="float64")(x.astype(np.float32))
    single = fp.compile(fp.vmap(lambda x: fp.exp(x)), dtype="float32")(X.astype(np.float32))
    assert single.dtype == np.float32
    assert_allclose(single, np.exp(X), rtol=1e-6)


@settings(max_examples=30)
@given(
    st.lists(st.floats(-2, 2, allow_nan=False), min_size=1, max_size=140),
    st.floats(-2, 2, allow_nan=False),
    st.sampled_from(["sum", "mean"]),
)
def test_against_the_eager_engine(x, w, reduce):
    def body(w, x):
        return fp.tanh(w * x) * fp.maximum(x, w) + fp.softplus(x) * w

    x = np.array(x)
    mapped = fp.vmap(body, (None, 0), reduce)
    value, (by_w, by_x) = fp.compile(fp.value_and_grad(mapped, (0, 1)))(w, x)
    pairs = [fp.value_and_grad(body, (0, 1))(w, float(a)) for a in x]
    scale = 1.0 if reduce == "sum" else 1.0 / len(x)
    assert value == pytest.approx(sum(p[0] for p in pairs) * scale, rel=1e-11, abs=1e-11)
    assert by_w == pytest.approx(sum(p[1][0] for p in pairs) * scale, rel=1e-10, abs=1e-10)
    assert_allclose(by_x, [p[1][1] * scale for p in pairs], rtol=1e-11, atol=1e-12)


def test_transforms_of_vmap_inside_of_what_is_compiled():
    def f(w):
        return fp.grad(lambda w: fp.vmap(lambda x: fp.sin(w * x))(X).sum())(w)

    for call in (f, fp.compile(f)):
        agree(call(0.5), (X * np.cos(0.5 * X)).sum())
    agree(fp.compile(fp.grad(f))(0.5), -(X * X * np.sin(0.5 * X)).sum())


@pytest.mark.parametrize("lanes", [1, 3, 5000])
def test_gradients_of_what_a_body_does_not_read_are_zero(lanes):
    columns = np.ones((lanes, 3))
    gradient = fp.vmap(fp.grad(lambda x: x[1] * x[1]))
    for _ in range(3):
        assert_array_equal(gradient(columns), np.tile([0.0, 2.0, 0.0], (lanes, 1)))
        columns.copy().fill(np.nan)  # memory that is given back is not zero


def test_a_mask_chooses_among_the_lanes_of_a_map():
    mask, x = np.array([True, False, True]), np.array([1.0, 2.0, 3.0])
    chosen = fp.compile(lambda v: fp.where(mask, fp.vmap(lambda q: q * 2.0)(v), 0.0))
    assert chosen(x).tolist() == [2.0, 0.0, 6.0]


POINTS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])


def rows_and_more(row):
    return row * 2.0, {"outer": np.outer(row, row), "none": None, "sum": row.sum()}


OUTER = np.einsum("ni,nj->nij", POINTS, POINTS)


@pytest.mark.parametrize(
    ("f", "out_axes", "expected"),
    [
        (lambda row: row * row, 1, (POINTS * POINTS).T),
        (lambda row: np.outer(row, row), -1, np.moveaxis(OUTER, 0, -1)),
        (fp.vmap(lambda x: x + 1.0), 1, POINTS.T + 1.0),
        (
            rows_and_more,
            (1, {"outer": 2, "none": None, "sum": 0}),
            (2.0 * POINTS.T, {"outer": np.moveaxis(OUTER, 0, 2), "none": None, "sum": POINTS.sum(1)}),
        ),
        (rows_and_more, (-1, 0), (2.0 * POINTS.T, {"outer": OUTER, "none": None, "sum": POINTS.sum(1)})),
    ],
    ids=["a row", "a matrix", "inner", "nested", "for all inside"],
)
def test_the_axis_of_the_points_in_results(f, out_axes, expected):
    mapped = fp.vmap(f, out_axes=out_axes)
    handles = fp.tree_map(lambda x: x.value, mapped(fp.Array(POINTS)))
    for found in (mapped(POINTS), fp.compile(mapped)(POINTS), handles):
        np.testing.assert_equal(found, expected)


def test_gradients_of_results_with_the_points_along_another_axis():
    weights = np.arange(6.0).reshape(3, 2)

    def f(x):
        return fp.sum(fp.vmap(lambda row: row * row, out_axes=1)(x) * weights)

    for gradient in (fp.grad(f), fp.compile(fp.grad(f))):
        assert_array_equal(gradient(POINTS), 2.0 * POINTS * weights.T)
    both = fp.vmap(fp.vmap(lambda row: row + 1.0, out_axes=1), out_axes=2)(np.ones((2, 3, 4)))
    assert both.shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("out_axes", "error", "message"),
    [
        (None, ValueError, "out_axes is None, but the result there is not the same at all points"),
        (2, ValueError, "out_axes is 2, and the result there has shape"),
        ((1, 0), ValueError, "not nested as the result is"),
        ("0", TypeError, "out_axes holds a str"),
        (True, TypeError, "out_axes is a bool"),
    ],
)
def test_out_axes_that_are_no_axes(out_axes, error, message):
    with pytest.raises(error, match=message):
        fp.vmap(lambda row: row, out_axes=out_axes)(POINTS)
    with pytest.raises(ValueError, match="what is reduced has no points"):
        fp.vmap(lambda row: row, out_axes=1, reduce="sum")


# What is the same at all points ---------------------------------------------------------------------------------------

SAME = {
    "of what is": (lambda w, x: (w * w, w * x), 9.0),
    "an argument": (lambda w, x: (w, x), 3.0),
    "a constant": (lambda w, x: (5.0, w * x), 5.0),
    "nested": (lambda w, x: ([w + np.ones(2), {"none": None}], x), [np.full(2, 4.0), {"none": None}]),
    "of all points": (lambda w, x: (w * fp.lane_sum(x), x), 0.0),
    "of a map inside": (lambda w, x: (fp.sum(fp.vmap(lambda y: y * w)(np.arange(3.0))), x), 9.0),
    "NaN": (lambda w, x: (w * np.nan, x), np.nan),
    "a truth value": (lambda w, x: (w > 1.0, x), True),
}


@pytest.mark.parametrize(("f", "expected"), SAME.values(), ids=SAME)
def test_what_is_the_same_at_all_points_stands_alone(f, expected):
    mapped = fp.vmap(f, (None, 0), out_axes=(None, 0))
    for call in ways(mapped):
        found, rest = call(3.0, X)
        np.testing.assert_equal(found, expected)
        assert rest.shape == (5,)
    found = fp.compile(fp.vmap(mapped, (0, None)))(np.array([1.0, 3.0]), X)[0]
    np.testing.assert_equal(fp.tree_map(lambda part: part[1], found), expected)


def test_what_all_ways_of_an_if_give_is_the_same_at_all_points():
    mapped = fp.vmap(lambda w, x: (w * 2.0 if x > 0.0 else w + 3.0, x), (None, 0), out_axes=(None, 0))
    for call in (mapped, fp.compile(mapped)):
        assert call(3.0, X)[0] == 6.0
        with pytest.raises(ValueError, match="is not the same at all points"):
            call(2.0, X)


def test_gradients_of_what_is_the_same_at_all_points():
    def f(w):
        square, rest = fp.vmap(lambda w, x: (w * w, w * x), (None, 0), out_axes=(None, 0))(w, X + 1.0)
        return square * fp.sum(rest)

    for gradient in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda w: fp.grad(f)(w))):
        assert gradient(2.0) == pytest.approx(60.0, rel=1e-14)
    assert_allclose(fp.vmap(fp.grad(f))(np.array([1.0, 2.0])), [15.0, 60.0], rtol=1e-14)
    assert fp.compile(fp.hessian(f))(2.0) == pytest.approx(60.0, rel=1e-14)
    w = fp.Unit(2.0)
    f(w).backward()
    assert w.grad == pytest.approx(60.0, rel=1e-14)


def test_what_is_not_the_same_at_all_points_is_refused_at_every_call():
    for f in (lambda x: x, lambda x: [x * 2.0 if x > 0.0 else x]):
        for call in (fp.vmap(f, out_axes=None), fp.compile(fp.vmap(f, out_axes=None))):
            expected = f(1.5)
            for _ in range(2):
                assert call(np.full(4, 1.5)) == expected
                with pytest.raises(ValueError, match="is not the same at all points; give it an axis"):
                    call(X)
            with pytest.raises(ValueError, match="there are no points"):
                call(np.zeros(0))


@dataclasses.dataclass
class Both:
    w: object
    b: object


def test_axes_are_nested_in_dataclasses_too():
    given = Both(np.arange(6.0).reshape(3, 2), 2.0)
    mapped = fp.vmap(lambda p: fp.sum(p.w) * p.b, in_axes=(Both(0, None),))
    for f in (mapped, fp.compile(mapped)):
        assert_array_equal(f(given), [2.0, 10.0, 18.0])
    with pytest.raises(ValueError, match="which is not nested as the argument is"):
        fp.vmap(lambda p: p["w"], in_axes=(Both(0, None),))({"w": np.ones(2)})
