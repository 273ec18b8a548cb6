"""Convolution and pooling, against NumPy and loops on every front, and at their edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference
from fronts import blocks, check_derivatives, check_edge, check_edge_everywhere, check_layouts, check_values, fixed

block = blocks()

INF, NAN = math.inf, math.nan


def looped_conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution along one axis or two, number by number."""
    axes = x.ndim - 2
    strides, pads, steps = (np.broadcast_to(y, axes) for y in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in pads]])
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], steps)]
    places = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, strides)]
    out = np.zeros((x.shape[0], w.shape[0], *places))
    each = w.shape[0] // groups
    for o in range(w.shape[0]):
        channels = x[:, (o // each) * w.shape[1] : (o // each + 1) * w.shape[1]]
        for place in np.ndindex(*places):
            index = [slice(i * s, i * s + span, d) for i, s, span, d in zip(place, strides, spans, steps)]
            out[(slice(None), o, *place)] = np.sum(channels[(..., *index)] * w[o], axis=tuple(range(1, axes + 2))) + (
                0.0 if bias is None else bias[o]
            )
    return out


def looped_pool(x, size, stride, padding, average):
    """Pooling along one axis or two, window by window."""
    axes = x.ndim - 2
    sizes, pads = np.broadcast_to(size, axes), np.broadcast_to(padding, axes)
    strides = sizes if stride is None else np.broadcast_to(stride, axes)
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in pads]], constant_values=0.0 if average else -INF)
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], sizes, strides)]
    out = np.zeros((*x.shape[:2], *places))
    for place in np.ndindex(*places):
        window = x[(..., *[slice(i * s, i * s + k) for i, s, k in zip(place, strides, sizes)])]
        out[(..., *place)] = (np.mean if average else np.max)(window, axis=tuple(range(2, axes + 2)))
    return out


def conv(name, *shapes, **options):
    """A row of the table: a convolution and the same by loops."""

    def f(m, x, w, *bias):
        if m is np and isinstance(x, np.ndarray):
            return looped_conv(x, w, *bias, **options)
        return getattr(fp, name)(x, w, *bias, **options)

    return f, *[block(*shape) for shape in shapes]


def pool(name, shape, size, stride=None, padding=0):
    """A row of the table: a pooling and the same by loops."""

    def f(m, x):
        if m is np and isinstance(x, np.ndarray):
            return looped_pool(x, size, stride, padding, name.startswith("avg"))
        return getattr(fp, name)(x, size, stride, padding)

    return f, block(*shape)


