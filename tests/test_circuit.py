"""Circuits: calls, runs, nested arguments, several outputs, bound calls, batches, dtypes, errors."""

import collections
import copy
import dataclasses
import pickle
import threading
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
import fastprop.circuits.bind
import fastprop.circuits.circuit
from fastprop import reference

Layer = collections.namedtuple("Layer", "weights bias")


@dataclasses.dataclass
class Model:
    layer: Any
    scale: Any


def formula(x, y, fp=fp):
    return x * y + fp.exp(x) * fp.tanh(y) - fp.maximum(x, y)


# Random circuits against the reference, which never sees the engine

UNARY = ["tanh", "sin", "exp", "sigmoid", "negative", "absolute", "square", "softplus", "relu"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "hypot"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(UNARY), st.integers(0, 99)),
        st.tuples(st.sampled_from(BINARY), st.integers(0, 99), st.integers(0, 99)),
    ),
    min_size=1,
    max_size=25,
)
POINT = st.floats(-1.5, 1.5, allow_nan=False)


def build(engine, steps):
    def f(x):
        values = [x[0], x[1], x[2], 0.5]
        for name, *operands in steps:
            last = [values[i % len(values)] for i in operands]
            value = getattr(engine, name)(*last)
            values.append(engine.tanh(value) if name in ("exp", "square", "multiply") else value)
        return values[-1] * 1.0 + values[len(values) // 2] * x[0]

    return f


@settings(max_examples=40)
@given(steps=STEPS, at=st.tuples(POINT, POINT, POINT), new=st.tuples(POINT, POINT, POINT))
def test_random_circuits_at_new_inputs(steps, at, new):
    circuit = fp.trace(build(fp, steps), list(at))
    value, gradient = circuit.value_and_grad(list(new))
    expected, slopes = reference_gradient(build(reference_gates(), steps), new)
    assert value == pytest.approx(expected, rel=1e-13, abs=1e-13)
    assert gradient == pytest.approx(slopes, rel=1e-11, abs=1e-11)
    assert circuit(list(new)) == value
    x, slots = np.array(new), np.zeros(3)
    bound = circuit.bind(x, grad=slots)
    bound()
    assert_array_equal(slots, gradient)
    assert bound.value == value
    rows = np.stack([at, new, at], axis=1)
    lanes = fp.trace(lambda x: build(fp, steps)(x), np.array(at)).batch(rows, in_axes=1)
    assert lanes[1] == pytest.approx(expected, rel=1e-13, abs=1e-13)


def reference_gates():
    class Gates:
        def __getattr__(self, name):
            return getattr(fp, name)  # gate functions take the reference's handles, too

    return Gates()


def reference_gradient(f, point):
    xs = [reference.Unit(x) for x in point]
    result = f(xs)
    result.backward()
    return result.value, [x.grad for x in xs]


# Calls


def test_value_and_gradient_at_new_inputs():
    circuit = fp.trace(formula, 0.3, -0.7)
    for x, y in [(0.3, -0.7), (1.5, 2.0), (-2.0, 0.25), (1.0, 1.0)]:
        assert circuit(x, y) == pytest.approx(formula(x, y), rel=1e-15)
        value, slopes = circuit.value_and_grad(x, y, argnums=(0, 1))
        expected, expected_slopes = fp.value_and_grad(formula, (0, 1))(x, y)
        assert value == pytest.approx(expected, rel=1e-15)
        assert slopes == pytest.approx(expected_slopes, rel=1e-14)


@pytest.mark.parametrize(
    ("argnums", "expected"), [(0, 6.0), (1, 3.0), (-1, 2.0), ((2, 0), (2.0, 6.0)), (np.int64(1), 3.0), ((), ())]
)
def test_argnums(argnums, expected):
    circuit = fp.trace(lambda x, y, z: x * y * z, 1.0, 1.0, 1.0)
    assert circuit.value_and_grad(1.0, 2.0, 3.0, argnums=argnums) == (6.0, expected)


@pytest.mark.parametrize("argnums", [3, -4, (0, 5), True, "x", 1.0, (0, -3)])
def test_argnums_that_are_none(argnums):
    circuit = fp.trace(lambda x, y, z: x * y * z, 1.0, 1.0, 1.0)
    with pytest.raises((TypeError, ValueError), match="argnums"):
        circuit.value_and_grad(1.0, 2.0, 3.0, argnums=argnums)


@pytest.mark.parametrize("x", [3, np.float32(3), np.int16(3), np.array(3.0), Fraction(3), Decimal(3)], ids=repr)
def test_what_counts_as_a_float(x):
    found = fp.trace(lambda x: x * x, 1.0)(x)
    assert type(found) is float
    assert found == 9.0


@pytest.mark.parametrize(
    "x", [True, np.True_, 1j, "1", None, object(), np.array(["a"])], ids=lambda x: type(x).__name__
)
def test_what_does_not_is_named(x):
    circuit = fp.trace(lambda x, y: x * y["w"][1], 1.0, {"w": [1.0, 2.0]})
    with pytest.raises(TypeError, match=r"argument 1\['w'\]\[1\] (is|has dtype)"):
        circuit(1.0, {"w": [1.0, x]})
    if x is None or isinstance(x, (bool, np.bool_, str)):
        circuit = fp.trace(lambda x, y: x * (2.0 if y["w"][1] else 3.0), 1.0, {"w": [1.0, x]})
        assert circuit(1.0, {"w": [5.0, x]}) == (2.0 if x else 3.0)
        with pytest.raises(ValueError, match=r"argument 1\['w'\]\[1\] is 'other', but was"):
            circuit(1.0, {"w": [5.0, "other"]})
        return
    with pytest.raises(TypeError, match=r"argument 1\['w'\]\[1\] (is|has dtype)"):
        fp.trace(lambda x, y: x * 1.0, 1.0, {"w": [1.0, x]})


def test_arguments_of_another_form():
    circuit = fp.trace(lambda x, a: x[0] * a.sum(), [1.0, 2.0], np.ones(3))
    ok = np.ones(3)
    for args, error, match in [
        (([1.0, 2.0],), TypeError, "takes 2 arguments, got 1"),
        (([1.0, 2.0], ok, 1.0), TypeError, "takes 2 arguments, got 3"),
        (([1.0], ok), ValueError, r"argument 0 has length 1, where 2"),
        (((1.0, 2.0), ok), TypeError, r"argument 0 is a tuple, where a list"),
        (([1.0, [2.0]], ok), TypeError, r"argument 0\[1\] is a list"),
        (([1.0, 2.0], np.ones(4)), ValueError, r"argument 1 has shape \(4,\).*\(3,\)"),
        (([1.0, 2.0], 1.0), ValueError, r"argument 1 has shape \(\)"),
        (([1.0, ok], ok), ValueError, r"argument 0\[1\] has shape \(3,\)"),
        (([1.0, 2.0], ok.astype(np.float32)), TypeError, "argument 1 has dtype float32"),
        (([1.0, 2.0], ok.astype(complex)), TypeError, "argument 1 has dtype complex"),
    ]:
        for call in (circuit, circuit.forward, circuit.value_and_grad, lambda *args: circuit.vjp(args)):
            with pytest.raises(error, match=match):
                call(*args)
    assert circuit([2.0, 0.0], np.array([1, 2, 3])) == 12.0


def test_nested_arguments_and_gradients_in_their_form():
    def f(p, x):
        assert type(p["model"]) is Model
        return (p["layers"][0].weights * x).sum() * p["model"].scale + p["layers"][0].bias * p["model"].layer[1]

    def point(a):
        return {"layers": [Layer(np.array([1.0, 2.0]) * a, 3.0 * a)], "model": Model((1.0, a), 0.5 * a)}

    circuit = fp.trace(f, point(1.0), np.ones(2))
    for a in (1.0, -2.0):
        x = np.array([a, 0.5])
        value, gradients = circuit.value_and_grad(point(a), x, argnums=(0, 1))
        expected, slopes = fp.value_and_grad(f, (0, 1))(point(a), x)
        assert value == pytest.approx(expected, rel=1e-15)
        assert type(gradients[0]["layers"][0]) is Layer
        assert type(gradients[0]["model"]) is Model
        assert_allclose(gradients[0]["layers"][0].weights, slopes[0]["layers"][0].weights, rtol=1e-14)
        assert gradients[0]["layers"][0].bias == slopes[0]["layers"][0].bias
        assert gradients[0]["model"] == slopes[0]["model"]
        assert_allclose(gradients[1], slopes[1], rtol=1e-14)


def test_arrays_of_all_layouts():
    def f(w, x):
        return (w @ x).sum() + w[0, 0] * x[1]

    circuit = fp.trace(f, np.ones((2, 3)), np.ones(3))
    w, x = np.arange(6.0).reshape(2, 3), np.array([1.0, -2.0, 3.0])
    value, slopes = fp.value_and_grad(f, (0, 1))(w, x)
    misaligned = np.frombuffer(bytearray(25), np.float64, 3, 1)
    misaligned[:] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    big = np.zeros((4, 6))
    big[::2, ::2] = w
    for given_w, given_x in [
        (np.asfortranarray(w), x[::-1].copy()[::-1]),
        (w.astype(">f8"), misaligned),
        (big[::2, ::2], frozen),
        (w.astype(int), x.astype(np.int8)),
    ]:
        found, gradients = circuit.value_and_grad(given_w, given_x, argnums=(0, 1))
        assert found == pytest.approx(value, rel=1e-15)
        assert_allclose(gradients[0], slopes[0], rtol=1e-15)
        assert_allclose(gradients[1], slopes[1], rtol=1e-15)


def test_several_outputs_with_a_pull_each():
    def f(x, y):
        return [x * y, {"sum": x + y, "row": fp.Array([x, x * x])}, 3.0]

    circuit = fp.trace(f, 1.0, 1.0)
    value, gradients = circuit.vjp((2.0, 5.0), [10.0, {"sum": 100.0, "row": np.array([1000.0, 10000.0])}, 7.0])
    assert value[0] == 10.0
    assert value[1]["sum"] == 7.0
    assert_array_equal(value[1]["row"], [2.0, 4.0])
    assert value[2] == 3.0
    assert gradients == (10 * 5.0 + 100 + 1000 + 10000 * 4.0, 10 * 2.0 + 100.0)
    with pytest.raises(ValueError, match="needs a pull"):
        circuit.vjp((2.0, 5.0))
    for what, both in [("arguments", (2.0, (5.0,))), ("tangents", ((2.0, 5.0), 1.0))]:
        with pytest.raises(TypeError, match=rf"jvp takes the {what} as a tuple, one for each argument, not a float"):
            circuit.jvp(*both)
    with pytest.raises(ValueError, match="needs a pull"):
        circuit.forward(2.0, 5.0).backward()
    with pytest.raises(TypeError, match="only defined for functions that return one number"):
        circuit.value_and_grad(2.0, 5.0)
    row = np.zeros(2)
    for pull, error, match in [
        ([1.0, 1.0, 1.0], TypeError, r"the pull\[1\] is a single float, where a dict"),
        ([1.0, {"sum": 1.0}, 1.0], ValueError, r"the pull\[1\] has the keys"),
        ([1.0, {"sum": 1.0, "row": np.zeros(3)}, 1.0], ValueError, r"the pull\[1\]\['row'\] has shape \(3,\)"),
        ([row, {"sum": 1.0, "row": row}, 1.0], ValueError, r"the pull\[0\] has shape \(2,\)"),
        ([1.0, {"sum": "1", "row": row}, 1.0], TypeError, r"the pull\[1\]\['sum'\] is a str"),
        ([1.0, {"sum": 1.0, "row": row.astype("f")}, 1.0], TypeError, "float32"),
    ]:
        with pytest.raises(error, match=match):
            circuit.vjp((2.0, 5.0), pull)


def test_duplicate_outputs_add_their_pulls():
    circuit = fp.trace(lambda x: (x * x, x * x, x, 2.0), 1.0)
    assert circuit.vjp((3.0,), (1.0, 10.0, 100.0, 1000.0)) == ((9.0, 9.0, 3.0, 2.0), (11 * 6.0 + 100.0,))


def test_degenerate_functions():
    u = fp.Unit(3.0)
    assert fp.trace(lambda x: 4.0, 1.0).value_and_grad(1.0) == (4.0, 0.0)
    assert fp.trace(lambda x: x, 1.0).value_and_grad(5.0) == (5.0, 1.0)
    assert fp.trace(lambda x, y: x, 1.0, 2.0).value_and_grad(5.0, 6.0, argnums=(0, 1)) == (5.0, (1.0, 0.0))
    assert fp.trace(lambda: u * u)() == 9.0
    assert fp.trace(lambda x: (), 1.0)(1.0) == ()
    assert fp.trace(lambda x: x - x, 1.0).value_and_grad(7.0) == (0.0, 0.0)
    x = np.array([1.0, 2.0])
    value, (gradient,) = fp.trace(lambda x: x, x).vjp((x * 3.0,), np.array([5.0, 7.0]))
    assert_array_equal(value, x * 3.0)
    assert_array_equal(gradient, [5.0, 7.0])
    value, gradient = fp.trace(lambda x: x.sum() + 1.0, np.zeros(0)).value_and_grad(np.zeros(0))
    assert value == 1.0
    assert gradient.shape == (0,)
    for result in (None, "text", [1.0, "text"], {"a": object()}):
        with pytest.raises(TypeError, match="returned"):
            fp.trace(lambda x, result=result: result, 1.0)
    with pytest.raises(TypeError, match="takes a function"):
        fp.trace(3.0, 1.0)


def test_a_dead_branch_that_holds_nan_has_no_effect():
    circuit = fp.trace(lambda x: (fp.log(x) * 0.0, x * x)[1], 1.0)
    assert circuit.value_and_grad(-3.0) == (9.0, -6.0)
    chosen = fp.trace(lambda x: fp.where(x > 0, fp.log(x), x * 2.0), 1.0)
    assert chosen.value_and_grad(-3.0) == (-6.0, 2.0)
    assert chosen.value_and_grad(0.0) == (0.0, 2.0)


# Runs


def test_a_run_sweeps_as_often_as_one_likes():
    circuit = fp.trace(lambda x, a: x * a[0] * a[1], 1.0, np.ones(2))
    run = circuit.forward(2.0, np.array([3.0, 5.0]))
    assert run.value == 30.0
    assert run.grads[0] == 0.0
    assert_array_equal(run.grads[1], [0.0, 0.0])
    for times in (1.0, 2.0):
        run.backward()
        assert run.grads[0] == times * 15.0
        assert_array_equal(run.grads[1], [times * 10.0, times * 6.0])
    run.backward(0.5)
    assert run.grads[0] == 2.5 * 15.0
    run.grads[1][:] = 0.0  # a copy
    assert_array_equal(run.grads[1], [25.0, 15.0])


def test_a_run_adds_to_the_gradients_of_captured_leaves():
    u, a = fp.Unit(3.0), fp.Array([1.0, 2.0])
    circuit = fp.trace(lambda x: x * u * a[1] + (a * a).sum(), 2.0)
    assert circuit.value_and_grad(2.0) == (17.0, 6.0)
    assert u.grad == 0.0
    run = circuit.forward(2.0)
    run.backward()
    run.backward()
    assert u.grad == 2 * 4.0
    assert_array_equal(a.grad, [2 * 2.0, 2 * (6.0 + 4.0)])
    u.value, a.value = 5.0, np.array([0.0, 1.0])
    assert circuit(2.0) == 11.0
    assert run.value == 17.0
    run.backward()  # at the values with which it went forward
    assert run.grads == (18.0,)
    assert u.grad == 12.0


def test_a_run_keeps_what_the_caller_changes_afterwards():
    x = np.array([1.0, 2.0, 3.0])
    for f in (lambda x: (x * x * x).sum(), lambda x: fp.vmap(lambda y: y * y * y)(x).sum()):
        run = fp.trace(f, x).forward(x)
        x[:] = 100.0
        for times in (1, 2):
            run.backward()
            assert_array_equal(run.grads[0], times * 3.0 * np.array([1.0, 4.0, 9.0]))
        x[:] = [1.0, 2.0, 3.0]


def test_a_failed_sweep_leaves_a_run_as_it_was():
    run = fp.trace(lambda x: [x * x, x], 1.0).forward(3.0)
    with pytest.raises(ValueError, match="the pull"):
        run.backward([1.0])
    run.backward([1.0, 10.0])
    assert run.grads == (16.0,)


def meet_in(call, monkey):
    """Call from two threads at once; returns the errors."""
    errors, inside, done = [], threading.Event(), threading.Event()

    def hold(*_):
        inside.set()
        done.wait(10)

    with monkey(hold):
        first = threading.Thread(target=call)
        first.start()
        assert inside.wait(10)
        try:
            call()
        except RuntimeError as error:
            errors.append(error)
        finally:
            done.set()
            first.join()
    return errors


@pytest.mark.parametrize("kind", ["run", "point", "lanes"])
def test_one_run_from_two_threads(kind, monkeypatch):
    u = fp.Unit(2.0)
    traced = fp.trace(lambda x: x * u, 1.0)
    if kind == "run":
        call, module, name = traced.forward(1.0).backward, fastprop.circuits.use, "_of_captured"
    elif kind == "point":
        module, name = fastprop.circuits.bind, "_put_captured"
    else:
        call, module, name = traced.bind(np.ones(3), in_axes=0), fastprop.circuits.trace.Recording, "captured_values"
    original = getattr(module, name)

    @contextmanager
    def monkey(hold):
        monkeypatch.setattr(module, name, lambda *args: (hold(), original(*args))[1])
        yield
        monkeypatch.setattr(module, name, original)

    if kind == "point":  # what reads the leaves is fixed when it is bound
        inside, done, errors = threading.Event(), threading.Event(), []
        monkeypatch.setattr(module, name, lambda _: lambda run: (inside.set(), done.wait(10)))
        bound = traced.bind(np.ones(()))
        first = threading.Thread(target=bound)
        first.start()
        assert inside.wait(10)
        try:
            with pytest.raises(RuntimeError, match="in use by another thread"):
                bound()
        finally:
            done.set()
            first.join()
        bound()
        return
    errors = meet_in(call, monkey)
    assert [str(error) for error in errors] != []
    assert "in use by another thread" in str(errors[0])
    call()


def test_threads_share_a_circuit():
    circuit = fp.trace(formula, 0.0, 0.0)
    points = np.random.default_rng(0).normal(size=(8, 200, 2))
    expected = [[fp.value_and_grad(formula, (0, 1))(*map(float, p)) for p in row] for row in points]
    found = [None] * 8

    def work(k):
        found[k] = [circuit.value_and_grad(*map(float, p), argnums=(0, 1)) for p in points[k]]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(8):
        for (value, slopes), (expected_value, expected_slopes) in zip(found[k], expected[k]):
            assert value == pytest.approx(expected_value, rel=1e-14)
            assert slopes == pytest.approx(expected_slopes, rel=1e-13)


# Static arguments


def test_static_arguments():
    circuit = fp.trace(lambda x, n, mode: x**n if mode == "power" else x * n, 2.0, 3, "power", static_argnums=(1, -1))
    assert circuit(3.0, 3, "power") == 27.0
    assert circuit.value_and_grad(3.0, 3, "power") == (27.0, 27.0)
    assert circuit.vjp((3.0, 3, "power")) == (27.0, (27.0,))
    assert_array_equal(circuit.batch(np.array([1.0, 2.0]), 3, "power", in_axes=(0, None, None)), [1.0, 8.0])
    bound = circuit.bind(np.array(2.0), 3, "power")
    bound()
    assert (bound.value, bound.grad) == (8.0, 12.0)
    for args in [(3.0, 4, "power"), (3.0, 3, "times"), (3.0, 3.0, "power"), (3.0, True, "power")]:
        with pytest.raises(ValueError, match="static argument"):
            circuit(*args)
        with pytest.raises(ValueError, match="static argument"):
            circuit.bind(np.array(3.0), *args[1:])
        with pytest.raises(ValueError, match="static argument"):
            circuit.batch(np.array([3.0]), *args[1:], in_axes=(0, None, None))
    with pytest.raises(ValueError, match="is static and has no gradient"):
        circuit.value_and_grad(3.0, 3, "power", argnums=1)
    for static in (3, -4, (0, 7)):
        with pytest.raises(ValueError, match="static_argnums"):
            fp.trace(lambda x, y, z: x, 1.0, 2.0, 3.0, static_argnums=static)
    with pytest.raises(TypeError, match="static_argnums"):
        fp.trace(lambda x, y: x, 1.0, 2.0, static_argnums=(True,))


def test_static_arrays():
    table = np.array([1.0, 2.0])
    circuit = fp.trace(lambda x, t: x * t[1], 1.0, table, static_argnums=1)
    assert circuit(3.0, table) == circuit(3.0, table.copy()) == 6.0
    for other in (np.array([1.0, 3.0]), np.zeros(3), None, [1.0, 2.0]):
        with pytest.raises(ValueError, match="static argument 1"):
            circuit(3.0, other)


# Bound calls


def test_float32_circuits():
    def f(x, a):
        return fp.exp(x * a).sum() + 0.1

    circuit = fp.trace(f, 1.0, np.ones(3, np.float32), dtype="float32")
    assert circuit.dtype == np.float32
    a = np.array([0.1, 0.2, -0.3], np.float32)
    value, (slope, slopes) = circuit.value_and_grad(0.7, a, argnums=(0, 1))
    expected, (by_x, by_a) = fp.value_and_grad(f, (0, 1))(0.7, a.astype(float))
    assert value == np.float32(value)
    assert value == pytest.approx(expected, rel=1e-6)
    assert value != expected
    assert slope == pytest.approx(by_x, rel=1e-5)
    assert slopes.dtype == np.float32
    assert_allclose(slopes, by_a, rtol=1e-5)
    with pytest.raises(TypeError, match="argument 1 has dtype float64, but the circuit computes in float32"):
        circuit(0.7, a.astype(float))
    lanes = fp.trace(lambda x: fp.tanh(x), 1.0, dtype=np.float32).batch(a)
    assert lanes.dtype == np.float32
    assert_allclose(lanes, np.tanh(a), rtol=1e-6)
    with pytest.raises(TypeError, match="float64"):
        fp.trace(lambda x: x, 1.0, dtype=np.float32).batch(a.astype(float))
    for dtype in ("int32", "float16", ">f8", "complex128"):
        with pytest.raises(TypeError, match="computes in float64 or float32"):
            fp.trace(lambda x: x, 1.0, dtype=dtype)


def test_constants_are_folded_in_float64_and_rounded_once():
    third, tenth = 1.0 / 3.0, 0.1
    circuit = fp.trace(lambda x: x * 0.0 + fp.Unit(third).value * tenth * 3.0, 1.0, dtype="float32")
    assert circuit(1.0) == float(np.float32(third * tenth * 3.0))


def test_guards_compare_in_the_circuits_dtype():
    def f(x):
        return x * 10.0 if x + 1.0 > 1.0 else x * 20.0

    small = 1e-9  # nothing beside 1 in float32
    circuit = fp.trace(f, small)
    assert circuit(small) == small * 10.0
    single = fp.compile(f, dtype="float32")
    assert single(small) == pytest.approx(small * 20.0, rel=1e-6)
    assert single(1.0) == 10.0
    assert single(small) == pytest.approx(small * 20.0, rel=1e-6)
    single = fp.trace(f, small, dtype="float32")
    assert single(small) == pytest.approx(small * 20.0, rel=1e-6)


# Handles as arguments: the function is recorded where they are


def test_a_circuit_of_handles_is_recorded_on_their_tape():
    circuit = fp.trace(lambda x, y: x * x * y, 1.0, 1.0)
    x = fp.Unit(3.0)
    y = circuit(x, 2.0)
    y.backward()
    assert (y.value, x.grad) == (18.0, 12.0)
    assert fp.grad(lambda x: circuit(x, 2.0))(3.0) == 12.0
    assert fp.grad(fp.grad(lambda x: circuit(x, 2.0)))(3.0) == 4.0
    assert fp.grad(lambda x: circuit(3.0, 2.0) * x)(1.0) == 18.0
    assert fp.trace(lambda x: circuit(x, x), 1.0).value_and_grad(2.0) == (8.0, 12.0)
    for call in (circuit.forward, circuit.value_and_grad, lambda *args: circuit.vjp(args)):
        with pytest.raises(TypeError, match=r"its derivative would be dropped|whose derivative would be dropped"):
            call(x, 2.0)
    assert fp.trace(lambda x: x * x, x)(2.0) == 4.0  # where to record is a number


# What a circuit says of itself


def test_summary_and_repr():
    circuit = fp.trace(lambda x, y: fp.exp(x * y) + fp.exp(x * y) + x * 0.0 + 2.0 * 3.0, 1.0, 2.0)
    text = circuit.summary()
    for name in ("as recorded", "fold", "merge", "drop", "combine", "schedule", "number", "instructions forward"):
        assert name in text
    gates = {line.split("  ")[0]: line.split() for line in text.splitlines()[2:-1]}
    assert int(gates["fold"][1]) > int(gates["merge"][1])  # one exp(x * y) is enough
    assert "2 inputs, 1 outputs, float64" in repr(circuit)
    assert len(circuit) == int(repr(circuit).split(": ")[1].split()[0])
    assert repr(fp.trace(fp.exp, 0.0).forward(0.0)) == "<Run of exp, whose value is a float (1.0)>"
    with pytest.raises(TypeError, match="expected a sequence of names"):
        fp.trace(lambda x: x, 1.0, passes="fold")
    with pytest.raises(ValueError, match="there is no pass 'nope'"):
        fp.trace(lambda x: x, 1.0, passes=["fold", "nope"])


def test_copies_and_pickles():
    circuit = fp.trace(lambda x: x * x, 1.0)
    assert copy.copy(circuit) is circuit
    assert copy.deepcopy([circuit])[0] is circuit
    for thing in (circuit.forward(1.0), circuit.bind(np.array(1.0)), circuit.bind(np.ones(2), in_axes=0)):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing)


