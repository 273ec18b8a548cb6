"""Form: what a call's arguments look like; Reading: what was read of one call; Forms: the forms known so far."""
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint64_t


cdef enum:                      # what `match` says
    ANOTHER = 0                 # form: nothing was read
    MATCHED = 1
    HANDLES = 2                 # a Unit or Array stands where a number or array is expected

cdef enum:                      # the NumPy scalars among numbers, which decide the dtype where it isn't given
    SINGLE = 1
    DOUBLE = 2


cdef struct ArrayLeaf:          # an array of the circuit's dtype, native and aligned
    PyObject* array             # owned
    char* data
    Py_ssize_t* shape
    Py_ssize_t* strides         # in bytes
    int ndim

cdef struct Leaf:
    int op                      # NUMBER, ARRAY or STATIC
    Py_ssize_t place            # among numbers, arrays or static leaves

cdef struct Node:               # of an argument's nesting, before those of its children
    int op
    int type                    # of an array: NumPy's number of its own dtype
    int ndim
    Py_ssize_t span             # how many nodes it is, with those of its children
    Py_ssize_t count            # of a container: how many children; of an array: how many numbers
    Py_ssize_t place            # of a number, array or static leaf, or of the first in a run: see Leaf
    PyTypeObject* kind          # of a container
    PyObject** keys             # of a dict or dataclass
    PyObject* value             # of a static leaf; of a dict: which child has which key, once that was asked
    PyObject* likeness          # of a static leaf: its key, by which others are told from it
    Py_ssize_t* sizes           # the shape of an array; of a dict, with `value`: where its children's nodes are


cdef class Reading:
    """What was read of one call. Whoever matches has it alone until it is released."""

    cdef double* number         # all numbers of the arguments, in the order of the leaves
    cdef ArrayLeaf* array       # all arrays
    cdef Py_ssize_t numbers     # how many `number` has room for
    cdef Py_ssize_t arrays
    cdef Py_ssize_t held        # how many arrays it holds references to
    cdef Py_ssize_t reach       # in so many places
    cdef int scalars            # SINGLE | DOUBLE
    cdef bint busy
    cdef bint strided
    cdef int type               # that arrays are read in

    cdef int prepare(self, Form form) except -1
    cdef int hold(self, Py_ssize_t place, object array) except -1
    cdef int pin(self) except -1
    cdef void release(self) noexcept


cdef class Form:
    cdef readonly object owner          # the function's name, for errors
    cdef readonly Py_ssize_t count      # of positional arguments
    cdef readonly tuple names           # of keyword arguments
    cdef readonly list nestings         # one Nesting per argument that is not static; those of keywords come last
    cdef readonly list positions        # their positions, or names
    cdef readonly dict static           # position -> value
    cdef readonly list shapes           # one per leaf; None for a number, and for a static leaf
    cdef readonly list dtypes           # one per leaf: an array's own; None otherwise
    cdef readonly list constants        # the static leaves
    cdef readonly list handles          # which leaves are Units or Arrays
    cdef readonly object dtype          # what the circuit computes in
    cdef readonly object key
    cdef Py_ssize_t named               # how many keyword arguments
    cdef Py_ssize_t size                # how many leaves
    cdef Py_ssize_t numbers
    cdef Py_ssize_t arrays
    cdef Leaf* leaf                     # one per leaf
    cdef bint strided                   # arrays that are native and aligned are read in place whatever their strides
    cdef int type                       # NumPy's number of `dtype`
    cdef int scalars[4]                 # what it would be (SINGLE or DOUBLE), by the NumPy scalars among the numbers
    cdef Node* nodes
    cdef Py_ssize_t used
    cdef Py_ssize_t* roots              # where the nodes of each argument begin
    cdef list kept                      # what nodes point to

    cdef int match(self, PyObject* const* args, Py_ssize_t count, PyObject* names, Reading reading) except -1
    cdef int read_all(self, PyObject* const* args, PyObject* names, Reading reading) except -1
    cdef Py_ssize_t root_of(self, Py_ssize_t place, PyObject* name) except -2
    cdef int settle(self) except -1
    cdef int lay(self, object nesting, Py_ssize_t* leaf) except -1
    cdef int lay_leaf(self, Py_ssize_t leaf) except -1
    cdef Node* lay_static(self, object value, object likeness) except NULL
    cdef bint are_numbers(self, Py_ssize_t first, Py_ssize_t count)


cdef class Forms:
    cdef object make
    cdef dict table             # key -> (form, entry)
    cdef list recent            # of these, the last one first
    cdef dict quick             # digest of a call -> the one that was found
    cdef uint64_t fixed         # a bit per argument that is static in some form

    cdef tuple find_by_key(self, PyObject* const* args, Py_ssize_t count, PyObject* names)
    cdef object find(self, PyObject* const* args, Py_ssize_t count, PyObject* names, Reading reading)


cdef int op_of(type kind) except -1
cdef Py_ssize_t nodes_of(object nesting) except -1
