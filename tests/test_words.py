"""Steps of single gates: what is taken apart, what is left in registers, and zeros that are never put."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp


def gradient(f, point):
    """Value and gradient by a bound circuit, whose memory holds the numbers of another point; and eagerly."""
    circuit = fp.trace(f, [0.5 + 0.25 * i for i in range(len(point))])
    x, slopes = np.full(len(point), 0.7), np.empty(len(point))
    run = circuit.bind(x, grad=slopes)
    run()
    x[:], slopes[:] = point, np.nan
    run()
    expected, eagerly = fp.value_and_grad(f)(list(point))
    assert run.value == pytest.approx(expected, rel=1e-14)
    return slopes, eagerly


@pytest.mark.parametrize("gates", [1, 2, 3, 4, 5, 9, 70])
@pytest.mark.parametrize("kind", ["product", "sum", "difference", "quotient", "power", "square", "negative", "tanh"])
def test_runs_of_any_length_with_one_operand_in_common(kind, gates):
    """The first pull on the operand in common is assigned, the others are added to it."""
    many = {
        "product": lambda y, x: y * x,
        "sum": lambda y, x: y + x,
        "difference": lambda y, x: y - x,
        "quotient": lambda y, x: x / y,
        "power": lambda y, x: y**x,
        "square": lambda y, x: (y - x) ** 2,
        "negative": lambda y, x: fp.maximum(-y, x),
        "tanh": lambda y, x: fp.tanh(y) * x,
    }[kind]

    def f(x):
        y = fp.exp(x[0])
        parts = [many(y, x[i]) for i in range(1, gates + 1)]
        return fp.dot(parts, [1.0 + 0.5 * i for i in range(gates)])

    slopes, eagerly = gradient(f, [0.3 + 0.1 * i for i in range(gates + 1)])
    assert_allclose(slopes, eagerly, rtol=1e-12)


def test_two_pulls_of_one_step_on_one_number():
    slopes, eagerly = gradient(lambda x: fp.sin(x[0] * x[1] + x[0] * x[2] + x[0]), [0.3, 0.5, -0.8])
    assert_allclose(slopes, eagerly, rtol=1e-13)
    slopes, eagerly = gradient(
        lambda x: fp.sin(x[0]) + fp.sin(x[0]) / fp.sin(x[0] + 0.0 * x[1]) - x[0] / x[0], [0.3, 2]
    )
    assert_allclose(slopes, eagerly, rtol=1e-12, atol=1e-15)


def test_inputs_that_nothing_depends_on_have_a_gradient_of_zero():
    slopes, _ = gradient(lambda x: x[7] * 2.0, [1.0] * 12)
    assert slopes.tolist() == [0.0] * 7 + [2.0] + [0.0] * 4
    slopes, _ = gradient(lambda x: fp.where(x[0] > 0.0, x[1], x[2]) + fp.stop_gradient(x[3]), [1.0, 2.0, 3.0, 4.0])
    assert slopes.tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("pull", [0.0, -0.0])
def test_a_pull_of_zero_brings_zero_whatever_the_partial(pull):
    """Through a register as through memory, to one number as to two at once."""

    def f(x):
        return fp.where(x[0] > 1.0, fp.sqrt(x[1]) * fp.log(x[2]) / x[3], x[4]) * (
            1.0 if math.copysign(1.0, pull) > 0 else -1.0
        )

    circuit = fp.trace(f, [0.0, 1.0, 1.0, 1.0, 1.0])
    _, slopes = circuit.value_and_grad([0.0, 0.0, 0.0, 0.0, 2.0])
    assert slopes[:4] == [0.0] * 4


def test_division_pulls_on_both_operands_as_eagerly():
    points = [0.0, -0.0, 1e-300, -2.5, 1e300, math.inf, math.nan]
    circuit = fp.trace(lambda x, y: x / y, 1.0, 2.0)
    for x in points:
        for y in points if x == x else points[2:]:  # of NaN / 0 nothing is known
            with np.errstate(all="ignore"):
                expected = fp.grad(lambda x, y: x / y, argnums=(0, 1))(x, y)
            assert_array_equal(circuit.value_and_grad(x, y, argnums=(0, 1))[1], expected)


@pytest.mark.parametrize("n", [20_000, pytest.param(250_000, marks=pytest.mark.slow)])
def test_many_gates_in_few_instructions(n):
    """The steps pause now and then; a bound circuit goes on."""
    x, slopes = np.linspace(0.1, 1.0, n), np.empty(n)
    circuit = fp.trace(lambda x: [fp.sin(v) for v in x], x)
    run = circuit.bind(x, grad=slopes)
    run()
    assert sum(circuit._plan.point(True).instructions) < n / 250
    assert_allclose(np.stack(run.value), np.sin(x), rtol=1e-14)
    assert_allclose(slopes, np.cos(x), rtol=1e-14)
