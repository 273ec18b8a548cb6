"""Gradients inside of what is compiled: its program sweeps them, and gives the numbers that eager gives."""

import dataclasses
import gc
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastprop as fp
from fastprop.circuits.recorded_map import RecordedMap
from fastprop.engine.program import Gradient, Variables, assemble
from fastprop.engine.trace import Draft, let_verify
from programs import EXTREME, OPCODES, SINGULAR, PathSums, RandomProgram, seeds
from test_directions import close, points


@pytest.fixture(autouse=True)
def everything_is_verified():
    before = let_verify(True)
    yield
    let_verify(before)


def gates_inside(compiled):
    """The gradients in the circuits of a compiled function."""
    drafts = [circuit._plan.draft for circuit in compiled.circuits()]
    return [region for draft in drafts for region in draft.payload.values() if isinstance(region, Gradient)]


# ------------------------------------------------------------------------------------------------- against eager


def at_a_point(program):
    """The rows of the Jacobian, each by its pulls."""
    pulled = fp.compile(lambda x, pulls: fp.vjp(program, x)[1](pulls)[0])
    count = len(program.outputs)
    return lambda x: [pulled(list(x), [float(i == k) for i in range(count)]) for k in range(count)]


def by_jacobian(program):
    jacobian = fp.compile(lambda x: fp.jacobian(program)(x))
    return lambda x: jacobian(list(x))


def in_a_map(program):
    mapped = fp.compile(lambda x, pulls: fp.vmap(lambda pull: fp.vjp(program, x)[1](pull)[0])(pulls))
    return lambda x: np.transpose(mapped(list(x), list(np.eye(len(program.outputs)))))


def of_lanes(program):
    mapped = fp.vmap(lambda x, pull: fp.vjp(program, [x[0], x[1]])[1](pull)[0])
    rows = np.eye(len(program.outputs))
    return lambda x: np.transpose(mapped(np.array([x] * len(rows)), list(rows)))


def around_a_map(program):
    """Its first input is the same in all lanes, the other one theirs."""

    def slope(k):
        def summed(first, second):
            return fp.vmap(lambda b: program([first, b])[k], reduce="sum")(second)

        return fp.compile(lambda a, b: fp.grad(summed, (0, 1))(a, b))

    slopes = [slope(k) for k in range(len(program.outputs))]
    return lambda x: [[float(part) for part in map(np.squeeze, f(x[0], np.array([x[1]])))] for f in slopes]


WAYS = [at_a_point, by_jacobian, in_a_map, of_lanes, around_a_map]


