"""Looks into a network while it learns: what comes out of its layers, dead neurons, norms of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.circuits.compile import compile, eager
from fastprop.circuits.vmap import vmap
from fastprop.derivatives.transforms import value_and_grad
from fastprop.engine.run import is_eager
from fastprop.engine.tape import innermost
from fastprop.handles.nesting import flatten, plain
from fastprop.nn.module import Module
from fastprop.optim import norm
from fastprop.optim.checks import whole

from .feed import Batch, feed_of
from .history import Callback, History, LayerStatistics

__all__ = ["Watch", "layer_statistics"]

EXAMPLES = 256  # are looked at


def layer_statistics(
    model: Module, loss: Callable[[Any, Any], Any], data: Any, *, examples: int = EXAMPLES
) -> list[LayerStatistics]:
    """Say of every layer what comes out of it, and how long the gradient of its parameters is. Nothing of it stays.

    Parameters
    ----------
    model : Module
        In the mode in which it is: while it learns Dropout leaves out, with key 0.
    loss, data
        As for `fit`.
    examples : int, default 256
        How many of the first examples of arrays are taken; of an iterable, the first batch.

    Returns
    -------
    list of LayerStatistics
        One for every call of a Module inside of the model, in the order in which they end; the model itself comes last.
        In a scan or a map of the model's own these are those of all steps or lanes, one by one: give it fewer examples.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> from fastprop.training import layer_statistics
    >>> model = fp.nn.Sequential(fp.nn.Linear(2, 4, rng=0), fp.nn.ReLU(), fp.nn.Linear(4, 1, rng=1))
    >>> model[0].bias.value = np.array([-9.0, -9.0, 0.0, 0.0])  # two neurons that never pull
    >>> data = np.random.default_rng(0).normal(size=(50, 2)), np.ones((50, 1))
    >>> for layer in layer_statistics(model, fp.nn.squared_error, data):
    ...     print(f"{layer.name or 'all':4} {layer.kind:10} {layer.zeros:.2f} {layer.dead:.2f}")
    0    Linear     0.00 0.00
    1    ReLU       0.7... 0.50
    2    Linear     0.00 0.00
    all  Sequential 0.00 0.00
    """
    return _Watcher(model, loss, data, examples).look()


class Watch(Callback):
    """Looks at the layers after every epoch, and puts what it sees into `History.statistics`.

    Parameters
    ----------
    model, loss, data, examples
        As for `layer_statistics`; data that stay the same show how the layers change.

    Examples
    --------
    >>> import fastprop as fp
    >>> from fastprop.training import Watch
    >>> x, y = fp.datasets.load_digits(return_X_y=True)
    >>> data = x / 16.0, y
    >>> model = fp.nn.Sequential(fp.nn.Linear(64, 16, rng=0), fp.nn.ReLU(), fp.nn.Linear(16, 10, rng=1))
    >>> watch = Watch(model, fp.nn.cross_entropy, data)
    >>> optimizer = fp.optim.SGD(model, lr=5.0)
    >>> history = fp.fit(model, fp.nn.cross_entropy, data, optimizer, epochs=2, callbacks=watch, rng=0)
    >>> [layers[1].dead > 0.3 for layers in history.statistics]  # the rate is too high for ReLUs
    [True, True]
    """

    def __init__(self, model: Module, loss: Callable[[Any, Any], Any], data: Any, *, examples: int = EXAMPLES):
        self._watcher = _Watcher(model, loss, data, examples)

    def on_epoch_end(self, history: History) -> None:
        """Look."""
        history.statistics.append(self._watcher.look())


class _Watcher:
    """What looks at a model's layers, compiled once for every mode."""

    def __init__(self, model: Module, loss: Callable[[Any, Any], Any], data: Any, examples: int):
        if not isinstance(model, Module):
            raise TypeError(f"layer_statistics: model is {type(model).__name__}; expected a fastprop.nn.Module")
        self.model, self.loss = model, loss
        kinds = {np.asarray(leaf.value).dtype for leaf in model.parameters()}
        dtype = np.dtype(np.float32 if kinds == {np.dtype(np.float32)} else np.float64)
        feed = feed_of(data, dtype, whole("layer_statistics", "examples", examples, 1), False)
        self.batch: Batch = next(iter(feed.epoch(np.random.default_rng(0))))
        self.compiled: dict[Any, Any] = {}

    def look(self) -> list[LayerStatistics]:
        """Return the statistics of all layers."""
        model, batch = self.model, self.batch
        modes = tuple((id(part), part.training) for _, part in model.named_modules())
        given = model.params(), batch.x, batch.y, model.buffers()
        if modes not in self.compiled:
            self.compiled[modes] = compile(value_and_grad(self._seen, has_aux=True))
        try:
            (_, seen), gradients = self.compiled[modes](*given)
        except _Within:
            self.compiled[modes] = _one_by_one(self.compiled[modes])
            (_, seen), gradients = self.compiled[modes](*given)
        own = self._own(gradients)
        kinds = {name: type(part).__name__ for name, part in model.named_modules()}
        calls = sorted((int(call.partition(" ")[0]), call.partition(" ")[2], outputs) for call, outputs in seen.items())
        return [_described(name, kinds[name], outputs, own[name]) for _, name, outputs in calls]

    def _seen(self, params: Any, x: Any, y: Any, buffers: Any) -> Any:
        """Return the mean loss of a batch, and what came out of every call."""
        draws = any(part.draws and part.training for _, part in self.model.named_modules())

        def one(params: Any, x: Any, y: Any, buffers: Any) -> Any:
            bound = self.model.bound(params, 0 if draws else None, buffers or None)
            found: dict[str, Any] = {}
            scope = None if is_eager() else innermost.active
            for name, part in list(bound.named_modules()):
                part.__class__ = _watched(type(part), name, found, scope)
            loss = self.loss(bound(x), y)
            return loss[0] if isinstance(loss, tuple) else loss, found

        losses, found = vmap(one, in_axes=(None, 0, 0, None))(params, x, y, buffers)
        return losses.mean(), found

    def _own(self, gradients: Any) -> dict[str, float]:
        """Return the norm of the gradient of all parameters in every Module."""
        pulls = {id(leaf): pull for leaf, pull in self.model._matched(gradients)}
        return {
            name: norm([pulls[id(leaf)] for leaf in part.parameters()]) if part.parameters() else math.nan
            for name, part in self.model.named_modules()
        }


