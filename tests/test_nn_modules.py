"""Modules: how parameters are found, named, saved, and put in for one call; micrograd's network; training."""

import copy
import dataclasses
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.datasets import load_digits
from fastprop.handles.nesting import map_leaves


class Mixed(nn.Module):
    """Parts of all kinds."""

    def __init__(self):
        self.title = "mixed"
        self.scale = fp.Unit(2.0)
        self.table = {"a": fp.Array([1.0, 2.0]), "b": [fp.Unit(3.0), fp.Unit(4.0)]}
        self.blocks = [nn.Linear(2, 2, rng=0), len, nn.ReLU(), (nn.Linear(2, 1, bias=False, rng=1),)]
        self.sizes = [1, 2, 3]

    def __call__(self, x):
        x = self.blocks[2](self.blocks[0](x)) * self.table["a"] + self.table["b"][0] * self.table["b"][1]
        return self.scale * self.blocks[3][0](x)[0]


NAMES = ["scale", "table.a", "table.b.0", "table.b.1", "blocks.0.weight", "blocks.0.bias", "blocks.3.0.weight"]


def test_networks_are_imported_when_they_are_asked_for():
    program = (
        "import sys, fastprop\n"
        "assert 'nn' in dir(fastprop) and 'fastprop.nn' not in sys.modules and 'numpy.random' not in sys.modules\n"
        "assert fastprop.nn.ReLU()(-1.0) == 0.0 and 'fastprop.nn' in sys.modules\n"
        "assert 'fastprop.reference' not in sys.modules and fastprop.reference.Unit(2.0).value == 2.0\n"
        "assert not hasattr(fastprop, 'nets')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_parts_are_found_in_order():
    model = Mixed()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [leaf is other for leaf, (_, other) in zip(model.parameters(), model.named_parameters())] == [True] * 7
    assert [name for name, _ in model.named_modules()] == ["", "blocks.0", "blocks.2", "blocks.3.0"]


def test_params_are_nested_as_the_parts():
    params = Mixed().params()
    assert params["scale"] == 2.0 and type(params["scale"]) is float
    assert params["table"]["b"] == [3.0, 4.0]
    assert_array_equal(params["table"]["a"], [1.0, 2.0])
    assert list(params["blocks"]) == ["0", "3"]
    assert params["blocks"]["3"]["0"]["weight"].shape == (1, 2)
    params["table"]["a"][0] = 7.0  # the caller's own
    assert Mixed().params()["table"]["a"][0] == 1.0


def test_a_call_with_other_numbers():
    model = Mixed()
    x = np.array([1.0, -0.5])
    params = model.params()
    value = model(x).value
    assert_allclose(model.apply(params, x), value)
    assert model.apply(None, x).value == value
    assert_allclose(model.bound(params)(x), value)
    assert_allclose(model.apply({**params, "scale": 4.0}, x), 2.0 * value)
    gradients = fp.compile(fp.grad(model.apply))(params, x)
    assert_allclose(gradients["scale"], value / 2.0)
    model(x).backward()
    assert_allclose(gradients["blocks"]["0"]["weight"], model.blocks[0].weight.grad)
    assert_allclose(gradients["table"]["b"], [leaf.grad for leaf in model.table["b"]])


def test_handles_and_traced_values_stand_in_for_parameters():
    model = nn.Linear(2, 1, rng=0)
    weight = fp.Array([[1.0, 2.0]])
    model.apply({"weight": weight, "bias": np.zeros(1)}, [3.0, 4.0]).backward(np.ones(1))
    assert_array_equal(weight.grad, [[3.0, 4.0]])
    assert_array_equal(model.weight.grad, [[0.0, 0.0]])
    hessian = fp.hvp(lambda p: (model.apply(p, [3.0, 4.0])[0]) ** 2, (model.params(),), (model.params(),))
    assert hessian["weight"].shape == (1, 2)


@pytest.mark.parametrize(
    "change, error, match",
    [
        (lambda p: p.pop("scale"), ValueError, "params has the keys"),
        (lambda p: p.update(more=1.0), ValueError, "params has the keys"),
        (lambda p: p["table"].update(a=np.ones(3)), ValueError, r"params\['table'\]\['a'\] has the shape \(3,\)"),
        (lambda p: p.update(scale=np.ones(1)), ValueError, r"params\['scale'\] has the shape \(1,\); expected \(\)"),
        (lambda p: p["table"].update(b=[1.0]), ValueError, r"params\['table'\]\['b'\] has length 1"),
        (lambda p: p.update(table=[1.0]), TypeError, r"params\['table'\] is a list"),
    ],
)
@pytest.mark.parametrize("call", ["apply", "load_params"])
def test_params_that_do_not_fit(change, error, match, call):
    model = Mixed()
    params = model.params()
    change(params)
    with pytest.raises(error, match=match):
        model.apply(params, [1.0, 2.0]) if call == "apply" else model.load_params(params)
    assert model.scale.value == 2.0


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.ones(2, complex), fp.Array([1.0, 2.0])])
def test_what_is_kept_are_plain_numbers(bad):
    model = nn.Sequential(nn.Linear(1, 2, rng=0), nn.BatchNorm(2))
    params, buffers = model.params(), model.buffers()
    before = model.state_dict()
    for tree in (params["0"], params["1"], buffers["1"]):
        for name in tree:
            tree[name] = tree[name] + 1.0
    params["1"]["bias"] = buffers["1"]["running_var"] = bad
    for load, numbers in ((model.load_params, params), (model.load_buffers, buffers)):
        with pytest.raises(TypeError, match="expected plain numbers"):
            load(numbers)
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])


