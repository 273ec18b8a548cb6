"""Classifiers written neuron by neuron: every weight is a Unit, every product and every sum is a gate."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import mul
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from fastprop import nn
from fastprop.engine.tape import show_lines_of

from .data import Example

show_lines_of(__file__)  # as if somebody had written it who uses fastprop

Unit = Any
"""A Unit of the engine that the classifier was given; a plain float where an input is meant."""

GAIN = {"tanh": 1.0, "relu": 2.0}
"""Activations, each with the variance of its weights times the number of inputs, so that signals keep their size."""


class Neuron:
    """One neuron: a weight for each input, a bias, and an activation on top.

    Parameters
    ----------
    weights : sequence of Unit
        One for each input.
    bias : Unit
        What the neuron adds to the weighted sum.
    activation : callable, optional
        A gate of one operand; without it the weighted sum itself comes out.
    """

    def __init__(self, weights: Sequence[Unit], bias: Unit, activation: Callable[[Unit], Unit] | None = None):
        self.weights = list(weights)
        self.bias = bias
        self.activation = activation

    def __call__(self, inputs: Sequence[Unit]) -> Unit:
        """Weigh the inputs, add them up, activate."""
        total = sum(map(mul, self.weights, inputs), self.bias)
        return total if self.activation is None else self.activation(total)

    def with_numbers(self, numbers: Iterator[Unit]) -> Neuron:
        """Make the same neuron of the next numbers: those of its weights, then that of its bias."""
        return Neuron([next(numbers) for _ in self.weights], next(numbers), self.activation)


class Classifier:
    """Layers of neurons: inputs go in as floats, a score for each class comes out.

    Parameters
    ----------
    sizes : sequence of int
        How many inputs, then how many neurons in each layer; the last layer has one neuron for each class.
    engine : module
        ``fastprop`` or ``fastprop.reference``: whose Units and gates to use.
    random : numpy.random.Generator
        Where the first weights come from.
    activation : {"tanh", "relu"}
        Of every layer but the last, whose scores are plain weighted sums.

    Examples
    --------
    >>> import numpy as np
    >>> from fastprop import reference
    >>> classifier = Classifier([2, 3, 2], reference, np.random.default_rng(0))
    >>> len(classifier.parameters)
    17
    >>> classifier.gates(([1.0, 0.0], 1))
    29
    """

    objective: ClassVar[Callable[..., Any]] = staticmethod(nn.cross_entropy)
    """The loss of scores and a label, as `fit` takes it."""

    def __init__(
        self, sizes: Sequence[int], engine: ModuleType, random: np.random.Generator, *, activation: str = "tanh"
    ):
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes {list(sizes)}; expected at least two, all of them 1 or more: inputs, …, classes")
        if activation not in GAIN:
            raise ValueError(f"activation {activation!r}; expected one of {', '.join(GAIN)}")
        self.sizes = list(sizes)
        self.engine = engine
        shapes = list(pairwise(sizes))
        hidden = [self._layer(*shape, random, GAIN[activation], getattr(engine, activation)) for shape in shapes[:-1]]
        self.layers = [*hidden, self._layer(*shapes[-1], random, 1.0, None)]

    @property
    def parameters(self) -> list[Unit]:
        """The weights and the bias of every neuron, layer by layer."""
        return [leaf for layer in self.layers for neuron in layer for leaf in (*neuron.weights, neuron.bias)]

    def __str__(self) -> str:
        """Say how many inputs there are, and how many neurons in each layer."""
        return "-".join(map(str, self.sizes))

    def _layer(
        self,
        inputs: int,
        outputs: int,
        random: np.random.Generator,
        gain: float,
        activation: Callable[[Unit], Unit] | None,
    ) -> list[Neuron]:
        """Make the neurons of one layer, with normally distributed weights and no bias yet."""
        unit = self.engine.Unit
        weights = random.normal(0.0, (gain / inputs) ** 0.5, (outputs, inputs)).tolist()
        return [Neuron([unit(weight) for weight in row], unit(0.0), activation) for row in weights]

    def __call__(self, inputs: Sequence[Unit]) -> list[Unit]:
        """Give the scores of one example, one for each class; the highest is the classifier's answer."""
        if len(inputs) != self.sizes[0]:
            raise ValueError(f"{len(inputs)} inputs; this classifier takes {self.sizes[0]}")
        return self._through(self.layers, inputs)

    @staticmethod
    def _through(layers: Sequence[Sequence[Neuron]], signals: Sequence[Unit]) -> list[Unit]:
        """Let signals go through layers."""
        for layer in layers:
            signals = [neuron(signals) for neuron in layer]
        return list(signals)

    def apply(self, values: Iterable[Unit], inputs: Iterable[Unit]) -> list[Unit]:
        """Give the scores with other numbers for the parameters, which stay: a function as `fit` takes it."""
        other, numbers = copy.copy(self), iter(values)
        other.layers = [[neuron.with_numbers(numbers) for neuron in layer] for layer in self.layers]
        return other([*inputs])

    def loss(self, scores: Sequence[Unit], label: int) -> Unit:
        """Cross-entropy: minus the logarithm of the probability that the scores give to the right class."""
        return self.engine.logsumexp(scores) - scores[label]

    def gradients(self, batch: Sequence[Example]) -> list[float]:
        """Give the gradient of a batch's mean loss, gate by gate.

        Each example gets a circuit of its own, pulled by its share of the mean; the gradients add up in the leaves.
        """
        self.engine.zero_grad(self.parameters)
        for inputs, label in batch:
            self.loss(self(inputs), label).backward(1.0 / len(batch))
        return [leaf.grad for leaf in self.parameters]

    def gates(self, example: Example) -> int:
        """Count the gates that the loss of one example takes; it is the same for all examples."""
        inputs, label = example
        with self.engine.Tape() as tape:
            loss = self.loss(self(inputs), label)
            count = len(tape)
        del loss  # held until here: a gate that no handle can reach need not be there to be counted
        return count

    @property
    def values(self) -> list[float]:
        """The values of all parameters; assignable."""
        return [leaf.value for leaf in self.parameters]

    @values.setter
    def values(self, values: Sequence[float]) -> None:
        if len(values) != len(self.parameters):
            raise ValueError(f"{len(values)} values; this classifier has {len(self.parameters)} parameters")
        for leaf, value in zip(self.parameters, values):
            leaf.value = value


