"""Print how much faster lanes are on several threads, bound and called: `python bench/threads.py`.

Beside them a memset on as many threads, of memory that has been touched before: what the way to memory allows, and what
V1 can be held to, which does little else. It takes one or two minutes, and cores that nobody else uses: where *cores
had* stays below the number of threads, the others had the rest, and the figure says nothing about fastprop.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import fastprop as fp
from called import mapped
from lanes import Lanes, make_networks, make_neurons, make_options, make_paths
from measure import Times, interleave
from table import print_table

MEMSET = 48_000_000  # bytes: what V1 writes


def workloads(quick: bool) -> Iterator[Lanes]:
    """What is timed, large enough for 16 threads."""
    yield make_neurons(2_000 if quick else 1_000_000)
    yield make_options(2_000 if quick else 1_000_000)
    yield make_networks(2_000 if quick else 400_000, summed=True)
    yield make_paths(200 if quick else 80_000, 12 if quick else 252)


def on_threads(number: int, call: Callable[[], object]) -> Callable[[], None]:
    """A call on so many threads."""

    def run() -> None:
        fp.set_num_threads(number)
        call()

    return run


def memset(number: int) -> Callable[[], None]:
    """A memset in so many pieces, each on a thread of its own."""
    memory, pool = np.ones(MEMSET // 8), ThreadPoolExecutor(number)
    pieces = np.array_split(memory, number)

    def run() -> None:
        list(pool.map(lambda piece: ctypes.memset(piece.ctypes.data, 1, piece.nbytes), pieces))

    return run


def row(name: str, times: dict[int, Times]) -> list[str]:
    """Milliseconds with one thread; then, for each number of threads, how much faster, and the cores that it had."""
    one = times[1].least
    found = [name, f"{one * 1e3:.2f}"]
    for number, taken in times.items():
        if number > 1:
            had = taken.cores[taken.rounds.index(taken.least)]
            found += [f"{one / taken.least:.2f} ({one / taken.least / number:.2f})", f"{had:.1f}"]
    return found


def timed(call: Callable[[int], Callable[[], None]], numbers: list[int], repeats: int) -> dict[int, Times]:
    """The times of a call on each number of threads."""
    times = interleave({str(number): call(number) for number in numbers}, repeats)
    return {number: times[str(number)] for number in numbers}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    cores = len(os.sched_getaffinity(0))
    numbers = sorted({1, 2, cores}) if cores > 1 else [1, 2]
    parser.add_argument("--threads", help="numbers of threads, such as 1,2,4 (default: 1, 2 and the number of cores)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="prove the answers alone, small, without a clock")
    options = parser.parse_args()
    if options.threads:
        numbers = sorted({1, *map(int, options.threads.split(","))})
    rows = []
    for lanes in workloads(options.quick):
        case = mapped(lanes.name, lanes)
        for number in numbers:
            on_threads(number, case.prove)()
        assert case.baseline is not None
        for how, call in (("bound", case.baseline), ("called", case.call)) if not options.quick else ():
            times = timed(lambda number, call=call: on_threads(number, call), numbers, options.repeats)
            rows.append(row(f"{lanes.name}, {lanes.lanes:,} lanes, {how}", times))
    if options.quick:
        return
    rows.append(row(f"memset of {MEMSET // 1_000_000} MB", timed(memset, numbers, options.repeats)))
    head = [part for number in numbers[1:] for part in (f"{number} threads: × (efficiency)", "cores had")]
    print_table(f"Threads, on {cores} cores", ["", "1 thread, ms", *head], rows)


if __name__ == "__main__":
    main()
