"""The executor's loops on whole arrays: a gate forward, and what its operands are pulled, chunk after chunk.

Numbers that lie side by side are read and written where they are; others, and those of another dtype, are copied chunk
by chunk, into rooms on the stack. float32 is computed as in lanes: what a gate gives, and what it pulls, is rounded.
"""
cimport numpy as cnp
from libc.string cimport memset

from fastprop.engine.executor.instructions cimport (
    ADD_TO, ASSIGN, BROADCAST, CONTIGUOUS, Executor, Instruction, Operand, Point, Space, Stream
)
from fastprop.engine.executor.rules cimport KEPT, NOTHING, VALUE, Rule, rule_of
from fastprop.engine.kernels cimport OPCODES, Kernel, kernel

cnp.import_array()

cdef extern from "tape/strided.h" nogil:
    enum:
        MOST_AXES
    ctypedef struct Walk:
        int axes
        char* place
    ctypedef struct Matrix:
        const char* data
        Py_ssize_t down
        Py_ssize_t across
        int single
    void start_walk(Walk* walk, int axes, const Py_ssize_t* lengths, const Py_ssize_t* strides, void* data)
    void read_next(Walk* walk, int from_single, Py_ssize_t count, void* out, int to_single)
    void add_next(Walk* walk, const double* numbers, Py_ssize_t count, double factor)
    void add_block_to(Walk* to, Walk* numbers, int single, Py_ssize_t count, double factor)
    void fill_numbers(void* room, Py_ssize_t n, double number, int single)
    double sum_of_row(const double* x, Py_ssize_t n)
    void widen_into(double* to, const float* numbers, Py_ssize_t n)
    void narrow_into(float* to, const double* numbers, Py_ssize_t n)
    void add_doubles(double* to, const double* numbers, Py_ssize_t n)
    void divide_numbers(double* x, Py_ssize_t n, double divisor)
    void sum_doubles(double* to, const double* x, const double* y, Py_ssize_t n)
    void sum_to_floats(float* to, const float* x, const double* y, Py_ssize_t n)
    void multiply_matrices(
        const Matrix* a, const Matrix* b, Py_ssize_t height, Py_ssize_t inner, Py_ssize_t width, double* to, int add,
        int chain
    )

cdef enum:
    CHUNK = 512             # numbers
    SPARE = 16              # numbers that a loop may write behind a row
    LONG = 1 << 13          # numbers from which on the GIL is released

cdef enum:                  # rows: 0, 1, 2 are the operands
    VALUE_ROW = 3
    SAVED_ROW = 4           # and two more: the partials
    PULL_ROW = 7
    TARGET_ROW = 8
    ROWS = 9

cdef struct Feed:         # numbers that are read in the order of the result's
    const char* data        # side by side
    Walk* walk              # or on a walk
    bint uniform            # or one number for all
    bint single             # whether they are floats
    double number           # the one
    float narrow            # and in float32

cdef struct Target:         # where what an operand is pulled goes
    int operand
    Feed* along           # the pull, or the tangent
    double* to              # side by side
    Walk* walk              # or on a walk
    double total            # or added up, if there is neither
    bint add                # to what is there

cdef struct Loop:
    int opcode
    int arity
    bint single             # whether it computes in float32
    Feed feed[3]
    char* value             # side by side, in the dtype of the loop

cdef struct Bench:          # one instruction, and the rows that it works on
    Stream stream
    Space space
    Instruction step
    Operand operand[3]
    void* row[ROWS]
    double room[3][CHUNK + SPARE]           # operands that are copied
    double value[CHUNK + SPARE]
    double saved[3 * CHUNK + SPARE]
    double along[CHUNK + SPARE]
    double brought[CHUNK + SPARE]
    double scratch[3 * CHUNK + SPARE]

cdef const Executor* loops = NULL
cdef Point points[OPCODES]


cdef void use_loops(const Executor* executor) noexcept:
    """Take the executor whose loops run."""
    global loops
    cdef int opcode
    cdef const Kernel* gate
    for opcode in range(OPCODES):
        gate = kernel(opcode)
        points[opcode] = Point(gate.arity, <void*>gate.one, <void*>gate.two, <void*>gate.three, <void*>gate.many)
    loops = executor


cdef void set_up(Bench* bench, const Loop* loop) noexcept nogil:
    """Make a bench ready for a gate."""
    memset(&bench.stream, 0, sizeof(Stream))
    memset(&bench.space, 0, sizeof(Space))
    bench.stream.instruction, bench.stream.length = &bench.step, 1
    bench.stream.operand, bench.stream.operands = bench.operand, 3
    bench.stream.point, bench.stream.slots = points, ROWS
    bench.space.row, bench.space.scratch = bench.row, bench.scratch
    bench.step.closed, bench.step.count, bench.step.operand = 0, 1, 0


cdef inline Py_ssize_t next_chunk(Py_ssize_t left, bint single) noexcept nogil:
    """How many numbers are next: of more than a loop's stride, a multiple of it."""
    cdef Py_ssize_t stride = 128 if single else 64
    left = min(left, <Py_ssize_t>CHUNK)
    return left - left % stride if left > stride else left


