"""A map's body, path by path: where the numbers of a path come from and go to, and its programs at many lanes."""
import math

import numpy as np

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcpy, memset

from fastprop.engine.program cimport Region, Wiring


cdef struct Source:         # where an input of a body comes from
    int32_t kind
    int32_t which           # operand of the region, or leaf of the body's arguments
    Py_ssize_t element      # of a leaf
    double number


# The same as an array's dtype.
SOURCE = np.dtype([("kind", np.int32), ("which", np.int32), ("element", np.intp), ("number", np.float64)])


def sources(kind, which, element=0, number=0.0):
    """Return an array of where inputs come from."""
    found = np.empty(np.broadcast_shapes(np.shape(kind), np.shape(which), np.shape(element), np.shape(number)), SOURCE)
    found["kind"], found["which"], found["element"], found["number"] = kind, which, element, number
    return found


def joined(list parts):
    """Return arrays of where inputs come from as one; NumPy would copy every entry by itself.

    No list comprehension: those that Cython compiles free an item twice when memory runs out.
    """
    cdef list filled = [], words = []
    for part in parts:
        if len(part):
            filled.append(part)
    if len(filled) == 1:
        return filled[0]
    for part in parts:
        words.append(np.ascontiguousarray(part).view(np.int64))
    return np.concatenate(words).view(SOURCE)


cdef struct Stretch:        # inputs side by side that are numbers side by side, of one leaf or of the operands
    Py_ssize_t first
    Py_ssize_t count


cpdef enum Kind:
    NUMBER      # a constant
    OPERAND     # of the region
    LANE        # a number of a leaf, of the lane
    SAME        # a number of a leaf, the same in all lanes
    COLUMN      # what another part of the body hands down
    CARRY       # what the step before a scan's hands on; its number among those


cpdef enum Bound:           # what an array is that the maps in a body read or make
    LEAF        # of the body's arguments
    OUTER       # an array of what is around the map, the same in all lanes
    MADE        # in every lane, and seen outside with the lanes first
    OWN         # in every lane, and seen by nobody else
    STAND_IN    # for another one of the body: a variable


