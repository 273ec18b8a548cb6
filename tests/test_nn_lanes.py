"""Layers that draw random numbers, and layers that know the other examples of a batch."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.handles.nesting import flatten
from networks import shifted

X = np.random.default_rng(0).normal(size=(8, 6))

pytestmark = pytest.mark.filterwarnings("ignore:BatchNorm learns")  # most tests look at its output alone


def compiled(model, **options):
    """A model of a batch, in lanes."""
    return fp.compile(fp.vmap(lambda p, x, key: model.apply(p, x, key=key, **options), (None, 0, None)))


# Dropout --------------------------------------------------------------------------------------------------------------


def test_dropout_leaves_out_or_enlarges():
    layer = nn.Dropout(0.25)
    y = layer(np.ones(40_000), key=1)
    assert set(np.unique(y)) == {0.0, 1.0 / 0.75}
    assert_allclose(np.mean(y == 0.0), 0.25, atol=0.01)
    x = fp.Array(np.ones(1000))
    result = layer(x, key=2)
    result.backward(np.full(1000, 2.0))
    assert_array_equal(x.grad, 2.0 * result.value)


def test_dropout_of_0_gives_the_same_bits():
    x = np.array([1.0, np.nan, np.inf, -0.0])
    y = nn.Dropout(0.0)(x)
    assert y.tobytes() == x.tobytes()


def test_dropout_of_1_gives_zeros():
    x = fp.Array([1.0, np.nan, np.inf])
    y = nn.Dropout(1.0)(x, key=1)
    y.backward(np.ones(3))
    assert_array_equal(y.value, np.zeros(3))
    assert_array_equal(x.grad, np.zeros(3))


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
def test_probabilities(p):
    with pytest.raises(ValueError, match=r"Dropout with p .* from 0 to 1"):
        nn.Dropout(p)


@pytest.mark.parametrize("front", ["eager", "compiled", "lanes"])
def test_what_is_dropped_may_be_nan(front):
    layer = nn.Dropout(0.5)
    x = np.ones(64)
    shown = layer(x, key=5)
    if front == "lanes":
        shown = fp.vmap(lambda x: layer(x, key=5))(x[None])[0]
    dropped = np.flatnonzero(shown == 0.0)
    assert 16 < len(dropped) < 48
    x[dropped] = np.resize([np.nan, np.inf], len(dropped))
    f = fp.value_and_grad(lambda x: fp.sum(layer(x, key=5)))
    if front == "lanes":
        f = fp.compile(fp.value_and_grad(fp.vmap(lambda x: fp.sum(layer(x, key=5)), reduce="sum")))
        value, slope = f(x[None])
        slope = slope[0]
    else:
        value, slope = (fp.compile(f) if front == "compiled" else f)(x)
    assert value == np.sum(shown)
    assert_array_equal(slope, shown)


def test_dropout_that_learns_needs_a_key():
    model = nn.Sequential(nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"needs a key: model\.apply\(params, x, key="):
        model(X[0])
    assert_array_equal(model.eval()(X[0]), X[0])
    assert_array_equal(model.apply({}, X[0], key=1), X[0])


@pytest.mark.parametrize("key", [0.5, -1, 2**62, np.int64(2**62), np.nan])
def test_a_number_that_is_no_key_drops_nothing_silently(key):
    model = nn.Sequential(nn.Linear(6, 6, rng=0), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="expected an integer from 0 to 2"):
        model.apply(model.params(), np.ones(6), key=key)

    def loss(params, key, x):
        return fp.sum(model.apply(params, x, key=key) ** 2)

    batch = fp.vmap(loss, (None, None, 0), reduce="mean")
    with pytest.raises(ValueError, match="expected an integer from 0 to 2"):
        fp.value_and_grad(batch)(model.params(), key, np.ones((5, 6)))
    value, gradients = fp.compile(fp.value_and_grad(batch))(model.params(), key, np.ones((5, 6)))
    assert np.isnan(value)
    assert np.all(np.isnan(gradients["0"]["weight"]))


def test_masks_are_those_of_key_layer_and_lane():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    ones = np.ones((100, 50))
    run = compiled(model)
    found = run({}, ones, 7)
    assert_allclose(np.mean(found != 0.0), 0.25, atol=0.03)
    first = fp.compile(fp.vmap(lambda x: model[0](x, key=fp.random.fold_in(7, 0))))(ones)
    second = fp.compile(fp.vmap(lambda x: model[1](x, key=fp.random.fold_in(7, 1))))(ones)
    assert_array_equal(found, first * second)
    assert np.any(first != second) and np.any(first[0] != first[1])
    assert_array_equal(run({}, ones, 7), found)
    assert np.any(run({}, ones, 8) != found)
    assert_array_equal(fp.vmap(lambda x: model.apply({}, x, key=7))(ones), found)
    before = fp.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fp.set_num_threads(threads)
            assert_array_equal(run({}, ones, 7), found)
    finally:
        fp.set_num_threads(before)
    assert model[0].key is None  # nothing is left behind


def test_dropout_inside_of_layers():
    attention, cell = nn.MultiheadAttention(4, 2, dropout=0.5, rng=0), nn.LSTM(4, 3, 3, dropout=0.5, rng=0)
    assert [name for name, _ in cell.named_modules()] == ["", "dropouts.0", "dropouts.1"]
    x = X[:5, :4]
    plain = attention.eval()(x, x, x)
    attention.train()
    drawn = [attention.apply(None, x, x, x, key=k)[1].value for k in (1, 2)]
    assert np.any(drawn[0] == 0.0) and np.any(drawn[0] != drawn[1])
    shown = (plain[1].value > 0.0) & (drawn[0] > 0.0)
    assert np.all(
        np.isclose(drawn[0][shown] / plain[1].value[shown], 2.0) | (drawn[0][shown] < 2.0 * plain[1].value[shown])
    )
    calm = cell.eval()(x)[0].value
    cell.train()
    assert np.any(cell.apply(None, x, key=1)[0].value != calm)
    assert_array_equal(cell.apply(None, x, key=1)[0].value, cell.apply(None, x, key=1)[0].value)
    with pytest.raises(ValueError, match="needs a key"):
        cell(x)


# BatchNorm ------------------------------------------------------------------------------------------------------------


def by_hand(x, weight, bias, eps=1e-5):
    """A batch of examples, normalised, with mean and unbiased variance."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance = x.mean(axes), x.var(axes)
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + eps) * weight.reshape(shape) + bias.reshape(shape)
    return y, mean, x.var(axes, ddof=1)


