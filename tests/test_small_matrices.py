"""Linear algebra on small matrices, which compiled code has in C: against the gates themselves, in every form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.linalg import LinAlgError
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.gates import linear_algebra
from fronts import fixed

INF, NAN = math.inf, math.nan


def square(*shape):
    """Matrices that are far from singular, and not symmetric."""
    return 0.5 * fixed(*shape) + 3.0 * np.eye(shape[-1])


def definite(a):
    """Positive definite matrices."""
    return a @ fp.swapaxes(a, -1, -2) + np.eye(a.shape[-1])


GATES = {
    "solve": (linear_algebra.Solve, lambda a, b: fp.solve(a, b)),
    "lower": (linear_algebra.SolveTriangular, lambda a, b: fp.solve_triangular(a, b, lower=True)),
    "upper": (linear_algebra.SolveTriangular, lambda a, b: fp.solve_triangular(a, b)),
    "cholesky": (linear_algebra.Cholesky, lambda a, b: fp.cholesky(definite(a)) @ b),
    "inv": (linear_algebra.Inverse, lambda a, b: fp.inv(a) @ b),
    "det": (linear_algebra.Det, lambda a, b: fp.expand_dims(fp.det(a), (-1, -2)) * b),
    "slogdet": (linear_algebra.SlogDet, lambda a, b: fp.expand_dims(fp.slogdet(a).logabsdet, (-1, -2)) * b),
}


def loss_of(name):
    """A number that weighs everything that a gate gives differently."""

    def loss(a, b):
        found = GATES[name][1](a, b)
        return fp.sum(found * np.cos(np.arange(found.size)).reshape(found.shape)) + fp.sum(found**2)

    return loss


def same(found, expected, rtol=1e-9):
    for x, y in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert_allclose(x, y, rtol, 1e-10)


def derivatives(loss):
    return fp.value_and_grad(loss, (0, 1))


def refuse(*operands):
    raise AssertionError("the gate itself was asked")


@pytest.mark.parametrize("name", GATES)
def test_c_asks_nobody(name, monkeypatch):
    gate, loss = GATES[name][0], derivatives(loss_of(name))
    many = fp.vmap(loss)
    point, lanes = fp.compile(loss), fp.compile(many)
    first = square(4, 4), fixed(4, 2)
    point(*first)
    lanes(*(np.stack([x] * 5) for x in first))
    a, b = square(5, 4, 4) + 0.25, fixed(5, 4, 2) - 0.5
    expected = many(a, b)
    monkeypatch.setattr(gate, "forward", refuse)
    monkeypatch.setattr(gate, "backward", refuse)
    same(lanes(a, b), expected)
    same(point(a[3], b[3]), (expected[0][3], [x[3] for x in expected[1]]))


@pytest.mark.parametrize("name", GATES)
@given(
    n=st.integers(0, 6),
    k=st.integers(0, 3),
    batches=st.sampled_from([((), ()), ((2,), (2,)), ((2, 1), (3,)), ((), (2,)), ((0,), (0,))]),
    constants=st.sets(st.integers(0, 35)),
    lanes=st.integers(1, 3),
)
@settings(max_examples=12)
def test_sizes_batches_and_constants(name, n, k, batches, constants, lanes):
    a, b = square(*batches[0], n, n), fixed(*batches[1], n, k)
    kept = np.isin(np.arange(n * n).reshape(n, n), list(constants))
    plain = a.copy()

    def loss(a, b):
        return loss_of(name)(fp.where(kept, plain, a), b)

    eager, compiled = derivatives(loss), fp.compile(derivatives(loss))
    for _ in range(2):
        same(compiled(a, b), eager(a, b))
    many = [np.stack([x * (1 + 0.1 * i) for i in range(lanes)]) for x in (a, b)]
    same(fp.compile(fp.vmap(derivatives(loss)))(*many), fp.vmap(derivatives(loss))(*many))


@pytest.mark.parametrize("name", GATES)
def test_second_derivatives(name):
    a, b = square(3, 3), fixed(3, 2)
    along = fp.grad(lambda a, b: fp.sum(fp.grad(loss_of(name))(a, b) * np.sin(np.arange(9.0)).reshape(3, 3)))
    assert_allclose(fp.compile(along)(a, b), along(a, b), 1e-9, 1e-9)
    pushed = fp.compile(lambda a, b: fp.jvp(fp.grad(loss_of(name)), (a, b), (np.cos(a), np.sin(b))))(a, b)
    expected = fp.jvp(fp.grad(loss_of(name)), (a, b), (np.cos(a), np.sin(b)))
    assert_allclose(pushed[1], expected[1], 1e-9, 1e-9)


@pytest.mark.parametrize("name", GATES)
def test_float32_is_solved_in_float64(name):
    a, b = square(4, 4).astype(np.float32), fixed(4, 2).astype(np.float32)
    found = fp.compile(derivatives(loss_of(name)))(a, b)
    same(found, derivatives(loss_of(name))(a.astype(np.float64), b.astype(np.float64)), 3e-5)


HOSTILE = {
    "NaN": NAN,
    "infinite": INF,
    "all but singular": 3.0 + 1e-15,
    "large": 1e200,
    "tiny": 1e-310,
}


@pytest.mark.parametrize("name", ["solve", "lower", "upper", "inv", "det", "slogdet"])
@pytest.mark.parametrize("number", HOSTILE.values(), ids=HOSTILE)
def test_what_c_leaves_is_the_gate_s_own_and_other_lanes_stay(name, number):
    gate = derivatives(GATES[name][1] if name not in ("det", "slogdet") else loss_of(name))
    if name not in ("det", "slogdet"):
        gate = derivatives(lambda a, b: fp.sum(GATES[name][1](a, b)))
    a, b = square(5, 2, 2), fixed(5, 2, 1)
    plain = fp.compile(fp.vmap(gate))(a, b)
    a[2] = [[number, 3.0], [3.0, 3.0]]
    compiled = fp.compile(fp.vmap(gate))
    compiled(square(5, 2, 2), b)
    found = compiled(a, b)
    expected = gate(fp.Array(a[2]).value, b[2])
    for x, y, before in zip((found[0], *found[1]), (expected[0], *expected[1]), (plain[0], *plain[1]), strict=True):
        assert_allclose(x[2], y, 1e-7, 1e-12)
        assert_array_equal(np.delete(x, 2, 0), np.delete(before, 2, 0))
    at_point = fp.compile(gate)
    at_point(a[0], b[0])
    same(at_point(a[2], b[2]), expected, 1e-7)


def test_the_first_lane_that_cannot_be_taken_is_named():
    compiled = fp.compile(fp.vmap(lambda a: fp.sum(fp.cholesky(a))))
    matrices = np.stack([np.eye(3)] * 40)
    compiled(matrices)
    matrices[[17, 30]] *= -1.0
    with pytest.raises(LinAlgError, match="not positive definite, in lane 17"):
        compiled(matrices)
    assert_array_equal(compiled(matrices[:17]), 3.0)


def test_what_is_not_pulled_brings_nothing():
    def loss(a, keep):
        return fp.sum(fp.where(keep > 0.0, fp.solve(a, np.ones(2)), 0.0))

    compiled = fp.compile(fp.vmap(fp.grad(loss)))
    a = np.stack([np.eye(2), [[NAN, 0.0], [0.0, 1.0]], np.eye(2)])
    compiled(np.stack([np.eye(2)] * 3), np.ones(3))
    found = compiled(a, np.array([1.0, -1.0, 1.0]))
    assert_array_equal(found[1], 0.0)
    assert_array_equal(found[[0, 2]], -np.ones((2, 2, 2)))


def test_same_bits_on_any_threads_in_any_number_of_lanes(always_threads, threads_as_before, every_instruction_set):
    loss = derivatives(lambda a, b: sum(loss_of(name)(a, b) for name in GATES))
    a, b = square(700, 3, 3), fixed(700, 3, 1)
    found = []
    for _ in every_instruction_set:
        compiled = fp.compile(fp.vmap(loss))
        for threads, lanes in ((1, 700), (2, 700), (4, 700), (1, 3)):
            fp.set_num_threads(threads)
            value, gradients = compiled(a[:lanes], b[:lanes])
            found.append([value[:3], *(x[:3] for x in gradients)])
        one = fp.compile(loss)(a[1], b[1])
        same(one, (found[0][0][1], [x[1] for x in found[0][1:]]), 1e-13)
    for row in found[1:]:
        for x, y in zip(row, found[0], strict=True):
            assert_allclose(x, y, 1e-13)


@pytest.mark.parametrize("n", [20, 100, 210])
def test_sizes_on_both_sides_of_what_c_takes(n):
    a, b = square(n, n) + n**0.5 * np.eye(n), fixed(n, 1)
    for name in ("solve", "lower", "cholesky", "inv"):
        compiled = fp.compile(derivatives(loss_of(name)))
        compiled(a + 1.0, b)
        same(compiled(a, b), derivatives(loss_of(name))(a, b), 1e-6)


def test_in_scans():
    """A Kalman filter, of which each step solves and takes a determinant."""

    def loss(transition, noise, observations):
        def step(carry, seen):
            mean, covariance = transition @ carry[0], transition @ carry[1] @ transition.T + noise
            innovation, spread = seen - mean[:2], covariance[:2, :2] + np.eye(2)
            gain = fp.solve(spread, covariance[:2]).T
            likelihood = innovation @ fp.solve(spread, innovation) + fp.slogdet(spread).logabsdet
            return (mean + gain @ innovation, covariance - gain @ covariance[:2]), likelihood

        return fp.sum(fp.scan(step, (np.zeros(3), np.eye(3)), observations)[1])

    arguments = 0.4 * square(3, 3), 0.5 * np.eye(3), fixed(12, 2)
    both = fp.value_and_grad(loss, (0, 1))
    compiled = fp.compile(both)
    for _ in range(2):
        same(compiled(*arguments), both(*arguments))


def test_a_lane_whose_pull_cannot_be_taken_is_named():
    def loss(a):
        return fp.sum(fp.solve(a, np.ones(2)))

    compiled = fp.compile(fp.vmap(fp.grad(loss)))
    matrices = np.stack([np.eye(2)] * 40)
    compiled(matrices)
    matrices[17] = [[-0.42857142857142855, 1.1666666666666667], [-0.24489795918367346, 0.6666666666666667]]
    loss(matrices[17])
    for _ in range(2):
        with pytest.raises(LinAlgError, match="solve: matrix is singular, in lane 17"):  # once it is turned
            compiled(matrices)
    assert_array_equal(compiled(matrices[:17]), -np.ones((17, 2, 2)))


def test_a_lane_whose_third_derivative_of_det_cannot_be_taken_is_named():
    compiled = fp.compile(fp.vmap(fp.jacobian(fp.hessian(fp.det))))
    matrices = square(40, 2, 2)
    compiled(matrices)
    matrices[23] = 1.0
    with pytest.raises(LinAlgError, match="inv: matrix is singular, in lane 23"):
        compiled(matrices)


def test_a_determinant_whose_first_pivots_underflow():
    pivots = np.concatenate([np.geomspace(2e-6, 3e-6, 57), np.geomspace(5e5, 1e6, 43)])
    compiled = fp.compile(fp.value_and_grad(fp.det))
    compiled(np.eye(100))
    value, gradient = compiled(np.diag(pivots))
    expected = math.exp(np.sum(np.log(pivots)))
    assert value == pytest.approx(expected, rel=1e-11)
    assert_allclose(np.diag(gradient), expected / pivots, rtol=1e-11)


def test_rows_are_exchanged_and_signs_kept():
    for diagonal in ([1e-12, 1.0, 1.0], [0.0, -2.0, 3.0], [-9.0, -9.0, -9.0], [0.0, 0.0, 0.0]):
        a = np.diag(diagonal) + np.array([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 3.0, 0.0]])
        for f in (fp.det, fp.inv, lambda a: fp.slogdet(a).sign, lambda a: fp.slogdet(a[::-1]).sign):
            compiled = fp.compile(f)
            compiled(np.eye(3))
            assert_allclose(compiled(a), f(a), rtol=1e-13)


@pytest.mark.parametrize("name", ["lower", "upper", "cholesky"])
def test_c_does_not_read_the_other_half(name, monkeypatch):
    read = np.triu(np.ones((3, 3), bool)) if name == "upper" else np.tri(3, dtype=bool)
    f = fp.cholesky if name == "cholesky" else lambda a: GATES[name][1](a, np.ones(3))
    both = fp.compile(fp.value_and_grad(lambda a: fp.sum(f(a) ** 2)))
    a = np.eye(3) + 0.1
    expected = both(a)
    monkeypatch.setattr(GATES[name][0], "forward", refuse)
    monkeypatch.setattr(GATES[name][0], "backward", refuse)
    found = both(np.where(read, a, NAN))
    assert found[0] == expected[0]
    assert_array_equal(found[1], expected[1])
