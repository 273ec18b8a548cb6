"""Functions of functions, on both engines: values, nestings, types, handles, errors."""

import collections
import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastprop
from fastprop import reference

Layer = collections.namedtuple("Layer", "weights bias")


@dataclasses.dataclass(frozen=True)
class Model:
    layer: Any
    scale: Any


# grad and value_and_grad


def test_gradient_of_the_first_circuit(engine):
    gradient = engine.grad(lambda x, y, z: (x + y) * z, argnums=(0, 1, 2))(-2.0, 5.0, -4.0)
    assert gradient == (-4.0, -4.0, 3.0)
    assert all(type(slope) is float for slope in gradient)


def test_value_comes_with_the_gradient(engine):
    value, gradient = engine.value_and_grad(lambda x, y: x * y)(-2.0, 3.0)
    assert (value, gradient) == (-6.0, 3.0)
    assert type(value) is type(gradient) is float


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 6.0),
        (1, 3.0),
        (2, 2.0),
        (-1, 2.0),
        (-3, 6.0),
        ((0,), (6.0,)),
        ((2, 0), (2.0, 6.0)),
        ([0, -1], (6.0, 2.0)),
        ((), ()),
        (np.int64(1), 3.0),
    ],
)
def test_argnums(engine, argnums, expected):
    assert engine.grad(lambda x, y, z: x * y * z, argnums)(1.0, 2.0, 3.0) == expected


@pytest.mark.parametrize("argnums", [1, -2, (0, 1), 5])
@pytest.mark.parametrize("transform", ["grad", "value_and_grad", "jacobian", "hessian"])
def test_argnums_out_of_range(engine, transform, argnums):
    with pytest.raises(TypeError, match="needs more positional arguments than the 1 that were given"):
        getattr(engine, transform)(lambda x: x * x, argnums)(1.0)


def test_argnums_of_wrong_kinds(engine):
    with pytest.raises(TypeError, match=r"argnums holds integers, not a bool \(True\)"):
        engine.grad(lambda x: x, True)(1.0)
    with pytest.raises(TypeError, match=r"argnums holds integers, not a str \('x'\)"):
        engine.grad(lambda x: x, "x")(1.0)
    with pytest.raises(TypeError, match=r"argnums holds integers, not a float \(0\.0\)"):
        engine.grad(lambda x: x, (0.0,))(1.0)
    with pytest.raises(ValueError, match=r"argnums=\(0, -2\) names an argument twice"):
        engine.grad(lambda x, y: x, (0, -2))(1.0, 2.0)


def test_other_arguments_arrive_as_they_are(engine):
    seen = []

    def f(x, *args, **kwargs):
        seen.append((args, kwargs))
        return x * args[0]

    data, options = [1, 2], {"flag": True}
    assert engine.grad(f)(2.0, 3, data, None, "text", options=options) == 3.0
    args, kwargs = seen[0]
    assert type(args[0]) is int
    assert args[1] is data
    assert kwargs["options"] is options


def test_arguments_arrive_as_handles_in_their_nesting(engine):
    def f(p, x):
        assert type(p) is dict
        assert type(p["layers"][0]) is Layer
        assert isinstance(p["layers"][0].weights, engine.Array)
        assert isinstance(p["layers"][0].bias, engine.Unit)
        assert isinstance(p["model"], Model)
        assert isinstance(x, engine.Unit)
        return p["layers"][0].weights.sum() * x + p["model"].scale * p["layers"][0].bias

    p = {"layers": [Layer(np.array([1.0, 2.0]), 3)], "model": Model((), 0.5)}
    gradient, slope = engine.grad(f, argnums=(0, 1))(p, 2)
    assert list(gradient) == ["layers", "model"]
    np.testing.assert_array_equal(gradient["layers"][0].weights, [2.0, 2.0])
    assert type(gradient["layers"][0]) is Layer
    assert gradient["layers"][0].bias == 0.5
    assert gradient["model"] == Model((), 3.0)
    assert slope == 3.0
    assert p["layers"][0].bias == 3


