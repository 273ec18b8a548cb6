"""Gates of the table on Arrays: the value at once, by the executor's loops; what operands are pulled, in the sweep."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t

from fastprop.engine.kernels cimport ADD, SUBTRACT, WHERE

cdef extern from "numpy/arrayobject.h":
    object PyArray_New(
        type kind, int axes, cnp.npy_intp* lengths, int dtype, cnp.npy_intp* strides, void* data, int size, int flags,
        void* like
    )

cdef double nothing_there = 0.0      # what stands for an operand of which only the shape is kept
cdef type plain_array = np.ndarray


# ------------------------------------------------------------------------------------------------------ operands

cdef struct Given:                # of a gate, as they were given
    int count
    Link* link[3]                     # NULL: a constant
    PyObject* array[3]                # borrowed; NULL: one number
    double number[3]
    bint single                       # whether the result is float32
    int axes
    Py_ssize_t shape[MOST_AXES]


cdef bint read_one(Given* operands, int j, object x) except -1:
    """Read an operand: an Array, a Unit, a float, an int or a plain array; False if it is anything else."""
    operands.link[j] = NULL
    operands.array[j] = NULL
    if isinstance(x, Block):
        operands.link[j] = &(<Block>x).link
        operands.array[j] = <PyObject*>(<Block>x).numbers
    elif isinstance(x, Unit):
        operands.link[j] = &(<Unit>x).link
        refuse_to_bake("value", operands.link[j])
        operands.number[j] = (<Unit>x).link.value
    elif isinstance(x, float) or type(x) is int:
        operands.number[j] = x
    elif is_plain_block(x):
        operands.array[j] = <PyObject*>x
    else:
        return False
    if operands.link[j] != NULL:
        check_fresh(operands.link[j])
    return True


cdef bint is_plain_block(object x):
    """Whether x is an array of float64 or float32 that loops can read."""
    if type(x) is not plain_array and type(x) is not Values:
        return False
    cdef cnp.ndarray array = <cnp.ndarray>x
    cdef int kind = cnp.PyArray_TYPE(array)
    return (kind == cnp.NPY_DOUBLE or kind == cnp.NPY_FLOAT) and cnp.PyArray_NDIM(array) > 0 and (
        cnp.PyArray_ISALIGNED(array) and cnp.PyArray_ISNOTSWAPPED(array))


cdef int meet(Given* operands, bint first_is_condition) except -1:
    """The dtype and the shape of the result, numbers being weak, and a condition without a say about the dtype."""
    cdef bint wide = False, narrow = False
    cdef int j, axis, offset
    cdef Py_ssize_t length
    cdef cnp.ndarray array
    operands.axes = 0
    for j in range(operands.count):
        if operands.array[j] != NULL:
            array = <cnp.ndarray>operands.array[j]
            operands.axes = max(operands.axes, cnp.PyArray_NDIM(array))
            if j > 0 or not first_is_condition:
                wide = wide or not is_single(array)
                narrow = narrow or is_single(array)
    operands.single = narrow and not wide
    for axis in range(operands.axes):
        operands.shape[axis] = 1
    for j in range(operands.count):
        if operands.array[j] == NULL:
            continue
        array = <cnp.ndarray>operands.array[j]
        offset = operands.axes - cnp.PyArray_NDIM(array)
        for axis in range(cnp.PyArray_NDIM(array)):
            length = cnp.PyArray_DIM(array, axis)
            if length != 1 and operands.shape[offset + axis] not in (1, length):
                refuse_shapes(operands)
            if length != 1:
                operands.shape[offset + axis] = length
    return 0


cdef int refuse_shapes(Given* operands) except -1:
    """Raise NumPy's error for shapes that do not meet."""
    cdef int j
    shapes = []
    for j in range(operands.count):
        if operands.array[j] != NULL:
            shapes.append((<object>operands.array[j]).shape)
    np.broadcast_shapes(*shapes)
    return 0


