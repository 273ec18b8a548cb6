"""fp.random: numbers that a key, the lanes and a place decide, the same on every front, and evenly spread."""

import math

import numpy as np
import pytest
from scipy import stats

import fastprop as fp
from fastprop import gates, reference
from fastprop.engine import kernels
from fastprop.gates import values

MANY = 100_000


# The integers ---------------------------------------------------------------------------------------------------------


def test_mixing_is_splitmix64s():
    golden = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [values._mixed(1234567 + k * golden) for k in range(1, 5)] == published


def test_integers_are_the_same_on_all_fronts():
    generator = np.random.default_rng(1)
    keys = generator.integers(0, 2**53, 300).astype(float)
    counters = generator.integers(-(2**53), 2**53 + 1, 300).astype(float)
    keys[:6] = [0.0, 2.0**53 - 1.0, 2.0**53, 0.5, -1.0, math.nan]
    counters[4:8] = [0.0, 1.0, 2.0**53, 1.5]
    expected = [values.random_integer(*pair) for pair in zip(keys.tolist(), counters.tolist())]
    opcode = kernels.opcode_of["random_integer"]
    compiled = [kernels.scalar(opcode, pair)[0] for pair in zip(keys.tolist(), counters.tolist())]
    np.testing.assert_array_equal(compiled, expected)
    np.testing.assert_array_equal(gates.random_integer(keys, counters), expected)
    for engine in (fp, reference):
        np.testing.assert_array_equal(engine.random_integer(engine.Array(keys), counters).value, expected)
    for mapped in (fp.vmap(fp.random_integer), fp.compile(fp.vmap(fp.random_integer))):
        np.testing.assert_array_equal(mapped(keys, counters), expected)


def test_integers_have_no_slope():
    step = fp.value_and_grad(lambda x: fp.random_integer(7.0, 3.0 + 0.0 * x) * x)
    assert step(2.0) == (2.0 * gates.random_integer(7.0, 3.0), gates.random_integer(7.0, 3.0))


# Their distribution ---------------------------------------------------------------------------------------------------


def check_even(numbers):
    """Kolmogorov and Smirnov's test, and that of 256 bins, at one in ten thousand."""
    assert np.all((numbers >= 0.0) & (numbers < 1.0))
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4
    assert stats.chisquare(np.bincount((numbers * 256.0).astype(int), minlength=256)).pvalue > 1e-4
    fine = (numbers * 2.0**53).astype(np.int64) % 256  # the last bits are as even as the first
    assert stats.chisquare(np.bincount(fine, minlength=256)).pvalue > 1e-4


@pytest.mark.parametrize("key", [0, 1, 2**53 - 1])
def test_numbers_are_even(key):
    check_even(fp.random.uniform(key, MANY))


def test_lanes_and_keys_are_even():
    check_even(fp.vmap(lambda x: fp.random.uniform(3) + 0.0 * x)(np.zeros(MANY)))
    check_even(fp.vmap(lambda key: fp.random.uniform(key))(np.arange(MANY)))
    check_even(np.array([fp.random.uniform(fp.random.fold_in(3, step)) for step in range(20_000)]))


def test_neighbours_are_not_correlated():
    rows = {
        "keys": [fp.random.uniform(key, MANY) for key in range(4)],
        "steps": [fp.random.uniform(fp.random.fold_in(5, step), MANY) for step in range(4)],
        "lanes": list(fp.vmap(lambda x: fp.random.uniform(5, 20_000) + 0.0 * x)(np.zeros(4))),
    }
    numbers = fp.random.uniform(9, MANY)
    rows["places"] = [numbers[:-1], numbers[1:]]
    rows["a key and its steps"] = [numbers[:2000], fp.random.split(9, 2000) * 2.0**-53]
    for name, row in rows.items():
        for i, j in np.argwhere(np.tri(len(row), k=-1)):
            assert abs(np.corrcoef(row[i], row[j])[0, 1]) < 4.5 / math.sqrt(len(row[i])), name


