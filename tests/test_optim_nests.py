"""Steps of nested containers of plain numbers: what is read and built at once is what is read number by number."""

import collections
import dataclasses
import pickle

import numpy as np
import pytest

import fastprop as fp

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    left: float
    right: list


NESTS = {
    "dicts of lists": {"w": [[0.5, -1.0], [2.0]], "b": 0.25},
    "a list": [0.5, -1.0, 2.0, 0.25],
    "named tuples": Point([0.5, -1.0], (2.0, 0.25)),
    "a dataclass": Pair(0.5, [-1.0, Point(2.0, 0.25)]),
    "an ordered dict": collections.OrderedDict(b=0.5, a=[-1.0, 2.0, 0.25]),
}
FLAT = [0.5, -1.0, 2.0, 0.25]


def numbers(tree):
    """The numbers of a container, in a row."""
    return np.array(fp.handles.nesting.flatten(tree)[0])


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("rule", ["SGD", "Adam", "Adagrad"])
def test_nests_move_as_arrays_do(nest, rule):
    tree = NESTS[nest]
    flat, nesting = fp.handles.nesting.flatten(tree)
    optimizer, plain = getattr(fp.optim, rule)(tree, 0.1), getattr(fp.optim, rule)(np.array(flat), 0.1)
    params, array, kept = tree, np.array(flat), []
    for k in range(5):
        grad = np.cos(np.arange(4.0) + k)
        params, array = optimizer.step(params, nesting.unflatten(grad.tolist())), plain.step(array, grad)
        kept.append((params, array.copy()))
    assert type(params) is type(tree)
    for tree, expected in kept:  # whoever keeps the old ones keeps the old numbers
        np.testing.assert_array_equal(numbers(tree), expected)


def test_dropped_results_are_written_again():
    params = {"w": [1.0, 2.0], "b": 3.0}
    optimizer = fp.optim.SGD(params, 0.5)
    for _ in range(6):
        params = optimizer.step(params, {"w": [1.0, 1.0], "b": 2.0})
    assert params == {"w": [-2.0, -1.0], "b": -3.0}


@pytest.mark.parametrize(
    ("params", "grads", "error", "said"),
    [
        ([1.0, 2.0, 3.0], [1.0, 1.0], ValueError, "params"),
        ([1.0, "2"], [1.0, 1.0], TypeError, "2"),
        ([1.0, np.array(True)], [1.0, 1.0], TypeError, "1 is array.True."),
        ([1.0, 2.0], [1.0, np.array(True)], TypeError, "the gradient of 1 is array.True."),
        ([1.0, 2.0], [1.0, float("nan")], ValueError, "the gradient of 1 is nan"),
        ([1.0, 2.0], {"a": 1.0}, TypeError, "grads"),
        ([1.0, fp.Unit(2.0)], [1.0, 1.0], TypeError, "outside of circuits"),
    ],
)
def test_what_is_refused_later_moves_nothing(params, grads, error, said):
    optimizer = fp.optim.Adam([1.0, 2.0], 0.1)
    for _ in range(2):
        optimizer.step([1.0, 2.0], [0.5, 0.5])
    before = optimizer.state_dict()
    with pytest.raises(error, match=said):
        optimizer.step(params, grads)
    assert optimizer.state_dict() == before


def test_other_numbers_and_orders_are_read_as_before():
    optimizer = fp.optim.SGD({"a": 1.0, "b": 2.0}, 1.0)
    for params, grads in [
        ({"a": 1.0, "b": 2.0}, {"b": 0.5, "a": 0.25}),
        ({"b": 2.0, "a": 1.0}, {"a": 0.25, "b": 0.5}),
        ({"a": 1, "b": np.float32(2.0)}, {"a": np.float64(0.25), "b": 0.5}),
        ({"a": 1.0, "b": 2.0}, {"a": 0.25, "b": 0.5}),
    ]:
        assert optimizer.step(params, grads) == {"a": 0.75, "b": 1.5}
    optimizer.frozen = ["a"]
    assert optimizer.step({"a": 1.0, "b": 2.0}, {"a": 0.25, "b": 0.5}) == {"a": 1.0, "b": 1.5}
    optimizer.frozen = []
    assert optimizer.step({"a": 1.0, "b": 2.0}, {"a": None, "b": 0.5}) == {"a": 1.0, "b": 1.5}
    assert optimizer.step({"a": 1.0, "b": 2.0}, {"a": 0.25, "b": 0.5}) == {"a": 0.75, "b": 1.5}


@pytest.mark.parametrize("reversed_first", ["params", "grads", "both"])
def test_equal_objects_hide_no_order(reversed_first):
    """Dicts in another order whose numbers are one object: what comes later is read by its names."""
    optimizer, plain = (fp.optim.Adam({"a": 1.0, "b": 2.0}, 0.1) for _ in range(2))
    zero, one = float("0"), float("1")
    params, grads = {"a": zero, "b": zero}, {"a": one, "b": one}
    if reversed_first != "grads":
        params = {"b": zero, "a": zero}
    if reversed_first != "params":
        grads = {"b": one, "a": one}
    optimizer.step(params, grads)
    plain.step({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0})
    later = {"a": 1.0, "b": 2.0}, {"a": 10.0, "b": -0.001}
    assert optimizer.step(*later) == plain.step(*later)
    assert list(optimizer.step(*later)) == ["a", "b"]


def test_containers_of_another_class_come_back_as_they_did_first():
    optimizer = fp.optim.SGD({"a": 1.0, "b": 2.0}, 0.1)
    params = collections.OrderedDict(a=1.0, b=2.0)
    found = [type(optimizer.step(params, {"a": 0.5, "b": 0.5})) for _ in range(3)]
    assert found == [dict] * 3


def test_none_among_parameters_is_a_container_of_nothing():
    params, grads = {"a": 1.0, "none": None, "b": [2.0, (None,)]}, {"a": 0.5, "none": None, "b": [1.0, (None,)]}
    optimizer = fp.optim.SGD(params, lr=1.0, momentum=0.5)
    assert optimizer.names == ["a", "b.0"]
    assert optimizer.step(params, grads) == {"a": 0.5, "none": None, "b": [1.0, (None,)]}
    assert pickle.loads(pickle.dumps(optimizer)).names == ["a", "b.0"]
    after, state = fp.compile(lambda *given: optimizer.update(*given))(params, grads, optimizer.init())
    assert after == {"a": 0.25, "none": None, "b": [0.5, (None,)]}
    assert state["momentum_buffer"]["none"] is None
