"""What both tutorials promise or mention beside their examples, chapter 3: a test per heading or tip.

Each is small, and held against a formula written out, or against NumPy; the scripts in `examples/` show it on data.
"""

import math

import numpy as np
import pytest

import fastprop as fp
from fastprop import nn, optim
from fastprop.nn import regularisers
from fastprop.training import check_gradients, find_rate


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def pulls(loss, *arguments):
    """What a loss pulls its scores by."""
    return -fp.grad(lambda scores: loss(scores, *arguments))(np.array([1.0, 0.5, 3.0, -4.0]))


# Classifiers of many classes ------------------------------------------------------------------------------------------


def test_multiclass_structured_svm():
    """Each rival within the margin is pulled down by 1, and the right class up as often: here two of three."""
    scores, right = np.array([1.0, 0.5, 3.0, -4.0]), 0
    assert nn.multiclass_hinge(scores, right) == (0.5 - 1.0 + 1.0) + (3.0 - 1.0 + 1.0)
    assert pulls(nn.multiclass_hinge, right).tolist() == [2.0, -1.0, -1.0, 0.0]


def test_multiclass_softmax():
    """Minus the logarithm of the right share; the pull is what the right class lacks, and what the others have."""
    scores, right = np.array([1.0, 0.5, 3.0, -4.0]), 2
    shares = np.exp(scores) / np.exp(scores).sum()
    assert nn.cross_entropy(scores, right) == pytest.approx(-math.log(shares[right]))
    assert pulls(nn.cross_entropy, right) == pytest.approx((np.arange(4) == right) - shares)


def test_logistic_regression_is_a_softmax_of_two():
    for score in (-30.0, -1.0, 0.0, 2.0):
        two = nn.cross_entropy(np.array([0.0, score]), 1)
        assert nn.binary_cross_entropy_with_logits(score, 1.0) == pytest.approx(two)
        assert -fp.grad(nn.binary_cross_entropy_with_logits)(score, 1.0) == pytest.approx(1.0 - fp.sigmoid(score))


def test_log_likelihood_has_the_squared_errors_slope():
    """The other cost that the article names: through a sigmoid its pull is p - a, without the factor p (1 - p)."""
    p, a = fp.sigmoid(0.7), 1.0
    assert fp.grad(nn.binary_cross_entropy_with_logits)(0.7, a) == pytest.approx(p - a)
    assert fp.grad(lambda z: 0.5 * (fp.sigmoid(z) - a) ** 2)(0.7) == pytest.approx((p - a) * p * (1.0 - p))


# Regression -----------------------------------------------------------------------------------------------------------


def test_regression(rng):
    """The pull on a prediction is how far it is off; with springs, descent ends where ridge regression does."""
    assert fp.grad(nn.squared_error)(2.5, 1.0) == 1.5
    x, y, strength = rng.normal(size=(30, 3)), rng.normal(size=30), 0.5

    def cost(w):
        return 0.5 * ((x @ w - y) ** 2).sum() + regularisers.l2({"weight": w}, strength)

    rule = optim.LBFGS(np.zeros(3), max_iter=200, tolerance_grad=1e-10, tolerance_change=0.0)
    w = rule.step(np.zeros(3), fp.value_and_grad(cost))
    assert w == pytest.approx(np.linalg.solve(x.T @ x + strength * np.eye(3), x.T @ y), abs=1e-8)


# Structured prediction ------------------------------------------------------------------------------------------------


def test_structured_prediction_energy_model(rng):
    """Scores of sequences of three bits: the pull on a link is how often it is true less how often it is expected."""
    alone, link, truth = rng.normal(size=(3, 2)), rng.normal(size=(2, 2)), (0, 1, 1)
    every = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]

    def score(link, row):
        return sum(alone[t, row[t]] for t in range(3)) + link[row[0], row[1]] + link[row[1], row[2]]

    def surprise(link):
        sums = alone[0]
        for t in (1, 2):
            sums = fp.logsumexp(sums[:, None] + link, axis=0) + alone[t]
        return fp.logsumexp(sums) - score(link, truth)

    weights = np.exp([score(link, row) for row in every])
    assert surprise(link) == pytest.approx(math.log(weights.sum()) - score(link, truth))
    expected = np.zeros((2, 2))
    for row, share in zip(every, weights / weights.sum()):
        expected[row[0], row[1]] += share
        expected[row[1], row[2]] += share
    expected[0, 1] -= 1.0
    expected[1, 1] -= 1.0
    assert fp.grad(surprise)(link) == pytest.approx(expected)


