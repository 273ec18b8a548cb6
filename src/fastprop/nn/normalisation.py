"""Layers that bring numbers to one size: over the features of an example, over its channels, or over all examples."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastprop.circuits.lanes import is_in_lanes, lane_mean, lane_sum
from fastprop.engine.functions import hypot, power, sqrt
from fastprop.engine.functions import sum as total
from fastprop.engine.tape import Array
from fastprop.gates.items import as_item, described
from fastprop.gates.reductions import norm, std
from fastprop.gates.shapes import concatenate, pad, reshape, stack
from fastprop.handles.nesting import shape_of
from fastprop.nn.init import float_dtype, whole
from fastprop.nn.module import Module

__all__ = ["BatchNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LayerNorm(Module):
    """The numbers of one example less their mean, over their standard deviation; then a weight and a bias for each.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes, over which mean and variance are taken.
    eps : float
        What is added to the variance, more than 0.
    elementwise_affine : bool
        Whether there are weights, which begin as 1.
    bias : bool
        Whether there are biases, which begin as 0, beside them.
    dtype : dtype, optional
        float64, or float32.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.LayerNorm(3)([1.0, 2.0, 3.0]).value.round(4)
    array([-1.2247,  0.    ,  1.2247])
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
    ):
        self.normalized_shape, self.eps = last_axes(normalized_shape), checked_eps(self, eps)
        affine, dtype = elementwise_affine, float_dtype(dtype)
        self.weight: Any = Array(np.ones(self.normalized_shape, dtype)) if affine else None
        self.bias: Any = Array(np.zeros(self.normalized_shape, dtype)) if affine and bias else None

    def __call__(self, x: Any) -> Any:
        """Normalise the numbers along the last axes."""
        flat, shape = in_a_row(self, x, self.normalized_shape)
        if 0 in shape:
            return reshape(flat, shape)
        centred = flat - flat.mean(axis=-1, keepdims=True)
        spread = hypot(std(flat, axis=-1, keepdims=True), math.sqrt(self.eps))  # no square that would overflow
        return affine_of(reshape(centred / spread, shape), self.weight, self.bias)


