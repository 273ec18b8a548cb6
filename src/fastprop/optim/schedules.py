"""Schedules: by what the learning rate is multiplied, as a function of the steps made so far, which count from 0.

They have no state, so that a training that is resumed needs nothing but the number of steps. The product of two
schedules is one: ``WarmUp(100) * Cosine(10_000)``. Any function of a whole number will do in their place. Where a rate
changes once per epoch, ``optimizer.lr = 0.1 * schedule(epoch)`` does it. They are written with gates, so that
`Optimizer.update` can count steps where it is compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastprop import gates
from fastprop.handles.nesting import described

from .checks import at_least_zero, whole
from .optimizer import Optimizer

__all__ = ["Cosine", "Exponential", "InverseTime", "Product", "ReduceLROnPlateau", "Schedule", "Step", "WarmUp"]


class Schedule:
    """A factor of the learning rate as a function of the steps made so far; products of schedules are schedules."""

    def __call__(self, step: int) -> float:
        """Give the factor for the step after so many."""
        raise TypeError(f"{type(self).__name__} has no __call__(step) of its own")

    def __mul__(self, other: Callable[[int], float]) -> Product:
        return Product(self, other) if callable(other) else NotImplemented

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Product(Schedule):
    """Two schedules, multiplied.

    Examples
    --------
    >>> import fastprop as fp
    >>> schedule = fp.optim.WarmUp(2) * fp.optim.Exponential(0.5)
    >>> [schedule(t) for t in range(4)]
    [0.0, 0.25, 0.25, 0.125]
    """

    def __init__(self, left: Callable[[int], float], right: Callable[[int], float]):
        self.left, self.right = left, right

    def __call__(self, step: int) -> float:
        """Give the product of both."""
        return self.left(step) * self.right(step)


class Step(Schedule):
    """A factor of `gamma` more after every `step_size` steps.

    Parameters
    ----------
    step_size : int
        How many steps, at least 1.
    gamma : float, default 0.1
        The factor.

    Examples
    --------
    >>> import fastprop as fp
    >>> schedule = fp.optim.Step(2, gamma=0.5)
    >>> [schedule(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, step_size: int, gamma: float = 0.1):
        self.step_size = whole("Step", "step_size", step_size, 1)
        self.gamma = at_least_zero("Step", "gamma", gamma)

    def __call__(self, step: int) -> float:
        """Give gamma to the power of how often so many steps were made."""
        return self.gamma ** (step // self.step_size)


class Exponential(Schedule):
    """A factor of `gamma` more after every step.

    Parameters
    ----------
    gamma : float
        The factor.

    Examples
    --------
    >>> import fastprop as fp
    >>> [fp.optim.Exponential(0.5)(t) for t in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, gamma: float):
        self.gamma = at_least_zero("Exponential", "gamma", gamma)

    def __call__(self, step: int) -> float:
        """Give gamma to the power of the steps."""
        return self.gamma**step


class Cosine(Schedule):
    """Half a wave of the cosine, from 1 down to `floor`, where it stays.

    Parameters
    ----------
    T_max : int
        How many steps it takes, at least 1.
    floor : float, default 0
        The factor at the end.

    Notes
    -----
    Source: Loshchilov and Hutter, 2017. PyTorch's rises again after the end; this one does not.

    Examples
    --------
    >>> import fastprop as fp
    >>> [round(fp.optim.Cosine(4)(t), 3) for t in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    def __init__(self, T_max: int, floor: float = 0.0):
        self.T_max = whole("Cosine", "T_max", T_max, 1)
        self.floor = at_least_zero("Cosine", "floor", floor)

    def __call__(self, step: int) -> float:
        """Give the height of the wave."""
        wave: float = gates.cos(math.pi * gates.minimum(step, self.T_max) / self.T_max)
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + wave)


class WarmUp(Schedule):
    """From 0 up to 1 in a straight line: t / n of the rate after t steps, all of it after n.

    Parameters
    ----------
    steps : int
        How many steps it takes; 0 means the full rate at once.

    Examples
    --------
    >>> import fastprop as fp
    >>> [fp.optim.WarmUp(4)(t) for t in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, steps: int):
        self.steps = whole("WarmUp", "steps", steps, 0)

    def __call__(self, step: int) -> float:
        """Give the part of the way."""
        part: float = gates.minimum(step / self.steps, 1.0) if self.steps else 1.0
        return part


class InverseTime(Schedule):
    """1 / (1 + decay t) of the rate after t steps.

    Parameters
    ----------
    decay : float
        How fast it falls: half is left after ``1 / decay`` steps.

    Examples
    --------
    >>> import fastprop as fp
    >>> [fp.optim.InverseTime(1.0)(t) for t in range(4)]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """

    def __init__(self, decay: float):
        self.decay = at_least_zero("InverseTime", "decay", decay)

    def __call__(self, step: int) -> float:
        """Give 1 / (1 + decay t)."""
        return 1.0 / (1.0 + self.decay * step)


class ReduceLROnPlateau:
    """Multiplies an optimizer's rate by `factor` when a metric has not become better for a while.

    Better is below ``best - threshold * abs(best)``, or above the best by as much if the mode is "max". A metric that
    is equal, or NaN, is not better.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate it is.
    mode : {"min", "max"}
        Whether lower metrics are better, or higher ones.
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
        So many metrics in a row may be no better; the next one lowers the rate.
    threshold : float, default 1e-4
        By what part of the best a metric must be better.
    cooldown : int, default 0
        So many metrics after the rate was lowered do not count.
    min_lr : float, default 0
        The rate does not fall below.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.SGD([fp.Unit(1.0)], lr=0.1)
    >>> plateau = fp.optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (1.0, 0.5, 0.5, 0.5):
    ...     plateau.step(loss)
    >>> optimizer.lr
    0.05
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"ReduceLROnPlateau takes first the optimizer whose rate it lowers, not {described(optimizer)}"
            )
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode is {mode!r}; expected 'min' or 'max'")
        if not at_least_zero("ReduceLROnPlateau", "factor", factor) < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}; expected a number below 1")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = whole("ReduceLROnPlateau", "patience", patience, 0)
        self.threshold = at_least_zero("ReduceLROnPlateau", "threshold", threshold)
        self.cooldown = whole("ReduceLROnPlateau", "cooldown", cooldown, 0)
        self.min_lr = at_least_zero("ReduceLROnPlateau", "min_lr", min_lr)
        self.best: float | None = None
        self.bad = 0
        self.resting = 0

    def __repr__(self) -> str:
        options = ("mode", "factor", "patience", "threshold", "cooldown", "min_lr")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in options)
        return f"<ReduceLROnPlateau of {type(self.optimizer).__name__}: {shown}>"

    def step(self, metric: float) -> None:
        """Take in a metric, and lower the rate if it is time."""
        if self.is_better(metric):
            self.best, self.bad = float(metric), 0
        else:
            self.bad += 1
        if self.resting > 0:
            self.resting, self.bad = self.resting - 1, 0
        if self.bad > self.patience:
            self.optimizer.lr = max(self.optimizer.lr * self.factor, self.min_lr)
            self.resting, self.bad = self.cooldown, 0

    def is_better(self, metric: float) -> bool:
        """Say whether a metric is better than the best so far."""
        if self.best is None:
            return not math.isnan(metric)
        enough = self.threshold * abs(self.best) if math.isfinite(self.best) else 0.0
        return metric < self.best - enough if self.mode == "min" else metric > self.best + enough

    def state_dict(self) -> dict[str, Any]:
        """Give what it has seen."""
        return {"best": self.best, "bad": self.bad, "resting": self.resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` has given."""
        self.best, self.bad, self.resting = state["best"], state["bad"], state["resting"]
