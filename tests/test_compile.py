"""compile: its cache, its compositions with the transforms, nested transforms inside of what is traced."""

import collections
import copy
import dataclasses
import gc
import inspect
import pickle
import re
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp


class Marked(np.ndarray):
    """An array to which weak references are watched."""


class MarkedList(list):
    pass


@dataclasses.dataclass
class Box:
    x: Any


def cube(x):
    return x * x * x


def smooth(x, y):
    return fp.exp(x * y) + fp.sin(x) * y * y


# The cache


def test_the_cache_says_why_it_recorded_again():
    calls = []

    @fp.compile
    def f(x, y):
        calls.append(1)
        if x > 0:
            return x * y
        return x + y

    assert (f(1.0, 2.0), f(3.0, 5.0), len(calls)) == (2.0, 15.0, 1)
    assert f.cache_info() == ["the first call"]
    assert (f(-1.0, 2.0), f(-3.0, 5.0), f(3.0, 3.0), len(calls)) == (1.0, 2.0, 9.0, 2)
    assert len(f.cache_info()) == 2
    line = f.function.__code__.co_firstlineno + 3
    assert f"another path: {__file__}:{line} came out False" in f.cache_info()[1]
    assert (f(2, np.float64(3)), f(np.array(1.0), 1), len(calls)) == (6.0, 1.0, 2)
    assert repr(f) == "<compiled f: 2 recordings>"
    assert len(f.circuits()) == 2
    f.cache_clear()
    assert (f.cache_info(), f.circuits()) == ([], [])
    assert (f(1.0, 2.0), len(calls)) == (2.0, 3)
    assert f.cache_info() == ["the first call"]


def test_another_form_of_the_arguments_is_recorded_anew():
    f = fp.compile(lambda x, *rest: sum(x) if isinstance(x, (list, tuple)) else x.sum())
    assert f([1.0, 2.0]) == 3.0
    assert f((1.0, 2.0)) == 3.0
    assert "nested otherwise" in f.cache_info()[-1]
    assert f(np.ones(3)) == 3.0
    assert f(np.ones(4)) == 4.0
    assert "argument 0 has shape (4,) instead of (3,)" in f.cache_info()[-1]
    assert f(np.ones(4), 1.0) == 4.0
    assert "2 arguments instead of 1" in f.cache_info()[-1]
    assert f(np.ones(3)) == 3.0
    assert len(f.cache_info()) == 5


def test_static_arguments_are_told_apart():
    f = fp.compile(lambda x, n: [x * 2.0, x][type(n) is int] if n is not True else x * 7.0, static_argnums=1)
    assert [f(3.0, n) for n in (1, 1.0, True, 1, 2)] == [3.0, 6.0, 21.0, 3.0, 3.0]
    assert f.cache_info()[1:] == ["another form of the arguments: another static argument"] * 3
    sign = fp.compile(lambda x, z: x * np.copysign(1.0, z), static_argnums=-1)
    assert (sign(2.0, 0.0), sign(2.0, -0.0)) == (2.0, -2.0)
    pair = fp.compile(lambda x, p: x * (10.0 if p[0] is True else p[0]), static_argnums=1)
    assert (pair(2.0, (1, "a")), pair(2.0, (True, "a")), pair(2.0, (1, "b"))) == (2.0, 20.0, 2.0)
    with pytest.raises(TypeError, match="must be hashable"):
        f(1.0, [1])
    with pytest.raises(ValueError, match=r"static_argnums names argument 1, but there are 1; give it by position"):
        f(1.0)


