"""Costs that grow with what is given: twice as much may cost twice as much, and never four times as much.

Work is counted, not timed: calls of functions (Python's and C's) and lines of Python, bytes at the peak, blocks that
are kept, gates in the circuits. Each row is measured at a size and at four times as much, without what a tiny one
costs: that may be four times the work, and with arrays that grow by doubling eight times the memory; a square would be
sixteen times it.
"""

import gc
import sys
import tracemalloc

import numpy as np
import pytest

import fastprop as fp

TINY = 2


def counted(work):
    """Count what a call does: functions called, lines run, blocks that are left."""
    calls = lines = 0

    def count_call(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    def count_line(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return count_line

    gc.disable()
    blocks, tracer = sys.getallocatedblocks(), sys.gettrace()
    sys.settrace(count_line)
    sys.setprofile(count_call)
    try:
        kept = work()
    finally:
        sys.setprofile(None)
        sys.settrace(tracer)
        gc.enable()
    blocks = sys.getallocatedblocks() - blocks
    del kept
    return calls, lines, blocks


def peak_of(work):
    """How many bytes a call takes at its peak."""
    tracemalloc.start()
    try:
        kept = work()
        return tracemalloc.get_traced_memory()[1], kept
    finally:
        tracemalloc.stop()


def gates_of(function):
    """How many gates the circuits of a compiled function have."""
    return sum(len(circuit) for circuit in function.circuits())


# Rows: of a size, a function, and the arguments of its calls one after the other.


def columns(n):
    weights, batch = np.ones(n), np.ones((4, n))
    step = fp.vmap(lambda w, x: sum(a * b for a, b in zip(w, x)), in_axes=(None, 0), reduce="sum")
    return fp.compile(fp.value_and_grad(step)), [(weights, batch)] * 3


def uncompiled(function):
    """A function that is called anew each time."""
    return lambda *args: function(*args)


def leaves(kind, compiled):
    def make(n):
        function = fp.value_and_grad(lambda p: fp.sum([x * x for x in p]))
        return fp.compile(function) if compiled else uncompiled(function), [([kind(i + 1) for i in range(n)],)] * 3

    return make


def guards(n):
    def decide(x):
        y = x
        for i in range(n):
            if y > -1.0 - i:
                y = y + 1.0
        return y

    return fp.compile(decide), [(1.0,)] * 3


def paths(n):
    """A search by halves: as many paths as there are points, of which each decides few times."""

    def find(x):
        low, high = 0, n
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if x < middle else (middle, high)
        return x * low

    return fp.compile(find), [(i + 0.5,) for i in range(n)] * 3


def lanes_of_paths(n):
    def find(x):
        low, high = 0, n
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if x < middle else (middle, high)
        return x * low

    return fp.compile(fp.vmap(find)), [(np.arange(n) + 0.5,)] * 3


def positional(n):
    return fp.compile(lambda *x: fp.sum(list(x))), [tuple(map(float, range(n)))] * 3


def positional_gradient(n):
    function = fp.value_and_grad(lambda *x: fp.sum(list(x)), argnums=tuple(range(n)))
    return fp.compile(function), [tuple(map(float, range(n)))] * 3


def captured_array(n):
    weights = fp.Array(np.ones(n))
    return fp.compile(fp.value_and_grad(lambda x: x * sum(w * w for w in weights))), [(2.0,)] * 3


def captured_arrays(n):
    weights = [fp.Array(np.ones(3)) for _ in range(n)]
    return fp.compile(fp.value_and_grad(lambda x: x * sum(w[1] for w in weights))), [(2.0,)] * 3


def captured_units(n):
    units = [fp.Unit(float(i)) for i in range(n)]
    return fp.compile(fp.value_and_grad(lambda x: x * fp.sum(units))), [(2.0,)] * 3


def captured_by_a_gate(n):
    units = [fp.Unit(float(i)) for i in range(n)]
    f = fp.compile(lambda x: x * fp.sum(units))
    return lambda x: f(x).backward(), [(2.0,)] * 3


def dict_of_arrays(n):
    weights = {f"w{i}": np.ones(3) for i in range(n)}
    return fp.compile(fp.value_and_grad(lambda p: sum(fp.dot(w, w) for w in p.values()))), [(weights,)] * 3


def dict_turned(n):
    weights = {f"w{i}": float(i) for i in range(n)}
    turned = dict(reversed(weights.items()))
    return fp.compile(fp.value_and_grad(lambda p: fp.sum(list(p.values())))), [(weights,), (turned,), (turned,)]


def containers(n):
    nested = [[1.0, (2.0, {"a": 3.0})] for _ in range(n)]
    return fp.compile(fp.value_and_grad(lambda p: sum(x * y * d["a"] for x, (y, d) in p))), [(nested,)] * 3


def containers_uncompiled(n):
    return uncompiled(fp.grad(lambda p: sum(x * y for x, (y,) in p))), [([[1.0, (2.0,)] for _ in range(n)],)] * 3


def statics(n):
    return fp.compile(lambda x, k: x * k, static_argnums=1), [(1.0, i) for i in range(n)] * 3


def texts(n):
    return fp.compile(lambda x, k: x * len(k)), [(1.0, f"{i:08}") for i in range(n)] * 3


def shapes(n):
    """As many forms, of arrays that are wide rather than long: their numbers do not count."""
    return fp.compile(lambda x: x[0, 0] * 2.0), [(np.ones((1, i + 1)),) for i in range(n)] * 3


def auxiliary(n):
    def loss(p):
        parts = [x * x for x in p]
        return fp.sum(parts), {"parts": parts}

    return fp.compile(fp.value_and_grad(loss, has_aux=True)), [([float(i) for i in range(n)],)] * 3


def keywords(n):
    names = [f"k{i}" for i in range(n)]
    f = fp.compile(lambda **given: fp.sum(list(given.values())))
    return lambda *values: f(**dict(zip(names, values))), [tuple(map(float, range(n)))] * 3


ROWS = {
    "C1 columns of a batch": (columns, 25),
    "C2 leaves that are np.float64": (leaves(np.float64, True), 30),
    "C2 leaves that are int": (leaves(int, True), 30),
    "C2 leaves that are np.float64, uncompiled": (leaves(np.float64, False), 100),
    "C2 leaves that are int, uncompiled": (leaves(int, False), 100),
    "C3 ifs": (guards, 60),
    "C4 paths": (paths, 12),
    "C4 paths of lanes": (lanes_of_paths, 16),
    "C6 positional arguments": (positional, 40),
    "C6 positional arguments that are differentiated": (positional_gradient, 40),
    "C6 numbers of a captured Array": (captured_array, 30),
    "C6 captured Arrays": (captured_arrays, 20),
    "C6 a dict of arrays": (dict_of_arrays, 20),
    "C7 auxiliary results": (auxiliary, 30),
    "C7 captured leaves": (captured_units, 40),
    "C7 captured leaves of a gate": (captured_by_a_gate, 40),
    "a dict whose keys come in another order": (dict_turned, 40),
    "keyword arguments": (keywords, 30),
    "containers": (containers, 15),
    "containers, uncompiled": (containers_uncompiled, 20),
    "static integers": (statics, 10),
    "static texts": (texts, 10),
    "forms": (shapes, 10),
}


def costs_of(make, n):
    """What the first round of calls costs, and a later one."""
    function, calls = make(n)
    size = len(calls) // 3
    rounds = [calls[:size], calls[size : 2 * size], calls[2 * size :]]

    def work(given):
        return [function(*args) for args in given]

    costs = {}
    for given, name in zip(rounds, ("at first", "again", "later")):
        calls, lines, blocks = counted(lambda given=given: work(given))
        costs |= {f"functions called {name}": calls, f"lines run {name}": lines, f"blocks left {name}": blocks}
    if not hasattr(function, "circuits"):
        return costs
    gates = gates_of(function)
    function, calls = make(n)
    blocks = sys.getallocatedblocks()
    peak, kept = peak_of(lambda: work(rounds[0]))
    del kept
    gc.collect()
    return {**costs, "gates": gates, "KiB at the peak": peak >> 10, "blocks": sys.getallocatedblocks() - blocks}


@pytest.mark.parametrize("row", ROWS)
def test_twice_as_much_costs_twice_as_much(row):
    make, n = ROWS[row]
    costs_of(make, TINY)  # what is done once, in the whole process
    tiny, once, fourfold = (costs_of(make, size) for size in (TINY, n, 4 * n))
    for what in once:
        less, more = once[what] - tiny[what], fourfold[what] - tiny[what]
        slack = 400 + 8 * n if what.startswith("blocks") else 100  # Python keeps freed numbers and lists for a while
        assert more <= 8 * max(less, 0) + slack, (what, tiny[what], once[what], fourfold[what])


@pytest.mark.parametrize("n", [8, 32])
def test_a_hessian_at_an_array_costs_what_it_does_at_a_list(n):
    """C5."""

    def energy(p):
        return sum(p[i] * p[i + 1] * p[i + 1] for i in range(n - 1))

    x, costs = np.linspace(0.5, 1.5, n), []
    for point in (x, x.tolist()):
        hessian = fp.hessian(energy)
        hessian(point)
        calls, _, _ = counted(lambda hessian=hessian, point=point: hessian(point))
        costs.append((calls, len(fp.trace(fp.hessian(energy), point))))
    of_array, of_list = costs
    assert of_array[0] <= 5 * of_list[0] and of_array[1] <= of_list[1], costs


def test_auxiliary_results_cost_their_own_gates():
    def loss(p):
        parts = [x * x for x in p]
        return fp.sum(parts), parts

    x = [float(i) for i in range(100)]
    plain = fp.compile(fp.value_and_grad(lambda p: loss(p)[0]))
    aux = fp.compile(fp.value_and_grad(loss, has_aux=True))
    assert (aux(x)[0][0], aux(x)[1]) == plain(x)
    assert gates_of(aux) <= gates_of(plain) + 100


def test_known_calls_call_no_function():
    """Whatever the form, the path, and the order in which they come: all of it is C."""
    for row in ("C4 paths", "static texts", "forms", "C6 a dict of arrays", "C7 captured leaves", "C3 ifs"):
        make, n = ROWS[row]
        function, calls = make(min(n, 20))
        rounds = len(calls) // 3
        for args in calls[: 2 * rounds]:
            function(*args)

        def work(function=function, given=calls[2 * rounds :]):
            for args in given:
                function(*args)

        found, _, _ = counted(work)
        assert found <= 2, (row, found)  # the work itself, and what ends the count


def layer(p, x, y):
    w, b = p
    return ((fp.tanh(w @ x + b) - y) ** 2).sum()


def elements(p, x, y):
    w, b = p
    z = (w * x + b[:, None]).T
    return fp.sum(fp.maximum(z, 0.5) * 2.0, axis=0).mean() + (w[0] * x).max() - y.sum()


def with_integers(p, x, y):
    w, b = p
    z = fp.maximum(2 * w**2, np.float32(3)) / 2 + 1 / (1 + fp.clip(x, 0, 1) ** 2)
    return (np.int64(2) * z * True + b[:, None]).sum() - y.sum()


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("loss", [layer, elements, with_integers])
def test_a_first_call_costs_no_python_per_number_of_arrays(loss, lanes):
    def calls(n):
        p, x, y = (np.full((4, n), 0.1), np.zeros(4)), np.linspace(-1.0, 1.0, n), np.zeros(4)
        if lanes:
            f, x, y = fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean"), np.array([x, x]), np.array([y, y])
        else:
            f = loss
        found, _, _ = counted(lambda: fp.compile(fp.value_and_grad(f))(p, x, y))
        return found

    calls(50)  # what is done once, in the whole process
    assert calls(200) <= calls(50) + 100  # there are 600 numbers more


@pytest.mark.parametrize("loss", [layer, elements, with_integers])
def test_captured_arrays_cost_no_python_per_number(loss):
    def calls(n):
        p, x, y = (fp.Array(np.full((4, n), 0.1)), fp.Array(np.zeros(4))), np.ones((2, n)), np.zeros((2, 4))
        step = fp.compile(fp.vmap(lambda x, y: loss(p, x, y), reduce="mean"))
        found, _, _ = counted(lambda: step(x, y).backward())
        return found

    calls(50)
    assert calls(200) <= calls(50) + 100


def updated(p, x, y):
    slopes = fp.grad(layer)(p, x, y)
    return [q - 0.1 * slope for q, slope in zip(p, slopes)]


def updated_from_lanes(p, x, y):
    loss = fp.vmap(layer, in_axes=(None, 0, 0), reduce="mean")
    value, slopes = fp.value_and_grad(lambda p: loss(p, fp.stack([x, x]), fp.stack([y, y])))(p)
    return value, [fp.clip(q - 0.1 * slope, -1, 1) for q, slope in zip(p, slopes)]


def epoch(p, x, y):
    def step(carry, i):
        p, moved = carry
        return (updated(p, x, y), [0.9 * m + i * q for m, q in zip(moved, p)]), i

    return fp.scan(step, (p, p), np.ones(3))


@pytest.mark.parametrize("function", [updated, updated_from_lanes, epoch])
def test_a_step_that_is_compiled_with_its_update_costs_no_python_per_number(function):
    def calls(n):
        p, x, y = [np.full((4, n), 0.1), np.zeros(4)], np.linspace(-1.0, 1.0, n), np.zeros(4)
        found, _, _ = counted(lambda: fp.compile(function)(p, x, y))
        return found

    calls(100)  # what is done once, in the whole process
    assert calls(12_800) <= calls(6_400) + 100  # there are 25,600 numbers more


def masked(x):
    return fp.where(np.tri(len(x), dtype=bool), x, -np.inf)


@pytest.mark.parametrize(
    "function",
    [
        fp.softmax,
        fp.log_softmax,
        lambda x: fp.softmax(masked(x)),
        lambda x: fp.std(x, axis=1),
        lambda x: fp.var(x, axis=0),
    ],
    ids=["softmax", "log_softmax", "causal", "std", "var"],
)
def test_what_weighs_many_numbers_is_recorded_row_by_row(function):
    def calls(n):
        found, _, _ = counted(lambda: fp.compile(lambda x: fp.sum(function(x) ** 2))(np.ones((n, n))))
        return found

    calls(10)
    assert calls(40) < 5 * calls(10)  # there are sixteen times the numbers


def test_rows_changed_at_traced_indices_are_chosen_as_blocks():
    def calls(columns):
        x, i = np.ones((20, columns)), np.arange(10) % 4
        return counted(lambda: fp.compile(lambda x, i: fp.at(x * 0.5)[i].add(x[i]))(x, i))[0]

    calls(2)
    assert calls(40) < 6 * calls(2)  # there are twenty times the numbers; chosen one by one, eleven times the calls
