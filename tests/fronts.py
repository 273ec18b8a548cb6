"""One function of arrays on every front: plain, both engines' handles, compiled, in lanes, and all its derivatives."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import reference

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def fixed(*shape, seed=0):
    """Numbers of both signs without ties, none of them near 0, and no two as large: always the same ones."""
    random = np.random.default_rng(seed)
    size = math.prod(shape)
    sizes = random.permutation(size) * (2.0 / max(size, 1)) + random.uniform(0.2, 0.3)
    return np.round(sizes * random.choice([-1.0, 1.0], size), 4).reshape(shape)


def blocks():
    """A function that makes other such numbers each time, for the rows of a module."""
    seeds = itertools.count(1)
    return lambda *shape: fixed(*shape, seed=next(seeds))


def numbers(x):
    """The plain value of a handle, an array or a number, or of several."""
    if isinstance(x, (list, tuple)):
        return [numbers(part) for part in x]
    return np.asarray(x.value if hasattr(x, "value") else x)


def same(found, expected, **tolerance):
    """Whether two results, or sequences of them, agree."""
    found, expected = numbers(found), numbers(expected)
    if not isinstance(expected, list):
        found, expected = [found], [expected]
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        assert_allclose(a, b, **tolerance)


def check_values(f, *operands, exact=False, traced=True, loose=1e-13):
    """Compare the values of ``f(module, *operands)`` on all fronts with NumPy's."""
    expected = f(np, *operands)
    tolerance = {"rtol": 0.0 if exact else loose * 0.02, "atol": 0.0 if exact else loose * 0.01}
    same(f(fp, *operands), expected, **tolerance)
    for engine in (reference, fp):
        handles = [engine.Array(x) if np.ndim(x) else engine.Unit(x) for x in operands]
        same(f(np, *handles), expected, **tolerance)
        same(f(engine, *handles), expected, **tolerance)
    if traced:
        tolerance = {"rtol": 0.0 if exact else loose, "atol": 0.0 if exact else 0.1 * loose}
        same(fp.compile(lambda *x: f(fp, *x))(*operands), expected, **tolerance)
        lanes = [np.stack([x, 1.5 * x, 0.5 * x]) for x in operands]
        found = fp.compile(fp.vmap(lambda *x: f(np, *x)))(*lanes)
        rows = [f(np, *[x[lane] for x in lanes]) for lane in range(3)]
        several = isinstance(expected, (list, tuple))
        same(found, [np.stack(part) for part in zip(*rows)] if several else np.stack(rows), **tolerance)


def weighted(f):
    """The sum of squares of all numbers of a function's results, each with a weight of its own."""

    def loss(m, *operands):
        results = f(m, *operands)
        total = 0.0
        for k, result in enumerate(results if isinstance(results, (list, tuple)) else [results]):
            size = math.prod(result.shape)
            weights = (np.arange(size).reshape(result.shape) + k + 1.0) / (size + 1.0)
            total = total + (m.sum(result * weights) + 0.5 * m.sum(result * result * weights))
        return total

    return loss


def check_derivatives(f, *operands, traced=True, rtol=2e-6, second=True):
    """Compare derivatives of ``f(module, *operands)`` on all fronts with differences, to second order."""
    loss = weighted(f)
    argnums = tuple(range(len(operands)))
    directions = [fixed(*np.shape(x), seed=k) if np.ndim(x) else 0.7 for k, x in enumerate(operands)]

    def along(h):
        return tuple([x + h * t for x, t in zip(operands, directions)])

    gradients = fp.grad(lambda *x: loss(fp, *x), argnums)(*operands)
    for found in (
        reference.grad(lambda *x: loss(reference, *x), argnums)(*operands),
        fp.compile(fp.grad(lambda *x: loss(np, *x), argnums))(*operands) if traced else gradients,
    ):
        for a, b in zip(found, gradients):
            assert_allclose(a, b, **TIGHT)
    h = 1e-5
    slope = (float(loss(np, *along(h))) - float(loss(np, *along(-h)))) / (2.0 * h)
    backward = sum(float(np.sum(g * t)) for g, t in zip(gradients, directions))
    assert_allclose(backward, slope, rtol=rtol, atol=rtol)
    for engine in (reference, fp):
        forward = engine.jvp(lambda *x: loss(engine, *x), tuple(operands), tuple(directions))[1]  # noqa: B023
        assert_allclose(forward, backward, **TIGHT)
    if traced:
        lanes = [np.stack([x, x]) for x in operands]
        found = fp.compile(fp.vmap(fp.grad(lambda *x: loss(fp, *x), argnums)))(*lanes)
        for a, b in zip(found, gradients):
            assert_allclose(a[1], b, **TIGHT)
    if second:
        check_second(loss, operands, directions, along, traced, rtol)


