"""What goes wrong when networks learn, and what helps: each shown by a number on handwritten digits."""

import sys
import warnings

import numpy as np

import fastprop as fp
from fastprop import nn


def examples(train, noise=0.0):
    """Some digits to learn, some of them labelled wrongly if there is noise, and all the others to test with."""
    digits = fp.datasets.load_digits()
    rng = np.random.default_rng(7)
    order = rng.permutation(len(digits.target))
    x, y = digits.data[order] / 16.0, digits.target[order].copy()
    wrong = rng.random(train) < noise
    y[:train][wrong] = rng.integers(0, 10, wrong.sum())
    return (x[:train], y[:train]), (x[train:], y[train:])


def deep(width, depth, init, activation=nn.ReLU, rng=0):
    """Hidden layers in a row, and a classifier on top."""
    rng = np.random.default_rng(rng)
    layers = []
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else width, width, init=init, rng=rng), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10, rng=rng))


def learn(model, data, rule, epochs, **options):
    """Fit with the usual loss."""
    return fp.fit(model, nn.cross_entropy, data, rule, epochs=epochs, rng=0, **options)


def accuracy(model, data):
    """The share of right answers of the model as it is used: nothing at random any more."""
    right = {"accuracy": lambda scores, label: np.argmax(scores) == label}
    score = fp.training.evaluate(model, nn.cross_entropy, data, batch_size=len(data[1]), metrics=right)
    return score.metrics["accuracy"]


def signals(model, x):
    """The spread of what comes out of each hidden layer."""
    spreads = []
    for layer in model.layers[:-1]:
        x = fp.training.predict(layer, x)
        if not layer.parameters():
            spreads.append(float(np.std(x)))
    return spreads


def first_weights(train):
    """Signals die out, or blow up, layer by layer, unless weights begin at the right size."""
    x, _ = train
    spread = {}
    for name, scale in {"too small": 0.02, "He": None, "too large": 0.5}.items():
        init = "he_normal" if scale is None else (lambda shape, rng, dtype, s=scale: rng.normal(0.0, s, shape))
        spread[name] = signals(deep(64, 6, init), x[:100])
        print(f"  {name}: spread of the signals, layer by layer: {', '.join(f'{s:.2g}' for s in spread[name])}")
    assert spread["too small"][-1] < 1e-3 * spread["too small"][0]
    assert spread["too large"][-1] > 10.0 * spread["too large"][0]
    assert 0.1 < spread["He"][-1] / spread["He"][0] < 10.0
    # Zeros are the worst start: all neurons of a layer stay alike. The library says so.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        deep(4, 1, "zeros")
    assert "symmetry" in str(told[0].message)


def dead_neurons(train):
    """A step that is too large throws neurons to where no example wakes them; they then get no pull, and stay there."""
    x, _ = train

    def dead(model):
        fired = fp.training.predict(model[:2], x) > 0.0
        return float(np.mean(~fired.any(axis=0)))

    shares = {}
    for rate in (0.1, 2.0):
        model = deep(64, 1, "he_normal")
        before = dead(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learn(model, train, fp.optim.SGD(model, lr=rate, momentum=0.9), 3)
        shares[rate] = dead(model)
        print(f"  rate {rate}: {before:.0%} of the neurons dead before, {shares[rate]:.0%} after")
    assert shares[0.1] < 0.1
    assert shares[2.0] > 0.3
    # A leak keeps a small slope below zero, so a neuron can come back.
    leaky = nn.LeakyReLU()
    pull = fp.grad(lambda v: leaky(v))(-3.0)
    assert fp.grad(fp.relu)(-3.0) == 0.0 < pull


def rates(train):
    """Too small a rate gets nowhere, too large a one bounces about; `find_rate` tries them all in one short run."""
    ends = {}
    for rate in (0.0003, 0.3, 30.0):
        model = deep(32, 1, "he_normal")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ends[rate] = learn(model, train, fp.optim.SGD(model, lr=rate), 4).losses[-1]
        print(f"  rate {rate}: loss {ends[rate]:.3g} after four epochs")
    assert ends[0.3] < 0.5
    assert ends[0.0003] > 2.0
    assert not ends[30.0] < 2.0
    model = deep(32, 1, "he_normal")
    before = model.params()["0"]["weight"]
    found = fp.training.find_rate(model, nn.cross_entropy, train, fp.optim.SGD(model), rng=0)
    print(f"  find_rate suggests {found.suggestion:.2g}")
    assert 0.003 < found.suggestion < 3.0
    assert np.array_equal(model.params()["0"]["weight"], before)


def decay(quick):
    """Networks that can learn wrong labels by heart do; springs on their weights, and dropout, hold them back."""
    train, test = examples(300, noise=0.3)
    found = {}
    for name, weight_decay, dropout in (("nothing", 0.0, 0.0), ("decay", 0.2, 0.0), ("dropout", 0.0, 0.6)):
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 10, rng=rng))
        rule = fp.optim.AdamW(model, lr=0.01, weight_decay=weight_decay)
        learn(model, train, rule, 25 if quick else 60)
        found[name] = accuracy(model, train), accuracy(model, test)
        print(f"  {name}: {found[name][0]:.0%} of what it learnt from right, {found[name][1]:.1%} of the unseen")
    assert found["nothing"][0] > found["nothing"][1]
    for name in ("decay", "dropout"):
        assert found[name][0] < found["nothing"][0]
        assert found[name][1] > found["nothing"][1] + 0.02


def main(quick=False):
    """One lesson after the other."""
    train, _ = examples(1000)
    print("first weights")
    first_weights(train)
    print("dead neurons")
    dead_neurons(train)
    print("learning rates")
    rates(train)
    print("weight decay and dropout, where three labels in ten are drawn at random")
    decay(quick)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
