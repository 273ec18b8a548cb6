"""Gradients inside the bodies of maps and scans, through arrays that maps in these make: they are swept there, too."""

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.program import Gradient

RANDOM = np.random.default_rng(5)
WEIGHTS = [RANDOM.normal(size=(3, 4)), RANDOM.normal(size=3)]
EXAMPLES, TARGETS = RANDOM.normal(size=(3, 5, 4)), RANDOM.normal(size=(3, 5))


def answer(w, x):
    return fp.sum(fp.tanh(w[0] @ x) * w[1])


def answers(w, x):
    return fp.vmap(answer, in_axes=(None, 0))(w, x)


def errors(w, x, y):
    return fp.vmap(lambda x, y: (answer(w, x) - y) ** 2)(x, y)


def pulled_twice(w, x, y):
    """One trace, swept for several pulls: what one leaves is nothing to the next."""
    found, pull = fp.vjp(lambda w: answers(w, x), w)
    first, second = pull(y)[0], pull(found)[0]
    return [a + 2.0 * b for a, b in zip(first, second)], found


def pulled_by_numbers(w, x, y):
    """The same where the program sweeps: what the first pull leaves on what a map has made is nothing to the second."""
    found, pull = fp.vjp(lambda w: fp.sum(answers(w, x) * y), w)
    first, second = pull(1.0)[0], pull(fp.tanh(found))[0]
    return [a + 2.0 * b for a, b in zip(first, second)], found


def data_to_another(w, x, y):
    """What a map has made is data to a gradient inside, before it is pulled on by its own."""
    kept = []

    def total(w):
        kept.append(answers(w, x))
        return fp.sum(kept[-1] * y)

    found, pull = fp.vjp(total, w)
    others = fp.grad(lambda w: fp.sum(fp.vmap(lambda a: fp.tanh(a * w[1][0]))(kept[-1])))(w)
    return [a + b for a, b in zip(others, pull(1.0)[0])], found


def pulled_late(w, x, y):
    """An array is data to another gradient before it is pulled on."""
    found, pull = fp.vjp(lambda w: answers(w, x), w)
    others = fp.grad(lambda w: fp.sum(answers(w, x) * found) + fp.sum(fp.vmap(lambda a: a * w[1][0])(found)))(w)
    return [a + b for a, b in zip(others, pull(y)[0])], found


def through_two_maps(w, x, y):
    return fp.mean(fp.vmap(lambda a, y: fp.exp(-a * a) * y * w[1][1])(answers(w, x), y))


def stands_for(w, x, y):
    """A body returns what stands for an array that a map has made."""
    hidden = fp.vmap(fp.tanh)(w[0])
    slope, same = fp.grad(lambda h: (fp.sum(fp.vmap(lambda r: fp.sum(r * r))(h)), h), has_aux=True)(hidden)
    return [slope, 0.1 * w[1]], same


def in_a_map(w, x, y):
    """Every row of what a map makes is an array to a map inside of another."""
    hidden = fp.vmap(lambda x: fp.tanh(w[0] @ x))(x)
    return fp.sum(fp.vmap(lambda h, y: fp.sum(fp.vmap(lambda a, b: a * b * y)(h, w[1])))(hidden, y))


LOSSES = {
    "mean": lambda w, x, y: fp.mean(errors(w, x, y)),
    "weighted": lambda w, x, y: fp.sum(errors(w, x, y) * fp.absolute(y)) / fp.sum(fp.absolute(y)),
    "by hand": lambda w, x, y: fp.mean((answers(w, x) - y) ** 2),
    "some": lambda w, x, y: fp.tanh(errors(w, x, y)[1] * errors(w, x, y)[-1]) + errors(w, x, y)[::2].sum(),
    "greatest": lambda w, x, y: fp.max(errors(w, x, y)),
    "none of it": lambda w, x, y: fp.sum(errors(w, x, y) * 0.0) + w[1][0],
    "two maps": through_two_maps,
    "a map in a map": in_a_map,
    "joined": lambda w, x, y: fp.logsumexp(fp.concatenate([answers(w, x), fp.reshape(w[0], -1)])),
    "sorted": lambda w, x, y: fp.sum(fp.sort(errors(w, x, y))[:2]),
}  # fmt: skip
STEPS = {
    **{name: (lambda w, x, y, loss=loss: (fp.grad(loss)(w, x, y), loss(w, x, y))) for name, loss in LOSSES.items()},
    "value": lambda w, x, y: fp.value_and_grad(LOSSES["mean"])(w, x, y)[::-1],
    "what it made": lambda w, x, y: fp.grad(lambda w: (fp.mean(answers(w, x) * y), answers(w, x)), has_aux=True)(w),
    "all that it made": lambda w, x, y: (fp.grad(LOSSES["mean"])(w, x, y), errors(w, x, y)),
    "pulled twice": pulled_twice,
    "pulled by numbers": pulled_by_numbers,
    "data to another": data_to_another,
    "pulled late": pulled_late,
    "what it stands for": stands_for,
    "itself": lambda w, x, y: ([fp.vjp(lambda h: h, fp.vmap(fp.tanh)(w[0]))[0], 0.1 * w[1]], w[1]),
    "of the examples": lambda w, x, y: (
        [w[0] - 0.1 * fp.sum(fp.grad(LOSSES["mean"], 1)(w, x, y)), w[1]], fp.grad(LOSSES["by hand"], 2)(w, x, y),
    ),
    "twice": lambda w, x, y: (fp.grad(lambda w: fp.sum(fp.grad(LOSSES["mean"])(w, x, y)[1] ** 2))(w), 0.0),
}  # fmt: skip


