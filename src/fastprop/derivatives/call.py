"""One call of a function, recorded with variables in the place of the numbers to differentiate.

There are two kinds of call:

*Numeric.* Where nothing else is being differentiated, the tape is the call's own and the engine sweeps it: numbers in,
numbers out.

*Recorded.* Inside of another transform, or with Units and Arrays as arguments, the derivative is itself something to
differentiate. The function then runs on the tape that is there, and so does the sweep, gate by gate (`recorded`); in
traced code that nothing differentiates in turn, the program sweeps (`swept`).

Why does no derivative leak into another one? In ``grad(lambda x: x * grad(lambda y: x * y)(1.0))`` both sweeps walk one
tape. But the inner one starts from a variable of its own (of a handle: an alias, one more gate on the tape) and follows
the paths from there alone, so to it the outer ``x`` is a constant, while the outer sweep follows ``x`` through all that
the inner one recorded.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.derivatives.recorded import pull_back, push_forward, push_forward_together, work_of_tangents
from fastprop.derivatives.swept import may_sweep, swept_gradients, variables_of
from fastprop.engine.bundle import Bundle, LaneBlock, lanes_moved, object_array
from fastprop.engine.integers import as_integer
from fastprop.engine.parts import Parts
from fastprop.engine.tape import Array, Trace, Unit, active_scope, innermost
from fastprop.gates import is_condition
from fastprop.gates.blocks import AsType
from fastprop.handles.indexing import is_integer
from fastprop.handles.nesting import (
    LEAF,
    Nesting,
    as_number,
    checked,
    described,
    dtype_of,
    flatten,
    is_handle,
    is_whole,
    map_leaves,
    plain,
    returned,
    shape_of,
    size_of,
    unit_directions,
    zeros_like,
)

__all__ = ["Call", "active_scope", "in_numbers", "instead", "is_active", "name_of"]

# Gates that the columns of a traced Jacobian may take, in all, or for each row that there would be, if that is more;
# how many columns there may be; and, without maps, how many times less than the rows' sweeps they take.
MOST_WORK, OF_A_ROW, MOST_COLUMNS, LESS = 1 << 17, 64, 1 << 10, 4
SMALL = 1 << 13  # gates of a trace in all up to which one looks whether that is so, of no fewer columns than rows


class Call:
    """One call of `f`, with variables in the place of the arguments at `positions`.

    `name` and `noun` are for errors: which transform calls, and what it calls an argument. The handles among `beside`,
    as among the arguments, decide where to record; `engine` does if nothing else does. `captured` are Units that `f`
    uses, and that count as variables behind those of the arguments.
    """

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        positions: Sequence[int],
        has_aux: bool = False,
        engine: Any = None,
        noun: str = "argument",
        beside: Sequence[Any] = (),
        captured: Sequence[Any] = (),
    ):
        self.name = name
        self.function = f
        self.nestings = []
        points: list[Any] = []
        self.integers: list[bool] = []  # which of them are such
        for position in positions:
            given = args[position]
            leaves, nesting = flatten(taken_apart(given), blocks=True, wholes=True, nones=given is not None)
            if set(map(type, leaves)) != {float}:
                place = f"{name}: {noun} {position}"
                self.integers += [False] * (len(points) - len(self.integers)) + list(map(is_integer, leaves))
                leaves = [checked(leaf, place, nesting, i) for i, leaf in enumerate(leaves)]
            points += leaves
            self.nestings.append(nesting)
        self.engine, self.tape, self.numeric = _place([*points, *beside], engine)
        self.swept = name != "jvp" and may_sweep(self.tape) and all(map(_is_variable, points))
        self._guards = len(self.tape.guards) if self.swept else 0
        if any(hasattr(type(x), "map_unit") for x in points) and isinstance(self.tape, Trace):
            self.tape.recording.wasted = True
        result = active_scope(self.engine, self.tape).run(self._call, points, args, kwargs, positions)
        self.variables += captured
        self.aux = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(
                    f"{name} with has_aux=True needs a function that returns a pair (value, aux), "
                    f"but {name_of(f)} returned {described(result)}"
                )
            result, self.aux = result
        leaves, self.nesting = flatten(result, blocks=True, nones=result is not None)
        self.outputs = [self._output(leaf, i) for i, leaf in enumerate(leaves)]
        self.live = [_tape_of(output) is self.tape and size_of(output) > 0 for output in self.outputs]
        if not self.numeric and not has_aux and not any(map(is_handle, [*points, *beside, *captured])):
            # inside of another transform, but on plain arguments, and of nothing of that transform's: plain results
            ends = [output for output, live in zip(self.outputs, self.live) if live]
            plain_only = bool(self.variables) and not any(map(_is_whole, [*self.variables, *ends]))
            self.numeric = plain_only and self.tape._closed(self.variables, ends)

    def _call(self, points: list[Any], args: Sequence[Any], kwargs: dict[str, Any], positions: Sequence[int]) -> Any:
        """Call the function with variables in the place of the arguments at `positions`."""
        self.variables = variables_of(self.tape, points) if self.swept else list(map(self.tape._variable, points))
        for i, integer in enumerate(self.integers):
            if integer and isinstance(self.variables[i], (Unit, Array)):
                self.variables[i] = as_integer(self.variables[i])
        given = list(args)
        for position, argument in zip(positions, self._nested(self.variables, construct=True)):
            given[position] = argument
        return self.function(*given, **kwargs)

    def _output(self, leaf: Any, index: int) -> Any:
        output = None if is_condition(leaf) else as_number(leaf)
        if output is None:
            place = f" at {self.nesting.path(index)}" if self.nesting is not LEAF else ""
            raise TypeError(
                f"{self.name} needs a function that returns numbers or arrays, "
                f"but {name_of(self.function)} returned {returned(leaf)}{place}"
            )
        return output

    def _nested(self, leaves: Sequence[Any], construct: bool = False) -> list[Any]:
        """Put one thing per variable together in the nestings of the arguments."""
        parts, start = [], 0
        for nesting in self.nestings:
            parts.append(nesting.unflatten(leaves[start : start + nesting.size], construct))
            start += nesting.size
        return parts

    def split(self, leaves: Sequence[Any], single: bool) -> Any:
        """Return one result per variable in the nesting of the argument, or of the arguments as a tuple."""
        parts = self._nested(leaves)
        return parts[0] if single else tuple(parts)

    def value(self) -> Any:
        """Return what the function returned: plain numbers after a numeric call, else handles."""
        if self.numeric:
            return self.nesting.unflatten(map(plain, self.outputs))
        return self.nesting.unflatten(_as_handle(self.tape, output, output) for output in self.outputs)

    def plain_aux(self) -> Any:
        """Return aux, after a numeric call with plain numbers in the place of results on its tape."""
        if not self.numeric or not any(_tape_of(leaf) is self.tape for leaf in flatten(self.aux)[0]):
            return self.aux
        return map_leaves(lambda leaf: plain(leaf) if _tape_of(leaf) is self.tape else leaf, self.aux)

    def gradient(self) -> list[Any]:
        """Return the gradient of each variable, if the function returned one number."""
        if self.nesting is LEAF and shape_of(self.outputs[0]) == ():
            return self.gradients({0: 1.0})
        found = self.nesting.unflatten(self.outputs if isinstance(self.tape, Trace) else map(plain, self.outputs))
        is_array = self.nesting is LEAF or is_handle(found)  # which under trace is a nest of its numbers
        raise TypeError(
            f"{self.name} is only defined for functions that return one number, but {name_of(self.function)} returned "
            f"{f'an array of shape {shape_of(found)}' if is_array else described(found)}; "
            f"{instead(LEAF if is_array else self.nesting)}"
        )

    def gradients(self, pulls: dict[int, Any], snapshot: Any = None) -> list[Any]:
        """Sweep backward: the gradient of each variable, from pulls on outputs (by their numbers)."""
        pulls = {i: pull for i, pull in pulls.items() if self.live[i]}
        if self.numeric and not any(map(is_handle, pulls.values())):
            found = self.tape._gradients([self.outputs[i] for i in pulls], list(pulls.values()), self.variables)
            if set(map(type, found)) == {float}:
                return list(found)
            return [_as_plain(gradient, variable) for gradient, variable in zip(found, self.variables)]
        if self.swept and may_sweep(self.tape):
            parts = self._swept(pulls)
            if parts is not None:
                return [_as_handle(self.tape, part, x) for part, x in zip(parts, self.variables)]
        engine, tape = self.engine, self.tape
        keys, variable_keys, steps = snapshot or self._snapshot()
        if self.numeric:  # the pulls are handles of another transform, to which all that was recorded here is constant
            steps = [(key, gate, tuple(map(plain, operands)), among) for key, gate, operands, among in steps]
            engine, tape, _ = _place(list(pulls.values()), engine)

        def swept() -> list[Any]:
            arriving = [_part_of(pull, self.outputs[i]) for i, pull in pulls.items()]
            found = pull_back(([keys[i] for i in pulls], variable_keys, steps), arriving)
            return [_as_handle(tape, part, x) for part, x in zip(self._gathered(found), self.variables)]

        return active_scope(engine, tape).run(swept)

    def raw_gradients(self, pulls: dict[int, Any]) -> list[Any]:
        """Sweep backward as `gradients` does, inside of another recording: None where no path leads."""
        pulls = {i: pull for i, pull in pulls.items() if self.live[i]}
        keys, variable_keys, steps = self._snapshot(closed=True)

        def swept() -> list[Any]:
            arriving = [_part_of(pull, self.outputs[i]) for i, pull in pulls.items()]
            return self._gathered(pull_back(([keys[i] for i in pulls], variable_keys, steps), arriving))

        return active_scope(self.engine, self.tape).run(swept)

    def _swept(self, pulls: dict[int, Any]) -> list[Any] | None:
        """Let the program sweep: what arrives on each of the variables; None if it has to be recorded."""
        ends = [self.outputs[i] for i in pulls]
        if not pulls or any(map(_is_whole, ends)) or any(map(shape_of, pulls.values())):
            return None
        return swept_gradients(self.tape, list(pulls.values()), ends, self.variables, self._guards)

    def _snapshot(self, closed: bool = False) -> Any:
        """Return the gates to sweep when recording, with the keys of the outputs by their numbers.

        With `closed`, nothing lies beyond a variable that another one leads to.
        """
        live = [i for i, live in enumerate(self.live) if live]
        outputs = [_unit_of(self.outputs[i]) for i in live]
        output_keys, variable_keys, steps = self.tape._steps(outputs, _units_of(self.variables))
        if closed:
            ends = set(variable_keys)
            steps = [step for step in steps if step[0] not in ends]
        return dict(zip(live, output_keys)), variable_keys, steps

    def _gathered(self, found: Sequence[Any]) -> list[Any]:
        """Return one gradient per variable from one per Unit."""
        parts, gathered = iter(found), []
        for x in self.variables:
            if not _is_whole(x):
                gathered.append(next(parts))
                continue
            whole, numbers = x.made_units()
            of_whole = None if whole is None else _whole_part(next(parts))
            of_numbers = [next(parts) for _ in numbers]
            if any(part is not None for part in of_numbers):
                block = Bundle(object_array([0.0 if part is None else part for part in of_numbers], x.shape))
                of_whole = block if of_whole is None else of_whole + block
            gathered.append(of_whole)
        return gathered

    def tangents(self, variables: Sequence[Any], directions: Sequence[Any]) -> list[Any]:
        """Sweep forward: the tangent of each output, from those of some variables."""
        outputs = [output for output, live in zip(self.outputs, self.live) if live]
        if self.numeric:
            swept = iter(self.tape._tangents(outputs, variables, directions))
            found = [next(swept) if live else zeros_like(output) for output, live in zip(self.outputs, self.live)]
            return [_as_plain(tangent, output) for tangent, output in zip(found, self.outputs)]

        def pushed() -> list[Any]:
            steps = self.tape._steps(list(map(_unit_of, outputs)), _units_of(variables))
            swept = iter(push_forward(steps, _directions_of(variables, directions)))
            found = [_own_part(next(swept), x) if live else None for live, x in zip(self.live, self.outputs)]
            return [_as_handle(self.tape, tangent, output) for tangent, output in zip(found, self.outputs)]

        return active_scope(self.engine, self.tape).run(pushed)

    def tangents_together(self, directions: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Sweep forward, inside of another recording, along several directions: the tangents of the outputs, or None.

        A direction says what the tangent of each variable is, or None.
        """
        outputs = [output for output, live in zip(self.outputs, self.live) if live]

        def pushed() -> list[list[Any]]:
            steps = self.tape._steps(list(map(_unit_of, outputs)), _units_of(self.variables))
            along = [_directions_of(self.variables, direction) for direction in directions]
            by_unit = [{d: x for d, x in enumerate(parts) if x is not None} for parts in zip(*along)]
            swept = iter(push_forward_together(steps, by_unit))
            found = [next(swept) if live else {} for live in self.live]
            return [
                [_own_part(tangents.get(d), x) for tangents, x in zip(found, self.outputs)]
                for d in range(len(directions))
            ]

        return active_scope(self.engine, self.tape).run(pushed)

    def jacobian(self) -> list[list[Any]]:
        """Return a block of derivatives for each output and variable, by whichever sweep takes fewer of them."""
        inputs, outputs = sum(map(size_of, self.variables)), sum(map(size_of, self.outputs))
        if self.numeric:
            return self.by_columns() if inputs < outputs else self.by_rows()
        together = self._columns_that_pay(inputs, outputs) if isinstance(self.tape, Trace) else None
        return self.by_rows() if together is None else self.by_columns_together(*together)

    def _columns_that_pay(self, inputs: int, outputs: int) -> Any:
        """Return the gates to sweep, and directions, if columns cost less together, in traced code, than row after row.

        Maps are pushed once, along all directions, and pulled row by row; of other gates columns meet few, where most
        numbers of the Jacobian are 0, or there are few columns.
        """
        maps = any(hasattr(region, "recorded_tangents") for region in self.tape.regions.values())
        worth_a_look = maps or LESS * inputs <= outputs or len(self.tape) <= SMALL
        if not 0 < inputs <= min(outputs, MOST_COLUMNS) or not worth_a_look:
            return None
        snapshot, directions = self._snapshot(), _unit_directions_of(self.variables)
        _, _, steps = snapshot
        most = max(MOST_WORK, OF_A_ROW * outputs)
        if not any(hasattr(gate, "recorded_tangents") for _, gate, _, _ in steps):
            most = min(most, outputs * len(steps) // LESS)
        return (snapshot, directions) if work_of_tangents(snapshot, directions, most) < math.inf else None

    def by_rows(self) -> list[list[Any]]:
        """Return the blocks of the Jacobian, by one sweep backward for every number in the output."""
        blocks = []
        snapshot = None if self.numeric or self.swept else self._snapshot()
        for i, output in enumerate(self.outputs):
            rows = [self.gradients({i: direction}, snapshot) for direction in unit_directions(output)]
            if shape_of(output) == ():
                blocks.append(rows[0])
            else:
                columns = zip(*rows) if rows else [()] * len(self.variables)
                blocks.append([self._block(list(part), output, x) for part, x in zip(columns, self.variables)])
        return blocks

    def by_columns(self) -> list[list[Any]]:
        """Return the blocks of the Jacobian, by one sweep forward for every number in the arguments."""
        blocks: list[list[Any]] = [[] for _ in self.outputs]
        for x in self.variables:
            columns = [self.tangents([x], [direction]) for direction in unit_directions(x)]
            for i, output in enumerate(self.outputs):
                block = self._block([column[i] for column in columns], x, output)
                if shape_of(x) and shape_of(output):  # the axes of the output come first
                    inner, outer = len(shape_of(x)), len(shape_of(output))
                    block = block.transpose((*range(inner, inner + outer), *range(inner)))
                blocks[i].append(block)
        return blocks

    def by_columns_together(self, snapshot: Any, directions: Sequence[dict[int, Any]]) -> list[list[Any]]:
        """Return the blocks of the Jacobian in traced code, by one sweep forward along all numbers in the arguments."""
        keys, variable_keys, steps = snapshot
        sizes = list(map(size_of, self.variables))

        def pushed() -> list[list[Any]]:
            found = push_forward_together((list(keys.values()), variable_keys, steps), directions)
            by_output = dict(zip(keys, found))
            blocks = []
            for i, output in enumerate(self.outputs):
                along = {d: _own_part(tangent, output) for d, tangent in by_output.get(i, {}).items()}
                begins = np.cumsum([0, *sizes]).tolist()
                parts = [[along.get(d) for d in range(begin, begin + n)] for begin, n in zip(begins, sizes)]
                blocks.append([_columns(part, output, shape_of(x)) for part, x in zip(parts, self.variables)])
            return blocks

        return active_scope(self.engine, self.tape).run(pushed)

    def _block(self, parts: list[Any], outer: Any, inner: Any) -> Any:
        """Return derivatives shaped like `inner`, one for each number in `outer`, as one block."""
        if shape_of(outer) == ():
            return parts[0]
        shape = shape_of(outer) + shape_of(inner)
        if self.numeric or not parts:
            block = np.array(parts, dtype_of(inner if shape_of(inner) else outer)).reshape(shape)
            return block if self.numeric else _as_handle(self.tape, block, block)
        return active_scope(self.engine, self.tape).run(lambda: self.engine.Array(parts).reshape(shape))


def taken_apart(argument: Any) -> Any:
    """Return an argument with captured Arrays as blocks of their numbers, where a trace takes them so."""
    active = innermost.active
    if active is None or not hasattr(active.tape, "as_block"):
        return argument
    return map_leaves(active.tape.as_block, argument)


def in_numbers(direction: Any) -> Any:
    """Return a pull or tangent, a captured Array as a block of its numbers where a trace takes it so."""
    return taken_apart(direction) if is_handle(direction) else direction


def instead(nesting: Nesting) -> str:
    """Say what to do with a function that returns more than one number."""
    if nesting is LEAF:
        return "add it up (fastprop.sum, fastprop.mean), or take jacobian or vjp"
    pair = nesting.kind is tuple and len(nesting) == 2
    lanes = '; fastprop.nn.weighted_mean in the place of vmap if it is that of a loss with reduction="pair"'
    return f"take jacobian or vjp, or has_aux=True if it is a pair (value, aux){lanes if pair else ''}"


def name_of(f: Callable[..., Any]) -> str:
    """Return what to call a function in an error."""
    return getattr(f, "__name__", type(f).__name__)


def _as_plain(found: Any, like: Any) -> Any:
    """Return a swept number as a float, or an array in the dtype of what it belongs to, the caller's to keep."""
    return np.array(found, dtype_of(like)) if shape_of(like) else float(found)


def _as_handle(tape: Any, found: Any, like: Any) -> Any:
    """Return the result of a recorded sweep as a handle, also where it turned out to be a constant."""
    if found is None:
        found = zeros_like(like)
    if not is_handle(found) and shape_of(found) and isinstance(tape, Trace):
        return Bundle(found.astype(object))
    if _is_whole(like):
        return found
    if shape_of(like) and dtype_of(found) != dtype_of(like):
        found = AsType(dtype_of(like))(found)
    return found if is_handle(found) else tape._variable(found)


# Arrays under trace that are variables or outputs as wholes ----------------------------------------------------------


def _is_whole(x: Any) -> bool:
    return is_whole(type(x))


def _unit_of(output: Any) -> Any:
    """Return the Unit that stands for an output."""
    return output.map_unit if _is_whole(output) else output


def _units_of(variables: Sequence[Any]) -> list[Any]:
    """Return the Units of variables: of an array that for the whole, and those of its numbers, if they are used."""
    units: list[Any] = []
    for x in variables:
        if _is_whole(x):
            whole, numbers = x.made_units()
            units += [] if whole is None else [whole]
            units += numbers
        else:
            units.append(x)
    return units


def _directions_of(variables: Sequence[Any], directions: Sequence[Any]) -> list[Any]:
    """Return the tangents of the Units of variables."""
    found: list[Any] = []
    for x, direction in zip(variables, directions):
        if _is_whole(x):
            whole, numbers = x.made_units()
            if direction is None:
                found += [None] * ((whole is not None) + len(numbers))
                continue
            found += [] if whole is None else [Parts({(x.array(), 0): direction})]
            found += _in_list(direction) if numbers else []
        else:
            found.append(direction)
    return found


def _unit_directions_of(variables: Sequence[Any]) -> list[dict[int, Any]]:
    """Return the tangents of the Units of variables along each of their numbers, which are counted through."""
    found: list[dict[int, Any]] = []
    begin = 0
    for x in variables:
        unit = enumerate(unit_directions(x), begin)
        if _is_whole(x):
            whole, numbers = x.made_units()
            found += [] if whole is None else [{d: Parts({(x.array(), 0): direction}) for d, direction in unit}]
            found += [{begin + k: 1.0} for k in range(len(numbers))]
        else:
            found.append(dict(unit))
        begin += size_of(x)
    return found


def _in_list(x: Any) -> list[Any]:
    """Return the numbers of a block, or a number."""
    return list(x.numbers.flat) if hasattr(x, "numbers") else np.ravel(x).tolist() if shape_of(x) else [x]


def _columns(tangents: Sequence[Any], output: Any, shape: tuple[int, ...]) -> Any:
    """Return the tangents of an output (None: 0) as one block, whose last axes have this shape."""
    there = [x for x in tangents if x is not None]

    def stacked(output: Any, there: Sequence[Any]) -> Any:
        parts = iter(there)
        columns = [_in_list(next(parts)) if x is not None else [0.0] * size_of(output) for x in tangents]
        numbers = [column[k] for k in range(size_of(output)) for column in columns]
        whole = shape_of(output) + shape
        return Bundle(object_array(numbers, whole)) if whole else numbers[0]

    lanes = next((x for x in there if isinstance(x, LaneBlock)), None)
    if lanes is None:
        return stacked(output, there)
    return lanes.mapped(lambda *there: stacked(there[0], there), there, (0,) * len(there), None)


def _part_of(pull: Any, output: Any) -> Any:
    """Return a pull on an output as one on the gate that made it."""
    return Parts({(output.array(), 0): pull}) if _is_whole(output) else pull


def _own_part(found: Any, output: Any) -> Any:
    """Return the part of a tangent that belongs to an output."""
    if not isinstance(found, Parts):
        return found
    return found.found.get((output.array(), 0) if _is_whole(output) else 0)


def _whole_part(found: Any) -> Any:
    """Return what was pulled on an array, from blocks with lanes along several axes."""
    total: Any = None
    for key, block in found.found.items() if isinstance(found, Parts) else ():
        if isinstance(key, tuple):  # else it is one on the number that stands for it, which has none
            part = lanes_moved(block, key[1])
            total = part if total is None else total + part
    return total


def _is_variable(point: Any) -> bool:
    """Whether a point is one number, or an array that can be a variable as a whole."""
    return type(point) is float or shape_of(point) == () or _is_whole(point)


# Where to record ------------------------------------------------------------------------------------------------------


def is_active() -> bool:
    """Say whether a transform is at work in this thread."""
    return innermost.active is not None


def _place(leaves: Sequence[Any], default: Any) -> tuple[Any, Any, bool]:
    """Choose the engine and the tape to record on, and whether the sweeps on it are numeric."""
    handles = [leaf for leaf in leaves if is_handle(leaf)] if set(map(type, leaves)) != {float} else []
    engine = _engine_of(handles[0]) if handles else None
    active = innermost.active
    while active is not None:
        if engine is None or active.engine is engine:
            return active.engine, active.tape, False
        active = active.outer
    if engine is None:
        engine = default or importlib.import_module("fastprop.engine")
        return engine, engine.Tape(captures=True), True
    tapes = [tape for tape in map(_tape_of, handles) if tape is not None]
    return engine, tapes[0] if tapes else engine.current_tape(), False


def _engine_of(handle: Any) -> Any:
    """Return the engine, a module, that a Unit or Array belongs to."""
    if isinstance(handle, Bundle):
        return importlib.import_module("fastprop.engine")
    for name in ("fastprop.engine", "fastprop.reference"):
        engine = sys.modules.get(name)
        if engine is not None and isinstance(handle, (engine.Unit, engine.Array)):
            return engine
    raise TypeError(f"{type(handle).__name__} is a handle of neither the compiled engine nor the reference")


def _tape_of(x: Any) -> Any:
    """Return the tape of a result; None for a leaf, and for whatever is no handle."""
    return x._tape if is_handle(x) else None
