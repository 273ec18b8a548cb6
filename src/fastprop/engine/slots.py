"""Blocks of numbers by their slots: the gates of a block are recorded at once, and no Unit is made for a number of it.

What a block can't do in this way is left to be done number by number (None), with the same result.
"""

from __future__ import annotations

import contextlib
import math
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine import kernels
from fastprop.engine.integers import are_integers
from fastprop.engine.tape import (
    CONSTANT,
    Array,
    Trace,
    Unit,
    current_tape,
    handles_at,
    record_elements,
    record_gates,
    record_logic,
    record_product,
    slot_in,
    slots_of,
    stand_ins_at,
    values_at,
)
from fastprop.gates import Row, blocks
from fastprop.gates.numbers import as_flag, as_real, as_reals
from fastprop.gates.shares import LogSumExp

__all__ = [
    "REDUCED",
    "Slots",
    "aliases",
    "at_once",
    "elements",
    "every_number_by_itself",
    "every_slot",
    "inward",
    "logic",
    "places_of",
    "slots_in",
    "unit_at",
]

REDUCED = {
    blocks.Sum: gates.sum,
    blocks.Mean: gates.mean,
    blocks.Prod: gates.prod,
    blocks.Max: gates.max,
    blocks.Min: gates.min,
    LogSumExp: gates.logsumexp,
}
TURNED = {operator.gt: operator.lt, operator.ge: operator.le}
ROOM = 1 << 20  # operands of gates that are recorded at once
DEEP, LARGE = 8, 1 << 12  # terms, and products in all, from which on a product of matrices is one gate


class _Manner(threading.local):
    """How a thread records."""

    in_sums = False


_manner = _Manner()


@contextlib.contextmanager
def every_number_by_itself() -> Iterator[None]:
    """Let this thread record each number of a product as a gate, for who looks at the gates one by one."""
    before, _manner.in_sums = _manner.in_sums, True
    try:
        yield
    finally:
        _manner.in_sums = before


@dataclass(frozen=True, eq=False)
class Slots:
    """Numbers of a trace: their slots, and, where that is CONSTANT, numbers (None: there are none)."""

    trace: Trace
    at: np.ndarray[Any, Any]
    constants: np.ndarray[Any, Any] | None = None

    def moved(self, move: Any) -> Slots:
        """Return the numbers that a function of arrays picks, or puts elsewhere."""
        return Slots(self.trace, move(self.at), None if self.constants is None else move(self.constants))

    def units(self) -> Any:
        """Return an object array of Units, and of floats."""
        if self.constants is None:
            return handles_at(self.trace, self.at)
        there = self.at != CONSTANT
        found = self.constants.astype(object)
        found[there] = handles_at(self.trace, self.at[there])
        return found

    def ends(self) -> list[Any]:
        """Return the slots one after the other, and floats in the places of constants."""
        found: list[Any] = np.ravel(self.at).tolist()
        if self.constants is not None:
            numbers = np.ravel(self.constants).tolist()
            found = [number if slot == CONSTANT else slot for slot, number in zip(found, numbers)]
        return found

    def values(self) -> np.ndarray[Any, Any]:
        """Return the values where they are recorded."""
        if self.constants is None:
            recorded: np.ndarray[Any, Any] = values_at(self.trace, self.at)
            return recorded
        there = self.at != CONSTANT
        found = self.constants.copy()
        found[there] = values_at(self.trace, self.at[there])
        return found


def at_once(gate: Any, operands: tuple[Any, ...], product: Any) -> Slots | None:
    """Record a gate on blocks of slots; None if that must be done number by number.

    `product` makes what a trace knows of a product of matrices, from its rows, its depth and its columns.
    """
    trace = current_tape()
    if not isinstance(trace, Trace):
        return None
    if isinstance(gate, blocks.Block) and gate.moves:  # which records nothing
        return moved(trace, gate, operands[0])
    if isinstance(gate, blocks.Block) and gate.gathers:
        return None if are_integers(operands) else gathered(gate.forward, [slots_in(trace, x) for x in operands])
    if isinstance(gate, blocks.Scatter):
        return scattered(gate, slots_in(trace, operands[0]))
    if gate is gates.where and isinstance(operands[0], np.ndarray) and operands[0].dtype == np.bool_:
        operands = (operands[0].astype(np.float64), *operands[1:])
    slots = [slots_in(trace, x) for x in operands]
    if any(x is None for x in slots) and any(x is not None and (x.at != CONSTANT).any() for x in slots):
        slots = [inward(trace, x) if found is None else found for x, found in zip(operands, slots)]
    if isinstance(gate, Row):
        return each(gate, slots)
    if type(gate) in REDUCED:
        return in_rows(REDUCED[type(gate)], slots[0], gate.axes(operands[0]), gate.keepdims)
    if type(gate) is blocks.MatMul:
        return dots(slots[0], slots[1], product)
    if type(gate) is blocks.StrongMatMul:
        return strong_dots(slots[0], slots[1])
    return None


