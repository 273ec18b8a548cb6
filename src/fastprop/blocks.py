"""Arrays, once for both engines: what an operand may be, the chain rule on blocks, and the NumPy-like face of handles.

An engine calls `prepare` with what the user wrote, gets the gate to record and its operands, and applies the chain rule
with `product`, `fit`, `gate_pulls` and `gate_tangent`. Its Array inherits `ArrayFace`; its Unit may inherit `Face`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from fastprop import gates
from fastprop._values import strong_multiply, strong_product
from fastprop.errors import StaleUnitError
from fastprop.gates import SEQUENCE, Gate
from fastprop.structure import (
    AsType,
    GetItem,
    LogSumExp,
    MatMul,
    Max,
    Mean,
    Min,
    Prod,
    Reshape,
    Stack,
    Sum,
    dot,
    dot_product,
    is_handle,
    shape_of,
    total,
    transpose,
    unbroadcast,
    value_of,
)

__all__ = [
    "ArrayFace",
    "Face",
    "as_block",
    "as_float",
    "as_operand",
    "as_plain",
    "as_result",
    "dot",
    "fit",
    "frozen",
    "gate_pulls",
    "gate_tangent",
    "holds_handles",
    "like_block",
    "prepare",
    "product",
    "stack",
    "unbroadcast",
]


# Numbers and blocks of numbers, as they come in


def as_float(x: Any, what: str) -> float:
    """Return a real number as `float()` rounds it; `what` names it in the TypeError for anything else."""
    real = gates.as_real(x)
    if real is None:
        raise TypeError(f"{what} is {x!r:.60} ({type(x).__name__}); expected a real number")
    return real


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

    def __repr__(self) -> str:
        return repr(np.asarray(self))


def as_plain(x: Any, what: str) -> Any:
    """Return a plain operand as a float or an array."""
    real = gates.as_real(x)
    return real if real is not None else gates.as_reals(x, what)


def frozen(array: np.ndarray) -> Values:
    """Return the array, read-only from now on, with value semantics."""
    array.flags.writeable = False
    return array.view(Values)


def as_block(x: Any, what: str, dtype: Any = None) -> Values:
    """Return a read-only copy of `x` as float32 or float64; integers count as float64."""
    try:
        array = gates.as_reals(x, what)
    except ValueError:
        raise ValueError(f"{what} is ragged; expected rows of equal length") from None
    if dtype is None:
        dtype = array.dtype.newbyteorder("=")
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{what} has dtype {dtype}; expected float32 or float64: convert it with .astype first")
    return frozen(np.array(array, dtype=dtype, order="C"))


def like_block(x: Any, like: np.ndarray, what: str) -> Values:
    """Return a read-only copy of `x`, which must have the shape and dtype of `like`; lists and integers are weak."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype.newbyteorder("=") != like.dtype:
        raise TypeError(f"{what} has dtype {x.dtype}; expected {like.dtype}: convert it with .astype first")
    block = as_block(x, what, like.dtype)
    if block.shape != like.shape:
        raise ValueError(f"{what} has shape {block.shape}; expected {like.shape}")
    return block


def as_operand(gate: Any, position: int, x: Any) -> Any:
    """Return a plain operand as a float or a read-only array, or raise a TypeError that says where it stands."""
    if type(x) is float:
        return x
    constant = not isinstance(gate, Gate) and gate.arity != SEQUENCE and gate.partials[position] is None
    value = gates.number(gate, position, x, arrays=True, condition=constant)
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


