"""What transforms build on: variables, numeric sweeps that touch no gradient, and the gates on the way to an output."""
import numpy as np

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcmp

from fastprop.engine.kernels cimport POSITIVE, kernel
from fastprop.engine.executor.instructions cimport BATCH_MATMUL, FIRST_EXTRA, ITEM, REGION, RESULT

from fastprop import gates
from fastprop.handles.operands import as_block, as_float
from fastprop.engine.parts import Item, Pick
from fastprop.gates.blocks import GetItem


# ----------------------------------------------------------------------------------------------------- variables

def variable(Tape tape, value):
    """A result of no gate: the variable of a transform. Of a handle, an alias that passes pulls on to it."""
    cdef PyObject* home = <PyObject*>tape
    cdef Record record = Record.__new__(Record)
    cdef int32_t operand = NONE
    cdef Link* link = link_of_any(value)
    if link != NULL:
        check_fresh(link)
    if type(value) is float or link == NULL and np.ndim(value) == 0:
        make_room(home, 0)
        return owned(append(home, INPUT, NONE, NONE, 0.0, 0.0, as_float(value, "a variable")))
    if isinstance(value, Unit):
        make_room(home, 0)
        if link.tape == NULL or link.tape == home:
            operand = operand_of(home, link)
        return owned(append(home, POSITIVE, operand, NONE, link.value if operand == NONE else 1.0, 0.0, link.value))
    if link != NULL:
        return earlier_block(tape, value, (<Block>value).numbers)
    record.value = np.asarray(as_block(value, "a variable"))
    record.operands = ()
    return add_block(home, record, ())


# ------------------------------------------------------------------------------------------------ numeric sweeps

def gradients(Tape tape, list outputs, list pulls, list variables):
    """The pulls that arrive on variables from pulls on outputs."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t top = -1
    cdef Py_ssize_t low = nodes.length
    cdef Link* link
    cdef list found = []
    for output in outputs:
        link = own(tape, output)
        if link != NULL:
            top = max(top, link.slot)
    if top < 0:
        return list(map(zero_of, variables))
    begin_sweep(tape, nodes.length - 1)     # a variable may lie above the outputs
    try:
        for output, pull in zip(outputs, pulls):
            link = own(tape, output)
            if link != NULL:
                low = min(low, seed(tape, link, pull))
        pull_down(tape, top, &low)
        for x in variables:
            found.append(arrived(tape, x))
        return found
    finally:
        end_sweep(tape, top, min(low, top))


def tangents(Tape tape, list outputs, list variables, list along):
    """The tangents that arrive on outputs from tangents of variables."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t end = nodes.length
    cdef Py_ssize_t low = end - 1
    cdef Py_ssize_t i
    cdef list found = []
    if end == 0:
        return list(map(zero_of, outputs))
    begin_sweep(tape, end - 1)
    try:
        for x, tangent in zip(variables, along):
            low = min(low, seed(tape, own(tape, x), tangent))
        i = sweep_forward(nodes, low, end)
        while i < end:
            (<Record>nodes.block[block_number(nodes, i)].record).push(tape, i)
            i = sweep_forward(nodes, i + 1, end)
        for output in outputs:
            found.append(arrived(tape, output))
        return found
    finally:
        end_sweep(tape, end - 1, low)


cdef Link* own(Tape tape, object handle) except? NULL:
    """The link of a result of this tape, NULL for anything else."""
    cdef Link* link = link_of_any(handle)
    if link == NULL:
        return NULL
    check_fresh(link)
    return link if link.tape == <PyObject*>tape else NULL


def zero_of(handle):
    return np.zeros_like(handle.value) if isinstance(handle, Block) else 0.0


cdef object arrived(Tape tape, object handle):
    """The adjoint of a handle in the form of its value; zero if it is no result of this tape."""
    cdef Link* link = own(tape, handle)
    part = None if link == NULL else part_of(&tape.nodes, <int32_t>link.slot, handle.value)
    return zero_of(handle) if part is None else part


# ------------------------------------------------------------------------------------- sweeps over what is traced

