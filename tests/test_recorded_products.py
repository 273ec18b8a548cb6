"""Products of matrices that are recorded as one gate: on every front as what they are, sums of products."""

import functools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.derivatives.recorded import _accumulate
from fastprop.engine import slots
from fastprop.engine.parts import Parts
from fastprop.engine.trace import NAMES, Draft, apart, drop, hoist, merge, reroll
from fastprop.training.diagnosis import first_bad_gate

NEVER = 1 << 60


@pytest.fixture
def whole(monkeypatch):
    """All products are recorded as one gate, however small they are."""
    monkeypatch.setattr(slots, "DEEP", 1)
    monkeypatch.setattr(slots, "LARGE", 1)


class OneGateFrom:
    """From how many terms, and products of numbers, on a product is one gate."""

    def __init__(self, value):
        self.value = value

    def __enter__(self):
        self.before = slots.DEEP, slots.LARGE
        slots.DEEP = slots.LARGE = self.value

    def __exit__(self, *error):
        slots.DEEP, slots.LARGE = self.before


def layer(x, w, b):
    return fp.tanh(x @ w + b)


def turned(x, w, b):
    return fp.tanh(w.T @ x.T + b[:, None])


def computed(x, w, b):
    return fp.tanh(fp.sin(x) @ fp.cos(w)) * b


def gram(x, w, b):
    y = x @ w
    return (y @ y.T) @ fp.tanh(y) + b


def side_by_side(x, w, b):
    half = w.shape[0] // 2
    return fp.tanh(fp.concatenate([x[:, half:], x[:, :half]], axis=1) @ fp.concatenate([w[half:], w[:half]])) + b


def two_and_biases(x, w, b):
    return fp.tanh(x @ w + (2.0 * x) @ (w * w) + b + 3.0 + b * b)


def same_bias_once(x, w, b):
    y = x @ w
    return fp.tanh(y[0] + y[-1] + b)


def last_row(x, w, b):
    return fp.tanh((x @ w)[-1] + b)


def diagonal(x, w, b):
    return fp.diagonal(x @ fp.sin(w)) * b[0]


def twins(x, w, b):
    return (x @ w) * fp.exp(x @ w) + (x @ w)[0] * b


def stacked(x, w, b):
    return fp.stack([x, 2.0 * x]) @ w * b


def bias_of_rows(x, w, b):
    return fp.tanh(x @ w + fp.stack([b * float(i) for i in range(len(x))]))


def vector(x, w, b):
    return fp.tanh(x[0] @ w + b) + fp.sum(x @ w[:, 0])


def inner_gradient(x, w, b):
    return fp.grad(lambda z: fp.sum(fp.tanh(z @ w + b)))(x) @ w


def inner_weights(x, w, b):
    return x @ fp.grad(lambda v: fp.sum(fp.tanh(x @ v + b)))(w)


def data(x, w, b):
    table = np.linspace(-1.0, 1.0, 5 * x.shape[0]).reshape(5, -1)
    return fp.tanh(table @ x @ w) + b


def branch(x, w, b):
    y = x @ w
    return y * 2.0 if y[0, 0] > y[-1, -1] else fp.exp(y) + b


KINDS = [
    *(layer, turned, computed, gram, side_by_side, two_and_biases, same_bias_once, last_row, diagonal, twins, stacked),
    *(bias_of_rows, vector, inner_gradient, inner_weights, data, branch),
]


def loss(kind, x, w, b):
    return fp.mean(kind(x, w, b) ** 2)


def operands(rows, depth, columns, seed, special=None):
    rng = np.random.default_rng(seed)
    x, w, b = rng.normal(size=(rows, depth)), rng.normal(size=(depth, columns)), rng.normal(size=columns)
    if special is not None:
        for array in (x, w, b):
            array.flat[rng.integers(array.size)] = special
    return x, w, b


