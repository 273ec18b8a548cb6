"""Update rules: each equal to a plain statement of it in NumPy, on both kinds of parameters, and what they mean."""

import math
import platform
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastprop as fp
from fastprop import optim
from fastprop.engine.program import instruction_sets, use_instruction_set
from fastprop.handles.nesting import flatten, order_of
from updates import EVERY, adam, tolerance


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rule_is_its_statement(rule, statement, options, dtype, instruction_set):
    random = np.random.default_rng(1)
    shapes = [(3, 5), (70,), (1,), (0, 3)]
    params = [random.normal(size=shape).astype(dtype) for shape in shapes]
    optimizer = rule(params, **options)
    expected, states = [p.astype(np.float64) for p in params], [{} for _ in shapes]
    for t in range(1, 8):
        grads = [random.normal(size=shape).astype(dtype) for shape in shapes]
        params = optimizer.step(params, grads)
        for k, g in enumerate(grads):
            expected[k] = statement(expected[k], g.astype(np.float64), states[k], t, **options)
    for found, wanted in zip(params, expected):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, **tolerance(dtype))
    assert optimizer.steps == 7


@EVERY
def test_all_instruction_sets_give_the_same_bits(rule, statement, options):
    results = []
    for chosen in instruction_sets():
        use_instruction_set(chosen)
        random = np.random.default_rng(2)
        params = {x: random.normal(size=101).astype(x) for x in ("f4", "f8")}
        optimizer = rule(params, **options)
        for _ in range(5):
            params = optimizer.step(params, {x: random.normal(size=101).astype(x) for x in params})
        results.append((params["f4"].tobytes(), params["f8"].tobytes(), repr(optimizer.state_dict())))
    use_instruction_set()
    assert len(set(results)) == 1


@EVERY
def test_units_and_arrays_move_as_numbers_do(rule, statement, options, engine):
    random = np.random.default_rng(3)
    numbers = {"u": 0.5, "a": random.normal(size=(2, 3)), "list": [1.5, -2.0]}
    leaves = {"u": engine.Unit(0.5), "a": engine.Array(numbers["a"]), "list": [engine.Unit(1.5), engine.Unit(-2.0)]}
    mine, theirs = rule(leaves, **options), rule(numbers, **options)
    for _ in range(6):
        mine.zero_grad()
        loss = leaves["u"] * leaves["u"] + (leaves["a"] * leaves["a"]).sum() + leaves["list"][0] * leaves["list"][1]
        loss.backward()
        grads = {"u": 2 * numbers["u"], "a": 2 * numbers["a"], "list": numbers["list"][::-1]}
        assert mine.step() is None
        numbers = theirs.step(numbers, grads)
    assert leaves["u"].value == pytest.approx(numbers["u"], rel=1e-13)
    assert [x.value for x in leaves["list"]] == pytest.approx(numbers["list"], rel=1e-13)
    np.testing.assert_allclose(leaves["a"].value, numbers["a"], rtol=1e-13)


class Block:
    """An array to come."""

    def __init__(self, shape, dtype, way):
        self.shape, self.dtype, self.way = tuple(shape), dtype, way

    def filled(self, random):
        """Random numbers, also in the other order, with gaps, or of the other byte order."""
        array = random.normal(size=self.shape).astype(self.dtype)
        if self.way == "fortran":
            return np.asfortranarray(array)
        if self.way == "gaps":
            return np.repeat(array, 2, axis=0)[::2]
        return array.astype(array.dtype.newbyteorder(">")) if self.way == "swapped" else array


