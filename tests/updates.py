"""The update rules, stated in NumPy: parameter, gradient, what is remembered, the step from 1 -> new parameter."""

import numpy as np
import pytest

from fastprop import optim


def sgd(p, g, s, t, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, rate_inside=False):
    g = g + weight_decay * p
    if momentum == 0.0:
        return p - lr * g
    if rate_inside:
        s["b"] = momentum * s.get("b", 0.0 * g) - lr * g
        return p + (momentum * s["b"] - lr * g if nesterov else s["b"])
    s["b"] = momentum * s["b"] + (1.0 - dampening) * g if "b" in s else g
    return p - lr * (g + momentum * s["b"] if nesterov else s["b"])


def adagrad(p, g, s, t, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["sum"] = s.get("sum", initial_accumulator_value) + g * g
    return p - lr / (1.0 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + eps)


def adadelta(p, g, s, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    s["v"] = rho * s.get("v", 0.0 * g) + (1.0 - rho) * g * g
    d = np.sqrt(s.get("u", 0.0 * g) + eps) / np.sqrt(s["v"] + eps) * g
    s["u"] = rho * s.get("u", 0.0 * g) + (1.0 - rho) * d * d
    return p - lr * d


def rmsprop(p, g, s, t, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    s["v"] = alpha * s.get("v", 0.0 * g) + (1.0 - alpha) * g * g
    s["m"] = alpha * s.get("m", 0.0 * g) + (1.0 - alpha) * g
    variance = s["v"] - s["m"] ** 2 if centered else s["v"]
    s["b"] = momentum * s.get("b", 0.0 * g) + g / (np.sqrt(variance) + eps)
    return p - lr * s["b"]


def adam(p, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
    g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0.0 * g) + (1.0 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0.0 * g) + (1.0 - betas[1]) * g * g
    s["most"] = np.maximum(s.get("most", 0.0 * g), s["v"])
    v = s["most"] if amsgrad else s["v"]
    return p - lr * (s["m"] / (1.0 - betas[0] ** t)) / (np.sqrt(v / (1.0 - betas[1] ** t)) + eps)


def adamw(p, g, s, t, lr=1e-3, weight_decay=1e-2, **options):
    return adam(p * (1.0 - lr * weight_decay), g, s, t, lr=lr, **options)


def windowgrad(p, g, s, t, lr=1e-2, rho=0.95, eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * p
    s["v"] = rho * s.get("v", 0.0 * g) + (1.0 - rho) * g * g
    return p - lr * g / np.sqrt(s["v"] + eps)


RULES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "rate_inside": True}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "rate_inside": True, "nesterov": True, "weight_decay": 0.1}),
    (optim.Adagrad, adagrad, {}),
    (optim.Adagrad, adagrad, {"eps": 0.1}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    (optim.Adadelta, adadelta, {}),
    (optim.Adadelta, adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"eps": 0.1}),
    (optim.RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"momentum": 0.9}),
    (optim.RMSprop, rmsprop, {"momentum": 0.5, "centered": True, "eps": 1e-2}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.Adam, adam, {"betas": (0.0, 0.0), "eps": 0.1}),
    (optim.Adam, adam, {"amsgrad": True}),
    (optim.AdamW, adamw, {}),
    (optim.AdamW, adamw, {"lr": 0.1, "weight_decay": 0.5, "amsgrad": True}),
    (optim.Windowgrad, windowgrad, {}),
    (optim.Windowgrad, windowgrad, {"rho": 0.5, "eps": 0.1, "weight_decay": 0.1}),
]
FIRST = [optim.SGD, optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.Adam, optim.AdamW, optim.Windowgrad]
SQUARING = FIRST[1:]
EVERY = pytest.mark.parametrize(("rule", "statement", "options"), RULES)


def name(x):
    return x.__name__


def tolerance(dtype):
    return {"rtol": 2e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