def test_normal_numbers_are_normal():
    numbers = fp.random.normal(11, MANY)
    assert stats.kstest(numbers, "norm").pvalue > 1e-4
    assert abs(np.mean(numbers)) < 0.015 and abs(np.var(numbers) - 1.0) < 0.02
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015
    single = fp.compile(fp.vmap(lambda x: fp.random.normal(2) * x), dtype="float32")(np.ones(MANY, np.float32))
    assert np.all(np.isfinite(single)) and stats.kstest(single, "norm").pvalue > 1e-4


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_bernoulli_has_its_share(p):
    found = fp.random.bernoulli(4, p, MANY)
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert abs(np.mean(found) - p) <= 4.5 * math.sqrt(p * (1.0 - p) / MANY)


def test_float32_stays_below_one():
    counts = np.arange(2**20)

    @fp.vmap
    def body(count):
        return fp.random.uniform(0) + 0.0 * count

    single = fp.compile(body, dtype="float32")(counts.astype(np.float32))
    assert single.dtype == np.float32 and single.max() < 1.0 and single.min() >= 0.0
    assert stats.kstest(single, "uniform").pvalue > 1e-4
    key = 10746629 * 2**10  # float32 holds it
    assert 1.0 > fp.random.uniform(key) > 1.0 - 2.0**-25  # which float32 rounds to 1
    draw = fp.compile(lambda key: fp.random.uniform(key), dtype="float32")
    assert np.float32(fp.random.uniform(key)) == 1.0 and draw(float(key)) == 0.0


# The same numbers on all fronts ---------------------------------------------------------------------------------------


def noisy(x, key):
    """A body that draws: one number, then several, then in a branch."""
    found = x * fp.random.uniform(key) + fp.sum(fp.random.uniform(fp.random.fold_in(key, 1), 3))
    return found + fp.random.uniform(fp.random.fold_in(key, 2)) if x > 0.0 else found


def noisy_by_hand(x, key, lane=None):
    draw = fp.random.uniform

    def in_lane(key):
        return key if lane is None else fp.random.fold_in(key, lane)

    found = x * draw(in_lane(key)) + np.sum(draw(in_lane(fp.random.fold_in(key, 1)), 3))
    return found + draw(in_lane(fp.random.fold_in(key, 2))) if x > 0.0 else found


def test_one_point_on_all_fronts():
    for x in (2.0, -2.0):
        expected = noisy_by_hand(x, 17)
        assert noisy(x, 17) == pytest.approx(expected, rel=1e-15)
        assert fp.compile(noisy)(x, 17) == pytest.approx(expected, rel=1e-15)
        assert fp.trace(noisy, x, 17.0)(x, 17.0) == pytest.approx(expected, rel=1e-15)
        for engine in (fp, reference):
            assert noisy(engine.Unit(x), engine.Unit(17)).value == pytest.approx(expected, rel=1e-15)
            assert noisy(engine.Unit(x), 17).value == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("lanes", [1, 7, 1000])
def test_lanes_on_all_fronts(lanes):
    x = np.random.default_rng(0).normal(size=lanes)
    expected = [noisy_by_hand(each, 17, lane) for lane, each in enumerate(x)]
    mapped = fp.vmap(lambda x: noisy(x, 17))
    compiled = fp.compile(mapped)
    given = fp.vmap(noisy, in_axes=(0, None))
    with fp.eager():
        eager = mapped(x)
    for found in (mapped(x), eager, compiled(x), compiled(x), given(x, 17), fp.compile(given)(x, 17)):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_allclose(mapped(fp.Array(x)).value, expected, rtol=1e-14)
    np.testing.assert_allclose(fp.compile(lambda x: fp.vmap(lambda x: noisy(x, 17))(x))(x), expected, rtol=1e-14)


