"""Gradients, inside of what is mapped or compiled, of functions that decide by an array."""

import numpy as np
import pytest

import fastprop as fp


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
