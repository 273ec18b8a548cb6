"""The three strategies side by side, and the check of derivatives against differences."""

import collections
import math

import numpy as np
import pytest

from fastprop.derivatives import checking
from fastprop.derivatives.checking import numerical_grad, random_search

Neuron = collections.namedtuple("Neuron", "weights bias")


def test_numerical_gradient_of_a_product():
    found = numerical_grad(lambda x, y: x * y, (-2.0, 3.0))
    assert found == pytest.approx((3.0, -2.0), rel=1e-9)
    assert all(type(x) is float for x in found)


@pytest.mark.parametrize("x", [1e-8, 1e-3, 0.5, 3.0, 700.0, 1e6])
def test_automatic_step_keeps_its_digits_at_any_size(x):
    (found,) = numerical_grad(math.log, (x,))
    assert found == pytest.approx(1.0 / x, rel=1e-8)
    (found,) = numerical_grad(lambda x: 3.0 * x + 1.0, (x,))
    assert found == pytest.approx(3.0, rel=1e-8)


def test_step_that_is_given_is_used():
    calls = []
    numerical_grad(lambda x: calls.append(x) or x, (2.0,), h=0.25)
    assert sorted(calls) == [1.75, 2.0, 2.25]
    (found,) = numerical_grad(lambda x: x**3, (1.0,), h=0.5)
    assert found == 3.25  # (1.5³ - 0.5³) / 1: the error of a central difference is h²


def test_numerical_gradient_in_the_nesting_of_the_arguments():
    def f(neuron, x):
        return neuron.weights["a"] * x[0] ** 2 + neuron.weights["b"] * x[1] + neuron.bias

    found = numerical_grad(f, (Neuron({"a": 2.0, "b": 3}, -1.0), np.array([0.5, 4.0])))
    assert found[0].weights == pytest.approx({"a": 0.25, "b": 4.0})
    assert found[0].bias == pytest.approx(1.0)
    np.testing.assert_allclose(found[1], [2.0, 3.0], rtol=1e-9)


def test_differences_of_float32_are_taken_in_float64():
    x = np.array([0.5, 2.0], dtype=np.float32)
    (found,) = numerical_grad(lambda x: np.exp(x).sum(), (x,))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-6)


def test_arguments_are_not_changed():
    x = np.array([1.0, 2.0])
    nested = {"a": [1.0], "x": x}

    def f(p):
        p["a"].append(0.0)
        p["x"] *= 2.0
        return p["x"].sum()

    (found,) = numerical_grad(f, (nested,))
    assert nested["a"] == [1.0]
    np.testing.assert_array_equal(x, [1.0, 2.0])
    np.testing.assert_allclose(found["x"], [2.0, 2.0])


def test_function_of_units_is_fine(engine):
    w = engine.Unit(4.0)
    assert numerical_grad(lambda x: w * x, (3.0,)) == pytest.approx((4.0,))
    assert w.grad == 0.0
    assert numerical_grad(lambda x: x * x, (engine.Unit(3.0),)) == pytest.approx((6.0,))


@pytest.mark.parametrize("h", [0.0, -1.0, math.nan, math.inf, "1", True, None.__class__])
def test_bad_steps(h):
    with pytest.raises(ValueError, match="step h must be a finite number greater than 0"):
        numerical_grad(lambda x: x, (1.0,), h=h)


@pytest.mark.parametrize("function", [numerical_grad, random_search, checking.check_grads])
def test_misuse(function):
    with pytest.raises(TypeError, match="takes a function first, not a float"):
        function(1.0, (1.0,))
    with pytest.raises(TypeError, match=r"takes the arguments as a tuple or list, not a float"):
        function(lambda x: x, 1.0)
    with pytest.raises(TypeError, match=r"argument 0\['a'\]\[1\] is a bool \(True\)"):
        function(lambda x: x, ({"a": [1.0, True]},))
    with pytest.raises(TypeError, match=r"<lambda> returned a str \('no'\)"):
        function(lambda x: "no", (1.0,))


@pytest.mark.parametrize("function", [numerical_grad, random_search])
def test_one_number_is_expected(function):
    with pytest.raises(TypeError, match=r"one number, but <lambda> returned 2, of the shapes \(\), \(\)"):
        function(lambda x: [x, x], (1.0,))
    with pytest.raises(TypeError, match=r"one number, but <lambda> returned 1, of the shapes \(3,\)"):
        function(lambda x: np.ones(3), (1.0,))


def test_random_search_finds_something_better():
    (x, y), value = random_search(lambda x, y: x * y, (-2.0, 3.0))
    assert value == x * y
    assert -6.0 < value <= -1.99 * 2.99
    assert abs(x + 2.0) <= 0.01
    assert abs(y - 3.0) <= 0.01


def test_random_search_is_repeatable_and_the_seed_matters():
    def search(seed):
        return random_search(lambda x, y: x * y, (-2.0, 3.0), seed=seed)

    assert search(1) == search(1)
    assert search(1) != search(2)
    assert search(np.random.default_rng(1)) == search(1)


def test_random_search_that_finds_nothing_keeps_the_point():
    tries = []
    best, value = random_search(lambda x: tries.append(x) or -abs(x), (0.0,), tries=20)
    assert best == (0.0,)
    assert value == 0.0
    assert len(tries) == 21
    assert random_search(lambda x: x, (1.0,), tries=0) == ((1.0,), 1.0)


