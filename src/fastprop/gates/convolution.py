"""Convolution and pooling, as products and reductions of windows.

Names, layout (N, C, …) and padding are PyTorch's; `convolve` is NumPy's.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import Block, MatMul, Max, Mean, Reduction, Scatter, StrongMatMul, shape_of, swap_last
from fastprop.gates.items import as_item, as_recorded, described, is_traced
from fastprop.gates.shapes import flip

__all__ = ["convolve", "conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"]

Numbers = tuple[int, ...]


class Windows(Block, moves=True):
    """What lies in a window that moves over the last axes: its places, then its numbers, as new axes."""

    def __init__(self, sizes: Numbers, strides: Numbers, dilations: Numbers):
        self.sizes, self.strides, self.dilations = sizes, strides, dilations

    def forward(self, x: Any) -> Any:
        """Return all windows; those of `sizes` (3,) over (N, C, 5) have the shape (N, C, 3, 3)."""
        n = len(self.sizes)
        spans = tuple([d * (k - 1) + 1 for k, d in zip(self.sizes, self.dilations)])
        seen = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(x.ndim - n, x.ndim)))
        places = tuple([slice(None, None, s) for s in self.strides])
        index: Any = (..., *places, *[slice(None, None, d) for d in self.dilations])
        return seen[index].copy()

    def backward(self, pull: Any, x: Any) -> Any:
        """Return the sum of the pulls that each number gets in all windows."""
        return Unwindowed(self, shape_of(x))(pull)

    def tangent(self, tangents: tuple[Any, ...], x: Any) -> Any:
        """Return the windows of the tangents."""
        return self(tangents[0])


class Unwindowed(Block):
    """The sum, for every number, of what windows have in its place."""

    def __init__(self, windows: Windows, shape: Numbers):
        self.windows, self.shape = windows, shape

    def forward(self, seen: Any) -> Any:
        """Return the sums: for each number of the window, all its places at once."""
        total = np.zeros(self.shape, seen.dtype)
        n = len(self.windows.sizes)
        counts = seen.shape[-2 * n : -n]
        for place in np.ndindex(self.windows.sizes):
            starts = [k * d for k, d in zip(place, self.windows.dilations)]
            index: Any = (..., *[slice(a, a + s * c, s) for a, s, c in zip(starts, self.windows.strides, counts)])
            total[index] += seen[(..., *place)]
        return total

    def backward(self, pull: Any, seen: Any) -> Any:
        """Return the windows of the pull."""
        return self.windows(pull)

    def tangent(self, tangents: tuple[Any, ...], seen: Any) -> Any:
        """Return the sums of the tangents."""
        return self(tangents[0])


class Convolution(Block):
    """The products of all windows with all kernels, group by group, as products of matrices."""

    product: type[MatMul] = MatMul

    def __init__(self, windows: Windows, groups: int):
        self.windows, self.groups = windows, groups

    def forward(self, x: Any, weight: Any) -> Any:
        """Return them as a block of (examples, channels, places)."""
        return self.composed(x, weight)

    def composed(self, x: Any, weight: Any) -> Any:
        """Return the same by gates."""
        columns, places = self.columns(x)
        table = self.product()(self.rows(weight), columns)
        return blocks.reshape(table, (shape_of(x)[0], shape_of(weight)[0], *places))

    def columns(self, x: Any) -> tuple[Any, Numbers]:
        """Return what lies in every window as a column of (examples, groups, numbers, windows); where windows lie."""
        seen = self.windows(x)
        n, shape = len(self.windows.sizes), shape_of(seen)
        places = shape[2 : 2 + n]
        order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
        taken = shape[1] // self.groups * math.prod(self.windows.sizes)
        return blocks.reshape(blocks.transpose(seen, order), (shape[0], self.groups, taken, math.prod(places))), places

    def rows(self, weight: Any) -> Any:
        """Return every kernel as a row of (groups, kernels, numbers)."""
        out, *kernel = shape_of(weight)
        return blocks.reshape(weight, (self.groups, out // self.groups, math.prod(kernel)))

    def backward(self, pull: Any, x: Any, weight: Any) -> Any:
        """Pull on the numbers in all windows, and on the kernels."""
        (columns, places), rows = self.columns(x), self.rows(weight)
        examples, _, taken, count = shape_of(columns)
        out = shape_of(rows)[1]
        pull = blocks.reshape(pull, (examples, self.groups, out, count))
        on_columns = blocks.reshape(
            StrongMatMul()(swap_last(rows), pull), (examples, shape_of(x)[1], *self.windows.sizes, *places)
        )
        n = len(places)
        order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
        on_x = Unwindowed(self.windows, shape_of(x))(blocks.transpose(on_columns, order))
        side = blocks.reshape(blocks.transpose(pull, (1, 2, 0, 3)), (self.groups, out, examples * count))
        down = blocks.reshape(blocks.transpose(columns, (1, 0, 3, 2)), (self.groups, examples * count, taken))
        return on_x, blocks.reshape(StrongMatMul()(side, down), shape_of(weight))

    def tangent(self, tangents: tuple[Any, ...], x: Any, weight: Any) -> Any:
        """Return the convolutions with what moves."""
        strong = StrongConvolution(self.windows, self.groups)
        on_x = None if tangents[0] is None else strong(tangents[0], weight)
        on_weight = None if tangents[1] is None else strong(x, tangents[1])
        return blocks.total([part for part in (on_x, on_weight) if part is not None])


class StrongConvolution(Convolution):
    """The chain rule's own: a factor of exactly 0 makes a product exactly 0."""

    product = StrongMatMul


