"""What is an integer among arguments, what stays one, and what is none; indexing at its edges."""

import copy

import numpy as np
import pytest

import fastprop as fp
import fastprop.reference
from fastprop import reference
from fastprop.engine.integers import Integer
from fastprop.engine.trace import NAMES, Draft
from indices import COLUMNS, EXPRESSIONS, ROWS, TABLE, judged, judged_gradient, unharmed

# What is no index -----------------------------------------------------------------------------------------------------

LIST, ARRAY = [1.0, 2.0, 3.0], np.arange(3.0)


@pytest.mark.parametrize(
    "f, match",
    [
        (lambda T, i: LIST[i], r"fp\.take\(table, i, axis=0\)"),
        (lambda T, i: tuple(LIST)[i], r"fp\.take\(table, i, axis=0\)"),
        (lambda T, i: ARRAY[i], r"fp\.take\(table, i, axis=0\)"),
        (lambda T, i: ARRAY[np.arange(2) + i], r"fp\.take\(table, i, axis=0\)"),
        (lambda T, i: np.take(ARRAY, i), "fp.take"),
        (lambda T, i: range(3)[i], r"fp\.take\(table, i, axis=0\)"),
        (lambda T, i: T[i * 1.0], "only integers"),
        (lambda T, i: T[i / 1], "only integers"),
        (lambda T, i: T[i + T[0, 0]], "only integers"),
        (lambda T, i: T[fp.maximum(i, 0)], "only integers"),
        (lambda T, i: T[(np.arange(2) + i) * 0.5], "only integers"),
        (lambda T, i: T[i : i + 2], r"bounds of a slice are plain integers.*a\[i \+ np.arange\(n\)\]"),
        (lambda T, i: int(i), "bake"),
        (lambda T, i: float(i), "bake"),
    ],
)
@pytest.mark.parametrize("front", [fp.compile, lambda f: fp.vmap(f, (None, 0))], ids=["compile", "vmap"])
def test_what_is_no_index_is_refused(f, match, front):
    index = np.int64(1) if front is fp.compile else np.array([1, 2])
    unharmed(lambda: front(f)(TABLE, index), TypeError, match)


