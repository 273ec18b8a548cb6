"""Nested containers of numbers: taken apart into a flat list of leaves, checked, and put together again.

Containers are lists, tuples, namedtuples, dataclasses and dicts, and subclasses of these; whatever else stands in them
is a leaf. A `Nesting` is a container's shape without its leaves. The leaves that can be differentiated are floats (and
what counts as such), arrays of floats, and handles: the Units and Arrays of either engine.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from fastprop.gates.numbers import as_array, as_real
from fastprop.gates.row import is_condition

__all__ = ["LEAF", "NONE", "Nesting", "flatten", "map_leaves", "tree_map"]

# Containers -----------------------------------------------------------------------------------------------------------


class Nesting:
    """The shape of a nested container: what stands where, without the leaves themselves."""

    __slots__ = ("children", "keys", "kind", "size", "template")

    def __init__(self, kind: type | None, keys: Any, children: tuple[Nesting, ...] | None, size: int, template: Any):
        self.kind = kind  # the container's class, None for a leaf
        self.keys = keys  # a dict's keys, the fields of a dataclass or namedtuple, else how many children there are
        self.children = children  # one Nesting per child, None if every child is a leaf
        self.size = size  # how many leaves
        self.template = template  # a copy of a dataclass or of an instance of a subclass, to be filled anew

    def unflatten(self, leaves: Iterable[Any], construct: bool = False) -> Any:
        """Put leaves together in this nesting.

        Dataclasses get their fields without a call of their constructor, which might refuse a gradient where it
        expects a parameter; with `construct` it is called, so that fields that it computes follow the leaves.
        """
        return self._fill(iter(leaves), construct)

    def path(self, index: int) -> str:
        """Where the leaf `index` stands, as one writes it behind a name: ``[0]['weight'].scale``."""
        if self.kind is None:
            return ""
        for label, child in zip(self._labels(), self._child_nestings()):
            if index < child.size:
                return label + child.path(index)
            index -= child.size
        raise IndexError(f"no leaf is left at {index} behind the last one")

    def leaves_of(self, tree: Any, name: str) -> list[Any]:
        """Take `tree` apart, which must be nested like this: TypeError or ValueError with the place if it is not."""
        leaves: list[Any] = []
        self._collect(tree, name, leaves)
        return leaves

    def __reduce__(self) -> Any:
        if self is LEAF or self is NONE:
            return "NONE" if self is NONE else "LEAF"  # which are compared by identity
        return Nesting, (self.kind, self.keys, self.children, self.size, self.template)

    def __len__(self) -> int:
        return self.keys if isinstance(self.keys, int) else len(self.keys)

    def _fill(self, leaves: Iterator[Any], construct: bool) -> Any:
        if self.kind is None:
            return next(leaves)
        if self.children is None:
            return self.build(list(itertools.islice(leaves, self.size)), construct)
        return self.build([child._fill(leaves, construct) for child in self.children], construct)

    def build(self, children: list[Any], construct: bool = False) -> Any:
        """Put children together in this container."""
        kind = self.kind
        if kind is list:
            return children
        if kind is tuple:
            return tuple(children)
        if kind is dict:
            return dict(zip(self.keys, children))
        if self is NONE:
            return None
        assert kind is not None
        if is_block(kind):
            return kind.made_of(children, self.template)  # type: ignore[attr-defined]
        if issubclass(kind, tuple):
            return tuple.__new__(kind, children)
        if construct and not issubclass(kind, (list, dict)):
            return dataclasses.replace(self.template, **dict(zip(self.keys, children)))
        filled = copy.copy(self.template)
        if issubclass(kind, list):
            filled[:] = children
        elif issubclass(kind, dict):
            for key, child in zip(self.keys, children):
                filled[key] = child
        else:
            for key, child in zip(self.keys, children):
                object.__setattr__(filled, key, child)
        return filled

    def _labels(self) -> list[str]:
        if isinstance(self.keys, int):
            return [f"[{i}]" for i in range(self.keys)]
        assert self.kind is not None
        return [f"[{key!r}]" if issubclass(self.kind, dict) else f".{key}" for key in self.keys]

    def _child_nestings(self) -> tuple[Nesting, ...]:
        return (LEAF,) * self.size if self.children is None else self.children

    def _collect(self, tree: Any, name: str, leaves: list[Any]) -> None:
        if self.kind is None:
            if is_container(type(tree)):
                raise TypeError(f"{name} is a {type(tree).__name__}, where one number or array is expected")
            leaves.append(tree)
            return
        if is_block(self.kind):
            numbers = _numbers_of(tree)
            if numbers.shape != self.template:
                raise ValueError(f"{name} has shape {numbers.shape}, where {self.template} is expected")
            leaves.extend(numbers.flat)
            return
        if self is NONE and tree is None:
            return
        if self is NONE or not isinstance(tree, self.kind):
            expected = "None" if self is NONE else f"a {self.kind.__name__}"
            raise TypeError(f"{name} is {_described(tree)}, where {expected} is expected")
        if isinstance(tree, dict):
            if tree.keys() != set(self.keys):
                raise ValueError(f"{name} has the keys {list(tree)}, where {list(self.keys)} are expected")
            children = [tree[key] for key in self.keys]
        else:
            children = children_of(tree)[1]
        if len(children) != len(self):
            raise ValueError(f"{name} has length {len(children)}, where {len(self)} is expected")
        if self.children is None and not any(map(is_container, set(map(type, children)))):
            leaves.extend(children)  # the same as below, for long lists of numbers
            return
        for label, nesting, child in zip(self._labels(), self._child_nestings(), children):
            nesting._collect(child, name + label, leaves)


LEAF = Nesting(None, 1, None, 1, None)
NONE = Nesting(type(None), 0, (), 0, None)  # None in a result: a container of nothing


def flatten(tree: Any, blocks: bool = False, wholes: bool = False, nones: bool = False) -> tuple[list[Any], Nesting]:
    """Take a nested container apart: its leaves from left to right, and its nesting.

    With `blocks`, an Array under trace, which is a block of Units, is taken apart into these; with `wholes`, too,
    unless it is an array that can be a variable as a whole. One without numbers is a leaf in any case: its derivatives
    have its shape. With `nones`, None is no leaf, but stays where it stands.
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, (), is_part if wholes else is_block if blocks else _never, nones)


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Build a copy of a nested container with `function` of every leaf."""
    leaves, nesting = flatten(tree)
    return nesting.unflatten(map(function, leaves))


def tree_map(function: Callable[..., Any], nest: Any, *rest: Any) -> Any:
    """Build a nest like the one given, with `function` of what stands at each place.

    Parameters
    ----------
    function : callable
        ``function(x, *others)`` takes what stands at a place, in `nest` and in each of `rest`: numbers, Units, arrays,
        Arrays, or whatever else is no container. What it returns stands there in the result.
    nest : number, array, or nested containers of them
        Lists, tuples, namedtuples, dataclasses and dicts, to any depth. None stays None.
    *rest : the same
        Further nests with the same containers. The keys of dicts may come in another order.

    Returns
    -------
    number, array, or nested containers
        In the containers of `nest`.

    Raises
    ------
    TypeError, ValueError
        If one of `rest` is nested otherwise; the error says where.

    Notes
    -----
    Name and use are those of ``jax.tree.map``; dicts are gone over in the order of `nest`, and there is no `is_leaf`.
    It works on whatever goes through functions: plain numbers, handles, and traced values in what is compiled, mapped
    or scanned.

    Examples
    --------
    >>> import fastprop as fp
    >>> params, gradients = {"w": [2.0, 5.0], "b": None}, {"w": [1.0, -1.0], "b": None}
    >>> fp.tree_map(lambda p, g: p - 0.5 * g, params, gradients)
    {'w': [1.5, 5.5], 'b': None}
    """
    if not callable(function):
        raise TypeError(f"tree_map takes a function first, not {described(function)}")
    leaves, nesting = flatten(nest, nones=True)
    columns = [leaves]
    for i, other in enumerate(rest):
        columns.append(nesting.leaves_of(other, f"tree_map: rest[{i}]"))
        for k, leaf in enumerate(columns[-1]):
            if leaf is None:
                raise TypeError(f"tree_map: rest[{i}]{nesting.path(k)} is None, where a number or array is expected")
    return nesting.unflatten(map(function, *columns))


def order_of(nesting: Nesting, like: Nesting) -> list[int] | None:
    """Return for every leaf of `like` which one of `nesting` stands there; None if they are not nested alike.

    The keys of dicts may come in another order.
    """
    if nesting.kind is not like.kind or len(nesting) != len(like):
        return None
    if nesting.kind is None:
        return [0]
    places = range(len(like))
    if not isinstance(like.keys, int) and nesting.keys != like.keys:
        if set(nesting.keys) != set(like.keys):
            return None
        at = {key: i for i, key in enumerate(nesting.keys)}
        places = [at[key] for key in like.keys]  # type: ignore[assignment]
    children, starts = nesting._child_nestings(), [0]
    for child in children:
        starts.append(starts[-1] + child.size)
    found: list[int] = []
    for i, expected in zip(places, like._child_nestings()):
        inner = order_of(children[i], expected)
        if inner is None:
            return None
        found += [starts[i] + k for k in inner]
    return found


class Shown:
    """A word that stands for a leaf where a structure is shown."""

    def __init__(self, shape: tuple[int, ...] | None):
        self.text = "number" if not shape else f"array{list(shape)}"

    def __repr__(self) -> str:
        return self.text


def structure(nesting: Nesting, shapes: Iterable[tuple[int, ...] | None]) -> str:
    """Return a text that shows a nesting and the shapes of its leaves."""
    return repr(nesting.unflatten(map(Shown, shapes)))


def is_container(kind: type) -> bool:
    """Say whether instances of a class are taken apart."""
    return issubclass(kind, (list, tuple, dict)) or hasattr(kind, "__dataclass_fields__")


def is_block(kind: type) -> bool:
    """Say whether instances of a class are blocks of Units under trace."""
    return getattr(kind, "__fastprop_block__", False)


def is_whole(kind: type) -> bool:
    """Say whether instances of a class are arrays under trace that can be variables as wholes."""
    return getattr(kind, "__fastprop_whole__", False)


def is_part(kind: type) -> bool:
    """Say whether instances of a class are blocks of Units under trace that are nothing but these."""
    return is_block(kind) and not is_whole(kind)


def _never(kind: type) -> bool:
    return False


def _flatten(
    tree: Any, leaves: list[Any], outer: tuple[int, ...], blocks: Callable[[type], bool], nones: bool
) -> Nesting:
    """Append the leaves of `tree`, which stands in the containers with the identities `outer`."""
    kind = type(tree)
    if nones and tree is None:
        return NONE
    if blocks(kind) and (tree.size or not is_whole(kind)):
        leaves.extend(tree.numbers.flat)
        return Nesting(kind, tree.size, None, tree.size, tree.shape)
    if not is_container(kind):
        leaves.append(tree)
        return LEAF
    if id(tree) in outer:
        raise ValueError(f"a {kind.__name__} contains itself: nested containers must end in numbers or arrays")
    keys, children = children_of(tree)
    before = len(leaves)
    kinds = set(map(type, children))
    if any(map(is_container, kinds)) or any(map(blocks, kinds)) or (nones and type(None) in kinds):
        inside = (*outer, id(tree))
        nestings = tuple([_flatten(child, leaves, inside, blocks, nones) for child in children])
    else:
        nestings = None
        leaves.extend(children)
    plain = kind is list or kind is dict or issubclass(kind, tuple)
    return Nesting(kind, keys, nestings, len(leaves) - before, None if plain else copy.copy(tree))


def children_of(tree: Any) -> tuple[Any, list[Any]]:
    """Return the keys (as Nesting has them) and children of a container."""
    if isinstance(tree, dict):
        return tuple(tree), list(tree.values())
    if isinstance(tree, (list, tuple)):
        return getattr(tree, "_fields", len(tree)), list(tree)
    names = tuple(field.name for field in dataclasses.fields(tree) if field.init)
    return names, [getattr(tree, name) for name in names]


def _numbers_of(tree: Any) -> np.ndarray[Any, Any]:
    """Return an array, traced, captured or plain, as an object array of its numbers."""
    if is_whole(type(tree)) or is_block(type(tree)):
        numbers: np.ndarray[Any, Any] = tree.numbers
        return numbers
    if not is_handle(tree):
        return np.asarray(tree, object)
    numbers = np.empty(shape_of(tree), object)
    for place in np.ndindex(numbers.shape):
        numbers[place] = tree[place] if place else tree
    return numbers


def _described(tree: Any) -> str:
    """Name what was given instead of a container."""
    if tree is None:
        return "None"
    return f"a {type(tree).__name__}" if is_container(type(tree)) else f"a single {type(tree).__name__}"


# Leaves ---------------------------------------------------------------------------------------------------------------


def is_handle(x: Any) -> bool:
    """Say whether `x` is a Unit or an Array of either engine."""
    return hasattr(type(x), "__fastprop_gate__")


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a handle, an array or a number."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def dtype_of(x: Any) -> np.dtype[Any]:
    """Return the dtype of a handle, an array or a number, or of its derivative: float64 of integers."""
    dtype = np.dtype(getattr(x, "dtype", np.float64))
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def size_of(x: Any) -> int:
    """Return how many numbers a handle, an array or a number holds."""
    return math.prod(shape_of(x))


def plain(x: Any) -> Any:
    """Return the value of a handle, or a number as it is; an array is a copy, the caller's to keep."""
    value = x.value if is_handle(x) else x
    return np.array(value) if isinstance(value, np.ndarray) else value


