"""Numbers of a trace by their slots: many inputs, gates of one kind, or a region, at once, and handles when wanted.

A block of numbers is an array of slots, in which NONE stands for a constant: no Unit is made for a number of it.
"""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t

from fastprop.engine.executor.instructions cimport (
    BATCH_MATMUL, BOTH, EITHER, EQUAL, LESS, LESS_EQUAL, NOT_EQUAL, REGION, RESULT,
)
from fastprop.engine.kernels cimport POSITIVE, Kernel, kernel

import operator

import numpy as np

CONSTANT = NONE     # in the place of a slot
LOGIC = {
    operator.lt: LESS, operator.le: LESS_EQUAL, operator.eq: EQUAL, operator.ne: NOT_EQUAL,
    operator.and_: BOTH, operator.or_: EITHER,
}


cdef int make_room_for(PyObject* home, Py_ssize_t gates, Py_ssize_t pool) except -1:
    """Room for so many gates on a trace, with so many operands in the pool."""
    cdef Nodes* nodes = nodes_of(home)
    make_room(home, pool)
    reserve(nodes, nodes.length + gates)
    nodes.limit = nodes.capacity
    return 0


cdef int note_sources(PyObject* home, Py_ssize_t first) except -1:
    """Remember where all gates from one on were recorded, which is one place."""
    cdef Nodes* nodes = nodes_of(home)
    cdef Py_ssize_t i
    if nodes.length == first:
        return 0
    note_source(home)
    for i in range(first, nodes.length - 1):
        nodes.source[i] = nodes.source[nodes.length - 1]
    return 0


def record_inputs(Trace trace not None, values):
    """Record inputs with their values where they are recorded; returns the slot of the first, behind which they lie."""
    cdef const double[::1] value = values
    cdef PyObject* home = <PyObject*>trace
    cdef Py_ssize_t i, first = trace.nodes.length
    make_room_for(home, value.shape[0], 0)
    for i in range(value.shape[0]):
        write(home, INPUT, NONE, NONE, 0.0, 0.0, value[i])
    note_sources(home, first)
    return first


def record_elements(Trace trace not None, array, places):
    """Record numbers of an Array that is a leaf, by their places; returns the slot of the first, -1 if it is none."""
    cdef Link* link = link_of_any(array)
    cdef const int32_t[::1] place = np.ascontiguousarray(places, np.int32)
    cdef PyObject* home = <PyObject*>trace
    cdef Py_ssize_t i, first = trace.nodes.length
    cdef int32_t operand
    if link == NULL or link.tape != NULL or link.size < 0:
        return -1
    cdef const double[::1] value = np.ravel(array.value)[np.asarray(place)].astype(np.float64)
    make_room_for(home, place.shape[0], 0)
    operand = operand_of(home, link)
    for i in range(place.shape[0]):
        write(home, ELEMENT, operand, place[i], 1.0, 0.0, value[i])
    note_sources(home, first)
    return first


def record_gates(Trace trace not None, int opcode, slots, constants=None):
    """Record a gate of the table on every row of an array of operands; returns the slot of the first.

    Parameters
    ----------
    trace : Trace
        Which is recording.
    opcode : int
        Of the gate.
    slots : array of int32
        A row of operands for each gate; CONSTANT stands for a number.
    constants : array of float, optional
        The numbers in their places.
    """
    cdef const int32_t[:, ::1] slot = slots
    cdef const double[:, ::1] constant = np.zeros((0, 0)) if constants is None else constants
    cdef const Kernel* gate = kernel(opcode)
    cdef Nodes* nodes = &trace.nodes
    cdef PyObject* home = <PyObject*>trace
    cdef Py_ssize_t i, gates = slot.shape[0], n = slot.shape[1], first = trace.nodes.length
    cdef bint pooled = gate.arity not in (1, 2)
    cdef double value
    check_operands(slot, constant, gate.arity, first)
    cdef double* values = <double*>PyMem_Malloc(<size_t>(2 * n + 4) * sizeof(double))
    if values == NULL:
        raise MemoryError(f"no memory for gates with {n} operands")
    cdef double* partials = values + n + 2
    partials[1] = 0.0
    try:
        make_room_for(home, gates, gates * n if pooled else 0)
        for i in range(gates):
            read_values(nodes, n, &slot[i, 0], &constant[i, 0] if constant.shape[0] else NULL, values)
            value = evaluate(gate, n, values, partials)
            if nodes.strict and is_refused(value):
                check_number(home, POOLED | opcode, NONE, NONE, 0.0, 0.0, value)
            keep_constants(n, &slot[i, 0], values, partials)
            if pooled:
                memcpy(&nodes.pool_operand[nodes.pool_length], &slot[i, 0], <size_t>n * sizeof(int32_t))
                memcpy(&nodes.pool_partial[nodes.pool_length], partials, <size_t>n * sizeof(double))
                write(home, POOLED | opcode, <int32_t>nodes.pool_length, <int32_t>n, 0.0, 0.0, value)
                nodes.pool_length += n
            else:
                write(home, opcode, slot[i, 0], slot[i, 1] if n == 2 else NONE, partials[0], partials[1], value)
    finally:
        PyMem_Free(values)
    note_sources(home, first)
    return first


