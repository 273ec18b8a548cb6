"""Operands of a region: numbers of the trace that it is recorded on, each of which is one, however often it is used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.captured import slots_of_captured
from fastprop.circuits.trace import Retrace, current_trace
from fastprop.engine.tape import OutsideError, Trace, Unit, belongs, number_slots, slot_in, slots_of_keys, values_at

__all__ = ["Operands"]

UNKNOWN = -1
SLOT = (1 << 32) - 1  # what a result's key says of its slot; above it is the number of its trace


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
        self._slots: Any = None  # an array, once it is recorded
        self._number_of: dict[int, int] = {}  # slot of the trace -> operand, while it is recorded
        self._order: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]  # afterwards: slots as they rise, operands
        self._elsewhere: dict[Any, int] = {}  # of leaves, and of results of traces around that one

    def __len__(self) -> int:
        return len(self._slots) if self.sealed else len(self._number_of)

    def seal(self) -> None:
        """Let no operand be added any more, and keep no more than what finds them."""
        slots = self.slots
        order = np.argsort(slots).astype(np.int32)
        self._slots, self._order, self._number_of, self.sealed = slots, (slots[order], order), {}, True

    @property
    def slots(self) -> np.ndarray[Any, Any]:
        """The slots of all operands, int32."""
        return self._slots if self.sealed else np.fromiter(self._number_of, np.int32, len(self._number_of))

    def values(self) -> np.ndarray[Any, Any]:
        """Return the operands' values where they are recorded."""
        found: np.ndarray[Any, Any] = values_at(self.trace, self.slots)
        return found

    def number(self, unit: Any) -> int:
        """Return the number of a Unit, which is added if it is new."""
        tape = unit._tape
        key = tape.number << 32 | unit._slot if tape is not None else (unit, UNKNOWN)
        return self.number_of(key, lambda: self._checked(unit))

    def _checked(self, unit: Any) -> Any:
        trace = current_trace()
        if trace is not None and not belongs(unit, trace):
            raise OutsideError(
                f"{self.name}: a vmap in a traced function got a result that was computed outside of it; pass it "
                "as an argument, or give its .value if a constant is meant"
            )
        return unit

    def number_of(self, key: Any, unit: Callable[[], Unit]) -> int:
        """Return the number of what is known by a key, as `find` has it; of what `unit` returns, if it is new."""
        number = self._known(key)
        if number != UNKNOWN:
            return number
        if self.sealed:
            raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
        number = int(self.numbers(np.array([slot_in(self.trace, unit())], np.int32))[0])
        if not self._is_own(key):
            self._elsewhere[key] = number
        return number

    def _is_own(self, key: Any) -> bool:
        return type(key) is int and key >> 32 == self.trace.number

    def _known(self, key: Any) -> int:
        if self._is_own(key):
            return int(self._at(np.array([key & SLOT], np.int32))[0])
        return self._elsewhere.get(key, UNKNOWN)

    def _at(self, slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the numbers of slots of the trace, which lie in a row; -1: it is none."""
        if not self.sealed:
            return np.fromiter(
                map(self._number_of.get, slots.tolist(), itertools.repeat(UNKNOWN)), np.int32, len(slots)
            )
        rising, order = self._order
        places = np.minimum(np.searchsorted(rising, slots), max(len(rising) - 1, 0))
        found = np.full(len(slots), UNKNOWN, np.int32)
        known = rising[places] == slots if len(rising) else np.zeros(len(slots), np.bool_)
        found[known] = order[places[known]]
        return found

    def find(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the numbers of results, each known by its trace's number and its slot, in one int; -1: it is none."""
        found = np.full(len(keys), UNKNOWN, np.int32)
        own = keys >> 32 == self.trace.number
        found[own] = self._at(keys[own] & SLOT)
        if not own.all():
            found[~own] = [self._elsewhere.get(key, UNKNOWN) for key in keys[~own].tolist()]
        return found

    def numbers(self, slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the numbers of slots of the trace, an array of int32; what is new is added in this order."""
        flat = np.ravel(slots)
        found = self._at(flat) if self.sealed else number_slots(self._number_of, flat)
        if (found == UNKNOWN).any():
            raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
        return found.reshape(np.shape(slots))

    def leaves(self, captured: Sequence[tuple[Any, int]]) -> list[int]:
        """Return the numbers of captured leaves: Units (and -1), or Arrays and places in them."""
        found = list(map(self._elsewhere.get, captured, itertools.repeat(UNKNOWN)))
        if UNKNOWN in found:
            if self.sealed:
                raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
            fresh = list(dict.fromkeys([pair for pair, number in zip(captured, found) if number == UNKNOWN]))
            slots = np.array(slots_of_captured(self.trace, fresh), np.int32)
            self._elsewhere.update(zip(fresh, self.numbers(slots).tolist()))
            found = [self._elsewhere[pair] for pair in captured]
        return found

    def results(self, keys: np.ndarray[Any, Any]) -> list[int]:
        """Return the numbers of results of traces around a body, whose keys these are."""
        found = self.find(keys)
        fresh = keys[found == UNKNOWN]
        if len(fresh):
            if self.sealed:
                raise Retrace(f"{self.name} takes a path on which it uses more of what is outside of it")
            numbers = self.numbers(slots_of_keys(self.trace, fresh))
            elsewhere = fresh >> 32 != self.trace.number
            self._elsewhere.update(zip(fresh[elsewhere].tolist(), numbers[elsewhere].tolist()))
            found = self.find(keys)
        return found.tolist()  # type: ignore[no-any-return]
