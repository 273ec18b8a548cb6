"""A linear support vector machine: hinges, and the structured form for many classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from fastprop import nn
from fastprop.engine.functions import logsumexp, relu, where
from fastprop.engine.functions import sum as total
from fastprop.nn.regularisers import l2
from fastprop.optim.checks import at_least_zero, whole

from .learning import Lanes, all_or_nothing, descend
from .targets import FLOATS, Classes

__all__ = ["LinearSVC"]

LOSSES = ("squared_hinge", "hinge")
FORMS = ("ovr", "structured", "crammer_singer")
ROUNDED = 0.01  # of the margin: within so much of a corner hinges are smooth, since L-BFGS learns the curvature


class LinearSVC(Classes, BaseEstimator):
    """A linear support vector machine: ½ Σ w² + C Σ hinge, by L-BFGS from all examples at once.

    The corners of a hinge that is not squared are rounded within a hundredth of the margin, so that there is a
    curvature to learn: the objective comes within some thousandths of the least one.

    Parameters
    ----------
    C : float, default 1
        What violations of the margin cost, more than 0.
    loss : {"squared_hinge", "hinge"}, default "squared_hinge"
        The square of the violation, or the violation itself.
    multi_class : {"ovr", "structured", "crammer_singer"}, default "ovr"
        Of more than two classes: each against the rest; or all scores at once, where a wrong class must stay below the
        right one by a margin, and violations are summed over the classes ("structured") or only the largest counts
        ("crammer_singer"), whatever `loss` is.
    fit_intercept : bool, default True
        Whether there are biases. They are free: nothing pulls them to 0.
    class_weight : dict or "balanced", optional
        A weight for every class; those that a dict leaves out count once.
    max_iter : int, default 1000
        Iterations, at most.
    tol : float, default 0.0001
        It ends when no number of the gradient of the objective, divided by C Σ weights, is greater. Features are
        measured in units of their own for that, so that it means the same for data that nobody has scaled.

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    coef_, intercept_ : array
        Weights (classes, features) and biases (classes,); of two classes those of the second, (1, features) and (1,).
    n_iter_ : int
        How many iterations were made.

    See Also
    --------
    sklearn.svm.LinearSVC : Where names and defaults are from; its biases are pulled to 0.

    Examples
    --------
    >>> import fastprop as fp
    >>> from fastprop.estimators import LinearSVC
    >>> X, y = fp.datasets.load_digits(return_X_y=True)
    >>> model = LinearSVC(C=0.1, multi_class="structured", max_iter=100, tol=0.01).fit(X[:900] / 16.0, y[:900])
    >>> model.score(X[900:] / 16.0, y[900:]) > 0.9
    True
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: str = "squared_hinge",
        multi_class: str = "ovr",
        fit_intercept: bool = True,
        class_weight: Any = None,
        max_iter: int = 1000,
        tol: float = 1e-4,
    ):
        self.C = C
        self.loss = loss
        self.multi_class = multi_class
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearSVC:
        """Learn from examples.

        Parameters
        ----------
        X : array_like, shape (examples, features)
            Inputs.
        y : array_like, shape (examples,)
            Labels: numbers, strings or bools.
        sample_weight : array_like, shape (examples,), optional
            A weight for every example.

        Returns
        -------
        LinearSVC
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data or the weights can't be used.
        """
        with all_or_nothing(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> LinearSVC:
        X, y = validate_data(self, X, y, dtype=FLOATS)
        if not at_least_zero("LinearSVC", "C", self.C) > 0.0:
            raise ValueError(f"LinearSVC: C is {self.C!r:.60}; expected a number above 0")
        X, labels, weights = self._weighed(X, self._labels(y, None), sample_weight, all_there=True)
        count = len(self.classes_)
        rows = 1 if count == 2 else count
        machine = nn.Linear(X.shape[1], rows, self.fit_intercept, init="zeros", dtype=X.dtype)
        strength = 1.0 / (self.C * (len(X) if weights is None else weights.sum()))
        most = whole("LinearSVC", "max_iter", self.max_iter, 1)
        centre, scale = self._measures(X, weights, strength)

        def penalty(params: Any) -> Any:
            return l2(params["weight"] / scale, strength)

        scaled = ((X - centre) / scale).astype(X.dtype)
        optimizer = descend(
            "LinearSVC", machine, self._loss(rows), scaled, labels, weights, penalty, most, self.tol, True
        )
        self.n_iter_ = max(optimizer.iterations, 1)
        self.coef_ = (machine.weight.value / scale).astype(X.dtype)
        bias = machine.bias.value - self.coef_ @ centre if self.fit_intercept else np.zeros(rows)
        self.intercept_ = bias.astype(X.dtype)
        machine.load_params({"weight": self.coef_, **({"bias": self.intercept_} if self.fit_intercept else {})})
        self._lanes = Lanes(machine)
        return self

    def _measures(self, X: Any, weights: Any, strength: float) -> tuple[Any, Any]:
        """Return in which measures features are learnt: from where, as biases are free, and how far.

        The objective stays what it is. In its own measures its curvature is about 1 along every weight, so that data
        that nobody has scaled take few iterations, too.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            centre = np.average(X, axis=0, weights=weights) if self.fit_intercept else np.zeros(X.shape[1])
            scale = np.sqrt(strength + np.average((X - centre) ** 2, axis=0, weights=weights))
        if not np.isfinite(scale).all():
            raise ValueError("LinearSVC: the squares of X are not finite; scale the data")
        return centre, np.where(scale > 0.0, scale, 1.0)

    def _loss(self, rows: int) -> Any:
        """Return the loss of one example's scores."""
        for name, given, known in (("loss", self.loss, LOSSES), ("multi_class", self.multi_class, FORMS)):
            if given not in known:
                raise ValueError(f"LinearSVC: {name} is {given!r:.60}; expected one of {', '.join(known)}")
        own = np.arange(rows) if rows > 1 else np.ones(1)
        if self.multi_class == "crammer_singer" and rows > 1:
            return lambda scores, label: _largest(where(own == label, 0.0, scores - scores[label] + 1.0))
        if self.multi_class == "structured" and rows > 1:
            return lambda scores, label: total(where(own == label, 0.0, _rounded(scores - scores[label] + 1.0)))
        violation = _rounded if self.loss == "hinge" else _squared
        return lambda scores, label: total(violation(1.0 - where(own == label, 1.0, -1.0) * scores))

    def _outputs(self, X: Any) -> np.ndarray[Any, Any]:
        """Return a score for every class."""
        check_is_fitted(self)
        found = self._lanes(validate_data(self, X, dtype=FLOATS, reset=False))
        return np.hstack([np.zeros_like(found), found]) if len(self.classes_) == 2 else found


def _squared(violation: Any) -> Any:
    """Return squares of what is above 0."""
    return relu(violation) ** 2


def _rounded(violation: Any) -> Any:
    """Return what is above 0, its corner rounded."""
    return where(violation <= ROUNDED, relu(violation) ** 2 / (2.0 * ROUNDED), violation - 0.5 * ROUNDED)


def _largest(violations: Any) -> Any:
    """Return the largest of all, its corners rounded."""
    width = 0.25 * ROUNDED
    return width * logsumexp(violations / width)
