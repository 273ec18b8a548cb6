"""First derivatives in traced code: sweeps over the trace's own gates, which its program runs inside of it.

A transform that nothing around it differentiates records two regions: its *variables*, numbers that stand for its
arguments, and then a *gradient*: which pulls are put on which numbers, and that what arrives on the variables is wanted.
The gates between them stay as they are, and no gate of the sweep is recorded: the program has instructions for those.
What is differentiated again, or goes through arrays as wholes, is recorded gate by gate (`recorded`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastprop.engine.program import Gradient, Variables
from fastprop.engine.tape import Trace, Unit, innermost
from fastprop.engine.trace import region_gate, slot_in
from fastprop.handles.nesting import is_whole

__all__ = ["may_sweep", "swept_gradients", "variables_of"]


def may_sweep(trace: Any) -> bool:
    """Say whether a transform that begins now, or pulls, is one that nothing around it differentiates."""
    active = innermost.active
    if not isinstance(trace, Trace) or trace.inward or active is None or active.tape is not trace:
        return False
    return not trace.recording.differentiable and active is trace.recording.scope


def variables_of(trace: Trace, points: Sequence[Any]) -> list[Any]:
    """Return variables in the place of numbers, and of arrays, whose numbers become some when they are used."""
    mark = _marker(trace)
    numbers = iter(mark([x for x in points if not is_whole(type(x))]))
    return [x.as_variable(trace, mark) if is_whole(type(x)) else next(numbers) for x in points]


def _marker(trace: Trace) -> Callable[[Sequence[Any]], list[Any]]:
    def mark(numbers: Sequence[Any]) -> list[Any]:
        if not numbers:
            return []
        units = [x if isinstance(x, Unit) else trace._variable(x) for x in numbers]
        marked: list[Any] = region_gate(trace, units, Variables(len(units)), [unit._recorded for unit in units])
        return marked

    return mark


def swept_gradients(
    trace: Trace, pulls: Sequence[Any], ends: Sequence[Any], units: Sequence[Any], guards: int
) -> list[Any] | None:
    """Record a sweep; returns what arrives on each Unit of the variables, or None if it has to be gates.

    There were so many `guards` when the variables were made.
    """
    if trace.parent is not None and len(trace.guards) > guards:
        return None  # the body of a map is cut where it decides
    slots = [slot_in(trace, end) for end in ends]
    if not trace.sweeps_regions(slots, [unit._slot for unit in units]):
        return None
    numbers = sorted((unit for unit in units if trace.is_marked(unit._slot)), key=lambda unit: unit._slot)
    if not numbers:
        return [None] * len(units)
    seeds = [x if isinstance(x, Unit) else trace._variable(float(x)) for x in pulls]
    values = trace.swept(slots, [unit._recorded for unit in seeds], [unit._slot for unit in numbers])
    operands = [*seeds, *ends, *numbers]
    found = dict(zip(numbers, region_gate(trace, operands, Gradient(len(ends), len(numbers)), values)))
    return [found.get(unit) for unit in units]
