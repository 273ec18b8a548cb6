"""T1 to T6 by fastprop: as one writes a step, and as one writes an epoch that is one call."""

from __future__ import annotations

from typing import Any

import fastprop as fp
from fastprop import nn
from training_workloads import KERNEL, Learner, Task


class Reader(nn.Module):
    """An LSTM that classifies a sequence by its last state."""

    def __init__(self, inputs: int, size: int, classes: int, dtype: Any):
        self.lstm = nn.LSTM(inputs, size, rng=0, dtype=dtype)
        self.out = nn.Linear(size, classes, rng=0, dtype=dtype)

    def __call__(self, x: Any) -> Any:
        """Return the scores of one sequence."""
        outputs, _ = self.lstm(x)
        return self.out(outputs[-1])


def network(task: Task) -> nn.Module:
    """Return a task's network, with its first parameters."""
    sizes, options = task.sizes, {"rng": 0, "dtype": task.dtype}
    model: nn.Module
    if task.kind == "lstm":
        model = Reader(*sizes, task.dtype)
    elif task.kind == "convolutions":
        model = nn.Sequential(
            *(nn.Conv2d(1, sizes[0], KERNEL, padding=KERNEL // 2, **options), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(sizes[0], sizes[1], KERNEL, padding=KERNEL // 2, **options), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(task.start["7.weight"].shape[1], sizes[2], **options)),
        )
    else:
        layers: list[Any] = []
        for place in range(len(sizes) - 1):
            layers += [nn.Linear(*sizes[place : place + 2], **options), nn.Tanh() if task.regression else nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
    model.load_state_dict(task.start)
    return model


def mean_loss(task: Task, model: nn.Module) -> Any:
    """Return the mean loss of a batch, as a function of parameters, inputs and targets."""
    one = nn.squared_error if task.regression else nn.cross_entropy

    def loss(params: Any, x: Any, y: Any) -> Any:
        return one(model.apply(params, x), y)

    return fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")


def called(task: Task) -> Learner:
    """Return the usual way: a compiled step, and an optimizer."""
    model = network(task)
    step: Any = fp.compile(fp.value_and_grad(mean_loss(task, model)))

    def advance(state: Any) -> Any:
        (params, optimizer), losses = state, []
        for x, y in zip(task.x, task.y):
            loss, gradients = step(params, x, y)
            params = optimizer.step(params, gradients)
            losses.append(loss)
        return (params, optimizer), losses

    def begin() -> Any:
        params = model.params()
        return params, fp.optim.Adam(params, task.rate)

    return Learner("fastprop, step", begin, advance)


def scanned(task: Task) -> Learner:
    """Return an epoch with its updates as one call."""
    model = network(task)
    slopes = fp.value_and_grad(mean_loss(task, model))
    adam = fp.optim.Adam(model.params(), task.rate)

    def step(carry: Any, batch: Any) -> Any:
        loss, gradients = slopes(carry[0], *batch)
        return adam.update(carry[0], gradients, carry[1]), loss

    epoch: Any = fp.compile(lambda carry, x, y: fp.scan(step, carry, (x, y)))
    return Learner(
        "fastprop, epoch as a scan", lambda: (model.params(), adam.init()), lambda carry: epoch(carry, task.x, task.y)
    )


def hinge(w: Any, x: Any, y: Any, label: Any) -> Any:
    """Return the machine's loss."""
    a, b, c = w
    return fp.relu(1.0 - label * (a * x + b * y + c)) + 0.5 * (a * a + b * b)


def machine_called(task: Task) -> Learner:
    """Return the machine's usual way."""
    step: Any = fp.compile(fp.value_and_grad(hinge))
    examples, start = [(*x, y) for x, y in zip(task.x.tolist(), task.y.tolist())], task.start["w"].tolist()

    def advance(state: Any) -> Any:
        (w, optimizer), losses = state, []
        for example in examples:
            loss, gradients = step(w, *example)
            w = optimizer.step(w, gradients)
            losses.append(loss)
        return (w, optimizer), losses

    return Learner("fastprop, step", lambda: (start, fp.optim.SGD(start, task.rate)), advance)


def machine_scanned(task: Task) -> Learner:
    """Return the machine's epoch as one call."""

    def step(w: Any, example: Any) -> Any:
        (x, y), label = example
        loss, gradients = fp.value_and_grad(hinge)(w, x, y, label)
        return [number - task.rate * slope for number, slope in zip(w, gradients)], loss

    epoch: Any = fp.compile(lambda w, x, y: fp.scan(step, w, (x, y)))
    return Learner("fastprop, epoch as a scan", lambda: task.start["w"].tolist(), lambda w: epoch(w, task.x, task.y))


def learners(task: Task) -> list[Learner]:
    """Return fastprop's contestants."""
    if task.kind == "machine":
        return [machine_called(task), machine_scanned(task)]
    return [called(task), scanned(task)] if task.scanned else [called(task)]
