"""Products of two computed matrices, as attention has them: in lanes, each lane has its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop.engine.program import current_instruction_set, instruction_sets, use_instruction_set
from fastprop.engine.trace import combine, expand, reroll
from programs import Sketch, at_point, by_reference, in_lanes, ordered


class Pairs:
    """Random sums of products of computed numbers: which rows meet which columns, and what else is added, is random."""

    def __init__(self, rows, columns, depth, seed, kind):
        self.rng = np.random.default_rng(seed)
        count = (rows + columns) * depth
        self.sketch = Sketch(count + 2)
        gates = self.rng.choice(["tanh", "square", "exp", "sin"], count)
        numbers = [self.sketch.gate(gate, x) for x, gate in enumerate(gates)]
        left = np.array(numbers[: rows * depth]).reshape(rows, depth)
        right = np.array(numbers[rows * depth :]).reshape(columns, depth)
        if kind == "gram":
            right = left
        if kind == "repeated":
            left[:, -1] = left[0, 0]
            right[-1] = left[-1]
        if kind == "repeated further up":  # tile by tile, its pull arrives in another order than its places have
            left[1:, 0], right[1:, 0] = left[0, -1], right[0, -1]
        cells = [(i, j) for i in range(len(left)) for j in range(len(right)) if kind != "causal" or j <= i]
        if kind == "shuffled":
            self.rng.shuffle(cells)
        self.some = kind == "some"
        self.outputs = [self.cell(left[i], right[j]) for i, j in cells if kind != "sparse" or self.rng.random() < 0.8]
        if kind == "behind":  # the products are factors of others
            n = min(len(left), len(right))
            scores = np.array(self.outputs).reshape(len(left), len(right))
            self.outputs += [self.cell(scores[i, :n], left[:n, k]) for i in range(len(left)) for k in range(depth)]
        if not self.outputs:
            self.outputs = [self.cell(left[0], right[0])]

    def cell(self, x, y):
        """Write one sum, and what its result is used for."""
        flips = self.rng.random() < 0.2
        terms = [self.sketch.gate("multiply", *((b, a) if flips else (a, b))) for a, b in zip(x.tolist(), y.tolist())]
        last = self.sketch.inputs - 1
        other = self.rng.integers(0, 5) if self.some else 0
        if other == 1:
            terms.append(last)
        if other == 2:
            terms.insert(0, self.sketch.gate("multiply", last, last - 1))
        if other == 3:
            terms.append(self.sketch.constant(0.25))
        if other == 4:
            terms.append(self.sketch.gate("multiply", last, self.sketch.constant(-1.5)))
        total = self.sketch.gate("sum", *terms)
        return self.sketch.gate(str(self.rng.choice(["tanh", "positive"])), total)


KINDS = ["full", "causal", "gram", "repeated", "repeated further up", "shuffled", "sparse", "some", "behind"]
CASES = dict(
    rows=st.integers(1, 11),
    columns=st.integers(1, 19),
    depth=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    single=st.booleans(),
    instructions=st.sampled_from(instruction_sets()),
    special=st.sampled_from([None, 0.0, np.inf, np.nan]),
)


def run(instructions, function):
    before = current_instruction_set()
    try:
        use_instruction_set(instructions)
        return function()
    finally:
        use_instruction_set(before)


def batched(draft, uniform=None):
    """Return the draft with its products, and how many numbers they have in all."""
    report = {}
    small = reroll(combine(expand(draft)), uniform, report)
    return small, sum(n * np.prod(shape) for shape, n in report["products"].items() if len(shape) == 3)


@settings(max_examples=120)
@given(lanes=st.sampled_from([1, 5, 33, 70]), **CASES)
def test_random_products_in_lanes(rows, columns, depth, seed, kind, single, instructions, special, lanes):
    pairs = Pairs(rows, columns, depth, seed, kind)
    draft = pairs.sketch.draft(pairs.outputs)
    rng = np.random.default_rng(seed)
    given = [rng.normal(size=lanes) for _ in range(pairs.sketch.inputs)]
    if special is not None:
        for x in rng.integers(0, len(given), 2):
            given[x][rng.integers(0, lanes)] = special
    pulls = [rng.normal(size=lanes) * (rng.random(lanes) < 0.8) for _ in pairs.outputs]
    small, numbers = batched(draft, np.zeros(len(given), np.uint8))
    assert numbers or kind != "full" or rows * columns < 3 or depth < 4
    found = run(instructions, lambda: in_lanes(small, given, pulls, single=single))
    expected = run(instructions, lambda: in_lanes(combine(expand(draft)), given, pulls, single=single))
    tolerance = dict(rtol=1e-3, atol=1e-3) if single else dict(rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[0], expected[0], **tolerance)
    np.testing.assert_allclose(found[1], expected[1], **tolerance)


@settings(max_examples=120)
@given(**CASES)
def test_random_products_at_one_point(rows, columns, depth, seed, kind, single, instructions, special):
    pairs = Pairs(rows, columns, depth, seed, kind)
    draft = pairs.sketch.draft(pairs.outputs)
    rng = np.random.default_rng(seed)
    point = rng.normal(size=pairs.sketch.inputs)
    pulls = rng.normal(size=len(pairs.outputs)) * (rng.random(len(pairs.outputs)) < 0.8)
    if special is not None:
        point[rng.integers(0, len(point), 2)] = special
    small, numbers = batched(draft)
    assert numbers or kind != "full" or min(rows, columns, depth) < 4
    found = run(instructions, lambda: at_point(ordered(small), point, pulls, single=single))
    expected = run(instructions, lambda: at_point(ordered(expand(draft), ()), point, pulls, single=single))
    if special is None:
        expected = by_reference(draft, point, pulls)
    tolerance = dict(rtol=1e-3, atol=1e-3) if single else dict(rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[0], expected[0], **tolerance)
    np.testing.assert_allclose(found[1], expected[1], **tolerance)


@pytest.mark.parametrize("side", ["rows", "rows that share a number", "columns"])
@pytest.mark.parametrize("lanes", [False, True])
def test_what_waits_for_a_product_is_no_part_of_it(side, lanes):
    """Five at a time, which read what came of those before: their left factors differ, or their right ones."""

    def f(x, y):
        x, y, found = fp.tanh(x), [fp.sin(y + k) for k in range(5)], []
        left, right = [x], y
        for _ in range(5):
            totals = [fp.dot(list(a), list(b)) for a in left for b in right]
            found += totals
            scale = fp.sum(totals) * 0.1
            if side != "columns":
                late = fp.tanh(left[0] * scale)
                left = [late if side == "rows" else fp.concatenate([x[:1], late[1:]])]
            else:
                right = [fp.tanh(b * scale) for b in right]
        return fp.sum(found)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 8))
    expected = [fp.value_and_grad(f, argnums=(0, 1))(a, b) for a, b in zip(x, y)]
    if lanes:
        found = fp.compile(fp.vmap(fp.value_and_grad(f, argnums=(0, 1))))(x, y)
        np.testing.assert_allclose(found[0], [value for value, _ in expected], rtol=1e-12)
        np.testing.assert_allclose(found[1][0], [slopes[0] for _, slopes in expected], rtol=1e-10, atol=1e-12)
    else:
        found = fp.compile(fp.value_and_grad(f, argnums=(0, 1)))(x[0], y[0])
        np.testing.assert_allclose(found[0], expected[0][0], rtol=1e-12)
        np.testing.assert_allclose(found[1][1], expected[0][1][1], rtol=1e-10, atol=1e-12)


def attention(x, w, causal):
    query, key, value = x @ w[0], x @ w[1], x @ w[2]
    return fp.nn.scaled_dot_product_attention(query, key, value, is_causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lanes", [0, 5])
def test_attention_is_two_products(causal, lanes):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(*[lanes] * bool(lanes), 7, 8)), rng.normal(size=(3, 8, 8)) * 0.5

    def loss(w, x):
        if lanes:
            return fp.vmap(lambda x: fp.sum(attention(x, w, causal) ** 3), reduce="sum")(x)
        return fp.sum(attention(x, w, causal) ** 3)

    compiled = fp.compile(fp.value_and_grad(loss))
    value, gradient = compiled(w, x)
    parts = [fp.value_and_grad(lambda w, x: fp.sum(attention(x, w, causal) ** 3))(w, y) for y in (x if lanes else [x])]
    np.testing.assert_allclose(value, sum(part[0] for part in parts), rtol=1e-12)
    np.testing.assert_allclose(gradient, sum(part[1] for part in parts), rtol=1e-9, atol=1e-12)
    said = compiled.summary()
    assert causal or ("7 x 8 x 7" in said and "7 x 7 x 8" in said)
    assert " x 8 x " in said or not lanes


def test_variables_of_a_gradient_inside_may_stand_for_what_all_lanes_share():
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(5, 6)), rng.normal(size=(4, 6))

    def f(w, x):
        return fp.grad(lambda w: fp.sum(fp.tanh(w @ fp.sin(x)) ** 2))(w)

    found = fp.compile(lambda w, x: fp.vmap(lambda x: f(w, x))(x))(w, x)
    np.testing.assert_allclose(found, [f(w, row) for row in x], rtol=1e-12)


@pytest.mark.parametrize("lanes", [0, 5])
def test_a_matrix_times_itself_is_one_product(lanes):
    """Row i with row j and row j with row i are two numbers of it, however the terms are written elsewhere."""
    x = np.random.default_rng(2).normal(size=(*[lanes] * bool(lanes), 9, 10))

    def one(x):
        z = fp.tanh(x)
        return fp.sum(fp.tanh(z @ z.T) ** 2)

    def loss(x):
        return fp.vmap(one, reduce="sum")(x) if lanes else one(x)

    compiled = fp.compile(fp.value_and_grad(loss))
    value, gradient = compiled(x)
    parts = [fp.reference.value_and_grad(one)(y) for y in (x if lanes else [x])]
    np.testing.assert_allclose(value, sum(float(part[0]) for part in parts), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.reshape([np.asarray(part[1]) for part in parts], x.shape), rtol=1e-9)
    assert "1 product of 9 x 10 x 9" in compiled.summary()


def test_factors_may_come_in_any_order():
    """A sum of which the factors are turned is a number of the product, too."""
    x, y = np.random.default_rng(3).normal(size=(2, 6, 8))

    def loss(x, y):
        a, b = fp.tanh(x), fp.exp(y)
        turned = [[b[j] @ a[i] if (i + j) % 2 else a[i] @ b[j] for j in range(6)] for i in range(6)]
        return sum(fp.sin(number) for row in turned for number in row)

    compiled = fp.compile(fp.value_and_grad(loss))
    value, gradient = compiled(x, y)
    expected = fp.reference.value_and_grad(loss)(x, y)
    np.testing.assert_allclose(value, float(expected[0]), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.asarray(expected[1]), rtol=1e-9)
    assert "6 x 8 x 6" in compiled.summary()
