"""PointRun: the workspace of a program at one point, and its two sweeps."""
import numpy as np

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t

from fastprop.engine.executor.instructions cimport ENTER, HALT
from fastprop.engine.program cimport Program, Wiring, executor

cdef enum:
    SHORT = 2000        # instructions that are run without letting go of the GIL


cdef class Memory:
    """Zeroed bytes that begin on a cache line."""

    def __init__(self, Py_ssize_t nbytes):
        if nbytes < 0 or nbytes > <Py_ssize_t>(1 << 46):
            raise MemoryError(f"a workspace of {nbytes} bytes is too large")
        self.raw = PyMem_RawCalloc(<size_t>nbytes + 64, 1)      # of much, what nobody writes to is never there
        if self.raw == NULL:
            raise MemoryError(f"no memory for a workspace of {nbytes} bytes")
        self.start = <char*>((<size_t>self.raw + 63) & ~<size_t>63)
        self.nbytes = nbytes

    def __dealloc__(self):
        PyMem_RawFree(self.raw)


@cython.final
cdef class PointRun:
    """One use of a program at one point; for one thread at a time."""

    def __init__(self, Program program, bint single, Py_ssize_t arrays=0, Py_ssize_t tail=0):
        cdef Py_ssize_t i
        self.program = program
        self.single = single
        self.arrays = Arrays(arrays)
        self.size = 4 if single else 8
        self.executor = executor()
        self.run = self.executor.words_single if single else self.executor.words
        self.tail = program.slots + 16
        self.memory = Memory((self.tail + tail + 64) * self.size + (program.scratch + 64) * 8)
        self.space.base = self.memory.start
        self.space.row = NULL
        self.space.width = 1
        self.space.scratch = self.memory.start + ((self.tail + tail) * self.size + 63) // 64 * 64
        program.stream(&self.ahead, True)
        program.stream(&self.back, False)
        for i, value in enumerate(program.constants.tolist()):
            self.put(program.inputs + i, value)
        self.regions = []
        for wiring in program.regions:
            self.regions.append(wiring.region.at_point(wiring, self))

    cdef double get(self, Py_ssize_t slot) noexcept:
        return (<float*>self.space.base)[slot] if self.single else (<double*>self.space.base)[slot]

    cdef void put(self, Py_ssize_t slot, double value) noexcept:
        if self.single:
            (<float*>self.space.base)[slot] = <float>value
        else:
            (<double*>self.space.base)[slot] = value

    cdef bint is_short(self) noexcept:
        """Whether it is run without letting go of the GIL."""
        return self.ahead.length < SHORT and self.back.length < SHORT

    cdef int sweep(self, bint forward, Py_ssize_t begin) except -1:
        """Run the steps from a word on, with looks for Ctrl-C in a long program."""
        cdef Stream* stream = &self.ahead if forward else &self.back
        cdef const int32_t* at = (self.program.ahead_words.word if forward else self.program.back_words.word) + begin
        while True:
            if self.is_short():
                at = self.run(stream, &self.space, at)
            else:
                with nogil:
                    at = self.run(stream, &self.space, at)
                look_for_signals()
            if at[0] == HALT:
                return 0
            if at[0] == ENTER:
                if at[1] >= 0:
                    (<PointRegion>self.regions[at[1]]).forward(self)
                else:
                    (<PointRegion>self.regions[~at[1]]).backward(self)
                at += 2
            else:
                at += 1

    cdef Py_ssize_t broken_guard(self) noexcept:
        """The first guard that came out otherwise than when it was recorded, or -1."""
        cdef Py_ssize_t i
        for i in range(self.program.guards_count):
            if (self.get(self.program.guard[i]) != 0.0) != (self.program.guard_expected[i] != 0):
                return i
        return -1

    cdef int pull(self, const double* pulls) except -1:
        """Sweep backward from one pull per output."""
        cdef const int32_t* seed = self.program.seed
        cdef Py_ssize_t k
        if self.program.prologue:
            self.sweep(False, 0)
        for k in range(self.program.outputs_count):
            if seed[k] >= 0:
                self.put(seed[k], pulls[k] + (0.0 if self.program.seed_assigned[k] else self.get(seed[k])))
        return self.sweep(False, self.program.prologue_words)

    # for Python

    def read(self, Py_ssize_t slot):
        """Return the number at a slot."""
        return self.get(slot)

    def write(self, Py_ssize_t slot, double value):
        """Put a number at a slot."""
        self.put(slot, value)

    def forward(self, inputs):
        """Run forward at an array of inputs; returns the first broken guard, or -1."""
        cdef const double[::1] x = np.ascontiguousarray(inputs, np.float64)
        cdef Py_ssize_t i
        for i in range(x.shape[0]):
            self.put(i, x[i])
        self.sweep(True, 0)
        return self.broken_guard()

    def values(self):
        """Return the outputs."""
        cdef int32_t slot
        found = []
        for slot in self.program.outputs:
            found.append(self.get(slot))
        return found

    def backward(self, pulls):
        """Run backward from pulls on the outputs; returns the gradient of every input."""
        cdef const double[::1] along = np.ascontiguousarray(pulls, np.float64)
        cdef double[::1] gradient = np.empty(self.program.inputs)
        cdef Py_ssize_t i
        self.pull(&along[0] if along.shape[0] else NULL)
        for i in range(self.program.inputs):
            gradient[i] = self.get(self.program.adjoints + i)
        return np.asarray(gradient)