def test_nothing_is_left_behind():
    class Broken(nn.Linear):
        def __call__(self, x):
            self.seen = x
            raise RuntimeError("broken")

    model = nn.Sequential(nn.Linear(2, 2, rng=0), Broken(2, 2, rng=0))
    before = dict(vars(model[1]))
    state = model.state_dict()
    with pytest.raises(RuntimeError, match="broken"):
        fp.compile(fp.grad(lambda p: model.apply(p, [1.0, 2.0])))(model.params())
    assert vars(model[1]) == before
    for name, value in model.state_dict().items():
        assert_array_equal(value, state[name])


def test_many_threads_may_call_one_module():
    model = Mixed()
    params = [{**model.params(), "scale": float(k)} for k in range(8)]
    x = np.array([1.0, -0.5])
    one = model.apply({**params[0], "scale": 1.0}, x)
    wrong = []

    def work(k):
        for _ in range(50):
            if abs(model.apply(params[k], x) - k * one) > 1e-12:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_parameter_in_two_layers():
    first, second = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1)
    second.weight = first.weight
    model = nn.Sequential(first, second, first)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert set(model.params()) == {"0", "1"} and set(model.params()["1"]) == {"bias"}
    x = np.array([1.0, 2.0])
    gradient = fp.compile(fp.grad(lambda p: fp.sum(model.apply(p, x))))(model.params())
    fp.sum(model(x)).backward()
    assert_allclose(gradient["0"]["weight"], first.weight.grad)
    state = model.state_dict()
    state["1.weight"] = state["1.weight"] + 1.0
    with pytest.raises(ValueError, match=r"1\.weight and 0\.weight are one parameter"):
        model.load_state_dict(state)
    state = {name: value + 1.0 for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    assert_array_equal(second.weight.value, state["0.weight"])


def test_states_are_saved_and_loaded():
    model, other = Mixed(), Mixed()
    other.load_params(map_leaves(lambda x: 3.0 * x, model.params()))
    model.load_state_dict(other.state_dict())
    for a, b in zip(model.parameters(), other.parameters()):
        assert_array_equal(a.value, b.value)
    state = model.state_dict()
    assert state["scale"].shape == () and all(isinstance(value, np.ndarray) for value in state.values())
    state["table.a"][:] = 0.0  # the caller's own
    assert np.any(model.state_dict()["table.a"])


def test_a_state_that_does_not_fit_names_all_and_loads_nothing():
    model = Mixed()
    state = {name: value + 1.0 for name, value in model.state_dict().items()}
    del state["table.a"]
    state["more"] = np.zeros(1)
    state["scale"] = np.zeros(2)
    state["blocks.0.bias"] = np.zeros(2, np.float32)
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    for part in (
        "table.a is missing",
        "more is none of its names",
        "scale has the shape (2,), expected ()",
        "blocks.0.bias has the dtype float32, expected float64",
    ):
        assert part in str(caught.value)
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])


