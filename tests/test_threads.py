"""Lanes on threads: a circuit shared by many, errors on any of them, processes, Ctrl-C, the end of the interpreter."""

import multiprocessing
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import fastprop as fp
from fastprop.circuits.recorded_map import RecordedMap
from fastprop.threads import run_on_threads
from programs import FORKS, holds_in_child, in_threads
from programs import LANES_W as W
from programs import lanes_data as data
from programs import lanes_loss as loss
from programs import lanes_oracle as oracle

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.mark.parametrize("inner", [1, 3])
def test_eight_threads_share_a_circuit(inner, always_threads):
    fp.set_num_threads(inner)
    circuit = fp.trace(loss, W, 0.5, 0.25)
    x, y = data(3000, 11)
    expected = [circuit.batch(W, x + i, y, in_axes=(None, 0, 0)) for i in range(8)]
    at_points = [circuit.value_and_grad(W, 0.1 * i, 0.3) for i in range(8)]

    def work(i):
        for _ in range(5):
            np.testing.assert_array_equal(circuit.batch(W, x + i, y, in_axes=(None, 0, 0)), expected[i])
            assert circuit.value_and_grad(W, 0.1 * i, 0.3) == at_points[i]
        return True

    assert in_threads([lambda i=i: work(i) for i in range(8)]) == [True] * 8
    np.testing.assert_allclose(expected[0][:9], oracle(x[:9], y[:9])[0], rtol=1e-12)


def test_pools_grow_while_others_use_them(always_threads):
    circuit = fp.trace(loss, W, 0.5, 0.25)
    x, y = data(2000, 12)
    fp.set_num_threads(1)
    expected = circuit.batch(W, x, y, in_axes=(None, 0, 0))

    def work(i):
        for k in range(10):
            fp.set_num_threads(1 + (i + k) % 12)
            np.testing.assert_array_equal(circuit.batch(W, x, y, in_axes=(None, 0, 0)), expected)
        return i

    assert in_threads([lambda i=i: work(i) for i in range(6)]) == list(range(6))


def test_a_bound_circuit_belongs_to_one_thread_at_a_time(always_threads):
    circuit = fp.trace(loss, W, 0.5, 0.25)
    x, y = data(400_000, 13)
    run = circuit.bind(W, x, y, in_axes=(None, 0, 0))
    started = threading.Barrier(2)

    def work():
        started.wait()
        found = []
        for _ in range(20):
            try:
                run()
            except RuntimeError as error:
                found.append(str(error))
                break
        return found

    refused = [message for found in in_threads([work, work]) for message in found]
    assert refused and all("another thread" in message for message in refused)
    run()
    np.testing.assert_allclose(run.value[:9], oracle(x[:9], y[:9])[0], rtol=1e-12)


@pytest.mark.parametrize("guilty", [True, False], ids=["main", "other"])
def test_an_error_on_any_thread_ends_all_and_comes_out(guilty):
    fp.set_num_threads(4)
    stopped, begun = threading.Event(), threading.Event()

    def work(main):
        if main:
            assert begun.wait(30.0)
        begun.set()
        if main is guilty:
            raise ZeroDivisionError("here")
        assert main or stopped.wait(30.0)

    with pytest.raises(ZeroDivisionError, match="here"):
        run_on_threads(work, stopped.set, 4)
    assert stopped.is_set()


def test_threads_that_are_busy_are_not_waited_for(monkeypatch):
    """A caller whose work is done does not wait for the turn of what it has given to a pool in use by others."""
    fp.set_num_threads(2)
    go_on, other_began = threading.Event(), threading.Event()

    def slow(main):
        if not main:
            other_began.set()
            assert go_on.wait(30.0)

    from fastprop import threads

    monkeypatch.setattr(threads, "_pool", None)
    holder = threading.Thread(target=run_on_threads, args=(slow, lambda: None, 2))
    holder.start()
    assert other_began.wait(30.0)
    ran = []
    run_on_threads(ran.append, lambda: None, 2)
    assert ran == [True] and holder.is_alive()
    go_on.set()
    holder.join()


def test_number_of_threads(monkeypatch):
    assert fp.get_num_threads() >= 1
    fp.set_num_threads(3)
    assert fp.get_num_threads() == 3
    for wrong, error in [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)]:
        with pytest.raises(error, match="number of threads"):
            fp.set_num_threads(wrong)
    fp.set_num_threads(None)
    monkeypatch.setenv("FASTPROP_NUM_THREADS", "5")
    assert fp.get_num_threads() == 5
    for wrong in ("0", "-1", "many", ""):
        monkeypatch.setenv("FASTPROP_NUM_THREADS", wrong)
        with pytest.raises(ValueError, match="FASTPROP_NUM_THREADS"):
            fp.get_num_threads()


# Processes and signals


