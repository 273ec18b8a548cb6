"""Maps: a body at every lane of some arrays, run in vectors and on threads, without Python per number or lane.

A MapRegion is what was recorded; a MapRun is one use of it. The body's inputs come from the region's operands, from
arrays lane by lane, or from arrays that are the same in all lanes; its outputs go to arrays, or are added up. Backward,
what is pulled goes the same ways back.
"""
import collections
import math

import numpy as np

from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from fastprop.engine.program cimport Wiring
from fastprop.engine.tape cimport Trace, begin_sweep, end_sweep, pull_down


cdef class MapRun:
    """One use of a map: its operands, what comes out, and what is pulled."""

    cdef readonly MapRegion region
    cdef readonly Arrays arrays
    cdef Memory memory
    cdef char* own                      # room for their values, as programs have them
    cdef char* operand                  # where these are
    cdef Py_ssize_t size                # of one, in bytes
    cdef double* pulled                 # what was pulled on them
    cdef bint brings                    # it stands there as programs have it: each number was put there at once
    cdef double* sums
    cdef bint knows_sums                # of this sweep nobody wants them: they were summed up before
    cdef double* pull
    cdef uint8_t[::1] wanted            # operand
    cdef uint8_t[::1] wanted_leaf
    cdef object active_arrays
    cdef uint8_t[::1] adds              # leaf: whether its gradient is added to what has arrived
    cdef uint8_t[::1] assigns           # leaf that is the same in all lanes: whether its gradient is put there, once
    cdef set shared                     # arrays that are more than one leaf, or that maps in the body read
    cdef Py_ssize_t bodies              # of so many arrays of the body
    cdef list aside                     # leaf: an array of its own for its gradient, or None
    cdef dict paths
    cdef dict places
    cdef object only                    # the plan that all lanes take in this sweep; None: they go down the tree
    cdef Parted tree                    # of the body's paths, if it has several
    cdef list parts                     # of it: Paths
    cdef object nodes
    cdef object version
    cdef ScanRun turn                   # what takes lanes in turn, if they are
    cdef object strays                  # int32: of each lane the guard that came out otherwise: -1 in all; or None

    def __init__(self, MapRegion region, Arrays arrays, wanted, active_arrays):
        cdef Py_ssize_t n = region.numbers, leaves = len(region.array)
        self.region, self.arrays = region, arrays
        self.memory = Memory((2 * n + 2 * region.outputs + 4) * <Py_ssize_t>sizeof(double))
        self.own = self.operand = self.memory.start
        self.size = 4 if region.single else 8
        self.pulled = <double*>self.memory.start + n
        self.sums = self.pulled + n
        self.pull = self.sums + region.outputs
        self.wanted, self.active_arrays = np.array(wanted, np.uint8), frozenset(active_arrays)
        self.wanted_leaf = np.array([a in active_arrays for a in region.array.tolist()], np.uint8)
        self.adds, self.assigns = np.zeros(leaves + 1, np.uint8), np.zeros(leaves + 1, np.uint8)
        self.aside = [None] * leaves
        self.paths = {}
        self.parts, self.version = [], None

    cdef dict gradient_places(self):
        """Where the gradient of each leaf goes."""
        if self.places is None:
            self.places = {leaf: a for leaf, a in self.region.gradient_arrays}
        return self.places

    cdef Path path(self, plan):
        found = self.paths.get(plan)
        if found is None:
            found = Path(self, self.region.wires(plan))
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
        self.brings = False
        if region.in_turn:
            return self.sweep_in_turn(both)
        for a, shape in region.value_arrays:
            if a >= 0:
                self.arrays.make(a, (region.lanes, *shape), region.single)
        for leaf, a in region.gradient_arrays:
            self.arrays.make(a, (region.lanes, *(region.leaf_shapes[leaf] or ())), region.single)
        self.only = region.sole if region.sole is not None else region.only_path()
        if self.only is None:
            self.take_tree()                    # once, lest another thread lets it grow meanwhile
            memset(self.pulled, 0, <size_t>region.numbers * sizeof(double))
        if both and region.gradients:
            for leaf, a in region.gradient_arrays:
                if region.is_whole(leaf) or not self.is_covered(leaf):
                    self.arrays.values[a][...] = 0.0    # which lanes add to, or write a part of
        elif both:
            self.open_adjoints()
        self.sweep_paths(both)
        if both and not region.gradients:
            self.close_adjoints()
        for k in range(region.outputs if region.summed else 0):
            self.sums[k] *= region.scale
        return 0

    cdef int sweep_in_turn(self, bint both) except -1:
        """Run one lane after the other, each at a point, so that maps in the body have their lanes in blocks."""
        cdef MapRegion region = self.region
        cdef Py_ssize_t k
        if self.turn is None:
            self.turn = ScanRun(region, self.arrays, self.wanted, self.active_arrays, False)
        memcpy(self.turn.operand, self.operand, <size_t>(region.numbers * self.size))
        if both:
            memcpy(self.turn.pull_on_sums, self.pull, <size_t>region.outputs * sizeof(double))
            self.turn.backward()
            memcpy(self.pulled, self.turn.pulled, <size_t>region.numbers * sizeof(double))
        else:
            self.turn.forward()
        for k in range(region.outputs if region.summed else 0):
            self.sums[k] = self.turn.sums[k] * region.scale
        return 0

    cdef int sweep_paths(self, bint both) except -1:
        """Let every lane take its path."""
        cdef MapRegion region = self.region
        if self.only is not None:
            return self.path(self.only).sweep(both, None)
        if both and region.gradients and len(self.parts) > 1:
            for _, a in region.gradient_arrays:
                self.arrays.values[a][...] = 0.0    # to which all parts of a path add
        waiting = None
        while True:
            if waiting is None and len(self.parts) == 1:
                strays = self.sweep_whole(both)
            else:
                strays = self.sweep_tree(both, waiting)
            if not len(strays[0]):
                return 0
            waiting = region.settle_strays(self, both, self.nodes, *strays)
            if waiting is None:
                return 0
            self.take_tree()

    cdef object sweep_tree(self, bint both, waiting):
        """Run the lanes (those that wait) down the tree of the body's paths; return those that left it."""
        cdef Parted tree = self.tree
        cdef Path path
        cdef Py_ssize_t k, which
        for k, path in enumerate(self.parts):
            for which in tree.needs(k, both):
                tree.set_batch(k, which, path.opened(which == 1, len(self.parts) > 1))
        strays = tree.sweep(both, waiting)
        for k, path in enumerate(self.parts):
            for which in tree.needs(k, both):
                path.collect(path.batch(which == 1), which == 1)
        return strays

    cdef object sweep_whole(self, bint both):
        """Run all lanes where the paths are one part, block by block; return those that left it."""
        cdef Path path = self.parts[0]
        cdef Batch batch = path.batch(both)
        cdef Py_ssize_t lanes = self.region.lanes
        strays = np.full(lanes, -1, np.int32) if self.strays is None else self.strays
        cdef int32_t[::1] stray = strays
        self.strays = None
        batch.run.lanes = -1                    # its strands may be those of parted lanes
        batch.run.take_lanes(lanes, NULL)
        path.opened(both, False)
        batch.run.stray = &stray[0] if lanes else NULL
        try:
            batch.sweep()
        finally:
            batch.run.stray = NULL
        path.collect(batch, both)
        if batch.run.diverged < 0:
            self.strays = strays        # for the next time
            return np.zeros((3, 0), np.int64)
        found = np.flatnonzero(strays >= 0)
        return found, np.zeros(len(found), np.int64), strays[found].astype(np.int64)

    cdef int take_tree(self) except -1:
        """Make ready for the tree as it has grown."""
        cdef dict before = {}
        cdef Path path
        version, nodes, parts, wires = self.region.tree()
        if version == self.version:
            return 0
        for path in self.parts:
            before[path.wires.plan] = path
        self.parts = []
        for one in wires:
            self.parts.append(before.get(one.plan) or Path(self, one))
        self.tree = Parted(parts, self.region.lanes, self.region.single, self.region.summed)
        self.version, self.nodes = version, nodes
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
                if self.arrays.arrived[a] or self.is_shared(a) or not self.is_covered(leaf):
                    self.arrays.clear_adjoint(a)
                else:
                    self.claim(a, leaf)
                    self.assigns[leaf] = True
                continue
            self.adds[leaf] = a in first or self.arrays.arrived[a]
            if first.setdefault(a, self.region.axis_of[leaf]) != self.region.axis_of[leaf]:
                own = Arrays(1)
                own.put(0, self.arrays.values[a])
                own.clear_adjoint(0)
                self.aside[leaf] = own
            elif self.region.is_whole(leaf) or (not self.adds[leaf] and self.is_shared(a)):
                self.adds[leaf] = True  # maps in the body add to it, too, perhaps before this leaf's numbers do
                self.arrays.clear_adjoint(a)
            elif not self.adds[leaf]:
                self.claim(a, leaf)
        for bound, a, _ in self.region.body_arrays:
            if bound == MADE or (bound == OUTER and a in self.active_arrays):
                self.arrays.clear_adjoint(a)
        return 0

    cdef bint is_shared(self, Py_ssize_t a) except -1:
        """Whether an array is more than one leaf, or maps in the body read it."""
        cdef Py_ssize_t bodies = len(self.region.body_arrays)
        cdef list leaves
        if self.shared is None or self.bodies != bodies:
            leaves = self.region.array.tolist()
            self.shared, self.bodies = {x for x, count in collections.Counter(leaves).items() if count > 1}, bodies
            for kind, which, _ in self.region.body_arrays:
                if kind < OWN:
                    self.shared.add(leaves[which] if kind == LEAF else which)
        return a in self.shared

    cdef int claim(self, Py_ssize_t a, Py_ssize_t leaf) except -1:
        """Let the lanes assign an array's adjoint: it need not be cleared if all of it is written."""
        if self.is_covered(leaf):
            if self.arrays.adjoints[a] is None:
                self.arrays.put_adjoint(a, np.empty_like(self.arrays.values[a]))
            self.arrays.arrived[a] = True
            return 0
        return self.arrays.clear_adjoint(a)

    cdef bint is_covered(self, Py_ssize_t leaf):
        """Whether all numbers of a leaf are inputs of the only path, which writes their gradients."""
        cdef Path path
        if self.only is None and len(self.parts) != 1:
            return False
        path = self.path(self.only) if self.only is not None else self.parts[0]
        return path.wires.covers[leaf] != 0

    cdef int close_adjoints(self) except -1:
        """Add what went aside."""
        cdef Py_ssize_t leaf, a
        for leaf in range(len(self.aside)):
            if self.aside[leaf] is not None:
                a = self.region.array_of[leaf]
                self.arrays.adjoints[a] += (<Arrays>self.aside[leaf]).adjoints[0]
                self.aside[leaf] = None
        return 0

    cdef double operand_at(self, Py_ssize_t k) noexcept:
        return number_at(self.operand + k * self.size, self.region.single)

    # for Python: where lanes are parted by path, where examples are run

    def inputs(self, Wires wires):
        """Return the inputs of a path: numbers, and columns of one number per lane."""
        found = []
        for kind, which, element, number in wires.given.tolist():
            if kind == NUMBER:
                found.append(number)
            elif kind == OPERAND:
                found.append(self.operand_at(which))
            else:
                values = self.arrays.values[self.region.array[which]]
                if kind == SAME:
                    found.append(float(values.flat[element]))
                else:
                    lanes = np.moveaxis(values, self.region.axis[which], 0)
                    found.append(lanes[(slice(None), *np.unravel_index(element, lanes.shape[1:]))])
        return found

    def value_of(self, given):
        """Return what an input is that is a number for all lanes."""
        kind, which, _, number = given
        return self.operand_at(which) if kind == OPERAND else number

    def lane_inputs(self, Wires wires, Py_ssize_t lane):
        """Return the inputs of a path in one lane."""
        return np.array([x[lane] if isinstance(x, np.ndarray) else x for x in self.inputs(wires)], np.float64)

    # one lane, without a program

    cdef char* lane_of(self, const ArrayRef* array, int axis, Py_ssize_t element, Py_ssize_t lane) noexcept:
        return array.data + offset_of(array, axis, element) + (lane * array.stride[axis] if axis >= 0 else 0)

    cdef int read_lane(self, double* found, const Source[::1] given, Py_ssize_t lane) except -1:
        """Write what inputs are in a lane."""
        cdef Py_ssize_t i
        cdef const Source* source
        for i in range(given.shape[0]):
            source = &given[i]
            if source.kind == NUMBER:
                found[i] = source.number
            elif source.kind == OPERAND:
                found[i] = self.operand_at(source.which)
            else:
                found[i] = number_at(
                    self.lane_of(
                        &self.arrays.value[self.region.array_of[source.which]], self.region.axis_of[source.which],
                        source.element, lane
                    ),
                    self.region.single,
                )
        return 0

    def point_of(self, const Source[::1] given, Py_ssize_t lane):
        """Return what inputs are in a lane."""
        cdef double[::1] found = np.empty(given.shape[0] + 1)
        self.read_lane(&found[0], given, lane)
        return np.asarray(found)[: given.shape[0]]

    def run_draft(self, draft, const Source[::1] given, Py_ssize_t lane, bint both):
        """Run one lane gate by gate; return the guard that came out otherwise, or -1.

        `given` says what the inputs are, those of the body's arguments first, leaf after leaf.
        """
        cdef Once once = Once(draft, self.region.single)
        cdef int32_t[::1] outputs = once.draft.outputs
        cdef Py_ssize_t i, broken, n = outputs.shape[0]
        cdef Memory ends = Memory(n * <Py_ssize_t>sizeof(double))
        cdef double* end = <double*>ends.start
        self.read_lane(once.value, given, lane)
        for i in range(given.shape[0]):
            once.value[i] = once.rounded(once.value[i])
        broken = once.forward()
        if broken >= 0:
            return broken
        for i in range(n):
            end[i] = once.value[outputs[i]]
        self.put_values(end, n, lane)
        if both:
            self.take_pulls(end, n, lane)
            for i in range(n):
                if outputs[i] >= 0:
                    once.adjoint[outputs[i]] += end[i]
            once.backward()
            self.put_gradients(once.adjoint, given, lane)
        return -1

    def run_trial(
        self, Trace trace, const int32_t[::1] inputs, list outputs, const Source[::1] given, Py_ssize_t lane, bint both
    ):
        """Take the numbers of one lane from the trace that was recorded there, and sweep it backward.

        `inputs` are slots, of what `given` says; `outputs` are slots, or numbers.
        """
        cdef Py_ssize_t i, n = len(outputs), low = trace.nodes.length, top = -1
        cdef Memory memory = Memory((n + inputs.shape[0]) * <Py_ssize_t>sizeof(double))
        cdef double* end = <double*>memory.start
        cdef double* adjoint = end + n
        cdef int32_t[::1] slot = np.full(n, -1, np.int32)
        for i, output in enumerate(outputs):
            if type(output) is int:
                slot[i] = output
                low, top = min(low, <Py_ssize_t>slot[i]), max(top, <Py_ssize_t>slot[i])
            end[i] = trace.nodes.value[slot[i]] if slot[i] >= 0 else <double>output
        self.put_values(end, n, lane)
        if not both:
            return
        self.take_pulls(end, n, lane)
        begin_sweep(trace, trace.nodes.length - 1)
        try:
            for i in range(n):
                if slot[i] >= 0:
                    trace.nodes.adjoint[slot[i]] += end[i]
            if top >= 0:
                pull_down(trace, top, &low)
            for i in range(inputs.shape[0]):
                adjoint[i] = trace.nodes.adjoint[inputs[i]]
        finally:
            end_sweep(trace, max(top, <Py_ssize_t>0), min(low, max(top, <Py_ssize_t>0)))
        self.put_gradients(adjoint, given, lane)

    cdef int put_values(self, const double* value, Py_ssize_t outputs, Py_ssize_t lane) except -1:
        """Add up what comes out of a lane, or put it into arrays."""
        cdef MapRegion region = self.region
        cdef const ArrayRef* array
        cdef Py_ssize_t k, j
        for k in range(outputs if region.summed else 0):
            self.sums[k] += value[k]
        k = 0
        for a, shape in region.value_arrays:
            for j in range(math.prod(shape)):
                if a >= 0:
                    array = &self.arrays.value[<Py_ssize_t>a]
                    put_number_at(self.lane_of(array, 0, j, lane), value[k], region.single)
                k += 1
        return 0

    cdef bint is_sum(self, Py_ssize_t output):
        """Whether an output is added up, and not put into an array."""
        cdef Py_ssize_t first = 0
        for a, shape in self.region.value_arrays:
            first += math.prod(shape)
            if output < first:
                return a < 0
        return self.region.summed

    cdef int take_pulls(self, double* pull, Py_ssize_t outputs, Py_ssize_t lane) except -1:
        """Write what is pulled on the outputs in a lane."""
        cdef MapRegion region = self.region
        cdef Py_ssize_t k, j
        for k in range(outputs):
            pull[k] = 0.0
            if region.gradients:
                pull[k] = 1.0
            elif region.summed and (not region.value_arrays or self.is_sum(k)):
                pull[k] = self.pull[k] * region.scale
        k = 0
        for a, shape in region.value_arrays if not region.gradients else ():
            for j in range(math.prod(shape)):
                if a >= 0 and self.arrays.arrived[<Py_ssize_t>a]:
                    pull[k] += number_at(
                        self.lane_of(&self.arrays.adjoint[<Py_ssize_t>a], 0, j, lane), region.single
                    )
                k += 1
        return 0

    cdef int put_gradients(self, const double* adjoint, const Source[::1] given, Py_ssize_t lane) except -1:
        """Add the gradients of the inputs to where they go."""
        cdef MapRegion region = self.region
        cdef Py_ssize_t i, j
        cdef const Source* source
        if region.gradients:
            for leaf, a in region.gradient_arrays:
                i = region.first_input[<Py_ssize_t>leaf]
                for j in range(math.prod(region.leaf_shapes[<Py_ssize_t>leaf] or ())):
                    add_number_at(
                        self.lane_of(&self.arrays.value[<Py_ssize_t>a], 0, j, lane), adjoint[i + j], region.single
                    )
            return 0
        for i in range(given.shape[0]):
            source = &given[i]
            if source.kind == OPERAND:
                self.pulled[source.which] += adjoint[i]
            elif source.kind != NUMBER and self.wanted_leaf[source.which]:
                add_number_at(
                    self.lane_of(
                        self.adjoint_of(source.which), region.axis_of[source.which], source.element, lane
                    ),
                    adjoint[i], region.single,
                )
        return 0

    def sweep_one(self, Wires wires, Py_ssize_t lane, bint both):
        """Run one lane on a path that is not kept; return the guard that came out otherwise, or -1."""
        cdef Batch batch = Path(self, wires).swept(both, np.array([lane], np.int64))
        return batch.run.broken if batch.run.diverged >= 0 else -1

    def divergence(self, Wires wires, Py_ssize_t guard, Py_ssize_t lane):
        """Return the error for a guard that does not hold in a lane."""
        return wires.plan.divergence(guard, self.lane_inputs(wires, lane), lane)

    def run_at(self, operands):
        """Run forward at some operands; returns the sums."""
        self.take_operands(operands)
        self.sweep(self.region.gradients)
        return [self.sums[k] for k in range(self.region.outputs)] if self.region.summed else []

    def pulled_at(self, operands, pulls, bint anew=True):
        """Run forward and backward, from pulls on the sums; returns what arrives on the operands, and the sums.

        Unless `anew`, pulls have arrived on arrays before.
        """
        cdef Py_ssize_t k
        if anew:
            self.arrays.begin()
        self.take_operands(operands)
        for k, number in enumerate(pulls):
            self.pull[k] = number
        self.sweep(True)
        pulled = np.empty(self.region.numbers)
        cdef double[::1] arrived = pulled
        for k in range(self.region.numbers):
            arrived[k] = number_at(<char*>self.pulled + k * self.size, self.region.single) if self.brings else (
                self.pulled[k]
            )
        return pulled, [self.sums[k] for k in range(self.region.outputs)]

    cdef int take_operands(self, operands) except -1:
        """Let operands have these values."""
        cdef const double[::1] number = np.ascontiguousarray(operands, np.float64)
        cdef Py_ssize_t k
        self.operand = self.own
        for k in range(number.shape[0]):
            put_number_at(self.operand + k * self.size, number[k], self.region.single)
        return 0


