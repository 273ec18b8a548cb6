"""Products of two matrices that a trace keeps as one gate: what is pulled through them, and how that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.items import object_array
from fastprop.engine.parts import Parts
from fastprop.gates.blocks import MatMul, StrongMatMul

__all__ = ["Product"]


class Product:
    """What a trace knows of a product: its operands are how many rows there are, and both matrices.

    The left one stands there by rows, the right one by columns.
    """

    name = "matmul"

    def __init__(self, rows: int, depth: int, columns: int):
        self.rows, self.depth, self.columns = rows, depth, columns

    def forget(self) -> None:
        """Let go of what is of use only while it is recorded: nothing."""

    def is_swept(self, numbers: Any, arrays: Any) -> bool:
        """Say whether gradients inside can go through it: always."""
        return True

    def pulled_example(self, arrays: Any, pulls: Any, numbers: Any, active: Any) -> Any:
        """Return what pulls bring to the operands where it is recorded."""
        with np.errstate(all="ignore"):
            left, right = MatMul().backward(pulls.reshape(self.rows, self.columns), *self._matrices(numbers))
        return np.concatenate([[0.0], left.ravel(), right.T.ravel()])

    def work_of_tangents(self, moving: Sequence[int]) -> int:
        """Return how many products of numbers tangents take, from the directions in which operands move, bit by bit."""
        counts, middle = list(map(int.bit_count, moving)), 1 + self.rows * self.depth
        return self.columns * sum(counts[1:middle]) + self.rows * sum(counts[middle:])

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on every operand that is wanted, recorded; None where nothing is."""
        left, right = self._matrices(_objects(operands))
        wanted_left, wanted_right = self._matrices(np.array(wanted))
        pulls = {divmod(place, self.columns): part for place, part in pull.found.items()}
        turned = {(j, i): part for (i, j), part in pulls.items()}
        on_left = _products(pulls, right.T, wanted_left.any(axis=1), left.shape)
        on_right = _products(turned, left, wanted_right.any(axis=0), (self.columns, self.depth))
        return [None, *on_left.flat, *on_right.flat]

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Parts:
        """Return the tangents of the numbers that have some, recorded."""
        along = [None if tangent is None else Parts.of(tangent).found.get(0) for tangent in tangents]
        left, right = self._matrices(_objects(operands))
        left_moves, right_moves = self._matrices(np.array([x is not None for x in along]))
        left_along, right_along = self._matrices(_objects([0.0 if x is None else x for x in along]))
        found = Parts({})
        for moves, moving, other, turned in (
            (left_moves, left_along, right.T, False),
            (right_moves.T, right_along.T, left, True),
        ):
            rows, terms = np.flatnonzero(moves.any(axis=1)), np.flatnonzero(moves.any(axis=0))
            if not len(rows):
                continue
            made, block = np.repeat(other[:, terms].T, len(rows), axis=0), moving[np.ix_(rows, terms)]
            if len(terms) > 1 or any(type(x) is not float or x != 1.0 for x in block.flat):
                made = numbers_of(StrongMatMul()(Bundle(block), Bundle(other[:, terms].T)))
            for (i, j), number in np.ndenumerate(made):
                place = j * self.columns + rows[i] if turned else rows[i] * self.columns + j
                found.add(Parts({int(place): number}))
        return found

    def _matrices(self, numbers: Any) -> tuple[Any, Any]:
        """Return the operands as two matrices."""
        middle = 1 + self.rows * self.depth
        return numbers[1:middle].reshape(self.rows, self.depth), numbers[middle:].reshape(self.columns, self.depth).T


def _objects(numbers: Sequence[Any]) -> Any:
    return object_array(list(numbers), (len(numbers),))


def _products(pulls: dict[tuple[int, int], Any], others: Any, wanted: Any, shape: tuple[int, int]) -> Any:
    """Return the sums of pulls on (row, column) times those rows of others that the columns are, for rows wanted.

    Rows on whose same columns is pulled are one product.
    """
    found = np.full(shape, None)
    columns: dict[int, list[int]] = {}
    for i, j in sorted(pulls):
        columns.setdefault(i, []).append(j)
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, those in columns.items():
        if wanted[i]:
            alike.setdefault(tuple(those), []).append(i)
    for same, rows in alike.items():
        block = object_array([pulls[i, j] for i in rows for j in same], (len(rows), len(same)))
        found[rows] = numbers_of(StrongMatMul()(Bundle(block), Bundle(others[list(same)])))
    return found