def test_a_key_per_lane():
    keys = fp.random.split(3, 50)
    expected = [fp.random.uniform(fp.random.fold_in(key, lane)) for lane, key in enumerate(keys.tolist())]
    mapped = fp.vmap(lambda key: fp.random.uniform(key))
    for found in (mapped(keys), fp.compile(mapped)(keys), mapped(keys.astype(float))):
        np.testing.assert_array_equal(found, expected)


def test_gradients_know_the_same_numbers():
    x = np.random.default_rng(0).normal(size=40)
    lanes = range(len(x))
    drop = np.array([fp.random.bernoulli(fp.random.fold_in(5, lane), 0.5) for lane in lanes])
    noise = np.array([fp.random.normal(fp.random.fold_in(6, lane)) for lane in lanes])

    def body(x):
        return fp.square(x * fp.random.bernoulli(5) + fp.random.normal(6))

    loss = fp.vmap(body, reduce="sum")
    expected = np.sum((x * drop + noise) ** 2), 2.0 * (x * drop + noise) * drop
    for step in (fp.value_and_grad(loss), fp.compile(fp.value_and_grad(loss))):
        value, gradient = step(x)
        assert value == pytest.approx(expected[0], rel=1e-13)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-12)
    in_lanes = fp.vmap(fp.grad(body))
    for each in (in_lanes, fp.compile(in_lanes), fp.compile(lambda x: 1.0 * in_lanes(x))):
        np.testing.assert_allclose(each(x), expected[1], rtol=1e-12)
    second = fp.compile(fp.grad(lambda x: fp.sum(fp.grad(loss)(x))))
    np.testing.assert_allclose(second(x), 2.0 * drop, rtol=1e-12)


def test_nested_lanes_fold_each_number():
    def outer(row):
        return fp.vmap(lambda x: x * fp.random.uniform(8))(row)

    x = np.random.default_rng(0).normal(size=(3, 4))
    numbers = [[fp.random.uniform(fp.random.fold_in(fp.random.fold_in(8, i), j)) for j in range(4)] for i in range(3)]
    with fp.eager():
        eager = fp.vmap(outer)(x)
    for found in (fp.vmap(outer)(x), eager, fp.compile(fp.vmap(outer))(x)):
        np.testing.assert_array_equal(found, x * numbers)
    loss = fp.compile(fp.grad(lambda x: fp.sum(fp.square(fp.vmap(outer)(x)))))
    np.testing.assert_allclose(loss(x), 2.0 * x * np.square(numbers), rtol=1e-13)
    np.testing.assert_allclose(fp.grad(lambda x: fp.sum(fp.square(fp.vmap(outer)(x))))(x), loss(x), rtol=1e-13)


def test_numbers_first_asked_for_on_a_later_path():
    compiled = fp.compile(fp.vmap(lambda x: x + fp.random.uniform(1) if x > 0.0 else x))
    assert compiled(np.array([-1.0, -2.0])).tolist() == [-1.0, -2.0]
    late = [2.0 + fp.random.uniform(fp.random.fold_in(1, 0)), -1.0]
    for _ in range(4):
        assert compiled(np.array([2.0, -1.0])).tolist() == late
    inside = fp.compile(lambda x: fp.vmap(lambda x: x + fp.random.uniform(1) if x > 0.0 else x)(x))
    for _ in range(3):
        assert inside(np.array([-1.0, -2.0])).tolist() == [-1.0, -2.0]
        assert inside(np.array([2.0, -1.0])).tolist() == late


def test_threads_do_not_matter():
    x = np.random.default_rng(0).normal(size=20_000)
    mapped = fp.compile(fp.vmap(lambda x: x * fp.random.normal(5) + fp.random.uniform(6)))
    before, found = fp.get_num_threads(), []
    try:
        for threads in (1, 2):
            fp.set_num_threads(threads)
            found.append(mapped(x))
    finally:
        fp.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_a_step_is_an_input():
    @fp.compile
    def step(x, count):
        return x * fp.random.uniform(fp.random.fold_in(4, count))

    for count in (0, 1, 17):
        assert step(2.0, count) == 2.0 * fp.random.uniform(fp.random.fold_in(4, count))
    assert len(step.cache_info()) == 1


