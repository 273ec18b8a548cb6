"""The functions of arrays by their names: NumPy's dispatch, the methods and the public names are made of this table.

A family lists its functions in ``__all__``. A function stands for NumPy's of the same name, in `numpy` or in
`numpy.linalg`, and is a method of Arrays if `numpy.ndarray` has one of that name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates import blocks, convolution, linear_algebra, products, reductions, scans, selection, shapes
from fastprop.gates.items import is_traced
from fastprop.hints import INSTEAD, let_options_hint

__all__ = ["FAMILIES", "functions", "methods", "of_numpy", "refusal"]

FAMILIES = (shapes, selection, reductions, scans, products, convolution, linear_algebra)

for _family in FAMILIES:
    let_options_hint(_family.__name__, "of arrays")

# The public ones, and those whose name means something else in the package
functions: dict[str, Callable[..., Any]] = {
    name: getattr(family, name) for family in FAMILIES for name in family.__all__
}
_INNER: dict[str, Callable[..., Any]] = {"take": selection.taken, "trace": selection.diagonal_sum}

methods = {name: function for name, function in {**functions, **_INNER}.items() if hasattr(np.ndarray, name)}


def _like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None) -> np.ndarray:
    """Return a plain array of zeros in the shape of an Array: a constant, whatever the Array is computed of."""
    own = np.float64 if is_traced(a) else a.value.dtype
    return np.zeros(blocks.shape_of(a) if shape is None else shape, own if dtype is None else dtype)


def _full_like(a: Any, fill_value: Any, *args: Any, **options: Any) -> Any:
    found = _like(a, *args, **options)
    return found + fill_value if gates.recorder_of(fill_value) is not None else np.full_like(found, fill_value)


# NumPy's functions that are rows of the table of gates, or have another name there
_ROWS: dict[str, Callable[..., Any]] = {
    **{name: gates.table[name] for name in ("sum", "mean", "prod", "max", "min", "where", "round")},
    "clip": lambda a, a_min=None, a_max=None, *, min=None, max=None: gates.clip(
        a, a_min if min is None else min, a_max if max is None else max
    ),
    "around": gates.round,
    "copy": lambda a, order="K", subok=False: +a,
    "matrix_transpose": lambda x: shapes.swapaxes(x, -1, -2),
    "amax": gates.max,
    "amin": gates.min,
    "dot": blocks.dot,
    "zeros_like": _like,
    "empty_like": _like,
    "ones_like": lambda a, *args, **options: np.ones_like(_like(a, *args, **options)),
    "full_like": _full_like,
    "shape": blocks.shape_of,
    "ndim": lambda a: len(blocks.shape_of(a)),
    "size": lambda a: math.prod(blocks.shape_of(a)),
}


def _twins() -> dict[Any, Callable[..., Any]]:
    """Return our functions by NumPy's own that they stand for."""
    named = {**_ROWS, **functions, **_INNER}
    found = {getattr(np, name): function for name, function in named.items() if hasattr(np, name)}
    for name, function in functions.items():
        if hasattr(np.linalg, name) and name != "diagonal":  # which there is one of the last two axes
            found[getattr(np.linalg, name)] = function
    return found


of_numpy = _twins()


def refusal(function: Any) -> str:
    """Say that one of NumPy's functions is no gate, and what to use instead."""
    name = f"{function.__module__}.{function.__name__}"
    return f"{name} is no gate of fastprop's; {instead_of(name.removeprefix('numpy.'))}"


def instead_of(name: str) -> str:
    """Say what to use instead of what is no gate, by its name in NumPy."""
    return INSTEAD.get(name, "for plain numbers use .value; traced values have none: write it with gates")
