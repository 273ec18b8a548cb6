"""The circuits that are measured, written once, as a user would write them, generic in the kind of number.

Each is a function of `(ops, inputs)`: arithmetic goes through the operators of the numbers given, `sigmoid` and `relu`
through the module or namespace `ops`. Each knows its gates (primitive operations) and its true value and gradient, from
formulas derived by hand and computed with NumPy: neither fastprop nor its reference has a part in them.

R1  a chain, y = y * a + b: as deep as it is long
R2  a wide sum of sigmoid neurons that share their weights
R3  one step of micrograd's demo: two moons, a network 2-16-16-1, max-margin loss, all examples
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

Number = Any
Answer = tuple[float, list[float]]

SIZES = (2, 16, 16, 1)
ALPHA = 1e-4


def float_sigmoid(x: float) -> float:
    """The sigmoid of a plain float, as one writes it without a library."""
    return 1.0 / (1.0 + math.exp(-x))


def float_relu(x: float) -> float:
    """The ramp of a plain float."""
    return x if x > 0.0 else 0.0


FLOATS = SimpleNamespace(sigmoid=float_sigmoid, relu=float_relu)


@dataclass(frozen=True)
class Workload:
    """A circuit, the point at which it is measured, and its true answer there."""

    name: str
    title: str
    circuit: Callable[[Any, Sequence[Number]], Number]
    inputs: list[float]
    gates: int
    truth: Callable[[], Answer]

    def prove(self, value: float, gradient: Sequence[float], tolerance: float = 1e-9) -> None:
        """Raise AssertionError unless this is the true answer, to within a relative tolerance."""
        true_value, true_gradient = self.truth()
        np.testing.assert_allclose(float(value), true_value, rtol=tolerance, err_msg=f"{self.name}: value")
        scale = max(map(abs, true_gradient))
        got = [float(number) for number in gradient]
        np.testing.assert_allclose(
            got, true_gradient, rtol=tolerance, atol=tolerance * scale, err_msg=f"{self.name}: gradient"
        )


def chain(length: int = 100_000) -> Workload:
    """R1: `length` times y = y * a + b."""
    inputs = [0.99999, 0.00001, 0.5]

    def circuit(ops: Any, inputs: Sequence[Number]) -> Number:
        a, b, y = inputs
        for _ in range(length):
            y = y * a + b
        return y

    def truth() -> Answer:
        a, b, y = inputs
        power = a**length
        total = (1.0 - power) / (1.0 - a)  # 1 + a + a² + …
        slope = (total - length * a ** (length - 1)) / (1.0 - a)  # its derivative in a
        return power * y + b * total, [length * a ** (length - 1) * y + b * slope, total, power]

    return Workload("R1", f"chain y = y·a + b, {2 * length:,} gates", circuit, inputs, 2 * length, truth)


def neurons(count: int = 20_000) -> Workload:
    """R2: the sum of `count` sigmoid neurons of two inputs, with one set of weights."""
    generator = random.Random(7)
    points = [(generator.gauss(0.0, 1.0), generator.gauss(0.0, 1.0)) for _ in range(count)]
    inputs = [1.0, 2.0, -0.3]

    def circuit(ops: Any, inputs: Sequence[Number]) -> Number:
        a, b, c = inputs
        sigmoid = ops.sigmoid
        total = a * 0.0
        for x, y in points:
            total = total + sigmoid(a * x + b * y + c)
        return total

    def truth() -> Answer:
        a, b, c = inputs
        x, y = np.array(points).T
        output = 1.0 / (1.0 + np.exp(-(a * x + b * y + c)))
        slope = output * (1.0 - output)
        return float(output.sum()), [float(total) for total in ((slope * x).sum(), (slope * y).sum(), slope.sum())]

    return Workload("R2", f"{count:,} sigmoid neurons, {6 * count + 1:,} gates", circuit, inputs, 6 * count + 1, truth)


def two_moons(count: int = 100, noise: float = 0.1, seed: int = 1337) -> list[tuple[list[float], float]]:
    """Points on two interleaved half circles, with the labels -1 and 1, in random order."""
    generator = random.Random(seed)
    examples = []
    for i in range(count):
        angle = math.pi * (i // 2) / max(count // 2 - 1, 1)
        x, y = math.cos(angle), math.sin(angle)
        if i % 2:
            x, y = 1.0 - x, 0.5 - y
        examples.append(([x + generator.gauss(0.0, noise), y + generator.gauss(0.0, noise)], 1.0 if i % 2 else -1.0))
    generator.shuffle(examples)
    return examples


def initial_parameters(sizes: Sequence[int] = SIZES, seed: int = 1337) -> list[float]:
    """Per neuron its weights, uniform between -1 and 1, then its bias, 0: micrograd's own start."""
    generator = random.Random(seed)
    parameters: list[float] = []
    for operands, outputs in pairwise(sizes):
        for _ in range(outputs):
            parameters += [generator.uniform(-1.0, 1.0) for _ in range(operands)] + [0.0]
    return parameters


