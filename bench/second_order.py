"""Second derivatives of a network's mean loss beside its gradient: products with its Hessian, a step of MAML.

And the mean of gradients that are taken example by example.

    python bench/second_order.py [examples]

One thread, float32, 64-64-10; the least of many calls, as a multiple of the gradient's in the same run; and JAX under
`jit`, if it is there. Products with the Hessian are held to differences of gradients in float64 first.

Then whole Hessians and Jacobians, in float64, which are held to differences of gradients and values.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fastprop as fp
from nested import least

SIZES, RATE = (64, 64, 10), 0.1
Layers = list[tuple[Any, Any]]


def programs(m: Any, vmap: Any, grad: Any, jvp: Any, logsumexp: Any) -> dict[str, Callable[..., Any]]:
    """The gradient, and what is made of it, by one library's functions."""

    def one(p: Layers, x: Any, y: Any) -> Any:
        (w, b), (v, c) = p
        scores = v @ m.tanh(w @ x + b) + c
        return logsumexp(scores) - scores[y]

    def loss(p: Layers, xs: Any, ys: Any) -> Any:
        return m.mean(vmap(one, (None, 0, 0))(p, xs, ys))

    def product(p: Layers, q: Layers, xs: Any, ys: Any) -> Any:
        return jvp(lambda p: grad(loss)(p, xs, ys), (p,), (q,))[1]

    def by_reverse(p: Layers, q: Layers, xs: Any, ys: Any) -> Any:
        def slope(p: Layers) -> Any:
            pairs = zip(grad(loss)(p, xs, ys), q)
            return sum((a * c).sum() + (b * d).sum() for (a, b), (c, d) in pairs)

        return grad(slope)(p)

    def maml(p: Layers, q: Layers, xs: Any, ys: Any) -> Any:
        def after(p: Layers) -> Any:
            moved = grad(loss)(p, xs, ys)
            return loss([(w - RATE * dw, b - RATE * db) for (w, b), (dw, db) in zip(p, moved)], xs, ys)

        return grad(after)(p)

    def by_example(p: Layers, q: Layers, xs: Any, ys: Any) -> Any:
        return [(dw.mean(0), db.mean(0)) for dw, db in vmap(grad(one), (None, 0, 0))(p, xs, ys)]

    return {
        "gradient": lambda p, q, xs, ys: grad(loss)(p, xs, ys),
        "mean of gradients": by_example,
        "product with the Hessian": product,
        "the same, by reverse": by_reverse,
        "step of MAML": maml,
    }


def whole(m: Any, vmap: Any, hessian: Any, jacobian: Any, softplus: Any) -> dict[str, tuple[Any, Any, tuple[Any, ...]]]:
    """Hessians and Jacobians by one library: a function of its first argument, the derivative, and arguments."""
    generator = np.random.default_rng(1)
    xs, ys = generator.normal(size=(1000, 20)), (generator.random(1000) > 0.5) * 1.0
    few, targets = generator.normal(size=(200, 10)), generator.normal(size=200)
    square = generator.normal(size=(50, 50)) / 7.0

    def logistic(w: Any, xs: Any, ys: Any) -> Any:
        return m.mean(vmap(lambda x, y: softplus(x @ w) - y * (x @ w))(xs, ys))

    def residuals(p: Any, xs: Any, ys: Any) -> Any:
        def one(x: Any, y: Any) -> Any:
            return p[88:96] @ m.tanh(p[:80].reshape(8, 10) @ x + p[80:88]) + p[96] - y

        return vmap(one)(xs, ys)

    def squares(p: Any, xs: Any, ys: Any) -> Any:
        return m.mean(residuals(p, xs, ys) ** 2)

    def rows(w: Any, xs: Any) -> Any:
        return m.tanh(xs @ w)

    def two_layers(x: Any, square: Any) -> Any:
        return m.tanh(square @ m.tanh(square @ x))

    def valley(x: Any) -> Any:
        return m.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    at = {n: generator.normal(size=n) * 0.3 for n in (20, 50, 97)}
    return {
        "Hessian, logistic, 20": (logistic, hessian(logistic), (at[20], xs, ys)),
        "Hessian, network, 97": (squares, hessian(squares), (at[97], few, targets)),
        "Hessian, Rosenbrock, 50": (valley, hessian(valley), (at[50],)),
        "Jacobian, residuals, 97": (residuals, jacobian(residuals), (at[97], few, targets)),
        "Jacobian, 1,000 rows, 20": (rows, jacobian(rows), (at[20], xs)),
        "Jacobian, two layers, 50": (two_layers, jacobian(two_layers), (at[50], square)),
    }


