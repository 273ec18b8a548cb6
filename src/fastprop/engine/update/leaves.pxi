"""What parameters are to an update: nested containers of numbers and arrays, or Units and Arrays, taken apart."""
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

import numpy as np

from fastprop.engine.door cimport (
    NPY_ARRAY_ALIGNED, NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, NPY_DOUBLE, NPY_FLOAT,
    PyArray_CheckExact, PyDict_GetItemWithError, array_data, array_flags, array_is_native, array_ndim, array_shape,
    array_type, has_weak_references, in_order, is_sole, items_of, new_array_of, size_of,
)
from fastprop.gates.numbers import as_array
from fastprop.handles.nesting import is_handle, order_of
from fastprop.handles.operands import as_float

cdef enum:
    WHOLE = -1          # the size of a single number


cdef struct Leaf:       # a parameter
    Py_ssize_t size     # of an array; WHOLE for a single number
    Py_ssize_t place    # of a single number: which of them
    int type            # NPY_FLOAT or NPY_DOUBLE
    bint skipped        # in this step
    int64_t steps       # that it has made
    char* moments       # of an array
    Py_ssize_t apart    # bytes from one of them to the next
    const char* numbers     # in this step
    const char* slopes
    char* out


# ----------------------------------------------------------------------------------------------- nested containers

cdef tuple plan_of(object nesting):
    """A nesting as a tuple, which is quicker to look into: kind, keys, plans of the children or None, size, itself."""
    plans = None
    if nesting.children is not None:
        plans = []
        for child in nesting.children:
            plans.append(plan_of(child))
        plans = tuple(plans)
    return nesting.kind, nesting.keys, plans, nesting.size, nesting


cdef int take_apart(object tree, tuple plan, list leaves) except -1:
    """Append the leaves of a container that is nested as planned to a list; 1 if it is nested otherwise."""
    cdef PyObject* child
    cdef object kind = plan[0]
    cdef object plans = plan[2]
    cdef Py_ssize_t i
    if kind is None:
        leaves.append(tree)
        return 0
    if type(tree) is not kind:
        return 1
    if kind is dict:
        if len(<dict>tree) != len(<tuple>plan[1]):
            return 1
        for i, key in enumerate(<tuple>plan[1]):
            child = PyDict_GetItemWithError(<PyObject*>tree, <PyObject*>key)
            if child == NULL:
                return 1
            if plans is None:
                leaves.append(<object>child)
            elif take_apart(<object>child, (<tuple>plans)[i], leaves) != 0:
                return 1
        return 0
    if kind is not list and kind is not tuple or size_of(<PyObject*>tree) != plan[1]:
        return 1
    for i in range(size_of(<PyObject*>tree)):
        child = items_of(<PyObject*>tree)[i]
        if plans is None:
            leaves.append(<object>child)
        elif take_apart(<object>child, (<tuple>plans)[i], leaves) != 0:
            return 1
    return 0


cdef list leaves_of(object tree, tuple plan, str name):
    """The leaves of a container, which must be nested as planned: TypeError or ValueError with the place if not."""
    cdef list leaves = []
    return leaves if take_apart(tree, plan, leaves) == 0 else plan[4].leaves_of(tree, name)


cdef object put_together(tuple plan, list leaves, Py_ssize_t* next):
    """Build a container as planned from the leaves that are next in the list."""
    cdef Py_ssize_t first = next[0]
    cdef object kind = plan[0]
    cdef list children
    if kind is None:
        next[0] += 1
        return leaves[first]
    if plan[2] is None:
        next[0] += plan[3]
        children = leaves[first:next[0]]
    else:
        children = []
        for child in <tuple>plan[2]:
            children.append(put_together(child, leaves, next))
    if kind is list:
        return children
    if kind is dict:
        return dict(zip(<tuple>plan[1], children))
    return tuple(children) if kind is tuple else plan[4].build(children)


# ---------------------------------------------------------------------------------------------------- their numbers

cdef bint is_shaped(PyObject* array, object like):
    """Whether an array has the axes behind the first of another."""
    cdef Py_ssize_t axis
    if array_ndim(array) != array_ndim(<PyObject*>like) - 1:
        return False
    for axis in range(array_ndim(array)):
        if array_shape(array)[axis] != array_shape(<PyObject*>like)[axis + 1]:
            return False
    return True


cdef bint is_ready(PyObject* array, const Leaf* leaf, object like, int flags):
    """Whether an array can be read (or written) where it is."""
    cdef int wanted = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED | flags
    return (
        array_type(array) == leaf.type and array_flags(array) & wanted == wanted and array_is_native(array)
        and is_shaped(array, like)
    )


cdef object in_line(object given, const Leaf* leaf, object like, str name):
    """An array as a block of numbers: itself if it is one, else a copy; TypeError or ValueError with its name."""
    if is_handle(given):
        raise TypeError(f"{name} is {given!r:.60}; expected plain numbers, outside of circuits and transforms")
    array = as_array(given)
    dtype = np.dtype(np.float32 if leaf.type == NPY_FLOAT else np.float64)
    shape = like.shape[1:]
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is {given!r:.60} ({type(given).__name__}); expected an array of shape {shape}")
    if array.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; expected {dtype}: convert it with .astype first")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return in_order(<PyObject*>array, leaf.type)


cdef double number_of(object given, str name) except? -1:
    if type(given) is float:
        return <double>given
    if is_handle(given):
        raise TypeError(f"{name} is {given!r:.60}; expected plain numbers, outside of circuits and transforms")
    return as_float(given, name)


cdef bint is_free(PyObject* array, const Leaf* leaf, object like):
    """Whether an array that an update has made, and keeps in a list, can be written again: nobody else has it."""
    return (
        PyArray_CheckExact(array) and is_sole(array) and not has_weak_references(array)
        and is_ready(array, leaf, like, NPY_ARRAY_OWNDATA)
    )
