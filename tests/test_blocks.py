"""Arrays against NumPy: values, dtypes, pulls, tangents, and derivatives of derivatives of every block gate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

RANDOM = np.random.default_rng(11)


def block(*shape):
    """Numbers without ties, away from zero."""
    return np.round(RANDOM.permutation(math.prod(shape)) * 0.37 + RANDOM.uniform(0.1, 0.3), 3).reshape(shape) + 0.2


MASK = np.array([True, False, True])

# name, the same expression for arrays and Arrays (m: numpy or the engine), operands
ROWS = [
    ("sum", lambda m, a: m.sum(a), block(2, 3)),
    ("sum of axis 0", lambda m, a: m.sum(a, axis=0), block(2, 3)),
    ("sum of axis -1, kept", lambda m, a: m.sum(a, axis=-1, keepdims=True), block(2, 3)),
    ("sum of two axes", lambda m, a: m.sum(a, axis=(0, -1)), block(2, 3, 2)),
    ("mean", lambda m, a: m.mean(a), block(2, 3)),
    ("mean of axis 1", lambda m, a: m.mean(a, axis=1), block(2, 3)),
    ("mean of axis -2, kept", lambda m, a: m.mean(a, axis=-2, keepdims=True), block(2, 3)),
    ("max", lambda m, a: m.max(a), block(2, 3)),
    ("max of axis 0", lambda m, a: m.max(a, axis=0), block(2, 3)),
    ("max of axis -1, kept", lambda m, a: m.max(a, axis=-1, keepdims=True), block(2, 3)),
    ("min", lambda m, a: m.min(a), block(2, 3)),
    ("min of axes", lambda m, a: m.min(a, axis=(1, 2)), block(2, 3, 2)),
    ("prod", lambda m, a: m.prod(a), block(4)),
    ("prod of axis 0", lambda m, a: m.prod(a, axis=0), block(3, 2)),
    ("prod of axes, kept", lambda m, a: m.prod(a, axis=(0, 2), keepdims=True), block(2, 3, 2)),
    ("matrix times matrix", lambda m, a, b: a @ b, block(2, 3), block(3, 4)),
    ("matrix times vector", lambda m, a, b: a @ b, block(2, 3), block(3)),
    ("vector times matrix", lambda m, a, b: a @ b, block(3), block(3, 2)),
    ("vector times vector", lambda m, a, b: a @ b, block(3), block(3)),
    ("batched", lambda m, a, b: a @ b, block(2, 2, 3), block(2, 3, 2)),
    ("batch broadcast", lambda m, a, b: a @ b, block(2, 1, 2, 3), block(3, 3, 2)),
    ("batch times matrix", lambda m, a, b: a @ b, block(2, 2, 3), block(3, 2)),
    ("batch times vector", lambda m, a, b: a @ b, block(2, 2, 3), block(3)),
    ("vector times batch", lambda m, a, b: a @ b, block(3), block(2, 3, 2)),
    ("dot of vectors", lambda m, a, b: a.dot(b), block(3), block(3)),
    ("dot of matrices", lambda m, a, b: a.dot(b), block(2, 3), block(3, 2)),
    ("dot of more axes", lambda m, a, b: a.dot(b), block(2, 2, 3), block(2, 3, 2)),
    ("dot with a vector", lambda m, a, b: a.dot(b), block(2, 2, 3), block(3)),
    ("an item", lambda m, a: a[2], block(4)),
    ("a last item", lambda m, a: a[-1, -2], block(2, 3)),
    ("a row", lambda m, a: a[1], block(2, 3)),
    ("a slice", lambda m, a: a[1:3], block(4)),
    ("a slice with a step", lambda m, a: a[::2], block(5)),
    ("a slice backwards", lambda m, a: a[::-2], block(5)),
    ("an empty slice", lambda m, a: a[3:1], block(4)),
    ("slices", lambda m, a: a[::-1, 1:], block(3, 3)),
    ("ellipsis", lambda m, a: a[..., 0], block(2, 3, 2)),
    ("newaxis", lambda m, a: a[:, None, 1], block(2, 3)),
    ("integers, some twice", lambda m, a: a[[0, 2, 0, -1]], block(4)),
    ("integer arrays", lambda m, a: a[np.array([[0, 1], [1, 1]]), [2, 0]], block(2, 3)),
    ("integers and a slice", lambda m, a: a[1:, [1, 1, 0]], block(3, 2)),
    ("a mask", lambda m, a: a[MASK], block(3)),
    ("a mask of rows", lambda m, a: a[MASK, 1:], block(3, 3)),
    ("a comparison", lambda m, a: a[a > 1.0], block(2, 3)),
    ("reshape", lambda m, a: a.reshape(3, 2), block(2, 3)),
    ("reshape with -1", lambda m, a: a.reshape((-1, 2)), block(2, 2, 3)),
    ("transpose", lambda m, a: a.T, block(2, 3)),
    ("transpose of axes", lambda m, a: a.transpose(2, 0, 1), block(2, 3, 2)),
    ("transpose of negative axes", lambda m, a: a.transpose((-1, 0, -2)), block(2, 3, 2)),
    ("clip", lambda m, a: a.clip(0.5, 1.5), block(2, 3)),
    ("iteration", lambda m, a: [row * row for row in a][1], block(3, 2)),
    ("broadcast of rows", lambda m, a, b: a * b, block(2, 3), block(3)),
    ("broadcast of columns", lambda m, a, b: a / b, block(2, 3), block(2, 1)),
    ("broadcast both ways", lambda m, a, b: a - b, block(3), block(2, 1)),
    ("broadcast of ones", lambda m, a, b: a**b, block(1, 1), block(2, 3)),
    ("plain number", lambda m, a: 2.0 / a - 3, block(2, 2)),
    ("plain array", lambda m, a: np.array([[1.0], [2.0]]) * a, block(3)),
    ("plain integers", lambda m, a: a + np.arange(3), block(2, 3)),
    ("absolute", lambda m, a: abs(-a), block(2, 2)),
    ("functions", lambda m, a: m.exp(a) + m.tanh(a) * m.log(a), block(2, 2)),
    ("two operands", lambda m, a, b: m.maximum(a, b) + m.arctan2(a, b), block(2, 3), block(3) + 0.05),
    ("where", lambda m, a, b: m.where(np.array([True, False, True]), a, b), block(2, 3), block(3)),
    ("softmax", lambda m, a: m.exp(a) / m.sum(m.exp(a), axis=1, keepdims=True), block(2, 3)),
]
NAMES = [row[0] for row in ROWS]


def numbers(x):
    """The plain value of a handle or an array."""
    return np.asarray(x.value if hasattr(x, "value") else x)


def slopes(f, operands, pull, i, h=1e-6):
    """The pull on operand i by central differences."""
    result = np.zeros_like(operands[i])
    for place in np.ndindex(result.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = [operand.copy() for operand in operands]
            moved[i][place] += sign * h
            ends.append(np.sum(np.asarray(f(*moved)) * pull))
        result[place] = (ends[0] - ends[1]) / (2.0 * h)
    return result


@pytest.mark.parametrize(("name", "f", "operands"), [(row[0], row[1], row[2:]) for row in ROWS], ids=NAMES)
class TestAgainstNumPy:
    def test_value(self, engine, name, f, operands):
        handles = [engine.Array(operand) for operand in operands]
        expected = np.asarray(f(np, *operands))
        result = f(engine, *handles)
        assert isinstance(result, engine.Array if expected.ndim else engine.Unit)
        assert numbers(result).shape == expected.shape
        assert_allclose(numbers(result), expected, rtol=1e-15)

    def test_pull(self, engine, name, f, operands):
        handles = [engine.Array(operand) for operand in operands]
        result = f(engine, *handles)
        pull = block(*result.shape)
        result.backward(pull)
        for i, handle in enumerate(handles):
            expected = slopes(lambda *arrays: f(np, *arrays), operands, pull, i)
            assert handle.grad.shape == operands[i].shape
            assert_allclose(handle.grad, expected, rtol=2e-7, atol=2e-8)

    def test_tangent(self, engine, name, f, operands):
        tape = engine.Tape(captures=True)
        with tape:
            variables = [tape._variable(operand) for operand in operands]
            result = f(engine, *variables)
            tangents = [block(*operand.shape) for operand in operands]
            (found,) = tape._tangents([result], variables, tangents)
            pull = block(*result.shape)
            pulls = tape._gradients([result], [pull], variables)
        forward = np.sum(found * pull)
        backward = sum(np.sum(a * b) for a, b in zip(pulls, tangents, strict=True))
        assert np.shape(found) == result.shape
        assert_allclose(forward, backward, rtol=1e-12)

    def test_derivative_of_the_derivative(self, engine, name, f, operands):
        weights = block(*np.shape(np.asarray(f(np, *operands))))

        def loss(*arrays):
            result = f(engine, *arrays)
            return engine.sum(result * result * weights) if result.shape else result * result * float(weights)

        tangents = tuple(block(*operand.shape) for operand in operands)
        argnums = tuple(range(len(operands)))
        gradient = engine.grad(loss, argnums=argnums)
        found = engine.jvp(gradient, operands, tangents)[1]
        backward = engine.hvp(loss, operands, tangents)
        for i in argnums:
            h = 1e-6
            ends = [
                gradient(*(x + sign * h * t for x, t in zip(operands, tangents, strict=True)))[i] for sign in (1, -1)
            ]
            expected = (ends[0] - ends[1]) / (2.0 * h)
            scale = 1e-7 * (1.0 + np.max(np.abs(expected)))
            assert_allclose(found[i], expected, rtol=1e-6, atol=scale)
            assert_allclose(backward[i] if len(argnums) > 1 or isinstance(backward, tuple) else backward, found[i])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "f", "operands"), [(row[0], row[1], row[2:]) for row in ROWS], ids=NAMES)
def test_dtype_is_numpys(engine, name, f, operands, dtype):
    operands = [operand.astype(dtype) for operand in operands]
    handles = [engine.Array(operand) for operand in operands]
    result = f(engine, *handles)
    expected = np.asarray(f(np, *operands))
    if expected.ndim:
        assert result.dtype == expected.dtype
    assert_allclose(numbers(result), expected, rtol=2e-6 if dtype == np.float32 else 1e-15)
    result.backward(np.ones(result.shape, expected.dtype) if result.shape else 1.0)
    assert all(handle.grad.dtype == dtype for handle in handles)


def test_float32_and_float64_mix_as_in_numpy(engine):
    a, b = engine.Array(np.float32([1, 2])), engine.Array([0.1, 0.2])
    assert (a + b).dtype == np.float64
    assert (a * 0.1).dtype == np.float32
    assert (a * engine.Unit(0.1)).dtype == np.float32  # scalars are weak
    assert (a * b).sum().value == float(np.sum(np.float32([1, 2]) * np.array([0.1, 0.2])))
    (a * b).sum().backward()
    assert a.grad.dtype == np.float32
    assert_array_equal(a.grad, np.float32([0.1, 0.2]))
    assert_array_equal(b.grad, [1.0, 2.0])
    c = a.astype(np.float64)
    assert c.dtype == np.float64
    c.backward(np.array([0.1, 0.3]))
    assert_array_equal(a.grad, np.float32([0.1, 0.2]) + np.float32([0.1, 0.3]))


@pytest.mark.parametrize(
    ("f", "value", "grad"),
    [
        ("max", 5.0, [0.0, 0.5, 0.5, 0.0]),
        ("min", 1.0, [0.5, 0.0, 0.0, 0.5]),
        ("prod", 25.0, [25.0, 5.0, 5.0, 25.0]),
    ],
)
def test_ties_share_evenly(engine, f, value, grad):
    a = engine.Array([1.0, 5.0, 5.0, 1.0])
    result = getattr(engine, f)(a)
    result.backward()
    assert result.value == value
    assert_array_equal(a.grad, grad)


def test_ties_along_an_axis(engine):
    a = engine.Array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    a.max(axis=1).backward([6.0, 12.0])
    assert_array_equal(a.grad, [[0, 3, 3], [4, 4, 4]])


@pytest.mark.parametrize(
    ("values", "grad"),
    [
        ([0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
        ([0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
        ([2.0, 3.0, 0.0], [0.0, 0.0, 6.0]),
        ([7.0], [1.0]),
    ],
)
def test_prod_with_zeros(engine, values, grad):
    a = engine.Array(values)
    a.prod().backward()
    assert_array_equal(a.grad, grad)


def test_hessian_of_prod_at_zeros(engine):
    found = engine.hessian(lambda a: a.prod())(np.array([0.0, 0.0, 3.0]))
    assert_array_equal(found, [[0, 3, 0], [3, 0, 0], [0, 0, 0]])
    third = engine.jacobian(engine.hessian(lambda a: a.prod()))(np.zeros(3))
    expected = np.zeros((3, 3, 3))
    for i, j, k in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        expected[i, j, k] = 1.0
    assert_array_equal(third, expected)


INF = math.inf


@pytest.mark.parametrize(
    ("values", "value", "grad"),
    [
        ([-INF, -INF], -INF, [0.0, 0.0]),
        ([INF, 0.0], INF, [1.0, 0.0]),
        ([INF, INF], INF, [0.5, 0.5]),
        ([1000.0, 1000.0], 1000.0 + math.log(2.0), [0.5, 0.5]),
        ([-INF, 3.0], 3.0, [0.0, 1.0]),
        ([0.0, math.log(3.0)], math.log(4.0), [0.25, 0.75]),
    ],
)
def test_logsumexp_of_an_array(engine, values, value, grad):
    a = engine.Array(values)
    result = engine.logsumexp(a)
    result.backward()
    assert result.value == pytest.approx(value, rel=1e-15)
    assert_allclose(a.grad, grad, rtol=1e-15)


def test_logsumexp_along_axes_and_its_derivatives(engine):
    x = block(2, 3)
    weights = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    a = engine.Array(x)
    result = engine.logsumexp(a, axis=-1, keepdims=True)
    assert_allclose(result.value, np.log(np.exp(x).sum(axis=1, keepdims=True)), rtol=1e-15)
    result.backward([[1.0], [10.0]])
    assert_allclose(a.grad, weights * [[1.0], [10.0]], rtol=1e-14)
    hessian = engine.hessian(engine.logsumexp)(x[0])
    assert_allclose(hessian, np.diag(weights[0]) - np.outer(weights[0], weights[0]), rtol=1e-13, atol=1e-15)


def test_nan_goes_where_numpy_lets_it_go(engine):
    a = engine.Array([1.0, math.nan, 3.0])
    result = a.max()
    result.backward()
    assert math.isnan(result.value)
    assert np.isnan(a.grad).all()
    b = engine.Array([[1.0, math.nan], [3.0, 2.0]])
    b.max(axis=1).backward([1.0, 1.0])
    assert_array_equal(np.isnan(b.grad), [[True, True], [False, False]])
    assert_array_equal(b.grad[1], [1.0, 0.0])


def test_strong_zero_in_blocks(engine):
    a = engine.Array([0.0, 4.0])
    engine.where(np.array([False, True]), engine.log(a), 0.0).backward([1.0, 1.0])
    assert_array_equal(a.grad, [0.0, 0.25])
    b = engine.Array([0.0, 4.0])
    (1.0 / b).backward([0.0, 1.0])
    assert_array_equal(b.grad, [0.0, -0.0625])
    c = engine.Array([-1.0, 2.0])
    engine.relu(c).backward([INF, 1.0])
    assert_array_equal(c.grad, [0.0, 1.0])
    d = engine.Array([1.0, 2.0])
    d.max().backward(INF)
    assert_array_equal(d.grad, [0.0, INF])
    e = engine.Array([1.0, INF])
    e.prod().backward(0.0)
    assert_array_equal(e.grad, [0.0, 0.0])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_zero_size(engine, shape):
    empty = np.zeros(shape)
    a = engine.Array(empty)
    for name, expected in (("sum", 0.0), ("prod", 1.0)):
        result = getattr(a, name)()
        assert result.value == expected
        result.backward()
        assert a.grad.shape == shape
    for name in ("max", "min"):
        with pytest.raises(ValueError, match="zero-size"):
            getattr(a, name)()
        with pytest.raises(ValueError, match=r"zero-size|empty|nothing"):
            getattr(engine, name)(a)
    assert_array_equal((a * 2.0 + a).value, empty)
    assert_array_equal(a.sum(axis=0).value if a.ndim > 1 else 0.0, np.sum(empty, axis=0))
    assert math.isnan(a.mean().value)


def test_products_with_zero_sizes(engine):
    a, b = engine.Array(np.zeros((2, 0))), engine.Array(np.zeros((0, 3)))
    product = a @ b
    assert_array_equal(product.value, np.zeros((2, 3)))
    product.backward(np.ones((2, 3)))
    assert a.grad.shape == (2, 0)
    assert b.grad.shape == (0, 3)


def test_arrays_down_to_units(engine):
    a = engine.Array([[1.0, 2.0], [3.0, 4.0]])
    assert isinstance(a[0, 1], engine.Unit)
    assert isinstance(a[0], engine.Array)
    assert isinstance(a[0][1], engine.Unit)
    total = 0.0
    for row in a:
        for unit in row:
            total = total + unit * unit
    total.backward()
    assert total.value == 30.0
    assert_array_equal(a.grad, [[2, 4], [6, 8]])
    assert len(a) == 2
    assert [unit.value for unit in engine.Array([5.0, 6.0])] == [5.0, 6.0]
    first, second = engine.Array([5.0, 6.0])
    assert (first * second).value == 30.0


def test_units_are_stacked(engine):
    u, v = engine.Unit(2.0), engine.Unit(3.0)
    a = engine.Array([[u, v], [v, 1.0]])
    assert_array_equal(a.value, [[2, 3], [3, 1]])
    (a * np.array([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    assert (u.grad, v.grad) == (1.0, 110.0)
    rows = engine.Array([engine.Array([1.0, 2.0]) * u, [5.0, 6.0]])
    assert_array_equal(rows.value, [[2, 4], [5, 6]])
    rows.backward([[1.0, 1.0], [1.0, 1.0]])
    assert u.grad == 4.0
    with pytest.raises(ValueError, match="lengths"):
        engine.Array([[u, v], [u]])


def test_units_beside_arrays(engine):
    u, a = engine.Unit(3.0), engine.Array([1.0, 2.0])
    (u * a).backward([10.0, 100.0])
    assert u.grad == 210.0
    assert_array_equal(a.grad, [30, 300])
    product = np.array([1, 2]) * u
    assert isinstance(product, engine.Array)
    product.backward([1.0, 1.0])
    assert u.grad == 213.0


def test_n_ary_gates_of_blocks(engine):
    a, u = engine.Array([1.0, 2.0]), engine.Unit(5.0)
    assert engine.sum([a, a]).value == 6.0
    assert_array_equal(engine.sum([a, a], axis=0).value, [2, 4])
    assert engine.dot(a, [u, 1.0]).value == 7.0
    engine.dot([u, 2.0], a).backward()
    assert u.grad == 1.0
    assert_array_equal(a.grad, [5, 2])


def test_comparisons_give_bools(engine):
    a = engine.Array([1.0, -2.0, 0.0])
    for found, expected in [
        (a > 0, [True, False, False]),
        (a <= -2.0, [False, True, False]),
        (a == engine.Array([1.0, 2.0, 0.0]), [True, False, True]),
        (np.array([0.0, 0.0, 0.0]) < a, [True, False, False]),
        (a != engine.Unit(0.0), [True, True, False]),
        (np.isnan(a), [False, False, False]),
    ]:
        assert found.dtype == bool
        assert_array_equal(found, expected)
    assert -2.0 in a
    assert 7.0 not in a


def test_numpy_functions_of_arrays(engine):
    x = block(2, 3)
    a = engine.Array(x)
    for f in (np.sum, np.mean, np.max, np.min, np.prod, np.amax, np.transpose, np.exp, np.negative):
        assert_allclose(numbers(f(a)), f(x), rtol=1e-15)
    assert_allclose(np.sum(a, axis=1, keepdims=True).value, np.sum(x, axis=1, keepdims=True), rtol=1e-15)
    assert_allclose(np.dot(a, x.T).value, x @ x.T, rtol=1e-15)
    assert_allclose((x.T @ a).value, x.T @ x, rtol=1e-15)
    assert_allclose(np.matmul(x.T, a).value, x.T @ x, rtol=1e-15)
    assert_array_equal(np.where(x > 1.0, a, 0.0).value, np.where(x > 1.0, x, 0.0))
    assert_array_equal(np.clip(a, 0.5, 1.0).value, np.clip(x, 0.5, 1.0))
    assert_array_equal(np.reshape(a, (3, 2)).value, x.reshape(3, 2))
    assert (np.shape(a), np.ndim(a), np.size(a)) == ((2, 3), 2, 6)
    assert (a.shape, a.ndim, a.size, a.dtype) == ((2, 3), 2, 6, np.float64)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: np.linalg.svd(a),
        lambda a: np.add.reduce(a),
        lambda a: np.fmod(a, 2.0),
        lambda a: np.add(np.ones(2), a, out=np.ones(2)),
        lambda a: np.median(a),
        lambda a: np.asarray(a),
        lambda a: np.array([a, a]),
        lambda a: float(a),
        lambda a: bool(a),
        lambda a: a[a[0]],
        lambda a: a + "text",
        lambda a: a * np.array([True, None]),
        lambda a: a * np.array([1j, 2.0]),
    ],
)
def test_what_would_lose_the_derivative_is_a_type_error(engine, call):
    with pytest.raises(TypeError, match=r".{20}"):
        call(engine.Array([1.0, 2.0]))


def test_shapes_that_do_not_meet(engine):
    a = engine.Array([1.0, 2.0])
    for call in (
        lambda: a + engine.Array([1.0, 2.0, 3.0]),
        lambda: a @ engine.Array([[1.0, 2.0]]),
        lambda: a.reshape(3),
        lambda: a.transpose(0, 0),
        lambda: engine.Array(np.zeros((2, 2, 2))).dot(engine.Array(np.zeros((2, 3, 2)))),
    ):
        with pytest.raises(ValueError, match=r".{20}"):
            call()
    for call in (lambda: a[2], lambda: a[0, 0], lambda: a[np.array([0, 5])]):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(np.exceptions.AxisError):
        a.sum(axis=1)
    assert_array_equal(a.grad, [0, 0])


@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    data=st.data(),
)
def test_broadcasting_is_numpys(shape, data):
    from fastprop import reference

    other = tuple(data.draw(st.sampled_from([1, n])) for n in shape)[data.draw(st.integers(0, len(shape) - 1)) :]
    x = np.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)
    y = np.arange(2.0, 2.0 + math.prod(other)).reshape(other)
    a, b = reference.Array(x), reference.Array(y)
    result = a * b
    assert_array_equal(result.value, x * y)
    result.backward(np.ones(shape))
    assert_array_equal(a.grad, np.broadcast_to(y, shape))
    assert b.grad.shape == other
    assert b.grad.sum() == x.sum()
