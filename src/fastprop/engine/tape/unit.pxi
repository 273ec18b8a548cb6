"""Unit, and the recording of gates on numbers.

A Unit is a handle on one real number: a leaf, which owns its value and its gradient and belongs to no tape, or a
result, which names a slot of a tape. The operators here are the engine's hottest path: one type check, one append to
the tape's arrays, one handle from the list of spare ones.
"""
from decimal import Decimal
from numbers import Real

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, PyObject
from libc.stdint cimport int32_t, uint8_t

from fastprop.engine.kernels cimport (
    ABSOLUTE, ADD, DIVIDE, FLOOR_DIVIDE, MULTIPLY, NEGATIVE, POSITIVE, POWER, REMAINDER, SUBTRACT, Kernel, add_gate,
    binary, divide_gate, kernel, multiply_gate, negative_gate, subtract_gate,
)
import numpy as np

from fastprop import gates
from fastprop.gates.numbers import number as plain_operand
from fastprop.handles.face import Face
from fastprop.handles.operands import as_float, prepare

cdef extern from "Python.h":
    ctypedef void (*destructor)(PyObject*) noexcept
    ctypedef struct PyTypeObject:
        destructor tp_dealloc
        Py_ssize_t tp_weaklistoffset
    void set_count "Py_SET_REFCNT"(PyObject* item, Py_ssize_t count) noexcept
    PyTypeObject* type_of "Py_TYPE"(PyObject* item) noexcept
    PyObject* new_reference "Py_NewRef"(object item)
    object PyObject_RichCompare(object left, object right, int op)

cdef list rows = list(gates.table.values())     # by opcode
cdef dict opcodes = {row: opcode for opcode, row in enumerate(rows)}
cdef tuple NUMBERS = (float, int, Real, Decimal, np.integer, np.floating)
cdef tuple KNOWN = (bool, complex, str, bytes, list, tuple, np.ndarray, np.generic, *NUMBERS)


# ------------------------------------------------------------------------------------------------- spare handles

cdef enum:
    SPARES = 1024

cdef PyObject* spare[SPARES]
cdef Py_ssize_t spares = 0
cdef destructor destroy


cdef inline bint is_plain(PyObject* unit) noexcept:
    """Whether nothing but a tape knows of this dying Unit."""
    cdef PyTypeObject* kind = type_of(unit)
    return (
        kind == <PyTypeObject*>Unit
        and (<Unit>unit).label == NULL
        and (<PyObject**>(<char*>unit + kind.tp_weaklistoffset))[0] == NULL
    )


cdef void keep_or_destroy(PyObject* unit) noexcept:
    """Unit's destructor: the memory of most is kept for the next handle, which saves half of the cost of a gate."""
    global spares
    cdef bint kept = is_plain(unit)
    if kept:
        detach(link_of(unit))       # first: the last handle of a tape takes the tape's leaves with it
    if kept and spares < SPARES:
        spare[spares] = unit
        spares += 1
    else:
        destroy(unit)


cdef inline PyObject* new_unit(double value) except NULL:
    """A new reference to a Unit that is on no tape yet."""
    global spares
    cdef PyObject* unit
    if spares > 0:
        spares -= 1
        unit = spare[spares]
        set_count(unit, 1)
    else:
        unit = new_reference(Unit.__new__(Unit))
    link_of(unit).value = value
    link_of(unit).gradient = 0.0
    return unit


# ----------------------------------------------------------------------------------------------------- recording

cdef PyObject* append(
    PyObject* home, int opcode, int32_t first, int32_t second, double p, double q, double value
) except NULL:
    """Record a gate for which room was made; returns a new reference to its handle."""
    cdef PyObject* unit
    if nodes_of(home).strict:
        check_number(home, opcode, first, second, p, q, value)
    unit = new_unit(value)
    attach(home, link_of(unit), unit, write(home, opcode, first, second, p, q, value), False)
    if nodes_of(home).tracing:
        note_source(home)
    return unit


