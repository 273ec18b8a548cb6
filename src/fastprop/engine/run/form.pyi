"""Form: what a call's arguments look like; Reading: what was read of one call; Forms: the forms known so far."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import disjoint_base

from fastprop.handles.nesting import Nesting

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
