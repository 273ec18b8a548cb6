"""Recurrent layers against plain statements of PyTorch's equations, and padded batches."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from networks import agree, check_layer

X = np.random.default_rng(1).normal(size=(4, 3))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def rnn_step(x, h, state):
    return (np.tanh(x + h),)


def relu_step(x, h, state):
    return (np.maximum(x + h, 0.0),)


def lstm_step(x, h, state):
    i, f, g, o = np.split(x + h, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, h, state):
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3), np.split(h, 3)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    return ((1.0 - z) * np.tanh(xn + r * hn) + z * state[0],)


def statement(step, states, layers, directions, begun=None):
    """What a recurrent layer gives for a sequence: its outputs and its last states."""

    def run(p, x):
        size = p["weight_hh_l0"].shape[1]
        last = []
        for layer in range(layers):
            sides = []
            for direction in directions:
                suffix = f"_l{layer}{direction}"
                state = [np.zeros(size)] * states if begun is None else [part[len(last)] for part in begun]
                hidden = np.zeros((len(x), size))
                for t in range(len(x))[::-1] if direction else range(len(x)):
                    sums = p[f"weight_ih{suffix}"] @ x[t] + p.get(f"bias_ih{suffix}", 0.0)
                    recurrent = p[f"weight_hh{suffix}"] @ state[0] + p.get(f"bias_hh{suffix}", 0.0)
                    state = step(sums, recurrent, state)
                    hidden[t] = state[0]
                sides.append(hidden)
                last.append(state)
            x = np.concatenate(sides, axis=1)
        found = tuple(np.stack(parts) for parts in zip(*last))
        return x, found if states > 1 else found[0]

    return run


KINDS = {
    "RNN": (nn.RNN, rnn_step, 1, {}),
    "RNN, relu": (nn.RNN, relu_step, 1, {"nonlinearity": "relu"}),
    "LSTM": (nn.LSTM, lstm_step, 2, {}),
    "GRU": (nn.GRU, gru_step, 1, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "layers, both, bias",
    [(1, False, True), (2, True, True), (2, False, False)],
    ids=["one", "stacked, both", "stacked"],
)
def test_layer_is_what_it_says(kind, layers, both, bias):
    make, step, states, options = KINDS[kind]
    model = make(3, 2, layers, bias=bias, bidirectional=both, rng=0, **options)
    directions = ("", "_reverse") if both else ("",)
    check_layer(model, statement(step, states, layers, directions), X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_to_begin_with(kind):
    make, step, states, options = KINDS[kind]
    model = make(3, 2, 2, bidirectional=True, rng=0, **options)
    begun = [np.random.default_rng(k).normal(size=(4, 2)) for k in range(states)]
    expected = statement(step, states, 2, ("", "_reverse"), begun)(model.params(), X)
    agree(model(X, begun if states > 1 else begun[0]), expected)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_names_and_shapes(kind):
    blocks = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    model = KINDS[kind][0](3, 5, 2, bidirectional=True)
    expected = {}
    for layer, width in enumerate((3, 10)):
        for side in ("", "_reverse"):
            expected[f"weight_ih_l{layer}{side}"] = (5 * blocks, width)
            expected[f"weight_hh_l{layer}{side}"] = (5 * blocks, 5)
            expected[f"bias_ih_l{layer}{side}"] = expected[f"bias_hh_l{layer}{side}"] = (5 * blocks,)
    assert {name: leaf.shape for name, leaf in model.named_parameters()} == expected
    assert all(np.abs(leaf.value).max() <= 1.0 / np.sqrt(5.0) for leaf in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_sequence_of_length_0(kind):
    make, _, states, options = KINDS[kind]
    model = make(3, 2, bidirectional=True, rng=0, **options)
    begun = [np.random.default_rng(k).normal(size=(2, 2)) for k in range(states)]
    for front in (model, lambda x, state: fp.compile(model.apply)(model.params(), x, state)):
        output, state = front(np.zeros((0, 3)), begun if states > 1 else begun[0])
        assert output.shape == (0, 4)
        agree(state, tuple(begun) if states > 1 else begun[0])


@pytest.mark.parametrize("kind", KINDS)
def test_padded_batch(kind):
    make, step, states, options = KINDS[kind]
    model = make(3, 2, 2, bidirectional=True, rng=0, **options)
    run = statement(step, states, 2, ("", "_reverse"))
    lengths = np.array([4, 2, 0, 3])
    batch = np.stack([np.where(np.arange(4)[:, None] < n, X + n, np.nan) for n in lengths])
    outputs, state = fp.compile(fp.vmap(lambda p, x, n: model.apply(p, x, length=n), (None, 0, 0)))(
        model.params(), batch, lengths
    )
    for lane, n in enumerate(lengths):
        expected = run(model.params(), batch[lane, :n])
        lane_state = tuple(part[lane] for part in state) if states > 1 else state[lane]
        agree((outputs[lane, :n], lane_state), expected)
        assert_array_equal(outputs[lane, n:], np.zeros((4 - n, 4)))
        eager = model(batch[lane], length=int(n))
        agree((eager[0][:n], eager[1]), expected)
        assert_array_equal(eager[0][n:].value, np.zeros((4 - n, 4)))

    def loss(p, x, n):
        return fp.sum(model.apply(p, x, length=n)[0])

    found = fp.compile(fp.grad(fp.vmap(loss, (None, 0, 0), reduce="sum")))(model.params(), batch, lengths)
    rows = [
        fp.grad(lambda p, x: fp.sum(model.apply(p, x)[0]))(model.params(), batch[k, :n]) for k, n in enumerate(lengths)
    ]
    for name, gradient in found.items():
        assert_allclose(gradient, sum(row[name] for row in rows), rtol=1e-9, atol=1e-12)
    inputs = fp.grad(loss, 1)(model.params(), batch[1], 2)
    assert_array_equal(inputs[2:], np.zeros((2, 3)))
    assert np.all(np.isfinite(inputs))


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: nn.RNN(3, 2, num_layers=0), "num_layers"),
        (lambda: nn.RNN(3, 2, nonlinearity="sigmoid"), "tanh"),
        (lambda: nn.LSTM(3, 2)(np.ones((4, 2))), r"\(steps, 3\)"),
        (lambda: nn.LSTM(3, 2)(np.ones((2, 4, 3))), "lanes of a batch"),
        (lambda: nn.GRU(3, 2)(X, np.zeros(2)), r"of the shape \(1, 2\)"),
        (lambda: nn.LSTM(3, 2)(X, (np.zeros((1, 2)),)), "expected 2 of the shape"),
        (lambda: nn.LSTM(3, 2)(X, np.zeros((1, 2))), r"LSTM: a state of shape \(1, 2\); expected a pair \(h, c\)"),
        (lambda: nn.LSTM(3, 2)(X, length=5), "length 5 of a sequence of 4 steps"),
        (lambda: nn.LSTM(3, 2)(X, length=-1), "length -1"),
        (
            lambda: nn.LSTM(3, 2)(X, length=2.5),
            "LSTM: length 2.5 of a sequence of 4 steps; expected an integer from 0 to 4",
        ),
        (lambda: nn.RNN(3, 2)(X, length=math.nan), "RNN: length nan"),
        (lambda: nn.GRU(3, 2)(X, length=[4, 3]), r"GRU: length of shape \(2,\); expected one integer: fastprop\.vmap"),
        (lambda: nn.GRU(3, 2)(X, length=np.array([4, 3])), r"GRU: length of shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_a_value_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_lengths_in_lanes(kind):
    model = getattr(nn, kind)(3, 2, rng=0)
    batch = np.stack([X, X])

    def f(x, n):
        return model(x, length=n)[0]

    run = fp.compile(fp.vmap(f))
    run(batch, np.array([4, 0]))
    for front in (run, fp.compile(fp.vmap(f)), fp.vmap(f)):
        for bad in (5, -1):
            with pytest.raises(IndexError, match=f"{kind}: length {bad}; expected 0 to 4, in lane 1"):
                front(batch, np.array([2, bad]))
        with pytest.raises(TypeError, match=rf"{kind}: lengths are integers from 0 to 4.*\.astype\(int\)"):
            front(batch, np.array([2.0, 2.5]))
    with pytest.raises(IndexError, match=f"{kind}: length 5; expected 0 to 4"):
        fp.compile(f)(X, np.array(5))


def test_float32_stays_float32():
    model = nn.LSTM(3, 2, rng=0, dtype=np.float32)
    output, (h, c) = model(X.astype(np.float32))
    assert {output.dtype, h.dtype, c.dtype} == {np.dtype(np.float32)}
    found, _ = fp.compile(model.apply)(model.params(), X.astype(np.float32))
    assert found.dtype == np.float32


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_dropout_stands_between_layers(kind):
    with pytest.warns(UserWarning, match=f"{kind.__name__}: dropout 0.5 stands between layers, and there is one only"):
        kind(2, 3, dropout=0.5, rng=0)
    with pytest.raises(ValueError, match="expected a probability"):
        kind(2, 3, dropout=2.0, rng=0)
