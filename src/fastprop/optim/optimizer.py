"""Optimizer: what all update rules share. Parameters are taken in once; a step moves all of them, or none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import LaneBlock, mapped_rows
from fastprop.engine.program import current_instruction_set
from fastprop.engine.update import Update, are_same
from fastprop.handles.nesting import Nesting, described, flatten, is_handle
from fastprop.hints import Hinted

from .checks import at_least_zero, check_alike, number_in, whole
from .parameters import given, like, listed, taken, tree_of, zeros

__all__ = ["Optimizer"]


class Optimizer(Hinted):
    """An update rule over parameters, which are of one of two kinds.

    *Units and Arrays* are updated themselves, by their gradients: `step` takes nothing. They come in a list, a dict by
    name, any nesting of these, or as an object with `named_parameters` or `parameters`, such as a module.

    *Numbers and arrays* in nested containers are values: ``params = optimizer.step(params, grads)`` gives new ones.
    Whoever keeps the old ones keeps the old numbers; as soon as nobody does, their memory is written again, so that a
    loop allocates nothing. With ``in_place=True`` the arrays of `params` themselves are written into, which is quicker
    for what does not fit into the processor's cache.

    A rule of one's own is a subclass with a method `move`; it gets everything else from here.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated.
    lr : float
        The learning rate.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.
    **options
        Whatever else a rule of one's own is made with; `state_dict` has them.

    Notes
    -----
    A step looks at all gradients before it moves anything. A gradient that is not finite, or whose square is not where
    the rule takes squares, is a ValueError that names it; no parameter, and nothing that the rule remembers, has then
    changed. Numbers below the least normal one (1e-38 in float32) count as 0, where the processor can do that: moments
    that die out would stay there otherwise, with which it takes a hundred times as long.

    Attributes
    ----------
    lr : float
        The learning rate; it can be assigned.
    schedule : callable or None
        Gives for the number of steps made so far, from 0, the factor by which the rate is multiplied; it can be
        assigned.
    momentum, weight_decay, ... : float, bool or tuple
        What else a rule that stands here was made with; it can be assigned, and what is remembered stays.
    steps : int
        How many steps were made.
    names : list of str
        The parameters' names: where they stand, with dots between.
    frozen : frozenset of str
        Names of parameters that stay as they are, with all that is remembered of them; it can be assigned.

    Examples
    --------
    A rule that goes by the signs of gradients, with momentum:

    >>> import numpy as np
    >>> import fastprop as fp
    >>> class Signs(fp.optim.Optimizer):
    ...     remembers = ("mean",)
    ...
    ...     def __init__(self, params, lr=0.1, beta=0.5, *, schedule=None):
    ...         super().__init__(params, lr, schedule=schedule, beta=beta)
    ...         self.beta = beta
    ...
    ...     def move(self, value, grad, moments, rate, step):
    ...         moments[0] = self.beta * moments[0] + (1.0 - self.beta) * grad
    ...         return value - rate * np.sign(moments[0])
    >>> optimizer = Signs({"w": np.ones(2)})
    >>> optimizer.step({"w": np.ones(2)}, {"w": np.array([3.0, -4.0])})
    {'w': array([0.9, 1.1])}
    """

    _decoupled = False
    remembers: ClassVar[tuple[str, ...]] = ()
    """What a rule of one's own remembers of every parameter, by name: its moments, which are 0 at first."""

    if not TYPE_CHECKING:

        def __new__(cls, *given: Any, **options: Any) -> Any:  # noqa: D102
            if not given and "params" not in options:
                raise TypeError(
                    f"{cls.__name__} takes first what it updates, such as {cls.__name__}(model), or numbers nested as "
                    "they are"
                )
            return super().__new__(cls, *given, **options)

        def __getattr__(self, name: str) -> Any:
            options = vars(self).get("_options", {})
            return options[name] if name in options else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "lr" or name not in vars(self).get("_options", {}) or self._own:
            super().__setattr__(name, value)
            return
        state = self.state_dict()
        options = {**state["options"], name: value}
        if remade(type(self), self._source, options, self.schedule)._moments != self._moments:
            raise ValueError(
                f"{type(self).__name__}: with {name}={value!r} it would remember other things than with "
                f"{name}={self._options[name]!r}; make a new optimizer"
            )
        self.load_state_dict({**state, "options": options})

    def __init__(self, params: Any, lr: float, *, schedule: Callable[[int], float] | None = None, **options: Any):
        self._begin(params, "own", self.remembers, {"lr": lr, **options}, {}, schedule)

    def _begin(
        self,
        params: Any,
        kind: str,
        moments: tuple[str, ...],
        options: dict[str, Any],
        rule: dict[str, Any],
        schedule: Callable[[int], float] | None,
        start: float = 0.0,
    ) -> None:
        """Take everything in."""
        name = type(self).__name__
        self._own = kind == "own"
        if not self._own and type(self).move.__module__ != "fastprop.optim.rules":
            raise TypeError(
                f"{name}: a rule of one's own, with a move, is a subclass of fastprop.optim.Optimizer itself"
            )
        self._moments = moments
        self._options = options
        self._frozen: frozenset[str] = frozenset()
        if self._own:
            taking = inspect.signature(type(self).__init__).parameters.values()
            given_here = {"self", "params", "schedule", *options}
            lost = [
                p.name for p in taking if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in given_here
            ]
            if lost:
                raise TypeError(
                    f"{name}: what it is made with goes to super().__init__ by name, as copies are made with it, too: "
                    f"super().__init__(params, lr, {', '.join(f'{one}={one}' for one in lost)})"
                )
        self.schedule = schedule
        self.lr = options["lr"]
        source = given(params, name)
        names, leaves, nesting = taken(source, name)
        handles = is_handle(leaves[0])
        self._source = source if handles else nesting.unflatten(map(like, leaves))
        self._leaves = flatten(tree_of(source), nones=True)[0] if handles else []
        self._likes = [] if handles else list(map(like, leaves))
        self._update = Update(
            kind, rule, len(moments), leaves, nesting, names, handles, start, current_instruction_set()
        )

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = at_least_zero(type(self).__name__, "lr", lr)

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """What gives the factor of the rate."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Callable[[int], float] | None) -> None:
        if schedule is not None and (isinstance(schedule, type) or not callable(schedule)):
            raise TypeError(
                f"{type(self).__name__}: schedule is {schedule!r:.60} ({type(schedule).__name__}); expected a function "
                "of the number of steps made so far, such as fastprop.optim.Cosine(10_000)"
            )
        self._schedule = schedule

    def _rate_after(self, steps: Any) -> Any:
        """Return the rate of the step after so many: of the next one after `steps`."""
        if self._schedule is None:
            return self._lr
        factor = self._schedule(steps)
        try:
            return self._lr * factor
        except TypeError:
            raise TypeError(
                f"{type(self).__name__}: the schedule gave {described(factor)} for {steps} steps; expected a number"
            ) from None

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return self._update.steps

    @property
    def names(self) -> list[str]:
        """The parameters' names."""
        return list(self._update.names)

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the parameters that stay as they are."""
        return self._frozen

    @frozen.setter
    def frozen(self, names: Iterable[str]) -> None:
        frozen = frozenset([names] if isinstance(names, str) else names)
        unknown = sorted(map(str, frozen.difference(self._update.names)))
        if unknown:
            raise ValueError(f"frozen: there is no parameter {', '.join(unknown)}; they are {', '.join(self.names)}")
        self._frozen = frozen

    def step(self, params: Any = None, grads: Any = None, *, in_place: bool = False) -> Any:
        """Make one step.

        Parameters
        ----------
        params, grads : nested containers of numbers and arrays
            The parameters as they are and their gradients, nested as the optimizer's parameters are; None for a
            gradient skips its parameter. Of Units and Arrays, whose gradients they have themselves: nothing.
        in_place : bool, optional
            Write into the arrays of `params`.

        Returns
        -------
        nested containers of numbers and arrays
            The new parameters; of Units and Arrays None.

        Raises
        ------
        ValueError
            If a gradient, or its square where the rule takes squares, is not finite; if the rate is not finite or below
            0; if there are other parameters than before, or in other shapes. It names them; nothing has changed.
        TypeError
            If parameters or gradients are nested otherwise, or have another dtype.
        """
        update = self._update
        rate = self._rate_after(update.steps)
        frozen = self._frozen or None
        if update.handles:
            if params is not None or grads is not None:
                raise TypeError("step() of Units and Arrays takes nothing: they have their gradients themselves")
            self._check_leaves()
            update.step_handles(rate, frozen, self.move if self._own else None)
            return None
        if grads is None:
            raise TypeError("step() of numbers and arrays takes them and their gradients: step(params, grads)")
        return update.step(rate, params, grads, frozen, in_place, self.move if self._own else None)

    def init(self) -> dict[str, Any]:
        """Give the state that `update` begins with: what is remembered now, which of a new optimizer is 0.

        Returns
        -------
        dict
            ``steps``, how many were made; ``moved``, how many each parameter has made, and what the rule remembers of
            it, by PyTorch's names, all of them nested as the parameters.
        """
        update = self._update
        self._check_numbers("init")
        found = [update.moments_of(k) for k in range(len(update.names))]
        moments = {name: update.nesting.unflatten([own[i] for _, own in found]) for i, name in enumerate(self._moments)}
        moved = update.nesting.unflatten([float(steps) for steps, _ in found])
        return {"steps": float(self.steps), "moved": moved, **moments}

    def update(self, params: Any, grads: Any, state: dict[str, Any], rate: Any = None) -> tuple[Any, dict[str, Any]]:
        """Give new parameters, and the new state: a step that changes nothing, neither arguments nor the optimizer.

        It is computed by gates, so that it can be part of what is compiled, a step of `fp.scan`, mapped over the
        parameters of several models, and differentiated. By itself, `step` is quicker.

        Parameters
        ----------
        params, grads : nested containers of numbers and arrays
            As in `step`, or traced.
        state : dict
            As `init` gives it, or the update before.
        rate : float, optional
            The learning rate of this step, in the place of `lr` and its schedule: one that decides by `if` can't be
            told how many steps were made where it is traced.

        Returns
        -------
        tuple
            The new parameters, and the new state.

        Raises
        ------
        ValueError
            If a parameter, a gradient or what is remembered has another shape, or the state is another rule's. Numbers
            are not looked at: after a gradient that is not finite, neither are parameters.
        TypeError
            If they are nested otherwise.

        Examples
        --------
        An epoch that is one call:

        >>> import numpy as np
        >>> import fastprop as fp
        >>> loss = lambda w, x: (w["slope"] * x[0] + w["bias"] - x[1]) ** 2
        >>> start = {"slope": 0.0, "bias": 0.0}
        >>> adam = fp.optim.Adam(start, lr=0.1)
        >>> def step(carry, x):
        ...     value, grads = fp.value_and_grad(loss)(carry[0], x)
        ...     return adam.update(carry[0], grads, carry[1]), value
        >>> epoch = fp.compile(lambda carry, data: fp.scan(step, carry, data))
        >>> data = np.array([[t, 3.0 * t - 1.0] for t in np.linspace(-1.0, 1.0, 200)])
        >>> carry = start, adam.init()
        >>> for _ in range(10):
        ...     carry, losses = epoch(carry, data)
        >>> {name: round(value, 3) for name, value in carry[0].items()}
        {'slope': 3.0, 'bias': -1.0}
        """
        self._check_numbers("update")
        kinds = ["moved", *self._moments]
        if not isinstance(state, dict) or set(state) != {"steps", *kinds}:
            raise ValueError(
                f"update: the state is {described(state)}; expected what init() gives, a dict with "
                f"{', '.join(['steps', *kinds])}"
            )
        nesting, steps = self._update.nesting, number_in("the state's steps", state["steps"])
        if rate is None:
            made = int(steps) if isinstance(steps, float) else steps
            rate = self._rate_after(made)
        rate = number_in("the rate", rate)
        values, slopes = nesting.leaves_of(params, "params"), nesting.leaves_of(grads, "grads")
        kept = [nesting.leaves_of(state[kind], f"state[{kind!r}]") for kind in kinds]
        for k, name in enumerate(self._update.names):
            if slopes[k] is None or name in self._frozen:
                continue
            for what, leaf in zip(
                ("params", "grads", *self._moments), (values[k], slopes[k], *[x[k] for x in kept[1:]])
            ):
                check_alike(f"{what}: {name}", leaf, self._likes[k])
            step, own = kept[0][k] + 1.0, [moment[k] for moment in kept[1:]]
            values[k], *own = self._moved(values[k], slopes[k], own, rate, step)
            for moment, new in zip(kept, (step, *own)):
                moment[k] = new
        after = {kind: nesting.unflatten(leaves) for kind, leaves in zip(kinds, kept)}
        return nesting.unflatten(values), {"steps": steps + 1.0, **after}

    def _moved(self, value: Any, slope: Any, own: list[Any], rate: Any, step: Any) -> Iterator[Any]:
        """Give a parameter's new numbers, then what is remembered of them."""

        def move(value: Any, slope: Any, *own: Any) -> tuple[Any, ...]:
            moments = list(own)
            return self.move(value, slope, moments, rate, step), *moments

        move.name = f"{type(self).__name__}.move"  # type: ignore[attr-defined]
        if isinstance(slope, LaneBlock) and not self._own:  # an array, which one map reads and writes once
            return iter(mapped_rows(move, (value, slope, *own)))
        return iter(move(value, slope, *own))

    def _check_numbers(self, what: str) -> None:
        if self._update.handles:
            raise TypeError(
                f"{what}: this optimizer updates Units and Arrays themselves; make one of numbers and arrays, such as "
                f"{type(self).__name__}(module.params())"
            )

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter: the rule itself, and what a rule of one's own has to say.

        Parameters
        ----------
        value, grad : array
            The numbers and their gradients; single numbers come together, in a row.
        moments : list of array
            What the rule remembers of them, in the order of `remembers`; to be changed, or replaced.
        rate : float
            The learning rate, scheduled.
        step : int
            Which step of this parameter it is, from 1.

        Returns
        -------
        array
            In the same shape. All arrays are copies, so that a step that fails half-way changes nothing. For `update`
            all of these are numbers, arrays, or traced.
        """
        raise TypeError(f"{type(self).__name__} has no method move, which says how parameters move")

    def _slope(self, value: Any, grad: Any) -> Any:
        """Return a gradient, down or up, with the weights' decay in it unless that is apart."""
        slope = -grad if self._options["maximize"] else grad
        decay = 0.0 if self._decoupled else self._options["weight_decay"]
        return slope if decay == 0.0 else slope + decay * value

    def _over(self, numerator: Any, denominator: Any) -> Any:
        """Return a quotient, which is 0 where the denominator is: nowhere, if eps is in it."""
        if self._options["eps"] > 0.0:
            return numerator / denominator
        there = denominator > 0.0
        return gates.where(there, numerator / gates.where(there, denominator, 1.0), 0.0)

    def zero_grad(self) -> None:
        """Set the gradients of all Units and Arrays to 0."""
        for leaf in self._update.params:
            leaf.grad = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Give everything that the optimizer needs to go on from here, but for the parameters and the schedule.

        Returns
        -------
        dict
            ``options`` as the rule was made with, the rate as it is now; ``steps``; ``parameters``, by name: the steps
            that each has made, and what the rule remembers of it, under PyTorch's names. All arrays are copies.
        """
        parameters = {}
        for k, name in enumerate(self._update.names):
            steps, moments = self._update.moments_of(k)
            parameters[name] = {"steps": steps, **dict(zip(self._moments, moments))}
        return {"options": {**self._options, "lr": self._lr}, "steps": self.steps, "parameters": parameters}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` has given, bit for bit.

        Raises
        ------
        ValueError
            If it is no such state; if a parameter, or something that the rule remembers of it, is missing, is one too
            many, or has another shape or dtype. It names all of them; nothing is then loaded.
        """
        if not (isinstance(state, dict) and set(state) == {"options", "steps", "parameters"}):
            raise ValueError(
                f"load_state_dict: the state is {described(state)}; expected what state_dict() of an optimizer has "
                "given: a dict with options, steps and parameters"
            )
        if set(state["options"]) != set(self._options):
            options = f"{', '.join(state['options'])}; expected {', '.join(self._options)}"
            raise ValueError(f"load_state_dict: the state is of another rule, with the options {options}")
        fresh = remade(type(self), self._source, state["options"], self.schedule)
        found = state["parameters"]
        wrong = [f"{name} is missing" for name in fresh.names if name not in found]
        wrong += [f"{name} is no parameter of this optimizer" for name in found if name not in fresh.names]
        for k, name in enumerate(fresh.names):
            if name in found:
                wrong += fresh._load(k, name, found[name])
        if wrong:
            raise ValueError(f"load_state_dict: {'; '.join(wrong)}; nothing was loaded")
        fresh._update.steps = whole("load_state_dict", "steps", state["steps"])
        fresh.frozen = self._frozen
        self.__dict__.update(fresh.__dict__)

    def _load(self, k: int, name: str, found: dict[str, Any]) -> list[str]:
        """Set what is remembered of one parameter, or say what is wrong with it."""
        wrong, moments = [], []
        if set(found) != {"steps", *self._moments}:
            return [f"{name} has {', '.join(found)}, where {', '.join(['steps', *self._moments])} are expected"]
        steps = whole("load_state_dict", f"steps of {name}", found["steps"])
        for moment, own in zip(self._moments, self._update.moments_of(k)[1]):
            value = np.asarray(found[moment])
            moments.append(found[moment])
            if value.shape != np.shape(own) or value.dtype != np.asarray(own).dtype:
                what = f"{value.dtype}{list(value.shape)}, expected {np.asarray(own).dtype}{list(np.shape(own))}"
                wrong.append(f"{moment} of {name} is {what}")
        if not wrong:
            self._update.set_moments(k, steps, moments)
        return wrong

    def _remember(self, other: Optimizer) -> None:
        """Take over what another one of this rule remembers of parameters of the same names."""
        place = {name: k for k, name in enumerate(other._update.names)}
        for k, name in enumerate(self._update.names):
            self._update.set_moments(k, *other._update.moments_of(place[name]))
        self._update.steps = other._update.steps

    def _check_leaves(self) -> None:
        """Raise a ValueError that names the Units and Arrays that are others than at first."""
        if are_same(listed(self._source), self._leaves) or are_same(
            flatten(tree_of(self._source), nones=True)[0], self._leaves
        ):
            return
        names, leaves, _ = taken(self._source, type(self).__name__)
        before, now = dict(zip(self.names, self._update.params)), dict(zip(names, leaves))
        changes = [f"{name} was dropped" for name in before if name not in now]
        changes += [f"{name} was added" for name in now if name not in before]
        changes += [f"{name} was replaced" for name in now if name in before and now[name] is not before[name]]
        raise ValueError(f"the parameters have changed: {', '.join(changes) or 'their order'}; make a new optimizer")

    def __reduce__(self) -> Any:
        nesting = None if self._update.handles else self._update.nesting
        source = self._source
        if nesting is not None:  # the shapes alone: the numbers are the caller's
            source = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in flatten(source, nones=True)[0]]
        return _rebuilt, (type(self), source, nesting, self.schedule, self.frozen, self.state_dict())

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in {**self._options, "lr": self._lr}.items())
        return f"<{type(self).__name__} of {len(self._update.names)} parameters: {options}, {self.steps} steps>"


def _rebuilt(
    kind: type[Optimizer],
    source: Any,
    nesting: Nesting | None,
    schedule: Any,
    frozen: frozenset[str],
    state: dict[str, Any],
) -> Any:
    """Make an optimizer again from its pickle."""
    if nesting is not None:
        source = nesting.unflatten(zeros(*shape_and_dtype) for shape_and_dtype in source)
    optimizer = remade(kind, source, state["options"], schedule)
    optimizer.frozen = frozen
    optimizer.load_state_dict(state)
    return optimizer


def remade(kind: type[Optimizer], source: Any, options: dict[str, Any], schedule: Any) -> Optimizer:
    """Make an optimizer; rules of one's own need not take a schedule."""
    return kind(source, **options, **({} if schedule is None else {"schedule": schedule}))
