"""How estimators learn: by `fit` with an optimizer, or by L-BFGS from all examples at once; how networks are used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from fastprop import optim
from fastprop.circuits.compile import compile
from fastprop.circuits.vmap import vmap
from fastprop.derivatives.transforms import value_and_grad
from fastprop.engine.functions import strong_multiply
from fastprop.engine.tape import Unit
from fastprop.nn.init import generator
from fastprop.nn.module import Module
from fastprop.nn.regularisers import l2
from fastprop.optim.flat import Flat
from fastprop.optim.optimizer import remade
from fastprop.training.sizes import Sizes, longer

__all__ = ["Lanes", "Shrinkage", "all_or_nothing", "descend", "generator_of", "optimizer_of", "warn_of_the_end"]

RULES = {
    rule.__name__.lower(): rule
    for rule in (
        optim.SGD,
        optim.Adagrad,
        optim.Adadelta,
        optim.RMSprop,
        optim.Adam,
        optim.AdamW,
        optim.Windowgrad,
    )
}

MEMORY = 20  # pairs of steps that L-BFGS remembers: with many more, what it does with them takes longer than the loss


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was, where data or options are refused."""
    before = dict(vars(estimator))
    try:
        yield
    except Exception:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


STEPS, ROUNDS, NEAR = 10, 200, 1e-5  # of Newton, of conjugate gradients in each, and how far its differences reach


def generator_of(random_state: Any) -> np.random.Generator:
    """Return where random numbers come from, of what scikit-learn takes; None: others every time."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    return generator(random_state)


def warn_of_the_end(name: str, max_iter: int) -> None:
    """Say that it might have gone on."""
    warn(f"{name}: max_iter={max_iter} was reached and it has not converged yet")


def warn(message: str) -> None:
    """Say something about what an estimator's user called."""
    warnings.warn(message, ConvergenceWarning, stacklevel=6)


def optimizer_of(solver: Any, params: Any, rate: float, momentum: float, nesterov: bool) -> optim.Optimizer:
    """Return an optimizer of a network: by its name, by a function that makes it, or like another one."""
    if isinstance(solver, str):
        if solver not in RULES:
            raise ValueError(
                f"solver {solver!r}; expected one of {', '.join(RULES)}, lbfgs, an optimizer or a function"
            )
        if solver == "sgd":
            return optim.SGD(params, lr=rate, momentum=momentum, nesterov=nesterov and momentum > 0.0)
        return RULES[solver](params, lr=rate)
    if isinstance(solver, optim.Optimizer):
        return remade(type(solver), params, solver.state_dict()["options"], solver.schedule)
    made = solver(params) if callable(solver) else None
    if not isinstance(made, optim.Optimizer):
        raise TypeError(
            f"solver {solver!r:.60}; expected a name, an optimizer, or a function of parameters that makes one"
        )
    return made


class Shrinkage:
    """½ strength Σ w² over the weights: a penalty of `fit`, recorded once, whose strength is read at every call."""

    def __init__(self) -> None:
        self.strength = Unit(0.0)

    def __call__(self, params: Any) -> Any:
        """Return what parameters cost."""
        return self.strength * l2(params, 1.0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Shrinkage, ()


def descend(
    name: str,
    network: Module,
    loss: Callable[[Any, Any], Any],
    x: Any,
    y: Any,
    weights: Any,
    penalty: Callable[[Any], Any],
    max_iter: int,
    tol: float,
    convex: bool = False,
) -> optim.LBFGS:
    """Let a network learn from all examples at once: L-BFGS down Σ w l / Σ w and what the parameters cost.

    It ends where its value no longer falls, if only by rounding; the slope of a convex one tells more.
    """
    shares = np.full(len(x), 1.0 / len(x)) if weights is None else weights / weights.sum()

    def mean(params: Any, x: Any, y: Any, shares: Any) -> Any:
        def share(params: Any, x: Any, y: Any, share: Any) -> Any:
            return strong_multiply(share, loss(network.apply(params, x), y))

        return vmap(share, in_axes=(None, 0, 0, 0), reduce="sum")(params, x, y, shares) + penalty(params)

    gradient: Any = compile(value_and_grad(mean))
    params = network.params()
    optimizer = optim.LBFGS(params, max_iter=max_iter, tolerance_grad=tol, tolerance_change=0.0, history_size=MEMORY)
    with threadpool_limits(1, "blas"):  # whose threads wait for each other at the small matrices of L-BFGS
        found = optimizer.step(params, lambda params: gradient(params, x, y, shares))
    if optimizer.iterations <= 1 and "not finite" in optimizer.reason:
        raise ValueError(f"L-BFGS can't begin: {optimizer.reason}; scale the data")
    flat, is_settled = Flat(params, name), False
    if convex and optimizer.iterations < max_iter and np.dtype(np.float32) not in flat.dtypes:

        def slope(at: Any) -> Any:
            return flat.vector(gradient(flat.nested(at), x, y, shares)[1], "the gradient")

        settling, is_settled = settled(slope, flat.vector(found, "params"), tol)
        found = flat.nested(settling)
    network.load_params(found)
    if optimizer.iterations >= max_iter:
        warn_of_the_end(name, max_iter)
    elif not is_settled and ("ABNORMAL" in optimizer.reason or "not finite" in optimizer.reason):
        warn(f"{name}: L-BFGS ended after {optimizer.iterations} iterations, before tol was reached; scale the data")
    return optimizer


def settled(gradient: Callable[[Any], Any], point: Any, tol: float) -> tuple[Any, bool]:
    """Go on from near a minimum by the gradient alone: Newton's steps, by conjugate gradients, of differences.

    Return where that leads, and whether no number of the gradient is greater than `tol` there.
    """
    from scipy.sparse.linalg import LinearOperator, cg  # here, since it takes a while to import

    slope = gradient(point)
    for _ in range(STEPS):
        if np.abs(slope).max() <= tol:
            return point, True

        def bent(direction: Any, at: Any = point) -> Any:
            width = NEAR / np.linalg.norm(direction)
            return (gradient(at + width * direction) - gradient(at - width * direction)) / (2.0 * width)

        bend = LinearOperator((point.size, point.size), bent, dtype=float)
        step, _ = cg(bend, -slope, rtol=1e-6, maxiter=min(point.size, ROUNDS))
        further = gradient(point + step)
        if not np.abs(further).max() < np.abs(slope).max():
            break
        point, slope = point + step, further
    return point, bool(np.abs(slope).max() <= tol)


class Lanes:
    """A network as it is used, for many examples: compiled when it is first asked, and not pickled."""

    def __init__(self, network: Module):
        self.network = network
        self._compiled: Any = None
        self._sizes = Sizes()

    def __call__(self, x: Any) -> Any:
        """Return what comes out of every example."""
        if self._compiled is None:
            self._compiled = compile(vmap(self._sizes.watched(self._one), in_axes=(None, None, 0)))
        rows = longer(x, self._sizes.of(len(x)))
        return np.asarray(self._compiled(self.network.params(), self.network.buffers(), rows))[: len(x)]

    def _one(self, params: Any, buffers: Any, x: Any) -> Any:
        return self.network.bound(params, None, buffers or None)(x)

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "_compiled": None, "_sizes": Sizes()}
