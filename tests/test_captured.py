"""Leaves that a function finds outside of itself: read at every call, and differentiated wherever they are used."""

import gc

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import reference
from fastprop.engine.program import Program

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


COMPARED = {
    "with a number": lambda w, x: fp.where(w > 0.0, x, -x),
    "with an array": lambda w, x: fp.where(w <= np.zeros(3), x, -x),
    "with what is traced": lambda w, x: fp.where(w > x, x, -x),
    "behind what is traced": lambda w, x: fp.where(x == w, x, -x),
    "with what is computed of it": lambda w, x: fp.where(w != w * w, x, -x),
    "as numbers": lambda w, x: (w > 0.0) * x,
    "to decide": lambda w, x: x if (w > 2.5).any() else -x,
    "to pick": lambda w, x: fp.sum(x[w > 0.0]) * x,
    "in lanes": lambda w, x: fp.vmap(lambda a: fp.sum(fp.where(w >= a, a, 0.0)))(x),
}


@pytest.mark.parametrize("case", COMPARED)
def test_a_comparison_of_a_captured_array_is_one_at_every_call(case):
    w, x, f = fp.Array([1.0, -2.0, 3.0]), np.array([1.0, 2.0, 2.5]), COMPARED[case]
    compiled, slope = fp.compile(lambda x: f(w, x)), fp.compile(fp.grad(lambda x: fp.sum(f(w, x))))
    for values in ([1.0, -2.0, 3.0], [-1.0, 2.0, 1.0]):
        w.value = values
        expected = f(np.array(values), x)
        assert_allclose(compiled(x).value, expected, rtol=1e-14)
        assert_allclose(fp.vmap(lambda x: f(w, x))(np.stack([x, x])).value[1], expected, rtol=1e-14)
        with fp.eager():
            assert_allclose(slope(x), fp.grad(lambda x: fp.sum(f(w, x)))(x), rtol=1e-14)


# Derivatives inside of what is swept to leaves -----------------------------------------------------------------------

