"""Fits: the steps that they make, compared with the same steps by hand, and what the History says of them."""

import gc
import io
import math
import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.training import Callback, History

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(50, 3))
Y = X @ np.array([[1.0], [-2.0], [0.5]]) + 0.3 + 0.1 * RANDOM.normal(size=(50, 1))
LABELS = (X[:, 0] > 0.2).astype(int) + (X[:, 1] > 0.0)


def line(seed=0, **options):
    """A model that is a straight line."""
    return nn.Linear(3, 1, rng=seed, **options)


def classifier(seed=0, **options):
    random = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(3, 5, rng=random, **options), nn.Tanh(), nn.Linear(5, 3, rng=random, **options))


def numbers(model):
    """All parameters of a model in a row."""
    return np.concatenate([np.ravel(leaf.value) for leaf in model.parameters()])


def by_hand(x, y, weights, batches, rate=0.1, seed=0):
    """Steps of ½ squared error in NumPy: mean losses and parameters. A batch is rows, or several rows taken as one."""
    params = line(seed).params()
    w, b, losses = params["weight"], params["bias"], []
    for rows in batches:
        error = x[rows] @ w.T + b - y[rows]
        share = weights[rows] / weights[rows].sum()
        losses.append(float(np.sum(share * np.sum(0.5 * error**2, axis=1))))
        pull = share[:, None] * error
        w, b = w - rate * pull.T @ x[rows], b - rate * pull.sum(0)
    return np.array(losses), np.concatenate([w.ravel(), b])


def fitted(model, loss=nn.squared_error, data=(X, Y), rate=0.1, **options):
    options.setdefault("rng", 3)
    return fp.fit(model, loss, data, fp.optim.SGD(model, lr=rate), **options)


def order_of(seed, epochs, count=50):
    """The orders of the examples that a seed gives."""
    random = np.random.default_rng(seed)
    orders = []
    for _ in range(epochs):
        random.integers(1 << 24)  # a key for what draws
        orders.append(random.permutation(count))
    return orders


def dealt(orders, size):
    return [order[start : start + size] for order in orders for start in range(0, len(order), size)]


# Steps ----------------------------------------------------------------------------------------------------------------


def test_steps_are_those_by_hand_and_the_last_batch_has_its_own_mean():
    model = line()
    history = fitted(model, epochs=3, batch_size=16)
    batches = dealt(order_of(3, 3), 16)
    losses, params = by_hand(X, Y, np.ones(50), batches)
    assert [len(rows) for rows in batches[:4]] == [16, 16, 16, 2]
    assert_allclose(history.step_losses, losses, rtol=1e-12)
    assert_allclose(numbers(model), params, rtol=1e-12)
    over_examples = [np.sum(losses[4 * k : 4 * k + 4] * [16, 16, 16, 2]) / 50 for k in range(3)]
    assert_allclose(history.losses, over_examples, rtol=1e-12)
    assert [epoch.steps for epoch in history.epochs] == [4, 4, 4]
    assert (history.stopped, history.skipped, len(history.epochs)) == ("epochs", 0, 3)
    assert_array_equal(history.params["weight"], model.weight.value)


def test_a_batch_may_be_larger_than_the_data():
    model = line()
    history = fitted(model, epochs=2, batch_size=1000, shuffle=False)
    losses, params = by_hand(X, Y, np.ones(50), [np.arange(50)] * 2)
    assert_allclose(history.step_losses, losses, rtol=1e-12)
    assert_allclose(numbers(model), params, rtol=1e-12)


@pytest.mark.parametrize("size, group", [(16, 2), (7, 3), (16, 4), (50, 2), (1, 50)])
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_are_one_of_their_union(size, group, weighted):
    weights = np.linspace(0.0, 2.0, 50) if weighted else np.ones(50)
    model = line()
    options = {"sample_weight": weights} if weighted else {}
    history = fitted(model, epochs=2, batch_size=size, accumulate=group, **options)
    losses, params = by_hand(X, Y, weights, dealt(order_of(3, 2), size * group))
    assert_allclose(history.step_losses, losses, rtol=1e-10)
    assert_allclose(numbers(model), params, rtol=1e-10)


