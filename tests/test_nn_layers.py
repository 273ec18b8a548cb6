"""Layers against plain statements of them, on every front, and at their edges."""

import inspect
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from networks import check_layer, shifted

RANDOM = np.random.default_rng(0)


def numbers(*shape, seed=1):
    """Numbers without ties."""
    return np.random.default_rng(seed).normal(size=shape)


def conv(x, weight, bias, stride=1, padding=0, dilation=1, groups=1):
    """A convolution of one example (C, H, W), product by product."""
    out, inside, *sizes = weight.shape
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
    spans = [dilation * (k - 1) + 1 for k in sizes]
    places = [(n - span) // stride + 1 for n, span in zip(x.shape[1:], spans)]
    found = np.zeros((out, *places))
    for o in range(out):
        first = o // (out // groups) * inside
        for i in range(places[0]):
            for j in range(places[1]):
                rows = slice(i * stride, i * stride + spans[0], dilation)
                columns = slice(j * stride, j * stride + spans[1], dilation)
                found[o, i, j] = np.sum(x[first : first + inside, rows, columns] * weight[o]) + bias[o]
    return found


def pooled(x, function, size, stride, padding, fill):
    """A pooling of one example (C, H, W), window by window."""
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)], constant_values=fill)
    places = [(n - size) // stride + 1 for n in x.shape[1:]]
    windows = [
        [function(x[:, i * stride : i * stride + size, j * stride : j * stride + size], axis=(1, 2)) for j in range(n)]
        for i in range(places[0])
        for n in [places[1]]
    ]
    return np.moveaxis(np.array(windows), -1, 0)


def normal(x, axes, eps):
    """Numbers less their mean, over their spread."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def lrn(x, size, alpha, beta, k):
    """Numbers over a power of those around."""
    found = np.zeros_like(x)
    for c in range(len(x)):
        around = [i for i in range(c - size // 2, c - size // 2 + size) if 0 <= i < len(x)]
        found[c] = x[c] / (k + alpha / size * sum(x[i] ** 2 for i in around)) ** beta
    return found


def attend(p, x, heads, mask):
    """Self-attention, head by head, query by query."""
    size = x.shape[1]
    q, k, v = [x @ p["in_proj_weight"][i * size :][:size].T + p["in_proj_bias"][i * size :][:size] for i in range(3)]
    width, outputs, weights = size // heads, np.zeros_like(x), np.zeros((len(x), len(x)))
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for i in range(len(x)):
            seen = [j for j in range(len(x)) if mask[i][j]]
            powers = np.exp([q[i, part] @ k[j, part] / np.sqrt(width) for j in seen])
            shares = powers / powers.sum()
            outputs[i, part] = shares @ v[seen][:, part]
            weights[i, seen] += shares / heads
    return outputs @ p["out_proj"]["weight"].T + p["out_proj"]["bias"], weights


class Causal(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self, attention):
        self.attention = attention

    def __call__(self, x):
        return self.attention(x, x, x, is_causal=True)


TRIANGLE = np.tri(4, dtype=bool)
ROWS = {
    "Linear": (nn.Linear(4, 3, rng=0), lambda p, x: p["weight"] @ x + p["bias"], [numbers(4)]),
    "Linear without bias": (nn.Linear(4, 3, bias=False, rng=0), lambda p, x: p["weight"] @ x, [numbers(4)]),
    "Linear of a sequence": (nn.Linear(4, 3, rng=0), lambda p, x: x @ p["weight"].T + p["bias"], [numbers(5, 4)]),
    "Bilinear": (
        nn.Bilinear(4, 3, 2, rng=0),
        lambda p, x, y: np.einsum("i,oij,j->o", x, p["weight"], y) + p["bias"],
        [numbers(4), numbers(3, seed=2)],
    ),
    "Maxout": (
        nn.Maxout(4, 3, pieces=2, rng=0),
        lambda p, x: np.max(p["weight"] @ x + p["bias"], axis=1),
        [numbers(4)],
    ),
    "Flatten": (nn.Flatten(), lambda p, x: x.reshape(-1), [numbers(2, 3)]),
    "Identity": (nn.Identity(), lambda p, x: x, [numbers(3)]),
    "Sequential": (
        nn.Sequential(nn.Linear(4, 5, rng=0), nn.Tanh(), nn.Linear(5, 2, rng=1)),
        lambda p, x: p["2"]["weight"] @ np.tanh(p["0"]["weight"] @ x + p["0"]["bias"]) + p["2"]["bias"],
        [numbers(4)],
    ),
    "Conv1d": (
        nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2, rng=0),
        lambda p, x: conv(np.pad(x, [(0, 0), (1, 1)])[:, None], p["weight"][:, :, None], p["bias"], stride=2, groups=2)[
            :, 0
        ],
        [numbers(4, 8)],
    ),
    "Conv2d": (
        nn.Conv2d(2, 3, (2, 3), stride=2, padding=1, dilation=2, rng=0),
        lambda p, x: conv(x, p["weight"], p["bias"], 2, 1, 2),
        [numbers(2, 6, 7)],
    ),
    "MaxPool1d": (
        nn.MaxPool1d(2),
        lambda p, x: x.reshape(2, 3, 2).max(-1),
        [numbers(2, 6)],
    ),
    "MaxPool2d": (
        nn.MaxPool2d(3, stride=2, padding=1),
        lambda p, x: pooled(x, np.max, 3, 2, 1, -np.inf),
        [numbers(2, 6, 5)],
    ),
    "AvgPool1d": (nn.AvgPool1d(2), lambda p, x: x.reshape(2, 3, 2).mean(-1), [numbers(2, 6)]),
    "AvgPool2d": (
        nn.AvgPool2d(3, stride=2, padding=1),
        lambda p, x: pooled(x, np.mean, 3, 2, 1, 0.0),
        [numbers(2, 6, 5)],
    ),
    "LayerNorm": (
        shifted(nn.LayerNorm(4)),
        lambda p, x: normal(x, -1, 1e-5) * p["weight"] + p["bias"],
        [numbers(3, 4)],
    ),
    "LayerNorm of two axes": (
        shifted(nn.LayerNorm((3, 2), eps=0.1, bias=False)),
        lambda p, x: normal(x, (-2, -1), 0.1) * p["weight"],
        [numbers(2, 3, 2)],
    ),
    "RMSNorm": (
        shifted(nn.RMSNorm(4, eps=0.01)),
        lambda p, x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.01) * p["weight"],
        [numbers(3, 4)],
    ),
    "LocalResponseNorm, odd": (
        nn.LocalResponseNorm(3, alpha=0.6, beta=0.5, k=2.0),
        lambda p, x: lrn(x, 3, 0.6, 0.5, 2.0),
        [numbers(5, 2)],
    ),
    "LocalResponseNorm, even": (
        nn.LocalResponseNorm(4, alpha=0.6),
        lambda p, x: lrn(x, 4, 0.6, 0.75, 1.0),
        [numbers(6)],
    ),
    "MultiheadAttention": (
        Causal(shifted(nn.MultiheadAttention(6, 2, rng=0))),
        lambda p, x: attend(p["attention"], x, 2, TRIANGLE),
        [numbers(4, 6)],
    ),
    "ReLU": (nn.ReLU(), lambda p, x: np.where(x > 0, x, 0), [numbers(5)]),
    "Tanh": (nn.Tanh(), lambda p, x: np.tanh(x), [numbers(5)]),
    "Sigmoid": (nn.Sigmoid(), lambda p, x: 1 / (1 + np.exp(-x)), [numbers(5)]),
    "Softplus": (nn.Softplus(2.0), lambda p, x: np.log(1 + np.exp(2 * x)) / 2, [numbers(5)]),
    "LeakyReLU": (nn.LeakyReLU(0.2), lambda p, x: np.where(x > 0, x, 0.2 * x), [numbers(5)]),
    "ELU": (nn.ELU(0.5), lambda p, x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)), [numbers(5)]),
    "GELU": (nn.GELU(), lambda p, x: x * np.asarray(fp.ndtr(x)), [numbers(5)]),
    "SiLU": (nn.SiLU(), lambda p, x: x / (1 + np.exp(-x)), [numbers(5)]),
    "Softmax": (nn.Softmax(0), lambda p, x: np.exp(x) / np.exp(x).sum(0), [numbers(3, 2)]),
    "LogSoftmax": (nn.LogSoftmax(), lambda p, x: x - np.log(np.exp(x).sum(-1, keepdims=True)), [numbers(3, 2)]),
}


@pytest.mark.parametrize("name", ROWS)
def test_layer_is_what_it_says(name):
    model, statement, inputs = ROWS[name]
    check_layer(model, statement, *inputs)


# Parameters as PyTorch has them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, shapes",
    [
        (nn.Linear(3, 2), {"weight": (2, 3), "bias": (2,)}),
        (nn.Linear(3, 2, bias=False), {"weight": (2, 3)}),
        (nn.Bilinear(3, 4, 2), {"weight": (2, 3, 4), "bias": (2,)}),
        (nn.Conv1d(4, 6, 3, groups=2), {"weight": (6, 2, 3), "bias": (6,)}),
        (nn.Conv2d(2, 3, (4, 5)), {"weight": (3, 2, 4, 5), "bias": (3,)}),
        (nn.Embedding(5, 2), {"weight": (5, 2)}),
        (nn.LayerNorm((2, 3)), {"weight": (2, 3), "bias": (2, 3)}),
        (nn.RMSNorm(3), {"weight": (3,)}),
        (
            nn.MultiheadAttention(4, 2),
            {"in_proj_weight": (12, 4), "in_proj_bias": (12,), "out_proj.weight": (4, 4), "out_proj.bias": (4,)},
        ),
        (
            nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)),
            {"0.weight": (3, 2), "0.bias": (3,), "2.weight": (1, 3), "2.bias": (1,)},
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_names_and_shapes(layer, shapes):
    assert {name: leaf.shape for name, leaf in layer.named_parameters()} == shapes
    assert list(layer.state_dict()) == list(shapes)


def test_linear_begins_as_pytorchs():
    layer = nn.Linear(400, 300, rng=0)
    for leaf in layer.parameters():
        assert np.abs(leaf.value).max() <= 0.05
        assert_allclose(leaf.value.std(), 0.05 / np.sqrt(3.0), rtol=0.1)
    assert nn.Linear(4, 3, rng=np.random.default_rng(7)).weight.value[0, 0] == nn.Linear(4, 3, rng=7).weight.value[0, 0]


@pytest.mark.parametrize("init", ["he_normal", nn.init.he_normal])
def test_other_first_weights_come_with_biases_of_0(init):
    layer = nn.Linear(1000, 50, init=init, rng=0)
    assert_allclose(layer.weight.value.std(), np.sqrt(2.0 / 1000.0), rtol=0.02)
    assert_array_equal(layer.bias.value, np.zeros(50))


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 2, dtype=np.float32), nn.Conv1d(3, 2, 1, dtype="float32"), nn.GRU(3, 2, dtype=np.float32)]
)
def test_dtype(layer):
    assert {leaf.dtype for leaf in layer.parameters()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("layer", [nn.Linear, nn.GRU, nn.Embedding, lambda i, o, dtype: nn.LayerNorm(i, dtype=dtype)])
@pytest.mark.parametrize("dtype", [int, np.float16, complex])
def test_dtypes_are_of_floats(layer, dtype):
    with pytest.raises(TypeError, match="expected float64 or float32"):
        layer(3, 2, dtype=dtype)


def test_float32_stays_float32():
    layer = nn.Linear(3, 2, rng=0, dtype=np.float32)
    x = np.ones((4, 3), np.float32)
    assert layer(x).dtype == np.float32
    found = fp.compile(fp.vmap(layer.apply, (None, 0)))(layer.params(), x)
    assert found.dtype == np.float32
    assert_allclose(found, layer(x).value, rtol=1e-6)


# Edges ----------------------------------------------------------------------------------------------------------------


def gradient(layer, x, pull):
    """What comes out, and the gradient of the input under a pull."""
    x = fp.Array(np.asarray(x))
    y = layer(x)
    y.backward(np.asarray(pull, float))
    return y.value, x.grad


def test_layer_norm_of_equal_numbers_gives_the_bias():
    layer = nn.LayerNorm(3)
    layer.bias.value = [0.1, 0.2, 0.3]
    y, grad = gradient(layer, [2.0, 2.0, 2.0], [1.0, 2.0, 6.0])
    assert_array_equal(y, [0.1, 0.2, 0.3])
    assert_allclose(grad, (np.array([1.0, 2.0, 6.0]) - 3.0) / np.sqrt(1e-5), rtol=1e-12)


def test_layer_norm_of_one_feature_gives_the_bias():
    y, grad = gradient(nn.LayerNorm(1), [2.0], [1.0])
    assert_array_equal(y, [0.0])
    assert_array_equal(grad, [0.0])


@pytest.mark.parametrize("layer", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("eps", [0.0, -1.0, np.nan, np.inf])
def test_eps_is_positive(layer, eps):
    with pytest.raises(ValueError, match=r"eps .* more than 0"):
        layer(3, eps)


def test_norms_do_not_overflow():
    assert_allclose(nn.LayerNorm(3)(np.array([1.0, 2.0, 3.0]) * 1e200).value, [-1.2247448, 0.0, 1.2247448], rtol=1e-6)
    assert_allclose(nn.RMSNorm(2)(np.array([3.0, 4.0]) * 1e200).value, [0.848528, 1.131371], rtol=1e-6)
    for layer in (nn.LayerNorm(3), nn.RMSNorm(3)):
        x = np.array([1.0, 2.0, 3.0])
        found = fp.compile(layer.apply)(layer.params(), x * 1e200)
        assert_allclose(found, layer(x * 1e200).value, rtol=1e-12)
        assert_allclose(found, layer(x * 1e100).value, rtol=1e-12)


def test_ties_share():
    layer = nn.Maxout(1, 1, pieces=2, init="ones")
    y, grad = gradient(layer, [3.0], [1.0])
    assert y == [3.0] and grad == [1.0]
    assert_array_equal(fp.grad(lambda p: layer.apply(p, [3.0])[0])(layer.params())["weight"].ravel(), [1.5, 1.5])
    assert_array_equal(gradient(nn.MaxPool1d(2), [[1.0, 1.0]], [[1.0]])[1], [[0.5, 0.5]])


def test_padding():
    assert_array_equal(nn.MaxPool1d(2, padding=1)([[-1.0, -2.0]]), [[-1.0, -2.0]])
    assert_array_equal(nn.AvgPool1d(2, padding=1)([[1.0, 2.0, 3.0, 4.0]]), [[0.5, 2.5, 2.0]])
    layer = nn.Conv1d(1, 1, 2, padding="same", bias=False, init="ones")
    assert_array_equal(layer([[1.0, 2.0, 3.0]]).value, [[3.0, 5.0, 3.0]])
    with pytest.raises(ValueError, match="same"):
        nn.Conv1d(1, 1, 2, stride=2, padding="same")([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv1d(1, 1, 5, padding=1)([[1.0, 2.0]]),
        lambda: nn.Conv2d(1, 1, 5)(np.ones((1, 4, 9))),
        lambda: nn.MaxPool1d(3)([[1.0, 2.0]]),
    ],
)
def test_kernel_longer_than_its_input(make):
    with pytest.raises(ValueError, match=r"floor\(\(n \+ 2 p - span\) / s\) \+ 1"):
        make()


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: nn.Conv1d(1, 1, 0), "kernel_size"),
        (lambda: nn.Conv2d(1, 1, (1, 2, 3)), "kernel_size"),
        (lambda: nn.Conv1d(1, 1, 1, stride=0), "stride"),
        (lambda: nn.Conv2d(1, 1, 1, dilation=(1, 0)), "dilation"),
        (lambda: nn.Conv1d(3, 4, 1, groups=2), "groups"),
        (lambda: nn.Conv1d(3, 4, 1, groups=0), "groups"),
        (lambda: nn.MaxPool1d(0), "kernel_size"),
        (lambda: nn.MaxPool1d(2, stride=0), "stride"),
        (lambda: nn.AvgPool2d(2, padding=-1), "padding"),
        (lambda: nn.Linear(-1, 2), r"\(2, -1\); expected lengths from 0 on"),
        (lambda: nn.Maxout(2, 2, pieces=0), "pieces"),
        (lambda: nn.LocalResponseNorm(0), "at least one"),
        (lambda: nn.MultiheadAttention(6, 4), "4 heads of 6"),
        (lambda: nn.MultiheadAttention(6, 0), "0 heads of 6"),
        (lambda: nn.Softplus(0.0), "beta"),
        (lambda: nn.Linear(2, 2, init="hee_normal"), "he_normal"),
        (lambda: nn.Linear(3, 2)([1.0, 2.0]), "expected 3 numbers along the last axis"),
        (lambda: nn.Linear(3, 2)(1.0), "Linear of a single number; expected 3 numbers"),
        (lambda: nn.Linear(3, 2)(None), "Linear of None; expected 3 numbers"),
        (lambda: nn.Bilinear(3, 2, 1)([1.0, 2.0, 3.0], [[1.0, 2.0]]), "expected 2 numbers"),
        (lambda: nn.Conv1d(1, 1, 1)(np.ones((4, 1, 3))), "one example"),
        (lambda: nn.MaxPool2d(2)(np.ones((4, 4))), "one example"),
        (lambda: nn.LayerNorm(3)(np.ones((3, 2))), r"expected the shape \(…, 3\)"),
        (lambda: nn.RMSNorm((2, 3))(np.ones((3, 2))), r"expected the shape \(…, 2, 3\)"),
        (lambda: nn.Conv2d(1, 1, 3, padding="sam"), "Conv2d: padding 'sam'; expected numbers from 0 on"),
        (lambda: nn.Conv1d(1, 1, 3, padding=-1), "Conv1d: padding -1"),
        (lambda: nn.Linear(2, 2, rng=-1), "rng is -1; expected a seed"),
        (lambda: nn.LocalResponseNorm(3)(1.0), "channels"),
        (lambda: nn.MultiheadAttention(4, 2)(np.ones((2, 4)), np.ones((3, 4)), np.ones((2, 4))), "keys of"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx"),
    ],
)
def test_what_does_not_fit_is_a_value_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


LENGTHS = [
    (nn.Linear, "in_features"),
    (nn.Linear, "out_features"),
    (nn.Bilinear, "in2_features"),
    (nn.Maxout, "pieces"),
    (nn.Embedding, "num_embeddings"),
    (nn.Conv1d, "in_channels"),
    (nn.Conv2d, "groups"),
    (nn.LSTM, "hidden_size"),
    (nn.RNN, "num_layers"),
    (nn.BatchNorm, "num_features"),
    (nn.MultiheadAttention, "embed_dim"),
]
SOUND = {
    "in_features": 4,
    "out_features": 4,
    "in1_features": 4,
    "in2_features": 4,
    "embedding_dim": 4,
    "in_channels": 4,
}
SOUND |= {"out_channels": 4, "kernel_size": 1, "input_size": 4, "hidden_size": 4, "num_heads": 2}


@pytest.mark.parametrize("layer, length", LENGTHS)
@pytest.mark.parametrize("bad", [None, 4.0, "4", True, fp.Unit(4.0)])
def test_what_is_no_length_is_named(layer, length, bad):
    taken = inspect.signature(layer).parameters
    options = {k: v for k, v in SOUND.items() if k in taken} | {length: bad}
    with pytest.raises(TypeError, match=f"{layer.__name__}: {length} is .*expected a whole number"):
        layer(**options)


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: nn.Linear(2, 2, rng=rng),
        lambda rng: nn.GRU(2, 2, rng=rng),
        lambda rng: nn.MLP(2, [1], rng=rng),
        lambda rng: nn.init.normal((2,), rng),
    ],
)
@pytest.mark.parametrize("rng", [0.5, "seed"])
def test_what_draws_first_weights(make, rng):
    with pytest.raises(TypeError, match=r"rng is .*; expected a seed from 0 on, a numpy\.random\.Generator or None"):
        make(rng)


def test_sequences_are_of_layers():
    layer = nn.Linear(2, 2, rng=0)
    for layers, text in [
        ([[layer, layer]], r"Sequential: layer 0 is a list.*; expected a layer, or a function: give \*layers"),
        ([layer, nn.ReLU], r"Sequential: layer 1 is the class ReLU; expected ReLU\(\)"),
        ([layer, None], "Sequential: layer 1 is None"),
    ]:
        with pytest.raises(TypeError, match=text):
            nn.Sequential(*layers)
    assert nn.Sequential(layer, np.tanh)([1.0, 2.0]).shape == (2,)


def test_layers_of_width_0():
    assert nn.Linear(3, 0)(np.ones(3)).shape == (0,)
    layer = nn.Linear(0, 3)
    assert_array_equal(layer(np.ones(0)).value, np.zeros(3))
    assert nn.LayerNorm(0)(np.ones(0)).shape == (0,)
    assert nn.Linear(3, 2)(np.ones((0, 3))).shape == (0, 2)
    assert nn.Conv1d(0, 2, 3)(np.ones((0, 5))).shape == (2, 3)
    for layer in (nn.Bilinear(3, 3, 0), nn.Bilinear(0, 2, 4), nn.Bilinear(2, 0, 4)):
        outputs, *sizes = layer.weight.shape
        for call in (layer.apply, fp.compile(layer.apply)):
            assert call(layer.params(), *map(np.ones, sizes)).shape == (outputs,)
    for layer in (nn.Maxout(3, 0), nn.Maxout(0, 3)):
        outputs, _, inputs = layer.weight.shape
        assert fp.compile(layer.apply)(layer.params(), np.ones(inputs)).shape == (outputs,)


@pytest.mark.parametrize("queries, keys", [(0, 3), (3, 0), (0, 0)])
def test_attention_without_queries_or_keys(queries, keys):
    layer = nn.MultiheadAttention(4, 2, rng=0)
    for call in (layer.apply, fp.compile(layer.apply)):
        output, weights = call(layer.params(), np.ones((queries, 4)), np.ones((keys, 4)), np.ones((keys, 4)))
        assert weights.shape == (queries, keys)
        assert_array_equal(output, np.zeros((queries, 4)) if keys == 0 else np.zeros((0, 4)))


def test_batch_of_0():
    layer = nn.Sequential(nn.Linear(3, 4, rng=0), nn.ReLU(), nn.Linear(4, 2, rng=0))
    assert fp.vmap(layer.apply, (None, 0))(layer.params(), np.ones((0, 3))).shape == (0, 2)


def test_symmetric_weights_before_another_layer_are_warned_of():
    with pytest.warns(UserWarning, match="break the symmetry"):
        nn.Sequential(nn.Linear(3, 4, init="zeros"), nn.ReLU(), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match="break the symmetry"):
        nn.Sequential(nn.Conv2d(1, 4, 3, init="ones"), nn.Flatten(), nn.Linear(4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.Sequential(nn.Linear(3, 4, init="he_normal"), nn.ReLU(), nn.Linear(4, 2, init="zeros"))  # biases are 0
        nn.Sequential(nn.Linear(3, 1, init="zeros"), nn.Linear(1, 2))


# Embedding ------------------------------------------------------------------------------------------------------------


def test_repeated_tokens_add_up():
    table = nn.Embedding(4, 2, rng=0)
    assert_array_equal(table(3).value, table.weight.value[3])
    table([1, 1, 2]).backward(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert_array_equal(table.weight.grad, [[0, 0], [4, 6], [5, 6], [0, 0]])


def test_tokens_in_lanes():
    table = nn.Embedding(5, 2, rng=0)
    tokens = np.array([[0, 4, 4], [2, 1, 0]], np.uint8)

    def loss(params, tokens):
        return fp.sum(table.apply(params, tokens) * np.arange(6.0).reshape(3, 2))

    value, grads = fp.compile(fp.value_and_grad(fp.vmap(loss, (None, 0), reduce="sum")))(table.params(), tokens)
    expected = np.zeros((5, 2))
    for row in tokens:
        np.add.at(expected, row, np.arange(6.0).reshape(3, 2))
    assert_allclose(grads["weight"], expected)
    assert_allclose(value, np.sum(expected * table.weight.value))


@pytest.mark.parametrize("index", [2, -3])
def test_padding_row_has_no_gradient(index):
    table = nn.Embedding(5, 2, padding_idx=index, rng=0)
    assert table.padding_idx == 2
    assert_array_equal(table.weight.value[2], [0.0, 0.0])
    table.weight.value = np.ones((5, 2))
    assert_array_equal(table([2, 3]).value, np.ones((2, 2)))
    table([2, 3]).backward(np.ones((2, 2)))
    assert_array_equal(table.weight.grad, [[0, 0], [0, 0], [0, 0], [1, 1], [0, 0]])
    step = fp.compile(fp.grad(fp.vmap(lambda p, t: table.apply(p, t).sum(), (None, 0), reduce="sum")))
    assert_array_equal(step(table.params(), np.array([2, 3]))["weight"], table.weight.grad)
    assert_array_equal(table.apply(table.params(), 2), np.ones(2))


@pytest.mark.parametrize("tokens, row", [([0, -1], 1), ([5, 0], 0), (-1, None), (5, None)])
def test_tokens_out_of_range(tokens, row):
    table = nn.Embedding(5, 2, rng=0)
    with pytest.raises(IndexError, match="token" if row is None else f"in row {row}; expected 0 to 4"):
        table(tokens)
    where = "lane 0" if row is None else rf"lane {row}"
    for front in (fp.vmap, lambda f, axes: fp.compile(fp.vmap(f, axes))):
        with pytest.raises(IndexError, match=where):
            front(table.apply, (None, 0))(table.params(), np.atleast_1d(tokens))


@pytest.mark.parametrize("tokens", [1.0, True, [0.0, 1.0], "1", np.array([True])])
def test_tokens_are_integers(tokens):
    with pytest.raises(TypeError, match="integers from 0 to 4"):
        nn.Embedding(5, 2)(tokens)


# Attention ------------------------------------------------------------------------------------------------------------


def test_a_query_that_attends_to_nothing():
    q, k, v = numbers(2, 3), numbers(4, 3, seed=2), numbers(4, 5, seed=3)
    mask = np.array([[False] * 4, [True, False, True, False]])
    for given in (mask, np.where(mask, 0.0, -np.inf)):
        for front in (lambda f: f, fp.compile):
            found = front(lambda v: nn.scaled_dot_product_attention(q, k, v, given))(v)  # noqa: B023
            powers = np.exp(q[1] @ k[[0, 2]].T / np.sqrt(3.0))
            assert_array_equal(found[0], np.zeros(5))
            assert_allclose(found[1], powers @ v[[0, 2]] / powers.sum(), rtol=1e-12)
        q_leaf = fp.Array(q)
        fp.sum(nn.scaled_dot_product_attention(q_leaf, k, v, given)).backward()
        assert_array_equal(q_leaf.grad[0], np.zeros(3))
        assert np.all(np.isfinite(q_leaf.grad)) and q_leaf.grad[1].any()


def test_no_nan_is_made_where_a_query_attends_to_nothing(monkeypatch):
    seen = []

    def softmax(x, axis):
        seen.append(fp.softmax(x, axis=axis))
        return seen[-1]

    monkeypatch.setattr("fastprop.nn.attention.softmax", softmax)
    nn.scaled_dot_product_attention(numbers(2, 3), numbers(4, 3), numbers(4, 3), np.zeros((2, 4), bool))
    assert len(seen) == 1 and np.all(np.isfinite(seen[0]))


def test_a_layer_whose_keys_are_all_masked():
    layer = nn.MultiheadAttention(4, 2, rng=0)
    x = numbers(3, 4)
    output, weights = layer(x, x, x, key_mask=np.zeros(3, bool))
    assert_array_equal(output.value, np.zeros((3, 4)))
    assert_array_equal(weights.value, np.zeros((3, 3)))


def test_numbers_are_added_to_the_products():
    q, k, v = numbers(2, 3), numbers(4, 3, seed=2), numbers(4, 5, seed=3)
    added = numbers(2, 4, seed=4)
    shares = np.exp(q @ k.T * 0.5 + added)
    expected = shares / shares.sum(1, keepdims=True) @ v
    assert_allclose(nn.scaled_dot_product_attention(q, k, v, added, scale=0.5), expected, rtol=1e-12)
    assert_allclose(nn.scaled_dot_product_attention(q, k, v, fp.Array(added), scale=0.5).value, expected, rtol=1e-12)


def test_masked_keys_may_be_nan_and_true_means_attend():
    layer = shifted(nn.MultiheadAttention(4, 2, rng=0))
    x, values = numbers(5, 4), numbers(5, 4, seed=2)
    padded, unreal = x.copy(), values.copy()
    padded[3:] = unreal[3:] = np.nan
    real = np.arange(5) < 3
    expected, shares = layer(x[:3], x[:3], values[:3])
    output, weights = layer(x[:3], padded, unreal, key_mask=real)
    assert_allclose(output.value, expected.value, rtol=1e-12)
    assert_allclose(weights.value[:, :3], shares.value, rtol=1e-12)
    assert_array_equal(weights.value[:, 3:], np.zeros((3, 2)))
    mask = np.tri(3, 5, dtype=bool)
    causal = layer(x[:3], x[:3], values[:3], is_causal=True)[0].value
    assert_allclose(layer(x[:3], padded, unreal, attn_mask=mask, key_mask=real)[0].value, causal, rtol=1e-12)

    def output_of(params, x, v, length):
        return layer.apply(params, x[:3], x, v, key_mask=np.arange(5) < length)[0]

    batch = fp.compile(fp.vmap(output_of, (None, 0, 0, 0)))
    found = batch(layer.params(), np.stack([padded, x]), np.stack([unreal, values]), np.array([3, 5]))
    assert_allclose(found[0], expected.value, rtol=1e-10)
    assert_allclose(found[1], layer(x[:3], x, values)[0].value, rtol=1e-10)
    step = fp.compile(fp.grad(fp.vmap(lambda *a: fp.sum(output_of(*a)[:, 0]), (None, 0, 0, 0), reduce="sum")))
    assert np.all(np.isfinite(step(layer.params(), padded[None], unreal[None], np.array([3]))["in_proj_weight"]))
