"""Functions of a table and two integers, and what NumPy and Arrays on a tape make of them."""

import functools

import numpy as np
import pytest

import fastprop as fp

RNG = np.random.default_rng(7)
TABLE = RNG.normal(size=(5, 3))
ROWS = np.array([0, 4, -5, -1, 2, 3, 3, -2])
COLUMNS = np.array([2, 0, -3, 1, -1, 0, 2, -2])
LANES = len(ROWS)

# Functions of a table and two integers, whose values on plain arrays are NumPy's.
EXPRESSIONS = {
    "an element": lambda T, i, j: T[i, j],
    "an element of a row": lambda T, i, j: T[i][j],
    "a row": lambda T, i, j: T[i].sum(),
    "rows": lambda T, i, j: (T[i] * T[j]).sum(),
    "a column": lambda T, i, j: T[:, j].sum(),
    "from the end": lambda T, i, j: T[-1 - i % 5, 0],
    "the next": lambda T, i, j: T[(i + 1) % 5].sum(),
    "twice as far": lambda T, i, j: T[2 * i % 5, 1],
    "half as far": lambda T, i, j: T[i // 2, 1],
    "a difference": lambda T, i, j: T[(i - j) % 5, 1],
    "a product": lambda T, i, j: T[i * j % 5, 1],
    "part of a row": lambda T, i, j: T[i, 1:].sum(),
    "a row backwards": lambda T, i, j: (T[i, ::-1] * np.arange(3.0)).sum(),
    "a new axis": lambda T, i, j: T[None, i].sum(),
    "an ellipsis": lambda T, i, j: T[..., j].sum(),
    "an ellipsis and a row": lambda T, i, j: T[i, ...].sum(),
    "beside a list": lambda T, i, j: (T[i, [0, 2]] * np.array([1.0, -2.0])).sum(),
    "beside a mask": lambda T, i, j: T[np.array([True, False, True, False, True]), j].sum(),
    "clipped": lambda T, i, j: T[np.clip(i, 0, 3), np.minimum(np.abs(j), 2)],
    "chosen": lambda T, i, j: T[np.where(i < 0, i + 5, i), np.maximum(-j, j) % 3],
    "listed": lambda T, i, j: (T[[i, 0, 2 * i % 5], [j, -1, 0]] * np.array([1.0, 2.0, 3.0])).sum(),
    "of a transposed block": lambda T, i, j: T.T[j, i],
    "of what is computed": lambda T, i, j: (T * T + 1.0)[i, j],
    "and counted": lambda T, i, j: T[i, j] * j + i / 4.0,
    "taken": lambda T, i, j: fp.take(T, i, axis=0).sum(),
    "taken along the last axis": lambda T, i, j: fp.take(T, j, axis=-1).sum(),
    "taken from all": lambda T, i, j: fp.take(T, i * 2),
    "taken by NumPy": lambda T, i, j: np.take(T, i, axis=0).sum(),
    "taken from constants": lambda T, i, j: fp.take([0.5, 1.5, -2.0], j) * T[i, j],
    "several": lambda T, i, j: T[i, j] - T[i, 0] * T[0, j] + T[i, j] * T[i, j],
}


@functools.cache
def judged(f):
    """The values in all lanes, by NumPy."""
    return np.array([f(TABLE, i, j) for i, j in zip(ROWS, COLUMNS)])


@functools.cache
def judged_gradient(f):
    """The gradient that Arrays on a tape have, at plain indices."""
    table = fp.Array(TABLE)
    for i, j in zip(ROWS.tolist(), COLUMNS.tolist()):
        f(table, i, j).backward()
    return table.grad


def mapped(f):
    return fp.vmap(f, (None, 0, 0), reduce="sum")


def unharmed(call, error, match):
    """Check that a call raises."""
    with pytest.raises(error, match=match):
        call()
