"""Program: the instructions of a draft, for one point or for lanes, and the executor that runs them."""
import importlib

import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastprop.engine.executor.instructions cimport (
    CHAIN_ADD, CHAIN_MULTIPLY, LIST_PRODUCTS, LIST_TOTAL, BATCH_MATMUL, BATCH_MATMUL_PULL, MATMUL, MATMUL_PULL, REGION,
    Instruction, Point,
)
from fastprop.engine.kernels cimport OPCODES, STRONG_MULTIPLY, kernel
from fastprop.engine.tape cimport use_loops

from fastprop.engine.trace import NAMES

cdef Point[OPCODES] POINTS
cdef int number
for number in range(<int>OPCODES):
    POINTS[number] = Point(
        kernel(number).arity, <void*>kernel(number).one, <void*>kernel(number).two, <void*>kernel(number).three,
        <void*>kernel(number).many,
    )

PULL_NAMES = (
    "clear", "pass", "negate", "product", "twice", "quotient", "divisor", "root", "inverse", "rectified", "magnitude",
    "larger", "smaller", "chosen", "unchosen", "list pass", "list product", "chain pass", "chain product", "region",
    "item", "matmul", "batch matmul",
)
STEP_NAMES = {
    **NAMES, LIST_PRODUCTS: "list products", LIST_TOTAL: "list total", CHAIN_ADD: "chain add",
    CHAIN_MULTIPLY: "chain multiply",
}


cdef int grow(void** memory, Py_ssize_t* capacity, Py_ssize_t wanted, size_t size) except -1:
    """Room for so many items of a size."""
    cdef Py_ssize_t more = max(wanted, 2 * capacity[0], <Py_ssize_t>64)
    cdef void* moved
    if wanted <= capacity[0]:
        return 0
    if more > <Py_ssize_t>(1 << 47) // <Py_ssize_t>size:
        raise MemoryError(f"a program of {wanted} instructions is too large")
    moved = PyMem_RawRealloc(memory[0], <size_t>more * size)
    if moved == NULL:
        raise MemoryError(f"no memory for a program of {wanted} instructions")
    memory[0] = moved
    capacity[0] = more
    return 0


cdef class Region:
    """What a gate does that the executor leaves to others: a map, a gate of the user's own.

    Derived classes say how it is run: ``at_point(wiring, run)`` and ``in_lanes(wiring, run, bench)`` give a use of it.
    """

    def __init__(self, Py_ssize_t numbers=0):
        self.numbers = numbers
        self.reads, self.makes = (), ()

    def forget(self):
        """Let go of what is of use only while it is recorded."""

    def is_swept(self, numbers, arrays):
        """Say whether gradients inside can go through it, where these operands depend on variables.

        `numbers` are the places of those that are numbers, `arrays` of those that stand for arrays.
        """
        return False

    def arrays_of(self, operands):
        """Return the arrays on which it pulls, where these operands depend on variables."""
        return ()


cdef class Variables(Region):
    """Numbers that stand for others: a sweep inside of a program goes down to them, and no further."""

    def __init__(self, Py_ssize_t numbers=0):
        Region.__init__(self, numbers)
        self.inside = True

    def __reduce__(self):
        return Variables, (self.numbers,)


cdef class Gradient(Region):
    """A sweep backward over the program's own gates, in the middle of it: what is pulled on variables.

    Its operands are as many pulls as there are `ends`, the numbers that these are put on, and the variables. On the
    ways between lies no other gradient: what is differentiated twice is recorded gate by gate. The gradients of arrays
    that are variables become arrays, too.
    """

    def __init__(self, Py_ssize_t ends, Py_ssize_t variables, arrays=()):
        Region.__init__(self, 2 * ends + variables)
        self.ends, self.inside, self.arrays = ends, True, dict(arrays)

    def __reduce__(self):
        return Gradient, (self.ends, self.numbers - 2 * self.ends, self.arrays)