def test_containers_of_the_caller_are_not_touched(engine):
    given_ = [1.0, 2.0]

    def f(x):
        x.append(x[0] * x[1])
        return x[-1]

    assert engine.grad(f)(given_) == [2.0, 1.0]
    assert given_ == [1.0, 2.0]


@pytest.mark.parametrize(
    "x", [3, np.float32(3), np.int16(3), np.array(3.0), np.array(3), Fraction(3), Decimal(3), np.float64(3)], ids=repr
)
def test_what_counts_as_a_float(engine, x):
    found = engine.grad(lambda x: x * x)(x)
    assert type(found) is float
    assert found == 6.0


@pytest.mark.parametrize("x", [True, np.True_, 1j, "1", object(), np.array([1j]), np.array([True]), np.array(["a"])])
@pytest.mark.parametrize("transform", ["grad", "value_and_grad", "jacobian", "hessian"])
def test_what_does_not_is_named(engine, transform, x):
    calls = []
    with pytest.raises(TypeError, match=r"argument 1\['w'\]\[2\] is .*, which can't be differentiated"):
        getattr(engine, transform)(calls.append, argnums=1)(0.0, {"w": [1.0, 2.0, x]})
    assert calls == []


def test_none_among_arguments_is_a_container_of_nothing(engine):
    params = {"a": 3.0, "none": None, "c": [np.array([1.0, 2.0]), (None,)]}

    def loss(params):
        assert params["none"] is None
        assert params["c"][1] == (None,)
        return params["a"] ** 2 + engine.sum(params["c"][0] ** 2)

    def like(a, c):
        return {"a": a, "none": None, "c": [c, (None,)]}

    np.testing.assert_equal(engine.grad(loss)(params), like(6.0, np.array([2.0, 4.0])))
    np.testing.assert_equal(engine.vjp(loss, params)[1](1.0)[0], like(6.0, np.array([2.0, 4.0])))
    assert engine.jvp(loss, (params,), (params,)) == (14.0, 28.0)
    np.testing.assert_equal(engine.hvp(loss, (params,), (params,)), like(6.0, np.array([2.0, 4.0])))
    rows = like(like(2.0, np.zeros(2)), like(np.zeros(2), 2.0 * np.eye(2)))
    np.testing.assert_equal(engine.hessian(loss)(params), rows)
    engine.check_grads(loss, (params,))
    with pytest.raises(TypeError, match="grad: argument 0 is None, which can't be differentiated"):
        engine.grad(loss)(None)


def test_none_among_arguments_of_what_is_compiled_and_mapped():
    def loss(params):
        return params["a"] ** 2 + fastprop.sum(params["c"][0] ** 2)

    params = {"a": 3.0, "none": None, "c": [np.array([1.0, 2.0]), (None,)]}
    for transform in (fastprop.grad, fastprop.value_and_grad, fastprop.jacobian, fastprop.hessian):
        expected = getattr(reference, transform.__name__)(loss)(params)
        np.testing.assert_equal(fastprop.compile(transform(loss))(params), expected)
        np.testing.assert_equal(fastprop.compile(lambda params: transform(loss)(params))(params), expected)  # noqa: B023
    lanes = {"a": np.array([3.0, 1.0]), "none": None, "c": [np.array([[1.0, 2.0], [3.0, 4.0]]), (None,)]}
    for mapped in (fastprop.vmap(fastprop.grad(loss)), fastprop.compile(fastprop.vmap(fastprop.grad(loss)))):
        expected = {"a": 2.0 * lanes["a"], "none": None, "c": [2.0 * lanes["c"][0], (None,)]}
        np.testing.assert_equal(mapped(lanes), expected)
    with pytest.raises(TypeError, match="grad: argument 0 is None, which can't be differentiated"):
        fastprop.compile(fastprop.grad(loss))(None)


def test_primals_and_tangents_are_named(engine):
    with pytest.raises(TypeError, match=r"vjp: primal 1 is None"):
        engine.vjp(lambda x, y: x, 1.0, None)
    with pytest.raises(TypeError, match=r"jvp: primal 0\['a'\] is a str"):
        engine.jvp(lambda x: x, ({"a": "1"},), ({"a": 1.0},))
    with pytest.raises(TypeError, match=r"tangent 0\[1\] is a bool \(True\)"):
        engine.jvp(lambda x: x[0], ([1.0, 2.0],), ([1.0, True],))


