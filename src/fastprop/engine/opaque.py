"""Gates of one's own in a circuit, which it can't look into: what they are given, and what they give."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import Bundle, numbers_of, object_array
from fastprop.engine.parts import Parts
from fastprop.engine.program import Region, Wiring
from fastprop.engine.run import (
    CalledAtPoint,
    CalledInLanes,
    LaneRegion,
    MatricesAtPoint,
    MatricesInLanes,
    MatrixGate,
    PointRegion,
)
from fastprop.engine.tape import current_tape
from fastprop.engine.trace import let_opaque, region_gate
from fastprop.gates import Gate
from fastprop.gates.blocks import total
from fastprop.gates.linear_algebra import Algebra
from fastprop.gates.numbers import as_reals
from fastprop.handles.nesting import is_handle
from fastprop.handles.operands import as_result, frozen, gate_pulls, pulls_of

__all__ = ["Opaque", "apply_opaque", "differentiable"]

LARGE = 1 << 23  # products in a solution: from here on LAPACK is faster, by its blocks,
LARGER = 1 << 28  # and of halves of matrices from here on, as their pulls are many calls of it
Numbers = Sequence[Any]  # of the operands that are recorded, in lanes: floats, or arrays of one per lane
Row = np.ndarray[Any, np.dtype[np.float64]]


class Opaque(Region):
    """The payload of a gate of the user's own, in circuits.

    `templates` holds its operands as they were recorded, `places` which numbers of them are recorded Units, and which
    of `units` those are: (operand, place in it); `parts` the same by operand: which Units are its, and where.
    """

    def __init__(self, gate: Gate, operands: Sequence[Any]):
        self.gate = gate
        self.templates: list[np.ndarray[Any, Any]] = []
        self.places: list[tuple[int, int]] = []
        self.parts: list[tuple[slice, Any]] = []
        self.units: list[Any] = []  # while it is recorded
        self.shape: tuple[int, ...] | None = None  # of the result, once it is known
        for position, operand in enumerate(operands):
            numbers = operand if isinstance(operand, np.ndarray) else object_array([operand], ())
            self.templates.append(np.array([self._constant(x) for x in numbers.flat]).reshape(numbers.shape))
            found = [place for place, x in enumerate(numbers.flat) if not isinstance(x, float)]
            own = slice(len(self.places), len(self.places) + len(found))
            every = len(found) == numbers.size
            self.parts.append((own, slice(None) if every else np.array(found, np.intp)))
            self.places += [(position, place) for place in found]
            self.units += [numbers.flat[place] for place in found]
        super().__init__(len(self.units))
        self.ordered = True

    def at_point(self, wiring: Wiring, run: Any) -> PointRegion:
        """Return one use of it at one point."""
        return CalledAtPoint(wiring)

    def in_lanes(self, wiring: Wiring, run: Any, bench: Any) -> LaneRegion:
        """Return one use of it in lanes."""
        return CalledInLanes(wiring)

    @staticmethod
    def _constant(x: Any) -> float:
        return x if isinstance(x, float) else math.nan

    @property
    def name(self) -> str:
        """The gate's name."""
        return self.gate.name

    # at one point

    def _values(self, numbers: Row) -> tuple[Any, ...]:
        """Return the operands: floats, or read-only arrays."""
        operands: list[Any] = []
        for template, (own, places) in zip(self.templates, self.parts):
            if template.ndim == 0:
                operands.append(numbers.item(own.start) if own.start < own.stop else template.item())
                continue
            operand = template.copy()
            operand.reshape(-1)[places] = numbers[own]
            operands.append(frozen(operand))
        return tuple(operands)

    def forward(self, numbers: Row) -> Row:
        """Return the numbers of the value."""
        value = as_result(self.gate.forward(*self._values(numbers)), self.gate)
        if self.shape is None:
            self.shape = np.shape(value)
        if np.shape(value) != self.shape:
            raise ValueError(
                f"{self.name}.forward returned shape {np.shape(value)}, but was recorded with {self.shape} in this "
                "circuit"
            )
        return np.array(value, np.float64).reshape(-1)

    def backward(self, pulls: Row, numbers: Row) -> Row:
        """Return what pulls on the numbers of the value bring to the numbers of the operands."""
        found = np.zeros(len(self.places))
        if np.count_nonzero(pulls) == 0:
            return found
        pull = pulls.item() if self.shape == () else frozen(pulls.reshape(self.shape or ()))
        brought = gate_pulls(self.gate, pull, self._values(numbers))
        for part, (own, places) in zip(brought, self.parts):
            if part is not None:
                found[own] = part if isinstance(part, float) else part.reshape(-1)[places]
        return found

    def is_swept(self, numbers: Any, arrays: Any) -> bool:
        """Say whether gradients inside can go through it: always."""
        return True

    def pulled_example(self, arrays: Any, pulls: Row, numbers: Row, active: Any) -> Row:
        """Return what pulls bring to the operands where it is recorded."""
        return self.backward(pulls, numbers)

    # in lanes

    def forward_lanes(self, numbers: Numbers, lanes: int) -> list[np.ndarray[Any, Any]]:
        """Return the numbers of the values of all lanes, as columns."""
        if not self.gate.vectorised:
            return list(np.array([self.forward(row) for row in _rows(numbers, lanes)]).reshape(lanes, -1).T)
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
            both = zip(_rows(pulls, lanes), _rows(numbers, lanes))
            return list(np.array([self.backward(*pair) for pair in both]).reshape(lanes, -1).T)
        pull = _rows(pulls, lanes)
        pulled = np.any(pull != 0.0, 1, keepdims=True)
        values = self._columns(numbers, lanes)
        brought = pulls_of(self.gate, frozen(pull.reshape(lanes, *(self.shape or ()))), values)
        found = np.zeros((lanes, len(self.places)))
        for i, part in self._checked_pulls(brought, values).items():
            own, places = self.parts[i]
            found[:, own] = np.where(pulled, part.reshape(lanes, -1)[:, places], 0.0)
        return list(found.T)

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
        rows = _rows(numbers, lanes)
        for position in recorded:
            own, places = self.parts[position]
            operands[position].reshape(lanes, -1)[:, places] = rows[:, own]
        return tuple(float(x) if x.ndim == 0 else frozen(x) for x in operands)


