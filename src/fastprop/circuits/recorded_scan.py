"""scan under trace: a region that runs a body at one step after the other, and how it is recorded.

To what records it, a scan is a map: its steps are lanes, of which each is given what the one before it carries on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastprop.circuits.mapping import example_of, flat_leaves, result_arrays, results_of, take_leaves
from fastprop.circuits.recorded_map import Given, RecordedMap
from fastprop.circuits.signature import Signature
from fastprop.circuits.steps import Steps, by_numbers, carried_on
from fastprop.circuits.trace import Recording, current_trace, decides
from fastprop.engine.bundle import Bundle, numbers_of
from fastprop.engine.integers import as_integer
from fastprop.engine.run import Along, Kind, PointRegion, ScanAlong, ScanAtPoint, ScanRun, sources
from fastprop.engine.slots import every_slot
from fastprop.engine.tape import Trace, record_region
from fastprop.handles.indexing import OutOfRangeError

__all__ = ["record_scan"]


class RecordedScan(RecordedMap):
    """A scan as it was recorded: a map in which the leaves of the body's first argument are carried.

    `carried` says how many numbers that are, `begins` which operands they are at first.
    """

    def __init__(self, f: Callable[..., Any], name: str, steps: Steps, signature: Signature, trace: Trace):
        super().__init__(f, name, steps.length, signature, trace, None)
        self.backwards, self.sums_numbers = steps.reverse, True
        self.carried, self.begins = 0, np.zeros(0, np.int32)
        self._carries = steps.carries

    def carry(self, leaves: Sequence[Any]) -> None:
        """Take what is carried into the first step: the leaves of the body's first argument."""
        blocks = [leaf if isinstance(leaf, Bundle) else numbers_of(leaf) for leaf in leaves]
        slots = [every_slot(self.trace, block) for block in blocks]
        self.begins = self.operands.numbers(np.concatenate([np.zeros(0, np.int32), *slots]))
        self.carried = len(self.begins)

    def _given(self, leaf: int, size: int) -> Given:
        if leaf >= self._carries:
            return super()._given(leaf, size)
        return sources(Kind.CARRY, leaf, self.first_input[leaf] + np.arange(size))

    def record_lane(self, point: np.ndarray[Any, Any], beginning: tuple[bool, ...] = (), lane: int = 0) -> Recording:
        """Record the path that a point takes; an error about an index names no lane, as steps are none."""
        try:
            return super().record_lane(point, beginning, lane)
        except OutOfRangeError as error:
            raise OutOfRangeError(error.text, error.lanes[1:]) from None

    def seal(self, numbers: int) -> None:
        """Say of how many operands it is a function; pulls are never among them."""
        super().seal(numbers)
        self.takes_pulls = False

    @property
    def title(self) -> str:
        """What it is, and how often its body is run."""
        return f"the scan of {self.name}, {self.lanes} steps"

    def is_swept(self, numbers: Any, arrays: Any) -> bool:
        """Say whether gradients inside can go through it."""
        return False

    def at_point(self, wiring: Any, run: Any) -> PointRegion:
        """Return one use of it at one point."""
        return ScanAtPoint(wiring, run)

    def in_lanes(self, wiring: Any, run: Any, bench: Any) -> Along:
        """Return one use of it in the lanes of a map."""
        return ScanAlong(wiring, run, bench)


def record_scan(step: Callable[..., Any], name: str, steps: Steps) -> Any:
    """Record a scan on the current trace; returns what the last step carries on, and LaneBlocks.

    None if the body decides: such a scan is recorded step by step.
    """
    trace = current_trace()
    assert trace is not None
    outer: Recording = trace.recording
    body = carried_on(step, name, steps)
    region = RecordedScan(body, name, steps, steps.signature, trace)
    leaves = flat_leaves(steps.signature, (steps.leaves, steps.xs), None)
    leaves[: steps.carries] = map(by_numbers, leaves[: steps.carries])
    found = take_leaves(region, leaves, steps.axes)
    fixed = steps.signature.fixed
    examples = [() if k in fixed else example_of(leaf, steps.axes[k], outer) for k, leaf in enumerate(found)]
    point = np.concatenate([np.zeros(0), *[np.ravel(x).astype(np.float64) for x in examples]])
    recording = region.grow_from(point)
    region.spread(range(steps.carries))
    if decides(recording.draft):
        outer.wasted = True
        return None
    region.carry(leaves[: steps.carries])
    region.outputs = len(recording.draft.outputs)
    region.value_arrays = result_arrays(recording, outer, steps.length, steps.carries)
    region.summed = region.carried > 0
    region.bind_arrays(recording, outer)
    values = _run_example(region, outer)
    region.settle()
    carry, ys = results_of(recording, region, record_region(trace, region, region.operands.slots, values))
    integers = steps.signature.integers
    leaves = [as_integer(x) if integers[k] else x for k, x in enumerate(carry)]
    return steps.carry(leaves), ys[0] if ys else None


def _run_example(region: RecordedScan, outer: Recording) -> list[float]:
    """Run a scan where it is recorded; returns what it carries on, and lets the arrays that it makes have examples."""
    arrays = outer.example_arrays()
    region.seal(len(region.operands))
    run = ScanRun(region, arrays, np.zeros(region.numbers, np.uint8), (), False)
    values: list[float] = run.run_at(region.operands.values().tolist())
    for a in region.makes:
        outer.examples[a] = arrays.values[a]
    return values
