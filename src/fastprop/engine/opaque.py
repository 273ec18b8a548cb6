"""Gates of one's own in a circuit, which it can't look into: what they are given, and what they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.blocks import as_result, frozen, gate_pulls, pulls_of
from fastprop.engine.bundle import Bundle, object_array
from fastprop.gates import Gate
from fastprop.operands import as_reals

__all__ = ["Opaque", "ResultOf", "differentiable", "has_vmap", "run_in_lanes"]

Numbers = Sequence[Any]  # of the operands that are recorded: floats, in lanes also arrays of one per lane


class Opaque:
    """The payload of a gate of the user's own, in circuits.

    `templates` holds its operands as they were recorded, `places` which numbers of them are recorded Units, and which
    of `units` those are: (operand, place in it).
    """

    def __init__(self, gate: Gate, operands: Sequence[Any]):
        self.gate = gate
        self.templates: list[np.ndarray[Any, Any]] = []
        self.places: list[tuple[int, int]] = []
        self.units: list[Any] = []  # while it is recorded
        self.shape: tuple[int, ...] | None = None  # of the result, once it is known
        for position, operand in enumerate(operands):
            numbers = operand if isinstance(operand, np.ndarray) else object_array([operand], ())
            self.templates.append(np.array([self._constant(x) for x in numbers.flat]).reshape(numbers.shape))
            for place, x in enumerate(numbers.flat):
                if not isinstance(x, float):
                    self.places.append((position, place))
                    self.units.append(x)

    @staticmethod
    def _constant(x: Any) -> float:
        return x if isinstance(x, float) else math.nan

    @property
    def name(self) -> str:
        """The gate's name."""
        return self.gate.name

    # at one point

    def _values(self, numbers: Numbers) -> tuple[Any, ...]:
        """Return the operands: floats, or read-only arrays."""
        operands = [template.copy() for template in self.templates]
        for (position, place), number in zip(self.places, numbers):
            operands[position].reshape(-1)[place] = number
        return tuple(float(x) if x.ndim == 0 else frozen(x) for x in operands)

    def forward(self, numbers: Numbers) -> list[float]:
        """Return the numbers of the value."""
        value = as_result(self.gate.forward(*self._values(numbers)), self.gate)
        if self.shape is None:
            self.shape = np.shape(value)
        if np.shape(value) != self.shape:
            raise ValueError(
                f"{self.name}.forward returned shape {np.shape(value)}, but was recorded with {self.shape} in this "
                "circuit"
            )
        return [value] if isinstance(value, float) else np.ravel(value).tolist()

    def backward(self, pulls: Sequence[float], numbers: Numbers) -> list[float]:
        """Return what pulls on the numbers of the value bring to the numbers of the operands."""
        if not any(pulls):
            return [0.0] * len(self.places)
        pull = pulls[0] if self.shape == () else frozen(np.array(pulls).reshape(self.shape or ()))
        brought = gate_pulls(self.gate, pull, self._values(numbers))
        return [0.0 if brought[i] is None else float(np.ravel(brought[i])[place]) for i, place in self.places]

    # in lanes

    def forward_lanes(self, numbers: Numbers, lanes: int) -> list[np.ndarray[Any, Any]]:
        """Return the numbers of the values of all lanes, as columns."""
        if not self.gate.vectorised:
            rows = [self.forward(lane) for lane in _lanes_of(numbers, lanes)]
            return list(np.array(rows, np.float64).reshape(lanes, -1).T)
        value = as_reals(self.gate.forward(*self._columns(numbers, lanes)), f"the value of {self.name}")
        expected = (lanes, *(self.shape or ()))
        if value.shape != expected:
            raise ValueError(
                f"{self.name}.forward, which is vectorised, returned shape {value.shape} for {lanes} lanes; expected "
                f"{expected}"
            )
        return list(value.reshape(lanes, -1).T)

    def backward_lanes(self, pulls: Numbers, numbers: Numbers, lanes: int) -> list[np.ndarray[Any, Any]]:
        """Return what pulls on the values of all lanes bring to the numbers of the operands, as columns."""
        if not self.gate.vectorised:
            both = zip(_lanes_of(pulls, lanes), _lanes_of(numbers, lanes))
            rows = [self.backward(pull, lane) for pull, lane in both]
            return list(np.array(rows, np.float64).reshape(lanes, -1).T)
        pull = np.stack([np.broadcast_to(x, (lanes,)) for x in pulls], -1)
        pulled = np.any(pull != 0.0, 1)
        values = self._columns(numbers, lanes)
        brought = pulls_of(self.gate, frozen(pull.reshape(lanes, *(self.shape or ()))), values)
        parts = self._checked_pulls(brought, values)
        return [np.where(pulled, parts[i].reshape(lanes, -1)[:, place], 0.0) for i, place in self.places]

    def _checked_pulls(self, brought: tuple[Any, ...], values: tuple[Any, ...]) -> dict[int, Any]:
        """Return the pulls on the operands that are recorded, proved to be of their shapes."""
        parts = {}
        for i in {position for position, _ in self.places}:
            what = f"{self.name}.backward: the pull on operand {i}"
            part = np.zeros(values[i].shape) if brought[i] is None else as_reals(brought[i], what)
            if part.shape != values[i].shape:
                raise ValueError(
                    f"{what} has shape {part.shape}; expected {values[i].shape}, lanes first, as the gate is vectorised"
                )
            parts[i] = part
        return parts

    def _columns(self, numbers: Numbers, lanes: int) -> tuple[Any, ...]:
        """Return the operands of all lanes: constants as they are, the others with the lanes first."""
        recorded = {position for position, _ in self.places}
        operands = [
            np.repeat(template[None], lanes, 0) if i in recorded else template
            for i, template in enumerate(self.templates)
        ]
        for (position, place), number in zip(self.places, numbers):
            operands[position].reshape(lanes, -1)[:, place] = number
        return tuple(float(x) if x.ndim == 0 else frozen(x) for x in operands)