class MaxOf(Max):
    """The greatest of those numbers that count, along axes; the others are not there."""

    def __init__(self, counts: np.ndarray, axes: Numbers):
        super().__init__(axes)
        self.counts = counts

    def forward(self, x: Any) -> Any:
        """Return the greatest numbers."""
        return np.max(x, axis=self.axis, where=self.counts, initial=-np.inf)

    def on_objects(self, x: np.ndarray) -> Any:
        """Record the greatest of the numbers that count."""
        x = x.copy()
        x[~np.broadcast_to(self.counts, x.shape)] = None
        return Reduction(self.axis).of_rows(lambda row: gates.max([y for y in row if y is not None]), x)

    def shares(self, x: Any) -> np.ndarray:
        """Return each number's share of the pull."""
        x = np.asarray(blocks.value_of(x))
        greatest = np.max(x, axis=self.axis, keepdims=True, where=self.counts, initial=-np.inf)
        chosen = ((x == greatest) & self.counts).astype(x.dtype)
        with np.errstate(invalid="ignore"):
            return np.where(self.counts, chosen / np.sum(chosen, axis=self.axis, keepdims=True), 0.0).astype(x.dtype)


def _numbers(name: str, what: str, given: Any, axes: int, least: int) -> Numbers:
    """Return an option as one integer per axis."""
    try:
        found = tuple(map(operator.index, given)) if np.ndim(given) else (operator.index(given),) * axes
    except TypeError:
        raise TypeError(f"{name}: {what} is {given!r:.60}; expected an integer, or one for each axis") from None
    if len(found) != axes or min(found) < least:
        raise ValueError(f"{name}: {what} is {given!r:.60}; expected {axes} of at least {least}")
    return found


