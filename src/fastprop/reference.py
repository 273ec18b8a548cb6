"""The reference: reverse-mode automatic differentiation in plain Python, to be read from top to bottom.

How can a program find the derivatives of whatever another program computes? Not by algebra, and not by trying small
steps, but by keeping a diary. Every arithmetic operation is a *gate*. It knows two things about itself alone: its value
and its *partials*, the slopes of its value in each of its operands. While the user's code runs, each gate writes one
*slot* on a *tape*: what it was, what it took, its partials, its value. Read backward, the diary is the chain rule:

>>> x, y, z = Unit(-2.0), Unit(5.0), Unit(-4.0)
>>> f = (x + y) * z
>>> f.backward()
>>> f
Unit(-12.0, grad=1.0)
>>> x.grad, y.grad, z.grad
(-4.0, -4.0, 3.0)

The sweep put a *pull* of 1 on `f`. `multiply` passed on that pull times its partials, 3 to `z` and -4 to the sum;
`add`, whose partials are 1, passed -4 to both of its operands. A number that is used twice adds up what it receives.
That is all of it; the rest is bookkeeping: what a handle is, when a slot may be forgotten, who may share what. The
compiled engine has the same names; this one is its judge, and shares only the table of gates and the block gates.
"""

from __future__ import annotations

import importlib
import itertools
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.errors import StaleUnitError
from fastprop.gates import SEQUENCE, Gate
from fastprop.gates.functions import functions
from fastprop.handles import operands as shared
from fastprop.handles.face import ArrayFace, Face
from fastprop.handles.operands import as_block, as_float, as_operand, as_result, fit, frozen, like_block, product

TRANSFORMS = "grad value_and_grad vjp jvp jacobian hessian hvp check_grads numerical_grad random_search".split()  # noqa: SIM905
__all__ = ["Array", "Gate", "StaleUnitError", "Tape", "Unit", "current_tape", "stop_gradient", "zero_grad"]
PUBLIC = {**gates.table, **functions}
__all__ += [*PUBLIC, *TRANSFORMS]

Many = tuple[Any, ...]


class Slot:
    """A gate's result on a tape, and all that a sweep must know of how it came about.

    An operand is the key (an int) of an earlier slot, or a leaf, or a constant (a float or an array). `values` are the
    operands' when the gate ran, which is all that the backward of a `Gate` asks for, and `partials` those of a table
    row there, None for a constant.
    """

    __slots__ = ("gate", "handle", "operands", "partials", "value", "values")

    def __init__(self, gate: Any, operands: Many, values: Many, partials: Many, value: Any, handle: Any):
        self.gate, self.operands, self.values, self.partials, self.value = gate, operands, values, partials, value
        self.handle = weakref.ref(handle)

    def pulls(self, pull: Any) -> Iterable[Any]:
        """The chain rule backward: what a pull on the result pulls on each operand."""
        if isinstance(self.gate, Gate):
            return shared.gate_pulls(self.gate, pull, self.values)
        return [None if partial is None else product(pull, partial) for partial in self.partials]

    def tangent(self, tangents: list[Any]) -> Any:
        """The chain rule forward: the result's tangent, from the operands' (None: zero)."""
        if isinstance(self.gate, Gate):
            along = shared.gate_tangent(self.gate, tuple(tangents), self.values)
        else:
            along = sum(product(t, partial) for t, partial in zip(tangents, self.partials) if t is not None)
        return fit(along + np.zeros(np.shape(self.value)), self.value)  # a number moves all numbers of a block

    def passes_on(self, position: int) -> bool:
        """Whether any pull can reach an operand: not if a strong gate did not choose it."""
        return isinstance(self.gate, Gate) or not self.gate.strong or bool(np.any(self.partials[position] != 0.0))


