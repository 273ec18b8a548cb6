"""The ways that a function with branches can go: one plan per way, and which of them a point takes.

The guards of all paths are one draft, in which equal conditions are one gate; so to choose costs each condition once,
however many paths there are. Where a condition that no path knows comes out, the function is recorded there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.pipeline import Plan
from fastprop.engine.program import assemble
from fastprop.engine.run import LanesRun, walk
from fastprop.engine.trace import Draft, drop, expand, fold, merge
from fastprop.threads import give_lock

__all__ = ["MOST_PATHS", "Paths", "UNKNOWN"]

MOST_PATHS = 512
STRANGE = -(2**31)  # in a tree of conditions: a branch that no path takes
UNKNOWN = -1  # the path of a lane that none of the programs is for
CHUNK = 1 << 15  # lanes whose conditions are looked at together


class Paths:
    """The plans of one function, told apart by how their guards come out.

    `record` makes the plan of the path that a point takes (as a vector of own inputs), whose first guards come out as
    the conditions did that were computed beforehand: these round as circuits do, which Python does not always.
    """

    def __init__(self, record: Callable[..., Plan], name: str, most: int = MOST_PATHS):
        self.name, self.most = name, most
        self.plans: list[Plan] = []
        self._record = record
        self._numbers: dict[tuple[bool, ...], int] = {}  # outcomes -> plan
        self._known: dict[tuple[bool, ...], int] = {}  # beginnings of outcomes -> a plan that begins so
        self._selector: _Selector | None = None
        self._warned = False
        self._lock: Any
        give_lock(self)

    def add(self, vector: np.ndarray[Any, Any], beginning: tuple[bool, ...] = ()) -> int:
        """Record the path that a point takes; returns the number of its plan."""
        return self.keep(self._record(vector, beginning))

    def keep(self, plan: Plan) -> int:
        """Take a plan in, unless there is one of its path; returns its number."""
        with self._lock:
            return self._keep(plan)

    def _keep(self, plan: Plan) -> int:
        outcomes = plan.recording.outcomes
        if outcomes in self._numbers:
            return self._numbers[outcomes]
        number = len(self.plans)
        self.plans.append(plan)
        self._numbers[outcomes] = number
        for length in range(len(outcomes) + 1):
            self._known.setdefault(outcomes[:length], number)
        self._selector = None
        return number

    def replace(self, old: Plan, plan: Plan) -> int:
        """Put a plan in the place of another one; returns its number."""
        with self._lock:
            if plan.recording.outcomes != old.recording.outcomes or old not in self.plans:
                return self._keep(plan)
            number = self.plans.index(old)
            self.plans[number] = plan
            self._selector = None
            return number

    @property
    def can_select(self) -> bool:
        """Whether the guards of all plans can be computed together."""
        starts = self.plans[0].recording.starts
        return all(not plan.draft.payload and plan.recording.starts == starts for plan in self.plans)

    def find(self, own: list[float]) -> int:
        """Return the number of the plan that one point takes, or UNKNOWN."""
        taken = np.full(1, UNKNOWN, np.int32)

        def inputs(plan: Plan) -> list[Any]:
            return own + plan.recording.captured_values()

        with self._lock:
            self._current_selector().part(np.arange(1), inputs, taken)
        return int(taken[0])

    def once(self, own: Sequence[Any], lane: int, beginning: tuple[bool, ...] = ()) -> Plan:
        """Return a plan for one lane that is not kept."""
        return self._record(_lane(own, lane), beginning)

    @property
    def full(self) -> bool:
        """Whether no more paths are recorded; says so once."""
        if len(self.plans) < self.most:
            return False
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name} has taken {self.most} different paths, and no more are compiled: points on others are "
                "computed by calling the function, some hundred times slower; fp.where in the place of an if, or fewer "
                "turns of a loop, make fewer paths (fp.compile takes max_paths)",
                RuntimeWarning,
                stacklevel=2,
            )
        return True

    def part(self, lanes: int, inputs: Callable[[Plan], list[Any]], own: Sequence[Any]) -> np.ndarray[Any, Any]:
        """Return the number of the plan that every lane takes; new paths are recorded, UNKNOWN are left over.

        `inputs` gives the inputs of a plan, `own` are those of the arguments: columns, or numbers for all lanes.
        """
        with self._lock:
            return self._part(lanes, inputs, own)

    def _part(self, lanes: int, inputs: Callable[[Plan], list[Any]], own: Sequence[Any]) -> np.ndarray[Any, Any]:
        taken = np.full(lanes, UNKNOWN, np.int32)
        waiting = np.arange(lanes)
        if not self.plans and lanes:
            self.add(_lane(own, 0))
        while len(waiting) and self.plans:
            if len(self.plans) == 1 and not self.plans[0].recording.outcomes:
                taken[waiting] = 0
                break
            selector = self._current_selector()
            strangers = []
            for begin in range(0, len(waiting), CHUNK):
                chunk = waiting[begin : begin + CHUNK]
                try:
                    strangers += selector.part(chunk, inputs, taken)
                except Exception:
                    if not selector.draft.payload:
                        raise
                    return taken  # a gate of the user's own may fail in a lane that never reaches it: one by one, then
            waiting = np.array([], np.int64)
            if not strangers or self.full:
                break
            seen: set[tuple[bool, ...]] = set()
            for beginning, some in strangers:
                if beginning not in seen and len(self.plans) < self.most:
                    self.add(_lane(own, int(some[0])), beginning)
                seen.add(beginning)
            waiting = np.sort(np.concatenate([some for _, some in strangers]))
        return taken

    def _current_selector(self) -> _Selector:
        if self._selector is None:
            self._selector = _Selector(self)
        return self._selector

    def begins(self, beginning: tuple[bool, ...]) -> int | None:
        """Return a plan whose guards begin to come out like this, if there is one."""
        return self._known.get(beginning)


def _lane(own: Sequence[Any], i: int) -> np.ndarray[Any, Any]:
    return np.array([x[i] if isinstance(x, np.ndarray) else x for x in own], np.float64)


class _Selector:
    """The guards of all paths in one draft, and the program that computes them."""

    def __init__(self, paths: Paths):
        self.paths = paths
        plans = paths.plans
        self.single = plans[0].single
        self.handles: list[Any] = []  # (plan, its input) of every captured input, each once
        joined = drop(merge(fold(expand(self._joined(plans)))))
        self.rows: list[list[int]] = []  # plan -> for each guard, which output it is
        unique: dict[int, int] = {}
        for outputs in np.split(joined.outputs, np.cumsum([len(p.recording.outcomes) for p in plans])[:-1]):
            self.rows.append([unique.setdefault(int(x), len(unique)) for x in outputs])
        self.draft = joined.replace(outputs=np.array(list(unique), np.int32))
        self.count = len(unique)
        self._programs: dict[bytes, Any] = {}
        self.tree = self._grow_tree()

    def _joined(self, plans: Sequence[Plan]) -> Draft:
        """Return one draft of all guards; captured inputs that are the same thing are one."""
        own = plans[0].recording.own_inputs
        numbers: dict[Any, int] = {}
        parts, maps = [], []
        for plan in plans:
            recording = plan.recording
            part = drop(recording.draft.replace(outputs=recording.draft.guards, guards=[], expected=[]))
            parts.append(part)
            names = list(range(own))
            for k, key in enumerate(captured_keys(recording)):
                if key not in numbers:
                    numbers[key] = own + len(numbers)
                    self.handles.append((plan, own + k))
                names.append(numbers[key])
            maps.append(np.array(names, np.int64))
        inputs = own + len(numbers)
        all_constants = np.concatenate([part.constants for part in parts])
        bits, place = np.unique(all_constants.view(np.int64), return_inverse=True)  # equal ones are one
        opcode, operand, origin, outputs = [], [], [], []
        first = [np.zeros(1, np.int64)]
        payload: dict[int, Any] = {}
        gates = operands = numbers_before = 0
        for part, named in zip(parts, maps):
            constants = place[numbers_before : numbers_before + len(part.constants)]
            opcode.append(part.opcode)
            origin.append(part.origin)
            first.append(part.first[1:].astype(np.int64) + operands)
            operand.append(_renamed(part.operand, part.inputs, named, inputs + gates, constants))
            outputs.append(_renamed(part.outputs, part.inputs, named, inputs + gates, constants))
            payload.update({gates + i: what for i, what in part.payload.items()})
            gates += len(part)
            operands += len(part.operand)
            numbers_before += len(part.constants)
        return Draft(
            inputs,
            bits.view(np.float64),
            np.concatenate(opcode),
            np.concatenate(first),
            np.concatenate(operand),
            np.concatenate(origin),
            np.concatenate(outputs),
            [],
            [],
            payload=payload,
        )

    def part(
        self, lanes: np.ndarray[Any, Any], inputs: Callable[[Plan], list[Any]], taken: np.ndarray[Any, Any]
    ) -> list[tuple[tuple[bool, ...], np.ndarray[Any, Any]]]:
        """Note the plan of every lane that has one; return the others by how their guards begin."""
        lost = walk(self.tree, self._truth(lanes, inputs), lanes, taken)
        found = np.flatnonzero(lost >= 0)
        strangers = []
        for branch in np.unique(lost[found]).tolist():
            beginning = (*self.beginnings[branch // 2], bool(branch % 2))
            strangers.append((beginning, lanes[found[lost[found] == branch]]))
        return strangers

    def _grow_tree(self) -> np.ndarray[Any, Any]:
        """Return the tree of conditions, as `walk` wants it; notes the beginning that every node stands for."""
        self.beginnings: list[tuple[bool, ...]] = []
        numbers: dict[tuple[bool, ...], int] = {}
        for plan in self.paths.plans:
            for length in range(len(plan.recording.outcomes)):
                beginning = plan.recording.outcomes[:length]
                if beginning not in numbers:
                    numbers[beginning] = len(self.beginnings)
                    self.beginnings.append(beginning)
        tree = np.full((len(self.beginnings), 3), STRANGE, np.int32)
        for number, (plan, rows) in enumerate(zip(self.paths.plans, self.rows)):
            outcomes = plan.recording.outcomes
            for length, outcome in enumerate(outcomes):
                node = numbers[outcomes[:length]]
                after = outcomes[: length + 1]
                tree[node, 0] = rows[length]
                tree[node, 1 + outcome] = ~number if len(after) == len(outcomes) else numbers[after]
        return tree

    def _truth(self, lanes: np.ndarray[Any, Any], inputs: Callable[[Plan], list[Any]]) -> np.ndarray[Any, Any]:
        """Compute all conditions at some lanes, whose numbers increase."""
        given = inputs(self.paths.plans[0])[: self.paths.plans[0].recording.own_inputs]
        by_plan = {id(plan): inputs(plan) for plan, _ in self.handles}
        given = given + [by_plan[id(plan)][k] for plan, k in self.handles]
        uniform = np.array([not isinstance(x, np.ndarray) for x in given], np.uint8)
        key = uniform.tobytes()
        if key not in self._programs:
            self._programs[key] = assemble(
                self.draft, lanes=True, gradient=False, uniform=uniform, wanted=np.zeros(len(uniform), np.uint8)
            )
        run = LanesRun(self._programs[key], self.single, len(lanes), False, None)
        together = lanes[-1] - lanes[0] == len(lanes) - 1
        for i, x in enumerate(given):
            if isinstance(x, np.ndarray):
                run.set_input(i, x[int(lanes[0]) : int(lanes[-1]) + 1] if together else x[lanes])
            else:
                run.set_uniform(i, float(x))
        truth = np.empty((self.count, len(lanes)), np.float32 if self.single else np.float64)
        for k, row in enumerate(truth):
            run.set_value(k, row)
        run.begin()
        run.work(False, True)
        return truth


def captured_keys(recording: Any) -> list[Any]:
    """Return what each input beside the arguments' is, so that two recordings can tell whether it is the same."""
    outer = [(unit._tape.number, unit._slot) for unit in recording.outer]
    return outer + [(id(handle), place) for handle, place in recording.captured]


def _renamed(
    operands: np.ndarray[Any, Any],
    inputs: int,
    names: np.ndarray[Any, Any],
    gates: int,
    constants: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Return operands of one draft as operands of the joined one."""
    result = operands.astype(np.int64)
    is_gate, is_constant = result >= inputs, result < 0
    is_input = ~(is_gate | is_constant)
    result[is_gate] += gates - inputs
    result[is_constant] = ~constants[~result[is_constant]]
    result[is_input] = names[result[is_input]]
    return result
