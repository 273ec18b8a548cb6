"""The update rules. Names, defaults and arguments are PyTorch's where PyTorch has them.

In what follows g is the gradient, with ``weight_decay * p`` added to it if there is one; squares, roots and quotients
go number by number; t is the step, from 1. Where numerator and denominator are 0, a parameter does not move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastprop import gates

from .checks import at_least_zero, fraction
from .optimizer import Optimizer

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "RMSprop", "Windowgrad"]

Schedule = Callable[[int], float]


class SGD(Optimizer):
    """Gradient descent, with momentum if it is asked for.

    Without momentum ``p -= lr * g``. With it, PyTorch's form has the rate outside: ``b = momentum * b + (1 -
    dampening) * g``, where the first b is g itself, then ``p -= lr * b``. With `rate_inside` b is a velocity, as the
    tutorials have it: ``b = momentum * b - lr * g``, then ``p += b``. Both are the same while the rate is.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1e-3
        The learning rate.
    momentum : float, default 0
        What is left of b after a step, 0 up to, not including, 1.
    dampening : float, default 0
        What part of the gradient does not come into b, likewise.
    weight_decay : float, default 0
        What pulls parameters to 0: as if half of it times their squares were added to the loss.
    nesterov : bool, default False
        Step by the b to come: ``g + momentum * b`` in its place. Nesterov, 1983; Sutskever et al., 2013.
    rate_inside : bool, default False
        Momentum as a velocity.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> x = fp.Unit(3.0)
    >>> optimizer = fp.optim.SGD([x], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     ((x - 1.0) ** 2).backward()
    ...     optimizer.step()
    >>> round(x.value, 6)
    1.0
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        rate_inside: bool = False,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        rule = {
            "momentum": fraction("SGD", "momentum", momentum),
            "dampening": fraction("SGD", "dampening", dampening),
            "weight_decay": at_least_zero("SGD", "weight_decay", weight_decay),
            "nesterov": nesterov,
            "rate_inside": rate_inside,
            "maximize": maximize,
        }
        if nesterov and not (momentum > 0.0 and dampening == 0.0):
            raise ValueError(
                f"SGD: nesterov with momentum {momentum} and dampening {dampening}; it needs momentum and no dampening"
            )
        if rate_inside and dampening != 0.0:
            raise ValueError(f"SGD: rate_inside with dampening {dampening}; expected none")
        moments = ("momentum_buffer",) if momentum > 0.0 else ()
        self._begin(params, "SGD", moments, {"lr": lr, **rule}, rule, schedule)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        momentum, fresh = self._options["momentum"], 1.0 - self._options["dampening"]
        slope = self._slope(value, grad)
        if momentum == 0.0:
            return value - rate * slope
        if self._options["rate_inside"]:
            push = rate * slope
            moments[0] = momentum * moments[0] - push
            return value + (momentum * moments[0] - push if self._options["nesterov"] else moments[0])
        fresh = fresh if fresh == 1.0 else gates.where(step > 1.0, fresh, 1.0)  # the first one comes undamped
        moments[0] = momentum * moments[0] + fresh * slope
        return value - rate * (slope + momentum * moments[0] if self._options["nesterov"] else moments[0])


class Adagrad(Optimizer):
    """Rates that fall with the squares of all gradients so far: ``s += g**2``, ``p -= rate * g / (sqrt(s) + eps)``.

    The rate is ``lr / (1 + (t - 1) * lr_decay)``. Source: Duchi, Hazan and Singer, 2011.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1e-2
        The learning rate.
    lr_decay, weight_decay : float, default 0
        How fast the rate falls besides; what pulls parameters to 0.
    initial_accumulator_value : float, default 0
        The first s.
    eps : float, default 1e-10
        Keeps the quotient small where s is.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.Adagrad({"w": 1.0}, lr=0.5)
    >>> optimizer.step({"w": 1.0}, {"w": 4.0})
    {'w': 0.50...}
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        start = at_least_zero("Adagrad", "initial_accumulator_value", initial_accumulator_value)
        rule = {
            "lr_decay": at_least_zero("Adagrad", "lr_decay", lr_decay),
            "weight_decay": at_least_zero("Adagrad", "weight_decay", weight_decay),
            "eps": at_least_zero("Adagrad", "eps", eps),
            "maximize": maximize,
        }
        options = {"lr": lr, "initial_accumulator_value": start, **rule}
        self._begin(params, "Adagrad", ("sum",), options, rule, schedule, start)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        slope = self._slope(value, grad)
        moments[0] = moments[0] + slope * slope
        rate = rate / (1.0 + (step - 1.0) * self._options["lr_decay"])
        return value - rate * self._over(slope, gates.sqrt(moments[0]) + self._options["eps"])


class Adadelta(Optimizer):
    """Steps in the parameters' own units: by the root of the mean squares of steps over that of gradients.

    ``v = rho * v + (1 - rho) * g**2``, ``d = sqrt(u + eps) / sqrt(v + eps) * g``, ``u = rho * u + (1 - rho) * d**2``,
    ``p -= lr * d``. Source: Zeiler, 2012.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1.0
        The learning rate.
    rho : float, default 0.9
        What is left of the means after a step.
    eps : float, default 1e-6
        What lets it start: without it nothing ever moves.
    weight_decay : float, default 0
        What pulls parameters to 0.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.Adadelta([2.0])
    >>> optimizer.step([2.0], [1.0])
    [1.99...]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        options = {
            "lr": lr,
            "rho": fraction("Adadelta", "rho", rho),
            "eps": at_least_zero("Adadelta", "eps", eps),
            "weight_decay": at_least_zero("Adadelta", "weight_decay", weight_decay),
            "maximize": maximize,
        }
        rule = {"beta2": options["rho"], **options}
        self._begin(params, "Adadelta", ("square_avg", "acc_delta"), options, rule, schedule)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        rho, eps = self._options["rho"], self._options["eps"]
        slope = self._slope(value, grad)
        moments[0] = rho * moments[0] + (1.0 - rho) * (slope * slope)
        change = gates.sqrt(moments[1] + eps) * self._over(slope, gates.sqrt(moments[0] + eps))
        moments[1] = rho * moments[1] + (1.0 - rho) * (change * change)
        return value - rate * change


class RMSprop(Optimizer):
    """Rates over the root of a moving mean of squares: ``v = alpha * v + (1 - alpha) * g**2``.

    Then ``p -= lr * g / (sqrt(v) + eps)``. If it is centered, the square of the gradients' mean is taken off v first;
    with momentum, the quotients come into a buffer as in `SGD`. Source: Hinton, 2012; centered: Graves, 2013.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1e-2
        The learning rate.
    alpha : float, default 0.99
        What is left of v after a step.
    eps : float, default 1e-8
        Keeps the quotient small where v is.
    weight_decay : float, default 0
        What pulls parameters to 0.
    momentum : float, default 0
        What is left of the buffer after a step.
    centered : bool, default False
        Whether to divide by the root of the variance.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.RMSprop([2.0])
    >>> optimizer.step([2.0], [1.0])
    [1.90...]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        options = {
            "lr": lr,
            "alpha": fraction("RMSprop", "alpha", alpha),
            "eps": at_least_zero("RMSprop", "eps", eps),
            "weight_decay": at_least_zero("RMSprop", "weight_decay", weight_decay),
            "momentum": fraction("RMSprop", "momentum", momentum),
            "centered": centered,
            "maximize": maximize,
        }
        more = centered or momentum > 0.0
        moments = ("square_avg", "grad_avg", "momentum_buffer") if more else ("square_avg",)
        self._begin(params, "RMSprop", moments, options, {"beta2": options["alpha"], **options}, schedule)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        alpha, slope = self._options["alpha"], self._slope(value, grad)
        moments[0] = variance = alpha * moments[0] + (1.0 - alpha) * (slope * slope)
        if len(moments) > 1:
            moments[1] = alpha * moments[1] + (1.0 - alpha) * slope
        if self._options["centered"]:
            variance = gates.maximum(variance - moments[1] * moments[1], 0.0)
        share = self._over(slope, gates.sqrt(variance) + self._options["eps"])
        if len(moments) > 1:
            moments[2] = share = self._options["momentum"] * moments[2] + share
        return value - rate * share


class Adam(Optimizer):
    """Momentum over the root of a moving mean of squares, both freed of their start from 0.

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g**2``, ``p -= lr * m' / (sqrt(v') + eps)``
    with ``m' = m / (1 - beta1**t)`` and ``v' = v / (1 - beta2**t)``. Source: Kingma and Ba, 2015; amsgrad, which takes
    the greatest v so far: Reddi, Kale and Kumar, 2018.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1e-3
        The learning rate: about how far a parameter moves in a step.
    betas : pair of float, default (0.9, 0.999)
        What is left of m and of v after a step.
    eps : float, default 1e-8
        Keeps the quotient small where v is.
    weight_decay : float, default 0
        What pulls parameters to 0, by way of the gradient; `AdamW` decays them apart from it.
    amsgrad : bool, default False
        Whether v may not fall. The greatest is taken before the start is taken out, as PyTorch does.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import numpy as np
    >>> import fastprop as fp
    >>> def loss(params, x, y):
    ...     return (params["w"] * x + params["b"] - y) ** 2
    >>> step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    >>> x = np.linspace(-1.0, 1.0, 20)
    >>> params = {"w": 0.0, "b": 0.0}
    >>> optimizer = fp.optim.Adam(params, lr=0.1)
    >>> for _ in range(300):
    ...     value, grads = step(params, x, 2.0 * x + 1.0)
    ...     params = optimizer.step(params, grads)
    >>> round(params["w"], 3), round(params["b"], 3)
    (2.0, 1.0)
    """

    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        name = type(self).__name__
        try:
            first, second = betas
        except (TypeError, ValueError):
            raise TypeError(f"{name}: betas is {betas!r:.60}; expected a pair, such as (0.9, 0.999)") from None
        options: dict[str, Any] = {
            "lr": lr,
            "betas": (fraction(name, "betas[0]", first), fraction(name, "betas[1]", second)),
            "eps": at_least_zero(name, "eps", eps),
            "weight_decay": at_least_zero(name, "weight_decay", weight_decay),
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        rule = {"beta1": options["betas"][0], "beta2": options["betas"][1], "decoupled": self._decoupled, **options}
        moments = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
        self._begin(params, "Adam", moments, options, rule, schedule)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        slope = self._slope(value, grad)
        for k, (beta, square) in enumerate(zip(self._options["betas"], (slope, slope * slope))):
            moments[k] = beta * moments[k] + (1.0 - beta) * square
        if self._options["amsgrad"]:
            moments[2] = gates.maximum(moments[2], moments[1])
        whole = [1.0 if beta == 0.0 else -gates.expm1(step * math.log(beta)) for beta in self._options["betas"]]
        scale = gates.sqrt(moments[-1]) * (1.0 / gates.sqrt(whole[1])) + self._options["eps"]
        kept = value * (1.0 - rate * self._options["weight_decay"]) if self._decoupled else value
        return kept - rate / whole[0] * self._over(moments[0], scale)


class AdamW(Adam):
    """`Adam` with decay of its own: ``p *= 1 - rate * weight_decay`` first, then Adam's step without any.

    The rate is the scheduled one. Source: Loshchilov and Hutter, 2019.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr, betas, eps, amsgrad
        As in `Adam`.
    weight_decay : float, default 1e-2
        What pulls parameters to 0, apart from the gradient.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.AdamW([1.0], lr=0.1, weight_decay=0.5)
    >>> optimizer.step([1.0], [0.0])
    [0.95]
    """

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, schedule=schedule)


class Windowgrad(Optimizer):
    """Adagrad over a moving window, as ConvNetJS has it: ``v = rho * v + (1 - rho) * g**2``.

    Then ``p -= lr * g / sqrt(v + eps)``: `RMSprop` with eps under the root.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        What is updated; see `Optimizer`.
    lr : float, default 1e-2
        The learning rate.
    rho : float, default 0.95
        What is left of v after a step.
    eps : float, default 1e-8
        Keeps the quotient small where v is.
    weight_decay : float, default 0
        What pulls parameters to 0.
    maximize : bool, default False
        Whether to go up the gradient, not down.
    schedule : callable, optional
        Gives the rate's factor for a number of steps made so far.

    Examples
    --------
    >>> import fastprop as fp
    >>> optimizer = fp.optim.Windowgrad([2.0])
    >>> optimizer.step([2.0], [1.0])
    [1.955...]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        rho: float = 0.95,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        schedule: Schedule | None = None,
    ):
        options = {
            "lr": lr,
            "rho": fraction("Windowgrad", "rho", rho),
            "eps": at_least_zero("Windowgrad", "eps", eps),
            "weight_decay": at_least_zero("Windowgrad", "weight_decay", weight_decay),
            "maximize": maximize,
        }
        rule = {"beta2": options["rho"], **options}
        self._begin(params, "Windowgrad", ("square_avg",), options, rule, schedule)

    def move(self, value: Any, grad: Any, moments: list[Any], rate: Any, step: Any) -> Any:
        """Give the new numbers of one parameter."""
        rho, slope = self._options["rho"], self._slope(value, grad)
        moments[0] = rho * moments[0] + (1.0 - rho) * (slope * slope)
        return value - rate * self._over(slope, gates.sqrt(moments[0] + self._options["eps"]))
