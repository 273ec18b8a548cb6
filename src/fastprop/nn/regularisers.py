"""What is added to a loss to keep weights small, or is done to them after a step.

All take the parameters as `Module.params` nests them (numbers, arrays, handles or traced values), a Module, or an
array. Biases, which are named "b" or have "bias" in their names, are left out. In a loss that is a function of
``params``, give them these, or ``self`` in a method of ``model.bound(params)``: those of ``model`` are its own leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastprop.engine.functions import absolute
from fastprop.engine.functions import sum as total
from fastprop.gates.items import as_item
from fastprop.gates.reductions import norm
from fastprop.gates.shapes import moveaxis, reshape
from fastprop.handles.nesting import shape_of
from fastprop.nn.module import Module

__all__ = ["elastic_net", "group_sparsity", "l1", "l2", "max_norm"]


def l1(params: Any, strength: float) -> Any:
    """Return strength · Σ |w|; the slope at 0 is 0.

    Examples
    --------
    >>> from fastprop.nn import regularisers
    >>> regularisers.l1({"weight": [[1.0, -2.0]], "bias": [5.0]}, 0.1)
    0.30000000000000004
    """
    return _strength("l1", strength) * _sum([total(absolute(w)) for w in _weights(params)])


def l2(params: Any, strength: float) -> Any:
    """Return ½ · strength · Σ w².

    Examples
    --------
    >>> from fastprop.nn import regularisers
    >>> regularisers.l2({"weight": [[1.0, -2.0]], "bias": [5.0]}, 0.1)
    0.25
    """
    return 0.5 * _strength("l2", strength) * _sum([total(w * w) for w in _weights(params)])


def elastic_net(params: Any, l1_strength: float, l2_strength: float) -> Any:
    """Return the sum of what `l1` and `l2` give.

    Examples
    --------
    >>> from fastprop.nn import regularisers
    >>> regularisers.elastic_net({"weight": [[1.0, -2.0]], "bias": [5.0]}, 1.0, 0.1)
    3.25
    """
    return l1(params, l1_strength) + l2(params, l2_strength)


def group_sparsity(params: Any, strength: float, axis: int = 0) -> Any:
    """Return strength · Σ ‖g‖ over groups g of weights, which it brings to 0 as wholes; the slope at a zero group is 0.

    Parameters
    ----------
    params : Module, dict or array
        The parameters.
    strength : float
        Not negative.
    axis : int
        The weights at one place along this axis are a group; along the first, all that one neuron weighs its inputs by.
        Weights of one axis are one group.

    Examples
    --------
    >>> from fastprop.nn import regularisers
    >>> regularisers.group_sparsity({"weight": [[3.0, 4.0], [0.0, 0.0]]}, 0.1)
    0.5
    """
    norms = [total(norm(_groups(w, axis), axis=-1)) for w in _weights(params)]
    return _strength("group_sparsity", strength) * _sum(norms)


def max_norm(params: Any, limit: float, axis: int = 0) -> Any:
    """Return parameters in which every group of weights that is longer than a limit is shortened to it.

    Parameters
    ----------
    params : dict or array
        The parameters: plain numbers, after a step.
    limit : float
        The greatest norm, not negative.
    axis : int
        As for `group_sparsity`.

    Returns
    -------
    dict or array
        Nested like `params`; biases are as they were.

    Examples
    --------
    >>> from fastprop.nn import regularisers
    >>> regularisers.max_norm({"weight": [[3.0, 4.0], [0.3, 0.4]]}, 1.0)
    {'weight': array([[0.6, 0.8],
           [0.3, 0.4]])}
    """
    if not limit >= 0.0:
        raise ValueError(f"max_norm with limit {limit}; expected 0 or more")
    if isinstance(params, Module):
        raise TypeError("max_norm takes numbers: model.load_params(max_norm(model.params(), limit))")
    if isinstance(params, dict):
        return {name: x if _is_bias(name) else max_norm(x, limit, axis) for name, x in params.items()}
    if isinstance(params, (list, tuple)) and any(isinstance(part, dict) for part in params):
        return type(params)(max_norm(part, limit, axis) for part in params)
    w = np.asarray(params)
    w = w.astype(np.float64) if w.dtype.kind in "biu" else w
    if not w.ndim:
        return float(np.clip(w, -limit, limit))
    groups = _groups(w, axis)
    norms = norm(groups, axis=-1, keepdims=True)
    kept = groups * np.where(norms > limit, limit / np.where(norms > limit, norms, 1.0), 1.0)
    if w.ndim == 1:
        return kept[0].tolist() if isinstance(params, list) else kept[0].astype(w.dtype)
    moved = kept.reshape(np.moveaxis(w, axis, 0).shape)
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis)).astype(w.dtype)


def _groups(w: Any, axis: int) -> Any:
    """Return weights as rows, which are their groups."""
    shape = shape_of(w)
    if len(shape) < 2:
        return reshape(w, (1, math.prod(shape)))
    return reshape(moveaxis(w, axis, 0), (shape[axis], math.prod(shape) // max(shape[axis], 1)))


def _weights(params: Any) -> Iterator[Any]:
    """Yield the weights among parameters."""
    if isinstance(params, Module):
        for name, leaf in params.named_parameters():
            if not _is_bias(name.rpartition(".")[2]):
                yield as_item(leaf)
    elif isinstance(params, dict):
        for name, part in params.items():
            if not _is_bias(name):
                yield from _weights(part)
    elif isinstance(params, (list, tuple)) and any(isinstance(part, (dict, Module)) for part in params):
        for part in params:
            yield from _weights(part)
    else:
        yield as_item(params)


def _is_bias(name: Any) -> bool:
    return name == "b" or "bias" in str(name)


def _sum(terms: list[Any]) -> Any:
    return sum(terms, 0.0)


def _strength(name: str, strength: float) -> float:
    if not 0.0 <= strength < math.inf:
        raise ValueError(f"{name} with strength {strength}; expected a number from 0 on")
    return strength