class Tape:
    """The slots of the gates that ran, in their order, under keys that are never used twice.

    Gates of leaves alone are recorded on the current tape: the thread's own, or that of the innermost ``with Tape()``.

    >>> x = Unit(3.0)
    >>> with Tape() as tape:
    ...     y = x * x
    >>> len(tape)
    1
    """

    _fewest = 256  # so many slots are kept before any of them is looked at for reclaiming
    _numbers = itertools.count(1)

    def __init__(self, *, captures: bool = False):
        self._number = next(Tape._numbers)
        self._captures = captures  # results of other tapes are constants here
        self._slots: dict[int, Slot] = {}
        self._keys = itertools.count()
        self._full = Tape._fewest  # with so many slots it is time to reclaim
        self._alone = shared.Alone()  # held by a sweep and by a reset

    def __len__(self) -> int:
        return len(self._slots)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<tape {self._number}: {len(self)} gates>"

    def __enter__(self) -> Tape:
        _thread.tapes.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        if _thread.tapes[-1] is not self:
            raise RuntimeError(f"{self} was left, but {_thread.tapes[-1]} is the innermost one entered in this thread")
        _thread.tapes.pop()

    @property
    def nbytes(self) -> int:
        """The memory that the slots take, roughly."""
        return sum(64 + 32 * len(s.operands) + getattr(s.value, "nbytes", 8) for s in self._slots.values())

    def reset(self) -> None:
        """Forget every slot; results that are still in someone's hands are stale from now on."""
        with self._claimed("reset"):
            self._slots, self._full = {}, Tape._fewest

    def _claimed(self, purpose: str) -> Any:
        return self._alone.held(f"{purpose} of {self}, which is in the middle of a sweep; wait until it has ended")

    def _record(self, gate: Any, operands: Many, values: Many, partials: Many, value: Any) -> Any:
        """Write a slot and return its handle."""
        if any(type(operand) is int and operand not in self._slots for operand in operands):
            raise StaleUnitError(f"{gate.name}: tape {self._number} was reset while the gate ran; compute it again")
        if len(self._slots) >= self._full:  # forget what no live handle reaches: nobody can ever sweep from there
            live = [key for key, slot in self._slots.items() if slot.handle() is not None]
            self._slots = {key: self._slots[key] for key in self._ancestors(live)}
            self._full = Tape._fewest + 2 * len(self._slots)
        handle = _handle(value, self, next(self._keys))
        self._slots[handle._key] = Slot(gate, operands, values, partials, value, handle)
        return handle

    def _ancestors(self, keys: Iterable[int], chosen: bool = False) -> list[int]:
        """The slots that some slots were computed from (and chose), themselves included, in the order of recording."""
        found = set(keys)
        waiting = list(found)
        while waiting:
            slot = self._slots[waiting.pop()]
            for position, operand in enumerate(slot.operands):
                if type(operand) is int and operand not in found and (not chosen or slot.passes_on(position)):
                    found.add(operand)
                    waiting.append(operand)
        return sorted(found)

    @np.errstate(all="ignore")  # infinities and NaN go through blocks as silently as through numbers
    def _sweep(self, pulls: dict[int, Any]) -> tuple[dict[int, Any], dict[int, tuple[Any, Any]]]:
        """The sweep backward: from pulls on some slots to the pulls on all slots and leaves that they came from.

        An operand is always older than the gate that took it. So when the slots are visited from the newest down, all
        pulls on a slot have arrived before it passes their sum on.
        """
        adjoint, slots = dict(pulls), self._slots
        leaves: dict[int, tuple[Any, Any]] = {}
        for key in reversed(self._ancestors(pulls)):
            slot, pull = slots[key], adjoint.get(key, 0.0)
            if not (pull.any() if isinstance(pull, np.ndarray) else pull):
                continue  # a pull of exactly zero pulls nothing, not even NaN
            for operand, part in zip(slot.operands, slot.pulls(pull)):
                if part is None:
                    continue
                if type(operand) is int:
                    part = fit(part, slots[operand].value)
                    adjoint[operand] = adjoint[operand] + part if operand in adjoint else part
                elif isinstance(operand, Handle):
                    part = fit(part, operand._value)
                    _, so_far = leaves.get(id(operand), (operand, 0.0))
                    leaves[id(operand)] = operand, so_far + part
        return adjoint, leaves

    def _backward(self, key: int, pull: Any) -> None:
        """Sweep from one slot, and only when all has gone well add what arrived to the gradients."""
        with self._claimed("backward"):
            slots = self._slots
            adjoint, leaves = self._sweep({key: pull})
            for handle, part in [*leaves.values(), *((slots[key].handle(), part) for key, part in adjoint.items())]:
                if handle is not None:
                    handle._receive(part)

    def _variable(self, value: Any) -> Any:
        """A result with no operands: the variable of a transform. Of a handle, an alias that pulls on it."""
        if isinstance(value, Handle):
            return record(gates.positive, (value,), {}, tape=self)
        value = as_block(value, "a variable") if np.ndim(value) else as_float(value, "a variable")
        return self._record(None, (), (), (), value)

    def _gradients(self, outputs: Any, pulls: Any, variables: Any) -> list[Any]:
        """The pulls that arrive on variables from pulls on outputs."""
        start: dict[int, Any] = {}
        for output, pull in zip(outputs, pulls):
            if self._owns(output):
                pull = fit(pull, output._slot().value)
                start[output._key] = start[output._key] + pull if output._key in start else pull
        adjoint, _ = self._sweep(start)
        return [adjoint.get(variable._key, _zero(variable)) for variable in variables]

    @np.errstate(all="ignore")
    def _tangents(self, outputs: Any, variables: Any, tangents: Any) -> list[Any]:
        """The tangents that arrive on outputs from tangents of variables."""
        tangent = {variable._key: fit(along, variable._slot().value) for variable, along in zip(variables, tangents)}
        for key in self._ancestors(output._key for output in outputs if self._owns(output)):
            slot = self._slots[key]
            along = [tangent.get(operand) if type(operand) is int else None for operand in slot.operands]
            if any(part is not None for part in along):
                part = slot.tangent(along)
                tangent[key] = tangent[key] + part if key in tangent else part
        return [tangent.get(output._key, _zero(output)) if self._owns(output) else _zero(output) for output in outputs]

    def _steps(self, outputs: Any, variables: Any) -> tuple[list[Any], list[int], list[Many]]:
        """The gates on the paths from variables to outputs, newest first, with handles for their operands."""
        ends = [output._key if self._owns(output) else None for output in outputs]
        on_path, steps = {variable._key for variable in variables}, []
        for key in self._ancestors((end for end in ends if end is not None), chosen=True):
            slot = self._slots[key]
            pairs = enumerate(slot.operands)
            keys = tuple(o if type(o) is int and o in on_path and slot.passes_on(i) else None for i, o in pairs)
            if any(operand is not None for operand in keys):
                on_path.add(key)
                steps.append((key, slot.gate, tuple(map(self._operand, slot.operands, slot.values)), keys))
        return [end if end in on_path else None for end in ends], [v._key for v in variables], steps[::-1]

    def _closed(self, variables: Iterable[Any], outputs: Iterable[Any]) -> bool:
        """Whether the outputs, and all slots since the first variable, came from what was written since then alone."""
        first = min(variable._key for variable in variables)
        keys = [output._key for output in outputs]
        keys += [operand for key, slot in self._slots.items() if key >= first for operand in slot.operands]
        return all(key >= first if type(key) is int else self._captures or not isinstance(key, Handle) for key in keys)

    def _owns(self, handle: Any) -> bool:
        return isinstance(handle, Handle) and handle._tape is self and handle._slot() is not None

    def _operand(self, operand: Any, value: Any) -> Any:
        """An operand as the user had it: a slot's handle, made anew if it has gone; a leaf with the value it had."""
        if type(operand) is not int:
            if not isinstance(operand, Handle) or operand._value is value:
                return operand
            return self._record(gates.positive, (operand,), (value,), (np.ones_like(value)[()],), value)
        slot = self._slots[operand]
        handle = slot.handle()
        if handle is None:
            handle = _handle(slot.value, self, operand)
            slot.handle = weakref.ref(handle)
        return handle


