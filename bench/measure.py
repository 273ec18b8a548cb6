"""How time and memory are measured."""

from __future__ import annotations

import gc
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LONG_ENOUGH = 0.02  # seconds; what is quicker is timed several calls at once
PATIENCE = 0.5  # what takes longer is repeated less often


@dataclass
class Times:
    """The seconds that one call took, repeat by repeat."""

    clean: list[float] = field(default_factory=list)  # nobody else had the core
    shared: list[float] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """The clean repeats, or all if there is none."""
        return self.clean or self.shared

    @property
    def least(self) -> float:
        """The least time: what the machine can do."""
        return min(self.all)

    @property
    def median(self) -> float:
        """The median time: what it usually does."""
        return statistics.median(self.all)


def pin(core: int | None = None) -> int:
    """Keep this process and its children on one core (none given: the last one allowed); its number."""
    allowed = sorted(os.sched_getaffinity(0))
    core = allowed[-1] if core is None else core
    if core not in allowed:
        raise ValueError(f"core {core} is not among those this process may use: {', '.join(map(str, allowed))}")
    os.sched_setaffinity(0, {core})
    return core


def once(call: Callable[[], object], times: Times, number: int = 1) -> float:
    """Time so many calls; the repeat counts as clean if this process had the core for at least 97 % of it."""
    start, start_of_process = time.perf_counter_ns(), time.process_time_ns()
    for _ in itertools.repeat(None, number):
        call()
    elapsed, used = time.perf_counter_ns() - start, time.process_time_ns() - start_of_process
    seconds = elapsed * 1e-9 / number
    (times.clean if used >= 0.97 * elapsed else times.shared).append(seconds)
    return seconds


def interleave(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Time each call `repeats` times, in turns, so that a change of the machine's speed meets all of them alike.

    Each is called once beforehand. What is quicker than 20 ms is called several times in a row and divided; what takes
    longer than half a second takes part in three rounds only.
    """
    times = {name: Times() for name in calls}
    warm = {name: once(call, Times()) for name, call in calls.items()}
    number = {name: max(1, math.ceil(LONG_ENOUGH / seconds)) for name, seconds in warm.items()}
    for turn in range(repeats):
        for name, call in calls.items():
            if turn < 3 or warm[name] <= PATIENCE:
                gc.collect()
                once(call, times[name], number[name])
    return times


def resident_memory() -> int:
    """The bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
