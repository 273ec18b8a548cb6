"""The formulas of "The Backpropagation Algorithm, Explained", up to its layers and gradient check."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest

POINTS = [-30.0, -2.0, -0.5, 0.0, 0.75, 3.0, 30.0]


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def layer(fp, weights, inputs):
    """Sigmoid neurons without a bias: weights[i][j] leads from input i to neuron j."""
    return [fp.sigmoid(fp.dot([row[j] for row in weights], inputs)) for j in range(len(weights[0]))]


def units(fp, matrix):
    return [[fp.Unit(weight) for weight in row] for row in matrix]


def test_introduction_to_neural_networks_activation(engine):
    fp = engine
    weights, inputs = [0.5, -1.0, 2.0], [1.0, 3.0, 0.25]
    for act in (fp.sigmoid, fp.tanh, fp.relu):
        activation = act(fp.dot([fp.Unit(weight) for weight in weights], inputs))
        assert activation.value == act(0.5 - 3.0 + 0.5)


def test_minimizing_the_cost_function_gradient_descent(engine):
    """One weight, one bowl: big steps where it is steep, ever smaller ones near the bottom."""
    fp = engine
    w = fp.Unit(3.0)
    steps = []
    for _ in range(100):
        w.grad = 0.0
        ((w - 1.0) ** 2).backward()
        steps.append(0.1 * w.grad)
        w.value = w.value - 0.1 * w.grad
    assert steps[0] == pytest.approx(0.4)
    assert all(0.0 <= after < before for before, after in pairwise(steps))
    assert w.value == pytest.approx(1.0)


@pytest.mark.parametrize(("rate", "distance"), [(0.01, "far"), (0.3, "near"), (1.1, "farther than at first")])
def test_minimizing_the_cost_function_learning_rate(engine, rate, distance):
    w = engine.Unit(3.0)
    for _ in range(50):
        w.grad = 0.0
        ((w - 1.0) ** 2).backward()
        w.value -= rate * w.grad
    off = abs(w.value - 1.0)
    assert {"near": off < 1e-9, "far": 0.1 < off < 2.0, "farther than at first": off > 2.0}[distance]


def test_minimizing_the_cost_function_momentum(engine):
    fp = engine
    shallow = {}
    for mu in (0.0, 0.9):
        w, velocity, velocities = fp.Unit(3.0), 0.0, []
        for _ in range(100):
            w.grad = 0.0
            (0.5 * (w - 1.0) ** 2).backward()
            velocity = mu * velocity - 0.01 * w.grad
            w.value += velocity
            velocities.append(abs(velocity))
        shallow[mu] = abs(w.value - 1.0), velocities
    # The first steps are alike, then the one with momentum picks up speed, gets farther, and slows down again.
    assert shallow[0.0][1][0] == shallow[0.9][1][0]
    assert shallow[0.9][1][0] < shallow[0.9][1][5] > shallow[0.9][1][-1]
    assert shallow[0.9][0] < 0.1 < shallow[0.0][0]


@pytest.mark.parametrize("act", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("at", [(0.3, -0.7, 1.1, 0.9), (-1.5, -2.0, -0.25, 1.3)])
def test_the_backpropagation_algorithm_composite_function(engine, act, at):
    """A chain of three neurons of one weight: the derivative is the product of those of its links."""
    fp = engine
    act = getattr(fp, act)
    w1, w2, w3, given = (fp.Unit(value) for value in at)
    hidden1 = act(w1 * given)
    hidden2 = act(w2 * hidden1)
    output = act(w3 * hidden2)
    output.backward()
    slope = fp.grad(act)
    assert output.value == act(at[2] * act(at[1] * act(at[0] * at[3])))
    output_by_hidden2 = slope(at[2] * hidden2.value) * at[2]
    hidden2_by_hidden1 = slope(at[1] * hidden1.value) * at[1]
    hidden1_by_w1 = slope(at[0] * at[3]) * at[3]
    assert w1.grad == pytest.approx(output_by_hidden2 * hidden2_by_hidden1 * hidden1_by_w1)
    assert hidden2.grad == pytest.approx(output_by_hidden2)
    assert hidden1.grad == pytest.approx(output_by_hidden2 * hidden2_by_hidden1)


def test_the_backpropagation_algorithm_error_at_the_tail(engine):
    """A box at the end adds one link to the chain, and nothing else changes."""
    fp = engine
    actual = 0.25
    w1, output_only = fp.Unit(0.3), fp.Unit(0.3)

    def output(w1):
        return fp.sigmoid(1.1 * fp.sigmoid(-0.7 * fp.sigmoid(w1 * 0.9)))

    output(output_only).backward()
    predicted = output(w1)
    (0.5 * (predicted - actual) ** 2).backward()
    assert predicted.grad == pytest.approx(predicted.value - actual)
    assert w1.grad == pytest.approx((predicted.value - actual) * output_only.grad)


@pytest.mark.parametrize("predicted", POINTS)
def test_error_function(engine, predicted):
    fp = engine
    assert fp.grad(lambda p: 0.5 * (p - 1.25) ** 2)(predicted) == predicted - 1.25


def test_error_function_of_vectors(engine):
    fp = engine
    predicted, actual = [0.5, -1.0, 2.0], [1.0, 1.0, -0.5]
    error = lambda p: 0.5 * fp.sum([(pj - aj) ** 2 for pj, aj in zip(p, actual)])  # noqa: E731
    assert fp.grad(error)(predicted) == [-0.5, -2.0, 2.5]


@pytest.mark.parametrize(
    ("x", "value", "slope"), [(-3.0, 0.0, 0.0), (-0.1, 0.0, 0.0), (0.1, 0.1, 1.0), (3.0, 3.0, 1.0)]
)
def test_activation_function_relu(engine, x, value, slope):
    fp = engine
    assert fp.value_and_grad(fp.relu)(x) == (value, slope)


@pytest.mark.parametrize("x", [-2.0, 2.0])
def test_activation_function_step_has_no_slope(engine, x):
    fp = engine
    assert fp.grad(lambda x: 0.5 * (fp.sign(x) + 1.0))(x) == 0.0


@pytest.mark.parametrize("alpha", POINTS)
def test_activation_function_sigmoid(engine, alpha):
    """The slope in the forms of the derivation, the denominator squared as its erratum has it."""
    fp = engine
    value, slope = fp.value_and_grad(fp.sigmoid)(alpha)
    e = math.exp(-alpha)
    assert value == pytest.approx(1.0 / (1.0 + e))
    assert slope == pytest.approx(e * (1.0 + e) ** -2)
    assert slope == pytest.approx((1.0 + e - 1.0) / (1.0 + e) ** 2, abs=1e-15)
    assert slope == pytest.approx(value * (1.0 - value), abs=1e-15)


def weights_of_the_3_3_3_1_network(seed):
    draw = random.Random(seed).uniform
    shapes = [(3, 3), (3, 3), (3, 1)]
    return [[[draw(-1.5, 1.5) for _ in range(columns)] for _ in range(rows)] for rows, columns in shapes]


def network_error(fp, weights, inputs, actual):
    y = layer(fp, weights[0], inputs)
    z = layer(fp, weights[1], y)
    (p,) = layer(fp, weights[2], z)
    return y, z, p, 0.5 * (p - actual) ** 2


INPUTS, ACTUAL = [0.6, -1.2, 0.9], 0.2


@pytest.mark.parametrize("seed", range(4))
def test_3_3_3_1_network_closed_formula(engine, seed):
    """The derivative by a first-layer weight, read as what it says of one weight: paths that start at that weight."""
    w1, w2, w3 = (units(engine, matrix) for matrix in weights_of_the_3_3_3_1_network(seed))
    y, z, p, error = network_error(engine, (w1, w2, w3), INPUTS, ACTUAL)
    error.backward()
    y, z, p = [unit.value for unit in y], [unit.value for unit in z], p.value
    delta = (p - ACTUAL) * p * (1.0 - p)
    for i in range(3):
        for j in range(3):
            paths = sum(w3[k][0].value * z[k] * (1.0 - z[k]) * w2[j][k].value for k in range(3))
            assert w1[i][j].grad == pytest.approx(delta * paths * y[j] * (1.0 - y[j]) * INPUTS[i])
            expected = delta * w3[j][0].value * z[j] * (1.0 - z[j]) * y[i]
            assert w2[i][j].grad == pytest.approx(expected)
        assert w3[i][0].grad == pytest.approx(delta * z[i])


@pytest.mark.parametrize("seed", range(4))
def test_3_3_3_1_network_closed_formula_with_every_sum_written_out(engine, seed):
    """The same, read literally: with a sum over x too, it is the derivative by all first-layer weights at once."""
    fp = engine
    weights = weights_of_the_3_3_3_1_network(seed)
    w1 = units(fp, weights[0])
    y, z, p, error = network_error(fp, (w1, *weights[1:]), INPUTS, ACTUAL)
    error.backward()
    y, z, p = [unit.value for unit in y], [unit.value for unit in z], p.value
    inner = [sum(weights[1][j][k] * y[j] * (1.0 - y[j]) * sum(INPUTS) for j in range(3)) for k in range(3)]
    outer = sum(weights[2][k][0] * z[k] * (1.0 - z[k]) * inner[k] for k in range(3))
    formula = (p - ACTUAL) * p * (1.0 - p) * outer
    assert sum(weight.grad for row in w1 for weight in row) == pytest.approx(formula)
    ones = [[1.0] * 3 for _ in range(3)]
    _, tangent = fp.jvp(lambda w1: network_error(fp, (w1, *weights[1:]), INPUTS, ACTUAL)[3], (weights[0],), (ones,))
    assert tangent == pytest.approx(formula)


def descend(fp, weights, steps, rate):
    """Gradient descent on one example; gives the errors on the way."""
    leaves = [leaf for matrix in weights for row in matrix for leaf in row]
    errors = []
    for _ in range(steps):
        *_, error = network_error(fp, weights, INPUTS, ACTUAL)
        fp.zero_grad(leaves)
        error.backward()
        errors.append(error.value)
        for leaf in leaves:
            leaf.value -= rate * leaf.grad
    return errors


def test_neural_network_training_overview(engine):
    fp = engine
    weights = [units(fp, matrix) for matrix in weights_of_the_3_3_3_1_network(0)]
    errors = descend(fp, weights, steps=500, rate=1.0)
    assert errors[-1] < 1e-6 < errors[0]
    assert max(abs(leaf.grad) for matrix in weights for row in matrix for leaf in row) < 1e-3


def test_neural_network_training_overview_zero_weights_stay_alike(engine):
    fp = engine
    same = [units(fp, [[0.0] * columns for _ in range(3)]) for columns in (3, 3, 1)]
    descend(fp, same, steps=20, rate=1.0)
    for matrix in same[:2]:
        assert all(row[0].value == row[1].value == row[2].value for row in matrix)
    different = [units(fp, matrix) for matrix in weights_of_the_3_3_3_1_network(0)]
    descend(fp, different, steps=20, rate=1.0)
    for matrix in different[:2]:
        assert all(len({leaf.value for leaf in row}) == 3 for row in matrix)


class ReluLayer:
    """The article's layer: initialise, forward, backward, update. The engine does what `backward` did by hand there."""

    def __init__(self, fp, size_in, size_out, rng):
        self.fp = fp
        self.weights = units(fp, rng.normal(size=(size_in, size_out)) * np.sqrt(2.0 / size_in))

    def forward(self, activations):
        self.inputs = [self.fp.Unit(value) for value in activations]
        columns = zip(*self.weights)
        self.outputs = [self.fp.relu(self.fp.dot(column, self.inputs)) for column in columns]
        return [output.value for output in self.outputs]

    def backward(self, pulls):
        self.fp.zero_grad([leaf for row in self.weights for leaf in row])
        for output, pull in zip(self.outputs, pulls):
            output.backward(pull)
        return [leaf.grad for leaf in self.inputs]

    def update(self, alpha):
        for row in self.weights:
            for leaf in row:
                leaf.value -= alpha * leaf.grad

    def matrix(self):
        return np.array([[leaf.value for leaf in row] for row in self.weights])


