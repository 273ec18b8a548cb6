"""Where NaN comes from: gates that are looked at one by one, and compiled functions that are looked into if need be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastprop.circuits.signature import Signature
from fastprop.circuits.trace import record
from fastprop.derivatives.call import name_of
from fastprop.engine.run import enter_eager, leave_eager
from fastprop.engine.tape import get_strictness, set_strictness
from fastprop.handles.nesting import flatten, map_leaves, plain

__all__ = ["checked_call", "debug_nans", "is_debugging"]


class _Blocks(threading.local):
    def __init__(self) -> None:
        self.levels: list[int] = []  # what the blocks refuse in which this thread is


_blocks = _Blocks()


@contextmanager
def debug_nans(*, infs: bool = False) -> Iterator[None]:
    """Raise FloatingPointError at the first gate that makes NaN, with its name, its operands and its line.

    Parameters
    ----------
    infs : bool, optional
        Whether infinite numbers are refused, too.

    Raises
    ------
    FloatingPointError
        In the block, where a gate on Units or Arrays gives NaN. A compiled function is run as ever, and looked into
        if there is NaN in what it gives.

    Notes
    -----
    Name and meaning are those of JAX's option. To be looked into, a function is recorded once more, gate by gate, maps
    lane by lane and scans step by step, up to that gate: on a large batch this takes its time. So what is NaN and then
    not chosen, as in ``fp.where(x > 0, fp.log(x), 0.0)``, counts there only if there is NaN in the end. NaN that
    no gate made (derivatives alone have it, or arguments) is named as such. Circuits, and `fastprop.vmap` of plain
    arrays, are run as ever. What is computed of plain numbers is Python's and NumPy's, and not looked at; nor is a
    value that a gradient goes with but that nobody gets: compile `value_and_grad` to look for NaN. It goes for the
    thread that is in the block.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Unit(-1.0)
    >>> with fp.debug_nans():
    ...     fp.log(x) * 2.0
    Traceback (most recent call last):
    FloatingPointError: ...: log(-1) gave nan
    """
    if not isinstance(infs, bool):
        raise TypeError(f"debug_nans: infs is {infs!r:.60}; expected True or False")
    levels, level = _blocks.levels, 2 if infs else 1
    levels.append(level)
    set_strictness(level)
    enter_eager()
    try:
        yield
    finally:
        leave_eager()
        levels.remove(level)  # which need not be the last one: generators end when they like
        set_strictness(levels[-1] if levels else 0)


def is_debugging() -> bool:
    """Say whether NaN is refused in this thread."""
    return get_strictness() > 0


def checked_call(compiled: Any, f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call what was compiled, and look into the function if there is NaN in the result."""
    level = set_strictness(0)
    leave_eager()
    try:
        found = compiled(*args, **kwargs)
    finally:
        enter_eager()
        set_strictness(level)
    if all(_is_allowed(leaf, level) for leaf in flatten(found)[0]):
        return found
    given, named = map_leaves(plain, list(args)), map_leaves(plain, dict(kwargs))
    signature = Signature(given, (), name_of(f), named)
    dtype = signature.call_form.dtype
    record(f, signature, signature.leaves(given, dtype, named), dtype, unrolled=True, finished=False)
    what = "NaN" if level == 1 else "NaN or infinite numbers"
    raise FloatingPointError(
        f"{name_of(f)} gave {what}, though none of its gates made it: arguments did, derivatives, or float32"
    )


def _is_allowed(leaf: Any, level: int) -> bool:
    values = np.asarray(plain(leaf))
    if values.dtype.kind != "f":
        return True
    return not bool(np.isnan(values).any() if level == 1 else ~np.isfinite(values).all())
