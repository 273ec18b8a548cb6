"""Circuits bound to arrays, at one point and in lanes, and batches."""

import collections

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
import fastprop.circuits.bind
import fastprop.circuits.circuit

Layer = collections.namedtuple("Layer", "weights bias")


def test_bound_calls_read_and_write_in_place():
    circuit = fp.trace(lambda p, q: p["a"] * q * q + p["b"][0] * p["b"][1], {"a": 1.0, "b": [1.0, 1.0]}, 1.0)
    p = {"a": np.array(2.0), "b": np.array([3.0, 5.0])}
    q = np.array([7.0])
    with pytest.raises(TypeError, match=r"argument 0\['b'\] is a single ndarray|argument 0"):
        circuit.bind(p, q)
    p = {"a": np.array(2.0), "b": [np.array(3.0), np.array([5.0])]}
    grad = {"a": np.full((), 9.0), "b": [np.full(1, 9.0), np.full((), 9.0)]}
    slope, value = np.full((), 9.0), np.full((1,), 9.0)
    run = circuit.bind(p, q, grad=(grad, slope), value=value)
    assert run() is None
    for at in (7.0, -1.0):
        q[0], p["b"][1][0] = at, at + 1.0
        run()
        assert value[0] == 2.0 * at * at + 3.0 * (at + 1.0)
        assert (grad["a"], grad["b"][0][0], grad["b"][1]) == (at * at, at + 1.0, 3.0)
        assert slope == 4.0 * at
    only = circuit.bind(p, q, grad=(None, slope))
    only()
    assert slope == -4.0
    made = circuit.bind(p, q)
    made()
    assert made.grad[0]["a"] == 1.0
    assert made.grad[1] == -4.0
    assert made.value == 2.0
    assert repr(fp.trace(fp.exp, 0.0).bind(np.zeros(()))) == "<exp bound to arrays: a call reads and writes them>"


LAYOUTS = {
    "C": lambda a: a.copy(),
    "F": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "transposed": lambda a: a.T.copy().T,
}


@pytest.mark.parametrize("given_layout", LAYOUTS)
@pytest.mark.parametrize("wanted_layout", LAYOUTS)
def test_bound_arrays_of_all_layouts(given_layout, wanted_layout):
    circuit = fp.trace(lambda x: (x * x.T[:2, :2].sum()).sum(), np.ones((2, 3)))
    x = np.arange(6.0).reshape(2, 3) + 1.0
    total = x[:2, :2].sum()
    slope = np.full((2, 3), total)
    slope[:2, :2] += x.sum()
    run = circuit.bind(LAYOUTS[given_layout](x), grad=LAYOUTS[wanted_layout](np.full((2, 3), np.nan)))
    run()
    assert run.value == x.sum() * total
    assert_allclose(run.grad, slope, rtol=1e-15)
    out = LAYOUTS[wanted_layout](np.zeros((2, 3)))
    run = fp.trace(lambda x: x * 2.0, np.ones((2, 3))).bind(LAYOUTS[given_layout](x), value=out)
    run()
    assert_array_equal(out, 2.0 * x)


