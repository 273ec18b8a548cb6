"""A circuit as a picture: values above its wires in green, gradients below them in red."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.circuits.circuit import Circuit, Run, trace
from fastprop.draw.diagram import diagram_of
from fastprop.draw.drawing import svg_of
from fastprop.draw.svg import Picture
from fastprop.draw.wires import Wires, of_circuit, of_draft, of_results, of_run
from fastprop.engine.tape import Array, Trace, Unit
from fastprop.errors import StaleUnitError
from fastprop.handles.nesting import described
from fastprop.handles.operands import as_float, like_block

__all__ = ["circuit"]

MOST = 120  # nodes that are drawn one by one


def circuit(x: Any, *args: Any, pull: Any = None, most: int = MOST) -> Picture:
    """Draw a circuit: values above its wires, gradients below them.

    Parameters
    ----------
    x : Unit, Array, list of them, Circuit, Run, or callable
        A result on a tape, or several of one; what `fastprop.trace` returns, or `Circuit.forward`; a function, which is
        traced at the arguments.
    *args
        The arguments of a Circuit or a function; of a Circuit without them there are no values to show.
    pull : number, array or nested container, optional
        What the sweep backward puts on the results; no ``.grad`` changes. Of a result on a tape it is by default what
        sweeps have brought it so far, its ``.grad``: before a sweep no gradients are shown. Of a Circuit or a function,
        and of a Run that has been swept, it is 1.0 if the result is one number.
    most : int, optional
        Larger circuits, in leaves and gates together, are folded: equal gates of a layer are one box, with the range of
        their values and gradients; of very deep ones, whole layers are.

    Returns
    -------
    Picture
        It has `svg` and `save`; notebooks show it.

    Raises
    ------
    StaleUnitError
        If the tape was reset.

    Notes
    -----
    A gradient is what one sweep brings to a wire from these results alone. An operand that a gate on a tape did not
    choose (the lesser one of a maximum, that of a relu below 0) is not kept there and is drawn as its number; a Circuit
    knows all operands, and the source lines of its gates, which the tips show. The function of a Circuit is called
    again to know its values.

    Examples
    --------
    >>> import fastprop as fp
    >>> x, y, z = fp.Unit(-2.0, name="x"), fp.Unit(5.0, name="y"), fp.Unit(-4.0, name="z")
    >>> f = (x + y) * z
    >>> f.backward()
    >>> picture = fp.draw.circuit(f)
    >>> all(f">{text}</text>" in picture.svg for text in ("x", "-12", "-4", "3"))
    True
    """
    return Picture(svg_of(diagram_of(wires_of(x, args, pull), checked_most(most))))


def checked_most(most: Any) -> int:
    """Return how many nodes are drawn one by one."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"most is {most!r}; expected how many leaves and gates are drawn one by one, at least 1")
    return most


def wires_of(x: Any, args: Sequence[Any], pull: Any, always: bool = False) -> Wires:
    """Return the circuit that is meant; with gradients `always`, also before a sweep, if its result is one number."""
    if isinstance(x, Run):
        _refuse_arguments(args, "a Run is at its arguments already")
        return of_run(x, pull, always or pull is not None or x._sums is not None)
    if callable(x) and not isinstance(x, Circuit):
        x = trace(x, *args)
    if isinstance(x, Circuit):
        if args or not x._recording.signature.positions:
            return of_circuit(x, args, pull)
        if pull is not None:
            raise ValueError(f"a pull on {x.name} needs its arguments, too: draw it with them")
        return of_draft(x)
    _refuse_arguments(args, "a result is drawn where it was computed")
    results = list(x) if isinstance(x, (list, tuple)) else [x]
    for result in results:
        if not isinstance(result, (Unit, Array)):
            raise TypeError(
                f"{described(result)} can't be drawn; give a Unit or an Array that was computed, a list of them, a "
                "Circuit (fastprop.trace), its Run (circuit.forward), or a function and its arguments"
            )
        if isinstance(result._tape, Trace):
            raise TypeError("a traced value has no value to draw; draw what fp.trace returns, with its arguments")
    return of_results(results, _pulls_of(results, pull, isinstance(x, (list, tuple)), always))


def _refuse_arguments(args: Sequence[Any], why: str) -> None:
    if args:
        raise TypeError(f"got {len(args)} arguments, but {why}; arguments are for a Circuit or a function")


def _pulls_of(results: Sequence[Any], pull: Any, many: bool, always: bool) -> list[Any] | None:
    """Return what is pulled at each result; None if there was no sweep."""
    if pull is None:
        pulls = [result.grad for result in results]
        if any(np.any(np.asarray(along) != 0.0) for along in pulls):
            return pulls
        return [1.0] if always and len(results) == 1 and isinstance(results[0], Unit) else None
    pulls = list(pull) if many else [pull]
    if len(pulls) != len(results):
        raise ValueError(f"got {len(pulls)} pulls for {len(results)} results; give one for each")
    return [
        as_float(along, "the pull") if isinstance(result, Unit) else like_block(along, result.value, "the pull")
        for result, along in zip(results, pulls)
    ]


def picture_of(x: Any) -> str | None:
    """Return what a notebook shows of a handle or a Circuit; None if there is nothing behind it: its repr will do."""
    if isinstance(x, Circuit):
        return circuit(x).svg
    try:
        tape = x._tape
    except StaleUnitError:
        return None
    return None if tape is None or isinstance(tape, Trace) or not isinstance(x, (Unit, Array)) else circuit(x).svg
