"""T1 to T6: what learns, from where, of what, and at which rate; nothing here knows how.

Parameters have the names and shapes that PyTorch gives them, in `state_dict`'s manner. All batches lie in one array,
whose first axis counts the steps, and which contestants may prepare as they like beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm

import fastprop as fp

Numbers = np.ndarray[Any, Any]
Parameters = dict[str, Numbers]

KERNEL = 5  # pixels along each side of what a convolution looks at
POINTS = [((1.2, 0.7), 1.0), ((-0.3, -0.5), -1.0), ((3.0, 0.1), 1.0), ((-0.1, -1.0), -1.0), ((-1.0, 1.1), -1.0),
          ((2.1, -3.0), 1.0)]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Something to learn.

    Attributes
    ----------
    name, title : str
        What it is called in the table, and what it is.
    kind : str
        "machine", "dense", "convolutions" or "lstm".
    sizes : tuple of int
        How wide the layers are; channels of convolutions; inputs, state and outputs of a recurrence.
    start : dict of arrays
        The parameters before the first step.
    x, y : array
        The batches, (steps, examples, …); of T1 the examples, one for each step.
    rate : float
        The learning rate of Adam, or of plain descent in T1.
    """

    name: str
    title: str
    kind: str
    sizes: tuple[int, ...]
    start: Parameters
    x: Numbers
    y: Numbers
    rate: float = 1e-3

    @property
    def steps(self) -> int:
        """How many steps the batches make."""
        return len(self.x)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is calculated in."""
        return next(iter(self.start.values())).dtype

    @property
    def scanned(self) -> bool:
        """Whether its steps are timed as one call, too: short ones, as one writes them so, and, once, longer ones."""
        return self.name in ("T1", "T2", "T3, batch 32")

    @property
    def regression(self) -> bool:
        """Whether it learns numbers, by tanh and half the squared error; else classes, by relu and cross-entropy."""
        return self.name == "T6"


@dataclass(frozen=True)
class Learner:
    """One contestant at one task.

    Attributes
    ----------
    name : str
        What the table calls it.
    begin : callable
        Gives the state before the first step.
    advance : callable
        Goes once over all batches: a state -> the next one, and the losses of all steps, or a list of their mean alone.
    tolerance : float or None
        How far its losses may be from NumPy's, where its update rule is another one.
    """

    name: str
    begin: Callable[[], Any]
    advance: Callable[[Any], tuple[Any, Sequence[Any]]]
    tolerance: float | None = None


def uniform(random: np.random.Generator, dtype: str, shapes: dict[str, tuple[int, ...]], fan_in: int = 0) -> Parameters:
    """Return first parameters: weights between the roots of 1 / inputs, biases likewise, as PyTorch has them."""
    start, bound = {}, 0.0
    for name, shape in shapes.items():
        if len(shape) > 1:
            bound = (fan_in or int(np.prod(shape[1:]))) ** -0.5
        start[name] = random.uniform(-bound, bound, shape).astype(dtype)
    return start


def pairs(*layers: tuple[int, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of layers' weights and biases: of the place in a Sequential and the shape of the weights."""
    shapes: dict[str, tuple[int, ...]] = {}
    for place, shape in layers:
        shapes.update({f"{place}.weight": shape, f"{place}.bias": shape[:1]})
    return shapes