@pytest.mark.parametrize(
    "f", [lambda i: 1.0 / (i * -2), lambda i: 1.0 / -i, lambda i: 1.0 / (i // -2), lambda i: 1.0 / (i % np.int64(-2))]
)
def test_integers_have_no_negative_zero(f):
    for i in (np.int64(0), np.array([0, 3])):
        with np.errstate(divide="ignore"):
            expected = f(i)
        np.testing.assert_array_equal(fp.compile(f)(i), expected)
    np.testing.assert_array_equal(fp.vmap(f)(np.array([0, 3])), expected)
    np.testing.assert_array_equal(fp.compile(fp.vmap(f))(np.array([0, 3])), expected)


@pytest.mark.parametrize("index", [1, 1.0, np.float64(1.0)])
def test_pythons_integers_stay_numbers(index):
    unharmed(
        lambda: fp.compile(lambda T, i: T[i])(TABLE, index),
        TypeError,
        "NumPy integers .np.int64.2., where 2 is a float. among the arguments",
    )


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


@pytest.mark.parametrize(
    "f",
    [
        lambda T, k: T[:, 0, ..., k],
        lambda T, k: T[:, k % 2, ..., 0],
        lambda T, k: T[..., k % 3, :, k],
        lambda T, k: T[k % 3, ..., k % 2, k],
    ],
)
def test_an_ellipsis_of_no_axes_parts_indices(f):
    table, k = np.arange(24.0).reshape(3, 2, 4), np.array([3, 0])
    np.testing.assert_array_equal(fp.compile(f)(table, k), f(table, k))
    np.testing.assert_array_equal(fp.vmap(f, (None, 0))(table, np.stack([k, k - 1]))[0], f(table, k))


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


# Of none of them ------------------------------------------------------------------------------------------------------

NONE = {
    "a slice": lambda i: i[:0],
    "rows": lambda i: i[None][:0],
    "by a mask": lambda i: i[i > 7],
    "by a list": lambda i: i[[]],
    "by what is traced": lambda i: i[i[:0]],
    "a sum": lambda i: i[:0] + 1,
    "of two": lambda i: i[:0] // i[:0],
    "put together": lambda i: np.concatenate([i[:0], i[3:]]),
    "stacked": lambda i: np.stack([i[:0], i[:0]]),
    "in another shape": lambda i: i[:0].reshape(0, 3).T,
    "flipped": lambda i: np.flip(i[:0]),
    "taken": lambda i: np.take(i, i[:0]),
    "clipped": lambda i: np.clip(i[:0], 0, 1),
    "chosen": lambda i: np.where(i[:0] > 0, i[:0], 1),
}


@pytest.mark.parametrize("front", [fp.compile, lambda f: lambda i: fp.compile(fp.vmap(f))(np.stack([i, i]))[1]])
@pytest.mark.parametrize("case", NONE)
def test_no_integers_are_integers_all_the_same(case, front):
    i = np.array([2, 0, 1])
    expected = NONE[case](i)
    assert expected.dtype == np.int64

    def kind(i):
        found = NONE[case](i)
        assert found.shape == expected.shape
        return np.ones(1) * (found.dtype == np.int64)

    assert front(kind)(i) == 1.0
    np.testing.assert_array_equal(front(lambda i: np.concatenate([np.ravel(NONE[case](i)), i]))(i), i)


@pytest.mark.parametrize(
    "f",
    [
        lambda T, i: T[fp.pad(i[:0], 2, constant_values=1)],
        lambda T, i: T[fp.pad(i[:0] + 1, (1, 0))],
        lambda T, i: T[fp.diag(i[:0], k=2)],
        lambda T, i: fp.scan(lambda total, k: (total + T[k], T[k]), T[0], i[:0])[0],
        lambda T, i: fp.scan(lambda total, k: (total + T[k], T[k]), T[0], i[:0])[1],
    ],
)
def test_what_is_made_of_no_integers_indexes(f):
    i = np.array([2, 0, 1])
    expected = f(TABLE, i)
    for found in (fp.compile(f)(TABLE, i), fp.compile(fp.vmap(f, (None, 0)))(TABLE, np.stack([i, i]))[1]):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("f", [lambda i: i[:0] * 0.5, lambda i: i[:0] / 2, lambda i: np.concatenate([i[:0], i * 0.5])])
def test_what_is_made_of_no_integers_and_floats_is_none(f):
    i = np.array([2, 0, 1])
    assert fp.compile(lambda i: np.ones(1) * (f(i).dtype == np.float64))(i) == 1.0


TENS = np.array([10.0, 20.0, 30.0])
LANES = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 2.0]])


def test_steps_keep_integers_that_are_differentiated():
    def kept(x, labels):
        return (x[fp.scan(lambda c, label: (c, label), 0.0, labels)[1]] * np.array([1.0, 2.0, 3.0])).sum()

    def carried(x, labels):
        return x[fp.scan(lambda c, label: (c + label - 1, None), 0, labels)[0]] * 2.0

    labels = np.array([0, 2, 1])
    for f, expected in ((kept, [1.0, 3.0, 2.0]), (carried, [2.0, 0.0, 0.0])):
        for gradient in (fp.grad(f, (0, 1)), fp.compile(fp.grad(f, (0, 1)))):
            found, nothing = gradient(TENS, labels)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(nothing, np.zeros(3))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (np.argmax, np.array([1, 0])),
        (np.argsort, np.array([[0, 2, 1], [1, 2, 0]])),
        (lambda row: 2, np.array([2, 2])),
        (lambda row: np.argmax(row) if row[0] > 2.0 else 1, np.array([1, 0])),
        (lambda row: np.argmax(row) if row[0] > 2.0 else 0.5, np.array([0.5, 0.0])),
        (lambda row: row > 2.0, LANES > 2.0),
        (lambda row: row[0] > 2.0, np.array([False, True])),
        (fp.vmap(lambda x: x > 2.0), LANES > 2.0),
    ],
    ids=["argmax", "argsort", "constants", "on two paths", "on one of two", "truths", "a truth", "inner"],
)
def test_maps_give_integers_and_truth_values(body, expected):
    for rows in (LANES, fp.Array(LANES)):
        found = fp.vmap(body)(rows)
        assert getattr(found, "dtype", None) == expected.dtype
        np.testing.assert_array_equal(getattr(found, "value", found), expected)
    np.testing.assert_array_equal(fp.compile(fp.vmap(body))(LANES), expected.astype(float))


