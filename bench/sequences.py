"""Sequences written number by number, called at one point: a character RNN, and a small GPT; and an LSTM over lanes.

Each is written as its tutorials write it, over lists of numbers; parameters are arrays. The baseline of the RNN and of
the LSTM is NumPy by hand; of the GPT, whose answer is proved along random directions, the same circuit bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastprop as fp

Numbers = list[Any]
Parameters = dict[str, np.ndarray]


def drawn(shapes: dict[str, tuple[int, ...]], scale: float, dtype: Any = np.float64) -> Parameters:
    """Return parameters of some shapes."""
    generator = np.random.default_rng(7)
    return {name: (generator.normal(size=shape) * scale).astype(dtype) for name, shape in shapes.items()}


def linear(x: Numbers, w: Any) -> Numbers:
    """Multiply by a matrix, neuron by neuron."""
    return [sum(a * b for a, b in zip(row, x)) for row in w]


# Character RNN --------------------------------------------------------------------------------------------------------


def rnn_parameters(size: int, vocabulary: int) -> Parameters:
    """Return the parameters of a character RNN."""
    return drawn({"x": (size, vocabulary), "h": (size, size), "y": (vocabulary, size), "b": (size,)}, 0.2)


def rnn(p: Any, tokens: list[int]) -> Any:
    """Return the error of an RNN's guesses at the next token."""
    state, total = [0.0] * len(p["b"]), 0.0
    for token, then in itertools.pairwise(tokens):
        inner = linear(state, p["h"])
        state = [fp.tanh(p["x"][i, token] + inner[i] + p["b"][i]) for i in range(len(inner))]
        scores = linear(state, p["y"])
        total = total + fp.logsumexp(scores) - scores[then]
    return total


def rnn_by_hand(p: Parameters, tokens: list[int]) -> tuple[float, Parameters]:
    """Return the same and its gradient, by NumPy."""
    states, chances, total = [np.zeros(len(p["b"]))], [], 0.0
    for token, then in itertools.pairwise(tokens):
        states.append(np.tanh(p["x"][:, token] + p["h"] @ states[-1] + p["b"]))
        scores = p["y"] @ states[-1]
        powers = np.exp(scores - scores.max())
        total += np.log(powers.sum()) + scores.max() - scores[then]
        chances.append(powers / powers.sum())
    slopes = {name: np.zeros_like(number) for name, number in p.items()}
    later = np.zeros(len(p["b"]))
    for t in range(len(chances) - 1, -1, -1):
        pull = chances[t].copy()
        pull[tokens[t + 1]] -= 1.0
        slopes["y"] += np.outer(pull, states[t + 1])
        inner = (p["y"].T @ pull + later) * (1.0 - states[t + 1] ** 2)
        slopes["b"] += inner
        slopes["x"][:, tokens[t]] += inner
        slopes["h"] += np.outer(inner, states[t])
        later = p["h"].T @ inner
    return total, slopes


# A GPT ----------------------------------------------------------------------------------------------------------------

HEADS = 4


def gpt_parameters(width: int, block: int, vocabulary: int) -> Parameters:
    """Return the parameters of a GPT of one layer."""
    square, tokens = (width, width), (vocabulary, width)
    shapes = {"token": tokens, "place": (block, width), "out": tokens, "q": square, "k": square, "v": square}
    return drawn({**shapes, "o": square, "up": (4 * width, width), "down": (width, 4 * width)}, 0.08)


