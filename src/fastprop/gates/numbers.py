"""Operands: what counts as a real number or as an array of them, wherever numbers come in.

A bool is a number where it is the operand of a gate (1.0 or 0.0), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["as_array", "as_flag", "as_real", "as_reals", "number", "without_flags"]


def as_array(x: Any) -> Any:
    """Return an array for what stands for one, as a column of a data frame does; anything else as it is.

    None for a masked array, whose mask would be dropped, and for a matrix, whose ``*`` is a product of matrices.
    """
    kind = type(x)
    if kind is np.ndarray or not hasattr(kind, "__array__") or hasattr(kind, "__fastprop_gate__"):
        return x
    if isinstance(x, np.ndarray):
        return None if isinstance(x, np.matrix) or hasattr(x, "mask") else x
    return x if isinstance(x, np.generic) else np.asarray(x)


def as_real(x: Any) -> float | None:
    """Return a real number as `float()` rounds it; None for a bool, a string, and whatever else is none."""
    if type(x) is float:
        return x
    if isinstance(x, bool):
        return None
    if isinstance(x, (Real, Decimal)):
        return float(x)
    if isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "iuf":
        return None if as_array(x) is None else float(x)
    return None


def as_flag(x: Any) -> float | None:
    """Return a bool as 1.0 or 0.0; None for anything else."""
    if isinstance(x, (bool, np.bool_)) or (isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind == "b"):
        return None if as_array(x) is None else float(x)
    return None


def as_reals(x: Any, what: str, flags: bool = False) -> np.ndarray:
    """Return an array, or nested lists, of real numbers as an array; with `flags`, bools count as 1.0 and 0.0."""
    reals: list[float] = []
    given = as_array(x)
    if given is None and x is not None:
        raise TypeError(f"{what} is a {type(x).__name__}; expected a plain array: np.asarray() of it, or .filled()")
    waiting = [given]
    if isinstance(given, np.ndarray):  # whose dtype says it all, unless it holds objects
        waiting = [*given.flat][::-1] if given.dtype.kind == "O" else []
    while waiting:
        item = waiting.pop()
        inner = as_array(item)
        if isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif isinstance(inner, np.ndarray) and inner.dtype.kind in ("iufb" if flags else "iuf"):
            reals.extend(inner.flat)
        else:
            real = as_real(item)
            real = as_flag(item) if real is None and flags else real
            if real is None:
                kind = type(item).__name__
                if item is given:
                    raise TypeError(
                        f"{what} is {item!r:.60} ({kind}); expected a real number, or a list or array of them"
                    )
                raise TypeError(f"{what}, element {len(reals)}, is {item!r:.60} ({kind}); expected a real number")
            reals.append(real)
    try:
        array: np.ndarray[Any, Any] = np.asarray(given)
    except ValueError:  # NumPy's own says nothing of whose it is
        raise ValueError(f"{what} is ragged; expected rows of equal length") from None
    if array.dtype.kind == "O":
        array = np.array(reals, np.float64).reshape(array.shape)
    if array.dtype.kind not in ("iufb" if flags else "iuf") and array.size > 0:
        raise TypeError(f"{what} has dtype {array.dtype}; expected real numbers: convert it with .astype first")
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        raise TypeError(f"{what} has dtype {array.dtype}; expected float32 or float64: convert it with .astype first")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an array or a handle, () for anything else."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def without_flags(operands: Sequence[Any]) -> Sequence[Any]:
    """Return operands with arrays of bools as arrays of floats, whose dtype the other arrays choose."""
    masks = [isinstance(x, np.ndarray) and x.ndim > 0 and x.dtype.kind == "b" for x in operands]
    if not any(masks):
        return operands
    dtypes = [x.dtype for x in operands if shape_of(x) and x.dtype.kind == "f"]
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    return [np.asarray(x, dtype) if mask and as_array(x) is not None else x for x, mask in zip(operands, masks)]


def number(gate: Any, position: int, operand: Any, arrays: bool = False) -> Any:
    """Return an operand as a float (or, with ``arrays``, an array of floats), or raise a TypeError that says which."""
    real = as_real(operand)
    real = as_flag(operand) if real is None else real
    if real is not None:
        return real
    if arrays and (isinstance(operand, (list, tuple)) or shape_of(as_array(operand))):
        return as_reals(operand, f"{gate.name}: operand {position}", flags=True)
    if isinstance(operand, np.ndarray) and as_array(operand) is None:
        kind = type(operand).__name__
        raise TypeError(
            f"{gate.name}: operand {position} is a {kind}; expected a plain array: np.asarray() of it, or .filled()"
        )
    kind = f"{operand.dtype} array" if isinstance(operand, np.ndarray) else type(operand).__name__
    raise TypeError(
        f"{gate.name}: operand {position} is {operand!r:.60} ({kind}), expected a real number; "
        "convert it with float() if it stands for one"
    )
