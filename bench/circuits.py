"""P1 to P6: circuits that are recorded once and then replayed at new inputs, one point at a time.

Like R1 to R3 each is written once, as a user would write it, generic in the kind of number: a function of `(ops, x)`,
`x` the inputs in order. Each knows its gates and its true value and gradient, which a formula derived by hand gives
(P6: a sweep backward through plain lists, written for its five kinds of gates): neither fastprop nor its reference has
a part in them. Seeds and sizes are fixed, so that figures of different days and machines are of the same circuits.

P1  a neuron                                   P4   Rosenbrock's function of 1,000 inputs
P2  a network 3-3-3-1 at one example           P4L  the same of 100,000
P3  a product of 1,000 inputs                  P5   a call option after Black and Scholes
                                               P6   an irregular circuit of 100,000 gates
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

from workloads import float_relu, float_sigmoid

Number = Any
Answer = tuple[Any, Any]  # a value and a gradient; of a batch, arrays of them

FLOATS = SimpleNamespace(
    exp=math.exp, log=math.log, sqrt=math.sqrt, tanh=math.tanh, erf=math.erf, sigmoid=float_sigmoid, relu=float_relu
)
HALF_ROOT = 0.7071067811865476  # 1/sqrt(2)

NETWORK = (3, 3, 3, 1)
EXAMPLE, TARGET = (0.5, -1.2, 0.8), 0.7


def agree(got: Answer, truth: Answer, tolerance: float, what: str) -> None:
    """Raise AssertionError unless value and gradient are the true ones, relative to the largest of each."""
    for part, true_part, name in zip(got, truth, ("value", "gradient")):
        true_part = np.asarray(true_part, dtype=float)
        scale = np.abs(true_part).max()
        np.testing.assert_allclose(
            np.asarray(part, dtype=float), true_part, rtol=tolerance, atol=tolerance * scale, err_msg=f"{what}: {name}"
        )


@dataclass(frozen=True)
class Circuit:
    """A circuit of one point's inputs, and the point where its answer is proved."""

    name: str
    title: str
    function: Callable[[Any, Sequence[Number]], Number]
    point: np.ndarray
    gates: int
    formula: Callable[[np.ndarray], Answer]

    def points(self, count: int = 4) -> np.ndarray:
        """Rows of inputs: the first is where the answer is proved, the others lie near it."""
        generator = np.random.default_rng(3)
        near = [self.point * (1.0 + 1e-3 * generator.standard_normal(self.point.size)) for _ in range(count - 1)]
        return np.stack([self.point, *near])

    def prove(self, answer: Answer, tolerance: float = 1e-9) -> None:
        """Raise AssertionError unless this is the true answer, to within a relative tolerance."""
        agree(answer, self.formula(self.point), tolerance, self.name)


# The circuits


def neuron(ops: Any, inputs: Sequence[Number]) -> Number:
    """P1: a sigmoid neuron of two inputs."""
    a, b, c, x, y = inputs
    return ops.sigmoid(a * x + b * y + c)


def network_error(
    ops: Any, weights: Sequence[Number], x: Sequence[Number] = EXAMPLE, target: Number = TARGET
) -> Number:
    """P2: the squared error of a network of sigmoid neurons at one example."""
    start = 0
    for operands, outputs in pairwise(NETWORK):
        y = []
        for _ in range(outputs):
            total = weights[start + operands]
            for i in range(operands):
                total = total + weights[start + i] * x[i]
            y.append(ops.sigmoid(total))
            start += operands + 1
        x = y
    error = x[0] - target
    return 0.5 * (error * error)


def product(ops: Any, x: Sequence[Number]) -> Number:
    """P3: the product of all inputs, one after another."""
    y = x[0]
    for i in range(1, len(x)):
        y = y * x[i]
    return y


def rosenbrock(ops: Any, x: Sequence[Number]) -> Number:
    """P4: Rosenbrock's function, as a loop over scalars."""
    total = None
    for i in range(len(x) - 1):
        u = x[i + 1] - x[i] * x[i]
        w = 1.0 - x[i]
        term = 100.0 * (u * u) + w * w
        total = term if total is None else total + term
    return total


def black_scholes(ops: Any, inputs: Sequence[Number]) -> Number:
    """P5: the price of a call option."""
    spot, strike, time, rate, sigma = inputs
    spread = sigma * ops.sqrt(time)
    d1 = (ops.log(spot / strike) + (rate + 0.5 * (sigma * sigma)) * time) / spread
    d2 = d1 - spread
    n1 = 0.5 + 0.5 * ops.erf(d1 * HALF_ROOT)
    n2 = 0.5 + 0.5 * ops.erf(d2 * HALF_ROOT)
    return spot * n1 - strike * ops.exp(-(rate * time)) * n2


