"""What a trace records beside gates on numbers: gates on Arrays, stand-ins, gates of the caller's own."""

from typing import Any

from fastprop.engine.tracing import Trace
from fastprop.engine.unit import Unit

def apply_traced(gate: Any, operands: tuple[Any, ...], options: dict[Any, Any]) -> Any: ...
def slot_in(trace: Trace, unit: Unit) -> Any: ...
def outside_gate(trace: Trace, operands: list[Any], value: float) -> Any: ...