cdef inline void* next_row(Feed* feed, Py_ssize_t begin, Py_ssize_t n, double* room, bint single) noexcept nogil:
    """The next numbers of a feed, in the dtype of the loop."""
    if feed.uniform:
        feed.narrow = <float>feed.number
        return <void*>&feed.narrow if single else <void*>&feed.number
    if feed.walk != NULL:
        read_next(feed.walk, feed.single, n, room, single)
    elif feed.single == single:
        return <void*>(feed.data + begin * (4 if single else 8))
    elif single:
        narrow_into(<float*>room, <const double*>feed.data + begin, n)
    else:
        widen_into(room, <const float*>feed.data + begin, n)
    return room


cdef void run_gate(Bench* bench, Loop* loop, void* value, bint saves, Py_ssize_t n) noexcept nogil:
    """The value at the next points, and the partials if they are wanted."""
    cdef int j
    for j in range(loop.arity):
        bench.operand[j] = Operand(j, BROADCAST if loop.feed[j].uniform else CONTIGUOUS, ASSIGN)
        bench.row[SAVED_ROW + j] = <char*>bench.saved + j * n * (4 if loop.single else 8)
    bench.step.opcode, bench.step.arity = <uint8_t>loop.opcode, loop.arity
    bench.step.result, bench.step.saved = VALUE_ROW, SAVED_ROW if saves else -1
    bench.row[VALUE_ROW] = value
    bench.space.width = n
    loops.forward(&bench.stream, &bench.space, 0, 1, loop.single)


cdef void read_rows(Bench* bench, Loop* loop, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """Find the next numbers of all operands."""
    cdef int j
    for j in range(loop.arity):
        bench.row[j] = next_row(&loop.feed[j], begin, n, bench.room[j], loop.single)


cdef void run_forward(Loop* loop, Py_ssize_t count) noexcept nogil:
    """Write a gate's value at all points."""
    cdef Bench bench
    cdef Py_ssize_t n, begin = 0
    set_up(&bench, loop)
    while begin < count:
        n = next_chunk(count - begin, loop.single)
        read_rows(&bench, loop, begin, n)
        run_gate(&bench, loop, loop.value + begin * (4 if loop.single else 8), False, n)
        begin += n


cdef void run_pulls(Loop* loop, Py_ssize_t count, Target* target, int targets) noexcept nogil:
    """What pulls bring to operands, or tangents to the result, through a gate at all points."""
    cdef Bench bench
    cdef Py_ssize_t n, begin = 0
    cdef bint saves = False
    cdef int t
    for t in range(targets):
        saves = saves or rule_of(loop.opcode, target[t].operand).u == KEPT
    set_up(&bench, loop)
    while begin < count:
        n = next_chunk(count - begin, loop.single)
        read_rows(&bench, loop, begin, n)
        if saves:
            run_gate(&bench, loop, bench.value, True, n)
        else:
            bench.row[VALUE_ROW] = loop.value + begin * (4 if loop.single else 8)
        for t in range(targets):
            run_pull(&bench, loop, &target[t], begin, n)
        begin += n


cdef void put_part(Bench* bench, Loop* loop, int place, int part, int operand) noexcept nogil:
    """Say where the executor finds one of the numbers of which a partial is made."""
    cdef int row = VALUE_ROW if part == VALUE else SAVED_ROW + operand if part == KEPT else part
    cdef bint uniform = part >= 0 and loop.feed[part].uniform
    if part != NOTHING:
        bench.operand[place] = Operand(row, BROADCAST if uniform else CONTIGUOUS, ASSIGN)
        bench.step.arity += 1


cdef void run_pull(Bench* bench, Loop* loop, Target* target, Py_ssize_t begin, Py_ssize_t n) noexcept nogil:
    """What the next numbers of a pull bring to one operand."""
    cdef Rule rule = rule_of(loop.opcode, target.operand)
    cdef bint direct = target.to != NULL and not loop.single
    cdef double* numbers = bench.brought
    bench.row[PULL_ROW] = next_row(target.along, begin, n, bench.along, loop.single)
    if target.along.uniform:
        bench.row[PULL_ROW] = bench.along
        fill_numbers(bench.along, n, target.along.number, loop.single)
    bench.row[TARGET_ROW] = target.to + begin if direct else bench.brought
    bench.operand[0] = Operand(TARGET_ROW, CONTIGUOUS, ADD_TO if direct and target.add else ASSIGN)
    bench.step.opcode, bench.step.result, bench.step.saved, bench.step.arity = <uint8_t>rule.kind, PULL_ROW, -1, 1
    put_part(bench, loop, 1, rule.u, target.operand)
    put_part(bench, loop, 2, rule.w, target.operand)
    bench.space.width = n
    loops.backward(&bench.stream, &bench.space, 0, 1, loop.single)
    if direct:
        return
    if loop.single:
        numbers = bench.along       # which is read no more
        widen_into(numbers, <const float*>bench.brought, n)
    if target.to != NULL and target.add:
        add_doubles(target.to + begin, numbers, n)
    elif target.to != NULL:
        memcpy(target.to + begin, numbers, <size_t>n * sizeof(double))
    elif target.walk != NULL:
        add_next(target.walk, numbers, n, 1.0)
    else:
        target.total += sum_of_row(numbers, n)
