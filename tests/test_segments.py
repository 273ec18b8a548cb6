"""A body's paths as a tree of segments: lanes that part, paths that pay for themselves, and work that is counted."""

import collections
import math
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.circuits import branches
from fastprop.circuits.branches import Tree
from fastprop.circuits.compile import Compiled
from fastprop.circuits.mapping import RecordedMap
from fastprop.circuits.recorded_map import OF_A_CALL, OF_A_GATE, OF_A_RECORDING
from fastprop.circuits.signature import Signature
from fastprop.circuits.trace import record
from programs import seeds

X = np.array([1.0, -2.0, 3.0])


def trees(compiled):
    """Return the tree of every map in the circuits of a compiled function."""
    return [region.body for circuit in compiled.circuits() for region in circuit._recording.maps]


# Results of another structure

Point = collections.namedtuple("Point", "x y")

OTHER_STRUCTURES = {
    "a pair and a number": (lambda x: (x, 2 * x) if x > 0 else x, r"\(number, number\)", r"number in"),
    "more": (lambda x: [x] if x > 0 else [x, x], r"\[number\]", r"\[number, number\]"),
    "a list and a tuple": (lambda x: [x, x] if x > 0 else (x, x), r"\[number, number\]", r"\(number, number\)"),
    "a pair and a point": (lambda x: (x, x) if x > 0 else Point(x, x), r"\(number, number\)", r"Point\(x=number"),
    "other keys": (lambda x: {"a": x} if x > 0 else {"b": x}, r"\{'a': number\}", r"\{'b': number\}"),
    "other shapes": (
        lambda x: x * np.ones(2) if x > 0 else x * np.ones(3),
        r"array\[2\]",
        r"array\[3\]",
    ),
    "deeper": (lambda x: (x, (x, x)) if x > 0 else (x, x), r"\(number, \(number, number\)\)", r"\(number, number\)"),
}


@pytest.mark.parametrize("reduce", [None, "sum"])
@pytest.mark.parametrize("name", OTHER_STRUCTURES)
def test_results_of_another_structure_are_refused(name, reduce):
    f, one, other = OTHER_STRUCTURES[name]
    mapped = fp.vmap(f, reduce=reduce)
    for call in (mapped, lambda x: mapped(fp.Array(x)), fp.compile(mapped)):
        for x in (X, -X, np.array([1.0, 1.0, -1.0])):
            with pytest.raises(TypeError, match=one) as error:
                call(x)
            assert error.match(other)
    assert_array_equal(fp.vmap(lambda x: x[x > 0].sum())(np.ones((2, 3))), [3.0, 3.0])


def test_numbers_chosen_by_a_condition_have_another_shape_in_other_lanes():
    with pytest.raises(TypeError, match=r"array\[1\].*array\[2\]|array\[2\].*array\[1\]"):
        fp.vmap(lambda x: x[x > 0])(np.array([[1.0, 2.0], [1.0, -2.0]]))


def roots(a, b, c):
    inside = b * b - 4.0 * a * c
    if inside < 0.0:
        return ()
    if inside == 0.0:
        return (-b / (2.0 * a),)
    return (-b - fp.sqrt(inside)) / (2.0 * a), (-b + fp.sqrt(inside)) / (2.0 * a)


