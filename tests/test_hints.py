"""What is said to those who look for names, attributes and options of other libraries."""

import copy
import importlib
import inspect
import pickle
import re
from importlib.util import find_spec

import numpy as np
import pytest

import fastprop as fp
from fastprop import gates, hints, nn, optim
from fastprop.gates import SEQUENCE
from fastprop.gates.functions import functions
from fastprop.training import History

MODEL = nn.Linear(2, 1, rng=0)
ATTRIBUTES = {
    "Module": MODEL,
    "Optimizer": optim.SGD(MODEL),
    "History": History(),
    "Picture": fp.draw.curves({}),
    "Unit": fp.Unit(1.0),
    "Values": fp.Array([1.0]).grad,
    "Circuit": fp.trace(fp.exp, 1.0),
}


def shown(error, call):
    """The message of what a call raises."""
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("room", hints.NAMES)
def test_names_of_others_say_what_to_write_here(room):
    module = importlib.import_module(room)
    for name, hint in hints.NAMES[room].items():
        text = shown(AttributeError, lambda name=name: getattr(module, name))
        assert text == f"module {room!r} has no attribute {name!r}: {hint}"
        assert not hasattr(module, name) and name not in dir(module)


@pytest.mark.parametrize("kind", hints.ATTRIBUTES)
def test_attributes_of_others(kind):
    thing = ATTRIBUTES[kind]
    for name, hint in hints.ATTRIBUTES[kind].items():
        text = shown(AttributeError, lambda name=name: getattr(thing, name))
        assert text == f"{type(thing).__name__!r} object has no attribute {name!r}: {hint}"
        assert not hasattr(thing, name)


CALLS = {
    "Module": nn.Linear,
    "Optimizer": optim.Adam,
    "LBFGS": optim.LBFGS,
    "of arrays": fp.softmax,
    "of random": fp.random.normal,
}
GIVEN = {
    "Module": (2, 1),
    "Optimizer": (MODEL,),
    "LBFGS": (MODEL,),
    "fit": (MODEL, nn.squared_error, (np.ones((1, 2)), np.ones((1, 1)))),
    "compile": (fp.exp,),
    "scan": (lambda carry, x: (carry, x), 0.0, np.ones(1)),
    "vmap": (fp.exp,),
    "of arrays": (fp.Array([1.0, 2.0]),),
    "of random": (0,),
    "Array": ([1.0],),
    **{name: (fp.exp,) for name in ("grad", "value_and_grad", "jacobian", "hessian")},
}


@pytest.mark.parametrize("kind", hints.OPTIONS)
def test_options_of_others(kind):
    call = CALLS.get(kind) or getattr(fp, kind)
    for name, hint in hints.OPTIONS[kind].items():
        text = shown(TypeError, lambda name=name: call(*GIVEN[kind], **{name: 1}))
        assert text == f"{call.__name__}() takes no {name}: {hint}"


FUNCTIONS = [
    *functions,
    "take",
    *[name for name, row in gates.table.items() if row.arity == SEQUENCE and name != "dot"],
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_of_functions_of_arrays(name, engine):
    of_arrays = getattr(fp if name == "take" else engine, name)
    first = "ij->ji" if name == "einsum" else engine.Array([[1.0, 2.0], [3.0, 4.0]])
    for option, text in {"dim": "it is axis, as in axis=0", "dims": "it is axis", "keepdim": "it is keepdims"}.items():
        message = shown(TypeError, lambda option=option: of_arrays(first, **{option: 0}))
        assert message.startswith(f"{name}() takes no {option}: {text}")
    assert "'nowhere'" in shown(TypeError, lambda: of_arrays(first, nowhere=0))


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "std", "argmax", "cumsum", "squeeze"])
def test_options_of_methods_of_arrays(name, engine):
    for x in (engine.Array([1.0, 2.0]), engine.Array([1.0, 2.0]) * 2.0):
        assert (
            shown(TypeError, lambda x=x: getattr(x, name)(dim=0)) == f"{name}() takes no dim: it is axis, as in axis=0"
        )

    def body(x):
        assert shown(TypeError, lambda: getattr(x, name)(keepdim=True)) == f"{name}() takes no keepdim: it is keepdims"
        return fp.sum(x)

    assert fp.compile(body)(np.array([1.0, 2.0])) == 3.0
    assert fp.vmap(body)(np.ones((2, 2))).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("f", [lambda x: x.sum(), lambda x: x.mean(), lambda x: x.max() * x.min(), lambda x: x.prod()])
