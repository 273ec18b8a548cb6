"""T1 to T6 by JAX: a step under jit, and all steps in lax.scan.

Weights lie as its users have them: inputs first, and for convolutions channels last, which is what XLA is quickest with
on a CPU. Old states are donated, and the batches are JAX's arrays beforehand.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from training_workloads import Learner, Task

jax.config.update("jax_enable_x64", True)  # for T1; what is float32 stays so


def turned(task: Task) -> dict[str, Any]:
    """Return copies of the first parameters, laid out JAX's way."""
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}
    return {name: jnp.array(part.transpose(axes.get(part.ndim))) for name, part in task.start.items()}


def dense(task: Task, p: Any, x: Any) -> Any:
    """Dense layers."""
    last = len(task.sizes) - 2
    for layer in range(last + 1):
        x = x @ p[f"{2 * layer}.weight"] + p[f"{2 * layer}.bias"]
        if layer < last:
            x = jnp.tanh(x) if task.regression else jax.nn.relu(x)
    return x


def convolutions(task: Task, p: Any, x: Any) -> Any:
    """Two convolutions with relu and pooling, and a dense layer; channels last."""
    for name in ("0", "3"):
        x = lax.conv_general_dilated(x, p[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + p[f"{name}.bias"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # as the first weights have it
    return x @ p["7.weight"] + p["7.bias"]


def lstm(task: Task, p: Any, x: Any) -> Any:
    """An LSTM that classifies by its last state; all products with inputs at once."""
    inputs = x.swapaxes(0, 1) @ p["lstm.weight_ih_l0"] + (p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"])

    def step(state: Any, z: Any) -> Any:
        h, c = state
        i, f, new, o = jnp.split(z + h @ p["lstm.weight_hh_l0"], 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(new)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((len(x), task.sizes[1]), x.dtype)
    (h, _), _ = lax.scan(step, (zeros, zeros), inputs)
    return h @ p["out.weight"] + p["out.bias"]


def machine(task: Task, p: Any, x: Any, y: Any) -> Any:
    """The soft margin of one example."""
    a, b, c = p["w"]
    return jax.nn.relu(1.0 - y * (a * x[0] + b * x[1] + c)) + 0.5 * (a * a + b * b)


NETWORKS = {"dense": dense, "convolutions": convolutions, "lstm": lstm}


def loss(task: Task, p: Any, x: Any, y: Any) -> Any:
    """Return the mean loss of a batch."""
    if task.kind == "machine":
        return machine(task, p, x, y)
    outputs = NETWORKS[task.kind](task, p, x)
    if task.regression:
        return 0.5 * ((outputs - y) ** 2).sum() / len(x)
    chances = jax.nn.log_softmax(outputs)
    return -jnp.take_along_axis(chances, y[:, None], axis=1).mean()


def step_of(task: Task) -> Any:
    """Return a step with its update: (state, (x, y)) -> (state, loss)."""

    def step(state: Any, batch: Any) -> Any:
        p, m, v, taken = state
        value, g = jax.value_and_grad(lambda p: loss(task, p, *batch))(p)
        if task.kind == "machine":
            return (jax.tree.map(lambda p, g: p - task.rate * g, p, g), m, v, taken), value
        taken = taken + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate, root = task.rate / (1.0 - 0.9**taken), 1.0 / jnp.sqrt(1.0 - 0.999**taken)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * root + 1e-8), p, m, v)
        return (p, m, v, taken), value

    return step


def start(task: Task) -> Any:
    """Return the first state."""
    m, v = ({} if task.kind == "machine" else jax.tree.map(jnp.zeros_like, turned(task)) for _ in range(2))
    p = {"w": tuple(map(jnp.asarray, task.start["w"]))} if task.kind == "machine" else turned(task)
    return p, m, v, jnp.zeros((), task.dtype)


def learners(task: Task) -> list[Learner]:
    """Return both contestants."""
    x = np.ascontiguousarray(task.x.transpose(0, 1, 3, 4, 2)) if task.kind == "convolutions" else task.x
    y = task.y if np.issubdtype(task.y.dtype, np.floating) else task.y.astype(np.int32)
    xs, ys = jnp.asarray(x), jnp.asarray(y)
    batches = [(xs[i], ys[i]) for i in range(task.steps)]
    step = jax.jit(step_of(task), donate_argnums=0)
    epoch = jax.jit(lambda state, xs, ys: lax.scan(step_of(task), state, (xs, ys)), donate_argnums=0)

    def stepwise(state: Any) -> Any:
        losses = []
        for batch in batches:
            state, value = step(state, batch)
            losses.append(value)
        return jax.block_until_ready((state, losses))

    return [
        Learner("jax, step under jit", lambda: start(task), stepwise),
        Learner(
            "jax, epoch in lax.scan", lambda: start(task), lambda state: jax.block_until_ready(epoch(state, xs, ys))
        ),
    ]
