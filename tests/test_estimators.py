"""Estimators beside scikit-learn's own, and what scikit-learn asks of them; where it is installed."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network, svm
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastprop as fp
from fastprop import nn
from fastprop.estimators import LinearSVC, MLPClassifier, MLPRegressor
from fastprop.training import fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_blobs(90, 4, centers=3, cluster_std=2.5, random_state=1)
X = StandardScaler().fit_transform(X)
NAMES = np.array(["ash", "elm", "oak"])[Y]
T = X @ np.array([[1.0, 0.5], [-1.0, 0.0], [0.3, 0.2], [0.0, 1.0]]) + 0.5


def quick(**options):
    """A classifier that has learnt soon."""
    return MLPClassifier((8,), "tanh", **{"max_iter": 20, "learning_rate_init": 0.02, "random_state": 0, **options})


def numbers(estimator):
    """All parameters in a row."""
    return np.concatenate([np.ravel(leaf.value) for leaf in estimator.network_.parameters()])


# What scikit-learn asks -----------------------------------------------------------------------------------------------

ALL = [MLPClassifier(), MLPRegressor(), LinearSVC()]
PRECISE = {"tol": 1e-9, "max_iter": 3000}
MORE = [
    MLPClassifier(solver="lbfgs"),
    MLPRegressor(solver="sgd", loss="huber", learning_rate_init=0.01),
    LinearSVC(loss="hinge", **PRECISE),
    LinearSVC(multi_class="structured", **PRECISE),
    LinearSVC(multi_class="crammer_singer", **PRECISE),
]
SHORT = {
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_estimators_unfitted",
    "check_dict_unchanged",
    "check_sample_weight_equivalence_on_dense_data",
    "check_estimators_pickle",
    "check_classifiers_one_label",
    "check_n_features_in_after_fitting",
    "check_supervised_y_2d",
    "check_fit2d_1sample",
    "check_all_zero_sample_weights_error",
}


def checks(estimators, chosen=None):
    """scikit-learn's checks, as parameters of a test."""
    found = []
    for estimator in estimators:
        for owner, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            if (chosen is None or name in chosen) and name != "check_array_api_input":  # which needs array_api_compat
                found.append(pytest.param(owner, check, id=f"{owner!r}-{name}"))
    return found


@pytest.mark.parametrize("estimator, check", checks(ALL, SHORT))
def test_it_is_an_estimator(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("estimator, check", [*checks(ALL), *checks(MORE, SHORT)])
def test_it_is_an_estimator_in_all_respects(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


# Beside scikit-learn's own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_from_the_same_start_a_classifier_learns_as_scikit_learns(activation, solver):
    options = {"alpha": 0.5, "batch_size": 30, "shuffle": False, "random_state": 0, "learning_rate_init": 0.02}
    options |= {"activation": activation, "solver": solver, "max_iter": 1, "warm_start": True}
    ours, theirs = MLPClassifier((8,), **options).fit(X, NAMES), neural_network.MLPClassifier((8,), **options)
    theirs.fit(X, NAMES)
    ours.network_.load_params(
        {"0": {"weight": theirs.coefs_[0].T, "bias": theirs.intercepts_[0]},
         "2": {"weight": theirs.coefs_[1].T, "bias": theirs.intercepts_[1]}}
    )  # fmt: skip
    for estimator in (ours, theirs):
        estimator.set_params(max_iter=5).fit(X, NAMES)
    # eps stands after the correction here, before it there
    assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=1e-12 if solver == "sgd" else 1e-5)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9 if solver == "sgd" else 1e-4)
    assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("options", [{}, {"loss": "hinge"}, {"multi_class": "crammer_singer"}], ids=str)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_svm_finds_what_liblinear_finds(options, classes):
    x, y = X[classes > Y], Y[classes > Y]
    weights = np.linspace(0.5, 2.0, len(x))
    if options.get("multi_class"):
        weights = None  # which liblinear does not take there
    shared = {"C": 0.1, "fit_intercept": False, "tol": 1e-8, "max_iter": 100_000, **options}
    ours = LinearSVC(**shared).fit(x, y, weights)
    theirs = svm.LinearSVC(random_state=0, **shared).fit(x, y, weights)
    if options.get("multi_class") and classes == 2:
        return  # two rows there, one here
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-5 if not options else 0.01)
    assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-4 if not options else 0.05)