def check_second(loss, operands, directions, along, traced, rtol):
    """Compare Hessians along directions with differences of gradients."""
    argnums = tuple(range(len(operands)))
    gradient = fp.grad(lambda *x: loss(fp, *x), argnums)
    h = 1e-5
    differences = [(a - b) / (2.0 * h) for a, b in zip(gradient(*along(h)), gradient(*along(-h)))]
    point, directions = tuple(operands), tuple(directions)
    products = [
        fp.hvp(lambda *x: loss(fp, *x), point, directions),
        fp.jvp(gradient, point, directions)[1],
        reference.hvp(lambda *x: loss(reference, *x), point, directions),
    ]
    if traced:
        products.append(fp.compile(lambda *x: fp.hvp(lambda *y: loss(fp, *y), x, directions))(*operands))
    for product in products:
        for a, b in zip(product if len(operands) > 1 or isinstance(product, tuple) else [product], differences):
            scale = 1.0 + float(np.max(np.abs(b), initial=0.0))
            assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def gradient_of(engine, f, *operands, pull=1.0):
    """The value of a function of handles, and the gradients of the sum of its result, times the pull."""
    handles = [engine.Array(x) if np.ndim(x) else engine.Unit(x) for x in operands]
    result = f(*handles)
    result.backward(np.broadcast_to(pull, result.shape) if result.shape else float(pull))
    return numbers(result), [handle.grad for handle in handles]


def check_edge(engine, f, operands, value, gradients, pull=1.0, **tolerance):
    """Compare value and gradients at one point with what they must be; None is not looked at."""
    found, slopes = gradient_of(engine, f, *operands, pull=pull)
    tolerance = tolerance or {"rtol": 1e-14, "atol": 0.0}
    if value is not None:
        assert_allclose(found, value, **tolerance)
    for slope, expected in zip(slopes, gradients):
        if expected is not None:
            assert_allclose(slope, np.broadcast_to(expected, np.shape(slope)), **tolerance)


def check_edge_everywhere(f, operands, value, gradients, rtol=1e-14, atol=0.0):
    """Compare value and gradients of ``f(module, *operands)`` with what they must be on all fronts."""
    for engine in (reference, fp):
        check_edge(engine, lambda *x: f(engine, *x), operands, value, gradients, rtol=rtol, atol=atol)  # noqa: B023
    operands = [np.array(x) if np.ndim(x) else x for x in operands]
    if not all(map(np.size, operands)):
        return
    everything = tuple(range(len(operands)))
    total = fp.value_and_grad(lambda *x: fp.sum(f(fp, *x)), everything)
    lanes = fp.compile(fp.vmap(total))(*[np.stack([x, x]) for x in operands])
    for found, slopes in (fp.compile(total)(*operands), (lanes[0][1], [slope[1] for slope in lanes[1]])):
        if value is not None:
            assert_allclose(found, np.sum(value), rtol=10.0 * rtol, atol=atol)
        for slope, expected in zip(slopes, gradients):
            if expected is not None:
                assert_allclose(slope, np.broadcast_to(expected, np.shape(slope)), rtol=10.0 * rtol, atol=atol)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: x[tuple(slice(None, None, -1) for _ in x.shape)].copy()[
        tuple(slice(None, None, -1) for _ in x.shape)
    ],
    "big-endian": lambda x: x.astype(">f8"),
    "misaligned": lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


def check_layouts(f, operand):
    """Compare an operand in every layout with its C-ordered copy."""
    expected = f(fp, fp.Array(operand))
    for layout in LAYOUTS.values():
        given = layout(operand)
        assert_array_equal(given, operand)
        same(f(fp, fp.Array(given)), expected, rtol=0.0)


def check_refused(call, text):
    """Compare the error for a block of shape (2, 3), eagerly and compiled, with what it must say."""
    with pytest.raises(ValueError, match=text):
        call(fp.Array(np.ones((2, 3))))
    with pytest.raises(ValueError, match=text):
        fp.compile(call)(np.ones((2, 3)))
