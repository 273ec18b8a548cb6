"""Records: what a tape knows of a gate on blocks, or of one of the user's own, and what sweeps make of it.

A block gate occupies one slot of the tape like any other; what it did is in a Record, and its operands are in the pool,
so that compaction and sweeps find them as they find those of any gate with many operands. A record refers to the values
of its operands, which nobody changes; what these are pulled is computed of them in the sweep. Adjoints are float64.
"""
import numpy as np

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from fastprop import gates
from fastprop.gates.numbers import number
from fastprop.handles.operands import as_operand, as_result, fit, gate_pulls, gate_tangent, pulls_of

cdef str OURS = gates.__name__          # the package whose gates hold no handles, and give what they should


# ----------------------------------------------------------------------------------------------------- recording

def apply_block(gate, tuple operands):
    """Record a gate of which an operand is an Array, or a gate of the user's own."""
    cdef Own record
    if type(gate) is gates.Row:
        made = apply_ours(gate, as_loops_take(gate, operands))
        if made is None:
            raise ValueError(f"{gate.name} takes {gate.arity} operands, got {len(operands)}")
        return made
    values, ours = [], type(gate).__module__.startswith(OURS)
    for position, operand in enumerate(operands):
        if link_of_any(operand) == NULL:
            values.append(as_operand(gate, position, operand))
        else:
            values.append((<Block>operand).numbers if ours and isinstance(operand, Block) else operand.value)
    record = Own()
    record.gate = gate
    record.ours = ours
    record.operands = tuple(values)
    value = gate.forward(*record.operands)
    if ours and is_plain_block(value):
        record.value = value
        freeze(<cnp.ndarray>value)
    else:
        value = as_result(value, gate)
        record.value = value if type(value) is float else value.view(np.ndarray)
    return add_block(NULL, record, operands)


cdef object apply_ours(gate, tuple operands):
    """Record a gate that sweeps compute without Python; None if it is none, or has operands that those don't know."""
    cdef PyObject* given[3]
    cdef Py_ssize_t i, n = len(operands)
    cdef bint blocks = False
    kind = type(gate)
    if n == 1 and isinstance(operands[0], Block):
        if kind in MOVES:
            return apply_move(gate, operands[0])
        if kind is Sum or kind is Mean:
            return apply_sum(gate, operands[0])
    if n == 2 and (kind is MatMul or kind is StrongMatMul):
        return apply_product(gate, operands[0], operands[1])
    if kind is not gates.Row or gate.arity != n:
        return None
    for i in range(n):
        given[i] = <PyObject*>operands[i]
        blocks = blocks or isinstance(operands[i], Block) or is_plain_block(operands[i])
    return apply_elementwise(opcodes[gate], <int>n, given) if blocks else None


cdef tuple as_loops_take(gate, tuple operands):
    """Operands of a gate of the table, those that are plain as numbers or as arrays of float64 or float32."""
    cdef list taken = []
    for position, x in enumerate(operands):
        if link_of_any(x) == NULL:
            x = number(gate, position, x, arrays=True)
            if isinstance(x, np.ndarray) and not is_plain_block(x):
                if x.dtype.newbyteorder("=") not in (np.float64, np.float32):
                    raise TypeError(
                        f"{gate.name}: operand {position} has dtype {x.dtype}; expected float32 or float64: convert it "
                        "with .astype first"
                    )
                x = np.array(x, x.dtype.newbyteorder("="))
        taken.append(x)
    return tuple(taken)


cdef PyObject* home_of_links(Py_ssize_t n, Link** links, object gate) except NULL:
    """The tape for a gate whose value is there: who computed it, or another thread meanwhile, may have reset one."""
    cdef PyObject* home = NULL
    cdef PyObject* other = NULL
    cdef Py_ssize_t i
    for i in range(n):
        if links[i] != NULL:
            home = common_home(home, links[i], &other)
    return settled_home(home, other, gate)


cdef object add_block(PyObject* home, Record record, tuple handles):
    """The handle of the result of a gate of these handles and constants; on a tape of theirs if none is given."""
    cdef Py_ssize_t i, n = len(handles)
    cdef Link** links = <Link**>PyMem_Malloc(<size_t>max(n, 1) * sizeof(Link*))
    if links == NULL:
        raise MemoryError(f"no memory for a gate with {n} operands")
    try:
        for i in range(n):
            links[i] = link_of_any(handles[i])
        if home == NULL:
            home = home_of_links(n, links, record.gate)
            if not (<Own>record).ours:
                watch(<Tape>home)
        return add_record(home, record, n, links)
    finally:
        PyMem_Free(links)


