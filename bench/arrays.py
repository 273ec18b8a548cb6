"""Eager Arrays beside NumPy: what a gate costs, small and large, and a matrix Kalman filter with its gradient.

    python bench/arrays.py [name ...]

One core; NumPy's time is that of the value alone, without a gradient. Answers are proved first: values are NumPy's, and
gradients the slopes of NumPy's values, by central differences.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fastprop as fp
from measure import interleave, pin

Case = tuple[Callable[..., Any], tuple[np.ndarray[Any, Any], ...]]  # of Arrays or arrays, and the arrays
RANDOM = np.random.default_rng(7)
STEPS, STATES, SEEN = 200, 4, 2
TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


def kalman(m: Any, f: Any, h: Any, q: Any, r: Any, seen: Any) -> Any:
    """What a linear model with Gaussian noise makes of observations: the negative logarithm of its likelihood."""
    x, p, total = np.zeros(STATES), np.eye(STATES), 0.0
    for y in seen:
        x, p = f @ x, f @ p @ f.T + q
        error, s = y - h @ x, h @ p @ h.T + r
        determinant = s[0, 0] * s[1, 1] - s[0, 1] * s[1, 0]
        inverse = (TURN @ s.T @ TURN.T) / determinant
        gain = p @ h.T @ inverse
        x, p = x + gain @ error, p - gain @ h @ p
        total = total + 0.5 * (error @ inverse @ error) + 0.5 * m.log(determinant)
    return total


def normal(*shape: int) -> np.ndarray[Any, Any]:
    """Some numbers."""
    return RANDOM.normal(size=shape)


MANY = 10**6
FILTER = (0.9 * np.eye(STATES) + 0.05 * normal(STATES, STATES), normal(SEEN, STATES), 0.1 * np.eye(STATES),
          0.5 * np.eye(SEEN))  # fmt: skip
SEEN_NUMBERS = normal(STEPS, SEEN)

VALUES: dict[str, Case] = {
    "a + b, 2 by 2": (lambda m, a, b: a + b, (normal(2, 2), normal(2, 2))),
    "a + b, 8": (lambda m, a, b: a + b, (normal(8), normal(8))),
    "a * 2.0, 8": (lambda m, a: a * 2.0, (normal(8),)),
    "tanh(a), 8": (lambda m, a: m.tanh(a), (normal(8),)),
    "a @ b, 8 by 8 and 8": (lambda m, a, b: a @ b, (normal(8, 8), normal(8))),
    "a @ b, 4 by 4": (lambda m, a, b: a @ b, (normal(4, 4), normal(4, 4))),
    "a.sum(), 8 by 8": (lambda m, a: a.sum(), (normal(8, 8),)),
    "a.sum(axis=0), 8 by 8": (lambda m, a: a.sum(axis=0), (normal(8, 8),)),
    "a.T, 8 by 8": (lambda m, a: a.T, (normal(8, 8),)),
    "a[2:5], 8 by 8": (lambda m, a: a[2:5], (normal(8, 8),)),
    "a + b, 10^6": (lambda m, a, b: a + b, (normal(MANY), normal(MANY))),
    "tanh(a) * a, 10^6": (lambda m, a: m.tanh(a) * a, (normal(MANY),)),
}
GRADIENTS: dict[str, Case] = {
    "sum(tanh(a) * a), 10^6": (lambda m, a: m.sum(m.tanh(a) * a), (normal(MANY),)),
    "Kalman filter": (lambda m, *given: kalman(m, *given, SEEN_NUMBERS), FILTER),
}


def prove_value(f: Callable[..., Any], arrays: tuple[np.ndarray[Any, Any], ...]) -> None:
    """Compare a value with NumPy's."""
    found, expected = f(fp, *map(fp.Array, arrays)), f(np, *arrays)
    np.testing.assert_allclose(found.value, expected, rtol=1e-12, atol=1e-14)


def prove_gradient(f: Callable[..., Any], arrays: tuple[np.ndarray[Any, Any], ...]) -> None:
    """Compare gradients, along one direction, with the slope of NumPy's value."""
    leaves = list(map(fp.Array, arrays))
    f(fp, *leaves).backward()
    directions, h = [np.cos(np.arange(a.size)).reshape(a.shape) for a in arrays], 1e-4
    ends = [f(np, *[a + s * d for a, d in zip(arrays, directions)]) for s in (h, -h)]
    found = sum(float(np.sum(leaf.grad * d)) for leaf, d in zip(leaves, directions))
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2.0 * h), rtol=1e-5)


def compared(f: Callable[..., Any], arrays: tuple[np.ndarray[Any, Any], ...], gradient: bool) -> tuple[float, float]:
    """The least seconds, ours and NumPy's."""
    leaves = list(map(fp.Array, arrays))

    def ours() -> None:
        value = f(fp, *leaves)
        if gradient:
            fp.zero_grad(leaves)
            value.backward()

    times = interleave({"ours": ours, "theirs": lambda: f(np, *arrays)}, repeats=9)
    return times["ours"].least, times["theirs"].least


def main(names: list[str]) -> None:
    """Prove the answers, then print the times and their ratios."""
    pin()
    rows = [(name, *case, False) for name, case in VALUES.items()]
    rows += [(name, *case, True) for name, case in GRADIENTS.items()]
    print(f"{'':28}{'fastprop':>12}{'NumPy':>12}{'ratio':>8}")
    for name, f, arrays, gradient in rows:
        if names and not any(part in name for part in names):
            continue
        prove_value(f, arrays)
        if gradient:
            prove_gradient(f, arrays)
        ours, theirs = compared(f, arrays, gradient)
        print(f"{name:28}{ours * 1e6:9.2f} us{theirs * 1e6:9.2f} us{ours / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
