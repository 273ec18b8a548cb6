"""What is learnt: a model's parameters as numbers of the fit's own, the optimizer that moves them, and the steps."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastprop.circuits.compile import compile
from fastprop.circuits.vmap import vmap
from fastprop.derivatives.transforms import value_and_grad
from fastprop.engine.functions import strong_multiply, where
from fastprop.gates import is_condition
from fastprop.handles.nesting import as_number, described, dtype_of, flatten, is_handle, map_leaves, plain, shape_of
from fastprop.nn.module import Module
from fastprop.nn.normalisation import BatchNorm
from fastprop.optim import LBFGS, Optimizer
from fastprop.random import fold_in

from .diagnosis import first_bad_gate
from .feed import Batch
from .sizes import Sizes, filled

__all__ = ["Learner", "Steps", "named"]

KEYS = 1 << 24  # so many keys: float32 holds all integers up to here


class _Same:
    """A thing that is equal to itself alone, and stays alive, so that no other one takes its place in memory."""

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    __hash__ = None  # type: ignore[assignment]


def _described(x: Any) -> Any:
    """Return what is equal as long as an attribute is: numbers, text, arrays by their content, others by identity."""
    if isinstance(x, (bool, int, float, str, type(None))):
        return x
    if isinstance(x, np.ndarray) and not x.dtype.hasobject:
        return x.dtype.str, x.shape, hashlib.blake2b(x.tobytes()).digest()
    if isinstance(x, dict):
        return {name: _described(part) for name, part in x.items()}
    return [_described(part) for part in x] if type(x) in (list, tuple) else _Same(x)


def named(model: Any) -> str:
    """Say what was given as a model."""
    return f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__


class Learner:
    """A model and its optimizer while they are fitted: parameters are copies, written in place.

    Parameters
    ----------
    model : Module or callable
        A function takes `params` first.
    optimizer : Optimizer
        Of the model's Units and Arrays, or of numbers nested as `params`.
    params : nested containers of numbers and arrays, optional
        Those of a function.
    apart : bool, optional
        Whether an optimizer of numbers stays as it is, too, and a copy of it makes the steps.
    """

    def __init__(self, model: Any, optimizer: Any, params: Any, apart: bool = False):
        if isinstance(model, type) or not callable(model):
            raise TypeError(f"model is {named(model)}; expected a fastprop.nn.Module, or a function")
        self.module = model if isinstance(model, Module) else None
        if self.module is None and params is None:
            raise TypeError("a model that is a function of (params, x) needs params")
        if self.module is not None and params is not None:
            raise TypeError("params go with a model that is a function; a Module has its own")
        if not isinstance(optimizer, Optimizer):
            if isinstance(optimizer, type):
                raise TypeError(f"optimizer is the class {optimizer.__name__}; expected {optimizer.__name__}(model)")
            how = ""
            if isinstance(optimizer, LBFGS):
                how = ": it takes all the data at once, in a loop of your own, optimizer.step(closure)"
            raise TypeError(
                f"optimizer is {described(optimizer)}; expected an Optimizer of fastprop.optim, such as "
                f"Adam(model, lr=0.001){how}"
            )
        self.function, self.optimizer = model, optimizer
        self.owns_handles = optimizer._update.handles
        if self.owns_handles and self.module is None:
            raise TypeError("the optimizer is of Units and Arrays; of a function's params make it with these")
        self.take(params, apart)
        kinds = {dtype_of(leaf) for leaf in flatten(self.params)[0]}
        self.dtype = np.dtype(np.float32) if kinds == {np.dtype(np.float32)} else np.dtype(np.float64)

    def take(self, params: Any, apart: bool = False) -> None:
        """Take copies of the parameters, and the optimizer that moves them."""
        module = self.module
        self.lost = False  # whether the optimizer's parameters were replaced, so that it can't be given anything back
        self.buffers = {} if module is None else module.buffers()
        pairs = [] if module is None else module._matched(module.params())
        self.leaves = [leaf for leaf, _ in pairs]
        self.own = {} if module is None else {id(leaf): name for name, leaf in module.named_parameters()}
        if not self.owns_handles:
            tree = params if module is None else module.params()
            try:
                self.optimizer._update.nesting.leaves_of(tree, "params")
            except (TypeError, ValueError) as error:
                raise type(error)(
                    f"the optimizer is of other parameters than the model's ({error}); make it with the model, or its "
                    "params, such as SGD(model, lr=0.01)"
                ) from None
            self.params, self.work = map_leaves(plain, tree), copy.deepcopy(self.optimizer) if apart else self.optimizer
            return
        assert module is not None
        self.nesting = flatten(module.params())[1]
        names, moved = self.optimizer.names, list(self.optimizer._update.params)
        known = {id(leaf) for leaf in self.leaves}
        foreign = [name for name, leaf in zip(names, moved) if id(leaf) not in known]
        if foreign:
            raise ValueError(
                f"the optimizer moves {', '.join(foreign)}, which the model does not have: they are leaves of another "
                "model, or were replaced; make it with this one, such as SGD(model)"
            )
        self.name_of = {id(leaf): name for name, leaf in zip(names, moved)}
        self.moved = dict(zip(names, moved))
        self.own = self.name_of
        self.params = {name: plain(leaf) for name, leaf in self.moved.items()}
        self.rest = {number: plain(leaf) for number, leaf in self._unmoved()}
        self.work = type(self.optimizer)(self.params, **self.optimizer.state_dict()["options"])
        self.work.load_state_dict(self.optimizer.state_dict())

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        rate: float = self.work._rate_after(self.work.steps)
        return rate

    def follow(self) -> None:
        """Take over what the optimizer's owner may have changed: rate, schedule, what is frozen."""
        if self.owns_handles:
            self.lost = True
            self.optimizer._check_leaves()
            self.lost = False
            self.work.lr, self.work.schedule = self.optimizer.lr, self.optimizer.schedule
            self.work.frozen = self.optimizer.frozen

    def tree(self, params: Any) -> Any:
        """Return parameters as the model nests them."""
        if not self.owns_handles:
            return params
        values = [
            params[self.name_of[id(leaf)]] if id(leaf) in self.name_of else self.rest[id(leaf)] for leaf in self.leaves
        ]
        return self.nesting.unflatten(values)

    def called(self, params: Any, x: Any, key: Any, buffers: Any) -> tuple[Any, Any]:
        """Return what the model gives for one example, and its new buffers."""
        if self.module is None:
            return self.function(params, x), {}
        bound = self.module.bound(self.tree(params), key, buffers or None)
        output = bound(x)
        return output, bound.buffers() if buffers else {}

    def store(self) -> None:
        """Give the parameters and buffers back to the model, and what it remembers to the optimizer."""
        if self.owns_handles:
            for name, leaf in self.moved.items():
                leaf.value = self.params[name]
            if not self.lost:
                self.optimizer._remember(self.work)
        elif self.module is not None:
            for leaf, value in zip(self.leaves, flatten(self.params)[0]):
                leaf.value = value
        if self.module is not None and self.buffers and not self.lost:
            self.module.load_buffers(self.buffers)

    def reread(self) -> None:
        """Take over what callbacks may have assigned: parameters, buffers, what the optimizer remembers."""
        self.follow()
        if self.owns_handles:
            self.params = {name: plain(leaf) for name, leaf in self.moved.items()}
            self.rest = {number: plain(leaf) for number, leaf in self._unmoved()}
            options = self.optimizer._options
            if all(np.array_equal(option, options[name]) for name, option in self.work._options.items()):
                self.work._remember(self.optimizer)
            else:
                self.work.load_state_dict(self.optimizer.state_dict())
        elif self.module is not None:
            self.params = self.module.params()
        self.buffers = {} if self.module is None else self.module.buffers()

    def _unmoved(self) -> list[tuple[int, Any]]:
        return [(id(leaf), leaf) for leaf in self.leaves if id(leaf) not in self.name_of]

    def kept(self) -> tuple[Any, Any]:
        """Return copies of parameters and buffers."""
        return map_leaves(plain, self.params), map_leaves(plain, self.buffers)

    def restore(self, kept: tuple[Any, Any]) -> None:
        """Go back to what `kept` has returned."""
        self.params, self.buffers = map_leaves(plain, kept[0]), map_leaves(plain, kept[1])

    # Modes ------------------------------------------------------------------------------------------------------------

    def modes(self) -> list[tuple[Module, bool]]:
        """Return all Modules with their modes."""
        return [] if self.module is None else [(part, part.training) for _, part in self.module.named_modules()]

    def state(self) -> Any:
        """Return what a recording depends on: which Modules there are, and what stands in them beside parameters."""
        if self.module is None:
            return None
        constants = [np.asarray(leaf.value).tobytes() for _, leaf in self._unmoved()] if self.owns_handles else []
        return constants, [
            (
                _Same(part),
                part.training,
                [
                    (name, _described(x))
                    for name, x in vars(part).items()
                    if name not in ("key", "training", *part.buffer_names)
                ],
            )
            for _, part in self.module.named_modules()
        ]

    @property
    def draws(self) -> bool:
        """Whether something in the model draws random numbers while it learns."""
        return self.module is not None and any(part.draws and part.training for _, part in self.module.named_modules())

    @property
    def needs_others(self) -> bool:
        """Whether something in the model learns from the other examples of a batch."""
        return any(isinstance(part, BatchNorm) and training for part, training in self.modes())