def run_program(program):
    """What a program prints that runs in a process of its own."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@FORKS
def test_fork_after_threads(always_threads):
    fp.set_num_threads(3)
    circuit = fp.trace(loss, W, 0.5, 0.25)
    x, y = data(5000, 14)
    expected = circuit.batch(W, x, y, in_axes=(None, 0, 0))
    assert holds_in_child(lambda: (circuit.batch(W, x, y, in_axes=(None, 0, 0)) == expected).all())
    np.testing.assert_array_equal(circuit.batch(W, x, y, in_axes=(None, 0, 0)), expected)


@FORKS
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("map_lanes", [False, True], ids=["compile", "vmap"])
def test_fork_while_another_thread_records(map_lanes):
    recorder, begun, done = threading.get_ident(), threading.Event(), threading.Event()

    def f(x):
        if threading.get_ident() != recorder:
            begun.set()
            done.wait(60)
        return x * x if x > 0 else -x

    compiled = fp.compile(fp.vmap(f) if map_lanes else f)
    argument = np.array([3.0, 3.0]) if map_lanes else 3.0
    other = threading.Thread(target=compiled, args=(argument,))
    other.start()
    try:
        assert begun.wait(60)
        assert holds_in_child(lambda: np.all(compiled(argument) == 9.0) and np.all(compiled(-argument) == 3.0))
    finally:
        done.set()
        other.join()
    assert np.all(compiled(argument) == 9.0)


def in_another_process(seed):  # pragma: no cover
    fp.set_num_threads(2)
    x, y = data(70_000, seed)
    circuit = fp.trace(loss, W, 0.5, 0.25)
    return circuit.batch(W, x, y, in_axes=(None, 0, 0), reduce="sum")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_a_process(method):
    expected = in_another_process(15)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(in_another_process, (15,)) == expected


def test_ctrl_c_ends_a_run_of_lanes_soon():
    program = """
        import signal, threading, time
        import numpy as np, fastprop as fp
        fp.set_num_threads(2)
        def f(x):
            for _ in range(60):
                x = fp.gammaln(2.0 + x * x)
            return x
        circuit = fp.trace(f, 0.5)
        x = np.linspace(0.0, 1.0, 400_000)
        circuit.batch(x[:100])
        began = time.perf_counter()
        circuit.batch(x[:40_000])
        whole = 10.0 * (time.perf_counter() - began)
        sent = []
        def interrupt():
            time.sleep(0.1)
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            while True:
                circuit.batch(x)
        except KeyboardInterrupt:
            waited = time.perf_counter() - sent[0]
        thread.join()
        expected = circuit.batch(x[:5])
        again = circuit.batch(x[:1000])[:5]
        print(waited < max(0.5, whole / 4), (again == expected).all(), threading.active_count() <= 2)
    """
    assert run_program(program) == ["True"] * 3


def test_ctrl_c_ends_a_long_point_run_soon():
    program = """
        import signal, threading, time
        import fastprop as fp
        def f(x):
            for _ in range(300_000):
                x = fp.sin(x) * 1.1
            return x
        circuit = fp.trace(f, 0.5)
        expected = circuit.value_and_grad(0.5)
        def interrupt():
            time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        interrupted = False
        try:
            while True:
                circuit.value_and_grad(0.5)
        except KeyboardInterrupt:
            interrupted = True
        thread.join()
        print(interrupted, circuit.value_and_grad(0.5) == expected)
    """
    assert run_program(program) == ["True", "True"]


def test_the_interpreter_ends_with_a_live_pool():
    program = """
        import atexit
        import numpy as np, fastprop as fp
        from fastprop.engine import run
        run.THREAD_WORTHY = 1
        fp.set_num_threads(4)
        circuit = fp.trace(lambda x: fp.exp(x) * x, 0.5)
        x = np.linspace(0.0, 1.0, 10_000)
        first = circuit.batch(x)
        atexit.register(lambda: print((circuit.batch(x) == first).all()))
        print(len(first))
    """
    assert run_program(program) == ["10000", "True"]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("summed", [False, True])
def test_a_way_that_another_thread_finds_in_the_midst_of_a_sweep(summed, at, monkeypatch):
    """Whether lanes write or add, and where they go, is decided by one and the same tree."""

    def f(x, y):
        for _ in range(40):
            x = fp.tanh(x) * 2.0 if y > 0.5 else fp.sin(x) * 2.0
        return x

    def compiled():
        if summed:
            return fp.compile(fp.value_and_grad(fp.vmap(f, reduce="sum")))
        return fp.compile(fp.vmap(fp.value_and_grad(f)))

    x, zeros, ones = np.linspace(0.1, 1.0, 7), np.zeros(7), np.ones(7)
    expected = compiled()(x, zeros)[1]
    tree, asked = RecordedMap.tree, []

    def find_more(region):
        asked.append(None)
        if len(asked) == at:
            other = threading.Thread(target=lambda: [known(x, ones) for _ in range(60)])
            other.start()
            other.join()
        return tree(region)

    known = compiled()
    known(x, zeros)
    monkeypatch.setattr(RecordedMap, "tree", find_more)
    np.testing.assert_allclose(known(x, zeros)[1], expected, rtol=1e-12)
