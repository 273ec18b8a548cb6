"""Forms of calls: what is read, what is another form, what is refused; nothing leaks, nothing is read out of place."""

import collections
import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastprop as fp
from fastprop.engine.door import Form
from fastprop.handles.nesting import flatten


class Point(NamedTuple):
    x: Any
    y: Any


class Backwards(list):
    def __iter__(self):
        return reversed(list(super().__iter__()))


@dataclasses.dataclass
class Layer:
    weights: Any
    bias: Any = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    scale: Any
    parts: Any


@dataclasses.dataclass(frozen=True)
class Options:
    size: Any
    note: Any = dataclasses.field(default=None, compare=False)


class Column:
    """As a column of a table: NumPy can make an array of it."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def same_arrays(found, expected):
    return len(found) == len(expected) and all(
        a.dtype == np.float64 and np.array_equal(a, b) for a, b in zip(found, expected)
    )


# Numbers --------------------------------------------------------------------------------------------------------------

NUMBERS = [
    (2.5, 2.5),
    (3, 3.0),
    (2**60, 2.0**60),
    (np.float64(-0.0), -0.0),
    (np.float32(0.1), float(np.float32(0.1))),
    (np.float16(0.5), 0.5),
    (np.longdouble(0.25), 0.25),
    (np.array(1.5), 1.5),
    (np.array(2.0, ">f8"), 2.0),
    (Fraction(1, 3), 1 / 3),
    (Decimal("0.1"), 0.1),
    (float("inf"), float("inf")),
    (Column(4.0), 4.0),
]


@pytest.mark.parametrize("given_number, value", NUMBERS, ids=lambda x: f"{type(x).__name__}")
@pytest.mark.parametrize(
    "nested, place",
    [(lambda x: (x,), 0), (lambda x: ([0.0, x, 0.0],), 1), (lambda x: ({"a": [0.0], "b": [x, None]},), 1)],
    ids=["alone", "in a run", "in a row"],
)
def test_numbers_are_read_as_float_rounds_them(given_number, value, nested, place):
    form = Form(nested(1.0), dtype="float64")
    numbers, arrays = form.read(nested(given_number))
    assert numbers[place].hex() == value.hex() and arrays == []
    assert Form(nested(given_number), dtype="float64").key == form.key


INTEGERS = [(np.int64(-4), -4.0), (np.uint8(200), 200.0), (np.longlong(9), 9.0), (np.array(7), 7.0)]


@pytest.mark.parametrize("integer, value", INTEGERS, ids=lambda x: f"{type(x).__name__}")
@pytest.mark.parametrize(
    "nested, place",
    [(lambda x: (x,), 0), (lambda x: ([0.0, x, 0.0],), 1), (lambda x: ({"a": [0.0], "b": [x, None]},), 1)],
    ids=["alone", "in a row", "in a dict"],
)
def test_numpys_integers_are_a_form_of_their_own(integer, value, nested, place):
    form = Form(nested(np.int32(1)))
    numbers, arrays = form.read(nested(integer))
    assert numbers[place].hex() == value.hex() and arrays == []
    assert Form(nested(integer)).key == form.key != Form(nested(1.0)).key
    assert form.dtype == np.float64
    for other in (1.0, 2, np.float64(1.0), np.array(1.0), True, None, np.ones(1, int)):
        assert form.read(nested(other)) is None
    assert Form(nested(1.0)).read(nested(integer)) is None


def test_numbers_too_large_for_a_float():
    with pytest.raises(OverflowError):
        Form((1.0,)).read((10**400,))


@pytest.mark.parametrize(
    "other", [None, True, "x", [1.0], (1.0,), np.ones(1), 1j, np.bool_(True), np.array(True), object(), b"1"]
)
def test_what_is_no_number_is_another_form(other):
    assert Form((1.0, [2.0])).read((other, [2.0])) is None
    assert Form((1.0, [2.0])).read((1.0, [other])) is None


# Arrays ---------------------------------------------------------------------------------------------------------------


def odd_arrays():
    base = np.arange(60.0).reshape(3, 4, 5)
    unaligned = np.zeros(8 * 6 + 1, np.uint8)[1:].view(np.float64)
    unaligned[:] = range(6)
    return {
        "transposed": base.T,
        "every other": base[::2, ::-1, 1::2],
        "broadcast": np.broadcast_to(np.arange(3.0), (4, 3)),
        "swapped": base.astype(">f8"),
        "unaligned": unaligned,
        "integers": np.arange(6),
        "bytes": np.arange(6, dtype=np.uint8),
        "mask": np.array([True, False]),
        "swapped integers": np.arange(4, dtype=">i4"),
        "long long": np.arange(4, dtype=np.longlong),
        "empty": np.zeros((0, 3)),
        "read-only": np.frombuffer(np.arange(3.0).tobytes()),
    }


@pytest.mark.parametrize("kind", odd_arrays())
@pytest.mark.parametrize("strided", [False, True])
def test_arrays_are_read_whatever_their_layout(kind, strided):
    array = odd_arrays()[kind]
    form = Form(([array],), strided=strided)
    assert same_arrays(form.read(([array],))[1], [array])
    assert form.shapes == [array.shape] and form.dtypes == [array.dtype.newbyteorder("=")]


@pytest.mark.parametrize(
    "strided, kind", [(False, "plain"), (True, "plain"), (True, "transposed"), (True, "broadcast")]
)
def test_native_arrays_are_read_in_place(strided, kind):
    array = {**odd_arrays(), "plain": np.ones((2, 3))}[kind]
    assert Form((array,), strided=strided).read((array,))[1][0] is array


def test_strided_arrays_are_copied_unless_they_are_wanted():
    array = np.ones((2, 3)).T
    (found,) = Form((array,)).read((array,))[1]
    assert not np.shares_memory(found, array) and found.flags.c_contiguous


@pytest.mark.parametrize(
    "other", [np.ones(4), np.ones((3, 1)), np.ones(3, np.float32), np.ones(3, int), 1.0, [1.0, 1.0, 1.0], None, True]
)
def test_another_shape_or_dtype_is_another_form(other):
    form = Form((np.ones(3),))
    assert form.read((other,)) is None
    assert Form((other,)).key != form.key


def test_columns_of_tables_are_read_as_arrays():
    form = Form((Column([1.0, 2.0]),))
    assert same_arrays(form.read((Column([3.0, 4.0]),))[1], [np.array([3.0, 4.0])])
    assert form.read((np.ones(2),)) is not None and Form((np.ones(2),)).key == form.key
    assert form.read((Column([1, 2]),)) is None and form.read((Column("ab"),)) is None


# The dtype ------------------------------------------------------------------------------------------------------------

F4, F8 = np.ones(2, np.float32), np.ones(2)


@pytest.mark.parametrize(
    "args, dtype",
    [
        ((1.0,), "float64"),
        ((F4, 1.0), "float32"),
        ((F4, F8), "float64"),
        ((F4, np.arange(3), np.array([True])), "float32"),
        ((np.arange(3),), "float64"),
        ((np.float32(1),), "float32"),
        ((np.float32(1), np.array(1.0)), "float64"),
        ((F4, np.float64(1)), "float64"),
        ((F4, np.int64(1), Fraction(1)), "float32"),
        ((F4, {"a": [np.float16(1)]}), "float32"),
        ((np.array(2.0, np.float32), 1), "float32"),
    ],
)
def test_the_dtype_is_what_numpy_promotes_to(args, dtype):
    form = Form(args)
    assert form.dtype == dtype
    assert all(array.dtype == dtype for array in form.read(args)[1])


@pytest.mark.parametrize(
    "first, then, matches",
    [
        ((F4, 1.0), (F4, np.float64(1)), False),
        ((F4, 1.0), (F4, np.float32(1)), True),
        ((F4, np.float64(1)), (F4, 1.0), False),
        ((F4, np.float64(1)), (F4, np.array(1.0)), True),
        ((F8, 1.0), (F8, np.float32(1)), True),
        ((1.0, 1.0), (np.float32(1), 1.0), False),
        ((1.0, 1.0), (np.float32(1), np.float64(1)), True),
    ],
)
def test_numpy_scalars_decide_at_every_call(first, then, matches):
    assert (Form(first).read(then) is not None) == matches == (Form(first).key == Form(then).key)


def test_a_given_dtype_decides_alone():
    form = Form((F4, 1.0, 2.0), dtype="float32")
    assert form.read((F4, np.float64(1), np.array(2.0))) is not None
    with pytest.raises(TypeError, match=r"f: argument 1\['w'\] has dtype float64, but the circuit computes in float32"):
        Form((1.0, {"w": F8}), dtype="float32", owner="f")


# Containers -----------------------------------------------------------------------------------------------------------

CONTAINERS = [
    [1.0, 2.0],
    (1.0, [2.0, np.ones(2)]),
    Point(1.0, [2.0]),
    Layer([1.0, 2.0], 3.0),
    Slotted(1.0, {"a": 2.0}),
    Backwards([1.0, 2.0]),
    collections.OrderedDict(a=1.0, b=2.0),
    collections.defaultdict(list, a=1.0, b=[2.0]),
    {"a": {"b": {"c": (1.0, np.ones(1))}}},
    {1: 1.0, "1": 2.0, (1, 2): 3.0, None: 4.0, 2.5: [5.0]},
    [],
    {},
    (),
    [[], {}, ()],
    [None, True, "s", 1.0],
]


@pytest.mark.parametrize("tree", CONTAINERS, ids=repr)
def test_containers_are_read_leaf_by_leaf(tree):
    form = Form((tree, 0.5))
    leaves = [leaf for leaf in flatten(tree)[0] if not isinstance(leaf, (bool, str, type(None)))]
    numbers, arrays = form.read((tree, 0.5))
    assert numbers == [leaf for leaf in leaves if isinstance(leaf, float)] + [0.5]
    assert same_arrays(arrays, [leaf for leaf in leaves if isinstance(leaf, np.ndarray)])
    for other in CONTAINERS:
        if other is not tree:
            assert form.read((other, 0.5)) is None and Form((other, 0.5)).key != form.key


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, lambda x: collections.defaultdict(float, x)])
def test_dicts_are_matched_by_key(kind):
    first = kind({"a": 1.0, "b": np.ones(2), "c": [3.0, 4.0], (5, 6): 7.0})
    form = Form((first,))
    for order in (["b", "a", (5, 6), "c"], [(5, 6), "c", "b", "a"], ["a", "b", "c", (5, 6)]):
        given_dict = kind({key: first[key] for key in order})
        numbers, arrays = form.read((given_dict,))
        assert numbers == [1.0, 3.0, 4.0, 7.0] and same_arrays(arrays, [np.ones(2)])
        assert Form((given_dict,)).key == form.key
    flat = Form((kind({"a": 1.0, "b": 2.0}),))
    assert flat.read((kind({"b": 4, "a": np.float64(3)}),))[0] == [3.0, 4.0]
    assert flat.read((kind({"b": 4.0, "c": 3.0}),)) is None and flat.read((kind({"b": 4.0}),)) is None


def test_an_ordered_dict_that_was_reordered():
    given_dict = collections.OrderedDict(a=1.0, b=2.0)
    form = Form((given_dict,))
    given_dict.move_to_end("a")
    assert form.read((given_dict,))[0] == [1.0, 2.0]


def test_keys_that_are_equal_but_other_objects():
    names = [f"parameter {i}" for i in range(50)]
    form = Form(({name: 1.0 for name in names},))
    assert form.read(({"".join(list(name)): float(i) for i, name in enumerate(names)},))[0] == [*map(float, range(50))]
    large = Form(({10**6: 1.0, (10**6,): 2.0},))
    assert large.read(({int("1000000"): 3.0, (int("1000000"),): 4.0},))[0] == [3.0, 4.0]


@pytest.mark.parametrize("key, other", [(1, True), (1, 1.0), (0.0, -0.0), ((1,), (True,)), (0, False)])
def test_keys_that_count_as_equal_and_are_not_alike(key, other):
    assert Form(({key: 1.0},)).read(({other: 1.0},)) is None
    assert Form(({key: 1.0, "a": 2.0},)).read(({"a": 1.0, other: 1.0},)) is None
    assert Form(({key: 1.0},)).key != Form(({other: 1.0},)).key


def test_keyword_arguments_are_matched_by_name():
    form = Form((1.0,), {"rate": 2.0, "scale": [3.0]}, owner="f")
    assert form.read((1.0,), {"scale": [5.0], "rate": 4.0})[0] == [1.0, 4.0, 5.0]
    assert form.read((1.0,), {"".join(["ra", "te"]): 4.0, "scale": [5]})[0] == [1.0, 4.0, 5.0]
    assert form.read((1.0,), {"rate": 4.0}) is None and form.read((1.0,), {"rate": 4.0, "scales": [5.0]}) is None
    assert form.read((1.0, 4.0), {"scale": [5.0]}) is None and form.read((1.0,)) is None
    assert Form((1.0,), {"scale": [3.0], "rate": 2.0}).key == form.key
    assert form.name(2) == "f: keyword argument scale[0]" and list(form.leaves_of("scale")) == [2]


def test_a_thousand_arguments():
    args = tuple(map(float, range(1000)))
    kwargs = {f"k{i}": float(i) for i in range(1000)}
    form = Form(args, kwargs)
    assert form.read(args, dict(reversed(kwargs.items())))[0] == [*args, *args]


def test_places_and_names_of_leaves():
    form = Form((1.0, "s", [np.ones(2), None, {"w": 2.0}]), static=[1], owner="f")
    assert [form.place(i) for i in range(len(form))] == [("number", 0), ("array", 0), ("static", 0), ("number", 1)]
    assert [form.name(i) for i in (1, 3)] == ["f: argument 2[0]", "f: argument 2[2]['w']"]
    assert form.positions == [0, 2] and list(form.leaves_of(2)) == [1, 2, 3] and form.constants == [None]
    with pytest.raises(IndexError):
        form.name(4)
    with pytest.raises(IndexError):
        form.place(4)
    with pytest.raises(ValueError, match="argument 1 is static"):
        form.leaves_of(1)
    assert "2 numbers, 1 arrays, float64" in repr(form)


LEAVES = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**53), 2**53),
    st.sampled_from([None, True, "s", np.float64(2.0), np.arange(3), np.ones((2, 2))[:, :1], np.zeros(2, np.float32)]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=2), st.integers(0, 3)), inner, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Layer, inner, inner),
        st.builds(Slotted, inner, inner),
    ),
    max_leaves=12,
)


@given(TREES, TREES)
def test_whatever_is_nested_is_read_as_flatten_takes_it_apart(tree, other):
    form = Form((tree,))
    numbers, arrays = form.read((tree,))
    leaves = [leaf for leaf in flatten(tree)[0] if not isinstance(leaf, (bool, str, type(None)))]
    assert numbers == [float(leaf) for leaf in leaves if not isinstance(leaf, np.ndarray)]
    expected = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
    assert len(arrays) == len(expected) and all(map(np.array_equal, arrays, expected))
    assert (form.read((other,)) is not None) == (Form((other,)).key == form.key)


# Static arguments -----------------------------------------------------------------------------------------------------

DISTINCT = [
    1,
    1.0,
    True,
    np.float64(1.0),
    np.int64(1),
    np.float32(1.0),
    Fraction(1),
    Decimal(1),
    Decimal("1.0"),
    1 + 0j,
    0.0,
    -0.0,
    np.float64(0.0),
    np.float64(-0.0),
    float("nan"),
    complex(0, -0.0),
    complex(0, 0.0),
    "1",
    b"1",
    None,
    (1,),
    (True,),
    Point(1, 2),
    Point(True, 2),
    (1, 2),
    frozenset({1}),
    frozenset({True}),
    Options(1),
    Options(1.0),
    np.array([1.0, np.nan]),
    np.array([1.0, 0.0]),
    np.array([1.0, -0.0]),
    np.array([1, 0]),
    np.array([[1, 0]]),
    np.array([1, None]),
    len,
]


def again(value):
    """The same value in another object, where there can be one."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, float):
        return type(value)(value)
    if type(value) is tuple:
        return tuple(list(value))
    if isinstance(value, Options):
        return Options(value.size, note="another")
    return Point(*value) if isinstance(value, Point) else value