cdef object add_record(PyObject* home, Record record, Py_ssize_t n, Link** links):
    """A slot for a record, and the handle of its result; results of other tapes are constants, as is NULL."""
    cdef Nodes* nodes = nodes_of(home)
    cdef bint single = type(record.value) is float
    cdef Block result = None if single else new_array(record.value)
    cdef Py_ssize_t nbytes = record.nbytes(), offset, i
    cdef int32_t number, operand
    cdef Link* link
    if nodes.strict:
        check_numbers(home, getattr(record.gate, "name", type(record.gate).__name__), record.value)
    if nodes.length >= nodes.limit or nodes.pool_length + n >= nodes.pool_capacity:
        make_room(home, n + 1)
    reserve_block(nodes)
    offset = nodes.pool_length
    for i in range(n):
        operand = NONE
        link = links[i]
        if link != NULL and (link.tape == NULL or link.tape == home):
            operand = operand_of(home, link)
        nodes.pool_operand[offset + 1 + i] = operand
        nodes.pool_partial[offset + 1 + i] = 0.0
    unit = append(home, BLOCK, <int32_t>offset, <int32_t>n, 0.0, 0.0, record.value) if single else NULL
    slot = nodes.length - 1 if single else write(home, BLOCK, <int32_t>offset, <int32_t>n, 0.0, 0.0, 0.0)
    number = nodes.free_block
    nodes.free_block = nodes.block[number].touched
    nodes.block[number].record = <PyObject*>record
    incref(<PyObject*>record)
    nodes.block[number].buffer = NULL
    nodes.block[number].touched = UNTOUCHED
    nodes.block[number].size = NUMBER if single else result.link.size
    nodes.block[number].nbytes = nbytes
    nodes.block[number].held = not single
    nodes.pool_operand[offset] = number
    nodes.pool_partial[offset] = 0.0
    nodes.pool_length = offset + n + 1
    (<Tape>home).nbytes_held += nbytes
    if (<Tape>home).nbytes_held >= (<Tape>home).nbytes_at:
        nodes.limit = 0         # so that recording asks for room
    if single:
        return owned(unit)
    attach(home, &result.link, <PyObject*>result, slot, False)
    return result


# ------------------------------------------------------------------------------------------------------ adjoints

cdef object array_of(const double* buffer, cnp.ndarray like):
    """An adjoint buffer as an array with the shape and the dtype of `like`."""
    cdef bint single = is_single(like)
    cdef cnp.ndarray numbers = empty_array(cnp.PyArray_NDIM(like), <Py_ssize_t*>cnp.PyArray_DIMS(like), single)
    if single:
        narrow_into(<float*>cnp.PyArray_DATA(numbers), buffer, cnp.PyArray_SIZE(numbers))
    else:
        memcpy(cnp.PyArray_DATA(numbers), buffer, <size_t>cnp.PyArray_NBYTES(numbers))
    return numbers


cdef object summed_gradient(cnp.ndarray like, object gradient, double** buffer, bint alone):
    """A gradient (None: zeros) plus an adjoint, whose buffer becomes the array itself if it is nobody else's."""
    cdef cnp.ndarray numbers
    cdef Py_ssize_t size = cnp.PyArray_SIZE(like)
    if gradient is not None:
        numbers = empty_array(cnp.PyArray_NDIM(like), <Py_ssize_t*>cnp.PyArray_DIMS(like), is_single(like))
        if is_single(like):
            sum_to_floats(<float*>cnp.PyArray_DATA(numbers), <float*>cnp.PyArray_DATA(<cnp.ndarray>gradient), buffer[0],
                          size)
        else:
            sum_doubles(<double*>cnp.PyArray_DATA(numbers), <double*>cnp.PyArray_DATA(<cnp.ndarray>gradient), buffer[0],
                        size)
    elif alone and size > CHUNK and not is_single(like):
        numbers = array_at(
            buffer[0], cnp.PyArray_NDIM(like), <Py_ssize_t*>cnp.PyArray_DIMS(like), cnp.NPY_DOUBLE,
            <size_t>size * sizeof(double)
        )
        buffer[0] = NULL
    else:
        numbers = array_of(buffer[0], like)
    freeze(numbers)
    return numbers


cdef int take_gradient(object array, object gradient) except -1:
    (<Block>array).slope = gradient
    return 0


cdef cnp.ndarray wrapped(double* buffer, cnp.ndarray like):
    """An adjoint buffer as an array of float64 in the shape of `like`, which writes there."""
    return cnp.PyArray_SimpleNewFromData(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.NPY_DOUBLE, buffer)


