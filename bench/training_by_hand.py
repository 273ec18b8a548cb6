"""T1 to T6 by NumPy, and T1 by plain floats: gradients derived by hand, which prove all other contestants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from training_workloads import KERNEL, Learner, Numbers, Parameters, Task

Gradient = Callable[[Task, Parameters, Parameters, Numbers, Numbers], Any]  # writes the gradient, gives the loss


# Losses ---------------------------------------------------------------------------------------------------------------


def cross_entropy(scores: Numbers, y: Numbers) -> tuple[Any, Numbers]:
    """Return the mean over examples, and the pull on the scores."""
    rows = np.arange(len(y))
    scores = scores - scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    sums = chances.sum(axis=1, keepdims=True)
    loss = (np.log(sums[:, 0]) - scores[rows, y]).mean()
    chances /= sums
    chances[rows, y] -= 1.0
    chances /= len(y)
    return loss, chances


def squared_error(outputs: Numbers, y: Numbers) -> tuple[Any, Numbers]:
    """Return half the sum of squares, its mean over examples, and the pull on the outputs."""
    off = outputs - y
    loss = np.vdot(off, off) / (2 * len(y))
    off /= len(y)
    return loss, off


# Networks -------------------------------------------------------------------------------------------------------------


def dense(task: Task, p: Parameters, g: Parameters, x: Numbers, y: Numbers) -> Any:
    """Dense layers."""
    last = len(task.sizes) - 2
    seen = [x]
    for layer in range(last + 1):
        z = seen[-1] @ p[f"{2 * layer}.weight"].T
        z += p[f"{2 * layer}.bias"]
        if layer < last:
            np.tanh(z, out=z) if task.regression else np.maximum(z, 0.0, out=z)
        seen.append(z)
    loss, pull = (squared_error if task.regression else cross_entropy)(seen.pop(), y)
    for layer in range(last, -1, -1):
        into = seen.pop()
        np.matmul(pull.T, into, out=g[f"{2 * layer}.weight"])
        pull.sum(axis=0, out=g[f"{2 * layer}.bias"])
        if layer:
            pull = pull @ p[f"{2 * layer}.weight"]
            pull *= 1.0 - into * into if task.regression else into > 0.0
    return loss


def columns(x: Numbers) -> Numbers:
    """Return what lies under the kernel at every pixel, as rows."""
    edge = KERNEL // 2
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), (2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * KERNEL**2)


def pooled(z: Numbers) -> tuple[Numbers, Numbers]:
    """Return the greatest positive of every four pixels, or 0, and which of them it is."""
    examples, channels, side, _ = z.shape
    z = np.maximum(z, 0.0).reshape(examples, channels, side // 2, 2, side // 2, 2)
    most = z.max(axis=(3, 5))
    return most, (z == most[:, :, :, None, :, None]) & (z > 0.0)


def convolutions(task: Task, p: Parameters, g: Parameters, x: Numbers, y: Numbers) -> Any:
    """Two convolutions with relu and pooling, and a dense layer."""
    kept, examples = [], len(x)
    for name in ("0", "3"):
        rows, weight = columns(x), p[f"{name}.weight"]
        z = rows @ weight.reshape(len(weight), -1).T + p[f"{name}.bias"]
        most, chosen = pooled(z.reshape(examples, *x.shape[2:], -1).transpose(0, 3, 1, 2))
        kept.append((name, x.shape, rows, chosen))
        x = most
    flat = x.reshape(examples, -1)
    loss, pull = cross_entropy(flat @ p["7.weight"].T + p["7.bias"], y)
    np.matmul(pull.T, flat, out=g["7.weight"])
    pull.sum(axis=0, out=g["7.bias"])
    pull = (pull @ p["7.weight"]).reshape(x.shape)
    for name, shape, rows, chosen in reversed(kept):
        weight = p[f"{name}.weight"]
        pull = (chosen * pull[:, :, :, None, :, None]).reshape(examples, len(weight), *shape[2:])
        on_rows = pull.transpose(0, 2, 3, 1).reshape(-1, len(weight))
        g[f"{name}.weight"][...] = (on_rows.T @ rows).reshape(weight.shape)
        on_rows.sum(axis=0, out=g[f"{name}.bias"])
        if name != "0":
            pull = spread(on_rows @ weight.reshape(len(weight), -1), shape)
    return loss


def spread(on_columns: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Return the sum of all pulls on a pixel."""
    examples, channels, height, width = shape
    edge = KERNEL // 2
    by_place = on_columns.reshape(examples, height, width, channels, KERNEL, KERNEL).transpose(4, 5, 0, 3, 1, 2)
    total = np.zeros((examples, channels, height + 2 * edge, width + 2 * edge), on_columns.dtype)
    for i in range(KERNEL):
        for j in range(KERNEL):
            total[:, :, i : i + height, j : j + width] += by_place[i, j]
    return total[:, :, edge:-edge, edge:-edge]


