"""Arrays of every layout, read and given number by number, as wholes, and as both: by calls, maps and scans."""

import numpy as np
import pytest

import fastprop as fp

PLAIN = np.random.default_rng(2).normal(size=(4, 3, 5))
LAYOUTS = {
    "C": PLAIN,
    "Fortran": np.asfortranarray(PLAIN),
    "turned": np.ascontiguousarray(PLAIN.transpose(2, 0, 1)).transpose(1, 2, 0),
    "backwards": np.ascontiguousarray(PLAIN[::-1, :, ::-1])[::-1, :, ::-1],
    "every other": np.repeat(np.repeat(PLAIN, 2, 0), 2, 2)[::2, :, ::2],
    "broadcast": np.broadcast_to(PLAIN[:, :1, :], (4, 3, 5)),
    "axes of one": PLAIN[:, None, :, :, None][:, 0, :, :, 0],
}


def rows(a):
    """Every lane reads the whole of it, and lanes of it."""
    return fp.vmap(lambda x: fp.sum(x[0] * a[:, 0, 0][0]) + fp.sum(fp.tanh(x)))(a)


USES = {
    "numbers": lambda a: fp.sum(a * a * a[::-1]),
    "whole": lambda a: fp.sum(fp.vmap(lambda x: fp.sum(fp.tanh(x)))(a)),
    "along the last axis": lambda a: fp.sum(fp.vmap(lambda x: fp.sum(x * x[0, 0]), in_axes=2)(a)),
    "both": lambda a: fp.sum(rows(a) * a[:, 1, 2]) + fp.sum(a * a),
    "the same in all lanes": lambda a: fp.vmap(lambda s, a: fp.sum(fp.tanh(s * a)), in_axes=(0, None))(
        np.array([0.5, -1.0]), a
    ).sum(),
    "what a map makes": lambda a: fp.sum(fp.vmap(lambda x: x * x.T[0, 0], in_axes=1)(a) ** 2),
    "of maps of maps": lambda a: fp.sum(
        fp.vmap(lambda m: fp.vmap(lambda r: fp.sum(fp.tanh(m @ r)))(a[0]))(fp.vmap(lambda x: x * 2.0)(a))
    ),
    "steps": lambda a: fp.sum(fp.scan(lambda c, x: (c + fp.sum(x * x), x * c), 0.0, a)[1] * a),
    "steps backward": lambda a: fp.scan(lambda c, x: (fp.tanh(c + x), c), a[0], a, reverse=True)[1][0].sum(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_do_not_depend_on_it(layout, use):
    f, a = USES[use], LAYOUTS[layout]
    with fp.eager():
        expected = fp.value_and_grad(f)(np.array(a))
    for dtype, digits in (("float64", 1e-11), ("float32", 1e-4)):
        compiled, slope = fp.compile(fp.value_and_grad(f), dtype=dtype), fp.compile(lambda a: fp.grad(f)(a) * 1.0)
        given = a.astype(dtype, order="K") if layout != "broadcast" else np.broadcast_to(
            PLAIN[:, :1, :].astype(dtype), a.shape
        )  # fmt: skip
        for _ in range(2):
            value, gradient = compiled(given)
            np.testing.assert_allclose(value, expected[0], rtol=digits)
            np.testing.assert_allclose(gradient, expected[1], rtol=digits, atol=10.0 * digits)
        np.testing.assert_allclose(slope(given), expected[1], rtol=digits, atol=10.0 * digits)