def moved(trace: Trace, gate: Any, x: Any) -> Slots | None:
    """Return the numbers of a block that are picked, or put elsewhere, be they of this trace or of one around it."""
    if isinstance(x, Array):
        return elements(trace, x, gate.forward(places_of(x)))
    found = x.slots() if hasattr(x, "slots") else None
    return None if found is None else found.moved(gate.forward)


def gathered(put: Callable[..., Any], parts: Sequence[Slots | None]) -> Slots | None:
    """Return the numbers of blocks put together, which records nothing."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or not found:
        return None
    at = put(*[part.at for part in found])
    if all(part.constants is None for part in found):
        return Slots(found[0].trace, at)
    constants = [np.zeros(part.at.shape) if part.constants is None else part.constants for part in found]
    return Slots(found[0].trace, at, put(*constants))


def scattered(gate: Any, part: Slots | None) -> Slots | None:
    """Return zeros with the numbers of a block among them, unless an index may name a place twice."""
    index = gate.index if isinstance(gate.index, tuple) else (gate.index,)
    if part is None or any(isinstance(i, np.ndarray) for i in index):
        return None
    at, constants = np.full(gate.shape, CONSTANT, np.int32), np.zeros(gate.shape)
    at[gate.index], constants[gate.index] = part.at, 0.0 if part.constants is None else part.constants
    return Slots(part.trace, at, constants)


def inward(trace: Trace, x: Any) -> Slots | None:
    """Return the numbers of a trace, or what stands in it for those of one around it; None if x is anything else."""
    if isinstance(x, Unit):
        found = None if not isinstance(x._tape, Trace) else Slots(x._tape, np.array(x._slot, np.int32))
    else:
        found = x.slots() if hasattr(x, "slots") else None
    if found is None or found.constants is not None:
        return None
    if found.trace is trace:
        return found
    here = stand_ins_at(trace, found.trace, found.at)
    return None if here is None else Slots(trace, here)


def unit_at(trace: Trace, slot: int) -> Any:
    """Return a Unit on the number in a slot."""
    return handles_at(trace, np.array(slot, np.int32)).item()


def every_slot(trace: Trace, x: Any) -> np.ndarray[Any, Any]:
    """Return the slots in a trace of all numbers of a block, an object array, or one number: constants are recorded."""
    found = slots_in(trace, x)
    found = inward(trace, x) if found is None else found
    if found is not None and found.constants is None:
        return np.ravel(found.at)
    numbers = x if found is None else found.units()
    numbers = numbers.numbers if hasattr(numbers, "numbers") else numbers
    flat = numbers.flat if isinstance(numbers, np.ndarray) else (numbers,)
    units = [x if isinstance(x, Unit) else trace._variable(float(x)) for x in flat]
    return np.array([slot_in(trace, unit) for unit in units], np.int32)


def aliases(trace: Trace, x: Any) -> Slots:
    """Record variables in the place of the numbers of a block."""
    slots = every_slot(trace, x)
    first = record_gates(trace, kernels.opcode_of["positive"], slots[:, None])
    return Slots(trace, np.arange(first, first + len(slots), dtype=np.int32).reshape(x.shape))


def slots_in(trace: Trace, x: Any) -> Slots | None:
    """Return an operand as slots of a trace; None if it holds anything but Units there and numbers."""
    if hasattr(x, "slots_in"):
        found: Slots | None = x.slots_in(trace)
        return found
    if isinstance(x, np.ndarray) and x.dtype != object:
        if x.dtype.kind not in "fiu":
            return None
        values = as_reals(x, "an array").astype(np.float64)
        return Slots(trace, np.full(values.shape, CONSTANT, np.int32), values)
    if isinstance(x, Array):
        return elements(trace, x, places_of(x))
    if not isinstance(x, (np.ndarray, Unit)):
        x = as_flag(x) if as_real(x) is None else as_real(x)
        if x is None:
            return None
    numbers = x
    if not isinstance(x, np.ndarray):
        numbers = np.empty((), object)
        numbers[()] = x
    slots = slots_of(trace, numbers)
    return None if slots is None else Slots(trace, *slots)


def places_of(array: Any) -> np.ndarray[Any, Any]:
    """Return the places of an Array's numbers, in its shape."""
    return np.arange(array.size, dtype=np.int32).reshape(array.shape)


