"""Terms of sums of products, as reroll sorts them: what varies, or of two computed factors the first, comes first."""
import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport qsort


cdef struct Term:           # of a sum: what varies, times a number that is the same in all lanes
    int32_t varying
    int32_t place           # among the sum's terms
    int32_t number


cdef int32_t[::1] distances_of(Draft draft):
    """For every input how far a sum of products that uses it is from the next one that does, as most of them vote."""
    cdef uint8_t[::1] opcode = draft.opcode
    cdef int32_t[::1] first = draft.first
    cdef int32_t[::1] operand = draft.operand
    cdef int32_t[::1] found = np.full(draft.inputs + 1, 2147483647, np.int32)
    cdef int32_t[::1] votes = np.zeros(draft.inputs + 1, np.int32)
    cdef int32_t[::1] last = np.full(draft.inputs + 1, -1, np.int32)
    cdef int32_t now = 0, j, x
    cdef Py_ssize_t i
    for i in range(len(draft)):
        if opcode[i] != PRODUCTS:
            continue
        for j in range(first[i], first[i + 1]):
            x = operand[j]
            if not 0 <= x < draft.inputs:
                continue
            if 0 <= last[x] < now:
                if votes[x] == 0:
                    found[x] = now - last[x]
                votes[x] += 1 if found[x] == now - last[x] else -1
            last[x] = now
        now += 1
    return found


cdef int by_varying(const void* x, const void* y) noexcept nogil:
    cdef const Term* a = <const Term*>x
    cdef const Term* b = <const Term*>y
    if a.varying != b.varying:
        return -1 if a.varying < b.varying else 1
    return -1 if a.place < b.place else 1


cdef void sort_by_varying(Term* term, Py_ssize_t n) noexcept:
    """Sort terms by what varies, unless they are in order, as those of a matrix are."""
    cdef Py_ssize_t k
    for k in range(1, n):
        if by_varying(&term[k - 1], &term[k]) > 0:
            qsort(term, <size_t>n, sizeof(Term), by_varying)
            return


cdef void turn_pairs(Term* pair, Py_ssize_t n) noexcept:
    """If the factors of one side all lie before the others, let them come first."""
    cdef int32_t low = -2147483647, high = 2147483647
    cdef Py_ssize_t k
    for k in range(n):
        low, high = max(low, min(pair[k].varying, pair[k].number)), min(high, max(pair[k].varying, pair[k].number))
    for k in range(n if low < high else 0):
        if pair[k].number < pair[k].varying:
            pair[k].varying, pair[k].number = pair[k].number, pair[k].varying
