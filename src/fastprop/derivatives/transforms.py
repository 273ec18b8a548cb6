"""Functions of functions: grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp.

Each of them calls the given function once (`call.Call`), with a fresh *variable* in the place of every number to
differentiate, and sweeps the gates that the function recorded: backward, from a pull on the output to the gradients of
the variables, or forward, from tangents of the variables to the tangent of the output. What comes out is nested like
what went in.

All of them compose: where a transform runs inside of another one, its sweep is recorded, too, and what it returns is a
handle that the outer one can differentiate.
"""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.derivatives.call import Call, in_numbers, name_of, taken_apart
from fastprop.handles.nesting import checked, checked_alike, described, flatten
from fastprop.hints import with_hints

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]


@with_hints
def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, _engine: Any = None
) -> Callable[..., Any]:
    """Return a function that computes the gradient of `f`.

    Parameters
    ----------
    f : callable
        Returns one number: a Unit, or a plain number where nothing depends on the arguments. The arguments to
        differentiate are floats, arrays of shape (...), Units, Arrays, and nested lists, tuples, dataclasses and dicts
        of them; `f` receives Units and Arrays in their place. Integers count as floats, and None in a container stays
        None.
    argnums : int or sequence of int, optional
        Which positional arguments to differentiate; negative ones count from the end. Default: the first.
    has_aux : bool, optional
        Whether `f` returns a pair ``(value, aux)``, where `aux` is passed through.

    Returns
    -------
    callable
        Takes the arguments of `f`; returns the gradient in the nesting of the argument (a tuple of gradients if
        `argnums` is a sequence), or ``(gradient, aux)``. With plain arguments, and outside of other transforms, floats
        and arrays; else handles, which can be differentiated in turn.

    Raises
    ------
    TypeError
        If an argument, or a number nested in it, can't be differentiated, or if `f` returns anything but one number.
    ValueError
        If `argnums` names an argument twice.

    See Also
    --------
    value_and_grad, jacobian, vjp

    Notes
    -----
    Name, order and meaning are those of ``jax.grad``. Leaves that `f` captures from outside are read at every call and
    count as constants; their ``.grad`` is not changed.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.grad(lambda x: x * x)(3.0)
    6.0
    >>> fp.grad(fp.grad(lambda x: x**3))(2.0)
    12.0
    >>> fp.grad(lambda p: p["a"] * p["b"][0])({"a": 2.0, "b": [5.0]})
    {'a': 5.0, 'b': [2.0]}
    """
    _check_callable("grad", f)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        positions, single = _positions("grad", argnums, len(args))
        call = Call("grad", f, args, kwargs, positions, has_aux, _engine)
        found = call.split(call.gradient(), single)
        return (found, call.plain_aux()) if has_aux else found

    gradient.__fastprop__ = ("grad", f, argnums, has_aux)  # type: ignore[attr-defined]
    return _named(gradient, "grad", f)


@with_hints
def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, _engine: Any = None
) -> Callable[..., Any]:
    """Return a function that computes the value of `f` and its gradient, from one recording.

    Parameters
    ----------
    f, argnums, has_aux
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of `f`; returns ``(value, gradient)``, or ``((value, aux), gradient)``.

    Raises
    ------
    TypeError, ValueError
        As for `grad`.

    Notes
    -----
    Name, order and meaning are those of ``jax.value_and_grad``.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.value_and_grad(lambda x, y: x * y, argnums=(0, 1))(-2.0, 3.0)
    (-6.0, (3.0, -2.0))
    """
    _check_callable("value_and_grad", f)

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        positions, single = _positions("value_and_grad", argnums, len(args))
        call = Call("value_and_grad", f, args, kwargs, positions, has_aux, _engine)
        found = call.split(call.gradient(), single)
        return ((call.value(), call.plain_aux()) if has_aux else call.value()), found

    value_and_gradient.__fastprop__ = ("value_and_grad", f, argnums, has_aux)  # type: ignore[attr-defined]
    return _named(value_and_gradient, "value_and_grad", f)


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False, _engine: Any = None) -> Any:
    """Return the value of `f` and its pull function: gradients of the arguments from a pull on the output.

    Parameters
    ----------
    f : callable
        Returns numbers, arrays, or nested containers of them.
    *primals : number, array or nested container
        All positional arguments of `f`; all are differentiated.
    has_aux : bool, optional
        Whether `f` returns a pair ``(value, aux)``, where `aux` is passed through.

    Returns
    -------
    value : number, array or nested container
        What `f` returned.
    pull function : callable
        Takes a pull, nested and shaped like the value; returns a tuple with one gradient per primal. It may be called
        any number of times.
    aux : object
        With `has_aux` only.

    Raises
    ------
    TypeError
        If a primal or an output can't be differentiated; by the pull function, if a pull has another type or a dtype
        of higher precision than the output.
    ValueError
        By the pull function, if a pull has another shape than the output.

    Notes
    -----
    Name, order and meaning are those of ``jax.vjp``: the product of a vector with the Jacobian of `f`.

    Examples
    --------
    >>> import fastprop as fp
    >>> value, pull_back = fp.vjp(lambda x, y: [x * y, x + y], 2.0, 5.0)
    >>> value
    [10.0, 7.0]
    >>> pull_back([1.0, 0.0]), pull_back([0.0, 1.0])
    ((5.0, 2.0), (1.0, 1.0))
    """
    _check_callable("vjp", f)
    call = Call("vjp", f, primals, {}, range(len(primals)), has_aux, _engine, noun="primal")

    def pull_back(pull: Any) -> tuple[Any, ...]:
        leaves = call.nesting.leaves_of(pull, "the pull")
        pulls = {
            i: in_numbers(checked_alike(leaf, output, "the pull", "the output", call.nesting, i))
            for i, (leaf, output) in enumerate(zip(leaves, call.outputs))
        }
        gradients: tuple[Any, ...] = call.split(call.gradients(pulls), single=False)
        return gradients

    found = call.value(), _named(pull_back, "pull_back", f)
    return (*found, call.plain_aux()) if has_aux else found


def jvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    _engine: Any = None,
) -> Any:
    """Return the value of `f` and its tangent: the derivative of the output along the tangents of the arguments.

    Parameters
    ----------
    f : callable
        Returns numbers, arrays, or nested containers of them.
    primals : tuple or list
        The positional arguments of `f`.
    tangents : tuple or list
        One tangent per primal, nested and shaped like it.
    has_aux : bool, optional
        Whether `f` returns a pair ``(value, aux)``, where `aux` is passed through.

    Returns
    -------
    value, tangent : number, array or nested container
        What `f` returned, and its derivative in the same nesting.
    aux : object
        With `has_aux` only.

    Raises
    ------
    TypeError
        If a primal or an output can't be differentiated, or a tangent is of another type or of higher precision.
    ValueError
        If a tangent has another shape than its primal.

    Notes
    -----
    Name, order and meaning are those of ``jax.jvp``: the product of the Jacobian of `f` with a vector, by one sweep
    forward.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.jvp(lambda x, y: x * y, (2.0, 5.0), (1.0, 0.0))
    (10.0, 5.0)
    """
    _check_callable("jvp", f)
    _check_pairs("jvp", primals, tangents)
    directions = []
    primals = tuple(map(taken_apart, primals))
    for i, (primal, tangent) in enumerate(zip(primals, tangents)):
        points, nesting = flatten(primal, blocks=True, wholes=True, nones=primal is not None)
        for j, direction in enumerate(nesting.leaves_of(tangent, f"tangent {i}")):
            point = checked(points[j], f"jvp: primal {i}", nesting, j)
            along = checked_alike(direction, point, f"tangent {i}", "its primal", nesting, j)
            directions.append(in_numbers(along))
    call = Call("jvp", f, primals, {}, range(len(primals)), has_aux, _engine, noun="primal", beside=directions)
    found = call.value(), call.nesting.unflatten(call.tangents(call.variables, directions))
    return (*found, call.plain_aux()) if has_aux else found


