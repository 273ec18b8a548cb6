"""What options of rules and schedules may be, and what is given to a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastprop.gates.numbers import as_array, as_real
from fastprop.handles.nesting import described, is_handle, shape_of

__all__ = ["at_least_zero", "check_alike", "fraction", "number_in", "whole"]


def at_least_zero(rule: str, name: str, value: Any) -> float:
    """Return an option that is a finite number, 0 or more."""
    number = as_real(value)
    if number is None:
        raise TypeError(f"{rule}: {name} is {value!r:.60} ({type(value).__name__}); expected a number")
    if not 0.0 <= number < float("inf"):
        raise ValueError(f"{rule}: {name} is {number}; expected a finite number, 0 or more")
    return number


def whole(owner: str, name: str, value: Any, least: int = 0) -> int:
    """Return an option that is a whole number, not below `least`."""
    if isinstance(value, bool) or is_handle(value) or not hasattr(value, "__index__"):
        raise TypeError(f"{owner}: {name} is {value!r:.60} ({type(value).__name__}); expected a whole number")
    if value < least:
        raise ValueError(f"{owner}: {name} is {value}; expected {least} or more")
    return int(value)


def fraction(rule: str, name: str, value: Any) -> float:
    """Return an option that is a number from 0 up to, not including, 1."""
    number = as_real(value)
    if number is None:
        raise TypeError(f"{rule}: {name} is {value!r:.60} ({type(value).__name__}); expected a number")
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{rule}: {name} is {number}; expected a number from 0 up to, not including, 1")
    return number


def number_in(what: str, x: Any) -> Any:
    """Return a number for `update`, plain or traced."""
    number = as_real(x) if not is_handle(x) else x
    if number is None or shape_of(x) != ():
        raise TypeError(f"update: {what} is {described(x)}; expected a number")
    return number


def check_alike(what: str, leaf: Any, like: Any) -> None:
    """Raise if what `update` is given of a parameter, plain or traced, is of another shape or dtype."""
    if not is_handle(leaf) and as_real(leaf) is None and not isinstance(as_array(leaf), np.ndarray):
        raise TypeError(f"update: {what} is {described(leaf)}; expected a number or an array")
    if shape_of(leaf) != np.shape(like):
        raise ValueError(f"update: {what} has shape {shape_of(leaf)}; expected {np.shape(like)}")
    if isinstance(leaf, np.ndarray) and leaf.ndim and leaf.dtype != like.dtype:
        raise TypeError(f"update: {what} has dtype {leaf.dtype}; expected {like.dtype}: convert it with .astype")
