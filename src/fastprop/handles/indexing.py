"""Indexing, once for all kinds of handles: what an integer is, what an index is, and the error for one out of range."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from fastprop.gates.singular import matrix_in_lane
from fastprop.handles.nesting import is_handle, is_whole

__all__ = [
    "LARGEST_SINGLE",
    "OutOfRangeError",
    "check_exact",
    "in_lane",
    "is_integer",
    "looking",
    "of_index",
    "out_of_range",
    "own_index",
    "trace_of",
]


LARGEST_SINGLE = 2**24  # the largest integer below which float32 holds all


class OutOfRangeError(IndexError):
    """An index that there is not, in a lane of a map (inside of lanes of another one) or at one point."""

    def __init__(self, text: str, lanes: tuple[int, ...] = ()):
        where = f", in lane {lanes[0] if len(lanes) == 1 else lanes}" if lanes else ""
        super().__init__(f"{text}{where}")
        self.text, self.lanes = text, lanes

    def __reduce__(self) -> Any:
        return OutOfRangeError, (self.text, self.lanes)


def of_index(error: IndexError) -> IndexError:
    """Return NumPy's error for an index that there is not as one that can name a lane; for what is no index, itself."""
    return OutOfRangeError(str(error)) if "out of bounds" in str(error) else error


def in_lane(error: Exception, lane: int) -> Exception:
    """Return the error for an index or for a matrix with the lane in which it occurred."""
    if isinstance(error, LinAlgError):
        return matrix_in_lane(error, int(lane))
    assert isinstance(error, OutOfRangeError)
    return OutOfRangeError(error.text, (int(lane), *error.lanes)).with_traceback(error.__traceback__)


class Looking(threading.local):
    """Who looks numbers up in this thread by what, such as "cross_entropy: label"; None: an index, by itself."""

    who: str | None = None

    @contextlib.contextmanager
    def by(self, who: str) -> Iterator[None]:
        """Let errors call indices so; those below 0 are labels, less the length of their axis, lest they count."""
        before, self.who = self.who, who
        try:
            yield
        finally:
            self.who = before


looking = Looking()


def out_of_range(index: float | None, size: int, who: str | None = None) -> str:
    """Say that an index is out of range, nearly as NumPy does, or that a label is; None: it is not known."""
    if who is not None:
        found = "" if index is None else f" {index if index >= 0.0 else index + size:.0f}"
        return f"{who}{found}; expected 0 to {size - 1}"
    return f"{'an index' if index is None else f'index {index:.0f}'} is out of bounds for an axis with size {size}"


def is_integer(x: Any) -> bool:
    """Say whether `x` holds NumPy's integers: an array of them, one of them, or what stands for such under trace."""
    dtype = getattr(x, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "iu"


def check_exact(x: Any) -> None:
    """Raise for integers that float32 does not hold exactly."""
    if np.size(x) and not -LARGEST_SINGLE <= np.min(x) <= np.max(x) <= LARGEST_SINGLE:
        raise ValueError(
            f"an integer among the arguments, {max(np.max(x), -int(np.min(x)))}, is more than float32 holds exactly "
            "(2**24), in which the circuit computes; let it compute in float64, or give floats if they are no indices"
        )


def own_index(index: Any) -> Any:
    """Return an index that nobody else can change: lists become arrays, arrays are copied."""
    if isinstance(index, tuple):
        return tuple(own_index(part) for part in index)
    if is_handle(index):
        if is_whole(type(index)) and not index.size:  # traced, and of no numbers, not even of integers
            return np.zeros(index.shape, int)
        if is_integer(index):
            return np.asarray(index.value).astype(np.int64)[()]
        raise TypeError(f"an index is a plain number; got {index!r:.60}: use int(x.value)")
    return np.array(index, dtype=None if np.size(index) else int) if isinstance(index, (list, np.ndarray)) else index


def trace_of(index: Any) -> Any:
    """Return the trace to which a part of an index belongs; None if none is traced."""
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, list):
            found = trace_of(tuple(part))
            if found is not None:
                return found
        tape = getattr(getattr(part, "unit", part), "_tape", None)
        if hasattr(tape, "as_block"):
            return tape
        if isinstance(part, slice) and any(map(is_handle, (part.start, part.stop, part.step))):
            raise TypeError(
                f"the bounds of a slice are plain integers; got {part!r:.80}; n numbers from i on are "
                "a[i + np.arange(n)]"
            )
    return None
