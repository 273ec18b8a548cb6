"""Arrays: where the arrays of one use of a program are, and their adjoints.

An array keeps its own memory and layout: maps read its lanes and write those of its adjoint in place.
"""
import numpy as np

cimport numpy as cnp
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memset

from fastprop.engine.door cimport new_array

cdef extern from *:
    """
    /* Whether nobody but the list that holds it can see an array, nor the memory that it is a view of. */
    static int is_free(PyObject *array) {
        PyArrayObject_fields *fields = (PyArrayObject_fields *)array;
        return Py_REFCNT(array) == 1 && fields->weakreflist == NULL && (fields->flags & NPY_ARRAY_WRITEABLE) &&
               (fields->base == NULL || Py_REFCNT(fields->base) == 1);
    }
    """
    bint is_free(PyObject* array) noexcept
    const Py_ssize_t PY_SSIZE_T_MAX
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t i) noexcept

cnp.import_array()

cdef enum:
    MOST_KEPT = 1 << 28     # bytes of an array that is kept to be written again


cdef class Arrays:
    """The arrays of one use of a program, by their numbers in its recording."""

    def __cinit__(self, Py_ssize_t count):
        self.value = <ArrayRef*>PyMem_Malloc(<size_t>(count + 1) * sizeof(ArrayRef))
        self.adjoint = <ArrayRef*>PyMem_Malloc(<size_t>(count + 1) * sizeof(ArrayRef))
        self.arrived = <uint8_t*>PyMem_Malloc(<size_t>(count + 1))
        self.kept = <uint8_t*>PyMem_Malloc(<size_t>(count + 1))
        if self.value == NULL or self.adjoint == NULL or self.arrived == NULL or self.kept == NULL:
            raise MemoryError(f"no memory for {count} arrays")
        memset(self.value, 0, <size_t>(count + 1) * sizeof(ArrayRef))
        memset(self.adjoint, 0, <size_t>(count + 1) * sizeof(ArrayRef))
        memset(self.arrived, 0, <size_t>(count + 1))
        memset(self.kept, 0, <size_t>(count + 1))
        self.count = count
        self.values, self.adjoints = [None] * count, [None] * count
        self.spare_values, self.spare_adjoints = [None] * count, [None] * count

    def __dealloc__(self):
        PyMem_Free(self.value)
        PyMem_Free(self.adjoint)
        PyMem_Free(self.arrived)
        PyMem_Free(self.kept)

    cdef int put(self, Py_ssize_t a, array) except -1:
        """Let array `a` be an ndarray of the program's dtype, which is kept; or none."""
        refer(&self.value[a], array)
        self.values[a] = array
        return 0

    cdef int put_adjoint(self, Py_ssize_t a, array) except -1:
        """Let its adjoint be an ndarray, in which nothing has arrived yet; or none."""
        refer(&self.adjoint[a], array)
        self.adjoints[a] = array
        self.arrived[a] = False
        return 0

    cdef int clear_adjoint(self, Py_ssize_t a) except -1:
        """Let what is pulled be added to the adjoint, which is made if there is none yet."""
        if not self.arrived[a]:
            if self.adjoints[a] is None:
                self.put_adjoint(a, np.zeros_like(self.values[a]))
            else:
                self.adjoints[a][...] = 0.0
            self.arrived[a] = True
        return 0

    cdef int make(self, Py_ssize_t a, tuple shape, bint single) except -1:
        """Make array `a`, for results with the lanes first, of which each number's are side by side in memory."""
        if self.kept[a]:
            return 0
        found = self.reused(self.values, self.spare_values, a)
        if found is None or not is_made_so(found, shape, single):
            found = fresh(shape, single)
        return self.put(a, found)

    cdef int renew_adjoint(self, Py_ssize_t a) except -1:
        """Let the adjoint be an array that nobody else has."""
        found = self.reused(self.adjoints, self.spare_adjoints, a)
        if found is None or not is_like(found, self.values[a]):
            found = np.empty_like(self.values[a])
        return self.put_adjoint(a, found)

    cdef object reused(self, list held, list spare, Py_ssize_t a):
        """The last array or the one before it, if nobody else has it any more; else None."""
        cdef PyObject* last = PyList_GET_ITEM(held, a)
        cdef PyObject* before = PyList_GET_ITEM(spare, a)
        if last != <PyObject*>None and is_free(last):
            return held[a]
        found = spare[a] if before != <PyObject*>None and is_free(before) else None
        spare[a] = held[a] if last != <PyObject*>None and held[a].nbytes <= MOST_KEPT else None
        return found

    cdef int begin(self) except -1:
        """Forget what has arrived."""
        memset(self.arrived, 0, <size_t>self.count)
        return 0

    # for Python

    def set(self, Py_ssize_t a, array, bint kept=False):
        """Let array `a` be an ndarray; or the one to which results go, if it is kept."""
        self.check(a)
        self.put(a, array)
        self.kept[a] = kept

    def set_adjoint(self, Py_ssize_t a, array, bint arrived=False):
        """Let its adjoint be an ndarray, in which a pull has arrived already, or nothing."""
        self.check(a)
        self.put_adjoint(a, array)
        self.arrived[a] = arrived

    def finished_adjoint(self, Py_ssize_t a):
        """Return the adjoint: zeros where nothing has arrived."""
        self.check(a)
        self.clear_adjoint(a)
        return self.adjoints[a]

    cdef int check(self, Py_ssize_t a) except -1:
        if not 0 <= a < self.count:
            raise IndexError(f"there is no array {a} among {self.count}")
        return 0


