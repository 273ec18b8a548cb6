"""What pictures read: the gates that some results were computed from, and what a sweep brings to each of them."""
import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.kernels cimport kernel
from fastprop.engine.executor.instructions cimport FIRST_EXTRA, HELD, NEITHER, RESULT


def read_gates(Tape tape, list ends, list pulls=None):
    """Read the gates that some results were computed from, in the order in which they ran.

    Parameters
    ----------
    tape : Tape
        On which the results are.
    ends : list of Unit, Array or int
        The results, or their slots.
    pulls : list of float or array, optional
        What a sweep backward puts on each of them; it adds to no gradient. Without them no sweep is made.

    Returns
    -------
    dict of arrays
        `slot` and `opcode` of each gate; its operands are ``operand[first[i] : first[i + 1]]``: a gate (>= 0), the leaf
        ~operand, or NONE, a constant, whose number is in `kept`. `value` and `adjoint` of each gate that gives a
        number; `place`: which number of an Array it takes. `blocks`, of gates on arrays or of the user's own:
        ``{gate: (what it is, values of its operands, array or None, adjoint)}``; `leaves`: ``[(handle, value,
        adjoint)]``; `names`: of results that have one.
    """
    refuse_if_busy(tape)
    tape.held += 1
    try:
        return gates_of(tape, ends, pulls)
    finally:
        tape.held -= 1
        tape.nodes.limit = 0        # to be set anew


def depths(const int32_t[::1] first, const int32_t[::1] operand):
    """Return how many gates the longest way to each gate has, itself included; what has no operands has none."""
    cdef Py_ssize_t i, k, n = first.shape[0] - 1
    cdef int32_t[::1] depth = np.zeros(max(n, 0), np.int32)
    cdef int32_t deepest
    for i in range(n):
        deepest = 0
        for k in range(first[i], first[i + 1]):
            if operand[k] >= 0:
                deepest = max(deepest, depth[operand[k]])
        depth[i] = deepest + (first[i] < first[i + 1])
    return np.asarray(depth)


cdef Py_ssize_t given_operands(
    const Nodes* nodes, Py_ssize_t slot, const int32_t** operand, const double** kept
) noexcept nogil:
    """How many operands a gate has, where they stand, and where the values of those do that are constants."""
    cdef uint8_t opcode = nodes.opcode[slot]
    cdef Py_ssize_t begin
    if opcode < POOLED or opcode == ELEMENT:
        operand[0] = &nodes.operand[slot].first
        kept[0] = &nodes.partial[slot].first
        if opcode >= FIRST_EXTRA:
            return 1 if opcode == ELEMENT or opcode == NEITHER or opcode == HELD or opcode == RESULT else 2
        return kernel(opcode).arity
    if opcode == INPUT:
        return 0
    begin = nodes.operand[slot].first + (opcode == BLOCK)
    operand[0] = &nodes.pool_operand[begin]
    kept[0] = &nodes.pool_partial[begin]
    return nodes.operand[slot].second


cdef dict gates_of(Tape tape, list ends, list pulls):
    cdef Nodes* nodes = &tape.nodes
    cdef list slots = slots_of_ends(tape, ends)
    cdef Py_ssize_t top = max(slots, default=-1)
    cdef int32_t[::1] number = np.full(top + 1, NONE, np.int32)       # of each slot that is reached, among those
    cdef int32_t[::1] leaf = np.full(nodes.leaf_length, NONE, np.int32)   # ~its number among those that are used
    cdef dict found = {}
    cdef Py_ssize_t size = reach(nodes, slots, number, found)
    write_operands(nodes, found["slot"], number, leaf, size, found)
    found["names"] = names_of(nodes, number)
    found["blocks"] = blocks_of(nodes, found["slot"], found["opcode"])
    found["leaves"] = leaves_of(nodes, leaf)
    if pulls is not None:
        sweep_for_reading(tape, slots, pulls, found, leaf)
    return found


cdef list slots_of_ends(Tape tape, list ends):
    cdef Link* link
    cdef list slots = []
    for end in ends:
        if type(end) is int:
            slots.append(end)
            continue
        link = own(tape, end)
        if link == NULL:
            raise ValueError(f"{end!r:.60} is no result of tape {tape.number}; results of one tape are read together")
        slots.append(link.slot)
    return slots


cdef Py_ssize_t reach(Nodes* nodes, list slots, int32_t[::1] number, dict found) except -1:
    """Number the slots that some were computed from; returns how many operands their gates have."""
    cdef Py_ssize_t slot, k, count, n = 0, size = 0
    cdef const int32_t* operand
    cdef const double* kept
    cdef int32_t[::1] order
    for slot in slots:
        number[slot] = 0
    for slot in range(number.shape[0] - 1, -1, -1):
        if number[slot] == NONE:
            continue
        count = given_operands(nodes, slot, &operand, &kept)
        n += 1
        size += count
        for k in range(count):
            if operand[k] >= 0:
                number[operand[k]] = 0
    found["slot"] = np.empty(n, np.int32)
    order = found["slot"]
    n = 0
    for slot in range(number.shape[0]):
        if number[slot] != NONE:
            number[slot] = <int32_t>n
            order[n] = <int32_t>slot
            n += 1
    return size