def test_static_arguments_are_told_apart_also_inside_of_others():
    kind = collections.namedtuple("kind", "flag")
    f = fp.compile(lambda x, p: x * 10.0 if p.flag is True else x, static_argnums=1)
    assert [f(2.0, kind(1)), f(2.0, kind(True)), f(2.0, kind(1))] == [2.0, 20.0, 2.0] and len(f.cache_info()) == 2
    sign = fp.compile(lambda x, z: x * np.copysign(1.0, z), static_argnums=1)
    assert [sign(2.0, np.float64(z)) for z in (0.0, -0.0, 0.0)] == [2.0, -2.0, 2.0]
    table = fp.compile(lambda x, t: x * float(t[0]), static_argnums=1)
    assert [table(2.0, np.array([3.0, np.nan])) for _ in range(3)] == [6.0] * 3 and len(table.cache_info()) == 1


@pytest.mark.parametrize(
    "f",
    [
        fp.compile(lambda x: (x * x).sum()),
        fp.compile(lambda x: x.sum() if x[0] > 0 else (x * x).sum()),
        fp.compile(fp.value_and_grad(lambda x: (x * x).sum())),
        fp.compile(fp.vmap(lambda x: x * x if x > 0 else -x)),
        fp.compile(fp.grad(fp.vmap(lambda x: x * x if x > 0 else -x, reduce="sum"))),
        fp.compile(fp.vmap(fp.grad(lambda x: x * x if x > 0 else -x))),
        fp.vmap(lambda x: x * x if x > 0 else -x),
        fp.compile(lambda x: fp.vmap(lambda w, y: (w * y).sum(), in_axes=(None, 0))(x, x).sum()),
    ],
    ids=range(8),
)
def test_the_cache_keeps_no_argument_alive(f, collected):
    dropped = []
    for sign in (1.0, -1.0, 1.0):
        x = (np.arange(1.0, 5.0) * sign).view(Marked)
        dropped.append(weakref.ref(x))
        f(x)
        del x
    assert collected(dropped) == 0


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: MarkedList([x]), lambda x: {"a": (x,)}, Box], ids=range(4))
def test_neither_in_containers(wrap, collected):
    def f(tree):
        leaf = tree.x if isinstance(tree, Box) else tree["a"][0] if isinstance(tree, dict) else tree[0]
        return (leaf * leaf).sum()

    x = np.arange(3.0).view(Marked)
    dropped = [weakref.ref(x)]
    tree = wrap(x)
    for g in (compiled := fp.compile(f), fp.compile(fp.grad(f))):
        g(tree)
    circuit = fp.trace(f, tree)
    del x, tree, g
    assert collected(dropped) == 0
    assert compiled(wrap(np.ones(3))) == circuit(wrap(np.ones(3))) == 3.0


def test_what_fails_while_recording_leaves_nothing_behind(collected):
    class MineError(Exception):
        pass

    def f(x, fail):
        if fail:
            raise MineError
        return (x * x).sum()

    g = fp.compile(f, static_argnums=1)
    x = np.ones(3).view(Marked)
    dropped = [weakref.ref(x)]
    with pytest.raises(MineError):
        g(x, True)
    del x
    assert collected(dropped) == 0
    assert g(np.ones(3), False) == 3.0
    assert fp.current_tape() is not None
    assert (fp.Unit(2.0) * 3.0).value == 6.0
    with pytest.raises(MineError):
        fp.trace(f, np.ones(3), True, static_argnums=1)
    assert (fp.Unit(2.0) * 3.0 > 5.0) is True


def test_wrong_calls():
    f = fp.compile(smooth)
    assert f.function is smooth
    assert f.__name__ == "smooth"
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        f(1.0, z=2.0)
    with pytest.raises(TypeError, match="takes a function"):
        fp.compile(3.0)
    with pytest.raises(TypeError, match=r"argument 1 is a complex"):
        f(1.0, 1j)
    with pytest.raises(TypeError, match="dtype float32"):
        fp.compile(lambda x: x.sum(), dtype="float64")(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="only defined for functions that return one number"):
        fp.compile(fp.grad(lambda x: x * 2.0))(np.ones(3))
    for argnums in (2, (0, 5), True):
        with pytest.raises(TypeError, match="argnums"):
            fp.compile(fp.grad(smooth, argnums))(1.0, 2.0)


