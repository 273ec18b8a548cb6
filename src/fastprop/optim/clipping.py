"""Clipping: gradients made smaller before a step, all together by their norm or each by its value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.program import current_instruction_set
from fastprop.engine.update import divided, sum_of_squares
from fastprop.gates import reductions
from fastprop.gates.numbers import as_real
from fastprop.gates.shapes import stack
from fastprop.handles.nesting import Nesting, as_number, described, flatten, is_handle, shape_of

from .parameters import leaves_of

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_norm", "clip_value", "norm"]

_READ = (np.dtype(np.float32), np.dtype(np.float64))
_LEAST, _MOST = 1e-270, 1e300  # sums of squares between these have lost nothing


def norm(grads: Any) -> Any:
    """Return the Euclidean norm of all numbers in a nested container; their squares need not be finite.

    Parameters
    ----------
    grads : nested containers of numbers, arrays, Units and Arrays
        None in it counts as nothing.

    Returns
    -------
    float or Unit
        In float64, whatever the arrays are; of Units and Arrays, such as those of a step that is compiled, recorded.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.optim.norm([3.0, {"b": 4.0}])
    5.0
    """
    leaves, _ = _leaves("norm", grads)
    if any(map(is_handle, leaves)):
        return _length(leaves)
    unit, root = _measured(leaves)
    return unit * root


def clip_norm(grads: Any, max_norm: float) -> Any:
    """Return gradients in the same direction, whose norm is `max_norm` if it was greater.

    Parameters
    ----------
    grads : nested containers of numbers, arrays, Units and Arrays
        None in it stays.
    max_norm : float
        0 makes zeros of everything. Gradients that are not finite are left for the optimizer to refuse.

    Returns
    -------
    nested containers of numbers and arrays
        Nested as `grads`, the arrays in their dtypes.

    Raises
    ------
    ValueError
        If `max_norm` is below 0 or NaN.

    See Also
    --------
    clip_grad_norm_ : the same for Units and Arrays.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.optim.clip_norm({"w": 3.0, "b": 4.0}, 1.0)
    {'w': 0.6, 'b': 0.8}
    """
    leaves, nesting = _leaves("clip_norm", grads)
    limit = _limit("clip_norm", "max_norm", max_norm)
    return nesting.unflatten(_shortened(leaves, limit) if any(map(is_handle, leaves)) else _clipped(leaves, limit)[0])


def clip_value(grads: Any, clip_value: float) -> Any:
    """Return gradients of which none is greater than `clip_value`, nor below minus that.

    Parameters
    ----------
    grads : nested containers of numbers, arrays, Units and Arrays
        None in it stays.
    clip_value : float
        The limit; NaN stays what it is, for the optimizer to refuse.

    Returns
    -------
    nested containers of numbers and arrays
        Nested as `grads`, the arrays in their dtypes.

    Raises
    ------
    ValueError
        If `clip_value` is below 0 or NaN.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.optim.clip_value([3.0, -0.5], 1.0)
    [1.0, -0.5]
    """
    limit = _limit("clip_value", "clip_value", clip_value)
    leaves, nesting = _leaves("clip_value", grads)
    return nesting.unflatten(_within(leaf, limit) for leaf in leaves)


def clip_grad_norm_(parameters: Any, max_norm: float) -> float:
    """Clip the gradients of Units and Arrays, all together: PyTorch's function.

    Parameters
    ----------
    parameters : Units and Arrays, or what holds them
        As an optimizer takes them.
    max_norm : float
        What the norm of all gradients is at most afterwards.

    Returns
    -------
    float
        What it was before.

    Examples
    --------
    >>> import fastprop as fp
    >>> x, y = fp.Unit(0.0, grad=3.0), fp.Unit(0.0, grad=4.0)
    >>> fp.optim.clip_grad_norm_([x, y], 1.0)
    5.0
    >>> x.grad, y.grad
    (0.6, 0.8)
    """
    limit = _limit("clip_grad_norm_", "max_norm", max_norm)
    leaves = leaves_of(parameters, "clip_grad_norm_")
    clipped, before = _clipped([leaf.grad for leaf in leaves], limit)
    for leaf, grad in zip(leaves, clipped):
        leaf.grad = grad
    return before


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Clip the gradients of Units and Arrays, number by number: PyTorch's function.

    Parameters
    ----------
    parameters : Units and Arrays, or what holds them
        As an optimizer takes them.
    clip_value : float
        The limit.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Unit(0.0, grad=-3.0)
    >>> fp.optim.clip_grad_value_([x], 1.0)
    >>> x.grad
    -1.0
    """
    limit = _limit("clip_grad_value_", "clip_value", clip_value)
    for leaf in leaves_of(parameters, "clip_grad_value_"):
        leaf.grad = _within(leaf.grad, limit)