class RMSNorm(Module):
    """The numbers of one example over the root of the mean of their squares; then a weight for each.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes, over which the mean is taken.
    eps : float, optional
        What is added to the mean of squares; by default the least by which numbers of the dtype differ from 1.
    elementwise_affine : bool
        Whether there are weights, which begin as 1.
    dtype : dtype, optional
        float64, or float32.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.RMSNorm(2)([3.0, 4.0]).value.round(4)
    array([0.8485, 1.1314])
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike | None = None,
    ):
        dtype = float_dtype(dtype)
        least = float(np.finfo(dtype).eps)
        self.normalized_shape, self.eps = last_axes(normalized_shape), checked_eps(self, least if eps is None else eps)
        self.weight: Any = Array(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None

    def __call__(self, x: Any) -> Any:
        """Normalise the numbers along the last axes."""
        flat, shape = in_a_row(self, x, self.normalized_shape)
        if 0 in shape:
            return reshape(flat, shape)
        root = norm(flat, axis=-1, keepdims=True) / math.sqrt(shape_of(flat)[-1])
        return affine_of(reshape(flat / hypot(root, math.sqrt(self.eps)), shape), self.weight, None)


class BatchNorm(Module):
    """The numbers of every channel less their mean, over their standard deviation, across the lanes of a vmap.

    While it learns, mean and variance are those of the batch: of all lanes, and all places in a channel. The running
    ones, which it uses afterwards (`Module.eval`), are buffers: ``model.apply(params, x, buffers=buffers)`` gives the
    new ones back beside the output, and `Module.load_buffers` keeps them. Called otherwise while it learns, it warns:
    they stay as they are.

    Parameters
    ----------
    num_features : int
        How many channels: the length of the first axis of an example.
    eps : float
        What is added to the variance, more than 0.
    momentum : float
        The share of the new in the running mean and variance.
    affine : bool
        Whether there are a weight, which begins as 1, and a bias, which begins as 0, for every channel.
    dtype : dtype, optional
        float64, or float32.

    Attributes
    ----------
    running_mean, running_var : ndarray
        Of shape (num_features,); the variance is the unbiased one.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> layer = fp.nn.BatchNorm(1)
    >>> def loss(params, buffers, x):
    ...     y, buffers = layer.apply(params, x, buffers=buffers)
    ...     return fp.sum(y * y), buffers
    >>> batch = fp.vmap(loss, in_axes=(None, None, 0), reduce="mean")
    >>> step = fp.compile(fp.value_and_grad(batch, has_aux=True))
    >>> (value, buffers), gradients = step(layer.params(), layer.buffers(), np.array([[1.0], [2.0], [3.0]]))
    >>> layer.load_buffers(buffers)
    >>> layer.running_mean, layer.running_var
    (array([0.2]), array([1.]))
    >>> layer.eval()([0.2]).value
    array([0.])
    """

    buffer_names = ("running_mean", "running_var")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: DTypeLike | None = None,
    ):
        whole("BatchNorm", num_features=num_features)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"BatchNorm with momentum {momentum}; expected the new one's share, from 0 to 1")
        self.eps, self.momentum, dtype = checked_eps(self, eps), momentum, float_dtype(dtype)
        self.weight: Any = Array(np.ones(num_features, dtype)) if affine else None
        self.bias: Any = Array(np.zeros(num_features, dtype)) if affine else None
        self.running_mean: Any = np.zeros(num_features, dtype)
        self.running_var: Any = np.ones(num_features, dtype)

    def __call__(self, x: Any) -> Any:
        """Normalise one example, whose first axis are the channels; while it learns, in the body of a vmap.

        Raises
        ------
        ValueError
            If it learns outside of a vmap, or from one number of a channel, which has no variance.

        Warns
        -----
        UserWarning
            If it learns, and its running mean and variance don't, as nobody asks for them.
        """
        x = as_item(x)
        shape, channels = shape_of(x), shape_of(self.running_mean)[0]
        if not shape or shape[0] != channels:
            raise ValueError(f"BatchNorm of {described(x)}; expected {channels} channels along the first axis")
        rows = reshape(x, (channels, math.prod(shape[1:])))
        centred, variance = self._of_batch(rows) if self.training else (rows - self.running_mean[:, None], None)
        spread = sqrt((self.running_var if variance is None else variance) + self.eps)
        column = None if self.weight is None else self.weight[:, None]
        result = affine_of(centred / spread[:, None], column, None if self.bias is None else self.bias[:, None])
        return reshape(result, shape)

    def _of_batch(self, rows: Any) -> tuple[Any, Any]:
        """Return numbers less the batch's mean, and the batch's variance; note what comes of them."""
        if not is_in_lanes():
            raise ValueError(
                "BatchNorm that learns takes mean and variance across the lanes of the vmap around it, and there is "
                "none: call it in the body of fastprop.vmap, with one example; or model.eval() uses the running ones"
            )
        sums = lane_sum(concatenate([rows.mean(axis=1), np.ones(1)]))
        lanes, first = sums[-1], sums[:-1] / sums[-1]
        count = lanes * shape_of(rows)[1]
        if count == 1.0:
            raise ValueError("BatchNorm learns from one example, which has no variance; expected a batch, or eval()")
        centred = rows - first[:, None]
        moments = lane_mean(stack([centred.mean(axis=1), (centred * centred).mean(axis=1)]))
        rest = moments[0]  # what the rounding of the first mean has left
        variance = moments[1] - rest * rest
        if self.keeps:
            unbiased = variance * (count / (count - 1.0))
            for name, new in (("running_mean", first + rest), ("running_var", unbiased)):
                setattr(self, name, (1.0 - self.momentum) * getattr(self, name) + self.momentum * new)
        else:
            warnings.warn(
                "BatchNorm learns, but its running mean and variance, which eval() uses, do not: let "
                "model.apply(params, x, buffers=buffers) give new ones, and model.load_buffers keep them",
                UserWarning,
                stacklevel=3,
            )
        return centred - rest[:, None], variance


class LocalResponseNorm(Module):
    """Every number over a power of what the channels next to it have in its place.

    ``x / (k + alpha / size * Σ x²) ** beta``, the sum over `size` channels around its own, of which an even size has
    one more before; beyond the first and the last channel there are zeros.

    Parameters
    ----------
    size : int
        How many channels are taken together.
    alpha, beta, k : float
        The factor, the exponent and the summand.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.LocalResponseNorm(2, alpha=2.0, beta=1.0)([[1.0], [2.0]])
    array([[0.5       ],
           [0.33333333]])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        if size < 1:
            raise ValueError(f"LocalResponseNorm over {size} channels; expected at least one")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def __call__(self, x: Any) -> Any:
        """Normalise one example, whose first axis are the channels."""
        x = as_item(x)
        shape = shape_of(x)
        if not shape:
            raise ValueError(f"LocalResponseNorm of {described(x)}; expected channels along the first axis")
        around = pad(x * x, [(self.size // 2, (self.size - 1) // 2), *[(0, 0)] * (len(shape) - 1)])
        sums = total([around[i : i + shape[0]] for i in range(self.size)], axis=0)
        return x / power(self.k + self.alpha / self.size * sums, self.beta)


# For all of them ------------------------------------------------------------------------------------------------------


def last_axes(shape: Any) -> tuple[int, ...]:
    """Return lengths of axes, of which one may be given as a number."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


def checked_eps(layer: Any, eps: float) -> float:
    """Return what keeps a layer from dividing by 0: ValueError if it does not."""
    if not 0.0 < eps < math.inf:
        raise ValueError(f"{type(layer).__name__} with eps {eps}; expected more than 0, for equal numbers")
    return eps


def in_a_row(layer: Any, x: Any, last: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """Return a block with its last axes made one, and its shape."""
    x = as_item(x)
    shape = shape_of(x)
    if len(shape) < len(last) or shape[len(shape) - len(last) :] != last or not last:
        raise ValueError(
            f"{type(layer).__name__} of {described(x)}; expected the shape (…, {', '.join(map(str, last))})"
        )
    return reshape(x, (*shape[: len(shape) - len(last)], math.prod(last))), shape


def affine_of(x: Any, weight: Any, bias: Any) -> Any:
    """Return numbers times weights plus biases, where there are any."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
