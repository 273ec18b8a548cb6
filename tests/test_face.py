"""The face of handles: NumPy around Units, formats, equality, division with a floor, stale handles, and indices."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp
from fastprop import reference
from fastprop.engine import kernels

# NumPy around Units


def test_numpy_around_units(engine):
    x = engine.Unit(2.0)
    for product in (np.array([1, 2]) * x, x * np.array([1, 2]), np.multiply([1, 2], x)):
        assert isinstance(product, engine.Array)
        assert product.value.tolist() == [2.0, 4.0]
    for chosen in (np.where(True, x, 0.0), np.where(x > 1, x, 0.0), np.exp(x), np.maximum(x, 3), np.float64(2) * x):
        assert isinstance(chosen, engine.Unit)
    for refused in (float, np.asarray, np.float64, complex, int, math.floor, math.exp, lambda x: np.array([x, x])):
        with pytest.raises(TypeError):
            refused(x)


def test_formats(engine):
    loss = engine.Unit(1.23456) * 2.0
    assert f"{loss:.4f}" == "2.4691" and f"{loss:8.2e}" == "2.47e+00" and format(loss, "g") == "2.46912"
    assert f"{loss}" == str(loss) == repr(loss)
    with pytest.raises(ValueError):
        format(loss, "d")


def test_equality_with_what_is_no_number(engine):
    x = engine.Unit(2.0)
    for other in (None, "2.0", object(), [2.0], {}):
        assert (x == other) is False and (x != other) is True
        assert (other == x) is False
    assert x == 2 and x == np.float64(2.0) and x != 3
    assert x in [None, x] and [None, x].index(x) == 1
    with pytest.raises(TypeError):
        _ = x < None


# Every operand of a ufunc as NumPy hands it over, against Python's operators on plain floats.
OPERATORS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "**": lambda x, y: x**y,
    "maximum": np.maximum,
    "hypot": np.hypot,
    "arctan2": np.arctan2,
}


@pytest.mark.parametrize("f", OPERATORS.values(), ids=OPERATORS)
def test_numbers_of_numpy_on_either_side(engine, f):
    expected = f(np.float64(3.5), np.float64(1.5))
    for kind in (float, np.float64, np.float32, np.float16, np.array):
        y = engine.Unit(1.5)
        left = f(kind(3.5), y)
        x = engine.Unit(3.5)
        right = f(x, kind(1.5))
        assert isinstance(left, engine.Unit) and isinstance(right, engine.Unit)
        assert left.value == right.value == pytest.approx(expected, rel=1e-15)
        left.backward()
        right.backward()
        assert (x.grad, y.grad) == pytest.approx(fp.grad(f, argnums=(0, 1))(3.5, 1.5), rel=1e-15)


def test_ufuncs_of_one_operand_record_their_gate():
    for name, ufunc in ((name, getattr(np, name, None)) for name in kernels.opcode_of):
        if isinstance(ufunc, np.ufunc) and ufunc.nin == 1:
            x, y = fp.Unit(0.5), fp.Unit(0.5)
            by_numpy, by_us = ufunc(x), getattr(fp, name)(y)
            by_numpy.backward()
            by_us.backward()
            np.testing.assert_array_equal([by_numpy.value, x.grad], [by_us.value, y.grad])


def test_subclasses_of_units_meet_numpy():
    class Weight(fp.Unit):
        pass

    w = Weight(2.0)
    f = np.float64(3.0) * w + np.exp(w) - np.float64(1.0)
    f.backward()
    assert (f.value, w.grad) == (6.0 + math.exp(2.0) - 1.0, 3.0 + math.exp(2.0))


def test_ufuncs_on_traced_units_are_recorded():
    circuit = fp.trace(lambda x: np.float64(3.0) - x + np.exp(x) * np.float64(2.0), 1.0)
    assert circuit(0.0) == 5.0 and circuit.value_and_grad(0.0) == (5.0, 1.0)


# Division with a floor

DIVISIONS = [(7.0, 2.0), (-7.0, 2.0), (7.0, -2.0), (-7.0, -2.0), (1.0, 0.1), (0.0, 3.0), (-0.0, 3.0), (1e300, 1e-300)]
DIVISIONS += [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.0), (math.inf, 1.0), (1.0, math.inf), (-1.0, math.inf), (math.nan, 1.0)]


@pytest.mark.parametrize(("a", "b"), DIVISIONS)
def test_floor_divide_is_numpys(engine, a, b):
    with np.errstate(all="ignore"):
        expected = np.divmod(a, b)
        x, y = engine.Unit(a), engine.Unit(b)
        for quotient, rest in (divmod(x, y), divmod(a, y), divmod(x, b), np.divmod(x, y), (x // y, x % y)):
            assert_array_equal([quotient.value, rest.value], expected)
        u, v = engine.Array([a, a]), engine.Array([b, b])
        for quotient, rest in (divmod(u, v), divmod(a, v), divmod(u, b), np.divmod(u, v)):
            assert_array_equal(quotient.value, [expected[0]] * 2)
            assert_array_equal(rest.value, [expected[1]] * 2)
        assert_array_equal(fp.compile(lambda x, y: divmod(x, y))(a, b), expected)
        lanes = fp.vmap(lambda x, y: divmod(x, y))(np.full(9, a), np.full(9, b))
        assert_array_equal(lanes, [[part] * 9 for part in expected])


def test_the_slope_of_floor_divide_is_zero(engine):
    x, y = engine.Unit(7.5), engine.Unit(2.0)
    (x // y).backward(math.inf)
    assert (x.grad, y.grad) == (0.0, 0.0)
    assert engine.grad(lambda x: x * (x // 2.0))(7.5) == 3.0
    assert engine.hessian(lambda x: x * x * (x // 2.0))(7.5) == 6.0
    assert fp.compile(fp.grad(lambda x: x * (x // 2.0)))(7.5) == 3.0
    a = engine.Array([7.5, -7.5])
    (a * (a // 2.0)).backward([1.0, 1.0])
    assert_array_equal(a.grad, [3.0, -4.0])


# Stale handles

USES = [
    lambda fp, y: y.data,
    lambda fp, y: setattr(y, "data", 1.0),
    lambda fp, y: y.exp(),
    lambda fp, y: y // 2.0,
    lambda fp, y: divmod(7.0, y),
    lambda fp, y: np.float64(2.0) - y,
    lambda fp, y: np.multiply(y, 2.0),
    lambda fp, y: np.isnan(y),
    lambda fp, y: np.sum(y),
    lambda fp, y: np.where(True, y, 0.0),
    lambda fp, y: True * y,
    lambda fp, y: y == None,  # noqa: E711
    lambda fp, y: y != 1.0,
    lambda fp, y: y in [1.0],
    lambda fp, y: y > np.arange(2.0),
    lambda fp, y: round(y),
    lambda fp, y: format(y, ".3f"),
    lambda fp, y: fp.grad(lambda v: v * y)(1.0),
    lambda fp, y: fp.maximum(1.0, y),
    lambda fp, y: y @ np.ones(2),
]


@pytest.mark.parametrize("use", USES, ids=range(len(USES)))
def test_a_stale_handle_is_of_no_use(engine, use):
    for make in (lambda: engine.Unit(3.0) * 2.0, lambda: engine.Array([1.0, 2.0]) * 2.0):
        with engine.Tape() as tape:
            y = make()
        tape.reset()
        with pytest.raises(engine.StaleUnitError, match="reset"):
            use(engine, y)
        assert "stale" in repr(y)


# Indices

SHAPES = {"row": (5,), "table": (3, 4), "block": (2, 3, 4)}
INDICES = {
    "row": [
        2, -1, np.int64(3), np.uint8(1), np.array(2), slice(1, 4), slice(None, None, -2), [0, 2, 2], [-1, -5], [],
        np.array([4, 4, 4, 0]), np.array([[0, 1], [1, 2]]), np.array([], int), np.uint8([1, 3]), None, ..., (2,),
        np.array([True, False, True, False, True]), [False] * 5, np.zeros(5, bool), True, (slice(None), None),
    ],
    "table": [
        1, (1, 2), (-1, -1), (np.int8(2), 3), [0, 0, 2], ([0, 1, 1], [3, 2, 2]), (slice(None), [1, 1, 0]),
        (np.array([[0], [2]]), np.array([1, 3])), np.eye(3, 4, dtype=bool), np.array([True, False, True]),
        (np.array([True, False, True]), 2), (..., 1), (None, 1), ([2, 0], slice(1, 3)), (1, [0, 0, 3]),
        np.zeros((3, 4), bool),
    ],
    "block": [
        (1, 2, 3), (0, [1, 1], slice(None)), ([0, 1], slice(None), [3, 3]), (..., [0, 0]), (-1, ..., -1),
        np.ones((2, 3, 4), bool), (slice(None), np.eye(3, 4, dtype=bool)),
    ],
}  # fmt: skip
ROWS = [(name, index) for name, indices in INDICES.items() for index in indices]


@pytest.mark.parametrize(("name", "index"), ROWS, ids=lambda part: repr(part)[:30])
def test_indices(engine, name, index):
    numbers = np.arange(float(np.prod(SHAPES[name]))).reshape(SHAPES[name])
    a = engine.Array(numbers)
    part = a[index]
    expected = numbers[tuple(index) if isinstance(index, tuple) else index]
    assert isinstance(part, engine.Unit) == (np.shape(expected) == ())
    assert_array_equal(part.value, expected)
    pull = np.arange(1.0, 1.0 + np.size(expected)).reshape(np.shape(expected))
    part.backward(float(pull) if pull.shape == () else pull)
    gradient = np.zeros_like(numbers)
    np.add.at(gradient, tuple(index) if isinstance(index, tuple) else index, pull)
    assert_array_equal(a.grad, gradient)
    found = engine.grad(lambda a: a[index] * a[index] if np.shape(expected) == () else (a[index] * a[index]).sum())
    doubled = np.zeros_like(numbers)
    np.add.at(doubled, tuple(index) if isinstance(index, tuple) else index, 2.0 * expected)
    assert_array_equal(found(numbers), doubled)


OUTSIDE = [
    ((5,), 5, r"index 5 .*axis 0 .*size 5"),
    ((5,), -6, r"index -6 .*axis 0 .*size 5"),
    ((5,), np.int64(7), r"index 7 .*axis 0 .*size 5"),
    ((5,), [0, 9], r"index 9 .*axis 0 .*size 5"),
    ((5,), np.array([0, -8]), r"index -8 .*axis 0 .*size 5"),
    ((3, 4), (1, 4), r"index 4 .*axis 1 .*size 4"),
    ((3, 4), (3, 0), r"index 3 .*axis 0 .*size 3"),
    ((3, 4), (slice(None), [0, 4]), r"index 4 .*axis 1 .*size 4"),
    ((3, 4), ([0, 5], [0, 1]), r"index 5 .*axis 0 .*size 3"),
    ((3, 4), (0, 0, 0), "too many indices"),
    ((5,), np.array([True, False]), "(?i)boolean index.*axis 0"),
    ((3, 4), np.ones((4, 3), bool), "(?i)boolean index"),
    ((5,), 1.0, "integers"),
    ((5,), np.array([1.0]), "integer"),
    ((5,), "x", "integers"),
]


@pytest.mark.parametrize(("shape", "index", "message"), OUTSIDE, ids=lambda part: repr(part)[:30])
def test_indices_out_of_range(engine, shape, index, message):
    a = engine.Array(np.ones(shape))
    with engine.Tape() as tape:
        with pytest.raises(IndexError, match=message):
            a[index]
        with pytest.raises(IndexError, match=message):
            (a * 2.0)[index]
        assert len(tape) <= 1


def test_handles_are_no_indices(engine):
    a, x = engine.Array([1.0, 2.0]), engine.Unit(1.0)
    for index in (x, engine.Array([0.0, 1.0]), (x, 0), [x]):
        with pytest.raises(TypeError):
            a[index]


def test_an_index_that_changes_afterwards(engine):
    a, index, mask = engine.Array([1.0, 2.0, 3.0]), np.array([0, 2]), np.array([True, False, True])
    by_index, by_mask = a[index], a[mask]
    index[:], mask[:] = 1, False
    by_index.backward([1.0, 1.0])
    by_mask.backward([10.0, 10.0])
    assert_array_equal(a.grad, [11.0, 0.0, 11.0])


# A single number's indices

OF_NUMBERS = {
    "None": lambda x: x[None],
    "..., None": lambda x: x[..., None],
    "None, ...": lambda x: x[None, ...],
    "None twice": lambda x: x[None, None],
    "nothing": lambda x: x[()],
    "...": lambda x: x[...],
}
NUMBERS_ARE = {
    "handle": lambda f, x: f(fp.Unit(x)).value,
    "reference": lambda f, x: f(reference.Unit(x)).value,
    "an element": lambda f, x: f(fp.Array([x, 1.0])[0]).value,
    "compiled": lambda f, x: fp.compile(f)(x),
    "a compiled element": lambda f, x: fp.compile(lambda a: f(a[1]))(np.array([1.0, x])),
    "of no axes": lambda f, x: fp.compile(f)(np.array(x)),
    "mapped": lambda f, x: fp.vmap(f)(np.array([1.0, x]))[1],
    "scanned": lambda f, x: fp.compile(lambda a: fp.scan(lambda c, y: (c, f(y)), 0.0, a)[1])(np.array([1.0, x]))[1],
}


@pytest.mark.parametrize("f", OF_NUMBERS.values(), ids=OF_NUMBERS)
@pytest.mark.parametrize("front", NUMBERS_ARE.values(), ids=NUMBERS_ARE)
def test_a_number_gets_axes(f, front):
    expected = f(np.float64(2.5))
    assert_array_equal(front(f, 2.5), expected)
    assert np.shape(front(f, 2.5)) == np.shape(expected)

    def weighted(x):
        y = f(x * x)
        return (y * y).sum() if y.shape else y * y

    for grad in (fp.grad(weighted), reference.grad(weighted), fp.compile(fp.grad(weighted))):
        assert grad(2.5) == 62.5
    assert fp.vmap(fp.grad(fp.grad(weighted)))(np.array([1.0, 2.5])).tolist() == [12.0, 75.0]
    assert fp.jvp(weighted, (2.5,), (2.0,))[1] == 125.0


def test_a_number_has_no_other_indices(engine):
    for index in (0, -1, slice(None), (None, 0), (..., ...), True, [0], "a"):
        with pytest.raises(IndexError, match="has no axes: its indices are None"):
            _ = engine.Unit(2.0)[index]
    for iterated in (list, iter, sum, lambda x: [*x], lambda x: 1.0 in x):
        with pytest.raises(TypeError, match="itera"):
            iterated(engine.Unit(2.0))
    with pytest.raises(TypeError):
        len(engine.Unit(2.0))


def test_an_integer_with_an_axis_indexes():
    table = np.array([1.0, 2.0, 4.0])
    assert fp.compile(lambda t, i: t[i[None]])(table, np.int64(2)).tolist() == [4.0]
    assert fp.vmap(lambda i: fp.take(table, i[None]))(np.array([2, 0])).tolist() == [[4.0], [1.0]]