def softmax(scores: Numbers) -> Numbers:
    """Return chances."""
    powers = [fp.exp(score) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def normalised(x: Numbers) -> Numbers:
    """Divide by the root of the mean square."""
    scale = (sum(a * a for a in x) / len(x) + 1e-5) ** -0.5
    return [a * scale for a in x]


def attended(q: Numbers, keys: list[Numbers], values: list[Numbers]) -> Numbers:
    """Return what the heads have found among what came before."""
    size, found = len(q) // HEADS, []
    for begin in range(0, len(q), size):
        head = range(begin, begin + size)
        weights = softmax([sum(q[j] * key[j] for j in head) / size**0.5 for key in keys])
        found += [sum(weight * value[j] for weight, value in zip(weights, values)) for j in head]
    return found


def gpt(p: Any, tokens: list[int]) -> Any:
    """Return the mean error of a GPT's guesses at the next token."""
    keys: list[Numbers] = []
    values: list[Numbers] = []
    total = 0.0
    for place, (token, then) in enumerate(itertools.pairwise(tokens)):
        x = normalised([a + b for a, b in zip(p["token"][token], p["place"][place])])
        inner = normalised(x)
        keys.append(linear(inner, p["k"]))
        values.append(linear(inner, p["v"]))
        x = [a + b for a, b in zip(linear(attended(linear(inner, p["q"]), keys, values), p["o"]), x)]
        inner = [fp.relu(a) ** 2 for a in linear(normalised(x), p["up"])]
        x = [a + b for a, b in zip(linear(inner, p["down"]), x)]
        total = total - fp.log(softmax(linear(x, p["out"]))[then])
    return total / (len(tokens) - 1)


def prove_along(function: Callable[[Parameters], Any], p: Parameters, slopes: Parameters) -> None:
    """Raise unless a gradient is what differences say along a random direction."""
    step = drawn({name: number.shape for name, number in p.items()}, 1e-6)
    ends = [float(function({name: p[name] + sign * step[name] for name in p})) for sign in (1.0, -1.0)]
    along = sum(float((slopes[name] * step[name]).sum()) for name in p)
    np.testing.assert_allclose((ends[0] - ends[1]) / 2.0, along, rtol=1e-5)


# LSTM -----------------------------------------------------------------------------------------------------------------


def lstm_parameters(inputs: int, size: int) -> Parameters:
    """Return the parameters of an LSTM in float32."""
    return drawn({"x": (4 * size, inputs), "h": (4 * size, size), "b": (4 * size,)}, 0.1, np.float32)


def lstm(p: Any, xs: Any) -> Any:
    """Return the sum of squares of the last state, of one example."""
    size = len(p["b"]) // 4
    h, c = fp.Array(np.zeros(size, np.float32)), fp.Array(np.zeros(size, np.float32))
    for x in xs:
        z = p["x"] @ x + p["h"] @ h + p["b"]
        i, f, o = (fp.sigmoid(z[k * size : (k + 1) * size]) for k in (0, 1, 3))
        c = f * c + i * fp.tanh(z[2 * size : 3 * size])
        h = o * fp.tanh(c)
    return fp.sum(h * h)


def lstm_by_hand(p: Parameters, xs: np.ndarray) -> tuple[float, Parameters]:
    """Return the mean over examples and its gradient, by NumPy."""
    lanes, steps, _ = xs.shape
    size = len(p["b"]) // 4
    h = c = np.zeros((lanes, size), np.float32)
    kept = []
    for t in range(steps):
        z = xs[:, t] @ p["x"].T + h @ p["h"].T + p["b"]
        i, f, o = (1.0 / (1.0 + np.exp(-z[:, k * size : (k + 1) * size])) for k in (0, 1, 3))
        g, before, last = np.tanh(z[:, 2 * size : 3 * size]), c, h
        c = f * c + i * g
        h = o * np.tanh(c)
        kept.append((i, f, g, o, before, c, last))
    value = float((h * h).sum()) / lanes
    slopes = {name: np.zeros_like(number) for name, number in p.items()}
    on_h, on_c = 2.0 * h / lanes, np.zeros_like(c)
    for t in range(steps - 1, -1, -1):
        i, f, g, o, before, c, last = kept[t]
        inner = np.tanh(c)
        on_c = on_c + on_h * o * (1.0 - inner**2)
        pulls = (
            on_c * g * i * (1 - i),
            on_c * before * f * (1 - f),
            on_c * i * (1 - g * g),
            on_h * inner * o * (1 - o),
        )
        pull = np.concatenate(pulls, 1)
        slopes["x"] += pull.T @ xs[:, t]
        slopes["h"] += pull.T @ last
        slopes["b"] += pull.sum(0)
        on_h, on_c = pull @ p["h"], on_c * f
    return value, slopes
