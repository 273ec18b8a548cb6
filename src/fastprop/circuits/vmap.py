"""vmap: a function of one point as a function of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastprop import engine
from fastprop.circuits.signature import checked_reduce
from fastprop.circuits.compile import compile, is_eager
from fastprop.circuits.mapping import record_map
from fastprop.circuits.trace import current_trace, innermost_scope
from fastprop.circuits.unrolling import lane_by_lane
from fastprop.derivatives.call import is_active, name_of
from fastprop.handles.nesting import described, flatten, is_handle

__all__ = ["vmap"]


def holds_arrays_of_tapes(args: Any) -> bool:
    """Say whether there are Arrays that were computed: constants of a transform, on which gates are blocks."""
    return any(isinstance(leaf, engine.Array) and leaf._tape is not None for leaf in flatten(list(args))[0])


def vmap(f: Callable[..., Any], in_axes: Any = 0, reduce: str | None = None) -> Callable[..., Any]:
    """Return a function that computes `f` at many points (lanes) at once.

    Parameters
    ----------
    f : callable
        A function of one point: returns numbers, arrays, or nested containers of them.
    in_axes : int, None, or tuple of them, optional
        Which axis of the arguments counts the points: one for all, or one per argument (nested like it, if need be);
        None: the argument is the same for all points.
    reduce : {None, "sum", "mean"}, optional
        What to do with the values of all points.

    Returns
    -------
    callable
        Takes the arguments of `f`, with one more axis where `in_axes` says so; returns its result with the points as
        the first axis, or reduced.

    Raises
    ------
    ValueError
        If the arguments disagree about the number of points.

    Notes
    -----
    Name and meaning are those of ``jax.vmap``, and `reduce` is new. Branches are taken point by point. It composes:
    ``fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))`` is a training step.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.vmap(lambda x: x * x if x > 0 else -x)(np.array([1.0, -2.0, 3.0]))
    array([1., 2., 9.])
    >>> fp.vmap(lambda w, x: w * x, in_axes=(None, 0), reduce="sum")(2.0, np.array([1.0, 2.0, 3.0]))
    12.0
    """
    if not callable(f):
        raise TypeError(f"vmap takes a function first, not {described(f)}")
    name = name_of(f)
    checked_reduce(reduce, name)
    compiled: list[Any] = []

    def mapped(*args: Any) -> Any:
        trace = current_trace()
        if trace is not None and innermost_scope().tape is trace and not holds_arrays_of_tapes(args):
            return record_map(f, name, args, in_axes, reduce)
        if is_active() or is_eager() or any(is_handle(leaf) for leaf in flatten(list(args))[0]):
            return lane_by_lane(f, name, args, in_axes, reduce)
        if not compiled:
            compiled.append(compile(mapped))
        return compiled[0](*args)

    mapped.__name__ = mapped.__qualname__ = f"vmap({name})"
    mapped.__doc__ = f.__doc__
    mapped.__fastprop__ = ("vmap", f, in_axes, reduce)  # type: ignore[attr-defined]
    return mapped
