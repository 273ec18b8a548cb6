"""The fit: steps, epochs, what they scored, and the many ways in which they may end."""

from __future__ import annotations

import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from operator import eq
from typing import Any

import numpy as np

from fastprop.derivatives.call import name_of
from fastprop.gates.numbers import as_real
from fastprop.handles.indexing import OutOfRangeError
from fastprop.handles.nesting import described, map_leaves, plain
from fastprop.hints import with_hints
from fastprop.nn.init import generator
from fastprop.nn.module import Module
from fastprop.optim import SGD, ReduceLROnPlateau, norm
from fastprop.optim.checks import whole
from fastprop.random import fold_in

from .feed import ArrayFeed, Batch, StreamFeed, Weighting, arrays_of, feed_of, held_out, is_arrays
from .history import COLUMNS, Callback, Epoch, History, Score, is_better
from .interrupts import Interrupts
from .learner import KEYS, Learner, Steps

__all__ = ["evaluate", "fit"]

SCORED = 256  # so many examples are scored together, or as many as learn together


@with_hints
def fit(
    model: Any,
    loss: Callable[[Any, Any], Any],
    data: Any,
    optimizer: Any,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    validation: Any = None,
    stratify: bool = False,
    callbacks: Any = (),
    rng: Any = None,
    params: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    metrics: dict[str, Callable[[Any, Any], Any]] | None = None,
    penalty: Callable[[Any], Any] | None = None,
    shuffle: bool = True,
    accumulate: int = 1,
    tolerance: float | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    restore_best: bool | None = None,
    progress: bool | None = None,
    recordings: dict[str, Any] | None = None,
) -> History:
    """Fit a model to data: steps of an optimizer down the gradient of a mean loss, batch by batch.

    Parameters
    ----------
    model : Module or callable
        What is fitted. A Module is called with one example, and keeps what it has learnt; a function is called with
        `params` and one example, and `History.params` is what was learnt.
    loss : callable
        ``loss(output, target)`` of one example: a number, or two, if it weighs examples itself: Σ w l and Σ w, as
        losses with ``reduction="pair"`` give them.
    data : tuple of arrays, iterable, or callable
        ``(x, y)``, or ``(x, y, weights)``, with the examples along the first axes; x and y may be dicts or tuples of
        arrays. Floats are cast to the dtype of the parameters, batch by batch. Or batches: an iterable of such tuples,
        or a function that returns one for every epoch. Every size of batch is recorded anew; after four sizes, others
        are filled up to powers of two with examples of weight 0, unless the model takes numbers of all examples.
    optimizer : Optimizer
        Of the model, or of `params`; it goes on from where it is, and remembers where it got to.
    epochs : int, default 1
        Passes over the data, at most.
    batch_size : int, default 32
        Examples in a step; the last batch of an epoch has what is left. Of batches that come from an iterable, what
        they have.
    validation : float, tuple of arrays, iterable or callable, optional
        Data to score the model with after every epoch, or which part of the arrays to hold out for that, from 0 to 1:
        the same rows whatever `rng` is.
    stratify : bool, default False
        Whether such a part is held out of every class: the targets are then one array of integers.
    callbacks : Callback, callable, ReduceLROnPlateau, or sequence of them
        Told after every epoch; where one returns True the fit ends.
    rng : int, numpy.random.Generator, optional
        Where the order of the examples and the keys of what draws random numbers come from. None is another one at
        every call; a Generator goes on where the last fit has left it.
    params : nested containers of arrays, optional
        Where a function begins. They are not written into.
    sample_weight : array_like, optional
        A weight for every example, 0 or more.
    class_weight : dict, array_like or "balanced", optional
        A weight for every label: the targets are then one array of integers. What a dict does not name counts once.
        "balanced" lets all classes count the same altogether: Σ w / (classes · Σ w of the class), where w are the
        weights of the examples to learn from; these must be arrays.
    metrics : dict of callables, optional
        What else to average over the examples, weighted as they are: ``metric(output, target)`` of one, under a name.
    penalty : callable, optional
        What to add to the mean loss of every step for the parameters themselves, nested as ``model.params()`` has them:
        ``lambda params: fastprop.nn.regularisers.l2(params, 1e-4)``. Losses of the validation are without it.
    shuffle : bool, default True
        Whether the rows of arrays come in another order in every epoch.
    accumulate : int, default 1
        From how many batches a step is made, as if they were one.
    tolerance : float, optional
        The fit has converged when the norm of a step's gradient is not greater; that step is not made.
    patience : int, optional
        The fit ends after so many epochs in a row without a lower loss, of the validation if there is one.
    min_delta : float, default 0
        Patience takes a loss for lower only if it is by so much below the lowest one before.
    restore_best : bool, optional
        Whether the model gets the parameters of the best epoch in the end, however it ends: by default if there is
        `patience`.
    progress : bool, optional
        Whether to show a bar; by default where standard error is a terminal.
    recordings : dict, optional
        Keeps what was recorded for the next fit that gets the same dict: with the same model, optimizer, loss, metrics
        and penalty, and where nothing else stands in the model, it records nothing anew. Arrays in the model that were
        written in place are seen; what functions find elsewhere is not (globals, arrays that they were made with).

    Returns
    -------
    History
        What was done, and why it ended. Ctrl-C ends the fit between two steps, and not with an exception; a second one
        raises KeyboardInterrupt. A loss or gradient that is infinite or NaN ends it, with a RuntimeWarning, before the
        parameters are moved.

    Raises
    ------
    ValueError, TypeError
        If data, weights or options can't be used; before anything has changed, if they are arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> x, y = fp.datasets.load_digits(return_X_y=True)
    >>> random = np.random.default_rng(0)
    >>> model = fp.nn.Sequential(fp.nn.Linear(64, 16, rng=random), fp.nn.Tanh(), fp.nn.Linear(16, 10, rng=random))
    >>> history = fp.fit(
    ...     model, fp.nn.cross_entropy, (x / 16.0, y), fp.optim.Adam(model, lr=0.01), epochs=5, validation=0.2, rng=0
    ... )
    >>> len(history.epochs), history.stopped, history.validation_losses[-1] < 0.3
    (5, 'epochs', True)
    """
    if not callable(loss):
        raise TypeError(f"loss is {described(loss)}; expected a function of output and target, as fastprop.nn has them")
    if penalty is not None and not callable(penalty):
        raise TypeError(
            f"penalty is {described(penalty)}; expected a function of the parameters, such as "
            "lambda params: fastprop.nn.regularisers.l2(params, 1e-4)"
        )
    if recordings is not None and not isinstance(recordings, dict):
        raise TypeError(f"recordings is {described(recordings)}; expected a dict, empty at first, and then the same")
    epochs, batch_size = whole("fit", "epochs", epochs), whole("fit", "batch_size", batch_size, 1)
    accumulate = whole("fit", "accumulate", accumulate, 1)
    patience = None if patience is None else max(whole("fit", "patience", patience), 1)
    limit = None if tolerance is None else as_real(tolerance)
    if tolerance is not None and (limit is None or not limit >= 0.0):
        raise ValueError(f"fit: tolerance is {tolerance!r}; expected a number, 0 or more")
    delta = as_real(min_delta)
    if delta is None or not delta >= 0.0:
        raise ValueError(f"fit: min_delta is {min_delta!r}; expected a number, 0 or more")
    named = checked_metrics(metrics)
    steps = _steps((model, loss, optimizer, penalty, *named.values()), params, named, recordings)
    learner = steps.learner
    training, checking = _feeds(data, learner, batch_size, shuffle, validation, stratify, sample_weight, class_weight)
    told = checked_callbacks(callbacks)
    work = _Fit(learner, steps, training, checking, generator(rng))
    work.accumulate, work.tolerance, work.patience, work.callbacks = accumulate, limit, patience, told
    work.least_fall = delta
    work.restores = patience is not None if restore_best is None else restore_best
    return work.run(epochs, progress)


