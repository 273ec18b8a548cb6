"""Where a call is recorded: leaves, tapes and handles, threads, and the choice of the engine."""

import math
import threading

import numpy as np
import pytest

import fastprop
from fastprop import reference
from fastprop.derivatives import transforms


def is_handle(engine, x):
    return isinstance(x, (engine.Unit, engine.Array))


def test_captured_leaves_are_read_and_not_touched(engine):
    w = engine.Unit(2.0, grad=7.0)
    a = engine.Array([1.0, 2.0])
    f = engine.grad(lambda x: (a * (w * x * x)).sum())
    assert f(3.0) == 36.0
    w.value = 5.0
    assert f(3.0) == 90.0
    assert w.grad == 7.0
    np.testing.assert_array_equal(a.grad, [0.0, 0.0])


def test_captured_results_are_constants(engine):
    u = engine.Unit(2.0)
    r = u * 3.0
    assert engine.grad(lambda x: r * x * x)(1.0) == 12.0
    assert engine.grad(lambda x: engine.grad(lambda y: r * x * y * y)(x))(2.0) == 6.0 * 8.0
    assert u.grad == r.grad == 0.0
    r.backward()
    assert u.grad == 3.0


def test_functional_calls_leave_the_current_tape_alone(engine):
    with engine.Tape() as tape:
        engine.hessian(lambda x: engine.exp(x[0]) * x[1])([1.0, 2.0])
        engine.jvp(lambda x: x * x, (1.0,), (1.0,))
        engine.vjp(lambda x: x * x, 1.0)[1](1.0)
        assert len(tape) == 0
        assert engine.current_tape() is tape
    before = engine.current_tape()
    with pytest.raises(ZeroDivisionError):
        engine.grad(lambda x: 1 // 0)(1.0)
    assert engine.current_tape() is before
    assert engine.grad(lambda x: x * x)(3.0) == 6.0  # nothing of the failed call is left


def test_leaf_arguments_give_handles_that_can_be_swept(engine):
    u = engine.Unit(3.0)
    value, gradient = engine.value_and_grad(lambda x: x**3)(u)
    assert is_handle(engine, value)
    assert is_handle(engine, gradient)
    assert (value.value, gradient.value, u.grad) == (27.0, 27.0, 0.0)
    gradient.backward()
    assert u.grad == 18.0
    (value * 1.0).backward()
    assert u.grad == 18.0 + 27.0


def test_result_arguments_record_on_their_own_tape(engine):
    with engine.Tape() as tape:
        u = engine.Unit(2.0)
        r = u * u
    gradient = engine.grad(lambda x: engine.sin(x) * u)(r)
    assert len(tape) > 1
    gradient.backward()
    assert u.grad == pytest.approx(math.cos(4.0) - math.sin(4.0) * 2.0 * 2.0 * 2.0)


def test_array_arguments_likewise(engine):
    a = engine.Array([1.0, 2.0, 3.0])
    gradient = engine.grad(lambda x: (x * x * x).sum())(a)
    assert isinstance(gradient, engine.Array)
    np.testing.assert_array_equal(gradient.value, [3.0, 12.0, 27.0])
    gradient.sum().backward()
    np.testing.assert_array_equal(a.grad, [6.0, 12.0, 18.0])
    b = engine.Array([1.0, 2.0])
    jacobian = engine.jacobian(lambda x: x * x)(b)
    assert jacobian.shape == (2, 2)
    (jacobian * np.array([[1.0, 5.0], [5.0, 10.0]])).sum().backward()
    np.testing.assert_array_equal(b.grad, [2.0, 20.0])


def test_handles_also_where_the_derivative_is_constant(engine):
    u = engine.Unit(3.0)
    gradient, nothing = engine.grad(lambda x, y: 2.0 * x, argnums=(0, 1))(u, 1.0)
    assert (gradient.value, nothing.value) == (2.0, 0.0)
    gradient.backward()
    assert u.grad == 0.0
    _, tangent = engine.jvp(lambda x: 5.0, (u,), (1.0,))
    assert tangent.value == 0.0


def test_tangents_and_pulls_may_be_handles(engine):
    u = engine.Unit(2.0)
    value, tangent = engine.jvp(lambda x: x * x, (3.0,), (u,))
    tangent.backward()
    assert (value.value, tangent.value, u.grad) == (9.0, 12.0, 6.0)
    u = engine.Unit(2.0)
    _, pull_back = engine.vjp(lambda x: x * x, 3.0)
    (gradient,) = pull_back(u)
    gradient.backward()
    assert (gradient.value, u.grad) == (12.0, 6.0)


def test_inside_of_another_transform_everything_is_a_handle(engine):
    seen = {}

    def f(x):
        (seen["value"], seen["aux"]), seen["gradient"] = engine.value_and_grad(lambda y: (y * y, [y]), has_aux=True)(
            2.0
        )
        return x

    engine.grad(f)(1.0)
    assert all(is_handle(engine, x) for x in (seen["value"], seen["gradient"], seen["aux"][0]))


def test_threads_do_not_see_each_others_transforms(engine):
    """A transform at work in one thread does not make another thread's calls recorded ones."""
    found = []

    def f(x):
        thread = threading.Thread(target=lambda: found.append(engine.grad(lambda y: y * y)(3.0)))
        thread.start()
        thread.join()
        return x * x

    assert engine.grad(f)(1.0) == 2.0
    assert found == [6.0]
    assert type(found[0]) is float


def test_two_threads_at_once(engine):
    start = threading.Barrier(2)
    found = {}

    def work(k):
        start.wait()
        found[k] = [engine.hessian(lambda x: x[0] ** 3 * x[1])([k + i, 1.0])[0][0] for i in range(30)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {k: [6.0 * (k + i) for i in range(30)] for k in (1.0, 2.0)}


def test_engine_of_a_transform():
    """Of handles: theirs; else the outer transform's; else the compiled one, or the reference for its own functions."""
    seen = []

    def f(x):
        seen.append(type(x))
        return x * x

    assert fastprop.grad(f)(1.0) == 2.0
    assert reference.grad(f)(1.0) == 2.0
    fastprop.grad(f)(reference.Unit(1.0))
    reference.grad(f)(fastprop.Unit(1.0))
    fastprop.grad(lambda x: reference.grad(f)(1.0) + x)(1.0)
    reference.grad(lambda x: fastprop.grad(f)(1.0) + x)(1.0)
    compiled, oracle = fastprop.Unit, reference.Unit
    assert seen == [compiled, oracle, oracle, compiled, compiled, oracle]


def test_transforms_bound_to_an_engine_keep_their_names():
    bound = transforms.for_engine(reference, "grad")
    assert bound.__name__ == "grad"
    assert bound.__doc__ == fastprop.grad.__doc__
    assert transforms.for_engine(reference, "numerical_grad") is fastprop.numerical_grad


def test_functions_that_come_back_say_where_they_come_from(engine):
    def loss(x):
        """Half the square."""
        return 0.5 * x * x

    assert engine.grad(loss).__name__ == "grad(loss)"
    assert engine.grad(engine.grad(loss)).__name__ == "grad(grad(loss))"
    assert engine.hessian(loss).__doc__ == "Half the square."
