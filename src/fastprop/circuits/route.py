"""From a circuit and what is asked of it to a Route: where what is read goes, and where the parts of the result are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.circuits.pipeline import Plan
from fastprop.circuits.signature import Signature
from fastprop.circuits.trace import Recording
from fastprop.engine import door
from fastprop.engine.door import Marshal
from fastprop.engine.program import Program
from fastprop.engine.run import Route
from fastprop.handles.nesting import LEAF, Nesting

__all__ = ["gradient_route", "value_route"]


def value_route(plan: Plan, signature: Signature) -> Route:
    """Return the route of a call for the value."""
    program = plan.point(False)
    result = _Result(plan.recording, signature, program)
    nesting, leaves = result.value()
    return result.route(plan, nesting, leaves)


def gradient_route(
    plan: Plan, signature: Signature, positions: Sequence[int], single: bool, gives_value: bool, auxiliary: bool = False
) -> Route:
    """Return the route of a call for the gradients of some arguments, and for the value if it is wanted.

    With `auxiliary`, the function returns a pair: the number that is differentiated, and what else there is.
    """
    wanted = [k for position in positions for k in signature.leaves_of_argument(position)]
    program = plan.point(True, frozenset(wanted), early=True)
    result = _Result(plan.recording, signature, program)
    nesting, leaves = result.value()
    parts = [result.gradient(position) for position in positions]
    gradient, of_gradient = parts[0] if single else _tuple_of(parts)
    if gives_value or auxiliary:
        if auxiliary and not gives_value:
            nesting, leaves = nesting.children[1] if nesting.children else LEAF, leaves[1:]
            gradient, of_gradient = _tuple_of([(gradient, of_gradient), (nesting, leaves)])
        else:
            gradient, of_gradient = _tuple_of([(nesting, leaves), (gradient, of_gradient)])
    return result.route(plan, gradient, of_gradient)


Parts = tuple[Nesting, list[Any]]


def _tuple_of(parts: Sequence[Parts]) -> Parts:
    """Return a tuple of results, each with its leaves."""
    nestings = tuple(nesting for nesting, _ in parts)
    leaves = [leaf for _, own in parts for leaf in own]
    children = None if all(nesting is LEAF for nesting in nestings) else nestings
    return Nesting(tuple, len(parts), children, len(leaves), None), leaves


class _Result:
    """The parts of a result, as a Marshal wants them, and the wiring that they need."""

    def __init__(self, recording: Recording, signature: Signature, program: Program):
        self.recording, self.signature, self.program = recording, signature, program
        self.blocks: list[tuple[int, bool]] = []
        self.wanted: list[int] = []
        self.both: list[tuple[int, int, int]] = []
        self.rounded: list[tuple[int, Any]] = []
        self.zeros = 0
        self._tail = program.slots + 16
        self._wholes = {whole.leaf: a for a, whole in enumerate(recording.arrays) if whole.kind == "leaf"}

    def value(self) -> Parts:
        """Return the function's result."""
        recording = self.recording
        leaves = []
        for i, (start, shape) in enumerate(recording.outputs):
            if i in recording.made:
                leaves.append(door.block(len(self.blocks)))
                self.blocks.append((recording.made[i], False))
            elif shape is None:
                leaves.append(door.number(self._tail + start))
            else:
                leaves.append(door.array(self._tail + start, shape, recording.dtype))
        return recording.nesting, leaves

    def gradient(self, position: int | str) -> Parts:
        """Return the gradient of an argument, in its nesting and in the dtypes of its arrays."""
        leaves = [self._gradient_of(k) for k in self.signature.leaves_of_argument(position)]
        return self.signature.nesting_of(position), leaves

    def _gradient_of(self, leaf: int) -> Any:
        signature, recording = self.signature, self.recording
        if leaf in signature.fixed:
            return door.constant(None)
        start, shape = recording.starts[leaf], signature.shapes[leaf]
        slot = self.program.adjoints + start
        if shape is None:
            return door.number(slot)
        own = signature.call_form.dtypes[leaf]
        dtype = own if own in (np.float32, np.float64) else recording.dtype
        if leaf not in self._wholes:
            return door.array(slot if start >= 0 else self._zeros(signature.size(leaf)), shape, dtype)
        a = self._wholes[leaf]
        self.wanted.append(a)
        if start >= 0:
            self.both.append((a, slot, signature.size(leaf)))
        if dtype != recording.dtype:
            self.rounded.append((len(self.blocks), dtype))
        self.blocks.append((a, True))
        return door.block(len(self.blocks) - 1)

    def _zeros(self, size: int) -> int:
        """Return the first of so many slots that hold zeros, behind the outputs."""
        self.zeros = max(self.zeros, size)
        return self._tail + len(self.recording.draft.outputs)

    def route(self, plan: Plan, nesting: Nesting, leaves: list[Any]) -> Route:
        """Return the route of a call whose result is made of these parts."""
        wiring = {
            **self._read(),
            **self._captured(),
            "output": np.asarray(self.program.outputs, np.int32),
            "seed": self._seeds(),
            "pulls": self._pulls(),
            "blocks": self.blocks,
            "wanted": self.wanted,
            "both": self.both,
            "rounded": self.rounded,
            "zeros": self.zeros,
        }
        return Route(self.signature.call_form, plan, self.program, wiring, Marshal(nesting, leaves))

    def _read(self) -> dict[str, Any]:
        """Say where numbers and arrays go that were read."""
        recording, form = self.recording, self.signature.call_form
        numbers, slots, arrays = [], [], []
        for k, start in enumerate(recording.starts):
            kind, _ = form.place(k)
            if kind == "number":
                numbers.append(start)
            elif kind == "array":
                slots.append(start)
                arrays.append(self._wholes.get(k, -1))
        names = ("number_slot", "array_slot", "array_number")
        return {name: np.array(found, np.int32) for name, found in zip(names, (numbers, slots, arrays))}

    def _captured(self) -> dict[str, Any]:
        """Say where captured leaves go: Units, numbers in a row of an Array, Arrays as wholes."""
        recording = self.recording
        units: list[tuple[Any, int]] = []
        parts: list[tuple[Any, int, int, int]] = []  # an Array, the place of the first number, how many, and its slot
        own = recording.own_inputs
        for stretch in recording.captured_stretches():
            if stretch.places is None:
                units += zip(stretch.handles, itertools.count(own + stretch.begin))
            else:
                parts += [(stretch.handles[0], place, count, own + at) for place, count, at in stretch.runs()]
        wholes = [(whole.handle, a) for a, whole in enumerate(recording.arrays) if whole.kind == "captured"]
        constants = [(whole.values, a) for a, whole in enumerate(recording.arrays) if whole.kind == "constant"]
        return {
            "units": units,
            "parts": parts,
            "wholes": wholes,
            "constants": constants,
            "stand_ins": [a for a, whole in enumerate(recording.arrays) if whole.kind == "variable"],
        }

    def _seeds(self) -> np.ndarray[Any, Any]:
        """Return the slots of the pulls that are inputs."""
        own = self.recording.draft.inputs
        return np.arange(own, self.program.inputs, dtype=np.int32)

    def _pulls(self) -> np.ndarray[Any, Any]:
        """Return the pulls on the outputs: 1.0 on the first."""
        pulls = np.zeros(max(len(self.recording.draft.outputs), 1))
        pulls[0] = 1.0
        return pulls