def fronts(kind, x, w, b):
    """Return value, gradients, and a Hessian's product, as they are found: recorded now."""
    one = functools.partial(loss, kind)
    every = fp.value_and_grad(one, argnums=(0, 1, 2))
    xs = np.stack([x, 0.5 * x, -1.5 * x])

    def lanes(x, w, b):
        return fp.mean(fp.vmap(one, in_axes=(0, None, None))(x, w, b))

    def steps(x, w, b):
        return fp.scan(lambda total, x: (total + one(x, w, b), None), 0.0, x)[0]

    def product(x, w, b):
        directions = tuple(map(fp.stop_gradient, (x * 0.5, w * 2.0, b - 1.0)))
        return fp.jvp(fp.grad(one, argnums=(0, 1, 2)), (x, w, b), directions)[1]

    of_lanes = fp.value_and_grad(lanes, argnums=(0, 1, 2))
    of_steps = fp.value_and_grad(steps, argnums=(0, 1, 2))
    return {
        "eager": every(x, w, b),
        "compiled": fp.compile(every)(x, w, b),
        "lanes": fp.compile(of_lanes)(xs, w, b),
        "gradients in lanes": fp.compile(fp.vmap(every, in_axes=(0, None, None)))(xs, w, b),
        "weights in lanes": fp.compile(fp.vmap(every, in_axes=(None, 0, 0)))(x, np.stack([w, -w]), np.stack([b, b])),
        "scan": fp.compile(of_steps)(xs, w, b),
        "second": fp.compile(product)(x, w, b),
        "second in lanes": fp.compile(fp.vmap(product, in_axes=(0, None, None)))(xs, w, b),
    }


def agree(kind, x, w, b):
    """Compare all fronts, recorded with products as one gate, with those of sums."""
    with np.errstate(all="ignore"):
        with OneGateFrom(1):
            found = fronts(kind, x, w, b)
        with OneGateFrom(NEVER):
            expected = fronts(kind, x, w, b)
    expected["compiled"] = expected["eager"]
    for front in found:
        for one, other in zip(flat(found[front]), flat(expected[front]), strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-11, err_msg=front)


def flat(x):
    if isinstance(x, (tuple, list)):
        return [leaf for part in x for leaf in flat(part)]
    return [np.asarray(x)]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 7),
    depth=st.integers(1, 9),
    columns=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    special=st.sampled_from([None, None, 0.0, np.inf, np.nan]),
)
def test_one_gate_and_sums_of_products_are_the_same(rows, depth, columns, seed, kind, special):
    agree(kind, *operands(rows, depth, columns, seed, special))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same(kind):
    agree(kind, *operands(5, 8, 6, seed=4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 8, 5), (1, 12, 1), (6, 4, 6)])
def test_first_and_second_derivatives_are_right(kind, shape, whole):
    x, w, b = (0.3 * part for part in operands(*shape, seed=3))
    one = functools.partial(loss, kind)
    for function, args in ((one, (x, w, b)), (lambda w: fp.sum(fp.grad(one, argnums=1)(x, w, b) ** 2), (w,))):
        fp.check_grads(fp.compile(function), args)


