"""Re-rolling: sums of products that share what varies become products of matrices, however they are written."""

import functools
import itertools
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop.circuits.pipeline import PASSES
from fastprop.engine.program import assemble, current_instruction_set, instruction_sets, use_instruction_set
from fastprop.engine.trace import combine, expand, reroll
from programs import Sketch, at_point, by_reference, by_reference_in_lanes, in_lanes, ordered


def rolled(draft, uniform):
    """Return the draft as lanes run it, and the (rows, columns) of its products."""
    small = reroll(combine(expand(draft)), np.array(uniform, np.uint8))
    names = [small.gate(i)[0] for i in range(len(small))] + ["end"]
    found = []
    for i, name in enumerate(names):
        if name == "matmul":
            rows = next(k for k in range(i + 1, len(names)) if names[k] != "result") - i
            found.append((rows, len(small.gate(i)[1]) // (rows + 1)))
    return small, found


class Sums:
    """Random sums of products: uniform inputs first, then varying ones; the terms' order, signs, pieces are random.

    `places` says where the number at a row and column is among the inputs (the last column is what may be added).
    """

    def __init__(self, rows, columns, seed, places=None):
        self.rng = np.random.default_rng(seed)
        self.numbers = rows * (columns + 1)
        self.places = np.arange(self.numbers).reshape(rows, columns + 1) if places is None else places
        self.sketch = Sketch(self.numbers + columns + 2)
        varying = list(range(self.numbers, self.numbers + columns))
        if self.rng.random() < 0.5:
            varying = [self.sketch.gate("tanh", x) for x in varying]
        if self.rng.random() < 0.3:  # the padding of a convolution
            varying = [self.sketch.constant(0.0) if self.rng.random() < 0.3 else x for x in varying]
        self.rows = [self.row(self.places[r].tolist(), varying) for r in range(rows)]
        ends = [self.sketch.gate(self.rng.choice(["tanh", "square", "positive"]), x) for x in self.rows]
        self.outputs = [*ends, self.rows[0]] if self.rng.random() < 0.5 else ends

    def row(self, numbers, varying):
        """Write one sum, in a random order: products, perhaps a number that is added, perhaps something else."""
        terms = [("product", number, x) for number, x in zip(numbers, varying)]
        kind = self.rng.integers(0, 5)
        if kind in (0, 1):
            terms.append(("plain", numbers[-1], None))
        if kind == 2:
            terms.append(("plain", self.numbers + len(varying), None))
        if kind == 3:
            terms.append(("product", self.numbers + len(varying), self.numbers + len(varying) + 1))
        if self.rng.random() < 0.5:
            self.rng.shuffle(terms)
        elif kind < 3 and self.rng.random() < 0.5:
            terms.insert(0, terms.pop())
        return self.summed([self.term(*term) for term in terms])

    def term(self, kind, x, y):
        if kind == "plain":
            return x
        if self.rng.random() < 0.1 and y >= 0:
            x = self.sketch.constant(round(self.rng.normal(), 3))
        return self.sketch.gate("multiply", *((x, y) if self.rng.random() < 0.5 else (y, x)))

    def summed(self, terms):
        """Add up from the left, or in halves, or by a sum of many."""
        way = self.rng.integers(0, 3)
        if way == 0:
            return self.sketch.gate("sum", *terms)
        while len(terms) > 1:
            if way == 1:
                terms = [self.sketch.gate("add", terms[0], terms[1]), *terms[2:]]
            else:
                ends = terms[len(terms) // 2 * 2 :]
                terms = [self.sketch.gate("add", *terms[k : k + 2]) for k in range(0, len(terms) - 1, 2)] + ends
        return terms[0]


def compare(draft, small, columns, pulls, single=False):
    """Compare the lanes of a draft with the reference's."""
    values, gradients, _ = in_lanes(small, columns, pulls, single=single)
    expected = by_reference_in_lanes(draft, columns, pulls)
    np.testing.assert_allclose(values, expected[0], rtol=1e-4 if single else 1e-12, atol=1e-5 if single else 1e-12)
    np.testing.assert_allclose(gradients, expected[1], rtol=2e-3 if single else 1e-10, atol=1e-3 if single else 1e-11)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 15),
    width=st.integers(1, 20),
    seed=st.integers(0, 10**6),
    lanes=st.sampled_from([1, 5, 32, 33, 70]),
    single=st.booleans(),
    instructions=st.sampled_from(instruction_sets()),
)
def test_random_sums_are_what_the_reference_says(rows, width, seed, lanes, single, instructions):
    sums = Sums(rows, width, seed)
    draft = sums.sketch.draft(sums.outputs)
    rng = np.random.default_rng(seed)
    columns = [rng.normal() if i < sums.numbers else rng.normal(size=lanes) for i in range(sums.sketch.inputs)]
    small, products = rolled(draft, [np.ndim(x) == 0 for x in columns])
    assert products or rows < 3 or width < 8 or sums.sketch.constants
    pulls = [rng.normal(size=lanes) if k % 2 else 0.7 for k in range(len(sums.outputs))]
    before = current_instruction_set()
    try:
        use_instruction_set(instructions)
        compare(draft, small, columns, pulls, single)
    finally:
        use_instruction_set(before)


@settings(max_examples=100)
@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    layout=st.sampled_from(["rows", "columns", "scattered", "apart"]),
    single=st.booleans(),
    instructions=st.sampled_from(instruction_sets()),
    special=st.sampled_from([None, 0.0, np.inf, np.nan]),
)
def test_random_sums_at_one_point(rows, width, seed, layout, single, instructions, special):
    """As the reference has them, wherever the numbers lie; infinities and zeros as without products."""
    rng = np.random.default_rng(seed)
    places = np.arange(rows * (width + 1))
    if layout == "scattered":
        rng.shuffle(places)
    places = places.reshape(rows, width + 1) if layout != "columns" else places.reshape(width + 1, rows).T
    if layout == "apart":  # neither rows nor columns lie side by side
        places = places[:, rng.permutation(width + 1)][:, ::-1]
    sums = Sums(rows, width, seed, places)
    draft = sums.sketch.draft(sums.outputs)
    small = reroll(combine(expand(draft)))
    names = [small.gate(i)[0] for i in range(len(small))]
    assert "matmul" in names or rows < 4 or width < 8 or sums.sketch.constants
    point = rng.normal(size=sums.sketch.inputs) * 0.5
    pulls = rng.normal(size=len(sums.outputs))
    if special is not None:
        point[rng.integers(0, len(point), 2)] = special
        pulls[rng.integers(0, len(pulls))] = 0.0
    before = current_instruction_set()
    try:
        use_instruction_set(instructions)
        values, gradient, _ = at_point(ordered(small), point, pulls, single=single)
        expected_values, expected, _ = at_point(ordered(expand(draft), ()), point, pulls, single=single)
    finally:
        use_instruction_set(before)
    if special is None:
        expected_values, expected, _ = by_reference(draft, point, pulls)
    tolerance = dict(rtol=1e-3, atol=1e-4) if single else dict(rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(values, expected_values, **tolerance)
    np.testing.assert_allclose(gradient, expected, **tolerance)


def network(shape):
    """Sums of 70 terms, longer than what one gate of a sum takes."""
    sketch = Sketch(shape[0] * shape[1] + shape[1])
    outputs = [
        sketch.gate(
            "sum", *[sketch.gate("multiply", r * shape[1] + k, shape[0] * shape[1] + k) for k in range(shape[1])]
        )
        for r in range(shape[0])
    ]
    return sketch.draft(outputs)


@pytest.mark.parametrize("shape", [(6, 4), (3, 64), (7, 65), (4, 200)])
def test_a_layer_is_one_product(shape):
    draft = network(shape)
    uniform = [1] * (shape[0] * shape[1]) + [0] * shape[1]
    small, products = rolled(draft, uniform)
    assert products == [shape]
    assert len(small) == shape[0]
    program = assemble(small, lanes=True, uniform=np.array(uniform, np.uint8))
    assert {line.split(" x")[0] for line in program.listing()} == {"matmul", "pull matmul"}


@pytest.mark.parametrize("shape", [(2, 40), (8, 3), (5, 4)])
def test_what_is_too_small_stays(shape):
    assert rolled(network(shape), [1] * (shape[0] * shape[1]) + [0] * shape[1])[1] == []


def test_nothing_becomes_a_product_where_nothing_is_the_same_in_all_lanes():
    assert rolled(network((5, 8)), [0] * 48)[1] == []


def test_rows_that_need_each_other_are_not_one_product():
    """The rows share their numbers; what is added to one of them is another one."""
    sketch = Sketch(3 * 8 + 8)
    first = sketch.gate("sum", *[sketch.gate("multiply", k, 24 + k) for k in range(8)])
    second = sketch.gate("sum", *[sketch.gate("multiply", 8 + k, 24 + k) for k in range(8)], first)
    third = sketch.gate(
        "sum", *[sketch.gate("multiply", 16 + k, 24 + k) for k in range(8)], sketch.gate("tanh", second)
    )
    draft = sketch.draft([first, second, third])
    small, products = rolled(draft, [1] * 24 + [0] * 8)
    assert products == [(3, 8)]
    rng = np.random.default_rng(0)
    columns = [*rng.normal(size=24) * 0.3, *rng.normal(size=(8, 9))]
    compare(draft, small, columns, [1.0, 0.5, -0.3])


# As users write it


def styles(w, b, x):
    """Yield one layer of array parameters in many manners."""
    rows, columns = range(len(b)), range(len(x))
    yield "loops", [sum(w[i, j] * x[j] for j in columns) + b[i] for i in rows]
    yield "bias first", [sum((x[j] * w[i, j] for j in columns), b[i]) for i in rows]
    yield "backwards", [b[i] + sum(w[i, j] * x[j] for j in reversed(columns)) for i in rows]
    yield "dot", [fp.dot(row, x) + c for row, c in zip(w, b)]
    yield "@", w @ x + b
    totals = []
    for i in rows:
        total = 0.0
        for j in columns:
            total += w[i, j] * x[j]
        totals.append(total + b[i])
    yield "+=", totals
    yield "fsum", [fp.sum([*(w[i, j] * x[j] for j in columns), b[i]]) for i in rows]


@pytest.mark.parametrize("style", range(7))
@pytest.mark.parametrize(("inputs", "outputs", "lanes"), [(8, 3, 33), (70, 9, 300)])
def test_a_layer_in_every_manner(style, inputs, outputs, lanes):
    rng = np.random.default_rng(1)
    w, b, x = rng.normal(size=(outputs, inputs)), rng.normal(size=outputs), rng.normal(size=(lanes, inputs))

    def loss(w, b, x):
        _, layer = next(itertools.islice(styles(w, b, x), style, None))
        return sum(fp.tanh(y) for y in layer)

    value, (on_w, on_b, on_x) = fp.compile(
        fp.value_and_grad(fp.vmap(loss, in_axes=(None, None, 0), reduce="sum"), (0, 1, 2))
    )(w, b, x)
    inner = np.tanh(x @ w.T + b)
    np.testing.assert_allclose(value, inner.sum(), rtol=1e-12)
    pull = 1.0 - inner**2
    np.testing.assert_allclose(on_w, pull.T @ x, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(on_b, pull.sum(0), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(on_x, pull @ w, rtol=1e-9, atol=1e-11)
    circuit = fp.trace(loss, w, b, x[0])
    circuit.batch(w, b, x, in_axes=(None, None, 0))
    assert f"1 product of {outputs} x {inputs}" in circuit.summary()


def test_weights_in_nested_lists_and_in_units():
    rng = np.random.default_rng(2)
    w, x = rng.normal(size=(4, 6)), rng.normal(size=(40, 6))
    expected = np.tanh(x @ w.T).sum()

    def loss(w, x):
        return sum(fp.tanh(sum(a * b for a, b in zip(row, x))) for row in w)

    step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0), reduce="sum")))
    value, slopes = step(w.tolist(), x)
    pull = 1.0 - np.tanh(x @ w.T) ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(slopes, pull.T @ x, rtol=1e-10)
    units = [[fp.Unit(number) for number in row] for row in w]
    captured = fp.compile(fp.vmap(lambda x: loss(units, x), reduce="sum"))
    captured(x).backward()
    np.testing.assert_allclose([[unit.grad for unit in row] for row in units], pull.T @ x, rtol=1e-10)


