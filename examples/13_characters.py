"""Recurrent networks that read character by character, and write: the names of the world's letters.

The text is very regular, "arabic letter noon with two dots below" and the like, so a small network learns its ways in a
few seconds. Prose takes a larger one, and longer.
"""

import sys
import time

import numpy as np

import fastprop as fp
from fastprop import nn

STEPS, BATCH = 32, 32


class Reader(nn.Module):
    """A vector for every character, a recurrent layer, and a score for what may come next."""

    def __init__(self, layer, size, characters, rng):
        self.embedding = nn.Embedding(characters, 16, rng=rng, dtype=np.float32)
        self.recurrent = layer(16, size, rng=rng, dtype=np.float32)
        self.scores = nn.Linear(size, characters, rng=rng, dtype=np.float32)

    def __call__(self, text, state=None):
        """Give the scores of the next character at every place, and the state in the end."""
        output, state = self.recurrent(self.embedding(text), state)
        return self.scores(output), state


def by_hand(params, inputs):
    """The recurrence, written as a loop: what was read so far is in the state, and one more input changes it."""
    state = np.zeros(len(params["bias_hh_l0"]))
    states = []
    for x in inputs:
        state = fp.tanh(
            params["weight_ih_l0"] @ x + params["bias_ih_l0"] + params["weight_hh_l0"] @ state + params["bias_hh_l0"]
        )
        states.append(state)
    return states


def bits(text, order):
    """How surprising a character is, on average, to one who knows how often each follows the `order` before it."""
    seen = {}
    for i in range(order, len(text)):
        seen.setdefault(text[i - order : i], {}).setdefault(text[i], 0)
        seen[text[i - order : i]][text[i]] += 1
    total = 0.0
    for following in seen.values():
        counts = np.array(list(following.values()))
        total -= np.sum(counts * np.log2(counts / counts.sum()))
    return total / (len(text) - order)


def windows(codes, starts):
    """Pieces of the text, and the same pieces one character further on."""
    rows = starts[:, None] + np.arange(STEPS)
    return codes[rows], codes[rows + 1]


def write(model, params, characters, count, rng):
    """Let it write: draw a character from its scores, feed it back, and go on."""
    answer = fp.compile(model.apply)
    code, state, written = characters.index("\n"), None, []
    while written.count("\n") < count and len(written) < 80 * count:
        scores, state = answer(params, np.array([code]), state)
        shares = np.exp(scores[0] - scores[0].max())
        code = rng.choice(len(characters), p=shares / shares.sum())
        written.append(characters[code])
    return "".join(written).split("\n")[:count]


def main(quick=False):
    """Two recurrent layers on the same text."""
    # What the layer does is the loop above, pulls through all steps included.
    small = nn.RNN(3, 4, rng=0)
    inputs = np.random.default_rng(0).normal(size=(6, 3))
    assert np.allclose(small.apply(small.params(), inputs)[0], by_hand(small.params(), inputs))
    one = fp.grad(lambda params: fp.sum(small.apply(params, inputs)[0][-1]))(small.params())
    other = fp.grad(lambda params: fp.sum(by_hand(params, inputs)[-1]))(small.params())
    assert all(np.allclose(one[name], other[name]) for name in one)

    rng = np.random.default_rng(0)
    names = list(fp.datasets.load_letters())
    rng.shuffle(names)
    held_out, text = ("".join(f"{name}\n" for name in part) for part in (names[:400], names[400:]))
    characters = sorted(set(text))
    codes, unseen = (np.array([characters.index(c) for c in part]) for part in (text, held_out))
    print(f"{len(text)} characters of {len(characters)} kinds; bits a character that frequencies alone leave:")
    print(f"  of single characters {bits(text, 0):.2f}, of pairs {bits(text, 1):.2f}, of threes {bits(text, 2):.2f}")

    held = windows(unseen, np.arange(0, len(unseen) - STEPS - 1, STEPS))
    reached = {}
    for layer in (nn.RNN, nn.LSTM):
        model = Reader(layer, 32 if quick else 64, len(characters), np.random.default_rng(1))

        def loss(params, text, following, model=model):
            return nn.cross_entropy(model.apply(params, text)[0], following)

        mean = fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")
        step, score = fp.compile(fp.value_and_grad(mean)), fp.compile(mean)
        params = model.params()
        count = 240 if quick else 700
        rule = fp.optim.Adam(params, lr=0.02 if quick else 0.01, schedule=fp.optim.Cosine(count))
        start = time.perf_counter()
        for k in range(count):
            value, gradients = step(params, *windows(codes, rng.integers(0, len(codes) - STEPS, BATCH)))
            params = rule.step(params, fp.optim.clip_norm(gradients, 1.0))
            if k % (count // 5) == 0:
                print(f"  {layer.__name__}, step {k}: {value / np.log(2.0):.2f} bits a character")
        seconds = time.perf_counter() - start
        reached[layer.__name__] = float(score(params, *held) / np.log(2.0))
        print(f"{layer.__name__}: {reached[layer.__name__]:.3f} bits on unseen names, after {seconds:.1f} s")
        assert reached[layer.__name__] < (1.6 if quick else 1.2)
    # The memory of the LSTM, which is added to and not squashed at every step, pays.
    assert reached["LSTM"] < reached["RNN"]

    written = write(model, params, characters, 4 if quick else 20, np.random.default_rng(2))
    words = set(text.split())
    made = [word for name in written for word in name.split()]
    known = float(np.mean([word in words for word in made]))
    print("it writes:", *written, sep="\n  ")
    print(f"{known:.0%} of its words exist")
    assert known > (0.4 if quick else 0.7)
    if not quick:
        assert any(name and name not in names for name in written)  # and it says something new


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
