"""Products that follow each other at one point, of one matrix with several vectors, are taken together.

Rows of a batch are multiplied with the same weights one by one, as far as the draft says; the executor takes such
products as one of two matrices. None of them may read what another one of them writes.
"""
import numpy as np

from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport BROADCAST, MATMUL, MATMUL_PULL, Instruction, Operand

cdef enum:
    LEAST_TOGETHER = 4
    MOST_TOGETHER = 64      # what they are copied to stays in the cache


cdef int put_together(Program program) except -1:
    """Write how many products are taken together to the first of them."""
    cdef int32_t[::1] written = np.full(max(program.slots, <Py_ssize_t>1), -1, np.int32)
    put_code_together(program, &program.ahead, True, written)
    written[:] = -1
    put_code_together(program, &program.back, False, written)
    return 0


cdef int put_code_together(Program program, Code* code, bint ahead, int32_t[::1] written) except -1:
    """Look at all instructions: among those forward there may be gradients, whose pulls come behind what says so."""
    cdef Instruction* first
    cdef Py_ssize_t i = 0, end = 0, n, most
    cdef bint forward
    while i < code.length:
        first = &code.instruction[i]
        n, most = 1, min(MOST_TOGETHER, code.length - i)
        forward = ahead and i >= end
        if forward and is_gradient(first[0]):
            end = first.count
        elif first.opcode == (<int>MATMUL if forward else <int>MATMUL_PULL) and adds_evenly(program, first, forward):
            note_written(program, first, forward, written, <int32_t>i)
            most = most if forward or not ahead else min(most, end - i)
            while n < most and first[n].opcode == first.opcode and goes_with(program, first, &first[n], forward):
                if reads_written(program, &first[n], forward, written, <int32_t>i):
                    break
                note_written(program, &first[n], forward, written, <int32_t>i)
                n += 1
            if n >= LEAST_TOGETHER:
                first.closed = <unsigned char>n
                need_room(program, n, first.count + 16, first.arity + 16)
        i += n
    return 0


cdef inline const int32_t* matrix_of(Program program, const Instruction* step, bint forward) noexcept:
    """What the index says of a product's matrix: see vector_product.h."""
    cdef int32_t at = step.operand if forward else program.index[step.operand]
    return program.index + at


cdef bint adds_evenly(Program program, const Instruction* step, bint forward) noexcept:
    """Whether what a product adds is not listed."""
    return matrix_of(program, step, forward)[3] != -2


cdef bint goes_with(Program program, const Instruction* first, const Instruction* step, bint forward) noexcept:
    """Whether two products are of the same matrix, and pull on the same."""
    cdef const int32_t* matrix = matrix_of(program, first, forward)
    cdef const int32_t* other = matrix_of(program, step, forward)
    cdef Py_ssize_t k, numbers = <Py_ssize_t>first.count * first.arity if matrix[0] < 0 else 0
    if first.count != step.count or first.arity != step.arity:
        return False
    for k in range(3):
        if matrix[k] != other[k]:
            return False
    for k in range(5 + first.arity, 5 + first.arity + numbers):     # a matrix whose slots are listed
        if matrix[k] != other[k]:
            return False
    if not forward and program.index[first.operand + 2] != program.index[step.operand + 2]:
        return False
    return adds_evenly(program, step, forward)


cdef int note_written(
    Program program, const Instruction* step, bint forward, int32_t[::1] written, int32_t group
) except -1:
    """Note the slots that a product writes: its results, or what it pulls on."""
    cdef Py_ssize_t k
    cdef const Operand* target
    if forward:
        for k in range(step.count):
            written[step.result + k] = group
        return 0
    if program.index[step.operand + 1] < 0:
        return 0
    target = program.operand + program.index[step.operand + 1]
    for k in range(1 if target.place == BROADCAST else step.arity):
        written[program.slot_of(target, k)] = group
    return 0


cdef bint reads_written(
    Program program, const Instruction* step, bint forward, const int32_t[::1] written, int32_t group
) noexcept:
    """Whether a product reads what an earlier one of its group writes."""
    cdef const int32_t* vector = matrix_of(program, step, forward) + 5
    cdef Py_ssize_t k
    if forward:
        for k in range(step.arity):
            if written[vector[k]] == group:
                return True
        return False
    for k in range(step.count):
        if written[step.result + k] == group:
            return True
    return False


cdef int need_room(Program program, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns) except -1:
    """Remember how much scratch they need: copies of vectors, of results or pulls and of the matrix, and pointers."""
    cdef Py_ssize_t copies = n * (3 * (rows + columns) + 128) + 3 * rows * columns
    program.scratch = max(program.scratch, copies + 4 * (n + rows + columns) + 128)
    return 0