@pytest.mark.parametrize("pool", [SINGULAR, EXTREME], ids=["singular", "extreme"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", seeds(2, 12))
def test_first_derivatives_at_hostile_points(seed, outputs, pool):
    for number in range(3):
        program = RandomProgram(9000 + 1000 * seed + number, outputs=outputs)
        ways = [(way.__name__, way(program)) for way in WAYS]
        for x in points(seed, pool):
            with np.errstate(all="ignore"):
                truth = PathSums(program, x)
            if truth.fragile:
                continue
            expected = [[part for part, _ in row] for row in truth.backward]
            scale = [[size for _, size in row] for row in truth.backward]
            for name, way in ways:
                found = way(x)
                assert close(found, expected, scale), (name, program, x, found, expected)


@pytest.mark.parametrize("seed", seeds(2, 12))
def test_second_derivatives_at_hostile_points(seed):
    for number in range(3):
        program = RandomProgram(13000 + 1000 * seed + number, length=3)
        f = program.first
        inside = {
            "hessian": fp.compile(lambda x, f=f: fp.hessian(f)(x)),
            "gradient of a gradient": fp.compile(lambda x, f=f: fp.jacobian(fp.grad(f))(x)),
            "lanes": lambda x, f=f: fp.vmap(fp.hessian(f))(np.array([x, x]))[0],
        }
        for x in points(seed, SINGULAR, 4):
            with np.errstate(all="ignore"):
                if PathSums(program, x).fragile:
                    continue
            expected = fp.hessian(f)(list(x))
            for name, way in inside.items():
                found = way(list(x))
                assert close(found, expected, digits=1e-8, infinities=True), (name, program, x, found, expected)


# ----------------------------------------------------------------------------------- whatever people write in a step


@dataclasses.dataclass
class Model:
    weights: list
    bias: float


class Twice(fp.Gate):
    """A gate of one's own, which counts how often it is called."""

    called = 0

    def forward(self, x):
        Twice.called += 1
        return 2.0 * x

    def backward(self, pull, x):
        return 2.0 * pull


def loss(w, x):
    hidden = fp.tanh(w[0] * x + w[1])
    return (hidden * w[2] - x) ** 2 + fp.exp(-w[1]) * hidden


def branching(w, x):
    return fp.sqrt(w[0]) * x if w[0] * x > 0.5 else w[1] * x * x + w[2]


def mean_loss(w, x):
    return fp.vmap(loss, in_axes=(None, 0), reduce="mean")(w, x)


def updated(w, g):
    return [a - 0.1 * b for a, b in zip(w, g)]


def step(w, x):
    value, g = fp.value_and_grad(loss)(w, x)
    return value, updated(w, g)


def decided_by_its_slope(w, x):
    g = fp.grad(loss)(w, x)
    return g if g[0] > 0.3 else [2.0 * part for part in g]


def newton(w, x):
    root = w[0]
    for _ in range(3):
        value, slope = fp.value_and_grad(lambda r, x=x: r * r * r - x)(root)
        root = root - value / (slope + 1.0)
    return root


def until_flat(w, x):
    root, slope = w[0], 1.0
    while abs(slope) > 1e-3:
        slope = fp.grad(lambda r: (r - x) ** 2)(root)
        root = root - 0.4 * slope
    return root


def model_step(w, x):
    model = Model([w[0], w[1]], w[2])
    value, g = fp.value_and_grad(lambda m: loss([*m.weights, m.bias], x))(model)
    return {"value": value, "model": Model(updated(model.weights, g.weights), g.bias)}


def with_aux(w, x):
    (value, aux), g = fp.value_and_grad(lambda w, x: (loss(w, x), {"hidden": w[0] * x, "name": 3}), has_aux=True)(w, x)
    return value, aux, g


def pulled_twice(w, x):
    value, pull_back = fp.vjp(lambda w: [loss(w, x), w[0] * w[1]], w)
    first = pull_back([1.0, 0.0])[0]
    return value, first, pull_back([first[0], value[0]])[0]


def pulled_by_another(w, x):
    _, pull_back = fp.vjp(lambda w: loss(w, x), w)
    return fp.grad(lambda t: sum(pull_back(t * t)[0]) * w[0])(x), pull_back(1.0)


OF_A_STEP = {
    "step": step,
    "two arguments": lambda w, x: fp.grad(loss, argnums=(1, 0))(w, x),
    "closure": lambda w, x: fp.grad(lambda y: loss(w, y) * w[0])(x),
    "confusion": lambda w, x: fp.grad(lambda y: x * y * fp.stop_gradient(y))(x),
    "confusion with itself": lambda w, x: fp.grad(lambda y: y * w[0] * x)(w[0]),
    "identity": lambda w, x: fp.value_and_grad(lambda y: y)(x),
    "of nothing": lambda w, x: fp.value_and_grad(lambda y: w[0] * 2.0)(x),
    "of a number": lambda w, x: fp.grad(lambda y: fp.exp(y) * x)(0.5),
    "of an integer": lambda w, x: fp.grad(lambda y: y**3 * x)(2),
    "one argument twice": lambda w, x: fp.grad(lambda y, z: y * y * fp.sin(z), argnums=(0, 1))(x, x),
    "twice in a row": lambda w, x: step(step(w, x)[1], x),
    "one branch": lambda w, x: fp.value_and_grad(branching)(w, x),
    "decided by its slope": decided_by_its_slope,
    "newton": newton,
    "until flat": until_flat,
    "dataclass": model_step,
    "aux": with_aux,
    "pulled twice": pulled_twice,
    "pulled by another": pulled_by_another,
    "gradient of a gradient": lambda w, x: fp.grad(lambda y: fp.grad(lambda z: loss(w, z) * y)(y))(x),
    "hessian": lambda w, x: fp.hessian(loss)(w, x),
    "tangent of a gradient": lambda w, x: fp.jvp(lambda y: fp.grad(loss, 1)(w, y), (x,), (2.0,)),
    "gradient of a tangent": lambda w, x: fp.grad(lambda y: fp.jvp(lambda z: loss(w, z), (y,), (x,))[1])(x),
    "gate of one's own": lambda w, x: fp.value_and_grad(lambda y: Twice()(y * y) * w[1])(x),
    "largest": lambda w, x: fp.grad(lambda w: fp.max([w[0] * x, w[1], w[2]]) + fp.logsumexp([w[0], x]))(w),
    "norm": lambda w, x: fp.grad(lambda w: fp.sqrt(fp.dot(w, w) * 0.0))(w),
    "around a map": lambda w, x: fp.value_and_grad(mean_loss)(w, x * np.array([1.0, 2.0, -0.5])),
    "map of it": lambda w, x: fp.vmap(lambda s: fp.value_and_grad(loss)(w, s * x))(np.array([1.0, 2.0, -0.5])),
    "logarithm of a sum": lambda w, x: fp.grad(lambda w: fp.log(mean_loss(w, np.array([1.0, 2.0]))) * x)(w),
    "two maps": lambda w, x: fp.grad(
        lambda w: mean_loss(w, np.array([1.0, 2.0])) * 3.0 - mean_loss(updated(w, w), np.array([0.3, 0.4])) / 7.0
    )(w),
    "map after map": lambda w, x: fp.grad(lambda w: mean_loss([mean_loss(w, np.array([1.0, 2.0])), *w], np.ones(2)))(w),
    "two steps of a map": lambda w, x: fp.grad(mean_loss)(
        updated(w, fp.grad(mean_loss)(w, np.array([1.0, 2.0]))), np.array([0.5, 0.25])
    ),
    "rows of a map": lambda w, x: fp.jacobian(lambda w: [mean_loss(w, np.ones(2)), w[0]])(w),
}  # fmt: skip


def numbers_of(tree):
    """The numbers of a nested result, in a row."""
    if dataclasses.is_dataclass(tree):
        tree = [tree.weights, tree.bias]
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for part in tree for number in numbers_of(part)]
    return np.ravel(np.asarray(tree, np.float64)).tolist()


POINTS = [([0.3, 0.2, -0.4], 0.5), ([1.5, -0.7, 0.1], 0.9), ([0.0, 0.0, 0.0], 0.0), ([2.0, 1.0, 3.0], -1.25)]


@pytest.mark.parametrize("name", OF_A_STEP)
def test_a_step_gives_what_it_gives_eagerly(name):
    f = OF_A_STEP[name]
    compiled = fp.compile(f)
    single = fp.compile(f, dtype="float32")
    for w, x in POINTS:
        with fp.eager(), np.errstate(all="ignore"):
            expected = numbers_of(f(list(w), x))
        assert close(numbers_of(compiled(list(w), x)), expected, digits=1e-12), (w, x)
        assert close(numbers_of(single(list(w), x)), expected, scale=1.0, digits=2e-5), (w, x)
    assert gates_inside(compiled) or name in ("of nothing", "map of it") or "tangent of" in name


@pytest.mark.parametrize("name", OF_A_STEP)
def test_a_step_in_lanes_gives_what_it_gives_eagerly(name):
    f = OF_A_STEP[name]

    def of_a_lane(w, x):
        return sum(numbers[0] * (k + 1.0) for k, numbers in enumerate(map(list, zip(leaves_of(f(w, x))))))

    w, x = np.array([w for w, _ in POINTS[:2] + POINTS[3:]]), np.array([x for _, x in POINTS[:2] + POINTS[3:]])
    rows = lambda w, x: of_a_lane([w[0], w[1], w[2]], x)  # noqa: E731
    with fp.eager():
        expected = [float(fp.stop_gradient(rows(list(row), point))) for row, point in zip(w.tolist(), x.tolist())]
    for mapped in (fp.vmap(rows), fp.compile(fp.vmap(rows)), fp.compile(lambda w, x: fp.vmap(rows)(w, x))):
        for _ in range(2):
            np.testing.assert_allclose(mapped(w, x), expected, rtol=1e-11)


def leaves_of(tree):
    """The numbers of a nested result, handles as they are."""
    if dataclasses.is_dataclass(tree):
        tree = [tree.weights, tree.bias]
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for part in tree for number in leaves_of(part)]
    if np.shape(tree):
        return [tree[k] for k in np.ndindex(np.shape(tree))]
    return [tree]


