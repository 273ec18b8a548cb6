"""Linear algebra against NumPy on every front, to second order, in batches, and at the edges."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.linalg import LinAlgError
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference
from fronts import (
    blocks,
    check_derivatives,
    check_edge,
    check_edge_everywhere,
    check_layouts,
    check_refused,
    check_values,
    fixed,
)

block = blocks()

INF, NAN = math.inf, math.nan


def square(*shape):
    """Matrices that are far from singular."""
    return 0.5 * block(*shape) + 3.0 * np.eye(shape[-1])


def positive(m, a):
    """A positive definite matrix made of any one: symmetric, so that NumPy's symmetric gradients are ours."""
    return m.matmul(a, m.swapaxes(a, -1, -2)) + np.eye(a.shape[-1])


def of(name):
    """NumPy's function of linear algebra, or fastprop's."""
    return lambda m, *operands: getattr(np.linalg if m is np else m, name)(*operands)


def triangular(m, a, b, lower):
    """The solution of a triangular system, by NumPy of the half that is read."""
    if m is np and isinstance(a, np.ndarray):
        return np.linalg.solve(np.tril(a) if lower else np.triu(a), b)
    return fp.solve_triangular(a, b, lower)


ROWS = {
    "solve": (of("solve"), square(3, 3), block(3)),
    "solve of columns": (of("solve"), square(2, 2), block(2, 3)),
    "solve of a batch": (of("solve"), square(2, 2, 2), block(2, 2)),
    "solve of batches": (of("solve"), square(2, 1, 2, 2), block(3, 2, 1)),
    "lower": (lambda m, a, b: triangular(m, a, b, True), square(3, 3), block(3)),
    "upper of a batch": (lambda m, a, b: triangular(m, a, b, False), square(2, 2, 2), block(2, 2, 1)),
    "inv": (of("inv"), square(2, 2)),
    "inv of a batch": (of("inv"), square(2, 2, 2)),
    "det": (of("det"), square(3, 3)),
    "det of a batch": (of("det"), square(2, 2, 2)),
    "slogdet": (lambda m, a: of("slogdet")(m, a)[1], square(3, 3)),
    "slogdet of a batch": (lambda m, a: of("slogdet")(m, a)[1], -square(2, 3, 3)),
    "cholesky": (lambda m, a: of("cholesky")(m, positive(m, a)), block(3, 3)),
    "cholesky of a batch": (lambda m, a: of("cholesky")(m, positive(m, a)), block(2, 2, 2)),
    "eigenvalues": (lambda m, a: of("eigh")(m, positive(m, a))[0], block(3, 3)),
    "eigenvectors": (lambda m, a: m.absolute(of("eigh")(m, positive(m, a))[1]), square(3, 3)),
    "eigh of a batch": (lambda m, a: m.absolute(of("eigh")(m, positive(m, a))[1][..., 0]), block(2, 2, 2)),
    "qr": (lambda m, a: of("qr")(m, a), square(2, 2)),
    "qr, high": (lambda m, a: of("qr")(m, a), block(3, 2)),
    "qr, wide": (lambda m, a: of("qr")(m, a), block(2, 3) + np.eye(2, 3)),
    "qr of a batch": (lambda m, a: of("qr")(m, a)[1], block(2, 2, 2) + np.eye(2)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands, loose=1e-12)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands, rtol=1e-5)


@pytest.mark.parametrize("name", ["solve", "det", "inv", "qr"])
def test_layouts(name):
    f, a, *rest = ROWS[name]
    check_layouts(lambda m, x: list(found) if isinstance(found := f(m, x, *rest), tuple) else found, a)


