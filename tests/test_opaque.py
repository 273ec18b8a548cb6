"""Gates of the user's own in circuits: at one point, in lanes, on paths, and what they raise."""

import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp


class Cube(fp.Gate):
    def forward(self, x):
        return x * x * x

    def backward(self, pull, x):
        return pull * 3.0 * x * x


class ManyCubes(Cube):
    vectorised = True


class Root(fp.Gate):
    """Raises where it is not defined, as math does."""

    def forward(self, x):
        return math.sqrt(x)

    def backward(self, pull, x):
        return pull * 0.5 / math.sqrt(x)


class Length(fp.Gate):
    """Of a vector, times a number."""

    def forward(self, v, scale):
        return float(np.sqrt(np.sum(v * v))) * scale

    def backward(self, pull, v, scale):
        length = np.sqrt(np.sum(v * v))
        return pull * scale * v / length, pull * length


class Softmax(fp.Gate):
    """From a vector to a vector."""

    def forward(self, v):
        powers = np.exp(v - v.max())
        return powers / powers.sum()

    def backward(self, pull, v):
        y = self.forward(v)
        return y * (pull - np.sum(pull * y))


class Lengths(fp.Gate):
    """Of the vectors of all lanes at once; what it was given is noted."""

    vectorised = True

    def __init__(self):
        self.shapes = []

    def forward(self, v, scale, shift):
        self.shapes.append((v.shape, np.shape(scale), np.shape(shift)))
        return np.sqrt(np.sum(v * v, -1)) * scale + shift if v.ndim > 1 else math.sqrt(np.sum(v * v)) * scale + shift

    def backward(self, pull, v, scale, shift):
        length = np.sqrt(np.sum(v * v, -1))
        part = np.asarray(pull * scale / length)[..., None] * v
        return part, pull * length, None


def together(v, scale):
    return fp.dot(Softmax()(v), [1.0, 2.0, 3.0]) * Length()(v, scale) + fp.sin(scale)


@pytest.mark.parametrize("gate", [Cube, ManyCubes])
def test_at_one_point(gate):
    def f(x, y):
        return gate()(x * y) + fp.sin(x)

    circuit = fp.trace(f, 1.0, 2.0)
    assert circuit(0.5, 3.0) == f(0.5, 3.0)
    expected = fp.value_and_grad(f, argnums=(0, 1))(0.5, 3.0)
    assert circuit.value_and_grad(0.5, 3.0, argnums=(0, 1)) == expected
    assert fp.compile(fp.value_and_grad(f, argnums=(0, 1)))(0.5, 3.0) == expected
    run = circuit.forward(0.5, 3.0)
    run.backward()
    run.backward(2.0)
    assert run.grads[1] == pytest.approx(3.0 * expected[1][1])
    slopes = np.zeros(()), np.zeros(())
    bound = circuit.bind(np.array(0.5), np.array(3.0), grad=slopes)
    bound()
    bound()
    assert (bound.value, slopes) == expected
    single = fp.trace(f, 1.0, 2.0, dtype=np.float32)
    assert single(0.5, 3.0) == pytest.approx(f(0.5, 3.0), rel=1e-6)


def test_vectors_in_and_out_and_constants_among_the_operands():
    v = np.array([0.5, -0.2, 0.9])
    circuit = fp.trace(together, np.array([0.1, 0.2, 0.3]), 2.0)
    expected, slopes = fp.value_and_grad(together, argnums=(0, 1))(v, 1.5)
    value, found = circuit.value_and_grad(v, 1.5, argnums=(0, 1))
    assert value == expected
    assert_allclose(found[0], slopes[0], rtol=1e-14)
    assert found[1] == pytest.approx(slopes[1], rel=1e-14)
    assert fp.trace(lambda x: Length()([x, 2.0, x], 3.0), 1.0)(2.0) == pytest.approx(3.0 * math.sqrt(12.0))
    scale = fp.Unit(2.0)
    captured = fp.trace(lambda v: Length()(v, scale), v)
    scale.value = 5.0
    run = captured.forward(v)
    run.backward()
    assert run.value == pytest.approx(5.0 * np.linalg.norm(v))
    assert scale.grad == pytest.approx(np.linalg.norm(v))