def gate_pulls(gate: Gate, pull: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a Gate's backward pulls on each operand, proved to be one pull each, in the operand's shape."""
    pulls = gate.backward(pull, *values)
    if not isinstance(pulls, tuple):
        pulls = (pulls,)
    if len(pulls) != len(values):
        raise ValueError(
            f"{gate.name}.backward returned {len(pulls)} pulls for {len(values)} operands; expected a tuple of one each"
        )
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
    shape = np.shape(gate.forward(*map(value_of, values)))
    along = []
    for place in np.ndindex(shape):
        pull: Any = 1.0
        if shape:
            pull = np.zeros(shape)
            pull[place] = 1.0
        pulls = gate.backward(pull, *values)
        pairs = zip(pulls if isinstance(pulls, tuple) else (pulls,), tangents, strict=True)
        along.append(total([Sum()(gates.strong_multiply(p, t)) for p, t in pairs if p is not None and t is not None]))
    return Stack(shape)(*along) if shape else along[0]


# From what the user wrote to the gate that an engine records

REDUCTIONS: dict[str, Any] = {"sum": Sum, "mean": Mean, "prod": Prod, "max": Max, "min": Min, "logsumexp": LogSumExp}


def prepare(gate: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the gate to record for a call and its flat operands: handles, numbers and arrays.

    An n-ary row of single numbers stays a row; on blocks, or with an axis, a structural gate takes its place.
    """
    if isinstance(gate, Gate):
        return gate, tuple(_item(x, f"{gate.name}: operand {i}") for i, x in enumerate(operands))
    if gate.arity != SEQUENCE:
        first = int(gate.partials[0] is None)  # after a condition, which may hold bools
        rest = [_item(x, f"{gate.name}: operand {i}") for i, x in enumerate(operands[first:], first)]
        return gate, (*operands[:first], *rest)
    if not options and all(_is_flat(operand) for operand in operands):
        lengths = [len(operand) for operand in operands]
        if lengths[0] != lengths[-1]:
            raise ValueError(f"{gate.name}: the sequences have {lengths[0]} and {lengths[1]} numbers; expected equal")
        return gate, tuple(item for operand in operands for item in operand)
    items = tuple(_item(x, f"{gate.name}: operand {i}") for i, x in enumerate(operands))
    return dot_product(*items) if gate.name == "dot" else (REDUCTIONS[gate.name](**options), items)


def stack(values: Any) -> Any:
    """Return nested lists with handles in them as one Array, recorded."""
    items, outer = [values], []
    while items and all(isinstance(item, (list, tuple)) for item in items):
        lengths = {len(item) for item in items}
        if len(lengths) != 1:
            raise ValueError(f"rows of the lengths {sorted(lengths)} stand side by side; expected equal ones")
        outer.append(lengths.pop())
        items = [part for item in items for part in item]
    for position, item in enumerate(items):
        if not is_handle(item):
            items[position] = (
                as_block(item, f"part {position}") if np.ndim(item) else as_float(item, f"part {position}")
            )
    shapes = {shape_of(item) for item in items}
    if len(shapes) > 1:
        raise ValueError(f"parts of the shapes {sorted(shapes)} stand side by side; expected equal ones")
    return Stack(tuple(outer))(*items)


def holds_handles(values: Any) -> bool:
    """Whether a nested list has a handle in it."""
    return gates.recorder_of(values) is not None


def _is_flat(operand: Any) -> bool:
    """Whether an operand is a list or tuple of single numbers and Units."""
    return isinstance(operand, (list, tuple)) and not any(
        isinstance(item, (list, tuple)) or getattr(item, "shape", ()) for item in operand
    )


def _item(operand: Any, what: str = "an operand") -> Any:
    """Return a list of numbers as an array, a list with handles as a recorded Array, anything else as it is."""
    if not isinstance(operand, (list, tuple)):
        return operand
    return stack(operand) if holds_handles(operand) else gates.as_reals(operand, what)


# The face of a handle: Python's operators and NumPy's functions, everything by applying gates

_ON_VALUES = frozenset(  # ufuncs that give bools: no derivative is lost
    ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite", "signbit"]
)
_OTHER_NAMES: dict[str, Any] = {
    "matmul": MatMul(),
    "expit": gates.sigmoid,
    "log_expit": gates.log_sigmoid,
    "psi": gates.digamma,
    "fabs": gates.absolute,
    "float_power": gates.power,
    "rint": gates.round,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: gates.table[name] for name in ("sum", "mean", "prod", "max", "min", "where")},
    "clip": lambda a, a_min=None, a_max=None, *, min=None, max=None: gates.clip(
        a, a_min if min is None else min, a_max if max is None else max
    ),
    "round": gates.round,
    "around": gates.round,
    "amax": gates.max,
    "amin": gates.min,
    "dot": dot,
    "reshape": lambda a, shape: Reshape(shape)(a),
    "transpose": transpose,
    "shape": shape_of,
    "ndim": lambda a: len(shape_of(a)),
    "size": lambda a: math.prod(shape_of(a)),
}


class DecimalRound(Gate):
    """Python's rounding to a number of decimal digits; as flat as `round`."""

    def __init__(self, digits: Any):
        self.digits = operator.index(digits)

    def forward(self, x: Any) -> Any:
        if isinstance(x, float):
            return round(x, self.digits)
        return np.array([round(number, self.digits) for number in x.ravel().tolist()], x.dtype).reshape(x.shape)

    def backward(self, pull: Any, x: Any) -> Any:
        return gates.strong_multiply(pull, gates.choose(value_of(x) == value_of(x), 0.0, math.nan))


