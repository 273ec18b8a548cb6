"""Training: data, the classifier of scalar neurons, the fit loop and the main job's parts."""

import io
import itertools
import math
import sys

import numpy as np
import pytest

from fastprop import reference
from fastprop.optim import SGD
from fastprop.training import Classifier, batches, evaluate, job, split, step
from fastprop.training.fit import fit
from fastprop.training.job import INTERRUPTED, Options, Printer, compare, make, run

XOR = [([0.0, 0.0], 0), ([0.0, 1.0], 1), ([1.0, 0.0], 1), ([1.0, 1.0], 0)]


def learner(engine, seed=3, hidden=(4,), rate=0.5, activation="tanh"):
    random = np.random.default_rng(seed)
    classifier = Classifier([2, *hidden, 2], engine, random, activation=activation)
    return classifier, SGD(classifier.parameters, lr=rate, momentum=0.9, rate_inside=True), random


def fitted(engine, epochs=40, **options):
    classifier, rule, random = learner(engine)
    history = fit(classifier, rule, XOR, XOR, epochs=epochs, batch=2, random=random, **options)
    return classifier, history


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


def test_batches_deal_out_every_example_once():
    examples = [([float(i)], i) for i in range(11)]
    dealt = batches(examples, 4, np.random.default_rng(0))
    assert [len(batch) for batch in dealt] == [4, 4, 3]
    assert sorted(label for batch in dealt for _, label in batch) == list(range(11))
    assert dealt == batches(examples, 4, np.random.default_rng(0))
    assert dealt != batches(examples, 4, np.random.default_rng(1))
    with pytest.raises(ValueError, match="at least 1"):
        batches(examples, 0, np.random.default_rng(0))


# The classifier -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_classifier_computes_what_matrices_compute(engine, activation):
    classifier, _, _ = learner(engine, hidden=(4, 3), activation=activation)
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
    classifier, _, _ = learner(engine)
    inputs, label = XOR[2]
    classifier.loss(classifier(inputs), label).backward()
    values, gradient = classifier.values, [leaf.grad for leaf in classifier.parameters]
    for i in range(len(values)):
        probes = []
        for h in (1e-6, -1e-6):
            classifier.values = [*values[:i], values[i] + h, *values[i + 1 :]]
            probes.append(classifier.loss(classifier(inputs), label).value)
        assert (probes[0] - probes[1]) / 2e-6 == pytest.approx(gradient[i], abs=1e-8)


