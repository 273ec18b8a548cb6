"""Tape: the room for gates, the list of live results, and the sweep backward.

The live results of a tape form a list in the order of their slots, so that slots can be moved (compaction), a sweep
finds the results between its output and the oldest gate that it reached, and a reset can tell every handle. Leaves
belong to no tape; a tape numbers them as gates use them, under a key that is never given twice.
"""
import gc
import threading
import weakref

from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy, memset


from fastprop.errors import StaleUnitError

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    PyThreadState* PyThreadState_Get() noexcept
    uint64_t PyThreadState_GetID(PyThreadState* state) noexcept
    Py_ssize_t Py_REFCNT(PyObject* item) noexcept

cdef enum:
    NURSERY = 8192              # slots recorded before the young are compacted, at least: they stay in the cache
    NURSERY_MOST = 1 << 22
    PLENTY = 1 << 25            # bytes of arrays in blocks; below, gates alone say when to compact
    SOME = 1 << 20              # bytes of dead Arrays that may wait to be reclaimed,
    SLOT_WORTH = 64             # and so many more for each slot that has to be looked at
    SHORT = 1 << 14             # gates swept before the GIL is released for the rest
    PATIENCE = 1 << 20          # gates swept between two looks for Ctrl-C: a few milliseconds

cdef uint64_t last_key = PINNED
cdef uint64_t last_number = 0


# ---------------------------------------------------------------------------------------------------------- tape

# Tapes with gates of the user's own: such a gate may hold handles, which hold the tape, which holds the gate. Python's
# collector does not look into handles (that would double the cost of a gate), so its full collections compact these.
_with_own_gates = weakref.WeakSet()


def _collect(phase, details):
    cdef Tape tape
    if phase == "start" and details["generation"] == 2:
        for tape in list(_with_own_gates):
            if not tape.busy and not tape.held:
                reclaim(tape, True)


cdef int watch(Tape tape) except -1:
    """Let Python's collector look after a tape from now on."""
    if _collect not in gc.callbacks:
        gc.callbacks.append(_collect)
    _with_own_gates.add(tape)


cdef class Tape:
    """Tape(*, captures=False, most=2147483647)
--

    The growing record of gates, in the order in which they ran.

    A gate is recorded on the tape of the results that it uses, or with leaves alone on the current tape: the innermost
    ``with`` block's, else the thread's default tape. Results that no live handle can reach are reclaimed by themselves.

    Examples
    --------
    >>> import fastprop as fp
    >>> with fp.Tape() as tape:
    ...     y = fp.Unit(2.0) * 3.0 + 1.0
    >>> len(tape)
    2
    """

    def __cinit__(self, *, bint captures=False, Py_ssize_t most=INDEX_LIMIT):
        global last_number
        if not 1 <= most <= INDEX_LIMIT:
            raise ValueError(f"a tape holds between 1 and {INDEX_LIMIT} gates, not {most}")
        start(&self.nodes, most)
        last_number += 1
        self.number = last_number
        self.captures = captures
        self.nursery = NURSERY
        self.forget()

    def __dealloc__(self):
        global last_tape
        if last_tape == <PyObject*>self:
            last_tape = NULL
        free_objects(&self.nodes)
        release(&self.nodes)

    cdef void forget(self) noexcept:
        """A new key: no leaf is registered here any more."""
        global last_key
        last_key += 1
        self.nodes.key = last_key
        self.young = 0
        self.full_at = self.nursery
        self.leaves_at = NURSERY
        self.nbytes_held = 0
        self.nbytes_at = PLENTY
        self.nbytes_dead = 0
        self.pool_at = SPACIOUS
        self.nodes.limit = min(self.nodes.capacity, self.nursery)

    def __len__(self):
        return self.nodes.length

    def __bool__(self):
        return True

    @property
    def nbytes(self):
        """Bytes that the tape's arrays take, including what is reserved for growth."""
        return bytes_held(&self.nodes)

    def __repr__(self):
        return f"<Tape {self.number}: {self.nodes.length} gates, {self.nbytes} bytes>"

    def __enter__(self):
        enter(self)
        return self

    def __exit__(self, kind, error, trace):
        leave(self)

    def __reduce__(self):
        raise TypeError("a Tape can't be copied or pickled; save the values of the leaves instead")

    def reset(self):
        """Drop all gates. Results of this tape raise StaleUnitError from now on; leaves are not affected."""
        refuse_if_busy(self)
        if self.held:
            raise RuntimeError(f"tape {self.number} can't be reset while a transform lists its gates")
        cdef Link* link = self.nodes.newest
        while link != NULL:
            make_stale(&link, self)
        link = self.nodes.pinned
        while link != NULL:
            make_stale(&link, self)
        self.nodes.newest = NULL
        self.nodes.pinned = NULL
        self.resets += 1
        empty(self)

    def reserve(self, gates):
        """Make room for a number of gates in all, so that recording them allocates nothing.

        Parameters
        ----------
        gates : int
            How many gates the tape shall hold before it grows again.
        """
        refuse_if_busy(self)
        if gates < 0:
            raise ValueError(f"a tape can't hold {gates} gates; give a number of at least 0")
        if gates > self.nodes.most:
            raise OverflowError(f"a tape holds at most {self.nodes.most} gates, {gates} were asked for")
        reserve(&self.nodes, gates)
        self.reserved = gates

    # What transforms build on; it knows of Unit and Array, and so lives a floor above.

    def _variable(self, value):
        return variable(self, value)

    def _gradients(self, outputs, pulls, variables):
        return gradients(self, list(outputs), list(pulls), list(variables))

    def _tangents(self, outputs, variables, directions):
        return tangents(self, list(outputs), list(variables), list(directions))

    def _closed(self, variables, outputs):
        return closed(self, list(variables), list(outputs))

    def _steps(self, outputs, variables):
        return steps(self, list(outputs), list(variables))


