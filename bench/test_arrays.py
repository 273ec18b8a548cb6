"""Eager Arrays beside NumPy, for pytest-benchmark: each row's answer, then its time."""

from __future__ import annotations

import pytest

import fastprop as fp
from arrays import GRADIENTS, VALUES, prove_gradient, prove_value


@pytest.mark.parametrize("name", [*VALUES, *GRADIENTS])
def test_value(benchmark, name):
    """A value alone."""
    f, arrays = {**VALUES, **GRADIENTS}[name]
    prove_value(f, arrays)
    leaves = list(map(fp.Array, arrays))
    benchmark.group = name
    benchmark(lambda: f(fp, *leaves))


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient(benchmark, name):
    """A value with its gradient."""
    f, arrays = GRADIENTS[name]
    prove_gradient(f, arrays)
    leaves = list(map(fp.Array, arrays))
    benchmark.group = name
    benchmark(lambda: f(fp, *leaves).backward())