def test_captured_leaves_are_read_at_every_call():
    scale = fp.Unit(2.0)
    compiled = fp.compile(lambda x: fp.grad(lambda y: y * y * scale)(x))
    assert compiled(3.0).value == 12.0
    scale.value = 5.0
    assert compiled(3.0).value == 30.0
    compiled(3.0).backward()
    assert scale.grad == 6.0


def test_what_computes_gradients_is_differentiated_in_turn():
    cube = fp.compile(lambda x: fp.grad(lambda y: y**3)(x))
    assert cube(2.0) == 12.0
    x = fp.Unit(2.0)
    cube(x).backward()
    assert x.grad == 12.0
    assert cube(2.0) == 12.0
    mapped = fp.compile(lambda x: fp.vmap(fp.grad(lambda y: y**3))(x).sum())
    x = fp.Array([1.0, 2.0])
    assert mapped(np.array([1.0, 2.0])) == 15.0
    mapped(x).backward()
    assert x.grad.tolist() == [6.0, 12.0]
    assert fp.compile(fp.grad(lambda x: cube(x) * x))(2.0) == 36.0
    assert fp.trace(lambda x: fp.grad(lambda y: y**3)(x), 1.0).value_and_grad(2.0) == (12.0, 12.0)


def test_a_circuit_compiled_for_its_value_says_that_it_has_no_gradient():
    compiled = fp.compile(step)
    compiled([0.3, 0.2, -0.4], 0.5)
    circuit = compiled.circuits()[0]
    restored = pickle.loads(pickle.dumps(circuit))
    assert restored([0.1, 0.2, 0.3], 0.5) == compiled([0.1, 0.2, 0.3], 0.5)
    assert "assembled" in circuit.summary()
    for wrong in (circuit.profile, lambda w, x: circuit.vjp((w, x), (1.0, [0.0] * 3))):
        with pytest.raises(TypeError, match=r"step was compiled for its value .* compile value_and_grad\(step\)"):
            wrong([0.3, 0.2, -0.4], 0.5)


