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
from typing import Any

LONG_ENOUGH = 0.02  # seconds; what is quicker is timed several calls at once
PATIENCE = 0.5  # what takes longer is repeated less often


@dataclass
class Times:
    """The seconds that one call took, repeat by repeat."""

    clean: list[float] = field(default_factory=list)  # nobody else had the core
    shared: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)  # all, in the order of the rounds
    cores: list[float] = field(default_factory=list)  # how many this process had, on average, in each round

    @property
    def least(self) -> float:
        """The least time: what the machine can do. Whoever had the core meanwhile can only have made it longer."""
        return min([*self.clean, *self.shared])

    @property
    def median(self) -> float:
        """The median time: what it usually does, of the clean repeats if there are three."""
        return statistics.median(self.clean if len(self.clean) >= 3 else [*self.clean, *self.shared])


def pin(core: int | None = None) -> int:
    """Keep this process and its children on one core (none given: the last one allowed); its number."""
    allowed = sorted(os.sched_getaffinity(0))
    core = allowed[-1] if core is None else core
    if core not in allowed:
        raise ValueError(f"core {core} is not among those this process may use: {', '.join(map(str, allowed))}")
    os.sched_setaffinity(0, {core})
    return core


@dataclass(frozen=True)
class Repeated:
    """A call that repeats itself without Python's loop: in C, or in another process."""

    repeat: Callable[[int], tuple[int, int]]  # so many calls -> nanoseconds that elapsed, and those of processor time

    def __call__(self) -> None:
        """One call."""
        self.repeat(1)


@dataclass(frozen=True)
class Entry:
    """One contestant at one workload: how its answer is proved, and what is timed."""

    name: str
    answer: Callable[[], tuple[Any, Any]]  # value and gradient
    call: Callable[[], object]
    setup: float | None = None  # seconds to record, optimise and compile, where that is done once


def timed(call: Callable[[], object]) -> tuple[int, int]:
    """The nanoseconds that a call takes, and how many of them this process had a core."""
    start, start_of_process = time.perf_counter_ns(), time.process_time_ns()
    call()
    return time.perf_counter_ns() - start, time.process_time_ns() - start_of_process


def repeated(call: Callable[[], object], number: int) -> tuple[int, int]:
    """The same of so many calls."""
    if isinstance(call, Repeated):
        return call.repeat(number)
    start, start_of_process = time.perf_counter_ns(), time.process_time_ns()
    for _ in itertools.repeat(None, number):
        call()
    return time.perf_counter_ns() - start, time.process_time_ns() - start_of_process


def once(call: Callable[[], object], times: Times, number: int = 1) -> float:
    """Time so many calls; the repeat counts as clean if this process had the core for at least 97 % of it."""
    elapsed, used = repeated(call, number)
    seconds = elapsed * 1e-9 / number
    (times.clean if used >= 0.97 * elapsed else times.shared).append(seconds)
    times.rounds.append(seconds)
    times.cores.append(used / elapsed)
    return seconds


def long_enough(call: Callable[[], object]) -> tuple[int, float]:
    """How many calls in a row take long enough to be timed, and the seconds that one takes."""
    number, seconds = 1, once(call, Times())
    while number * seconds < LONG_ENOUGH / 2:
        number = math.ceil(LONG_ENOUGH / seconds)
        seconds = once(call, Times(), number)
    return number, seconds


def interleave(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Time each call `repeats` times, in turns, so that a change of the machine's speed meets all of them alike.

    Each is called beforehand. What is quicker than 20 ms is called several times in a row and divided; what takes
    longer than half a second takes part in three rounds only. There are more rounds, up to three times as many, while
    somebody else has had the core in all but two of one's rounds.
    """
    times = {name: Times() for name in calls}
    number, seconds = {}, {}
    for name, call in calls.items():
        number[name], seconds[name] = long_enough(call)
    for turn in range(3 * repeats):
        if turn >= repeats and all(len(times[n].clean) >= min(3, repeats) for n in calls if seconds[n] <= PATIENCE):
            break
        for name, call in calls.items():
            if turn < 3 or seconds[name] <= PATIENCE:
                gc.collect()
                once(call, times[name], number[name])
    return times


def paired(ours: Times, theirs: Times) -> float:
    """The median of the rounds' ratios: what a machine whose speed changes from round to round leaves untouched."""
    return statistics.median(a / b for a, b in zip(ours.rounds, theirs.rounds))


def resident_memory() -> int:
    """The bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