def test_keys_of_numpys_integers():
    draw = fp.compile(lambda key: fp.random.uniform(fp.random.fold_in(key, 3)))
    for key in (np.int64(5), np.int32(6), np.int64(2**53 - 1)):
        assert draw(key) == fp.random.uniform(fp.random.fold_in(key, 3))


def test_circuits_in_batches_take_a_key_per_lane():
    circuit = fp.trace(lambda key, x: x * fp.random.uniform(key), 3, 2.0)
    keys, x = fp.random.split(1, 100), np.linspace(1.0, 2.0, 100)
    expected = x * [fp.random.uniform(key) for key in keys]
    np.testing.assert_array_equal(circuit.batch(keys.astype(float), x), expected)
    total = circuit.batch(keys.astype(float), x, reduce="sum")
    assert total == pytest.approx(np.sum(expected), rel=1e-14)


@pytest.mark.parametrize("without", ["fold", "merge", "hoist", "combine", "schedule"])
def test_passes_left_out(without):
    x = np.linspace(-1.0, 1.0, 9)
    mapped = fp.vmap(lambda x: noisy(x, 3))
    kept = [name for name in fp.circuits.pipeline.PASSES if name != without]
    np.testing.assert_allclose(fp.compile(mapped, passes=kept)(x), mapped(x), rtol=1e-14)


def test_ends_and_shapes():
    found = fp.random.uniform(2, (1000, 3), minval=np.array([0.0, -1.0, 5.0]), maxval=6.0)
    assert np.all((found >= [0.0, -1.0, 5.0]) & (found < 6.0)) and found[:, 1].min() < -0.9
    assert fp.random.uniform(2, ()) == fp.random.uniform(2, 1)[0] == fp.random.uniform(2, (1, 1))[0, 0]
    assert fp.random.uniform(2, (0, 3)).shape == (0, 3)
    assert fp.random.bernoulli(2, np.full((2, 3), 0.5)).shape == (2, 3)
    assert type(fp.random.uniform(2)) is type(fp.random.normal(2)) is type(fp.random.bernoulli(2)) is float
    assert fp.grad(lambda high: fp.random.uniform(2, maxval=high))(3.0) == fp.random.uniform(2)
    assert isinstance(fp.random.uniform(fp.Unit(2), 3), fp.Array)
    assert isinstance(reference.Unit(2), reference.Unit) and fp.random.normal(reference.Unit(2), 3).shape == (3,)
    assert fp.random.split(5, 3).tolist() == [fp.random.fold_in(5, k) for k in range(3)]
    assert fp.random.key(np.int64(5)) == 5


def test_a_number_that_is_no_key_gives_nan():
    draw = fp.compile(lambda key: fp.random.uniform(key))
    assert draw(5.0) == fp.random.uniform(5)
    assert all(math.isnan(draw(key)) for key in NO_KEYS)


NO_KEYS = (0.5, -1.0, 2.0**54, 2.0**62, math.nan, math.inf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "draw",
    [
        lambda key: fp.random.uniform(key, 3),
        lambda key: fp.random.normal(key, 3),
        lambda key: fp.random.bernoulli(key, 0.9, 3),
        lambda key: fp.random.bernoulli(key, 1.0),
        lambda key: fp.random.split(key, 3),
    ],
)
def test_nothing_is_drawn_with_what_is_no_key(draw, dtype):
    keys = np.array([*NO_KEYS, 5.0], dtype)
    for found in (fp.compile(fp.vmap(draw))(keys), fp.vmap(draw)(keys)):
        assert np.all(np.isnan(found[:-1]))
        assert np.all(np.isfinite(found[-1]))
    assert np.all(np.isnan(fp.compile(draw)(dtype(0.5))))