leaf = st.one_of(
    st.just(None),
    st.builds(
        Block,
        st.lists(st.integers(0, 4), min_size=1, max_size=3),
        st.sampled_from(["f4", "f8"]),
        st.sampled_from(["plain", "fortran", "gaps", "swapped"]),
    ),
)
nests = st.recursive(
    leaf,
    lambda x: st.one_of(
        st.lists(x, max_size=3), st.tuples(x, x), st.dictionaries(st.text(max_size=3), x, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(nests)
def test_containers_of_any_nesting_keep_it(tree):
    random = np.random.default_rng(4)
    leaves, nesting = flatten([tree, None])  # at least one number
    leaves = [float(random.normal()) if leaf is None else leaf.filled(random) for leaf in leaves]
    params = nesting.unflatten(leaves)
    optimizer = optim.Adam(params, lr=0.1)
    expected, states = [np.asarray(x, np.float64) for x in leaves], [{} for _ in leaves]
    for t in (1, 2, 3):
        slopes = [random.normal(size=np.shape(x)).astype(np.asarray(x).dtype) for x in leaves]
        params = optimizer.step(params, nesting.unflatten(slopes))
        expected = [adam(p, np.float64(g), s, t, lr=0.1) for p, g, s in zip(expected, slopes, states)]
    found, again = flatten(params)
    assert order_of(again, nesting) == list(range(len(leaves)))
    for old, new, wanted in zip(leaves, found, expected):
        assert type(new) is type(old) and np.shape(new) == np.shape(old)
        np.testing.assert_allclose(new, wanted, **tolerance(np.asarray(old).dtype.newbyteorder("=")))


def test_namedtuples_and_dataclasses_are_containers():
    from dataclasses import dataclass
    from typing import NamedTuple

    class Pair(NamedTuple):
        w: float
        b: float

    @dataclass
    class Layer:
        pair: Pair
        scale: np.ndarray

    params = Layer(Pair(1.0, 2.0), np.ones(2))
    optimizer = optim.SGD(params, lr=0.5)
    assert optimizer.names == ["pair.w", "pair.b", "scale"]
    params = optimizer.step(params, Layer(Pair(1.0, -1.0), np.array([0.0, 2.0])))
    assert params.pair == Pair(0.5, 2.5) and params.scale.tolist() == [1.0, 0.0]


# Values, and the memory that they lie in -----------------------------------------------------------------------------


def test_old_parameters_keep_their_numbers():
    params = [np.ones(3), {"w": np.full((2, 2), 2.0, np.float32)}]
    optimizer = optim.SGD(params, lr=1.0)
    seen = [params]
    for _ in range(4):
        seen.append(optimizer.step(seen[-1], [np.ones(3), {"w": np.ones((2, 2), np.float32)}]))
    assert [p[0].tolist() for p in seen] == [[1.0 - t] * 3 for t in range(5)]
    assert [p[1]["w"][0, 0] for p in seen] == [2.0 - t for t in range(5)]


def test_memory_that_nobody_holds_is_written_again():
    params, grads = [np.ones(3)], [np.ones(3)]
    optimizer = optim.Adam(params)
    places = set()
    for _ in range(10):
        params = optimizer.step(params, grads)
        places.add(params[0].ctypes.data)
    assert len(places) == 2
    kept = params[0][1:]  # a view holds the memory
    number = kept[0]
    for _ in range(4):
        params = optimizer.step(params, grads)
    assert kept[0] == number


@pytest.mark.parametrize("in_place", [False, True])
def test_a_loop_allocates_no_arrays(in_place):
    params, grads = {"w": np.ones((100, 100)), "b": np.ones(5000, np.float32)}, {}
    grads = {name: 0.5 * value for name, value in params.items()}
    optimizer = optim.Adam(params)
    for _ in range(3):
        params = optimizer.step(params, grads, in_place=in_place)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            params = optimizer.step(params, grads, in_place=in_place)
        assert tracemalloc.get_traced_memory()[1] - before < 5000
    finally:
        tracemalloc.stop()


def test_arrays_that_were_bent_are_not_written_again():
    params, grads = [np.ones((2, 3))], [np.ones((2, 3))]
    optimizer = optim.SGD(params, lr=1.0)
    for _ in range(6):
        params = optimizer.step(params, grads)
        bent = params[0].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5 and later
            params[0].shape = (3, 2)
        with pytest.raises(ValueError, match=r"0 has shape \(3, 2\); expected \(2, 3\)"):
            optimizer.step(params, grads)
        params = [bent]
    assert params[0].shape == (2, 3)


def test_in_place_writes_into_the_arrays_given():
    params = {"w": np.ones(3), "b": np.zeros(2, np.float32)}
    held = params["w"]
    optimizer = optim.SGD(params, lr=1.0)
    assert optimizer.step(params, {"w": np.ones(3), "b": np.ones(2, np.float32)}, in_place=True) is params
    assert held.tolist() == [0.0, 0.0, 0.0] and params["b"].tolist() == [-1.0, -1.0]
    params["w"].flags.writeable = False
    with pytest.raises(ValueError, match="w can't be updated in place"):
        optimizer.step(params, {"w": np.ones(3), "b": np.ones(2, np.float32)}, in_place=True)
    assert optimizer.steps == 1 and params["b"].tolist() == [-1.0, -1.0]


def test_in_place_gives_numbers_in_a_container_of_their_own():
    params = {"w": np.ones(3), "b": 2.0}
    optimizer = optim.SGD(params, lr=1.0)
    new = optimizer.step(params, {"w": np.ones(3), "b": 1.0}, in_place=True)
    assert new["w"] is params["w"] and new["b"] == 1.0 and params["b"] == 2.0


def test_values_of_arrays_taken_earlier_stay():
    w = fp.Array([1.0, 2.0])
    optimizer = optim.SGD([w], lr=1.0)
    w.grad = [1.0, 1.0]
    taken = [w.value]
    for _ in range(5):
        optimizer.step()
        taken.append(w.value)
    assert [x.tolist() for x in taken] == [[1.0 - t, 2.0 - t] for t in range(6)]
    with pytest.raises(ValueError, match="read-only"):
        w.value[0] = 5.0


def test_partials_are_as_recorded():
    w, u = fp.Array([1.0, 2.0]), fp.Unit(3.0)
    optimizer = optim.SGD([w, u], lr=1.0)
    for _ in range(3):
        loss = (w * w).sum() * u
        values, number = w.value.copy(), u.value
        w.grad, u.grad = [1.0, 1.0], 1.0
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()  # through what it was recorded with
        np.testing.assert_array_equal(w.grad, 2.0 * values * number)
        assert u.grad == (values**2).sum()


def test_compiled_functions_see_the_new_values():
    w, b = fp.Array([0.0, 0.0]), fp.Unit(0.0)
    loss = fp.compile(lambda x, y: (w[0] * x + w[1] * x * x + b - y) ** 2)
    optimizer = optim.Adam([w, b], lr=0.05)
    for t in range(600):
        x = math.sin(t)
        optimizer.zero_grad()
        loss(x, 1.0 + 2.0 * x - x * x).backward()
        optimizer.step()
    assert b.value == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(w.value, [2.0, -1.0], atol=0.05)


# Meanings ------------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_gradient_and_no_eps_does_not_move(rule, statement, options, dtype):
    options = {**options, "weight_decay": 0.0, **({"eps": 0.0} if rule is not optim.SGD else {})}
    params = [np.array([1.0, -2.0, 0.0], dtype)]
    after = rule(params, **options).step(params, [np.zeros(3, dtype)])
    assert after[0].tolist() == [1.0, -2.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_that_die_out_do_not_stay_at_the_least_number(dtype, instruction_set):
    optimizer = optim.Adam(np.zeros(20, dtype), betas=(0.5, 0.5))
    params = optimizer.step(np.zeros(20, dtype), np.ones(20, dtype))
    for _ in range(1100):  # float64 has 1,074 halves below 1
        params = optimizer.step(params, np.zeros(20, dtype))
    (moments,) = optimizer.state_dict()["parameters"].values()
    small = np.abs(np.array([moments["exp_avg"], moments["exp_avg_sq"]]))
    assert small.max() == 0.0 if platform.machine() in ("x86_64", "AMD64") else small.max() < np.finfo(dtype).tiny
    assert np.float64(5e-324) * 0.5 == 0.0 and np.float64(5e-324) * 1.0 > 0.0  # only there


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9999999), (0.9, 1.0 - 1e-8), (0.0, 0.0)])
def test_adams_first_step_is_the_rate(betas, instruction_set):
    params = [np.zeros(20, np.float32)]
    after = optim.Adam(params, lr=0.1, betas=betas).step(params, [np.ones(20, np.float32)])
    np.testing.assert_allclose(after[0], -0.1, rtol=1e-6)


def test_steps_are_counted_past_float32():
    params = [np.zeros(3, np.float32)]
    optimizer = optim.Adam(params, betas=(0.9, 0.99999999))
    state = optimizer.state_dict()
    state["steps"] = state["parameters"]["0"]["steps"] = 2**24
    optimizer.load_state_dict(state)
    for _ in range(3):
        params = optimizer.step(params, [np.ones(3, np.float32)])
    assert optimizer.steps == 2**24 + 3 == optimizer.state_dict()["parameters"]["0"]["steps"]


def test_amsgrad_takes_the_greatest_before_the_start_is_taken_out():
    params, optimizer = [0.0], optim.Adam([0.0], lr=1.0, betas=(0.0, 0.5), eps=0.0, amsgrad=True)
    params = optimizer.step(params, [2.0])  # v = 2, of the first 1/2: 4
    assert params == [-1.0]
    params = optimizer.step(params, [0.5])  # v = 1.125, the greatest is still 2, of the first 3/4
    assert params[0] == pytest.approx(-1.0 - 0.5 / math.sqrt(2.0 / 0.75), rel=1e-15)


def test_momentum_has_the_rate_outside():
    params, optimizer = [0.0], optim.SGD([0.0], lr=1.0, momentum=0.5)
    inside = optim.SGD([0.0], lr=1.0, momentum=0.5, rate_inside=True)
    other = params = optimizer.step(params, [1.0])
    inside.step([0.0], [1.0])
    optimizer.lr = inside.lr = 0.1
    assert optimizer.step(params, [1.0]) == [pytest.approx(-1.0 - 0.1 * 1.5)]
    assert inside.step(other, [1.0]) == [pytest.approx(-1.0 - 0.5 - 0.1)]


@EVERY
def test_maximizing_goes_down_the_gradient_turned_round(rule, statement, options):
    up, down, random = rule([0.5], **options, maximize=True), rule([0.5], **options), np.random.default_rng(8)
    params = expected = [0.5]
    for grad in random.normal(size=6).tolist():
        params, expected = up.step(params, [grad]), down.step(expected, [-grad])
        assert params == expected


def test_decay_uses_the_scheduled_rate():
    optimizer = optim.AdamW([1.0], lr=1.0, weight_decay=0.5, schedule=lambda t: 0.1 * t)
    assert optimizer.step([1.0], [0.0]) == [1.0]
    assert optimizer.step([1.0], [0.0]) == [0.95]


def test_unreached_parameters_go_on():
    params, optimizer = [1.0, np.ones(2)], optim.Adam([1.0, np.ones(2)], lr=0.1, weight_decay=0.0)
    params = optimizer.step(params, [1.0, np.ones(2)])
    after = optimizer.step(params, [0.0, np.zeros(2)])
    assert after[0] < params[0] and (after[1] < params[1]).all()  # the mean of the gradients is still above 0
    w = fp.Array([1.0, 1.0])
    optimizer = optim.SGD([w], lr=0.5, weight_decay=1.0)
    optimizer.step()  # no sweep has reached it
    assert w.value.tolist() == [0.5, 0.5]


def test_frozen_parameters_and_none_are_skipped():
    params = {"a": 1.0, "b": np.ones(2), "c": 1.0, "d": 1.0}
    grads = {"a": 1.0, "b": np.ones(2), "c": None, "d": 1.0}
    optimizer = optim.SGD(params, lr=1.0, momentum=0.5, dampening=0.5)
    optimizer.frozen = ["b"]
    after = optimizer.step(params, grads)
    assert after["b"] is params["b"] and (after["a"], after["c"], after["d"]) == (0.0, 1.0, 0.0)
    assert [state["steps"] for state in optimizer.state_dict()["parameters"].values()] == [1, 0, 0, 1]
    optimizer.frozen = ()
    last = optimizer.step(after, {**grads, "c": 1.0})
    assert (last["a"], last["c"], last["d"]) == (-1.0, 0.0, -1.0)  # c's first step is undamped
    assert last["b"].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="frozen: there is no parameter z; they are a, b, c, d"):
        optimizer.frozen = "z"


