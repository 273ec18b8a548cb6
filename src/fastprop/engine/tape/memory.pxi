"""Memory for the numbers of Arrays: large blocks are given back to here first, as pages used before are faster.

An Array's numbers live until the tape looks for what nobody can reach, so the C library would give the memory of many
of them back to the system at once, and ask for it again at once.
"""
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport (
    PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext, PyCapsule_SetDestructor
)
from libc.string cimport memmove

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    static void wish_for_large_pages(void *start, size_t nbytes) { /* as NumPy does */
        const size_t page = 4096, beyond = (size_t)start % page, skipped = beyond ? page - beyond : 0;
        madvise((char *)start + skipped, nbytes - skipped, MADV_HUGEPAGE);
    }
    #else
    static void wish_for_large_pages(void *start, size_t nbytes) {}
    #endif
    """
    void wish_for_large_pages(void* start, size_t nbytes) noexcept nogil

cdef enum:
    LARGE = 1 << 16         # bytes from which on memory is kept
    SPARE_BLOCKS = 32       # that are kept at most,
    SPARE_BYTES = 1 << 25   # with so many bytes in all
    HUGE = 1 << 22          # bytes from which on large pages pay

cdef struct Spare:
    void* start
    size_t nbytes

cdef Spare spare_block[SPARE_BLOCKS]    # the one kept longest first
cdef Py_ssize_t spare_blocks = 0
cdef size_t spare_bytes = 0


cdef void* take_memory(size_t nbytes) noexcept:
    """Memory for numbers; NULL if there is none."""
    cdef Py_ssize_t i
    cdef void* start
    if nbytes >= LARGE:
        for i in range(spare_blocks - 1, -1, -1):
            if spare_block[i].nbytes == nbytes:
                start = spare_block[i].start
                forget_spare(i)
                return start
    start = PyMem_RawMalloc(nbytes)
    if start != NULL and nbytes >= HUGE:
        wish_for_large_pages(start, nbytes)
    return start


cdef void give_memory(void* start, size_t nbytes) noexcept:
    """Give memory for numbers back."""
    global spare_blocks, spare_bytes
    if start == NULL or nbytes < LARGE or nbytes > SPARE_BYTES:
        PyMem_RawFree(start)
        return
    while spare_blocks == SPARE_BLOCKS or spare_bytes + nbytes > SPARE_BYTES:
        PyMem_RawFree(spare_block[0].start)
        forget_spare(0)
    spare_block[spare_blocks] = Spare(start, nbytes)
    spare_blocks += 1
    spare_bytes += nbytes


cdef void forget_spare(Py_ssize_t i) noexcept:
    """Take a block off the list of those that are kept."""
    global spare_blocks, spare_bytes
    spare_bytes -= spare_block[i].nbytes
    spare_blocks -= 1
    memmove(&spare_block[i], &spare_block[i + 1], <size_t>(spare_blocks - i) * sizeof(Spare))


# -------------------------------------------------------------------------------------------------------- arrays

cdef void free_numbers(object capsule) noexcept:
    """Give the memory of an array back that has died."""
    give_memory(PyCapsule_GetPointer(capsule, NULL), <size_t>PyCapsule_GetContext(capsule))


cdef cnp.ndarray array_at(void* numbers, int axes, const Py_ssize_t* shape, int kind, size_t nbytes):
    """An array that owns the memory of its numbers."""
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(axes, <cnp.npy_intp*>shape, kind, numbers)
    capsule = PyCapsule_New(numbers, NULL, NULL)
    PyCapsule_SetContext(capsule, <void*>nbytes)
    cnp.set_array_base(array, capsule)
    PyCapsule_SetDestructor(capsule, free_numbers)      # now that nothing can fail
    return array


cdef cnp.ndarray empty_array(int axes, const Py_ssize_t* shape, bint single):
    """An array for numbers to come."""
    cdef int kind = cnp.NPY_FLOAT if single else cnp.NPY_DOUBLE
    cdef size_t nbytes = 4 if single else 8     # a product of an axis with SPARE_BYTES does not overflow
    cdef void* numbers
    cdef int axis
    for axis in range(axes):
        nbytes *= <size_t>shape[axis]
        if nbytes > SPARE_BYTES or nbytes == 0:
            break               # NumPy knows what to do, or that it is too much
    if nbytes < LARGE or nbytes > SPARE_BYTES:
        return cnp.PyArray_EMPTY(axes, <cnp.npy_intp*>shape, kind, 0)
    numbers = take_memory(nbytes)
    if numbers == NULL:
        raise MemoryError(f"no memory for {nbytes} bytes of numbers")
    try:
        return array_at(numbers, axes, shape, kind, nbytes)
    except BaseException:
        give_memory(numbers, nbytes)
        raise


cdef inline void freeze(cnp.ndarray numbers) noexcept:
    """Nobody writes there from now on."""
    cnp.PyArray_CLEARFLAGS(numbers, cnp.NPY_ARRAY_WRITEABLE)


cdef inline bint is_single(object numbers) noexcept:
    """Whether an array holds float32, not float64."""
    return cnp.PyArray_TYPE(<cnp.ndarray>numbers) == cnp.NPY_FLOAT
