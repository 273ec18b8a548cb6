"""Every number of the Hacker's guide, chapter 2 (machine learning), up to and including its section on loss functions.

The guide picks examples with JavaScript's random numbers, which nobody can repeat. Here a seed picks them, and
the tests hold the trainings to what the text says of them.
"""

import random

import pytest

DATA = [(1.2, 0.7), (-0.3, -0.5), (3.0, 0.1), (-0.1, -1.0), (-1.0, 1.1), (2.1, -3.0)]
LABELS = [1, -1, 1, -1, -1, 1]
STEP = 0.01
START = (1.0, -2.0, -1.0)


def picks(seed, count=400):
    """Indices into DATA; random() is the one stream that Python promises to keep."""
    draw = random.Random(seed).random
    return [int(draw() * len(DATA)) for _ in range(count)]


def force(score, label):
    """The force specification: pull up what is too low, down what is too high, leave the rest alone."""
    if label == 1 and score < 1:
        return 1.0
    if label == -1 and score > -1:
        return -1.0
    return 0.0


def sorted_right(score, examples=DATA, labels=LABELS):
    """How many examples have a score of the right sign."""
    return sum((score(x, y) > 0) == (label == 1) for (x, y), label in zip(examples, labels))


class Machine:
    """A support vector machine on three leaves, which knows nothing of its circuit but how to pull on it."""

    def __init__(self, fp, a, b, c):
        self.fp = fp
        self.parameters = self.a, self.b, self.c = fp.Unit(a), fp.Unit(b), fp.Unit(c)

    def forward(self, x, y):
        return self.a * x + self.b * y + self.c

    def backward(self, score, label):
        self.fp.zero_grad(self.parameters)
        score.backward(force(score.value, label))
        self.a.grad -= self.a.value
        self.b.grad -= self.b.value

    def learn_from(self, x, y, label):
        self.backward(self.forward(x, y), label)
        for leaf in self.parameters:
            leaf.value += STEP * leaf.grad

    def score(self, x, y):
        return self.forward(x, y).value


def test_binary_classification(engine):
    examples = [(1.2, 0.7), (-0.3, 0.5), (-3.0, -1.0), (0.1, 1.0), (3.0, 1.1), (2.1, -3.0)]
    labels = [1, -1, 1, -1, -1, 1]
    assert len(examples) == 6
    assert (labels.count(1), labels.count(-1)) == (3, 3)
    assert sorted_right(Machine(engine, *START).score, examples, labels) == 4


def test_training_protocol(engine):
    fp = engine
    a, b, c, x, y = leaves = [fp.Unit(value) for value in (*START, 1.2, 0.7)]
    score = a * x + b * y + c
    assert round(score.value, 10) == -1.2
    score.backward()  # a positive example with a low score: tug upwards
    assert [leaf.grad for leaf in leaves] == [1.2, 0.7, 1.0, 1.0, -2.0]  # the circuit can't tell data from parameters
    for leaf in (a, b, c):
        leaf.value += STEP * leaf.grad
    assert (a * x + b * y + c).value > score.value


def test_support_vector_machine_force_specification_pulls(engine):
    machine = Machine(engine, *START)
    score = machine.forward(1.2, 0.7)
    assert round(score.value, 10) == -1.2
    assert force(score.value, 1) == 1.0
    machine.backward(score, 1)
    # The circuit pulls with (1.2, 0.7, 1); the springs with -1 on a and +2 on b.
    assert [leaf.grad for leaf in machine.parameters] == pytest.approx([1.2 - 1.0, 0.7 + 2.0, 1.0])


def test_support_vector_machine_force_specification_leaves_alone(engine):
    machine = Machine(engine, *START)
    score = machine.forward(-0.3, 0.5)
    assert round(score.value, 10) == -2.3
    assert force(score.value, -1) == 0.0
    machine.backward(score, -1)
    assert [leaf.grad for leaf in machine.parameters] == [-1.0, 2.0, 0.0]


