"""Condition: what comparing traced values gives, and the gates of logic that it is recorded with."""
cimport cython
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, PyObject
from libc.stdint cimport int32_t

from fastprop.engine.tape cimport NONE, Link
from fastprop.engine.executor.instructions cimport BOTH, EITHER, EQUAL, HELD, LESS, LESS_EQUAL, NEITHER, NOT_EQUAL
from fastprop.engine.tape cimport check_fresh, current_home, make_room, operand_of
from fastprop.engine.tape cimport Trace, traced_home
from fastprop.engine.tape cimport Unit, append, captured, owned

from fastprop import gates
from fastprop.engine.bundle import LaneBlock
from fastprop.engine.integers import as_integer, bitwise, is_whole
from fastprop.engine.tape import recorded_function, recorded_ufunc
from fastprop.engine.tape import apply_gate, stop_gradient
from fastprop.gates.numbers import as_flag, as_real
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import is_block
from fastprop.handles.operands import as_plain


cdef Unit compared(int opcode, object left, object right, double value):
    """A gate that compares; what is at home on the trace that is recording is recorded at once."""
    cdef PyObject* home = current_home()
    cdef Link* x = &(<Unit>left).link if type(left) is Unit else NULL
    cdef Link* y = &(<Unit>right).link if type(right) is Unit else NULL
    cdef double p = 0.0, q = 0.0
    if x == NULL and type(left) is float:
        p = left
    elif x == NULL or x.tape != home:
        return record(opcode, left, right, value)
    if y == NULL and type(right) is float:
        q = right
    elif y == NULL or y.tape != home:
        return record(opcode, left, right, value)
    make_room(home, 0)
    return owned(append(
        home, opcode, NONE if x == NULL else <int32_t>x.slot, NONE if y == NULL else <int32_t>y.slot, p, q, value
    ))


cdef Unit record(int opcode, object left, object right, double value):
    """A gate of the executor's own on one or two Units and numbers, on the trace to which they belong."""
    cdef Link* links[2]
    cdef int32_t[2] operands
    cdef double[2] kept
    cdef PyObject* home
    cdef Py_ssize_t i
    for i, operand in enumerate((left, right)):
        links[i] = NULL
        operands[i] = NONE
        kept[i] = 0.0
        if isinstance(operand, Unit):
            links[i] = &(<Unit>operand).link
            check_fresh(links[i])
        elif operand is not None:
            kept[i] = operand
    home = traced_home(2, links)
    if home == NULL:
        home = current_home()
    for i in range(2):
        if links[i] != NULL:
            links[i] = captured(home, links[i])
    make_room(home, 0)
    for i in range(2):
        if links[i] != NULL:
            operands[i] = operand_of(home, links[i])
    return owned(append(home, opcode, operands[0], operands[1], kept[0], kept[1], value))


def compare(left, right, int op):
    """Record the comparison of a Unit with a Unit, a Condition or a number."""
    cdef double x, y
    if isinstance(right, Condition):
        right = (<Condition>right).unit
    elif type(right) is not float and not isinstance(right, Unit):
        real = as_real(right)
        right = as_flag(right) if real is None else real
        if right is None:
            return NotImplemented
    if op == Py_GT or op == Py_GE:
        left, right = right, left
        op = Py_LT if op == Py_GT else Py_LE
    x, y = number_of(left), number_of(right)
    if op == Py_LT:
        return condition(compared(LESS, left, right, x < y))
    if op == Py_LE:
        return condition(compared(LESS_EQUAL, left, right, x <= y))
    if op == Py_EQ:
        return condition(compared(EQUAL, left, right, x == y))
    return Condition(compared(NOT_EQUAL, left, right, x != y), left if type(right) is float and y == 0.0 else None)


cdef Condition condition(Unit unit):
    """A Condition that is true where a Unit is not 0."""
    cdef Condition made = Condition.__new__(Condition)
    made.unit = made.truth = unit
    return made


cdef double number_of(object x) except? -1:
    return (<Unit>x).link.value if isinstance(x, Unit) else <double>x


cdef object operand(object x):
    """A Condition's Unit, or a bool as a number; None for anything else."""
    if isinstance(x, Condition):
        return (<Condition>x).unit
    return as_flag(x)


cdef object as_number(object x):
    """A Condition's Unit; anything else as it is."""
    return (<Condition>x).unit if isinstance(x, Condition) else x


