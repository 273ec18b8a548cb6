"""What may be written of Units and Arrays: each expression gives the same, or the same error, wherever it is written.

Eager code is compared with the reference; circuits, compiled functions and lanes with eager code.
"""

import numpy as np
import pytest

import fastprop as fp
from fastprop import reference

# x and y are Units, a and b Arrays of shape (3,), m one of shape (2, 3).
EXPRESSIONS = """
x + y ; 1 - x ; x * 2 ; 2 / x ; x ** 2 ; 2.0 ** x ; -x ; +x ; abs(y) ; x % 0.2 ; 1.5 % x ; x // 0.2 ; 1.5 // x
divmod(x, 0.2) ; divmod(1.0, x) ; a // 0.5 ; 1.0 // a ; a % 0.5 ; divmod(a, 0.5) ; x // y ; a // b ; a % b
np.float64(2.0) - x ; np.float32(2.0) * x ; np.int64(3) + x ; x / np.float64(4.0) ; np.array(2.0) * x ; x - True
np.array([1, 2]) * x ; x * np.array([[1.0], [2.0]]) ; [1.0, 2.0] * x ; x + [1.0, 2.0] ; np.arange(3.0) - a
a - [1, 2, 3]
a + b ; a * x ; x - a ; a / b ; a ** 2 ; 2.0 ** a ; -a ; +a ; abs(a) ; m + a ; m * x ; a - m ; m @ a ; a @ b ; a @ m.T
x @ a ; a @ x ; m @ m ; m.T @ m ; np.ones((2, 2)) @ m ; [[1.0, 2.0]] @ m ; a @ [1.0, 2.0, 3.0] ; a @ [1.0, 2.0]
x > 0 ; x < y ; x >= 0.5 ; x <= y ; x == y ; x != y ; x == 0.5 ; 0 < x ; x > np.float64(0.1) ; np.float64(0.1) > x
x == None ; x != None ; x == "x" ; x > "x" ; x > None ; x > [0.0] ; x > True ; x == True ; True < x
x > np.arange(3.0) ; np.arange(3.0) > x ; np.arange(3.0) == x ; x != np.zeros(2) ; x <= np.array([[0.1], [2.0]])
a > 0 ; a < b ; a >= x ; x >= a ; a == a ; a != b ; a > np.zeros(3) ; np.zeros(3) < a ; a > [0, 1, 2] ; a > True
a == None ; a != None ; a == "x" ; a > None ; a > np.zeros(2) ; m > a ; ~(a > 0) ; (a > 0) & (b > 0)
(a > 0) | (b > 0)
(a > 0) ^ (b > 0) ; (a > 0) & True ; (x > 0) & (y > 0) ; (x > 0) | (y > 0) ; (x > 0) ^ (y > 0) ; (a > 0) & (x > 0)
(a > 0) & np.array([True, False, True]) ; np.array([True, False, True]) | (a > 0)
(a > 0).any() ; (a > 0).all() ; (m > 0).any(axis=0) ; (m > 0).all(1) ; (m > 0).any(axis=1, keepdims=True)
(a > 0).sum()
(m > 0).sum(axis=0) ; (a > 0).mean() ; (m > 0).T ; (m > 0).reshape(3, 2) ; (m > 0)[0] ; (a > 0)[1] ; (a > 0).shape
(a > 0) * a ; a * (a > 0) ; x * (x > 0) ; (x > 0) * x ; (y > 0) * x ; True * x ; x + (y > 0) ; (y > 0) + x
(x > 0) - x
x - (x > 0) ; x / (x > 0) ; (x > 0) / x ; (x > 0) ** x ; x ** (x > 0) ; (x > 0) + (y > 0)
(x > 0) + (y > 0) + (x > 0)
sum([x > 0, y > 0, x > y]) ; sum([a > 0, b > 0]) ; (a > 0) + (b > 0) ; (a > 0) * (b > 0) ; (a > 0) - (b > 0)
-(a > 0)
1 - (x > 0) ; 1 - (a > 0) ; (a > 0) - 1 ; 2.0 * (a > 0) ; (a > 0) / 2 ; (a > 0) * x ; (x > 0) * a ; a * True
a + (a > x)
(x > 0) == 1 ; (x > 0) == (y > 0) ; (x > 0) != (y > 0) ; (x > 0) > 0.5 ; (x > 0) == None ; hash(a > 0)
fp.add(x, True) ; fp.maximum(x > 0, y) ; fp.exp(x > 0) ; fp.sum([x > 0, y > 0, x]) ; fp.max([x, True]) ; fp.sum(a > 0)
fp.dot([x > 0, 1.0], [x, y]) ; fp.dot(a > 0, a) ; fp.multiply(a > 0, b) ; fp.multiply(a, [True, False, True])
fp.multiply(x, [x > 0, y > 0]) ; fp.hypot(x, x > y) ; fp.clip(x, y > 0, 1.0) ; fp.mean([x > 0, y > 0])
fp.logsumexp([x > 0, x])
fp.Array([x, y]) ; fp.Array([a, b]) ; fp.Array([[x, 1.0], [2, y]]) ; fp.Array([x, True]) ; fp.Array([x, x > 0])
fp.Array([x, a])
fp.where(x > 0, x, y) ; fp.where(a[0] > 0.1, a, 2 * a) ; fp.where(a[0] > 9, a, x) ; fp.where(a > 0, a, 0.0)
fp.where(a > 0, x, y)
fp.where(x > 0, a, y) ; fp.where(x > 0, m, a) ; fp.where(m > 0, a, x) ; fp.where(True, x, y) ; fp.where(False, a, x)
fp.where(np.array([True, False, True]), a, b) ; fp.where([True, False, True], x, y) ; fp.where(x, x, y)
fp.where(a, a, b)
fp.where((x > 0) & (y > 0), x, y) ; fp.where(x <= 0, x, y) ; fp.where(a > b, a, b) ; fp.where(x > a, x, a)
np.where(True, x, 0.0) ; np.where(x > 0, x, 0.0) ; np.where(a > 0, a, 0.0) ; np.where(x > 0, a, 1.0)
np.where(x > 0, 1.0, 2.0)
np.where(a > 0, 1.0, 2.0) ; np.where(a > 0, x, -x) ; np.where(np.array([True, False, True]), a, x)
np.sum(x) ; np.mean(x) ; np.prod(x) ; np.max(x) ; np.min(x) ; np.amax(x) ; np.sum(a) ; np.mean(a) ; np.prod(a)
np.max(a) ; np.min(m)
np.sum(x, axis=0) ; np.sum(a, axis=1) ; np.sum(m, axis=1) ; np.sum(m, 0) ; np.max(m, axis=(0, 1))
np.mean(m, axis=1, keepdims=True)
np.sum(x, keepdims=True) ; np.sum(a, keepdims=True) ; np.sum(a > 0) ; np.sum(x > 0) ; np.mean(a > 0) ; fp.sum(x)
fp.max(a) ; fp.sum(m, axis=-1)
np.any(a > 0) ; np.all(a > 0) ; np.any(x > 0) ; np.all(x > 0) ; np.any(m > 0, axis=0) ; np.all(m > 0, axis=1)
np.count_nonzero(a > 0)
np.any(a) ; np.all(x) ; np.any([x > 0, y > 0]) ; np.logical_and(x > 0, y > 0) ; np.logical_or(a > 0, b > 0)
np.logical_not(x > 0)
np.logical_not(a > 0) ; np.logical_xor(a > 0, b > 0) ; np.logical_and(a > 0, x > 0) ; np.logical_and(x, y)
np.logical_not(a)
(x > 0) & 1 ; 6 | (x > 0) ; (x > 0) ^ -3 ; (a > 0) & 3 ; 2 | (a > 0) ; (m > 0) ^ np.arange(3) ; np.arange(3) & (x > 0)
np.bitwise_and(a > 0, 2) ; np.bitwise_xor(5, x > 0) ; (x > 0) & 1.0 ; (a > 0) | a ; (a > 0) & "x"
~np.pad(a > 0, 1) ; ~np.pad(m > 0, 1, constant_values=2.0) ; fp.pad(a > 0, (1, 0)) ; ~np.tril(m > 0) ; ~np.diag(a > 0)
~np.where(a > 0, b > 0, ~(b > 0)) ; np.where(x > 0, a > 0, True) + (b > 0) ; fp.where(a > 0, a > 0, b > 0) + 1
(a > 0) @ (a < 9) ; (m > 0) @ (b > 0) ; np.array([True, True, True]) @ (a < 9) ; (m > 0) @ b ; np.dot(a > 0, a < 9)
np.add(a > 0, b > 0) ; np.add(a > 0, 1) ; np.multiply(x > 0, y > 0) ; np.matmul(m < 9, a < 9) ; np.diff(m > 0)
fp.diff(a > 0) ; ~np.max(m > 0, axis=0) ; np.maximum(a > 0, b > 0) + (a > 0) ; np.einsum("i,i", a < 9, a < 9)
fp.dot(a < 9, a < 9) ; fp.maximum(a > 0, b > 0) + 1 ; np.outer(a > 0, b > 0) + (m[:1].T > 0)
~np.vstack([a > 0, np.array([True, False, True])]) ; ~np.concatenate([m > 0, m < 0], axis=None)
~(a[:0] > 0) | (b[:0] > 0) ; fp.where((m[:0] > 0).any(1), x, y) ; np.isnan(a[:0]) ^ True
~np.concatenate([a[:0] > 0, b[:0] > 0]) ; fp.where((m > 0)[:0, 1:], x, m[:0, 1:])
np.pad(a[:0] > 0, 1) + (b[:2] > 0) ; (a[:0] > 0) & 3
np.logical_and(x > 0, True) ; np.logical_and(a > 0, [True, False, True]) ; np.bitwise_and(a > 0, b > 0)
np.invert(a > 0) ; np.bitwise_or(x, y)
np.isnan(x) ; np.isnan(a) ; np.isfinite(x) ; np.isfinite(a / 0.0) ; np.isinf(a / 0.0) ; np.isinf(x) ; np.signbit(x)
np.signbit(a) ; np.signbit(-0.0 * x)
np.less(x, y) ; np.greater(a, b) ; np.equal(x, np.zeros(2)) ; np.not_equal(a, x) ; np.less_equal(x, 0.5)
np.greater_equal([0.5, 1.0], x)
np.reshape(x, (1,)) ; np.reshape(a, (3, 1)) ; np.reshape(m, -1) ; np.reshape(a, (2, 2)) ; np.transpose(m)
np.transpose(x) ; np.reshape(x, (1, 1))
np.clip(x, 0.0, 0.2) ; np.clip(a, 0, 1) ; np.clip(a, x, None) ; np.clip(y, None, 0.0) ; np.clip(x, y, a)
x.clip(0, 1) ; a.clip(min=0)
np.dot(x, y) ; np.dot(a, b) ; np.dot(m, a) ; np.dot(x, a) ; np.dot(a, np.arange(3.0)) ; np.dot(np.eye(2), m)
np.matmul(m, a) ; np.matmul(x, y)
np.exp(x) ; np.tanh(a) ; np.maximum(x, y) ; np.maximum(a, 0) ; np.minimum(a, b) ; np.hypot(x, a) ; np.power(x, 2)
np.float_power(x, y)
np.sqrt(abs(x)) ; np.square(a) ; np.sign(y) ; np.floor(a) ; np.rint(a) ; np.fabs(y) ; np.absolute(a) ; np.negative(x)
np.positive(a) ; np.reciprocal(x)
np.floor_divide(x, 0.2) ; np.floor_divide(a, b) ; np.remainder(x, 0.2) ; np.mod(a, 0.5) ; np.divmod(a, 0.5)
np.fmod(x, 2.0) ; np.add(x, a)
np.shape(x) ; np.shape(a) ; np.ndim(m) ; np.size(m) ; np.size(x) ; x.shape ; a.shape ; m.ndim ; m.size ; len(a)
len(x)
np.add.reduce(a) ; np.add(x, 1, out=np.zeros(())) ; np.sin(a, dtype=float) ; np.sort(a) ; np.argmax(a)
np.linalg.norm(a) ; np.cumsum(a)
np.concatenate([a, b]) ; np.stack([a, b]) ; np.asarray(x) ; np.asarray(a) ; np.array([x, y]) ; float(x) ; float(a)
int(x) ; complex(x) ; bool(x) ; bool(a)
a[0] ; a[-1] ; a[3] ; a[-4] ; a[0:2] ; a[::-1] ; a[[0, 2]] ; a[np.array([2, 2, 0])] ; a[np.array([[0], [1]])]
a[None] ; a[...] ; a[True] ; m[1, 2]
m[1] ; m[:, 1] ; m[-1, -1] ; m[2, 0] ; m[0, 3] ; m[0, 0, 0] ; m[[0, 1], [2, 0]] ; m[..., 0] ; m[np.int64(1)]
m[np.array([True, False])]
a[np.array([True, False, True])] ; a[np.array([True, False])] ; a[a > 0] ; m[m > 0] ; m[m > 9] ; a[1.0] ; a["x"]
a[np.array([0.0])] ; a[[5]] ; m[:, [0, 7]] ; a[x]
a.sum() ; m.sum(axis=0) ; m.mean(1) ; m.max(axis=1) ; a.min() ; a.prod() ; m.T ; m.reshape(3, 2) ; m.reshape((6,))
a.dot(b) ; m.transpose(1, 0)
list(a) ; [v * 2 for v in a] ; tuple(m) ; sum(a) ; max(a) ; min(x, y) ; sorted([x, y]) ; sum([x, y]) ; x in [1.0, x]
{"k": x, "l": a}
x.exp() ; y.relu() ; a.relu() ; x.tanh() ; a.log() ; x.sigmoid() ; x.maximum(y) ; a.leaky_relu(0.1) ; x.sqrt()
a.hypot(x) ; x.power(2) ; m.square()
round(x) ; fp.round(a) ; fp.trunc(y) ; fp.leaky_relu(y) ; fp.leaky_relu(a, negative_slope=x) ; fp.logaddexp(x, a)
fp.arctan2(y, x) ; fp.fma(x, y, a)
fp.logsumexp(a) ; fp.logsumexp(m, axis=1) ; fp.softplus(m) ; fp.polygamma(1, x) ; fp.polygamma(x, x)
fp.dot([x, y], [1.0, 2.0]) ; fp.dot([x], [x, y])
fp.stop_gradient(x) * x ; fp.stop_gradient(a) * a ; fp.maximum(x) ; fp.exp(x, y) ; fp.exp("x") ; x + "x" ; x + None
a + None ; x * 1j ; a * np.array([1j])
"""
ROWS = [text.strip() for text in EXPRESSIONS.replace("\n", " ; ").split(" ; ") if text.strip()]