class ResultOf:
    """The payload of a gate that stands for a further number of another one's value."""

    def __init__(self, gate: Any, output: int):
        self.gate, self.output = gate, output


class Flat(Gate):
    """A gate of the user's own on the numbers of its operands one by one, for derivatives that are recorded."""

    def __init__(self, opaque: Opaque):
        self.opaque = opaque

    @property
    def name(self) -> str:
        """The gate's name."""
        return self.opaque.name

    def forward(self, *numbers: Any) -> float:
        """Return the value."""
        return self.opaque.forward(numbers)[0]

    def backward(self, pull: Any, *numbers: Any) -> tuple[Any, ...]:
        """Return what the gate's own backward brings to each number, from handles."""
        blocks = [template.astype(object) for template in self.opaque.templates]
        for (position, place), number in zip(self.opaque.places, numbers):
            blocks[position].reshape(-1)[place] = number
        parts = pulls_of(self.opaque.gate, pull, [x.item() if x.ndim == 0 else Bundle(x) for x in blocks])
        return tuple(_number_of(parts[i], place) for i, place in self.opaque.places)


def _number_of(part: Any, place: int) -> Any:
    if part is None or np.shape(part) == ():
        return part
    return part[tuple(map(int, np.unravel_index(place, part.shape)))]


def differentiable(payload: Any) -> Gate:
    """Return the gate whose derivative is recorded in the place of one outside of the table, or raise."""
    if isinstance(payload, Opaque) and payload.shape == ():
        return Flat(payload)
    gate = payload.gate if isinstance(payload, ResultOf) else payload
    raise TypeError(
        f"{gate.name}: its derivative is not recorded gate by gate in a circuit; let grad or value_and_grad be the "
        "outermost transform, as in fp.compile(fp.grad(f))"
    )


def has_vmap(draft: Any) -> bool:
    """Whether some of a draft's gates outside of the table are not gates of the user's own."""
    gates = [what.gate if isinstance(what, ResultOf) else what for what in draft.payload.values()]
    return not all(isinstance(gate, Opaque) for gate in gates)


def run_in_lanes(outsider: Any, run: Any, bench: Any, lanes: int, forward: bool) -> None:
    """Run a gate at a block of lanes, forward or backward; `run` reads and writes what lies at slots of `bench`."""
    gate = outsider.payload
    if isinstance(gate, ResultOf):
        if forward:
            run.write(bench, outsider.result, bench.results[id(gate.gate)][gate.output])
        else:
            bench.pulls[id(gate.gate), gate.output] = run.read(bench, outsider.pull, lanes)
        return
    numbers = [run.read(bench, slot, lanes) for slot in outsider.operands]
    if forward:
        bench.results[id(gate)] = gate.forward_lanes(numbers, lanes)
        run.write(bench, outsider.result, bench.results[id(gate)][0])
        return
    further = [bench.pulls.pop((id(gate), k), 0.0) for k in range(1, len(bench.results[id(gate)]))]
    pulls = [run.read(bench, outsider.pull, lanes), *further]
    for target, column in zip(outsider.targets, gate.backward_lanes(pulls, numbers, lanes)):
        if target >= 0:
            run.add(bench, target, column)


def _lanes_of(columns: Numbers, lanes: int) -> list[list[float]]:
    return [[x if isinstance(x, float) else float(x[lane]) for x in columns] for lane in range(lanes)]
