"""Without the chain rule: random steps, small differences, and the check of the chain rule against these.

The three strategies, side by side, for a function of which one wants more:

>>> import fastprop as fp
>>> def f(x, y):
...     return x * y
>>> (x, y), value = fp.random_search(f, (-2.0, 3.0))        # keep the best of some random steps
>>> value > -6.0
True
>>> dx, dy = fp.numerical_grad(f, (-2.0, 3.0))              # ask in which direction to go: some calls per number
>>> round(dx, 6), round(dy, 6)
(3.0, -2.0)
>>> fp.grad(f, argnums=(0, 1))(-2.0, 3.0)                   # know it: one call, however many numbers
(3.0, -2.0)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.derivatives.call import Call, name_of
from fastprop.gates.numbers import as_real
from fastprop.handles.nesting import (
    LEAF,
    Nesting,
    as_number,
    checked,
    described,
    dtype_of,
    flatten,
    plain,
    returned,
    shape_of,
)

__all__ = ["check_grads", "numerical_grad", "random_search"]

_STEP = float(np.finfo(np.float64).eps) ** (1 / 3)  # balances the rounding of the values and the bend of the function
_SHRINKS = 12  # how often a step may become smaller by a factor of 8
_AGREE = 1e-8  # relative: the differences over a step and over its double agree


def numerical_grad(f: Callable[..., Any], args: Sequence[Any], h: float | None = None) -> Any:
    """Return the gradient of `f` by central differences: ``(f(x + h) - f(x - h)) / (2 h)`` for every number.

    Parameters
    ----------
    f : callable
        Returns one number. It receives plain floats and arrays, and need not be made of fastprop's gates.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them. All are differentiated.
    h : float, optional
        The step. Default: for each number x about ``6e-6 * max(abs(x), 1)``, smaller where the function bends sharply
        or ends near by.

    Returns
    -------
    tuple
        One gradient per argument, in its nesting; arrays keep their dtype, but the differences are taken in float64.

    Raises
    ------
    TypeError
        If an argument is no number, or `f` does not return one.
    ValueError
        If `h` is not a finite number greater than 0.

    See Also
    --------
    grad, check_grads, random_search

    Notes
    -----
    With the default step expect eight to ten correct digits of a smooth function, and four calls of `f` for every
    number, or more: the difference over twice the step says whether the step is small enough. Source: Karpathy,
    *Hacker's guide to Neural Networks*, strategy 2; the step after Press et al., *Numerical Recipes*, section 5.7.

    Examples
    --------
    >>> import fastprop as fp
    >>> dx, dy = fp.numerical_grad(lambda x, y: x * y, (-2.0, 3.0))
    >>> round(dx, 6), round(dy, 6)
    (3.0, -2.0)
    """
    if h is not None and not (as_number(h) is not None and 0.0 < h < math.inf):
        raise ValueError(f"numerical_grad: the step h must be a finite number greater than 0, not {described(h)}")
    point = _Point("numerical_grad", f, args)
    point.one_number(point.outputs_at(point.values))
    gradients = [np.zeros(shape_of(value)) for value in point.values]
    for i, index in point.places():
        gradients[i][index] = point.slopes(i, index, h)[0]
    found: tuple[Any, ...] = point.nested(gradients)
    return found


def random_search(
    f: Callable[..., Any], args: Sequence[Any], step: float = 0.01, tries: int = 100, seed: Any = 0
) -> tuple[Any, float]:
    """Look for a greater value of `f` close by: random local search.

    Parameters
    ----------
    f : callable
        Returns one number. It receives plain floats and arrays, and need not be made of fastprop's gates.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them.
    step : float, optional
        Every try moves every number by a uniformly random amount between ``-step`` and ``step``.
    tries : int, optional
        How many points around `args` to try.
    seed : int, numpy.random.Generator or None, optional
        Where the random numbers come from; None for another search at every call.

    Returns
    -------
    args : tuple
        The best arguments found, in their nesting: the given ones if no try was better.
    value : float
        The value of `f` there.

    Raises
    ------
    TypeError
        If an argument is no number, or `f` does not return one.
    ValueError
        If `step` is negative or not finite, or `tries` is negative.

    See Also
    --------
    numerical_grad, grad

    Notes
    -----
    To look for a smaller value, search ``lambda *args: -f(*args)``. Source: Karpathy, *Hacker's guide to Neural
    Networks*, strategy 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> (x, y), value = fp.random_search(lambda x, y: x * y, (-2.0, 3.0))
    >>> value > -6.0, abs(x + 2.0) <= 0.01, abs(y - 3.0) <= 0.01
    (True, True, True)
    """
    length = as_real(step)
    if length is None or not isinstance(tries, (int, np.integer)):
        raise TypeError(
            f"random_search takes a number as its step and a whole number of tries, not {described(step)} and "
            f"{described(tries)}"
        )
    if not 0.0 <= length < math.inf:
        raise ValueError(f"random_search: step must be finite and at least 0, not {described(step)}")
    if tries < 0:
        raise ValueError(f"random_search: tries must be at least 0, not {tries}")
    random = np.random.default_rng(seed)
    point = _Point("random_search", f, args)
    best, best_value = point.values, point.one_number(point.outputs_at(point.values))
    for _ in range(tries):
        values = [value + random.uniform(-step, step, shape_of(value)) for value in point.values]
        value = point.one_number(point.outputs_at(values))
        if value > best_value or math.isnan(best_value) > math.isnan(value):
            best, best_value = values, value
    return point.nested(best), best_value


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: str | Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    *,
    _engine: Any = None,
) -> None:
    """Check the derivatives of `f` up to an order against central differences.

    Parameters
    ----------
    f : callable
        Returns numbers, arrays, or nested containers of them, also from plain floats and arrays.
    args : tuple or list
        The positional arguments of `f`: floats, arrays, or nested containers of them. All are differentiated.
    order : int, optional
        Derivatives of the orders 1 to `order` are checked, each against differences of the one before.
    modes : sequence of {"fwd", "rev"}, optional
        Which sweeps to check: forward (`jvp`), backward (`vjp`), or both, in all combinations.
    atol, rtol : float, optional
        What counts as equal: ``abs(a - b) <= atol + rtol * abs(b)``. Default: 1e-6 both, 2e-3 where an argument is
        float32.

    Raises
    ------
    AssertionError
        If a derivative is wrong. It names the mode, the order, the argument, the index and both values.
    TypeError
        If an argument or an output can't be differentiated.
    ValueError
        If `order` is less than 1, or a mode is unknown.

    See Also
    --------
    numerical_grad

    Notes
    -----
    After ``jax.test_util.check_grads``, but every single derivative is checked, not one random direction. The check
    means nothing where `f` has a kink or jumps closer than the step, about 6e-6.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.check_grads(lambda x, y: fp.exp(x) * y, (0.5, 2.0), order=3)
    >>> fp.check_grads(lambda x: x * fp.stop_gradient(x), (3.0,), modes=("rev",))
    Traceback (most recent call last):
    AssertionError: rev, order 1: the derivative of <lambda> by argument 0 is 3.0, but differences give 6.0...
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"check_grads: order must be an integer of at least 1, not {described(order)}")
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or not set(modes) <= {"fwd", "rev"}:
        raise ValueError(f'check_grads: modes must be "fwd", "rev" or both, not {modes!r}')
    point = _Point("check_grads", f, args)
    tolerance = 2e-3 if np.float32 in point.dtypes else 1e-6
    atol, rtol = (tolerance if given is None else given for given in (atol, rtol))
    for mode in modes:
        _check(point, f, order, (mode,), modes, (atol, rtol), _engine)


