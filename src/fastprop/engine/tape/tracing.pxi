"""Trace: a tape that keeps what a circuit needs to know: all operands, where gates were recorded, and guards.

A trace made inside of another one (the body of a vmap) may use its results; they are inputs to it.
"""
import sys

import numpy as np

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t

from fastprop.engine.executor.instructions cimport REGION, RESULT, WITHIN
from fastprop.engine.kernels cimport POSITIVE

cdef extern from *:
    """
    static PyObject *current_frame(void) { return (PyObject *)PyEval_GetFrame(); } /* borrowed */
    static PyObject *frame_code(PyObject *frame) { return (PyObject *)PyFrame_GetCode((PyFrameObject *)frame); }
    static PyObject *frame_back(PyObject *frame) { return (PyObject *)PyFrame_GetBack((PyFrameObject *)frame); }
    static int frame_instruction(PyObject *frame) { return PyFrame_GetLasti((PyFrameObject *)frame); }
    """
    PyObject* current_frame() noexcept
    PyObject* frame_code(PyObject* frame) noexcept      # new reference
    PyObject* frame_back(PyObject* frame) noexcept      # new reference
    int frame_instruction(PyObject* frame) noexcept

# What else is recorded under trace is the business of the room above, which says so when it is imported.
cdef object apply_traced = None
cdef object compare_traced = None
cdef object hold_traced = None
cdef object differentiable_gate = None
cdef object stand_in_for = None


def let_traces(apply, compare, hold, differentiable, stand_in):
    """Take what records gates, comparisons, held and outer values under trace, and derives gates outside."""
    global apply_traced, compare_traced, hold_traced, differentiable_gate, stand_in_for
    apply_traced, compare_traced, hold_traced, differentiable_gate = apply, compare, hold, differentiable
    stand_in_for = stand_in


class OutsideError(ValueError):
    """A traced function used a result that was computed outside of it."""


cdef str PACKAGE = __file__.rpartition("engine")[0]     # its folder
cdef str REMEDY = (
    "use gates (fp.exp, fp.where …), np.stack or fp.Array instead of np.array, out = fp.at(out)[i].set(v) instead of "
    "out[i] = v, or compute what is constant before fp.trace or fp.compile; within fp.eager() there are values to look "
    "at"
)

cdef str TO_INDEX = (
    "as an index, give the function np.int64(2) instead of 2, which counts as a float, and write "
    "fp.take(table, i, axis=0) for table[i]; what is a length or an axis is named in static_argnums of fp.compile"
)
cdef str NUMPY = np.__file__.rpartition("__init__")[0]
cdef str SCIPY = NUMPY.rpartition("numpy")[0] + "scipy"      # beside it, and not imported before it is used


cdef set SHOWN = set()      # files of the package that are named like anybody's


def show_lines_of(str file):
    """Let places be lines of a file of the package, too: of a model that is written out gate by gate."""
    SHOWN.add(file)


cdef bint is_ours(code):
    """Whether code belongs to the package, and is not what a place is to name."""
    return code.co_filename.startswith(PACKAGE) and code.co_filename not in SHOWN


cdef object made_block = None      # what makes a block, on a trace, of the numbers of an Array


def let_blocks(make):
    """Say what makes a block of the numbers of an Array."""
    global made_block
    made_block = make