# Vectorised implementations -------------------------------------------------------------------------------------------


def test_vectorised_implementation(rng):
    """Two layers in NumPy, backward pass by hand; the same written for one example, whose lanes make the batch."""
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    w1, w2 = rng.normal(size=(4, 8)), rng.normal(size=(8, 3))
    hidden = np.maximum(x @ w1, 0.0)
    scores = hidden @ w2
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -np.log(shares[np.arange(20), y]).mean()
    d_scores = (shares - np.eye(3)[y]) / 20
    d_hidden = np.where(hidden > 0.0, d_scores @ w2.T, 0.0)

    def one(params, x, y):
        return nn.cross_entropy(fp.relu(x @ params[0]) @ params[1], y)

    step = fp.compile(fp.value_and_grad(fp.vmap(one, in_axes=(None, 0, 0), reduce="mean")))
    value, (d_w1, d_w2) = step([w1, w2], x, y)
    assert value == pytest.approx(loss)
    assert d_w1 == pytest.approx(x.T @ d_hidden)
    assert d_w2 == pytest.approx(hidden.T @ d_scores)


# Tips and tricks ------------------------------------------------------------------------------------------------------


def bowl(w):
    """Steep one way, shallow the other."""
    return 0.5 * (100.0 * w[0] ** 2 + w[1] ** 2)


def steps_to(rule, most=2000):
    """How many steps a rule takes to the bottom of the bowl."""
    w, step = np.array([1.0, 1.0]), fp.compile(fp.value_and_grad(bowl))
    for k in range(most):
        value, gradient = step(w)
        if value < 1e-6:
            return k
        w = rule.step(w, gradient)
    return most


def test_monitoring_cost_and_validation(rng):
    x, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = nn.Sequential(nn.Linear(2, 30, rng=rng), nn.Tanh(), nn.Linear(30, 1, rng=rng))
    history = fp.fit(
        model,
        lambda output, wanted: nn.squared_error(output[0], wanted),
        (x, y),
        optim.Adam(model, lr=0.03),
        epochs=60,
        validation=0.5,
        rng=0,
    )
    assert len(history.losses) == len(history.validation_losses) == 60
    # There is nothing to learn but noise: the cost falls, the validation's does not, and the best epoch was long ago.
    assert history.losses[-1] < 0.8 * history.losses[0]
    assert history.best.number < 40
    assert history.validation_losses[-1] > history.best.validation_loss


def test_initial_learning_rate(rng):
    x = rng.normal(size=(64, 3))
    model = nn.Linear(3, 1, rng=rng)
    data = x, x @ np.array([[1.0], [2.0], [-1.0]])
    found = find_rate(model, nn.squared_error, data, optim.SGD(model), rng=0)

    def fit(rate):
        model = nn.Linear(3, 1, rng=0)
        return fp.fit(model, nn.squared_error, data, optim.SGD(model, lr=rate), epochs=300, rng=0)

    assert fit(found.suggestion).losses[-1] < 1e-3
    assert fit(found.suggestion / 1000.0).losses[-1] > 0.1
    with pytest.warns(RuntimeWarning, match="the loss became inf"):
        assert fit(30.0 * found.suggestion).stopped == "diverged"


def test_annealed_learning_rate(rng):
    """Noisy pulls never let a constant rate settle; one that falls does: "high at first, decays as it gets closer"."""
    noise, ends = rng.normal(size=2000), {}
    for name, schedule in {"constant": None, "annealed": optim.InverseTime(0.05)}.items():
        w, tail = np.array(3.0), []
        rule = optim.SGD(w, lr=0.5, schedule=schedule)
        for pull in noise:
            w = rule.step(w, w - 1.0 + pull)
            tail.append(abs(float(w) - 1.0))
        ends[name] = np.mean(tail[-500:])
    assert ends["annealed"] < 0.3 * ends["constant"]


