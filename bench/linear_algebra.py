"""Value and gradient of programs of small matrices: a Kalman filter, a Gaussian process, a batch of systems.

    python bench/linear_algebra.py [steps of the filter] [points of the process] [systems]

float64; the least of many calls, as a multiple of what NumPy by hand takes for the value alone, in the same run; and
JAX under `jit`, if it is there, first calls too. Values are held to NumPy's first, gradients to differences.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import fastprop as fp
from nested import least

Function = Callable[..., Any]
STATES, SEEN, ROWS = 4, 2, 4  # of the filter: how many states, how many are seen; of the systems


class Of:
    """What programs call, of one library."""

    def __init__(self, m: Any, linalg: Any, lower: Function, scan: Function, vmap: Function):
        self.m, self.linalg, self.lower, self.scan, self.vmap = m, linalg, lower, scan, vmap


def by_loop(step: Function, carry: Any, xs: Any) -> tuple[Any, Any]:
    """A scan as a loop."""
    found = []
    for x in xs:
        carry, y = step(carry, x)
        found.append(y)
    return carry, np.array(found)


def in_loop(f: Function, in_axes: tuple[int | None, ...]) -> Function:
    """A vmap as a loop."""
    return lambda *operands: np.array([f(*each) for each in zip(*_spread(operands, in_axes))])


def _spread(operands: Any, in_axes: Any) -> Any:
    n = len(next(x for x, axis in zip(operands, in_axes) if axis == 0))
    return [x if axis == 0 else [x] * n for x, axis in zip(operands, in_axes)]


def kalman(of: Of) -> Function:
    """The negative log likelihood of what is seen, by a Kalman filter."""

    def loss(p: Any, seen: Any) -> Any:
        transition, observation = p["transition"], p["observation"]
        moved, noise = of.m.diag(of.m.exp(p["moved"])), of.m.diag(of.m.exp(p["noise"]))

        def step(carry: Any, y: Any) -> Any:
            mean, covariance = carry
            mean, covariance = transition @ mean, transition @ covariance @ transition.T + moved
            off, spread = y - observation @ mean, observation @ covariance @ observation.T + noise
            gain = of.linalg.solve(spread, observation @ covariance).T
            likelihood = off @ of.linalg.solve(spread, off) + of.linalg.slogdet(spread)[1]
            return (mean + gain @ off, covariance - gain @ spread @ gain.T), 0.5 * likelihood

        return of.m.sum(of.scan(step, (np.zeros(STATES), np.eye(STATES)), seen)[1])

    return loss


def process(of: Of) -> Function:
    """The negative log likelihood of a Gaussian process."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        z = x / of.m.exp(p["length"])
        apart = of.m.sum((z[:, None, :] - z[None, :, :]) ** 2, axis=-1)
        kernel = of.m.exp(2 * p["height"]) * of.m.exp(-0.5 * apart) + of.m.exp(2 * p["noise"]) * np.eye(len(x))
        factor = of.linalg.cholesky(kernel)
        white = of.lower(factor, y)
        return 0.5 * white @ white + of.m.sum(of.m.log(of.m.diag(factor)))

    return loss


def systems(of: Of) -> Function:
    """The mean over systems of equations whose matrices share a part."""

    def one(shared: Any, matrix: Any, y: Any) -> Any:
        spread = matrix @ matrix.T + shared @ shared.T
        white = of.lower(of.linalg.cholesky(spread), y)
        return white @ white + y @ of.linalg.solve(spread, y) + of.linalg.slogdet(spread)[1]

    mapped = of.vmap(one, in_axes=(None, 0, 0))
    return lambda p, matrices, ys: of.m.mean(mapped(p["shared"], matrices, ys))


def problems(steps: int, points: int, many: int) -> dict[str, tuple[Callable[[Of], Function], Any, tuple[Any, ...]]]:
    """Each program, its parameters, and its data."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape)

    filtered = {
        "transition": 0.9 * np.eye(STATES) + 0.05 * normal(STATES, STATES),
        "observation": normal(SEEN, STATES),
        "moved": -np.ones(STATES),
        "noise": -0.5 * np.ones(SEEN),
    }
    smooth = {"length": 0.1 * normal(3), "height": 0.2, "noise": -1.0}
    shared = {"shared": 0.1 * normal(ROWS, ROWS) + np.eye(ROWS)}
    matrices = 0.3 * normal(many, ROWS, ROWS) + 2.0 * np.eye(ROWS)
    return {
        f"kalman filter, {steps} steps": (kalman, filtered, (normal(steps, SEEN),)),
        f"gaussian process, {points} points": (process, smooth, (normal(points, 3), normal(points))),
        f"{many} systems": (systems, shared, (matrices, normal(many, ROWS))),
    }


def prove(loss: Function, found: Any, parameters: dict[str, Any], data: Any) -> None:
    """Hold a value to NumPy's, and the gradient to a difference in one direction."""
    direction = {k: np.cos(np.arange(np.size(x))).reshape(np.shape(x)) for k, x in parameters.items()}

    def along(step: float) -> Any:
        return loss({k: x + step * direction[k] for k, x in parameters.items()}, *data)

    value, slopes = found
    np.testing.assert_allclose(float(value), along(0.0), rtol=1e-9)
    slope = sum(np.vdot(slopes[k], direction[k]) for k in parameters)
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-5)


def with_jax() -> tuple[Of, Function]:
    """JAX's functions, and what turns a loss into a call of its value and gradient."""
    import jax
    import jax.scipy.linalg

    jax.config.update("jax_enable_x64", True)

    def lower(a: Any, b: Any) -> Any:
        return jax.scipy.linalg.solve_triangular(a, b, lower=True)

    def called(loss: Function) -> Function:
        compiled = jax.jit(jax.value_and_grad(loss))
        return lambda *operands: jax.block_until_ready(compiled(*operands))

    return Of(jax.numpy, jax.numpy.linalg, lower, jax.lax.scan, jax.vmap), called


def main(steps: int = 100, points: int = 60, many: int = 1000) -> None:
    """Prove the answers, then print the times."""
    fp.set_num_threads(1)
    by_hand = Of(np, np.linalg, lambda a, b: scipy.linalg.solve_triangular(a, b, lower=True), by_loop, in_loop)
    own = Of(fp, fp, lambda a, b: fp.solve_triangular(a, b, lower=True), fp.scan, fp.vmap)
    libraries = {"fastprop": (own, lambda loss: fp.compile(fp.value_and_grad(loss)))}
    if importlib.util.find_spec("jax"):
        libraries["jax"] = with_jax()
    for name, (program, parameters, data) in problems(steps, points, many).items():
        value = program(by_hand)
        base = least(lambda: value(parameters, *data))  # noqa: B023
        print(f"{name}: NumPy, the value alone {base:10.1f} us, 1.00 x")
        for library, (of, called) in libraries.items():
            call = called(program(of))
            began = time.perf_counter()
            found = call(parameters, *data)
            first = time.perf_counter() - began
            prove(value, found, parameters, data)
            warm = least(lambda: call(parameters, *data))  # noqa: B023
            print(f"{name}: {library:23} {warm:10.1f} us, {warm / base:.2f} x; first {first * 1e3:.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
