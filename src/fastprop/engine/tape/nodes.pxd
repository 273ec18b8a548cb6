"""The tape's typed arrays: what a gate is in memory, how the arrays grow, and the sweeps over them.

No Python object is looked into here, so the sweeps run without the GIL.
"""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint64_t

# What a slot can hold besides one of the table's gates on one or two numbers.
cdef enum:
    POOLED = 128    # + the gate: operands and partials are pool[operand.first : operand.first + operand.second]
    ELEMENT = 252   # one number of an Array: operand.first is the Array's slot or leaf, operand.second the place in it
    BLOCK = 253     # pool[operand.first] numbers the block, the operand.second entries after it are its operands
    INPUT = 254     # the variable of a transform: no operands

# An operand is a slot (>= 0), the leaf ~operand (< 0), or NONE: a constant, or an operand that the gate did not choose.
cdef enum:
    NONE = -2147483648
    UNTOUCHED = -2
    LAST = -1

cdef enum:
    NO_TAPE = 0
    STALE = 1               # its tape was reset
    PINNED = 2              # the handle was made for a recorded sweep, out of order

cdef enum:
    NUMBER = -1

cdef struct Operands:
    int32_t first
    int32_t second

cdef struct Partials:       # the partial of a NONE operand keeps the operand's value
    double first
    double second

# What a handle is to the engine: its place on a tape, its neighbours there, and a Unit's numbers.
cdef struct Link:
    Link* older
    Link* newer
    PyObject* owner         # the handle itself: a Unit, or an Array, whose numbers are its own business
    PyObject* tape          # owned; NULL for a leaf and for a stale result
    uint64_t key            # leaf: the tape whose leaf number `slot` is; result: NO_TAPE, PINNED, or STALE
    Py_ssize_t slot
    double value
    double gradient
    Py_ssize_t size         # of an Array; NUMBER for a Unit

cdef struct Leaf:
    Link* link              # an owned reference to link.owner
    double value            # as recorded
    double adjoint          # zero between sweeps
    double* buffer          # an Array's adjoint, during a sweep only
    int32_t touched         # the next leaf that this sweep has reached, LAST, or UNTOUCHED
    int32_t moved           # scratch of a compaction

cdef struct BlockResult:
    PyObject* record        # owned: the Record that knows what to do
    double* buffer          # an Array result's adjoint, during a sweep only
    Py_ssize_t size         # of an Array result; NUMBER for a Unit
    Py_ssize_t nbytes       # of the arrays that the record holds
    int32_t touched         # as a leaf's; of a free entry: the next free one
    bint held               # by its handle; else nobody asks for its adjoint when it has been passed on

cdef struct Source:         # where a gate was recorded
    int32_t code            # the code object, by its number on the tape
    int32_t instruction     # in bytes from the code's beginning

cdef struct Nodes:
    bint tracing            # gates keep all operands, and where they were recorded
    bint strict             # values are looked at (`debug_nans`)
    Source* source          # of a tape that is tracing, else NULL
    uint64_t key            # of this tape since its last reset, never given twice
    Link* newest            # the live results in the order of their slots
    Link* pinned            # handles made for a sweep that is recorded, in no order
    Py_ssize_t length
    Py_ssize_t limit        # recording stops here to make room; <= capacity
    Py_ssize_t capacity
    Py_ssize_t most         # the index limit
    Py_ssize_t clean        # adjoint[:clean] is zero between sweeps, the rest was never written
    uint8_t* opcode
    Operands* operand
    Partials* partial
    double* value
    double* adjoint
    Py_ssize_t pool_length
    Py_ssize_t pool_capacity
    int32_t* pool_operand
    double* pool_partial
    Py_ssize_t leaf_length
    Py_ssize_t leaf_capacity
    Leaf* leaf
    int32_t touched_leaf
    Py_ssize_t block_length
    Py_ssize_t block_capacity
    BlockResult* block
    int32_t touched_block
    int32_t free_block

cdef enum:
    INDEX_LIMIT = 2147483647    # an index is 4 bytes
    SPACIOUS = 1 << 20      # a tape with more room, in gates or operands, gives back what it does not need


cdef inline bint is_spacious(const Nodes* nodes) noexcept nogil:
    return nodes.capacity > SPACIOUS or nodes.pool_capacity > SPACIOUS


cdef inline int32_t block_number(const Nodes* nodes, Py_ssize_t slot) noexcept nogil:
    return nodes.pool_operand[nodes.operand[slot].first]


cdef void start(Nodes* nodes, Py_ssize_t most) noexcept
cdef void release(Nodes* nodes) noexcept
cdef void take_over(Nodes* nodes, Nodes* old) noexcept
cdef int reserve(Nodes* nodes, Py_ssize_t wanted) except -1
cdef int reserve_pool(Nodes* nodes, Py_ssize_t more) except -1
cdef int reserve_leaf(Nodes* nodes) except -1
cdef int reserve_block(Nodes* nodes) except -1
cdef void give_back(Nodes* nodes, Py_ssize_t reserved) noexcept
cdef Py_ssize_t block_bytes(const Nodes* nodes) noexcept nogil
cdef double* buffer_of(Nodes* nodes, int32_t operand) except NULL
cdef double* first_buffer(Nodes* nodes, int32_t operand, bint* first) except NULL
cdef void pass_buffer_on(Nodes* nodes, int32_t number, int32_t operand) noexcept nogil
cdef void drop_buffer(double** buffer, Py_ssize_t size) noexcept
cdef Py_ssize_t bytes_held(const Nodes* nodes) noexcept nogil
cdef void clean_adjoints(Nodes* nodes, Py_ssize_t end) noexcept nogil
cdef void touch_leaf(Nodes* nodes, Py_ssize_t k) noexcept nogil
cdef Py_ssize_t sweep_backward(Nodes* nodes, Py_ssize_t i, Py_ssize_t stop, Py_ssize_t* low) noexcept nogil
cdef Py_ssize_t sweep_forward(Nodes* nodes, Py_ssize_t i, Py_ssize_t stop) noexcept nogil
