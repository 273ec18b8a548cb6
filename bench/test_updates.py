"""Update rules beside NumPy, for pytest-benchmark: each answer, then its time."""

from __future__ import annotations

import pytest

from updates import Stepper, cases, prove


@pytest.mark.parametrize(("title", "name", "shapes"), cases([]), ids=[title for title, *_ in cases([])])
def test_step(benchmark, title, name, shapes):
    """A step of a rule."""
    prove(name, shapes)
    benchmark.group = title
    benchmark(Stepper(name, shapes, True))
