"""BoundCall: a circuit at one point, with the arrays that it reads and writes in place."""

from typing import Any

from typing_extensions import disjoint_base

@disjoint_base
class BoundCall:
    def __new__(cls, *args: Any) -> Any: ...
    def __call__(self) -> Any: ...