cdef void strides_along(cnp.ndarray array, int axes, Py_ssize_t itemsize, Py_ssize_t* stride) noexcept:
    """The strides of a block that is broadcast to more axes; with an item size, of its numbers side by side."""
    cdef int axis, offset = axes - cnp.PyArray_NDIM(array)
    cdef Py_ssize_t apart = itemsize
    for axis in range(offset):
        stride[axis] = 0
    for axis in range(axes - 1, offset - 1, -1):
        stride[axis] = 0
        if cnp.PyArray_DIM(array, axis - offset) != 1:
            stride[axis] = apart if itemsize else cnp.PyArray_STRIDE(array, axis - offset)
        apart *= cnp.PyArray_DIM(array, axis - offset)


cdef void read_from(
    Feed* feed, Walk* walk, cnp.ndarray array, int axes, const Py_ssize_t* shape, Py_ssize_t size
) noexcept:
    """Read an array as one of the result's shape."""
    cdef Py_ssize_t[MOST_AXES] stride
    feed.single, feed.uniform, feed.walk = is_single(array), False, NULL
    feed.data = <const char*>cnp.PyArray_DATA(array)
    if cnp.PyArray_SIZE(array) == 1:
        feed.uniform = True
        feed.number = (<float*>feed.data)[0] if feed.single else (<double*>feed.data)[0]
    elif cnp.PyArray_SIZE(array) != size or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        strides_along(array, axes, 0, stride)
        start_walk(walk, axes, shape, stride, <void*>feed.data)
        feed.walk = walk


# ----------------------------------------------------------------------------------------------------- recording

cdef object operate_on_blocks(int opcode, object left, object right):
    """An operator of which an operand is an Array."""
    cdef PyObject* operands[2]
    operands[0], operands[1] = <PyObject*>left, <PyObject*>right
    made = apply_elementwise(opcode, 2, operands)
    return apply_gate(rows[opcode], (left, right), {}) if made is None else made


cdef object operate_on_block(int opcode, object x):
    """The same of one operand."""
    cdef PyObject* operand = <PyObject*>x
    made = apply_elementwise(opcode, 1, &operand)
    return apply_gate(rows[opcode], (x,), {}) if made is None else made


cdef object apply_elementwise(int opcode, int count, PyObject** given):
    """Record a gate of the table on Arrays, Units, numbers and plain arrays; None under trace, or of anything else.

    There is a block among the operands: a gate of single numbers is recorded elsewhere.
    """
    cdef Given operands
    cdef int j
    if nodes_of(current_home()).tracing or count != kernel(opcode).arity:
        return None
    operands.count = count
    for j in range(count):
        if not read_one(&operands, j, <object>given[j]):
            return None
    meet(&operands, opcode == WHERE)
    return record_elementwise(opcode, &operands)


cdef object record_elementwise(int opcode, Given* operands):
    """Compute a gate's value, and record it; what has died goes before, as its memory may then be used again."""
    cdef Elementwise record = Elementwise.__new__(Elementwise)
    cdef PyObject* home
    cdef int j
    record.opcode = opcode
    record.gate = rows[opcode]
    record.operands = operands_of(opcode, operands, False)
    home = home_of_links(operands.count, operands.link, record.gate)
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    record.value = empty_array(operands.axes, operands.shape, operands.single)
    record.forward()
    freeze(<cnp.ndarray>record.value)
    for j in range(operands.count):
        if is_shape_enough(opcode, operands, j):
            record.operands = operands_of(opcode, operands, True)
            break
    return add_record(home_of_links(operands.count, operands.link, record.gate), record, operands.count, operands.link)


cdef tuple operands_of(int opcode, Given* operands, bint shapes):
    """What a record refers to; with `shapes`, without the numbers that no partial is made of."""
    if operands.count == 1:
        return (kept_operand(opcode, operands, 0, shapes),)
    if operands.count == 2:
        return kept_operand(opcode, operands, 0, shapes), kept_operand(opcode, operands, 1, shapes)
    return (
        kept_operand(opcode, operands, 0, shapes), kept_operand(opcode, operands, 1, shapes),
        kept_operand(opcode, operands, 2, shapes),
    )


