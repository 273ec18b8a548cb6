"""What optimizers refuse, and that nothing has changed then; parameters that come, and go, in many forms."""

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import fastprop as fp
from fastprop import optim
from updates import FIRST, SQUARING, name


def both_kinds(rule, **options):
    """An optimizer of numbers and one of leaves, and functions: step by some gradients, and what could have changed."""
    params = {"w": np.array([1.0, 2.0]), "b": [3.0, 4.0]}
    numbers = rule(params, **options)
    leaves = {"w": fp.Array([1.0, 2.0]), "b": [fp.Unit(3.0), fp.Unit(4.0)]}
    handles = rule(leaves, **options)

    def step_handles(w, b):
        leaves["w"].grad = w
        for unit, grad in zip(leaves["b"], b):
            unit.grad = grad
        handles.step()

    def seen():
        values = leaves["w"].value.tolist(), [unit.value for unit in leaves["b"]]
        return repr((params, values, numbers.state_dict(), handles.state_dict()))

    return lambda w, b: numbers.step(params, {"w": np.asarray(w), "b": list(b)}), step_handles, seen


@pytest.mark.parametrize("rule", FIRST, ids=name)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("where", "named"), [(1, r"w at \[1\]"), (3, r"b\.1")])
def test_gradient_that_is_not_finite(rule, bad, where, named):
    *steps, seen = both_kinds(rule)
    for step in steps:
        step([0.5, 0.5], [0.5, 0.5])
        before = seen()
        grads = [0.5, 0.5, 0.5, 0.5]
        grads[where] = bad
        with pytest.raises(ValueError, match=f"the gradient of {named} is -?{abs(bad)}; expected a finite number"):
            step(grads[:2], grads[2:])
        assert seen() == before


@pytest.mark.parametrize("rule", SQUARING, ids=name)
@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e25), (np.float64, 1e200)])
def test_gradient_whose_square_is_not_finite(rule, dtype, large, instruction_set):
    params, state = {"w": np.ones(40, dtype)}, None
    optimizer = rule(params)
    optimizer.step(params, {"w": np.ones(40, dtype)})
    state = repr(optimizer.state_dict())
    grad = np.ones(40, dtype)
    grad[37] = large
    with pytest.raises(ValueError, match=r"w at \[37\] is 1e\+.*square is not finite"):
        optimizer.step(params, {"w": grad})
    assert repr(optimizer.state_dict()) == state and (params["w"] == 1.0).all()
    assert optim.SGD(params).step(params, {"w": grad})["w"][37] == dtype(1.0) - dtype(1e-3) * dtype(large)


@pytest.mark.parametrize("between", [None, np.zeros((0,))])
def test_the_right_number_is_named_behind_an_array_that_does_not_move(between):
    params = {"a": 1.0, "b": np.zeros(2) if between is None else between, "c": 2.0, "d": 3.0}
    for bad in "acd":
        grads = {"a": 1.0, "b": between, "c": 1.0, "d": 1.0, bad: math.nan}
        with pytest.raises(ValueError, match=f"the gradient of {bad} is nan"):
            optim.Adam(params).step(params, grads)


def test_decay_counts_for_the_square():
    params = {"w": np.array([1.0, 1e200])}
    with pytest.raises(ValueError, match=r"w at \[1\] is 0; with what is added to it"):
        optim.Adam(params, weight_decay=0.1).step(params, {"w": np.zeros(2)})
    assert np.isfinite(optim.AdamW(params, weight_decay=0.1).step(params, {"w": np.zeros(2)})["w"]).all()


def test_adagrad_refuses_a_sum_that_would_overflow():
    params = [1.0]
    optimizer = optim.Adagrad(params)
    for _ in range(2):
        if optimizer.steps == 0:
            optimizer.step(params, [1.2e154])
    with pytest.raises(ValueError, match="with what is added to it, its square is not finite"):
        optimizer.step(params, [1.2e154])
    assert optimizer.state_dict()["parameters"]["0"] == {"steps": 1, "sum": 1.2e154**2}


@pytest.mark.parametrize("rule", [*FIRST], ids=name)
@pytest.mark.parametrize("lr", [math.nan, math.inf, -0.1])
def test_rates_that_are_none(rule, lr):
    with pytest.raises(ValueError, match=f"lr is {lr}; expected a finite number, 0 or more"):
        rule([1.0], lr=lr)
    optimizer = rule([1.0])
    with pytest.raises(ValueError, match=f"lr is {lr}"):
        optimizer.lr = lr
    optimizer.schedule = lambda step: lr
    optimizer.lr = 1.0
    before = repr(optimizer.state_dict())
    with pytest.raises(ValueError, match=f"the rate of step 0 is {lr}"):
        optimizer.step([1.0], [1.0])
    assert repr(optimizer.state_dict()) == before


@pytest.mark.parametrize("rule", FIRST, ids=name)
def test_rate_of_zero_is_allowed(rule):
    assert rule([1.5], lr=0.0).step([1.5], [1.0]) == [1.5]


