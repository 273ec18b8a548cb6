"""Losses and regularisers against plain statements of them, on every front, and at their edges."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.nn import regularisers

INF, NAN = math.inf, math.nan
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(6, 4))
LABELS = np.array([0, 3, 1, 1, 2, 0])
SHARES = RANDOM.dirichlet(np.ones(4), 6)
SIGNS = np.array([1, -1, 1, 1, -1, 1])
SAMPLES = np.array([1.0, 0.0, 2.0, 0.5, 3.0, 1.0])
MASK = np.array([True, True, False, True, False, True])
CLASSES = np.array([1.0, 0.5, 2.0, 3.0])


# Plain statements, of one example -------------------------------------------------------------------------------------


def entropy(z, y, weight=None, smoothing=0.0):
    logs = np.log(np.sum(np.exp(z))) - z
    w = np.ones(len(z)) if weight is None else weight
    if np.ndim(y):
        return np.sum(w * y * logs)
    return (1.0 - smoothing) * w[y] * logs[y] + smoothing / len(z) * np.sum(w * logs)


def margins(z, y, margin=1.0):
    return [max(0.0, z[c] - z[y] + margin) for c in range(len(z)) if c != y]


def binary(z, t, positive=1.0):
    p = 1.0 / (1.0 + np.exp(-z))
    return -(positive * t * np.log(p) + (1.0 - t) * np.log(1.0 - p))


def huber(p, t, delta):
    e = np.abs(p - t)
    return np.sum(np.where(e <= delta, 0.5 * e * e, delta * (e - 0.5 * delta)))


# name: the loss, the statement of one example, predictions, targets
ROWS = {
    "cross_entropy": (nn.cross_entropy, entropy, SCORES, LABELS),
    "cross_entropy, shares": (nn.cross_entropy, entropy, SCORES, SHARES),
    "cross_entropy, smoothing": (
        lambda z, y, **o: nn.cross_entropy(z, y, label_smoothing=0.3, **o),
        lambda z, y: entropy(z, y, smoothing=0.3),
        SCORES,
        LABELS,
    ),
    "cross_entropy, shares, smoothing": (
        lambda z, y, **o: nn.cross_entropy(z, y, label_smoothing=0.3, **o),
        lambda z, y: entropy(z, 0.7 * y + 0.3 / 4.0),
        SCORES,
        SHARES,
    ),
    "cross_entropy, shares, class weights": (
        lambda z, y, **o: nn.cross_entropy(z, y, CLASSES, **o),
        lambda z, y: entropy(z, y, CLASSES),
        SCORES,
        SHARES,
    ),
    "nll_loss": (nn.nll_loss, lambda z, y: -z[y], SCORES, LABELS),
    "multiclass_hinge": (nn.multiclass_hinge, lambda z, y: sum(margins(z, y)), SCORES, LABELS),
    "multiclass_hinge, largest": (
        lambda z, y, **o: nn.multiclass_hinge(z, y, 0.5, "largest", **o),
        lambda z, y: max(margins(z, y, 0.5)),
        SCORES,
        LABELS,
    ),
    "hinge": (nn.hinge, lambda z, t: max(0.0, 1.0 - t * z), SCORES[:, 0], SIGNS),
    "squared_hinge": (
        lambda z, t, **o: nn.squared_hinge(z, t, 2.0, **o),
        lambda z, t: max(0.0, 2.0 - t * z) ** 2,
        SCORES[:, 0],
        SIGNS,
    ),
    "binary_cross_entropy_with_logits": (
        nn.binary_cross_entropy_with_logits,
        binary,
        SCORES[:, 0],
        SHARES[:, 0],
    ),
    "binary_cross_entropy_with_logits, positive": (
        lambda z, t, **o: nn.binary_cross_entropy_with_logits(z, t, 3.0, **o),
        lambda z, t: binary(z, t, 3.0),
        SCORES[:, 0],
        SHARES[:, 0],
    ),
    "binary_cross_entropy": (
        nn.binary_cross_entropy,
        lambda p, t: -(t * np.log(p) + (1.0 - t) * np.log(1.0 - p)),
        SHARES[:, 1],
        SHARES[:, 0],
    ),
    "squared_error": (nn.squared_error, lambda p, t: 0.5 * np.sum((p - t) ** 2), SCORES, SHARES),
    "squared_error of numbers": (
        nn.squared_error,
        lambda p, t: 0.5 * np.sum((p - t) ** 2),
        SCORES[:, :1],
        SHARES[:, :1],
    ),
    "absolute_error": (nn.absolute_error, lambda p, t: np.sum(np.abs(p - t)), SCORES, SHARES),
    "huber": (
        lambda p, t, **o: nn.huber(p, t, 0.7, **o),
        lambda p, t: huber(p, t, 0.7),
        SCORES,
        SHARES,
    ),
}
WEIGHTS = {
    "none": ({}, np.ones(6)),
    "sample_weight": ({"sample_weight": SAMPLES}, SAMPLES),
    "mask": ({"mask": MASK}, MASK * 1.0),
    "both": ({"sample_weight": SAMPLES, "mask": MASK}, SAMPLES * MASK),
}


def difference(f, x):
    """The gradient of a function of an array by differences."""
    h, found = 1e-6, np.zeros_like(x)
    for i in np.ndindex(x.shape):
        ends = []
        for step in (h, -h):
            moved = x.copy()
            moved[i] += step
            ends.append(float(f(moved)))
        found[i] = (ends[0] - ends[1]) / (2.0 * h)
    return found


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ROWS)
def test_loss_is_what_it_says(name, weights):
    loss, statement, predictions, targets = ROWS[name]
    options, w = WEIGHTS[weights]
    each = np.array([statement(z, y) for z, y in zip(predictions, targets)])
    mean, total = np.sum(w * each) / np.sum(w), np.sum(w * each)
    tight = {"rtol": 1e-12, "atol": 1e-14}
    assert_allclose(loss(predictions, targets, **options), mean, **tight)
    assert_allclose(loss(predictions, targets, reduction="sum", **options), total, **tight)
    assert_allclose(loss(predictions, targets, reduction="none", **options), w * each, **tight)
    assert_allclose(loss(predictions, targets, reduction="pair", **options), (total, np.sum(w)), **tight)
    handle = fp.Array(predictions)
    result = loss(handle, targets, **options)
    result.backward()
    assert_allclose(result.value, mean, **tight)

    def plain(z):
        return np.sum(w * np.array([statement(*row) for row in zip(z, targets)])) / np.sum(w)

    assert_allclose(handle.grad, difference(plain, predictions), rtol=1e-5, atol=1e-8)
    names = list(options)

    def batch(z, y, *given):
        return loss(z, y, **dict(zip(names, given)))

    def example(z, y, *given):
        return loss(z, y, reduction="pair", **dict(zip(names, given)))

    given = [options[k] * 1.0 for k in names]
    for front in (batch, nn.weighted_mean(example)):
        value, slope = fp.compile(fp.value_and_grad(front))(predictions, targets, *given)
        assert_allclose(value, mean, rtol=1e-12)
        assert_allclose(slope, handle.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "multiclass_hinge", "cross_entropy, smoothing"])
def test_class_weights(name):
    loss = {
        "cross_entropy": nn.cross_entropy,
        "nll_loss": nn.nll_loss,
        "multiclass_hinge": nn.multiclass_hinge,
        "cross_entropy, smoothing": lambda z, y, **o: nn.cross_entropy(z, y, label_smoothing=0.3, **o),
    }[name]
    if name == "cross_entropy, smoothing":
        each = np.array([entropy(z, y, CLASSES, 0.3) for z, y in zip(SCORES, LABELS)])
    else:
        each = CLASSES[LABELS] * np.array([ROWS[name][1](z, y) for z, y in zip(SCORES, LABELS)])
    for options, w in WEIGHTS.values():
        expected = np.sum(w * each) / np.sum(w * CLASSES[LABELS])
        assert_allclose(loss(SCORES, LABELS, weight=CLASSES, **options), expected, rtol=1e-12)
        assert_allclose(loss(fp.Array(SCORES), LABELS, weight=CLASSES, **options).value, expected, rtol=1e-12)

    def example(z, y):
        return loss(z, y, weight=CLASSES, reduction="pair")

    value, slope = fp.compile(fp.value_and_grad(nn.weighted_mean(example)))(SCORES, LABELS)
    assert_allclose(value, np.sum(each) / np.sum(CLASSES[LABELS]), rtol=1e-12)
    assert_allclose(slope, fp.grad(lambda z: loss(z, LABELS, weight=CLASSES))(SCORES), rtol=1e-10, atol=1e-14)


# Values and gradients at edges ----------------------------------------------------------------------------------------


def at(front, loss, z, y):
    """The value and gradient of a loss at one point."""
    z, y = np.asarray(z, float), np.asarray(y)
    if front == "lanes":
        value, slope = fp.compile(fp.value_and_grad(fp.vmap(loss, reduce="sum")))(z[None], y[None])
        return value, slope[0]
    f = fp.value_and_grad(loss)
    return (fp.compile(f) if front == "compiled" else f)(z if z.ndim else float(z), y if y.ndim else y[()])


EDGES = {
    "entropy, inf": (nn.cross_entropy, [INF, 0.0], 0, 0.0, [0.0, 0.0]),
    "entropy, -inf": (nn.cross_entropy, [-INF, 0.0], 0, INF, [-1.0, 1.0]),
    "entropy, 40": (nn.cross_entropy, [40.0, 0.0], 0, 4.248354255291589e-18, [-4.248354255291589e-18, 4.248354255e-18]),
    "entropy, far below 0": (nn.cross_entropy, [-1e12, -2e12], 0, 0.0, [0.0, 0.0]),
    "entropy, one class": (nn.cross_entropy, [3.0], 0, 0.0, [0.0]),
    "entropy, masked class": (nn.cross_entropy, [-INF, 0.0], [0.0, 1.0], 0.0, [0.0, 0.0]),
    "binary, inf": (nn.binary_cross_entropy_with_logits, INF, 1.0, 0.0, 0.0),
    "binary, -inf": (nn.binary_cross_entropy_with_logits, -INF, 1.0, INF, -1.0),
    "binary, -inf, target 0": (nn.binary_cross_entropy_with_logits, -INF, 0.0, 0.0, 0.0),
    "binary, 40": (nn.binary_cross_entropy_with_logits, 40.0, 1.0, 4.248354255291589e-18, -4.248354255291589e-18),
    "binary, probability 0": (nn.binary_cross_entropy, 0.0, 1.0, INF, -INF),
    "binary, probability 1": (nn.binary_cross_entropy, 1.0, 1.0, 0.0, -1.0),
    "hinge at its margin": (nn.hinge, 1.0, 1.0, 0.0, 0.0),
    "squared hinge at its margin": (nn.squared_hinge, -1.0, -1.0, 0.0, 0.0),
    "multi-class hinge": (nn.multiclass_hinge, [1.0, 0.5, 3.0], 0, 3.5, [-2.0, 1.0, 1.0]),
    "multi-class hinge at its margin": (nn.multiclass_hinge, [1.0, 0.0], 0, 0.0, [0.0, 0.0]),
    "largest violations tie": (
        lambda z, y: nn.multiclass_hinge(z, y, violations="largest"),
        [1.0, 2.0, 2.0],
        0,
        2.0,
        [-1.0, 0.5, 0.5],
    ),
    "largest of one class": (lambda z, y: nn.multiclass_hinge(z, y, violations="largest"), [1.0], 0, 0.0, [0.0]),
    "half squared, 1e200": (nn.squared_error, 1e200, 0.0, INF, 1e200),
    "huber, 1e200": (nn.huber, 1e200, 0.0, 1e200, 1.0),
    "huber at delta": (nn.huber, 1.0, 0.0, 0.5, 1.0),
    "absolute error of 0": (nn.absolute_error, 1.0, 1.0, 0.0, 0.0),
}


@pytest.mark.parametrize("front", ["eager", "compiled", "lanes"])
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, front):
    loss, z, y, value, slope = EDGES[name]
    found = at(front, loss, z, y)
    assert_allclose(found[0], value, rtol=1e-14)
    assert_allclose(found[1], slope, rtol=1e-9)


BAD = np.array([SCORES[0], [NAN] * 4, SCORES[2]])


@pytest.mark.parametrize(
    "labels, options",
    [
        ([0, -100, 1], {}),
        ([0, 7, 1], {"ignore_index": 7}),
        ([0, 2, 1], {"mask": np.array([True, False, True])}),
        ([0, -1, 1], {"mask": np.array([True, False, True])}),
        ([0, 2, 1], {"sample_weight": np.array([1.0, 0.0, 1.0])}),
        ([0, 2, 1], {"weight": np.array([1.0, 1.0, 0.0, 1.0])}),
    ],
)
@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.nll_loss, nn.multiclass_hinge])
def test_a_row_without_weight_has_no_part(loss, labels, options):
    labels = np.array(labels)
    expected, slope = fp.value_and_grad(lambda z: loss(z, labels[[0, 2]]))(SCORES[[0, 2]])
    lanes = {k: options[k] for k in ("mask", "sample_weight") if k in options}
    options = {k: options[k] for k in options if k not in lanes}
    names = list(lanes)

    def batch(z, y, *given):
        return loss(z, y, **options, **dict(zip(names, given)))

    def example(z, y, *given):
        return loss(z, y, reduction="pair", **options, **dict(zip(names, given)))

    fronts = [fp.value_and_grad(batch), *[fp.compile(fp.value_and_grad(f)) for f in (batch, nn.weighted_mean(example))]]
    for front in fronts:
        value, gradient = front(BAD, labels, *[x * 1.0 for x in lanes.values()])
        assert_allclose(value, expected, rtol=1e-12)
        assert_array_equal(gradient[1], np.zeros(4))
        assert_allclose(gradient[[0, 2]], slope, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", [nn.squared_error, nn.absolute_error, nn.huber])
def test_masked_steps_of_a_sequence(loss):
    real = np.array([True, False, True])

    def example(p, t, m):
        return loss(p, t, mask=m, reduction="pair")

    value, slope = fp.compile(fp.value_and_grad(nn.weighted_mean(example)))(
        BAD[None], SHARES[None, :3], real[None] * 1.0
    )
    expected, gradient = fp.value_and_grad(loss)(BAD[[0, 2]], SHARES[[0, 2]])
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(slope[0, [0, 2]], gradient, rtol=1e-12)
    assert_array_equal(slope[0, 1], np.zeros(4))
    assert_allclose(loss(BAD, SHARES[:3], mask=real), expected, rtol=1e-12)


def test_the_mean_over_sequences_of_unlike_lengths_is_over_their_steps():
    scores, labels = np.stack([SCORES[:3], SCORES[3:]]), np.stack([LABELS[:3], LABELS[3:]])
    lengths = np.array([3, 1])

    def example(z, y, n):
        return nn.cross_entropy(z, y, mask=np.arange(3) < n, reduction="pair")

    found = fp.compile(nn.weighted_mean(example))(scores, labels, lengths)
    assert_allclose(found, nn.cross_entropy(SCORES[:4], LABELS[:4]), rtol=1e-12)


@pytest.mark.parametrize("front", ["eager", "compiled", "lanes"])
@pytest.mark.parametrize("rows", [0, 2])
def test_nothing_has_the_mean_0(front, rows):
    scores, labels = SCORES[:rows], np.full(rows, -100)
    f = (
        nn.weighted_mean(lambda z, y: nn.cross_entropy(z, y, reduction="pair"))
        if front == "lanes"
        else nn.cross_entropy
    )
    f = fp.value_and_grad(f)
    value, slope = (f if front == "eager" else fp.compile(f))(scores, labels)
    assert value == 0.0
    assert_array_equal(slope, np.zeros((rows, 4)))


# Refusals -------------------------------------------------------------------------------------------------------------

LABEL_LOSSES = [nn.cross_entropy, nn.nll_loss, nn.multiclass_hinge]


@pytest.mark.parametrize("loss", LABEL_LOSSES)
@pytest.mark.parametrize("label", [-1, 4])
def test_labels_out_of_range(loss, label):
    labels = np.array([0, 1, label])
    with pytest.raises(IndexError, match=rf"label {label} in row 2; expected 0 to 3"):
        loss(SCORES[:3], labels)
    with pytest.raises(IndexError, match=rf"label {label}; expected 0 to 3"):
        loss(SCORES[0], label)
    for front in (fp.vmap(loss), fp.compile(fp.vmap(loss))):
        with pytest.raises(IndexError, match=rf"{loss.__name__}: label {label}; expected 0 to 3, in lane 2"):
            front(SCORES[:3], labels)
    compiled = fp.compile(loss)
    compiled(SCORES[:3], LABELS[:3])
    for front in (compiled, fp.compile(loss), fp.compile(lambda z, y: loss(z, y, CLASSES)), fp.compile(fp.grad(loss))):
        with pytest.raises(IndexError, match=rf"{loss.__name__}: label {label}; expected 0 to 3"):
            front(SCORES[:3], labels)


def test_labels_out_of_range_in_a_gradient_inside():
    def step(z, y):
        return z - fp.grad(nn.cross_entropy)(z, y)

    compiled = fp.compile(fp.vmap(step))
    compiled(SCORES, LABELS)
    for front in (compiled, fp.compile(fp.vmap(step)), fp.vmap(step)):
        with pytest.raises(IndexError, match=r"cross_entropy: label -1; expected 0 to 3, in lane 1"):
            front(SCORES[:2], np.array([0, -1]))


def test_other_indices_keep_their_name():
    def f(z, y, k):
        return nn.cross_entropy(z, y) + z[k]

    with pytest.raises(IndexError, match=r"index 4 is out of bounds .* in lane 1"):
        fp.compile(fp.vmap(f))(SCORES[:2], LABELS[:2], np.array([0, 4]))


@pytest.mark.parametrize("loss", LABEL_LOSSES)
@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]
)
def test_labels_of_any_integer_dtype(loss, dtype):
    expected = loss(SCORES, LABELS)
    labels = LABELS.astype(dtype)
    assert loss(SCORES, labels) == expected
    assert_allclose(fp.compile(fp.vmap(loss, reduce="mean"))(SCORES, labels), expected, rtol=1e-12)


@pytest.mark.parametrize("loss", LABEL_LOSSES)
@pytest.mark.parametrize("labels", [LABELS > 0, LABELS * 1.0, LABELS.astype(np.float32)])
def test_labels_are_integers(loss, labels):
    with pytest.raises(TypeError, match="labels are integers from 0 to 3"):
        loss(SCORES, labels)
    for front in (fp.vmap(loss), fp.compile(fp.vmap(loss))):
        with pytest.raises(TypeError, match=r"labels are integers from 0 to 3.*\.astype\(int\)"):
            front(SCORES, labels)
    with pytest.raises(TypeError, match=r"got bools\. Of others \.astype\(int\) makes them"):
        fp.vmap(loss)(SCORES, LABELS > 0)
    with pytest.raises(TypeError, match="labels are integers"):
        loss(SCORES[0], True)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: nn.cross_entropy(SCORES, LABELS[:, None]), r"\(6, 4\) and labels of shape \(6, 1\)"),
        (lambda: nn.cross_entropy(SCORES, LABELS[:5]), r"labels of shape \(5,\)"),
        (lambda: nn.cross_entropy(1.0, 0), "one for every class"),
        (lambda: nn.cross_entropy(SCORES, LABELS, label_smoothing=1.1), "label_smoothing 1.1"),
        (lambda: nn.cross_entropy(SCORES, LABELS, label_smoothing=-0.1), "label_smoothing -0.1"),
        (lambda: nn.cross_entropy(SCORES, LABELS, label_smoothing=NAN), "label_smoothing nan"),
        (lambda: nn.cross_entropy(SCORES, LABELS, weight=[1.0]), "each of 4 classes"),
        (lambda: nn.cross_entropy(SCORES, LABELS, weight=[1.0, 1.0, 1.0, -1.0]), "negative"),
        (lambda: nn.cross_entropy(SCORES, LABELS, sample_weight=[1.0]), r"sample_weight of shape \(1,\)"),
        (lambda: nn.cross_entropy(SCORES, LABELS, sample_weight=-SAMPLES), "sample_weight .* negative"),
        (lambda: nn.cross_entropy(SCORES, LABELS, sample_weight=SAMPLES * NAN), "NaN"),
        (lambda: nn.cross_entropy(SCORES, LABELS, reduction="average"), "expected one of mean, sum, none, pair"),
        (lambda: nn.multiclass_hinge(SCORES, LABELS, violations="most"), "largest"),
        (lambda: nn.hinge(0.5, 0), r"labels are 1 and -1 \(2 \* labels - 1 makes them of 0 and 1\); got 0$"),
        (lambda: nn.hinge([0.5, 1.0, 2.0], [1, 3, 2]), "labels are 1 and -1 .*; got 3$"),
        (lambda: nn.hinge([0.5, 1.0, 2.0], [3, 1, 2], mask=[0, 1, 1]), "labels are 1 and -1 .*; got 2$"),
        (lambda: nn.squared_hinge(SCORES[:, 0], SIGNS > 0), "labels are 1 and -1 .*; got False$"),
        (
            lambda: fp.compile(fp.vmap(nn.hinge))(SCORES[:, 0], SIGNS * (SIGNS > 0)),
            "labels are 1 and -1 .*; got others$",
        ),
        (lambda: nn.hinge(fp.Unit(0.5), fp.Unit(3.0)), "labels are 1 and -1 .*; got others$"),
        (lambda: nn.binary_cross_entropy_with_logits(1.0, 2.0), "from 0 to 1; got 2.0$"),
        (lambda: nn.binary_cross_entropy_with_logits(1.0, -1), "from 0 to 1; got -1$"),
        (lambda: nn.binary_cross_entropy(0.5, 2.0), "from 0 to 1; got 2.0$"),
        (lambda: nn.binary_cross_entropy([[0.5]], [[NAN]]), "from 0 to 1; got nan$"),
        (
            lambda: fp.compile(fp.vmap(nn.binary_cross_entropy_with_logits))(SCORES[:, 0], SIGNS * 1.0),
            "from 0 to 1",
        ),
        (lambda: nn.binary_cross_entropy(1.5, 1.0), "probabilities are from 0 to 1.*with_logits"),
        (lambda: nn.binary_cross_entropy(fp.Unit(-0.5), 1.0), "probabilities are from 0 to 1"),
        (lambda: nn.binary_cross_entropy(fp.Array([0.5, 1.5]), [1.0, 1.0]), "probabilities are from 0 to 1"),
        (lambda: fp.grad(nn.binary_cross_entropy)(1.5, 1.0), "probabilities are from 0 to 1"),
        (lambda: nn.cross_entropy([1.0, 2.0], [-0.5, 1.5]), "shares of classes are from 0 to 1"),
        (lambda: nn.cross_entropy([1.0, 2.0], [0.0, 2.0], label_smoothing=0.1), "shares of classes are from 0 to 1"),
        (lambda: nn.cross_entropy(fp.Array(SCORES), -SHARES), "shares of classes are from 0 to 1"),
        (lambda: nn.cross_entropy([1.0, 2.0], fp.Array([0.0, 2.0])), "shares of classes are from 0 to 1"),
        (lambda: nn.huber(1.0, 0.0, delta=0.0), "delta 0"),
        (lambda: nn.huber(1.0, 0.0, delta=-1.0), "delta -1"),
        *[
            (lambda loss=loss: loss(SCORES[:, :1], SIGNS), r"\(6, 1\) and targets of shape \(6,\)")
            for loss in (nn.hinge, nn.binary_cross_entropy_with_logits, nn.squared_error, nn.absolute_error, nn.huber)
        ],
    ],
)
def test_what_does_not_fit_is_a_value_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_traced_probabilities_outside_of_0_to_1_give_nan():
    found = fp.compile(fp.vmap(nn.binary_cross_entropy))(
        np.array([1.5, -0.5, 1.0, 0.5]), np.array([1.0, 0.0, 1.0, 1.0])
    )
    assert_array_equal(np.isnan(found), [True, True, False, False])
    assert_allclose(found[2:], [0.0, np.log(2.0)], rtol=1e-12)
    assert np.isnan(fp.compile(nn.binary_cross_entropy)(np.array([0.5, 1.5]), np.ones(2)))
    value, slope = fp.compile(fp.value_and_grad(nn.binary_cross_entropy))(1.5, 1.0)
    assert np.isnan(value)
    assert np.isnan(slope)


def test_what_has_no_weight_may_be_no_probability():
    expected = nn.binary_cross_entropy(0.25, 1.0)
    for options in ({"mask": [True, False]}, {"sample_weight": [1.0, 0.0]}):
        assert_allclose(nn.binary_cross_entropy([0.25, 1.5], [1.0, 1.0], **options), expected)
        found = fp.compile(nn.binary_cross_entropy)(np.array([0.25, 1.5]), np.ones(2), **options)
        assert_allclose(found, expected)
        shares = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
        assert_allclose(nn.cross_entropy(SCORES[:2], shares, **options), nn.cross_entropy(SCORES[0], shares[0]))


def test_shares_that_were_mixed_may_be_rounded():
    shares = np.array([1.0 + 1e-7, -1e-7, 0.0, 0.0])
    assert_allclose(nn.cross_entropy(SCORES[0], shares), nn.cross_entropy(SCORES[0], 0), rtol=1e-5)


@pytest.mark.parametrize("loss", [nn.squared_error, nn.hinge, nn.binary_cross_entropy])
def test_text_is_no_number(loss):
    with pytest.raises(TypeError, match="expected numbers"):
        loss("a", 1.0)


def test_lists_are_arrays():
    assert nn.cross_entropy([1.0, 2.0], 1) == nn.cross_entropy(np.array([1.0, 2.0]), np.int64(1))
    units = [fp.Unit(1.0), fp.Unit(2.0)]
    loss = nn.cross_entropy(units, 1)
    loss.backward()
    assert_allclose([u.grad for u in units], fp.grad(lambda z: nn.cross_entropy(z, 1))([1.0, 2.0]))
    assert nn.hinge([0.5, 2.0], [1, -1], mask=[True, False]) == 0.5


def test_float32_stays_float32():
    scores = fp.Array(SCORES.astype(np.float32))
    loss = nn.cross_entropy(scores, LABELS, CLASSES.astype(np.float32))
    loss.backward()
    assert scores.grad.dtype == np.float32
    step = fp.compile(fp.grad(fp.vmap(nn.cross_entropy, reduce="mean")))
    assert step(scores.value, LABELS).dtype == np.float32


# Regularisers ---------------------------------------------------------------------------------------------------------

PARAMS = {"0": {"weight": SCORES, "bias": SIGNS * 1.0}, "cell": {"weight_hh_l0": SHARES, "bias_hh_l0": SIGNS * 2.0}}


def test_regularisers_are_what_they_say():
    weights = [SCORES, SHARES]
    rows = {
        "l1": (lambda p: regularisers.l1(p, 0.3), 0.3 * sum(np.abs(w).sum() for w in weights)),
        "l2": (lambda p: regularisers.l2(p, 0.3), 0.15 * sum((w * w).sum() for w in weights)),
        "elastic_net": (
            lambda p: regularisers.elastic_net(p, 0.3, 0.2),
            sum(0.3 * np.abs(w).sum() + 0.1 * (w * w).sum() for w in weights),
        ),
        "group_sparsity": (
            lambda p: regularisers.group_sparsity(p, 0.3),
            0.3 * sum(np.sqrt((w * w).sum(1)).sum() for w in weights),
        ),
        "group_sparsity of inputs": (
            lambda p: regularisers.group_sparsity(p, 0.3, axis=1),
            0.3 * sum(np.sqrt((w * w).sum(0)).sum() for w in weights),
        ),
    }
    for f, expected in rows.values():
        assert_allclose(f(PARAMS), expected, rtol=1e-12)
        value, slopes = fp.compile(fp.value_and_grad(f))(PARAMS)
        assert_allclose(value, expected, rtol=1e-12)
        assert_array_equal(slopes["0"]["bias"], np.zeros(6))
        assert_allclose(
            slopes["0"]["weight"],
            difference(lambda w: f({**PARAMS, "0": {"weight": w}}), SCORES),  # noqa: B023
            rtol=1e-5,
            atol=1e-8,
        )


def test_regularisers_take_modules_and_arrays():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.MLP(2, [1], rng=0))
    model[1].layers[0].neurons[0].b.value = 2.0
    result = regularisers.l2(model, 1.0)
    result.backward()
    assert_allclose(result.value, regularisers.l2(model.params(), 1.0))
    assert_allclose(model[0].weight.grad, model[0].weight.value)
    assert_array_equal(model[0].bias.grad, [0.0, 0.0])
    assert model[1].layers[0].neurons[0].b.grad == 0.0
    assert_allclose(
        [w.grad for w in model[1].layers[0].neurons[0].w], model.params()["1"]["layers"]["0"]["neurons"]["0"]["w"]
    )
    assert regularisers.l1([[1.0, -2.0]], 2.0) == 6.0


def test_kinks_and_zero_groups():
    assert_array_equal(fp.grad(lambda w: regularisers.l1(w, 1.0))(np.array([0.0, -2.0])), [0.0, -1.0])
    zero = fp.grad(lambda w: regularisers.group_sparsity(w, 1.0))(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert_allclose(zero, [[0.0, 0.0], [0.6, 0.8]])


def test_max_norm_shortens():
    kernel = RANDOM.normal(size=(3, 2, 2, 2))
    found = regularisers.max_norm({"w": kernel, "v": [3.0, 4.0], "bias": [9.0], "s": -7.0}, 1.0)
    norms = np.sqrt((kernel**2).sum((1, 2, 3), keepdims=True))
    assert_allclose(found["w"], kernel / np.maximum(norms, 1.0), rtol=1e-12)
    assert_allclose(found["v"], [0.6, 0.8])
    assert found["bias"] == [9.0] and found["s"] == -1.0
    inputs = regularisers.max_norm(kernel, 1.0, axis=1)
    assert_allclose(np.sqrt((inputs**2).sum((0, 2, 3))), np.minimum(np.sqrt((kernel**2).sum((0, 2, 3))), 1.0))
    assert regularisers.max_norm(kernel.astype(np.float32), 1.0).dtype == np.float32
    assert_array_equal(regularisers.max_norm([[0.0, 0.0]], 0.0), [[0.0, 0.0]])
    assert_allclose(regularisers.max_norm(np.array([[3.0, 4.0]]) * 1e200, 1.0), [[0.6, 0.8]])


@pytest.mark.parametrize("strength", [-1.0, NAN, INF])
@pytest.mark.parametrize("name", ["l1", "l2", "group_sparsity"])
def test_strengths_are_not_negative(name, strength):
    with pytest.raises(ValueError, match=f"{name} with strength"):
        getattr(regularisers, name)(PARAMS, strength)


@pytest.mark.parametrize("limit", [-1.0, NAN])
def test_limits_are_not_negative(limit):
    with pytest.raises(ValueError, match="max_norm with limit"):
        regularisers.max_norm(PARAMS, limit)
