"""Gates on blocks of numbers, and gates of the user's own: how they are recorded, swept, and held.

A block gate occupies one slot of the tape like any other; what it did is in a Record, and its operands are in the pool,
so that compaction and sweeps find them as they find those of any gate with many operands.

No list comprehensions here nor in the other modules of the engine: those that Cython 3.3 compiles free an item twice
when memory runs out.
"""
import numpy as np

from cpython.object cimport PyObject
from libc.stdint cimport int32_t
from libc.string cimport memcpy


from fastprop import gates
from fastprop.gates import blocks
from fastprop.handles.face import ArrayFace
from fastprop.handles.operands import (
    as_block, as_float, as_operand, as_result, fit, frozen, gate_pulls, gate_tangent, holds_handles, like_block,
    product, stack,
)
from fastprop.engine import kernels

cdef tuple OUR_MODULES = (gates.__name__, blocks.__name__)     # whose gates hold no handles
cdef object EMPTY = frozen(np.zeros(0))


# -------------------------------------------------------------------------------------------------------- handle

cdef Link* link_of_any(object handle) noexcept:
    """The link of a Unit or an Array, NULL for anything else."""
    if isinstance(handle, Unit):
        return &(<Unit>handle).link
    if isinstance(handle, Block):
        return &(<Block>handle).link
    return NULL


cdef class Block:
    """What an Array is to the engine: a link and two read-only NumPy arrays."""

    def __cinit__(self, *_, **__):
        self.link.owner = <PyObject*>self
        self.link.size = 0
        self.numbers = EMPTY

    def __dealloc__(self):
        detach(&self.link)

    cdef int hold(self, object numbers) except -1:
        self.numbers = numbers
        self.link.size = numbers.size
        return 0

    @property
    def _tape(self):
        """The tape of a result, None for a leaf."""
        check_fresh(&self.link)
        return None if self.link.tape == NULL else <object>self.link.tape

    @property
    def value(self):
        """The numbers, as a read-only array. A leaf's can be assigned, a result's can't."""
        check_fresh(&self.link)
        return self.numbers

    @value.setter
    def value(self, value):
        check_fresh(&self.link)
        if self.link.tape != NULL:
            raise ValueError("the value of a result can't be assigned; assign to leaves and compute it again")
        self.numbers = like_block(value, self.numbers, "value")
        self.link.key = NO_TAPE

    @property
    def grad(self):
        """The sum of what sweeps backward have brought, as a read-only array; it can be assigned."""
        check_fresh(&self.link)
        return self.slope if self.slope is not None else frozen(np.zeros_like(self.numbers))

    @grad.setter
    def grad(self, grad):
        check_fresh(&self.link)
        if np.ndim(grad) == 0:
            grad = np.full(self.numbers.shape, as_float(grad, "grad"), self.numbers.dtype)
        self.slope = like_block(grad, self.numbers, "grad")

    def __getitem__(self, index):
        """A number of the block as a Unit, or a part of it as an Array."""
        cdef Py_ssize_t place = place_in(self.numbers, index)
        if place < 0:
            return ArrayFace.__getitem__(self, index)
        check_fresh(&self.link)
        return owned(element(self, place))

    def backward(self, pull=None):
        """Sweep backward from here: add to `.grad` of everything that this was computed from.

        Parameters
        ----------
        pull : array_like
            The gradient to put on these numbers, in their shape.
        """
        check_fresh(&self.link)
        if pull is None:
            raise ValueError(f"backward from an Array of shape {self.numbers.shape} needs a pull of that shape")
        pull = like_block(pull, self.numbers, "the pull")
        if self.link.tape == NULL:
            self.slope = frozen(self.grad + pull)
            return
        cdef const double[::1] view = np.ascontiguousarray(pull, np.float64).reshape(-1)
        backward(&self.link, &view[0] if view.shape[0] > 0 else NULL)

    @staticmethod
    def __fastprop_gate__(gate, operands, options):
        return apply_gate(gate, operands, options)


class Array(Block, ArrayFace):
    """A handle on a block of numbers with a shape and a dtype, float32 or float64.

    Parameters
    ----------
    values : array_like
        Nested lists of numbers, or an array; it is copied. With Units in it, they are stacked, recorded.
    grad : array_like, optional
        What gradients are added to, in the same shape.
    dtype : {"float64", "float32"}, optional
        By default that of an array of one of these, else float64.
    name : str, optional
        For `repr` and for pictures.

    Examples
    --------
    >>> import fastprop as fp
    >>> w = fp.Array([1.0, 2.0, 3.0])
    >>> (w * w).sum().backward()
    >>> w.grad
    array([2., 4., 6.])
    """

    __slots__ = ()
    __hash__ = object.__hash__

    def __new__(cls, values, grad=None, *, dtype=None, name=None):
        if link_of_any(values) != NULL or holds_handles(values):
            self = stack(values) if isinstance(values, (list, tuple)) else gates.positive(values)
        else:
            self = Block.__new__(cls)
            (<Block>self).hold(as_block(values, "Array: values", dtype))
        if not self.shape:
            raise ValueError(f"Array({values!r:.60}) would have no axis: a single number is a Unit")
        if dtype is not None and self.dtype != dtype:
            self = self.astype(dtype)
        self.name = name
        if grad is not None:
            self.grad = grad
        return self


