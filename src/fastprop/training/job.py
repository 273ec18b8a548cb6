"""The main job: train a classifier of scalar neurons on the handwritten digits, and say how it went."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TextIO

import numpy as np

from ..datasets import load_digits
from ..optim import SGD
from .classifier import Classifier
from .data import Example, Split, split
from .fit import Epoch, History, evaluate, fit, step

PIXELS, CLASSES = 64, 10
VALIDATION = TEST = 300
TRAINING = 1797 - VALIDATION - TEST
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended

HEADER = "epoch   training loss  accuracy   validation loss  accuracy   ns per gate"


@dataclass(frozen=True)
class Options:
    """What the main job can be asked to do; the defaults reach about 97 %."""

    hidden: Sequence[int] = (16,)
    activation: str = "tanh"
    epochs: int = 15
    batch: int = 32
    rate: float = 0.1
    momentum: float = 0.9
    seed: int = 0
    repeat: int = 1
    quiet: bool = False
    reference: bool = True


@dataclass
class Result:
    """What one training came to: its history, and the accuracy on the test part."""

    seed: int
    history: History
    accuracy: float


def digits() -> Split:
    """Give the handwritten digits with pixels from 0 to 1: 1,197 to train on, 300 to validate, 300 to test."""
    data, target = load_digits(return_X_y=True)
    return split(data / 16.0, target, validation=VALIDATION, test=TEST)


def run(options: Options, engine: ModuleType, reference: ModuleType, out: TextIO | None = None) -> int:
    """Train once for each seed, print what happens, and compare one step with the reference.

    Parameters
    ----------
    options : Options
        What to train, and how.
    engine : module
        The engine to train on.
    reference : module
        The engine to compare it with.
    out : text file, optional
        Where results go, ``sys.stdout`` by default; the progress bar goes to ``sys.stderr``, if that is a terminal.

    Returns
    -------
    int
        Exit code: 0, or 130 if Ctrl-C ended the training early.
    """
    printer = Printer(options, sys.stdout if out is None else out)
    examples = digits()
    printer.start(make(options, options.seed, engine)[0], examples)
    results: list[Result] = []
    for seed in range(options.seed, options.seed + options.repeat):
        results.append(train(options, seed, engine, examples, printer))
        if results[-1].history.interrupted:
            break
    printer.end(results)
    if results[-1].history.interrupted:
        return INTERRUPTED
    if options.reference:
        printer.comparison(*compare(options, engine, reference, examples.training[: options.batch]))
    return 0


def make(options: Options, seed: int, engine: ModuleType) -> tuple[Classifier, SGD, np.random.Generator]:
    """Make what one training needs; a seed gives the same start on every engine."""
    random = np.random.default_rng(seed)
    classifier = Classifier([PIXELS, *options.hidden, CLASSES], engine, random, activation=options.activation)
    rule = SGD(classifier.parameters, lr=options.rate, momentum=options.momentum, rate_inside=True)
    return classifier, rule, random


def train(options: Options, seed: int, engine: ModuleType, examples: Split, printer: Printer) -> Result:
    """Train one classifier; the test part is looked at once, when all else is done."""
    classifier, rule, random = make(options, seed, engine)
    printer.seed(seed)
    history = fit(
        classifier,
        rule,
        examples.training,
        examples.validation,
        epochs=options.epochs,
        batch=options.batch,
        random=random,
        progress=printer.progress,
        report=printer.epoch,
    )
    result = Result(seed, history, evaluate(classifier, examples.test).accuracy)
    printer.result(result)
    return result


def compare(
    options: Options, engine: ModuleType, reference: ModuleType, batch: list[Example], repeats: int = 5
) -> tuple[float, float, float]:
    """Take the same first step on both engines.

    Returns
    -------
    tuple of float
        Processor seconds on the engine (best of `repeats` fresh starts) and on the reference (once), and the largest
        difference between the parameters that they arrived at.

    Raises
    ------
    ArithmeticError
        If the two arrived at different parameters: a time for a wrong answer would mean nothing.
    """

    def timed(engine: ModuleType) -> tuple[float, list[float]]:
        classifier, rule, _ = make(options, options.seed, engine)
        started = time.process_time()
        step(classifier, rule, batch)
        return time.process_time() - started, classifier.values

    seconds, values = min(timed(engine) for _ in range(repeats))
    reference_seconds, reference_values = timed(reference)
    difference = max(abs(a - b) for a, b in zip(values, reference_values))
    if not difference <= 1e-9:
        raise ArithmeticError(f"one step on the engine and on the reference differ by {difference:.2g}; expected 1e-9")
    return seconds, reference_seconds, difference


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
        shape = "-".join(map(str, classifier.sizes))
        self.say(
            f"{shape} {self.options.activation} neurons: {len(classifier.parameters):,} parameters, "
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

    def progress(self, batches: list[list[Example]], number: int) -> Iterable[list[Example]]:
        """Show a bar while the batches are handed out, and take it away afterwards."""
        if self.options.quiet:
            return batches
        from tqdm import tqdm  # here, since nothing else needs it

        # disable=None: no bar where standard error is not a terminal.
        bar: Iterable[list[Example]] = tqdm(
            batches, desc=f"epoch {number} of {self.options.epochs}", unit="step", leave=False, disable=None
        )
        return bar

    def epoch(self, epoch: Epoch) -> None:
        """Add a row to the table."""
        self.say(
            f"{epoch.number:5d}   {epoch.training.loss:13.4f}  {epoch.training.accuracy:8.1%}   "
            f"{epoch.validation.loss:15.4f}  {epoch.validation.accuracy:8.1%}   {_nanoseconds(epoch):11.1f}",
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
        gates = sum(result.history.gates for result in results)
        seconds = sum(result.history.seconds for result in results)
        if gates:
            self.say(
                f"time per gate: {1e9 * seconds / gates:.1f} ns, recorded and swept backward "
                f"({gates:,} gates in {seconds:.2f} s of processor time, updates included)"
            )

    def comparison(self, seconds: float, reference_seconds: float, difference: float) -> None:
        """Say how much longer the reference takes."""
        self.say(
            f"reference: the same step of {self.options.batch} examples takes {1e3 * reference_seconds:.1f} ms there, "
            f"{1e3 * seconds:.2f} ms here: {reference_seconds / seconds:.1f} times faster "
            f"(parameters after it differ by {difference:.1g} at most)"
        )


def _nanoseconds(epoch: Epoch) -> float:
    return 1e9 * epoch.seconds / epoch.gates
