"""Slots of a program at one point, in runs that lie side by side: their numbers are read and written run by run."""
from libc.stdint cimport int32_t
from libc.string cimport memcpy


cdef struct SlotRun:
    Py_ssize_t first    # the number of the first of the slots
    Py_ssize_t slot     # its slot; -1: none of them is anywhere
    Py_ssize_t count


@cython.final
cdef class SlotRuns:
    """A list of slots.

    Parameters
    ----------
    slots : array of int32
        -1 for what is nowhere: read as anything, and not written.
    """

    cdef Memory memory
    cdef SlotRun* run
    cdef Py_ssize_t runs

    def __init__(self, slots):
        slots = np.asarray(slots, np.int64)
        gone = slots < 0
        breaks = np.diff(np.where(gone, -2, slots), prepend=-4) != np.where(gone, 0, 1)
        first = np.flatnonzero(breaks)
        cdef Py_ssize_t k
        self.runs = len(first)
        self.memory = Memory(self.runs * <Py_ssize_t>sizeof(SlotRun))
        self.run = <SlotRun*>self.memory.start
        for k, (i, end) in enumerate(zip(first.tolist(), [*first[1:].tolist(), len(slots)])):
            self.run[k] = SlotRun(i, slots[i], end - i)

    cdef void copy(self, char* to, PointRun run) noexcept:
        """Copy the numbers, in the program's dtype."""
        self.copy_from(<const char*>run.space.base, to, run.single)

    cdef void copy_from(self, const char* base, char* to, bint single) noexcept:
        """The same of slots that begin there."""
        cdef Py_ssize_t k, size = 4 if single else 8
        cdef const SlotRun* some
        for k in range(self.runs):
            some = &self.run[k]
            if some.slot >= 0:
                copy_numbers(to + some.first * size, base + some.slot * size, some.count, single)

    cdef char* whole(self, PointRun run) noexcept:
        """Where the numbers lie, if they lie side by side; else NULL."""
        if self.runs != 1 or self.run.slot < 0:
            return NULL
        return <char*>run.space.base + self.run.slot * run.size

    cdef void add_own(self, PointRun run, const char* numbers) noexcept:
        """Add to the numbers, what is in the program's dtype."""
        cdef Py_ssize_t k, i
        cdef const SlotRun* some
        cdef float* narrow
        cdef double* wide
        for k in range(self.runs):
            some = &self.run[k]
            narrow, wide = <float*>run.space.base + some.slot, <double*>run.space.base + some.slot
            for i in range(some.count if some.slot >= 0 and run.single else 0):
                narrow[i] += (<const float*>numbers)[some.first + i]
            for i in range(0 if some.slot < 0 or run.single else some.count):
                wide[i] += (<const double*>numbers)[some.first + i]

    cdef void add(self, PointRun run, const double* numbers) noexcept:
        """Add to the numbers."""
        cdef Py_ssize_t k
        cdef const SlotRun* some
        for k in range(self.runs):
            some = &self.run[k]
            if some.slot >= 0:
                add_numbers_at(run, some.slot, numbers + some.first, some.count)


cdef inline void copy_numbers(char* to, const char* numbers, Py_ssize_t n, bint single) noexcept nogil:
    """Copy numbers that lie side by side; few of them, as a rule."""
    cdef Py_ssize_t k
    if n > 16:
        memcpy(to, numbers, <size_t>(n * (4 if single else 8)))
        return
    for k in range(n if single else 0):
        (<float*>to)[k] = (<const float*>numbers)[k]
    for k in range(0 if single else n):
        (<double*>to)[k] = (<const double*>numbers)[k]


cdef void put_slots(
    PointRun run, Py_ssize_t slot, const ArrayRef* array, int axis, Py_ssize_t element, Py_ssize_t n
) noexcept:
    """Let slots side by side be numbers of an array, from one on: of the first lane, if lanes are along an axis."""
    cdef Py_ssize_t step, count, k
    cdef char* at
    while n > 0:
        count = min(n, evenly_from(array, axis, element, &at, &step))
        if step == run.size:
            copy_numbers(<char*>run.space.base + slot * run.size, at, count, run.single)
        else:
            for k in range(count):
                move(<char*>run.space.base + (slot + k) * run.size, at + k * step, run.single)
        slot, element, n = slot + count, element + count, n - count


cdef void give_slots(
    PointRun run, Py_ssize_t slot, const ArrayRef* array, int axis, Py_ssize_t element, Py_ssize_t n, bint adds
) noexcept:
    """Put what is in slots side by side into an array, or add it to what is there."""
    cdef Py_ssize_t step, count, k
    cdef char* at
    while n > 0:
        count = min(n, evenly_from(array, axis, element, &at, &step))
        if not adds and step == run.size:
            copy_numbers(at, <const char*>run.space.base + slot * run.size, count, run.single)
        for k in range(count if adds else 0):
            add_number_at(at + k * step, run.get(slot + k), run.single)
        for k in range(0 if adds or step == run.size else count):
            move(at + k * step, <const char*>run.space.base + (slot + k) * run.size, run.single)
        slot, element, n = slot + count, element + count, n - count


cdef void read_numbers(double* to, PointRun run, Py_ssize_t slot, Py_ssize_t n) noexcept:
    """Copy numbers from slots side by side, as doubles."""
    cdef Py_ssize_t k
    cdef const float* narrow = <const float*>run.space.base + slot
    cdef const double* wide = <const double*>run.space.base + slot
    for k in range(n if run.single else 0):
        to[k] = narrow[k]
    for k in range(0 if run.single else n):
        to[k] = wide[k]


cdef void add_numbers_at(PointRun run, Py_ssize_t slot, const double* numbers, Py_ssize_t n) noexcept:
    """Add numbers to slots side by side."""
    cdef Py_ssize_t k
    cdef float* narrow = <float*>run.space.base + slot
    cdef double* wide = <double*>run.space.base + slot
    for k in range(n if run.single else 0):
        narrow[k] = <float>(narrow[k] + numbers[k])
    for k in range(0 if run.single else n):
        wide[k] += numbers[k]
