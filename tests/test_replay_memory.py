"""Memory of circuits and their runs: none for a bound call, none that grows, and any allocation may fail."""

import gc
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest

import fastprop as fp


def run(program):
    """What a program prints that runs in a process of its own."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout.split()


# Not of what traces or binds: Python 3.11 itself crashes where an iteration over dict.items() has no memory.
OPERATIONS = [
    "circuit([0.5, 0.25], 2.0)",
    "circuit.value_and_grad([0.5, 0.25], 2.0)",
    "circuit.vjp(([0.5, 0.25], 2.0), 1.5)",
    "circuit.forward([0.5, 0.25], 2.0).backward()",
    "circuit.batch([ones, ones], 2.0, in_axes=(0, None))",
    "circuit.batch([ones, ones], ones, reduce='sum')",
    "bound()",
    "bound_lanes()",
    "compiled([0.5, 0.25], 2.0)",
]
if sys.version_info >= (3, 12):  # there Python itself crashes where it has no memory to make a function
    OPERATIONS = ["bound()"]


@pytest.mark.memory
def test_every_allocation_may_fail():
    pytest.importorskip("_testcapi")
    program = f"""
        import _testcapi, gc
        import numpy as np, fastprop as fp
        def f(x, y):
            z = fp.tanh(x[0] * y) + fp.dot(x, [y, 3.0]) + leaf
            return z * x[1] if x[0] > 0.0 else fp.max([z, x[1]])
        leaf = fp.Unit(0.5)
        fp.set_num_threads(1)
        one, ones = np.full((), 0.5), np.full(70, 0.5)
        circuit = fp.trace(f, [0.5, 0.5], 3.0)
        bound = circuit.bind([one, one], one)
        bound_lanes = circuit.bind([ones, ones], ones, in_axes=0)
        compiled = fp.compile(fp.value_and_grad(f))
        expected = circuit.value_and_grad([0.5, 0.25], 2.0)
        for operation in {OPERATIONS}:
            print(operation.replace(" ", ""), flush=True)
            use = eval("lambda: " + operation)
            use()
            compiled([0.5, 0.25], 2.0)
            gc.enable()
            gc.collect()
            gc.disable()
            failures = k = 0
            while k < 4000:
                _testcapi.set_nomemory(k, k + 1)
                try:
                    use()
                    failed = False
                except (MemoryError, SystemError):  # SystemError: NumPy's own, where it runs out of memory
                    failed = True
                except RuntimeError as error:  # Python's own, where it has no memory for a lock
                    assert "can't allocate lock" in str(error), error
                    failed = True
                finally:
                    _testcapi.remove_mem_hooks()
                failures += failed
                k += 1 + k // 100
                assert circuit.value_and_grad([0.5, 0.25], 2.0) == expected, k
                bound(); bound_lanes()
                assert abs(float(bound.value) - float(bound_lanes.value[69])) < 1e-15, k
                assert compiled([0.5, 0.25], 2.0) == expected, k
                use()
                if not failed and k > 3000:
                    break
            print(failures)
    """
    found = run(program)
    assert len(found) == 2 * len(OPERATIONS)
    for operation, failures in zip(OPERATIONS, found[1::2]):
        assert int(failures) >= (0 if operation == "bound()" else 1), operation


def test_a_bound_call_allocates_nothing():
    circuit = fp.trace(lambda x, y: fp.tanh(x[0] * y) + fp.dot(x, x), np.ones(50), 1.0)
    call = circuit.bind(np.linspace(0.0, 1.0, 50), np.full((), 0.5))
    call()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for _ in range(1000):
            call()
        assert sys.getallocatedblocks() - before < 5
    finally:
        gc.enable()
    x = np.linspace(0.0, 1.0, 50)
    assert call.value == pytest.approx(np.tanh(x[0] * 0.5) + x @ x)


REPEATED = {  # how often until the allocator has met every size, and what is cached is all there
    "fp.trace(f, 0.5)(0.25)": 200,
    "circuit.value_and_grad(0.25)": 200,
    "circuit.forward(0.25).backward()": 200,
    "circuit.batch(ones)": 200,
    "circuit.bind(ones, in_axes=0)()": 200,
    "fp.compile(f)(0.5)": 200,
    "fp.compile(fp.value_and_grad(fp.vmap(f, reduce='sum')))(ones)": 700,
}


@pytest.mark.memory
def test_memory_stays_flat():
    program = f"""
        import os, gc
        import numpy as np, fastprop as fp
        def resident():
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        def f(x):
            for _ in range(30):
                x = fp.sin(x) * 1.5
            return x
        ones = np.ones(300)
        circuit = fp.trace(f, 0.5)
        for use, often in {REPEATED}.items():
            use = eval("lambda: " + use)
            for _ in range(often):
                use()
            gc.collect()
            before = resident()
            for _ in range(500):
                use()
            gc.collect()
            print(resident() - before)
    """
    found = list(map(int, run(program)))
    assert len(found) == len(REPEATED)
    assert max(found) < 1_500_000, found


def test_circuits_go_with_their_last_reference():
    class Big:
        pass

    def used():
        held = Big()

        def f(x):
            assert held is not None
            return x * x if x > 0.0 else x

        circuit = fp.trace(f, 1.0)
        circuit.forward(2.0).backward()
        circuit.bind(np.ones(10), in_axes=0)()
        compiled = fp.compile(f)
        compiled(1.0), compiled(-1.0)
        fp.compile(fp.vmap(f))(np.array([1.0, -1.0]))
        return weakref.ref(held)

    references = [used() for _ in range(5)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 5


def test_no_argument_is_kept_alive():
    class Own(np.ndarray):
        pass

    compiled, circuit = fp.compile(lambda x: fp.sum(x * x)), fp.trace(lambda x: fp.sum(x * x), np.ones(3))
    reduced = fp.compile(fp.value_and_grad(fp.vmap(lambda x: x * x, reduce="sum")))
    for function in (compiled, circuit, circuit.value_and_grad, reduced):
        given = np.array([1.0, 2.0, 3.0]).view(Own)
        reference = weakref.ref(given)
        function(given)
        del given
        gc.collect()
        assert reference() is None, function
    given = np.array([1.0, 2.0, 3.0]).view(Own)
    reference = weakref.ref(given)
    fp.trace(lambda x: fp.sum(x), given)
    circuit.batch(given.reshape(1, 3))
    del given
    gc.collect()
    assert reference() is None