def test_a_structured_svm_is_at_the_minimum_of_its_objective():
    model = LinearSVC(2.0, multi_class="structured", tol=1e-8).fit(X, NAMES)
    labels = np.searchsorted(model.classes_, NAMES)

    def objective(weight, bias):
        losses = nn.multiclass_hinge(X @ weight.T + bias, labels, reduction="none")
        return 0.5 * np.sum(weight**2) + 2.0 * np.sum(losses)

    least, random = objective(model.coef_, model.intercept_), np.random.default_rng(0)
    for size in (0.03, 0.1, 0.3):
        moves = [(random.normal(0, size, (3, 4)), random.normal(0, size, 3)) for _ in range(50)]
        assert min(objective(model.coef_ + a, model.intercept_ + b) for a, b in moves) > 0.999 * least


# How it learns --------------------------------------------------------------------------------------------------------


def test_batches_have_200_examples_or_all_and_weights_divide():
    x, y = make_blobs(450, 4, centers=2, random_state=0)
    assert [quick(max_iter=1).fit(x[:n], y[:n]).history_.epochs[0].steps for n in (7, 200, 201, 450)] == [1, 1, 2, 3]
    one, two = quick(alpha=0.3).fit(X, Y), quick(alpha=0.6).fit(X, Y, np.full(90, 2.0))
    assert_allclose(one.loss_curve_, two.loss_curve_, rtol=1e-9)
    assert np.max(np.abs(np.subtract(one.loss_curve_, quick(alpha=0.6).fit(X, Y).loss_curve_))) > 1e-3


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("weights", [{"ash": 2.0, "elm": 0.5, "oak": 3.0}, {"oak": 3.0}, "balanced"])
def test_class_weights_are_weights_of_examples(weights, solver):
    x, names = X[10:], NAMES[10:]
    own = np.linspace(0.5, 1.5, 80)
    by_name = weights
    if weights == "balanced":
        by_name = {name: own.sum() / (3 * own[names == name].sum()) for name in set(names)}
    each = own * np.array([by_name.get(name, 1.0) for name in names])
    a = quick(class_weight=weights, solver=solver).fit(x, names, own)
    assert_allclose(numbers(a), numbers(quick(solver=solver).fit(x, names, each)), rtol=1e-9)
    assert_allclose(
        LinearSVC(class_weight=weights).fit(x, names, own).coef_, LinearSVC().fit(x, names, each).coef_, rtol=1e-9
    )


def test_partial_fit_makes_the_passes_of_a_fit():
    """Optimizer and random numbers go on: three calls are a fit of three epochs."""
    whole, parts = quick(max_iter=3, batch_size=32).fit(X, NAMES), quick(batch_size=32)
    for _ in range(3):
        parts.partial_fit(X, NAMES, classes=np.unique(NAMES))
    assert_array_equal(numbers(parts), numbers(whole))
    assert (parts.n_iter_, parts.t_, parts.loss_curve_) == (3, 270, whole.loss_curve_)
    regressor = MLPRegressor((5,), random_state=0, max_iter=3).fit(X, T)
    other = MLPRegressor((5,), random_state=0)
    for _ in range(3):
        other.partial_fit(X, T)
    assert_array_equal(numbers(other), numbers(regressor))


def test_partial_fit_records_once():
    class Counted(nn.Linear):
        calls = 0

        def __call__(self, x):
            Counted.calls += 1
            return super().__call__(x)

    model = MLPClassifier(network=lambda features, outputs, rng: Counted(features, outputs, rng=rng))
    calls = [model.partial_fit(X, Y, classes=[0, 1, 2]) and Counted.calls for _ in range(4)]
    assert calls[0] > 0 and calls == [calls[0]] * 4


