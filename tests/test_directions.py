"""One derivative, asked for in every way: all directions, engines and fronts agree at hostile points, or all refuse."""

import math

import numpy as np
import pytest

import fastprop as fp
from fastprop import gates, reference
from programs import EXTREME, SINGULAR, PathSums, RandomProgram, seeds

ENGINES = {"compiled": fp, "reference": reference}

# Whether what a mapped function pulls is compared where the pull that arrives on it is not 1.
PULLS_ON_MAPS = False


def close(found, expected, scale=1.0, digits=1e-9, infinities=False):
    """Equal to nine digits of the largest summand; infinities and NaN where they are expected.

    With `infinities`, opposite ones may have met in a sum on one side, and have been multiplied apart on the other.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return False
    with np.errstate(all="ignore"):
        scale = np.where(np.isfinite(scale), scale, 0.0)
        near = np.abs(found - expected) <= digits * np.maximum(np.abs(expected), scale) + 1e-300
        met = np.isnan(found - expected) & ~np.isfinite(found) & ~np.isfinite(expected) & infinities
    return bool(np.all((found == expected) | (np.isnan(found) & np.isnan(expected)) | near | met))


def by_backward(engine, program, x):
    """Define by run: a row per output."""
    rows = []
    for k in range(len(program.outputs)):
        leaves = [engine.Unit(v) for v in x]
        output = program(leaves)[k]
        if isinstance(output, engine.Unit):
            output.backward()
        rows.append([leaf.grad for leaf in leaves])
    return rows


def by_vjp(engine, program, x):
    _, pull_back = engine.vjp(program, list(x))
    return [pull_back([float(i == k) for i in range(len(program.outputs))])[0] for k in range(len(program.outputs))]


def by_jvp(engine, program, x):
    columns = [engine.jvp(program, (list(x),), ([float(i == j) for i in range(len(x))],))[1] for j in range(len(x))]
    return list(map(list, zip(*columns)))


def by_jacobian(engine, program, x):
    return engine.jacobian(program)(list(x))


def by_recorded(engine, program, x):
    """Sweeps that are recorded: the arguments are handles."""
    rows = engine.jacobian(program)([engine.Unit(v) for v in x])
    return [[getattr(entry, "value", entry) for entry in row] for row in rows]


def by_recorded_tangents(engine, program, x):
    columns = [
        engine.jvp(program, ([engine.Unit(v) for v in x],), ([float(i == j) for i in range(len(x))],))[1]
        for j in range(len(x))
    ]
    return [[getattr(entry, "value", entry) for entry in row] for row in zip(*columns)]


def by_circuit(engine, program, x):
    circuit = engine.trace(program, [1.5, 0.75][: len(x)])
    return [circuit.vjp((list(x),), [float(i == k) for i in range(len(program.outputs))])[1][0]
            for k in range(len(program.outputs))]  # fmt: skip


def by_circuit_tangents(engine, program, x):
    circuit = engine.trace(program, [1.5, 0.75][: len(x)])
    columns = [circuit.jvp((list(x),), ([float(i == j) for i in range(len(x))],))[1] for j in range(len(x))]
    return list(map(list, zip(*columns)))


def by_compiled(engine, program, x):
    return engine.compile(engine.jacobian(program))(list(x))


WAYS = [by_backward, by_vjp, by_jvp, by_jacobian, by_recorded, by_recorded_tangents]
TRACED_WAYS = [by_circuit, by_circuit_tangents, by_compiled]


def points(seed, pool, count=6, inputs=2):
    generator = np.random.default_rng([seed, 7])
    return [tuple(float(v) for v in generator.choice(pool, inputs)) for _ in range(count)]


@pytest.mark.parametrize("pool", [SINGULAR, EXTREME], ids=["singular", "extreme"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", seeds(4, 16))
def test_first_derivatives(seed, outputs, pool):
    for number in range(3):
        program = RandomProgram(1000 * seed + number, outputs=outputs)
        for x in points(seed, pool):
            with np.errstate(all="ignore"):
                truth = PathSums(program, x)
            expected = [[part for part, _ in row] for row in truth.backward]
            scale = [[size for _, size in row] for row in truth.backward]
            if truth.fragile:
                continue
            assert close([[part for part, _ in row] for row in zip(*truth.forward)], expected, scale), (program, x)
            for name, engine in ENGINES.items():
                for way in WAYS + TRACED_WAYS * (engine is fp):
                    found = way(engine, program, x)
                    assert close(found, expected, scale), (name, way.__name__, program, x, found, expected)


def along_axis(name, given):
    """Apply an n-ary gate to Arrays, number by number."""
    if name == "dot":
        return given[0] * given[2] + given[1] * given[3]
    return gates.table[name](given, axis=0)


@pytest.mark.parametrize("pool", [SINGULAR, EXTREME], ids=["singular", "extreme"])
@pytest.mark.parametrize("seed", seeds(4, 16))
def test_many_points_at_once(seed, pool):
    for number in range(3):
        program = RandomProgram(1000 * seed + number)
        rows, kept, scale = [], points(seed, pool, 24), []
        with np.errstate(all="ignore"):
            truths = [(x, PathSums(program, x)) for x in kept]
        kept = [x for x, truth in truths if not truth.fragile]
        if not kept:
            continue
        rows = [[part for part, _ in truth.backward[0]] for _, truth in truths if not truth.fragile]
        scale = [[size for _, size in truth.backward[0]] for _, truth in truths if not truth.fragile]
        columns = np.array(kept)
        for name, engine in ENGINES.items():
            found = blocks(engine, program, columns)
            assert close(found, rows, scale), (name, "Arrays", program, kept, found, rows)
        gradient = fp.grad(program.first)
        for mapped in (fp.vmap(gradient), fp.compile(fp.vmap(gradient))):
            found = mapped(columns)
            assert close(found, rows, scale), ("mapped", program, kept, found, rows)
        summed = fp.vmap(program.first, reduce="sum")
        found = fp.compile(fp.grad(summed))(columns)
        assert close(found, rows, scale), ("summed", program, kept, found, rows)
        if PULLS_ON_MAPS:
            found = fp.compile(fp.grad(lambda c, f=summed: 0.0 * f(c)))(columns)
            assert close(found, np.zeros(columns.shape)), ("dropped", program, kept, found)


def blocks(engine, program, columns):
    """The gradients at many points, by one Array per input."""
    leaves = [engine.Array(column) for column in columns.T]
    output = program.wires(leaves, along_axis)[program.outputs[0]]
    output.backward(np.ones(len(columns)))
    return np.stack([leaf.grad for leaf in leaves], axis=1)


def hessians(program, x):
    """The second derivatives, by everything that gives them; products with unit vectors are columns."""
    f, unit = program.first, [[float(i == j) for i in range(len(x))] for j in range(len(x))]
    for name, engine in ENGINES.items():
        yield f"{name} hessian", engine.hessian(f)(list(x))
        yield f"{name} hvp", np.transpose([engine.hvp(f, (list(x),), (v,)) for v in unit])
    yield "traced hessian", fp.compile(fp.hessian(f))(list(x))
    traced = fp.compile(lambda x, v: fp.hvp(f, (x,), (v,)))
    yield "traced hvp", np.transpose([traced(list(x), v) for v in unit])
    mapped = fp.vmap(lambda p, v: fp.hvp(f, (p,), (v,)))
    yield "mapped hvp", mapped(np.array([x] * len(x)), np.array(unit)).T
    yield "compiled, mapped hvp", fp.compile(mapped)(np.array([x] * len(x)), np.array(unit)).T


@pytest.mark.parametrize("seed", seeds(4, 16))
def test_second_derivatives(seed):
    for number in range(3):
        program = RandomProgram(5000 + 1000 * seed + number, length=3)
        for x in points(seed, SINGULAR, 4):
            with np.errstate(all="ignore"):
                if PathSums(program, x).fragile:
                    continue
            (_, expected), *others = hessians(program, x)
            for name, found in others:
                assert close(found, expected, digits=1e-8, infinities=True), (name, program, x, found, expected)


def test_rows_of_the_rule_for_zero():
    def hidden_root(x):
        return fp.where(x > 0, fp.sqrt(x), x * x)

    assert fp.compile(lambda x: fp.hvp(hidden_root, (x,), (1.0,)))(-1.0) == 2.0
    entropy = lambda p: p[0] * fp.log(p[1])  # noqa: E731
    for count in (1, 3):
        rows = fp.jacobian(lambda p, count=count: [entropy(p)] * count)([0.0, 0.0])
        assert rows == [[-math.inf, 0.0]] * count


ROW, COLUMN = np.array([1.0, 2.0, 3.0]), np.array([[0.5], [-1.0]])
BROADCAST = {
    "add": lambda x: x + ROW,
    "subtract": lambda x: ROW - x,
    "divide": lambda x: x / ROW * COLUMN,
    "maximum": lambda x: fp.maximum(x, ROW),
    "where": lambda x: fp.where(ROW > 1.5, x, COLUMN),
    "array": lambda x: fp.multiply(x, COLUMN) + ROW,
    "clip": lambda x: fp.clip(ROW, x, 2.5),
}


@pytest.mark.parametrize("name", BROADCAST)
@pytest.mark.parametrize("x", [1.5, [1.5], [[1.5], [0.5]]], ids=["number", "one", "column"])
def test_tangents_of_what_is_broadcast(name, x):
    f, x = BROADCAST[name], np.array(x) if np.ndim(x) else x
    direction = 2.0 if np.ndim(x) == 0 else np.full(np.shape(x), 2.0)
    step = 1e-6
    numerical = (f(x + step * direction) - f(x - step * direction)) / (2.0 * step)
    for engine in ENGINES.values():
        value, tangent = engine.jvp(f, (x,), (direction,))
        np.testing.assert_allclose(value, f(x))
        np.testing.assert_allclose(tangent, numerical, rtol=1e-6, atol=1e-6)
        second = engine.jvp(lambda x, f=f, engine=engine: engine.jvp(f, (x,), (direction,))[1], (x,), (direction,))[1]
        np.testing.assert_allclose(second, np.zeros_like(numerical), atol=1e-9)
