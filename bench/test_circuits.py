"""Circuits that are recorded once, for pytest-benchmark: `pytest bench --numprocesses=0 -p no:randomly`.

With --benchmark-disable every workload runs once, at a small size, and its answer is asserted, without a clock. The
workloads themselves are proved first, by the reference, which has no part in the formulas that everyone is held to.
"""

import dataclasses

import numpy as np
import pytest

import fastprop as fp
import hand
import own
from circuit_peers import NAMES, PEERS, installed, workload
from circuits import CIRCUITS
from fastprop import reference
from lanes import LANES
from mixture import formula, load, objective


def entrants(name, quick):
    """Everyone who takes part in this Python."""
    of = workload(name, quick)
    found = [*own.entries(of), *hand.entries(of)]
    for peer, make in PEERS.items():
        if installed(peer):
            found += make(of)
    return of, found


@pytest.mark.parametrize("name", CIRCUITS)
def test_formulas_agree_with_the_reference(name):
    circuit = workload(name, True)
    circuit.prove(reference.value_and_grad(lambda x: circuit.function(reference, x))(circuit.point.tolist()), 1e-12)


@pytest.mark.parametrize("name", [name for name in LANES if name != "V3s"])
def test_formulas_of_lanes_agree_with_the_reference(name):
    lanes = workload(name, True)
    values, gradients = lanes.truth()
    for place in (0, 1, lanes.lanes - 1):
        picked = [a if axis is None else a[..., place] for a, axis in zip(lanes.arguments, lanes.in_axes)]
        first, *others = (np.asarray(argument).tolist() for argument in picked)
        value, gradient = reference.value_and_grad(lambda x, *more: lanes.function(reference, x, *more))(first, *others)
        assert value == pytest.approx(values[place], rel=1e-12, abs=1e-300)
        assert gradient == pytest.approx(gradients[:, place].tolist(), rel=1e-9, abs=1e-12)


def summed(function, _):
    """The sum over the points, one by one: what a map comes to."""
    return lambda *arguments: sum((function(*arguments[:-1], x) for x in arguments[-1]), 0.0)


@pytest.mark.parametrize("engine", [reference, fp], ids=["reference", "fastprop"])
def test_mixture_point_by_point(engine):
    mixture = load("d2_K5", 10)
    function = objective(engine, mixture, summed)
    mixture.prove(engine.value_and_grad(function, argnums=(0, 1, 2))(*mixture.parameters), 1e-11)


@pytest.mark.parametrize("name", ["d2_K5", "d10_K5"])
def test_gradient_of_the_mixture_agrees_with_central_differences(name):
    mixture = load(name, 50)
    flat = np.concatenate([part.ravel() for part in mixture.parameters])
    gradient = np.concatenate([part.ravel() for part in formula(mixture)[1]])

    def value(at):
        alphas, means, factors = mixture.split(at)
        return formula(dataclasses.replace(mixture, alphas=alphas, means=means, factors=factors))[0]

    for place in np.random.default_rng(0).choice(flat.size, 20, replace=False):
        step = np.zeros(flat.size)
        step[place] = 1e-5
        slope = (value(flat + step) - value(flat - step)) / 2e-5
        assert slope == pytest.approx(gradient[place], rel=1e-6, abs=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("name", NAMES)
def test_everyone_is_right_and_timed(benchmark, name):
    quick = benchmark.disabled
    of, found = entrants(name, quick)
    for entry in found:
        of.prove(entry.answer(), 1e-8)
    benchmark.group = name
    benchmark(found[0].call)  # fastprop's bound or compiled circuit; circuits_table.py compares it with the others