cdef class Trace(Tape):
    """A tape for one call of a function that shall become a circuit."""

    def __cinit__(self, *, bint captures=False, Py_ssize_t most=2147483647):
        self.nodes.tracing = True
        self.held = 1       # slots stay where they are
        self.codes, self.code_numbers, self.ours = [], {}, []
        self.guards, self.stand_ins, self.regions = [], {}, {}
        self.outcomes, self.decided, self.forced = [], [], ()

    def open_to(self, Trace parent):
        """Allow results of an outer trace as inputs; returns self."""
        self.parent = parent
        return self

    cpdef bint note_guard(self, Py_ssize_t slot, bint outcome) except -1:
        """Remember how a condition came out that decided a branch; returns how it shall come out."""
        if self.recording is None and not is_ancestor(<PyObject*>self):
            raise ValueError("a condition of a traced value was used outside of the function that was traced")
        if len(self.guards) < len(self.forced):
            outcome = self.forced[len(self.guards)]
        self.guards.append(slot)
        self.outcomes.append(outcome)
        self.decided.append(self.nodes.length)
        return outcome

    def forget_guards(self, Py_ssize_t kept):
        """Forget all guards but the first ones."""
        del self.guards[kept:], self.outcomes[kept:], self.decided[kept:]

    def _input(self, value):
        """Return a Unit that stands for an input, with its value where it is recorded."""
        return Tape._variable(self, value)

    def _variable(self, value):
        """Return the variable of a transform inside of the traced function; of a plain number, a constant."""
        if hasattr(type(value), "as_variable"):
            return value.as_variable(self)
        if getattr(value, "_tape", None) not in (None, self):
            value = stand_in_for(self, value)
        variable = Tape._variable(self, value)
        if not isinstance(value, type(variable)) and np.ndim(value) == 0:
            self.nodes.opcode[variable._slot] = POSITIVE
            self.nodes.partial[variable._slot].first = variable._recorded
        return variable

    def as_block(self, x):
        """Return a captured Array as a block of its numbers, which are read at every call, a plain array as one of
        constants; anything else as it is."""
        if isinstance(x, np.ndarray) and x.ndim > 0 and x.dtype.kind in "fiu":
            return made_block(self, x)
        if not hasattr(type(x), "__fastprop_gate__") or hasattr(type(x), "__fastprop_block__") or x.shape == ():
            return x
        return made_block(self, x)

    def _closed(self, variables, ends):
        """Say that what is recorded here may depend on anything: its numbers are read at replays alone."""
        return False

    def regions_between(self, list ends, variables):
        """Return the regions that variables reach below some slots, and how; None if one of them can't be swept."""
        return regions_between(self, ends, variables, self.recording.array_slots)

    def swept(self, list ends, list pulls, variables, dict regions, arrays):
        """Return what arrives on variables from pulls on some slots, where it is recorded, through these regions."""
        return swept_trace(self, ends, pulls, variables, regions, arrays)

    @property
    def decides(self):
        """Whether a guard is anything but the check of an index."""
        return any(self.nodes.opcode[<Py_ssize_t>slot] != WITHIN for slot in self.guards)

    @property
    def indices_hold(self):
        """Whether all indices that are checked are in range where it was recorded."""
        return all(
            self.nodes.opcode[<Py_ssize_t>slot] != WITHIN or self.nodes.value[<Py_ssize_t>slot] != 0.0
            for slot in self.guards
        )

    @property
    def uses_leaves(self):
        """Whether leaves are among its operands."""
        return self.nodes.leaf_length > 0

    def outer(self):
        """Return the keys of the parents' results that are used here, and the slots of what stands for them.

        As the results lie there, in whatever order they are used: those of a turned matrix, too, lie side by side.
        """
        cdef list slots = []
        for here in self.stand_ins.values():
            slots.append(here if type(here) is int else (<Unit>here).link.slot)
        keys = np.fromiter(self.stand_ins, np.int64, len(self.stand_ins))
        order = np.argsort(keys, kind="stable")
        return keys[order], np.array(slots, np.int32)[order]

    def outside(self, Py_ssize_t slot):
        """Return the parent's result for which a slot stands; None if it is none that does."""
        cdef Trace home
        keys, slots = self.outer()
        for key in keys[slots == slot].tolist():
            home = parent_of_key(self, key)
            return pin(<PyObject*>home, slot_of_key(key))
        return None

    def forget_units(self):
        """Let go of the Units that stand for others, which hold on to this trace."""
        self.stand_ins = {}

    def forget_regions(self):
        """Let go of the regions, which a draft holds by then."""
        self.regions = {}

    def constant(self, unit):
        """Record a number through which nothing is pulled."""
        return hold_traced(unit)

    def place(self, Py_ssize_t slot):
        """Return the source line that recorded a gate, as file:line."""
        return place_of(self, slot)

    def places(self):
        """Return what `place` knows in a form that needs no tape: code objects, and (code, instruction) per slot."""
        cdef Py_ssize_t i
        cdef int32_t[:, ::1] found = np.empty((max(self.nodes.length, 1), 2), np.int32)
        for i in range(self.nodes.length):
            found[i, 0] = self.nodes.source[i].code
            found[i, 1] = self.nodes.source[i].instruction
        return self.codes, np.asarray(found)[: self.nodes.length]


def line_of(code, instruction):
    """Return file:line of an instruction of a code object."""
    line = code.co_firstlineno
    for begin, end, number in code.co_lines():
        if begin <= instruction < end and number is not None:
            line = number
    return f"{code.co_filename}:{line}"


cdef str place_of(Trace trace, Py_ssize_t slot):
    cdef int32_t number = trace.nodes.source[slot].code
    return "" if number < 0 else line_of(trace.codes[number], trace.nodes.source[slot].instruction)


cdef int number_of(Trace trace, PyObject* code) except -1:
    """The number of a code object; sets the trace's last_…"""
    number = trace.code_numbers.get(<object>code)
    if number is None:
        number = len(trace.codes)
        trace.code_numbers[<object>code] = number
        trace.codes.append(<object>code)
        trace.ours.append(is_ours(<object>code))
    trace.last_code = code
    trace.last_number = number
    trace.last_ours = trace.ours[number]
    return 0


