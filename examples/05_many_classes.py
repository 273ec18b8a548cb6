"""Ten classes at once: the structured support vector machine and the softmax, on handwritten digits."""

import sys

import numpy as np

import fastprop as fp
from fastprop import nn


def structured_hinge(scores, label, margin=1.0):
    """Every wrong class whose score comes within the margin of the right one's pulls; written out, gate by gate."""
    right = scores[label]
    return sum(fp.relu(scores[k] - right + margin) for k in range(10)) - margin  # the right class pulls on itself


def softmax_loss(scores, label):
    """Read scores as logarithms of shares, make the shares sum to one, and ask how surprising the truth was."""
    return fp.logsumexp(scores) - scores[label]


def main(quick=False):
    """Two losses, the forces they make, and what they learn."""
    # Three scores; the second class is right. The hinge pulls up the right class as often as it pulls down a rival that
    # is too close, and leaves alone a rival that is far behind.
    scores = fp.Array([2.5, 2.0, -1.0])
    loss = nn.multiclass_hinge(scores, 1)
    loss.backward()
    print(f"structured hinge: {loss.value:.2f}, pulls {(-scores.grad).tolist()}")
    assert loss.value == 1.5
    assert (-scores.grad).tolist() == [-1.0, 1.0, 0.0]

    # The softmax never is content: it pulls every rival down by the share that it has, and the right one up by what
    # it lacks, so the pulls add up to nothing.
    scores = fp.Array([2.5, 2.0, -1.0])
    loss = nn.cross_entropy(scores, 1)
    loss.backward()
    shares = np.exp(scores.value) / np.exp(scores.value).sum()
    print(f"softmax: {loss.value:.3f}, pulls {np.round(-scores.grad, 3).tolist()}")
    assert np.allclose(-scores.grad, np.array([0.0, 1.0, 0.0]) - shares)
    assert abs(scores.grad.sum()) < 1e-12

    # Scores as large as one likes: the shares of exp(1000) are computed without ever computing exp(1000).
    assert nn.cross_entropy(np.array([1000.0, 0.0]), 0) == 0.0
    assert nn.cross_entropy(np.array([1000.0, 0.0]), 1) == 1000.0

    # What the library has agrees with what we wrote out, for any scores.
    rng = np.random.default_rng(0)
    for _ in range(10):
        row, label = rng.normal(size=10), int(rng.integers(10))
        assert np.isclose(structured_hinge(row.tolist(), label), nn.multiclass_hinge(row, label))
        assert np.isclose(softmax_loss(row, label), nn.cross_entropy(row, label))

    # A linear classifier of the digits, once with each loss. Both are written for one image; `fit` makes batches.
    digits = fp.datasets.load_digits()
    x, y = digits.data / 16.0, digits.target
    order = np.random.default_rng(1).permutation(len(y))
    train, test = order[:1500], order[1500:]
    reached = {}
    for name, loss in {"structured hinge": structured_hinge, "softmax": softmax_loss}.items():
        model = nn.Linear(64, 10, rng=0)
        fp.training.check_gradients(model, loss, (x[train], y[train]))
        history = fp.fit(
            model,
            loss,
            (x[train], y[train]),
            fp.optim.Adam(model, lr=0.01),
            epochs=4 if quick else 30,
            validation=(x[test], y[test]),
            metrics={"accuracy": lambda scores, label: np.argmax(scores) == label},
            rng=0,
        )
        reached[name] = history.epochs[-1].validation_metrics["accuracy"]
        print(f"{name}: loss {history.losses[0]:.2f} to {history.losses[-1]:.3f}, {reached[name]:.1%} of unseen right")
        assert reached[name] > (0.9 if quick else 0.945)

    # The softmax's scores mean something: where it says it is sure, it is right more often.
    scores = fp.training.predict(model, x[test])
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    right, sure = scores.argmax(axis=1) == y[test], shares.max(axis=1)
    doubtful = sure < np.quantile(sure, 0.2)
    print(f"right where it is sure: {right[~doubtful].mean():.1%}; where it is not: {right[doubtful].mean():.1%}")
    assert right[~doubtful].mean() > right[doubtful].mean() + 0.05


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
