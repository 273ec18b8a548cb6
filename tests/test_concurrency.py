"""Threads, processes and signals: two tapes at once, never one tape by two."""

import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import fastprop as fp
from programs import FORKS, holds_in_child, in_threads


def chain(length, engine=fp):
    a, b, y = engine.Unit(0.999), engine.Unit(0.001), engine.Unit(0.5)
    out = y
    for _ in range(length):
        out = out * a + b
    out.backward()
    return out.value, a.grad, b.grad, y.grad


def test_two_threads_record_and_sweep_at_once(engine):
    length = 30_000 if engine is fp else 1_000
    expected = chain(length)
    assert in_threads([lambda: chain(length, engine)] * 4) == [expected] * 4


def test_each_thread_has_a_default_tape(engine):
    tapes = in_threads([engine.current_tape] * 3)
    assert len({id(tape) for tape in [*tapes, engine.current_tape()]}) == 4


def test_a_tape_is_handed_from_thread_to_thread():
    with fp.Tape() as tape:
        x = fp.Unit(3.0)
        y = x * x
    (z,) = in_threads([lambda: y * x])
    z.backward()
    assert (z.value, x.grad, len(tape)) == (27.0, 27.0, 2)


class Waiting(fp.Gate):
    """A gate whose backward waits, so that a sweep can be met in the middle."""

    def __init__(self):
        self.reached, self.go_on = threading.Event(), threading.Event()

    def forward(self, x):
        return x

    def backward(self, pull, x):
        self.reached.set()
        assert self.go_on.wait(30.0)
        return pull


@pytest.mark.parametrize(
    "use",
    [
        lambda tape, x, y: tape.reset(),
        lambda tape, x, y: x * 2.0,
        lambda tape, x, y: fp.exp(x),
        lambda tape, x, y: y.backward(),
        lambda tape, x, y: tape.reserve(10),
        lambda tape, x, y: fp.sum([x, x, x]),
        lambda tape, x, y: Waiting()(x),
    ],
)
def test_a_tape_in_a_sweep_is_refused_to_other_threads(use):
    gate, leaf = Waiting(), fp.Unit(2.0)
    with fp.Tape() as tape:
        x = leaf * 3.0
        y = gate(x)
    thread = threading.Thread(target=y.backward, name="sweeper")
    thread.start()
    assert gate.reached.wait(30.0)
    try:
        with pytest.raises(RuntimeError, match="sweeper"):
            use(tape, x, y)
    finally:
        gate.go_on.set()
        thread.join()
    assert (leaf.grad, x.grad, y.grad) == (3.0, 1.0, 1.0)
    assert (x * 2.0).value == 12.0


def test_a_gate_may_not_use_its_tape_in_backward(engine):
    class Meddling(engine.Gate):
        def __init__(self, use):
            self.use = use

        def forward(self, x):
            return x

        def backward(self, pull, x):
            self.use()
            return pull

    with engine.Tape() as tape:
        leaf = engine.Unit(2.0)
        x = leaf * 3.0
        for use in (tape.reset, x.backward):
            y = Meddling(use)(x)
            with pytest.raises(RuntimeError):
                y.backward()
            assert (leaf.grad, x.grad, y.grad) == (0.0, 0.0, 0.0)
        (x * 1.0).backward()
        assert leaf.grad == 3.0


def test_entering_a_tape_that_another_thread_is_inside_of():
    tape = fp.Tape()
    with tape, pytest.raises(RuntimeError, match=f"{threading.main_thread().name}|{threading.get_ident()}"):
        in_threads([tape.__enter__])
    with tape:
        assert fp.current_tape() is tape


def run(program):
    """What a program prints that runs in a process of its own."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_ctrl_c_ends_a_sweep_and_leaves_the_tape_whole():
    program = """
        import signal, threading, time
        import fastprop as fp
        a, y = fp.Unit(1.0), fp.Unit(0.5)
        out = y
        for _ in range(3_000_000):
            out = out * a
        def interrupt():
            time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        interrupted = swept = 0
        try:
            while True:
                out.backward()
                swept += 1
        except KeyboardInterrupt:
            interrupted = 1
        thread.join()
        a.grad = y.grad = 0.0
        out.backward()
        print(interrupted, a.grad == 1_500_000.0, y.grad == 1.0)
    """
    assert run(program) == ["1", "True", "True"]


@FORKS
def test_fork_after_threads():
    in_threads([lambda: chain(100)] * 2)
    expected = chain(1_000)
    assert holds_in_child(lambda: in_threads([lambda: chain(1_000)]) == [expected] and chain(1_000) == expected)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_a_process(method):
    program = f"""
        import multiprocessing
        import fastprop as fp
        def work(value):
            x = fp.Unit(value)
            (x * x).backward()
            return x.grad
        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                print(pool.map(abs, [-1.0])[0], work(3.0))
    """
    assert run(program) == ["1.0", "6.0"]


def test_the_interpreter_ends_with_live_handles_and_threads():
    program = """
        import threading
        import fastprop as fp
        kept = [fp.Unit(1.0) * 2.0, fp.Array([1.0]) * 2.0, fp.Tape()]
        kept[2].__enter__()
        thread = threading.Thread(target=lambda: kept.append(fp.Unit(2.0) * 2.0))
        thread.start()
        thread.join()
        print(len(kept))
    """
    assert run(program) == ["4"]


def test_the_callers_rounding_is_not_changed():
    fp.exp(fp.Unit(1.0)).backward()
    assert 5e-324 * 0.5 == 0.0
    assert 2.0**-1074 > 0.0
    assert 1e16 + 1.0 == 1e16


def test_signals_are_the_programs_own():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
