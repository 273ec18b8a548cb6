"""Products of two matrices that a trace keeps as one gate: what is pulled through them, and how that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.items import object_array
from fastprop.engine.parts import Parts
from fastprop.gates.blocks import MatMul, StrongMatMul, swap_last, total

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

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on every operand, recorded: of rows and columns on which nothing is pulled, None."""
        left, right = self._matrices(object_array(list(operands), (len(operands),)))
        rows, columns = (np.unique(x) for x in np.divmod(np.fromiter(pull.found, np.intp), self.columns))
        pulls = Bundle(self._array([pull.found.get(i * self.columns + j, 0.0) for i in rows for j in columns], rows))
        on_left, on_right = np.full(left.shape, None), np.full((self.columns, self.depth), None)
        if any(wanted[1 : 1 + left.size]):
            on_left[rows] = numbers_of(StrongMatMul()(pulls, Bundle(right[:, columns].T)))
        if any(wanted[1 + left.size :]):
            on_right[columns] = numbers_of(StrongMatMul()(swap_last(pulls), Bundle(left[rows])))
        return [None, *on_left.flat, *on_right.flat]

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Parts:
        """Return the tangents of all numbers, recorded."""
        along = [None if tangent is None else Parts.of(tangent).found.get(0) for tangent in tangents]
        there = self._matrices(np.array([x is not None for x in along]))
        moving = self._matrices(object_array([0.0 if x is None else x for x in along], (len(along),)))
        left, right = self._matrices(object_array(list(operands), (len(operands),)))
        parts = []
        if there[0].any():
            terms = np.flatnonzero(there[0].any(axis=0))
            parts.append(StrongMatMul()(Bundle(moving[0][:, terms]), Bundle(right[terms])))
        if there[1].any():
            terms = np.flatnonzero(there[1].any(axis=1))
            parts.append(StrongMatMul()(Bundle(left[:, terms]), Bundle(moving[1][terms])))
        return Parts(dict(enumerate(numbers_of(total(parts)).flat)))

    def _matrices(self, numbers: Any) -> tuple[Any, Any]:
        """Return the operands as two matrices."""
        middle = 1 + self.rows * self.depth
        return numbers[1:middle].reshape(self.rows, self.depth), numbers[middle:].reshape(self.columns, self.depth).T

    @staticmethod
    def _array(numbers: list[Any], rows: Any) -> Any:
        return object_array(numbers, (len(rows), len(numbers) // max(len(rows), 1)))
