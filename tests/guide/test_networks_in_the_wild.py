"""The guide's chapter 4, which has headings alone: each kind of network against formulas written out by hand."""

import math

import numpy as np
import pytest

import fastprop as fp
from fastprop import nn
from fastprop.training import check_gradients


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# Convolutional networks for images ------------------------------------------------------------------------------------


def test_convolution_is_a_neuron_that_is_slid_along(rng):
    """Values, and pulls on weights and image, against four loops."""
    image, kernels, pulls = rng.normal(size=(2, 5, 6)), rng.normal(size=(3, 2, 2, 3)), rng.normal(size=(3, 4, 4))
    expected, on_image, on_kernels = np.zeros((3, 4, 4)), np.zeros_like(image), np.zeros_like(kernels)
    for k in range(3):
        for i in range(4):
            for j in range(4):
                patch = image[:, i : i + 2, j : j + 3]
                expected[k, i, j] = (kernels[k] * patch).sum()
                on_kernels[k] += pulls[k, i, j] * patch
                on_image[:, i : i + 2, j : j + 3] += pulls[k, i, j] * kernels[k]
    x, w = fp.Array(image), fp.Array(kernels)
    found = fp.conv2d(x, w)
    found.backward(pulls)
    assert found.value == pytest.approx(expected)
    assert x.grad == pytest.approx(on_image)
    assert w.grad == pytest.approx(on_kernels)


def test_pooling_is_a_switch():
    """The greatest of each patch gets the pull; the mean hands it on to all in equal parts."""
    x = np.array([[[1.0, 5.0], [2.0, 3.0]]])
    for pool, expected in [(nn.MaxPool2d(2), [[0.0, 8.0], [0.0, 0.0]]), (nn.AvgPool2d(2), [[2.0, 2.0], [2.0, 2.0]])]:
        leaf = fp.Array(x)
        pool(leaf).backward(np.array([[[8.0]]]))
        assert leaf.grad[0].tolist() == expected


def test_alexnet_in_small(rng):
    """Its layers: kernels with a stride, relu, normalisation across channels, pools that overlap, dropout."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.LocalResponseNorm(3),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(4, 6, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(6, 3, rng=rng),
    )
    images, labels = rng.normal(size=(4, 1, 15, 15)), np.array([0, 1, 2, 1])
    shapes, x = [], images[0]
    for layer in model.eval().layers:
        x = layer(x)
        shapes.append(x.shape)
    assert shapes[0] == (4, 8, 8)
    assert shapes[3] == (4, 3, 3)
    assert shapes[-1] == (3,)
    assert check_gradients(model, nn.cross_entropy, (images, labels)) < 1e-6


# Recurrent networks for speech and text -------------------------------------------------------------------------------


def test_vanilla_recurrent_net_and_its_pull_through_time(rng):
    """h' = tanh(W x + U h); backwards, each step takes what comes from above and what comes from the step behind it."""
    layer = nn.RNN(2, 3, bias=False, rng=rng)
    w, u = layer.weight_ih_l0.value, layer.weight_hh_l0.value
    x, states = rng.normal(size=(5, 2)), [np.zeros(3)]
    for row in x:
        states.append(np.tanh(w @ row + u @ states[-1]))
    pull, on_w, on_u = np.ones(3), np.zeros_like(w), np.zeros_like(u)
    for t in reversed(range(5)):
        pull = pull * (1.0 - states[t + 1] ** 2)
        on_w += np.outer(pull, x[t])
        on_u += np.outer(pull, states[t])
        pull = u.T @ pull
    output, last = layer(x)
    assert output.value == pytest.approx(np.array(states[1:]))
    fp.sum(last).backward()
    assert layer.weight_ih_l0.grad == pytest.approx(on_w)
    assert layer.weight_hh_l0.grad == pytest.approx(on_u)


def test_bidirectional_recurrent_net(rng):
    """The way back is another network, which reads from the end; every place sees all of the sequence."""
    layer, forward, backward = nn.RNN(2, 3, bidirectional=True, rng=rng), nn.RNN(2, 3), nn.RNN(2, 3)
    for name, _ in forward.named_parameters():
        getattr(forward, name).value = getattr(layer, name).value
        getattr(backward, name).value = getattr(layer, f"{name}_reverse").value
    x = rng.normal(size=(6, 2))
    there, back = forward(x)[0].value, backward(x[::-1])[0].value[::-1]
    assert layer(x)[0].value == pytest.approx(np.concatenate([there, back], axis=1))
    seen = fp.grad(lambda x: fp.sum(layer.apply(layer.params(), x)[0][2]))(x)
    assert np.all(seen != 0.0)
    seen = fp.grad(lambda x: fp.sum(forward.apply(forward.params(), x)[0][2]))(x)
    assert np.all(seen[:3] != 0.0)
    assert np.all(seen[3:] == 0.0)