def checked_metrics(metrics: Any) -> dict[str, Any]:
    """Return metrics by their names, or raise."""
    if metrics is None:
        return {}
    if not isinstance(metrics, dict) or not all(map(callable, metrics.values())):
        raise TypeError(f"metrics is {described(metrics)}; expected a dict: names, and functions of output and target")
    for name in metrics:
        if name in COLUMNS or not isinstance(name, str) or name.startswith("validation_"):
            raise ValueError(f"metrics: {name!r} is no name for one: a History has {', '.join(COLUMNS)} itself")
    return metrics


def checked_callbacks(callbacks: Any) -> list[Any]:
    """Return callbacks in a list, or raise."""
    if isinstance(callbacks, (Callback, ReduceLROnPlateau)) or callable(callbacks):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks is {described(callbacks)}; expected Callbacks, or functions of the History")
    for callback in callbacks:
        if isinstance(callback, type):
            raise TypeError(f"callbacks has the class {callback.__name__}; expected {callback.__name__}()")
        if not (isinstance(callback, (Callback, ReduceLROnPlateau)) or callable(callback)):
            raise TypeError(f"callbacks has {described(callback)}; expected Callbacks, or functions of the History")
        if isinstance(callback, Callback) and type(callback).on_epoch_end is Callback.on_epoch_end:
            raise TypeError(f"{type(callback).__name__} has no on_epoch_end of its own, and no more of it is called")
    return list(callbacks)


