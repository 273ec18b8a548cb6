"""Gates that move numbers, whose values are views where NumPy has views; and sums."""
from cpython.object cimport PyObject
from libc.math cimport NAN
from libc.stdint cimport int32_t, uint64_t

from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fastprop.gates.blocks import AsType, BroadcastTo, GetItem, Mean, Reshape, Sum, Transpose

cdef set MOVES = {Reshape, Transpose, GetItem, BroadcastTo, AsType}


# ----------------------------------------------------------------------------------------------------- recording

cdef inline PyObject* home_of_one(Link* link) except NULL:
    """The tape for a gate of one handle."""
    check_fresh(link)
    return link.tape if link.tape != NULL else current_home()


cdef object apply_move(object gate, Block x):
    """Record a gate that moves the numbers of an Array."""
    cdef Moved record = Moved.__new__(Moved)
    cdef Link* link = &x.link
    check_fresh(link)
    record.gate = gate
    record.operands = (x.numbers,)
    value = gate.forward(x.numbers)
    if is_plain_block(value):
        record.value = value
        freeze(<cnp.ndarray>value)
    else:
        value = as_result(value, gate)
        record.value = value if type(value) is float else value.view(np.ndarray)
    return add_record(home_of_one(link), record, 1, &link)


cdef object apply_sum(object gate, Block x):
    """Record the sum of an Array, or its mean."""
    cdef Summed record = Summed.__new__(Summed)
    cdef Link* link = &x.link
    check_fresh(link)
    record.gate = gate
    record.operands = (x.numbers,)
    record.reduce_axes(gate.axis)
    record.forward(gate.keepdims, type(gate) is Mean)
    return add_record(home_of_one(link), record, 1, &link)


# --------------------------------------------------------------------------------------------------------- moves

@cython.no_gc
cdef class Moved(Record):
    """Numbers in another order, shape or dtype, some of them, or repeated."""

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef int32_t number = block_number(nodes, slot), operand = operands_at(nodes, slot)[0]
        cdef double* along = nodes.block[number].buffer
        if operand == NONE or (along == NULL and nodes.adjoint[slot] == 0.0):
            return slot
        if type(self.gate) is GetItem and (type(self.value) is float or is_by_arrays(self.gate.index)):
            part = nodes.adjoint[slot] if along == NULL else wrapped(along, <cnp.ndarray>self.value)
            np.add.at(wrapped(buffer_of(nodes, operand), <cnp.ndarray>self.operands[0]), self.gate.index, part)
        elif type(self.value) is float:     # of a block of one number
            buffer_of(nodes, operand)[0] += nodes.adjoint[slot]
        elif type(self.gate) is Reshape or type(self.gate) is AsType:
            self.pass_on(nodes, number, operand)
        else:
            self.add_to_view(buffer_of(nodes, operand), along)
        return min(slot, <Py_ssize_t>operand) if operand >= 0 else slot

    cdef int pass_on(self, Nodes* nodes, int32_t number, int32_t operand) except -1:
        """Pull on numbers that lie as the result's do."""
        cdef Py_ssize_t size = cnp.PyArray_SIZE(<cnp.ndarray>self.value)
        cdef bint first
        cdef double* to
        if buffer_place(nodes, operand)[0] == NULL and not nodes.block[number].held and nodes.pinned == NULL:
            pass_buffer_on(nodes, number, operand)
            return 0
        to = first_buffer(nodes, operand, &first)
        if first:
            memcpy(to, nodes.block[number].buffer, <size_t>size * sizeof(double))
        else:
            add_doubles(to, nodes.block[number].buffer, size)
        return 0

    cdef int add_to_view(self, double* buffer, const double* along) except -1:
        """Add what is pulled to the numbers that were moved; to those that were repeated, all of it."""
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef cnp.ndarray like = <cnp.ndarray>self.operands[0]
        cdef Py_ssize_t[MOST_AXES] stride
        cdef Walk walk
        if type(self.gate) is BroadcastTo:
            strides_along(like, cnp.PyArray_NDIM(value), sizeof(double), stride)
            start_walk(&walk, cnp.PyArray_NDIM(value), <Py_ssize_t*>cnp.PyArray_DIMS(value), stride, buffer)
        else:
            view = self.gate.forward(wrapped(buffer, like))
            start_walk(&walk, cnp.PyArray_NDIM(<cnp.ndarray>view), <Py_ssize_t*>cnp.PyArray_DIMS(<cnp.ndarray>view),
                       <Py_ssize_t*>cnp.PyArray_STRIDES(<cnp.ndarray>view), cnp.PyArray_DATA(<cnp.ndarray>view))
        add_next(&walk, along, cnp.PyArray_SIZE(value), 1.0)
        return 0

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef int32_t operand = operands_at(nodes, slot)[0]
        cdef double* along = buffer_place(nodes, operand)[0] if operand >= 0 else NULL
        if along != NULL:
            add_part(nodes, <int32_t>slot, self.gate.forward(wrapped(along, <cnp.ndarray>self.operands[0])))
        return 0