def test_lanes_on_ways_of_their_own_run_gradients_gate_by_gate(monkeypatch):
    def assembled(*_):
        raise AssertionError("a program was assembled for one lane")

    monkeypatch.setattr(RecordedMap, "_run_plan", assembled)
    x = np.linspace(-40.0, 40.0, 60)
    with fp.eager():
        expected = [until_flat([0.5], a) for a in x]
    for mapped in (fp.vmap(lambda a: until_flat([0.5], a)), fp.compile(fp.vmap(lambda a: until_flat([0.5], a)))):
        np.testing.assert_allclose(mapped(x), expected, rtol=1e-13)
        np.testing.assert_allclose(mapped(x[::-1]), expected[::-1], rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------- arrays

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(5, 4)), RNG.normal(size=(3, 5))]
LANES = RNG.normal(size=(7, 4)), RNG.normal(size=(7, 3))


def network(weights, x, y):
    inner, outer = weights
    hidden = [fp.tanh(fp.dot(row, x)) for row in inner]
    return sum((fp.dot(list(row), hidden) - b) ** 2 for row, b in zip(outer, y))


batch_loss = fp.vmap(network, in_axes=(None, 0, 0), reduce="mean")


def stacked(x):
    twice = fp.vmap(lambda a: fp.exp(a) * 2.0)(x)
    products = fp.vmap(lambda a, b: a * b, reduce="sum")(x, twice)
    return fp.vmap(lambda b: fp.sqrt(b) * b, reduce="sum")(twice) + twice[0] * twice.sum() + products


