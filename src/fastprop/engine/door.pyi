"""The door: a call's arguments are matched and read, and its result is built, in C."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from typing_extensions import disjoint_base

from fastprop.handles.nesting import Nesting

# door/form, door/matching

@disjoint_base
class Reading: ...

@disjoint_base
class Form:
    owner: str
    count: int
    names: tuple[str, ...]
    nestings: list[Nesting]
    positions: list[int | str]
    static: dict[int, Any]
    shapes: list[tuple[int, ...] | None]
    dtypes: list[np.dtype[Any] | None]
    constants: list[Any]
    handles: list[int]
    dtype: np.dtype[Any]
    key: Any
    def __init__(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        static: Sequence[int] = (),
        dtype: Any = None,
        owner: str = "the function",
        strided: bool = False,
    ) -> None: ...
    def __len__(self) -> int: ...
    def name(self, leaf: int) -> str: ...
    def leaves_of(self, argument: int | str) -> range: ...
    def place(self, leaf: int) -> tuple[str, int]: ...
    def read(
        self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> tuple[list[float], list[np.ndarray[Any, Any]]] | None: ...
    def holds_handles(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> bool: ...
    def _match(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None, reading: Reading) -> int: ...

@disjoint_base
class Forms:
    def __init__(self, make: Callable[[tuple[Any, ...], dict[str, Any]], Form]) -> None: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def entries(self) -> list[Any]: ...
    def keep(self, form: Form, entry: Any) -> Any: ...
    def lookup(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Any: ...

# door/marshal

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
