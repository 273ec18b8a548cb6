"""Training: data, the classifier of scalar neurons, and the main job's parts."""

import io
import math
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop
from fastprop import nn, reference
from fastprop.optim import SGD
from fastprop.training import Classifier, evaluate, fit, job, split
from fastprop.training.data import arrays
from fastprop.training.job import INTERRUPTED, Options, Printer, compare, is_right, make, rule_of, run

XOR = [([0.0, 0.0], 0), ([0.0, 1.0], 1), ([1.0, 0.0], 1), ([1.0, 1.0], 0)]


def learner(engine, seed=3, hidden=(4,), activation="tanh"):
    random = np.random.default_rng(seed)
    return Classifier([2, *hidden, 2], engine, random, activation=activation), random


# Data -----------------------------------------------------------------------------------------------------------------


def test_split_keeps_every_example_once():
    data = np.arange(60.0).reshape(20, 3)
    parts = split(data, np.arange(20), validation=4, test=5)
    assert [len(part) for part in parts] == [11, 4, 5]
    everything = [example for part in parts for example in part]
    assert sorted(label for _, label in everything) == list(range(20))
    assert all(inputs == data[label].tolist() for inputs, label in everything)


def test_split_is_fixed():
    parts = split(np.zeros((20, 1)), np.arange(20), validation=4, test=5)
    assert [label for _, label in parts.test] == [18, 1, 19, 8, 10]
    assert [label for _, label in parts.validation] == [17, 6, 13, 4]


def test_split_of_the_digits_is_fair():
    parts = job.digits()
    assert [len(part) for part in parts] == [1197, 300, 300]
    for part in parts:
        counts = np.bincount([label for _, label in part], minlength=10)
        assert counts.min() > 0.06 * len(part)
    assert max(max(inputs) for inputs, _ in parts.training) == 1.0
    inputs = [{tuple(inputs) for inputs, _ in part} for part in parts]
    assert not inputs[0] & inputs[2]


def test_split_with_wrong_sizes():
    with pytest.raises(ValueError, match="3 rows of data but 2 labels"):
        split(np.zeros((3, 1)), [0, 1], validation=0, test=1)
    with pytest.raises(ValueError, match="some must be left to train on"):
        split(np.zeros((3, 1)), [0, 1, 2], validation=1, test=2)


# The classifier -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_classifier_computes_what_matrices_compute(engine, activation):
    classifier, _ = learner(engine, hidden=(4, 3), activation=activation)
    gate = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}[activation]
    for leaf in classifier.parameters:
        leaf.value += 0.1
    for inputs, label in XOR:
        signals = np.array(inputs)
        for layer in classifier.layers:
            weights = np.array([[leaf.value for leaf in neuron.weights] for neuron in layer])
            sums = weights @ signals + [neuron.bias.value for neuron in layer]
            signals = sums if layer is classifier.layers[-1] else gate(sums)
        scores = classifier(inputs)
        assert [score.value for score in scores] == pytest.approx(signals)
        expected = math.log(sum(math.exp(score) for score in signals)) - signals[label]
        assert classifier.loss(scores, label).value == pytest.approx(expected)


def test_classifier_gradient_is_the_slope(engine):
    classifier, _ = learner(engine)
    inputs, label = XOR[2]
    classifier.loss(classifier(inputs), label).backward()
    values, gradient = classifier.values, [leaf.grad for leaf in classifier.parameters]
    for i in range(len(values)):
        probes = []
        for h in (1e-6, -1e-6):
            classifier.values = [*values[:i], values[i] + h, *values[i + 1 :]]
            probes.append(classifier.loss(classifier(inputs), label).value)
        assert (probes[0] - probes[1]) / 2e-6 == pytest.approx(gradient[i], abs=1e-8)


