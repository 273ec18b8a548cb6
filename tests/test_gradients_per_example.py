"""Gradients of single examples, by a map of a gradient: what is summed over the examples is swept at once."""

import gc
import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.circuits.pipeline import Plan
from fastprop.circuits.recorded_map import RecordedMap

RANDOM = np.random.default_rng(3)
SIZES = (5, 6, 4)
P = {
    "layers": [(RANDOM.normal(size=(b, a)), RANDOM.normal(size=b)) for a, b in itertools.pairwise(SIZES)],
    "scale": 0.7,
}
XS, YS = RANDOM.normal(size=(40, 5)), RANDOM.integers(0, 4, 40)


def example_loss(p, x, y):
    (w, b), (v, c) = p["layers"]
    return nn.cross_entropy(p["scale"] * (v @ fp.tanh(w @ x + b) + c), y)


def each(p, xs, ys):
    return fp.vmap(fp.grad(example_loss), in_axes=(None, 0, 0))(p, xs, ys)


def reduced(tree, how):
    return {
        "layers": [tuple(how(part, axis=0) for part in pair) for pair in tree["layers"]],
        "scale": how(tree["scale"]),
    }


def flat(tree):
    parts = [part for pair in tree["layers"] for part in pair]
    return np.concatenate([*map(np.ravel, parts), np.ravel(tree["scale"])])


def cast(p, dtype):
    return {"layers": [(w.astype(dtype), b.astype(dtype)) for w, b in p["layers"]], "scale": p["scale"]}


def plans():
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is Plan]


def keeps_examples(call):
    """Whether a map that the call needs makes arrays of something of every example."""
    before = {id(plan) for plan in plans()}
    call()
    regions = [region for plan in plans() if id(plan) not in before for region in plan.draft.payload.values()]
    return any(isinstance(region, RecordedMap) and len(region.makes) for region in regions)


@pytest.mark.parametrize("examples", [1, 3, 8, 40])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("how", [fp.mean, fp.sum])
def test_sums_of_gradients(how, dtype, examples):
    p, xs, ys = cast(P, dtype), XS[:examples].astype(dtype), YS[:examples]
    compiled = fp.compile(lambda p, xs, ys: reduced(each(p, xs, ys), how))
    found = []
    one_by_one = fp.compile(each)
    assert keeps_examples(lambda: one_by_one(p, xs, ys))  # else this would say nothing
    assert not keeps_examples(lambda: found.append(compiled(p, xs, ys)))
    expected = [flat(fp.grad(example_loss)(P, x, int(y))) for x, y in zip(XS[:examples], ys)]
    expected = np.sum(expected, axis=0) / (examples if how is fp.mean else 1)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    assert found[0]["layers"][0][0].dtype == dtype
    for result in (*found, compiled(p, xs, ys)):
        assert_allclose(flat(result), expected, tolerance, tolerance)
    with fp.eager():
        assert_allclose(flat(found[0]), flat(reduced(each(p, xs, ys), how)), tolerance, tolerance)


def test_values_come_with_them():
    def step(p, xs, ys):
        values, gradients = fp.vmap(fp.value_and_grad(example_loss), in_axes=(None, 0, 0))(p, xs, ys)
        return fp.mean(values), reduced(gradients, fp.mean), fp.sum(values)

    compiled = fp.compile(step)
    value, gradient, total = compiled(P, XS, YS)
    expected = [fp.value_and_grad(example_loss)(P, x, int(y)) for x, y in zip(XS, YS)]
    assert_allclose(value, np.mean([value for value, _ in expected]), 1e-13)
    assert_allclose(total, np.sum([value for value, _ in expected]), 1e-13)
    assert_allclose(flat(gradient), np.mean([flat(gradient) for _, gradient in expected], axis=0), 1e-11, 1e-13)


def test_gradients_that_are_used_one_by_one_too():
    def sizes(p, xs, ys):
        gradients = each(p, xs, ys)
        squares = sum(
            fp.sum(part * part, axis=tuple(range(1, part.ndim))) for pair in gradients["layers"] for part in pair
        )
        return reduced(gradients, fp.mean), squares, gradients["scale"]

    mean, squares, scales = fp.compile(sizes)(P, XS, YS)
    expected = np.array([flat(fp.grad(example_loss)(P, x, int(y))) for x, y in zip(XS, YS)])
    assert_allclose(flat(mean), expected.mean(0), 1e-11, 1e-13)
    assert_allclose(squares, (expected[:, :-1] ** 2).sum(1), 1e-11)
    assert_allclose(scales, expected[:, -1], 1e-11)


