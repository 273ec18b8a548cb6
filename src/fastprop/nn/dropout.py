"""Dropout: numbers left out at random, so that no neuron relies on another one."""

from __future__ import annotations

from typing import Any

from fastprop.engine.functions import strong_multiply
from fastprop.gates.items import as_item
from fastprop.handles.nesting import shape_of
from fastprop.nn.module import Module
from fastprop.random import bernoulli

__all__ = ["Dropout"]


class Dropout(Module):
    """While it learns, every number is 0 with some probability, and the others grow, so that their mean stays.

    Which ones are left out a key decides, and in a vmap the lane: the same for any number of threads. It comes from
    ``model.apply(params, x, key=key)``: every Dropout of the model folds its own number into it. One Dropout that
    stands in two places leaves out the same in both.

    A key is an integer from 0 to 2**53 - 1, such as ``fastprop.random.fold_in(7, step)``. Another plain number is a
    ValueError; a traced one (an argument of a compiled function, or in a vmap) makes all numbers NaN.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> layer = fp.nn.Dropout(0.5)
    >>> layer(np.ones(6), key=3)
    array([0., 0., 2., 2., 0., 0.])
    >>> layer.eval()(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    draws = True

    def __init__(self, p: float = 0.5):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout with p {p}; expected a probability, from 0 to 1")
        self.p = p

    def __call__(self, x: Any, key: Any = None) -> Any:
        """Leave numbers out, if it learns.

        Raises
        ------
        ValueError
            If it learns, and has no key.
        """
        x = as_item(x)
        if not self.training or self.p == 0.0:
            return x
        key = self.key if key is None else key
        if key is None:
            raise ValueError(
                "Dropout that learns needs a key: model.apply(params, x, key=fastprop.random.key(0)), another one at "
                "every step; or model.eval()"
            )
        if self.p == 1.0:
            return strong_multiply(0.0, x)
        kept = bernoulli(key, 1.0 - self.p, shape_of(x))
        return strong_multiply(kept * (1.0 / (1.0 - self.p)), x)

    def __repr__(self) -> str:
        return f"Dropout(p={self.p})"
