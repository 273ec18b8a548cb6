"""Nested containers of numbers and arrays, or Units and Arrays, as one vector of float64, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprop.handles.nesting import is_handle

from .parameters import given, taken

__all__ = ["Flat", "Vector"]

Vector = NDArray[np.float64]


class Flat:
    """How parameters lie in a vector.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What lies in it.
    owner : str
        What errors begin with.
    """

    def __init__(self, params: Any, owner: str):
        self.owner, self.source = owner, given(params, owner)
        self.names, self.leaves, self.nesting = taken(self.source, owner)
        self.handles = is_handle(self.leaves[0])
        self.shapes = [tuple(leaf.shape) if hasattr(leaf, "shape") else () for leaf in self.leaves]
        self.dtypes = [np.dtype(getattr(leaf, "dtype", np.float64)).newbyteorder("=") for leaf in self.leaves]
        self.ends = np.cumsum([int(np.prod(shape, dtype=np.int64)) for shape in self.shapes]).tolist()

    def __reduce__(self) -> Any:
        return Flat, (self.source, self.owner)  # a Module brings its leaves along, which are no one else's

    def vector(self, tree: Any, what: str) -> Vector:
        """Return the numbers of a container that is nested in the same way, and has the same shapes."""
        return self.joined(self.nesting.leaves_of(tree, what), what)

    def joined(self, leaves: list[Any], what: str) -> Vector:
        """Return the numbers of leaves, one after the other."""
        for name, leaf, shape in zip(self.names, leaves, self.shapes):
            if np.shape(leaf) != shape:
                raise ValueError(f"{self.owner}: {what} of {name} has shape {np.shape(leaf)}; expected {shape}")
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])

    def values(self) -> Vector:
        """Return the values of Units and Arrays."""
        return self.joined([leaf.value for leaf in self.leaves], "the value")

    def gradients(self) -> Vector:
        """Return the gradients of Units and Arrays."""
        return self.joined([leaf.grad for leaf in self.leaves], "the gradient")

    def assign(self, vector: Vector) -> None:
        """Give Units and Arrays their numbers."""
        for leaf, value in zip(self.leaves, self.parts(vector)):
            leaf.value = value

    def nested(self, vector: Vector) -> Any:
        """Return the container with its numbers from a vector; arrays in their dtypes."""
        return self.nesting.unflatten(self.parts(vector))

    def parts(self, vector: Vector) -> list[Any]:
        """Return numbers and arrays from a vector."""
        parts = []
        for start, end, shape, dtype in zip([0, *self.ends], self.ends, self.shapes, self.dtypes):
            part = vector[start:end].reshape(shape)
            parts.append(part.astype(dtype) if shape else float(part))
        return parts
