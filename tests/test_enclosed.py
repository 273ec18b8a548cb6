"""Bodies of maps that are called again find what was around them, whatever holds it."""

# ruff: noqa: B023 - that variables of loops are not bound is what this is about

import collections
import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp

X = np.array([0.5, 1.0, 2.0])


def plain_lambda(y):
    for _ in range(3):
        y = fp.vmap(lambda x: fp.tanh(x * y) * y)(X).sum()
    return y


def in_a_partial(y):
    for _ in range(3):
        y = fp.vmap(functools.partial(lambda k, x: fp.tanh(x * y) * y * k, 1))(X).sum()
    return y


def in_a_list(y):
    for _ in range(3):
        inner = [lambda x: fp.tanh(x * y) * y]
        y = fp.vmap(lambda x: inner[0](x))(X).sum()
    return y


def in_a_box(y):
    box = [y]
    for _ in range(3):
        box[0] = fp.vmap(lambda x: fp.tanh(x * box[0]) * box[0])(X).sum()
    return box[0]


def in_a_dict(y):
    box = {"y": y}
    for _ in range(3):
        box["y"] = fp.vmap(lambda x: fp.tanh(x * box["y"]) * box["y"])(X).sum()
    return box["y"]


def in_an_unusual_dict(y):
    """One key is None, and a key that is gone must not be made anew."""
    box = collections.defaultdict(float, {None: y, "gone": y})
    for _ in range(3):
        box[None] = fp.vmap(lambda x: fp.tanh(x * box[None]) * box[None])(X).sum()
        box.pop("gone", None)
    assert "gone" not in box
    return box[None]


def helper(x):
    return fp.tanh(x * current) * current


def in_the_global_of_a_helper(y):
    global current
    current = y
    for _ in range(3):
        current = fp.vmap(lambda x: helper(x))(X).sum()
    return current


class Cell:
    def __init__(self, h):
        self.h = h

    def step(self):
        self.h = fp.vmap(lambda x: fp.tanh(x * self.h) * self.h)(X).sum()

    def body(self, x):
        return fp.tanh(x * self.h) * self.h

    def __call__(self, x):
        return self.body(x)


def in_an_attribute(y):
    cell = Cell(y)
    for _ in range(3):
        cell.step()
    return cell.h


def by_a_method(y):
    cell = Cell(y)
    for _ in range(3):
        cell.h = fp.vmap(cell.body)(X).sum()
    return cell.h


def by_an_object(y):
    cell = Cell(y)
    for _ in range(3):
        cell.h = fp.vmap(cell)(X).sum()
    return cell.h


def in_a_global(y):
    global current
    current = y
    for _ in range(3):
        current = fp.vmap(lambda x: fp.tanh(x * current) * current)(X).sum()
    return current


HOLDERS = [
    in_a_partial,
    in_a_list,
    in_a_box,
    in_a_dict,
    in_an_unusual_dict,
    in_the_global_of_a_helper,
    in_an_attribute,
    by_a_method,
    by_an_object,
    in_a_global,
]


@pytest.mark.parametrize("f", HOLDERS, ids=lambda f: f.__name__)
def test_derivatives_find_what_was_there(f):
    for y in (0.31, -0.2):
        with fp.eager():
            slope, bend = fp.grad(plain_lambda)(y), fp.hessian(plain_lambda)(y)
        assert_allclose(fp.compile(fp.grad(f))(y), slope, rtol=1e-12)
        assert_allclose(fp.compile(fp.hessian(f))(y), bend, rtol=1e-12)
        assert_allclose(fp.compile(lambda y: fp.jvp(f, (y,), (1.0,))[1])(y), slope, rtol=1e-12)


def test_what_was_changed_meanwhile_stays_so():
    cell = Cell(0.4)

    def f(y):
        cell.h = y
        first = fp.vmap(cell)(X).sum()
        cell.h = first * 2.0
        return first

    assert fp.compile(fp.hessian(f))(0.3) == pytest.approx(fp.hessian(f)(0.3), rel=1e-12)
    fp.compile(f)(0.5)
    kept = cell.h
    fp.compile(fp.hessian(f))
    assert cell.h is kept


def test_functions_are_the_same_ones():
    def scaled(k):
        return lambda x: fp.tanh(k * x)

    def by_key(y):
        act = scaled(2.0)
        weight = {act: 0.5}
        return fp.vmap(lambda x: act(x * y) * weight[act] * y)(X).sum()

    def by_identity(y):
        act = scaled(2.0)
        layers = [(act, True)]
        return fp.vmap(lambda x: sum(f(x * y) * y * (0.5 if f is act else 100.0) for f, _ in layers))(X).sum()

    with fp.eager():
        expected = fp.hessian(by_key)(0.3)
    for f in (by_key, by_identity):
        assert_allclose(fp.compile(fp.hessian(f))(0.3), expected, rtol=1e-12)


def test_a_whole_application_is_not_looked_through():
    class Proxy:
        @property
        def __dict__(self):
            raise RuntimeError("not bound")

    class Node:
        reads = 0

        def __init__(self, depth):
            self.children = [Node(depth - 1) for _ in range(20)] if depth else []

        def __getattribute__(self, name):
            if name == "__dict__":
                Node.reads += 1
            return object.__getattribute__(self, name)

    root, proxy = Node(4), Proxy()  # 168,421 nodes
    assert_allclose(fp.vmap(lambda x: x * len(root.children) * (proxy is not None))(X), 20 * X)
    assert 0 < Node.reads <= 5_000
