"""The steps of a scan: what is carried, what each of them is given, and scans without a circuit, step by step."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.circuits.signature import Signature
from fastprop.circuits.unrolling import block_of, called_where_none_is, joined_lanes, of_no_lanes
from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.tape import Unit
from fastprop.gates import is_condition
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import (
    LEAF,
    as_input,
    as_number,
    described,
    flatten,
    is_handle,
    is_whole,
    map_leaves,
    shape_of,
)
from fastprop.handles.updates import Given

__all__ = ["Steps", "Widened", "by_numbers", "carried_on", "step_by_step"]


class Widened(Exception):  # noqa: N818 (never seen outside)
    """A step carries on a number where it was given an integer."""

    def __init__(self, leaf: int):
        super().__init__(leaf)
        self.leaf = leaf


class Steps:
    """How often a step is taken, with what: arguments of a scan that were checked.

    `nesting` is that of what is carried, in which None is no leaf. `signature` is that of one step's arguments, the
    first of which is a list of these leaves; `axes` the axis of the steps of each leaf (None: it is carried, as the
    first `carries` are).
    """

    def __init__(self, name: str, init: Any, xs: Any, length: Any, reverse: Any):
        if not isinstance(reverse, (bool, np.bool_)):
            raise TypeError(f"{name}: reverse is {described(reverse)}; expected True or False")
        self.name, self.init, self.xs, self.reverse = name, init, xs, bool(reverse)
        self._given = length
        self.leaves, self.nesting = flatten(init, nones=True)
        for k, leaf in enumerate(self.leaves):
            if not _is_carried(leaf):
                place = f"{name}: init{self.nesting.path(k)}"
                raise TypeError(
                    f"{place} is {described(leaf)}; what a scan carries are numbers and arrays, in nested containers"
                )
        self.signature = Signature((self.leaves, xs), (), name)
        self.carries = self.nesting.size
        self.is_number = self.nesting is LEAF and self.signature.shapes[0] is None
        self.axes: list[int | None] = [None] * self.carries
        for k in range(self.carries, len(self.signature.shapes)):
            self.axes.append(self._axis(k))
        self.length = self._length(length)
        for k in range(self.carries, len(self.axes)):
            shape = self.signature.shapes[k]
            if self.axes[k] is not None and shape is not None:
                self.signature.shapes[k] = shape[1:] or None

    def with_init(self, change: Callable[[Any], Any], leaf: int | None = None) -> Steps:
        """Return the same with other numbers carried at first; `leaf`: with one other."""
        changed = [change(x) if leaf is None or k == leaf else x for k, x in enumerate(self.leaves)]
        return Steps(self.name, self.carry(changed), self.xs, self._given, self.reverse)

    def _where(self, leaf: int) -> str:
        return f"{self.name}: xs{self.signature.nesting_of(1).path(leaf - self.carries)}"

    def _axis(self, leaf: int) -> int | None:
        if leaf in self.signature.fixed:
            if self.signature.fixed[leaf] is None:
                return None
            raise TypeError(f"{self._where(leaf)} is {described(self.signature.fixed[leaf])}; expected arrays, or None")
        if self.signature.shapes[leaf] is None:
            raise ValueError(
                f"{self._where(leaf)} is a number; xs holds arrays, whose first axis counts the steps (a list of "
                "numbers is a container: give np.array of it)"
            )
        return 0

    def _length(self, given: Any) -> int:
        if given is not None:
            if isinstance(given, (bool, np.bool_)):
                raise TypeError(f"{self.name}: length is {given!r}; expected an integer")
            try:
                given = operator.index(given)
            except TypeError:
                raise TypeError(f"{self.name}: length is {described(given)}; expected an integer") from None
            if given < 0:
                raise ValueError(f"{self.name}: length is {given}; expected 0 or more")
        if all(axis is None for axis in self.axes):
            if given is None:
                raise ValueError(f"{self.name}: there are no arrays in xs to count the steps; give length")
            return int(given)
        found = self._rows()
        if given is not None and given != found:
            raise ValueError(f"{self.name}: length is {given}, but the arrays in xs have {found} steps")
        return found

    def _rows(self) -> int:
        """Return how many rows the arrays in xs have, if all agree."""
        rows: dict[int, str] = {}
        for k, axis in enumerate(self.axes):
            shape = self.signature.shapes[k]
            if axis is not None and shape is not None:
                rows.setdefault(shape[0], self._where(k))
        if len(rows) > 1:
            sizes = ", ".join(f"{name} has {size}" for size, name in rows.items())
            raise ValueError(f"{self.name}: the arrays in xs have different numbers of steps: {sizes}")
        return next(iter(rows))

    def carry(self, leaves: Iterable[Any]) -> Any:
        """Put the leaves of a carry together."""
        return self.nesting.unflatten(leaves, True)

    def given(self, order: Iterable[int]) -> Iterator[Any]:
        """Yield what each step is given beside the carry."""
        nesting = self.signature.nesting_of(1)
        leaves = nesting.leaves_of(self.xs, self.name)
        for step in order:
            yield nesting.unflatten([x if x is None else _plain(x[step]) for x in leaves], True)

    def example(self, number: float) -> Any:
        """Return what a step would be given if there were any: one number in all places, 0 as integers."""
        shapes = self.signature.shapes[self.carries :]
        leaves: list[Any] = []
        for k, shape in enumerate(shapes, self.carries):
            block = block_of(number, shape)
            if self.signature.integers[k]:
                block = np.zeros(shape, int) if shape else 0
            leaves.append(None if self.axes[k] is None else block)
        return self.signature.nesting_of(1).unflatten(leaves, True)

    def taken(self, found: Any) -> tuple[list[Any], Any]:
        """Return the leaves of the carry, and what else a step returned, or raise."""
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise TypeError(
                f"{self.name} returned {described(found)}; the step of a scan returns a pair: what it carries on, and "
                "what is kept of it (or None)"
            )
        leaves = self.nesting.leaves_of(found[0], f"{self.name}: the carry that it returned")
        for k, leaf in enumerate(leaves):
            expected = self.signature.shapes[k] or ()
            if not is_handle(leaf) and not is_condition(leaf) and as_number(leaf) is None:
                raise TypeError(f"{self.name} carries on {described(leaf)} as {self._place(k)}; expected numbers")
            if shape_of(leaf) != expected:
                raise ValueError(
                    f"{self.name} carries on {self._place(k)} of shape {shape_of(leaf)}, but was given one of shape "
                    f"{expected}; the carry keeps its shapes"
                )
        return leaves, found[1]

    def _place(self, leaf: int) -> str:
        path = self.nesting.path(leaf)
        return f"carry{path}" if path else "a carry"


def _is_carried(leaf: Any) -> bool:
    """Whether a leaf is a number or an array of them, and no truth values."""
    given = leaf if is_handle(leaf) else as_input(leaf)
    return given is not None and not is_condition(given) and getattr(given, "dtype", None) != np.bool_


def _plain(x: Any) -> Any:
    """Return a number of a plain array as a plain number; of a truth value Python's ~ would make one."""
    return x.item() if isinstance(x, np.generic) and not isinstance(x, np.bool_) else _given(x)


