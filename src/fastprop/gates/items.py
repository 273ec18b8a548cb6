"""What stands for an array: handles, arrays, and nested lists of numbers and handles, which are stacked."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates.blocks import Stack, is_handle, shape_of
from fastprop.gates.numbers import as_array, as_flag, as_real, as_reals

__all__ = ["as_item", "as_recorded", "described", "holds_handles", "is_traced", "keeps_truths", "moves", "stack"]


def holds_handles(values: Any) -> bool:
    """Whether a nested list has a handle in it."""
    return gates.recorder_of(values) is not None


def as_item(operand: Any, what: str = "an operand") -> Any:
    """Return a list of numbers as an array, a list with handles as a recorded Array, anything else as it is."""
    if not isinstance(operand, (list, tuple)):
        given = as_array(operand)
        return operand if given is None else given
    return stack(operand, flags=True) if holds_handles(operand) else as_reals(operand, what, flags=True)


def stack(values: Any, flags: bool = False) -> Any:
    """Return nested lists with handles in them as one Array, recorded; with `flags`, bools count as 1.0 and 0.0."""
    items, outer = [values], []
    while items and all(isinstance(item, (list, tuple)) for item in items):
        lengths = {len(item) for item in items}
        if len(lengths) != 1:
            raise ValueError(f"rows of the lengths {sorted(lengths)} stand side by side; expected equal ones")
        outer.append(lengths.pop())
        items = [part for item in items for part in item]
    for position, item in enumerate(items):
        if gates.is_condition(item) and not flags:
            raise TypeError(f"part {position} is a truth value ({item!r}); expected a real number")
        if not is_handle(item):
            flag = as_flag(item) if flags else None
            items[position] = _part(item, f"part {position}") if flag is None else flag
    shapes = {shape_of(item) for item in items}
    if len(shapes) > 1:
        raise ValueError(f"parts of the shapes {sorted(shapes)} stand side by side; expected equal ones")
    return Stack(tuple(outer))(*items)


def _part(item: Any, what: str) -> Any:
    if isinstance(item, (list, tuple)) or shape_of(as_array(item)):
        return as_reals(item, what)
    real = as_real(item)
    if real is None:
        raise TypeError(f"{what} is {item!r:.60} ({type(item).__name__}); expected a real number")
    return real


def integers(what: str, given: Any, least: int | None = None) -> np.ndarray[Any, Any]:
    """Return an option as an array of integers; TypeError or ValueError, which name it, if it is none."""
    found = np.asarray(given)
    if found.size and found.dtype.kind not in "iu":
        raise TypeError(f"{what} is {given!r:.60}; expected integers")
    if least is not None and np.min(found, initial=least) < least:
        raise ValueError(f"{what} is {given!r:.60}; expected none below {least}")
    return found.astype(np.int64)


def as_recorded(x: Any) -> Any:
    """Return an operand as what stands for it where a circuit is being recorded: of a leaf, not the leaf itself."""
    x = as_item(x)
    return gates.positive(x) if is_handle(x) and getattr(x, "_tape", None) is None else x


def is_traced(x: Any) -> bool:
    """Whether a handle belongs to a circuit that is being recorded: its value is not to be read."""
    return hasattr(type(x), "numbers") or hasattr(getattr(x, "_tape", None), "as_block")


def described(x: Any) -> str:
    """Return what an operand is, for an error: its shape, or itself if it is no number."""
    if shape_of(x):
        return f"shape {shape_of(x)}"
    is_number = is_traced(x) or is_handle(x) or isinstance(x, np.ndarray) or as_real(x) is not None
    return "a single number" if is_number else f"{x!r:.60}"


def moves(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let NumPy's function of the same name do it where no handle is among the arguments: integers stay integers."""
    plain = getattr(np, function.__name__)

    @wraps(function)
    def moved(*args: Any, **options: Any) -> Any:
        if gates.recorder_of([*args, *options.values()]) is None:
            return plain(*args, **options)
        return function(*args, **options)

    return moved


def keeps_truths(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that puts numbers beside zeros make conditions of conditions: through ones and zeros."""

    @wraps(function)
    def kept(x: Any, *args: Any, **options: Any) -> Any:
        if gates.is_condition(x) and shape_of(x):
            return function(x.as_numbers(), *args, **options) != 0.0
        return function(x, *args, **options)

    return kept
