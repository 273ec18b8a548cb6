"""How a gate is applied: to plain numbers and arrays here, to the handles of an engine by that engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop.gates.numbers import number, without_flags
from fastprop.gates.values import random_integers, strong_product
from fastprop.hints import OPTIONS, refuse_options

SEQUENCE = -1  # the arity of a gate that takes one sequence (dot: two) of any length

inf = math.inf

ANY = (-inf, inf)


@dataclass(frozen=True, eq=False, repr=False)
class Row:
    """One gate: a row of the table, callable on numbers and on the handles of either engine."""

    __module__ = "fastprop.gates"  # where each row is a global, and is found again by pickle

    name: str
    arity: int
    value: Callable[..., float]
    partials: Any  # one callable (or None: a constant operand) per operand; n-ary: one callable that gives a list
    domain: tuple[tuple[float, float], ...] = (ANY,)  # one closed interval per operand
    at: tuple[Any, ...] = ()  # test points of the row's own: kinks, ties, branch points, tails
    strong: bool = False  # an operand whose partial is exactly 0 was not chosen, to any order (maximum, relu, where …)
    defaults: tuple[float, ...] = ()  # of the last operands
    names: tuple[str, ...] = ()  # of the operands that may be given by keyword
    doc: str = ""  # one sentence, for the function's docstring and the table in the docs

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """Apply the gate to numbers, arrays, or the handles of an engine."""
        if len(operands) == self.arity and not options:
            for operand in operands:
                if type(operand) is not float:
                    break
            else:
                return self.value(*operands)
        return apply(self, *self.bind(operands, options))

    def __repr__(self) -> str:
        return f"<gate {self.name}>"

    def __reduce__(self) -> str:
        return self.name  # a row is pickled and copied as the global that it is

    @property
    def parameters(self) -> list[str]:
        """The operands as a function's parameters, each with its default: ``["x", "negative_slope=0.01"]``."""
        if self.arity == SEQUENCE:
            return ["a", "b", "/"] if self.name == "dot" else ["values", "/", "axis=None", "keepdims=False"]
        parameters = list(self.names or ("x", "y", "z")[: self.arity])
        for i, default in enumerate(self.defaults, self.arity - len(self.defaults)):
            parameters[i] += f"={default}" if math.isfinite(default) else "=None"
        return parameters if self.names else [*parameters, "/"]

    def bind(self, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Complete a call: all operands, keywords and defaults filled in, and the options that are left."""
        if self.arity == SEQUENCE:
            return _bind_sequence(self, operands, options)
        given = list(operands)
        missing = self.arity - len(self.defaults)  # operands that have no default
        for position in range(len(given), self.arity):
            name = self.names[position] if self.names else None
            if name in options:
                given.append(options[name])
            elif position >= missing:
                given.append(self.defaults[position - missing])
            else:
                break
        unknown = [name for name in options if name not in self.names[len(operands) :]]
        if unknown:
            refuse_options(self.name, unknown, OPTIONS["of arrays"])
            raise TypeError(f"{self.name}() got an unexpected or repeated keyword {unknown[0]!r}")
        if len(given) != self.arity:
            raise TypeError(f"{self.name}() takes {self.arity} operand{'s' * (self.arity > 1)}, got {len(operands)}")
        for position, default in enumerate(self.defaults, missing):
            if given[position] is None and math.isinf(default):  # a bound of clip that is not there
                given[position] = default
        if self.partials[0] is None and hasattr(type(given[0]), "__fastprop_gate__") and not is_condition(given[0]):
            if getattr(getattr(given[0], "dtype", None), "kind", "") in ("i", "u"):  # without a derivative
                return (given[0] != 0, *given[1:]), {}
            raise TypeError(
                f"{self.name}: operand 0 is a {type(given[0]).__name__}, and has no derivative there; expected a "
                "comparison, such as x > 0.0, or a plain number, as .value is"
            )
        return tuple(given), {}

    def evaluate(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return the value on plain numbers or on arrays of them."""
        if self.arity == SEQUENCE:
            return _evaluate_sequence(self, operands, options)
        return _evaluate_elementwise(self, operands)


class Gate:
    """A gate of the user's own.

    A subclass gives `forward` and `backward`; options go to its ``__init__``, and an instance is called on operands:

    >>> class Cube(Gate):
    ...     def forward(self, x):
    ...         return x * x * x
    ...     def backward(self, pull, x):
    ...         return pull * 3.0 * x * x
    >>> Cube()(2.0)
    8.0

    A circuit calls it back: at one point with floats (or arrays, where operands are Arrays), in lanes one by one, in
    order. If the class says ``vectorised = True``, it is called once for many lanes, with arrays whose first axis are
    the lanes (constants stay as they are), and gives such arrays.
    """

    vectorised = False

    @property
    def name(self) -> str:
        """The gate's name in messages and summaries: that of its class."""
        return type(self).__name__

    def __call__(self, *operands: Any) -> Any:
        """Apply the gate to numbers, arrays, or the handles of an engine."""
        return apply(self, operands, {})

    def forward(self, *values: Any) -> Any:
        """Return the gate's value, from its operands' values (floats or arrays)."""
        raise NotImplementedError(f"{self.name} has no forward(self, *values)")

    def backward(self, pull: Any, *values: Any) -> Any:
        """Return the pull on the operand, or a tuple with one (or None) per operand, from that on the gate's result."""
        raise NotImplementedError(f"{self.name} has no backward(self, pull, *values)")

    def evaluate(self, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return forward's value on plain numbers or on arrays of them."""
        numbers = [number(self, position, x, arrays=True) for position, x in enumerate(operands)]
        value = self.forward(*numbers, **options)
        if value is None:
            raise TypeError(f"{self.name}.forward returned None; expected the gate's value")
        return value


def apply(gate: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Apply a gate: recorded by the engine whose handles are among the operands, else on plain numbers."""
    for operand in operands:
        record = recorder_of(operand)
        if record is not None:
            return record(gate, operands, options)
    return gate.evaluate(operands, options)


def recorder_of(operand: Any) -> Any:
    """Return the recording function of the engine that a handle belongs to, also in nested lists; else None."""
    waiting = [operand]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif hasattr(type(item), "__fastprop_gate__"):
            return type(item).__fastprop_gate__
    return None


def is_condition(x: Any) -> bool:
    """Say whether `x` is what comparing traced values gives."""
    return getattr(type(x), "__fastprop_condition__", False)


def _evaluate_elementwise(row: Row, operands: tuple[Any, ...]) -> Any:
    """Return the row's value on numbers, or on arrays in NumPy's broadcasting and dtypes (integers as float64)."""
    numbers = [number(row, position, x, arrays=True) for position, x in enumerate(without_flags(operands))]
    if all(type(x) is float for x in numbers):
        return row.value(*numbers)
    dtype = result_dtype(row, numbers)
    with np.errstate(all="ignore"):  # NaN and infinity propagate, without a warning, as they do for scalars
        if row.name in _UFUNCS:
            return _UFUNCS[row.name](*[np.asarray(x, dtype) for x in numbers])
        return np.frompyfunc(row.value, row.arity, 1)(*[np.asarray(x, np.float64) for x in numbers]).astype(dtype)


def result_dtype(row: Row, numbers: Sequence[Any]) -> np.dtype[Any]:
    """Return the dtype of a row's result on floats and arrays: floats are weak, and a condition has no say."""
    dtypes = [x.dtype for x in numbers[row.partials[0] is None :] if isinstance(x, np.ndarray)]
    return np.result_type(*dtypes) if dtypes else np.dtype(np.float64)


def _bind_sequence(row: Row, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    expected = 2 if row.name == "dot" else 1
    if expected == 1 and 1 < len(operands) <= 3 and len(getattr(operands[0], "shape", ())) > 0:  # as NumPy's: a, axis
        operands, options = operands[:1], {**dict(zip(("axis", "keepdims"), operands[1:])), **options}
    if len(operands) != expected:
        hint = f"; {row.name}imum takes two numbers" if row.name in ("max", "min") else ""
        raise TypeError(
            f"{row.name}() takes {'two sequences' if expected == 2 else 'one sequence'}, "
            f"got {len(operands)} operand{'s' * (len(operands) != 1)}{hint}"
        )
    for name in options:
        if name not in ("axis", "keepdims") or expected == 2:
            refuse_options(row.name, [name], OPTIONS["of arrays"])
            raise TypeError(f"{row.name}() got an unexpected keyword {name!r}")
    return operands, options


def _evaluate_sequence(row: Row, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return an n-ary row's value on one sequence (dot: two) of numbers, or along axes of an array."""
    plain = not options and all(type(operand) in (list, tuple) for operand in operands)
    if plain and not any(isinstance(x, (list, tuple, np.ndarray)) for operand in operands for x in operand):
        if len({len(operand) for operand in operands}) > 1:
            raise ValueError(f"dot: the sequences have lengths {len(operands[0])} and {len(operands[1])}")
        return row.value(*[number(row, k, x) for operand in operands for k, x in enumerate(operand)])
    arrays = [np.asarray(number(row, position, x, arrays=True)) for position, x in enumerate(without_flags(operands))]
    with np.errstate(all="ignore"):
        result = _REDUCTIONS[row.name](*arrays, **options)
    return float(result) if type(result) is np.float64 else result


def logsumexp_array(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the logarithm of the sum of exponentials along axes, to the last digits where it is near 0."""
    x = np.asarray(x)  # also one number
    top = np.max(x, axis=axis, keepdims=True, initial=-inf)
    shift = np.where(np.isfinite(top), top, 0.0).astype(x.dtype)
    equal = x == top  # each of them is a 1 in the sum, of which one is left to log1p
    others = np.sum(np.where(equal, 0.0, np.exp(x - shift)), axis=axis, keepdims=True)
    more = np.sum(equal, axis=axis, keepdims=True) - 1.0
    result = np.where(np.isfinite(top), np.log1p(others + more) + shift, top).astype(x.dtype)
    return result if keepdims else np.squeeze(result, axis)[()]


def _mean(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> Any:
    """Return NumPy's mean, which of no numbers is NaN without a warning."""
    return np.mean(x, axis=axis, keepdims=keepdims) if x.size else np.sum(x, axis=axis, keepdims=keepdims) * math.nan


# NumPy's functions of the same names
_UFUNCS: dict[str, Any] = {name: x for name, x in vars(np).items() if isinstance(x, np.ufunc)}
_UFUNCS |= {"clip": np.clip, "where": np.where, "round": np.rint, "strong_multiply": strong_product}
_UFUNCS["random_integer"] = random_integers
del _UFUNCS["maximum"], _UFUNCS["minimum"]  # which may give -0 for the larger of 0 and -0
_REDUCTIONS: dict[str, Any] = {name: getattr(np, name) for name in ("sum", "prod", "mean", "max", "min", "dot")}
_REDUCTIONS |= {"logsumexp": logsumexp_array, "mean": _mean}
