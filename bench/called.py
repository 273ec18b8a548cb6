"""Print what compiled functions cost as users call them, beside the same circuits bound: `python bench/called.py`.

A *called* function is `fp.compile(fp.value_and_grad(f))(…)`, in a loop, with floats, lists, dicts and arrays; *bound*
is `circuit.bind(…)`, which has no arguments. The unit is NumPy's `add` of two arrays of five numbers, timed in the
same run. Every answer is proved first, and every case takes its turns with its baseline. *Kept*: the caller keeps the
results, so that each call has to fill new memory; beside it, what NumPy takes to fill new arrays of the same sizes.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastprop as fp
import sequences
from circuits import (
    Circuit,
    make_black_scholes,
    make_irregular,
    make_network,
    make_neuron,
    make_product,
    make_rosenbrock,
)
from lanes import LANES, Lanes
from measure import Entry, Times, interleave, pin
from mixture import Mixture, load
from own import bound, bound_lanes, bound_mixture, compiled_mixture


@dataclass(frozen=True)
class Case:
    """A call as users write it, what proves its answer, and its baseline (bound, if nothing else is said)."""

    name: str
    call: Callable[[], Any]
    prove: Callable[[], None]
    baseline: Callable[[], object] | None = None


def at_points(small: bool) -> Iterator[Case]:
    """P1 to P6: one array in, a number and an array out."""
    circuits = [make_neuron(), make_network(), make_black_scholes(), make_product(), make_rosenbrock()]
    if not small:
        circuits += [make_irregular(), make_rosenbrock(100_000, "P4L")]
    for circuit in circuits:
        yield called(circuit, "an array", lambda x: x)
    yield called(circuits[0], "five floats", lambda x: x.tolist(), positional=True)
    rosenbrock = make_rosenbrock(500 if small else 5000, "R5000")
    yield called(rosenbrock, "a list of floats", lambda x: x.tolist())
    names = [f"p{i}" for i in range(rosenbrock.point.size)]
    yield called(rosenbrock, "a dict of floats", lambda x: dict(zip(names, x.tolist())))


def called(circuit: Circuit, how: str, shaped: Callable[[np.ndarray], Any], positional: bool = False) -> Case:
    """A circuit's function, called with its point in some shape."""
    point = shaped(circuit.point)
    run, value, gradient = bound(circuit)[:3]
    if positional:
        function = fp.compile(
            fp.value_and_grad(lambda *x: circuit.function(fp, x), argnums=tuple(range(circuit.point.size)))
        )
    elif isinstance(point, dict):
        function = fp.compile(fp.value_and_grad(lambda p: circuit.function(fp, list(p.values()))))
    else:
        function = fp.compile(fp.value_and_grad(lambda x: circuit.function(fp, x)))

    def call() -> Any:
        return function(*point) if positional else function(point)

    def prove() -> None:
        found, slopes = call()
        slopes = list(slopes.values()) if isinstance(slopes, dict) else slopes
        circuit.prove((found, np.asarray(slopes)))

    del value, gradient
    return Case(f"{circuit.name}, {how}", call, prove, run)


def square() -> Case:
    """The smallest: one float in, one out."""
    function = fp.compile(lambda x: x * x)
    return Case("x*x of a float", lambda: function(2.0), lambda: check(function(3.0), 9.0))


def check(found: Any, expected: Any) -> None:
    """Raise unless two answers agree."""
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12), (found, expected)


