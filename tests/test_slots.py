"""Numbers of blocks by their slots: what is recorded at once is what is recorded number by number, gate for gate."""

import itertools
import operator

import numpy as np
import pytest

import fastprop as fp
from fastprop import gates
from fastprop.engine import kernels
from fastprop.engine.tape import CONSTANT, Trace, handles_at, record_gates, record_inputs, slots_of, values_at

SINGLE = [row for row in gates.table.values() if row.arity in (1, 2, 3) and row.partials[0] is not None]
SEQUENCES = ["sum", "mean", "prod", "max", "min", "logsumexp"]
ADD = kernels.opcode_of["add"]


def recorded(f, *args):
    """Return the gates of a trace, its constants and outputs, and the lines that recorded them."""
    recording = fp.trace(f, *args)._recording
    draft = recording.draft
    lines = {recording.line(slot).rpartition(":")[0] for slot in draft.origin.tolist()}
    return [draft.gate(i) for i in range(len(draft))], draft.constants.tolist(), draft.outputs.tolist(), lines


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row.name)
@pytest.mark.parametrize("constant", [None, 0, 1], ids=["", "first plain", "last plain"])
def test_gates_of_blocks_are_those_of_their_numbers(row, constant):
    if constant is not None and row.arity == 1:
        constant = None
    x = [np.linspace(0.2, 0.8, 6).reshape(2, 3) + 0.01 * k for k in range(row.arity)]
    plain = None if constant is None else constant * (row.arity - 1)

    def operands(given):
        return [x[k] if k == plain else part for k, part in enumerate(given)]

    def at_once(*given):
        return row(*operands(given))

    def one_by_one(*given):
        parts = operands(given)
        return fp.Array([[row(*[part[i, j] for part in parts]) for j in range(3)] for i in range(2)])

    found, expected = recorded(at_once, *x), recorded(one_by_one, *x)
    assert found[0] and found == expected
    assert found[3] == {__file__}
    np.testing.assert_array_equal(fp.trace(at_once, *x)(*x), fp.trace(one_by_one, *x)(*x))


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row.name)
def test_gates_of_constants_alone_are_constants(row):
    """Among the numbers of a block some are none: zeros around it."""

    def at_once(*given):
        return row(*[fp.pad(part, ((0, 1), (1, 0))) for part in given])

    def one_by_one(*given):
        zeros = [0.0] * row.arity
        rows = [[row(*zeros), *[row(*[part[i, j] for part in given]) for j in range(2)]] for i in range(2)]
        return fp.Array([*rows, [row(*zeros)] * 3])

    x = [np.linspace(0.2, 0.8, 4).reshape(2, 2) + 0.01 * k for k in range(row.arity)]
    assert recorded(at_once, *x)[0] == recorded(one_by_one, *x)[0]
    expected = row(*[np.pad(part, ((0, 1), (1, 0))) for part in x])
    np.testing.assert_allclose(fp.trace(at_once, *x)(*x), expected, rtol=1e-14)
    np.testing.assert_array_equal(fp.trace(at_once, *x)(*x), fp.trace(one_by_one, *x)(*x))


RELATIONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
OTHERS = {
    "block": lambda x, y: (x, y),
    "number": lambda x, y: (x, 0.5),
    "turned": lambda x, y: (np.float64(0.5), x),
    "plain": lambda x, y: (x, np.array([0.5, 0.2, np.nan])),
    "wide": lambda x, y: (x, y[:, :1]),
}


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.__name__)
@pytest.mark.parametrize("kind", OTHERS)
def test_blocks_are_compared_number_by_number(relation, kind):
    x = np.array([[0.5, 0.2, np.nan], [np.inf, 0.5, -0.0]])
    y = np.array([[0.5, 0.1, np.nan], [np.inf, 0.7, 0.0]])

    def at_once(x, y):
        return fp.where(relation(*OTHERS[kind](x, y)), x, 2.0 * y)

    def one_by_one(x, y):
        a, b = OTHERS[kind](x, y)
        a, b = [np.broadcast_to(part, (2, 3)) if not hasattr(part, "numbers") else part for part in (a, b)]
        b = fp.concatenate([b] * 3, axis=1) if b.shape == (2, 1) else b
        double = 2.0 * y
        rows = [[fp.where(relation(a[i, j], b[i, j]), x[i, j], double[i, j]) for j in range(3)] for i in range(2)]
        return fp.Array(rows)

    expected = at_once(x, y)
    for f in (at_once, one_by_one):
        np.testing.assert_array_equal(fp.compile(f)(x, y), expected)
        np.testing.assert_array_equal(fp.compile(fp.vmap(f))(np.stack([y, x]), np.stack([x, y]))[1], expected)
    kinds = [sorted(gate[0] for gate in recorded(f, x, y)[0]) for f in (at_once, one_by_one)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: (x < y) & (y < 0.6) | (x == 0.5),
        lambda x, y: ~(x < y) ^ (y < 0.6),
        lambda x, y: (x < y)[:, 1:] & np.array([True, False]),
        lambda x, y: (x < y).T,
        lambda x, y: fp.stack([x < y, x > y]),
        lambda x, y: (x < y) & (y[0] < 0.6),
        lambda x, y: (x != 0.0) & (y > 0.0),
        lambda x, y: (x < y) == (y < 0.6),
    ],
)
def test_truth_values_of_blocks_are_numpys(f):
    x, y = np.array([[0.5, 0.2, 0.9], [0.0, 0.5, -0.0]]), np.array([[0.5, 0.3, 0.1], [0.2, 0.7, 0.0]])
    expected = np.asarray(f(x, y)) * 1.0 if f.__code__.co_names[:1] != ("fp",) else np.stack([x < y, x > y]) * 1.0
    np.testing.assert_array_equal(fp.compile(lambda x, y: f(x, y) * 1.0)(x, y), expected)
    np.testing.assert_array_equal(fp.compile(lambda x, y: fp.where(f(x, y), 1.0, 0.0))(x, y), expected)
    assert fp.compile(lambda x, y: fp.count_nonzero(f(x, y)) * 1.0)(x, y) == expected.sum()