class _Within(Exception):  # noqa: N818 (never seen outside)
    """A layer was called in the body of a scan or of a map, whose numbers stay there where it is compiled."""


def _one_by_one(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs gate by gate, step by step and lane by lane."""

    def run(*given: Any) -> Any:
        with eager():
            return f(*given)

    return run


def _watched(kind: type[Module], name: str, found: dict[str, Any], scope: Any) -> type[Module]:
    """Return a class of Modules that notes what comes out of a call; in this scope, if there is one."""

    def call(self: Any, *inputs: Any, **options: Any) -> Any:
        output = kind.__call__(self, *inputs, **options)
        if scope is not None and innermost.active is not scope:
            raise _Within
        found[f"{len(found)} {name}"] = output
        return output

    return type(kind.__name__, (kind,), {"__call__": call})


def _described(name: str, kind: str, outputs: Any, gradient: float) -> LayerStatistics:
    """Return the statistics of what came out of a call, for all examples."""
    numbers = [np.asarray(plain(leaf), np.float64) for leaf in flatten(outputs)[0]]
    rows = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in numbers], axis=1)
    if not rows.size:
        return LayerStatistics(name, kind, math.nan, math.nan, math.nan, math.nan, gradient)
    zero = rows == 0.0
    dead = float(zero.all(axis=0).mean())
    return LayerStatistics(name, kind, float(rows.mean()), float(rows.std()), float(zero.mean()), dead, gradient)
