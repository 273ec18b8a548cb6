"""L-BFGS, and the searches that need no gradient."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastprop as fp
from fastprop import optim


def rosenbrock(p):
    x = p["x"]
    return sum((1.0 - x[i]) ** 2 + 100.0 * (x[i + 1] - x[i] ** 2) ** 2 for i in range(3)) + (p["b"] - 2.0) ** 2


START = {"x": np.array([-1.2, 1.0, -0.5, 0.8]), "b": 0.0}

# L-BFGS ---------------------------------------------------------------------------------------------------------------


def test_lbfgs_of_values():
    step = fp.compile(fp.value_and_grad(rosenbrock))
    optimizer = optim.LBFGS(START, max_iter=200)
    params = optimizer.step(START, step)
    np.testing.assert_allclose(params["x"], 1.0, atol=1e-4)
    assert params["b"] == pytest.approx(2.0, abs=1e-5)
    assert optimizer.value == step(params)[0] < 1e-9
    assert 10 < optimizer.iterations < 200 and optimizer.reason
    assert START["b"] == 0.0 and START["x"][0] == -1.2


def test_lbfgs_of_leaves(engine):
    leaves = {"x": engine.Array(START["x"]), "b": engine.Unit(0.0)}
    optimizer = optim.LBFGS(leaves, max_iter=200)

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(leaves)
        loss.backward()
        return loss

    assert optimizer.step(closure) == optimizer.value < 1e-9
    np.testing.assert_allclose(leaves["x"].value, 1.0, atol=1e-4)
    assert leaves["b"].value == pytest.approx(2.0, abs=1e-5)


def test_lbfgs_keeps_dtypes():
    params = {"w": np.array([3.0, -4.0], np.float32)}
    step = fp.compile(fp.value_and_grad(lambda p: ((p["w"] - 1.0) ** 2).sum()))
    params = optim.LBFGS(params).step(params, step)
    assert params["w"].dtype == np.float32
    np.testing.assert_allclose(params["w"], 1.0, atol=1e-3)


def test_lbfgs_goes_on_from_step_to_step():
    step = fp.compile(fp.value_and_grad(rosenbrock))
    optimizer, params, losses = optim.LBFGS(START, max_iter=20), START, []
    for _ in range(5):
        params = optimizer.step(params, step)
        losses.append(optimizer.value)
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-6


def test_lbfgs_at_a_minimum_makes_no_step():
    calls = []

    def step(params):
        calls.append(params)
        return params[0] ** 2, [2.0 * params[0]]

    optimizer = optim.LBFGS([0.0])
    assert optimizer.step([0.0], step) == [0.0]
    assert optimizer.iterations == 0 and optimizer.value == 0.0 and len(calls) == 2
    assert optimizer.reason == "the gradient is within its tolerance"


def test_lbfgs_refuses_a_loss_that_changes():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"the loss of the same parameters is .*; expected all the data in every call"):
        optim.LBFGS([1.0]).step([1.0], lambda p: (p[0] ** 2 + random.random(), [2.0 * p[0]]))
    u = fp.Unit(3.0)

    def closure():
        u.grad = random.random()
        return 1.0

    with pytest.raises(ValueError, match="no dropout"):
        optim.LBFGS([u]).step(closure)
    assert u.value == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_lbfgs_refuses_a_start_that_is_not_finite(bad):
    for loss, slope in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(ValueError, match="at the start, or a gradient not finite"):
            optim.LBFGS([1.0]).step([1.0], lambda p, loss=loss, slope=slope: (loss, [slope]))


def test_lbfgs_keeps_the_best_point_where_the_loss_ends():
    def step(params):  # a slope that leads over a cliff
        x = params[0]
        return (x, [1.0]) if x > -3.0 else (math.nan, [math.nan])

    optimizer = optim.LBFGS([1.0], max_iter=50)
    params = optimizer.step([1.0], step)
    assert -3.0 < params[0] <= 1.0 and optimizer.value == params[0]
    assert "not finite" in optimizer.reason


def test_lbfgs_keeps_the_best_point_where_the_line_search_fails():
    def step(params):  # a gradient that points the wrong way
        return params[0] ** 2, [-2.0 * params[0]]

    optimizer = optim.LBFGS([1.0])
    params = optimizer.step([1.0], step)
    assert params[0] ** 2 == optimizer.value <= 1.0 and optimizer.reason


def test_lbfgs_leaves_everything_as_it_was_when_the_closure_raises():
    u = fp.Unit(3.0)
    optimizer, calls = optim.LBFGS([u]), []

    def closure():
        calls.append(u.value)
        if len(calls) > 3:
            raise KeyboardInterrupt
        optimizer.zero_grad()
        loss = u * u
        loss.backward()
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert u.value == 3.0 and optimizer.value is None and calls[-1] != 3.0


def test_lbfgs_says_what_is_wrong():
    with pytest.raises(TypeError, match="params, closure"):
        optim.LBFGS([1.0]).step(lambda p: p)
    with pytest.raises(ValueError, match=r"the gradient of 0 has shape \(3,\); expected \(2,\)"):
        optim.LBFGS([np.ones(2)]).step([np.ones(2)], lambda p: (1.0, [np.ones(3)]))
    with pytest.raises(ValueError, match="history_size is 0; expected 1 or more"):
        optim.LBFGS([1.0], history_size=0)
    with pytest.raises(ValueError, match="tolerance_grad is nan"):
        optim.LBFGS([1.0], tolerance_grad=math.nan)
    for found in (2.0, (1.0,), [1.0, 2.0, 3.0], None):
        with pytest.raises(TypeError, match=r"expected the loss and its gradients, as of fastprop\.value_and_grad"):
            optim.LBFGS([1.0]).step([1.0], lambda p, found=found: found)


@pytest.mark.parametrize("loss", [None, "low", (1.0,), [2.0]], ids=repr)
def test_lbfgs_wants_a_loss(loss):
    u = fp.Unit(3.0)

    def closure():
        u.grad = 1.0
        return loss

    with pytest.raises(TypeError, match=r"LBFGS: the closure gave .*; expected the loss, which is one number"):
        optim.LBFGS([u]).step(closure)
    with pytest.raises(TypeError, match=r"LBFGS: the closure gave .*; expected the loss, which is one number"):
        optim.LBFGS([3.0]).step([3.0], lambda params: (loss, params))
    assert u.value == 3.0


def test_lbfgs_shows_how_it_ended():
    optimizer = optim.LBFGS({"w": 1.0, "b": np.ones(2)}, max_iter=3)
    options = "max_iter=3, tolerance_grad=1e-07, tolerance_change=1e-09, history_size=100"
    assert repr(optimizer) == f"<LBFGS of 2 parameters: {options}; no step was made yet>"
    optimizer.step({"w": 1.0, "b": np.ones(2)}, lambda params: (1.0, {"w": 0.0, "b": np.zeros(2)}))
    assert repr(optimizer).endswith("; the gradient is within its tolerance>")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_lbfgs_is_saved_with_its_model(copied):
    model = fp.nn.Linear(2, 1, rng=0)
    other, optimizer = copied((model, optim.LBFGS(model, max_iter=7)))

    def closure():
        optimizer.zero_grad()
        loss = ((other([1.0, 2.0]) - 3.0) ** 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) < 1e-9 and optimizer.max_iter == 7
    assert other([1.0, 2.0]).value[0] == pytest.approx(3.0) != model([1.0, 2.0]).value[0]


def test_lbfgs_says_that_nothing_was_swept():
    x, y = fp.Unit(3.0), fp.Array([1.0, 2.0])
    for loss in (lambda: x * x + (y * y).sum(), fp.compile(lambda: x * x + (y * y).sum())):
        optimizer = optim.LBFGS([x, y])

        def closure(loss=loss, optimizer=optimizer):
            optimizer.zero_grad()
            return loss()

        with pytest.raises(ValueError, match=r"call loss\.backward\(\) in the closure"):
            optimizer.step(closure)
        assert x.value == 3.0 and y.value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("front", [lambda f: f, fp.compile])
def test_lbfgs_knows_a_minimum_from_what_was_not_swept(front):
    x = fp.Unit(0.0)
    loss_of, optimizer = front(lambda: x * x), optim.LBFGS([x])

    def closure():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 0.0
    assert optimizer.reason == "the gradient is within its tolerance"


# Searches ------------------------------------------------------------------------------------------------------------

SEARCHES = {
    "coordinate_search": lambda f, args, **more: optim.coordinate_search(f, args, **more),
    "genetic_search": lambda f, args, **more: optim.genetic_search(f, args, **more),
    "simulated_annealing": lambda f, args, **more: optim.simulated_annealing(f, args, **more),
    "random_search": lambda f, args, **more: optim.random_search(f, args, **more),
}


@pytest.fixture(params=SEARCHES)
def search(request):
    return SEARCHES[request.param]


def hill(p, x):
    return -((p["w"] - 1.0) ** 2).sum() - (x + 0.5) ** 2


def test_search_is_told_what_is_no_argument_or_value(search, request):
    name = request.node.callspec.params["search"]
    with pytest.raises(TypeError, match=rf"{name} takes the arguments as a tuple or list, not a float \(3.0\)"):
        search(lambda x: x, 3.0)
    for found, shown in [("high", r"a str \('high'\)"), (None, "None")]:
        with pytest.raises(TypeError, match=rf"{name} .*returned {shown}"):
            search(lambda x, found=found: found, (3.0,))
    for step in ("far", None):
        with pytest.raises(TypeError, match=rf"{name}.* (a|expected a) number"):
            search(lambda x: x, (3.0,), step=step)


def test_search_finds_something_greater(search):
    args = ({"w": np.zeros((2, 2), np.float32)}, 0.0)
    (p, x), value = search(hill, args)
    assert value == hill(p, x) > hill(*args)
    assert p["w"].dtype == np.float32 and p["w"].shape == (2, 2) and type(x) is float
    assert not args[0]["w"].any()


@pytest.mark.parametrize("name", ["coordinate_search", "genetic_search", "simulated_annealing"])
def test_search_finds_the_top(name):
    more = {"step": 0.3, "tries": 5000} if name == "simulated_annealing" else {}
    _, value = SEARCHES[name](hill, ({"w": np.zeros(3)}, 0.0), **more)
    assert value > -0.05


def test_search_ends_at_the_given_point_if_nothing_is_greater(search):
    (x,), value = search(lambda x: 0.0, (2.5,))
    assert (x, value) == (2.5, 0.0)


def test_search_gets_past_nan(search):
    (x,), value = search(lambda x: math.nan if x == 0.0 else -abs(x), (0.0,))
    assert x != 0.0 and value == -abs(x)
    (x,), value = search(lambda x: math.nan if x != 0.0 else 1.0, (0.0,))
    assert (x, value) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["genetic_search", "simulated_annealing"])
def test_searches_repeat_themselves(name):
    found = [SEARCHES[name](hill, ({"w": np.zeros(2)}, 0.0), seed=seed)[1] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert SEARCHES[name](hill, ({"w": np.zeros(2)}, 0.0), seed=np.random.default_rng(1))[1] == found[0]


def test_annealing_leaves_a_lesser_top():
    def two_tops(x):
        return math.exp(-(x**2)) + 2.0 * math.exp(-((x - 4.0) ** 2))

    (x,), _ = optim.simulated_annealing(two_tops, (0.0,), step=0.7, tries=4000, temperature=0.7)
    assert x == pytest.approx(4.0, abs=0.1)
    (x,), _ = optim.simulated_annealing(two_tops, (0.0,), step=0.1, temperature=0.0)
    assert x == pytest.approx(0.0, abs=0.1)


def test_coordinate_search_halves_its_steps():
    tried = []

    def f(x):
        tried.append(x)
        return -abs(x - 0.3)

    (x,), _ = optim.coordinate_search(f, (0.0,), step=1.0, sweeps=2)
    assert tried == [0.0, 1.0, -1.0, 0.5] and x == 0.5


def test_searches_say_what_is_wrong():
    for call, error, text in [
        (lambda: optim.coordinate_search(abs, (1.0,), step=-1.0), ValueError, "step is -1.0"),
        (lambda: optim.coordinate_search(abs, (1.0,), sweeps=-1), ValueError, "sweeps is -1"),
        (lambda: optim.genetic_search(abs, (1.0,), population=1), ValueError, "population is 1; expected 2 or more"),
        (lambda: optim.genetic_search(abs, (1.0,), generations=1.5), TypeError, "generations is 1.5"),
        (lambda: optim.simulated_annealing(abs, (1.0,), temperature=math.nan), ValueError, "temperature is nan"),
        (lambda: optim.simulated_annealing(abs, (fp.Unit(1.0),)), TypeError, "expected plain numbers"),
        (lambda: optim.coordinate_search(abs, ("1",)), TypeError, "0 is '1'"),
    ]:
        with pytest.raises(error, match=text):
            call()
