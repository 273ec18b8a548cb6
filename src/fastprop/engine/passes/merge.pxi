"""merge: equal gates of equal operands become one (common subexpressions)."""
import numpy as np

from libc.stdint cimport int32_t, uint8_t, uint64_t

from fastprop.engine.executor.instructions cimport REGION, RESULT
from fastprop.engine.kernels cimport ADD, MAXIMUM, MINIMUM, MULTIPLY

cdef enum:
    NEAR = 16           # places near its newest operand that a gate is looked for at


def merge(Draft draft, dict report=None):
    """Let equal gates of equal operands be one (common subexpressions).

    `report`, if given, gets the number of places that were looked at.
    """
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] origin = draft.origin
    cdef Py_ssize_t n = len(draft)
    cdef Py_ssize_t i, length, place, size = 64, most = 1
    cdef int32_t inputs = draft.inputs, head
    cdef int32_t twin
    cdef int32_t[::1] operand = draft.operand
    cdef uint8_t[::1] is_twin_of = np.zeros(max(n, 1), np.uint8)
    while size < 2 * n:
        size *= 2
    for i in range(n):
        most = max(most, first[i + 1] - first[i])
    cdef int32_t[::1] table = np.full(size, -1, np.int32)
    cdef int32_t[::1] moved = np.empty(max(n, 1), np.int32)
    cdef int32_t[::1] here = np.empty(most, np.int32)
    cdef Py_ssize_t looks = 0
    cdef Writer writer = Writer(draft, n, len(draft.operand))
    for i in range(n):
        if opcode[i] == REGION:
            moved[i] = writer.copy(i, moved)
            continue
        if opcode[i] == RESULT:
            head = operand[first[i]] - inputs
            moved[i] = moved[head] + <int32_t>i - head if is_twin_of[head] else writer.copy(i, moved)
            continue
        length = writer.renamed(i, moved, &here[0])
        place = place_of(writer, &table[0], size, opcode[i], &here[0], length, &looks)
        twin = table[place]
        if twin >= 0 and results_of(writer.opcode, writer.gates, twin) == results_of(opcode, n, i):
            moved[i] = inputs + twin
            is_twin_of[i] = 1
            continue
        moved[i] = writer.gate(opcode[i], &here[0], length, origin[i])
        table[place] = moved[i] - inputs
    if report is not None:
        report["looks"] = looks
    return writer.finish(moved) if writer.gates < n else draft


cdef Py_ssize_t results_of(const uint8_t[::1] opcode, Py_ssize_t end, Py_ssize_t gate) noexcept:
    """How many numbers a gate has."""
    cdef Py_ssize_t n = 1
    while has_results(opcode[gate]) and gate + n < end and opcode[gate + n] == RESULT:
        n += 1
    return n


cdef Py_ssize_t place_of(
    Writer writer, const int32_t* table, Py_ssize_t size, int opcode, const int32_t* operand, Py_ssize_t n,
    Py_ssize_t* looks
) noexcept:
    """Where in a table of gates one is, or is to be put, for which so many places are looked at.

    First near the place that its newest operand has: gates recorded together are then looked up together, in the cache.
    """
    cdef uint64_t found = hash_of(opcode, operand, n)
    cdef uint64_t mask = <uint64_t>(size - 1)
    cdef uint64_t step = found >> 32 | 1    # far away, as what lies near its operands leaves no gaps; odd: to any place
    cdef uint64_t near = <uint64_t>newest(operand, n) * 2 + (found & 15)
    cdef Py_ssize_t k
    for k in range(NEAR):
        looks[0] += 1
        if is_place(writer, table[(near + k) & mask], opcode, operand, n):
            return <Py_ssize_t>((near + k) & mask)
    while not is_place(writer, table[found & mask], opcode, operand, n):
        looks[0] += 1
        found += step
    return <Py_ssize_t>(found & mask)


cdef inline bint is_place(Writer writer, int32_t twin, int opcode, const int32_t* operand, Py_ssize_t n) noexcept:
    return twin < 0 or is_twin(writer, twin, opcode, operand, n)


cdef inline int32_t newest(const int32_t* operand, Py_ssize_t n) noexcept:
    cdef int32_t last = 0
    cdef Py_ssize_t i
    for i in range(n):
        last = max(last, operand[i])
    return last


cdef inline bint commutes(int opcode) noexcept:
    return opcode == ADD or opcode == MULTIPLY or opcode == MAXIMUM or opcode == MINIMUM

cdef extern from *:
    """
    static uint64_t mixed(uint64_t hash, int32_t number) {
        hash = (hash ^ (uint32_t)number) * UINT64_C(0x9E3779B97F4A7C15);
        return hash ^ (hash >> 29);
    }
    """
    uint64_t mixed(uint64_t so_far, int32_t number) noexcept


cdef inline uint64_t hash_of(int opcode, const int32_t* operand, Py_ssize_t n) noexcept:
    cdef uint64_t found = mixed(0, opcode)
    cdef Py_ssize_t i
    if commutes(opcode):
        return mixed(mixed(found, max(operand[0], operand[1])), min(operand[0], operand[1]))
    for i in range(n):
        found = mixed(found, operand[i])
    return found


cdef inline bint is_twin(Writer writer, int32_t twin, int opcode, const int32_t* operand, Py_ssize_t n) noexcept:
    cdef int32_t begin = writer.first[twin]
    cdef Py_ssize_t i
    if writer.opcode[twin] != opcode or writer.first[twin + 1] - begin != n:
        return False
    if commutes(opcode) and writer.operand[begin] == operand[1] and writer.operand[begin + 1] == operand[0]:
        return True
    for i in range(n):
        if writer.operand[begin + i] != operand[i]:
            return False
    return True
