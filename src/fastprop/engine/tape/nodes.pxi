"""The tape's typed arrays: allocation, and the two sweeps."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from fastprop.engine.kernels cimport weighed

cdef enum:
    FIRST_CAPACITY = 1024


# ------------------------------------------------------------------------------------------------------- memory

cdef void start(Nodes* nodes, Py_ssize_t most) noexcept:
    """An empty tape that will hold at most `most` gates."""
    memset(nodes, 0, sizeof(Nodes))
    nodes.most = most
    nodes.strict = strictness > 0
    nodes.touched_leaf = LAST
    nodes.touched_block = LAST
    nodes.free_block = LAST


cdef void release(Nodes* nodes) noexcept:
    """Free the arrays; the references that leaves and blocks own have been dropped before."""
    PyMem_RawFree(nodes.opcode)
    PyMem_RawFree(nodes.operand)
    PyMem_RawFree(nodes.partial)
    PyMem_RawFree(nodes.value)
    PyMem_RawFree(nodes.adjoint)
    PyMem_RawFree(nodes.source)
    PyMem_RawFree(nodes.pool_operand)
    PyMem_RawFree(nodes.pool_partial)
    PyMem_RawFree(nodes.leaf)
    PyMem_RawFree(nodes.block)
    start(nodes, nodes.most)


cdef void take_over(Nodes* nodes, Nodes* old) noexcept:
    """Give the arrays of gates, but not those of leaves and blocks, to a fresh tape: memory used before is faster."""
    nodes.capacity, nodes.clean, nodes.pool_capacity = old.capacity, old.clean, old.pool_capacity
    nodes.opcode, nodes.operand, nodes.partial = old.opcode, old.operand, old.partial
    nodes.value, nodes.adjoint = old.value, old.adjoint
    nodes.pool_operand, nodes.pool_partial = old.pool_operand, old.pool_partial
    old.opcode, old.operand, old.partial, old.value, old.adjoint = NULL, NULL, NULL, NULL, NULL
    old.pool_operand, old.pool_partial = NULL, NULL


cdef int resize(void** array, Py_ssize_t count, size_t size) except -1:
    """Reallocate one array; on failure it stays as it is."""
    if <size_t>count > <size_t>0x7FFFFFFFFFFFFFFF // size:
        raise MemoryError(f"{count} entries of {size} bytes each are more than the address space holds")
    cdef void* moved = PyMem_RawRealloc(array[0], <size_t>count * size)
    if moved == NULL:
        raise MemoryError(f"no memory for {count} entries of {size} bytes each")
    array[0] = moved
    return 0


cdef Py_ssize_t grown(Py_ssize_t capacity, Py_ssize_t wanted, Py_ssize_t most):
    """The next capacity: half as much again, at least what is wanted, at most the index limit."""
    return min(max(capacity + (capacity >> 1), wanted, FIRST_CAPACITY), most)


cdef int reserve(Nodes* nodes, Py_ssize_t wanted) except -1:
    """Room for `wanted` gates in all; on failure the tape is as it was."""
    if wanted > nodes.most:
        raise OverflowError(
            f"a tape holds at most {nodes.most} gates, {wanted} were asked for; drop results that are no longer "
            "needed, or split the computation over several tapes"
        )
    if wanted <= nodes.capacity:
        return 0
    cdef Py_ssize_t capacity = grown(nodes.capacity, wanted, nodes.most)
    resize(<void**>&nodes.opcode, capacity, sizeof(uint8_t))
    resize(<void**>&nodes.operand, capacity, sizeof(Operands))
    resize(<void**>&nodes.partial, capacity, sizeof(Partials))
    resize(<void**>&nodes.value, capacity, sizeof(double))
    resize(<void**>&nodes.adjoint, capacity, sizeof(double))
    if nodes.tracing:
        resize(<void**>&nodes.source, capacity, sizeof(Source))
    nodes.capacity = capacity
    return 0


cdef void shrink(void** array, Py_ssize_t count, size_t size) noexcept:
    cdef void* moved = PyMem_RawRealloc(array[0], <size_t>count * size)
    if moved != NULL:
        array[0] = moved


cdef void give_back(Nodes* nodes, Py_ssize_t reserved) noexcept:
    """Return the memory of a tape that has far more room than gates, down to what was reserved."""
    cdef Py_ssize_t pool = max(2 * nodes.pool_length, <Py_ssize_t>FIRST_CAPACITY)
    cdef Py_ssize_t capacity = max(2 * nodes.length, reserved, <Py_ssize_t>FIRST_CAPACITY)
    if is_spacious(nodes) and 2 * pool <= nodes.pool_capacity:
        shrink(<void**>&nodes.pool_operand, pool, sizeof(int32_t))
        shrink(<void**>&nodes.pool_partial, pool, sizeof(double))
        nodes.pool_capacity = pool
    if not is_spacious(nodes) or 2 * capacity > nodes.capacity:
        return
    shrink(<void**>&nodes.opcode, capacity, sizeof(uint8_t))
    shrink(<void**>&nodes.operand, capacity, sizeof(Operands))
    shrink(<void**>&nodes.partial, capacity, sizeof(Partials))
    shrink(<void**>&nodes.value, capacity, sizeof(double))
    shrink(<void**>&nodes.adjoint, capacity, sizeof(double))
    nodes.capacity = capacity
    nodes.clean = min(nodes.clean, capacity)


cdef int reserve_pool(Nodes* nodes, Py_ssize_t more) except -1:
    """Room for `more` operands of gates with many."""
    cdef Py_ssize_t wanted = nodes.pool_length + more
    if wanted > INDEX_LIMIT:
        raise OverflowError(f"the gates of a tape have at most {INDEX_LIMIT} operands in its pool, not {wanted}")
    if wanted <= nodes.pool_capacity:
        return 0
    cdef Py_ssize_t capacity = grown(nodes.pool_capacity, wanted, INDEX_LIMIT)
    resize(<void**>&nodes.pool_operand, capacity, sizeof(int32_t))
    resize(<void**>&nodes.pool_partial, capacity, sizeof(double))
    nodes.pool_capacity = capacity
    return 0


cdef int reserve_leaf(Nodes* nodes) except -1:
    """Room for one more leaf."""
    if nodes.leaf_length < nodes.leaf_capacity:
        return 0
    if nodes.leaf_length >= INDEX_LIMIT:
        raise OverflowError(f"a tape refers to at most {INDEX_LIMIT} leaves")
    cdef Py_ssize_t capacity = grown(nodes.leaf_capacity, nodes.leaf_length + 1, INDEX_LIMIT)
    resize(<void**>&nodes.leaf, capacity, sizeof(Leaf))
    nodes.leaf_capacity = capacity
    return 0


cdef int reserve_block(Nodes* nodes) except -1:
    """Make sure that `free_block` names an entry."""
    if nodes.free_block != LAST:
        return 0
    cdef Py_ssize_t capacity
    if nodes.block_length == nodes.block_capacity:
        capacity = grown(nodes.block_capacity, nodes.block_length + 1, INDEX_LIMIT)
        resize(<void**>&nodes.block, capacity, sizeof(BlockResult))
        nodes.block_capacity = capacity
    cdef BlockResult* fresh = &nodes.block[nodes.block_length]
    memset(fresh, 0, sizeof(BlockResult))
    fresh.touched = LAST
    nodes.free_block = <int32_t>nodes.block_length
    nodes.block_length += 1
    return 0


cdef Py_ssize_t bytes_held(const Nodes* nodes) noexcept nogil:
    """What the arrays take at their present capacity."""
    return (
        nodes.capacity * <Py_ssize_t>(sizeof(uint8_t) + sizeof(Operands) + sizeof(Partials) + 2 * sizeof(double))
        + nodes.pool_capacity * <Py_ssize_t>(sizeof(int32_t) + sizeof(double))
        + nodes.leaf_capacity * <Py_ssize_t>sizeof(Leaf)
        + nodes.block_capacity * <Py_ssize_t>sizeof(BlockResult)
    )


cdef Py_ssize_t block_bytes(const Nodes* nodes) noexcept nogil:
    """What the arrays take that the records of blocks hold; shared ones count each time."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    for i in range(nodes.block_length):
        if nodes.block[i].record != NULL:
            total += nodes.block[i].nbytes
    return total