def pulled_often(weights, x, y):
    value, pull_back = fp.vjp(lambda w: [fp.log(batch_loss(w, x, y)), w[0][0, 0] * w[1][2, 1]], weights)
    first = pull_back([1.0, 0.0])[0]
    return value, first, pull_back([first[0][0, 0], value[0]])[0], fp.grad(batch_loss)(weights, x, y)


OF_ARRAYS = {
    "step": (
        lambda w, x, y: (lambda v, g: (v, updated(w, g)))(*fp.value_and_grad(batch_loss)(w, x, y)), (WEIGHTS, *LANES)
    ),
    "all arguments": (lambda w, x, y: fp.grad(batch_loss, (0, 1, 2))(w, x, y), (WEIGHTS, *LANES)),
    "pulled often": (pulled_often, (WEIGHTS, *LANES)),
    "scaled": (
        lambda w, x, y: fp.grad(lambda w: batch_loss([w[0] * 2.0, w[1]], x, y) * w[0][0, 0])(w), (WEIGHTS, *LANES)
    ),
    "closure": (lambda w, x, y: fp.grad(lambda u: batch_loss([u, w[1]], x, y))(w[0]), (WEIGHTS, *LANES)),
    "confusion": (lambda w, x, y: fp.grad(lambda u: batch_loss(u, x, y) * batch_loss(w, x, y))(w), (WEIGHTS, *LANES)),
    "stacked": (lambda x: fp.value_and_grad(stacked)(x), (LANES[0][0],)),
    "stacked, of numbers": (lambda x: x - 0.1 * fp.grad(lambda y: stacked(y * x))(x), (LANES[0][0],)),
    "not used": (lambda x: fp.grad(lambda a, b: a.sum(), (0, 1))(x, 2.0 * x), (LANES[0][0],)),
    "of what a map makes": (
        lambda x: fp.grad(lambda a: fp.vmap(fp.tanh, reduce="sum")(a))(fp.vmap(lambda a: a * a)(x)), (LANES[0][0],)
    ),
    "read in a map in a map": (
        lambda x: fp.grad(
            lambda a: fp.vmap(lambda b: fp.vmap(lambda c: b * c * c, reduce="sum")(a), reduce="sum")(a)
        )(x),
        (LANES[0][0],),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_arrays_have_the_gradients_that_they_have_eagerly(name):
    f, arguments = OF_ARRAYS[name]
    with fp.eager():
        expected = numbers_of(f(*arguments))
    for dtype, digits in (("float64", 1e-12), ("float32", 1e-4)):
        compiled = fp.compile(f, dtype=dtype)
        given = [[w.astype(dtype) for w in x] if isinstance(x, list) else x.astype(dtype) for x in arguments]
        kept = [compiled(*given) for _ in range(3)]
        for found in kept:
            assert close(numbers_of(found), expected, digits=digits)
        assert gates_inside(compiled) or name == "read in a map in a map"


def test_the_arguments_of_a_call_are_not_held():
    compiled = fp.compile(lambda w, x, y: fp.grad(batch_loss)(w, x, y))
    weights = [w.copy() for w in WEIGHTS]
    before = [sys.getrefcount(w) for w in weights]
    compiled(weights, *LANES)
    compiled(weights, *LANES)
    gc.collect()
    assert [sys.getrefcount(w) for w in weights] == before


def test_threads_compute_gradients_of_their_own():
    compiled = fp.compile(lambda w, x, y: fp.value_and_grad(batch_loss)(w, x, y))
    scales = [1.0 + k for k in range(8)]
    alone = [numbers_of(compiled([k * w for w in WEIGHTS], *LANES)) for k in scales]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda k: numbers_of(compiled([k * w for w in WEIGHTS], *LANES)), scales))
            assert found == alone


