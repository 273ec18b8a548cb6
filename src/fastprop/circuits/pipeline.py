"""From a recording to programs: the passes by name, and what each of them did."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.trace import Recording
from fastprop.engine.program import Program, assemble
from fastprop.engine.run import PointRun, handlers_raised
from fastprop.engine.trace import (
    Draft,
    apart,
    combine,
    drop,
    expand,
    fold,
    fuse,
    fuse_inside,
    hoist,
    merge,
    narrow,
    number,
    reroll,
    schedule,
)
from fastprop.errors import DivergenceError
from fastprop.handles.indexing import OutOfRangeError, out_of_range
from fastprop.threads import give_lock

__all__ = ["PASSES", "Plan", "checked_passes"]

# In the order in which they run.
PASSES = ("fold", "merge", "drop", "hoist", "combine", "reroll", "schedule", "number", "recycle")
_BY_NAME = {"fold": fold, "merge": merge, "drop": drop}


def checked_passes(passes: Iterable[str] | None) -> tuple[str, ...]:
    """Return the passes that are wanted, in their order; None stands for all."""
    if passes is None:
        return PASSES
    if isinstance(passes, str):
        raise TypeError(f"passes is {passes!r}; expected a sequence of names from {', '.join(PASSES)}")
    names = tuple(passes)
    unknown = [name for name in names if name not in PASSES]
    if unknown:
        raise ValueError(f"there is no pass {unknown[0]!r}; the passes are {', '.join(PASSES)}")
    return tuple(name for name in PASSES if name in names)


class Plan:
    """A recording's draft after the passes, and the programs made of it when they are first wanted."""

    def __init__(self, recording: Recording, passes: tuple[str, ...]):
        self.recording, self.passes = recording, passes
        self.single = recording.dtype == np.float32
        self.report: list[tuple[str, int, int, int, int, float]] = []  # pass, gates, runs, slots, bytes, seconds
        self._hoisted: list[tuple[int, int, float]] = []  # gates that run once, those of every lane, seconds
        self._rolled: list[dict[str, Any]] = []  # products by shape, and sums that are nobody's row
        self._lock: Any
        give_lock(self)
        self._programs: dict[Any, Program] = {}
        self._lane_programs: dict[Any, tuple[Program, Program | None, np.ndarray[Any, Any]]] = {}
        self._last: tuple[Any, Any, Draft, Any] | None = None  # of what is found for lanes
        self._spare: dict[Program, list[PointRun]] = {}
        draft = recording.draft
        self._note("as recorded", draft, 0.0)
        draft = self._step("expand", expand, draft)
        for name, function in _BY_NAME.items():
            if name in passes:
                draft = self._step(name, function, draft)
        self.draft = draft
        self._ordered: Draft | None = None

    def _step(self, name: str, function: Any, draft: Draft) -> Draft:
        began = time.perf_counter()
        result: Draft = function(draft)
        self._note(name, result, time.perf_counter() - began)
        return result

    def _scheduled(self, draft: Draft) -> Draft:
        """Return a part of the draft in the order for one point."""
        if "combine" in self.passes:
            draft = combine(draft)
        draft = self._roll(draft) if "reroll" in self.passes else apart(draft)
        return number(schedule(draft)) if "schedule" in self.passes else draft

    def _roll(self, draft: Draft, uniform: Any = None) -> Draft:
        report: dict[str, Any] = {}
        rolled = reroll(draft, uniform, report)
        if uniform is not None or report["products"]:
            self._rolled.append(report)
        return rolled

    def _note(self, name: str, draft: Draft, seconds: float) -> None:
        runs = len(draft) if draft.run is None else len(draft.run) - 1
        slots = draft.inputs + len(draft.constants) + len(draft)  # a number each
        self.report.append((name, len(draft), runs, slots, draft.nbytes, seconds))

    def _in_order(self, early: bool = False) -> Draft:
        """Return the draft in the order for one point; with pulls as inputs, if that is of use."""
        fused = fuse(self.draft) if early and self.recording.arrays else None
        if fused is not None:
            return self._scheduled(fused)
        if self._ordered is None:
            fused = fuse_inside(self.draft)
            draft = self.draft if fused is None else fused
            if "combine" in self.passes:
                draft = self._step("combine", combine, draft)
            draft = self._step("reroll", self._roll, draft) if "reroll" in self.passes else apart(draft)
            if "schedule" in self.passes:
                draft = self._step("schedule", schedule, draft)
                if "number" in self.passes:
                    draft = self._step("number", number, draft)
            self._ordered = draft
        return self._ordered

    def _program(self, key: Any, make: Callable[[], Program]) -> Program:
        with self._lock:
            if key not in self._programs:
                self._programs[key] = make()
            return self._programs[key]

    def point(self, gradient: bool, leaves: Container[int] | None = None, early: bool = False) -> Program:
        """Return the program for one point; `leaves` are those of the arguments whose gradients are wanted (None: all).

        With `early`, the pulls on the outputs are inputs, too, behind the others, if that spares maps a second run.
        """
        if not gradient:
            return self._program(None, lambda: assemble(self._in_order(), gradient=False, recycling=self._recycles))
        self._check_differentiable()
        recording = self.recording
        wanted = np.ones(recording.draft.inputs, np.uint8)
        if leaves is not None:
            given, _ = recording.input_places()
            wanted[: len(given)] = np.isin(given, [k for k in range(len(recording.starts)) if k in leaves])
        arrays = [
            a
            for a, whole in enumerate(recording.arrays)
            if whole.kind == "captured" or (whole.kind == "leaf" and (leaves is None or whole.leaf in leaves))
        ]

        def make() -> Program:
            draft = self._in_order(early)
            more = np.zeros(draft.inputs - len(wanted), np.uint8)
            return assemble(draft, wanted=np.concatenate([wanted, more]), arrays=arrays, recycling=self._recycles)

        return self._program((wanted.tobytes(), tuple(arrays), early and bool(recording.arrays)), make)

    @property
    def has_products(self) -> bool:
        """Whether sums were made products of matrices, in what was run so far."""
        return any(report["products"] for report in self._rolled)

    @property
    def has_gradients(self) -> bool:
        """Whether it has gradients inside, through which none is swept: they would be differentiated twice."""
        return any(region.inside or getattr(region, "gradients", False) for region in self.draft.payload.values())

    def _check_differentiable(self) -> None:
        if self.has_gradients:
            raise TypeError(
                f"{self.recording.name} was compiled for its value and computes gradients itself; for its own gradient "
                f"compile value_and_grad({self.recording.name}), or trace it"
            )

    @property
    def _recycles(self) -> bool:
        return "recycle" in self.passes

    def lanes(
        self,
        gradient: bool,
        uniform: np.ndarray[Any, Any],
        wanted: np.ndarray[Any, Any],
        arrays: frozenset[int] = frozenset(),
        rolls: bool = True,
        sums: int = 0,
    ) -> tuple[Program, Program | None, np.ndarray[Any, Any]]:
        """Return the program for lanes, for some inputs that are uniform and some whose gradients are wanted.

        And the program for what is the same in all lanes, whose outputs are further uniform inputs, if there is such,
        with the inputs that it takes.
        `arrays` are those whose gradients are wanted; with `rolls`, sums may become products of matrices. Of the first
        `sums` outputs nothing but the sums over the lanes is wanted.
        """
        if gradient:
            self._check_differentiable()
        sums = sums if "reroll" in self.passes else 0
        key = gradient, uniform.tobytes(), wanted.tobytes(), arrays, rolls, sums
        with self._lock:
            if key not in self._lane_programs:
                once, draft, same = self._for_lanes(uniform, rolls, True)
                more = np.ones(len(same) - len(wanted), np.uint8)
                dots = rolls and "reroll" in self.passes
                program = self._in_lanes(draft, gradient, same, np.concatenate([wanted, more]), arrays, sums, dots)
                before, taken = None, np.zeros(0, np.int32)
                if once is not None and len(once.outputs):
                    once, taken = narrow(once)
                    before = assemble(
                        self._scheduled(once), gradient=gradient, wanted=wanted[taken], recycling=self._recycles
                    )
                self._lane_programs[key] = program, before, taken
            return self._lane_programs[key]

    def _for_lanes(self, uniform: np.ndarray[Any, Any], rolls: bool, hoists: bool) -> tuple[Any, Draft, Any]:
        """Return what runs once, what runs in every lane, and which inputs of that are the same in all.

        What was found last is kept until it was used again: it is the same forward, and forward and backward.
        """
        key = uniform.tobytes(), rolls, hoists
        if self._last is not None and self._last[0] == key:
            found = self._last[1:]
            self._last = None
            return found
        once, draft = None, self.draft
        if hoists and "hoist" in self.passes and uniform.any():
            began = time.perf_counter()
            once, draft = hoist(self.draft, uniform)
            self._hoisted.append((len(once), len(draft), time.perf_counter() - began))
            uniform = np.concatenate([uniform, np.ones(draft.inputs - self.draft.inputs, np.uint8)])
        if "combine" in self.passes:
            draft = combine(draft)
        draft = self._roll(draft, uniform) if rolls and "reroll" in self.passes else apart(draft)
        self._last = key, once, draft, uniform
        return once, draft, uniform

    def inputs(self, leaves: Sequence[Any]) -> np.ndarray[Any, Any]:
        """Return the inputs as one vector, from the leaves of the arguments and what was captured."""
        recording = self.recording
        vector = np.empty(recording.draft.inputs)
        for start, leaf in zip(recording.starts, leaves):
            if type(leaf) is float:
                vector[start] = leaf
            elif start >= 0:
                vector[start : start + leaf.size] = leaf.reshape(-1)
        vector[recording.own_inputs :] = recording.captured_values()
        return vector

    def read(self, leaves: Sequence[Any]) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """Return the inputs as one vector, and the arrays, as they are now."""
        dtype = self.recording.dtype
        return self.inputs(leaves), [whole.current(leaves, dtype) for whole in self.recording.arrays]

    def forward(
        self,
        program: Program,
        point: tuple[np.ndarray[Any, Any], list[Any]],
        pulls: np.ndarray[Any, Any] | None = None,
    ) -> tuple[PointRun, int]:
        """Run forward at what was read, from the pulls that will come if they are known.

        Also return the first broken guard, or -1.
        """
        run = self.acquire(program)
        vector, arrays = point
        for a, whole in enumerate(self.recording.arrays):
            if whole.kind != "made":
                run.arrays.set(a, arrays[a])
            run.arrays.set_adjoint(a, None)
        early = pulls is not None and program.inputs > len(vector)
        before = handlers_raised()
        try:
            broken = run.forward(np.concatenate([vector, pulls]) if early else vector)
        except Exception:  # of a gate of the user's own: perhaps it would never have been reached here
            broken = -1 if handlers_raised() != before else self.broken_guard(vector)
            if broken < 0:
                raise
        if broken >= 0:
            self.release(run)
        return run, broken

    def first_broken(self, leaves: Sequence[Any]) -> int:
        """Return the first guard that does not hold at the leaves of some arguments, or -1."""
        if not self.recording.outcomes:
            return -1
        run, broken = self.forward(self.point(False), self.read(leaves))
        if broken < 0:
            self.release(run)
        return broken

    def first_branches(self, leaves: Sequence[Any]) -> tuple[bool, ...] | None:
        """Return how the guards begin at some leaves if not as recorded; None if they hold."""
        broken = self.first_broken(leaves)
        outcomes = self.recording.outcomes
        return None if broken < 0 else (*outcomes[:broken], not outcomes[broken])

    def _in_lanes(
        self,
        draft: Draft,
        gradient: bool,
        uniform: Any,
        wanted: Any,
        arrays: frozenset[int],
        sums: int = 0,
        dots: bool = False,
    ) -> Program:
        return assemble(
            draft,
            lanes=True,
            gradient=gradient,
            uniform=uniform,
            wanted=wanted,
            recycling=self._recycles,
            arrays=arrays,
            sums=sums,
            dots=dots,
        )

    def along(
        self,
        gradient: bool,
        uniform: np.ndarray[Any, Any],
        wanted: np.ndarray[Any, Any],
        arrays: frozenset[int] = frozenset(),
        rolls: bool = False,
    ) -> Program:
        """Return the program for one step of a map or scan in the lanes of a map; `lanes` says what it is given."""
        key = "along", gradient, uniform.tobytes(), wanted.tobytes(), arrays, rolls
        return self._program(
            key, lambda: self._in_lanes(self._for_lanes(uniform, rolls, False)[1], gradient, uniform, wanted, arrays)
        )

    def step(
        self, gradient: bool, wanted: np.ndarray[Any, Any], arrays: Sequence[int], onward: np.ndarray[Any, Any]
    ) -> Program:
        """Return the program for one step of a scan at one point, for inputs and arrays whose gradients are wanted.

        `onward` says for each output which input it is at the next step, -1: none; forward alone it may be put there.
        """
        if not gradient and not (onward >= 0).any():
            return self.point(False)
        if not gradient:
            return self._program(
                ("step", onward.tobytes()),
                lambda: assemble(self._in_order(), gradient=False, recycling=self._recycles, onward=onward),
            )
        self._check_differentiable()
        return self._program(
            ("step", wanted.tobytes(), tuple(arrays)),
            lambda: assemble(self._in_order(), wanted=wanted, arrays=list(arrays), recycling=self._recycles),
        )

    @property
    def work(self) -> int:
        """How many gates there are, those of the maps among them counted in every lane."""
        return max(len(self.draft), 1) + sum(getattr(region, "work", 0) for region in self.draft.payload.values())

    def acquire(self, program: Program) -> PointRun:
        """Return a workspace that nobody uses; `release` takes it back."""
        try:
            return self._spare[program].pop()
        except (KeyError, IndexError):
            return PointRun(program, self.single, len(self.recording.arrays))

    def release(self, run: PointRun) -> None:
        """Take a workspace back, without what it knows of the arguments."""
        for a, whole in enumerate(self.recording.arrays):
            if whole.kind != "made":
                run.arrays.set(a, None)
            run.arrays.set_adjoint(a, None)
        spare = self._spare.setdefault(run.program, [])
        if len(spare) < 16:
            spare.append(run)

    def guards_alone(self) -> Plan:
        """Return a plan of the guards, without outputs."""
        return Plan(self.recording.with_outputs(()), self.passes)

    def broken_guard(self, inputs: np.ndarray[Any, Any]) -> int:
        """Return the first guard that comes out otherwise, or -1, of those before any that needs a gate outside."""
        draft = self.recording.draft

        def alone(count: int) -> Draft:
            guards = draft.guards[:count]
            found: Draft = drop(draft.replace(outputs=guards, guards=guards, expected=draft.expected[:count]))
            return found

        known = range(len(draft.guards) + 1)
        count = bisect.bisect(known, False, key=lambda count: _calls(alone(count))) - 1
        program = assemble(apart(expand(alone(count))), gradient=False)
        return int(PointRun(program, self.single).forward(inputs))

    def sides(self, guard: int, inputs: np.ndarray[Any, Any]) -> tuple[str, list[float]]:
        """Return the comparison of a guard and the values that it compares at some inputs."""
        draft = self.recording.draft
        gate = int(draft.guards[guard]) - draft.inputs
        if gate < 0:
            return "condition", []
        name, operands = draft.gate(gate)
        draft = drop(draft.replace(outputs=np.array(operands, np.int32), guards=[], expected=[]))
        if _calls(draft):  # it would have to run maps and gates of the user's own again
            return name, []
        run = PointRun(assemble(apart(expand(draft)), gradient=False), self.single)
        run.forward(inputs)
        return name, run.values()

    def guard_line(self, guard: int) -> str:
        """Return the source line of a guard."""
        draft = self.recording.draft
        gate = int(draft.guards[guard]) - draft.inputs
        return "an argument" if gate < 0 else self.recording.line(int(draft.origin[gate]))

    def divergence(
        self, guard: int, vector: np.ndarray[Any, Any] | None = None, lane: int | None = None
    ) -> DivergenceError | OutOfRangeError:
        """Return the error for a guard that does not hold: its line, what it compares at some inputs, what to do."""
        recording = self.recording
        comparison, values = ("condition", []) if vector is None else self.sides(guard, vector)
        gate = recording.draft.guards[guard] - recording.draft.inputs
        if gate >= 0 and recording.draft.gate(int(gate))[0] == "within":
            size = recording.draft.constants[~recording.draft.gate(int(gate))[1][1]]
            who = recording.looked_up.get(int(recording.draft.origin[gate]))
            text = f"{self.guard_line(guard)}: {out_of_range(values[0] if values else None, int(size), who)}"
            return OutOfRangeError(text, () if lane is None else (lane,))
        outcome = recording.outcomes[guard]
        signs = {"less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}
        shown = f" {signs.get(comparison, comparison)} ".join(f"{value:.17g}" for value in values)
        shown += " " if shown else ""
        at = f" in lane {lane}" if lane is not None else ""
        return DivergenceError(
            f"{self.guard_line(guard)}: the condition {shown}is {not outcome}{at}, but was {outcome} where "
            f"{recording.name} was recorded, so the circuit does not hold here; use fp.compile({recording.name}), "
            "which records every branch, or fp.where instead of the if"
        )

    def summary(self) -> str:
        """Return a table: gates, runs, slots, bytes and time as recorded and after each pass; programs below."""
        self.point(not self.has_gradients)
        return "\n".join(self._lines(self._assembled()))

    def _lines(self, assembled: Iterable[tuple[str, int, int, int, int, float]] = ()) -> Iterator[str]:
        """Yield the lines of the table, and those of the bodies of maps and scans."""
        yield f"{'pass':<12} {'gates':>10} {'runs':>10} {'slots':>10} {'bytes':>12} {'ms':>9}"
        yield from (_row(*figures) for figures in [*self.report, *assembled])
        yield from (f"hoist: {once} gates once, {n} per lane, {s * 1e3:.3f} ms" for once, n, s in self._hoisted)
        yield from dict.fromkeys(_rolled_text(report) for report in self._rolled)
        for region in self.draft.payload.values():
            for plan in getattr(region, "plans", ()):
                yield f"body of {region.title}:"
                yield from (f"  {line}" for line in plan._lines())

    def _assembled(self) -> Iterator[tuple[str, int, int, int, int, float]]:
        """Yield the figures of the program forward and backward, whose slots are not used again, and are."""
        draft = self._in_order()
        for name, recycling in (("assembled", False), ("recycle", True)):
            if recycling and name not in self.passes:
                continue
            began = time.perf_counter()
            program = assemble(draft, gradient=not self.has_gradients, recycling=recycling)
            seconds = time.perf_counter() - began
            yield name, len(draft), program.instructions[0], program.slots, program.nbytes, seconds


def _rolled_text(report: dict[str, Any]) -> str:
    """Say which sums became products of matrices, and why others did not."""
    products = [
        f"{n} product{'s' * (n > 1)} of {' x '.join(map(str, shape))}"
        for shape, n in sorted(report["products"].items())
    ]
    said = ", ".join(products) or "no products"
    if report["alone"]:
        sums = "1 sum shares its" if report["alone"] == 1 else f"{report['alone']} sums share their"
        said += f"; {sums} varying numbers with no other"
    return f"reroll: {said}"


def _calls(draft: Draft) -> bool:
    """Say whether there are gates that a program leaves to others."""
    return any(not region.inside for region in draft.payload.values())


def _row(name: str, gates: int, runs: int, slots: int, nbytes: int, seconds: float) -> str:
    return f"{name:<12} {gates:>10} {runs:>10} {slots:>10} {nbytes:>12} {seconds * 1e3:>9.3f}"
