"""Derivatives of maps, recorded: the derivative of a map is a map of the derivative of its body.

So lanes stay lanes at every order. The body is recorded anew, with the sweep of its own gates behind it. What it uses
from outside are variables of that sweep, whose gradients are added up over the lanes; the gradients of mapped arrays,
and the tangents of what is stacked, are arrays again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.circuits.trace import current_trace
from fastprop.circuits.unrolling import MIXED
from fastprop.derivatives.call import Call
from fastprop.derivatives.transforms import value_and_grad
from fastprop.engine.bundle import Bundle, LaneBlock, are_truth_values, lanes_moved, object_array
from fastprop.engine.masks import as_ones
from fastprop.engine.parts import Parts
from fastprop.engine.run import PackRegion, UnpackRegion
from fastprop.engine.tape import Trace, Unit
from fastprop.engine.trace import stand_in
from fastprop.handles.nesting import LEAF, is_handle, map_leaves, shape_of, size_of

__all__ = ["Packed", "Unpacked", "pulled_map", "pushed_map", "swept_map"]

RecordMap = Callable[..., Any]


# Packing --------------------------------------------------------------------------------------------------------------


class Packed(PackRegion):
    """Numbers that become an array, as they were recorded."""

    tangent_work = 1

    def is_swept(self, numbers: Any, arrays: Any) -> bool:
        """Say whether gradients inside can go through it: always."""
        return True

    def pulled_example(self, arrays: Any, pulls: Any, numbers: Any, active: Any) -> Any:
        """Return what pulls on the array bring to the numbers where it is recorded."""
        return np.ravel(arrays.finished_adjoint(self.array))

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on each number."""
        block = _whole_of(pull, self.array)
        return [None] * len(operands) if block is None else _numbers_of(block)

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Parts:
        """Return the tangent of the array."""
        numbers = [0.0 if tangent is None else Parts.of(tangent).found.get(0, 0.0) for tangent in tangents]
        return Parts({(self.array, 0): Bundle(object_array(numbers, self.shape))})