def test_arrays_arrive_as_arrays_and_come_back_as_arrays(engine):
    x = np.arange(6.0).reshape(2, 3)
    gradient = engine.grad(lambda a: (a * a).sum())(x)
    np.testing.assert_array_equal(gradient, 2.0 * x)
    assert type(gradient) is np.ndarray
    gradient[0, 0] = 7.0  # the caller's to change
    np.testing.assert_array_equal(x, np.arange(6.0).reshape(2, 3))
    integers = engine.grad(lambda a: (a * a).sum())(np.arange(3))
    np.testing.assert_array_equal(integers, [0.0, 2.0, 4.0])
    assert integers.dtype == np.float64


def test_inputs_are_copied(engine):
    x = np.array([1.0, 2.0])

    def f(a):
        x[:] = 100.0  # the caller's array changes while f runs
        return (a * a).sum()

    np.testing.assert_array_equal(engine.grad(f)(x), [2.0, 4.0])
    y = np.array([1.0, 2.0])
    _, pull_back = engine.vjp(lambda a: a * a, y)
    y[:] = 100.0
    np.testing.assert_array_equal(pull_back(np.ones(2))[0], [2.0, 4.0])


@pytest.mark.parametrize("layout", ["F", "reversed", "big-endian", "read-only"])
def test_layouts(engine, layout):
    x = np.arange(6.0).reshape(2, 3) + 1.0
    laid_out = {
        "F": np.asfortranarray(x),
        "reversed": np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        "big-endian": x.astype(">f8"),
        "read-only": x.copy(),
    }[layout]
    laid_out.flags.writeable = False
    gradient = engine.grad(lambda a: (a * a * a).sum())(laid_out)
    np.testing.assert_allclose(gradient, 3.0 * x**2)
    assert gradient.dtype == np.float64
    assert gradient.dtype.isnative


def test_float32_keeps_its_dtype(engine):
    x = np.array([1.0, 2.0, 4.0], np.float32)
    weights = np.array([1.0, 0.5, 0.25])  # float64

    def f(a):
        return (a * a * weights).sum()

    assert engine.grad(f)(x).dtype == np.float32
    np.testing.assert_allclose(engine.grad(f)(x), 2.0 * x * weights, rtol=1e-6)
    assert engine.hessian(f)(x).dtype == np.float32
    assert engine.hvp(f, (x,), (np.ones(3, np.float32),)).dtype == np.float32
    nested = engine.grad(lambda s: (engine.grad(lambda a: f(a) * s)(x)).sum())(2.0)
    assert nested == pytest.approx(float((2.0 * x * weights).sum()), rel=1e-6)
    assert engine.jacobian(lambda s: s * engine.Array(x))(2.0).dtype == np.float32
    value, tangent = engine.jvp(lambda a: a * a, (x,), (np.ones(3, np.float32),))
    assert value.dtype == tangent.dtype == np.float32


def test_has_aux(engine):
    def f(x):
        y = x * x
        return y * x, {"square": y, "text": "kept", "list": [1, x], "array": engine.Array([x, y])}

    gradient, aux = engine.grad(f, has_aux=True)(3.0)
    assert gradient == 27.0
    assert aux["square"] == 9.0
    assert type(aux["square"]) is float
    assert aux["text"] == "kept"
    assert aux["list"] == [1, 3.0]
    assert type(aux["array"]) is np.ndarray
    (value, aux), gradient = engine.value_and_grad(f, has_aux=True)(3.0)
    assert (value, gradient, aux["square"]) == (27.0, 27.0, 9.0)
    assert engine.jacobian(f, has_aux=True)(3.0)[0] == 27.0
    assert engine.hessian(f, has_aux=True)(3.0)[0] == 18.0
    assert engine.hessian(f, has_aux=True)(3.0)[1]["square"] == 9.0
    value, pull_back, aux = engine.vjp(f, 3.0, has_aux=True)
    assert (value, pull_back(2.0), aux["square"]) == (27.0, (54.0,), 9.0)
    value, tangent, aux = engine.jvp(f, (3.0,), (2.0,), has_aux=True)
    assert (value, tangent, aux["square"]) == (27.0, 54.0, 9.0)


