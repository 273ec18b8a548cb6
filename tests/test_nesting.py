"""Nested containers: taken apart, checked, and put together again."""

import collections
import dataclasses
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fastprop as fp
from fastprop.handles.nesting import (
    LEAF,
    as_number,
    checked,
    checked_alike,
    described,
    flatten,
    map_leaves,
    plain,
    unit_directions,
)


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    scale: Any
    parts: Any


@dataclasses.dataclass
class Normalised:
    weights: Any
    total: Any = dataclasses.field(init=False)

    def __post_init__(self):
        self.total = sum(self.weights)


@dataclasses.dataclass
class Positive:
    sigma: Any

    def __post_init__(self):
        if self.sigma <= 0:
            raise ValueError("sigma must be positive")


class Stack(list):
    pass


class Pair(tuple):
    pass


TREES = [
    (3.0, [3.0], ""),
    ([1.0, 2.0], [1.0, 2.0], "[1]"),
    ((1.0, (2.0, 3.0)), [1.0, 2.0, 3.0], "[1][1]"),
    ({"a": 1.0, "b": [2.0, {"c": 3.0}]}, [1.0, 2.0, 3.0], "['b'][1]['c']"),
    (Point(1.0, [2.0]), [1.0, 2.0], ".y[0]"),
    (Frozen(1.0, {"k": (2.0, 3.0)}), [1.0, 2.0, 3.0], ".parts['k'][1]"),
    (collections.OrderedDict(b=1.0, a=2.0), [1.0, 2.0], "['a']"),
    (Stack([1.0, 2.0]), [1.0, 2.0], "[1]"),
    (Pair([1.0, 2.0]), [1.0, 2.0], "[1]"),
    ({1: 5.0, (0, 1): 6.0}, [5.0, 6.0], "[(0, 1)]"),
    ([[1.0], [], [2.0, 3.0]], [1.0, 2.0, 3.0], "[2][1]"),
]


@pytest.mark.parametrize(("tree", "leaves", "last"), TREES, ids=[type(tree).__name__ + last for tree, _, last in TREES])
def test_flatten_and_unflatten(tree, leaves, last):
    found, nesting = flatten(tree)
    assert found == leaves
    assert nesting.size == len(leaves)
    assert nesting.path(len(leaves) - 1) == last
    again = nesting.unflatten(iter(leaves))
    assert again == tree
    assert type(again) is type(tree)
    doubled = nesting.unflatten(2.0 * x for x in leaves)
    assert flatten(doubled)[0] == [2.0 * x for x in leaves]
    assert flatten(tree)[0] == leaves  # the original is as it was


@pytest.mark.parametrize("empty", [[], (), {}, [[], {}]], ids=repr)
def test_empty_containers(empty):
    leaves, nesting = flatten(empty)
    assert leaves == []
    assert nesting.unflatten([]) == empty
    with pytest.raises(IndexError):
        nesting.path(0)


def test_defaultdict_keeps_its_default():
    tree = collections.defaultdict(list, a=1.0)
    again = map_leaves(lambda x: x + 1.0, tree)
    assert again == {"a": 2.0}
    assert again["missing"] == []


def test_a_new_container_shares_nothing_with_the_template():
    tree = {"a": [1.0, 2.0], "b": Stack([3.0])}
    leaves, nesting = flatten(tree)
    first, second = nesting.unflatten(leaves), nesting.unflatten(leaves)
    first["a"].append(9.0)
    first["b"].append(9.0)
    assert second == tree == {"a": [1.0, 2.0], "b": [3.0]}


def test_nesting_does_not_follow_the_original():
    tree = collections.OrderedDict(a=1.0)
    leaves, nesting = flatten(tree)
    tree["b"] = 2.0
    assert nesting.unflatten(leaves) == {"a": 1.0}


def test_computed_fields_follow_the_leaves_when_constructed():
    leaves, nesting = flatten(Normalised([1.0, 2.0]))
    assert leaves == [1.0, 2.0]
    assert nesting.unflatten([10.0, 20.0], construct=True).total == 30.0
    assert nesting.unflatten([10.0, 20.0]).weights == [10.0, 20.0]


def test_constructors_that_refuse_are_not_asked_for_results():
    _, nesting = flatten(Positive(2.0))
    assert nesting.unflatten([-1.0]).sigma == -1.0
    with pytest.raises(ValueError, match="sigma must be positive"):
        nesting.unflatten([-1.0], construct=True)


def test_dataclass_class_and_strings_are_leaves():
    assert flatten(Positive) == ([Positive], LEAF)
    assert flatten("text") == (["text"], LEAF)
    assert flatten([{1.0}, None])[0] == [{1.0}, None]


def test_a_container_in_itself_is_refused():
    ring = [1.0]
    ring.append({"again": ring})
    with pytest.raises(ValueError, match="contains itself"):
        flatten(ring)


def test_a_container_twice_beside_itself_is_fine():
    shared = [1.0]
    assert flatten([shared, shared])[0] == [1.0, 1.0]


