"""Integers: what integer arrays hold, which may index; under trace, and where they are differentiated.

To the engine they are numbers like any others; that they are whole is known to their handles alone. It stays so through
``+ - * // %`` among integers, as in NumPy; with anything else they give plain numbers.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastprop import gates
from fastprop.engine.tape import Array, Unit, handle_again, no_sequence, refuse
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import is_handle

__all__ = [
    "Integer",
    "IntegerOperators",
    "are_integers",
    "as_integer",
    "bitwise",
    "integer_ufunc",
    "is_whole",
    "refuse_index",
]

INTEGERS_STAY = {
    "add": gates.add,
    "subtract": gates.subtract,
    "multiply": gates.multiply,
    "floor_divide": gates.floor_divide,
    "remainder": gates.remainder,
    "negative": gates.negative,
    "positive": gates.positive,
    "absolute": gates.absolute,
    "maximum": gates.maximum,
    "minimum": gates.minimum,
}
MAY_BE_NEGATIVE_ZERO = (gates.multiply, gates.negative, gates.floor_divide, gates.remainder)  # which no integer is


def are_integers(operands: tuple[Any, ...]) -> bool:
    """Say whether all operands are integers (bools among them count as such), and one of them is traced."""
    return any(map(is_integer, filter(is_handle, operands))) and all(map(_counts, operands))


def _counts(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return all(map(_counts, x))
    truth = isinstance(x, (bool, np.bool_)) or gates.is_condition(x) or getattr(x, "dtype", None) == np.bool_
    return truth or isinstance(x, int) or is_integer(x)


def applied(gate: gates.Row, *operands: Any) -> Any:
    """Apply a gate to integers, which stay integers; as NumPy has it, ``//`` and ``%`` by 0 are 0."""
    found = gate(*operands)
    if gate in (gates.floor_divide, gates.remainder) and not _is_plain_and_not_zero(operands[1]):
        divisor = operands[1] if is_handle(operands[1]) else np.asarray(operands[1])
        found = gates.where(divisor == 0, 0.0, found)
    return as_integer(found + 0.0 if gate in MAY_BE_NEGATIVE_ZERO else found)


def _is_plain_and_not_zero(x: Any) -> bool:
    return not is_handle(x) and bool(np.all(np.asarray(x) != 0))


def as_integer(x: Any) -> Any:
    """Return a traced number, or a block of them, as the integers that they are."""
    if hasattr(x, "as_integers"):
        return x.as_integers()
    return handle_again(x, Integer if isinstance(x, Unit) else IntegerArray)


def integer_ufunc(ufunc: np.ufunc, method: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Apply a ufunc of which integers stay integers; NotImplemented if it is any other, or of anything else."""
    gate = INTEGERS_STAY.get(ufunc.__name__)
    if gate is None or method != "__call__" or options or not are_integers(operands):
        return NotImplemented
    return applied(gate, *operands)


def is_whole(x: Any) -> bool:
    """Say whether `x` is an integer, Python's too, or holds integers; truth values are none."""
    return is_integer(x) or (isinstance(x, int) and not isinstance(x, bool))


def bitwise(relation: str, truth: Any, whole: Any) -> Any:
    """Return `and`, `or` or `xor` of integers and 1 or 0, bit by bit, as NumPy has it: numbers."""
    odd = whole % 2
    if relation == "and":
        return truth * odd
    return whole + truth * (1 - odd if relation == "or" else 1 - 2 * odd)


class IntegerOperators:
    """The operators of what may hold integers."""

    __slots__ = ()


def _operator(name: str, gate: gates.Row, reflected: bool) -> Any:
    def method(self: Any, *other: Any) -> Any:
        operands = (*other, self) if reflected else (self, *other)
        if are_integers(operands):
            return applied(gate, *operands)
        return getattr(super(IntegerOperators, self), name)(*other)

    method.__name__ = method.__qualname__ = name
    return method


for _symbol, _gate in {
    "add": gates.add,
    "sub": gates.subtract,
    "mul": gates.multiply,
    "floordiv": gates.floor_divide,
    "mod": gates.remainder,
}.items():
    setattr(IntegerOperators, f"__{_symbol}__", _operator(f"__{_symbol}__", _gate, False))
    setattr(IntegerOperators, f"__r{_symbol}__", _operator(f"__r{_symbol}__", _gate, True))
for _symbol, _gate in {"neg": gates.negative, "pos": gates.positive, "abs": gates.absolute}.items():
    setattr(IntegerOperators, f"__{_symbol}__", _operator(f"__{_symbol}__", _gate, False))


class Integer(IntegerOperators, Unit):
    """A traced whole number: an element of an integer array, a NumPy integer, or what is computed of such alone."""

    __slots__ = ()
    dtype = np.dtype(np.int64)

    def as_integers(self) -> Integer:
        """Return it as it is."""
        return self

    def as_variable(self, trace: Any, variables: Any = None) -> Integer:
        """Return the variable of a transform that stands for it."""
        return as_integer(trace._variable(handle_again(self, Unit)))  # type: ignore[no-any-return]

    def __index__(self) -> int:
        if hasattr(self._tape, "as_block"):
            refuse_index()
        return int(self.value)

    __int__ = __index__

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        refuse_index()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        found = integer_ufunc(ufunc, method, operands, options)
        return super().__array_ufunc__(ufunc, method, *operands, **options) if found is NotImplemented else found


no_sequence(Integer)


class IntegerArray(IntegerOperators, Array):
    """An integer array that is differentiated, outside of traces: as an index a constant."""

    __slots__ = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the integers that it stands for."""
        return np.dtype(np.int64)

    def as_integers(self) -> IntegerArray:
        """Return it as it is."""
        return self

    def astype(self, dtype: Any) -> Any:
        """Return it as it is, as integers; else its numbers, as an Array has them."""
        return self if np.dtype(dtype).kind in "iu" else super().astype(dtype)

    def __getitem__(self, index: Any) -> Any:
        return as_integer(super().__getitem__(index))


def refuse_index() -> NoReturn:
    """Refuse: it would bake a constant in."""
    refuse(
        "a traced integer, as the index of a list or a captured ndarray, as a length or by NumPy,",
        remedy="write fp.take(table, i, axis=0) for table[i], table = fp.at(table)[i].set(v) for table[i] = v, or give "
        "the function the table as an argument; of what are no numbers choose by an if, as i == 0; a length is named "
        "in static_argnums of fp.compile",
    )
