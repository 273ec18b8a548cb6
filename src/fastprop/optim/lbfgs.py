"""L-BFGS: SciPy's, for what is computed from all the data at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastprop.gates.numbers import as_real
from fastprop.handles.nesting import described, is_handle, returned
from fastprop.hints import Hinted

from .checks import at_least_zero, whole
from .flat import Flat, Vector

__all__ = ["LBFGS"]


class LBFGS(Hinted):
    """A quasi-Newton method: it learns the curvature from its last steps, and searches along lines.

    It calls a function many times in a step, which must give the same numbers for the same parameters: from all the
    data, without dropout. ``scipy.optimize`` does the work, in float64.

    Parameters
    ----------
    params : Units, Arrays, numbers or arrays, or nested containers of them
        As other optimizers take them.
    max_iter : int, default 20
        How many iterations a `step` makes at most.
    tolerance_grad : float, default 1e-7
        It ends when no number of the gradient is greater.
    tolerance_change : float, default 1e-9
        It ends when the loss falls by less, relative to the loss or 1.
    history_size : int, default 100
        How many steps the curvature is learnt from.

    Attributes
    ----------
    value : float or None
        The loss where the last `step` ended, the lowest that it has seen.
    iterations : int
        How many iterations the last `step` has made; 0 at a minimum.
    reason : str
        Why it ended.

    Notes
    -----
    Source: Byrd, Lu, Nocedal and Zhu, 1995.

    Examples
    --------
    >>> import fastprop as fp
    >>> def rosenbrock(p):
    ...     return (1.0 - p["x"]) ** 2 + 100.0 * (p["y"] - p["x"] ** 2) ** 2
    >>> params = {"x": -1.2, "y": 1.0}
    >>> optimizer = fp.optim.LBFGS(params, max_iter=100)
    >>> params = optimizer.step(params, fp.compile(fp.value_and_grad(rosenbrock)))
    >>> round(params["x"], 4), round(params["y"], 4), optimizer.value < 1e-9
    (1.0, 1.0, True)
    """

    def __init__(
        self,
        params: Any,
        max_iter: int = 20,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
    ):
        self.max_iter = whole("LBFGS", "max_iter", max_iter, 0)
        self.tolerance_grad = at_least_zero("LBFGS", "tolerance_grad", tolerance_grad)
        self.tolerance_change = at_least_zero("LBFGS", "tolerance_change", tolerance_change)
        self.history_size = whole("LBFGS", "history_size", history_size, 1)
        self._flat = Flat(params, "LBFGS")
        self.value: float | None = None
        self.iterations = 0
        self.reason = "no step was made yet"

    def __repr__(self) -> str:
        options = ("max_iter", "tolerance_grad", "tolerance_change", "history_size")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in options)
        return f"<LBFGS of {len(self._flat.names)} parameters: {shown}; {self.reason}>"

    def zero_grad(self) -> None:
        """Set the gradients of all Units and Arrays to 0."""
        for leaf in self._flat.leaves:
            leaf.grad = 0.0

    def step(self, *given: Any) -> Any:
        """Go down until a tolerance is met, or `max_iter` iterations were made.

        Parameters
        ----------
        *given
            Of Units and Arrays: ``closure``, a function that sets their gradients to 0, computes the loss, sweeps
            backward and returns the loss. Of numbers and arrays: ``params, closure``; ``closure(params)`` returns the
            loss and its gradients, as functions made by `value_and_grad` do.

        Returns
        -------
        float, or nested containers of numbers and arrays
            The loss; or the new parameters.

        Raises
        ------
        ValueError
            If the loss or a gradient is not finite at the start, the closure gives different numbers for the same
            parameters, or it did not sweep backward. Nothing has then changed, nor when the closure raises.
        """
        flat = self._flat
        expected = 1 if flat.handles else 2
        if len(given) != expected:
            raise TypeError("step() takes a closure; of numbers and arrays: params, closure")
        closure = given[-1]
        if not callable(closure):
            how = "loss = closure()" if flat.handles else "loss, gradients = closure(params), as of value_and_grad"
            raise TypeError(
                f"step() got {described(closure)}; expected a closure, which is called several times: {how}"
            )
        start = flat.values() if flat.handles else flat.vector(given[0], "params")
        search = _Search(flat, closure, start)
        try:
            best = search.run(self)
        except BaseException:
            if flat.handles:
                flat.assign(start)
            raise
        self.value = search.lowest
        if flat.handles:
            flat.assign(best)
            return self.value
        return flat.nested(best)


class _Search:
    """One step: what the closure gives, and the best point so far."""

    def __init__(self, flat: Flat, closure: Callable[..., Any], start: Vector):
        self.flat = flat
        self.closure = closure
        self.start = start
        self.best = start
        self.lowest = math.inf
        self.broken: str | None = None

    def run(self, optimizer: LBFGS) -> Vector:
        """Return the best point."""
        from scipy.optimize import minimize  # here, since it takes a while to import

        first, second = self.evaluate(self.start), self.evaluate(self.start)
        if not (math.isfinite(first[0]) and np.isfinite(first[1]).all()):
            raise ValueError(f"LBFGS: the loss is {first[0]} at the start, or a gradient not finite; nothing changed")
        if first[0] != second[0] or not np.array_equal(first[1], second[1]):
            raise ValueError(
                f"LBFGS: the loss of the same parameters is {first[0]}, then {second[0]}, or their gradients differ; "
                "expected all the data in every call, and no dropout"
            )
        options = {
            "maxiter": optimizer.max_iter,
            "maxcor": optimizer.history_size,
            "gtol": optimizer.tolerance_grad,
            "ftol": optimizer.tolerance_change,
            "maxfun": 10**9,
        }
        self.lowest = first[0]
        optimizer.iterations, optimizer.reason = 0, "the gradient is within its tolerance"
        if np.abs(first[1]).max(initial=0.0) > optimizer.tolerance_grad and optimizer.max_iter > 0:
            result = minimize(self.watched, self.start, jac=True, method="L-BFGS-B", options=options)
            optimizer.iterations, optimizer.reason = int(result.nit), self.broken or str(result.message)
        return self.best

    def evaluate(self, point: Vector) -> tuple[float, Vector]:
        """Return the loss and its gradient."""
        if not self.flat.handles:
            found = self.closure(self.flat.nested(point))
            if not isinstance(found, (tuple, list)) or len(found) != 2:
                raise TypeError(
                    f"LBFGS: the closure returned {found!r:.60}; expected the loss and its gradients, as of "
                    "fastprop.value_and_grad(loss)"
                )
            return _number(found[0]), self.flat.vector(found[1], "the gradient")
        self.flat.assign(point)
        loss, gradient = self.closure(), self.flat.gradients()
        if is_handle(loss) and not gradient.any() and not np.any(loss.grad):  # of a loss that was swept it is 1
            raise ValueError(
                "LBFGS: the closure left all gradients 0, and no sweep began at the loss that it returned: call "
                "loss.backward() in the closure"
            )
        return _number(loss.value if is_handle(loss) else loss), gradient

    def watched(self, point: Vector) -> tuple[float, Vector]:
        """Return the same, and keep the best point."""
        value, gradient = self.evaluate(point.copy())
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            self.broken = f"the loss became {value}, or a gradient not finite; the best point before is kept"
        elif value < self.lowest:
            self.lowest, self.best, self.broken = value, point.copy(), None
        return value, gradient


def _number(loss: Any) -> float:
    """Return a loss as a float."""
    number = as_real(loss)
    if number is None:
        raise TypeError(f"LBFGS: the closure gave {returned(loss)}; expected the loss, which is one number")
    return number
