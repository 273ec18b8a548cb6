"""What errors say: in the words of NumPy and of the function that was called, on every front, without inner names."""

import importlib
import sys

import numpy as np
import pytest

import fastprop as fp
from fastprop import reference

X = np.array([1.0, 2.0, 3.0])
FRONTS = {
    "array": lambda f: f(fp.Array(X)),
    "reference": lambda f: f(reference.Array(X)),
    "traced": lambda f: fp.trace(f, X),
    "lanes": lambda f: fp.vmap(f)(np.stack([X, X])),
    "made": lambda f: fp.compile(lambda x: f(fp.vmap(lambda y: 2.0 * y)(x)))(X),
}
KINDS = "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are valid"
MASKED = np.ma.array(X, mask=[True, False, False])
ROWS = [
    (lambda x: x["a"], IndexError, KINDS),
    (lambda x: x[1.5], IndexError, KINDS),
    (lambda x: x[None, "a"], IndexError, KINDS),
    (lambda x: x[0, 0], IndexError, "too many indices for array: array is 1-dimensional, but 2 were indexed"),
    (lambda x: x[7], IndexError, "index 7 is out of bounds for axis 0 with size 3"),
    (lambda x: fp.roll(x, "a"), TypeError, "roll: shift is 'a'; expected integers"),
    (lambda x: np.roll(x, 0.5), TypeError, "roll: shift is 0.5; expected integers"),
    (lambda x: fp.pad(x, "a"), TypeError, "pad: pad_width is 'a'; expected integers"),
    (lambda x: fp.pad(x, -1), ValueError, "pad: pad_width is -1; expected none below 0"),
    (lambda x: fp.repeat(x, "a"), TypeError, "repeat: repeats is 'a'; expected integers"),
    (lambda x: fp.repeat(x, 0.5), TypeError, "repeat: repeats is 0.5; expected integers"),
    (lambda x: np.repeat(x, -1), ValueError, "repeat: repeats is -1; expected none below 0"),
    (lambda x: fp.tile(x, "a"), TypeError, "tile: reps is 'a'; expected integers"),
    (lambda x: fp.tile(x, (2, -1)), ValueError, "tile: reps is (2, -1); expected none below 0"),
    (lambda x: fp.dot(x, np.ones(4)), ValueError, "dot: shapes (3,) and (4,) do not meet"),
    (lambda x: np.dot(x, np.ones((4, 2))), ValueError, "dot: shapes (3,) and (4, 2) do not meet"),
    (lambda x: x @ np.ones(4), ValueError, "matmul of the shapes (3,) and (4,)"),
    (lambda x: fp.inner(x, np.ones(4)), ValueError, "inner: the last axes of the shapes (3,) and (4,) do not meet"),
    (lambda x: x + MASKED, TypeError, "is a MaskedArray"),
    (lambda x: x.at[0].set("a"), TypeError, "reshape: operand 0 is 'a' (str), expected a real number"),
    (lambda x: fp.outer(x, "a"), TypeError, "reshape: operand 0 is 'a' (str), expected a real number"),
    (lambda x: x.item(), TypeError, "item() of an Array would drop its derivative; use .value, or .value.item()"),
    (lambda x: x.tolist(), TypeError, "tolist() of an Array would drop its derivative; use .value, or .value.tolist()"),
    (lambda x: x[0].item(), TypeError, "item() of a Unit would drop its derivative"),
    (lambda x: x.__setitem__(0, 1.0), TypeError, "an Array is what it was computed as, and can't be assigned to"),
    (lambda x: x.foo, AttributeError, "'Array' object has no attribute 'foo'"),
    (lambda x: fp.grad(x), TypeError, "grad takes a function first, not an Array"),
    (lambda x: fp.sin(x, x), TypeError, "fastprop.gate.sin() takes exactly one argument (2 given)"),
    (lambda x: fp.tanh(), TypeError, "fastprop.gate.tanh() takes exactly one argument (0 given)"),
]
INNER = ("Bundle", "Block", "Applied", "Slots", "LaneBlock", "OutOfRange")


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(("call", "error", "text"), ROWS, ids=[row[2][:40] for row in ROWS])
def test_errors_say_what_was_wrong(front, call, error, text):
    with pytest.raises(error) as caught:
        FRONTS[front](call)
    assert text in str(caught.value)
    assert not any(name in str(caught.value) for name in INNER)


@pytest.mark.parametrize("front", FRONTS)
def test_arrays_like_an_array_are_plain(front):
    found = []

    def f(x):
        found[:] = [
            np.zeros_like(x), np.ones_like(x), np.full_like(x, 2.5), np.zeros_like(x, shape=(2, 2)),
            np.zeros_like(x, dtype=np.int64), np.empty_like(x),
        ]  # fmt: skip
        return x.sum() + found[1].sum()

    FRONTS[front](f)
    zeros, ones, full, other, integers, empty = found
    assert all(type(array) is np.ndarray for array in found)
    np.testing.assert_array_equal([zeros, ones, full], [[0.0] * 3, [1.0] * 3, [2.5] * 3])
    assert other.shape == (2, 2) and integers.dtype == np.int64 and empty.shape == (3,)


