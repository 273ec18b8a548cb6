"""What `fit` and its like tell those who begin: what was given, and what to give."""

import numpy as np
import pytest

import fastprop as fp
from fastprop import nn


def test_a_class_of_optimizers_is_none():
    with pytest.raises(TypeError, match=r"optimizer is the class SGD; expected SGD\(model\)"):
        fp.fit(nn.Linear(2, 1, rng=0), nn.squared_error, (np.ones((3, 2)), np.ones((3, 1))), fp.optim.SGD)


def test_float_labels_are_called_floats():
    model = nn.Linear(2, 3, rng=0)
    with pytest.raises(TypeError, match=r"labels are integers from 0 to 2; got floats \(Unit\)"):
        fp.fit(model, nn.cross_entropy, (np.ones((3, 2)), np.ones(3)), fp.optim.SGD(model))


def test_an_optimizer_of_another_model_is_told_what_to_be_made_with():
    model, other = nn.Linear(2, 1, rng=0), nn.Linear(2, 1, rng=0)
    with pytest.raises(ValueError, match=r"leaves of another model, or were replaced; .* such as SGD\(model\)"):
        fp.fit(model, nn.squared_error, (np.ones((3, 2)), np.ones((3, 1))), fp.optim.SGD(other))


def test_a_function_without_params_is_told_so_by_evaluate_too():
    with pytest.raises(TypeError, match=r"a function of \(params, x\) needs params"):
        fp.training.evaluate(lambda params, x: x, nn.squared_error, (np.ones(3), np.ones(3)))


@pytest.mark.parametrize(
    ("metrics", "error", "text"),
    [
        ({"loss": fp.nn.squared_error}, ValueError, "'loss' is no name for one"),
        ({"validation_error": fp.nn.squared_error}, ValueError, "'validation_error'"),
        ([fp.nn.squared_error], TypeError, "metrics is a list.*expected a dict"),
        ({"error": 3.0}, TypeError, "expected a dict: names, and functions"),
    ],
    ids=["loss", "validation", "list", "number"],
)
def test_metrics_have_names_of_their_own(metrics, error, text):
    model = fp.nn.Linear(2, 1, rng=0)
    data = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(error, match=text):
        fp.fit(model, fp.nn.squared_error, data, fp.optim.SGD(model), metrics=metrics)
    with pytest.raises(error, match=text):
        fp.training.evaluate(model, fp.nn.squared_error, data, metrics=metrics)


@pytest.mark.parametrize("data", [{"x": np.ones((3, 2)), "y": np.ones((3, 1))}, "train.csv", 3.0])
def test_data_of_other_kinds(data):
    model = nn.Linear(2, 1, rng=0)
    with pytest.raises(
        TypeError, match=rf"data is {type(data).__name__}; expected \(x, y\), an iterable of batches, or"
    ):
        fp.fit(model, nn.squared_error, data, fp.optim.SGD(model))


@pytest.mark.parametrize("validation", [None, 0.5])
def test_data_without_targets(validation):
    model = nn.Linear(2, 1, rng=0)
    x = np.ones((4, 2))
    for data in (x, (x,)):
        with pytest.raises(
            TypeError, match=r"data is a.*; expected \(x, y\).*: what learns without targets gets \(x, x\)"
        ):
            fp.fit(model, nn.squared_error, data, fp.optim.SGD(model), validation=validation)


def test_examples_one_by_one():
    model = nn.Linear(2, 3, rng=0)
    examples = [(np.ones(2), 1), (np.zeros(2), 2)]
    with pytest.raises(
        ValueError, match=r"batch 0: y is an int \(1\); expected an array.*x = np.stack\(\[x for x, y in"
    ):
        fp.fit(model, nn.cross_entropy, examples, fp.optim.SGD(model))


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        ("adam", r"optimizer is a str \('adam'\); expected an Optimizer .* such as Adam\(model, lr=0.001\)$"),
        (None, r"optimizer is None; expected an Optimizer"),
        (
            fp.optim.LBFGS([1.0]),
            r"optimizer is an? LBFGS.* such as Adam.*: it takes all the data at once, .*\(closure\)",
        ),
    ],
)
def test_what_is_no_optimizer_of_batches(optimizer, text):
    model = nn.Linear(2, 1, rng=0)
    with pytest.raises(TypeError, match=text):
        fp.fit(model, nn.squared_error, (np.ones((3, 2)), np.ones((3, 1))), optimizer)