cdef Py_ssize_t place_in(object numbers, object index) except? -2:
    """Where in memory the one number is that an index picks; -1 if it picks a part, or leaves that to NumPy."""
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t axis, i, length
    cdef tuple shape = numbers.shape
    cdef tuple picks
    if type(index) is int:
        picks = (index,)
    elif type(index) is tuple:
        picks = index
    else:
        return -1
    if len(picks) != len(shape) or numbers.size > INDEX_LIMIT:
        return -1
    for axis in range(len(shape)):
        length = shape[axis]
        if type(picks[axis]) is not int:
            return -1
        if not -length <= picks[axis] < length:
            raise IndexError(f"index {picks[axis]} is out of bounds for axis {axis} with size {length}")
        i = picks[axis]
        place = place * length + (i + length if i < 0 else i)
    return place


cdef PyObject* element(Block block, Py_ssize_t place) except NULL:
    """Record that one number of a block is taken."""
    cdef PyObject* home = block.link.tape if block.link.tape != NULL else current_home()
    cdef double value = block.numbers.item(place)
    cdef int32_t operand
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    operand = operand_of(home, &block.link)
    return append(home, ELEMENT, operand, <int32_t>place, 1.0, 0.0, value)


# ----------------------------------------------------------------------------------------------------- recording

def apply_block(gate, tuple operands):
    """Record a gate of which an operand is an Array, or a gate of the user's own."""
    cdef Record record = Record()
    cdef Tape home
    record.gate = gate
    values = []
    for position, operand in enumerate(operands):
        values.append(operand.value if link_of_any(operand) != NULL else as_operand(gate, position, operand))
    record.operands = tuple(values)
    if isinstance(gate, gates.Gate):
        record.value = as_result(gate.forward(*record.operands), gate)
        record.kept = record.operands
    else:
        evaluate_row(record, operands)
    home = <Tape>home_of(gate, operands)
    if type(gate).__module__ not in OUR_MODULES:
        watch(home)
    return add_block(<PyObject*>home, record, operands)


cdef PyObject* home_of(object gate, tuple operands) except NULL:
    """The tape on which a gate of these handles is recorded; forward, which is the user's, may have reset one."""
    cdef PyObject* home = NULL
    cdef PyObject* other = NULL
    for operand in operands:
        if link_of_any(operand) != NULL:
            home = common_home(home, link_of_any(operand), &other)
    return settled_home(home, other, gate)


cdef int evaluate_row(Record record, tuple operands) except -1:
    """A row of the table on blocks: value and partials in the dtype that NumPy would give, numbers being weak."""
    cdef int opcode = kernels.opcode_of[record.gate.name]
    numbers, kept = [], []
    dtype = gates.result_dtype(record.gate, record.operands)
    for x in record.operands:
        numbers.append(np.asarray(x, dtype))
    shape = np.broadcast_shapes(*map(np.shape, numbers))
    for i, x in enumerate(numbers):
        numbers[i] = np.ascontiguousarray(x if x.shape == shape else np.broadcast_to(x, shape))
    same = tuple(numbers)
    record.value = frozen(kernels.evaluate(opcode, same))
    for partial, operand in zip(kernels.partials(opcode, same), operands):
        kept.append(partial if link_of_any(operand) != NULL else None)
    record.kept = tuple(kept)
    return 0


cdef object add_block(PyObject* home, Record record, tuple handles):
    """A slot for a record, and the handle of its result; results of other tapes are constants."""
    cdef Nodes* nodes = nodes_of(home)
    cdef int32_t n = <int32_t>len(handles)
    cdef bint single = type(record.value) is float
    cdef Block result = None if single else new_array(record.value)
    cdef int32_t number, operand, i
    cdef Py_ssize_t offset
    cdef Link* link
    cdef Py_ssize_t nbytes = record.nbytes()
    make_room(home, n + 1)
    reserve_block(nodes)
    offset = nodes.pool_length
    for i in range(n):
        operand = NONE
        link = link_of_any(handles[i])
        if link != NULL and (link.tape == NULL or link.tape == home):
            operand = operand_of(home, link)
        nodes.pool_operand[offset + 1 + i] = operand
        nodes.pool_partial[offset + 1 + i] = 0.0
    unit = append(home, BLOCK, <int32_t>offset, n, 0.0, 0.0, record.value) if single else NULL
    slot = nodes.length - 1 if single else write(home, BLOCK, <int32_t>offset, n, 0.0, 0.0, 0.0)
    number = nodes.free_block
    nodes.free_block = nodes.block[number].touched
    nodes.block[number].record = <PyObject*>record
    incref(<PyObject*>record)
    nodes.block[number].buffer = NULL
    nodes.block[number].touched = UNTOUCHED
    nodes.block[number].size = NUMBER if single else result.link.size
    nodes.block[number].nbytes = nbytes
    (<Tape>home).nbytes_held += nbytes
    nodes.pool_operand[offset] = number
    nodes.pool_partial[offset] = 0.0
    nodes.pool_length = offset + n + 1
    if single:
        return owned(unit)
    attach(home, &result.link, <PyObject*>result, slot, False)
    return result