@pytest.mark.parametrize("model", ["cnn", "svm", "softmax"])
def test_models_compute_what_networks_of_arrays_compute(engine, model):
    options = Options(model=model, hidden=(5,))
    classifier = make(options, 1, engine)[0]
    random = np.random.default_rng(2)
    x, label = random.uniform(size=64), 3
    values = iter(np.array(classifier.values) + 0.1)
    classifier.values = list(np.array(classifier.values) + 0.1)

    def linear(rows, columns):
        table = [([next(values) for _ in range(columns)], next(values)) for _ in range(rows)]
        return np.array([weights for weights, _ in table]), np.array([bias for _, bias in table])

    signals = x
    if model == "cnn":
        (kernels, bias), kernel_shape = linear(job.KERNELS, 9), (job.KERNELS, 1, 3, 3)
        maps = nn.ReLU()(fastprop.conv2d(x.reshape(1, 8, 8), kernels.reshape(kernel_shape)) + bias[:, None, None])
        pooled = nn.MaxPool2d(2)(maps)
        weight, bias = linear(5, job.KERNELS * 9)
        signals = np.maximum(weight @ np.ravel(pooled) + bias, 0.0)
    weight, bias = linear(10, len(signals))
    expected = weight @ signals + bias
    scores = classifier(x.tolist())
    assert [score.value for score in scores] == pytest.approx(expected, rel=1e-12)
    loss = nn.multiclass_hinge if model == "svm" else nn.cross_entropy
    assert classifier.loss(scores, label).value == pytest.approx(loss(expected, label), rel=1e-12)
    assert classifier.objective(expected, label) == loss(expected, label)
    assert next(values, None) is None and len(classifier.parameters) == len(classifier.values)


def test_classifier_counts_its_gates(engine):
    classifier, _ = learner(engine, hidden=(4,))
    # Each neuron has a product and a sum for each input; the hidden ones a tanh; the loss a logsumexp and a difference.
    assert classifier.gates(XOR[0]) == 4 * (2 * 2 + 1) + 2 * (2 * 4) + 2
    assert len(classifier.parameters) == 4 * 3 + 2 * 5


def test_classifier_starts_with_signals_that_keep_their_size():
    random = np.random.default_rng(0)
    for activation, variance in (("tanh", 1.0), ("relu", 2.0)):
        classifier = Classifier([50, 40, 2], reference, random, activation=activation)
        weights = [leaf.value for neuron in classifier.layers[0] for leaf in neuron.weights]
        assert np.var(weights) * 50 == pytest.approx(variance, rel=0.15)
        assert all(neuron.bias.value == 0.0 for layer in classifier.layers for neuron in layer)


