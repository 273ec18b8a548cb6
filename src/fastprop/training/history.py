"""What a fit has done: losses of steps and epochs, why it ended; and what is told after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastprop.hints import Hinted

__all__ = ["Callback", "Epoch", "History", "LayerStatistics", "Score"]


class Score(NamedTuple):
    """How a model did on some examples: the mean loss, and the means of the metrics."""

    loss: float
    metrics: dict[str, float]


class Epoch(NamedTuple):
    """One pass over the training examples.

    Loss and metrics of the training are means over the examples, each at the step that learned from it, so of a model
    still changing, and weighted as the examples and classes are; those of the validation are of the model at the end of
    the epoch, and weights of classes don't count there. `rate` is that of the first step;
    `seconds` are processor time of the steps alone, which other programs on the machine don't lengthen.
    """

    number: int
    loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    validation_metrics: dict[str, float]
    rate: float
    steps: int
    seconds: float


class LayerStatistics(NamedTuple):
    """What came out of a layer for some examples, and the gradient of their mean loss there.

    Attributes
    ----------
    name, kind : str
        Its name in the model ("" is the model itself), and its class.
    mean, std : float
        Of all numbers that came out.
    zeros : float
        Which share of them was exactly 0.
    dead : float
        Which share of the neurons gave 0 for every example: behind a ReLU these are dead, nothing pulls them.
    gradient : float
        The norm of the gradient of all parameters in it; NaN if it has none.
    """

    name: str
    kind: str
    mean: float
    std: float
    zeros: float
    dead: float
    gradient: float


MADE = "all epochs were made"
COLUMNS = ("epoch", "loss", "rate", "steps", "seconds")  # which every history has, beside metrics


@dataclass(repr=False)
class History(Hinted):
    """What a fit has done; ``first + second``, if a second one went on from there, is what both have done.

    Attributes
    ----------
    epochs : list of Epoch
        The epochs that were finished.
    step_losses : list of float
        The mean loss of the examples of every step, before the parameters moved; NaN for steps that were not made, as
        no example in them had a weight.
    skipped : int
        How many steps were not made.
    stopped : str
        Why it ended: "epochs" (all were made), "converged", "patience", "callback", "interrupted" or "diverged".
    reason : str
        The same in a sentence.
    best : Epoch or None
        The first epoch with the lowest loss (of the validation, if there is one); None if none was finite.
    params : nested containers of arrays
        The parameters at the end, nested as they were given, or as ``model.params()`` nests them.
    statistics : list of list of LayerStatistics
        What a `Watch` among the callbacks has seen of the layers after every epoch.

    Examples
    --------
    A fit that goes on, since model and optimizer keep what they learnt:

    >>> import numpy as np
    >>> import fastprop as fp
    >>> x = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> model = fp.nn.Linear(1, 1, rng=0)
    >>> optimizer = fp.optim.SGD(model, lr=0.1)
    >>> history = fp.fit(model, fp.nn.squared_error, (x, 2.0 * x), optimizer, epochs=3, rng=0)
    >>> history += fp.fit(model, fp.nn.squared_error, (x, 2.0 * x), optimizer, epochs=2, rng=1)
    >>> [epoch.number for epoch in history.epochs]
    [1, 2, 3, 4, 5]
    """

    epochs: list[Epoch] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    skipped: int = 0
    stopped: str = "epochs"
    reason: str = MADE
    best: Epoch | None = None
    params: Any = None
    statistics: list[list[LayerStatistics]] = field(default_factory=list)

    def __repr__(self) -> str:
        best = "" if self.best is None else f", best loss {monitored(self.best):.4g} in epoch {self.best.number}"
        return (
            f"<History: {len(self.epochs)} epochs, {len(self.step_losses)} steps{best}; {self.stopped}: {self.reason}>"
        )

    def __add__(self, other: object) -> History:
        if not isinstance(other, History):
            return NotImplemented
        done, steps = (self.epochs[-1].number if self.epochs else 0), len(self.step_losses)
        numbered = [epoch._replace(number=done + epoch.number) for epoch in other.epochs]
        where = (
            f", in a fit after {len(self.epochs)} epochs and {steps} steps" if steps and other.reason != MADE else ""
        )
        best = None if other.best is None else other.best._replace(number=done + other.best.number)
        if self.best is not None and (best is None or (are_alike(self.best, best) and not is_better(best, self.best))):
            best = self.best
        return History(
            [*self.epochs, *numbered],
            [*self.step_losses, *other.step_losses],
            self.skipped + other.skipped,
            other.stopped,
            other.reason + where,
            best,
            self.params if other.params is None else other.params,
            [*self.statistics, *other.statistics],
        )

    def __radd__(self, other: object) -> History:
        return self if other == 0 else NotImplemented  # the start of Python's sum

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.stopped == "interrupted"

    @property
    def losses(self) -> list[float]:
        """The training loss of every epoch."""
        return [epoch.loss for epoch in self.epochs]

    @property
    def validation_losses(self) -> list[float | None]:
        """The validation loss of every epoch."""
        return [epoch.validation_loss for epoch in self.epochs]

    @property
    def monitored(self) -> list[float]:
        """What patience and plateaus go by: the validation loss of every epoch, or, without one, the training loss."""
        return [monitored(epoch) for epoch in self.epochs]

    @property
    def seconds(self) -> float:
        """Processor time that the steps of the finished epochs took."""
        return sum(epoch.seconds for epoch in self.epochs)

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the epochs as columns, for a table or a plot; None where an epoch has no such number.

        Examples
        --------
        >>> from fastprop.training import Epoch, History
        >>> history = History([Epoch(1, 0.5, 0.75, {"accuracy": 1.0}, {"accuracy": 0.5}, 0.1, 4, 0.0)])
        >>> for name, column in history.to_dict().items():
        ...     print(name, column)
        epoch [1]
        loss [0.5]
        validation_loss [0.75]
        accuracy [1.0]
        validation_accuracy [0.5]
        rate [0.1]
        steps [4]
        seconds [0.0]
        """
        rows = [
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "validation_loss": epoch.validation_loss,
                **epoch.metrics,
                **{f"validation_{name}": value for name, value in epoch.validation_metrics.items()},
                "rate": epoch.rate,
                "steps": epoch.steps,
                "seconds": epoch.seconds,
            }
            for epoch in self.epochs
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}

    def to_frame(self) -> Any:
        """Return the epochs as a pandas DataFrame: ImportError where pandas is not installed."""
        import pandas  # here, since nothing else needs it

        return pandas.DataFrame(self.to_dict())


