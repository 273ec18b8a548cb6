"""Reclaiming the slots that no live handle reaches.

Live handles mark their slots, marks go down from gate to operand, and what is marked moves down over what is not. The
adjoint array, all zero between sweeps, serves as scratch, so that a compaction needs no memory when memory is short.
"""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset


cdef int compact(Nodes* nodes, Py_ssize_t start) except -1:
    """Drop the unreached slots from `start` on; the slots below it stay as they are. From 0, unused leaves go too.

    Destructors may run anything, so they run last, when the tape is whole again. Raises MemoryError, with the tape as
    it was, if there is no room for the list of what is to be destroyed.
    """
    cdef int64_t* mark
    cdef PyObject** dead
    cdef Py_ssize_t end = nodes.length
    cdef Py_ssize_t count
    clean_adjoints(nodes, end)
    mark = <int64_t*>nodes.adjoint
    mark_reached(nodes, mark, start)
    count = count_dead(nodes, mark, start)
    dead = <PyObject**>PyMem_RawMalloc(<size_t>(count + 1) * sizeof(PyObject*))
    if dead == NULL:
        wipe(mark, start, end)
        raise MemoryError(f"no memory to list {count} objects that are to be destroyed")
    bury_blocks(nodes, mark, start, dead)
    if start == 0:
        number_leaves(nodes)
    squeeze(nodes, mark, start)
    relink(nodes, mark, start)
    wipe(mark, start, end)
    if start == 0:
        squeeze_leaves(nodes, &dead[count])
    while count > 0:
        count -= 1
        decref(dead[count])
    PyMem_RawFree(dead)
    return 0


