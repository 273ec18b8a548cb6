"""How soon an estimator recognises the digits, beside scikit-learn's: `python bench/estimators.py`.

Both are MLPClassifiers 64-64-10 of 1,497 images, on one core, judged by the other 300. First they are proved to be the
same: from the same start both take the same losses. *As they come* both have their defaults, 200 epochs of batches of
200. *The same accuracy*: of all rates, batches and numbers of epochs below, those with which either is soonest as good
as scikit-learn's is as it comes, in the median of the seeds. Processor time, the least of the seeds; in
fastprop's is the recording of the network.
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", FASTPROP_NUM_THREADS="1")

import itertools
import statistics
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn import neural_network

import fastprop as fp
from fastprop import estimators
from measure import pin

ENTRIES = {"scikit-learn": neural_network.MLPClassifier, "fastprop": estimators.MLPClassifier}
TEST, SEEDS = 300, 5
RATES, BATCHES, EPOCHS = (0.001, 0.003, 0.01, 0.02), (200, 64, 32), (5, 10, 15, 20, 30, 40)


class Run(NamedTuple):
    """What some seeds came to."""

    seconds: float
    accuracy: float
    options: dict[str, Any]


def digits() -> tuple[Any, ...]:
    """Give inputs and labels to learn from, and those to be judged by."""
    x, y = fp.datasets.load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(x))
    x, y = x[order] / 16.0, y[order]
    return x[TEST:], y[TEST:], x[:TEST], y[:TEST]


def run(name: str, seeds: int = SEEDS, **options: Any) -> Run:
    """Fit an entry for some seeds."""
    x, y, judged, right = digits()
    seconds, accuracies = [], []
    for seed in range(seeds):
        model = ENTRIES[name]((64,), random_state=seed, **options)
        started = time.process_time()
        model.fit(x, y)
        seconds.append(time.process_time() - started)
        accuracies.append(model.score(judged, right))
    return Run(min(seconds), statistics.median(accuracies), options)


def prove() -> None:
    """Let both learn from the same start: their losses are equal."""
    x, y, *_ = digits()
    options = {"solver": "sgd", "shuffle": False, "warm_start": True, "batch_size": 499, "random_state": 0}
    ours, theirs = (entry((64,), max_iter=1, **options).fit(x, y) for entry in reversed(ENTRIES.values()))
    layers = zip(("0", "2"), theirs.coefs_, theirs.intercepts_)
    ours.network_.load_params({name: {"weight": weight.T, "bias": bias} for name, weight, bias in layers})
    for model in (ours, theirs):
        model.set_params(max_iter=5, learning_rate_init=0.1).fit(x, y)
    np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=1e-9)


def soonest(name: str, accuracy: float) -> Run:
    """Return the quickest run that is so accurate."""
    grid = itertools.product(RATES, BATCHES, EPOCHS)
    runs = [
        run(name, 3, learning_rate_init=rate, batch_size=batch, max_iter=epochs, tol=0.0)
        for rate, batch, epochs in grid
    ]
    best = sorted(found for found in runs if found.accuracy >= accuracy)[:5]
    again = [run(name, **found.options) for found in best]  # the median of more seeds may say otherwise
    return min([found for found in again if found.accuracy >= accuracy] or best)


def show(title: str, runs: list[Run]) -> None:
    """Print a row."""
    theirs, ours = runs
    for name, found in zip(ENTRIES, runs):
        print(f"{title:22}{name:14}{1e3 * found.seconds:8.0f} ms  {found.accuracy:.1%}  {found.options or ''}")
    print(f"{'':22}fastprop is {theirs.seconds / ours.seconds:.1f} times as fast", flush=True)


def main() -> None:
    """Prove the answers, then print the times."""
    warnings.simplefilter("ignore")  # that they have not converged
    pin()
    prove()
    default = [run(name) for name in ENTRIES]
    show("as they come", default)
    sooner = [soonest(name, default[0].accuracy) for name in ENTRIES]
    show("the same accuracy", sooner)
    show("… of the default's", [default[0], sooner[1]])


if __name__ == "__main__":
    main()