class Unpacked(UnpackRegion):
    """An array that becomes numbers, as it was recorded."""

    tangent_work = 1

    def __init__(self, array: int, shape: tuple[int, ...]):
        super().__init__(array)
        self.shape = shape

    def is_swept(self, numbers: Any, arrays: Any) -> bool:
        """Say whether gradients inside can go through it: always."""
        return True

    def pulled_example(self, arrays: Any, pulls: Any, numbers: Any, active: Any) -> Any:
        """Return what pulls on the numbers bring to what made the array: nothing, but to its adjoint."""
        adjoint = arrays.finished_adjoint(self.array)
        adjoint += np.reshape(pulls, self.shape)
        return [0.0]

    def arrays_of(self, operands: Any) -> tuple[int, ...]:
        """Return the arrays on which it pulls: its own."""
        return (self.array,)

    def recorded_pulls(self, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
        """Return what is pulled on the array."""
        numbers = [pull.found.get(k, 0.0) for k in range(math.prod(self.shape))]
        return [Parts({(self.array, 0): Bundle(object_array(numbers, self.shape))})]

    def recorded_tangent(self, tangents: Sequence[Any], operands: Sequence[Any]) -> Parts | None:
        """Return the tangents of the numbers."""
        block = _whole_of(Parts.of(tangents[0]), self.array)
        return None if block is None else Parts(dict(enumerate(_numbers_of(block))))


def _whole_of(parts: Parts, array: int) -> Any:
    """Return the pull on an array, or its tangent, in the array's own shape."""
    total: Any = None
    for key, block in parts.found.items():
        if isinstance(key, tuple) and key[0] == array:
            part = lanes_moved(block, key[1])
            total = part if total is None else total + part
    return total


def _numbers_of(block: Any) -> list[Any]:
    return list(block.numbers.flat) if isinstance(block, Bundle) else np.ravel(block).tolist()


# Maps -----------------------------------------------------------------------------------------------------------------


def pulled_map(region: Any, record_map: RecordMap, pull: Parts, operands: Sequence[Any], wanted: Sequence[bool]) -> Any:
    """Return what pulls on the results of a map bring to its operands."""
    arrays = [k for k, a in enumerate(region.array.tolist()) if a >= 0]
    differentiated = [k for k in arrays if k in region.leaf_operand and wanted[region.leaf_operand[k]]]
    captured = [m for m in sorted(region.captured) if wanted[m]]
    contributions: list[Any] = [None] * len(operands)
    if not differentiated and not captured:
        return contributions
    body, outside = _Body(region, arrays), [_outside(operands[m]) for m in captured]
    sums, mapped = _pulls_of(region, pull)
    keys: list[Any] = []  # what each leaf of the result is a gradient of, sums first

    def pulled(*given: Any) -> tuple[list[Any], list[Any]]:
        trace = current_trace()
        assert trace is not None
        call = body.call(given[: len(arrays)], differentiated, [stand_in(trace, x) for x in outside])
        along = {**sums, **dict(zip(mapped, given[len(arrays) :]))}
        swept = call.raw_gradients(body.pulls_by_output(call, along))
        (variables, _), (parts, others) = _by_argument(call, call.variables), _by_argument(call, swept)
        summed: list[Any] = []
        stacked: list[Any] = []
        decides = len(trace.guards) > 0  # then another path may pull where this one does not
        for k, part, x in zip(differentiated, parts, variables):
            if part is None and not decides:
                continue
            found = Bundle(object_array([0.0] * size_of(x), shape_of(x))) if part is None and shape_of(x) else part
            place, key = region_places[k]
            if axes[k] is None and not hasattr(found, "map_unit"):
                summed.append(((place, (key, 0)), found))
            else:
                stacked.append(((place, (key, axes[k])), 0.0 if found is None else found))
        for m, part in zip(captured, others):
            if part is None and not decides:
                continue
            for key, x in ({0: part} if not isinstance(part, Parts) else part.found).items():
                if isinstance(key, tuple):
                    stacked.append(((m, (_outer_number(trace, key[0]), key[1], "sum")), x))
                else:
                    summed.append(((m, key), 0.0 if x is None else x))
        keys[:] = [key for key, _ in summed] + [key for key, _ in stacked]
        return [x for _, x in summed], [x for _, x in stacked]

    axes = {k: region.axes[k] for k in arrays}
    region_places = {k: (region.leaf_operand[k], int(region.array[k])) for k in differentiated}
    leaves = [region.given[k] for k in arrays] + list(mapped.values())
    found = record_map(pulled, region.name, leaves, (*axes.values(), *[0] * len(mapped)), MIXED)
    for (m, key), x in zip(keys, [*found[0], *found[1]]):
        contributions[m] = _added(contributions[m], _contribution(record_map, key, x))
    return contributions


def _contribution(record_map: RecordMap, key: Any, x: Any) -> Any:
    """Return what a gradient is a pull on: a number, or an array, which may have to be summed over the lanes yet."""
    if not isinstance(key, tuple):
        return Parts({key: x}) if key else x
    a, axis = key[:2]
    if axis is None or len(key) > 2:
        x, axis = _over_lanes(record_map, x), axis or 0
    return Parts({(a, axis): x})


def _over_lanes(record_map: RecordMap, block: Any) -> Any:
    """Return the sum of a block over its first axis, as a map over its second one."""

    def column(lanes: Any) -> Any:
        return record_map(gates.positive, "sum", (lanes,), 0, "sum")

    return record_map(column, "sum over lanes", (block,), 1, None)


def _added(total: Any, part: Any) -> Any:
    if total is None or part is None:
        return part if total is None else total
    return Parts.of(total) + part if isinstance(part, Parts) or isinstance(total, Parts) else total + part


def pushed_map(
    region: Any, record_map: RecordMap, tangents: Sequence[Sequence[Any]], operands: Sequence[Any]
) -> list[Parts | None]:
    """Return the tangents of the results of a map, from those of its operands, along several directions at once."""
    arrays = [k for k, a in enumerate(region.array.tolist()) if a >= 0]
    blocks = [_blocks_of(region, arrays, along) for along in tangents]
    mapped = [k for k in arrays if any(k in of for of in blocks)]
    captured = [m for m in sorted(region.captured) if any(along[m] is not None for along in tangents)]
    if not mapped and not captured:
        return [None] * len(tangents)
    body, home, outside = _Body(region, arrays), operands[0]._tape, [_outside(operands[m]) for m in captured]
    # numbers that are known, and the same in all lanes, stay numbers: most of them are 0, or 1
    passed = [(d, k) for d, of in enumerate(blocks) for k in of if region.axes[k] is not None or is_handle(of[k])]
    mixed = region.reduce in (None, MIXED)
    keys: list[tuple[int, Any]] = []  # of each leaf of the result, sums first: the direction, and its keys among parts

    def pushed(*given: Any) -> Any:
        trace = current_trace()
        assert trace is not None
        call = body.call(given[: len(arrays)], mapped, [stand_in(trace, x) for x in outside])
        here = dict(zip(passed, given[len(arrays) :]))
        directions = []
        for d, along in enumerate(tangents):
            parts: list[Any] = []
            for nesting, k in zip(call.nestings, mapped):
                block = here.get((d, k), blocks[d].get(k))
                apart = [None] * nesting.size if block is None else [block] if nesting is LEAF else _numbers_of(block)
                parts += apart
            directions.append(parts + [_inner_parts(along[m], trace, home) for m in captured])
        decides = len(trace.guards) > 0  # then another path may bring something where this one does not
        sums: list[Any] = []
        stacked: list[Any] = []
        for d, found in enumerate(call.tangents_together(directions)):
            for i, x in enumerate(body.by_result(call, found)):
                start, shape = region.results[i]
                a = region.value_arrays[i][0] if region.value_arrays else -1
                if a < 0:
                    numbers = x if isinstance(x, list) else _numbers_of(x)
                    there = [k for k, y in enumerate(numbers) if decides or y is not None]
                    known = [0.0 if numbers[k] is None else numbers[k] for k in there]
                    if there:
                        sums.append(((d, [start + k for k in there]), Bundle(object_array(known, (len(known),)))))
                elif not isinstance(x, list):
                    stacked.append(((d, (a, 0)), x))  # an array
                elif decides or any(y is not None for y in x):
                    numbers = [0.0 if y is None else y for y in x]
                    part = numbers[0] if shape is None else Bundle(object_array(numbers, shape))
                    stacked.append(((d, (a, 0)), part))
        keys[:] = [key for key, _ in (*sums, *stacked)]
        leaves = [x for _, x in sums], [x for _, x in stacked]
        return leaves if mixed else leaves[0]

    leaves = [*[region.given[k] for k in arrays], *[blocks[d][k] for d, k in passed]]
    axes = [region.axes[k] for k in (*arrays, *[k for _, k in passed])]
    reduce = "sum" if region.reduce == "mean" and not region.lanes else region.reduce  # that mean hangs on nothing
    result = record_map(pushed, region.name, leaves, tuple(axes), MIXED if mixed else reduce)
    parts: list[dict[Any, Any]] = [{} for _ in tangents]
    for (d, key), x in zip(keys, [*result[0], *result[1]] if mixed else result):
        parts[d].update(zip(key, _numbers_of(x)) if isinstance(key, list) else {key: x})
    return [Parts(part) if part else None for part in parts]


def _blocks_of(region: Any, arrays: Sequence[int], tangents: Sequence[Any]) -> dict[int, Any]:
    """Return the tangents of those leaves of a map's arguments that are arrays and have some."""
    found = {}
    for k in arrays:
        m = region.leaf_operand.get(k)
        block = None if m is None or tangents[m] is None else _whole_of(Parts.of(tangents[m]), int(region.array[k]))
        if block is not None:
            found[k] = block
    return found


def swept_map(region: Any, record_map: RecordMap, leaves: Sequence[int], reduce: str) -> tuple[Any, Sequence[Any]]:
    """Return the sum or mean over the lanes of a body's value, and its gradients by some leaves of its arguments.

    These are the same in all lanes, and so what is pulled on them is added up by the sweep of the map, as products of
    matrices where there are such forward.
    """
    arrays = [k for k, a in enumerate(region.array.tolist()) if a >= 0]
    body = _Body(region, arrays)

    def total(*variables: Any) -> Any:
        stand_ins = dict(zip(leaves, variables))

        def lane(*given: Any) -> Any:
            return body.at({**stand_ins, **dict(zip(arrays, given))})

        found = [stand_ins.get(k, region.given[k]) for k in arrays]
        return record_map(lane, region.name, found, tuple(region.axes[k] for k in arrays), reduce)

    found: tuple[Any, Sequence[Any]] = value_and_grad(total, range(len(leaves)))(*[region.given[k] for k in leaves])
    return found


class _Body:
    """The body of a map, with arrays given, to be called once more; it outlives the recording of the map."""

    def __init__(self, region: Any, arrays: Sequence[int]):
        self.function, self.signature, self.leaves = region.function, region.signature, list(region.given)
        self.arrays = arrays
        self.outputs = region.results

    def at(self, leaves: dict[int, Any]) -> Any:
        """Call it with leaves of its arguments, the others as they were given."""
        found = [leaves.get(k, leaf) for k, leaf in enumerate(self.leaves)]
        given, named = self.signature.build(self.signature.as_given(found), construct=True)
        return self.function(*given, **named)

    def call(self, given: Sequence[Any], differentiated: Sequence[int], captured: Sequence[Any]) -> Call:
        """Call it with what stands for the arrays in a lane, some of them and what it captures being variables."""
        leaves = list(self.leaves)
        for k, x in zip(self.arrays, given):
            leaves[k] = x

        def flat(*leaves: Any) -> Any:
            return map_leaves(_here, self.at(dict(enumerate(leaves))))

        return Call("vjp", flat, leaves, {}, differentiated, captured=captured)

    def by_result(self, call: Call, tangents: Sequence[Any]) -> list[Any]:
        """Return tangents of a call's outputs by its result: blocks of arrays, else lists (None: there is none)."""
        found: list[Any] = []
        parts = iter(zip(tangents, call.outputs))
        for _, shape in self.outputs:
            numbers: list[Any] = []
            while len(numbers) < math.prod(shape or ()):
                x, output = next(parts)
                if x is not None and shape_of(output):
                    found.append(x)
                    break
                numbers += [x] if x is not None else [None] * size_of(output)
            else:
                found.append(numbers)
        return found

    def pulls_by_output(self, call: Call, along: dict[int, Any]) -> dict[int, Any]:
        """Return pulls on the outputs of a call, which takes blocks of numbers apart, from those on its results."""
        found: dict[int, Any] = {}
        output = 0
        for i, (_, shape) in enumerate(self.outputs):
            numbers = _numbers_of(along[i]) if i in along and shape is not None else []
            done = 0
            while done < (1 if shape is None else math.prod(shape)):
                size = size_of(call.outputs[output])
                if i in along:
                    whole = shape is None or shape_of(call.outputs[output])
                    found[output] = along[i] if whole else numbers[done]
                done += size
                output += 1
        return found


def _by_argument(call: Call, parts: Sequence[Any]) -> tuple[list[Any], Sequence[Any]]:
    """Return what there is of each argument of a call, whose blocks may be variables number by number, and the rest."""
    found, start = [], 0
    for nesting in call.nestings:
        own = parts[start : start + nesting.size]
        found.append(own[0] if nesting is LEAF else nesting.unflatten(0.0 if x is None else x for x in own))
        start += nesting.size
    return found, parts[start:]


def _here(leaf: Any) -> Any:
    """Return a leaf of a body's result with what stands there for results from outside."""
    trace = current_trace()
    assert trace is not None
    if are_truth_values(leaf):
        leaf = as_ones(leaf)
    if isinstance(leaf, Unit):
        return leaf if leaf._tape is None else stand_in(trace, leaf)
    if (isinstance(leaf, LaneBlock) and leaf.map_unit._tape is trace) or not isinstance(leaf, Bundle):
        return leaf
    return Bundle(object_array(list(map(_here, leaf.numbers.flat)), leaf.shape))


def _outside(unit: Any) -> Any:
    """Return the result itself for which a Unit stands, if it is one of a trace around its own."""
    outer = unit._tape.outside(unit._slot)
    return unit if outer is None else outer


def _pulls_of(region: Any, pull: Parts) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the pulls on the results of the body: those on sums, and arrays of one per lane."""
    sums: dict[int, Any] = {}
    mapped: dict[int, Any] = {}
    for i, (start, shape) in enumerate(region.results):
        a = region.value_arrays[i][0] if region.value_arrays else -1
        if a >= 0:
            block = _whole_of(pull, a)
            if block is not None:
                mapped[i] = block
            continue
        numbers = [pull.found.get(k) for k in range(start, start + (1 if shape is None else math.prod(shape)))]
        if any(number is not None for number in numbers):
            scaled = [0.0 if x is None else x if region.scale == 1.0 else x * region.scale for x in numbers]
            sums[i] = scaled[0] if shape is None else Bundle(object_array(scaled, shape))
    return sums, mapped


def _outer_number(trace: Trace, number: int) -> int:
    """Return the number, around a trace, of an array that it has from there."""
    outer: int = trace.recording.arrays[number].leaf
    return outer


def _inner_parts(tangent: Any, trace: Trace, home: Trace) -> Any:
    """Return a tangent as it is inside of a trace, where arrays have other numbers."""
    if not isinstance(tangent, Parts):
        return tangent
    return Parts(
        {
            (trace.recording.array_number(trace, home, key[0]), key[1]) if isinstance(key, tuple) else key: part
            for key, part in tangent.found.items()
        }
    )
