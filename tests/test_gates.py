"""The table: values and partials of every row, to fourth order against mpmath, and how gates take their operands."""

import copy
import itertools
import math
import operator
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp, mpf

import fastprop
from accuracy import EDGES, FORMULAS, PRECISION, SEQUENCE_TRUTH, TRUTH, inf, nan, same, truth_of_row
from fastprop import gates

SEQUENCES = [name for name, row in gates.table.items() if row.arity == gates.SEQUENCE]
ELEMENTWISE = [name for name in gates.table if name not in SEQUENCES]
STEPS = ["sign", "floor", "ceil", "round", "trunc"]


class Dual:
    """A number and its tangent, either of which may hold Duals of lower levels: derivatives of derivatives."""

    __hash__ = None

    def __init__(self, level, primal, tangent):
        self.level, self.primal, self.tangent = level, primal, tangent

    @staticmethod
    def __fastprop_gate__(gate, operands, options):
        flat = [x for operand in operands for x in (operand if isinstance(operand, list) else [operand])]
        level = max(x.level for x in flat if isinstance(x, Dual))

        def primal(x):
            if isinstance(x, list):
                return [primal(item) for item in x]
            return x.primal if isinstance(x, Dual) and x.level == level else x

        tangent = 0.0
        for i, x in enumerate(flat):
            if isinstance(x, Dual) and x.level == level:
                values = primal(flat)
                n_ary = gate.arity == gates.SEQUENCE
                partial = gate.partials(values)[i] if n_ary else gate.partials[i](*values)
                if not (gate.strong and lowest(partial) == 0.0):
                    tangent = tangent + gates.strong_multiply(x.tangent, partial)
        return Dual(level, gate(*primal(list(operands)), **options), tangent)


def lowest(x):
    while isinstance(x, Dual):
        x = x.primal
    return x


