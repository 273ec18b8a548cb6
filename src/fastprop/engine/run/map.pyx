"""Maps: a body at every lane of some arrays, run in vectors and on threads, without Python per number or lane.

A MapRegion is what was recorded; a MapRun is one use of it. The body's inputs come from the region's operands, from
arrays lane by lane, or from arrays that are the same in all lanes; its outputs go to arrays, or are added up. Backward,
what is pulled goes the same ways back.
"""
import math

import numpy as np

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from fastprop.engine.run.arrays cimport ArrayRef, Arrays, add_number_at, number_at, offset_of
from fastprop.engine.program.program cimport Region, Wiring
from fastprop.engine.run.batch cimport Batch
from fastprop.engine.run.lane_arrays cimport LaneArrays
from fastprop.engine.run.lanes cimport LanesRun
from fastprop.engine.run.replay cimport Memory, PointRegion, PointRun

from fastprop.engine.run.batch import Batch as NewBatch
from fastprop.engine.run.lane_arrays import LaneArrays as NewLaneArrays

cdef class Wires:
    """Where the inputs of one path of a body come from, and where its outputs go."""

    def __init__(self, plan, list given, list places, covers):
        cdef Py_ssize_t i
        self.plan, self.given = plan, given
        self.inputs, self.outputs = len(given), len(plan.draft.outputs)
        self.sources = Memory(self.inputs * <Py_ssize_t>sizeof(Source))
        self.source = <Source*>self.sources.start
        uniform = np.zeros(self.inputs, np.uint8)
        for i, (kind, which, element, number) in enumerate(given):
            self.source[i].kind, self.source[i].which = kind, which
            self.source[i].element, self.source[i].number = element, number
            uniform[i] = kind != LANE
        self.leaf, self.element = np.full(self.inputs, -1, np.int32), np.zeros(self.inputs, np.int64)
        for i, (leaf, element) in enumerate(places):
            self.leaf[i], self.element[i] = leaf, element
        self.uniform = uniform
        self.covers = np.array(covers, np.uint8)
        self.stacks = []

    def stack(self, list value_arrays):
        """Say which outputs go to arrays, lane by lane: those of leaves that are neither summed nor made as arrays."""
        recording = self.plan.recording
        for k, (a, shape) in enumerate(value_arrays):
            if a >= 0 and k not in recording.made:
                self.stacks.append((recording.outputs[k][0], a, math.prod(shape)))
        return self


