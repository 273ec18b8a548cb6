"""Bytes per gate: record a long chain, hold its last handle alone, sweep it, and see how much memory has grown."""

from __future__ import annotations

import gc
import math
import sys
import time
from dataclasses import dataclass
from importlib import import_module

from measure import resident_memory

A, B, START = 0.9999999, 1e-7, 0.5


@dataclass(frozen=True)
class Growth:
    """What a chain of so many gates took."""

    gates: int
    bytes_per_gate: float
    record: float  # nanoseconds per gate, the memory's first touch included
    sweep: float
    free: float


def grow(engine: str, gates: int) -> Growth:
    """Record, sweep and free a chain of this many gates, y = y * a + b, and check its answer."""
    fp = import_module(engine)
    a, b, first = fp.Unit(A), fp.Unit(B), fp.Unit(START)
    length = gates // 2
    gc.collect()
    before, clock = resident_memory(), time.perf_counter()
    y = first
    for _ in range(length):
        y = y * a + b
    recorded = time.perf_counter()
    y.backward()
    swept, after = time.perf_counter(), resident_memory()
    power = A**length
    total = (1.0 - power) / (1.0 - A)
    assert math.isclose(y.value, power * START + B * total, rel_tol=1e-6), y.value
    assert math.isclose(first.grad, power, rel_tol=1e-6), first.grad
    assert math.isclose(b.grad, total, rel_tol=1e-6), b.grad
    start_of_free = time.perf_counter()
    del y
    gc.collect()
    freed = time.perf_counter() - start_of_free
    nanoseconds = 1e9 / (2 * length)
    times = ((recorded - clock) * nanoseconds, (swept - recorded) * nanoseconds, freed * nanoseconds)
    return Growth(2 * length, (after - before) / (2 * length), *times)


def main() -> None:
    """Print one line of figures: gates, bytes per gate, and nanoseconds per gate to record, sweep, and free."""
    growth = grow(sys.argv[1], int(sys.argv[2]))
    print(growth.gates, growth.bytes_per_gate, growth.record, growth.sweep, growth.free)


if __name__ == "__main__":
    main()