def test_what_maps_give_of_integers_indexes_where_they_are_differentiated():
    def f(x, labels):
        return (x[fp.vmap(lambda label: label % 2)(labels)] * np.array([1.0, 2.0, 3.0])).sum()

    for gradient in (fp.grad(f, (0, 1)), fp.compile(fp.grad(f, (0, 1)))):
        np.testing.assert_array_equal(gradient(TENS, np.array([0, 2, 1]))[0], [3.0, 3.0, 0.0])


def test_a_number_on_a_later_path_is_no_index():
    def f(rows, x):
        return x[fp.vmap(lambda row: np.argmax(row) if row[0] < 2.0 else 0.5)(rows)]

    compiled = fp.compile(f)
    assert compiled(LANES[[0, 0]], TENS).tolist() == [20.0, 20.0]
    with pytest.raises(TypeError, match="only integers, slices and truth values are indices"):
        compiled(LANES, TENS)
    halves = fp.compile(lambda rows: fp.vmap(lambda row: np.argmax(row) if row[0] < 2.0 else 0.5)(rows))
    assert halves(LANES[[0, 0]]).tolist() == [1.0, 1.0]
    assert halves(LANES).tolist() == [1.0, 0.5]


CUT_OFF = {
    "an array": lambda x: fp.take(TENS, (x * 1.0).astype(int)),
    "arithmetic": lambda x: (x * 1.0).astype(np.int32) // 2,
    "truths": lambda x: np.where((x - 1.5).astype(bool), x, 7.0),
    "a number": lambda x: fp.take(TENS, x.sum().astype(int) - 5) * x[0],
    "beside it": lambda x: x * x.astype(int),
}


@pytest.mark.parametrize("f", CUT_OFF.values(), ids=CUT_OFF)
def test_astype_cuts_numbers_off_and_pulls_nothing(f):
    x = np.array([0.25, 1.5, -1.75, 2.75, 3.0])[: 5 if f is not CUT_OFF["an array"] else 4]
    expected = f(x)
    for found in (f(fp.Array(x)), f(reference.Array(x)), fp.compile(lambda x: f(x))(x)):
        np.testing.assert_array_equal(getattr(found, "value", found), expected)
    slope = {"truths": (x != 1.5) * 1.0, "beside it": np.trunc(x), "a number": [expected / x[0], 0, 0, 0, 0]}
    wanted = next((slope[name] for name in slope if CUT_OFF[name] is f), 0.0 * x)
    gradient = fp.grad(lambda x: fp.sum(f(x)))
    for found in (gradient(x), fp.compile(gradient)(x), reference.grad(lambda x: fp.sum(f(x)))(x)):
        np.testing.assert_array_equal(found, wanted)
    rows = np.stack([x, x])
    np.testing.assert_array_equal(fp.compile(fp.vmap(lambda x: f(x)))(rows), np.stack([expected, expected]))
    steps = fp.compile(lambda rows: fp.scan(lambda c, x: (c, f(x)), 0.0, rows)[1])
    np.testing.assert_array_equal(steps(rows), np.stack([expected, expected]))


# What can't be indexed by them ----------------------------------------------------------------------------------------