def rows(weights):
    return [[leaf.grad for leaf in row] for row in weights]


def test_implementing_backpropagation_initialisation(engine):
    matrix = ReluLayer(engine, 50, 40, np.random.default_rng(0)).matrix()
    assert matrix.shape == (50, 40)
    assert matrix.mean() == pytest.approx(0.0, abs=0.02)
    assert matrix.var() == pytest.approx(2.0 / 50.0, rel=0.1)


def test_implementing_backpropagation_layer(engine):
    """Forward, backward and update of one layer, against the same in matrices."""
    rng = np.random.default_rng(1)
    relu = ReluLayer(engine, 4, 5, rng)
    inputs, pulls, before = rng.normal(size=4), rng.normal(size=5), relu.matrix()
    sums = inputs @ before
    assert (sums < 0.0).any()
    assert (sums > 0.0).any()
    assert relu.forward(inputs.tolist()) == pytest.approx(np.maximum(sums, 0.0))
    passed = np.where(sums > 0.0, pulls, 0.0)
    assert relu.backward(pulls.tolist()) == pytest.approx(before @ passed)
    assert np.array(rows(relu.weights)) == pytest.approx(np.outer(inputs, passed))
    assert np.array_equal(relu.matrix(), before)  # the sweep has no part in the weights; only the update has
    relu.update(0.1)
    assert relu.matrix() == pytest.approx(before - 0.1 * np.outer(inputs, passed))


