"""The passes: each alone and in every combination keeps what a draft computes; what each of them makes of a draft."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop import gates
from fastprop.circuits.pipeline import PASSES, Plan
from fastprop.engine import kernels
from fastprop.engine.run import Batch
from fastprop.engine.trace import Draft, combine, drop, expand, fold, hoist, merge, needed_gates, number, schedule
from programs import LOGIC, Sketch, at_point, by_reference, in_lanes, optimised, ordered

INPUTS = 4
UNARY = ["negative", "positive", "square", "sin", "tanh", "sigmoid", "exp", "absolute", "relu", "sqrt", "reciprocal"]
UNARY += ["softplus", "floor"]
BINARY = ["add", "add", "add", "subtract", "multiply", "multiply", "multiply", "divide", "maximum", "minimum", "hypot"]
TERNARY = ["where", "clip", "fma"]
SEQUENCES = ["sum", "prod", "mean", "max", "min", "dot", "logsumexp"]
POWERS = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
CONSTANTS = [1.0, 1.0, 0.5, -2.0, 3.0]
NAMES = [*UNARY, *BINARY, *TERNARY, *SEQUENCES, "power", *LOGIC]
COMBINATIONS = [c for n in range(len(PASSES) + 1) for c in itertools.combinations(PASSES, n)]

numbers = st.floats(0.2, 2.0).map(lambda x: round(x, 3))
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.lists(st.integers(0, 10**4), min_size=12, max_size=12)),
    min_size=1,
    max_size=60,
)
points = st.lists(numbers, min_size=INPUTS, max_size=INPUTS)


class RandomDraft:
    """A draft of random steps; gates whose values would leave a moderate range are not written."""

    def __init__(self, some_steps, point):
        self.sketch = Sketch(INPUTS)
        self.values = dict(enumerate(point))
        self.truths = []
        for name, picks in some_steps:
            self.step(name, picks)

    def operand(self, pick):
        if pick % 7 == 0:
            value = CONSTANTS[pick % len(CONSTANTS)]
            operand = self.sketch.constant(value)
            self.values[operand] = value
            return operand
        wires = [x for x in self.values if x >= 0]
        return wires[-1 - pick % min(len(wires), 9)] if pick % 3 else wires[pick % len(wires)]

    def step(self, name, picks):
        if name == "power":
            operands = [self.operand(picks[0]), self.sketch.constant(POWERS[picks[1] % len(POWERS)])]
            self.values[operands[1]] = self.sketch.constants[-1]
        elif name in ("both", "either", "not"):
            arity = 1 + (name != "not")
            operands = [self.truths[pick % len(self.truths)] for pick in picks[:arity]] if self.truths else []
        elif name == "where":
            operands = [self.truths[picks[0] % len(self.truths)], *map(self.operand, picks[1:3])] if self.truths else []
        elif name in SEQUENCES:
            length = 1 + picks[0] % 5
            operands = [self.operand(pick) for pick in picks[1 : 1 + length * (1 + (name == "dot"))]]
        else:
            arity = 1 if name in UNARY else 3 if name in TERNARY else 2
            operands = [self.operand(pick) for pick in picks[:arity]]
        if name == "dot" and len(operands) % 2:
            operands.pop()
        if operands:
            self.write(name, operands)

    def write(self, name, operands):
        given = [self.values[x] for x in operands]
        if name in LOGIC:
            self.truths.append(self.sketch.gate(name, *operands))
            self.values[self.truths[-1]] = float(LOGIC[name](*given))
            return
        row = gates.table[name]
        if name == "dot":
            value = row(given[: len(given) // 2], given[len(given) // 2 :])
        else:
            value = row(given) if row.arity == gates.SEQUENCE else row(*given)
        near_a_kink = name in ("sqrt", "divide", "reciprocal", "power") and min(map(abs, given)) < 1e-2
        if name == "power" and not near_a_kink and given[0] < 0.0 and given[1] % 1.0:
            return
        if math.isfinite(value) and abs(value) < 50.0 and not near_a_kink and (name != "sqrt" or value > 0.0):
            self.values[self.sketch.gate(name, *operands)] = value

    def draft(self):
        wires = [x for x in self.values if x >= 0]
        outputs = [wires[-1], wires[len(wires) // 2], 0, wires[-1]]
        if self.sketch.constants:
            outputs.append(-1)
        guards = self.truths[-2:]
        return self.sketch.draft(outputs, guards, [self.values[x] != 0.0 for x in guards])


def agree(found, expected, what):
    values, gradient, broken = found
    scale = 1e-12 * max(1.0, float(np.max(np.abs(expected[1]), initial=0.0)))
    np.testing.assert_allclose(values, expected[0], rtol=1e-11, atol=1e-12, err_msg=str(what))
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-9, atol=1000.0 * scale, err_msg=str(what))
    assert broken == expected[2], what


def by_plan(draft, passes, columns, pulls):
    """Return what a plan's programs for lanes compute: values, gradients (of numbers, the sum), the broken guard."""
    plan = Plan(SimpleNamespace(draft=draft, dtype=np.dtype(np.float64)), passes)
    lanes = next(len(x) for x in columns if np.ndim(x))
    uniform = np.array([np.ndim(x) == 0 for x in columns], np.uint8)
    batch = Batch(plan, True, uniform, np.ones(len(columns), np.uint8), lanes, False)
    values, gradients = np.zeros((len(draft.outputs), lanes)), np.zeros((len(columns), lanes))
    for i, x in enumerate(columns):
        if np.ndim(x):
            batch.run.set_input(i, x)
            batch.run.set_gradient(i, gradients[i])
        else:
            batch.set_number(i, x)
    for k, pull in enumerate(pulls):
        batch.run.set_value(k, values[k])
        batch.run.set_pull(k, pull)
    batch()
    for i, total in enumerate(batch.gradients()):
        if uniform[i]:
            gradients[i] = total
    return values, gradients, batch.run.broken if batch.run.diverged >= 0 else -1