# ------------------------------------------------------------------------------------------------------- sweeps

cdef void clean_adjoints(Nodes* nodes, Py_ssize_t end) noexcept nogil:
    """Zero what of adjoint[:end] was never written: pages are first touched by the first sweep that needs them."""
    if nodes.clean < end:
        memset(&nodes.adjoint[nodes.clean], 0, <size_t>(end - nodes.clean) * sizeof(double))
        nodes.clean = end


cdef inline double** buffer_place(Nodes* nodes, int32_t operand) noexcept nogil:
    """Where it stands which adjoint buffer an Array has."""
    return &nodes.block[block_number(nodes, operand)].buffer if operand >= 0 else &nodes.leaf[~operand].buffer


cdef double* buffer_of(Nodes* nodes, int32_t operand) except NULL:
    """The adjoint buffer of an Array, all zero when a sweep first asks for it."""
    cdef bint first
    cdef double* buffer = first_buffer(nodes, operand, &first)
    if first:
        memset(buffer, 0, <size_t>block_size(nodes, operand) * sizeof(double))
    return buffer


cdef double* first_buffer(Nodes* nodes, int32_t operand, bint* first) except NULL:
    """The adjoint buffer of an Array; when a sweep first asks for it, it holds nothing yet."""
    cdef double** buffer = buffer_place(nodes, operand)
    cdef Py_ssize_t size = block_size(nodes, operand)
    first[0] = buffer[0] == NULL
    if first[0]:
        buffer[0] = <double*>take_memory(<size_t>max(size, <Py_ssize_t>1) * sizeof(double))
        if buffer[0] == NULL:
            raise MemoryError(f"no memory for an adjoint of {size} numbers")
        touch_array(nodes, operand)
    return buffer[0]