def test_what_is_no_probability_gives_nan():
    chances = np.array([-0.1, 1.5, math.nan, math.inf, 0.0, 1.0, -0.0])
    draw = fp.compile(fp.vmap(lambda p: fp.random.bernoulli(3, p)))
    np.testing.assert_array_equal(draw(chances), [math.nan] * 4 + [0.0, 1.0, 0.0])
    found = fp.compile(lambda p: fp.random.bernoulli(3, p))(chances[3:])
    np.testing.assert_array_equal(found, [math.nan, 0.0, 1.0, 0.0])
    assert math.isnan(fp.random.bernoulli(3, fp.Unit(1.5)))
    assert math.isnan(fp.random.bernoulli(fp.Unit(0.5), 0.5))


# Hostile inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [fp.random.uniform, fp.random.normal, fp.random.bernoulli, fp.random.split])
@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (-1, ValueError, "key is -1; expected an integer from 0"),
        (2**53, ValueError, "key is 9007199254740992; expected an integer from 0"),
        (0.5, ValueError, "key is 0.5"),
        (math.nan, ValueError, "key is nan"),
        (math.inf, ValueError, "key is inf"),
        (True, TypeError, "key is a bool"),
        (np.True_, TypeError, "key is a bool"),
        (None, TypeError, "key is None; expected an integer, such as .*: a Module that draws says draws = True"),
        ("7", TypeError, "key is .*str"),
        (1j, TypeError, "key is .*complex"),
        ([1, 2], TypeError, "key is .*list"),
        (np.arange(2), ValueError, r"key has shape \(2,\)"),
        (fp.Array([1.0, 2.0]), ValueError, r"key has shape \(2,\)"),
    ],
)
def test_what_is_no_key(draw, key, error, text):
    with pytest.raises(error, match=f"{draw.__name__}: {text}"):
        draw(key)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fp.random.key(-5), ValueError, "key: seed is -5"),
        (lambda: fp.random.fold_in(1, -1), ValueError, "fold_in: data is -1"),
        (lambda: fp.random.fold_in(1, 0.5), ValueError, "fold_in: data is 0.5"),
        (lambda: fp.random.uniform(1, -1), ValueError, "uniform: shape is -1"),
        (lambda: fp.random.uniform(1, (2, -1)), ValueError, r"uniform: shape is \(2, -1\)"),
        (lambda: fp.random.uniform(1, 2.0), TypeError, "uniform: shape is 2.0"),
        (lambda: fp.random.uniform(1, "ab"), TypeError, "uniform: shape is 'ab'"),
        (lambda: fp.random.normal(1, True), TypeError, "normal: shape is True"),
        (lambda: fp.random.normal(1, None), TypeError, "normal: shape is None"),
        (lambda: fp.random.uniform(1, 3, np.zeros(2)), ValueError, r"uniform: minval has shape \(2,\)"),
        (lambda: fp.random.uniform(1, 3, 0.0, "x"), TypeError, "maxval"),
        (lambda: fp.random.bernoulli(1, -0.1), ValueError, "bernoulli: p is -0.1"),
        (lambda: fp.random.bernoulli(1, 1.5), ValueError, "bernoulli: p is 1.5"),
        (lambda: fp.random.bernoulli(1, math.nan), ValueError, "bernoulli: p is nan"),
        (lambda: fp.random.bernoulli(1, np.array([0.5, 2.0])), ValueError, "bernoulli: p is"),
        (lambda: fp.random.bernoulli(1, "x"), TypeError, "bernoulli: p is"),
        (lambda: fp.random.bernoulli(1, np.full(2, 0.5), 3), ValueError, r"bernoulli: p has shape \(2,\)"),
        (lambda: fp.random.split(1, -2), ValueError, "split: num is -2"),
        (lambda: fp.random.split(1, (2, 3)), TypeError, "split: num is"),
    ],
)
def test_what_can_not_be_drawn(call, error, text):
    with pytest.raises(error, match=text):
        call()