@pytest.mark.parametrize("shape", [(8, 3), (5, 2, 4), (4, 2, 3, 3)])
def test_batch_norm_is_what_it_says(shape):
    x = np.random.default_rng(1).normal(3.0, 2.0, shape)
    layer = shifted(nn.BatchNorm(shape[1]))
    params, buffers = layer.params(), layer.buffers()
    buffers["running_mean"] = buffers["running_mean"] + 0.5
    expected, mean, variance = by_hand(x, params["weight"], params["bias"])
    run = fp.vmap(lambda p, b, x: layer.apply(p, x, buffers=b), (None, None, 0))
    for front in (run, fp.compile(run)):
        y, found = front(params, buffers, x)
        assert_allclose(y, expected, rtol=1e-9, atol=1e-12)
        for lane in range(len(x)):
            assert_allclose(found["running_mean"][lane], 0.45 + 0.1 * mean, rtol=1e-12)
            assert_allclose(found["running_var"][lane], 0.9 + 0.1 * variance, rtol=1e-12)
    assert_array_equal(layer.running_mean, np.zeros(shape[1]))

    def loss(p, x):
        return fp.sum(layer.apply(p, x) ** 3.0)

    f = fp.vmap(loss, (None, 0), reduce="mean")
    gradients = fp.compile(fp.grad(f, argnums=(0, 1)))(params, x)
    flat, nesting = flatten((params, x))
    directions = [np.random.default_rng(k).normal(size=part.shape) for k, part in enumerate(flat)]
    ends = []
    for h in (1e-6, -1e-6):
        p, moved = nesting.unflatten([part + h * d for part, d in zip(flat, directions)])
        ends.append(np.sum(by_hand(moved, p["weight"], p["bias"])[0] ** 3.0) / len(x))
    slope = sum(np.sum(g * d) for g, d in zip(flatten(gradients)[0], directions))
    assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_batch_norm_is_used_with_its_running_statistics():
    layer = shifted(nn.BatchNorm(2))
    layer.load_buffers({"running_mean": np.array([1.0, 2.0]), "running_var": np.array([4.0, 9.0])})
    layer.eval()
    x = np.array([3.0, -1.0])
    expected = (x - [1.0, 2.0]) / np.sqrt(np.array([4.0, 9.0]) + 1e-5) * layer.weight.value + layer.bias.value
    assert_allclose(layer(x).value, expected, rtol=1e-12)
    y, buffers = layer.apply(layer.params(), x, buffers=layer.buffers())
    assert_allclose(y, expected, rtol=1e-12)
    assert_array_equal(buffers["running_mean"], [1.0, 2.0])
    assert_allclose(fp.vmap(layer.apply, (None, 0))(layer.params(), np.stack([x, x]))[1], expected, rtol=1e-12)


@pytest.mark.parametrize("front", [fp.vmap, lambda f, axes: fp.compile(fp.vmap(f, axes))])
def test_one_example_has_no_variance(front):
    layer = nn.BatchNorm(2)
    with pytest.raises(ValueError, match="learns from one example"):
        front(layer.apply, (None, 0))(layer.params(), X[:1, :2])
    front(nn.BatchNorm(2).apply, (None, 0))(layer.params(), X[:1, :6].reshape(1, 2, 3))  # of three places


def test_a_call_alone_leaves_the_statistics():
    layer = nn.BatchNorm(2)
    before = layer.running_mean
    assert np.all(np.isfinite(fp.vmap(layer)(X[:, :2]).value))
    assert layer.running_mean is before


