from typing import Any

from numpy.typing import NDArray

opcode_of: dict[str, int]
arity_of: dict[str, int]
strong_names: frozenset[str]

def evaluate(opcode: int, operands: tuple[NDArray[Any], ...]) -> NDArray[Any]: ...
def partials(opcode: int, operands: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], ...]: ...
def scalar(opcode: int, operands: tuple[float, ...]) -> tuple[float, tuple[float, ...]]: ...
