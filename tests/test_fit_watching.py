"""Statistics of layers: compared with NumPy's of the same layers, called one by one; nothing of it stays."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import nn
from fastprop.training import Watch, fit, layer_statistics
from test_fit import LABELS, X, Y, classifier, line

ROWS = (X, LABELS)


def relu_network(dtype=None):
    random = np.random.default_rng(1)
    model = nn.Sequential(nn.Linear(3, 6, rng=random, dtype=dtype), nn.ReLU(), nn.Linear(6, 3, rng=random, dtype=dtype))
    model[0].bias.value = np.array([-30.0, 0.0, -30.0, 0.5, 0.0, 1.0]).astype(model[0].bias.value.dtype)
    return model


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_statistics_are_those_of_the_layers_one_by_one(dtype):
    model, x = relu_network(dtype), X.astype(dtype)
    found = layer_statistics(model, nn.cross_entropy, (X, LABELS))
    outputs, seen = [x], []
    for layer in model.layers:
        outputs.append(np.stack([np.asarray(layer(fp.Array(row)).value) for row in outputs[-1]]))
    for out in [*outputs[1:], outputs[-1]]:
        zero = out == 0.0
        seen.append([out.mean(), out.std(), zero.mean(), zero.all(axis=0).mean()])
    for leaf in model.parameters():
        leaf.grad = 0.0
    for row, label in zip(x, LABELS):
        nn.cross_entropy(model(row), int(label)).backward(1.0 / 50)
    norms = [math.hypot(*[np.linalg.norm(leaf.grad) for leaf in layer.parameters()]) for layer in model.layers]
    assert [(layer.name, layer.kind) for layer in found] == [
        ("0", "Linear"), ("1", "ReLU"), ("2", "Linear"), ("", "Sequential"),
    ]  # fmt: skip
    tolerance = 1e-5 if dtype == "float32" else 1e-10
    assert_allclose([layer[2:6] for layer in found], seen, rtol=tolerance, atol=tolerance)
    assert found[1].dead == 1 / 3 and found[1].zeros > 1 / 3
    assert math.isnan(found[1].gradient)
    expected = [norms[0], norms[2], math.hypot(norms[0], norms[2])]
    assert_allclose([found[k].gradient for k in (0, 2, 3)], expected, rtol=tolerance)


def test_they_leave_no_trace():
    model = nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 4, rng=0), nn.Dropout(0.5), nn.Linear(4, 3, rng=1))
    before, classes = model.state_dict(), [type(layer) for layer in model.layers]
    first = layer_statistics(model, nn.cross_entropy, ROWS)
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert [type(layer) for layer in model.layers] == classes and model.training
    assert 0.3 < first[2].zeros < 0.7
    assert layer_statistics(model.eval(), nn.cross_entropy, ROWS)[2].zeros == 0.0


def test_of_arrays_the_first_examples_are_taken_and_of_an_iterable_the_first_batch():
    model = classifier()
    few = layer_statistics(model, nn.cross_entropy, (X[:20], LABELS[:20]))
    assert layer_statistics(model, nn.cross_entropy, ROWS, examples=20) == few
    assert layer_statistics(model, nn.cross_entropy, [(X[:20], LABELS[:20]), ROWS]) == few


def test_a_layer_may_be_called_often_and_give_several_things():
    class Twice(nn.Module):
        def __init__(self):
            self.inner, self.memory = nn.Linear(3, 3, rng=0), nn.LSTM(3, 2, rng=1)

        def __call__(self, x):
            return self.memory(fp.stack([self.inner(x), self.inner(2.0 * x)]))[0][-1]

    model = Twice()
    found = layer_statistics(model, nn.squared_error, (X, Y @ np.ones((1, 2))))
    assert [layer.name for layer in found] == ["inner", "inner", "memory", ""]
    once = np.stack([np.asarray(model.inner(row).value) for row in X])
    assert_allclose(found[0].mean, once.mean(), rtol=1e-10)
    assert_allclose(found[1].std, np.stack([np.asarray(model.inner(2.0 * row).value) for row in X]).std(), rtol=1e-10)
    assert found[0].gradient == found[1].gradient < found[3].gradient


def test_a_loss_may_weigh_examples_itself():
    model = classifier()
    pairs = layer_statistics(model, lambda z, y: nn.cross_entropy(z, y, reduction="pair"), ROWS)
    assert pairs == layer_statistics(model, nn.cross_entropy, ROWS)


def test_the_history_has_what_was_watched():
    model = relu_network()
    other = relu_network()
    watch = Watch(model, nn.cross_entropy, ROWS)
    history = fit(model, nn.cross_entropy, ROWS, fp.optim.SGD(model, lr=0.1), epochs=3, callbacks=watch, rng=0)
    fit(other, nn.cross_entropy, ROWS, fp.optim.SGD(other, lr=0.1), rng=0)
    expected = layer_statistics(other, nn.cross_entropy, ROWS)
    assert len(history.statistics) == 3
    assert_allclose([layer[2:] for layer in history.statistics[0]], [layer[2:] for layer in expected], rtol=1e-12)
    assert history.statistics[2] != history.statistics[0]
    unwatched = relu_network()
    fit(unwatched, nn.cross_entropy, ROWS, fp.optim.SGD(unwatched, lr=0.1), epochs=3, rng=0)
    assert all(np.array_equal(a.value, b.value) for a, b in zip(model.parameters(), unwatched.parameters()))


def test_only_modules_have_layers():
    with pytest.raises(TypeError, match=r"model is function; expected a fastprop\.nn\.Module"):
        layer_statistics(lambda params, x: x, nn.squared_error, (X, Y))
    with pytest.raises(ValueError, match="examples is 0"):
        layer_statistics(line(), nn.squared_error, (X, Y), examples=0)


class Cell(nn.Module):
    """A recurrence of one's own, in one of several manners."""

    def __init__(self, manner, dtype=None):
        self.manner = manner
        self.cell, self.act, self.out = (
            nn.Linear(4, 3, rng=0, dtype=dtype),
            nn.ReLU(),
            nn.Linear(3, 3, rng=1, dtype=dtype),
        )

    def step(self, h, x):
        h = self.act(self.cell(fp.concatenate([h, fp.reshape(x, (1,))])))
        return h, h

    def __call__(self, x):
        start = np.zeros(3, np.float32) if self.out.bias.dtype == np.float32 else np.zeros(3)
        if self.manner == "scan":
            return self.out(fp.scan(self.step, start, x)[0])
        if self.manner == "map":
            return self.out(fp.vmap(lambda x: self.step(start, x)[0])(x).sum(axis=0))
        h, total = start, 0.0
        for k in range(3):
            h, _ = self.step(h if self.manner == "loop" else start, x[k])
            total = total + h
        return self.out(h if self.manner == "loop" else total)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("manner, loop", [("scan", "loop"), ("map", "loop over lanes")])
def test_layers_in_scans_and_maps_are_seen_step_by_step(manner, loop, dtype):
    found, expected = (layer_statistics(Cell(way, dtype), nn.cross_entropy, ROWS) for way in (manner, loop))
    assert [layer.name for layer in found] == ["cell", "act"] * 3 + ["out", ""]
    assert [layer[:2] for layer in found] == [layer[:2] for layer in expected]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert_allclose([layer[2:] for layer in found], [layer[2:] for layer in expected], rtol=tolerance, atol=tolerance)


def test_a_watch_sees_scans_after_every_epoch():
    model = Cell("scan")
    watch = Watch(model, nn.cross_entropy, ROWS)
    history = fit(model, nn.cross_entropy, ROWS, fp.optim.SGD(model, lr=0.1), epochs=2, callbacks=watch, rng=0)
    assert [len(layers) for layers in history.statistics] == [8, 8]
    now = layer_statistics(model, nn.cross_entropy, ROWS)
    assert_allclose([layer[2:] for layer in history.statistics[1]], [layer[2:] for layer in now])
