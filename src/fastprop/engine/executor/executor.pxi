"""One executor, compiled once per instruction set; what it offers is in a capsule."""
from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #include <executor/executor.h>
    """
    ctypedef struct Executor:
        const char* name
    const Executor EXECUTOR

executor = PyCapsule_New(<void*>&EXECUTOR, b"fastprop.executor", NULL)