class _Thread(threading.local):
    """Each thread's stack of tapes: its default tape, and on it those of the ``with`` blocks that it is in."""

    def __init__(self) -> None:
        self.tapes = [Tape()]


_thread = _Thread()


def current_tape() -> Tape:
    """The tape on which this thread records gates of leaves alone."""
    return _thread.tapes[-1]


class Handle:
    """A hold on a number or a block: a leaf, which owns its value, or a result, whose value stands on a tape."""

    __slots__ = ("__weakref__", "_grad", "_key", "_tape", "_value", "name")

    _tape: Any  # None for a leaf
    _key: int
    _value: Any
    _grad: Any  # None for zero
    name: str | None

    def __new__(cls, *args: Any, **options: Any) -> Any:
        self = object.__new__(cls)
        self._tape, self._key, self._value, self._grad, self.name = None, -1, 0.0, None, None
        return self

    def _slot(self) -> Slot:
        slot: Slot | None = self._tape._slots.get(self._key)
        if slot is None:
            raise StaleUnitError(f"the result is gone, because tape {self._tape._number} was reset; compute it again")
        return slot

    @property
    def value(self) -> Any:
        """The number, or a read-only array. A leaf's can be assigned, a result's cannot."""
        return self._value if self._tape is None else self._slot().value

    @value.setter
    def value(self, value: Any) -> None:
        if self._tape is not None:
            gate = getattr(self._slot().gate, "name", "a transform")
            raise ValueError(f"a result's value cannot be assigned: {gate} made it; assign to leaves, compute it again")
        self._value = _like(value, self._value, "value")

    @property
    def grad(self) -> Any:
        """The sum of what backward sweeps brought, in the value's shape; it can be assigned."""
        value = self.value  # a stale handle says so
        return self._grad if self._grad is not None else _zero(value)

    @grad.setter
    def grad(self, grad: Any) -> None:
        self._grad = _like(grad, self.value, "grad")

    @np.errstate(all="ignore")
    def _receive(self, part: Any) -> None:
        grad = part if self._grad is None else self._grad + part
        self._grad = frozen(grad) if isinstance(grad, np.ndarray) else grad

    def backward(self, pull: Any = None) -> None:
        """Sweep backward from here with a pull (1.0 on a Unit), and add what arrives to `.grad` of all it arrives on.

        >>> x = Unit(3.0)
        >>> (x * x).backward(10.0)
        >>> x.grad
        60.0
        """
        value = self.value
        if pull is None and not isinstance(value, float):
            raise ValueError(f"backward from an Array of shape {value.shape} needs a pull of that shape")
        pull = _like(1.0 if pull is None else pull, value, "the pull")
        if self._tape is None:
            self._receive(pull)
        else:
            self._tape._backward(self._key, pull)

    @staticmethod
    def __fastprop_gate__(gate: Any, operands: Many, options: dict[str, Any]) -> Any:
        """Where `gates.apply` hands over a call with a handle among its operands."""
        return record(gate, operands, options)


