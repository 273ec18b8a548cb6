"""Across the lanes of a vmap: sums, means and extremes of all lanes in the body of one, and the number of a lane.

How can a body that knows its own lane alone use a sum over all of them? It is run in stages: up to its first reduction
in every lane, where it stops and gives what is to be reduced; then up to its second, the first being known; and so on.
The last stage is the whole body, with all reductions known. So each stage is a map like any other, what comes between
two of them is a sum or a largest number like any other, and derivatives need nothing of their own. The number of its
lane is one argument more, of a body that asks for it.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastprop import engine, gates
from fastprop.circuits.signature import lane_signature
from fastprop.derivatives.call import name_of
from fastprop.engine.tape import innermost
from fastprop.gates import is_condition, recorder_of
from fastprop.gates.numbers import number
from fastprop.handles.nesting import is_handle

__all__ = ["Asked", "Asker", "in_lanes", "in_stages", "is_in_lanes", "lane_max", "lane_mean", "lane_min", "lane_sum"]

_NUMBER = "number of the lane"  # the argument by keyword that a body which asks for it has


class Asker:
    """What is remembered of a mapped function from call to call: whether its body asks for the number of its lane."""

    numbered = False


class Asked(BaseException):
    """A body uses what it was not given yet: the number of its lane, or a reduction over all lanes.

    No ``except Exception`` of the user's catches it.
    """

    def __init__(self, stage: Stage, reduction: Reduction | None = None):
        super().__init__(f"{stage.name}: a vmap has to begin anew")
        self.stage, self.reduction = stage, reduction


class _Stopped(BaseException):
    """A body has come to the reduction at which its stage ends."""

    def __init__(self, visit: _Visit, operand: Any):
        self.visit, self.operand = visit, operand


@dataclass(frozen=True)
class Reduction:
    """One reduction over the lanes: which, and where it was called, from the body down."""

    kind: str
    places: tuple[Any, ...]

    @property
    def name(self) -> str:
        """What it is called, and its line."""
        code, at = self.places[0]
        line = next((line for begin, end, line in code.co_lines() if begin <= at < end), code.co_firstlineno)
        return f"lane_{self.kind} at {code.co_filename}:{line}"


@dataclass(frozen=True)
class Stage:
    """One run of a body in all lanes, which ends at a reduction that is `wanted`, or goes to its end.

    `known` are the reductions before that, and their values; `around` is the lane of the vmap around this one.
    """

    name: str
    asker: Asker
    around: _Visit | None
    known: tuple[tuple[Reduction, Any], ...] = ()
    wanted: Reduction | None = None
    finished: list[bool] = field(default_factory=list)  # whether a lane has come to the end of the body

    def body(self, f: Callable[..., Any], differentiated: bool = False) -> Callable[..., Any]:
        """Return the body of this stage."""

        def body(*args: Any, **kwargs: Any) -> Any:
            visit = _Visit(self, kwargs.pop(_NUMBER, None), innermost.active, differentiated)
            before, _thread.visit = _thread.visit, visit
            try:
                result = f(*args, **kwargs)
            except _Stopped as stopped:
                if stopped.visit is not visit:
                    raise
                return stopped.operand
            finally:
                _thread.visit, visit.scope = before, None
            self.finish(visit)
            return result

        body.__name__ = body.__qualname__ = name_of(f)
        kind: tuple[Any, ...] = getattr(f, "__fastprop__", ("",))
        if kind[0] in ("grad", "value_and_grad"):  # whose program may sweep the function itself
            body.__fastprop__ = (kind[0], self.body(kind[1], True), *kind[2:])  # type: ignore[attr-defined]
        return body

    def finish(self, visit: _Visit) -> None:
        """Note that a lane has come to the end of the body: ValueError if others stop, or have stopped, on the way."""
        missed = self.wanted if visit.done == len(self.known) else self.known[visit.done][0]
        if missed is not None:
            raise self.divided(missed)
        self.finished.append(True)

    def divided(self, reduction: Reduction) -> ValueError:
        """Say that some lanes come by a reduction and others don't."""
        return ValueError(
            f"{self.name}: some lanes come by {reduction.name} and others do not; it takes a number of every lane, so "
            "call it where all come by, and choose with fp.where"
        )


class _Visit:
    """The body at work in one lane: the number of the lane, if it is known, and how many reductions it has come by."""

    __slots__ = ("differentiated", "done", "number", "scope", "stage")

    def __init__(self, stage: Stage, number: Any, scope: Any, differentiated: bool):
        self.stage, self.number, self.scope, self.differentiated = stage, number, scope, differentiated
        self.done = 0

    def reduced(self, reduction: Reduction, operand: Any) -> Any:
        """Return the value of a reduction, if it is known; else the stage ends here."""
        stage = self.stage
        if self.done < len(stage.known):
            known, value = stage.known[self.done]
            if known != reduction:
                raise stage.divided(reduction)
            self.done += 1
            return value
        if stage.wanted is None:
            if stage.finished:
                raise stage.divided(reduction)
            raise Asked(stage, reduction)
        if stage.wanted != reduction:
            raise stage.divided(reduction)
        raise _Stopped(self, operand)

    def numbers(self) -> list[Any]:
        """Return the numbers of the lanes at work, that of the outermost vmap first."""
        outer = [] if self.stage.around is None else self.stage.around.numbers()
        if self.number is None:
            self.stage.asker.numbered = True
            raise Asked(self.stage)
        return [*outer, self.number]