@settings(max_examples=15)
@given(n=st.integers(0, 3), batch=st.lists(st.integers(0, 2), max_size=1).map(tuple), single=st.booleans())
def test_random_batches_and_dtypes(n, batch, single):
    dtype = np.float32 if single else np.float64
    a = (0.5 * fixed(*batch, n, n) + 3.0 * np.eye(n)).astype(dtype)
    b = np.asarray(fixed(*batch, n, 2)).astype(dtype)
    definite = a @ np.swapaxes(a, -1, -2) + np.eye(n, dtype=dtype)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if single else {"rtol": 1e-11, "atol": 1e-12}
    for found, expected in (
        (fp.solve(fp.Array(a), b), np.linalg.solve(a, b)),
        (fp.inv(fp.Array(a)), np.linalg.inv(a)),
        (fp.det(fp.Array(a)), np.linalg.det(a)),
        (fp.slogdet(fp.Array(a)).logabsdet, np.linalg.slogdet(a)[1]),
        (fp.cholesky(fp.Array(definite)), np.linalg.cholesky(definite)),
        (fp.eigh(fp.Array(definite)).eigenvalues, np.linalg.eigh(definite)[0]),
        (fp.qr(fp.Array(a)).R, np.linalg.qr(a)[1]),
    ):
        assert found.shape == expected.shape
        assert not found.shape or found.dtype == dtype
        assert_allclose(found.value, expected, **tolerance)
        found.backward(np.ones(found.shape, dtype) if found.shape else 1.0)


def test_numpys_own_names_and_results(engine):
    a = engine.Array(square(2, 2))
    sign, logarithm = np.linalg.slogdet(a)
    assert (sign.value, logarithm.value) == tuple(map(float, np.linalg.slogdet(a.value)))
    assert np.linalg.eigh(a).eigenvalues.shape == (2,)
    assert np.linalg.qr(a).Q.shape == np.linalg.qr(a, mode="r").shape == (2, 2)
    assert_allclose((np.linalg.inv(a) @ a).value, np.eye(2), atol=1e-12)


def diagonal(*numbers):
    """A diagonal matrix."""
    return np.diag(np.array(numbers, np.float64))


TINY = 1e-320

