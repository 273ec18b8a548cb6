"""Branches under trace: conditions, guards, paths, loops whose length depends on the data, parted lanes."""

import copy
import math
import operator
import pickle
import re
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp

RELATIONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
POINTS = [-1.0, -0.0, 0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]


# Conditions


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: r.__name__)
def test_comparisons_of_all_kinds(relation):
    two = fp.trace(lambda x, y: fp.where(relation(x, y), 1.0, 0.0), 1.0, 2.0)
    right = fp.trace(lambda x: fp.where(relation(x, 1.0), 1.0, 0.0), 1.0)
    left = fp.trace(lambda x: fp.where(relation(1, x), 1.0, 0.0), 1.0)
    leaf = fp.Unit(1.0)
    captured = fp.trace(lambda x: fp.where(relation(x, leaf), 1.0, 0.0), 1.0)
    itself = fp.trace(lambda x, y: relation(x, y), 1.0, 2.0)
    for x in POINTS:
        for y in POINTS:
            assert two(x, y) == itself(x, y) == float(relation(x, y)), (x, y)
        assert right(x) == captured(x) == float(relation(x, 1.0))
        assert left(x) == float(relation(1.0, x))


def test_logic_of_conditions():
    def f(x, y):
        a, b = x > 0, y > 0
        found = [a & b, a | b, a ^ b, ~a, a == b, a != b, a & True, a | False, True & a, False | a, a ^ True]
        return [fp.where(c, 1.0, 0.0) for c in found]

    circuit = fp.trace(f, 1.0, 1.0)
    for x in (1.0, -1.0):
        for y in (1.0, -1.0):
            a, b = x > 0, y > 0
            assert circuit(x, y) == [a & b, a | b, a ^ b, not a, a == b, a != b, a, a, a, a, not a]
    assert circuit.batch(np.array([1.0, -1.0]), np.array([-1.0, -1.0]))[1].tolist() == [1.0, 0.0]


def test_conditions_as_numbers():
    circuit = fp.trace(lambda x: (x > 1.0) * x + (x < 0.0) * 10.0 + (2.0 - (x > 5.0)), 0.5)
    for x in (0.5, 2.0, 7.0, -3.0):
        expected = (x > 1.0) * x + (x < 0.0) * 10.0 + (2.0 - (x > 5.0))
        assert circuit(x) == expected
        assert circuit.value_and_grad(x)[1] == float(x > 1.0)