def test_classifier_says_what_is_wrong(engine):
    classifier, random = learner(engine)
    with pytest.raises(ValueError, match="3 inputs; this classifier takes 2"):
        classifier([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="1 values; this classifier has 22 parameters"):
        classifier.values = [1.0]
    with pytest.raises(ValueError, match="expected one of tanh, relu"):
        Classifier([2, 2], engine, random, activation="step")
    for sizes in ([2], [2, 0], []):
        with pytest.raises(ValueError, match="expected at least two"):
            Classifier(sizes, engine, random)


def test_classifier_with_other_numbers(engine):
    classifier, other = learner(engine)[0], learner(engine, seed=4)[0]
    before = classifier.values
    found = [score.value for score in classifier.apply(other.parameters, XOR[1][0])]
    assert found == [score.value for score in other(XOR[1][0])]
    assert classifier.values == before


def test_fit_of_scalar_neurons_gives_the_answer_of_the_reference():
    (classifier, random), (judge, _) = learner(fastprop), learner(reference)
    params = np.array(classifier.values)
    history = fit(
        classifier.apply, nn.cross_entropy, arrays(XOR), SGD(params, lr=0.5), params=params, epochs=10, batch_size=3,
        rng=random, validation=arrays(XOR), metrics={"accuracy": is_right},
    )  # fmt: skip
    rule, order = SGD(judge.parameters, lr=0.5), learner(reference)[1]
    for _ in range(10):
        order.integers(1 << 24)
        rows = order.permutation(4)
        for batch in (rows[:3], rows[3:]):
            judge.gradients([XOR[row] for row in batch])
            rule.step()
    assert history.params == pytest.approx(judge.values, rel=1e-9)
    scores = [[score.value for score in judge(inputs)] for inputs, _ in XOR]
    right = np.mean([np.argmax(row) == label for row, (_, label) in zip(scores, XOR)])
    assert history.epochs[-1].validation_metrics["accuracy"] == right
    losses = [judge.loss(judge(inputs), label).value for inputs, label in XOR]
    assert history.validation_losses[-1] == pytest.approx(np.mean(losses), rel=1e-9)


# Scores ---------------------------------------------------------------------------------------------------------------


def test_evaluate_uses_a_model_and_changes_nothing():
    model = nn.Sequential(nn.BatchNorm(2), nn.Dropout(0.5), nn.Linear(2, 2, rng=0))
    x, y = arrays(XOR)
    before = model.state_dict()
    score = evaluate(model, nn.cross_entropy, (x, y), batch_size=3, metrics={"accuracy": is_right})
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert model.training and model[1].training
    model.eval()
    outputs = [model(row).value for row in x]
    losses = [nn.cross_entropy(output, int(label)) for output, label in zip(outputs, y)]
    assert score.loss == pytest.approx(np.mean(losses), rel=1e-12)
    assert score.metrics == {"accuracy": np.mean([np.argmax(output) == label for output, label in zip(outputs, y)])}
    weighted = evaluate(model, nn.cross_entropy, (x, y, [0.0, 1.0, 0.0, 3.0]))
    assert weighted.loss == pytest.approx((losses[1] + 3.0 * losses[3]) / 4.0, rel=1e-12)


# The main job ---------------------------------------------------------------------------------------------------------

TINY = Options(hidden=(3,), epochs=2, batch=10, quiet=False)


@pytest.fixture
def few_digits(monkeypatch):
    """The digits, but few of them."""
    parts = job.digits()
    few = type(parts)(parts.training[:60], parts.validation[:20], parts.test[:20])
    monkeypatch.setattr(job, "digits", lambda: few)
    return few


def test_run_says_how_it_went(few_digits):
    out = io.StringIO()
    assert run(Options(hidden=(3,), epochs=6, batch=10), out) == 0
    text = out.getvalue()
    lines = text.splitlines()
    assert lines[0].startswith("64-3-10 relu neurons: 235 parameters, ")
    assert lines[1] == "handwritten digits: 60 to train on, 20 to validate, 20 to test"
    rows = [line.split() for line in lines if line[:5].strip().isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert float(rows[5][1]) < float(rows[0][1])
    assert "seed 0: test accuracy " in text
    assert "time per gate: " in text
    assert "reference: the same step of 10 examples takes " in text
    assert "\r" not in text
    assert "\x1b" not in text


def test_run_quietly_prints_the_results_only(few_digits, capfd):
    out = io.StringIO()
    options = Options(hidden=(3,), epochs=1, batch=10, quiet=True, reference=False, repeat=2, seed=5)
    assert run(options, out) == 0
    lines = out.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "seed 5",
        "seed 6",
        "median test accuracy of 2 seeds",
        "time per gate",
        "time per step",
    ]
    assert capfd.readouterr() == ("", "")


def test_run_interrupted_gives_the_results_so_far(few_digits, monkeypatch):
    out = io.StringIO()
    options = Options(hidden=(3,), epochs=9, batch=60, repeat=3)
    says = Printer.epoch

    def interrupting(self, epoch, gates):
        says(self, epoch, gates)
        if epoch.number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Printer, "epoch", interrupting)
    assert run(options, out) == INTERRUPTED
    text = out.getvalue()
    assert "interrupted after 2 of 9 epochs; the results so far:" in text
    assert "seed 0: test accuracy " in text
    assert "with the parameters of epoch " in text
    assert "time per gate: " in text
    assert "seed 1" not in text
    assert "reference" not in text


def test_run_leaves_the_test_part_alone_until_the_end(few_digits, monkeypatch):
    seen = []
    monkeypatch.setattr(job, "evaluate", lambda *args, **options: seen.append(args[2]) or evaluate(*args, **options))

    def watched(*args, **options):
        x, y = (np.concatenate(part) for part in zip(*args[2]()))
        seen.extend([(x, y), options["validation"]])
        return fit(*args, **options)

    monkeypatch.setattr(job, "fit", watched)
    run(Options(hidden=(2,), epochs=1, quiet=True, reference=False, shift=0.0), io.StringIO())
    assert len(seen) == 3
    for (x, y), examples in zip(seen, few_digits):
        assert sorted(zip(x.tolist(), y.tolist())) == sorted(examples)


def test_images_are_moved_by_a_pixel():
    x = np.random.default_rng(0).uniform(0.1, 1.0, (400, 64))
    moved = job.shifted(x, 0.5, np.random.default_rng(1))
    counts = {}
    for before, after in zip(x.reshape(-1, 8, 8), moved.reshape(-1, 8, 8)):
        padded = np.pad(before, 1)
        ways = [(i, j) for i in range(3) for j in range(3) if np.array_equal(padded[i : i + 8, j : j + 8], after)]
        assert len(ways) == 1
        counts[ways[0]] = counts.get(ways[0], 0) + 1
    assert len(counts) == 9 and 190 < counts.pop((1, 1)) < 260 and min(counts.values()) > 8
    assert_array_equal(job.shifted(x, 0.0, np.random.default_rng(1)), x)