def check(draft, point, passes, window):
    """Compare a draft after some passes with the reference, at a point and in lanes."""
    pulls = [1.0, -0.5, 0.25, 2.0, 3.0][: len(draft.outputs)]
    expected = by_reference(draft, point, pulls)
    recycling = "recycle" in passes
    small = ordered(optimised(draft, passes), passes, window)
    agree(at_point(small, point, pulls, recycling=recycling), expected, (passes, window))
    columns = [np.full(5, x) if i % 2 else x for i, x in enumerate(point)]
    values, gradients, broken = by_plan(draft, passes, columns, pulls)
    gradients[::2] /= 5.0  # of the uniform inputs
    for lane in (0, 4):
        agree((values[:, lane], gradients[:, lane], broken), expected, passes)


@settings(max_examples=120)
@given(some_steps=steps, point=points, passes=st.sampled_from(COMBINATIONS), window=st.sampled_from([3, 7, 64, 8192]))
def test_any_combination_of_passes_keeps_what_a_draft_computes(some_steps, point, passes, window):
    check(RandomDraft(some_steps, point).draft(), point, passes, window)


@pytest.mark.parametrize("name", PASSES)
@settings(max_examples=15)
@given(some_steps=steps, point=points)
def test_every_pass_alone_and_all_without_it(name, some_steps, point):
    draft = RandomDraft(some_steps, point).draft()
    check(draft, point, (name,), 16)
    check(draft, point, tuple(other for other in PASSES if other != name), 16)


@pytest.mark.slow
@settings(max_examples=10)
@given(some_steps=steps, point=points)
def test_all_combinations_on_one_draft(some_steps, point):
    draft = RandomDraft(some_steps, point).draft()
    for passes in COMBINATIONS:
        check(draft, point, passes, 32)


