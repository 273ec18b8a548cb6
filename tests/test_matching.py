"""Matching calls in C: what it costs, what it lets go of, and arguments that change while they are read."""

import dataclasses
import gc
import sys
import threading
import weakref
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.door import Form, Forms, Reading

MATCHED = 1


class Point(NamedTuple):
    x: Any
    y: Any


class Stack(list):
    pass


@dataclasses.dataclass
class Layer:
    weights: Any
    bias: Any = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    scale: Any
    parts: Any


class Side(Real):
    """A number that does something when it is asked for its value."""

    def __init__(self, effect):
        self.effect = effect

    def __float__(self):
        effect, self.effect = self.effect, int
        effect()
        return 7.0

    __abs__ = __add__ = __ceil__ = __eq__ = __floor__ = __floordiv__ = __le__ = __lt__ = __mod__ = __mul__ = None
    __neg__ = __pos__ = __pow__ = __radd__ = __rfloordiv__ = __rmod__ = __rmul__ = __round__ = __rpow__ = None
    __rtruediv__ = __truediv__ = __trunc__ = None
    __hash__ = None


# Costs ----------------------------------------------------------------------------------------------------------------


def python_calls(function):
    """How many Python functions are called."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    gc.disable()  # what the collector calls is not the function's
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


KNOWN = [
    [1.0] * 100,
    [1, np.float64(2), np.float32(3), np.int64(4)] * 25,
    [np.int32(1), np.uint8(2), np.array(3.0), np.array(4), np.array(5.0, np.float32)] * 20,
    {f"k{i}": float(i) for i in range(100)},
    {f"k{i}": [np.ones(3), 2] for i in range(100)},
    [(np.ones((2, 2)), np.arange(3), np.ones(2, np.float32))] * 50,
    [np.ones(2, np.float32), np.arange(3), np.arange(4, dtype=np.uint8)] * 30,
    [Point(1.0, 2)] * 50,
    [Slotted(1.0, 2)] * 50,
    [None, True, "s"] * 50,
]


@pytest.mark.parametrize("number", range(len(KNOWN)))
def test_no_python_function_is_called_for_known_types(number):
    form = Form((KNOWN[number],))
    assert python_calls(lambda: form.read((KNOWN[number],))) <= 1  # the lambda
    if isinstance(KNOWN[number], dict):
        turned = dict(reversed(KNOWN[number].items()))
        assert python_calls(lambda: form.read((turned,))) <= 1


def test_looking_up_a_form_costs_the_same_among_many():
    made = []

    def make(args, kwargs):
        made.append(args)
        return Form(args, kwargs, static=[1])

    forms = Forms(make)
    costs = {}
    for i in range(3000):
        forms.keep(Form((1.0, i), static=[1]), i)
        if i in (30, 2999):
            costs[i] = python_calls(lambda: forms.lookup((2.0, 7)))
    assert forms.lookup((2.0, 1234)) == 1234 and costs[2999] <= costs[30]
    before = len(made)
    assert forms.lookup((2.0, 1234)) == 1234 and len(made) == before  # it is recent


# Arguments of as many forms, each of which comes in a second way.
FORMS = [
    *[((np.ones((2, i)), 1.0), (np.zeros((2, i), order="F"), np.float64(2.0))) for i in range(8)],
    *[(([np.ones(i), 1.0],), ([np.zeros(i), 2],)) for i in range(8)],
    *[(({"a": np.ones(i), "b": 1.0},), ({"b": np.float32(1.0).item(), "a": np.zeros(i)},)) for i in range(8)],
    *[((text, 1.0), (text[:3] + text[3:], 2.0)) for text in ("text 1", "text 2", "text 3", "text 4", "text 5")],
    *[((flag, 1.0), (flag, 2.0)) for flag in (None, True, False)],
    *[(([[1.0] * i] * 2,), ([[2] * i] * 2,)) for i in range(8)],
    *[((1.0,) * i, (2,) * i) for i in range(3, 8)],
]


def test_many_forms_are_found_without_python():
    def make(args, kwargs):
        made.append(args)
        return Form(args, kwargs)

    made, forms = [], Forms(make)
    for number, (args, _) in enumerate(FORMS):
        forms.keep(Form(args), number)
        forms.keep(Form(args[:-1], {"last": args[-1]}), ~number)
    for kind in range(2):
        for number, given in enumerate(FORMS):
            args = given[kind]
            assert forms.lookup(args) == number
            assert forms.lookup(args[:-1], {"last": args[-1]}) == ~number
    known = len(made)
    for given in FORMS:
        for args in given:
            forms.lookup(args)
            forms.lookup(args[:-1], {"last": args[-1]})
    assert len(made) == known <= 2 * len(FORMS)


def test_numbers_as_numpy_has_them_decide_the_dtype_as_before():
    f = fp.compile(lambda x, y: x * y)
    one = np.ones(2, np.float32)
    kinds = [np.int32(2), np.uint8(2), np.array(2), np.array(2.0, np.float32), np.array(2.0)]
    found = [f(one, kind) for kind in kinds for _ in range(2)]
    assert [str(x.dtype) for x in found[::2]] == ["float32"] * 4 + ["float64"]
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found[::2], found[1::2]))
    assert [float(x[0]) for x in found[::2]] == [2.0] * 5
    with pytest.raises(TypeError, match="an array of dtype bool"):
        f(one, np.array(True))

    class Odd(np.int32):
        def __float__(self):
            return 7.0

    assert f(one, Odd(2))[0] == 7.0


def test_forms_keep_the_first_entry_and_forget():
    forms = Forms(lambda args, kwargs: Form(args, kwargs))
    assert forms.keep(Form((1.0,)), "a") == "a" == forms.keep(Form((2,)), "b") and len(forms) == 1
    for count in range(2, 9):
        assert forms.lookup((1.0,) * count) is None
        forms.keep(Form((1.0,) * count), count)
    assert [forms.lookup((1.0,) * count) for count in range(2, 9)] == [*range(2, 9)]
    assert forms.lookup((3.0,)) == "a" and forms.lookup((fp.Unit(1.0),)) is None
    assert forms.lookup((), {"x": 1.0}) is None
    assert forms.entries() == ["a", *range(2, 9)]
    forms.clear()
    assert forms.lookup((3.0,)) is None and len(forms) == 0


# Memory ---------------------------------------------------------------------------------------------------------------


def test_arrays_are_let_go_of_whatever_happens():
    array = np.ones(3)
    before = sys.getrefcount(array)
    form = Form(([array, array], 1.0))
    reading = Reading()
    for _ in range(20):
        assert form._match(([array, array], 1.0), None, reading) == MATCHED
        assert form._match(([array, array], None), None, reading) != MATCHED
        assert form._match(([array, np.ones(2)], 1.0), None, reading) != MATCHED
        with pytest.raises(ZeroDivisionError):
            form._match(([array, array], Side(lambda: 1 / 0)), None, reading)
    assert sys.getrefcount(array) == before
    assert form._match(([array, array], 1.0), None, reading) == MATCHED
    assert sys.getrefcount(array) == before + 2
    del reading
    assert sys.getrefcount(array) == before


def test_a_form_holds_no_argument():
    class Held(np.ndarray):
        pass

    array = np.ones(3).view(Held)
    there = weakref.ref(array)
    form = Form((Layer([array], 1.0), [array], Stack([array])))
    del array
    gc.collect()
    assert there() is None and form.read((Layer([np.ones(3)], 1.0), [np.ones(3)], Stack([np.ones(3)])))


@pytest.mark.parametrize("effect", ["clear", "shrink", "grow", "replace", "same size"])
def test_a_list_that_changes_while_it_is_read(effect):
    def change():
        if effect == "clear":
            things.clear()
        elif effect == "shrink":
            del things[1:]
        elif effect == "grow":
            things.extend([1.0] * 1000)
        elif effect == "replace":
            things[:] = [object() for _ in range(50)]
        else:
            things[:] = [9.0] * 50

    for ending in (1.0, [1.0], np.ones(2)):
        things = [Side(change), *[1.0] * 48, ending]
        form = Form(([1.0] * 49 + [ending],))
        found = form.read((things,))
        assert found is None or (effect == "same size" and found[0] == [7.0, *[9.0] * 49])


@pytest.mark.parametrize("effect", ["clear", "remove", "grow", "swap", "rename"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("ending", [1.0, np.ones(2)], ids=type)
def test_a_dict_that_changes_while_it_is_read(effect, turned, ending):
    def change():
        if effect == "clear":
            things.clear()
        elif effect == "remove":
            del things["k9"]
        elif effect == "grow":
            things.update({i: 1.0 for i in range(1000)})
        elif effect == "swap":
            things["k5"] = things.pop("k5")
        else:
            things["k50"] = things.pop("k5")

    example = {f"k{i}": 1.0 for i in range(9)} | {"k9": ending}
    things: dict = {key: Side(change) if key == "k3" else value for key, value in example.items()}
    if turned:
        things = dict(reversed(things.items()))
    form = Form((example,))
    found = form.read((things,))
    assert found is None or found[0][:9] == [1.0, 1.0, 1.0, 7.0, *[1.0] * 5]
    assert found is not None or effect != "swap"


def test_a_dataclass_that_changes_while_it_is_read():
    layer = Layer([1.0, 2.0], 3.0)

    def change():
        layer.bias = layer.weights = None

    layer.weights = [Side(change), 2.0]
    assert Form((Layer([1.0, 2.0], 3.0),)).read((layer,)) is None


def test_one_reading_is_used_by_one_call_at_a_time():
    form, reading = Form(([1.0, 2.0],)), Reading()
    errors = []

    def inside():
        try:
            form._match(([1.0, 2.0],), None, reading)
        except RuntimeError as error:
            errors.append(error)

    assert form._match(([Side(inside), 2.0],), None, reading) == MATCHED and len(errors) == 1
    assert form._match(([1.0, 2.0],), None, reading) == MATCHED


def test_threads_share_a_form():
    keys = [f"k{i}" for i in range(300)]
    form = Form(({key: 1.0 for key in keys}, np.ones(2)))
    wrong = []

    def read(number):
        turned = dict.fromkeys(keys[number:] + keys[:number], float(number))
        for _ in range(50):
            if form.read((turned, np.full(2, number)[None].astype(float)[0]))[0] != [number] * 300:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