@pytest.mark.parametrize("state", [None, [1], 0.5])
def test_what_is_no_state(state):
    with pytest.raises(ValueError, match=r"expected what state_dict\(\) has given"):
        Mixed().load_state_dict(state)


def test_an_array_of_numpys_is_data():
    class Scale(nn.Module):
        def __init__(self):
            self.data, self.factor = np.ones(3), fp.Array(np.ones(3))

    assert [name for name, _ in Scale().named_parameters()] == ["factor"]
    assert list(Scale().params()) == list(Scale().state_dict()) == ["factor"]


class Counter(nn.Module):
    """A parameter, and a buffer."""

    buffer_names = ("seen",)

    def __init__(self):
        self.weight = fp.Array([1.0])
        self.seen = np.zeros(2, np.int64)


def test_buffers_are_saved_and_are_no_parameters():
    model = nn.Sequential(Counter(), Counter())
    assert list(model.state_dict()) == ["0.seen", "0.weight", "1.seen", "1.weight"]
    assert len(model.parameters()) == 2 and "seen" not in model.params()["0"]
    state = model.state_dict()
    state["1.seen"] += 3
    model.load_state_dict(state)
    assert_array_equal(model[1].seen, [3, 3])
    assert_array_equal(model[0].seen, [0, 0])
    state["1.seen"] = state["1.seen"].astype(float)
    with pytest.raises(ValueError, match=r"1\.seen has the dtype float64"):
        model.load_state_dict(state)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_modules_are_copied_and_pickled(copied):
    first, second = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1)
    second.weight = first.weight
    model = nn.Sequential(first, nn.BatchNorm(2), second, nn.MLP(2, [2], rng=0), first).eval()
    other = copied(model)
    assert not other.training and other[0] is other[4]
    assert other[2].weight is other[0].weight is not first.weight
    for (name, a), (other_name, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert name == other_name and a is not b and type(a) is type(b)
        assert_array_equal(a.value, b.value)
    other[0].weight.value = np.zeros((2, 2))
    assert np.any(first.weight.value)
    assert_array_equal(copied(model)([1.0, 2.0]).value, model([1.0, 2.0]).value)


@pytest.mark.parametrize("data", [np.zeros((2, 2)), 0.0, np.float32(1.0), [[1.0, 0.0], [0.0, 1.0]], "zeros", {}])
def test_data_in_the_place_of_a_parameter_are_refused(data):
    layer = nn.Linear(2, 2, rng=0)
    before = layer.parameters()
    with pytest.raises(TypeError, match=r"Linear: weight is a parameter, .*; write weight.value = numbers, or assign"):
        layer.weight = data
    assert [a is b for a, b in zip(layer.parameters(), before, strict=True)] == [True, True]


def test_what_else_stands_in_the_place_of_a_parameter():
    layer = nn.Linear(2, 2, rng=0)
    for part in (fp.Array(np.ones((2, 2))), [fp.Unit(1.0)], nn.ReLU(), fp.Unit(1.0) * 2.0, None):
        layer.weight, layer.extra = fp.Array(np.ones((2, 2))), 3.0
        layer.weight = part
        layer.extra = 4.0
        assert layer.weight is part and layer.extra == 4.0
    del layer.bias
    layer.bias = np.zeros(2)  # what is left out first may be data
    assert layer.parameters() == []


def test_a_shallow_copy_shares_the_leaves():
    model = nn.Sequential(nn.Linear(2, 2, rng=0))
    other = copy.copy(model[0])
    assert other is not model[0] and other.weight is model[0].weight
    other.bias = None
    assert model[0].bias is not None


def test_states_go_through_files(tmp_path):
    model, other = Mixed(), Mixed()
    model.load_params(map_leaves(lambda x: 3.0 * x, model.params()))
    np.savez(tmp_path / "model.npz", **model.state_dict())
    with np.load(tmp_path / "model.npz") as state:
        other.load_state_dict(state)
    assert_array_equal(other([1.0, 2.0]).value, model([1.0, 2.0]).value)


def test_a_part_of_a_sequence_of_layers():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), fp.tanh, nn.Linear(3, 1, rng=1))
    features = model[:2]
    assert isinstance(features, nn.Sequential) and len(features) == 2 and list(features) == model.layers[:2]
    assert_allclose(features([1.0, 2.0]).value, np.tanh(model[0]([1.0, 2.0]).value), rtol=1e-14)


