"""The compiled engine: Unit, Array and Tape, and the gates as functions."""

from fastprop.engine.tape import face, functions  # noqa: F401 (face completes Unit)
from fastprop.engine.tape.array import Array
from fastprop.engine.tape.functions import *  # noqa: F403 (one name per row of the gate table)
from fastprop.engine.tape.tape import Tape, current_tape
from fastprop.engine.tape.unit import Unit

__all__ = ["Array", "Tape", "Unit", "current_tape"]
__all__ += functions.__all__
