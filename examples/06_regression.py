"""Regression: numbers in place of classes; a line, a curve, outliers, and springs on the weights."""

import sys

import numpy as np

import fastprop as fp
from fastprop import nn


def main(quick=False):
    """Four fits, each against what is known about its answer."""
    rng = np.random.default_rng(0)

    # A line through points. Half the squared distance pulls on the prediction with the distance itself, like a spring,
    # and where all springs are in balance there is the line of least squares.
    x = rng.uniform(-1.0, 1.0, 200)
    y = 2.0 * x - 0.5 + rng.normal(0.0, 0.1, 200)

    def line(params, x):
        return params["slope"] * x + params["offset"]

    params = {"slope": 0.0, "offset": 0.0}
    rule = fp.optim.SGD(params, lr=0.5)
    all_at_once = {"batch_size": 200, "rng": 0}
    history = fp.fit(line, nn.squared_error, (x, y), rule, params=params, epochs=1000, tolerance=1e-9, **all_at_once)
    slope, offset = np.polyfit(x, y, 1)
    print(f"line: {history.params['slope']:.4f} x + {history.params['offset']:.4f}; {history.stopped}")
    assert history.stopped == "converged"  # the pulls are in balance: there is nothing left to do
    assert np.isclose(history.params["slope"], slope)
    assert np.isclose(history.params["offset"], offset)

    # Some of the points are badly wrong. Springs grow stronger with distance, so a few outliers drag the line along;
    # Huber's loss pulls with a constant force from a distance on, and the absolute error always does.
    wrong = np.where(rng.random(200) < 0.1, y + 5.0, y)
    found = {}
    for name, loss in {
        "squares": nn.squared_error,
        "Huber": lambda output, wanted: nn.huber(output, wanted, delta=0.2),
        "absolute": nn.absolute_error,
    }.items():
        params = {"slope": 0.0, "offset": 0.0}
        rule = fp.optim.Adam(params, lr=0.05, schedule=fp.optim.Cosine(400))
        found[name] = fp.fit(line, loss, (x, wrong), rule, params=params, epochs=400, **all_at_once).params
        print(f"with outliers, {name}: {found[name]['slope']:.3f} x + {found[name]['offset']:.3f}")
    assert abs(found["squares"]["offset"] + 0.5) > 0.2
    assert abs(found["Huber"]["offset"] + 0.5) < 0.1
    assert abs(found["absolute"]["offset"] + 0.5) < 0.1

    # A curve, by a network: the only change from classifying is the loss.
    x = rng.uniform(-1.0, 1.0, (400, 1))
    y = np.sin(4.0 * x) + rng.normal(0.0, 0.05, (400, 1))
    model = nn.Sequential(nn.Linear(1, 32, rng=1), nn.Tanh(), nn.Linear(32, 1, rng=2))
    fp.fit(model, nn.squared_error, (x, y), fp.optim.Adam(model, lr=0.01), epochs=40 if quick else 300, rng=0)
    grid = np.linspace(-0.9, 0.9, 50)[:, None]
    curve = fp.training.predict(model, grid)
    off = float(np.sqrt(np.mean((curve - np.sin(4.0 * grid)) ** 2)))
    print(f"curve: off by {off:.3f} on average, where the noise of the data is 0.05")
    assert off < (0.2 if quick else 0.06)

    # Springs on the weights: with nearly as many coefficients as points, least squares follows the noise. Half of
    # lambda times the squares of the weights, added to the cost, has a closed answer, which descent must come to.
    x = np.linspace(-1.0, 1.0, 12)
    powers = x[:, None] ** np.arange(1, 10)
    y = np.sin(3.0 * x) + rng.normal(0.0, 0.2, 12)

    def cost(w, strength):
        return 0.5 * ((powers @ w - y) ** 2).sum() + nn.regularisers.l2({"weight": w}, strength)

    sizes = {}
    for strength in (1e-3, 1.0):
        step = fp.compile(fp.value_and_grad(lambda w, strength=strength: cost(w, strength)))
        rule = fp.optim.LBFGS(np.zeros(9), max_iter=2000, tolerance_grad=1e-10, tolerance_change=0.0)
        w = rule.step(np.zeros(9), step)
        closed = np.linalg.solve(powers.T @ powers + strength * np.eye(9), powers.T @ y)
        sizes[strength] = float(np.linalg.norm(w))
        print(f"springs of {strength}: weights of size {sizes[strength]:.2f} after {rule.iterations} iterations")
        assert np.allclose(w, closed, atol=1e-5)
    assert sizes[1.0] < 0.5 * sizes[1e-3]


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