def test_an_if_on_one_truth_value_of_a_block_is_a_guard():
    def f(x):
        small = x < 1.0
        return x.sum() if small[1] else -x.sum()

    compiled = fp.compile(f)
    for x in ([0.0, 0.5], [0.0, 1.5], [3.0, 0.5]):
        assert compiled(np.array(x)) == (sum(x) if x[1] < 1.0 else -sum(x))


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_are_those_of_their_rows(name, axis, keepdims):
    x = np.linspace(0.5, 1.5, 24).reshape(2, 3, 4)
    row = gates.table[name]
    axes = tuple(range(3)) if axis is None else tuple(k % 3 for k in np.atleast_1d(axis))
    rest = [k for k in range(3) if k not in axes]

    def one_by_one(x):
        found = []
        for place in itertools.product(*[range(x.shape[k]) for k in rest]):
            index = [slice(None)] * 3
            for k, i in zip(rest, place):
                index[k] = i
            part = x[tuple(index)]
            found.append(row([part[i] for i in np.ndindex(part.shape)] if part.shape else [part]))
        shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape) if k in rest or keepdims)
        return fp.Array(found).reshape(shape) if shape else found[0]

    found = recorded(lambda x: row(x, axis=axis, keepdims=keepdims), x)
    assert found == recorded(one_by_one, x)
    assert found[3] == {__file__}


@pytest.mark.parametrize(
    "shapes", [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 2, 3), (3, 2))]
)
@pytest.mark.parametrize("plain", [None, 0, 1])
def test_products_are_dots(shapes, plain):
    x, y = (np.linspace(0.1, 1.0, int(np.prod(shape))).reshape(shape) for shape in shapes)

    def product(a, b):
        return (x if plain == 0 else a) @ (y if plain == 1 else b)

    def one_by_one(a, b):
        a, b = (x if plain == 0 else a), (y if plain == 1 else b)
        rows = a.reshape(int(np.prod(a.shape[:-1])), a.shape[-1])
        columns = b.reshape(b.shape[0], int(np.prod(b.shape[1:]))).T
        found = [
            fp.dot([rows[i, k] for k in range(rows.shape[1])], [columns[j, k] for k in range(rows.shape[1])])
            for i in range(len(rows))
            for j in range(len(columns))
        ]
        shape = (*a.shape[:-1], *b.shape[1:])
        return fp.Array(found).reshape(shape) if shape else found[0]

    assert recorded(product, x, y) == recorded(one_by_one, x, y)


def test_products_with_many_operands_are_recorded_in_parts(monkeypatch):
    x, y = np.linspace(0.0, 1.0, 15).reshape(5, 3), np.linspace(1.0, 2.0, 6).reshape(3, 2)
    whole = recorded(lambda a, b: a @ b, x, y)
    monkeypatch.setattr("fastprop.engine.slots.ROOM", 13)
    assert recorded(lambda a, b: a @ b, x, y) == whole


def test_numbers_and_parts_of_blocks_are_the_same_slots():
    def loss(w, x):
        one, other = w[0, 1], w[0][1]
        return fp.dot(w[1], x) + one * other + w.T[1, 0] + w.reshape(-1)[1] + w[:, 1][0]

    w, x = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0])
    value, slope = fp.compile(fp.value_and_grad(loss))(w, x)
    assert value == w[1] @ x + 1.0 + 3.0
    np.testing.assert_array_equal(slope, [[0.0, 5.0, 0.0], x])
    with pytest.raises(IndexError):
        fp.trace(lambda w: w[2], w)


