"""Marshal: results built in C, from slots and from arrays that hold lanes; Slab: memory for large arrays."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from typing_extensions import disjoint_base

from fastprop.handles.nesting import Nesting

TYPES: tuple[np.dtype[Any], ...]

@disjoint_base
class Slab:
    def __new__(cls, size: int) -> Self: ...

def number(slot: int) -> Any: ...
def array(slot: int, shape: Sequence[int], dtype: Any = ...) -> Any: ...
def block(index: int, shape: Sequence[int] | None = None, dtype: Any = ...) -> Any: ...
def constant(value: Any) -> Any: ...

@disjoint_base
class Marshal:
    slots: int
    blocks: int
    nbytes: int
    recycles: bool
    def __init__(self, nesting: Nesting, leaves: Sequence[Any], recycle: bool = True) -> None: ...
    def clear(self) -> None: ...
    def build_from(self, store: np.ndarray[Any, Any], blocks: Sequence[Any] | None = None) -> Any: ...
    def claim_blocks(self) -> list[Any]: ...