def test_learning_a_support_vector_machine(engine):
    """From a third of the examples right to all of them from iteration 300 on, as in the guide's table."""
    # The guide's table starts at 2 of 6, which its data do not give at the parameters that it prints (next test): its
    # run began elsewhere. So does this one.
    machine = Machine(engine, 0.5, 1.0, 1.2)
    right = []
    for iteration, i in enumerate(picks(seed=1)):
        machine.learn_from(*DATA[i], LABELS[i])
        if iteration % 25 == 0:
            right.append(sorted_right(machine.score))
    assert right[0] == 2
    assert right[12:] == [6, 6, 6, 6]
    assert right == sorted(right)


def test_learning_a_support_vector_machine_from_the_printed_parameters(engine):
    machine = Machine(engine, *START)
    assert sorted_right(machine.score) == 4
    for i in picks(seed=6):
        machine.learn_from(*DATA[i], LABELS[i])
    assert sorted_right(machine.score) == 6


@pytest.mark.parametrize("seed", range(3))
def test_much_simpler_code_gives_an_identical_result(engine, seed):
    machine = Machine(engine, *START)
    a, b, c = START
    for i in picks(seed):
        (x, y), label = DATA[i], LABELS[i]
        machine.learn_from(x, y, label)
        pull = force(a * x + b * y + c, label)
        a += STEP * (x * pull - a)
        b += STEP * (y * pull - b)
        c += STEP * pull
        assert [leaf.value for leaf in machine.parameters] == [a, b, c]


@pytest.mark.parametrize("label", [1, -1])
@pytest.mark.parametrize("score", [-100.0, -1.5, -0.5, 0.5, 1.5, 100.0])
def test_force_specification_and_loss_function_are_the_same(engine, score, label):
    fp = engine
    hinge = fp.grad(lambda score: fp.relu(1.0 - label * score))
    assert -hinge(score) == force(score, label)


def test_variable_pull_squared_hinge(engine):
    fp = engine

    def pull(score, label):
        return -fp.grad(lambda score: 0.5 * fp.relu(1.0 - label * score) ** 2)(score)

    assert pull(2.0, 1) == 0.0
    assert pull(-1.2, 1) == pytest.approx(2.2)  # as strong as the mistake is bad: 1 - (-1.2)
    assert pull(0.5, -1) == pytest.approx(-1.5)
    # An outlier: a negative example with a score of +100. The hinge pulls with -1, whatever the mistake.
    assert force(100.0, -1) == -1.0
    assert pull(100.0, -1) == -101.0


class Network:
    """Two layers: three relu neurons, and a weighted sum of them. Row k of `hidden` is (a_k, b_k, c_k)."""

    def __init__(self, fp, hidden, output):
        self.fp = fp
        self.hidden = [[fp.Unit(value) for value in row] for row in hidden]
        self.output = [fp.Unit(value) for value in output]
        self.parameters = [leaf for row in (*self.hidden, self.output) for leaf in row]
        self.sprung = [leaf for row in self.hidden for leaf in row[:2]] + self.output[:3]

    def forward(self, x, y):
        n1, n2, n3 = (self.fp.relu(a * x + b * y + c) for a, b, c in self.hidden)
        a4, b4, c4, d4 = self.output
        return a4 * n1 + b4 * n2 + c4 * n3 + d4

    def backward(self, score, label):
        self.fp.zero_grad(self.parameters)
        score.backward(force(score.value, label))
        for leaf in self.sprung:
            leaf.grad -= leaf.value

    def score(self, x, y):
        return self.forward(x, y).value


def network_by_hand(values, x, y, label):
    """Score and pulls of the same network on plain floats: forward, then backward wire by wire."""
    rows, (a4, b4, c4, _) = [values[0:3], values[3:6], values[6:9]], values[9:]
    n = [max(0.0, a * x + b * y + c) for a, b, c in rows]
    score = a4 * n[0] + b4 * n[1] + c4 * n[2] + values[12]
    dscore = force(score, label)
    pulls = []
    for (a, b, _), fired, above in zip(rows, n, (a4, b4, c4)):
        dn = above * dscore if fired else 0.0
        pulls += [x * dn - a, y * dn - b, dn]
    pulls += [fired * dscore - weight for fired, weight in zip(n, (a4, b4, c4))]
    return score, [*pulls, dscore]


def random_parameters(seed):
    draw = random.Random(seed).random
    return [draw() - 0.5 for _ in range(13)], draw


