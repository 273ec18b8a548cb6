"""Uses of regions: what a program leaves to others, at one point and in lanes; and those that are Python's."""
from libc.stdint cimport int32_t

from fastprop.engine.program cimport Wiring


cdef class PointRegion:
    """One use of a region by a PointRun."""

    def __init__(self, Wiring wiring):
        self.wiring = wiring

    cdef int forward(self, PointRun run) except -1:
        raise NotImplementedError(f"{type(self).__name__} can't be run")

    cdef int backward(self, PointRun run) except -1:
        raise NotImplementedError(f"{type(self).__name__} can't be run backward")


cdef class CalledAtPoint(PointRegion):
    """A region that is Python's: its `forward` and `backward` take and give lists of numbers."""

    cdef list numbers(self, PointRun run):
        cdef int32_t slot
        found = []
        for slot in self.wiring.operand:
            found.append(run.get(slot))
        return found

    cdef int forward(self, PointRun run) except -1:
        cdef Py_ssize_t k = self.wiring.result
        for value in self.wiring.region.forward(self.numbers(run)):
            run.put(k, value)
            k += 1
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef Py_ssize_t k
        cdef int32_t target
        pulls = []
        for k in range(self.wiring.pull, self.wiring.pull + self.wiring.results):
            pulls.append(run.get(k))
        for k, part in enumerate(self.wiring.region.backward(pulls, self.numbers(run))):
            target = self.wiring.target[k]
            if target >= 0 and part != 0.0:
                run.put(target, run.get(target) + <double>part)
        return 0


cdef class LaneRegion:
    """One use of a region by a Bench: it reads and writes rows of a block of lanes."""

    def __init__(self, Wiring wiring):
        self.wiring = wiring

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        raise NotImplementedError(f"{type(self).__name__} can't be run in lanes")

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        raise NotImplementedError(f"{type(self).__name__} can't be run backward in lanes")


cdef class CalledInLanes(LaneRegion):
    """A region that is Python's: its `forward_lanes` and `backward_lanes` take and give columns, a number per lane."""

    cdef list columns(self, LanesRun run, Bench bench, Py_ssize_t count):
        cdef int32_t slot
        found = []
        for slot in self.wiring.operand:
            found.append(run.read(bench, slot, count))
        return found

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        cdef Py_ssize_t k = self.wiring.result
        for column in self.wiring.region.forward_lanes(self.columns(run, bench, count), count):
            run.write(bench, k, column)
            k += 1
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        cdef Py_ssize_t k
        pulls = []
        for k in range(self.wiring.pull, self.wiring.pull + self.wiring.results):
            pulls.append(run.read(bench, k, count))
        columns = self.columns(run, bench, count)
        for k, column in enumerate(self.wiring.region.backward_lanes(pulls, columns, count)):
            if self.wiring.target[k] >= 0:
                run.add(bench, self.wiring.target[k], column)
        return 0
