"""A convolutional network: the same few weights look everywhere in an image; on handwritten digits."""

import sys

import numpy as np

import fastprop as fp
from fastprop import nn


def network(seed):
    """Two layers of kernels, a pool after each that keeps the strongest answers, and a classifier on top."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, init="he_normal", rng=rng, dtype=np.float32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, init="he_normal", rng=rng, dtype=np.float32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(128, 10, rng=rng, dtype=np.float32),
    )


def main(quick=False):
    """What a kernel sees, what it costs, and what a network of them learns."""
    # A kernel is a neuron that looks at a patch, and is slid over the image. This one answers to edges: its weights are
    # -1 on the left, +1 on the right. Where dark turns light from left to right it pulls upwards.
    image = np.zeros((1, 6, 6))
    image[0, :, 3:] = 1.0
    edges = fp.conv2d(image, np.array([[[[-1.0, 0.0, 1.0]] * 3]]))
    print("what the kernel sees:", edges[0, 0].tolist())
    assert edges.shape == (1, 4, 4)
    assert edges[0, 0].tolist() == [0.0, 3.0, 3.0, 0.0]

    # The weights are shared: moved images give moved answers, and the pull on a weight is the sum over all places.
    moved = fp.conv2d(np.roll(image, 1, axis=2), np.array([[[[-1.0, 0.0, 1.0]] * 3]]))
    assert np.array_equal(moved[0, :, 1:], edges[0, :, :-1])
    kernel = fp.Array(np.array([[[[-1.0, 0.0, 1.0]] * 3]]))
    fp.sum(fp.conv2d(image, kernel)).backward()
    assert kernel.grad[0, 0, 0].tolist() == [image[0, i : i + 4, j : j + 4].sum() for i in [0] for j in range(3)]

    # So there are few of them: the first layer has 160 weights, where one that is fully connected would have 66,560.
    sizes = [sum(np.size(leaf.value) for leaf in layer.parameters()) for layer in network(0).layers]
    print(f"weights of each layer: {sizes}")
    assert sizes[0] == 16 * (9 + 1)

    # Three networks from three starts learn 1,344 digits; the other 453 they never see.
    digits = fp.datasets.load_digits()
    images, labels = (digits.images[:, None] / 16.0).astype(np.float32), digits.target
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:1344], order[1344:]
    reached = []
    for seed in (0,) if quick else (0, 1, 2):
        epochs = 3 if quick else 20
        model = network(seed)
        steps = epochs * -(-len(train) // 32)
        fp.fit(
            model,
            nn.cross_entropy,
            (images[train], labels[train]),
            fp.optim.Adam(model, lr=0.004, schedule=fp.optim.WarmUp(10) * fp.optim.Cosine(steps)),
            epochs=epochs,
            rng=seed,
        )
        right = {"accuracy": lambda scores, label: np.argmax(scores) == label}
        unseen = images[test], labels[test]
        score = fp.training.evaluate(model, nn.cross_entropy, unseen, batch_size=len(test), metrics=right)
        reached.append(score.metrics["accuracy"])
        print(f"start {seed}: {reached[-1]:.1%} of unseen digits right")
    assert np.median(reached) >= (0.89 if quick else 0.985)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
