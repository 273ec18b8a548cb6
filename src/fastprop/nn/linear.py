"""Layers that are products with weights, what puts layers in a row, and tables that are looked up."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastprop.derivatives.call import name_of
from fastprop.engine.functions import max as greatest
from fastprop.engine.tape import Array, stop_gradient
from fastprop.gates.items import as_item
from fastprop.gates.items import described as shape_in_words
from fastprop.gates.products import matmul
from fastprop.gates.shapes import ravel, swapaxes
from fastprop.handles.nesting import described, is_handle, shape_of
from fastprop.nn.init import Initialiser, Random, fan_in_uniform, generator, named, normal, uniform, whole, zeros
from fastprop.nn.labels import as_labels, rows_at
from fastprop.nn.leaves import is_leaf
from fastprop.nn.module import Module

__all__ = ["Bilinear", "Embedding", "Flatten", "Identity", "Linear", "Maxout", "Sequential"]


class Linear(Module):
    """A weighted sum of all inputs for every output, and a bias: ``weight @ x + bias``.

    Parameters
    ----------
    in_features, out_features : int
        How many numbers come in, and how many come out.
    bias : bool
        Whether there is a bias.
    init : str or callable, optional
        Where the first weights come from: the name of a function in `fastprop.nn.init`, such as "he_normal", or a
        function ``(shape, rng, dtype)``; biases then begin at 0. By default both are uniform between ±1/√in_features,
        as PyTorch's.
    rng : None, int or numpy.random.Generator
        The random numbers for it.
    dtype : dtype, optional
        float64, or float32.

    Attributes
    ----------
    weight : Array
        Of shape (out_features, in_features).
    bias : Array or None
        Of shape (out_features,).

    Examples
    --------
    >>> import fastprop as fp
    >>> layer = fp.nn.Linear(3, 2, rng=0)
    >>> layer([1.0, 2.0, 3.0]).shape
    (2,)
    >>> layer
    Linear(weight: (2, 3), bias: (2,))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initialiser | None = None,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        whole("Linear", in_features=in_features, out_features=out_features)
        random = generator(rng)
        self.weight: Any = Array(first_weights((out_features, in_features), init, random, dtype))
        self.bias: Any = Array(first_bias(out_features, in_features, init, random, dtype)) if bias else None

    def __call__(self, x: Any) -> Any:
        """Weigh the numbers along the last axis of `x`, which may have others before it."""
        x = checked(self, x, shape_of(self.weight)[1])
        y = matmul(self.weight, x) if len(shape_of(x)) == 1 else matmul(x, swapaxes(self.weight, 0, 1))
        return y if self.bias is None else y + self.bias


