"""Blocks of lanes that are narrower than their rows are apart: those that took one of a body's ways."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import gates


def leaky(x):
    return x if x > 0.0 else 0.1 * x


SEVERAL = {
    name: row
    for name, row in gates.table.items()
    if row.arity in (2, 3) and not name.startswith(("random", "polygamma", "copysign", "where"))
}


@pytest.mark.parametrize("lanes", [7, 33, 64, 200])
@pytest.mark.parametrize("name", SEVERAL)
def test_all_operands_are_pulled_in_narrow_blocks(name, lanes):
    function, arity = getattr(fp, name), SEVERAL[name].arity

    def body(*x):
        return function(*[0.3 + 0.2 * fp.tanh(leaky(number)) for number in x])

    places = tuple(range(arity))
    columns = np.random.default_rng(1).normal(size=(arity, lanes))
    mapped = fp.compile(fp.vmap(fp.grad(body, argnums=places)))
    expected = np.array([fp.grad(body, argnums=places)(*point) for point in columns.T]).T
    for _ in range(3):
        assert_allclose(mapped(*columns), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lanes", [7, 33, 64, 200])
@pytest.mark.parametrize("name", ["max", "min", "logsumexp"])
def test_all_terms_are_pulled_in_narrow_blocks(name, lanes):
    def body(x):
        return getattr(fp, name)([leaky(number) for number in x])

    rows = np.random.default_rng(1).normal(size=(lanes, 5))
    mapped = fp.compile(fp.vmap(fp.grad(body)))
    for _ in range(3):
        assert_allclose(mapped(rows), [fp.grad(body)(row) for row in rows], rtol=1e-9, atol=1e-12)