def labelled(random: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    """Return noise, and labels that mean nothing: as fast to learn from as pictures."""
    return random.standard_normal(shape).astype(dtype), random.integers(0, 10, shape[:2])


def dense(random: np.random.Generator, name: str, title: str, sizes: tuple[int, ...], x: Numbers, y: Numbers) -> Task:
    """Return a task for a network of dense layers."""
    layers = [(2 * place, sizes[place : place + 2][::-1]) for place in range(len(sizes) - 1)]
    title = f"{'-'.join(map(str, sizes))}, {title}"
    return Task(name, title, "dense", sizes, uniform(random, str(x.dtype), pairs(*layers)), x, y)


def machine(random: np.random.Generator, dtype: str, quick: bool) -> Task:
    """T1: a linear machine of three numbers with a soft margin; plain descent, one example at a time."""
    chosen = random.integers(0, len(POINTS), 50 if quick else 400)
    x, y = (np.array(part)[chosen].astype(dtype) for part in zip(*POINTS))
    start = {"w": np.array([1.0, -2.0, -1.0], dtype)}
    return Task("T1", f"linear SVM, one example at a time, plain descent, {dtype}", "machine", (3,), start, x, y, 0.01)


def split_digits(dtype: str) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return 1,437 images with their labels to learn from, and 360 to be judged by."""
    x, y = fp.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16.0).astype(dtype), y[order]
    return x[:1437], y[:1437], x[1437:], y[1437:]


def digits(random: np.random.Generator, dtype: str, quick: bool) -> Task:
    """T2: a small network on small pictures."""
    x, y, *_ = split_digits(dtype)
    steps = 20 if quick else len(x) // 32
    x, y = x[: 32 * steps].reshape(steps, 32, 64), y[: 32 * steps].reshape(steps, 32)
    return dense(random, "T2", f"batch 32, Adam, {dtype}", (64, 64, 10), x, y)


def pictures(random: np.random.Generator, dtype: str, quick: bool, batch: int) -> Task:
    """T3: a network of usual size, by batches."""
    sizes, steps = ((24, 32, 16, 10), 20) if quick else ((784, 256, 128, 10), {1: 60, 32: 40, 256: 6}[batch])
    x, y = labelled(random, dtype, (steps, min(batch, 20) if quick else batch, sizes[0]))
    return dense(random, f"T3, batch {batch}", f"Adam, {dtype}", sizes, x, y)


def convolutions(random: np.random.Generator, dtype: str, quick: bool) -> Task:
    """T4: two convolutions with relu and pooling, and a dense layer."""
    side, batch, steps = (8, 3, 20) if quick else (28, 32, 2)
    x, y = labelled(random, dtype, (steps, batch, 1, side, side))
    shapes = pairs((0, (8, 1, KERNEL, KERNEL)), (3, (16, 8, KERNEL, KERNEL)), (7, (10, 16 * (side // 4) ** 2)))
    title = f"two convolutions (8, 16 kernels of 5 by 5) of {side} by {side} pixels, batch {batch}, Adam, {dtype}"
    return Task("T4", title, "convolutions", (8, 16, 10), uniform(random, dtype, shapes), x, y)


def lstm(random: np.random.Generator, dtype: str, quick: bool) -> Task:
    """T5: an LSTM that classifies sequences by its last state."""
    inputs, size, length, batch, steps = (5, 6, 4, 3, 20) if quick else (64, 128, 32, 32, 2)
    x, y = labelled(random, dtype, (steps, batch, length, inputs))
    names = {"weight_ih_l0": (4 * size, inputs), "weight_hh_l0": (4 * size, size)}
    shapes = {**names, "bias_ih_l0": (4 * size,), "bias_hh_l0": (4 * size,)}
    start = uniform(random, dtype, {f"lstm.{name}": shape for name, shape in shapes.items()}, size)
    start.update(uniform(random, dtype, {"out.weight": (10, size), "out.bias": (10,)}))
    title = f"LSTM of {size}, sequences of {length} by {inputs}, batch {batch}, Adam, {dtype}"
    return Task("T5", title, "lstm", (inputs, size, 10), start, x, y)


def exponentials(random: np.random.Generator, dtype: str, quick: bool) -> Task:
    """T6: SimpleChains' small network, which learns exponentials of matrices, from all examples at once."""
    examples, steps = (50, 20) if quick else (10_000, 3)
    matrices = random.standard_normal((examples, 2, 2))
    x, y = (part.reshape(examples, 4).astype(dtype) for part in (matrices, expm(matrices)))
    x, y = (np.ascontiguousarray(np.broadcast_to(part, (steps, examples, 4))) for part in (x, y))
    return dense(random, "T6", f"tanh, {examples:,} examples at once, Adam, {dtype}", (4, 32, 16, 4), x, y)


TASKS: dict[str, Callable[[np.random.Generator, str, bool], Task]] = {
    "T1": machine,
    "T2": digits,
    "T3, batch 1": lambda *given: pictures(*given, 1),
    "T3, batch 32": lambda *given: pictures(*given, 32),
    "T3, batch 256": lambda *given: pictures(*given, 256),
    "T4": convolutions,
    "T5": lstm,
    "T6": exponentials,
}


def task(name: str, quick: bool = False, dtype: str | None = None) -> Task:
    """Return a task, always the same; by default T1 in float64, as plain floats are, and the others in float32."""
    return TASKS[name](np.random.default_rng(0), dtype or ("float64" if name == "T1" else "float32"), quick)
