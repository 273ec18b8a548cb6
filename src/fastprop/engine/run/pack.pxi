"""Numbers that become an array, and an array that becomes numbers, in a program at one point."""
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


cdef class PackAtPoint(PointRegion):

    cdef int forward(self, PointRun run) except -1:
        cdef PackRegion region = self.wiring.region
        cdef const ArrayRef* array = &run.arrays.value[region.array]
        cdef Py_ssize_t k
        run.arrays.make(region.array, region.shape, run.single)
        for k in range(region.numbers):
            put_number_at(array.data + offset_of(array, -1, k), run.get(self.wiring.operand[k]), run.single)
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef PackRegion region = self.wiring.region
        cdef const ArrayRef* adjoint = &run.arrays.adjoint[region.array]
        cdef Py_ssize_t k
        cdef int32_t target
        if not run.arrays.arrived[region.array]:
            return 0
        for k in range(region.numbers):
            target = self.wiring.target[k]
            if target >= 0:
                run.put(target, run.get(target) + number_at(adjoint.data + offset_of(adjoint, -1, k), run.single))
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


cdef class UnpackAtPoint(PointRegion):

    cdef int forward(self, PointRun run) except -1:
        cdef const ArrayRef* array = &run.arrays.value[(<UnpackRegion>self.wiring.region).array]
        cdef Py_ssize_t k
        for k in range(self.wiring.results):
            run.put(self.wiring.result + k, number_at(array.data + offset_of(array, -1, k), run.single))
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef UnpackRegion region = self.wiring.region
        cdef const ArrayRef* adjoint = &run.arrays.adjoint[region.array]
        cdef Py_ssize_t k
        run.arrays.clear_adjoint(region.array)
        for k in range(self.wiring.results):
            add_number_at(adjoint.data + offset_of(adjoint, -1, k), run.get(self.wiring.pull + k), run.single)
        return 0