cdef class Wiring:
    """Where in a program a region's operands, its results and their adjoints are."""

    def __init__(self, Region region, operands, Py_ssize_t result, Py_ssize_t results):
        self.region, self.result, self.results, self.pull, self.gives = region, result, results, -1, -1
        self.operands = np.array(operands, np.int32)
        self.targets = np.full(len(operands), -1, np.int32)
        self.operand, self.target = self.operands, self.targets


cdef class Program:
    """What the executor runs; immutable once it is assembled."""

    def __dealloc__(self):
        PyMem_RawFree(self.ahead.instruction)
        PyMem_RawFree(self.back.instruction)
        PyMem_RawFree(self.operand)
        PyMem_RawFree(self.index)
        PyMem_RawFree(self.ahead_words.word)
        PyMem_RawFree(self.back_words.word)

    cdef Instruction* write(self, Code* code) except NULL:
        """A new instruction, all zero."""
        grow(<void**>&code.instruction, &code.capacity, code.length + 1, sizeof(Instruction))
        memset(&code.instruction[code.length], 0, sizeof(Instruction))
        code.length += 1
        return &code.instruction[code.length - 1]

    cdef Py_ssize_t push_operand(self, int32_t start, int place, int mode) except -1:
        grow(<void**>&self.operand, &self.operand_capacity, self.operands + 1, sizeof(Operand))
        self.operand[self.operands].start = start
        self.operand[self.operands].place = place
        self.operand[self.operands].mode = mode
        self.operands += 1
        return self.operands - 1

    cdef Py_ssize_t push_index(self, int32_t index) except -1:
        if self.indices >= 2147483000:
            raise OverflowError("a program lists more operands than 4 bytes can number")
        grow(<void**>&self.index, &self.index_capacity, self.indices + 1, sizeof(int32_t))
        self.index[self.indices] = index
        self.indices += 1
        return self.indices - 1

    cdef int32_t slot_of(self, const Operand* operand, Py_ssize_t k) noexcept:
        """Where the number of an operand for gate k of a run is."""
        cdef const int32_t* listed = self.index + operand.start
        if operand.place == GATHER:
            return listed[k]
        if operand.place != PIECES:
            return operand.start + (<int32_t>k if operand.place == CONTIGUOUS else 0)
        while k >= listed[PIECE_COUNT]:
            k -= listed[PIECE_COUNT]
            listed += PIECE_WORDS
        return listed[PIECE_SLOT] + <int32_t>k * listed[PIECE_STEP]

    cdef int push_word(self, Words* words, int32_t word) except -1:
        grow(<void**>&words.word, &words.capacity, words.length + 1, sizeof(int32_t))
        words.word[words.length] = word
        words.length += 1
        return 0

    cdef int stream(self, Stream* stream, bint forward) except -1:
        """What the executor sees of it, forward or backward."""
        cdef Code* code = &self.ahead if forward else &self.back
        stream.instruction = code.instruction
        stream.length = code.length
        stream.operand = self.operand
        stream.index = self.index
        stream.point = POINTS
        stream.slots, stream.operands, stream.indices = self.slots, self.operands, self.indices
        return 0

    cdef int settle(self) except -1:
        """Take the addresses of the arrays, which do not change any more."""
        self.output = <int32_t*><size_t>self.outputs.ctypes.data
        self.outputs_count = len(self.outputs)
        self.outer = <int32_t*><size_t>self.outers.ctypes.data
        self.outers_count = len(self.outers)
        self.guard = <int32_t*><size_t>self.guards.ctypes.data
        self.guard_expected = <uint8_t*><size_t>self.expected.ctypes.data
        self.guards_count = len(self.guards)
        self.constants_count = len(self.constants)
        if self.gradient:
            self.seed = <int32_t*><size_t>self.seeds.ctypes.data
            self.seed_assigned = <uint8_t*><size_t>self.assigned.ctypes.data
        return 0

    @property
    def instructions(self):
        """How many there are, forward and backward."""
        return self.ahead.length, self.back.length

    @property
    def nbytes(self):
        """Bytes of the program itself."""
        return (
            (self.ahead.length + self.back.length) * <Py_ssize_t>sizeof(Instruction)
            + self.operands * <Py_ssize_t>sizeof(Operand)
            + (self.indices + self.ahead_words.length + self.back_words.length) * <Py_ssize_t>sizeof(int32_t)
            + self.constants.nbytes
        )

    def listing(self):
        """Return every instruction as a line of text, forward, then backward."""
        cdef Py_ssize_t i
        cdef Instruction step
        cdef Py_ssize_t end = 0
        lines = []
        for i in range(self.ahead.length):
            step = self.ahead.instruction[i]
            if is_gradient(step) and i >= end:
                end = step.count
                lines.append(f"gradient of {end - i - 1} instructions")
                continue
            if i < end:
                lines.append(self.pull_text(step))
                continue
            name, operands = STEP_NAMES[step.opcode], self.operand_text(step, step.arity)
            if step.opcode == MATMUL:
                operands = f" of {step.arity} columns{', strong' * step.closed if self.lanes else together_text(step)}"
            if step.opcode == BATCH_MATMUL:
                operands = f" of depth {step.arity}"
            lines.append(f"{name} x{step.count} -> {step.result}{operands}")
        for output, rows, columns, _ in self.outers.tolist():
            lines.append(f"outer products {rows} by {columns} -> outputs from {output} on")
        for i in range(self.back.length):
            lines.append(self.pull_text(self.back.instruction[i]))
        return lines

    cdef str pull_text(self, Instruction step):
        if step.opcode == MATMUL_PULL:
            return f"pull matmul x{step.count} {step.result} of {step.arity} columns{together_text(step)}"
        if step.opcode == BATCH_MATMUL_PULL:
            return f"pull batch matmul x{step.count} {step.result} of depth {step.arity}"
        return f"pull {PULL_NAMES[step.opcode]} x{step.count} {step.result}{self.operand_text(step, step.arity)}"

    cdef str operand_text(self, Instruction step, int32_t arity):
        cdef int32_t j
        cdef Operand operand
        text = ""
        for j in range(arity):
            if step.operand + j < self.operands:
                operand = self.operand[step.operand + j]
                text += f" {'cbgp'[operand.place]}{operand.start}{'=+'[operand.mode]}"
        return text


