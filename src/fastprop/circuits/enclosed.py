"""A function with the variables that enclose it as they are at a moment: what a body is when it is called again.

The body of a map is called where it is recorded, and perhaps again: for its derivative, and for a path that is taken
later. A loop around it may have gone on by then, and ``y = fp.vmap(lambda x: x * y)(xs)`` has another `y` at once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from fastprop.handles.nesting import is_handle

__all__ = ["enclosed", "lifted"]

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


class Lifted:
    """A function that takes one argument more: what stands, for the length of a call, for handles around it."""

    __slots__ = ("__name__", "_handles", "_places", "function")

    def __init__(self, f: Callable[..., Any], places: list[tuple[Any, Any, Any]], handles: Sequence[Any]):
        self.function, self._places, self._handles = f, places, list(map(id, handles))
        self.__name__ = getattr(f, "__name__", "f")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the last of the arguments in the places of the handles."""
        *own, stand_ins = args
        instead = dict(zip(self._handles, stand_ins))
        before = [(place, key, _get(place, key)) for place, key, _ in self._places]
        put = [(place, key, _replaced(then, instead)) for place, key, then in self._places]
        _put(put)
        try:
            return self.function(*own, **kwargs)
        finally:
            _put([old for old, (place, key, new) in zip(before, put) if _get(place, key) is new])


def lifted(f: Callable[..., Any], is_wanted: Callable[[Any], bool]) -> tuple[Callable[..., Any], list[Any]]:
    """Return a function that takes handles around it as one more argument, a list, and those; itself, if it has none.

    These are handles that are wanted, in variables, dicts and lists around the function, and in tuples there.
    """
    found: dict[int, Any] = {}

    def holds(x: Any) -> bool:
        if type(x) in _PLAIN:
            return False
        if isinstance(x, tuple):
            return any(list(map(holds, x)))
        if is_handle(x) and is_wanted(x):
            found[id(x)] = x
            return True
        return False

    places = [each for each in _places(f, set(), 0) if holds(each[2])]
    return (Lifted(f, places, list(found.values())), list(found.values())) if found else (f, [])


def _replaced(x: Any, instead: dict[int, Any]) -> Any:
    """Return what stands for a handle, or a tuple of what stands for its parts."""
    if not isinstance(x, tuple):
        return instead.get(id(x), x)
    parts = [_replaced(part, instead) for part in x]
    if all(map(operator.is_, parts, x)):
        return x
    return x._make(parts) if hasattr(x, "_make") else type(x)(parts)


def _holds_handles(x: Any) -> bool:
    """Say whether something is a handle, or a tuple with one."""
    return any(map(_holds_handles, x)) if isinstance(x, tuple) else is_handle(x)


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
        yield from ((x.__globals__, name, value) for name, value in held.items() if _holds_handles(value))
        parts: Any = [value for value in held.values() if isinstance(value, FunctionType)]
    elif isinstance(x, functools.partial):
        parts = (x.func, *x.args, *x.keywords.values())
    elif isinstance(x, Lifted):
        parts = (x.function,)
    elif isinstance(x, MethodType):
        parts = (x.__func__, x.__self__)
    elif isinstance(x, (list, tuple, set, frozenset, dict)):
        parts = (tuple(x.values()) if isinstance(x, dict) else tuple(x)) if len(x) <= _MANY else ()
        if isinstance(x, (list, dict)) and parts:
            items = x.items() if isinstance(x, dict) else enumerate(x)
            yield from [(x, key, value) for key, value in items if _holds_handles(value)]
    else:
        parts = () if isinstance(x, (ModuleType, type)) else (_attributes(x),)
    for part in parts:
        yield from _places(part, seen, depth + 1)