def _widths(name: str, padding: Any, sizes: Numbers, strides: Numbers, dilations: Numbers) -> list[tuple[int, int]]:
    """Return how many numbers are padded before and behind along each axis."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding == "same":
        if max(strides) > 1:
            raise ValueError(f"{name}: padding 'same' with strides {strides}; expected strides of 1")
        spans = [d * (k - 1) for k, d in zip(sizes, dilations)]
        return [(span // 2, span - span // 2) for span in spans]
    return [(p, p) for p in _numbers(name, "padding", padding, len(sizes), 0)]


def _check_fit(name: str, lengths: Sequence[int], spans: Sequence[int], widths: Sequence[tuple[int, int]]) -> None:
    """Prove that a window fits into what is padded."""
    for n, span, (before, behind) in zip(lengths, spans, widths):
        if span > n + before + behind:
            raise ValueError(
                f"{name}: the window spans {span} of {n} + {before} + {behind} numbers; with length n, padding p and "
                "stride s there are floor((n + 2 p - span) / s) + 1 of them, and there must be at least one"
            )


def _padded(x: Any, widths: Sequence[tuple[int, int]]) -> Any:
    """Return a block with zeros around its last axes."""
    if not any(before or behind for before, behind in widths):
        return x
    shape = shape_of(x)
    lengths = shape[len(shape) - len(widths) :]
    new = tuple(before + n + behind for n, (before, behind) in zip(lengths, widths))
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(lengths, widths))
    return Scatter((*shape[: len(shape) - len(widths)], *new), (..., *inside))(x)


def _conv(
    name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Return the products of all windows with all kernels."""
    x, weight = as_item(x), as_item(weight)
    shape, kernel = shape_of(x), shape_of(weight)
    if len(shape) not in (axes + 1, axes + 2) or len(kernel) != axes + 2:
        raise ValueError(
            f"{name} of {described(x)} with weights of {described(weight)}; expected {axes + 2} axes each: (examples, "
            "channels, …), where the examples may be left out, and (channels out, channels in, …)"
        )
    if len(shape) == axes + 1:
        one = _conv(name, axes, blocks.reshape(x, (1, *shape)), weight, bias, stride, padding, dilation, groups)
        return blocks.reshape(one, shape_of(one)[1:])
    channels, out = kernel[1], kernel[0]
    if operator.index(groups) < 1 or shape[1] != channels * groups or out % groups:
        raise ValueError(
            f"{name}: {shape[1]} channels come in, the weights of shape {kernel} take {channels} in each of {groups} "
            "groups; expected channels in = groups * those of the weights, and channels out that the groups divide"
        )
    strides, dilations = _numbers(name, "stride", stride, axes, 1), _numbers(name, "dilation", dilation, axes, 1)
    sizes = kernel[2:]
    if min(sizes) < 1:
        raise ValueError(f"{name}: weights of shape {kernel}; expected kernels of at least one number")
    widths = _widths(name, padding, sizes, strides, dilations)
    _check_fit(name, shape[2:], [d * (k - 1) + 1 for k, d in zip(sizes, dilations)], widths)
    gate = Convolution(Windows(sizes, strides, dilations), operator.index(groups))
    x, weight = as_recorded(x), as_recorded(weight)
    traced = is_traced(x) or is_traced(weight)
    result = (gate.composed if traced else gate)(_padded(x, widths), weight)
    if bias is None:
        return result
    bias = as_item(bias)
    if shape_of(bias) != (out,):
        raise ValueError(f"{name}: the bias is of {described(bias)}; expected one number for each of {out} channels")
    return result + blocks.reshape(bias, (out, *(1,) * axes))


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the products of kernels with what lies under them along the last axis, as PyTorch's `conv1d` does.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, length), or of one example.
    weight : Array or array_like
        Of shape (channels out, channels in / groups, kernel's length); it is not reversed.
    bias : Array or array_like, optional
        One number for each channel that comes out.
    stride, dilation : int, optional
        How far kernels are apart, and the numbers that one takes.
    padding : int, "valid" or "same", optional
        How many zeros there are on either side; "same": as many as keep the length, an odd one behind.
    groups : int, optional
        Into how many parts the channels fall that don't meet.

    Raises
    ------
    ValueError
        If shapes do not meet, or the kernel is longer than what is padded.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.conv1d(fp.Array([[[1.0, 2.0, 3.0]]]), [[[1.0, 10.0]]]).value
    array([[[21., 32.]]])
    """
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the products of kernels with what lies under them along the last two axes, as PyTorch's `conv2d` does.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, height, width), or of one example.
    weight : Array or array_like
        Of shape (channels out, channels in / groups, kernel's height, kernel's width); it is not reversed.
    bias : Array or array_like, optional
        One number for each channel that comes out.
    stride, dilation : int or pair of int, optional
        How far kernels are apart, and the numbers that one takes.
    padding : int, pair of int, "valid" or "same", optional
        How many zeros there are on either side; "same": as many as keep the lengths, an odd one behind.
    groups : int, optional
        Into how many parts the channels fall that don't meet.

    Raises
    ------
    ValueError
        If shapes do not meet, or the kernel is longer than what is padded.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.conv2d(fp.Array(np.ones((1, 1, 3, 3))), np.ones((1, 1, 2, 2))).value
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def _pool(name: str, axes: int, x: Any, kernel_size: Any, stride: Any, padding: Any) -> tuple[Any, Any, Numbers]:
    """Return the windows of a block, which of their numbers are no padding, and their axes."""
    x = as_item(x)
    shape = shape_of(x)
    if len(shape) not in (axes + 1, axes + 2):
        raise ValueError(f"{name} of {described(x)}; expected {axes + 2} axes (examples, channels, …), or one less")
    sizes = _numbers(name, "kernel_size", kernel_size, axes, 1)
    strides = sizes if stride is None else _numbers(name, "stride", stride, axes, 1)
    widths = [(p, p) for p in _numbers(name, "padding", padding, axes, 0)]
    if any(2 * p > k for (p, _), k in zip(widths, sizes)):
        raise ValueError(f"{name}: padding {padding!r} of a window of {sizes}; expected half of the window at most")
    _check_fit(name, shape[len(shape) - axes :], sizes, widths)
    windows = Windows(sizes, strides, (1,) * axes)
    there = windows.forward(np.pad(np.ones(shape[len(shape) - axes :], bool), widths))
    seen = windows(_padded(x, widths))
    return seen, there, tuple(range(len(shape), len(shape) + axes))


def _max_pool(name: str, axes: int, x: Any, kernel_size: Any, stride: Any, padding: Any) -> Any:
    seen, there, inside = _pool(name, axes, x, kernel_size, stride, padding)
    return Max(inside)(seen) if there.all() else MaxOf(there, inside)(seen)


def max_pool1d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """Return the greatest number of every window along the last axis; ties share the gradient.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, length), or of one example.
    kernel_size : int
        The window's length.
    stride : int, optional
        How far windows are apart; by default their length.
    padding : int, optional
        How far windows may reach beyond either end, at most by half.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.max_pool1d(fp.Array([[[1.0, 3.0, 2.0, 0.0]]]), 2).value
    array([[[3., 2.]]])
    """
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding)


def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """Return the greatest number of every window along the last two axes; ties share the gradient.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, height, width), or of one example.
    kernel_size : int or pair of int
        The window's height and width.
    stride : int or pair of int, optional
        How far windows are apart; by default their lengths.
    padding : int or pair of int, optional
        How far windows may reach beyond either end, at most by half.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.max_pool2d(fp.Array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).value
    array([[[[3.]]]])
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding)


