"""From instructions over runs to steps of single gates, for a program at one point."""

from typing_extensions import disjoint_base

from fastprop.engine.program.program import Program

@disjoint_base
class Writer:
    def __init__(self, program: Program) -> None: ...
