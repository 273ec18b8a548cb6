"""Tape: the room for gates, the list of live results, and the sweep backward."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint64_t


cdef extern from "Python.h":
    void incref "Py_INCREF"(PyObject* item) noexcept
    void decref "Py_DECREF"(PyObject* item) noexcept


cdef class Tape:
    cdef Nodes nodes
    cdef Py_ssize_t young           # slots below survived a compaction
    cdef Py_ssize_t nursery         # so many are recorded before the next
    cdef Py_ssize_t full_at         # at this length the old slots are looked at too
    cdef Py_ssize_t leaves_at       # likewise at so many leaves
    cdef Py_ssize_t pool_at         # and at so many operands of gates with many
    cdef Py_ssize_t reserved        # the user's wish for room
    cdef Py_ssize_t nbytes_held     # of the arrays in blocks, since the last time
    cdef Py_ssize_t nbytes_at       # and at so many of them
    cdef Py_ssize_t nbytes_dead     # of Arrays whose handles have gone, since the old slots were looked at
    cdef uint64_t resets
    cdef bint captures              # results of other tapes are constants here
    cdef bint busy                  # being swept, by thread `user`
    cdef unsigned long user
    cdef int held                   # > 0: slots stay where they are
    cdef Py_ssize_t entries         # how often `with` has entered it, in the thread `inside`
    cdef unsigned long inside
    cdef readonly uint64_t number
    cdef object __weakref__

    cdef void forget(self) noexcept


cdef PyObject* current_home() except NULL
cdef int enter(Tape tape) except -1
cdef int leave(Tape tape) except -1
cdef int make_room(PyObject* home, Py_ssize_t pool) except -1
cdef int32_t register_leaf(PyObject* home, Link* link) except? -2147483647
cdef int check_fresh(Link* link) except -1
cdef PyObject* common_home(PyObject* home, Link* link, PyObject** other) except? NULL
cdef PyObject* settled_home(PyObject* home, PyObject* other, object gate) except NULL
cdef int watch(Tape tape) except -1
cdef void abandon(PyObject* home) noexcept
cdef int begin_sweep(Tape tape, Py_ssize_t top) except -1
cdef int pull_down(Tape tape, Py_ssize_t top, Py_ssize_t* low) except -1
cdef void end_sweep(Tape tape, Py_ssize_t top, Py_ssize_t low) noexcept
cdef int backward(Link* root, const double* pull) except -1


cdef inline Nodes* nodes_of(PyObject* tape) noexcept:
    return &(<Tape>tape).nodes


cdef inline int32_t operand_of(PyObject* home, Link* link) except? -2147483647:
    """How a gate refers to a handle: by its slot, or as a leaf, which is registered at its first use."""
    if link.tape != NULL:
        return <int32_t>link.slot
    if link.key == nodes_of(home).key:
        return <int32_t>~link.slot
    return register_leaf(home, link)


cdef inline Py_ssize_t write(
    PyObject* home, int opcode, int32_t first, int32_t second, double p, double q, double value
) noexcept:
    """Write a gate into the next slot, for which room was made."""
    cdef Nodes* nodes = nodes_of(home)
    cdef Py_ssize_t slot = nodes.length
    nodes.opcode[slot] = <uint8_t>opcode
    nodes.operand[slot].first = first
    nodes.operand[slot].second = second
    nodes.partial[slot].first = p
    nodes.partial[slot].second = q
    nodes.value[slot] = value
    nodes.length = slot + 1
    return slot


cdef inline void attach(PyObject* home, Link* link, PyObject* owner, Py_ssize_t slot, bint pinned) noexcept:
    """Make a fresh handle that of a slot: of the newest, or pinned, of any."""
    cdef Link** first = &nodes_of(home).pinned if pinned else &nodes_of(home).newest
    incref(home)
    link.tape = home
    link.key = PINNED if pinned else NO_TAPE
    link.owner = owner
    link.slot = slot
    link.newer = NULL
    link.older = first[0]
    if first[0] != NULL:
        first[0].newer = link
    first[0] = link


cdef inline void detach(Link* link) noexcept:
    """Take a dying handle off its tape."""
    cdef PyObject* home = link.tape
    if home == NULL:
        return
    if link.older != NULL:
        link.older.newer = link.newer
    if link.newer != NULL:
        link.newer.older = link.older
    else:
        if link.key == PINNED:
            nodes_of(home).pinned = link.older
        else:
            nodes_of(home).newest = link.older
        if link.older == NULL:
            abandon(home)
    link.tape = NULL
    decref(home)
