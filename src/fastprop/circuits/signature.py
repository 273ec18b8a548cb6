"""What arguments look like to a circuit: their nesting, and where each number of them stands among its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastprop.engine.door import Form
from fastprop.engine.masks import as_truths
from fastprop.gates.numbers import as_array, as_real
from fastprop.handles.indexing import check_exact, is_integer
from fastprop.handles.nesting import (
    LEAF,
    Nesting,
    checked,
    children_of,
    described,
    is_container,
    is_handle,
    static_key,
)

__all__ = [
    "LeafName",
    "Signature",
    "as_direction",
    "as_leaf",
    "axes_of",
    "checked_reduce",
    "lane_signature",
    "nesting_key",
    "numbered",
    "positions_of",
    "scale_of",
    "spread_axes",
]


def is_same(value: Any, other: Any) -> bool:
    """Say whether a static argument is what it was, also if it can't be hashed."""
    if value is other:
        return True
    try:
        return bool(static_key(value) == static_key(other))
    except TypeError:  # it can't be hashed
        return type(value) is type(other) and bool(np.all(value == other))


def nesting_key(nesting: Nesting) -> Any:
    """Return what two nestings of the same form have in common, hashable; a dict's keys may stand in any order."""
    if nesting.kind is None:
        return None
    children = tuple(map(nesting_key, nesting.children or (LEAF,) * len(nesting)))
    if issubclass(nesting.kind, dict):
        return nesting.kind, frozenset(zip(nesting.keys, children))
    return nesting.kind, nesting.keys, children


def as_leaf(leaf: Any, dtype: np.dtype[Any], name: object, own: Any = None) -> Any:
    """Return a leaf of the arguments as a float or an array of the circuit's dtype, or raise.

    Its own dtype may be another one if it was that where the circuit was recorded.
    """
    integer = own is not None and own.kind in "iu"
    if type(leaf) is float and not integer:
        return leaf
    if is_handle(leaf):
        raise TypeError(
            f"{name} is {described(leaf)}, whose derivative would be dropped; give its .value, or call the circuit, or "
            "what fp.compile returns, which record on handles"
        )
    array = as_array(leaf)
    if integer and not (isinstance(array, int) or is_integer(array)):
        raise TypeError(f"{name} is {described(leaf)}, but held integers where it was recorded; give integers")
    if integer and dtype == np.float32:
        check_exact(array)
    if isinstance(array, np.ndarray) and array.ndim > 0:
        if array.dtype == dtype:
            return array
        if array.dtype.kind in "biu":
            return array.astype(dtype)
        if array.dtype.kind == "f" and array.dtype.newbyteorder("=") in ([dtype] if own is None else [dtype, own]):
            return array.astype(dtype)
        raise TypeError(
            f"{name} has dtype {array.dtype}, but the circuit computes in {dtype}; convert it with .astype, or choose "
            "the circuit's dtype when it is traced or compiled (dtype=…)"
        )
    real = as_real(leaf)
    if real is None:
        raise TypeError(
            f"{name} is {described(leaf)}; give floats, integers, arrays of them, or nested containers of these "
            "(what is no number stands around the function, or is named in fp.compile's static_argnums, and given by "
            "position)"
        )
    return real


def as_direction(leaf: Any, dtype: np.dtype[Any], name: str) -> Any:
    """Return a pull or a tangent as `as_leaf` does an argument, or raise: truth values are none."""
    if getattr(leaf, "dtype", None) == np.bool_:
        checked(leaf, name)
    return as_leaf(leaf, dtype, name)


class LeafName:
    """The name of a leaf, which is put together when an error shows it: there may be many leaves."""

    def __init__(self, signature: Signature, leaf: int):
        self.signature, self.leaf = signature, leaf

    def __str__(self) -> str:
        return self.signature.name(self.leaf)