FRACTIONS = [
    *[(optim.SGD, "momentum"), (optim.SGD, "dampening"), (optim.RMSprop, "alpha"), (optim.RMSprop, "momentum")],
    *[(optim.Adadelta, "rho"), (optim.Windowgrad, "rho")],
]


@pytest.mark.parametrize("bad", [math.nan, 1.0, 1.5, -0.1])
def test_options_outside_of_their_bounds(bad):
    for rule, option in FRACTIONS:
        with pytest.raises(ValueError, match=f"{option} is {bad}; expected a number from 0 up to"):
            rule([1.0], **{option: bad})
    for betas in ((bad, 0.9), (0.9, bad)):
        with pytest.raises(ValueError, match=rf"betas\[[01]\] is {bad}"):
            optim.Adam([1.0], betas=betas)


@pytest.mark.parametrize("bad", [math.nan, -1e-9, math.inf])
def test_eps_and_decay_below_zero(bad):
    for rule in FIRST:
        with pytest.raises(ValueError, match=f"weight_decay is {bad}"):
            rule([1.0], weight_decay=bad)
    for rule in SQUARING:
        with pytest.raises(ValueError, match=f"eps is {bad}"):
            rule([1.0], eps=bad)
    for option in ("lr_decay", "initial_accumulator_value"):
        with pytest.raises(ValueError, match=f"{option} is {bad}"):
            optim.Adagrad([1.0], **{option: bad})
    with pytest.raises(TypeError, match="lr is 'fast' \\(str\\); expected a number"):
        optim.Adam([1.0], lr="fast")


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_needs_momentum_and_no_dampening(options):
    with pytest.raises(ValueError, match="nesterov with momentum"):
        optim.SGD([1.0], nesterov=True, **options)


def test_velocity_is_not_dampened():
    with pytest.raises(ValueError, match=r"rate_inside with dampening 0.1; expected none"):
        optim.SGD([1.0], momentum=0.9, dampening=0.1, rate_inside=True)


@pytest.mark.parametrize("rule", FIRST, ids=name)
@pytest.mark.parametrize("schedule", [0.5, "cosine", [1.0]])
def test_a_schedule_is_a_function(rule, schedule):
    with pytest.raises(TypeError, match=r"schedule is .*expected a function of the number of steps"):
        rule([1.0], schedule=schedule)


@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.99, 0.999), None])
def test_betas_are_a_pair(rule, betas):
    with pytest.raises(TypeError, match=f"{rule.__name__}: betas is .*expected a pair"):
        rule([1.0], betas=betas)


def test_parameters_that_are_none():
    for params, error, text in [
        ([], ValueError, "there are no parameters"),
        ([np.ones(2, int)], TypeError, "0 has dtype int64; expected float32 or float64"),
        ({"w": np.ones(2, np.float16)}, TypeError, "w has dtype float16"),
        ({"w": "name"}, TypeError, "w is 'name'"),
        ([True], TypeError, "0 is True"),
        ("params", TypeError, "the parameters are 'params'"),
        ([{"params": [1.0], "lr": 0.1}], TypeError, "there are no groups of parameters here; make one optimizer for"),
        (None, TypeError, "the parameters are None"),
        ([fp.Unit(1.0), 2.0], TypeError, "1 is a float .2.0., and 0 is a Unit .*; expected Units and Arrays alone"),
        ([1.0, {"b": fp.Unit(1.0)}], TypeError, "1.b is a Unit .*, and 0 is a float .1.0."),
        ([fp.Unit(1.0) * 2.0], ValueError, "0 is the result of a gate; expected leaves"),
        ([np.ma.masked_array([1.0], [True])], TypeError, "expected a number or an array"),
    ]:
        with pytest.raises(error, match=text):
            optim.Adam(params)


def test_gradients_nested_otherwise():
    params = {"w": np.ones(2), "b": 1.0}
    optimizer = optim.Adam(params)
    before = repr(optimizer.state_dict())
    for grads, error, text in [
        ({"w": np.ones(2)}, ValueError, r"grads has the keys \['w'\], where \['w', 'b'\] are expected"),
        ({"w": np.ones(2), "c": 1.0}, ValueError, "grads has the keys"),
        ([np.ones(2), 1.0], TypeError, "grads is a list, where a dict is expected"),
        ({"w": np.ones(3), "b": 1.0}, ValueError, r"w has shape \(3,\); expected \(2,\)"),
        ({"w": np.ones(2, np.float32), "b": 1.0}, TypeError, "w has dtype float32; expected float64"),
        ({"w": 1.0, "b": 1.0}, TypeError, "w is 1.0"),
        ({"w": np.ones(2), "b": "1"}, TypeError, "b is '1'"),
        ({"w": np.ones(2), "b": np.ones(1)}, TypeError, "b is array"),
        ({"w": fp.Array([1.0, 1.0]), "b": 1.0}, TypeError, "w is .*; expected plain numbers"),
        ({"w": np.ones(2), "b": fp.Unit(1.0)}, TypeError, "b is .*; expected plain numbers"),
    ]:
        with pytest.raises(error, match=text):
            optimizer.step(params, grads)
    with pytest.raises(ValueError, match="params has the keys"):
        optimizer.step({"w": np.ones(2), "c": 1.0}, params)
    with pytest.raises(TypeError, match=r"step\(params, grads\)"):
        optimizer.step(params)
    with pytest.raises(TypeError, match="takes nothing"):
        optim.Adam([fp.Unit(1.0)]).step([1.0], [1.0])
    assert repr(optimizer.state_dict()) == before


