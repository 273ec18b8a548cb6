"""Maps whose lanes are run one after the other: the same numbers and errors as side by side, on every front."""

import gc
import weakref

import numpy as np
import pytest

import fastprop as fp
from fastprop.circuits.recorded_map import RecordedMap
from fastprop.engine.trace import let_verify

RANDOM = np.random.default_rng(11)
WEIGHTS, INPUTS = RANDOM.normal(size=(6, 3, 4)), RANDOM.normal(size=(5, 4))
MATRICES = RANDOM.normal(size=(6, 3, 3)) + 3.0 * np.eye(3)


@pytest.fixture(autouse=True)
def everything_is_verified():
    before = let_verify(True)
    yield
    let_verify(before)


@pytest.fixture(params=["in turn", "side by side"])
def way(request, monkeypatch):
    """How lanes of maps with one path are run, whatever it costs."""
    turns = request.param == "in turn"
    monkeypatch.setattr(RecordedMap, "takes_turns", lambda region: turns and region.only_path() is not None)


def answers(w, xs):
    return fp.vmap(lambda x: fp.tanh(w @ x))(xs)


def loss(w, xs):
    return fp.mean(answers(w, xs) ** 2)


def both_axes(a):
    return fp.vmap(fp.vmap(lambda x: x * x, in_axes=1), in_axes=2, reduce="sum")(a)


def shared(w):
    """An array that is two leaves, and is read as a whole by maps inside, by each lane and by all."""
    one = lambda a, b, whole: fp.sum(a * b) + fp.vmap(lambda r: fp.sum(r * a), reduce="mean")(whole)  # noqa: E731
    return fp.vmap(one, in_axes=(0, 0, None))(w, w, w)


def kept(w, xs):
    """What maps inside make is returned, beside numbers and a sum of them."""
    return fp.vmap(lambda w: (answers(w, xs), {"sum": fp.sum(w), "row": w[0]}))(w)


def trained(w, xs):
    def step(w):
        value, slope = fp.value_and_grad(loss)(w, xs)
        return w - 0.1 * slope, value

    return fp.vmap(step)(w)


def recurrent(w, xs):
    def step(h, x):
        h = fp.tanh(w[0][:, :3] @ h + x[:3])
        return h, h[0]

    return fp.vmap(lambda w, x: fp.scan(lambda h, x: step(fp.tanh(w[:, :3] @ h), x), x[:3], xs))(w, INPUTS[[0, 1] * 3])


PROGRAMS = {
    "value": (lambda w, xs: fp.vmap(loss, in_axes=(0, None))(w, xs), (WEIGHTS, INPUTS)),
    "arrays": (lambda w, xs: fp.vmap(answers, in_axes=(0, None))(w, xs), (WEIGHTS, INPUTS)),
    "sum": (lambda w, xs: fp.vmap(loss, in_axes=(0, None), reduce="sum")(w, xs), (WEIGHTS, INPUTS)),
    "mean": (lambda w, xs: fp.vmap(loss, in_axes=(0, None), reduce="mean")(w, xs), (WEIGHTS, INPUTS)),
    "gradients": (lambda w, xs: fp.vmap(fp.grad(loss, (0, 1)), in_axes=(0, None))(w, xs), (WEIGHTS, INPUTS)),
    "other axes": (lambda w, xs: fp.vmap(loss, in_axes=(2, 1))(w, xs), (WEIGHTS.transpose(1, 2, 0), np.tile(
        INPUTS[:, None], (1, 6, 1)))),
    "axes inside": (both_axes, (RANDOM.normal(size=(2, 3, 4)),)),
    "shared": (shared, (WEIGHTS,)),
    "kept": (kept, (WEIGHTS, INPUTS)),
    "trained": (trained, (WEIGHTS, INPUTS)),
    "recurrent": (recurrent, (WEIGHTS, INPUTS)),
    "captured": (lambda w, c: fp.vmap(lambda w: fp.exp(loss(w, INPUTS) * c[0]) + w[0, 0] * c[1])(w), (
        WEIGHTS, [0.3, -2.0])),
    "one lane": (lambda w, xs: fp.vmap(loss, in_axes=(0, None))(w[:1], xs), (WEIGHTS, INPUTS)),
    "no lane": (lambda w, xs: fp.vmap(loss, in_axes=(0, None))(w[:0], xs), (WEIGHTS, INPUTS)),
    "three deep": (lambda w, xs: fp.vmap(lambda x: fp.vmap(loss, in_axes=(0, None))(w, xs * x[0]))(xs), (
        WEIGHTS[:2], INPUTS)),
    "in a scan": (lambda w, xs: fp.scan(lambda c, x: (c * fp.mean(fp.vmap(loss, in_axes=(0, None))(w, xs * x[1])), c),
                                        1.0, xs), (WEIGHTS, INPUTS)),
    "linear algebra": (lambda a, b: fp.vmap(lambda a: fp.vmap(lambda x: fp.solve(a, x))(b))(a), (
        MATRICES, INPUTS[:, :3])),
    "truth": (lambda w, xs: fp.vmap(lambda w: fp.where(w[0, 0] > 0.0, loss(w, xs), w[0, 0]))(w), (WEIGHTS, INPUTS)),
}  # fmt: skip


