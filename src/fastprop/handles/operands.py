"""Operands, once for both engines: what an operand may be, and the chain rule on numbers and blocks.

An engine calls `prepare` with what the user wrote, gets the gate to record and its operands, and applies the chain rule
with `product`, `fit`, `gate_pulls` and `gate_tangent`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates import SEQUENCE, Gate, is_condition
from fastprop.gates.blocks import (
    Max,
    Mean,
    Min,
    Prod,
    Stack,
    Sum,
    dot_product,
    is_handle,
    shape_of,
    total,
    unbroadcast,
    value_of,
)
from fastprop.gates.items import as_item as as_item
from fastprop.gates.items import holds_handles as holds_handles
from fastprop.gates.items import stack as stack
from fastprop.gates.numbers import as_array, as_real, as_reals, number, without_flags
from fastprop.gates.shares import LogSumExp
from fastprop.gates.values import strong_multiply, strong_product
from fastprop.handles.nesting import is_container, tree_map
from fastprop.hints import ATTRIBUTES, elsewhere

# Numbers and blocks of numbers, as they come in


def as_float(x: Any, what: str) -> float:
    """Return a real number as `float()` rounds it; `what` names it in the TypeError for anything else."""
    real = as_real(x)
    if real is None:
        such = ", such as 0.0" * (x is None)
        raise TypeError(f"{what} is {x!r:.60} ({type(x).__name__}); expected a real number{such}")
    return real


class Alone:
    """What is held for the length of a ``with``, by one at a time; given back wherever an interrupt comes."""

    def __init__(self) -> None:
        self._holder: Callable[[], Any] = lambda: None

    @contextlib.contextmanager
    def held(self, busy: str) -> Iterator[None]:
        """Hold it, or raise a RuntimeError that says who does."""
        if self._holder() is not None:
            raise RuntimeError(busy)
        holder: set[None] = set()  # which is gone with this call, also where it is not come back to
        self._holder = weakref.ref(holder)
        yield


class Values(np.ndarray[Any, np.dtype[Any]]):
    """A read-only array with value semantics: ``a -= b`` makes a new array and binds it to `a`.

    So ``w.value -= rate * w.grad`` assigns a new array to `w.value`, and arrays taken earlier stay as they were. What
    is computed from it is a plain array.
    """

    __array_priority__ = -1.0

    # fmt: off
    def __iadd__(self, other: Any) -> Any: return self + other  # type: ignore[misc]
    def __isub__(self, other: Any) -> Any: return self - other  # type: ignore[misc]
    def __imul__(self, other: Any) -> Any: return self * other  # type: ignore[misc]
    def __imatmul__(self, other: Any) -> Any: return self @ other  # type: ignore[misc]
    def __itruediv__(self, other: Any) -> Any: return self / other  # type: ignore[misc]
    def __ifloordiv__(self, other: Any) -> Any: return self // other  # type: ignore[misc]
    def __imod__(self, other: Any) -> Any: return self % other  # type: ignore[misc]
    def __ipow__(self, other: Any) -> Any: return self**other  # type: ignore[misc, override]
    # fmt: on

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array

    def __setitem__(self, index: Any, value: Any) -> None:
        if not self.flags.writeable:  # what NumPy makes of it, it also fills
            raise ValueError(
                "values and gradients are read-only, and assigned as wholes: write w.value = "
                "fastprop.at(w.value)[i].set(v), or w.grad = 0.0"
            )
        super().__setitem__(index, value)

    def __repr__(self) -> str:
        return repr(np.asarray(self))


for _name, _hint in ATTRIBUTES["Values"].items():
    setattr(Values, _name, elsewhere(_name, _hint))


def as_plain(x: Any, held: Callable[[Any], Any]) -> Any:
    """Return a plain operand of stop_gradient as a float or an array; of a nest, what is `held` of what is in it.

    Integers, which may index, truth values and None stay as they are.
    """
    if is_container(type(x)):
        return tree_map(held, x)
    if x is None or type(x) in (int, bool) or is_condition(x):
        return x
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "biu":
        return x
    real = as_real(x)
    return real if real is not None else as_reals(x, "stop_gradient: the operand")


def frozen(array: np.ndarray) -> Values:
    """Return the array, read-only from now on, with value semantics."""
    array.flags.writeable = False
    return array.view(Values)


def as_block(x: Any, what: str, dtype: Any = None) -> Values:
    """Return a read-only copy of `x` as float32 or float64; integers count as float64."""
    array = as_reals(x, what)
    if dtype is None:
        dtype = array.dtype.newbyteorder("=")
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{what} has dtype {dtype}; expected float32 or float64: convert it with .astype first")
    return frozen(np.array(array, dtype=dtype, order="C"))


def like_block(x: Any, like: np.ndarray, what: str) -> Values:
    """Return a read-only copy of `x`, which must have the shape and dtype of `like`; lists and integers are weak."""
    given = as_array(x)
    if isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.dtype.newbyteorder("=") != like.dtype:
        raise TypeError(f"{what} has dtype {given.dtype}; expected {like.dtype}: convert it with .astype first")
    block = as_block(x, what, like.dtype)
    if block.shape != like.shape:
        raise ValueError(f"{what} has shape {block.shape}; expected {like.shape}")
    return block


def as_operand(gate: Any, position: int, x: Any) -> Any:
    """Return a plain operand as a float or a read-only array, or raise a TypeError that says where it stands."""
    if type(x) is float:
        return x
    value = number(gate, position, x, arrays=True)
    return frozen(value.copy()) if isinstance(value, np.ndarray) else value


def as_result(x: Any, gate: Any) -> Any:
    """Return what a gate's forward gave as a float or a read-only block."""
    if type(x) is float:
        return x
    what = f"the value of {gate.name}"
    return as_float(x, what) if np.ndim(x) == 0 else as_block(x, what)


