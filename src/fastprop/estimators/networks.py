"""Networks as scikit-learn's estimators: a classifier and a regressor, with the names and defaults of its MLPs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fastprop import nn
from fastprop.gates.numbers import as_real
from fastprop.gates.reductions import log_softmax, softmax
from fastprop.nn.module import Module
from fastprop.optim.checks import at_least_zero, whole
from fastprop.training import History, fit
from fastprop.training.feed import arrays_of, held_out

from .learning import Lanes, Shrinkage, all_or_nothing, descend, generator_of, optimizer_of, warn_of_the_end
from .targets import FLOATS, Classes, weighed

__all__ = ["MLPClassifier", "MLPRegressor"]

BATCH = 200  # examples in a batch, unless there are fewer, as scikit-learn has it

ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


class _Network(BaseEstimator):
    """What classifier and regressor share: a network, and how it learns."""

    hidden_layer_sizes: Any
    activation: Any
    loss: Any
    solver: Any
    alpha: float
    batch_size: Any
    learning_rate_init: float
    momentum: float
    nesterovs_momentum: bool
    dropout: float
    network: Any
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: float

    # Begin ------------------------------------------------------------------------------------------------------------

    def _begin(self, features: int, outputs: int, dtype: np.dtype[Any]) -> None:
        """Make what is learnt, and where random numbers come from."""
        self._random = generator_of(self.random_state)
        made = self._sequence(features, outputs, dtype) if self.network is None else self._made(features, outputs)
        self.network_ = made.eval()
        self._lanes = Lanes(self.network_)
        self.n_outputs_ = outputs
        self.n_iter_ = self.t_ = 0
        self.loss_curve_: list[float] = []
        self._optimizer: Any = None
        self._recordings: dict[str, Any] = {}
        self._shrinkage = Shrinkage()

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: not what was recorded."""
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_recordings": {}} if "_recordings" in state else state

    def _made(self, features: int, outputs: int) -> Module:
        """Let the caller's function make the network."""
        if isinstance(self.network, Module) or (isinstance(self.network, type) and issubclass(self.network, Module)):
            raise TypeError(
                f"network is {self.network!r:.60}; expected a function that makes a network for every fit, such as "
                "lambda features, outputs, rng: fastprop.nn.Linear(features, outputs, rng=rng)"
            )
        made = self.network(features, outputs, self._random)
        if not isinstance(made, Module):
            raise TypeError(f"network gave {type(made).__name__}; expected a fastprop.nn.Module")
        given = np.shape(Lanes(made.eval())(np.zeros((1, features))))
        if given != (1, outputs):
            raise ValueError(f"network gave a model of {given[1:]} outputs; expected {outputs}, in one axis")
        return made.train()

    def _sequence(self, features: int, outputs: int, dtype: np.dtype[Any]) -> nn.Sequential:
        """Make hidden layers, each with its activation and its dropout, and a layer of what comes out."""
        hidden = self.hidden_layer_sizes
        sizes = [features, *(hidden if np.iterable(hidden) else [hidden])]
        if any(not isinstance(size, Integral) or size < 1 for size in sizes):
            raise ValueError(f"hidden_layer_sizes {hidden!r:.60} must be whole numbers from 1 on")
        if isinstance(self.activation, str) and self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}, or a function")
        init = "he_uniform" if self.activation == "relu" else "glorot_uniform"
        layers: list[Any] = []
        for fan_in, fan_out in pairwise(map(int, sizes)):
            layers.append(nn.Linear(fan_in, fan_out, init=init, rng=self._random, dtype=dtype))
            layers.append(ACTIVATIONS[self.activation]() if isinstance(self.activation, str) else self.activation)
            layers += [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(
            *layers, nn.Linear(int(sizes[-1]), outputs, init="glorot_uniform", rng=self._random, dtype=dtype)
        )

    # Learn ------------------------------------------------------------------------------------------------------------

    def _learn(self, x: Any, y: Any, weights: Any, loss: Any, epochs: int | None, stratify: bool = False) -> None:
        """Go on learning for so many epochs; None: as many as there may be."""
        number = len(x)
        name = type(self).__name__
        batch = min(BATCH if self.batch_size == "auto" else whole(name, "batch_size", self.batch_size, 1), number)
        most = whole(name, "max_iter", self.max_iter, 1) if epochs is None else epochs
        least_fall, patience = at_least_zero(name, "tol", self.tol), self._patience() if epochs is None else None
        share = as_real(self.validation_fraction)
        if self.early_stopping and (share is None or not 0.0 < share < 1.0):
            raise ValueError(f"{name}: validation_fraction is {self.validation_fraction!r:.60}; expected 0 < it < 1")
        total = number if weights is None else weights.sum()
        # the sum of the squares is divided by the weight of a batch, as the losses are
        strength = at_least_zero(name, "alpha", self.alpha) * number / (total * batch)
        self._shrinkage.strength.value = strength
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            self._descend(x, y, weights, loss, most)
            return
        if self._optimizer is None or epochs is None:
            self._optimizer = optimizer_of(
                self.solver, self.network_, self.learning_rate_init, self.momentum, self.nesterovs_momentum
            )
        holds_out = self.early_stopping and epochs is None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a fit that diverges is an error here
            history = fit(
                self.network_,
                loss,
                (x, y),
                self._optimizer,
                epochs=most,
                batch_size=batch,
                validation=self.validation_fraction if holds_out else None,
                stratify=stratify and holds_out,
                callbacks=_say if self.verbose else (),
                rng=self._random,
                sample_weight=weights,
                penalty=self._shrinkage if strength else None,
                shuffle=self.shuffle,
                patience=patience,
                min_delta=least_fall,
                restore_best=holds_out,
                progress=False,
                recordings=self._recordings,
            )
        if history.stopped == "diverged":
            raise ValueError(f"{name}: {history.reason}; try a smaller learning_rate_init, or scale X")
        if history.stopped == "epochs" and epochs is None:
            warn_of_the_end(name, most)
        self.history_ = history
        self.n_iter_ += len(history.epochs)
        learnt = held_out(arrays_of((x, y), x.dtype, None), self.validation_fraction, stratify)[0] if holds_out else x
        self.t_ += len(history.epochs) * len(learnt)
        self._note(history.losses, holds_out)
        if history.interrupted:
            raise KeyboardInterrupt

    def _patience(self) -> int | None:
        """Return after how many epochs without a better loss it ends; None: after none."""
        if self.n_iter_no_change == np.inf:
            return None
        return whole(type(self).__name__, "n_iter_no_change", self.n_iter_no_change) + 1

    def _descend(self, x: Any, y: Any, weights: Any, loss: Any, epochs: int) -> None:
        """Learn by L-BFGS."""
        name = type(self).__name__
        optimizer = descend(name, self.network_, loss, x, y, weights, self._shrinkage, epochs, self.tol)
        self.n_iter_ += max(optimizer.iterations, 1)
        self.t_ += max(optimizer.iterations, 1) * len(x)
        self._note([float(optimizer.value or 0.0)], False)

    def _note(self, losses: list[float], holds_out: bool) -> None:
        """Keep the losses of some epochs; where the best epoch is that of others, there is no lowest one."""
        self.loss_curve_ = self.loss_curve_ + losses
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.best_loss_ = None if holds_out else min(self.loss_curve_, default=np.nan)

    def _loss(self, known: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
        """Return the loss of one example, by its name or as it was given."""
        if not callable(self.loss) and self.loss not in known:
            raise ValueError(f"loss {self.loss!r}; expected one of {', '.join(known)}, or a function")
        loss: Callable[..., Any] = self.loss if callable(self.loss) else known[self.loss]
        return loss

    # Use --------------------------------------------------------------------------------------------------------------

    def _linear(self) -> list[nn.Linear]:
        """Return the layers that have weights, of a network that was made here."""
        if not hasattr(self, "network_") or self.network is not None:
            raise AttributeError(f"{type(self).__name__} has this of a fitted network of its own; see also network_")
        return [layer for _, layer in self.network_.named_modules() if isinstance(layer, nn.Linear)]

    @property
    def coefs_(self) -> list[np.ndarray[Any, Any]]:
        """The weights of every layer, (inputs, outputs)."""
        return [np.array(layer.weight.value.T) for layer in self._linear()]

    @property
    def intercepts_(self) -> list[np.ndarray[Any, Any]]:
        """The biases of every layer."""
        return [np.array(layer.bias.value) for layer in self._linear()]

    @property
    def n_layers_(self) -> int:
        """How many layers there are: those of inputs and outputs, and the hidden ones."""
        return len(self._linear()) + 1

    @property
    def out_activation_(self) -> str:
        """What makes predictions of what the network gives."""
        check_is_fitted(self)
        return "softmax" if hasattr(self, "predict_proba") else "identity"

    def _outputs(self, X: Any) -> np.ndarray[Any, Any]:
        """Return what the network gives for every row."""
        check_is_fitted(self)
        return np.asarray(self._lanes(validate_data(self, X, dtype=FLOATS, reset=False)))


def _say(history: History) -> None:
    """Print the loss of an epoch."""
    print(f"epoch {len(history.epochs)}: loss {history.monitored[-1]:.8f}")


class MLPClassifier(Classes, _Network):
    """A network that classifies: scikit-learn's MLPClassifier in fastprop, with losses, layers and rules of one's own.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Neurons in each hidden layer; with () it is linear.
    activation : {"identity", "logistic", "tanh", "relu"} or callable, default "relu"
        What stands on top of hidden layers.
    loss : {"cross_entropy", "multiclass_hinge"} or callable, default "cross_entropy"
        Of one example: ``loss(scores, label)``, where labels are places in `classes_`.
    solver : str, Optimizer or callable, default "adam"
        "sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "windowgrad", at `learning_rate_init`; "lbfgs", from
        all examples at once; an optimizer, whose options are taken; or a function that makes one of the network.
    alpha : float, default 0.0001
        Strength of the penalty ½ alpha Σ w² on the weights, divided by the batch's weight as the losses are.
    batch_size : int or "auto", default "auto"
        Examples in a step; "auto" is 200, or all if there are fewer.
    learning_rate_init : float, default 0.001
        The rate of a solver that is named.
    momentum, nesterovs_momentum : float and bool, default 0.9 and True
        Of "sgd".
    dropout : float, default 0
        With which probability outputs of hidden layers are left out while it learns.
    network : callable, optional
        Makes the network: ``network(features, outputs, rng)`` gives a fastprop.nn.Module of one example. It replaces
        hidden layers, activation and dropout.
    class_weight : dict or "balanced", optional
        A weight for every class; those that a dict leaves out count once.
    max_iter : int, default 200
        Passes over the examples, at most; iterations of "lbfgs".
    shuffle : bool, default True
        Whether the examples come in another order every time.
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None
        Where random numbers come from; None: others every time.
    tol : float, default 0.0001
        By less than so much a loss is no better.
    verbose : bool, default False
        Whether to print the loss of every epoch.
    warm_start : bool, default False
        Whether `fit` goes on from where the last one ended.
    early_stopping : bool, default False
        Whether to hold out examples of every class, watch their loss, and keep the best parameters.
    validation_fraction : float, default 0.1
        How many are held out.
    n_iter_no_change : int, default 10
        It ends after more than so many epochs in a row without a better loss.

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    network_ : fastprop.nn.Module
        What has learnt.
    history_ : fastprop.training.History
        What the last fit has done (not of "lbfgs").
    loss_, loss_curve_, best_loss_ : float, list of float, float or None
        The last loss, that of every epoch, and the lowest (None with `early_stopping`, which goes by others).
    coefs_, intercepts_, n_layers_, n_outputs_, out_activation_
        As scikit-learn has them, but that two classes have two outputs. A `network` of one's own has its parameters in
        `network_` alone.
    n_iter_, t_ : int
        How many epochs were made, and how many examples were seen.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Where names and defaults are from.

    Examples
    --------
    >>> import fastprop as fp
    >>> from fastprop.estimators import MLPClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = fp.datasets.load_digits(return_X_y=True)
    >>> model = MLPClassifier((32,), dropout=0.1, learning_rate_init=0.01, tol=0.02, random_state=0)
    >>> float(cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=3).mean()) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        loss: Any = "cross_entropy",
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate_init: float = 0.001,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        dropout: float = 0.0,
        network: Any = None,
        class_weight: Any = None,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.dropout = dropout
        self.network = network
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPClassifier:
        """Learn from examples, from the start, or, with `warm_start`, from where the last fit ended.

        Parameters
        ----------
        X : array_like, shape (examples, features)
            Inputs; float32 is computed in float32, anything else in float64.
        y : array_like, shape (examples,)
            Labels: numbers, strings or bools.
        sample_weight : array_like, shape (examples,), optional
            A weight for every example.

        Returns
        -------
        MLPClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data or the weights can't be used, or the loss diverges.
        """
        with all_or_nothing(self):
            goes_on = self.warm_start and hasattr(self, "network_")
            X, y = validate_data(self, X, y, dtype=FLOATS, reset=not goes_on)
            labels = self._labels(y, self.classes_ if goes_on else None)
            return self._fit(X, labels, sample_weight, None, goes_on)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """Make one more pass over some examples.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, optional
            All labels that will come; the first call needs them.

        Returns
        -------
        MLPClassifier
            Itself.
        """
        with all_or_nothing(self):
            first = not hasattr(self, "network_")
            X, y = validate_data(self, X, y, dtype=FLOATS, reset=first)
            if isinstance(self.class_weight, str):
                raise ValueError(f"class_weight={self.class_weight!r} needs all examples; give partial_fit a dict")
            _check_partial_fit_first_call(self, classes)
            return self._fit(X, self._labels(y, self.classes_), sample_weight, 1, not first)

    def _fit(self, X: Any, labels: Any, sample_weight: Any, epochs: int | None, goes_on: bool) -> MLPClassifier:
        loss = self._loss({"cross_entropy": nn.cross_entropy, "multiclass_hinge": nn.multiclass_hinge})
        X, labels, weights = self._weighed(X, labels, sample_weight, all_there=epochs is None and not goes_on)
        if not goes_on:
            self._begin(X.shape[1], len(self.classes_), X.dtype)
        self._learn(X, labels, weights, loss, epochs, stratify=True)
        return self

    def _gives_probabilities(self) -> bool:
        if self.loss in ("multiclass_hinge", nn.multiclass_hinge):
            raise AttributeError(
                "predict_proba goes with a loss of probabilities, such as cross_entropy; not with a hinge"
            )
        return True

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the probability of every class, for every row: (examples, classes)."""
        return np.asarray(softmax(self._outputs(X), axis=1))

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the logarithm of the probability of every class, for every row: (examples, classes)."""
        return np.asarray(log_softmax(self._outputs(X), axis=1))


class MLPRegressor(RegressorMixin, _Network):
    """A network that gives numbers: scikit-learn's MLPRegressor in fastprop, with losses and layers of one's own.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate_init, momentum, nesterovs_momentum
        As for `MLPClassifier`.
    loss : {"squared_error", "absolute_error", "huber"} or callable, default "squared_error"
        Of one example: ``loss(output, target)``, both arrays; those that are named are summed over the outputs.
    dropout, network, max_iter, shuffle, random_state, tol, verbose, warm_start, early_stopping, validation_fraction, \
n_iter_no_change
        As for `MLPClassifier`.

    Attributes
    ----------
    network_, history_, loss_, loss_curve_, best_loss_, coefs_, intercepts_, n_layers_, n_outputs_, out_activation_, \
n_iter_, t_
        As for `MLPClassifier`.

    See Also
    --------
    sklearn.neural_network.MLPRegressor : Where names and defaults are from.

    Examples
    --------
    >>> import numpy as np
    >>> from fastprop.estimators import MLPRegressor
    >>> X = np.linspace(-1.0, 1.0, 100)[:, None]
    >>> model = MLPRegressor((20,), "tanh", solver="lbfgs", random_state=0).fit(X, np.sin(3.0 * X[:, 0]))
    >>> model.score(X, np.sin(3.0 * X[:, 0])) > 0.99
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        loss: Any = "squared_error",
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate_init: float = 0.001,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        dropout: float = 0.0,
        network: Any = None,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.dropout = dropout
        self.network = network
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Learn from examples, from the start, or, with `warm_start`, from where the last fit ended.

        Parameters
        ----------
        X : array_like, shape (examples, features)
            Inputs; float32 is computed in float32, anything else in float64.
        y : array_like, shape (examples,) or (examples, outputs)
            Targets.
        sample_weight : array_like, shape (examples,), optional
            A weight for every example.

        Returns
        -------
        MLPRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data can't be used, or the loss diverges.
        """
        with all_or_nothing(self):
            return self._fit(X, y, sample_weight, None, self.warm_start and hasattr(self, "network_"))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Make one more pass over some examples.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        MLPRegressor
            Itself.
        """
        with all_or_nothing(self):
            return self._fit(X, y, sample_weight, 1, hasattr(self, "network_"))

    def _fit(self, X: Any, y: Any, sample_weight: Any, epochs: int | None, goes_on: bool) -> MLPRegressor:
        X, y = validate_data(self, X, y, dtype=FLOATS, y_numeric=True, multi_output=True, reset=not goes_on)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        in_a_row, y = y.ndim == 1, y.reshape(len(y), -1).astype(X.dtype)
        if goes_on and y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {y.shape[1]} outputs for an example; it has learnt {self.n_outputs_}")
        known = {"squared_error": nn.squared_error, "absolute_error": nn.absolute_error, "huber": nn.huber}
        loss = self._loss(known)
        X, y, weights = weighed(X, y, sample_weight)
        if not goes_on:
            self._begin(X.shape[1], y.shape[1], X.dtype)
            self._is_flat = in_a_row
        self._learn(X, y, weights, loss, epochs)
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return what is expected for every row: (examples,), or (examples, outputs) as the targets were."""
        found = self._outputs(X)
        return found[:, 0] if self._is_flat else found
