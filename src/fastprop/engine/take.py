"""take: the elements of an array at some indices, as NumPy's, of handles and under trace."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.integers import as_integer
from fastprop.engine.tape import Array
from fastprop.gates import recorder_of
from fastprop.gates.selection import taken
from fastprop.handles.indexing import is_integer, own_index, trace_of
from fastprop.handles.nesting import is_handle
from fastprop.hints import let_options_hint

__all__ = ["take"]


def take(a: Any, indices: Any, axis: int | None = None) -> Any:
    """Return the elements of an array at some indices: ``np.take``, also of and by traced values.

    Parameters
    ----------
    a : array_like or Array
        Where to look; lists may hold Units.
    indices : int, array of int, or traced integers
        Which elements; a negative one counts from the end.
    axis : int, optional
        Along which axis; without one, of all numbers in a row.

    Returns
    -------
    float, integer, ndarray, Unit or Array
        ``a[indices]``, if `a` has one axis; of an integer array integers, which index on.

    Raises
    ------
    IndexError
        If an index is out of range; in a mapped function it names the lane.
    TypeError
        If an index is no integer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> scores = np.array([0.5, 2.0, 1.0])
    >>> fp.take(scores, -1)
    1.0
    >>> fp.vmap(lambda label: fp.take(scores, label))(np.array([0, 2, 1]))
    array([0.5, 1. , 2. ])
    """
    if recorder_of(a) is not None:
        return taken(a if is_handle(a) else Array(a), indices, axis)
    table = np.asarray(a)
    if trace_of(indices) is not None:
        found = taken(Bundle(numbers_of(table)), indices, axis)
        return as_integer(found) if is_integer(a) else found
    index = np.asarray(own_index(indices))
    if index.dtype.kind not in "biu" and index.size:  # of which NumPy cuts off some
        raise TypeError(f"take: an index is an integer; got {indices!r:.60}")
    found = np.take(table, index.astype(np.int64), axis)
    numbers = isinstance(a, (list, tuple)) or table.dtype.kind == "f"
    return float(found) if np.ndim(found) == 0 and numbers else found


let_options_hint(__name__, "of arrays")