POINTS = [
    (0.5, -1.5, [0.3, -1.2, 2.0], [1.0, 0.7, -0.4], [[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]]),
    (-0.75, 2.5, [-0.6, 0.8, 1.5], [0.2, 1.4, -2.0], [[-1.5, 2.0, 0.75], [1.25, -3.0, 2.0]]),
]


def function_of(text, fp):
    """The expression as a function of x, y, a, b and m, in which `fp` is an engine."""
    return eval(f"lambda x, y, a, b, m: {text}", {"fp": fp, "np": np})


def arguments(point):
    return [np.array(part) if isinstance(part, list) else part for part in point]


def plain(result):
    """Numbers, arrays, and containers of them, whatever a result is made of; truth values count as numbers."""
    if isinstance(result, (list, tuple)):
        return [plain(part) for part in result]
    if isinstance(result, dict):
        return {key: plain(part) for key, part in result.items()}
    value = result.value if hasattr(type(result), "__fastprop_gate__") else result
    assert not isinstance(value, np.ndarray) or value.dtype != object
    return np.asarray(value, np.float64)


def outcome(compute):
    """What a computation gives, or the kind of its error."""
    try:
        return plain(compute())
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        assert str(error)
        return next(kind for kind in (TypeError, IndexError, AttributeError, ValueError) if isinstance(error, kind))


