"""Masks: truth values among arguments, which are ones and zeros to the engine and truth values to functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import Bundle, ConditionBlock, condition_of, object_array
from fastprop.engine.slots import Slots
from fastprop.engine.tape import Unit

__all__ = ["Mask", "as_ones", "as_truths"]


class Mask(ConditionBlock):
    """The truth values for which the ones and zeros of a block stand, which maps may take as a whole."""

    __slots__ = ("ones",)

    def __init__(self, ones: Bundle):
        super().__init__(None)
        self.ones = ones

    def slots(self) -> Slots | None:
        """Return the slots of its numbers, if it is known by them."""
        return self.ones.slots()

    @property
    def numbers(self) -> np.ndarray[Any, Any]:
        """An object array of Conditions."""
        if self._made is None:
            self._made = object_array(list(map(as_truths, self.ones.numbers.flat)), self.shape)
        return self._made

    def as_numbers(self) -> Bundle:
        """Return ones and zeros."""
        return self.ones

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        return self.ones.shape

    @property
    def _tape(self) -> Any:
        return self.ones._tape


def as_truths(x: Any) -> Any:
    """Return ones and zeros, traced or not, as the truth values for which they stand."""
    if isinstance(x, Bundle):
        return Mask(x)
    return condition_of(x) if isinstance(x, Unit) else np.not_equal(x, 0.0)


def as_ones(x: Any) -> Any:
    """Return truth values, traced or not, as ones and zeros."""
    if isinstance(x, ConditionBlock):
        return x.as_numbers()
    return x.unit if gates.is_condition(x) else np.asarray(x, np.float64)[()]