def test_statistics_that_do_not_learn_are_warned_of_once():
    model = nn.Sequential(nn.BatchNorm(2), nn.BatchNorm(2))
    run, step = fp.vmap(model.apply, (None, 0)), fp.compile(fp.vmap(model.apply, (None, 0)))
    for call in (run, step):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                call(model.params(), X[:, :2])
        assert len(caught) == 1
        assert "let model.apply(params, x, buffers=buffers) give new ones" in str(caught[0].message)
        assert "model.load_buffers" in str(caught[0].message)


def test_statistics_that_learn_or_rest_are_not_warned_of():
    layer = nn.BatchNorm(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fp.vmap(lambda p, b, x: layer.apply(p, x, buffers=b), (None, None, 0))(
            layer.params(), layer.buffers(), X[:, :2]
        )
        fp.vmap(layer.eval().apply, (None, 0))(layer.params(), X[:, :2])


@pytest.mark.parametrize("front", [lambda f: f, fp.compile])
def test_batch_norm_that_learns_alone_says_what_to_do(front):
    with pytest.raises(ValueError, match=r"BatchNorm that learns .*fastprop\.vmap.*model\.eval\(\)"):
        front(lambda x: nn.BatchNorm(2)(x))(X[0, :2])


def test_one_example_after_others():
    layer = nn.BatchNorm(2)
    run = fp.compile(fp.vmap(layer.apply, (None, 0)))
    run(layer.params(), X[:3, :2])
    with pytest.raises(ValueError, match="learns from one example"):
        run(layer.params(), X[:1, :2])


def test_far_from_0_in_float32():
    layer = nn.BatchNorm(1, dtype=np.float32)
    run = fp.compile(fp.vmap(layer.apply, (None, 0)))
    x = np.array([[0.0], [1.0], [2.0]], np.float32) + np.float32(1e6)
    assert_allclose(run(layer.params(), x).ravel(), [-1.2247356, 0.0, 1.2247356], rtol=1e-5)
    many = np.tile(x, (100, 1))
    assert_allclose(run(layer.params(), many).ravel()[:3], [-1.2247356, 0.0, 1.2247356], rtol=1e-5, atol=1e-5)


def test_equal_values_give_the_bias():
    layer = nn.BatchNorm(1)
    layer.bias.value = [0.25]
    x, weights = np.full((3, 1), 0.1), np.array([1.0, 2.0, 6.0])
    f = fp.vmap(lambda x, w: fp.sum(w * layer.apply(layer.params(), x)), reduce="sum")
    value, slope = fp.compile(fp.value_and_grad(f))(x, weights)
    assert_allclose(value, 0.25 * 9.0, rtol=1e-12)
    assert_allclose(slope.ravel(), (weights - 3.0) / np.sqrt(1e-5), rtol=1e-9)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: nn.BatchNorm(2, eps=0.0), "eps"),
        (lambda: nn.BatchNorm(2, momentum=1.5), "momentum"),
        (lambda: nn.BatchNorm(2, momentum=np.nan), "momentum"),
        (lambda: fp.vmap(nn.BatchNorm(2))(X), "2 channels"),
        (lambda: nn.BatchNorm(2)(X[0, :2]), "vmap"),
        (lambda: nn.BatchNorm(2).load_buffers({}), "buffers has the keys"),
        (lambda: nn.BatchNorm(2).apply(None, X[0, :2], buffers={"running_mean": 0.0, "running_var": 0.0}), "shape"),
    ],
)
def test_what_does_not_fit_is_a_value_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_network_with_both_learns():
    random = np.random.default_rng(0)
    model = nn.Sequential(
        *(nn.Linear(6, 16, rng=random), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1, rng=random))
    )
    x = random.normal(size=(64, 6))
    y = np.tanh(x[:, :1] * x[:, 1:2])
    assert list(model.state_dict())[2:6] == ["1.running_mean", "1.running_var", "1.weight", "1.bias"]
    assert set(model.buffers()) == {"1"}

    def loss(params, buffers, x, y, key):
        output, buffers = model.apply(params, x, key=key, buffers=buffers)
        return nn.squared_error(output, y), buffers

    batch = fp.vmap(loss, (None, None, 0, 0, None), reduce="mean")
    step = fp.compile(fp.value_and_grad(batch, has_aux=True))
    params, buffers, losses = model.params(), model.buffers(), []
    for k in range(150):
        (value, buffers), gradients = step(params, buffers, x, y, fp.random.fold_in(3, k))
        losses.append(value)
        for name, layer in params.items():
            for key in layer:
                params[name][key] = layer[key] - 0.1 * gradients[name][key]
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    model.load_params(params)
    model.load_buffers(buffers)
    assert_allclose(model[1].running_mean, (x @ params["0"]["weight"].T + params["0"]["bias"]).mean(0), atol=0.3)
    model.eval()
    outputs = fp.vmap(model.apply, (None, 0))(params, x)
    assert np.mean((outputs - y) ** 2) < np.mean(losses[:5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = nn.Sequential(*model.layers)
    assert_array_equal(other(x[0]).value, model(x[0]).value)