GATES_OF_A_KIND = {"mul": 1, "tanh": 1, "add": 2, "sub": 2, "exp": 2}
LAST = 200  # nodes, of which the sum is the circuit's value


def irregular_nodes(gates: int, inputs: int, window: int = 1000, seed: int = 42) -> list[tuple[str, int, int]]:
    """Random nodes (kind, operand, operand), so many that they and the last sum have this many gates.

    Operands are among the last `window` nodes, one in fifty among the inputs, lest the gradient vanish with depth.
    """
    generator = random.Random(seed)
    kinds, nodes, count, place = list(GATES_OF_A_KIND), [], 0, inputs

    def operand() -> int:
        if generator.random() < 0.02:
            return generator.randrange(inputs)
        return generator.randrange(max(0, place - window), place)

    while count < gates - LAST:
        kind = kinds[generator.randrange(len(kinds))]
        nodes.append((kind, operand(), operand()))
        count += GATES_OF_A_KIND[kind]
        place += 1
    return nodes


def irregular(nodes: Sequence[tuple[str, int, int]], ops: Any, x: Sequence[Number]) -> Number:
    """P6: the circuit of such nodes; every value stays between -1 and 1."""
    values = [x[i] for i in range(len(x))]
    tanh, exp = ops.tanh, ops.exp
    for kind, i, j in nodes:
        if kind == "mul":
            values.append(values[i] * values[j])
        elif kind == "tanh":
            values.append(tanh(values[i]))
        elif kind == "add":
            values.append((values[i] + values[j]) * 0.5)
        elif kind == "sub":
            values.append((values[i] - values[j]) * 0.5)
        else:
            values.append(exp(values[i] - 1.0))
    total = values[-1]
    for value in values[-LAST - 1 : -1]:
        total = total + value
    return total


# Their answers. P1, P2 and P5 take arrays, too: V1 to V3 are the same circuits at many points.


def neuron_formula(inputs: np.ndarray) -> Answer:
    """P1's value and gradient."""
    a, b, c, x, y = inputs
    s = 1.0 / (1.0 + np.exp(-(a * x + b * y + c)))
    slope = s * (1.0 - s)
    return s, np.stack([slope * x, slope * y, slope, slope * a, slope * b])


def network_formula(weights: np.ndarray, x: Any = EXAMPLE, target: Any = TARGET) -> Answer:
    """P2's value and gradient, by matrices; x of shape (3, …) for many examples."""
    layers, start, activations = [], 0, [np.asarray(x, dtype=float)]
    for operands, outputs in pairwise(NETWORK):
        layers.append(np.reshape(weights[start : start + outputs * (operands + 1)], (outputs, operands + 1)))
        start += outputs * (operands + 1)
    for layer in layers:
        total = np.tensordot(layer[:, :-1], activations[-1], 1).T + layer[:, -1]
        activations.append(1.0 / (1.0 + np.exp(-total.T)))
    error = activations[-1][0] - target
    pull, gradients = error[None], []
    for layer, below, above in zip(layers[::-1], activations[-2::-1], activations[:0:-1]):
        pull = pull * above * (1.0 - above)
        gradients.append(np.concatenate([pull[:, None] * below[None], pull[:, None]], axis=1))
        pull = np.tensordot(layer[:, :-1].T, pull, 1)
    rows = [row for gradient in reversed(gradients) for neuron in gradient for row in neuron]
    return 0.5 * error**2, np.stack(rows)


def product_formula(x: np.ndarray) -> Answer:
    """P3's value and gradient."""
    return np.prod(x), np.prod(x) / x


def rosenbrock_formula(x: np.ndarray) -> Answer:
    """P4's value and gradient."""
    u, w = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400.0 * u * x[:-1] - 2.0 * w
    gradient[1:] += 200.0 * u
    return (100.0 * u**2 + w**2).sum(), gradient


def black_scholes_formula(inputs: np.ndarray) -> Answer:
    """P5's value and its five greeks."""
    spot, strike, time, rate, sigma = inputs
    normal = np.vectorize(lambda z: 0.5 * math.erfc(-z * HALF_ROOT), otypes=[float])
    d1 = (np.log(spot / strike) + (rate + 0.5 * sigma**2) * time) / (sigma * np.sqrt(time))
    n1, n2 = normal(d1), normal(d1 - sigma * np.sqrt(time))
    discount = np.exp(-rate * time)
    density = np.exp(-0.5 * d1**2) / math.sqrt(2.0 * math.pi)
    theta = spot * density * sigma / (2.0 * np.sqrt(time)) + rate * strike * discount * n2
    greeks = [n1, -discount * n2, theta, strike * time * discount * n2, spot * density * np.sqrt(time)]
    return spot * n1 - strike * discount * n2, np.stack(greeks)