def record_logic(Trace trace not None, relation, slots, constants=None):
    """Record a comparison, or `and` or `or`, on every row of an array of two operands; returns the slot of the first.

    `relation` is the function in `operator`; the rest is as for `record_gates`.
    """
    cdef const int32_t[:, ::1] slot = slots
    cdef const double[:, ::1] constant = np.zeros((0, 0)) if constants is None else constants
    cdef int opcode = LOGIC[relation]
    cdef PyObject* home = <PyObject*>trace
    cdef Py_ssize_t i, first = trace.nodes.length
    cdef double[2] values
    check_operands(slot, constant, 2, first)
    make_room_for(home, slot.shape[0], 0)
    for i in range(slot.shape[0]):
        read_values(&trace.nodes, 2, &slot[i, 0], &constant[i, 0] if constant.shape[0] else NULL, values)
        write(
            home, opcode, slot[i, 0], slot[i, 1], values[0] if slot[i, 0] == NONE else 0.0,
            values[1] if slot[i, 1] == NONE else 0.0, truth_of(opcode, values[0], values[1])
        )
    note_sources(home, first)
    return first


def record_region(Trace trace not None, region, operands, values):
    """Record a region; returns the slot of its first number, behind which the others lie.

    There is one even if it gives none: what follows depends on it.

    Parameters
    ----------
    trace : Trace
        Which is recording.
    region : object
        Kept among the trace's regions.
    operands : array of int32
        Slots.
    values : array of float
        Of its numbers, where it is recorded.
    """
    return record_results(trace, REGION, region, operands, None, values if len(values) else [0.0])


def record_product(Trace trace not None, product, slots, constants):
    """Record a product of two matrices; returns the slot of its first number, behind which the others lie.

    Its values, where it is recorded, are sums in order, as those of dots are: what is decided by them must not hang on
    how a product is computed.

    Parameters
    ----------
    trace : Trace
        Which is recording.
    product : object
        Kept among the trace's regions: it says what is pulled.
    slots : array of int32
        How many rows there are, the left matrix by rows, the right one by columns; CONSTANT stands for a number.
    constants : array of float
        The numbers in their places.
    """
    cdef const int32_t[::1] slot = slots
    cdef const double[::1] constant = constants
    cdef Py_ssize_t m = product.rows, depth = product.depth, n = product.columns, k
    if slot.shape[0] != 1 + (m + n) * depth or constant.shape[0] != slot.shape[0] or m * n * depth == 0:
        raise ValueError(f"{slot.shape[0]} operands and {constant.shape[0]} constants; expected {1 + (m + n) * depth}")
    check_operands(slots[None], constants[None], -1, trace.nodes.length)
    numbers, values = np.empty(slot.shape[0]), np.empty(m * n)
    cdef double[::1] number = numbers, value = values
    for k in range(slot.shape[0]):
        number[k] = constant[k] if slot[k] == NONE else trace.nodes.value[slot[k]]
    with nogil:
        sums_in_order(m, depth, n, &number[1], &number[1 + m * depth], &value[0])
    return record_results(trace, BATCH_MATMUL, product, slots, constants, values)


cdef void sums_in_order(
    Py_ssize_t m, Py_ssize_t depth, Py_ssize_t n, const double* left, const double* right, double* value
) noexcept nogil:
    """The products of rows with columns, four columns at a time."""
    cdef Py_ssize_t i, j, k, width
    cdef const double* x
    cdef const double* y
    cdef double a, b, c, d
    for i in range(m):
        x = left + i * depth
        for j in range(0, n, 4):
            width = min(n - j, <Py_ssize_t>4)
            y = right + j * depth
            a = b = c = d = 0.0
            if width == 4:
                for k in range(depth):
                    a += x[k] * y[k]
                    b += x[k] * y[depth + k]
                    c += x[k] * y[2 * depth + k]
                    d += x[k] * y[3 * depth + k]
                value[i * n + j], value[i * n + j + 1] = a, b
                value[i * n + j + 2], value[i * n + j + 3] = c, d
                continue
            for j in range(j, n):
                a = 0.0
                for k in range(depth):
                    a += x[k] * right[j * depth + k]
                value[i * n + j] = a
            break