def test_aux_without_results_is_passed_through(engine):
    aux = {"leaf": engine.Unit(1.0)}
    assert engine.grad(lambda x: (x, aux), has_aux=True)(1.0)[1] is aux


def test_has_aux_needs_a_pair(engine):
    with pytest.raises(TypeError, match=r"has_aux=True needs a function that returns a pair \(value, aux\)"):
        engine.grad(lambda x: x, has_aux=True)(1.0)
    with pytest.raises(TypeError, match="returned a list"):
        engine.grad(lambda x: [x, x], has_aux=True)(1.0)


@pytest.mark.parametrize(
    ("f", "returned"),
    [
        (lambda x: [x, x], r"a list \(\[2\.0, 2\.0\]\)"),
        (lambda x: (x, 1), "a tuple"),
        (lambda x: {"a": x}, "a dict"),
        (lambda x: np.ones(3) * x, r"an array of shape \(3,\)"),
        (lambda x: np.ones((2, 1)), r"an array of shape \(2, 1\)"),
    ],
)
def test_gradient_needs_one_number(engine, f, returned):
    for transform in (engine.grad, engine.value_and_grad, engine.hessian):
        with pytest.raises(
            TypeError, match=r"only defined for functions that return one number, but <lambda> returned " + returned
        ):
            transform(f)(2.0)


@pytest.mark.parametrize("result", [None, "text", 1j, True, {1.0}, np.array([1j])], ids=repr)
def test_outputs_that_are_no_numbers(engine, result):
    def loss(x):
        return result

    for transform in (engine.grad, engine.value_and_grad, engine.jacobian):
        with pytest.raises(TypeError, match="needs a function that returns numbers or arrays, but loss returned"):
            transform(loss)(1.0)


@pytest.mark.parametrize("result", ["text", 1j, True, {1.0}, np.array([1j])], ids=repr)
def test_outputs_in_nests_that_are_no_numbers(engine, result):
    with pytest.raises(TypeError, match=r"but <lambda> returned .* at \['a'\]\[1\]"):
        engine.jvp(lambda x: {"a": [x, result]}, (1.0,), (1.0,))


@pytest.mark.parametrize("result", [5.0, 5, np.float32(5), np.array(5.0)], ids=repr)
def test_a_plain_result_depends_on_nothing(engine, result):
    gradient = engine.grad(lambda x: result)({"a": 1.0, "b": np.ones(2)})
    assert gradient["a"] == 0.0
    np.testing.assert_array_equal(gradient["b"], [0.0, 0.0])
    assert engine.value_and_grad(lambda x: result)(1.0) == (5.0, 0.0)
    assert engine.jvp(lambda x: result, (1.0,), (1.0,)) == (5.0, 0.0)
    assert engine.hessian(lambda x: result)([1.0, 2.0]) == [[0.0, 0.0], [0.0, 0.0]]
    assert engine.grad(engine.grad(lambda x: result))(1.0) == 0.0


def test_structure_of_the_circuit(engine):
    assert engine.grad(lambda x: x)(3.0) == 1.0  # an output that is an input
    assert engine.grad(lambda x: x * x)(3.0) == 6.0  # the same Unit twice
    assert engine.grad(lambda x: x - x)(3.0) == 0.0
    assert engine.grad(lambda x, y: x, argnums=(0, 1))(3.0, 4.0) == (1.0, 0.0)  # unused
    assert engine.vjp(lambda x: (x * 2.0,) * 3, 1.0)[1]((1.0, 10.0, 100.0)) == (222.0,)  # duplicate outputs
    assert engine.grad(lambda x: x + 0.0 * engine.sqrt(x - 2.0).value)(3.0) == 1.0
    dead = engine.grad(lambda x: (engine.log(x - 5.0), x * 2.0)[1])(3.0)  # a dead branch that holds NaN
    assert dead == 2.0


