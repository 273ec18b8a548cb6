"""`training.predict`: what a model gives for many examples, against its calls with one after the other."""

import numpy as np
import pytest

import fastprop as fp
from fastprop import nn
from fastprop.training import predict


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def network(rng, dtype=np.float64):
    return nn.Sequential(
        nn.Linear(4, 5, rng=rng, dtype=dtype), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2, rng=rng, dtype=dtype)
    )


def one_by_one(model, x):
    """Each example by itself, eagerly, by a model that is used."""
    model.eval()
    rows = [np.asarray(model(row).value) for row in x]
    model.train()
    return np.array(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1024])
def test_predicts_what_the_model_says_of_each(rng, batch_size):
    model, x = network(rng), rng.normal(size=(7, 4))
    found = predict(model, x, batch_size=batch_size)
    assert type(found) is np.ndarray
    assert found == pytest.approx(one_by_one(model, x), rel=1e-14)


def test_nothing_about_the_model_changes(rng):
    model, x = network(rng), rng.normal(size=(7, 4))
    model[2].eval()  # parts may have modes of their own
    before, modes = model.state_dict(), [part.training for _, part in model.named_modules()]
    predict(model, x)
    assert [part.training for _, part in model.named_modules()] == modes
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    assert all(np.all(np.asarray(leaf.grad) == 0.0) for leaf in model.parameters())


def test_statistics_of_a_batch_norm_are_used_and_stay(rng):
    model = nn.Sequential(nn.Linear(3, 2, rng=rng), nn.BatchNorm(2))
    x = rng.normal(size=(20, 3))
    fp.fit(model, nn.squared_error, (x, x[:, :2]), fp.optim.SGD(model, lr=0.1), epochs=2, rng=0)
    mean, before = model[1].running_mean.copy(), predict(model, x)
    assert np.array_equal(model[1].running_mean, mean)
    assert predict(model, x[:1]) == pytest.approx(before[:1], rel=1e-12)  # whatever else is in the batch


def test_floats_are_cast_to_the_parameters_dtype(rng):
    model, x = network(rng, np.float32), rng.normal(size=(3, 4))
    assert predict(model, x).dtype == np.float32
    assert predict(model, x) == pytest.approx(one_by_one(model, x.astype(np.float32)), rel=1e-5)
    assert predict(network(rng), x.astype(np.float32)).dtype == np.float64


def test_nests_come_in_and_go_out(rng):
    def model(params, x):
        return {"sum": params["w"] * fp.sum(x["row"]), "token": params["table"][x["token"]]}

    params = {"w": 2.0, "table": rng.normal(size=(5, 3))}
    x = {"row": rng.normal(size=(6, 2)), "token": np.array([0, 4, 1, 1, 2, 3])}
    found = predict(model, x, params=params, batch_size=4)
    assert found["sum"] == pytest.approx(2.0 * x["row"].sum(axis=1))
    assert np.array_equal(found["token"], params["table"][x["token"]])


def test_no_examples():
    assert predict(nn.Linear(3, 2, rng=0), np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize(
    ("model", "x", "options", "error", "message"),
    [
        (nn.Linear(3, 2, rng=0), np.ones((2, 4)), {}, ValueError, r"shape \(4,\); expected 3"),
        (nn.Linear(3, 2, rng=0), [[1.0, 2.0, np.nan]], {}, ValueError, "row 0"),
        (nn.Linear(3, 2, rng=0), 1.0, {}, ValueError, "one number"),
        (nn.Linear(3, 2, rng=0), [["a"]], {}, TypeError, "array of numbers"),
        (nn.Linear(3, 2, rng=0), np.ones((2, 3)), {"batch_size": 0}, ValueError, "batch_size"),
        (nn.Linear(3, 2, rng=0), np.ones((2, 3)), {"params": {}}, TypeError, "a Module has its own"),
        (lambda params, x: x, np.ones((2, 3)), {}, TypeError, "needs params"),
        (3.0, np.ones((2, 3)), {}, TypeError, "expected a fastprop.nn.Module"),
        (lambda params, x: x[0], (np.ones(2), np.ones(3)), {"params": {"w": 1.0}}, ValueError, "lengths"),
    ],
)
def test_what_can_not_be_predicted(model, x, options, error, message):
    with pytest.raises(error, match=message):
        predict(model, x, **options)