cdef int write_operands(
    Nodes* nodes, const int32_t[::1] slot, const int32_t[::1] number, int32_t[::1] leaf, Py_ssize_t size, dict found
) except -1:
    """Write down gates, values and operands; number the leaves in the order of their first use."""
    cdef Py_ssize_t i, k, count, at = 0, n = slot.shape[0]
    cdef int32_t used = 0, x
    cdef const int32_t* given
    cdef const double* numbers
    found["opcode"], found["value"] = np.empty(n, np.uint8), np.empty(n, np.float64)
    found["place"] = np.full(n, -1, np.int32)
    found["first"], found["operand"] = np.zeros(n + 1, np.int32), np.empty(size, np.int32)
    found["kept"] = np.zeros(size, np.float64)
    cdef uint8_t[::1] opcode = found["opcode"]
    cdef double[::1] value = found["value"], kept = found["kept"]
    cdef int32_t[::1] first = found["first"], operand = found["operand"], place = found["place"]
    for i in range(n):
        opcode[i] = nodes.opcode[slot[i]]
        value[i] = nodes.value[slot[i]]
        if opcode[i] == ELEMENT:
            place[i] = nodes.operand[slot[i]].second
        count = given_operands(nodes, slot[i], &given, &numbers)
        for k in range(count):
            x = given[k]
            if x == NONE:
                kept[at] = numbers[k]
            elif x < 0:
                if leaf[~x] == NONE:
                    leaf[~x] = ~used
                    used += 1
                x = leaf[~x]
            else:
                x = number[x]
            operand[at] = x
            at += 1
        first[i + 1] = <int32_t>at
    return 0


cdef dict names_of(Nodes* nodes, const int32_t[::1] number):
    """The names of results that have one."""
    cdef dict names = {}
    cdef Link* link = nodes.newest
    while link != NULL:
        if link.slot < number.shape[0] and number[link.slot] != NONE:
            if link.size != NUMBER:
                name = (<Block>link.owner).name
            else:
                name = None if (<Unit>link.owner).label == NULL else <object>(<Unit>link.owner).label
            if name is not None:
                names[number[link.slot]] = name
        link = link.older
    return names


cdef dict blocks_of(Nodes* nodes, const int32_t[::1] slot, const uint8_t[::1] opcode):
    """What the gates with a Record are, the values of their operands, and the arrays that they give."""
    cdef dict blocks = {}
    cdef Record record
    cdef Py_ssize_t i
    for i in range(slot.shape[0]):
        if opcode[i] == BLOCK:
            record = <Record>nodes.block[block_number(nodes, slot[i])].record
            blocks[i] = record.gate, record.operands, None if type(record.value) is float else record.value, None
    return blocks


cdef list leaves_of(Nodes* nodes, const int32_t[::1] leaf):
    """The leaves in the order of their numbers, with their values: of Units, as recorded."""
    cdef list found = [None] * leaf.shape[0]
    cdef Py_ssize_t i, n = 0
    for i in range(leaf.shape[0]):
        if leaf[i] == NONE:
            continue
        owner = <object>nodes.leaf[i].link.owner
        value = nodes.leaf[i].value if nodes.leaf[i].link.size == NUMBER else (<Block>owner).numbers
        found[~leaf[i]] = owner, value, None
        n += 1
    return found[:n]


cdef int sweep_for_reading(Tape tape, list slots, list pulls, dict found, const int32_t[::1] leaf) except -1:
    """Sweep backward, and write down what arrives everywhere."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t top = max(slots, default=-1), low = top, i
    cdef const int32_t[::1] order = found["slot"]
    cdef double[::1] adjoint = np.zeros(order.shape[0])
    cdef double* buffer
    cdef list pins = []             # while there are any, the sweep keeps all adjoints of Arrays
    found["adjoint"] = np.asarray(adjoint)
    if top < 0:
        return 0
    for i, (_, _, value, _) in found["blocks"].items():
        if value is not None:
            pins.append(pinned_handle(tape, order[i]))
    begin_sweep(tape, nodes.length - 1)
    try:
        for slot, pull in zip(slots, pulls):
            add_part(nodes, slot, pull)
            low = min(low, <Py_ssize_t>slot)
        pull_down(tape, top, &low)
        for i in range(order.shape[0]):
            adjoint[i] = nodes.adjoint[order[i]]
        for i, (gate, operands, value, _) in found["blocks"].items():
            if value is not None:
                buffer = nodes.block[block_number(nodes, order[i])].buffer
                part = np.zeros_like(value) if buffer == NULL else array_of(buffer, value)
                found["blocks"][i] = gate, operands, value, part
        for i in range(leaf.shape[0]):
            if leaf[i] != NONE:
                owner, value, _ = found["leaves"][~leaf[i]]
                found["leaves"][~leaf[i]] = owner, value, arrived_at_leaf(&nodes.leaf[i], value)
    finally:
        end_sweep(tape, top, min(low, top))
    return 0


cdef object arrived_at_leaf(const Leaf* leaf, value):
    """The adjoint of a leaf, in the form of its value."""
    if leaf.link.size == NUMBER:
        return leaf.adjoint
    return np.zeros_like(value) if leaf.buffer == NULL else array_of(leaf.buffer, value)


def reached(const int32_t[::1] first, const int32_t[::1] operand, list ends):
    """Return a bool for each gate of such arrays: whether one of the ends was computed from it, or is it."""
    cdef Py_ssize_t i, k
    cdef uint8_t[::1] found = np.zeros(first.shape[0] - 1, np.uint8)
    for i in ends:
        found[i] = 1
    for i in range(first.shape[0] - 2, -1, -1):
        if found[i]:
            for k in range(first[i], first[i + 1]):
                if operand[k] >= 0:
                    found[operand[k]] = 1
    return np.asarray(found).view(np.bool_)