def eager(text, engine, point):
    handles = [(engine.Array if isinstance(part, list) else engine.Unit)(part) for part in point]
    return outcome(lambda: function_of(text, engine)(*handles))


def assert_same(found, expected):
    if isinstance(expected, type) or isinstance(found, type):
        assert found is expected
    elif isinstance(expected, (list, dict)):
        assert len(found) == len(expected)
        for i in expected if isinstance(expected, dict) else range(len(expected)):
            assert_same(found[i], expected[i])
    else:
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def the_engine_agrees_with_the_reference(text, expected):
    for point, result in zip(POINTS, expected):
        assert_same(result, eager(text, reference, point))


def a_circuit_agrees_with_eager_code(text, expected):
    f = function_of(text, fp)
    assert_same(outcome(lambda: fp.trace(f, *arguments(POINTS[0]))(*arguments(POINTS[0]))), expected[0])


def a_compiled_function_agrees_with_eager_code(text, expected):
    f = fp.compile(function_of(text, fp))
    for point, result in zip(POINTS, expected):
        assert_same(outcome(lambda point=point: f(*arguments(point))), result)


def gradients(text, engine, point):
    """The gradients of the sum of all numbers of the result, by a sweep backward; None if it is no handle."""
    handles = [(engine.Array if isinstance(part, list) else engine.Unit)(part) for part in point]
    result = function_of(text, engine)(*handles)
    if not isinstance(result, (engine.Unit, engine.Array)):
        return None
    result.backward(*([np.ones(result.shape)] if result.shape else []))
    return plain([handle.grad for handle in handles])