def test_a_warm_start_goes_on_and_a_cold_one_begins_again():
    model = quick(warm_start=True, solver="sgd", momentum=0.0, batch_size=90).fit(X, Y)
    model.fit(X, Y)
    twice = quick(max_iter=40, solver="sgd", momentum=0.0, batch_size=90).fit(X, Y)
    assert_allclose(model.loss_curve_, twice.loss_curve_, rtol=1e-9)
    assert model.n_iter_ == 40
    cold = quick().fit(X, Y)
    before = numbers(cold)
    assert_array_equal(numbers(cold.fit(X, Y)), before)


def test_it_stops_where_the_loss_no_longer_falls():
    model = quick(max_iter=500, tol=0.01, n_iter_no_change=3).fit(X, Y)
    losses = np.array(model.loss_curve_)
    best, bad = np.inf, []
    for loss in losses:
        bad.append(bad[-1] + 1 if bad and loss > best - 0.01 else 0)
        best = min(best, loss)
    assert model.n_iter_ < 500 and bad[-1] == 4 and max(bad[:-1]) < 4
    assert model.history_.stopped == "patience"
    with pytest.warns(ConvergenceWarning, match="max_iter=2 was reached"):
        quick(max_iter=2).fit(X, Y)


def test_verbose_prints_losses(capsys):
    model = quick(max_iter=3, verbose=True, n_iter_no_change=np.inf).fit(X, Y)
    expected = [f"epoch {k}: loss {loss:.8f}" for k, loss in enumerate(model.loss_curve_, 1)]
    assert capsys.readouterr().out.splitlines() == expected


def test_early_stopping_keeps_the_best_epoch_of_what_was_held_out():
    model = quick(max_iter=300, learning_rate_init=0.3, early_stopping=True, validation_fraction=0.3).fit(X, NAMES)
    history = model.history_
    assert history.stopped == "patience" and history.best.number < len(history.epochs)
    worse = quick(max_iter=history.best.number, learning_rate_init=0.3, early_stopping=True, validation_fraction=0.3)
    assert_array_equal(numbers(model), numbers(worse.fit(X, NAMES)))


def test_losses_layers_and_rules_of_ones_own():
    def network(features, outputs, rng):
        return nn.Sequential(nn.BatchNorm(features), nn.Maxout(features, 6, rng=rng), nn.Linear(6, outputs, rng=rng))

    def loss(scores, label):
        return nn.cross_entropy(scores, label, label_smoothing=0.1)

    def rule(params):
        return fp.optim.AdamW(params, lr=0.05, schedule=fp.optim.Cosine(40))

    model = MLPClassifier(network=network, loss=loss, solver=rule, alpha=0.0, random_state=0, max_iter=20).fit(X, NAMES)
    random = np.random.default_rng(0)
    other = network(4, 3, random)
    fit(other, loss, (X, Y), rule(other), epochs=model.n_iter_, batch_size=90, rng=random)
    assert_array_equal(numbers(model), np.concatenate([np.ravel(leaf.value) for leaf in other.parameters()]))
    assert model.score(X, NAMES) > 0.8
    other.eval()
    scores = model.decision_function(X)
    assert_allclose(scores, [other(x).value for x in X])
    model.partial_fit(X + 1.0, NAMES)  # the statistics have moved, and are used
    assert np.abs(model.decision_function(X) - scores).max() > 0.01


@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "windowgrad", "lbfgs"])
def test_solvers_by_name(solver):
    model = quick(solver=solver, max_iter=60, learning_rate_init=1.0 if solver == "adadelta" else 0.03).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.85


