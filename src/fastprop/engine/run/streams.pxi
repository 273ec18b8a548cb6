"""How wide a block is; the callers' arrays that blocks read and write: which they are, when to ask for their rows."""
import numpy as np

from fastprop.engine.executor.instructions cimport Coming, Instruction
from fastprop.engine.kernels cimport EXP


cdef extern from *:
    """
    #include <unistd.h>
    static Py_ssize_t near_cache(void) { /* bytes of the nearest one; 0: nobody knows */
    #ifdef _SC_LEVEL1_DCACHE_SIZE
        const long found = sysconf(_SC_LEVEL1_DCACHE_SIZE);
        return found > 0 ? (Py_ssize_t)found : 0;
    #else
        return 0;
    #endif
    }
    """
    Py_ssize_t near_cache() noexcept nogil

cdef Py_ssize_t NEAR_CACHE = 7 * (near_cache() or 32 << 10) // 10   # of it for rows: callers' rows and sums need some
cdef enum:
    WIDEST = 512
    WIDEST_STREAMED = 256   # where gradients go past the cache: their rows and the foreseen inputs want the nearest one
    CACHE = 2500000         # bytes that the rows of a block may take; half of them, at most, are at work together
    NEAR_WIDTH = 128        # if a block of so many fits into the nearest one, it is no wider than fits
    NARROW = 32             # where lanes are more: rows of products want two registers


cdef Py_ssize_t best_width(LanesRun run, Py_ssize_t lanes) except -1:
    """How many lanes are run together."""
    cdef Py_ssize_t lane_bytes = rows_of(run) * run.size, width = WIDEST
    if np.any(run.once):
        width = WIDEST_STREAMED
    if lane_bytes * NEAR_WIDTH <= NEAR_CACHE:
        while lane_bytes * width > NEAR_CACHE:
            width //= 2
    while width > NARROWEST and (width >= 2 * lanes or (width > NARROW and lane_bytes * width > CACHE)):
        width //= 2
    return width


cdef Py_ssize_t rows_of(LanesRun run) noexcept:
    """How many slots are rows: not those of what is one number for all lanes, nor of gradients that nobody wants."""
    cdef Py_ssize_t numbers = run.program.inputs - run.varying.shape[0], i
    if run.program.gradient:
        numbers += run.program.inputs
        for i in run.varying:
            numbers -= run.wanted[i]
    return run.program.slots - run.program.constants_count - numbers


cdef int list_streams(LanesRun run, Bench bench) noexcept nogil:
    """List the callers' arrays that are read and written block after block: the inputs, then the others."""
    cdef char** row = <char**>bench.addresses.start
    cdef Py_ssize_t i, n = 0, pieces = run.width * run.size // 512, chances = bench.ahead.length
    cdef Instruction step
    for i in run.varying:
        if run.is_whole(&run.input[i], run.width):
            row[n] = run.input[i].data
            n += 1
    bench.reads = n
    bench.space.past_cache = streamed_bytes(run) > PAST_CACHE
    for i in range(bench.ahead.length):
        step = bench.ahead.instruction[i]
        if step.arity == 1 and (step.saved >= 0 or step.opcode == EXP):
            chances += pieces     # one per piece of a gate that takes long
    for i in run.in_rows:
        if run.is_whole(&run.value[i], run.width):
            row[n] = run.value[i].data
            n += 1
    for i in run.varying:
        if run.program.gradient and run.wanted[i] and run.is_whole(&run.gradient[i], run.width):
            if not (bench.space.past_cache and bypasses(run, &run.gradient[i], i)):
                row[n] = run.gradient[i].data
                n += 1
    bench.streams = n
    bench.near = min(bench.reads, FORESEEN // (run.width * run.size))
    bench.at_once = at_once(run, n if asks_ahead(bench) else n - bench.near, chances)
    bench.at_once_back = bench.at_once if asks_ahead(bench) else at_once(run, bench.near, bench.back.length)
    return 0


cdef Py_ssize_t streamed_bytes(LanesRun run) noexcept nogil:
    """Bytes of the gradients that are written in place."""
    cdef Py_ssize_t i, total = 0
    for i in run.varying:
        if run.program.gradient and run.wanted[i] and run.is_whole(&run.gradient[i], run.width):
            total += run.lanes * run.size
    return total


cdef bint bypasses(LanesRun run, const Column* column, Py_ssize_t i) noexcept nogil:
    """Whether the gradient of an input will be written past the cache."""
    return run.once[i] and ((<size_t>column.data + <size_t>(run.lead * run.size)) & 63) == 0


cdef inline bint asks_ahead(Bench bench) noexcept nogil:
    """Whether the next block's inputs are asked for forward, too: that keeps the way to memory busy backward."""
    return bench.space.past_cache and bench.near == bench.reads


cdef void foresee(LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Say what is coming: forward, what this block still needs; backward, the next one's first inputs."""
    expect(run, &bench.soon, bench, bench.near, bench.streams, begin, end)
    expect(run, &bench.next, bench, 0, bench.near, end, min(end + run.width, run.lanes))
    bench.soon.at_once, bench.next.at_once = bench.at_once, bench.at_once_back
    bench.soon.then = &bench.next if asks_ahead(bench) else NULL


cdef inline void expect(
    LanesRun run, Coming* coming, Bench bench, Py_ssize_t first, Py_ssize_t last, Py_ssize_t begin, Py_ssize_t end
) noexcept nogil:
    coming.row = <char**>bench.addresses.start + first
    coming.rows = last - first if end - begin == run.width else 0
    coming.reads = bench.reads - first
    coming.begin = coming.now = begin * run.size
    coming.end = end * run.size
    coming.then = NULL


cdef inline Py_ssize_t at_once(LanesRun run, Py_ssize_t rows, Py_ssize_t chances) noexcept nogil:
    """How much of so many rows to ask for at every chance, in bytes: whole lines."""
    return (rows * run.width * run.size // max(chances, <Py_ssize_t>1) // 64 + 1) * 64


cdef Py_ssize_t best_lead(LanesRun run) noexcept:
    """The first lane from which on what is written lies on cache lines; 0 if lanes are few or summed up."""
    cdef Py_ssize_t i
    cdef size_t beyond = 0
    if run.lane != NULL or run.sums_values or run.sums_nbytes() or run.lanes < 16 * run.width:
        return 0
    for i in run.varying:
        if run.wanted[i] and run.is_whole(&run.gradient[i], run.width):
            beyond = <size_t>run.gradient[i].data & 63
            return <Py_ssize_t>(64 - beyond) // run.size if beyond and beyond % <size_t>run.size == 0 else 0
    return 0
