"""What one fit has recorded, the next one uses: where nothing has changed on which it depends."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.training.sizes import Sizes
from test_fit import LABELS, X, Y, numbers


class Counted(nn.Module):
    """A network that counts how often it is called in Python."""

    calls = 0

    def __init__(self, *layers):
        self.layers, self.scale = list(layers), np.ones(3)
        self.more = {"all": [np.ones(3)[::-1], 1.0]}

    def __call__(self, x):
        Counted.calls += 1
        x = x * self.scale * self.more["all"][0] * self.more["all"][1]
        for layer in self.layers:
            x = layer(x)
        return x


def counted(handles=True):
    random = np.random.default_rng(2)
    model = Counted(nn.BatchNorm(3), nn.Linear(3, 4, rng=random), nn.Dropout(0.2), nn.Linear(4, 3, rng=random))
    return model, fp.optim.Adam(model if handles else model.params())


def fits(model, optimizer, recordings, between=lambda k: None, **options):
    """Three fits: how often each has called the network, and where the last one arrived."""
    calls, random = [], np.random.default_rng(4)
    for k in range(3):
        between(k)
        Counted.calls = 0
        given = {"loss": nn.cross_entropy, "rng": random, "batch_size": 25, **options}
        fp.fit(model, given.pop("loss"), (X, LABELS), optimizer, recordings=recordings, **given)
        calls.append(Counted.calls)
    return calls, numbers(model)


def penalty(params):
    return nn.regularisers.l2(params, 0.1)


def named(options):
    return ", ".join(options) or "plain"


@pytest.mark.parametrize("handles", [True, False])
@pytest.mark.parametrize("options", [{}, {"penalty": penalty}, {"metrics": {"entropy": nn.cross_entropy}}], ids=named)
def test_the_same_fit_records_once(handles, options):
    model, optimizer = counted(handles)
    calls, arrived = fits(model, optimizer, {}, **options)
    assert calls[0] > 0 and calls[1:] == [0, 0]
    other, optimizer = counted(handles)
    calls, expected = fits(other, optimizer, None, **options)
    assert all(calls)
    assert_array_equal(arrived, expected)
    assert_array_equal(model.layers[0].running_mean, other.layers[0].running_mean)


def test_a_function_begins_where_its_parameters_say():
    params, recordings = {"w": np.zeros((1, 3))}, {}
    optimizer = fp.optim.SGD(params, lr=0.1)

    def model(params, x):
        return params["w"] @ x

    first = fp.fit(model, nn.squared_error, (X, Y), optimizer, params=params, rng=0, recordings=recordings).params
    again = fp.fit(model, nn.squared_error, (X, Y), optimizer, params=params, rng=0, recordings=recordings).params
    assert_array_equal(first["w"], again["w"])
    further = fp.fit(model, nn.squared_error, (X, Y), optimizer, params=first, rng=0, recordings=recordings).params
    assert np.any(further["w"] != first["w"])


CHANGES = {
    "an array": lambda model: setattr(model, "scale", 0.5 * model.scale),
    "an array in place": lambda model: model.scale.__imul__(0.5),
    "an array in a list": lambda model: model.more["all"][0].__imul__(0.5),
    "a number in a list": lambda model: model.more["all"].__setitem__(1, 0.5),
    "a layer": lambda model: model.layers.__setitem__(2, nn.Tanh()),
    "an option": lambda model: setattr(model.layers[2], "p", 0.5),
    "a mode": lambda model: model.layers[2].eval(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_recorded_anew(change):
    found = []
    for recordings in ({}, None):
        model, optimizer = counted()
        calls, arrived = fits(model, optimizer, recordings, lambda k, model=model: k == 1 and change(model))
        assert calls[1] > 0
        found.append(arrived)
    assert_array_equal(*found)


def test_another_loss_or_penalty_is_recorded_anew():
    model, optimizer = counted()
    recordings = {}
    fits(model, optimizer, recordings)
    for options in ({"penalty": penalty}, {"loss": nn.multiclass_hinge}, {"metrics": {"hinge": nn.multiclass_hinge}}):
        assert fits(model, optimizer, recordings, **options)[0][0] > 0


# Batches of many sizes ------------------------------------------------------------------------------------------------

SIZES = (5, 3, 9, 2, 7, 6, 1, 8, 4, 12, 9)


def batches(weights=None):
    """Batches of all sizes."""
    starts = np.cumsum((0, *SIZES))
    parts = [slice(start, start + size) for start, size in zip(starts, SIZES)]
    return [(X[part], LABELS[part]) if weights is None else (X[part], LABELS[part], weights[part]) for part in parts]


def learnt(data, model=None, **options):
    """What a fit to batches comes to: parameters, losses, and how often the model was recorded."""
    model = counted()[0] if model is None else model
    Counted.calls = 0
    data = {"data": data, "validation": data, "epochs": 2, "rng": 0, **options}
    history = fp.fit(model, nn.cross_entropy, data.pop("data"), fp.optim.SGD(model), **data)
    return numbers(model), history.losses, history.validation_losses, history.step_losses, Counted.calls


def plain():
    """A network that counts, in which no example sees the others."""
    return Counted(nn.Linear(3, 4, rng=1), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3, rng=2))


@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 3}, {"penalty": penalty}, {"metrics": {"entropy": nn.cross_entropy}}]
)
@pytest.mark.parametrize("weights", [None, np.linspace(0.0, 2.0, len(X))], ids=["equal", "weighed"])
def test_batches_of_many_sizes_are_filled_up(weights, options, monkeypatch):
    found = learnt(batches(weights), plain(), **options)
    monkeypatch.setattr("fastprop.training.sizes.FEW", 1000)
    monkeypatch.setattr("fastprop.training.sizes.SPARE", 0)
    expected = learnt(batches(weights), plain(), **options)
    for a, b in zip(found[:4], expected):
        assert_allclose(a, b, rtol=1e-10)
    assert found[4] < 0.8 * expected[4]


def test_the_rest_of_an_epoch_is_filled_up_until_a_recording_would_have_paid(monkeypatch):
    options = {"batch_size": 16, "epochs": 4, "validation": None}
    found = learnt((X[:27], LABELS[:27]), plain(), **options)
    monkeypatch.setattr("fastprop.training.sizes.SPARE", 0)
    expected = learnt((X[:27], LABELS[:27]), plain(), **options)
    for part in (0, 1, 3):
        assert_array_equal(found[part], expected[part])
    assert found[4] < expected[4]
    sizes = Sizes()
    monkeypatch.setattr("fastprop.training.sizes.SPARE", 20)
    sizes.spare = 20
    assert [sizes.of(size) for size in (16, 11, 11, 12, 11, 11, 13)] == [16, 16, 16, 16, 16, 11, 16]


def test_what_sees_all_examples_is_not_filled_up(monkeypatch):
    data = batches()[:6] + batches()[7:]  # a single example has no variance
    found = learnt(data)
    monkeypatch.setattr("fastprop.training.sizes.FEW", 1000)
    expected = learnt(data)
    for part in (0, 1, 3):  # what was learnt; when it is used, no example sees the others
        assert_array_equal(found[part], expected[part])
    assert_allclose(found[2], expected[2], rtol=1e-12)


def test_a_wrong_label_in_a_batch_that_was_filled_up_is_named():
    bad = batches()
    labels = bad[5][1].copy()
    labels[0] = 3
    bad[5] = (bad[5][0], labels)
    with pytest.raises(IndexError, match="3"):
        learnt(bad, plain(), validation=None)
    recordings, model = {}, plain()
    optimizer = fp.optim.SGD(model)
    for size in (5, 3, 9, 2):
        fp.fit(model, nn.cross_entropy, (X[:size], LABELS[:size]), optimizer, recordings=recordings)
    with pytest.raises(IndexError, match="in row 0 of the data"):
        fp.fit(
            model, nn.cross_entropy, (X[:7], np.where(np.arange(7), LABELS[:7], 3)), optimizer, recordings=recordings
        )


def test_a_callback_that_loads_other_options_of_a_rule_of_one_s_own_is_followed():
    """Options may be arrays, which are no truth values where they are compared."""

    class Scaled(fp.optim.Optimizer):
        def __init__(self, params, lr, scale, schedule=None):
            super().__init__(params, lr, scale=scale, schedule=schedule)

        def move(self, value, grad, moments, step, rate):
            return value - rate * float(self._options["scale"][0]) * grad

    def learnt_with(change):
        model = nn.Linear(3, 3, rng=0)
        optimizer = Scaled(model, 0.1, np.array([1.0, 2.0]))

        def callback(history):
            state = optimizer.state_dict()
            state["options"]["scale"] = np.array([change, 2.0])
            optimizer.load_state_dict(state)

        fp.fit(model, nn.cross_entropy, (X, LABELS), optimizer, epochs=3, callbacks=callback, rng=0)
        return numbers(model)

    assert not np.array_equal(learnt_with(0.0), learnt_with(1.0))