def swept_trace(Tape tape, list ends, list pulls, const int32_t[::1] variables, dict regions, arrays):
    """The pulls that arrive at the slots of variables, where a trace is recorded; regions say what they pull."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t i = max(ends), first = lowest(variables, nodes.length), top = nodes.length - 1, low = top, head
    cdef double[::1] arriving
    begin_sweep(tape, top)
    try:
        for end, pull in zip(ends, pulls):
            nodes.adjoint[<Py_ssize_t>end] += <double>pull
        low = min(ends)
        for head in [*regions, first - 1]:
            while i > head and i >= low:
                i = sweep_backward(nodes, i, head + 1, &low)
                if i > head and i >= low:       # a number of an Array that has no buffer yet
                    if nodes.opcode[i] != ELEMENT:
                        raise TypeError("a gradient in traced code can't go through a gate on plain arrays")
                    buffer_of(nodes, nodes.operand[i].first)
            if low > head or head < first:
                break
            low = pull_region(tape, head, low, arrays, regions[head])
            i = head - 1
        found = np.empty(variables.shape[0])
        arriving = found
        for i in range(variables.shape[0]):
            arriving[i] = nodes.adjoint[variables[i]]
        return found
    finally:
        end_sweep(tape, top, min(low, top))


cdef Py_ssize_t pull_region(Tape tape, Py_ssize_t head, Py_ssize_t low, arrays, active) except -1:
    """Let a region pull, which may record elsewhere meanwhile; returns the lowest slot that is reached."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t k, begin = nodes.operand[head].first, count = nodes.operand[head].second, slot = head + 1
    cdef const double[::1] brought
    while slot < nodes.length and nodes.opcode[slot] == RESULT:
        slot += 1
    pulls, values = np.empty(slot - head), np.empty(count)
    cdef double[::1] pull = pulls, value = values
    for k in range(slot - head):
        pull[k] = nodes.adjoint[head + k]
    for k in range(count):
        slot = nodes.pool_operand[begin + k]
        value[k] = nodes.pool_partial[begin + k] if slot == NONE else nodes.value[slot]
    tape.busy = False
    try:
        brought = np.ascontiguousarray(tape.regions[head].pulled_example(arrays, pulls, values, active), np.float64)
    finally:
        tape.busy = True
    for k in range(min(brought.shape[0], count)):
        slot = nodes.pool_operand[begin + k]
        if slot != NONE:
            nodes.adjoint[slot] += brought[k]
            low = min(low, slot)
    return low


cdef Py_ssize_t lowest(const int32_t[::1] slots, Py_ssize_t otherwise) noexcept:
    """The lowest of some slots."""
    cdef Py_ssize_t i, found = otherwise
    for i in range(slots.shape[0]):
        found = min(found, <Py_ssize_t>slots[i])
    return found


def regions_between(Tape tape, list ends, const int32_t[::1] variables, set arrays):
    """The regions that variables reach below some slots, newest first, with the operands that depend on these.

    None if one can't be swept; `arrays` are the slots of what stands for arrays.
    """
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t first = lowest(variables, nodes.length), top = max(ends)
    cdef dict found = {}
    is_variable, stands = marks(nodes.length, variables), marks(nodes.length, list(arrays))
    heads = [slot for slot in tape.regions if first <= slot <= top and not is_variable[slot]]
    above = on_path(nodes, first, variables) if heads else bytearray()
    for head in sorted(heads, reverse=True):
        if above[head - first]:
            slots = path_slots(nodes, head, above, first)
            active, whole = slots >= 0, stands[slots]
            if not tape.regions[head].is_swept(np.flatnonzero(active & ~whole), np.flatnonzero(active & whole)):
                return None
            found[head] = np.flatnonzero(active)
    return found


cdef object marks(Py_ssize_t n, slots):
    """Return for each of so many slots whether it is one of some."""
    found = np.zeros(n, np.bool_)
    found[np.asarray(slots, np.intp)] = True
    return found


# --------------------------------------------------------------------------------------------- gates on the way

def closed(Tape tape, list variables, list outputs):
    """Whether the outputs, and all gates since the first variable, were computed from what came since then alone.

    A leaf comes from elsewhere, unless the tape is a numeric call's own, of which nobody can sweep to leaves.
    """
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t first = nodes.length
    cdef Py_ssize_t slot
    for handle in variables:
        first = min(first, own(tape, handle).slot)
    for handle in outputs:
        if own(tape, handle).slot < first:
            return False
    for slot in range(first, nodes.length):
        if is_head(nodes.opcode[slot]):     # which a numeric sweep does not know
            return False
        for operand in operand_list(nodes, slot):
            if operand < first and operand != NONE and (operand >= 0 or not tape.captures):
                return False
    return True


