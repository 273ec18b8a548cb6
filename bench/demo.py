"""micrograd's own demo, with neurons as objects: two moons, a network 2-16-16-1, max-margin loss, all examples at once.

The classes are written once, in micrograd's manner, and take the library's number and its ramp.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from workloads import ALPHA, SIZES, two_moons


class Neuron:
    """A weighted sum of its inputs, through a ramp unless it is linear."""

    def __init__(self, number: Callable[[float], Any], relu: Callable[[Any], Any] | None, operands: int, seed: Any):
        self.weights = [number(seed.uniform(-1.0, 1.0)) for _ in range(operands)]
        self.bias = number(0.0)
        self.relu = relu

    def __call__(self, x: Sequence[Any]) -> Any:
        """The neuron's output."""
        total = sum((w * xi for w, xi in zip(self.weights, x)), self.bias)
        return total if self.relu is None else self.relu(total)


class Network:
    """Layers of neurons."""

    def __init__(self, number: Callable[[float], Any], relu: Callable[[Any], Any], sizes: Sequence[int] = SIZES):
        seed = random.Random(1337)
        self.layers = [
            [Neuron(number, relu if layer < len(sizes) - 2 else None, sizes[layer], seed) for _ in range(outputs)]
            for layer, outputs in enumerate(sizes[1:])
        ]

    def __call__(self, x: Sequence[Any]) -> Any:
        """The network's one output."""
        for layer in self.layers:
            x = [neuron(x) for neuron in layer]
        return x[0]

    def parameters(self) -> Iterable[Any]:
        """Every weight and bias."""
        return [p for layer in self.layers for neuron in layer for p in [*neuron.weights, neuron.bias]]


class Demo:
    """The demo's training loop, one step at a time, on a library's numbers."""

    def __init__(self, number: Callable[[float], Any], relu: Callable[[Any], Any], attribute: str = "value"):
        self.number, self.relu, self.attribute = number, relu, attribute
        self.network = Network(number, relu)
        self.examples = two_moons()
        self.steps = 0

    def step(self) -> tuple[float, float]:
        """One step of gradient descent; the loss and the accuracy before it."""
        relu, attribute, parameters = self.relu, self.attribute, self.network.parameters()
        inputs = [[self.number(xi) for xi in x] for x, _ in self.examples]
        scores = [self.network(x) for x in inputs]
        losses = [relu(1.0 + -label * score) for (_, label), score in zip(self.examples, scores)]
        loss = sum(losses) * (1.0 / len(losses)) + ALPHA * sum(p * p for p in parameters)
        right = [(label > 0) == (getattr(score, attribute) > 0) for (_, label), score in zip(self.examples, scores)]
        for p in parameters:
            p.grad = 0.0
        loss.backward()
        rate = 1.0 - 0.9 * self.steps / 100
        for p in parameters:
            setattr(p, attribute, getattr(p, attribute) - rate * p.grad)
        self.steps += 1
        return getattr(loss, attribute), sum(right) / len(right)


def plain_losses(steps: int) -> list[float]:
    """The losses of the first steps, by matrices: what every library must get."""
    from workloads import demo_truth, initial_parameters

    parameters, losses = initial_parameters(), []
    for k in range(steps):
        loss, gradient = demo_truth(parameters, two_moons())
        losses.append(loss)
        rate = 1.0 - 0.9 * k / 100
        parameters = [p - rate * g for p, g in zip(parameters, gradient, strict=True)]
    return losses
