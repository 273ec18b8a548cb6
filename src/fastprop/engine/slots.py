"""Blocks of numbers by their slots: the gates of a block are recorded at once, and no Unit is made for a number of it.

What a block can't do in this way is left to be done number by number (None), with the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine import kernels
from fastprop.engine.tape import (
    CONSTANT,
    Trace,
    Unit,
    current_tape,
    handles_at,
    record_gates,
    slots_of,
    stand_ins_at,
    values_at,
)
from fastprop.gates import Row, blocks
from fastprop.gates.numbers import as_reals

__all__ = ["REDUCED", "Slots", "at_once", "slots_in"]

REDUCED = {
    blocks.Sum: gates.sum,
    blocks.Mean: gates.mean,
    blocks.Prod: gates.prod,
    blocks.Max: gates.max,
    blocks.Min: gates.min,
    blocks.LogSumExp: gates.logsumexp,
}
MOVES = (blocks.Reshape, blocks.Transpose, blocks.BroadcastTo, blocks.GetItem)
ROOM = 1 << 20  # operands of gates that are recorded at once


@dataclass(frozen=True, eq=False)
class Slots:
    """Numbers of a trace: their slots, and, in the places of those that are none, numbers (None: there are none)."""

    trace: Trace
    at: np.ndarray[Any, Any]
    constants: np.ndarray[Any, Any] | None = None

    def moved(self, move: Any) -> Slots:
        """Return the numbers that a function of arrays picks, or puts elsewhere."""
        return Slots(self.trace, move(self.at), None if self.constants is None else move(self.constants))

    def units(self) -> Any:
        """Return an object array of Units."""
        return handles_at(self.trace, self.at)

    def values(self) -> np.ndarray[Any, Any]:
        """Return the values where they are recorded."""
        found: np.ndarray[Any, Any] = values_at(self.trace, self.at)
        return found


def at_once(gate: Any, operands: tuple[Any, ...]) -> Slots | None:
    """Record a gate on blocks of slots; None if that must be done number by number."""
    trace = current_tape()
    if not isinstance(trace, Trace):
        return None
    if isinstance(gate, MOVES):  # which records nothing
        return moved(gate, operands[0])
    if isinstance(gate, blocks.Block) and gate.gathers:
        return gathered(gate, [slots_in(trace, x) for x in operands])
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
        return dots(*slots)
    return None


def moved(gate: Any, x: Any) -> Slots | None:
    """Return the numbers of a block that are picked, or put elsewhere, be they of this trace or of one around it."""
    found = x.slots() if hasattr(x, "slots") else None
    return None if found is None or found.constants is not None else found.moved(gate.forward)


def gathered(gate: Any, parts: Sequence[Slots | None]) -> Slots | None:
    """Return the numbers of blocks put together, if all of them are recorded; this records nothing."""
    slots = [part.at for part in parts if part is not None and part.constants is None]
    if len(slots) < len(parts) or not parts or any((at == CONSTANT).any() for at in slots):
        return None
    return parts[0].moved(lambda _: gate.forward(*slots)) if parts[0] is not None else None


def inward(trace: Trace, x: Any) -> Slots | None:
    """Return what stands in a trace for the numbers of one around it; None if x is anything else."""
    if isinstance(x, Unit):
        found = None if not isinstance(x._tape, Trace) else Slots(x._tape, np.array(x._slot, np.int32))
    else:
        found = x.slots() if hasattr(x, "slots") else None
    if found is None or found.constants is not None:
        return None
    here = stand_ins_at(trace, found.trace, found.at)
    return None if here is None else Slots(trace, here)


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
    if not isinstance(x, (np.ndarray, Unit, float)):
        return None
    numbers = x
    if not isinstance(x, np.ndarray):
        numbers = np.empty((), object)
        numbers[()] = float(x) if isinstance(x, float) else x
    slots = slots_of(trace, numbers)
    return None if slots is None else Slots(trace, *slots)


def _recorded(row: Row, operands: Sequence[Slots], shape: tuple[int, ...]) -> Slots:
    """Record a gate for every place of a shape; `operands` have one more axis, along which they stand side by side."""
    trace, size = operands[0].trace, math.prod(shape)
    widths = [x.at.shape[-1] for x in operands]
    slots = np.empty((*shape, sum(widths)), np.int32)
    constants = np.zeros(slots.shape) if any(x.constants is not None for x in operands) else None
    begin = 0
    for x, width in zip(operands, widths):
        slots[..., begin : begin + width] = x.at
        if constants is not None and x.constants is not None:
            constants[..., begin : begin + width] = x.constants
        begin += width
    flat = None if constants is None else constants.reshape(size, -1)
    first = record_gates(trace, kernels.opcode_of[row.name], slots.reshape(size, -1), flat)
    return Slots(trace, np.arange(first, first + size, dtype=np.int32).reshape(shape))


def each(row: Row, operands: Sequence[Slots | None]) -> Slots | None:
    """Record a gate number by number, with NumPy's broadcasting."""
    found = [x for x in operands if x is not None]
    if len(found) < len(operands) or all(x.constants is not None for x in found):  # some may be of constants alone
        return None
    shape = np.broadcast_shapes(*[x.at.shape for x in found])
    if gates.table.get(row.name) is not row or shape == () or math.prod(shape) == 0:
        return None
    return _recorded(row, [x.moved(lambda part: part[..., None]) for x in found], shape)


