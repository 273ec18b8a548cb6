"""A draft becomes a program: instructions, words, and where their numbers lie."""

from typing import Any

from typing_extensions import disjoint_base

from fastprop.engine.trace import Draft

# program/program

NAMES: Any
PULL_NAMES: Any
STEP_NAMES: Any

@disjoint_base
class Program:
    @property
    def lanes(self) -> bool: ...
    @property
    def gradient(self) -> bool: ...
    @property
    def inputs(self) -> int: ...
    @property
    def constants(self) -> Any: ...
    @property
    def slots(self) -> int: ...
    @property
    def adjoints(self) -> int: ...
    @property
    def scratch(self) -> int: ...
    @property
    def prologue(self) -> int: ...
    @property
    def outputs(self) -> Any: ...
    @property
    def seeds(self) -> Any: ...
    @property
    def assigned(self) -> Any: ...
    @property
    def guards(self) -> Any: ...
    @property
    def expected(self) -> Any: ...
    @property
    def uniform(self) -> Any: ...
    @property
    def wanted(self) -> Any: ...
    @property
    def outside(self) -> list[Any]: ...
    @property
    def instructions(self) -> Any: ...
    @property
    def nbytes(self) -> Any: ...
    def listing(self) -> Any: ...

def instruction_sets() -> Any: ...
def use_instruction_set(name: Any = None) -> Any: ...
def current_instruction_set() -> Any: ...

# program/assemble

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

# program/words

@disjoint_base
class Writer:
    def __init__(self, program: Program) -> None: ...
