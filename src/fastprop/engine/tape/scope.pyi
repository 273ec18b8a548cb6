"""Transforms at work, and the tapes that they have entered."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import disjoint_base

_Result = TypeVar("_Result")

class Innermost(threading.local):
    active: active_scope | None

innermost: Innermost

@disjoint_base
class active_scope:  # noqa: N801 (used like a function)
    @property
    def engine(self) -> Any: ...
    @property
    def tape(self) -> Any: ...
    @property
    def outer(self) -> active_scope | None: ...
    def __init__(self, engine: Any, tape: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...
    def run(self, function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result: ...