def _given(x: Any) -> Any:
    """Return a plain array with the face that a traced one has; anything else as it is."""
    if not isinstance(x, np.ndarray) or not x.ndim:
        return x
    given = x.view(Given)
    given.flags.writeable = False
    return given


def by_numbers(leaf: Any) -> Any:
    """Return an array of a trace as a block of its numbers, as which it is carried; anything else as it is."""
    if not is_whole(type(leaf)):
        return leaf
    slots = leaf.slots()
    return Bundle(numbers_of(leaf)) if slots is None else Bundle(None, slots)


def carried_on(step: Callable[..., Any], name: str, steps: Steps) -> Callable[..., Any]:
    """Return a step as the body of a map: it returns the leaves of the carry, number by number, and the rest."""
    integers = steps.signature.integers

    def body(carried: list[Any], x: Any) -> Any:
        leaves, y = steps.taken(step(steps.carry(carried), x))
        for k, leaf in enumerate(leaves):
            if is_condition(leaf):
                leaves[k] = leaf = gates.positive(leaf)
            if integers[k] and not _is_whole_number(leaf):
                raise Widened(k)
            leaves[k] = by_numbers(leaf)
        return leaves, () if y is None else (y,)

    body.__name__ = body.__qualname__ = name
    return body


def _is_whole_number(leaf: Any) -> bool:
    return is_integer(leaf) or (isinstance(leaf, int) and not isinstance(leaf, bool))


def _returned(x: Any) -> Any:
    """Return what was given to a step as the plain array that it is; anything else as it is."""
    return np.asarray(x) if isinstance(x, Given) else x


def step_by_step(step: Callable[..., Any], name: str, steps: Steps) -> tuple[Any, Any]:
    """Take one step after the other, on handles or plain numbers; return the last carry, and what was kept."""
    carry, kept = steps.carry(map(_given, steps.leaves)), []
    for x in steps.given(reversed(range(steps.length)) if steps.reverse else range(steps.length)):
        found = step(carry, x)
        if not (steps.is_number and type(found) is tuple and len(found) == 2 and type(found[0]) in (float, Unit)):
            leaves, y = steps.taken(found)
            found = steps.carry(map(_given, leaves)), y
        carry = found[0]
        kept.append(found[1])
    last = map_leaves(_returned, carry)
    if not kept:
        _, y = steps.taken(called_where_none_is(lambda number: step(carry, steps.example(number))))
        return last, None if y is None else of_no_lanes(y, None)
    if steps.reverse:
        kept.reverse()
    if all(y is None for y in kept):
        return last, None
    return last, joined_lanes(name, kept, None)
