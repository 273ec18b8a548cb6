"""vmap without a circuit: one lane after the other, on handles or plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from fastprop import engine
from fastprop.circuits.signature import lane_signature
from fastprop.engine.integers import as_integer, is_whole
from fastprop.gates import is_condition
from fastprop.gates.numbers import as_array
from fastprop.gates.shapes import stack
from fastprop.handles.indexing import OutOfRangeError, in_lane
from fastprop.handles.nesting import Nesting, flatten, is_handle, order_of, shape_of, structure

__all__ = ["MIXED", "block_of", "called_where_none_is", "in_order", "joined_lanes", "lane_by_lane", "of_no_lanes"]

MIXED = "mixed"  # how lanes are reduced: what the function returns first is summed over them, what second is not


def lane_by_lane(
    f: Callable[..., Any],
    name: str,
    args: Sequence[Any],
    in_axes: Any,
    reduce: str | None,
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Call a function at one lane after the other, on handles or plain numbers, and put the results together."""
    one, axes, lanes = lane_signature(name, args, in_axes, (), kwargs)
    leaves = list(map(as_array, one.taken_apart(args, kwargs)))
    results = [
        _called(f, one.build([_at(leaf, axis, lane) for leaf, axis in zip(leaves, axes)]), lane)
        for lane in range(lanes)
    ]
    if not results:
        example = called_where_none_is(lambda x: _called(f, one.build([block_of(x, shape) for shape in one.shapes])))
        if reduce == MIXED:
            return [of_no_lanes(part, how) for part, how in zip(example, ("sum", None))]
        return of_no_lanes(example, reduce)
    if reduce == MIXED:
        return [joined_lanes(name, part, how) for part, how in zip(zip(*results), ("sum", None))]
    return joined_lanes(name, results, reduce)


def joined_lanes(name: str, results: Sequence[Any], reduce: str | None) -> Any:
    """Put the results of all lanes together."""
    flat = [flatten(result, nones=True) for result in results]
    first, nesting = flat[0]
    form = nesting, [shape_of(leaf) for leaf in first]
    rows = [[found[k] for k in in_order(name, form, (other, [shape_of(x) for x in found]))] for found, other in flat]
    return nesting.unflatten([_together([row[k] for row in rows], reduce) for k in range(len(first))])


Form = tuple[Nesting, Sequence[tuple[int, ...] | None]]  # of a result: how it is nested, and the shapes of its leaves


def in_order(name: str, first: Form, other: Form) -> list[int]:
    """Return where the leaves of a result are in another lane's: TypeError if that has another structure."""
    order = order_of(other[0], first[0])
    if order is None or [other[1][k] or () for k in order] != [shape or () for shape in first[1]]:
        raise TypeError(
            f"{name} returned {structure(*other)} in one lane and {structure(*first)} in another; the lanes of a vmap "
            "must return the same structure, so that they can be put together"
        )
    return order


def _called(f: Callable[..., Any], given: tuple[list[Any], dict[str, Any]], lane: int = 0) -> Any:
    try:
        return f(*given[0], **given[1])
    except (OutOfRangeError, LinAlgError) as error:
        raise in_lane(error, lane) from None
    except IndexError as error:  # of plain arrays, or of the function itself
        error.add_note(f"in lane {lane}")
        raise


def block_of(number: float, shape: tuple[int, ...] | None) -> Any:
    """Return one number again and again, in the shape of a leaf."""
    return number if shape is None else np.full(shape, number)


def called_where_none_is(f: Callable[[float], Any]) -> Any:
    """Return what a function gives, of which only the form is asked: at zeros, or, where they are no good, at NaN."""
    with np.errstate(all="ignore"):
        try:
            return f(0.0)
        except (LinAlgError, ArithmeticError):  # singular, or what is divided by
            return f(np.nan)


def of_no_lanes(example: Any, reduce: str | None) -> Any:
    """Return what there is of no lanes, in the form of an example of the result."""

    def empty(leaf: Any) -> Any:
        if reduce is None:
            return np.zeros((0, *shape_of(leaf)))
        whole = np.full(shape_of(leaf), 0.0 if reduce == "sum" else np.nan)
        return whole if whole.shape else float(whole)

    leaves, nesting = flatten(example, nones=True)
    return nesting.unflatten(map(empty, leaves))


def _at(leaf: Any, axis: int | None, lane: int) -> Any:
    return leaf if axis is None else leaf[(slice(None),) * axis + (lane,)]


def _together(parts: list[Any], reduce: str | None) -> Any:
    if reduce is None and any(map(is_condition, parts)):
        return stack(parts)
    if reduce is None:
        found = engine.Array(parts) if any(map(is_handle, parts)) else np.array(parts)
        return as_integer(found) if is_handle(found) and all(map(is_whole, parts)) else found
    truths = getattr(parts[0], "dtype", None) == np.bool_  # of which NumPy's + makes another one
    total = parts[0] * 1.0 if truths else parts[0]
    for part in parts[1:]:
        total = total + part
    return total / float(len(parts)) if reduce == "mean" else total
