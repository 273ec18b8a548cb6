"""What a gate is: the rows of the table as functions, and how each is applied."""

from fastprop.gates.partials import choose
from fastprop.gates.row import (
    SEQUENCE,
    Gate,
    Row,
    apply,
    as_real,
    as_reals,
    is_condition,
    number,
    recorder_of,
    result_dtype,
)
from fastprop.gates.table import *  # noqa: F403 (each row)
from fastprop.gates.table import table

__all__ = [
    "Gate",
    "Row",
    "SEQUENCE",
    "apply",
    "as_real",
    "as_reals",
    "choose",
    "is_condition",
    "number",
    "recorder_of",
    "result_dtype",
    "table",
]
__all__ += table
