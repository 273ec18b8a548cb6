"""NumPy's comparisons and functions of truth values, where they meet traced values: recorded as conditions."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import ConditionBlock, are_truth_values, elementwise, truths_if
from fastprop.engine.integers import are_integers, as_integer, bitwise, is_whole
from fastprop.engine.on_bundles import unwrapped
from fastprop.engine.tape import let_recorded
from fastprop.handles.face import Face
from fastprop.handles.indexing import is_integer

__all__ = ["array_function", "array_ufunc"]


def array_ufunc(handle: Any, ufunc: np.ufunc, method: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Apply a ufunc to traced values, of which `handle` is one."""
    name = ufunc.__name__
    function = _UFUNCS.get(name)
    if function is None or method != "__call__" or options:
        truths = name in _TRUTHS_AGAIN and all(map(are_truth_values, operands))
        return truths_if(truths, Face.__array_ufunc__(handle, ufunc, method, *operands, **options))
    if name.startswith("bitwise_") and any(map(is_whole, operands)):
        truth, whole = sorted(operands, key=is_whole)
        if gates.is_condition(truth):
            return bitwise(name.removeprefix("bitwise_"), unwrapped((truth,))[0], whole)
    return elementwise(function, operands, True)


def array_function(handle: Any, function: Any, types: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Apply one of NumPy's functions to traced values, of which `handle` is one."""
    name = function.__name__
    if name in _OF_CONDITIONS and arguments and gates.is_condition(arguments[0]):
        block = arguments[0]
        if not isinstance(block, ConditionBlock):
            block = ConditionBlock(np.array(None, object))
            block.numbers[()] = arguments[0]
        return _OF_CONDITIONS[name](block, *arguments[1:], **options)
    given = arguments[_TRUTHS_AGAIN.get(name, slice(0))]
    if given and all(map(are_truth_values, given)):
        numbers = [*arguments]
        numbers[_TRUTHS_AGAIN[name]] = unwrapped(given)
        return Face.__array_function__(handle, function, types, tuple(numbers), options) != 0.0
    found = Face.__array_function__(handle, function, types, arguments, options)
    chosen = tuple([x for x in (arguments[1:] if name == "where" else arguments) if x is not None])
    plain = any(map(is_integer, chosen)) and all(map(is_whole, chosen))  # of which what is traced chooses
    stays = name in ("clip", "where") and (plain or are_integers(chosen)) and not options
    return as_integer(found) if stays else found


def _of_truth_values(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of logic; a number counts as true unless it is 0, a handle is refused as outside of a trace."""

    def logic(*operands: Any) -> Any:
        for x in operands:
            if hasattr(type(x), "__fastprop_gate__") and not gates.is_condition(x):
                raise TypeError(f"np.{name} is no gate of fastprop's; compare the values, as in x != 0")
        return function(*[x if gates.is_condition(x) else bool(x) for x in operands])

    return logic


def _number(x: Any) -> Any:
    return x.unit if gates.is_condition(x) else x


def _is_negative(x: Any) -> Any:
    return (x < 0.0) | ((x == 0.0) & (gates.reciprocal(x) < 0.0))


_LOGIC: dict[str, Callable[..., Any]] = {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "not": lambda x: not x if isinstance(x, bool) else ~x,
}
_UFUNCS: dict[str, Callable[..., Any]] = {
    "equal": lambda x, y: _number(x) == _number(y),
    "not_equal": lambda x, y: _number(x) != _number(y),
    "less": lambda x, y: _number(x) < _number(y),
    "less_equal": lambda x, y: _number(x) <= _number(y),
    "greater": lambda x, y: _number(x) > _number(y),
    "greater_equal": lambda x, y: _number(x) >= _number(y),
    "isnan": lambda x: _number(x) != _number(x),
    "isinf": lambda x: (_number(x) == math.inf) | (_number(x) == -math.inf),
    "isfinite": lambda x: (_number(x) < math.inf) & (_number(x) > -math.inf),
    "signbit": lambda x: _is_negative(_number(x)),
    **{f"logical_{name}": _of_truth_values(f"logical_{name}", function) for name, function in _LOGIC.items()},
    "invert": _of_truth_values("invert", _LOGIC["not"]),
    **{f"bitwise_{x}": _of_truth_values(f"bitwise_{x}", _LOGIC[x]) for x in ("and", "or", "xor")},
}
_OF_CONDITIONS: dict[str, Callable[..., Any]] = {
    "any": lambda block, axis=None, keepdims=False: block.any(axis, keepdims),
    "all": lambda block, axis=None, keepdims=False: block.all(axis, keepdims),
    "count_nonzero": lambda block, axis=None, keepdims=False: block.sum(axis, keepdims),
}
# What makes truth values of truth values, and where these stand among its operands.
_TRUTHS_AGAIN: dict[str, slice] = {
    **dict.fromkeys(("max", "min", "amax", "amin", "sort", "diff", "absolute"), slice(1)),
    **dict.fromkeys(("dot", "inner", "vdot", "outer", "tensordot", "kron", "convolve", "matmul"), slice(2)),
    **dict.fromkeys(("maximum", "minimum", "add", "multiply"), slice(2)),
    "where": slice(1, 3),
    "einsum": slice(1, None),
}


let_recorded(array_ufunc, array_function)
