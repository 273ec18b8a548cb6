"""Run: one use of a circuit, forward once and backward as often as one likes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.circuits.captured import gradients_of
from fastprop.engine.run import PointRun
from fastprop.handles.nesting import described

__all__ = ["Run"]


class Run:
    """One use of a circuit: its value, and the gradients that sweeps backward have brought. One thread at a time."""

    def __init__(self, circuit: Any, leaves: Sequence[Any]):
        self._circuit = circuit
        self._leaves = [np.copy(leaf) if np.ndim(leaf) else leaf for leaf in leaves]
        self._read = circuit._plan.read(self._leaves)
        self._point: PointRun | None = None  # a workspace, until its values are used up
        self._point = circuit._run_at(self._read, True)
        self.value = circuit._result(self._point)
        self._sums: list[Any] | None = None
        self._lock = threading.Lock()

    def __del__(self) -> None:
        point = getattr(self, "_point", None)
        if point is not None:
            self._circuit._plan.release(point)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Run is one use of a circuit and can be neither copied nor pickled; keep its value and its grads"
        )

    def __repr__(self) -> str:
        return f"<Run of {self._circuit.name}, whose value is {described(self.value)}>"

    @property
    def grads(self) -> tuple[Any, ...]:
        """The gradients of the arguments that are not static, one per argument; they add up over sweeps."""
        parts = self._sums
        if parts is None:
            parts = [0.0 if type(leaf) is float else np.zeros(leaf.shape, self._circuit.dtype) for leaf in self._leaves]
        parts = [part if type(part) is float else np.array(part) for part in parts]  # the caller's to keep
        signature = self._circuit._recording.signature
        return tuple(signature.gradient_of(i, parts) for i in signature.positions)

    def backward(self, pull: Any = None) -> None:
        """Sweep backward: add to `grads`, and to ``.grad`` of the leaves that the function captured.

        Parameters
        ----------
        pull : optional
            In the form of the value; 1.0 by default, if that is one number.
        """
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "this Run is in use by another thread; give each thread a Run of its own (circuit.forward)"
            )
        try:
            parts, captured = self._swept(pull)
            self._sums = parts if self._sums is None else [x + y for x, y in zip(self._sums, parts)]
            for handle, part in zip(self._circuit.captured, captured):
                handle.grad = handle.grad + part
        finally:
            self._lock.release()

    def pulled(self, pull: Any) -> tuple[list[Any], list[Any]]:
        """Sweep backward; return the gradients of the arguments' leaves, and of what the function captured."""
        with self._lock:
            return self._swept(pull)

    def _swept(self, pull: Any) -> tuple[list[Any], list[Any]]:
        circuit, point = self._circuit, self._point
        if point is None:
            point = circuit._run_at(self._read, True)
        self._point = None  # a sweep backward uses up the values that it needs
        vector = point.backward(circuit._pulls(pull, point))
        found = circuit._leaf_gradients(vector, point, self._leaves), _of_captured(circuit, vector, point)
        circuit._plan.release(point)
        return found


def _of_captured(circuit: Any, vector: np.ndarray[Any, Any], run: PointRun) -> list[Any]:
    """Return the gradients of the leaves that were captured, in the order of `Circuit.captured`."""
    recording = circuit._recording
    slopes = vector[recording.own_inputs :]
    found = gradients_of(recording.captured_stretches(), circuit.captured, slopes)
    for a, whole in enumerate(recording.arrays):
        if whole.kind == "captured":
            found[whole.handle] += run.arrays.finished_adjoint(a)
    return list(found.values())
