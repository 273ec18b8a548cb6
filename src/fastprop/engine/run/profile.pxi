"""Where the time of a replay goes: time per kind of instruction."""
import numpy as np

from libc.stdint cimport int32_t, int64_t

from fastprop.engine.executor.instructions cimport Stream
from fastprop.engine.program cimport sweeping

from fastprop.engine.program import PULL_NAMES, STEP_NAMES

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC


cdef inline int64_t now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000000 + at.tv_nsec


cdef int time_instructions(PointRun run, bint forward, Py_ssize_t begin, int64_t[::1] least) except -1:
    """Run one instruction after the other, and keep the least time of each."""
    cdef Stream* stream = &run.ahead if forward else &run.back
    cdef sweeping sweep = run.executor.forward if forward else run.executor.backward
    cdef Py_ssize_t at
    cdef int64_t began, took
    cdef PointRegion region
    for at in range(begin, stream.length):
        began = now()
        if sweep(stream, &run.space, at, at + 1, run.single) == at:
            region = run.regions[stream.instruction[at].count]
            if forward:
                region.forward(run)
            else:
                region.backward(run)
        took = now() - began
        least[at] = min(least[at], took)
    return 0


cdef int put_pulls(PointRun run, const double[::1] pulls) except -1:
    """Make ready for the sweep backward."""
    cdef const int32_t* seed = run.program.seed
    cdef Py_ssize_t k
    run.executor.backward(&run.back, &run.space, 0, run.program.prologue, run.single)
    for k in range(run.program.outputs_count):
        if seed[k] >= 0:
            run.put(seed[k], pulls[k] + (0.0 if run.program.seed_assigned[k] else run.get(seed[k])))
    return 0


def profile(PointRun run, inputs, pulls, int repeats):
    """Return for each kind of instruction how many there are, the gates in them, and their least times in ns.

    The sweeps run instruction by instruction, `repeats` times; the time that looking at the clock takes is taken off.
    """
    cdef int64_t[::1] ahead = np.full(run.ahead.length, 1 << 60, np.int64)
    cdef int64_t[::1] back = np.full(run.back.length, 1 << 60, np.int64)
    cdef int64_t clock = 1 << 60, began
    cdef int _round
    for _round in range(repeats):
        run.forward(inputs)     # also puts the inputs
        time_instructions(run, True, 0, ahead)
        put_pulls(run, pulls)
        time_instructions(run, False, run.program.prologue, back)
        began = now()
        clock = min(clock, now() - began)
    found = {}
    add_up(&run.ahead, ahead, clock, "forward", STEP_NAMES, found)
    add_up(&run.back, back, clock, "backward", PULL_NAMES, found)
    return found


cdef int add_up(Stream* stream, int64_t[::1] least, int64_t clock, str sweep, names, dict found) except -1:
    cdef Py_ssize_t at
    for at in range(stream.length):
        if least[at] == 1 << 60:
            continue
        key = sweep, names[stream.instruction[at].opcode]
        count, gates, time = found.get(key, (0, 0, 0))
        inside = 1 if key[1] == "region" else stream.instruction[at].count
        found[key] = count + 1, gates + inside, time + max(least[at] - clock, 0)
    return 0
