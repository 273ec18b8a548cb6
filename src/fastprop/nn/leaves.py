"""The leaves of Modules: what is one, its numbers, and what stands for it in a pickle or a copy."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

import numpy as np

from fastprop.engine.tape import Array, Unit
from fastprop.handles.nesting import as_number, is_handle, shape_of

__all__ = ["SavedLeaf", "differences", "is_leaf", "is_setting", "numbers_of", "plain", "shape_given"]


def is_leaf(x: Any) -> bool:
    """Say whether `x` is a leaf, a Unit or Array that was made by hand."""
    return isinstance(x, (Unit, Array)) and x._tape is None


def is_setting(value: Any) -> bool:
    """Say whether a Module was made with this, and shows it: a number, a string, or a tuple of them."""
    return isinstance(value, (int, float, str)) or (isinstance(value, tuple) and all(map(is_setting, value)))


def numbers_of(leaf: Any) -> Any:
    """Return the numbers of a leaf: a float, or an array of its own."""
    return np.array(leaf.value) if shape_of(leaf) else leaf.value


def plain(value: Any, name: str) -> Any:
    """Return a number, or an array of numbers, that is to be kept: TypeError if it is none."""
    found = as_number(value)
    if found is None or is_handle(found):
        raise TypeError(f"{name} with {type(value).__name__} {value!r:.60}; expected plain numbers to keep")
    return found


def shape_given(value: Any) -> tuple[int, ...]:
    """Return the shape of what stands in for a leaf."""
    return shape_of(value) if hasattr(value, "shape") else np.shape(value)


def differences(name: str, value: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> list[str]:
    """Say in what an array is not what is expected."""
    wrong = []
    if value.shape != expected.shape:
        wrong.append(f"{name} has the shape {value.shape}, expected {expected.shape}")
    if value.dtype != expected.dtype:
        wrong.append(f"{name} has the dtype {value.dtype}, expected {expected.dtype}")
    return wrong


class SavedLeaf:
    """A leaf as it is pickled, or copied deeply: one that stands in several places stays one."""

    known: ClassVar[weakref.WeakValueDictionary[int, SavedLeaf]] = weakref.WeakValueDictionary()

    def __init__(self, leaf: Any):
        self.leaf = leaf

    @classmethod
    def of(cls, leaf: Any) -> SavedLeaf:
        """Return what stands for a leaf, the same one as long as somebody holds it."""
        return cls.known.setdefault(id(leaf), cls(leaf))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.leaf), (numbers_of(self.leaf),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = type(self.leaf)(numbers_of(self.leaf))
        memo.setdefault(id(memo), []).append(self)  # kept alive, as deepcopy does it
        return made