class _Thread(threading.local):
    visit: _Visit | None = None


_thread = _Thread()


def in_stages(
    run: Callable[..., Any],
    f: Callable[..., Any],
    name: str,
    args: Sequence[Any],
    in_axes: Any,
    reduce: str | None,
    kwargs: Mapping[str, Any] | None,
    asker: Asker,
) -> Any:
    """Run a mapped function in all lanes, by what runs a body in them: in one stage if it has no reductions."""
    stage = Stage(name, asker, _thread.visit)

    def result_of(stage: Stage, how: str | None) -> Any:
        given = dict(kwargs or {})
        if asker.numbered:
            given[_NUMBER] = np.arange(lane_signature(name, args, in_axes, (), kwargs)[2])
        return run(stage.body(f), name, args, in_axes, how, given)

    while True:
        try:
            if stage.wanted is None:
                return result_of(stage, reduce)
            reduction = stage.wanted
            value = _reduced(reduction.kind, functools.partial(result_of, stage))
            stage = Stage(name, asker, stage.around, (*stage.known, (reduction, value)))
        except Asked as asked:
            if asked.stage is not stage:
                raise
            stage = Stage(name, asker, stage.around, stage.known, asked.reduction or stage.wanted)


def _reduced(kind: str, run: Callable[[str | None], Any]) -> Any:
    """Return the sum, mean, largest or smallest over the lanes of what a stage gives."""
    if kind in ("sum", "mean"):
        return run(kind)
    found = run(None)
    return gates.table[kind](found, axis=0)


def in_lanes() -> list[Any]:
    """Return the numbers of the lanes at work, that of the outermost vmap first; none outside of any."""
    return [] if _thread.visit is None else _thread.visit.numbers()


def is_in_lanes() -> bool:
    """Say whether there is a vmap around the call."""
    return _thread.visit is not None


def _across(kind: str, x: Any) -> Any:
    visit, name = _thread.visit, f"lane_{kind}"
    if visit is None:
        raise ValueError(f"{name} works across the lanes of the vmap around it, and there is none; use fp.{kind}")
    if visit.differentiated or innermost.active is not visit.scope:
        raise ValueError(
            f"{name} is called in a derivative that each lane of {visit.stage.name} takes for itself, and other lanes "
            "are no part of it; differentiate the vmap as a whole"
        )
    if recorder_of(x) is not None and not is_handle(x) and not is_condition(x):
        x = engine.Array(x)
    elif not is_handle(x) and not is_condition(x):
        x = number(SimpleNamespace(name=name), 0, x, arrays=True)
    return visit.reduced(Reduction(kind, _places()), x if is_condition(x) else gates.positive(x))


def _places() -> tuple[Any, ...]:
    """Return where a reduction is called: code and instruction of each function from there up to the body."""
    found = []
    frame = sys._getframe(3)
    while frame.f_code.co_filename != __file__:
        found.append((frame.f_code, frame.f_lasti))
        assert frame.f_back is not None
        frame = frame.f_back
    return tuple(found)


def lane_sum(x: Any) -> Any:
    """Return the sum over all lanes of the innermost vmap around the call, which is the same in all of them.

    Parameters
    ----------
    x : float, array_like, Unit or Array
        One number or array of every lane; a plain one is the same in all.

    Returns
    -------
    float, ndarray, Unit or Array
        In the shape of `x`.

    Raises
    ------
    ValueError
        Outside of any vmap; where some lanes come by and others do not, as in a branch; in a derivative that each lane
        takes for itself.

    Notes
    -----
    A body with reductions is run in stages, each up to the next one: what comes before a reduction is computed once
    more for it.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.vmap(lambda x: x / fp.lane_sum(x))(np.array([1.0, 2.0, 5.0]))
    array([0.125, 0.25 , 0.625])
    """
    return _across("sum", x)


def lane_mean(x: Any) -> Any:
    """Return the mean over all lanes of the innermost vmap around the call; as `lane_sum`.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.vmap(lambda x: x - fp.lane_mean(x))(np.array([1.0, 2.0, 6.0]))
    array([-2., -1.,  3.])
    """
    return _across("mean", x)


def lane_max(x: Any) -> Any:
    """Return the largest number of all lanes of the innermost vmap around the call; as `lane_sum`, ties as in `max`.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.vmap(lambda x: x / fp.lane_max(x))(np.array([1.0, 2.0, 4.0]))
    array([0.25, 0.5 , 1.  ])
    """
    return _across("max", x)


def lane_min(x: Any) -> Any:
    """Return the smallest number of all lanes of the innermost vmap around the call; as `lane_sum`, ties as in `min`.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.vmap(lambda x: x - fp.lane_min(x))(np.array([3.0, 2.0, 4.0]))
    array([1., 0., 2.])
    """
    return _across("min", x)