def lstm(task: Task, p: Parameters, g: Parameters, x: Numbers, y: Numbers) -> Any:
    """An LSTM that classifies by its last state."""
    _, size, _ = task.sizes
    batch, length, inputs = x.shape
    x = np.ascontiguousarray(x.swapaxes(0, 1))  # steps first
    first = x.reshape(-1, inputs) @ p["lstm.weight_ih_l0"].T + (p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"])
    first = first.reshape(length, batch, 4 * size)
    h = c = np.zeros((batch, size), x.dtype)
    kept = []
    for t in range(length):
        z = first[t] + h @ p["lstm.weight_hh_l0"].T
        gate = 1.0 / (1.0 + np.exp(-z))
        i, f, o = gate[:, :size], gate[:, size : 2 * size], gate[:, 3 * size :]
        new, before, last = np.tanh(z[:, 2 * size : 3 * size]), c, h
        c = f * c + i * new
        inner = np.tanh(c)
        h = o * inner
        kept.append((i, f, new, o, before, inner, last))
    loss, pull = cross_entropy(h @ p["out.weight"].T + p["out.bias"], y)
    np.matmul(pull.T, h, out=g["out.weight"])
    pull.sum(axis=0, out=g["out.bias"])
    on_h, on_c = pull @ p["out.weight"], np.zeros_like(c)
    on_z, states = np.empty_like(first), np.stack([step[-1] for step in kept])
    for t in range(length - 1, -1, -1):
        i, f, new, o, before, inner, _ = kept[t]
        on_c += on_h * o * (1.0 - inner * inner)
        on_z[t, :, :size] = on_c * new * i * (1.0 - i)
        on_z[t, :, size : 2 * size] = on_c * before * f * (1.0 - f)
        on_z[t, :, 2 * size : 3 * size] = on_c * i * (1.0 - new * new)
        on_z[t, :, 3 * size :] = on_h * inner * o * (1.0 - o)
        on_h, on_c = on_z[t] @ p["lstm.weight_hh_l0"], on_c * f
    on_z = on_z.reshape(-1, 4 * size)
    np.matmul(on_z.T, x.reshape(-1, inputs), out=g["lstm.weight_ih_l0"])
    np.matmul(on_z.T, states.reshape(-1, size), out=g["lstm.weight_hh_l0"])
    on_z.sum(axis=0, out=g["lstm.bias_ih_l0"])
    g["lstm.bias_hh_l0"][...] = g["lstm.bias_ih_l0"]
    return loss


# Learners -------------------------------------------------------------------------------------------------------------


class Adam:
    """Adam over one flat vector, of which the parameters are views."""

    def __init__(self, task: Task):
        self.rate, self.steps = task.rate, 0
        self.flat, self.on_flat, self.m, self.v, self.a, self.b = np.zeros(
            (6, sum(part.size for part in task.start.values())), task.dtype
        )
        self.params, self.grads, begin = {}, {}, 0
        for name, part in task.start.items():
            here = slice(begin, begin + part.size)
            self.params[name], self.grads[name] = (flat[here].reshape(part.shape) for flat in (self.flat, self.on_flat))
            self.params[name][...] = part
            begin += part.size

    def step(self) -> None:
        """Move the parameters by their gradients; no array is made."""
        self.steps += 1
        a, b = self.a, self.b
        self.m *= 0.9
        self.m += np.multiply(self.on_flat, 0.1, out=a)
        self.v *= 0.999
        np.multiply(self.on_flat, self.on_flat, out=a)
        a *= 0.001
        self.v += a
        np.sqrt(self.v, out=b)
        b *= 1.0 / np.sqrt(1.0 - 0.999**self.steps).item()
        b += 1e-8
        np.divide(self.m, b, out=a)
        a *= self.rate / (1.0 - 0.9**self.steps)
        self.flat -= a


GRADIENTS: dict[str, Gradient] = {"dense": dense, "convolutions": convolutions, "lstm": lstm}


def of_network(task: Task) -> Learner:
    """Return a network's learner."""
    gradient = GRADIENTS[task.kind]

    def advance(adam: Adam) -> tuple[Adam, list[Any]]:
        losses = []
        for x, y in zip(task.x, task.y):
            losses.append(gradient(task, adam.params, adam.grads, x, y))
            adam.step()
        return adam, losses

    return Learner("NumPy by hand", lambda: Adam(task), advance)


def of_machine(task: Task) -> Learner:
    """Return the machine's learner, in plain floats."""
    examples = [(*x, y) for x, y in zip(task.x.tolist(), task.y.tolist())]

    def advance(state: tuple[float, ...]) -> tuple[tuple[float, ...], list[float]]:
        (a, b, c), losses = state, []
        for x, y, label in examples:
            margin = 1.0 - label * (a * x + b * y + c)
            loss, on_a, on_b = 0.5 * (a * a + b * b), a, b
            if margin > 0.0:
                loss += margin
                on_a -= label * x
                on_b -= label * y
                c += task.rate * label
            a -= task.rate * on_a
            b -= task.rate * on_b
            losses.append(loss)
        return (a, b, c), losses

    return Learner("floats by hand", lambda: tuple(task.start["w"].tolist()), advance)


def learners(task: Task) -> list[Learner]:
    """Return the one contestant."""
    return [of_machine(task) if task.kind == "machine" else of_network(task)]