cdef inline Py_ssize_t block_size(Nodes* nodes, int32_t operand) noexcept nogil:
    """How many numbers an Array has, as a slot or as a leaf."""
    return nodes.block[block_number(nodes, operand)].size if operand >= 0 else nodes.leaf[~operand].link.size


cdef void touch_array(Nodes* nodes, int32_t operand) noexcept nogil:
    """Put an Array on the list of those that this sweep has reached."""
    cdef int32_t number
    if operand < 0:
        touch_leaf(nodes, ~operand)
        return
    number = block_number(nodes, operand)
    if nodes.block[number].touched == UNTOUCHED:
        nodes.block[number].touched = nodes.touched_block
        nodes.touched_block = number


cdef void pass_buffer_on(Nodes* nodes, int32_t number, int32_t operand) noexcept nogil:
    """Make the adjoint buffer of a block that of an operand that has none yet."""
    buffer_place(nodes, operand)[0] = nodes.block[number].buffer
    nodes.block[number].buffer = NULL
    touch_array(nodes, operand)


cdef void drop_buffer(double** buffer, Py_ssize_t size) noexcept:
    """Free an adjoint buffer, if there is one."""
    give_memory(buffer[0], <size_t>size * sizeof(double))
    buffer[0] = NULL


cdef void touch_leaf(Nodes* nodes, Py_ssize_t k) noexcept nogil:
    """Put a leaf on the list of those that this sweep has reached."""
    if nodes.leaf[k].touched == UNTOUCHED:
        nodes.leaf[k].touched = nodes.touched_leaf
        nodes.touched_leaf = <int32_t>k


cdef inline void pull_on(Nodes* nodes, int32_t operand, double pull, Py_ssize_t* low) noexcept nogil:
    """Add a pull to the adjoint of a slot or a leaf."""
    if operand >= 0:
        nodes.adjoint[operand] += pull
        if operand < low[0]:
            low[0] = operand
    elif operand != NONE:
        touch_leaf(nodes, ~operand)
        nodes.leaf[~operand].adjoint += pull


