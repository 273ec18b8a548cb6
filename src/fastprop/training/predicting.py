"""What a fitted model gives for many examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.circuits.compile import compile
from fastprop.circuits.vmap import vmap
from fastprop.handles.nesting import dtype_of, flatten
from fastprop.nn.module import Module
from fastprop.optim.checks import whole

from .feed import Table
from .learner import named

__all__ = ["predict"]


def predict(model: Any, x: Any, *, batch_size: int = 1024, params: Any = None) -> Any:
    """Return what a model gives for examples, as it is used: no randomness, and nothing about it changes.

    Parameters
    ----------
    model, params
        As for `fit`.
    x : array, or nested containers of arrays
        The inputs of the model, with the examples along the first axes. Floats are cast to the dtype of the parameters,
        batch by batch.
    batch_size : int, default 1024
        How many examples are taken together.

    Returns
    -------
    array, or nested containers of arrays
        The outputs, with the examples along the first axes; plain numbers.

    Raises
    ------
    TypeError, ValueError
        If `x` has no arrays of numbers, or of different lengths, or is not finite.

    See Also
    --------
    evaluate

    Notes
    -----
    It records the model at every call. For many calls compile once: ``fp.compile(fp.vmap(model.apply, (None, 0)))``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> from fastprop.training import predict
    >>> model = fp.nn.Sequential(fp.nn.Linear(2, 3, init="ones"), fp.nn.Dropout(0.5))
    >>> predict(model, np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 3., 3.],
           [7., 7., 7.]])
    """
    size = whole("predict", "batch_size", batch_size, 1)
    call, numbers = _as_used(model, params)
    kinds = {dtype_of(leaf) for leaf in flatten(numbers)[0]}
    table = Table("x", x, np.dtype(np.float32) if kinds == {np.dtype(np.float32)} else np.dtype(np.float64))
    if len(set(table.lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in table.lengths.items())
        raise ValueError(f"predict: the lengths of the data differ: {shown}; expected one row for each example")
    table.check()
    count = next(iter(table.lengths.values()))
    outputs: Any = compile(vmap(call, in_axes=(None, 0)))
    parts = [
        outputs(numbers, table.take(np.arange(start, min(start + size, count))))
        for start in range(0, max(count, 1), size)
    ]
    _, nesting = flatten(parts[0])
    return nesting.unflatten([np.concatenate(columns) for columns in zip(*[flatten(part)[0] for part in parts])])


def _as_used(model: Any, params: Any) -> tuple[Callable[..., Any], Any]:
    """Return a function of parameters and one example, and the parameters."""
    if not isinstance(model, Module):
        if isinstance(model, type) or not callable(model):
            raise TypeError(f"model is {named(model)}; expected a fastprop.nn.Module, or a function")
        if params is None:
            raise TypeError("a model that is a function of (params, x) needs params")
        return model, params
    if params is not None:
        raise TypeError("params go with a model that is a function; a Module has its own")
    return model.bound(None).eval().apply, model.params()
