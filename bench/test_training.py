"""Training, small, for pytest-benchmark: everybody takes the same losses from the same start; then a pass is timed."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import numpy as np
import pytest

import training
import training_accuracy
import training_by_hand
import training_own
from training_workloads import TASKS, Learner, task

PEERS = [peer for peer in training.installed(list(training.PEERS)) if peer != "numpy"]
SINGLE = {"c": "float32"}  # what a peer calculates in, if it can't do both; T1 is always in float64


def expected(work):
    """The losses of NumPy by hand."""
    return training.curve(training_by_hand.learners(work)[0], work)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "T1"])
def test_gradients_by_hand_are_what_differences_say(name):
    work = task(name, True, "float64")
    adam = training_by_hand.Adam(work)

    def loss():
        return training_by_hand.GRADIENTS[work.kind](work, adam.params, adam.grads, work.x[0], work.y[0])

    loss()
    gradient, start, h = adam.on_flat.copy(), adam.flat.copy(), 1e-6
    direction = np.random.default_rng(1).normal(size=start.shape)
    ends = []
    for sign in (1.0, -1.0):
        adam.flat[:] = start + sign * h * direction
        ends.append(loss())
    np.testing.assert_allclose(gradient @ direction, (ends[0] - ends[1]) / (2.0 * h), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TASKS)
def test_fastprop_takes_the_losses_of_numpy_by_hand(name, dtype):
    work = task(name, True, dtype if name != "T1" else None)
    for learner in training_own.learners(work):
        training.prove(learner, work, expected(work))


@pytest.mark.parametrize("peer", PEERS)
def test_peers_take_the_same_losses(peer):
    works = [task(name, True, SINGLE.get(peer) if name != "T1" else None) for name in TASKS]
    proofs = [(learner, work) for work in works for learner in import_module(training.PEERS[peer]).learners(work)]
    for learner, work in proofs:
        training.prove(learner, work, expected(work))
    assert proofs


def test_another_rate_is_found_out():
    work = task("T2", True)
    faster = dataclasses.replace(work, rate=1.01 * work.rate)
    with pytest.raises(AssertionError, match="Not equal"):
        training.prove(training_own.called(faster), work, expected(work))


def test_a_peer_that_fails_is_a_line_of_the_table(monkeypatch, capsys):
    def broken(state):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(training_by_hand, "learners", lambda work: [training_by_hand.of_machine(work)])
    monkeypatch.setattr("training_c.learners", lambda work: [Learner("C by hand", lambda: None, broken)])
    monkeypatch.setitem(training.PEERS, "numpy", "training_that_is_not_there")
    work = task("T1", True)
    training.shown(work, training.measured(work, ["c", "numpy"], clock=False))
    printed = capsys.readouterr().out
    assert "RuntimeError: no such luck" in printed
    assert "No module named 'training_that_is_not_there'" in printed
    assert printed.count("takes the same losses") == 2


def test_fit_comes_to_know_the_digits():
    [(_, _, epochs, accuracy)] = training_accuracy.raced(["fastprop"], 1)["fastprop"]
    assert accuracy >= training_accuracy.ENOUGH
    assert epochs < training_accuracy.EPOCHS


@pytest.mark.parametrize("name", TASKS)
def test_pass(benchmark, name):
    """All steps of the small task, with their updates."""
    work = task(name, True)
    learner = training_own.learners(work)[0]
    training.prove(learner, work, expected(work))
    benchmark.group = f"{name}, small"
    state = learner.begin()
    benchmark(lambda: learner.advance(state))