def elements(trace: Trace, array: Any, places: np.ndarray[Any, Any]) -> Slots | None:
    """Record some numbers of a captured Array, by their places in C's order; None if it is no leaf."""
    taken = np.ravel(places) if places.size else np.zeros(min(array.size, 1), np.int32)  # one: it is captured
    first = record_elements(trace, array, taken)
    if first < 0:
        return None
    return Slots(trace, np.arange(first, first + places.size, dtype=np.int32).reshape(places.shape))


def _rows_of(operands: Sequence[Slots], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return a row of slots, and one of constants (or None), for each place; the operands have one more axis."""
    widths = [x.at.shape[-1] for x in operands]
    slots = np.empty((*shape, sum(widths)), np.int32)
    constants = np.zeros(slots.shape) if any(x.constants is not None for x in operands) else None
    begin = 0
    for x, width in zip(operands, widths):
        slots[..., begin : begin + width] = x.at
        if constants is not None and x.constants is not None:
            constants[..., begin : begin + width] = x.constants
        begin += width
    size = math.prod(shape)
    return slots.reshape(size, -1), None if constants is None else constants.reshape(size, -1)


def _recorded(row: Row, operands: Sequence[Slots], shape: tuple[int, ...]) -> Slots:
    """Record a gate for every place of a shape; the operands have one more axis, along which they stand side by side.

    Where all operands are constants, so is the result.
    """
    trace, size = operands[0].trace, math.prod(shape)
    opcode = kernels.opcode_of[row.name]
    slots, constants = _rows_of(operands, shape)
    alone = None if constants is None else (slots == CONSTANT).all(axis=1)
    if alone is None or not alone.any():
        first = record_gates(trace, opcode, slots, constants)
        return Slots(trace, np.arange(first, first + size, dtype=np.int32).reshape(shape))
    at, found = np.full(size, CONSTANT, np.int32), np.zeros(size)
    bits, places = np.unique(constants[alone].view(np.int64), axis=0, return_inverse=True)  # -0 is not 0
    rows = bits.view(np.float64).tolist()
    found[alone] = np.array([_value(row, numbers) for numbers in rows])[places.reshape(-1)]
    first = record_gates(trace, opcode, slots[~alone], constants[~alone])
    at[~alone] = np.arange(first, first + size - alone.sum())
    return Slots(trace, at.reshape(shape), found.reshape(shape))


def _value(row: Row, numbers: list[float]) -> Any:
    """Return what a gate makes of plain numbers."""
    half = len(numbers) // 2
    return row(numbers[:half], numbers[half:]) if row is gates.dot else row(*numbers) if row.arity > 0 else row(numbers)


def each(row: Row, operands: Sequence[Slots | None]) -> Slots | None:
    """Record a gate number by number, with NumPy's broadcasting."""
    found, shape = _broadcast(operands)
    if gates.table.get(row.name) is not row or shape == () or math.prod(shape) == 0:
        return None
    return _recorded(row, found, shape)


def _broadcast(operands: Sequence[Slots | None]) -> tuple[list[Slots], tuple[int, ...]]:
    """Return operands with one more axis, and the shape that they have together; () if one is not there."""
    found = [x for x in operands if x is not None]
    shape = np.broadcast_shapes(*[x.at.shape for x in found]) if len(found) == len(operands) else ()
    return [x.moved(lambda part: part[..., None]) for x in found], shape


def logic(relation: Any, x: Any, y: Any) -> Slots | None:
    """Record a comparison, or `and` or `or`, number by number; None if that can't be done at once."""
    trace = current_tape()
    if not isinstance(trace, Trace):
        return None
    if relation in TURNED:
        relation, x, y = TURNED[relation], y, x
    found, shape = _broadcast([slots_in(trace, x), slots_in(trace, y)])
    if shape == () or math.prod(shape) == 0:
        return None
    slots, constants = _rows_of(found, shape)
    if constants is not None and (slots == CONSTANT).all(axis=1).any():  # which are plain truth values
        return None
    first = record_logic(trace, relation, slots, constants)
    return Slots(trace, np.arange(first, first + len(slots), dtype=np.int32).reshape(shape))


def in_rows(row: Row, x: Slots | None, axes: Sequence[int], keepdims: bool) -> Slots | None:
    """Record a gate of a sequence along axes."""
    if x is None or x.at.size == 0:
        return None
    rest = [i for i in range(x.at.ndim) if i not in axes]
    shape = tuple(x.at.shape[i] for i in rest)
    rows = x.moved(lambda part: part.transpose(*rest, *axes).reshape(*shape, -1))
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.at.shape))
    found = _recorded(row, [rows], shape)
    return found.moved(lambda part: part.reshape(kept)) if keepdims and found is not None else found


