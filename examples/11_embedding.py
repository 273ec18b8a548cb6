"""t-SNE: a map of handwritten digits in the plane, on which neighbours stay neighbours."""

import sys
from importlib.util import find_spec

import numpy as np

import fastprop as fp

# What scikit-learn 1.9's TSNE(method="exact", init="pca", random_state=0) comes to, by the number of images.
RECORDED = {150: 0.1954, 300: 0.2738}


def squared_distances(x):
    """Between all pairs of rows."""
    squares = (x * x).sum(axis=1)
    return np.maximum(squares[:, None] + squares - 2.0 * x @ x.T, 0.0)


def affinities(x, perplexity):
    """How near each image is to each other one: bell curves, each as wide as to have about so many neighbours."""
    distances = squared_distances(x)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)
    low, high = np.full((len(x), 1), -50.0), np.full((len(x), 1), 10.0)  # logarithms of how sharp each curve is
    for _ in range(50):
        weights = np.exp(-np.exp(0.5 * (low + high)) * distances)
        shares = weights / weights.sum(axis=1, keepdims=True)
        entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-300)), axis=1, keepdims=True)
        too_wide = entropy > np.log(perplexity)
        low, high = np.where(too_wide, 0.5 * (low + high), low), np.where(too_wide, high, 0.5 * (low + high))
    return (shares + shares.T) / (2.0 * len(x))


def row(points, own, near):
    """What one image contributes: how far it is from those it should be near to, and how crowded it is."""
    distances = ((points - own) ** 2).sum(axis=1)
    return (near * fp.log1p(distances)).sum(), (1.0 / (1.0 + distances)).sum()


def cost(points, near):
    """How badly the map's neighbourhoods tell the images': a Kullback-Leibler divergence, but for a constant.

    On the map, nearness falls with distance like 1 / (1 + d²), whose long tails leave room for what is not near. Points
    pull on those that they should be near to, and crowds push all away: both come out of this one sum.
    """
    apart, crowds = fp.vmap(row, in_axes=(None, 0, 0), reduce="sum")(points, points, near)
    return apart + near.sum() * fp.log(crowds - len(points))  # nobody is his own neighbour


def embed(x, near, steps):
    """Descend, at first with pulls twelve times as strong, so that clusters find themselves before they spread out."""
    centred = x - x.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * sizes[:2]
    points *= 1e-4 / points[:, 0].std()
    step = fp.compile(fp.value_and_grad(cost))
    rule = fp.optim.Adam(points, lr=1.0)
    for k in range(steps):
        value, gradient = step(points, near * (12.0 if k < steps // 4 else 1.0))
        points = rule.step(points, gradient)
        if k % 50 == 0:
            print(f"step {k}: {value:.3f}")
    value, gradient = step(points, near)
    assert np.abs(gradient).max() < 1e-2
    return points, value + np.sum(near[near > 0.0] * np.log(near[near > 0.0]))


def scikit_learns(x):
    """What another implementation comes to: at hand, or on record."""
    if len(x) == 300 and find_spec("sklearn"):
        from sklearn.manifold import TSNE

        return TSNE(method="exact", init="pca", random_state=0).fit(x).kl_divergence_
    return RECORDED[len(x)]


def main(quick=False):
    """Draw the map, and see whether it is one."""
    count, steps = (150, 240) if quick else (300, 500)
    digits = fp.datasets.load_digits()
    x, labels = digits.data[:count], digits.target[:count]
    near = affinities(x, perplexity=30.0)
    assert np.isclose(near.sum(), 1.0)
    assert np.array_equal(near, near.T)

    # The pulls against differences, on a small piece.
    fp.check_grads(fp.compile(cost), (np.random.default_rng(0).normal(size=(5, 2)), near[:5, :5] / near[:5, :5].sum()))

    points, divergence = embed(x, near, steps)
    theirs = scikit_learns(x)
    print(f"divergence {divergence:.4f}; scikit-learn's {theirs:.4f}")
    assert divergence < 1.03 * theirs

    # Nobody told it which digit is which; still, whoever is next to a point on the map shows the same digit.
    distances = squared_distances(points)
    np.fill_diagonal(distances, np.inf)
    same = float(np.mean(labels[distances.argmin(axis=1)] == labels))
    print(f"{same:.0%} of the images lie next to one of the same digit")
    assert same > 0.9

    # The map, roughly.
    place = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    rows = [[" "] * 72 for _ in range(24)]
    for (across, down), label in zip(place, labels):
        rows[int(23 * down)][int(71 * across)] = str(label)
    print("\n".join("".join(row) for row in rows))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
