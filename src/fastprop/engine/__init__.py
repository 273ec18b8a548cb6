"""The compiled engine: Unit, Array and Tape, and the gates as functions."""

from fastprop.engine import (
    functions,
    opaque,  # noqa: F401 (it tells the tape how traced functions record)
    tape,
    truth,  # noqa: F401 (and how NumPy's functions do)
)
from fastprop.engine.functions import *  # noqa: F403 (one name per row of the gate table)
from fastprop.engine.take import take
from fastprop.engine.tape import *  # noqa: F403

__all__ = ["take"]
__all__ += tape.__all__
__all__ += functions.__all__