def test_what_cannot_be_bound():
    circuit = fp.trace(lambda x: x[0] * x[1] * x[2], [1.0, 2.0, 3.0])
    x, g = np.array([1.0, 2.0, 3.0]), np.full(3, 9.0)
    read_only = np.zeros(3)
    read_only.flags.writeable = False
    for args, options, error, match in [
        (([1.0, 2.0, 3.0],), {}, TypeError, "takes NumPy arrays"),
        ((np.zeros(4),), {}, ValueError, r"shape \(4,\)"),
        ((x.astype("f"),), {}, TypeError, "float32"),
        ((x.astype(">f8"),), {}, TypeError, "byte order"),
        ((x, x), {}, TypeError, "takes 1 argument"),
        ((x,), {"grad": x}, ValueError, "overlaps"),
        ((x,), {"grad": x[::-1]}, ValueError, "overlaps"),
        ((x,), {"grad": read_only}, ValueError, "read-only"),
        ((x,), {"grad": np.zeros(2)}, ValueError, r"shape \(2,\)"),
        ((x,), {"grad": np.zeros(3, "f")}, TypeError, "float32"),
        ((x,), {"grad": np.broadcast_to(np.zeros(1), 3)}, ValueError, "read-only"),
        ((x,), {"grad": np.lib.stride_tricks.as_strided(np.zeros(1), (3,), (0,))}, ValueError, "overlaps itself"),
        ((x,), {"value": x[:1]}, ValueError, "overlaps"),
        ((x,), {"grad": g, "value": g[1:2]}, ValueError, "overlaps"),
        ((x,), {"value": 3.0}, TypeError, "expected a NumPy array"),
    ]:
        with pytest.raises(error, match=match):
            circuit.bind(*args, **options)
        assert_array_equal(x, [1.0, 2.0, 3.0])
        assert_array_equal(g, [9.0, 9.0, 9.0])
    every_other = np.zeros(6)
    every_other[::2] = x
    run = circuit.bind(every_other[::2], grad=every_other[1::2])  # side by side, not on top of each other
    run()
    assert_array_equal(every_other, [1.0, 6.0, 2.0, 3.0, 3.0, 2.0])


def test_a_bound_call_reads_captured_leaves_and_leaves_their_gradients_alone():
    u = fp.Unit(3.0)
    x = np.array(2.0)
    run = fp.trace(lambda x: x * x * u, 1.0).bind(x)
    run()
    assert (run.value, run.grad) == (12.0, 12.0)
    u.value = 5.0
    run()
    assert (run.value, run.grad, u.grad) == (20.0, 20.0, 0.0)


def test_bound_lanes():
    circuit = fp.trace(lambda w, x: w * x[0] * x[1], 2.0, [1.0, 1.0])
    w = np.array(3.0)
    x = [np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, -1.0, 0.0, 2.0])]
    product = x[0] * x[1]
    run = circuit.bind(w, x, in_axes=(None, 0))
    assert repr(run) == "<<lambda> bound to arrays of 4 lanes: a call reads and writes them>"
    for value in (3.0, -2.0):
        w[...] = value
        x[0][1] = 2.0 * value
        product = x[0] * x[1]
        run()
        assert_array_equal(run.value, w * product)
        assert_array_equal(run.grad[0], product)  # a gradient for each lane
        assert_array_equal(run.grad[1][0], w * x[1])
        assert_array_equal(run.grad[1][1], w * x[0])
    for reduce, scale in (("sum", 1.0), ("mean", 0.25)):
        run = circuit.bind(w, x, in_axes=(None, 0), reduce=reduce)
        run()
        assert run.value == product.sum() * w * scale
        assert run.grad[0] == product.sum() * scale
        assert_array_equal(run.grad[1][0], w * x[1] * scale)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_bound_lanes_along_any_axis(axis):
    circuit = fp.trace(lambda x: x[0] * x[1] * x[1], np.ones(2))
    rows = np.random.default_rng(1).normal(size=(2, 37))
    x = rows if axis % 2 else rows.T.copy()
    run = circuit.bind(x, in_axes=axis)
    run()
    assert_allclose(run.value, rows[0] * rows[1] ** 2, rtol=1e-15)
    expected = np.stack([rows[1] ** 2, 2 * rows[0] * rows[1]])
    assert_allclose(run.grad, expected if axis % 2 else expected.T, rtol=1e-15)


def test_what_cannot_be_bound_in_lanes():
    circuit = fp.trace(lambda w, x: w * x, 2.0, 1.0)
    w, x = np.array(3.0), np.arange(4.0)
    for args, options, error, match in [
        ((w, x.astype("f")), {}, TypeError, "float32"),
        ((w, [1.0]), {}, (TypeError, ValueError), "argument 1"),
        ((3, x), {}, TypeError, "takes arrays"),
        ((w, x), {"grad": (None, x)}, ValueError, "overlaps"),
        ((w, x), {"value": x}, ValueError, "overlaps"),
        ((w, x), {"grad": (None, np.zeros(3))}, ValueError, r"shape \(3,\)"),
        ((w, x), {"value": np.zeros(3)}, ValueError, r"shape \(3,\)"),
        ((w, x), {"reduce": "max"}, ValueError, "reduce"),
        ((w, x), {"in_axes": (None, 1)}, ValueError, "no axis 1"),
    ]:
        with pytest.raises(error, match=match):
            circuit.bind(*args, **{"in_axes": (None, 0), **options})
        assert_array_equal(x, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="more than one number"):
        fp.trace(lambda x: (x, x), 1.0).bind(x, in_axes=0)