def test_implementing_backpropagation_layer_of_arrays(engine):
    """The same layer, a whole matrix in one gate."""
    fp = engine
    rng = np.random.default_rng(1)
    weights, inputs, pulls = rng.normal(size=(4, 5)), rng.normal(size=4), rng.normal(size=5)
    w, x = fp.Array(weights), fp.Array(inputs)
    activations = fp.relu(x @ w)
    activations.backward(pulls)
    passed = np.where(inputs @ weights > 0.0, pulls, 0.0)
    assert activations.value == pytest.approx(np.maximum(inputs @ weights, 0.0))
    assert w.grad == pytest.approx(np.outer(inputs, passed))
    assert x.grad == pytest.approx(weights @ passed)
    w.value -= 0.1 * w.grad
    assert w.value == pytest.approx(weights - 0.1 * np.outer(inputs, passed))


def test_implementing_backpropagation_pulls_add_up(engine):
    """What each of the following neurons wants of an output, added up, is the pull on it."""
    rng = np.random.default_rng(3)
    first, second = ReluLayer(engine, 4, 5, rng), ReluLayer(engine, 5, 3, rng)
    inputs = rng.normal(size=4).tolist()
    second.forward(first.forward(inputs))
    wishes = []
    for neuron in range(3):
        engine.zero_grad(second.inputs)
        wishes.append(second.backward([float(k == neuron) for k in range(3)]))
    total = np.sum(wishes, axis=0).tolist()
    engine.zero_grad(second.inputs)
    assert second.backward([1.0, 1.0, 1.0]) == pytest.approx(total)
    by_rows = first.backward(total)
    x = [engine.Unit(value) for value in inputs]
    hidden = [engine.relu(engine.dot(column, x)) for column in zip(*first.weights)]
    outputs = [engine.relu(engine.dot(column, hidden)) for column in zip(*second.weights)]
    engine.sum(outputs).backward()
    assert [leaf.grad for leaf in x] == pytest.approx(by_rows)