@pytest.mark.parametrize("seed", range(5))
def test_generalizing_the_svm_into_a_neural_network(engine, seed):
    values, _ = random_parameters(seed)
    for (x, y), label in zip(DATA, LABELS):
        network = Network(engine, [values[0:3], values[3:6], values[6:9]], values[9:])
        score = network.forward(x, y)
        network.backward(score, label)
        expected_score, expected_pulls = network_by_hand(values, x, y, label)
        assert score.value == pytest.approx(expected_score, rel=1e-14)
        assert [leaf.grad for leaf in network.parameters] == pytest.approx(expected_pulls, rel=1e-14)


def test_generalizing_the_svm_into_a_neural_network_training(engine):
    values, draw = random_parameters(62)
    network = Network(engine, [values[0:3], values[3:6], values[6:9]], values[9:])
    assert sorted_right(network.score) == 3
    for _ in range(400):
        i = int(draw() * len(DATA))
        network.backward(network.forward(*DATA[i]), LABELS[i])
        _, pulls = network_by_hand(values, *DATA[i], LABELS[i])
        values = [value + STEP * pull for value, pull in zip(values, pulls)]
        for leaf in network.parameters:
            leaf.value += STEP * leaf.grad
    assert [leaf.value for leaf in network.parameters] == pytest.approx(values, rel=1e-9)
    assert sorted_right(network.score) == 6


def test_generalizing_the_svm_into_a_neural_network_next_time_is_better(engine):
    values, _ = random_parameters(0)
    for (x, y), label in zip(DATA, LABELS):
        network = Network(engine, [values[0:3], values[3:6], values[6:9]], values[9:])
        before = network.forward(x, y)
        before.backward(force(before.value, label))
        for leaf in network.parameters:
            leaf.value += STEP * leaf.grad
        assert label * network.score(x, y) > label * before.value


X = [(1.2, 0.7), (-0.3, 0.5), (3.0, 2.5)]
Y = [1, -1, 1]
W = [0.1, 0.2, 0.3]
ALPHA = 0.1


def svm_score(w, x):
    return w[0] * x[0] + w[1] * x[1] + w[2]


def svm_costs(fp, w):
    return [fp.relu(1.0 - label * svm_score(w, x)) for x, label in zip(X, Y)]


def regularization(w):
    return ALPHA * (w[0] * w[0] + w[1] * w[1])


def svm_cost(fp, w):
    return fp.sum(svm_costs(fp, w)) + regularization(w)


def test_example_2_d_support_vector_machine(engine):
    fp = engine
    w = [fp.Unit(value) for value in W]
    assert [round(svm_score(w, x).value, 10) for x in X] == [0.56, 0.37, 1.1]
    assert [round(cost.value, 10) for cost in svm_costs(fp, w)] == [0.44, 1.37, 0.0]
    assert round(regularization(w).value, 10) == 0.005
    assert f"{svm_cost(fp, w):.3f}" == "1.815"


def test_example_2_d_support_vector_machine_gradient(engine):
    fp = engine
    (gradient,) = fp.grad(lambda w: svm_cost(fp, w), argnums=(0,))(W)
    # Examples 0 and 1 are within the margin: each pushes with -label * (x0, x1, 1).
    assert gradient == pytest.approx([-1.2 - 0.3 + 0.02, -0.7 + 0.5 + 0.04, -1.0 + 1.0])
    fp.check_grads(lambda w: svm_cost(fp, w), (W,))


def test_example_2_d_support_vector_machine_cost_gets_smaller(engine):
    fp = engine
    w = [fp.Unit(value) for value in W]
    costs = []
    for _ in range(200):
        cost = svm_cost(fp, w)
        fp.zero_grad(w)
        cost.backward()
        costs.append(cost.value)
        for leaf in w:
            leaf.value -= STEP * leaf.grad
    assert costs[0] == pytest.approx(1.815)
    assert costs[-1] < 0.5
    assert all(cost > 0.0 for cost in costs)


def test_example_2_d_support_vector_machine_perfect_classifier(engine):
    w = [engine.Unit(value) for value in (3.0, 0.0, -1.5)]
    assert [cost.value for cost in svm_costs(engine, w)] == [0.0, 0.0, 0.0]
    assert svm_cost(engine, w).value == pytest.approx(0.9)  # the springs alone
