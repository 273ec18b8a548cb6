"""What a trace records beside gates on numbers: gates on Arrays, stand-ins, the caller's and the user's own gates."""
import numpy as np

from cpython.object cimport PyObject

from fastprop.engine.tape cimport INPUT, NONE, Trace, Unit, append, apply_kernel, are_single, captured, make_room, owned

from fastprop import gates
from fastprop.handles.operands import prepare
from fastprop.engine import kernels
from fastprop.engine.bundle import let_conditions
from fastprop.engine.on_bundles import apply_to_bundles, is_opaque, unwrapped
from fastprop.engine.tape import handles_at, let_traces, record_region, slot_in

cdef set rows = set(gates.table.values())


def apply_traced(gate, tuple operands, dict options):
    """Record a gate under trace, on Arrays number by number; conditions may choose."""
    if not options and gate in rows and gate.arity != gates.SEQUENCE and are_single(operands):
        return apply_kernel(kernels.opcode_of[gate.name], unwrapped(operands))
    prepared, flat = prepare(gate, operands, options)
    if prepared in rows and are_single(flat):
        return apply_kernel(kernels.opcode_of[prepared.name], unwrapped(flat))
    if is_opaque(prepared, flat):
        return apply_opaque(prepared, tuple(unwrapped(flat)))
    return apply_to_bundles(prepared, flat)


# Gates of the user's own run in programs: what stands above those says how they are recorded, when it is imported.
cdef object apply_opaque = None


def let_opaque(apply, differentiable):
    """Be told how gates of the user's own are recorded, and what gate has their derivative."""
    global apply_opaque
    apply_opaque = apply
    let_conditions(Condition)
    let_traces(apply_traced, compare, held, differentiable, stand_in)


def inputs_of(Trace trace, list values):
    """Return Units that stand for inputs, with their values where they are recorded."""
    cdef PyObject* home = <PyObject*>trace
    cdef list units = []
    for value in values:
        make_room(home, 0)
        units.append(owned(append(home, INPUT, NONE, NONE, 0.0, 0.0, value)))
    return units


def stand_in(Trace trace, Unit unit):
    """Return what stands in a trace for a result of a trace around it."""
    return <object>captured(<PyObject*>trace, &unit.link).owner


def region_gate(Trace trace, list operands, region, values):
    """Record a region of Units; returns the Units of its numbers (one even if it gives none)."""
    slots = [slot_in(trace, operand) for operand in operands]
    first = record_region(trace, region, np.array(slots, np.int32), values)
    return handles_at(trace, np.arange(first, first + max(len(values), 1), dtype=np.int32)).tolist()
