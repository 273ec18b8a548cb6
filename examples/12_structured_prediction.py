"""Structured prediction: an energy for a whole sequence of answers, learnt, and decoded with Viterbi's algorithm.

Somebody counts, mostly upwards, and each digit is written on paper that has suffered. Read alone, many images could be
anything; read in a row they explain each other.
"""

import itertools
import sys

import numpy as np

import fastprop as fp

LENGTH, CLASSES = 8, 10


def sequences(images, labels, count, rng):
    """Draw sequences of digits that mostly count on, and an image of each with most of its pixels gone."""
    habits = np.full((CLASSES, CLASSES), 0.1 / (CLASSES - 2))
    for digit in range(CLASSES):
        habits[digit, digit], habits[digit, (digit + 1) % CLASSES] = 0.2, 0.7
    answers = np.empty((count, LENGTH), int)
    answers[:, 0] = rng.integers(0, CLASSES, count)
    for t in range(1, LENGTH):
        for i in range(count):
            answers[i, t] = rng.choice(CLASSES, p=habits[answers[i, t - 1]])
    by_digit = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    shown = np.array([[rng.choice(by_digit[digit]) for digit in row] for row in answers])
    return images[shown] * (rng.random((count, LENGTH, 64)) < 0.4), answers


def fits(params, x):
    """How well each digit fits each image: a linear score, the part of the energy that looks at the paper."""
    return x @ params["weight"] + params["bias"]


def score(params, x, answers):
    """Minus the energy of a sequence of answers: what fits the images, and what follows what."""
    scores = fits(params, x)
    alone = sum(scores[t, answers[t]] for t in range(LENGTH))
    return alone + sum(params["follows"][answers[t - 1], answers[t]] for t in range(1, LENGTH))


def log_partition(params, x):
    """The logarithm of the sum of exp(score) over all sequences, ten to the eighth, in eight steps.

    All sequences that end in the same digit have the same future, so their sums need not be kept apart.
    """
    scores = fits(params, x)
    sums = scores[0]
    for t in range(1, LENGTH):
        sums = fp.logsumexp(sums[:, None] + params["follows"], axis=0) + scores[t]
    return fp.logsumexp(sums)


def surprise(params, x, answers):
    """The loss: how improbable the true answers are among all sequences. It pulls down all others' scores."""
    return log_partition(params, x) - score(params, x, answers)


def decode(params, x):
    """Find the sequence of the highest score: the best way to each digit goes by a best way to one before."""
    scores = fits(params, x)
    best, came_from = scores[0], []
    for t in range(1, LENGTH):
        ways = best[:, None] + params["follows"]
        came_from.append(ways.argmax(axis=0))
        best = ways.max(axis=0) + scores[t]
    answers = [int(best.argmax())]
    for back in reversed(came_from):
        answers.append(int(back[answers[-1]]))
    return answers[::-1]


def main(quick=False):
    """Learn with and without the links, and compare."""
    digits = fp.datasets.load_digits()
    rng = np.random.default_rng(0)
    images, labels = digits.data / 16.0, digits.target
    x, answers = sequences(images[:1400], labels[:1400], 200 if quick else 1000, rng)
    unseen_x, unseen = sequences(images[1400:], labels[1400:], 150, rng)
    zeros = {"weight": np.zeros((64, CLASSES)), "bias": np.zeros(CLASSES), "follows": np.zeros((CLASSES, CLASSES))}

    # Is the sum in a few steps the sum over all sequences? Where only two digits are possible we can go through them.
    some = {name: rng.normal(size=value.shape) for name, value in zeros.items()}
    some["bias"][2:] = -np.inf
    scores = [score(some, x[0], row) for row in itertools.product((0, 1), repeat=LENGTH)]
    assert np.isclose(log_partition(some, x[0]), np.log(np.sum(np.exp(scores))))
    assert np.isclose(score(some, x[0], decode(some, x[0])), max(scores))
    some["bias"][2:] = 0.0
    fp.check_grads(fp.compile(lambda params: surprise(params, x[0], answers[0])), (some,))

    accuracy, learnt = {}, {}
    for name, links in {"each alone": 0.0, "in a row": 1.0}.items():

        def loss(params, x, answers, links=links):
            return surprise({**params, "follows": links * params["follows"]}, x, answers)

        step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
        params, rule = zeros, fp.optim.Adam(zeros, lr=0.03)
        losses = []
        for k in range(60 if quick else 400):
            rows = np.arange(50 * k, 50 * k + 50) % len(x)
            value, gradients = step(params, x[rows], answers[rows])
            params = rule.step(params, gradients)
            losses.append(value)
        found = np.array([decode(params, row) for row in unseen_x])
        accuracy[name], learnt[name] = float(np.mean(found == unseen)), params
        print(f"{name}: surprise {losses[0]:.2f} to {losses[-1]:.2f}, {accuracy[name]:.1%} of unseen digits right")

    assert accuracy["in a row"] > accuracy["each alone"] + 0.1
    assert accuracy["in a row"] > (0.7 if quick else 0.8)

    # The links have found out the habit: what most likely follows each digit is the next one.
    follows = learnt["in a row"]["follows"]
    print("after 0, 1, 2 … most likely comes", follows.argmax(axis=1).tolist())
    assert np.mean(follows.argmax(axis=1) == (np.arange(CLASSES) + 1) % CLASSES) > 0.8


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
