"""Sweeps that are recorded: the chain rule written with gates, so that derivatives have derivatives.

Both walk a snapshot of a tape, `tape._steps(outputs, variables)`: the gates on the paths from the variables to the
outputs, newest first, with their operands as handles or plain constants. Partials are the rows of the table applied to
these operands, so whatever meets a handle on the way is recorded; plain numbers stay plain, and exact zeros and factors
of one leave no trace on the tape.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.bundle import Bundle, object_array
from fastprop.engine.parts import Parts
from fastprop.engine.tape import Trace, Unit
from fastprop.gates.blocks import GetItem, Scatter, Stack, broadcast_to, unbroadcast
from fastprop.handles.nesting import is_handle, shape_of
from fastprop.handles.operands import gate_tangent, pulls_of

__all__ = ["pull_back", "push_forward", "push_forward_together", "work_of_tangents"]

SEVERAL = 4  # tangents from which on their products with a partial are recorded at once
SUMS = (gates.sum, gates.mean, gates.dot)
ALIKE = 8  # rows of one kind that follow each other, from which on they are recorded as a block


def pull_back(snapshot: Any, pulls: Sequence[Any]) -> list[Any]:
    """Sweep backward with gates: the gradient of each variable, None where no path leads."""
    output_keys, variable_keys, steps = snapshot
    adjoints: dict[int, Any] = {}
    numbers: dict[int, _Numbers] = {}
    for key, pull in zip(output_keys, pulls):
        _accumulate(adjoints, key, pull)
    variables = set(variable_keys)
    with np.errstate(all="ignore"):  # NaN and infinity propagate silently, in arrays as in numbers
        for alike in _alike_in_turn(steps, lambda step: _kinds_backward(step, adjoints, numbers)):
            if len(alike) >= ALIKE:
                _pull_alike(alike, adjoints, variables)
                continue
            for key, gate, operands, keys in alike:
                if key in numbers:
                    _accumulate(adjoints, key, numbers.pop(key).stacked())
                pull = adjoints.get(key) if key in variables else adjoints.pop(key, None)
                if pull is None:
                    continue
                if _is_number_of_array(gate, pull):
                    numbers.setdefault(keys[0], _Numbers(operands[0])).add(gate.index, pull)
                    continue
                pulled: Any = _row_pulls if isinstance(gate, gates.Row) else _gate_pulls
                if hasattr(gate, "recorded_pulls"):
                    pulled = _parts_pulls
                elif isinstance(pull, Parts):  # of an array, through its alias
                    pulled = _passed_on
                for operand_key, contribution in zip(keys, pulled(gate, pull, operands, keys)):
                    _accumulate(adjoints, operand_key, contribution)
        for key, those in numbers.items():
            _accumulate(adjoints, key, those.stacked())
    return [adjoints.get(key) for key in variable_keys]


class _Numbers:
    """What is pulled on single numbers of an array, until all is there: then it is one array, not one for each."""

    def __init__(self, array: Any):
        self.shape = shape_of(array)
        self.pulls: dict[int, Any] = {}  # place -> their sum

    def add(self, index: tuple[int, ...], pull: Any) -> None:
        """Add a pull on the number at an index."""
        _accumulate(self.pulls, int(np.ravel_multi_index(index, self.shape)), pull)

    def stacked(self) -> Any:
        """Return the pull on the array."""
        if not self.pulls:
            return None
        index = np.unravel_index(list(self.pulls), self.shape)
        return Scatter(self.shape, index)(Stack((len(self.pulls),))(*self.pulls.values()))


def _is_number_of_array(gate: Any, pull: Any) -> bool:
    """Say whether a gate takes a single number out of an array, as the tape records it."""
    if type(gate) is not GetItem or not isinstance(gate.index, tuple) or isinstance(pull, Parts):
        return False
    return shape_of(pull) == () and all(type(i) is int and i >= 0 for i in gate.index)


def push_forward(snapshot: Any, directions: Sequence[Any]) -> list[Any]:
    """Sweep forward with gates: the tangent of each output, None where no path leads."""
    along = [{} if direction is None else {0: direction} for direction in directions]
    return [tangents.get(0) for tangents in push_forward_together(snapshot, along)]


def push_forward_together(snapshot: Any, directions: Sequence[dict[int, Any]]) -> list[dict[int, Any]]:
    """Sweep forward with gates along several directions at once: the tangents of each output, by the direction.

    `directions` says of each variable what its tangents are, by the direction; there are none along the others.
    Partials are there once, a map is pushed along all directions by one map, and rows that are alike are one block.
    """
    output_keys, variable_keys, steps = snapshot
    tangents: dict[int, dict[int, Any]] = {}
    for key, along in zip(variable_keys, directions):
        for d, direction in along.items():
            _accumulate(tangents.setdefault(key, {}), d, direction)
    with np.errstate(all="ignore"):
        for alike in _alike_in_turn(steps[::-1], lambda step: _kinds_forward(step, tangents)):
            if len(alike) >= ALIKE:
                _push_alike(alike, tangents)
                continue
            for key, gate, operands, keys in alike:
                arriving = [_nothing if k is None else tangents.get(k, _nothing) for k in keys]
                found = tangents.get(key)
                if found:  # a variable, along these
                    arriving = [{d: tangent for d, tangent in along.items() if d not in found} for along in arriving]
                if any(arriving):
                    _put_tangents(tangents, key, _tangents_of(gate, arriving, operands))
    return [tangents.get(key, {}) for key in output_keys]


def _put_tangents(tangents: dict[int, dict[int, Any]], key: int, found: dict[int, Any]) -> None:
    """Note the tangents of a result."""
    own = tangents.setdefault(key, {})
    for d, tangent in found.items():
        _accumulate(own, d, tangent)


# rows that are alike: as arrays are recorded, the same row for one number after the other


def _alike_in_turn(steps: Sequence[Any], kinds_of: Callable[[Any], Any]) -> Iterator[Sequence[Any]]:
    """Yield gates that follow each other and are one row, on numbers of the same kinds, none on another; else each.

    `kinds_of` is asked when all gates before these have been swept; where it returns None, a gate is by itself.
    """
    begin = 0
    while begin < len(steps):
        key, gate, _, keys = steps[begin]
        kinds, end = kinds_of(steps[begin]) if _goes_for_arrays(gate) else None, begin + 1
        results, read = {key}, set(keys)
        while kinds is not None and end < len(steps) and steps[end][1] is gate:
            key, _, _, keys = steps[end]
            if key in read or not results.isdisjoint(keys) or kinds_of(steps[end]) != kinds:
                break
            results.add(key)
            read.update(keys)
            end += 1
        yield steps[begin:end]
        begin = end


def _goes_for_arrays(gate: Any) -> bool:
    """Whether the partials of a gate of numbers are what they are for arrays, too."""
    if not isinstance(gate, gates.Row) or gate.arity == gates.SEQUENCE:
        return gate in SUMS
    return gate.partials[0] is not None  # nothing is chosen by a truth value


def _kind(x: Any) -> Any:
    """Return of what kind a pull or tangent is: a plain number itself, that of numbers of a trace, or None."""
    if type(x) is float:
        return x
    return Unit if type(x) is Unit and isinstance(x._tape, Trace) else None


def _kinds_of_operands(operands: Sequence[Any]) -> list[Any] | None:
    """Return of what kinds operands are, if they are plain numbers or numbers of a trace."""
    kinds = [float if type(x) is float else _kind(x) for x in operands]
    return None if None in kinds else kinds


def _kinds_forward(step: Any, tangents: dict[int, dict[int, Any]]) -> Any:
    """Return of what kinds operands and their tangents are; None if the gate is to be pushed through by itself."""
    key, _, operands, keys = step
    kinds = None if tangents.get(key) else _kinds_of_operands(operands)
    if kinds is None:
        return None
    for p, k in enumerate(keys):
        for d, tangent in (_nothing if k is None else tangents.get(k, _nothing)).items():
            kind = _kind(tangent)
            if kind is None:
                return None
            kinds.append((p, d, kind))
    return kinds


def _kinds_backward(step: Any, adjoints: dict[int, Any], numbers: dict[int, Any]) -> Any:
    """Return of what kinds operands and the pull are; None if the gate is to be pulled by itself."""
    key, _, operands, keys = step
    kinds = None if key in numbers or key not in adjoints else _kinds_of_operands(operands)
    if kinds is None or _kind(adjoints[key]) is None:
        return None
    return [*kinds, type(adjoints[key]), *[k is None for k in keys]]


def _pull_alike(alike: Sequence[Any], adjoints: dict[int, Any], variables: set[int]) -> None:
    """Pull on the operands of rows that are alike, which are recorded as a block."""
    _, gate, _, first = alike[0]
    operands = [_column(part) for part in zip(*[operands for _, _, operands, _ in alike])]
    pulls = [adjoints[key] if key in variables else adjoints.pop(key) for key, _, _, _ in alike]
    pull = np.array(pulls) if type(pulls[0]) is float else Bundle(object_array(pulls, (len(pulls),)))
    for part, operand, keys in zip(_row_pulls(gate, pull, operands, first), operands, zip(*[s[3] for s in alike])):
        if part is not None and shape_of(operand) == ():  # one that is the same for all
            _accumulate(adjoints, keys[0], part)
        elif part is not None:
            _accumulate_each(adjoints, keys, _each_of(part, len(alike)))


def _accumulate_each(sums: dict[int, Any], keys: Sequence[int | None], terms: Sequence[Any]) -> None:
    """Add terms to the sums at their keys, those of numbers of a trace as one block."""
    waiting: dict[int, Any] = {}
    for key, term in zip(keys, terms):
        if key in waiting or key not in sums or _kind(term) is not Unit or _kind(sums[key]) is not Unit:
            _accumulate(sums, key, term)
        else:
            waiting[key] = term
    if len(waiting) < ALIKE:
        for key, term in waiting.items():
            _accumulate(sums, key, term)
        return
    before = [sums[key] for key in waiting]
    total = Bundle(object_array(before, (len(before),))) + Bundle(object_array([*waiting.values()], (len(before),)))
    sums.update(zip(waiting, _each_of(total, len(before))))


def _push_alike(alike: Sequence[Any], tangents: dict[int, dict[int, Any]]) -> None:
    """Push forward through rows that are alike, which are recorded as a block."""
    _, gate, _, first = alike[0]
    operands = tuple([_column(part) for part in zip(*[operands for _, _, operands, _ in alike])])
    arriving: list[dict[int, Any]] = []
    for k, column in zip(first, zip(*[keys for _, _, _, keys in alike])):
        along = _nothing if k is None else tangents.get(k, _nothing)
        arriving.append({d: _column([tangents[key][d] for key in column]) for d in along})
    if not any(arriving):
        return
    found = _tangents_of(gate, arriving, operands)
    parts = {d: _each_of(part, len(alike)) for d, part in found.items()}
    for i, (key, _, _, _) in enumerate(alike):
        tangents[key] = {d: numbers[i] for d, numbers in parts.items() if type(numbers[i]) is not float or numbers[i]}


def _column(items: Sequence[Any]) -> Any:
    """Return numbers as an array, or as the one number that they all are."""
    if all(item is items[0] for item in items):
        return items[0]
    if all(type(item) is float for item in items):
        return np.array(items)
    return Bundle(object_array(list(items), (len(items),)))


def _each_of(x: Any, n: int) -> list[Any]:
    """Return the n numbers of a block, or so many times the one number that it is."""
    if shape_of(x) == ():
        return [x] * n
    return (x.numbers if isinstance(x, Bundle) else x).tolist()  # type: ignore[no-any-return]


_nothing: dict[int, Any] = {}


def _tangents_of(gate: Any, arriving: Sequence[dict[int, Any]], operands: tuple[Any, ...]) -> dict[int, Any]:
    """Return the tangents of a gate's result by the direction, from those of its operands."""
    if gate is gates.positive:
        return arriving[0]
    if isinstance(gate, gates.Row):
        found: dict[int, Any] = {}
        for along, partial in zip(arriving, _partials(gate, operands, [along or None for along in arriving])):
            for d, part in _products(along, partial).items():
                _accumulate(found, d, part)
        shape = _shape_of_row(gate, operands)
        return {d: broadcast_to(part, shape) for d, part in found.items()} if shape else found
    reached = dict.fromkeys(d for along in arriving for d in along)
    apart = [tuple([along.get(d) for along in arriving]) for d in reached]
    if hasattr(gate, "recorded_tangents"):
        return dict(zip(reached, gate.recorded_tangents(apart, operands)))
    if hasattr(gate, "recorded_tangent"):
        return {d: gate.recorded_tangent(each, operands) for d, each in zip(reached, apart)}
    return {d: gate_tangent(gate, tuple(map(_of_first_result, each)), operands) for d, each in zip(reached, apart)}