def test_arrays_like_an_array_have_its_dtype():
    for engine in (fp, reference):
        assert np.zeros_like(engine.Array(X.astype(np.float32))).dtype == np.float32
        u = engine.Unit(3.0)
        full = np.full_like(engine.Array(X), u)
        full.sum().backward()
        assert full.value.tolist() == [3.0] * 3 and u.grad == 3.0


def test_floats_that_index_are_told_how_to_become_integers():
    scores = np.ones((3, 3))
    for f in (fp.vmap(lambda row, label: row[label]), fp.vmap(lambda row, label: fp.take(row, label))):
        for front in (f, fp.compile(f)):
            with pytest.raises(TypeError, match=r"of an array of floats \.astype\(int\) makes integers"):
                front(scores, np.array([0.0, 1.0, 2.0]))
            np.testing.assert_array_equal(front(scores, np.array([0, 1, 2])), np.ones(3))


def test_estimators_name_the_extra_that_they_need(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastprop.estimators")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"scikit-learn, which is not installed: pip install fastprop\[estimators\]"):
        importlib.import_module("fastprop.estimators")


def forgetful(x):
    fp.sum(x)


class Table:
    """What is an array of something else, as tables with texts are."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, "a"]], object)


TRANSFORMS = {
    "eager": lambda f: fp.grad(f),
    "compiled": lambda f: fp.compile(fp.grad(f)),
    "both": lambda f: fp.compile(fp.value_and_grad(f)),
    "inside": lambda f: fp.compile(lambda x: fp.grad(f)(x)),
    "circuit": lambda f: fp.trace(f, X).value_and_grad,
    "reference": lambda f: reference.grad(f),
    "by differences": lambda f: lambda x: fp.numerical_grad(f, (x,)),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("f", "text"),
    [
        (forgetful, r"forgetful returned None \(does it end without a return\?\)"),
        (lambda x: x[0] > 0.0, "needs a function that returns numbers or arrays|returns truth values"),
        (lambda x: x > 0.0, "needs a function that returns numbers or arrays|returns truth values|shape"),
        (
            lambda x: x * 2.0,
            r"returned an array of shape \(3,\); add it up \(fastprop.sum|returns more|the shapes \(3,\)",
        ),
    ],
)
def test_what_can_not_be_differentiated(transform, f, text):
    with pytest.raises(TypeError, match=text):
        TRANSFORMS[transform](f)(X)


MISTAKES = [
    (lambda: fp.vmap(lambda x: x)([1.0, 2.0]), ValueError, "a list of numbers is a container: give np.array of it"),
    (lambda: fp.vmap(lambda x, y: x)(X, "ab"), ValueError, "argument 1 is a str ('ab') and has no axis 0; give None"),
    (lambda: fp.vmap(lambda d: d["a"], {"a": 0})({"a": X}), ValueError, "for a nest of them in_axes=({'a': 0},)"),
    (lambda: fp.vmap(lambda x, y: x)(X, X[:2]), ValueError, "lanes: argument 0 has 3, argument 1 has 2"),
    (
        lambda: fp.grad(lambda x: fp.sum(x))(Table()),
        TypeError,
        "a Table, which makes an array of dtype object and shape",
    ),
    (lambda: fp.compile(lambda x: fp.sum(x))(Table()), TypeError, "a Table, which makes an array of dtype object"),
    (
        lambda: fp.Array(float(k) for k in range(2)),
        TypeError,
        "(generator); expected a real number, or a list or array of them",
    ),
    (lambda: fp.Array({"a": 1.0}), TypeError, "values is {'a': 1.0} (dict); expected a real number, or a list or"),
    (lambda: fp.Array([1.0, "a"]), TypeError, "values, element 1, is 'a' (str); expected a real number"),
]


@pytest.mark.parametrize(("call", "error", "text"), MISTAKES, ids=[text[:40] for _, _, text in MISTAKES])
def test_mistakes_say_how_to_mend_them(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


def test_columns_of_numbers_are_arrays():
    class Columns(Table):
        def __array__(self, dtype=None, copy=None):
            return X

    for f in (fp.grad(lambda x: fp.sum(x * x)), fp.compile(fp.grad(lambda x: fp.sum(x * x)))):
        assert f(Columns()).tolist() == (2.0 * X).tolist()


@pytest.mark.parametrize("call", [fp.exp, fp.sum, fp.softmax, fp.norm, lambda x: fp.maximum(x, 1.0)])
def test_ragged_lists_of_plain_numbers(call):
    with pytest.raises(ValueError, match=r"operand.* is ragged; expected rows of equal length"):
        call([[1.0, 2.0], [3.0]])
