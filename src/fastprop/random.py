"""Random numbers that a key decides: the same wherever, whenever and in whatever order they are drawn.

There is no hidden state: a number is a function of its key, of the lanes of the vmaps around it, and of its place in
the shape that is asked for. The same key gives the same numbers again; another one, say of the step of a training, is
made by `fold_in`. So in a compiled function the key, or the step that is folded into it, is an argument: a key that is
written there gives the same numbers at every call. They are the numbers of SplitMix64, which `gates.random_integer`
counts through without a state.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.circuits.lanes import in_lanes
from fastprop.circuits.trace import current_trace
from fastprop.gates import is_condition
from fastprop.gates.numbers import as_real, as_reals, shape_of
from fastprop.handles.nesting import described, is_handle
from fastprop.hints import let_hint, let_options_hint

__all__ = ["bernoulli", "fold_in", "key", "normal", "split", "uniform"]

let_hint(__name__)

LARGEST = 2**53 - 1  # of keys: float64 holds all integers up to here


def key(seed: int) -> int:
    """Return a seed as a key: an integer from 0 to 2**53 - 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.random.key(7)
    7
    """
    found: int = _checked(seed, "key", "seed")
    return found


def fold_in(key: Any, data: Any) -> Any:
    """Return a key that is made of a key and an integer, such as the number of a step.

    Parameters
    ----------
    key, data : int, Unit
        Integers from 0 to 2**53 - 1, given or computed.

    Returns
    -------
    int or Unit
        A key that has nothing to do with those of other data.

    Raises
    ------
    ValueError, TypeError
        If `key` or `data` is a plain number, but no such integer.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.random.fold_in(7, 1) != fp.random.fold_in(7, 2)
    True
    """
    return _folded(_checked(key, "fold_in"), _checked(data, "fold_in", "data"))


def split(key: Any, num: int = 2) -> Any:
    """Return several keys that are made of one: ``fold_in(key, 0)``, ``fold_in(key, 1)`` and so on.

    Parameters
    ----------
    key : int or Unit
        An integer from 0 to 2**53 - 1.
    num : int, optional
        How many.

    Returns
    -------
    ndarray of int, or Array
        One key per element.

    Examples
    --------
    >>> import fastprop as fp
    >>> weights, biases = fp.random.split(7)
    >>> bool(weights == fp.random.fold_in(7, 0))
    True
    """
    counters = np.arange(*_shape((num,), "split: num"), dtype=np.float64)
    found = gates.random_integer(_as_number(_checked(key, "split")), counters)
    return found.astype(np.int64) if isinstance(found, np.ndarray) else found


def uniform(key: Any, shape: Any = (), minval: Any = 0.0, maxval: Any = 1.0) -> Any:
    """Return numbers that are spread evenly over an interval, whose upper end they do not reach but by rounding.

    Parameters
    ----------
    key : int or Unit
        An integer from 0 to 2**53 - 1.
    shape : int or tuple of int, optional
        How many: one number by default.
    minval, maxval : float, array_like, Unit or Array, optional
        The ends, which broadcast to the shape.

    Returns
    -------
    float, ndarray, Unit or Array
        The same for the same key; another number in every lane of a vmap, as the number of the lane is folded into the
        key. Plain if key, ends and lane are.

    Raises
    ------
    ValueError, TypeError
        If `key` is a plain number, but no such integer.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> noise = fp.random.uniform(7, (2, 3))
    >>> noise.shape, bool(np.all((0.0 <= noise) & (noise < 1.0)))
    ((2, 3), True)
    >>> fp.vmap(lambda x: x + fp.random.uniform(7))(np.zeros(2)).tolist() == [
    ...     fp.random.uniform(fp.random.fold_in(7, lane)) for lane in range(2)
    ... ]
    True
    """
    size = _shape(shape, "uniform: shape")
    found = _fractions(_checked(key, "uniform"), size)
    if _is_plain(minval, 0.0) and _is_plain(maxval, 1.0):
        return found
    low, high = _fitting(minval, size, "uniform: minval"), _fitting(maxval, size, "uniform: maxval")
    return gates.add(low, gates.multiply(found, gates.subtract(high, low)))


def normal(key: Any, shape: Any = ()) -> Any:
    """Return numbers of the normal distribution with mean 0 and variance 1, by Box and Muller's formula.

    Parameters
    ----------
    key : int or Unit
        An integer from 0 to 2**53 - 1.
    shape : int or tuple of int, optional
        How many: one number by default.

    Returns
    -------
    float, ndarray, Unit or Array
        As of `uniform`.

    Raises
    ------
    ValueError, TypeError
        If `key` is a plain number, but no such integer.

    Examples
    --------
    >>> import fastprop as fp
    >>> weights = fp.random.normal(7, (100, 100))
    >>> bool(abs(weights.mean()) < 0.05 and abs(weights.std() - 1.0) < 0.05)
    True
    """
    size = _shape(shape, "normal: shape")
    both = _fractions(_checked(key, "normal"), (2, *size))
    radius = gates.sqrt(gates.multiply(-2.0, gates.log1p(gates.negative(both[0]))))
    return gates.multiply(radius, gates.cos(gates.multiply(2.0 * math.pi, both[1])))


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None) -> Any:
    """Return 1 with probability `p`, else 0; with derivative 0.

    Parameters
    ----------
    key : int or Unit
        An integer from 0 to 2**53 - 1.
    p : float, array_like, Unit or Array, optional
        The probability of a 1.
    shape : int or tuple of int, optional
        How many, by default in the shape of `p`, which broadcasts to it.

    Returns
    -------
    float, ndarray, Unit or Array
        As of `uniform`. A traced key or `p` that is none gives NaN.

    Raises
    ------
    ValueError, TypeError
        If `key` is a plain number, but no such integer; if a plain `p` is outside of 0 to 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> bool(abs(fp.random.bernoulli(7, 0.25, 10_000).mean() - 0.25) < 0.02)
    True
    """
    given = _checked(key, "bernoulli")
    size = None if shape is None else _shape(shape, "bernoulli: shape")
    chance = _fitting(p, size, "bernoulli: p")
    if not is_handle(chance) and not np.all((chance >= 0.0) & (chance <= 1.0)):
        raise ValueError(f"bernoulli: p is {p!r:.60}; expected a probability, from 0 to 1")
    drawn = _fractions(given, shape_of(chance) if size is None else size)
    found = gates.where(drawn < chance, 1.0, 0.0)
    if is_handle(given):  # of a number that is no key, all that is drawn is NaN
        found = gates.where(drawn >= 0.0, found, math.nan)
    return gates.where((chance >= 0.0) & (chance <= 1.0), found, math.nan) if is_handle(chance) else found


def _fractions(key: Any, shape: tuple[int, ...]) -> Any:
    """Return numbers from 0 to below 1: those of a key, with the numbers of the lanes folded in, counted from -1 down.

    `fold_in` counts upwards, so that no key is a number that was drawn, too.
    """
    for lane in in_lanes():
        key = _folded(key, lane)
    counters = -1.0 - np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    found = gates.multiply(2.0**-53, gates.random_integer(_as_number(key), counters if shape else -1.0))
    trace = current_trace()
    if trace is None or trace.recording.dtype != np.float32:
        return found
    return gates.where(found >= 1.0, 0.0, found)  # which float32 may round up to 1: as on a circle, that is 0


def _folded(key: Any, data: Any) -> Any:
    found = gates.random_integer(_as_number(key), _as_number(data))
    return int(found) if isinstance(found, float) else found


def _as_number(x: Any) -> Any:
    return float(x) if isinstance(x, int) else x


def _is_plain(x: Any, value: float) -> bool:
    return isinstance(x, (int, float)) and x == value


def _checked(key: Any, name: str, what: str = "key") -> Any:
    """Return a key as an int, or as the Unit that it is; TypeError or ValueError if it is neither."""
    given = f"{name}: {what} is {described(key)}" if as_real(key) is None else f"{name}: {what} is {key!r:.60}"
    if is_handle(key) and not key.shape:
        return key
    if is_handle(key) or shape_of(key):
        raise ValueError(f"{name}: {what} has shape {key.shape}; expected one integer: fp.vmap draws with many keys")
    if key is None:
        raise TypeError(
            f"{given}; expected an integer, such as fastprop.random.key(0): a Module that draws says draws = True, and "
            "draws by self.key, which apply(params, x, key=…) and fit give it while it is training"
        )
    real = None if is_condition(key) or isinstance(key, np.bool_) else as_real(key)
    if real is None:
        raise TypeError(f"{given}; expected an integer from 0 to 2**53 - 1")
    if not (0.0 <= real <= LARGEST and real == math.floor(real)):
        raise ValueError(f"{given}; expected an integer from 0 to 2**53 - 1")
    return int(key)


def _shape(shape: Any, what: str) -> tuple[int, ...]:
    """Return a shape, or a length, as a tuple; TypeError or ValueError if it is none."""
    lengths = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    given = lengths[0] if what.endswith("num") else shape
    try:
        if any(isinstance(n, (bool, np.bool_)) for n in lengths):
            raise TypeError
        found = tuple(map(operator.index, lengths))
    except TypeError:
        raise TypeError(f"{what} is {given!r:.60}; expected an integer, or a tuple of them") from None
    if any(n < 0 for n in found):
        raise ValueError(f"{what} is {given!r:.60}; expected lengths of 0 or more")
    return found


def _fitting(x: Any, shape: tuple[int, ...] | None, what: str) -> Any:
    """Return a number or an array that broadcasts to a shape, if one is given; TypeError or ValueError if none is."""
    found = x if is_handle(x) else as_real(x)
    if found is None:
        if not isinstance(x, (list, tuple)) and not shape_of(x):
            raise TypeError(f"{what} is {described(x)}; expected a real number, or an array of them")
        found = as_reals(x, what)
    own = shape_of(found)
    try:
        fits = shape is None or np.broadcast_shapes(own, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{what} has shape {own}, which does not broadcast to the shape {shape} that is asked for")
    return found


let_options_hint(__name__, "of random")
