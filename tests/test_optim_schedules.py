"""Schedules, the rate on a plateau, and clipping."""

import math
import pickle

import numpy as np
import pytest

import fastprop as fp
from fastprop import optim
from fastprop.engine.program import instruction_sets, use_instruction_set

# Schedules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "at", "expected"),
    [
        (optim.Step(3, gamma=0.5), [0, 2, 3, 5, 6], [1.0, 1.0, 0.5, 0.5, 0.25]),
        (optim.Step(1), [0, 1, 2], [1.0, 0.1, 0.01]),
        (optim.Exponential(0.9), [0, 1, 10], [1.0, 0.9, 0.9**10]),
        (optim.Exponential(0.0), [0, 1], [1.0, 0.0]),
        (optim.Cosine(10), [0, 5, 10, 11, 20, 10**9], [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]),
        (optim.Cosine(10, floor=0.2), [0, 5, 10, 25], [1.0, 0.6, 0.2, 0.2]),
        (optim.Cosine(1), [0, 1], [1.0, 0.0]),
        (optim.WarmUp(0), [0, 1], [1.0, 1.0]),
        (optim.WarmUp(1), [0, 1, 2], [0.0, 1.0, 1.0]),
        (optim.WarmUp(4), [0, 1, 3, 4, 100], [0.0, 0.25, 0.75, 1.0, 1.0]),
        (optim.InverseTime(0.5), [0, 1, 2], [1.0, 1.0 / 1.5, 0.5]),
        (optim.WarmUp(2) * optim.Step(2, 0.5) * optim.Exponential(0.5), [1, 2, 4], [0.25, 0.125, 1 / 64]),
        ((lambda t: 2.0) * optim.WarmUp(2), [1, 2], [1.0, 2.0]),
    ],
)
def test_schedule(schedule, at, expected):
    assert [schedule(t) for t in at] == pytest.approx(expected, rel=1e-15, abs=1e-300)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1])
def test_factors_that_are_none(wrong):
    for make in (
        lambda: optim.Step(3, gamma=wrong),
        lambda: optim.Exponential(wrong),
        lambda: optim.Cosine(3, floor=wrong),
        lambda: optim.InverseTime(wrong),
    ):
        with pytest.raises(ValueError, match=f"is {wrong}; expected a finite number, 0 or more"):
            make()


def test_lengths_that_are_none():
    for make, text in [
        (lambda: optim.Cosine(0), "T_max is 0; expected 1 or more"),
        (lambda: optim.Step(0), "step_size is 0; expected 1 or more"),
        (lambda: optim.WarmUp(-1), "steps is -1; expected 0 or more"),
    ]:
        with pytest.raises(ValueError, match=text):
            make()
    for length in (2.0, True, "3", None, fp.Unit(2.0)):
        with pytest.raises(TypeError, match="expected a whole number"):
            optim.WarmUp(length)
    with pytest.raises(TypeError):
        optim.WarmUp(1) * 2.0


def test_schedules_are_values():
    schedule = optim.WarmUp(10) * optim.Cosine(100, floor=0.1)
    assert pickle.loads(pickle.dumps(schedule)) == schedule and hash(schedule) == hash(
        pickle.loads(pickle.dumps(schedule))
    )
    assert schedule != optim.WarmUp(10) * optim.Cosine(100)
    assert repr(schedule) == "Product(left=WarmUp(steps=10), right=Cosine(T_max=100, floor=0.1))"


def test_what_is_no_factor_is_told():
    for factor, shown in [("half", "a str .'half'."), (None, "None")]:
        optimizer, params = optim.SGD([1.0], lr=1.0), [1.0]
        optimizer.schedule = lambda step, factor=factor: factor
        text = f"SGD: the schedule gave {shown} for 0 steps; expected a number"
        with pytest.raises(TypeError, match=text):
            optimizer.step(params, [1.0])
        with pytest.raises(TypeError, match=text):
            optimizer.update(params, [1.0], optimizer.init())
        assert optimizer.steps == 0


def test_optimizer_asks_its_schedule_for_the_steps_made_so_far():
    asked = []

    def schedule(step):
        asked.append(step)
        return 1.0 / (step + 1)

    optimizer, params = optim.SGD([0.0], lr=1.0, schedule=schedule), [0.0]
    for _ in range(3):
        params = optimizer.step(params, [1.0])
    assert asked == [0, 1, 2] and params == [pytest.approx(-1.0 - 1 / 2 - 1 / 3)]