@with_hints
def jacobian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, _engine: Any = None
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `f`: all derivatives of all outputs.

    Parameters
    ----------
    f : callable
        Returns numbers, arrays, or nested containers of them.
    argnums, has_aux
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of `f`; returns the nesting of the output, with the nesting of the argument (a tuple of
        them if `argnums` is a sequence) in the place of each number or array. There stand blocks of shape
        ``output.shape + argument.shape``; a float where both are numbers. With `has_aux`, ``(jacobian, aux)``.

    Raises
    ------
    TypeError
        If an argument or an output can't be differentiated.

    See Also
    --------
    grad, hessian

    Notes
    -----
    Name, order and meaning are those of ``jax.jacobian``. The function is recorded once, and swept backward once per
    output, or forward once per input if there are fewer of these; in compiled code, forward along all inputs at once.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.jacobian(lambda x: [x[0] * x[1], x[0] + x[1]])([2.0, 5.0])
    [[5.0, 2.0], [1.0, 1.0]]
    """
    _check_callable("jacobian", f)

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        positions, single = _positions("jacobian", argnums, len(args))
        call = Call("jacobian", f, args, kwargs, positions, has_aux, _engine)
        rows = call.nesting.unflatten([call.split(blocks, single) for blocks in call.jacobian()])
        return (rows, call.plain_aux()) if has_aux else rows

    jacobian_of.__fastprop__ = ("jacobian", f, argnums, has_aux)  # type: ignore[attr-defined]
    return _named(jacobian_of, "jacobian", f)


@with_hints
def hessian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, *, _engine: Any = None
) -> Callable[..., Any]:
    """Return a function that computes the Hessian of `f`: all second derivatives of its one output.

    Parameters
    ----------
    f, argnums, has_aux
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of `f`; returns the nesting of the argument within the nesting of the argument, with blocks
        of shape ``argument.shape + argument.shape``, or ``(hessian, aux)``.

    Raises
    ------
    TypeError, ValueError
        As for `grad`.

    Notes
    -----
    Name, order and meaning are those of ``jax.hessian``. The gradient is recorded, then swept once per row; in compiled
    code the maps in it are pushed along all columns at once.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.hessian(lambda x: x[0] ** 2 * x[1])([3.0, 5.0])
    [[10.0, 6.0], [6.0, 0.0]]
    """
    _check_callable("hessian", f)
    rows = jacobian(grad(f, argnums, has_aux, _engine=_engine), argnums, has_aux, _engine=_engine)
    return _named(rows, "hessian", f)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, _engine: Any = None) -> Any:
    """Return the product of the Hessian of `f` with a vector, without computing the Hessian.

    Parameters
    ----------
    f : callable
        Returns one number.
    primals : tuple or list
        The positional arguments of `f`.
    tangents : tuple or list
        The vector: one tangent per primal, nested and shaped like it.

    Returns
    -------
    number, array, nested container, or tuple
        The product in the nesting of the primal; a tuple with one per primal if there are several.

    Raises
    ------
    TypeError, ValueError
        As for `grad` and `jvp`.

    Notes
    -----
    The gradient is recorded, then swept forward once.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.hvp(lambda x: x[0] ** 2 * x[1], ([3.0, 5.0],), ([1.0, 0.0],))
    [10.0, 6.0]
    """
    _check_callable("hvp", f)
    _check_pairs("hvp", primals, tangents)
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    gradient = grad(f, argnums, _engine=_engine)
    return jvp(gradient, primals, tangents, _engine=_engine)[1]


def for_engine(engine: Any, name: str) -> Callable[..., Any]:
    """Return the transform `name` with another engine as its default: a module with Unit, Array, Tape, current_tape.

    The default matters where neither an argument nor an outer transform says which engine to record on.
    """
    transform: Callable[..., Any]
    if name in __all__:
        transform = globals()[name]
    else:
        transform = getattr(importlib.import_module("fastprop.derivatives.checking"), name)  # a floor above
        if name != "check_grads":
            return transform  # differences and random steps need no engine
    return functools.update_wrapper(functools.partial(transform, _engine=engine), transform)


# Their arguments and names --------------------------------------------------------------------------------------------


def _positions(name: str, argnums: int | Sequence[int], count: int) -> tuple[list[int], bool]:
    """Return the positions that `argnums` names among `count` positional arguments, and whether it is a single one."""
    single = not isinstance(argnums, (tuple, list, range))
    given: Any = (argnums,) if single else argnums
    positions = []
    for argnum in given:
        if isinstance(argnum, bool) or not isinstance(argnum, (int, np.integer)):
            raise TypeError(f"{name}: argnums holds integers, not {described(argnum)}")
        position = operator.index(argnum)
        if not -count <= position < count:
            raise TypeError(
                f"{name}: argnums={argnums!r} needs more positional arguments than the {count} that were given "
                "(arguments given by keyword are not differentiated)"
            )
        positions.append(position % count)
    if len(set(positions)) != len(positions):
        raise ValueError(f"{name}: argnums={argnums!r} names an argument twice")
    return positions, single


def _check_pairs(name: str, primals: Any, tangents: Any) -> None:
    for noun, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f"{name} takes its {noun} as a tuple or list, one for each argument, not {described(given)}"
            )
    if len(primals) != len(tangents):
        raise ValueError(f"{name} got {len(primals)} primals and {len(tangents)} tangents; give one tangent per primal")


def _check_callable(name: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{name} takes a function first, not {described(f)}")


def _named(wrapper: Callable[..., Any], transform: str, f: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that a transform returns a name that says where it comes from."""
    if transform != "pull_back":  # whose arguments are not the function's
        functools.update_wrapper(wrapper, f, updated=())
    wrapper.__name__ = wrapper.__qualname__ = f"{transform}({name_of(f)})"
    wrapper.__doc__ = f.__doc__
    return wrapper
