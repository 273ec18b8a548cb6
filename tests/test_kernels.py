"""The compiled kernels: against mpmath in units in the last place, against the rows of the table, at hostile points."""

import inspect
import math
import os
import random

import numpy as np
import pytest
from mpmath import mp, mpf

from accuracy import EDGES, PRECISION, SEQUENCE_TRUTH, SUMMANDS, TRUTH, inf, nan, places, points, same, ulps
from fastprop import gates
from fastprop.engine import kernels
from fastprop.gates import values

COUNT = int(os.environ.get("FASTPROP_ACCURACY_POINTS", "250"))  # per gate: 20000 for a thorough sweep
ELEMENTWISE = [name for name, row in gates.table.items() if row.arity != gates.SEQUENCE]
SEQUENCES = [name for name, row in gates.table.items() if row.arity == gates.SEQUENCE]
# fmt: off
LIBRARY = ["sqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "arcsin", "arccos",
           "arctan", "arctan2", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "erf", "erfc", "power"]
# fmt: on
FOUR = 4.0
LIMITS = {"gammaln": 6.0}  # the C library's own error


def at(name, *operands):
    return kernels.scalar(kernels.opcode_of[name], operands)


def worst(name, count):
    """Return the worst errors of a gate's value and partials, each with its point."""
    errors = [(0.0, ())] * (gates.table[name].arity + 1)
    with mp.workprec(PRECISION):
        for point in places(name, count):
            value, partials = at(name, *point)
            exact = [mpf(x) for x in point]
            for i, (given, formula) in enumerate(zip((value, *partials), TRUTH[name])):
                summand = SUMMANDS[name, i](*exact) if (name, i) in SUMMANDS else 0
                errors[i] = max(errors[i], (ulps(given, formula(*exact), summand), point))
    return errors


def test_opcodes_are_the_table():
    assert kernels.opcode_of == {name: index for index, name in enumerate(gates.table)}


def test_kernels_take_what_their_rows_say():
    assert kernels.arity_of == {name: row.arity for name, row in gates.table.items()}
    assert kernels.strong_names == {name for name, row in gates.table.items() if row.strong}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_accuracy(name):
    value, *partials = worst(name, COUNT if name != "polygamma" else min(COUNT, 2000))
    limit = 1e-12 * 2.0**52 if name == "polygamma" else FOUR
    assert value[0] <= LIMITS.get(name, limit), value
    for partial in partials:
        assert partial[0] <= limit, partial


