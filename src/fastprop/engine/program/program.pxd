"""Program: the instructions of a draft, for one point or for lanes."""
from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.executor.instructions cimport Executor, Instruction, Operand, Space, Stream


ctypedef Py_ssize_t (*sweeping)(const Stream*, const Space*, Py_ssize_t, Py_ssize_t, int) noexcept nogil


cdef struct Code:               # instructions as they are written
    Instruction* instruction
    Py_ssize_t length
    Py_ssize_t capacity


cdef struct Words:              # steps of single gates, as they are written
    int32_t* word
    Py_ssize_t length
    Py_ssize_t capacity
    Py_ssize_t latest           # where the last step begins


cdef class Region:
    cdef readonly Py_ssize_t numbers    # so many of its operands it is a function of; the others are pulls
    cdef public bint ordered            # it takes lanes in order, on one thread
    cdef public bint takes_pulls        # its pulls can be operands, behind the numbers
    cdef public object reads            # the arrays that it reads, by their numbers
    cdef public object makes            # and those that it makes
    cdef public bint sums_numbers       # in lanes, it adds up what it pulls on numbers that are the same in all of them
    cdef readonly bint inside           # a program's own instructions do it: nobody is called


cdef class Variables(Region):
    pass


cdef class Gradient(Region):
    cdef readonly Py_ssize_t ends       # so many pulls are its first operands, and the numbers that they are put on
    cdef readonly dict arrays           # array among the variables -> the array that its gradient is


cdef class Wiring:
    cdef readonly Region region
    cdef readonly object operands       # int32: the slots of the operands
    cdef readonly object targets        # int32: their adjoints; -1: nobody wants it
    cdef int32_t[::1] operand
    cdef int32_t[::1] target
    cdef readonly Py_ssize_t result     # the first of the results' slots
    cdef readonly Py_ssize_t results
    cdef readonly Py_ssize_t pull       # the first of their adjoints; -1: there is no sweep backward through it
    cdef readonly object active_arrays  # in a gradient inside: those that have adjoints; else None
    cdef readonly Py_ssize_t gives      # the array that the gradient of a variable becomes


cdef class Program:
    cdef Code ahead             # forward
    cdef Code back              # backward
    cdef Words ahead_words      # the same for one point
    cdef Words back_words
    cdef Py_ssize_t prologue_words      # where those begin that follow when the pulls are put
    cdef Operand* operand
    cdef Py_ssize_t operands
    cdef Py_ssize_t operand_capacity
    cdef int32_t* index
    cdef Py_ssize_t indices
    cdef Py_ssize_t index_capacity
    cdef readonly bint lanes
    cdef readonly bint gradient
    cdef readonly Py_ssize_t inputs
    cdef readonly object constants      # float64: slots `inputs` and on
    cdef readonly Py_ssize_t slots      # in all
    cdef readonly Py_ssize_t adjoints   # the first of the inputs' adjoint slots
    cdef readonly Py_ssize_t scratch    # numbers; in lanes, rows
    cdef readonly Py_ssize_t prologue   # backward instructions before the pulls are put
    cdef readonly object outputs        # int32: where the values of outputs are
    cdef readonly object seeds          # int32: where pulls on outputs go; -1: to nothing
    cdef readonly object assigned       # uint8: whether the pull is put there (else added)
    cdef readonly object guards         # int32
    cdef readonly object expected       # uint8
    cdef readonly object uniform        # uint8, per input
    cdef readonly object wanted         # uint8, per input
    cdef readonly object summed         # uint8, per input: uniform, and what is pulled on it is added to partial sums
    cdef readonly object single         # uint8, per input: whether it is read by itself, not only as one of a matrix
    cdef readonly object starts         # int32: inputs at which matrices begin, the first and the last one of them
    cdef readonly object entire         # uint8, per input: whether its gradient is one number of one such matrix's
    cdef readonly object outers         # int32: outer products: first output, rows, columns, where the index has more
    cdef int32_t* outer                 # the same numbers
    cdef Py_ssize_t outers_count
    cdef readonly Py_ssize_t sums_begin     # the inputs whose gradients products add up, number by number
    cdef readonly Py_ssize_t sums_end
    cdef int32_t* output        # the same numbers, for loops without the GIL
    cdef Py_ssize_t outputs_count
    cdef int32_t* seed
    cdef uint8_t* seed_assigned
    cdef int32_t* guard
    cdef uint8_t* guard_expected
    cdef Py_ssize_t guards_count
    cdef Py_ssize_t constants_count
    cdef readonly bint ordered          # some region takes lanes in order
    cdef readonly set active_arrays     # those that wanted inputs reach
    cdef readonly list regions          # the wiring of each, in the order of the instructions

    cdef int settle(self) except -1
    cdef Instruction* write(self, Code* code) except NULL
    cdef Py_ssize_t push_operand(self, int32_t start, int place, int mode) except -1
    cdef Py_ssize_t push_index(self, int32_t index) except -1
    cdef int32_t slot_of(self, const Operand* operand, Py_ssize_t k) noexcept
    cdef int push_word(self, Words* words, int32_t word) except -1
    cdef int stream(self, Stream* stream, bint forward) except -1
    cdef str operand_text(self, Instruction step, int32_t arity)
    cdef str pull_text(self, Instruction step)


cdef bint is_gradient(Instruction step) noexcept nogil  # a gradient inside: up to `count` its pulls follow
cdef const Executor* executor() noexcept
