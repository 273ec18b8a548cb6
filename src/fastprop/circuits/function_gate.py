"""A compiled function as a gate: called with Units or Arrays, or capturing leaves, it is one gate on their tape.

Its value comes from the circuit's sweep forward, its pulls from the sweep backward, with the pull that arrives. So a
model whose leaves are attributes of objects trains at the speed of its circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.circuit import Circuit, Run
from fastprop.circuits.enclosed import enclosed
from fastprop.circuits.paths import MOST_PATHS
from fastprop.circuits.pipeline import PASSES, Plan
from fastprop.circuits.signature import Signature
from fastprop.circuits.trace import record
from fastprop.derivatives import transforms
from fastprop.engine.integers import as_integer
from fastprop.gates import Gate
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import flatten, is_handle, plain

__all__ = ["FunctionGate", "apply_function", "call_as_gate"]


def apply_function(
    function: Callable[..., Any], circuit: Circuit, signature: Signature, leaves: Sequence[Any], given: Sequence[Any]
) -> Any:
    """Record a call of a function whose circuit is known.

    Parameters
    ----------
    function : callable
        The function itself.
    circuit : Circuit
        Of the path that it takes.
    signature : Signature
        Of the arguments.
    leaves, given : sequence
        The arguments' leaves, as plain numbers and arrays, and as they were given: handles among them.
    """
    gate = FunctionGate(function, circuit, signature, leaves, given)
    packed = gate(*gate.operands)
    return circuit.nesting.unflatten(gate.parts_of(packed))


def call_as_gate(function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Record a call of a function that is traced for this call alone."""
    signature = Signature(args, (), name, kwargs)
    given = signature.taken_apart(args, kwargs)
    built, named = signature.build([plain(leaf) for leaf in given])
    dtype = signature.call_form.dtype
    leaves = signature.leaves(built, dtype, named)
    recording = record(function, signature, leaves, dtype, max_paths=MOST_PATHS)
    found = apply_function(enclosed(function), Circuit(Plan(recording, PASSES)), signature, leaves, given)
    parts = flatten(found, nones=True)[0]
    differentiates = any(is_handle(leaf) and is_integer(leaf) for leaf in given)
    for k, (integer, truth) in enumerate(zip(recording.integer_outputs, recording.truth_outputs)):
        if truth:  # which pulls nothing, as integers do that come of floats
            parts[k] = np.not_equal(parts[k].value, 0.0)
        elif integer:
            parts[k] = as_integer(parts[k]) if differentiates else np.asarray(parts[k].value).astype(np.int64)[()]
    return recording.nesting.unflatten(parts)


class FunctionGate(Gate):
    """One call of a compiled function: the handles among its arguments and the leaves that it captures are operands."""

    def __init__(
        self,
        function: Callable[..., Any],
        circuit: Circuit,
        signature: Signature,
        leaves: Sequence[Any],
        given: Sequence[Any],
    ):
        self._function, self._circuit, self._signature = function, circuit, signature
        self._leaves = list(leaves)
        self._places = [k for k, leaf in enumerate(given) if is_handle(leaf)]  # of the arguments among the operands
        self._captured = circuit.captured
        self.operands = [given[k] for k in self._places] + self._captured
        self._run: Run | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return self._circuit.name

    def forward(self, *values: Any) -> Any:
        """Return the numbers of the result: one, an array, or all in a row."""
        self._run = self._circuit.forward_at(self._leaves)
        parts = flatten(self._run.value, nones=True)[0]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)

    def parts_of(self, packed: Any) -> list[Any]:
        """Return the leaves of the result, from the handle on their numbers in a row."""
        shapes = self._circuit.output_shapes
        if len(shapes) == 1:
            return [packed]
        parts, start = [], 0
        for shape in shapes:
            size = int(np.prod(shape)) if shape else 1
            part = packed[start : start + size]
            parts.append(part.reshape(shape) if shape else packed[start])
            start += size
        return parts

    def backward(self, pull: Any, *values: Any) -> tuple[Any, ...]:
        """Return what a pull on the result brings to the operands."""
        if is_handle(pull) or any(map(is_handle, values)):
            return self._recorded(pull, values)
        assert self._run is not None
        gradients, captured = self._run.pulled(self._circuit.nesting.unflatten(self.parts_of(pull)))
        return (*[gradients[k] for k in self._places], *captured)

    def _recorded(self, pull: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the same as handles: the function is called again, gate by gate, and pulled."""
        if self._captured:
            raise TypeError(
                f"{self.name} captures leaves, and its derivative was to be differentiated in turn; make them arguments"
            )

        def function(*operands: Any) -> Any:
            leaves = list(self._leaves)
            for k, operand in zip(self._places, operands):
                leaves[k] = operand
            args, kwargs = self._signature.build(leaves, construct=True)
            return self._function(*args, **kwargs)

        pulled = transforms.vjp(function, *values)[1]
        result: tuple[Any, ...] = pulled(self._circuit.nesting.unflatten(self.parts_of(pull)))
        return result