EDGES = {
    "det of a singular matrix": (lambda m, a: m.det(a), [[[1.0, 2.0], [2.0, 4.0]]], 0, [[[4, -2], [-2, 1]]]),
    "det of a diagonal with a zero": (lambda m, a: m.det(a), [diagonal(1, 2, 0)], 0, [diagonal(0, 0, 2)]),
    "det of zero": (lambda m, a: m.det(a), [[[0.0]]], 0, [[[1]]]),
    "det that overflows on its way": (lambda m, a: m.det(a), [diagonal(1e200, 1e200, 1e-300)], 1e100,
     [diagonal(1e-100, 1e-100, INF)]),
    "det of nothing": (lambda m, a: m.det(a), [np.zeros((0, 0))], 1, [0]),
    "slogdet of nothing": (lambda m, a: m.slogdet(a)[1], [np.zeros((0, 0))], 0, [0]),
    "slogdet of a singular matrix": (lambda m, a: m.slogdet(a)[1], [[[1.0, 2.0], [2.0, 4.0]]], -INF, [NAN]),
    "slogdet of a tiny matrix": (lambda m, a: m.slogdet(a)[1], [diagonal(1e-200, 1e-200)], -921.0340371976183,
     [diagonal(1e200, 1e200)]),
    "its sign": (lambda m, a: m.slogdet(a)[0], [diagonal(1e-200, 1e-200)], 1, [0]),
    "the sign of a singular matrix": (lambda m, a: m.slogdet(a)[0], [diagonal(1, 0)], 0, [0]),
    "the unread half": (lambda m, a, b: m.solve_triangular(a, b, lower=True), [[[2.0, NAN], [2.0, 1.0]], [2.0, 3.0]],
     [1, 1], [[[0.5, 0], [-1, -1]], [-0.5, 1]]),
    "cholesky, the lower half read": (lambda m, a: m.cholesky(a), [[[4.0, 100.0], [2.0, 3.0]]],
     [[2, 0], [1, math.sqrt(2)]],
     [[[0.25 - 0.125 + 0.25 / math.sqrt(2) * 0.5, 0], [0.5 - 0.5 / math.sqrt(2), 0.5 / math.sqrt(2)]]]),
    "cholesky of a subnormal number": (lambda m, a: m.cholesky(a), [[[TINY]]], [[math.sqrt(TINY)]],
     [[[0.5 / math.sqrt(TINY)]]]),
    "cholesky of NaN": (lambda m, a: m.cholesky(a), [[[NAN, 0.0], [0.0, 1.0]]], [[NAN, 0], [NAN, NAN]], [None]),
    "eigenvalues, the lower half read": (lambda m, a: m.eigh(a)[0], [[[1.0, 9.0], [2.0, 5.0]]],
     [3 - 2 * math.sqrt(2), 3 + 2 * math.sqrt(2)], [[[1, 0], [0, 1]]]),
    "squares of equal eigenvalues": (lambda m, a: m.sum(m.eigh(a)[0] ** 2), [np.eye(2)], 2, [2 * np.eye(2)]),
    "weights on equal eigenvalues": (lambda m, a: m.sum(m.eigh(a)[0] * np.array([1.0, 2.0])), [np.eye(2)], 3,
     [1.5 * np.eye(2)]),
    "vectors of equal eigenvalues": (lambda m, a: m.eigh(a)[1], [np.eye(2)], None, [[[NAN, 0], [NAN, NAN]]]),
    "eigh of NaN": (lambda m, a: m.eigh(a)[0], [[[NAN, 0.0], [0.0, 1.0]]], [NAN, NAN], [None]),
    "qr of a zero column": (lambda m, a: m.qr(a)[1], [[[0.0, 1.0], [0.0, 2.0]]], None, [NAN]),
    "inv of nothing": (lambda m, a: m.inv(a), [np.zeros((0, 0))], np.zeros((0, 0)), [0]),
    "solve of nothing": (lambda m, a, b: m.solve(a, b), [np.zeros((0, 0)), np.zeros((0, 2))], np.zeros((0, 2)), [0]),
    "cholesky of nothing": (lambda m, a: m.cholesky(a), [np.zeros((0, 0))], np.zeros((0, 0)), [0]),
    "eigh of nothing": (lambda m, a: m.eigh(a)[0], [np.zeros((0, 0))], [], [0]),
    "qr of nothing": (lambda m, a: m.qr(a)[0], [np.zeros((0, 0))], np.zeros((0, 0)), [0]),
    "inv of NaN": (lambda m, a: m.inv(a), [[[NAN, 0.0], [0.0, 1.0]]], None, [None]),
    "b is a matrix": (lambda m, a, b: m.solve(a, b), [np.stack([np.eye(2), 2 * np.eye(2)]), [[1.0, 2.0], [3.0, 4.0]]],
     [[[1, 2], [3, 4]], [[0.5, 1], [1.5, 2]]], [None, 1.5]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES.values(), ids=EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_derivatives_of_det_of_what_is_not_finite_are_nan_and_of_others_in_the_batch_stay(number):
    a = square(3, 3, 3)
    lost, direction = a.copy(), block(3, 3, 3)
    lost[1, 0, 2] = number

    def total(a):
        return fp.sum(fp.det(a) * np.array([1.0, 2.0, 3.0]))

    def along(a):
        return fp.jvp(fp.grad(total), (a,), (direction,))

    for front in (along, fp.compile(along)):
        for found, expected in zip(front(lost), front(a), strict=True):
            assert_array_equal(found[1], NAN)
            assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-13)


@pytest.mark.parametrize("number", [NAN, INF, -INF])
def test_derivatives_of_det_of_what_is_not_finite_in_one_lane(number):
    compiled = fp.compile(fp.vmap(fp.hessian(fp.det)))
    a = square(5, 3, 3)
    expected = compiled(a)
    a[3, 0, 0] = number
    found = compiled(a)
    assert_array_equal(found[3], NAN)
    assert_allclose(np.delete(found, 3, 0), np.delete(expected, 3, 0), rtol=1e-13)


def test_det_of_a_number_has_slope_one_whatever_it_is():
    for number in (0.0, 2.0, INF, NAN):
        assert fp.grad(fp.det)(np.array([[number]])) == 1.0
        assert fp.compile(fp.grad(fp.det))(np.array([[number]])) == 1.0


def test_hessian_of_det_of_zeros():
    expected = np.zeros((2, 2, 2, 2))
    expected[0, 0, 1, 1] = expected[1, 1, 0, 0] = 1.0
    expected[0, 1, 1, 0] = expected[1, 0, 0, 1] = -1.0
    for engine in (reference, fp):
        assert_allclose(engine.hessian(engine.det)(np.zeros((2, 2))), expected, atol=1e-15)
    assert_allclose(fp.compile(fp.hessian(fp.det))(np.zeros((2, 2))), expected, atol=1e-15)


def test_second_derivatives_of_det_by_definition():
    a = block(3, 3)
    a[2] = a[0] + a[1]  # singular
    found = fp.hessian(fp.det)(a)
    for i, j, k, m in np.ndindex(3, 3, 3, 3):
        rest = [r for r in range(3) if r not in (i, k)], [c for c in range(3) if c not in (j, m)]
        minor = 0.0
        if i != k and j != m:
            sign = (-1.0) ** (i + j + k + m + (i > k) + (j > m))
            minor = sign * a[rest[0][0], rest[1][0]]
        assert found[i, j, k, m] == pytest.approx(minor, abs=1e-12)


def test_third_derivative_of_det():
    a = square(3, 3)
    third = fp.jacobian(fp.hessian(fp.det))(a)
    h = 1e-5 * block(3, 3)
    slope = (fp.hessian(fp.det)(a + h) - fp.hessian(fp.det)(a - h)) / 2e-5
    assert_allclose(np.tensordot(third, h, 2) / 1e-5, slope, rtol=1e-6, atol=1e-6)


def test_upper_halves(engine):
    a = positive(np, block(3, 3))
    assert_allclose(engine.cholesky(engine.Array(a), upper=True).value, np.linalg.cholesky(a).T, rtol=1e-13)
    check_edge(engine, lambda a: engine.eigh(a, "U")[0], [[[1.0, 2.0], [9.0, 5.0]]],
               [3 - 2 * math.sqrt(2), 3 + 2 * math.sqrt(2)], [np.eye(2)], rtol=1e-12, atol=1e-15)  # fmt: skip
    assert np.linalg.qr(engine.Array(a[:2]), "complete").Q.shape == (2, 2)


SINGULAR = np.stack([np.eye(2), np.ones((2, 2)), -np.eye(2)])
ERRORS = {
    "inv": (lambda a: fp.inv(a), "inv: matrix 1 of the batch is singular"),
    "solve": (lambda a: fp.solve(a, [1.0, 2.0]), "solve: matrix 1 of the batch is singular"),
    "solve_triangular": (
        lambda a: fp.solve_triangular(a * np.eye(2) * [1.0, 0.0], np.ones(2)),
        "matrix 0 of the batch has a zero on its diagonal",
    ),
    "cholesky": (lambda a: fp.cholesky(a), "cholesky: matrix 1 of the batch is not positive definite"),
}


def lane_fronts(f, example):
    """A function of matrices in lanes, on all fronts."""

    def eager(a):
        with fp.eager():
            return fp.vmap(f)(a)

    def branching(a):
        return f(a) if a[..., 0, 0] > 0.0 else f(a) * 1.0

    return {
        "now": fp.vmap(f),
        "eager": eager,
        "compiled": fp.compile(fp.vmap(f)),
        "parted": fp.compile(fp.vmap(branching)),
        "gradient": fp.compile(fp.grad(lambda a: fp.sum(fp.vmap(f)(a)))),
        "leaves": lambda a: fp.vmap(f)(fp.Array(a)),
        "batch": fp.trace(f, example).batch,
    }


@pytest.mark.parametrize("name", ERRORS)
def test_the_lane_of_a_matrix_that_cannot_be_taken(name):
    call, text = ERRORS[name]
    text = text.replace(" 1 of the batch", "").replace(" 0 of the batch", "")
    bad = np.zeros((2, 2)) if name == "solve_triangular" else np.ones((2, 2))
    if name == "solve_triangular":

        def call(a):
            return fp.solve_triangular(a, np.ones(2))

    for lanes, lane in ((3, 0), (700, 555), (2000, 1999)):
        a = np.repeat(np.diag([1.0, 2.0])[None], lanes, 0)
        a[::2] *= 1.5
        if name != "cholesky":
            a[1::3, 0, 0] *= -1.0
        for front, f in lane_fronts(call, a[1]).items():
            f(a)
            broken = a.copy()
            broken[lane] = bad
            with pytest.raises(LinAlgError, match=f"{text}.*, in lane {lane}$"):
                f(broken)
                raise AssertionError(front)


def test_the_place_of_a_matrix_in_the_batch_of_its_lane():
    a = np.broadcast_to(np.eye(2), (40, 3, 2, 2)).copy()
    a[33, 2] = 0.0
    for f in (fp.vmap(fp.inv), fp.compile(fp.vmap(fp.inv))):
        with pytest.raises(LinAlgError, match=r"inv: matrix 2 of the batch is singular, in lane 33$"):
            f(a)


@pytest.mark.parametrize(("call", "text"), ERRORS.values(), ids=ERRORS)
def test_matrices_that_cannot_be_taken(engine, call, text):
    for make in (engine.Array, np.asarray):
        with pytest.raises(LinAlgError, match=text):
            call(make(SINGULAR))
    with pytest.raises(LinAlgError, match=text.replace(" 1 of the batch", "").replace(" 0 of the batch", "")):
        call(engine.Array(np.zeros((2, 2))))
    with pytest.raises(LinAlgError, match=text):
        fp.compile(call)(SINGULAR)
    with pytest.raises(ValueError, match="matrix"):
        fp.compile(fp.vmap(call))(SINGULAR)


def test_a_branch_that_is_not_taken_raises_nothing():
    def f(a):
        return fp.sum(fp.inv(a)) if fp.det(a) > 0.5 else 0.0

    compiled = fp.compile(fp.vmap(f))
    assert_allclose(compiled(SINGULAR), [2, 0, -2], rtol=1e-14)
    assert_allclose(compiled(SINGULAR[::-1]), [-2, 0, 2], rtol=1e-14)


REFUSED = {
    "a row": (lambda a: fp.det(a[0]), r"det of shape \(3,\); expected square matrices"),
    "not square": (lambda a: fp.inv(a), r"inv of shape \(2, 3\); expected square"),
    "right-hand sides": (
        lambda a: fp.solve(a[:, :2], np.ones(3)),
        r"solve of matrices of shape \(2, 2\) and right-hand sides of shape \(3,\)",
    ),
    "batches": (lambda a: fp.solve(np.ones((2, 2, 2)), a[None, None, :, :2] * np.ones((3, 1, 1))), "do not broadcast"),
    "qr of a row": (lambda a: fp.qr(a[0]), "expected matrices"),
    "complete": (lambda a: fp.qr(a.T, "complete"), "columns that are not determined"),
    "raw": (lambda a: fp.qr(a, "raw"), '"reduced", "complete" or "r"'),
    "another half": (lambda a: fp.eigh(a[:, :2], "M"), 'expected "L" or "U"'),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, text):
    check_refused(call, text)


def test_lanes_with_constants():
    a, b = square(4, 2, 2), block(4, 2)
    fixed = square(2, 2)
    assert_allclose(fp.vmap(lambda b: fp.solve(fixed, b))(b), np.linalg.solve(fixed, b.T).T, rtol=1e-13)
    assert_allclose(
        fp.vmap(lambda a: fp.solve(a, [1.0, 2.0]))(a), np.linalg.solve(a, [[1.0], [2.0]])[..., 0], rtol=1e-13
    )
    batched = fp.compile(fp.vmap(lambda a: fp.sum(fp.solve(a, np.ones((3, 2, 1))))))
    assert_allclose(batched(a), 3 * np.linalg.solve(a, np.ones((2, 1))).sum((1, 2)), rtol=1e-13)
    slopes = fp.compile(fp.vmap(fp.grad(lambda b: fp.sum(fp.solve(fixed, b)))))(b)
    assert_allclose(slopes, np.tile(np.linalg.solve(fixed.T, np.ones(2)), (4, 1)), rtol=1e-12)


def test_a_gaussian_process(engine):
    x, y = np.linspace(0.0, 1.0, 5), np.array([0.1, 0.9, 0.4, -0.3, -0.8])

    def loss(m, length, noise):
        gaps = (x[:, None] - x[None]) / length
        factor = m.cholesky(m.exp(-0.5 * gaps * gaps) + noise * np.eye(5))
        white = m.solve_triangular(factor, y, lower=True)
        return 0.5 * (white @ white) + m.sum(m.log(m.diagonal(factor)))

    def plain(length, noise):
        matrix = np.exp(-0.5 * ((x[:, None] - x[None]) / length) ** 2) + noise * np.eye(5)
        return 0.5 * y @ np.linalg.solve(matrix, y) + 0.5 * np.linalg.slogdet(matrix)[1]

    value, slopes = engine.value_and_grad(lambda *x: loss(engine, *x), (0, 1))(0.3, 0.1)
    assert value == pytest.approx(plain(0.3, 0.1), rel=1e-12)
    assert_allclose(slopes, fp.numerical_grad(lambda *x: float(plain(*x)), (0.3, 0.1)), rtol=1e-6)
    found, again = fp.compile(fp.value_and_grad(lambda *x: loss(fp, *x), (0, 1)))(0.3, 0.1)
    assert_allclose([found, *again], [value, *slopes], rtol=1e-10)


def test_lanes_of_a_vmap_as_matrices():
    rows = block(2, 3)
    fixed = square(2, 2)
    f = fp.compile(lambda b: fp.solve(fixed, fp.vmap(lambda row: row * 2.0)(b)))
    assert_allclose(f(rows), np.linalg.solve(fixed, rows * 2.0), rtol=1e-13)
    g = fp.compile(lambda a: fp.det(fp.vmap(lambda row: row * 2.0)(a)))
    assert g(fixed) == pytest.approx(4.0 * np.linalg.det(fixed), rel=1e-13)


@pytest.mark.parametrize("name", ["inv", "solve", "solve_triangular", "cholesky"])
def test_of_no_matrices(name):
    """What is recorded needs an example, and zeros are a singular matrix."""
    gate = {"solve": lambda a: fp.solve(a, np.ones(2)), "solve_triangular": lambda a: fp.solve_triangular(a, np.eye(2))}
    f = gate.get(name, getattr(fp, name))

    def steps(a):
        return fp.scan(lambda total, x: (total + fp.sum(f(x)), f(x)), 0.5, a)

    def total(a):
        return fp.sum(fp.vmap(f)(a)) + steps(a)[0]

    none, three = np.zeros((0, 2, 2)), np.stack([np.eye(2)] * 3)
    shape = (0, *np.shape(f(np.eye(2))))
    compiled = fp.compile(fp.vmap(f)), fp.compile(steps), fp.compile(fp.vmap(fp.grad(lambda a: fp.sum(f(a)))))
    for _ in range(2):
        with fp.eager():
            assert fp.vmap(f)(none).shape == steps(none)[1].shape == shape
        assert fp.vmap(f)(none).shape == compiled[0](none).shape == shape
        assert fp.vmap(fp.vmap(f))(none[None]).shape == (1, *shape)
        for front in (steps, compiled[1]):
            last, kept = front(none)
            assert last == 0.5 and kept.shape == shape
        assert compiled[2](none).shape == fp.compile(fp.grad(total))(none).shape == (0, 2, 2)
        for front in compiled:
            front(three)  # and then none again


def test_the_lanes_of_maps_in_maps_whose_matrix_cannot_be_taken():
    def inverse(a):
        return fp.sum(fp.inv(a))

    def steps(a):
        return fp.scan(lambda total, x: (total + inverse(x), None), 0.0, a)[0]

    def branching(a, deep):
        return fp.sum(fp.vmap(inverse)(a * 2.0)) if deep > 0.0 else a[0, 0, 0]

    a = np.tile(np.eye(2), (40, 5, 3, 1, 1))
    a[::3, 0, 0, 0, 1] = 1.0
    for f, lanes in (
        (fp.vmap(fp.vmap(fp.vmap(inverse))), "(33, 4, 2)"),
        (fp.vmap(fp.vmap(steps)), "(33, 4)"),
        (lambda a: fp.vmap(fp.vmap(inverse))(a[:, 4]), "(33, 2)"),
        (lambda a: fp.vmap(branching)(a[:, 4], a[:, 0, 0, 0, 1]), "33"),  # a map on a path has no lanes of its own
    ):
        for front in (fp.compile(f), fp.compile(fp.grad(lambda a, f=f: fp.sum(f(a))))):
            bad = a.copy()
            front(bad)
            bad[33, 4, 2] = 0.0
            with pytest.raises(LinAlgError, match=f"inv: matrix is singular, in lane {re.escape(lanes)}$"):
                front(bad)