def _steps(key: tuple[Any, ...], params: Any, metrics: dict[str, Any], recordings: dict[str, Any] | None) -> Steps:
    """Return the steps of a fit: those that were recorded by the last one, if it was of the same."""
    model, loss, optimizer, penalty = key[:4]
    kept = {} if recordings is None else recordings
    known = kept.get("key", ())
    if len(known) == len(key) and all(map(eq, known, key)) and list(kept["steps"].metrics) == [*metrics]:
        kept["steps"].learner.take(params)
    else:
        kept.update(key=key, steps=Steps(Learner(model, optimizer, params), loss, metrics, penalty))
    steps: Steps = kept["steps"]
    return steps


def _feeds(
    data: Any,
    learner: Learner,
    batch_size: int,
    shuffle: bool,
    validation: Any,
    stratify: bool,
    sample_weight: Any,
    class_weight: Any,
) -> tuple[ArrayFeed | StreamFeed, ArrayFeed | StreamFeed | None]:
    """Return what gives the batches to learn from, and those to validate with."""
    part = as_real(validation)
    if part is None and stratify:
        raise ValueError("stratify needs validation to be a part of the data, from 0 to 1")
    if part is None:
        training = feed_of(data, learner.dtype, batch_size, shuffle, sample_weight, class_weight)
        if validation is None:
            return training, None
        return training, feed_of(validation, learner.dtype, max(batch_size, SCORED), False)
    if not is_arrays(data):
        raise ValueError("validation is a part of the data, which goes with arrays; give batches for it, too")
    arrays = arrays_of(data, learner.dtype, sample_weight)
    rows, out = held_out(arrays, part, stratify)
    training = arrays.dealt(batch_size, shuffle, Weighting(class_weight), rows)
    return training, arrays.dealt(max(batch_size, SCORED), False, None, out)