def branching(w, v, x):
    """A loss that decides, of what is the same in all examples and of what is not."""
    y = w @ x
    return fp.sum(y * y * v) if y[0] > 0 else fp.sum(fp.sin(y)) * v[0]


@pytest.mark.parametrize("argnums", [0, (0, 1), (1, 0), 1])
def test_only_what_is_the_same_in_all_examples_is_summed_so(argnums):
    w, vs, xs = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(20, 3)), RANDOM.normal(size=(20, 4))

    def sums(w, vs, xs):
        found = fp.vmap(fp.grad(branching, argnums), in_axes=(None, 0, 0))(w, vs, xs)
        return [fp.sum(part, axis=0) for part in (found if isinstance(found, tuple) else (found,))]

    compiled = fp.compile(sums)
    for sign in (1.0, -1.0, 1.0):
        by_example = [fp.grad(branching, (0, 1))(w * sign, v, x) for v, x in zip(vs, xs)]
        expected = [np.sum([pair[k] for pair in by_example], axis=0) for k in (0, 1)]
        for k, part in zip(argnums if isinstance(argnums, tuple) else (argnums,), compiled(w * sign, vs, xs)):
            assert_allclose(part, expected[k], 1e-12, 1e-12)


def test_weights_that_are_computed_or_captured():
    leaf, w = fp.Array(RANDOM.normal(size=4)), RANDOM.normal(size=(3, 4))
    xs = RANDOM.normal(size=(30, 4))

    def loss(w, b, x):
        return fp.sum(fp.tanh(w @ x)) * fp.sum(b * leaf)

    def mean(w, xs):
        gradients = fp.vmap(fp.grad(loss, (0, 1)), in_axes=(None, None, 0))(w * 2.0, leaf, xs)
        return [fp.mean(part, axis=0) for part in gradients]

    by_example = [fp.grad(loss, (0, 1))(w * 2.0, leaf.value, x) for x in xs]
    compiled = fp.compile(mean)
    for _ in range(2):
        for k, part in enumerate(compiled(w, xs)):
            expected = np.mean([getattr(pair[k], "value", pair[k]) for pair in by_example], axis=0)
            assert_allclose(part.value, expected, 1e-12, 1e-13)


def test_what_is_differentiated_again():
    """A mean gradient within another derivative, and one that is used in another transform's body."""
    xs = RANDOM.normal(size=(9, 3))
    w = RANDOM.normal(size=3)

    def loss(w, x):
        return fp.tanh(w @ x) ** 2

    def mean(w, xs):
        return fp.mean(fp.vmap(fp.grad(loss), in_axes=(None, 0))(w, xs), axis=0)

    def moved(w, xs):
        return fp.mean(fp.vmap(loss, in_axes=(None, 0))(w - 0.1 * mean(w, xs), xs))

    def beside(w, xs):
        gradients = fp.vmap(fp.grad(loss), in_axes=(None, 0))(w, xs)
        return fp.grad(lambda v: fp.sum(v * v * fp.mean(gradients, axis=0)))(w)

    for f in (lambda w, xs: fp.grad(moved)(w, xs), beside, lambda w, xs: fp.jvp(lambda w: mean(w, xs), (w,), (w,))[1]):
        with fp.eager():
            expected = f(w, xs)
        assert_allclose(fp.compile(f)(w, xs), expected, 1e-12, 1e-13)
    assert_allclose(fp.compile(fp.grad(moved))(w, xs), fp.numerical_grad(lambda w: moved(w, xs), (w,))[0], 1e-6, 1e-9)


