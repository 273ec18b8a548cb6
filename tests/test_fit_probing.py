"""Looks at a model before a fit: rates, and the check of a gradient; they leave no trace."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import nn
from fastprop.handles.nesting import flatten
from fastprop.training import check_gradients, find_rate
from test_fit import LABELS, X, Y, classifier, line


def bits(*trees):
    """All numbers of nested containers, to the last bit."""
    return [np.asarray(leaf).tobytes() if not isinstance(leaf, str) else leaf for leaf in flatten(trees)[0]]


def network():
    return nn.Sequential(nn.BatchNorm(3), nn.Dropout(0.2), classifier())


@pytest.mark.parametrize("handles", [True, False])
def test_the_rate_finder_leaves_no_trace(handles):
    model = network().eval()
    model[2].train()
    optimizer = fp.optim.Adam(model if handles else model.params(), lr=0.3, schedule=fp.optim.WarmUp(3))
    fp.fit(model, nn.cross_entropy, (X, LABELS), optimizer, rng=0)
    random = np.random.default_rng(1)
    before, state = bits(model.state_dict(), optimizer.state_dict()), random.bit_generator.state
    found = find_rate(model, nn.cross_entropy, (X, LABELS), optimizer, rng=random, steps=30)
    assert bits(model.state_dict(), optimizer.state_dict()) == before and random.bit_generator.state == state
    assert not model.training and model[2].training and optimizer.schedule(0) == 0.0
    assert len(found.rates) == len(found.losses) <= 30
    again = find_rate(model, nn.cross_entropy, (X, LABELS), optimizer, rng=random, steps=30)
    assert again == found
    shown = f"{len(found.rates)} from 1e-06 to {found.rates[-1]:.3g}; suggestion {found.suggestion:.3g}"
    assert repr(found) == f"<Rates: {shown}>"


def test_rates_are_those_by_hand():
    model = line()
    found = find_rate(
        model, nn.squared_error, (X, Y), fp.optim.SGD(model), rng=0, lowest=1e-3, highest=1e3, steps=25, batch_size=50
    )
    assert_allclose(found.rates, 10.0 ** np.linspace(-3.0, 3.0, 25)[: len(found.rates)], rtol=1e-12)
    assert 10 < len(found.rates) < 25  # the loss has grown
    w, b, mean, losses = model.params()["weight"], model.params()["bias"], 0.0, []
    for k, rate in enumerate(found.rates):
        error = X @ w.T + b - Y
        mean = 0.9 * mean + 0.1 * np.mean(0.5 * np.sum(error**2, axis=1))
        losses.append(mean / (1.0 - 0.9 ** (k + 1)))
        w, b = w - rate * error.T @ X / 50, b - rate * error.mean(0)
    assert_allclose(found.losses, losses, rtol=1e-9)
    assert found.suggestion == found.rates[int(np.argmin(losses))] / 10.0


@pytest.mark.parametrize("lowest, highest", [(0.0, 1.0), (1.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (-1.0, 1.0)])
def test_rates_that_are_none(lowest, highest):
    model = line()
    with pytest.raises(ValueError, match="expected finite numbers above 0, in this order"):
        find_rate(model, nn.squared_error, (X, Y), fp.optim.SGD(model), lowest=lowest, highest=highest)


def test_a_loss_that_is_nan_at_once():
    model = line()
    with pytest.raises(ValueError, match="the loss is nan before the first step"):
        find_rate(model, lambda z, y: fp.log(-1.0 - fp.sum(z * z)), (X, Y), fp.optim.SGD(model))


class Cube(fp.Gate):
    """A gate of one's own, whose derivative may be wrong."""

    def __init__(self, factor):
        self.factor = factor

    def forward(self, x):
        return x * x * x

    def backward(self, pull, x):
        return self.factor * x * x * pull


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_that_are_right(dtype):
    model = nn.Sequential(nn.BatchNorm(3, dtype=dtype), nn.Dropout(0.2), classifier(dtype=dtype))
    before = bits(model.state_dict())
    assert check_gradients(model, nn.cross_entropy, (X, LABELS)) < 1e-6
    assert bits(model.state_dict()) == before
    assert check_gradients(model, nn.cross_entropy, [(X[:5], LABELS[:5])]) < 1e-6
    assert check_gradients(nn.MLP(3, [4, 1], rng=0), lambda z, y: (z - y[0]) ** 2, (X, Y)) < 1e-6
    function = lambda p, x: p["w"] @ x + p["b"]  # noqa: E731
    assert check_gradients(function, lambda z, y: (z - y[0]) ** 4, (X, Y), params={"w": np.ones(3), "b": 0.5}) < 1e-5


def test_a_gradient_that_is_wrong_is_named():
    def loss(cube):
        return lambda z, y: cube(z[0] - y[0]) + z[0]

    assert check_gradients(line(), loss(Cube(3.0)), (X, Y)) < 1e-5
    with pytest.raises(AssertionError, match=r"the gradient of weight has the slope .*, where differences give "):
        check_gradients(line(), loss(Cube(2.0)), (X, Y))