def cost(layers, inputs, actual):
    for relu in layers:
        inputs = relu.forward(inputs)
    return 0.5 * sum((p - a) ** 2 for p, a in zip(inputs, actual)), [p - a for p, a in zip(inputs, actual)]


def backward(layers, pulls):
    for relu in reversed(layers):
        pulls = relu.backward(pulls)
    return pulls


def test_implementing_backpropagation_training(engine):
    rng = np.random.default_rng(2)
    layers = [ReluLayer(engine, 3, 8, rng), ReluLayer(engine, 8, 2, rng)]
    inputs, actual = [0.5, -1.0, 2.0], [1.0, 0.25]
    costs = []
    for _ in range(200):
        value, pulls = cost(layers, inputs, actual)
        costs.append(value)
        backward(layers, pulls)
        for relu in layers:
            relu.update(0.02)
    assert costs[-1] < 1e-6 < costs[0]


def test_implementing_backpropagation_bias(engine):
    """A column of ones among the inputs makes its weights the biases."""
    fp = engine
    rng = np.random.default_rng(2)
    relu = ReluLayer(fp, 4, 3, rng)
    sums = np.array([0.5, -1.0, 2.0]) @ relu.matrix()[1:] + relu.matrix()[0]
    assert relu.forward([1.0, 0.5, -1.0, 2.0]) == pytest.approx(np.maximum(sums, 0.0))
    relu.backward([1.0, 1.0, 1.0])
    assert [leaf.grad for leaf in relu.weights[0]] == np.where(sums > 0.0, 1.0, 0.0).tolist()


def test_implementing_backpropagation_gradient_check(engine):
    """Every weight of two layers nudged by hand, and both layers by check_grads."""
    fp = engine
    rng = np.random.default_rng(18)
    layers = [ReluLayer(fp, 3, 4, rng), ReluLayer(fp, 4, 2, rng)]
    inputs, actual = [0.5, -1.0, 2.0], [1.0, 0.25]
    backward(layers, cost(layers, inputs, actual)[1])
    gradients = [rows(relu.weights) for relu in layers]
    for relu, expected in zip(layers, gradients):
        for row, expected_row in zip(relu.weights, expected):
            for leaf, gradient in zip(row, expected_row):
                at = leaf.value
                leaf.value = at + 1e-6
                above, _ = cost(layers, inputs, actual)
                leaf.value = at - 1e-6
                below, _ = cost(layers, inputs, actual)
                leaf.value = at
                assert (above - below) / 2e-6 == pytest.approx(gradient, rel=1e-6, abs=1e-8)

    def error(*weights):
        signals = inputs
        for matrix in weights:
            signals = [fp.relu(fp.dot(column, signals)) for column in zip(*matrix)]
        return 0.5 * fp.sum([(p - a) ** 2 for p, a in zip(signals, actual)])

    fp.check_grads(error, tuple(relu.matrix().tolist() for relu in layers), order=1)