def test_momentum_as_the_article_writes_it():
    """V := μ V - α dJ/dW; W := W + V."""
    w, v = 3.0, 0.0
    numbers, rule = np.array(3.0), optim.SGD(np.array(3.0), lr=0.01, momentum=0.9, rate_inside=True)
    for _ in range(30):
        v = 0.9 * v - 0.01 * (w - 1.0)
        w = w + v
        numbers = rule.step(numbers, numbers - 1.0)
        assert float(numbers) == pytest.approx(w, rel=1e-14)


def test_optimization_momentum_nesterov_and_lbfgs():
    start = np.array([1.0, 1.0])
    plain = steps_to(optim.SGD(start, lr=0.01))
    momentum = steps_to(optim.SGD(start, lr=0.01, momentum=0.9))
    nesterov = steps_to(optim.SGD(start, lr=0.01, momentum=0.9, nesterov=True))
    assert nesterov < momentum < 0.5 * plain
    rule = optim.LBFGS(start, max_iter=50)
    rule.step(start, fp.value_and_grad(bowl))
    assert rule.value < 1e-9
    assert rule.iterations < 20


@pytest.mark.parametrize("rule", [optim.Adagrad, optim.Adam], ids=lambda rule: rule.__name__)
def test_the_more_popular_ones_do_not_mind_the_scale(rule):
    """Of a bowl that is steep in one direction, both numbers come down alike."""
    w = np.array([1.0, 1.0])
    made = rule(w, lr=0.1)
    for _ in range(5):
        w = made.step(w, fp.grad(bowl)(w))
    assert w[0] == pytest.approx(w[1], rel=1e-6)


def test_importance_of_initialisation(rng):
    """Weights of variance 2/n keep the mean square of what relu neurons say; others shrink or blow it up, by layers."""
    x = rng.normal(size=(200, 100))

    def after(layers, factor):
        signals = x
        for _ in range(layers):
            signals = np.maximum(signals @ (factor * nn.init.he_normal((100, 100), rng)).T, 0.0)
        return np.mean(signals**2)

    assert after(1, 1.0) == pytest.approx(1.0, rel=0.1)
    assert 0.3 < after(8, 1.0) < 3.0
    assert after(8, 0.5) < 0.01
    assert after(8, 2.0) > 100.0


def test_all_weights_zero_is_told():
    with pytest.warns(UserWarning, match="symmetry"):
        nn.Sequential(nn.Linear(3, 4, init="zeros"), nn.ReLU(), nn.Linear(4, 1))


def test_vanishing_gradient():
    """A sigmoid's slope is a quarter at most, so a pull through three of them is at most a 64th of itself."""
    x = fp.Unit(0.0)
    fp.sigmoid(fp.sigmoid(fp.sigmoid(x) - 0.5) - 0.5).backward()
    assert x.grad == 0.25**3
    for at in (-3.0, 0.5, 8.0):
        assert fp.grad(lambda x: fp.sigmoid(fp.sigmoid(fp.sigmoid(x) - 0.5) - 0.5))(at) < 0.25**3


def test_regularization_pulls():
    """L2 like a spring, L1 with a constant force, group sparsity on a whole row along itself; biases are let alone."""
    params = {"weight": np.array([[3.0, -4.0], [0.0, 0.0]]), "bias": np.array([5.0])}

    def pull(regulariser, *strengths):
        found = fp.grad(lambda params: regulariser(params, *strengths))(params)
        assert found["bias"].tolist() == [0.0]
        return (-found["weight"]).tolist()

    assert pull(regularisers.l2, 0.5) == [[-1.5, 2.0], [0.0, 0.0]]
    assert pull(regularisers.l1, 0.5) == [[-0.5, 0.5], [0.0, 0.0]]
    assert pull(regularisers.group_sparsity, 0.5) == pytest.approx(np.array([[-0.3, 0.4], [0.0, 0.0]]))


def test_dropout_leaves_the_mean():
    layer = nn.Dropout(0.25)
    kept = np.mean([layer(np.ones(1000), key=key) for key in range(50)])
    assert kept == pytest.approx(1.0, abs=0.01)
    assert layer.eval()(np.ones(3)).tolist() == [1.0, 1.0, 1.0]


