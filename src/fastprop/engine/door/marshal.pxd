"""Marshal: results built in C, from slots and from arrays that hold lanes; Slab: memory for large arrays."""
from cpython.object cimport PyObject, PyTypeObject


cdef struct Part:               # of a result's nesting, before those of its children
    int op
    int type                    # of an array or block: NumPy's number of its dtype
    int ndim
    Py_ssize_t span             # how many parts it is, with those of its children
    Py_ssize_t count            # of a container: how many children; of an array: how many numbers
    Py_ssize_t place            # the first slot; of a block, which
    Py_ssize_t* sizes           # the shape of an array; the slots of a run, unless they follow one another
    PyTypeObject* kind          # of a container
    PyObject** keys             # of a dict
    PyObject* value             # a constant; of an array, its dtype; of a dict, one with these keys; else the nesting


cdef class Marshal:
    cdef readonly Py_ssize_t slots      # how many a store must have
    cdef readonly Py_ssize_t blocks     # how many arrays are given
    cdef readonly Py_ssize_t nbytes     # that a result takes, about
    cdef readonly bint recycles
    cdef Part* parts
    cdef Py_ssize_t used
    cdef list kept                      # what parts point to
    cdef object older                   # results, which may be written again
    cdef object newer
    cdef int held                       # how many there are

    cdef object build(self, const void* store, bint single, list blocks)
    cdef list claim(self)
    cdef object candidate(self)
    cdef int keep(self, object result) except -1
    cdef int lay(self, object nesting, object leaves) except -1
    cdef int lay_leaf(self, tuple leaf) except -1
    cdef int lay_shape(self, Part* part, tuple shape, object dtype) except -1
    cdef int lay_run(self, Part* part, list slots) except -1


cdef object new_array(int ndim, Py_ssize_t* shape, int type)
