"""Terms of sums of products, as reroll sorts them: what varies, or of two computed factors the first, comes first."""
from libc.stdint cimport int32_t
from libc.stdlib cimport qsort


cdef struct Term:           # of a sum: what varies, times a number that is the same in all lanes
    int32_t varying
    int32_t place           # among the sum's terms
    int32_t number


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
