"""The main job: train a classifier of scalar neurons on the handwritten digits, and say how it went."""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, TextIO

import numpy as np

from fastprop import engine, reference
from fastprop.datasets import load_digits
from fastprop.gates.shapes import stack
from fastprop.optim import SGD, Adadelta, Adagrad, Adam, Cosine, Optimizer, RMSprop, Windowgrad

from .classifier import Classifier, Convolutional, Machine
from .data import Example, Split, arrays, split
from .fit import evaluate, fit
from .history import Epoch, History

PIXELS, CLASSES = 64, 10
VALIDATION = TEST = 300
TRAINING = 1797 - VALIDATION - TEST
COMPARED = 10  # images at most, in the step that the reference makes, too: it takes its time
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended

HEADER = "epoch   training loss  accuracy   validation loss  accuracy   ns per gate"


KERNELS = 16  # of the convolutional model

MODELS: dict[str, tuple[type[Classifier], float]] = {
    "mlp": (Classifier, 1.0),
    "cnn": (Convolutional, 0.25),
    "softmax": (Classifier, 1.0),
    "svm": (Machine, 0.5),
}
"""What can be trained, each with a factor of the rate; the last two have no hidden neurons."""

OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float]] = {
    "momentum": (partial(SGD, rate_inside=True), 0.2),
    "nesterov": (partial(SGD, nesterov=True), 0.2),
    "sgd": (SGD, 0.5),
    "adagrad": (Adagrad, 0.1),
    "adadelta": (Adadelta, 3.0),
    "rmsprop": (RMSprop, 0.01),
    "windowgrad": (Windowgrad, 0.01),
    "adam": (Adam, 0.02),
}
"""Rules, each with the rate at which it begins."""


@dataclass(frozen=True)
class Options:
    """What the main job can be asked to do; the defaults reach about 98 %."""

    model: str = "mlp"
    hidden: Sequence[int] = (64,)
    activation: str = "relu"
    optimizer: str = "momentum"
    epochs: int = 15
    batch: int = 32
    rate: float | None = None
    momentum: float = 0.9
    decay: float = 5e-4
    shift: float = 0.1
    seed: int = 0
    repeat: int = 1
    quiet: bool = False
    reference: bool = True


@dataclass
class Result:
    """What one training came to: its history, the accuracy on the test part, and how many gates the steps ran."""

    seed: int
    history: History
    accuracy: float
    gates: int


def digits() -> Split:
    """Give the handwritten digits with pixels from 0 to 1: 1,197 to train on, 300 to validate, 300 to test."""
    data, target = load_digits(return_X_y=True)
    return split(data / 16.0, target, validation=VALIDATION, test=TEST)


def run(options: Options, out: TextIO | None = None, ended: Callable[[Result], object] = lambda result: None) -> int:
    """Train once for each seed, print what happens, and compare one step with the reference.

    Parameters
    ----------
    options : Options
        What to train, and how.
    out : text file, optional
        Where results go, ``sys.stdout`` by default; the progress bar goes to ``sys.stderr``, if that is a terminal.
    ended : callable, optional
        Is told of every training that has ended.

    Returns
    -------
    int
        Exit code: 0, or 130 if Ctrl-C ended the training early.
    """
    printer = Printer(options, sys.stdout if out is None else out)
    examples = digits()
    printer.start(make(options, options.seed)[0], examples)
    results: list[Result] = []
    for seed in range(options.seed, options.seed + options.repeat):
        results.append(train(options, seed, examples, printer))
        ended(results[-1])
        if results[-1].history.interrupted:
            break
    printer.end(results)
    if results[-1].history.interrupted:
        return INTERRUPTED
    if options.reference:
        batch = examples.training[: min(options.batch, COMPARED)]
        printer.comparison(len(batch), *compare(options, batch))
    return 0