def zeros_like(x: Any) -> Any:
    """Return 0.0, or an array of zeros of the shape and dtype of `x`."""
    return np.zeros(shape_of(x), dtype_of(x)) if shape_of(x) else 0.0


def unit_directions(x: Any) -> Iterator[Any]:
    """Yield 1.0, or for every number in an array an array that is 1 there and 0 elsewhere."""
    if shape_of(x) == ():
        yield 1.0
        return
    for i in range(size_of(x)):
        direction = np.zeros(size_of(x), dtype_of(x))
        direction[i] = 1.0
        yield direction.reshape(shape_of(x))


def as_number(leaf: Any) -> Any:
    """Return a leaf as a float, a copied array of floats or a handle; None if it can't be differentiated."""
    if type(leaf) is float or is_handle(leaf):
        return leaf
    leaf = as_array(leaf)
    if isinstance(leaf, np.ndarray) and leaf.ndim > 0:
        if leaf.dtype.kind in "iu":
            return leaf.astype(np.float64)
        if leaf.dtype.kind == "f" and leaf.dtype.itemsize in (4, 8):
            return np.array(leaf, leaf.dtype.newbyteorder("="))
        return None
    return as_real(leaf)


def as_input(leaf: Any) -> float | np.ndarray[Any, Any] | None:
    """Return a leaf as a circuit reads it, a float or an array with axes; None if it is neither (or a handle)."""
    leaf = as_array(leaf)
    if not isinstance(leaf, np.ndarray):
        return as_real(leaf)
    wide = leaf.dtype.kind == "f" and leaf.dtype.itemsize not in (4, 8)
    if leaf.dtype.kind not in ("biuf" if leaf.ndim > 0 else "iuf") or (wide and leaf.ndim > 0):
        return None
    return leaf if leaf.ndim > 0 else float(leaf)


