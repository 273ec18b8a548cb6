"""vmap under trace: a region that runs a body at every lane, and how it is recorded."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.circuits.derived import Packed, Unpacked, swept_map
from fastprop.circuits.lanes import Asked
from fastprop.circuits.recorded_map import Given, Grown, RecordedMap
from fastprop.circuits.signature import Signature, lane_signature, positions_of, scale_of
from fastprop.circuits.trace import (
    LazyBundle,
    Recording,
    Whole,
    current_trace,
    decides,
    innermost_scope,
    recording_of,
)
from fastprop.circuits.unrolling import MIXED, lane_by_lane
from fastprop.derivatives.swept import may_sweep
from fastprop.engine.bundle import Bundle, LaneBlock, lane_block, let_lane_blocks
from fastprop.engine.masks import as_ones, as_truths
from fastprop.engine.run import Kind, MapRun, sources
from fastprop.engine.slots import Slots, every_slot, inward, slots_in, unit_at
from fastprop.engine.tape import CONSTANT, Unit, record_region
from fastprop.engine.trace import region_gate, uses_of_inputs, varying_gates
from fastprop.handles.indexing import OutOfRangeError, is_integer
from fastprop.handles.nesting import LEAF, as_number, described, flatten, is_handle

__all__ = [
    "RecordedMap",
    "example_of",
    "flat_leaves",
    "is_array_here",
    "record_map",
    "result_arrays",
    "results_of",
    "take_leaves",
]

OFTEN = 8  # uses of each number in a lane, on average

# Recording ------------------------------------------------------------------------------------------------------------


def record_map(
    f: Callable[..., Any],
    name: str,
    args: Sequence[Any],
    in_axes: Any,
    reduce: str | None,
    kwargs: Mapping[str, Any] | None = None,
    sweeps: bool = True,
) -> Any:
    """Record a vmap on the current trace; returns Units (reduced), or LaneBlocks.

    If it `sweeps`, a map of `grad(f)` is one of f whose lanes are run backward.
    """
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if outer.unrolled:
        return lane_by_lane(f, name, args, in_axes, reduce, kwargs)
    one, axes, lanes = lane_signature(name, args, in_axes, (), kwargs)
    plain = reduce is None and innermost_scope() is outer.scope and not trace.inward
    kind = _gradient_kind(f, outer) if plain and sweeps else None
    region = RecordedMap(kind[1] if kind else f, name, lanes, one, trace, record_map)
    region.scale, region.gradients = scale_of(reduce, lanes), kind is not None
    region.reduce, region.keeps_arrays = reduce, reduce in (None, MIXED)
    leaves = take_leaves(region, flat_leaves(one, args, kwargs), axes)
    examples = [() if k in one.fixed else example_of(leaf, axes[k], outer) for k, leaf in enumerate(leaves)]
    point = np.concatenate([np.zeros(0), *[np.ravel(x).astype(np.float64) for x in examples]])
    recording = _first_path(region, outer, point)
    if outer.parent is not None and decides(recording.draft):  # a map in a map has one path
        return lane_by_lane(f, name, args, in_axes, reduce, kwargs)
    region.in_turn = region.takes_turns()
    if kind and (region.in_turn or not (outer.once or _sweeps_well(region, kind, recording))):
        # then each lane has its own sweep, for which the body is recorded again
        found = record_map(f, name, args, in_axes, reduce, kwargs, sweeps=False)
        if not region.in_turn:
            _remember(region, kind, found, trace)
        return found
    if kind:
        _give_gradients(region, kind, recording)
    else:
        region.outputs = len(recording.draft.outputs)
        if reduce in (None, MIXED):
            parts = recording.nesting.children
            sums = parts[0].size if parts and reduce == MIXED else 0
            region.value_arrays = result_arrays(recording, outer, lanes, sums)
        region.summed = any(a < 0 for a, _ in region.value_arrays) or not region.keeps_arrays
    region.bind_arrays(recording, outer)
    values = _run_examples(region, outer)
    region.settle()
    first = record_region(trace, region, region.operands.slots, values)
    if kind:
        return _gradient_blocks(region, kind, unit_at(trace, first), outer)
    return results_of(recording, region, first)


def _made(outer: Recording, lanes: int, shape: tuple[int, ...] | None) -> int:
    """Return the number of an array that a map makes."""
    whole = Whole("made", shape=(lanes, *(shape or ())))
    return outer.array_of(whole, None)


def result_arrays(recording: Recording, outer: Recording, lanes: int, sums: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the array that each leaf of the result becomes, -1 for the first `sums`, and its shape in a lane."""
    made: dict[int, int] = {}  # array of the body -> array outside
    found = []
    for k, (_, shape) in enumerate(recording.outputs):
        if k < sums:
            found.append((-1, shape or ()))
            continue
        a = made.get(recording.made.get(k, -1))
        if a is None:
            a = _made(outer, lanes, shape)
            if k in recording.made:
                made[recording.made[k]] = a
        found.append((a, shape or ()))
    return found


