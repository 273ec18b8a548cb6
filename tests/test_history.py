"""What several fits have done, one after the other: Histories joined."""

import math

import numpy as np
import pytest

import fastprop as fp
from fastprop import nn
from fastprop.training import Epoch, History, Watch

X = np.linspace(-1.0, 1.0, 24).reshape(12, 2)
Y = X[:, :1] * 2.0 - X[:, 1:]


def start():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=1))
    return model, fp.optim.Adam(model, lr=0.05)


def fitted(model, optimizer, epochs, rng, **options):
    return fp.fit(model, nn.squared_error, (X, Y), optimizer, epochs=epochs, rng=rng, batch_size=5, **options)


def test_a_fit_in_two_parts_has_the_history_of_the_whole():
    options = {"validation": (X[:4], Y[:4]), "metrics": {"error": nn.absolute_error}}
    whole = fitted(*start(), 5, np.random.default_rng(3), **options)
    random, parts = np.random.default_rng(3), start()
    joined = fitted(*parts, 2, random, **options) + fitted(*parts, 3, random, **options)
    assert [epoch[:-1] for epoch in joined.epochs] == [epoch[:-1] for epoch in whole.epochs]  # all but the seconds
    assert joined.step_losses == whole.step_losses and joined.best[:-1] == whole.best[:-1]
    assert joined.to_dict()["epoch"] == [1, 2, 3, 4, 5] and joined.reason == "all epochs were made"
    for name, leaf in joined.params["0"].items():
        assert np.array_equal(leaf, whole.params["0"][name])
    assert fp.draw.curves(joined).svg == fp.draw.curves(whole).svg


def test_several_are_summed_and_the_parts_stay():
    parts = start()
    histories = [fitted(*parts, 2, k) for k in range(3)]
    shown = [repr(history) for history in histories]
    joined = sum(histories)
    assert [epoch.number for epoch in joined.epochs] == [1, 2, 3, 4, 5, 6]
    assert [repr(history) for history in histories] == shown
    histories[0] += histories[1]
    assert len(histories[0].epochs) == 4 and len(joined.epochs) == 6
    assert (History() + joined).to_dict() == joined.to_dict() == (joined + History()).to_dict()
    assert (joined + History()).params is joined.params


@pytest.mark.parametrize(
    "first, second, best",
    [
        ((0.5, 0.25), (0.5, 0.25), 2),
        ((0.5, 0.25), (0.2, 0.3), 3),
        ((math.nan,), (0.5,), 2),
        ((0.5,), (math.nan, math.inf), 1),
        ((math.nan,), (math.nan,), None),
        ((), (0.5,), 1),
    ],
)
@pytest.mark.parametrize("validated", [False, True])
def test_the_best_epoch_of_both(first, second, best, validated):
    def history(losses):
        made = History()
        for k, loss in enumerate(losses):
            epoch = Epoch(k + 1, 0.0 if validated else loss, loss if validated else None, {}, {}, 0.1, 1, 0.0)
            made.epochs.append(epoch)
            if not math.isnan(loss) and (made.best is None or loss < min(losses[:k])):
                made.best = epoch
        return made

    joined = history(first) + history(second)
    assert (None if joined.best is None else joined.best.number) == best
    assert joined.best is None or joined.best in joined.epochs


def test_what_only_some_fits_had_is_missing_in_the_others():
    parts = start()
    joined = fitted(*parts, 2, 0) + fitted(*parts, 2, 1, validation=(X, Y), metrics={"error": nn.absolute_error})
    columns = joined.to_dict()
    assert columns["validation_loss"][:2] == [None, None] and columns["error"][:2] == [None, None]
    assert all(value is not None for value in columns["validation_error"][2:])
    assert joined.best.number > 2  # the loss of a training is none of a validation
    assert fp.draw.curves(joined).svg.count("<polyline") == 4


def test_reasons_say_where_they_count_from():
    model, optimizer = start()
    first = fitted(model, optimizer, 2, 0, callbacks=Watch(model, nn.squared_error, (X, Y)))
    second = fitted(model, optimizer, 9, 0, callbacks=lambda history: len(history.epochs) == 2)
    joined = first + second
    assert joined.stopped == "callback"
    assert joined.reason == f"{second.reason}, in a fit after 2 epochs and 6 steps"
    assert len(joined.statistics) == 2 and joined.skipped == 0


@pytest.mark.parametrize("other", [None, {}, 1, [History()]])
def test_what_is_no_history(other):
    with pytest.raises(TypeError, match="unsupported operand"):
        History() + other
    with pytest.raises(TypeError, match="joined by"):
        fp.draw.curves([History(), History()])