def steps(Tape tape, list outputs, list variables):
    """The gates on the paths from variables to outputs, newest first: (key, gate, operands, their keys)."""
    tape.held += 1
    try:
        return snapshot(tape, outputs, variables)
    finally:
        tape.held -= 1
        tape.nodes.limit = 0        # to be set anew


cdef tuple snapshot(Tape tape, list outputs, list variables):
    cdef Nodes* nodes = &tape.nodes
    cdef Link* link
    cdef list ends = []
    cdef list starts = []
    cdef list found = []
    cdef dict handles = {}
    cdef bytearray above, reached
    cdef Py_ssize_t first, slot
    for output in outputs:
        link = own(tape, output)
        ends.append(-1 if link == NULL else link.slot)
    for x in variables:
        starts.append(own(tape, x).slot)
    first = min(starts, default=nodes.length)
    above = on_path(nodes, first, np.array(starts, np.int32))
    reached = bytearray(nodes.length)
    for i, end in enumerate(ends):
        if end >= first and above[end - first]:
            reached[end] = 1
        else:
            ends[i] = None
    cdef set marked = {slot for slot in starts if is_of_region(nodes, slot)}
    for slot in range(nodes.length - 1, first - 1, -1):
        if reached[slot] and slot not in marked:    # nothing is pulled from one variable of a region to another
            places = [None if x < 0 else x for x in path_slots(nodes, slot, above, first).tolist()]
            if places.count(None) < len(places):
                for place in places:
                    if place is not None:
                        reached[place] = 1
                found.append((slot, *gate_of(tape, slot, handles), tuple(places)))
    return ends, starts, found


cdef list operand_list(Nodes* nodes, Py_ssize_t slot):
    """The operands of the gate at a slot: slots, leaves or NONE."""
    cdef const int32_t* operand
    cdef Py_ssize_t k
    cdef list operands = []
    for k in range(pulled_operands(nodes, slot, &operand)):
        operands.append(operand[k])
    return operands


cdef Py_ssize_t pulled_operands(const Nodes* nodes, Py_ssize_t slot, const int32_t** operand) noexcept:
    """Say where the operands are on which the gate at a slot pulls; returns how many there are."""
    cdef uint8_t opcode = nodes.opcode[slot]
    operand[0] = &nodes.operand[slot].first
    if opcode == RESULT or opcode == ELEMENT:
        return 1
    if opcode == INPUT or (FIRST_EXTRA <= opcode < POOLED):     # a comparison is flat: nothing is pulled through it
        return 0
    if opcode < POOLED:
        return 2 if kernel(opcode).arity == 2 else 1
    operand[0] = &nodes.pool_operand[nodes.operand[slot].first + (opcode == BLOCK)]
    return nodes.operand[slot].second


cdef bytearray on_path(Nodes* nodes, Py_ssize_t first, const int32_t[::1] starts):
    """above[slot - first]: whether the slot is a variable or was computed from one."""
    cdef bytearray found = bytearray(max(nodes.length - first, 0))
    cdef unsigned char* above = found
    cdef const int32_t* operand
    cdef Py_ssize_t slot, k
    for k in range(starts.shape[0]):
        above[starts[k] - first] = 1
    for slot in range(first, nodes.length):
        for k in range(pulled_operands(nodes, slot, &operand)):
            if operand[k] >= first and above[operand[k] - first]:
                above[slot - first] = 1
    return found


cdef bint is_of_region(const Nodes* nodes, Py_ssize_t slot) noexcept:
    """Whether a slot holds a number of a region."""
    return nodes.opcode[slot] == RESULT or is_head(nodes.opcode[slot])


cdef inline bint is_head(int opcode) noexcept:
    """Whether a gate may have several numbers, the others behind it."""
    return opcode == POOLED | REGION or opcode == POOLED | BATCH_MATMUL


cdef object path_slots(Nodes* nodes, Py_ssize_t slot, bytearray above, Py_ssize_t first):
    """For each operand of a gate its slot if that is on a path, else -1."""
    cdef const int32_t* operand
    cdef Py_ssize_t k, n = pulled_operands(nodes, slot, &operand)
    found = np.empty(n, np.int32)
    cdef int32_t[::1] place = found
    for k in range(n):
        place[k] = operand[k] if operand[k] >= first and above[operand[k] - first] else -1
    return found


