"""A neuron: five wires, one sigmoid, taught by hand, from gates of one's own, and to be a logical gate."""

import math
import sys

import fastprop as fp


def neuron(a, b, c, x, y):
    """Weigh two inputs, add a bias, squash."""
    return fp.sigmoid(a * x + b * y + c)


class Sigmoid(fp.Gate):
    """A gate says what its value is, and how it passes a pull on."""

    def forward(self, x):
        """Squash a number."""
        return 1.0 / (1.0 + math.exp(-x))

    def backward(self, pull, x):
        """The slope is greatest where the neuron is undecided."""
        s = fp.sigmoid(x)
        return s * (1.0 - s) * pull


def learn(cases, steps, rate):
    """Teach one neuron a table of (x, y, answer); gives the neuron's answers."""
    a, b, c = parameters = [fp.Unit(0.1), fp.Unit(-0.1), fp.Unit(0.0)]
    for _ in range(steps):
        loss = sum((neuron(a, b, c, x, y) - answer) ** 2 for x, y, answer in cases)
        fp.zero_grad(parameters)
        loss.backward()
        for leaf in parameters:
            leaf.value -= rate * leaf.grad  # downhill: here we want less
    return [neuron(a, b, c, x, y).value for x, y, _ in cases]


def main(quick=False):
    """From one sweep to a trained neuron, and to what one neuron can't do."""
    # Parameters and inputs are made of the same stuff: all are leaves, and all get a pull.
    a, b, c, x, y = leaves = [fp.Unit(value) for value in (1.0, 2.0, -3.0, -1.0, 3.0)]
    s = neuron(a, b, c, x, y)
    s.backward()
    print(f"the neuron says {s.value:.4f}; pulls: {', '.join(f'{leaf.grad:.3f}' for leaf in leaves)}")
    assert round(s.value, 4) == 0.8808
    # Every pull is the slope of the sigmoid times what the wire meets on its way there.
    slope = s.value * (1.0 - s.value)
    for leaf, meets in zip(leaves, (-1.0, 3.0, 1.0, 1.0, 2.0)):
        assert math.isclose(leaf.grad, slope * meets, rel_tol=1e-12)

    # Give way a little on all five wires, and the answer grows.
    for leaf in leaves:
        leaf.value += 0.01 * leaf.grad
    after = neuron(*leaves)
    print(f"after one small step: {after.value:.4f}")
    assert 0.8825 < after.value < 0.8827

    # Nothing in it is magic: with a sigmoid of our own, the pulls are the same.
    own = Sigmoid()
    again = [fp.Unit(value) for value in (1.0, 2.0, -3.0, -1.0, 3.0)]
    a, b, c, x, y = again
    own(a * x + b * y + c).backward()
    for leaf, meets in zip(again, (-1.0, 3.0, 1.0, 1.0, 2.0)):
        assert math.isclose(leaf.grad, slope * meets, rel_tol=1e-12)
    fp.check_grads(neuron, (1.0, 2.0, -3.0, -1.0, 3.0), order=2)

    # A neuron learns a table of truth: "or" needs nothing but a line between the cases.
    table = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    steps = 300 if quick else 3000
    said = learn([(x, y, float(x or y)) for x, y in table], steps, rate=2.0)
    print("or: ", ", ".join(f"{answer:.2f}" for answer in said))
    assert [round(answer) for answer in said] == [0, 1, 1, 1]

    # No line parts the cases of "either, not both", so one neuron stays undecided, however long it learns. That is
    # what layers are for; they come in the fourth example.
    said = learn([(x, y, float(x != y)) for x, y in table], steps, rate=2.0)
    print("xor:", ", ".join(f"{answer:.2f}" for answer in said))
    assert [round(answer) for answer in said] != [0, 1, 1, 0]
    assert max(abs(answer - 0.5) for answer in said) < 0.4


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