cdef object joined(int opcode, object left, object right, bint either):
    """Record `and` or `or` of conditions and bools; with integers they are numbers."""
    x = (<Condition>left).truth if isinstance(left, Condition) else operand(left)
    y = (<Condition>right).truth if isinstance(right, Condition) else operand(right)
    if x is None or y is None:
        return joined_bitwise("or" if either else "and", left, right)
    first, second = number_of(x) != 0.0, number_of(y) != 0.0
    return Condition(record(opcode, x, y, first or second if either else first and second))


cdef object joined_bitwise(str relation, object left, object right):
    """Record `and`, `or` or `xor` of a condition and integers."""
    if not isinstance(left, Condition):
        left, right = right, left
    return bitwise(relation, (<Condition>left).unit, right) if is_whole(right) else NotImplemented


@cython.no_gc       # Units are not tracked either
@cython.freelist(64)
cdef class Condition:
    """What comparing traced values gives: true or false, as may be, at every replay.

    ``fp.where``, ``&``, ``|`` and ``~`` use it without a branch; an ``if`` makes a guard: the circuit then holds for
    the branch that was taken.
    """

    cdef readonly Unit unit     # 1.0 or 0.0
    cdef Unit truth             # not 0.0 where this holds: of x != 0, x itself

    __fastprop_condition__ = True
    shape = ()

    def __init__(self, Unit unit, Unit truth=None):
        self.unit = unit
        self.truth = unit if truth is None else truth

    def __bool__(self):
        cdef bint outcome = self.unit.link.value != 0.0
        check_fresh(&self.unit.link)
        return (<Trace>self.unit.link.tape).note_guard(self.unit.link.slot, outcome)

    # the Condition may stand on either side

    def __and__(left, right):
        return joined(BOTH, left, right, False)

    def __or__(left, right):
        return joined(EITHER, left, right, True)

    def __xor__(left, right):
        x, y = operand(left), operand(right)
        if x is None or y is None:
            return joined_bitwise("xor", left, right)
        return Condition(record(NOT_EQUAL, x, y, number_of(x) != number_of(y)))

    def __invert__(self):
        return Condition(record(NEITHER, self.unit, None, self.unit.link.value == 0.0))

    # as a number it is 1 or 0

    def __richcmp__(self, other, int op):
        return compare(self.unit, other, op)

    def __hash__(self):
        raise TypeError("a Condition is true or false as may be, and can't be a key: choose by fp.where, or by an if")

    def __add__(left, right):
        return as_number(left) + as_number(right)

    def __sub__(left, right):
        return as_number(left) - as_number(right)

    def __mul__(left, right):
        return as_number(left) * as_number(right)

    def __truediv__(left, right):
        return as_number(left) / as_number(right)

    def __floordiv__(left, right):
        return as_number(left) // as_number(right)

    def __mod__(left, right):
        return as_number(left) % as_number(right)

    def __pow__(left, right, modulus):
        return as_number(left) ** as_number(right)

    def __neg__(self):
        return -self.unit

    def __pos__(self):
        return +self.unit

    def __abs__(self):
        return abs(self.unit)

    def __float__(self):
        raise TypeError("float() of a Condition would bake a constant into the circuit; use fp.where, or an if")

    def __reduce__(self):
        raise TypeError("a Condition belongs to the trace that made it and can be neither copied nor pickled")

    def __repr__(self):
        return f"<Condition: {'true' if self.unit.link.value else 'false'} where it was recorded>"

    def __array_ufunc__(self, ufunc, method, *operands, **options):
        return recorded_ufunc(self, ufunc, method, operands, options)

    def __array_function__(self, function, types, arguments, options):
        return recorded_function(self, function, types, arguments, options)

    @staticmethod
    def __fastprop_gate__(gate, given, options):
        return apply_gate(gate, given, options)


def held(x):
    """Record a number, or a block of them, through which nothing is pulled."""
    cdef list numbers = []
    if isinstance(x, Unit):
        number = record(HELD, x, None, (<Unit>x).link.value)
        return as_integer(number) if is_integer(x) else number
    if isinstance(x, LaneBlock):
        return x.mapped(held, (x,), (0,), None)     # lanes stay lanes
    if not is_block(type(x)) or gates.is_condition(x):
        return as_plain(x, stop_gradient)
    for number in x.numbers.flat:
        numbers.append(held(number))
    block = type(x).made_of(numbers, x.shape)
    return as_integer(block) if is_integer(x) else block