cdef inline void wipe(int64_t* mark, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    if end > start:
        memset(&mark[start], 0, <size_t>(end - start) * sizeof(int64_t))


# ------------------------------------------------------------------------------------------------------ marking

cdef inline void mark_operand(Nodes* nodes, int64_t* mark, int32_t operand, Py_ssize_t start) noexcept nogil:
    if operand >= start:
        mark[operand] = 1
    elif operand < 0 and operand != NONE:
        nodes.leaf[~operand].moved = 1


cdef void mark_operands(Nodes* nodes, int64_t* mark, Py_ssize_t i, Py_ssize_t start) noexcept nogil:
    """Mark what the gate at slot i reads."""
    cdef uint8_t opcode = nodes.opcode[i]
    cdef Py_ssize_t k, begin
    if opcode < POOLED:
        mark_operand(nodes, mark, nodes.operand[i].first, start)
        mark_operand(nodes, mark, nodes.operand[i].second, start)
    elif opcode == ELEMENT:
        mark_operand(nodes, mark, nodes.operand[i].first, start)
    elif opcode <= BLOCK:
        begin = nodes.operand[i].first + (opcode == BLOCK)
        for k in range(begin, begin + nodes.operand[i].second):
            mark_operand(nodes, mark, nodes.pool_operand[k], start)


cdef void mark_reached(Nodes* nodes, int64_t* mark, Py_ssize_t start) noexcept nogil:
    """mark[i] = 1 for each slot from `start` on that a live handle reaches, leaf.moved = 1 for each leaf."""
    cdef Link* link = nodes.newest
    cdef Py_ssize_t i
    if start == 0:
        for i in range(nodes.leaf_length):
            nodes.leaf[i].moved = 0
    while link != NULL and link.slot >= start:
        mark[link.slot] = 1
        link = link.older
    link = nodes.pinned
    while link != NULL:
        if link.slot >= start:
            mark[link.slot] = 1
        link = link.older
    for i in range(nodes.length - 1, start - 1, -1):
        if mark[i]:
            mark_operands(nodes, mark, i, start)


cdef Py_ssize_t count_dead(const Nodes* nodes, const int64_t* mark, Py_ssize_t start) noexcept nogil:
    """How many Python objects the compaction will let go."""
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    for i in range(start, nodes.length):
        count += nodes.opcode[i] == BLOCK and not mark[i]
    if start == 0:
        for i in range(nodes.leaf_length):
            count += not nodes.leaf[i].moved
    return count


# ------------------------------------------------------------------------------------------------------- moving

cdef void bury_blocks(Nodes* nodes, const int64_t* mark, Py_ssize_t start, PyObject** dead) noexcept nogil:
    """Move the records of unreached blocks to `dead`, which owns them from now on."""
    cdef Py_ssize_t i
    cdef Py_ssize_t buried = 0
    cdef int32_t number
    for i in range(start, nodes.length):
        if nodes.opcode[i] == BLOCK and not mark[i]:
            number = block_number(nodes, i)
            dead[buried] = nodes.block[number].record
            buried += 1
            nodes.block[number].record = NULL
            nodes.block[number].touched = nodes.free_block
            nodes.free_block = number


cdef void number_leaves(Nodes* nodes) noexcept nogil:
    """leaf[k].moved: where the leaf goes, or LAST if no gate refers to it."""
    cdef Py_ssize_t k
    cdef int32_t next_number = 0
    for k in range(nodes.leaf_length):
        if nodes.leaf[k].moved:
            nodes.leaf[k].moved = next_number
            next_number += 1
        else:
            nodes.leaf[k].moved = LAST


cdef bint leaves_stay(const Nodes* nodes) noexcept nogil:
    """Whether every leaf is in use, and so keeps its number."""
    cdef Py_ssize_t last = nodes.leaf_length - 1
    return last < 0 or nodes.leaf[last].moved == last


cdef inline int32_t renumbered(
    const Nodes* nodes, const int64_t* mark, int32_t operand, Py_ssize_t start
) noexcept nogil:
    """Where an operand has gone; mark[i] is one more than the new slot by now."""
    if operand >= start:
        return <int32_t>(mark[operand] - 1)
    if operand < 0 and operand != NONE and start == 0:
        return ~nodes.leaf[~operand].moved
    return operand


cdef void squeeze(Nodes* nodes, int64_t* mark, Py_ssize_t start) noexcept nogil:
    """Move the marked gates down over the others."""
    cdef Py_ssize_t to = start
    cdef Py_ssize_t pool_to = -1
    cdef Py_ssize_t i, k, begin, size
    cdef uint8_t opcode
    cdef Py_ssize_t first = start
    if start > 0 or leaves_stay(nodes):
        while first < nodes.length and mark[first]:     # what lies below the first gap stays
            first += 1
            mark[first - 1] = first
        to = first
    for i in range(first, nodes.length):
        opcode = nodes.opcode[i]
        if POOLED <= opcode <= BLOCK and opcode != ELEMENT:
            begin = nodes.operand[i].first
            if pool_to < 0:
                pool_to = begin
            if mark[i]:
                size = nodes.operand[i].second + (opcode == BLOCK)
                for k in range(size):
                    nodes.pool_partial[pool_to + k] = nodes.pool_partial[begin + k]
                    nodes.pool_operand[pool_to + k] = nodes.pool_operand[begin + k] if opcode == BLOCK and k == 0 else (
                        renumbered(nodes, mark, nodes.pool_operand[begin + k], start))
                nodes.operand[i].first = <int32_t>pool_to
                pool_to += size
        elif mark[i]:
            nodes.operand[i].first = renumbered(nodes, mark, nodes.operand[i].first, start)
            if opcode != ELEMENT:
                nodes.operand[i].second = renumbered(nodes, mark, nodes.operand[i].second, start)
        if mark[i]:
            nodes.opcode[to] = opcode
            nodes.operand[to] = nodes.operand[i]
            nodes.partial[to] = nodes.partial[i]
            nodes.value[to] = nodes.value[i]
            to += 1
            mark[i] = to
    nodes.length = to
    if pool_to >= 0:
        nodes.pool_length = pool_to


cdef void relink(Nodes* nodes, const int64_t* mark, Py_ssize_t start) noexcept nogil:
    """Tell the live handles where their slots have gone."""
    cdef Link* link = nodes.newest
    while link != NULL and link.slot >= start:
        link.slot = <Py_ssize_t>mark[link.slot] - 1
        link = link.older
    link = nodes.pinned
    while link != NULL:
        if link.slot >= start:
            link.slot = <Py_ssize_t>mark[link.slot] - 1
        link = link.older


cdef void squeeze_leaves(Nodes* nodes, PyObject** dead_end) noexcept nogil:
    """Move the leaves in use down, and the others to the end of `dead`, which owns them from now on."""
    cdef Py_ssize_t k
    cdef Py_ssize_t to = 0
    cdef Py_ssize_t below = 0
    cdef Link* link
    for k in range(nodes.leaf_length):
        link = nodes.leaf[k].link
        if nodes.leaf[k].moved == LAST:
            if link.key == nodes.key and link.slot == k:
                link.key = NO_TAPE
            below -= 1
            dead_end[below] = link.owner
        else:
            if link.key == nodes.key and link.slot == k:
                link.slot = to
            nodes.leaf[to] = nodes.leaf[k]
            to += 1
    nodes.leaf_length = to
