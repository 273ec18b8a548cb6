"""Calls of compiled functions that are disturbed while they run: by other calls, by hooks, by their users."""

import gc
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp


class Disturbing(Fraction):
    """A number that runs code of the test when it is read."""

    def __float__(self):
        self.act()
        return 2.0


def disturbing(act):
    number = Disturbing(2)
    number.act = act
    return number


def test_a_path_that_is_not_kept_outlives_a_call_in_its_call():
    class Triple(fp.Gate):
        def forward(self, x):
            if again:
                again.pop()
                assert f(1.0) == 3.0
            return 3.0 * x

        def backward(self, pull, x):
            return 3.0 * pull

    triple, again = Triple(), []
    f = fp.compile(lambda x: triple(x) if x > 0 else triple(x) - x, max_paths=1)
    assert f(1.0) == 3.0
    with pytest.warns(RuntimeWarning, match="different paths"):
        assert f(-1.0) == -2.0
    again.append(1)
    assert f(-2.0) == -4.0
    assert again == []


@pytest.mark.parametrize(
    "change", [lambda a: setattr(a, "dtype", "i1"), lambda a: setattr(a, "shape", (10, 10, 2, 1, 1, 1))]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mapped", [False, True])
def test_an_array_that_a_later_argument_changes_is_read_as_it_was(mapped, change):
    if mapped:
        f = fp.compile(fp.vmap(lambda a, x: a * x, in_axes=(0, None)))
    else:
        f = fp.compile(lambda a, x: np.sum(a) * x)
    numbers = np.arange(200.0)
    f(numbers, 2.0)
    given = numbers.copy()
    found = f(given, disturbing(lambda: change(given)))
    assert_array_equal(found, numbers * 2.0 if mapped else numbers.sum() * 2.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_array_that_a_gate_changes_is_read_as_it_was():
    class Reshaping(fp.Gate):
        def forward(self, x):
            if known:
                given.shape = (3, 2, 2, 1, 1)
            return 2.0 * x

        def backward(self, pull, x):
            return 2.0 * pull

    gate, numbers, known = Reshaping(), np.arange(12.0), False
    f = fp.compile(fp.value_and_grad(lambda a: np.sum(fp.vmap(gate)(a))))
    for _ in range(20):
        given = numbers.copy()
        value, slopes = f(given)
        known = True
        assert value == 132.0
        assert_array_equal(slopes, np.full(12, 2.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("change", [lambda r: setattr(r, "dtype", ">f8"), lambda r: setattr(r, "strides", (0,))])
@pytest.mark.parametrize("slopes", [False, True])
def test_results_that_their_user_changed_are_not_written_again(slopes, change):
    if slopes:
        f = fp.compile(fp.grad(lambda a: np.sum(fp.vmap(lambda x: x * x)(a))))
    else:
        f = fp.compile(fp.vmap(lambda x: 2.0 * x))
    numbers = np.arange(5.0)
    for _ in range(4):
        result = f(numbers)
        change(result)
        del result
        result = f(numbers)
        assert result.dtype == np.dtype(float)
        assert_array_equal(result, 2.0 * numbers)


def test_a_leaf_that_a_later_path_captures_is_reached_at_once():
    w = fp.Unit(2.0)
    f = fp.compile(lambda x: 0.0 * x if x < 0 else w * x)
    assert f(-1.0) == 0.0
    (f(3.0) + w).backward()
    assert w.grad == 4.0


def test_a_leaf_on_a_path_that_is_not_kept_is_reached():
    w = fp.Unit(2.0)
    f = fp.compile(lambda x: x if x < 0 else w * x, max_paths=1)
    f(-1.0)
    with pytest.warns(RuntimeWarning, match="different paths"):
        total = sum(f(x) for x in (1.0, 2.0, 3.0))
    total.backward()
    assert w.grad == 6.0


def test_paths_are_found_from_each_other_whatever_comes():
    """From any path to any other, with a gate that raises where it is not meant to be."""

    class Root(fp.Gate):
        def forward(self, x):
            if x < 0.0:
                raise ValueError("a negative number")
            return x**0.5

        def backward(self, pull, x):
            return 0.5 * pull / x**0.5

    root = Root()

    def f(x, xs):
        total = xs[0] * 2.0 if x < 1.0 else xs[1] * 3.0
        if x < 2.0:
            return total * x
        if x < 3.0:
            total = total + root(x)
        return total * xs[0] if x < 4.0 else total - x

    points = [0.5, 1.5, 2.5, 3.5, 4.5, -0.5]
    order = np.random.default_rng(3).integers(len(points), size=300)
    for shaped in (list, tuple, np.array):
        for transform in (lambda f: f, fp.grad, fp.value_and_grad):
            compiled = fp.compile(transform(f))
            for i in order:
                args = points[i], shaped([float(i), 2.0])
                assert compiled(*args) == pytest.approx(transform(f)(*args), rel=1e-15)
            assert len(compiled.cache_info()) == 5


def test_a_path_that_is_forgotten_while_another_one_is_looked_for():
    compiled = None

    class Forgets(fp.Gate):
        def forward(self, x):
            if compiled is not None and x > 5.0:
                compiled.cache_clear()
                gc.collect()
            return x

        def backward(self, pull, x):
            return pull

    forgets = Forgets()
    compiled = fp.compile(lambda x: forgets(x) * 2.0 if x > 0.0 else forgets(x) * 3.0)
    for x in (1.0, -1.0, 1.0, 6.0, -6.0, 1.0, -1.0, 7.0, -1.0, 6.0, 1.0) * 3:
        assert compiled(x) == x * (2.0 if x > 0.0 else 3.0)
