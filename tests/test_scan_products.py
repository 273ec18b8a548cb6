"""Products of matrices in the steps of a scan, in lanes: results that are kept, gradients summed up together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastprop as fp

SIZE, WIDTH = 6, 5
Numbers = dict[str, np.ndarray]


def numbers(seed: int, lanes: int, steps: int) -> tuple[Numbers, np.ndarray]:
    draw = np.random.default_rng(seed)
    p = {"w": (SIZE, SIZE), "u": (SIZE, WIDTH), "b": (SIZE,), "h": (SIZE,)}
    return {name: 0.5 * draw.normal(size=shape) for name, shape in p.items()}, draw.normal(size=(lanes, steps, WIDTH))


def recurrence(p: Any, xs: Any, reverse: bool = False) -> Any:
    """Every state weighs, the late ones more."""
    weight = np.arange(1.0, xs.shape[0] + 1)

    def step(h: Any, given: Any) -> Any:
        x, t = given
        h = fp.tanh(p["w"] @ h + p["u"] @ x + p["b"])
        return h, fp.sum(h * h) * t

    h, ys = fp.scan(step, p["h"], (xs, weight), reverse=reverse)
    return fp.sum(h) + fp.sum(ys)


def by_hand(p: Numbers, xs: np.ndarray, reverse: bool = False) -> tuple[float, Numbers, np.ndarray]:
    """The sum over lanes, its gradients, and those of the inputs, through time."""
    lanes, steps, _ = xs.shape
    order = range(steps)[::-1] if reverse else range(steps)
    states, weights = [np.tile(p["h"], (lanes, 1))], [t + 1.0 for t in order]
    value = 0.0
    for t, weight in zip(order, weights):
        states.append(np.tanh(states[-1] @ p["w"].T + xs[:, t] @ p["u"].T + p["b"]))
        value += weight * float(np.sum(states[-1] ** 2))
    value += float(np.sum(states[-1]))
    gradient, on_x = {name: np.zeros_like(x) for name, x in p.items()}, np.zeros_like(xs)
    pull = np.ones_like(states[-1])
    for k, t in reversed(list(enumerate(order))):
        inner = (pull + 2.0 * weights[k] * states[k + 1]) * (1.0 - states[k + 1] ** 2)
        gradient["w"] += inner.T @ states[k]
        gradient["u"] += inner.T @ xs[:, t]
        gradient["b"] += inner.sum(0)
        on_x[:, t], pull = inner @ p["u"], inner @ p["w"]
    gradient["h"] = pull.sum(0)
    return value, gradient, on_x


# Of 32 lanes, eight steps are summed up together; of 300, each by itself.
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("lanes", "steps"), [(3, 1), (40, 2), (32, 7), (32, 8), (33, 9), (5, 16), (70, 21), (300, 3)])
def test_gradients_through_time_are_those_by_hand(lanes: int, steps: int, reverse: bool) -> None:
    p, xs = numbers(steps, lanes, steps)
    total = fp.vmap(lambda p, x: recurrence(p, x, reverse), in_axes=(None, 0), reduce="sum")
    found, slopes = fp.compile(fp.value_and_grad(total))(p, xs)
    value, gradient, on_x = by_hand(p, xs, reverse)
    assert float(found) == pytest.approx(value, rel=1e-13)
    for name, expected in gradient.items():
        np.testing.assert_allclose(np.asarray(slopes[name]), expected, rtol=1e-10, atol=1e-11, err_msg=name)
    on_both = fp.compile(fp.grad(total, argnums=(0, 1)))(p, xs)
    np.testing.assert_allclose(np.asarray(on_both[0]["w"]), gradient["w"], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(np.asarray(on_both[1]), on_x, rtol=1e-10, atol=1e-11)


def test_again_and_in_single_precision() -> None:
    p, xs = numbers(0, 45, 19)
    step = fp.compile(fp.value_and_grad(fp.vmap(recurrence, in_axes=(None, 0), reduce="sum")))
    single = {name: x.astype(np.float32) for name, x in p.items()}
    for k in range(3):  # what is left of one call is none of the next one's
        value, gradient, _ = by_hand({name: x * (1 - 0.3 * k) for name, x in p.items()}, xs)
        found, slopes = step({name: x * np.float32(1 - 0.3 * k) for name, x in single.items()}, xs.astype(np.float32))
        assert float(found) == pytest.approx(value, rel=1e-5)
        for name, expected in gradient.items():
            scale = float(np.abs(expected).max())
            np.testing.assert_allclose(np.asarray(slopes[name]), expected, atol=3e-5 * scale, rtol=0, err_msg=name)


def test_the_same_inputs_in_all_lanes_have_gradients_of_every_step() -> None:
    """Of arrays that are shared by the lanes and differ by the step, sums can't wait for other steps."""
    p, xs = numbers(4, 36, 11)
    weights = np.random.default_rng(5).normal(size=(11, SIZE, WIDTH))

    def loss(weights: Any, h: Any, xs: Any) -> Any:
        h, _ = fp.scan(lambda h, given: (fp.tanh(p["w"] @ h + given[0] @ given[1]), None), h, (weights, xs))
        return fp.sum(h * h)

    total = fp.vmap(loss, in_axes=(None, None, 0), reduce="sum")
    found = fp.compile(fp.grad(total, argnums=(0, 1)))(weights, p["h"], xs)
    expected = [0.0, 0.0]
    for x in xs:
        expected = [a + np.asarray(b) for a, b in zip(expected, fp.grad(loss, argnums=(0, 1))(weights, p["h"], x))]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-9, atol=1e-11)


