"""The time until a network 64-64-10 (T2) knows 95 % of digits that it has not seen, by fastprop's fit and by peers.

All begin with the same parameters, learn by Adam in batches of 32, shuffled, and look at the 360 images after every
epoch. *From nothing* is with all that is recorded or compiled for it, *again* with what was compiled before.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastprop as fp
from fastprop import nn
from training_own import network
from training_workloads import Task, split_digits, task

ENOUGH, EPOCHS, BATCH, SEEDS = 0.95, 100, 32, 5

Learn = Callable[[int], tuple[int, float]]  # seed -> epochs, accuracy
Digits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def batches(seed: int, count: int) -> Iterator[np.ndarray]:
    """Yield the rows of an epoch's batches; the last has what is left."""
    order = np.random.default_rng(seed).permutation(count)
    for begin in range(0, count, BATCH):
        yield order[begin : begin + BATCH]


def until_enough(epoch: Callable[[int], object], accuracy: Callable[[], float]) -> tuple[int, float]:
    """Go on, epoch by epoch, until it is known."""
    for number in range(1, EPOCHS + 1):
        epoch(number)
        known = accuracy()
        if known >= ENOUGH:
            break
    return number, known


def by_fastprop(work: Task, data: Digits) -> Learn:
    """Learn by `fastprop.fit`."""
    x, y, unseen, right = data
    model, kept, metrics = network(work), {}, {"accuracy": lambda scores, label: np.argmax(scores) == label}
    optimizer = fp.optim.Adam(model, work.rate)
    fresh = optimizer.state_dict()

    def accuracy(history: Any) -> float:
        return history.epochs[-1].validation_metrics["accuracy"]

    def learn(seed: int) -> tuple[int, float]:
        model.load_state_dict(work.start)
        optimizer.load_state_dict(fresh)
        history = fp.fit(
            *(model, nn.cross_entropy, (x, y), optimizer),
            epochs=EPOCHS, batch_size=BATCH, validation=(unseen, right), metrics=metrics, rng=seed, recordings=kept,
            callbacks=lambda history: accuracy(history) >= ENOUGH, progress=False,
        )  # fmt: skip
        return len(history.epochs), accuracy(history)

    return learn


def by_sklearn(work: Task, data: Digits) -> Learn:
    """Learn by scikit-learn's MLPClassifier."""
    x, y, unseen, right = data
    begin = importlib.import_module("training_sklearn").learners(work)[0].begin

    def learn(seed: int) -> tuple[int, float]:
        model = begin().set_params(shuffle=True, random_state=np.random.RandomState(seed))
        return until_enough(lambda _: model.partial_fit(x, y), lambda: model.score(unseen, right))

    return learn


def by_torch(work: Task, data: Digits) -> Learn:
    """Learn by PyTorch."""
    torch, room = importlib.import_module("torch"), importlib.import_module("training_torch")
    x, y, unseen, right = map(torch.from_numpy, data)

    def learn(seed: int) -> tuple[int, float]:
        model = room.network(work)
        optimizer = torch.optim.Adam(model.parameters(), lr=work.rate)

        def epoch(number: int) -> None:
            for rows in map(torch.from_numpy, batches(1000 * seed + number, len(x))):
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()

        @torch.no_grad()
        def accuracy() -> float:
            return (model(unseen).argmax(1) == right).double().mean().item()

        return until_enough(epoch, accuracy)

    return learn


def by_jax(work: Task, data: Digits) -> Learn:
    """Learn by JAX, a step under jit."""
    jax, room = importlib.import_module("jax"), importlib.import_module("training_jax")
    jax.clear_caches()
    x, y, unseen, right = data
    step = jax.jit(room.step_of(work), donate_argnums=0)
    scores = jax.jit(lambda p: room.dense(work, p, unseen))

    def learn(seed: int) -> tuple[int, float]:
        state = room.start(work)

        def epoch(number: int) -> None:
            nonlocal state
            for rows in batches(1000 * seed + number, len(x)):
                state, _ = step(state, (x[rows], y[rows]))

        return until_enough(epoch, lambda: float((np.argmax(scores(state[0]), 1) == right).mean()))

    return learn


MAKERS = {"fastprop": by_fastprop, "sklearn": by_sklearn, "torch": by_torch, "jax": by_jax}


def raced(names: list[str], seeds: int) -> dict[str, list[tuple[float, float, int, float]] | Exception]:
    """Let all learn in turns: for each seed seconds from nothing, and again, epochs, accuracy; or what went wrong."""
    work, data = task("T2"), split_digits("float32")
    found: dict[str, Any] = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            if isinstance(found[name], Exception):
                continue
            try:
                begun = time.perf_counter()
                learn = MAKERS[name](work, data)
                learn(seed)
                middle = time.perf_counter()
                reached = learn(seed)
                found[name].append((middle - begun, time.perf_counter() - middle, *reached))
            except Exception as error:
                found[name] = error
    return found


def main(peers: list[str], quick: bool) -> None:
    """Let them learn, and print how long that takes."""
    print(f"\naccuracy: 64-64-10 until it knows {ENOUGH:.0%} of unseen digits; the median of seeds")
    print(f"  {'':28}{'from nothing':>14}{'again':>12}{'epochs':>9}{'accuracy':>11}")
    names = ["fastprop", *(peer for peer in peers if peer in MAKERS)]
    for name, runs in raced(names, 1 if quick else SEEDS).items():
        if isinstance(runs, Exception):
            print(f"  {name:28}{type(runs).__name__}: {str(runs)[:100]}")
            continue
        first, again, epochs, accuracy = map(statistics.median, zip(*runs))
        timed = " " * 26 if quick else f"{first * 1e3:11.1f} ms{again * 1e3:9.1f} ms"
        print(f"  {name:28}{timed}{epochs:9}{accuracy:11.1%}", flush=True)