def test_at_one_point_each_path_keeps_its_own_structure():
    compiled = fp.compile(roots)
    assert compiled(1.0, 0.0, -1.0) == (-1.0, 1.0)
    assert compiled(1.0, 2.0, 1.0) == (-1.0,)
    assert compiled(1.0, 0.0, 1.0) == ()
    with pytest.raises(TypeError, match=r"\(number, number\)"):
        fp.vmap(roots, in_axes=(None, None, 0))(1.0, 2.0, np.array([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("wrapped", [lambda x: x, fp.Array, lambda x: x])
def test_dicts_are_put_together_by_key(wrapped):
    def f(x):
        return {"lo": x, "hi": [3 * x, x * np.ones(2)]} if x > 0 else {"hi": [3 * x, x * np.ones(2)], "lo": x}

    for call in (fp.vmap(f), fp.compile(fp.vmap(f))):
        found = call(wrapped(X))
        assert list(found) == ["lo", "hi"]
        plain = [getattr(x, "value", x) for x in (found["lo"], *found["hi"])]
        assert_array_equal(plain[0], X)
        assert_array_equal(plain[1], 3.0 * X)
        assert_array_equal(plain[2], X[:, None] * np.ones(2))
    sums = fp.compile(fp.vmap(f, reduce="sum"))(X)
    assert (sums["lo"], sums["hi"][0]) == (2.0, 6.0)


# What is outside of the map


def test_a_body_that_decides_by_an_outer_value_on_its_second_path():
    f = fp.compile(lambda w, x: fp.vmap(lambda v: v * 2.0 if v > 0 else (v if w > 0 else -v))(x).sum())
    for k in range(12):
        w, x = (1.0, -1.0)[k % 2], (np.array([1.0, 2.0]), np.array([1.0, -2.0]))[k // 2 % 2]
        assert f(w, x) == np.where(x > 0, 2.0 * x, np.sign(w) * x).sum()
    assert len(f.cache_info()) <= 4  # no call records anew what was known


def test_a_path_that_uses_a_new_outer_value_and_then_the_old_path_again():
    f = fp.compile(lambda w, x: fp.vmap(lambda v: v * 2.0 if v > 0 else v * fp.exp(w))(x).sum())
    for _ in range(6):
        assert f(0.0, np.array([1.0, 2.0])) == 6.0
        assert f(0.0, np.array([1.0, -2.0])) == 0.0
    assert len(f.cache_info()) == 2


def test_an_outer_guard_that_only_some_lanes_reach():
    f = fp.compile(lambda w, x: fp.vmap(lambda v: (v if w > 0 else 2.0 * v) if v > 0 else 1.0)(x))

    def mean(w, x):
        return fp.vmap(lambda v: (v * w if fp.log(w) > 0 else 1.0) if v > 0 else 1.0, reduce="mean")(x)

    both = fp.compile(fp.value_and_grad(mean, (0, 1)))
    for w in (1.0, -1.0, 2.0, -2.0):
        for x in ([-1.0, -2.0], [1.0, -2.0], [-1.0, 2.0], [1.0, 2.0], [-3.0, -1.0]):
            x = np.array(x)
            assert_array_equal(f(w, x), np.where(x > 0, x if w > 0 else 2.0 * x, 1.0))
            if w > 0:
                value, (by_w, by_x) = both(w, x)
                taken = (x > 0) & (w > 1.0)
                assert value == np.where(taken, x * w, 1.0).mean()
                assert by_w == np.where(taken, x, 0.0).mean()
                assert_array_equal(by_x, np.where(taken, w, 0.0) / 2.0)


def test_eight_threads_enter_a_new_path():
    for _ in range(5):
        f = fp.compile(lambda w, x: fp.vmap(lambda v: v * 2.0 if v > 0 else (v * w if w > 0 else v - w))(x).sum())
        f(3.0, np.array([1.0, 2.0]))
        barrier, found = threading.Barrier(8), []

        def enter(k, f=f, barrier=barrier, found=found):
            w = 3.0 if k % 2 else -3.0
            barrier.wait()
            for _ in range(3):
                found.append((w, f(w, np.array([1.0, -2.0]))))

        threads = [threading.Thread(target=enter, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 24
        assert set(found) == {(3.0, -4.0), (-3.0, 3.0)}


def test_a_guard_is_rounded_in_one_way_only():
    f = fp.vmap(lambda w, x: x if fp.tanh(w) > x else 2.0 * x, (None, 0))
    for w in np.random.default_rng(0).normal(size=60).tolist():
        edge = math.tanh(w)
        x = np.array([edge, np.nextafter(edge, 9.0), np.nextafter(edge, -9.0), 5.0, -5.0])
        found = f(w, x)
        assert np.all((found == x) | (found == 2.0 * x))
        assert_array_equal(found[3:], [10.0, -5.0])


class Squared(fp.Gate):
    def forward(self, x):
        return x * x

    def backward(self, pull, x):
        return 2.0 * x * pull


def test_a_guard_behind_a_gate_of_ones_own_or_a_map_that_diverges():
    squared = Squared()
    own = fp.trace(lambda x: x if squared(x) > 1 else -x, 2.0)
    mapped = fp.trace(
        lambda x: x.sum() if fp.vmap(lambda v: v * v, reduce="sum")(x) > 1 else -x.sum(), np.array([2.0, 1.0])
    )
    lanes = fp.vmap(lambda v: squared(v))
    array = fp.trace(lambda x: x.sum() if lanes(x).sum() > 1 else -x.sum(), np.array([2.0, 1.0]))
    for circuit, x in ((own, 0.5), (mapped, np.array([0.1, 0.1])), (array, np.array([0.1, 0.1]))):
        for call in (circuit, circuit.forward, circuit.value_and_grad, lambda x, c=circuit: c.vjp((x,))):
            with pytest.raises(fp.DivergenceError, match=r"test_segments.py:\d+: the condition"):
                call(x)
    with pytest.raises(fp.DivergenceError, match="in lane 1"):
        own.batch(np.array([2.0, 0.5]))


class Rooted(fp.Gate):
    def forward(self, x):
        return math.sqrt(x)

    def backward(self, pull, x):
        return 0.5 / math.sqrt(x) * pull


def test_a_gate_of_ones_own_is_not_called_in_lanes_that_do_not_reach_it():
    rooted = Rooted()

    def f(x):
        if x < -1.0:
            return x
        if x < 0.0:
            return -x
        return rooted(x) if x < 10.0 else x * 2.0

    x = np.linspace(-4.0, 14.0, 400)
    expected = np.where(x < -1.0, x, np.where(x < 0.0, -x, np.where(x < 10.0, np.sqrt(np.abs(x)), 2.0 * x)))
    mapped, slopes = fp.compile(fp.vmap(f)), fp.compile(fp.grad(lambda x: fp.vmap(f)(x).sum()))
    for _ in range(3):
        assert_allclose(mapped(x), expected, rtol=1e-15)
        by_x = np.where(x < -1.0, 1.0, np.where(x < 0.0, -1.0, np.where(x < 10.0, 0.5 / np.sqrt(np.abs(x)), 2.0)))
        assert_allclose(slopes(x), by_x, rtol=1e-15)


# Lanes down a tree


def winding(x, y, w):
    s = x * w
    for k in range(5):
        t = fp.tanh(s + 0.1 * k)
        if t > 0.3 * y:
            s = s * 0.5 - t * y
        elif s < -0.5:
            s = fp.exp(s) + t
        else:
            s = s + w * t
    return s


WAYS = {"parted": 0, "mixed": branches.OF_A_PARTING, "chosen": 10**9}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Say whether lanes are parted at every split, where it pays, or nowhere."""
    monkeypatch.setattr(branches, "OF_A_PARTING", WAYS[request.param])
    if request.param == "chosen":
        monkeypatch.setattr(branches, "MOST_CHOSEN", 10**9)
    return request.param


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lanes_get_what_they_get_one_by_one(dtype, way):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 300)).astype(dtype)
    w = 0.75
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-4, "atol": 2e-4}
    one = fp.value_and_grad(winding, (0, 1, 2))
    lanes = [one(float(a), float(b), w) for a, b in zip(x, y)]
    values, slopes = np.array([value for value, _ in lanes]), np.array([slope for _, slope in lanes]).T
    axes = (0, 0, None)
    each = fp.compile(fp.vmap(fp.value_and_grad(winding, (0, 1, 2)), in_axes=axes), dtype=dtype)
    total = fp.compile(fp.value_and_grad(fp.vmap(winding, in_axes=axes, reduce="sum"), (0, 1, 2)), dtype=dtype)
    pulled = fp.compile(
        fp.grad(lambda x, y, w: (fp.vmap(winding, in_axes=axes)(x, y, w) ** 2).sum(), (0, 1, 2)), dtype=dtype
    )
    for _ in range(25):  # while paths are run uncompiled, while some are kept, and when all are
        found, (by_x, by_y, by_w) = each(x, y, w)
        for got, expected in zip((found, by_x, by_y, by_w), (values, *slopes)):
            assert_allclose(got, expected, **tolerance)
        found, (by_x, by_y, by_w) = total(x, y, w)
        assert found == pytest.approx(values.sum(), rel=1e-4 if dtype == "float32" else 1e-11)
        assert_allclose(by_x, slopes[0], **tolerance)
        assert by_w == pytest.approx(slopes[2].sum(), rel=1e-3 if dtype == "float32" else 1e-10)
        by_x, by_y, by_w = pulled(x, y, w)
        assert_allclose(by_y, 2.0 * values * slopes[1], **tolerance)
        assert by_w == pytest.approx((2.0 * values * slopes[2]).sum(), rel=1e-3 if dtype == "float32" else 1e-10)
    parts = len(trees(total)[0].nodes)
    if way == "parted":
        assert parts > 64  # from there on blocks are narrow: lists of lanes are several
    else:
        assert (parts == 1) == (way == "chosen")


@pytest.mark.parametrize("lanes", [1500, pytest.param(40_000, marks=pytest.mark.slow)])
def test_the_same_bits_on_any_number_of_threads(lanes, way, always_threads):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, lanes))
    total = fp.compile(fp.value_and_grad(fp.vmap(winding, in_axes=(0, 0, None), reduce="sum"), (0, 1, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(20):
            total(x, y, 0.75)
    found = []
    try:
        for threads in (1, 2, 4):
            fp.set_num_threads(threads)
            value, (by_x, by_y, by_w) = total(x, y, 0.75)
            found.append((value, by_w, by_x.tobytes(), by_y.tobytes()))
    finally:
        fp.set_num_threads(None)
    assert found[0] == found[1] == found[2]


# Conditions that choose


def hostile(x, y):
    """Every branch is undefined, or has infinite slopes, where it is not taken."""
    if x > 0.0:
        s = fp.log(x) + fp.sqrt(x)
        if y == 0.0:
            return s * x
        s = s / y
    else:
        s = fp.sqrt(-x) if x < -1.0 else fp.arcsin(x) * y
    if s < y:
        return s * s - fp.exp(-s * s)
    return fp.log1p(s - y) * x


def test_what_a_lane_does_not_reach_leaves_no_trace_in_it(way):
    x, y = (a.ravel() for a in np.meshgrid([-3.0, -1.0, -0.5, -0.0, 0.0, 1e-300, 0.5, 1.0, 2.0], [-1.5, 0.0, 0.5, 4.0]))
    x, y = np.tile(x, 9), np.tile(y, 9)
    one = fp.value_and_grad(hostile, (0, 1))
    lanes = [one(float(a), float(b)) for a, b in zip(x, y)]
    values, slopes = np.array([value for value, _ in lanes]), np.array([slope for _, slope in lanes]).T
    each = fp.compile(fp.vmap(fp.value_and_grad(hostile, (0, 1))))
    pulled = fp.compile(fp.grad(lambda x, y: (2.0 * fp.vmap(hostile)(x, y)).sum(), (0, 1)))
    for _ in range(30):
        found, gradients = each(x, y)
        for got, expected in zip((found, *gradients), (values, *slopes)):
            assert_allclose(got, expected, rtol=1e-13, atol=1e-300)
        for got, expected in zip(pulled(x, y), slopes):
            assert_allclose(got, 2.0 * expected, rtol=1e-13, atol=1e-300)
    assert len(trees(each)[0].leaves) > 4


def alike(x, y):
    """Leaves that look alike, of gates that do not, and of constants that differ by a sign of zero."""
    if x > 0.0:
        a = x * 2.0
        if x > 1.0:
            return a * 3.0 + 0.0
        return a * 4.0 + -0.0
    a = x + y
    if x < -1.0:
        return a * 3.0 + 0.0
    return (a * 4.0 + 0.0) if y > 0.0 else (a * 5.0 + -0.0)


def test_leaves_that_differ_in_constants(way):
    x, y = np.array([2.0, 0.5, -2.0, -0.5, -0.0, -1.0] * 50), np.array([1.0, -1.0, 0.0] * 100)
    mapped = fp.compile(fp.vmap(fp.value_and_grad(alike, (0, 1))))
    one = fp.value_and_grad(alike, (0, 1))
    lanes = [one(float(a), float(b)) for a, b in zip(x, y)]
    for _ in range(5):
        found, (by_x, by_y) = mapped(x, y)
        assert_array_equal(found, [value for value, _ in lanes])
        assert_array_equal(np.signbit(found), np.signbit([value for value, _ in lanes]))
        assert_array_equal(by_x, [slopes[0] for _, slopes in lanes])
        assert_array_equal(by_y, [slopes[1] for _, slopes in lanes])
    assert len(trees(mapped)[0].leaves) == 5


def random_program(rng, depth=0):
    """A program in x, y and s, as text: lines of gates, branches and loops."""
    gates = ("s * x + y", "s - y", "x / s", "fp.tanh(s)", "fp.exp(-s * s)", "fp.log(s)", "fp.sqrt(s) * y", "abs(s)")
    indent = "    " * (depth + 1)
    lines = []
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(0, 4 if depth < 3 else 2)
        if kind < 2:
            lines.append(f"{indent}s = {gates[rng.integers(len(gates))]}")
        elif kind == 2:
            lines.append(f"{indent}if s {rng.choice(['<', '>=', '!='])} {rng.choice(['x', 'y', '0.5', 'x * y'])}:")
            lines += random_program(rng, depth + 1)
            lines.append(f"{indent}else:")
            lines += random_program(rng, depth + 1)
        else:
            lines.append(f"{indent}for _ in range({rng.integers(1, 4)}):")
            lines.append(f"{indent}    if not s > x - 1.0:")
            lines.append(f"{indent}        break")
            lines += random_program(rng, depth + 1)
    return lines


@pytest.mark.parametrize("seed", seeds(6, 24))
def test_random_programs_in_lanes(seed, way):
    rng = np.random.default_rng(seed)
    text = "\n".join(["def f(x, y):", "    s = x + y", *random_program(rng), "    return s"])
    names = {"fp": fp}
    exec(text, names)
    f = names["f"]
    x, y = rng.normal(size=(2, 60)).round(1)
    one = fp.value_and_grad(f, (0, 1))
    lanes = [one(float(a), float(b)) for a, b in zip(x, y)]
    values, slopes = np.array([value for value, _ in lanes]), np.array([slope for _, slope in lanes]).T
    each = fp.compile(fp.vmap(fp.value_and_grad(f, (0, 1))))
    value = fp.compile(fp.vmap(f))
    for k in range(24):
        order = rng.permutation(60) if k % 2 else np.arange(60)
        found, gradients = each(x[order], y[order])
        for got, expected in zip((found, *gradients), (values, *slopes)):
            assert_allclose(got, expected[order], rtol=1e-9, atol=1e-12, err_msg=text)
        assert_allclose(value(x[order], y[order]), values[order], rtol=1e-9, atol=1e-12, err_msg=text)


def test_a_guard_counts_only_where_it_is_reached(monkeypatch):
    def f(x):
        if x > 0.0:
            if x * x < 100.0:  # it always is, where x > 0
                return x * 2.0
            return x
        return -x

    monkeypatch.setattr(branches, "OF_A_PARTING", 10**9)
    x = np.array([1.0, -50.0, 2.0, -60.0] * 100)
    mapped = fp.compile(fp.vmap(f))
    for _ in range(3):
        mapped(x)
    (tree,) = trees(mapped)
    known = len(tree.leaves), tree.recorded
    assert known[0] == 2 and len(tree.nodes) == 1
    for _ in range(20):
        assert_array_equal(mapped(x), np.where(x > 0.0, 2.0 * x, -x))
    assert (len(tree.leaves), tree.recorded) == known
    rare = np.concatenate([x, np.full(100, 11.0)])
    mapped = fp.compile(fp.vmap(f))
    for _ in range(20):
        assert_array_equal(mapped(rare), np.where(rare > 10.0, rare, np.where(rare > 0.0, 2.0 * rare, -rare)))
    assert len(trees(mapped)[0].leaves) == 3


# Paths pay for themselves


def decay(x):
    n = 0
    while x > 1.0:
        x, n = x * 0.99, n + 1
    return x


def starts(paths):
    return 1.0 / 0.99 ** (np.arange(paths) + 0.5)


def test_a_path_is_kept_once_it_has_been_run_often_enough():
    x = starts(60)
    slopes = fp.compile(fp.vmap(fp.grad(decay)))
    kept = []
    for _ in range(150):
        assert_allclose(slopes(x), 0.99 ** np.arange(1, 61), rtol=1e-12)
        kept.append(len(trees(slopes)[0].leaves))
    assert kept[0] < 20  # most lanes are alone on their path
    assert kept[-1] == 60
    assert kept == sorted(kept)


def test_lanes_of_one_path_buy_it_at_once():
    f = fp.compile(fp.vmap(lambda x: x * 2.0 if x > 0.0 else -x))
    f(np.linspace(-1.0, 1.0, 1000))
    assert [len(tree.leaves) for tree in trees(f)] == [2]


def counted(monkeypatch):
    """Count the gates that are traced for lanes, and those that are recorded and optimised in trees."""
    spent = collections.Counter()
    lane, add, build = RecordedMap.record_lane, Tree.add, Tree._build

    def record_lane(self, *args):
        recording = lane(self, *args)
        spent["traced"] += recording.gates
        return recording

    def added(self, recording, *args):
        spent["recorded"] += len(recording.draft)
        return add(self, recording, *args)

    def built(self, node):
        spent["optimised"] += len(node.segment)
        return build(self, node)

    monkeypatch.setattr(RecordedMap, "record_lane", record_lane)
    monkeypatch.setattr(Tree, "add", added)
    monkeypatch.setattr(Tree, "_build", built)
    return spent


def test_lanes_that_do_not_come_again_cost_no_recordings(monkeypatch):
    spent = counted(monkeypatch)
    slopes = fp.compile(fp.vmap(fp.grad(decay)))
    with pytest.warns(RuntimeWarning, match="call after call most lanes, 20 of 20 now, take paths that hardly") as said:
        for k in range(20):
            x = starts(400)[k::20]
            assert_allclose(slopes(x), 0.99 ** np.arange(1 + k, 401, 20), rtol=1e-12)
    assert len(said) == 1  # and where the same lanes come again, below, nothing is said
    assert len(trees(slopes)[0].leaves) == 1
    assert spent["recorded"] + spent["optimised"] < 10  # the first lane's, which has one turn


def test_what_is_bought_was_paid_for(monkeypatch):
    spent = counted(monkeypatch)
    slopes = fp.compile(fp.vmap(fp.grad(decay)))
    x = np.random.default_rng(2).permutation(starts(100))
    each, gates = 0, 2 * 5050  # of all lanes, each with its comparisons
    for _ in range(60):
        slopes(x)
        each += gates + 100 * OF_A_CALL
        bought = OF_A_GATE * spent["optimised"] + OF_A_RECORDING * spent["recorded"]
        assert bought <= 2 * each
    assert len(trees(slopes)[0].leaves) > 90
    assert spent["traced"] < 30 * gates  # then lanes are no longer run uncompiled


# Work that grows as it should


def grown(paths, order):
    """Return the tree of `decay` at so many paths, which come one by one."""
    tree = Tree("decay", 1, [1], ("fold", "merge", "drop", "hoist", "combine"), paths)
    x = starts(paths)
    for k in order(paths):
        recording = record(decay, Signature((1.0,)), [float(x[k])], np.dtype(np.float64))
        tree.add(recording, [0], [], x[k : k + 1])
        tree.built()
    return tree


@pytest.mark.parametrize("order", [range, lambda n: range(n - 1, -1, -1), lambda n: [k * 37 % n for k in range(n)]])
def test_twice_the_paths_cost_no_more_than_twice_the_work(order, monkeypatch):
    monkeypatch.setattr(branches, "OF_A_PARTING", 0)  # else whoever lets it grow says how often
    few, many = grown(32, order), grown(64, order)
    for tree, paths in ((few, 32), (many, 64)):
        assert len(tree.leaves) == paths
        assert len(tree.nodes) <= 3 * paths  # a prefix is stored once
    assert sum(len(node.segment) for node in many.nodes) <= 2.2 * sum(len(node.segment) for node in few.nodes)
    assert many.optimised <= 2.8 * few.optimised
    assert max(node.segment.draft.nbytes for node in many.nodes) < 10_000


def test_many_ifs_take_memory_in_proportion():
    def ifs(n):
        def f(x):
            s = x
            for k in range(n):
                s = s + 1.0 if x > -float(k) - 1.0 else s * 2.0
            return s

        return f

    peaks = []
    for n in (1000, 2000):
        compiled = fp.compile(ifs(n))
        tracemalloc.start()
        assert compiled(1.0) == 1.0 + n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]


def test_the_tree_belongs_to_the_map():
    f = fp.compile(fp.vmap(lambda x: x if x > 0 else -x))
    f(X)
    region = f.circuits()[0]._recording.maps[0]
    assert isinstance(region, RecordedMap)
    assert isinstance(region.body, Tree)


def test_few_paths_are_tried_at_a_point(monkeypatch):
    value = fp.compile(decay)
    x = starts(100)
    for point in x.tolist():
        value(point)
    assert len(value.circuits()) == 100
    tried = []
    other = Compiled._other
    monkeypatch.setattr(Compiled, "_other", lambda self, *args: tried.append(1) or other(self, *args))
    for k in np.random.default_rng(1).permutation(100).tolist():
        assert value(float(x[k])) == pytest.approx(x[k] * 0.99 ** (k + 1), rel=1e-12)
    assert 0 < len(tried) < 100 * 10
    assert len(value.circuits()) == 100
