"""Transforms inside of functions that are traced: recorded gate by gate, they give what they give eagerly."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp

POINT = np.array([1.0, 2.0, 3.0])
OTHER = np.array([-1.5, 0.25, -0.75])


def smooth(w):
    return (w * w).sum() * w[1] + fp.tanh(w[0] * w[2])


def kinked(w):
    return fp.maximum(w[0], w[2]) ** 2 + fp.relu(w[1]) * fp.absolute(w[0]) + fp.max(list(w))


TRANSFORMS = {
    "grad": lambda f: fp.grad(f),
    "value_and_grad": lambda f: lambda w: fp.value_and_grad(f)(w)[1],
    "vjp": lambda f: lambda w: fp.vjp(f, w)[1](2.0)[0],
    "jvp": lambda f: lambda w: fp.jvp(f, (w,), (w,))[1],
    "hessian": lambda f: fp.hessian(f),
    "hvp": lambda f: lambda w: fp.hvp(f, (w,), (w,)),
    "grad of a squared gradient": lambda f: fp.grad(lambda w: (fp.grad(f)(w) ** 2).sum()),
    "jacobian": lambda f: fp.jacobian(lambda w: w * f(w)),
}


@pytest.mark.parametrize("f", [smooth, kinked], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_compiled_transforms_are_the_eager_ones(name, f):
    transformed = TRANSFORMS[name](f)
    compiled = fp.compile(lambda w: transformed(w))  # nothing for compile to recognise
    for point in (POINT, OTHER):
        assert compiled(point) == pytest.approx(transformed(point), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "vjp", "jvp"])
def test_what_is_not_chosen_brings_nothing(name):
    transformed = TRANSFORMS[name](lambda w: fp.where(w[0] > 0.0, fp.log(w[0]), w[1]))
    compiled = fp.compile(lambda w: transformed(w))
    expected = {"jvp": 2.0, "vjp": [0.0, 2.0, 0.0]}.get(name, [0.0, 1.0, 0.0])
    assert np.array_equal(compiled(np.array([0.0, 2.0, 3.0])), expected)  # d log(0) is infinite


def test_units_and_containers():
    f = fp.compile(lambda p: fp.grad(lambda q: q["a"] * q["b"][0] ** 2)(p))
    assert f({"a": 2.0, "b": [3.0]}) == {"a": 9.0, "b": [12.0]}


def test_no_derivative_leaks_into_another_one():
    f = fp.compile(fp.grad(lambda x: x * fp.grad(lambda y: x * y)(1.0)))
    assert f(3.0) == 6.0


def test_lanes_of_second_derivatives():
    f = fp.compile(fp.vmap(fp.hessian(lambda w: w[0] ** 2 * w[1])))
    points = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert np.array_equal(f(points), [[[4.0, 2.0], [2.0, 0.0]], [[10.0, 6.0], [6.0, 0.0]]])


def test_a_gradient_of_a_vmap_inside_of_a_traced_function():
    f = fp.compile(lambda w, xs: fp.grad(lambda v: fp.vmap(lambda x: v * x * x, reduce="sum")(xs))(w) + w)
    assert f(2.0, np.array([1.0, 2.0, 3.0])) == 16.0


def test_jvp_of_a_circuit():
    def f(v, d):
        return {"a": fp.exp(d["k"]) * v, "b": v.sum() * d["k"]}

    circuit = fp.trace(f, np.ones(3), {"k": 1.0})
    point, along = (np.array([1.0, 2.0, 3.0]), {"k": 0.5}), (np.array([0.1, 0.2, 0.3]), {"k": 2.0})
    value, tangent = circuit.jvp(point, along)
    expected_value, expected = fp.jvp(f, point, along)
    assert_array_equal(value["a"], expected_value["a"])
    assert_allclose(tangent["a"], expected["a"], rtol=1e-14)
    assert (value["b"], tangent["b"]) == (expected_value["b"], pytest.approx(expected["b"]))
    mapped = fp.trace(lambda w, xs: fp.vmap(lambda x: x * w * x)(xs).sum(), 1.0, np.ones(4))
    assert mapped.jvp((2.0, np.arange(4.0)), (1.0, np.ones(4))) == (28.0, 38.0)
    power = fp.trace(lambda x, n: x**n, 2.0, 3, static_argnums=1)
    assert power.jvp((2.0, 3), (1.0, None)) == (8.0, 12.0)
    for tangents, message in [
        ((np.ones(2), {"k": 1.0}), r"tangent 0 has shape \(2,\); expected \(3,\)"),
        ((np.ones(3), {"z": 1.0}), r"tangent 1 has the keys \['z'\]"),
        ((np.ones(3),), "1 tangents for 2 arguments"),
    ]:
        with pytest.raises(ValueError, match=message):
            circuit.jvp(point, tangents)


LEAF = fp.Array(OTHER)
DIRECTIONS = {
    "what a map made": lambda w: fp.vmap(lambda x: x * x)(w),
    "what a scan kept": lambda w: fp.scan(lambda c, x: (c, c * x), w[0], w)[1],
    "a captured Array": lambda w: LEAF,
    "a part of it": lambda w: LEAF[::-1],
    "a constant": lambda w: OTHER,
}


@pytest.mark.parametrize("square", [lambda w: w * w, fp.vmap(lambda x: x * x)])
@pytest.mark.parametrize("case", DIRECTIONS)
def test_arrays_of_all_kinds_are_pulls_and_tangents(case, square):
    def along(w):
        return fp.sum(fp.vjp(square, w)[1](DIRECTIONS[case](w))[0] * OTHER)

    def forward(w):
        return fp.sum(fp.jvp(square, (w,), (DIRECTIONS[case](w),))[1] * OTHER)

    lanes = np.stack([OTHER, POINT])
    for f in (along, forward):
        with fp.eager():
            value, slope = np.sum(2.0 * POINT * OTHER * plain(DIRECTIONS[case](POINT))), fp.grad(f)(POINT)
        for front in (fp.compile(f)(POINT), fp.vmap(f)(lanes)[1], fp.compile(fp.vmap(f))(lanes)[1]):
            assert_allclose(plain(front), value, rtol=1e-12)
        assert_allclose(fp.compile(fp.grad(f))(POINT), slope, rtol=1e-12)


def plain(x):
    return getattr(x, "value", x)
