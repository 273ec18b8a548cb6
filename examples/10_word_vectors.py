"""Word vectors: a word is known by the company it keeps. Skip-gram with negative sampling, on the Book of Genesis."""

import collections
import re
import sys

import numpy as np

import fastprop as fp

# What one would expect near ten words, by meaning or by use.
EXPECTED = {
    "waters": "earth expanse flood rain sea ship sky surface",
    "king": "elam gerar gomorrah kings philistines sodom valley",
    "hundred": "eight five lived nine seven six sixty thirty years",
    "tree": "eat evil fruit garden good middle trees",
    "female": "camels donkeys flocks goats male servants",
    "morning": "day early evening light night rose second third",
    "field": "cave ephron hittite machpelah mamre",
    "land": "canaan egypt famine goshen people",
    "rachel": "benjamin bilhah handmaid jacob leah laban loved zilpah",
    "conceived": "bilhah bore handmaid husband leah named she son wife",
}
WINDOW, NEGATIVES, SIZE, BATCH = 4, 5, 32, 256


def words_of(text, least):
    """The text as numbers of words, the words, and how often each occurs; rare words are left out."""
    words = re.findall(r"[a-z']+", text.lower())
    counts = collections.Counter(words)
    vocabulary = [word for word, count in counts.most_common() if count >= least]
    number = {word: i for i, word in enumerate(vocabulary)}
    return np.array([number[word] for word in words if word in number]), vocabulary, [counts[w] for w in vocabulary]


def pairs(text, keep, rng):
    """Each word with its neighbours, up to a distance drawn anew for each; frequent words are often skipped."""
    text = text[rng.random(len(text)) < keep[text]]
    words, neighbours = [], []
    for distance in range(1, WINDOW + 1):
        near = rng.integers(1, WINDOW + 1, len(text) - distance) >= distance
        left, right = text[:-distance][near], text[distance:][near]
        words += [left, right]
        neighbours += [right, left]
    order = rng.permutation(sum(map(len, words)))
    return np.concatenate(words)[order], np.concatenate(neighbours)[order]


def loss(params, word, neighbour, others):
    """The neighbour should fit the word, and words that were drawn at random should not: a sigmoid for each."""
    vector, table = params["word"][word], params["context"]
    fits = fp.softplus(-fp.dot(vector, table[neighbour]))
    return fits + sum(fp.softplus(fp.dot(vector, table[others[k]])) for k in range(NEGATIVES))


def nearest(vectors, vocabulary, word, count):
    """The words whose vectors point most nearly the same way."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors[vocabulary.index(word)]
    return [vocabulary[i] for i in np.argsort(-alike)[1 : count + 1]]


def main(quick=False):
    """Read the text a few times, and look around."""
    rng = np.random.default_rng(0)
    text, vocabulary, counts = words_of(fp.datasets.load_genesis(), least=8)
    frequency = np.array(counts) / len(text)
    keep = np.minimum(1.0, np.sqrt(1e-3 / frequency))
    noise = frequency**0.75 / np.sum(frequency**0.75)
    print(f"{len(text)} words of {len(vocabulary)} kinds")

    # Two vectors for every word: one for when it is looked at, one for when it is company.
    params = {
        "word": rng.uniform(-0.5, 0.5, (len(vocabulary), SIZE)) / SIZE,
        "context": np.zeros((len(vocabulary), SIZE)),
    }
    step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0, 0), reduce="mean")))
    rule = fp.optim.Adam(params, lr=0.02 if quick else 0.01)
    means = []
    for epoch in range(1 if quick else 5):
        word, neighbour = pairs(text, keep, rng)
        others = rng.choice(len(vocabulary), (len(word), NEGATIVES), p=noise)
        losses = []
        for start in range(0, len(word) - BATCH + 1, BATCH):
            rows = slice(start, start + BATCH)
            value, gradients = step(params, word[rows], neighbour[rows], others[rows])
            params = rule.step(params, gradients)
            losses.append(value)
        means.append(np.mean(losses))
        print(f"reading {epoch + 1}: loss {means[-1]:.3f}")
    # Who knows nothing says one half, six times. This reader knows something.
    ignorance = (1 + NEGATIVES) * np.log(2.0)
    assert means[-1] < (0.7 if quick else 0.6) * ignorance

    sensible = 0
    for word, expected in EXPECTED.items():
        found = nearest(params["word"], vocabulary, word, 6)
        hits = set(expected.split()).intersection(found)
        sensible += len(hits) >= 2
        print(f"{word}: {', '.join(found)}  ({len(hits)} of 6 as expected)")
    assert sensible >= (4 if quick else 10)

    # That is not to be had by chance: of six words drawn at random hardly two are among those.
    drawn = [set(rng.choice(vocabulary, 6)) for _ in range(100)]
    lucky = np.mean([len(some.intersection(EXPECTED["land"].split())) >= 2 for some in drawn])
    assert lucky < 0.05


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
