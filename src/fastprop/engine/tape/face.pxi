"""What a Unit answers to NumPy, and its gates as methods: both stand in the type's dictionary, beside its operators."""
from cpython.object cimport PyObject

from fastprop.engine.kernels cimport ADD, DIVIDE, MULTIPLY, SUBTRACT, kernel

import sys

import numpy as np

from fastprop import gates
from fastprop.engine import kernels
from fastprop.handles.face import Face
from fastprop.hints import ATTRIBUTES

cdef extern from *:
    """
    static PyObject *members_of(PyObject *kind) { return ((PyTypeObject *)kind)->tp_dict; } /* borrowed */
    static void members_changed(PyObject *kind) { PyType_Modified((PyTypeObject *)kind); }
    static void take_items(PyObject *kind) { ((PyTypeObject *)kind)->tp_as_sequence->sq_item = NULL; }
    """
    void take_items(PyObject* kind) noexcept
    PyObject* members_of(PyObject* kind) noexcept
    void members_changed(PyObject* kind) noexcept
    PyObject* PyDict_GetItem(dict items, object key) noexcept      # borrowed
    object PyInstanceMethod_New(object function)

cdef dict opcode_of_ufunc = {}      # filled below


cdef object on_ufunc = None
cdef object on_function = None


def let_recorded(ufunc, function):
    """Take the functions that record NumPy's ufuncs and functions under trace."""
    global on_ufunc, on_function
    on_ufunc, on_function = ufunc, function


def recorded_ufunc(handle, ufunc, method, operands, options):
    """Record a ufunc under trace."""
    return on_ufunc(handle, ufunc, method, operands, options)


def recorded_function(handle, function, types, arguments, options):
    """Record one of NumPy's functions under trace."""
    return on_function(handle, function, types, arguments, options)


cdef bint are_plain_numbers(tuple operands):
    for x in operands:
        if type(x) is not Unit and not isinstance(x, float):
            return False
    return True


cdef object python_number(object x):
    """A np.float64 as the float that it is: its own operators would come back here."""
    return <double>x if isinstance(x, float) else x


def array_ufunc(self, ufunc, method, *operands, **options):
    """Record a ufunc's gate: of Units and floats at once, of anything else as `Face` says."""
    cdef PyObject* opcode = PyDict_GetItem(opcode_of_ufunc, ufunc)
    cdef Py_ssize_t n = len(operands)
    if opcode != NULL and n <= 2 and method == "__call__" and not options and are_plain_numbers(operands):
        if n == 1:
            return ufunc_of_one(<object>opcode, operands[0])
        return ufunc_of_two(<object>opcode, python_number(operands[0]), python_number(operands[1]))
    if opcode != NULL and 1 <= n <= 2 and method == "__call__" and not options:
        made = ufunc_of_blocks(<object>opcode, operands)
        if made is not None:
            return made
    if is_recorded(operands):
        return recorded_ufunc(self, ufunc, method, operands, options)
    return Face.__array_ufunc__(self, ufunc, method, *operands, **options)


def array_function(self, function, types, arguments, options):
    """Apply one of NumPy's functions as `Face` says; of conditions, record it."""
    if is_recorded(arguments):
        return recorded_function(self, function, types, arguments, options)
    return Face.__array_function__(self, function, types, arguments, options)


cdef object ufunc_of_blocks(int opcode, tuple operands):
    """The same of Arrays; None if there is none."""
    cdef PyObject* given[2]
    cdef bint blocks = False
    for i, x in enumerate(operands):
        given[<int>i] = <PyObject*>x
        blocks = blocks or isinstance(x, Block)
    return apply_elementwise(opcode, <int>len(operands), given) if blocks else None


cdef object ufunc_of_one(int opcode, Unit x):
    cdef double partial
    cdef double value = kernel(opcode).one(x.link.value, &partial)
    return owned(record_one(opcode, kernel(opcode).strong, <PyObject*>x, partial, value))


cdef object ufunc_of_two(int opcode, object left, object right):
    if opcode == SUBTRACT:
        return left - right
    if opcode == ADD:
        return left + right
    if opcode == MULTIPLY:
        return left * right
    if opcode == DIVIDE:
        return left / right
    return apply_kernel(opcode, [left, right])


cdef bint is_recorded(tuple operands):
    """Whether a circuit is being recorded, or some of these belong to one."""
    if nodes_of(current_home()).tracing:
        return True
    for x in operands:
        if isinstance(x, Unit) and is_traced(&(<Unit>x).link):
            return True
    return False


def no_sequence(kind):
    """Let a class of Units be no sequences to C, where NumPy would hide what `float` says of `out[i] = unit`."""
    take_items(<PyObject*>kind)


cdef int complete_unit() except -1:
    cdef dict members = <dict>members_of(<PyObject*>Unit)
    for name, opcode in kernels.opcode_of.items():
        if isinstance(getattr(np, name, None), np.ufunc):
            opcode_of_ufunc[getattr(np, name)] = opcode
    members["__array_ufunc__"] = array_ufunc
    members["__array_function__"] = array_function
    members["__format__"] = Face.__format__
    members["__reduce_ex__"] = Face.__reduce_ex__
    members["_repr_svg_"] = Face._repr_svg_
    for name in (
        "astype", "copy", "flatten", "item", "max", "mean", "min", "ndim", "prod", "reshape", "size", "sum", "tolist"
    ):
        members[name] = vars(Face)[name]
    for name in ATTRIBUTES["Unit"]:  # what others have, and it has not
        members[name] = vars(Face)[name]
    members["data"] = members["value"]      # micrograd's name
    functions = sys.modules[__name__]
    for name in gates.methods:
        members[name] = PyInstanceMethod_New(getattr(functions, name))
        if name not in vars(ArrayFace):
            setattr(Array, name, members[name])
    members_changed(<PyObject*>Unit)
    no_sequence(Unit)
    return 0


complete_unit()