# Batches


def test_batch():
    circuit = fp.trace(lambda x, w: (x * w, {"square": x * x}), 1.0, 1.0)
    for lanes in (0, 1, 5, 64, 257):
        x = np.linspace(-1.0, 1.0, lanes)
        product, rest = circuit.batch(x, 3.0, in_axes=(0, None))
        assert_array_equal(product, x * 3.0)
        assert_array_equal(rest["square"], x * x)
        total, rest = circuit.batch(x, 3.0, in_axes=(0, None), reduce="sum")
        assert total == pytest.approx((x * 3.0).sum(), abs=1e-13)
        if lanes:
            _, rest = circuit.batch(x, 3.0, in_axes=(0, None), reduce="mean")
            assert rest["square"] == pytest.approx((x * x).mean(), rel=1e-14)
    assert np.isnan(circuit.batch(np.zeros(0), 3.0, in_axes=(0, None), reduce="mean")[0])


def test_batch_into_an_array():
    circuit = fp.trace(lambda x: x * 2.0, np.ones((2, 3)))
    x = np.arange(24.0).reshape(4, 2, 3)
    for out in (np.zeros((4, 2, 3)), np.zeros((2, 3, 4)).transpose(2, 0, 1), np.zeros((8, 2, 3))[::2]):
        assert circuit.batch(x, out=out) is out
        assert_array_equal(out, 2.0 * x)
    total = np.zeros((2, 3))
    assert circuit.batch(x, reduce="sum", out=total) is total
    assert_array_equal(total, 2.0 * x.sum(axis=0))
    frozen = np.zeros((4, 2, 3))
    frozen.flags.writeable = False
    for out, error, match in [
        (np.zeros((3, 2, 3)), ValueError, "shape"),
        (np.zeros((4, 2, 3), "f"), TypeError, "float32"),
        (frozen, ValueError, "read-only"),
        (x, ValueError, "overlaps"),
        ([0.0], TypeError, "NumPy array"),
    ]:
        with pytest.raises(error, match=match):
            circuit.batch(x, out=out)
    assert_array_equal(x, np.arange(24.0).reshape(4, 2, 3))
    with pytest.raises(TypeError, match="one out"):
        fp.trace(lambda x: (x, x), 1.0).batch(np.ones(3), out=np.ones(3))


def test_what_cannot_be_batched():
    circuit = fp.trace(lambda x, y: x * y, 1.0, 1.0)
    x = np.ones(5)
    for args, axes, error, match in [
        ((1.0, 2.0), None, ValueError, "no argument has a lane axis"),
        ((x, x[:3]), 0, ValueError, "different numbers of lanes"),
        ((x, x), (0,), ValueError, "a tuple of 2"),
        ((x, x), 1, ValueError, "no axis 1"),
        ((x, x), ("a", 0), TypeError, "in_axes"),
        ((x, x), True, TypeError, "axis is True"),
        ((x, 1.0), 0, ValueError, "is a number and has no axis"),
        ((np.ones((5, 2)), x), 0, ValueError, r"shape \(2,\) per lane"),
        ((x, x.astype("f")), 0, TypeError, "float32"),
        ((x,), 0, TypeError, "takes 2 arguments"),
    ]:
        with pytest.raises(error, match=match):
            circuit.batch(*args, in_axes=axes)
    with pytest.raises(ValueError, match="reduce is 'max'"):
        circuit.batch(x, x, reduce="max")


# dtypes