class _Fit:
    """A fit under way."""

    accumulate: int
    tolerance: float | None
    patience: int | None
    least_fall: float
    callbacks: Sequence[Any]
    restores: bool

    def __init__(
        self,
        learner: Learner,
        steps: Steps,
        training: ArrayFeed | StreamFeed,
        checking: ArrayFeed | StreamFeed | None,
        random: np.random.Generator,
    ):
        self.learner, self.steps = learner, steps
        self.training, self.checking, self.random = training, checking, random
        self.history = History()
        self.best: Any = None
        self.bad = 0
        self.interrupts = Interrupts()

    def _rehearse(self) -> None:
        """Let a model that learns from all of a batch see the smallest one, before anything has changed."""
        learner, training = self.learner, self.training
        if isinstance(training, ArrayFeed) and learner.needs_others:
            count = training.count % training.batch_size or min(training.count, training.batch_size)
            rows = np.arange(count) if training.rows is None else training.rows[:count]
            batch = Batch(training.x.take(rows), training.y.take(rows), np.ones(count), count, rows)
            self.steps.learn([batch], 0)

    def run(self, epochs: int, progress: bool | None) -> History:
        """Make the epochs; whatever happens, model and optimizer get what was learnt."""
        history, learner = self.history, self.learner
        before = learner.modes()
        if learner.module is not None and not learner.module.training:
            learner.module.train()
        self.steps.refresh()
        with self.interrupts:
            try:
                if epochs:
                    self._rehearse()
                for number in range(1, epochs + 1):
                    if not self._epoch(number, _bar(progress, f"epoch {number} of {epochs}", self.training.steps)):
                        break
            except KeyboardInterrupt:
                if self.interrupts.insisted:
                    raise
                self._stop("interrupted", "Ctrl-C")
            finally:
                if self.restores and self.best is not None:
                    learner.restore(self.best)
                learner.store()
                for part, training in before:
                    part.training = training
        history.params = learner.tree(learner.params)
        if history.stopped == "diverged":
            warnings.warn(f"fit: {history.reason}", RuntimeWarning, stacklevel=4)
        return history

    def _stop(self, why: str, reason: str) -> bool:
        self.history.stopped, self.history.reason = why, reason
        return False

    # One epoch --------------------------------------------------------------------------------------------------------

    def _epoch(self, number: int, bar: Any) -> bool:
        """Make one pass over the data, score it, and tell the callbacks; False if it was the last."""
        history, learner = self.history, self.learner
        learner.follow()
        rate, before = learner.rate, len(history.step_losses)
        started = time.process_time()
        try:
            found = self._pass(number, bar)
        finally:
            if bar is not None:
                bar.close()
        if found is None:
            return False
        seconds = time.process_time() - started
        loss, metrics = found
        checked = self._validate()
        if self.interrupts.are_wished():
            return self._stop("interrupted", f"Ctrl-C in the validation of epoch {number}")
        epoch = Epoch(number, loss, *checked[:1], metrics, checked[1], rate, len(history.step_losses) - before, seconds)
        history.epochs.append(epoch)
        fell = is_better(epoch, history.best, self.least_fall)
        self.bad = 0 if fell else self.bad + 1
        if is_better(epoch, history.best):
            history.best = epoch
            self.best = learner.kept() if self.restores else None
        if self.callbacks and not self._tell(number):
            return False
        if self.interrupts.are_wished():
            return self._stop("interrupted", f"Ctrl-C after epoch {number}")
        if self.patience is not None and self.bad >= self.patience:
            return self._stop("patience", f"no lower loss in the {self.bad} epochs up to epoch {number}")
        return True

    def _pass(self, number: int, bar: Any) -> tuple[float, dict[str, float]] | None:
        """Make the steps of one epoch: the mean loss and metrics; None if the fit has ended."""
        history, learner, steps = self.history, self.learner, self.steps
        losses, total, sums = 0.0, 0.0, dict.fromkeys(steps.metrics, 0.0)
        for group, key in self._groups():
            try:
                loss, weight, summed, gradients, buffers = steps.learn(group, key)
            except OutOfRangeError as error:
                raise _with_row(error, group) from None
            for name, value in summed.items():
                sums[name] += value
            if weight == 0.0:
                history.skipped += 1
                history.step_losses.append(math.nan)
            elif not self._move(loss, gradients, group, number):
                return None
            else:
                learner.buffers = buffers
                history.step_losses.append(loss)
                losses, total = losses + loss * weight, total + weight
            if bar is not None:
                bar.update()
            if self.interrupts.are_wished():
                self._stop("interrupted", f"Ctrl-C in epoch {number}, after {len(history.step_losses)} steps")
                return None
        mean = total or math.nan
        return losses / mean if total else 0.0, {name: value / mean for name, value in sums.items()}

    def _groups(self) -> Iterator[tuple[list[Batch], int]]:
        """Yield the batches of every step, and its key."""
        key, draws = int(self.random.integers(KEYS)), self.steps.draws
        group: list[Batch] = []
        number = 0
        for batch in self.training.epoch(self.random):
            group.append(batch)
            if len(group) == self.accumulate:
                yield group, fold_in(key, number) % KEYS if draws else 0
                group, number = [], number + 1
        if group:
            yield group, fold_in(key, number) % KEYS if draws else 0

    def _move(self, loss: float, gradients: Any, group: list[Batch], number: int) -> bool:
        """Make a step, or say why the fit has ended before it."""
        learner, history = self.learner, self.history
        if not math.isfinite(loss):
            return self._diverged(f"the loss became {loss}", group, number)
        if self.tolerance is not None:
            size = norm(gradients)
            if size <= self.tolerance:
                steps = len(history.step_losses)
                return self._stop("converged", f"after {steps} steps the gradient's norm was {size:.3g}")
        try:
            learner.params = learner.work.step(learner.params, gradients, in_place=True)
        except ValueError as error:
            if not 0.0 <= learner.rate < math.inf:
                raise
            return self._diverged(str(error).split(";")[0], group, number)
        return True

    def _diverged(self, what: str, group: list[Batch], number: int) -> bool:
        """Stop where a step can't be made."""
        place, rate = len(self.history.step_losses) + 1, self.learner.rate
        where = self.steps.blame(group)
        return self._stop(
            "diverged",
            f"{what} in step {place}, in epoch {number}, at rate {rate:g}{where}; the parameters are those before it",
        )

    # After the steps --------------------------------------------------------------------------------------------------

    def _validate(self) -> tuple[float | None, dict[str, float]]:
        """Score the model as it is used, with the data that were held out."""
        if self.checking is None:
            return None, {}
        wished = self.interrupts.are_wished
        return self.steps.score_all(itertools.takewhile(lambda _: not wished(), self.checking.epoch(self.random)))

    def _tell(self, number: int) -> bool:
        """Tell the callbacks, who see model and optimizer as they are now; False if one of them ends the fit."""
        learner = self.learner
        learner.store()
        self.history.params = map_leaves(plain, learner.tree(learner.params))
        ended = None
        for callback in self.callbacks:
            if isinstance(callback, ReduceLROnPlateau):
                callback.step(self.history.monitored[-1])
                continue
            told = callback.on_epoch_end if isinstance(callback, Callback) else callback
            found = told(self.history)
            if ended is None and isinstance(found, (bool, np.bool_)) and found:
                ended = callback
        learner.reread()
        self.steps.refresh()
        if ended is not None:
            return self._stop("callback", f"{name_of(ended)} ended it after epoch {number}")
        return True


