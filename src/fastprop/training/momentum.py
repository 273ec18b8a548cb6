"""Gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Momentum:
    """Leaves that roll downhill: each keeps a velocity, which the gradient changes and friction wears off.

    Parameters
    ----------
    parameters : sequence of Unit
        The leaves to move.
    rate : float
        What the gradient is scaled by before it is taken off the velocity.
    momentum : float, default 0.9
        What is left of the velocity after a step, 0 to 1; 0 is plain gradient descent.
    """

    def __init__(self, parameters: Sequence[Any], rate: float, momentum: float = 0.9):
        if not rate > 0.0:
            raise ValueError(f"rate {rate}; expected a number above 0")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum {momentum}; expected a number from 0 up to, not including, 1")
        self.parameters = list(parameters)
        self.rate = rate
        self.momentum = momentum
        self.velocity = np.zeros(len(self.parameters))

    def update(self) -> None:
        """Move every leaf by its velocity, once the gradients have been added to that."""
        gradient = np.fromiter((leaf.grad for leaf in self.parameters), np.float64, len(self.parameters))
        with np.errstate(over="ignore", invalid="ignore"):  # as floats do; the loss will tell
            self.velocity = self.momentum * self.velocity - self.rate * gradient
        for leaf, change in zip(self.parameters, self.velocity.tolist()):
            leaf.value += change
