"""scan: one step after the other, each of which is given what the one before it carries on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.circuits.recorded_scan import record_scan
from fastprop.circuits.steps import Steps, Widened, step_by_step
from fastprop.circuits.trace import current_trace, innermost_scope
from fastprop.circuits.vmap import holds_arrays_of_tapes
from fastprop.derivatives.call import name_of
from fastprop.handles.nesting import described, is_handle
from fastprop.hints import with_hints

__all__ = ["scan"]


@with_hints
def scan(
    step: Callable[[Any, Any], Any], init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """Take one step after the other, and carry on what each of them returns.

    Parameters
    ----------
    step : callable
        ``step(carry, x)`` returns a pair ``(carry, y)``: the carry for the next step, nested and shaped like the one
        that it was given, and what is kept of this one, numbers and arrays in nested containers, or None.
    init : float, array_like, or nested containers of them
        What is carried into the first step. None stays None, in containers and alone.
    xs : ndarray or nested containers of them, optional
        Arrays whose first axis counts the steps: `x` holds their rows. None: `x` is None, and `length` says how many
        steps there are.
    length : int, optional
        How many steps there are; it must be that of the arrays, if there are any.
    reverse : bool, optional
        Whether the last row is taken first; what is kept stands in the order of the rows all the same.

    Returns
    -------
    carry, ys
        What the last step carries on, and arrays of what was kept, whose first axis counts the steps.

    Raises
    ------
    TypeError
        If the step returns no pair, or a carry that is nested otherwise than `init`.
    ValueError
        If the shape of a carry changes, or the arrays have different numbers of rows.

    Notes
    -----
    Name and meaning are those of ``jax.lax.scan``. In what is compiled or traced, the step is recorded once, whatever
    the number of steps; called by itself, it is called as often as there are steps. Backward, the carries of all steps
    are kept, and every step is run forward once more. A step that decides (an ``if`` on what it is given) is recorded
    as often as there are steps; choose with `fastprop.where` instead. So is one in a transform that is traced, as in
    ``fp.compile(lambda x: fp.grad(f)(x))`` with a scan in `f`; ``fp.compile(fp.grad(f))`` records it once.

    Examples
    --------
    >>> import fastprop as fp, numpy as np
    >>> fp.scan(lambda total, x: (total + x, total), 0.0, np.array([1.0, 2.0, 3.0]))
    (6.0, array([0., 1., 3.]))

    A recurrence, and its gradient:

    >>> def last(w, xs):
    ...     return fp.scan(lambda h, x: (fp.tanh(w * h + x), None), 0.0, xs)[0]
    >>> round(fp.compile(fp.grad(last))(0.5, np.array([1.0, 1.0, 1.0])), 4)
    0.1943
    """
    if not callable(step):
        raise TypeError(f"scan takes a function first, not {described(step)}")
    name = name_of(step)
    steps = Steps(name, init, xs, length, reverse)
    found = _recorded(step, steps) if _is_recorded(init, xs) else None
    return step_by_step(step, name, steps) if found is None else found


def _recorded(step: Callable[[Any, Any], Any], given: Steps) -> Any:
    """Record a scan; None if that can't be. Integers that it carries are such as long as they stay so."""
    steps = given.with_init(_as_integer)
    while True:
        try:
            return record_scan(step, steps.name, steps)
        except Widened as widened:
            steps = steps.with_init(_as_number, widened.leaf)


def _is_recorded(init: Any, xs: Any) -> bool:
    """Whether a scan becomes a region of the trace at work."""
    trace = current_trace()
    if trace is None or innermost_scope() is not trace.recording.scope or trace.inward or trace.recording.unrolled:
        return False
    return not holds_arrays_of_tapes([init, xs])


def _as_integer(x: Any) -> Any:
    """Return a plain integer as one that is traced as such."""
    return np.int64(x) if type(x) is int else x


def _as_number(x: Any) -> Any:
    """Return an integer as a number like any other."""
    return x * 1.0 if is_handle(x) or isinstance(x, np.ndarray) else float(x)
