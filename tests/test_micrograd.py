"""Programs written for micrograd run with nothing but the import changed: its names, and what they mean there."""

import inspect
import random

import numpy as np
import pytest

import fastprop as fp
from fastprop import gates


class Neuron:
    """A neuron as micrograd's users write it: it holds its Values and is called on a list of them."""

    def __init__(self, Value, inputs, bent=True):
        self.weights = [Value(random.uniform(-1, 1)) for _ in range(inputs)]
        self.bias = Value(0)
        self.bent = bent

    def __call__(self, values):
        total = sum((w * x for w, x in zip(self.weights, values)), self.bias)
        return total.relu() if self.bent else total

    def parameters(self):
        return [*self.weights, self.bias]


class Network:
    def __init__(self, Value, inputs, sizes):
        widths = [inputs, *sizes]
        self.layers = [
            [Neuron(Value, before, bent=after is not sizes[-1]) for _ in range(after)]
            for before, after in zip(widths, sizes)
        ]

    def __call__(self, values):
        for layer in self.layers:
            values = [neuron(values) for neuron in layer]
        return values[0] if len(values) == 1 else values

    def parameters(self):
        return [p for layer in self.layers for neuron in layer for p in neuron.parameters()]

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0


def two_rings(count):
    """Points of two classes, which no straight line parts."""
    draw = np.random.default_rng(1)
    angle, label = draw.uniform(0.0, 2.0 * np.pi, count), np.arange(count) % 2
    radius = 0.5 + label + draw.normal(0.0, 0.05, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), 2 * label - 1


def test_the_demo_learns(engine):
    Value = engine.Unit
    random.seed(1337)
    points, labels = two_rings(24)
    model = Network(Value, 2, [8, 1])

    def loss():
        inputs = [list(map(Value, row)) for row in points]
        scores = list(map(model, inputs))
        margins = [(1 + -label * score).relu() for label, score in zip(labels, scores)]
        data_loss = sum(margins) * (1.0 / len(margins))
        penalty = 1e-4 * sum(p * p for p in model.parameters())
        right = [(label > 0) == (score.data > 0) for label, score in zip(labels, scores)]
        return data_loss + penalty, sum(right) / len(right)

    first, _ = loss()
    for step in range(30):
        total, accuracy = loss()
        model.zero_grad()
        total.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * step / 30) * p.grad
    assert total.data < 0.5 * first.data
    assert accuracy >= 0.9


def test_a_small_program(engine):
    """Values and gradients worked out by hand: f = relu(2z + zx) * z + z², where z = 2x + 2 + x."""
    x = engine.Unit(-4.0)
    z = 2 * x + 2 + x
    assert z.data == -10.0
    q = z.relu() + z * x
    h = (z * z).relu()
    y = h + q + q * x
    y.backward()
    assert y.data == 100.0 + 40.0 + 40.0 * -4.0
    dz = 3.0
    dq = dz * -4.0 + -10.0
    assert x.grad == 2.0 * -10.0 * dz + dq + (dq * -4.0 + 40.0)


def test_a_larger_program(engine):
    """Against differences: all of micrograd's operators, in place too, beside plain numbers on either side."""

    def program(a, b):
        c = a + b
        d = a * b + b**3
        c += c + 1
        c += 1 + c + (-a)
        d += d * 2 + (b + a).relu()
        d += 3 * d + (b - a).relu()
        e = c - d
        f = e**2
        g = f / 2.0
        g += 10.0 / f
        return g

    a, b = engine.Unit(-4.0), engine.Unit(2.0)
    g = program(a, b)
    g.backward()
    assert g.data == pytest.approx(24.70408163265306, rel=1e-14)

    def at(a, b):
        return program(engine.Unit(a), engine.Unit(b)).data

    by_differences = (
        (at(-4.0 + 1e-5, 2.0) - at(-4.0 - 1e-5, 2.0)) / 2e-5,
        (at(-4.0, 2.00001) - at(-4.0, 1.99999)) / 2e-5,
    )
    assert (a.grad, b.grad) == pytest.approx(by_differences, rel=1e-7)


def test_data_is_the_value(engine):
    x, a = engine.Unit(2.0), engine.Array([1.0, 2.0])
    x.data = 5
    a.data -= 0.5
    assert (x.data, x.value) == (5.0, 5.0)
    assert a.data.tolist() == a.value.tolist() == [0.5, 1.5]
    for result in (x * 2.0, a * 2.0):
        with pytest.raises(ValueError, match=r"value of a result|result's value"):
            result.data = 1.0
    with pytest.raises(TypeError):
        x.data = True
    with pytest.raises(TypeError, match="constant"):
        fp.trace(lambda x: x * x.data, 1.0)
    with pytest.raises(TypeError, match="constant"):
        fp.trace(lambda a: (a * a.data).sum(), np.ones(2))


@pytest.mark.parametrize("name", gates.methods)
def test_every_gate_is_a_method(engine, name):
    row = gates.table[name]
    point = {"arccosh": (1.5,), "clip": (0.5, 0.2, 0.9)}.get(name, (0.5, 0.25, 0.75)[: row.arity])
    gate = getattr(engine, name)
    for make in (engine.Unit, lambda x: engine.Array([x, x])):
        for f in (gate, lambda x, *rest: getattr(x, name)(*rest)):
            x = make(point[0])
            y = f(x, *point[1:])
            y.backward(*([] if isinstance(y, engine.Unit) else [[1.0, 1.0]]))
            np.testing.assert_allclose(y.value, gate(*point), rtol=1e-15)
            np.testing.assert_allclose(x.grad, engine.grad(gate)(*point), rtol=1e-15)
    assert fp.compile(lambda x, *rest: getattr(x, name)(*rest))(*point) == pytest.approx(fp.trace(gate, *point)(*point))
    assert inspect.getdoc(getattr(engine.Unit, name)).startswith((f"{name}(", row.doc))
