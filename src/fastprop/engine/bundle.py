"""Bundle: an Array under trace, a block of numbers; and the blocks of truth values and of lanes that there are.

Gates are recorded for each of its numbers, all of one operation at once. Runs of equal gates are what the executor is
fastest at, so a block needs no gate of its own.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from fastprop import gates
from fastprop.engine.integers import (
    Integer,
    IntegerOperators,
    as_integer,
    bitwise,
    integer_ufunc,
    is_whole,
)
from fastprop.engine.items import items_at, object_array
from fastprop.engine.refusals import Unread
from fastprop.engine.slots import Slots, aliases, logic, slots_in
from fastprop.engine.tape import (
    Trace,
    Unit,
    apply_gate,
    current_tape,
    let_blocks,
    recorded_function,
    recorded_ufunc,
    refuse_outside,
)
from fastprop.gates import blocks
from fastprop.gates.numbers import as_array, as_flag, as_real, as_reals
from fastprop.handles.face import ArrayFace
from fastprop.handles.indexing import of_index, own_index, trace_of
from fastprop.handles.nesting import flatten, is_container

__all__ = [
    "Bundle",
    "ConditionBlock",
    "LaneBlock",
    "along",
    "are_truth_values",
    "array_of",
    "by_slots",
    "condition_of",
    "elementwise",
    "lane_block",
    "let_conditions",
    "let_lane_blocks",
    "numbers_of",
    "object_array",
    "wrapped",
]


class Bundle(Unread, IntegerOperators, ArrayFace):
    """A block of Units with a shape, which are made when they are asked for if it is one of slots."""

    __slots__ = ("_integer", "_made", "_slots", "name")
    __hash__ = object.__hash__

    __fastprop_block__ = True
    __fastprop_whole__ = True

    def __init_subclass__(cls) -> None:
        cls.__name__ = Bundle.__name__

    def __init__(self, numbers: np.ndarray[Any, Any] | None, slots: Slots | None = None):
        self._made, self._slots = numbers, slots
        self._integer = False  # what it would hold if it held anything
        self.name = None

    @property
    def numbers(self) -> np.ndarray[Any, Any]:
        """An object array of Units and floats."""
        if self._made is None:
            assert self._slots is not None
            self._made = self._slots.units()
        return self._made

    def slots(self) -> Slots | None:
        """Return the slots of its numbers, if it is known by them."""
        return self._slots

    def slots_in(self, trace: Any) -> Slots | None:
        """Return its numbers as slots of a trace, if they are Units there and floats."""
        found = self.slots()
        if found is None:
            return None if self.integer else slots_in(trace, self.numbers)
        return found if found.trace is trace else None

    def as_variable(self, trace: Any, variables: Callable[..., Slots] = aliases, array: Any = None) -> Any:
        """Return the variable of a transform that stands for it: `variables` gives those of its numbers."""
        found = Bundle(None, variables(trace, self))
        return found.as_integers() if self.integer else found

    def made_units(self) -> tuple[Any, list[Any]]:
        """Return that no Unit stands for the whole of it, and those of the numbers."""
        return None, list(self.numbers.flat)

    def made_slots(self) -> tuple[int | None, np.ndarray[Any, Any]]:
        """Return the same by the slots."""
        whole, numbers = self.made_units()
        slots = self._slots.at if self._slots is not None else np.array([unit._slot for unit in numbers], np.int32)
        return None if whole is None else whole._slot, np.ravel(slots)

    def recorded(self) -> np.ndarray[Any, Any]:
        """Return the values where they are recorded."""
        slots = self.slots()
        if slots is not None:
            return slots.values()
        values = [x if isinstance(x, float) else x._recorded for x in self.numbers.flat]
        return np.array(values).reshape(self.shape)

    @staticmethod
    def made_of(numbers: list[Any], shape: tuple[int, ...]) -> Any:
        """Return a block of these Units and floats, or blocks of them (a derivative per number).

        Of equally nested containers, the container of blocks.
        """
        if numbers and is_container(type(numbers[0])):
            flat = [flatten(tree, nones=True) for tree in numbers]
            parts = [Bundle.made_of([leaves[k] for leaves, _ in flat], shape) for k in range(len(flat[0][0]))]
            return flat[0][1].unflatten(parts)
        if not numbers or not isinstance(numbers[0], Bundle):
            return Bundle(object_array(numbers, shape))
        inner = [number for block in numbers for number in block.numbers.flat]
        return Bundle(object_array(inner, (*shape, *numbers[0].shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        shape: tuple[int, ...] = (self.numbers if self._slots is None else self._slots.at).shape
        return shape

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """int64 of integers; else float64: a circuit's dtype is chosen when it is traced, and nowhere else."""
        return np.dtype(np.int64 if self.integer else np.float64)

    @property
    def integer(self) -> bool:
        """Whether it holds integers alone; of no numbers, whether it was made of such."""
        if self._integer or self._slots is not None:
            return self._integer
        return self.size > 0 and all(type(x) is Integer for x in self.numbers.flat)

    def as_integers(self) -> Any:
        """Return the same numbers as integers, which they are."""
        tape: Any = current_tape() if self._tape is None else self._tape
        units = [x if isinstance(x, Unit) else tape._variable(float(x)) for x in self.numbers.flat]
        found = Bundle(object_array(list(map(as_integer, units)), self.shape))
        found._integer = not units
        return found

    def astype(self, dtype: Any) -> Any:
        """Return the numbers as floats, as they are; cut off, as integers; or as whether they are not 0."""
        kind = np.dtype(dtype).kind
        if kind == "b":
            return self != 0.0
        if kind in "iu":
            return self if self.integer else as_integer(gates.trunc(self))
        return super().astype(dtype)

    @property
    def _tape(self) -> Any:
        if self._slots is not None:
            return self._slots.trace
        for number in self.numbers.flat:
            if not isinstance(number, float):
                return number._tape
        return None

    def __getitem__(self, index: Any) -> Any:
        """Return a number of the block, or a part of it; conditions that choose numbers are decided, as by an if."""
        if type(index) is not int:
            index = _decided(index)
            if trace_of(index) is not None:
                return self._part(items_at(self.numbers, index))
        slots = self.slots()
        try:
            if slots is not None and np.ndim(slots.at[index]) > 0:
                return (ConditionBlock if isinstance(self, ConditionBlock) else Bundle)(
                    None, slots.moved(lambda part: part[index])
                )
            return self._part(self.numbers[index])
        except IndexError as error:
            raise of_index(error) from None

    def _part(self, numbers: Any) -> Any:
        """Return numbers that were picked: of none it is a block of what this one holds."""
        if isinstance(numbers, np.ndarray) and not numbers.size and self.integer:
            return Bundle(numbers).as_integers()
        return wrapped(numbers, isinstance(self, ConditionBlock))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.numbers.tolist()) if len(self.shape) == 1 else super().__iter__()

    def __repr__(self) -> str:
        return f"<traced Array of shape {self.shape}: recorded, no values>"

    # fmt: off
    def __eq__(self, other: Any) -> Any: return _compared(self, other, operator.eq, False)
    def __ne__(self, other: Any) -> Any: return _compared(self, other, operator.ne, True)
    def __lt__(self, other: Any) -> Any: return _compared(self, other, operator.lt)
    def __le__(self, other: Any) -> Any: return _compared(self, other, operator.le)
    def __gt__(self, other: Any) -> Any: return _compared(self, other, operator.gt)
    def __ge__(self, other: Any) -> Any: return _compared(self, other, operator.ge)
    # fmt: on

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        found = integer_ufunc(ufunc, method, operands, options)
        return recorded_ufunc(self, ufunc, method, operands, options) if found is NotImplemented else found

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:

        return recorded_function(self, function, types, args, options)

    @staticmethod
    def __fastprop_gate__(gate: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:

        return apply_gate(gate, operands, options)


Bundle.__name__ = "Array"  # which it is to users, who see it in messages


class ConditionBlock(Bundle):
    """What comparing a traced Array gives: a block of Conditions (and of bools, where plain numbers were compared)."""

    __slots__ = ()
    __fastprop_condition__ = True
    __fastprop_whole__ = False
    __hash__ = None  # type: ignore[assignment]

    # fmt: off
    def __and__(self, other: Any) -> Any: return _joined(operator.and_, self, other)
    def __or__(self, other: Any) -> Any: return _joined(operator.or_, self, other)
    def __xor__(self, other: Any) -> Any: return _joined(operator.xor, self, other)
    def __invert__(self) -> Any: return elementwise(lambda x: not x if isinstance(x, bool) else ~x, (self,), True)
    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__
    # as NumPy has it, + and * of truth values alone are or and and, @ of them goes so, and - is nothing
    def __add__(self, other: Any) -> Any: return self | other if are_truth_values(other) else super().__add__(other)
    def __mul__(self, other: Any) -> Any: return self & other if are_truth_values(other) else super().__mul__(other)
    __radd__, __rmul__ = __add__, __mul__
    def __matmul__(self, other: Any) -> Any: return truths_if(are_truth_values(other), super().__matmul__(other))
    def __rmatmul__(self, other: Any) -> Any: return truths_if(are_truth_values(other), super().__rmatmul__(other))
    # fmt: on

    def __sub__(self, other: Any) -> Any:
        if are_truth_values(other):
            raise TypeError("truth values can't be subtracted; use ^, or fp.subtract if they stand for numbers")
        return super().__sub__(other)

    def __rsub__(self, other: Any) -> Any:
        return (-self.as_numbers()) + other if not are_truth_values(other) else self - other

    def __neg__(self) -> NoReturn:
        raise TypeError("truth values have no negative; use ~ for not, or fp.negative if they stand for numbers")

    @property
    def integer(self) -> bool:
        """Return that it holds no integers, without a look at them."""
        return False

    @property
    def _tape(self) -> Any:
        """The trace to which the first of them belongs; of bools, the one that is recording."""
        if self._slots is not None:
            return self._slots.trace
        return next((x.unit._tape for x in self.numbers.flat if gates.is_condition(x)), current_tape())

    def slots_in(self, trace: Any) -> None:
        """Return that it holds no numbers."""

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return whether one of them is true, as a Condition, or along axes."""
        return wrapped(along(lambda row: functools.reduce(operator.or_, row, False), axis, keepdims, self), True)

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return whether all of them are true, as a Condition, or along axes."""
        return wrapped(along(lambda row: functools.reduce(operator.and_, row, True), axis, keepdims, self), True)

    @property
    def numbers(self) -> np.ndarray[Any, Any]:
        """An object array of Conditions and bools."""
        if self._made is None:
            units = super().numbers
            self._made = object_array(list(map(_condition_of[0], units.flat)), units.shape)
        return self._made

    def as_numbers(self) -> Bundle:
        """Return ones and zeros."""
        if self._slots is not None:
            return Bundle(None, self._slots)
        numbers = [x.unit if gates.is_condition(x) else float(x) for x in self.numbers.flat]
        return Bundle(object_array(numbers, self.shape))

    def astype(self, dtype: Any) -> Any:
        """Return ones and zeros, as integers if `dtype` is one of these; truth values as they are."""
        kind = np.dtype(dtype).kind
        return self if kind == "b" else as_integer(self.as_numbers()) if kind in "iu" else self.as_numbers()

    def __repr__(self) -> str:
        return f"<traced conditions of shape {self.shape}>"


class LaneBlock(Bundle):
    """An array that a vmap makes under trace: a number for every lane, or a block of them.

    `number` is its own among the arrays of the recording. Sums and means over the lanes, gates on lanes and other vmaps
    take it as a whole; for everything else it is taken apart into its numbers, once.
    """

    __slots__ = ("is_same", "map_unit", "mapped", "number", "unpacked", "whole")

    __fastprop_block__ = False

    def __init__(
        self,
        mapped: Callable[..., Any],
        unpacked: Callable[[LaneBlock], list[Any]],
        map_unit: Any,
        number: int,
        shape: tuple[int, ...],
    ):
        self.mapped, self.unpacked, self.map_unit, self.number, self.whole = mapped, unpacked, map_unit, number, shape
        self.is_same: Callable[[], bool] | None = None  # says whether it is known to be the same in all lanes
        super().__init__(None)
        map_unit._tape.recording.array_slots.add(map_unit._slot)

    @property
    def integer(self) -> bool:
        """Whether it holds integers alone."""
        return self._integer

    def as_integers(self) -> LaneBlock:
        """Return the same array as integers, which it holds."""
        found = LaneBlock(self.mapped, self.unpacked, self.map_unit, self.number, self.whole)
        found._integer, found.is_same = True, self.is_same
        return found

    def as_variable(self, trace: Any, variables: Callable[..., Slots] = aliases, array: Any = None) -> LaneBlock:
        """Return the variable of a transform that stands for it.

        `variables` gives those of its numbers; `array`, if given, the Unit and the number of an array that does.
        """
        if array is None:
            alias, number = trace._variable(self.map_unit), self.number_in(trace)
        else:
            alias, number = array(self.map_unit, self.number_in(trace))

        def numbers(block: LaneBlock) -> list[Any]:
            return list(variables(trace, Bundle(self.numbers)).units().flat)

        found = LaneBlock(self.mapped, numbers, alias, number, self.whole)
        return found.as_integers() if self.integer else found

    def number_in(self, trace: Any) -> int:
        """Return its number among the arrays of a recording, its own or one inside of that."""
        number: int = trace.recording.array_number(trace, self.map_unit._tape, self.number)
        return number

    def slots_in(self, trace: Any) -> None:
        """Return that it is an array."""

    def array(self) -> int:
        """Return its number among the arrays of the recording at work."""
        return self.number_in(current_tape())

    def made_units(self) -> tuple[Any, list[Any]]:
        """Return the Unit that stands for the whole, and those of the numbers, as far as they were asked for."""
        return self.map_unit, [] if self._made is None else list(self._made.flat)

    @property
    def lanes(self) -> int:
        """How many lanes there are, which are along the first axis."""
        return self.whole[0]

    @property
    def numbers(self) -> Any:
        """An object array of Units, which are recorded when they are first asked for."""
        if self._made is None:
            units = self.unpacked(self)
            self._made = object_array(list(map(as_integer, units)) if self.integer else units, self.whole)
        return self._made

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis; the lanes are the first."""
        return self.whole

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.whole)

    @property
    def _tape(self) -> Any:
        return self.map_unit._tape


def lanes_moved(block: Any, axis: int) -> Any:
    """Return a block whose lanes are the first axis with lanes along another one."""
    if axis == 0:
        return block
    if isinstance(block, LaneBlock):
        return _mapped_move(block.mapped, block, axis)
    numbers = block.numbers if isinstance(block, Bundle) else np.asarray(block, object)
    return Bundle(np.moveaxis(numbers, 0, axis))


def _mapped_move(mapped: Callable[..., Any], block: Any, axis: int) -> Any:
    """Return the same as maps inside of maps, so that lanes stay lanes."""
    if axis == 0:
        return mapped(gates.positive, (block,), (0,), None)
    return mapped(lambda part: _mapped_move(mapped, part, axis - 1), (block,), (1,), None)


def wrapped(numbers: Any, truths: bool = False) -> Any:
    """Return a single number as it is, a block of them as a Bundle; with `truths`, of none it is one of conditions."""
    if not isinstance(numbers, np.ndarray):
        return numbers
    if numbers.shape == ():
        return numbers.item()
    found = [isinstance(x, bool) or gates.is_condition(x) for x in numbers.flat] or [truths]
    if any(found) and not all(found):  # beside numbers they count as such
        plain = [x.unit if gates.is_condition(x) else float(x) if isinstance(x, bool) else x for x in numbers.flat]
        return Bundle(object_array(plain, numbers.shape))
    return (ConditionBlock if any(found) else Bundle)(numbers)


def _decided(index: Any) -> Any:
    """Return an index with truth values in the place of conditions, which makes guards of them; of nothing, plain."""
    if isinstance(index, tuple):
        return tuple(map(_decided, index))
    if isinstance(index, ConditionBlock):
        return np.array([bool(x) for x in index.numbers.flat], bool).reshape(index.shape)
    if isinstance(index, Bundle) and not index.size:
        return own_index(index)
    return bool(index) if gates.is_condition(index) else index


def numbers_of(x: Any) -> Any:
    """Return a block as an object array of Units and floats; a single number as it is."""
    if isinstance(x, Bundle):
        return x.numbers
    if hasattr(type(x), "__fastprop_gate__"):
        if x.shape == ():
            return x
        if getattr(x, "_tape", None) is not None and isinstance(current_tape(), Trace):
            refuse_outside()
        # an Array that was made outside: each of its numbers is read at every call
        return object_array([x[place] for place in np.ndindex(x.shape)], x.shape)
    if isinstance(x, (list, tuple)):
        return as_reals(x, "the list", flags=True).astype(object)
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.ndim == 0):
        return x.item()
    if isinstance(x, np.ndarray) and x.dtype != object:
        return (x if x.dtype.kind == "b" else as_reals(x, "an array")).astype(object)
    return x


def elementwise(function: Callable[..., Any], operands: tuple[Any, ...], truths: bool = False) -> Any:
    """Apply a function number by number, with NumPy's broadcasting; `truths` says whether it gives truth values."""
    numbers = [numbers_of(x) for x in operands]
    shape = np.broadcast_shapes(*map(np.shape, numbers))
    if shape == ():
        return function(*numbers)
    flat = []
    for x in numbers:
        if np.shape(x) == ():
            flat.append([x] * math.prod(shape))
        else:
            flat.append(list(np.broadcast_to(x, shape).flat))
    return wrapped(object_array(list(map(function, *flat)), shape), truths)


def _compared(x: Any, y: Any, relation: Callable[[Any, Any], Any], others: bool | None = None) -> Any:
    """Return a comparison with numbers; of anything else what `others` says, for all numbers of the block."""
    y = as_array(y)
    plain = isinstance(y, np.ndarray) and y.dtype.kind in "iufb"
    number = as_real(y) is not None or as_flag(y) is not None
    if plain or number or isinstance(y, (list, tuple)) or hasattr(type(y), "__fastprop_gate__"):
        slots = logic(relation, by_slots(x), by_slots(y))
        if slots is not None:
            return ConditionBlock(None, slots)
        return elementwise(relation, (x, y), True)
    return NotImplemented if others is None else np.full(x.shape, others)


def truths_if(truths: bool, numbers: Any) -> Any:
    """Return numbers that were made of truth values as these again, if they are such in NumPy."""
    return numbers != 0.0 if truths else numbers


def _joined(relation: Any, x: ConditionBlock, y: Any) -> Any:
    """Return `and`, `or` or `xor` of truth values; with integers they are numbers."""
    slots = None
    if is_whole(y):
        return bitwise(relation.__name__.strip("_"), x.as_numbers(), y)
    if isinstance(y, ConditionBlock) and relation is not operator.xor:
        slots = logic(relation, by_slots(x), by_slots(y))
    return elementwise(relation, (x, y), are_truth_values(y)) if slots is None else ConditionBlock(None, slots)


def are_truth_values(x: Any) -> bool:
    """Whether an operand is a condition, a bool, or a block of these."""
    return gates.is_condition(x) or as_flag(x) is not None or (isinstance(x, np.ndarray) and x.dtype.kind == "b")


def by_slots(x: Any) -> Any:
    """Return truth values that are known by their slots as numbers; anything else as it is."""
    return x.as_numbers() if isinstance(x, ConditionBlock) and x.slots() is not None else x


def array_of(x: Any) -> np.ndarray[Any, Any]:
    """Return a block, or a single number, as an object array."""
    numbers = numbers_of(x)
    return numbers if isinstance(numbers, np.ndarray) else object_array([numbers], ())


def along(function: Callable[[Any], Any], axis: Any, keepdims: bool, block: Any) -> Any:
    """Apply a function of a row of numbers along axes."""
    return blocks.Reduction(axis, keepdims).of_rows(function, array_of(block))


# What makes a LaneBlock of an array of a trace: the floor above says how it is mapped, and taken apart.
_of_lane_blocks: list[Callable[..., Any]] = []


def let_lane_blocks(mapped: Callable[..., Any], unpacked: Callable[[LaneBlock], list[Any]]) -> None:
    """Take what maps a gate over a LaneBlock, and what takes one apart."""
    _of_lane_blocks[:] = [mapped, unpacked]


def mapped_rows(f: Callable[..., Any], blocks: Sequence[Any]) -> Any:
    """Record what a function makes of every row of some blocks, the lanes of a map."""
    return _of_lane_blocks[0](f, tuple(blocks), (0,) * len(blocks), None)


def lane_block(unit: Any, number: int, shape: tuple[int, ...]) -> LaneBlock:
    """Return an array of a trace, for which a Unit stands."""
    mapped, unpacked = _of_lane_blocks
    return LaneBlock(mapped, unpacked, unit, number, shape)


# What makes a Condition of a Unit that is 1 or 0: the floor above says it.
_condition_of: list[Callable[..., Any]] = []


def condition_of(unit: Any) -> Any:
    """Return the Condition of a Unit that is 1 or 0."""
    return _condition_of[0](unit)


def let_conditions(condition: Callable[..., Any]) -> None:
    """Take what makes a Condition of a Unit that is 1 or 0."""
    _condition_of[:] = [condition]


def _block_of(trace: Any, array: Any) -> Bundle:
    """Return a block on a trace of the numbers of a captured Array, or of a plain one."""
    found = None if isinstance(array, np.ndarray) else slots_in(trace, array)
    return Bundle(numbers_of(array)) if found is None else Bundle(None, found)


let_blocks(_block_of)
