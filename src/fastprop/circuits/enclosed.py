"""A function with the variables that enclose it as they are at a moment: what a body is when it is called again.

The body of a map is called where it is recorded, and perhaps again: for its derivative, and for a path that is taken
later. A loop around it may have gone on by then, and ``y = fp.vmap(lambda x: x * y)(xs)`` has another `y` at once.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

__all__ = ["enclosed"]


def enclosed(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that finds the variables around it, and around functions among these, as they are now."""
    return _copy(f, {}) if isinstance(f, FunctionType) else f


def _copy(f: FunctionType, known: dict[FunctionType, FunctionType]) -> FunctionType:
    if f.__closure__ is None:
        return f
    if f in known:  # it calls itself
        return known[f]
    cells = [cell if _is_empty(cell) else CellType() for cell in f.__closure__]
    known[f] = found = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, tuple(cells))
    found.__kwdefaults__, found.__qualname__, found.__module__ = f.__kwdefaults__, f.__qualname__, f.__module__
    found.__dict__.update(f.__dict__)
    for cell, own in zip(f.__closure__, cells):
        if own is not cell:
            value = cell.cell_contents
            own.cell_contents = _copy(value, known) if isinstance(value, FunctionType) else value
    return found


def _is_empty(cell: CellType) -> bool:
    """Whether its variable is not bound yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False
