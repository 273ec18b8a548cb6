"""What a trace records beside gates on numbers: gates on Arrays, stand-ins, the caller's and the user's own gates."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.engine.kernels cimport POSITIVE
from fastprop.engine.tape cimport INPUT, NONE, POOLED, Link, Nodes, Trace, make_room, operand_of
from fastprop.engine.executor.instructions cimport REGION, RESULT
from fastprop.engine.tape cimport Unit, append, apply_kernel, are_single, captured, owned

from fastprop import gates
from fastprop.handles.operands import prepare
from fastprop.engine import kernels
from fastprop.engine.bundle import let_conditions
from fastprop.engine.on_bundles import apply_to_bundles, is_opaque, unwrapped
from fastprop.engine.tape import let_traces

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


def slot_in(Trace trace, Unit unit):
    """Return the slot of a Unit on a trace: of a leaf or an outer result, of what stands for it there."""
    cdef Link* link = captured(<PyObject*>trace, &unit.link)
    cdef PyObject* home = <PyObject*>trace
    cdef int32_t operand
    if link.tape == home:
        return link.slot
    if link.tape != NULL:
        raise ValueError("a traced function returned a result that was computed outside of it; return its .value")
    make_room(home, 0)
    operand = operand_of(home, link)
    alias = owned(append(home, POSITIVE, operand, NONE, 1.0, 0.0, link.value))
    return (<Unit>alias).link.slot


def stand_in(Trace trace, Unit unit):
    """Return what stands in a trace for a result of a trace around it."""
    slot_in(trace, unit)
    return trace.stand_ins.get((unit._tape.number, unit._slot), unit)


def region_gate(Trace trace, list operands, region, list values):
    """Record a region; returns the Units of its numbers (one even if it gives none: what follows depends on it)."""
    cdef PyObject* home = <PyObject*>trace
    cdef Nodes* nodes
    cdef Py_ssize_t i, n = len(operands), head
    cdef list slots = [], units = []
    for operand in operands:
        slots.append(slot_in(trace, operand))
    make_room(home, n)
    nodes = &trace.nodes
    for i in range(n):
        nodes.pool_operand[nodes.pool_length + i] = <int32_t>(<Py_ssize_t>slots[i])
        nodes.pool_partial[nodes.pool_length + i] = 0.0
    head = nodes.length
    units.append(owned(append(
        home, POOLED | REGION, <int32_t>nodes.pool_length, <int32_t>n, 0.0, 0.0, values[0] if values else 0.0
    )))
    nodes.pool_length += n
    for value in values[1:]:
        make_room(home, 0)
        units.append(owned(append(home, RESULT, <int32_t>head, NONE, 0.0, 0.0, value)))
    trace.regions[head] = region
    return units