def is_static(leaf: Any) -> bool:
    """Say whether a leaf is passed on as it is: a bool, None, a string."""
    return leaf is None or isinstance(leaf, (bool, np.bool_, str))


def static_key(value: Any) -> Any:
    """Return what a static argument has in common with others that a function can't tell from it, hashable.

    For Python ``1 == 1.0 == True`` and ``0.0 == -0.0``, but a function may do different things with them; and for a
    cache NaN is what it is, equal to itself. TypeError if the value, or what is in it, can't be hashed.
    """
    kind = type(value)
    if isinstance(value, float):
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if kind is Decimal:
        return kind, value.as_tuple()
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return kind, value.dtype, value.shape, tuple(map(static_key, value.flat))
    if isinstance(value, (np.ndarray, np.generic)):
        return kind, value.dtype, value.shape, value.tobytes()
    if isinstance(value, (tuple, frozenset)):
        return kind, (frozenset if isinstance(value, frozenset) else tuple)(map(static_key, value))
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.eq and kind.__hash__ is not None:
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
        return kind, tuple([static_key(getattr(value, name)) for name in fields])
    hash(value)
    return kind, value


def checked(leaf: Any, name: str, nesting: Nesting = LEAF, index: int = 0) -> Any:
    """Return the leaf `index` of something as `as_number` does, or raise the TypeError that says where it stands."""
    number = None if is_condition(leaf) else as_number(leaf)
    if number is None:
        raise TypeError(
            f"{name}{nesting.path(index)} is {described(leaf)}, which can't be differentiated; "
            "give floats, integers, arrays of them (float32 or float64), Units or Arrays"
        )
    return number


