"""The parameters of an optimizer: how they are given, what each is called, and how they are nested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastprop.gates.numbers import as_array, as_real
from fastprop.handles.nesting import Nesting, children_of, described, flatten, is_container, is_handle

__all__ = ["given", "leaves_of", "like", "listed", "names_of", "taken", "tree_of", "zeros"]


def given(params: Any, rule: str) -> Any:
    """Return parameters in a form that can be read again: what is run through once becomes a list."""
    if isinstance(params, (list, tuple)) and any(isinstance(group, dict) and "params" in group for group in params):
        raise TypeError(f"{rule}: there are no groups of parameters here; make one optimizer for each")
    if callable(getattr(params, "named_parameters", None)) or callable(getattr(params, "parameters", None)):
        return params
    if is_handle(params) or is_container(type(params)) or isinstance(params, np.ndarray) or as_real(params) is not None:
        return params
    if isinstance(params, (Iterator, Iterable)) and not isinstance(params, str):
        return list(params)
    raise TypeError(f"{rule}: the parameters are {params!r:.60}; expected Units, Arrays, numbers, arrays, or nests of")


def tree_of(source: Any) -> Any:
    """Return the nested container that an object has, or is."""
    if callable(getattr(source, "named_parameters", None)):
        return dict(source.named_parameters())
    return list(source.parameters()) if callable(getattr(source, "parameters", None)) else source


def listed(source: Any) -> list[Any]:
    """Return what an object gives as its parameters, or what is in a flat container, without a look at any of it."""
    if callable(getattr(source, "parameters", None)):
        return list(source.parameters())
    if isinstance(source, dict):
        return list(source.values())
    return list(source) if isinstance(source, (list, tuple)) else [source]


def leaves_of(params: Any, rule: str) -> list[Any]:
    """Return Units and Arrays, each once; TypeError if there is something else among them."""
    leaves = flatten(tree_of(given(params, rule)), nones=True)[0]
    for leaf in leaves:
        if not is_handle(leaf):
            raise TypeError(
                f"{rule} takes Units and Arrays, whose gradients it clips, not {described(leaf)}; of gradients that "
                "are numbers and arrays clip_norm and clip_value give new ones"
            )
    return list({id(leaf): leaf for leaf in leaves}.values())


def taken(source: Any, rule: str) -> tuple[list[str], list[Any], Nesting]:
    """Return the parameters' names, themselves, and how they are nested; numbers as floats."""
    leaves, nesting = flatten(tree_of(source), nones=True)
    names = [name or "the parameter" for name in names_of(tree_of(source))]
    if len(set(names)) < len(names):  # {"a.b": …, "a": {"b": …}}
        names = [nesting.path(k) for k in range(len(names))]
    if not leaves:
        found = callable(getattr(source, "named_parameters", None))
        how = ": fastprop.Array(values) in an attribute is one, NumPy's arrays are data" if found else ""
        raise ValueError(f"{rule}: there are no parameters; expected at least one{how}")
    handles = [is_handle(leaf) for leaf in leaves]
    if any(handles) and not all(handles):
        mine, other = names[0], handles.index(not handles[0])
        raise TypeError(
            f"{rule}: {names[other]} is {described(leaves[other])}, and {mine} is {described(leaves[0])}; expected "
            "Units and Arrays alone, which are updated themselves, or numbers and arrays alone"
        )
    if handles[0]:
        once = {id(leaf): (name, leaf) for name, leaf in reversed(list(zip(names, leaves)))}
        names, leaves = map(list, zip(*reversed(once.values())))
    return names, [checked(leaf, name, rule) for name, leaf in zip(names, leaves)], nesting


def checked(leaf: Any, name: str, rule: str) -> Any:
    """Return a parameter if it is one: a leaf, a number as a float, or an array of float32 or float64."""
    if is_handle(leaf):
        if leaf._tape is not None:
            raise ValueError(f"{rule}: {name} is the result of a gate; expected leaves, which can be assigned")
        return leaf
    real = as_real(leaf)
    if real is not None:
        return real
    array = as_array(leaf)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{rule}: {name} is {leaf!r:.60} ({type(leaf).__name__}); expected a number or an array")
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise TypeError(f"{rule}: {name} has dtype {array.dtype}; expected float32 or float64: convert it with .astype")
    return array


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return what stands for a parameter of numbers: 0.0, or an array of zeros that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape) if shape else 0.0


def like(leaf: Any) -> Any:
    """Return what has the shape and the dtype of a number or an array, lest its numbers be kept."""
    return zeros(np.shape(leaf), np.asarray(leaf).dtype.newbyteorder("="))


def names_of(tree: Any) -> Iterator[str]:
    """Yield for every leaf where it stands, with dots between; None is none."""
    if tree is None:
        return
    if not is_container(type(tree)):
        yield ""
        return
    keys, children = children_of(tree)
    for key, child in zip(range(len(children)) if isinstance(keys, int) else keys, children):
        for name in names_of(child):
            yield f"{key}.{name}" if name else str(key)
