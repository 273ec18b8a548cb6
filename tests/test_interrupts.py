"""Ctrl-C, wherever it comes: nothing stays entered, claimed or half done, and the same call works again."""

import signal
import sys

import numpy as np
import pytest

import fastprop as fp
from fastprop.derivatives.call import is_active

X = np.array([1.0, -2.0, 3.0])
OURS = fp.__file__.rpartition("__init__")[0]


class Interruption:
    """Counts the instructions of the package that run inside of it, and interrupts the one with this number."""

    def __init__(self, number):
        self.number, self.passed = number, 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # before settrace, else Python 3.12 doesn't see that of later frames
        sys.settrace(self.trace)
        return self

    def __exit__(self, kind, error, trace):
        sys.settrace(self.before)

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.passed += 1
            if self.passed == self.number:
                raise KeyboardInterrupt
        return self.trace


class Cube(fp.Gate):
    def forward(self, x):
        return x * x * x

    def backward(self, pull, x):
        return 3.0 * x * x * pull


def backward(engine):
    x, a = engine.Unit(2.0), engine.Array(X)
    ((a * x).sum() * x).backward()
    return [x.grad, *a.grad]


CALLS = {
    "grad": lambda engine: engine.grad(lambda x: engine.exp(x) * x)(0.5),
    "value_and_grad": lambda engine: engine.value_and_grad(lambda a: (a * a).sum())(X)[1],
    "vjp": lambda engine: engine.vjp(lambda x: [x * x, x], 3.0)[1]([1.0, 2.0]),
    "jvp": lambda engine: engine.jvp(lambda x: x * x, (3.0,), (2.0,)),
    "jacobian": lambda engine: engine.jacobian(lambda p: [p[0] * p[1], p[0]])([2.0, 5.0]),
    "hessian": lambda engine: engine.hessian(lambda p: p[0] * p[0] * p[1])([2.0, 5.0]),
    "hvp": lambda engine: engine.hvp(lambda p: (p * p * p).sum(), (X,), (X,)),
    "third": lambda engine: engine.grad(engine.grad(engine.grad(lambda x: x * x * x * x)))(2.0),
    "own gate": lambda engine: engine.grad(engine.grad(Cube()))(2.0),
    "backward": backward,
}


TRACED = {
    "compile": lambda fp: fp.compile(fp.grad(lambda x: fp.exp(x) * x if x > 0 else -x))(0.5),
    "lanes": lambda fp: fp.compile(fp.vmap(lambda x: fp.exp(x) if x > 0 else -x))(X),
    "transform in a trace": lambda fp: fp.trace(lambda x: fp.grad(lambda y: y * y * y)(x), 0.5)(0.5),
}


def numbers(result):
    return np.concatenate([np.ravel(part) for part in (result if isinstance(result, (list, tuple)) else [result])])


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_at_any_instruction(engine, name):
    check(CALLS[name], engine)


@pytest.mark.parametrize("name", TRACED)
def test_an_interrupt_while_a_circuit_is_recorded(name):
    check(TRACED[name], fp)


def check(call, engine):
    """Interrupt a call at many instructions: afterwards it must do what it did before."""
    tape = engine.current_tape()
    expected = numbers(call(engine))
    with Interruption(0) as whole:
        call(engine)
    interrupts = 0
    for number in range(1, whole.passed + 1, max(1, whole.passed // 60)):
        try:
            with Interruption(number):
                call(engine)
        except KeyboardInterrupt:
            interrupts += 1
        assert engine.current_tape() is tape
        assert not is_active()
        np.testing.assert_array_equal(numbers(call(engine)), expected)
    assert interrupts > 0


@pytest.fixture
def interrupting_alarm():
    """SIGVTALRM interrupts as Ctrl-C does."""
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.signal(signal.SIGVTALRM, before)


def test_signals_at_any_time(interrupting_alarm):
    """The same with signals, which come when they like: between two gates, in the middle of a sweep."""
    f = fp.hessian(lambda p: fp.exp(p[0]) * p[1] * p[0])
    expected, tape = f([0.5, 2.0]), fp.current_tape()
    for i in range(100):
        with pytest.raises(KeyboardInterrupt):
            interrupting_alarm(1e-5 * (i + 1))
            while True:
                f([0.5, 2.0])
        assert fp.current_tape() is tape
        assert not is_active()
        assert f([0.5, 2.0]) == expected