def readme_loss(lanes: int) -> tuple[Callable[..., Any], np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """README's loss of an example, its weights, and examples."""

    def loss(w: Any, x: Any, y: Any) -> Any:
        return (fp.tanh(w[0] * x + w[1]) - y) ** 2

    x = np.linspace(-1.0, 1.0, lanes)
    return loss, np.array([0.3, 0.1]), (x, np.tanh(0.5 * x - 0.25))


def step(lanes: int) -> Case:
    """README's training step, and the same bound."""
    loss, w, (x, y) = readme_loss(lanes)
    function = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    circuit = fp.trace(loss, w, 0.0, 0.0)
    run = circuit.bind(w, x, y, grad=(np.zeros(2), None, None), in_axes=(None, 0, 0), reduce="mean")

    def prove() -> None:
        t = np.tanh(w[0] * x + w[1])
        inner = 2.0 * (t - y) * (1.0 - t * t)
        value, slopes = function(w, x, y)
        check(value, ((t - y) ** 2).mean())
        check(slopes, [(inner * x).mean(), inner.mean()])

    return Case(f"README's step, {lanes} lanes", lambda: function(w, x, y), prove, run)


def scalar_network(small: bool) -> tuple[Callable[..., Any], list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The loss of a network 64-64-10 written neuron by neuron, its weights, and 32 examples."""
    sizes = (8, 6, 3) if small else (64, 64, 10)
    generator = np.random.default_rng(5)
    weights = [generator.normal(size=(n, m)) * 0.3 for m, n in itertools.pairwise(sizes)]
    x, y = generator.normal(size=(32, sizes[0])), generator.normal(size=(32, sizes[-1]))

    def loss(weights: Any, x: Any, y: Any) -> Any:
        inner, outer = weights
        hidden = [fp.tanh(fp.dot(row, x)) for row in inner]
        out = [fp.dot(list(row), hidden) for row in outer]
        return sum((a - b) ** 2 for a, b in zip(out, y))

    return loss, weights, (x, y)


def network(small: bool) -> Case:
    """The same, and the same bound."""
    loss, weights, (x, y) = scalar_network(small)
    function = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    circuit = fp.trace(loss, weights, x[0], y[0])
    slopes = [np.zeros_like(w) for w in weights]
    run = circuit.bind(weights, x, y, grad=(slopes, None, None), in_axes=(None, 0, 0), reduce="mean")

    def prove() -> None:
        hidden = np.tanh(x @ weights[0].T)
        error = hidden @ weights[1].T - y
        value, found = function(weights, x, y)
        check(value, (error**2).sum(1).mean())
        check(found[1], 2.0 * error.T @ hidden / 32)
        check(found[0], 2.0 * ((error @ weights[1]) * (1.0 - hidden**2)).T @ x / 32)

    sizes = "-".join(map(str, [len(x[0]), *map(len, weights)]))
    return Case(f"{sizes} in scalars, 32 lanes", lambda: function(weights, x, y), prove, run)


def layers(w: Any, b: Any, x: Any, how: str) -> list[Any]:
    """One layer of a network, written in one of three manners."""
    if how == "Arrays":
        return list(w @ x + b)
    if how == "dots":
        return [fp.dot(row, x) + c for row, c in zip(w, b)]
    return [sum((w[i, j] * x[j] for j in range(len(x))), b[i]) for i in range(len(b))]


def training(sizes: tuple[int, ...], lanes: int, how: str, dtype: Any = np.float32, first: bool = False) -> Case:
    """Value and gradient of a network's loss over a batch; the baseline is NumPy, by hand.

    If the first call is timed, the function is compiled anew each time; the baseline is one that was called before.
    """
    generator = np.random.default_rng(5)
    parameters = [
        ((generator.normal(size=(n, m)) / math.sqrt(m)).astype(dtype), generator.normal(size=n).astype(dtype))
        for m, n in itertools.pairwise(sizes)
    ]
    x, y = (generator.normal(size=(lanes, n)).astype(dtype) for n in (sizes[0], sizes[-1]))

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        for w, b in parameters[:-1]:
            x = [fp.tanh(number) for number in layers(w, b, x, how)]
            x = fp.Array(x) if how == "Arrays" else x
        return sum((a - b) ** 2 for a, b in zip(layers(*parameters[-1], x, how), y))

    def by_hand() -> tuple[Any, list[Any]]:
        inner = [x]
        for w, b in parameters[:-1]:
            inner.append(np.tanh(inner[-1] @ w.T + b))
        w, b = parameters[-1]
        error = inner[-1] @ w.T + b - y
        pull, slopes = error * (2.0 / lanes), []
        for k, (w, _) in reversed(list(enumerate(parameters))):
            slopes.append((pull.T @ inner[k], pull.sum(0)))
            pull = (pull @ w) * (1.0 - inner[k] ** 2)
        return (error**2).sum() / lanes, slopes[::-1]

    def compiled() -> Any:
        return fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))

    function = compiled()

    def prove() -> None:
        (value, slopes), (expected, by_numpy) = function(parameters, x, y), by_hand()
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        for found, known in zip(slopes, by_numpy):
            for one, other in zip(found, known):
                np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-4 * float(np.abs(other).max()))

    name = f"{'-'.join(map(str, sizes))}, {lanes} lanes, {how}"
    if first:
        return Case(f"first {name}", lambda: compiled()(parameters, x, y), prove, lambda: function(parameters, x, y))
    return Case(name, lambda: function(parameters, x, y), prove, by_hand)


def networks(small: bool) -> Iterator[Case]:
    """Networks in float32; baseline: NumPy by hand."""
    middle = (8, 6, 3) if small else (64, 64, 10)
    for how in ("Arrays", "dots", "loops"):
        yield training(middle, 32, how)
    large = (20, 9, 4, 3) if small else (784, 256, 128, 10)
    for lanes in (32, 256):
        yield training(large, lanes, "Arrays")
    yield training((4, 32, 16, 4), 100 if small else 10_000, "Arrays", np.float64)
    for how in ("Arrays", "dots", "loops"):
        yield training(middle, 32, how, first=True)
    yield training(large, 32, "Arrays", first=True)
    yield first_products(*((6, 8, 12) if small else (64, 128, 512)))


def first_products(tokens: int, size: int, inner: int) -> Case:
    """The first call of two layers over some tokens, as a block of a transformer has them; baseline: NumPy by hand."""
    generator = np.random.default_rng(6)
    x, a = generator.normal(size=(tokens, size)), generator.normal(size=(size, inner)) / math.sqrt(size)
    b = generator.normal(size=(inner, size)) / math.sqrt(inner)

    def loss(x: Any, a: Any, b: Any) -> Any:
        return fp.sum((fp.relu(x @ a) @ b) ** 2)

    def compiled() -> Any:
        return fp.compile(fp.value_and_grad(loss, argnums=(0, 1, 2)))(x, a, b)

    def by_hand() -> tuple[Any, tuple[Any, ...]]:
        hidden = np.maximum(x @ a, 0.0)
        out = hidden @ b
        on_hidden = (2.0 * out) @ b.T * (hidden > 0.0)
        return (out**2).sum(), (on_hidden @ a.T, x.T @ on_hidden, hidden.T @ (2.0 * out))

    def prove() -> None:
        (value, slopes), (expected, known) = compiled(), by_hand()
        check(value, expected)
        for found, slope in zip(slopes, known):
            np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-9 * float(np.abs(slope).max()))

    return Case(f"first {tokens} tokens, {size}-{inner}-{size}", compiled, prove, by_hand)


def in_sequence(small: bool) -> Iterator[Case]:
    """A character RNN and a GPT at one point, in float64, and an LSTM of 32 lanes in float32."""
    size, length = (6, 4) if small else (32, 25)
    p = sequences.rnn_parameters(size, size)
    tokens = np.random.default_rng(8).integers(0, size, length + 1).tolist()
    yield sequence("character RNN", lambda p: sequences.rnn(p, tokens), p, lambda: sequences.rnn_by_hand(p, tokens))
    width = 8 if small else 16
    ours = sequences.gpt_parameters(width, 16, 27)
    text = [26, 4, 12, 12, 0, 26]
    yield sequence("GPT in scalars", lambda p: sequences.gpt(p, text), ours)
    inner = sequences.lstm_parameters(*((5, 4) if small else (128, 128)))
    xs = np.random.default_rng(9).normal(size=(32, 3 if small else 32, inner["x"].shape[1])).astype(np.float32)
    mapped = fp.vmap(sequences.lstm, in_axes=(None, 0), reduce="mean")
    yield sequence("LSTM, 32 lanes", lambda p: mapped(p, xs), inner, lambda: sequences.lstm_by_hand(inner, xs))


def sequence(name: str, loss: Callable[[Any], Any], p: Any, by_hand: Callable[[], Any] | None = None) -> Case:
    """Value and gradient of a loss of some parameters; without a statement by hand, the baseline is the same bound."""
    function = fp.compile(fp.value_and_grad(loss))
    slopes = {key: np.zeros_like(number) for key, number in p.items()}
    run = fp.trace(loss, p).bind(p, grad=slopes) if by_hand is None else None

    def prove() -> None:
        value, found = function(p)
        if by_hand is None:
            return sequences.prove_along(fp.compile(loss), p, found)
        expected, known = by_hand()
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        for key in p:
            np.testing.assert_allclose(found[key], known[key], rtol=1e-3, atol=1e-4 * float(np.abs(known[key]).max()))

    return Case(name, lambda: function(p), prove, run if by_hand is None else by_hand)


def steps(small: bool) -> Iterator[Case]:
    """Training steps written as one function: value and gradient, and the update; beside these called one by one."""
    circuits = [make_neuron(), make_black_scholes(), make_product(), make_rosenbrock()]
    for circuit in circuits:
        yield whole_step(circuit.name, lambda x, c=circuit: c.function(fp, x), circuit.point, ())
    for name, (loss, weights, examples) in (("README", readme_loss(32)), ("scalars", scalar_network(small))):
        mean = fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")
        yield whole_step(f"{name}, 32 lanes", mean, weights, examples)


def whole_step(name: str, loss: Callable[..., Any], point: Any, examples: tuple[Any, ...]) -> Case:
    """A step that computes its own gradient; its baseline has the gradient compiled alone, and NumPy's update."""

    def update(weights: Any, slopes: Any) -> Any:
        if isinstance(weights, list):
            return [w - 0.01 * g for w, g in zip(weights, slopes)]
        return weights - 0.01 * slopes

    def step(weights: Any, *examples: Any) -> Any:
        value, slopes = fp.value_and_grad(loss)(weights, *examples)
        return value, update(weights, slopes)

    compiled, alone = fp.compile(step), fp.compile(fp.value_and_grad(loss))

    def apart() -> Any:
        value, slopes = alone(point, *examples)
        return value, update(point, slopes)

    def prove() -> None:
        (value, found), (expected, moved) = compiled(point, *examples), apart()
        check(value, expected)
        for one, other in zip(found, moved) if isinstance(moved, list) else [(found, moved)]:
            check(one, other)

    return Case(f"step of {name}", lambda: compiled(point, *examples), prove, apart)


def columns(small: bool) -> Case:
    """A dot product over a batch of many columns."""
    x, w = np.random.default_rng(1).normal(size=(32, 50 if small else 784)), np.full(50 if small else 784, 0.1)
    function = fp.compile(fp.value_and_grad(fp.vmap(lambda w, x: fp.dot(w, x), in_axes=(None, 0), reduce="sum")))

    def prove() -> None:
        value, slopes = function(w, x)
        check(value, (x @ w).sum())
        check(slopes, x.sum(0))

    return Case(f"dot over {x.shape}", lambda: function(w, x), prove)


def classifier(by_label: bool) -> Case:
    """Cross-entropy of ten classes over 1,000 examples: `scores[label]`, or scores weighed by one-hot rows."""
    generator = np.random.default_rng(6)
    w, x, label = generator.normal(size=(10, 16)), generator.normal(size=(1000, 16)), generator.integers(0, 10, 1000)
    one_hot = np.eye(10)[label]

    def indexed(w: Any, x: Any, label: Any) -> Any:
        scores = w @ x
        return fp.logsumexp(scores) - scores[label]

    def weighed(w: Any, x: Any, row: Any) -> Any:
        scores = w @ x
        return fp.logsumexp(scores) - fp.dot(list(row), list(scores))

    indices = fp.compile(fp.value_and_grad(fp.vmap(indexed, in_axes=(None, 0, 0), reduce="mean")))
    weights = fp.compile(fp.value_and_grad(fp.vmap(weighed, in_axes=(None, 0, 0), reduce="mean")))

    def call() -> Any:
        return indices(w, x, label) if by_label else weights(w, x, one_hot)

    def prove() -> None:
        shares = np.exp(x @ w.T)
        total = shares.sum(1)
        value, slopes = call()
        check(value, (np.log(total) - (x @ w.T)[np.arange(1000), label]).mean())
        check(slopes, (shares / total[:, None] - one_hot).T @ x / 1000)

    return Case(f"cross-entropy, {'scores[label]' if by_label else 'one-hot rows'}", call, prove)


def at_lanes(quick: bool) -> Iterator[Case]:
    """V1 to V4: many points at once."""
    for name, make in LANES.items():
        lanes = make(quick)
        yield mapped(name, lanes)


def mapped(name: str, lanes: Lanes) -> Case:
    """A workload of lanes, called."""
    run, _, _ = bound_lanes(lanes)
    if lanes.summed:
        function = fp.compile(
            fp.value_and_grad(fp.vmap(lambda *a: lanes.function(fp, *a), in_axes=lanes.in_axes, reduce="sum"))
        )
    else:
        function = fp.compile(fp.vmap(fp.value_and_grad(lambda *a: lanes.function(fp, *a)), in_axes=lanes.in_axes))

    def prove() -> None:
        value, gradient = function(*lanes.arguments)
        gradient = np.asarray(gradient)
        lanes.prove((value, gradient if lanes.summed else gradient.T))

    return Case(f"{name}, called", lambda: function(*lanes.arguments), prove, run)


def decay(x: Any) -> Any:
    """A loop as long as its argument says."""
    n = 0
    while x > 1.0:
        x, n = x * 0.99, n + 1
    return x * n


def loops(small: bool) -> Iterator[Case]:
    """Lanes that all take ways of their own, the first time and when the ways are known; baseline: lane by lane."""
    lanes = 20 if small else 200
    x = np.random.default_rng(7).permutation(1.0 / 0.99 ** (np.arange(lanes) + 0.5))
    turns = np.ceil(np.log(x) / -np.log(0.99)).clip(0)
    one, summed = fp.value_and_grad(decay), fp.value_and_grad(fp.vmap(decay, reduce="sum"))

    def prove(call: Callable[[], Any]) -> None:
        value, slopes = call()
        check(value, (x * 0.99**turns * turns).sum())
        check(slopes, turns * 0.99**turns)

    def lane_by_lane() -> list[Any]:
        return [one(number) for number in x.tolist()]

    known = fp.compile(summed)
    for _ in range(29):
        known(x)
    for name, call in (("first call", lambda: fp.compile(summed)(x)), ("30th call", lambda: known(x))):
        yield Case(f"loop of {lanes} lengths, {name}", call, lambda call=call: prove(call), lane_by_lane)


def eight_ways(x: Any, gates: int) -> Any:
    """One of eight ways, of so many gates."""
    k = 1
    while k < 8 and x > k:
        k += 1
    return one_way(x, gates, 0.1 * k)


def one_way(x: Any, gates: int, factor: float = 0.8) -> Any:
    """The same without a branch."""
    for _ in range(gates):
        x = x * factor
    return x


def ways(small: bool) -> Iterator[Case]:
    """Many lanes over eight ways; baseline: the same gates without a branch."""
    x = np.random.default_rng(8).uniform(0.0, 8.0, 1000 if small else 1_000_000)
    factor = 0.1 * np.ceil(x)
    for gates in (1, 5, 20, 100):
        branching = fp.compile(fp.vmap(fp.value_and_grad(lambda x, gates=gates: eight_ways(x, gates))))
        straight = fp.compile(fp.vmap(fp.value_and_grad(lambda x, gates=gates: one_way(x, gates))))

        def prove(gates: int = gates, branching: Any = branching) -> None:
            value, slopes = branching(x)
            check(value, x * factor**gates)
            check(slopes, factor**gates)

        name = f"eight ways of {gates} gates, {x.size} lanes"
        yield Case(name, lambda f=branching: f(x), prove, lambda f=straight: f(x))


def mixtures(quick: bool) -> Iterator[Case]:
    """ADBench's mixture of Gaussians."""
    for name in ("d2_K5",) if quick else ("d2_K5", "d10_K25"):
        mixture = load(name, 100 if quick else None)
        entry = compiled_mixture(mixture)
        baseline = bound_mixture(mixture).call

        def prove(entry: Entry = entry, mixture: Mixture = mixture) -> None:
            mixture.prove(entry.answer())

        yield Case(f"GMM {name}, called", entry.call, prove, baseline)


def cases(quick: bool) -> Iterator[Case]:
    """All of them."""
    yield square()
    yield from at_points(quick)
    yield step(32)
    yield step(1000)
    yield network(quick)
    yield from networks(quick)
    yield from in_sequence(quick)
    yield from steps(quick)
    yield columns(quick)
    yield classifier(by_label=True)
    yield classifier(by_label=False)
    yield from loops(quick)
    yield from ways(quick)
    yield from at_lanes(quick)
    yield from mixtures(quick)


def arrays_of(result: Any) -> list[np.ndarray]:
    """The arrays in a result."""
    if isinstance(result, np.ndarray):
        return [result]
    return [array for part in result for array in arrays_of(part)] if isinstance(result, list | tuple) else []


def written(result: Any) -> Callable[[], list[np.ndarray]] | None:
    """What NumPy does to fill new arrays of a result's sizes; None if they are small."""
    shapes = [array.shape for array in arrays_of(result)]
    if sum(map(math.prod, shapes)) < 10_000:
        return None
    return lambda: [np.full(shape, 1.0) for shape in shapes]


def kept(call: Callable[[], Any], most: int) -> Callable[[], None]:
    """A call whose results are all kept (the last few)."""
    results: list[Any] = []

    def run() -> None:
        if len(results) == most:
            results.clear()
        results.append(call())

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="prove the answers alone, small, without a clock")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    options = parser.parse_args()
    if not options.quick:
        pin()
    x = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    heads = f"{'called µs':>11} {'units':>9} {'bound µs':>10} {'ratio':>7} {'kept µs':>10} {'written µs':>10}"
    print(f"{'case':34} {heads}")
    for case in cases(options.quick):
        if not case.name.startswith(options.only):
            continue
        for _ in range(3):
            case.prove()
        if options.quick:
            continue
        calls = {"unit": lambda: np.add(x, x), "nothing": lambda: None, "called": case.call}
        calls["kept"] = kept(case.call, 3)
        writing = written(case.call())
        if writing is not None:
            calls["written"] = kept(writing, 3)
        if case.baseline is not None:
            calls["bound"] = case.baseline
        show(case.name, interleave(calls, 7))


def show(name: str, times: dict[str, Times]) -> None:
    """Print a line; what an empty call takes is subtracted."""
    nothing = times["nothing"].least
    unit, call, keeping = (times[key].least - nothing for key in ("unit", "called", "kept"))
    base = times["bound"].least if "bound" in times else float("nan")
    figures = f"{call * 1e6:11.3f} {call / unit:9.2f} {base * 1e6:10.3f} {call / base:7.2f} {keeping * 1e6:10.3f}"
    if "written" in times:
        figures += f" {(times['written'].least - nothing) * 1e6:10.3f}"
    print(f"{name:34} {figures}")


if __name__ == "__main__":
    main()