@pytest.mark.parametrize("left_out", ["hoist", "merge", "drop", "combine", "reroll", "schedule", "number", "recycle"])
@pytest.mark.parametrize("kind", KINDS)
def test_passes_can_be_left_out(kind, left_out, whole):
    from fastprop.circuits.pipeline import PASSES

    x, w, b = operands(4, 8, 5, seed=1)
    passes = tuple(name for name in PASSES if name != left_out)

    def lanes(x, w, b):
        return fp.mean(fp.vmap(functools.partial(loss, kind), in_axes=(0, None, None))(fp.stack([x, x * 0.5]), w, b))

    for function in (functools.partial(loss, kind), lanes):
        every = fp.value_and_grad(function, argnums=(0, 1, 2))
        for a, b_ in zip(flat(fp.compile(every, passes=passes)(x, w, b)), flat(every(x, w, b)), strict=True):
            assert_allclose(a, b_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lanes", [1, 3, 16, 40, 200])
@pytest.mark.parametrize("kind", [layer, turned, two_and_biases, gram, last_row])
def test_a_lane_has_the_same_bits_among_any_number_of_others(kind, lanes, whole):
    x, w, b = operands(5, 9, 6, seed=2)
    xs = np.stack([x * (1.0 + 0.01 * k) for k in range(lanes)]).astype(np.float32)
    every = fp.vmap(fp.value_and_grad(functools.partial(loss, kind)), in_axes=(0, None, None))
    w, b = w.astype(np.float32), b.astype(np.float32)
    found, alone = fp.compile(every)(xs, w, b), fp.compile(every)(xs[-1:], w, b)
    for many, one in zip(flat(found), flat(alone), strict=True):
        assert_array_equal(many[-1:], one)


def stray(x, w, n):
    total = 0.0
    while n > 0.0:
        y = x @ w
        total, n = total + fp.sum(y * y), n - 1.0
        if fp.sum(y) > 0.0:
            total = total * 0.5
    return total


def test_lanes_on_ways_that_are_not_kept(whole):
    rng = np.random.default_rng(0)
    xs, w, n = rng.normal(size=(40, 2, 4)), rng.normal(size=(4, 3)), rng.integers(0, 5, 40).astype(float)
    every = fp.vmap(fp.value_and_grad(stray, argnums=(0, 1)), in_axes=(0, None, 0))
    expected = [fp.value_and_grad(stray, argnums=(0, 1))(x, w, k) for x, k in zip(xs, n)]
    compiled = fp.compile(every)
    for _ in range(3):
        value, (on_x, on_w) = compiled(xs, w, n)
        for k, (one, (a, b)) in enumerate(expected):
            assert_allclose(value[k], one, rtol=1e-9)
            assert_allclose(on_x[k], a, rtol=1e-9, atol=1e-12)
            assert_allclose(on_w[k], b, rtol=1e-9, atol=1e-12)


# ----------------------------------------------------------------------------------------------------------- drafts


def a_draft(products, inputs=12, outputs=None):
    """Return a draft of products: (rows, left, right) each, whose operands are inputs."""
    constants, opcode, first, operand = [], [], [0], []
    batch, result = (next(code for code, name in NAMES.items() if name == kind) for kind in ("batch_matmul", "result"))
    for rows, left, right in products:
        if rows not in constants:
            constants.append(float(rows))
        head = inputs + len(opcode)
        depth = len(left) // rows
        opcode.append(batch)
        operand += [~constants.index(rows), *left, *right]
        first.append(len(operand))
        for _ in range(rows * (len(right) // depth) - 1):
            opcode.append(result)
            operand.append(head)
            first.append(len(operand))
    ends = range(inputs, inputs + len(opcode)) if outputs is None else outputs
    return Draft(inputs, constants, opcode, first, operand, range(len(opcode)), list(ends), [], [])


def names(draft):
    return [draft.gate(i)[0] for i in range(len(draft))]


def test_equal_products_become_one():
    twice = a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7]), (2, [0, 1, 2, 3], [4, 5, 6, 7])])
    one = merge(twice)
    assert len(one) == 4
    assert_array_equal(one.outputs, [12, 13, 14, 15, 12, 13, 14, 15])


def test_products_of_the_same_numbers_in_other_shapes_stay_apart():
    # a row of 2 with 3 columns of 2, and a row of 4 with a column of 4: the same operands
    numbers = [0, 1, 2, 3, 4, 5, 6, 7]
    both = a_draft([(1, numbers[:2], numbers[2:]), (1, numbers[:4], numbers[4:])])
    assert len(merge(both)) == len(both)


def test_rows_and_columns_that_nobody_uses_are_left_out():
    draft = a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7, 8, 9])], outputs=[12 + 3, 12 + 5])
    narrow = drop(draft)
    assert names(narrow) == ["batch_matmul", "result"]
    assert narrow.gate(0)[1][1:] == [2, 3, 4, 5, 8, 9]
    assert_array_equal(narrow.outputs, [12, 13])
    assert len(drop(a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7])], outputs=[0]))) == 0


