"""Sweeps that are recorded: the chain rule written with gates, so that derivatives have derivatives.

Both walk a snapshot of a tape, `tape._steps(outputs, variables)`: the gates on the paths from the variables to the
outputs, newest first, with their operands as handles or plain constants. Partials are the rows of the table applied to
these operands, so whatever meets a handle on the way is recorded; plain numbers stay plain, and exact zeros and factors
of one leave no trace on the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.engine.trace.parts import Parts
from fastprop.gates.blocks import broadcast_to, unbroadcast
from fastprop.handles.nesting import is_handle, plain, shape_of
from fastprop.handles.operands import gate_tangent

__all__ = ["pull_back", "push_forward"]


def pull_back(snapshot: Any, pulls: Sequence[Any]) -> list[Any]:
    """Sweep backward with gates: the gradient of each variable, None where no path leads."""
    output_keys, variable_keys, steps = snapshot
    adjoints: dict[int, Part] = {}
    for key, pull in zip(output_keys, pulls):
        _accumulate(adjoints, key, (pull, OPEN))
    variables = set(variable_keys)
    with np.errstate(all="ignore"):  # NaN and infinity propagate silently, in arrays as in numbers
        for key, gate, operands, keys in steps:
            pull = adjoints.get(key) if key in variables else adjoints.pop(key, None)
            if pull is None:
                continue
            pulled = _row_pulls if isinstance(gate, gates.Row) else _gate_pulls
            if hasattr(gate, "recorded_pulls"):
                pulled = _parts_pulls
            elif isinstance(pull[0], Parts):  # of an array, through its alias
                pulled = _passed_on
            for operand_key, contribution in zip(keys, pulled(gate, pull, operands, keys)):
                _accumulate(adjoints, operand_key, contribution)
    return [adjoints[key][0] if key in adjoints else None for key in variable_keys]


def push_forward(snapshot: Any, directions: Sequence[Any]) -> list[Any]:
    """Sweep forward with gates: the tangent of each output, None where no path leads."""
    output_keys, variable_keys, steps = snapshot
    tangents: dict[int, Part] = {}
    for key, direction in zip(variable_keys, directions):
        _accumulate(tangents, key, (direction, OPEN))
    with np.errstate(all="ignore"):
        for key, gate, operands, keys in reversed(steps):
            arriving = [tangents.get(operand_key) for operand_key in keys]
            if key not in tangents and any(tangent is not None for tangent in arriving):
                if hasattr(gate, "recorded_tangent"):
                    parts = tuple([None if tangent is None else tangent[0] for tangent in arriving])
                    _accumulate(tangents, key, (gate.recorded_tangent(parts, operands), OPEN))
                    continue
                if arriving[0] is not None and isinstance(arriving[0][0], Parts):
                    if gate is gates.positive:  # the alias of an array
                        _accumulate(tangents, key, arriving[0])
                        continue
                arriving = [_of_first_result(tangent) for tangent in arriving]
                if isinstance(gate, gates.Row):
                    _accumulate(tangents, key, _row_tangent(gate, arriving, operands))
                else:
                    parts = tuple([None if tangent is None else tangent[0] for tangent in arriving])
                    _accumulate(tangents, key, (gate_tangent(gate, parts, operands), OPEN))
    return [tangents[key][0] if key in tangents else None for key in output_keys]


# A pull or a tangent on its way, and the places of it that are closed: zero because nothing comes through there, not
# because of the values at hand. What is recorded for a closed place must let nothing out of it in the next derivative.
Part = tuple[Any, Any]
OPEN = np.False_


def _accumulate(sums: dict[int, Part], key: int | None, part: Part | None) -> None:
    """Add a pull or tangent to the sum at a key; an exact zero adds nothing."""
    if key is None or part is None or part[0] is None:
        return
    term, closed = part
    if isinstance(term, Parts) or (key in sums and isinstance(sums[key][0], Parts)):
        sums[key] = (Parts.of(sums[key][0]) + term if key in sums else term), OPEN
        return
    if not is_handle(term) and not (term if type(term) is float else np.any(term)):
        return
    sums[key] = (sums[key][0] + term, sums[key][1] & closed) if key in sums else part


def _parts_pulls(gate: Any, pull: Part, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Part | None]:
    """Return what a gate of many results pulls on each operand that has a key."""
    found = gate.recorded_pulls(Parts.of(pull[0]), operands, [key is not None for key in keys])
    return [None if part is None else (part, OPEN) for part in found]


def _passed_on(gate: Any, pull: Part, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Part | None]:
    """Return the pull as it is: what stands for an array has one operand."""
    return [pull]


def _of_first_result(tangent: Part | None) -> Part | None:
    """Return the tangent of a number; of a gate of many results, which stands for its first one, that of this."""
    if tangent is None or not isinstance(tangent[0], Parts):
        return tangent
    return (tangent[0].found[0], OPEN) if 0 in tangent[0].found else None


def _row_pulls(row: gates.Row, pull: Part, operands: Sequence[Any], keys: Sequence[int | None]) -> list[Part | None]:
    """Return what a row of the table pulls on each operand that has a key."""
    pulls: list[Part | None] = []
    for i, key in enumerate(keys):
        part = None if key is None else _product(row, pull, _partial(row, i, operands))
        if part is not None and shape_of(part[0]) != shape_of(operands[i]):
            part = unbroadcast(part[0], shape_of(operands[i])), OPEN
        pulls.append(part)
    return pulls


def _row_tangent(row: gates.Row, arriving: Sequence[Part | None], operands: Sequence[Any]) -> Part | None:
    """Return the tangent of a row's result: the sum of its operands' tangents times its partials."""
    total: dict[int, Part] = {}
    for i, tangent in enumerate(arriving):
        if tangent is not None:
            _accumulate(total, 0, _product(row, tangent, _partial(row, i, operands)))
    if not total:
        return None
    shape = () if row.arity == gates.SEQUENCE else np.broadcast_shapes(*map(shape_of, operands))
    return broadcast_to(total[0][0], shape), total[0][1]


def _partial(row: gates.Row, i: int, operands: Sequence[Any]) -> Any:
    """Return the partial of a row with respect to its operand `i`, recorded where operands are handles."""
    return row.partials(i, operands) if row.arity == gates.SEQUENCE else row.partials[i](*operands)


def _product(row: gates.Row, part: Part, partial: Any) -> Part | None:
    """Return a pull (or tangent) times a partial; None if nothing comes through."""
    pull, closed = part
    if row.strong and _is_traced(partial):  # whether anything comes through is decided at every replay
        return gates.where(partial == 0.0, 0.0, gates.strong_multiply(pull, partial)), closed
    if row.strong:  # nothing comes through a partial of exactly 0, not even infinity
        closed = closed | np.equal(plain(partial), 0.0)
    if not is_handle(pull):
        closed = closed | np.equal(pull, 0.0)
    if closed.all():
        return None
    if not is_handle(partial) and shape_of(partial) == () and partial == 1.0:
        return pull, closed
    if not is_handle(pull) and shape_of(pull) == () and pull == 1.0:
        return partial, closed
    product = gates.strong_multiply(pull, partial)
    if closed.any():
        product = gates.where(np.broadcast_to(closed, shape_of(product)), 0.0, product)
    return product, closed


def _is_traced(x: Any) -> bool:
    """Say whether a handle's value is not known, because a circuit is being recorded."""
    return is_handle(x) and hasattr(x._tape, "recording")


def _gate_pulls(gate: gates.Gate, pull: Part, operands: Sequence[Any], _: Any) -> list[Part]:
    """Return what a gate of arrays, or of the user's own, pulls on its operands."""
    returned = gate.backward(pull[0], *operands)
    pulls = returned if isinstance(returned, tuple) else (returned,)
    if len(pulls) != len(operands):
        raise ValueError(
            f"{gate.name}.backward returned {len(pulls)} pulls for {len(operands)} operands; "
            "expected a tuple of one each"
        )
    for position, (pulled, operand) in enumerate(zip(pulls, operands)):
        if pulled is not None and shape_of(pulled) != shape_of(operand):
            raise ValueError(
                f"{gate.name}.backward: the pull on operand {position} has shape {shape_of(pulled)}; "
                f"expected {shape_of(operand)}"
            )
    return [(pulled, OPEN) for pulled in pulls]
