"""First weights: functions ``(shape, rng, dtype)`` that give an array.

The axes of a shape are PyTorch's: (out, in), (channels out, channels in, kernel …). The fan-in is the number of inputs
of one neuron, which is the product of all axes but the first; the fan-out the product of all but the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastprop.handles.nesting import is_handle
from fastprop.hints import let_hint

__all__ = [
    "Initialiser",
    "Random",
    "constant",
    "fan_in_uniform",
    "fans",
    "float_dtype",
    "generator",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "named",
    "normal",
    "ones",
    "orthogonal",
    "uniform",
    "whole",
    "zeros",
]

Floats = NDArray[Any]
Random = None | int | np.random.Generator
"""Where random numbers come from: a Generator, which is advanced; a seed; or None, for others every time."""

Initialiser = str | Callable[..., Floats]
"""The name of a function of this module, or any function ``(shape, rng, dtype)``."""


def named(init: Initialiser) -> Callable[..., Floats]:
    """Return the function of a name; a function as it is."""
    if callable(init):
        return init
    if init not in _NAMES:
        raise ValueError(f"initialiser {init!r}; expected one of {', '.join(sorted(_NAMES))}, or a function")
    return _NAMES[init]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return the fan-in and the fan-out of weights.

    Examples
    --------
    >>> from fastprop.nn import init
    >>> init.fans((8, 3, 5, 5))
    (75, 200)
    """
    if any(length < 0 for length in shape):
        raise ValueError(f"weights of shape {tuple(shape)}; expected lengths from 0 on")
    if len(shape) < 2:
        raise ValueError(f"weights of shape {tuple(shape)}; expected (out, in, …): one axis has no fan-in and fan-out")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def float_dtype(dtype: DTypeLike | None) -> np.dtype[Any]:
    """Return float64 or float32: TypeError if it is neither; None stands for float64."""
    found = np.dtype(np.float64 if dtype is None else dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"parameters of dtype {found}; expected float64 or float32")
    return found


def generator(rng: Random) -> np.random.Generator:
    """Return where random numbers come from: TypeError or ValueError if it is nothing of the kind.

    Examples
    --------
    >>> from fastprop.nn import init
    >>> bool(init.generator(3).uniform() == init.generator(3).uniform())
    True
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng is {rng!r:.60}; expected a seed from 0 on, a numpy.random.Generator or None") from None


def whole(layer: str, **lengths: Any) -> None:
    """Raise TypeError that names the first length that is no whole number."""
    for name, length in lengths.items():
        if isinstance(length, bool) or is_handle(length) or not hasattr(length, "__index__"):
            raise TypeError(f"{layer}: {name} is {length!r:.60} ({type(length).__name__}); expected a whole number")


def zeros(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None) -> Floats:
    """Return zeros: right for biases; as weights before a hidden layer they make all its neurons learn the same."""
    return np.zeros(shape, float_dtype(dtype))


def ones(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None) -> Floats:
    """Return ones."""
    return np.ones(shape, float_dtype(dtype))


def constant(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, value: float) -> Floats:
    """Return the same number everywhere."""
    return np.full(shape, value, float_dtype(dtype))


def uniform(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, low: float = 0.0, high: float = 1.0
) -> Floats:
    """Return numbers of a uniform distribution.

    Examples
    --------
    >>> from fastprop.nn import init
    >>> init.uniform((2, 2), rng=0, low=-1.0).round(3)
    array([[ 0.274, -0.46 ],
           [-0.918, -0.967]])
    """
    return generator(rng).uniform(low, high, shape).astype(float_dtype(dtype))


def normal(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, mean: float = 0.0, std: float = 1.0
) -> Floats:
    """Return numbers of a normal distribution."""
    return generator(rng).normal(mean, std, shape).astype(float_dtype(dtype))


def fan_in_uniform(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None) -> Floats:
    """Return numbers between ±1/√fan_in, as PyTorch's layers have them."""
    bound = _root(1.0, fans(shape)[0])
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def he_normal(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, gain: float = math.sqrt(2.0)
) -> Floats:
    """Return normal numbers of the standard deviation gain/√fan_in: He's, or Kaiming's, for relu.

    Examples
    --------
    >>> from fastprop.nn import init
    >>> round(float(init.he_normal((1000, 50), rng=0).std()), 2)
    0.2
    """
    return normal(shape, rng, dtype, std=_root(gain, fans(shape)[0]))


def he_uniform(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, gain: float = math.sqrt(2.0)
) -> Floats:
    """Return uniform numbers of the standard deviation gain/√fan_in."""
    bound = math.sqrt(3.0) * _root(gain, fans(shape)[0])
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def glorot_normal(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, gain: float = 1.0
) -> Floats:
    """Return normal numbers of the variance 2 gain² / (fan_in + fan_out): Glorot's, or Xavier's, for tanh."""
    return normal(shape, rng, dtype, std=_root(math.sqrt(2.0) * gain, sum(fans(shape))))


def glorot_uniform(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, gain: float = 1.0
) -> Floats:
    """Return uniform numbers of the variance 2 gain² / (fan_in + fan_out)."""
    bound = _root(math.sqrt(6.0) * gain, sum(fans(shape)))
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def lecun_normal(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None) -> Floats:
    """Return normal numbers of the variance 1 / fan_in: LeCun's."""
    return normal(shape, rng, dtype, std=_root(1.0, fans(shape)[0]))


def lecun_uniform(shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None) -> Floats:
    """Return uniform numbers of the variance 1 / fan_in."""
    bound = _root(math.sqrt(3.0), fans(shape)[0])
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def orthogonal(
    shape: Sequence[int], rng: Random = None, dtype: DTypeLike | None = None, *, gain: float = 1.0
) -> Floats:
    """Return rows (or, of tall weights, columns) that are orthonormal, times a gain.

    Examples
    --------
    >>> from fastprop.nn import init
    >>> w = init.orthogonal((2, 3), rng=0)
    >>> (w @ w.T).round(12) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """
    fans(shape)
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = generator(rng).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)  # so that it is uniformly distributed; the sign of 0 is +
    return np.asarray(gain * (q if rows >= columns else q.T)).reshape(shape).astype(float_dtype(dtype))


def _root(gain: float, fan: int) -> float:
    """Return gain/√fan; of a layer without inputs, which has no weights, 0."""
    return gain / math.sqrt(fan) if fan else 0.0


_NAMES: dict[str, Callable[..., Floats]] = {
    function.__name__: function
    for function in (
        *(zeros, ones, uniform, normal, fan_in_uniform, he_normal, he_uniform),
        *(glorot_normal, glorot_uniform, lecun_normal, lecun_uniform, orthogonal),
    )
}

let_hint(__name__)
