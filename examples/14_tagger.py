"""A tagger that looks both ways: where do words begin in a text whose spaces are gone?"""

import re
import sys

import numpy as np

import fastprop as fp
from fastprop import nn

LENGTH = 30


def pieces(text):
    """Cut the text, between words, into pieces of at most so many letters; gives letters, tags and lengths.

    Letters are numbers from 1 on, 0 is padding; the tag of a letter is 1 where a word begins.
    """
    letters, tags, lengths, row = [], [], [], []
    for word in re.findall(r"[a-z]+", text.lower()):
        if row and len(row) + len(word) > LENGTH:
            padding = [(0, 0)] * (LENGTH - len(row))
            letters.append([letter for letter, _ in row + padding])
            tags.append([tag for _, tag in row + padding])
            lengths.append(len(row))
            row = []
        row = row + [(ord(letter) - ord("a") + 1, int(i == 0)) for i, letter in enumerate(word[:LENGTH])]
    return np.array(letters), np.array(tags), np.array(lengths)


class Tagger(nn.Module):
    """A vector for every letter, a recurrent layer one way or both, and a score at every place."""

    def __init__(self, both_ways, rng):
        self.embedding = nn.Embedding(27, 12, padding_idx=0, rng=rng, dtype=np.float32)
        self.recurrent = nn.GRU(12, 24 if both_ways else 48, bidirectional=both_ways, rng=rng, dtype=np.float32)
        self.scores = nn.Linear(48, 1, rng=rng, dtype=np.float32)

    def __call__(self, x):
        """Give a score for every place: above 0 it says that a word begins."""
        states, _ = self.recurrent(self.embedding(x["letters"]), length=x["length"])
        return self.scores(states)[:, 0]


def loss(scores, target):
    """Compare at all places but the padding; as two sums, since pieces differ in length."""
    return nn.binary_cross_entropy_with_logits(scores, target["tags"], mask=target["real"], reduction="pair")


def spaced(letters, begins):
    """Write letters out, with a space wherever a word is said to begin."""
    return "".join(
        (" " if begin else "") + chr(ord("a") + letter - 1) for letter, begin in zip(letters, begins)
    ).strip()


def main(quick=False):
    """One way, both ways."""
    letters, tags, lengths = pieces(fp.datasets.load_genesis())
    real = np.arange(LENGTH) < lengths[:, None]
    order = np.random.default_rng(0).permutation(len(letters))
    train, test = order[: 992 if quick else 4000], order[4000:]
    print(f"{len(letters)} pieces; the first one: {spaced(letters[0, : lengths[0]], np.zeros(LENGTH))}")

    def part(rows):
        return {"letters": letters[rows], "length": lengths[rows]}, {"tags": tags[rows], "real": real[rows]}

    right = {}
    for name, both_ways in (("one way", False), ("both ways", True)):
        model = Tagger(both_ways, np.random.default_rng(1))
        history = fp.fit(
            model, loss, part(train), fp.optim.Adam(model, lr=0.01), epochs=2 if quick else 5, batch_size=32, rng=0
        )
        answer = fp.compile(fp.vmap(model.apply, in_axes=(None, 0)))  # for a batch, as often as one likes
        scores = answer(model.params(), part(test)[0])
        right[name] = float(np.mean((scores > 0.0)[real[test]] == (tags[test] > 0)[real[test]]))
        first, last = history.losses[0], history.losses[-1]
        print(f"{name}: loss {first:.3f} to {last:.3f}, {right[name]:.1%} of unseen places right")
    for row, score in zip(letters[test[:3]], scores):
        print("  ", spaced(row[row > 0], score[row > 0] > 0.0))

    # Pieces differ in length. The layer is told how long each is: its way back begins at the last letter, and what the
    # padding holds does not matter.
    spoilt = {"letters": np.where(real[test], letters[test], 26), "length": lengths[test]}
    assert np.array_equal(answer(model.params(), spoilt)[real[test]], scores[real[test]])

    always_no = 1.0 - tags[real].mean()
    print(f"to say no everywhere would be right at {always_no:.1%}")
    assert right["one way"] > always_no + 0.05
    # Whether "in" is a word, or the beginning of "into", only the letters that follow can tell.
    assert 1.0 - right["both ways"] < (0.9 if quick else 0.75) * (1.0 - right["one way"])
    assert right["both ways"] > (0.88 if quick else 0.965)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