def test_leaves_in_containers_are_copied():
    class Table(nn.Module):
        def __init__(self):
            self.rows = {"a": [fp.Array([1.0])], "b": (fp.Unit(2.0), 3)}
            self.sizes = [4, 5]

    model = Table()
    other = copy.deepcopy(model)
    assert [name for name, _ in other.named_parameters()] == ["rows.a.0", "rows.b.0"]
    assert other.rows["b"][1] == 3 and other.sizes == [4, 5] and other.sizes is not model.sizes
    assert other.rows["b"][0] is not model.rows["b"][0]


def test_modes():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert model.training and model[1][0].training
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    assert model.train()[1][0].training
    assert not model.train(False).training


def test_gradients_are_set_back():
    model = nn.Linear(2, 1, rng=0)
    model([1.0, 2.0]).backward(np.ones(1))
    model.zero_grad()
    assert_array_equal(model.weight.grad, [[0.0, 0.0]])


def test_a_module_in_itself_is_refused():
    model = nn.Sequential(nn.Linear(1, 1))
    model.layers.append(model)
    with pytest.raises(ValueError, match="contains itself"):
        model.parameters()


def test_a_module_without_a_call():
    with pytest.raises(TypeError, match="Counter has no __call__"):
        Counter()(1.0)


def test_results_are_no_parameters():
    model = nn.Linear(1, 1, rng=0)
    model.last = model([1.0])
    assert [name for name, _ in model.named_parameters()] == ["weight", "bias"]


def test_a_dataclass_is_a_module():
    @dataclasses.dataclass(eq=False)
    class Affine(nn.Module):
        slope: fp.Unit
        inner: nn.Linear

        def __call__(self, x):
            return self.slope * self.inner(x)

    model = nn.Sequential(Affine(fp.Unit(2.0), nn.Linear(1, 1, rng=0)))
    assert [name for name, _ in model.named_parameters()] == ["0.slope", "0.inner.weight", "0.inner.bias"]
    assert_allclose(model.apply(model.params(), [1.0]), model([1.0]).value)


def test_repr_shows_the_parts():
    assert repr(Mixed()) == (
        "Mixed(scale: (), table: [(2,), [(), ()]], blocks: [Linear(weight: (2, 2), bias: (2,)), ReLU(), "
        "[Linear(weight: (1, 2))]])"
    )
    assert repr(nn.Sequential(nn.Linear(1, 1, rng=0), fp.tanh, lambda x: x)) == (
        "Sequential(Linear(weight: (1, 1), bias: (1,)), tanh, <lambda>)"
    )
    assert repr(nn.MLP(1, [2, 1])) == ("MLP of [Layer of [ReLUNeuron(1), ReLUNeuron(1)], Layer of [LinearNeuron(2)]]")


