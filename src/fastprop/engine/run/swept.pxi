"""Arrays that are variables of gradients inside: each stands for another one, and has an adjoint of its own."""
from fastprop.engine.program cimport Region, Wiring


cdef class SweptArray(Region):
    """Array `array` is array `source`; its only operand is what makes that. At one point alone: no body has one."""

    cdef readonly Py_ssize_t source
    cdef readonly Py_ssize_t array

    def __init__(self, Py_ssize_t source, Py_ssize_t array):
        Region.__init__(self, 1)
        self.source, self.array, self.makes = source, array, (array,)

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return SweptAtPoint(wiring)


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
        found = run.arrays.reused(run.arrays.values, run.arrays.spare_values, gives)
        run.arrays.put(gives, run.arrays.adjoints[a])
        run.arrays.put_adjoint(a, found if found is not None and is_like(found, run.arrays.values[a]) else None)
        return 0


cdef int forget_made(Wiring wiring, Arrays arrays) except -1:
    """In a gradient inside, let the next one find no pulls on what a region makes."""
    if wiring.active_arrays is not None:
        for a in wiring.region.makes:
            arrays.arrived[<Py_ssize_t>a] = False
    return 0