def test_run_has_the_parameters_of_the_best_epoch(few_digits):
    options = Options(hidden=(3,), epochs=30, batch=5, rate=0.5, quiet=True)
    result = job.train(options, 0, few_digits, Printer(options, io.StringIO()))
    losses = result.history.validation_losses
    assert result.history.best.number == 1 + int(np.argmin(losses)) < 30
    classifier = make(options, 0, reference)[0]
    classifier.values = result.history.params.tolist()
    mean = np.mean([classifier.loss(classifier(x), label).value for x, label in few_digits.validation])
    assert mean == pytest.approx(min(losses), rel=1e-9)
    right = [np.argmax([score.value for score in classifier(x)]) == label for x, label in few_digits.test]
    assert result.accuracy == np.mean(right)
    assert result.gates == 30 * 60 * classifier.gates(few_digits.training[0])


def test_run_that_diverges_says_so(few_digits):
    with pytest.raises(
        OverflowError,
        match=r"(loss|gradient).* in epoch \d+, at rate 9\.99\d*e\+199.*classifier\.py:\d+.*; try a smaller rate",
    ):
        run(Options(hidden=(3, 3), activation="relu", rate=1e200, epochs=20, quiet=True), io.StringIO())


def test_seed_gives_the_same_start_on_every_engine(engine):
    assert make(TINY, 7, engine)[0].values == make(TINY, 7, reference)[0].values
    assert make(TINY, 7, engine)[0].values != make(TINY, 8, engine)[0].values


def test_compare_refuses_to_time_a_wrong_answer(few_digits, monkeypatch):
    seconds, reference_seconds, difference = compare(TINY, few_digits.training[:3])
    assert min(seconds, reference_seconds) > 0.0
    assert difference <= 1e-12
    rates = iter([0.1, 0.1001])
    monkeypatch.setattr(job, "rule_of", lambda options, params: rule_of(Options(rate=next(rates)), params))
    with pytest.raises(ArithmeticError, match="differ by"):
        compare(TINY, few_digits.training[:3])


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("interrupted", [False, True])
def test_progress_bar_goes_to_a_terminal_and_is_taken_away(few_digits, monkeypatch, interrupted):
    monkeypatch.setattr(sys, "stderr", Terminal())
    if interrupted:
        monkeypatch.setattr(Printer, "epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    run(Options(hidden=(2,), epochs=2, reference=False), io.StringIO())
    bars = sys.stderr.getvalue().split("\r")
    assert "epoch 1 of 2" in bars[1]
    assert bars[-2].strip() == bars[-1] == ""


@pytest.mark.parametrize("optimizer", job.OPTIMIZERS)
def test_every_optimizer_learns_and_is_compared_with_the_reference(few_digits, optimizer):
    options = Options(hidden=(8,), epochs=8, batch=10, optimizer=optimizer, quiet=True)
    result = job.train(options, 0, few_digits, Printer(options, io.StringIO()))
    losses = result.history.losses
    assert losses[-1] < 0.95 * losses[0]
    assert compare(options, few_digits.training[:2], 1)[2] <= 1e-9


@pytest.mark.parametrize("model", ["cnn", "softmax", "svm"])
def test_every_model_learns_and_is_compared_with_the_reference(few_digits, model):
    out = io.StringIO()
    assert run(Options(hidden=(4,), epochs=3, batch=2, model=model), out) == 0
    rows = [line.split() for line in out.getvalue().splitlines() if line[:5].strip().isdigit()]
    assert float(rows[2][1]) < float(rows[0][1])
    assert "reference: the same step of 2 examples takes " in out.getvalue()


def test_default_training_reaches_97_and_a_half_percent():
    options, digits = Options(quiet=True), job.digits()
    printer = Printer(options, io.StringIO())
    assert np.median([job.train(options, seed, digits, printer).accuracy for seed in range(3)]) >= 0.975  # 0.987


@pytest.mark.parametrize("model, accuracy", [("cnn", 0.97), ("softmax", 0.93), ("svm", 0.93)])
def test_other_models_reach(model, accuracy):
    options = Options(model=model, quiet=True)
    printer = Printer(options, io.StringIO())
    assert job.train(options, 0, job.digits(), printer).accuracy >= accuracy
