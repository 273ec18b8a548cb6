"""LaneArrays: the arrays of a map's body, at many lanes of the map.

Those that come from outside have lanes along an axis, or are the same in all of them; those that the body makes and
keeps to itself live in a workspace, one block of lanes at a time. Adjoints go the same way; those of arrays that are
the same in all lanes are sums, one per strand of blocks: the same bits come out whatever the number of threads.
"""
import math

from libc.string cimport memset

from fastprop.engine.program cimport Program, Wiring


cdef enum:
    VALUE
    ADJOINT


cdef set arrays_inside(Program program):
    """The arrays on which gradients inside pull."""
    cdef Wiring wiring
    cdef set found = set()
    for wiring in program.regions:
        if wiring.active_arrays is not None:
            found |= wiring.active_arrays
    return found


cdef class LaneArrays:
    """Where they are; of one thread if some are its own.

    Parameters
    ----------
    shapes : list of tuple of int
        In a lane.
    flags : array of bool, (5, number of arrays)
        Whether they are the same in all lanes, adjoints are sums over lanes, arrays are a block's own, adjoints wanted,
        and those by gradients inside, which are a block's own.
    single : bool
        Whether they are float32.
    """

    def __init__(self, list shapes, flags, bint single):
        cdef Py_ssize_t a, room = 0
        self.count, self.shapes, self.flags, self.single = len(shapes), shapes, flags, single
        self.same, self.pooled, self.own, self.wanted, self.inside = flags
        self.table = Memory((2 * self.count + 1) * <Py_ssize_t>sizeof(LaneArray))
        self.value = <LaneArray*>self.table.start
        self.adjoint = self.value + self.count
        for shape in shapes:
            room += 4 * len(shape)
        self.axes = Memory((room + 1) * <Py_ssize_t>sizeof(Py_ssize_t))
        cdef Py_ssize_t* at = <Py_ssize_t*>self.axes.start
        for a, shape in enumerate(shapes):
            for array in (VALUE, ADJOINT):
                self.put_axes(a, array, <size_t>at, len(shape))
                at += 2 * len(shape)

    def put_axes(self, Py_ssize_t a, int which, size_t at, int ndim):
        """Say where the shape and the strides are kept."""
        cdef LaneArray* array = &self.value[a] if which == VALUE else &self.adjoint[a]
        array.one.ndim = ndim
        array.one.shape = <Py_ssize_t*>at
        array.one.stride = <Py_ssize_t*>at + ndim

    cdef Py_ssize_t* axes_of(self, Py_ssize_t a, int which) noexcept nogil:
        return <Py_ssize_t*>(self.value[a].one.shape if which == VALUE else self.adjoint[a].one.shape)

    cdef Py_ssize_t length(self, Py_ssize_t a) noexcept nogil:
        """How many numbers it has in a lane."""
        cdef Py_ssize_t n = 1
        cdef int i
        for i in range(self.value[a].one.ndim):
            n *= self.value[a].one.shape[i]
        return n

    cdef void lay(self, LaneArray* array, Py_ssize_t a, int which, Py_ssize_t size) noexcept nogil:
        """Give an array C's layout, of numbers that are so many bytes apart."""
        cdef Py_ssize_t* axes = self.axes_of(a, which)
        cdef int i, ndim = array.one.ndim
        for i in range(ndim - 1, -1, -1):
            axes[i] = self.value[a].one.shape[i]
            axes[ndim + i] = size
            size *= axes[i]

    cdef void refer(self, LaneArray* to, Py_ssize_t a, int which, const ArrayRef* whole, int axis) noexcept nogil:
        """Let an array be a whole one, with lanes along an axis (-1: it is the same in all)."""
        cdef Py_ssize_t* axes = self.axes_of(a, which)
        cdef int i, k = 0, ndim = to.one.ndim
        to.one.data = whole.data
        to.lane = 0 if axis < 0 else whole.stride[axis]
        for i in range(whole.ndim if whole.data != NULL else 0):
            if i != axis:
                axes[k], axes[ndim + k] = whole.shape[i], whole.stride[i]
                k += 1

    cdef void enter(self, LaneArray* to, Py_ssize_t a, int which, const LaneArray* outer, int axis) noexcept nogil:
        """Let an array be one of the body around it, at the first step along an axis (-1: the whole of it)."""
        self.refer(to, a, which, &outer.one, axis)
        to.lane = outer.lane

    # a workspace's

    cdef LaneArrays of_a_bench(self, Py_ssize_t width):
        """The same for one thread, with room for what is its own."""
        cdef LaneArrays arrays = LaneArrays(self.shapes, self.flags, self.single)
        cdef Py_ssize_t a, size = 4 if self.single else 8, room = 0
        arrays.row = width * size
        for a, shape in enumerate(self.shapes):
            if self.own[a] or self.inside[a]:
                for i, length in enumerate(shape):
                    arrays.axes_of(a, VALUE)[<Py_ssize_t>i] = length
                arrays.lay(&arrays.value[a], a, VALUE, arrays.row)
                arrays.lay(&arrays.adjoint[a], a, ADJOINT, arrays.row)
                arrays.value[a].lane = arrays.adjoint[a].lane = size
                room += math.prod(shape) * (self.own[a] + self.wanted[a])
        arrays.rows = Memory(room * arrays.row)
        return arrays

    cdef void take(self, LaneArrays given) noexcept nogil:
        """Let those that come from outside be what they are there."""
        cdef Py_ssize_t a
        for a in range(self.count):
            if not self.own[a]:
                self.refer(&self.value[a], a, VALUE, &given.value[a].one, -1)
                self.value[a].lane = given.value[a].lane
            if not self.own[a] and not self.inside[a]:
                self.refer(&self.adjoint[a], a, ADJOINT, &given.adjoint[a].one, -1)
                self.adjoint[a].lane = given.adjoint[a].lane

    cdef void open(self, Py_ssize_t begin, bint backward) noexcept nogil:
        """Make ready those of its own for a block of lanes: nothing has been pulled on them yet."""
        cdef Py_ssize_t a, room, size = 4 if self.single else 8
        cdef char* at = self.rows.start if self.rows is not None else NULL
        for a in range(self.count):
            room = self.length(a) * self.row
            if self.own[a]:
                self.value[a].one.data = at - begin * size
                at += room
            if self.wanted[a] and (self.own[a] or self.inside[a]):
                self.adjoint[a].one.data = at - begin * size
                if backward or self.inside[a]:
                    self.forget(a, begin)
                at += room

    cdef void forget(self, Py_ssize_t a, Py_ssize_t begin) noexcept nogil:
        """Let nothing have been pulled on an array whose adjoint is a block's own."""
        memset(
            self.adjoint[a].one.data + begin * (4 if self.single else 8), 0, <size_t>(self.length(a) * self.row)
        )

    # adjoints that are sums over lanes

    cdef int make_pools(self, Py_ssize_t strands) except -1:
        """Zeros for the sums of every strand."""
        cdef Py_ssize_t a, size = 4 if self.single else 8
        self.pool = 0
        for a in range(self.count):
            if self.pooled[a] and self.wanted[a]:
                self.pool += self.length(a) * size
        if self.pools is None or self.pools.nbytes != strands * self.pool:
            self.pools = Memory(strands * self.pool)
        memset(self.pools.start, 0, <size_t>(strands * self.pool))
        cdef char* at = self.pools.start
        for a in range(self.count):
            if self.pooled[a] and self.wanted[a]:
                self.lay(&self.adjoint[a], a, ADJOINT, size)
                self.adjoint[a].one.data, self.adjoint[a].lane = at, 0
                at += self.length(a) * size
        return 0

    cdef void use_pool(self, LaneArrays given, Py_ssize_t strand) noexcept nogil:
        """Let what is pulled be added to a strand's sums."""
        cdef Py_ssize_t a
        for a in range(self.count):
            if self.pooled[a] and self.wanted[a]:
                self.adjoint[a].one.data = given.adjoint[a].one.data + strand * given.pool

    cdef int empty_pools(self, Py_ssize_t strands, Py_ssize_t a, const ArrayRef* to) except -1:
        """Add the sums of all strands, in order, to an array."""
        cdef Py_ssize_t k, strand, n = self.length(a), size = 4 if self.single else 8
        cdef double total
        for k in range(n):
            total = 0.0
            for strand in range(strands):
                total += number_at(self.adjoint[a].one.data + strand * self.pool + k * size, self.single)
            add_number_at(to.data + offset_of(to, -1, k), total, self.single)
        return 0
