"""Operands at one point that lie evenly, some at a time, as those of broadcast rows and columns and of tables do."""

import gc
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop import reference
from fastprop.circuits.pipeline import PASSES
from fastprop.engine.program import (
    Program,
    assemble,
    current_instruction_set,
    instruction_sets,
    use_instruction_set,
    verify_program,
)
from fastprop.engine.run import PointRun
from fronts import check_derivatives, check_values, fixed
from programs import Sketch, by_reference

SOURCES = 60  # inputs from which operands are taken
ARITY = {
    **{"add": 2, "subtract": 2, "multiply": 2, "divide": 2, "maximum": 2, "where": 3, "exp": 1, "square": 1, "relu": 1},
    **{"negative": 1, "max": 3, "logsumexp": 3, "sum": 3},
}
SPECIAL = [None, 0.0, np.inf, np.nan]


@st.composite
def numbers_in_pieces(draw, n):
    """Draw n numbers of inputs, of which some at a time lie evenly."""
    found = []
    while len(found) < n:
        count, step = draw(st.integers(1, 40)), draw(st.sampled_from([0, 0, 1, 1, -1, 2]))
        span = abs(step) * (count - 1)
        start = draw(st.integers(0, max(SOURCES - 1 - span, 0))) + (span if step < 0 else 0)
        found += [min(max(start + k * step, 0), SOURCES - 1) for k in range(count)]
        if draw(st.booleans()):  # where the next piece goes, too
            found += found[-count:]
    return found[:n]


@st.composite
def runs(draw):
    """Draw a gate and the operands of a run of it."""
    name = draw(st.sampled_from(sorted(ARITY)))
    n = draw(st.sampled_from([1, 15, 16, 17, 33, 64, 100, 150]))
    return name, [draw(numbers_in_pieces(n)) for _ in range(ARITY[name])]


def run_at_point(draft, point, pulls, single, instructions):
    before = current_instruction_set()
    try:
        use_instruction_set(instructions)
        program = assemble(draft)
        verify_program(program)
        run = PointRun(program, single)
        run.forward(point)
        return np.array(run.values()), run.backward(pulls), program.listing()
    finally:
        use_instruction_set(before)


