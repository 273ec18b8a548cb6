"""Hostile structure: circuits that are empty, degenerate, deep, wide, dead in part, or exactly as long as a buffer."""

import math
import threading
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop
from fastprop import reference


def on_a_small_stack(work, size=128 * 1024):
    """Run something in a thread with so many bytes of stack, and return what it returns."""
    results = []
    before = threading.stack_size(size)
    try:
        thread = threading.Thread(target=lambda: results.append(work()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert results, "the thread died"
    return results[0]


def chain(engine, x, length):
    """A chain of so many gates: multiplications by 1 and additions of 1 in turn."""
    y = x
    for _ in range(length // 2):
        y = y * 1.0 + 1.0
    return y * 1.0 if length % 2 else y


# Nothing, and next to nothing


def test_an_empty_tape(engine):
    with engine.Tape() as tape:
        pass
    assert len(tape) == 0
    assert bool(tape) is True
    tape.reset()
    tape.reset()
    assert len(tape) == 0


def test_an_output_that_is_an_input(engine):
    x = engine.Unit(3.0)
    x.backward()
    assert x.grad == 1.0
    x.backward(2.5)
    assert x.grad == 3.5
    a = engine.Array([1.0, 2.0])
    a.backward([3.0, 4.0])
    a.backward([1.0, 1.0])
    assert_array_equal(a.grad, [4, 5])
    value, gradient = engine.value_and_grad(lambda x: x)(3.0)
    assert (value, gradient) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("f", "value", "grad"),
    [
        (lambda x: x * x, 9.0, 6.0),
        (lambda x: x + x, 6.0, 2.0),
        (lambda x: x - x, 0.0, 0.0),
        (lambda x: x / x, 1.0, 0.0),
        (lambda x: x**x, 27.0, 27.0 * (1.0 + math.log(3.0))),
        (lambda x: x * x * x, 27.0, 27.0),
        (lambda x: (x * x) + (x * x), 18.0, 12.0),
    ],
)
def test_the_same_unit_twice_in_a_gate(engine, f, value, grad):
    x = engine.Unit(3.0)
    result = f(x)
    result.backward()
    assert (result.value, x.grad) == (pytest.approx(value, rel=1e-15), pytest.approx(grad, rel=1e-15))


def test_the_same_result_and_the_same_array_twice_in_a_gate(engine):
    x, a = engine.Unit(3.0), engine.Array([1.0, 2.0])
    y = x * 2.0
    (y * y - y).backward()
    assert (x.grad, y.grad) == (22.0, 11.0)
    (a @ a).backward()
    (a - a).backward([5.0, 7.0])
    assert_array_equal(a.grad, [2, 4])


def test_unused_inputs_have_gradient_zero(engine):
    x, y, a = engine.Unit(3.0), engine.Unit(4.0), engine.Array([1.0, 2.0])
    unused = y * 2.0
    (x * 2.0).backward()
    assert (y.grad, unused.grad) == (0.0, 0.0)
    assert_array_equal(a.grad, [0, 0])
    assert engine.grad(lambda x, y: x * x, argnums=(0, 1))(3.0, 4.0) == (6.0, 0.0)


def test_constants_alone_record_nothing(engine):
    with engine.Tape() as tape:
        assert engine.multiply(2.0, engine.exp(0.0)) == 2.0
        assert engine.sum([1.0, 2.0]) == 3.0
        x = engine.Unit(2.0)
    assert len(tape) == 0
    assert x.grad == 0.0
    assert engine.grad(lambda x: 7.0)(2.0) == 0.0


def test_pulls_of_duplicate_outputs_add(engine):
    x = engine.Unit(3.0)
    y = x * x
    engine.sum([y, y, y]).backward()
    assert (x.grad, y.grad) == (18.0, 3.0)
    y.backward(10.0)
    assert x.grad == 78.0


# Depth and width


def test_a_deep_chain(engine, many):
    x = engine.Unit(2.0)
    reached = weakref.ref(x)
    with engine.Tape() as tape:
        y = chain(engine, x, many)
    y.backward(3.0)
    assert (y.value, x.grad, len(tape)) == (2.0 + many // 2, 3.0, many)
    del x, y, tape
    assert reached() is None


@pytest.mark.slow
def test_a_chain_of_ten_million_gates_on_a_small_stack():
    def work():
        x = fastprop.Unit(2.0)
        with fastprop.Tape() as tape:
            y = chain(fastprop, x, 10**7)
            y.backward()
        return y.value, x.grad, len(tape)

    assert on_a_small_stack(work) == (2.0 + 5 * 10**6, 1.0, 10**7)


def test_a_deep_chain_on_a_small_stack(engine, many):
    def work():
        x = engine.Unit(2.0)
        y = chain(engine, x, many)
        y.backward()
        value = y.value
        engine.current_tape().reset()
        return value, x.grad

    assert on_a_small_stack(work) == (2.0 + many // 2, 1.0)


def test_a_deep_chain_of_arrays_and_of_gates_of_ones_own(engine):
    class Next(engine.Gate):
        def forward(self, x):
            return x + 1.0

        def backward(self, pull, x):
            return pull

    def work():
        a, x = engine.Array([1.0, 2.0]), engine.Unit(0.0)
        b, y = a, x
        for _ in range(3000):
            b = b * 1.0 + 1.0
            y = Next()(y)
        (b.sum() * y).backward()
        return b.value.tolist(), y.value, a.grad.tolist(), x.grad

    assert on_a_small_stack(work, 256 * 1024) == ([3001.0, 3002.0], 3000.0, [3000.0, 3000.0], 6003.0)


def test_fan_out(engine, many):
    x = engine.Unit(2.0)
    y = x * 1.0
    uses = [y * 0.5 for _ in range(many)]
    total = engine.sum(uses)
    total.backward()
    assert total.value == many
    assert (y.grad, x.grad) == (0.5 * many, 0.5 * many)
    assert uses[-1].grad == 1.0


def test_one_gate_with_very_many_operands(engine, many):
    x, y = engine.Unit(2.0), engine.Unit(3.0)
    total = engine.sum([x, y] * (many // 2))
    total.backward()
    assert total.value == 2.5 * many
    assert (x.grad, y.grad) == (many / 2, many / 2)


def test_very_many_leaves(engine, many):
    leaves = [engine.Unit(float(i)) for i in range(many)]
    total = 0.0
    for leaf in leaves:
        total = total + leaf
    total.backward(2.0)
    assert total.value == many * (many - 1) / 2
    assert {leaf.grad for leaf in leaves} == {2.0}


# Dead branches


@pytest.mark.parametrize("dead", [math.nan, math.inf, -1.0, 0.0])
def test_a_dead_branch_has_no_effect(engine, dead):
    x = engine.Unit(dead)
    y = engine.Unit(3.0)
    branch = engine.log(x) * engine.sqrt(x) / (x - x)
    alive = y * y
    for result in (
        alive,
        engine.where(False, branch, alive),
        engine.where(y > 0, alive, branch),
        alive + engine.where(y < 0, branch, 0.0),
    ):
        y.grad = 0.0
        result.backward()
        assert (result.value, y.grad) == (9.0, 6.0)
        assert (x.grad, branch.grad) == (0.0, 0.0)


def test_a_dead_branch_in_arrays(engine):
    x = engine.Array([math.nan, 0.0, 4.0])
    engine.where(np.array([False, False, True]), 1.0 / x, x * 0.0 + 1.0)[2].backward()
    assert_array_equal(x.grad, [0.0, 0.0, -0.0625])
    y = engine.Array([0.0, 4.0])
    engine.log(y)[1].backward()
    assert_array_equal(y.grad, [0.0, 0.25])


# Lengths at a capacity and beside it


@pytest.mark.parametrize(
    "engine, capacity",
    [(reference, 2**k) for k in range(11)] + [(fastprop, 2**k) for k in range(15)],  # the reference looks at 256 first
    ids=lambda x: x.__name__.rpartition(".")[2] if x in (reference, fastprop) else None,
)
def test_lengths_beside_a_power_of_two(engine, capacity):
    for length in {capacity - 1, capacity, capacity + 1} - {0}:
        x = engine.Unit(2.0)
        with engine.Tape() as tape:
            y = chain(engine, x, length)
        y.backward()
        assert (len(tape), y.value, x.grad) == (length, 2.0 + length // 2, 1.0)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257])
def test_reclaiming_at_every_length(engine, count):
    x, others = engine.Unit(2.0), 3 * (512 if engine is reference else 8192)
    with engine.Tape() as tape:
        kept = [x * float(i) for i in range(count)]
        for i in range(others + count):
            dropped = x + float(i)
        total = engine.sum(kept) if kept else x * 0.0
        del dropped
        total.backward()
    assert x.grad == count * (count - 1) / 2
    assert [unit.value for unit in kept] == [2.0 * i for i in range(count)]
    assert count + 1 <= len(tape) <= others + 2 * count + 1


@pytest.mark.parametrize("most", [1, 2, 2**10 - 1, 2**10, 2**10 + 1])
def test_the_index_limit(most):
    x = fastprop.Unit(2.0)
    tape = fastprop.Tape(most=most)
    with tape:
        kept = [x * float(i) for i in range(most)]
        with pytest.raises((OverflowError, MemoryError), match=str(most)):
            x + 1.0
        assert len(tape) == most
        kept[-1].backward()
        assert x.grad == most - 1.0
        assert [unit.value for unit in kept] == [2.0 * i for i in range(most)]
        del kept
        assert (x * 3.0).value == 6.0  # room again: nobody reaches the others any more


def test_the_reference_reclaims_what_no_handle_reaches():
    x = reference.Unit(1.0)
    with reference.Tape() as tape:
        y = x * 2.0
        for _ in range(10_000):
            z = y + x
        assert len(tape) <= 600
    z.backward()
    assert (z.value, x.grad) == (3.0, 3.0)