def test_products_of_what_is_the_same_in_all_lanes_are_computed_once():
    draft = a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7])])
    once, rest = hoist(draft, np.arange(12) < 8)
    assert names(once)[0] == "batch_matmul" and len(rest) == 0
    once, rest = hoist(draft, np.arange(12) < 7)
    assert len(once) == 0 and names(rest)[0] == "batch_matmul"


RESULTS = range(28, 37)  # of 3 rows of 4 numbers, the first inputs, times 3 columns, the next ones; 4 more are biases


def with_sums(sums):
    """Return a draft of such a product, and sums of its results and of inputs: (name, operands)."""
    draft = a_draft([(3, range(12), range(12, 24))], inputs=28)
    code = {name: opcode for opcode, name in NAMES.items()}
    operand = [x for _, those in sums for x in those]
    first = np.cumsum([draft.first[-1], *[len(those) for _, those in sums]])[1:]
    return draft.replace(
        opcode=np.append(draft.opcode, [code[name] for name, _ in sums]).astype(np.uint8),
        first=np.append(draft.first, first).astype(np.int32),
        operand=np.append(draft.operand, operand).astype(np.int32),
        origin=np.arange(9 + len(sums), dtype=np.int32),
        outputs=np.arange(37, 37 + len(sums), dtype=np.int32),
    )


@pytest.mark.parametrize("weights", ["left", "right"])
def test_products_add_biases_of_all_results(weights):
    same = np.array([weights == "left"] * 12 + [weights == "right"] * 12 + [True] * 4)
    bias = np.repeat([24, 25, 26], 3) if weights == "left" else np.tile([24, 25, 26], 3)
    draft = with_sums([("add", [y, x]) for y, x in zip(RESULTS, bias.tolist())])
    assert names(reroll(draft, same)) == ["matmul"] + ["result"] * 8
    part = with_sums([("add", [y, x]) if y != RESULTS[4] else ("tanh", [y]) for y, x in zip(RESULTS, bias.tolist())])
    assert names(reroll(part, same)).count("add") == 2


def test_a_bias_of_a_sum_of_several_results_is_added_once():
    same = np.array([False] * 12 + [True] * 16)
    y = RESULTS
    sums = [("total", [y[0], y[3], 24]), ("total", [y[1], 25, y[4]]), ("add", [y[2], 26]), ("add", [y[5], 26])]
    found = reroll(with_sums([*sums, ("add", [y[8], 26])]), same)
    assert names(found)[9:] == ["total", "total"]
    assert found.gate(9)[1][2] == 24 and found.gate(10)[1][1] == 25


def test_apart_writes_sums_of_pairs():
    sums = apart(a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7])]))
    assert names(sums) == ["products"] * 4
    assert [sums.gate(i)[1] for i in (1, 2)] == [[0, 6, 1, 7], [2, 4, 3, 5]]


# ------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize("lanes", [False, True])
def test_operands_grow_as_the_matrices_and_not_as_their_product(lanes):
    def gates_and_operands(size):
        w, x = np.ones((size, size)), np.ones((3, size, size))
        body = functools.partial(lambda x, w: fp.sum(fp.tanh(x @ w)))
        circuit = fp.compile(fp.vmap(body, in_axes=(0, None)) if lanes else body)
        circuit(x if lanes else x[0], w)
        text = circuit.summary()
        return [int(line.split()[4]) for line in text.splitlines() if line.split()[:1] and line.split()[0] in STAGES]

    STAGES = {"recorded", "as", "expand", "combine", "reroll", "assembled"}
    small, large = gates_and_operands(24), gates_and_operands(96)
    assert small and all(b < 24 * a for a, b in zip(small, large)), (small, large)