def _gradient_kind(f: Any, outer: Recording) -> Any:
    """Return what `grad` or `value_and_grad` made of a function, if the body can be swept without recording it."""
    kind = getattr(f, "__fastprop__", None)
    if kind is None or outer.differentiable or kind[0] not in ("grad", "value_and_grad") or kind[3]:
        return None
    return kind


def _differentiated(region: RecordedMap, kind: Any) -> list[int]:
    """Return the leaves of the arguments by which a map of gradients differentiates, in order."""
    one = region.signature
    return [k for place in positions_of(kind[2], one.count, region.name)[0] for k in one.leaves_of_argument(place)]


def _sweeps_well(region: RecordedMap, kind: Any, recording: Recording) -> bool:
    """Say whether lanes are better run backward than given a sweep each, whose products of matrices are such.

    That is where ways part, and where numbers that are the same in all lanes are used over and over in each, as those
    of a convolution: what comes of these is added up as it comes.
    """
    draft, one = recording.draft, region.signature
    if decides(draft):
        return True
    uses = uses_of_inputs(draft)
    leaves = _differentiated(region, kind)
    found = [
        uses[begin : begin + one.size(k)]
        for k in leaves
        if region.axes[k] is None and (begin := recording.starts[k]) >= 0
    ]
    return bool(sum(map(np.sum, found)) > OFTEN * sum(map(len, found)))


def _remember(region: RecordedMap, kind: Any, found: Any, trace: Any) -> None:
    """Let a map whose lanes have a sweep each know the one whose lanes are run backward, for sums of what it makes."""
    blocks = flatten(found, nones=True)[0]
    if not all(isinstance(block, LaneBlock) and block.map_unit._tape is trace for block in blocks):
        return
    leaves = _differentiated(region, kind)
    numbers = [block.number for block in blocks]
    if kind[0] == "value_and_grad":
        region.value_arrays = [(numbers.pop(0), ())]
    own = trace.regions.get(blocks[0].map_unit._slot) if blocks else None
    if type(own) is RecordedMap and len(numbers) == len(leaves):
        region.gradient_arrays, own.swept = list(zip(leaves, numbers)), region


def _run_examples(region: RecordedMap, outer: Recording) -> list[float]:
    """Run a map where it is recorded; returns the sums, and lets the arrays that it makes have examples."""
    arrays = outer.example_arrays()
    sums: list[float]
    outer.maps.append(region)
    while True:
        before = len(region.operands)
        region.seal(before)
        run = MapRun(region, arrays, np.zeros(before, np.uint8), ())
        try:
            sums = run.run_at(region.operands.values())
            break
        except Grown:
            continue
        except Asked:
            outer.maps.remove(region)  # which is recorded anew, with what it asks for
            raise
    for a in region.makes:
        outer.examples[a] = arrays.values[a]
    return sums