ROWS = {
    "conv1d": conv("conv1d", (2, 2, 5), (3, 2, 2)),
    "conv1d with everything": conv("conv1d", (1, 4, 6), (2, 2, 2), (2,), stride=2, padding=1, dilation=3, groups=2),
    "conv2d": conv("conv2d", (1, 2, 3, 4), (2, 2, 2, 2), (2,)),
    "conv2d with pairs": conv("conv2d", (1, 1, 4, 3), (1, 1, 2, 1), stride=(2, 1), padding=(0, 1), dilation=(2, 1)),
    "conv2d of each channel": conv("conv2d", (1, 2, 3, 3), (2, 1, 2, 2), padding=1, groups=2),
    "max_pool1d": pool("max_pool1d", (2, 1, 5), 2),
    "max_pool1d that overlaps": pool("max_pool1d", (1, 2, 5), 3, 1, 1),
    "max_pool2d": pool("max_pool2d", (1, 2, 4, 4), 2),
    "max_pool2d with pairs": pool("max_pool2d", (1, 1, 3, 5), (2, 3), (1, 2), (1, 1)),
    "avg_pool1d": pool("avg_pool1d", (1, 2, 5), 2, 1, 1),
    "avg_pool2d": pool("avg_pool2d", (2, 1, 4, 4), 2),
    "avg_pool2d with pairs": pool("avg_pool2d", (1, 1, 3, 5), (2, 3), (1, 2), (1, 0)),
    "full": (lambda m, a, v: m.convolve(a, v), block(4), block(2)),
    "same": (lambda m, a, v: m.convolve(a, v, "same"), block(4), block(2)),
    "same, turned": (lambda m, a, v: m.convolve(a, v, "same"), block(3), block(5)),
    "valid": (lambda m, a, v: m.convolve(a, v, mode="valid"), block(5), block(3)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstLoops:
    def test_values(self, f, operands):
        check_values(f, *operands)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


@pytest.mark.parametrize("name", ["conv2d", "max_pool2d", "same"])
def test_layouts(name):
    f, x, *rest = ROWS[name]
    check_layouts(lambda m, x: f(m, x, *rest), x)


@settings(max_examples=20)
@given(data=st.data())
def test_random_convolutions(data):
    size, stride, padding, dilation = (data.draw(st.integers(k, 3)) for k in (1, 1, 0, 1))
    least = max((size - 1) * dilation + 1 - 2 * padding, 1)
    x = fixed(data.draw(st.integers(0, 2)), 2, data.draw(st.integers(least, least + 3)))
    w = fixed(2, 2, size)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    single = x.astype(np.float32), w.astype(np.float32)
    assert_allclose(fp.conv1d(x, w, **options), looped_conv(x, w, **options), rtol=1e-13, atol=1e-13)
    found = fp.conv1d(fp.Array(single[0]), single[1], **options)
    assert found.dtype == np.float32
    assert_allclose(found.value, looped_conv(x, w, **options), rtol=1e-4, atol=1e-5)


def test_same_keeps_the_lengths(engine):
    x, w = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 10.0]]])
    check_edge(engine, lambda x, w: engine.conv1d(x, w, padding="same"), [x, w], [[[21, 32, 3]]], [[[[1, 11, 11]]]])
    check_edge(engine, lambda a, v: engine.convolve(a, v, "same"), [x[0, 0], w[0, 0]], [1, 12, 23], [[11, 11, 1]])
    assert engine.conv2d(np.zeros((1, 1, 3, 4)), np.zeros((1, 1, 2, 3)), padding="same").shape == (1, 1, 3, 4)
    assert engine.conv2d(np.zeros((1, 1, 3, 4)), np.zeros((1, 1, 2, 3)), padding="valid").shape == (1, 1, 2, 2)


def row(values):
    """One example with one channel."""
    return np.array([[values]], np.float64)


