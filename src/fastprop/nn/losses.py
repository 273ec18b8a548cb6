"""Losses, of one example, or of many along the first axes.

Most take ``sample_weight`` and ``mask``, and the losses of labels class weights, too. Where w is their product, the
mean of losses l is Σ w l / Σ w, and 0 of nothing. What has the weight 0 has no part in it, whatever is predicted there.

In lanes, each of which sees one example, the mean over a batch takes the sums of both: ``reduction="pair"`` gives them,
and `weighted_mean` divides them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.circuits.vmap import vmap
from fastprop.derivatives.call import name_of
from fastprop.engine.functions import (
    absolute,
    log,
    log1p,
    log_sigmoid,
    logsumexp,
    relu,
    softplus,
    strong_multiply,
    where,
)
from fastprop.engine.functions import max as greatest
from fastprop.engine.functions import sum as total
from fastprop.gates import is_condition
from fastprop.gates.items import as_item
from fastprop.gates.reductions import log_softmax
from fastprop.handles.nesting import described, map_leaves, shape_of
from fastprop.nn.labels import as_block, numbers_at
from fastprop.nn.weighting import (
    alike,
    class_weights_of,
    demand,
    labelled,
    mean_of,
    of_class,
    own_class,
    reduced,
    refuse,
    scores_of,
    shared,
    times,
    weights_of,
)

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "hinge",
    "huber",
    "multiclass_hinge",
    "nll_loss",
    "squared_error",
    "squared_hinge",
    "weighted_mean",
]

ROUNDING = 1e-6  # by so much shares that were mixed in float32 may miss 0 and 1


def weighted_mean(loss: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """Return the mean loss of a batch, in lanes, of a function of one example.

    Parameters
    ----------
    loss : callable
        Gives a loss with ``reduction="pair"``, or a loss of its own and its weight; or a tuple of such a pair and of
        something else, such as new buffers.
    in_axes : int, None or nest of these
        Which arguments have the examples along which axis, as for `fastprop.vmap`.

    Returns
    -------
    callable
        Gives Σ w l / Σ w over the examples; 0, with gradient 0, if no weight is there. What else there is comes
        beside it, in a tuple, as its mean over the examples: ``value_and_grad(…, has_aux=True)`` takes that.

    Raises
    ------
    TypeError
        If the loss gives no pair.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> def loss(w, x, label):
    ...     return fp.nn.cross_entropy(w * x, label, ignore_index=9, reduction="pair")
    >>> step = fp.compile(fp.value_and_grad(fp.nn.weighted_mean(loss, in_axes=(None, 0, 0))))
    >>> value, gradient = step(0.0, np.ones((3, 2)), np.array([0, 1, 9]))
    >>> round(value, 6)
    0.693147
    """

    def counted(*arguments: Any) -> Any:
        found = loss(*arguments)
        pair, *beside = found if _is_pair(found) and _is_pair(found[0]) else (found,)
        if not _is_pair(pair):
            raise TypeError(
                f"weighted_mean: {name_of(loss)} returned {described(found)}; expected a loss and its weight, which "
                'losses with reduction="pair" give, or a tuple of both and of something else'
            )
        return pair, *[(each, 1.0) for each in beside]

    counted.__name__ = name_of(loss)
    sums = vmap(counted, in_axes, reduce="sum")

    def mean(*arguments: Any) -> Any:
        (losses, weights), *beside = sums(*arguments)
        value = mean_of(losses, weights)
        return (value, *[_means(*each) for each in beside]) if beside else value

    return mean


def _means(sums: Any, count: Any) -> Any:
    return map_leaves(lambda x: mean_of(x, count), sums)


def _is_pair(x: Any) -> bool:
    return isinstance(x, (tuple, list)) and len(x) == 2


# Of labels ------------------------------------------------------------------------------------------------------------


def cross_entropy(
    scores: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return minus the logarithm of the share that the softmax of scores gives to the right class.

    Parameters
    ----------
    scores : Array or array_like
        Of shape (…, classes).
    target : int, array of int, traced integers, or shares
        Labels of shape (…), or the right share of every class, from 0 to 1, of the shape of the scores. 0 log 0 is 0.
    weight : array_like, optional
        A weight for every class. The mean of one example, w l / w, knows nothing of it: so it has no effect under
        ``vmap(…, reduce="mean")``; `weighted_mean` of losses with ``reduction="pair"`` is Σ w l / Σ w of a batch.
    ignore_index : int or None
        The label of what has no part in the loss.
    label_smoothing : float
        How much of the right class's share is spread over all of them.
    sample_weight, mask : array, optional
        Weights, and truth values, of shape (…).
    reduction : {"mean", "sum", "none", "pair"}
        Σ w l / Σ w, Σ w l, all w l, or both sums.

    Returns
    -------
    float, Unit or Array
        The loss; with "pair" two of them. Of shares, w does not count the weights of classes.

    Raises
    ------
    TypeError, IndexError
        If labels are no integers; if one is negative or too large.
    ValueError
        If shapes or options are wrong, or shares (but traced ones) are not from 0 to 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> scores = fp.Array([2.0, 0.0])
    >>> loss = fp.nn.cross_entropy(scores, 0)
    >>> loss.backward()
    >>> round(loss.value, 6), scores.grad.round(6)
    (0.126928, array([-0.119203,  0.119203]))
    """
    scores, classes = scores_of("cross_entropy", scores)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing}; expected a number from 0 to 1")
    class_weights = class_weights_of("cross_entropy", weight, classes)
    target = as_block(target)
    if shape_of(target) == shape_of(scores):
        smooth = (1.0 - label_smoothing) * target + label_smoothing / classes if label_smoothing else target
        losses = shared(-log_softmax(scores, axis=-1), smooth, class_weights)
        weights = weights_of("cross_entropy", shape_of(losses), sample_weight, mask)
        outside = (target < -ROUNDING) | (target > 1.0 + ROUNDING)
        counted = weights[..., None] if weights is not None and shape_of(weights) else weights
        refuse(outside, counted, "cross_entropy: the shares of classes are from 0 to 1")
        return reduced(losses, weights, reduction)
    labels, weights = labelled("cross_entropy", scores, target, ignore_index, sample_weight, mask)
    if label_smoothing:
        logs = -log_softmax(scores, axis=-1)
        right = times(
            of_class("cross_entropy", class_weights, labels), numbers_at("cross_entropy: label", logs, labels)
        )
        losses = (1.0 - label_smoothing) * right + label_smoothing / classes * shared(logs, 1.0, class_weights)
        return reduced(losses, weights, reduction, of_class("cross_entropy", class_weights, labels))
    others = where(own_class(labels, classes), -np.inf, scores)
    losses = -log_sigmoid(
        numbers_at("cross_entropy: label", scores, labels) - logsumexp(others, axis=-1)
    )  # no digit lost near 0
    each = of_class("cross_entropy", class_weights, labels)
    return reduced(times(each, losses), weights, reduction, each)