def dots(x: Slots | None, y: Slots | None, product: Any) -> Slots | None:
    """Record a product of matrices, vectors or stacks of matrices: one gate, or every number of it a dot."""
    if x is None or y is None:
        return None
    if x.at.ndim > 2 or y.at.ndim > 2:
        return stacked_dots(x, y, product)
    if not 1 <= x.at.ndim <= 2 or not 1 <= y.at.ndim <= 2 or x.at.shape[-1] != y.at.shape[0]:
        return None
    shape = (*x.at.shape[:-1], *y.at.shape[1:])
    if math.prod(shape) * len(y.at) == 0:
        return None
    rows = x.moved(lambda part: part.reshape(-1, 1, part.shape[-1]))
    columns = y.moved(lambda part: part.reshape(len(part), -1).T)
    m, n, depth = len(rows.at), len(columns.at), columns.at.shape[1]
    large = depth >= DEEP and m * n * depth >= LARGE and not _manner.in_sums
    if large and not (is_constant(rows) and is_constant(columns)):
        return as_one_gate(rows, columns, product(m, depth, n)).moved(lambda part: part.reshape(shape))
    step = max(1, ROOM // columns.at.size)
    found: list[Slots | None] = [
        _recorded(gates.dot, [rows.moved(lambda part, k=k: part[k : k + step]), columns], (min(step, m - k), n))
        for k in range(0, m, step)
    ]
    whole = gathered(lambda *parts: np.concatenate(parts), found)
    return None if whole is None else whole.moved(lambda part: part.reshape(shape))


def is_constant(x: Slots) -> bool:
    """Say whether all numbers of a block are constants."""
    return x.constants is not None and bool((x.at == CONSTANT).all())


def as_one_gate(rows: Slots, columns: Slots, product: Any) -> Slots:
    """Record a product as one gate."""
    parts = [np.full(1, CONSTANT, np.int32), rows.at.ravel(), columns.at.ravel()]
    numbers = [np.full(1, float(product.rows))]
    numbers += [np.zeros(x.at.size) if x.constants is None else x.constants.ravel() for x in (rows, columns)]
    first = record_product(rows.trace, product, np.concatenate(parts), np.concatenate(numbers))
    return Slots(rows.trace, np.arange(first, first + len(rows.at) * len(columns.at), dtype=np.int32))


def strong_dots(x: Slots | None, y: Slots | None) -> Slots | None:
    """Record a product of two matrices whose products of numbers are strong."""
    if x is None or y is None or x.at.ndim != 2 or y.at.ndim != 2 or x.at.size * y.at.size == 0:
        return None
    rows, columns = x.moved(lambda part: part[:, None]), y.moved(lambda part: part.T[None])
    return in_rows(gates.sum, each(gates.strong_multiply, [rows, columns]), (2,), False)


def stacked_dots(x: Slots, y: Slots, product: Any) -> Slots | None:
    """Record the products of two stacks of matrices, with NumPy's broadcasting."""
    blocks.MatMul.check(x.at.shape, y.at.shape)
    if x.at.ndim < 2 or y.at.ndim < 2:
        return None
    stack = np.broadcast_shapes(x.at.shape[:-2], y.at.shape[:-2])
    shape = (*stack, x.at.shape[-2], y.at.shape[-1])
    if math.prod(shape) * x.at.shape[-1] == 0:
        return None
    left, right = [z.moved(lambda part: np.broadcast_to(part, (*stack, *part.shape[-2:]))) for z in (x, y)]
    found = [
        dots(left.moved(lambda part, at=place: part[at]), right.moved(lambda part, at=place: part[at]), product)
        for place in np.ndindex(stack)
    ]
    whole = gathered(lambda *parts: np.stack(parts), found)
    return None if whole is None else whole.moved(lambda part: part.reshape(shape))
