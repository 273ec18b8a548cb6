"""Integers that index, in every front: the same numbers as NumPy's indexing, the gradient of the element chosen."""

import copy
import pickle

import numpy as np
import pytest

import fastprop as fp
import fastprop.reference
from fastprop.engine.integers import Integer
from fastprop.engine.trace import NAMES, Draft

RNG = np.random.default_rng(7)
TABLE = RNG.normal(size=(5, 3))
ROWS = np.array([0, 4, -5, -1, 2, 3, 3, -2])
COLUMNS = np.array([2, 0, -3, 1, -1, 0, 2, -2])
LANES = len(ROWS)

# Functions of a table and two integers, whose values on plain arrays are NumPy's.
EXPRESSIONS = {
    "an element": lambda T, i, j: T[i, j],
    "an element of a row": lambda T, i, j: T[i][j],
    "a row": lambda T, i, j: T[i].sum(),
    "rows": lambda T, i, j: (T[i] * T[j]).sum(),
    "a column": lambda T, i, j: T[:, j].sum(),
    "from the end": lambda T, i, j: T[-1 - i % 5, 0],
    "the next": lambda T, i, j: T[(i + 1) % 5].sum(),
    "twice as far": lambda T, i, j: T[2 * i % 5, 1],
    "half as far": lambda T, i, j: T[i // 2, 1],
    "a difference": lambda T, i, j: T[(i - j) % 5, 1],
    "a product": lambda T, i, j: T[i * j % 5, 1],
    "part of a row": lambda T, i, j: T[i, 1:].sum(),
    "a row backwards": lambda T, i, j: (T[i, ::-1] * np.arange(3.0)).sum(),
    "a new axis": lambda T, i, j: T[None, i].sum(),
    "an ellipsis": lambda T, i, j: T[..., j].sum(),
    "an ellipsis and a row": lambda T, i, j: T[i, ...].sum(),
    "beside a list": lambda T, i, j: (T[i, [0, 2]] * np.array([1.0, -2.0])).sum(),
    "beside a mask": lambda T, i, j: T[np.array([True, False, True, False, True]), j].sum(),
    "clipped": lambda T, i, j: T[np.clip(i, 0, 3), np.minimum(np.abs(j), 2)],
    "chosen": lambda T, i, j: T[np.where(i < 0, i + 5, i), np.maximum(-j, j) % 3],
    "of a transposed block": lambda T, i, j: T.T[j, i],
    "of what is computed": lambda T, i, j: (T * T + 1.0)[i, j],
    "and counted": lambda T, i, j: T[i, j] * j + i / 4.0,
    "taken": lambda T, i, j: fp.take(T, i, axis=0).sum(),
    "taken along the last axis": lambda T, i, j: fp.take(T, j, axis=-1).sum(),
    "taken from all": lambda T, i, j: fp.take(T, i * 2),
    "taken by NumPy": lambda T, i, j: np.take(T, i, axis=0).sum(),
    "taken from constants": lambda T, i, j: fp.take([0.5, 1.5, -2.0], j) * T[i, j],
    "several": lambda T, i, j: T[i, j] - T[i, 0] * T[0, j] + T[i, j] * T[i, j],
}


def judged(f):
    """The values in all lanes, by NumPy."""
    return np.array([f(TABLE, i, j) for i, j in zip(ROWS, COLUMNS)])


def one_by_one(f):
    compiled = fp.compile(f)
    return [compiled(TABLE, i, j) for i, j in zip(ROWS, COLUMNS)]


def replayed(f):
    circuit = fp.trace(f, TABLE, ROWS[1], COLUMNS[1])
    return [circuit(TABLE, i, j) for i, j in zip(ROWS, COLUMNS)]


def pickled(f):
    circuit = pickle.loads(pickle.dumps(fp.trace(f, TABLE, ROWS[1], COLUMNS[1])))
    return [circuit(TABLE, i, j) for i, j in zip(ROWS, COLUMNS)]


def batched(f):
    return fp.trace(f, TABLE, ROWS[1], COLUMNS[1]).batch(TABLE, ROWS, COLUMNS, in_axes=(None, 0, 0))


def bound(f):
    i, j = np.zeros(()), np.zeros(())
    run = fp.trace(f, TABLE, ROWS[1], COLUMNS[1]).bind(TABLE, i, j)
    found = []
    for i[...], j[...] in zip(ROWS, COLUMNS):
        run()
        found.append(run.value[()])
    return found


def bound_in_lanes(f):
    circuit = fp.trace(f, TABLE, ROWS[1], COLUMNS[1])
    run = circuit.bind(TABLE, ROWS * 1.0, COLUMNS * 1.0, in_axes=(None, 0, 0), reduce=None)
    run()
    return run.value


def elements(f):
    def all_of_them(T, rows, columns):
        return [f(T, rows[k], columns[k]) for k in range(LANES)]

    return fp.compile(all_of_them)(TABLE, ROWS, COLUMNS)


def captured(f):
    table = fp.Array(TABLE)
    compiled = fp.compile(lambda i, j: f(table, i, j))
    return [compiled(i, j).value for i, j in zip(ROWS, COLUMNS)]


def on_handles(f):
    return fp.vmap(f, (None, 0, 0))(fp.Array(TABLE), ROWS, COLUMNS).value


def passed_on(f):
    """To a compiled function, which is a gate on the table's numbers, with handles and integers in its arguments."""
    compiled = fp.compile(f)
    return [compiled(fp.Array(TABLE), i, j).value for i, j in zip(ROWS, COLUMNS)]


def around(f):
    """The table's row is taken outside of a map, whose body takes the number of it."""
    inner = fp.vmap(lambda T, i, j: f(T, i, j), (None, None, 0))
    return fp.compile(fp.vmap(lambda T, i, j: inner(T, i, j)[1], (None, 0, 0)))(
        TABLE, ROWS, np.stack([COLUMNS * 0, COLUMNS], 1)
    )


def nested(f):
    rows, columns = ROWS.reshape(4, 2), COLUMNS.reshape(4, 2)
    return fp.compile(fp.vmap(fp.vmap(f, (None, 0, 0)), (None, 0, 0)))(TABLE, rows, columns).ravel()


def with_everything_varying(f):
    return fp.vmap(f)(np.broadcast_to(TABLE, (LANES, 5, 3)), ROWS, COLUMNS)


FRONTS = {
    "compile": one_by_one,
    "trace": replayed,
    "pickle": pickled,
    "batch": batched,
    "bind": bound,
    "bind lanes": bound_in_lanes,
    "elements": elements,
    "captured": captured,
    "handles": on_handles,
    "vmap": lambda f: fp.vmap(f, (None, 0, 0))(TABLE, ROWS, COLUMNS),
    "compile(vmap)": lambda f: fp.compile(fp.vmap(f, (None, 0, 0)))(TABLE, ROWS, COLUMNS),
    "vmap(vmap)": nested,
    "gate": passed_on,
    "map in a map": around,
    "varying": with_everything_varying,
    "many lanes": lambda f: fp.vmap(f, (None, 0, 0))(TABLE, np.tile(ROWS, 300), np.tile(COLUMNS, 300)).reshape(
        300, LANES
    )[299],
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_elements_are_numpys(name, front):
    f = EXPRESSIONS[name]
    np.testing.assert_allclose(FRONTS[front](f), judged(f), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_float32(name):
    f = EXPRESSIONS[name]
    found = fp.compile(fp.vmap(f, (None, 0, 0)), dtype="float32")(TABLE.astype(np.float32), ROWS, COLUMNS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, judged(f), rtol=3e-6, atol=1e-6)


# Gradients ------------------------------------------------------------------------------------------------------------


def mapped(f):
    return fp.vmap(f, (None, 0, 0), reduce="sum")


def summed(f):
    """The same without a map."""

    def total(T, rows, columns):
        return fp.sum([f(T, rows[k], columns[k]) for k in range(LANES)])

    return total


def recorded(f):
    """A sweep that is recorded gate by gate."""
    return fp.compile(lambda T, i, j: fp.grad(lambda U: mapped(f)(U, i, j) * 1.0)(T) * 1.0)(TABLE, ROWS, COLUMNS)


def forward(f):
    """By tangents, one for every number of the table."""
    found = np.zeros_like(TABLE)
    for place in np.ndindex(found.shape):
        direction = np.zeros_like(TABLE)
        direction[place] = 1.0
        along = fp.compile(lambda T, i, j, d: fp.jvp(lambda U: mapped(f)(U, i, j), (T,), (d,))[1])
        found[place] = along(TABLE, ROWS, COLUMNS, direction)
    return found


def through_a_leaf(f):
    table = fp.Array(TABLE)
    fp.compile(lambda i, j: mapped(f)(table, i, j))(ROWS, COLUMNS).backward()
    return table.grad


def of_a_gate(f):
    table = fp.Array(TABLE)
    compiled = fp.compile(f)
    fp.sum([compiled(table, i, j) for i, j in zip(ROWS, COLUMNS)]).backward()
    return table.grad


def bound_gradient(f):
    circuit = fp.trace(f, TABLE, ROWS[1], COLUMNS[1])
    run = circuit.bind(TABLE, ROWS * 1.0, COLUMNS * 1.0, in_axes=(None, 0, 0), reduce="sum")
    run()
    return run.grad[0]


GRADIENTS = {
    "grad": lambda f: fp.grad(mapped(f))(TABLE, ROWS, COLUMNS),
    "compile(grad)": lambda f: fp.compile(fp.grad(mapped(f)))(TABLE, ROWS, COLUMNS),
    "compile(vmap(grad))": lambda f: fp.compile(fp.vmap(fp.grad(f), (None, 0, 0)))(TABLE, ROWS, COLUMNS).sum(0),
    "without a map": lambda f: fp.compile(fp.grad(summed(f)))(TABLE, ROWS, COLUMNS),
    "recorded": recorded,
    "forward": forward,
    "leaf": through_a_leaf,
    "gate": of_a_gate,
    "grad(compile)": lambda f: fp.grad(fp.compile(mapped(f)))(TABLE, ROWS, COLUMNS),
    "grad(vmap(compile))": lambda f: fp.grad(mapped(fp.compile(f)))(TABLE, ROWS, COLUMNS),
    "bind": bound_gradient,
}


def judged_gradient(f):
    """The gradient that Arrays on a tape have, at plain indices."""
    table = fp.Array(TABLE)
    for i, j in zip(ROWS.tolist(), COLUMNS.tolist()):
        f(table, i, j).backward()
    return table.grad


@pytest.mark.parametrize("front", GRADIENTS)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients_go_to_the_element(name, front):
    f = EXPRESSIONS[name]
    np.testing.assert_allclose(GRADIENTS[front](f), judged_gradient(f), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients_are_slopes(name):
    f = EXPRESSIONS[name]
    (slope,) = fp.numerical_grad(lambda T: judged_sum(f, T), (TABLE,))
    np.testing.assert_allclose(judged_gradient(f), slope, rtol=1e-6, atol=1e-6)


def judged_sum(f, T):
    return float(sum(f(T, i, j) for i, j in zip(ROWS, COLUMNS)))


def test_second_derivatives():
    def f(T, i, j):
        return T[i, j] ** 3 * T[j, i % 3]

    found = fp.compile(fp.hessian(lambda T: f(T, ROWS[1], COLUMNS[1])))(TABLE)
    assert np.count_nonzero(found) > 0
    again = fp.compile(lambda T, i, j: fp.hessian(lambda U: f(U, i, j))(T))(TABLE, ROWS[1], COLUMNS[1])
    np.testing.assert_allclose(again, found, rtol=1e-13)


def test_nothing_goes_to_elements_that_are_not_chosen():
    table = np.array([0.0, 4.0])
    f = fp.compile(fp.grad(lambda T, i: fp.sqrt(T)[i]))
    assert f(table, np.int64(1)).tolist() == [0.0, 0.25]
    assert f(table, np.int64(0)).tolist() == [np.inf, 0.0]


@pytest.mark.parametrize("wrap", [lambda f: f, fp.compile], ids=["eager", "compiled"])
def test_the_gradient_of_an_index_is_zero(wrap):
    f = wrap(fp.grad(mapped(EXPRESSIONS["several"]), argnums=(1, 2)))
    for gradient in f(TABLE, ROWS, COLUMNS):
        assert gradient.shape == ROWS.shape and not gradient.any()
    one = wrap(fp.grad(EXPRESSIONS["an element"], argnums=(1, 2)))
    assert one(TABLE, np.int64(1), np.int64(2)) == (0.0, 0.0)


@pytest.mark.parametrize("wrap", [lambda f: f, fp.compile], ids=["eager", "compiled"])
def test_an_integer_that_is_no_index_counts_as_a_float(wrap):
    assert wrap(fp.grad(lambda x: (x * x + x % 2).sum()))(np.array([1, 2, 3])).tolist() == [3.0, 5.0, 7.0]
    assert wrap(fp.grad(lambda x: x * x * 0.5))(np.int64(3)) == 3.0


# Out of range ---------------------------------------------------------------------------------------------------------


def unharmed(call, error, match):
    """Check that a call raises."""
    with pytest.raises(error, match=match):
        call()


BAD = [5, -6, 10**6, -(10**6), 2**40]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["an element", "a row", "part of a row", "taken", "several", "and counted"])
def test_an_index_out_of_range_names_itself_and_the_lane(name, bad):
    f = EXPRESSIONS[name]
    rows = ROWS.copy()
    rows[5] = bad
    one, lane = rf"index {bad} is out of bounds .*size 5$", rf"index {bad} is out of bounds .*size 5, in lane 5$"
    unharmed(lambda: fp.compile(f)(TABLE, np.int64(bad), 0 * COLUMNS[0]), IndexError, one)
    for make in (fp.compile(f), fp.trace(f, TABLE, ROWS[1], COLUMNS[1])):
        make(TABLE, ROWS[0], COLUMNS[0])
        unharmed(lambda make=make: make(TABLE, np.int64(bad), COLUMNS[0]), IndexError, one)
        np.testing.assert_allclose(make(TABLE, ROWS[0], COLUMNS[0]), f(TABLE, ROWS[0], COLUMNS[0]))
    whole = fp.vmap(f, (None, 0, 0))
    for g in (whole, fp.compile(whole), fp.compile(fp.grad(mapped(f))), fp.compile(fp.vmap(fp.grad(f), (None, 0, 0)))):
        unharmed(lambda g=g: g(TABLE, rows, COLUMNS), IndexError, lane)
        before = g(TABLE, ROWS, COLUMNS)
        unharmed(lambda g=g: g(TABLE, rows, COLUMNS), IndexError, lane)
        assert np.array_equal(g(TABLE, ROWS, COLUMNS), before)
    unharmed(lambda: whole(fp.Array(TABLE), rows, COLUMNS), IndexError, "in lane 5$")


def test_lanes_of_lanes_are_both_named():
    rows = ROWS.reshape(4, 2).copy()
    f = fp.compile(fp.vmap(fp.vmap(EXPRESSIONS["a row"], (None, 0, 0)), (None, 0, 0)))
    f(TABLE, rows, COLUMNS.reshape(4, 2))
    rows[2, 1] = 7
    unharmed(lambda: f(TABLE, rows, COLUMNS.reshape(4, 2)), IndexError, r"index 7 .*in lane \(2, 1\)$")


def test_the_first_lane_is_named_where_a_map_is_recorded():
    f = fp.vmap(EXPRESSIONS["a row"], (None, 0, 0))
    unharmed(lambda: f(TABLE, ROWS + 5, COLUMNS), IndexError, "in lane 0$")


def test_nothing_is_written_before_the_error():
    rows = np.tile(ROWS, 200)
    rows[-1] = 5
    circuit = fp.trace(EXPRESSIONS["a row"], TABLE, ROWS[0], COLUMNS[0])
    out = np.full(len(rows), 7.0)
    call = {"in_axes": (None, 0, 0), "out": out}
    unharmed(lambda: circuit.batch(TABLE, rows, np.tile(COLUMNS, 200), **call), IndexError, "in lane 1599$")
    assert (out == 7.0).all()
    run = circuit.bind(TABLE, rows * 1.0, np.tile(COLUMNS, 200) * 1.0, in_axes=(None, 0, 0), reduce=None, value=out)
    unharmed(run, IndexError, "in lane 1599$")
    assert (out == 7.0).all()
    table = fp.Array(TABLE)
    step = fp.compile(lambda i, j: mapped(EXPRESSIONS["a row"])(table, i, j))
    unharmed(lambda: step(rows, rows).backward(), IndexError, "in lane 1599$")
    assert not table.grad.any()


def test_an_index_that_a_map_made_is_out_of_range():
    def f(T, rows):
        return T[fp.vmap(lambda k: 2 * k)(rows)[1], 0]

    circuit = fp.trace(f, TABLE, np.array([0, 2]))
    assert circuit(TABLE, np.array([7, 1])) == TABLE[2, 0]
    unharmed(lambda: circuit(TABLE, np.array([0, 3])), IndexError, "an index is out of bounds .*size 5$")
    unharmed(lambda: fp.compile(f)(TABLE, np.array([0, 3])), IndexError, "index 6 is out of bounds .*size 5$")


def test_an_empty_axis_has_no_index():
    f = fp.compile(lambda T, i: T[i] + 0.0)
    unharmed(lambda: f(np.zeros(0), np.int64(0)), IndexError, "size 0")


@pytest.mark.parametrize("wrap", [lambda f: f, fp.compile], ids=["recorded", "compiled"])
def test_a_branch_that_is_not_taken_needs_no_index(wrap):
    def f(T, i, x):
        if i < 5:
            return T[i, 0] * x
        return x

    rows = np.array([0, 9, 4, 5, 2, 100, 1])
    x = np.arange(1.0, 8.0)
    expected = [TABLE[i, 0] * y if i < 5 else y for i, y in zip(rows, x)]
    g = wrap(fp.vmap(f, (None, 0, 0)))
    for _ in range(3):
        np.testing.assert_allclose(g(TABLE, rows, x), expected, rtol=1e-14)
    many = np.tile(rows, 100)
    np.testing.assert_allclose(g(TABLE, many, np.tile(x, 100)), np.tile(expected, 100), rtol=1e-14)
    many[33] = -6
    unharmed(lambda: g(TABLE, many, np.tile(x, 100)), IndexError, "index -6 .*in lane 33$")
    at_one_point = fp.compile(f)
    found = [at_one_point(TABLE, i, y) for i, y in zip(rows, x)]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    unharmed(lambda: at_one_point(TABLE, np.int64(-6), 1.0), IndexError, "index -6 ")


def test_an_outer_index_that_no_lane_reaches():
    def f(T, k, x):
        return fp.vmap(lambda y: T[k, 0] * y if y > 0 else T[k + 1, 0] * y - T[k - 1, 0])(x)

    def expected(k, x):
        return [TABLE[k, 0] * y if y > 0 else TABLE[k + 1, 0] * y - TABLE[k - 1, 0] for y in x]

    g = fp.compile(f)
    for x in ([1.0, 2.0], [1.0, -2.0], [-1.0, -2.0], [1.0, -1.0] * 400):
        np.testing.assert_allclose(g(TABLE, np.int64(1), np.array(x)), expected(1, x), rtol=1e-14)
    for h in (g, fp.compile(f)):
        np.testing.assert_allclose(h(TABLE, np.int64(4), np.array([1.0, 2.0])), expected(4, [1.0, 2.0]), rtol=1e-14)
        unharmed(lambda h=h: h(TABLE, np.int64(4), np.array([1.0, -2.0])), IndexError, "index 5 .* in lane 1$")
        np.testing.assert_allclose(h(TABLE, np.int64(1), np.array([1.0, -2.0])), expected(1, [1.0, -2.0]), rtol=1e-14)
    x = np.array([-1.0, -2.0])
    g(TABLE, np.int64(1), x)
    np.testing.assert_allclose(g(TABLE, np.int64(4), -x), expected(4, -x), rtol=1e-14)


def test_an_index_of_outer_and_inner_integers():
    def f(T, k, i, x):
        return fp.vmap(lambda j, y: T[k + j, 0] * y if y > 0 else T[k + j, 1] - T[k - j, 2])(i, x)

    def expected(k, i, x):
        return [TABLE[k + j, 0] * y if y > 0 else TABLE[k + j, 1] - TABLE[k - j, 2] for j, y in zip(i, x)]

    g, i, x = fp.compile(f), np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    other = x * [1.0, -1.0, 1.0, -1.0]
    np.testing.assert_allclose(g(TABLE, np.int64(3), i, x), expected(3, i, x), rtol=1e-14)
    # the second way is recorded where k was 3, at lanes that were out of range then
    np.testing.assert_allclose(g(TABLE, np.int64(1), 3 * i, other), expected(1, 3 * i, other), rtol=1e-14)
    unharmed(lambda: g(TABLE, np.int64(2), 3 * i, x), IndexError, r"bounds for an axis with size 5, in lane [13]$")
    unharmed(lambda: g(TABLE, np.int64(2), 3 * i, other), IndexError, r"bounds for an axis with size 5, in lane [13]$")
    np.testing.assert_allclose(g(TABLE, np.int64(3), i, other), expected(3, i, other), rtol=1e-14)


# What is no index -----------------------------------------------------------------------------------------------------

LIST, ARRAY = [1.0, 2.0, 3.0], np.arange(3.0)


@pytest.mark.parametrize(
    "f, match",
    [
        (lambda T, i: LIST[i], "make an fp.Array"),
        (lambda T, i: tuple(LIST)[i], "make an fp.Array"),
        (lambda T, i: ARRAY[i], "make an fp.Array"),
        (lambda T, i: ARRAY[np.arange(2) + i], "make an fp.Array"),
        (lambda T, i: np.take(ARRAY, i), "fp.take"),
        (lambda T, i: range(3)[i], "make an fp.Array"),
        (lambda T, i: T[i * 1.0], "only integers"),
        (lambda T, i: T[i / 1], "only integers"),
        (lambda T, i: T[i + T[0, 0]], "only integers"),
        (lambda T, i: T[fp.maximum(i, 0)], "only integers"),
        (lambda T, i: T[(np.arange(2) + i) * 0.5], "only integers"),
        (lambda T, i: T[:i], "bounds of a slice"),
        (lambda T, i: int(i), "bake"),
        (lambda T, i: float(i), "bake"),
    ],
)
@pytest.mark.parametrize("front", [fp.compile, lambda f: fp.vmap(f, (None, 0))], ids=["compile", "vmap"])
def test_what_is_no_index_is_refused(f, match, front):
    index = np.int64(1) if front is fp.compile else np.array([1, 2])
    unharmed(lambda: front(f)(TABLE, index), TypeError, match)


@pytest.mark.parametrize("index", [1, 1.0, np.float64(1.0)])
def test_pythons_integers_stay_numbers(index):
    unharmed(lambda: fp.compile(lambda T, i: T[i])(TABLE, index), TypeError, "NumPy integers among the arguments")


def test_too_many_indices():
    unharmed(lambda: fp.compile(lambda T, i: T[i, i, i])(TABLE, np.int64(1)), IndexError, "too many indices")


def test_a_circuit_wants_integers_where_it_was_recorded_with_some():
    f = EXPRESSIONS["an element"]
    circuit = fp.trace(f, TABLE, np.int64(1), np.int64(1))
    assert circuit(TABLE, 2, 1) == TABLE[2, 1]
    unharmed(lambda: circuit(TABLE, 2.0, 1), TypeError, "give integers")
    batch = {"in_axes": (None, 0, None)}
    unharmed(lambda: circuit.batch(TABLE, ROWS * 1.0, 1, **batch), TypeError, "give integers")
    point = np.array(5.0)
    unharmed(circuit.bind(TABLE, point, np.array(1.0)), IndexError, "index 5 is out of bounds")
    point[()] = 1.5
    run = circuit.bind(TABLE, point, np.array(1.0))
    unharmed(run, TypeError, "argument 1 holds other numbers than integers")
    lanes = circuit.bind(TABLE, ROWS + 0.5, COLUMNS * 1.0, in_axes=(None, 0, 0), reduce=None)
    unharmed(lanes, TypeError, "argument 1 holds other numbers than integers")


def test_forms_with_integers_and_floats_are_apart():
    kinds = []

    def f(T, i):
        kinds.append(type(i))
        return T[i, 0] if isinstance(i, Integer) else T[0, 0] * i

    g = fp.compile(f)
    for index in (1.0, np.int64(1), 2, np.int32(-1), np.array(1), np.float32(2.0)):
        expected = TABLE[int(index), 0] if isinstance(index, (np.integer, np.ndarray)) else TABLE[0, 0] * float(index)
        assert g(TABLE, index) == expected
    assert kinds.count(Integer) == 1 and kinds.count(fp.Unit) == len(kinds) - 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint64, np.int64, np.dtype(">i4")])
def test_integers_of_every_kind(dtype):
    rows = np.abs(ROWS).astype(dtype) % 5
    found = fp.vmap(EXPRESSIONS["an element"], (None, 0, 0))(TABLE, rows, COLUMNS)
    assert np.array_equal(found, TABLE[rows, COLUMNS])
    assert fp.compile(EXPRESSIONS["an element"])(TABLE, rows[0], COLUMNS[0]) == TABLE[rows[0], COLUMNS[0]]


def test_float32_refuses_integers_that_it_does_not_hold():
    table = TABLE.astype(np.float32)
    f = fp.compile(lambda T, i: T[i % 5, 0])
    assert f(table, np.int64(2**24)) == table[2**24 % 5, 0]
    unharmed(lambda: f(table, np.int64(2**24 + 1)), ValueError, "16777217.*float32")
    unharmed(lambda: f(table, np.int64(-(2**24) - 1)), ValueError, "16777217.*float32")
    g = fp.vmap(lambda T, i: T[i % 5, 0], (None, 0))
    unharmed(lambda: g(table, np.array([1, 2**24 + 1])), ValueError, "16777217.*float32")
    assert g(TABLE, np.array([1, 2**40 + 1]))[1] == TABLE[(2**40 + 1) % 5, 0]


# Integers stay integers -----------------------------------------------------------------------------------------------


def random_integer(rng, names, depth):
    """The text of a random expression of integers."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([*names, str(rng.integers(-4, 5))])
    left, right = (random_integer(rng, names, depth - 1) for _ in range(2))
    if rng.random() < 0.15:
        return f"(-{left})"
    return f"({left} {rng.choice(['+', '-', '*', '//', '%'])} {right})"


@pytest.mark.parametrize("seed", range(40))
def test_arithmetic_is_that_of_numpys_integers(seed):
    rng = np.random.default_rng(seed)
    text = f"(i + j * 0 + {random_integer(rng, ['i', 'j', 'k[0]', 'k[1]'], 4)})"
    f = eval(f"lambda T, i, j, k: T[{text} % 5, 0] * 1.0 + {text} / 8")
    i, j, k = rng.integers(-6, 7, 60), rng.integers(-3, 4, 60), rng.integers(-2, 3, (60, 2))
    with np.errstate(all="ignore"):
        expected = np.array([f(TABLE, *given) for given in zip(i, j, k)])
    np.testing.assert_allclose(fp.vmap(f, (None, 0, 0, 0))(TABLE, i, j, k), expected, rtol=1e-13)
    np.testing.assert_allclose(fp.compile(f)(TABLE, i[0], j[0], k[0]), expected[0], rtol=1e-13)
    whole = eval(f"lambda T, i, j, k0, k1: (T[{text.replace('k[0]', 'k0').replace('k[1]', 'k1')} % 5, 0] * 1.0)")
    with np.errstate(all="ignore"):
        expected = whole(TABLE, i, j, k[:, 0], k[:, 1])
    np.testing.assert_allclose(fp.compile(whole)(TABLE, i, j, k[:, 0], k[:, 1]), expected, rtol=1e-13)


@pytest.mark.parametrize("seed", range(30))
def test_random_indices_of_blocks(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, rng.integers(1, 4)))
    table = rng.normal(size=shape)
    parts = []
    together = tuple(rng.integers(1, 4, rng.integers(0, 3)))
    for n in shape:
        kind = rng.integers(5)
        parts.append(
            [
                slice(None),
                slice(None, None, -1),
                int(rng.integers(-n, n)),
                rng.integers(-n, n, together) if together else np.int64(rng.integers(-n, n)),
                np.int64(rng.integers(-n, n)),
            ][kind]
        )
    if rng.random() < 0.3:
        parts.insert(int(rng.integers(len(parts) + 1)), None)
    if rng.random() < 0.3 and len(parts) > 1:
        parts[-1] = Ellipsis
    traced = [p for p in parts if isinstance(p, (np.ndarray, np.integer))]

    def f(T, given):
        waiting = iter(given)
        return T[tuple(next(waiting) if isinstance(p, (np.ndarray, np.integer)) else p for p in parts)] * 1.0

    expected = f(table, traced)
    found = fp.compile(f)(table, traced)
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_array_equal(found, expected)
    gradient = fp.compile(fp.grad(lambda T, given: fp.sum(f(T, given) * 2.0) if np.ndim(expected) else f(T, given)))
    counts = np.zeros(shape)
    np.add.at(counts, tuple(parts), 2.0 if np.ndim(expected) else 1.0)
    np.testing.assert_array_equal(gradient(table, traced), counts)


def test_permutations_index_on():
    order = np.array([3, 1, 4, 0, 2])
    f = fp.compile(lambda T, order, i: T[order[order[i]], 0] + order[i])
    assert f(TABLE, order, np.int64(3)) == TABLE[order[order[3]], 0] + order[3]
    g = fp.vmap(lambda T, order, i: T[order[i]].sum(), (None, None, 0))
    np.testing.assert_allclose(g(TABLE, order, ROWS), TABLE[order[ROWS]].sum(1))


def test_what_a_map_makes_of_integers_stays_so():
    def f(T, i):
        return T[fp.vmap(lambda k: (k + 1) % 5)(i), 0].sum() + T[(2 * i) % 5, 1].sum()

    expected = TABLE[(ROWS + 1) % 5, 0].sum() + TABLE[2 * ROWS % 5, 1].sum()
    np.testing.assert_allclose(fp.compile(f)(TABLE, ROWS), expected)
    whole = fp.compile(lambda T, i: fp.vmap(EXPRESSIONS["a row"], (None, 0, None))(T, (i + 1) % 5, 0.0))
    np.testing.assert_allclose(whole(TABLE, ROWS), TABLE[(ROWS + 1) % 5].sum(1))


def test_conditions_are_indexed_too():
    f = fp.compile(lambda T, i: fp.where((T[:, 0] > 0)[i], T[i, 1], -1.0))
    for i in range(5):
        assert f(TABLE, np.int64(i)) == (TABLE[i, 1] if TABLE[i, 0] > 0 else -1.0)


def test_astype_says_what_is_an_integer():
    f = fp.compile(lambda T, i: (T[i.astype(np.int32), 0] + i.astype(float) / 2).sum())
    assert f(TABLE, ROWS) == (TABLE[ROWS, 0] + ROWS / 2).sum()
    unharmed(lambda: fp.compile(lambda T, i: T[i.astype(float)])(TABLE, ROWS), TypeError, "only integers")


def test_dtypes_say_what_is_an_integer():
    seen = []

    def f(i, x):
        seen.append([y.dtype for y in (i, i + 1, 2 * i, i // 2, -i, i[0], i[:2], i * 1.0, i / 2, x)])
        return x.sum()

    fp.compile(f)(ROWS, TABLE)
    assert [dtype.kind for dtype in seen[0]] == ["i"] * 7 + ["f"] * 3


# At its edges ---------------------------------------------------------------------------------------------------------


def test_classification():
    rng = np.random.default_rng(3)
    W, b, X = rng.normal(size=(10, 7)), rng.normal(size=10), rng.normal(size=(50, 7))
    labels = rng.integers(0, 10, 50)

    def loss(W, b, x, label):
        scores = W @ x + b
        return fp.logsumexp(scores) - scores[label]

    def by_hand(W, b, x, label):
        scores = fp.Array([fp.dot(list(W[k]), list(x)) + b[k] for k in range(10)])
        return fp.logsumexp(scores) - scores[label]

    scores = X @ W.T + b
    value = (np.log(np.exp(scores).sum(1)) - scores[np.arange(50), labels]).mean()
    slope = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    slope[np.arange(50), labels] -= 1.0
    for f in (loss, by_hand):
        step = fp.compile(fp.value_and_grad(fp.vmap(f, (None, None, 0, 0), reduce="mean"), argnums=(0, 1)))
        found, (dW, db) = step(W, b, X, labels)
        np.testing.assert_allclose(found, value, rtol=1e-13)
        np.testing.assert_allclose(dW, slope.T @ X / 50, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(db, slope.sum(0) / 50, rtol=1e-11, atol=1e-14)


def test_a_token_that_is_repeated_gets_all_its_gradients():
    def f(T, tokens):
        return (T[tokens[0]] * T[tokens[1]]).sum()

    gradient = fp.compile(fp.grad(fp.vmap(f, (None, 0), reduce="sum")))(TABLE, np.array([[1, 1], [1, 2], [-4, 2]]))
    expected = np.zeros_like(TABLE)
    expected[1] = 2 * TABLE[1] + 2 * TABLE[2]
    expected[2] = 2 * TABLE[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_the_passes_may_be_left_out():
    for passes in ((), ("combine", "schedule"), ("fold", "merge", "drop", "hoist"), ("schedule", "number", "recycle")):
        circuit = fp.trace(EXPRESSIONS["several"], TABLE, ROWS[0], COLUMNS[0], passes=passes)
        for i, j in zip(ROWS, COLUMNS):
            expected = EXPRESSIONS["several"](TABLE, i, j)
            np.testing.assert_allclose(circuit.value_and_grad(TABLE, i, j)[0], expected, rtol=1e-13)


def test_a_map_of_no_lanes():
    assert fp.vmap(EXPRESSIONS["an element"], (None, 0, 0))(TABLE, ROWS[:0], COLUMNS[:0]).shape == (0,)


def test_threads_give_the_same_bits():
    before = fp.get_num_threads()
    rows = np.random.default_rng(0).integers(-5, 5, 20_000)
    f = fp.compile(fp.value_and_grad(fp.vmap(lambda T, i: (T[i] * T[i - 1]).sum(), (None, 0), reduce="sum")))
    rows[rows == -5] = 0
    try:
        found = []
        for threads in (1, 2, 4):
            fp.set_num_threads(threads)
            found.append(copy.deepcopy(f(TABLE, rows)))
    finally:
        fp.set_num_threads(before)
    assert all(value == found[0][0] and np.array_equal(slope, found[0][1]) for value, slope in found)


ITEM = next(opcode for opcode, name in NAMES.items() if name == "item")


def test_a_draft_of_an_index_alone_is_refused():
    unharmed(lambda: Draft(1, [], [ITEM], [0, 1], [0], [0], [1], [], []), ValueError, "expected two or more")
    assert len(Draft(1, [], [ITEM], [0, 2], [0, 0], [0], [1], [], [])) == 1


def test_lists_of_traced_numbers_are_taken_from():
    f = fp.compile(lambda x, y, i: fp.take([x, y, x * y, 1.0], i) + fp.Array([x, y])[i % 2])
    for i in range(-4, 4):
        assert f(2.0, 3.0, np.int64(i)) == [2.0, 3.0, 6.0, 1.0][i] + [2.0, 3.0][i % 2]
    x, y = fp.Unit(2.0), fp.Unit(3.0)
    fp.take([x, y], 1).backward()
    assert (x.grad, y.grad) == (0.0, 1.0)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_reference_agrees(name):
    table = fp.reference.Array(TABLE)
    for i, j in zip(ROWS, COLUMNS):
        EXPRESSIONS[name](table, i, j).backward()
    np.testing.assert_allclose(table.grad, judged_gradient(EXPRESSIONS[name]), rtol=1e-13)


def test_eager_functions_index_as_they_are_written():
    f = fp.compile(fp.vmap(EXPRESSIONS["several"], (None, 0, 0)))
    with fp.eager():
        np.testing.assert_allclose(f(TABLE, ROWS, COLUMNS), judged(EXPRESSIONS["several"]))
        with pytest.raises(IndexError) as caught:
            f(TABLE, ROWS + (ROWS == 3) * 5, COLUMNS)
    assert caught.value.__notes__ == ["in lane 5"]


def test_take_of_plain_numbers():
    assert fp.take([1.0, 2.0, 3.0], -1) == 3.0
    assert fp.take(TABLE, 4) == TABLE.ravel()[4]
    np.testing.assert_array_equal(fp.take(TABLE, [0, 2], axis=1), TABLE[:, [0, 2]])
    np.testing.assert_array_equal(fp.take(fp.Array(TABLE), ROWS, axis=0).value, TABLE[ROWS])
    assert np.take(fp.Array(TABLE), 3).value == TABLE.ravel()[3]
    unharmed(lambda: fp.take(fp.Array(TABLE), 5, axis=0), IndexError, "out of bounds")
    unharmed(lambda: fp.take(fp.Array(TABLE), 0, axis=2), ValueError, "axis 2")
    unharmed(lambda: fp.take(fp.Array(TABLE), 0.5, axis=0), IndexError, "only integers")
    unharmed(lambda: fp.take(fp.Array(TABLE), fp.Unit(1.0), axis=0), TypeError, "plain number")
