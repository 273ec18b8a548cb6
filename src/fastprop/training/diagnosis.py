"""Where a loss went wrong: the first gate, of the first such example, whose value is infinite or NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.paths import MOST_PATHS
from fastprop.circuits.signature import Signature
from fastprop.circuits.trace import record
from fastprop.engine.slots import every_number_by_itself
from fastprop.engine.tape import values_at

__all__ = ["first_bad_gate"]


def first_bad_gate(f: Callable[..., Any], args: Sequence[Any], dtype: np.dtype[Any]) -> str | None:
    """Return a gate's name and the line that made it; None if all values are finite.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> first_bad_gate(lambda x: fp.sqrt(fp.log(x) - 1.0), (0.0,), np.dtype(np.float64))
    'log in ...'
    """
    signature = Signature(args, (), "loss", {})
    leaves = signature.leaves(args, dtype, {})
    with every_number_by_itself():
        recording = record(f, signature, leaves, dtype, differentiable=False, max_paths=MOST_PATHS, finished=False)
    trace = recording.trace
    assert trace is not None  # it is not finished
    values = np.asarray(values_at(trace, np.arange(len(trace), dtype=np.int32)))
    recording.finish()
    draft = recording.draft
    bad = np.flatnonzero(~np.isfinite(values[draft.origin]))
    if len(bad) == 0:
        return None
    return f"{draft.gate(int(bad[0]))[0]} in {recording.line(int(draft.origin[bad[0]]))}"