def test_a_compiled_function_with_products_can_be_pickled(whole):
    x, w, b = operands(3, 8, 5, seed=0)
    circuit = fp.trace(functools.partial(loss, layer), x, w, b)
    again = pickle.loads(pickle.dumps(circuit))
    assert_allclose(again(x, w, b), circuit(x, w, b), rtol=1e-14)


def test_few_numbers_of_many_rows_and_columns_are_sums():
    draft = a_draft([(3, range(6), range(6, 12))], outputs=[12, 16, 20])
    diagonal = drop(draft)
    assert names(diagonal) == ["products"] * 3
    assert diagonal.gate(1)[1] == [2, 8, 3, 9]


# ------------------------------------------------------------------------------------------------ where there are ways


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 4])
def test_ties_with_sums_in_order_are_ties(rows, dtype, whole):
    def body(x, w):
        y, total = x @ w, 0.0
        for k in range(x.shape[1]):
            total = total + x[0, k] * w[k, 0]
        return 2.0 if y[0, 0] < total else 3.0 if y[0, 0] == total else 4.0

    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(rows, 40)).astype(dtype), rng.normal(size=(40, 5)).astype(dtype)
        mapped, alone = fp.compile(fp.vmap(body, in_axes=(0, None))), fp.compile(body)
        assert_array_equal(mapped(np.stack([x] * 3), w), [3.0] * 3)
        assert alone(x, w) == 3.0 and len(alone.cache_info()) == 1


def test_a_product_of_what_is_the_same_in_all_lanes_above_a_branch(whole):
    rng = np.random.default_rng(0)
    a, b, xs = rng.normal(size=(4, 5)), rng.normal(size=(5, 4)), rng.normal(size=200)

    def body(x, a, b):
        y = a @ b
        if x > 0.0:
            z = y[0, 1] * x + y[2, 2]
            for _ in range(40):
                z = fp.sin(z) * fp.exp(-z * z)
            return z
        z = y[1, 1] * x * x
        for _ in range(40):
            z = fp.cos(z) * fp.tanh(-z * z)
        return z

    every = fp.value_and_grad(body, argnums=(0, 1, 2))
    for mapped in (fp.vmap(every, in_axes=(0, None, None)), fp.compile(fp.vmap(every, in_axes=(0, None, None)))):
        found = mapped(xs, a, b)
        for k in (0, 7, 199):
            for one, other in zip(flat(found), flat(every(xs[k], a, b)), strict=True):
                assert_allclose(one[k], other, rtol=1e-9, atol=1e-12)


def test_ways_whose_products_differ_in_their_shapes_alone_stay_two(whole):
    def body(c, z):
        if c > 0.0:
            y = z[:4].reshape(2, 2) @ z[4:].reshape(3, 2).T
        else:
            y = z[:6].reshape(3, 2) @ z[6:].reshape(2, 2).T
        y = y.reshape(6)
        return y[0] + 2.0 * y[1] + 3.0 * y[2] + 4.0 * y[5]

    rng = np.random.default_rng(0)
    cs, zs = rng.normal(size=40), rng.normal(size=(40, 10))
    assert_allclose(fp.compile(fp.vmap(body))(cs, zs), [body(c, z) for c, z in zip(cs, zs)], rtol=1e-12)


# -------------------------------------------------------------------------------------------------- what looks at gates


def test_pictures_and_diagnoses_show_every_number():
    def function(x, w):
        return fp.sum(x @ w)

    x, w, _ = operands(2, 3, 2, seed=0)
    with OneGateFrom(NEVER):
        expected = fp.draw.circuit(function, x, w), fp.draw.circuit(fp.trace(function, x, w))
    with OneGateFrom(1):
        found = fp.draw.circuit(function, x, w), fp.draw.circuit(fp.trace(function, x, w))
        bad = first_bad_gate(function, (np.full((2, 3), np.inf), -w), np.dtype(np.float64))
    assert str(found[0]) == str(expected[0]) and str(found[1]).count("dot") == str(expected[1]).count("dot")
    assert bad.startswith("dot in ")