class Bilinear(Module):
    """For every output a weighted sum of all products of two inputs' numbers: Σ x1[i] weight[o, i, j] x2[j] + bias[o].

    Parameters
    ----------
    in1_features, in2_features, out_features : int
        How many numbers each input has, and how many come out.
    bias, init, rng, dtype
        As for `Linear`; the fan-in is `in1_features`.

    Examples
    --------
    >>> import fastprop as fp
    >>> layer = fp.nn.Bilinear(3, 2, 4, rng=0)
    >>> layer([1.0, 2.0, 3.0], [1.0, -1.0]).shape
    (4,)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initialiser | None = None,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        whole("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        random, shape = generator(rng), (out_features, in1_features, in2_features)
        first = first_weights((out_features * in2_features, in1_features), init, random, dtype)
        self.weight: Any = Array(np.swapaxes(first.reshape(out_features, in2_features, in1_features), 1, 2))
        self.bias: Any = Array(first_bias(shape[0], in1_features, init, random, dtype)) if bias else None

    def __call__(self, x1: Any, x2: Any) -> Any:
        """Weigh the products of two inputs of one axis each."""
        _, first, second = shape_of(self.weight)
        y = matmul(matmul(self.weight, checked(self, x2, second, 1)), checked(self, x1, first, 1))
        return y if self.bias is None else y + self.bias


class Maxout(Module):
    """The greatest of several weighted sums for every output; ties share the gradient.

    Parameters
    ----------
    in_features, out_features : int
        How many numbers come in, and how many come out.
    pieces : int
        How many sums there are for every output.
    bias, init, rng, dtype
        As for `Linear`.

    Examples
    --------
    >>> import fastprop as fp
    >>> layer = fp.nn.Maxout(3, 2, pieces=4, rng=0)
    >>> layer([1.0, 2.0, 3.0]).shape
    (2,)
    >>> layer
    Maxout(weight: (2, 4, 3), bias: (2, 4))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int = 2,
        bias: bool = True,
        *,
        init: Initialiser | None = None,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        whole("Maxout", in_features=in_features, out_features=out_features, pieces=pieces)
        if pieces < 1:
            raise ValueError(f"Maxout with pieces {pieces}; expected at least one sum for every output")
        random, outputs = generator(rng), out_features * pieces
        weight = first_weights((outputs, in_features), init, random, dtype)
        first = first_bias(outputs, in_features, init, random, dtype) if bias else None
        self.weight: Any = Array(weight.reshape(out_features, pieces, in_features))
        self.bias: Any = None if first is None else Array(first.reshape(out_features, pieces))

    def __call__(self, x: Any) -> Any:
        """Give the greatest sums for an input of one axis."""
        y = matmul(self.weight, checked(self, x, shape_of(self.weight)[2], 1))
        return greatest(y if self.bias is None else y + self.bias, axis=-1)


