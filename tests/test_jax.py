"""Functions of arrays beside JAX's, where that is installed: values, gradients, and gradients of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fastprop as fp

jax.config.update("jax_enable_x64", True)

GENERATOR = np.random.default_rng(21)
A, B, C = GENERATOR.normal(size=(3, 4)), GENERATOR.normal(size=(4, 5)), GENERATOR.normal(size=(3, 4))
V, W = GENERATOR.normal(size=4), GENERATOR.normal(size=3)
SQUARE = GENERATOR.normal(size=(4, 4))
POSITIVE = SQUARE @ SQUARE.T + 4.0 * np.eye(4)

# What to compute, with the names of either library, of so many arrays.
FUNCTIONS = {
    "matmul": (lambda xp, a, b: xp.tanh(a @ b), A, B),
    "matmul of a vector": (lambda xp, a, v: xp.tanh(a @ v), A, V),
    "einsum": (lambda xp, a, b: xp.einsum("ij,jk->ki", a, b), A, B),
    "tensordot": (lambda xp, a, b: xp.tensordot(a, b, 1), A, B),
    "outer": (lambda xp, v, w: xp.outer(xp.sin(v), w), V, W),
    "broadcasting": (lambda xp, a, v: a * v + v / (2.0 + a * a), A, V),
    "mean and var": (lambda xp, a: xp.mean(a, axis=0) * xp.var(a, axis=0, ddof=1), A),
    "std": (lambda xp, a: xp.std(a, axis=1), A),
    "prod": (lambda xp, a: xp.prod(a, axis=1), A),
    "max": (lambda xp, a: xp.max(a, axis=1, keepdims=True) * a, A),
    "norm": (lambda xp, a: xp.linalg.norm(a, axis=1), A),
    "cumsum": (lambda xp, a: xp.cumsum(a, axis=1) ** 2, A),
    "cumprod": (lambda xp, a: xp.cumprod(a, axis=1), A),
    "diff": (lambda xp, a: xp.diff(a, axis=1) ** 3, A),
    "sort": (lambda xp, a: xp.sort(a, axis=1) * np.arange(4.0), A),
    "where": (lambda xp, a, c: xp.where(a > 0.0, a * c, c**2), A, C),
    "clip": (lambda xp, a: xp.clip(a, -0.5, 0.5) * a, A),
    "concatenate": (lambda xp, a, c: xp.concatenate([a, c**2], axis=1)[:, 2:6], A, C),
    "stack and swapaxes": (lambda xp, a, c: xp.swapaxes(xp.stack([a, c]), 0, 2) ** 2, A, C),
    "pad and roll": (lambda xp, a: xp.roll(xp.pad(a, 1), 2, axis=1) ** 2, A),
    "flip, tile, repeat": (lambda xp, a: xp.flip(xp.tile(a, (2, 1)), 0) * xp.repeat(a, 2, axis=0), A),
    "take": (lambda xp, a: xp.take(a, np.array([0, 2, 2]), axis=1) ** 2, A),
    "indices": (lambda xp, a: a[np.array([0, 2]), np.array([1, 1])] * a[1, ::2], A),
    "at": (lambda xp, a: a.at[1].set(2.0 * a[0]).at[:, 0].add(a[:, 1]) ** 2, A),
    "trace": (lambda xp, a: (a @ a).trace(), SQUARE),
    "tril": (lambda xp, a: xp.tril(a) @ xp.triu(a), SQUARE),
    "solve": (lambda xp, a, v: xp.linalg.solve(a, v), POSITIVE, V),
    "inv": (lambda xp, a: xp.linalg.inv(a), POSITIVE),
    "det": (lambda xp, a: xp.linalg.det(a), SQUARE),
    "slogdet": (lambda xp, a: xp.linalg.slogdet(a)[1], POSITIVE),
    "cholesky": (lambda xp, a: xp.linalg.cholesky(a + a.T), POSITIVE),
    "eigenvalues": (lambda xp, a: xp.linalg.eigh(a + a.T)[0], POSITIVE),
    "qr": (lambda xp, a: xp.linalg.qr(a)[1], POSITIVE),
    "convolve": (lambda xp, v, w: xp.convolve(v, w), V, W),
}


def numpy_like(xp):
    """Return the library's names, with those of NumPy that fastprop takes by NumPy's dispatch."""
    return jnp if xp is jnp else _Ours()


class _Ours:
    linalg = np.linalg

    def __getattr__(self, name):
        return getattr(fp, name, None) or getattr(np, name)


def weighed(xp, function):
    """Return a number of what a function gives: each of its numbers counts differently."""

    def scalar(*arrays):
        result = function(numpy_like(xp), *arrays)
        weights = np.cos(1.0 + np.arange(np.prod(np.shape(result), dtype=int))).reshape(np.shape(result))
        return (result * weights).sum() if np.shape(result) else result * 1.5

    return scalar


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_jaxs(name):
    function, *arrays = FUNCTIONS[name]
    places = tuple(range(len(arrays)))
    theirs, ours = weighed(jnp, function), weighed(fp, function)
    value, slopes = jax.value_and_grad(theirs, places)(*arrays)
    steps = [np.sin(2.0 + np.arange(x.size)).reshape(x.shape) for x in arrays]
    bent = jax.jvp(jax.grad(theirs, places), arrays, steps)[1]
    for found, given in (
        (fp.value_and_grad(ours, places), arrays),
        (fp.compile(fp.value_and_grad(ours, places)), arrays),
    ):
        number, ours_slopes = found(*given)
        np.testing.assert_allclose(number, value, rtol=1e-12)
        for one, other in zip(ours_slopes, slopes):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    for derivative in (fp.grad(ours, places), fp.compile(fp.grad(ours, places))):
        for one, other in zip(fp.jvp(derivative, arrays, steps)[1], bent):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["matmul", "mean and var", "sort", "indices", "cholesky"])
def test_lanes_are_jaxs(name):
    function, *arrays = FUNCTIONS[name]
    places = tuple(range(len(arrays)))
    batches = [np.stack([x, 1.1 * x, x - 0.05 * np.sign(x)]) for x in arrays]
    expected = jax.vmap(jax.grad(weighed(jnp, function), places))(*batches)
    found = fp.compile(fp.vmap(fp.grad(weighed(fp, function), places)))(*batches)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