cdef class MapRegion(Region):
    """What is to be done at every lane; how its paths are recorded is for those who derive from it."""

    def __init__(self, str name, Py_ssize_t lanes, bint single):
        Region.__init__(self)
        self.name, self.lanes, self.single, self.scale = name, lanes, single, 1.0
        self.value_arrays, self.gradient_arrays, self.body_arrays = [], [], []

    def take_leaves(self, list shapes, list arrays, list axes):
        """Say what the leaves of the body's arguments are: shapes, arrays (-1: numbers), lane axes (-1: the same)."""
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
            if region.gradients:
                wanted[i] = source.kind != NUMBER and self.wires.leaf[i] in differentiated
                uniform[i] = uniform[i] and not wanted[i]
            elif source.kind == OPERAND:
                wanted[i] = self.owner.wanted[source.which]
            elif source.kind != NUMBER:
                wanted[i] = self.owner.wanted_leaf[source.which]
        batch = NewBatch(
            self.wires.plan, gradient, uniform, wanted, region.lanes, region.summed, self.wanted_in_body(gradient)
        )
        batch.run.arrays = self.arrays_of(batch.run.program)
        self.spread = Memory(self.wires.inputs * batch.run.size)
        self.totals = Memory(self.wires.inputs * <Py_ssize_t>sizeof(double))
        for i in range(self.wires.inputs):
            if self.wires.source[i].kind == NUMBER:
                batch.put(i, self.wires.source[i].number)
        return batch

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
        flags = np.zeros((4, len(region.body_arrays)), np.uint8)
        for b, (bound, which, _) in enumerate(region.body_arrays):
            flags[0, b] = bound == OUTER or (bound == LEAF and region.axis_of[<Py_ssize_t>which] < 0)
            flags[1, b] = flags[0, b] and not region.gradients
            flags[2, b] = bound == OWN
            flags[3, b] = program.gradient and b in program.active_arrays
        return NewLaneArrays([shape for _, _, shape in region.body_arrays], flags, region.single)

    cdef int bind(self, LaneArrays arrays, bint both) except -1:
        """Let the arrays of the body be those that they are outside."""
        cdef MapRegion region = self.owner.region
        cdef Arrays outer = self.owner.arrays
        cdef Py_ssize_t b, a
        cdef int axis
        gradient_of = dict(region.gradient_arrays)
        for b, (bound, which, _) in enumerate(region.body_arrays):
            if bound == OWN:
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

    cdef int sweep(self, bint both, lanes) except -1:
        """Run the lanes that take this path (None: all)."""
        cdef Batch batch
        cdef const int64_t[::1] index
        if both and self.both is None:
            self.both = self.make(True)
        elif not both and self.ahead is None:
            self.ahead = self.make(False)
        batch = self.both if both else self.ahead
        if lanes is None:
            batch.run.take_lanes(self.owner.region.lanes, NULL)
        else:
            index = lanes
            batch.run.take_lanes(index.shape[0], &index[0] if index.shape[0] else NULL)
        self.read(batch)
        if batch.run.arrays is not None:
            self.bind(batch.run.arrays, both)
        self.aim_values(batch)
        if both:
            self.aim_gradients(batch)
        batch.sweep()
        if batch.run.diverged >= 0:
            raise self.owner.divergence(self.wires, batch.run.broken, batch.run.diverged)
        self.collect(batch, both)
        return 0

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
        cdef const ArrayRef* array
        cdef Py_ssize_t k, j, n
        for k, a, n in self.wires.stacks:
            array = &self.owner.arrays.value[<Py_ssize_t>a]
            for j in range(n):
                run.aim(&run.value[k + j], array.data + offset_of(array, 0, j), array.stride[0], False)
        return 0

    cdef int aim_gradients(self, Batch batch) except -1:
        """Let pulls come from where they have arrived, and what they bring go to arrays."""
        cdef LanesRun run = batch.run
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef Source* source
        cdef Py_ssize_t i, k = 0, j, n
        cdef int axis
        if region.gradients:
            run.pull[0].constant = 1.0
            places = {k: int(a) for k, a in region.gradient_arrays}
            for i in range(self.wires.inputs):
                if run.wanted[i]:
                    array = &self.owner.arrays.value[<Py_ssize_t>places[self.wires.leaf[i]]]
                    j = self.wires.element[i]
                    run.aim(
                        &run.gradient[i], array.data + offset_of(array, 0, j), array.stride[0],
                        region.is_whole(self.wires.leaf[i])
                    )
            return 0
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
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == LANE and run.wanted[i]:
                axis = region.axis_of[source.which]
                array = self.owner.adjoint_of(source.which)
                run.aim(
                    &run.gradient[i], array.data + offset_of(array, axis, source.element), array.stride[axis],
                    self.owner.adds[source.which]
                )
        return 0

    cdef int collect(self, Batch batch, bint both) except -1:
        """Add up what came out of the lanes."""
        cdef MapRegion region = self.owner.region
        cdef const ArrayRef* array
        cdef double* total = <double*>self.totals.start
        cdef Source* source
        cdef Py_ssize_t i, k
        for k in range(self.wires.outputs if region.summed else 0):
            self.owner.sums[k] += batch.value_sum(k)
        if not both or region.gradients:
            return 0
        if batch.run.arrays is not None:
            self.collect_pools(batch.run)
        batch.gradient_sums(total)
        for i in range(self.wires.inputs):
            source = &self.wires.source[i]
            if source.kind == OPERAND and batch.wanted[i]:
                self.owner.pulled[source.which] += total[i]
            elif source.kind == SAME and batch.wanted[i]:
                array = &self.owner.arrays.adjoint[region.array_of[source.which]]
                add_number_at(array.data + offset_of(array, -1, source.element), total[i], region.single)
        return 0


