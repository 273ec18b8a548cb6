"""Convolution and pooling of one example: channels first, (C, length) or (C, height, width)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastprop.engine.tape import Array
from fastprop.gates import convolution
from fastprop.gates.items import as_item, described
from fastprop.gates.shapes import expand_dims
from fastprop.handles.nesting import shape_of
from fastprop.nn.init import Initialiser, Random, generator, whole
from fastprop.nn.linear import first_bias, first_weights
from fastprop.nn.module import Module

__all__ = ["AvgPool1d", "AvgPool2d", "Conv1d", "Conv2d", "MaxPool1d", "MaxPool2d"]


class _Conv(Module):
    """A convolution along some axes."""

    axes: ClassVar[int]
    convolve: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: Initialiser | None = None,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        name = type(self).__name__
        whole(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: {in_channels} channels in, {out_channels} out and {groups} groups; expected groups that "
                "divide both"
            )
        sizes = (kernel_size,) * self.axes if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sizes) != self.axes or min(sizes) < 1:
            raise ValueError(f"{name}: kernel_size {kernel_size!r}; expected {self.axes} numbers from 1 on, or one")
        if np.min(stride) < 1 or np.min(dilation) < 1:
            raise ValueError(f"{name}: stride {stride!r} and dilation {dilation!r}; expected numbers from 1 on")
        if padding not in ("valid", "same") if isinstance(padding, str) else np.min(padding) < 0:
            raise ValueError(f'{name}: padding {padding!r}; expected numbers from 0 on, "valid" or "same"')
        random, shape = generator(rng), (out_channels, in_channels // groups, *sizes)
        self.weight: Any = Array(first_weights(shape, init, random, dtype))
        fan_in = math.prod(shape[1:])
        self.bias: Any = Array(first_bias(out_channels, fan_in, init, random, dtype)) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def __call__(self, x: Any) -> Any:
        """Let the kernels go over one example."""
        x = example(self, x, self.axes)
        options = (self.stride, self.padding, self.dilation, self.groups)
        return type(self).convolve(expand_dims(x, 0), self.weight, self.bias, *options)[0]


class Conv1d(_Conv):
    """Kernels that go over the last axis of one example of shape (channels, length).

    Parameters
    ----------
    in_channels, out_channels : int
        How many channels come in, and how many come out.
    kernel_size : int
        How many numbers of each channel a kernel weighs.
    stride, dilation : int
        How far kernels are apart, and the numbers that one takes.
    padding : int, "valid" or "same"
        How many zeros there are on either side; "same": as many as keep the length, an odd one behind.
    groups : int
        Into how many parts the channels fall that don't meet.
    bias, init, rng, dtype
        As for `Linear`.

    Attributes
    ----------
    weight : Array
        Of shape (out_channels, in_channels / groups, kernel_size).
    bias : Array or None
        Of shape (out_channels,).

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.nn.Conv1d(2, 3, 5, rng=0)(np.ones((2, 12))).shape
    (3, 8)
    """

    axes = 1
    convolve = staticmethod(convolution.conv1d)


class Conv2d(_Conv):
    """Kernels that go over the last two axes of one example of shape (channels, height, width).

    Parameters
    ----------
    in_channels, out_channels : int
        How many channels come in, and how many come out.
    kernel_size : int or pair of int
        How many numbers of each channel a kernel weighs.
    stride, dilation : int or pair of int
        How far kernels are apart, and the numbers that one takes.
    padding : int, pair of int, "valid" or "same"
        How many zeros there are on either side; "same": as many as keep the lengths, an odd one behind.
    groups : int
        Into how many parts the channels fall that don't meet.
    bias, init, rng, dtype
        As for `Linear`.

    Attributes
    ----------
    weight : Array
        Of shape (out_channels, in_channels / groups, kernel height, kernel width).
    bias : Array or None
        Of shape (out_channels,).

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> fp.nn.Conv2d(1, 3, 3, padding="same", rng=0)(np.ones((1, 8, 8))).shape
    (3, 8, 8)
    """

    axes = 2
    convolve = staticmethod(convolution.conv2d)


class _Pool(Module):
    """A pooling along some axes."""

    axes: ClassVar[int]
    pool: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        if np.min(kernel_size) < 1 or (stride is not None and np.min(stride) < 1) or np.min(padding) < 0:
            raise ValueError(
                f"{type(self).__name__}: kernel_size {kernel_size!r}, stride {stride!r}, padding {padding!r}; expected "
                "windows and strides from 1 on, and padding from 0 on"
            )
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def __call__(self, x: Any) -> Any:
        """Let the window go over one example."""
        x = example(self, x, self.axes)
        return type(self).pool(expand_dims(x, 0), self.kernel_size, self.stride, self.padding)[0]


class MaxPool1d(_Pool):
    """The greatest number of every window over the last axis of (channels, length); ties share the gradient.

    Parameters
    ----------
    kernel_size : int
        The window's length.
    stride : int, optional
        How far windows are apart; by default their length.
    padding : int
        How far windows may reach beyond either end, at most by half.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.MaxPool1d(2)([[1.0, 3.0, 2.0, 0.0]])
    array([[3., 2.]])
    """

    axes = 1
    pool = staticmethod(convolution.max_pool1d)


class MaxPool2d(_Pool):
    """The greatest number of every window over the last two axes of (channels, height, width).

    Parameters
    ----------
    kernel_size : int or pair of int
        The window's height and width.
    stride : int or pair of int, optional
        How far windows are apart; by default their lengths.
    padding : int or pair of int
        How far windows may reach beyond either end, at most by half.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.MaxPool2d(2)([[[1.0, 3.0], [2.0, 0.0]]])
    array([[[3.]]])
    """

    axes = 2
    pool = staticmethod(convolution.max_pool2d)


class AvgPool1d(_Pool):
    """The mean of every window over the last axis of (channels, length); zeros that are padded are counted.

    Parameters
    ----------
    kernel_size : int
        The window's length.
    stride : int, optional
        How far windows are apart; by default their length.
    padding : int
        How many zeros there are on either side, at most half of a window.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.AvgPool1d(2)([[1.0, 3.0, 2.0, 0.0]])
    array([[2., 1.]])
    """

    axes = 1
    pool = staticmethod(convolution.avg_pool1d)


class AvgPool2d(_Pool):
    """The mean of every window over the last two axes of (channels, height, width); padded zeros are counted.

    Parameters
    ----------
    kernel_size : int or pair of int
        The window's height and width.
    stride : int or pair of int, optional
        How far windows are apart; by default their lengths.
    padding : int or pair of int
        How many zeros there are on either side, at most half of a window.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.AvgPool2d(2)([[[1.0, 3.0], [2.0, 0.0]]])
    array([[[1.5]]])
    """

    axes = 2
    pool = staticmethod(convolution.avg_pool2d)


def example(layer: Any, x: Any, axes: int) -> Any:
    """Return an input that has a channel axis and `axes` more: ValueError if it has not."""
    x = as_item(x)
    if len(shape_of(x)) != axes + 1:
        raise ValueError(
            f"{type(layer).__name__} of {described(x)}; expected one example, (channels, "
            f"{'length' if axes == 1 else 'height, width'}): fastprop.vmap makes lanes of a batch"
        )
    return x