def numbers_of(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return np.concatenate([numbers_of(part) for part in tree]) if tree else np.zeros(0)
    return np.ravel(np.asarray(fp.stop_gradient(tree), np.float64))


def total(tree):
    """One number of all that a program gives."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return sum((total(part) * (k + 1.0) for k, part in enumerate(tree)), 0.0)
    return fp.sum(fp.tanh(tree) * 1.5)


def derived(f):
    """A program's derivatives: backward, forward, both, and with its numbers all at once."""
    whole = lambda *args: total(f(*args))  # noqa: E731
    yield f
    yield fp.value_and_grad(whole)
    yield fp.grad(whole, 1) if f.__code__.co_argcount > 1 else fp.grad(whole)
    yield lambda *args: fp.jvp(f, args, args)
    yield lambda *args: fp.jvp(fp.grad(whole), args, args)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_front_has_the_same_numbers(way, name):
    f, args = PROGRAMS[name]
    for derivative in derived(f):
        with fp.eager():
            expected = numbers_of(derivative(*args))
        np.testing.assert_allclose(numbers_of(fp.compile(derivative)(*args)), expected, rtol=1e-9, atol=1e-10)
    with fp.eager():
        expected = numbers_of(f(*args))
    single = fp.tree_map(lambda a: np.float32(a), args)
    np.testing.assert_allclose(numbers_of(fp.compile(f, dtype="float32")(*single)), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(numbers_of(f(*args)), expected, rtol=1e-9, atol=1e-10)


def bits_of(found):
    return np.asarray(found).tobytes()


def test_lanes_have_the_same_bits_however_many_there_are(way):
    f = fp.compile(lambda w, xs: fp.vmap(fp.grad(loss), in_axes=(0, None))(w, xs))
    every = f(WEIGHTS, INPUTS)
    for n in range(1, 7):
        assert bits_of(f(WEIGHTS[:n], INPUTS)) == bits_of(every[:n])


@pytest.mark.parametrize("gradients", [False, True])
def test_errors_name_the_lane(way, gradients):
    def picked(w, index):
        return fp.vmap(lambda x: fp.sum(x * w[index]))(INPUTS).sum()

    def picked_inside(w, index):
        return fp.vmap(lambda x, i: fp.sum(x * w[i]))(INPUTS, index).sum()

    def solved(a):
        return fp.vmap(lambda x: fp.sum(fp.solve(a, x[:3])))(INPUTS).sum()

    through = fp.grad if gradients else (lambda f: f)
    mapped = fp.compile(lambda w, i: fp.vmap(through(picked))(w, i))
    mapped(WEIGHTS, np.array([0, 1, 2, 0, 1, 2]))
    with pytest.raises(IndexError, match=r"lane (4|\(4, \d\))"):
        mapped(WEIGHTS, np.array([0, 1, 2, 0, 3, 2]))
    inside = fp.compile(lambda w, i: fp.vmap(through(picked_inside))(w, i))
    indices = np.zeros((6, 5), int)
    inside(WEIGHTS, indices)
    indices[3, 2] = 7
    with pytest.raises(IndexError, match=r"lane \(3, 2\)"):
        inside(WEIGHTS, indices)
    singular = MATRICES.copy()
    solve = fp.compile(lambda a: fp.vmap(through(solved))(a))
    expected = solve(singular)
    singular[2] = 0.0
    with pytest.raises(np.linalg.LinAlgError, match=r"lane (2|\(2, \d\))"):
        solve(singular)
    np.testing.assert_array_equal(solve(MATRICES), expected)  # nothing is left of the error


def test_steps_of_several_models_are_taken_in_turn():
    weights, xs = RANDOM.normal(size=(3, 32, 32)), RANDOM.normal(size=(16, 32))
    compiled = fp.compile(lambda w, xs: fp.vmap(fp.value_and_grad(loss), in_axes=(0, None))(w, xs))
    value, slopes = compiled(weights, xs)
    for k in range(3):
        expected = fp.value_and_grad(loss)(weights[k], xs)
        np.testing.assert_allclose(value[k], expected[0], rtol=1e-12)
        np.testing.assert_allclose(slopes[k], expected[1], rtol=1e-10, atol=1e-12)
    assert "3 lanes, one after the other" in compiled.circuits()[0].summary()


@pytest.mark.parametrize("f", [
    lambda w, xs: fp.vmap(lambda x: fp.vmap(lambda y: fp.sum(fp.tanh(w @ y)) * x)(xs))(xs[:, 0]),
    lambda w, xs: fp.vmap(lambda w: fp.vmap(lambda x: x * w[0])(xs[:, 0]))(w),
    lambda w, xs: fp.vmap(lambda w: fp.sum(w @ xs[0]))(w[None]),
])  # fmt: skip
def test_lanes_that_share_what_maps_inside_read_lie_side_by_side(f):
    compiled = fp.compile(f)
    compiled(RANDOM.normal(size=(32, 32)), RANDOM.normal(size=(16, 32)))
    assert "one after the other" not in compiled.circuits()[0].summary()


OVERLAPPING = {
    "one leaf twice": lambda w: fp.vmap(
        lambda a, b: fp.vmap(lambda p, q: fp.sum(p * p * q), in_axes=(0, 1), reduce="sum")(a, b), reduce="sum"
    )(w, w),
    "a leaf and all of it": lambda w: fp.vmap(
        lambda a, b: fp.vmap(lambda p, q: fp.sum(p * p * q), in_axes=(0, 1), reduce="sum")(a, b[0]), (0, None), "sum"
    )(w, w),
    "steps": lambda w: fp.scan(
        lambda c, x: (c + fp.vmap(lambda p, q: fp.sum(p * p * q), in_axes=(0, 1), reduce="sum")(x[0], x[1]), c),
        0.0, (w, w),
    )[0],
}  # fmt: skip


@pytest.mark.usefixtures("always_threads")
@pytest.mark.parametrize("name", OVERLAPPING)
def test_threads_add_to_an_array_that_is_two_of_the_body(way, name):
    w = RANDOM.normal(size=(2, 600, 600))
    slope = fp.compile(fp.grad(OVERLAPPING[name]))
    fp.set_num_threads(1)
    expected = slope(w)
    fp.set_num_threads(3)
    for _ in range(8):
        np.testing.assert_allclose(slope(w), expected, rtol=1e-12)


def test_arrays_of_a_call_are_let_go(way):
    for f in (
        lambda w, xs: fp.vmap(fp.grad(loss), in_axes=(0, None))(w, xs),
        lambda w, xs: fp.grad(lambda w: fp.vmap(loss, in_axes=(0, None), reduce="sum")(w, xs))(w),
        lambda w, xs: fp.scan(lambda c, w: (c, fp.grad(loss)(w, xs)), 0.0, w)[1],
    ):
        compiled = fp.compile(f)
        for _ in range(2):
            w, xs = WEIGHTS.copy(), INPUTS.copy()
            held = [weakref.ref(w), weakref.ref(xs), weakref.ref(compiled(w, xs))]
            del w, xs
            gc.collect()
        assert held[0]() is None and held[1]() is None
