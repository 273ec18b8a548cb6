"""The estimator beside scikit-learn's, for pytest-benchmark: the answers, then the time of a fit of ten epochs."""

from __future__ import annotations

import warnings

import pytest

from estimators import ENTRIES, prove, run


@pytest.mark.parametrize("name", ENTRIES)
def test_fit(benchmark, name):
    """Ten epochs of the digits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        prove()
        benchmark.group = "64-64-10, ten epochs of the digits"
        found = benchmark.pedantic(lambda: run(name, 1, max_iter=10, learning_rate_init=0.01), rounds=3)
        assert found.accuracy > 0.95