# ------------------------------------------------------------------------------------------------- current tape

cdef class Stack:
    """A thread's tapes: its default one, then those that it has entered. Leaving one never allocates."""
    cdef list tapes
    cdef Py_ssize_t depth

    def __cinit__(self):
        self.tapes = [Tape()]
        self.depth = 1

    cdef Tape top(self):
        return <Tape>self.tapes[self.depth - 1]

    cdef int push(self, Tape tape) except -1:
        global last_tape
        if self.depth == len(self.tapes):
            self.tapes.append(tape)
        else:
            self.tapes[self.depth] = tape
        self.depth += 1
        last_tape = NULL
        return 0

    cdef void pop(self):
        global last_tape
        self.depth -= 1
        self.tapes[self.depth] = None
        last_tape = NULL


cdef int enter(Tape tape) except -1:
    """Make a tape the current one of this thread."""
    if tape.entries > 0 and tape.inside != PyThread_get_thread_ident():
        raise RuntimeError(f"tape {tape.number} is in use by {thread_name(tape.inside)}; give each thread a tape")
    (<Stack>_tapes.stack).push(tape)
    tape.nodes.strict = strictness > 0
    tape.inside = PyThread_get_thread_ident()
    tape.entries += 1


cdef int leave(Tape tape) except -1:
    if tape.entries == 0 or (<Stack>_tapes.stack).top() is not tape:
        raise RuntimeError(f"tape {tape.number} is left, but it is not the innermost one that this thread entered")
    (<Stack>_tapes.stack).pop()
    tape.entries -= 1


class _Tapes(threading.local):
    """Each thread's stack of tapes."""

    def __init__(self):
        self.stack = Stack()


_tapes = _Tapes()

# The thread that asked last and its tape (borrowed from the thread's stack), as a thread asks for every gate of leaves.
cdef PyThreadState* last_thread = NULL
cdef uint64_t last_thread_id = 0
cdef PyObject* last_tape = NULL


cdef PyObject* current_home() except NULL:
    """The tape on which gates of leaves alone are recorded (borrowed)."""
    global last_thread, last_thread_id, last_tape
    cdef PyThreadState* thread = PyThreadState_Get()
    cdef Tape top
    if last_tape == NULL or thread != last_thread or PyThreadState_GetID(thread) != last_thread_id:
        top = (<Stack>_tapes.stack).top()
        last_tape = <PyObject*>top
        last_thread = thread
        last_thread_id = PyThreadState_GetID(thread)
    return last_tape


def current_tape():
    """The tape that this thread records on: the innermost ``with Tape()``, else the thread's default tape.

    Examples
    --------
    >>> import fastprop as fp
    >>> with fp.Tape() as tape:
    ...     fp.current_tape() is tape
    True
    """
    return <Tape>current_home()


cdef str thread_name(unsigned long ident):
    for thread in threading.enumerate():
        if thread.ident == ident:
            return f"thread {thread.name!r} ({ident})"
    return f"thread {ident}"