cdef class Wires:
    """Where the inputs of a body come from, or of a part of it, which hands down what it computes."""

    cdef readonly object plan
    cdef readonly bint is_part
    cdef readonly Py_ssize_t inputs
    cdef readonly Py_ssize_t outputs
    cdef readonly object given          # a SOURCE per input
    cdef Source* source                 # the same
    cdef Memory stretched
    cdef Stretch* stretch
    cdef Py_ssize_t stretches
    cdef readonly object uniform        # uint8, per input
    cdef int32_t[::1] leaf              # input -> the leaf of the body's arguments to which it belongs, or -1
    cdef int64_t[::1] element           # and which number of that it is
    cdef uint8_t[::1] covers            # leaf: whether all its numbers are inputs
    cdef readonly list stacks           # (first output, array, numbers) of each leaf of the result that is not summed

    def __init__(self, plan, given, leaves, elements, covers, bint is_part=False):
        cdef Py_ssize_t i, own = len(leaves)
        self.is_part = is_part
        self.plan, self.given = plan, np.ascontiguousarray(given, SOURCE)
        self.given.flags.writeable = False
        self.source = <Source*>cnp.PyArray_DATA(self.given)
        self.inputs, self.outputs = len(given), len(plan.draft.outputs)
        self.uniform = np.empty(self.inputs, np.uint8)
        self.leaf, self.element = np.full(self.inputs, -1, np.int32), np.zeros(self.inputs, np.int64)
        np.asarray(self.leaf)[:own], np.asarray(self.element)[:own] = leaves, elements
        self.covers = np.array(covers, np.uint8)
        self.stacks = []
        self.stretched = Memory(self.inputs * <Py_ssize_t>sizeof(Stretch))
        self.stretch = <Stretch*>self.stretched.start
        cdef uint8_t[::1] uniform = self.uniform
        for i in range(self.inputs):
            uniform[i] = self.source[i].kind not in (LANE, COLUMN, CARRY)
            if i == 0 or not self.goes_on(&self.source[i - 1], &self.source[i]):
                self.stretch[self.stretches] = Stretch(i, 0)
                self.stretches += 1
            self.stretch[self.stretches - 1].count += 1

    cdef bint goes_on(self, const Source* before, const Source* source) noexcept:
        """Whether an input is the next one of a stretch."""
        if source.kind != before.kind or source.kind == NUMBER or source.kind == COLUMN:
            return source.kind == before.kind
        if source.kind == OPERAND:
            return source.which == before.which + 1
        return source.which == before.which and source.element == before.element + 1

    def stack(self, list value_arrays):
        """Say which outputs go to arrays, lane by lane: those of leaves that are neither summed nor made as arrays."""
        recording = self.plan.recording
        found = []
        for k, (a, shape) in enumerate(value_arrays):
            if a >= 0 and k not in recording.made:
                found.append((recording.outputs[k][0], a, math.prod(shape)))
        self.stacks = found
        return self


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
    cdef public list value_arrays       # (array, shape of a lane) of each leaf of the result; array -1: it is summed
    cdef public list gradient_arrays    # (leaf, array): its gradient in every lane
    cdef public bint in_turn            # lanes are run one after the other
    cdef public bint gradients          # it gives gradients, not values to be differentiated
    cdef public list first_input        # of each leaf of the body's arguments
    cdef readonly object array          # int32: of each leaf; -1: it is numbers
    cdef readonly object axis           # int32: of its lanes; -1: the same in all
    cdef int32_t[::1] array_of
    cdef int32_t[::1] axis_of
    cdef public list body_arrays        # (Bound, leaf or array, shape in a lane) of the arrays of the body's only path

    def __init__(self, str name, Py_ssize_t lanes, bint single):
        Region.__init__(self)
        self.name, self.lanes, self.single, self.scale = name, lanes, single, 1.0
        self.value_arrays, self.gradient_arrays, self.body_arrays = [], [], []

    def take_leaves(self, list shapes, list arrays, list axes):
        """Say what the leaves of the body's arguments are: shapes, arrays (-1: numbers) and lane axes (-1: same)."""
        self.leaf_shapes = shapes
        self.array, self.axis = np.array(arrays, np.int32), np.array(axes, np.int32)
        self.array_of, self.axis_of = self.array, self.axis

    def seal(self, Py_ssize_t numbers):
        """Say of how many operands it is a function; nothing can be added any more."""
        self.numbers = numbers
        self.takes_pulls = self.summed and not any(a >= 0 for a, _ in self.value_arrays)
        outer = [which for bound, which, _ in self.body_arrays if bound == OUTER]
        self.reads = tuple({int(a) for a in (*self.array.tolist(), *outer) if a >= 0})
        made = [*[a for a, _ in self.value_arrays if a >= 0], *[a for _, a in self.gradient_arrays]]
        self.makes = tuple(dict.fromkeys(made))

    def at_point(self, Wiring wiring, PointRun run):
        """Return one use of it at one point."""
        return MapAtPoint(wiring, run)

    cdef bint is_whole(self, Py_ssize_t leaf):
        """Whether maps in the body read a leaf as a whole."""
        return any(bound == LEAF and which == leaf for bound, which, _ in self.body_arrays)