def test_in_scans_and_maps():
    w, batches = RANDOM.normal(size=4), RANDOM.normal(size=(6, 10, 4))

    def loss(w, x):
        return (w @ x - 1.0) ** 2

    def step(w, xs):
        gradient = fp.mean(fp.vmap(fp.grad(loss), in_axes=(None, 0))(w, xs), axis=0)
        return w - 0.1 * gradient, gradient[0]

    moved, firsts = fp.compile(lambda w, xs: fp.scan(step, w, xs))(w, batches)
    at, expected = w.copy(), []
    for xs in batches:
        slope = (2.0 * (xs @ at - 1.0)[:, None] * xs).mean(0)
        at, expected = at - 0.1 * slope, [*expected, slope[0]]
    assert_allclose(moved, at, 1e-12, 1e-12)
    assert_allclose(firsts, expected, 1e-12, 1e-12)
    gradients = fp.compile(fp.vmap(lambda xs: step(w, xs)[0]))(batches)
    assert_allclose(gradients, [step(w, xs)[0] for xs in batches], 1e-12, 1e-12)


def test_no_examples():
    compiled = fp.compile(lambda p, xs, ys: reduced(each(p, xs, ys), fp.sum))
    assert not flat(compiled(P, XS[:0], YS[:0])).any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pulls_of_exactly_0(dtype, every_instruction_set):
    """Of an example that pulls 0, nothing comes, whatever it holds."""
    w, xs = np.ones((4, 5), dtype), np.ones((20, 5), dtype)
    xs[3, 1], xs[4], xs[5, 0], w[2, 3] = math.nan, math.inf, -math.inf, 0.5

    def loss(w, x):
        return fp.sum(fp.relu(fp.where(x[0] == 1.0, 1.0, 0.0) * (w @ x)))

    mapped = fp.vmap(fp.grad(loss), in_axes=(None, 0))
    for _ in every_instruction_set:
        with fp.eager():
            expected = np.asarray(mapped(w, xs)).sum(0)
        assert_array_equal(fp.compile(lambda w, xs: fp.sum(mapped(w, xs), axis=0))(w, xs), expected)


# ------------------------------------------------------------------------------------ in what is differentiated again


def bent(w, x):
    return fp.sum(fp.tanh(x * w))


def three_maps(w, xs):
    """A map of a map of the square of a mean of gradients."""

    def task(x):
        return fp.vmap(fp.grad(bent), in_axes=(None, 0))(w, x).mean(axis=0) ** 2

    return fp.vmap(lambda s: s * fp.vmap(task, reduce="mean")(xs), reduce="sum")(np.array([1.0, 2.0]))


@pytest.mark.parametrize("uses", [1, 8, 9, 40])
def test_means_of_gradients_in_maps_are_differentiated_again(uses):
    xs = np.linspace(0.1, 1.0, 2 * uses).reshape(2, 1, uses)
    by_differences = fp.numerical_grad(lambda w: three_maps(w, xs), (0.7,))[0]
    for gradient in (
        fp.compile(lambda w: fp.grad(three_maps)(w, xs))(0.7),
        fp.compile(lambda w: fp.value_and_grad(three_maps)(w, xs))(0.7)[1],
        fp.compile(fp.grad(three_maps))(0.7, xs),
        fp.compile(lambda w: fp.jvp(lambda w: three_maps(w, xs), (w,), (1.0,))[1])(0.7),
        fp.grad(three_maps)(0.7, xs),
    ):
        assert_allclose(gradient, by_differences, rtol=1e-7)


@pytest.mark.parametrize("uses", [4, 9, 16])
def test_gradients_of_lanes_that_take_means_of_gradients(uses):
    w, z = np.array([0.3, -0.2]), RANDOM.normal(size=(3, 4, uses, 2))

    def lane(w, z):
        each = fp.vmap(fp.grad(lambda w, z: fp.sum(fp.tanh(z @ w))), in_axes=(None, 0))(w, z)
        return (each.mean(axis=0) ** 2).sum()

    expected = np.mean([fp.grad(lane)(w, part) for part in z], axis=0)
    mapped = fp.compile(lambda w: fp.vmap(fp.grad(lane), in_axes=(None, 0))(w, z).mean(axis=0))
    inside = fp.compile(lambda w: fp.grad(lambda w: fp.vmap(lane, in_axes=(None, 0), reduce="mean")(w, z))(w))
    for found in (mapped(w), inside(w)):
        assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