cdef object kept_operand(int opcode, Given* operands, int j, bint shapes):
    """An Array's numbers, a number, a copy of a plain array, or that array itself, and then its shape."""
    cdef cnp.ndarray array
    if operands.array[j] == NULL:
        return operands.number[j]
    array = <cnp.ndarray>operands.array[j]
    if operands.link[j] != NULL:
        return array
    if not is_shape_enough(opcode, operands, j):
        if shapes:
            return array        # a copy already
        array = cnp.PyArray_NewCopy(array, cnp.NPY_CORDER)
        operands.array[j] = <PyObject*>array
        freeze(array)
        return array
    return numberless(array) if shapes else array


cdef bint is_shape_enough(int opcode, Given* operands, int j) noexcept:
    """Whether an operand is a plain array of whose numbers no partial is made."""
    if operands.link[j] != NULL or operands.array[j] == NULL:
        return False
    return opcode == ADD or opcode == SUBTRACT or (opcode == WHERE and j > 0)


cdef cnp.ndarray numberless(cnp.ndarray array):
    """An array of that shape that takes no memory."""
    return numberless_of(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array))


cdef cnp.ndarray numberless_of(int axes, cnp.npy_intp* shape, int kind):
    cdef cnp.npy_intp[MOST_AXES] stride
    cdef cnp.ndarray empty
    memset(stride, 0, sizeof(stride))
    empty = PyArray_New(plain_array, axes, shape, kind, stride, &nothing_there, 0, 0, NULL)
    freeze(empty)
    return empty


