"""Which sums become products at one point: heads of few numbers, which factor varies, and beside maps."""

import gc

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.program import Program


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_will_do_where_what_varies_is_computed_side_by_side(rows):
    """As those of a head of one or two numbers are; numbers that would have to be gathered, and inputs, stay sums."""
    rng = np.random.default_rng(rows)
    w, x = rng.normal(size=(rows, 40)), rng.normal(size=(9, 40))

    def loss(m, w, x):
        return m.sum(m.sin(m.tanh(x) @ w.T))

    assert f"9 products of {rows} x 40" in fp.trace(lambda w, x: loss(fp, w, x), w, x).summary()
    function, oracle = lambda w, x: loss(fp, w, x), lambda w, x: loss(fp.reference, w, x)
    found = fp.compile(fp.value_and_grad(function, argnums=(0, 1)))(w, x)
    expected = fp.reference.value_and_grad(oracle, argnums=(0, 1))(w, x)
    np.testing.assert_allclose(found[0], float(expected[0]), rtol=1e-12)
    along = fp.compile(lambda w, x: fp.hvp(function, (w, x), (x[:rows], x)))(w, x)
    second = fp.reference.hvp(oracle, (w, x), (x[:rows], x))
    for slope, wanted in zip([*found[1], *along], [*expected[1], *second]):
        np.testing.assert_allclose(slope, np.asarray(wanted), rtol=1e-10, atol=1e-12)
    apart = fp.trace(lambda w, x: fp.sum(fp.sin(w @ fp.tanh(x))), w, x.T)
    assert f"of {rows} x 40" not in apart.summary()
    inputs = fp.trace(lambda w, x: fp.sum(fp.sin(w @ x)), w, x[0])
    assert f"of {rows} x 40" not in inputs.summary()


@pytest.mark.parametrize("heads", [1, 2])
def test_of_two_inputs_the_one_that_stays_from_sum_to_sum_varies(heads):
    """Whichever is used more often: so results lie in the order of the source."""
    rng = np.random.default_rng(3)
    w, x = rng.normal(size=(heads, 8, 6)), rng.normal(size=(30, 6))

    def shapes(f):
        said = fp.trace(lambda w, x: sum(fp.sum(fp.tanh(f(w[k], x))) for k in range(heads)), w, x).summary()
        return said.partition("reroll: ")[2].partition("\n")[0]

    assert shapes(lambda w, x: x @ w.T) == f"30 products of {8 * heads} x 6"
    assert shapes(lambda w, x: w @ x.T) == f"{8 * heads} products of 30 x 6"


def test_sums_beside_a_map_that_is_given_its_pulls_are_products_too():
    rng = np.random.default_rng(4)
    w, x, y = rng.normal(size=(8, 6)), rng.normal(size=(30, 6)), rng.normal(size=50)

    def loss(w, x, y):
        return fp.sum(fp.tanh(x @ w.T)) + fp.mean(fp.vmap(lambda w, y: fp.sin(w[0, 0] * y), (None, 0))(w, y))

    gc.collect()
    before = {id(one) for one in gc.get_objects() if isinstance(one, Program)}
    value, slope = fp.compile(fp.value_and_grad(loss))(w, x, y)
    made = [one for one in gc.get_objects() if isinstance(one, Program) and id(one) not in before]
    assert sum(line.startswith("matmul x8") for one in made for line in one.listing()) == 30
    inner = np.tanh(x @ w.T)
    np.testing.assert_allclose(value, inner.sum() + np.sin(w[0, 0] * y).mean(), rtol=1e-12)
    wanted = (1.0 - inner**2).T @ x
    wanted[0, 0] += (np.cos(w[0, 0] * y) * y).mean()
    np.testing.assert_allclose(slope, wanted, rtol=1e-10)
