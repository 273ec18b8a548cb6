"""A support vector machine, first by forces, then by a loss, then on real images: the same machine three times."""

import sys

import numpy as np

import fastprop as fp
from fastprop import nn

POINTS = [(1.0, 0.8), (-0.4, -0.6), (2.5, 0.3), (-0.2, -1.1), (-1.2, 0.9), (1.8, -2.5)]
LABELS = [1, -1, 1, -1, -1, 1]


class Machine:
    """Three parameters, and a rule of how to pull on the score that they make."""

    def __init__(self):
        self.parameters = self.a, self.b, self.c = fp.Unit(0.5), fp.Unit(1.0), fp.Unit(1.2)

    def score(self, x, y):
        """Above zero it says +1, below zero -1."""
        return self.a * x + self.b * y + self.c

    def learn(self, x, y, label, step):
        """Take one point, pull, and let the parameters give way."""
        fp.zero_grad(self.parameters)
        score = self.score(x, y)
        # Within the margin of the wrong side? Then pull towards the right one, with a force of 1. Else leave it alone.
        score.backward(float(label) if label * score.value < 1.0 else 0.0)
        # Springs hold the weights near zero, but not the bias: of all lines that do, take the one with room to spare.
        self.a.grad -= self.a.value
        self.b.grad -= self.b.value
        for leaf in self.parameters:
            leaf.value += step * leaf.grad

    def right(self):
        """How many points are on the right side."""
        return sum((self.score(x, y).value > 0.0) == (label > 0) for (x, y), label in zip(POINTS, LABELS))


def main(quick=False):
    """Forces, a loss, and a thousand images."""
    machine = Machine()
    draw = np.random.default_rng(0)
    print(f"before: {machine.right()} of {len(POINTS)} right")
    assert machine.right() < len(POINTS)
    for _ in range(800):
        i = int(draw.integers(len(POINTS)))
        machine.learn(*POINTS[i], LABELS[i], step=0.01)
    print(f"after 800 points: {machine.right()} of {len(POINTS)} right")
    assert machine.right() == len(POINTS)

    # Forces are slopes. The hinge loss goes down with slope 1 inside the margin, and is flat outside: its pull, turned
    # round since we descend, is the rule above. So is the spring the slope of half a square.
    hinge_pull = fp.grad(lambda score, label: nn.hinge(score, label))
    for score in (-3.0, -0.5, 0.5, 3.0):
        for label in (1, -1):
            assert -hinge_pull(score, label) == (label if label * score < 1.0 else 0.0)
    spring = fp.grad(lambda w: 0.5 * w * w)
    assert spring(0.7) == 0.7

    # With a loss in hand, `fit` does the rest. The task: which digits are fours? 64 grey levels, one weight for each.
    # A model may be a function of its parameters; ours gives the springs' energy beside the score, biases left out.
    digits = fp.datasets.load_digits()
    x, y = digits.data / 16.0, np.where(digits.target == 4, 1, -1)
    linear = nn.Linear(64, 1, rng=0)

    def model(params, x):
        return linear.apply(params, x)[0], nn.regularisers.l2(params, 1e-3)

    def loss(output, label):
        score, energy = output
        return nn.hinge(score, label) + energy

    params = linear.params()
    history = fp.fit(
        model,
        loss,
        (x[:1400], y[:1400]),
        fp.optim.SGD(params, lr=0.05, momentum=0.9),
        params=params,
        epochs=4 if quick else 40,
        rng=0,
    )
    print(f"fours: loss {history.losses[0]:.3f} in the first epoch, {history.losses[-1]:.3f} in the last")
    assert history.losses[-1] < 0.6 * history.losses[0]
    scores, _ = fp.training.predict(model, x[1400:], params=history.params)
    said, is_four = scores > 0.0, y[1400:] > 0
    found, precise = (said & is_four).sum() / is_four.sum(), (said & is_four).sum() / said.sum()
    print(f"of unseen fours it finds {found:.0%}; of those that it calls fours {precise:.0%} are")
    assert min(found, precise) > 0.85


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
