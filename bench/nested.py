"""A map in a map against the same loops flattened by hand: all pairs as lanes, and the inner lanes written out.

    python bench/nested.py [outer lanes] [inner lanes]

One thread; the least of many calls, each of which computes the value and the gradient of a weight.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastprop as fp


def term(a: Any, b: Any, w: Any) -> Any:
    """What is summed over all pairs."""
    return fp.tanh(a * b * w) * a


def nested(w: Any, x: Any, y: Any) -> Any:
    """A map in a map."""
    return fp.vmap(lambda a: fp.vmap(lambda b: term(a, b, w), reduce="sum")(y), reduce="sum")(x)


def pairs(w: Any, x: Any, y: Any) -> Any:
    """One map over all pairs, which the caller has laid out."""
    return fp.vmap(lambda a, b: term(a, b, w), reduce="sum")(x, y)


def written_out(w: Any, x: Any, y: Any) -> Any:
    """One map over x, with y's loop in its body."""
    return fp.vmap(lambda a: fp.sum([term(a, b, w) for b in y]), reduce="sum")(x)


def least(call: Callable[[], Any], patience: float = 0.5) -> float:
    """The least time of a call, in microseconds."""
    found, end = [], time.perf_counter() + patience
    while time.perf_counter() < end or len(found) < 5:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found) * 1e6


def main(outer: int = 1000, inner: int = 50) -> None:
    """Prove the answers, then print the times."""
    fp.set_num_threads(1)
    generator = np.random.default_rng(0)
    x, y, w = generator.normal(size=outer), generator.normal(size=inner), 0.3
    slope = 1.0 - np.tanh(np.outer(x, y) * w) ** 2
    truth = (np.tanh(np.outer(x, y) * w).sum(1) @ x, (slope * np.outer(x * x, y)).sum())
    laid_out = np.repeat(x, inner), np.tile(y, outer)
    for function, arguments in ((nested, (x, y)), (pairs, laid_out), (written_out, (x, y))):
        value, both = fp.compile(function), fp.compile(fp.value_and_grad(function))
        began = time.perf_counter()
        found = both(w, *arguments)
        first = time.perf_counter() - began
        np.testing.assert_allclose(found, truth, rtol=1e-9)
        of_value, of_both = least(lambda: value(w, *arguments)), least(lambda: both(w, *arguments))  # noqa: B023
        print(
            f"{function.__name__:12} value {of_value:8.0f} us, gradient {of_both:8.0f} us, first {first * 1e3:7.1f} ms"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
