"""The gates as functions, one built-in per row of the table; their stub is made of the table, as `gates.lists` says."""

from fastprop import gates
from fastprop.engine import tape

globals().update({name: getattr(tape, name) for name in gates.table})
__all__ = list(gates.table)
