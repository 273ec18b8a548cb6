"""What a traced Array refuses: to be read, which would bake a constant in."""

from __future__ import annotations

from typing import Any, NoReturn

from fastprop import gates
from fastprop.engine.integers import refuse_index
from fastprop.engine.tape import refuse, refuse_gradient

__all__ = ["Unread"]


class Unread:
    """What has no value while it is traced."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        """Refuse: it would bake a constant in."""
        refuse("the value of a traced Array")

    @value.setter
    def value(self, value: Any) -> NoReturn:
        raise ValueError(
            "the value of a traced Array can't be assigned: it is recorded; write x = x.at[i].set(v), or x = v"
        )

    @property
    def grad(self) -> Any:
        """Refuse: a traced value has none."""
        refuse_gradient()

    def backward(self, pull: Any = None) -> NoReturn:
        """Refuse: there is nothing to sweep yet."""
        refuse_gradient()

    def __float__(self) -> NoReturn:
        refuse("the value of a traced Array, by float(),")

    def __int__(self) -> NoReturn:
        refuse("the value of a traced Array, by int(),")

    def __index__(self) -> NoReturn:
        self.__array__()

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        if self.integer:  # type: ignore[attr-defined]
            refuse_index()
        if gates.is_condition(self):
            refuse(
                "traced truth values, by NumPy,",
                remedy="for x[mask] write fp.where(mask, x, 0.0), or fp.Array(x)[mask], an if for each of them; for "
                "x[mask] = v write x = fp.where(mask, v, x)",
            )
        refuse("the value of a traced Array, by NumPy,")

    def __bool__(self) -> NoReturn:
        raise TypeError("the truth value of a traced Array says nothing; compare it, and use any() or all() of that")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a traced Array belongs to the trace that made it and can be neither copied nor pickled")