def test_random_search_over_arrays_and_containers():
    given = {"w": np.array([1.0, 2.0], np.float32), "b": [0.5]}
    (best,), value = random_search(lambda p: p["w"].sum() + p["b"][0], (given,), step=0.5, tries=200)
    assert best["w"].dtype == np.float32
    assert value > 3.5
    assert np.all(np.abs(best["w"] - given["w"]) <= 0.5 + 1e-6)
    np.testing.assert_array_equal(given["w"], [1.0, 2.0])


def test_random_search_refuses_nonsense():
    with pytest.raises(ValueError, match="step must be finite and at least 0"):
        random_search(lambda x: x, (1.0,), step=-1.0)
    with pytest.raises(ValueError, match="step must be finite and at least 0"):
        random_search(lambda x: x, (1.0,), step=math.nan)
    with pytest.raises(ValueError, match="tries must be at least 0, not -1"):
        random_search(lambda x: x, (1.0,), tries=-1)


def test_three_strategies_side_by_side(engine):
    """A step along each of the gradients goes up; of random steps the best does."""

    def f(x, y, z):
        return (x + y) * z

    start = (-2.0, 5.0, -4.0)
    analytic = engine.grad(f, argnums=(0, 1, 2))(*start)
    assert analytic == (-4.0, -4.0, 3.0)
    numerical = numerical_grad(f, start)
    assert numerical == pytest.approx(analytic, rel=1e-8)
    best, value = random_search(f, start)
    for gradient in (analytic, numerical):
        assert f(*[x + 0.01 * slope for x, slope in zip(start, gradient)]) == pytest.approx(-11.59, abs=0.01)
    assert value == f(*best)
    assert f(*start) < value < f(*start) + 0.01 * sum(map(abs, analytic)) + 1e-3


def test_check_accepts_what_is_right(engine):
    engine.check_grads(lambda x, y: engine.exp(x) * y + engine.sin(y), (0.5, 2.0), order=3)
    engine.check_grads(
        lambda p: [p["a"] @ p["b"], p["a"] * 2.0], ({"a": np.array([1.0, 2.0]), "b": np.ones(2)},), order=2
    )
    engine.check_grads(lambda x: 5.0, (1.0,), order=2)
    engine.check_grads(lambda x: [], (1.0,))


def wrong_square(engine, forward_too):
    """A square whose backward (and tangent, if it has one) is 1 % off."""

    class Square(engine.Gate):
        def forward(self, x):
            return x * x

        def backward(self, pull, x):
            return pull * 2.02 * x

    class Tangent(Square):
        def tangent(self, tangents, x):
            return tangents[0] * 2.0 * x

    return Square() if forward_too else Tangent()


def test_check_names_mode_order_argument_index_and_both_values(engine):
    gate = wrong_square(engine, forward_too=False)

    def f(x, p):
        return x * gate(p["w"][1])

    args = (3.0, {"w": [1.0, 2.0]})
    with pytest.raises(
        AssertionError, match=r"^rev, order 1: the derivative of f by argument 1\['w'\]\[1\] is 12\.12"
    ) as e:
        engine.check_grads(f, args)
    assert "differences give 12.0" in str(e.value) or "differences give 11.99999" in str(e.value)
    engine.check_grads(f, args, modes="fwd")
    engine.check_grads(f, args, modes=("fwd",))
    with pytest.raises(AssertionError, match=r"^fwd, order 1: .*argument 1\['w'\]\[1\] is 12\.12"):
        engine.check_grads(lambda x, p: x * wrong_square(engine, True)(p["w"][1]), args, modes=["fwd"])


def test_check_looks_at_every_number_of_arrays(engine):
    gate = wrong_square(engine, forward_too=True)

    def f(a):
        return engine.Array([a[0, 0] ** 2, gate(a[1, 2])])

    with pytest.raises(AssertionError, match=r"by argument 0\[1, 2\] is 6\.06.*output 0\[1\]"):
        engine.check_grads(f, (np.array([[1.0, 2.0, 0.5], [0.25, 1.0, 3.0]]),))


def test_check_of_the_second_order(engine):
    class Cube(engine.Gate):
        def forward(self, x):
            return x * x * x

        def backward(self, pull, x):
            return pull * 3.0 * engine.stop_gradient(x) * x  # right, but its derivative is half of what it should be

    engine.check_grads(Cube(), (2.0,))
    with pytest.raises(AssertionError, match=r"^rev of rev, order 2: .* is 6\.0, but differences give"):
        engine.check_grads(Cube(), (2.0,), order=2, modes="rev")
    with pytest.raises(AssertionError, match=r"^(fwd|rev) of (fwd|rev), order 2"):
        engine.check_grads(Cube(), (2.0,), order=2)


def test_check_tolerances(engine):
    gate = wrong_square(engine, forward_too=True)
    engine.check_grads(gate, (2.0,), rtol=0.02)
    engine.check_grads(gate, (2.0,), atol=0.1, rtol=0.0)
    with pytest.raises(AssertionError):
        engine.check_grads(gate, (2.0,), rtol=0.005)


def test_check_of_float32_is_less_strict(engine):
    x = np.array([0.1, 0.7, 3.0], np.float32)
    engine.check_grads(lambda a: (engine.exp(a) * a).sum(), (x,), order=2)
    with pytest.raises(AssertionError):
        engine.check_grads(lambda a: (engine.stop_gradient(a) * a).sum(), (x,))


def test_check_where_both_are_nan(engine):
    engine.check_grads(engine.log, (-1.0,))


def test_check_refuses_nonsense(engine):
    for order in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="order must be an integer of at least 1"):
            engine.check_grads(engine.exp, (1.0,), order=order)
    for modes in ((), "both", ("fwd", "back")):
        with pytest.raises(ValueError, match='modes must be "fwd", "rev" or both'):
            engine.check_grads(engine.exp, (1.0,), modes=modes)
