"""Gradients, inside of what is mapped or compiled, of functions that decide by an array."""

import gc

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.program import Program


def decides(x):
    return fp.sum(x * x) if x[0] > 0.0 else fp.sum(fp.sin(x))


@pytest.mark.parametrize(
    "inside",
    [
        lambda x: fp.grad(decides)(x),
        lambda x: fp.value_and_grad(decides)(x)[1],
        lambda x: fp.vjp(decides, x)[1](1.0)[0],
        lambda x: fp.jacobian(decides)(x),
        lambda x: fp.hessian(decides)(x),
        lambda x: fp.jvp(decides, (x,), (np.ones(2),))[1],
        lambda x: fp.grad(lambda w: fp.sum(fp.vmap(lambda y: y * y)(w)) if w[1] > 0.0 else fp.sum(w))(x),
    ],
    ids=["grad", "value_and_grad", "vjp", "jacobian", "hessian", "jvp", "a map in it"],
)
@pytest.mark.parametrize("how", ["mapped", "compiled", "inside"])
def test_gradients_of_what_decides_by_an_array_in_many_lanes(inside, how):
    """The first path knows the array as a whole; those that come later take it number by number."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    mapped = fp.vmap(lambda x: inside(x))
    if how != "mapped":
        mapped = fp.compile(mapped if how == "compiled" else lambda x: fp.vmap(lambda x: inside(x))(x))
    np.testing.assert_allclose(mapped(x), [inside(row) for row in x], rtol=1e-12, atol=1e-15)


def labelled_step(w, batch):
    """A step on a batch with labels, which are looked up."""
    x, y = batch
    value, slope = fp.value_and_grad(lambda w: fp.nn.cross_entropy(x @ w.T, y))(w)
    return w - slope, value


def test_labels_are_checked_between_a_gradient_and_its_variables():
    """Which leads no other way but to an error: the gradient of a step of a scan is swept all the same."""
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=(10, 8)), rng.normal(size=(3, 4, 8)), rng.integers(0, 10, (3, 4))
    train = fp.compile(lambda w, x, y: fp.scan(labelled_step, w, (x, y)))
    expected = w
    for batch in zip(x, y):
        expected = labelled_step(expected, batch)[0]
    np.testing.assert_allclose(train(w, x, y)[0], np.asarray(expected), rtol=1e-12)
    gc.collect()
    lines = [line for program in gc.get_objects() if isinstance(program, Program) for line in program.listing()]
    assert any(line.startswith("gradient of") for line in lines)
    wrong = y.copy()
    wrong[2, 1] = 10
    with pytest.raises(IndexError, match="label 10; expected 0 to 9, at step 2"):
        train(w, x, wrong)
    np.testing.assert_allclose(train(w, x, y)[0], np.asarray(expected), rtol=1e-12)


@pytest.mark.parametrize("after", [False, True])
def test_labels_are_checked_where_the_body_decides_too(after):
    """Before the gradient, or behind it: there the body is cut, which no gradient may span."""
    rng = np.random.default_rng(1)
    w, x, y = rng.normal(size=(10, 8)), rng.normal(size=(6, 4, 8)), rng.integers(0, 10, (6, 4))
    which = np.array([-1.0, 0.5, 2.0, -2.0, 3.0, 0.1])

    def body(w, x, y, t):
        if not after and t > 0:
            x = 2.0 * x
        value, slope = fp.value_and_grad(lambda w: fp.nn.cross_entropy(x @ w.T, y))(w)
        if after and t > value:
            slope = 3.0 * slope
        return slope, value

    mapped = fp.compile(fp.vmap(body, in_axes=(None, 0, 0, 0)))
    for _ in range(3):
        for t in (which, which[::-1].copy(), 4.0 * which):
            slopes, values = mapped(w, x, y, t)
            apart = [body(w, *lane) for lane in zip(x, y, t)]
            np.testing.assert_allclose(values, [float(value) for _, value in apart], rtol=1e-12)
            np.testing.assert_allclose(slopes, [np.asarray(slope) for slope, _ in apart], rtol=1e-10, atol=1e-14)
    y[3, 2] = -11
    with pytest.raises(IndexError, match="label -11"):
        mapped(w, x, y, which)