cdef inline bint pull_element(Nodes* nodes, Operands operand, double pull, Py_ssize_t* low) noexcept nogil:
    """Add a pull to one number of an Array's adjoint; False if the Array has no adjoint buffer yet."""
    cdef double* buffer
    if operand.first >= 0:
        buffer = nodes.block[block_number(nodes, operand.first)].buffer
        if operand.first < low[0]:
            low[0] = operand.first
    else:
        buffer = nodes.leaf[~operand.first].buffer
    if buffer == NULL:
        return False
    buffer[operand.second] += pull
    return True


cdef Py_ssize_t sweep_backward(Nodes* nodes, Py_ssize_t i, Py_ssize_t stop, Py_ssize_t* low) noexcept nogil:
    """Pull from gate i downwards until the lowest gate reached, or `stop`, is done.

    Returns the gate at which to go on, or the one that needs the caller first: a BLOCK, whose pull the caller does and
    then goes on below it, or an ELEMENT of an Array that has no adjoint buffer yet.
    """
    cdef uint8_t* opcode = nodes.opcode
    cdef Operands* operand = nodes.operand
    cdef Partials* partial = nodes.partial
    cdef double* adjoint = nodes.adjoint
    cdef double pull
    cdef int32_t first, second
    cdef Py_ssize_t k
    cdef Py_ssize_t lowest = low[0]
    while i >= lowest and i >= stop:
        pull = adjoint[i]
        if opcode[i] < POOLED:
            if pull != 0.0:             # an exact zero pulls nothing
                first = operand[i].first
                second = operand[i].second
                if first >= 0:
                    adjoint[first] += weighed(pull, partial[i].first)
                    if first < lowest:
                        lowest = first
                elif first != NONE:
                    touch_leaf(nodes, ~first)
                    nodes.leaf[~first].adjoint += weighed(pull, partial[i].first)
                if second >= 0:
                    adjoint[second] += weighed(pull, partial[i].second)
                    if second < lowest:
                        lowest = second
                elif second != NONE:
                    touch_leaf(nodes, ~second)
                    nodes.leaf[~second].adjoint += weighed(pull, partial[i].second)
        elif opcode[i] == BLOCK:
            break
        elif pull != 0.0:
            if opcode[i] < ELEMENT:
                for k in range(operand[i].first, operand[i].first + operand[i].second):
                    pull_on(nodes, nodes.pool_operand[k], weighed(pull, nodes.pool_partial[k]), &lowest)
            elif opcode[i] == ELEMENT and not pull_element(nodes, operand[i], pull, &lowest):
                break
        i -= 1
    low[0] = lowest
    return i


cdef inline double pushed(Nodes* nodes, int32_t operand, double partial) noexcept nogil:
    """What one operand adds to its gate's tangent."""
    return 0.0 if operand < 0 else weighed(nodes.adjoint[operand], partial)


cdef Py_ssize_t sweep_forward(Nodes* nodes, Py_ssize_t i, Py_ssize_t stop) noexcept nogil:
    """Carry tangents (in the adjoint scratch) from gate i up to, not including, `stop`; returns where a BLOCK is met.

    The variables of the transform were given their tangents before, and are passed over.
    """
    cdef Operands operand
    cdef Py_ssize_t k
    cdef double tangent
    cdef double* buffer
    while i < stop:
        operand = nodes.operand[i]
        if nodes.opcode[i] < POOLED:
            nodes.adjoint[i] = (
                pushed(nodes, operand.first, nodes.partial[i].first)
                + pushed(nodes, operand.second, nodes.partial[i].second)
            )
        elif nodes.opcode[i] < ELEMENT:
            tangent = 0.0
            for k in range(operand.first, operand.first + operand.second):
                tangent += pushed(nodes, nodes.pool_operand[k], nodes.pool_partial[k])
            nodes.adjoint[i] = tangent
        elif nodes.opcode[i] == ELEMENT:
            if operand.first >= 0:
                buffer = nodes.block[block_number(nodes, operand.first)].buffer
                if buffer != NULL:
                    nodes.adjoint[i] = buffer[operand.second]
        elif nodes.opcode[i] == BLOCK:
            break
        i += 1
    return i
