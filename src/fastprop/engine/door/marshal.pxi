"""Marshal: what a call returns, computed once per form, and built in C at every call.

A marshal knows a result's nesting, and for every leaf where it comes from: a slot, slots in a row, an array of lanes,
or a constant. It keeps its last two results. The next call but one may write them again, if nobody could tell: an
object must be held by its container alone, and be what it was when it was built (`recycling.pxi`).
"""
import itertools
import math

import numpy as np

cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from fastprop.handles.nesting import LEAF, NONE

cnp.import_array()

cdef extern from "sys/mman.h" nogil:
    void* mmap(void* at, size_t size, int protection, int flags, int file, long offset)
    int munmap(void* at, size_t size)
    int madvise(void* at, size_t size, int advice)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_HUGEPAGE
    void* MAP_FAILED

cdef enum:
    HUGE = 1 << 21              # bytes of a huge page
    LARGE = 1 << 22             # bytes from which on an array has pages of its own
    MOST = 1 << 28              # bytes that all results kept for writing again may take together

cdef Py_ssize_t retained = 0    # bytes that they take


# Memory ---------------------------------------------------------------------------------------------------------------

cdef class Slab:
    """Pages for a large array, huge ones where the system has them; they are not touched before they are written."""

    cdef char* memory
    cdef size_t size

    def __cinit__(self, size_t size):
        cdef size_t whole = (size + HUGE - 1) // HUGE * HUGE
        cdef size_t before
        cdef void* found = mmap(NULL, whole + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if found == MAP_FAILED:
            raise MemoryError(f"no memory is left for an array of {size} bytes")
        before = (HUGE - <uintptr_t>found % HUGE) % HUGE
        self.memory, self.size = <char*>found + before, whole
        if before > 0:
            munmap(found, before)
        munmap(self.memory + whole, HUGE - before)
        madvise(self.memory, whole, MADV_HUGEPAGE)      # refused: then they are small

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.size)


cdef object new_array(int ndim, Py_ssize_t* shape, int type):
    """Return an array whose numbers are not set, of a type that takes at most 8 bytes."""
    cdef Py_ssize_t axis, size = 8
    for axis in range(ndim):
        size *= shape[axis]
    if size < LARGE:
        return new_array_of(ndim, shape, type, NULL)
    slab = Slab(<size_t>size)
    array = new_array_of(ndim, shape, type, (<Slab>slab).memory)
    incref(<PyObject*>slab)
    set_base(<PyObject*>array, <PyObject*>slab)
    return array


# What leaves of a result are ------------------------------------------------------------------------------------------

def number(slot):
    """Say that a leaf is the number in a slot."""
    return NUMBER, slot, (), np.dtype(np.float64)


def array(slot, shape, dtype=np.float64):
    """Say that a leaf is an array of the numbers in a row of slots, the first of which is given."""
    return ARRAY, slot, tuple(shape), np.dtype(dtype)


def block(index, shape=None, dtype=np.float64):
    """Say that a leaf is an array that is given, whole, when results are built; with a shape, `claim` makes it."""
    return BLOCK, index, None if shape is None else tuple(shape), np.dtype(dtype)


def constant(value):
    """Say that a leaf is the same at every call."""
    return STATIC, 0, value, None


# Marshal --------------------------------------------------------------------------------------------------------------

