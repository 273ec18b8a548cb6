"""What a picture of a circuit knows: leaves, constants and gates, what is wired to what, values and gradients."""

from __future__ import annotations

import inspect
import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprop import engine, gates
from fastprop.circuits.circuit import Circuit, Run
from fastprop.circuits.signature import as_leaf
from fastprop.circuits.trace import Recording, record
from fastprop.engine.slots import every_number_by_itself
from fastprop.engine.tape import Array, Tape, Unit, depths, reached, read_gates
from fastprop.engine.trace import NAMES, apart
from fastprop.gates import Row
from fastprop.gates.blocks import GetItem
from fastprop.handles.nesting import LEAF, flatten

__all__ = ["CONSTANT", "LEAVES", "Wires", "of_circuit", "of_draft", "of_results", "of_run"]

LEAVES, CONSTANT = "leaf", "constant"
CONDITIONS = {"less", "less_equal", "equal", "not_equal", "both", "either", "not", "within"}
FLAT = [code for code, name in NAMES.items() if name in CONDITIONS]  # nothing is pulled there

# How the tape numbers what is no gate of the table.
POOLED, ELEMENT, BLOCK, INPUT, NONE = 128, 252, 253, 254, -2147483648


@dataclass
class Wires:
    """A circuit, its nodes in an order in which they can run: leaves and constants first.

    Attributes
    ----------
    kinds, kind : list of str, array of int
        What there is, and which of it each node is.
    first, operand : arrays of int
        The operands of node `i` are the nodes ``operand[first[i] : first[i + 1]]``.
    depth : array of int
        How many gates the longest way to a node has, itself included.
    value, gradient : arrays of float
        Of nodes that are numbers.
    valued, pulled : arrays of bool
        Whether a node's value, and its gradient, are known: constants and conditions have no gradient.
    arrays : dict
        Of nodes that are arrays: ``{node: (value, gradient or None)}``.
    names, symbols : dict
        What some nodes are called, and what stands for some gates in the place of their kind.
    place : array of int
        Which number of its operand, an array, a node is; -1 for other nodes.
    called, line : callable
        What an input is called, and the source line that recorded a node, "" if it is not known.
    outputs : list of int
        The results.
    """

    kinds: list[str]
    kind: NDArray[np.int64]
    first: NDArray[np.int32]
    operand: NDArray[np.int32]
    depth: NDArray[np.int64]
    value: NDArray[np.float64]
    valued: NDArray[np.bool_]
    gradient: NDArray[np.float64]
    pulled: NDArray[np.bool_]
    outputs: list[int]
    arrays: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    symbols: dict[int, str] = field(default_factory=dict)
    place: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    called: Callable[[int], str] = lambda node: ""
    line: Callable[[int], str] = lambda node: ""

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def gates(self) -> int:
        """How many gates there are."""
        return int(np.count_nonzero(self.kind > 1))

    def operands(self, node: int) -> list[int]:
        """Return the operands of a node."""
        found: list[int] = self.operand[self.first[node] : self.first[node + 1]].tolist()
        return found

    def name(self, node: int) -> str:
        """Return what a node is called, "" if it has no name."""
        return self.names.get(node) or self.called(node)

    def symbol(self, node: int) -> str:
        """Return what stands for a gate in the place of its kind, if anything does."""
        if self.place[node] < 0:
            return self.symbols.get(node, "")
        place, array = int(self.place[node]), self.arrays.get(self.operands(node)[0])
        index = (place,) if array is None else tuple(map(int, np.unravel_index(place, np.shape(array[0]))))
        return f"[{_index_text(index)}]"

    def uses(self) -> NDArray[np.int64]:
        """Return, for every operand, the node whose it is."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))


# ------------------------------------------------------------------------------------------------- results on a tape


def of_results(results: Sequence[Any], pulls: list[Any] | None) -> Wires:
    """Return the circuit of some handles, which are results of one tape or leaves; with pulls, with gradients."""
    tapes = {id(x._tape): x._tape for x in results if x._tape is not None}
    if len(tapes) > 1:
        raise ValueError("these are results of several tapes; draw each tape's in a picture of its own")
    if not tapes:
        return _of_leaves(results, pulls)
    (tape,) = tapes.values()
    on = [i for i, x in enumerate(results) if x._tape is not None]
    found = read_gates(tape, [results[i] for i in on], None if pulls is None else [pulls[i] for i in on])
    wires = _assembled(found)
    numbers = {id(owner): node for node, (owner, _, _) in enumerate(found["leaves"])}
    wires.outputs = _nodes_at(wires, found["slot"], [_slot_of(tape, results[i]) for i in on])
    wires.outputs += [numbers[id(x)] for x in results if id(x) in numbers and x._tape is None]
    return wires


def _slot_of(tape: Tape, result: Any) -> int:
    if isinstance(result, Unit):
        return result._slot
    return int(read_gates(tape, [result])["slot"][-1])


def _nodes_at(wires: Wires, slots: NDArray[np.int32], wanted: Sequence[int]) -> list[int]:
    """Return the nodes of some slots; `slots` are those of all gates, which come last."""
    found: list[int] = (np.searchsorted(slots, wanted) + len(wires) - len(slots)).tolist()
    return found


def _of_leaves(leaves: Sequence[Any], pulls: list[Any] | None) -> Wires:
    """Return the circuit of leaves alone: no gates."""
    found = _nothing()
    found["leaves"] = [
        (x, x.value, None if pulls is None else pull) for x, pull in zip(leaves, pulls or [None] * len(leaves))
    ]
    if pulls is not None:
        found["adjoint"] = np.zeros(0)
    wires = _assembled(found)
    wires.outputs = list(range(len(leaves)))
    return wires


def _nothing() -> dict[str, Any]:
    whole = {name: np.zeros(0, np.int32) for name in ("slot", "opcode", "operand", "place")}
    return {
        **whole, "first": np.zeros(1, np.int32), "value": np.zeros(0), "kept": np.zeros(0),
        "names": {}, "blocks": {}, "leaves": [],
    }  # fmt: skip


def _assembled(found: dict[str, Any]) -> Wires:
    """Return what was read of a tape as one list of nodes; each use of a constant is a node of its own."""
    operand, leaves, count = found["operand"], len(found["leaves"]), len(found["slot"])
    constant = operand == NONE
    base = leaves + int(np.count_nonzero(constant))
    nodes = np.where(constant, leaves + np.cumsum(constant) - 1, np.where(operand < 0, ~operand, operand + base))
    kinds, kind, symbols = _kinds_of(found, base)
    wires = Wires(
        kinds,
        np.concatenate([np.zeros(leaves, np.int64), np.ones(base - leaves, np.int64), kind]),
        np.concatenate([np.zeros(base, np.int32), found["first"]]).astype(np.int32),
        nodes.astype(np.int32),
        np.concatenate([np.zeros(base, np.int64), depths(found["first"], operand)]),
        np.concatenate([np.zeros(leaves), found["kept"][constant], found["value"]]),
        np.ones(base + count, np.bool_),
        np.concatenate([np.zeros(base), found.get("adjoint", np.zeros(count))]),
        np.zeros(base + count, np.bool_),
        [],
        names={base + i: name for i, name in found["names"].items()},
        symbols=symbols,
        place=np.concatenate([np.full(base, -1, np.int32), found["place"]]),
    )
    if "adjoint" in found:
        wires.pulled = wires.kind != 1
        wires.pulled[base:] &= ~np.isin(found["opcode"], FLAT)
    _put_leaves(wires, found["leaves"])
    _put_arrays(wires, found["blocks"], base)
    return wires


def _put_leaves(wires: Wires, leaves: list[Any]) -> None:
    for node, (owner, value, adjoint) in enumerate(leaves):
        if owner.name is not None:
            wires.names[node] = owner.name
        if isinstance(value, np.ndarray):
            wires.arrays[node] = value, adjoint
            continue
        wires.value[node] = value
        if adjoint is not None:
            wires.gradient[node] = adjoint


def _put_arrays(wires: Wires, blocks: dict[int, Any], base: int) -> None:
    """Note the arrays that gates give, and those among their operands that are constants, or leaves as they were."""
    for i, (_, operands, value, adjoint) in blocks.items():
        if value is not None:
            wires.arrays[base + i] = value, adjoint
        for node, number in zip(wires.operands(base + i), operands):
            if isinstance(number, np.ndarray):
                if node < base:
                    wires.arrays[node] = number, wires.arrays.get(node, (None, None))[1]
            elif wires.kind[node] == 1:
                wires.value[node] = number


def _kinds_of(found: dict[str, Any], base: int) -> tuple[list[str], NDArray[np.int64], dict[int, str]]:
    """Return the kinds of gates that there are, which each of them is, and what stands for some of them."""
    opcode = found["opcode"].astype(np.int64)
    names, symbols = [LEAVES, CONSTANT], {}
    numbers: dict[str, int] = {}  # of gates, whatever they are called

    def number(name: str) -> int:
        if name not in numbers:
            numbers[name] = len(names)
            names.append(name)
        return numbers[name]

    kind = np.zeros(len(opcode), np.int64)
    for code in np.unique(opcode[(opcode != BLOCK) & (opcode != INPUT)]).tolist():
        kind[opcode == code] = number("getitem" if code == ELEMENT else NAMES[code & ~POOLED])
    for i, (gate, operands, _, _) in found["blocks"].items():
        kind[i] = number("variable" if gate is None else name_of_gate(gate)) if gate or operands else 0
        if isinstance(gate, GetItem):
            symbols[base + i] = f"[{_index_text(gate.index)}]"
    return names, kind, symbols


def name_of_gate(gate: Any) -> str:
    """Return what a gate on arrays, or one of the user's own, is called."""
    name = str(getattr(gate, "name", None) or type(gate).__name__)
    return name.lower() if type(gate).__module__.startswith(gates.__name__) and not isinstance(gate, Row) else name