class Model:
    """A module: its parameters by name."""

    def __init__(self):
        self.w, self.b = fp.Array([1.0, 2.0]), fp.Unit(3.0)

    def named_parameters(self):
        yield "w", self.w
        yield "b", self.b


def test_steps_are_made_outside_of_circuits():
    params = {"w": np.ones(2), "b": 1.0}
    lanes = {"w": np.ones((3, 2)), "b": np.ones(3)}
    optimizer = optim.SGD(params)
    for call in (
        lambda: fp.compile(optimizer.step)(params, params),
        lambda: fp.vmap(optimizer.step)(lanes, lanes),
        lambda: fp.grad(lambda p, g: optimizer.step(p, g)["b"])(params, params),
    ):
        with pytest.raises(TypeError, match="expected plain numbers, outside of circuits and transforms"):
            call()
    assert optimizer.steps == 0


def test_leaves_that_were_replaced_added_or_dropped():
    model, listed, named = Model(), [fp.Unit(1.0), fp.Unit(2.0)], {"x": fp.Unit(1.0)}
    optimizers = [optim.Adam(model), optim.Adam(listed), optim.Adam(named)]
    assert optimizers[0].names == ["w", "b"]
    for optimizer in optimizers:
        optimizer.step()
    model.b, listed[1], named["y"] = fp.Unit(3.0), fp.Unit(2.0), fp.Unit(1.0)
    del named["x"]
    for optimizer, text in zip(optimizers, ["b was replaced", "1 was replaced", "x was dropped, y was added"]):
        with pytest.raises(ValueError, match=f"the parameters have changed: {text}; make a new optimizer"):
            optimizer.step()
        assert optimizer.steps == 1
    listed.append(fp.Unit(0.0))
    with pytest.raises(ValueError, match="2 was added, 1 was replaced"):
        optimizers[1].step()


def test_parameters_come_in_many_forms():
    u, w = fp.Unit(1.0), fp.Array([1.0])
    for params in (
        u,
        [u, w],
        (x for x in (u, w)),
        {"u": u, "w": w}.values(),
        SimpleNamespace(parameters=lambda: [u, w]),
    ):
        optimizer = optim.SGD(params, lr=1.0)
        u.value, u.grad = 1.0, 0.25
        optimizer.step()
        assert u.value == 0.75

    class Layers(list):
        def parameters(self):
            return [leaf for layer in self for leaf in layer]

    layers = Layers([[fp.Unit(1.0, grad=1.0)], [fp.Unit(2.0, grad=1.0)]])
    optim.SGD(layers, lr=0.5).step()
    assert [layer[0].value for layer in layers] == [0.5, 1.5]
    array = np.ones(2)
    assert optim.SGD(array, lr=1.0).step(array, array).tolist() == [0.0, 0.0]
    assert optim.SGD(3, lr=1.0).step(3.0, 2) == 1.0


def test_one_leaf_in_two_places_makes_one_step():
    u = fp.Unit(1.0, grad=1.0)
    optimizer = optim.SGD({"a": u, "b": [u]}, lr=0.25)
    optimizer.step()
    assert u.value == 0.75 and optimizer.names == ["a"]


def test_two_threads_are_refused():
    """The second is let in while the first looks at a parameter of its own kind, in Python."""
    errors = []

    class Slow(fp.reference.Unit):
        @property
        def grad(self):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            return 1.0

    def other():
        try:
            optimizer.step()
        except RuntimeError as error:
            errors.append(str(error))

    optimizer = optim.SGD([Slow(1.0)], lr=0.5)
    optimizer.step()
    assert len(errors) == 1 and "two threads" in errors[0]
    assert optimizer.steps == 1


def test_gradients_in_the_place_of_a_closure():
    """LBFGS calls for gradients as often as it needs them."""
    params = {"w": np.ones(2)}
    with pytest.raises(TypeError, match=r"got a dict.*; expected a closure.*: loss, gradients = closure\(params\)"):
        fp.optim.LBFGS(params).step(params, {"w": np.ones(2)})
    with pytest.raises(TypeError, match=r"got a float.*; expected a closure.*: loss = closure\(\)"):
        fp.optim.LBFGS([fp.Array([1.0])]).step(1.0)
