"""Optimizer.update: a step that changes nothing, by itself, compiled, in scans, in lanes; the same as `step`."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from updates import EVERY, SQUARING, name, tolerance

SHAPES = {"w": (2, 3), "b": (3,), "c": ()}


def nest(random, dtype, scale=1.0):
    made = {key: (scale * random.normal(size=shape)).astype(dtype) for key, shape in SHAPES.items()}
    return {"layer": [made["w"], made["b"]], "c": float(made["c"])}


def near(found, expected, dtype):
    assert type(found) is type(expected)
    for x, y in zip(leaves(found), leaves(expected), strict=True):
        assert np.shape(x) == np.shape(y) and np.asarray(x).dtype == np.asarray(y).dtype
        assert_allclose(x, y, **tolerance(dtype))


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, (list, tuple)) else [tree]


def gradients(p, x):
    """Those of a loss that all numbers are in, and zeros."""
    return fp.grad(lambda p: fp.sum(fp.tanh(p["layer"][0] @ x) ** 2) + fp.sum(p["layer"][1] * x) * p["c"])(p)


def stepped(optimizer, p, xs):
    for x in xs:
        p = optimizer.step(p, gradients(p, x))
    return p


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@EVERY
def test_updates_are_what_steps_are(rule, statement, options, dtype):
    random = np.random.default_rng(3)
    start, xs = nest(random, dtype), random.normal(size=(4, 3)).astype(dtype)
    xs[1] = 0.0  # gradients that are 0, where roots of sums of squares may be 0 too
    optimizer = rule(start, **options)
    initial, before = optimizer.init(), copy.deepcopy(start)
    expected = stepped(rule(start, **options), copy.deepcopy(start), xs)

    def one(carry, x):
        p, state = carry
        return optimizer.update(p, gradients(p, x), state), None

    carry = start, initial
    for x in xs:
        carry = one(carry, x)[0]
    near(carry[0], expected, dtype)
    compiled, carry = fp.compile(lambda carry, x: one(carry, x)[0]), (start, initial)
    for x in xs:
        carry = compiled(carry, x)
    near(carry[0], expected, dtype)
    last, state = fp.compile(lambda carry, xs: fp.scan(one, carry, xs)[0])((start, initial), xs)
    near(last, expected, dtype)
    assert state["steps"] == 4.0 and optimizer.steps == 0 and len(compiled.cache_info()) == 1
    near(start, before, dtype)


@pytest.mark.parametrize("rule", SQUARING, ids=name)
def test_where_roots_are_zero_nothing_moves(rule):
    start, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.0, 0.5])}
    optimizer = rule(start, lr=0.1, eps=0.0, weight_decay=0.0)
    expected = optimizer.step(copy.deepcopy(start), grads)
    for update in (optimizer.update, fp.compile(optimizer.update)):
        moved, _ = update(start, grads, rule(start, lr=0.1, eps=0.0, weight_decay=0.0).init())
        assert_allclose(moved["w"], expected["w"], rtol=1e-12)
        assert moved["w"][0] == 1.0


@EVERY
def test_parameters_that_rest_for_a_while(rule, statement, options):
    p = {"a": np.ones(2), "b": np.full(2, 2.0)}
    optimizer, expected = rule(p, **options), copy.deepcopy(p)
    state = optimizer.init()
    for grads, frozen in [((0.5, None), ()), ((0.25, 1.0), ("a",)), ((1.0, 2.0), ())]:
        grads = {key: None if g is None else np.full(2, g) for key, g in zip("ab", grads)}
        optimizer.frozen = frozen
        p, state = optimizer.update(p, grads, state)
        expected = optimizer.step(expected, grads)
    for key in "ab":
        assert_allclose(p[key], expected[key], rtol=1e-12)
    assert_allclose(optimizer.init()["moved"]["b"], state["moved"]["b"])


def test_a_schedule_is_told_whole_numbers_where_nothing_is_traced():
    sgd = fp.optim.SGD(1.0, lr=1.0, schedule=lambda t: [1.0, 0.5][t])
    p, state = sgd.update(1.0, 1.0, sgd.init())
    assert sgd.update(p, 1.0, state)[0] == -0.5


def test_a_rule_is_changed_by_nobody_who_has_another():
    class Half(fp.optim.SGD):
        def move(self, value, grad, moments, rate, step):
            return value - 0.5 * rate * grad

    with pytest.raises(TypeError, match=r"a subclass of fastprop\.optim\.Optimizer itself"):
        Half(1.0)


def test_models_side_by_side():
    random = np.random.default_rng(0)
    models, xs = [nest(random, np.float64) for _ in range(3)], random.normal(size=(3, 3))
    adam = fp.optim.Adam(models[0], lr=0.1)
    together = {"layer": [np.stack([m["layer"][k] for m in models]) for k in range(2)]}
    together["c"] = np.array([m["c"] for m in models])
    states = fp.vmap(lambda _: adam.init(), in_axes=0)(np.zeros(3))

    def one(p, state, x):
        return adam.update(p, gradients(p, x), state)

    for f in (fp.vmap(one), fp.compile(fp.vmap(one))):
        moved, _ = f(together, states, xs)
        for k, model in enumerate(models):
            expected = fp.optim.Adam(model, lr=0.1).step(model, gradients(model, xs[k]))
            assert_allclose(moved["layer"][0][k], expected["layer"][0], rtol=1e-12)
            assert_allclose(moved["c"][k], expected["c"], rtol=1e-12)


def test_updates_can_be_differentiated():
    sgd = fp.optim.SGD({"w": 1.0}, momentum=0.9)

    def after(rate):
        p, state = {"w": 1.0}, sgd.init()
        for _ in range(3):
            p, state = sgd.update(p, fp.grad(lambda p: p["w"] ** 2)(p), state, rate)
        return p["w"]

    slope = (after(0.1 + 1e-6) - after(0.1 - 1e-6)) / 2e-6
    assert fp.grad(after)(0.1) == pytest.approx(slope, rel=1e-6)
    assert fp.compile(fp.grad(after))(0.1) == pytest.approx(slope, rel=1e-6)


def test_a_state_takes_up_what_steps_have_left():
    p = {"w": np.array([1.0, -2.0])}
    adam = fp.optim.Adam(p, lr=0.1)
    p = adam.step(p, {"w": np.array([0.5, 0.25])})
    found = adam.update(p, {"w": np.array([-1.0, 2.0])}, adam.init())
    assert_allclose(found[0]["w"], adam.step(p, {"w": np.array([-1.0, 2.0])})["w"], rtol=1e-12)
    assert found[1]["steps"] == adam.steps == 2


def test_schedules_frozen_parameters_none_and_rules_of_ones_own():
    p = {"a": np.ones(2), "b": 1.0, "c": 2.0}
    sgd = fp.optim.SGD(p, lr=1.0, schedule=fp.optim.Exponential(0.5))
    sgd.frozen = "b"
    step = fp.compile(lambda p, s: sgd.update(p, {"a": p["a"], "b": p["b"], "c": None}, s))
    state = sgd.init()
    for _ in range(2):
        p, state = step(p, state)
    assert p["a"].tolist() == [0.0, 0.0] and (p["b"], p["c"], state["steps"]) == (1.0, 2.0, 2.0)

    class Signs(fp.optim.Optimizer):
        remembers = ("mean",)

        def __init__(self, params, lr=0.1, *, schedule=None):
            super().__init__(params, lr, schedule=schedule)

        def move(self, value, grad, moments, rate, step):
            moments[0] = 0.5 * moments[0] + 0.5 * grad
            return value - rate * fp.sign(moments[0])

    signs = Signs(np.ones(2))
    moved, state = fp.compile(signs.update)(np.ones(2), np.array([3.0, -4.0]), signs.init())
    assert moved.tolist() == [0.9, 1.1] and state["mean"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "schedule", [fp.optim.Cosine(4), fp.optim.WarmUp(2), fp.optim.Step(2), fp.optim.InverseTime(1.0)]
)
def test_schedules_are_told_how_many_steps_were_made(schedule):
    sgd = fp.optim.SGD(1.0, lr=1.0, schedule=schedule)
    _, rates = fp.compile(lambda carry: fp.scan(lambda c, _: (sgd.update(*c[:1], 1.0, c[1]), c[0]), carry, None, 6))(
        (0.0, sgd.init())
    )
    expected = -np.cumsum([0.0, *[schedule(t) for t in range(5)]])
    assert_allclose(rates, expected, atol=1e-12)


def test_wrong_updates():
    p = {"w": np.ones(2)}
    adam = fp.optim.Adam(p)
    state = adam.init()
    wrong = [
        ((p, {"w": np.ones(3)}, state), ValueError, r"grads: w has shape \(3,\); expected \(2,\)"),
        ((p, p, {"steps": 0.0}), ValueError, "the state is a dict.*exp_avg, exp_avg_sq"),
        ((p, {"v": np.ones(2)}, state), ValueError, "grads has the keys"),
        ((p, p, {**state, "exp_avg": {"w": 1.0}}), ValueError, "exp_avg: w has shape"),
        (([p], p, state), TypeError, "params is a list"),
        ((p, {"w": np.ones(2, np.float32)}, state), TypeError, "grads: w has dtype float32; expected float64"),
        ((p, {"w": "up"}, state), TypeError, "grads: w is a str"),
        ((p, p, state, np.ones(2)), TypeError, "the rate is an array"),
        ((p, p, {**state, "steps": None}), TypeError, "the state's steps is None"),
    ]
    for given, error, match in wrong:
        with pytest.raises(error, match=match):
            adam.update(*given)
    for call in (lambda o: o.init(), lambda o: o.update(1.0, 1.0, {"steps": 0.0})):
        with pytest.raises(TypeError, match="make one of numbers and arrays"):
            call(fp.optim.SGD([fp.Unit(1.0)]))


@pytest.mark.parametrize("few", [0, 1 << 14], ids=["arrays", "numbers"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@EVERY
def test_a_compiled_step_moves_arrays_row_by_row_and_numbers_together(
    rule, statement, options, dtype, few, monkeypatch
):
    """Gradients of many numbers stay arrays, which a map updates; a rule of one's own is given all of a parameter."""
    monkeypatch.setattr("fastprop.derivatives.swept.FEW", few)
    random = np.random.default_rng(4)
    start = {key: random.normal(size=shape).astype(dtype) for key, shape in {"w": (4, 3), "b": (4,)}.items()}
    xs, ys = random.normal(size=(5, 6, 3)).astype(dtype), random.normal(size=(5, 6)).astype(dtype)

    def loss(p, x, y):
        return fp.mean(fp.vmap(lambda p, x, y: (fp.sum(fp.tanh(p["w"] @ x + p["b"])) - y) ** 2, (None, 0, 0))(p, x, y))

    def one(p, state, x, y):
        return optimizer.update(p, fp.grad(loss)(p, x, y), state)

    optimizer, other = rule(start, **options), rule(start, **options)
    compiled, slopes = fp.compile(one), fp.compile(fp.grad(loss))
    p, state, expected = start, optimizer.init(), copy.deepcopy(start)
    for x, y in zip(xs, ys):
        p, state = compiled(p, state, x, y)
        expected = other.step(expected, slopes(expected, x, y))
    near(p, expected, dtype)
    assert (f"vmap of {rule.__name__}.move, 4 lanes" in compiled.circuits()[0].summary()) == (few == 0)


class ByNorm(fp.optim.Optimizer):
    """A rule that looks at all of a parameter."""

    def move(self, value, grad, moments, rate, step):
        return value - rate * grad / fp.norm(grad)


def test_a_rule_of_ones_own_is_given_all_of_an_array(monkeypatch):
    monkeypatch.setattr("fastprop.derivatives.swept.FEW", 0)
    w, xs = np.arange(12.0).reshape(4, 3) / 10.0, np.linspace(-1.0, 1.0, 15).reshape(5, 3)

    def loss(w):
        return fp.mean(fp.vmap(lambda w, x: fp.sum(fp.tanh(w @ x) ** 2), (None, 0))(w, xs))

    optimizer, slope = ByNorm(w, 0.1), fp.grad(loss)(w)
    moved, _ = fp.compile(lambda w, state: optimizer.update(w, fp.grad(loss)(w), state))(w, optimizer.init())
    assert_allclose(moved, w - 0.1 * slope / np.linalg.norm(slope), rtol=1e-12)
