"""A layer, a loss and an update rule of one's own, on data of one's own; stopped half-way, saved, and gone on with."""

import pickle
import sys

import numpy as np

import fastprop as fp
from fastprop import nn


def weather(count, rng):
    """Draw a day of the year, and a temperature that swings over the year; winters are less certain than summers."""
    day = rng.uniform(0.0, 365.0, count)
    swing = np.cos(2.0 * np.pi * (day - 200.0) / 365.0)
    return day[:, None], (10.0 + 10.0 * swing + (4.0 - 2.0 * swing) * rng.normal(size=count))[:, None]


class Waves(nn.Module):
    """A layer of one's own: it makes its parameters, and says what it does with one example.

    A day becomes the heights of some waves over the year; where each begins is learnt.
    """

    def __init__(self, count, rng):
        self.shift = fp.Array(rng.uniform(0.0, 2.0 * np.pi, count))
        self.turns = 2.0 * np.pi * np.arange(1, count + 1) / 365.0  # no leaf: data, which stay as they are

    def __call__(self, day):
        """Give the heights of all waves on a day."""
        return fp.sin(self.turns * day[0] + self.shift)


def quantile_loss(output, wanted, share):
    """A loss of one's own: too low costs `share`, too high the rest, so the best guess has `share` of all below it."""
    short = wanted[0] - output[0]
    return fp.where(short > 0.0, share * short, (share - 1.0) * short)


class Signs(fp.optim.Optimizer):
    """A rule of one's own: steps of one size, in the direction in which the last gradients mostly pointed."""

    remembers = ("mean",)

    def __init__(self, params, lr=0.01, beta=0.9, *, schedule=None):
        super().__init__(params, lr, schedule=schedule, beta=beta)
        self.beta = beta

    def move(self, value, grad, moments, rate, step):
        """Give a parameter's new value, and keep its moments up to date."""
        moments[0] = self.beta * moments[0] + (1.0 - self.beta) * grad
        return value - rate * np.sign(moments[0])


def made(steps):
    """A new model with its rule; every time the same."""
    model = nn.Sequential(Waves(3, np.random.default_rng(1)), nn.Linear(3, 1, init="zeros"))
    return model, Signs(model, lr=0.2, schedule=fp.optim.Cosine(steps))


def main(quick=False):
    """Learn three quantiles; then one of them in two halves."""
    rng = np.random.default_rng(0)
    days, degrees = weather(800 if quick else 4000, rng)
    epochs = 10 if quick else 30
    steps = epochs * -(-len(days) // 40)

    # Nothing of this is built in, so the first thing to do is to hold its gradient against differences.
    def loss(share):
        return lambda output, wanted: quantile_loss(output, wanted, share)

    model, rule = made(steps)
    assert fp.training.check_gradients(model, loss(0.9), (days, degrees)) < 1e-6

    bounds = {}
    for share in (0.1, 0.5, 0.9):
        model, rule = made(steps)
        history = fp.fit(model, loss(share), (days, degrees), rule, epochs=epochs, batch_size=40, rng=0)
        bounds[share] = model
        below = float(np.mean(degrees < fp.training.predict(model, days)))
        print(
            f"loss {history.losses[0]:.2f} to {history.losses[-1]:.2f}; {below:.1%} of the days are below {share:.0%}"
        )
        assert abs(below - share) < (0.05 if quick else 0.03)

    # Between the outer two lie four days in five, and the band is wider in January than in July, as it should be.
    new_days, new_degrees = weather(2000, rng)
    low, high = (fp.training.predict(bounds[share], new_days) for share in (0.1, 0.9))
    inside = float(np.mean((low < new_degrees) & (new_degrees < high)))
    ends = np.array([[18.0], [200.0]])
    width = (fp.training.predict(bounds[0.9], ends) - fp.training.predict(bounds[0.1], ends))[:, 0]
    print(
        f"{inside:.0%} of other days are inside; it is {width[0]:.1f} degrees wide in January, {width[1]:.1f} in July"
    )
    assert abs(inside - 0.8) < 0.06
    assert width[0] > 1.5 * width[1]

    # Stopped half-way, put away, and gone on with elsewhere: what comes out is the same, to the last bit.
    random = np.random.default_rng(0)
    model, rule = made(steps)

    def half(history):
        return len(history.epochs) == epochs // 2

    first = fp.fit(model, loss(0.9), (days, degrees), rule, epochs=epochs, batch_size=40, rng=random, callbacks=half)
    saved = pickle.dumps((model.state_dict(), rule.state_dict(), random))
    print(f"stopped by the {first.stopped} after {len(first.epochs)} epochs; {len(saved)} bytes")

    (state, memory, random), (model, rule) = pickle.loads(saved), made(steps)
    model.load_state_dict(state)
    rule.load_state_dict(memory)
    second = fp.fit(
        model, loss(0.9), (days, degrees), rule, epochs=epochs - len(first.epochs), batch_size=40, rng=random
    )
    assert first.step_losses + second.step_losses == history.step_losses
    whole, halves = bounds[0.9].state_dict(), model.state_dict()
    assert all(np.array_equal(whole[name], halves[name]) for name in whole)
    print("the same as in one go, bit for bit")


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