def test_frozen_leaves_may_have_any_gradient():
    u, w = fp.Unit(1.0, grad=math.nan), fp.Unit(1.0, grad=1.0)
    optimizer = optim.SGD({"u": u, "w": w}, lr=1.0)
    optimizer.frozen = "u"
    optimizer.step()
    assert (u.value, w.value) == (1.0, 0.0)


# Learning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (optim.SGD, {"lr": 0.1}),
        (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
        (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
        (optim.Adagrad, {"lr": 0.9}),
        (optim.Adadelta, {"lr": 20.0}),
        (optim.RMSprop, {"lr": 0.05, "schedule": optim.Exponential(0.99)}),
        (optim.Adam, {"lr": 0.1}),
        (optim.AdamW, {"lr": 0.1, "weight_decay": 0.0}),
        (optim.Windowgrad, {"lr": 0.05, "schedule": optim.Exponential(0.99)}),
    ],
)
def test_a_bowl_is_descended(rule, options):
    target = {"x": 3.0, "y": np.array([-1.0, 0.5])}
    step = fp.compile(fp.value_and_grad(lambda p: (p["x"] - 3.0) ** 2 + (2.0 * (p["y"] - target["y"]) ** 2).sum()))
    params = {"x": 0.0, "y": np.zeros(2)}
    optimizer = rule(params, **options)
    for _ in range(1000):
        _, grads = step(params)
        params = optimizer.step(params, grads)
    assert params["x"] == pytest.approx(3.0, abs=1e-2)
    np.testing.assert_allclose(params["y"], target["y"], atol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_digits_are_learnt(dtype):
    data, target = fp.datasets.load_digits(return_X_y=True)
    x, y = (data / 16.0).astype(dtype), np.eye(10, dtype=dtype)[target]

    def loss(params, x, y):
        hidden = fp.tanh(params["w"] @ x + params["b"])
        scores = params["v"] @ hidden + params["c"]
        return fp.logsumexp(scores) - (scores * y).sum()

    random = np.random.default_rng(0)
    params = {"w": random.normal(size=(16, 64)) / 8.0, "b": np.zeros(16), "v": random.normal(size=(10, 16)) / 4.0}
    params = {name: value.astype(dtype) for name, value in {**params, "c": np.zeros(10)}.items()}
    step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    optimizer = optim.Adam(params, lr=0.01)
    for _ in range(4):
        order = random.permutation(1500)
        for start in range(0, 1500, 32):
            _, grads = step(params, x[order[start : start + 32]], y[order[start : start + 32]])
            params = optimizer.step(params, grads)
    scores = np.tanh(x[1500:] @ params["w"].T + params["b"]) @ params["v"].T + params["c"]
    assert (scores.argmax(1) == target[1500:]).mean() > 0.85
