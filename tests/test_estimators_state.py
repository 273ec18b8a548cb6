"""What estimators keep from call to call: what they have learnt, where data are refused; what they have recorded."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network, svm
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastprop as fp
from fastprop import nn
from fastprop.circuits.compile import Compiled
from fastprop.estimators import LinearSVC, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(60, 3))
Y = np.where(X[:, 0] > 0.0, "yes", "no")

MODELS = {
    "classifier": MLPClassifier((4,), max_iter=3, random_state=0),
    "warm classifier": MLPClassifier((4,), max_iter=3, random_state=0, warm_start=True),
    "regressor": MLPRegressor((4,), max_iter=3, random_state=0),
    "svm": LinearSVC(max_iter=20),
}

WRONG = {
    "features": lambda t: (X[:, :2], t, None),
    "more features and NaN": lambda t: (np.full((60, 4), np.nan), t, None),
    "NaN": lambda t: (np.where(X.max() == X, np.nan, X), t, None),
    "text": lambda t: (np.full((60, 2), "a"), t, None),
    "lengths": lambda t: (X[:, :2], t[:7], None),
    "NaN targets": lambda t: (X[:, :2], np.where(np.arange(60) == 7, np.nan, 0.5), None),
    "no targets": lambda t: (X[:, :2], None, None),
    "weights": lambda t: (X[:, :2], t, np.full(60, -1.0)),
    "no weights": lambda t: (X[:, :2], t, np.zeros(60)),
    "no rows": lambda t: (X[:0], t[:0], None),
}


def state(model):
    """Everything that a model knows, as bytes."""
    network = [] if not hasattr(model, "network_") else [leaf.value for leaf in model.network_.parameters()]
    return {
        **{name: np.array(x).tobytes() for name, x in vars(model).items() if name[-1] == "_" and name[0] != "_"},
        "network_": [np.array(leaf).tobytes() for leaf in network],
        "history_": repr(getattr(model, "history_", None)),
    }


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_refused_fit_changes_nothing(model, call, wrong):
    target = X[:, 0] if isinstance(model, MLPRegressor) else Y
    fresh, model = clone(model), clone(model).fit(X, target)
    if not hasattr(model, call):
        return
    before, predicted, x, (data, t, weights) = state(model), model.predict(X), X.copy(), wrong(target)
    refused = call == "fit" and wrong is WRONG["features"] and not getattr(model, "warm_start", False)
    if refused:  # other features are nothing wrong for a fit from the start
        model.class_weight = model.alpha = model.C = -1.0
    for given in (model, fresh):
        more = {"classes": ["no", "yes"]} if call == "partial_fit" and isinstance(given, MLPClassifier) else {}
        if given is fresh and wrong is WRONG["features"]:
            continue
        with pytest.raises((ValueError, TypeError)):
            getattr(given, call)(data, t, sample_weight=weights, **more)
    if refused:
        model.class_weight = None
    assert state(model) == before
    assert_array_equal(model.predict(x), predicted)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_a_loss_that_diverges_leaves_what_was_learnt_before():
    model = MLPRegressor((4,), solver="sgd", max_iter=3, random_state=0).fit(X, X[:, 0])
    before, predicted = state(model), model.predict(X)
    with pytest.raises(ValueError, match="try a smaller learning_rate_init"):
        model.set_params(learning_rate_init=1e200).fit(X, X[:, 0])
    assert state(model) == before
    assert_array_equal(model.predict(X), predicted)


@pytest.mark.parametrize("epochs", [0, 2])
def test_what_was_learnt_until_ctrl_c_is_there(epochs, monkeypatch):
    from fastprop.training.interrupts import Interrupts

    seen = []
    monkeypatch.setattr(Interrupts, "are_wished", lambda self: seen.append(1) or len(seen) > 4 * epochs)
    model = MLPClassifier((4,), batch_size=30, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert (model.n_iter_, len(model.loss_curve_), model.history_.stopped) == (epochs, epochs, "interrupted")
    assert np.isnan(model.loss_) == (epochs == 0) and model.predict(X).shape == (60,)


# What is recorded -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch):
    """Count how often something is recorded."""
    counted = []
    record = Compiled._record
    monkeypatch.setattr(Compiled, "_record", lambda self, *args: counted.append(self) or record(self, *args))
    return counted


def test_batches_of_all_sizes_are_recorded_a_few_times(recorded):
    sizes = [*range(1, 50, 3), *range(48, 0, -5), 60]
    model = MLPClassifier((4,), random_state=0, alpha=0.1)
    for size in sizes:
        model.partial_fit(X[:size], Y[:size], ["no", "yes"])
    assert len(recorded) <= 4 + 6 + 1  # as they come; 2, 4, ... 64; the penalty
    del recorded[:]
    for size in sizes:
        assert_array_equal(model.predict(X[:size]), model.predict(X)[:size])
        assert_allclose(model.predict_proba(X[:size]), model.predict_proba(X)[:size], rtol=1e-12)
    assert len(recorded) <= 4 + 6


def test_what_batches_are_filled_up_with_does_not_count(monkeypatch):
    from fastprop.training import sizes

    found = []
    for few in (4, 1000):
        monkeypatch.setattr(sizes, "FEW", few)
        classifier = MLPClassifier((4,), random_state=0, alpha=0.5, dropout=0.2, learning_rate_init=0.05)
        regressor = MLPRegressor((4,), random_state=0, learning_rate_init=0.05)
        weights = np.linspace(0.5, 2.0, 60)
        for size in (3, 10, 20, 5, 6, 17, 1, 60, 7):
            classifier.partial_fit(X[:size], Y[:size], ["no", "yes"], weights[:size])
            regressor.partial_fit(X[:size], X[:size, :2])
        found.append([np.array(leaf.value) for m in (classifier, regressor) for leaf in m.network_.parameters()])
        found[-1] += [np.array(classifier.loss_curve_), np.array(regressor.loss_curve_)]
    for with_fill, without in zip(*found):
        assert_allclose(with_fill, without, rtol=1e-9)


def test_a_layer_across_examples_sees_those_that_there_are(recorded):
    class Centred(nn.Linear):
        def __call__(self, x):
            y = super().__call__(x)
            return y - fp.lane_mean(y)

    model = MLPClassifier(network=lambda features, outputs, rng: Centred(features, outputs, rng=rng), alpha=0.0)
    model.partial_fit(X, Y, ["no", "yes"])
    assert len({id(one) for one in recorded}) > 0
    for size in range(2, 12):
        expected = X[:size] @ model.network_.weight.value.T
        assert_allclose(model._lanes(X[:size]), expected - expected.mean(axis=0), atol=1e-12)


# Attributes -----------------------------------------------------------------------------------------------------------

NAMES = ["loss_", "best_loss_", "loss_curve_", "t_", "n_iter_", "coefs_", "intercepts_", "n_layers_", "n_outputs_"]


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"hidden_layer_sizes": ()}])
@pytest.mark.parametrize("ours, theirs", [(MLPClassifier, "MLPClassifier"), (MLPRegressor, "MLPRegressor")])
def test_attributes_are_scikit_learns(ours, theirs, options):
    options = {"hidden_layer_sizes": (4, 2), "max_iter": 3, "random_state": 0, **options}
    target = np.digitize(X[:, 0], [-0.5, 0.5]) if ours is MLPClassifier else X[:, :3]
    model, other = ours(**options), getattr(neural_network, theirs)(**options).fit(X, target)
    for name in (*NAMES, "out_activation_"):
        assert not hasattr(model, name)
    model.fit(X, target)
    for name in (*NAMES, "out_activation_"):
        found, expected = getattr(model, name), getattr(other, name)
        shapes = [np.shape(x) for x in found] == [np.shape(x) for x in expected] if isinstance(found, list) else True
        assert shapes and (type(found) is type(expected) or name in ("loss_", "best_loss_"))
        if name in ("t_", "n_iter_", "n_layers_", "n_outputs_", "out_activation_"):
            assert found == expected, name
    if not model.early_stopping:
        assert model.best_loss_ == min(model.loss_curve_)
    found = X
    for k, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_)):
        found = np.maximum(found, 0.0) if k else found
        found = found @ weights + biases
    assert_allclose(model._outputs(X), found, rtol=1e-12)


def test_a_network_of_ones_own_keeps_its_parameters():
    model = MLPClassifier(network=lambda features, outputs, rng: nn.Linear(features, outputs, rng=rng), max_iter=2)
    model.fit(X, Y)
    with pytest.raises(AttributeError, match="see also network_"):
        _ = model.coefs_
    assert model.out_activation_ == "softmax" and MLPClassifier(loss="multiclass_hinge").fit(X, Y).n_layers_ == 3


@pytest.mark.parametrize("weights", [[1.0, 2.0], np.ones(2), 3])
@pytest.mark.parametrize("model", [MLPClassifier(), LinearSVC()], ids=str)
def test_class_weights_are_a_dict(model, weights):
    with pytest.raises(TypeError, match='expected a dict, "balanced" or None'):
        clone(model).set_params(class_weight=weights).fit(X, Y)
    with pytest.raises(ValueError, match="class_weight has no weight for the class 'yes'"):
        clone(model).set_params(class_weight={"no": 2.0, "maybe": 1.0}).fit(X, Y)


# Data that nobody has scaled ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"loss": "hinge"}, {"multi_class": "structured"}, {"fit_intercept": False}])
def test_a_linear_svm_takes_data_as_they_come(options):
    """As many iterations for features in other units; the objective stays what it is."""
    x, y = load_wine(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = LinearSVC(**options).fit(x, y)
    assert model.n_iter_ < 500 and model.score(x, y) > 0.95
    if options == {}:
        scores = x @ model.coef_.T + model.intercept_
        assert_allclose(model.decision_function(x), scores, rtol=1e-12)
        own = np.where(y[:, None] == np.arange(3), 1.0, -1.0)

        def objective(coef, intercept):
            hinges = np.maximum(1.0 - own * (x @ coef.T + intercept), 0.0)
            return 0.5 * np.sum(coef**2) + np.sum(hinges**2)

        other = svm.LinearSVC(intercept_scaling=1000.0, tol=1e-8, max_iter=100_000).fit(x, y)
        least = objective(other.coef_, other.intercept_)
        assert objective(model.coef_, model.intercept_) < 1.01 * least


def test_a_linear_svm_of_a_constant_feature_and_one_without_end():
    x = np.column_stack([X, np.full(60, 7.0)])
    model = LinearSVC(C=1e308).fit(x, Y)
    assert np.isfinite(model.coef_).all() and model.coef_[0, 3] == 0.0
    with pytest.raises(ValueError, match="the squares of X are not finite; scale the data"):
        LinearSVC().fit(x * 1e200, Y)


def test_a_descent_that_ends_too_soon_is_told(monkeypatch):
    from fastprop.optim import lbfgs

    run = lbfgs._Search.run

    def broken(self, optimizer):
        found = run(self, optimizer)
        optimizer.reason = "ABNORMAL: "
        return found

    monkeypatch.setattr(lbfgs._Search, "run", broken)
    for model in (LinearSVC(tol=0.0), MLPClassifier((3,), solver="lbfgs", random_state=0, alpha=10.0, tol=0.01)):
        with pytest.warns(ConvergenceWarning, match="L-BFGS ended after .* before tol was reached"):
            model.fit(X, Y)


def test_pickles_forget_what_was_recorded():
    model = MLPClassifier((3,), random_state=0).partial_fit(X, Y, ["no", "yes"])
    again = pickle.loads(pickle.dumps(model))
    assert again._recordings == {} and again._lanes._sizes.known == set()
    assert_array_equal(again.predict(X), model.predict(X))


# Options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"hidden_layer_sizes": None}, ValueError, "hidden_layer_sizes None must be whole numbers from 1 on"),
        ({"hidden_layer_sizes": (3, 0)}, ValueError, "hidden_layer_sizes .* must be whole numbers from 1 on"),
        ({"tol": -1.0}, ValueError, "MLPClassifier: tol is -1.0; expected a finite number, 0 or more"),
        ({"n_iter_no_change": 2.5}, TypeError, r"n_iter_no_change is 2.5 \(float\); expected a whole number"),
        ({"n_iter_no_change": "a"}, TypeError, "n_iter_no_change is 'a'"),
        ({"n_iter_no_change": np.nan}, TypeError, "n_iter_no_change is nan"),
        ({"early_stopping": True, "validation_fraction": "a"}, ValueError, "validation_fraction is 'a'; expected 0 <"),
        ({"early_stopping": True, "validation_fraction": 0}, ValueError, "validation_fraction is 0; expected 0 <"),
        ({"network": nn.Linear(3, 2)}, TypeError, "expected a function that makes a network for every fit"),
        ({"network": nn.Linear}, TypeError, "expected a function that makes a network for every fit"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**{"hidden_layer_sizes": (3,), **options}).fit(X, Y)


def test_logarithms_of_probabilities():
    model = MLPClassifier((3,), max_iter=3, random_state=0).fit(X, Y)
    assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), rtol=1e-12)
    model.network_[-1].bias.value = np.array([0.0, 2000.0])
    assert np.all(model.predict_log_proba(X)[:, 0] < -1000.0)
    assert not hasattr(MLPClassifier(loss="multiclass_hinge"), "predict_log_proba")