def test_eight_threads_record_and_call():
    def f(x):
        s = x
        for k in range(6):
            s = s * 0.5 + 1.0 if s > k * 0.3 else s + fp.tanh(x)
        return s

    points = np.linspace(-3.0, 3.0, 97).tolist()
    expected = [f(x) for x in points]
    for g in (fp.compile(f), fp.compile(fp.vmap(f))):
        found, errors = {}, []

        def work(k, g=g, found=found, errors=errors):
            try:
                order = points[k::2] + points[:k]
                if g.__name__.startswith("vmap"):
                    padded = np.array(points[k:] + points[:k])
                    found[k] = dict(zip(padded.tolist(), g(padded).tolist()))
                else:
                    found[k] = {x: g(x) for x in order}
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        for results in found.values():
            for x, value in results.items():
                assert value == pytest.approx(expected[points.index(x)], rel=1e-14)


# eager


def test_eager_runs_functions_as_they_are_written():
    seen = []

    def f(x):
        seen.append(x)
        return x * 2.0

    g, mapped = fp.compile(f), fp.vmap(f)
    g(1.0)
    with fp.eager():
        assert (g(2.0), g(2.0)) == (4.0, 4.0)
        assert_array_equal(fp.compile(mapped)(np.array([5.0, 6.0])), [10.0, 12.0])
        assert_array_equal(mapped(np.array([7.0])), [14.0])
        with fp.eager():
            pass
        assert g(3.0) == 6.0
    assert seen[1:] == [2.0, 2.0, 5.0, 6.0, 7.0, 3.0]
    assert all(type(x) is float or isinstance(x, np.float64) for x in seen[1:])
    g(9.0)
    assert len(seen) == 7
    with pytest.raises(ZeroDivisionError), fp.eager():
        raise ZeroDivisionError
    g(9.0)
    assert len(seen) == 7
    other = []
    with fp.eager():
        thread = threading.Thread(target=lambda: other.append(g(4.0)))  # the mode is the thread's own
        thread.start()
        thread.join()
    assert (other, len(seen)) == ([8.0], 7)


# Compositions


def test_gradients_of_compiled_and_compiled_gradients():
    x, y = 0.7, -1.3
    value, slopes = fp.value_and_grad(smooth, (0, 1))(x, y)
    inner = fp.compile(smooth)
    for g in (
        fp.compile(fp.value_and_grad(smooth, (0, 1))),
        fp.compile(fp.value_and_grad(inner, (0, 1))),
        fp.value_and_grad(inner, (0, 1)),
        fp.compile(fp.compile(fp.value_and_grad(smooth, [0, 1]))),
    ):
        for _ in range(2):
            found, found_slopes = g(x, y)
            assert found == pytest.approx(value, rel=1e-15)
            assert tuple(found_slopes) == pytest.approx(slopes, rel=1e-14)
    assert fp.compile(fp.grad(inner, argnums=-1))(x, y) == pytest.approx(slopes[1], rel=1e-14)
    assert fp.trace(inner, 1.0, 1.0).value_and_grad(x, y)[1] == pytest.approx(slopes[0], rel=1e-14)
    found, aux = fp.compile(fp.grad(lambda x: (cube(x), x * 2.0), has_aux=True))(3.0)
    assert (found, aux) == (27.0, 6.0)


def test_a_training_step():
    def loss(p, x, y):
        h = fp.tanh(p["w"] @ x + p["b"])
        return (h.dot(p["v"]) - y) ** 2

    rng = np.random.default_rng(0)
    p = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=4), "v": rng.normal(size=4)}
    x, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    step = fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0, 0), reduce="mean")))
    for _ in range(3):
        value, slopes = step(p, x, y)
        h = np.tanh(x @ p["w"].T + p["b"])
        error = h @ p["v"] - y
        back = 2.0 * error[:, None] * p["v"] * (1.0 - h * h) / 50
        assert value == pytest.approx((error**2).mean(), rel=1e-12)
        assert_allclose(slopes["w"], back.T @ x, rtol=1e-10, atol=1e-13)
        assert_allclose(slopes["b"], back.sum(0), rtol=1e-10, atol=1e-13)
        assert_allclose(slopes["v"], (2.0 * error[:, None] * h).mean(0), rtol=1e-10, atol=1e-13)
        p = {k: p[k] - 0.1 * slopes[k] for k in p}
    assert len(step.cache_info()) == 1