class Embedding(Module):
    """A table with a row for every token.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        How many tokens there are, and how long a row is.
    padding_idx : int, optional
        A token that stands for nothing: its row begins as zeros, and has no gradient.
    init : str or callable, optional
        Where the first rows come from, normally distributed by default.
    rng, dtype
        As for `Linear`.

    Examples
    --------
    >>> import fastprop as fp
    >>> table = fp.nn.Embedding(10, 3, rng=0)
    >>> table(4).shape, table([1, 2, 1, 0]).shape
    ((3,), (4, 3))
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: Initialiser | None = None,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        whole("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        shape = (num_embeddings, embedding_dim)
        weight = (normal if init is None else named(init))(shape, generator(rng), dtype)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx {padding_idx}; expected one of {num_embeddings} tokens")
            padding_idx %= num_embeddings
            weight[padding_idx] = 0.0
        self.weight: Any = Array(weight)
        self.padding_idx = padding_idx

    def __call__(self, tokens: Any) -> Any:
        """Give the rows of tokens: integers from 0 on, one or an array of them.

        Raises
        ------
        TypeError
            If they are no integers.
        IndexError
            If one is negative or too large; in a mapped function it names the lane.
        """
        table = self.weight
        if self.padding_idx is not None and is_handle(table):
            table = table.at[self.padding_idx].set(stop_gradient(table[self.padding_idx]))
        return rows_at("Embedding: token", table, as_labels("Embedding", "token", tokens, shape_of(self.weight)[0]))


class Flatten(Module):
    """All numbers of one example in a row.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.nn.Flatten()(np.ones((2, 3, 4))).shape
    (24,)
    """

    def __call__(self, x: Any) -> Any:
        """Put the numbers in a row."""
        return ravel(x)


class Identity(Module):
    """What comes in.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.Identity()(2.0)
    2.0
    """

    def __call__(self, x: Any) -> Any:
        """Give what comes in."""
        return x


class Sequential(Module):
    """Layers in a row: what comes out of one goes into the next.

    Parameters
    ----------
    *layers : Module or callable
        Functions without parameters may stand among them.

    Raises
    ------
    TypeError
        If a layer cannot be called, or is a class of layers.

    Warns
    -----
    UserWarning
        If all neurons of a layer before another one begin with the same weights: they would stay the same.

    Examples
    --------
    >>> import fastprop as fp
    >>> model = fp.nn.Sequential(fp.nn.Linear(4, 8, rng=0), fp.nn.ReLU(), fp.nn.Linear(8, 2, rng=1))
    >>> model([1.0, 2.0, 3.0, 4.0]).shape
    (2,)
    >>> len(model), model[0]
    (3, Linear(weight: (8, 4), bias: (8,)))
    """

    def __init__(self, *layers: Any):
        for i, layer in enumerate(layers):
            if isinstance(layer, type) and issubclass(layer, Module):
                raise TypeError(f"Sequential: layer {i} is the class {layer.__name__}; expected {layer.__name__}()")
            if not callable(layer):
                more = ": give *layers" if isinstance(layer, (list, tuple)) else ""
                raise TypeError(f"Sequential: layer {i} is {described(layer)}; expected a layer, or a function{more}")
        self.layers = list(layers)
        weighted = [layer for layer in layers if is_leaf(getattr(layer, "weight", None))]
        for layer in weighted[:-1]:
            weight = np.asarray(layer.weight.value)
            if weight.ndim > 1 and weight.shape[0] > 1 and weight.size and np.all(weight == weight[:1]):
                warnings.warn(
                    f"all neurons of {layer!r} have the same weights, before another layer: they all learn the same; "
                    "let an initialiser with random numbers break the symmetry",
                    UserWarning,
                    stacklevel=2,
                )

    def parts(self) -> Mapping[str, Any]:
        """Return the layers by their numbers, as PyTorch names them."""
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def __call__(self, x: Any) -> Any:
        """Let it go through all layers."""
        for place, layer in enumerate(self.layers):
            if place and isinstance(x, tuple):
                self._check_pair(place)
            x = layer(x)
        return x

    def _check_pair(self, place: int) -> None:
        """Refuse a layer of one block behind one that gives several things: it would make one block of them."""
        before, after = self.layers[place - 1 : place + 1]
        ours = type(after).__module__.startswith("fastprop.nn.") and not isinstance(after, (Sequential, Identity))
        if isinstance(before, Module) and ours:
            raise TypeError(
                f"Sequential: layer {place - 1}, {type(before).__name__}, gives a tuple, and layer {place}, "
                f"{type(after).__name__}, takes one block: put a function between them, such as lambda both: both[0]"
            )

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __repr__(self) -> str:
        names = [repr(layer) if isinstance(layer, Module) else name_of(layer) for layer in self.layers]
        return f"Sequential({', '.join(names)})"


# For all layers -------------------------------------------------------------------------------------------------------


def first_weights(
    shape: tuple[int, ...], init: Initialiser | None, random: np.random.Generator, dtype: DTypeLike | None | None
) -> np.ndarray[Any, Any]:
    """Return the weights that a layer begins with, PyTorch's by default."""
    return np.asarray((fan_in_uniform if init is None else named(init))(shape, random, dtype))


def first_bias(
    size: int, fan_in: int, init: Initialiser | None, random: np.random.Generator, dtype: DTypeLike | None | None
) -> np.ndarray[Any, Any]:
    """Return the biases that a layer begins with: PyTorch's by default, 0 beside weights of one's own."""
    bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
    return zeros((size,), dtype=dtype) if init else uniform((size,), random, dtype, low=-bound, high=bound)


def checked(layer: Any, x: Any, features: int, ndim: int | None = None) -> Any:
    """Return an input whose last axis is as long as a layer wants it: ValueError if it is not."""
    x = as_item(x)
    shape = shape_of(x)
    if not shape or shape[-1] != features or len(shape) != (ndim or len(shape)):
        raise ValueError(
            f"{type(layer).__name__} of {shape_in_words(x)}; expected {features} numbers along the "
            f"{'one' if ndim == 1 else 'last'} axis: a layer takes one example, fastprop.vmap makes lanes of a batch"
        )
    return x
