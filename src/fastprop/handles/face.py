"""The face of a handle, once for both engines: Python's operators and NumPy's functions, everything by applying gates.

An engine's Array inherits `ArrayFace`; its Unit may inherit `Face`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from fastprop import gates
from fastprop.errors import StaleUnitError
from fastprop.gates import Gate
from fastprop.gates.blocks import (
    AsType,
    GetItem,
    MatMul,
    Max,
    Mean,
    Min,
    Prod,
    Reshape,
    Sum,
    dot,
    transpose,
    value_of,
)
from fastprop.gates.functions import instead_of, of_numpy, refusal
from fastprop.gates.shapes import swapaxes
from fastprop.handles.indexing import of_index, own_index, trace_of
from fastprop.handles.methods import ArrayMethods, GateMethods
from fastprop.handles.operands import as_item
from fastprop.handles.updates import At, refuse_assignment
from fastprop.hints import ATTRIBUTES, elsewhere, with_hints

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
    "divmod": lambda x, y: (gates.floor_divide(x, y), gates.remainder(x, y)),
    "rint": gates.round,
}


def described(handle: Any) -> str:
    """Return what a handle is, for an error: a Unit, an Array."""
    name = type(handle).__name__
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def _no_picture(handle: Any) -> str | None:
    return None


_draw: Callable[[Any], str | None] = _no_picture


def let_pictures(draw: Callable[[Any], str | None]) -> None:
    """Say what draws a handle or a circuit for a notebook, as SVG or None: that stands above all floors."""
    global _draw
    _draw = draw


def picture(x: Any) -> str | None:
    """Return the SVG that a notebook shows of a handle or a circuit; None if its repr says it all."""
    return _draw(x)


class DecimalRound(Gate):
    """Python's rounding to a number of decimal digits; as flat as `round`."""

    def __init__(self, digits: Any):
        self.digits = operator.index(digits)

    def forward(self, x: Any) -> Any:
        """Round a number, or every number of a block."""
        if isinstance(x, float):
            return round(x, self.digits)
        return np.array([round(number, self.digits) for number in x.ravel().tolist()], x.dtype).reshape(x.shape)

    def backward(self, pull: Any, x: Any) -> Any:
        """Pull nothing, or NaN at NaN."""
        return gates.strong_multiply(pull, gates.choose(value_of(x) == value_of(x), 0.0, math.nan))


