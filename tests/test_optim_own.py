"""Update rules of one's own: subclasses with a method `move`."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import optim
from updates import adam


class Own(optim.Optimizer):
    """Adam, by its statement in NumPy."""

    remembers = ("m", "v")

    def __init__(self, params, lr=1e-3, *, schedule=None):
        super().__init__(params, lr, schedule=schedule)

    def move(self, value, grad, moments, rate, step):
        state = dict(zip(("m", "v"), moments))
        new = adam(value, grad, state, step, lr=rate)
        moments[:] = state["m"], state["v"]
        return new


class Failing(optim.Optimizer):
    """A rule that changes all that it gets, then fails at the second parameter."""

    remembers = ("m",)

    def move(self, value, grad, moments, rate, step):
        value[...], grad[...], moments[0][...] = 7.0, 7.0, 7.0
        if value.shape == (3,):
            raise ZeroDivisionError
        return value


def start():
    return {"w": np.linspace(0, 1, 4).reshape(2, 2), "x": 0.5, "f": np.ones(3, np.float32), "y": -0.5}


def gradient(params):
    return {name: np.sin(value) + value for name, value in params.items()}


@pytest.mark.parametrize("in_place", [False, True])
def test_own_rule_is_the_one_it_states(in_place):
    own, mine = Own(start(), lr=0.1), start()
    built_in, theirs = optim.Adam(start(), lr=0.1), start()
    for _ in range(5):
        mine = own.step(mine, gradient(mine), in_place=in_place)
        theirs = built_in.step(theirs, gradient(theirs))
    for name, value in mine.items():
        assert type(value) is type(theirs[name])
        np.testing.assert_allclose(value, theirs[name], rtol=1e-5 if name == "f" else 1e-12)
    assert own.state_dict()["parameters"]["f"]["m"].dtype == np.float32


def test_own_rule_of_leaves(engine):
    leaves = [engine.Unit(1.0), engine.Array([2.0, 3.0])]
    optimizer, other = Own(leaves, lr=0.1), [1.0, np.array([2.0, 3.0])]
    built_in = optim.Adam(other, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (leaves[0] * leaves[1]).sum().backward()
        other = built_in.step(other, [float(other[1].sum()), np.full(2, other[0])])
        optimizer.step()
    assert leaves[0].value == pytest.approx(other[0], rel=1e-12)
    np.testing.assert_allclose(leaves[1].value, other[1], rtol=1e-12)


def test_own_rule_that_fails_has_changed_nothing():
    params = {"w": np.ones((2, 2)), "f": np.ones(3)}
    leaves = {name: fp.Array(value) for name, value in params.items()}
    optimizer, handles = Failing(params, 0.1), Failing(leaves, 0.1)
    before = repr((params, optimizer.state_dict(), handles.state_dict()))
    with pytest.raises(ZeroDivisionError):
        optimizer.step(params, {name: value.copy() for name, value in params.items()}, in_place=True)
    with pytest.raises(ZeroDivisionError):
        handles.step()
    assert repr((params, optimizer.state_dict(), handles.state_dict())) == before
    assert all((leaf.value == 1.0).all() for leaf in leaves.values())
    with pytest.raises(ValueError, match=r"the gradient of w at .* is nan"):
        optimizer.step(params, {"w": np.full((2, 2), np.nan), "f": np.ones(3)})


def test_what_own_rules_give_must_fit():
    class Wrong(optim.Optimizer):
        remembers = ("m",)

        def move(self, value, grad, moments, rate, step):
            return self.give(value, moments)

    optimizer = Wrong([np.ones(2)], 0.1)
    for give, text in [
        (lambda value, moments: value[:1], r"the value of 0 is float64\[1\]; expected numbers\[2\]"),
        (lambda value, moments: None, r"the value of 0 is None \(does it end without a return\?\); expected numbers"),
        (lambda value, moments: moments.clear() or value, "move left 0 moments of 1"),
        (lambda value, moments: moments.__setitem__(0, 1.0) or value, r"a moment of 0 is float64\[\]"),
    ]:
        optimizer.give = give
        with pytest.raises(ValueError, match=text):
            optimizer.step([np.ones(2)], [np.ones(2)])
    assert optimizer.steps == 0
    with pytest.raises(TypeError, match="Optimizer has no method move"):
        optim.Optimizer([1.0], 0.1).step([1.0], [1.0])


def test_own_rules_remember_a_few_things():
    class Many(optim.Optimizer):
        remembers = tuple("abcdefgh")

        def move(self, value, grad, moments, rate, step):
            for k, moment in enumerate(moments):
                moment += k
            return value

    params = [np.ones(2), 1.0]
    optimizer = Many(params, 0.1)
    optimizer.step(params, params)
    state = optimizer.state_dict()["parameters"]["0"]
    assert [state[name].tolist() for name in "abcdefgh"] == [[k, k] for k in range(8)]
    Many.remembers += ("i",)
    with pytest.raises(ValueError, match="remembers 9 things of every number; expected 8 at most"):
        Many(params, 0.1)


def test_single_numbers_come_in_rows():
    seen = []

    class Looking(optim.Optimizer):
        def move(self, value, grad, moments, rate, step):
            seen.append((value.tolist(), grad.tolist(), rate, step))
            return value - grad

    optimizer = Looking([1.0, np.ones((1, 2)), 2.0, 3.0], 0.5, schedule=lambda t: 0.5)
    params = optimizer.step([1.0, np.ones((1, 2)), 2.0, 3.0], [0.1, np.zeros((1, 2)), 0.2, None])
    params = optimizer.step(params, [0.0, None, 0.0, 1.0])
    seen.append(params[2:])
    assert seen == [
        *[([1.0], [0.1], 0.25, 1), ([[1.0, 1.0]], [[0.0, 0.0]], 0.25, 1), ([2.0], [0.2], 0.25, 1)],
        *[([0.9], [0.0], 0.25, 2), ([1.8], [0.0], 0.25, 2), ([3.0], [1.0], 0.25, 1)],
        [1.8, 2.0],
    ]


def test_own_rule_resumes():
    params, optimizer = start(), Own(start(), lr=0.1, schedule=optim.WarmUp(3))
    for _ in range(2):
        params = optimizer.step(params, gradient(params))
    again = pickle.loads(pickle.dumps(optimizer))
    ours, theirs = optimizer.step(params, gradient(params)), again.step(params, gradient(params))
    assert pickle.dumps(ours) == pickle.dumps(theirs)


class Signs(optim.Optimizer):
    """A rule that takes no schedule."""

    def __init__(self, params, lr=0.1, beta=0.5):
        super().__init__(params, lr, beta=beta)
        self.beta = beta

    def move(self, value, grad, moments, rate, step):
        return value - rate * self.beta * np.sign(grad)


class Forgetful(Signs):
    """A rule that keeps what it was made with to itself."""

    def __init__(self, params, lr=0.1, beta=0.5, gamma=0.1):
        optim.Optimizer.__init__(self, params, lr, beta=beta)


def test_a_rule_without_a_schedule_fits_resumes_and_is_copied():
    for optimizer in (
        Signs({"w": np.ones(2)}, beta=0.25),
        pickle.loads(pickle.dumps(Signs({"w": np.ones(2)}, beta=0.25))),
    ):
        optimizer.load_state_dict(optimizer.state_dict())
        moved = optimizer.step({"w": np.ones(2)}, {"w": np.array([3.0, -4.0])})
        assert_allclose(moved["w"], [0.975, 1.025])
        assert copy.deepcopy(optimizer).beta == 0.25
    model = fp.nn.Linear(2, 1, init="zeros")
    optimizer = Signs(model, beta=0.25)
    fp.fit(model, fp.nn.squared_error, (np.ones((1, 2)), np.ones((1, 1))), optimizer)
    assert_allclose(model.weight.value, [[0.025, 0.025]])
    with pytest.raises(TypeError, match="unexpected keyword argument 'schedule'"):
        Signs({"w": np.ones(2)}, schedule=optim.Cosine(3))


def test_what_a_rule_is_made_with_must_be_known():
    with pytest.raises(
        TypeError, match=r"Forgetful: what it is made with .* super\(\).__init__\(params, lr, gamma=gamma\)"
    ):
        Forgetful({"w": np.ones(2)})


def test_a_class_is_no_schedule():
    with pytest.raises(TypeError, match=r"schedule is <class .*Cosine.*expected a function of the number of steps"):
        optim.SGD({"w": np.ones(2)}, schedule=optim.Cosine)
