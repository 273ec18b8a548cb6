"""The state of optimizers: it resumes bit for bit, and is refused as a whole where it does not fit."""

import copy
import pickle
import weakref

import numpy as np
import pytest

import fastprop as fp
from fastprop import optim
from updates import EVERY


def gradient(params):
    return {"w": np.sin(params["w"]) + params["b"], "b": params["b"] * 0.5, "c": np.cos(params["c"])}


def start():
    return {"w": np.linspace(0, 1, 7), "b": 2.0, "c": np.linspace(1, 2, 6, dtype=np.float32).reshape(2, 3)}


@EVERY
@pytest.mark.parametrize("how", ["state", "pickle", "copy"])
def test_resumes_bit_for_bit(rule, statement, options, how):
    schedule = optim.WarmUp(3) * optim.Exponential(0.9)
    params, optimizer = start(), rule(start(), **options, schedule=schedule)
    for _ in range(4):
        params = optimizer.step(params, gradient(params))
    if how == "state":
        again = rule(start(), schedule=schedule)  # the options come with the state
        again.load_state_dict(optimizer.state_dict())
    else:
        again = pickle.loads(pickle.dumps(optimizer)) if how == "pickle" else copy.deepcopy(optimizer)
    ours, theirs = params, copy.deepcopy(params)
    for _ in range(4):
        ours, theirs = optimizer.step(ours, gradient(ours)), again.step(theirs, gradient(theirs))
    assert pickle.dumps(ours) == pickle.dumps(theirs)
    assert repr(optimizer.state_dict()) == repr(again.state_dict())


def test_state_of_leaves_resumes(engine):
    values = []
    for resumed in (False, True):
        leaves = [engine.Unit(1.0), engine.Array([1.0, 2.0])]
        optimizer = optim.Adam(leaves, lr=0.1)
        for t in range(6):
            if resumed and t == 3:
                state, optimizer = optimizer.state_dict(), optim.Adam(leaves)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            (leaves[0] * leaves[1]).sum().backward()
            optimizer.step()
        values.append((leaves[0].value, leaves[1].value.tobytes()))
    assert values[0] == values[1]


@EVERY
def test_options_can_be_assigned(rule, statement, options):
    ours, theirs = rule(start(), **options), rule(start(), **options)
    params = ours.step(start(), gradient(start()))
    theirs.step(start(), gradient(start()))
    ours.weight_decay = 0.25
    state = theirs.state_dict()
    theirs.load_state_dict({**state, "options": {**state["options"], "weight_decay": 0.25}})
    assert ours.weight_decay == 0.25 and "weight_decay=0.25" in repr(ours) and ours.steps == 1
    copied = copy.deepcopy(ours)
    after = [pickle.dumps(one.step(params, gradient(params))) for one in (ours, theirs, copied)]
    assert after[0] == after[1] == after[2]
    plain = rule(start(), **options)
    plain.step(start(), gradient(start()))
    assert options.get("weight_decay") == 0.25 or pickle.dumps(plain.step(params, gradient(params))) != after[0]


def test_assigned_options_are_checked():
    optimizer = optim.SGD({"w": np.ones(2)}, lr=0.1, momentum=0.5)
    optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)})
    before = repr(optimizer.state_dict())
    for name, value, error, text in [
        ("momentum", "high", TypeError, "SGD: momentum is 'high'"),
        ("momentum", 1.5, ValueError, "SGD: momentum is 1.5; expected a number from 0 up to"),
        ("momentum", 0.0, ValueError, "with momentum=0.0 it would remember other things than with momentum=0.5"),
        ("dampening", 2, ValueError, "SGD: dampening is 2.0"),
        ("schedule", 3, TypeError, "SGD: schedule is 3 .int.; expected a function"),
        ("lr", -1, ValueError, "SGD: lr is -1.0"),
    ]:
        with pytest.raises(error, match=text):
            setattr(optimizer, name, value)
    assert repr(optimizer.state_dict()) == before and optimizer.schedule is None
    with pytest.raises(AttributeError, match="'SGD' object has no attribute 'learning_rate': it is lr"):
        optimizer.learning_rate  # noqa: B018


