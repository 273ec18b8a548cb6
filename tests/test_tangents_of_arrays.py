"""Tangents of arrays in traced code: rows that are alike are pushed forward as a block, and give what each gives."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import gates, reference
from fastprop.derivatives import recorded
from test_counted_work import counted

ROWS = [name for name, row in gates.table.items() if row.arity != gates.SEQUENCE and row.partials[0] is not None]
HOSTILE = [0.5, math.nan, 0.0, -0.0, -2.0, 1.0, math.inf, -math.inf, 0.25, 30.0]  # as many as are a block, and more
RANDOM = np.random.default_rng(3)


def points(row):
    """Arrays of operands, with what the row itself wants to be tried, and hostile numbers."""
    found = [tuple(map(float, np.atleast_1d(point))) for point in row.at]
    found += itertools.product(HOSTILE[: (10, 7, 3)[row.arity - 1]], repeat=row.arity)
    return [np.array(column) for column in zip(*found)]


def directional(name, operands, order):
    """A row's derivative along a direction: first; second; of its gradient; of both operands that are one."""
    row = getattr(fp, name, gates.table[name])
    directions = [RANDOM.normal(size=x.shape) for x in operands]
    along = lambda f: lambda *x: fp.jvp(f, x, tuple(directions))[1]  # noqa: E731
    if order == "first":
        return along(row), operands
    if order == "second":
        return along(along(row)), operands
    where = tuple(k for k, partial in enumerate(gates.table[name].partials) if partial is not None)
    if order == "backward twice":
        slopes = fp.grad(lambda *x: fp.sum(row(*x) * directions[0]), where)
        return fp.grad(lambda *x: sum(fp.sum(slope * directions[0]) for slope in slopes(*x)), where), operands
    if order == "of its gradient":
        return along(fp.grad(lambda *x: fp.sum(row(*x)), where)), operands
    return lambda x: fp.jvp(lambda x: row(*[x] * len(operands)), (x,), (1.0 + 0.0 * x,))[1], operands[:1]


def flat(tree):
    if isinstance(tree, (list, tuple)):
        return np.concatenate([flat(part) for part in tree])
    return np.ravel(np.asarray(tree, float))


