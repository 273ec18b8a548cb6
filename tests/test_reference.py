"""The reference: its circuits against numerical gradients, its tape protocol, and the compiled engine against it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fastprop
from fastprop import gates, reference

# Random circuits: a list of (gate, operand, operand), operands counted among all numbers so far.

UNARY = ["negative", "tanh", "sin", "sigmoid", "softplus", "arctan", "square", "expm1", "cos", "gelu", "erf", "silu"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "hypot", "logaddexp", "arctan2"]
LEAVES = 3

numbers = st.floats(-2.0, 2.0).filter(lambda x: abs(x) > 1e-3)
steps = st.lists(
    st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=25
)
points = st.lists(numbers, min_size=LEAVES, max_size=LEAVES, unique=True)


def run(engine, circuit, wires):
    """Build a circuit on some wires; tanh keeps what it passes on in a moderate range."""
    wires = list(wires)
    for name, i, j in circuit:
        operands = (wires[i % len(wires)],) if name in UNARY else (wires[i % len(wires)], wires[j % len(wires)])
        wires.append(engine.tanh(0.7 * getattr(engine, name)(*operands) + 0.1))
    return engine.sum(wires[LEAVES:])


def gradients(engine, circuit, point):
    """The value of a circuit, and its gradient in every leaf."""
    leaves = [engine.Unit(x) for x in point]
    output = run(engine, circuit, leaves)
    output.backward()
    return output.value, [leaf.grad for leaf in leaves]


def near_a_kink(circuit, point):
    """Whether a maximum or minimum has operands so close that central differences straddle the kink."""
    wires = list(point)
    for name, i, j in circuit:
        x, y = wires[i % len(wires)], wires[j % len(wires)]
        if name in ("maximum", "minimum") and abs(x - y) < 1e-4:
            return True
        if name in ("hypot", "arctan2") and math.hypot(x, y) < 1e-2:
            return True
        value = getattr(gates, name)(x) if name in UNARY else getattr(gates, name)(x, y)
        wires.append(math.tanh(0.7 * value + 0.1))
    return False


@given(circuit=steps, point=points)
def test_random_circuits_against_central_differences(circuit, point):
    if near_a_kink(circuit, point):
        return
    _, found = gradients(reference, circuit, point)
    for i in range(LEAVES):
        h = 1e-5
        ends = [run(reference, circuit, [x + s * h * (k == i) for k, x in enumerate(point)]) for s in (1.0, -1.0)]
        expected = (ends[0] - ends[1]) / (2.0 * h)
        assert found[i] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(circuit=steps, point=points)
def test_forward_sweep_agrees_with_backward_sweep(circuit, point):
    _, found = gradients(reference, circuit, point)
    tape = reference.Tape(captures=True)
    with tape:
        variables = [tape._variable(x) for x in point]
        output = run(reference, circuit, variables)
    tangents = [0.3, -1.1, 0.7]
    (tangent,) = tape._tangents([output], variables, tangents)
    assert tangent == pytest.approx(sum(g * t for g, t in zip(found, tangents, strict=True)), rel=1e-12, abs=1e-13)
    assert tape._gradients([output], [1.0], variables) == found
    assert all(variable.grad == 0.0 for variable in variables)


@given(circuit=steps, point=points)
def test_compiled_engine_agrees_with_the_reference(circuit, point):
    value, expected = gradients(reference, circuit, point)
    compiled_value, found = gradients(fastprop, circuit, point)
    assert compiled_value == pytest.approx(value, rel=1e-14, abs=1e-15)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)


# Public names


def test_every_gate_of_the_table_is_a_name(engine):
    for name, row in gates.table.items():
        gate = getattr(engine, name)
        assert name in (getattr(gate, "name", None), getattr(gate, "__name__", None))
        if engine is reference:
            assert gate is row
    with pytest.raises(AttributeError, match="no_such_gate"):
        _ = engine.no_such_gate


def test_names_are_importable():
    names: dict = {}
    exec("from fastprop.reference import *", names)
    assert {"Unit", "Array", "Tape", "Gate", "exp", "logsumexp", "grad", "hessian"} <= set(names)
    assert names["grad"](lambda x: x * x * x)(2.0) == 12.0


def test_tapes_grow_by_chunks_that_do_not_matter(monkeypatch):
    expected = None
    for fewest in (0, 1, 2, 3, 7, 256):
        monkeypatch.setattr(reference.Tape, "_fewest", fewest)
        x = reference.Unit(1.5)
        with reference.Tape() as tape:
            y, kept = x, []
            for i in range(60):
                y = reference.sin(y) * x + 0.1 * i
                if i % 7 == 0:
                    kept.append(y * 2.0)
                if i % 20 == 19:
                    y = kept[-1]
            y.backward()
        found = (y.value, x.grad, [unit.value for unit in kept], [unit.grad for unit in kept])
        expected = expected or found
        assert found == expected
        assert len(tape) <= 60 * 3 + len(kept)


# The private protocol of tapes: what transforms build on, the same on both engines


@pytest.fixture
def tape(engine):
    """A transform's tape, entered."""
    with engine.Tape(captures=True) as tape:
        yield tape


