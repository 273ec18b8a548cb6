"""Updates: one step of an update rule over all parameters, in one pass over their numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from fastprop.handles.nesting import Nesting

# update/update

@disjoint_base
class Update:
    @property
    def params(self) -> list[Any]: ...
    @property
    def nesting(self) -> Nesting: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def handles(self) -> bool: ...
    steps: int
    def __new__(
        cls,
        kind: str,
        options: dict[str, Any],
        width: int,
        params: list[Any],
        nesting: Nesting,
        names: list[str],
        handles: bool,
        start: float,
        instruction_set: str,
    ) -> Update: ...
    def step(
        self,
        rate: float,
        params: Any,
        grads: Any,
        frozen: frozenset[str] | None,
        in_place: bool,
        own: Callable[..., Any] | None = None,
    ) -> Any: ...
    def step_handles(
        self, rate: float, frozen: frozenset[str] | None, own: Callable[..., Any] | None = None
    ) -> None: ...
    def moments_of(self, k: int) -> tuple[int, list[Any]]: ...
    def set_moments(self, k: int, steps: int, moments: list[Any]) -> None: ...

def are_same(left: list[Any], right: list[Any]) -> bool: ...
def sum_of_squares(numbers: NDArray[np.floating[Any]], instruction_set: str) -> float: ...
def divided(numbers: NDArray[np.floating[Any]], by: float, instruction_set: str) -> NDArray[np.floating[Any]]: ...