INSIDE = {
    "grad": lambda m, u, w: m.grad(lambda z: z * z * u)(2.0),
    "grad of an array": lambda m, u, w: m.sum(m.grad(lambda z: m.sum(z * z * w))(np.array([1.0, 2.0, 3.0]))),
    "value_and_grad": lambda m, u, w: m.value_and_grad(lambda z: z * z * u)(2.0)[0],
    "vjp": lambda m, u, w: m.vjp(lambda z: z * z * u, 2.0)[1](1.5)[0],
    "jvp": lambda m, u, w: m.jvp(lambda z: z * z * u, (2.0,), (1.5,))[1],
    "jacobian": lambda m, u, w: m.sum(m.jacobian(lambda z: z * z * w)(2.0)),
    "hessian": lambda m, u, w: m.hessian(lambda z: z * z * u * w[1])(2.0),
    "hvp": lambda m, u, w: m.hvp(lambda z: z * z * z * u, (2.0,), (1.0,)),
    "twice": lambda m, u, w: m.grad(lambda z: z * m.grad(lambda q: q * q * u)(1.5))(2.0),
    "of no leaf": lambda m, u, w: m.grad(lambda z: z * z * z)(2.0),
}
AROUND = {
    "grad": lambda m, f, x: m.grad(f)(x),
    "vjp": lambda m, f, x: m.vjp(f, x)[1](x)[0],
    "jvp": lambda m, f, x: m.jvp(f, (x,), (x,))[1],
    "compiled grad": lambda m, f, x: fp.compile(fp.grad(f))(x) if m is fp else m.grad(f)(x),
    "compiled": lambda m, f, x: fp.compile(lambda x: fp.grad(f)(x))(x) if m is fp else m.grad(f)(x),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("case", INSIDE)
def test_a_derivative_of_captured_leaves_inside_of_one_that_is_swept_to_them(case, around):
    """What is compared with is the same function of these leaves as arguments."""

    def f(m, u, w):
        return lambda y: y * y * INSIDE[case](m, u, w)

    x, u, w = 1.5, 2.0, np.array([1.0, 2.0, 3.0])
    expected = fp.grad(lambda x, u, w: AROUND[around](fp, f(fp, u, w), x), (0, 1, 2))(x, u, w)
    for module in (fp, reference):
        handles = module.Unit(x), module.Unit(u), module.Array(w)
        AROUND[around](module, f(module, *handles[1:]), handles[0]).backward()
        for handle, slope in zip(handles, expected):
            assert_allclose(handle.grad, slope, rtol=1e-12)


# Results in the bodies of maps that are called by themselves ----------------------------------------------------------

X = np.array([0.5, 1.0, 2.0])
RESULTS = {
    "a number": lambda v, r: fp.vmap(lambda a: a * v)(X),
    "an array": lambda v, r: fp.vmap(lambda a: fp.sum(a * r * r))(X),
    "a number of an array": lambda v, r: fp.vmap(lambda a: a * r[1])(X),
    "what is mapped, too": lambda v, r: fp.vmap(lambda a: fp.sum(a * r) * v)(r),
    "on one side of a branch": lambda v, r: fp.vmap(lambda a: a * v if a > 0.75 else a * a)(X),
    "by what a branch is decided": lambda v, r: fp.vmap(lambda a: a * a if a > r[0] else a * v)(r),
    "in a gradient": lambda v, r: fp.vmap(lambda a: fp.grad(lambda z: z * z * v)(a))(X),
    "in a map inside": lambda v, r: fp.vmap(lambda a: fp.vmap(lambda b: a * b * v)(r))(X),
    "in a scan inside": lambda v, r: fp.vmap(lambda a: fp.scan(lambda c, b: (c * b * v, None), a, r)[0])(X),
    "across lanes": lambda v, r: fp.vmap(lambda a: v * a / fp.lane_sum(a))(r),
    "reduced": lambda v, r: fp.vmap(lambda a: a * v, reduce="mean")(r),
    "held": lambda v, r: fp.vmap(lambda a: a * v * fp.stop_gradient(v))(X),
    "returned": lambda v, r: fp.vmap(lambda a: (v, r, a * v))(X),
    "at which one differentiates": lambda v, r: fp.vmap(lambda a: a * fp.grad(lambda z: z * z * z)(v))(X),
    "at an array of which": lambda v, r: fp.vmap(lambda a: a * fp.grad(lambda z: fp.sum(z * z * z))(r))(X),
    "where tangents are": lambda v, r: fp.vmap(lambda a: fp.jvp(lambda z: a * z * z, (r,), (np.ones(3),))[1])(X),
    "of a Jacobian": lambda v, r: fp.vmap(lambda a: fp.jacobian(lambda z: a * z * z * z)(r))(X),
    "of numbers that are compared": lambda v, r: fp.vmap(lambda a: a * v if fp.any(r > 1.0) else a * a)(X),
    "solved": lambda v, r: fp.vmap(lambda a: fp.solve(np.eye(3) * a, r))(X),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_map_captures_results(case):
    def loss(u, w):
        found = RESULTS[case](u * 3.0, w * w)
        return sum(fp.sum(part * part) for part in (found if isinstance(found, tuple) else (found,)))

    u, w = 2.0, np.array([0.6, 0.8, 1.5])
    value, slopes = fp.compile(fp.value_and_grad(loss, (0, 1)))(u, w)
    handles = fp.Unit(u), fp.Array(w)
    found = loss(*handles)
    found.backward()
    assert found.value == pytest.approx(value, rel=1e-12)
    for handle, slope in zip(handles, slopes):
        assert_allclose(handle.grad, slope, rtol=1e-12, atol=1e-12)
    outside = handles[0] * 3.0, handles[1] * handles[1]
    with pytest.raises(ValueError, match=r"outside of it|no part of"):
        fp.compile(lambda x: RESULTS[case](*outside))(1.0)


def test_a_map_that_branches_takes_numbers_of_a_result_that_it_does_not_need():
    rng = np.random.default_rng(1)
    q, b = fp.Array(rng.normal(size=(9, 9))), fp.Array([1.0, 2.0])
    made = fp.sin(q)

    def lane(row):
        fp.take(made, [0, 0], axis=0)
        return b * 2.0 if fp.sum(row) > 0.5 else b

    fp.mean(fp.vmap(lane)(made)).backward()
    doubled = np.count_nonzero(np.sin(q.value).sum(1) > 0.5)
    assert_allclose(b.grad, (9 + doubled) / 18, rtol=1e-14)
    assert not np.any(q.grad)
    with pytest.raises(ValueError, match="outside of it"):
        fp.compile(lambda x: [fp.take(made, [0, 0], axis=0), x][1])(1.0)


@pytest.mark.parametrize("turned", [False, True])
def test_numbers_of_a_captured_matrix_are_read_side_by_side(turned):
    """In whatever order the body of a map uses them."""
    w, x = np.random.default_rng(0).normal(size=(2, 6, 6))

    def loss(w, x):
        computed = 2.0 * w
        return fp.sum(fp.vmap(lambda row: row @ computed.T if turned else computed @ row)(x))

    gc.collect()
    before = [found for found in gc.get_objects() if isinstance(found, Program)]
    compiled = fp.compile(fp.value_and_grad(loss))
    assert_allclose(compiled(w, x)[1], np.broadcast_to(2.0 * x.sum(0), (6, 6)), rtol=1e-12)
    programs = [found for found in gc.get_objects() if isinstance(found, Program) and found not in before]
    operands = [wiring.operands for program in programs for wiring in program.regions]
    assert any(np.sum(np.diff(slots) == 1) >= w.size - 1 for slots in operands)