cdef Block new_array(object numbers):
    """An Array that is on no tape yet."""
    cdef Block array = Block.__new__(Array)
    array.hold(numbers)
    return array


# -------------------------------------------------------------------------------------------------------- sweeps

cdef object array_of(const double* buffer, object like):
    """An adjoint buffer as an array with the shape and the dtype of `like`."""
    cdef double[::1] view
    numbers = np.zeros(like.shape)
    if numbers.size > 0 and buffer != NULL:
        view = numbers.reshape(-1)
        memcpy(&view[0], buffer, <size_t>view.shape[0] * sizeof(double))
    return numbers.astype(like.dtype, copy=False)


cdef object sum_of(object gradient, const double* buffer):
    """A gradient plus the adjoint of a sweep."""
    with np.errstate(all="ignore"):
        return frozen(gradient + array_of(buffer, gradient))


cdef int take_gradient(object array, object gradient) except -1:
    (<Block>array).slope = gradient
    return 0


cdef int add_to(double* buffer, object part) except -1:
    """Add an array to an adjoint buffer of its size."""
    cdef const double[::1] view
    cdef Py_ssize_t i
    if part.size > 0:       # which the callers have made the buffer's
        view = np.ascontiguousarray(part, np.float64).reshape(-1)
        for i in range(view.shape[0]):
            buffer[i] += view[i]
    return 0


cdef Py_ssize_t size_of(Nodes* nodes, int32_t operand) noexcept:
    """How many numbers an operand has, NUMBER if it is one of a Unit's."""
    if operand < 0:
        return nodes.leaf[~operand].link.size
    return nodes.block[block_number(nodes, operand)].size if nodes.opcode[operand] == BLOCK else NUMBER


cdef int add_part(Nodes* nodes, int32_t operand, object part) except -1:
    """Add a pull (or a tangent), a float or an array, to the adjoint of a slot or a leaf."""
    if size_of(nodes, operand) != NUMBER:
        add_to(buffer_of(nodes, operand), part)
    elif operand >= 0:
        nodes.adjoint[operand] += <double>part
    else:
        touch_leaf(nodes, ~operand)
        nodes.leaf[~operand].adjoint += <double>part
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


cdef class Record:
    """A gate on blocks as it was recorded."""

    cpdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        """Pull on the operands; returns the lowest slot that was reached."""
        cdef Nodes* nodes = &tape.nodes
        cdef Py_ssize_t low = slot
        cdef Py_ssize_t offset = nodes.operand[slot].first + 1
        cdef Py_ssize_t i
        cdef int32_t operand
        along = part_of(nodes, <int32_t>slot, self.value)
        if along is None or self.gate is None:
            return low
        pulls = self.pulls(along)
        for i in range(nodes.operand[slot].second):
            operand = nodes.pool_operand[offset + i]
            if operand != NONE and pulls[i] is not None:
                add_part(nodes, operand, fit(pulls[i], self.operands[i]))
                if 0 <= operand < low:
                    low = operand
        return low

    cdef Py_ssize_t nbytes(self) except -1:
        """What the arrays take that this holds on to."""
        cdef Py_ssize_t total = 0
        for array in (self.value, *self.operands, *(() if self.kept is self.operands else self.kept)):
            if isinstance(array, np.ndarray):
                total += array.nbytes
        return total

    cdef object pulls(self, object along):
        if isinstance(self.gate, gates.Gate):
            return gate_pulls(self.gate, along, self.kept)
        pulls = []
        with np.errstate(all="ignore"):
            for partial in self.kept:
                pulls.append(None if partial is None else product(along, partial))
        return pulls

    cpdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        """Carry the operands' tangents to the result's."""
        cdef Nodes* nodes = &tape.nodes
        cdef Py_ssize_t offset = nodes.operand[slot].first + 1
        cdef Py_ssize_t i
        cdef int32_t operand
        cdef bint moving = False
        tangents = []
        for i in range(nodes.operand[slot].second):
            operand = nodes.pool_operand[offset + i]
            tangents.append(part_of(nodes, operand, self.operands[i]) if operand >= 0 else None)
            moving = moving or tangents[i] is not None
        if moving:
            add_part(nodes, <int32_t>slot, fit(self.tangent(tangents), self.value))
        return 0

    cdef object tangent(self, list tangents):
        if isinstance(self.gate, gates.Gate):
            return gate_tangent(self.gate, tuple(tangents), self.kept)
        along = 0.0
        with np.errstate(all="ignore"):
            for tangent, partial in zip(tangents, self.kept):
                if tangent is not None:
                    along = along + product(tangent, partial)
        return along
