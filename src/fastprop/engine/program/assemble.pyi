"""From a draft in order to a program: where every number lies, and the instructions forward and backward."""

from typing import Any

from typing_extensions import disjoint_base

from fastprop.engine.program.program import Program
from fastprop.engine.trace.draft import Draft

class Outsider:
    operands: list[int]
    payload: Any
    pull: int
    result: int
    targets: list[int]
    def __init__(self, payload: Any, operands: list[int], result: int) -> None: ...

@disjoint_base
class Layout:
    def __init__(
        self, draft: Draft, lanes: bool, gradient: bool, wanted: Any, uniform: Any, recycling: bool
    ) -> None: ...

class Assembler(Layout): ...

def assemble(
    draft: Draft,
    *,
    lanes: bool = False,
    gradient: bool = True,
    wanted: Any = None,
    uniform: Any = None,
    recycling: bool = True,
) -> Program: ...