cdef bint is_by_arrays(object index) except -1:
    """Whether an index picks by arrays or truth values, not by integers and slices alone."""
    for part in index if type(index) is tuple else (index,):
        if not (part is None or part is Ellipsis or type(part) is int or isinstance(part, (slice, np.integer))):
            return True
    return False


# ---------------------------------------------------------------------------------------------------------- sums

@cython.no_gc
cdef class Summed(Record):
    """The sum along axes, or the mean."""
    cdef uint64_t reduced       # a bit for each axis
    cdef double factor          # of what is pulled

    cdef int reduce_axes(self, object axis) except -1:
        """Say along which axes to sum."""
        cdef int k, axes = cnp.PyArray_NDIM(<cnp.ndarray>self.operands[0])
        self.reduced = 0
        if axis is None:
            axis = range(axes)
        elif type(axis) is int:
            axis = normalize_axis_index(axis, axes),
        else:
            axis = normalize_axis_tuple(axis, axes)
        for k in axis:
            self.reduced |= <uint64_t>1 << k
        return 0

    cdef inline bint is_reduced(self, int axis) noexcept:
        return <bint>((self.reduced >> axis) & 1)

    cdef int forward(self, bint keeps_axes, bint mean) except -1:
        """Compute the value."""
        cdef cnp.ndarray numbers = <cnp.ndarray>self.operands[0]
        cdef cnp.ndarray sums
        cdef Py_ssize_t[MOST_AXES] shape
        cdef Py_ssize_t length, count = 1, size, k
        cdef int axis, axes = 0
        cdef double one = 0.0
        for axis in range(cnp.PyArray_NDIM(numbers)):
            length = cnp.PyArray_DIM(numbers, axis)
            if self.is_reduced(axis):
                count *= length
            if keeps_axes or not self.is_reduced(axis):
                shape[axes] = 1 if self.is_reduced(axis) else length
                axes += 1
        self.factor = 1.0 / max(count, <Py_ssize_t>1) if mean else 1.0
        if axes == 0:
            self.add_up(&one)
            one = <double><float>one if is_single(numbers) else one
            one = (one / <double>count if count else NAN) if mean else one
            self.value = <double><float>one if is_single(numbers) else one
            return 0
        sums = cnp.PyArray_ZEROS(axes, <cnp.npy_intp*>shape, cnp.NPY_DOUBLE, 0)
        size = cnp.PyArray_SIZE(sums)
        self.add_up(<double*>cnp.PyArray_DATA(sums))
        if mean and is_single(numbers):  # as NumPy has it, so that a sum that overflows has no other mean
            for k in range(size):
                (<double*>cnp.PyArray_DATA(sums))[k] = <float>(<double*>cnp.PyArray_DATA(sums))[k]
        if mean:
            divide_numbers(<double*>cnp.PyArray_DATA(sums), size, <double>count)
        self.value = array_of(<double*>cnp.PyArray_DATA(sums), sums_like(sums, numbers)) if is_single(numbers) else sums
        freeze(<cnp.ndarray>self.value)
        return 0

    cdef void strides_of_sums(self, Py_ssize_t* stride) noexcept:
        """Where the sums of numbers are, in bytes."""
        cdef cnp.ndarray numbers = <cnp.ndarray>self.operands[0]
        cdef Py_ssize_t apart = sizeof(double)
        cdef int axis
        for axis in range(cnp.PyArray_NDIM(numbers) - 1, -1, -1):
            stride[axis] = 0
            if not self.is_reduced(axis):
                stride[axis] = apart
                apart *= cnp.PyArray_DIM(numbers, axis)

    cdef void add_up(self, double* sums) noexcept:
        """Add all numbers to the sums."""
        cdef cnp.ndarray numbers = <cnp.ndarray>self.operands[0]
        cdef Py_ssize_t[MOST_AXES] stride
        cdef Walk to, walk
        cdef int axes = cnp.PyArray_NDIM(numbers)
        cdef bint single = is_single(numbers)
        cdef Py_ssize_t size = cnp.PyArray_SIZE(numbers)
        self.strides_of_sums(stride)
        start_walk(&to, axes, <Py_ssize_t*>cnp.PyArray_DIMS(numbers), stride, sums)
        start_walk(&walk, axes, <Py_ssize_t*>cnp.PyArray_DIMS(numbers), <Py_ssize_t*>cnp.PyArray_STRIDES(numbers),
                   cnp.PyArray_DATA(numbers))
        with nogil:
            add_block_to(&to, &walk, single, size, 1.0)

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef cnp.ndarray numbers = <cnp.ndarray>self.operands[0]
        cdef int32_t operand = operands_at(nodes, slot)[0]
        cdef double* along = nodes.block[block_number(nodes, slot)].buffer
        cdef Py_ssize_t[MOST_AXES] stride
        cdef Py_ssize_t size = cnp.PyArray_SIZE(numbers), apart = sizeof(double)
        cdef bint first, is_number = type(self.value) is float
        cdef double* to
        cdef Walk walk, target
        if operand == NONE or (nodes.adjoint[slot] == 0.0 if is_number else along == NULL):
            return slot
        to = first_buffer(nodes, operand, &first)
        if first and is_number:
            fill_numbers(to, size, nodes.adjoint[slot] * self.factor, False)
        else:
            if first:
                memset(to, 0, <size_t>size * sizeof(double))
            self.strides_of_sums(stride)
            start_walk(&target, 1, &size, &apart, to)
            start_walk(&walk, cnp.PyArray_NDIM(numbers), <Py_ssize_t*>cnp.PyArray_DIMS(numbers), stride,
                       &nodes.adjoint[slot] if is_number else along)
            with nogil:
                add_block_to(&target, &walk, False, size, self.factor)
        return min(slot, <Py_ssize_t>operand) if operand >= 0 else slot

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef cnp.ndarray numbers = <cnp.ndarray>self.operands[0]
        cdef int32_t operand = operands_at(nodes, slot)[0]
        cdef double* along = buffer_place(nodes, operand)[0] if operand >= 0 else NULL
        cdef Py_ssize_t[MOST_AXES] stride
        cdef Py_ssize_t size = cnp.PyArray_SIZE(numbers), apart = sizeof(double)
        cdef Walk walk, target
        if along == NULL:
            return 0
        self.strides_of_sums(stride)
        start_walk(&target, cnp.PyArray_NDIM(numbers), <Py_ssize_t*>cnp.PyArray_DIMS(numbers), stride,
                   &nodes.adjoint[slot] if type(self.value) is float else buffer_of(nodes, <int32_t>slot))
        start_walk(&walk, 1, &size, &apart, along)
        with nogil:
            add_block_to(&target, &walk, False, size, self.factor)
        return 0


cdef object sums_like(cnp.ndarray sums, cnp.ndarray numbers):
    """An array of the sums' shape with the numbers' dtype, that takes no memory."""
    return numberless_of(cnp.PyArray_NDIM(sums), cnp.PyArray_DIMS(sums), cnp.PyArray_TYPE(numbers))
