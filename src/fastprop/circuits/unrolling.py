"""vmap without a circuit: one lane after the other, on handles or plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop import engine
from fastprop.circuits.signature import lane_signature
from fastprop.handles.nesting import flatten, is_handle, map_leaves, shape_of

__all__ = ["MIXED", "lane_by_lane"]

MIXED = "mixed"  # how lanes are reduced: what the function returns first is summed over them, what second is not


def lane_by_lane(f: Callable[..., Any], name: str, args: Sequence[Any], in_axes: Any, reduce: str | None) -> Any:
    """Call a function at one lane after the other, on handles or plain numbers, and put the results together."""
    one, axes, lanes = lane_signature(name, args, in_axes)
    leaves = one.taken_apart(args)
    results = [f(*one.build([_at(leaf, axis, lane) for leaf, axis in zip(leaves, axes)])) for lane in range(lanes)]
    if not results:
        example = f(*one.build(list(map(_zeros, one.shapes))))
        if reduce == MIXED:
            return [_of_no_lanes(part, how) for part, how in zip(example, ("sum", None))]
        return _of_no_lanes(example, reduce)
    if reduce == MIXED:
        return [_joined(part, how) for part, how in zip(zip(*results), ("sum", None))]
    return _joined(results, reduce)


def _joined(results: Sequence[Any], reduce: str | None) -> Any:
    flat = [flatten(result) for result in results]
    parts = [_together([found[k] for found, _ in flat], reduce) for k in range(len(flat[0][0]))]
    return flat[0][1].unflatten(parts)


def _zeros(shape: tuple[int, ...] | None) -> Any:
    return 0.0 if shape is None else np.zeros(shape)


def _of_no_lanes(example: Any, reduce: str | None) -> Any:
    """Return what there is of no lanes, in the form of the result at zeros."""

    def empty(leaf: Any) -> Any:
        if reduce is None:
            return np.zeros((0, *shape_of(leaf)))
        whole = np.full(shape_of(leaf), 0.0 if reduce == "sum" else np.nan)
        return whole if whole.shape else float(whole)

    return map_leaves(empty, example)


def _at(leaf: Any, axis: int | None, lane: int) -> Any:
    return leaf if axis is None else leaf[(slice(None),) * axis + (lane,)]


def _together(parts: list[Any], reduce: str | None) -> Any:
    if reduce is None:
        return engine.Array(parts) if any(map(is_handle, parts)) else np.array(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / float(len(parts)) if reduce == "mean" else total
