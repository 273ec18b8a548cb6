"""Integers that index, in every front: the same numbers as NumPy's indexing, the gradient of the element chosen."""

import pickle

import numpy as np
import pytest

import fastprop as fp
from indices import COLUMNS, EXPRESSIONS, LANES, ROWS, TABLE, judged, judged_gradient, mapped, unharmed

# Values ---------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_elements_are_numpys(name):
    f = EXPRESSIONS[name]
    for front, found in FRONTS.items():
        np.testing.assert_allclose(found(f), judged(f), rtol=1e-13, atol=1e-15, err_msg=front)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_float32(name):
    f = EXPRESSIONS[name]
    found = fp.compile(fp.vmap(f, (None, 0, 0)), dtype="float32")(TABLE.astype(np.float32), ROWS, COLUMNS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, judged(f), rtol=3e-6, atol=1e-6)


# Gradients ------------------------------------------------------------------------------------------------------------


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
    along = fp.compile(lambda T, i, j, d: fp.jvp(lambda U: mapped(f)(U, i, j), (T,), (d,))[1])
    for place in np.ndindex(found.shape):
        direction = np.zeros_like(TABLE)
        direction[place] = 1.0
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


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients_go_to_the_element(name):
    f = EXPRESSIONS[name]
    for front, found in GRADIENTS.items():
        np.testing.assert_allclose(found(f), judged_gradient(f), rtol=1e-12, atol=1e-14, err_msg=front)


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


MAPS_IN_BODIES = {
    "of the row": lambda y, T, i: fp.vmap(lambda q: y * q, reduce="sum")(T[i]),
    "of the table": lambda y, T, i: T[i].sum() + fp.vmap(lambda q: q[1] * y, reduce="sum")(T),
    "that indexes": lambda y, T, i: fp.vmap(lambda q: q[i] * y, reduce="sum")(T),
    "not reduced": lambda y, T, i: T[i, 0] * fp.vmap(lambda q: q[1] * y)(T).sum(),
}


@pytest.mark.parametrize("name", MAPS_IN_BODIES)
def test_an_index_beside_a_map_in_a_body(name):
    body, table = MAPS_IN_BODIES[name], np.arange(12.0).reshape(4, 3)
    y, i = np.array([0.5, 0.6, 0.7]), np.array([0, 1, 2])
    expected = [float(body(a, table, b)) for a, b in zip(y.tolist(), i.tolist())]
    mapped = fp.vmap(body, (0, None, 0))
    np.testing.assert_allclose(mapped(y, table, i), expected, rtol=1e-14)
    np.testing.assert_allclose(fp.compile(mapped)(y, table, i), expected, rtol=1e-14)
    with pytest.raises(IndexError, match="lane 1"):
        fp.compile(mapped)(y, table, np.array([0, 9, 2]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_of_a_table_are_added_up_over_maps_of_maps(dtype):
    """The same rows in many lanes of both, also where the table varies over the outer ones."""
    generator = np.random.default_rng(5)
    tables = generator.normal(size=(70, 6, 3)).astype(dtype)
    tokens = generator.integers(-6, 6, size=(70, 9))

    def line(table, tokens):
        return fp.vmap(lambda i: fp.sum(fp.tanh(table[i]) * table[0]), reduce="sum")(tokens)

    expected = np.zeros((70, 6, 3))
    for k in range(70):
        for i in tokens[k]:
            row = tables[k, i].astype(float)
            expected[k, i] += (1.0 - np.tanh(row) ** 2) * tables[k, 0]
            expected[k, 0] += np.tanh(row)
    found = fp.compile(fp.grad(fp.vmap(line, reduce="sum")))(tables, tokens)
    np.testing.assert_allclose(found, expected, rtol=3e-5 if dtype is np.float32 else 1e-12, atol=1e-6)
    same = np.broadcast_to(tables[0], tables.shape)
    each = fp.compile(fp.grad(fp.vmap(line, reduce="sum")))(np.ascontiguousarray(same), tokens)
    one = fp.compile(fp.grad(fp.vmap(line, in_axes=(None, 0), reduce="sum")))(tables[0], tokens)
    np.testing.assert_allclose(one, each.sum(0), rtol=3e-5 if dtype is np.float32 else 1e-12, atol=1e-5)