cdef bint is_like(array, other):
    """Whether an array is still of the other's shape and dtype, and of plain layout."""
    return (
        cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(other) and cnp.PyArray_NDIM(array) == cnp.PyArray_NDIM(other)
        and (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array))
        and cnp.PyArray_ISNOTSWAPPED(array)
        and memcmp(
            cnp.PyArray_DIMS(array), cnp.PyArray_DIMS(other),
            <size_t>cnp.PyArray_NDIM(array) * sizeof(Py_ssize_t)
        ) == 0
    )


cdef bint is_made_so(array, tuple shape, bint single):
    """Whether an array is still as `fresh` makes it."""
    cdef int i
    cdef int wanted = cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE
    if cnp.PyArray_NDIM(array) != len(shape) or cnp.PyArray_TYPE(array) != wanted:
        return False
    for i in range(cnp.PyArray_NDIM(array)):
        if cnp.PyArray_DIMS(array)[i] != <Py_ssize_t>shape[i]:
            return False
    return cnp.PyArray_IS_F_CONTIGUOUS(array) and cnp.PyArray_ISNOTSWAPPED(array)


cdef object fresh(tuple shape, bint single):
    """A new array in Fortran's order, whose memory is not touched."""
    cdef Py_ssize_t[32] reversed_shape
    cdef Py_ssize_t i, n = len(shape)
    for i in range(n):
        reversed_shape[i] = shape[n - 1 - i]
    array = new_array(<int>n, reversed_shape, cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE)
    return array if n < 2 else array.T


cdef int refer(ArrayRef* ref, array) except -1:
    if array is None:
        ref.data = NULL
        return 0
    ref.data = <char*>cnp.PyArray_DATA(array)
    ref.ndim = cnp.PyArray_NDIM(array)
    ref.shape = <const Py_ssize_t*>cnp.PyArray_DIMS(array)
    ref.stride = <const Py_ssize_t*>cnp.PyArray_STRIDES(array)
    return 0


cdef Py_ssize_t offset_of(const ArrayRef* array, int axis, Py_ssize_t element) noexcept nogil:
    """Where in a lane one of its numbers is, in bytes; the lanes are along an axis (-1: there are none)."""
    cdef Py_ssize_t offset = 0
    cdef int i
    for i in range(array.ndim - 1, -1, -1):
        if i != axis:
            offset += element % array.shape[i] * array.stride[i]
            element //= array.shape[i]
    return offset


cdef Py_ssize_t spacing_of(const ArrayRef* array, int axis) noexcept nogil:
    """How far apart the numbers of a lane are, in bytes, if that is the same for all of them; else UNEVEN."""
    cdef Py_ssize_t step = UNEVEN, next_one = 0
    cdef int i
    for i in range(array.ndim - 1, -1, -1):
        if i == axis or array.shape[i] == 1:
            continue
        if step == UNEVEN:
            step = array.stride[i]
        elif array.stride[i] != next_one:
            return UNEVEN
        next_one = array.shape[i] * array.stride[i]
    return step


cdef Py_ssize_t evenly_from(
    const ArrayRef* array, int axis, Py_ssize_t element, char** at, Py_ssize_t* step
) noexcept nogil:
    """Find where in a lane a number is, and how far apart those from it on lie; returns how many do so evenly."""
    cdef int i = array.ndim - 1
    at[0] = array.data + offset_of(array, axis, element)
    step[0] = spacing_of(array, axis)
    if step[0] != UNEVEN:
        return PY_SSIZE_T_MAX
    while i >= 0 and (i == axis or array.shape[i] == 1):
        i -= 1
    if i < 0:
        return 1
    step[0] = array.stride[i]
    return array.shape[i] - element % array.shape[i]


cdef void add_numbers(
    const ArrayRef* array, Py_ssize_t element, const double* more, Py_ssize_t n, bint single, bint adds
) noexcept nogil:
    """Add to so many numbers of an array, from one on; or put them there."""
    cdef Py_ssize_t step, k, count
    cdef char* at
    while n > 0:
        count = min(n, evenly_from(array, -1, element, &at, &step))
        add_row_of_numbers(at, step, more, count, single, adds)
        element, n = element + count, n - count
        more += count


cdef inline void add_row_of_numbers(
    char* at, Py_ssize_t step, const double* more, Py_ssize_t n, bint single, bint adds
) noexcept nogil:
    """Add to numbers that are so far apart, or put them there."""
    cdef Py_ssize_t k
    cdef Py_ssize_t size = sizeof(float) if single else sizeof(double)
    if step == size and <size_t>at % <size_t>size == 0:
        for k in range(n if single and adds else 0):
            (<float*>at)[k] += <float>more[k]
        for k in range(n if single and not adds else 0):
            (<float*>at)[k] = <float>more[k]
        for k in range(n if not single and adds else 0):
            (<double*>at)[k] += more[k]
        for k in range(n if not single and not adds else 0):
            (<double*>at)[k] = more[k]
        return
    for k in range(n):
        if adds:
            add_number_at(at + k * step, more[k], single)
        else:
            put_number_at(at + k * step, more[k], single)
