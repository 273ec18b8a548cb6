"""Once: a draft at one point, gate by gate, for what is not worth a program."""

from typing_extensions import disjoint_base

from fastprop.engine.trace.draft import Draft

@disjoint_base
class Once:
    def __init__(self, draft: Draft, single: bool) -> None: ...
