"""Parts: what is pulled on, or the tangent of, a gate of many results, while derivatives are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastprop import gates

__all__ = ["Item", "Parts", "Pick"]


class Parts:
    """Pulls or tangents by what they belong to: the number of a result, or (array, axis) of an array that a map makes.

    Those of an array are a block with the lanes first, which in the array are along the axis.
    """

    shape = ()

    def __init__(self, found: dict[Any, Any]):
        self.found = found

    @staticmethod
    def of(x: Any) -> Parts:
        """Return parts as they are; anything else belongs to the first result."""
        return x if isinstance(x, Parts) else Parts({0: x})

    def add(self, other: Any) -> None:
        """Add others to these."""
        for key, part in Parts.of(other).found.items():
            self.found[key] = self.found[key] + part if key in self.found else part

    def __add__(self, other: Any) -> Parts:
        total = Parts(dict(self.found))
        total.add(other)
        return total

    __radd__ = __add__


class Pick:
    """The gate that gives one result of another one."""

    name = "pick"
    tangent_work = 1

    def __init__(self, result: int):
        self.result = result

    def recorded_pulls(self, pull: Parts, operands: Any, wanted: Any) -> list[Any]:
        """Return what is pulled on the gate of many results."""
        return [Parts({self.result: pull.found[0]})]

    def recorded_tangent(self, tangents: Any, operands: Any) -> Any:
        """Return the tangent of the one result."""
        return Parts.of(tangents[0]).found.get(self.result)


class Item:
    """The gate that gives one of several numbers: its operands are an index, then these."""

    name = "item"
    tangent_work = 1

    def __init__(self, record: Callable[[Any, list[Any]], Any]):
        self.record = record

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on every number: the pull, or nothing."""
        index, size = operands[0], len(operands) - 1
        place = gates.where(index < 0.0, index + float(size), index)
        chosen = [
            gates.where(place == float(k), pull.found[0], 0.0) if want else None for k, want in enumerate(wanted[1:])
        ]
        return [None, *chosen]

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Any:
        """Return the tangent of the number that is chosen."""
        return self.record(operands[0], [0.0 if x is None else Parts.of(x).found.get(0, 0.0) for x in tangents[1:]])
