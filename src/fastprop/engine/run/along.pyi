"""Maps in the lanes of another one: along its own lanes step by step, at a block of the other's lanes each."""

from typing_extensions import disjoint_base

from fastprop.engine.program.program import Wiring
from fastprop.engine.run.lanes import Bench, LaneRegion, LanesRun

@disjoint_base
class Inner:
    def __init__(self, run: LanesRun, gradient: bool, uniform: object, wanted: object) -> None: ...

@disjoint_base
class Along(LaneRegion):
    def __init__(self, wiring: Wiring, run: LanesRun, bench: Bench) -> None: ...
