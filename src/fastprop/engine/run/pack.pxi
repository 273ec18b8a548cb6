"""Numbers that become an array, and an array that becomes numbers, at one point and in the lanes of a map."""
from libc.stdint cimport int32_t

from fastprop.engine.program cimport Region, Wiring


cdef class PackRegion(Region):
    """Lays its operands side by side in an array."""

    cdef readonly Py_ssize_t array
    cdef readonly tuple shape

    def __init__(self, Py_ssize_t numbers, Py_ssize_t array, tuple shape):
        Region.__init__(self, numbers)
        self.array, self.shape, self.makes = array, shape, (array,)

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return PackAtPoint(wiring)

    def in_lanes(self, Wiring wiring, run, bench):
        """Return one use of it in the lanes of a map."""
        return PackInLanes(wiring, self.array)


cdef class PackAtPoint(PointRegion):

    cdef int forward(self, PointRun run) except -1:
        cdef PackRegion region = self.wiring.region
        cdef const ArrayRef* array = &run.arrays.value[region.array]
        cdef Py_ssize_t k = 0, end, step
        cdef char* at
        run.arrays.make(region.array, region.shape, run.single)
        while k < region.numbers:
            end = k + min(region.numbers - k, evenly_from(array, -1, k, &at, &step))
            while k < end:
                put_number_at(at, run.get(self.wiring.operand[k]), run.single)
                k, at = k + 1, at + step
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef PackRegion region = self.wiring.region
        cdef const ArrayRef* adjoint = &run.arrays.adjoint[region.array]
        cdef Py_ssize_t k = 0, end, step
        cdef int32_t target
        cdef char* at
        if not run.arrays.arrived[region.array]:
            return 0
        while k < region.numbers:
            end = k + min(region.numbers - k, evenly_from(adjoint, -1, k, &at, &step))
            while k < end:
                target = self.wiring.target[k]
                if target >= 0:
                    run.put(target, run.get(target) + number_at(at, run.single))
                k, at = k + 1, at + step
        forget_made(self.wiring, run.arrays)
        return 0


cdef class UnpackRegion(Region):
    """Gives the numbers of an array; its only operand is what makes that."""

    cdef readonly Py_ssize_t array

    def __init__(self, Py_ssize_t array):
        Region.__init__(self, 1)
        self.array, self.reads = array, (array,)

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return UnpackAtPoint(wiring)

    def in_lanes(self, Wiring wiring, run, bench):
        """Return one use of it in the lanes of a map."""
        return UnpackInLanes(wiring, self.array)


cdef class UnpackAtPoint(PointRegion):

    cdef int forward(self, PointRun run) except -1:
        cdef const ArrayRef* array = &run.arrays.value[(<UnpackRegion>self.wiring.region).array]
        put_slots(run, self.wiring.result, array, -1, 0, self.wiring.results)
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef UnpackRegion region = self.wiring.region
        run.arrays.clear_adjoint(region.array)
        give_slots(run, self.wiring.pull, &run.arrays.adjoint[region.array], -1, 0, self.wiring.results, True)
        return 0


# in lanes: a number is a row, and a column of an array


cdef Column column_of(const LaneArray* array, Py_ssize_t k) noexcept nogil:
    """A number of an array, in every lane."""
    return Column(array.one.data + offset_of(&array.one, -1, k), array.lane, 0.0, False)


cdef char* read_column(LanesRun run, const LaneArray* array, Py_ssize_t k, char* row, Py_ssize_t begin,
                       Py_ssize_t count) noexcept nogil:
    """Copy a number of an array to a row."""
    cdef Column column = column_of(array, k)
    if array.lane == 0:
        fill_row(row, run.width, number_at(column.data, run.single), run.single)
    else:
        run.gather(row, &column, begin, count)
        run.repeat_last(row, count)
    return row


cdef void add_pull(LanesRun run, Bench bench, Py_ssize_t slot, const char* row, Py_ssize_t count) noexcept nogil:
    if run.is_sum(slot):
        add_up_row(<char*>bench.space.row[slot], count, row, run.single)
    else:
        add_row(bench.space.row[slot], count, row, run.single)


cdef class WithArray(LaneRegion):
    """One use of a region that has to do with one array."""

    cdef Py_ssize_t array

    def __init__(self, Wiring wiring, Py_ssize_t array):
        LaneRegion.__init__(self, wiring)
        self.array = array


cdef class PackInLanes(WithArray):

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k
        cdef int32_t slot
        cdef Column column
        cdef char* row
        for k in range(self.wiring.region.numbers):
            slot, column = self.wiring.operand[k], column_of(&bench.arrays.value[self.array], k)
            row = <char*>bench.space.row[slot]
            if run.is_number(slot):
                row = <char*>bench.space.scratch
                fill_row(row, count, run.number(<char*>bench.space.row[slot]), run.single)
            run.scatter(row, &column, begin, count)
        fill_row(bench.space.row[self.wiring.result], run.width, 0.0, run.single)
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k
        cdef char* row
        if not bench.arrays.wanted[self.array]:
            return 0
        for k in range(self.wiring.region.numbers):
            if self.wiring.target[k] >= 0:
                row = read_column(
                    run, &bench.arrays.adjoint[self.array], k, <char*>bench.space.scratch, begin,
                    count
                )
                add_pull(run, bench, self.wiring.target[k], row, count)
        return 0


cdef class UnpackInLanes(WithArray):

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k
        for k in range(self.wiring.results):
            read_column(
                run, &bench.arrays.value[self.array], k,
                <char*>bench.space.row[self.wiring.result + k], begin, count
            )
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        cdef Py_ssize_t k, a = self.array
        cdef Column column
        cdef const char* row
        if not bench.arrays.wanted[a]:
            return 0
        for k in range(self.wiring.results):
            column, row = column_of(&bench.arrays.adjoint[a], k), <const char*>bench.space.row[self.wiring.pull + k]
            if column.stride == 0:
                add_number_at(column.data, total_of_row(row, count, run.single), run.single)
            else:
                column.add = True
                run.scatter(row, &column, begin, count)
        return 0


cdef double total_of_row(const char* row, Py_ssize_t count, bint single) noexcept nogil:
    cdef Py_ssize_t k
    cdef double total = 0.0
    for k in range(count):
        total += number_at(row + k * (4 if single else 8), single)
    return total