# The chain rule on numbers and blocks


def product(pull: Any, partial: Any) -> Any:
    """Pull (or tangent) times partial: exactly zero where either is."""
    if type(pull) is float and type(partial) is float:
        return strong_multiply(pull, partial)
    with np.errstate(all="ignore"):
        return strong_product(pull, partial)


def fit(pull: Any, like: Any) -> Any:
    """Return a numeric pull in the shape and the dtype of the operand that it arrives on."""
    if type(pull) is float and type(like) is float:
        return pull
    pull = unbroadcast(np.asarray(pull), shape_of(like))
    return float(pull) if isinstance(like, float) else np.asarray(pull, dtype=like.dtype)


def pulls_of(gate: Gate, pull: Any, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return what a Gate's backward gives, numbers or handles: one pull, or None, for each operand."""
    returned = gate.backward(pull, *values)
    if returned is None:
        raise TypeError(
            f"{gate.name}.backward returned None; expected the pull on its operand, or a tuple with one per operand "
            "(None in it for an operand that is not pulled)"
        )
    pulls: tuple[Any, ...] = returned if isinstance(returned, tuple) else (returned,)
    if len(pulls) != len(values):
        raise ValueError(
            f"{gate.name}.backward returned {len(pulls)} pulls for {len(values)} operands; expected a tuple of one each"
        )
    return pulls


def gate_pulls(gate: Gate, pull: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a Gate's backward pulls on each operand, proved to be one pull each, in the operand's shape."""
    pulls = pulls_of(gate, pull, values)
    return tuple(_checked_pull(gate, *pair) for pair in enumerate(zip(pulls, values, strict=True)))


def _checked_pull(gate: Gate, position: int, pair: tuple[Any, Any]) -> Any:
    pull, value = pair
    what = f"{gate.name}.backward: the pull on operand {position}"
    if pull is None or type(pull) is type(value) is float:
        return pull
    if is_handle(pull):
        raise TypeError(f"{what} is {pull!r:.60}; expected a plain number or array, as the values are")
    if np.shape(pull) != np.shape(value):
        raise ValueError(f"{what} has shape {np.shape(pull)}; expected {np.shape(value)}")
    if isinstance(value, np.ndarray):
        return as_block(pull, what, value.dtype)
    return as_float(pull, what)


def gate_tangent(gate: Any, tangents: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
    """Return the tangent of a Gate's result, from its operands' tangents (None: zero), on numbers or on handles.

    A gate without a `tangent` of its own is asked for its backward once per number of its result: the pulls of that
    one number, times the operands' tangents, are its tangent.
    """
    if hasattr(gate, "tangent"):
        return gate.tangent(tangents, *values)
    shape = np.shape(gate.forward(*[x._recorded if hasattr(x, "_recorded") else value_of(x) for x in values]))
    along = []
    for place in np.ndindex(shape):
        pull: Any = 1.0
        if shape:
            pull = np.zeros(shape)
            pull[place] = 1.0
        pairs = zip(pulls_of(gate, pull, values), tangents, strict=True)
        along.append(total([Sum()(gates.strong_multiply(p, t)) for p, t in pairs if p is not None and t is not None]))
    return Stack(shape)(*along) if shape else along[0]


# From what the user wrote to the gate that an engine records

REDUCTIONS: dict[str, Any] = {"sum": Sum, "mean": Mean, "prod": Prod, "max": Max, "min": Min, "logsumexp": LogSumExp}


def prepare(gate: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the gate to record for a call and its flat operands: handles, numbers and arrays.

    An n-ary row of single numbers stays a row; on blocks, or with an axis, a structural gate takes its place.
    """
    if isinstance(gate, Gate) or gate.arity != SEQUENCE:
        items = [as_item(x, f"{gate.name}: operand {i}") for i, x in enumerate(operands)]
        if getattr(gate, "gathers", False) and all(map(_are_truth_values, items)):
            return gate, tuple(items)
        return gate, tuple(without_flags(items))
    if not options and all(_is_flat(operand) for operand in operands):
        lengths = [len(operand) for operand in operands]
        if lengths[0] != lengths[-1]:
            raise ValueError(f"{gate.name}: the sequences have {lengths[0]} and {lengths[1]} numbers; expected equal")
        return gate, tuple(item for operand in operands for item in operand)
    items = [as_item(x, f"{gate.name}: operand {i}") for i, x in enumerate(operands)]
    arrays = tuple(without_flags(items))
    return dot_product(*arrays) if gate.name == "dot" else (REDUCTIONS[gate.name](**options), arrays)


def _are_truth_values(item: Any) -> bool:
    """Whether an item is a condition, or an array of these or of bools."""
    return gates.is_condition(item) or getattr(item, "dtype", None) == np.bool_


def _is_flat(operand: Any) -> bool:
    """Whether an operand is a list or tuple of single numbers and Units."""
    return isinstance(operand, (list, tuple)) and not any(
        isinstance(item, (list, tuple)) or getattr(item, "shape", ()) for item in operand
    )
