"""What arguments look like to a circuit: their nesting, and where each number of them stands among its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop.nesting import Nesting, described, flatten, is_handle
from fastprop.operands import as_array, as_real

__all__ = ["Signature", "as_leaf", "nesting_key", "positions_of", "spread_axes"]


def static_key(value: Any) -> Any:
    """Return what a static argument has in common with others that a function can't tell from it, hashable.

    For Python ``1 == 1.0 == True`` and ``0.0 == -0.0``, but a function may do different things with them.
    """
    if type(value) is float:
        return float, value.hex()
    if type(value) in (tuple, frozenset):
        return type(value), type(value)(map(static_key, value))
    hash(value)
    return type(value), value


def is_same(value: Any, other: Any) -> bool:
    """Say whether a static argument is what it was, also if it can't be hashed."""
    if value is other:
        return True
    if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
        return value.dtype == other.dtype and np.array_equal(value, other)
    try:
        return bool(static_key(value) == static_key(other))
    except TypeError:  # it can't be hashed
        return type(value) is type(other) and bool(np.all(value == other))


def nesting_key(nesting: Nesting) -> Any:
    """Return what two nestings of the same form have in common, hashable."""
    if nesting.kind is None:
        return None
    if nesting.children is None:
        return nesting.kind, nesting.keys
    return nesting.kind, nesting.keys, tuple(map(nesting_key, nesting.children))


def as_leaf(leaf: Any, dtype: np.dtype[Any], name: str) -> Any:
    """Return a leaf of the arguments as a float or an array of the circuit's dtype, or raise."""
    if type(leaf) is float:
        return leaf
    if is_handle(leaf):
        raise TypeError(
            f"{name} is {described(leaf)}, whose derivative would be dropped; give its .value, or call the circuit, or "
            "what fp.compile returns, which record on handles"
        )
    array = as_array(leaf)
    if isinstance(array, np.ndarray) and array.ndim > 0:
        if array.dtype == dtype:
            return array
        if array.dtype.kind in "iu":
            return array.astype(dtype)
        if array.dtype.kind == "f" and array.dtype.newbyteorder("=") == dtype:
            return array.astype(dtype)
        raise TypeError(
            f"{name} has dtype {array.dtype}, but the circuit computes in {dtype}; convert it with .astype, or choose "
            "the circuit's dtype when it is traced or compiled (dtype=…)"
        )
    real = as_real(leaf)
    if real is None:
        raise TypeError(
            f"{name} is {described(leaf)}; give floats, integers, arrays of them, or nested containers of these "
            "(static_argnums names arguments that are no numbers)"
        )
    return real


class Signature:
    """The form of a call's arguments: which are static, how the others are nested, and their leaves' shapes."""

    def __init__(self, args: Sequence[Any], static: Sequence[int] = (), owner: str = "the function"):
        self.owner = owner
        self.count = len(args)
        self.static = {i: args[i] for i in static}
        self.positions = [i for i in range(len(args)) if i not in self.static]
        self.nestings: list[Nesting] = []
        self.shapes: list[tuple[int, ...] | None] = []  # of every leaf; None: a number
        self.places: list[tuple[int, int]] = []  # of every leaf: its argument, and its number there
        for i in self.positions:
            leaves, nesting = flatten(args[i])
            self.nestings.append(nesting)
            for j, leaf in enumerate(leaves):
                if isinstance(leaf, np.ndarray) and as_array(leaf) is None:
                    raise TypeError(
                        f"{owner}: argument {i}{nesting.path(j)} is {described(leaf)}; expected a plain array"
                    )
                self.shapes.append(shape_of(leaf))
                self.places.append((i, j))

    @property
    def key(self) -> Any:
        """What calls that can share a circuit have in common."""
        return tuple((i, static_key(value)) for i, value in self.static.items()), self.form

    @property
    def form(self) -> Any:
        """How the arguments that are not static are nested, and the shapes of their leaves."""
        return tuple(zip(self.positions, map(nesting_key, self.nestings))), tuple(self.shapes)

    def name(self, leaf: int) -> str:
        """Say which number or array a leaf is."""
        position, index = self.places[leaf]
        return f"{self.owner}: argument {position}{self.nestings[self.positions.index(position)].path(index)}"

    def size(self, leaf: int) -> int:
        """Return how many numbers a leaf has."""
        shape = self.shapes[leaf]
        return 1 if shape is None else math.prod(shape)

    def taken_apart(self, args: Sequence[Any]) -> list[Any]:
        """Return the leaves of arguments that are nested like this, whatever they are."""
        found: list[Any] = []
        for i, nesting in zip(self.positions, self.nestings):
            found += nesting.leaves_of(args[i], f"{self.owner}: argument {i}")
        return found

    def leaves(self, args: Sequence[Any], dtype: np.dtype[Any]) -> list[Any]:
        """Take arguments apart, which must have this form: TypeError or ValueError with the place if they have not."""
        self.check_static(args)
        found = self.taken_apart(args)
        for k, leaf in enumerate(found):
            if type(leaf) is float and self.shapes[k] is None:
                continue
            found[k] = as_leaf(leaf, dtype, self.name(k))
            if shape_of(found[k]) != self.shapes[k]:
                raise ValueError(
                    f"{self.name(k)} has shape {np.shape(found[k])}, but the circuit was recorded with "
                    f"{self.shapes[k] or ()}; trace it again, or use fp.compile, which keeps a circuit per shape"
                )
        return found

    def check_static(self, args: Sequence[Any]) -> None:
        """Raise unless there are as many arguments as there were, and the static ones are what they were."""
        if len(args) != self.count:
            raise TypeError(f"{self.owner} takes {self.count} argument{'s' * (self.count != 1)}, got {len(args)}")
        for i, value in self.static.items():
            if not is_same(args[i], value):
                raise ValueError(
                    f"{self.owner}: static argument {i} is {args[i]!r:.60}, but was {value!r:.60} where it was recorded"
                )

    def emptied(self) -> Signature:
        """Let go of the arguments of which containers keep a copy; returns self."""
        for at, nesting in enumerate(self.nestings):
            if nesting.kind is not None:
                self.nestings[at] = flatten(nesting.unflatten([0.0] * nesting.size))[1]
        return self

    def build(self, leaves: Sequence[Any], construct: bool = False) -> list[Any]:
        """Put one thing per leaf together as arguments."""
        args: list[Any] = [None] * self.count
        for i, value in self.static.items():
            args[i] = value
        start = 0
        for i, nesting in zip(self.positions, self.nestings):
            args[i] = nesting.unflatten(leaves[start : start + nesting.size], construct)
            start += nesting.size
        return args

    def leaves_of_argument(self, position: int) -> range:
        """Return the numbers of the leaves of an argument."""
        if position not in self.positions:
            raise ValueError(f"{self.owner}: argument {position} is static and has no gradient")
        at = self.positions.index(position)
        start = sum(nesting.size for nesting in self.nestings[:at])
        return range(start, start + self.nestings[at].size)

    def gradient_of(self, position: int, parts: Any) -> Any:
        """Put gradients (a list or dict with one per leaf) together in the nesting of an argument."""
        nesting = self.nestings[self.positions.index(position)]
        return nesting.unflatten([parts[k] for k in self.leaves_of_argument(position)])