@pytest.mark.parametrize("order", ["first", "second", "of its gradient", "backward twice", "of one operand"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_give_what_each_number_gives(name, order, monkeypatch):
    f, operands = directional(name, points(gates.table[name]), order)
    with np.errstate(all="ignore"):
        found = flat(fp.compile(f)(*operands))
        monkeypatch.setattr(recorded, "ALIKE", 10**9)
        expected = flat(fp.compile(f)(*operands))
        assert_allclose(found, expected, rtol=1e-13, atol=0.0)
        if order == "first":
            with fp.eager():
                assert_allclose(found, flat(f(*operands)), rtol=1e-11, atol=1e-300)


def chain(x, w, s):
    """Rows on numbers of all kinds: of both, of one that is the same for all, plain, and each on the one before it."""
    y = fp.tanh(x * w + 0.5) / (1.0 + x * x) - s * x
    z = fp.maximum(y, x[::-1]) * np.linspace(0.5, 1.5, len(x)) + fp.cumsum(y * 0.1)
    for k in range(1, len(x)):
        z = fp.at(z)[k].add(z[k - 1] * z[k])
    product = w[0]
    for number in x:  # each on the one before it, which need not move
        product = product * number
    return fp.sum(z * z[::-1]) + fp.mean(fp.exp(-y)) + fp.dot(z, x) * s + product


def derivatives(moves, along):
    """Functions of x, w and s: derivatives in those that move, along a direction, backward, and twice."""

    def of(derive):
        def function(x, w, s):
            at = {"x": x, "w": w, "s": s}
            return derive(lambda *parts: chain(**{**at, **dict(zip(moves, parts))}), tuple(at[name] for name in moves))

        return function

    def slope(f):
        return lambda *parts: fp.jvp(f, parts, tuple(along[name] for name in moves))[1]

    every = tuple(range(len(moves)))
    yield of(lambda f, x: slope(f)(*x))
    yield of(lambda f, x: slope(slope(f))(*x))
    yield of(lambda f, x: fp.grad(slope(f), every)(*x))
    yield of(lambda f, x: fp.grad(lambda *x: sum(fp.sum(part * part) for part in fp.grad(f, every)(*x)), 0)(*x))


@pytest.mark.parametrize("n", [2, 7, 8, 9, 40])
@pytest.mark.parametrize("moves", ["x", "xw", "s", "xws"])
def test_mixed_rows(n, moves):
    x, w, s = RANDOM.normal(size=n) * 0.5, RANDOM.normal(size=n), 0.7
    along = {"x": np.where(np.arange(n) < 3, 0.0, 1.0), "w": RANDOM.normal(size=n), "s": 1.0}
    for f in derivatives(moves, along):
        with fp.eager():
            expected = flat(f(x, w, s))
        assert_allclose(flat(fp.compile(f)(x, w, s)), expected, rtol=1e-9, atol=1e-10)
        assert_allclose(flat(f(x, w, s)), expected, rtol=1e-9, atol=1e-10)


def test_the_reference_agrees():
    x = RANDOM.normal(size=9) * 0.5
    found = fp.compile(lambda x: fp.jvp(lambda x: fp.tanh(x) * x, (x,), (x,))[1])(x)
    for number, slope in zip(x.tolist(), found):
        t = reference.jvp(lambda u: reference.tanh(u) * u, (number,), (number,))[1]
        assert float(slope) == pytest.approx(float(t), rel=1e-12)


def test_a_number_more_costs_no_gates_in_python():

    def calls(n):
        x = np.linspace(1.0, 2.0, n)
        f = lambda x: fp.jvp(fp.grad(lambda x: fp.sum(fp.tanh(x * x) / x)), (x,), (x,))[1]  # noqa: E731
        return counted(lambda: fp.compile(f)(x))[0]

    calls(100)
    assert calls(900) - calls(300) < 600 * 1000  # gate by gate it was 2,050


REPEATED = {
    "broadcast": lambda s, t: fp.sum(fp.exp(fp.broadcast_to(s, (9,)))) * t,
    "repeated": lambda s, t: fp.sum(fp.repeat(fp.stack([s, t]), 9) ** 3),
    "the same": lambda s, t: fp.sum([s * t for _ in range(9)]) + fp.sum([fp.sin(s) for _ in range(9)]),
    "sums": lambda s, t: sum(fp.dot([s, t], [t, s]) for _ in range(9)) + sum(fp.sum([s, s]) for _ in range(9)),
}


@pytest.mark.parametrize("name", REPEATED)
def test_rows_that_are_all_of_one_number(name):
    f = REPEATED[name]
    slope = lambda s, t: fp.jvp(f, (s, t), (t, 1.0))[1]  # noqa: E731
    for derivative in (
        slope,
        lambda s, t: fp.jvp(slope, (s, t), (1.0, s))[1],
        fp.grad(slope, (0, 1)),
        lambda s, t: fp.jvp(fp.grad(f, (0, 1)), (s, t), (1.0, 0.0))[1],
        lambda s, t: fp.jacobian(lambda s: fp.stack([f(s, t), s * t]))(s),
        fp.grad(lambda s, t: sum(part * part for part in fp.grad(f, (0, 1))(s, t)), (0, 1)),
    ):
        with fp.eager():
            expected = flat(derivative(0.5, 0.7))
        assert_allclose(flat(fp.compile(derivative)(0.5, 0.7)), expected, rtol=1e-11)
        lanes = fp.vmap(derivative)(np.full(3, 0.5), np.full(3, 0.7))
        lanes = lanes if type(lanes) is tuple else (lanes,)
        assert_allclose(np.concatenate([np.ravel(part[1]) for part in lanes]), expected, rtol=1e-11)