def test_lstm_remembers(rng):
    """c' = f c + i g: with the gate open to keep, a pull on the memory comes back undiminished; a plain net's fades."""
    steps, lstm = 50, nn.LSTM(1, 1, rng=rng)
    for name, leaf in lstm.named_parameters():
        leaf.value = np.zeros(leaf.shape)
        if name == "bias_ih_l0":
            leaf.value = np.array([-20.0, 20.0, 0.0, 0.0])  # nothing enters, everything is kept
    x, (h, c) = np.zeros((steps, 1)), np.ones((2, 1, 1))

    def memory(c):
        return fp.sum(lstm.apply(lstm.params(), x, (h, c))[1][1])

    assert fp.grad(memory)(c) == pytest.approx(1.0, abs=1e-6)
    rnn = nn.RNN(1, 1, rng=rng)
    for _, leaf in rnn.named_parameters():
        leaf.value = np.full(leaf.shape, 0.5)
    faded = fp.grad(lambda h: fp.sum(rnn.apply(rnn.params(), x, h)[1]))(h)
    assert 0.0 < faded.item() < 0.5**steps


# Word2vec -------------------------------------------------------------------------------------------------------------


def test_word2vec_negative_sampling(rng):
    """A word is pulled to its neighbour by what the sigmoid lacks to 1, and off each other word by the sigmoid."""
    table, company = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    word, neighbour, others = 2, 4, np.array([0, 4, 5])

    def loss(table, company, word, neighbour, others):
        vector = table[word]
        return fp.softplus(-fp.dot(vector, company[neighbour])) + fp.sum(fp.softplus(company[others] @ vector))

    v = table[word]
    near = 1.0 / (1.0 + math.exp(-v @ company[neighbour]))
    far = 1.0 / (1.0 + np.exp(-company[others] @ v))
    on_table, on_company = np.zeros((6, 4)), np.zeros((6, 4))
    on_table[word] = (near - 1.0) * company[neighbour] + far @ company[others]
    on_company[neighbour] = (near - 1.0) * v
    np.add.at(on_company, others, far[:, None] * v)
    value, (d_table, d_company) = fp.compile(fp.value_and_grad(loss, argnums=(0, 1)))(
        table, company, np.array(word), np.array(neighbour), others
    )
    assert value == pytest.approx(-math.log(near) - np.log(1.0 - far).sum())
    assert d_table == pytest.approx(on_table)
    assert d_company == pytest.approx(on_company)


# t-SNE ----------------------------------------------------------------------------------------------------------------


def test_t_sne(rng):
    """The gradient that its authors derive, 4 Σ (p - q) (y_i - y_j) / (1 + |y_i - y_j|²), out of the cost alone."""
    points, near = rng.normal(size=(7, 2)), rng.random((7, 7))
    near = near + near.T
    np.fill_diagonal(near, 0.0)
    near /= near.sum()

    def row(points, own, near):
        distances = ((points - own) ** 2).sum(axis=1)
        return (near * fp.log1p(distances)).sum(), (1.0 / (1.0 + distances)).sum()

    def cost(points):
        apart, crowds = fp.vmap(row, in_axes=(None, 0, 0), reduce="sum")(points, points, near)
        return apart + fp.log(crowds - len(points))

    away = points[:, None] - points
    inverse = 1.0 / (1.0 + (away**2).sum(axis=2))
    np.fill_diagonal(inverse, 0.0)
    q = inverse / inverse.sum()
    expected = 4.0 * ((near - q)[:, :, None] * away * inverse[:, :, None]).sum(axis=1)
    value, gradient = fp.compile(fp.value_and_grad(cost))(points)
    off = ~np.eye(7, dtype=bool)
    divergence = np.sum(near[off] * np.log(near[off] / q[off]))
    assert value + np.sum(near[off] * np.log(near[off])) == pytest.approx(divergence)
    assert gradient == pytest.approx(expected)
