"""The exceptions that are fastprop's own; each is also one of Python's."""

__all__ = ["StaleUnitError"]


class StaleUnitError(ValueError):
    """A result was used after its tape had been reset."""