cdef str together_text(Instruction step):
    return f", {step.closed} together" if step.closed else ""


cdef bint is_gradient(Instruction step) noexcept nogil:
    return step.opcode == REGION and step.closed


# ---------------------------------------------------------------------------------------------------- executors

cdef const Executor* executor_of(str name) except NULL:
    module = importlib.import_module(f"fastprop.engine.executor.{name}")
    return <const Executor*>PyCapsule_GetPointer(module.executor, b"fastprop.executor")


cdef const Executor* chosen = NULL


def instruction_sets():
    """Return the instruction sets that this processor has, the best one last."""
    found = ["baseline"]
    if cpu_has_avx2():
        found.append("avx2")
    if cpu_has_avx512():
        found.append("avx512")
    return found


def use_instruction_set(name=None):
    """Choose the executor by name; by default the best that the processor has. Returns its name."""
    global chosen
    known = instruction_sets()
    wanted = name or known[len(known) - 1]
    if wanted not in known:
        raise ValueError(
            f"instruction set {wanted!r} (FASTPROP_ISA) is not one of those that this processor has: {', '.join(known)}"
        )
    chosen = executor_of(wanted)
    use_loops(chosen)
    return chosen.name.decode()


def current_instruction_set():
    """Return the name of the instruction set that replays run on."""
    return chosen.name.decode()


cdef const Executor* executor() noexcept:
    return chosen


cdef extern from *:
    """
    #if defined(__x86_64__)
    static int cpu_has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
    static int cpu_has_avx512(void) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    }
    #else
    static int cpu_has_avx2(void) { return 0; }
    static int cpu_has_avx512(void) { return 0; }
    #endif
    """
    bint cpu_has_avx2() noexcept
    bint cpu_has_avx512() noexcept


use_instruction_set()
