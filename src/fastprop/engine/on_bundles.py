"""Gates on the blocks of a trace: at once where that can be, as maps on lanes, else number by number."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import (
    Bundle,
    ConditionBlock,
    LaneBlock,
    along,
    are_truth_values,
    array_of,
    by_slots,
    elementwise,
    object_array,
    wrapped,
)
from fastprop.engine.integers import Integer, are_integers, as_integer
from fastprop.engine.product import Product
from fastprop.engine.slots import REDUCED, Slots, at_once
from fastprop.engine.tape import Unit, apply_gate, handle_again
from fastprop.gates import Gate, Row, blocks

MANY = 1 << 10  # numbers that a map has made from which on another map reduces each lane's, which are no gates then

__all__ = ["apply_to_bundles", "is_opaque", "unwrapped"]


def unwrapped(operands: tuple[Any, ...]) -> list[Any]:
    """Return operands with the numbers behind conditions in their place: Units, or blocks of them."""
    return [
        x.as_numbers() if isinstance(x, ConditionBlock) else x.unit if gates.is_condition(x) else x for x in operands
    ]


def apply_to_bundles(gate: Any, operands: tuple[Any, ...]) -> Any:
    """Record a gate of which an operand is a block, number by number."""
    mapped = _mapped_over_lanes(gate, operands)
    if mapped is not None:
        return mapped
    if isinstance(gate, blocks.Block) and (gate.moves or gate.gathers) and all(map(are_truth_values, operands)):
        return _truth_values_at(gate, operands)
    first = int(gate is gates.where)
    if first and isinstance(operands[0], np.ndarray) and operands[0].dtype == object:
        operands = (ConditionBlock(operands[0]), *operands[1:])
    rest = [x.as_numbers() if isinstance(x, ConditionBlock) else x for x in operands[first:]]
    masked, operands = any(isinstance(x, ConditionBlock) for x in operands[first:]), (*operands[:first], *rest)
    mapped = _mapped_over_lanes(gate, operands) if masked else None
    if mapped is not None:
        return mapped
    found = at_once(gate, tuple([by_slots(x) for x in operands]), Product)
    if found is not None:
        return _block_at(found)
    if isinstance(gate, Row):
        return elementwise(functools.partial(_on_numbers, gate), operands)
    if type(gate) in REDUCED:
        row = REDUCED[type(gate)]
        return wrapped(along(lambda numbers: row(list(numbers)), gate.axis, gate.keepdims, operands[0]))
    if isinstance(gate, blocks.Composed):
        return gate.composed(*[Bundle(x.numbers) if isinstance(x, LaneBlock) else x for x in unwrapped(operands)])
    if isinstance(gate, blocks.Block):
        found = _structural(gate, tuple(map(array_of, unwrapped(operands))))
        kept = gate.moves or gate.gathers or isinstance(gate, blocks.Scatter)
        return as_integer(found) if kept and are_integers(operands) else found
    raise TypeError(f"{gate!r} can't be applied to traced Arrays")


def _truth_values_at(gate: Any, operands: tuple[Any, ...]) -> Any:
    """Put truth values elsewhere, or together: they stay truth values."""
    slots = operands[0].slots() if gate.moves and isinstance(operands[0], ConditionBlock) else None
    if slots is not None:
        return ConditionBlock(None, slots.moved(gate.forward))
    return wrapped(gate.forward(*[array_of(x) for x in operands]), True)


def _block_at(slots: Slots) -> Any:
    """Return a block of slots; of a single one its Unit."""
    return slots.units()[()] if slots.at.shape == () else Bundle(None, slots)


def _on_numbers(row: Row, *numbers: Any) -> Any:
    """Apply a row to single numbers; what is recorded needs no looking into."""
    if any(type(x) is Unit for x in numbers):
        return apply_gate(row, numbers, {})
    return row(*numbers)


def is_opaque(gate: Any, operands: tuple[Any, ...]) -> bool:
    """Whether a gate is the user's own (or one on matrices): it takes its operands as they are, lanes included."""
    return isinstance(gate, Gate) and not isinstance(gate, blocks.Block)