def test_a_compiled_function_on_handles_is_recorded_on_their_tape():
    f = fp.compile(lambda x: cube(x) if x > 0 else -x)
    x = fp.Unit(2.0)
    y = f(x)
    y.backward()
    assert (y.value, x.grad) == (8.0, 12.0)
    assert fp.grad(fp.grad(f))(2.0) == 12.0
    assert fp.grad(lambda x: f(x) * f(-x))(2.0) == pytest.approx(8.0 + 2.0 * 12.0)
    assert fp.grad(lambda x: f(3.0) * x)(2.0) == 27.0
    assert fp.compile(lambda x: f(x) + f(-x))(2.0) == 10.0
    box = f.function([fp.Unit(1.0)][0])
    assert box.value == 1.0
    total = fp.compile(lambda xs: xs[0] * xs[1])([fp.Unit(2.0), 3.0])
    assert total.value == 6.0


# Transforms inside of what is compiled


def inner_grad(x):
    return fp.grad(cube)(x) * x


NESTED = {
    "grad": (inner_grad, lambda x: 3 * x**3, lambda x: 9 * x**2),
    "grad of grad": (lambda x: fp.grad(fp.grad(lambda y: y**4))(x), lambda x: 12 * x**2, lambda x: 24 * x),
    "closure": (lambda x: fp.grad(lambda y: x * y * y)(x + 1.0), lambda x: 2 * x * (x + 1), lambda x: 4 * x + 2),
    "confusion": (
        lambda x: x * fp.grad(lambda y: x * y)(1.0) + fp.grad(lambda y: x + y)(2.0),
        lambda x: x * x + 1,
        lambda x: 2 * x,
    ),
    "value_and_grad": (
        lambda x: sum(fp.value_and_grad(cube)(x)),
        lambda x: x**3 + 3 * x**2,
        lambda x: 3 * x**2 + 6 * x,
    ),
    "jvp": (lambda x: fp.jvp(cube, (x,), (2.0,))[1], lambda x: 6 * x**2, lambda x: 12 * x),
    "jvp of grad": (lambda x: fp.jvp(fp.grad(cube), (x,), (1.0,))[1], lambda x: 6 * x, lambda x: 6.0),
    "vjp": (lambda x: fp.vjp(cube, x)[1](x)[0], lambda x: 3 * x**3, lambda x: 9 * x**2),
    "hessian": (lambda x: fp.hessian(lambda y: y**5)(x), lambda x: 20 * x**3, lambda x: 60 * x**2),
    "hvp": (lambda x: fp.hvp(lambda y: y**5, (x,), (2.0,)), lambda x: 40 * x**3, lambda x: 120 * x**2),
    "jacobian": (lambda x: fp.jacobian(lambda y: [y * y, cube(y)])(x)[1], lambda x: 3 * x**2, lambda x: 6 * x),
    "list": (
        lambda x: sum(fp.grad(lambda p: p[0] * p[1] * p[1])([x, x * 2.0])),
        lambda x: 4 * x**2 + 4 * x**2,
        lambda x: 16 * x,
    ),
    "hessian of a list": (
        lambda x: fp.hessian(lambda p: p[0] ** 2 * p[1])([x, x])[0][1],
        lambda x: 2 * x,
        lambda x: 2.0,
    ),
    "compiled inside": (lambda x: fp.compile(fp.grad(cube))(x), lambda x: 3 * x**2, lambda x: 6 * x),
}