def test_rules_of_ones_own_keep_what_they_assign():
    class Half(optim.Optimizer):
        def __init__(self, params, lr=0.5, part=0.5):
            super().__init__(params, lr, part=part)
            self.part = part

        def move(self, value, grad, moments, rate, step):
            return value - self.part * rate * grad

    optimizer = Half([1.0])
    optimizer.part = 1.0
    assert optimizer.step([1.0], [1.0]) == [0.5]


def test_state_is_a_copy():
    params, optimizer = [np.ones(2)], optim.Adam([np.ones(2)])
    optimizer.step(params, params)
    state = optimizer.state_dict()
    before = repr(state)
    optimizer.step(params, params)
    assert repr(state) == before
    state["parameters"]["0"]["exp_avg"][:] = 7.0
    assert "7." not in repr(optimizer.state_dict())
    assert list(state["parameters"]["0"]) == ["steps", "exp_avg", "exp_avg_sq"]


def test_state_that_does_not_fit():
    optimizer = optim.Adam({"w": np.ones(2), "b": 1.0})
    other = optim.Adam({"w": np.ones(3), "c": 1.0}).state_dict()
    before = repr(optimizer.state_dict())
    with pytest.raises(ValueError) as caught:
        optimizer.load_state_dict(other)
    for part in ("b is missing", "c is no parameter", "exp_avg of w is float64[3], expected float64[2]", "nothing was"):
        assert part in str(caught.value)
    state = optim.Adam({"w": np.ones(2, np.float32), "b": 1.0}).state_dict()
    with pytest.raises(ValueError, match=r"exp_avg of w is float32\[2\], expected float64\[2\]"):
        optimizer.load_state_dict(state)
    state = optimizer.state_dict()
    del state["parameters"]["b"]["exp_avg"]
    with pytest.raises(ValueError, match="b has steps, exp_avg_sq, where steps, exp_avg, exp_avg_sq are expected"):
        optimizer.load_state_dict(state)
    state = optimizer.state_dict()
    state["parameters"]["b"]["steps"] = -1
    with pytest.raises(ValueError, match="steps of b is -1; expected 0 or more"):
        optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match="the state is of another rule, with the options lr, momentum"):
        optimizer.load_state_dict(optim.SGD([1.0]).state_dict())
    state = optimizer.state_dict()
    state["options"]["eps"] = -1.0
    with pytest.raises(ValueError, match=r"eps is -1\.0"):
        optimizer.load_state_dict(state)
    for other in ({"a": 1}, {}, None, [1], 0.5, fp.nn.Linear(2, 1).state_dict(), {"options": {}, "steps": 0}):
        with pytest.raises(ValueError, match=r"expected what state_dict\(\) of an optimizer has given"):
            optimizer.load_state_dict(other)
    assert repr(optimizer.state_dict()) == before


def test_names_are_told_apart():
    params = {"a.b": 1.0, "a": {"b": 2.0}, 1: 3.0, "1": 4.0}
    optimizer = optim.Adam(params)
    assert optimizer.names == ["['a.b']", "['a']['b']", "[1]", "['1']"]
    grads = {"a.b": 1.0, "a": {"b": 2.0}, 1: 3.0, "1": 4.0}
    params = optimizer.step(params, grads)
    again = optim.Adam(params)
    again.load_state_dict(optimizer.state_dict())
    assert optimizer.step(params, grads) == again.step(params, grads)


def test_optimizer_does_not_keep_the_first_numbers(collected):
    params = [np.ones(1000)]
    optimizer, reference = optim.Adam(params), weakref.ref(params[0])
    params = optimizer.step(params, [np.ones(1000)])
    assert collected([reference]) == 0


def test_repr_says_what_it_is():
    assert repr(optim.SGD([1.0], lr=0.5)).startswith("<SGD of 1 parameters: lr=0.5, momentum=0.0")
