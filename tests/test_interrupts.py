"""Ctrl-C, wherever it comes: nothing stays entered, claimed or half done, and the same call works again."""

import signal
import sys
import time

import numpy as np
import pytest

import fastprop as fp
from fastprop import reference
from fastprop.derivatives.call import is_active
from fastprop.engine.tape import build_kind

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


def test_a_tape_of_the_reference_is_let_go_at_every_instruction():
    tape = reference.Tape()
    with Interruption(0) as whole:
        tape.reset()
    interrupts = 0
    for number in range(1, whole.passed + 1):
        try:
            with Interruption(number):
                tape.reset()
        except KeyboardInterrupt:
            interrupts += 1
        tape.reset()
    assert interrupts >= 20


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


@pytest.fixture
def alarm():
    """SIGALRM raises what is no KeyboardInterrupt, but an exception like those of gates."""

    def end(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


class Slow(fp.Gate):
    """Takes its time, in Python."""

    def forward(self, x):
        for _ in range(200):
            x = x + 0.0
        return x * x

    def backward(self, pull, x):
        return 2.0 * x * pull


def far(x):
    for _ in range(60):
        x = fp.sin(x) + 0.1 * fp.exp(-x * x)
    return x


def steps(x):
    for _ in range(30):
        x = x * 0.5 if x > 0.2 else x + 0.3
    return x


SIZE = 20_000 if build_kind() == "check" else 150_000  # as long as a call of it is
MANY, STEPS = np.linspace(-2.0, 2.0, SIZE), np.linspace(-1.0, 1.0, SIZE // 7)
LONG = {
    "lanes": (fp.vmap(fp.value_and_grad(far)), MANY),
    "lanes that part": (fp.vmap(fp.value_and_grad(lambda x: far(steps(x)))), MANY),
    "a sum": (fp.value_and_grad(lambda w: fp.vmap(lambda w, x: far(w * x), (None, 0), "sum")(w, MANY)), 0.7),
    "steps": (fp.value_and_grad(lambda c: fp.scan(lambda c, x: (far(c + x), None), c, STEPS)[0]), 0.1),
    "steps in lanes": (
        fp.vmap(lambda c: fp.scan(lambda c, x: (far(c + x), None), c, STEPS[::7])[0]),
        np.linspace(-1.0, 1.0, 64),
    ),
    "lanes in steps": (
        lambda c: fp.scan(lambda c, x: (c + fp.mean(fp.vmap(lambda y: far(c * y))(x)), None), c, MANY.reshape(100, -1))[
            0
        ],
        0.1,
    ),
    "a gate of one's own": (fp.vmap(fp.grad(lambda x: Slow()(x) * x)), MANY[:5_000]),
    "one behind an if": (lambda x: [Slow()(y) for y in x] if x[0] < 0.0 else x, MANY[:5_000]),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("f, x", LONG.values(), ids=LONG)
def test_what_a_handler_raises_comes_out(f, x, threads, alarm):
    compiled = fp.compile(f)
    fp.set_num_threads(threads)
    try:
        compiled(x)
        begun = time.perf_counter()
        expected = numbers(compiled(x))
        seconds = time.perf_counter() - begun
        for part in (0.1, 0.35, 0.6):
            with pytest.raises(TimeoutError):
                alarm(part * seconds)
                for _ in range(20):
                    compiled(x)
            np.testing.assert_allclose(numbers(compiled(x)), expected, rtol=1e-12)
    finally:
        fp.set_num_threads(None)


def test_what_a_handler_raises_comes_out_of_circuits(alarm):
    circuit = fp.trace(lambda c: fp.scan(lambda c, x: (far(c + x), None), c, STEPS)[0], 0.1)
    expected = circuit(0.1)
    for call in (circuit, circuit.forward, circuit.value_and_grad):
        begun = time.perf_counter()
        call(0.1)
        seconds = time.perf_counter() - begun
        with pytest.raises(TimeoutError):
            alarm(0.3 * seconds)
            for _ in range(20):
                call(0.1)
        assert circuit(0.1) == expected
