"""What tests of pictures share: what is to be read off one, and circuits to draw."""

import xml.etree.ElementTree as ET

import numpy as np

import fastprop as fp

SVG = "{http://www.w3.org/2000/svg}"


def tips(picture):
    """What the tips of all boxes say: kind and name, value, gradient, source line."""
    found = []
    for group in ET.fromstring(picture.svg).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None and "wire" not in title.text:
            lines = title.text.split("\n")
            rest = dict(line.split(" ", 1) for line in lines[1:] if line.startswith(("value", "gradient")))
            place = next((line for line in lines[1:] if not line.startswith(("value", "gradient"))), None)
            found.append((lines[0], rest.get("value"), rest.get("gradient"), place))
    return found


def numbers(picture):
    """Value and gradient by what the tip names; None for what is not there."""
    number = lambda text: None if text is None else float(text)  # noqa: E731
    return {name: (number(value), number(gradient)) for name, value, gradient, _ in tips(picture)}


def texts(picture, colour):
    """The texts in a colour, with their heights."""
    root = ET.fromstring(picture.svg)
    return [(text.text, float(text.get("y"))) for text in root.iter(f"{SVG}text") if text.get("fill") == colour]


def tutorial():
    """The circuit that the tutorial begins with."""
    x, y, z = fp.Unit(-2.0, name="x"), fp.Unit(5.0, name="y"), fp.Unit(-4.0, name="z")
    f = (x + y) * z
    return x, y, z, f


class Cube(fp.Gate):
    """A gate of the user's own."""

    def forward(self, x):
        return x * x * x

    def backward(self, pull, x):
        return pull * 3.0 * x * x


OPERATIONS = [
    lambda engine, a, b: a + b,
    lambda engine, a, b: a * b,
    lambda engine, a, b: a - b,
    lambda engine, a, b: a * a,  # one operand twice
    lambda engine, a, b: engine.tanh(a),
    lambda engine, a, b: engine.exp(b * 0.1),
    lambda engine, a, b: engine.maximum(a, b),
    lambda engine, a, b: 2.5 / (1.0 + b * b),
    lambda engine, a, b: engine.sum([a, b, a]),
]


def random_circuit(engine, seed):
    """All nodes of a random circuit, in which operands are shared."""
    rng = np.random.default_rng(seed)
    nodes = [engine.Unit(float(value), name=f"n{i}") for i, value in enumerate(rng.normal(size=3))]
    for _ in range(12):
        i, j, k = rng.integers(len(nodes)), rng.integers(len(nodes)), rng.integers(len(OPERATIONS))
        nodes.append(OPERATIONS[k](engine, nodes[i], nodes[j]))
    nodes.append(engine.sum(nodes[-6:]) * nodes[-1])
    return nodes