def test_inputs_of_no_array_that_is_used_are_none():
    circuit = fp.trace(lambda x, y: y * 2.0, np.ones(1000), np.ones(3))
    assert circuit._recording.draft.inputs == 3


def test_what_is_not_there_is_refused():
    trace = Trace()
    first = record_inputs(trace, np.array([1.0, 2.0]))
    assert first == 0
    assert values_at(trace, np.array([1, 0], np.int32)).tolist() == [2.0, 1.0]
    for slots in ([[0, 2]], [[-1, 0]], [[0, CONSTANT]]):
        with pytest.raises(IndexError, match="among 2"):
            record_gates(trace, ADD, np.array(slots, np.int32))
    for slots, constants in (([[0]], None), ([[0, 1, 1]], None), ([[0, 1]], np.zeros((2, 2)))):
        with pytest.raises(ValueError, match=r"operands|place"):
            record_gates(trace, ADD, np.array(slots, np.int32), constants)
    for bad in (2, -1):
        with pytest.raises(IndexError):
            handles_at(trace, np.array([bad], np.int32))
        with pytest.raises(IndexError):
            values_at(trace, np.array([bad], np.int32))
    assert record_gates(trace, ADD, np.array([[0, CONSTANT]], np.int32), np.array([[0.0, 5.0]])) == 2
    unit = handles_at(trace, np.array([2], np.int32))[0]
    numbers = np.empty(2, object)
    numbers[0], numbers[1] = unit, 0.5
    slots, constants = slots_of(trace, numbers)
    assert (slots.tolist(), constants.tolist()) == ([2, CONSTANT], [0.0, 0.5])
    numbers[1] = fp.Unit(1.0)
    assert slots_of(trace, numbers) is None


@pytest.mark.parametrize("moved", ["T", "reshape", "flip", "tile", "conv"])
def test_blocks_with_constants_in_them_are_moved(moved):
    """A plain number among a block's is no slot, wherever it goes."""

    def f(a):
        padded = np.pad(a, 1)
        if moved == "conv":
            return fp.conv2d(a.reshape(1, 1, 2, 2), np.ones((1, 1, 3, 3)), padding=1)
        if moved == "reshape":
            return padded.reshape(2, 8)
        return padded.T if moved == "T" else np.flip(padded, 1) if moved == "flip" else np.tile(padded, (2, 1))

    a = np.arange(4.0).reshape(2, 2)
    expected = f(fp.Array(a)).value
    np.testing.assert_array_equal(fp.compile(f)(a), expected)
    np.testing.assert_array_equal(fp.compile(fp.vmap(f))(np.stack([a, 2.0 * a])), [expected, 2.0 * expected])


@pytest.mark.parametrize("name", ["any", "all", "count_nonzero"])
def test_conditions_of_no_numbers(name):
    f = getattr(fp, name)
    assert fp.compile(lambda x: f(x > 0.0) * 1.0)(np.zeros(0)) == getattr(np, name)(np.zeros(0))


def test_constants_of_a_block_keep_the_signs_of_their_zeros():
    """A gate on plain numbers among a block's is computed once for equal ones: 0 and -0 are not."""

    def f(x):
        return 1.0 / fp.concatenate([x, np.array([0.0, -0.0, 2.0])])

    x = np.array([1.0, 4.0])
    np.testing.assert_array_equal(fp.compile(f)(x), [1.0, 0.25, np.inf, -np.inf, 0.5])
    np.testing.assert_array_equal(fp.compile(fp.vmap(f))(np.stack([x, x]))[1], [1.0, 0.25, np.inf, -np.inf, 0.5])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: fp.concatenate([x > 0.0, np.ones((1, 3), bool)]),
        lambda x: fp.stack([x > 0.0, np.zeros((1, 3), bool)]),
        lambda x: fp.stack([x[0, 0] > 0.0, x[0, 1] > 0.0]),
        lambda x: (x > 0.0).reshape(3),
    ],
)
def test_truth_values_put_together_choose(f):
    x = np.array([[1.0, -2.0, 3.0]])
    np.testing.assert_array_equal(fp.compile(lambda x: fp.where(f(x), 5.0, 7.0))(x), fp.where(f(x), 5.0, 7.0))


@pytest.mark.parametrize(
    "f",
    [
        lambda s: fp.stack([s, True]) * 2.0,
        lambda s: -fp.stack([s, np.bool_(False)]),
        lambda s: fp.stack([s, s > 0.0]) - 1.0,
    ],
)
def test_truth_values_beside_numbers_count_as_such(f):
    np.testing.assert_array_equal(fp.compile(f)(1.5), f(1.5))