@pytest.mark.parametrize("name", LIBRARY)
def test_values_are_the_c_librarys(name):
    row = gates.table[name]
    for point in points(row.domain, 300, seed=7):
        assert same(at(name, *point)[0], getattr(values, name, row.value)(*point), 0.0), point


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("length", [2, 4, 10])
def test_accuracy_of_sequences(name, length):
    generator = random.Random(length)
    value_formula, partial_formula = SEQUENCE_TRUTH[name]
    with mp.workprec(PRECISION):
        for _ in range(COUNT // 10):
            scale = 10.0 ** generator.uniform(-3.0, 3.0)
            x = [generator.gauss(0.0, scale) for _ in range(length)]
            exact = [mpf(term) for term in x]
            value, partials = at(name, *x)
            summand = SUMMANDS[name, 0](*exact) if (name, 0) in SUMMANDS else 0
            assert ulps(value, value_formula(*exact), summand) <= max(FOUR, 0.6 * length), x
            for i, given in enumerate(partials):
                assert ulps(given, partial_formula(i, exact)) <= max(FOUR, 0.6 * length), (x, i)


def row_partials(row, point):
    if row.arity == gates.SEQUENCE:
        return tuple(row.partials(list(point)))
    return tuple(0.0 if partial is None else partial(*point) for partial in row.partials)


@pytest.mark.parametrize("name", gates.table)
def test_kernel_is_its_row(name):
    row = gates.table[name]
    own = [x if isinstance(x, tuple) else (x,) for x in row.at]
    if row.arity == gates.SEQUENCE:
        generator = random.Random(3)
        moderate = [tuple(generator.gauss(0.0, 2.0) for _ in range(length)) for length in (2, 4, 8)]
    else:
        moderate = [p for p in places(name, 200, seed=3) if all(1e-60 < abs(x) < 1e60 for x in p)]
    for point in own + moderate:
        value, partials = at(name, *point)
        if name == "polygamma" and point[1] < -20.0:
            continue
        cancels = 1e-9 if name == "polygamma" else 1e-13 if name in ("digamma", "gammaln") else 1e-305  # near roots
        assert abs(value - row.value(*point)) <= cancels or same(value, row.value(*point), 1e-9), point
        for given, expected in zip(partials, row_partials(row, point)):
            close = abs(given - expected) <= max(cancels, 1e-14 * abs(value))
            assert close or same(given, expected, 1e-9), (point, partials, row_partials(row, point))


@pytest.mark.parametrize(("name", "operands", "value", "partials"), EDGES)
def test_hostile_points(name, operands, value, partials):
    given, slopes = at(name, *operands)
    assert same(given, value)
    if value == 0.0 and name in ("maximum", "minimum", "sqrt", "round", "ceil"):
        assert math.copysign(1.0, given) == math.copysign(1.0, value)
    for slope, expected in zip(slopes, partials, strict=True):
        assert expected is None or same(slope, expected, 1e-3), (slopes, partials)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays(name, dtype):
    row, opcode = gates.table[name], kernels.opcode_of[name]
    generator = np.random.default_rng(5)
    ranges = [(max(low, -3.0), min(high, 3.0)) for low, high in row.domain]
    operands = tuple(generator.uniform(low, high, (5, 7)).astype(dtype) for low, high in ranges)
    if name == "polygamma":
        operands = (np.floor(abs(operands[0])), operands[1])
    result, slopes = kernels.evaluate(opcode, operands), kernels.partials(opcode, operands)
    assert result.dtype == dtype and result.shape == (5, 7) and len(slopes) == row.arity
    for index in np.ndindex(5, 7):
        value, partials = at(name, *[float(operand[index]) for operand in operands])
        np.testing.assert_array_equal(result[index], dtype(value))
        np.testing.assert_array_equal([slope[index] for slope in slopes], [dtype(p) for p in partials])


def test_arrays_of_no_points_and_of_no_axes():
    opcode = kernels.opcode_of["exp"]
    assert kernels.evaluate(opcode, (np.empty((0, 3)),)).shape == (0, 3)
    assert kernels.partials(opcode, (np.array(0.0),))[0] == 1.0


@pytest.mark.parametrize(
    ("operands", "error", "message"),
    [
        ((np.ones(3), np.ones(4)), ValueError, r"add: operand 1 is float64\[4\], operand 0 is float64\[3\]"),
        ((np.ones(3), np.ones(3, np.float32)), ValueError, "float32"),
        ((np.ones(3), np.ones(3, np.int64)), TypeError, "operand 1 is int64, expected a float64 or float32 array"),
        ((np.ones(3), [1.0, 1.0, 1.0]), TypeError, "operand 1 is list"),
        ((np.ones(6)[::2], np.ones(3)), ValueError, "operand 0 is not C-contiguous"),
        ((np.ones(3, ">f8"), np.ones(3)), TypeError, "operand 0 is >f8|expected"),
        ((np.ones(3),), ValueError, "add takes 2"),
    ],
)
def test_wrong_arrays(operands, error, message):
    for function in (kernels.evaluate, kernels.partials):
        with pytest.raises(error, match=message):
            function(kernels.opcode_of["add"], operands)


def test_wrong_opcodes():
    for opcode in (-1, len(gates.table)):
        with pytest.raises(ValueError, match="there is no opcode"):
            kernels.scalar(opcode, (1.0,))
    with pytest.raises(ValueError, match="sum takes a sequence"):
        kernels.evaluate(kernels.opcode_of["sum"], (np.ones(3),))
    with pytest.raises(ValueError, match="two halves"):
        kernels.scalar(kernels.opcode_of["dot"], (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="exp takes 1"):
        kernels.scalar(kernels.opcode_of["exp"], (1.0, 2.0))


def test_overlapping_operands():
    x = np.linspace(0.1, 2.0, 9)
    value, partials = kernels.evaluate(2, (x, x)), kernels.partials(2, (x, x))
    np.testing.assert_array_equal(value, x * x)
    np.testing.assert_array_equal(partials, [x, x])


def test_functions_are_documented():
    for function in (kernels.evaluate, kernels.partials, kernels.scalar):
        assert inspect.getdoc(function)


def test_nan_gives_nan():
    steps = {"where"}
    for name in ELEMENTWISE:
        row = gates.table[name]
        if name not in steps:
            value, _ = at(name, *[nan] * row.arity)
            assert value != value, name
    assert at("where", 0.0, nan, inf)[0] == inf


@pytest.mark.parametrize(("n", "x"), [(200.0, 50.0), (150.0, 3.0), (120.0, 200.0), (300.0, 120.5), (99.0, 0.75)])
def test_polygamma_of_high_orders(n, x):
    true = mp.psi(int(n), mpf(x))
    for value in (kernels.scalar(kernels.opcode_of["polygamma"], (n, x))[0], gates.polygamma(n, x)):
        assert abs(mpf(value) - true) <= 1e-12 * abs(true)
