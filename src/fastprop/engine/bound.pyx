"""BoundCall: a circuit at one point, with the arrays that it reads and writes in place."""
import numpy as np

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

from fastprop.engine.replay cimport PointRun


cdef enum:
    SHORT = 2000        # instructions


cdef struct Copy:               # a caller's array, and the slots that it is copied from or to
    char* array
    Py_ssize_t count
    Py_ssize_t slot
    Py_ssize_t stride           # in bytes


cdef class BoundCall:
    """Copies inputs in, runs forward and backward, copies values and gradients out; allocates nothing."""

    cdef PointRun run
    cdef Copy* copies
    cdef Py_ssize_t inputs
    cdef Py_ssize_t values
    cdef Py_ssize_t gradients
    cdef double* pulls
    cdef bint busy
    cdef bint backward
    cdef bint short             # nothing that the executor leaves to others, and no look for Ctrl-C
    cdef list kept
    cdef object before          # called first, if not None: puts what is no array
    cdef object diverged        # called with the guard that does not hold

    def __cinit__(self, PointRun run, list inputs, list values, list gradients, bint backward, before, diverged):
        cdef Py_ssize_t n = len(inputs) + len(values) + len(gradients), i
        self.run, self.before, self.diverged, self.backward = run, before, diverged, backward
        self.short = run.ahead.length < SHORT and not run.program.outside
        self.kept = []
        self.copies = <Copy*>PyMem_Malloc(<size_t>(n + 1) * sizeof(Copy))
        self.pulls = <double*>PyMem_Malloc(<size_t>(run.program.outputs_count + 1) * sizeof(double))
        if self.copies == NULL or self.pulls == NULL:
            raise MemoryError("no memory to bind a circuit")
        self.inputs, self.values, self.gradients = len(inputs), len(values), len(gradients)
        for i in range(run.program.outputs_count):
            self.pulls[i] = 1.0
        for i, (slot, array) in enumerate(inputs + values + gradients):
            flat = array if array.ndim == 1 else array.reshape(-1)
            if array.size and not np.shares_memory(flat, array):
                raise ValueError("a bound array must be contiguous or have one axis")
            self.kept.append(flat)
            self.copies[i].array = <char*><size_t>flat.ctypes.data
            self.copies[i].count = flat.size
            self.copies[i].slot = slot
            self.copies[i].stride = flat.strides[0] if flat.size > 1 else run.size

    def __dealloc__(self):
        PyMem_Free(self.copies)
        PyMem_Free(self.pulls)

    cdef inline void copy(self, Copy* copy, bint into) noexcept nogil:
        cdef Py_ssize_t i, size = self.run.size
        cdef char* slot = <char*>self.run.space.base + copy.slot * size
        if copy.count == 1 and size == 8:
            if into:
                memcpy(slot, copy.array, sizeof(double))       # at any alignment
            else:
                memcpy(copy.array, slot, sizeof(double))
            return
        if copy.stride == size:
            if into:
                memcpy(slot, copy.array, <size_t>(copy.count * size))
            else:
                memcpy(copy.array, slot, <size_t>(copy.count * size))
            return
        for i in range(copy.count):
            if into:
                memcpy(slot + i * size, copy.array + i * copy.stride, <size_t>size)
            else:
                memcpy(copy.array + i * copy.stride, slot + i * size, <size_t>size)

    def __call__(self):
        """Run once."""
        cdef Py_ssize_t i, broken
        if self.busy:
            raise RuntimeError("this bound circuit is in use by another thread; bind one for each thread")
        self.busy = True
        try:
            for i in range(self.inputs):
                self.copy(&self.copies[i], True)
            if self.before is not None:
                self.before(self.run)
            if self.short:
                self.run.executor.forward(&self.run.ahead, &self.run.space, 0, self.run.ahead.length, self.run.single)
            else:
                self.run.sweep(True, 0)
            if self.run.program.guards_count:
                broken = self.run.broken_guard()
                if broken >= 0:
                    raise self.diverged(broken)
            for i in range(self.inputs, self.inputs + self.values):
                self.copy(&self.copies[i], False)
            if self.backward:
                self.run.pull(self.pulls)
                for i in range(self.inputs + self.values, self.inputs + self.values + self.gradients):
                    self.copy(&self.copies[i], False)
        finally:
            self.busy = False
