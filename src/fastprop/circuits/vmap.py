"""vmap: a function of one point as a function of many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastprop import engine
from fastprop.circuits.enclosed import lifted
from fastprop.circuits.function_gate import call_as_gate
from fastprop.circuits.lanes import Asker, in_stages
from fastprop.circuits.mapping import is_array_here, record_map
from fastprop.circuits.paths import MOST_PATHS
from fastprop.circuits.signature import Signature, axes_of, checked_reduce, positions_of
from fastprop.circuits.trace import Recording, current_trace, innermost_scope, record
from fastprop.circuits.unrolling import lane_by_lane
from fastprop.derivatives.call import active_scope, is_active, name_of
from fastprop.derivatives.transforms import grad, jacobian, value_and_grad
from fastprop.engine.bundle import Bundle, LaneBlock
from fastprop.engine.masks import as_ones
from fastprop.engine.run import is_eager
from fastprop.engine.tape import OutsideError, Unit
from fastprop.gates import is_condition
from fastprop.gates.shapes import moveaxis
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import described, flatten, is_handle, map_leaves
from fastprop.hints import with_hints

__all__ = ["vmap"]


def holds_arrays_of_tapes(args: Any) -> bool:
    """Say whether there are Arrays that were computed: constants of a transform, on which gates are blocks."""
    return any(isinstance(leaf, engine.Array) and leaf._tape is not None for leaf in flatten(list(args))[0])


@with_hints
def vmap(
    f: Callable[..., Any], in_axes: Any = 0, reduce: str | None = None, *, out_axes: Any = 0
) -> Callable[..., Any]:
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
    out_axes : int, None, or nested like the result, optional
        Which axis of the results counts the points; None: the result is the same at all of them, and stands alone.

    Returns
    -------
    callable
        Takes the arguments of `f`, with one more axis where `in_axes` says so; returns its result with the points as
        the first axis (that of `out_axes`), or reduced.

    Raises
    ------
    ValueError
        If the arguments disagree about the number of points, or what is to be the same at all of them is not.

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
    if out_axes != 0:
        return _with_axes(f, in_axes, reduce, out_axes, name)
    asker = Asker()

    def mapped(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        at_work = trace is not None and innermost_scope().tape is trace
        if at_work and not holds_arrays_of_tapes([*args, *kwargs.values()]):
            return in_stages(record_map, *_with_arrays(f, name, args, in_axes), reduce, kwargs, asker)
        run: Callable[..., Any] = in_stages
        if not is_active() and not is_eager():
            try:
                return _as_circuit(mapped, name, args, kwargs)
            except (
                OutsideError
            ):  # the body captures results, which no circuit takes: to transforms in it they are outer
                run = functools.partial(active_scope(engine, engine.current_tape()).run, in_stages)
        return run(lane_by_lane, f, name, args, in_axes, reduce, kwargs, asker)

    functools.update_wrapper(mapped, f, updated=())  # help and inspect.signature show the function's own
    mapped.__name__ = mapped.__qualname__ = f"vmap({name})"
    mapped.__fastprop__ = ("vmap", f, in_axes, reduce)  # type: ignore[attr-defined]
    return mapped


# Around whose functions one looks, and which make the same of other functions
_LIFTED: dict[str, Any] = {"": None, "grad": grad, "value_and_grad": value_and_grad, "jacobian": jacobian}


def _with_arrays(f: Any, name: str, args: tuple[Any, ...], in_axes: Any) -> tuple[Any, str, tuple[Any, ...], Any]:
    """Return a body, its name, arguments and their axes, where arrays around it are arguments, too.

    So they are read as wholes, as those are that are given with None in `in_axes`, and not number by number.
    """
    single = in_axes is None or isinstance(in_axes, int)
    if not (single or (isinstance(in_axes, (tuple, list)) and len(in_axes) == len(args))):
        return f, name, args, in_axes
    transform, function, *options = getattr(f, "__fastprop__", ("", f))
    if transform not in _LIFTED:
        return f, name, args, in_axes
    body, arrays = lifted(function, is_array_here)
    if not arrays:
        return f, name, args, in_axes
    if transform:
        argnums, has_aux = options
        positions, alone = positions_of(argnums, len(args), name)  # the arrays come last: counted from there, too
        body = _LIFTED[transform](body, positions[0] if alone else positions, has_aux)
    return body, name, (*args, arrays), (*([in_axes] * len(args) if single else in_axes), None)


def _with_axes(f: Any, in_axes: Any, reduce: str | None, out_axes: Any, name: str) -> Callable[..., Any]:
    """Return the map whose results have the points along other axes."""
    if reduce is not None:
        raise ValueError(f"{name}: out_axes is {out_axes!r}, but what is reduced has no points; leave it out")
    mapped = vmap(f, in_axes)

    @functools.wraps(mapped)
    def moved(*args: Any, **kwargs: Any) -> Any:
        leaves, nesting = flatten(mapped(*args, **kwargs), nones=True)
        axes = axes_of(nesting, out_axes, f"{name}: out_axes", "result")
        for k, axis in enumerate(axes):
            if axis is None:
                leaves[k], axes[k] = _same(leaves[k], f"{name}: out_axes{nesting.path(k)} is None"), 0
                continue
            if isinstance(axis, bool) or not isinstance(axis, int):
                raise TypeError(f"{name}: out_axes{nesting.path(k)} is {described(axis)}; expected an integer, or None")
            if not -len(leaves[k].shape) <= axis < len(leaves[k].shape):
                raise ValueError(
                    f"{name}: out_axes{nesting.path(k)} is {axis}, and the result there has shape {leaves[k].shape}"
                )
        return nesting.unflatten(moveaxis(leaf, 0, axis) if axis else leaf for leaf, axis in zip(leaves, axes))

    del moved.__fastprop__  # type: ignore[attr-defined]
    return moved


def _same(leaf: Any, what: str) -> Any:
    """Return what a result is at all points; ValueError if it is not the same, which is a guard if it is traced."""
    if not leaf.shape[0]:
        raise ValueError(f"{what}, but there are no points, and so no result that is the same at all of them")
    first = leaf[0]
    if isinstance(leaf, LaneBlock) and leaf.is_same is not None and leaf.is_same():
        return first
    alike = leaf == first
    if not is_condition(leaf):
        alike = alike | ((leaf != leaf) & (first != first))  # NaN is like NaN
    if not bool(np.all(alike)):
        raise ValueError(f"{what}, but the result there is not the same at all points; give it an axis")
    return first


def _as_circuit(mapped: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Record a map and run it: one gate, if there are handles among its arguments, or its body captures leaves."""
    if not any(is_handle(leaf) for leaf in flatten([*args, *kwargs.values()])[0]):
        found, captures = _map_now(mapped, name, args, kwargs)
        if not captures:
            return found
    return call_as_gate(mapped, name, args, kwargs)