class Unit(Handle, Face):
    """A handle on one real number.

    Parameters
    ----------
    value, grad
        Any real numbers, as `float` rounds them; bool, complex and strings are a TypeError.
    name
        Shown by `repr`.

    >>> Unit(2, name="w")
    Unit(2.0, grad=0.0, name='w')
    """

    __slots__ = ()
    shape = ()

    def __init__(self, value: Any, grad: Any = 0.0, *, name: str | None = None):
        value, grad = as_float(value, "Unit: value"), as_float(grad, "Unit: grad")
        if self._tape is not None:
            raise ValueError("a result cannot be made a leaf; Unit(result.value) is a new one")
        self._value, self._grad, self.name = value, grad, name

    def __repr__(self) -> str:
        try:
            name = f", name={self.name!r}" if self.name is not None else ""
            return f"Unit({self.value!r}, grad={self.grad!r}{name})"
        except StaleUnitError as error:
            return f"<stale Unit: {error}>"


class Array(Handle, ArrayFace):
    """A handle on a block of numbers with a shape and a dtype, float32 or float64.

    Parameters
    ----------
    values, grad
        Nested lists of numbers or an array, which are copied; lists with Units in them are stacked, recorded.
    dtype, name
        float32 or float64, by default that of an array of one of these, else float64; and what `repr` shows.

    >>> w = Array([1.0, 2.0, 3.0])
    >>> (w * w).sum().backward()
    >>> w.grad
    array([2., 4., 6.])
    """

    __slots__ = ()

    def __new__(cls, values: Any, grad: Any = None, *, dtype: Any = None, name: str | None = None) -> Any:  # noqa: D102
        if isinstance(values, Handle) or shared.holds_handles(values):
            self = shared.stack(values) if isinstance(values, (list, tuple)) else gates.positive(values)
        else:
            self = Handle.__new__(cls)
            self._value = as_block(values, "Array: values", dtype)
        if not self.shape:
            raise ValueError(f"Array({values!r:.60}) would have no axis: a single number is a Unit")
        if dtype is not None and self.dtype != dtype:
            self = self.astype(dtype)
        self.name, self.grad = name, 0.0 if grad is None else grad
        return self