def _first_path(region: RecordedMap, outer: Recording, point: np.ndarray[Any, Any]) -> Recording:
    """Record the paths that were known when the function around the map was recorded before, else that of a point."""
    known = outer.known[len(outer.maps)] if len(outer.maps) < len(outer.known) else []
    if not all(len(other) == len(point) for other in known):
        known = []
    try:
        recording = region.grow_from(known[0] if known else point)
    except OutOfRangeError:
        if not known:
            raise
        recording = region.grow_from(point)
    for other in known[1:]:
        if not region.body.full:
            with contextlib.suppress(OutOfRangeError):  # what is wrong with an outer index on a way that no lane may go
                region.keep(other)
    return recording


def results_of(recording: Recording, region: RecordedMap, first: int) -> Any:
    """Return the outputs, summed (from one slot on) or as arrays, in the form of the body's result."""
    parts: list[Any] = []
    alike = not decides(recording.draft)  # then no other path gives numbers where this one gives truth values
    for k, (start, shape) in enumerate(recording.outputs):
        a = region.value_arrays[k][0] if region.value_arrays else -1
        if a >= 0:
            block = lane_block(unit_at(region.trace, first), a, (region.lanes, *(shape or ())))
            block.is_same = functools.partial(_is_same, recording, region.axes, start, math.prod(shape or ()))
            truths = alike and recording.truth_outputs[k]
            parts.append(block.as_integers() if region.integers[k] else as_truths(block) if truths else block)
        elif shape is None:
            parts.append(unit_at(region.trace, first + start))
        else:
            at = np.arange(first + start, first + start + math.prod(shape), dtype=np.int32)
            parts.append(Bundle(None, Slots(region.trace, at.reshape(shape))))
    return recording.nesting.unflatten(parts)


def _is_same(recording: Recording, axes: Sequence[int | None], start: int, size: int) -> bool:
    """Say whether numbers of a body's result hang on nothing that varies from lane to lane, as far as that is known."""
    if decides(recording.draft):
        return False
    draft, varies = recording.draft, np.zeros(recording.draft.inputs, np.bool_)
    for k, begin in enumerate(recording.starts):
        if begin >= 0 and axes[k] is not None:
            varies[begin : begin + recording.signature.size(k)] = True
    known = np.concatenate([varies, varying_gates(draft, varies).astype(np.bool_)])
    slots = draft.outputs[start : start + size]
    return not known[slots[slots >= 0]].any()