@pytest.mark.parametrize("name", NESTED)
def test_transforms_inside_of_what_is_compiled(name):
    f, value, slope = NESTED[name]
    circuit, compiled, gradient = fp.trace(f, 0.3), fp.compile(f), fp.compile(fp.grad(f))
    for x in (0.3, -1.7, 2.0):
        assert f(x) == pytest.approx(value(x), rel=1e-13)
        assert compiled(x) == pytest.approx(value(x), rel=1e-13)
        assert circuit(x) == pytest.approx(value(x), rel=1e-13)
        assert circuit.value_and_grad(x)[1] == pytest.approx(slope(x), rel=1e-13)
        assert gradient(x) == pytest.approx(slope(x), rel=1e-13)
        assert fp.compile(fp.grad(fp.grad(f)))(x) == pytest.approx(fp.grad(fp.grad(f))(x), rel=1e-12)
    xs = np.array([0.3, -1.7, 2.0])
    assert_allclose(fp.compile(fp.vmap(f))(xs), value(xs), rtol=1e-13)


def test_branches_inside_of_nested_transforms():
    f = fp.compile(lambda x: fp.grad(lambda y: cube(y) if y > 0 else y * y)(x))
    for x in (1.0, -1.0, 2.0, -2.0):
        assert f(x) == (3 * x * x if x > 0 else 2 * x)
    assert len(f.cache_info()) == 2


KINKS = {
    "relu": lambda y: fp.relu(y) * y,
    "absolute": lambda y: fp.absolute(y) * y,
    "maximum": lambda y: fp.maximum(y, y * y) * y,
    "minimum": lambda y: fp.minimum(y, 1.0) * y,
    "clip": lambda y: fp.clip(y, 0.0, 1.0) * y,
    "where": lambda y: fp.where(y > 0, y * y * y, y * y),
    "max": lambda y: fp.max([y, 2.0 * y, y * y]) * y,
    "prod": lambda y: fp.prod([y, 2.0, y]) * y,
    "logsumexp": lambda y: fp.logsumexp([y, 2.0 * y, 1.0]) * y,
}