EDGES = {
    "ties": (lambda m, x: m.max_pool1d(x, 2), [row([1, 1, 0, 0])], [[[1, 0]]], [0.5]),
    "ties in two axes": (lambda m, x: m.max_pool2d(x, 2), [row([[1, 1], [1, 0]])], [[[[1]]]],
     [row([[1 / 3, 1 / 3], [1 / 3, 0]])]),
    "windows that overlap": (lambda m, x: m.max_pool1d(x, 3, 1), [row([1, 5, 2, 5, 0])], [[[5, 5, 5]]],
     [row([0, 1.5, 0, 1.5, 0])]),
    "NaN": (lambda m, x: m.max_pool1d(x, 2), [row([NAN, 1])], [[[NAN]]], [NAN]),
    "-inf beside padding": (lambda m, x: m.max_pool1d(x, 2, padding=1), [row([-INF])], [[[-INF]]], [1]),
    "0 beside padding": (lambda m, x: m.max_pool1d(x, 2, 2, 1), [row([-1, 0])], [[[-1, 0]]], [1]),
    "padding is counted": (lambda m, x: m.avg_pool1d(x, 2, padding=1), [row([1, 2, 3, 4])], [[[0.5, 2.5, 2]]], [0.5]),
    "stride 3": (lambda m, x, w: m.conv1d(x, w, stride=3), [row([1, 2, 3, 4, 5, 6, 7]), row([1, 10])],
     [[[21, 54]]], [row([1, 10, 0, 1, 10, 0, 0]), row([5, 7])]),
    "no examples": (lambda m, x, w: m.conv1d(x, w), [np.zeros((0, 1, 3)), row([1, 10])], np.zeros((0, 1, 2)), [0, 0]),
    "no channels": (lambda m, x, w: m.conv1d(x, w), [np.zeros((1, 0, 4)), np.zeros((2, 0, 2))],
     np.zeros((1, 2, 3)), [0, 0]),
    "what is not used": (lambda m, x, w: m.conv1d(x, w)[0, 0, 0], [row([2, 1, NAN, INF]), row([1, 1])], 3,
     [row([1, 1, 0, 0]), row([2, 1])]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES.values(), ids=EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


def test_hessian_of_pooled_ties():
    for make in (lambda f: fp.hessian(f), lambda f: fp.compile(fp.hessian(f))):
        found = make(lambda x: fp.max_pool1d(x, 2)[0, 0, 0] ** 2)(row([1, 1]))
        assert_array_equal(found.reshape(2, 2), [[0.5, 0.5], [0.5, 0.5]])


X, W = fp.Array(np.ones((2, 3, 5))), np.ones((4, 3, 2))
REFUSED = {
    "axes": (lambda: fp.conv2d(X, W), ValueError, r"conv2d of shape \(2, 3, 5\).*expected 4 axes each"),
    "channels": (lambda: fp.conv1d(X, W[:, :2]), ValueError, "3 channels come in"),
    "groups": (lambda: fp.conv1d(X, W[:, :1], groups=3), ValueError, "channels out that the groups divide"),
    "kernel longer than input": (lambda: fp.conv1d(X, np.ones((1, 3, 6))), ValueError, r"spans 6 of 5 \+ 0 \+ 0"),
    "no kernel": (lambda: fp.conv1d(X, W[..., :0]), ValueError, "at least one number"),
    "stride 0": (lambda: fp.conv1d(X, W, stride=0), ValueError, "expected 1 of at least 1"),
    "stride of text": (lambda: fp.conv1d(X, W, stride="2"), TypeError, "expected an integer"),
    "padding of text": (lambda: fp.conv1d(X, W, padding="full"), TypeError, "padding is 'full'"),
    "same with a stride": (lambda: fp.conv1d(X, W, stride=2, padding="same"), ValueError, "strides of 1"),
    "bias": (lambda: fp.conv1d(X, W, np.ones(3)), ValueError, "each of 4 channels"),
    "pooling of a row": (lambda: fp.max_pool1d(X[0, 0], 2), ValueError, "expected 3 axes .examples, channels"),
    "pooling longer than input": (lambda: fp.avg_pool1d(X, 6), ValueError, "spans 6"),
    "padding beyond half": (lambda: fp.max_pool1d(X, 2, padding=2), ValueError, "half of the window"),
    "convolve of nothing": (lambda: fp.convolve(X[0, 0, :0], [1.0]), ValueError, "a number in it"),
    "convolve of matrices": (lambda: fp.convolve(X[0], [1.0]), ValueError, "one axis each"),
    "convolve in another mode": (lambda: fp.convolve(X[0, 0], [1.0], "some"), ValueError, '"full", "same" or'),
}


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"])
def test_one_example_needs_no_axis_of_examples(name):
    """As PyTorch has it: (C, H, W) is one of (N, C, H, W), and so is the result."""
    axes = 1 if name.endswith("1d") else 2
    generator = np.random.default_rng(4)
    x = generator.normal(size=(2, 6, 5)[: axes + 1])
    function = getattr(fp, name)
    if name.startswith("conv"):
        weight, bias = generator.normal(size=(4, 2, 3, 2)[: axes + 2]), generator.normal(size=4)

        def one(x):
            return function(x, weight, bias, padding=1)
    else:

        def one(x):
            return function(x, 2)

    expected = one(x[None])[0]
    slopes = fp.grad(lambda x: fp.sum(fp.square(one(x))))(x[None])[0]
    for found in (one(x), fp.compile(one)(x), fp.vmap(one)(np.stack([x, x]))[1]):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    for engine in (fp, reference):
        np.testing.assert_allclose(one(engine.Array(x)).value, expected, rtol=1e-12)
        np.testing.assert_allclose(engine.grad(lambda x: fp.sum(fp.square(one(x))))(x), slopes, rtol=1e-11)


@pytest.mark.parametrize("numbers", [(NAN, 2.0), (INF, 2.0), (3.0, NAN), (3.0, -INF)])
def test_what_does_not_move_adds_nothing_to_a_tangent(numbers):
    """A tangent of exactly 0 makes a product exactly 0, whatever the other factor is: of kernels and of numbers."""
    weight, x = numbers
    window, kernel = np.array([[[x, 1.0]]]), np.array([[[weight]]])

    def along(engine, *directions):
        return engine.jvp(lambda x, w: engine.conv1d(x, w, padding=1), (window, kernel), directions)[1]

    for engine in (fp, reference):
        found = along(engine, np.array([[[0.0, 1.0]]]), np.zeros((1, 1, 1)))
        assert_array_equal(found, [[[0.0, 0.0, weight, 0.0]]])
        assert_array_equal(along(engine, np.zeros((1, 1, 2)), np.ones((1, 1, 1))), [[[0.0, x, 1.0, 0.0]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_windows_that_reach_into_the_padding_are_products_too(dtype):
    """Of whole matrices: a 0 that is padded is a column, and 0 * inf is NaN, as without lanes."""
    generator = np.random.default_rng(1)
    x, weight = generator.normal(size=(5, 2, 4, 6)).astype(dtype), generator.normal(size=(3, 2, 3, 3)).astype(dtype)

    def one(weight, x):
        return fp.sum(fp.tanh(fp.conv2d(x, weight, padding=1)))

    step = fp.compile(fp.value_and_grad(fp.vmap(one, in_axes=(None, 0), reduce="sum")))
    single = fp.compile(fp.value_and_grad(one))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    for _ in range(2):
        value, gradient = step(weight, x)
        apart = [single(weight, row) for row in x]
        expected = [fp.reference.value_and_grad(one)(weight, row) for row in x]
        for found in (apart, expected):
            assert_allclose(value, np.sum([float(one) for one, _ in found]), **tolerance)
            assert_allclose(gradient, np.sum([np.asarray(slope) for _, slope in found], axis=0), **tolerance)
        weight[1, 1, 0, 0] = INF
    assert np.isnan(value)
    said = fp.trace(fp.value_and_grad(fp.vmap(one, in_axes=(None, 0), reduce="sum")), weight, x).summary()
    assert "24 products of 3 x 18" in said and "products of 3 x 12" not in said


@pytest.mark.parametrize(("kernel", "said"), [((5,), "8 products of 5 x 5"), ((2, 3), "20 products of 5 x 6")])
def test_short_windows_that_reach_into_the_padding_are_products_too(kernel, said):
    """Their zeros are not taken out of the sums, as products that are the same in all lanes are."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(3, 1, 8) if len(kernel) == 1 else (3, 1, 3, 5))
    weight = generator.normal(size=(5, 1, *kernel))
    function, padding = (fp.conv1d, 2) if len(kernel) == 1 else (fp.conv2d, 1)

    def one(weight, x):
        return fp.sum(fp.tanh(function(x, weight, padding=padding)))

    batch = fp.value_and_grad(fp.vmap(one, in_axes=(None, 0), reduce="sum"))
    assert f"reroll: {said}\n" in fp.trace(batch, weight, x).summary()
    value, gradient = fp.compile(batch)(weight, x)
    expected = [fp.reference.value_and_grad(one)(weight, row) for row in x]
    assert_allclose(value, np.sum([float(one) for one, _ in expected]), rtol=1e-12)
    assert_allclose(gradient, np.sum([np.asarray(slope) for _, slope in expected], axis=0), rtol=1e-12, atol=1e-12)