def _with_row(error: OutOfRangeError, group: list[Batch]) -> OutOfRangeError:
    """Return the error of a label or token with its row in the data, where that can be told."""
    rows = group[0].rows
    if len(group) > 1 or rows is None or len(error.lanes) != 1:
        return error
    lane = error.lanes[0] if error.lanes[0] < len(rows) else 0  # the first row again, of which it was filled up
    return OutOfRangeError(f"{error.text}, in row {rows[lane]} of the data", error.lanes)


def _bar(progress: bool | None, name: str, steps: int | None) -> Any:
    """Return a progress bar, where it is wanted and seen."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return None
    from tqdm import tqdm  # here, since nothing else needs it

    return tqdm(total=steps, desc=name, unit="step", leave=False)


def evaluate(
    model: Any,
    loss: Callable[[Any, Any], Any],
    data: Any,
    *,
    batch_size: int = SCORED,
    params: Any = None,
    metrics: dict[str, Callable[[Any, Any], Any]] | None = None,
) -> Score:
    """Score a model with data, as it is used: no randomness, and nothing about it changes.

    Parameters
    ----------
    model, loss, data, params, metrics
        As for `fit`.
    batch_size : int, default 256
        How many examples of arrays are taken together.

    Returns
    -------
    Score
        The mean loss, and the means of the metrics.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> from fastprop.training import evaluate
    >>> model = fp.nn.Linear(2, 1, init="zeros", rng=0)
    >>> evaluate(model, fp.nn.squared_error, (np.ones((4, 2)), np.ones((4, 1)))).loss
    0.5
    """
    start = params if params is not None or not isinstance(model, Module) else model.params()
    learner = Learner(model, None if start is None else SGD(start), params)
    feed = feed_of(data, learner.dtype, whole("evaluate", "batch_size", batch_size, 1), False)
    return Score(*Steps(learner, loss, checked_metrics(metrics)).score_all(feed.epoch(np.random.default_rng(0))))
