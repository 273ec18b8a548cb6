"""Print the tables of figures: `python bench/table.py [part …]`. Every answer is proved before it is timed.

All figures of one table come from one run, on one core, taken in turns. bench/README.md says how to read them.
"""

from __future__ import annotations

import argparse
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from demo import Demo, plain_losses
from measure import Times, interleave, pin
from peers import PEERS, contestants, installed
from workloads import workloads

HERE = Path(__file__).resolve().parent
Row = list[str]


def print_table(title: str, head: Row, rows: list[Row]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()


def times_as_fast(ratio: float) -> str:
    """A ratio, to two or three digits."""
    return f"{ratio:.2f} ×" if ratio < 10.0 else f"{ratio:,.0f} ×"


def record(options: argparse.Namespace) -> None:
    """R1, R2 and R3: record, and one sweep, in nanoseconds per gate."""
    entrants = contestants(options.peers)
    scale = 0.02 if options.quick else 1.0
    sized = {entrant.share: workloads(entrant.share * scale) for entrant in entrants}
    for place, full in enumerate(sized[1.0]):
        calls: dict[str, Callable[[], object]] = {}
        gates: dict[str, int] = {}
        for entrant in entrants:
            workload = sized[entrant.share][place]
            entrant.prove(workload)
            calls[entrant.name] = lambda entrant=entrant, workload=workload: entrant.answer(workload)
            gates[entrant.name] = workload.gates
        times = interleave(calls, options.repeats)
        least = {name: times[name].least / gates[name] for name in calls}
        rows = []
        for name in calls:
            note = "" if gates[name] == full.gates else f" (at {gates[name]:,} gates)"
            figures = [f"{least[name] * 1e9:,.1f}", f"{times[name].median / gates[name] * 1e9:,.1f}"]
            ratios = [least[name] / least["plain floats"], least["reference"] / least[name]]
            rows.append([name + note, *figures, *map(times_as_fast, ratios), str(len(times[name].clean))])
        head = ["", "ns per gate", "median", "of plain floats' time", "as fast as the reference", "clean repeats"]
        print_table(f"{full.name}: {full.title}, recorded and swept once", head, rows)


def demo_steps(options: argparse.Namespace) -> None:
    """micrograd's demo, with neurons as objects: the time of a training step."""
    import fastprop
    from fastprop import reference

    demos = {"fastprop": Demo(fastprop.Unit, fastprop.relu), "reference": Demo(reference.Unit, reference.relu)}
    if "micrograd" in (PEERS if options.peers is None else options.peers) and installed("micrograd"):
        from micrograd.engine import Value

        demos["micrograd"] = Demo(Value, lambda x: x.relu(), "data")
    for name, demo in demos.items():
        for step, truth in enumerate(plain_losses(3)):
            loss, _ = demo.step()
            assert math.isclose(loss, truth, rel_tol=1e-9), f"{name}, step {step}: {loss} is not {truth}"
    times = interleave({name: demo.step for name, demo in demos.items()}, 3 if options.quick else options.repeats)
    slowest = "micrograd" if "micrograd" in demos else "reference"
    rows = [
        [
            name,
            f"{taken.least * 1e3:.2f}",
            f"{taken.median * 1e3:.2f}",
            times_as_fast(times[slowest].least / taken.least),
        ]
        for name, taken in times.items()
    ]
    head = ["", "ms per step", "median", f"as fast as {slowest}"]
    print_table("micrograd's demo: a training step, 100 points of two moons, network 2-16-16-1", head, rows)


def program(name: str, *arguments: str) -> list[str]:
    """The command that runs a program of this folder."""
    return [sys.executable, str(HERE / name), *arguments]


def memory(options: argparse.Namespace) -> None:
    """Bytes per gate of a long chain of which the last handle alone is held."""
    rows = []
    sizes = {"fastprop": [100_000] if options.quick else [1_000_000, 10_000_000], "fastprop.reference": [100_000]}
    for engine, gates in [(engine, str(gates)) for engine, several in sizes.items() for gates in several]:
        done = subprocess.run(program("memory.py", engine, gates), check=True, capture_output=True, text=True)
        count, size, *nanoseconds = (float(word) for word in done.stdout.split())
        rows.append([engine, f"{count:,.0f}", f"{size:.1f}", *(f"{time:.1f}" for time in nanoseconds)])
    head = ["", "gates", "bytes per gate", "record, ns per gate", "sweep", "free"]
    print_table("Memory: growth of the process, after the sweep, with fresh memory", head, rows)


class Worker:
    """A process that makes blocks of steps when told to."""

    def __init__(self, others: int):
        self.others, self.times, self.bytes = others, Times(), [0.0]
        self.process = subprocess.Popen(
            program("long_run.py", str(others)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def work(self, steps: int) -> None:
        """Make a block of steps."""
        print(steps, file=self.process.stdin, flush=True)
        seconds, size = self.process.stdout.readline().split()
        self.times.clean.append(float(seconds) / steps)
        self.bytes.append(float(size))

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def long_run(options: argparse.Namespace) -> None:
    """10^6 steps of a loss of twenty gates, beside 20 leaves and beside 10^6 others with results kept at random."""
    blocks, steps = (4, 1_000) if options.quick else (20, 50_000)
    workers = [Worker(0), Worker(10_000 if options.quick else 1_000_000)]
    for _ in range(blocks):
        for worker in workers:
            worker.work(steps)
    for worker in workers:
        worker.stop()
    rows = [
        [
            f"{worker.others:,} others alive" if worker.others else "20 leaves alone",
            f"{worker.times.least * 1e6:.2f}",
            f"{worker.times.median * 1e6:.2f}",
            times_as_fast(worker.times.least / workers[0].times.least),
            f"{(worker.bytes[-1] - worker.bytes[2]) / 1e6:+.2f} MB of {worker.bytes[-1] / 1e6:.0f}",
        ]
        for worker in workers
    ]
    head = ["", "µs per step", "median", "of the time alone", "growth after the second block"]
    print_table(f"{blocks * steps:,} training steps of a loss of 20 gates", head, rows)


def import_time(options: argparse.Namespace) -> None:
    """The time to start Python and import NumPy, or fastprop."""
    times = {statement: Times() for statement in ("pass", "import numpy", "import fastprop")}
    for turn in range(4 if options.quick else 16):
        for statement, taken in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            if turn:
                taken.clean.append(time.perf_counter() - start)
    beyond = {name: times[name].least - times["import numpy"].least for name in times}
    rows = [
        [f"`{name}`", f"{taken.least * 1e3:.0f}", f"{taken.median * 1e3:.0f}", f"{beyond[name] * 1e3:+.0f}"]
        for name, taken in times.items()
    ]
    print_table("Start", ["", "ms", "median", "beyond NumPy's"], rows)


PARTS = {"record": record, "demo": demo_steps, "memory": memory, "long": long_run, "import": import_time}


def main() -> None:
    """Read the command line and print the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"which tables: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}, with commas; '' for none (default: all installed)")
    parser.add_argument("--repeats", type=int, default=11, help="rounds (default: %(default)s)")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last)")
    parser.add_argument("--quick", action="store_true", help="small and rough: to prove the answers")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if options.peers is not None:
        options.peers = [name for name in options.peers.split(",") if name]
        for name in options.peers:
            if name not in PEERS or not installed(name):
                parser.error(f"peer {name!r} is not {'installed' if name in PEERS else 'known'}; see --help")
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; it must be at least 1")
    if options.quick:
        options.repeats = min(options.repeats, 3)
    core = pin(options.core)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, core {core}")
    for part in options.parts or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
