"""The exceptions that are fastprop's own; each is also one of Python's."""

__all__ = ["DivergenceError", "StaleUnitError"]


class StaleUnitError(ValueError):
    """A result was used after its tape had been reset."""


class DivergenceError(ValueError):
    """A circuit was replayed where a branch goes another way than where it was recorded."""
