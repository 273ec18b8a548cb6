"""Training, with its updates: `python bench/training.py [T1 T2 ... accuracy] [--peers jax,torch,...] [--quick]`.

T1 to T6 of `training_workloads.py`, by fastprop as one writes it, and by whatever peers are installed. First everybody
is proved to take the same losses, from the same start, as NumPy by hand; then all take turns on one core. `--quick`
proves the answers alone, small, without a clock. `accuracy` is the time until a network knows the digits.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", FASTPROP_NUM_THREADS="1")
os.environ.update(JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")

import argparse
import gc
import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

import training_by_hand
from measure import Repeated, Times, interleave, paired, pin, timed
from training_workloads import TASKS, Learner, Task, task

PEERS = {"numpy": "training_by_hand", "c": "training_c", "jax": "training_jax", "torch": "training_torch",
         "sklearn": "training_sklearn"}  # fmt: skip
ROUNDS, PROVED = 7, 20


@dataclass
class Entry:
    """A contestant, and what became of it."""

    name: str
    learner: Learner | None = None
    first: float = 0.0  # seconds that the first pass over the batches took, with all that it compiles
    trouble: str = ""
    times: Times = field(default_factory=Times)


def installed(peers: list[str]) -> list[str]:
    """Return those peers that can be imported here."""
    return [peer for peer in peers if peer in ("numpy", "c") or find_spec(peer)]


def found(peers: list[str], work: Task) -> Iterator[Entry]:
    """Yield fastprop's contestants, and those of peers; a peer that fails is an entry that says so."""
    for peer in ["fastprop", *peers]:
        try:
            room = importlib.import_module(PEERS.get(peer, "training_own"))
            entries = [Entry(learner.name, learner) for learner in room.learners(work)]
        except Exception as error:
            entries = [Entry(peer, trouble=short(error))]
        yield from entries


def short(error: Exception) -> str:
    """Say in a line what went wrong."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}"


def passes(work: Task) -> int:
    """Return how many passes over the batches are proved."""
    return max(2, -(-PROVED // work.steps))


def curve(learner: Learner, work: Task) -> list[float]:
    """Return the losses of twenty steps or more, which are at least two passes over the batches."""
    state, losses = learner.begin(), []
    for _ in range(passes(work)):
        state, some = learner.advance(state)
        losses += [float(loss) for loss in some]
    return losses


def prove(learner: Learner, work: Task, expected: list[float]) -> None:
    """Raise unless a contestant takes the losses that NumPy by hand takes."""
    losses = curve(learner, work)
    if len(losses) == passes(work):  # it tells their means
        expected = [float(np.mean(part)) for part in np.split(np.array(expected), len(losses))]
    near = learner.tolerance or (1e-9 if work.dtype == np.float64 else 1e-4)
    np.testing.assert_allclose(losses, expected, rtol=near, atol=near * expected[0])  # later losses may be small


def proved(entry: Entry, work: Task, expected: list[float]) -> None:
    """Take the time of the first pass, then prove the answers; what goes wrong is written down."""
    if entry.learner is None:
        return
    try:
        begun = time.perf_counter()
        entry.learner.advance(entry.learner.begin())
        entry.first = time.perf_counter() - begun
        prove(entry.learner, work, expected)
    except Exception as error:
        entry.trouble = short(error)


def repeat(learner: Learner) -> Repeated:
    """Return a call that goes over the batches; each time that it is measured it begins at the start."""

    def run_from_the_start(number: int) -> tuple[int, int]:
        state = learner.begin()

        def run() -> None:
            going = state
            for _ in range(number):
                going, _ = learner.advance(going)

        return timed(run)

    return Repeated(run_from_the_start)


def measured(work: Task, peers: list[str], clock: bool) -> list[Entry]:
    """Return all contestants, proved, and timed in turns."""
    expected = curve(training_by_hand.learners(work)[0], work)
    entries = list(found(peers, work))
    for entry in entries:
        proved(entry, work, expected)
    calls = {entry.name: repeat(entry.learner) for entry in entries if entry.learner and not entry.trouble}
    if clock:
        gc.unfreeze()
        gc.collect()
        gc.freeze()  # so that nobody waits for the garbage of libraries
        times = interleave(calls, ROUNDS)
        for entry in entries:
            entry.times = times.get(entry.name, entry.times)
    return entries


def ratio(own: Entry, other: Entry) -> str:
    """Return the ratio of the least times, and the median of the rounds' ratios."""
    return f"{own.times.least / other.times.least:.3f} ({paired(own.times, other.times):.3f})"


def shown(work: Task, entries: list[Entry]) -> None:
    """Print a table."""
    print(f"\n{work.name}: {work.title}", flush=True)
    ours = [entry for entry in entries if entry.name.startswith("fastprop") and entry.times.rounds]
    titles = "".join(f"{entry.name.removeprefix('fastprop, ').split()[0] + ' / it':>17}" for entry in ours)
    if ours:
        print(f"  {'':28}{'least':>12}{'median':>12}{titles}{'first pass':>13}")
    for entry in entries:
        if entry.trouble:
            print(f"  {entry.name:28}{entry.trouble}")
        elif entry.times.rounds:
            least, median = (seconds / work.steps * 1e6 for seconds in (entry.times.least, entry.times.median))
            ratios = "".join(f"{ratio(own, entry):>17}" for own in ours)
            print(f"  {entry.name:28}{least:9.2f} us{median:9.2f} us{ratios}{entry.first:11.3f} s")
        else:
            print(f"  {entry.name:28}takes the same losses")


def arguments() -> Any:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", help="T1 to T6, accuracy; all of them by default")
    parser.add_argument("--peers", default=",".join(PEERS), help="which peers, with commas between; '' for none")
    parser.add_argument("--quick", action="store_true", help="the answers alone, small")
    asked = parser.parse_args()
    asked.peers = [peer for peer in asked.peers.split(",") if peer]
    unknown = [peer for peer in asked.peers if peer not in PEERS]
    if unknown:
        parser.error(f"there is no peer {', '.join(unknown)}; they are {', '.join(PEERS)}")
    return asked


def main() -> None:
    """Prove, measure, print."""
    asked = arguments()
    core = pin()
    peers = installed(asked.peers)
    missing = [peer for peer in asked.peers if peer not in peers]
    turns = (
        "the answers alone" if asked.quick else f"a step with its update, least and median of {ROUNDS} rounds in turns"
    )
    print(f"core {core}; {turns}", end="")
    print(f"; not installed: {', '.join(missing)}" if missing else "")
    for name in TASKS:
        if not asked.what or any(name.startswith(what) for what in asked.what):
            work = task(name, asked.quick)
            try:
                shown(work, measured(work, peers, clock=not asked.quick))
            except Exception as error:  # the other tables are wanted all the same
                print(f"\n{name}: {short(error)}", flush=True)
    if not asked.what or "accuracy" in asked.what:
        importlib.import_module("training_accuracy").main(peers, asked.quick)


if __name__ == "__main__":
    main()