def in_rows(row: Row, x: Slots | None, axes: Sequence[int], keepdims: bool) -> Slots | None:
    """Record a gate of a sequence along axes."""
    if x is None or x.constants is not None or x.at.size == 0:
        return None
    rest = [i for i in range(x.at.ndim) if i not in axes]
    shape = tuple(x.at.shape[i] for i in rest)
    rows = x.moved(lambda part: part.transpose(*rest, *axes).reshape(*shape, -1))
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.at.shape))
    found = _recorded(row, [rows], shape)
    return found.moved(lambda part: part.reshape(kept)) if keepdims else found


def dots(x: Slots | None, y: Slots | None) -> Slots | None:
    """Record a product of matrices, vectors or stacks of matrices, every number of it a dot."""
    if x is None or y is None or (x.constants is not None and y.constants is not None):
        return None
    if x.at.ndim > 2 or y.at.ndim > 2:
        return stacked_dots(x, y)
    if not 1 <= x.at.ndim <= 2 or not 1 <= y.at.ndim <= 2 or x.at.shape[-1] != y.at.shape[0]:
        return None
    shape = (*x.at.shape[:-1], *y.at.shape[1:])
    if math.prod(shape) * len(y.at) == 0:
        return None
    rows = x.moved(lambda part: part.reshape(-1, 1, part.shape[-1]))
    columns = y.moved(lambda part: part.reshape(len(part), -1).T)
    m, n = len(rows.at), len(columns.at)
    step = max(1, ROOM // columns.at.size)
    found = [
        _recorded(gates.dot, [rows.moved(lambda part, k=k: part[k : k + step]), columns], (min(step, m - k), n))
        for k in range(0, m, step)
    ]
    return Slots(x.trace, np.concatenate([part.at for part in found]).reshape(shape))


def stacked_dots(x: Slots, y: Slots) -> Slots | None:
    """Record the products of two stacks of matrices, with NumPy's broadcasting."""
    blocks.MatMul.check(x.at.shape, y.at.shape)
    if x.at.ndim < 2 or y.at.ndim < 2:
        return None
    stack = np.broadcast_shapes(x.at.shape[:-2], y.at.shape[:-2])
    shape = (*stack, x.at.shape[-2], y.at.shape[-1])
    if math.prod(shape) * x.at.shape[-1] == 0:
        return None
    left, right = [z.moved(lambda part: np.broadcast_to(part, (*stack, *part.shape[-2:]))) for z in (x, y)]
    found = np.empty(shape, np.int32)
    for place in np.ndindex(stack):
        made = dots(left.moved(lambda part, at=place: part[at]), right.moved(lambda part, at=place: part[at]))
        assert made is not None
        found[place] = made.at
    return Slots(x.trace, found)