def _check(
    point: _Point,
    f: Callable[..., Any],
    order: int,
    path: tuple[str, ...],
    modes: tuple[str, ...],
    tolerances: tuple[float, float],
    engine: Any,
) -> None:
    """Check the derivatives of `f` by the last mode of `path`, then the orders above by every mode."""
    derivative = _derivative(f, path[-1], engine)
    blocks = derivative(*point.nested(point.values, construct=True))
    for i, index in point.places():
        here: Any = (..., *index)
        slopes = point.slopes(i, index, None, f)
        for j, (block, slope) in enumerate(zip(blocks, slopes)):
            given = np.asarray(plain(block[i]), np.float64)[here]
            _compare(given, slope, point, (i, index), j, path, tolerances)
    if order > 1:
        for mode in modes:
            _check(point, derivative, order - 1, (*path, mode), modes, tolerances, engine)


def _compare(
    given: Any,
    slope: Any,
    point: _Point,
    place: tuple[int, tuple[int, ...]],
    output: int,
    path: tuple[str, ...],
    tolerances: tuple[float, float],
) -> None:
    """Raise AssertionError for the first number of an output whose derivative by one number is wrong."""
    atol, rtol = tolerances
    wrong = ~np.isclose(given, slope, rtol, atol, equal_nan=True)
    if not wrong.any():
        return
    where = tuple(int(k) for k in np.argwhere(wrong)[0]) if np.ndim(wrong) else ()
    inside = "".join(f"[{k}]" for k in where)
    raise AssertionError(
        f"{' of '.join(reversed(path))}, order {len(path)}: the derivative of {name_of(point.function)} by "
        f"{point.name_of_place(*place)} is {float(np.asarray(given)[where])!r}, but differences give "
        f"{float(np.asarray(slope)[where])!r} (output {output}{inside}; atol={atol}, rtol={rtol})"
    )


def _derivative(f: Callable[..., Any], mode: str, engine: Any) -> Callable[..., Any]:
    """Return a function that gives, for every leaf of the output, one block per leaf of the arguments."""

    def derivative(*args: Any) -> list[list[Any]]:
        call = Call("check_grads", f, args, {}, range(len(args)), engine=engine)
        return call.by_columns() if mode == "fwd" else call.by_rows()

    return derivative