def flat_leaves(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> list[Any]:
    """Return the leaves of arguments, those that are numbers as handles, floats and arrays, or raise."""
    found = signature.taken_apart(args, kwargs)
    for k, leaf in enumerate(found):
        if k in signature.fixed:
            continue
        if signature.truths[k]:  # as numbers, of which the body makes truth values again
            leaf = as_ones(leaf)
        number = leaf if is_handle(leaf) else as_number(leaf)
        if number is None:
            raise TypeError(f"{signature.name(k)} is {described(leaf)}; vmap takes numbers, arrays, Units and Arrays")
        plain_integers = is_integer(leaf) and not is_handle(leaf)
        found[k] = np.array(leaf)[()] if plain_integers else number  # derivatives of the map are given it again
    return found


def example_of(leaf: Any, axis: int | None, outer: Recording) -> Any:
    """Return the values of a leaf at the first lane."""
    values: Any
    if isinstance(leaf, LaneBlock):
        values = recording_of(leaf.map_unit._tape).examples[leaf.number]
    elif isinstance(leaf, LazyBundle):
        values = leaf.given
    elif isinstance(leaf, Bundle):
        values = leaf.recorded()
    elif isinstance(leaf, Unit):
        return leaf._recorded
    else:
        values = leaf.value if is_handle(leaf) else leaf
    if axis is None:
        return values
    shape = (*np.shape(values)[:axis], *np.shape(values)[axis + 1 :])
    if np.shape(values)[axis] == 0:
        return np.zeros(shape) if shape else 0.0
    picked = np.take(values, 0, axis)
    return picked if shape else float(picked)


def take_leaves(region: RecordedMap, leaves: Sequence[Any], axes: Sequence[int | None]) -> list[Any]:
    """Say where the leaves of the body's arguments come from; returns them, numbers that are mapped as an array."""
    found = [_packed(x) if _is_loose(x) and axis is not None else x for x, axis in zip(leaves, axes)]
    arrays = [_whole(region, leaf, axis) for leaf, axis in zip(found, axes)]
    region.take_leaves(list(region.signature.shapes), arrays, [-1 if axis is None else axis for axis in axes])
    for k, (leaf, a) in enumerate(zip(found, arrays)):
        region.leaves.append(None if a >= 0 else _numbers(region, leaf))
        if a >= 0 and getattr(leaf, "map_unit", None) is not None:
            region.leaf_operand[k] = region.operands.number(leaf.map_unit)
    region.given, region.axes = found, list(axes)
    return found


def _is_loose(x: Any) -> bool:
    """Say whether a leaf is a block of numbers, which is no array yet."""
    return isinstance(x, Bundle) and not isinstance(x, (LaneBlock, LazyBundle))


def _whole(region: RecordedMap, leaf: Any, axis: int | None) -> int:
    """Return the number of the array that a leaf is, if it is read as a whole; else -1."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    if isinstance(leaf, (LaneBlock, LazyBundle)):
        return leaf.array()
    if axis is None:
        return -1
    if is_handle(leaf):
        return outer.array_of(Whole("captured", handle=leaf), np.asarray(leaf.value, region.dtype))
    constant = np.ascontiguousarray(leaf, region.dtype)
    return outer.array_of(Whole("constant", values=constant), constant)


def is_array_here(x: Any) -> bool:
    """Say whether a handle is an array of a recording that is under way, which maps do well to read as a whole.

    Of a body's own arrays they don't: it is run in many lanes at once, and so are the sums of their derivatives then.
    """
    if not isinstance(x, (LaneBlock, LazyBundle)):
        return False
    home, here = x.home if isinstance(x, LazyBundle) else x.map_unit._tape, current_trace()
    if here is home and here is not None and here.recording.parent is not None:
        return False
    while here is not None and here is not home:
        here = here.parent
    return here is not None


def _packed(bundle: Bundle) -> LaneBlock:
    """Record that a block of numbers becomes an array, which maps can read."""
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    slots = every_slot(trace, bundle)
    a = outer.array_of(Whole("made", shape=bundle.shape), bundle.recorded().astype(outer.dtype))
    first = record_region(trace, Packed(len(slots), a, bundle.shape), slots, [])
    block = lane_block(unit_at(trace, first), a, bundle.shape)
    return block.as_integers() if bundle.integer else block


def _numbers(region: RecordedMap, leaf: Any) -> Given:
    """Return what each number of a leaf is that is the same in all lanes."""
    if leaf is None or isinstance(leaf, (bool, str)):
        return sources([], 0)
    if isinstance(leaf, np.ndarray):
        return sources(Kind.NUMBER, 0, 0, np.ravel(leaf))
    found = slots_in(region.trace, leaf)
    found = inward(region.trace, leaf) if found is None else found
    if found is not None:
        at = np.ravel(found.at)
        known = np.flatnonzero(at != CONSTANT)
        numbers = np.zeros(at.size, np.int32)
        numbers[known] = region.operands.numbers(at[known])
        kinds = np.where(at == CONSTANT, Kind.NUMBER, Kind.OPERAND)
        return sources(kinds, numbers, 0, 0.0 if found.constants is None else np.ravel(found.constants))
    if isinstance(leaf, Bundle):
        units = list(leaf.numbers.flat)
    elif is_handle(leaf) and not isinstance(leaf, Unit):
        units = [leaf[place] for place in np.ndindex(leaf.shape)]
    else:
        units = [leaf]
    constants = [isinstance(x, float) for x in units]
    return sources(
        np.where(constants, Kind.NUMBER, Kind.OPERAND),
        [0 if constant else region.operands.number(x) for constant, x in zip(constants, units)],
        0,
        [x if constant else 0.0 for constant, x in zip(constants, units)],
    )


def _unpacked(block: LaneBlock) -> list[Unit]:
    """Record that an array becomes numbers, where it was made."""
    if not block.size:
        return []
    trace = block.map_unit._tape
    values = np.ravel(recording_of(trace).examples[block.number]).tolist()
    units: list[Unit] = region_gate(trace, [block.map_unit], Unpacked(block.number, block.shape), values)
    return units[: block.size]


def _mapped(f: Any, operands: Any, axes: Any, reduce: Any) -> Any:
    total = _summed_up(operands[0], reduce) if reduce and f is gates.positive else None
    return record_map(f, getattr(f, "name", "a gate"), operands, axes, reduce) if total is None else total


def _summed_up(block: LaneBlock, reduce: str) -> Any:
    """Record that a map itself adds up the numbers that it makes, so that nobody keeps them; None if it can't."""
    trace = current_trace()
    assert trace is not None
    region = trace.regions.get(block.map_unit._slot) if block.map_unit._tape is trace else None
    if type(region) is not RecordedMap:
        return None
    swept = region if region.gradients else region.swept
    found = None if swept is None else _sum_of_gradients(swept, block, reduce)
    if found is not None or region.gradients:
        return found
    if region.value_arrays != [(block.number, ())]:
        return None
    total = region.reduced(reduce)
    outer: Recording = trace.recording
    outer.maps.append(total)
    value = float(np.sum(outer.examples[block.number], dtype=np.float64)) * total.scale
    unit: Unit = unit_at(trace, record_region(trace, total, total.operands.slots, [value]))
    return unit


def _sum_of_gradients(region: RecordedMap, block: LaneBlock, reduce: str) -> Any:
    """Return the sum or mean over the lanes of values, or of gradients by what is the same in all; None if it isn't.

    One sweep brings all of them, which adds up as it goes: they need not be there lane by lane.
    """
    shared = [k for k, _ in region.gradient_arrays if region.axes[k] is None and not is_integer(region.given[k])]
    place = {a: shared.index(k) for k, a in region.gradient_arrays if k in shared}
    of_value = any(a == block.number for a, _ in region.value_arrays)
    if not (of_value or block.number in place) or not region.lanes or not may_sweep(region.trace):
        return None
    if not shared or not all(is_handle(region.given[k]) for k in shared):
        return None
    if reduce not in region.sums_of_gradients:
        region.sums_of_gradients[reduce] = swept_map(region, record_map, shared, reduce)
    value, gradients = region.sums_of_gradients[reduce]
    return value if of_value else gradients[place[block.number]]


let_lane_blocks(_mapped, _unpacked)


def _give_gradients(region: RecordedMap, kind: Any, recording: Recording) -> None:
    """Let what the map makes be the value, if it is wanted, and the gradients of some arguments."""
    if recording.nesting is not LEAF or recording.outputs[0][1] is not None:
        raise TypeError(
            f"{kind[0]} is only defined for functions that return one number, and {recording.name} returns more"
        )
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    one = region.signature
    if kind[0] == "value_and_grad":
        region.value_arrays = [(_made(outer, region.lanes, None), ())]
    for k in _differentiated(region, kind):
        region.gradient_arrays.append((k, _made(outer, region.lanes, one.shapes[k])))
    region.spread([k for k, _ in region.gradient_arrays])


def _gradient_blocks(region: RecordedMap, kind: Any, unit: Unit, outer: Recording) -> Any:
    one = region.signature
    positions, single = positions_of(kind[2], one.count, region.name)
    blocks = {k: lane_block(unit, a, outer.arrays[a].shape) for k, a in region.gradient_arrays}
    per_argument = [one.gradient_of(position, blocks) for position in positions]
    gradient = per_argument[0] if single else tuple(per_argument)
    if kind[0] == "grad":
        return gradient
    return lane_block(unit, region.value_arrays[0][0], (region.lanes,)), gradient