@settings(max_examples=40)
@given(some_steps=steps, point=points, other=points)
def test_guards_are_kept(some_steps, point, other):
    """At another point, a guard breaks after all passes if and only if it does without them: the same one first."""
    draft = RandomDraft(some_steps, point).draft()
    pulls = [0.0] * len(draft.outputs)
    with np.errstate(all="ignore"):
        expected = by_reference(draft, other, pulls)[2]
    small = optimised(draft)
    assert len(small.guards) == len(draft.guards)
    assert at_point(ordered(small, window=8), other, pulls)[2] == expected
    assert in_lanes(small, [np.full(3, x) for x in other], pulls)[2] == expected


# What each pass does


def names_of(draft):
    return [draft.gate(i)[0] for i in range(len(draft))]


def test_expand():
    sketch = Sketch(3)
    one, three = sketch.constant(1.0), sketch.constant(3.0)
    outputs = [
        sketch.gate("positive", 0),
        sketch.gate("multiply", 0, one),
        sketch.gate("multiply", one, 0),
        sketch.gate("divide", 0, one),
        sketch.gate("power", 0, one),
        sketch.gate("sum", 1),
        sketch.gate("sum"),
        sketch.gate("prod"),
        sketch.gate("dot"),
    ]
    draft = expand(sketch.draft(outputs))
    assert len(draft) == 0
    assert draft.outputs[:6].tolist() == [0, 0, 0, 0, 0, 1]
    assert [draft.constants[~x] for x in draft.outputs[6:]] == [0.0, 1.0, 0.0]
    sketch = Sketch(3)
    sketch.constants = [1.0, 3.0]
    for name, operands in [("sum", (0, 1, 2)), ("prod", (0, 1, 2)), ("mean", (0, 1)), ("dot", (0, 1, 1, 2))]:
        sketch.gate(name, *operands)
    sketch.gate("power", 0, three)
    sketch.gate("multiply", 1, 1)
    draft = expand(sketch.draft([3, 4, 5, 6, 7, 8]))
    expected = (
        ["add"] * 2 + ["multiply"] * 2 + ["add", "divide"] + ["multiply", "multiply", "add", "square", "multiply"]
    )
    assert names_of(draft) == [*expected, "square"]


