"""What one fit has recorded, the next one uses: where nothing has changed on which it depends."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp
from fastprop import nn
from test_fit import LABELS, X, Y, numbers


class Counted(nn.Module):
    """A network that counts how often it is called in Python."""

    calls = 0

    def __init__(self, *layers):
        self.layers, self.scale = list(layers), np.ones(3)

    def __call__(self, x):
        Counted.calls += 1
        x = x * self.scale
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