def test_dying_relus():
    """A neuron below zero at all examples gets no pull, whatever the loss; a leak lets one through."""
    x = np.array([[0.5, 1.0], [2.0, 0.25], [1.0, 1.5]])

    def gradient(act):
        return fp.grad(lambda w: sum(act(row @ w) ** 2 - 3.0 * act(row @ w) for row in x))(np.array([-1.0, -1.0]))

    assert gradient(fp.relu).tolist() == [0.0, 0.0]
    assert np.all(gradient(fp.leaky_relu) != 0.0)


def test_unbalanced_data(rng):
    """Of a hundred examples one is positive. Weighing classes up moves the boundary as if there were many."""
    x = np.concatenate([rng.normal(-1.0, 1.0, 990), rng.normal(1.0, 1.0, 10)])[:, None]
    y = np.repeat([0, 1], [990, 10])
    found = {}
    for name, weights in {"plain": None, "weighed": {0: 1.0, 1: 99.0}}.items():
        model = nn.Linear(1, 2, rng=0)
        rule = optim.Adam(model, lr=0.05)
        fp.fit(model, nn.cross_entropy, (x, y), rule, epochs=150, batch_size=1000, class_weight=weights, rng=0)
        weight, bias = model.weight.value, model.bias.value
        found[name] = (bias[0] - bias[1]) / (weight[1, 0] - weight[0, 0])
    # Two bells of the same width at -1 and 1, as if there were as many of each: the boundary is in the middle.
    assert abs(found["weighed"]) < 0.5
    assert found["plain"] > 1.0


def test_debugging_gradient_check_finds_the_wrong_gate():
    class Wrong(fp.Gate):
        """A square whose backward pass forgot the factor of two."""

        def forward(self, x):
            return x * x

        def backward(self, pull, x):
            return x * pull

    wrong = Wrong()
    with pytest.raises(AssertionError):
        fp.check_grads(wrong, (3.0,))
    model = nn.Linear(2, 1, rng=0)
    data = np.array([[1.0, 2.0], [-1.0, 0.5]]), np.zeros(2)
    assert check_gradients(model, lambda output, _: output[0] ** 2, data) < 1e-6
    with pytest.raises(AssertionError):
        check_gradients(model, lambda output, _: wrong(output[0]), data)


def test_convergence_or_the_maximum_of_iterations():
    """Training is complete where the gradient is nearly nothing; in reality it also stops at some number of steps."""
    x = np.linspace(-1.0, 1.0, 20)
    data = x, 3.0 * x

    def fit(epochs):
        params = np.array(0.0)
        return fp.fit(
            lambda w, x: w * x,
            nn.squared_error,
            data,
            optim.SGD(params, lr=0.5),
            params=params,
            epochs=epochs,
            batch_size=20,
            tolerance=1e-6,
        )

    history = fit(500)
    assert history.stopped == "converged"
    assert float(history.params) == pytest.approx(3.0, abs=1e-5)
    assert fit(3).stopped == "epochs"


# Before backpropagation -----------------------------------------------------------------------------------------------


def test_before_backpropagation():
    """Perturbing, the other way round or by less where it does not help, and breeding: slow ways to get there."""
    calls = 0

    def fitness(weights):
        nonlocal calls
        calls += 1
        return -float(((weights - np.array([1.0, -2.0, 0.5])) ** 2).sum())

    def found(search, **options):
        nonlocal calls
        calls = 0
        (weights,), value = search(fitness, (np.zeros(3),), **options)
        assert value > -0.01
        assert np.allclose(weights, [1.0, -2.0, 0.5], atol=0.1)
        return calls

    assert found(optim.coordinate_search, step=0.5) > 30
    assert found(optim.genetic_search) > 300
    # Knowing the slope, half a dozen evaluations are enough.
    w = np.zeros(3)
    rule = optim.SGD(w, lr=0.4)
    for _ in range(6):
        w = rule.step(w, 2.0 * (w - np.array([1.0, -2.0, 0.5])))
    assert np.allclose(w, [1.0, -2.0, 0.5], atol=0.1)
