"""How many examples are computed together: a few numbers of them as they come, then powers of two.

Every number of examples is recorded anew. Where they change from call to call, or are the rest of an epoch, batches are
filled up with examples that don't count; but not where something takes numbers of all examples, as `fastprop.lane_mean`
does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.circuits.lanes import Asked
from fastprop.handles.nesting import map_leaves

from .feed import Batch

__all__ = ["Sizes", "filled", "longer"]

FEW = 4  # sizes that are recorded as they come
SPARE = 10_000  # examples that don't count take less time, all together, than one more size takes to be recorded


class Sizes:
    """The sizes that were recorded."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.are_fixed = False
        self.spare = SPARE

    def watched(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return the body of a map; if it takes numbers of all lanes, there are to be no others."""

        @functools.wraps(f)
        def body(*args: Any) -> Any:
            try:
                return f(*args)
            except Asked as asked:
                self.are_fixed = self.are_fixed or asked.reduction is not None
                raise

        return body

    def of(self, size: int, fill: bool = True) -> int:
        """Return with how many examples so many are recorded; of few sizes without `fill` with just as many."""
        if self.are_fixed or size in self.known:
            return size
        above = min((known for known in self.known if known > size), default=0)
        if fill and 0 < above - size <= self.spare:
            self.spare -= above - size
            return above
        if len(self.known) < FEW:
            self.known.add(size)
            self.spare = SPARE
            return size
        return 1 << (size - 1).bit_length()


def longer(rows: Any, size: int) -> Any:
    """Return arrays of so many rows: the first one again, where there are no others."""
    return map_leaves(lambda leaf: np.concatenate([leaf, np.repeat(leaf[:1], size - len(leaf), axis=0)]), rows)


def filled(batch: Batch, sizes: Sizes, dtype: np.dtype[Any], fill: bool = True) -> Batch:
    """Return a batch of a size that is recorded, filled up with examples of weight 0."""
    size = sizes.of(batch.size, fill) if batch.size else 0
    if size == batch.size:
        return batch
    weights = np.zeros(size, dtype if batch.weights is None else batch.weights.dtype)
    weights[: batch.size] = 1.0 if batch.weights is None else batch.weights
    return Batch(longer(batch.x, size), longer(batch.y, size), weights, size, batch.rows)