class Machine(Classifier):
    """A support vector machine, structured: a wrong class whose score is not a margin of 1 below the right one pulls.

    Parameters
    ----------
    sizes, engine, random, activation
        As for `Classifier`.
    """

    objective = staticmethod(nn.multiclass_hinge)

    def loss(self, scores: Sequence[Unit], label: int) -> Unit:
        """By how much wrong classes come too close, summed."""
        relu, right = self.engine.relu, scores[label]
        return sum(relu(score - right + 1.0) for k, score in enumerate(scores) if k != label)


class Convolutional(Classifier):
    """Kernels look at every window of an image, the largest of four neighbours goes on, to layers as usual.

    Parameters
    ----------
    sizes : sequence of int
        Pixels of a square image, how many kernels, then how many neurons in each layer.
    engine, random, activation
        As for `Classifier`.
    """

    WINDOW = 3

    def __init__(
        self, sizes: Sequence[int], engine: ModuleType, random: np.random.Generator, *, activation: str = "relu"
    ):
        pixels, kernels, *rest = sizes
        self.width = math.isqrt(pixels)
        self.pooled = (self.width - self.WINDOW + 1) // 2
        super().__init__([kernels * self.pooled**2, *rest], engine, random, activation=activation)
        window = self.WINDOW**2
        self.layers = [
            self._layer(window, kernels, random, GAIN[activation], getattr(engine, activation)),
            *self.layers,
        ]

    def __str__(self) -> str:
        """Say how many kernels there are, and how many neurons in each layer."""
        return f"{len(self.layers[0])} kernels of {self.WINDOW} × {self.WINDOW}, pooled, {super().__str__()}"

    def __call__(self, inputs: Sequence[Unit]) -> list[Unit]:
        """Give the scores of one image, one for each class."""
        if len(inputs) != self.width**2:
            raise ValueError(f"{len(inputs)} inputs; this classifier takes {self.width**2}")
        near, pooled = range(self.WINDOW), range(self.pooled)

        def seen(kernel: Neuron, row: int, column: int) -> Unit:
            return kernel([inputs[self.width * (row + i) + column + j] for i in near for j in near])

        signals = [
            self.engine.max([seen(kernel, 2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)])
            for kernel in self.layers[0]
            for row in pooled
            for column in pooled
        ]
        return self._through(self.layers[1:], signals)
