"""A function with the variables that enclose it as they are at a moment: what a body is when it is called again.

The body of a map is called where it is recorded, and perhaps again: for its derivative, and for a path that is taken
later. A loop around it may have gone on by then, and ``y = fp.vmap(lambda x: x * y)(xs)`` has another `y` at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from fastprop.handles.nesting import is_handle

__all__ = ["enclosed"]

_MANY = 256  # items of a container that is looked into
_DEEP = 6  # containers, objects and functions in each other
_ALL = 5_000  # of them; who captures a whole application gets no more than that looked through


def enclosed(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that finds the variables around it as they are now.

    These are the variables of functions around it, and of functions that are reached through them, and Units and Arrays
    in containers, attributes and globals there. Functions and objects stay the same ones: what has changed since is as
    it was for the length of a call.
    """
    places = list(_places(f, set(), 0))
    if not places:
        return f

    @functools.wraps(f)
    def as_it_was(*args: Any, **kwargs: Any) -> Any:
        since = [(place, key, now) for place, key, then in places if (now := _get(place, key)) is not then]
        if not since:
            return f(*args, **kwargs)
        _put(places)
        try:
            return f(*args, **kwargs)
        finally:
            _put(since)

    return as_it_was


_NOTHING = object()
_PLAIN = {type(None), bool, int, float, complex, str, bytes, np.ndarray}


def _attributes(x: Any) -> dict[str, Any]:
    """Return an object's own attributes; none of one that stands for another, which may not be there."""
    try:
        found = x.__dict__
    except Exception:
        return {}
    return found if type(found) is dict else {}


def _get(place: Any, key: Any) -> Any:
    """Return what is there now; nothing, if a variable is not bound, or an entry is gone."""
    if isinstance(place, dict):
        return place.get(key, _NOTHING)
    if isinstance(place, list):
        return place[key] if key < len(place) else _NOTHING
    try:
        return place.cell_contents
    except ValueError:
        return _NOTHING


def _put(places: list[tuple[Any, Any, Any]]) -> None:
    for place, key, contents in places:
        if contents is _NOTHING or _get(place, key) is contents:
            continue
        if isinstance(place, CellType):
            place.cell_contents = contents
        elif isinstance(place, dict) or key < len(place):
            place[key] = contents


def _places(x: Any, seen: set[int], depth: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yield variables (cells), and places in dicts and lists that hold handles, with what is there now."""
    if id(x) in seen or depth > _DEEP or len(seen) > _ALL or type(x) in _PLAIN or is_handle(x):
        return
    seen.add(id(x))
    if isinstance(x, FunctionType):
        for cell in x.__closure__ or ():
            contents = _get(cell, None)
            if contents is not _NOTHING and id(cell) not in seen:
                seen.add(id(cell))
                yield cell, None, contents
                yield from _places(contents, seen, depth + 1)
        held: Any = {name: x.__globals__[name] for name in x.__code__.co_names if name in x.__globals__}
        yield from ((x.__globals__, name, value) for name, value in held.items() if is_handle(value))
        parts: Any = [value for value in held.values() if isinstance(value, FunctionType)]
    elif isinstance(x, functools.partial):
        parts = (x.func, *x.args, *x.keywords.values())
    elif isinstance(x, MethodType):
        parts = (x.__func__, x.__self__)
    elif isinstance(x, (list, tuple, set, frozenset, dict)):
        parts = (tuple(x.values()) if isinstance(x, dict) else tuple(x)) if len(x) <= _MANY else ()
        if isinstance(x, (list, dict)) and parts:
            items = x.items() if isinstance(x, dict) else enumerate(x)
            yield from [(x, key, value) for key, value in items if is_handle(value)]
    else:
        parts = () if isinstance(x, (ModuleType, type)) else (_attributes(x),)
    for part in parts:
        yield from _places(part, seen, depth + 1)