def test_leaves_of_a_tree_nested_alike():
    _, nesting = flatten({"a": 1.0, "b": [2.0, 3.0]})
    assert nesting.leaves_of({"b": [5.0, 6.0], "a": 4.0}, "tangent") == [4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ([1.0], TypeError, "tangent is a list, where a dict is expected"),
        (1.0, TypeError, "tangent is a single float, where a dict is expected"),
        ({"a": 1.0}, ValueError, r"tangent has the keys \['a'\], where \['a', 'b'\] are expected"),
        ({"a": 1.0, "b": [2.0]}, ValueError, r"tangent\['b'\] has length 1, where 2 is expected"),
        ({"a": [1.0], "b": [2.0, 3.0]}, TypeError, r"tangent\['a'\] is a list, where one number or array is expected"),
        ({"a": 1.0, "b": (2.0, 3.0)}, TypeError, r"tangent\['b'\] is a tuple, where a list is expected"),
        ({"a": 1.0, "b": np.ones(2)}, TypeError, r"tangent\['b'\] is a single ndarray, where a list is expected"),
    ],
)
def test_leaves_of_a_tree_nested_otherwise(tree, error, message):
    _, nesting = flatten({"a": 1.0, "b": [2.0, 3.0]})
    with pytest.raises(error, match=message):
        nesting.leaves_of(tree, "tangent")


NUMBERS = st.floats(allow_nan=False)
NESTED = st.recursive(
    NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.builds(Point, inner, inner)
        | st.builds(Frozen, inner, inner)
    ),
    max_leaves=20,
)


@given(NESTED)
def test_any_nesting_comes_back(tree):
    leaves, nesting = flatten(tree)
    assert all(type(leaf) is float for leaf in leaves)
    assert nesting.unflatten(leaves) == tree
    assert nesting.leaves_of(tree, "tree") == leaves
    assert len({nesting.path(i) for i in range(nesting.size)}) == nesting.size


@given(NESTED)
def test_paths_lead_to_the_leaves(tree):
    leaves, nesting = flatten(tree)
    for i, leaf in enumerate(leaves):
        assert eval("tree" + nesting.path(i), {"tree": tree}) == leaf


@pytest.mark.parametrize(
    ("given_", "number"),
    [
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.array(2.5), 2.5),
        (np.array(7), 7.0),
        (Fraction(1, 4), 0.25),
        (Decimal("0.1"), 0.1),
        (2**70, 2.0**70),
    ],
    ids=repr,
)
def test_what_counts_as_a_float(given_, number):
    found = as_number(given_)
    assert type(found) is float
    assert found == number


@pytest.mark.parametrize(
    "given_",
    [
        *(True, np.True_, 1j, "1", None, object(), b"1", {1.0}, Ellipsis, threading.Lock(), np.array(True)),
        *map(np.array, ([1j], [True], ["a"], [None])),
        np.array([1], dtype=np.float16),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_does_not(given_):
    assert as_number(given_) is None
    with pytest.raises(TypeError, match=r"argument 3\[0\] is .*, which can't be differentiated"):
        checked(given_, "argument 3[0]")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(2, 6)[:, ::-2],
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.frombuffer(b"\0" + np.arange(6.0).tobytes(), np.uint8)[1:].view(np.float64).reshape(2, 3),
        np.zeros((0, 3)),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}{array.strides}",
)
def test_arrays_are_copied_whatever_their_layout(array):
    found = as_number(array)
    assert found.dtype == (np.float32 if array.dtype == np.float32 else np.float64)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)
    assert not np.shares_memory(found, array)


def test_pulls_are_checked_against_their_output():
    output = np.ones((2, 3))
    assert checked_alike(2, 1.0, "the pull", "the output") == 2.0
    np.testing.assert_array_equal(checked_alike(np.ones((2, 3), int), output, "the pull", "the output"), output)
    with pytest.raises(ValueError, match=r"the pull has shape \(3,\), but the output has shape \(2, 3\)"):
        checked_alike(np.ones(3), output, "the pull", "the output")
    with pytest.raises(ValueError, match=r"the pull has shape \(\), but the output has shape \(2, 3\)"):
        checked_alike(1.0, output, "the pull", "the output")
    with pytest.raises(TypeError, match="the pull is an array of dtype complex128"):
        checked_alike(output * 1j, output, "the pull", "the output")
    with pytest.raises(TypeError, match="the pull has dtype float64, but the output has float32"):
        checked_alike(output, output.astype(np.float32), "the pull", "the output")
    assert checked_alike(output.astype(np.float32), output, "the pull", "the output").dtype == np.float64


def test_unit_directions_span_the_space():
    found = np.array(list(unit_directions(np.zeros((2, 2), np.float32))))
    np.testing.assert_array_equal(found.reshape(4, 4), np.eye(4))
    assert found.dtype == np.float32
    assert list(unit_directions(5.0)) == [1.0]
    assert list(unit_directions(np.zeros(0))) == []


def test_plain_values_are_the_callers_to_change(engine):
    array = engine.Array([1.0, 2.0])
    value = plain(array)
    value[0] = 9.0
    np.testing.assert_array_equal(array.value, [1.0, 2.0])
    assert plain(engine.Unit(3.0)) == 3.0


