"""Workspaces of circuits: taken for a use of one, given back as soon as its values are used up, or nobody has it."""

import gc
from unittest import mock

import numpy as np
import pytest

import fastprop as fp
from fastprop.circuits import pipeline


def model():
    weights = fp.Array(np.linspace(-1.0, 1.0, 12).reshape(3, 4))

    @fp.compile
    def loss(x):
        return fp.vmap(lambda x: fp.sum(fp.tanh(weights @ x) ** 2), reduce="mean")(x)

    return weights, loss


def test_a_loop_over_captured_leaves_makes_two_workspaces():
    _, loss = model()
    x = np.linspace(0.0, 1.0, 20).reshape(5, 4)
    with mock.patch.object(pipeline, "PointRun", side_effect=pipeline.PointRun) as made:
        for _ in range(10):
            found = loss(x)
            found.backward()
        del found
        values = [float(loss(x).value) for _ in range(10)]
    assert made.call_count <= 2
    assert len(set(values)) == 1


def test_results_that_are_kept_keep_their_own_values():
    weights, loss = model()
    points = [np.full((5, 4), 0.1 * k) for k in range(6)]
    expected = [fp.grad(lambda w, x=x: fp.sum(fp.tanh(w @ x[0]) ** 2))(weights.value) for x in points]
    kept = [loss(x) for x in points]
    for k in (3, 0, 5, 1, 1):
        weights.grad = 0.0
        kept[k].backward()
        np.testing.assert_allclose(weights.grad, expected[k], rtol=1e-12)
    del kept[2:4]
    gc.collect()
    assert loss(points[4]).value == kept[2].value


def test_a_run_sweeps_again_after_another_has_had_its_workspace():
    circuit = fp.trace(lambda x: fp.sum(fp.sin(x) * x), np.ones(3))
    one, two = circuit.forward(np.arange(3.0)), circuit.forward(np.ones(3))
    one.backward()
    first = one.grads[0].copy()
    three = circuit.forward(np.full(3, 7.0))
    one.backward()
    np.testing.assert_allclose(one.grads[0], 2.0 * first)
    two.backward()
    np.testing.assert_allclose(two.grads[0], np.sin(1.0) + np.cos(1.0) * np.ones(3))
    assert three.value == pytest.approx(3 * 7.0 * np.sin(7.0))


def test_a_sweep_that_is_refused_can_be_made_again():
    circuit = fp.trace(lambda x: x * x, np.ones(3))
    run = circuit.forward(np.arange(3.0))
    for _ in range(2):
        with pytest.raises(ValueError, match="pull"):
            run.backward()
    run.backward(np.ones(3))
    np.testing.assert_array_equal(run.grads[0], 2.0 * np.arange(3.0))
