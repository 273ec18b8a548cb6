"""Results built in C: what they are, and that nobody can tell which were written again."""

import collections
import dataclasses
import gc
import sys
import threading
import tracemalloc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastprop.engine.run.marshal import Marshal, array, block, constant, number
from fastprop.handles.nesting import LEAF, flatten


class Point(NamedTuple):
    x: Any
    y: Any


class Named(collections.namedtuple("Named", "x y")):  # has attributes of its own
    pass


class Stack(list):
    pass


@dataclasses.dataclass
class Layer:
    weights: Any
    bias: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    scale: Any
    parts: Any


@dataclasses.dataclass
class Derived:
    weights: Any
    count: int = dataclasses.field(init=False, default=7)

    def __post_init__(self):
        self.note = "an attribute"


@dataclasses.dataclass(slots=True)
class Mutable:
    scale: Any


@dataclasses.dataclass
class Copied:
    scale: Any

    def __copy__(self):
        copied = Copied(self.scale)
        copied.by = "its own way"
        return copied


def plan(tree):
    """A marshal's leaves for a tree like this one, and how many slots they take."""
    leaves, at = [], 0
    for leaf in flatten(tree)[0]:
        if isinstance(leaf, np.ndarray):
            leaves.append(array(at, leaf.shape, leaf.dtype))
            at += leaf.size
        elif type(leaf) is float:
            leaves.append(number(at))
            at += 1
        else:
            leaves.append(constant(leaf))
    return leaves, at


def expected(tree, store):
    """What a marshal of this plan builds, by other means."""
    filled, at = [], 0
    leaves, nesting = flatten(tree)
    for leaf in leaves:
        size = leaf.size if isinstance(leaf, np.ndarray) else 1 if type(leaf) is float else 0
        part = store[at : at + size]
        if isinstance(leaf, np.ndarray):
            filled.append(part.reshape(leaf.shape).astype(leaf.dtype))
        else:
            filled.append(float(part[0]) if size else leaf)
        at += size
    return nesting.unflatten(filled)


def alike(tree, other):
    """Whether trees have the same types, numbers and dtypes."""
    (leaves, nesting), (others, its) = flatten(tree), flatten(other)
    return (
        repr(nesting.unflatten(range(nesting.size))) == repr(its.unflatten(range(its.size)))
        and type(tree) is type(other)
        and all(
            type(a) is type(b)
            and (a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b)
            for a, b in zip(leaves, others)
        )
    )


def marshal_of(tree, recycle=True):
    leaves, size = plan(tree)
    return Marshal(flatten(tree)[1], leaves, recycle), size