def test_accumulated_pairs_are_one_batch_of_their_union():
    labels = np.where(np.arange(50) % 3, LABELS, -100)
    results = []
    for options in ({"batch_size": 30}, {"batch_size": 10, "accumulate": 3}):
        model = classifier()
        history = fitted(model, lambda z, y: nn.cross_entropy(z, y, reduction="pair"), (X, labels), **options)
        results.append((history.step_losses, numbers(model)))
    assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    assert_allclose(results[0][1], results[1][1], rtol=1e-12)


def test_weights_of_examples_and_of_classes_multiply():
    own = np.linspace(0.5, 1.5, 50)
    labels = np.array([2.0, 0.0, 3.0])[LABELS] * own
    models = [classifier() for _ in range(4)]
    a = fitted(models[0], nn.cross_entropy, (X, LABELS), sample_weight=own, class_weight={0: 2.0, 1: 0, 2: 3.0})
    b = fitted(models[1], nn.cross_entropy, (X, LABELS), sample_weight=labels)
    c = fitted(models[2], nn.cross_entropy, (X, LABELS, labels))
    d = fitted(models[3], nn.cross_entropy, (X, LABELS, own), class_weight=[2.0, 0.0, 3.0])
    for model, history in zip(models, (a, b, c, d)):
        assert history.step_losses == b.step_losses
        assert_array_equal(numbers(model), numbers(models[1]))


def test_a_weight_is_so_many_copies():
    times = np.array([0, 1, 2, 3, 0] * 10)
    repeated = np.repeat(np.arange(50), times)
    models = [line(), line()]
    fitted(models[0], epochs=4, batch_size=100, sample_weight=times)
    fitted(models[1], data=(X[repeated], Y[repeated]), epochs=4, batch_size=100)
    assert_allclose(numbers(models[0]), numbers(models[1]), rtol=1e-12)


def test_steps_without_weight_are_counted_and_not_made():
    model = classifier()
    optimizer = fp.optim.Adam(model, lr=0.1)
    labels = np.where(np.arange(50) < 20, -100, LABELS)
    loss = lambda z, y: nn.cross_entropy(z, y, reduction="pair")  # noqa: E731
    history = fp.fit(model, loss, (X, labels), optimizer, batch_size=10, shuffle=False)
    assert (history.skipped, optimizer.steps, len(history.step_losses)) == (2, 3, 5)
    assert [math.isnan(x) for x in history.step_losses] == [True, True, False, False, False]
    other = classifier()
    again = fp.fit(other, loss, (X[20:], labels[20:]), fp.optim.Adam(other, lr=0.1), batch_size=10, shuffle=False)
    assert_array_equal(numbers(model), numbers(other))
    assert again.losses == history.losses
    weights = (np.arange(50) >= 20).astype(float)
    third = classifier()
    seen = fp.fit(
        third, nn.cross_entropy, (X, LABELS, weights), fp.optim.Adam(third, lr=0.1), batch_size=10, shuffle=False
    )
    assert (seen.skipped, seen.losses[0]) == (2, pytest.approx(history.losses[0], rel=1e-12))
    assert_allclose(numbers(third), numbers(other), rtol=1e-10)


def test_an_empty_batch_is_counted_and_not_made():
    model = line()
    optimizer = fp.optim.SGD(model, lr=0.1)
    history = fp.fit(model, nn.squared_error, [(X[:0], Y[:0]), (X, Y)], optimizer)
    assert (history.skipped, optimizer.steps, len(history.step_losses)) == (1, 1, 2)


def test_a_step_takes_a_few_calls():
    """What `fit` adds to a step is counted: calls of functions, Python's and C's, of ten steps and of a hundred."""
    counts = []
    for steps in (10, 100):
        model, calls = line(), 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        x, y = np.resize(X, (4 * steps, 3)), np.resize(Y, (4 * steps, 1))
        optimizer = fp.optim.Adam(model)
        gc.disable()  # whose collections call functions, too
        sys.setprofile(count)
        try:
            history = fp.fit(model, nn.squared_error, (x, y), optimizer, batch_size=4, progress=False)
        finally:
            sys.setprofile(None)
            gc.enable()
        assert len(history.step_losses) == steps
        counts.append(calls)
    assert (counts[1] - counts[0]) / 90 < 25


# Models ---------------------------------------------------------------------------------------------------------------