def test_scans_on_scans_in_bodies_of_maps() -> None:
    """Steps that hold a scan of their own, and layers on top of each other."""
    p, xs = numbers(6, 34, 10)
    split = xs.reshape(34, 5, 2, WIDTH)

    def in_pairs(p: Any, xs: Any) -> Any:
        def outer(h: Any, pair: Any) -> Any:
            h, _ = fp.scan(lambda h, x: (fp.tanh(p["w"] @ h + p["u"] @ x + p["b"]), None), h, pair)
            return h, fp.tanh(p["w"] @ h)

        h, ys = fp.scan(outer, p["h"], xs)
        h, _ = fp.scan(lambda h, y: (fp.tanh(p["w"] @ h + p["w"] @ y), None), h, ys)
        return fp.sum(h)

    total = fp.vmap(in_pairs, in_axes=(None, 0), reduce="sum")
    found = fp.compile(fp.grad(total))(p, split)
    for name in p:
        expected = sum([np.asarray(fp.grad(in_pairs)(p, x)[name]) for x in split])
        np.testing.assert_allclose(np.asarray(found[name]), expected, rtol=1e-9, atol=1e-11, err_msg=name)


def test_more_results_than_are_kept_are_computed_again() -> None:
    """64 MB is the most that is kept of them."""
    draw = np.random.default_rng(8)
    w, xs = draw.normal(size=(256, 8)) / 16, draw.normal(size=(32, 1040, 8)) / 4

    def loss(w: Any, xs: Any) -> Any:
        h, _ = fp.scan(lambda h, x: (h * 0.9 + fp.sum(fp.tanh(w @ x)), None), 0.0, xs)
        return h

    found = np.asarray(fp.compile(fp.grad(fp.vmap(loss, in_axes=(None, 0), reduce="sum")))(w, xs))
    decay = 0.9 ** np.arange(1040)[::-1]
    slopes = (1.0 - np.tanh(xs @ w.T) ** 2) * decay[:, None]
    np.testing.assert_allclose(found, np.einsum("ltr,ltc->rc", slopes, xs), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("odd", [np.inf, np.nan, 1e300])
def test_factors_of_zero_make_terms_zero(odd: float) -> None:
    """A step that does not count may hold anything: pulls of 0 bring nothing, whatever they are multiplied by."""
    p, xs = numbers(9, 33, 9)
    xs[7, 3, 2] = odd

    def loss(w: Any, xs: Any) -> Any:
        def step(h: Any, given: Any) -> Any:
            x, counts = given
            return fp.where(counts > 0.0, fp.tanh(p["w"] @ h + w @ x), h), None

        h, _ = fp.scan(step, p["h"], (xs, np.where(np.arange(9) == 3, 0.0, 1.0)))
        return fp.sum(h)

    found = np.asarray(fp.compile(fp.grad(fp.vmap(loss, in_axes=(None, 0), reduce="sum")))(p["u"], xs))
    expected = sum([np.asarray(fp.grad(loss)(p["u"], np.delete(x, 3, 0)[[0, 1, 2, 0, *range(3, 8)]])) for x in xs])
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_sums_that_float32_does_not_hold_on_the_way_are_taken_again() -> None:
    """Eight steps of 32 lanes are one sum: beyond float32's largest number, where the next eight bring it back."""
    size, steps = 6, 16
    w, b = np.ones((size, size), np.float32), np.ones(size, np.float32)
    xs = np.ones((32, steps, size), np.float32)
    weight = np.where(np.arange(steps) < 8, 1e37, -1e37).astype(np.float32)

    def loss(w: Any, b: Any, xs: Any) -> Any:
        step = lambda h, given: (h + (w @ given[0] + b) * given[1], None)  # noqa: E731
        return fp.sum(fp.scan(step, np.zeros(size, np.float32), (xs, weight))[0])

    found = fp.compile(fp.grad(fp.vmap(loss, in_axes=(None, None, 0), reduce="sum"), argnums=(0, 1)))(w, b, xs)
    assert not np.any(np.asarray(found[0])) and not np.any(np.asarray(found[1]))