@pytest.mark.parametrize("gate", [Cube, ManyCubes])
@pytest.mark.parametrize("lanes", [1, 7, 1000])
def test_in_lanes(gate, lanes):
    def f(x, y):
        return gate()(x * y) + fp.sin(x)

    x = np.linspace(-1.0, 1.0, lanes)
    each = [fp.value_and_grad(f, argnums=(0, 1))(point, 2.0) for point in x.tolist()]
    assert_allclose(fp.trace(f, 1.0, 2.0).batch(x, 2.0, in_axes=(0, None)), [value for value, _ in each], rtol=1e-13)
    step = fp.compile(fp.value_and_grad(fp.vmap(f, in_axes=(0, None), reduce="sum"), argnums=(0, 1)))
    value, (by_x, by_y) = step(x, 2.0)
    assert value == pytest.approx(sum(value for value, _ in each), rel=1e-12)
    assert_allclose(by_x, [slopes[0] for _, slopes in each], rtol=1e-12)
    assert by_y == pytest.approx(sum(slopes[1] for _, slopes in each), rel=1e-12)


def test_vectors_in_lanes():
    v = np.random.default_rng(0).normal(size=(700, 3))
    each = [fp.value_and_grad(together, argnums=(0, 1))(row, 1.5) for row in v]
    value, (by_v, by_scale) = fp.compile(fp.vmap(fp.value_and_grad(together, argnums=(0, 1)), in_axes=(0, None)))(
        v, 1.5
    )
    assert_allclose(value, [value for value, _ in each], rtol=1e-12)
    assert_allclose(by_v, [slopes[0] for _, slopes in each], rtol=1e-10, atol=1e-13)
    assert_allclose(by_scale, [slopes[1] for _, slopes in each], rtol=1e-10)


def test_a_vectorised_gate_gets_arrays_with_the_lanes_first():
    gate = Lengths()
    v = np.random.default_rng(1).normal(size=(600, 3))
    circuit = fp.trace(lambda v, scale: gate(v, scale, 0.25), np.ones(3), 2.0)
    mapped = fp.vmap(lambda v, s: gate(v, s, 0.25), in_axes=(0, None), reduce="sum")
    step = fp.compile(fp.value_and_grad(mapped))
    step(v, 2.0)
    gate.shapes.clear()
    value, slopes = step(v, 2.0)
    lengths = np.sqrt(np.sum(v * v, -1))
    assert value == pytest.approx(2.0 * lengths.sum() + 150.0, rel=1e-12)
    assert_allclose(slopes, 2.0 * v / lengths[:, None], rtol=1e-12)
    blocks = [shapes for shapes in gate.shapes if len(shapes[0]) == 2]
    assert sum(shape[0] for shape, _, _ in blocks) == 600
    assert all(shape[1:] == (3,) and scale == shape[:1] and shift == () for shape, scale, shift in blocks)
    assert_allclose(circuit.batch(v, 2.0, in_axes=(0, None)), 2.0 * lengths + 0.25, rtol=1e-14)


def test_lanes_are_taken_in_order():
    seen = []

    class Watching(Cube):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    circuit = fp.trace(Watching(), 1.0)
    seen.clear()
    circuit.batch(np.arange(3000.0))
    assert seen == list(range(3000))


def test_mapped_over_lanes_inside_of_a_circuit():
    def f(w, xs):
        return fp.log(fp.vmap(lambda x: Cube()(w * x) + 2.0)(xs).mean())

    xs = np.linspace(0.1, 1.0, 50)
    value, slope = fp.compile(fp.value_and_grad(f))(1.3, xs)
    assert value == pytest.approx(math.log(np.mean((1.3 * xs) ** 3 + 2.0)), rel=1e-14)
    assert slope == pytest.approx(np.mean(3.0 * 1.3**2 * xs**3) / np.mean((1.3 * xs) ** 3 + 2.0), rel=1e-13)
    total = fp.compile(lambda xs: Cube()(fp.vmap(lambda x: x * 2.0)(xs)).sum())
    assert total(np.arange(3.0)) == 72.0