cdef int refuse_if_busy(Tape tape) except -1:
    if tape.busy:
        raise RuntimeError(
            f"tape {tape.number} is being swept by {thread_name(tape.user)}; wait until its sweep has ended, or give "
            "each thread a tape of its own; a gate's backward can use another tape, with fp.Tape()"
        )
    return 0


cdef void make_stale(Link** link, Tape tape) noexcept:
    """Cut a handle off its tape, and step to the next older one."""
    cdef Link* older = link[0].older
    link[0].tape = NULL
    link[0].key = STALE
    link[0] = older
    decref(<PyObject*>tape)     # the caller holds another reference


cdef void free_objects(Nodes* nodes) noexcept:
    """Drop the references that leaves and blocks own."""
    cdef PyObject* owner
    while nodes.leaf_length > 0:
        nodes.leaf_length -= 1
        owner = nodes.leaf[nodes.leaf_length].link.owner
        if nodes.leaf[nodes.leaf_length].link.key == nodes.key:
            nodes.leaf[nodes.leaf_length].link.key = NO_TAPE
        decref(owner)
    while nodes.block_length > 0:
        nodes.block_length -= 1
        owner = nodes.block[nodes.block_length].record
        if owner != NULL:
            decref(owner)


cdef void empty(Tape tape) noexcept:
    """Back to a tape without gates; what the old ones own goes last, as destructors may run anything."""
    cdef Nodes old = tape.nodes
    start(&tape.nodes, old.most)
    if not is_spacious(&old) or old.capacity <= tape.reserved + (tape.reserved >> 1):
        take_over(&tape.nodes, &old)
    tape.forget()
    free_objects(&old)
    release(&old)


# ------------------------------------------------------------------------------------------------ room for gates

cdef int make_room(PyObject* home, Py_ssize_t pool) except -1:
    """Room for one more gate with `pool` operands in the pool; slots may move, so operands are looked up afterwards.

    The young slots are compacted often, so that a steady loop stays in the cache; all of them when the tape has
    doubled, so that the work is a constant amount per gate, however many older circuits are alive.
    """
    cdef Tape tape = <Tape>home
    cdef Nodes* nodes = &tape.nodes
    cdef bint full = (
        nodes.length >= min(tape.full_at, nodes.most)
        or nodes.leaf_length >= tape.leaves_at
        or nodes.pool_length >= tape.pool_at
        or tape.nbytes_held >= tape.nbytes_at
        or is_worth_reclaiming(tape)
    )
    cdef uint64_t resets = tape.resets
    refuse_if_busy(tape)
    if not tape.held and (full or nodes.length - tape.young >= tape.nursery):
        reclaim(tape, full)
        # destructors have run, and other threads
        refuse_if_busy(tape)
        if tape.resets != resets or Py_REFCNT(home) == 1:
            raise StaleUnitError(f"tape {tape.number} was taken away by a destructor while a gate was recorded on it")
    reserve(nodes, nodes.length + 1)
    reserve_pool(nodes, pool)
    nodes.limit = nodes.capacity if tape.held else min(nodes.capacity, tape.young + tape.nursery, tape.full_at)
    return 0


cdef inline bint is_worth_reclaiming(Tape tape) noexcept:
    """Whether Arrays have died whose numbers take so much memory that looking at all slots is nothing beside it."""
    return tape.nbytes_dead >= SOME + SLOT_WORTH * tape.nodes.length