class _Point:
    """A function, the arguments around which it is tried, and its values there on plain numbers."""

    def __init__(self, name: str, f: Callable[..., Any], args: Sequence[Any]):
        if not callable(f):
            raise TypeError(f"{name} takes a function first, not {described(f)}")
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"{name} takes the arguments as a tuple or list, not {described(args)}")
        self.name = name
        self.function = f
        self.nestings: list[Nesting] = []
        self.values: list[Any] = []
        self.dtypes: list[Any] = []
        for position, arg in enumerate(args):
            leaves, nesting = flatten(arg, nones=arg is not None)
            self.nestings.append(nesting)
            for i, leaf in enumerate(leaves):
                value = plain(checked(leaf, f"{name}: argument {position}", nesting, i))
                self.dtypes.append(dtype_of(value) if shape_of(value) else None)
                self.values.append(value.astype(np.float64) if shape_of(value) else value)

    def nested(self, values: Sequence[Any], construct: bool = False) -> tuple[Any, ...]:
        """Put values, one per leaf, together in the nesting of the arguments, in the arguments' dtypes."""
        leaves = [float(value) if dtype is None else value.astype(dtype) for value, dtype in zip(values, self.dtypes)]
        parts = iter(leaves)
        return tuple([nesting.unflatten(itertools.islice(parts, nesting.size), construct) for nesting in self.nestings])

    def outputs_at(self, values: Sequence[Any], f: Callable[..., Any] | None = None) -> list[Any]:
        """Return the flat list of what the function (or `f` instead) gives, on floats and arrays of float64."""
        parts = iter([np.array(value) if shape_of(value) else float(value) for value in values])
        args = [nesting.unflatten(itertools.islice(parts, nesting.size), construct=True) for nesting in self.nestings]
        result = (f or self.function)(*args)
        leaves, nesting = ([None], LEAF) if result is None else flatten(result, nones=True)
        outputs = [as_number(leaf) for leaf in leaves]
        for i, output in enumerate(outputs):
            if output is None:
                raise TypeError(
                    f"{self.name} needs a function that returns numbers or arrays, but {name_of(self.function)} "
                    f"returned {returned(leaves[i])}{nesting.path(i) and ' at ' + nesting.path(i)}"
                )
        return [np.asarray(plain(output), np.float64) for output in outputs]

    def one_number(self, outputs: Sequence[Any]) -> float:
        """Return the one number that the function must have given."""
        if len(outputs) != 1 or shape_of(outputs[0]) != ():
            shapes = ", ".join(str(shape_of(output)) for output in outputs)
            raise TypeError(
                f"{self.name} is only defined for functions that return one number, but {name_of(self.function)} "
                f"returned {len(outputs)}, of the shapes {shapes}"
            )
        return float(outputs[0])

    def places(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield where every number of the arguments stands: the number of its leaf, and its index there."""
        for i, value in enumerate(self.values):
            for index in np.ndindex(shape_of(value)):
                yield i, index

    def name_of_place(self, i: int, index: tuple[int, ...]) -> str:
        """Return a place as one writes it: ``argument 0['weight'][2, 1]``."""
        position = 0
        while i >= self.nestings[position].size:
            i -= self.nestings[position].size
            position += 1
        inside = f"[{', '.join(map(str, index))}]" if index else ""
        return f"argument {position}{self.nestings[position].path(i)}{inside}"

    def slopes(
        self, i: int, index: tuple[int, ...], h: float | None = None, f: Callable[..., Any] | None = None
    ) -> list[Any]:
        """Return the central differences of all outputs along one number of the arguments.

        Without a step given, steps become smaller until a step and its double agree, or rounding takes over.
        """
        if h is not None:
            return self._difference(i, index, h, f)
        x = float(self.values[i][index]) if index else float(self.values[i])
        h = _STEP * max(abs(x), 1.0)
        best, least, failure = None, math.inf, None
        for _ in range(_SHRINKS):
            try:
                slopes, coarse = self._difference(i, index, h, f), self._difference(i, index, 2.0 * h, f)
            except (ValueError, ArithmeticError) as error:  # plain Python's way to say: out of the domain
                failure = error
            else:
                gap = max((_gap(slope, other) for slope, other in zip(slopes, coarse)), default=0.0)
                if best is None or gap < least:
                    best, least = slopes, gap
                elif least < math.inf:
                    break
                if least <= _AGREE:
                    break
            h /= 8.0
        if best is None and failure is not None:
            raise failure
        return best or []

    def _difference(self, i: int, index: tuple[int, ...], h: float, f: Callable[..., Any] | None) -> list[Any]:
        steps, outputs = [], []
        for sign in (1.0, -1.0):
            values = list(self.values)
            if index:
                values[i] = values[i].copy()
                values[i][index] += sign * h
                steps.append(float(values[i][index]))
            else:
                values[i] = values[i] + sign * h
                steps.append(values[i])
            outputs.append(self.outputs_at(values, f))
        with np.errstate(all="ignore"):
            return [(above - below) / (steps[0] - steps[1]) for above, below in zip(*outputs)]


def _gap(slope: Any, coarse: Any) -> float:
    """Return how far apart two differences are, relative to their size; infinity if they are not finite."""
    with np.errstate(all="ignore"):
        gap = np.max(np.abs(slope - coarse) / np.maximum(np.abs(slope), 1.0), initial=0.0)
    return float(gap) if math.isfinite(gap) else math.inf
