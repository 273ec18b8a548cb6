"""Update rules beside NumPy: `python bench/updates.py [name ...]`.

One step of each rule, float32, over 10^2, 10^4 and 10^6 numbers in one array, and Adam over the parameters of two
networks. NumPy's time is that of the rule as one writes it down, with new arrays for the results; both are proved to
move to the same numbers, and take turns. *In place* is a step that writes into the arrays that it is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop import optim
from measure import interleave, pin

Numbers = np.ndarray[Any, np.dtype[np.float32]]
Statement = Callable[[Numbers, Numbers, dict[str, Any], int], Numbers]  # number, gradient, state, step -> new number
SIZES = (10**2, 10**4, 10**6)
NETWORKS = {
    "64-64-10": [(64, 64), (64,), (10, 64), (10,)],
    "784-256-128-10": [(256, 784), (256,), (128, 256), (128,), (10, 128), (10,)],
}


def sgd(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """Plain gradient descent."""
    return p - 1e-3 * g


def momentum(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """The same with momentum."""
    s["b"] = 0.9 * s["b"] + g if s else g
    return p - 1e-3 * s["b"]


def adagrad(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """Adagrad."""
    s["sum"] = s.get("sum", 0.0) + g * g
    return p - 1e-2 * g / (np.sqrt(s["sum"]) + 1e-10)


def adadelta(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """Adadelta."""
    s["v"] = 0.9 * s.get("v", 0.0) + 0.1 * g * g
    d = np.sqrt(s.get("u", 0.0) + np.float32(1e-6)) / np.sqrt(s["v"] + 1e-6) * g
    s["u"] = 0.9 * s.get("u", 0.0) + 0.1 * d * d
    return p - d


def rmsprop(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """RMSprop."""
    s["v"] = 0.99 * s.get("v", 0.0) + 0.01 * g * g
    return p - 1e-2 * g / (np.sqrt(s["v"]) + 1e-8)


def adam(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """Adam."""
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
    return p - 1e-3 * (s["m"] / (1.0 - 0.9**t)) / (np.sqrt(s["v"] / (1.0 - 0.999**t)) + 1e-8)


def adamw(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """AdamW."""
    return adam((1.0 - 1e-3 * 1e-2) * p, g, s, t)


def windowgrad(p: Numbers, g: Numbers, s: dict[str, Any], t: int) -> Numbers:
    """Windowgrad."""
    s["v"] = 0.95 * s.get("v", 0.0) + 0.05 * g * g
    return p - 1e-2 * g / np.sqrt(s["v"] + 1e-8)


RULES: dict[str, tuple[Callable[[list[Numbers]], optim.Optimizer], Statement]] = {
    "SGD": (optim.SGD, sgd),
    "SGD, momentum": (lambda params: optim.SGD(params, momentum=0.9), momentum),
    "Adagrad": (optim.Adagrad, adagrad),
    "Adadelta": (optim.Adadelta, adadelta),
    "RMSprop": (optim.RMSprop, rmsprop),
    "Adam": (optim.Adam, adam),
    "AdamW": (optim.AdamW, adamw),
    "Windowgrad": (optim.Windowgrad, windowgrad),
}


def made(shapes: list[tuple[int, ...]]) -> tuple[list[Numbers], list[Numbers]]:
    """Parameters, and gradients."""
    random = np.random.default_rng(11)
    return tuple([random.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(2))


class Stepper:
    """A rule by NumPy, or by an optimizer, that goes on from step to step."""

    def __init__(self, name: str, shapes: list[tuple[int, ...]], ours: bool, in_place: bool = False):
        self.params, self.grads = made(shapes)
        rule, self.statement = RULES[name]
        self.optimizer = rule(self.params) if ours else None
        self.in_place = in_place
        self.states: list[dict[str, Any]] = [{} for _ in shapes]
        self.steps = 0

    def __call__(self) -> None:
        """One step."""
        self.steps += 1
        if self.optimizer is not None:
            self.params = self.optimizer.step(self.params, self.grads, in_place=self.in_place)
            return
        self.params = [self.statement(p, g, s, self.steps) for p, g, s in zip(self.params, self.grads, self.states)]


def prove(name: str, shapes: list[tuple[int, ...]]) -> None:
    """Raise unless five steps come to the same numbers."""
    steppers = Stepper(name, shapes, False), Stepper(name, shapes, True), Stepper(name, shapes, True, in_place=True)
    for stepper in steppers:
        for _ in range(5):
            stepper()
    for stepper in steppers[1:]:
        for found, expected in zip(stepper.params, steppers[0].params):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def cases(names: list[str]) -> list[tuple[str, str, list[tuple[int, ...]]]]:
    """What to time: a title, a rule, and shapes."""
    rows = [(f"{name}, {size:,}", name, [(size,)]) for name in RULES for size in SIZES]
    rows += [(f"Adam, {network}", "Adam", shapes) for network, shapes in NETWORKS.items()]
    return [row for row in rows if not names or any(name in row[0] for name in names)]


def main(names: list[str]) -> None:
    """Prove the answers, then print the times and their ratios."""
    pin()
    print(f"{'':28}{'fastprop':>12}{'in place':>12}{'NumPy':>12}{'ratio':>8}")
    for title, name, shapes in cases(names):
        prove(name, shapes)
        calls = {"ours": Stepper(name, shapes, True), "in place": Stepper(name, shapes, True, in_place=True)}
        times = interleave({**calls, "theirs": Stepper(name, shapes, False)}, repeats=9)
        ours, in_place, theirs = (times[key].least * 1e6 for key in ("ours", "in place", "theirs"))
        print(f"{title:28}{ours:9.2f} us{in_place:9.2f} us{theirs:9.2f} us{ours / theirs:8.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
