"""A function with the variables that enclose it as they are at a moment: what a body is when it is called again.

The body of a map is called where it is recorded, and perhaps again: for its derivative, and for a path that is taken
later. A loop around it may have gone on by then, and ``y = fp.vmap(lambda x: x * y)(xs)`` has another `y` at once.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import threading
from collections.abc import Callable, Iterable, Iterator
from types import CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType
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
    holders = Holders(is_handle)
    found = _Look(f).found
    places = [each for each in found if type(each[0]) is CellType or holders.holds(each[2])]
    places += [(place, key, _get(place, key)) for place, key in _thread.exchanged]
    if not places:
        return f

    @functools.wraps(f)
    def as_it_was(*args: Any, **kwargs: Any) -> Any:
        since = [(place, key, now) for place, key, then in places if (now := _get(place, key)) is not then]
        if not since:
            return f(*args, **kwargs)
        _put(places)
        try:
            with _exchanged_in(since):
                return f(*args, **kwargs)
        finally:
            _put(since)

    return as_it_was


class _Exchanged(threading.local):
    """The places where something else is for the length of a call, in this thread.

    Functions that are enclosed there remember these places, however far they are from them.
    """

    def __init__(self) -> None:
        self.exchanged: list[tuple[Any, Any]] = []


_thread = _Exchanged()


@contextlib.contextmanager
def _exchanged_in(places: list[tuple[Any, Any, Any]]) -> Iterator[None]:
    around = _thread.exchanged
    _thread.exchanged = [*around, *[(place, key) for place, key, _ in places]]
    try:
        yield
    finally:
        _thread.exchanged = around


class Holders:
    """Which handles are wanted, and which tuples hold some, as far as one looks: each of these is looked into once."""

    def __init__(self, is_wanted: Callable[[Any], bool]):
        self._is_wanted = is_wanted
        self._tuples: dict[int, bool] = {}  # by id: whether it holds some
        self.found: dict[int, Any] = {}  # by id: the handles

    def holds(self, x: Any, depth: int = 0) -> bool:
        """Say whether something is such a handle, or a tuple with one that can be made with another one."""
        if type(x) in _PLAIN:
            return False
        if isinstance(x, tuple):
            known = self._tuples.get(id(x))
            if known is None:
                self._tuples[id(x)] = known = (
                    depth <= _DEEP
                    and len(x) <= _MANY
                    and len(self._tuples) <= _ALL
                    and _is_remade(x)
                    and any([self.holds(part, depth + 1) for part in x])
                )
            return known
        if is_handle(x) and self._is_wanted(x):
            self.found[id(x)] = x
            return True
        return False

    def replaced(self, x: Any, instead: dict[int, Any]) -> Any:
        """Return what stands for a handle, or a tuple of what stands for its parts; `instead` gets that, too."""
        new = instead.get(id(x), _NOTHING)
        if new is not _NOTHING:
            return new
        if not isinstance(x, tuple) or not self.holds(x):
            return x
        instead[id(x)] = new = tuple.__new__(type(x), [self.replaced(part, instead) for part in x])
        return new


class Lifted:
    """A function that takes one argument more: what stands, for the length of a call, for handles around it."""

    __slots__ = ("__name__", "_handles", "_holders", "_places", "_was_called", "function", "looked")

    def __init__(self, f: Callable[..., Any], places: list[tuple[Any, Any, Any]], holders: Holders):
        self.function, self._places, self._holders = f, places, holders
        self._handles = list(holders.found.values())
        self._was_called = False
        self.looked: _Look | None = None  # what there was at the end of the first call, for who looks next
        self.__name__ = getattr(f, "__name__", "f")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the last of the arguments in the places of the handles."""
        *own, stand_ins = args
        if all(map(operator.is_, stand_ins, self._handles)):  # where a map is made lane by lane
            return self.function(*own, **kwargs)
        instead = dict(zip(map(id, self._handles), stand_ins))
        before = [(place, key, _get(place, key)) for place, key, _ in self._places]
        _put([(place, key, self._holders.replaced(then, instead)) for place, key, then in self._places])
        first, self._was_called, self.looked = not self._was_called, True, None
        if not first:  # in what it has put elsewhere when it was called before, too
            before += _exchanged(_Look(self.function), instead)
        put = [_get(place, key) for place, key, _ in before]
        try:
            with _exchanged_in(before):
                return self.function(*own, **kwargs)
        finally:
            _put([old for old, new in zip(before, put) if _get(*old[:2]) is new])
            look = _Look(self.function)
            _exchanged(look, {id(new): old for old, new in zip(self._handles, stand_ins)})
            self.looked = look if first else None


def _exchanged(look: _Look, instead: dict[int, Any]) -> list[tuple[Any, Any, Any]]:
    """Put something else in the place of handles around a function; returns what was there."""
    holders = Holders(lambda x: id(x) in instead)
    places = [each for each in look.found if holders.holds(each[2])]
    _put([(place, key, holders.replaced(now, instead)) for place, key, now in places])
    return places


def lifted(f: Callable[..., Any], is_wanted: Callable[[Any], bool]) -> tuple[Callable[..., Any], list[Any]]:
    """Return a function that takes handles around it as one more argument, a list, and those; itself, if it has none.

    These are handles that are wanted, in variables, dicts and lists around the function, and in tuples there.
    """
    holders = Holders(is_wanted)
    places = [each for each in _Look(f).found if holders.holds(each[2])]
    return (Lifted(f, places, holders), list(holders.found.values())) if places else (f, [])