cdef inline PyObject* record_two(int opcode, PyObject* a, PyObject* b, double p, double q, double value) except NULL:
    """A gate of two Units, both of which it pulls."""
    cdef Link* left = inward(link_of(a))
    cdef Link* right = inward(link_of(b))
    cdef PyObject* home = left.tape
    cdef Link* links[2]
    cdef double[2] values
    cdef double[2] partials
    cdef int32_t first, second
    if home == NULL:
        home = right.tape if right.tape != NULL else current_home()
    elif right.tape != NULL and right.tape != home:
        links[0], links[1] = left, right
        values[0], values[1] = left.value, right.value
        partials[0], partials[1] = p, q
        return record(opcode, 2, links, values, partials, value)
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    first = operand_of(home, left)
    second = operand_of(home, right)
    return append(home, opcode, first, second, p, q, value)


cdef PyObject* record_one(int opcode, bint strong, PyObject* unit, double partial, double value) except NULL:
    """A gate of one Unit; a strong one with a partial of zero pulls nothing."""
    cdef Link* link = inward(link_of(unit))
    cdef PyObject* home = link.tape if link.tape != NULL else current_home()
    cdef int32_t operand
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    operand = operand_of(home, link)
    if strong and partial == 0.0 and not nodes_of(home).tracing:
        return append(home, opcode, NONE, NONE, link.value, 0.0, value)
    return append(home, opcode, operand, NONE, partial, 0.0, value)


cdef inline PyObject* record_left(
    int opcode, PyObject* unit, double partial, double constant, double value
) except NULL:
    """A gate of a Unit and, on its right, a constant."""
    cdef Link* link = inward(link_of(unit))
    cdef PyObject* home = link.tape if link.tape != NULL else current_home()
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    return append(home, opcode, operand_of(home, link), NONE, partial, constant, value)


cdef inline PyObject* record_right(
    int opcode, double constant, PyObject* unit, double partial, double value
) except NULL:
    """A gate of a constant and, on its right, a Unit."""
    cdef Link* link = inward(link_of(unit))
    cdef PyObject* home = link.tape if link.tape != NULL else current_home()
    if nodes_of(home).length >= nodes_of(home).limit:
        make_room(home, 0)
    return append(home, opcode, NONE, operand_of(home, link), constant, partial, value)


cdef PyObject* record(
    int opcode, Py_ssize_t n, Link** links, double* values, double* partials, double value
) except NULL:
    """A gate of any number of Units and constants (NULL); an operand that is not pulled keeps its value as partial."""
    cdef bint strong = kernel(opcode).strong
    cdef bint pooled = kernel(opcode).arity not in (1, 2)
    cdef PyObject* trace = traced_home(n, links)
    cdef PyObject* home = NULL
    cdef PyObject* other = NULL
    cdef Nodes* nodes
    cdef int32_t operand
    cdef int32_t[2] few
    cdef int32_t* operands
    cdef double* kept
    cdef Py_ssize_t i
    for i in range(n):
        if links[i] == NULL:
            continue
        if trace != NULL:
            check_fresh(links[i])
            links[i] = captured(trace, links[i])
        else:
            home = common_home(home, links[i], &other)
    home = settled_home(home, other, rows[opcode]) if trace == NULL else trace
    nodes = nodes_of(home)
    strong = strong and not nodes.tracing
    if nodes.length >= nodes.limit or (pooled and nodes.pool_length + n > nodes.pool_capacity):
        make_room(home, n if pooled else 0)
    operands = &nodes.pool_operand[nodes.pool_length] if pooled else few
    kept = &nodes.pool_partial[nodes.pool_length] if pooled else partials
    few[1] = NONE
    for i in range(n):
        operand = NONE
        if links[i] != NULL and (links[i].tape == NULL or links[i].tape == home):
            operand = operand_of(home, links[i])
        if strong and partials[i] == 0.0:
            operand = NONE
        operands[i] = operand
        kept[i] = values[i] if operand == NONE else partials[i]
    if not pooled:
        return append(home, opcode, few[0], few[1], kept[0], kept[1] if n == 2 else 0.0, value)
    unit = append(home, POOLED | opcode, <int32_t>nodes.pool_length, <int32_t>n, 0.0, 0.0, value)
    nodes.pool_length += n
    return unit


cdef double as_number(object x, str what) except? -1:
    """A real number as float() rounds it, or a TypeError that names it."""
    if type(x) is float:
        return <double>x
    return as_float(x, what)