class SmallMatrices(Opaque):
    """A gate of linear algebra, on small matrices: C has it, and asks the gate itself for what it leaves."""

    gate: Algebra

    def __init__(self, gate: Algebra, operands: Sequence[Any]):
        super().__init__(gate, operands)
        self.ordered = False  # lanes on any thread: C has them without the GIL

    @property
    def work(self) -> int:
        """About how many gates it is worth."""
        matrices: int = math.prod(self.templates[0].shape[:-2])
        return matrices * _products(self.templates)

    def at_point(self, wiring: Wiring, run: Any) -> PointRegion:
        """Return one use of it at one point."""
        return MatricesAtPoint(wiring, self._in_c())

    def in_lanes(self, wiring: Wiring, run: Any, bench: Any) -> LaneRegion:
        """Return one use of it in lanes."""
        return MatricesInLanes(wiring, self._in_c(), run)

    def _in_c(self) -> MatrixGate:
        return MatrixGate(self.gate.kernel, self.templates, self.places)


def _products(operands: Sequence[Any]) -> int:
    """Return how many products of numbers a solution takes: square matrices first, right-hand sides last."""
    rows: int = operands[0].shape[-1]
    columns: int = operands[-1].shape[-1]
    return rows * rows * (rows + columns)


def apply_opaque(gate: Gate, operands: tuple[Any, ...]) -> Any:
    """Record a gate of the user's own: one region, with a result for every number of its value; of constants, none."""
    numbers = [numbers_of(x) for x in operands]
    if isinstance(gate, Algebra) and gate.kernel and _products(numbers) <= (LARGER if gate.reads_half else LARGE):
        opaque: Opaque = SmallMatrices(gate, numbers)
    else:
        opaque = Opaque(gate, numbers)
    trace: Any = current_tape()
    results = opaque.forward(np.array([unit._recorded for unit in opaque.units], np.float64)).tolist()
    units = region_gate(trace, opaque.units, opaque, results) if results and opaque.units else results
    opaque.units = []
    return units[0] if opaque.shape == () else Bundle(object_array(units, opaque.shape or ()))