@pytest.mark.parametrize("name", KINKS)
def test_derivatives_of_kinks_are_decided_at_every_replay(name):
    def f(x):
        return fp.grad(KINKS[name])(x)

    circuit, second = fp.trace(f, 1.5), fp.compile(fp.grad(f))
    for x in (1.5, -1.5, 0.25, 0.0, 1.0):
        assert circuit(x) == pytest.approx(f(x), rel=1e-14, abs=1e-300)
        assert second(x) == pytest.approx(fp.grad(f)(x), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("transform", ["grad", "hessian", "jacobian", "vmap of hessian"])
def test_transforms_of_arrays_inside_of_what_is_compiled(transform):
    x = np.array([1.0, 2.0])
    if transform == "grad":
        assert fp.compile(lambda x: fp.grad(lambda y: (y * y * y).sum())(x).sum())(x) == 15.0
    elif transform == "hessian":
        assert_array_equal(fp.compile(fp.hessian(lambda y: y[0] ** 2 * y[1]))(x), [[4.0, 2.0], [2.0, 0.0]])
    elif transform == "jacobian":
        assert_array_equal(fp.compile(fp.jacobian(lambda y: y * y))(x), [[2.0, 0.0], [0.0, 4.0]])
    else:
        assert fp.vmap(fp.hessian(lambda y: y[0] ** 2 * y[1]))(np.ones((3, 2))).shape == (3, 2, 2)


def test_a_captured_leaf_is_read_at_every_call():
    u, a = fp.Unit(2.0), fp.Array([1.0, 2.0])
    f, g = fp.compile(lambda x: x * u + a[1]), fp.compile(fp.grad(lambda x: x * x * u))
    assert (f(3.0), g(3.0)) == (8.0, 12.0)
    u.value, a.value = 5.0, [0.0, 10.0]
    assert (f(3.0), g(3.0)) == (25.0, 30.0)
    assert u.grad == 0.0
    assert_array_equal(a.grad, [0.0, 0.0])


def test_a_leaf_of_which_nothing_is_picked_is_captured_too():
    v = fp.Array(np.ones(3))
    y = fp.compile(lambda t: fp.sum(v[:0]) + t)(1.0)
    y.backward()
    assert y.value == 1.0
    assert_array_equal(v.grad, np.zeros(3))


def test_a_branch_on_a_captured_leaf():
    u = fp.Unit(1.0)
    f = fp.compile(lambda x: x * u if u > 0 else x - u)
    assert f(3.0) == 3.0
    u.value = -2.0
    assert f(3.0) == 5.0
    u.value = 4.0
    assert f(3.0) == 12.0
    assert len(f.cache_info()) == 2


def test_dropping_a_compiled_function_frees_it():
    f = fp.compile(fp.vmap(lambda x: x * x if x > 0 else -x))
    f(np.array([1.0, -1.0]))
    dropped = weakref.ref(f)
    del f
    gc.collect()
    assert dropped() is None


def test_keyword_arguments_are_inputs_and_never_differentiated():
    f = fp.compile(fp.value_and_grad(lambda x, *, scale, names=None: x * x * scale["by"]))
    assert f(3.0, scale={"by": 2.0}) == (18.0, 12.0)
    assert f(1.0, scale={"by": 5.0}) == (5.0, 10.0)
    assert f(1.0, names=None, scale={"by": 7}) == (7.0, 14.0)
    assert f(1.0, scale={"by": 9}, names=None) == (9.0, 18.0)
    assert len(f.cache_info()) == 2
    g = fp.compile(lambda x, y=2.0: x - y)
    assert (g(5.0), g(5.0, 1.0), g(5.0, y=3.0), g(y=4.0, x=5.0)) == (3.0, 4.0, 2.0, 1.0)


def test_flags_none_and_strings_are_static_wherever_they_stand():
    def f(x, how, options):
        return x * 2.0 if how == "twice" and options["big"] and options["more"] is None else x

    compiled = fp.compile(fp.value_and_grad(f))
    assert compiled(3.0, "twice", {"big": True, "more": None}) == (6.0, 2.0)
    assert compiled(3.0, "once", {"big": True, "more": None})[0] == 3.0
    assert compiled(3.0, "twice", {"big": False, "more": None})[0] == 3.0
    assert compiled(5.0, "twice", {"big": True, "more": None})[0] == 10.0
    assert len(compiled.cache_info()) == 3


@pytest.mark.parametrize("transform", [fp.grad, fp.value_and_grad, fp.jacobian, fp.hessian])
@pytest.mark.parametrize(
    "wrong",
    [True, np.True_, "text", np.array([True, False]), {"a": 1.0, "b": [2.0, False]}, (1.0, np.array([True]))],
)
def test_what_has_no_derivative_is_refused_as_eager_refuses_it(transform, wrong):
    for given, argnums in (((1.0, wrong), 1), ((wrong,), 0), ((2.0, [wrong]), (0, 1))):
        with pytest.raises(TypeError) as eager:
            transform(lambda *x: 1.0, argnums)(*given)
        compiled = fp.compile(transform(lambda *x: 1.0, argnums))
        for _ in range(2):
            with pytest.raises(TypeError, match=re.escape(str(eager.value))):
                compiled(*given)
        assert compiled.cache_info() == []
    f = fp.compile(transform(lambda x, y: x * x))
    assert [f(2.0, wrong) for _ in range(2)] == [transform(lambda x, y: x * x)(2.0, wrong)] * 2


def test_each_nan_is_a_key_of_its_own():
    f = fp.compile(lambda d: sum(d.values()))
    one, other = float("nan"), float("nan")
    keys = [one, other, one, (one,), (other,), (one,), 1, 1.0, True, 1]
    assert [f({key: float(i)}) for i, key in enumerate(keys)] == [float(i) for i in range(len(keys))]
    assert len(f.cache_info()) == 7


def test_the_dtype_is_what_floating_arrays_and_numpy_scalars_promote_to():
    f = fp.compile(lambda x, y: x * y)
    narrow, wide = np.ones(2, np.float32), np.ones(2)
    assert f(narrow, 0.1).dtype == np.float32
    assert f(narrow, np.float32(0.1)).dtype == np.float32
    assert f(narrow, np.float64(0.1)).dtype == f(narrow, wide).dtype == f(np.arange(2), 2).dtype == np.float64
    assert f(np.float32(0.1), 1.0) == float(np.float32(0.1))
    by_x, by_y = fp.compile(fp.grad(lambda x, y: (x * y).sum(), (0, 1)))(narrow, wide)
    assert (by_x.dtype, by_y.dtype) == (np.float32, np.float64)


@fp.compile
def decorated(x):
    return x * x


def test_a_compiled_function_is_pickled_as_its_function_and_options():
    decorated(1.0)
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    f = fp.compile(smooth, "float32", static_argnums=1, max_paths=3)
    for other in (pickle.loads(pickle.dumps(f)), copy.copy(f), copy.deepcopy(f)):
        assert other is not f
        assert other.function is smooth
        assert other(2.0, 3.0) == f(2.0, 3.0)
        assert len(other.cache_info()) == 1
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(fp.compile(lambda x: x))


def test_the_summary_tells_of_every_recording_and_of_what_is_in_it():
    f = fp.compile(fp.vmap(lambda w, x: fp.sum(fp.tanh(w @ x)), in_axes=(None, 0)))
    assert f.summary() == "vmap(<lambda>): nothing is recorded yet; call it"
    f(np.eye(8), np.ones((40, 8)))
    f(np.eye(8), np.ones((3, 8)))
    first, second = f.summary().split("\n\n")
    assert first.startswith("the first call\n<Circuit") and "body of the vmap of <lambda>, 40 lanes:" in first
    assert second.startswith("another form of the arguments") and "body of the vmap of <lambda>, 3 lanes:" in second
    assert "  reroll: 1 product of 8 x 8" in first.splitlines()


class Scaled:
    def __init__(self, factor):
        self.factor, self.leaf, self.calls = factor, fp.Unit(2.0), 0

    @fp.compile
    def plain(self, x, how="once", *, shift=0.0):
        """Scale a number."""
        self.calls += 1
        return x * self.factor * (2.0 if how == "twice" else 1.0) + shift

    @fp.compile
    def __call__(self, x):
        return self.leaf * x * self.factor

    @property
    @fp.compile
    def doubled(self):
        return fp.add(self.factor, self.factor)


def test_methods_are_compiled_for_each_instance_which_is_held_weakly():
    one, other = Scaled(3.0), Scaled(5.0)
    assert [s.plain(2.0) for s in (one, other, one)] == [6.0, 10.0, 6.0]
    assert one.plain(2.0, "twice", shift=1.0) == 13.0
    assert (one.calls, other.calls) == (2, 1)
    assert Scaled(7.0).plain(1.0) == 7.0
    assert "(x, how='once', *, shift=0.0)" in str(inspect.signature(one.plain))
    assert one.plain.__doc__ == "Scale a number."
    one.factor = 100.0  # is frozen; leaves are read at every call
    assert one.plain(2.0) == 6.0
    one.leaf.value = 7.0
    result = one(10.0)
    result.backward()
    assert (result.value, one.leaf.grad) == (7000.0, 1000.0)
    assert Scaled.plain(other, 3.0, shift=1.0) == other.plain(3.0, shift=1.0) == 16.0
    assert (one.doubled, other.doubled, one.doubled) == (200.0, 10.0, 200.0)
    assert Scaled.__call__(other, 1.0).value == 10.0
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    assert len(Scaled.plain.methods) == 1
    with pytest.raises(TypeError, match="can't be referred to weakly"):
        type("Slotted", (), {"__slots__": (), "plain": Scaled.plain})().plain(1.0)