def test_a_function_is_a_model():
    start = {"w": np.zeros(3), "b": 0.0}
    kept = start["w"].copy()

    def model(params, x):
        return params["w"] @ x + params["b"]

    optimizer = fp.optim.SGD(start, lr=0.1)
    history = fp.fit(model, lambda z, y: 0.5 * (z - y[0]) ** 2, (X, Y), optimizer, params=start, epochs=30, rng=0)
    assert_array_equal(start["w"], kept)
    assert_allclose(history.params["w"], [1.0, -2.0, 0.5], atol=0.1)
    assert isinstance(history.params["b"], float)
    assert optimizer.steps == 60


def test_scalar_neurons_learn_as_by_hand():
    model, other = nn.MLP(3, [4, 1], rng=0), nn.MLP(3, [4, 1], rng=0)
    history = fitted(model, lambda z, y: (z - y[0]) ** 2, epochs=2, rate=0.02, shuffle=False)
    optimizer, losses = fp.optim.SGD(other, lr=0.02), []
    for rows in (range(32), range(32, 50)) * 2:
        other.zero_grad()
        loss = sum((other(X[k].tolist()) - Y[k, 0]) ** 2 for k in rows) / len(rows)
        loss.backward()
        optimizer.step()
        losses.append(loss.value)
    assert_allclose(history.step_losses, losses, rtol=1e-9)
    assert_allclose(numbers(model), numbers(other), rtol=1e-9)
    assert_array_equal(fp.optim.flat.Flat(history.params, "test").vector(history.params, "params"), numbers(model))


def test_an_optimizer_of_numbers_fits_a_module_too():
    ours, theirs = line(), line()
    fp.fit(ours, nn.squared_error, (X, Y), fp.optim.Adam(ours.params()), rng=1)
    fp.fit(theirs, nn.squared_error, (X, Y), fp.optim.Adam(theirs.parameters()), rng=1)
    assert_array_equal(numbers(ours), numbers(theirs))
    assert np.any(numbers(ours) != numbers(line()))


def test_what_the_optimizer_does_not_move_stays():
    model = classifier()
    before = model[0].weight.value.copy()
    fitted_ones = model[2].parameters()
    fp.fit(model, nn.cross_entropy, (X, LABELS), fp.optim.SGD(fitted_ones, lr=0.1), rng=0)
    assert_array_equal(model[0].weight.value, before)
    other = classifier()
    optimizer = fp.optim.SGD(other, lr=0.1)
    optimizer.frozen = ["0.weight", "0.bias"]
    fp.fit(other, nn.cross_entropy, (X, LABELS), optimizer, rng=0)
    assert_array_equal(numbers(model), numbers(other))
    assert np.any(model[2].weight.value != classifier()[2].weight.value)


def test_inputs_and_targets_may_be_nested():
    model = line()
    plain = line()
    a = fitted(Wrapped(model), lambda z, y: nn.squared_error(z, y["y"]), ({"x": X, "n": X}, {"y": Y}))
    b = fitted(plain)
    assert a.step_losses == b.step_losses
    assert_array_equal(numbers(model), numbers(plain))


@pytest.mark.parametrize("handles", [True, False])
def test_a_parameter_in_two_layers_makes_one_step(handles):
    first, second = nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second)
    params, target = model.params(), np.ones((50, 3))
    optimizer = fp.optim.SGD(model if handles else params, lr=0.1)
    fp.fit(model, nn.squared_error, (X, target), optimizer, batch_size=50)
    w, b, c = params["0"]["weight"], params["0"]["bias"], params["2"]["bias"]
    hidden = np.tanh(X @ w.T + b)
    error = hidden @ w.T + c - target
    inner = error @ w * (1.0 - hidden**2)
    assert_allclose(first.weight.value, w - 0.1 * (error.T @ hidden + inner.T @ X) / 50, rtol=1e-10)
    assert_allclose(second.bias.value, c - 0.1 * error.mean(0), rtol=1e-10)
    assert second.weight is first.weight


class Wrapped(nn.Module):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x["x"])


def test_float32_is_computed_in_float32():
    model = classifier(dtype=np.float32)
    double = classifier()
    history = fitted(model, nn.cross_entropy, (X, LABELS), epochs=5)
    same = fitted(double, nn.cross_entropy, (X, LABELS), epochs=5)
    assert model[0].weight.value.dtype == np.float32
    assert_allclose(history.losses, same.losses, rtol=1e-4)
    assert np.any(np.array(history.losses) != same.losses)