class Signature:
    """The form of a call's arguments: which are static, how the others are nested, and their leaves' shapes.

    Those by keyword come last, and are inputs like the others; their `positions` are their names.
    """

    def __init__(
        self,
        args: Sequence[Any],
        static: Sequence[int] = (),
        owner: str = "the function",
        kwargs: Mapping[str, Any] | None = None,
        dtype: Any = None,
    ):
        self.call_form = Form(args, kwargs, static, dtype, owner, strided=True)
        self.owner = owner
        self.count = len(args)
        self.static: dict[int, Any] = self.call_form.static
        self.positions: list[int | str] = self.call_form.positions
        self.nestings: list[Nesting] = self.call_form.nestings
        self.shapes: list[tuple[int, ...] | None] = [shape or None for shape in self.call_form.shapes]  # None: a number
        self.integers = [own is not None and own.kind in "iu" for own in self.call_form.dtypes]  # which leaves are such
        self.truths = [own is not None and own.kind == "b" for own in self.call_form.dtypes]
        self.places: list[tuple[int | str, int]] = []  # of every leaf: its argument, and its number there
        self.fixed: dict[int, Any] = {}  # leaves that are no numbers, and are passed on as they are
        self._arguments: dict[int | str, tuple[Nesting, range]] = {}
        for i, nesting in zip(self.positions, self.nestings):
            self._arguments[i] = nesting, range(len(self.places), len(self.places) + nesting.size)
            self.places += [(i, j) for j in range(nesting.size)]
        for k in range(len(self.places)):
            kind, place = self.call_form.place(k)
            if kind == "static":
                self.fixed[k] = self.call_form.constants[place]

    def __reduce__(self) -> Any:
        form = self.call_form
        leaves = list(zip(self.shapes, form.dtypes))
        return _restored, (leaves, self.nestings, self.positions, self.static, self.fixed, self.owner, form.dtype)

    @property
    def form(self) -> Any:
        """How the arguments that are not static are nested, and the shapes of their leaves."""
        return tuple(zip(self.positions, map(nesting_key, self.nestings))), tuple(self.shapes)

    def name(self, leaf: int) -> str:
        """Say which number or array a leaf is."""
        position, index = self.places[leaf]
        return f"{self.owner}: argument {position}{self.nesting_of(position).path(index)}"

    def size(self, leaf: int) -> int:
        """Return how many numbers a leaf has."""
        if leaf in self.fixed:
            return 0
        shape = self.shapes[leaf]
        return 1 if shape is None else math.prod(shape)

    def taken_apart(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the leaves of arguments that are nested like this, whatever they are."""
        found: list[Any] = []
        for i, nesting in zip(self.positions, self.nestings):
            given = args[i] if isinstance(i, int) else (kwargs or {})[i]
            found += nesting.leaves_of(given, f"{self.owner}: argument {i}")
        return found

    def leaves(self, args: Sequence[Any], dtype: np.dtype[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """Take arguments apart, which must have this form: TypeError or ValueError with the place if they have not."""
        self.check_static(args)
        found = self.taken_apart(args, kwargs)
        for k, leaf in enumerate(found):
            if type(leaf) is float and self.shapes[k] is None and not self.integers[k]:
                continue
            if k in self.fixed:
                if static_key(leaf) != static_key(self.fixed[k]):
                    raise ValueError(
                        f"{self.name(k)} is {leaf!r:.60}, but was {self.fixed[k]!r:.60} where it was recorded"
                    )
                continue
            found[k] = as_leaf(leaf, dtype, LeafName(self, k), self.call_form.dtypes[k])
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
        for i in sorted(self.static):
            if not is_same(args[i], self.static[i]):
                raise ValueError(
                    f"{self.owner}: static argument {i} is {args[i]!r:.60}, but was {self.static[i]!r:.60} where it "
                    "was recorded"
                )

    def as_given(self, leaves: Sequence[Any]) -> Sequence[Any]:
        """Return what stands for the leaves with truth values in the place of the ones and zeros of masks."""
        if not any(self.truths):
            return leaves
        return [as_truths(leaf) if truths else leaf for leaf, truths in zip(leaves, self.truths)]

    def build(self, leaves: Sequence[Any], construct: bool = False) -> tuple[list[Any], dict[str, Any]]:
        """Put one thing per leaf together as arguments, and those by keyword."""
        args: list[Any] = [None] * self.count
        kwargs: dict[str, Any] = {}
        for position, value in self.static.items():
            args[position] = value
        if self.fixed:
            leaves = [self.fixed.get(k, leaf) for k, leaf in enumerate(leaves)]
        start = 0
        for i, nesting in zip(self.positions, self.nestings):
            built = nesting.unflatten(leaves[start : start + nesting.size], construct)
            start += nesting.size
            if isinstance(i, int):
                args[i] = built
            else:
                kwargs[i] = built
        return args, kwargs

    def leaves_of_argument(self, position: int | str) -> range:
        """Return the numbers of the leaves of an argument."""
        if position not in self._arguments:
            raise ValueError(f"{self.owner}: argument {position} is static and has no gradient")
        return self._arguments[position][1]

    def nesting_of(self, position: int | str) -> Nesting:
        """Return how an argument that is not static is nested."""
        return self._arguments[position][0]

    def gradient_of(self, position: int | str, parts: Any) -> Any:
        """Put gradients (a list or dict with one per leaf) together in the nesting of an argument."""
        nesting = self.nesting_of(position)
        return nesting.unflatten([None if k in self.fixed else parts[k] for k in self.leaves_of_argument(position)])


def _restored(
    leaves: Sequence[tuple[Any, Any]],
    nestings: Sequence[Nesting],
    positions: Sequence[int | str],
    static: dict[int, Any],
    fixed: dict[int, Any],
    owner: str,
    dtype: np.dtype[Any],
) -> Signature:
    """Return a signature that was pickled."""
    found = [
        (0.0 if own is None else own.type(0)) if shape is None else np.broadcast_to(np.zeros((), own), shape)
        for shape, own in leaves
    ]
    given: dict[Any, Any] = {**static}
    start = 0
    for position, nesting in zip(positions, nestings):
        given[position] = nesting.unflatten([fixed.get(k, found[k]) for k in range(start, start + nesting.size)])
        start += nesting.size
    count = sum(isinstance(position, int) for position in given)
    named = {name: given[name] for name in given if isinstance(name, str)}
    return Signature([given[i] for i in range(count)], tuple(static), owner, named, dtype)


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
        nested = f": for a nest of them in_axes=({in_axes!r:.60},)" * (
            isinstance(in_axes, dict) and signature.count == 1
        )
        raise ValueError(
            f"{signature.owner}: in_axes is {in_axes!r}; expected an integer, None, or a tuple of {signature.count} of "
            f"them, one per argument{nested}"
        )
    axes: list[int | None] = []
    for i, nesting in zip(signature.positions, signature.nestings):
        given = in_axes[i] if isinstance(i, int) else 0  # those by keyword are mapped over their first axis
        if given is None or isinstance(given, int):
            parts = [given] * nesting.size
        else:
            parts = axes_of(nesting, given, f"{signature.owner}: in_axes[{i}]")
        axes += parts
    for k, axis in enumerate(axes):
        if k in signature.fixed and signature.fixed[k] is None:
            axes[k] = axis = None
        if axis is None:
            continue
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"{signature.name(k)}: its lane axis is {axis!r}; expected an integer or None")
        shape = signature.shapes[k]
        if shape is None:
            what = described(signature.fixed[k]) if k in signature.fixed else "a number"
            listed = signature.nesting_of(signature.places[k][0]).kind in (list, tuple)
            raise ValueError(
                f"{signature.name(k)} is {what} and has no axis {axis}; give None for it in in_axes"
                + " (a list of numbers is a container: give np.array of it)" * listed
            )
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"{signature.name(k)} has shape {shape} and no axis {axis}")
        axes[k] = axis % len(shape)
    return axes


def axes_of(nesting: Nesting, given: Any, name: str, noun: str = "argument") -> list[Any]:
    """Return one axis per leaf, where `given` may stop at a container and speak for all in it."""
    if given is None or isinstance(given, int):
        return [given] * nesting.size
    keys, children = _parts(given, name)
    inner = nesting.children or (None,) * len(nesting)
    by_key = isinstance(given, dict) and isinstance(nesting.keys, tuple)
    if by_key and set(keys) == set(nesting.keys):
        children, keys = [given[key] for key in nesting.keys], nesting.keys
    if nesting.kind is None or len(children) != len(nesting) or (isinstance(given, dict) and keys != nesting.keys):
        raise ValueError(f"{name} is {given!r:.60}, which is not nested as the {noun} is")
    axes: list[Any] = []
    for child, part in zip(inner, children):
        axes += [part] if child is None else axes_of(child, part, name, noun)
    return axes


def _parts(given: Any, name: str) -> tuple[Any, list[Any]]:
    if is_container(type(given)):
        return children_of(given)
    raise TypeError(f"{name} holds {described(given)}; expected integers, None, or nested containers of them")


def checked_reduce(reduce: Any, name: str) -> Any:
    """Return how lanes are reduced, or raise."""
    if reduce not in (None, "sum", "mean"):
        raise ValueError(f"{name}: reduce is {reduce!r}; expected None, 'sum' or 'mean'")
    return reduce


def numbered(leaves: Sequence[int], sizes: Sequence[int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return for every number of some leaves, of so many each, its leaf, and which number of that it is."""
    ends = np.cumsum([0, *sizes])
    first = np.repeat(ends[:-1], sizes)
    return np.repeat(np.array(leaves, np.int32), sizes), np.arange(ends[-1]) - first


def scale_of(reduce: str | None, lanes: int) -> float:
    """Return what a sum over lanes is multiplied with; the mean of no lanes is NaN."""
    if reduce != "mean":
        return 1.0
    return 1.0 / lanes if lanes else math.nan


def lane_signature(
    name: str,
    args: Sequence[Any],
    in_axes: Any,
    static: Sequence[int] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[Signature, list[int | None], int]:
    """Return the signature of one lane's arguments, the lane axis of every leaf, and how many lanes there are."""
    whole = Signature(args, static, name, kwargs)
    axes = spread_axes(in_axes, whole)
    lanes = lane_count(whole, axes)
    one = Signature(args, static, name, kwargs)
    for k, axis in enumerate(axes):
        shape = whole.shapes[k]
        if axis is not None and shape is not None:
            one.shapes[k] = (*shape[:axis], *shape[axis + 1 :]) or None
    return one, axes, lanes


def lane_count(signature: Signature, axes: Sequence[int | None]) -> int:
    """Return how many lanes there are, if all leaves agree."""
    found: dict[int, LeafName] = {}
    for k, axis in enumerate(axes):
        shape = signature.shapes[k]
        if axis is not None and shape is not None:
            found.setdefault(shape[axis], LeafName(signature, k))
    if not found:
        raise ValueError(f"{signature.owner}: no argument has a lane axis; give at least one in in_axes")
    if len(found) > 1:
        sizes = ", ".join(f"{name} has {size}".removeprefix(f"{signature.owner}: ") for size, name in found.items())
        raise ValueError(f"{signature.owner}: the arguments have different numbers of lanes: {sizes}")
    return next(iter(found))