def _products(tangents: dict[int, Any], partial: Any) -> dict[int, Any]:
    """Return tangents, by the direction, times a partial: those that are numbers of a trace at once."""
    parts = {d: _of_first_result(tangent) for d, tangent in tangents.items()}
    units = [d for d, part in parts.items() if type(part) is Unit and isinstance(part._tape, Trace)]
    if len(units) < SEVERAL or type(partial) is not Unit:
        return {d: _product(part, partial) for d, part in parts.items()}
    made = gates.strong_multiply(Bundle(object_array([parts.pop(d) for d in units], (len(units),))), partial)
    return {**dict(zip(units, made.numbers)), **{d: _product(part, partial) for d, part in parts.items()}}


def work_of_tangents(snapshot: Any, directions: Sequence[dict[int, Any]], most: float) -> float:
    """Return how many gates it takes, about, to push forward along several directions at once; infinite: too many.

    Along each of them, those are met that its variables reach.
    """
    _, variable_keys, steps = snapshot
    reached: dict[int, int] = {}  # key -> the directions along which it moves, a bit for each
    work = 0.0
    for key, along in zip(variable_keys, directions):
        reached[key] = reached.get(key, 0) | sum(1 << d for d in along)
    for key, gate, _, keys in reversed(steps):
        moving = [0 if k is None else reached.get(k, 0) for k in keys]
        if hasattr(gate, "work_of_tangents"):
            work += gate.work_of_tangents(moving)
        elif isinstance(gate, gates.Row):
            work += sum(map(int.bit_count, moving))
        else:
            work += int.bit_count(functools.reduce(operator.or_, moving, 0)) * getattr(gate, "tangent_work", math.inf)
        if work > most:
            return math.inf
        reached[key] = functools.reduce(operator.or_, moving, reached.get(key, 0))
    return work


