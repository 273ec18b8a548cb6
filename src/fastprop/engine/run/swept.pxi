"""Arrays that are variables of gradients inside: each stands for another one, and has an adjoint of its own."""
from libc.string cimport memset

from fastprop.engine.program cimport Region, Wiring


cdef class SweptArray(Region):
    """Array `array` is array `source`; its only operand is what makes that."""

    cdef readonly Py_ssize_t source
    cdef readonly Py_ssize_t array

    def __init__(self, Py_ssize_t source, Py_ssize_t array):
        Region.__init__(self, 1)
        self.source, self.array, self.makes = source, array, (array,)

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return SweptAtPoint(wiring)

    def in_lanes(self, Wiring wiring, run, bench):
        """Return one use of it in the lanes of a map."""
        return SweptInLanes(wiring, self.array)


cdef class SweptAtPoint(PointRegion):

    cdef int forward(self, PointRun run) except -1:
        cdef SweptArray region = self.wiring.region
        run.arrays.put(region.array, run.arrays.values[region.source])
        run.arrays.arrived[region.array] = False
        run.put(self.wiring.result, 0.0)
        return 0

    cdef int backward(self, PointRun run) except -1:
        """Let the adjoint be the gradient, and what this was before, if nobody has it, the next adjoint."""
        cdef Py_ssize_t a = (<SweptArray>self.wiring.region).array, gives = self.wiring.gives
        run.arrays.clear_adjoint(a)
        if run.arrays.kept[gives]:
            run.arrays.values[gives][...] = run.arrays.adjoints[a]
            run.arrays.arrived[a] = False
            return 0
        found = run.arrays.reused(run.arrays.values, run.arrays.spare_values, gives)
        run.arrays.put(gives, run.arrays.adjoints[a])
        run.arrays.put_adjoint(a, found if found is not None and is_like(found, run.arrays.values[a]) else None)
        return 0


cdef class SweptInLanes(WithArray):

    cdef int forward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        bench.arrays.value[self.array] = bench.arrays.value[(<SweptArray>self.wiring.region).source]
        fill_row(bench.space.row[self.wiring.result], run.width, 0.0, run.single)
        return 0

    cdef int backward(self, LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) except -1 nogil:
        """Let the gradient be what was pulled, if anything was; nothing is left of that."""
        cdef Py_ssize_t k, a = self.array
        cdef Column column
        for k in range(bench.arrays.length(a)):
            column = column_of(&bench.arrays.value[self.wiring.gives], k)
            if bench.arrays.inside[a]:
                read_column(run, &bench.arrays.adjoint[a], k, <char*>bench.space.scratch, begin, count)
            else:
                memset(bench.space.scratch, 0, <size_t>(count * run.size))
            run.scatter(<const char*>bench.space.scratch, &column, begin, count)
        if bench.arrays.inside[a]:
            bench.arrays.forget(a, begin)
        return 0


cdef int forget_made(Wiring wiring, Arrays arrays) except -1:
    """In a gradient inside, let the next one find no pulls on what a region makes."""
    if wiring.active_arrays is not None:
        for a in wiring.region.makes:
            arrays.arrived[<Py_ssize_t>a] = False
    return 0
