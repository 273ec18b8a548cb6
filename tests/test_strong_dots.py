"""Rows of sums in lanes whose products are exactly 0 where a factor is, as recorded derivatives have them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.circuits.pipeline import PASSES
from fastprop.gates import strong_multiply
from test_outer import XS, YS, P, Q, flat, hessian_product, programs_of

RANDOM = np.random.default_rng(0)
INF, NAN = math.inf, math.nan


def strong_products(call):
    """The lines of listings of programs that a call makes which are such products."""
    lines = [line for program in programs_of(call) for line in program.listing()]
    return [line for line in lines if "strong" in line and line.startswith("matmul")]


def rows_of(w, x, products_first=False):
    """The numbers of w @ x: row after row, or all products first."""
    terms = [[strong_multiply(number, y) for number, y in zip(row, x)] for row in w] if products_first else None
    return [fp.sum(terms[i] if terms else [strong_multiply(u, y) for u, y in zip(w[i], x)]) for i in range(len(w))]


@given(
    rows=st.integers(1, 9),
    columns=st.integers(2, 9),
    lanes=st.integers(1, 40),
    single=st.booleans(),
    products_first=st.booleans(),
    turned=st.booleans(),
    listed=st.booleans(),
)
@settings(max_examples=60)
def test_all_shapes(rows, columns, lanes, single, products_first, turned, listed):
    dtype = np.float32 if single else np.float64
    w, xs = RANDOM.normal(size=(rows, columns)).astype(dtype), RANDOM.normal(size=(lanes, columns)).astype(dtype)
    order = RANDOM.permutation(rows) if listed else np.arange(rows)

    def body(w, x):
        w = [[w[j, i] if turned else w[i, j] for j in range(columns)] for i in order]
        hidden = rows_of(w, [fp.tanh(y) for y in x], products_first)
        return hidden, [number * y for number in hidden for y in x]

    compiled = fp.compile(fp.vmap(body, in_axes=(None, 0)))
    found = strong_products(lambda: compiled(w.T.copy() if turned else w, xs))
    assert bool(found) == (rows >= 2 and columns >= 4)
    values, others = compiled(w.T.copy() if turned else w, xs)
    expected = np.tanh(xs) @ w[order].T
    tolerance = 1e-5 if single else 1e-12
    assert_allclose(np.transpose(values), expected, tolerance, tolerance)
    assert_allclose(
        np.transpose(others), np.einsum("ki,kj->kij", expected, xs).reshape(lanes, -1), tolerance, tolerance
    )


def pulled(body, w, xs, pulls, argnums=(0, 1)):
    """A compiled function: the gradients of what a body multiplies, from pulls on its results in every lane."""

    def total(w, xs, pulls):
        def one(w, x, pull):
            return fp.sum([number * along for number, along in zip(body(w, x), pull)])

        return fp.sum(fp.vmap(one, in_axes=(None, 0, 0))(w, xs, pulls))

    return fp.compile(lambda w, xs, pulls: fp.grad(total, argnums=argnums)(w, xs, pulls))


def backward_products(call):
    """The lines of listings of programs, those that run backward, which are such products."""
    return [
        line
        for program in programs_of(call)
        if program.gradient
        for line in program.listing()
        if "strong" in line and line.startswith("matmul")
    ]


@given(
    rows=st.integers(2, 9),
    columns=st.integers(4, 9),
    lanes=st.sampled_from([1, 2, 3, 8, 16, 17, 40, 100]),
    single=st.booleans(),
    products_first=st.booleans(),
    turned=st.booleans(),
    listed=st.booleans(),
    unused=st.integers(0, 3),
    twice=st.booleans(),
)
@settings(max_examples=80)
def test_pulls_of_all_shapes(rows, columns, lanes, single, products_first, turned, listed, unused, twice):
    dtype = np.float32 if single else np.float64
    w, xs = RANDOM.normal(size=(rows, columns)).astype(dtype), RANDOM.normal(size=(lanes, columns)).astype(dtype)
    order, pulls = RANDOM.permutation(rows) if listed else np.arange(rows), RANDOM.normal(size=(lanes, rows))
    pulls[:, rows - min(unused, rows - 1) :] = 0.0
    pulls = pulls.astype(dtype)

    def body(w, x):
        w = [[w[j, i] if turned else w[i, j] for j in range(columns)] for i in order]
        found = rows_of(w, [fp.tanh(y) for y in x], products_first)
        found = found[: rows - min(unused, rows - 1)]
        return [number + number * found[0] for number in found] if twice else found

    given = w.T.copy() if turned else w
    compiled = pulled(body, given, xs, pulls)
    assert backward_products(lambda: compiled(given, xs, pulls)) or rows - unused < 2
    hidden = np.tanh(xs.astype(float))
    values = hidden @ w[order].T
    along = pulls.astype(float)
    if twice:
        on = along * (1.0 + values[:, :1])
        on[:, 0] += (along * values).sum(1)
        along = on
    on_w = np.zeros((rows, columns))
    on_w[order] = along.T @ hidden
    tolerance = 5e-5 if single else 1e-12
    for _ in range(2):
        found_w, found_x = compiled(given, xs, pulls)
        assert found_w.dtype == found_x.dtype == dtype
        assert_allclose(found_w.T if turned else found_w, on_w, tolerance, tolerance * 10)
        assert_allclose(found_x, along @ w[order] * (1.0 - hidden**2), tolerance, tolerance * 10)


@pytest.mark.parametrize("argnums", [0, 1])
def test_pulls_on_one_factor_alone(argnums):
    w, xs, pulls = RANDOM.normal(size=(5, 6)), RANDOM.normal(size=(20, 6)), RANDOM.normal(size=(20, 5))
    compiled = pulled(rows_of, w, xs, pulls, argnums)
    assert backward_products(lambda: compiled(w, xs, pulls))
    assert_allclose(compiled(w, xs, pulls), [pulls.T @ xs, pulls @ w][argnums], 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pulls_on_factors_of_exactly_0(dtype, every_instruction_set):
    w, xs, pulls = np.ones((5, 6), dtype), np.ones((40, 6), dtype), np.ones((40, 5), dtype)
    w[1, 2], w[2, 3], w[3], xs[4, 2], xs[7, 3], xs[9, 1] = 0.0, NAN, -0.0, NAN, 0.0, INF
    pulls[4, 2], pulls[9], pulls[11, 1], pulls[12, 2], pulls[13] = INF, 0.0, NAN, -0.0, 0.0
    pulls[13, 3] = INF

    def added(numbers, others):
        return sum(strong_multiply(float(x), float(y)) for x, y in zip(numbers, others))

    on_w = [[added(pull, x) for x in xs.T] for pull in pulls.T]
    on_x = [[added(pull, column) for column in w.T] for pull in pulls]
    for _ in every_instruction_set:
        compiled = pulled(rows_of, w, xs, pulls)
        assert backward_products(lambda: compiled(w, xs, pulls))  # noqa: B023
        found = compiled(w, xs, pulls)
        assert_array_equal(found[0], on_w)
        assert_array_equal(found[1], on_x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_factors_of_exactly_0(dtype, every_instruction_set):
    w, xs = np.ones((5, 6), dtype), np.ones((40, 6), dtype)
    w[1, 2], w[2, 3], w[3], xs[4, 2], xs[7, 3], xs[9, 1] = 0.0, NAN, -0.0, NAN, 0.0, INF
    expected = [[sum(strong_multiply(float(u), float(y)) for u, y in zip(row, x)) for row in w] for x in xs]
    for _ in every_instruction_set:
        compiled = fp.compile(fp.vmap(rows_of, in_axes=(None, 0)))
        assert strong_products(lambda: compiled(w, xs))  # noqa: B023
        assert_array_equal(np.transpose(compiled(w, xs)), expected)


def test_deep_products():
    """More columns than stay in the nearest cache: sums are added up in parts."""
    w, xs = RANDOM.normal(size=(3, 300)), RANDOM.normal(size=(70, 300))
    compiled = fp.compile(fp.vmap(rows_of, in_axes=(None, 0)))
    assert strong_products(lambda: compiled(w, xs))
    assert_allclose(np.transpose(compiled(w, xs)), xs @ w.T, 1e-11, 1e-11)


def test_sums_that_are_no_rows():
    """With terms that others read, of two rows of lanes, of constants, and of other columns."""

    def body(w, x):
        shared = strong_multiply(w[0, 0], x[0])
        first = fp.sum([shared, *[strong_multiply(w[0, j], x[j]) for j in range(1, 5)]])
        second = fp.sum([strong_multiply(x[j], x[j + 1]) for j in range(4)])
        third = fp.sum([strong_multiply(w[1, j], x[j]) for j in range(4)])
        fourth = fp.sum([strong_multiply(w[2, j], x[j + 1]) for j in range(4)])
        return first, second, third, fourth, shared

    w, xs = RANDOM.normal(size=(3, 5)), RANDOM.normal(size=(20, 5))
    found = fp.compile(fp.vmap(body, in_axes=(None, 0)))(w, xs)
    expected = xs @ w[0], (xs[:, :4] * xs[:, 1:]).sum(1), xs[:, :4] @ w[1, :4], xs[:, 1:] @ w[2, :4], xs[:, 0] * w[0, 0]
    for x, y in zip(found, expected, strict=True):
        assert_allclose(x, y, 1e-12, 1e-12)


def test_products_with_a_hessian_have_them():
    compiled = fp.compile(hessian_product)
    assert strong_products(lambda: compiled(P, Q, XS, YS))
    plain = fp.compile(hessian_product, passes=[name for name in PASSES if name != "reroll"])
    assert not strong_products(lambda: plain(P, Q, XS, YS))
    assert_allclose(flat(compiled(P, Q, XS, YS)), flat(plain(P, Q, XS, YS)), 1e-11, 1e-13)


def test_same_bits_in_any_number_of_lanes():
    w, xs = RANDOM.normal(size=(7, 9)), RANDOM.normal(size=(3000, 9))
    compiled = fp.compile(fp.vmap(rows_of, in_axes=(None, 0)))
    expected = np.transpose(compiled(w, xs))
    for lanes in (1, 2, 17, 300, 3000):
        assert_array_equal(np.transpose(compiled(w, xs[:lanes])), expected[:lanes])


def test_columns_outlive_what_is_computed_between_their_last_product_and_the_sums():
    def body(w, x):
        hidden = [fp.tanh(y) for y in x]
        terms = [[strong_multiply(number, y) for number, y in zip(row, hidden)] for row in w]
        between = [fp.exp(y * k) for k in (0.5, 1.5, 2.5) for y in x]
        return [fp.sum(row) for row in terms], between

    w, xs = RANDOM.normal(size=(4, 6)), RANDOM.normal(size=(20, 6))
    compiled = fp.compile(fp.vmap(body, in_axes=(None, 0)))
    assert strong_products(lambda: compiled(w, xs))
    assert_allclose(np.transpose(compiled(w, xs)[0]), np.tanh(xs) @ w.T, 1e-12, 1e-12)