@cython.no_gc
cdef class Elementwise(Record):
    """A gate of the table on blocks."""
    cdef int opcode

    cdef void prepare(self, Loop* loop, Walk* walk) noexcept:
        """Say where the loops find the operands."""
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef int j
        loop.opcode, loop.arity, loop.single = self.opcode, <int>len(self.operands), is_single(value)
        loop.value = <char*>cnp.PyArray_DATA(value)
        for j in range(loop.arity):
            if type(self.operands[j]) is float:
                loop.feed[j].uniform, loop.feed[j].walk = True, NULL
                loop.feed[j].number = self.operands[j]
            else:
                read_from(&loop.feed[j], &walk[j], <cnp.ndarray>self.operands[j], cnp.PyArray_NDIM(value),
                          <Py_ssize_t*>cnp.PyArray_DIMS(value), cnp.PyArray_SIZE(value))

    cdef void forward(self) noexcept:
        """Compute the value."""
        cdef Loop loop
        cdef Walk[3] walk
        cdef Py_ssize_t size = cnp.PyArray_SIZE(<cnp.ndarray>self.value)
        self.prepare(&loop, walk)
        if size < LONG:
            run_forward(&loop, size)
        else:
            with nogil:
                run_forward(&loop, size)

    cdef Py_ssize_t pull(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef Py_ssize_t size = cnp.PyArray_SIZE(value), low = slot
        cdef int32_t number = block_number(nodes, slot), operand
        cdef Feed along
        cdef Loop loop
        cdef Walk[3] walk
        cdef Walk[3] target_walk
        cdef Target[3] target
        cdef int targets = 0, i, j, heir
        if nodes.block[number].buffer == NULL or size == 0:
            return slot
        self.prepare(&loop, walk)
        along.walk, along.uniform, along.single, along.data = NULL, False, False, <char*>nodes.block[number].buffer
        heir = self.heir_of(nodes, slot)
        for i in range(loop.arity):
            j = (i + heir + 1) % loop.arity         # the heir comes last
            operand = operands_at(nodes, slot)[j]
            if operand == NONE or rule_of(self.opcode, j).kind == NOTHING:
                continue
            target[targets].operand, target[targets].along = j, &along
            if j == heir:
                target[targets].to, target[targets].walk, target[targets].add = <double*>along.data, NULL, False
                pass_buffer_on(nodes, number, operand)
            else:
                self.aim(nodes, operand, &target[targets], &target_walk[targets])
            low = min(low, <Py_ssize_t>operand) if operand >= 0 else low
            targets += 1
        if size < LONG:
            run_pulls(&loop, size, target, targets)
        else:
            with nogil:
                run_pulls(&loop, size, target, targets)
        for j in range(targets):
            if target[j].to == NULL and target[j].walk == NULL:
                add_number(nodes, operands_at(nodes, slot)[target[j].operand], target[j].total)
        return low

    cdef int heir_of(self, Nodes* nodes, Py_ssize_t slot) noexcept:
        """The operand whose adjoint can take the memory of the result's, which nobody else will ask for; else -1."""
        cdef const int32_t* operand = operands_at(nodes, slot)
        cdef int arity = <int>nodes.operand[slot].second, i, j
        if is_single(self.value) or nodes.block[block_number(nodes, slot)].held or nodes.pinned != NULL:
            return -1
        for j in range(arity):
            if operand[j] == NONE or size_of(nodes, operand[j]) != cnp.PyArray_SIZE(<cnp.ndarray>self.value):
                continue
            if buffer_place(nodes, operand[j])[0] != NULL or rule_of(self.opcode, j).kind == NOTHING:
                continue
            for i in range(arity):
                if i != j and operand[i] == operand[j]:
                    break
            else:
                return j
        return -1

    cdef int aim(self, Nodes* nodes, int32_t operand, Target* target, Walk* walk) except -1:
        """Say where goes what an operand is pulled."""
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef Py_ssize_t[MOST_AXES] stride
        cdef bint first = False
        cdef double* buffer
        target.to, target.walk, target.total = NULL, NULL, 0.0
        if size_of(nodes, operand) == NUMBER:
            return 0
        like = <cnp.ndarray>self.operands[target.operand]
        if cnp.PyArray_SIZE(like) == cnp.PyArray_SIZE(value):
            target.to = first_buffer(nodes, operand, &first)
            target.add = not first
            return 0
        buffer = buffer_of(nodes, operand)
        strides_along(like, cnp.PyArray_NDIM(value), sizeof(double), stride)
        start_walk(walk, cnp.PyArray_NDIM(value), <Py_ssize_t*>cnp.PyArray_DIMS(value), stride, buffer)
        target.walk = walk
        return 0

    cdef int push(self, Tape tape, Py_ssize_t slot) except -1:
        cdef Nodes* nodes = &tape.nodes
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef Feed[3] along
        cdef Loop loop
        cdef Walk[3] walk
        cdef Walk[3] along_walk
        cdef Target[3] target
        cdef bint first
        cdef int targets = 0, j
        self.prepare(&loop, walk)
        for j in range(loop.arity):
            if rule_of(self.opcode, j).kind == NOTHING:
                continue
            if not self.read_tangent(nodes, operands_at(nodes, slot)[j], j, &along[targets], &along_walk[targets]):
                continue
            target[targets].operand, target[targets].along = j, &along[targets]
            target[targets].to, target[targets].walk = first_buffer(nodes, <int32_t>slot, &first), NULL
            target[targets].add = not first
            targets += 1
        with nogil:
            run_pulls(&loop, cnp.PyArray_SIZE(value), target, targets)
        return 0

    cdef bint read_tangent(self, Nodes* nodes, int32_t operand, int j, Feed* along, Walk* walk) except -1:
        """Say where an operand's tangent is; False if it is zero."""
        cdef cnp.ndarray value = <cnp.ndarray>self.value
        cdef Py_ssize_t[MOST_AXES] stride
        if operand < 0:
            return False
        along.walk, along.single, along.uniform = NULL, False, size_of(nodes, operand) == NUMBER
        if along.uniform:
            along.number = nodes.adjoint[operand]
            return along.number != 0.0
        along.data = <char*>buffer_place(nodes, operand)[0]
        like = <cnp.ndarray>self.operands[j]
        if along.data != NULL and cnp.PyArray_SIZE(like) != cnp.PyArray_SIZE(value):
            strides_along(like, cnp.PyArray_NDIM(value), sizeof(double), stride)
            start_walk(walk, cnp.PyArray_NDIM(value), <Py_ssize_t*>cnp.PyArray_DIMS(value), stride, <void*>along.data)
            along.walk = walk
        return along.data != NULL
