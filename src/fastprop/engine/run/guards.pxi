"""Guards in lanes: which lanes would have gone another way, and that nothing is pulled there."""
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset


cdef bint guards_hold(LanesRun run, Bench bench, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
    """Look for lanes that would have gone another way; strays are noted, and the others run on."""
    cdef Py_ssize_t g, k, at
    cdef int64_t lane
    cdef double truth
    for g in range(run.program.guards_count):
        row = <char*>bench.space.row[run.program.guard[g]]
        at = 1 if run.is_number(run.program.guard[g]) else count
        if all_are(row, at, run.program.guard_expected[g], run.single):
            continue
        for k in range(count):
            at = 0 if run.is_number(run.program.guard[g]) else k
            truth = run.number(row + at * run.size)
            if (truth != 0.0) != run.program.guard_expected[g]:
                lane = run.lane[begin + k] if run.lane != NULL else begin + k
                if run.diverged < 0:
                    run.diverged, run.broken = lane, g
                if run.stray == NULL:
                    return False
                if run.stray[lane] < 0:
                    run.stray[lane] = <int32_t>g
    return True


cdef void silence(LanesRun run, char* row, Py_ssize_t begin, Py_ssize_t count) noexcept nogil:
    """Put 0 for strays."""
    cdef Py_ssize_t k
    for k in range(count):
        if run.stray[run.lane[begin + k] if run.lane != NULL else begin + k] >= 0:
            memset(row + k * run.size, 0, <size_t>run.size)