def _mapped_over_lanes(gate: Any, operands: tuple[Any, ...]) -> Any:
    """Record a gate by what maps have made, if an operand is that; None: it needs numbers."""
    for operand in operands:
        if isinstance(operand, LaneBlock):
            mapped = _apply_to_lanes(gate, operands, operand)
            if mapped is not None:
                return mapped
    return None


def _apply_to_lanes(gate: Any, operands: tuple[Any, ...], block: LaneBlock) -> Any:
    """Record a gate on lanes as a vmap of it, or as a reduction over the lanes; None: it needs their numbers."""
    if isinstance(gate, Row):
        plain_mask = gate is gates.where and isinstance(operands[0], np.ndarray)
        axes = None if plain_mask else _lane_axes(operands, block)
        return None if axes is None else block.mapped(gate, operands, axes, None)
    if isinstance(gate, (blocks.Sum, blocks.Mean)) and gate.axis in (None, 0) and not gate.keepdims:
        if gate.axis is None and len(block.shape) > 1:
            over = block.mapped(type(gate)(None, False), (block,), 0, None)
            return _apply_to_lanes(gate, (over,), over) if isinstance(over, LaneBlock) else gate(over)
        reduce = "sum" if isinstance(gate, blocks.Sum) else "mean"
        return block.mapped(gates.positive, (block,), 0, reduce)
    if type(gate) in REDUCED and block.size >= MANY and gate.axes(block) and 0 not in gate.axes(block):
        within = tuple([axis - 1 for axis in gate.axes(block)])
        return block.mapped(type(gate)(within, gate.keepdims), (block,), 0, None)
    return None


def _lane_axes(operands: tuple[Any, ...], block: LaneBlock) -> tuple[int | None, ...] | None:
    """Return the lane axis of each operand, if broadcasting leaves the lanes the first axis of all that have them."""
    axes: list[int | None] = []
    for x in operands:
        shape = np.shape(x)
        if len(shape) > len(block.shape) or isinstance(x, ConditionBlock) or gates.is_condition(x):
            return None
        if len(shape) == len(block.shape) and shape[0] != block.lanes:
            return None
        axes.append(0 if len(shape) == len(block.shape) else None)
    return tuple(axes)


def _structural(gate: Any, numbers: tuple[Any, ...]) -> Any:
    if isinstance(gate, blocks.AsType):
        units = [handle_again(x, Unit) if type(x) is Integer else x for x in numbers[0].flat]
        return wrapped(object_array(units, numbers[0].shape))
    if isinstance(gate, blocks.MatMul):
        return _product(gates.dot if type(gate) is blocks.MatMul else _strong_dot, *numbers)
    with np.errstate(all="ignore"):  # plain numbers among them may be infinite
        found = wrapped(gate.on_objects(*numbers))
    if gate.integral:
        return int(found) if isinstance(found, float) else as_integer(found)
    return found


def _strong_dot(row: list[Any], column: list[Any]) -> Any:
    """Return the sum of products of which a factor of exactly 0 makes 0."""
    return gates.sum([gates.strong_multiply(x, y) for x, y in zip(row, column)])


def _product(dot: Any, x: Any, y: Any) -> Any:
    """Return the matrix product, every number of it a dot."""
    blocks.MatMul.check(x.shape, y.shape)
    if x.ndim > 2 or y.ndim > 2:
        shape = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = np.broadcast_to(x, (*shape, *x.shape[-2:])), np.broadcast_to(y, (*shape, *y.shape[-2:]))
        numbers = [n for place in np.ndindex(shape) for n in _product(dot, x[place], y[place]).numbers.flat]
        return wrapped(object_array(numbers, (*shape, *x.shape[len(shape) : -1], *y.shape[len(shape) + 1 :])))
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    columns = y.reshape(-1, 1) if y.ndim == 1 else y
    dots = [dot(list(row), list(column)) for row in rows for column in columns.T]
    return wrapped(object_array(dots, (*x.shape[:-1], *y.shape[1:])))