def test_value_inside_is_a_constant(engine):
    assert engine.grad(lambda x: x * x.value)(3.0) == 3.0
    assert engine.grad(lambda x: x * engine.stop_gradient(x))(3.0) == 3.0


def test_branches_and_loops(engine):
    def f(x):
        y = x
        while y < 100.0:
            y = y * x
        return y if y > 200.0 else -y

    assert engine.grad(f)(3.0) == 5 * 3.0**4
    assert engine.grad(f)(2.0) == -7 * 2.0**6


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "vjp", "jacobian", "hessian"])
def test_no_function(engine, name):
    with pytest.raises(TypeError, match=f"{name} takes a function first, not a float"):
        getattr(engine, name)(3.0)
    with pytest.raises(TypeError, match=r"(jvp|hvp) takes a function first, not None"):
        getattr(engine, "jvp" if name < "i" else "hvp")(None, (1.0,), (1.0,))


def test_errors_of_the_function_come_out_unchanged(engine):
    error = RuntimeError("the user's own")

    def f(x):
        raise error

    for call in (lambda: engine.grad(f)(1.0), lambda: engine.grad(engine.grad(f))(1.0), lambda: engine.vjp(f, 1.0)):
        with pytest.raises(RuntimeError) as caught:
            call()
        assert caught.value is error


# vjp and jvp


def test_pull_function_may_be_called_many_times(engine):
    value, pull_back = engine.vjp(lambda x, y: {"p": x * y, "s": [x + y]}, 2.0, 5.0)
    assert value == {"p": 10.0, "s": [7.0]}
    for _ in range(3):
        assert pull_back({"p": 1.0, "s": [0.0]}) == (5.0, 2.0)
        assert pull_back({"s": [2], "p": 0}) == (2.0, 2.0)


def test_pull_on_arrays(engine):
    W = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    x = np.array([1.0, 0.5, -1.0])
    value, pull_back = engine.vjp(lambda W, x: W @ x, W, x)
    np.testing.assert_allclose(value, W @ x)
    value[0] = 100.0  # the caller's to change
    on_W, on_x = pull_back(np.array([1.0, -2.0]))
    np.testing.assert_allclose(on_W, np.outer([1.0, -2.0], x))
    np.testing.assert_allclose(on_x, W.T @ [1.0, -2.0])


def test_no_primals(engine):
    value, pull_back = engine.vjp(lambda: 5.0)
    assert (value, pull_back(1.0)) == (5.0, ())
    assert engine.jvp(lambda: 5.0, (), ()) == (5.0, 0.0)


@pytest.mark.parametrize(
    ("pull", "error", "message"),
    [
        ([1.0], ValueError, "the pull has length 1, where 2 is expected"),
        (1.0, TypeError, "the pull is a single float, where a list is expected"),
        ((1.0, np.ones(3)), TypeError, "the pull is a tuple, where a list is expected"),
        ([1.0, np.ones(2)], ValueError, r"the pull\[1\] has shape \(2,\), but the output has shape \(3,\)"),
        ([1.0, 1.0], ValueError, r"the pull\[1\] has shape \(\), but the output has shape \(3,\)"),
        ([np.ones(3), np.ones(3)], ValueError, r"the pull\[0\] has shape \(3,\), but the output has shape \(\)"),
        ([1.0, [1.0, 1.0, 1.0]], TypeError, r"the pull\[1\] is a list, where one number or array is expected"),
        ([1.0, np.ones(3) * 1j], TypeError, r"the pull\[1\] is an array of dtype complex128"),
        ([True, np.ones(3)], TypeError, r"the pull\[0\] is a bool"),
        ([None, np.ones(3)], TypeError, r"the pull\[0\] is None"),
    ],
)
def test_pulls_that_do_not_fit(engine, pull, error, message):
    _, pull_back = engine.vjp(lambda a: [a.sum(), a * a], np.arange(3.0))
    with pytest.raises(error, match=message):
        pull_back(pull)
    np.testing.assert_array_equal(pull_back([1.0, np.ones(3)])[0], [1.0, 3.0, 5.0])  # it still works