cdef Py_ssize_t record_results(
    Trace trace, int opcode, region, operands, constants, values
) except -1:
    """Record a gate of several numbers."""
    cdef const int32_t[::1] slot = np.ascontiguousarray(operands, np.int32)
    cdef const double[::1] value = np.ascontiguousarray(values, np.float64)
    cdef const double[::1] constant = np.zeros(slot.shape[0]) if constants is None else constants
    cdef Nodes* nodes = &trace.nodes
    cdef PyObject* home = <PyObject*>trace
    cdef Py_ssize_t i, n = slot.shape[0], head = nodes.length
    if constant.shape[0] != n:
        raise ValueError(f"{n} operands have {constant.shape[0]} constants; expected one in the place of each")
    for i in range(n):
        if slot[i] >= head or slot[i] < 0 and (slot[i] != NONE or constants is None):
            raise IndexError(f"there is no slot {slot[i]} among {head}")
    for i in range(value.shape[0] if nodes.strict else 0):
        check_number(home, POOLED | opcode, NONE, NONE, 0.0, 0.0, value[i])
    make_room_for(home, value.shape[0], n)
    for i in range(n):
        nodes.pool_operand[nodes.pool_length + i] = slot[i]
        nodes.pool_partial[nodes.pool_length + i] = constant[i] if slot[i] == NONE else 0.0
    write(home, POOLED | opcode, <int32_t>nodes.pool_length, <int32_t>n, 0.0, 0.0, value[0])
    nodes.pool_length += n
    for i in range(1, value.shape[0]):
        write(home, RESULT, <int32_t>head, NONE, 0.0, 0.0, value[i])
    note_sources(home, head)
    trace.regions[head] = region
    return head


cdef inline bint truth_of(int opcode, double x, double y) noexcept nogil:
    if opcode == LESS:
        return x < y
    if opcode == LESS_EQUAL:
        return x <= y
    if opcode == EQUAL:
        return x == y
    if opcode == NOT_EQUAL:
        return x != y
    return x != 0.0 and y != 0.0 if opcode == BOTH else x != 0.0 or y != 0.0


cdef int check_operands(
    const int32_t[:, ::1] slot, const double[:, ::1] constant, int arity, Py_ssize_t length
) except -1:
    """Raise unless all operands are there."""
    cdef Py_ssize_t i, j
    if slot.shape[1] == 0 or (arity > 0 and slot.shape[1] != arity):
        raise ValueError(f"gates of {arity} operands got {slot.shape[1]}")
    if constant.shape[0] and (constant.shape[0] != slot.shape[0] or constant.shape[1] != slot.shape[1]):
        raise ValueError("there must be a number in the place of every operand, or none at all")
    for i in range(slot.shape[0]):
        for j in range(slot.shape[1]):
            if slot[i, j] >= length or (slot[i, j] < 0 and (slot[i, j] != NONE or constant.shape[0] == 0)):
                raise IndexError(f"there is no slot {slot[i, j]} among {length}")
    return 0


cdef inline void read_values(
    const Nodes* nodes, Py_ssize_t n, const int32_t* slot, const double* constant, double* values
) noexcept nogil:
    """The values of operands where they are recorded."""
    cdef Py_ssize_t j
    for j in range(n):
        values[j] = constant[j] if slot[j] == NONE else nodes.value[slot[j]]


cdef inline void keep_constants(
    Py_ssize_t n, const int32_t* slot, const double* values, double* partials
) noexcept nogil:
    """Let the partials of constants be their values."""
    cdef Py_ssize_t j
    for j in range(n):
        if slot[j] == NONE:
            partials[j] = values[j]


def handles_at(Trace trace not None, slots):
    """Return an object array of Units on the numbers at some slots."""
    cdef const int32_t[::1] slot = np.ravel(slots)
    made = np.empty(slot.shape[0], object)
    cdef object[::1] unit = made
    cdef Py_ssize_t i
    check_slots(trace, slot)
    for i in range(slot.shape[0]):
        unit[i] = pin(<PyObject*>trace, slot[i])
    return made.reshape(np.shape(slots))


def slot_in(Trace trace, Unit unit):
    """Return the slot of a Unit on a trace: of a leaf or an outer result, of what stands for it there."""
    cdef Link* link = captured(<PyObject*>trace, &unit.link)
    cdef PyObject* home = <PyObject*>trace
    cdef int32_t operand
    if link.tape == home:
        return link.slot
    make_room(home, 0)
    operand = operand_of(home, link)
    alias = owned(append(home, POSITIVE, operand, NONE, 1.0, 0.0, link.value))
    return (<Unit>alias).link.slot