cdef class MapAtPoint(PointRegion):
    """A map in a program at one point.

    Where the pulls on its sums do not depend on them, they are operands: the lanes then go forward and backward at
    once, and what they bring is kept until the sweep backward comes by.
    """

    cdef MapRun run
    cdef bint fused
    cdef SlotRuns operands
    cdef SlotRuns targets

    def __init__(self, Wiring wiring, PointRun run):
        PointRegion.__init__(self, wiring)
        cdef MapRegion region = wiring.region
        self.operands = SlotRuns(wiring.operands[: region.numbers])
        self.targets = SlotRuns(wiring.targets[: region.numbers])
        wanted = (wiring.targets >= 0)[: region.numbers]
        active = run.program.active_arrays if wiring.active_arrays is None else wiring.active_arrays
        self.run = MapRun(region, run.arrays, wanted, active)
        self.fused = len(wiring.operands) > region.numbers and wiring.pull >= 0

    cdef int take_operands(self, PointRun run) except -1:
        """Let the operands be what they are now, where they lie if that is side by side."""
        self.run.operand = self.operands.whole(run)
        if self.run.operand == NULL:
            self.run.operand = self.run.own
            self.operands.copy(self.run.own, run)
        return 0

    cdef int forward(self, PointRun run) except -1:
        cdef MapRegion region = self.run.region
        cdef Py_ssize_t k
        self.take_operands(run)
        self.run.knows_sums = False
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
            self.take_operands(run)
            for k in range(region.outputs if region.summed else 0):
                self.run.pull[k] = run.get(self.wiring.pull + k)
            self.run.knows_sums = True
            self.run.sweep(True)
        if self.run.brings:
            self.targets.add_own(run, <const char*>self.run.pulled)
        else:
            self.targets.add(run, self.run.pulled)
        forget_made(self.wiring, run.arrays)
        return 0
