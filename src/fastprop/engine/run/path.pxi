"""A map's body, path by path: where the numbers of a path come from and go to, and its programs at many lanes."""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from fastprop.engine.program cimport Region, Wiring


cdef struct Source:         # where an input of a body comes from
    int32_t kind
    int32_t which           # operand of the region, or leaf of the body's arguments
    Py_ssize_t element      # of a leaf
    double number


cpdef enum Kind:
    NUMBER      # a constant
    OPERAND     # of the region
    LANE        # a number of a leaf, of the lane
    SAME        # a number of a leaf, the same in all lanes
    COLUMN      # what another part of the body hands down


cdef class Wires:
    """Where the inputs of a body come from, or of a part of it, which hands down what it computes."""

    cdef readonly object plan
    cdef readonly bint is_part
    cdef readonly Py_ssize_t inputs
    cdef readonly Py_ssize_t outputs
    cdef Memory sources
    cdef Source* source
    cdef readonly object uniform        # uint8, per input
    cdef int32_t[::1] leaf              # input -> the leaf of the body's arguments to which it belongs, or -1
    cdef int64_t[::1] element           # and which number of that it is
    cdef uint8_t[::1] covers            # leaf: whether all its numbers are inputs
    cdef readonly object given          # (kind, which, element, number) per input

    def __init__(self, plan, list given, list places, covers, bint is_part=False):
        cdef Py_ssize_t i
        self.is_part = is_part
        self.plan, self.given = plan, given
        self.inputs, self.outputs = len(given), len(plan.draft.outputs)
        self.sources = Memory(self.inputs * <Py_ssize_t>sizeof(Source))
        self.source = <Source*>self.sources.start
        uniform = np.zeros(self.inputs, np.uint8)
        for i, (kind, which, element, number) in enumerate(given):
            self.source[i].kind, self.source[i].which = kind, which
            self.source[i].element, self.source[i].number = element, number
            uniform[i] = kind != LANE and kind != COLUMN
        self.leaf, self.element = np.full(self.inputs, -1, np.int32), np.zeros(self.inputs, np.int64)
        for i, (leaf, element) in enumerate(places):
            self.leaf[i], self.element[i] = leaf, element
        self.uniform = uniform
        self.covers = np.array(covers, np.uint8)


cdef class MapRegion(Region):
    """What is to be done at every lane; how its paths are recorded is for those who derive from it."""

    cdef public str name
    cdef public Py_ssize_t lanes
    cdef public bint single
    cdef public bint summed             # over the lanes
    cdef public double scale            # of sums
    cdef public Py_ssize_t outputs      # numbers of the body's result
    cdef public object body             # the paths
    cdef public object sole             # the path that all lanes take, if nothing is ever decided; else None
    cdef public list leaf_shapes        # of the body's arguments: of one lane
    cdef public list value_arrays       # (array, shape of a lane) of each leaf of the result
    cdef public list gradient_arrays    # (leaf, array): its gradient in every lane
    cdef public bint gradients          # it gives gradients, not values to be differentiated
    cdef public list first_input        # of each leaf of the body's arguments
    cdef readonly object array          # int32: of each leaf; -1: it is numbers
    cdef readonly object axis           # int32: of its lanes; -1: the same in all
    cdef int32_t[::1] array_of
    cdef int32_t[::1] axis_of

    def __init__(self, str name, Py_ssize_t lanes, bint single):
        Region.__init__(self)
        self.name, self.lanes, self.single, self.scale = name, lanes, single, 1.0
        self.value_arrays, self.gradient_arrays = [], []

    def take_leaves(self, list shapes, list arrays, list axes):
        """Say what the leaves of the body's arguments are: shapes, arrays (-1: numbers) and lane axes (-1: same)."""
        self.leaf_shapes = shapes
        self.array, self.axis = np.array(arrays, np.int32), np.array(axes, np.int32)
        self.array_of, self.axis_of = self.array, self.axis

    def seal(self, Py_ssize_t numbers):
        """Say of how many operands it is a function; nothing can be added any more."""
        self.numbers = numbers
        self.takes_pulls = self.summed
        self.reads = tuple({int(a) for a in self.array if a >= 0})
        self.makes = tuple(a for a, _ in (*self.value_arrays, *[(a, k) for k, a in self.gradient_arrays]))

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return MapAtPoint(wiring, run)

    def in_lanes(self, wiring, run, bench):
        """Return one use of it in the lanes of another map."""
        raise NotImplementedError("a map in lanes")