def test_fold():
    sketch = Sketch(1)
    two, three, zero = sketch.constant(2.0), sketch.constant(3.0), sketch.constant(0.0)
    six = sketch.gate("multiply", two, three)
    root = sketch.gate("sqrt", sketch.gate("add", six, three))
    truth = sketch.gate("less", two, root)
    chosen = sketch.gate("where", truth, 0, zero)
    unchosen = sketch.gate("where", sketch.gate("not", truth), 0, six)
    largest = sketch.gate("max", two, six, root)
    draft = fold(sketch.draft([root, chosen, unchosen, largest, sketch.gate("multiply", 0, six)], [truth], [1]))
    assert names_of(draft) == ["multiply"]
    assert draft.outputs[1] == 0
    assert [draft.constants[~x] for x in draft.outputs[[0, 2, 3]]] == [3.0, 6.0, 6.0]
    assert draft.constants[~draft.guards[0]] == 1.0
    values, gradient, broken = at_point(draft, [5.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert (values.tolist(), gradient.tolist(), broken) == ([3.0, 5.0, 6.0, 6.0, 30.0], [7.0], -1)
    values, gradients, broken = in_lanes(draft, [np.full(3, 5.0)], [1.0] * 5)
    assert (values[:, 1].tolist(), gradients[0].tolist(), broken) == ([3.0, 5.0, 6.0, 6.0, 30.0], [7.0] * 3, -1)


def test_a_broken_constant_guard_is_seen():
    sketch = Sketch(1)
    truth = sketch.gate("less", sketch.constant(1.0), sketch.constant(2.0))
    draft = fold(sketch.draft([0], [truth], [0]))
    assert at_point(draft, [5.0], [1.0])[2] == 0
    assert in_lanes(draft, [np.full(3, 5.0)], [1.0])[2] == 0


def test_constants_are_folded_in_float64_and_rounded_once():
    sketch = Sketch(1)
    tenth = sketch.gate("divide", sketch.constant(1.0), sketch.constant(10.0))
    third = sketch.gate("divide", tenth, sketch.constant(3.0))
    draft = optimised(sketch.draft([sketch.gate("multiply", 0, third)]))
    expected = np.float32(0.1 / 3.0)
    assert at_point(ordered(draft), [1.0], [1.0], single=True)[0][0] == float(expected)
    assert in_lanes(draft, [np.ones(3)], [1.0], single=True)[0][0, 2] == expected


def test_merge():
    sketch = Sketch(2)
    pairs = []
    for name, operands, swapped in [
        ("add", (0, 1), (1, 0)),
        ("multiply", (0, 1), (1, 0)),
        ("maximum", (0, 1), (1, 0)),
        ("hypot", (0, 1), (0, 1)),
        ("max", (0, 1, 0), (0, 1, 0)),
        ("less", (0, 1), (0, 1)),
    ]:
        pairs.append((sketch.gate(name, *operands), sketch.gate(name, *swapped)))
    apart = [(sketch.gate("subtract", 0, 1), sketch.gate("subtract", 1, 0))]
    apart.append((sketch.gate("divide", 0, 1), sketch.gate("divide", 1, 0)))
    apart.append((sketch.gate("less", 0, 1), sketch.gate("less", 1, 0)))
    nested = [(sketch.gate("sin", x), sketch.gate("sin", y)) for x, y in pairs]
    flat = [x for pair in [*pairs, *nested, *apart] for x in pair]
    found = merge(sketch.draft(flat)).outputs.reshape(-1, 2)
    same = found[:, 0] == found[:, 1]
    assert same[: len(pairs) + len(nested)].all() and not same[len(pairs) + len(nested) :].any()


def test_merge_looks_at_few_places_however_many_gates_lie_side_by_side():
    n = 10_000
    sketch = Sketch(n)
    parts = [sketch.gate(name, x) for x in range(n) for name in ("sin", "cos", "tanh")]
    last = sketch.gate("exp", 0)
    ratios = [sketch.gate("divide", x, last) for x in parts]  # whose newest operand is the same
    report = {}
    assert len(merge(sketch.draft(ratios), report)) == 6 * n + 1
    assert report["looks"] < 40 * 6 * n, report


def test_constants_of_equal_bits_are_one_and_zeros_are_told_apart():
    sketch = Sketch(1)
    zero, minus_zero, again = sketch.constant(0.0), sketch.constant(-0.0), sketch.constant(0.0)
    nans = [sketch.constant(math.nan), sketch.constant(math.nan)]
    outputs = [sketch.gate("arctan2", 0, x) for x in (zero, minus_zero, again, *nans)]
    draft = merge(fold(expand(sketch.draft(outputs))))
    values, _, _ = at_point(draft, [0.0], [0.0] * 5)
    assert values[:3].tolist() == [0.0, math.pi, 0.0] and np.isnan(values[3:]).all()


def test_a_pass_that_finds_nothing_returns_its_draft():
    sketch = Sketch(2)
    product = sketch.gate("products", *[0, 1] * 20)
    draft = sketch.draft([sketch.gate("tanh", sketch.gate("add", product, 1))])
    for function in (fold, merge, drop, combine):
        assert function(draft) is draft, function
    assert hoist(draft, [True, False])[1] is draft


def test_drop():
    sketch = Sketch(2)
    dead = sketch.gate("log", sketch.gate("negative", 0))
    live = sketch.gate("sin", 1)
    sketch.gate("exp", dead)
    truth = sketch.gate("less", 0, live)
    draft = sketch.draft([sketch.gate("cos", 1)], [truth], [1])
    assert needed_gates(draft, [draft.outputs]).tolist() == [0, 0, 0, 0, 0, 1]
    small = drop(draft)
    assert names_of(small) == ["sin", "less", "cos"]
    assert small.origin.tolist() == [2, 4, 5]
    assert drop(small) is small


def test_hoist():
    sketch = Sketch(3)
    scale = sketch.gate("exp", sketch.gate("multiply", 0, sketch.constant(2.0)))
    slope = sketch.gate("sin", scale)
    outputs = [sketch.gate("multiply", scale, 1), sketch.gate("add", slope, 2), slope, 0]
    truth = sketch.gate("less", 0, scale)
    once, rest = hoist(sketch.draft(outputs, [truth], [1]), [1, 0, 0])
    assert names_of(once) == ["multiply", "exp", "sin", "less"]
    assert [names_of(once)[x - 3] for x in once.outputs] == ["exp", "sin", "less"]
    assert (names_of(rest), rest.inputs) == (["multiply", "add"], 6)
    assert rest.outputs.tolist() == [6, 7, 4, 0] and rest.guards.tolist() == [5]
    for uniform in ([0, 0, 0], [1, 1, 1]):
        once, rest = hoist(sketch.draft(outputs, [truth], [1]), uniform)
        assert (len(once), len(rest)) == ((0, 6), (6, 0))[uniform[0]]


def test_combine_keeps_what_is_used_elsewhere():
    sketch = Sketch(3)
    product, other = sketch.gate("multiply", 0, 1), sketch.gate("multiply", 1, 2)
    partial = sketch.gate("add", product, other)
    total = sketch.gate("add", partial, sketch.gate("square", 2))
    total = sketch.gate("add", total, 0)
    assert names_of(combine(sketch.draft([total]))) == ["products"]
    assert names_of(combine(sketch.draft([total, other]))) == ["multiply", "products"]
    assert names_of(combine(sketch.draft([total, partial]))) == ["products", "products"]
    sketch = Sketch(5)
    total = 0
    for i in range(1, 5):
        total = sketch.gate("add", total, i)
    assert names_of(combine(sketch.draft([total]))) == ["total"]


def test_schedule_makes_runs_and_chains():
    sketch = Sketch(20)
    squares = [sketch.gate("square", i) for i in range(20)]
    sines = [sketch.gate("sin", x) for x in squares]
    draft = schedule(sketch.draft(sines))
    assert np.diff(draft.run).tolist() == [20, 20]
    sketch = Sketch(20)
    total, product = 0, 0
    for i in range(1, 20):
        total, product = sketch.gate("add", total, i), sketch.gate("multiply", product, i)
    assert sorted(np.diff(schedule(sketch.draft([total, product])).run).tolist()) == [19, 19]


def test_number_puts_operands_side_by_side():
    sketch = Sketch(16)
    order = [5, 3, 0, 7, 1, 15, 2, 8, 4, 6, 9, 14, 12, 10, 13, 11]
    outputs = [sketch.gate("sin", i) for i in order]
    draft = number(schedule(sketch.draft(outputs)))
    assert draft.operand.tolist() == list(range(16))
    values, gradient, _ = at_point(draft, np.arange(16.0), np.arange(16.0) + 1.0)
    np.testing.assert_allclose(values, np.sin(order), rtol=1e-14)
    weights = np.argsort(order) + 1.0
    np.testing.assert_allclose(gradient, weights * np.cos(np.arange(16.0)), rtol=1e-14)


def test_recycling_takes_fewer_slots_for_the_same_answer():
    def chain(x):
        for _ in range(500):
            x = fp.sin(x) * 1.1
        return x

    circuits = [fp.trace(chain, 0.5, passes=passes) for passes in (("recycle",), ())]
    slots = [circuit._plan.point(False).slots for circuit in circuits]
    assert slots[0] < 10 and slots[1] > 1000
    assert circuits[0].value_and_grad(0.7) == circuits[1].value_and_grad(0.7)


# What every combination must keep to the last bit


@pytest.mark.parametrize(
    "passes", [(), ("combine",), ("schedule",), ("combine", "schedule", "number"), PASSES], ids=str
)
def test_chains_keep_the_order_of_the_source(passes):
    generator = np.random.default_rng(3)
    for length in (3, 9, 63, 64, 65, 66, 127, 128, 129, 200):
        x = (generator.normal(size=length) * 10.0 ** generator.uniform(-8, 8, length)).tolist()
        y = (1.0 + generator.normal(size=length) * 1e-3).tolist()

        def added(x, y):
            total = x[0]
            for term in x[1:]:
                total = total + term
            return total

        def multiplied(x, y):
            total = y[0]
            for factor in y[1:]:
                total = total * factor
            return total

        def products(x, y):
            total = x[0] * y[0]
            for a, b in zip(x[1:], y[1:]):
                total = total + a * b
            return total

        def mixed(x, y):
            total = x[0]
            for i, (a, b) in enumerate(zip(x[1:], y[1:])):
                total = total + a * b if i % 3 else total + a if i % 2 else total + b * b
            return total

        for f in (added, multiplied, products, mixed):
            circuit = fp.trace(f, x, y, passes=passes)
            assert circuit(x, y) == f(x, y), (f.__name__, length)
            assert circuit.vjp((x, y))[0] == f(x, y), (f.__name__, length)
            batch = circuit.batch([np.full(70, a) for a in x], [np.full(70, b) for b in y])
            assert (batch == f(x, y)).all(), (f.__name__, length)


@pytest.mark.parametrize("passes", [(), ("drop",), ("merge", "fold"), PASSES], ids=str)
def test_a_dead_branch_that_holds_nan_has_no_effect(passes):
    def f(x, y):
        dead = fp.log(-x) * fp.sqrt(x - 5.0)
        dead * y
        return fp.where(x > 0.0, x * y, dead) + 0.0 * y

    circuit = fp.trace(f, 2.0, 3.0, passes=passes)
    assert circuit.value_and_grad(2.0, 3.0, argnums=(0, 1)) == (6.0, (3.0, 2.0))
    run = circuit.bind(np.full(3, 2.0), np.full(3, 3.0), in_axes=0)
    run()
    np.testing.assert_array_equal(run.value, 6.0)
    np.testing.assert_array_equal(run.grad, [[3.0] * 3, [2.0] * 3])


# Names, summary, structure


def test_names_of_passes():
    with pytest.raises(ValueError, match=r"there is no pass 'turbo'; the passes are fold, merge, drop"):
        fp.trace(lambda x: x, 1.0, passes=("turbo",))
    with pytest.raises(TypeError, match="expected a sequence of names"):
        fp.compile(lambda x: x, passes="fold")
    with pytest.raises(ValueError, match="there is no pass"):
        fp.compile(lambda x: x, passes=["fold", "Merge"])
    assert fp.compile(lambda x: x * 2.0, passes=iter(["recycle", "fold"]))(3.0) == 6.0


def test_summary_tells_of_every_pass_and_of_its_time():
    def f(x):
        return fp.dot(x, x) + fp.sin(x[0] * 2.0) + fp.sin(x[0] * 2.0)

    circuit = fp.trace(f, [1.0] * 7)
    head, title, *lines = circuit.summary().splitlines()
    assert head == repr(circuit)
    assert title.split() == ["pass", "gates", "runs", "slots", "bytes", "ms"]
    table = {line[:12].strip(): [float(x) for x in line[12:].split()] for line in lines[:-1]}
    passes = ["expand", "fold", "merge", "drop", "combine", "reroll", "schedule", "number"]
    assert list(table) == ["as recorded", *passes, "assembled", "recycle"]
    assert table["as recorded"][0] == 7 and table["expand"][0] == 19
    assert table["merge"][0] == 17 and table["combine"][0] < 10 and table["schedule"][1] <= table["schedule"][0]
    assert all(len(row) == 5 and row[4] >= 0.0 and row[3] > 0.0 for row in table.values())
    assert table["as recorded"][2] == 7 + 1 + 7 and table["recycle"][2] < table["assembled"][2]
    assert "instructions forward" in lines[-1] and "slots" in lines[-1] and "bytes" in lines[-1]
    shorter = fp.trace(f, [1.0] * 9, passes=("merge",)).summary()
    assert "merge" in shorter and "fold" not in shorter and "schedule" not in shorter and "recycle" not in shorter


def _twice(x):
    return fp.sum(fp.exp(x) * 2.0 + fp.exp(x))


MAPPED = {
    "map": lambda rows: fp.sum(fp.vmap(_twice)(rows)),
    "map in a map": lambda rows: fp.sum(fp.vmap(lambda x: fp.sum(fp.vmap(_twice)(fp.outer(x, x))))(rows)),
    "scan": lambda rows: fp.scan(lambda carry, x: (carry * 0.5 + _twice(x), None), 0.0, rows)[0],
}


@pytest.mark.parametrize("passes", [(), ("merge",), ("fold", "schedule")], ids=str)
@pytest.mark.parametrize("f", MAPPED.values(), ids=list(MAPPED))
def test_passes_are_left_out_of_bodies_too(f, passes):
    rows = np.array([[0.5, -1.0], [0.25, 2.0], [1.5, -0.5]])
    compiled, circuit = fp.compile(fp.value_and_grad(f), passes=passes), fp.trace(f, rows, passes=passes)
    value, gradient = fp.value_and_grad(f)(rows)
    for found in (compiled(rows), circuit.value_and_grad(rows)):
        np.testing.assert_allclose(found[0], value, rtol=1e-14)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-14)
    for summary in (compiled.summary(), circuit.summary()):
        ran = {line.split()[0] for line in summary.splitlines() if line.strip()}
        assert "body" in ran and ran & set(PASSES) == set(passes)


def test_summary_tells_what_was_hoisted_for_lanes():
    circuit = fp.trace(lambda x, w: fp.sin(fp.exp(w)) * x, 1.0, 0.5)
    assert "hoist" not in circuit.summary()
    circuit.batch(np.ones(5), 1.0, in_axes=(0, None))
    assert "hoist: 2 gates once, 1 per lane" in circuit.summary()


@pytest.mark.parametrize("passes", [(), PASSES], ids=str)
def test_no_gates_at_all(passes):
    circuit = fp.trace(lambda x, y: x, 1.0, 2.0, passes=passes)
    assert circuit.value_and_grad(3.0, 4.0, argnums=(0, 1)) == (3.0, (1.0, 0.0))
    assert fp.trace(lambda x: 7.0, 1.0, passes=passes).value_and_grad(3.0) == (7.0, 0.0)
    both = fp.trace(lambda x: (x, x, 2.0), 1.0, passes=passes)
    assert both.vjp((3.0,), (1.0, 10.0, 100.0)) == ((3.0, 3.0, 2.0), (11.0,))
    for f, expected in [(lambda x: x, [1.0, 2.0]), (lambda x: 7.0, [7.0, 7.0])]:
        np.testing.assert_array_equal(fp.trace(f, 1.0, passes=passes).batch(np.array([1.0, 2.0])), expected)


def test_drafts_of_many_gates_go_through_all_passes_without_recursion():
    length = 300_000
    opcode = kernels.opcode_of
    codes = np.where(np.arange(length) % 3 == 0, opcode["sin"], opcode["multiply"])
    arity = np.where(np.arange(length) % 3 == 0, 1, 2)
    first = np.concatenate([[0], np.cumsum(arity)])
    operand = np.zeros(first[-1], np.int32)
    operand[first[:-1]] = np.arange(length)  # each gate takes the one before it
    draft = Draft(1, [], codes, first, operand, np.arange(length), [length], [], [])
    small = ordered(optimised(draft))
    values, gradient, _ = at_point(small, [0.5], [1.0])
    x, slope = 0.5, 1.0
    for i in range(length):
        if i % 3 == 0:
            x, slope = math.sin(x), slope * math.cos(x)
        else:
            x, slope = x * 0.5, slope * 0.5 + x
    assert values[0] == pytest.approx(x, rel=1e-12, abs=1e-300)
    assert gradient[0] == pytest.approx(slope, rel=1e-12, abs=1e-300)