@pytest.mark.parametrize("number", range(len(DISTINCT)))
def test_static_arguments_are_told_apart_as_a_function_tells_them(number):
    value = DISTINCT[number]
    form = Form((2.0, value), static=[1])
    assert form.read((3.0, value))[0] == [3.0] and form.read((3.0, again(value)))[0] == [3.0]
    assert Form((2.0, again(value)), static=[1]).key == form.key
    for i, other in enumerate(DISTINCT):
        if i != number:
            assert form.read((3.0, other)) is None, (value, other)
            assert Form((2.0, other), static=[1]).key != form.key


def test_a_static_array_that_changed_is_another_one():
    table = np.array([1.0, 2.0])
    form = Form((2.0, table), static=[1])
    table[0] = 5.0
    assert form.read((2.0, table)) is None


def test_static_arguments_must_be_hashable():
    with pytest.raises(TypeError, match="f: the static argument 1 must be hashable, and a list is not: give a tuple"):
        Form((1.0, [1]), static=[1], owner="f")
    assert Form((1.0, (1,)), static=[1]).read((1.0, ([],))) is None


@pytest.mark.parametrize("value", [None, True, "s", np.bool_(True)])
def test_flags_strings_and_none_are_static_wherever_they_stand(value):
    form = Form(([1.0, value],))
    assert form.read(([2.0, value],))[0] == [2.0] and form.constants == [value]
    for other in (False, "t", np.bool_(False), 1.0, [None]):
        assert form.read(([2.0, other],)) is None


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leaf, words",
    [
        (1j, r"is a complex \(1j\)"),
        (np.ones(2, complex), "an array of dtype complex128"),
        (np.array([1, "a"], object), "an array of dtype object"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "MaskedArray|masked|an array"),
        (np.ma.masked_array(1.0), "."),
        (np.array(True), r"an array of dtype bool and shape \(\)"),
        (np.ones((1, 1)).view(np.matrix), "a matrix|an array"),
        (np.ones(2, np.float16), "dtype float16, but the circuit computes in float64"),
        (object(), "object"),
        (b"1", "a bytes"),
        ({1.0}, "a set"),
        (np.array("a"), "."),
    ],
)
def test_what_can_not_be_read_is_refused_by_name(leaf, words):
    with pytest.raises(TypeError, match=r"f: argument 1\['w'\]\[0\].*") as caught:
        Form((1.0, {"w": [leaf]}), owner="f")
    assert caught.match(words)
    form = Form((1.0, {"w": [np.ones(2)]}))
    assert form.read((1.0, {"w": [leaf]})) is None and Form(([1.0],)).read(([leaf],)) is None


def test_a_container_that_contains_itself():
    endless: list = [1.0]
    endless.append(endless)
    with pytest.raises(ValueError, match="contains itself"):
        Form((endless,))
    assert Form(([1.0, [2.0]],)).read((endless,)) is None


def test_handles_are_reported():
    unit, block = fp.Unit(1.0), fp.Array([1.0, 2.0])
    form = Form((1.0, [2.0, np.ones(2)], 3.0))
    assert form.handles == [] and not form.holds_handles((1.0, [2.0, np.ones(2)], 3.0))
    for args in [(unit, [2.0, np.ones(2)], 3.0), (1.0, [2.0, block], 3.0), (1.0, block, 3.0), (1.0, [2.0, unit], 3.0)]:
        assert form.read(args) is None and form.holds_handles(args)
    held = Form((unit, [2.0, block], 3.0))
    assert held.handles == [0, 2] and held.key == form.key
    assert held.read((1.0, [2.0, np.ones(2)], 3.0))[0] == [1.0, 2.0, 3.0]
