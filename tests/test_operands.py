"""What counts as a number or an array, wherever numbers come in: bools, masked arrays, matrices, data frames."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp

X = np.array([1.0, -2.0, 3.0])


class Column:
    """What a column of a data frame is to NumPy: it has a shape and a dtype, and can be made an array."""

    def __init__(self, numbers):
        self.numbers = np.asarray(numbers)

    shape = property(lambda self: self.numbers.shape)
    dtype = property(lambda self: self.numbers.dtype)
    ndim = property(lambda self: self.numbers.ndim)

    def __len__(self):
        return len(self.numbers)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numbers, dtype)

    def __getitem__(self, index):
        raise KeyError(index)  # a data frame's index is not NumPy's


def total(a):
    return (a * a).sum()


CIRCUIT = fp.trace(total, X)
LANES = fp.trace(lambda w, x: w * x, 2.0, 1.0)

# Wherever an array comes in, of one engine's handles.
OF_HANDLES = {
    "Array": lambda fp, a: fp.Array(a),
    "Array of rows": lambda fp, a: fp.Array([a, a]),
    "grad of Array": lambda fp, a: fp.Array(X, a),
    "value": lambda fp, a: setattr(fp.Array(X), "value", a),
    "grad": lambda fp, a: setattr(fp.Array(X), "grad", a),
    "Unit + a": lambda fp, a: fp.Unit(2.0) + a,
    "a * Array": lambda fp, a: fp.multiply(a, fp.Array(X)),
    "Array @ a": lambda fp, a: fp.Array(X) @ a,
    "dot": lambda fp, a: fp.dot(fp.Array(X), a),
    "maximum": lambda fp, a: fp.maximum(fp.Unit(0.0), a),
    "where": lambda fp, a: fp.where(X > 0, a, fp.Array(X)),
    "stacked": lambda fp, a: fp.Array([fp.Array(X), a]),
    "pull": lambda fp, a: (fp.Array(X) * 2.0).backward(a),
    "transform": lambda fp, a: fp.grad(total)(a),
    "nested": lambda fp, a: fp.value_and_grad(lambda p: total(p["w"][0]))({"w": [a]}),
    "jacobian": lambda fp, a: fp.jacobian(lambda p: p * p)(a),
    "constant": lambda fp, a: fp.grad(lambda p: (p * a).sum())(X),
    "pull function": lambda fp, a: fp.vjp(lambda p: p * 2.0, X)[1](a),
    "tangent": lambda fp, a: fp.jvp(lambda p: p * 2.0, (X,), (a,)),
    "hvp": lambda fp, a: fp.hvp(total, (X,), (a,)),
}
# And of the compiled engine alone.
OTHERS = {
    "gate": fp.exp,
    "sum": fp.sum,
    "gate of two": lambda a: fp.hypot(a, X),
    "circuit": CIRCUIT,
    "gradient of a circuit": CIRCUIT.value_and_grad,
    "compile": lambda a: fp.compile(total)(a),
    "compile, once more": lambda a: (f := fp.compile(total), f(X), f(a)),
    "training step": lambda a: fp.compile(fp.grad(fp.vmap(lambda x: x * x, reduce="sum")))(a),
    "vmap": lambda a: fp.vmap(lambda x: x * x)(a),
    "vmap, the same in all lanes": lambda a: fp.vmap(lambda x, y: total(y) * x, in_axes=(0, None))(X, a),
    "vmap of handles": lambda a: fp.vmap(lambda x, y: x * y, in_axes=(None, 0))(fp.Unit(2.0), a),
    "vmap under grad": lambda a: fp.grad(lambda w: fp.vmap(lambda x: w * x, reduce="sum")(a))(2.0),
    "batch": lambda a: LANES.batch(2.0, a, in_axes=(None, 0)),
    "constant of a circuit": lambda a: fp.trace(lambda x: (x * a).sum(), 1.0)(2.0),
    "numerical_grad": lambda a: fp.numerical_grad(lambda p: float(np.sum(p * p)), (a,)),
    "check_grads": lambda a: fp.check_grads(total, (a,)),
    "stop_gradient": lambda a: fp.stop_gradient(a),
    "jvp of a circuit": lambda a: CIRCUIT.jvp((X,), (a,)),
}
IN_PLACE = {
    "bind": lambda a: CIRCUIT.bind(a),
    "bind, gradient": lambda a: CIRCUIT.bind(X.copy(), grad=a),
    "bind lanes": lambda a: LANES.bind(np.array(2.0), a, in_axes=(None, 0)),
    "bind lanes, value": lambda a: LANES.bind(np.array(2.0), X.copy(), value=a, in_axes=(None, 0)),
    "out": lambda a: LANES.batch(2.0, X, in_axes=(None, 0), out=a),
}
ODD = {
    "masked": np.ma.masked_array(X, [False, True, False]),
    "masked, nothing hidden": np.ma.masked_array(X),
    "matrix": X[None].view(np.matrix),
    "square matrix": np.eye(3).view(np.matrix),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("use", OF_HANDLES.values(), ids=OF_HANDLES)
def test_masked_arrays_and_matrices_beside_handles(engine, use, odd):
    with pytest.raises(TypeError, match=r"(?i)masked|matrix"):
        use(engine, odd)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("use", [*OTHERS.values(), *IN_PLACE.values()], ids=[*OTHERS, *IN_PLACE])
def test_masked_arrays_and_matrices(use, odd):
    with pytest.raises(TypeError, match=r"(?i)masked|matrix"):
        use(odd)


@pytest.mark.parametrize("odd", [np.ma.masked, np.ma.masked_array(1.0), np.ma.masked_array(True)], ids=repr)
def test_single_numbers_that_may_be_masked(engine, odd):
    for use in (
        engine.Unit,
        engine.exp,
        fp.compile(lambda x: x * x),
        engine.grad(lambda x: x * x),
        lambda x: engine.Unit(1.0) * x,
        lambda x: engine.maximum(engine.Unit(1.0), x),
        lambda x: engine.sum([engine.Unit(1.0), x]),
        lambda x: engine.Array([1.0, x]),
        lambda x: engine.Unit(1.0).backward(x),
        lambda x: (engine.Unit(1.0) * 2.0).backward(x),
    ):
        with pytest.raises(TypeError):
            use(odd)


def plain(result):
    """Numbers, whatever a result is made of."""
    if isinstance(result, dict):
        return plain(list(result.values()))
    if isinstance(result, (list, tuple)):
        return np.concatenate([np.zeros(0), *map(plain, result)])
    return np.ravel(getattr(result, "value", result)).astype(float) if not callable(result) else np.zeros(0)


@pytest.mark.parametrize("use", OF_HANDLES.values(), ids=OF_HANDLES)
def test_columns_of_data_frames_beside_handles(engine, use):
    found = use(engine, Column(X))
    if found is not None:
        assert_array_equal(plain(found), plain(use(engine, X)))
    use(engine, Column([1, 2, 3]))


@pytest.mark.parametrize("use", OTHERS.values(), ids=OTHERS)
def test_columns_of_data_frames(use):
    found = use(Column(X))
    if found is not None:
        assert_array_equal(plain(found), plain(use(X)))
    use(Column([1, 2, 3]))


def test_operators_read_columns_of_data_frames(engine):
    x, a = engine.Unit(2.0), engine.Array(X)
    for f in (lambda c: x * c, lambda c: a + c, lambda c: a > c, lambda c: a[np.asarray(c) > 0]):
        assert_array_equal(plain(f(Column(X))), plain(f(X)))
    for wrong in (Column(["a", "b", "c"]), Column([1j, 2.0, 3.0]), Column(np.array([None, 1.0, 2.0]))):
        for f in (engine.Array, lambda c: x * c, engine.exp, engine.grad(total)):
            with pytest.raises(TypeError):
                f(wrong)


# Bools


def test_bools_are_numbers_where_they_are_operands(engine):
    x, y, a = engine.Unit(3.0), engine.Unit(-2.0), engine.Array(X)
    assert (True * x).value == 3.0 and (x - True).value == 2.0 and (np.True_ + x).value == 4.0
    f = (x > 0) * x + y * (y > 0) + (x > y) * x * x
    f.backward()
    assert (f.value, x.grad, y.grad) == (12.0, 7.0, 0.0)
    engine.zero_grad([x, y])
    g = ((a > 0) * a).sum() * engine.sum([x > 0, y > 0, x])
    g.backward()
    assert (g.value, x.grad) == (16.0, 4.0)
    assert_array_equal(a.grad, [4.0, 0.0, 4.0])
    assert engine.maximum(True, x > 4).__class__ is float
    assert engine.exp(True) == math.e and engine.sum([True, False, True]) == 2.0
    assert_array_equal(engine.multiply([True, False], [2.0, 3.0]), [2.0, 0.0])
    assert_array_equal(engine.add(X > 0, 1.0), [2.0, 1.0, 2.0])


def test_bools_have_no_say_in_the_dtype(engine):
    single = engine.Array(np.float32(X))
    for f in (
        lambda a: a * (X > 0),
        lambda a: (X > 0) * a,
        lambda a: engine.add(a, True),
        lambda a: engine.where(X > 0, a, 0.0),
        lambda a: engine.fma(a, X > 0, a),
        lambda a: a @ (np.eye(3) > 0),
        lambda a: (np.eye(3) > 0) @ a,
    ):
        y = f(single)
        assert y.dtype == np.float32
        y.backward(np.float32(X))
        assert single.grad.dtype == np.float32
        assert_array_equal(y.value, f(engine.Array(X)).value)
    assert engine.multiply(X > 0, np.float32(X)).dtype == np.float32
    assert (engine.Unit(2.0) * (X > 0)).dtype == np.float64


@pytest.mark.parametrize("flag", [True, False, np.True_, np.array(True)], ids=repr)
def test_bools_are_no_values_pulls_or_tangents(engine, flag):
    x, a = engine.Unit(1.0), engine.Array(X)
    y, b = x * 2.0, a * 2.0
    for call in (
        lambda: engine.Unit(flag),
        lambda: engine.Unit(1.0, flag),
        lambda: setattr(x, "value", flag),
        lambda: setattr(x, "grad", flag),
        lambda: setattr(a, "grad", flag),
        lambda: y.backward(flag),
        lambda: b.backward(X > 0),
        lambda: engine.Array([1.0, flag]),
        lambda: engine.Array([x, flag]),
        lambda: engine.Array(X > 0),
        lambda: engine.grad(lambda v: v * v)(flag),
        lambda: engine.jvp(lambda v: v * v, (1.0,), (flag,)),
        lambda: engine.vjp(lambda v: v * v, 1.0)[1](flag),
    ):
        with pytest.raises(TypeError):
            call()
    assert (x.value, x.grad, y.grad) == (1.0, 0.0, 0.0)


def test_gates_of_ones_own_get_floats_for_bools(engine):
    class Seen(engine.Gate):
        def forward(self, x, flag):
            assert type(flag) is float or flag.dtype == np.float64
            return x * flag

        def backward(self, pull, x, flag):
            return pull * flag, pull * x

    x, a = engine.Unit(3.0), engine.Array(X)
    Seen()(x, True).backward()
    Seen()(a, X > 0).backward(np.ones(3))
    assert x.grad == 1.0
    assert_array_equal(a.grad, [1.0, 0.0, 1.0])
    assert Seen()(2.0, True) == 2.0
    assert fp.compile(lambda x: Seen()(x, x > 0))(3.0) == 3.0
    assert_array_equal(fp.compile(lambda a: Seen()(a, a > 0))(X), [1.0, 0.0, 3.0])


def test_sums_of_flags_count_in_every_front():
    def count(x, y):
        return sum([x > 0, y > 0, x > y]) * x + (x > 0) * y

    points = np.array([[1.0, 2.0], [-1.0, 2.0], [3.0, -1.0], [-1.0, -2.0]])
    compiled, mapped = fp.compile(count), fp.vmap(count)
    for x, y in points.tolist():
        expected = sum([x > 0, y > 0, x > y]) * x + (x > 0) * y
        assert count(fp.Unit(x), fp.Unit(y)).value == expected
        assert compiled(x, y) == expected
    assert_array_equal(mapped(*points.T), [count(*point) for point in points.tolist()])
    assert len(compiled.cache_info()) == 1  # no branch was made
    assert fp.compile(fp.grad(count))(3.0, -1.0) == fp.grad(count)(3.0, -1.0) == 2.0


def test_a_condition_is_no_key():
    for use in (hash, lambda c: {True: 1.0, False: 2.0}.get(c), lambda c: {c}):
        with pytest.raises(TypeError, match="key"):
            fp.trace(lambda x, use=use: (use(x > 0), x)[1], 1.0)
    with pytest.raises(TypeError, match="unhashable"):
        fp.trace(lambda a: (hash(a > 0), a.sum())[1], X)


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex128", "str", "object"])
def test_other_dtypes_are_refused_and_the_error_says_what_to_do(engine, dtype):
    given = np.array([None, None]) if dtype == "object" else np.array([1, 2]).astype(dtype)
    a = engine.Array([1.0, 2.0])
    calls = [
        lambda: engine.Array(given),
        lambda: a + given,
        lambda: given * a,
        lambda: engine.exp(given),
        lambda: engine.concatenate([a, given]),
        lambda: engine.einsum("i,i", a, given),
        lambda: engine.solve(np.eye(2) * a, given),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="expected a real number" if dtype == "object" else r"\.astype"):
            call()
