"""Operands of a region: numbers of the trace that it is recorded on, each of which is one, however often it is used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.trace import Retrace, current_trace
from fastprop.engine.items import object_array
from fastprop.engine.tape import Trace, Unit, belongs, slot_in, slots_of, values_at

__all__ = ["Operands"]

NONE = -1


class Operands:
    """What a region is computed from, numbered as it comes.

    Parameters
    ----------
    name : str
        The region's, for errors.
    trace : Trace
        On which it is recorded.
    """

    def __init__(self, name: str, trace: Trace):
        self.name, self.trace = name, trace
        self.sealed = False  # once it is recorded, no operand can be added
        self._slots: list[int] = []
        self._number_at = np.full(0, NONE, np.int32)  # of slots of the trace
        self._numbers: dict[Any, int] = {}  # of leaves, and of results of traces around that one

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def slots(self) -> np.ndarray[Any, Any]:
        """The slots of all operands, int32."""
        return np.array(self._slots, np.int32)

    def values(self) -> list[float]:
        """Return the operands' values where they are recorded."""
        found: list[float] = values_at(self.trace, self.slots).tolist()
        return found

    def number(self, unit: Any) -> int:
        """Return the number of a Unit, which is added if it is new."""
        tape = unit._tape
        key = (tape.number, unit._slot) if tape is not None else (unit, NONE)
        return self.number_of(key, lambda: self._checked(unit))

    def _checked(self, unit: Any) -> Any:
        trace = current_trace()
        if trace is not None and not belongs(unit, trace):
            raise ValueError(
                f"{self.name}: a vmap in a traced function got a result that was computed outside of it; pass it "
                "as an argument, or give its .value if a constant is meant"
            )
        return unit

    def number_of(self, key: Any, unit: Callable[[], Unit]) -> int:
        """Return the number of what is known by a key, as `find` has it; of what `unit` returns, if it is new."""
        number = self._known(key)
        if number != NONE:
            return number
        if self.sealed:
            raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
        number = int(self.numbers(np.array([slot_in(self.trace, unit())], np.int32))[0])
        if not self._is_own(key):
            self._numbers[key] = number
        return number

    def _is_own(self, key: Any) -> bool:
        return type(key[0]) is int and key[0] == self.trace.number

    def _known(self, key: Any) -> int:
        if self._is_own(key):
            return int(self._number_at[key[1]]) if key[1] < len(self._number_at) else NONE
        return self._numbers.get(key, NONE)

    def find(self, keys: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
        """Return the numbers of results, each of which is known by its tape's number and its slot; -1: it is none."""
        tapes, slots = np.array(keys, np.int64).reshape(-1, 2).T
        found = np.full(len(keys), NONE, np.int32)
        known = np.flatnonzero((tapes == self.trace.number) & (slots < len(self._number_at)))
        found[known] = self._number_at[slots[known]]
        for k in np.flatnonzero(tapes != self.trace.number).tolist():
            found[k] = self._numbers.get(keys[k], NONE)
        return found

    def numbers(self, slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the numbers of slots of the trace, an array of int32; what is new is added in this order."""
        flat = np.ravel(slots)
        top = int(flat.max(initial=NONE)) + 1
        if top > len(self._number_at):
            more = np.full(max(top, 2 * len(self._number_at)) - len(self._number_at), NONE, np.int32)
            self._number_at = np.concatenate([self._number_at, more])
        fresh = flat[self._number_at[flat] == NONE]
        if len(fresh):
            if self.sealed:
                raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
            if not (np.diff(fresh) > 0).all():
                _, first = np.unique(fresh, return_index=True)
                fresh = fresh[np.sort(first)]
            self._number_at[fresh] = np.arange(len(self._slots), len(self._slots) + len(fresh))
            self._slots += fresh.tolist()
        found: np.ndarray[Any, Any] = self._number_at[flat].reshape(np.shape(slots))
        return found

    def results(self, units: Sequence[Unit], keys: Sequence[tuple[int, int]]) -> list[int]:
        """Return the numbers of results of traces around a body, whose keys these are."""
        found = slots_of(self.trace, object_array(list(units), (len(units),))) if units else None
        if found is not None:
            return self.numbers(found[0]).tolist()  # type: ignore[no-any-return]
        return [self.number_of(key, functools.partial(_same, unit)) for unit, key in zip(units, keys)]


def _same(unit: Unit) -> Unit:
    return unit
