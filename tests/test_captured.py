"""Leaves that a function finds outside of itself: read at every call, and differentiated wherever they are used."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp

HELD = {
    "whole": lambda w, x: fp.sum(fp.stop_gradient(w) * x),
    "a number": lambda w, x: fp.stop_gradient(w)[1] * x,
    "in a map": lambda w, x: fp.vmap(lambda a: fp.sum(fp.stop_gradient(w) * a) * x, reduce="sum")(np.ones(2)),
    "in a scan": lambda w, x: fp.scan(lambda c, _: (c + fp.sum(fp.stop_gradient(w) * x), c), 0.0, None, 3)[0],
    "beside itself": lambda w, x: fp.sum(fp.stop_gradient(w) * w * x),
}


@pytest.mark.parametrize("case", HELD)
def test_a_captured_leaf_that_is_held_is_read_at_every_call(case):
    w, f = fp.Array([1.0, 2.0, 3.0]), HELD[case]
    compiled, slope = fp.compile(lambda x: f(w, x)), fp.compile(fp.grad(lambda x: f(w, x)))
    for scale in (1.0, 10.0):
        w.value = scale * np.array([1.0, 2.0, 3.0])
        w.grad = 0.0
        with fp.eager():
            expected = f(w, 2.0)
        assert compiled(2.0).value == pytest.approx(expected.value, rel=1e-14)
        assert slope(2.0) == pytest.approx(expected.value / 2.0, rel=1e-14)
        compiled(2.0).backward()
        assert_allclose(w.grad, 2.0 * w.value if case == "beside itself" else np.zeros(3), rtol=1e-14)