cdef tuple gate_of(Tape tape, Py_ssize_t slot, dict handles):
    """The gate at a slot, a Row or a Gate, and its operands: handles, and the values of constants."""
    cdef Nodes* nodes = &tape.nodes
    cdef uint8_t opcode = nodes.opcode[slot]
    cdef Record record
    cdef list operands = operand_list(nodes, slot)
    cdef list kept = []
    if opcode == BLOCK:
        record = <Record>nodes.block[block_number(nodes, slot)].record
        gate = record.gate
        kept.extend(record.operands)
    elif opcode == ELEMENT:
        array = handle_of(tape, operands[0], None, handles)
        return GetItem(tuple(map(int, np.unravel_index(nodes.operand[slot].second, array.shape)))), (array,)
    elif opcode == RESULT:
        derivable(tape.regions[nodes.operand[slot].first])
        gate = Pick(slot - nodes.operand[slot].first)
        kept.append(0.0)
    elif is_head(opcode):
        gate = derivable(tape.regions[slot])
        for i in range(nodes.operand[slot].first, nodes.operand[slot].first + nodes.operand[slot].second):
            kept.append(nodes.pool_partial[i])
    elif opcode == POOLED | ITEM:
        gate = Item(item)
        for i in range(nodes.operand[slot].first, nodes.operand[slot].first + nodes.operand[slot].second):
            kept.append(nodes.pool_partial[i])
    elif opcode < POOLED:
        gate = rows[opcode]
        kept.append(nodes.partial[slot].first)
        kept.append(nodes.partial[slot].second)
    else:
        gate = rows[opcode & ~POOLED]
        for i in range(nodes.operand[slot].first, nodes.operand[slot].first + nodes.operand[slot].second):
            kept.append(nodes.pool_partial[i])
    for i, operand in enumerate(operands):
        operands[i] = kept[i] if operand == NONE else handle_of(tape, operand, kept[i], handles)
    return gate, tuple(operands)


cdef object derivable(region):
    """What records the derivative of a region."""
    return region if hasattr(region, "recorded_pulls") else differentiable_gate(region)


cdef object handle_of(Tape tape, int32_t operand, object recorded, dict handles):
    """A handle on an operand; of a leaf that was assigned since, on its value as recorded."""
    cdef Nodes* nodes = &tape.nodes
    cdef Leaf* leaf
    if operand >= 0:
        if operand not in handles:
            handles[operand] = pinned_handle(tape, operand)
        return handles[operand]
    leaf = &nodes.leaf[~operand]
    owner = <object>leaf.link.owner
    if isinstance(owner, Unit):
        same = memcmp(&leaf.link.value, &leaf.value, sizeof(double)) == 0       # bit by bit: NaN, and the sign of 0
        return owner if same else earlier_value(tape, operand)
    if isinstance(recorded, np.ndarray) and not are_same_numbers(recorded, (<Block>owner).numbers):
        return earlier_block(tape, owner, recorded)
    return owner


cdef bint are_same_numbers(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Whether two arrays that nobody changes are one in memory."""
    return cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y)


cdef object pinned_handle(Tape tape, Py_ssize_t slot):
    """A handle on any slot."""
    cdef Nodes* nodes = &tape.nodes
    cdef Block array
    cdef object value = None
    if nodes.opcode[slot] == BLOCK:
        value = (<Record>nodes.block[block_number(nodes, slot)].record).value
    if not isinstance(value, np.ndarray):
        return pin(<PyObject*>tape, slot)
    array = new_array(value)
    attach(<PyObject*>tape, &array.link, <PyObject*>array, slot, True)
    return array


cdef object earlier_value(Tape tape, int32_t operand):
    """A result that has the value that a leaf had, and pulls on the leaf."""
    cdef PyObject* home = <PyObject*>tape
    cdef double value = tape.nodes.leaf[~operand].value
    cdef Link* link = tape.nodes.leaf[~operand].link
    make_room(home, 0)
    return owned(append(home, POSITIVE, operand_of(home, link), NONE, 1.0, 0.0, value))


cdef object earlier_block(Tape tape, object leaf, object value):
    """The same of an Array."""
    cdef Elementwise record = Elementwise.__new__(Elementwise)
    record.opcode = POSITIVE
    record.gate = gates.positive
    record.value = value.view(np.ndarray)
    record.operands = (record.value,)
    return add_block(<PyObject*>tape, record, (leaf,))
