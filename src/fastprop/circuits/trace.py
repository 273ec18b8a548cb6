"""One call of a function, recorded as what a circuit is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastprop import engine
from fastprop.circuits.captured import Stretch, stretches_of, values_of
from fastprop.circuits.signature import Signature, numbered
from fastprop.derivatives.call import active_scope, name_of
from fastprop.engine.bundle import Bundle, LaneBlock, are_truth_values, object_array
from fastprop.engine.integers import as_integer, is_whole
from fastprop.engine.masks import Mask
from fastprop.engine.run import Arrays
from fastprop.engine.slots import Slots, aliases, slots_in
from fastprop.engine.tape import (
    OutsideError,
    Trace,
    Unit,
    belongs,
    innermost,
    line_of,
    record_inputs,
    slot_in,
    values_at,
)
from fastprop.engine.trace import NAMES, Draft, draft_of, inputs_of
from fastprop.gates import is_condition
from fastprop.gates.numbers import as_flag
from fastprop.handles.nesting import LEAF, Nesting, as_number, flatten, returned

__all__ = [
    "LazyBundle",
    "Recording",
    "Retrace",
    "Whole",
    "array_here",
    "current_trace",
    "decides",
    "innermost_scope",
    "record",
    "recording_of",
]


class Retrace(Exception):  # noqa: N818 (never seen outside)
    """A body took a path that needs the function around it to be recorded again."""


class LazyBundle(Bundle):
    """An array among the arguments, whose numbers become inputs when one of them is used.

    So an array that is mapped over as a whole costs nothing per number.
    """

    __slots__ = ("given", "home", "leaf")

    def __init__(self, trace: Trace, leaf: int, given: np.ndarray[Any, Any], integer: bool):
        super().__init__(None)
        self.home, self.leaf, self.given, self._integer = trace, leaf, given, integer

    def array(self) -> int:
        """Return its number among the arrays of the recording at work, read as a whole."""
        recording = recording_of(self.home)
        return array_here(self.home, recording.array_of(Whole("leaf", leaf=self.leaf), self.given))

    @property
    def map_unit(self) -> Unit | None:
        """What a map that reads it depends on: for an argument, nothing."""
        return None

    @property
    def numbers(self) -> np.ndarray[Any, Any]:
        """An object array of the Units that stand for the numbers."""
        if self._made is None:
            units = self._make_numbers()
            if self.integer:
                units = object_array(list(map(as_integer, units.flat)), self.given.shape)
            self._made = units
        return self._made

    def _make_numbers(self) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.inputs().units()
        return found

    def inputs(self) -> Slots:
        """Return the slots of the inputs that its numbers are, which are recorded when they are first asked for."""
        if self._slots is None:
            first = record_inputs(self.home, np.ravel(self.given).astype(np.float64))
            self._slots = Slots(self.home, np.arange(first, first + self.size, dtype=np.int32).reshape(self.shape))
        return self._slots

    def slots(self) -> Slots | None:
        """Return the slots of its numbers, unless they are integers."""
        return None if self.integer else self.inputs()

    @property
    def integer(self) -> bool:
        """Whether it holds integers alone."""
        return self._integer

    def number_in(self, trace: Trace) -> int:
        """Return its number among the arrays of a recording."""
        recording = recording_of(self.home)
        return recording.array_number(trace, self.home, recording.array_of(Whole("leaf", leaf=self.leaf), self.given))

    def as_variable(self, trace: Trace, variables: Callable[..., Slots] = aliases, array: Any = None) -> LazyBundle:
        """Return the variable of a transform that stands for it.

        `variables` gives those of its numbers; `array`, if given, the Unit and the number of an array that does.
        """
        return ArrayVariable(trace, self, variables, array)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        shape: tuple[int, ...] = self.given.shape
        return shape

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.given.size


class ArrayVariable(LazyBundle):
    """The variable of a transform in the place of an array: read as a whole by maps, else number by number."""

    __slots__ = ("_alias", "_number", "source", "stand_in", "variables")

    def __init__(self, trace: Trace, source: LazyBundle, variables: Callable[..., Slots], array: Any):
        super().__init__(trace, -1, source.given, source.integer)
        self.source, self.variables, self.stand_in = source, variables, array
        self._alias: Unit | None = None
        self._number = -1

    def array(self) -> int:
        """Return its number among the arrays of the recording at work, read as a whole."""
        return self.source.array() if self.stand_in is None else array_here(self.home, self.number_in(self.home))

    def number_in(self, trace: Trace) -> int:
        """Return its number among the arrays of a recording."""
        if self.stand_in is None:
            return self.source.number_in(trace)
        _ = self.map_unit
        return recording_of(self.home).array_number(trace, self.home, self._number)

    @property
    def map_unit(self) -> Unit:
        """What stands for the whole of it."""
        if self._alias is None:
            outer = self.source.map_unit
            if self.stand_in is None:
                self._alias = self.home._variable(0.0 if outer is None else outer)
                self.home.recording.array_slots.add(self._alias._slot)
            else:
                self._alias, self._number = self.stand_in(outer, self.source.number_in(self.home))
        return self._alias

    def inputs(self) -> Slots:
        """Return the slots of the variables that its numbers are, which are recorded when they are first asked for."""
        if self._slots is None:
            self._slots = self.variables(self.home, self.source)
        return self._slots

    def made_units(self) -> tuple[Unit | None, list[Any]]:
        """Return the Unit that stands for the whole, and those of the numbers, as far as they were asked for."""
        return self._alias, [] if self._slots is None else list(self.numbers.flat)

    def made_slots(self) -> tuple[int | None, np.ndarray[Any, Any]]:
        """Return the same by the slots."""
        whole = None if self._alias is None else self._alias._slot
        return whole, np.zeros(0, np.int32) if self._slots is None else np.ravel(self._slots.at)


@dataclass(frozen=True)
class Whole:
    """An array that a recording uses as a whole.

    It is a leaf of its arguments, a captured Array, a constant, what a map makes ("made", whose `shape` has the lanes
    first), a "variable" that stands for one, or an array of the recording around it ("outer", whose number there is
    `leaf`).
    """

    kind: str
    leaf: int = -1
    handle: Any = None
    values: Any = None
    shape: tuple[int, ...] = ()

    @property
    def key(self) -> Any:
        """What two of them that are the same array have in common; None: each is one of its own."""
        return (self.kind, self.leaf) if self.leaf >= 0 else self.handle

    def current(self, leaves: Sequence[Any], dtype: np.dtype[Any]) -> Any:
        """Return the array as it is now, from the leaves of the arguments."""
        if self.kind == "leaf":
            return leaves[self.leaf]
        return np.asarray(self.handle.value, dtype) if self.kind == "captured" else self.values


class Recording:
    """What a call computed: a draft, and how its inputs and outputs belong to arguments and result.

    `starts` says for each leaf of the arguments where its numbers begin among the inputs, -1 if none was used.
    `captured` are the leaves (Units, numbers of Arrays) that are inputs, too, behind those of the arguments. `arrays`
    are used as wholes, by maps.
    """

    def __init__(self, f: Callable[..., Any], signature: Signature, dtype: np.dtype[Any], parent: Trace | None = None):
        self.function, self.signature, self.dtype = f, signature, dtype
        self.name = name_of(f)
        self.parent = parent
        self.differentiable = True  # whether its gradient may be asked for
        self.passes: Any = None
        self.once = False  # it is run where it is recorded, and never again
        self.stale = False  # what it uses from outside is not what it will be when it runs
        self.inward = False  # the body of a map that is differentiated where it is recorded
        self.keeps_arrays = True  # what maps make is returned as arrays, not as numbers
        self.unrolled = False  # maps in it are recorded lane by lane
        self.spans_checks = False  # indices are checked between a gradient inside and its variables
        self.wasted = False  # it would be another one if there were no arrays in it, as is so where paths are several
        self.max_paths = 0  # so many ways through the body of a vmap; 0: as recorded, or an error
        self.given: Sequence[Any] = ()  # the leaves, while it is recorded
        self.forced: tuple[bool, ...] = ()  # how the first guards come out, whatever Python says
        self.arrays: list[Whole] = []
        self.maps: list[Any] = []  # in the order in which they were recorded
        self.known: Sequence[Sequence[Any]] = ()  # points of each map's body, whose paths are recorded, too
        self.array_shapes: list[tuple[int, ...]] = []
        self._array_numbers: dict[Any, int] = {}
        self.array_slots: set[int] = set()  # of what stands for arrays on its trace
        self.examples: list[Any] = []  # their values, while it is recorded
        self.scope: Any = None  # the function at work, while it is recorded
        self.draft: Draft
        self.starts: list[int] = []
        self.captured: list[tuple[Any, int]] = []
        self._stretches: list[Stretch] | None = None
        self.outer_keys = np.zeros(0, np.int64)  # of outer traces' results that are inputs, before the captured leaves
        self.outer_values: Any = None  # float64: of these, where it is recorded
        self.nesting: Nesting = LEAF
        self.outputs: list[tuple[int, tuple[int, ...] | None]] = []  # of each leaf: its first output, and its shape
        self.made: dict[int, int] = {}  # leaf of the result -> the array that it is
        self.integer_outputs: list[bool] = []  # of each leaf of the result
        self.truth_outputs: list[bool] = []
        self.outcomes: tuple[bool, ...] = ()
        self.looked_up: dict[int, str] = {}  # slot of a guard -> by what numbers are looked up there, if by labels
        self.cuts: Any = None  # int64: how many gates there were when each guard was decided
        self.trace: Trace | None = None  # until it is finished
        self.slots: Any = None  # int32: of the inputs there
        self.ends: list[Any] = []  # and the outputs: slots, or numbers
        self._codes: list[Any] = []
        self._places: Any = None
        self._first_slot = 0  # of those in _places
        self._lines: dict[int, str] = {}  # of the guards, once it was pickled

    def __getstate__(self) -> dict[str, Any]:
        if any(not region.inside for region in self.draft.payload.values()):
            raise TypeError(
                f"{self.name} has a vmap or a gate of your own in it and can't be pickled: trace it where it is needed"
            )
        if self.captured:
            raise TypeError(
                f"{self.name} captures leaves, which are read at every call, and can't be pickled: make them arguments"
            )
        gates = self.draft.guards[self.draft.guards >= self.draft.inputs] - self.draft.inputs
        lines = {slot: self.line(slot) for slot in self.draft.origin[gates].tolist()}
        return {**vars(self), "function": None, "_codes": [], "_places": None, "_lines": lines, "outer_values": None}

    def with_outputs(self, outputs: Sequence[int]) -> Recording:
        """Return what was recorded, with other outputs (operands of the draft)."""
        other = copy.copy(self)
        other.draft = self.draft.replace(outputs=np.array(outputs, np.int32))
        return other

    def __copy__(self) -> Recording:
        found = object.__new__(Recording)
        vars(found).update(vars(self))
        return found

    @property
    def decides(self) -> bool:
        """Whether a guard is anything but the check of an index, of which one outcome alone has a path."""
        return decides(self.draft) if self.trace is None else self.trace.decides

    @property
    def gates(self) -> int:
        """How many gates it has."""
        return len(self.draft) if self.trace is None else len(self.trace)

    @property
    def own_inputs(self) -> int:
        """How many inputs belong to the arguments."""
        return self.draft.inputs - len(self.captured) - len(self.outer_keys)

    def array_of(self, whole: Whole, values: Any) -> int:
        """Return the number of an array that is used as a whole; `values` are what it holds here."""
        if whole.key is not None and whole.key in self._array_numbers:
            return self._array_numbers[whole.key]
        self._array_numbers[whole.key] = len(self.arrays)
        self.arrays.append(whole)
        self.array_shapes.append(whole.shape if values is None else np.shape(values))
        self.examples.append(values)
        return len(self.arrays) - 1

    def made_array(self, values: Any, kind: str = "made") -> int:
        """Return the number of a new array that is made, or of a variable that stands for one."""
        return self.array_of(Whole(kind, shape=np.shape(values)), values)

    def example_arrays(self) -> Arrays:
        """Return the arrays as they are where it is recorded."""
        arrays = Arrays(len(self.arrays))
        for a, values in enumerate(self.examples):
            if values is not None:
                arrays.set(a, np.asarray(values, self.dtype))
        return arrays

    def array_number(self, here: Trace, trace: Trace, number: int) -> int:
        """Return the number here of an array of a trace, this recording's or one around it."""
        return _array_in(here, trace, number)

    def input_places(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return for every input that belongs to the arguments its leaf, and which number of that it is."""
        leaves = [leaf for leaf, start in enumerate(self.starts) if start >= 0]
        return numbered(leaves, list(map(self.signature.size, leaves)))

    def captured_handles(self) -> list[Any]:
        """Return the leaves that were captured, each once."""
        handles = [handle for stretch in self.captured_stretches() for handle in stretch.handles]
        handles += [whole.handle for whole in self.arrays if whole.kind == "captured"]
        return list(dict.fromkeys(handles))

    def captured_stretches(self) -> list[Stretch]:
        """Return the inputs that are numbers of captured leaves, in stretches."""
        if self._stretches is None:
            self._stretches = list(stretches_of(self.captured))
        return self._stretches

    def captured_values(self) -> np.ndarray[Any, Any]:
        """Return the values of the captured leaves, as they are now."""
        return values_of(self.captured_stretches())

    def line(self, slot: int) -> str:
        """Return file:line of what recorded a slot."""
        if self._places is None:
            return self._lines[slot]
        number, instruction = self._places[slot - self._first_slot].tolist()
        return "an unknown place" if number < 0 else line_of(self._codes[number], instruction)

    def shortened(self, begin: int) -> Recording:
        """Return what is to be known of it where its gates from one on are kept elsewhere."""
        found = copy.copy(self)
        origin = self.draft.origin
        found._first_slot = int(origin[begin]) if begin < len(origin) else len(self._places)
        found._places = self._places[found._first_slot :].copy()
        found.draft = Draft(self.draft.inputs, [], [], [0], [], [], [], [], [])
        found.outcomes, found.cuts, found.outer_values, found.maps = (), None, None, []
        return found

    def run(self, leaves: Sequence[Any], lazily: Container[int]) -> None:
        """Call the function with Units and Arrays of a new trace in the place of the leaves.

        The numbers of the arrays `lazily` become inputs when they are used. What it did is kept by `finish`.
        """
        trace = Trace().open_to(self.parent)
        trace.recording, trace.forced, trace.inward, self.given = self, self.forced, self.inward, leaves
        self.scope = active_scope(engine, trace)
        self.slots, self.ends = self.scope.run(self._call, trace, leaves, lazily)
        self.outcomes = tuple(trace.outcomes)
        self.given, self.known, self.scope, trace.recording = (), (), None, None
        trace.forget_units()
        self.trace = trace

    def finish(self) -> None:
        """Make a draft of the trace, if that is not done yet."""
        trace = self.trace
        if trace is None:
            return
        self.draft, self.captured = draft_of(trace, self.slots, self.ends, list(zip(trace.guards, trace.outcomes)))
        self._stretches = None
        self.cuts = np.searchsorted(self.draft.origin, trace.decided)
        self._codes, self._places = trace.places()
        self.examples = []
        for region in trace.regions.values():
            region.forget()
        trace.forget_regions()
        self.trace, self.slots, self.ends = None, None, []

    def _call(self, trace: Trace, leaves: Sequence[Any], lazily: Container[int]) -> tuple[Any, list[Any]]:
        """Call the function, and return the slots of its inputs and outputs."""
        integers = self.signature.integers
        if set(map(type, leaves)) == {float} and not any(integers):
            variables = inputs_of(trace, list(leaves))
        else:
            variables = [_variable(trace, k, x, k in lazily, integers[k]) for k, x in enumerate(leaves)]
        given, named = self.signature.build(self.signature.as_given(variables), construct=True)
        result = self.function(*given, **named)
        ends = self._number_outputs(trace, result)  # which may use more of what is outside
        if self.parent is not None and trace.guards:  # other paths have the same inputs
            for variable in variables:
                if isinstance(variable, LazyBundle):
                    variable.inputs()
        self.outer_keys, here = trace.outer()
        self.outer_values = values_at(trace, here)
        return np.concatenate([*self._number_inputs(variables), here]), ends

    def _number_inputs(self, variables: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """Return the slots of the inputs, part by part, and remember where those of each leaf begin."""
        if set(map(type, variables)) == {Unit}:  # recorded one behind the other
            first = variables[0]._slot
            self.starts = list(range(len(variables)))
            return [np.arange(first, first + len(variables), dtype=np.int32)]
        slots: list[np.ndarray[Any, Any]] = []
        self.starts, begin = [], 0
        for variable in variables:
            used = variable is not None and not (isinstance(variable, LazyBundle) and variable._slots is None)
            self.starts.append(begin if used else -1)
            if used:
                slots.append(_slots_of(variable))
                begin += len(slots[-1])
        return slots

    def _number_outputs(self, trace: Trace, result: Any) -> list[Any]:
        leaves, self.nesting = ([None], LEAF) if result is None else flatten(result, nones=True)
        ends: list[Any] = []
        self.outputs, self.integer_outputs = [], list(map(is_whole, leaves))
        self.truth_outputs = list(map(are_truth_values, leaves))
        for i, leaf in enumerate(leaves):
            leaf = leaf.ones if isinstance(leaf, Mask) else leaf
            if isinstance(leaf, LaneBlock) and self.keeps_arrays and self._gives(trace, leaf):
                self.outputs.append((len(ends), leaf.shape))
                self.made[i] = leaf.number
                ends.append(slot_in(trace, leaf.map_unit))
                continue
            slots = slots_in(trace, leaf) if isinstance(leaf, Bundle) and leaf.slots() is not None else None
            if slots is not None:
                self.outputs.append((len(ends), leaf.shape))
                ends += slots.ends()
                continue
            if isinstance(leaf, Bundle):
                numbers, shape = list(leaf.numbers.flat), leaf.shape
            elif isinstance(leaf, engine.Array):
                numbers, shape = [leaf[place] for place in np.ndindex(leaf.shape)], leaf.shape
            elif isinstance(leaf, Unit) or is_condition(leaf):
                numbers, shape = [leaf], None
            else:
                number: Any = as_number(leaf.astype(np.float64) if _is_mask(leaf) else leaf)
                number = float(leaf) if as_flag(leaf) is not None else number
                if number is None:
                    where = f" at {self.nesting.path(i)}" if self.nesting is not LEAF else ""
                    raise TypeError(
                        f"{self.name} returned {returned(leaf)}{where}; a circuit's outputs are numbers, arrays, and "
                        "nested containers of them"
                    )
                shape = np.shape(number) or None
                numbers = [number] if shape is None else [float(x) for x in number.flat]
            self.outputs.append((len(ends), shape))
            ends += [_end(trace, number) for number in numbers]
        return ends

    def _gives(self, trace: Trace, block: LaneBlock) -> bool:
        """Whether an array is returned as it is: in a body, what stands for another one is not."""
        own = block.map_unit._tape is trace
        return own and (trace.parent is None or self.arrays[block.number].kind == "made")


def _variable(trace: Trace, k: int, leaf: Any, lazily: bool, integer: bool) -> Any:
    if type(leaf) is float:
        unit = trace._input(leaf)
        return as_integer(unit) if integer else unit
    if not isinstance(leaf, np.ndarray):
        return None  # no number: the signature knows it
    lazy = LazyBundle(trace, k, leaf, integer)
    if lazily:
        return lazy
    return Bundle(lazy.numbers) if integer else Bundle(None, lazy.inputs())


def _slots_of(variable: Any) -> np.ndarray[Any, Any]:
    """Return the slots of a number, or of the numbers of a block."""
    if isinstance(variable, Unit):
        return np.array([variable._slot], np.int32)
    if variable._slots is not None:
        return np.ravel(variable._slots.at)
    return np.array([unit._slot for unit in variable.numbers.flat], np.int32)


def _end(trace: Trace, number: Any) -> Any:
    """Return the slot of an output, or the number that it is."""
    if is_condition(number):
        number = number.unit
    if not isinstance(number, Unit):
        return float(number)
    if not belongs(number, trace):
        raise OutsideError(
            "a traced function returned a result that was computed outside of it, or in another function that is "
            "traced; pass it as an argument, or return its .value if a constant is meant"
        )
    return slot_in(trace, number)


def _is_mask(leaf: Any) -> bool:
    """Say whether a result holds truth values that depend on nothing, which count as numbers as conditions do."""
    return isinstance(leaf, np.ndarray) and leaf.dtype == np.bool_


def decides(draft: Draft) -> bool:
    """Whether a guard of a draft is anything but the check of an index, of which one outcome alone has a path."""
    return any(
        gate < draft.inputs or NAMES[int(draft.opcode[gate - draft.inputs])] != "within" for gate in draft.guards
    )


def array_here(trace: Trace, number: int) -> int:
    """Return the number of a trace's array in the recording at work, which may be of a function inside of it."""
    here = current_trace()
    return number if here is None else _array_in(here, trace, number)


def _array_in(here: Trace, trace: Trace, number: int) -> int:
    if here is trace:
        return number
    if here.parent is None:
        raise ValueError("a traced function uses an array of another one; pass it as an argument")
    number = _array_in(here.parent, trace, number)
    recording: Recording = here.recording
    outer = recording_of(here.parent)
    return recording.array_of(Whole("outer", leaf=number), outer.examples[number])


def recording_of(trace: Trace) -> Recording:
    """Return the recording of a trace whose arrays are used, while it is recorded: else Retrace."""
    recording: Recording | None = trace.recording
    if recording is None:
        if current_trace() is None:
            raise ValueError("a traced array is used where the function that computed it has returned; return it, too")
        raise Retrace("a vmap takes a path on which it uses an array that is outside of it")
    return recording


def current_trace() -> Trace | None:
    """Return the trace that is recording in this thread, if one is."""
    tape = engine.current_tape()
    return tape if isinstance(tape, Trace) else None


def innermost_scope() -> Any:
    """Return the innermost transform, or function that is recorded, that is at work in this thread."""
    return innermost.active


def record(
    f: Callable[..., Any],
    signature: Signature,
    leaves: Sequence[Any],
    dtype: np.dtype[Any],
    *,
    parent: Trace | None = None,
    lazily: Container[int] | None = None,
    keeps_arrays: bool = True,
    unrolled: bool = False,
    inward: bool = False,
    stale: bool = False,
    differentiable: bool = True,
    max_paths: int = 0,
    passes: Any = None,
    once: bool = False,
    forced: tuple[bool, ...] = (),
    known: Sequence[Sequence[Any]] = (),
    finished: bool = True,
) -> Recording:
    """Call `f` once, at these leaves, and return what it did.

    The numbers of the arrays `lazily` (by default, of all) become inputs when they are used.

    `forced` says how the first guards come out, where a circuit found out that they do not as they did before; `known`
    are points of the bodies of its maps, whose paths are recorded, too.

    What is not `finished` has no draft yet.
    """
    recording = Recording(f, signature, dtype, parent)
    recording.differentiable, recording.max_paths, recording.passes = differentiable, max_paths, passes
    recording.forced, recording.known, recording.inward, recording.stale = forced, known, inward, stale
    recording.keeps_arrays, recording.unrolled, recording.once = keeps_arrays, unrolled, once
    recording.run(leaves, range(len(leaves)) if lazily is None else lazily)
    if finished:
        recording.finish()
    reached = len(recording.outcomes) if recording.maps else len(forced)  # lanes may not reach what others decided
    if recording.outcomes[: len(forced)] != forced[:reached]:
        raise RuntimeError(
            f"{recording.name} took another way at the same arguments; what is traced or compiled must depend on "
            "nothing that changes but its arguments and the leaves that it captures"
        )
    return recording