def test_classifier_counts_its_gates(engine):
    classifier, _, _ = learner(engine, hidden=(4,))
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
    classifier, _, random = learner(engine)
    with pytest.raises(ValueError, match="3 inputs; this classifier takes 2"):
        classifier([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="1 values; this classifier has 22 parameters"):
        classifier.values = [1.0]
    with pytest.raises(ValueError, match="expected one of tanh, relu"):
        Classifier([2, 2], engine, random, activation="step")
    for sizes in ([2], [2, 0], []):
        with pytest.raises(ValueError, match="expected at least two"):
            Classifier(sizes, engine, random)


# The fit loop ---------------------------------------------------------------------------------------------------------


def test_step_learns_from_the_mean_of_its_batch(engine):
    together, rule, _ = learner(engine)
    by_hand, _, _ = learner(engine)
    before = evaluate(together, XOR)
    assert step(together, rule, XOR) == pytest.approx(before)
    losses = [by_hand.loss(by_hand(inputs), label) for inputs, label in XOR]
    (sum(losses) / 4.0).backward()
    expected = [leaf.value - 0.5 * leaf.grad for leaf in by_hand.parameters]
    assert together.values == pytest.approx(expected)
    assert evaluate(together, XOR).loss < before.loss


def test_evaluate_changes_nothing(engine):
    classifier, _, _ = learner(engine)
    step(classifier, SGD(classifier.parameters, lr=0.1), XOR)
    before = classifier.values, [leaf.grad for leaf in classifier.parameters]
    evaluate(classifier, XOR)
    assert (classifier.values, [leaf.grad for leaf in classifier.parameters]) == before


def test_fit_learns(engine):
    reported = []
    classifier, history = fitted(engine, report=reported.append)
    assert reported == history.epochs
    assert [epoch.number for epoch in history.epochs] == list(range(1, 41))
    assert not history.interrupted
    assert history.best.validation.loss < 0.05 < history.epochs[0].training.loss
    assert evaluate(classifier, XOR) == pytest.approx(history.best.validation)
    assert evaluate(classifier, XOR).accuracy == 1.0
    assert history.gates == 40 * 4 * classifier.gates(XOR[0])
    assert history.seconds > 0.0


def test_fit_is_reproducible(engine):
    first, history = fitted(engine, epochs=5)
    second, again = fitted(engine, epochs=5)
    assert first.values == second.values
    assert [epoch.training for epoch in history.epochs] == [epoch.training for epoch in again.epochs]


def test_fit_gives_the_reference_answer(engine):
    classifier, _ = fitted(engine, epochs=10)
    judge, _ = fitted(reference, epochs=10)
    assert classifier.values == pytest.approx(judge.values, rel=1e-9)


def test_fit_keeps_the_best_parameters(engine):
    classifier, rule, random = learner(engine)
    seen = []
    upside_down = [(inputs, 1 - label) for inputs, label in XOR]  # the better it learns, the worse it does here
    history = fit(
        classifier,
        rule,
        XOR,
        upside_down,
        epochs=10,
        batch=4,
        random=random,
        report=lambda epoch: seen.append(classifier.values),
    )
    assert history.best.number < 10
    assert classifier.values == seen[history.best.number - 1]


def interrupting(after):
    """A progress that ends with Ctrl-C after so many batches."""
    countdown = itertools.count(1)

    def progress(dealt, number):
        for batch in dealt:
            if next(countdown) > after:
                raise KeyboardInterrupt
            yield batch

    return progress


def test_fit_interrupted_keeps_the_results_so_far(engine):
    whole, _ = fitted(engine, epochs=3)
    classifier, history = fitted(engine, progress=interrupting(after=7))
    assert history.interrupted
    assert len(history.epochs) == 3
    assert classifier.values == whole.values


def test_fit_interrupted_at_once(engine):
    fresh, _, _ = learner(engine)
    classifier, history = fitted(engine, progress=interrupting(after=0))
    assert history.interrupted
    assert history.best is None
    assert (history.gates, history.seconds) == (0, 0)
    assert classifier.values == fresh.values


def test_fit_that_overflows_says_so(engine):
    classifier, rule, random = learner(engine, rate=1e200, hidden=(4, 4), activation="relu")
    with pytest.raises(OverflowError, match=r"the training loss became (nan|inf) in epoch \d+ at rate 1e\+200; try"):
        fit(classifier, rule, XOR, XOR, epochs=20, batch=4, random=random)


def test_fit_whose_gradient_is_infinite_says_so(engine):
    classifier, rule, random = learner(engine)
    classifier.parameters[0].value = 0.0
    classifier.loss = lambda scores, label: engine.sqrt(classifier.parameters[0])
    before = classifier.values
    with pytest.raises(OverflowError, match=r"the gradient of 0 is inf; .*; no parameter was changed; try a smaller"):
        fit(classifier, rule, XOR, XOR, epochs=1, batch=1, random=random)
    assert classifier.values == before


# The main job ---------------------------------------------------------------------------------------------------------

TINY = Options(hidden=(3,), epochs=2, batch=10, quiet=False)


@pytest.fixture
def few_digits(monkeypatch):
    """The digits, but few of them."""
    parts = job.digits()
    few = type(parts)(parts.training[:60], parts.validation[:20], parts.test[:20])
    monkeypatch.setattr(job, "digits", lambda: few)
    return few


def test_run_says_how_it_went(engine, few_digits):
    out = io.StringIO()
    assert run(TINY, engine, reference, out) == 0
    text = out.getvalue()
    lines = text.splitlines()
    assert lines[0].startswith("64-3-10 tanh neurons: 235 parameters, ")
    assert lines[1] == "handwritten digits: 60 to train on, 20 to validate, 20 to test"
    rows = [line.split() for line in lines if line[:5].strip().isdigit()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert float(rows[1][1]) < float(rows[0][1])
    assert "seed 0: test accuracy " in text
    assert "time per gate: " in text
    assert "reference: the same step of 10 examples takes " in text
    assert "\r" not in text
    assert "\x1b" not in text


def test_run_quietly_prints_the_results_only(engine, few_digits, capfd):
    out = io.StringIO()
    options = Options(hidden=(3,), epochs=1, batch=10, quiet=True, reference=False, repeat=2, seed=5)
    assert run(options, engine, reference, out) == 0
    lines = out.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "seed 5",
        "seed 6",
        "median test accuracy of 2 seeds",
        "time per gate",
    ]
    assert capfd.readouterr() == ("", "")


def test_run_interrupted_gives_the_results_so_far(engine, few_digits, monkeypatch):
    out = io.StringIO()
    options = Options(hidden=(3,), epochs=9, batch=60, repeat=3)

    def progress(self, dealt, number):
        if number == 3:
            raise KeyboardInterrupt
        return dealt

    monkeypatch.setattr(Printer, "progress", progress)
    assert run(options, engine, reference, out) == INTERRUPTED
    text = out.getvalue()
    assert "interrupted after 2 of 9 epochs; the results so far:" in text
    assert "seed 0: test accuracy " in text
    assert "with the parameters of epoch " in text
    assert "time per gate: " in text
    assert "seed 1" not in text
    assert "reference" not in text


def test_run_leaves_the_test_part_alone_until_the_end(engine, few_digits, monkeypatch):
    looked_at = []
    monkeypatch.setattr(job, "evaluate", lambda classifier, part: looked_at.append(part) or evaluate(classifier, part))
    trained_on = []
    monkeypatch.setattr(job, "fit", lambda *args, **options: trained_on.extend(args[2:4]) or fit(*args, **options))
    run(Options(hidden=(2,), epochs=1, quiet=True, reference=False), engine, reference, io.StringIO())
    assert looked_at == [few_digits.test]
    assert trained_on == [few_digits.training, few_digits.validation]


def test_seed_gives_the_same_start_on_every_engine(engine):
    assert make(TINY, 7, engine)[0].values == make(TINY, 7, reference)[0].values
    assert make(TINY, 7, engine)[0].values != make(TINY, 8, engine)[0].values


def test_compare_refuses_to_time_a_wrong_answer(engine, few_digits, monkeypatch):
    seconds, reference_seconds, difference = compare(TINY, engine, reference, few_digits.training[:3])
    assert min(seconds, reference_seconds) > 0.0
    assert difference <= 1e-12
    calls = itertools.count()

    def drifting(classifier, rule, batch):
        score = step(classifier, rule, batch)
        classifier.parameters[0].value += next(calls)
        return score

    monkeypatch.setattr(job, "step", drifting)
    with pytest.raises(ArithmeticError, match="differ by"):
        compare(TINY, engine, reference, few_digits.training[:3])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar_goes_to_a_terminal_or_nowhere(monkeypatch):
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(Printer(TINY, io.StringIO()).progress([1, 2, 3], 1)) == [1, 2, 3]
        assert ("epoch 1 of 2" in stream.getvalue()) == shown


def test_progress_bar_is_taken_away_when_interrupted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = Printer(TINY, io.StringIO()).progress
    _, history = fitted(reference, progress=lambda dealt, number: interrupting(1)(bar(dealt, number), number))
    assert history.interrupted
    bars = sys.stderr.getvalue().split("\r")
    assert "epoch 1 of 2" in bars[1]
    assert bars[-2].strip() == bars[-1] == ""


@pytest.mark.slow
def test_default_training_reaches_94_percent():
    import fastprop

    printer = Printer(Options(quiet=True), io.StringIO())
    assert job.train(Options(quiet=True), 0, fastprop, job.digits(), printer).accuracy >= 0.94  # 0.967 to 0.970