@settings(max_examples=250)
@given(runs(), st.booleans(), st.sampled_from(instruction_sets()), st.sampled_from(SPECIAL), st.integers(0, 1000))
def test_a_run_is_what_the_reference_says(run, single, instructions, special, seed):
    name, operands = run
    rng = np.random.default_rng(seed)
    sketch = Sketch(SOURCES)
    gates = [sketch.gate("total" if name == "sum" else name, *given) for given in zip(*operands)]
    draft = sketch.draft(gates, run=[0, len(gates)])
    plain = Sketch(SOURCES)
    wanted = plain.draft([plain.gate(name, *given) for given in zip(*operands)])
    point = rng.choice([-1.0, 1.0], SOURCES) * rng.uniform(0.5, 2.0, SOURCES)
    pulls = rng.normal(size=len(gates))
    if special is not None:
        point[rng.integers(0, SOURCES, 3)] = special
        pulls[rng.integers(0, len(pulls), len(pulls) // 3)] = 0.0
    point, pulls = point.astype(np.float32).astype(float), pulls.astype(np.float32).astype(float)
    values, gradient, _ = run_at_point(draft, point, pulls, single, instructions)
    with np.errstate(all="ignore"):
        expected_values, expected, _ = by_reference(wanted, point, pulls)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if single else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(values, expected_values, **tolerance)
    np.testing.assert_allclose(gradient, expected, **tolerance)


def programs_of(function, *args):
    """Return the lines of the programs that a compiled function makes of arguments."""
    gc.collect()
    before = {id(x) for x in gc.get_objects() if isinstance(x, Program)}
    compiled = fp.compile(function)
    compiled(*args)
    made = [x for x in gc.get_objects() if isinstance(x, Program) and id(x) not in before]
    for program in made:
        verify_program(program)
    return [line for program in made for line in program.listing()]


def test_rows_and_columns_are_pieces_and_short_ones_are_not():
    def places(rows, columns):
        lines = programs_of(
            fp.grad(lambda x, y: fp.sum(fp.exp(x[:, None] - y)), argnums=(0, 1)), np.ones(rows), np.ones(columns)
        )
        lines = [line for line in lines if "list" not in line]
        return [[line.split(" x")[0] for line in lines if re.search(place, line)] for place in (r" p\d", r" g\d")]

    run = ["subtract", "pull pass", "pull negate"]
    assert places(20, 30) == [run, []]
    assert places(20, 5) == places(3, 4) == [[], run]


FORMS = {  # of 9 numbers and of 17
    "rows and columns": lambda m, x, y: (x[:, None] - y) * (x[:, None] + y) / (2.5 + y * x[:, None]),
    "sums of rows and of columns": lambda m, x, y: (
        m.sum(m.exp(x[:, None] * y), axis=0) * m.sum(m.tanh(x[:, None] - y), axis=1)[0]
    ),
    "the greater ones": lambda m, x, y: m.maximum(x[:, None], y) - m.minimum(y[:, None], x).T,
    "turned": lambda m, x, y: (x[:, None] * y).T * x + y[:, None],
    "back to front": lambda m, x, y: x[::-1][:, None] * y[::-1] + x[:, None],
    "choices": lambda m, x, y: m.where(x[:, None] > y, x[:, None] * y, y * y),
    "the greatest of rows": lambda m, x, y: m.max(x[:, None] * y, axis=1) + m.max(x[:, None] * y, axis=0)[:9],
    "again and again": lambda m, x, y: m.concatenate([y, x, y, x]) * m.concatenate([x, x, y, y]),
}


@pytest.mark.parametrize("name", FORMS)
def test_on_all_fronts(name):
    """Values, and derivatives forward, backward and of second order, at a point and in lanes."""
    x, y = fixed(9, seed=3), fixed(17, seed=4)
    check_values(FORMS[name], x, y, loose=1e-11)
    check_derivatives(FORMS[name], x, y, second=name != "the greatest of rows")


@pytest.mark.parametrize("dropped", PASSES)
def test_without_a_pass(dropped):
    x, y = fixed(12, seed=1), fixed(20, seed=2)

    def loss(m, x, y):
        return m.sum(m.exp(x[:, None] - y) * y)

    passes = [name for name in PASSES if name != dropped]
    value, slopes = fp.trace(lambda x, y: loss(fp, x, y), x, y, passes=passes).value_and_grad(x, y, argnums=(0, 1))
    expected, wanted = reference.value_and_grad(lambda x, y: loss(reference, x, y), argnums=(0, 1))(x, y)
    np.testing.assert_allclose(value, float(expected), rtol=1e-12)
    for slope, want in zip(slopes, wanted):
        np.testing.assert_allclose(slope, np.asarray(want), rtol=1e-11)


# Tables

TABLES = {
    "rows": lambda m, table, k: table[k],
    "a computed table": lambda m, table, k: m.tanh(table)[k],
    "back to front": lambda m, table, k: table[::-1][k],
    "every other row": lambda m, table, k: table[::2][k // 2],
    "a column": lambda m, table, k: table[:, 1][k],
    "its own numbers alone": lambda m, table, k: m.stack([table[:, 0], 2.0 * table[:, 1]], axis=1)[k],
    "here and there": lambda m, table, k: table[np.array([3, 0, 5, 1, 4, 2])][k],
    "half of it constant": lambda m, table, k: m.concatenate([table[:3], np.ones((3, 4))])[k],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TABLES)
def test_rows_of_a_table_are_picked(name, dtype):
    table, index = fixed(6, 4, seed=2).astype(dtype), np.array([5, 0, 3, -1, 3, 3, -6, 2])
    weights = np.arange(1.0, 1.0 + index.size)

    def loss(m, table, index):
        rows = [TABLES[name](m, table, index[i]) for i in range(index.size)]
        return sum(w * m.sum(row * row) for w, row in zip(weights.tolist(), rows))

    value, slope = fp.compile(fp.value_and_grad(lambda table, index: loss(fp, table, index)))(table, index)
    expected, wanted = reference.value_and_grad(lambda table: loss(reference, table, index))(table.astype(float))
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(value, float(expected), **tolerance)
    np.testing.assert_allclose(slope, np.asarray(wanted), **tolerance)
    along = fp.compile(lambda t, index: fp.hvp(lambda t: loss(fp, t, index), (t,), (t,)))(table, index)
    expected = reference.hvp(lambda t: loss(reference, t, index), (table.astype(float),), (table.astype(float),))
    np.testing.assert_allclose(along, np.asarray(expected), **tolerance)


def test_a_table_that_lies_evenly_is_not_listed():
    """However many rows it has, a program is about as large."""

    def loss(table, index):
        return fp.sum(table[index] ** 2)

    def size(rows):
        before = {id(x) for x in gc.get_objects() if isinstance(x, Program)}
        compiled = fp.compile(fp.value_and_grad(loss))
        table, index = fixed(rows, 3), np.array([0, rows - 1, -1, 0])
        value, slope = compiled(table, index)
        assert value == pytest.approx(np.sum(table[index] ** 2))
        wanted = np.zeros_like(table)
        np.add.at(wanted, index, 2.0 * table[index])
        np.testing.assert_allclose(slope, wanted, rtol=1e-12)
        with pytest.raises(IndexError):
            compiled(table, np.array([0, rows, -1, 0]))
        return max(x.nbytes for x in gc.get_objects() if isinstance(x, Program) and id(x) not in before)

    gc.collect()
    assert size(2000) < 2 * size(20)