def gradients_agree(text, expected):
    def total(*args):
        result = function_of(text, fp)(*args)
        return result.sum() if result.shape else result

    if isinstance(expected[0], type):
        return  # an error, which the others compare
    slopes = gradients(text, reference, POINTS[0])
    assert_same(gradients(text, fp, POINTS[0]) or [], slopes or [])
    if slopes is not None:
        every = tuple(range(5))
        assert_same(plain(fp.grad(total, every)(*arguments(POINTS[0]))), slopes)
        assert_same(plain(fp.compile(fp.grad(total, every))(*arguments(POINTS[0]))), slopes)


def lanes_agree_with_eager_code(text, expected):
    columns = [np.stack([part, part]) for part in arguments(POINTS[0])]
    found = outcome(lambda: fp.vmap(function_of(text, fp))(*columns))
    if isinstance(found, type) or isinstance(expected[0], type):
        assert found is expected[0]
        return
    assert_same(lane_of(found, 1), expected[0])


def lane_of(found, lane):
    if isinstance(found, dict):
        return {key: lane_of(part, lane) for key, part in found.items()}
    return [lane_of(part, lane) for part in found] if isinstance(found, list) else found[lane]


@pytest.mark.parametrize("text", ROWS)
def test_it_gives_the_same_wherever_it_is_written(text):
    expected = [eager(text, fp, point) for point in POINTS]
    the_engine_agrees_with_the_reference(text, expected)
    a_circuit_agrees_with_eager_code(text, expected)
    a_compiled_function_agrees_with_eager_code(text, expected)
    gradients_agree(text, expected)
    lanes_agree_with_eager_code(text, expected)