def _accumulate(sums: dict[int, Any], key: int | None, term: Any) -> None:
    """Add a pull or tangent to the sum at a key; an exact zero adds nothing."""
    if key is None or term is None:
        return
    if isinstance(term, Parts) or isinstance(sums.get(key), Parts):
        own = Parts({})  # not the term itself: it may be another's, and many terms are not to be copied each time
        if not isinstance(sums.get(key), Parts):
            if key in sums:
                own.add(sums[key])
            sums[key] = own
        sums[key].add(term)
    elif not _is_zero(term):
        sums[key] = sums[key] + term if key in sums else term


def _is_zero(x: Any) -> bool:
    """Whether `x` is plainly zero: for good, not because of the values at hand."""
    return not is_handle(x) and not (x if type(x) is float else np.any(x))


def _parts_pulls(gate: Any, pull: Any, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Any]:
    """Return what a gate of many results pulls on each operand that has a key."""
    found: list[Any] = gate.recorded_pulls(Parts.of(pull), operands, [key is not None for key in keys])
    return found


def _passed_on(gate: Any, pull: Any, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Any]:
    """Return the pull as it is: what stands for an array has one operand."""
    return [pull]


def _of_first_result(tangent: Any) -> Any:
    """Return the tangent of a number; of a gate of many results, which stands for its first one, that of this."""
    return tangent.found.get(0) if isinstance(tangent, Parts) else tangent


