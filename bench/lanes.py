"""V1 to V4: one circuit at many points at once, value and gradient of each.

A workload is the code of one lane, generic in the kind of number, and the arguments of all lanes: arrays with the lanes
along their last axis, or, where the argument is the same for all (uniform), the argument itself. The gradient is that
in the first argument, per lane, or summed over the lanes.

V1  P1's neuron at 1,000,000 points            V3  P2's network at 100,000 examples, weights uniform
V2  P5's option at 1,000,000 points            V4  a path of 252 steps 20,000 times, parameters uniform
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuits import (
    Answer,
    Number,
    agree,
    black_scholes,
    black_scholes_formula,
    initial_weights,
    network_error,
    network_formula,
    neuron,
    neuron_formula,
)

STEPS, STRIKE = 252, 100.0


@dataclass(frozen=True)
class Lanes:
    """A circuit of one lane, and the arguments of all."""

    name: str
    title: str
    function: Callable[..., Number]  # of ops and one lane's arguments
    arguments: tuple[np.ndarray, ...]
    in_axes: tuple[int | None, ...]  # where an argument's lanes are; None: it is uniform
    gates: int  # of one lane
    formula: Callable[..., Answer]  # of all arguments: values (lanes,) and gradients (inputs, lanes)
    summed: bool = False

    @property
    def lanes(self) -> int:
        """How many points there are."""
        return self.arguments[-1].shape[-1]

    def truth(self) -> Answer:
        """The values and gradients of all lanes, or their sums."""
        value, gradient = self.formula(*self.arguments)
        return (value.sum(), gradient.sum(axis=-1)) if self.summed else (value, gradient)

    def prove(self, answer: Answer, tolerance: float = 1e-9) -> None:
        """Raise AssertionError unless this is the true answer, to within a tolerance of the largest number."""
        agree(answer, self.truth(), tolerance, self.name)


def path(ops: Any, parameters: Sequence[Number], z: Sequence[Number]) -> Number:
    """V4: the discounted payoff of a call on one path of a geometric Brownian motion, over one year."""
    price, rate, sigma = parameters
    step = 1.0 / len(z)
    drift = (rate - 0.5 * (sigma * sigma)) * step
    spread = sigma * math.sqrt(step)
    for i in range(len(z)):
        price = price * ops.exp(drift + spread * z[i])
    return ops.exp(rate * -1.0) * ops.relu(price - STRIKE)


def path_formula(parameters: np.ndarray, z: np.ndarray) -> Answer:
    """V4's values and gradients: the steps of a path add up."""
    spot, rate, sigma = parameters
    walk = z.sum(axis=0) / math.sqrt(len(z))
    end = spot * np.exp(rate - 0.5 * sigma**2 + sigma * walk)
    alive, discount = end > STRIKE, math.exp(-rate)
    paid, worth = discount * np.where(alive, end - STRIKE, 0.0), discount * np.where(alive, end, 0.0)
    return paid, np.stack([worth / spot, worth - paid, worth * (walk - sigma)])


def make_neurons(count: int = 1_000_000) -> Lanes:
    """V1."""
    generator = np.random.default_rng(11)
    x = np.stack([generator.standard_normal(count) for _ in range(5)])
    return Lanes("V1", f"a neuron at {count:,} points", neuron, (x,), (1,), 5, neuron_formula)


def make_options(count: int = 1_000_000) -> Lanes:
    """V2."""
    generator = np.random.default_rng(11)
    ranges = [(80.0, 120.0), (80.0, 120.0), (0.1, 2.0), (0.0, 0.05), (0.1, 0.5)]
    x = np.stack([generator.uniform(low, high, count) for low, high in ranges])
    title = f"Black-Scholes and its greeks at {count:,} points"
    return Lanes("V2", title, black_scholes, (x,), (1,), 26, black_scholes_formula)


def make_networks(count: int = 100_000, summed: bool = False) -> Lanes:
    """V3, per example or summed."""
    generator = np.random.default_rng(11)
    x = np.stack([generator.standard_normal(count) for _ in range(3)])
    arguments = (initial_weights(), x, generator.uniform(0.0, 1.0, count))
    name, how = ("V3s", "summed") if summed else ("V3", "per example")
    title = f"network 3-3-3-1 at {count:,} examples, gradient {how}"
    return Lanes(name, title, network_error, arguments, (None, 1, 0), 52, network_formula, summed)


def make_paths(count: int = 20_000, steps: int = STEPS) -> Lanes:
    """V4."""
    z = np.random.default_rng(11).standard_normal((steps, count))
    title, gates = f"a path of {steps} steps at {count:,} points", 4 * steps + 10
    return Lanes("V4", title, path, (np.array([100.0, 0.03, 0.2]), z), (None, 1), gates, path_formula)


LANES: dict[str, Callable[[bool], Lanes]] = {
    "V1": lambda quick: make_neurons(1_000 if quick else 1_000_000),
    "V2": lambda quick: make_options(1_000 if quick else 1_000_000),
    "V3": lambda quick: make_networks(1_000 if quick else 100_000),
    "V3s": lambda quick: make_networks(1_000 if quick else 100_000, summed=True),
    "V4": lambda quick: make_paths(200 if quick else 20_000, 12 if quick else STEPS),
}