def irregular_formula(nodes: Sequence[tuple[str, int, int]], x: np.ndarray) -> Answer:
    """P6's value and gradient: forward and backward through plain lists."""
    values, slopes = x.tolist(), []
    for kind, i, j in nodes:
        u, v = values[i], values[j]
        if kind == "mul":
            value, slope = u * v, (v, u)
        elif kind == "add":
            value, slope = (u + v) / 2.0, (0.5, 0.5)
        elif kind == "sub":
            value, slope = (u - v) / 2.0, (0.5, -0.5)
        elif kind == "tanh":
            value, slope = math.tanh(u), (1.0 / math.cosh(u) ** 2, 0.0)
        else:
            value, slope = math.exp(u - 1.0), (math.exp(u - 1.0), 0.0)
        values.append(value)
        slopes.append(slope)
    pulls = [0.0] * (len(values) - LAST - 1) + [1.0] * (LAST + 1)
    for place in reversed(range(len(nodes))):
        _, i, j = nodes[place]
        pulls[i] += pulls[len(x) + place] * slopes[place][0]
        pulls[j] += pulls[len(x) + place] * slopes[place][1]
    return math.fsum(values[-LAST - 1 :]), np.array(pulls[: len(x)])


# The list


def initial_weights(seed: int = 1337) -> np.ndarray:
    """Per neuron of the network its weights, uniform between -1 and 1, then its bias, 0."""
    generator = random.Random(seed)
    rows = [[generator.uniform(-1.0, 1.0) for _ in range(i)] + [0.0] for i, o in pairwise(NETWORK) for _ in range(o)]
    return np.array([number for row in rows for number in row])


def make_neuron() -> Circuit:
    """P1."""
    return Circuit("P1", "a neuron, 5 gates", neuron, np.array([1.0, 2.0, -3.0, -1.0, 3.0]), 5, neuron_formula)


def make_network() -> Circuit:
    """P2."""
    return Circuit("P2", "network 3-3-3-1, 52 gates", network_error, initial_weights(), 52, network_formula)


def make_product(count: int = 1000) -> Circuit:
    """P3."""
    point = np.random.default_rng(3).uniform(0.95, 1.05, count)
    return Circuit("P3", f"product of {count:,}, {count - 1:,} gates", product, point, count - 1, product_formula)


def make_rosenbrock(count: int = 1000, name: str = "P4") -> Circuit:
    """P4, and P4L."""
    point, gates = np.random.default_rng(3).uniform(-0.5, 1.0, count), 8 * (count - 1) - 1
    return Circuit(name, f"Rosenbrock of {count:,}, {gates:,} gates", rosenbrock, point, gates, rosenbrock_formula)


def make_black_scholes() -> Circuit:
    """P5."""
    point = np.array([100.0, 105.0, 0.5, 0.03, 0.2])
    return Circuit("P5", "Black-Scholes, 26 gates", black_scholes, point, 26, black_scholes_formula)


def make_irregular(gates: int = 100_000, inputs: int = 100) -> Circuit:
    """P6."""
    nodes = irregular_nodes(gates, inputs)
    gates = sum(GATES_OF_A_KIND[kind] for kind, _, _ in nodes) + LAST

    def function(ops: Any, x: Sequence[Number]) -> Number:
        return irregular(nodes, ops, x)

    def formula(x: np.ndarray) -> Answer:
        return irregular_formula(nodes, x)

    point = np.random.default_rng(3).uniform(-1.0, 1.0, inputs)
    return Circuit("P6", f"irregular circuit, {gates:,} gates", function, point, gates, formula)


CIRCUITS: dict[str, Callable[[bool], Circuit]] = {
    "P1": lambda quick: make_neuron(),
    "P2": lambda quick: make_network(),
    "P3": lambda quick: make_product(20 if quick else 1000),
    "P4": lambda quick: make_rosenbrock(20 if quick else 1000),
    "P4L": lambda quick: make_rosenbrock(200 if quick else 100_000, "P4L"),
    "P5": lambda quick: make_black_scholes(),
    "P6": lambda quick: make_irregular(2_000 if quick else 100_000),
}
