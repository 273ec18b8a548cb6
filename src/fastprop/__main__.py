"""python -m fastprop: the commands `train` and `config`."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .config import __version__
from .training.classifier import GAIN
from .training.job import INTERRUPTED, MODELS, OPTIMIZERS, TRAINING, Options, Result, run

MORE = """\
models:
  mlp      hidden layers of neurons
  cnn      the same, behind kernels that look at windows of 3 × 3 pixels
  softmax  no hidden neurons; a score for every class, cross-entropy
  svm      the same scores, pulled by a structured support vector machine

examples:
  python -m fastprop train                             the default: about 98 % of the test images
  python -m fastprop train --repeat 5 --quiet          five seeds, and their median
  python -m fastprop train --hidden 24 12 --activation tanh
  python -m fastprop train --model cnn --no-reference
  python -m fastprop train --model svm --optimizer adam --rate 0.005

Ctrl-C ends the training with the results so far, and with exit code 130.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line after the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        Exit code: 0; 1 for a training that failed, or a curve that can't be saved; 130 for one that Ctrl-C ended, with
        its results so far. Wrong options raise SystemExit(2).
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ArithmeticError, CurveError) as error:
        print(f"python -m fastprop {options.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone (`… | head`). Nothing may be written on the way out either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


HIDDEN = ("model", ("mlp", "cnn"), "has no hidden neurons")
APPLIES = {
    "--hidden": HIDDEN,
    "--activation": HIDDEN,
    "--momentum": ("optimizer", ("momentum", "nesterov"), "has no momentum"),
}
"""Options that go with some choices of another one, and what is said of the rest."""


class _Given(argparse.Action):
    """Keep the value of an option, and that it was given."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.given = [*getattr(namespace, "given", ()), self.option_strings[0]]


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with an error where an option would change nothing."""
    for given in getattr(options, "given", ()):
        other, choices, why = APPLIES[given]
        chosen = getattr(options, other)
        if chosen not in choices:
            parser.error(
                f"{given} goes with --{other} {' or '.join(choices)}, and {chosen} {why}: leave out one of them"
            )
    if options.optimizer == "nesterov" and options.momentum == 0.0:
        parser.error("--optimizer nesterov needs a --momentum above 0: sgd has none")


class CurveError(Exception):
    """The training curve can't be saved where it was asked for."""


def _train(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    _check(parser, options)
    asked = Options(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Options)})
    if options.curve is None:
        return run(asked)
    return run(asked, ended=lambda result: _save_curve(result, options.curve, asked.repeat > 1))


def _save_curve(result: Result, path: Path, several: bool) -> None:
    """Save the curve of a training; of several, under a name with its seed."""
    from .draw import curves

    if several:
        path = path.with_name(f"{path.stem}-{result.seed}{path.suffix}")
    try:
        curves(result.history, title=f"seed {result.seed}").save(path)
    except OSError as error:
        raise CurveError(f"the training curve can't be saved: {error}") from None
    print(f"training curve: {path}")


def _config(options: argparse.Namespace) -> int:
    import fastprop

    fastprop.show_config()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastprop", description="Gradients of plain scalar Python, at the speed of compiled code."
    )
    parser.add_argument("--version", action="version", version=f"fastprop {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    train = commands.add_parser(
        "train",
        help="train a classifier of scalar neurons on the handwritten digits",
        description="Train a classifier, written as scalar neurons, on the UCI handwritten digits. Print loss and\n"
        "accuracy of each epoch, the accuracy on test images held out till the end, the time per gate and per\n"
        "step, and how much longer the pure-Python reference takes.",
    )
    train.set_defaults(run=partial(_train, train), curve=None, **dataclasses.asdict(Options()))

    def number(option: str, kind: Callable[[str], float], metavar: str, text: str) -> None:
        action: Any = _Given if option in APPLIES else "store"
        train.add_argument(option, type=kind, metavar=metavar, action=action, help=f"{text} (default: %(default)s)")

    train.add_argument(
        "--hidden",
        action=_Given,
        type=_whole(1, 1000),
        nargs="+",
        metavar="N",
        help="neurons in each hidden layer: 64 makes one layer (default), 24 12 make two",
    )
    train.add_argument(
        "--activation",
        action=_Given,
        choices=list(GAIN),
        help="gate on top of the hidden neurons (default: %(default)s)",
    )
    train.add_argument("--model", choices=list(MODELS), help="what is trained (default: %(default)s); see below")
    train.add_argument("--optimizer", choices=list(OPTIMIZERS), help="how it is updated (default: %(default)s)")
    train.formatter_class, train.epilog = argparse.RawDescriptionHelpFormatter, MORE
    number("--epochs", _whole(1, 10_000), "N", "passes over the training images")
    number("--batch", _whole(1, TRAINING), "N", "images in each step")
    train.add_argument(
        "--rate",
        type=_real(0.0, 1e6, above=True),
        metavar="X",
        help="learning rate at the start, from where it falls to 0 along a cosine (default: one for each optimizer)",
    )
    number("--momentum", _real(0.0, 0.999), "X", "part of the velocity that is left after a step")
    number("--decay", _real(0.0, 1e6), "X", "how strongly all parameters are pulled to 0")
    number("--shift", _real(0.0, 1.0), "X", "share of the images that are moved by a pixel, anew in every epoch")
    number("--seed", _whole(0, 2**32 - 1), "N", "of the first weights and the order of the images")
    number("--repeat", _whole(1, 1000), "N", "trainings, each with the next seed; the median is printed")
    train.add_argument(
        "--curve",
        type=_svg_file,
        metavar="FILE",
        help="save the curves of loss and accuracy as FILE, an .svg; of several trainings, as FILE-SEED",
    )
    train.add_argument("--quiet", action="store_true", help="print the results only, without a progress bar")
    train.add_argument(
        "--no-reference", dest="reference", action="store_false", help="skip the comparison with the reference"
    )

    config = commands.add_parser("config", help="show version, instruction set and build kind")
    config.set_defaults(run=_config)
    return parser


def _svg_file(text: str) -> Path:
    """Take a path to save an SVG at: before anything is trained, its folder must be there."""
    path = Path(text)
    if path.suffix.lower() != ".svg" or path.is_dir():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a file whose name ends in .svg")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}; make it first")
    return path


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a type for argparse: a whole number within bounds."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from {lowest} to {highest}")
        return number

    return convert


def _real(lowest: float, highest: float, *, above: bool = False) -> Callable[[str], float]:
    """Make a type for argparse: a number within bounds, the lower one left out if it says `above`."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not lowest <= number <= highest or (above and number == lowest):
            bounds = f"above {lowest:g}, up to {highest:g}" if above else f"from {lowest:g} to {highest:g}"
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a number {bounds}")
        return number

    return convert


if __name__ == "__main__":
    sys.exit(main())
