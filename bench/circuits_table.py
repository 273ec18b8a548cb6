"""Print the figures of circuits that are recorded once: `python bench/circuits_table.py [part …]`.

Every answer is proved before it is timed, and both sides of a ratio are taken in turns, on one core. bench/README.md
says how to read the tables. With --quick the answers are proved, at small sizes, and nothing is timed.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import fastprop as fp
import hand
import own
from circuit_peers import PEERS, Workload, installed, workload
from circuits import CIRCUITS, Circuit
from elsewhere import ONE_THREAD, Elsewhere
from lanes import LANES, Lanes
from measure import Entry, Times, interleave, paired, pin
from mixture import INSTANCES
from table import print_table, times_as_fast

BOUND, CASADI, CALLED = "fastprop, bound", "casadi, buffer()", "fastprop, compiled"
BY_HAND, BY_VECTORS, BY_GCC = "C by hand", "C by hand, vectors", "C by hand, gcc's vectors"


@dataclass(frozen=True)
class Target:
    """What a ratio of two least times should come to."""

    workload: str
    ours: str
    theirs: str
    at_most: float | None  # none: a figure without a target


TARGETS = [
    *(Target(name, BOUND, CASADI, most) for name, most in zip(CIRCUITS, (0.5, 0.5, 0.4, 0.37, 0.45, 0.5, 0.2))),
    Target("V1", BOUND, BY_HAND, 1.2),
    Target("V1", BOUND, "C by hand, stores past the cache", None),
    *(Target(name, BOUND, BY_GCC, most) for name, most in zip(("V2", "V3", "V3s", "V4"), (1.6, 1.7, 1.7, 1.4))),
    *(Target(name, BOUND, BY_VECTORS, None) for name in ("V2", "V3", "V3s", "V4")),
    Target("d10_K25", CALLED, BY_HAND, 2.0),
]
TRACED, TRACE_MICROSECONDS = ("P4L", "P6"), 0.5
THREADED, THREADS_SPEEDUP = ("V2", "V4"), 1.7


@dataclass
class Session:
    """The command line's choices, who takes part, and the ratios so far."""

    options: argparse.Namespace
    cores: list[int]
    other: Elsewhere | None = None
    reached: list[list[str]] = field(default_factory=list)

    def entrants(self, of: Workload) -> list[Entry]:
        """fastprop, C by hand, and the peers, from this Python or from the other one."""
        entrants = [*own.entries(of), *hand.entries(of)]
        for peer in self.options.peers:
            if installed(peer):
                entrants += PEERS[peer](of)
            elif self.other is not None:
                entrants += self.other.entries(peer, of, self.options.quick)
        return entrants


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def contest(session: Session, name: str) -> None:
    """Prove everyone's answer to a workload, then time them in turns, and print the table."""
    of = workload(name, session.options.quick)
    entrants = session.entrants(of)
    for entry in entrants:
        of.prove(entry.answer(), 1e-8)
    title = of.title if isinstance(of, Circuit | Lanes) else f"ADBench, {len(of.points):,} points"
    if session.options.quick:
        print(f"{name}: {title}: proved: {'; '.join(entry.name for entry in entrants)}", flush=True)
        return
    times = interleave({entry.name: entry.call for entry in entrants}, session.options.repeats)
    least = {entry.name: times[entry.name].least for entry in entrants}
    bases = [base for base in (CASADI, BY_HAND, BY_GCC, BY_VECTORS) if base in least]
    rows = [
        [
            entry.name,
            duration(least[entry.name]),
            duration(times[entry.name].median),
            *(times_as_fast(least[entry.name] / least[base]) for base in bases),
            "" if entry.setup is None else duration(entry.setup),
            str(len(times[entry.name].clean)),
        ]
        for entry in entrants
    ]
    head = ["", "a call", "median", *(f"of the time of {base}" for base in bases), "once", "clean repeats"]
    print_table(f"{name}: {title}", head, rows)
    note_ratios(session, name, times)


def note_ratios(session: Session, name: str, times: Mapping[str, Times]) -> None:
    """Keep what the last table says of this workload."""
    for target in TARGETS:
        if target.workload == name and {target.ours, target.theirs} <= set(times):
            ours, theirs = times[target.ours], times[target.theirs]
            most = "" if target.at_most is None else f"{target.at_most:.2f}"
            figures = [f"{ours.least / theirs.least:.2f}", f"{paired(ours, theirs):.2f}", most]
            session.reached.append([name, f"{target.ours} / {target.theirs}", *figures])


def points(session: Session) -> None:
    """P: one point."""
    for name in CIRCUITS:
        contest(session, name)


def lanes(session: Session) -> None:
    """V: many points."""
    for name in LANES:
        contest(session, name)