def test_variables(engine, tape):
    x, a = tape._variable(3.0), tape._variable(np.array([1.0, 2.0]))
    assert isinstance(x, engine.Unit)
    assert isinstance(a, engine.Array)
    y = x * a.sum()
    assert tape._gradients([y], [2.0], [x])[0] == 6.0
    assert_array_equal(tape._gradients([y], [2.0], [x, a])[1], [6, 6])
    assert (x.grad, y.grad) == (0.0, 0.0)
    assert_array_equal(a.grad, [0, 0])


def test_aliases_pull_on_what_they_stand_for(engine, tape):
    leaf = engine.Unit(3.0)
    x = tape._variable(leaf)
    assert x.value == 3.0
    y = x * x
    assert tape._gradients([y], [1.0], [x]) == [6.0]
    y.backward()
    assert leaf.grad == 6.0
    result = y * 2.0
    alias = tape._variable(result)
    z = alias * y
    assert tape._gradients([z], [1.0], [alias]) == [9.0]
    z.backward()
    assert leaf.grad == 6.0 + 9.0 * 2.0 * 6.0 + 18.0 * 6.0


def test_results_of_other_tapes_are_constants(engine, tape):
    with engine.Tape():
        leaf = engine.Unit(5.0)
        outside = leaf * 2.0
        outside_block = engine.Array([1.0, 2.0]) * leaf
    x = tape._variable(3.0)
    y = outside * x + x / outside
    assert tape._gradients([y], [1.0], [x]) == [10.1]
    y.backward()
    assert (leaf.grad, outside.grad) == (0.0, 0.0)
    assert tape._gradients([(outside_block * x).sum()], [1.0], [x]) == [15.0]
    assert engine.maximum(outside, x).value == 10.0


def test_gradients_and_tangents_of_what_is_not_reached(engine, tape):
    x, y, a = tape._variable(3.0), tape._variable(4.0), tape._variable(np.array([1.0, 2.0]))
    f = x * 2.0
    gradient = tape._gradients([f], [1.0], [x, y, a])
    assert gradient[:2] == [2.0, 0.0]
    assert_array_equal(gradient[2], [0, 0])
    g = a * 2.0
    tangents = tape._tangents([f, y, g, f * a], [x], [1.0])
    assert tangents[:2] == [2.0, 0.0]
    assert_array_equal(tangents[2], [0, 0])
    assert_array_equal(tangents[3], [2, 4])


def test_duplicate_outputs_and_outputs_that_are_variables(engine, tape):
    x = tape._variable(3.0)
    y = x * x
    assert tape._gradients([y, y, x], [1.0, 10.0, 100.0], [x]) == [166.0]
    assert tape._tangents([y, x, y], [x], [2.0]) == [12.0, 2.0, 12.0]


def test_steps(engine, tape):
    x, y = tape._variable(3.0), tape._variable(4.0)
    constant = y * 2.0
    unrelated = x * 7.0
    product = x * constant
    output = engine.exp(product - 20.0)
    output_keys, variable_keys, steps = tape._steps([output, constant, unrelated], [x])
    assert [step[1] for step in steps if step[1] is gates.multiply] == [gates.multiply] * 2
    by_key = {step[0]: step for step in steps}
    assert len(by_key) == len(steps) == 4
    assert output_keys[1] is None
    key, gate, operands, keys = by_key[output_keys[0]]
    assert gate is gates.exp
    assert operands[0].value == 4.0
    assert keys[0] in by_key
    _, gate, operands, keys = by_key[keys[0]]
    assert gate is gates.subtract
    assert operands[1] == 20.0
    assert keys[1] is None
    _, gate, operands, keys = by_key[keys[0]]
    assert gate is gates.multiply
    assert isinstance(operands[0], engine.Unit)
    assert [operand.value for operand in operands] == [3.0, 8.0]
    assert keys == (variable_keys[0], None)
    positions = {step[0]: i for i, step in enumerate(steps)}
    for step_key, _, _, operand_keys in steps:
        assert all(positions[step_key] < positions[k] for k in operand_keys if k in positions)
    assert key == output_keys[0]


def test_steps_leave_out_what_a_strong_gate_did_not_choose(engine, tape):
    x = tape._variable(3.0)
    dead = x * 5.0
    live = x * 100.0
    output = engine.maximum(dead, live)
    _, _, steps = tape._steps([output], [x])
    assert len(steps) == 2
    assert steps[0][3].count(None) == 1
    assert [getattr(operand, "value", operand) for operand in steps[0][2]] == [15.0, 300.0]
    floor = engine.floor(x)
    assert tape._steps([floor], [x])[0] == [None]


def test_steps_give_new_handles_for_dropped_ones(engine, tape):
    x = tape._variable(3.0)
    output = (x * 2.0) * (x + 1.0)
    _, _, steps = tape._steps([output], [x])
    values = sorted(operand.value for operand in steps[0][2])
    assert values == [4.0, 6.0]
    assert (steps[0][2][0] * 1.0).value == 6.0
    steps[0][2][0].backward()


def test_steps_of_variables_alone_and_of_constants(engine, tape):
    x = tape._variable(3.0)
    leaf = engine.Unit(5.0)
    output_keys, variable_keys, steps = tape._steps([x, leaf, 2.0], [x])
    assert output_keys == [variable_keys[0], None, None]
    assert steps == []
