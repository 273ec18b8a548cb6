"""Numbers chosen by index, by condition, by place in a matrix, and changed there, against NumPy on every front."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import gates, reference
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

PLACES = np.array([[0, -1, 2], [1, 1, 0]])

ROWS = {
    "take_along_axis": (lambda m, a: m.take_along_axis(a, PLACES, axis=1), block(2, 3)),
    "take_along_axis 0": (lambda m, a: m.take_along_axis(a, PLACES[:1] % 2, 0), block(2, 3)),
    "take_along_axis of one index": (lambda m, a: m.take_along_axis(a, np.array([[1]]), 1), block(2, 3)),
    "take_along_axis of all": (lambda m, a: m.take_along_axis(a, np.array([0, 5]), None), block(2, 3)),
    "take": (lambda m, a: np.take(a, PLACES, axis=0), block(3, 2)),
    "take of all": (lambda m, a: np.take(a, [0, 5, -1]), block(3, 2)),
    "diagonal": (lambda m, a: m.diagonal(a), block(2, 3)),
    "diagonal beside": (lambda m, a: m.diagonal(a, 1, -1, 0), block(3, 2, 3)),
    "diagonal of nothing": (lambda m, a: m.diagonal(a, 5), block(2, 3)),
    "diag of a matrix": (lambda m, a: m.diag(a, -1), block(3, 3)),
    "diag of a row": (lambda m, a: m.diag(a, 1), block(2)),
    "diag of a row below": (lambda m, a: m.diag(a, -1), block(2)),
    "tril": (lambda m, a: m.tril(a), block(2, 3)),
    "tril of several": (lambda m, a: m.tril(a, 1), block(2, 3, 3)),
    "triu": (lambda m, a: m.triu(a, -1), block(3, 3)),
    "boolean, integers and slices": (lambda m, a: a[np.array([True, False]), :, [0, 1]], block(2, 3, 4)),
    "an integer, a slice and integers": (lambda m, a: a[0, :, [0, 1]], block(2, 3, 4)),
    "integers behind a new axis": (lambda m, a: a[None, [1, 0, 1]], block(2, 2)),
}


@pytest.mark.parametrize(("f", "operands"), [(row[0], row[1:]) for row in ROWS.values()], ids=ROWS)
class TestAgainstNumPy:
    def test_values(self, f, operands):
        check_values(f, *operands, exact=True)

    def test_derivatives(self, f, operands):
        check_derivatives(f, *operands)


def test_select_against_numpy():
    def f(m, a, b):
        return m.select([a > 0.5, b > 0.0], [a * b, b], -a)

    check_values(f, block(3, 3), block(3, 3))
    check_derivatives(f, block(3, 3), block(3, 3))


UPDATES = {  # what is changed, and the shape of what is put there
    "one number": ((1, 2), block()),
    "a row": (1, block(3)),
    "a number everywhere in a row": (0, block()),
    "a column": ((slice(None), 1), block(2)),
    "slices": ((slice(None, None, -1), slice(0, 2)), block(2, 2)),
    "ellipsis": ((..., -1), block()),
    "integers": (([0, 1, 1], [2, 0, 1]), block(3)),
    "rows by integers": (np.array([1, 0]), block(2, 3)),
    "a mask": (np.array([[True, False, True], [False, False, True]]), block(3)),
    "nothing": (np.zeros((2, 3), bool), block(0)),
}


UFUNCS = {"add": np.add, "multiply": np.multiply, "divide": np.divide, "max": np.maximum, "min": np.minimum}


class TestAt:
    """What NumPy does in place, and the same as a functional update."""

    @pytest.mark.parametrize(("index", "value"), UPDATES.values(), ids=UPDATES)
    def test_updates_are_numpys(self, index, value):
        def changed(m, a, v, name):
            if m is np and isinstance(a, np.ndarray):
                a = a.copy()
                if name == "set":
                    a[index] = v
                else:
                    UFUNCS[name].at(a, index, v)
                return a
            if m is fp and isinstance(a, np.ndarray):  # plain arrays have no at
                found = getattr(fp.at(a)[index], name)(v)
                assert type(found) is np.ndarray
                assert_array_equal(found, changed(np, a, v, name))
            return getattr((fp.Array(a) if isinstance(a, np.ndarray) else a).at[index], name)(v)

        for name in ("set", *UFUNCS):
            value = value if np.shape(value) else float(value)
            check_values(lambda m, a, v, name=name: changed(m, a, v, name), block(2, 3), value, traced=False)
            traced = fp.compile(lambda a, v, name=name: getattr(a.at[index], name)(v))
            a = block(2, 3)
            assert_array_equal(traced(a, value), changed(np, a, value, name))

    @pytest.mark.parametrize(("index", "value"), UPDATES.values(), ids=UPDATES)
    def test_pulls(self, engine, index, value):
        w = block(2, 3)
        given = value if value.shape else float(value)
        a, v = engine.Array(block(2, 3)), engine.Array(value) if value.shape else engine.Unit(given)
        a.at[index].set(v).backward(w)
        places = np.zeros((2, 3), bool)
        places[index] = True
        assert_array_equal(a.grad, np.where(places, 0.0, w))
        assert_allclose(np.sum(v.grad), np.sum(w[places]), rtol=1e-14, atol=1e-14)
        found = fp.grad(lambda a, v: fp.sum(a.at[index].add(v) ** 2), (0, 1))(block(2, 3), given)
        again = fp.compile(fp.grad(lambda a, v: fp.sum(a.at[index].add(v) ** 2), (0, 1)))(block(2, 3), given)
        assert np.shape(found[1]) == np.shape(again[1]) == value.shape

    @pytest.mark.parametrize(("index", "value"), UPDATES.values(), ids=UPDATES)
    @pytest.mark.parametrize("name", ["multiply", "divide", "max", "min"])
    def test_pulls_on_what_is_there_are_those_of_one_number_after_the_other(self, name, index, value):
        def changed(m, a, v):
            return getattr(fp.at(a)[index], name)(v)

        a, given = block(2, 3), value if value.shape else float(value)
        check_derivatives(changed, a, given, rtol=1e-5)
        places = np.atleast_1d(np.arange(6).reshape(2, 3)[index])

        def by_numbers(a, v):
            found, numbers = list(a.reshape(6)), fp.broadcast_to(v, places.shape)
            for place in np.ndindex(places.shape):
                found[places[place]] = gates.table[UFUNCS[name].__name__](found[places[place]], numbers[place])
            return fp.Array(found).reshape(2, 3)

        for found, expected in zip(
            fp.grad(lambda *x: fp.sum(changed(fp, *x) ** 2), (0, 1))(a, given),
            reference.grad(lambda *x: fp.sum(by_numbers(*x) ** 2), (0, 1))(a, given),
        ):
            assert_allclose(found, expected, rtol=1e-13, atol=1e-15)

    def test_an_index_named_twice(self, engine):
        check_edge(engine, lambda a, v: a.at[[0, 0]].set(v), ([1.0, 2.0, 3.0], [10.0, 20.0]), [20, 2, 3],
                   [[0, 1, 1], [0, 1]])  # fmt: skip
        check_edge(engine, lambda a, v: a.at[[0, 0]].add(v), ([1.0, 2.0, 3.0], [10.0, 20.0]), [31, 2, 3],
                   [[1, 1, 1], [1, 1]])  # fmt: skip

    def test_out_of_range_and_shapes_that_do_not_fit(self, engine):
        a = engine.Array([1.0, 2.0, 3.0])
        with pytest.raises(IndexError, match="index 5 is out of bounds for axis 0 with size 3"):
            a.at[5].set(0.0)
        with pytest.raises(ValueError, match=r"picks shape \(2,\), the value has \(3,\)"):
            a.at[:2].set([1.0, 2.0, 3.0])
        with pytest.raises(TypeError, match=r"a = a\.at\[i\]\.set\(v\)"):
            a[0] = 1.0

    def test_what_is_there(self, engine):
        a = engine.Array([[1.0, 2.0], [3.0, 4.0]])
        assert_array_equal(a.at[1].get().value, [3.0, 4.0])
        assert "the place 1 of an Array: use .set(value)" in repr(a.at[1])
        assert fp.compile(lambda a, i: a.at[i, 0].get())(a.value, np.int64(1)) == 3.0

    def test_plain_arrays_by_a_function(self):
        zeros = np.zeros(3)
        assert fp.at(zeros)[[0, 0]].add(1).tolist() == [2.0, 0.0, 0.0]
        assert fp.at(np.zeros(3, int))[1].set(2).dtype == np.int64
        assert fp.at(np.zeros(3, int))[1].set(0.5).tolist() == [0.0, 0.5, 0.0]
        assert fp.at([1, 2])[0].divide(2).tolist() == [0.5, 2.0]
        assert zeros.tolist() == [0.0, 0.0, 0.0]
        for gradient in (fp.grad, lambda f: fp.compile(fp.grad(f)), reference.grad):
            assert gradient(lambda v: fp.sum(fp.at(zeros)[1].set(v) ** 2))(3.0) == 6.0
        compiled = fp.compile(lambda v, i: (fp.at(zeros)[i].add(v), fp.at(np.arange(3.0))[i].get()))
        assert_array_equal(compiled(3.0, np.int64(2))[0], [0.0, 0.0, 3.0])
        assert compiled(3.0, np.int64(2))[1] == 2.0
        rows = fp.vmap(lambda v, i: fp.at(np.ones(3))[i].multiply(v))(np.array([4.0, 5.0]), np.array([0, 2]))
        assert_array_equal(rows, [[4.0, 1.0, 1.0], [1.0, 1.0, 5.0]])
        assert fp.at([fp.Unit(1.0), 2.0])[1].set(5.0).value.tolist() == [1.0, 5.0]
        for wrong in (2.0, "a", None, np.array(["a"])):
            with pytest.raises(TypeError, match=r"at: .* is no array; expected one of numbers, or an Array"):
                fp.at(wrong)
        with pytest.raises(TypeError, match=r"at: the value is .*; expected numbers"):
            fp.at(zeros)[0].set("a")

    def test_traced_integers(self):
        table, tokens = block(3, 2), np.array([2, 0, -3, 1])
        expected = [np.where(np.arange(3)[:, None] == token % 3, [7.0, 8.0], table) for token in tokens]
        f = fp.compile(fp.vmap(lambda a, i: a.at[i].set([7.0, 8.0]), in_axes=(None, 0)))
        assert_array_equal(f(table, tokens), expected)
        added = fp.compile(fp.vmap(lambda a, i: a.at[i, 1:].add(0.5), in_axes=(None, 0)))(table, tokens)
        assert_array_equal(added[1], table + 0.5 * (np.arange(3) == 0)[:, None] * [0, 1])
        several = fp.compile(lambda a, i: a.at[i].add(1.0))
        assert_allclose(several(table, tokens), table + np.array([[2.0], [1.0], [1.0]]), rtol=1e-15)
        slopes = fp.compile(fp.grad(lambda a, i: fp.sum(a.at[i].set(0.0) * 3.0)))(table, np.int64(1))
        assert_array_equal(slopes, [[3, 3], [0, 0], [3, 3]])
        with pytest.raises(IndexError, match=r"out of bounds for an axis with size 3, in lane 1"):
            f(table, np.array([0, 3, 1, 2]))
        with pytest.raises(TypeError, match="at: beside traced integers"):
            fp.compile(lambda a, i: a.at[i, [0, 1]].set(0.0))(table, np.int64(1))

    def test_under_trace_without_integers(self):
        with pytest.raises(TypeError, match=r"a\.at\[i\]"):
            fp.compile(lambda a: a.__setitem__(0, 1.0))(np.ones(2))


def test_traced_indices_along_an_axis():
    a, places = block(2, 3), np.array([[2], [-3]])
    f = fp.compile(lambda a, i: fp.take_along_axis(a, i, axis=1))
    assert_array_equal(f(a, places), np.take_along_axis(a, places, 1))
    slopes = fp.compile(fp.grad(lambda a, i: fp.sum(fp.take_along_axis(a, i, axis=1))))(a, places)
    assert_array_equal(slopes, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("name", ["take_along_axis", "diagonal", "tril"])
def test_layouts(name):
    f, operand = ROWS[name]
    check_layouts(f, operand)


@settings(max_examples=20)
@given(shape=st.tuples(st.integers(0, 3), st.integers(0, 3)), k=st.integers(-4, 4), single=st.booleans())
def test_matrices_of_random_shapes(shape, k, single):
    x = fixed(*shape).astype(np.float32 if single else np.float64)
    for f in (np.tril, np.triu, np.diagonal, np.trace, np.diag):
        found, expected = f(fp.Array(x), k), f(x, k)
        assert_array_equal(found.value, expected)
        assert not np.ndim(expected) or found.dtype == expected.dtype


def test_methods(engine):
    x = fixed(3, 3)
    a = engine.Array(x)
    assert a.trace().value == pytest.approx(np.trace(x), rel=1e-15)
    assert a.trace(5).value == 0.0
    assert_array_equal(a.diagonal(1).value, x.diagonal(1))
    assert_array_equal(a.take([0, 4]).value, x.take([0, 4]))
    compiled = fp.compile(lambda a: a.trace() * a.diagonal())
    assert_array_equal(compiled(x), np.trace(x) * np.diagonal(x))
    assert compiled.cache_clear() is None


INF, NAN = np.inf, np.nan

EDGES = [
    (lambda m, a: m.tril(a), [[[1.0, NAN], [2.0, INF]]], [[1, 0], [2, INF]], [[[1, 0], [1, 1]]]),
    (lambda m, a: np.trace(a, 5), [[[1.0, 2.0], [3.0, 4.0]]], 0.0, [0]),
    (lambda m, a: a[[0, 0, 1]], [[1.0, 2.0, 3.0]], [1, 1, 2], [[2, 1, 0]]),
    (lambda m, a: a[np.int8(-1)], [[1.0, 2.0, 3.0]], 3.0, [[0, 0, 1]]),
    (lambda m, a: a[np.zeros(3, bool)], [[1.0, 2.0, 3.0]], [], [0]),
    (lambda m, a: m.take_along_axis(a, np.array([[1]]), 1), [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], [[2], [5]],
     [[[0, 1, 0], [0, 1, 0]]]),
    (lambda m, x: m.where(x > 0.0, m.sqrt(x), 0.0), [[0.0, 4.0, -1.0]], [0, 2, 0], [[0, 0.25, 0]]),
    (lambda m, x, low, high: m.clip(x, low, high), [[5.0, 0.0], [3.0, 3.0], [1.0, 1.0]], [1, 1], [[0, 0], [0, 0],
     [1, 1]]),
    (lambda m, x: m.clip(x, 0.0, 1.0), [[NAN]], [NAN], [[NAN]]),
    (lambda m, x, low: m.clip(x, low, 1.0), [[0.0], [NAN]], [NAN], [[NAN], [NAN]]),
    (lambda m, x, low: m.clip(x, low, 3.0), [[1.0], [1.0]], [1], [[1], [0]]),
    (lambda m, x: m.select([np.array([True]), np.array([True])], [x, 2.0 * x]), [[3.0]], [3], [[1]]),
]  # fmt: skip


@pytest.mark.parametrize(("f", "operands", "value", "gradients"), EDGES)
def test_edges(f, operands, value, gradients):
    check_edge_everywhere(f, operands, value, gradients)


OUT_OF_RANGE = [
    lambda a: a[5],
    lambda a: a[-4],
    lambda a: a[np.uint8(255)],
    lambda a: fp.take(a, 5),
    lambda a: fp.take(a, [0, 3]),
    lambda a: fp.take_along_axis(a, np.array([3]), 0),
    lambda a: a[np.array([True, False])],
    lambda a: a[0.5],
    lambda a: a[[0.5]],
    lambda a: fp.broadcast_to(a, (2, 4, 3))[:, [0, 1], [0, 1, 2]],
]


@pytest.mark.parametrize("call", OUT_OF_RANGE)
def test_indices_out_of_range(call):
    for a in (fp.Array([1.0, 2.0, 3.0]), None):
        with pytest.raises((IndexError, TypeError) if a is None else IndexError, match=r".{20}"):
            call(a) if a is not None else fp.compile(call)(np.ones(3))


REFUSED = {
    "take_along_axis of fewer axes": (lambda a: fp.take_along_axis(a, np.array([1]), 1), "expected as many axes"),
    "take_along_axis of another shape": (
        lambda a: fp.take_along_axis(a, np.zeros((3, 1), int), 1),
        "differ in more than axis 1",
    ),
    "select of fewer choices": (lambda a: fp.select([a > 0.0], []), "1 conditions and 0 choices"),
    "diagonal of a row": (lambda a: fp.diagonal(a[0]), "two axes or more"),
    "diagonal along one axis": (lambda a: fp.diagonal(a, 0, 1, -1), "two different ones"),
    "tril of a row": (lambda a: fp.tril(a[0]), "expected matrices"),
    "diag": (lambda a: fp.diag(a[None]), "expected one or two axes"),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(call, text):
    check_refused(call, text)


def test_conditions_must_be_truth_values():
    with pytest.raises(TypeError, match=r"condition 0 is .*; expected truth values"):
        fp.select([np.array([1.0])], [fp.Array([1.0])])
