"""What a trace records beside gates on numbers: gates on Arrays, stand-ins, the caller's and the user's own gates."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.engine.kernels.kernels cimport POSITIVE
from fastprop.engine.tape.nodes cimport INPUT, NONE, POOLED, Link, Nodes
from fastprop.engine.program.instructions cimport REGION, RESULT
from fastprop.engine.tape.tape cimport make_room, operand_of
from fastprop.engine.trace.tracing cimport Trace
from fastprop.engine.tape.unit cimport Unit, append, apply_kernel, are_single, captured, owned

from fastprop import gates
from fastprop.handles.operands import prepare
from fastprop.engine.kernels import kernels
from fastprop.engine.trace.bundle import Bundle, apply_to_bundles, is_opaque, numbers_of, object_array, unwrapped
from fastprop.engine.run.opaque import Opaque
from fastprop.engine.tape.tape import current_tape

cdef set rows = set(gates.table.values())


def apply_traced(gate, tuple operands, dict options):
    """Record a gate under trace, on Arrays number by number; conditions may choose."""
    operands = unwrapped(gate, operands)
    if not options and gate in rows and gate.arity != gates.SEQUENCE and are_single(operands):
        return apply_kernel(kernels.opcode_of[gate.name], list(operands))
    prepared, flat = prepare(gate, operands, options)
    if prepared in rows and are_single(flat):
        return apply_kernel(kernels.opcode_of[prepared.name], list(flat))
    if is_opaque(prepared, flat):
        return apply_opaque(prepared, flat)
    return apply_to_bundles(prepared, flat)


def apply_opaque(gate, tuple operands):
    """Record a gate of the user's own: one gate of the caller's for every number of its value."""
    trace = current_tape()
    opaque = Opaque(gate, list(map(numbers_of, operands)))
    given = []
    for unit in opaque.units:
        given.append(unit._recorded)
    results = opaque.forward(given)
    units = region_gate(trace, opaque.units, opaque, results) if results else []
    opaque.units = []
    return units[0] if opaque.shape == () else Bundle(object_array(units, opaque.shape))


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
    """Record a region; returns the Units of its numbers (one even if it gives none: what follows it depends on that)."""
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