def make(options: Options, seed: int, on: ModuleType = engine) -> tuple[Classifier, np.random.Generator]:
    """Make what one training starts from; a seed gives the same start on every engine."""
    random = np.random.default_rng(seed)
    hidden = {"mlp": options.hidden, "cnn": (KERNELS, *options.hidden)}.get(options.model, ())
    sizes = [PIXELS, *hidden, CLASSES]
    return MODELS[options.model][0](sizes, on, random, activation=options.activation), random


def rule_of(options: Options, params: Any) -> Optimizer:
    """Make the rule by which parameters move, at a rate that falls to 0 along a cosine."""
    rule, rate = OPTIMIZERS[options.optimizer]
    steps = options.epochs * -(-TRAINING // options.batch)
    momentum = {"momentum": options.momentum} if options.optimizer in ("momentum", "nesterov") else {}
    rate = rate * MODELS[options.model][1] if options.rate is None else options.rate
    return rule(params, lr=rate, weight_decay=options.decay, schedule=Cosine(steps), **momentum)


def batches(
    examples: Sequence[Example], options: Options, random: np.random.Generator
) -> Callable[[], Iterator[tuple[Any, Any]]]:
    """Return a function that gives the batches of an epoch, in another order each time, some images moved."""
    x, y = arrays(examples)

    def epoch() -> Iterator[tuple[Any, Any]]:
        moved, order = shifted(x, options.shift, random), random.permutation(len(x))
        for start in range(0, len(x), options.batch):
            rows = order[start : start + options.batch]
            yield moved[rows], y[rows]

    return epoch


def shifted(x: np.ndarray[Any, Any], share: float, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Move a share of the images by a pixel up or down, left or right, or both; what comes in is empty."""
    width = math.isqrt(PIXELS)
    chosen = np.flatnonzero(random.random(len(x)) < share)
    places = np.arange(width) + random.integers(0, 3, (2, len(chosen), 1))
    padded = np.pad(x[chosen].reshape(-1, width, width), ((0, 0), (1, 1), (1, 1)))
    moved = x.copy()
    images = np.arange(len(chosen))[:, None, None]
    moved[chosen] = padded[images, places[0][:, :, None], places[1][:, None, :]].reshape(-1, PIXELS)
    return moved


def is_right(scores: list[Any], label: Any) -> Any:
    """Say whether the highest score is that of the right class."""
    return np.argmax(stack(scores)) == label


def train(options: Options, seed: int, examples: Split, printer: Printer) -> Result:
    """Train one classifier; the test part is looked at once, when all else is done."""
    classifier, random = make(options, seed)
    params = np.array(classifier.values)
    gates = classifier.gates(examples.training[0]) * len(examples.training)
    printer.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a training that diverges is an error here
        history = fit(
            classifier.apply,
            classifier.objective,
            batches(examples.training, options, random),
            rule_of(options, params),
            params=params,
            epochs=options.epochs,
            batch_size=VALIDATION,  # of the validation, which is then recorded once
            validation=arrays(examples.validation),
            metrics={"accuracy": is_right},
            rng=random,
            restore_best=True,
            callbacks=lambda history: printer.epoch(history.epochs[-1], gates),
            progress=False if options.quiet else None,
        )
    if history.stopped == "diverged":
        raise OverflowError(f"{history.reason}; try a smaller rate")
    score = evaluate(
        classifier.apply,
        classifier.objective,
        arrays(examples.test),
        params=history.params,
        batch_size=TEST,
        metrics={"accuracy": is_right},
    )
    result = Result(seed, history, score.metrics["accuracy"], gates * len(history.epochs))
    printer.result(result)
    return result


def compare(options: Options, batch: list[Example], repeats: int = 5) -> tuple[float, float, float]:
    """Take the same first step compiled, and on the reference.

    Returns
    -------
    tuple of float
        Processor seconds compiled (best of `repeats` steps) and on the reference (once), and the largest difference
        between the parameters that they arrived at.

    Raises
    ------
    ArithmeticError
        If the two arrived at different parameters: a time for a wrong answer would mean nothing.
    """
    classifier = make(options, options.seed)[0]
    params, arrived = np.array(classifier.values), []
    history = fit(
        classifier.apply,
        classifier.objective,
        arrays(batch),
        rule_of(options, params),
        params=params,
        epochs=repeats,
        batch_size=len(batch),
        shuffle=False,
        callbacks=lambda history: arrived.append(history.params),
        progress=False,
    )
    judge = make(options, options.seed, reference)[0]
    rule = rule_of(options, judge.parameters)
    started = time.process_time()
    judge.gradients(batch)
    rule.step()
    reference_seconds = time.process_time() - started
    difference = float(np.max(np.abs(arrived[0] - judge.values)))
    if not difference <= 1e-9:
        raise ArithmeticError(f"one step compiled and one on the reference differ by {difference:.2g}; expected 1e-9")
    return min(epoch.seconds for epoch in history.epochs), reference_seconds, difference


class Printer:
    """Everything that the job says. Results go to `out`, line by line; the progress bar to a terminal or nowhere."""

    def __init__(self, options: Options, out: TextIO):
        self.options = options
        self.out = out

    def say(self, line: str = "", *, detail: bool = False) -> None:
        """Print a line; details are left out when the job was asked to be quiet."""
        if not (detail and self.options.quiet):
            print(line, file=self.out, flush=True)

    def start(self, classifier: Classifier, examples: Split) -> None:
        """Say what is about to be trained, and on what."""
        activation = "" if self.options.model in ("softmax", "svm") else f"{self.options.activation} "
        self.say(
            f"{classifier} {activation}neurons: {len(classifier.parameters):,} parameters, "
            f"{classifier.gates(examples.training[0]):,} gates for each example",
            detail=True,
        )
        sizes = [len(part) for part in examples]
        self.say("handwritten digits: {:,} to train on, {} to validate, {} to test".format(*sizes), detail=True)

    def seed(self, seed: int) -> None:
        """Head the table of one training."""
        self.say(detail=True)
        self.say(f"seed {seed}", detail=True)
        self.say(HEADER, detail=True)

    def epoch(self, epoch: Epoch, gates: int) -> None:
        """Add a row to the table."""
        self.say(
            f"{epoch.number:5d}   {epoch.loss:13.4f}  {epoch.metrics['accuracy']:8.1%}   "
            f"{epoch.validation_loss:15.4f}  {epoch.validation_metrics['accuracy']:8.1%}   "
            f"{1e9 * epoch.seconds / gates:11.1f}",
            detail=True,
        )

    def result(self, result: Result) -> None:
        """Say how one training ended."""
        history, best = result.history, result.history.best
        if history.interrupted:
            self.say(f"interrupted after {len(history.epochs)} of {self.options.epochs} epochs; the results so far:")
        whose = "with the parameters it had got to" if best is None else f"with the parameters of epoch {best.number}"
        self.say(f"seed {result.seed}: test accuracy {result.accuracy:.1%}, {whose}")

    def end(self, results: list[Result]) -> None:
        """Sum up all trainings."""
        self.say(detail=True)
        if len(results) > 1:
            median = statistics.median(result.accuracy for result in results)
            self.say(f"median test accuracy of {len(results)} seeds: {median:.1%}")
        gates = sum(result.gates for result in results)
        seconds = sum(result.history.seconds for result in results)
        steps = sum(len(result.history.step_losses) for result in results)
        if gates:
            self.say(
                f"time per gate: {1e9 * seconds / gates:.1f} ns, forward and backward "
                f"({gates:,} gates in {seconds:.2f} s of processor time, recording and updates included)"
            )
            self.say(f"time per step: {1e6 * seconds / steps:.0f} µs ({steps:,} steps of {self.options.batch} images)")

    def comparison(self, examples: int, seconds: float, reference_seconds: float, difference: float) -> None:
        """Say how much longer the reference takes."""
        self.say(
            f"reference: the same step of {examples} examples takes {1e3 * reference_seconds:.1f} ms there, "
            f"{1e3 * seconds:.2f} ms here: {reference_seconds / seconds:.1f} times faster "
            f"(parameters after it differ by {difference:.1g} at most)"
        )
