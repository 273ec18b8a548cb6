"""Searches that need no gradient: what was done before backpropagation, to compare with, and where there is none.

All look for a greater value of a function, as `random_search` does; for a smaller one, search ``lambda *args:
-f(*args)``. They call it once for every try, however many numbers it takes: a gradient tells more for the
price of a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.derivatives.checking import random_search
from fastprop.gates.numbers import as_flag, as_real
from fastprop.handles.nesting import described, returned

from .checks import at_least_zero, whole
from .flat import Flat, Vector

__all__ = ["coordinate_search", "genetic_search", "random_search", "simulated_annealing"]


def coordinate_search(
    f: Callable[..., Any], args: Sequence[Any], step: float = 0.1, sweeps: int = 100
) -> tuple[Any, float]:
    """Look for a greater value of `f` by moving one number at a time.

    Every number is moved by its step; if that is no better, the other way; if neither is, its step is halved.

    Parameters
    ----------
    f : callable
        Returns one number. It receives plain floats and arrays.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them.
    step : float, optional
        By how much every number is moved at first.
    sweeps : int, optional
        How many times to go through all numbers.

    Returns
    -------
    args : tuple or list
        The best arguments found, in their nesting: the given ones if nothing was better.
    value : float
        The value of `f` there.

    See Also
    --------
    random_search, genetic_search, simulated_annealing

    Examples
    --------
    >>> import fastprop as fp
    >>> (x, y), value = fp.optim.coordinate_search(lambda x, y: -((x - 1.0) ** 2) - (y + 2.0) ** 2, (0.0, 0.0))
    >>> round(x, 6), round(y, 6)
    (1.0, -2.0)
    """
    point = _Point("coordinate_search", f, args)
    steps = np.full(point.start.size, at_least_zero("coordinate_search", "step", step))
    for _ in range(whole("coordinate_search", "sweeps", sweeps, 0)):
        for i in range(point.start.size):
            if not any(point.is_better(_moved(point.best, i, way * steps[i])) for way in (1.0, -1.0)):
                steps[i] *= 0.5
    return point.result()


def genetic_search(
    f: Callable[..., Any],
    args: Sequence[Any],
    step: float = 0.1,
    population: int = 50,
    generations: int = 100,
    seed: Any = 0,
) -> tuple[Any, float]:
    """Look for a greater value of `f` by breeding: the fitter half has children, each of two parents, with mutations.

    A child has every number from one of its parents, at random, and a normally distributed mutation of it. The fittest
    live on unchanged.

    Parameters
    ----------
    f : callable
        Returns one number, the fitness. It receives plain floats and arrays.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them. The first generation is bred of
        these alone.
    step : float, optional
        The standard deviation of mutations.
    population : int, optional
        How many live at a time, at least 2.
    generations : int, optional
        How often they have children.
    seed : int, numpy.random.Generator or None, optional
        Where the random numbers come from; None for another search at every call.

    Returns
    -------
    args : tuple or list
        The fittest arguments found, in their nesting.
    value : float
        The value of `f` there.

    See Also
    --------
    random_search, coordinate_search, simulated_annealing

    Examples
    --------
    >>> import fastprop as fp
    >>> (x, y), value = fp.optim.genetic_search(lambda x, y: -((x - 1.0) ** 2) - (y + 2.0) ** 2, (0.0, 0.0))
    >>> value > -0.01
    True
    """
    point = _Point("genetic_search", f, args)
    step = at_least_zero("genetic_search", "step", step)
    size = whole("genetic_search", "population", population, 2)
    random = np.random.default_rng(seed)
    living = [(point.lowest_first(point.value), point.start)]
    for _ in range(whole("genetic_search", "generations", generations, 0)):
        parents = [numbers for _, numbers in living[: max(size // 2, 1)]]
        children = []
        for _ in range(size - len(parents)):
            mother, father = (parents[i] for i in random.integers(len(parents), size=2))
            child = np.where(random.random(mother.size) < 0.5, mother, father) + random.normal(0.0, step, mother.size)
            children.append((point.lowest_first(point.tried(child)), child))
        living = sorted([*living[: len(parents)], *children], key=lambda one: one[0])[:size]
    return point.result()


def simulated_annealing(
    f: Callable[..., Any],
    args: Sequence[Any],
    step: float = 0.1,
    tries: int = 1000,
    temperature: float = 1.0,
    seed: Any = 0,
) -> tuple[Any, float]:
    """Look for a greater value of `f` by random steps, of which some may go down, fewer and fewer as it cools.

    A step that loses d is taken with probability ``exp(-d / T)``; T falls from `temperature` to 0 in a straight line.

    Parameters
    ----------
    f : callable
        Returns one number. It receives plain floats and arrays.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them.
    step : float, optional
        The standard deviation of every number's steps.
    tries : int, optional
        How many steps to try.
    temperature : float, optional
        The first T; at 0 only steps up are taken.
    seed : int, numpy.random.Generator or None, optional
        Where the random numbers come from; None for another search at every call.

    Returns
    -------
    args : tuple or list
        The best arguments found, in their nesting.
    value : float
        The value of `f` there.

    See Also
    --------
    random_search, coordinate_search, genetic_search

    Notes
    -----
    Source: Kirkpatrick, Gelatt and Vecchi, 1983.

    Examples
    --------
    >>> import math
    >>> import fastprop as fp
    >>> (x,), value = fp.optim.simulated_annealing(lambda x: math.cos(5.0 * x) - x * x, (3.0,), step=0.5)
    >>> abs(x) < 0.1
    True
    """
    point = _Point("simulated_annealing", f, args)
    step = at_least_zero("simulated_annealing", "step", step)
    temperature = at_least_zero("simulated_annealing", "temperature", temperature)
    tries = whole("simulated_annealing", "tries", tries, 0)
    random = np.random.default_rng(seed)
    here, value = point.start, point.value
    for k in range(tries):
        there = here + random.normal(0.0, step, here.size)
        found = point.tried(there)
        heat = temperature * (1.0 - k / tries)
        chance = math.exp(min((found - value) / heat, 0.0)) if heat > 0.0 and not found >= value else 1.0
        if found >= value or (heat > 0.0 and random.random() < chance):
            here, value = there, found
    return point.result()


class _Point:
    """A function of one vector, and the best that was found so far."""

    def __init__(self, owner: str, f: Callable[..., Any], args: Sequence[Any]):
        self.owner, self.f = owner, f
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"{owner} takes the arguments as a tuple or list, not {described(args)}")
        self.flat = Flat(args, owner)
        if self.flat.handles:
            raise TypeError(f"{owner}: the arguments are Units or Arrays; expected plain numbers and arrays")
        self.best = self.start = self.flat.joined(self.flat.leaves, "the value")
        self.value = self.best_value = self.called(self.start)

    def called(self, numbers: Vector) -> float:
        """Return the value at some point."""
        found = self.f(*self.flat.nested(numbers))
        value = as_real(found)
        if value is None:
            value = as_flag(found)  # of a condition
        if value is None:
            raise TypeError(f"{self.owner} needs a function that returns one number; it returned {returned(found)}")
        return value

    def tried(self, numbers: Vector) -> float:
        """Return the same, and keep it if it is the best."""
        value = self.called(numbers)
        if value > self.best_value or math.isnan(self.best_value) > math.isnan(value):
            self.best, self.best_value = numbers, value
        return value

    def is_better(self, numbers: Vector) -> bool:
        """Say whether this point is the best so far, and keep it if so."""
        before = self.best
        self.tried(numbers)
        return self.best is not before

    @staticmethod
    def lowest_first(value: float) -> float:
        """Return by what to sort, the greatest first; NaN comes last."""
        return math.inf if math.isnan(value) else -value

    def result(self) -> tuple[Any, float]:
        """Return the best arguments, and their value."""
        return self.flat.nested(self.best), self.best_value


def _moved(numbers: Vector, i: int, by: float) -> Vector:
    moved = numbers.copy()
    moved[i] += by
    return moved