def test_dropout_and_batch_norm_learn_and_are_used():
    random = np.random.default_rng(0)
    model = nn.Sequential(
        *(nn.Linear(3, 16, rng=random), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3, rng=random))
    )
    optimizer = fp.optim.Adam(model, lr=0.02)
    history = fp.fit(
        model,
        nn.cross_entropy,
        (X, LABELS),
        optimizer,
        epochs=20,
        batch_size=25,
        rng=0,
        validation=(X, LABELS),
        metrics={"accuracy": lambda z, y: np.argmax(z) == y},
    )
    assert history.validation_losses[-1] < 0.4 < history.validation_losses[0]
    outputs = fp.vmap(model.eval().apply, (None, 0))(model.params(), X)
    accuracy = np.mean(outputs.argmax(1) == LABELS)
    assert history.epochs[-1].validation_metrics["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    expected = np.mean([nn.cross_entropy(z, int(y)) for z, y in zip(outputs, LABELS)])
    assert history.validation_losses[-1] == pytest.approx(expected, rel=1e-9)
    assert 0.8 < history.epochs[-1].metrics["accuracy"] <= 1.0


def test_running_statistics_are_those_of_the_batches():
    model = nn.Sequential(nn.BatchNorm(3), line())
    fitted(model, epochs=1, batch_size=25)
    mean = np.zeros(3)
    for rows in dealt(order_of(3, 1), 25):
        mean = 0.9 * mean + 0.1 * X[rows].mean(0)
    assert_allclose(model[0].running_mean, mean, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dropout_leaves_out_others_at_every_step(dtype):
    model = nn.Sequential(nn.Dropout(0.5), line(dtype=dtype))
    ones = (np.ones((4, 3)), np.zeros((4, 1)))
    history = fitted(model, data=ones, rate=0.0, epochs=6, batch_size=4)
    assert len(set(history.step_losses)) > 4
    again = fitted(nn.Sequential(nn.Dropout(0.5), line(dtype=dtype)), data=ones, rate=0.0, epochs=6, batch_size=4)
    assert again.step_losses == history.step_losses


def test_modes_are_restored():
    model = nn.Sequential(nn.Dropout(0.5), line()).eval()
    history = fitted(model, data=(np.ones((4, 3)), np.zeros((4, 1))), rate=0.0, epochs=6, batch_size=4)
    assert len(set(history.step_losses)) > 1  # it has learnt
    assert not model.training and not model[0].training
    model.train()
    model[0].eval()  # one layer is used while the others learn
    history = fitted(model, data=(np.ones((4, 3)), np.zeros((4, 1))), rate=0.0, epochs=6, batch_size=4, validation=0.25)
    assert len(set(np.round(history.step_losses, 12))) == 1
    assert model.training and not model[0].training and model[1].training


@pytest.mark.parametrize("stratify", [False, True])
def test_a_part_is_held_out_the_same_for_any_seed(stratify):
    labels = np.arange(50) % 10 // 4  # 20, 20 and 10 of each class
    seen = []
    for seed in (1, 2):
        rows = []
        metrics = {"row": lambda z, y: fp.sum(z) * 0.0 + y}
        model = nn.Sequential(nn.Linear(1, 1, init="zeros", rng=0))
        fp.fit(
            model,
            lambda z, y: fp.sum(z) * 0.0,
            (np.zeros((50, 1)), labels),
            fp.optim.SGD(model),
            validation=0.2,
            stratify=stratify,
            metrics=metrics,
            rng=seed,
            callbacks=lambda history, rows=rows: rows.append(history.epochs[-1]),
        )
        seen.append((rows[0].metrics["row"] * 40, rows[0].validation_metrics["row"] * 10))
    assert seen[0] == pytest.approx(seen[1])
    assert seen[0][0] + seen[0][1] == pytest.approx(labels.sum())  # every row is in one of the parts
    if stratify:
        assert seen[0][1] == pytest.approx(4 * 0 + 4 * 1 + 2 * 2)


# Random numbers -------------------------------------------------------------------------------------------------------


def test_rng():
    results = []
    for rng in (7, 7, np.random.default_rng(7), 8, None, None):
        results.append(fitted(line(), rng=rng, epochs=2).step_losses)
    assert results[0] == results[1] == results[2]
    assert len({tuple(losses) for losses in results[2:]}) == 4


def test_numpys_global_numbers_are_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    fitted(line(), rng=None, validation=0.2)
    assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("handles", [True, False])
def test_a_fit_goes_on_bit_for_bit(handles):
    def made():
        model = nn.Sequential(nn.BatchNorm(3), nn.Dropout(0.3), classifier())
        schedule = fp.optim.WarmUp(3) * fp.optim.Cosine(40)
        return model, fp.optim.Adam(model if handles else model.params(), lr=0.1, schedule=schedule)

    at_once, optimizer = made()
    whole = fp.fit(
        at_once, nn.cross_entropy, (X, LABELS), optimizer, epochs=5, validation=0.2, rng=np.random.default_rng(2)
    )
    in_parts, second = made()
    random, losses = np.random.default_rng(2), []
    for epochs in (2, 3):
        history = fp.fit(in_parts, nn.cross_entropy, (X, LABELS), second, epochs=epochs, validation=0.2, rng=random)
        losses += history.step_losses
    assert losses == whole.step_losses
    assert_array_equal(numbers(in_parts), numbers(at_once))
    assert_array_equal(in_parts[0].running_var, at_once[0].running_var)
    assert second.steps == optimizer.steps == 10


def test_what_only_watches_changes_no_bit(monkeypatch, threads_as_before, always_threads):
    plain = fitted(classifier(), nn.cross_entropy, (X, LABELS), epochs=3)
    seen = []
    watched = classifier()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fp.set_num_threads(3)
    history = fitted(
        watched,
        nn.cross_entropy,
        (X, LABELS),
        epochs=3,
        validation=(X, LABELS),
        callbacks=[lambda history: seen.append(numbers(watched))],
    )
    assert history.step_losses == plain.step_losses
    assert len(seen) == 3
    assert_array_equal(seen[-1], numbers(watched))
    assert "step" in terminal.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_no_bar_where_there_is_no_terminal(capfd):
    fitted(line(), epochs=2)
    fitted(line(), epochs=2, progress=False)
    assert capfd.readouterr() == ("", "")
    fitted(line(), epochs=2, progress=True)
    assert "step" in capfd.readouterr().err


# Ends -----------------------------------------------------------------------------------------------------------------


def test_it_converges_where_the_gradient_is_small():
    model = line()
    history = fitted(model, epochs=10_000, batch_size=50, tolerance=1e-3, rate=0.3)
    assert history.stopped == "converged" and "the gradient's norm was" in history.reason
    assert 5 < len(history.step_losses) < 1000
    w, b = model.params()["weight"], model.params()["bias"]
    error = X @ w.T + b - Y
    gradient = np.append(error.T @ X / 50, error.mean())
    assert np.linalg.norm(gradient) <= 1e-3
    fresh = fitted(line(), epochs=3, batch_size=50, tolerance=0.0)
    assert fresh.stopped == "epochs"


def test_patience_ends_it_and_the_best_epoch_is_restored():
    model, seen = line(), []
    upside_down = (X, -Y)  # the better it learns, the worse it does here
    history = fitted(
        model,
        epochs=50,
        validation=upside_down,
        patience=3,
        callbacks=lambda history: seen.append((history.validation_losses[-1], numbers(model))),
    )
    assert history.stopped == "patience"
    losses = [loss for loss, _ in seen]
    best = int(np.argmin(losses))
    assert history.best.number == best + 1 and len(history.epochs) == best + 1 + 3
    assert_array_equal(numbers(model), seen[best][1])
    assert_array_equal(history.params["bias"], model.bias.value)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_equal_losses_are_no_better(patience):
    model = line()
    history = fitted(model, rate=0.0, epochs=9, batch_size=50, shuffle=False, patience=patience)
    assert len(history.epochs) == 1 + max(patience, 1)
    assert history.best.number == 1


@pytest.mark.parametrize("by", [0.0, 0.02, 1.0])
def test_patience_counts_losses_that_fall_too_little(by):
    history = fitted(line(), epochs=60, batch_size=50, patience=3, min_delta=by)
    lowest, bad = math.inf, 0
    for loss in history.losses:
        assert bad < 3
        bad = 0 if loss < lowest and loss <= lowest - by else bad + 1
        lowest = min(lowest, loss)
    assert bad == 3 if by else len(history.epochs) == 60
    assert history.best.loss == lowest


def test_restoring_the_best_does_not_need_patience():
    models = [line(), line()]
    kept = fitted(models[0], epochs=6, validation=(X, -Y), restore_best=True)
    last = fitted(models[1], epochs=6, validation=(X, -Y))
    assert kept.best.number == last.best.number < 6
    assert np.any(numbers(models[0]) != numbers(models[1]))


def test_a_loss_that_is_nan_from_the_start_has_no_best():
    model, seen = line(), []
    history = fitted(
        model,
        lambda z, y: nn.squared_error(z, y),
        epochs=4,
        patience=2,
        validation=[(X, Y * 1e200)],
        callbacks=lambda history: seen.append(numbers(model)),
        restore_best=True,
    )
    assert history.best.number == 1  # infinite is a number to be below of
    nan = fitted(
        model, lambda z, y: z[0] * y[0] * 0.0 + fp.where(y[0] > 9.0, math.nan, 0.0), epochs=4, validation=[(X, Y + 99)],
        patience=2,
    )  # fmt: skip
    assert nan.best is None and nan.stopped == "patience" and len(nan.epochs) == 2
    assert all(math.isnan(loss) for loss in nan.validation_losses)


def test_callbacks_end_it():
    class Third(Callback):
        def on_epoch_end(self, history):
            return len(history.epochs) == 3

    history = fitted(line(), epochs=9, callbacks=[lambda history: "nothing", Third()])
    assert (history.stopped, len(history.epochs)) == ("callback", 3)
    assert "Third" in history.reason
    for ends, count in [(np.True_, 1), (np.False_, 2)]:  # what a comparison of np.mean(history.losses) gives
        assert len(fitted(line(), epochs=2, callbacks=lambda history, ends=ends: ends).epochs) == count


def test_a_plateau_lowers_the_rate():
    model = line()
    optimizer = fp.optim.SGD(model, lr=0.1)
    plateau = fp.optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    history = fp.fit(
        model, nn.squared_error, (X, Y), optimizer, epochs=4, validation=(X, 1e6 * Y * 0.0), callbacks=plateau, rng=0
    )
    expected, best, rate = [], math.inf, 0.1
    for loss in history.validation_losses:
        expected.append(rate)
        best, rate = (loss, rate) if loss < best * (1.0 - 1e-4) else (best, rate / 2.0)
    assert [epoch.rate for epoch in history.epochs] == expected
    assert optimizer.lr == rate


def test_a_callback_may_assign_options():
    ours, theirs = line(), line()
    rules = [fp.optim.SGD(model, lr=0.1, momentum=0.9) for model in (ours, theirs)]
    options = {"data": (X, Y), "loss": nn.squared_error, "rng": np.random.default_rng(5)}
    fp.fit(theirs, optimizer=rules[1], **options)
    rules[1].momentum = 0.25
    fp.fit(theirs, optimizer=rules[1], epochs=2, **options)
    options["rng"] = np.random.default_rng(5)
    fp.fit(ours, optimizer=rules[0], epochs=3, callbacks=lambda _: setattr(rules[0], "momentum", 0.25), **options)
    assert rules[0].momentum == 0.25 and rules[0].steps == rules[1].steps
    assert_array_equal(numbers(ours), numbers(theirs))


def test_rates_are_those_of_the_schedule():
    model = line()
    optimizer = fp.optim.SGD(model, lr=0.5, schedule=fp.optim.Step(4, gamma=0.5))
    history = fp.fit(model, nn.squared_error, (X, Y), optimizer, epochs=4)
    assert [epoch.rate for epoch in history.epochs] == [0.5, 0.5, 0.25, 0.25]


def test_history_as_columns(monkeypatch):
    history = fitted(line(), epochs=2, validation=0.2, metrics={"error": lambda z, y: abs(z[0] - y[0])})
    columns = history.to_dict()
    assert list(columns) == [
        *("epoch", "loss", "validation_loss", "error", "validation_error", "rate", "steps", "seconds")
    ]
    assert columns["epoch"] == [1, 2] and columns["loss"] == history.losses
    assert history.seconds == sum(columns["seconds"])
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    assert history.to_frame() == ("frame", columns)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError):
        history.to_frame()
    assert repr(history).startswith("<History: 2 epochs, 4 steps, best loss ")
    assert repr(history).endswith(" in epoch 2; epochs: all epochs were made>")
    assert History().to_dict() == {} and not History().interrupted
