"""BoundCall: a circuit at one point, with the arrays that it reads and writes in place."""
import numpy as np

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from fastprop.engine.executor.instructions cimport HALT, Stream
from fastprop.engine.program cimport Program


cdef enum:
    FEW = 16            # numbers that are copied one by one, as they were stored: else the copy waits for the stores


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
    cdef bint short             # the GIL is kept
    cdef bint lone              # one pull is put, and nothing before it
    cdef list kept
    cdef object before          # called first, if not None: puts what is no array
    cdef object diverged        # called with the guard that does not hold

    def __cinit__(self, PointRun run, list inputs, list values, list gradients, bint backward, before, diverged):
        cdef Py_ssize_t n = len(inputs) + len(values) + len(gradients), i
        self.run, self.before, self.diverged, self.backward = run, before, diverged, backward
        self.short = run.is_short()
        self.lone = (
            backward and run.program.outputs_count == 1 and run.program.seed[0] >= 0 and run.program.seed_assigned[0]
            and run.program.prologue == 0
        )
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
        if copy.count <= FEW and size == sizeof(double):
            for i in range(copy.count):     # at any alignment
                if into:
                    memcpy(slot + i * sizeof(double), copy.array + i * copy.stride, sizeof(double))
                else:
                    memcpy(copy.array + i * copy.stride, slot + i * sizeof(double), sizeof(double))
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

    cdef inline int sweep(self, Stream* stream, const int32_t* words, Py_ssize_t begin) except -1:
        """Run forward or backward: if it is short, by one call of the executor as a rule."""
        cdef const int32_t* at = words + begin
        if self.short:
            at = self.run.run(stream, &self.run.space, at)
            if at[0] == HALT:
                return 0
        return self.run.sweep(stream == &self.run.ahead, at - words)

    cdef inline int pull(self) except -1:
        cdef Program program = self.run.program
        if not self.lone:
            return self.run.pull(self.pulls)
        self.run.put(program.seed[0], 1.0)
        return self.sweep(&self.run.back, program.back_words.word, program.prologue_words)

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
            self.sweep(&self.run.ahead, self.run.program.ahead_words.word, 0)
            if self.run.program.guards_count:
                broken = self.run.broken_guard()
                if broken >= 0:
                    raise self.diverged(broken)
            for i in range(self.inputs, self.inputs + self.values):
                self.copy(&self.copies[i], False)
            if self.backward:
                self.pull()
                for i in range(self.inputs + self.values, self.inputs + self.values + self.gradients):
                    self.copy(&self.copies[i], False)
        finally:
            self.busy = False