def _handle(value: Any, tape: Tape, key: int) -> Any:
    """A handle on a slot, of the kind that fits its value."""
    handle = Handle.__new__(Unit if isinstance(value, float) else Array)
    handle._tape, handle._key = tape, key
    return handle


def _like(x: Any, value: Any, what: str) -> Any:
    """A number, or a block of the shape and the dtype of `value`; a gradient may be filled with one number."""
    if isinstance(value, float):
        return as_float(x, what)
    x = np.full(value.shape, as_float(x, what), value.dtype) if what == "grad" and np.ndim(x) == 0 else x
    return like_block(x, value, what)


def _zero(like: Any) -> Any:
    """The zero of a number's or a block's kind."""
    value = like.value if isinstance(like, Handle) else like
    return frozen(np.zeros_like(value)) if np.ndim(value) else 0.0


def record(gate: Any, operands: Many, options: dict[str, Any], tape: Tape | None = None) -> Any:
    """Run a gate on handles and numbers, and write it on the tape of the results among them."""
    gate, operands = shared.prepare(gate, operands, options)
    tape = _tape_of(gate, operands) if tape is None else tape
    inputs, values = [], []
    for position, operand in enumerate(operands):
        handle = isinstance(operand, Handle)
        value = operand.value if handle else as_operand(gate, position, operand)
        constant = not handle or operand._tape not in (None, tape)
        inputs.append(value if constant else operand if operand._tape is None else operand._key)
        values.append(value)
    partials: Many = ()
    if isinstance(gate, Gate):
        value = as_result(gate.forward(*values), gate)
    else:
        with np.errstate(all="ignore"):  # arrays give inf and NaN as silently as numbers do
            flat = all(isinstance(value, float) for value in values)
            value = as_result(gate.value(*values) if flat else gate(*values), gate)
            partials = _partials(gate, inputs, values)
    return tape._record(gate, tuple(inputs), tuple(values), partials, value)


def _partials(gate: Any, operands: list[Any], values: list[Any]) -> Many:
    """A table row's partials in its operands at these values; None of a constant."""
    wanted = [isinstance(operand, (int, Handle)) for operand in operands]
    if gate.arity == SEQUENCE:
        return tuple(slope if want else None for slope, want in zip(gate.partials(values), wanted))
    return tuple(slope(*values) if want else None for slope, want in zip(gate.partials, wanted))


def _tape_of(gate: Any, operands: Many) -> Tape:
    """The tape that a gate belongs on: that of the results which it uses; with leaves alone, the current one."""
    tapes = {operand._tape for operand in operands if isinstance(operand, Handle)} - {None}
    if len(tapes) > 1:  # on a transform's tape the results of others are constants
        active = {tape for tape in tapes if tape._captures}
        tapes = active & {current_tape()} or active or tapes
    if len(tapes) > 1:
        names = " and ".join(f"tape {number}" for number in sorted(tape._number for tape in tapes))
        raise ValueError(f"{gate.name}: results of {names} in one gate; record them on one, or use .value of one")
    return tapes.pop() if tapes else current_tape()


def zero_grad(units: Any) -> None:
    """Set the gradients of Units and Arrays to zero."""
    units = [units] if isinstance(units, Handle) else list(units)
    for position, unit in enumerate(units):
        if not isinstance(unit, Handle):
            raise TypeError(f"zero_grad: item {position} is a {type(unit).__name__}; expected Units and Arrays")
        unit.grad = unit.grad  # a stale handle says so before anything has changed
    for unit in units:
        unit.grad = 0.0


def stop_gradient(x: Any) -> Any:
    """Return a leaf with the value of `x`, through which nothing pulls on `x`; a plain number stays as it is."""
    if not isinstance(x, Handle):
        return shared.as_plain(x, stop_gradient)
    return (Unit if isinstance(x, Unit) else Array)(x.value)


def __getattr__(name: str) -> Any:
    """The other public names: gates, functions of arrays, and the functions of functions, bound to this engine."""
    if name in PUBLIC:
        return PUBLIC[name]
    if name in TRANSFORMS:
        transforms = importlib.import_module("fastprop.derivatives.transforms")  # a floor above
        return transforms.for_engine(importlib.import_module(__name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