def test_a_pickled_circuit_computes_the_same():
    def f(p, scale):
        x = p["w"] @ p["x"] + p["b"] if p["b"] > 0.0 else p["b"] * scale
        return {"value": x, "all": fp.tanh(p["w"]) * x}

    point = {"w": np.array([1.0, -2.0]), "x": np.array([0.5, 3.0]), "b": 2.0}
    circuit = fp.trace(f, point, 3.0, dtype="float64")
    twin = pickle.loads(pickle.dumps(circuit))
    other = {"w": np.array([-1.0, 0.25]), "x": np.array([1.5, 0.5]), "b": 0.5}
    expected, found = circuit(other, 1.0), twin(other, 1.0)
    assert found["value"] == expected["value"] == -0.875
    assert np.array_equal(found["all"], expected["all"])
    pull = {"value": 1.0, "all": np.ones(2)}
    assert twin.vjp((other, 1.0), pull)[1][0]["b"] == circuit.vjp((other, 1.0), pull)[1][0]["b"]
    with pytest.raises(fp.DivergenceError, match=r"test_circuit\.py:\d+"):
        twin({**other, "b": -1.0}, 1.0)
    with pytest.raises(TypeError, match="handles"):
        twin({**other, "b": fp.Unit(1.0)}, 1.0)
    assert pickle.loads(pickle.dumps(fp.trace(lambda x: x * x, 1.0))).value_and_grad(3.0) == (9.0, 6.0)


def test_what_a_circuit_is_pickled_without():
    w = fp.Unit(2.0)
    with pytest.raises(TypeError, match="captures leaves"):
        pickle.dumps(fp.trace(lambda x: x * w, 1.0))
    with pytest.raises(TypeError, match="vmap"):
        pickle.dumps(fp.trace(lambda x: fp.vmap(fp.exp)(x), np.ones(3)))


def test_a_long_chain():
    def f(x):
        for _ in range(200_000):
            x = x * 0.99999 + 1e-5
        return x

    circuit = fp.trace(f, 0.5)
    value, slope = circuit.value_and_grad(2.0)
    assert value == pytest.approx(1.0 + 0.99999**200_000, rel=1e-9)
    assert slope == pytest.approx(0.99999**200_000, rel=1e-9)
