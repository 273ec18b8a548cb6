"""Recurrent layers over one sequence of shape (steps, features), stacked and in both directions.

Names, shapes and equations are PyTorch's. A sequence in a batch of unlike lengths is padded, and says how many of its
steps are real: behind them outputs are 0 and the state stays, whatever the padding holds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastprop.circuits.scan import scan
from fastprop.engine import functions
from fastprop.engine.tape import Array
from fastprop.gates.items import as_item, described
from fastprop.gates.products import matmul
from fastprop.gates.shapes import concatenate, stack
from fastprop.handles.indexing import trace_of
from fastprop.handles.nesting import shape_of
from fastprop.nn.dropout import Dropout
from fastprop.nn.init import Random, generator, uniform, whole
from fastprop.nn.labels import as_block, as_labels, numbers_at
from fastprop.nn.module import Module

__all__ = ["GRU", "LSTM", "RNN"]

State = tuple[Any, ...]


class _Recurrent(Module):
    """What recurrent layers have in common; each says what one step does."""

    blocks: ClassVar[int]  # how many blocks of hidden_size rows the weights have
    states: ClassVar[int] = 1  # how many vectors make the state

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        name = type(self).__name__
        whole(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if num_layers < 1:
            raise ValueError(f"{name} with num_layers {num_layers}; expected at least one")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.bidirectional = bias, bidirectional
        if Dropout(dropout).p and num_layers == 1:
            warnings.warn(f"{name}: dropout {dropout} stands between layers, and there is one only", stacklevel=2)
        self.dropouts = [Dropout(dropout) for _ in range(num_layers - 1)]
        self.directions = ("", "_reverse") if bidirectional else ("",)
        random, rows = generator(rng), self.blocks * hidden_size
        bound = 1.0 / math.sqrt(hidden_size) if hidden_size else 0.0
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * len(self.directions)
            for direction in self.directions:
                shapes: list[tuple[str, tuple[int, ...]]] = [
                    *[("weight_ih", (rows, width)), ("weight_hh", (rows, hidden_size))],
                    *([("bias_ih", (rows,)), ("bias_hh", (rows,))] if bias else []),
                ]
                for kind, shape in shapes:
                    first = uniform(shape, random, dtype, low=-bound, high=bound)
                    setattr(self, f"{kind}_l{layer}{direction}", Array(first))

    def step(self, x: Any, h: Any, state: State) -> State:
        """Return the next state, of what comes from the input, what comes from the state, and the state."""
        raise TypeError(f"{type(self).__name__} says nothing of one step")

    def __call__(self, x: Any, state: Any = None, length: Any = None) -> tuple[Any, Any]:
        """Go over a sequence.

        Parameters
        ----------
        x : Array or array_like
            Of shape (steps, input_size).
        state : Array or array_like, or for an LSTM a pair of them, optional
            Where to begin, of shape (num_layers * directions, hidden_size); 0 by default.
        length : int or traced integer, optional
            How many of the steps are real; all by default. The backward direction begins at the last of them. Under
            trace it is an integer as labels are: another number is a TypeError, one out of range an IndexError.

        Returns
        -------
        output : Array
            The last layer's hidden state after every step, of shape (steps, directions * hidden_size).
        state : Array, or for an LSTM a pair of Arrays
            The last state of every layer and direction.
        """
        x = as_item(x)
        if len(shape_of(x)) != 2 or shape_of(x)[1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} of {described(x)}; expected one sequence, (steps, {self.input_size}): "
                "fastprop.vmap makes lanes of a batch"
            )
        steps = shape_of(x)[0]
        length = self._checked_length(length, steps)
        first, outputs = self._first_states(state), x
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = self.dropouts[layer - 1](outputs) if layer else outputs
            sides = []
            for direction in self.directions:
                begun = first[len(last)]
                hidden, ended = self._over(outputs, f"_l{layer}{direction}", begun, length, bool(direction))
                sides.append(hidden)
                last.append(ended)
            outputs = sides[0] if len(sides) == 1 else concatenate(sides, axis=1)
        found = tuple([stack([part[k] for part in last]) for k in range(self.states)])
        return outputs, found[0] if self.states == 1 else found

    def _checked_length(self, length: Any, steps: int) -> Any:
        """Return how many steps are real; traced ones are checked as labels are, where they are looked up."""
        name = type(self).__name__
        if length is None:
            return None
        if shape_of(as_block(length)):
            raise ValueError(
                f"{name}: length of {described(as_block(length))}; expected one integer: fastprop.vmap makes lanes of "
                "a batch"
            )
        if trace_of(length) is not None:
            labels = as_labels(name, "length", length, steps + 1)
            return numbers_at(f"{name}: length", np.arange(steps + 1.0), labels)
        if not (0 <= length <= steps and length == int(length)):
            raise ValueError(
                f"{name}: length {length} of a sequence of {steps} steps; expected an integer from 0 to {steps}"
            )
        return length

    def _first_states(self, state: Any) -> list[State]:
        """Return the state of every layer and direction to begin with."""
        sides = self.num_layers * len(self.directions)
        shape = (sides, self.hidden_size)
        if state is None:
            dtype = self.weight_hh_l0.dtype  # type: ignore[attr-defined]
            return [(np.zeros(self.hidden_size, dtype),) * self.states] * sides
        if self.states > 1 and not isinstance(state, (tuple, list)):
            raise ValueError(
                f"{type(self).__name__}: a state of {described(as_item(state))}; expected a pair (h, c), each of the "
                f"shape {shape}"
            )
        parts = [as_item(part) for part in ((state,) if self.states == 1 else state)]
        if len(parts) != self.states or any(shape_of(part) != shape for part in parts):
            raise ValueError(
                f"{type(self).__name__}: a state of {', '.join(map(described, parts))}; expected {self.states} of the "
                f"shape {shape}"
            )
        return [tuple([part[k] for part in parts]) for k in range(sides)]

    def _over(self, x: Any, suffix: str, state: State, length: Any, backwards: bool) -> tuple[Any, State]:
        """Return the hidden states of one layer in one direction, and its last state."""
        steps = shape_of(x)[0]
        weight_ih, weight_hh = getattr(self, f"weight_ih{suffix}"), getattr(self, f"weight_hh{suffix}")
        bias_ih, bias_hh = [getattr(self, f"{name}{suffix}", None) for name in ("bias_ih", "bias_hh")]

        def step(state: State, given: tuple[Any, Any]) -> tuple[State, Any]:
            row, t = given
            inputs, recurrent = matmul(weight_ih, row), matmul(weight_hh, state[0])
            if self.bias:
                inputs, recurrent = inputs + bias_ih, recurrent + bias_hh
            found = self.step(inputs, recurrent, state)
            if length is None:
                return found, found[0]
            real = t < length
            kept = tuple([functions.where(real, new, old) for new, old in zip(found, state)])
            return kept, functions.where(real, found[0], 0.0)

        last, hidden = scan(step, tuple(state), (x, np.arange(steps)), reverse=backwards)
        return hidden, last

    def _part(self, x: Any, k: int) -> Any:
        """Return one of the blocks of rows."""
        return x[k * self.hidden_size : (k + 1) * self.hidden_size]


class RNN(_Recurrent):
    """Elman's recurrent layer: h' = tanh(W x + b + U h + c).

    Parameters
    ----------
    input_size, hidden_size : int
        How many numbers a step of the input, and the state, have.
    num_layers : int
        How many layers are stacked.
    nonlinearity : {"tanh", "relu"}
        What is on top.
    bias : bool
        Whether there are biases, two of them.
    dropout : float
        The probability with which an output between two layers is left out while it learns, as in `Dropout`.
    bidirectional : bool
        Whether every layer goes backwards over the sequence, too.
    rng, dtype
        As for `Linear`; all parameters begin uniform between ±1/√hidden_size.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Array
        W, U, b, c of the first layer, and so on: ``_l1``, and ``_l0_reverse`` of the backward direction.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> output, state = fp.nn.RNN(3, 4, num_layers=2, rng=0)(np.ones((5, 3)))
    >>> output.shape, state.shape
    ((5, 4), (2, 4))
    """

    blocks = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Random = None,
        dtype: DTypeLike | None = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'RNN with nonlinearity {nonlinearity!r}; expected "tanh" or "relu"')
        super().__init__(input_size, hidden_size, num_layers, bias, dropout, bidirectional, rng=rng, dtype=dtype)
        self.nonlinearity: Callable[[Any], Any] = getattr(functions, nonlinearity)

    def step(self, x: Any, h: Any, state: State) -> State:
        """Return the next state."""
        return (self.nonlinearity(x + h),)


class LSTM(_Recurrent):
    """A recurrent layer with a memory c: c' = f c + i g and h' = o tanh(c').

    The gates i, f, o are sigmoids, and g is a tanh, of W x + b + U h + c; their rows come in the order i f g o.

    Parameters
    ----------
    input_size, hidden_size : int
        How many numbers a step of the input, and the state, have.
    num_layers : int
        How many layers are stacked.
    bias : bool
        Whether there are biases, two of them.
    dropout : float
        The probability with which an output between two layers is left out while it learns, as in `Dropout`.
    bidirectional : bool
        Whether every layer goes backwards over the sequence, too.
    rng, dtype
        As for `Linear`; all parameters begin uniform between ±1/√hidden_size.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Array
        Of 4 hidden_size rows, and so on: ``_l1``, and ``_l0_reverse`` of the backward direction.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> output, (h, c) = fp.nn.LSTM(3, 4, bidirectional=True, rng=0)(np.ones((5, 3)))
    >>> output.shape, h.shape, c.shape
    ((5, 8), (2, 4), (2, 4))
    """

    blocks = 4
    states = 2

    def step(self, x: Any, h: Any, state: State) -> State:
        """Return the next state."""
        sums = x + h
        enter, keep, leave = [functions.sigmoid(self._part(sums, k)) for k in (0, 1, 3)]
        cell = keep * state[1] + enter * functions.tanh(self._part(sums, 2))
        return leave * functions.tanh(cell), cell


class GRU(_Recurrent):
    """A recurrent layer with gates r, z and n = tanh(W x + b + r (U h + c)): h' = (1 - z) n + z h.

    The rows of the weights come in the order r z n.

    Parameters
    ----------
    input_size, hidden_size : int
        How many numbers a step of the input, and the state, have.
    num_layers : int
        How many layers are stacked.
    bias : bool
        Whether there are biases, two of them.
    dropout : float
        The probability with which an output between two layers is left out while it learns, as in `Dropout`.
    bidirectional : bool
        Whether every layer goes backwards over the sequence, too.
    rng, dtype
        As for `Linear`; all parameters begin uniform between ±1/√hidden_size.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Array
        Of 3 hidden_size rows, and so on: ``_l1``, and ``_l0_reverse`` of the backward direction.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> output, state = fp.nn.GRU(3, 4, rng=0)(np.ones((5, 3)))
    >>> output.shape, state.shape
    ((5, 4), (1, 4))
    """

    blocks = 3

    def step(self, x: Any, h: Any, state: State) -> State:
        """Return the next state."""
        reset, update = [functions.sigmoid(self._part(x, k) + self._part(h, k)) for k in (0, 1)]
        new = functions.tanh(self._part(x, 2) + reset * self._part(h, 2))
        return ((1.0 - update) * new + update * state[0],)
