"""Attention: every query's mean of values, weighed by how its products with the keys compare."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastprop.engine.functions import where
from fastprop.engine.tape import Array
from fastprop.gates import is_condition
from fastprop.gates.items import as_item, described
from fastprop.gates.products import matmul
from fastprop.gates.reductions import softmax
from fastprop.gates.shapes import reshape, swapaxes
from fastprop.handles.nesting import shape_of
from fastprop.nn.dropout import Dropout
from fastprop.nn.init import Random, generator, glorot_uniform, whole, zeros
from fastprop.nn.labels import as_block
from fastprop.nn.linear import Linear, checked
from fastprop.nn.module import Module

__all__ = ["MultiheadAttention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, is_causal: bool = False, scale: float | None = None
) -> Any:
    """Return for every query the mean of the values, weighed by the softmax of its products with the keys.

    Parameters
    ----------
    query : Array or array_like
        Of shape (…, queries, features).
    key, value : Array or array_like
        Of shapes (…, keys, features) and (…, keys, value features).
    attn_mask : array of bool, traced conditions, Array or array_like, optional
        Of shape (…, queries, keys). True: attend; where it is False the key has no weight. Numbers are added to the
        products.
    is_causal : bool
        Whether a query attends to no key behind its own place.
    scale : float, optional
        What the products are multiplied by; 1/√features by default.

    Returns
    -------
    Array
        Of shape (…, queries, value features); zeros for a query that attends to nothing.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.scaled_dot_product_attention([[1.0]], [[0.0], [0.0]], [[2.0], [4.0]])
    array([[3.]])
    >>> fp.nn.scaled_dot_product_attention([[1.0]], [[0.0], [0.0]], [[2.0], [4.0]], [[True, False]])
    array([[2.]])
    """
    return matmul(_weights(query, key, attn_mask, is_causal, scale), as_item(value))


def _weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float | None) -> Any:
    """Return for every query the weights of the keys."""
    query, key = as_item(query), as_item(key)
    features = shape_of(query)[-1]
    scale = scale if scale is not None else 1.0 / math.sqrt(features) if features else 1.0
    scores = matmul(query, swapaxes(key, -2, -1)) * scale
    mask, added = as_mask(attn_mask)
    if is_causal:
        causal = np.tri(shape_of(query)[-2], shape_of(key)[-2], dtype=bool)
        mask = causal if mask is None else mask & causal
    if added is not None:
        scores = scores + added
    if mask is None:
        return softmax(scores, axis=-1)
    some = np.any(mask, axis=-1, keepdims=True)  # where there is none, the softmax would be NaN
    return where(mask, softmax(where(mask, scores, where(some, -np.inf, 0.0)), axis=-1), 0.0)


def as_mask(mask: Any) -> tuple[Any, Any]:
    """Return where a mask lets attend (None: everywhere), and the numbers that it adds to the products (or None)."""
    if mask is None:
        return None, None
    mask = as_block(mask)
    if is_condition(mask) or mask.dtype == np.bool_:
        return mask, None
    return (mask > -np.inf, mask) if isinstance(mask, np.ndarray) else (None, mask)


class MultiheadAttention(Module):
    """Attention by several heads at once, each in a part of the features.

    Parameters
    ----------
    embed_dim : int
        How many features queries, keys, values and outputs have.
    num_heads : int
        How many heads; they divide `embed_dim`.
    dropout : float
        The probability with which a weight is left out while it learns, as in `Dropout`.
    bias : bool
        Whether the projections have biases.
    rng, dtype
        As for `Linear`.

    Attributes
    ----------
    in_proj_weight, in_proj_bias : Array
        Of 3 embed_dim rows: those of queries, keys, values.
    out_proj : Linear
        What the heads' outputs go through.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> layer = fp.nn.MultiheadAttention(8, 2, rng=0)
    >>> x = np.ones((5, 8))
    >>> output, weights = layer(x, x, x, is_causal=True)
    >>> output.shape, weights.shape
    ((5, 8), (5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        whole("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: {num_heads} heads of {embed_dim} features; expected a number that divides these"
            )
        random = generator(rng)
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.in_proj_weight: Any = Array(glorot_uniform((3 * embed_dim, embed_dim), random, dtype))
        self.in_proj_bias: Any = Array(zeros((3 * embed_dim,), dtype=dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=random, dtype=dtype)
        self.dropout = Dropout(dropout)
        if bias:
            self.out_proj.bias = Array(zeros((embed_dim,), dtype=dtype))

    def __call__(
        self, query: Any, key: Any, value: Any, attn_mask: Any = None, key_mask: Any = None, is_causal: bool = False
    ) -> tuple[Any, Any]:
        """Attend.

        Parameters
        ----------
        query, key, value : Array or array_like
            Of shapes (queries, embed_dim) and twice (keys, embed_dim).
        attn_mask : array, optional
            Of shape (queries, keys), as for `scaled_dot_product_attention`: True, attend.
        key_mask : array of bool or traced conditions, optional
            Which keys are real: the others have no weight, and may be NaN.
        is_causal : bool
            Whether a query attends to no key behind its own place.

        Returns
        -------
        output : Array
            Of shape (queries, embed_dim).
        weights : Array
            Of shape (queries, keys): the heads' mean.
        """
        query, key, value = [checked(self, x, self.embed_dim, 2) for x in (query, key, value)]
        if shape_of(key) != shape_of(value):
            raise ValueError(f"MultiheadAttention: keys of {described(key)}, values of {described(value)}")
        if key_mask is not None:
            real = as_block(key_mask)
            key, value = [where(real[:, None], x, 0.0) for x in (key, value)]
            mask, added = as_mask(attn_mask)
            mask = real[None, :] if mask is None else mask & real[None, :]
            attn_mask = mask if added is None else where(mask, added, -np.inf)
        heads = [self._heads(x, k) for k, x in enumerate((query, key, value))]
        weights = self.dropout(_weights(heads[0], heads[1], attn_mask, is_causal, None))
        together = swapaxes(matmul(weights, heads[2]), 0, 1)
        return self.out_proj(reshape(together, (shape_of(query)[0], self.embed_dim))), weights.mean(axis=0)

    def _heads(self, x: Any, k: int) -> Any:
        """Return the projections of queries (0), keys (1) or values (2), a block for every head."""
        rows = slice(k * self.embed_dim, (k + 1) * self.embed_dim)
        projected = matmul(x, swapaxes(self.in_proj_weight[rows], 0, 1))
        if self.in_proj_bias is not None:
            projected = projected + self.in_proj_bias[rows]
        return swapaxes(reshape(projected, (shape_of(x)[0], self.num_heads, self.embed_dim // self.num_heads)), 0, 1)