cdef int note_source(PyObject* home) except -1:
    """Remember, for the newest gate, the innermost frame that is not the package's own."""
    cdef Trace trace = <Trace>home
    cdef Nodes* nodes = &trace.nodes
    cdef PyObject* frame = current_frame()
    cdef PyObject* code
    cdef PyObject* back
    cdef bint owned_frame = False
    nodes.source[nodes.length - 1].code = -1
    while frame != NULL:
        code = frame_code(frame)
        if code != trace.last_code:
            number_of(trace, code)
        decref(code)        # the trace keeps it
        if not trace.last_ours:
            nodes.source[nodes.length - 1].code = trace.last_number
            nodes.source[nodes.length - 1].instruction = frame_instruction(frame)
            break
        back = frame_back(frame)
        if owned_frame:
            decref(frame)
        frame = back
        owned_frame = True
    if owned_frame and frame != NULL:
        decref(frame)
    return 0


def refuse(str what, str place="", str remedy=REMEDY):
    """Raise the error for what would make a number of a traced value; names the line that did."""
    raise TypeError(
        f"{line_here()}: {what}{' (recorded at ' + place + ')' if place else ''} was read: it would bake a constant "
        f"into the circuit; {remedy}"
    )


def refuse_gradient():
    """Raise the error for a gradient, or a sweep, of a traced value; names the line that asked."""
    raise TypeError(
        f"{line_here()}: a traced value has no gradient, and no backward(): differentiate the circuit, or the function "
        "in it (fp.grad)"
    )


cdef str line_here():
    """The line at work, as file:line, that is neither ours nor NumPy's nor SciPy's."""
    here = sys._getframe()
    while here.f_back is not None and (is_ours(here.f_code) or here.f_code.co_filename.startswith((NUMPY, SCIPY))):
        here = here.f_back
    return f"{here.f_code.co_filename}:{here.f_lineno}"


cdef int refuse_to_bake(str what, const Link* link) except -1:
    """Raise if a handle is traced: reading it would bake a constant in."""
    if not is_traced(link):
        return 0
    refuse(f"the {what} of a traced Unit", place_of(<Trace>link.tape, link.slot))


cdef bint is_traced(const Link* link) noexcept:
    return link.tape != NULL and nodes_of(link.tape).tracing


cdef PyObject* traced_home(Py_ssize_t n, Link** links) except? NULL:
    """The innermost of the traces that operands belong to; NULL if they belong to none."""
    cdef PyObject* home = NULL
    cdef PyObject* stranger = NULL
    cdef Py_ssize_t i
    for i in range(n):
        if links[i] == NULL or links[i].tape == NULL:
            continue
        if not nodes_of(links[i].tape).tracing:
            stranger = links[i].tape
        elif home == NULL or is_within(<Trace>links[i].tape, home):
            home = links[i].tape
    if home != NULL:
        home = inward_home(home)
    if stranger != NULL and (home != NULL or nodes_of(current_home()).tracing):
        refuse_outside()
    for i in range(n):
        if home != NULL and links[i] != NULL and links[i].tape != NULL and links[i].tape != home:
            if not is_within(<Trace>home, links[i].tape):
                raise ValueError(
                    "a gate got results of two traces, neither of which was made in the other; a traced value must not "
                    "leave the function that is traced"
                )
    return home


def refuse_outside():
    """Raise the error for a result of no trace, which a traced function uses."""
    raise OutsideError(
        "a traced function uses a result that was computed outside of it, which would be a constant; pass it as an "
        "argument, make it a leaf (fp.Unit), which is read at every call, or take its .value if that is meant"
    )


cdef PyObject* inward_home(PyObject* home) except NULL:
    """The trace that is recording, if it is one inside of `home` that keeps everything to itself."""
    cdef PyObject* current = current_home()
    if nodes_of(current).tracing and (<Trace>current).inward and is_within(<Trace>current, home):
        return current
    return home


cdef bint is_ancestor(PyObject* trace) except -1:
    """Whether what is recorded now is recorded inside of a trace."""
    cdef PyObject* home = current_home()
    return nodes_of(home).tracing and is_within(<Trace>home, trace)


cdef inline int64_t key_of(Trace trace, int64_t slot) noexcept:
    """What a result of a trace is known by inside of others."""
    return <int64_t>trace.number << 32 | slot


cdef inline int32_t slot_of_key(int64_t key) noexcept:
    return <int32_t>(key & 0x7FFFFFFF)


cdef Trace parent_of_key(Trace trace, int64_t key):
    """The trace around another one, or that itself, to which the result with a key belongs."""
    while trace is not None and <int64_t>trace.number != key >> 32:
        trace = trace.parent
    if trace is None:
        raise OutsideError("a traced function uses a result of a function that it is no part of")
    return trace


def belongs(unit, Trace trace):
    """Return whether a Unit may be used in a trace: a leaf, or a result of it or of a trace around it."""
    tape = unit._tape
    return tape is None or isinstance(tape, Trace) and is_within(trace, <PyObject*>tape)


cdef bint is_within(Trace trace, PyObject* outer):
    """Whether a trace was made inside of another one (or is it)."""
    while trace is not None:
        if <PyObject*>trace == outer:
            return True
        trace = trace.parent
    return False
