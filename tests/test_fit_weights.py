"""Fits whose classes are balanced, and whose parameters are penalised, compared with the same steps by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import nn
from fastprop.training.feed import ArrayFeed, held_out
from test_fit import LABELS, X, Y, classifier, dealt, fitted, line, numbers, order_of
from test_fit_edges import untouched


@pytest.mark.parametrize(
    "own", [None, np.linspace(0.5, 1.5, 50), np.where(LABELS == 1, 0.0, 2.0)], ids=["", "own", "0"]
)
def test_balanced_classes_count_the_same(own):
    each = np.ones(50) if own is None else own
    sums = np.array([each[label == LABELS].sum() for label in range(3)])
    by_class = np.where(sums > 0.0, each.sum() / (np.sum(sums > 0.0) * np.maximum(sums, 1e-9)), 0.0)
    models = [classifier(), classifier()]
    a = fitted(models[0], nn.cross_entropy, (X, LABELS), batch_size=20, sample_weight=own, class_weight="balanced")
    b = fitted(models[1], nn.cross_entropy, (X, LABELS), batch_size=20, sample_weight=each * by_class[LABELS])
    assert_allclose(a.step_losses, b.step_losses, rtol=1e-12)
    assert_allclose(numbers(models[0]), numbers(models[1]), rtol=1e-12)


def test_the_balance_is_struck_of_the_examples_that_are_learnt_from():
    labels = np.repeat([0, 1, 2], [30, 15, 5])
    rows, out = held_out(ArrayFeed((X, labels), np.dtype(float)), 0.4, False)
    models = [classifier(), classifier()]
    fitted(models[0], nn.cross_entropy, (X, labels), validation=0.4, class_weight="balanced", epochs=2)
    counts = np.bincount(labels[rows])
    by_class = {label: len(rows) / (3 * count) for label, count in enumerate(counts)}
    data = X[rows], labels[rows]
    fitted(models[1], nn.cross_entropy, data, validation=(X[out], labels[out]), class_weight=by_class, epochs=2)
    assert_allclose(numbers(models[0]), numbers(models[1]), rtol=1e-12)


PENALISED = {
    "mean": {},
    "weights": {"sample_weight": np.linspace(0.5, 1.5, 50)},
    "pair": {"loss": lambda z, y: nn.squared_error(z, y, reduction="pair")},
    "accumulated": {"batch_size": 10, "accumulate": 2},
}


@pytest.mark.parametrize("options", PENALISED.values(), ids=PENALISED)
@pytest.mark.parametrize("handles", [True, False])
def test_a_penalty_is_added_to_the_mean_once_in_a_step(options, handles):
    """Steps by hand, with the pull of ½ strength Σ w² on the weights, and none on the bias."""
    weights = options.get("sample_weight", np.ones(50))
    w, b = np.array(line().weight.value), np.array(line().bias.value)
    losses = []
    for rows in dealt(order_of(3, 2), 20):
        error, share = X[rows] @ w.T + b - Y[rows], (weights[rows] / weights[rows].sum())[:, None]
        losses.append(np.sum(share * 0.5 * error**2) + 0.5 * 0.7 * np.sum(w**2))
        w, b = w - 0.1 * ((share * error).T @ X[rows] + 0.7 * w), b - 0.1 * np.sum(share * error, axis=0)
    model = line()
    optimizer = fp.optim.SGD(model if handles else model.params(), lr=0.1)
    options = {"batch_size": 20, "loss": nn.squared_error, **options}
    history = fp.fit(
        model, options.pop("loss"), (X, Y), optimizer, epochs=2, rng=3,
        penalty=lambda params: nn.regularisers.l2(params, 0.7), **options,
    )  # fmt: skip
    assert_allclose(history.step_losses, losses, rtol=1e-12)
    assert_allclose(numbers(model), np.concatenate([w.ravel(), b]), rtol=1e-12)


def test_a_penalty_must_be_one_number():
    with pytest.raises(TypeError, match=r"the penalty on the parameters is .*; expected one number"):
        fitted(line(), penalty=lambda params: params["weight"])


def test_class_weights_are_checked():
    model = classifier()
    options = {"data": (X, LABELS), "loss": nn.cross_entropy}
    untouched("no weight for label 2; it has 2", model, class_weight=[1.0, 1.0], **options)
    untouched(r"class_weight\[1\] is -1.0", model, class_weight={1: -1.0}, **options)
    untouched(r"class_weight\[0\] is nan", model, class_weight=[math.nan, 1.0, 1.0], **options)
    untouched("all weights of examples are 0", model, class_weight=[0.0, 0.0, 0.0], **options)
    untouched("class_weight needs targets that are labels", class_weight="balanced")
    untouched("class_weight is 'even'; expected \"balanced\"", model, class_weight="even", **options)
    untouched('class_weight="balanced" goes with arrays', data=[(X, Y)], class_weight="balanced")


@pytest.mark.parametrize("many", [False, True], ids=["arrays", "batches"])
def test_weights_of_float32_have_its_steps(many):
    """Weights, which are float64, don't make a float32 model's circuits float64, unless they have no place in it."""
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    y = np.arange(24) % 2
    found = {}
    for scale in (1.0, 1e60):
        model = nn.Linear(3, 2, rng=0, dtype="float32")
        weights = scale * np.linspace(0.0, 2.0, 24)
        data = [(x[k : k + 8], y[k : k + 8], weights[k : k + 8]) for k in (0, 8, 16)] if many else (x, y, weights)
        options = {} if many else {"batch_size": 8, "shuffle": False}
        recordings = {}
        fp.fit(model, nn.cross_entropy, data, fp.optim.SGD(model, lr=0.1), epochs=2, recordings=recordings, **options)
        found[scale] = model.params()["weight"]
        steps = recordings["steps"]
        kinds = {circuit.dtype for circuit in steps.general.circuits()}
        assert kinds == {np.dtype(np.float32 if scale == 1.0 else np.float64)}
    assert_allclose(found[1.0], found[1e60], rtol=1e-5)