CAPTURED = np.arange(12.0).reshape(4, 3)
REFUSED = {
    "a row": lambda i: CAPTURED[i].sum(),
    "a number": lambda i: CAPTURED[i, 0],
    "a column": lambda i: CAPTURED[..., 0:2, i].sum(),
    "rows": lambda i: CAPTURED[[i, i]].sum(),
    "from there on": lambda i: CAPTURED[i:].sum(),
    "by NumPy": lambda i: np.take(CAPTURED, i, axis=0).sum(),
    "a list": lambda i: [1.0, 2.0, 3.0][i],
    "a tuple": lambda i: (1.0, 2.0, 3.0)[i],
    "a string": lambda i: float("123"[i]),
    "a length": lambda i: sum(range(i)),
}
RECORDING = {
    "compiled": lambda f: fp.compile(f)(np.int64(2)),
    "mapped": lambda f: fp.vmap(f)(np.array([2, 1])),
    "scanned": lambda f: fp.compile(lambda a: fp.scan(lambda c, i: (c + f(i), c), 0.0, a))(np.array([2, 1])),
}


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("front", RECORDING.values(), ids=RECORDING)
def test_what_is_plain_is_not_indexed_by_traced_integers(f, front):
    unharmed(lambda: front(f), TypeError, r"test_integers\.py:\d+: a traced integer.*fp\.take\(table, i, axis=0\)")


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED)
def test_nor_by_traced_numbers(f):
    unharmed(
        lambda: fp.compile(f)(2), TypeError, r"test_integers\.py:\d+: .*np\.int64\(2\) .* fp\.take\(table, i, axis=0\)"
    )


@pytest.mark.parametrize("n", [2, np.int64(2)])
def test_a_traced_length_is_told_of_static_arguments(n):
    def f(x, n):
        return fp.reshape(x, (n, 2)).sum(axis=n - 2)

    unharmed(lambda: fp.compile(f)(np.ones(4), n), TypeError, "length.* static_argnums of fp.compile")
    assert fp.compile(f, static_argnums=1)(np.ones(4), n).tolist() == [2.0, 2.0]


def test_nor_by_a_unit(engine):
    for made in (engine.Unit(2.0), engine.Array([1.0, 2.0])):
        with pytest.raises(TypeError, match="plain integers: take them from"):
            _ = [1.0, 2.0, 3.0][made]


@pytest.mark.parametrize(
    "f",
    [
        lambda i: fp.sum(fp.take(CAPTURED, i, axis=0)),
        lambda i: fp.sum(fp.Array(CAPTURED)[i]),
        lambda i: fp.sum(fp.take(CAPTURED, fp.take(np.array([3, 0, 2]), i), axis=0)),
        lambda i: fp.sum(fp.take(CAPTURED, fp.take(np.array([[3], [0], [2]]), i, axis=0)[0], axis=0)),
        lambda i: fp.where(fp.take(np.array([True, False, True]), i), 21.0, 9.0),
        lambda i: next(f() for k, f in enumerate([lambda: 3.0, lambda: 12.0, lambda: 21.0]) if k == i),
    ],
)
def test_what_the_refusal_advises_does(f):
    for front in RECORDING.values():
        found = front(f)
        found = [np.asarray(getattr(x, "value", x)) for x in (found if isinstance(found, tuple) else [found])]
        expected = f(2), f(1)
        expected = [getattr(x, "value", x) for x in expected]
        assert found[0].tolist() in (expected[0], expected, sum(expected))


def test_masks_that_are_traced():
    values = np.array([0.0, 3.0, 1.0, 2.0])
    unharmed(
        lambda: fp.compile(lambda x: CAPTURED[x > 1.5].sum())(values),
        TypeError,
        r"test_integers\.py:\d+: traced truth values.*fp\.where\(mask, x, 0\.0\), or fp\.Array\(x\)\[mask\]",
    )
    table = fp.Array(CAPTURED)
    for f in (lambda x: table[x > 1.5].sum(), lambda x: table[(x > 1.5) & np.array([True] * 4), 0:].sum()):
        compiled = fp.compile(f)
        for x in (values, values[::-1].copy(), values):
            assert compiled(x).value == CAPTURED[x > 1.5].sum()
        lanes = np.stack([values, values[::-1]])
        assert fp.vmap(f)(lanes).value.tolist() == [CAPTURED[x > 1.5].sum() for x in lanes]


def test_numbers_take_none():
    for index in (0.5, 1.0, [0.5], np.array([1.0])):
        unharmed(lambda: fp.take(CAPTURED, index), TypeError, "an index is an integer")  # noqa: B023
    assert fp.take([1, 2, 3], 1) == 2.0 and isinstance(fp.take([1, 2, 3], 1), float)
    assert [1.0, 2.0][fp.take(np.array([1, 0]), 0)] == 2.0
