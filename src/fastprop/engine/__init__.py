"""The compiled engine: Unit, Array and Tape, and the gates as functions."""

from fastprop.engine import face, functions  # noqa: F401 (face completes Unit)
from fastprop.engine.array import Array
from fastprop.engine.functions import *  # noqa: F403 (one name per row of the gate table)
from fastprop.engine.tape import Tape, current_tape
from fastprop.engine.unit import Unit

__all__ = ["Array", "Tape", "Unit", "current_tape"]
__all__ += functions.__all__
