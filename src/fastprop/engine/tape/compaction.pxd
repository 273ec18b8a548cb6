"""Reclaiming the slots that no live handle reaches."""
from fastprop.engine.tape.nodes cimport Nodes

cdef int compact(Nodes* nodes, Py_ssize_t start) except -1