def stand_ins_at(Trace trace not None, Trace home not None, slots):
    """Return the slots in a trace that stand for slots of one around it; None if that is none around it."""
    cdef const int32_t[::1] slot = np.ravel(slots)
    found = np.empty(slot.shape[0], np.int32)
    cdef int32_t[::1] here = found
    cdef Py_ssize_t i, first = trace.nodes.length
    if not is_within(trace, <PyObject*>home):
        return None
    check_slots(home, slot)
    make_room_for(<PyObject*>trace, slot.shape[0], 0)
    for i in range(slot.shape[0]):
        here[i] = stand_in_at(trace, home, slot[i])
    note_sources(<PyObject*>trace, first)
    return found.reshape(np.shape(slots))


def slots_of_keys(Trace trace not None, const int64_t[::1] keys):
    """Return the slots in a trace of results of it, or of what stands for those of traces around it, by their keys."""
    found = np.empty(keys.shape[0], np.int32)
    cdef int32_t[::1] here = found
    cdef Trace home
    cdef Py_ssize_t i, first = trace.nodes.length
    make_room_for(<PyObject*>trace, keys.shape[0], 0)
    for i in range(keys.shape[0]):
        home = parent_of_key(trace, keys[i])
        here[i] = slot_of_key(keys[i])
        if here[i] >= home.nodes.length:
            raise IndexError(f"there is no slot {here[i]} among {home.nodes.length}")
        if home is not trace:
            here[i] = stand_in_at(trace, home, here[i])
    note_sources(<PyObject*>trace, first)
    return found


def number_slots(dict number_of, const int32_t[::1] slots):
    """Return the numbers that slots have; those that have none get the next ones."""
    found = np.empty(slots.shape[0], np.int32)
    cdef int32_t[::1] number = found
    cdef Py_ssize_t i
    for i in range(slots.shape[0]):
        known = number_of.get(slots[i])
        if known is None:
            known = len(number_of)
            number_of[slots[i]] = known
        number[i] = known
    return found


cdef int32_t stand_in_at(Trace trace, Trace home, int32_t slot) except -1:
    """The slot in a trace that stands for one of a trace around it; there is room for it."""
    key = key_of(home, slot)
    here = trace.stand_ins.get(key)
    if here is None:
        here = trace.nodes.length
        trace.stand_ins[key] = here
        write(<PyObject*>trace, INPUT, NONE, NONE, 0.0, 0.0, home.nodes.value[slot])
    return <int32_t>here if type(here) is int else <int32_t>(<Unit>here).link.slot


def are_marked(Trace trace not None, slots):
    """Return for each of some slots whether it is a number of a region."""
    cdef const int32_t[::1] slot = np.ravel(slots)
    found = np.zeros(slot.shape[0], np.bool_)
    cdef uint8_t[::1] marked = found.view(np.uint8)
    cdef Py_ssize_t i
    check_slots(trace, slot)
    for i in range(slot.shape[0]):
        marked[i] = is_of_region(&trace.nodes, slot[i])
    return found


def values_at(Trace trace not None, slots):
    """Return the values at some slots, where they are recorded."""
    cdef const int32_t[::1] slot = np.ravel(slots)
    found = np.empty(slot.shape[0])
    cdef double[::1] value = found
    cdef Py_ssize_t i
    check_slots(trace, slot)
    for i in range(slot.shape[0]):
        value[i] = trace.nodes.value[slot[i]]
    return found.reshape(np.shape(slots))


cdef int check_slots(Trace trace, const int32_t[::1] slot) except -1:
    cdef Py_ssize_t i
    for i in range(slot.shape[0]):
        if not 0 <= slot[i] < trace.nodes.length:
            raise IndexError(f"there is no slot {slot[i]} among {trace.nodes.length}")
    return 0


def slots_of(Trace trace not None, numbers):
    """Return the slots in a trace of Units and floats, and the floats in their places (None: there is none).

    None if one of them is anything else, or at home elsewhere.
    """
    flat = np.ravel(numbers)
    cdef object[::1] number = flat if flat.flags.writeable else flat.copy()
    cdef Py_ssize_t i, floats = 0
    slots = np.full(number.shape[0], NONE, np.int32)
    constants = np.zeros(number.shape[0])
    cdef int32_t[::1] slot = slots
    cdef double[::1] constant = constants
    for i in range(number.shape[0]):
        x = number[i]
        if type(x) is float:
            constant[i] = <double>x
            floats += 1
        elif isinstance(x, Unit) and (<Unit>x).link.tape == <PyObject*>trace:
            slot[i] = <int32_t>(<Unit>x).link.slot
        else:
            return None
    shape = np.shape(numbers)
    return slots.reshape(shape), constants.reshape(shape) if floats else None
