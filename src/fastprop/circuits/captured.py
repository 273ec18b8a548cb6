"""Leaves that a recording captured, whose numbers are inputs of it: in stretches, lest each number is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop.engine.slots import elements, places_of
from fastprop.engine.tape import Trace, Unit, slot_in

__all__ = ["Stretch", "gradients_of", "slots_of_captured", "stretches_of", "values_of"]


@dataclass(frozen=True)
class Stretch:
    """Captured inputs side by side: numbers of one Array, at some places (a slice: all of them), or Units."""

    handles: list[Any]
    begin: int
    end: int
    places: Any  # None: Units

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield the runs of places side by side of an Array's: the first, how many, and which input that is."""
        places = np.arange(self.handles[0].size)[self.places]
        for begin, end in _cut(np.diff(places) != 1):
            yield int(places[begin]), end - begin, self.begin + begin


def _cut(ends: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    """Yield where parts begin and end of which all but the last end where this says so."""
    return itertools.pairwise([0, *(np.flatnonzero(ends) + 1).tolist(), len(ends) + 1])


def stretches_of(captured: Sequence[tuple[Any, int]]) -> Iterator[Stretch]:
    """Yield the stretches of the captured numbers, each a handle and which of its numbers it is (-1: a Unit's)."""
    if not captured:
        return
    handles, every = [handle for handle, _ in captured], np.array([place for _, place in captured])
    whose = np.where(every < 0, 0, np.fromiter(map(id, handles), np.intp, len(handles)))
    for begin, end in _cut(np.diff(whose) != 0):
        places: Any = every[begin:end]
        if places[0] < 0:
            yield Stretch(handles[begin:end], begin, end, None)
            continue
        if len(places) == handles[begin].size and np.array_equal(places, np.arange(len(places))):
            places = slice(None)
        yield Stretch(handles[begin : begin + 1], begin, end, places)


def slots_of_captured(trace: Trace, captured: Sequence[tuple[Any, int]]) -> list[int]:
    """Return the slots of captured numbers on a trace, which are recorded there."""
    found: list[int] = []
    for stretch in stretches_of(captured):
        if stretch.places is None:
            found += [slot_in(trace, unit) for unit in stretch.handles]
        else:
            handle = stretch.handles[0]
            numbers = elements(trace, handle, np.ravel(places_of(handle))[stretch.places])
            assert numbers is not None  # as no other Array is captured
            found += numbers.at.tolist()
    return found


def values_of(stretches: Sequence[Stretch]) -> np.ndarray[Any, Any]:
    """Return the values of captured numbers, as they are now."""
    found = np.empty(stretches[-1].end if stretches else 0)
    for stretch in stretches:
        if stretch.places is None:
            found[stretch.begin : stretch.end] = [handle.value for handle in stretch.handles]
        else:
            found[stretch.begin : stretch.end] = np.asarray(stretch.handles[0].value).reshape(-1)[stretch.places]
    return found


def gradients_of(stretches: Sequence[Stretch], handles: Sequence[Any], slopes: np.ndarray[Any, Any]) -> dict[Any, Any]:
    """Return the gradient of each handle, from those of the captured numbers."""
    found: dict[Any, Any] = {h: 0.0 if isinstance(h, Unit) else np.zeros(h.shape, h.dtype) for h in handles}
    for stretch in stretches:
        part = slopes[stretch.begin : stretch.end]
        if stretch.places is None:
            for handle, slope in zip(stretch.handles, part.tolist()):
                found[handle] += slope
        else:
            whole = found[stretch.handles[0]].reshape(-1)
            if isinstance(stretch.places, slice):
                whole += part.astype(whole.dtype)
            else:  # which may name a number twice
                np.add.at(whole, stretch.places, part.astype(whole.dtype))
    return found
