"""What `fit` adds to a step: `python bench/fit.py`.

A network 64-64-10 learns the digits, 32 at a time, by Adam. *Bare* is the loop that one writes oneself: the order,
NumPy's gather of the batch, the compiled step, the update in place. Both are proved to arrive at the same bits, and
take turns. *The loop* is `fit` with a step and an update that do nothing, less the gather: what it adds, without the
noise of the step. Processor time for each step, the least of many epochs.
"""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import numpy as np

import fastprop as fp
from fastprop import nn
from fastprop.training.learner import Steps
from measure import pin

EPOCHS, BATCH, COUNT = 30, 32, 1792  # as many examples as make whole batches


def digits(dtype: str) -> tuple[Any, Any]:
    """Give the data."""
    x, y = fp.datasets.load_digits(return_X_y=True)
    return (x[:COUNT] / 16.0).astype(dtype), y[:COUNT]


def network(dtype: str) -> nn.Sequential:
    """Make the model, always the same."""
    random = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear(64, 64, rng=random, dtype=dtype), nn.Tanh(), nn.Linear(64, 10, rng=random, dtype=dtype)
    )


def bare(dtype: str) -> tuple[float, Any]:
    """Train by hand: seconds for a step, and the parameters."""
    x, y = digits(dtype)
    model = network(dtype)
    params = {name: {key: np.array(value) for key, value in part.items()} for name, part in model.params().items()}
    optimizer = fp.optim.Adam(params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return nn.cross_entropy(model.apply(params, x), y)

    step: Any = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    random, seconds = np.random.default_rng(1), []
    for _ in range(EPOCHS):
        started = time.process_time()
        random.integers(1 << 24)  # the key that `fit` draws for layers that draw
        order = random.permutation(COUNT)
        for start in range(0, COUNT, BATCH):
            rows = order[start : start + BATCH]
            _, gradients = step(params, x.take(rows, 0), y.take(rows, 0))
            params = optimizer.step(params, gradients, in_place=True)
        seconds.append((time.process_time() - started) * BATCH / COUNT)
    return min(seconds), params


def fitted(dtype: str) -> tuple[float, Any]:
    """Train by `fit`: seconds for a step, and the parameters."""
    model = network(dtype)
    history = fp.fit(model, nn.cross_entropy, digits(dtype), fp.optim.Adam(model), epochs=EPOCHS, rng=1, progress=False)
    return min(epoch.seconds / epoch.steps for epoch in history.epochs), history.params


def gathered(dtype: str) -> float:
    """Gather the batches, and nothing else: seconds for a step."""
    x, y = digits(dtype)
    random, seconds = np.random.default_rng(1), []
    for _ in range(EPOCHS):
        started = time.process_time()
        order = random.permutation(COUNT)
        for start in range(0, COUNT, BATCH):
            rows = order[start : start + BATCH]
            x.take(rows, 0), y.take(rows, 0)
        seconds.append((time.process_time() - started) * BATCH / COUNT)
    return min(seconds)


def loop(dtype: str) -> float:
    """Run `fit` with a step and an update that do nothing: seconds for a step."""

    class Idle(fp.optim.Adam):
        """Moves nothing."""

        def step(self, params: Any = None, grads: Any = None, *, in_place: bool = False) -> Any:
            """Give back what came."""
            return params

    recorded = Steps.record

    def record(steps: Steps) -> None:
        recorded(steps)
        steps.simple = lambda params, x, y: (1.0, None)

    model = network(dtype)
    with mock.patch.object(Steps, "record", record):
        history = fp.fit(model, nn.cross_entropy, digits(dtype), Idle(model), epochs=EPOCHS, progress=False)
    return min(epoch.seconds / epoch.steps for epoch in history.epochs)


def main() -> None:
    """Prove the answers, then print the times."""
    pin()
    print(f"{'':10}{'bare':>12}{'fit':>12}{'the loop':>12}")
    for dtype in ("float64", "float32"):
        rounds = [(bare(dtype), fitted(dtype), loop(dtype) - gathered(dtype)) for _ in range(5)]
        for (_, expected), (_, found), _ in rounds:
            for name in ("0", "2"):
                np.testing.assert_array_equal(found[name]["weight"], expected[name]["weight"])
        by_hand, by_fit, alone = (min(row) * 1e6 for row in zip(*[(a[0], b[0], c) for a, b, c in rounds]))
        print(f"{dtype:10}{by_hand:9.1f} us{by_fit:9.1f} us{alone:9.1f} us", flush=True)


if __name__ == "__main__":
    main()