class Own(nn.Module):
    """Made with one thing that it keeps as it is, one that it makes something of, and one that it has by default."""

    def __init__(self, sizes, width=2, name="own"):
        self.sizes, self.width, self.name = tuple(sizes), [width], name


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Own([1, 2]), "Own(sizes=(1, 2))"),
        (Own([], 3, "mine"), "Own(sizes=(), name='mine')"),
        (nn.LeakyReLU(), "LeakyReLU()"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.Softmax(0), "Softmax(dim=0)"),
        (nn.MaxPool2d((2, 3), padding=1), "MaxPool2d(kernel_size=(2, 3), padding=1)"),
        (nn.Conv1d(2, 4, 3, 2, groups=2, bias=False), "Conv1d(stride=2, groups=2, weight: (4, 1, 3))"),
        (nn.LayerNorm(3), "LayerNorm(normalized_shape=(3,), weight: (3,), bias: (3,))"),
        (
            nn.RNN(1, 2, bias=False),
            "RNN(input_size=1, hidden_size=2, bias=False, weight_ih_l0: (2, 1), weight_hh_l0: (2, 2))",
        ),
        (nn.Dropout(), "Dropout(p=0.5)"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_repr_shows_the_settings(layer, text):
    assert repr(layer) == text


def test_repr_shows_modules_without_parameters():
    assert "dropouts: [Dropout(p=0.5)]" in repr(nn.LSTM(1, 1, num_layers=2, dropout=0.5))


# micrograd's network --------------------------------------------------------------------------------------------------


def mlp_of_floats(params, x):
    """An MLP in plain floats."""
    for k, layer in enumerate(params["layers"].values()):
        sums = [sum(w * v for w, v in zip(n["w"], x)) + n["b"] for n in layer["neurons"].values()]
        x = sums if k == len(params["layers"]) - 1 else [max(s, 0.0) for s in sums]
    return x


def test_mlp_is_micrograds():
    model = nn.MLP(3, [4, 1, 2], rng=0)
    assert len(model.parameters()) == 4 * 4 + 5 + 2 * 2
    assert all(-1.0 <= w.value <= 1.0 for layer in model.layers for neuron in layer.neurons for w in neuron.w)
    assert all(neuron.b.value == 0.0 for layer in model.layers for neuron in layer.neurons)
    assert [layer.neurons[0].nonlin for layer in model.layers] == [True, True, False]
    x = [0.3, -1.2, 0.7]
    expected = mlp_of_floats(model.params(), x)
    assert_allclose([y.value for y in model(x)], expected)
    assert_allclose(model.apply(model.params(), x), expected)
    assert_allclose(fp.compile(model.apply)(model.params(), np.array(x)), expected)
    found = fp.compile(fp.vmap(model.apply, (None, 0)))(model.params(), np.array([x, [1.0, 1.0, 1.0]]))
    assert_allclose([part[0] for part in found], expected)
    assert isinstance(nn.MLP(3, [4, 1], rng=0)(x), fp.Unit)
    assert nn.Neuron(2, rng=0).parameters()[-1].value == 0.0
    with pytest.raises(ValueError, match="2 inputs; this neuron takes 3"):
        model([1.0, 2.0])


# Learning -------------------------------------------------------------------------------------------------------------


def digits():
    """The digits, scaled, in random order: those to learn, and those to be asked for."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[:1400]] / 16.0, y[order[:1400]], x[order[1400:]] / 16.0, y[order[1400:]]


def learn(model, rate, steps):
    """The share of digits that a model tells after a few steps of plain gradient descent."""
    x, y, x_test, y_test = digits()

    def loss(params, x, y):
        return nn.cross_entropy(model.apply(params, x), y)

    step = fp.compile(fp.value_and_grad(fp.vmap(loss, (None, 0, 0), reduce="mean")))
    params = model.params()
    for _ in range(steps):
        _, gradients = step(params, x, y)
        for name, layer in params.items():
            for key in layer:
                params[name][key] = layer[key] - rate * gradients[name][key]
    model.load_params(params)
    scores = fp.vmap(model.apply, (None, 0))(params, x_test)
    return np.mean(np.argmax(scores, axis=1) == y_test)


def test_a_small_network_learns_the_digits():
    random = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(64, 32, init="he_normal", rng=random), nn.ReLU(), nn.Linear(32, 10, rng=random))
    assert learn(model, 0.5, 60) > 0.9


def test_a_network_is_the_same_program_as_its_arrays():
    model = nn.Sequential(nn.Linear(8, 6, rng=0), nn.ReLU(), nn.Linear(6, 3, rng=1))

    def by_hand(p, x):
        return p["2"]["weight"] @ fp.relu(p["0"]["weight"] @ x + p["0"]["bias"]) + p["2"]["bias"]

    x = np.random.default_rng(0).normal(size=(5, 8))
    texts = []
    for call in (model.apply, by_hand):
        circuit = fp.trace(lambda p, x: fp.sum(call(p, x)), model.params(), x[0])  # noqa: B023
        circuit.batch(model.params(), x, in_axes=(None, 0), reduce="mean")
        texts.append(re.sub(r" *\d+\.\d+", "", circuit.summary()))  # without times
    assert texts[0] == texts[1] and "1 product of 6 x 8" in texts[0]


def test_a_module_may_say_what_comes_out_by_forward():
    class Twice(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 2, rng=0)

        def forward(self, x, *, times=2):
            for _ in range(times):
                x = self.inner(x)
            return x

    model, x = Twice(), np.array([1.0, -1.0])
    expected = model.inner(model.inner(x)).value
    np.testing.assert_array_equal(model(x).value, expected)
    np.testing.assert_array_equal(model.apply(model.params(), x), expected)
    np.testing.assert_array_equal(nn.Sequential(model)(x).value, expected)
    assert len(list(model.named_parameters())) == 2