for symbol, name in {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power"}.items():
    setattr(Dual, f"__{symbol}__", lambda x, y, row=gates.table[name]: row(x, y))
    setattr(Dual, f"__r{symbol}__", lambda x, y, row=gates.table[name]: row(y, x))
for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
    setattr(Dual, f"__{compare.__name__}__", lambda x, y, compare=compare: compare(lowest(x), lowest(y)))
Dual.__neg__ = lambda x: gates.negative(x)


def derivative(function, operands, along):
    """Return the mixed derivative of a function in the operands whose indices are in along."""
    seeded = list(operands)
    for level, index in enumerate(along):
        seeded = [Dual(level, x, float(i == index)) if i in along else x for i, x in enumerate(seeded)]
    result = function(*seeded)
    for level in reversed(range(len(along))):
        result = result.tangent if isinstance(result, Dual) and result.level == level else 0.0
    return lowest(result)


def orders(function, x, highest=4):
    return [derivative(function, [x], [0] * order) for order in range(1, highest + 1)]


def called(row):
    """Return the row as a function of its flattened operands."""
    if row.name == "dot":
        return lambda *x: row(list(x[: len(x) // 2]), list(x[len(x) // 2 :]))
    return (lambda *x: row(list(x))) if row.arity == gates.SEQUENCE else row


# Formulas without a switch at 0 or at a tie, for the partials of those that have one in TRUTH.
SMOOTH = {
    "sigmoid": [lambda x: 1 / (2 + mp.exp(-x) + mp.exp(x))],
    "log_sigmoid": [lambda x: 1 / (1 + mp.exp(x))],
    "softplus": [lambda x: 1 / (1 + mp.exp(-x))],
    "silu": [lambda x: mp.diff(lambda t: t / (1 + mp.exp(-t)), x)],
    "sech": [lambda x: -mp.sech(x) * mp.tanh(x)],
    "tanh": [lambda x: mp.sech(x) ** 2],
    "random_integer": [lambda x, y: mpf(0)] * 2,  # between integers it is not defined
    "logaddexp": [lambda x, y: 1 / (1 + mp.exp(y - x)), lambda x, y: 1 / (1 + mp.exp(x - y))],
}
ONE_OPERAND = [0.0, 0.3, -0.3, 0.7, -0.9, 1.7, -2.3, 4.2, 5.5, 1e-9, -1e-9, 20.0, -20.0, 40.0, 1.0 - 1e-5, -1.0 + 1e-9]
# fmt: off
TWO_OPERANDS = [(0.3, 0.7), (1.7, -2.3), (2.3, 1.1), (5.0, 4.9), (1e-3, 2.0), (2.0, 1e-3), (3.0, 2.0), (50.0, 1.0),
                (1.0, 1.0), (-0.4, 1.3)]
# fmt: on
KINKS = {"absolute", "relu", "cbrt", "reciprocal", "gammaln", "digamma", *STEPS}


def smooth_points(name):
    """Return points at which the gate has derivatives of all orders."""
    domain = gates.table[name].domain
    if name == "polygamma":
        return [(1.0, 0.7), (2.0, -1.3), (3.0, 4.5), (1.0, -0.2), (0.0, 2.5)]
    if name == "random_integer":
        return [(3.0, 5.0), (0.0, -1.0), (2.0**53 - 1.0, 7.0)]
    if len(domain) == 1:
        return [
            (x,)
            for x in ONE_OPERAND
            if domain[0][0] < x < domain[0][1] and not (name in KINKS and x in (0.0, 20.0, -20.0, 40.0, 5.5))
        ]
    if len(domain) == 3:
        return [(0.7, -0.4, 1.9), (2.5, 1.1, 1.4)]
    inside = [p for p in TWO_OPERANDS if p[0] > domain[0][0]]
    return [
        p for p in inside if not (name in ("maximum", "minimum", "remainder", "floor_divide") and p[0] % p[1] == 0.0)
    ]


@pytest.mark.parametrize("name", FORMULAS)
def test_truth_of_a_row_is_the_formula(name):
    with mp.workprec(PRECISION):
        for point in smooth_points(name):
            exact = [mpf(x) for x in point]
            for of_row, formula in zip(truth_of_row(gates.table[name]), FORMULAS[name], strict=True):
                assert mp.almosteq(of_row(*exact), formula(*exact), 1e-13, 1e-15), point


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_four_orders(name):
    row = gates.table[name]
    partials = SMOOTH.get(name, TRUTH[name][1:])
    live = [i for i, partial in enumerate(row.partials) if partial is not None]
    assert smooth_points(name)
    for point in smooth_points(name):
        found = {}
        for order in range(1, 5):
            for along in itertools.combinations_with_replacement(live, order):
                found[along] = given = derivative(row, point, along)
                expected = exact_derivative(partials, point, along)
                cancels = max([abs(found[along[:k]]) for k in range(1, order)], default=0.0)
                error = abs(mpf(given) - expected)
                assert error <= 2e-11 * abs(expected) + 4e-15 * cancels + 1e-300, (point, along, given, expected)


def exact_derivative(partials, point, along):
    """Differentiate the exact partial of the first operand in along by the others, numerically, in many digits."""
    with mp.workdps(50):
        exact = [mpf(x) for x in point]
        counts = [along[1:].count(i) for i in range(len(point))]
        live = [i for i, count in enumerate(counts) if count]
        if not live:
            return mp.re(partials[along[0]](*exact))

        def moved(*x):
            return partials[along[0]](*[x[live.index(i)] if i in live else exact[i] for i in range(len(exact))])

        if len(live) == 1:
            return mp.re(mp.diff(moved, exact[live[0]], counts[live[0]]))
        return mp.re(mp.diff(moved, tuple(exact[i] for i in live), tuple(counts[i] for i in live)))


@pytest.mark.parametrize("name", SEQUENCES)
def test_four_orders_of_sequences(name):
    function, partial = called(gates.table[name]), SEQUENCE_TRUTH[name][1]
    for point in [(0.3, -1.2, 2.5, 0.7), (30.0, -1.0, 2.0, 29.0)]:
        partials = [lambda *x, i=i: partial(i, list(x)) for i in range(4)]
        for order in range(1, 5):
            for along in [(0,) * order, (0, 2, 2, 3)[:order], (1, 0, 3, 2)[:order]]:
                given, expected = derivative(function, point, along), exact_derivative(partials, point, along)
                assert abs(given - expected) <= 1e-11 * abs(expected) + 1e-15, (point, along, given, expected)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (lambda x: x**3.0, 0.0, [0.0, 0.0, 6.0, 0.0]),
        (lambda x: x**2.0, 0.0, [0.0, 2.0, 0.0, 0.0]),
        (lambda x: x**0.0, 0.0, [0.0, 0.0, 0.0, 0.0]),
        (lambda x: x**1.0, 0.0, [1.0, 0.0, 0.0, 0.0]),
        (lambda x: x**3.0, -2.0, [12.0, -12.0, 6.0, 0.0]),
        (lambda x: x * gates.absolute(x), 0.0, [0.0, 0.0, 0.0, 0.0]),
        (lambda x: gates.relu(x) ** 2.0, 0.0, [0.0, 0.0, 0.0, 0.0]),
        # a tie: the average, each branch differentiated
        (lambda x: gates.maximum(x * x, x), 1.0, [1.5, 1.0, 0.0, 0.0]),
        (lambda x: gates.max([x * x, x * x * x, x]), 1.0, [2.0, 8.0 / 3.0, 2.0, 0.0]),
        (lambda x: gates.minimum(x * x * x, 0.0), 1.0, [0.0, 0.0, 0.0, 0.0]),
        (lambda x: gates.clip(x, -1.0, 1.0) ** 2.0, 1.0, [2.0, 2.0, 0.0, 0.0]),
        (lambda x: gates.where(x > 0.0, gates.log(x), x * x), 0.0, [0.0, 2.0, 0.0, 0.0]),
        (lambda x: gates.where(x > 0.0, x * x, gates.sqrt(x)), 3.0, [6.0, 2.0, 0.0, 0.0]),
        (lambda x: gates.prod([x, x, 3.0]), 0.0, [0.0, 6.0, 0.0, 0.0]),
        (lambda x: gates.prod([x, x, x, x]), 0.0, [0.0, 0.0, 0.0, 24.0]),
        (lambda x: gates.elu(x), 0.0, [1.0, 1.0, 1.0, 1.0]),
        (lambda x: gates.sign(x) * x, 2.0, [1.0, 0.0, 0.0, 0.0]),
        (lambda x: gates.logsumexp([x, -inf]), 1.0, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_orders_at_kinks_and_ties(function, x, expected):
    np.testing.assert_allclose(orders(function, x), expected, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("log", -1.0),
        ("log2", -1.0),
        ("log10", -1.0),
        ("log1p", -2.0),
        ("arctanh", 2.0),
        ("arcsin", 2.0),
        ("arccos", -2.0),
        ("sqrt", -1.0),
        ("arccosh", 0.5),
        ("gammaln", -1.0),
        ("digamma", -3.0),
        ("relu", nan),
        ("absolute", nan),
    ],
)
def test_outside_of_the_domain_all_orders_are_nan(name, x):
    assert all(y != y for y in orders(gates.table[name], x, 3))


def test_mixed_derivatives_of_power():
    assert derivative(gates.power, (2.0, 0.0), (0, 1)) == 0.5
    assert derivative(gates.power, (3.0, 0.0), (0, 0, 1)) == pytest.approx(-1.0 / 9.0)


@pytest.mark.parametrize("zero", [0.0, 2.0])
def test_mixed_derivatives_of_a_product_with_zeros(zero):
    assert derivative(called(gates.prod), (0.0, zero, 3.0), (0, 1)) == 3.0
    assert derivative(called(gates.prod), (0.0, zero, 3.0), (0, 1, 2)) == 1.0


def test_mixed_derivatives_survive_a_partial_of_zero():
    assert derivative(gates.leaky_relu, (-2.0, 0.0), (0, 1)) == 1.0
    assert derivative(gates.strong_multiply, (0.0, 0.0), (0, 1)) == 1.0


@pytest.mark.parametrize(("name", "operands", "value", "partials"), EDGES)
def test_hostile_points(name, operands, value, partials):
    row = gates.table[name]
    assert same(called(row)(*operands), value), called(row)(*operands)
    if row.arity == gates.SEQUENCE:
        slopes = row.partials(list(operands))
    else:
        slopes = [0.0 if partial is None else partial(*operands) for partial in row.partials]
    for slope, expected in zip(slopes, partials, strict=True):
        assert expected is None or same(slope, expected, 1e-3), (slopes, partials)


def test_rows_are_whole():
    for name, row in gates.table.items():
        assert row.name == name and getattr(gates, name) is row and repr(row) == f"<gate {name}>"
        assert row.doc.endswith(".") and row.doc[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ-x"
        if row.arity != gates.SEQUENCE:
            assert len(row.partials) == len(row.domain) == row.arity
            assert len(row.defaults) <= row.arity and len(row.names) in (0, row.arity)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_gives_nan(name):
    row = gates.table[name]
    if name != "where":
        assert math.isnan(row(*[nan] * row.arity))
        linear = ("add", "subtract", "negative", "positive", "fma")
        for partial in row.partials:
            assert partial is None or name in linear or math.isnan(partial(*[nan] * row.arity)), name


@pytest.mark.parametrize("x", [2, np.float32(2.0), np.int64(2), np.array(2.0), Fraction(2), Decimal(2), np.float64(2)])
def test_numbers_count_as_floats(x):
    result = gates.square(x)
    assert result == 4.0 and type(result) is float
    assert type(gates.sum([x, 1.0])) is float


@pytest.mark.parametrize("wrong", [1j, np.complex64(1), "1", None, b"", object(), {}, np.ones(1, complex), [1.0, None]])
@pytest.mark.parametrize("position", [0, 1])
def test_what_is_no_number(wrong, position):
    operands = [1.0, 1.0]
    operands[position] = wrong
    with pytest.raises(TypeError, match=rf"multiply: operand {position}(, element 1,)? (is|has dtype) .* real number"):
        gates.multiply(*operands)
    if not isinstance(wrong, (np.ndarray, list)):
        with pytest.raises(TypeError, match=rf"sum: operand {position} is"):
            gates.sum(operands)


def test_calls():
    assert (
        gates.leaky_relu(-2.0) == -0.02
        and gates.leaky_relu(-2.0, 0.5) == gates.leaky_relu(-2.0, negative_slope=0.5) == -1.0
    )
    assert gates.elu(-1.0, alpha=2.0) == 2.0 * math.expm1(-1.0)
    assert gates.clip(5.0, None, 3.0) == gates.clip(5.0, max=3.0) == gates.clip(5, 0, 3) == 3.0
    assert gates.clip(-5.0, -1.0, None) == gates.clip(-5.0, min=-1.0) == -1.0 and gates.clip(7.0) == 7.0
    assert gates.where(True, 1.0, 2.0) == 1.0 and gates.where(np.False_, 1.0, 2.0) == 2.0
    assert gates.max([1.0, 3.0]) == 3.0 and gates.dot([1.0, 2.0], (3.0, 4.0)) == 11.0
    assert gates.leaky_relu.bind((1.0,), {}) == ((1.0, 0.01), {})
    assert gates.clip.bind((1.0,), {"max": 2.0}) == ((1.0, -inf, 2.0), {})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gates.add(1.0), TypeError, r"add\(\) takes 2 operands, got 1"),
        (lambda: gates.exp(1.0, 2.0), TypeError, r"exp\(\) takes 1 operand, got 2"),
        (lambda: gates.exp(1.0, base=2.0), TypeError, "keyword 'base'"),
        (lambda: gates.clip(1.0, 0.0, min=0.0), TypeError, "keyword 'min'"),
        (lambda: gates.leaky_relu(1.0, None), TypeError, "leaky_relu: operand 1 is None"),
        (lambda: gates.max(1.0, 2.0), TypeError, "maximum takes two numbers"),
        (lambda: gates.dot([1.0]), TypeError, "two sequences"),
        (lambda: gates.dot([1.0], [1.0, 2.0]), ValueError, "lengths 1 and 2"),
        (lambda: gates.sum([1.0], nowhere=1), TypeError, "keyword 'nowhere'"),
        (lambda: gates.sum([1.0], where=1), TypeError, r"takes no where: take it of fastprop.where\("),
        (lambda: gates.max([]), ValueError, "at least one"),
        (lambda: gates.min([]), ValueError, "at least one"),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_arrays(name):
    row = gates.table[name]
    generator = np.random.default_rng(8)
    columns = [generator.uniform(max(low, -2.5), min(high, 2.5), 6) for low, high in row.domain]
    if name == "polygamma":
        columns[0] = np.floor(abs(columns[0]))
    result = row(*columns)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, [row(*[float(x) for x in point]) for point in zip(*columns)], rtol=1e-14)
    singles = [column.astype(np.float32) for column in columns]
    assert row(*singles).dtype == np.float32
    np.testing.assert_allclose(row(*singles), row(*[x.astype(np.float64) for x in singles]), rtol=2e-4, atol=1e-6)


def test_arrays_broadcast_as_numpys():
    x, y = np.arange(3.0)[:, None], np.arange(1, 5)
    np.testing.assert_array_equal(gates.add(x, y), x + y)
    assert gates.add(np.float32([1.0]), 2.0).dtype == np.float32
    assert gates.exp([1, 2]).dtype == gates.exp(np.array([1, 2], np.int8)).dtype == np.float64
    assert gates.sigmoid(np.empty((0, 2))).shape == (0, 2)
    np.testing.assert_array_equal(gates.where(np.array([True, False]), [1.0, 2.0], 5.0), [1.0, 5.0])
    np.testing.assert_array_equal(gates.clip([-3.0, 0.5, 3.0], None, 1.0), [-3.0, 0.5, 1.0])
    np.testing.assert_array_equal(gates.log([-1.0, 0.0]), [nan, -inf])  # and no warning


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "max", "min", "logsumexp"])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": 1, "keepdims": True}, {"axis": (0, 1)}, {"axis": -1}])
def test_reductions(name, options):
    x = np.random.default_rng(1).normal(size=(3, 4))
    if name == "logsumexp":
        expected = np.log(np.sum(np.exp(x), **options))
    else:
        expected = getattr(np, name)(x, **options)
    np.testing.assert_allclose(gates.table[name](x, **options), expected, rtol=1e-14)
    np.testing.assert_allclose(gates.table[name](x.tolist(), **options), expected, rtol=1e-14)
    assert np.shape(gates.table[name](x, **options)) == np.shape(expected)


def test_logsumexp_of_infinities_in_arrays():
    x = np.array([[-inf, -inf], [inf, 0.0], [1000.0, 1000.0]])
    np.testing.assert_allclose(gates.logsumexp(x, axis=1), [-inf, inf, 1000.6931471805599])


class Square(gates.Gate):
    def forward(self, x):
        return x * x

    def backward(self, pull, x):
        return 2.0 * pull * x


def test_gates_of_ones_own():
    assert Square().name == "Square" and Square()(3) == 9.0 and type(Square()(3)) is float
    np.testing.assert_array_equal(Square()([1.0, 2.0]), [1.0, 4.0])
    with pytest.raises(TypeError, match="Square: operand 0 is 'x'"):
        Square()("x")
    with pytest.raises(NotImplementedError, match=r"Gate has no forward\(self, \*values\)"):
        gates.Gate()(1.0)
    with pytest.raises(NotImplementedError, match=r"Gate has no backward\(self, pull, \*values\)"):
        gates.Gate().backward(1.0, 1.0)


def test_values_are_c_librarys_without_exceptions():
    cases = {"exp": (1e3, inf), "cosh": (-1e3, inf), "sinh": (-1e3, -inf), "floor": (inf, inf), "digamma": (0.0, -inf)}
    for name, (x, expected) in cases.items():
        assert gates.table[name](x) == expected
    assert gates.power(-2.0, 1025.0) == -inf and gates.power(-2.0, 1026.0) == inf and gates.power(0.0, -2.0) == inf
    assert gates.power(-0.0, -3.0) == -inf and math.isnan(gates.power(-2.0, 0.5))
    assert gates.fma(1e16, 1e-16, -1.0) == float(Fraction(1e16) * Fraction(1e-16) - 1)
    assert gates.fma(1e308, 10.0, 0.0) == inf and gates.fma(-1e308, 10.0, 0.0) == -inf
    assert math.isnan(gates.fma(inf, 0.0, 1.0)) and gates.fma(0.0, -1.0, 0.0) == 0.0
    assert math.isnan(gates.remainder(inf, 1.0)) and gates.mean([]) != gates.mean([])
    assert gates.logsumexp([]) == -inf
    assert math.isnan(gates.polygamma(-1.0, 1.0)) and math.isnan(gates.polygamma(1.5, 1.0))


@pytest.mark.parametrize("name", gates.table)
def test_gates_are_pickled_by_name(name):
    for function in (gates.table[name], getattr(fastprop, name)):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.copy(function) is function