def _is_remade(x: tuple[Any, ...]) -> bool:
    """Say whether a tuple is nothing beside its parts, so that one of other parts can be made."""
    return type(x) is tuple or (hasattr(type(x), "_fields") and not getattr(x, "__dict__", None))


_NOTHING = object()
_LOOKED_INTO = {FunctionType, dict, list}  # of what is global
_PLAIN = {type(_NOTHING), type(None), bool, int, float, complex, str, bytes, np.ndarray, np.float64, np.int64, np.bool_}


def _may_hold(x: Any) -> bool:
    """Say whether something is a handle, or a tuple, which may hold some."""
    return type(x) not in _PLAIN and (isinstance(x, tuple) or is_handle(x))


def _attributes(x: Any) -> dict[str, Any]:
    """Return an object's own attributes; none of one that stands for another, which may not be there."""
    try:
        found = x.__dict__
    except Exception:
        return {}
    return found if type(found) is dict else {}


def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of the attributes that objects of a class have without a dict of them."""
    names: list[str] = []
    for base in kind.__mro__:
        own = base.__dict__.get("__slots__", ())
        own = (own,) if isinstance(own, str) else tuple(own)
        names += [name for name in own if type(base.__dict__.get(name)) is MemberDescriptorType]
    return tuple(names)


def _get(place: Any, key: Any) -> Any:
    """Return what is there now; nothing, if a variable is not bound, or an entry is gone."""
    if isinstance(place, dict):
        return dict.get(place, key, _NOTHING)
    if isinstance(place, list):
        return list.__getitem__(place, key) if key < list.__len__(place) else _NOTHING
    if not isinstance(place, CellType):
        return getattr(place, key, _NOTHING)
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
        elif isinstance(place, dict):
            dict.__setitem__(place, key, contents)  # whatever a subclass does where one assigns to it
        elif isinstance(place, list):
            if key < list.__len__(place):
                list.__setitem__(place, key, contents)
        elif isinstance(place, functools.partial):
            state = place.func, contents, place.keywords, place.__dict__
            place.__setstate__(state)  # type: ignore[attr-defined]
        elif isinstance(place, FunctionType):
            setattr(place, key, contents)
        else:
            object.__setattr__(place, key, contents)  # of a frozen dataclass, too


class _Look:
    """What there is around a function: variables (cells), and places that may hold handles, with what is there now.

    These are in dicts and lists, attributes, and defaults and arguments of functions.
    """

    __slots__ = ("_names", "found", "seen")

    def __init__(self, f: Any):
        self.found: list[tuple[Any, Any, Any]] = []
        self.seen: set[int] = set()
        self._names: dict[type, tuple[str, ...]] = {}  # of a class: its slots
        self._into((f,), 0)

    def _into(self, parts: Iterable[Any], depth: int) -> None:
        """Look into each of some things."""
        seen = self.seen
        for x in parts:
            if type(x) in _PLAIN or id(x) in seen or depth > _DEEP or len(seen) > _ALL:
                continue
            if isinstance(x, (list, tuple, set, frozenset, dict)):
                seen.add(id(x))
                self._into(self._of_container(x), depth + 1)
                continue
            if is_handle(x):
                continue
            seen.add(id(x))
            if isinstance(x, FunctionType):
                self._into(self._of_function(x, depth), depth + 1)
            elif isinstance(x, Lifted) and x.looked is not None:
                look, x.looked = x.looked, None
                self.found += [(place, key, _get(place, key)) for place, key, _ in look.found]
            else:
                self._into(self._of_object(x), depth + 1)

    def _of_function(self, f: FunctionType, depth: int) -> list[Any]:
        for cell in f.__closure__ or ():
            contents = _get(cell, None)
            if contents is not _NOTHING and id(cell) not in self.seen:
                self.seen.add(id(cell))
                self.found.append((cell, None, contents))
                self._into((contents,), depth + 1)
        held = {name: f.__globals__[name] for name in f.__code__.co_names if name in f.__globals__}
        self.found += [(f.__globals__, name, value) for name, value in held.items() if _may_hold(value)]
        if f.__defaults__:
            self.found.append((f, "__defaults__", f.__defaults__))
        return [f.__kwdefaults__, *[value for value in held.values() if type(value) in _LOOKED_INTO]]

    def _of_container(self, x: Any) -> list[Any]:
        if len(x) > _MANY:
            return []
        parts = list(dict.values(x)) if isinstance(x, dict) else list(list.__iter__(x) if isinstance(x, list) else x)
        if _PLAIN.issuperset(map(type, parts)):
            return []
        if isinstance(x, (list, dict)):
            items = dict.items(x) if isinstance(x, dict) else enumerate(parts)
            self.found += [(x, key, value) for key, value in items if _may_hold(value)]
        return parts

    def _of_object(self, x: Any) -> Iterable[Any]:
        if isinstance(x, functools.partial):
            self.found.append((x, "args", x.args))
            return (x.func, *x.args, x.keywords)
        if isinstance(x, Lifted):
            return (x.function,)
        if isinstance(x, MethodType):
            return (x.__func__, x.__self__)
        if isinstance(x, (ModuleType, type)):
            return ()
        kind = type(x)
        if kind not in self._names:
            self._names[kind] = _slots(kind)
        slots = {name: _get(x, name) for name in self._names[kind]}
        self.found += [(x, name, value) for name, value in slots.items() if _may_hold(value)]
        return (_attributes(x), *slots.values())