cdef class MapRun:
    """One use of a map: its operands, what comes out, and what is pulled."""

    cdef readonly MapRegion region
    cdef readonly Arrays arrays
    cdef Memory memory
    cdef double* operand                # their values
    cdef double* pulled                 # what was pulled on them
    cdef double* sums
    cdef double* pull
    cdef uint8_t[::1] wanted            # operand
    cdef uint8_t[::1] wanted_leaf
    cdef object active_arrays
    cdef uint8_t[::1] adds              # leaf: whether its gradient is added to what has arrived
    cdef list aside                     # leaf: an array of its own for its gradient, or None
    cdef dict paths

    def __init__(self, MapRegion region, Arrays arrays, wanted, active_arrays):
        cdef Py_ssize_t n = region.numbers, leaves = len(region.array)
        self.region, self.arrays = region, arrays
        self.memory = Memory((2 * n + 2 * region.outputs + 4) * <Py_ssize_t>sizeof(double))
        self.operand = <double*>self.memory.start
        self.pulled = self.operand + n
        self.sums = self.pulled + n
        self.pull = self.sums + region.outputs
        self.wanted, self.active_arrays = np.array(wanted, np.uint8), frozenset(active_arrays)
        self.wanted_leaf = np.array([a in active_arrays for a in region.array.tolist()], np.uint8)
        self.adds = np.zeros(leaves + 1, np.uint8)
        self.aside = [None] * leaves
        self.paths = {}

    cdef Path path(self, plan):
        found = self.paths.get(plan)
        if found is None:
            found = Path(self, self.region.wires(plan).stack(self.region.value_arrays))
            self.paths[plan] = found
        return found

    cdef const ArrayRef* adjoint_of(self, Py_ssize_t leaf) except NULL:
        """Where the gradient of a leaf goes."""
        return &(<Arrays>self.aside[leaf]).adjoint[0] if self.aside[leaf] is not None else \
            &self.arrays.adjoint[self.region.array_of[leaf]]

    cdef int sweep(self, bint both) except -1:
        """Run all lanes forward, or forward and backward."""
        cdef MapRegion region = self.region
        memset(self.sums, 0, <size_t>region.outputs * sizeof(double))
        if both:
            memset(self.pulled, 0, <size_t>region.numbers * sizeof(double))
        for a, shape in region.value_arrays:
            if a >= 0:
                self.arrays.make(a, (region.lanes, *shape), region.single)
        for leaf, a in region.gradient_arrays:
            self.arrays.make(a, (region.lanes, *(region.leaf_shapes[leaf] or ())), region.single)
        if both and region.gradients:
            for leaf, a in region.gradient_arrays:
                if region.is_whole(leaf):
                    self.arrays.values[a][...] = 0.0    # to which the maps in the body add
        elif both:
            self.open_adjoints()
        self.sweep_paths(both)
        if both and not region.gradients:
            self.close_adjoints()
        for k in range(region.outputs if region.summed else 0):
            self.sums[k] *= region.scale
        return 0

    cdef int sweep_paths(self, bint both) except -1:
        """Let every lane take its path."""
        cdef MapRegion region = self.region
        plan = region.only_path()
        if plan is not None:
            return self.path(plan).sweep(both, None)
        if both and region.gradients:
            for _, a in region.gradient_arrays:
                self.arrays.values[a][...] = 0.0    # of what a path does not use
        for plan, lanes in region.parts(self):
            self.path(plan).sweep(both, lanes)
        return 0

    cdef int open_adjoints(self) except -1:
        """Make ready for what is pulled on leaves that are arrays."""
        cdef Py_ssize_t leaf, a
        cdef Arrays own
        cdef dict first = {}
        for leaf in range(self.wanted_leaf.shape[0]):
            if not self.wanted_leaf[leaf]:
                continue
            a = self.region.array_of[leaf]
            if self.region.axis_of[leaf] < 0:
                self.arrays.clear_adjoint(a)
                continue
            self.adds[leaf] = a in first or self.arrays.arrived[a]
            if first.setdefault(a, self.region.axis_of[leaf]) != self.region.axis_of[leaf]:
                own = Arrays(1)
                own.put(0, self.arrays.values[a])
                own.clear_adjoint(0)
                self.aside[leaf] = own
            elif self.region.is_whole(leaf):
                self.adds[leaf] = True
                self.arrays.clear_adjoint(a)
            elif not self.adds[leaf]:
                self.claim(a, leaf)
        for bound, a, _ in self.region.body_arrays:
            if bound == MADE or (bound == OUTER and a in self.active_arrays):
                self.arrays.clear_adjoint(a)
        return 0

    cdef int claim(self, Py_ssize_t a, Py_ssize_t leaf) except -1:
        """Let the lanes assign an array's adjoint: it need not be cleared if all of it is written."""
        plan = self.region.only_path()
        if plan is not None and self.path(plan).wires.covers[leaf]:
            if self.arrays.adjoints[a] is None:
                self.arrays.put_adjoint(a, np.empty_like(self.arrays.values[a]))
            self.arrays.arrived[a] = True
            return 0
        return self.arrays.clear_adjoint(a)

    cdef int close_adjoints(self) except -1:
        """Add what went aside."""
        cdef Py_ssize_t leaf, a
        for leaf in range(len(self.aside)):
            if self.aside[leaf] is not None:
                a = self.region.array_of[leaf]
                self.arrays.adjoints[a] += (<Arrays>self.aside[leaf]).adjoints[0]
                self.aside[leaf] = None
        return 0

    # for Python: where lanes are parted by path, where examples are run

    def inputs(self, Wires wires):
        """Return the inputs of a path: numbers, and columns of one number per lane."""
        found = []
        for kind, which, element, number in wires.given:
            if kind == NUMBER:
                found.append(number)
            elif kind == OPERAND:
                found.append(self.operand[<Py_ssize_t>which])
            else:
                values = self.arrays.values[self.region.array[which]]
                if kind == SAME:
                    found.append(float(values.flat[element]))
                else:
                    lanes = np.moveaxis(values, self.region.axis[which], 0)
                    found.append(lanes[(slice(None), *np.unravel_index(element, lanes.shape[1:]))])
        return found

    def lane_inputs(self, Wires wires, Py_ssize_t lane):
        """Return the inputs of a path in one lane."""
        return np.array([x[lane] if isinstance(x, np.ndarray) else x for x in self.inputs(wires)], np.float64)

    def divergence(self, Wires wires, Py_ssize_t guard, Py_ssize_t lane):
        """Return the error for a guard that does not hold in a lane."""
        return wires.plan.divergence(guard, self.lane_inputs(wires, lane), lane)

    def run_at(self, operands):
        """Run forward at some operands; returns the sums."""
        cdef Py_ssize_t k
        for k, number in enumerate(operands):
            self.operand[k] = number
        self.sweep(self.region.gradients)
        return [self.sums[k] for k in range(self.region.outputs)] if self.region.summed else []

    def pulled_at(self, operands, pulls):
        """Run forward and backward, from pulls on the sums; returns what arrives on the operands, and the sums."""
        cdef Py_ssize_t k
        self.arrays.begin()
        for k, number in enumerate(operands):
            self.operand[k] = number
        for k, number in enumerate(pulls):
            self.pull[k] = number
        self.sweep(True)
        return [self.pulled[k] for k in range(self.region.numbers)], [self.sums[k] for k in range(self.region.outputs)]


