"""A GPT of which every number is a scalar: it reads names, and makes some up.

All of a transformer is here, as loops over lists of numbers: attention that looks back, a small network at every place,
sums that carry things past them. It is written as one would write it for floats, and runs as one program.
"""

import sys
import time

import numpy as np

import fastprop as fp

WIDTH, HEADS, LONGEST = 16, 4, 16
HEAD = WIDTH // HEADS


def first_parameters(characters, rng):
    """Small numbers at random, in lists of lists: rows of weights."""

    def rows(count, width, scale=0.08):
        return rng.normal(0.0, scale, (count, width)).tolist()

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
    for place, (token, following) in enumerate(zip(tokens[:-1], tokens[1:])):
        shares = softmax(read(params, token, place, keys, values))
        losses.append(-fp.log(shares[following]))
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
    names = [name for name in fp.datasets.load_names() if len(name) < LONGEST]
    rng = np.random.default_rng(0)
    rng.shuffle(names)
    characters = sorted(set("".join(names)))
    end = len(characters)  # which stands before and behind every name
    params = first_parameters(len(characters) + 1, rng)
    numbers = sum(len(row) for rows in params.values() for row in rows)
    print(f"{len(names)} names of {len(characters)} letters; {numbers} parameters")

    def tokens_of(name):
        return [end, *map(characters.index, name), end]

    # On plain floats the functions above are plain functions. One who knows nothing is surprised by log 27.
    assert abs(loss(params, tokens_of("maria")) - np.log(end + 1)) < 0.2

    start = time.perf_counter()
    step = fp.compile(fp.value_and_grad(loss))
    step(params, tokens_of("maria"))
    print(f"recorded in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