def test_a_layer_of_ones_own_that_draws_has_a_key_while_it_learns():
    class Noise(nn.Module):
        draws = True

        def __init__(self):
            self.scale = fp.Unit(1.0)

        def __call__(self, x):
            return x + self.scale * fp.random.normal(self.key) if self.training else x + 0.0 * self.scale

    model, data = Noise(), (np.zeros(8), np.zeros(8))
    with pytest.raises(TypeError, match=r"key is None; .* a Module that draws says draws = True"):
        model(0.0)
    history = fp.fit(model, nn.squared_error, data, fp.optim.SGD(model), validation=data, epochs=2, batch_size=8, rng=0)
    assert history.validation_losses == [0.0, 0.0] and min(history.losses) > 0.0 and len(set(history.losses)) == 2


@pytest.mark.parametrize("where", ["data", "validation"])
def test_arrays_go_in_a_tuple(where):
    model = nn.Linear(2, 1, rng=0)
    x, y = np.ones((4, 2)), np.ones((4, 1))
    given = {"data": (x, y), "validation": None, where: [x, y]}
    with pytest.raises(TypeError, match=r"got ndarray; expected .* a list is one of batches, and arrays go in a tuple"):
        fp.fit(model, nn.squared_error, given["data"], fp.optim.SGD(model), validation=given["validation"])


@pytest.mark.parametrize("params", [0.01, {"weight": np.ones(3)}, [np.ones(2)]], ids=repr)
def test_an_optimizer_of_other_numbers(params):
    model = nn.Linear(2, 1, rng=0)
    with pytest.raises((TypeError, ValueError), match=r"of other parameters than the model's .* SGD\(model, lr=0.01\)"):
        fp.fit(model, nn.squared_error, (np.ones((3, 2)), np.ones((3, 1))), fp.optim.Adam(params))


def test_a_class_is_no_model():
    model = nn.Linear(2, 1, rng=0)
    data = np.ones((3, 2)), np.ones((3, 1))
    for call in (
        lambda: fp.fit(nn.Linear, nn.squared_error, data, fp.optim.SGD(model)),
        lambda: fp.training.evaluate(nn.Linear, nn.squared_error, data),
        lambda: fp.training.predict(nn.Linear, data[0]),
    ):
        with pytest.raises(TypeError, match=r"model is the class Linear; expected a fastprop\.nn\.Module"):
            call()


def test_targets_without_the_axis_of_outputs():
    with pytest.raises(ValueError, match=r"shape \(1,\) and targets of shape \(\); .* targets\[:, None\] have that"):
        fp.fit(model := nn.Linear(2, 1, rng=0), nn.squared_error, (np.ones((3, 2)), np.ones(3)), fp.optim.SGD(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": 2.0}, "class_weight is 2.0; expected .*a weight for every label"),
        ({"class_weight": {"0": 2.0}}, "class_weight has a weight for '0'; labels are integers"),
        ({"class_weight": {0.5: 2.0}}, "class_weight has a weight for 0.5; labels are integers"),
        ({"penalty": 0.1}, "penalty is a float .*expected a function of the parameters"),
        ({"recordings": True}, "recordings is a bool .*expected a dict"),
    ],
    ids=str,
)
def test_options_of_other_kinds(options, message):
    model = nn.Linear(2, 3, rng=0)
    with pytest.raises(TypeError, match=message):
        fp.fit(model, nn.cross_entropy, (np.ones((3, 2)), np.arange(3)), fp.optim.SGD(model), **options)


def test_class_weights_by_numpys_integers():
    model = nn.Linear(2, 3, rng=0)
    data = np.ones((3, 2)), np.arange(3)
    fp.fit(model, nn.cross_entropy, data, fp.optim.SGD(model), class_weight={np.int64(0): 2.0})


def test_arrays_in_a_module_are_data():
    class Data(nn.Module):
        def __init__(self):
            self.w = np.ones(3)

    for rule in (fp.optim.SGD, fp.optim.LBFGS):
        with pytest.raises(ValueError, match=r"no parameters; .*: fastprop\.Array\(values\) in an attribute is one"):
            rule(Data())