def test_pulls_and_tangents_of_higher_precision(engine):
    x = np.ones(2, np.float32)
    _, pull_back = engine.vjp(lambda a: a * a, x)
    with pytest.raises(TypeError, match="the pull has dtype float64, but the output has float32"):
        pull_back(np.ones(2))
    with pytest.raises(TypeError, match="tangent 0 has dtype float64, but its primal has float32"):
        engine.jvp(lambda a: a * a, (x,), (np.ones(2),))


def test_tangents(engine):
    p, along_p = {"w": np.array([1.0, 2.0]), "b": 3}, {"b": 1, "w": np.array([0.5, 0.0])}
    x, along_x = np.ones(2), np.array([0.0, 1.0])
    value, tangent = engine.jvp(lambda p, x: [p["w"] @ x, p["b"] * 2.0], (p, x), (along_p, along_x))
    assert value == [3.0, 6.0]
    assert tangent == [2.5, 2.0]
    assert all(type(x) is float for x in (*value, *tangent))


@pytest.mark.parametrize(
    ("primals", "tangents", "error", "message"),
    [
        (1.0, 1.0, TypeError, "takes its primals as a tuple or list"),
        ((1.0,), 1.0, TypeError, "takes its tangents as a tuple or list"),
        ((1.0, 2.0), (1.0,), ValueError, "2 primals and 1 tangents"),
        (([1.0, 2.0],), ([1.0],), ValueError, "tangent 0 has length 1, where 2 is expected"),
        (({"a": 1.0},), ([1.0],), TypeError, "tangent 0 is a list, where a dict is expected"),
        ((np.ones(2),), (np.ones(3),), ValueError, r"tangent 0 has shape \(3,\), but its primal has shape \(2,\)"),
        ((1.0,), ("1",), TypeError, "tangent 0 is a str"),
    ],
)
@pytest.mark.parametrize("transform", ["jvp", "hvp"])
def test_tangents_that_do_not_fit(engine, transform, primals, tangents, error, message):
    with pytest.raises(error, match=message):
        getattr(engine, transform)(lambda *args: 1.0, primals, tangents)


@given(st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3), st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3))
@pytest.mark.parametrize("fp", [fastprop, reference], ids=["compiled", "reference"])
def test_forward_and_backward_agree(fp, x, v):
    """⟨pull, J v⟩ = ⟨Jᵀ pull, v⟩."""

    def f(x):
        return [fp.sin(x[0]) * x[1], fp.tanh(x[1] * x[2]) + fp.exp(x[0]), fp.maximum(x[0], x[2]) * x[1]]

    pull = [0.5, -1.0, 2.0]
    value, tangent = fp.jvp(f, (x,), (v,))
    same, pull_back = fp.vjp(f, x)
    (gradient,) = pull_back(pull)
    assert value == same
    left = sum(p * t for p, t in zip(pull, tangent))
    assert left == pytest.approx(sum(g * d for g, d in zip(gradient, v)), rel=1e-12, abs=1e-10)


# jacobian, hessian, hvp


def test_jacobian_of_floats_is_a_float(engine):
    found = engine.jacobian(lambda x: x**3)(2.0)
    assert type(found) is float
    assert found == 12.0


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 5), (5, 2), (3, 3)])
def test_jacobian_of_arrays_in_either_direction(engine, inputs, outputs):
    A = np.random.default_rng(7).normal(size=(outputs, inputs))
    x = np.linspace(-1.0, 1.0, inputs)
    found = engine.jacobian(lambda x: engine.sin(A @ x))(x)
    np.testing.assert_allclose(found, np.cos(A @ x)[:, None] * A, rtol=1e-13)
    assert found.flags.writeable