cdef class Marshal:
    """Results of one nesting.

    Parameters
    ----------
    nesting : Nesting
        How the results are nested.
    leaves : sequence
        For every leaf what `number`, `array`, `block` or `constant` returned.
    recycle : bool, optional
        Keep the last results, and write them again once the caller has dropped them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastprop.handles.nesting import flatten
    >>> _, nesting = flatten((0.0, {"w": 0.0, "b": 0.0}))
    >>> marshal = Marshal(nesting, [number(0), array(1, (2,)), number(3)])
    >>> marshal.build_from(np.array([1.0, 2.0, 3.0, 4.0]))
    (1.0, {'w': array([2., 3.]), 'b': 4.0})
    """

    def __init__(self, nesting, leaves, recycle=True):
        if self.parts != NULL:
            raise RuntimeError("a marshal is made once")
        if len(leaves) != nesting.size:
            raise ValueError(f"{len(leaves)} leaves are given for a nesting of {nesting.size}")
        self.kept = []
        self.parts = <Part*>PyMem_Calloc(<size_t>nodes_of(nesting), sizeof(Part))
        if self.parts == NULL:
            raise MemoryError(f"no memory is left for results of {nesting.size} leaves")
        self.recycles = recycle
        self.lay(nesting, iter(leaves))
        if self.parts.op == NUMBER or self.parts.op == STATIC:
            self.recycles = False

    def __dealloc__(self):
        global retained
        cdef Py_ssize_t at
        retained -= self.held * self.nbytes
        for at in range(self.used):
            PyMem_Free(self.parts[at].sizes)
        PyMem_Free(self.parts)

    def clear(self):
        """Let go of the results that are kept."""
        global retained
        retained -= self.held * self.nbytes
        self.held = 0
        _dropped, self.older, self.newer = (self.older, self.newer), None, None

    def build_from(self, store, blocks=None):
        """Return a result from the numbers of an array and from blocks."""
        if type(store) is not np.ndarray or store.dtype not in (np.float32, np.float64) or store.ndim != 1:
            raise TypeError("a store is a one-dimensional array of float32 or float64")
        if len(store) < self.slots or not store.flags.c_contiguous:
            raise ValueError(f"the store has {len(store)} numbers; expected {self.slots}, one after the other")
        if len(blocks or ()) < self.blocks:
            raise ValueError(f"{len(blocks or ())} blocks are given; expected {self.blocks}")
        cdef list given = None if self.blocks == 0 else blocks if type(blocks) is list else list(blocks)
        return self.build(array_data(<PyObject*>store), store.dtype == np.float32, given)

    def claim_blocks(self):
        """Return a list of arrays to be filled and given to `build_from`, which takes what comes behind them off it."""
        return self.claim()

    cdef object build(self, const void* store, bint single, list blocks):
        """Build a result; `blocks` is what `claim` returned, or a list of other arrays, or None if there are none."""
        cdef object result = None
        if not self.recycles:
            return make(self.parts, store, single, blocks)
        if self.blocks == 0:
            result = self.candidate()
        elif len(blocks) > self.blocks:
            result = blocks.pop()
        if result is None or not write_again(self.parts, <PyObject*>result, store, single, blocks):
            result = make(self.parts, store, single, blocks)
        self.keep(result)
        return result

    cdef list claim(self):
        """Return the arrays that lanes are written to, and behind them the result that they will be part of, if any."""
        cdef object result = self.candidate()
        cdef list blocks = [None] * self.blocks
        cdef Part* part
        cdef Py_ssize_t at
        if result is not None and is_sole(<PyObject*>result):
            gather(self.parts, <PyObject*>result, blocks)
        for at in range(self.used):
            part = self.parts + at
            if part.op == BLOCK and blocks[part.place] is None:
                if part.ndim < 0:
                    raise ValueError(f"block {part.place} has no shape; it must be given")
                blocks[part.place] = new_array(part.ndim, part.sizes, part.type)
        if result is not None:
            blocks.append(result)
        return blocks

    # Results that are kept

    cdef object candidate(self):
        """Take the older of the results that are kept; None if there are not two."""
        global retained
        cdef object result = self.older
        if result is not None:
            self.older = None
            self.held -= 1
            retained -= self.nbytes
        return result

    cdef int keep(self, object result) except -1:
        """Keep a result, and no more than the one before it."""
        global retained
        if not self.recycles or retained + self.nbytes > MOST:
            return 0
        if self.held < 2:
            self.held += 1
            retained += self.nbytes
        _dropped, self.older, self.newer = self.older, self.newer, result
        return 0

    # Laying out the parts

    cdef int lay(self, object nesting, object leaves) except -1:
        """Append the parts of a nesting, whose leaves come next."""
        cdef Py_ssize_t at = self.used
        cdef Part* part = self.parts + at
        if nesting is LEAF:
            return self.lay_leaf(next(leaves))
        if nesting is NONE:
            return self.lay_leaf(constant(None))
        kind, keys = nesting.kind, nesting.keys
        self.used += 1
        self.kept.append((nesting, kind, keys))
        part.kind, part.count, part.op = <PyTypeObject*>kind, len(nesting), op_of(kind)
        if part.op == ROW and kind is not list and not issubclass(kind, tuple):
            part.op = OTHER
        if part.op == DICT:
            empty = dict.fromkeys(keys)
            self.kept.append(empty)
            part.keys, part.value = items_of(<PyObject*>keys), <PyObject*>empty
        elif part.op == FIELDS:
            attributes = attributes_beside(nesting)
            self.kept.append(attributes)
            part.keys, part.value = items_of(<PyObject*>keys), <PyObject*>attributes
            if attributes is None:
                part.op, part.value = OTHER, <PyObject*>nesting
        elif part.op == OTHER:
            part.value = <PyObject*>nesting
        self.recycles = self.recycles and part.op != OTHER and part.op != FIELDS and is_recyclable(kind, keys)
        self.nbytes += 64 + part.count * (100 if part.op == DICT else 8)
        if nesting.children is None:
            given = list(itertools.islice(leaves, part.count))
            if given and (part.op == ROW or part.op == DICT) and all([leaf[0] == NUMBER for leaf in given]):
                part.op = RUN if part.op == ROW else DICT_RUN
                part.span = 1
                return self.lay_run(part, [leaf[1] for leaf in given])
            leaves = iter(given)
        for child in nesting.children or (LEAF,) * part.count:
            self.lay(child, leaves)
        part.span = self.used - at
        return 0

    cdef int lay_run(self, Part* part, list slots) except -1:
        """Note the slots of a container of numbers."""
        cdef Py_ssize_t i, slot
        part.place = slots[0]
        self.slots = max(self.slots, max(slots) + 1)
        self.nbytes += 24 * part.count
        if min(slots) < 0:
            raise ValueError(f"a leaf has the slot {min(slots)}; slots count from 0")
        if slots == list(range(part.place, part.place + part.count)):
            return 0
        part.sizes = <Py_ssize_t*>PyMem_Calloc(<size_t>part.count, sizeof(Py_ssize_t))
        if part.sizes == NULL:
            raise MemoryError(f"no memory is left for {part.count} slots")
        for i, slot in enumerate(slots):
            part.sizes[i] = slot
        return 0

    cdef int lay_leaf(self, tuple leaf) except -1:
        cdef Part* part = self.parts + self.used
        op, place, what, dtype = leaf
        self.used += 1
        part.op, part.place, part.span, part.count = op, place, 1, 1
        if part.op == STATIC:
            self.kept.append(what)
            part.value = <PyObject*>what
            return 0
        if part.place < 0:
            raise ValueError(f"a leaf has the place {part.place}; places count from 0")
        if part.op == NUMBER:
            self.nbytes += 24
        elif what is None:
            part.ndim, self.recycles = -1, False
        else:
            self.lay_shape(part, what, dtype)
        if part.op == BLOCK:
            self.blocks = max(self.blocks, part.place + 1)
        else:
            self.slots = max(self.slots, part.place + part.count)
        return 0

    cdef int lay_shape(self, Part* part, tuple shape, object dtype) except -1:
        cdef int axis
        if dtype not in TYPES:
            raise TypeError(f"a result has dtype {dtype}; expected one of {', '.join(map(str, TYPES))}")
        part.type, part.ndim, part.count = np.dtype(dtype.str).num, len(shape), math.prod(shape)
        plain = plain_dtype(part.type)
        self.kept.append(plain)
        part.value = <PyObject*>plain
        self.nbytes += 128 + part.count * dtype.itemsize
        part.sizes = <Py_ssize_t*>PyMem_Calloc(<size_t>part.ndim + 1, sizeof(Py_ssize_t))
        if part.sizes == NULL:
            raise MemoryError("no memory is left for the shape of an array")
        for axis in range(part.ndim):
            part.sizes[axis] = shape[axis]
        return 0