cdef object apply_kernel(int opcode, list operands):
    """A gate of the table on Units and numbers, flattened if it is an n-ary one."""
    cdef Py_ssize_t n = len(operands)
    cdef const Kernel* gate = kernel(opcode)
    cdef Link** links = <Link**>PyMem_Malloc(<size_t>max(n, 1) * (sizeof(Link*) + 2 * sizeof(double)))
    if links == NULL:
        raise MemoryError(f"no memory for a gate with {n} operands")
    cdef double* values = <double*>(links + n)
    cdef double* partials = values + n
    cdef double value
    cdef bint recorded = False
    cdef Py_ssize_t i
    try:
        for i in range(n):
            links[i] = NULL
            if isinstance(operands[i], Unit):
                links[i] = &(<Unit>operands[i]).link
                check_fresh(links[i])
                values[i] = links[i].value
                recorded = True
            else:
                values[i] = read_operand(opcode, i, operands[i])
        value = evaluate(gate, n, values, partials)
        return owned(record(opcode, n, links, values, partials, value)) if recorded else value
    finally:
        PyMem_Free(links)


cdef double read_operand(int opcode, Py_ssize_t i, object operand) except? -1:
    if isinstance(operand, float):
        return <double>operand
    return plain_operand(rows[opcode], i, operand)


cdef double evaluate(const Kernel* gate, Py_ssize_t n, double* values, double* partials) except? -1:
    """A kernel's value and partials."""
    if gate.arity == 1:
        return gate.one(values[0], &partials[0])
    if gate.arity == 2:
        return gate.two(values[0], values[1], &partials[0], &partials[1])
    if gate.arity == 3:
        return gate.three(values[0], values[1], values[2], &partials[0], &partials[1], &partials[2])
    return gate.many(n, values, partials)


cdef Unit pin(PyObject* home, Py_ssize_t slot):
    """A handle on any slot of a number, out of order."""
    cdef PyObject* unit = new_unit(nodes_of(home).value[slot])
    attach(home, link_of(unit), unit, slot, True)
    return owned(unit)


# -------------------------------------------------------------------------------------------------------- handle

cdef inline object operate(int opcode, binary gate, object left, object right):
    """An operator: plain Units and floats are recorded at once, anything else goes the slow way."""
    cdef double x, y, value, p, q
    if type(left) is Unit:
        x = link_of(<PyObject*>left).value
        if type(right) is Unit:
            value = gate(x, link_of(<PyObject*>right).value, &p, &q)
            return owned(record_two(opcode, <PyObject*>left, <PyObject*>right, p, q, value))
        if type(right) is float:
            y = <double>right
            value = gate(x, y, &p, &q)
            return owned(record_left(opcode, <PyObject*>left, p, y, value))
    elif type(left) is float and type(right) is Unit:
        x = <double>left
        value = gate(x, link_of(<PyObject*>right).value, &p, &q)
        return owned(record_right(opcode, x, <PyObject*>right, q, value))
    if isinstance(left, Block) or isinstance(right, Block):
        return operate_on_blocks(opcode, left, right)
    return apply_slowly(opcode, left, right)


cdef object apply_slowly(int opcode, object left, object right):
    """An operator on anything but plain Units and floats; types that nobody knows may know what to do with a Unit."""
    other = right if isinstance(left, Unit) else left
    if type(other) is int or isinstance(other, (float, Unit)):
        return apply_kernel(opcode, [left, right])
    if other is None or isinstance(other, KNOWN) or hasattr(type(other), "__array__"):
        return apply_gate(rows[opcode], (left, right), {})
    return NotImplemented


cdef bint is_traced_unit(object x):
    return isinstance(x, Unit) and is_traced(&(<Unit>x).link)


cdef object compare_exactly(double x, object other, int op):
    """As Python compares a float with any other number: exactly."""
    return PyObject_RichCompare(x, other, op)


def apply_gate(gate, tuple operands, dict options):
    """Record a gate on handles and numbers: where `gates.apply` hands a call over to this engine."""
    if nodes_of(current_home()).tracing:
        return apply_traced(gate, operands, options)
    if not options and gate in opcodes and gate.arity != gates.SEQUENCE and are_single(operands):
        return apply_kernel(opcodes[gate], list(operands))
    made = None if options else apply_ours(gate, operands)
    if made is not None:
        return made
    prepared, flat = prepare(gate, operands, options)
    if prepared in opcodes and are_single(flat):
        return apply_kernel(opcodes[prepared], list(flat))
    return apply_block(prepared, flat)