# --------------------------------------------------------------------------------------------------- what it costs


def deep(w, x):
    for k in range(40):
        x = fp.tanh(w[k % 4] * x + w[(k + 1) % 4]) * fp.exp(-x)
    return x


def test_gates_are_those_of_the_function_and_of_the_update():
    compiled = fp.compile(lambda w, x: updated(w, fp.grad(deep)(w, x)))
    w = [0.3, 0.2, -0.4, 0.1]
    compiled(w, 0.5)
    body, update = len(fp.trace(deep, w, 0.5)), 2 * len(w)
    circuit = compiled.circuits()[0]
    assert len(circuit) <= body + update + 2 * len(w) + 1
    mapped = fp.compile(lambda w, x: fp.vmap(lambda x: fp.grad(deep)(w, x))(x))
    mapped(w, np.array([0.5, 0.6]))
    (region,) = [r for r in mapped.circuits()[0]._plan.draft.payload.values() if hasattr(r, "body")]
    assert len(region.only_path().plan.draft) <= body + 2 * len(w) + 1


def test_instructions_are_those_of_the_function_differentiated():
    w = [0.3, 0.2, -0.4, 0.1]
    compiled = fp.compile(lambda w: fp.value_and_grad(lambda w: deep(w, 0.5))(w))
    compiled(w)
    inside, _ = compiled.circuits()[0]._plan.point(False).instructions
    forward, backward = fp.trace(lambda w: deep(w, 0.5), w)._plan.point(True).instructions
    assert inside <= forward + backward + 2


def test_lanes_whose_pull_is_known_run_forward_once():
    def of_lanes(w):
        return fp.vmap(lambda x: Twice()(w * x), reduce="sum")(np.array([1.0, 2.0, 3.0])) / 3.0

    calls = []
    for f in (lambda w: of_lanes(w) * 5.0, lambda w: fp.exp(of_lanes(w))):
        compiled = fp.compile(lambda w, f=f: fp.value_and_grad(f)(w))
        compiled(0.3)
        before = Twice.called
        compiled(0.4)
        calls.append(Twice.called - before)
    assert calls == [3, 6]


# ------------------------------------------------------------------------------------------------------- by hand


def by_hand(variables, gradient=(1, 2)):
    """x·y and its gradient, as a draft."""
    names = ["region", "result", "multiply", "region", "result"]
    operands = [[0, 1], [2], [2, 3], [-1, 4, *variables], [5]]
    return Draft(
        2, [1.0], [OPCODES[name] for name in names], np.cumsum([0, *map(len, operands)]),
        [x for part in operands for x in part],
        range(5), [5, 6], [], [], payload={0: Variables(2), 3: Gradient(*gradient)},
    )  # fmt: skip


def test_programs_by_hand():
    program = assemble(by_hand([2, 3]), gradient=False)
    assert any(line.startswith("gradient of") for line in program.listing())
    with pytest.raises(ValueError, match=r"gate 3 \(gradient\) has variables that are not whole, or not in order"):
        assemble(by_hand([3, 2]), gradient=False)
    with pytest.raises(ValueError, match="gate 0 is a part of a gradient, which no program that runs backward"):
        assemble(by_hand([2, 3]))


