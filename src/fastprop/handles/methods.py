"""The gates, and the functions of arrays, as methods of handles. Made from the tables.

``x.exp()`` is as micrograd, NumPy and PyTorch have it; ``a.std(axis=0)`` as NumPy has it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastprop import gates
from fastprop.gates.functions import methods

__all__ = ["ArrayMethods", "GateMethods"]


class GateMethods:
    """The gates of one operand and more, whose first operand is the handle."""

    __slots__ = ()


class ArrayMethods:
    """The functions of arrays that NumPy's arrays have as methods."""

    __slots__ = ()


def _as_method(name: str, function: Callable[..., Any], doc: str) -> Callable[..., Any]:
    def method(self: Any, *operands: Any, **options: Any) -> Any:
        return function(self, *operands, **options)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    return method


for _name in gates.methods:
    _gate = gates.table[_name]
    setattr(GateMethods, _name, _as_method(_name, _gate, f"{_gate.doc} As ``fastprop.{_name}``."))
for _name, _function in methods.items():
    _line = (_function.__doc__ or "").partition("\n")[0]
    _method: Any = _as_method(_name, _function, f"{_line} As ``numpy.{_name}``.")
    _first, *_rest = inspect.signature(_function).parameters.values()
    _method.__signature__ = inspect.Signature([_first.replace(name="self"), *_rest])
    setattr(ArrayMethods, _name, _method)
