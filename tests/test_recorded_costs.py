"""How many gates a derivative costs where it is recorded: counted, not timed."""

import math

import numpy as np
import pytest

import fastprop as fp
from fastprop import reference


def counts(function, *args):
    """The gates of a circuit as it was recorded, and as the passes leave it."""
    found = {}
    for line in fp.trace(function, *args).summary().splitlines():
        words = line.split()
        numbers = [word for word in words if word.replace(",", "").isdigit()]
        if numbers:
            found[" ".join(words[: words.index(numbers[0])])] = int(numbers[0].replace(",", ""))
    return found["as recorded"], found["drop"]


def recorded_eagerly(engine, function, x):
    """The gates that a recorded gradient leaves on a tape."""
    with engine.Tape() as tape:
        units = [engine.Unit(v) for v in x]
        kept = engine.grad(function)(units)
        count = len(tape)
    assert len(kept) == len(x)
    return count


@pytest.mark.parametrize("gate", ["min", "max", "prod", "logsumexp", "sum", "mean"])
def test_many_operands_cost_as_many_gates(gate):
    function, sizes = getattr(fp, gate), (16, 32, 64)
    for kind in ("recorded", "traced", "drafted", "of the reference"):
        measured = []
        for k in sizes:
            x = [math.sin(i) + 1.5 for i in range(k)]
            if kind == "recorded":
                measured.append(recorded_eagerly(fp, function, x))
            elif kind == "of the reference":
                measured.append(recorded_eagerly(reference, function, x))
            else:
                measured.append(counts(lambda x: fp.grad(function)(x), x)[kind == "drafted"])
        first, second, third = measured
        assert third - second <= 2 * (second - first) + 8, (kind, measured)
        assert third <= 12 * sizes[-1], (kind, measured)


def test_the_nearest_of_many_costs_as_many_gates():
    def assignment(centres, point):
        return fp.min([(c - point) * (c - point) for c in centres])

    sizes = (8, 16, 32)
    measured = [counts(lambda c, p: fp.grad(assignment)(c, p), [0.3 * i for i in range(k)], 1.0)[1] for k in sizes]
    assert measured[2] - measured[1] == 2 * (measured[1] - measured[0])
    assert measured[2] <= 8 * sizes[2]


# What is recorded, what one would write by hand, and where.
BY_HAND = {
    "sqrt": (fp.grad(fp.sqrt), lambda x: 0.5 / fp.sqrt(x), (2.0,)),
    "sqrt twice": (fp.grad(fp.grad(fp.sqrt)), lambda x: -0.25 / (fp.sqrt(x) * x), (2.0,)),
    "divide": (
        lambda x, y: fp.grad(lambda a, b: a / b, argnums=(0, 1))(x, y),
        lambda x, y: (1.0 / y, -(x / y) / y),
        (2.0, 3.0),
    ),
    "divide by a constant": (fp.grad(lambda x: fp.sqrt(x / 3.0)), lambda x: 0.5 / fp.sqrt(x / 3.0) * (1 / 3.0), (2.0,)),
    "divide a constant": (fp.grad(lambda y: 3.0 / y), lambda y: -(3.0 / y) / y, (2.0,)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_derivatives_cost_what_one_would_write(name):
    derivative, by_hand, point = BY_HAND[name]
    _, found = counts(lambda *x: derivative(*x), *point)
    _, least = counts(by_hand, *point)
    assert found <= least + (5 if name == "sqrt twice" else 2), (found, least)
    np.testing.assert_allclose(derivative(*point), by_hand(*point), rtol=1e-15)


@pytest.mark.parametrize("gate", ["sqrt", "divide", "log", "relu", "maximum", "absolute", "min"])
def test_no_exponential_is_recorded_for_a_limit(gate):
    """NaN outside of the domain comes from a cheap gate."""
    function = {
        "divide": lambda x: x[0] / x[1], "maximum": lambda x: fp.maximum(x[0], x[1]), "min": fp.min,
    }.get(gate, lambda x: getattr(fp, gate)(x[0]))  # fmt: skip
    circuit = fp.trace(lambda x: fp.grad(function)(x), [1.5, 0.5])
    names = {circuit._recording.draft.gate(i)[0] for i in range(len(circuit._recording.draft))}
    assert not names & {"exp", "power"}
