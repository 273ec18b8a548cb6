"""fastprop's own entries on the circuits that are recorded once: bound, called, recorded anew; and its reference.

A *bound* circuit reads its inputs from arrays and writes value and gradient into arrays, all given beforehand: what one
uses in a loop, and the counterpart of CasADi's buffer() and of a function in C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

import fastprop as fp
from circuit_peers import Workload, next_of
from circuits import Answer, Circuit
from fastprop import reference
from lanes import Lanes
from measure import Entry
from mixture import Mixture, log_likelihood, log_prior, objective

MOST_FOR_THE_REFERENCE = 100_000  # gates; more take it many seconds


def entries(workload: Workload) -> Iterator[Entry]:
    """Everything that fastprop does with a workload."""
    if isinstance(workload, Circuit):
        yield from replayed(workload)
        yield recorded("fastprop, recorded anew", fp, workload)
        if workload.gates <= MOST_FOR_THE_REFERENCE:
            yield recorded("reference, recorded anew", reference, workload)
    elif isinstance(workload, Lanes):
        yield from mapped(workload)
    else:
        yield bound_mixture(workload)
        yield compiled_mixture(workload)


def recorded(name: str, engine: ModuleType, circuit: Circuit) -> Entry:
    """Define by run: every call records all gates and sweeps them once."""

    def call() -> Answer:
        units = [engine.Unit(number) for number in circuit.point.tolist()]
        output = circuit.function(engine, units)
        output.backward()
        return output.value, [unit.grad for unit in units]

    return Entry(name, call, call)


def bound(circuit: Circuit) -> tuple[Callable[[], object], np.ndarray, np.ndarray, np.ndarray]:
    """Trace, bind, run once: the run, and the arrays of inputs, value and gradient.

    It is traced at another point than the one where it is proved: no number of the trace may pass for an answer.
    """
    inputs, value, gradient = circuit.point.copy(), np.zeros(1), np.zeros(circuit.point.size)
    traced = fp.trace(lambda x: circuit.function(fp, x), circuit.points(2)[1])
    run = traced.bind(inputs, grad=gradient, value=value)
    run()
    return run, inputs, value, gradient


def replayed(circuit: Circuit) -> Iterator[Entry]:
    """P: the bound circuit, alone and with a new point copied in before each run; and an ordinary call."""
    start = time.perf_counter()
    run, inputs, value, gradient = bound(circuit)
    setup = time.perf_counter() - start
    following = next_of(circuit.points())

    def answer() -> Answer:
        inputs[:], value[:], gradient[:] = circuit.point, np.nan, np.nan
        run()
        return value[0], gradient.copy()

    def moved() -> None:
        inputs[:] = following()
        run()

    yield Entry("fastprop, bound", answer, run, setup)
    yield Entry("fastprop, new point copied in", answer, moved, setup)
    traced, point = fp.trace(lambda x: circuit.function(fp, x), circuit.points(2)[1]), circuit.point
    yield Entry(
        "fastprop, value_and_grad(x)", lambda: traced.value_and_grad(point), lambda: traced.value_and_grad(point)
    )


def trace_seconds(circuit: Circuit) -> float:
    """The seconds from a Python function to its first answer: recording, optimising, binding, one run."""
    start = time.perf_counter()
    bound(circuit)
    return time.perf_counter() - start


def one_lane(lanes: Lanes) -> list[np.ndarray]:
    """The arguments of the first lane."""
    return [argument if axis is None else argument[..., 0] for argument, axis in zip(lanes.arguments, lanes.in_axes)]


def bound_lanes(lanes: Lanes) -> tuple[Callable[[], object], np.ndarray, np.ndarray]:
    """Trace one lane, bind all: the run, and the arrays of values and gradients."""
    inputs = len(lanes.arguments[0])
    value = np.zeros(() if lanes.summed else lanes.lanes)
    gradient = np.zeros(inputs if lanes.summed else (inputs, lanes.lanes))
    traced = fp.trace(lambda *arguments: lanes.function(fp, *arguments), *one_lane(lanes))
    reduce = "sum" if lanes.summed else None
    return (
        traced.bind(*lanes.arguments, in_axes=lanes.in_axes, reduce=reduce, grad=gradient, value=value),
        value,
        gradient,
    )


def mapped(lanes: Lanes) -> Iterator[Entry]:
    """V: the bound circuit over all lanes, and, summed, the compiled transforms as a training step has them."""
    start = time.perf_counter()
    run, value, gradient = bound_lanes(lanes)
    setup = time.perf_counter() - start

    def answer() -> Answer:
        value[...], gradient[...] = np.nan, np.nan
        run()
        return value.copy(), gradient.copy()

    yield Entry("fastprop, bound", answer, run, setup)
    if lanes.summed:
        step = fp.compile(
            fp.value_and_grad(fp.vmap(lambda *a: lanes.function(fp, *a), in_axes=lanes.in_axes, reduce="sum"))
        )
        yield Entry("fastprop, compiled", lambda: step(*lanes.arguments), lambda: step(*lanes.arguments))


def bound_mixture(mixture: Mixture) -> Entry:
    """The mixture's gradient by two bound circuits, the sum over the points and the rest, and NumPy's sum of both."""
    start = time.perf_counter()
    K, d = mixture.means.shape
    alphas, means, factors = mixture.parameters
    mapped_value, value = np.zeros(()), np.zeros(())
    gradients, rest = [[np.zeros_like(part) for part in mixture.parameters] for _ in range(2)]

    def of_point(alphas: Any, means: Any, factors: Any, x: Any) -> Any:
        return log_likelihood(fp, alphas, means, factors, x, d, K)

    over_points = fp.trace(of_point, alphas, means, factors, mixture.points[0]).bind(
        alphas,
        means,
        factors,
        mixture.points,
        in_axes=(None, None, None, 0),
        reduce="sum",
        grad=(*gradients, None),
        value=mapped_value,
    )
    outside = fp.trace(lambda alphas, factors: log_prior(fp, mixture, alphas, factors), alphas, factors).bind(
        alphas, factors, grad=(rest[0], rest[2]), value=value
    )

    def call() -> Answer:
        over_points()
        outside()
        return mapped_value + value, [part + more for part, more in zip(gradients, rest)]

    call()
    return Entry("fastprop, bound", call, call, time.perf_counter() - start)


def compiled_mixture(mixture: Mixture) -> Entry:
    """The mixture's gradient in all its parameters, the points mapped."""
    start = time.perf_counter()

    def over_points(function: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
        return fp.vmap(function, in_axes=in_axes, reduce="sum")

    call = fp.compile(fp.value_and_grad(objective(fp, mixture, over_points), argnums=(0, 1, 2)))
    call(*mixture.parameters)
    setup = time.perf_counter() - start
    return Entry("fastprop, compiled", lambda: call(*mixture.parameters), lambda: call(*mixture.parameters), setup)