def test_lanes_are_one_operand_outside_of_their_map():
    class Squares(fp.Gate):
        def forward(self, x):
            return float(np.sum(x * x))

        def backward(self, pull, x):
            return 2.0 * pull * x

    def f(xs):
        return Squares()(fp.vmap(fp.sin)(xs))

    xs = np.arange(3.0)
    assert fp.compile(f)(xs) == pytest.approx(f(xs), rel=1e-15)
    np.testing.assert_allclose(fp.compile(fp.grad(f))(xs), np.sin(2.0 * xs), rtol=1e-14, atol=1e-15)


def test_paths_part_lanes_and_points_before_a_gate_that_would_fail():
    def f(x):
        if x > 0:
            y = Root()(x)
            return y if y > 2.0 else y * 10.0
        return -x

    points = [4.0, -1.0, 9.0, -3.0, 1.0]
    expected = [20.0, 1.0, 3.0, 3.0, 10.0]
    compiled = fp.compile(f)
    assert [compiled(x) for x in points] == expected
    assert_array_equal(fp.compile(fp.vmap(f))(np.array(points)), expected)
    with pytest.raises(fp.DivergenceError, match="is False"):
        fp.trace(f, 9.0)(-1.0)


def test_what_a_gate_raises_comes_out_unchanged():
    for call in (
        lambda: fp.trace(Root(), 1.0)(-1.0),
        lambda: fp.compile(Root())(-1.0),
        lambda: fp.trace(Root(), 1.0).batch(np.array([1.0, -1.0])),
        lambda: fp.compile(fp.vmap(Root()))(np.array([1.0, -1.0])),
        lambda: fp.trace(Root(), 1.0).bind(np.array(-1.0))(),
    ):
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            call()
    circuit = fp.trace(Root(), 1.0)
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        circuit(-1.0)
    assert circuit(4.0) == 2.0
    assert_array_equal(circuit.batch(np.array([4.0, 9.0])), [2.0, 3.0])


def test_results_and_pulls_of_other_shapes_are_refused():
    class Fickle(fp.Gate):
        def forward(self, x):
            return x if x < 5.0 else np.array([x, x])

        def backward(self, pull, x):
            return (pull, pull)

    circuit = fp.trace(Fickle(), 1.0)
    with pytest.raises(ValueError, match=r"returned shape \(2,\).*recorded with \(\)"):
        circuit(7.0)
    with pytest.raises(ValueError, match="returned 2 pulls for 1 operands"):
        circuit.value_and_grad(1.0)

    class Short(ManyCubes):
        def forward(self, x):
            return np.zeros(3) if np.ndim(x) else 1.0

    with pytest.raises(ValueError, match=r"shape \(3,\) for 8 lanes"):
        fp.trace(Short(), 1.0).batch(np.arange(8.0))

    class ShortPull(ManyCubes):
        def backward(self, pull, x):
            return np.zeros(3)

    with pytest.raises(ValueError, match="the pull on operand 0 has shape"):
        fp.compile(fp.grad(fp.vmap(ShortPull(), reduce="sum")))(np.arange(8.0))


def test_a_pull_of_zero_does_not_reach_a_gate():
    class Once(Cube):
        def backward(self, pull, x):
            raise AssertionError("nothing is pulled")

    circuit = fp.trace(lambda x, y: fp.where(x > 0.0, y, Once()(y)), 1.0, 2.0)
    assert circuit.value_and_grad(1.0, 2.0, argnums=1) == (2.0, 1.0)


def test_derivatives_that_are_recorded():
    assert fp.compile(lambda x: fp.grad(Cube())(x))(2.0) == 12.0
    assert fp.compile(fp.hessian(Cube()))(2.0) == 12.0
    assert fp.compile(fp.grad(lambda x: fp.grad(lambda y: Cube()(y) * y)(x)))(2.0) == pytest.approx(48.0)
    v = np.array([0.5, -1.0, 2.0])
    circuit = fp.trace(lambda v: fp.grad(lambda u: Softmax()(u)[0])(v), v)
    np.testing.assert_allclose(circuit(v), fp.grad(lambda u: Softmax()(u)[0])(v), rtol=1e-13)
    hessian = fp.compile(fp.hessian(lambda u: Softmax()(u)[0] * u[1]))(v)
    np.testing.assert_allclose(hessian, fp.hessian(lambda u: fp.softmax(u)[0] * u[1])(v), rtol=1e-12, atol=1e-15)
    found = fp.compile(lambda v: fp.grad(lambda u: Softmax()(u)[0])(v))(np.ones(3))
    np.testing.assert_allclose(found, fp.grad(lambda u: Softmax()(u)[0])(np.ones(3)))


