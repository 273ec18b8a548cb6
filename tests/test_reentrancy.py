"""What runs in the middle of recording, sweeping and listing gates: destructors, interrupts, users' code."""

import gc
import math
import sys

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.tape import Trace


def test_listing_gates_runs_no_code_of_the_users():
    class Resetting(fp.Array):
        armed = False

        @property
        def value(self):
            if Resetting.armed:
                tape.reset()
            return fp.Array.value.__get__(self)

    with fp.Tape() as tape:
        leaf = Resetting(np.ones(3))
        variable = tape._variable(1.0)
        total = (leaf * variable).sum()
        Resetting.armed = True
        steps = tape._steps([total], [variable])
    assert (total.value, len(tape)) == (3.0, 3)
    assert [gate.name for _, gate, *_ in steps[2]] == ["sum", "multiply"]


def test_a_tape_whose_slots_have_to_stay_where_they_are_refuses_a_reset():
    trace = Trace()
    variable = trace._variable(1.0)
    with pytest.raises(RuntimeError, match="can't be reset"):
        trace.reset()
    assert len(trace) == 1
    del variable


def test_a_destructor_that_leaves_the_tape_on_which_a_gate_is_recorded():
    class Leaving(fp.Unit):
        def __del__(self):
            if entered:
                entered.pop()
                kept.clear()
                fp.current_tape().__exit__(None, None, None)

    fp.Tape().__enter__()
    entered = [True]
    x = fp.Unit(1.0)
    kept = [x * 1.0]
    leaving = Leaving(2.0)
    leaving * 3.0
    del leaving
    with pytest.raises(fp.StaleUnitError, match="destructor"):
        while entered:
            x * 2.0
    assert (x * 2.0).value == 2.0


def test_an_interrupt_between_the_operands_of_a_gate_leaves_clean_adjoints():
    class Both(fp.Gate):
        def forward(self, a, b):
            return float(a + b.sum())

        def backward(self, pull, a, b):
            return pull, np.full(b.shape, pull)

    x, w = fp.Unit(1.0), fp.Array(np.ones(2))
    y = Both()(x * 2.0, w * 2.0)
    seen = []

    def interrupt(frame, event, argument):
        if event == "call" and frame.f_code.co_name == "fit":
            seen.append(frame)
            if len(seen) == 2:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            y.backward()
    finally:
        sys.setprofile(None)
    assert (x.grad, y.grad) == (0.0, 0.0)
    y.backward()
    assert (x.grad, y.grad, w.grad.tolist()) == (2.0, 1.0, [2.0, 2.0])


def test_results_of_other_tapes_are_constants_of_a_transform_in_any_order(engine):
    with engine.Tape():
        a = engine.Unit(1.0) * 2.0
    with engine.Tape():
        b = engine.Unit(2.0) * 3.0
    assert engine.grad(lambda c: engine.fma(a, b, c))(3.0) == 1.0
    assert engine.grad(lambda c: engine.fma(c, a, b))(3.0) == 2.0
    assert engine.grad(lambda c: engine.sum([a, b, c]))(3.0) == 1.0
    with pytest.raises(ValueError, match="tape"):
        engine.sum([a, b])


def test_a_variable_that_outlives_its_transform_is_a_constant(engine):
    kept = []
    engine.grad(lambda x: (kept.append(x), x * x)[1])(2.0)
    assert engine.grad(lambda y: y * kept[0])(1.0) == 2.0


def test_partials_are_as_recorded_in_derivatives_of_derivatives(engine):
    w, x = engine.Unit(2.0), engine.Unit(3.0)
    _, pull_back = engine.vjp(lambda a: a * w * w, x)
    w.value = 10.0
    assert pull_back(1.0)[0].value == 4.0
    weights = engine.Array([1.0, 2.0])

    def changing(a):
        product = (a @ weights) * (a @ weights)
        weights.value = [10.0, 10.0]
        return product

    assert engine.hessian(changing)(np.ones(2)).tolist() == [[2.0, 4.0], [4.0, 8.0]]


def test_a_transform_of_plain_numbers_inside_another_gives_plain_numbers(engine):
    inner = engine.grad(lambda y: y * y)
    assert engine.grad(lambda x: x * math.exp(inner(1.0)))(2.0) == math.exp(2.0)
    assert engine.grad(lambda x: x * engine.grad(lambda y: x * y * y)(1.0))(3.0) == 12.0

    class Inside(engine.Gate):
        def forward(self, value):
            return engine.grad(lambda q: q**3)(value)

        def backward(self, pull, value):
            return pull * engine.grad(engine.grad(lambda q: q**3))(value)

    assert engine.grad(Inside())(2.0) == 12.0


def test_bools_in_lists_are_refused(engine):
    calls = [
        lambda: engine.Array([1.0, True]),
        lambda: engine.Array([[1.0, 2.0], [True, 3.0]]),
        lambda: engine.Array([1.0, 2.0]).backward([1.0, True]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="element"):
            call()


def test_where_takes_a_condition_array_with_single_numbers(engine):
    condition = np.array([True, False])
    assert engine.where(condition, engine.Unit(3.0), 0).value.tolist() == [3.0, 0.0]
    assert np.where(condition, 1.0, engine.Unit(2.0)).value.tolist() == [1.0, 2.0]
    assert engine.where(condition, np.float32([1.0, 2.0]), engine.Unit(2.0)).value.dtype == np.float32


def test_a_tape_keeps_what_was_reserved():
    tape = fp.Tape()
    tape.reserve(2_000_000)
    size = tape.nbytes
    with tape:
        x = fp.Unit(1.0)
        for _ in range(20_000):
            x * 2.0
    assert tape.nbytes >= size


def test_constant_integer_exponents_of_negative_bases_take_no_logarithm(engine):
    x = engine.Unit(-2.0)
    (x**3).backward()
    (x**-2.0).backward()
    assert x.grad == 12.0 + 0.25


def test_elements_beyond_any_integer(engine):
    with pytest.raises(IndexError):
        engine.Array([1.0, 2.0])[10**30]


def test_polygamma_of_an_enormous_order_ends():
    assert fp.polygamma(1e13, 5.0) == -math.inf
    assert fp.polygamma(1e13 + 1.0, 5.0) == math.inf


class StoppedError(Exception):
    pass


def calls_until(function, last):
    """How many Python functions are called; an exception comes with the last that is allowed."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"
        if count == last:
            sys.setprofile(None)
            raise StoppedError

    gc.disable()  # what the collector calls is not the function's
    sys.setprofile(note)
    try:
        function()
    except StoppedError:
        pass
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # from what dies meanwhile
@pytest.mark.parametrize("some", [50, pytest.param(600, marks=pytest.mark.slow)])
def test_a_first_call_that_is_stopped_anywhere_can_be_repeated(some):
    """It records, and, as a leaf is captured, records once more what computes gradients itself."""
    w, x = fp.Array(np.array([1.0, 2.0])), np.array([3.0, 4.0])

    def model(t):
        return fp.sum(fp.vmap(fp.grad(lambda q, v: q * q * v), in_axes=(0, 0))(t, w))

    def tried(last):
        f = fp.compile(model)
        calls = calls_until(lambda: f(x), last)
        f(x).backward()
        slope, w.grad = w.grad.tolist(), 0.0
        assert slope == [6.0, 8.0], last
        return calls

    calls = tried(0)
    for last in range(1, calls, max(calls // some, 1)):
        tried(last)
    for last in range(calls - 30, calls + 1):
        tried(last)