def test_single_numbers_are_summed_up_as_numpys_are(f, engine):
    expected = f(np.float64(3.0))
    assert f(engine.Unit(3.0)).value == expected
    assert engine.grad(f)(3.0) == (6.0 if expected == 9.0 else 1.0)
    assert fp.compile(f)(3.0) == expected and fp.vmap(f)(np.array([3.0, 3.0])).tolist() == [expected] * 2


def test_what_hints_name_is_there():
    tables = [rows for table in (hints.NAMES, hints.ATTRIBUTES, hints.OPTIONS) for rows in table.values()]
    texts = {hint for rows in tables for hint in rows.values()}
    found = {name for text in texts for name in re.findall(r"\bfastprop((?:\.\w+)+)", text)}
    assert len(found) > 15
    for path in found:
        if path.startswith(".estimators") and not find_spec("sklearn"):
            continue
        thing = fp
        for name in path[1:].split("."):
            thing = getattr(thing, name)
    classes = {name for text in texts for name in re.findall(r"\b([A-Z][A-Za-z0-9]+)\(", text)}
    known = [*fp.__all__, *nn.__all__, *optim.__all__, *fp.training.__all__]
    assert len(classes) > 10 and classes <= set(known)
    methods = {name for text in texts for name in re.findall(r"\b(?:model|optimizer|history)\.(\w+)", text)}
    assert methods and all(any(hasattr(thing, name) for thing in ATTRIBUTES.values()) for name in methods)
    for text in texts:
        for name in re.findall(r"init='(\w+)'", text):
            assert nn.Linear(2, 3, init=name, rng=0).weight.shape == (3, 2)


@pytest.mark.parametrize(
    "room, name, where",
    [
        ("fastprop", "Linear", "fastprop.nn.Linear"),
        ("fastprop", "SGD", "fastprop.optim.SGD"),
        ("fastprop", "History", "fastprop.training.History"),
        ("fastprop.nn", "tanh", "fastprop.tanh"),
        ("fastprop.optim", "fit", "fastprop.fit"),
        ("fastprop.training", "cross_entropy", "fastprop.nn.cross_entropy"),
    ],
)
def test_names_of_other_rooms(room, name, where):
    module = importlib.import_module(room)
    assert shown(AttributeError, lambda: getattr(module, name)).endswith(f"{name!r}: it is {where}")


@pytest.mark.parametrize(
    "name, text",
    [
        ("mse_loss", "see fastprop.nn: losses are functions of one example: fastprop.nn.squared_error"),
        ("StepLR", "see fastprop.optim: it is Step, given to an optimizer"),
        ("median", "use numpy.sort and its middle"),
        ("svd", "use numpy.linalg.eigh of a.T @ a, or numpy.linalg.qr"),
        ("trapezoid", "NumPy has it, for plain numbers: numpy.trapezoid"),
        ("linalg", "such as fastprop.solve"),
        ("expit", "it is fastprop.sigmoid"),
        ("special", "such as fastprop.logsumexp"),
        ("pi", "it is NumPy's: numpy.pi"),
    ],
)
def test_names_that_fastprop_has_not(name, text):
    assert text in shown(AttributeError, lambda: getattr(fp, name)).partition(f"no attribute {name!r}: ")[2]