def test_conditions_of_arrays():
    def f(x, y):
        inside = (x > 0) & ~(x > y)
        return [
            fp.where(inside, x * x, y),
            np.where(x >= 1.0, x, 0.0),
            fp.where(inside.any(), 1.0, 0.0),
            fp.where((x > -9.0).all(), 1.0, 0.0),
            inside,
            fp.where(inside[0] | (x == y)[1], 1.0, 0.0),
            inside * x,
        ]

    x0, y0 = np.array([1.0, -2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    circuit = fp.trace(f, x0, y0)
    rng = np.random.default_rng(3)
    for x, y in [(x0, y0), (-x0, y0), *rng.normal(size=(5, 2, 3)) * 4.0]:
        inside = (x > 0) & ~(x > y)
        found = circuit(x, y)
        assert_array_equal(found[0], np.where(inside, x * x, y))
        assert_array_equal(found[1], np.where(x >= 1.0, x, 0.0))
        assert found[2:4] == [float(inside.any()), float((x > -9.0).all())]
        assert_array_equal(found[4], inside)
        assert found[5] == float(inside[0] | (x == y)[1])
        assert_array_equal(found[6], inside * x)


def test_conditions_that_choose_numbers_of_an_array_are_guards():
    f = fp.compile(lambda x: x[x > 0].sum() * 1.0)
    for x in ([1.0, -2.0, 3.0], [-1.0, 2.0, 5.0], [1.0, 1.0, 1.0]):
        x = np.array(x)
        assert f(x) == x[x > 0].sum()
    assert len(f.cache_info()) == 3


def test_a_condition_is_no_number():
    def outcome(use):
        def f(x):
            use(x > 0)
            return x

        return lambda: fp.trace(f, 1.0)

    for use in (float, copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="Condition"):
            outcome(use)()
    with pytest.raises(TypeError):
        outcome(math.exp)()


def test_comparing_with_what_is_no_number():
    none = None
    f = fp.trace(lambda x, a: x * 1.0 if x == none or "a" in [x] or (a == none).any() else x * 2.0, 1.0, np.ones(2))
    assert f(3.0, np.ones(2)) == 6.0
    for other in ("a", None, 1j, [1.0]):
        with pytest.raises(TypeError):
            fp.trace(lambda x, other=other: fp.where(x < other, 1.0, 0.0), 1.0)
    for other in ("a", None, 1j, ["a"]):
        with pytest.raises(TypeError):
            fp.trace(lambda x, other=other: fp.where(x < other, 1.0, 0.0), np.ones(2))


def test_where_makes_no_guard():
    f = fp.compile(lambda x: fp.where(x > 0, fp.log(x), x * 2.0))
    assert f(1.0) == 0.0
    assert f(-3.0) == -6.0
    assert len(f.cache_info()) == 1


# Guards


def branching(x, y):
    if x > y:
        return x * x
    return x - y


def line_of_if():
    return f"{branching.__code__.co_filename}:{branching.__code__.co_firstlineno + 1}:"


def test_divergence_names_the_line_the_values_and_what_to_do():
    circuit = fp.trace(branching, 3.0, 1.0)
    assert circuit(4.0, 2.0) == 16.0
    x, y = np.array(2.5), np.array(7.25)
    bound = circuit.bind(x, y)
    lanes = circuit.bind(np.array([9.0, 2.5]), np.array([1.0, 7.25]), in_axes=0)
    calls = [
        lambda: circuit(2.5, 7.25),
        lambda: circuit.forward(2.5, 7.25),
        lambda: circuit.value_and_grad(2.5, 7.25),
        lambda: circuit.vjp((2.5, 7.25)),
        bound,
        lanes,
        lambda: circuit.batch(np.array([9.0, 2.5]), np.array([1.0, 7.25])),
    ]
    for call in calls:
        with pytest.raises(fp.DivergenceError, match=re.escape(line_of_if())) as error:
            call()
        message = str(error.value)
        assert re.search(r"7\.25 < 2\.5 is False.* but was True", message)
        assert "fp.compile(branching)" in message
        assert "fp.where" in message
    assert "lane 1" in str(error.value)
    assert issubclass(fp.DivergenceError, ValueError)
    x[...] = 8.0
    bound()
    assert bound.value == 64.0
    assert circuit(4.0, 2.0) == 16.0


def test_guards_at_the_edge():
    circuit = fp.trace(lambda x: x * 2.0 if x >= 0.0 else x * 3.0, 1.0)
    assert circuit(0.0) == 0.0
    assert circuit(-0.0) == 0.0
    for x in (-5e-324, math.nan, -math.inf):
        with pytest.raises(fp.DivergenceError):
            circuit(x)
    equal = fp.trace(lambda x, y: x if x == y else y, 1.0, 1.0)
    assert equal(2.0, 2.0) == 2.0
    with pytest.raises(fp.DivergenceError, match="=="):
        equal(2.0, 3.0)


def test_guards_of_conditions_of_conditions():
    def f(x, y):
        if (x > 0) & (y > 0) | (x < -5):
            return x * y
        if not x > y:
            return x + y
        return max(x, y) - min(x, 2.0 * y)

    compiled = fp.compile(f)
    circuit = fp.trace(f, 1.0, 1.0)
    for x in (-6.0, -1.0, 1.0):
        for y in (-2.0, -1.0, 2.0):
            assert compiled(x, y) == f(x, y)
            if (x > 0 and y > 0) or x < -5:
                assert circuit(x, y) == f(x, y)
            else:
                with pytest.raises(fp.DivergenceError, match=r"test_branches.py:\d+: the condition"):
                    circuit(x, y)


# compile: every path


def newton(x):
    root = x
    while abs(root * root - x) > 1e-10 * x:
        root = 0.5 * (root + x / root)
    return root


def early_exit(x, limit):
    total = x * 0.0
    for k in range(20):
        term = x ** (k + 1) / float(k + 1)
        if abs(term) < limit:
            break
        total = total + term
    return total


def test_loops_whose_length_depends_on_the_data():
    root, series = fp.compile(newton), fp.compile(early_exit)
    slope = fp.compile(fp.value_and_grad(early_exit))
    for x in np.linspace(0.05, 50.0, 60).tolist():
        assert root(x) == newton(x)
        assert root(x) == pytest.approx(math.sqrt(x), rel=1e-10)
    for x in np.linspace(-0.9, 0.9, 30).tolist():
        for limit in (1e-1, 1e-3):
            assert series(x, limit) == pytest.approx(early_exit(x, limit), rel=1e-14)
            value, by_x = fp.value_and_grad(early_exit)(x, limit)
            found = slope(x, limit)
            assert found[0] == pytest.approx(value, rel=1e-14)
            assert found[1] == pytest.approx(by_x, rel=1e-13)
    lengths = {len(circuit) for circuit in root.circuits()}
    assert len(lengths) == len(root.cache_info()) > 3


def test_the_derivative_of_newtons_iteration():
    slope = fp.compile(fp.grad(newton))
    for x in (0.25, 2.0, 9.0, 1e4):
        assert slope(x) == pytest.approx(0.5 / math.sqrt(x), rel=1e-6)
    roots = fp.compile(fp.grad(lambda x: fp.vmap(newton)(x).sum()))
    x = np.linspace(0.1, 30.0, 101)
    assert_allclose(roots(x), 0.5 / np.sqrt(x), rtol=1e-6)


def test_a_branch_that_python_and_circuit_round_differently():
    """A sum that Python takes in another order than a vectorised kernel must not send anyone round in circles."""

    def f(x):
        y = fp.exp(x) * fp.tanh(x) + fp.sin(x)
        return x * 1.0 if y > threshold else x * 2.0

    rng = np.random.default_rng(5)
    for x in rng.normal(size=30).tolist():
        exact = math.exp(x) * math.tanh(x) + math.sin(x)
        for threshold in (  # noqa: B007 (f reads it)
            exact,
            np.nextafter(exact, 9),
            np.nextafter(exact, -9),
            np.nextafter(np.nextafter(exact, -9), -9),
        ):
            for dtype in ("float64", "float32"):
                rounded = float(np.float32(x)) if dtype == "float32" else x
                assert fp.compile(f, dtype=dtype)(x) in (rounded * 1.0, rounded * 2.0)
                lanes = np.full(3, x, dtype)
                assert set(fp.compile(fp.vmap(f), dtype=dtype)(lanes).tolist()) <= {rounded * 1.0, rounded * 2.0}


def test_a_function_that_changes_its_mind_is_refused():
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) > 1:  # no decision is taken any more
            return x * 3.0
        return x * 1.0 if x > 0 else x * 2.0

    compiled = fp.compile(f)
    assert compiled(1.0) == 1.0
    with pytest.raises(RuntimeError, match=r"f took another way at the same arguments.*depend on nothing"):
        compiled(-1.0)
    calls.clear()
    with pytest.raises(RuntimeError, match="f took another way at the same arguments"):
        fp.vmap(f)(np.array([1.0, -1.0]))


# Lanes parted by path


def steps(x, w):
    """A path of twelve decisions."""
    s = x
    for k in range(12):
        if s > w:
            s = s * 0.75 - 0.1 * w
        else:
            s = s + fp.tanh(x) * 0.3 + 0.25 * w * (k % 3)
    return s


def steps_numpy(x, w):
    """The same with its derivatives in x and w, lane by lane without branches."""
    s, by_x, by_w = x.copy(), np.ones_like(x), np.zeros_like(x)
    for k in range(12):
        down = s > w
        t = np.tanh(x)
        s, by_x, by_w = (
            np.where(down, s * 0.75 - 0.1 * w, s + t * 0.3 + 0.25 * w * (k % 3)),
            np.where(down, by_x * 0.75, by_x + (1.0 - t * t) * 0.3),
            np.where(down, by_w * 0.75 - 0.1, by_w + 0.25 * (k % 3)),
        )
    return s, by_x, by_w


@pytest.fixture(scope="module")
def many_points():
    return np.random.default_rng(11).normal(size=100_000) * 3.0


@pytest.mark.parametrize("lanes", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_parted_lanes_agree_on_many_random_paths(many_points, lanes):
    w, many_points = 0.7, many_points[:lanes]
    s, by_x, by_w = steps_numpy(many_points, w)
    mapped = fp.compile(fp.vmap(steps, in_axes=(0, None)))
    assert_allclose(mapped(many_points, w), s, rtol=1e-12, atol=1e-13)
    both = fp.compile(fp.value_and_grad(fp.vmap(steps, in_axes=(0, None), reduce="mean"), argnums=(0, 1)))
    value, (slope_x, slope_w) = both(many_points, w)
    assert value == pytest.approx(s.mean(), rel=1e-11)
    assert_allclose(slope_x * len(s), by_x, rtol=1e-11, atol=1e-12)
    assert slope_w == pytest.approx(by_w.mean(), rel=1e-11)
    each = fp.compile(fp.vmap(fp.grad(steps, argnums=(0, 1)), in_axes=(0, None)))
    slope_x, slope_w = each(many_points, w)
    assert_allclose(slope_x, by_x, rtol=1e-11, atol=1e-12)
    assert_allclose(slope_w, by_w, rtol=1e-11, atol=1e-12)
    some = many_points[:300]
    assert_allclose([steps(x, w) for x in some.tolist()], s[:300], rtol=1e-12, atol=1e-13)


def rare(x, w):
    """Few paths, but for one lane in some hundred, which takes one of a thousand."""
    if x > 8.0:
        s = x * 10.0
        for k in range(10):
            if fp.sin(s) > 0.0:
                s = s * 1.25 + w
            else:
                s = s + 1.0 + k
        return s
    return x * w if x > 0.0 else -x


def rare_numpy(x, w):
    s, by_x, by_w = x * 10.0, np.full_like(x, 10.0), np.zeros_like(x)
    for k in range(10):
        up = np.sin(s) > 0.0
        s, by_x, by_w = (
            np.where(up, s * 1.25 + w, s + 1.0 + k),
            np.where(up, by_x * 1.25, by_x),
            np.where(up, by_w * 1.25 + 1.0, by_w),
        )
    often = np.where(x > 0.0, x * w, -x), np.where(x > 0.0, w, -1.0), np.where(x > 0.0, x, 0.0)
    return [np.where(x > 8.0, a, b) for a, b in zip((s, by_x, by_w), often)]


def test_more_paths_than_are_compiled(many_points):
    w = 0.5
    s, by_x, by_w = rare_numpy(many_points, w)
    assert 100 < (many_points > 8.0).sum() < 1000
    value = fp.compile(fp.vmap(rare, in_axes=(0, None)), max_paths=2)
    both = fp.compile(fp.value_and_grad(fp.vmap(rare, in_axes=(0, None), reduce="sum"), argnums=(0, 1)), max_paths=2)
    with pytest.warns(RuntimeWarning, match="has taken 2 different paths") as said:
        found = value(many_points, w)
    assert len(said) == 1
    assert_allclose(found, s, rtol=1e-13)
    with pytest.warns(RuntimeWarning, match="max_paths") as said:
        total, (slope_x, slope_w) = both(many_points[:20_000], w)
    assert len(said) == 1
    assert total == pytest.approx(s[:20_000].sum(), rel=1e-12)
    assert_allclose(slope_x, by_x[:20_000], rtol=1e-12)
    assert slope_w == pytest.approx(by_w[:20_000].sum(), rel=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert_allclose(value(many_points[::-1], 0.25), rare_numpy(many_points[::-1], 0.25)[0], rtol=1e-13)


def test_one_point_on_more_paths_than_are_compiled():
    xs = np.random.default_rng(2).uniform(8.0, 20.0, 40)
    s, by_x, _ = rare_numpy(xs, 0.5)
    value, slope = fp.compile(rare, max_paths=3), fp.compile(fp.grad(rare), max_paths=3)
    with pytest.warns(RuntimeWarning, match="has taken 3 different paths") as said:
        assert_allclose([value(x, 0.5) for x in xs.tolist()], s, rtol=1e-13)
    assert len(said) == 1
    with pytest.warns(RuntimeWarning, match="has taken 3 different paths") as said:
        assert_allclose([slope(x, 0.5) for x in xs.tolist()], by_x, rtol=1e-13)
    assert len(said) == 1
    assert len(value.circuits()) == 3
    for wrong in (0, -1, True, 2.0, None):
        with pytest.raises(ValueError, match="max_paths"):
            fp.compile(rare, max_paths=wrong)


@settings(max_examples=25)
@given(
    st.lists(st.floats(-3, 3, allow_nan=False), min_size=1, max_size=70),
    st.floats(-1, 1, allow_nan=False),
    st.sampled_from([None, "sum", "mean"]),
)
@example([0.0, 1.0, 0.0, -1.0, 1.0], 1.0, None)  # lanes 1, 4 and 3 are left over, and are no three in a row
def test_results_in_the_callers_order(x, w, reduce):
    x = np.array(x)
    s, by_x, by_w = steps_numpy(x, w)
    mapped = fp.vmap(steps, in_axes=(0, None), reduce=reduce)
    found = fp.compile(mapped)(x, w)
    if reduce is None:
        assert_allclose(found, s, rtol=1e-12, atol=1e-12)
        return
    scale = 1.0 if reduce == "sum" else 1.0 / len(x)
    assert found == pytest.approx(s.sum() * scale, rel=1e-11, abs=1e-11)
    slope_x, slope_w = fp.compile(fp.grad(mapped, (0, 1)))(x, w)
    assert_allclose(slope_x, by_x * scale, rtol=1e-11, atol=1e-12)
    assert slope_w == pytest.approx(by_w.sum() * scale, rel=1e-11, abs=1e-11)


def test_paths_of_lanes_in_float32():
    x = np.random.default_rng(4).normal(size=2000).astype(np.float32)
    found = fp.compile(fp.vmap(lambda x: newton(x * x + 0.5) if x > 0 else x * 3.0), dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = np.where(x > 0, np.sqrt(x.astype(float) ** 2 + 0.5), x * 3.0)
    loose = fp.compile(fp.vmap(lambda x: fp.sqrt(x * x + 0.5) if x > 0 else x * 3.0), dtype="float32")
    assert loose(x).dtype == np.float32
    assert_allclose(loose(x), expected, rtol=1e-6)
    assert found is not None


# Branches on what is outside of a vmap


def test_a_body_that_decides_by_what_is_outside():
    def f(w, x):
        def body(x):
            if x > 0:
                if w > 0:
                    return x * w
                return x * w * 100.0
            return -x

        return fp.vmap(body)(x).sum()

    def expected(w, x):
        return np.where(x > 0, x * w * (1.0 if w > 0 else 100.0), -x).sum()

    value, both = fp.compile(f), fp.compile(fp.value_and_grad(f, (0, 1)))
    negative, mixed = np.array([-1.0, -2.0, -3.0]), np.array([-1.0, 2.0, 3.0])
    for w, x in [(2.0, negative), (-2.0, mixed), (2.0, mixed), (-3.0, negative), (-3.0, mixed), (5.0, mixed)]:
        assert value(w, x) == expected(w, x)
        total, (by_w, by_x) = both(w, x)
        factor = 1.0 if w > 0 else 100.0
        assert total == expected(w, x)
        assert by_w == (np.maximum(x, 0.0) * factor).sum()
        assert_array_equal(by_x, np.where(x > 0, w * factor, -1.0))


def test_a_path_that_uses_more_of_what_is_outside():
    leaf = fp.Unit(7.0)

    def f(v, w, x):
        scale = fp.exp(v)

        def body(x):
            if x > 2:
                return x * leaf
            if x > 1:
                return x * scale
            if x > 0:
                return fp.sin(w) * x
            return x

        return fp.vmap(body)(x)

    compiled = fp.compile(lambda v, w, x: f(v, w, x).sum())
    slopes = fp.compile(fp.grad(lambda v, w, x: f(v, w, x).sum(), (0, 1, 2)))
    learnt = False
    for v, w, x in [
        (0.1, 0.2, [-1.0, -2.0]),
        (0.3, 0.4, [-1.0, 0.5]),
        (0.5, 0.6, [1.5, -1.0]),
        (0.7, 0.8, [1.5, 0.5]),
        (0.9, 1.0, [2.5, 0.5]),
        (1.1, 1.2, [-0.5, -0.25]),
    ]:
        x = np.array(x)
        factor = np.where(x > 2, 7.0, np.where(x > 1, np.exp(v), np.where(x > 0, np.sin(w), 1.0)))
        value = compiled(v, w, x)
        learnt = learnt or (x > 2).any()
        assert isinstance(value, fp.Unit) == learnt  # from then on it is a gate on the leaf
        assert float(value.value if learnt else value) == pytest.approx((x * factor).sum(), rel=1e-14)
        by_v, by_w, by_x = slopes(v, w, x)
        assert by_v == pytest.approx((x * ((x > 1) & (x <= 2)) * np.exp(v)).sum(), rel=1e-14)
        assert by_w == pytest.approx((x * ((x > 0) & (x <= 1)) * np.cos(w)).sum(), rel=1e-14)
        assert_allclose(by_x, factor, rtol=1e-14)


def test_more_paths_than_are_compiled_that_decide_by_what_is_outside():
    def f(w, x):
        def body(x):
            s = x
            for k in range(6):
                if s > 0.1 * k:
                    s = s * 0.5 - 0.2
                elif w > 0:
                    s = s + w
                else:
                    s = s - w * 2.0
            return s

        return fp.vmap(body, reduce="sum")(x)

    compiled = fp.compile(f, max_paths=2)
    x = np.linspace(-1.0, 1.0, 21)
    with pytest.warns(RuntimeWarning, match="has taken 2"):
        for w in (0.5, -0.5, 0.25):
            s = x.copy()
            for k in range(6):
                s = np.where(s > 0.1 * k, s * 0.5 - 0.2, s + w if w > 0 else s - w * 2.0)
            assert compiled(w, x) == pytest.approx(s.sum(), rel=1e-12)


def test_trace_holds_lanes_to_one_path():
    circuit = fp.trace(lambda x: fp.vmap(lambda y: y * y if y > 0 else -y)(x).sum(), np.array([1.0, 2.0]))
    assert circuit(np.array([3.0, 4.0])) == 25.0
    with pytest.raises(fp.DivergenceError, match=r"test_branches.py:\d+: .* in lane 1"):
        circuit(np.array([3.0, -4.0]))


def test_ways_that_capture_more_than_those_before():
    """Lanes take a way, later, on which more of an Array outside is used; as a gate on its tape, too."""
    w = fp.Array(np.array([2.0, 3.0, 5.0]))

    def way(q):
        return q * w[0] if q > 0.0 else q * w[1] if q > -5.0 else q * w[2]

    f = fp.compile(lambda x: fp.vmap(way)(x).sum())
    for x, expected in (([1.0, 1.0, 1.0], 6.0), ([1.0, -1.0, 1.0], 1.0), ([1.0, -1.0, -10.0], -51.0)):
        found = f(np.array(x))
        assert found.value == expected
    found.backward()
    np.testing.assert_array_equal(w.grad, [1.0, -1.0, -10.0])


def test_one_condition_for_all_lanes_chooses_between_maps():
    f = fp.compile(lambda a: fp.where(a[0] > 0.0, fp.vmap(lambda z: z * 2.0)(a), fp.vmap(lambda z: z * z)(a)).sum())
    assert f(np.array([1.0, 2.0])) == 6.0
    assert f(np.array([-1.0, 2.0])) == 5.0
    assert fp.compile(fp.grad(f))(np.array([-1.0, 2.0])).tolist() == [-2.0, 4.0]
