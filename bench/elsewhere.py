"""A peer that lives in another Python: proved and timed there, in turns with what runs here, on the same core.

Run as a program by that Python, this serves lines of JSON from standard input, one answer per line on standard output.
The process inherits the core that this one is pinned to; while it works this one waits, and the other way round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from circuit_peers import PEERS, Workload, installed, workload
from measure import Entry, Repeated, repeated

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Elsewhere:
    """Another Python, asked for a peer's entries."""

    def __init__(self, python: str):
        self.python = python
        self.process = subprocess.Popen(
            [python, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def ask(self, what: str, *arguments: Any) -> Any:
        """Send a question, wait for its answer."""
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps([what, *arguments]), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            raise RuntimeError(f"{self.python} has ended, status {self.process.wait()}; asked for {what!r}") from None
        if "error" in answer:
            raise RuntimeError(f"{self.python}: {what} {arguments}:\n{answer['error']}")
        return answer["is"]

    def installed(self) -> list[str]:
        """The peers that this Python has."""
        return self.ask("installed")

    def entries(self, peer: str, workload: Workload, quick: bool) -> list[Entry]:
        """What a peer does with a workload, each proved and timed in the other process."""
        made = self.ask("make", peer, workload.name, quick)

        def entry(place: int, name: str, setup: float | None) -> Entry:
            key = [peer, workload.name, quick, place]
            return Entry(
                name,
                lambda: self.answer(key),
                Repeated(lambda number: tuple(self.ask("repeat", *key, number))),
                setup,
            )

        return [entry(place, name, setup) for place, (name, setup) in enumerate(made)]

    def answer(self, key: list[Any]) -> tuple[Any, Any]:
        """Value and gradient, by way of a file, as they can be large."""
        with tempfile.TemporaryDirectory(prefix="fastprop-bench-") as folder:
            path = str(Path(folder, "answer.npz"))
            parts = self.ask("answer", *key, path)
            with np.load(path) as arrays:
                gradient = [arrays[f"gradient{place}"] for place in range(parts)]
                return arrays["value"], gradient if parts > 1 else gradient[0]

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


class Server:
    """The other side."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], list[Entry]] = {}

    def installed(self) -> list[str]:
        """The peers that can be imported here."""
        return [name for name in PEERS if installed(name)]

    def make(self, peer: str, name: str, quick: bool) -> list[tuple[str, float | None]]:
        """Make a peer's entries and forget those of other workloads."""
        self.made = {key: entries for key, entries in self.made.items() if key[1] == name}
        self.made[peer, name, quick] = list(PEERS[peer](workload(name, quick)))
        return [(entry.name, entry.setup) for entry in self.made[peer, name, quick]]

    def answer(self, peer: str, name: str, quick: bool, place: int, path: str) -> int:
        """Save value and gradient; how many parts the gradient has."""
        value, gradient = self.made[peer, name, quick][place].answer()
        parts = gradient if isinstance(gradient, list | tuple) else [gradient]
        np.savez(path, value=value, **{f"gradient{i}": part for i, part in enumerate(parts)})
        return len(parts)

    def repeat(self, peer: str, name: str, quick: bool, place: int, number: int) -> tuple[int, int]:
        """Time so many calls."""
        return repeated(self.made[peer, name, quick][place].call, number)


def main() -> None:
    """Serve until standard input ends. What libraries print goes to standard error."""
    server, answers = Server(), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            answer = {"is": getattr(server, what)(*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
