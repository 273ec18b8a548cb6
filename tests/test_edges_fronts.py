"""What is empty, infinite, None or of another dtype: the same answer, or the same error, on every front."""

import numpy as np
import pytest

import fastprop as fp
from fastprop import reference
from fronts import numbers


def each(function, tree):
    """A function of every leaf of nested lists, tuples and dicts."""
    if isinstance(tree, dict):
        return {key: each(function, part) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(each(function, part) for part in tree)
    return function(tree)


def handle(engine, x):
    return engine.Array(x) if np.ndim(x) else engine.Unit(x)


def first_lane(f, x):
    """The first of the two equal lanes in which `f` is taken."""
    return each(lambda leaf: np.asarray(leaf)[0], f(each(lambda leaf: np.stack([leaf, leaf]), x)))


# what a function `make(engine)` gives at a nest of plain numbers, on each front
FRONTS = {
    "eager": lambda make, x: make(fp)(x),
    "reference": lambda make, x: make(reference)(x),
    "handles": lambda make, x: make(fp)(each(lambda leaf: handle(fp, leaf), x)),
    "reference, handles": lambda make, x: make(reference)(each(lambda leaf: handle(reference, leaf), x)),
    "compiled": lambda make, x: fp.compile(make(fp))(x),
    "traced": lambda make, x: fp.compile(lambda x: make(fp)(each(lambda leaf: leaf * 1.0, x)))(x),
    "mapped": lambda make, x: first_lane(fp.vmap(make(fp)), x),
    "compiled map": lambda make, x: first_lane(fp.compile(fp.vmap(make(fp))), x),
    "scanned": lambda make, x: each(
        lambda leaf: np.asarray(leaf)[0],
        fp.compile(lambda x: fp.scan(lambda carry, _: (carry, make(fp)(carry)), x, None, 2)[1])(x),
    ),
}

# Of size 0 ------------------------------------------------------------------------------------------------------------

NEST = {"a": np.ones(2), "b": 1.5, "c": np.zeros((2, 0))}
EMPTY = {
    "nothing of nothing": (lambda m, x: x * x, np.zeros(0), (0, 0)),
    "nothing of numbers": (lambda m, x: x[:0] * 2.0, np.ones(3), (0, 3)),
    "nothing of a number": (lambda m, x: x * np.zeros((0, 2)), 1.5, (0, 2)),
    "numbers of nothing": (lambda m, x: m.concatenate([x, np.ones(2)]), np.zeros(0), (2, 0)),
    "a number of nothing": (lambda m, x: m.sum(x * x), np.zeros(0), (0,)),
    "a product": (lambda m, x: m.matmul(x, np.ones((0, 3))), np.zeros((2, 0)), (2, 3, 2, 0)),
    "a constant": (lambda m, x: np.zeros((0, 2)), np.ones(3), (0, 2, 3)),
    "a constant and a number": (lambda m, x: [np.zeros((0, 2)), 1.0], np.zeros(0), [(0, 2, 0), (0,)]),
    "in single precision": (lambda m, x: x[:0] * 2.0, np.ones(3, np.float32), (0, 3)),
    "nothing of a nest": (lambda m, x: (x["a"] * x["b"])[:0], NEST, {"a": (0, 2), "b": (0,), "c": (0, 2, 0)}),
    "a nest of a nest": (
        lambda m, x: (x["a"][:0], m.sum(x["c"]) * x["b"], x["c"] * x["b"]),
        NEST,
        (
            {"a": (0, 2), "b": (0,), "c": (0, 2, 0)},
            {"a": (2,), "b": (), "c": (2, 0)},
            {"a": (2, 0, 2), "b": (2, 0), "c": (2, 0, 2, 0)},
        ),
    ),
}


def assert_dtype(leaf, expected):
    assert numbers(leaf).dtype == expected


def lengths(tree):
    """The shape of every leaf, in the same nest."""
    return each(lambda leaf: numbers(leaf).shape, tree)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", EMPTY)
def test_jacobians_of_nothing_have_all_axes(case, front):
    f, x, expected = EMPTY[case]
    found = FRONTS[front](lambda m: m.jacobian(lambda x: f(m, x)), x)
    assert lengths(found) == expected
    each(lambda leaf: assert_dtype(leaf, getattr(x, "dtype", np.float64)), found)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", EMPTY)
def test_pulls_and_tangents_of_nothing(case, front):
    f, x, _ = EMPTY[case]
    value = lengths(f(np, x))

    def both(m):
        def pulled(x):
            found, pull_back = m.vjp(lambda x: f(m, x), x)
            return pull_back(found), m.jvp(lambda x: f(m, x), (x,), (x,))

        return pulled

    assert lengths(FRONTS[front](both, x)) == ((lengths(x),), (value, value))


@pytest.mark.parametrize("front", FRONTS)
def test_hessians_of_nothing_have_all_axes(front):
    def f(m, x):
        return m.sum(x["a"]) * x["b"] * x["b"] + m.sum(x["c"] * x["c"])

    assert lengths(FRONTS[front](lambda m: m.hessian(lambda x: m.sum(x * x)), np.zeros((0, 2)))) == (0, 2, 0, 2)
    assert lengths(FRONTS[front](lambda m: m.hessian(lambda x: f(m, x)), NEST)) == {
        "a": {"a": (2, 2), "b": (2,), "c": (2, 2, 0)},
        "b": {"a": (2,), "b": (), "c": (2, 0)},
        "c": {"a": (2, 0, 2), "b": (2, 0), "c": (2, 0, 2, 0)},
    }