def test_a_step_that_fails_does_not_count():
    optimizer = optim.SGD([0.0], lr=1.0, schedule=optim.WarmUp(2))
    for _ in range(5):
        with pytest.raises(ValueError, match="not finite"):
            optimizer.step([0.0], [math.nan])
    assert optimizer.step([0.0], [1.0]) == [0.0] and optimizer.step([0.0], [1.0]) == [-0.5]


# The rate on a plateau ------------------------------------------------------------------------------------------------


def rates(metrics, lr=1.0, **options):
    """The rates after each metric."""
    optimizer = optim.SGD([1.0], lr=lr)
    plateau = optim.ReduceLROnPlateau(optimizer, **options)
    found = []
    for metric in metrics:
        plateau.step(metric)
        found.append(optimizer.lr)
    return found


@pytest.mark.parametrize(
    ("metrics", "options", "expected"),
    [
        ([3.0, 2.0, 1.0], {"patience": 0}, [1.0, 1.0, 1.0]),
        ([1.0, 1.0], {"patience": 0, "factor": 0.5}, [1.0, 0.5]),
        ([1.0, 1.0, 1.0, 1.0], {"patience": 1, "factor": 0.5}, [1.0, 1.0, 0.5, 0.5]),
        ([1.0, 1.0, 0.5, 1.0, 1.0], {"patience": 1, "factor": 0.5}, [1.0, 1.0, 1.0, 1.0, 0.5]),
        ([-1.0] * 4, {"patience": 2, "factor": 0.5}, [1.0, 1.0, 1.0, 0.5]),  # of a constant below 0, too
        ([-1.0, -1.00005], {"patience": 0, "factor": 0.5}, [1.0, 0.5]),
        ([-1.0, -1.001], {"patience": 0, "factor": 0.5}, [1.0, 1.0]),
        ([1.0, 0.95], {"patience": 0, "threshold": 0.1, "factor": 0.5}, [1.0, 0.5]),
        ([0.0, 0.0], {"patience": 0, "factor": 0.5}, [1.0, 0.5]),
        ([1.0, math.nan], {"patience": 0, "factor": 0.5}, [1.0, 0.5]),
        ([math.nan, math.nan], {"patience": 0, "factor": 0.5}, [0.5, 0.25]),
        ([math.inf, 1.0, math.inf], {"patience": 0, "factor": 0.5}, [1.0, 1.0, 0.5]),
        ([1.0, 2.0, 2.0], {"mode": "max", "patience": 0, "factor": 0.5}, [1.0, 1.0, 0.5]),
        ([-math.inf, 0.0], {"mode": "max", "patience": 0, "factor": 0.5}, [1.0, 1.0]),
        ([1.0] * 4, {"patience": 0, "factor": 0.5, "min_lr": 0.4}, [1.0, 0.5, 0.4, 0.4]),
        ([1.0] * 5, {"patience": 0, "factor": 0.5, "cooldown": 2}, [1.0, 0.5, 0.5, 0.5, 0.25]),
    ],
    ids=str,
)
def test_plateau(metrics, options, expected):
    assert rates(metrics, **options) == expected


def test_plateau_resumes():
    optimizer = optim.SGD([1.0], lr=1.0)
    first, second = (optim.ReduceLROnPlateau(optimizer, patience=1, factor=0.5) for _ in range(2))
    first.step(1.0)
    first.step(1.0)
    second.load_state_dict(first.state_dict())
    second.step(1.0)
    assert optimizer.lr == 0.5


def test_plateau_with_options_that_are_none():
    optimizer = optim.SGD([1.0])
    for options, text in [
        ({"mode": "least"}, "mode is 'least'"),
        ({"factor": 1.0}, "factor is 1.0; expected a number below 1"),
        ({"factor": math.nan}, "factor is nan"),
        ({"patience": -1}, "patience is -1"),
        ({"threshold": -1.0}, "threshold is -1.0"),
        ({"min_lr": math.nan}, "min_lr is nan"),
    ]:
        with pytest.raises(ValueError, match=text):
            optim.ReduceLROnPlateau(optimizer, **options)
    for given in (0.1, optim.SGD, [fp.Unit(1.0)]):
        with pytest.raises(TypeError, match="takes first the optimizer whose rate it lowers, not a"):
            optim.ReduceLROnPlateau(given)
    options = "mode='min', factor=0.5, patience=3, threshold=0.0001, cooldown=0, min_lr=0.0"
    assert repr(optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)) == f"<ReduceLROnPlateau of SGD: {options}>"