cdef class Path:
    """One path of a map's body: its programs, once they are wanted, and their lanes."""

    cdef MapRun owner
    cdef Wires wires
    cdef Batch ahead            # forward alone
    cdef Batch both
    cdef Memory spread          # uniform numbers that have a gradient in every lane
    cdef Memory totals          # gradients of uniform inputs

    def __init__(self, MapRun owner, Wires wires):
        self.owner, self.wires = owner, wires

    cdef Batch make(self, bint gradient):
        cdef MapRegion region = self.owner.region
        cdef Source* source
        cdef Batch batch
        cdef Py_ssize_t i
        uniform = self.wires.uniform.copy()
        wanted = np.zeros(self.wires.inputs, np.uint8)
        differentiated = {leaf for leaf, _ in region.gradient_arrays}
        for i in range(self.wires.inputs if gradient else 0):
            source = &self.wires.source[i]
            if source.kind == COLUMN:
                wanted[i] = True
            elif region.gradients:
                wanted[i] = source.kind != NUMBER and self.wires.leaf[i] in differentiated
                uniform[i] = uniform[i] and not wanted[i]
            elif source.kind == OPERAND:
                wanted[i] = self.owner.wanted[source.which]
            elif source.kind != NUMBER:
                wanted[i] = self.owner.wanted_leaf[source.which]
        batch = Batch(
            self.wires.plan, gradient, uniform, wanted, region.lanes, region.summed and not self.wires.is_part
        )
        self.spread = Memory(self.wires.inputs * batch.run.size)
        self.totals = Memory(self.wires.inputs * <Py_ssize_t>sizeof(double))
        for i in range(self.wires.inputs):
            if self.wires.source[i].kind == NUMBER:
                batch.put(i, self.wires.source[i].number)
        return batch

    cdef Batch batch(self, bint both):
        """The programs for running forward alone, or forward and backward."""
        if both and self.both is None:
            self.both = self.make(True)
        elif not both and self.ahead is None:
            self.ahead = self.make(False)
        return self.both if both else self.ahead

    cdef Batch opened(self, bint both, bint adds):
        """The same, which reads and writes the arrays; `adds`: gradients of lanes are added to what is there."""
        cdef Batch batch = self.batch(both)
        self.read(batch)
        if not self.wires.is_part:
            self.aim_values(batch)
        if both:
            self.aim_gradients(batch, adds)
        return batch

    cdef int sweep(self, bint both, lanes) except -1:
        """Run the lanes that take this path (None: all)."""
        cdef Batch batch = self.swept(both, lanes)
        if batch.run.diverged >= 0:
            raise self.owner.divergence(self.wires, batch.run.broken, batch.run.diverged)
        return 0

    cdef Batch swept(self, bint both, lanes):
        """Run lanes; what they bring is collected if none of them goes another way."""
        cdef Batch batch = self.batch(both)
        cdef const int64_t[::1] index
        if lanes is None:
            batch.run.take_lanes(self.owner.region.lanes, NULL)
        else:
            index = lanes
            batch.run.take_lanes(index.shape[0], &index[0] if index.shape[0] else NULL)
        self.opened(both, lanes is not None)
        batch.sweep()
        if batch.run.diverged < 0:
            self.collect(batch, both)
        return batch

    cdef int read(self, Batch batch) except -1:
        """Let the inputs be what they are now."""
        cdef LanesRun run = batch.run
        cdef Source* source
        cdef const ArrayRef* array
        cdef double number
        cdef char* at
        cdef Py_ssize_t i
        cdef int axis
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == COLUMN:
                continue
            if source.kind == NUMBER:
                if not run.uniform[i]:
                    self.repeat(batch, i, source.number)
            elif source.kind == OPERAND:
                number = self.owner.operand[source.which]
                if run.uniform[i]:
                    batch.put(i, number)
                else:
                    self.repeat(batch, i, number)
            else:
                array = &self.owner.arrays.value[self.owner.region.array_of[source.which]]
                axis = self.owner.region.axis_of[source.which]
                at = array.data + offset_of(array, axis, source.element)
                if axis >= 0:
                    run.aim(&run.input[i], at, array.stride[axis], False)
                elif run.uniform[i]:
                    batch.put(i, number_at(at, run.single))
                else:
                    run.aim(&run.input[i], at, 0, False)
        return 0

    cdef void repeat(self, Batch batch, Py_ssize_t i, double number) noexcept:
        """Let a number be the input of every lane, which has a gradient of its own in each."""
        cdef char* at = self.spread.start + i * batch.run.size
        if batch.run.single:
            (<float*>at)[0] = <float>number
        else:
            (<double*>at)[0] = number
        batch.run.aim(&batch.run.input[i], at, 0, False)

    cdef int aim_values(self, Batch batch) except -1:
        """Let the outputs go to arrays, if they are not added up."""
        cdef LanesRun run = batch.run
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef Py_ssize_t k = 0, j, n
        for a, shape in region.value_arrays:
            array = &self.owner.arrays.value[<Py_ssize_t>a]
            n = size_of(array)
            for j in range(n):
                run.aim(&run.value[k + j], array.data + offset_of(array, 0, j), array.stride[0], False)
            k += n
        return 0

    cdef int aim_gradients(self, Batch batch, bint adds) except -1:
        """Let pulls come from where they have arrived, and what they bring go to arrays, or be added there."""
        cdef LanesRun run = batch.run
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef Source* source
        cdef Py_ssize_t i, k, j
        cdef int axis
        if region.gradients:
            if not self.wires.is_part:
                run.pull[0].constant = 1.0
            places = self.owner.gradient_places()
            for i in range(self.wires.inputs):
                if run.wanted[i] and self.wires.source[i].kind != COLUMN:
                    array = &self.owner.arrays.value[<Py_ssize_t>places[self.wires.leaf[i]]]
                    j = self.wires.element[i]
                    run.aim(&run.gradient[i], array.data + offset_of(array, 0, j), array.stride[0], adds)
            return 0
        if not self.wires.is_part:
            self.aim_pulls(batch)
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == LANE and run.wanted[i]:
                axis = region.axis_of[source.which]
                array = self.owner.adjoint_of(source.which)
                run.aim(
                    &run.gradient[i], array.data + offset_of(array, axis, source.element), array.stride[axis],
                    adds or self.owner.adds[source.which]
                )
        return 0

    cdef int aim_pulls(self, Batch batch) except -1:
        """Let pulls come from where they have arrived."""
        cdef LanesRun run = batch.run
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef Py_ssize_t k = 0, j, n
        if region.summed:
            for k in range(self.wires.outputs):
                run.pull[k].data = NULL
                run.pull[k].constant = self.owner.pull[k] * region.scale
        for a, shape in region.value_arrays:
            array = &self.owner.arrays.adjoint[<Py_ssize_t>a]
            n = size_of(&self.owner.arrays.value[<Py_ssize_t>a])
            for j in range(n):
                run.pull[k + j].data = NULL
                run.pull[k + j].constant = 0.0
                if self.owner.arrays.arrived[<Py_ssize_t>a]:
                    run.aim(&run.pull[k + j], array.data + offset_of(array, 0, j), array.stride[0], False)
            k += n
        return 0

    cdef int collect(self, Batch batch, bint both) except -1:
        """Add up what came out of the lanes."""
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef double* total = <double*>self.totals.start
        cdef Source* source
        cdef Py_ssize_t i, k
        for k in range(self.wires.outputs if region.summed and not self.wires.is_part else 0):
            self.owner.sums[k] += batch.value_sum(k)
        if not both or region.gradients:
            return 0
        batch.gradient_sums(total)
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == OPERAND and batch.wanted[i]:
                self.owner.pulled[source.which] += total[i]
            elif source.kind == SAME and batch.wanted[i]:
                array = &self.owner.arrays.adjoint[region.array_of[source.which]]
                add_number_at(array.data + offset_of(array, -1, source.element), total[i], region.single)
        return 0


cdef inline Py_ssize_t size_of(const ArrayRef* array) noexcept nogil:
    """How many numbers a lane of an array has, whose lanes are along the first axis."""
    cdef Py_ssize_t n = 1
    cdef int i
    for i in range(1, array.ndim):
        n *= array.shape[i]
    return n