def _map_now(mapped: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, bool]:
    """Record a map and run it at the lanes of plain arguments: the result, and whether leaves were captured."""
    found: list[Any] = []

    def once(*args: Any, **kwargs: Any) -> float:
        trace = current_trace()
        assert trace is not None
        result = mapped(*args, **kwargs)
        outer: Recording = trace.recording
        found.append(map_leaves(lambda leaf: _example_of(leaf, outer), result))
        return 0.0

    signature = Signature(args, (), name, kwargs)
    dtype = signature.call_form.dtype
    leaves = signature.leaves(args, dtype, kwargs)
    recording = record(once, signature, leaves, dtype, differentiable=False, max_paths=MOST_PATHS, once=True)
    return found[0], bool(recording.captured_handles())


def _example_of(leaf: Any, outer: Recording) -> Any:
    """Return what a result of a map is where it is recorded: integers and truth values are such again."""
    if is_condition(leaf):
        return np.not_equal(_example_of(as_ones(leaf), outer), 0.0)
    if is_handle(leaf) and is_integer(leaf):
        return np.asarray(_number_of(leaf, outer)).astype(np.int64)[()]
    return _number_of(leaf, outer)


def _number_of(leaf: Any, outer: Recording) -> Any:
    """Return the value of a number, or of a block of them, where it is recorded."""
    if isinstance(leaf, LaneBlock):
        return outer.examples[leaf.number]
    if isinstance(leaf, Bundle):
        return np.array([_number_of(x, outer) for x in leaf.numbers.flat], outer.dtype).reshape(leaf.shape)
    return leaf._recorded if isinstance(leaf, Unit) else leaf