def test_a_solver_like_another_optimizer():
    like = fp.optim.RMSprop([0.0], lr=0.03, momentum=0.5)
    by_function = quick(solver=lambda params: fp.optim.RMSprop(params, lr=0.03, momentum=0.5))
    assert_array_equal(numbers(quick(solver=like).fit(X, Y)), numbers(by_function.fit(X, Y)))


def test_dropout_leaves_out_while_it_learns_alone():
    model = quick(dropout=0.5).fit(X, Y)
    assert isinstance(model.network_[2], nn.Dropout) and not model.network_.training
    assert_array_equal(model.decision_function(X), model.decision_function(X))
    assert np.abs(numbers(model) - numbers(quick().fit(X, Y))).max() > 0.01


def test_a_regressor_finds_the_least_squares():
    model = MLPRegressor((), solver="lbfgs", alpha=0.0, tol=1e-9, random_state=0).fit(X, T + X[:, :1] ** 2)
    ones = np.column_stack([X, np.ones(90)])
    expected = ones @ np.linalg.lstsq(ones, T + X[:, :1] ** 2)[0]
    assert_allclose(model.predict(X), expected, atol=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", lambda z, y: fp.sum(fp.cosh(z - y))])
def test_losses_of_a_regressor(loss):
    model = MLPRegressor((), loss=loss, learning_rate_init=0.05, random_state=0, max_iter=100).fit(X, T)
    assert model.predict(X).shape == (90, 2) and model.score(X, T) > 0.9
    assert model.fit(X, T[:, 0]).predict(X).shape == (90,)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_float32_is_computed_in_float32(dtype):
    x = (100 * X).astype(dtype)
    expected = "float32" if dtype == "float32" else "float64"
    for model in (
        quick(max_iter=2).fit(x, Y),
        MLPRegressor((3,), max_iter=2).fit(x, T),
        LinearSVC(max_iter=5).fit(x, Y),
    ):
        network = model._lanes.network
        assert {leaf.value.dtype for leaf in network.parameters()} == {np.dtype(expected)}
    assert quick(max_iter=2).fit(x, Y).predict_proba(x).dtype == expected


# Edges ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [quick(), quick(loss="multiclass_hinge"), quick(solver="lbfgs"), LinearSVC()], ids=str
)
def test_one_class_only(model):
    model.fit(X, np.full(90, "elm"))
    assert set(model.predict(X)) == {"elm"}
    if hasattr(model, "predict_proba"):
        assert_array_equal(model.predict_proba(X[:1]), [[1.0]])


@pytest.mark.parametrize("make", [quick, LinearSVC], ids=["MLPClassifier", "LinearSVC"])
@pytest.mark.parametrize(
    "kind, message, y",
    [
        (TypeError, "expected labels of one kind", np.array([1, "a"] * 45, object)),
        (ValueError, "Unknown label type", X[:, 0]),
    ],
)
def test_labels_that_are_none(make, kind, message, y):
    with pytest.raises(kind, match=message):
        make().fit(X, y)


def test_labels_are_sorted():
    assert_array_equal(quick().fit(X, NAMES).classes_, ["ash", "elm", "oak"])
    model = quick().fit(X, Y == 1)
    assert_array_equal(model.classes_, [False, True])
    assert_array_equal(model.decision_function(X) > 0.0, model.predict(X))
    assert_array_equal(np.argmax(model.predict_proba(X), axis=1) == 1, model.predict(X))
    assert_array_equal(quick().fit(X, 7 - 2 * Y).classes_, [3, 5, 7])


REFUSED = {
    "class_weight has no weight for the class 'elm', and one for 'yew'": quick(class_weight={"ash": 1.0, "yew": 1.0}),
    "class_weight is 'even'": quick(class_weight="even"),
    "activation 'step'; expected one of identity": quick().set_params(activation="step"),
    "solver 'newton'; expected one of sgd": quick(solver="newton"),
    "loss 'log'; expected one of cross_entropy": quick(loss="log"),
    "hidden_layer_sizes .* must be whole numbers": quick().set_params(hidden_layer_sizes=(3, 0)),
    "max_iter is 0": quick(max_iter=0),
    "batch_size is 0": quick(batch_size=0),
    "alpha is -1": quick(alpha=-1.0),
    "lr is nan": quick(learning_rate_init=float("nan")),
    "C is 0": LinearSVC(0.0),
    "loss is 'log'; expected one of squared_hinge": LinearSVC(loss="log"),
    "multi_class is 'ovo'; expected one of ovr": LinearSVC(multi_class="ovo"),
}