class Face(GateMethods):
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
    def __floordiv__(self, other: Any) -> Any: return gates.floor_divide(self, other)
    def __rfloordiv__(self, other: Any) -> Any: return gates.floor_divide(other, self)
    def __divmod__(self, other: Any) -> Any: return self // other, self % other
    def __rdivmod__(self, other: Any) -> Any: return other // self, other % self
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

    @property
    def data(self) -> Any:
        """The value, under micrograd's name."""
        return self.value

    @data.setter
    def data(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the truth value of {described(self)} says nothing; compare it, as in x > 0 or x != 0")

    def __round__(self, ndigits: int | None = None) -> Any:
        return gates.round(self) if ndigits is None else DecimalRound(ndigits)(self)

    def __int__(self) -> NoReturn:
        raise TypeError(f"int() of {described(self)} would drop its derivative; use .value, or fastprop.trunc")

    def __index__(self) -> NoReturn:
        raise TypeError(
            f"{described(self)} is no index and no length, which are plain integers: take them from its .value"
        )

    def __float__(self) -> NoReturn:
        raise TypeError(
            f"float() of {described(self)} would drop its derivative; use fastprop's gates (fastprop.exp for "
            "math.exp; out = fastprop.at(out)[i].set(v) for out[i] = v), or .value if the plain number is meant"
        )

    @property
    def ndim(self) -> int:
        """The number of axes: none."""
        return 0

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return 1

    def __getitem__(self, index: Any) -> Any:
        """Return the number in a block of axes of length 1, one for each None; a number has no other indices."""
        parts = index if isinstance(index, tuple) else (index,)
        new = sum(part is None for part in parts)
        if new + any(part is Ellipsis for part in parts) != len(parts):
            raise IndexError(f"{described(self)} has no axes: its indices are None, ..., and (); got {index!r:.60}")
        return self.reshape((1,) * new) if new else self

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"{described(self)} is a single number, and nothing to iterate over; [x] is a list of it")

    def reshape(self, *shape: Any) -> Any:
        """Return the same numbers in another shape, given as a tuple or one by one; -1 stands for what is left."""
        return Reshape(shape[0] if len(shape) == 1 else shape)(self)

    def flatten(self) -> Any:
        """Return all numbers in a row."""
        return Reshape(-1)(self)

    def copy(self) -> Any:
        """Return the same numbers, recorded: a handle is a value, and needs no copy."""
        return +self

    def astype(self, dtype: Any) -> Any:
        """Return the number as it is, a float64; a plain integer or bool, which pulls nothing, of others."""
        return self.reshape(1).astype(dtype)[0]

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

    def item(self, *index: int) -> NoReturn:
        """Refuse: a plain number has no derivative."""
        raise TypeError(
            f"item() of {described(self)} would drop its derivative; use .value, or .value.item(); recorded, it has no "
            "value"
        )

    def tolist(self) -> NoReturn:
        """Refuse: plain numbers have no derivative."""
        raise TypeError(
            f"tolist() of {described(self)} would drop its derivative; use .value, or .value.tolist(); recorded, it "
            "has no value"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(
            f"a plain NumPy array made of {described(self)} would drop its derivative; "
            "use fastprop.Array([...]), fastprop's functions instead of SciPy's, out = fastprop.at(out)[i].set(v) for "
            "out[i] = v, or .value if plain numbers are meant"
        )

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def _repr_svg_(self) -> str | None:
        return picture(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{described(self)} is a handle and can be neither copied nor pickled; save its .value "
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
            raise TypeError(
                f"np.{name} into an existing array would drop the derivative; write a = a + x for a += x, and "
                f"a = np.{name}(…) for out=a"
            )
        how = "" if method == "__call__" else f".{method}"
        given = f" with {', '.join(options)}" if options else ""
        raise TypeError(f"np.{name}{how}{given} is no gate of fastprop's; {instead_of(name + how)}")

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        ours = of_numpy.get(function)
        if ours is None:
            raise TypeError(refusal(function))
        return ours(*args, **options)


for _name, _hint in ATTRIBUTES["Unit"].items():
    setattr(Face, _name, elsewhere(_name, _hint))
for _name in ("sum", "mean", "prod", "max", "min"):
    setattr(Face, _name, with_hints(vars(Face)[_name], "of arrays"))


class ArrayFace(Face, ArrayMethods):
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

    @property
    def mT(self) -> Any:  # noqa: N802 (NumPy's name)
        """The Array with its last two axes exchanged: the transposes of a stack of matrices."""
        return swapaxes(self, -1, -2)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        trace = trace_of(index)
        if trace is not None:
            return trace.as_block(self)[index]
        try:
            return GetItem(own_index(index))(self)
        except IndexError as error:
            raise of_index(error) from None

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        refuse_assignment(described(self))

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError(
            f"nothing can be taken out of {described(self)}; write a = a[index] with the index of what stays"
        )

    @property
    def at(self) -> At:
        """Where to change numbers: ``a.at[index].set(v)``, ``.add(v)`` and their like are new blocks, recorded."""
        return At(self)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, number: Any) -> bool:
        return bool(np.any(self.value == value_of(number)))

    def __matmul__(self, other: Any) -> Any:
        return MatMul()(self, as_item(other))

    def __rmatmul__(self, other: Any) -> Any:
        return MatMul()(as_item(other), self)

    def __repr__(self) -> str:
        try:
            rows = (("Array(", self.value), (f"{'':6}grad=", self.grad))
        except StaleUnitError as error:
            return f"<stale Array: {error}>"
        value, grad = (np.array2string(x, separator=", ", threshold=100, prefix=before) for before, x in rows)
        behind = ",\n      " if "\n" in value + grad else ", "
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Array({value}{behind}grad={grad}{name})"

    def dot(self, other: Any) -> Any:
        """Return NumPy's dot product with another block."""
        return dot(self, as_item(other))

    def transpose(self, *axes: Any) -> Any:
        """Return the Array with its axes in another order, reversed by default."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return transpose(self, order or None)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """Return the numbers, none below `min` and none above `max`."""
        return gates.clip(self, min, max)

    def astype(self, dtype: Any) -> Any:
        """Return the numbers rounded to float32 or float64; plain integers or bools, which pull nothing, of others."""
        return np.asarray(self.value).astype(dtype) if np.dtype(dtype).kind in "biu" else AsType(dtype)(self)