def _index_text(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return ", ".join(_part_text(part) for part in parts)


def _part_text(part: Any) -> str:
    if isinstance(part, slice):
        ends = ["" if x is None else str(x) for x in (part.start, part.stop)]
        return ":".join(ends if part.step is None else [*ends, str(part.step)])
    return "…" if part is Ellipsis or isinstance(part, np.ndarray) else str(part)


# --------------------------------------------------------------------------------------------------------- circuits


def of_circuit(circuit: Circuit, args: Sequence[Any], pull: Any) -> Wires:
    """Return a circuit at some arguments."""
    return of_run(circuit.forward(*args), pull)


def of_run(run: Run, pull: Any, swept: bool = True) -> Wires:
    """Return a circuit at the arguments of a run, whose function is called once more: that leaves a trace to read."""
    circuit, recording = run._circuit, run._circuit._recording
    if recording.function is None:
        raise TypeError(
            f"{recording.name} was pickled without its function, which gives the values; draw it without arguments"
        )
    if recording.nesting is LEAF and recording.outputs[0][1] is None and pull is None:
        pull = 1.0
    if recording.draft.payload:
        return _called(recording, run._leaves, pull if swept else None)
    with every_number_by_itself():
        again = record(recording.function, recording.signature, run._leaves, circuit.dtype, finished=False)
    trace = again.trace
    assert trace is not None
    ends = [end for end in again.ends if type(end) is not float]
    pulls = None
    if pull is not None and swept:
        given = _flat_pulls(recording, pull)
        pulls = [along for end, along in zip(again.ends, given) if type(end) is not float]
    found = read_gates(trace, [int(end) for end in ends], pulls)
    wires = _assembled(found)
    slots, base = found["slot"], len(wires) - len(found["slot"])
    wires.outputs = _nodes_at(wires, slots, [int(end) for end in ends])
    names = _Names(again, again.slots)
    wires.called = lambda node: names.of(int(slots[node - base])) if node >= base else ""
    wires.line = lambda node: trace.place(int(slots[node - base])) if wires.kind[node] > 1 else ""
    return wires


def _flat_pulls(recording: Recording, pull: Any) -> list[float]:
    """Return the pull on each number of the result, from one in its form."""
    found: list[float] = []
    for i, (leaf, (_, shape)) in enumerate(zip(recording.nesting.leaves_of(pull, "the pull"), recording.outputs)):
        name = f"the pull{recording.nesting.path(i)}"
        along = as_leaf(leaf, recording.dtype, name)
        if np.shape(along) != (shape or ()):
            raise ValueError(f"{name} has shape {np.shape(along)}; the output has {shape or ()}")
        found += np.ravel(np.asarray(along, np.float64)).tolist()
    return found


def _called(recording: Recording, leaves: Sequence[Any], pull: Any) -> Wires:
    """Return the circuit that a call with handles records: a map in it, and what is on arrays, are one gate each."""
    signature, names = recording.signature, _leaf_names(recording)
    with engine.Tape():
        handles = [_handle(leaf, name, own) for leaf, name, own in zip(leaves, names, signature.call_form.dtypes)]
        given, named = signature.build(handles, construct=True)
        results = flatten(recording.function(*given, **named), nones=True)[0]
        if pull is not None:
            _flat_pulls(recording, pull)
        pulls = [None] * len(results) if pull is None else recording.nesting.leaves_of(pull, "the pull")
        kept = [(x, along) for x, along in zip(results, pulls) if isinstance(x, (Unit, Array))]
        return of_results([x for x, _ in kept], None if pull is None else [along for _, along in kept])


def _handle(leaf: Any, name: str, own: Any) -> Any:
    """Return a leaf of the arguments as a Unit or an Array; integers, masks, and what is no number, as they are."""
    if own is not None and own.kind in "iub":
        return int(leaf) if np.ndim(leaf) == 0 else np.asarray(leaf).astype(own)
    if type(leaf) is float:
        return Unit(leaf, name=name)
    return Array(leaf, name=name) if isinstance(leaf, np.ndarray) else leaf


def _leaf_names(recording: Recording) -> list[str]:
    """Return what the leaves of the arguments are called in the function: ``w[0]``."""
    signature = recording.signature
    try:
        parameters = list(inspect.signature(recording.function).parameters)
    except (TypeError, ValueError):  # what is compiled, or gone
        parameters = []
    found = []
    for position, index in signature.places:
        known = isinstance(position, int) and position < len(parameters)
        name = parameters[position] if known else f"argument {position}"  # type: ignore[index]
        found.append(f"{name}{signature.nesting_of(position).path(index)}")
    return found


class _Names:
    """What the inputs of a recording are called; they are numbered, or known by these slots."""

    def __init__(self, recording: Recording, slots: Any = None):
        self.recording, self.slots = recording, slots
        used = [(start, leaf) for leaf, start in enumerate(recording.starts) if start >= 0]
        self.starts = sorted(used)

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The number of the input at each slot."""
        return {int(slot): k for k, slot in enumerate(self.slots)}

    @cached_property
    def leaves(self) -> list[str]:
        """What the leaves are called."""
        return _leaf_names(self.recording)

    def of(self, slot: int) -> str:
        """Return the name of what is at a slot, or of the input of this number; "" if it is no input."""
        k = slot if self.slots is None else self.numbers.get(slot, -1)
        at = bisect(self.starts, (k, len(self.recording.starts))) - 1
        if k < 0 or at < 0:
            return ""
        start, leaf = self.starts[at]
        shape = self.recording.signature.shapes[leaf]
        if shape is None:
            return self.leaves[leaf] if k == start else ""
        if k - start >= math.prod(shape):
            return ""
        index = tuple(map(int, np.unravel_index(k - start, shape)))
        return f"{self.leaves[leaf]}[{_index_text(index)}]"


def _region_text(region: Any) -> str:
    """Return what a region is: a map, a scan, or a gate of the user's own by its name."""
    kind = type(region).__name__
    return kind.removeprefix("Recorded").lower() if kind.startswith("Recorded") else str(getattr(region, "name", kind))


def of_draft(circuit: Circuit) -> Wires:
    """Return a circuit as it was recorded, without values."""
    recording = circuit._recording
    draft, inputs = apart(recording.draft), recording.draft.inputs
    first = np.concatenate([np.zeros(inputs, np.int32), draft.first]).astype(np.int32)
    outputs = [int(x) for x in draft.outputs if x >= 0]
    kept = np.flatnonzero(reached(first, draft.operand, outputs))
    found = _nothing()
    moved = np.full(inputs + len(draft), NONE, np.int32)
    moved[kept] = np.arange(len(kept))
    counts = np.diff(first)
    operand = draft.operand[np.repeat(moved != NONE, counts)]
    constant = operand < 0
    found["operand"] = np.where(constant, NONE, moved[np.where(constant, 0, operand)]).astype(np.int32)
    found["first"] = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int32)
    found["slot"] = kept.astype(np.int32)
    found["opcode"] = np.concatenate([np.full(inputs, INPUT, np.uint8), draft.opcode])[kept]
    found["place"], found["value"] = np.full(len(kept), -1, np.int32), np.zeros(len(kept))
    found["kept"] = np.zeros(len(operand))
    found["kept"][constant] = draft.constants[~operand[constant]]
    wires = _assembled(found)
    base = len(wires) - len(kept)
    wires.valued[base:] = False
    for i, region in draft.payload.items():
        if moved[inputs + i] != NONE:
            wires.symbols[base + int(moved[inputs + i])] = _region_text(region)
    wires.outputs = [base + int(moved[x]) for x in outputs]
    for k, (handle, at) in enumerate(recording.captured, recording.own_inputs):
        if handle.name is not None and moved[k] != NONE:
            wires.names[base + int(moved[k])] = handle.name + (f"[{at}]" if at >= 0 else "")
    names = _Names(recording)
    wires.called = lambda node: names.of(int(kept[node - base])) if base <= node and kept[node - base] < inputs else ""
    if recording.function is not None:  # a pickle keeps no lines
        origin, begin = draft.origin[kept[kept >= inputs] - inputs], base + int(np.count_nonzero(kept < inputs))
        wires.line = lambda node: recording.line(int(origin[node - begin])) if node >= begin else ""
    return wires
