"""Steps of several small networks: one call for all of them, against a call for each; and an epoch that is one call.

The loss in each way that one writes it: reduced by the map, as the mean of what a map makes, of the batch as a matrix.

    python bench/models.py [models] [examples]

One thread, float32; the least of many calls, as a multiple of the first row's in the same run. What each of them
computes is held to NumPy by hand first.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

import fastprop as fp
from nested import least

SIZES, RATE, STEPS = (64, 32, 10), 0.01, 20
Layers = list[tuple[Any, Any]]


def scores(layers: Layers, x: Any) -> Any:
    """What a network says of an example."""
    for w, b in layers[:-1]:
        x = fp.relu(w @ x + b)
    w, b = layers[-1]
    return w @ x + b


def reduced(layers: Layers, xs: Any, ys: Any) -> Any:
    """The mean loss, which the map takes."""
    return fp.vmap(lambda x, y: fp.nn.cross_entropy(scores(layers, x), y), reduce="mean")(xs, ys)


def averaged(layers: Layers, xs: Any, ys: Any) -> Any:
    """The mean of the losses that the map makes, as one writes it for JAX."""
    return fp.mean(fp.vmap(lambda x, y: fp.nn.cross_entropy(scores(layers, x), y))(xs, ys))


def batched(layers: Layers, xs: Any, ys: Any) -> Any:
    """The mean loss of the batch as a matrix."""
    for w, b in layers[:-1]:
        xs = fp.relu(xs @ w.T + b)
    w, b = layers[-1]
    return fp.nn.cross_entropy(xs @ w.T + b, ys)


def step(layers: Layers, xs: Any, ys: Any, loss: Any = averaged) -> tuple[Layers, Any]:
    """One step of plain descent."""
    value, slopes = fp.value_and_grad(loss)(layers, xs, ys)
    return [(w - RATE * dw, b - RATE * db) for (w, b), (dw, db) in zip(layers, slopes)], value


def by_hand(layers: Layers, xs: Any, ys: Any) -> tuple[Layers, float]:
    """The same step in NumPy, in float64."""
    (w, b), (v, c) = [(w.astype(float), b.astype(float)) for w, b in layers]
    hidden = np.maximum(xs @ w.T + b, 0.0)
    powers = np.exp(hidden @ v.T + c)
    shares = powers / powers.sum(1, keepdims=True)
    value = -np.log(shares[np.arange(len(ys)), ys]).mean()
    shares[np.arange(len(ys)), ys] -= 1.0
    above = shares / len(ys)
    below = (above @ v) * (hidden > 0.0)
    moved = [(w - RATE * below.T @ xs, b - RATE * below.sum(0)), (v - RATE * above.T @ hidden, c - RATE * above.sum(0))]
    return moved, value


def flat(layers: Layers) -> Any:
    """All numbers of a network, or of several."""
    return np.concatenate([np.ravel(part) for pair in layers for part in pair])


def main(models: int = 8, examples: int = 32) -> None:
    """Prove the answers, then print the times."""
    fp.set_num_threads(1)
    generator = np.random.default_rng(0)
    every: Layers = [
        (generator.normal(0.0, a**-0.5, (models, b, a)).astype(np.float32), np.zeros((models, b), np.float32))
        for a, b in itertools.pairwise(SIZES)
    ]
    each = [[(w[k], b[k]) for w, b in every] for k in range(models)]
    xs = generator.normal(size=(STEPS, examples, SIZES[0])).astype(np.float32)
    ys = generator.integers(0, SIZES[-1], (STEPS, examples))

    alone, mapped = fp.compile(step), fp.compile(fp.vmap(step, in_axes=(0, None, None)))
    expected = [by_hand(layers, xs[0], ys[0]) for layers in each]
    for k, found in enumerate(alone(layers, xs[0], ys[0]) for layers in each):
        np.testing.assert_allclose(flat(found[0]), flat(expected[k][0]), rtol=1e-4, atol=1e-5)
    moved, values = mapped(every, xs[0], ys[0])
    np.testing.assert_allclose(values, [value for _, value in expected], rtol=1e-4)
    for k in range(models):
        found = [(w[k], b[k]) for w, b in moved]
        np.testing.assert_allclose(flat(found), flat(expected[k][0]), rtol=1e-4, atol=1e-5)
    one = least(lambda: [alone(layers, xs[0], ys[0]) for layers in each])
    print(f"{models} models, {examples} examples: a call for each {one:8.1f} us, 1.00 x")
    several = least(lambda: mapped(every, xs[0], ys[0]))
    print(f"{models} models, {examples} examples: one call        {several:8.1f} us, {several / one:.2f} x")

    layers, last = each[0], each[0]
    for x, y in zip(xs, ys):
        last, _ = by_hand(last, x, y)
    base = 0.0
    for loss in (reduced, averaged, batched):
        epoch = fp.compile(lambda p, x, y, loss=loss: fp.scan(lambda p, batch: step(p, *batch, loss), p, (x, y)))
        np.testing.assert_allclose(flat(epoch(layers, xs, ys)[0]), flat(last), rtol=1e-3, atol=1e-4)
        time = least(lambda: epoch(layers, xs, ys)) / STEPS  # noqa: B023
        base = base or time
        print(f"a step in a scan, its loss {loss.__name__:8} {time:8.2f} us, {time / base:.2f} x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