def mixtures(session: Session) -> None:
    """ADBench's mixture of Gaussians."""
    for name in INSTANCES:
        contest(session, name)


def traces(session: Session) -> None:
    """The time from a Python function to its first answer, per gate: recording, optimising, binding, one run."""
    rows = []
    for name in TRACED:
        circuit = workload(name, session.options.quick)
        assert isinstance(circuit, Circuit)
        seconds = sorted(own.trace_seconds(circuit) for _ in range(1 if session.options.quick else 5))
        if session.options.quick:
            continue
        each = [f"{time / circuit.gates * 1e6:.3f}" for time in (seconds[0], seconds[len(seconds) // 2])]
        rows.append([f"{name}: {circuit.title}", duration(seconds[0]), *each])
        session.reached.append([name, "trace, optimise and first run, µs per gate", *each, f"{TRACE_MICROSECONDS:.2f}"])
    if rows:
        print_table("From a function to its first answer", ["", "once", "µs per gate", "median"], rows)


def threads(session: Session) -> None:
    """Two threads over one, on as many cores as this process may use."""
    if len(session.cores) < 2 or session.options.quick:
        print("threads: not timed" if session.options.quick else "threads: one core alone, nothing to measure")
        return
    rows = []
    for name in THREADED:
        of = workload(name, session.options.quick)
        assert isinstance(of, Lanes)
        run, value, gradient = own.bound_lanes(of)

        def with_threads(number: int, run: Callable[[], object] = run) -> Callable[[], object]:
            def call() -> None:
                fp.set_num_threads(number)
                run()

            return call

        for number in (1, 2):
            value[...], gradient[...] = float("nan"), float("nan")
            with_threads(number)()
            of.prove((value, gradient), 1e-8)
        times = interleave({"1 thread": with_threads(1), "2 threads": with_threads(2)}, session.options.repeats)
        one, two = times["1 thread"], times["2 threads"]
        for label, taken in times.items():
            cores = taken.cores[taken.rounds.index(taken.least)]
            rows.append([f"{name}, {label}", duration(taken.least), duration(taken.median), f"{cores:.2f}"])
        figures = [f"{one.least / two.least:.2f}", f"{paired(one, two):.2f}", f"{THREADS_SPEEDUP:.2f} or more"]
        session.reached.append([name, "as fast with two threads", *figures])
    fp.set_num_threads(1)
    print_table("Two threads", ["", "a call", "median", "cores had in the best round"], rows)


PARTS = {"threads": threads, "points": points, "trace": traces, "lanes": lanes, "mixture": mixtures}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"which tables: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}, with commas; '' for none (default: all installed)")
    parser.add_argument("--peer-python", help="a Python that has the peers which this one lacks, and NumPy")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument("--core", type=int, help="the core to run on (default: the last)")
    parser.add_argument("--quick", action="store_true", help="prove the answers, at small sizes, without a clock")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}; there are {', '.join(PARTS)}")
    for name in (options.peers or "").split(","):
        if name and name not in PEERS:
            parser.error(f"unknown peer {name!r}; there are {', '.join(PEERS)}")
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; it must be at least 1")
    return options


def choose_peers(session: Session) -> None:
    """Find the peers asked for, here or in the other Python; raise SystemExit for one that is in neither."""
    options = session.options
    named = None if options.peers is None else [name for name in options.peers.split(",") if name]
    here = [name for name in PEERS if installed(name)]
    if options.peer_python and (named is None or set(named) - set(here)):
        session.other = Elsewhere(options.peer_python)
    there = session.other.installed() if session.other else []
    missing = set(named or ()) - {*here, *there}
    if missing:
        raise SystemExit(f"not installed: {', '.join(sorted(missing))}; install it, or name a Python by --peer-python")
    options.peers = [name for name in PEERS if name in {*here, *there} and (named is None or name in named)]


def main() -> None:
    """Read the command line and print the parts asked for."""
    options = parsed()
    os.environ.update(ONE_THREAD)
    session = Session(options, sorted(os.sched_getaffinity(0)))
    if "threads" in options.parts:  # before this process and its threads are kept on one core
        threads(session)
    core = pin(options.core)
    fp.set_num_threads(1)
    choose_peers(session)
    peers = ", ".join(options.peers) or "none"
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, core {core}, peers: {peers}"
    )
    for part in options.parts:
        if part != "threads":
            PARTS[part](session)
    if session.other:
        session.other.stop()
    if session.reached:
        head = ["", "", "ratio of least times", "median of the rounds' ratios", "aim, at most"]
        print_table("Ratios, and what was aimed at", head, session.reached)


if __name__ == "__main__":
    main()