def checked_alike(leaf: Any, like: Any, name: str, other: str, nesting: Nesting = LEAF, index: int = 0) -> Any:
    """Return a pull or a tangent, checked against the number or array (named by `other`) that it belongs to."""
    number = checked(leaf, name, nesting, index)
    shape = shape_of(like)
    if shape_of(number) != shape:
        raise ValueError(f"{name}{nesting.path(index)} has shape {shape_of(number)}, but {other} has shape {shape}")
    if shape and not is_handle(number):
        if getattr(leaf, "dtype", None) == np.float64 and dtype_of(like) == np.float32:
            raise TypeError(
                f"{name}{nesting.path(index)} has dtype float64, but {other} has float32; "
                "round it with .astype(np.float32)"
            )
        return number.astype(dtype_of(like))
    return number


def described(x: Any) -> str:
    """Say what was given: its type, and what it looks like if that is short."""
    if isinstance(x, np.ndarray) and as_array(x) is None:
        return f"a {type(x).__name__} of shape {x.shape} (no plain array: give np.asarray() of it, or .filled())"
    if isinstance(x, np.ndarray):
        return f"an array of dtype {x.dtype} and shape {x.shape}"
    if x is None:
        return "None"
    kind, text = type(x).__name__, repr(x)
    article = "an" if kind[0] in "aeiouAEIO" else "a"
    if hasattr(type(x), "__array__") and not isinstance(x, np.generic) and not is_handle(x):
        with contextlib.suppress(Exception):  # whatever it makes of itself
            return f"{article} {kind}, which makes {described(np.asarray(x))}"
    return f"{article} {kind} ({text})" if len(text) <= 40 and "\n" not in text else f"{article} {kind}"


def returned(x: Any) -> str:
    """Say what a function returned; of None, that it may have been forgotten."""
    return "None (does it end without a return?)" if x is None else described(x)