@pytest.mark.parametrize("message, model", REFUSED.items(), ids=REFUSED)
def test_options_that_are_none(message, model):
    with pytest.raises(ValueError, match=message):
        model.fit(X, NAMES)


def test_classes_that_are_new_or_without_weight():
    model = quick().partial_fit(X[Y < 2], NAMES[Y < 2], classes=["ash", "elm"])
    before = numbers(model)
    with pytest.raises(ValueError, match="y has the new class 'oak'; expected one of"):
        model.partial_fit(X, NAMES)
    assert_array_equal(numbers(model), before)
    warm = quick(warm_start=True).fit(X[Y < 2], NAMES[Y < 2])
    with pytest.raises(ValueError, match="y has the new class 'oak'"):
        warm.fit(X, NAMES)
    for make in (quick, LinearSVC):
        with pytest.raises(ValueError, match="all examples of the class 1 have the weight 0"):
            make().fit(X, Y, np.where(Y == 1, 0.0, 1.0))
    with pytest.raises(ValueError, match="needs all examples"):
        quick(class_weight="balanced").partial_fit(X, Y, [0, 1, 2])
    with pytest.raises(ValueError, match="y has 1 outputs for an example; it has learnt 2"):
        MLPRegressor((3,)).partial_fit(X, T).partial_fit(X, T[:, 0])


@pytest.mark.parametrize("loss", ["multiclass_hinge", nn.multiclass_hinge])
def test_a_hinge_has_no_probabilities(loss):
    model = quick(loss=loss).fit(X, Y)
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)
    assert model.score(X, Y) > 0.8


def test_a_loss_that_diverges_is_a_value_error():
    with pytest.raises(ValueError, match=r"MLPRegressor: .* in epoch .*; try a smaller learning_rate_init"):
        MLPRegressor((5,), solver="sgd", learning_rate_init=1e200, random_state=0).fit(X, T)


def test_an_interrupt_is_raised(monkeypatch):
    from fastprop.training.interrupts import Interrupts

    monkeypatch.setattr(Interrupts, "are_wished", lambda self: True)
    with pytest.raises(KeyboardInterrupt):
        quick().fit(X, Y)


# In scikit-learn's company --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [quick(dropout=0.1), MLPRegressor((4,), max_iter=5, random_state=0), LinearSVC()], ids=str
)
def test_copies_and_pickles(model):
    target = T if isinstance(model, MLPRegressor) else NAMES
    model.fit(X, target)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(clone(model).fit(X, target).predict(X), model.predict(X))
    if hasattr(model, "partial_fit"):
        for one in (model, again):
            one.partial_fit(X, target)
        assert_array_equal(numbers(again), numbers(model))


def test_search_and_cross_validation():
    pipeline = make_pipeline(StandardScaler(), quick(learning_rate_init=0.1))
    grid = {"mlpclassifier__dropout": [0.0, 0.2], "mlpclassifier__activation": ["relu"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=1).fit(X, NAMES)
    assert search.best_params_["mlpclassifier__activation"] == "relu" and search.best_score_ > 0.6
    assert np.mean(cross_val_score(LinearSVC(0.1), X, NAMES, cv=3)) > 0.7
    x, y = make_regression(80, 3, noise=1.0, random_state=0)
    model = MLPRegressor((10,), solver="lbfgs", max_iter=50, random_state=0)
    assert np.mean(cross_val_score(model, x, y, cv=3, scoring="r2")) > 0.9