def test_shapes_of_a_jacobian(engine):
    x = np.arange(6.0).reshape(2, 3)
    wide = engine.jacobian(lambda a: engine.Array([a, a * a]))(x)
    assert wide.shape == (2, 2, 3, 2, 3)
    expected = np.zeros((2, 2, 3, 2, 3))
    for i in range(2):
        for j in range(3):
            expected[0, i, j, i, j] = 1.0
            expected[1, i, j, i, j] = 2.0 * x[i, j]
    np.testing.assert_array_equal(wide, expected)
    assert engine.jacobian(lambda a: a.sum(axis=1))(x).shape == (2, 2, 3)
    np.testing.assert_array_equal(engine.jacobian(lambda a: a.sum())(x), np.ones((2, 3)))
    np.testing.assert_array_equal(engine.jacobian(lambda s: s * np.arange(3.0))(2.0), np.arange(3.0))
    assert engine.jacobian(lambda a: a)(np.zeros((0, 2))).shape == (0, 2, 0, 2)


def test_nesting_of_a_jacobian_is_the_outputs_then_the_arguments(engine):
    def f(p, x):
        return {"a": p["w"] * x, "b": [p["w"].sum() * x, p["c"]]}

    w = np.array([1.0, 2.0])
    rows = engine.jacobian(f, argnums=(0, 1))({"w": w, "c": 3.0}, 2.0)
    by_p, by_x = rows["a"]
    np.testing.assert_array_equal(by_p["w"], 2.0 * np.eye(2))
    np.testing.assert_array_equal(by_p["c"], [0.0, 0.0])
    np.testing.assert_array_equal(by_x, w)
    by_p, by_x = rows["b"][0]
    np.testing.assert_array_equal(by_p["w"], [2.0, 2.0])
    assert (by_p["c"], by_x) == (0.0, 3.0)
    assert rows["b"][1][0]["c"] == 1.0
    single = engine.jacobian(f)({"w": w, "c": 3.0}, 2.0)
    assert single["b"][1]["c"] == 1.0


def test_a_function_runs_once_for_all_rows(engine):
    calls = []

    def f(x):
        calls.append(x)
        return [x[0] * x[1], x[0] + x[1], x[0] ** 2]

    engine.jacobian(f)([1.0, 2.0])
    engine.hessian(lambda x: f(x)[0])([1.0, 2.0])
    assert len(calls) == 2


def test_hessian_of_several_arguments(engine):
    def f(x, y):
        return (x * x).sum() * y + y**3

    x = np.array([1.0, 2.0])
    (xx, xy), (yx, yy) = engine.hessian(f, argnums=(0, 1))(x, 3.0)
    np.testing.assert_array_equal(xx, 6.0 * np.eye(2))
    np.testing.assert_array_equal(xy, 2.0 * x)
    np.testing.assert_array_equal(yx, 2.0 * x)
    assert yy == 18.0
    assert engine.hessian(f, argnums=1)(x, 3.0) == 18.0


def test_hessian_in_nested_containers(engine):
    found = engine.hessian(lambda p: p["a"] ** 2 * p["b"][0])({"a": 3.0, "b": (5.0,)})
    assert found == {"a": {"a": 10.0, "b": (6.0,)}, "b": ({"a": 6.0, "b": (0.0,)},)}


def test_hvp_of_one_and_of_several_primals(engine):
    def f(x, y):
        return x * x * y

    assert engine.hvp(lambda x: x**3, (2.0,), (10.0,)) == 120.0
    assert engine.hvp(f, (3.0, 5.0), (1.0, 0.0)) == (10.0, 6.0)
    found = engine.hvp(lambda p: p["x"] * p["x"] * p["y"], ({"x": 3.0, "y": 5.0},), ({"x": 0.0, "y": 1.0},))
    assert found == {"x": 6.0, "y": 0.0}


def test_wide_fan_out_and_long_chains(engine):
    n = 3000

    def chain(x):
        for _ in range(n):
            x = x * 0.999 + 0.001
        return x

    assert engine.grad(chain)(2.0) == pytest.approx(0.999**n, rel=1e-11)
    assert engine.jvp(chain, (2.0,), (1.0,))[1] == pytest.approx(0.999**n, rel=1e-11)
    assert engine.grad(engine.grad(lambda x: chain(x) * x))(2.0) == pytest.approx(2 * 0.999**n, rel=1e-11)
    assert engine.grad(lambda x: engine.sum([x] * n))(2.0) == n
    x = [0.5] * n
    assert engine.grad(lambda x: engine.dot(x, x))(x) == [1.0] * n