cdef int add_to(double* buffer, cnp.ndarray part) except -1:
    """Add an array to an adjoint buffer of its size."""
    cdef Walk to, numbers
    cdef Py_ssize_t stride = sizeof(double), size = cnp.PyArray_SIZE(part)
    if cnp.PyArray_TYPE(part) != cnp.NPY_FLOAT and cnp.PyArray_TYPE(part) != cnp.NPY_DOUBLE:
        part = np.asarray(part, np.float64)
    cdef bint single = is_single(part)
    start_walk(&to, 1, &size, &stride, buffer)
    start_walk(&numbers, cnp.PyArray_NDIM(part), <Py_ssize_t*>cnp.PyArray_DIMS(part),
               <Py_ssize_t*>cnp.PyArray_STRIDES(part), cnp.PyArray_DATA(part))
    with nogil:
        add_block_to(&to, &numbers, single, size, 1.0)
    return 0


cdef Py_ssize_t size_of(Nodes* nodes, int32_t operand) noexcept:
    """How many numbers an operand has, NUMBER if it is one of a Unit's."""
    if operand < 0:
        return nodes.leaf[~operand].link.size
    return nodes.block[block_number(nodes, operand)].size if nodes.opcode[operand] == BLOCK else NUMBER


cdef void add_number(Nodes* nodes, int32_t operand, double part) noexcept:
    """Add a pull (or a tangent) to the adjoint of a number, as a slot or as a leaf."""
    if operand >= 0:
        nodes.adjoint[operand] += part
    else:
        touch_leaf(nodes, ~operand)
        nodes.leaf[~operand].adjoint += part


cdef int add_part(Nodes* nodes, int32_t operand, object part) except -1:
    """Add a pull (or a tangent), a float or an array, to the adjoint of a slot or a leaf."""
    if size_of(nodes, operand) != NUMBER:
        add_to(buffer_of(nodes, operand), np.asarray(part))
    else:
        add_number(nodes, operand, part)
    return 0


cdef object part_of(Nodes* nodes, int32_t operand, object like):
    """The adjoint (or tangent) of a slot, in the form of `like`, or None if it is all zero."""
    cdef double* buffer
    if size_of(nodes, operand) == NUMBER:
        return None if nodes.adjoint[operand] == 0.0 else nodes.adjoint[operand]
    buffer = nodes.block[block_number(nodes, operand)].buffer
    if buffer == NULL:
        return None
    part = array_of(buffer, like)
    return part if np.any(part) else None


cdef Py_ssize_t seed(Tape tape, Link* link, object pull) except -1:
    """Put a pull, or a tangent, on a result of this tape."""
    add_part(&tape.nodes, <int32_t>link.slot, pull)
    return link.slot


cdef inline const int32_t* operands_at(const Nodes* nodes, Py_ssize_t slot) noexcept:
    """The operands of a block gate."""
    return &nodes.pool_operand[nodes.operand[slot].first + 1]


# ------------------------------------------------------------------------------------------------------- records

@cython.no_gc
cdef class Record:
    """A gate on blocks as it was recorded; by itself, the variable of a transform, which pulls nothing."""

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        """Pull on the operands; returns the lowest slot that was reached."""
        return slot

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        """Carry the operands' tangents to the result's."""
        return 0

    cdef Py_ssize_t nbytes(self) except -1:
        """What the arrays take that this holds on to, as far as it made them."""
        return 0 if type(self.value) is float else cnp.PyArray_NBYTES(<cnp.ndarray>self.value)


cdef class Own(Record):
    """A gate that says in Python what it pulls: of the user's own, or a rare one."""
    cdef bint ours

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef Py_ssize_t low = slot, i
        cdef int32_t operand
        along = part_of(nodes, <int32_t>slot, self.value)
        if along is None:
            return low
        with np.errstate(all="ignore"):     # infinities and NaN go through blocks as silently as through numbers
            pulls = (pulls_of if self.ours else gate_pulls)(self.gate, along, self.operands)
            for i in range(nodes.operand[slot].second):
                operand = operands_at(nodes, slot)[i]
                if operand != NONE and pulls[i] is not None:
                    add_part(nodes, operand, fit(pulls[i], self.operands[i]))
                    if 0 <= operand < low:
                        low = operand
        return low

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef Py_ssize_t i
        cdef int32_t operand
        cdef bint moving = False
        tangents = []
        for i in range(nodes.operand[slot].second):
            operand = operands_at(nodes, slot)[i]
            tangents.append(part_of(nodes, operand, self.operands[i]) if operand >= 0 else None)
            moving = moving or tangents[i] is not None
        if moving:
            with np.errstate(all="ignore"):
                along = gate_tangent(self.gate, tuple(tangents), self.operands)
                add_part(nodes, <int32_t>slot, fit(along, self.value))
        return 0

    cdef Py_ssize_t nbytes(self) except -1:
        cdef Py_ssize_t total = 0
        for array in (self.value, *self.operands):
            if isinstance(array, np.ndarray):
                total += array.nbytes
        return total
