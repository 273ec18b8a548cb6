"""Maps: a body at every lane of some arrays."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from fastprop.engine.program.program cimport Region
from fastprop.engine.run.replay cimport Memory


cdef struct Source:         # where an input of a body comes from
    int32_t kind
    int32_t which           # operand of the region, or leaf of the body's arguments
    Py_ssize_t element      # of a leaf
    double number


cpdef enum Kind:
    NUMBER      # a constant
    OPERAND     # of the region
    LANE        # a number of a leaf, of the lane
    SAME        # a number of a leaf, the same in all lanes


cpdef enum Bound:           # what an array is that the maps in a body read or make
    LEAF        # of the body's arguments
    OUTER       # an array of what is around the map, the same in all lanes
    MADE        # in every lane, and seen outside with the lanes first
    OWN         # in every lane, and seen by nobody else


cdef class Wires:
    cdef readonly object plan
    cdef readonly Py_ssize_t inputs
    cdef readonly Py_ssize_t outputs
    cdef Memory sources
    cdef Source* source
    cdef readonly object uniform        # uint8, per input
    cdef int32_t[::1] leaf              # input -> the leaf of the body's arguments to which it belongs, or -1
    cdef int64_t[::1] element           # and which number of that it is
    cdef uint8_t[::1] covers            # leaf: whether all its numbers are inputs
    cdef readonly object given          # (kind, which, element, number) per input
    cdef readonly list stacks           # (first output, array, numbers) of each leaf of the result that is not summed


cdef class MapRegion(Region):
    cdef public str name
    cdef public Py_ssize_t lanes
    cdef public bint single
    cdef public bint summed             # over the lanes
    cdef public double scale            # of sums
    cdef public Py_ssize_t outputs      # numbers of the body's result
    cdef public object body             # the paths
    cdef public list leaf_shapes        # of the body's arguments: of one lane
    cdef public list value_arrays       # (array, shape of a lane) of each leaf of the result; array -1: it is summed
    cdef public list gradient_arrays    # (leaf, array): its gradient in every lane
    cdef public bint gradients          # it gives gradients, not values to be differentiated
    cdef public list body_arrays        # (Bound, leaf or array, shape in a lane) of the arrays of the body's only path
    cdef readonly object array          # int32: of each leaf; -1: it is numbers
    cdef readonly object axis           # int32: of its lanes; -1: the same in all
    cdef int32_t[::1] array_of
    cdef int32_t[::1] axis_of

    cdef bint is_whole(self, Py_ssize_t leaf)
