"""Two moons, in micrograd's manner: every weight a Unit, every product a gate; then the same step, compiled."""

import sys
import time

import numpy as np

import fastprop as fp
from fastprop import nn


def make_moons(count, noise, rng):
    """Two half circles that reach into each other, with labels of +1 and -1."""
    angle = np.linspace(0.0, np.pi, count // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.concatenate([upper, lower]) + rng.normal(0.0, noise, (2 * len(angle), 2))
    return points, np.repeat([-1, 1], len(angle))


def at(nest, name):
    """What a nest of containers holds under a name such as layers.0.neurons.3.w.1."""
    for part in name.split("."):
        nest = nest[int(part)] if isinstance(nest, list) else nest[part]
    return nest


def main(quick=False):
    """Gate by gate, then in one piece."""
    rng = np.random.default_rng(1337)
    points, labels = make_moons(100, 0.1, rng)
    model = nn.MLP(2, [16, 16, 1], rng=rng)
    print(f"{len(model.parameters())} parameters in {len(model.layers)} layers")
    rows, signs = points.tolist(), labels.tolist()

    def judged():
        """The mean hinge of all scores, and springs on all parameters; and what share of the points is right."""
        scores = [model(row) for row in rows]
        hinges = sum((1.0 - sign * score).relu() for sign, score in zip(signs, scores))
        springs = sum(p * p for p in model.parameters())
        right = sum((sign > 0) == (score.data > 0.0) for sign, score in zip(signs, scores))
        return hinges / len(rows) + 1e-4 * springs, right / len(rows)

    steps = 15 if quick else 100
    before = len(fp.current_tape())  # what others left there
    start = time.perf_counter()
    for k in range(steps):
        loss, accuracy = judged()
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.009 * k) * p.grad
        if k % 10 == 0:
            print(f"step {k}: loss {loss.data:.3f}, {accuracy:.0%} right")
    seconds = (time.perf_counter() - start) / steps
    loss, accuracy = judged()
    print(f"step {steps}: loss {loss.data:.3f}, {accuracy:.0%} right; {1000.0 * seconds:.1f} ms a step")
    assert accuracy >= (0.85 if quick else 1.0)
    assert loss.data < (0.4 if quick else 0.05)

    # Nothing piles up: results that no name holds any longer are reclaimed, so the tape holds some steps at most.
    gates = 100 * 650
    assert len(fp.current_tape()) < before + 8 * gates

    # The same loss once more, of one point and of parameters as numbers: points become lanes, and value and gradient
    # one call, in which no gate is Python any longer.
    def hinge(params, x, y):
        return fp.relu(1.0 - y * model.apply(params, x))

    step = fp.compile(fp.value_and_grad(fp.vmap(hinge, in_axes=(None, 0, 0), reduce="mean")))
    params = model.params()
    value, gradients = step(params, points, labels)
    model.zero_grad()
    loss, _ = judged()
    loss.backward()
    by_gates = [p.grad - 2e-4 * p.data for p in model.parameters()]  # without the springs
    names = [name for name, _ in model.named_parameters()]
    assert np.allclose([at(gradients, name) for name in names], by_gates, atol=1e-12)

    # The springs of strength 1e-4 are a decay of twice that.
    rule = fp.optim.SGD(params, lr=0.1, weight_decay=2e-4)
    best = np.inf
    for _ in range(100):
        start = time.perf_counter()
        value, gradients = step(params, points, labels)
        params = rule.step(params, gradients)
        best = min(best, time.perf_counter() - start)
    model.load_params(params)
    print(f"compiled: hinge {value:.3f} after a hundred more; {1e6 * best:.0f} µs a step")
    assert value < loss.data
    assert judged()[1] >= accuracy


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