F4, F8 = np.zeros(3, np.float32), np.zeros((2, 3))
TREES = [
    1.0,
    F8,
    [1.0, 2.0, 3.0],
    (1.0, F8),
    (1.0, [1.0, 2.0], {"a": F4, "b": 1.0}),
    {"a": 1.0, "b": 2.0},
    {1: 1.0, (2,): 2.0},
    Point(1.0, F8),
    Point(1.0, 2.0),
    Named(1.0, 2.0),
    Stack([1.0, F8]),
    Layer([1.0, F8], 2.0),
    Slotted(1.0, {"a": (F8, F8)}),
    Mutable([1.0, 2.0]),
    Derived([1.0, 2.0]),
    Copied(1.0),
    collections.OrderedDict(a=1.0, b=F8),
    (1.0, None, "s", [True, 2.0]),
    [],
    (),
    {},
    ([], {}, (), [[]]),
    (np.zeros((0, 3)), np.zeros(()), np.zeros(2, np.int64), np.zeros(2, bool)),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("recycle", [True, False])
def test_results_are_nested_and_typed_as_asked(tree, dtype, recycle):
    marshal, size = marshal_of(tree, recycle)
    assert marshal.slots == size
    for i in range(5):
        store = np.arange(size, dtype=dtype) + i
        assert alike(marshal.build_from(store), expected(tree, store))


def test_slots_in_any_order():
    marshal = Marshal(flatten(([0.0] * 3, {"a": 0.0, "b": 0.0}))[1], [number(i) for i in (4, 0, 2, 3, 3)])
    for i in range(4):
        assert marshal.build_from(np.arange(5.0) + i) == ([4.0 + i, 0.0 + i, 2.0 + i], {"a": 3.0 + i, "b": 3.0 + i})


@pytest.mark.parametrize("tree", [Derived([1.0]), Copied(1.0), Layer(1.0, 2.0)])
def test_attributes_that_are_no_leaves_follow(tree):
    tree.extra = ["shared"]
    marshal, size = marshal_of(tree)
    first, second = marshal.build_from(np.zeros(size)), marshal.build_from(np.ones(size))
    for found in (first, second):
        right = expected(tree, np.zeros(size))
        assert vars(found).keys() == vars(right).keys() and type(found) is type(tree)
    assert first != second and getattr(first, "note", "") == getattr(tree, "note", "")


def test_a_frozen_dataclass_is_filled_without_its_constructor():
    @dataclasses.dataclass
    class Positive:
        sigma: float

        def __post_init__(self):
            assert self.sigma > 0

    marshal, _ = marshal_of(Positive(1.0))
    assert marshal.build_from(np.array([-1.0])).sigma == -1.0


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: Marshal(LEAF, []), ValueError, "0 leaves are given for a nesting of 1"),
        (lambda: Marshal(LEAF, [array(0, (2,), complex)]), TypeError, "complex128"),
        (lambda: Marshal(LEAF, [number(-1)]), ValueError, "place -1"),
        (lambda: Marshal(flatten([0.0, 0.0])[1], [number(0), number(-1)]), ValueError, "slot -1"),
        (lambda: Marshal(LEAF, [number(3)]).build_from(np.zeros(3)), ValueError, "3 numbers; expected 4"),
        (lambda: Marshal(LEAF, [number(0)]).build_from(np.zeros(3, int)), TypeError, "float32 or float64"),
        (lambda: Marshal(LEAF, [number(0)]).build_from(np.zeros(4)[::2]), ValueError, "one after the other"),
        (lambda: Marshal(LEAF, [block(0)]).build_from(np.zeros(0)), ValueError, "0 blocks are given; expected 1"),
        (lambda: Marshal(LEAF, [block(0)]).claim_blocks(), ValueError, "has no shape"),
        (lambda: Marshal(LEAF, [number(0)]).__init__(LEAF, [number(0)]), RuntimeError, "made once"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


# Blocks ---------------------------------------------------------------------------------------------------------------


def test_blocks_are_given_or_claimed():
    _, nesting = flatten((0.0, [0.0, 0.0]))
    given_blocks = Marshal(nesting, [number(0), block(1), block(0)])
    first, second = np.zeros(2), np.ones(3)
    value, (a, b) = given_blocks.build_from(np.array([5.0]), [first, second])
    assert value == 5.0 and a is second and b is first and not given_blocks.recycles
    claimed = Marshal(nesting, [number(0), block(0, (4,)), block(1, (2, 2), np.float32)])
    for i in range(5):
        blocks = claimed.claim_blocks()
        assert [(x.shape, x.dtype) for x in blocks[:2]] == [((4,), np.float64), ((2, 2), np.float32)]
        blocks[0][:], blocks[1][:] = i, -i
        value, (a, b) = claimed.build_from(np.array([float(i)]), blocks)
        assert value == i and (a == i).all() and (b == -i).all()


def test_claimed_blocks_are_written_again_unless_somebody_holds_them():
    marshal = Marshal(flatten((0.0, {"a": 0.0, "b": 0.0}))[1], [number(0), block(0, (4,)), block(1, (3,))])
    held, places = [], set()
    for i in range(40):
        blocks = marshal.claim_blocks()
        blocks[0][:], blocks[1][:] = i, -i
        _, parts = marshal.build_from(np.zeros(1), blocks)
        places.add(parts["b"].ctypes.data)
        held.append((parts["a"], float(i)))
        if i % 7 == 3:
            held.append((parts["b"][1:], float(-i)))
        if i % 7 == 5:
            held.append((parts, None))
    assert all((kept == value).all() for kept, value in held if value is not None)
    assert len(places) < 25


def test_a_claim_that_is_dropped_costs_nothing():
    marshal = Marshal(flatten([0.0])[1], [block(0, (4,))])
    for _ in range(5):
        marshal.claim_blocks()
        assert marshal.build_from(np.zeros(0), marshal.claim_blocks())[0].shape == (4,)


def test_a_single_block():
    marshal = Marshal(LEAF, [block(0, (600_000,))])
    places = set()
    for i in range(8):
        blocks = marshal.claim_blocks()
        blocks[0][:] = i
        result = marshal.build_from(np.zeros(0), blocks)
        assert (result == i).all()
        places.add(result.ctypes.data)
        del result, blocks
    assert len(places) == 2


# Memory ---------------------------------------------------------------------------------------------------------------


def test_large_arrays_stand_on_pages_of_their_own():
    marshal = Marshal(LEAF, [array(0, (1 << 20,))])
    store = np.arange(float(1 << 20))
    result = marshal.build_from(store)
    assert np.array_equal(result, store) and result.flags.writeable and result.ctypes.data % (1 << 21) == 0
    base = result.base
    again = [marshal.build_from(store + i) for i in range(1, 4)]
    assert all(np.array_equal(found, store + i) for i, found in enumerate(again, 1))
    del result
    assert np.array_equal(marshal.build_from(store - 1), store - 1) and base is not None


def test_large_arrays_are_written_again_but_not_if_their_memory_is_held():
    marshal = Marshal(LEAF, [array(0, (1 << 19,))])
    place = set()
    for i in range(10):
        place.add(marshal.build_from(np.full(1 << 19, float(i))).ctypes.data)
    assert len(place) == 2
    bases, views = [], []
    for i in range(4):
        result = marshal.build_from(np.full(1 << 19, float(i)))
        bases.append(result.base)
        views.append(result[::2])
    assert [view[0] for view in views] == [0.0, 1.0, 2.0, 3.0] and len(set(map(id, bases))) == 4


@pytest.mark.memory
@pytest.mark.parametrize("tree", [(1.0, [2.0] * 100, {"a": 3.0, "b": F8}), Layer([1.0], F8), Named(1.0, F8)], ids=type)
@pytest.mark.parametrize("keep", [0, 3])
def test_nothing_leaks(tree, keep):
    marshal, size = marshal_of(tree)
    store = np.arange(float(size))
    held: collections.deque = collections.deque(maxlen=keep)

    def work():
        for _ in range(500):
            held.append(marshal.build_from(store))

    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 4000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", ["cleared", "gone"])
def test_results_that_are_kept_can_be_let_go_of(how):
    marshal, size = marshal_of((1.0, F8, [2.0]))
    results = [marshal.build_from(np.zeros(size)) for _ in range(2)]
    there = [weakref.ref(result[1]) for result in results]
    del results
    assert all(reference() is not None for reference in there)
    if how == "cleared":
        marshal.clear()
    else:
        del marshal
    assert all(reference() is None for reference in there)


def test_results_in_cycles_with_their_marshal_are_collected(collected):
    class Owner:
        pass

    owner = Owner()
    owner.marshal, size = marshal_of([[1.0], 2.0])
    results = [owner.marshal.build_from(np.zeros(size)) for _ in range(2)]
    results[0][0].append(owner)
    there = weakref.ref(owner)
    del owner, results
    assert collected([there]) == 0


def test_results_beyond_the_bound_are_not_kept():
    marshals = [Marshal(LEAF, [array(0, (1 << 22,))]) for _ in range(12)]
    store = np.zeros(1 << 22)
    there = [weakref.ref(marshal.build_from(store)) for marshal in marshals]
    kept = sum(reference() is not None for reference in there)
    assert 1 <= kept <= 8
    marshals[0].clear()
    del marshals
    fresh = Marshal(LEAF, [array(0, (1 << 22,))])
    assert weakref.ref(fresh.build_from(store))() is not None


# Written again --------------------------------------------------------------------------------------------------------


def parts_of(tree):
    """The identities of all that a result consists of."""
    found = [id(tree)]
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for child in tree:
            found += parts_of(child)
    return found


@pytest.mark.parametrize(
    "tree", [F8, [1.0, 2.0], (1.0, [1.0, 2.0], {"a": F4, "b": 1.0, 3: (1.0,)}), Point(1.0, F8), {"a": 1.0}], ids=repr
)
def test_what_the_caller_dropped_is_written_again(tree):
    marshal, size = marshal_of(tree)
    seen = [parts_of(marshal.build_from(np.arange(float(size)))) for _ in range(6)]
    assert seen[0] == seen[2] == seen[4] and seen[1] == seen[3] == seen[5] and seen[0] != seen[1]


def test_a_loop_that_unpacks_its_results_has_them_written_again():
    marshal, size = marshal_of((1.0, [1.0, 2.0], {"a": F8}))
    losses, places = [], set()
    for i in range(20):
        value, numbers, arrays = marshal.build_from(np.full(size, float(i)))
        losses.append(value)
        places.add((id(numbers), id(arrays), arrays["a"].ctypes.data))
        assert numbers == [i, i] and (arrays["a"] == i).all()
    assert losses == [*map(float, range(20))] and len(places) == 2


HOLD = {
    "all": lambda r: r,
    "all, and what is in it": lambda r: [r, r[1], r[2], r[2]["a"], r[3].y],
    "list": lambda r: r[1],
    "number in the list": lambda r: r[1][1],
    "first number": lambda r: r[0],
    "array": lambda r: r[2]["a"],
    "view": lambda r: r[2]["a"][1:, ::2],
    "flat": lambda r: r[2]["a"].reshape(-1),
    "memory": lambda r: memoryview(r[2]["a"]),
    "dict": lambda r: r[2],
    "dict's number": lambda r: r[2]["b"],
    "dict's view": lambda r: r[2].items(),
    "iterator": lambda r: iter(r[1]),
    "point": lambda r: r[3],
    "inner list": lambda r: r[3].y,
    "copy of the list": lambda r: list(r[1]),
    "copy of the dict": lambda r: dict(r[2]),
    "closure": lambda r: lambda x=r[1]: x,
    "ctypes": lambda r: r[2]["a"].ctypes,
    "twice": lambda r: [r[1], r[1]],
}
CHANGE = {
    "nothing": lambda r: None,
    "number": lambda r: r[1].__setitem__(0, 99.5 + len(r)),
    "integer": lambda r: r[1].__setitem__(0, 99),
    "numpy number": lambda r: r[1].__setitem__(0, np.float64(3.0)),
    "append": lambda r: r[1].append(1.0),
    "pop": lambda r: r[1].pop(),
    "clear": lambda r: r[1].clear(),
    "alias of a number": lambda r: r[1].__setitem__(0, r[1][1]),
    "alias of a list": lambda r: r[3].y.__setitem__(slice(None), [r[1], r[1]]),
    "other containers": lambda r: r[3].y.__setitem__(slice(None), [[1.0] * 1000, {}]),
    "itself": lambda r: r[1].append(r),
    "sort": lambda r: r[1].sort(reverse=True),
    "shape": lambda r: setattr(r[2]["a"], "shape", (6,)),
    "dtype": lambda r: setattr(r[2]["a"], "dtype", np.int64),
    "strides": lambda r: r[2].__setitem__("a", np.asfortranarray(r[2]["a"])),
    "smaller": lambda r: r[2].__setitem__("a", np.zeros(1)),
    "larger": lambda r: r[2].__setitem__("a", np.zeros((100, 100))),
    "resize": lambda r: r[2]["a"].resize((1, 1), refcheck=False),
    "read-only": lambda r: r[2]["a"].setflags(write=False),
    "swapped array": lambda r: r[2].__setitem__("a", r[2]["a"].astype(">f8")),
    "numbers of an array": lambda r: r[2]["a"].fill(np.nan),
    "new key": lambda r: r[2].__setitem__("new", 1.0),
    "other key": lambda r: (r[2].pop("b"), r[2].__setitem__("c", 1.0)),
    "order of keys": lambda r: r[2].__setitem__("a", r[2].pop("a")),
    "object": lambda r: r[2].__setitem__("b", object()),
    "sum": lambda r: r[1].__iadd__([1.0]),
    "del": lambda r: r[1].__delitem__(0),
}
TREE = (1.0, [1.0, 2.0, 3.0], {"a": F8, "b": 4.0}, Point(5.0, [[1.0], {"c": 6.0}]))


def snapshot(held):
    """What a thing that somebody holds looks like, deeply."""
    if isinstance(held, np.ndarray):
        return held.copy().tolist(), held.shape, str(held.dtype)
    if isinstance(held, memoryview):
        return held.tolist()
    if isinstance(held, (list, tuple)):
        return type(held), [snapshot(child) for child in held]
    if isinstance(held, type({}.items())):
        held = dict(held)
    if isinstance(held, dict):
        return [(key, snapshot(child)) for key, child in held.items()]
    if callable(held):
        return snapshot(held())
    if type(held) is type(iter([])):
        return snapshot(held.__reduce__()[1][0])
    return held.data if hasattr(held, "data_as") else held


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")  # of newer NumPys
@given(st.lists(st.tuples(st.sampled_from(sorted(HOLD)), st.sampled_from(sorted(CHANGE)), st.booleans()), max_size=25))
def test_nobody_can_tell_what_was_written_again(steps):
    marshal, size = marshal_of(TREE)
    held = []
    for i, (hold, change, keeps) in enumerate(steps):
        store = np.arange(float(size)) + 100 * i
        result = marshal.build_from(store)
        assert alike(result, expected(TREE, store))
        if keeps:
            thing = HOLD[hold](result)
            held.append([thing, snapshot(thing)])
        if change != "nothing" and not keeps:
            CHANGE[change](result)
        del result
        for thing, before in held:
            assert repr(snapshot(thing)) == repr(before)
        held = held[-6:]


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")  # of newer NumPys
@pytest.mark.parametrize("change", CHANGE)
@pytest.mark.parametrize("keep", [False, True])
def test_results_that_the_caller_changed(change, keep):
    marshal, size = marshal_of(TREE)
    kept = []
    for i in range(6):
        store = np.arange(float(size)) + 100 * i
        result = marshal.build_from(store)
        assert alike(result, expected(TREE, store))
        CHANGE[change](result)
        kept.append(result if keep else None)
    assert not keep or kept[0] is not kept[2]


def test_weak_references_to_arrays_are_not_betrayed():
    marshal, size = marshal_of((1.0, F8))
    there = weakref.ref(marshal.build_from(np.zeros(size))[1])
    marshal.build_from(np.zeros(size))
    assert (there() == 0.0).all()
    marshal.build_from(np.ones(size))
    assert there() is None


def test_a_tuple_of_numbers_as_a_key():
    marshal, size = marshal_of((1.0, 2.0))
    found = {}
    for i in range(6):
        found[marshal.build_from(np.full(size, float(i)))] = i
        assert found[(float(i), float(i))] == i


def test_what_is_dropped_may_do_anything():
    marshal, size = marshal_of([1.0, [2.0], {"a": F8}])
    inside = []

    class Last:
        def __del__(self):
            inside.append(marshal.build_from(np.full(size, -1.0)))
            gc.collect()

    for i in range(8):
        result = marshal.build_from(np.full(size, float(i)))
        assert alike(result, expected([1.0, [2.0], {"a": F8}], np.full(size, float(i))))
        result[1][0] = Last()
        result[2]["a"] = Last()
        del result
    assert inside and all(alike(found, expected([1.0, [2.0], {"a": F8}], np.full(size, -1.0))) for found in inside)
    marshal.clear()


@pytest.mark.parametrize("tree", [TREE, [1.0] * 200, {f"k{i}": 1.0 for i in range(100)}], ids=["mixed", "list", "dict"])
def test_threads_share_a_marshal(tree):
    marshal, size = marshal_of(tree)
    wrong, interval = [], sys.getswitchinterval()

    def work(number):
        store = np.full(size, float(number))
        right = expected(tree, store)
        kept = collections.deque(maxlen=2)
        for i in range(400):
            result = marshal.build_from(store)
            if i % 3 == 0:
                kept.append(result)
            if not alike(result, right) or not all(alike(found, right) for found in kept):
                wrong.append(number)

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_references_are_counted_right():
    aux, key = object(), "".join(["a", " key"])
    _, nesting = flatten({key: [0.0, 0.0], "other": 0.0})
    marshal = Marshal(nesting, [constant(aux), number(0), constant(aux)])
    before = sys.getrefcount(aux), sys.getrefcount(key), sys.getrefcount(None)
    results = [marshal.build_from(np.zeros(1)) for _ in range(50)]
    assert sys.getrefcount(aux) == before[0] + 100 and sys.getrefcount(key) == before[1] + 50
    del results
    marshal.clear()
    assert sys.getrefcount(aux) == before[0] and sys.getrefcount(key) == before[1]
    assert abs(sys.getrefcount(None) - before[2]) < 50