def test_a_circuit_that_holds_one_is_not_pickled():
    with pytest.raises(TypeError, match="a gate of your own"):
        pickle.dumps(fp.trace(Cube(), 1.0))


def test_tangents_of_ones_own_gates_in_traced_code():
    class Twice(fp.Gate):
        def forward(self, x):
            return x * 2.0

        def backward(self, pull, x):
            return 2.0 * pull

    def f(x):
        return fp.jvp(lambda q: Twice()(q) * q, (x,), (0.5,))[1]

    assert f(2.0) == fp.compile(f)(2.0) == 4.0
    np.testing.assert_array_equal(fp.vmap(f)(np.array([2.0, 3.0])), [4.0, 6.0])


def test_what_float32_does_not_hold_is_infinite_without_a_warning():
    class Huge(fp.Gate):
        vectorised = True

        def forward(self, x):
            return np.float64(x) * 1e300

        def backward(self, pull, x):
            return np.float64(pull) * 1e300

    x = np.array([1.0, 0.0, -2.0], np.float32)
    values, slopes = fp.compile(fp.vmap(fp.value_and_grad(lambda x: Huge()(x))))(x)
    assert values.tolist() == [np.inf, 0.0, -np.inf] and slopes.tolist() == [np.inf] * 3


# Pulls of exactly 0, where the gate's derivative is recorded gate by gate ---------------------------------------------


class Both(fp.Gate):
    """Of two numbers, and of a vector of both: their products."""

    def forward(self, x, y):
        return np.array([x * y, x * x * y])

    def backward(self, pull, x, y):
        return y * pull[0] + 2.0 * x * y * pull[1], x * pull[0] + x * x * pull[1]


UNPULLED = {
    "not chosen": lambda a: fp.where(a > 1e9, 1.0, Cube()(a)),
    "times 0": lambda a: fp.where(a > 0.0, 0.0, 1.0) * Cube()(a),
    "below 0": lambda a: fp.relu(-Cube()(a)),
    "behind an if": lambda a: fp.where(a > 1e9, 1.0, Cube()(a)) if a > -5.0 else a * 2.0,
    "by an if": lambda a: fp.where(a > 1e9, 1.0, Cube()(a)) if Cube()(a) > 2.0 else a * a,
    "in columns": lambda a: fp.where(a > 1e9, 1.0, ManyCubes()(a)),
    "several numbers": lambda a: fp.where(a > 1e9, 1.0, fp.sum(Both()(a, 2.0))),
}


@pytest.mark.parametrize("case", UNPULLED)
def test_what_is_not_pulled_on_brings_nothing_where_it_is_recorded(case):
    x, f = np.array([math.inf, 1.0, -3.0, 2.0]), UNPULLED[case]

    def mapped(x):
        return fp.vmap(f)(x)

    expected = [fp.grad(f)(point) for point in x.tolist()]
    assert_allclose(np.diag(fp.compile(fp.jacobian(mapped))(x)), expected, rtol=1e-14)
    for weights in ([1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]):
        weights = np.array(weights)
        pulled = fp.compile(lambda x, w=weights: fp.vjp(mapped, x)[1](w)[0])
        assert_allclose(pulled(x), expected * weights, rtol=1e-14)
        bends = [0.0 if w == 0.0 else fp.hessian(f)(point) for w, point in zip(weights, x.tolist())]
        found = fp.compile(fp.hessian(lambda x, w=weights: fp.sum(mapped(x) * w)))(x)
        assert_allclose(np.diag(found), bends, rtol=1e-14)


def test_a_pull_that_is_0_at_a_point_has_a_derivative():
    def f(x):  # whose pull on the gate is 2 * (x * x * x - 8): 0 at 2
        return (Cube()(x) - 8.0) ** 2

    assert fp.compile(fp.hessian(f))(2.0) == fp.hessian(f)(2.0) == 288.0
    assert fp.compile(lambda x: fp.grad(lambda x: fp.grad(f)(x))(x))(2.0) == 288.0
