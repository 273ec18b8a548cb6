"""The paths of a function at one point: a plan for each, told apart by how its guards come out."""

from __future__ import annotations

import bisect
import warnings
from typing import Any

from fastprop.circuits.pipeline import Plan
from fastprop.threads import give_lock

__all__ = ["MOST_PATHS", "Paths", "warn_of_many", "warn_of_strays"]

MOST_PATHS = 512


def warn_of_many(name: str, most: int) -> None:
    """Say that no more paths are compiled."""
    warnings.warn(
        f"{name} has taken {most} different paths, and no more are compiled: points on others are "
        "computed by calling the function, some hundred times slower; fp.where in the place of an if, or fewer "
        "turns of a loop, make fewer paths (fp.compile takes max_paths)",
        RuntimeWarning,
        stacklevel=2,
    )


def warn_of_strays(name: str, strays: int, lanes: int) -> None:
    """Say that compiling does not help, as hardly any path is taken twice."""
    warnings.warn(
        f"{name}: call after call most lanes, {strays} of {lanes} now, take paths that hardly any other takes, and are "
        "computed by calling the function, some hundred times slower; fp.where in the place of an if, fp.maximum and "
        "fp.max in that of Python's max, decide nothing",
        RuntimeWarning,
        stacklevel=2,
    )


def _common(outcomes: bytes, other: bytes) -> int:
    """Return how many first outcomes are the same."""
    pairs = enumerate(zip(outcomes, other))
    return next((i for i, (mine, theirs) in pairs if mine != theirs), min(len(outcomes), len(other)))


class Paths:
    """The plans of one function at a point, told apart by how their guards come out."""

    def __init__(self, name: str, most: int = MOST_PATHS):
        self.name, self.most = name, most
        self.plans: list[Plan] = []
        self._numbers: dict[bytes, int] = {}  # how a plan's guards come out -> its number
        self._ordered: list[bytes] = []  # the same, those that begin alike side by side
        self._warned = False
        self._lock: Any
        give_lock(self)

    def keep(self, plan: Plan) -> int:
        """Take a plan in, unless there is one of its path; returns its number."""
        with self._lock:
            outcomes = bytes(plan.recording.outcomes)
            if outcomes not in self._numbers:
                self._numbers[outcomes] = len(self.plans)
                self.plans.append(plan)
                bisect.insort(self._ordered, outcomes)
            return self._numbers[outcomes]

    def replace(self, old: Plan, plan: Plan) -> int:
        """Put a plan in the place of another one, or of one of its own path; returns its number."""
        with self._lock:
            outcomes = bytes(plan.recording.outcomes)
            if outcomes not in self._numbers and old in self.plans:
                before = self._ordered.pop(bisect.bisect_left(self._ordered, bytes(old.recording.outcomes)))
                self._numbers[outcomes] = self._numbers.pop(before)
                bisect.insort(self._ordered, outcomes)
            number = self.keep(plan)
            self.plans[number] = plan
            return number

    @property
    def full(self) -> bool:
        """Whether no more paths are recorded; says so once."""
        if len(self.plans) < self.most:
            return False
        if not self._warned:
            self._warned = True
            warn_of_many(self.name, self.most)
        return True

    def begins(self, beginning: tuple[bool, ...]) -> int | None:
        """Return a plan whose guards begin to come out like this, if there is one.

        Of several it is one of middling length, so that few have to be tried where paths are turns of a loop.
        """
        start = bytes(beginning)
        with self._lock:
            first, end = bisect.bisect_left(self._ordered, start), bisect.bisect_left(self._ordered, start + b"\2")
            return self._numbers[self._ordered[(first + end) // 2]] if first < end else None

    def shared(self, plan: Plan) -> int:
        """Return how many guards a plan has in common with the one of another path that is most like it."""
        outcomes = bytes(plan.recording.outcomes)
        with self._lock:
            at = bisect.bisect_left(self._ordered, outcomes)
            alike = self._ordered[max(at - 1, 0) : at + 1]
        return max([_common(outcomes, other) for other in alike], default=0)
