"""T2 and T3 by scikit-learn's MLPClassifier: all steps are one call of partial_fit, which tells their mean loss alone.

Its Adam adds epsilon before it corrects the moments' bias, so that the first steps on small gradients are shorter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from training_workloads import Learner, Task


def learners(task: Task) -> list[Learner]:
    """Return the one contestant, where the network is dense and classifies."""
    if task.kind != "dense" or task.regression:
        return []
    x, y, batch = task.x.reshape(-1, task.sizes[0]), task.y.ravel(), task.x.shape[1]

    def begin() -> Any:
        model = MLPClassifier(
            task.sizes[1:-1], alpha=0.0, batch_size=batch, learning_rate_init=task.rate, shuffle=False
        )
        model.partial_fit(x[:batch], y[:batch], classes=np.arange(10))  # makes the parameters, in whose place ours come
        weights, biases = (
            [f"{2 * layer}.{what}" for layer in range(len(task.sizes) - 1)] for what in ("weight", "bias")
        )
        model.coefs_ = [np.array(task.start[name].T) for name in weights]
        model.intercepts_ = [np.array(task.start[name]) for name in biases]
        del model._optimizer
        return model

    def advance(model: Any) -> Any:
        model.partial_fit(x, y)
        return model, [model.loss_]

    return [Learner("scikit-learn, partial_fit", begin, advance, tolerance=1e-2)]
