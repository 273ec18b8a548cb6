"""The Hacker's guide, "Becoming a Backprop Ninja": each expression against the backward pass worked out by hand.

A row holds the expression on handles, the same on floats, and the pulls on its operands for the pull `d` on its result.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest

POINTS = [(0.5, -1.5, 2.0, 0.25, -3.0), (-2.0, 3.0, -0.75, 4.0, 1.25), (1.25, 0.125, -4.0, -0.5, 0.75)]
PULLS = [1.0, -2.5, 0.0]


class Expression(NamedTuple):
    name: str
    arity: int
    forward: Callable
    value: Callable
    by_hand: Callable


def sigmoid(q):
    return 1.0 / (1.0 + math.exp(-q))


def neuron_by_hand(d, a, b, c, x, y):
    f = sigmoid(a * x + b * y + c)
    dq = f * (1.0 - f) * d
    return x * dq, y * dq, dq, a * dq, b * dq


def squared_by_hand(d, a, b, c, e):
    x1 = a * b + c
    x2 = x1 * e
    dx2 = 2.0 * x2 * d
    dx1 = e * dx2
    return b * dx1, a * dx1, dx1, x1 * dx2


def ratio_by_hand(d, a, b, c, e):
    x1, x2 = a + b, c + e
    dx2 = -1.0 / (x2 * x2) * (x1 * d)
    return d / x2, d / x2, dx2, dx2


EXPRESSIONS = [
    Expression("multiply", 2, lambda fp, a, b: a * b, lambda a, b: a * b, lambda d, a, b: (b * d, a * d)),
    Expression("add", 2, lambda fp, a, b: a + b, lambda a, b: a + b, lambda d, a, b: (d, d)),
    Expression("add three", 3, lambda fp, a, b, c: a + b + c, lambda a, b, c: a + b + c, lambda d, a, b, c: (d, d, d)),
    Expression(
        "add three as one gate", 3, lambda fp, *v: fp.sum(v), lambda a, b, c: a + b + c, lambda d, a, b, c: (d, d, d)
    ),
    Expression(
        "multiply and add",
        3,
        lambda fp, a, b, c: a * b + c,
        lambda a, b, c: a * b + c,
        lambda d, a, b, c: (b * d, a * d, d),
    ),
    Expression(
        "neuron",
        5,
        lambda fp, a, b, c, x, y: fp.sigmoid(a * x + b * y + c),
        lambda a, b, c, x, y: sigmoid(a * x + b * y + c),
        neuron_by_hand,
    ),
    Expression("one wire twice", 1, lambda fp, a: a * a, lambda a: a * a, lambda d, a: (2.0 * a * d,)),
    Expression("power rule", 1, lambda fp, a: a**2, lambda a: a * a, lambda d, a: (2.0 * a * d,)),
    Expression(
        "sum of squares",
        3,
        lambda fp, a, b, c: a * a + b * b + c * c,
        lambda a, b, c: a * a + b * b + c * c,
        lambda d, a, b, c: (2.0 * a * d, 2.0 * b * d, 2.0 * c * d),
    ),
    Expression(
        "power of a product",
        4,
        lambda fp, a, b, c, e: fp.power((a * b + c) * e, 2),
        lambda a, b, c, e: ((a * b + c) * e) ** 2,
        squared_by_hand,
    ),
    Expression("division", 1, lambda fp, a: 1.0 / a, lambda a: 1.0 / a, lambda d, a: (-1.0 / (a * a) * d,)),
    Expression(
        "division in practice",
        4,
        lambda fp, a, b, c, e: (a + b) / (c + e),
        lambda a, b, c, e: (a + b) / (c + e),
        ratio_by_hand,
    ),
    Expression(
        "max",
        2,
        lambda fp, a, b: fp.maximum(a, b),
        lambda a, b: max(a, b),
        lambda d, a, b: (d if a > b else 0.0, d if b > a else 0.0),
    ),
    Expression("relu", 1, lambda fp, a: fp.relu(a), lambda a: max(a, 0.0), lambda d, a: (d if a > 0.0 else 0.0,)),
    Expression(
        "relu as a max",
        1,
        lambda fp, a: fp.maximum(a, 0.0),
        lambda a: max(a, 0.0),
        lambda d, a: (d if a > 0.0 else 0.0,),
    ),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.name)
def test_becoming_a_backprop_ninja(engine, expression):
    fp = engine
    for point in POINTS:
        at = point[: expression.arity]
        for pull in PULLS:
            leaves = [fp.Unit(value) for value in at]
            x = expression.forward(fp, *leaves)
            x.backward(pull)
            assert x.value == pytest.approx(expression.value(*at), rel=1e-14)
            assert [leaf.grad for leaf in leaves] == pytest.approx(expression.by_hand(pull, *at), rel=1e-13)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.name)
def test_becoming_a_backprop_ninja_checked_by_probing(engine, expression):
    for point in POINTS:
        engine.check_grads(lambda *args: expression.forward(engine, *args), point[: expression.arity], order=1)


def test_the_wire_splits_and_its_gradients_add_up(engine):
    fp = engine
    a = fp.Unit(3.0)
    (a * 1.5).backward()
    (a * 0.5).backward()
    assert a.grad == 2.0


def test_max_at_a_tie_shares_the_pull(engine):
    """Where the guide hands the whole pull to both operands, which counts it twice."""
    fp = engine
    a, b = fp.Unit(2.0), fp.Unit(2.0)
    fp.maximum(a, b).backward(3.0)
    assert (a.grad, b.grad) == (1.5, 1.5)