def test_weights_used_otherwise_too():
    """What is pulled on a weight by products and by other gates is added up."""
    rng = np.random.default_rng(3)
    w, x = rng.normal(size=(3, 5)), rng.normal(size=(50, 5))

    def loss(w, x):
        return sum(fp.tanh(fp.dot(row, x)) for row in w) + fp.exp(w[0, 0] * x[0]) + w[1, 2]

    _, slope = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0), reduce="sum")))(w, x)
    expected = (1.0 - np.tanh(x @ w.T) ** 2).T @ x
    expected[0, 0] += (np.exp(w[0, 0] * x[:, 0]) * x[:, 0]).sum()
    expected[1, 2] += 50
    np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_transposed_weights_and_shared_ones():
    """A convolution shares its weights between patches; in x @ w the rows of the product are columns of w."""
    rng = np.random.default_rng(4)
    w, x = rng.normal(size=(6, 4)), rng.normal(size=(40, 12))

    def loss(w, x):
        return sum(fp.tanh(y) for start in range(7) for y in x[start : start + 6] @ w)

    _, (slope, on_x) = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0), reduce="sum"), (0, 1)))(w, x)
    expected, expected_x = np.zeros((6, 4)), np.zeros(x.shape)
    for start in range(7):
        patch = x[:, start : start + 6]
        pull = 1.0 - np.tanh(patch @ w) ** 2
        expected += patch.T @ pull
        expected_x[:, start : start + 6] += pull @ w.T
    np.testing.assert_allclose(slope, expected, rtol=1e-10)
    np.testing.assert_allclose(on_x, expected_x, rtol=1e-10)