def network(ops: Any, parameters: Sequence[Number], x: Sequence[Number], sizes: Sequence[int] = SIZES) -> Number:
    """The output of a network of neurons with ramps, but for its last layer."""
    relu = ops.relu
    start = 0
    for layer, (operands, outputs) in enumerate(pairwise(sizes)):
        y = []
        for _ in range(outputs):
            total = parameters[start + operands]
            for w, xi in zip(parameters[start : start + operands], x):
                total = total + w * xi
            y.append(relu(total) if layer < len(sizes) - 2 else total)
            start += operands + 1
        x = y
    return x[0]


def demo_step(examples_count: int = 100) -> Workload:
    """R3: the loss of micrograd's demo over all examples, with its L2 penalty."""
    examples = two_moons(examples_count)
    inputs = initial_parameters()

    def circuit(ops: Any, inputs: Sequence[Number]) -> Number:
        relu = ops.relu
        losses = None
        for x, label in examples:
            loss = relu(1.0 + (-label) * network(ops, inputs, x))
            losses = loss if losses is None else losses + loss
        penalty = None
        for parameter in inputs:
            square = parameter * parameter
            penalty = square if penalty is None else penalty + square
        return losses * (1.0 / len(examples)) + ALPHA * penalty

    pairs = list(pairwise(SIZES))
    for_one = sum(2 * operands * outputs for operands, outputs in pairs) + sum(SIZES[1:-1]) + 3
    gates = examples_count * for_one + examples_count - 1 + 2 * len(inputs) - 1 + 3
    title = f"micrograd's demo, one step, {gates:,} gates"
    return Workload("R3", title, circuit, inputs, gates, lambda: demo_truth(inputs, examples))


def demo_truth(parameters: Sequence[float], examples: Sequence[tuple[list[float], float]]) -> Answer:
    """Loss and gradient of R3, by matrices, with the backward pass written by hand."""
    layers, start = [], 0
    for operands, outputs in pairwise(SIZES):
        stop = start + outputs * (operands + 1)
        layers.append(np.array(parameters[start:stop]).reshape(outputs, operands + 1))
        start = stop
    activations = [np.array([x for x, _ in examples])]
    labels = np.array([label for _, label in examples])
    for k, layer in enumerate(layers):
        output = activations[-1] @ layer[:, :-1].T + layer[:, -1]
        activations.append(np.maximum(output, 0.0) if k < len(layers) - 1 else output)
    margin = 1.0 - labels * activations[-1][:, 0]
    value = np.maximum(margin, 0.0).mean() + ALPHA * sum((layer**2).sum() for layer in layers)
    pull = (-labels * (margin > 0.0) / len(examples))[:, None]
    gradients = []
    for k in reversed(range(len(layers))):
        gradients.append(np.hstack([pull.T @ activations[k], pull.sum(axis=0)[:, None]]) + 2.0 * ALPHA * layers[k])
        pull = (pull @ layers[k][:, :-1]) * (activations[k] > 0.0)
    return float(value), [float(number) for gradient in reversed(gradients) for number in gradient.ravel()]


def workloads(share: float = 1.0) -> list[Workload]:
    """R1, R2 and R3, at this share of their full size."""
    return [
        chain(max(int(100_000 * share), 1)),
        neurons(max(int(20_000 * share), 1)),
        demo_step(max(int(100 * share), 2)),
    ]
