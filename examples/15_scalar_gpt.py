"""A GPT of which every number is a scalar: it reads names, and makes some up.

All of a transformer is here, as loops over lists of numbers: attention that looks back, a small network at every place,
sums that carry things past them. It is written as one would write it for floats, and runs as one program.
"""

import sys
import time
from itertools import pairwise

import numpy as np

import fastprop as fp

WIDTH, HEADS, LONGEST = 16, 4, 16
HEAD = WIDTH // HEADS


def first_parameters(characters, rng):
    """Small numbers at random, in rows of weights."""

    def rows(count, width, scale=0.08):
        return rng.normal(0.0, scale, (count, width))

    return {
        "character": rows(characters, WIDTH),
        "place": rows(LONGEST, WIDTH),
        "query": rows(WIDTH, WIDTH),
        "key": rows(WIDTH, WIDTH),
        "value": rows(WIDTH, WIDTH),
        "mix": rows(WIDTH, WIDTH),
        "up": rows(4 * WIDTH, WIDTH),
        "down": rows(WIDTH, 4 * WIDTH),
        "score": rows(characters, WIDTH),
    }


def weigh(rows, x):
    """A layer without a bias: one weighted sum for every row."""
    return [sum(w * xi for w, xi in zip(row, x)) for row in rows]


def softmax(scores):
    """Shares that sum to one."""
    largest = fp.max(scores)
    powers = [fp.exp(score - largest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def normalised(x):
    """The same direction, at a mean square of one."""
    scale = 1.0 / fp.sqrt(sum(xi * xi for xi in x) / len(x) + 1e-5)
    return [xi * scale for xi in x]


def read(params, token, place, keys, values):
    """Take in one more character; give a score for each that may come next. Keys and values are what it remembers."""
    x = [c + p for c, p in zip(params["character"][token], params["place"][place])]
    x = normalised(x)

    # Attention: every character that was read so far holds out a key; where it fits the query, its value is taken.
    before, x = x, normalised(x)
    query = weigh(params["query"], x)
    keys.append(weigh(params["key"], x))
    values.append(weigh(params["value"], x))
    found = []
    for head in range(HEADS):
        part = slice(head * HEAD, (head + 1) * HEAD)
        fit = [sum(q * k for q, k in zip(query[part], key[part])) / HEAD**0.5 for key in keys]
        shares = softmax(fit)
        found += [sum(s * value[i] for s, value in zip(shares, values)) for i in range(part.start, part.stop)]
    x = [b + m for b, m in zip(before, weigh(params["mix"], found))]

    # A small network, at every place the same.
    before, x = x, normalised(x)
    x = weigh(params["down"], [fp.relu(h) for h in weigh(params["up"], x)])
    return weigh(params["score"], [b + d for b, d in zip(before, x)])


def loss(params, tokens):
    """How surprising each character of a name is, and its end, on average."""
    keys, values, losses = [], [], []
    for place, (token, following) in enumerate(pairwise(tokens)):
        shares = softmax(read(params, token, place, keys, values))
        losses.append(-fp.log(fp.take(shares, following)))
    return sum(losses) / len(losses)


def invent(params, characters, rng):
    """Draw one character after the other, until it draws the end."""
    end = len(characters)
    token, keys, values, name = end, [], [], ""
    for place in range(LONGEST):
        shares = softmax(read(params, token, place, keys, values))
        token = int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))
        if token == end:
            break
        name += characters[token]
    return name


def main(quick=False):
    """Read, and write."""
    names = [name for name in fp.datasets.load_names() if len(name) < (7 if quick else LONGEST)]
    rng = np.random.default_rng(0)
    rng.shuffle(names)
    characters = sorted(set("".join(names)))
    end = len(characters)  # which stands before and behind every name
    params = first_parameters(len(characters) + 1, rng)
    numbers = sum(rows.size for rows in params.values())
    print(f"{len(names)} names of {len(characters)} letters; {numbers} parameters")

    def tokens_of(name):
        return np.array([end, *map(characters.index, name), end])

    # Given plain numbers, the functions above are plain functions. Who knows nothing is surprised by log 27.
    maria = tokens_of("maria")
    assert abs(loss(params, maria) - np.log(end + 1)) < 0.2

    # Compiled, with the gradient, it is recorded once for every length of a name; products of matrices are found in it.
    step = fp.compile(fp.value_and_grad(loss))
    start = time.perf_counter()
    value, gradients = step(params, maria)
    recorded = time.perf_counter() - start
    assert np.isclose(value, loss(params, maria))
    # The gradient against two values a little apart, along some direction through all the parameters.
    away = {name: rng.normal(size=rows.shape) for name, rows in params.items()}
    near = [loss({name: rows + h * away[name] for name, rows in params.items()}, maria) for h in (-1e-5, 1e-5)]
    slope = sum(np.sum(gradients[name] * away[name]) for name in params)
    assert np.isclose((near[1] - near[0]) / 2e-5, slope, rtol=1e-5)

    unseen, learnt_from = names[:300], names[300:]
    scored = fp.compile(loss)

    def surprise(params):
        return float(np.mean([scored(params, tokens_of(name)) for name in unseen]))

    count = 1_000 if quick else 12_000
    rule = fp.optim.Adam(params, lr=0.01, schedule=fp.optim.WarmUp(100) * fp.optim.Cosine(count))
    losses, seconds = [], []
    for k in range(count):
        tokens = tokens_of(learnt_from[k % len(learnt_from)])
        start = time.perf_counter()
        value, gradients = step(params, tokens)
        params = rule.step(params, gradients)
        seconds.append(time.perf_counter() - start)
        losses.append(value)
        if (k + 1) % (count // 5) == 0:
            print(f"{k + 1} names: loss {np.mean(losses[-1000:]):.3f}")
    after = surprise(params)
    print(f"recorded in {recorded:.2f} s; then {1e6 * np.median(seconds):.0f} µs a name; unseen names: {after:.3f}")

    # A table of which letter follows which is the simplest reader. This one knows more than the letter before.
    follows = np.ones((end + 1, end + 1))
    for name in learnt_from:
        tokens = tokens_of(name)
        np.add.at(follows, (tokens[:-1], tokens[1:]), 1.0)
    table = np.log(follows / follows.sum(axis=1, keepdims=True))
    by_table = float(np.mean([-table[t[:-1], t[1:]].mean() for t in map(tokens_of, unseen)]))
    print(f"by a table of pairs: {by_table:.3f}")
    assert after < (1.05 * by_table if quick else by_table - 0.1)

    invented = [invent(params, characters, rng) for _ in range(8 if quick else 30)]
    print("it makes up:", ", ".join(invented))
    new = [name for name in invented if name not in names]
    assert len(new) > len(invented) / 2
    # They sound like names: no pair of letters in most of them that real names don't have.
    pairs = {name[i : i + 2] for name in learnt_from for i in range(len(name) - 1)}
    sound = [all(name[i : i + 2] in pairs for i in range(len(name) - 1)) for name in invented]
    assert np.mean(sound) > 0.6


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
