"""Uses of regions: what a program leaves to others, at one point and in lanes; and those that are Python's."""
import numpy as np
from numpy.linalg import LinAlgError

from fastprop.gates.singular import lane_of_batch
from fastprop.handles.indexing import in_lane

from libc.stdint cimport int32_t
from libc.string cimport memcpy

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
    """A region that is Python's: its `forward` and `backward` take and give rows of numbers, float64."""

    cdef object numbers(self, PointRun run):
        cdef Py_ssize_t k
        found = np.empty(self.wiring.operand.shape[0])
        cdef double[::1] number = found
        for k in range(number.shape[0]):
            number[k] = run.get(self.wiring.operand[k])
        return found

    cdef int forward(self, PointRun run) except -1:
        cdef Py_ssize_t k
        cdef const double[::1] values = self.wiring.region.forward(self.numbers(run))
        for k in range(values.shape[0]):
            run.put(self.wiring.result + k, values[k])
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef Py_ssize_t k
        cdef int32_t target
        pulls = np.empty(self.wiring.results)
        cdef double[::1] pull = pulls
        for k in range(pull.shape[0]):
            pull[k] = run.get(self.wiring.pull + k)
        cdef const double[::1] brought = self.wiring.region.backward(pulls, self.numbers(run))
        for k in range(brought.shape[0]):
            target = self.wiring.target[k]
            if target >= 0 and brought[k] != 0.0:
                run.put(target, run.get(target) + brought[k])
        return 0


cdef class LaneRegion:
    """One use of a region by a Bench: it reads and writes rows of a block of lanes."""

    def __init__(self, Wiring wiring):
        self.wiring = wiring
        made = () if wiring.active_arrays is None else wiring.region.makes
        self.made = np.array(made, np.int32)

    cdef void forget_made(self, LaneArrays arrays, Py_ssize_t begin) noexcept nogil:
        """In a gradient inside, let the next one find no pulls on what it makes."""
        cdef int32_t a
        for a in self.made:
            if arrays.inside[a]:
                arrays.forget(a, begin)

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            raise NotImplementedError(f"{type(self).__name__} can't be run in lanes")

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            raise NotImplementedError(f"{type(self).__name__} can't be run backward in lanes")


cdef class CalledInLanes(LaneRegion):
    """A region that is Python's: its `forward_lanes` and `backward_lanes` take and give columns, a number per lane."""

    cdef list columns(self, LanesRun run, Bench bench, Py_ssize_t count):
        cdef int32_t slot
        found = []
        for slot in self.wiring.operand:
            found.append(read_row(run, bench, slot, count))
        return found

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            return self.call(run, bench, begin, count)

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        with gil:
            return self.call_back(run, bench, begin, count)

    cdef int call(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        cdef Py_ssize_t k = self.wiring.result
        try:
            found = self.wiring.region.forward_lanes(self.columns(run, bench, count), count)
        except LinAlgError as error:
            raise in_lane_of(run, error, begin, range(count)) from None
        for column in found:
            write_row(run, bench, k, column)
            k += 1
        return 0

    cdef int call_back(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1:
        cdef Py_ssize_t k
        pulls = []
        for k in range(self.wiring.pull, self.wiring.pull + self.wiring.results):
            pulls.append(read_row(run, bench, k, count))
        try:
            found = self.wiring.region.backward_lanes(pulls, self.columns(run, bench, count), count)
        except LinAlgError as error:
            raise in_lane_of(run, error, begin, range(count)) from None
        for k, column in enumerate(found):
            if self.wiring.target[k] >= 0:
                add_to_row(run, bench, self.wiring.target[k], column)
        return 0


cdef object in_lane_of(LanesRun run, error, Py_ssize_t begin, lanes):
    """Return the error of a gate that got the matrices of some lanes of a block as that of the lane it is about."""
    cdef Py_ssize_t k
    raised, place = lane_of_batch(error)
    k = begin + <Py_ssize_t>lanes[place]
    while run.within is not None:
        raised = in_lane(raised, run.step) if run.step >= 0 else raised
        run = run.within
    return in_lane(raised, run.lane[k] if run.lane != NULL else k)


cdef object read_row(LanesRun run, Bench bench, Py_ssize_t slot, Py_ssize_t count):
    """Return a copy of the numbers at a slot: one per lane, or one for all."""
    cdef char* row = <char*>bench.space.row[slot]
    if slot < run.program.adjoints and run.is_number(slot):
        return run.number(row)
    found = np.empty(count, np.float32 if run.single else np.float64)
    memcpy(<void*><size_t>found.ctypes.data, row, <size_t>(count * run.size))
    return found


cdef object row_of(LanesRun run, column):
    """Return one number per lane as a row holds them: what has no float32 is infinite there."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(column, np.float32 if run.single else np.float64)


cdef int write_row(LanesRun run, Bench bench, Py_ssize_t slot, column) except -1:
    """Put one number per lane at a slot."""
    numbers = row_of(run, column)
    memcpy(bench.space.row[slot], <void*><size_t>numbers.ctypes.data, <size_t>numbers.nbytes)
    run.repeat_last(<char*>bench.space.row[slot], len(numbers))
    return 0


cdef int add_to_row(LanesRun run, Bench bench, Py_ssize_t slot, column) except -1:
    """Add a pull of one number per lane to what has arrived at a slot."""
    numbers = row_of(run, column)
    cdef void* row = bench.space.row[slot]
    if run.is_sum(slot):
        add_up_row(<char*>row, len(numbers), <void*><size_t>numbers.ctypes.data, run.single)
    else:
        add_row(row, len(numbers), <void*><size_t>numbers.ctypes.data, run.single)
    return 0
