"""The gates as functions, one built-in per row of the table; and what acts on handles whatever their gate."""
from cpython.mem cimport PyMem_Calloc
from cpython.object cimport PyObject

from fastprop.engine.kernels cimport Kernel, kernel

from fastprop import gates
from fastprop.handles.indexing import is_integer
from fastprop.handles.operands import as_plain

cdef extern from "Python.h":
    ctypedef object (*PyCFunction)(PyObject* self, PyObject* x)
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    enum:
        METH_O
        METH_FASTCALL
        METH_KEYWORDS
    object PyCFunction_NewEx(PyMethodDef* method, object self, object module)


cdef extern from *:
    """
    #ifndef FASTPROP_BUILD_KIND
    #define FASTPROP_BUILD_KIND "unknown"
    #endif
    static void rename_type(PyObject *kind, const char *name) { ((PyTypeObject *)kind)->tp_name = name; }
    """
    const char* FASTPROP_BUILD_KIND
    void rename_type(object kind, const char* name)


cdef class Applied:
    """What a gate function carries: its gate."""
    cdef int opcode
    cdef bint strong
    cdef Py_ssize_t sequences       # that an n-ary gate takes
    cdef bint plain_first           # the first operand is no handle (where, polygamma)
    cdef const Kernel* kernel
    cdef object row
    cdef bytes name
    cdef bytes doc

    # So that a gate function can be pickled: as the attribute that carries its name.

    def __getattr__(self, name):
        if name == self.row.name:
            return globals()[name]
        raise AttributeError(name)

    def __reduce__(self):
        return carried_by, (self.row.name,)


rename_type(Applied, "fastprop.gate")   # as Python names what has got too many operands: fastprop.gate.sin()


def carried_by(name):
    """What the gate function of that name carries."""
    return globals()[name].__self__


cdef object call_one(PyObject* self, PyObject* x):
    """A gate of one operand: a Unit or a float at once, anything else through the row."""
    cdef const Kernel* gate = (<Applied>self).kernel
    cdef double value, partial
    if type_of(x) == <PyTypeObject*>Unit:
        value = gate.one(link_of(x).value, &partial)
        return owned(record_one((<Applied>self).opcode, (<Applied>self).strong, x, partial, value))
    if type_of(x) == <PyTypeObject*>float:
        return gate.one(<double><object>x, &partial)
    if type_of(x) == <PyTypeObject*>Array:
        return operate_on_block((<Applied>self).opcode, <object>x)
    return (<Applied>self).row(<object>x)


cdef object call_many(PyObject* self, PyObject** arguments, Py_ssize_t count, PyObject* keywords):
    """A gate of several operands or of a sequence: Units and floats at once, anything else through the row."""
    cdef Py_ssize_t i
    cdef Applied applied = <Applied>self
    cdef list operands = []
    cdef list flat = operands
    cdef dict options = {}
    for i in range(count):
        operands.append(<object>arguments[i])
    if keywords == NULL:
        if applied.kernel.arity < 0:
            flat = flattened(operands, applied.sequences)
        if are_ready(flat, applied.kernel.arity) and not (applied.plain_first and type(flat[0]) is Unit):
            return apply_kernel(applied.opcode, flat)
    else:
        for i, name in enumerate(<tuple>keywords):
            options[name] = <object>arguments[count + i]
    return applied.row(*operands, **options)


cdef list flattened(list operands, Py_ssize_t sequences):
    """The items of one list or tuple, or of two of equal length; nothing if they are anything else."""
    cdef list flat = []
    for operand in operands:
        if type(operand) is not list and type(operand) is not tuple or len(operand) != len(operands[0]):
            return []
        flat.extend(operand)
    return flat if len(operands) == sequences else []


cdef bint are_ready(list operands, int arity):
    """Whether these are as many Units and floats as a kernel takes."""
    if len(operands) != arity and arity > 0 or not operands:
        return False
    for operand in operands:
        if type(operand) is not Unit and type(operand) is not float:
            return False
    return True


cdef str documentation(object row):
    """A gate function's signature, as inspect reads it, and its docstring in numpydoc's form."""
    cdef list parameters = row.parameters
    cdef list names = []
    for parameter in parameters:
        if parameter != "/":
            names.append(parameter.partition("=")[0])
    return DOCUMENTATION.format(
        name=row.name,
        signature=", ".join(parameters),
        doc=row.doc,
        parameters=", ".join(names[:1] if "axis" in names else names),
        kind="sequence of numbers and Units, Array or array_like" if row.arity == gates.SEQUENCE
        else "float, Unit, Array or array_like",
        rest=AXES if "axis" in names else "",
        strong=STRONG if row.strong else "",
    )