TYPES = tuple(map(np.dtype, ("float64", "float32", "int64", "bool")))


cdef bint is_recyclable(type kind, object keys):
    """Say whether a container can be written again: it has no ways and no attributes of its own."""
    if kind is dict:
        return all([type(key) is str or type(key) is int for key in keys])
    if kind is list or kind is tuple:
        return True
    return kind.__dictoffset__ == 0 and kind.__weakrefoffset__ == 0 and not hasattr(kind, "__del__")


cdef object attributes_beside(object nesting):
    """Return the attributes of a dataclass that are no leaves; None if its instances are copied in a way of their own.

    Else a copy is a new instance with the same attributes, as `copy.copy` makes it.
    """
    kind = nesting.kind
    ways = ("__new__", "__reduce__", "__reduce_ex__", "__getstate__")
    if hasattr(kind, "__copy__") or hasattr(kind, "__setstate__"):
        return None
    if any([getattr(kind, way) != getattr(object, way) for way in ways]):
        return None
    state = nesting.template.__reduce_ex__(4)[2] or {}
    if not isinstance(state, dict):
        return None
    return {name: value for name, value in state.items() if name not in nesting.keys}


# Building -------------------------------------------------------------------------------------------------------------

cdef inline double value_of(const void* store, bint single, Py_ssize_t slot) noexcept:
    return (<const float*>store)[slot] if single else (<const double*>store)[slot]


