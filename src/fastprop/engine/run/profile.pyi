"""Where the time of a replay goes: time per kind of instruction."""

from typing import Any

from fastprop.engine.run.replay import PointRun

PULL_NAMES: Any
STEP_NAMES: Any

def profile(run: PointRun, inputs: Any, pulls: Any, repeats: Any) -> Any: ...