cdef int reclaim(Tape tape, bint full) except -1:
    """Compact the young slots, or all; and say when to do so again."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t young = 0 if full else tape.young
    cdef Py_ssize_t recorded = nodes.length - young
    compact(nodes, young)
    survivors = nodes.length - young
    if 2 * survivors > recorded:
        tape.nursery = min(2 * tape.nursery, <Py_ssize_t>NURSERY_MOST)
    elif 8 * survivors < recorded:
        tape.nursery = max(tape.nursery // 2, <Py_ssize_t>NURSERY)
    tape.young = nodes.length
    if full:    # which costs as much as there are gates, so each of these waits for as much of its own
        tape.full_at = nodes.length + max(nodes.length, tape.nursery)
        tape.leaves_at = nodes.leaf_length + max(nodes.leaf_length, nodes.length, <Py_ssize_t>NURSERY)
        tape.pool_at = nodes.pool_length + max(nodes.pool_length, nodes.length, <Py_ssize_t>SPACIOUS)
        tape.nbytes_dead = 0
        tape.nbytes_held = block_bytes(nodes)
        tape.nbytes_at = tape.nbytes_held + max(tape.nbytes_held, 8 * nodes.length, <Py_ssize_t>PLENTY)
        give_back(nodes, tape.reserved)
    return 0


cdef int check_fresh(Link* link) except -1:
    if link.key == STALE and link.tape == NULL:
        raise StaleUnitError(
            "this result belongs to a tape that has been reset; record it again, or keep its .value before the reset"
        )
    return 0


cdef PyObject* common_home(PyObject* home, Link* link, PyObject** other) except? NULL:
    """The tape for a gate whose operands so far are at home there (NULL: anywhere), and that takes one more.

    A transform's tape takes results of other tapes as constants. Two tapes neither of which does are left in `home` and
    `other`: an operand that comes later may settle it.
    """
    cdef PyObject* tape = link.tape
    check_fresh(link)
    if tape == NULL or tape == home:
        return home
    if home == NULL:
        return tape
    if (<Tape>home).captures and (<Tape>tape).captures:
        return tape if current_home() == tape else home
    if not (<Tape>home).captures and not (<Tape>tape).captures:
        other[0] = tape
        return home
    return home if (<Tape>home).captures else tape


cdef PyObject* settled_home(PyObject* home, PyObject* other, object gate) except NULL:
    """The tape at which the operands of a gate have arrived; the current one if they are all leaves."""
    if home == NULL:
        return current_home()
    if other != NULL and not (<Tape>home).captures:
        raise ValueError(
            f"{gate.name} got results of two tapes, {(<Tape>home).number} and {(<Tape>other).number}; record both on "
            "one tape, or pass the value of one of them on as a constant (.value)"
        )
    return home


cdef int32_t register_leaf(PyObject* home, Link* link) except? -2147483647:
    """Give a leaf, as it is now, a number on a tape."""
    cdef Tape tape = <Tape>home
    cdef Nodes* nodes = &tape.nodes
    cdef Leaf* leaf
    check_fresh(link)
    reserve_leaf(nodes)
    leaf = &nodes.leaf[nodes.leaf_length]
    memset(leaf, 0, sizeof(Leaf))
    leaf.link = link
    leaf.touched = UNTOUCHED
    leaf.value = link.value
    incref(link.owner)
    link.key = nodes.key
    link.slot = nodes.leaf_length
    nodes.leaf_length += 1
    if nodes.leaf_length >= tape.leaves_at:
        nodes.limit = 0
    return <int32_t>~link.slot


# ------------------------------------------------------------------------------------------------ sweep backward

cdef int begin_sweep(Tape tape, Py_ssize_t top) except -1:
    """Take the tape for this thread; nobody records on it, resets or sweeps it until `end_sweep`."""
    refuse_if_busy(tape)
    clean_adjoints(&tape.nodes, top + 1)
    tape.busy = True
    tape.user = PyThread_get_thread_ident()
    tape.nodes.limit = 0        # so that recording asks for room, and is refused
    return 0


cdef inline Py_ssize_t steps_at_a_time(const Nodes* nodes, Py_ssize_t operands) noexcept:
    """How many gates have about so many operands, on this tape."""
    return <Py_ssize_t>(operands * (nodes.length / (<double>nodes.length + nodes.pool_length)))


cdef int pull_down(Tape tape, Py_ssize_t top, Py_ssize_t* low) except -1:
    """Sweep from `top` to the lowest gate reached, which is left in low[0]."""
    cdef Nodes* nodes = &tape.nodes
    cdef Py_ssize_t i = top
    cdef Py_ssize_t patience = steps_at_a_time(nodes, PATIENCE)
    cdef Py_ssize_t stop = max(top - steps_at_a_time(nodes, SHORT), 0)
    cdef Py_ssize_t lowest
    cdef int32_t number
    i = sweep_backward(nodes, i, stop, low)
    while i >= low[0]:
        if i >= stop:
            if nodes.opcode[i] == BLOCK:
                lowest = low[0]
                low[0] = 0      # if this fails, there is no telling what it has reached
                low[0] = min(lowest, (<Record>nodes.block[block_number(nodes, i)].record).pull(tape, i))
                number = block_number(nodes, i)
                if not nodes.block[number].held and nodes.pinned == NULL:
                    drop_buffer(&nodes.block[number].buffer, nodes.block[number].size)
                i -= 1
            else:
                buffer_of(nodes, nodes.operand[i].first)
        else:
            PyErr_CheckSignals()
        stop = max(i - patience, 0)
        with nogil:
            i = sweep_backward(nodes, i, stop, low)
    return 0


cdef void end_sweep(Tape tape, Py_ssize_t top, Py_ssize_t low) noexcept:
    """Zero the scratch adjoints of a sweep, whether it was completed or not, and give the tape back."""
    cdef Nodes* nodes = &tape.nodes
    cdef int32_t k
    memset(&nodes.adjoint[low], 0, <size_t>(top - low + 1) * sizeof(double))
    while nodes.touched_leaf != LAST:
        k = nodes.touched_leaf
        nodes.touched_leaf = nodes.leaf[k].touched
        nodes.leaf[k].touched = UNTOUCHED
        nodes.leaf[k].adjoint = 0.0
        drop_buffer(&nodes.leaf[k].buffer, nodes.leaf[k].link.size)
    while nodes.touched_block != LAST:
        k = nodes.touched_block
        nodes.touched_block = nodes.block[k].touched
        nodes.block[k].touched = UNTOUCHED
        drop_buffer(&nodes.block[k].buffer, nodes.block[k].size)
    tape.busy = False


cdef int backward(Link* root, const double* pull) except -1:
    """Sweep down from a result with a pull of its size, and add to the gradients of all that it was computed from."""
    cdef Tape tape = <Tape>root.tape
    cdef Py_ssize_t top = root.slot
    cdef Py_ssize_t low = top
    begin_sweep(tape, top)
    try:
        if root.size == NUMBER:
            tape.nodes.adjoint[top] = pull[0]
        elif root.size > 0:
            memcpy(buffer_of(&tape.nodes, <int32_t>top), pull, <size_t>root.size * sizeof(double))
        pull_down(tape, top, &low)
        deliver(tape, root, top, low)
    finally:
        end_sweep(tape, top, low)
    return 0


cdef int deliver(Tape tape, Link* root, Py_ssize_t top, Py_ssize_t low) except -1:
    """Add the adjoints of a completed sweep to the gradients of leaves and of results that have a handle."""
    cdef dict arrays = {}
    each_reached(tape, root, top, low, arrays)      # what can fail, first
    for array, gradient in arrays.values():
        take_gradient(array, gradient)
    each_reached(tape, root, top, low, None)
    return 0


cdef int each_reached(Tape tape, Link* root, Py_ssize_t top, Py_ssize_t low, dict arrays) except -1:
    """Visit the handles that a sweep has reached: for their Arrays' new gradients if `arrays`, else for Units' own."""
    cdef Nodes* nodes = &tape.nodes
    cdef Link* link = root
    cdef int32_t k = nodes.touched_leaf
    if root.key == PINNED:
        link = nodes.newest
        while link != NULL and link.slot > top:
            link = link.older
    while link != NULL and link.slot >= low:
        receive(nodes, link, <int32_t>link.slot, nodes.adjoint[link.slot], arrays)
        link = link.older
    link = nodes.pinned
    while link != NULL:
        if low <= link.slot <= top:
            receive(nodes, link, <int32_t>link.slot, nodes.adjoint[link.slot], arrays)
        link = link.older
    while k != LAST:
        receive(nodes, nodes.leaf[k].link, ~k, nodes.leaf[k].adjoint, arrays)
        k = nodes.leaf[k].touched
    return 0


cdef inline int receive(Nodes* nodes, Link* link, int32_t operand, double adjoint, dict arrays) except -1:
    """Add to one handle's gradient, or note an Array and its new gradient."""
    if link.size == NUMBER:
        if arrays is None:
            link.gradient += adjoint
    elif arrays is not None and has_buffer(nodes, operand):
        note_array(<Block>link.owner, buffer_place(nodes, operand), nodes.pinned == NULL, arrays)
    return 0


cdef int note_array(Block array, double** buffer, bint alone, dict arrays) except -1:
    """Note an Array and its new gradient, which may be the buffer itself if nobody else has it."""
    _, gradient = arrays.get(id(array), (array, array.slope))
    arrays[id(array)] = array, summed_gradient(array.numbers, gradient, buffer, alone)
    return 0


cdef inline bint has_buffer(const Nodes* nodes, int32_t operand) noexcept:
    return buffer_place(nodes, operand)[0] != NULL


cdef void abandon(PyObject* home) noexcept:
    """No handle is left on a tape, so nobody can reach its gates."""
    cdef Tape tape = <Tape>home
    if tape.nodes.newest == NULL and tape.nodes.pinned == NULL and not tape.busy and not tape.held:
        empty(tape)