Learnt = tuple[float, float, dict[str, float], Any, Any]
"""Mean loss, total weight, sums of metrics, gradient and new buffers of what makes one step."""


class _Pair(Exception):  # noqa: N818 (never seen outside)
    """The loss has turned out to give sums of its own: Σ w l, and Σ w."""


class Steps:
    """The compiled functions of a fit: of a batch, the loss with its gradient, and the loss alone.

    In the simplest case the gradient is that of a mean. Else it is that of ``scale · Σ w l``, and beside it come Σ w,
    the sums of metrics, and buffers.
    """

    def __init__(
        self,
        learner: Learner,
        loss: Callable[..., Any],
        metrics: dict[str, Callable[..., Any]],
        penalty: Callable[[Any], Any] | None = None,
    ):
        self.learner, self.loss, self.metrics, self.penalty = learner, loss, metrics, penalty
        self.pair = False
        self.record()

    def record(self) -> None:
        """Forget what was recorded; it depends on the model's mode."""
        learner = self.learner
        self.state = learner.state()
        self.draws = learner.draws
        self.is_simple = not (self.pair or self.metrics or self.draws or learner.buffers)
        self.sizes, self.scored_sizes = Sizes(), Sizes()
        loss = self.sizes.watched(self._loss)
        self.simple: Any = compile(value_and_grad(vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
        self.penalised: Any = compile(value_and_grad(self._penalty))
        self.general: Any = compile(value_and_grad(self._sums, has_aux=True))
        self.scored: Any = compile(self._scores)
        self.compiled = (("loss", self.simple), ("loss", self.general), ("penalty", self.penalised))

    def refresh(self) -> None:
        """Record anew if something has changed on which a recording depends."""
        if self.learner.state() != self.state:
            self.record()

    def _penalty(self, params: Any) -> Any:
        """Return what large parameters cost."""
        assert self.penalty is not None  # nobody asks
        found = self.penalty(self.learner.tree(params))
        if shape_of(found) or as_number(found) is None:
            raise TypeError(f"the penalty on the parameters is {described(found)}; expected one number")
        return found

    def _loss(self, params: Any, x: Any, y: Any) -> Any:
        """Return the loss of one example."""
        found = self.loss(self.learner.called(params, x, None, None)[0], y)
        if isinstance(found, tuple):
            raise _Pair
        return _one_number(found)

    def _weighed(self, params: Any, x: Any, y: Any, weight: Any, key: Any, buffers: Any) -> tuple[Any, ...]:
        """Return w l, w, w times the metrics and new buffers of one example."""
        output, buffers = self.learner.called(params, x, key, buffers)
        found = self.loss(output, y)
        if isinstance(found, tuple):
            self.pair = True
            loss, own = map(_one_number, found)
            total, counted = strong_multiply(weight, loss), strong_multiply(weight, own)
        else:
            total, counted = strong_multiply(weight, _one_number(found)), weight
        metrics = {name: strong_multiply(counted, _number(name, f(output, y))) for name, f in self.metrics.items()}
        return total, counted, metrics, buffers

    def _sums(self, params: Any, x: Any, y: Any, weights: Any, scale: Any, key: Any, buffers: Any) -> Any:
        """Return scale Σ w l; Σ w, Σ w metric, and the mean of the buffers, which are equal in all lanes."""
        sums = vmap(self.sizes.watched(self._weighed), in_axes=(None, 0, 0, 0, None, None), reduce="sum")
        total, counted, metrics, found = sums(params, x, y, weights, key, buffers)
        return scale * total, (counted, metrics, map_leaves(lambda leaf: leaf / weights.shape[0], found))

    def _scores(self, params: Any, x: Any, y: Any, weights: Any, buffers: Any) -> Any:
        """Return the sums that a model which does not learn gives."""
        sums = vmap(self.scored_sizes.watched(self._weighed), in_axes=(None, 0, 0, 0, None, None), reduce="sum")
        return sums(params, x, y, weights, None, buffers)[:3]

    def learn(self, batches: list[Batch], key: int) -> Learnt:
        """Return what some batches, taken together, say, and what the parameters cost."""
        known, is_new = self.sizes.known, False
        for batch in batches:
            if batch.size not in known:
                fill = not self.is_simple or len(batches) > 1 or batch.weights is not None
                batches, is_new = [filled(one, self.sizes, self.learner.dtype, fill) for one in batches], True
                break
        found = self._learn(batches, key)
        loss, total, sums, gradients, buffers = found
        is_penalised = self.penalty is not None and total != 0.0
        value, pulls = self.penalised(self.learner.params) if is_penalised else (0.0, None)
        if is_new:
            self._check_captures()
        if not is_penalised:
            return found
        return loss + value, total, sums, _added(gradients, pulls), buffers

    def _check_captures(self) -> None:
        """Raise a ValueError if something reads the model's own parameters, where others are put in for them."""
        own = self.learner.own
        for what, compiled in self.compiled:
            found = {id(leaf) for circuit in compiled.circuits() for leaf in circuit.captured}
            lost = [name for leaf, name in own.items() if leaf in found]
            if lost:
                raise ValueError(
                    f"the {what} reads {', '.join(lost[:3])} of the model itself, and not what a step is made with: it "
                    "would get no gradient. A penalty takes params: penalty=lambda params: l2(params, 1e-4); a layer "
                    "reads what is its own, by self"
                )

    def _learn(self, batches: list[Batch], key: int) -> Learnt:
        learner, batch = self.learner, batches[0]
        if self.is_simple and len(batches) == 1 and batch.weights is None and batch.size:
            try:
                loss, gradients = self.simple(learner.params, batch.x, batch.y)
                return loss, batch.size, {}, gradients, learner.buffers
            except _Pair:
                self.pair, self.is_simple = True, False
        return self._learn_in_general(batches, key)

    def _learn_in_general(self, batches: list[Batch], key: int) -> Learnt:
        learner = self.learner
        weights = [weights_of(batch, learner.dtype) for batch in batches]
        known = 0.0 if self.pair else float(sum(map(weight_of, batches)))
        if known == 0.0 and not self.pair:
            return 0.0, 0.0, {}, None, learner.buffers
        loss, total, sums, gradients, buffers = 0.0, 0.0, dict.fromkeys(self.metrics, 0.0), None, learner.buffers
        for number, (batch, w) in enumerate(zip(batches, weights)):
            if batch.size == 0:
                continue
            drawn = (fold_in(key, number) % KEYS if number else key) if self.draws else None
            scale = 1.0 if self.pair else 1.0 / known
            was = self.pair
            (value, (counted, metrics, buffers)), found = self.general(
                learner.params, batch.x, batch.y, w, scale, drawn, buffers
            )
            if self.pair and not was:
                return self._learn_in_general(batches, key)
            loss, total = loss + value, total + counted
            for name in sums:
                sums[name] += metrics[name]
            gradients = found if gradients is None else _added(gradients, found)
        if self.pair:
            if total == 0.0:
                return 0.0, 0.0, {}, None, learner.buffers
            loss, gradients = loss / total, map_leaves(lambda leaf: leaf / total, gradients)
        return loss, total, sums, gradients, buffers

    def blame(self, batches: list[Batch]) -> str:
        """Say in which example, and at which gate, a loss went wrong; nothing if that can't be told."""
        learner = self.learner
        if learner.needs_others:
            return ""
        key = 0 if self.draws else None

        def loss(params: Any, x: Any, y: Any) -> Any:
            found = self.loss(learner.called(params, x, key, learner.buffers)[0], y)
            return found[0] if isinstance(found, tuple) else found

        each: Any = compile(vmap(loss, in_axes=(None, 0, 0)))
        for batch in filter(lambda batch: batch.size, batches):
            bad = ~np.isfinite(each(learner.params, batch.x, batch.y)) & (weights_of(batch, learner.dtype) > 0.0)
            if bad.any():
                place = int(np.argmax(bad))
                leaves, nesting = flatten((batch.x, batch.y))
                x, y = nesting.unflatten([leaf[place] for leaf in leaves])
                gate = first_bad_gate(loss, (learner.params, x, y), learner.dtype)
                example = f"example {place} of the batch" if batch.rows is None else f"row {batch.rows[place]}"
                return "" if gate is None else f" (first at {gate}, {example})"
        return ""

    def score(self, batch: Batch) -> tuple[float, float, dict[str, float]]:
        """Return Σ w l, Σ w and Σ w metric of a batch."""
        learner, batch = self.learner, filled(batch, self.scored_sizes, self.learner.dtype)
        weights = weights_of(batch, learner.dtype)
        found: tuple[float, float, dict[str, float]] = self.scored(
            learner.params, batch.x, batch.y, weights, learner.buffers
        )
        return found

    def score_all(self, batches: Iterable[Batch]) -> tuple[float, dict[str, float]]:
        """Return the mean loss and metrics of some batches, by the model as it is used."""
        modes, module = self.learner.modes(), self.learner.module
        if module is not None:
            module.eval()
        losses, total, sums = 0.0, 0.0, dict.fromkeys(self.metrics, 0.0)
        try:
            for batch in batches:
                if batch.size:
                    loss, weight, metrics = self.score(batch)
                    losses, total = losses + loss, total + weight
                    sums = {name: value + metrics[name] for name, value in sums.items()}
        finally:
            for part, training in modes:
                part.training = training
        return (losses / total if total else 0.0), {name: value / (total or math.nan) for name, value in sums.items()}


def weights_of(batch: Batch, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the weights of a batch's examples: ones, if it has none."""
    return np.ones(batch.size, dtype) if batch.weights is None else batch.weights


def weight_of(batch: Batch) -> float:
    """Return the weight of a batch's examples together."""
    return batch.size if batch.weights is None else float(batch.weights.sum(dtype=np.float64))


def _one_number(found: Any) -> Any:
    """Return a loss, if it is one number."""
    if shape_of(found) or as_number(found) is None:
        what = f"an array of shape {shape_of(found)}" if shape_of(found) else described(found)
        raise TypeError(f"the loss of one example is {what}; expected one number, such as fastprop.sum of an array")
    return found


def _added(left: Any, right: Any) -> Any:
    """Return the sums of gradients, nested alike."""
    if isinstance(left, dict):  # as most are: sooner done than asked
        return {name: _added(part, right[name]) for name, part in left.items()}
    if isinstance(left, np.ndarray):
        return left + right
    leaves, nesting = flatten(left)
    return nesting.unflatten([a + b for a, b in zip(leaves, nesting.leaves_of(right, "gradients"))])


def _number(name: str, x: Any) -> Any:
    """Return a metric as a number: of a condition 1 or 0."""
    if is_condition(x):
        x = where(x, 1.0, 0.0)
    x = float(x) if isinstance(x, (bool, np.bool_)) else x
    if shape_of(x) or as_number(x) is None:
        what = f"an array of shape {shape_of(x)}" if shape_of(x) else described(x)
        raise TypeError(f"the metric {name!r} of one example is {what}; expected one number, or a condition")
    return x if is_handle(x) else float(x)