cdef inline double value_in(const Part* run, const void* store, bint single, Py_ssize_t i) noexcept:
    return value_of(store, single, run.place + i if run.sizes == NULL else run.sizes[i])


cdef object make(const Part* part, const void* store, bint single, list blocks):
    """Build what stands at a part."""
    if part.op == NUMBER:
        return value_of(store, single, part.place)
    if part.op == ARRAY:
        made = new_array(part.ndim, part.sizes, part.type)
        fill(part, array_data(<PyObject*>made), store, single)
        return made
    if part.op == BLOCK:
        return blocks[part.place]
    if part.op == STATIC:
        return <object>part.value
    if part.op == DICT or part.op == DICT_RUN:
        return make_dict(part, store, single, blocks)
    if part.op == OTHER:
        return (<object>part.value).build(make_children(part, store, single, blocks))
    if part.op == FIELDS:
        return make_fields(part, store, single, blocks)
    return make_row(part, store, single, blocks)


cdef object make_row(const Part* part, const void* store, bint single, list blocks):
    cdef const Part* child = part + 1
    cdef PyObject** items
    cdef Py_ssize_t i
    if part.kind == &PyList_Type:
        made = new_list(part.count)
    elif part.kind == &PyTuple_Type:
        made = new_tuple(part.count)
    else:
        made = new_tuple_of(part.kind, part.count)
    items = items_of(<PyObject*>made)
    for i in range(part.count):
        if part.op == RUN:
            items[i] = new_float(value_in(part, store, single, i))
        else:
            item = make(child, store, single, blocks)
            incref(<PyObject*>item)
            items[i] = <PyObject*>item
            child += child.span
    return made


cdef object make_dict(const Part* part, const void* store, bint single, list blocks):
    cdef const Part* child = part + 1
    cdef dict made = PyDict_Copy(part.value)
    cdef PyObject** entries = entries_of(<PyObject*>made) if part.op == DICT_RUN else NULL
    cdef object item
    cdef Py_ssize_t i
    if entries != NULL:
        for i in range(part.count):
            entries[2 * i + 1] = new_float(value_in(part, store, single, i))
            decref(Py_None)                     # which stood there
        return made
    for i in range(part.count):
        if part.op == DICT_RUN:
            item = value_in(part, store, single, i)
        else:
            item = make(child, store, single, blocks)
            child += child.span
        PyDict_SetItem(<PyObject*>made, part.keys[i], <PyObject*>item)
    return made


cdef object make_fields(const Part* part, const void* store, bint single, list blocks):
    cdef const Part* child = part + 1
    cdef Py_ssize_t i
    made = object.__new__(<type>part.kind)
    if <dict>part.value:
        made.__dict__.update(<dict>part.value)
    for i in range(part.count):
        item = make(child, store, single, blocks)
        PyObject_GenericSetAttr(<PyObject*>made, part.keys[i], <PyObject*>item)
        child += child.span
    return made


cdef list make_children(const Part* part, const void* store, bint single, list blocks):
    cdef const Part* child = part + 1
    cdef list made = []
    for _ in range(part.count):
        made.append(make(child, store, single, blocks))
        child += child.span
    return made


cdef void fill(const Part* part, void* data, const void* store, bint single) noexcept:
    """Write an array from its slots."""
    cdef Py_ssize_t i, size = 4 if single else 8
    if part.type == (NPY_FLOAT if single else NPY_DOUBLE):
        memcpy(data, <const char*>store + part.place * size, <size_t>(part.count * size))
        return
    for i in range(part.count):
        if part.type == NPY_DOUBLE:
            (<double*>data)[i] = (<const float*>store)[part.place + i]
        elif part.type == NPY_FLOAT:
            (<float*>data)[i] = <float>(<const double*>store)[part.place + i]
        elif part.type == NPY_LONG:
            (<int64_t*>data)[i] = <int64_t>value_of(store, single, part.place + i)
        else:
            (<char*>data)[i] = value_of(store, single, part.place + i) != 0.0
