"""First derivatives in traced code: sweeps over the trace's own gates, which its program runs inside of it.

A transform that nothing around it differentiates records two regions: its *variables*, which stand for its arguments,
and then a *gradient*: which pulls are put on which numbers, and that what arrives on the variables is wanted. The gates
between them stay as they are, and no gate of the sweep is recorded: the program has instructions for those. What is
differentiated again is recorded gate by gate (`recorded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, lane_block
from fastprop.engine.parts import Parts
from fastprop.engine.program import Gradient, Variables
from fastprop.engine.run import SweptArray
from fastprop.engine.tape import Trace, Unit, innermost
from fastprop.engine.trace import region_gate, slot_in
from fastprop.handles.nesting import is_whole

__all__ = ["may_sweep", "swept_gradients", "variables_of"]

FEW = 256  # numbers of a gradient that are numbers from then on, for which further gates are cheaper than for arrays


def may_sweep(trace: Any) -> bool:
    """Say whether a transform that begins now, or pulls, is one that nothing around it differentiates."""
    active = innermost.active
    if not isinstance(trace, Trace) or trace.inward or active is None or active.tape is not trace:
        return False
    return not trace.recording.differentiable and active is trace.recording.scope


def variables_of(trace: Trace, points: Sequence[Any]) -> list[Any]:
    """Return variables in the place of numbers, and of arrays, whose numbers become some when they are used."""

    def mark(numbers: Sequence[Any]) -> list[Any]:
        if not numbers:
            return []
        units = [x if isinstance(x, Unit) else trace._variable(x) for x in numbers]
        marked: list[Any] = region_gate(trace, units, Variables(len(units)), [unit._recorded for unit in units])
        return marked

    def mark_array(unit: Any, source: int) -> tuple[Any, int]:
        recording = trace.recording
        number = recording.made_array(recording.examples[source], "variable")
        operand = trace._variable(0.0) if unit is None else unit
        marked = region_gate(trace, [operand], SweptArray(source, number), [0.0])[0]
        recording.array_slots.add(marked._slot)
        return marked, number

    numbers = iter(mark([x for x in points if not is_whole(type(x))]))
    array = mark_array if trace.parent is None else None  # in lanes they are recorded gate by gate
    return [x.as_variable(trace, mark, array) if is_whole(type(x)) else next(numbers) for x in points]


def swept_gradients(
    trace: Trace, pulls: Sequence[Any], ends: Sequence[Any], units: Sequence[Any], guards: int
) -> list[Any] | None:
    """Record a sweep; returns what arrives on each Unit of the variables, or None if it has to be gates.

    There were so many `guards` when the variables were made.
    """
    if trace.parent is not None and len(trace.guards) > guards:
        return None  # the body of a map is cut where it decides
    slots = [slot_in(trace, end) for end in ends]
    regions = trace.regions_between(slots, [unit._slot for unit in units])
    if regions is None:
        return None
    if trace.parent is not None and any(trace.regions[head].makes for head in regions):
        return None  # in lanes, arrays that maps make have no adjoints while they run forward
    marked = sorted((unit for unit in units if trace.is_marked(unit._slot)), key=lambda unit: unit._slot)
    if not marked:
        return [None] * len(units)
    seeds = [x if isinstance(x, Unit) else trace._variable(float(x)) for x in pulls]
    arrays = trace.recording.example_arrays() if regions else None
    values = trace.swept(slots, [unit._recorded for unit in seeds], [unit._slot for unit in marked], regions, arrays)
    given = _arrays_given(trace, marked, arrays)
    region = Gradient(len(ends), len(marked), {array: found for array, found in given.values()})
    found = dict(zip(marked, region_gate(trace, [*seeds, *ends, *marked], region, values)))
    for unit, (_, number) in given.items():
        block = lane_block(found[unit], number, trace.recording.array_shapes[number])
        found[unit] = Parts({(number, 0): Bundle(block.numbers) if block.size <= FEW else block})
    return [found.get(unit) for unit in units]


def _arrays_given(trace: Trace, marked: Sequence[Any], arrays: Any) -> dict[Any, tuple[int, int]]:
    """Return, for Units that stand for arrays, the numbers of these, and of the arrays that their gradients become."""
    recording, given = trace.recording, {}
    for unit in marked:
        variable = trace.regions.get(unit._slot)
        if isinstance(variable, SweptArray):
            like = recording.examples[variable.array]
            adjoint = np.zeros_like(like) if arrays is None else arrays.finished_adjoint(variable.array)
            given[unit] = variable.array, recording.made_array(adjoint)
    return given
