"""A network of two layers: what one neuron can't do, layers with their own backward pass, and a rule with momentum."""

import sys

import numpy as np

import fastprop as fp
from fastprop import nn


def ring(count, rng):
    """Draw points of the plane; those near the middle are +1, those in a ring around it -1."""
    inside = rng.random(count) < 0.5
    radius = np.where(inside, rng.uniform(0.0, 0.8, count), rng.uniform(1.2, 2.0, count))
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points, np.where(inside, 1, -1)


class Network:
    """Three neurons, each a line with a bend, and a weighted sum of them: thirteen numbers."""

    def __init__(self, rng):
        self.hidden = [[fp.Unit(value) for value in rng.uniform(-1.0, 1.0, 3).tolist()] for _ in range(3)]
        self.output = [fp.Unit(value) for value in rng.uniform(-1.0, 1.0, 4).tolist()]
        self.leaves = [leaf for row in (*self.hidden, self.output) for leaf in row]

    def score(self, x, y):
        """Above zero it says +1, below zero -1."""
        fired = [fp.relu(a * x + b * y + c) for a, b, c in self.hidden]
        return fp.dot(self.output[:3], fired) + self.output[3]

    def learn(self, x, y, label, step):
        """Pull on the score of one point, if it needs it, and let all thirteen numbers give way."""
        score = self.score(x, y)
        fp.zero_grad(self.leaves)
        score.backward(float(label) if label * score.value < 1.0 else 0.0)
        for leaf in self.leaves:
            leaf.value += step * leaf.grad


class ReLULayer:
    """A layer that can be asked for its outputs, told the pulls on them, and made to give way."""

    def __init__(self, size_in, size_out, rng):
        # As many weights as inputs are added up, so each begins smaller the more there are: the sums stay of size one.
        self.w = fp.Array(rng.normal(size=(size_in, size_out)) * np.sqrt(2.0 / size_in))

    def forward(self, inputs):
        """Weigh, add up, and cut off below zero."""
        self.inputs = fp.Array(inputs)
        self.outputs = fp.relu(self.inputs @ self.w)
        return self.outputs.value

    def backward(self, pulls):
        """Take the pulls on the outputs; give those on the inputs."""
        fp.zero_grad([self.w])
        self.outputs.backward(pulls)
        return self.inputs.grad

    def update(self, rate):
        """One step downhill."""
        self.w.value -= rate * self.w.grad


def accuracy(score, points, labels):
    """The share of points whose score has the right sign."""
    return float(np.mean([(score(x, y) > 0.0) == (label > 0) for (x, y), label in zip(points.tolist(), labels)]))


def main(quick=False):
    """Neuron by neuron, layer by layer, and as a model."""
    rng = np.random.default_rng(1)
    points, labels = ring(60, rng)

    # First as one would type it: three hidden neurons, and pulls of +1 or -1 on one point after the other, as the
    # support vector machine had them. No single line parts the middle from the ring, but a triangle of three does.
    # Where descent ends depends on where it begins, so we begin several times, and keep the best.
    starts = []
    for _ in range(4):
        network = Network(rng)
        before = accuracy(network.score, points, labels)
        for i in rng.integers(len(points), size=3_000):
            network.learn(*points[i].tolist(), int(labels[i]), step=0.03)
        starts.append((accuracy(network.score, points, labels), before))
        print(f"three hidden neurons: {before:.0%} right before, {starts[-1][0]:.0%} after")
    best, before = max(starts)
    assert before < 0.85
    assert best > 0.95

    # Then in layers. The cost of a vector of outputs is half the squared distance from what they should be, so the pull
    # on them is just the difference. A column of ones among the inputs makes one weight of each neuron its bias.
    # (An output that is cut off below zero may begin dead, and stay so: example 9. This start is not one of those.)
    rng = np.random.default_rng(0)
    layers = [ReLULayer(3, 16, rng), ReLULayer(17, 2, rng)]
    ones = np.ones((len(points), 1))
    inputs = np.hstack([ones, points])
    wanted = np.stack([labels > 0, labels < 0], axis=1) * 1.0
    costs = []
    for _ in range(200 if quick else 2000):
        signals = layers[1].forward(np.hstack([ones, layers[0].forward(inputs)]))
        costs.append(0.5 * float(((signals - wanted) ** 2).sum(axis=1).mean()))
        pulls = (signals - wanted) / len(points)
        pulls = layers[1].backward(pulls)
        layers[0].backward(pulls[:, 1:])  # the ones are nobody's output
        for layer in layers:
            layer.update(rate=0.1)
    print(f"in layers: the cost goes from {costs[0]:.3f} to {costs[-1]:.4f}")
    assert costs[-1] < (0.1 if quick else 0.02) * costs[0]

    # And as one writes it when one has done it twice: a model, a loss, a rule. Momentum lets the weights roll.
    losses = {}
    for momentum in (0.0, 0.9):
        model = nn.Sequential(nn.Linear(2, 16, rng=3), nn.Tanh(), nn.Linear(16, 1, rng=4))
        rule = fp.optim.SGD(model, lr=0.02, momentum=momentum, rate_inside=True)
        history = fp.fit(
            model,
            lambda score, label: nn.hinge(score[0], label),
            (points, labels),
            rule,
            epochs=20 if quick else 100,
            batch_size=10,
            rng=0,
        )
        losses[momentum] = history.losses[-1]
    print(f"hinge loss after the same steps: {losses[0.0]:.3f} plain, {losses[0.9]:.3f} with momentum")
    assert losses[0.9] < 0.5 * losses[0.0]

    # All weights alike is the one start that can't work: equal neurons get equal pulls, for ever.
    same = ReLULayer(3, 4, rng)
    same.w.value = np.full((3, 4), 0.1)
    same.forward(inputs)
    same.backward(np.ones((len(points), 4)))
    assert np.all(same.w.grad == same.w.grad[:, :1])


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