# Where parameters lie, and where their gradients go


def test_parameters_may_lie_otherwise_at_the_next_call():
    """Arrays are read where they are if they are large and even; the next ones are not taken for them."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(3, 32))
    step = fp.compile(fp.value_and_grad(fp.vmap(lambda w, x: fp.sum(fp.tanh(w @ x)), in_axes=(None, 0), reduce="sum")))
    wide = rng.normal(size=(80, 64)) * 0.1
    ways = [wide[:40, :32].copy(), wide[::2, ::2], np.asfortranarray(wide[:40, :32]), wide[40:, 32:], wide[39::-1, :32]]
    for w in [*ways, *reversed(ways), np.broadcast_to(wide[0, :32], (40, 32)), ways[0] * 2.0]:
        value, slope = step(w, x)
        inner = np.tanh(x @ w.T)
        np.testing.assert_allclose(value, inner.sum(), rtol=1e-11)
        np.testing.assert_allclose(slope, (1.0 - inner**2).T @ x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("axes", [(None, 0), (0, None)])
def test_one_array_given_twice_has_both_gradients(axes):
    w = np.random.default_rng(9).normal(size=(4, 4)) * 0.5

    def body(a, b):
        return fp.sum(fp.tanh(a @ b if axes[0] is None else b @ a))

    found = fp.compile(fp.grad(lambda w: fp.vmap(body, in_axes=axes, reduce="sum")(w, w)))(w)
    expected = np.zeros((4, 4))
    for row in w:
        pull = 1.0 - np.tanh(w @ row) ** 2
        expected += np.outer(pull, row)
    for lane, row in enumerate(w):
        expected[lane] += w.T @ (1.0 - np.tanh(w @ row) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


# Programs over some parameters and an example: all of them in one product, some left out, some used otherwise too, two
# of them one matrix, two products of one, and one that is shared.
PROGRAMS = {
    "all": lambda p, x: fp.sum(fp.tanh(p["w"] @ x + p["b"])),
    "transposed": lambda p, x: fp.sum(fp.tanh(x[:5] @ p["w"])) + fp.sum(fp.tanh(p["b"])),
    "some rows": lambda p, x: fp.sum(fp.tanh(p["w"][:3] @ x)) + p["b"][2],
    "some columns": lambda p, x: fp.sum(fp.tanh(p["w"][:, 1:] @ x[1:] + p["b"])),
    "otherwise too": lambda p, x: fp.sum(fp.tanh(p["w"] @ x)) + 0.1 * fp.sum(p["w"] ** 2) + p["b"][0] * x[0],
    "two are one": lambda p, x: sum(fp.tanh(fp.dot(row, x)) for row in [*p["w"], *p["v"]]),
    "two products": lambda p, x: fp.sum(fp.tanh(p["w"][:3] @ x)) + fp.sum(fp.tanh(p["w"][3:] @ (x * x))),
    "with what is the same": lambda p, x: fp.sum(fp.tanh(p["w"] @ x)) * fp.exp(p["b"][1]) + p["b"][2] * p["v"][0, 0],
    "normalised": lambda p, x: fp.sum(fp.tanh((p["w"] / fp.sqrt(fp.sum(p["w"] ** 2))) @ x)) + fp.sum(p["v"] @ x),
    "side by side": lambda p, x: fp.sum(fp.tanh(p["w"] @ x + p["u"] @ x[:4] + p["b"])),
    "interleaved": lambda p, x: sum(
        fp.tanh(sum(p["w"][i, j] * x[j] + p["u"][i, j] * (x[j] * x[j + 1]) for j in range(4)) + p["b"][i])
        for i in range(5)
    ),
    "shared": lambda p, x: fp.sum(fp.tanh(p["w"] @ x + p["b"])) + fp.sum(fp.tanh(p["w"] @ (x * x) + p["b"])),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_go_where_they_belong(name, dtype):
    """Few lanes put them there, many add them up: each against lanes one by one."""
    rng = np.random.default_rng(11)
    shapes = {"w": (5, 7), "v": (4, 7), "u": (5, 4), "b": (5,)}
    given = {key: (rng.normal(size=shape) * 0.5).astype(dtype) for key, shape in shapes.items()}
    program = PROGRAMS[name]
    step = fp.compile(fp.value_and_grad(fp.vmap(program, in_axes=(None, 0), reduce="sum")))
    alone = fp.compile(fp.value_and_grad(program))
    kept = {}
    for lanes in (1, 2, 31, 33, 700, 40, 1):
        x = rng.normal(size=(lanes, 7)).astype(dtype)
        value, slopes = step(given, x)
        each = [alone(given, row) for row in x]
        tolerance = dict(rtol=2e-4, atol=2e-3) if dtype is np.float32 else dict(rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(value, sum(float(one) for one, _ in each), **tolerance)
        for key, slope in slopes.items():
            assert slope.dtype == dtype
            np.testing.assert_allclose(slope, sum(np.float64(other[key]) for _, other in each), **tolerance)
        kept[lanes] = slopes, {key: slope.copy() for key, slope in slopes.items()}
    for slopes, copies in kept.values():
        for key, slope in slopes.items():
            np.testing.assert_array_equal(slope, copies[key])


@pytest.mark.parametrize("axes", [(None, 0), None])
@pytest.mark.parametrize("biases", range(4))
def test_matrices_side_by_side_are_products_of_their_own(axes, biases):
    rng = np.random.default_rng(15)
    w, u, b, x = rng.normal(size=(6, 5)), rng.normal(size=(6, 8)), rng.normal(size=(biases, 6)), rng.normal(size=(3, 5))

    def body(p, x):
        sums = p[0] @ x + p[1] @ fp.concatenate([x, x[:3] * x[2:]])
        return fp.sum(fp.tanh(sum([p[2][k] for k in range(biases)], sums)))

    circuit = fp.trace(body, (w, u, b), x[0])
    if axes is None:
        circuit.value_and_grad((w, u, b), x[0])
    else:
        circuit.batch((w, u, b), x, in_axes=axes)
    assert "1 product of 6 x 13" in circuit.summary()
    slopes = fp.compile(fp.grad(body))((w, u, b), x[0])
    given = np.concatenate([x[0], x[0, :3] * x[0, 2:]])
    pull = np.cosh(w @ x[0] + u @ given + b.sum(0)) ** -2.0
    np.testing.assert_allclose(slopes[0], np.outer(pull, x[0]), rtol=1e-12)
    np.testing.assert_allclose(slopes[1], np.outer(pull, given), rtol=1e-12)
    np.testing.assert_allclose(slopes[2], np.tile(pull, (biases, 1)), rtol=1e-12)


@pytest.mark.parametrize("lanes", [3, 2000])
def test_a_gradient_of_nothing_is_no_negative_zero(lanes):
    w, x = np.ones((5, 6)), np.full((lanes, 6), -1.0)
    slope = fp.compile(fp.grad(fp.vmap(lambda w, x: 0.0 * fp.sum(w @ x), in_axes=(None, 0), reduce="sum")))(w, x)
    assert not np.signbit(slope).any()


# At one point


def recurrence(p, tokens, zero=0.0):
    """Sum the errors of a recurrence over one example, written number by number."""
    state, total = [zero] * len(p["h"]), 0.0
    for token, then in itertools.pairwise(tokens):
        state = [
            fp.tanh(p["x"][i, token] + sum(p["h"][i, j] * state[j] for j in range(len(state))) + p["b"][i])
            for i in range(len(state))
        ]
        scores = [sum(p["y"][i, j] * state[j] for j in range(len(state))) for i in range(len(p["y"]))]
        total = total + fp.logsumexp(scores) - scores[then]
    return total


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_recurrence_step_by_step(dtype):
    rng = np.random.default_rng(12)
    p = {"x": (9, 5), "h": (9, 9), "y": (5, 9), "b": (9,)}
    p = {key: (rng.normal(size=shape) * 0.4).astype(dtype) for key, shape in p.items()}
    tokens = rng.integers(0, 5, 8).tolist()
    circuit = fp.trace(lambda p: recurrence(p, tokens), p)
    value, slopes = circuit.value_and_grad(p)
    assert "6 products of 14 x 9" in circuit.summary()  # what a state is used for is one matrix, if it lies so
    plain = fp.trace(lambda p: recurrence(p, tokens), p, passes=[name for name in PASSES if name != "reroll"])
    expected, others = plain.value_and_grad(p)
    tolerance = dict(rtol=1e-4, atol=1e-5) if dtype is np.float32 else dict(rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(value, expected, **tolerance)
    for key, slope in slopes.items():
        np.testing.assert_allclose(slope, others[key], **tolerance)
    run = circuit.bind(p, grad={key: np.zeros_like(number) for key, number in p.items()}, value=np.zeros((), dtype))
    run()


def test_a_layer_of_few_examples_and_of_constants():
    """Of two inputs, the one that is used more often is what a matrix multiplies; data may be frozen."""
    rng = np.random.default_rng(13)
    w, x, data = rng.normal(size=(6, 8)), rng.normal(size=8), rng.normal(size=(20, 8))
    circuit = fp.trace(lambda w, x: fp.sum(fp.tanh(w @ x)), w, x)
    _, (on_w, on_x) = circuit.vjp((w, x), 1.0)
    pull = 1.0 - np.tanh(w @ x) ** 2
    np.testing.assert_allclose(on_w, np.outer(pull, x), rtol=1e-12)
    np.testing.assert_allclose(on_x, pull @ w, rtol=1e-12)
    assert "1 product of 6 x 8" in circuit.summary()
    frozen = fp.trace(lambda x: fp.sum((data @ x) ** 2), x)
    np.testing.assert_allclose(frozen.value_and_grad(x)[1], 2.0 * data.T @ (data @ x), rtol=1e-12)
    assert "1 product of 20 x 8" in frozen.summary()


def test_products_stand_beside_maps_and_branches():
    rng = np.random.default_rng(14)
    w, x = rng.normal(size=(6, 8)), rng.normal(size=(5, 8))

    def total(w, x):
        inner = fp.vmap(lambda row: fp.sum(fp.tanh(w @ row)), reduce="sum")(x)
        outer = w @ x[0]
        return inner + fp.sum(fp.tanh(outer)) if x[0, 0] > 0.0 else inner - fp.sum(outer)

    step = fp.compile(fp.value_and_grad(total))
    for sign in (1.0, -1.0):
        given = sign * np.abs(x)
        value, slope = step(w, given)
        leaf = fp.Array(w)
        result = total(leaf, given)
        result.backward()
        np.testing.assert_allclose(value, result.value, rtol=1e-12)
        np.testing.assert_allclose(slope, leaf.grad, rtol=1e-10, atol=1e-13)


# Zeros, infinities, bits, ways


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_rule_for_zero(dtype):
    """A pull of 0 on an infinite number, and an infinite weight with a pull of 0, bring 0, as without products."""
    rng = np.random.default_rng(5)
    w, x = rng.normal(size=(5, 6)).astype(dtype), rng.normal(size=(40, 6)).astype(dtype)
    x[3, 2], x[17, 0], w[4, 1] = np.inf, np.nan, np.inf

    def loss(w, x):
        layer = [fp.dot(row, x) for row in w]
        return sum(fp.where(x[5] > 0.0, y, 0.0) for y in layer[:4]) + 0.0 * layer[4]

    mapped = fp.vmap(loss, in_axes=(None, 0), reduce=None)

    def total(w, x):
        return fp.sum(mapped(w, x)[:3])

    found = fp.compile(fp.grad(total, (0, 1)))(w, x)
    expected = fp.grad(lambda w, x: sum(loss(w, row) for row in list(x)[:3]), (0, 1))(fp.Array(w), fp.Array(x))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other.value if hasattr(other, "value") else other, rtol=1e-4, atol=1e-5)


def test_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(6)
    w, x = rng.normal(size=(20, 30)), rng.normal(size=(20_000, 30))
    step = fp.compile(
        fp.value_and_grad(fp.vmap(lambda w, x: sum(fp.tanh(y) for y in w @ x), in_axes=(None, 0), reduce="sum"))
    )
    before = fp.get_num_threads()
    try:
        fp.set_num_threads(1)
        value, slope = step(w, x)
        kept = slope.copy()
        fp.set_num_threads(2)
        other, found = step(w, x)
    finally:
        fp.set_num_threads(before)
    assert value == other
    np.testing.assert_array_equal(kept, found)


def test_no_way_hangs_on_how_a_sum_was_rounded():
    """What guards depend on is summed up as everywhere else: here to exactly 0."""

    def body(w, x):
        total = 0.0
        for row in w:
            a = row[0] * x[0] + row[1] * x[1] + row[2] * x[2] + row[3] * x[3]
            total = total + (1.0 if a > 0 else 10.0 if a < 0 else 100.0) + a * 0.0
        return total

    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 2))
    w = np.stack([half[:, 0], -half[:, 0], half[:, 1], -half[:, 1]], 1)
    x = np.repeat(rng.normal(size=(5, 2)), 2, 1)
    mapped = fp.compile(fp.vmap(body, in_axes=(None, 0)))
    for _ in range(6):
        np.testing.assert_array_equal(mapped(w, x), np.full(5, 600.0))


@pytest.mark.parametrize("dropped", PASSES)
def test_without_a_pass(dropped):
    rng = np.random.default_rng(7)
    w, x, slope, value = rng.normal(size=(5, 6)), rng.normal(size=(40, 6)), np.zeros((5, 6)), np.zeros(())
    passes = [name for name in PASSES if name != dropped]
    circuit = fp.trace(lambda w, x: sum(fp.tanh(y) for y in w @ x), w, x[0], passes=passes)
    circuit.bind(w, x, grad=(slope, None), value=value, in_axes=(None, 0), reduce="sum")()
    inner = np.tanh(x @ w.T)
    np.testing.assert_allclose(value, inner.sum(), rtol=1e-12)
    np.testing.assert_allclose(slope, (1.0 - inner**2).T @ x, rtol=1e-10)
    assert ("product of" in circuit.summary()) == (dropped not in ("reroll", "combine"))


def test_the_summary_says_what_stays_and_why():
    circuit = fp.trace(lambda w, x: fp.dot(w[:5], x) + fp.dot(w[5:7], x[:2]), np.ones(7), np.ones(5))
    circuit.batch(np.ones(7), np.ones((3, 5)), in_axes=(None, 0))
    assert "reroll: no products; 1 sum shares its varying numbers with no other" in circuit.summary()


@pytest.mark.parametrize("columns", [5, 8, 37])
def test_a_sum_of_negative_zeros_is_one(columns):
    w, x = np.full((6, columns), -1.0), np.zeros((3, columns))

    def body(w, x):
        return [1.0 / y for y in w @ x]

    np.testing.assert_array_equal(fp.compile(lambda w: body(w, x[0]))(w), np.full(6, -np.inf))
    np.testing.assert_array_equal(fp.trace(body, w, x[0])(w, x[0]), np.full(6, -np.inf))
    rows = fp.compile(fp.vmap(body, in_axes=(None, 0)))(w, x)
    np.testing.assert_array_equal(rows, np.full((6, 3), -np.inf))

    def with_a_bias(w, b, x):  # of one row alone
        sums = [functools.reduce(operator.add, [w[i, j] * x[j] for j in range(columns)]) for i in range(6)]
        return [1.0 / y for y in [sums[0] + b, *sums[1:]]]

    expected = [1.0, -np.inf, -np.inf, -np.inf, -np.inf, -np.inf]
    np.testing.assert_array_equal(fp.compile(with_a_bias)(w, 1.0, x[0]), expected)
    rows = fp.compile(fp.vmap(with_a_bias, in_axes=(None, None, 0)))(w, 1.0, x)
    np.testing.assert_array_equal(np.transpose(rows), np.tile(expected, (3, 1)))
