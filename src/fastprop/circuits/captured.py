"""Leaves that a recording captured, whose numbers are inputs of it: in stretches, lest each number is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop.engine.tape import Unit

__all__ = ["Stretch", "gradients_of", "stretches_of", "values_of"]


@dataclass(frozen=True)
class Stretch:
    """Captured inputs side by side: numbers of one Array, at some places (a slice: all of them), or Units."""

    handles: list[Any]
    begin: int
    end: int
    places: Any  # None: Units


def stretches_of(captured: Sequence[tuple[Any, int]]) -> Iterator[Stretch]:
    """Yield the stretches of the captured numbers, each a handle and which of its numbers it is (-1: a Unit's)."""
    begin = 0
    for _, group in itertools.groupby(captured, key=lambda pair: None if pair[1] < 0 else id(pair[0])):
        pairs = list(group)
        places: Any = np.array([place for _, place in pairs])
        if places[0] < 0:
            places = None
        elif len(places) == pairs[0][0].size and np.array_equal(places, np.arange(len(places))):
            places = slice(None)
        handles = [handle for handle, _ in (pairs if places is None else pairs[:1])]
        yield Stretch(handles, begin, begin + len(pairs), places)
        begin += len(pairs)


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
