"""Activations as layers, without parameters."""

from __future__ import annotations

from typing import Any

from fastprop.engine import functions
from fastprop.gates.reductions import log_softmax, softmax
from fastprop.nn.module import Module

__all__ = ["ELU", "GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    """The greater of x and 0; its slope at 0 is 0.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.ReLU()([-1.0, 2.0])
    array([0., 2.])
    """

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.relu(x)


class Tanh(Module):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.Tanh()(0.0)
    0.0
    """

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.Sigmoid()(0.0)
    0.5
    """

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta.

    Parameters
    ----------
    beta : float
        How steeply it bends.

    Examples
    --------
    >>> import fastprop as fp
    >>> round(fp.nn.Softplus()(0.0), 6)
    0.693147
    """

    def __init__(self, beta: float = 1.0):
        if not beta > 0.0:
            raise ValueError(f"Softplus with beta {beta}; expected more than 0")
        self.beta = beta

    def __call__(self, x: Any) -> Any:
        """Activate."""
        if self.beta == 1.0:
            return functions.softplus(x)
        return functions.divide(functions.softplus(functions.multiply(x, self.beta)), self.beta)


class LeakyReLU(Module):
    """x, or below 0 the slope times x.

    Parameters
    ----------
    negative_slope : float
        The slope below 0.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.LeakyReLU()([-1.0, 2.0])
    array([-0.01,  2.  ])
    """

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x, or below 0 alpha (exp(x) - 1).

    Parameters
    ----------
    alpha : float
        What it falls to, downwards.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.ELU()(2.0)
    2.0
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.elu(x, self.alpha)


class GELU(Module):
    """x times the normal distribution function of x.

    Examples
    --------
    >>> import fastprop as fp
    >>> round(fp.nn.GELU()(1.0), 6)
    0.841345
    """

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.gelu(x)


class SiLU(Module):
    """x sigmoid(x).

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.SiLU()(0.0)
    0.0
    """

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return functions.silu(x)


class Softmax(Module):
    """Powers over their sum: shares that add up to 1.

    Parameters
    ----------
    dim : int
        The axis along which they do.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.Softmax()([1.0, 1.0])
    array([0.5, 0.5])
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return softmax(x, axis=self.dim)


class LogSoftmax(Module):
    """The logarithms of the shares that `Softmax` gives.

    Parameters
    ----------
    dim : int
        The axis along which the shares add up to 1.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.nn.LogSoftmax()([1.0, 1.0]).round(6)
    array([-0.693147, -0.693147])
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        """Activate."""
        return log_softmax(x, axis=self.dim)