class Silent(fp.training.Callback):
    """It says nothing at the end of an epoch."""

    def on_batch_end(self, history):
        return True


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (None, "callbacks is None; expected Callbacks, or functions of the History"),
        ("early", "callbacks is a str"),
        (Silent, r"callbacks has the class Silent; expected Silent\(\)"),
        ([Silent], r"callbacks has the class Silent; expected Silent\(\)"),
        ([print, 3], "callbacks has an int"),
        (Silent(), "Silent has no on_epoch_end of its own, and no more of it is called"),
    ],
    ids=["None", "a name", "a class", "a list of a class", "a list with a number", "silent"],
)
def test_callbacks_are_checked_before_the_first_step(callbacks, message):
    model = nn.Linear(2, 1, rng=0)
    before = model.state_dict()
    with pytest.raises(TypeError, match=message):
        fp.fit(model, nn.squared_error, (np.ones((3, 2)), np.ones((3, 1))), fp.optim.SGD(model), callbacks=callbacks)
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "metric", [lambda o, t: o - t, lambda o, t: "a", lambda o, t: None], ids=["array", "str", "None"]
)
def test_a_metric_is_a_number(metric):
    model = nn.Linear(2, 1, rng=0)
    data = np.ones((3, 2)), np.ones((3, 1))
    with pytest.raises(TypeError, match=r"the metric 'error' of one example is .*; expected one number"):
        fp.fit(model, nn.squared_error, data, fp.optim.SGD(model), metrics={"error": metric})
    numbers = {"one": lambda o, t: 1, "true": lambda o, t: True, "numpy": lambda o, t: np.float64(2.0)}
    found = fp.training.evaluate(model, nn.squared_error, data, metrics=numbers)
    assert found.metrics == {"one": 1.0, "true": 1.0, "numpy": 2.0}


@pytest.mark.parametrize("steps", [1, 4])
def test_what_gives_a_tuple_is_told_from_what_gives_a_block(steps):
    x = np.ones((steps, 3))
    wrong = nn.Sequential(nn.GRU(3, 4, rng=0), nn.Linear(4, 1, rng=0))
    with pytest.raises(TypeError, match="layer 0, GRU, gives a tuple, and layer 1, Linear, takes one block"):
        wrong(x)
    right = nn.Sequential(nn.GRU(3, 4, rng=0), lambda both: both[0][-1], nn.Linear(4, 1, rng=0))
    assert right(x).shape == (1,)
    assert nn.Sequential(lambda x: (x, x), nn.Identity(), lambda both: both[1], nn.Tanh())(x).shape == x.shape


def tied(model):
    """A network whose last function reads the weight of its first layer."""
    return nn.Sequential(model, lambda y: model.weight.T @ y)


@pytest.mark.parametrize("handles", [True, False])
@pytest.mark.parametrize("where", ["loss", "penalty", "model"])
def test_what_reads_the_models_own_leaves_would_get_no_gradient(where, handles):
    model = nn.Linear(2, 2, rng=0)
    whole = tied(model) if where == "model" else model
    options = {"penalty": lambda params: nn.regularisers.l2(model, 0.1)} if where == "penalty" else {}
    loss = nn.squared_error
    if where == "loss":
        loss = lambda output, target: nn.squared_error(output, target) + nn.regularisers.l2(model, 0.1)  # noqa: E731
    before = model.state_dict()
    optimizer = fp.optim.SGD(whole if handles else whole.params())
    what = "penalty" if where == "penalty" else "loss"
    with pytest.raises(ValueError, match=f"the {what} reads .*weight of the model itself"):
        fp.fit(whole, loss, (np.ones((3, 2)), np.ones((3, 2))), optimizer, **options)
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


def test_leaves_that_do_not_move_may_be_read():
    model, scale = nn.Sequential(nn.Linear(2, 1, rng=0), nn.Linear(1, 1, rng=1)), fp.Unit(2.0)
    optimizer = fp.optim.SGD(model[0], lr=0.1)

    def loss(output, target):
        return nn.squared_error(scale * output, target) + nn.regularisers.l2(model[1], 0.1)

    history = fp.fit(model, loss, (np.ones((3, 2)), np.ones((3, 1))), optimizer, epochs=5)
    assert history.losses[-1] < history.losses[0]


@pytest.mark.parametrize("rng", ["seed", -1, 0.5], ids=repr)
def test_what_is_no_seed(rng):
    model = nn.Linear(2, 1, rng=0)
    data = np.ones((3, 2)), np.ones((3, 1))
    optimizer = fp.optim.SGD(model)
    for call in (fp.fit, fp.training.find_rate):
        with pytest.raises(
            (TypeError, ValueError), match=r"rng is .*; expected a seed from 0 on, a numpy.random.Generator"
        ):
            call(model, nn.squared_error, data, optimizer, rng=rng)
    assert optimizer.steps == 0