def test_descriptions_are_short():
    assert described(True) == "a bool (True)"
    assert described(None) == "None"
    assert described(np.zeros((2, 3), complex)) == "an array of dtype complex128 and shape (2, 3)"
    assert described("x" * 100) == "a str"
    assert described(Ellipsis) == "an ellipsis (Ellipsis)"


PARAMS = {"w": [np.array([1.0, 2.0]), 3.0], "p": Point(4.0, None), "f": Frozen(5.0, (None, 6.0)), "none": None}
SLOPES = {"none": None, "f": Frozen(1.0, (None, 2.0)), "p": Point(0.5, None), "w": [np.array([2.0, 4.0]), 1.0]}


def descended(params: Any, slopes: Any) -> Any:
    return fp.tree_map(lambda p, g: p - 0.5 * g, params, slopes)


def test_tree_map_keeps_the_containers_of_the_first() -> None:
    found = descended(PARAMS, SLOPES)
    assert list(found) == list(PARAMS)
    assert_array_equal(found["w"][0], [0.0, 0.0])
    assert (found["w"][1], found["p"], found["f"], found["none"]) == (
        2.5,
        Point(3.75, None),
        Frozen(4.5, (None, 5.0)),
        None,
    )
    assert PARAMS["p"] == Point(4.0, None)
    assert fp.tree_map(lambda x: [x, None], (1.0, None)) == ([1.0, None], None)
    assert fp.tree_map(lambda x, y, z: x + y + z, 1.0, 2.0, 3.0) == 6.0
    assert fp.tree_map(lambda x: x, None) is None
    assert fp.tree_map(str.upper, {"a": "b"}) == {"a": "B"}


def test_tree_map_of_handles_and_in_what_is_recorded() -> None:
    w = {"a": fp.Unit(2.0), "b": [fp.Array([1.0, 2.0])]}
    squares = fp.tree_map(lambda x: x * x, w)
    (squares["a"] + fp.sum(squares["b"][0])).backward()
    assert fp.tree_map(lambda x: np.asarray(x.grad).tolist(), w) == {"a": 4.0, "b": [[2.0, 4.0]]}

    def loss(params: Any) -> Any:
        moved = descended(params, {"b": np.ones(2), "a": params["a"]})
        return moved["a"] * fp.sum(moved["b"])

    params = {"a": 2.0, "b": np.array([1.0, 2.0])}
    for front in (
        loss,
        fp.compile(loss),
        lambda p: fp.scan(lambda c, _: (descended(c, c), None), p, None, 1)[0]["a"] * 2.0,
    ):
        assert front(params) == 2.0
    for slope in (fp.grad(loss), fp.compile(fp.grad(loss)), fp.compile(lambda p: fp.grad(loss)(p))):
        found = slope(params)
        assert found["a"] == 1.0
        assert_array_equal(found["b"], [1.0, 1.0])
    lanes = fp.tree_map(lambda x: np.stack([x, x]), params)
    for mapped in (fp.vmap(loss), fp.compile(fp.vmap(loss))):
        assert_array_equal(mapped(lanes), [2.0, 2.0])
    steps = fp.compile(lambda p: fp.scan(lambda c, _: (fp.tree_map(lambda x: 0.5 * x, c), None), p, None, 3)[0])
    assert_array_equal(steps(params)["b"], [0.125, 0.25])


@pytest.mark.parametrize(
    ("rest", "error", "text"),
    [
        ([{"a": [1.0]}], ValueError, r"tree_map: rest\[0\] has the keys \['a'\], where \['a', 'b'\] are expected"),
        ([{"a": [1.0, 2.0], "b": None}], ValueError, r"rest\[0\]\['a'\] has length 2, where 1 is expected"),
        ([{"a": (1.0,), "b": None}], TypeError, r"rest\[0\]\['a'\] is a tuple, where a list is expected"),
        ([{"a": [[1.0]], "b": None}], TypeError, r"rest\[0\]\['a'\]\[0\] is a list, where one number or array"),
        ([{"a": [None], "b": None}], TypeError, r"rest\[0\]\['a'\]\[0\] is None, where a number or array is expected"),
        (
            [{"a": [1.0], "b": None}, {"a": [1.0], "b": 2.0}],
            TypeError,
            r"rest\[1\]\['b'\] is a single \w+, where None",
        ),
        ([3.0], TypeError, r"rest\[0\] is a single \w+, where a dict is expected"),
    ],
)
def test_tree_map_says_where_nests_differ(rest: list[Any], error: type[Exception], text: str) -> None:
    nest = {"a": [1.0], "b": None}

    def first(*nests: Any) -> Any:
        return fp.tree_map(lambda *x: x[0], *nests)

    for front in (first, fp.compile(first)):
        with pytest.raises(error, match=text):
            front(nest, *rest)
    with pytest.raises(TypeError, match="tree_map takes a function first, not a dict"):
        fp.tree_map(nest, nest)  # type: ignore[arg-type]
