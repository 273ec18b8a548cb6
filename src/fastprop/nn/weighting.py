"""What losses have in common: weights of examples and classes, means, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastprop.engine.functions import divide, strong_multiply, where
from fastprop.engine.functions import sum as total
from fastprop.gates import is_condition
from fastprop.gates.items import as_item
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import is_handle, shape_of
from fastprop.nn.labels import as_block, as_labels, rows_at

__all__ = [
    "alike",
    "class_weights_of",
    "demand",
    "labelled",
    "mean_of",
    "of_class",
    "own_class",
    "reduced",
    "refuse",
    "scores_of",
    "shared",
    "times",
    "weights_of",
]

REDUCTIONS = ("mean", "sum", "none", "pair")


def reduced(losses: Any, weights: Any, reduction: str, counted: Any = None) -> Any:
    """Return weighted losses, their sum, or their mean; `counted` are weights that the losses have in them already."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    losses = times(weights, losses)
    if reduction == "none":
        return losses
    together = total(losses) if shape_of(losses) else losses
    if reduction == "sum":
        return together
    each = counted if weights is None else weights if counted is None else weights * counted
    count = float(np.prod(shape_of(losses))) if each is None else total(each) if shape_of(each) else each
    return (together, count) if reduction == "pair" else mean_of(together, count)


def mean_of(losses: Any, weights: Any) -> Any:
    """Return a sum over another one; of nothing 0."""
    return divide(losses, where(weights == 0.0, 1.0, weights))


def times(weights: Any, losses: Any) -> Any:
    """Return losses times weights, where there are any: nothing times NaN is nothing."""
    return losses if weights is None else strong_multiply(weights, losses)


def weights_of(name: str, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Any:
    """Return the product of sample weights and a mask; None if there are neither."""
    found = None
    for word, given in (("sample_weight", sample_weight), ("mask", mask)):
        if given is None:
            continue
        weights = as_item(given)
        if shape_of(weights) != shape:
            raise ValueError(f"{name}: {word} of shape {shape_of(weights)}; expected {shape}, that of the losses")
        if is_condition(weights):
            weights = where(weights, 1.0, 0.0)
        elif not is_handle(weights):
            weights = np.asarray(weights, np.float64)
            if not np.all((weights >= 0.0) & (weights < np.inf)):
                raise ValueError(f"{name}: {word} has numbers that are negative, infinite or NaN")
            weights = weights[()]
        found = weights if found is None else found * weights
    return found


def scores_of(name: str, scores: Any) -> tuple[Any, int]:
    """Return scores, and how many classes they are of."""
    scores = as_item(scores)
    shape = shape_of(scores)
    if not shape or not shape[-1]:
        raise ValueError(f"{name}: scores of shape {shape}; expected one for every class along the last axis")
    return scores, shape[-1]


def class_weights_of(name: str, weight: Any, classes: int) -> Any:
    """Return a weight for every class; None if there are none."""
    if weight is None:
        return None
    weight = as_item(weight)
    if shape_of(weight) != (classes,):
        raise ValueError(f"{name}: weight of shape {shape_of(weight)}; expected one for each of {classes} classes")
    if not is_handle(weight) and not np.all((weight >= 0.0) & (weight < np.inf)):
        raise ValueError(f"{name}: weight has numbers that are negative, infinite or NaN")
    return weight


def labelled(
    name: str, scores: Any, target: Any, ignore_index: int | None, sample_weight: Any, mask: Any
) -> tuple[Any, Any]:
    """Return labels, 0 where they have no part, and the weights of the rows."""
    target = as_block(target)
    shape, classes = shape_of(scores)[:-1], shape_of(scores)[-1]
    if shape_of(target) != shape:
        raise ValueError(
            f"{name}: scores of shape {shape_of(scores)} and labels of shape {shape_of(target)}; expected labels of "
            f"shape {shape}"
        )
    weights = weights_of(name, shape, sample_weight, mask)
    counted = None if mask is None else as_item(mask) != 0
    if ignore_index is not None and is_integer(target):
        there = target != ignore_index
        if is_condition(there) or not np.all(there):
            seen = where(there, 1.0, 0.0)
            weights = seen if weights is None else weights * seen
            counted = there if counted is None else counted & there
    return as_labels(name, "label", target, classes, counted), weights


def own_class(labels: Any, classes: int) -> Any:
    """Say for every class whether it is that of the label."""
    return np.arange(classes) == (labels[..., None] if shape_of(labels) else labels)


def of_class(name: str, class_weights: Any, labels: Any) -> Any:
    """Return the weights of the labels' classes."""
    return None if class_weights is None else rows_at(f"{name}: label", class_weights, labels)


def shared(logs: Any, shares: Any, class_weights: Any) -> Any:
    """Return the sum over the classes of logarithms times shares and weights."""
    return total(times(class_weights, strong_multiply(shares, logs)), axis=-1)


def alike(name: str, prediction: Any, target: Any) -> tuple[Any, Any]:
    """Return two blocks of the same shape: ValueError if they are not."""
    pair = [x if is_handle(x) else as_block(x)[()] for x in (prediction, target)]
    for x in pair:
        if not is_handle(x) and getattr(x, "dtype", np.dtype(float)).kind not in "biuf":
            raise TypeError(f"{name}: predictions and targets of dtype {x.dtype}; expected numbers")
    shape, other = map(shape_of, pair)
    if shape != other:
        how = "; targets[:, None] have that of one output" if shape == (*other, 1) else ""
        raise ValueError(
            f"{name}: predictions of shape {shape} and targets of shape {other}; expected equal shapes{how}"
        )
    return pair[0], pair[1]


def demand(true: Any, of: Any, mask: Any, message: str) -> None:
    """Raise ValueError where something is not true of numbers; under trace that is a guard, and another path raises."""
    if mask is not None:
        true = true | (as_item(mask) == 0)
    if not (true if not shape_of(true) else np.all(true)):
        known = not is_condition(true) and not is_handle(of)
        raise ValueError(f"{message}; got {np.asarray(of)[~np.asarray(true)][0].item() if known else 'others'}")


def refuse(wrong: Any, weights: Any, message: str) -> None:
    """Raise ValueError where something wrong has a weight; under trace nothing is known of it."""
    counted = True if weights is None or is_handle(weights) else np.asarray(weights) != 0.0
    if not is_condition(wrong) and np.any(np.asarray(wrong) & counted):
        raise ValueError(message)
