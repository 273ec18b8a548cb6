"""What a gate is: the rows of the table as functions, and how each is applied."""

from fastprop.gates.partials import choose
from fastprop.gates.row import (
    SEQUENCE,
    Gate,
    Row,
    apply,
    is_condition,
    recorder_of,
    result_dtype,
)
from fastprop.gates.table import *  # noqa: F403 (each row)
from fastprop.gates.table import methods, table

__all__ = [
    "Gate",
    "Row",
    "SEQUENCE",
    "apply",
    "choose",
    "is_condition",
    "methods",
    "recorder_of",
    "result_dtype",
    "table",
]
__all__ += table
