"""Who is measured: plain floats, fastprop, its reference, and other libraries where they are installed.

A contestant is an adapter: how this library makes its inputs, and how it gets the gradient of what it recorded. A gate
that a library lacks it gets here, as its users write it. Each adapter imports its library when it is made.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from workloads import FLOATS, Answer, Workload, float_sigmoid

Circuit = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Contestant:
    """One library: its gates, and how it answers."""

    name: str
    ops: Any
    value_and_grad: Callable[[Circuit, Sequence[float]], Answer]
    share: float = 1.0  # of a workload's full size, where the full size takes minutes
    gradient: bool = True
    tolerance: float = 1e-9

    def answer(self, workload: Workload) -> Answer:
        """Record the workload and sweep it once."""
        return self.value_and_grad(lambda inputs: workload.circuit(self.ops, inputs), workload.inputs)

    def prove(self, workload: Workload) -> None:
        """Raise AssertionError unless this contestant gets the workload right."""
        value, gradient = self.answer(workload)
        workload.prove(value, gradient if self.gradient else workload.truth()[1], self.tolerance)


def plain_floats() -> Contestant:
    """The same code on Python's floats: the value alone, no gradient. What every ratio is taken to."""
    return Contestant("plain floats", FLOATS, lambda circuit, inputs: (circuit(inputs), []), gradient=False)


def _define_by_run(name: str, module: Any, share: float = 1.0) -> Contestant:
    """Either engine of fastprop."""

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        units = [module.Unit(number) for number in inputs]
        output = circuit(units)
        output.backward()
        return output.value, [unit.grad for unit in units]

    return Contestant(name, module, value_and_grad, share)


def fastprop() -> Contestant:
    """The compiled engine."""
    import fastprop

    return _define_by_run("fastprop", fastprop)


def reference() -> Contestant:
    """The pure-Python engine."""
    from fastprop import reference

    return _define_by_run("reference", reference)


def micrograd() -> Contestant:
    """micrograd; it sorts its graph by recursion, so the recursion limit is lifted while it works."""
    from micrograd.engine import Value

    def sigmoid(x: Any) -> Any:
        output = Value(float_sigmoid(x.data), (x,), "sigmoid")

        def backward() -> None:
            x.grad += output.data * (1.0 - output.data) * output.grad

        output._backward = backward
        return output

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        values = [Value(number) for number in inputs]
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10_000_000)
        try:
            output = circuit(values)
            output.backward()
        finally:
            sys.setrecursionlimit(limit)
        return output.data, [value.grad for value in values]

    return Contestant("micrograd", SimpleNamespace(sigmoid=sigmoid, relu=lambda x: x.relu()), value_and_grad)


def xad() -> Contestant:
    """XAD's Python package: a tape in C++."""
    import xad.adj_1st as adjoint
    from xad import math as gates

    tape = adjoint.Tape()
    tape.activate()

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        reals = [adjoint.Real(number) for number in inputs]
        tape.registerInputs(reals)
        tape.newRecording()
        output = circuit(reals)
        tape.registerOutput(output)
        output.setDerivative(1.0)
        tape.computeAdjoints()
        answer = output.getValue(), [real.getDerivative() for real in reals]
        tape.clearAll()
        return answer

    ops = SimpleNamespace(sigmoid=lambda x: 1.0 / (1.0 + gates.exp(-x)), relu=lambda x: gates.max(x, 0.0))
    return Contestant("xad", ops, value_and_grad)


def autograd() -> Contestant:
    """HIPS autograd, on scalars."""
    import autograd.numpy as gates
    from autograd import value_and_grad as transform

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        arguments = tuple(range(len(inputs)))
        value, gradient = transform(lambda *numbers: circuit(numbers), arguments)(*map(float, inputs))
        return float(value), [float(number) for number in gradient]

    ops = SimpleNamespace(sigmoid=lambda x: 1.0 / (1.0 + gates.exp(-x)), relu=lambda x: gates.maximum(x, 0.0))
    return Contestant("autograd", ops, value_and_grad, share=0.1)


def torch() -> Contestant:
    """PyTorch, on 0-dimensional float64 tensors, with one thread."""
    import torch

    torch.set_num_threads(1)

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in inputs]
        output = circuit(tensors)
        output.backward()
        return output.item(), [tensor.grad.item() for tensor in tensors]

    return Contestant("torch", SimpleNamespace(sigmoid=torch.sigmoid, relu=torch.relu), value_and_grad, share=0.2)


def jax() -> Contestant:
    """JAX as define by run, in float64: recorded anew at every call, as everyone here is, hence without jit."""
    import jax

    jax.config.update("jax_enable_x64", True)

    def value_and_grad(circuit: Circuit, inputs: Sequence[float]) -> Answer:
        value, gradient = jax.value_and_grad(circuit)([float(number) for number in inputs])
        return float(value), [float(number) for number in gradient]

    return Contestant("jax", SimpleNamespace(sigmoid=jax.nn.sigmoid, relu=jax.nn.relu), value_and_grad, share=0.02)


OWN = {"plain floats": plain_floats, "fastprop": fastprop, "reference": reference}
PEERS = {"xad": xad, "micrograd": micrograd, "torch": torch, "autograd": autograd, "jax": jax}


def installed(name: str) -> bool:
    """Whether a peer's package can be imported here."""
    return importlib.util.find_spec(name) is not None


def contestants(names: Sequence[str] | None = None) -> list[Contestant]:
    """Plain floats, fastprop, the reference, and the named peers (none named: all that are installed)."""
    unknown = set(names or ()) - set(PEERS)
    if unknown:
        raise ValueError(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    chosen = [name for name in PEERS if installed(name)] if names is None else names
    return [make() for make in OWN.values()] + [PEERS[name]() for name in chosen]
