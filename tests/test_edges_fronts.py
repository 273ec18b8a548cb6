"""What is empty, infinite, None or of another dtype: the same answer, or the same error, on every front."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference
from fronts import numbers


def each(function, tree):
    """A function of every leaf of nested lists, tuples and dicts."""
    if isinstance(tree, dict):
        return {key: each(function, part) for key, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(each(function, part) for part in tree)
    return function(tree)


def handle(engine, x):
    return engine.Array(x) if np.ndim(x) else engine.Unit(x)


def first_lane(f, x):
    """The first of the two equal lanes in which `f` is taken."""
    return each(lambda leaf: numbers(leaf)[0], f(each(lambda leaf: np.stack([leaf, leaf]), x)))


# what a function `make(engine)` gives at a nest of plain numbers, on each front
FRONTS = {
    "eager": lambda make, x: make(fp)(x),
    "reference": lambda make, x: make(reference)(x),
    "handles": lambda make, x: make(fp)(each(lambda leaf: handle(fp, leaf), x)),
    "reference, handles": lambda make, x: make(reference)(each(lambda leaf: handle(reference, leaf), x)),
    "compiled": lambda make, x: fp.compile(make(fp))(x),
    "traced": lambda make, x: fp.compile(lambda x: make(fp)(each(lambda leaf: leaf * 1.0, x)))(x),
    "mapped": lambda make, x: first_lane(fp.vmap(make(fp)), x),
    "compiled map": lambda make, x: first_lane(fp.compile(fp.vmap(make(fp))), x),
    "scanned": lambda make, x: each(
        lambda leaf: numbers(leaf)[0],
        fp.compile(lambda x: fp.scan(lambda carry, _: (carry, make(fp)(carry)), x, None, 2)[1])(x),
    ),
}

# Of size 0 ------------------------------------------------------------------------------------------------------------

NEST = {"a": np.ones(2), "b": 1.5, "c": np.zeros((2, 0))}
EMPTY = {
    "nothing of nothing": (lambda m, x: x * x, np.zeros(0), (0, 0)),
    "nothing of numbers": (lambda m, x: x[:0] * 2.0, np.ones(3), (0, 3)),
    "nothing of a number": (lambda m, x: x * np.zeros((0, 2)), 1.5, (0, 2)),
    "numbers of nothing": (lambda m, x: m.concatenate([x, np.ones(2)]), np.zeros(0), (2, 0)),
    "a number of nothing": (lambda m, x: m.sum(x * x), np.zeros(0), (0,)),
    "a product": (lambda m, x: m.matmul(x, np.ones((0, 3))), np.zeros((2, 0)), (2, 3, 2, 0)),
    "a constant": (lambda m, x: np.zeros((0, 2)), np.ones(3), (0, 2, 3)),
    "a constant and a number": (lambda m, x: [np.zeros((0, 2)), 1.0], np.zeros(0), [(0, 2, 0), (0,)]),
    "in single precision": (lambda m, x: x[:0] * 2.0, np.ones(3, np.float32), (0, 3)),
    "nothing of a nest": (lambda m, x: (x["a"] * x["b"])[:0], NEST, {"a": (0, 2), "b": (0,), "c": (0, 2, 0)}),
    "a nest of a nest": (
        lambda m, x: (x["a"][:0], m.sum(x["c"]) * x["b"], x["c"] * x["b"]),
        NEST,
        (
            {"a": (0, 2), "b": (0,), "c": (0, 2, 0)},
            {"a": (2,), "b": (), "c": (2, 0)},
            {"a": (2, 0, 2), "b": (2, 0), "c": (2, 0, 2, 0)},
        ),
    ),
}


def assert_dtype(leaf, expected):
    assert numbers(leaf).dtype == expected


def lengths(tree):
    """The shape of every leaf, in the same nest."""
    return each(lambda leaf: numbers(leaf).shape, tree)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", EMPTY)
def test_jacobians_of_nothing_have_all_axes(case, front):
    f, x, expected = EMPTY[case]
    found = FRONTS[front](lambda m: m.jacobian(lambda x: f(m, x)), x)
    assert lengths(found) == expected
    each(lambda leaf: assert_dtype(leaf, getattr(x, "dtype", np.float64)), found)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", EMPTY)
def test_pulls_and_tangents_of_nothing(case, front):
    f, x, _ = EMPTY[case]
    value = lengths(f(np, x))

    def both(m):
        def pulled(x):
            found, pull_back = m.vjp(lambda x: f(m, x), x)
            return pull_back(found), m.jvp(lambda x: f(m, x), (x,), (x,))

        return pulled

    assert lengths(FRONTS[front](both, x)) == ((lengths(x),), (value, value))


@pytest.mark.parametrize("front", FRONTS)
def test_hessians_of_nothing_have_all_axes(front):
    def f(m, x):
        return m.sum(x["a"]) * x["b"] * x["b"] + m.sum(x["c"] * x["c"])

    assert lengths(FRONTS[front](lambda m: m.hessian(lambda x: m.sum(x * x)), np.zeros((0, 2)))) == (0, 2, 0, 2)
    assert lengths(FRONTS[front](lambda m: m.hessian(lambda x: f(m, x)), NEST)) == {
        "a": {"a": (2, 2), "b": (2,), "c": (2, 2, 0)},
        "b": {"a": (2,), "b": (), "c": (2, 0)},
        "c": {"a": (2, 0, 2), "b": (2, 0), "c": (2, 0, 2, 0)},
    }


NOTHING = np.zeros((0, 3))
OF_NOTHING = {
    "sum": lambda m, x: m.sum(x, axis=0),
    "mean": lambda m, x: m.mean(x, axis=1),
    "var": lambda m, x: m.var(x),
    "var of rows": lambda m, x: m.var(x, axis=1, ddof=1),
    "std": lambda m, x: m.std(m.reshape(x, -1)),
    "std of columns": lambda m, x: m.std(x, axis=0),
    "prod": lambda m, x: m.prod(x, axis=0),
    "cumsum": lambda m, x: m.cumsum(x, axis=0),
    "cumprod": lambda m, x: m.cumprod(x, axis=1),
    "sort": lambda m, x: m.sort(x, axis=0),
    "pad": lambda m, x: m.pad(x, ((1, 1), (0, 0))),
    "roll": lambda m, x: m.roll(x, 2, axis=0),
    "einsum": lambda m, x: m.einsum("ij,kj->ik", x, np.ones((2, 3))),
    "tensordot": lambda m, x: m.tensordot(x, np.ones((0, 2)), axes=(0, 0)),
    "diff": lambda m, x: m.diff(x, axis=0),
    "matmul": lambda m, x: m.matmul(np.ones((2, 0)), x),
    "rows in order": lambda m, x: x[m.argsort(x[:, 0])],
    "sorted by places": lambda m, x: m.take_along_axis(x, m.argsort(x, axis=1), 1),
    "none of some": lambda m, x: m.take(m.stack([2.0, 3.0]), m.argsort(x[:, 0])) if m is fp else x[:, 0],
    "inv": lambda m, x: np.linalg.inv(x[:, :0]) if m is np else m.inv(x[:, :0]),
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", OF_NOTHING)
def test_functions_of_nothing(case, front):
    f = OF_NOTHING[case]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of means of nothing
        expected = np.asarray(f(np, NOTHING))
    found, slope = FRONTS[front](lambda m: lambda x: (f(m, x), m.grad(lambda x: m.sum(f(m, x)))(x)), NOTHING)
    assert_array_equal(numbers(found), expected)
    assert numbers(slope).shape == NOTHING.shape


def test_no_lanes_taken_apart_have_no_gradient():
    def f(x):
        return fp.sum(fp.vmap(lambda v: v * v)(x) * 1.5) + fp.sum(fp.vmap(lambda v: v * v)(x) @ x)

    for slope in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda x: fp.grad(f)(x))):
        assert slope(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("divided", [lambda x: 1.0 / x, lambda x: x**-1, lambda x: 2.0 // x, lambda x: 1.0 / fp.sum(x)])
def test_no_lanes_and_no_steps_divide_by_nothing(divided):
    for f in (fp.vmap(divided), lambda xs: fp.scan(lambda carry, x: (carry, divided(x)), 1.0, xs)[1]):
        for front in (f, fp.compile(f)):
            assert numbers(front(np.zeros(0))).shape == (0,)
            with fp.eager():
                assert numbers(front(np.zeros(0))).shape == (0,)
    steps = fp.scan(lambda carry, x: (carry / x, carry), 1.0, np.zeros(0))
    assert steps[0] == 1.0 and steps[1].shape == (0,)


def test_no_integers_choose_nothing():
    table, none = np.array([1.0, 2.0]), np.zeros(0, int)
    for f in (lambda i: fp.Array(table)[i], lambda i: fp.take(table, i), lambda i: fp.Array(table).at[i].set(3.0)[i]):
        for front in (f, fp.compile(f)):
            assert numbers(front(none)).shape == (0,)


# In single precision --------------------------------------------------------------------------------------------------

MEANS = {
    "function": lambda m, x: m.mean(x),
    "method": lambda m, x: x.mean(),
    "of rows": lambda m, x: x.mean(axis=1),
    "of columns, axes kept": lambda m, x: m.mean(x, axis=0, keepdims=True),
    "method, axes kept": lambda m, x: x.mean(axis=0, keepdims=True),
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", MEANS)
def test_a_mean_is_infinite_where_its_sum_is(case, front):
    """As NumPy has it; the reference of plain numbers is given arrays, which have that method themselves."""
    x = np.full((2, 2), 3e38, np.float32)
    with np.errstate(over="ignore"):
        value, pulled = FRONTS[front](
            lambda m: lambda x: (MEANS[case](m, x), m.grad(lambda x: m.sum(MEANS[case](m, x)))(x)), x
        )
    assert np.all(numbers(value) == np.inf)
    assert_array_equal(numbers(pulled), np.full((2, 2), 1.0 / (4 // numbers(value).size)))


def test_a_tangent_in_single_precision_of_several_results():
    x = np.array([1.0, 2.0], np.float32)
    circuit = fp.trace(lambda x: (x * x, fp.sum(x)), x)
    value, tangent = circuit.jvp((x,), (x,))
    assert_array_equal(value[0], [1.0, 4.0])
    assert_array_equal(tangent[0], [2.0, 8.0])
    assert tangent[0].dtype == np.float32
    assert tangent[1] == 3.0


# Single numbers, and integers that choose -----------------------------------------------------------------------------


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("widths", [1, (1, 2), [(1, 1)]])
def test_a_number_has_no_frame(widths, front):
    value, slope = FRONTS[front](lambda m: m.value_and_grad(lambda x: 3.0 * m.pad(x, widths)), 2.0)
    assert (float(numbers(value)), float(numbers(slope))) == (6.0, 3.0)


CHOOSING = {
    "fp.where": lambda chosen, x: fp.where(chosen, x, -x),
    "np.where": lambda chosen, x: np.where(chosen, x, -x),
    "of one": lambda chosen, x: fp.where(chosen[0], x, -x) + fp.where(chosen[1], 0.0, -2.0 * chosen * x),
}


@pytest.mark.parametrize("case", CHOOSING)
def test_integers_choose_as_in_numpy(case):
    chosen, x = np.array([1, 0, 2]), np.array([1.0, 2.0, 3.0])
    f = CHOOSING[case]
    expected = np.where(chosen, x, -x) if case != "of one" else x - 2.0 * chosen * x
    slopes = expected / x
    two = np.stack([chosen, chosen]), np.stack([x, x])
    for found in (f(chosen, x), f(chosen, fp.Array(x)), fp.compile(f)(chosen, x), fp.compile(fp.vmap(f))(*two)[1]):
        assert_array_equal(numbers(found), expected)
    slope = fp.grad(lambda chosen, x: fp.sum(f(chosen, x)), 1)
    for found in (slope(chosen, x), fp.compile(slope)(chosen, x), fp.compile(fp.vmap(slope))(*two)[1]):
        assert_array_equal(found, slopes)


PLACED = {
    "padded": lambda i: fp.pad(i, (1, 2)),
    "padded by a number": lambda i: fp.pad(i, 1, constant_values=2.0),
    "padded below 0": lambda i: fp.pad(i, 1, constant_values=-1),
    "a diagonal": lambda i: fp.diag(i),
    "a lower triangle": lambda i: fp.tril(fp.stack([i, i])),
    "an upper triangle": lambda i: fp.triu(fp.stack([i, i]), 1),
}


@pytest.mark.parametrize("case", PLACED)
def test_integers_beside_zeros_stay_integers(case):
    table, i, place = np.array([10.0, 20.0, 30.0]), np.array([2, 0, 1]), PLACED[case]
    expected = place(i)
    assert expected.dtype == np.int64
    lanes = np.stack([i, i])
    for front in (
        fp.compile(place),
        lambda i: fp.vmap(place)(lanes)[1],
        lambda i: fp.compile(fp.vmap(place))(lanes)[1],
    ):
        assert_array_equal(front(i), expected)
    chosen = fp.compile(lambda table, i: table[place(i)])(table, i)
    assert_array_equal(chosen, table[expected])


@pytest.mark.parametrize("front", [front for name, front in FRONTS.items() if name != "scanned"])
def test_integers_that_are_differentiated_are_padded_by_fractions(front):
    def f(m, x):
        return m.sum(m.cumprod(m.pad(x, 1, constant_values=0.5)))

    found = front(lambda m: m.grad(lambda x: f(m, x)), np.array([2, 3]))
    assert_allclose(numbers(found), [0.5 + 1.5 + 0.75, 1.0 + 0.5], rtol=1e-12)


# Matrices of constants that were traced all the same ------------------------------------------------------------------

CONSTANT = {
    "det": lambda m, a: m.det(a),
    "slogdet": lambda m, a: m.slogdet(a)[1],
    "inv": lambda m, a: m.inv(a),
    "cholesky": lambda m, a: m.cholesky(a),
    "solve": lambda m, a: m.solve(a, np.ones(2)),
    "eigh": lambda m, a: m.eigh(a)[0],
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", CONSTANT)
def test_linear_algebra_of_sums_of_nothing(case, front):
    """A product over an axis of length 0 is a constant, in whose place a trace has a block without Units."""

    def f(m, x):
        return x * m.sum(CONSTANT[case](m, m.matmul(x * np.ones((2, 0)), np.zeros((0, 2))) + np.diag([4.0, 9.0])))

    expected = float(np.sum(CONSTANT[case](fp, np.diag([4.0, 9.0]))))
    value, slope = FRONTS[front](lambda m: m.value_and_grad(lambda x: f(m, x)), 2.0)
    assert_allclose([float(numbers(value)), float(numbers(slope))], [2.0 * expected, expected], rtol=1e-12)


@pytest.mark.parametrize("front", FRONTS)
def test_what_a_map_does_not_use_is_not_pulled_on(front):
    """A pull of 0 on a matrix of NaN, gate by gate, would be NaN."""

    def f(m, x):
        unused = m.solve(m.stack([x, x]) * np.nan, np.ones(2))
        return m.vmap(lambda p, q, x: 2.0 * x[1], in_axes=(0, None, None))(unused, unused, x) if m is fp else 2.0 * x[1]

    found = numbers(FRONTS[front](lambda m: m.jacobian(lambda x: f(m, x)), np.array([3.0, 5.0])))
    assert_array_equal(np.broadcast_to(found, (2, 2)), [[0.0, 2.0], [0.0, 2.0]])


SHARED = {
    "read behind": lambda p, q, rows: 10.0 * p[0] + fp.sum(fp.vmap(lambda a: a * a)(q)),
    "read before": lambda p, q, rows: fp.sum(fp.vmap(lambda a: a * a)(p)) + 10.0 * q[0],
    "read by both": lambda p, q, rows: fp.sum(fp.vmap(lambda a: a * a)(p)) + 10.0 * fp.vmap(lambda a: a)(q)[0],
    "captured": lambda p, q, rows: 10.0 * p[0] + fp.sum(fp.vmap(lambda a: fp.sum(a * a))(rows)) / 3.0,
}


@pytest.mark.parametrize("case", SHARED)
def test_an_array_that_is_mapped_twice_and_read_by_a_map_inside(case):
    """Numbers of the one leaf add to what the map inside has pulled on the other, instead of standing in its place."""

    def f(rows):
        return fp.vmap(lambda p, q: SHARED[case](p, q, rows), reduce="sum")(rows, rows)

    rows = np.arange(1.0, 7.0).reshape(3, 2)
    expected = 2.0 * rows + [10.0, 0.0]
    for slope in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda rows: fp.grad(f)(rows * 1.0))):
        assert_allclose(slope(rows), expected, rtol=1e-12)