def test_other_names_get_pythons_error():
    for room in hints.NAMES:
        module = importlib.import_module(room)
        with pytest.raises(AttributeError) as raised:
            _ = module.nowhere
        assert str(raised.value) == f"module {room!r} has no attribute 'nowhere'"
        assert (raised.value.name, raised.value.obj) == ("nowhere", module)  # by which Python says what is like it
        assert not hasattr(module, "__wrapped__")
    for thing in ATTRIBUTES.values():
        text = shown(AttributeError, lambda thing=thing: thing.nowhere)
        assert text.endswith(f"{type(thing).__name__}' object has no attribute 'nowhere'")
    assert dir(nn) == sorted(nn.__all__) and dir(optim) == sorted(optim.__all__)
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from fastprop.nn import CrossEntropyLoss")
    assert "unexpected keyword argument 'nowhere'" in shown(TypeError, lambda: fp.fit(*GIVEN["fit"], nowhere=1))
    assert "unexpected keyword argument 'nowhere'" in shown(TypeError, lambda: nn.Linear(2, 1, nowhere=1))
    assert "unexpected keyword argument 'nowhere'" in shown(TypeError, lambda: fp.vmap(fp.exp, nowhere=1))
    assert "unexpected keyword argument 'nowhere'" in shown(TypeError, lambda: fp.Array([1.0], nowhere=1))
    assert "unexpected keyword argument 'nowhere'" in shown(TypeError, lambda: fp.random.uniform(0, nowhere=1))


@pytest.mark.parametrize("given, options", [((3,), {}), ((), {"nowhere": 1})])
def test_layers_without_arguments(given, options):
    assert shown(TypeError, lambda: nn.ReLU(*given, **options)) == "ReLU() takes no arguments"
    assert "nothing is computed in place" in shown(TypeError, lambda: nn.ReLU(inplace=True))


def test_an_optimizer_of_nothing():
    assert "Adam takes first what it updates, such as Adam(model)" in shown(TypeError, lambda: optim.Adam(lr=0.1))
    assert optim.Adam(params=MODEL, lr=0.1).lr == 0.1


class Own(nn.Module):
    """A layer that has an option that others have, and a property that fails."""

    def __init__(self, activation, **more):
        self.activation, self.more = activation, more

    @property
    def width(self):
        """What is not there."""
        return self.weight.shape

    def __call__(self, x):
        return x


def test_layers_of_ones_own():
    made = Own(activation="tanh", device="cpu")
    assert (made.activation, made.more) == ("tanh", {"device": "cpu"})
    assert shown(AttributeError, lambda: made.width) == "'Own' object has no attribute 'weight'"
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again.activation == "tanh"
    assert list(inspect.signature(Own).parameters) == ["activation", "more"]
    assert list(inspect.signature(fp.Array).parameters) == ["values", "grad", "dtype", "name"]
    assert list(inspect.signature(fp.fit).parameters)[:4] == ["model", "loss", "data", "optimizer"]


@pytest.mark.parametrize("name", hints.ATTRIBUTES["Unit"])
def test_attributes_of_handles(engine, name):
    x = engine.Unit(2.0)
    for thing in (x, x * x, fp.Array([1.0, 2.0]), fp.Array([1.0, 2.0]) * 2.0):
        text = f"object has no attribute {name!r}: {hints.ATTRIBUTES['Unit'][name]}"
        assert shown(AttributeError, lambda thing=thing: getattr(thing, name)).endswith(text)
        assert shown(AttributeError, lambda thing=thing: setattr(thing, name, False)).endswith(text)


def test_what_would_do_nothing_is_no_attribute():
    layer = nn.Linear(2, 1, rng=0)
    for change in (lambda: setattr(layer, "requires_grad", False), lambda: layer.requires_grad):
        assert shown(AttributeError, change).endswith("freeze by name: optimizer.frozen = {'0.weight'}")


@pytest.mark.parametrize("loss", ["mse", None, np.ones(2)])
def test_a_loss_is_a_function(loss):
    text = shown(TypeError, lambda: fp.fit(MODEL, loss, GIVEN["fit"][2], optim.SGD(MODEL)))
    assert "expected a function of output and target, as fastprop.nn has them" in text