def moved(w, slopes):
    return [a - 0.1 * b for a, b in zip(w, slopes)]


def scanned(step):
    """Steps of a training whose gradients are computed inside."""

    def one(w, example):
        slopes, found = step(w, *example)
        return moved(w, slopes), found

    return lambda w, x, y: fp.scan(one, w, (x, y))


def mapped(step):
    return lambda w, x, y: fp.vmap(step, in_axes=(None, 0, 0))(w, x, y)


def mapped_over_weights(step):
    """Several models at once."""
    return lambda w, x, y: fp.vmap(step, in_axes=(0, None, None))([fp.stack([a, 2.0 * a]) for a in w], x[0], y[0])


def scanned_in_lanes(step):
    run = scanned(step)
    return lambda w, x, y: fp.vmap(lambda s: run(moved(w, [s * a for a in w]), x, y))(np.linspace(0.0, 1.0, 35))


def mapped_in_steps(step):
    def one(w, shift):
        slopes, _ = fp.vmap(lambda x, y: step(w, x, y))(EXAMPLES + shift, TARGETS)
        return moved(w, [fp.mean(a, 0) for a in slopes]), shift

    return lambda w, x, y: fp.scan(one, w, np.array([0.0, 0.5]))


PLACES = [scanned, mapped, mapped_over_weights, scanned_in_lanes, mapped_in_steps]


def numbers_of(tree):
    if isinstance(tree, (list, tuple)):
        return np.concatenate([numbers_of(part) for part in tree]) if tree else np.zeros(0)
    return np.ravel(np.asarray(fp.stop_gradient(tree), np.float64))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", STEPS)
def test_what_is_swept_in_lanes_is_what_it_is_eagerly(name, place):
    f = place(STEPS[name])
    with fp.eager():
        expected = numbers_of(f(WEIGHTS, EXAMPLES, TARGETS))
    for dtype, digits in (("float64", 1e-11), ("float32", 2e-4)):
        compiled = fp.compile(f, dtype=dtype)
        given = [w.astype(dtype) for w in WEIGHTS], EXAMPLES.astype(dtype), TARGETS.astype(dtype)
        for _ in range(2):
            np.testing.assert_allclose(numbers_of(compiled(*given)), expected, rtol=digits, atol=digits)


# what is differentiated twice; pulls that are arrays, or on arrays; arrays that maps in maps read
GATE_BY_GATE = ("twice", "pulled twice", "a map in a map", "itself")


def gradients_in_bodies(draft):
    """How many gradients are swept in the bodies of a draft's regions, and in those of theirs."""
    plans = [leaf.plan for region in draft.payload.values() if hasattr(region, "body") for leaf in region.body.leaves]
    here = [sum(isinstance(region, Gradient) for region in plan.draft.payload.values()) for plan in plans]
    return sum(here) + sum(gradients_in_bodies(plan.draft) for plan in plans)


@pytest.mark.parametrize("place", [scanned, mapped, mapped_in_steps])
@pytest.mark.parametrize("name", [name for name in STEPS if name not in GATE_BY_GATE])
def test_no_gate_of_a_sweep_is_recorded_in_a_body(name, place):
    compiled = fp.compile(place(STEPS[name]))
    compiled(WEIGHTS, EXAMPLES, TARGETS)
    (circuit,) = compiled.circuits()
    assert gradients_in_bodies(circuit._plan.draft) >= 1


def of_constant(w, s, x):
    return fp.sum(fp.tanh(w * x) * s)


def deciding(w, s, x):
    return of_constant(w, s, x) if x[0] > 0.0 else s * x[1] * w[0]


@pytest.mark.parametrize("f", [of_constant, deciding])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("place", ["alone", "in a map", "in a scan"])
def test_gradients_by_constants_that_are_the_same_in_all_lanes(f, place, dtype):
    w, s = WEIGHTS[0][0].astype(dtype), 0.7
    blocks = np.linspace(-1.0, 1.0, 4 * 6 * 4).reshape(4, 6, 4).astype(dtype)
    blocks[:, ::2, 0] *= -1.0

    def gradients(xs, u=2.0):
        mixed = fp.stack([w[0], u, w[2], 3.0])
        both = fp.vmap(fp.value_and_grad(f, (0, 1)), in_axes=(None, None, 0))
        return [both(values, s, xs) for values in (w, mixed)]

    called = {
        "alone": fp.compile(lambda blocks, u: [gradients(xs, u) for xs in blocks]),
        "in a map": fp.compile(fp.vmap(gradients, in_axes=(0, None))),
        "in a scan": fp.compile(lambda blocks, u: fp.scan(lambda u, xs: (u, gradients(xs, u)), u, blocks)[1]),
    }[place]
    by_lane = fp.value_and_grad(f, (0, 1))
    for u in (2.0, -1.0):
        found = called(blocks, u)
        for k, values in enumerate((w, np.array([w[0], u, w[2], 3.0], dtype))):
            for i, j in np.ndindex(4, 6):
                value, (on_w, on_s) = by_lane(values.astype(float), s, blocks[i, j].astype(float))
                there = found[i][k] if place == "alone" else found[k]
                at = j if place == "alone" else (i, j)
                tolerance = 1e-13 if dtype == "float64" else 1e-5
                np.testing.assert_allclose(there[0][at], value, tolerance, tolerance)
                np.testing.assert_allclose(there[1][0][at], on_w, tolerance, tolerance)
                np.testing.assert_allclose(there[1][1][at], on_s, tolerance, tolerance)
