"""T1, T2, T3 and T6 in C, by hand: `c/training.c`."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from hand import library
from training_workloads import Learner, Numbers, Task

TOGETHER = 256  # examples, as in training.c


def address(array: Numbers) -> ctypes.c_void_p:
    """Return an array's address, which keeps the array alive."""
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


def of_machine(task: Task) -> Learner:
    """Return the machine's learner, in double precision."""
    examples = np.column_stack([task.x, task.y]).astype(np.float64)
    losses, run = np.zeros(task.steps), library("training").machine
    given = [ctypes.c_long(task.steps), address(examples), ctypes.c_double(task.rate)]

    def advance(w: Numbers) -> tuple[Numbers, Numbers]:
        run(*given, address(w), address(losses))
        return w, losses

    return Learner("C by hand", lambda: task.start["w"].astype(np.float64), advance)


def packed(task: Task) -> Numbers:
    """Return all parameters as C has them: layer by layer the weights, outputs last and padded, then the biases."""
    parts = []
    for layer in range(len(task.sizes) - 1):
        weight, bias = (task.start[f"{2 * layer}.{what}"] for what in ("weight", "bias"))
        both = np.vstack([weight.T, bias])
        parts.append(np.pad(both, ((0, 0), (0, -len(bias) % 16))).ravel())
    return np.concatenate(parts).astype(np.float32)


def of_network(task: Task) -> Learner:
    """Return a network's learner, in single precision."""
    sizes = np.array(task.sizes, np.int64)
    assert not any(sizes[1:-1] % 16), "only outputs are padded"
    start, x = packed(task), task.x.astype(np.float32)
    y = task.y.astype(np.float32 if task.regression else np.int64)
    width = int(sum(sizes[1:] + 15))
    room = np.zeros(2 * TOGETHER * width + int(sum(sizes[1:-1] * (sizes[2:] + 15))), np.float32)
    losses, run = np.zeros(task.steps), library("training").dense
    long = ctypes.c_long
    given = [long(len(sizes) - 1), address(sizes), long(task.regression), long(task.steps), long(x.shape[1])]
    given += [address(x), address(y), long(start.size)]

    def advance(state: dict[str, Any]) -> tuple[dict[str, Any], Numbers]:
        taken = long(state["steps"])
        run(*given, address(state["all"]), address(room), ctypes.c_double(task.rate), taken, address(losses))
        state["steps"] += task.steps
        return state, losses

    return Learner(
        "C by hand", lambda: {"all": np.concatenate([start, np.zeros(3 * start.size, np.float32)]), "steps": 0}, advance
    )


def learners(task: Task) -> list[Learner]:
    """Return what there is in C."""
    if task.kind == "machine":
        return [of_machine(task)]
    return [of_network(task)] if task.kind == "dense" else []