def _avg_pool(name: str, axes: int, x: Any, kernel_size: Any, stride: Any, padding: Any) -> Any:
    seen, _, inside = _pool(name, axes, x, kernel_size, stride, padding)
    return Mean(inside)(seen)


def avg_pool1d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """Return the mean of every window along the last axis; zeros that are padded are counted.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, length), or of one example.
    kernel_size : int
        The window's length.
    stride : int, optional
        How far windows are apart; by default their length.
    padding : int, optional
        How many zeros there are on either side, at most half of a window.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.avg_pool1d(fp.Array([[[1.0, 2.0, 3.0, 4.0]]]), 2, padding=1).value
    array([[[0.5, 2.5, 2. ]]])
    """
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding)


def avg_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """Return the mean of every window along the last two axes; zeros that are padded are counted.

    Parameters
    ----------
    x : Array or array_like
        Of shape (examples, channels, height, width), or of one example.
    kernel_size : int or pair of int
        The window's height and width.
    stride : int or pair of int, optional
        How far windows are apart; by default their lengths.
    padding : int or pair of int, optional
        How many zeros there are on either side, at most half of a window.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.avg_pool2d(fp.Array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2).value
    array([[[[1.5]]]])
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding)


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the discrete convolution of two rows of numbers, as `numpy.convolve` does.

    Parameters
    ----------
    a, v : Array or array_like
        The rows.
    mode : {"full", "same", "valid"}, optional
        Wherever they meet; as many numbers as the longer one has; where they meet as a whole.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.convolve(fp.Array([1.0, 2.0, 3.0]), [1.0, 10.0]).value
    array([ 1., 12., 23., 30.])
    """
    a, v = as_item(a), as_item(v)
    if len(shape_of(a)) != 1 or len(shape_of(v)) != 1 or not shape_of(a)[0] or not shape_of(v)[0]:
        raise ValueError(f"convolve of {described(a)} and {described(v)}; expected one axis each, and a number in it")
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    m = shape_of(v)[0]
    before = {"full": m - 1, "same": m // 2, "valid": 0}
    behind = {"full": m - 1, "same": m - 1 - m // 2, "valid": 0}
    if mode not in before:
        raise ValueError(f'convolve: mode {mode!r}; expected "full", "same" or "valid"')
    seen = Windows((m,), (1,), (1,))(_padded(a, [(before[mode], behind[mode])]))
    return MatMul()(seen, flip(v))