def test_gradients_in_a_body_are_differentiated_where_the_function_is_a_gate():
    x = np.linspace(0.5, 2.0, 7)

    def f(w, x):
        return fp.vmap(lambda x: fp.grad(lambda y: w * y**3)(x) * 1.0, reduce="sum")(x)

    known, leaf = fp.compile(f), fp.Unit(2.0)
    known(2.0, x)
    known(leaf, x).backward()
    assert leaf.grad == pytest.approx(3.0 * np.sum(x**2))
    captured = fp.Unit(2.0)
    fp.compile(lambda x: f(captured, x))(x).backward()
    assert captured.grad == pytest.approx(3.0 * np.sum(x**2))
    nested, leaf = fp.compile(lambda w, x: fp.vmap(lambda v: f(w, x) * v, reduce="sum")(x)), fp.Unit(2.0)
    nested(2.0, x)
    nested(leaf, x).backward()
    assert leaf.grad == pytest.approx(3.0 * np.sum(x**2) * np.sum(x))


def test_a_function_that_raises_while_it_is_recorded_anew_works_afterwards():
    ill = [False]

    def f(x):
        if ill[0]:
            raise ArithmeticError("not now")
        return x * fp.grad(lambda y: y**3)(x)

    compiled, leaf = fp.compile(f), fp.Unit(2.0)
    assert compiled(2.0) == 24.0
    ill[0] = True
    with pytest.raises(ArithmeticError):
        compiled(leaf)
    ill[0] = False
    compiled(leaf).backward()
    assert leaf.grad == 36.0


ROWS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
OTHERS = np.array([1.0, 2.0, 3.0])


def squares(v):
    return fp.vmap(lambda x: x * x, reduce="sum")(v)


IN_BODIES = {  # what is called at every row, of what: gradients of functions that hold maps
    "stacked results": lambda u: fp.grad(lambda w: fp.sum(fp.vmap(lambda x: x * w * w)(OTHERS)))(u[0]) * u,
    "of a whole array": lambda u: fp.grad(squares)(u) * 1.0,
    "stacked, of a whole array": lambda u: fp.grad(lambda v: fp.sum(fp.vmap(lambda x: x * x)(v)))(u) * u[1],
    "a map of it inside": lambda u: (
        fp.grad(lambda v: fp.vmap(lambda x: (fp.vmap(lambda z: z)(v), x)[1], reduce="sum")(v))(u) * u
    ),
    "values, too": lambda u: fp.value_and_grad(lambda w: fp.sum(fp.vmap(lambda x: x * w)(OTHERS)))(u[0])[0] * u,
    "at plain numbers": lambda u: fp.grad(lambda s: fp.sum(s * s))(np.ones(3)) * u,
    "of those again": lambda u: fp.grad(lambda q: fp.sum(fp.grad(lambda s: fp.sum(s * s))(np.ones(3))) * q)(u[0]) * u,
    "beside a map": lambda u: (
        fp.grad(
            lambda q: (fp.grad(lambda s: fp.sum(s * s))(np.ones(3)), fp.vmap(lambda z: u[0] * q, reduce="sum")(OTHERS))[
                1
            ]
        )(u[1])
        * u
    ),
    "a step of one's own": lambda u: (
        fp.grad(lambda w: fp.sum((np.ones(3) - 0.1 * fp.grad(lambda v: fp.sum(v * v) * w)(np.ones(3))) * w))(u[0]) * u
    ),
}


@pytest.mark.parametrize("f", IN_BODIES.values(), ids=IN_BODIES)
def test_gradients_in_bodies_go_through_maps(f):
    expected = np.array([fp.Array(u).value * 0.0 + np.asarray(plain_of(f, u)) for u in ROWS])
    for front in (
        fp.vmap(f),
        fp.compile(fp.vmap(f)),
        fp.compile(lambda rows: fp.scan(lambda c, u: (c, f(u)), 0.0, rows)[1]),
        fp.compile(lambda rows: fp.stack([f(rows[0]), f(rows[1])])),
    ):
        np.testing.assert_allclose(front(ROWS), expected, rtol=1e-12)


def plain_of(f, u):
    found = f(fp.Array(u))
    return getattr(found, "value", found)
