"""The mean over a batch of losses with weights: what comes beside it, and what a loss has to give."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop import nn

SCORES = np.random.default_rng(0).normal(size=(6, 4))
LABELS = np.array([0, 3, 1, 1, 2, 0])
CLASSES = np.array([1.0, 0.5, 2.0, 3.0])


@pytest.mark.parametrize("front", [lambda f: f, fp.compile])
def test_weighted_mean_keeps_what_comes_beside(front):
    def example(z, y):
        return nn.cross_entropy(z, y, CLASSES, reduction="pair"), {"sum": fp.sum(z), "two": [2.0]}

    (value, aux), slope = front(fp.value_and_grad(nn.weighted_mean(example), has_aux=True))(SCORES, LABELS)
    expected, gradient = fp.value_and_grad(lambda z: nn.cross_entropy(z, LABELS, CLASSES))(SCORES)
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(slope, gradient, rtol=1e-10, atol=1e-14)
    assert_allclose(aux["sum"], SCORES.sum(axis=1).mean(), rtol=1e-12)
    assert_allclose(aux["two"], [2.0], rtol=1e-12)


@pytest.mark.parametrize("front", [lambda f: f, fp.compile, lambda f: fp.compile(fp.value_and_grad(f))])
def test_weighted_mean_takes_pairs(front):
    def example(z, y):
        return nn.cross_entropy(z, y)

    with pytest.raises(TypeError, match=r'weighted_mean: example returned .*reduction="pair"'):
        front(nn.weighted_mean(example))(SCORES, LABELS)


@pytest.mark.parametrize("front", [lambda f: f, fp.compile])
def test_a_pair_is_no_loss(front):
    batch = fp.vmap(lambda z, y: nn.cross_entropy(z, y, reduction="pair"), reduce="sum")
    with pytest.raises(TypeError, match=r'fastprop\.nn\.weighted_mean .* reduction="pair"'):
        front(fp.value_and_grad(batch))(SCORES, LABELS)
    with pytest.raises(TypeError, match=r"one number, .* add it up \(.*\), or take jacobian or vjp$"):
        front(fp.value_and_grad(lambda z: z * z))(SCORES)


def test_the_mean_of_one_example_knows_nothing_of_its_class():
    batch = fp.vmap(lambda z, y: nn.cross_entropy(z, y, CLASSES), reduce="mean")
    assert_allclose(batch(SCORES, LABELS), nn.cross_entropy(SCORES, LABELS), rtol=1e-12)
