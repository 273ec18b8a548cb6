"""Sweeps that are recorded give what numeric sweeps give, in the hostile places too."""

import itertools
import math

import numpy as np
import pytest

from fastprop import gates

SAMPLES = (-2.3, -0.3, 0.0, 0.45, 2.6, math.inf, -math.inf, math.nan)


# Where a kernel's form is finite and the row's composition overflows: 2**1024 does, times log(2) it would not.
OVERFLOWING = {("exp2", (1024.0,))}


def points(row):
    """The row's own test points, and samples all over the line, in the domain or not."""
    own = [point if isinstance(point, tuple) else (point,) for point in row.at]
    own = [point for point in own if (row.name, point) not in OVERFLOWING]
    if row.arity == gates.SEQUENCE:
        return [*own, (0.45, -1.3, 2.6, 0.2)]
    columns = [SAMPLES[i:] + SAMPLES[:i] for i in range(row.arity)]
    return [*own, *zip(*columns)]


def call(engine, row, operands):
    gate = getattr(engine, row.name)
    if row.name == "dot":
        return gate(operands[: len(operands) // 2], operands[len(operands) // 2 :])
    return gate(list(operands)) if row.arity == gates.SEQUENCE else gate(*operands)


def free_operands(row, point):
    if row.arity == gates.SEQUENCE:
        return list(range(len(point)))
    return [i for i in range(row.arity) if row.partials[i] is not None]


def function(engine, row, point):
    """The row as a function of its free operands."""
    free = free_operands(row, point)

    def f(*given):
        operands = list(point)
        for i, x in zip(free, given):
            operands[i] = x
        return call(engine, row, operands)

    return f, [point[i] for i in free]


def close(a, b):
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=1e-11, abs_tol=1e-305)


PULLS = [1.0, 0.0, -2.5, math.inf]


@pytest.mark.parametrize("name", sorted(gates.table))
def test_backward(engine, name):
    row = gates.table[name]
    for point in points(row):
        f, xs = function(engine, row, point)
        swept, recording = engine.vjp(f, *xs)[1], engine.vjp(f, *[engine.Unit(x) for x in xs])[1]
        for pull in PULLS:
            numeric, recorded = swept(pull), [gradient.value for gradient in recording(pull)]
            assert all(map(close, numeric, recorded)), f"{pull} at {point}: {numeric} numeric, {recorded} recorded"


@pytest.mark.parametrize("name", sorted(gates.table))
def test_forward(engine, name):
    row = gates.table[name]
    for point in points(row):
        f, xs = function(engine, row, point)
        for k, along in itertools.product(range(len(xs)), PULLS):
            tangents = [along if i == k else 0.0 for i in range(len(xs))]
            value, numeric = engine.jvp(f, xs, tangents)
            same, recorded = engine.jvp(f, [engine.Unit(x) for x in xs], tangents)
            assert close(value, same.value)
            assert close(numeric, recorded.value), f"{along} at {point}: {numeric} numeric, {recorded} recorded"


@pytest.mark.parametrize("name", sorted(name for name, row in gates.table.items() if row.arity != gates.SEQUENCE))
def test_arrays(engine, name):
    row = gates.table[name]
    columns = [np.array(column) for column in zip(*points(row))]
    free = free_operands(row, columns)
    if name == "polygamma":
        columns[0] = 1.0
    f, xs = function(engine, row, columns)
    pull = np.array([1.0, 0.0, -2.5, math.inf] * len(columns[-1]))[: len(columns[-1])]
    numeric = engine.vjp(f, *xs)[1](pull)
    recorded = engine.vjp(f, *map(engine.Array, xs))[1](pull)
    _, along = engine.jvp(f, xs, [pull] * len(free))
    _, also = engine.jvp(f, list(map(engine.Array, xs)), [pull] * len(free))
    for a, b in zip([*numeric, along], [*recorded, also]):
        np.testing.assert_allclose(b.value, a, rtol=1e-11, atol=1e-305)
