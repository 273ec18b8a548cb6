"""T1 to T6 by PyTorch, eager, with its own layers, losses and optimisers as they come."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from training_workloads import KERNEL, Learner, Task

torch.set_num_threads(1)


class Reader(nn.Module):
    """An LSTM that classifies a sequence by its last state."""

    def __init__(self, inputs: int, size: int, classes: int):
        super().__init__()
        self.lstm = nn.LSTM(inputs, size, batch_first=True)
        self.out = nn.Linear(size, classes)

    def forward(self, x: Any) -> Any:
        """Return the scores of a batch."""
        outputs, _ = self.lstm(x)
        return self.out(outputs[:, -1])


def network(task: Task) -> nn.Module:
    """Return a task's network, with its first parameters."""
    sizes, model = task.sizes, None
    if task.kind == "lstm":
        model = Reader(*sizes)
    elif task.kind == "convolutions":
        model = nn.Sequential(
            *(nn.Conv2d(1, sizes[0], KERNEL, padding=KERNEL // 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(sizes[0], sizes[1], KERNEL, padding=KERNEL // 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(task.start["7.weight"].shape[1], sizes[2])),
        )
    else:
        layers: list[Any] = []
        for place in range(len(sizes) - 1):
            layers += [nn.Linear(*sizes[place : place + 2]), nn.Tanh() if task.regression else nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
    model = model.to(torch.float64 if task.dtype == "float64" else torch.float32)
    model.load_state_dict({name: torch.from_numpy(part.copy()) for name, part in task.start.items()})
    return model


def half_squared_error(outputs: Any, y: Any) -> Any:
    """Return half the sum over outputs, its mean over examples."""
    return 0.5 * functional.mse_loss(outputs, y, reduction="sum") / len(y)


def of_network(task: Task, fused: bool | None) -> Learner:
    """Return a network's learner, whose Adam is as it comes, or fused into one loop."""
    loss = half_squared_error if task.regression else functional.cross_entropy
    batches = list(zip(torch.from_numpy(task.x), torch.from_numpy(task.y)))

    def begin() -> Any:
        model = network(task)
        return model, torch.optim.Adam(model.parameters(), lr=task.rate, fused=fused)

    def advance(state: Any) -> Any:
        (model, optimizer), losses = state, []
        for x, y in batches:
            optimizer.zero_grad(set_to_none=True)
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        return state, losses

    return Learner("torch, Adam(fused=True)" if fused else "torch", begin, advance)


def of_machine(task: Task) -> Learner:
    """Return the machine's learner: its three numbers in one tensor."""
    examples = list(zip(torch.from_numpy(task.x), task.y.tolist()))

    def begin() -> Any:
        w = torch.from_numpy(task.start["w"].copy()).requires_grad_()
        return w, torch.optim.SGD([w], lr=task.rate)

    def advance(state: Any) -> Any:
        (w, optimizer), losses = state, []
        for x, y in examples:
            optimizer.zero_grad(set_to_none=True)
            value = torch.relu(1.0 - y * (w[:2] @ x + w[2])) + 0.5 * (w[:2] @ w[:2])
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        return state, losses

    return Learner("torch", begin, advance)


def learners(task: Task) -> list[Learner]:
    """Return the contestants."""
    return [of_machine(task)] if task.kind == "machine" else [of_network(task, None), of_network(task, True)]
