"""First weights: their distributions, their fans, their dtypes, and where their random numbers come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastprop.nn import init

# name, the variance for fans (in, out), whether uniform
SPREADS = {
    "fan_in_uniform": (lambda i, o: 1.0 / (3.0 * i), True),
    "he_normal": (lambda i, o: 2.0 / i, False),
    "he_uniform": (lambda i, o: 2.0 / i, True),
    "glorot_normal": (lambda i, o: 2.0 / (i + o), False),
    "glorot_uniform": (lambda i, o: 2.0 / (i + o), True),
    "lecun_normal": (lambda i, o: 1.0 / i, False),
    "lecun_uniform": (lambda i, o: 1.0 / i, True),
}


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("shape, fans", [((400, 300), (300, 400)), ((40, 20, 5, 10), (1000, 2000))])
def test_spread(name, shape, fans):
    variance, flat = SPREADS[name]
    expected = variance(*fans)
    found = init.named(name)(shape, 0)
    assert found.shape == shape and found.dtype == np.float64
    assert_allclose(found.var(), expected, rtol=0.02)
    assert abs(found.mean()) < 5.0 * np.sqrt(expected / found.size)
    greatest = np.abs(found).max() / np.sqrt(expected)
    assert (0.99 < greatest / np.sqrt(3.0) <= 1.0) if flat else greatest > 3.5


@pytest.mark.parametrize("name", ["he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "orthogonal"])
def test_gain(name):
    function = init.named(name)
    one = function((6, 4), 3, gain=1.0)
    assert_allclose(function((6, 4), 3, gain=2.5), 2.5 * one, rtol=1e-14)


def test_uniform_normal_constant():
    flat = init.uniform((1000,), 0, low=2.0, high=3.0)
    assert 2.0 <= flat.min() < 2.01 and 2.99 < flat.max() < 3.0
    bell = init.normal((10000,), 0, mean=2.0, std=0.5)
    assert_allclose([bell.mean(), bell.std()], [2.0, 0.5], rtol=0.02)
    assert_array_equal(init.constant((2, 2), value=3.0), [[3.0, 3.0], [3.0, 3.0]])
    assert_array_equal(init.zeros((2,)), [0.0, 0.0])
    assert_array_equal(init.ones((2,)), [1.0, 1.0])


@pytest.mark.parametrize(
    "shape, rows",
    [((3, 5), True), ((5, 3), False), ((4, 4), True), ((1, 1), True), ((4, 2, 3, 3), True), ((20, 2, 3), False)],
)
def test_orthogonal(shape, rows):
    w = init.orthogonal(shape, 1).reshape(shape[0], -1)
    product = w @ w.T if rows else w.T @ w
    assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_of_one_number_has_either_sign():
    signs = {float(init.orthogonal((1, 1), seed)[0, 0]) for seed in range(20)}
    assert signs == {1.0, -1.0}


def test_the_sign_of_0_is_plus(monkeypatch):
    class Zeros(np.random.Generator):
        def normal(self, size):
            return np.zeros(size)

    w = init.orthogonal((2, 2), Zeros(np.random.PCG64(0)))
    assert_allclose(w @ w.T, np.eye(2), atol=1e-15)


@pytest.mark.parametrize("name", [*SPREADS, "orthogonal"])
def test_one_axis_has_no_fans(name):
    with pytest.raises(ValueError, match=r"\(out, in, …\)"):
        init.named(name)((5,), 0)


@pytest.mark.parametrize("name", [*SPREADS, "orthogonal", "zeros", "ones", "normal", "uniform"])
def test_fan_in_of_0_and_dtypes(name):
    function = init.named(name)
    assert function((3, 0), 0).shape == (3, 0)
    assert function((0, 3), 0).shape == (0, 3)
    assert function((2, 3), 0, np.float32).dtype == np.float32


@pytest.mark.parametrize("name", [*SPREADS, "orthogonal", "normal", "uniform"])
def test_where_random_numbers_come_from(name):
    function = init.named(name)
    assert_array_equal(function((3, 2), 5), function((3, 2), 5))
    assert np.any(function((3, 2)) != function((3, 2)))
    generator = np.random.default_rng(5)
    first, second = function((3, 2), generator), function((3, 2), generator)
    assert_array_equal(first, function((3, 2), 5))
    assert np.any(first != second)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    function((3, 2))
    assert_array_equal(np.random.get_state()[1], state)


def test_names():
    assert init.named("he_normal") is init.he_normal
    assert init.named(len) is len
    with pytest.raises(ValueError, match="expected one of fan_in_uniform, glorot_normal"):
        init.named("xavier")
