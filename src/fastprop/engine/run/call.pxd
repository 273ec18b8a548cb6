"""Door and Route: the way of a call through the engine."""
from libc.stdint cimport int32_t

from fastprop.engine.door cimport Form, Forms, Marshal, Reading


cdef class Route:
    cdef readonly Form form
    cdef readonly object plan
    cdef readonly object program
    cdef readonly Marshal marshal
    cdef readonly Py_ssize_t broken     # the guard that did not hold at the last call, or -1
    cdef readonly dict others           # guard -> the route that was taken last where it did not hold
    cdef bint single
    cdef bint gradient
    cdef bint has_regions               # maps, or gates of the user's own
    cdef bint captures                  # leaves that are read at every call
    cdef int32_t[::1] number_slot       # number -> its slot
    cdef Py_ssize_t first_slot          # that of the first number if the others follow, and are read as they are; or -1
    cdef int32_t[::1] array_slot        # array -> the first of its slots, or -1
    cdef int32_t[::1] array_number      # array -> its number among the program's arrays, or -1
    cdef int32_t[::1] output            # the slots of the outputs
    cdef int32_t[::1] seed              # the slots of pulls that are inputs
    cdef double[::1] pulls              # on the outputs
    cdef Py_ssize_t zeros               # slots behind the outputs, of gradients that are nothing
    cdef list units                     # (Unit, slot) that were captured
    cdef list parts                     # (Array, place, how many, slot) of captured Arrays
    cdef list wholes                    # (Array, its number) likewise, read as wholes
    cdef list constants                 # (array, its number)
    cdef list blocks                    # (array, whether its adjoint): what the result is made of beside slots
    cdef list wanted                    # arrays whose adjoints are handed out
    cdef list both                      # (array, first adjoint slot, how many): whose numbers are inputs as well
    cdef list rounded                   # (place among blocks, dtype): adjoints in another dtype
    cdef PointRun ready                 # a workspace that nobody uses, if there is one
    cdef list spare                     # more of them

    cdef object run(self, Reading reading)
    cdef object run_with(self, PointRun run, Reading reading)
    cdef PointRun another(self)
    cdef int read(self, PointRun run, Reading reading) except -1
    cdef int read_arrays(self, PointRun run, Reading reading) except -1
    cdef int read_captured(self, PointRun run) except -1
    cdef int pull_back(self, PointRun run) except -1
    cdef list given_blocks(self, PointRun run)
    cdef int let_go(self, PointRun run) except -1


cdef class Entry:
    cdef public Route route             # of the path that was taken last


cdef class Door:
    cdef void* called
    cdef readonly Forms forms
    cdef public Py_ssize_t skipped      # so many first arguments are left out
    cdef readonly dict methods          # identity of an instance -> (a weak reference to it, the Door for it alone)
    cdef Reading reading                # that nobody uses, if there is one
    cdef object __weakref__