def positions_of(argnums: Any, count: int, name: str) -> tuple[list[int], bool]:
    """Return the positions that `argnums` names among `count` arguments, and whether it is a single one."""
    single = not isinstance(argnums, (tuple, list, range))
    positions = []
    for argnum in (argnums,) if single else argnums:
        if isinstance(argnum, bool) or not isinstance(argnum, (int, np.integer)):
            raise TypeError(f"{name}: argnums holds integers, not {described(argnum)}")
        if not -count <= argnum < count:
            raise TypeError(f"{name}: argnums={argnums!r} needs more arguments than the {count} that there are")
        positions.append(int(argnum) % count)
    if len(set(positions)) != len(positions):
        raise ValueError(f"{name}: argnums={argnums!r} names an argument twice")
    return positions, single


def shape_of(leaf: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or an Array; None for a number."""
    shape: tuple[int, ...] | None = getattr(leaf, "shape", None)
    return shape or None


def spread_axes(in_axes: Any, signature: Signature) -> list[int | None]:
    """Return the lane axis of every leaf (None: uniform), from one for all, one per argument, or nested ones."""
    if in_axes is None or isinstance(in_axes, int):
        in_axes = (in_axes,) * signature.count
    if not isinstance(in_axes, (tuple, list)) or len(in_axes) != signature.count:
        raise ValueError(
            f"{signature.owner}: in_axes is {in_axes!r}; expected an integer, None, or a tuple of {signature.count} of "
            "them, one per argument"
        )
    axes: list[int | None] = []
    for i, nesting in zip(signature.positions, signature.nestings):
        given = in_axes[i]
        if given is None or isinstance(given, int):
            parts = [given] * nesting.size
        else:
            parts = _axes_of(nesting, given, f"{signature.owner}: in_axes[{i}]")
        axes += parts
    for k, axis in enumerate(axes):
        if axis is None:
            continue
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"{signature.name(k)}: its lane axis is {axis!r}; expected an integer or None")
        shape = signature.shapes[k]
        if shape is None:
            raise ValueError(f"{signature.name(k)} is a number and has no axis {axis}; give None for it in in_axes")
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{signature.name(k)} has shape {shape} and no axis {axis}")
        axes[k] = axis % len(shape)
    return axes


def _axes_of(nesting: Nesting, given: Any, name: str) -> list[Any]:
    """Return one axis per leaf, where `given` may stop at a container and speak for all in it."""
    if given is None or isinstance(given, int):
        return [given] * nesting.size
    keys, children = _parts(given)
    inner = nesting.children or (None,) * len(nesting)
    if nesting.kind is None or len(children) != len(nesting) or (isinstance(given, dict) and keys != nesting.keys):
        raise ValueError(f"{name} is {given!r:.60}, which is not nested as the argument is")
    axes: list[Any] = []
    for child, part in zip(inner, children):
        axes += [part] if child is None else _axes_of(child, part, name)
    return axes


def _parts(given: Any) -> tuple[Any, list[Any]]:
    if isinstance(given, dict):
        return tuple(given), list(given.values())
    if isinstance(given, (list, tuple)):
        return None, list(given)
    raise TypeError(f"in_axes holds {described(given)}; expected integers, None, or nested containers of them")