class Flat:
    """A gate of the user's own, by the numbers of its value and of its operands, for derivatives that are recorded."""

    def __init__(self, opaque: Opaque):
        self.opaque = opaque

    @property
    def name(self) -> str:
        """The gate's name."""
        return self.opaque.name

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what the gate's own backward brings to each number, from handles."""
        numbers = [pull.found.get(k, 0.0) for k in range(math.prod(self.opaque.shape or ()))]
        parts = pulls_of(self.opaque.gate, self._value(numbers), self._operands(operands))
        pulls = [_number_of(parts[i], place) for i, place in self.opaque.places]
        if isinstance(self.opaque.gate, Algebra):  # of many numbers, and with no more NaN than its operands have
            return pulls
        unpulled = functools.reduce(operator.and_, [number == 0.0 for number in numbers], True)
        return [_pulled_by(unpulled, part) for part in pulls]

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Parts:
        """Return the tangents of all numbers of the value: by the gate's own `tangent`, or by a pull on each."""
        along = [0.0 if tangent is None else Parts.of(tangent).found.get(0, 0.0) for tangent in tangents]
        values = self._operands(operands)
        if hasattr(self.opaque.gate, "tangent"):
            moving = {i for i, _ in self.opaque.places}
            given = [part if i in moving else None for i, part in enumerate(self._operands(along, zeros=True))]
            return Parts(dict(enumerate(_array_of(self.opaque.gate.tangent(tuple(given), *values)).flat)))
        found = {}
        for k in range(math.prod(self.opaque.shape or ())):
            pull = [0.0] * math.prod(self.opaque.shape or ())
            pull[k] = 1.0
            parts = pulls_of(self.opaque.gate, self._value(pull), values)
            pulls = [_number_of(parts[i], place) for i, place in self.opaque.places]
            terms = [gates.strong_multiply(p, t) for p, t in zip(pulls, along) if p is not None]
            found[k] = total(terms)
        return Parts(found)

    def _value(self, numbers: list[Any]) -> Any:
        """Return numbers in the shape of the value."""
        return numbers[0] if self.opaque.shape == () else Bundle(object_array(numbers, self.opaque.shape or ()))

    def _operands(self, numbers: Sequence[Any], zeros: bool = False) -> list[Any]:
        """Return the operands with numbers in the places of those that are recorded, or tangents, 0 elsewhere."""
        blocks = [(np.zeros(x.shape) if zeros else x).astype(object) for x in self.opaque.templates]
        for (position, place), number in zip(self.opaque.places, numbers):
            blocks[position].reshape(-1)[place] = number
        return [x.item() if x.ndim == 0 else Bundle(x) for x in blocks]


def _pulled_by(unpulled: Any, part: Any) -> Any:
    """Return what a gate's backward brings to a number: not NaN, where nothing was pulled."""
    if unpulled is False or not is_handle(part):
        return 0.0 if unpulled is True and part is not None else part
    return gates.where(unpulled & (part != part), 0.0, part)


def _array_of(x: Any) -> np.ndarray[Any, Any]:
    """Return what a gate's tangent is, a number or a block, as an object array."""
    numbers = numbers_of(x)
    return numbers if isinstance(numbers, np.ndarray) else object_array([numbers], ())


def _number_of(part: Any, place: int) -> Any:
    if part is None or np.shape(part) == ():
        return part
    return part[tuple(map(int, np.unravel_index(place, part.shape)))]


def differentiable(payload: Any) -> Flat:
    """Return the gate whose derivative is recorded in the place of one outside of the table, or raise."""
    if isinstance(payload, Opaque):
        return Flat(payload)
    raise TypeError(
        f"{payload.name}: its derivative is not recorded gate by gate in a circuit; let grad or value_and_grad be the "
        "outermost transform, as in fp.compile(fp.grad(f))"
    )


def _rows(columns: Numbers, lanes: int) -> Row:
    """Return the numbers of every lane as a row."""
    rows = np.empty((lanes, len(columns)))
    for k, column in enumerate(columns):
        rows[:, k] = column
    return rows


let_opaque(apply_opaque, differentiable)