class Face:
    """What a Unit and an Array have in common: operators, comparisons of values, NumPy's functions, clear refusals."""

    __slots__ = ()

    value: Any
    grad: Any
    name: str | None

    # fmt: off
    def __neg__(self) -> Any: return gates.negative(self)
    def __pos__(self) -> Any: return gates.positive(self)
    def __abs__(self) -> Any: return gates.absolute(self)
    def __add__(self, other: Any) -> Any: return gates.add(self, other)
    def __radd__(self, other: Any) -> Any: return gates.add(other, self)
    def __sub__(self, other: Any) -> Any: return gates.subtract(self, other)
    def __rsub__(self, other: Any) -> Any: return gates.subtract(other, self)
    def __mul__(self, other: Any) -> Any: return gates.multiply(self, other)
    def __rmul__(self, other: Any) -> Any: return gates.multiply(other, self)
    def __truediv__(self, other: Any) -> Any: return gates.divide(self, other)
    def __rtruediv__(self, other: Any) -> Any: return gates.divide(other, self)
    def __mod__(self, other: Any) -> Any: return gates.remainder(self, other)
    def __rmod__(self, other: Any) -> Any: return gates.remainder(other, self)
    def __pow__(self, other: Any) -> Any: return gates.power(self, other)
    def __rpow__(self, other: Any) -> Any: return gates.power(other, self)

    def __eq__(self, other: Any) -> Any: return self.value == value_of(other)
    def __ne__(self, other: Any) -> Any: return self.value != value_of(other)
    def __lt__(self, other: Any) -> Any: return self.value < value_of(other)
    def __le__(self, other: Any) -> Any: return self.value <= value_of(other)
    def __gt__(self, other: Any) -> Any: return self.value > value_of(other)
    def __ge__(self, other: Any) -> Any: return self.value >= value_of(other)
    # fmt: on

    __hash__ = object.__hash__  # by identity, though == compares values

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the truth value of a {type(self).__name__} says nothing; compare it, as in x > 0 or x != 0")

    def __round__(self, ndigits: int | None = None) -> Any:
        return gates.round(self) if ndigits is None else DecimalRound(ndigits)(self)

    def __int__(self) -> NoReturn:
        raise TypeError(f"int() of a {type(self).__name__} would drop its derivative; use .value, or fastprop.trunc")

    def __float__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"float() of a {name} would drop its derivative; use fastprop's gates (fastprop.exp for math.exp), "
            "or .value if the plain number is meant"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            f"a plain NumPy array made of a {type(self).__name__} would drop its derivative; "
            "use fastprop.Array([...]), or .value if plain numbers are meant"
        )

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is a handle and can be neither copied nor pickled; save its .value "
            f"and make a new {type(self).__name__} from it"
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if method == "__call__" and not options:
            if name in _ON_VALUES:
                return ufunc(*map(value_of, operands))
            gate = _OTHER_NAMES.get(name) or gates.table.get(name)
            if gate is not None:
                return gate(*operands)
        if options.get("out") is not None:
            raise TypeError(f"np.{name} into an existing array would drop the derivative; write a = a + x, not a += x")
        how = "" if method == "__call__" else f".{method}"
        given = f" with {', '.join(options)}" if options else ""
        raise TypeError(f"np.{name}{how}{given} is no gate of fastprop's; for plain numbers use .value")

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = function.__name__
        if function.__module__ != "numpy" or name not in _FUNCTIONS:
            raise TypeError(f"{function.__module__}.{name} is no gate of fastprop's; for plain numbers use .value")
        return _FUNCTIONS[name](*args, **options)


class ArrayFace(Face):
    """The NumPy-like face of an Array."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(self.value.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    @property
    def T(self) -> Any:  # noqa: N802 (NumPy's name)
        """The Array with its axes reversed."""
        return self.transpose()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return GetItem(_index(index))(self)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, number: Any) -> bool:
        return bool(np.any(self.value == value_of(number)))

    def __matmul__(self, other: Any) -> Any:
        return MatMul()(self, _item(other))

    def __rmatmul__(self, other: Any) -> Any:
        return MatMul()(_item(other), self)

    def __repr__(self) -> str:
        try:
            value, grad = (np.array2string(x, separator=", ", threshold=100) for x in (self.value, self.grad))
        except StaleUnitError as error:
            return f"<stale Array: {error}>"
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Array({value}, grad={grad}{name})"

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return the sum, of all numbers (a Unit) or along axes."""
        return Sum(axis, keepdims)(self)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return the mean, of all numbers (a Unit) or along axes."""
        return Mean(axis, keepdims)(self)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return the product, of all numbers (a Unit) or along axes."""
        return Prod(axis, keepdims)(self)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return the largest number, of all (a Unit) or along axes; ties share the gradient."""
        return Max(axis, keepdims)(self)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Return the smallest number, of all (a Unit) or along axes; ties share the gradient."""
        return Min(axis, keepdims)(self)

    def dot(self, other: Any) -> Any:
        """Return NumPy's dot product with another block."""
        return dot(self, _item(other))

    def reshape(self, *shape: Any) -> Any:
        """Return the same numbers in another shape, given as a tuple or one by one; -1 stands for what is left."""
        return Reshape(shape[0] if len(shape) == 1 else shape)(self)

    def transpose(self, *axes: Any) -> Any:
        """Return the Array with its axes in another order, reversed by default."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return transpose(self, order or None)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """Return the numbers, none below `min` and none above `max`."""
        return gates.clip(self, min, max)

    def astype(self, dtype: Any) -> Any:
        """Return the numbers rounded to float32 or float64."""
        return AsType(dtype)(self)


def _index(index: Any) -> Any:
    """Return an index that nobody else can change: lists become arrays, arrays are copied."""
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    if is_handle(index):
        raise TypeError(f"an index is a plain number; got {index!r:.60}: use int(x.value)")
    return np.array(index, dtype=None if np.size(index) else int) if isinstance(index, (list, np.ndarray)) else index