cdef bint are_single(tuple operands):
    """Whether all operands are Units or numbers, not blocks."""
    for operand in operands:
        if not isinstance(operand, Unit) and type(operand) is not float and getattr(operand, "shape", ()) != ():
            return False
        if isinstance(operand, (list, tuple)):
            return False
    return True


cdef str gate_name(const Link* link):
    """What computed a result, for an error."""
    cdef uint8_t opcode = nodes_of(link.tape).opcode[link.slot]
    if opcode < ELEMENT and opcode & ~POOLED < len(rows):
        return rows[opcode & ~POOLED].name
    return {ELEMENT: "getitem", BLOCK: "a Gate"}.get(opcode, "a transform")


cdef class Unit:
    """Unit(value, grad=0.0, *, name=None)
--

    A handle on one real number: a leaf that you make, or the result of a gate.

    Parameters
    ----------
    value : float
        Any real number, as ``float()`` rounds it. A leaf's can be assigned, a result's can't.
    grad : float, optional
        What gradients are added to.
    name : str, optional
        For `repr` and for pictures.

    Examples
    --------
    >>> import fastprop as fp
    >>> x, y, z = fp.Unit(-2.0), fp.Unit(5.0), fp.Unit(-4.0)
    >>> f = (x + y) * z
    >>> f.backward()
    >>> f.value, x.grad
    (-12.0, -4.0)
    """

    __array_priority__ = 1000.0
    shape = ()

    def __cinit__(self, *_, **__):
        self.link.owner = <PyObject*>self
        self.link.size = NUMBER

    def __init__(self, value, grad=0.0, *, name=None):
        cdef double number = as_number(value, "Unit: value")
        cdef double gradient = as_number(grad, "Unit: grad")
        if self.link.tape != NULL or self.link.key == STALE:
            raise ValueError("a result can't be made a leaf; Unit(result.value) is a new one")
        self.link.value = number
        self.link.gradient = gradient
        self.link.key = NO_TAPE         # gates keep the value that they were recorded with
        self.name = name

    def __dealloc__(self):
        detach(&self.link)
        if self.label != NULL:
            decref(self.label)

    @property
    def value(self):
        """The number. A leaf's can be assigned, a result's can't."""
        check_fresh(&self.link)
        refuse_to_bake("value", &self.link)
        return self.link.value

    @value.setter
    def value(self, value):
        check_fresh(&self.link)
        if self.link.tape != NULL:
            raise ValueError(
                f"the value of a result can't be assigned: {gate_name(&self.link)} computed it; "
                "assign to leaves and compute again"
            )
        self.link.value = as_number(value, "value")
        self.link.key = NO_TAPE

    @property
    def _recorded(self):
        """The value, also under trace, for what runs while it is recorded."""
        check_fresh(&self.link)
        return self.link.value

    @property
    def _slot(self):
        """Where a result is on its tape."""
        check_fresh(&self.link)
        return self.link.slot

    @property
    def grad(self):
        """The sum of what sweeps backward have brought; it can be assigned."""
        check_fresh(&self.link)
        if is_traced(&self.link):
            refuse_gradient()
        return self.link.gradient

    @grad.setter
    def grad(self, grad):
        check_fresh(&self.link)
        self.link.gradient = as_number(grad, "grad")

    @property
    def name(self):
        """A name to show, or None."""
        return None if self.label == NULL else <object>self.label

    @name.setter
    def name(self, name):
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is {name!r:.60} ({type(name).__name__}); expected a str or None")
        cdef PyObject* old = self.label
        self.label = NULL if name is None else new_reference(name)
        if old != NULL:
            decref(old)

    @property
    def _tape(self):
        """The tape of a result, None for a leaf."""
        check_fresh(&self.link)
        return None if self.link.tape == NULL else <object>self.link.tape

    def backward(self, pull=1.0):
        """Sweep backward from here: add to `.grad` of everything that this was computed from.

        Parameters
        ----------
        pull : float, optional
            The gradient to put on this number.

        Examples
        --------
        >>> import fastprop as fp
        >>> x = fp.Unit(3.0)
        >>> (x * x).backward(10.0)
        >>> x.grad
        60.0
        """
        cdef double seed = as_number(pull, "the pull")
        check_fresh(&self.link)
        if is_traced(&self.link):
            refuse_gradient()
        if self.link.tape == NULL:
            self.link.gradient += seed
            return
        backward(&self.link, &seed)

    def __add__(left, right):
        return operate(ADD, add_gate, left, right)

    def __sub__(left, right):
        return operate(SUBTRACT, subtract_gate, left, right)

    def __mul__(left, right):
        return operate(MULTIPLY, multiply_gate, left, right)

    def __truediv__(left, right):
        return operate(DIVIDE, divide_gate, left, right)

    def __pow__(left, right, modulus):
        cdef double y, p, value
        if modulus is not None:
            raise TypeError("pow() of Units takes two operands; a modulus is for integers")
        if type(left) is Unit and (type(right) is float or type(right) is int):
            y = right
            value = kernel(POWER).two(link_of(<PyObject*>left).value, y, &p, NULL)     # no logarithm
            return owned(record_left(POWER, <PyObject*>left, p, y, value))
        return apply_slowly(POWER, left, right)

    def __mod__(left, right):
        return apply_slowly(REMAINDER, left, right)

    def __floordiv__(left, right):
        return apply_slowly(FLOOR_DIVIDE, left, right)

    def __divmod__(left, right):
        return left // right, left % right

    def __neg__(self):
        cdef double value, partial
        if type(self) is Unit:
            value = negative_gate(self.link.value, &partial)
            return owned(record_one(NEGATIVE, False, <PyObject*>self, partial, value))
        return apply_kernel(NEGATIVE, [self])

    def __pos__(self):
        return apply_kernel(POSITIVE, [self])

    def __abs__(self):
        return apply_kernel(ABSOLUTE, [self])

    def __richcmp__(self, other, int op):
        cdef double x, y
        check_fresh(&self.link)
        if is_traced(&self.link) or nodes_of(current_home()).tracing or is_traced_unit(other):
            return compare_traced(self, other, op)
        x = self.link.value
        if type(other) is float:
            y = <double>other
        elif isinstance(other, Unit):
            check_fresh(&(<Unit>other).link)
            y = (<Unit>other).link.value
        elif isinstance(other, NUMBERS):
            return compare_exactly(x, other, op)
        else:
            return NotImplemented
        if op == Py_LT:
            return x < y
        if op == Py_LE:
            return x <= y
        if op == Py_GT:
            return x > y
        if op == Py_GE:
            return x >= y
        return x == y if op == Py_EQ else x != y

    def __hash__(self):
        return <Py_hash_t>(<size_t><PyObject*>self >> 4)

    # What would lose the derivative, or means nothing: Face says so.

    def __bool__(self):
        return Face.__bool__(self)

    def __round__(self, ndigits=None):
        return Face.__round__(self, ndigits)

    def __int__(self):
        refuse_to_bake("value", &self.link)
        return Face.__int__(self)

    def __float__(self):
        refuse_to_bake("value", &self.link)
        return Face.__float__(self)

    def __index__(self):
        if is_traced(&self.link):
            refuse("a traced number, as an index or a length,", remedy=TO_INDEX)
        return Face.__index__(self)

    def __array__(self, dtype=None, copy=None):
        if is_traced(&self.link) and self.link.value.is_integer():      # NumPy asks so for what it shall index by
            refuse("the value of a traced Unit, by NumPy,", remedy=f"{REMEDY}; {TO_INDEX}")
        refuse_to_bake("value", &self.link)
        return Face.__array__(self, dtype, copy)

    def __getitem__(self, index):
        return Face.__getitem__(self, index)

    def __iter__(self):
        return Face.__iter__(self)

    def __repr__(self):
        if self.link.tape == NULL and self.link.key == STALE:
            return "<stale Unit: its tape was reset>"
        if is_traced(&self.link):
            return "<traced Unit: recorded, no value>"      # the one that it has there is of another call
        name = f", name={self.name!r}" if self.label != NULL else ""
        return f"Unit({self.link.value!r}, grad={self.link.gradient!r}{name})"

    @staticmethod
    def __fastprop_gate__(gate, operands, options):
        return apply_gate(gate, operands, options)


destroy = (<PyTypeObject*>Unit).tp_dealloc
(<PyTypeObject*>Unit).tp_dealloc = keep_or_destroy
