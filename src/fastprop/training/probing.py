"""Looks at a model and its data before a fit, which leave no trace: a learning rate, and a check of the gradient."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastprop.circuits.compile import compile
from fastprop.derivatives.checking import numerical_grad
from fastprop.derivatives.transforms import value_and_grad
from fastprop.handles.nesting import flatten, map_leaves
from fastprop.nn.init import generator
from fastprop.nn.module import Module
from fastprop.optim import SGD
from fastprop.optim.checks import whole
from fastprop.optim.parameters import names_of

from .feed import Batch, feed_of
from .learner import Learner, Steps

__all__ = ["Rates", "check_gradients", "find_rate"]

SMOOTHED = 0.9  # the share of the past in the losses that are compared
LOST = 4.0  # it ends where the loss is so many times the lowest


class Rates(NamedTuple):
    """Learning rates that were tried, one for each step; the losses, smoothed; and a rate to begin with."""

    rates: list[float]
    losses: list[float]
    suggestion: float

    def __repr__(self) -> str:
        tried = f"{len(self.rates)} from {self.rates[0]:.3g} to {self.rates[-1]:.3g}" if self.rates else "none"
        return f"<Rates: {tried}; suggestion {self.suggestion:.3g}>"


def find_rate(
    model: Any,
    loss: Callable[[Any, Any], Any],
    data: Any,
    optimizer: Any,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    rng: Any = None,
    params: Any = None,
) -> Rates:
    """Try learning rates: steps with ever greater ones, until the loss grows. Nothing of it stays.

    Parameters
    ----------
    model, loss, data, optimizer, batch_size, rng, params
        As for `fit`. Model, optimizer and Generator are afterwards as before.
    lowest, highest : float
        The first rate and the last one; between them they grow by a constant factor.
    steps : int, default 100
        How many rates.

    Returns
    -------
    Rates
        A tenth of the rate at which the loss was lowest is suggested.

    Raises
    ------
    ValueError
        If the rates are no numbers above 0, the first below the last; if the loss is infinite or NaN at once.

    Notes
    -----
    Source: Smith, *Cyclical learning rates for training neural networks*, 2017.

    Examples
    --------
    >>> import fastprop as fp
    >>> from fastprop.training import find_rate
    >>> x, y = fp.datasets.load_digits(return_X_y=True)
    >>> model = fp.nn.Linear(64, 10, rng=0)
    >>> found = find_rate(model, fp.nn.cross_entropy, (x / 16.0, y), fp.optim.SGD(model), rng=0)
    >>> 0.01 < found.suggestion < 1.0
    True
    """
    if not 0.0 < lowest < highest < math.inf:
        raise ValueError(f"find_rate: rates from {lowest} to {highest}; expected finite numbers above 0, in this order")
    count = whole("find_rate", "steps", steps, 2)
    learner = Learner(model, optimizer, params, apart=True)
    feed = feed_of(data, learner.dtype, whole("find_rate", "batch_size", batch_size, 1), True)
    random = generator(copy.deepcopy(rng))
    modes = learner.modes()
    if learner.module is not None and not learner.module.training:
        learner.module.train()
    try:
        rates = [lowest * (highest / lowest) ** (k / (count - 1)) for k in range(count)]
        return _tried(Steps(learner, loss, {}), rates, _endless(feed, random))
    finally:
        for part, training in modes:
            part.training = training


def _tried(steps: Steps, rates: list[float], batches: Iterator[Batch]) -> Rates:
    """Make a step at every rate, until the loss grows."""
    learner, mean = steps.learner, 0.0
    losses: list[float] = []
    learner.work.schedule = None
    for k, (rate, batch) in enumerate(zip(rates, batches)):
        learner.work.lr = rate
        loss, _, _, gradients, learner.buffers = steps.learn([batch], k)
        mean = SMOOTHED * mean + (1.0 - SMOOTHED) * loss
        smooth = mean / (1.0 - SMOOTHED ** (k + 1))
        if not math.isfinite(smooth) or (losses and smooth > LOST * min(losses)):
            break
        losses.append(smooth)
        try:
            learner.params = learner.work.step(learner.params, gradients, in_place=True)
        except ValueError:  # the gradient is infinite: the rate was too high
            break
    if not losses:
        raise ValueError(f"find_rate: the loss is {loss} before the first step")
    return Rates(rates[: len(losses)], losses, rates[int(np.argmin(losses))] / 10.0)


def _endless(feed: Any, random: np.random.Generator) -> Iterator[Batch]:
    """Yield batches, epoch after epoch."""
    for _ in itertools.count():
        yield from feed.epoch(random)


def check_gradients(
    model: Any,
    loss: Callable[[Any, Any], Any],
    data: Any,
    *,
    params: Any = None,
    examples: int = 8,
    rng: Any = 0,
    atol: float = 1e-6,
    rtol: float = 1e-5,
) -> float:
    """Check the gradient of a model's mean loss against differences, once for every parameter. Nothing of it stays.

    Every parameter is moved along a direction of its own, drawn at random, in float64.

    Parameters
    ----------
    model, loss, data, params
        As for `fit`.
    examples : int, default 8
        How many of the first examples of arrays are taken; of an iterable, the first batch.
    rng : int or numpy.random.Generator, optional
        Where the directions come from.
    atol, rtol : float
        What counts as equal: ``abs(a - b) <= atol + rtol * abs(b)``.

    Returns
    -------
    float
        The largest difference.

    Raises
    ------
    AssertionError
        If a slope is wrong: it names the parameter and both values. A kink between two points looks the same.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> from fastprop.training import check_gradients
    >>> model = fp.nn.Sequential(fp.nn.Linear(2, 3, rng=0), fp.nn.Tanh(), fp.nn.Linear(3, 1, rng=1))
    >>> check_gradients(model, fp.nn.squared_error, (np.ones((4, 2)), np.ones((4, 1)))) < 1e-6
    True
    """
    start = model.params() if isinstance(model, Module) and params is None else params
    learner = Learner(model, None if start is None else SGD(start), params)
    feed = feed_of(data, np.dtype(np.float64), whole("check_gradients", "examples", examples, 1), False)
    batch = next(iter(feed.epoch(np.random.default_rng(0))))
    steps = Steps(learner, loss, {})
    key = 0 if steps.draws else None
    weights = np.ones(batch.size)

    def mean(params: Any) -> Any:
        total, (counted, _, _) = steps._sums(params, batch.x, batch.y, weights, 1.0, key, learner.buffers)
        return total / counted

    leaves, nesting = flatten(map_leaves(lambda leaf: np.asarray(leaf, np.float64)[()], learner.params))
    value: Any = compile(mean)
    gradient: Any = compile(value_and_grad(mean))
    slopes = flatten(gradient(nesting.unflatten(leaves))[1])[0]
    random, largest = generator(rng), 0.0
    for k, name in enumerate(names_of(learner.params)):
        direction = random.normal(size=np.shape(leaves[k]))

        def along(t: Any, k: int = k, direction: Any = direction) -> Any:
            return value(nesting.unflatten([*leaves[:k], leaves[k] + t * direction, *leaves[k + 1 :]]))

        expected = numerical_grad(along, (0.0,))[0]
        found = float(np.sum(slopes[k] * direction))
        difference = abs(found - expected)
        if not difference <= atol + rtol * abs(expected):
            raise AssertionError(
                f"the gradient of {name} has the slope {found} along a direction, where differences give {expected}"
            )
        largest = max(largest, difference)
    return largest