DOCUMENTATION = """{name}({signature})
--

{doc}

Parameters
----------
{parameters} : {kind}
    Real numbers, without unit, and bools, which count as 1.0 and 0.0; arrays broadcast as NumPy's do.{rest}

Returns
-------
float, ndarray, Unit or Array
    Plain numbers of plain numbers, an ndarray of arrays; recorded, a Unit or an Array, if there is one among the
    operands.

Raises
------
TypeError
    If an operand is complex, a string, a masked array, or anything else but a real number.
ValueError
    If Units of two tapes meet, or shapes do not fit.

Notes
-----
The value and the partials stand in the gate's row in `fastprop.gates`; derivatives are within 4 units in the last
place.{strong}"""

AXES = """
axis : int or tuple of int, optional
    Of an array: along which axes; all by default.
keepdims : bool, optional
    Whether the result keeps these axes, with length 1."""

STRONG = """ Where its partial is zero, nothing is pulled, whatever the pull."""


cdef object function_of(object row, int opcode):
    """A built-in function for a row; Python keeps a pointer to its definition, which is never freed."""
    cdef Applied applied = Applied()
    cdef PyMethodDef* method = <PyMethodDef*>PyMem_Calloc(1, sizeof(PyMethodDef))
    if method == NULL:
        raise MemoryError("no memory for the gate functions")
    applied.opcode = opcode
    applied.kernel = kernel(opcode)
    applied.strong = applied.kernel.strong
    applied.plain_first = row.arity > 0 and row.partials[0] is None
    applied.sequences = 2 if row is gates.dot else 1
    applied.row = row
    applied.name = row.name.encode()
    applied.doc = documentation(row).encode()
    method.ml_name = applied.name
    method.ml_doc = applied.doc
    if row.arity == 1:
        method.ml_meth, method.ml_flags = call_one, METH_O
    else:
        method.ml_meth, method.ml_flags = <PyCFunction>call_many, METH_FASTCALL | METH_KEYWORDS
    return PyCFunction_NewEx(method, applied, "fastprop")


globals().update({row.name: function_of(row, opcode) for opcode, row in enumerate(gates.table.values())})

__all__ = ["Array", "Tape", "Unit", "current_tape", "stop_gradient", "zero_grad"]


def zero_grad(units):
    """Set the gradients of handles to zero.

    Parameters
    ----------
    units : Unit, Array, iterable of them, or Module
        Nothing is changed if one of them is anything else.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Unit(3.0, grad=1.0)
    >>> fp.zero_grad([x])
    >>> x.grad
    0.0
    """
    if link_of_any(units) != NULL:
        handles = [units]
    elif callable(getattr(units, "parameters", None)):
        handles = list(units.parameters())
    elif not hasattr(units, "__iter__"):
        kind = type(units).__name__
        raise TypeError(f"zero_grad: got {units!r:.60} ({kind}); expected Units and Arrays, in a list, or a Module")
    else:
        handles = list(units)
    for i, handle in enumerate(handles):
        if link_of_any(handle) == NULL:
            kind = type(handle).__name__
            raise TypeError(f"zero_grad: item {i} is {handle!r:.60} ({kind}); expected Units and Arrays")
        check_fresh(link_of_any(handle))
    for handle in handles:
        handle.grad = 0.0


def stop_gradient(x):
    """A leaf with the value of `x`, through which nothing is pulled: a constant, as far as `x` is concerned.

    Parameters
    ----------
    x : Unit, Array or number, or nested containers of them
        Plain numbers and arrays are returned as they are, truth values and None, too.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Unit(3.0)
    >>> (fp.stop_gradient(x) * x).backward()
    >>> x.grad
    3.0
    """
    if nodes_of(current_home()).tracing:
        if isinstance(x, Array) and (<Block>x).link.tape == NULL:
            x = (<Trace>current_home()).as_block(x)     # a captured leaf's numbers are read at every call
        if not isinstance(x, Array):
            return hold_traced(x)
    if link_of_any(x) == NULL:
        return as_plain(x, stop_gradient)
    if is_integer(x):
        return np.asarray(x.value).astype(np.int64)[()]     # which index on, as plain ones do
    return Unit(x.value) if isinstance(x, Unit) else Array(x.value)


def build_kind():
    """How the engine was compiled: release, check or coverage."""
    return FASTPROP_BUILD_KIND.decode()