def nll_loss(
    log_probs: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int | None = -100,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return minus the right class's logarithm of a probability.

    Parameters
    ----------
    log_probs : Array or array_like
        Of shape (…, classes), as `LogSoftmax` gives them.
    target : int, array of int, or traced integers
        Labels of shape (…).
    weight, ignore_index, sample_weight, mask, reduction
        As for `cross_entropy`.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.nll_loss([-1.0, -2.0], 1)
    2.0
    """
    log_probs, classes = scores_of("nll_loss", log_probs)
    class_weights = class_weights_of("nll_loss", weight, classes)
    labels, weights = labelled("nll_loss", log_probs, target, ignore_index, sample_weight, mask)
    each = of_class("nll_loss", class_weights, labels)
    return reduced(times(each, -numbers_at("nll_loss: label", log_probs, labels)), weights, reduction, each)


def multiclass_hinge(
    scores: Any,
    target: Any,
    margin: float = 1.0,
    violations: str = "all",
    weight: Any = None,
    ignore_index: int | None = -100,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return by how much wrong classes come closer to the right one than a margin: the structured SVM's loss.

    Parameters
    ----------
    scores : Array or array_like
        Of shape (…, classes).
    target : int, array of int, or traced integers
        Labels of shape (…).
    margin : float
        How far below the right class the others should stay.
    violations : {"all", "largest"}
        Whether they are summed over all wrong classes (PyTorch divides by the number of classes), or only the largest
        counts.
    weight, ignore_index, sample_weight, mask, reduction
        As for `cross_entropy`.

    Examples
    --------
    >>> import fastprop as fp
    >>> scores = fp.Array([1.0, 0.5, 3.0])
    >>> loss = fp.nn.multiclass_hinge(scores, 0)
    >>> loss.backward()
    >>> loss.value, scores.grad
    (3.5, array([-2.,  1.,  1.]))
    """
    if violations not in ("all", "largest"):
        raise ValueError(f'multiclass_hinge: violations {violations!r}; expected "all" or "largest"')
    scores, classes = scores_of("multiclass_hinge", scores)
    class_weights = class_weights_of("multiclass_hinge", weight, classes)
    labels, weights = labelled("multiclass_hinge", scores, target, ignore_index, sample_weight, mask)
    right, own = numbers_at("multiclass_hinge: label", scores, labels), own_class(labels, classes)
    if violations == "largest":
        losses = relu(greatest(where(own, -np.inf, scores), axis=-1) - right + margin)
    else:
        each_right = right[..., None] if shape_of(right) else right
        losses = total(where(own, 0.0, relu(scores - each_right + margin)), axis=-1)
    each = of_class("multiclass_hinge", class_weights, labels)
    return reduced(times(each, losses), weights, reduction, each)


# Of two classes -------------------------------------------------------------------------------------------------------


def hinge(
    scores: Any,
    target: Any,
    margin: float = 1.0,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return by how much scores, turned by labels of 1 and -1, stay below a margin: relu(margin - target * score).

    Parameters
    ----------
    scores : Unit, Array or array_like
        Of any shape.
    target : array_like
        Labels 1 and -1, of the same shape.
    margin : float
        Where the loss begins; there its slope is 0.
    sample_weight, mask, reduction
        As for `cross_entropy`.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.hinge([0.5, 2.0, -1.0], [1, 1, 1], reduction="none")
    array([0.5, 0. , 2. ])
    """
    losses, weights = _hinged("hinge", scores, target, margin, sample_weight, mask)
    return reduced(losses, weights, reduction)


def squared_hinge(
    scores: Any,
    target: Any,
    margin: float = 1.0,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return the squares of what `hinge` gives.

    Parameters
    ----------
    scores, target, margin, sample_weight, mask, reduction
        As for `hinge`.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.squared_hinge([0.5, 2.0, -1.0], [1, 1, 1], reduction="none")
    array([0.25, 0.  , 4.  ])
    """
    losses, weights = _hinged("squared_hinge", scores, target, margin, sample_weight, mask)
    return reduced(losses * losses, weights, reduction)


def _hinged(name: str, scores: Any, target: Any, margin: float, sample_weight: Any, mask: Any) -> tuple[Any, Any]:
    scores, target = alike(name, scores, target)
    weights = weights_of(name, shape_of(scores), sample_weight, mask)
    signs = (target == 1.0) | (target == -1.0)
    demand(signs, target, mask, f"{name}: labels are 1 and -1 (2 * labels - 1 makes them of 0 and 1)")
    return relu(margin - target * scores), weights


def binary_cross_entropy_with_logits(
    scores: Any,
    target: Any,
    pos_weight: Any = None,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return minus the logarithm of the probability that the sigmoid of a score gives to what is right.

    Parameters
    ----------
    scores : Unit, Array or array_like
        Of any shape.
    target : array_like
        What is right, from 0 to 1, of the same shape.
    pos_weight : array_like, optional
        What the loss is multiplied by where the target is 1; it does not count in the mean's Σ w.
    sample_weight, mask, reduction
        As for `cross_entropy`.

    Examples
    --------
    >>> import fastprop as fp
    >>> score = fp.Unit(40.0)
    >>> loss = fp.nn.binary_cross_entropy_with_logits(score, 1.0)
    >>> loss.backward()
    >>> print(f"{loss.value:.3e} {score.grad:.3e}")
    4.248e-18 -4.248e-18
    """
    name = "binary_cross_entropy_with_logits"
    scores, target = alike(name, scores, target)
    weights = weights_of(name, shape_of(scores), sample_weight, mask)
    demand((target >= 0.0) & (target <= 1.0), target, mask, f"{name}: targets are from 0 to 1")
    right = target if pos_weight is None else target * as_item(pos_weight)
    losses = strong_multiply(right, softplus(-scores)) + strong_multiply(1.0 - target, softplus(scores))
    return reduced(losses, weights, reduction)


def binary_cross_entropy(
    probabilities: Any, target: Any, *, sample_weight: Any = None, mask: Any = None, reduction: str = "mean"
) -> Any:
    """Return minus the logarithm of the probability of what is right; of scores use the form with logits.

    Parameters
    ----------
    probabilities : Unit, Array or array_like
        From 0 to 1, of any shape; the loss of a traced one that is not is NaN.
    target : array_like
        What is right, from 0 to 1, of the same shape.
    sample_weight, mask, reduction
        As for `cross_entropy`.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.binary_cross_entropy([0.0, 1.0], [1, 1], reduction="none")
    array([inf,  0.])
    """
    name = "binary_cross_entropy"
    probabilities, target = alike(name, probabilities, target)
    weights = weights_of(name, shape_of(probabilities), sample_weight, mask)
    demand((target >= 0.0) & (target <= 1.0), target, mask, f"{name}: targets are from 0 to 1")
    losses = strong_multiply(target, -log(probabilities)) + strong_multiply(1.0 - target, -log1p(-probabilities))
    outside = (probabilities < 0.0) | (probabilities > 1.0)
    refuse(outside, weights, f"{name}: probabilities are from 0 to 1; of scores take {name}_with_logits")
    losses = losses * where(outside, np.nan, 1.0) if is_condition(outside) else losses  # and so is the slope
    return reduced(losses, weights, reduction)


# Of numbers -----------------------------------------------------------------------------------------------------------


def squared_error(
    prediction: Any, target: Any, *, sample_weight: Any = None, mask: Any = None, reduction: str = "mean"
) -> Any:
    """Return half the squares of the differences, summed over the outputs: the last axis.

    Parameters
    ----------
    prediction, target : Unit, Array or array_like
        Of one shape, (…, outputs), or numbers.
    sample_weight, mask : array, optional
        Weights, and truth values, of shape (…).
    reduction : {"mean", "sum", "none", "pair"}
        As for `cross_entropy`, over the examples.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.squared_error([3.0, 4.0], [0.0, 0.0])
    12.5
    """
    prediction, target = alike("squared_error", prediction, target)
    difference = prediction - target
    return _summed("squared_error", 0.5 * difference * difference, sample_weight, mask, reduction)


def absolute_error(
    prediction: Any, target: Any, *, sample_weight: Any = None, mask: Any = None, reduction: str = "mean"
) -> Any:
    """Return the magnitudes of the differences, summed over the outputs: the last axis.

    Parameters
    ----------
    prediction, target, sample_weight, mask, reduction
        As for `squared_error`.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.absolute_error([3.0, -4.0], [0.0, 0.0])
    7.0
    """
    prediction, target = alike("absolute_error", prediction, target)
    return _summed("absolute_error", absolute(prediction - target), sample_weight, mask, reduction)


def huber(
    prediction: Any,
    target: Any,
    delta: float = 1.0,
    *,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str = "mean",
) -> Any:
    """Return half the squares of small differences, and of large ones what goes on as a line; summed over the outputs.

    Parameters
    ----------
    prediction, target, sample_weight, mask, reduction
        As for `squared_error`.
    delta : float
        Where large begins, more than 0; and the slope there.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.huber([0.5, 3.0], [0.0, 0.0])
    2.625
    """
    if not 0.0 < delta < np.inf:
        raise ValueError(f"huber with delta {delta}; expected a number greater than 0")
    prediction, target = alike("huber", prediction, target)
    difference = prediction - target
    size = absolute(difference)
    losses = where(size <= delta, 0.5 * difference * difference, delta * (size - 0.5 * delta))
    return _summed("huber", losses, sample_weight, mask, reduction)


def _summed(name: str, losses: Any, sample_weight: Any, mask: Any, reduction: str) -> Any:
    if shape_of(losses):
        losses = total(losses, axis=-1)
    return reduced(losses, weights_of(name, shape_of(losses), sample_weight, mask), reduction)
