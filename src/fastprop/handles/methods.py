"""The gates as methods of handles: ``x.exp()``, as micrograd, NumPy and PyTorch have it. Made from the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastprop import gates

__all__ = ["GateMethods"]


class GateMethods:
    """The gates of one operand and more, whose first operand is the handle."""

    __slots__ = ()


def _as_method(gate: gates.Row) -> Callable[..., Any]:
    def method(self: Any, *operands: Any, **options: Any) -> Any:
        return gate(self, *operands, **options)

    method.__name__ = method.__qualname__ = gate.name
    method.__doc__ = f"{gate.doc} As ``fastprop.{gate.name}``."
    return method


for _name in gates.methods:
    setattr(GateMethods, _name, _as_method(gates.table[_name]))
