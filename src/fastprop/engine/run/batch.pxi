"""Batch: a program at many lanes, and before it what is the same in all of them.

What depends on uniform inputs alone is a program of its own, run once forward before the lanes, and once backward after
them, from the sums of what the lanes pull.
"""
import numpy as np

cimport cython
from libc.string cimport memset

from fastprop.threads import run_on_threads


THREAD_WORTHY = 200_000     # lanes times gates from which on a second thread pays


@cython.final
cdef class Batch:
    """One use of a draft's programs for lanes; `run` says what is read and written.

    Parameters
    ----------
    plan : Plan
        Of the draft.
    gradient : bool
        Whether it shall run backward, too.
    uniform, wanted : array of bool
        The inputs that are one number for all lanes, and those whose gradients are wanted.
    lanes : int
        How many there are at first.
    sums_values : bool
        Whether the outputs are added up.
    arrays : set of int
        The arrays that maps in the draft get from outside and whose gradients are wanted.
    rolls : bool
        Whether sums may become products: not those of a part that others go on from, as these decide by them.
    sums : int
        So many outputs, the first ones, are added up and nothing else.
    """

    def __init__(
        self, plan, bint gradient, uniform, wanted, Py_ssize_t lanes, bint sums_values, arrays=frozenset(),
        bint rolls=True, Py_ssize_t sums=0
    ):
        program, before, taken = plan.lanes(gradient, uniform, wanted, arrays, rolls, sums)
        self.run = LanesRun(program, plan.single, lanes, sums_values)
        self.before = None if before is None else PointRun(before, plan.single)
        self.gradient = gradient
        self.uniform, self.wanted = uniform, wanted
        self.inputs = len(uniform)
        self.taken = taken
        reads = np.zeros(self.inputs, np.uint8)
        reads[taken] = 1
        self.taken_below = counts_before(reads)
        self.gates = min(plan.work, 1 << 30)
        outside = np.array(uniform, np.bool_) & np.array(wanted, np.bool_)
        outside[program.sums_begin : program.sums_end] = False
        self.sums_are_whole = self.before is None and not np.any(outside)
        self.pulls = Memory((len(program.uniform) - self.inputs + 1) * <Py_ssize_t>sizeof(double))

    cdef int put(self, Py_ssize_t i, double value) except -1:
        """Give the value of a uniform input."""
        self.run.set_number(i, value)
        if self.takes_before(i, 1):
            self.before.put(self.taken_below[i], value)
        return 0

    cdef bint takes_before(self, Py_ssize_t i, Py_ssize_t count) noexcept:
        """Whether what is the same in all lanes is computed from some of these inputs."""
        return self.taken_below[i + count] > self.taken_below[i]

    cdef int put_before(self, Py_ssize_t i, const char* at, Py_ssize_t count) noexcept:
        """Give the values of uniform inputs that lie side by side to what is computed from them."""
        cdef Py_ssize_t k
        for k in range(self.taken_below[i], self.taken_below[i + count]):
            self.before.put(k, number_at(at + (self.taken[k] - i) * self.run.size, self.run.single))
        return 0

    cdef int open(self) except -1:
        """Compute what is the same in all lanes."""
        cdef Py_ssize_t k
        cdef PointRun before = self.before
        if before is not None:
            before.sweep(True, 0)
            for k in range(before.program.outputs_count):
                self.run.set_number(self.inputs + k, before.get(before.program.output[k]))
        return 0

    cdef int sweep(self) except -1:
        """Run all lanes."""
        cdef Py_ssize_t most_threads
        self.open()
        self.run.prepare()
        take_outer_pulls(self.run)
        most_threads = 1 + self.run.lanes * self.gates // <Py_ssize_t>THREAD_WORTHY
        if most_threads == 1 or self.run.program.ordered:
            self.run.work(self.gradient, True)
        else:
            run_on_threads(self.work, self.run.stop, most_threads)
        return 0

    cdef double value_sum(self, Py_ssize_t k) noexcept:
        """The sum of an output over all lanes."""
        return value_sum(self.run, k)

    cdef int gradient_sums(self, double* sums) except -1:
        """Write the summed gradient of every uniform input that is wanted, and anything for the others."""
        cdef Py_ssize_t k
        cdef bint any_wanted = False
        cdef PointRun before = self.before
        cdef double* pulls = <double*>self.pulls.start
        memset(sums, 0, <size_t>self.inputs * sizeof(double))
        gradient_sums(self.run, sums, self.inputs)
        for k in range(self.taken.shape[0]):
            any_wanted = any_wanted or self.wanted[self.taken[k]]
        if not any_wanted:
            return 0
        for k in range(before.program.outputs_count):
            pulls[k] = gradient_sum(self.run, self.inputs + k)
        before.pull(pulls)
        for k in range(self.taken.shape[0]):
            sums[self.taken[k]] += before.get(before.program.adjoints + k)
        return 0

    # for Python

    def work(self, bint main):
        """Run strands until none is left."""
        self.run.work(self.gradient, main)

    def set_number(self, Py_ssize_t i, double value):
        """Give the value of a uniform input."""
        self.put(i, value)

    def __call__(self):
        """Run all lanes."""
        self.sweep()

    def total(self, Py_ssize_t k):
        """Return the sum of an output over all lanes."""
        return self.value_sum(k)

    def gradients(self):
        """Return the summed gradients of the uniform inputs that are wanted; 0.0 for the others."""
        cdef double[::1] sums = np.zeros(max(self.inputs, 1))
        self.gradient_sums(&sums[0])
        return np.where(np.asarray(self.uniform) & np.asarray(self.wanted), np.asarray(sums)[: self.inputs], 0.0)