def _leaves(function: str, grads: Any) -> tuple[list[Any], Nesting]:
    """Return the gradients in a nest, and the nest; TypeError if one of them is none."""
    leaves, nesting = flatten(grads)
    for k, leaf in enumerate(leaves):
        usual = type(leaf) is np.ndarray and leaf.dtype in _READ
        if not (usual or leaf is None) and as_number(leaf) is None:
            raise TypeError(f"{function}: grads{nesting.path(k)} is {described(leaf)}; expected numbers and arrays")
    return leaves, nesting


def _length(grads: list[Any]) -> Any:
    """Return the norm of gradients some of which are recorded, by gates."""
    found = [grad for grad in grads if grad is not None]
    return reductions.norm(stack([reductions.norm(grad) if shape_of(grad) else gates.absolute(grad) for grad in found]))


def _shortened(grads: list[Any], limit: float) -> list[Any]:
    """Return such gradients with a norm within the limit; what is not finite is left as it is, as in `_clipped`."""
    before = _length(grads)
    longer = (before > limit) & (before < math.inf)
    share = gates.where(longer, limit / gates.where(longer, before, 1.0), 1.0)
    return [None if grad is None else grad * share for grad in grads]


def _in_line(grad: Any) -> Any:
    """Return a gradient as an array that the engine reads."""
    if type(grad) is np.ndarray and grad.flags.carray and grad.dtype in _READ:
        return grad
    array = np.asarray(grad)
    return np.ascontiguousarray(array, np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64)


def _measured(grads: list[Any]) -> tuple[float, float]:
    """Return a power of 2, and the norm divided by it, which has no overflow and loses nothing to 0."""
    chosen = current_instruction_set()
    blocks = [_in_line(grad) for grad in grads if grad is not None]
    total = sum([sum_of_squares(block, chosen) for block in blocks])
    if _LEAST < total < _MOST:
        return 1.0, math.sqrt(total)
    magnitudes = [float(np.abs(block).max()) for block in blocks if block.size]
    most = max(magnitudes, key=lambda x: math.inf if math.isnan(x) else x, default=0.0)
    if most == 0.0 or not math.isfinite(most):
        return most, 1.0
    unit = math.ldexp(1.0, math.frexp(most)[1] - 1)
    return unit, math.sqrt(sum(float(np.sum(np.square(block / np.float64(unit)))) for block in blocks))


def _clipped(grads: list[Any], limit: float) -> tuple[list[Any], float]:
    """Return gradients with a norm within the limit, and what it was before."""
    unit, root = _measured(grads)
    before = unit * root
    if not math.isfinite(unit) or before <= limit:
        return grads, before
    if limit == 0.0:
        return [_scaled(grad, math.inf) for grad in grads], before
    if unit != 1.0:
        grads = [_scaled(grad, unit) for grad in grads]
    return [_scaled(grad, root / limit) for grad in grads], before


def _scaled(grad: Any, by: float) -> Any:
    """Return a gradient divided by a number."""
    if grad is None:
        return None
    return divided(_in_line(grad), by, current_instruction_set()) if np.shape(grad) else float(grad) / by


def _within(grad: Any, limit: float) -> Any:
    """Return a gradient with every number within the limit; NaN stays."""
    if grad is None:
        return None
    if is_handle(grad):
        return gates.clip(grad, -limit, limit)
    clipped = np.clip(np.asarray(grad), -limit, limit)
    return clipped if np.shape(grad) else float(clipped)


def _limit(function: str, name: str, value: Any) -> float:
    limit = as_real(value)
    if limit is None:
        raise TypeError(f"{function}: {name} is {value!r:.60} ({type(value).__name__}); expected a number")
    if not limit >= 0.0:
        raise ValueError(f"{function}: {name} is {limit}; expected 0 or more")
    return limit