cdef class Path:
    """One path of a map's body: its programs, once they are wanted, and their lanes."""

    cdef MapRun owner
    cdef Wires wires
    cdef Batch ahead            # forward alone
    cdef Batch both
    cdef object once            # whether each operand is one input; None: nobody has asked yet
    cdef Memory spread          # uniform numbers that have a gradient in every lane
    cdef Memory totals          # gradients of uniform inputs

    def __init__(self, MapRun owner, Wires wires):
        self.owner, self.wires = owner, wires
        if not wires.is_part:
            wires.stack(owner.region.value_arrays)

    cdef Batch make(self, bint gradient):
        cdef MapRegion region = self.owner.region
        cdef const Stretch* stretch
        cdef Batch batch
        cdef Py_ssize_t i, s
        same, asked = self.wires.uniform.copy(), np.zeros(self.wires.inputs + 1, np.uint8)
        cdef uint8_t[::1] uniform = same, wanted = asked
        cdef uint8_t[::1] differentiated = np.zeros(len(region.array) + 1, np.uint8)
        for leaf, _ in region.gradient_arrays:
            differentiated[<Py_ssize_t>leaf] = True
        for s in range(self.wires.stretches if gradient else 0):
            self.want(&wanted[0], &self.wires.stretch[s], differentiated)
        asked = asked[: self.wires.inputs]
        for i in range(self.wires.inputs if gradient and region.gradients else 0):
            uniform[i] = uniform[i] and not wanted[i]
        batch = Batch(
            self.wires.plan, gradient, same, asked, region.lanes,
            region.summed and not self.wires.is_part, self.wanted_in_body(gradient), not self.wires.is_part,
            0 if self.wires.is_part else self.sums_alone()
        )
        batch.run.arrays = self.arrays_of(batch.run.program)
        self.spread = Memory(self.wires.inputs * batch.run.size)
        self.totals = Memory(self.wires.inputs * <Py_ssize_t>sizeof(double))
        for s in range(self.wires.stretches):
            stretch = &self.wires.stretch[s]
            for i in range(stretch.first, stretch.first + self.numbers_in(stretch)):
                batch.put(i, self.wires.source[i].number)
        return batch

    cdef Py_ssize_t sums_alone(self):
        """How many outputs, the first ones, are added up in all lanes, and not put into arrays."""
        cdef MapRegion region = self.owner.region
        if not region.summed or self.owner.only is None:
            return 0
        return sum([math.prod(shape) for a, shape in region.value_arrays if a < 0]) if region.value_arrays else (
            self.wires.outputs
        )

    cdef inline Py_ssize_t numbers_in(self, const Stretch* stretch) noexcept:
        """How many plain numbers there are in a stretch: all, or none."""
        return stretch.count if self.wires.source[stretch.first].kind == NUMBER else 0

    cdef void want(self, uint8_t* wanted, const Stretch* stretch, const uint8_t[::1] differentiated) noexcept:
        """Say of which inputs in a stretch the gradients are wanted."""
        cdef const Source* source = &self.wires.source[stretch.first]
        cdef Py_ssize_t i
        if source.kind == COLUMN:
            memset(wanted + stretch.first, 1, <size_t>stretch.count)
        elif self.owner.region.gradients:
            for i in range(stretch.first, stretch.first + stretch.count):
                wanted[i] = self.wires.leaf[i] >= 0 and differentiated[self.wires.leaf[i]]
        elif source.kind == NUMBER:
            return
        elif source.kind == OPERAND:
            memcpy(wanted + stretch.first, &self.owner.wanted[source.which], <size_t>stretch.count)
        else:
            memset(wanted + stretch.first, self.owner.wanted_leaf[source.which], <size_t>stretch.count)

    cdef object wanted_in_body(self, bint gradient):
        """Which arrays that the body gets from outside are wanted to have adjoints."""
        cdef MapRegion region = self.owner.region
        found = set()
        for b, (bound, which, _) in enumerate(region.body_arrays if gradient else ()):
            if region.gradients:
                if bound == LEAF and which in {leaf for leaf, _ in region.gradient_arrays}:
                    found.add(b)
            elif bound == LEAF and self.owner.wanted_leaf[<Py_ssize_t>which]:
                found.add(b)
            elif bound == OUTER and which in self.owner.active_arrays:
                found.add(b)
        return frozenset(found)

    cdef LaneArrays arrays_of(self, program):
        """The arrays of the body, if it has any."""
        cdef MapRegion region = self.owner.region
        if not region.body_arrays:
            return None
        flags = np.zeros((5, len(region.body_arrays)), np.uint8)
        inside = arrays_inside(program)
        for b, (bound, which, _) in enumerate(region.body_arrays):
            flags[0, b] = bound == OUTER or (bound == LEAF and region.axis_of[<Py_ssize_t>which] < 0)
            flags[1, b] = flags[0, b] and not region.gradients
            flags[2, b] = bound == OWN
            flags[3, b] = b in inside or (program.gradient and b in program.active_arrays)
            flags[4, b] = b in inside
        return LaneArrays([shape for _, _, shape in region.body_arrays], flags, region.single)

    cdef int bind(self, LaneArrays arrays, bint both) except -1:
        """Let the arrays of the body be those that they are outside."""
        cdef MapRegion region = self.owner.region
        cdef Arrays outer = self.owner.arrays
        cdef Py_ssize_t b, a
        cdef int axis
        gradient_of = dict(region.gradient_arrays)
        for b, (bound, which, _) in enumerate(region.body_arrays):
            if bound >= OWN:
                continue
            a = region.array_of[<Py_ssize_t>which] if bound == LEAF else which
            axis = region.axis_of[<Py_ssize_t>which] if bound == LEAF else 0 if bound == MADE else -1
            arrays.refer(&arrays.value[b], b, 0, &outer.value[a], axis)
            if not (both and arrays.wanted[b]) or arrays.pooled[b]:
                continue
            if bound == LEAF and region.gradients:
                arrays.refer(&arrays.adjoint[b], b, 1, &outer.value[<Py_ssize_t>gradient_of[which]], 0)
            elif bound == LEAF:
                arrays.refer(&arrays.adjoint[b], b, 1, self.owner.adjoint_of(which), axis)
            else:
                arrays.refer(&arrays.adjoint[b], b, 1, &outer.adjoint[a], axis)
        return 0

    cdef int collect_pools(self, LanesRun run) except -1:
        """Add up what was pulled on arrays that are the same in all lanes."""
        cdef MapRegion region = self.owner.region
        cdef Py_ssize_t b, a
        for b, (bound, which, _) in enumerate(region.body_arrays):
            if run.arrays.wanted[b] and run.arrays.pooled[b]:
                a = region.array_of[<Py_ssize_t>which] if bound == LEAF else which
                run.arrays.empty_pools(run.strands, b, &self.owner.arrays.adjoint[a])
        return 0

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
        batch.run.knows_sums = self.owner.knows_sums
        self.read(batch)
        if batch.run.arrays is not None:
            self.bind(batch.run.arrays, both)
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
        if both and lanes is None:
            self.owner.brings = self.puts_operands(batch)
            if not self.owner.brings:
                memset(self.owner.pulled, 0, <size_t>self.owner.region.numbers * sizeof(double))
        if both and not self.owner.region.gradients:
            self.put_gradients(batch)
        try:
            batch.sweep()
            if batch.run.diverged < 0:
                self.collect(batch, both)
        finally:
            put_none(batch.run)
        return batch

    cdef int put_gradients(self, Batch batch) except -1:
        """Let gradients of inputs that are the same in all lanes be put where they go, if that can be."""
        cdef const ArrayRef* array
        cdef const Stretch* stretch
        cdef const Source* source
        cdef Py_ssize_t k
        for k in range(self.wires.stretches):
            stretch = &self.wires.stretch[k]
            source = &self.wires.source[stretch.first]
            if source.kind == OPERAND and self.owner.brings:
                put_gradients(batch.run, stretch.first, self.place_for_pulled(source), stretch.count)
            if source.kind != SAME or not self.owner.assigns[source.which]:
                continue
            if batch.takes_before(stretch.first, stretch.count):
                continue
            array = &self.owner.arrays.adjoint[self.owner.region.array_of[source.which]]
            if spacing_of(array, -1) == batch.run.size:
                put_gradients(
                    batch.run, stretch.first, array.data + offset_of(array, -1, source.element), stretch.count
                )
        return 0

    cdef inline char* place_for_pulled(self, const Source* source) noexcept:
        """Where what is pulled on an operand is put, as programs have it."""
        return <char*>self.owner.pulled + source.which * self.owner.size

    cdef bint puts_operands(self, Batch batch) except -1:
        """Whether the gradients of all operands can be put where they go, each of one input."""
        cdef const Stretch* stretch
        cdef Py_ssize_t k
        cdef bint found = False
        if self.once is None:
            given = self.wires.given
            uses = np.bincount(given["which"][given["kind"] == OPERAND], minlength=self.owner.region.numbers)
            self.once = bool((uses == 1).all())
        for k in range(self.wires.stretches if self.once and not self.owner.region.gradients else 0):
            stretch = &self.wires.stretch[k]
            if self.wires.source[stretch.first].kind == OPERAND:
                found = not batch.takes_before(stretch.first, stretch.count) and can_put(
                    batch.run, stretch.first, self.place_for_pulled(&self.wires.source[stretch.first]), stretch.count
                )
                if not found:
                    return False
        return found

    cdef int read(self, Batch batch) except -1:
        """Let the inputs be what they are now."""
        cdef LanesRun run = batch.run
        cdef Stretch* stretch
        cdef Source* source
        cdef Py_ssize_t s, i
        for s in range(self.wires.stretches):
            stretch = &self.wires.stretch[s]
            source = &self.wires.source[stretch.first]
            if source.kind == OPERAND:
                self.read_operands(batch, stretch, self.owner.operand + source.which * self.owner.size)
            elif source.kind == NUMBER:
                for i in range(stretch.first, stretch.first + stretch.count):
                    if not run.uniform[i]:
                        self.repeat(batch, i, self.wires.source[i].number)
            elif source.kind != COLUMN:
                self.read_array(batch, stretch, source)
        return 0

    cdef int read_operands(self, Batch batch, const Stretch* stretch, char* operand) except -1:
        """Let inputs be operands that lie side by side."""
        cdef LanesRun run = batch.run
        cdef Py_ssize_t k, i = stretch.first
        cdef double number
        if memchr(&run.uniform[i], 0, <size_t>stretch.count) == NULL:
            take_numbers(run, i, operand, stretch.count)
            return batch.put_before(i, operand, stretch.count)
        for k in range(stretch.count):
            number = number_at(operand + k * run.size, run.single)
            if run.uniform[i + k]:
                batch.put(i + k, number)
            else:
                self.repeat(batch, i + k, number)
        return 0

    cdef int read_array(self, Batch batch, const Stretch* stretch, const Source* source) except -1:
        """Let inputs be numbers of an array."""
        cdef LanesRun run = batch.run
        cdef const ArrayRef* array = &self.owner.arrays.value[self.owner.region.array_of[source.which]]
        cdef int axis = self.owner.region.axis_of[source.which]
        cdef Py_ssize_t step, k, i = stretch.first, end = stretch.first + stretch.count
        cdef char* at
        cdef Py_ssize_t count = evenly_from(array, axis, source.element, &at, &step)
        if count >= stretch.count and axis < 0 and step == run.size and run.uniform[i]:
            take_numbers(run, i, at, stretch.count)
            batch.put_before(i, at, stretch.count)
            return 0
        if run.uniform[i]:
            leave_none(run, i, stretch.count)
        while i < end:
            count = min(end - i, evenly_from(array, axis, source.element + i - stretch.first, &at, &step))
            for k in range(i, i + count):
                if axis >= 0:
                    run.aim(&run.input[k], at, array.stride[axis], False)
                elif run.uniform[k]:
                    batch.put(k, number_at(at, run.single))
                else:
                    run.aim(&run.input[k], at, 0, False)
                at += step
            i += count
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
        cdef const ArrayRef* array
        cdef Py_ssize_t k, j, n
        for k, a, n in self.wires.stacks:
            array = &self.owner.arrays.value[<Py_ssize_t>a]
            for j in range(n):
                run.aim(&run.value[k + j], array.data + offset_of(array, 0, j), array.stride[0], False)
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
                    run.aim(
                        &run.gradient[i], array.data + offset_of(array, 0, j), array.stride[0],
                        adds or region.is_whole(self.wires.leaf[i])
                    )
            return 0
        if not self.wires.is_part:
            self.aim_pulls(batch)
        for i in run.varying:
            if i >= self.wires.inputs:
                break
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
        cdef Py_ssize_t k, j, n
        if region.summed:
            for k in range(self.wires.outputs):
                run.pull[k].data = NULL
                run.pull[k].constant = self.owner.pull[k] * region.scale
        for k, a, n in self.wires.stacks:
            array = &self.owner.arrays.adjoint[<Py_ssize_t>a]
            for j in range(n):
                run.pull[k + j].data = NULL
                run.pull[k + j].constant = 0.0
                if self.owner.arrays.arrived[<Py_ssize_t>a]:
                    run.aim(&run.pull[k + j], array.data + offset_of(array, 0, j), array.stride[0], False)
        return 0

    cdef int collect(self, Batch batch, bint both) except -1:
        """Add up what came out of the lanes."""
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef double* total
        cdef double* pulled
        cdef Source* source
        cdef Py_ssize_t i, j, k
        cdef bint all_wanted
        if region.summed and not self.wires.is_part and not batch.run.knows_sums:
            value_sums(batch.run, self.owner.sums)
        if not both or region.gradients:
            return 0
        if batch.run.arrays is not None:
            self.collect_pools(batch.run)
        total = self.gradients(batch)
        for k in range(self.wires.stretches):
            i = self.wires.stretch[k].first
            source = &self.wires.source[i]
            if source.kind == SAME and batch.wanted[i] and not are_put(batch.run, i, self.wires.stretch[k].count):
                array = &self.owner.arrays.adjoint[region.array_of[source.which]]
                add_numbers(
                    array, source.element, total + i, self.wires.stretch[k].count, region.single,
                    not self.owner.assigns[source.which]
                )
            if source.kind == OPERAND and not self.owner.brings:
                pulled = self.owner.pulled + source.which
                all_wanted = memchr(&batch.wanted[i], 0, <size_t>self.wires.stretch[k].count) == NULL
                for j in range(self.wires.stretch[k].count if all_wanted else 0):
                    pulled[j] += total[i + j]
                for j in range(0 if all_wanted else self.wires.stretch[k].count):
                    if batch.wanted[i + j]:
                        pulled[j] += total[i + j]
        memset(&self.owner.assigns[0], 0, <size_t>self.owner.assigns.shape[0])
        return 0

    cdef double* gradients(self, Batch batch) except NULL:
        """The gradients of uniform inputs, by the input: where they were summed up, or copied."""
        cdef double* total = direct_sums(batch.run) if batch.sums_are_whole else NULL
        if total == NULL:
            total = <double*>self.totals.start
            batch.gradient_sums(total)
        return total