def monitored(epoch: Epoch) -> float:
    """Return the loss that an epoch is judged by."""
    return epoch.loss if epoch.validation_loss is None else epoch.validation_loss


def are_alike(epoch: Epoch, other: Epoch) -> bool:
    """Say whether two epochs are judged by the same loss, that of a validation or of the training."""
    return (epoch.validation_loss is None) == (other.validation_loss is None)


def is_better(epoch: Epoch, best: Epoch | None, by: float = 0.0) -> bool:
    """Say whether an epoch's loss is below that of the best so far, by so much; equal is not, and NaN never."""
    loss = monitored(epoch)
    if best is None:
        return not math.isnan(loss)
    return loss < monitored(best) and loss <= monitored(best) - by


class Callback:
    """What is told after every epoch: a subclass says in `on_epoch_end` what it does then.

    Model and optimizer are as the epoch has left them, and may be changed: the learning rate, `frozen`, the mode of
    layers, what stands in them. A plain function of the History will do in its place, and so will a
    `fastprop.optim.ReduceLROnPlateau`.

    Examples
    --------
    >>> from fastprop.training import Callback
    >>> class GoodEnough(Callback):
    ...     def on_epoch_end(self, history):
    ...         return history.losses[-1] < 0.1
    """

    def on_epoch_end(self, history: History) -> Any:
        """Take in what was done so far; True ends the fit."""
