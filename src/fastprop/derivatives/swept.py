"""First derivatives in traced code: sweeps over the trace's own gates, which its program runs inside of it.

A transform that nothing around it differentiates records two regions: its *variables*, which stand for its arguments,
and then a *gradient*: which pulls are put on which numbers, and that what arrives on the variables is wanted. The gates
between them stay as they are, and no gate of the sweep is recorded: the program has instructions for those. What is
differentiated again is recorded gate by gate (`recorded`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, lane_block, object_array
from fastprop.engine.program import Gradient, Variables
from fastprop.engine.run import SweptArray
from fastprop.engine.slots import Slots, every_slot
from fastprop.engine.tape import (
    Trace,
    Unit,
    are_marked,
    innermost,
    record_region,
    slot_in,
    values_at,
)
from fastprop.engine.trace import region_gate
from fastprop.handles.nesting import is_whole

__all__ = ["may_sweep", "swept_gradients", "variables_of"]

FEW = 1 << 14  # numbers of a gradient that are numbers from then on: further gates are cheaper than for arrays


def may_sweep(trace: Any) -> bool:
    """Say whether a transform that begins now, or pulls, is one that nothing around it differentiates."""
    active = innermost.active
    if not isinstance(trace, Trace) or trace.inward or active is None or active.tape is not trace:
        return False
    return not trace.recording.differentiable and active is trace.recording.scope


def variables_of(trace: Trace, points: Sequence[Any]) -> list[Any]:
    """Return variables in the place of numbers, and of arrays, whose numbers become some when they are used."""

    def mark(trace: Trace, block: Any) -> Slots:
        slots = every_slot(trace, block)
        first = record_region(trace, Variables(len(slots)), slots, values_at(trace, slots)) if len(slots) else 0
        return Slots(trace, np.arange(first, first + len(slots), dtype=np.int32).reshape(block.shape))

    def mark_array(unit: Any, source: int) -> tuple[Any, int]:
        recording = trace.recording
        number = recording.made_array(recording.examples[source], "variable")
        operand = trace._variable(0.0) if unit is None else unit
        marked = region_gate(trace, [operand], SweptArray(source, number), [0.0])[0]
        recording.array_slots.add(marked._slot)
        return marked, number

    loose = [x for x in points if not is_whole(type(x))]
    numbers = iter(mark(trace, Bundle(object_array(loose, (len(loose),)))).units())
    return [x.as_variable(trace, mark, mark_array) if is_whole(type(x)) else next(numbers) for x in points]


def swept_gradients(
    trace: Trace, pulls: Sequence[Any], ends: Sequence[Any], variables: Sequence[Any], guards: int
) -> list[Any] | None:
    """Record a sweep; returns what arrives on each variable (None: no path leads there), or None if it has to be gates.

    There were so many `guards` when the variables were made.
    """
    if trace.parent is not None and len(trace.guards) > guards:
        if trace.decides or trace.recording.unrolled:
            return None  # the body of a map is cut where it decides
        trace.recording.spans_checks = True
    made = [x.made_slots() if is_whole(type(x)) else (None, np.array([x._slot], np.int32)) for x in variables]
    wholes = np.array([whole for whole, _ in made if whole is not None], np.int32)
    units = np.concatenate([wholes, *[slots for _, slots in made]])
    slots = [slot_in(trace, end) for end in ends]
    regions = trace.regions_between(slots, units)
    if regions is None:
        return None
    marked = _in_order(units[are_marked(trace, units)])
    if not len(marked):
        return [None] * len(variables)
    seeds = [x if isinstance(x, Unit) else trace._variable(float(x)) for x in pulls]
    arrays = trace.recording.example_arrays() if regions else None
    values = trace.swept(slots, [unit._recorded for unit in seeds], marked, regions, arrays)
    given = _arrays_given(trace, wholes.tolist(), arrays)
    region = Gradient(len(ends), len(marked), {array: found for array, found in given.values()})
    operands = [slot_in(trace, unit) for unit in (*seeds, *ends)]
    first = record_region(trace, region, np.concatenate([np.array(operands, np.int32), marked]), values)
    arrived = functools.partial(_arrived, trace, first, marked)
    return [_gradient_of(x, made[k], arrived, given.get(made[k][0])) for k, x in enumerate(variables)]


def _gradient_of(
    x: Any, made: tuple[int | None, np.ndarray[Any, Any]], arrived: Callable[..., Slots | None], array: Any
) -> Any:
    """Return what arrives on a variable, None if no path leads there: on what stands for it, and on its numbers.

    `array` is what `_arrays_given` says of it.
    """
    whole, slots = made
    on_numbers = arrived(slots)
    if not is_whole(type(x)):
        return None if on_numbers is None else on_numbers.units().item()
    block = None if on_numbers is None else Bundle(None, on_numbers.moved(lambda part: part.reshape(x.shape)))
    if array is None:
        return block
    on_whole = arrived(np.array([whole], np.int32))
    assert on_whole is not None
    lanes = lane_block(on_whole.units().item(), array[1], on_whole.trace.recording.array_shapes[array[1]])
    part = Bundle(lanes.numbers) if lanes.size <= FEW else lanes
    return part if block is None else part + block


def _in_order(slots: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return slots in ascending order, each once."""
    there = np.zeros(int(slots.max(initial=-1)) + 1, np.bool_)
    there[slots] = True
    return np.flatnonzero(there).astype(np.int32)


def _arrived(trace: Trace, first: int, marked: np.ndarray[Any, Any], slots: np.ndarray[Any, Any]) -> Slots | None:
    """Return what arrives on the variables in some slots, all of which are marked; None of none.

    The gradient's numbers, one for each marked slot, begin at `first`.
    """
    return Slots(trace, (first + np.searchsorted(marked, slots)).astype(np.int32)) if len(slots) else None


def _arrays_given(trace: Trace, wholes: Sequence[int], arrays: Any) -> dict[int | None, tuple[int, int]]:
    """Return, for slots that stand for arrays, the numbers of these, and of the arrays that their gradients become."""
    recording = trace.recording
    given: dict[int | None, tuple[int, int]] = {}
    for slot in wholes:
        variable = trace.regions.get(slot)
        if isinstance(variable, SweptArray):
            like = recording.examples[variable.array]
            adjoint = np.zeros_like(like) if arrays is None else arrays.finished_adjoint(variable.array)
            given[slot] = variable.array, recording.made_array(adjoint)
    return given