cdef class MapAtPoint(PointRegion):
    """A map in a program at one point.

    Where the pulls on its sums do not depend on them, they are operands: the lanes then go forward and backward at
    once, and what they bring is kept until the sweep backward comes by.
    """

    cdef MapRun run
    cdef bint fused

    def __init__(self, Wiring wiring, PointRun run):
        PointRegion.__init__(self, wiring)
        cdef MapRegion region = wiring.region
        wanted = (wiring.targets >= 0)[: region.numbers]
        self.run = MapRun(region, run.arrays, wanted, run.program.active_arrays)
        self.fused = len(wiring.operands) > region.numbers and wiring.pull >= 0

    cdef int forward(self, PointRun run) except -1:
        cdef MapRegion region = self.run.region
        cdef Py_ssize_t k
        for k in range(region.numbers):
            self.run.operand[k] = run.get(self.wiring.operand[k])
        for k in range(region.outputs if self.fused else 0):
            self.run.pull[k] = run.get(self.wiring.operand[region.numbers + k])
        self.run.sweep(self.fused or region.gradients)
        for k in range(region.outputs if region.summed else 0):
            run.put(self.wiring.result + k, self.run.sums[k])
        return 0

    cdef int backward(self, PointRun run) except -1:
        cdef MapRegion region = self.run.region
        cdef Py_ssize_t k
        if not self.fused:
            for k in range(region.numbers):
                self.run.operand[k] = run.get(self.wiring.operand[k])
            for k in range(region.outputs if region.summed else 0):
                self.run.pull[k] = run.get(self.wiring.pull + k)
            self.run.sweep(True)
        for k in range(region.numbers):
            if self.wiring.target[k] >= 0:
                run.put(self.wiring.target[k], run.get(self.wiring.target[k]) + self.run.pulled[k])
        return 0
