"""The fit loop: steps, epochs, what they scored, and which parameters were the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastprop.optim import Optimizer

from .classifier import Classifier
from .data import Example, batches

Progress = Callable[[list[list[Example]], int], Iterable[list[Example]]]
"""Given an epoch's batches and its number, hands the batches out one by one, and may show how far it has come."""


class Score(NamedTuple):
    """How a classifier did on some examples: mean loss, and the part of them that it got right (0 to 1)."""

    loss: float
    accuracy: float


class Epoch(NamedTuple):
    """One pass over the training examples.

    The training score is of each example at the step that learned from it, so of a classifier still changing; the
    validation score is of the classifier at the end of the epoch. `gates` and `seconds` are of the steps alone;
    seconds are processor time, which other programs on the machine don't lengthen.
    """

    number: int
    training: Score
    validation: Score
    gates: int
    seconds: float


@dataclass
class History:
    """What a fit has done so far.

    Attributes
    ----------
    epochs : list of Epoch
        The epochs that were finished.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest validation loss; None if none was finished."""
        return min(self.epochs, key=lambda epoch: epoch.validation.loss, default=None)

    @property
    def gates(self) -> int:
        """Gates recorded and swept in all steps of the finished epochs."""
        return sum(epoch.gates for epoch in self.epochs)

    @property
    def seconds(self) -> float:
        """Processor time that these steps took."""
        return sum(epoch.seconds for epoch in self.epochs)


def step(classifier: Classifier, rule: Optimizer, batch: Sequence[Example]) -> Score:
    """Learn from one batch.

    Each example gets a circuit of its own, pulled by its share of the mean; the gradients add up in the leaves.

    Returns
    -------
    Score
        Of the batch, before the parameters moved.
    """
    classifier.engine.zero_grad(classifier.parameters)
    losses, right = 0.0, 0
    for inputs, label in batch:
        scores = classifier(inputs)
        loss = classifier.loss(scores, label)
        loss.backward(1.0 / len(batch))
        losses += loss.value
        right += _highest(scores) == label
    if math.isfinite(losses):  # else the parameters stay, and `fit` says why
        _move(rule)
    return Score(losses / len(batch), right / len(batch))


def _move(rule: Optimizer) -> None:
    """Move the parameters, or say in the fit's manner that a gradient has overflowed before the loss did."""
    try:
        rule.step()
    except ValueError as error:
        raise OverflowError(f"{error}; try a smaller rate") from error


def evaluate(classifier: Classifier, examples: Sequence[Example]) -> Score:
    """Score a classifier on examples; nothing about it changes."""
    losses, right = 0.0, 0
    for inputs, label in examples:
        scores = classifier(inputs)
        losses += classifier.loss(scores, label).value
        right += _highest(scores) == label
    return Score(losses / len(examples), right / len(examples))


def fit(
    classifier: Classifier,
    rule: Optimizer,
    training: Sequence[Example],
    validation: Sequence[Example],
    *,
    epochs: int,
    batch: int,
    random: np.random.Generator,
    progress: Progress | None = None,
    report: Callable[[Epoch], object] | None = None,
) -> History:
    """Train a classifier, and leave it with the parameters of the epoch whose validation loss was the lowest.

    Parameters
    ----------
    classifier : Classifier
        Whose parameters are trained.
    rule : Optimizer
        How they move once the gradients are known.
    training, validation : sequence of Example
        To learn from, and to choose the best epoch by.
    epochs : int
        Passes over the training examples.
    batch : int
        Examples in a step.
    random : numpy.random.Generator
        Where the order of the examples comes from.
    progress : callable, optional
        ``progress(batches, epoch number)`` hands out the batches, for a progress bar.
    report : callable, optional
        Called with each `Epoch` that is finished.

    Returns
    -------
    History
        Ctrl-C (KeyboardInterrupt) ends the fit early, not with an exception: `History.interrupted` is then True, and
        the classifier has the parameters of the best finished epoch, or, if there is none, those that it had got to.

    Raises
    ------
    OverflowError
        If a loss is infinite or NaN; the parameters are then those of the best epoch too.
    """
    history = History()
    best_loss, best_values = math.inf, None
    gates = classifier.gates(training[0])
    try:
        for number in range(1, epochs + 1):
            dealt = batches(training, batch, random)
            score, seconds = _pass(classifier, rule, progress(dealt, number) if progress else dealt, number)
            checked = evaluate(classifier, validation)
            if checked.loss < best_loss:
                best_loss, best_values = checked.loss, classifier.values
            history.epochs.append(Epoch(number, score, checked, gates * len(training), seconds))
            if report is not None:
                report(history.epochs[-1])
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        if best_values is not None:
            classifier.values = best_values
    return history


def _pass(classifier: Classifier, rule: Optimizer, dealt: Iterable[list[Example]], number: int) -> tuple[Score, float]:
    """One pass over the batches: the mean score, and the processor time that the steps took."""
    losses, right, count, seconds = 0.0, 0.0, 0, 0.0
    for batch in dealt:
        started = time.process_time()
        score = step(classifier, rule, batch)
        seconds += time.process_time() - started
        if not math.isfinite(score.loss):
            raise OverflowError(
                f"the training loss became {score.loss} in epoch {number} at rate {rule.lr:g}; try a smaller rate"
            )
        losses += score.loss * len(batch)
        right += score.accuracy * len(batch)
        count += len(batch)
    return Score(losses / count, right / count), seconds


def _highest(scores: Sequence[Any]) -> int:
    """The class that the scores are for: the first of the highest."""
    values = [score.value for score in scores]
    return values.index(max(values))