# Clipping ------------------------------------------------------------------------------------------------------------


def as_leaves(numbers):
    leaves = [fp.Unit(0.0, grad=x) if np.ndim(x) == 0 else fp.Array(np.zeros_like(x), grad=x) for x in numbers]
    return leaves, lambda: [leaf.grad for leaf in leaves]


@pytest.mark.parametrize(
    ("grads", "limit", "expected"),
    [
        ([3.0, 4.0], 1.0, [0.6, 0.8]),
        ([-3e200, 4e200], 1.0, [-0.6, 0.8]),
        ([3e-200, 4e-200], 1e-200, [0.6e-200, 0.8e-200]),
        ([1.7e308, 1.7e308], 1.0, [math.sqrt(0.5), math.sqrt(0.5)]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        ([3.0, 4.0], 5.0, [3.0, 4.0]),
        ([3.0, 4.0], math.inf, [3.0, 4.0]),
        ([3.0, 4.0], 0.0, [0.0, 0.0]),
        ([5e-324], 0.0, [0.0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("arrays", [False, True])
def test_clip_norm(grads, limit, expected, arrays):
    given = [np.array([x]) for x in grads] if arrays else grads
    found = optim.clip_norm(given, limit)
    np.testing.assert_allclose(np.ravel(found), expected, rtol=4e-16)
    leaves, clipped = as_leaves(given)
    before = optim.clip_grad_norm_(leaves, limit)
    assert before == optim.norm(given) == pytest.approx(math.hypot(*grads), rel=4e-16)
    np.testing.assert_array_equal(clipped(), found)
    if limit == 1.0 and grads == [3.0, 4.0]:
        assert np.ravel(found).tolist() == expected


RECORDED = {
    "compiled": fp.compile,
    "inside of a gradient": lambda f: (
        lambda nest: fp.value_and_grad(lambda x: (0.0 * x, f(nest)), has_aux=True)(1.0)[0][1]
    ),
    "in lanes": lambda f: (
        lambda nest: fp.tree_map(
            lambda x: x[1], fp.vmap(f)(fp.tree_map(lambda x: np.stack([0.5 * np.asarray(x), x]), nest))
        )
    ),
    "recorded": lambda f: (
        lambda nest: fp.tree_map(
            lambda x: x.value, f(fp.tree_map(lambda x: fp.Array(x) if np.ndim(x) else fp.Unit(x), nest))
        )
    ),
}


@pytest.mark.parametrize("front", RECORDED.values(), ids=list(RECORDED))
@pytest.mark.parametrize(
    ("nest", "limit"),
    [
        ({"w": np.array([[3.0, -4.0], [0.5, 0.0]]), "b": 2.0, "n": None}, 1.0),
        ({"w": np.array([3e200, 4e200]), "b": 0.0}, 1.0),
        ([np.array([3.0, 4.0])], 5.0),
        ([np.array([3.0, 4.0])], 0.0),
        ([np.zeros(2), 0.0], 1.0),
        ([np.array([math.inf, 1.0]), 3.0], 1.0),
        ([np.array([math.nan, 1.0]), 3.0], 1.0),
    ],
)
def test_clipping_can_be_recorded(front, nest, limit):
    for clip in (optim.clip_norm, optim.clip_value):
        found, expected = front(lambda nest: clip(nest, limit))(nest), clip(nest, limit)  # noqa: B023
        fp.tree_map(lambda one, other: np.testing.assert_allclose(one, other, rtol=4e-16), found, expected)
    np.testing.assert_allclose(front(lambda nest: [optim.norm(nest)])(nest)[0], optim.norm(nest), rtol=4e-16)


def test_a_step_that_is_clipped_can_be_compiled():
    params, state = {"w": np.array([3.0, -2.0]), "b": 1.0}, None
    adam = optim.Adam(params, lr=0.1)

    def step(params, state):
        grads = fp.grad(lambda p: fp.sum(p["w"] ** 4) + p["b"] ** 2)(params)
        return adam.update(params, optim.clip_norm(grads, 1.0), state)

    state = adam.init()
    compiled, plain = fp.compile(step), (params, state)
    found = (params, state)
    for _ in range(3):
        found, plain = compiled(*found), step(*plain)
    fp.tree_map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-13), found[0], plain[0])


@pytest.mark.parametrize("wrong", ["a", ["a"], [np.array(["a"])], {"x": True}], ids=str)
def test_what_can_not_be_clipped(wrong):
    for name, call in {
        "norm": optim.norm,
        "clip_norm": lambda x: optim.clip_norm(x, 1.0),
        "clip_value": lambda x: optim.clip_value(x, 1.0),
    }.items():
        with pytest.raises(TypeError, match=rf"{name}: grads.* is an? .*; expected numbers and arrays"):
            call(wrong)


def test_clip_norm_of_float32():
    grads = {"w": np.array([3.0, 4.0], np.float32), "b": None, "e": np.zeros((0, 2))}
    found = optim.clip_norm(grads, 1.0)
    assert found["w"].dtype == np.float32 and found["w"].tolist() == [np.float32(0.6), np.float32(0.8)]
    assert found["b"] is None and grads["w"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_norm_of_arrays_of_all_kinds(dtype, instruction_set):
    random = np.random.default_rng(0)
    whole = random.normal(size=(40, 30)).astype(dtype)
    for grads in (whole, whole[::2], whole.T, whole[:, ::-1], whole.astype(whole.dtype.newbyteorder()), whole[:1, :7]):
        expected = np.linalg.norm(grads.astype(np.float64))
        assert optim.norm([grads, 0.5]) == pytest.approx(math.hypot(expected, 0.5), rel=1e-14)
        found = optim.clip_norm([grads, None], 0.5)[0]
        np.testing.assert_allclose(found, grads * (0.5 / expected), rtol=1e-6 if dtype == np.float32 else 1e-15)
        assert found.dtype == dtype and found.flags.c_contiguous
    assert optim.norm(np.arange(4)) == math.sqrt(14.0)


def test_norms_are_the_same_bits_on_every_instruction_set():
    numbers = np.random.default_rng(1).normal(size=1001)
    found = set()
    for name in instruction_sets():
        use_instruction_set(name)
        found.add((optim.norm(numbers), optim.clip_norm(numbers, 1.0).tobytes()))
    use_instruction_set()
    assert len(found) == 1


def test_clip_value():
    assert optim.clip_value([3.0, -0.5, -7.0], 1.0) == [1.0, -0.5, -1.0]
    assert optim.clip_value([3.0, None], 0.0) == [0.0, None]
    found = optim.clip_value({"w": np.array([9.0, math.inf, -1.0], np.float32)}, 2.0)["w"]
    assert found.tolist() == [2.0, 2.0, -1.0] and found.dtype == np.float32
    leaves, clipped = as_leaves([3.0, np.array([-5.0, 0.5])])
    optim.clip_grad_value_(leaves, 1.0)
    assert clipped()[0] == 1.0 and clipped()[1].tolist() == [-1.0, 0.5]


@pytest.mark.parametrize("given", [3.0, [fp.Unit(1.0), 3.0], {"w": np.ones(2)}], ids=repr)
def test_gradients_of_plain_numbers_are_not_clipped_in_place(given):
    for clip in (optim.clip_grad_norm_, optim.clip_grad_value_):
        with pytest.raises(TypeError, match=f"{clip.__name__} takes Units and Arrays, .* not an? .*clip_norm"):
            clip(given, 1.0)


def test_limits_that_are_none():
    for clip in (optim.clip_norm, optim.clip_value, optim.clip_grad_norm_, optim.clip_grad_value_):
        for limit in (-1.0, math.nan):
            with pytest.raises(ValueError, match=f"is {limit}; expected 0 or more"):
                clip([], limit)
        with pytest.raises(TypeError, match="is '1'"):
            clip([], "1")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_are_left_to_the_optimizer(bad):
    found = optim.clip_norm([bad, 3.0], 1.0)
    assert repr(found) == repr([bad, 3.0])
    with pytest.raises(ValueError, match="the gradient of 0 is"):
        optim.Adam([1.0, 1.0]).step([1.0, 1.0], found)


def test_clipped_gradients_can_be_squared():
    params = [np.zeros(2, np.float32)]
    after = optim.Adam(params, lr=0.1).step(params, optim.clip_norm([np.array([3e30, 4e30], np.float32)], 1.0))
    np.testing.assert_allclose(after[0], [-0.1, -0.1], rtol=1e-5)
