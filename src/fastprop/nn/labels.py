"""Labels and tokens: integers from 0 on that choose; unlike the indices of arrays they don't count from the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.take import take
from fastprop.gates import is_condition
from fastprop.gates.items import as_item, holds_handles
from fastprop.gates.numbers import as_array
from fastprop.handles.indexing import OutOfRangeError, is_integer, looking, trace_of
from fastprop.handles.nesting import is_handle, shape_of

__all__ = ["as_block", "as_labels", "numbers_at", "rows_at"]


def as_block(x: Any) -> Any:
    """Return a handle as it is, a list with handles in it stacked, and anything else as an array of its own dtype."""
    if is_handle(x):
        return x
    return as_item(x) if holds_handles(x) or as_array(x) is None else np.asarray(x)


def as_labels(name: str, word: str, labels: Any, count: int, counted: Any = None) -> Any:
    """Return labels that are integers from 0 on, less than `count`; traced ones are checked where they index.

    Parameters
    ----------
    name, word : str
        Who takes them, and what they are called there.
    labels : int, array of int, or traced integers
        The labels.
    count : int
        How many there are to choose from.
    counted : array of bool or traced conditions, optional
        Which of them are looked at; others become 0.

    Raises
    ------
    TypeError
        If they are no integers: bools and floats are none.
    IndexError
        If one is out of range.
    """
    labels = as_block(labels)
    if 0 in shape_of(labels):  # what has no numbers does not say whether they are integers
        return np.zeros(shape_of(labels), np.int64)
    if not is_integer(labels):
        kind = getattr(labels, "dtype", None)
        if is_handle(labels) or is_condition(labels):
            kind = "bools" if is_condition(labels) else f"floats ({type(labels).__name__})"
        raise TypeError(
            f"{name}: {word}s are integers from 0 to {count - 1}; got {kind}. Of others .astype(int) makes them; under "
            "trace they are elements of integer arrays, and NumPy's integers, among the arguments"
        )
    if counted is not None:
        labels = np.where(counted, labels, 0)
    if trace_of(labels) is not None:
        return np.where(labels < 0, labels - count, labels)  # so that indexing refuses it
    wrong = np.argwhere((labels < 0) | (labels >= count))
    if len(wrong):
        row = tuple(wrong[0].tolist())
        where = f" in row {row[0] if len(row) == 1 else row}" if row else ""
        raise OutOfRangeError(f"{name}: {word} {labels[row]}{where}; expected 0 to {count - 1}")
    return labels.astype(np.int64)


def rows_at(who: str, table: Any, labels: Any) -> Any:
    """Return the rows of a table at labels, which errors call by a name such as "Embedding: token"."""
    with looking.by(who):
        if not is_handle(table):
            return take(table, labels, axis=0)
        return table[labels if shape_of(labels) or trace_of(labels) is not None else int(labels)]


def numbers_at(who: str, numbers: Any, labels: Any) -> Any:
    """Return for every row along the last axis the number that a label chooses; as `rows_at`."""
    numbers = as_item(numbers)
    lead = shape_of(labels)
    if trace_of(labels) is not None and not is_handle(numbers):
        numbers = Bundle(numbers_of(np.asarray(numbers)))
    rows = np.indices(lead, sparse=True) if lead else ()
    with looking.by(who):
        return numbers[(*rows, labels if lead or trace_of(labels) is not None else int(labels))]