def _row_pulls(row: gates.Row, pull: Any, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Any]:
    """Return what a row of the table pulls on each operand that has a key."""
    pulls = []
    for partial, operand in zip(_partials(row, operands, keys), operands):
        part = _product(pull, partial)
        if part is not None and shape_of(part) != shape_of(operand):
            part = unbroadcast(part, shape_of(operand))
        pulls.append(part)
    return pulls


def _shape_of_row(row: gates.Row, operands: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of a row's result."""
    return () if row.arity == gates.SEQUENCE else np.broadcast_shapes(*map(shape_of, operands))


def _partials(row: gates.Row, operands: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """Return the partials of a row, recorded where operands are handles; None of an operand that is not wanted."""
    if row.arity == gates.SEQUENCE:
        return [None if want is None else partial for partial, want in zip(row.partials(operands), wanted)]
    pairs = zip(row.partials, wanted)  # what is chosen by has no partial, though a path may lead through truth values
    return [None if want is None or partial is None else partial(*operands) for partial, want in pairs]


def _product(pull: Any, partial: Any) -> Any:
    """Return a pull (or tangent) times a partial; None if nothing comes through, whatever the other one is."""
    if pull is None or partial is None or _is_zero(pull) or _is_zero(partial):
        return None
    if not is_handle(partial) and shape_of(partial) == () and partial == 1.0:
        return pull
    if not is_handle(pull) and shape_of(pull) == () and pull == 1.0:
        return partial
    return gates.strong_multiply(pull, partial)


def _gate_pulls(gate: gates.Gate, pull: Any, operands: Sequence[Any], _: Any) -> Sequence[Any]:
    """Return what a gate of arrays, or of the user's own, pulls on its operands."""
    pulls = pulls_of(gate, pull, operands)
    for position, (pulled, operand) in enumerate(zip(pulls, operands)):
        if pulled is not None and shape_of(pulled) != shape_of(operand):
            raise ValueError(
                f"{gate.name}.backward: the pull on operand {position} has shape {shape_of(pulled)}; "
                f"expected {shape_of(operand)}"
            )
    return pulls