def test_what_only_unused_rows_need_is_left_out():
    first = a_draft([(2, [0, 1, 2, 3], [4, 5, 6, 7])])
    code = {name: opcode for opcode, name in NAMES.items()}
    head, n = 12, 4
    both = first.replace(  # (2 x 2) @ (2 x 2), the last row of the product of that with inputs 8 to 11
        opcode=np.append(first.opcode, [code["batch_matmul"], *[code["result"]] * 3]).astype(np.uint8),
        first=np.append(first.first, first.first[-1] + np.array([9, 10, 11, 12])).astype(np.int32),
        operand=np.concatenate([first.operand, [-1, *range(head, head + n), 8, 9, 10, 11], [head + n] * 3]),
        origin=np.arange(8, dtype=np.int32),
        outputs=np.array([18, 19], np.int32),
    )
    narrow = drop(both)
    assert names(narrow) == ["batch_matmul", "result"] * 2
    assert narrow.gate(0)[1][1:] == [2, 3, 4, 5, 6, 7] and narrow.gate(2)[1][1:] == [12, 13, 8, 9, 10, 11]


@pytest.mark.parametrize("count", [1.5, np.nan, 0.0, 4.0])
@pytest.mark.parametrize("name", ["matmul", "batch_matmul"])
def test_products_say_whole_numbers(name, count):
    code = next(opcode for opcode, known in NAMES.items() if known == name)
    result = next(opcode for opcode, known in NAMES.items() if known == "result")
    with pytest.raises(ValueError, match=rf"gate 0 \({name}\) has 3 results of {count}"):
        Draft(4, [count], [code, result, result], [0, 4, 5, 6], [-1, 0, 1, 2, 4, 4], [0] * 3, [4, 5, 6], [], [])


def test_sums_of_many_parts_are_not_copied():
    first, sums = Parts({0: 1.0}), {}
    _accumulate(sums, 7, first)
    own = sums[7]
    for k in range(5):
        _accumulate(sums, 7, Parts({k: 2.0}))
    assert sums[7] is own and own is not first and first.found == {0: 1.0}
    assert own.found == {0: 3.0, 1: 2.0, 2: 2.0, 3: 2.0, 4: 2.0}


@pytest.mark.parametrize("kind", ["along a row", "of the diagonal"])
def test_sparse_tangents_and_pulls_record_no_more_than_sums_do(kind):
    a, b = np.ones((12, 9)), np.ones((9, 12))

    def along(a, b):
        moved = np.zeros(a.shape)
        moved[3] = 2.0
        return fp.sum(fp.jvp(lambda a: a @ b, (a,), (moved,))[1] ** 2)

    def diagonal(a, b):
        return fp.sum(fp.jvp(fp.grad(lambda a: fp.sum(fp.diagonal(a @ b) ** 2)), (a,), (np.full(a.shape, 2.0),))[1])

    function, gates = (along if kind == "along a row" else diagonal), []
    for one_gate_from in (1, NEVER):
        with OneGateFrom(one_gate_from):
            gates.append(len(fp.trace(function, a, b)))
    assert gates[0] <= 1.4 * gates[1]


def test_columns_of_a_jacobian_are_pushed_together_through_products():
    x, w = np.random.default_rng(0).normal(size=(300, 20)), np.linspace(-1.0, 1.0, 20)
    instructions = []
    for one_gate_from in (1, NEVER):
        with OneGateFrom(one_gate_from):
            compiled = fp.compile(fp.jacobian(lambda w: fp.tanh(x @ w)))
            assert_allclose(compiled(w), (1.0 - np.tanh(x @ w) ** 2)[:, None] * x, rtol=1e-12, atol=1e-14)
            instructions.append(int(re.search(r"program: (\d+) instructions", compiled.summary()).group(1)))
    assert instructions[0] <= 1.2 * instructions[1]  # many more, if its rows are swept one by one
