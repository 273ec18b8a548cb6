"""A Module in which other numbers stand where its parameters were: what its methods find in themselves."""

import collections
import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.nn import regularisers

X = np.array([1.0, -0.5])


class Costly(nn.Module):
    """It knows what its own parameters cost."""

    def __init__(self):
        self.first = nn.Linear(2, 3, rng=0)
        self.second = nn.Linear(3, 1, rng=1)
        self.second.again = self.first.weight
        self.own = [fp.Unit(2.0), fp.Unit(-3.0)]

    def __call__(self, x):
        return self.second(self.first(x))[0] * self.own[0]

    def cost(self, x, penalty):
        return self(x) + penalty(self)


PENALTIES = {
    "l1": lambda p: regularisers.l1(p, 0.3),
    "l2": lambda p: regularisers.l2(p, 0.3),
    "elastic_net": lambda p: regularisers.elastic_net(p, 0.3, 0.2),
    "group_sparsity": lambda p: regularisers.group_sparsity(p, 0.3),
    "of a part": lambda p: regularisers.l2(p.first, 0.3),
    "of a list": lambda p: regularisers.l2([p.first, p.second], 0.3),
    "of what is made there": lambda p: regularisers.l2(nn.Sequential(p.first, nn.Tanh(), p.second), 0.3),
    "by hand": lambda p: sum([fp.sum(leaf * leaf) for leaf in p.parameters()]),
    "by name": lambda p: sum([fp.sum(leaf * leaf) for name, leaf in p.named_parameters() if "bias" not in name]),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_a_penalty_on_a_module_in_a_call_with_other_numbers(penalty):
    model = Costly()
    result = model.cost(X, penalty)
    result.backward()

    def cost(params):
        return model.bound(params).cost(X, penalty)

    params = model.params()
    for front in (fp.value_and_grad(cost), fp.compile(fp.value_and_grad(cost))):
        value, gradients = front(params)
        assert_allclose(value, result.value)
        assert_allclose(gradients["first"]["weight"], model.first.weight.grad, rtol=1e-12)
        assert_allclose(gradients["first"]["bias"], model.first.bias.grad)
        assert_allclose(gradients["second"]["weight"], model.second.weight.grad)
        assert_allclose(gradients["own"], [leaf.grad for leaf in model.own])
    assert_allclose(cost(params), result.value)


def test_what_stands_in_has_the_names_and_the_order_of_the_leaves():
    model = Costly()
    names = [name for name, _ in model.named_parameters()]
    params = model.params()
    bound = model.bound({**params, "own": [7.0, 8.0]})
    assert [name for name, _ in bound.named_parameters()] == names
    assert dict(bound.named_parameters())["own.1"] == 8.0
    assert dict(bound.first.named_parameters())["weight"] is params["first"]["weight"]
    assert [id(value) for value in bound.parameters()] == [id(value) for _, value in bound.named_parameters()]
    assert bound.params()["own"] == [7.0, 8.0] and list(bound.params()) == list(params)
    assert all(leaf is other for leaf, other in zip(model.bound(None).parameters(), model.parameters()))


@pytest.mark.parametrize(
    "change",
    [
        lambda bound, params: bound.apply(params, X),
        lambda bound, params: bound.load_params(params),
        lambda bound, params: bound.load_state_dict(Costly().state_dict()),
        lambda bound, params: bound.state_dict(),
        lambda bound, params: nn.Sequential(bound, nn.Tanh()).load_params({"0": params}),
    ],
)
def test_it_has_no_leaves_to_give_numbers_to(change):
    model = Costly()
    params = model.params()
    before = model.state_dict()
    with pytest.raises(ValueError, match="made by bound or apply: it has numbers, and no leaves"):
        change(model.bound(params), params)
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])


def test_copies_and_pickles_keep_what_stands_in():
    model = Costly()
    bound = model.bound({**model.params(), "own": [7.0, 8.0]})
    for made in (copy.deepcopy(bound), pickle.loads(pickle.dumps(bound)), copy.copy(bound)):
        assert_allclose(made(X), bound(X))
        assert_allclose(regularisers.l2(made, 1.0), regularisers.l2(bound, 1.0))
        assert dict(made.named_parameters())["own.1"] == 8.0


def test_max_norm_gives_back_what_a_model_takes():
    model = nn.MLP(2, [3, 1], rng=0)
    model.load_params(regularisers.max_norm(model.params(), 0.1))
    for layer in model.layers:
        for neuron in layer.neurons:
            assert sum(leaf.value**2 for leaf in neuron.w) <= 0.01 + 1e-15
    assert_allclose(regularisers.max_norm({"w": np.array([3, 4])}, 1.0)["w"], [0.6, 0.8])
    rows = regularisers.max_norm([{"w": [3.0, 4.0]}, {"bias": [9.0]}], 1.0)
    assert rows == [{"w": [pytest.approx(0.6), pytest.approx(0.8)]}, {"bias": [9.0]}]
    with pytest.raises(TypeError, match=r"model\.load_params\(max_norm\(model\.params\(\), limit\)\)"):
        regularisers.max_norm(model, 0.1)


def objects(parts):
    """An array of objects."""
    made = np.empty(len(parts), object)
    for k, part in enumerate(parts):
        made[k] = part
    return made


@pytest.mark.parametrize("make", [set, frozenset, collections.deque, objects])
@pytest.mark.parametrize("part", [nn.ReLU(), fp.Unit(1.0)], ids=repr)
def test_parameters_where_nobody_looks_are_refused(make, part):
    model = Costly()
    model.hidden = make([part])
    for call in (
        model.parameters,
        model.params,
        model.state_dict,
        lambda: fp.optim.SGD(model),
        lambda: model.apply({}, X),
    ):
        with pytest.raises(
            ValueError, match=r"parameters stand in a .*, where they are not found; put them into a list"
        ):
            call()
    model.hidden = make([1, "a"])
    assert len(model.parameters()) == 6


@pytest.mark.parametrize(
    "params, error, message",
    [
        (X, TypeError, r"params is an array .*before the inputs: apply\(params, x\)"),
        (lambda model: None, TypeError, "params is a function"),
        (Costly().parameters(), TypeError, "params is a list"),
        (dict(Costly().named_parameters()), ValueError, "params has the names of a state_dict"),
    ],
    ids=["array", "function", "list", "names"],
)
def test_what_is_no_params(params, error, message):
    model = Costly()
    for call in (lambda: model.apply(params, X), lambda: model.load_params(params), lambda: model.bound(params)):
        with pytest.raises(error, match=message):
            call()