def compare_whole() -> None:
    """Prove whole Hessians and Jacobians, then print their times."""
    libraries = {"fastprop": (whole(fp, fp.vmap, fp.hessian, fp.jacobian, fp.softplus), fp.compile)}
    if importlib.util.find_spec("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)
        made = whole(jax.numpy, jax.vmap, jax.hessian, jax.jacfwd, jax.nn.softplus)
        made["Jacobian, two layers, 50"] = whole(jax.numpy, jax.vmap, jax.hessian, jax.jacrev, jax.nn.softplus)[
            "Jacobian, two layers, 50"
        ]
        libraries["jax"] = made, jax.jit
    for name, (f, _, args) in libraries["fastprop"][0].items():
        below = fp.compile(fp.grad(f) if name.startswith("Hessian") else f)
        steps = 1e-5 * np.eye(len(args[0]))
        slopes = [(below(args[0] + step, *args[1:]) - below(args[0] - step, *args[1:])) / 2e-5 for step in steps]
        times = []
        for derivatives, compiled in libraries.values():
            run = compiled(derivatives[name][1])
            np.testing.assert_allclose(run(*args), np.transpose(slopes), rtol=1e-5, atol=1e-6)
            times.append(least(lambda: np.asarray(run(*args))))  # noqa: B023
        print(f"{name:24}" + "".join(f" {library} {time:8.1f} us" for library, time in zip(libraries, times)))


def flat(layers: Layers) -> np.ndarray:
    """All numbers of a network."""
    return np.concatenate([np.ravel(np.asarray(part)) for pair in layers for part in pair])


def main(examples: int = 32) -> None:
    """Prove the answers, then print the times."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    fp.set_num_threads(1)
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(0.0, shape[-1] ** -0.5, shape)

    p, q = ([(normal(b, a), normal(b)) for a, b in itertools.pairwise(SIZES)] for _ in range(2))
    xs, ys = generator.normal(size=(examples, SIZES[0])), generator.integers(0, SIZES[-1], examples)
    own = programs(fp, fp.vmap, fp.grad, fp.jvp, fp.logsumexp)
    compiled = {name: fp.compile(f) for name, f in own.items()}
    there, back = ([(w + s * dw, b + s * db) for (w, b), (dw, db) in zip(p, q)] for s in (1e-5, -1e-5))
    np.testing.assert_allclose(
        flat(compiled["mean of gradients"](p, q, xs, ys)), flat(compiled["gradient"](p, q, xs, ys)), 1e-10, 1e-12
    )
    slopes = [flat(compiled["gradient"](moved, q, xs, ys)) for moved in (there, back)]
    for name in ("product with the Hessian", "the same, by reverse"):
        found = flat(compiled[name](p, q, xs, ys))
        np.testing.assert_allclose(found, (slopes[0] - slopes[1]) / 2e-5, rtol=1e-4, atol=1e-6)

    narrow = [[(w.astype(np.float32), b.astype(np.float32)) for w, b in layers] for layers in (p, q)]
    given = (*narrow, xs.astype(np.float32), ys)
    libraries: dict[str, Any] = {"fastprop": compiled}
    if importlib.util.find_spec("jax"):
        import jax

        made = programs(jax.numpy, jax.vmap, jax.grad, jax.jvp, jax.scipy.special.logsumexp)
        libraries["jax"] = {name: jax.jit(f) for name, f in made.items()}
    base = 0.0
    for library, functions in libraries.items():
        for name, f in functions.items():
            np.testing.assert_allclose(flat(f(*given)), flat(compiled[name](*given)), rtol=1e-3, atol=1e-4)
            time = least(lambda: np.asarray(f(*given)[0][0]))  # noqa: B023
            base = base or time
            print(f"{library:8} {name:24} {time:8.1f} us, {time / base:.2f} x")
    compare_whole()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
