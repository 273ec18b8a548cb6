"""Every gate through programs: at a point, in runs and in lanes, float64 and float32, by every instruction set."""

import functools
import itertools
import math
import os
import random

import numpy as np
import pytest
from mpmath import mp, mpf

from accuracy import EDGES, PRECISION, SEQUENCE_TRUTH, SUMMANDS, TRUTH, inf, nan, places, same
from fastprop import gates
from fastprop.engine.program import assemble, current_instruction_set, instruction_sets, use_instruction_set
from fastprop.engine.run import PointRun
from programs import Sketch, at_point, by_reference, in_lanes, optimised, ordered, single_gate

COUNT = int(os.environ.get("FASTPROP_ACCURACY_POINTS", "150"))  # per gate
ELEMENTWISE = [name for name, row in gates.table.items() if row.arity != gates.SEQUENCE]
SEQUENCES = [name for name, row in gates.table.items() if row.arity == gates.SEQUENCE]
FOUR = 4.0
LIMITS = {("gammaln", 0): 6.0}  # the C library's own error
BITS = {False: (53, -1074, 1024), True: (24, -149, 128)}  # of float64, of float32: digits, least and largest exponent


def test_instruction_sets():
    assert instruction_sets()[0] == "baseline"
    for name in instruction_sets():
        assert use_instruction_set(name) == name
    with pytest.raises(ValueError, match=r"instruction set 'sse9' .* not one of .*baseline"):
        use_instruction_set("sse9")
    assert use_instruction_set() == os.environ.get("FASTPROP_ISA", instruction_sets()[-1])


@functools.cache
def of_one(name, arity):
    """A gate on inputs after all passes but those for one point, and after these, too."""
    draft = optimised(single_gate(name, arity))
    return draft, ordered(draft)


# Three ways through the executor: each takes operands (arity × points) and gives values and gradients


def one_by_one(name, operands, single):
    run = PointRun(assemble(of_one(name, len(operands))[1]), single)
    values, gradients = [], []
    for point in operands.T:
        run.forward(point)
        values += run.values()
        gradients.append(run.backward([1.0]))
    return np.array(values), np.array(gradients).T


def in_a_run(name, operands, single):
    arity, count = operands.shape
    draft = optimised(single_gate(name, arity, count))
    values, gradient, _ = at_point(ordered(draft), operands.ravel(), np.ones(count), single=single)
    return values, gradient.reshape(arity, count)


def lane_by_lane(name, operands, single):
    draft, _ = of_one(name, len(operands))
    values, gradients, _ = in_lanes(draft, list(operands), [1.0], single=single)
    return values[0], gradients


WAYS = [one_by_one, in_a_run, lane_by_lane]


def in_all_ways(sets):
    """Yield the instruction sets, each chosen meanwhile, with every way through the executor."""
    for chosen in sets:
        for way in WAYS:
            assert current_instruction_set() == chosen
            yield chosen, way


# Accuracy


@functools.cache
def least_to_overflow(digits, most):
    """From where on a number rounds to infinity."""
    return mpf(2) ** most - mpf(2) ** (most - digits - 1)


def exact(truth, summand, single):
    """A number as a long double (infinite if it rounds to infinity), and its unit in the last place."""
    digits, least, most = BITS[single]
    if mp.isnan(truth):
        return np.longdouble(nan), np.longdouble(1.0)
    size = max(abs(truth), abs(summand))
    unit = np.ldexp(np.longdouble(1.0), max(int(mp.frexp(size)[1]) - digits, least) if size else least)
    if abs(truth) >= least_to_overflow(digits, most):
        return np.longdouble(math.copysign(inf, truth)), unit
    mantissa, exponent = mp.frexp(truth)
    high = float(mantissa)
    low = float(mantissa - high)
    return np.ldexp(np.longdouble(high) + np.longdouble(low), int(exponent)), unit


@functools.cache
def measured(name, single):
    """Points of a gate's domain, and for value and partials the exact numbers there with their units."""
    given = np.array(list(itertools.islice(places(name, COUNT, seed=11), COUNT)))
    if single:
        with np.errstate(all="ignore"):
            given = given.astype(np.float32).astype(np.float64)
        lost = ~np.isfinite(given).all(1) | (given[:, -1] == 0.0)
        if name in ("gammaln", "digamma", "polygamma"):  # rounded to a pole
            lost |= (given[:, -1] <= 0.0) & (given[:, -1] == np.floor(given[:, -1]))
        else:
            for (low, high), column in zip(gates.table[name].domain, given.T):
                lost |= (column <= low) | (column >= high) | (column == 0.0)
        given = given[~lost]
    columns = []
    with mp.workprec(PRECISION):
        for i, formula in enumerate(TRUTH[name]):
            found = []
            for point in given:
                at = [mpf(x) for x in point]
                found.append(exact(formula(*at), SUMMANDS[name, i](*at) if (name, i) in SUMMANDS else 0, single))
            columns.append((np.array([f[0] for f in found]), np.array([f[1] for f in found])))
    return given, columns


def errors(given, truth, unit, single):
    """The errors of numbers in units in the last place."""
    largest = float(np.finfo(np.float32 if single else np.float64).max)
    with np.errstate(all="ignore"):
        found = np.abs(given.astype(np.longdouble) - truth) / unit
        overflow = np.isinf(given) | np.isinf(truth)
        agree = np.isinf(given) & (np.abs(truth) >= largest * (1 - 2.0**-23)) & (given * truth > 0)
    found[overflow] = np.where(agree, 0.0, inf)[overflow]
    found[np.isnan(given) | np.isnan(truth)] = inf
    found[np.isnan(given) & np.isnan(truth)] = 0.0
    return found


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_accuracy(name, single, every_instruction_set):
    points, columns = measured(name, single)
    assert len(points) > COUNT // 3
    for chosen, way in in_all_ways(every_instruction_set):
        value, gradient = way(name, points.T.copy(), single)
        for i, given in enumerate([value, *gradient]):
            error = errors(given, *columns[i], single)
            limit = 1e-12 * 2.0**52 if name == "polygamma" and not single else LIMITS.get((name, i), FOUR)
            worst = int(np.argmax(error))
            assert error[worst] <= limit, (chosen, way.__name__, i, points[worst], given[worst], columns[i][0][worst])


@functools.cache
def measured_sequences(name, length, single):
    """Sequences, and for each the exact value and partials with their units."""
    generator = random.Random(length)
    given = np.array([[generator.gauss(0.0, 1.5) for _ in range(length)] for _ in range(4)])
    given = given.astype(np.float32 if single else np.float64).astype(np.float64)
    value_formula, partial_formula = SEQUENCE_TRUTH[name]
    found = []
    with mp.workprec(PRECISION):
        for point in given:
            at = [mpf(x) for x in point]
            summand = SUMMANDS[name, 0](*at) if (name, 0) in SUMMANDS else 0
            value = at[0] if length == 1 and name in ("max", "min") else value_formula(*at)
            truth = [exact(value, summand, single)]
            truth += [exact(partial_formula(i, at), 0, single) for i in range(length)]
            found.append([np.array(column) for column in zip(*truth)])
    return given, found


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("length", [1, 2, 3, 10, 70, 130])
def test_accuracy_of_sequences(name, length, single, every_instruction_set):
    length *= 1 + (name == "dot")
    points, truths = measured_sequences(name, length, single)
    limit = max(FOUR, 1.2 * length)
    for chosen, way in in_all_ways(every_instruction_set):
        value, gradient = way(name, points.T.copy(), single)
        for p, truth in enumerate(truths):
            error = errors(np.array([value[p], *gradient[:, p]]), *truth, single)
            assert error.max() <= limit, (chosen, way.__name__, points[p], value[p], gradient[:, p], truth)


# Hostile points (EDGES.md, section 1)


def fits(numbers, single):
    """Whether numbers survive in the dtype (float32: those that keep most of their digits)."""
    return not single or all(x is None or not math.isfinite(x) or x == 0.0 or 1e-30 < abs(x) < 1e30 for x in numbers)


def check_edge(way, row, single):
    name, operands, value, partials = row
    columns = np.array(operands, np.float64).reshape(-1, 1) * np.ones((1, 3))
    values, gradients = way(name, columns, single)
    relative = 1e-5 if single else 2e-15
    for given in values:
        assert same(float(given), value, relative), (way.__name__, row, given)
        if value == 0.0 and name in ("maximum", "minimum", "sqrt", "round", "ceil"):
            assert math.copysign(1.0, given) == math.copysign(1.0, value), (way.__name__, row, given)
    for slopes, expected in zip(gradients, partials, strict=True):
        for slope in slopes:
            assert expected is None or same(float(slope), expected, 1e-3), (way.__name__, row, gradients)


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
def test_hostile_points(single, instruction_set):
    checked = 0
    for row in EDGES:
        if row[1] and fits([*row[1], row[2], *row[3]], single) and not (single and row[0] == "sin"):
            checked += 1
            for way in WAYS:
                check_edge(way, row, single)
    assert checked > (60 if single else 100)


def with_constants(row, constant):
    """A draft of a gate of which some operands are constants, and the values of the others."""
    name, operands, _, _ = row
    sketch, live = Sketch(len(operands) - len(constant)), []
    places = []
    for j, x in enumerate(operands):
        if j in constant:
            places.append(sketch.constant(x))
        else:
            places.append(len(live))
            live.append(x)
    return sketch.draft([sketch.gate(name, *places)]), live


@pytest.mark.parametrize("row", EDGES, ids=str)
def test_hostile_points_with_constants(row):
    _, operands, value, partials = row
    for size in range(len(operands) + 1):
        for constant in itertools.combinations(range(len(operands)), size):
            draft, live = with_constants(row, constant)
            draft = optimised(draft)
            slopes = [p for j, p in enumerate(partials) if j not in constant]
            point = at_point(ordered(draft), live, [1.0])
            values, gradients, _ = in_lanes(draft, [np.full(3, x) for x in live], [1.0])
            uniform = in_lanes(draft, list(live), [1.0])
            for found in (point[0][0], *values[0], *uniform[0][0]):
                assert same(float(found), value), (constant, found)
            for i, expected in enumerate(slopes):
                for found in (point[1][i], *gradients[i], *uniform[1][i]):
                    assert expected is None or same(float(found), expected, 1e-3), (constant, i, found, expected)


HOSTILE = [(name, operands) for name, operands, _, _ in EDGES if operands]
HOSTILE += [(name, at if isinstance(at, tuple) else (at,)) for name, row in gates.table.items() for at in row.at]
LESS_EXACT = {("exp2", (1024.0,))}  # where the row's own partial overflows too early


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
def test_a_pull_of_zero_pulls_nothing(single, instruction_set):
    for name, operands in HOSTILE:
        draft, in_order = of_one(name, len(operands))
        _, at, _ = at_point(in_order, operands, [0.0], single=single)
        _, lanes, _ = in_lanes(draft, [np.full(3, x) for x in operands], [0.0], single=single)
        assert (at == 0.0).all() and (lanes == 0.0).all(), (name, operands, at, lanes)


@functools.cache
def pulled_by_the_reference(pull):
    """What the reference gives at all hostile points, for every instruction set."""
    return [
        (*point, *by_reference(single_gate(point[0], len(point[1])), point[1], [pull])[:2])
        for point in HOSTILE
        if point not in LESS_EXACT
    ]


@pytest.mark.parametrize("pull", [1.0, -2.5, inf, nan, -0.0])
def test_hostile_pulls_arrive_as_the_references(pull, instruction_set):
    for name, operands, expected_values, expected in pulled_by_the_reference(pull):
        draft, in_order = of_one(name, len(operands))
        values, at, _ = at_point(in_order, operands, [pull])
        lane_values, lanes, _ = in_lanes(draft, [np.full(9, x) for x in operands], [np.full(9, pull)])
        for found in (values[0], lane_values[0, 8]):
            near_a_root = name == "digamma" and abs(found - expected_values[0]) < 1e-14
            assert near_a_root or same(found, expected_values[0], 1e-12), (name, operands)
        for i, slope in enumerate(expected):
            if name == "polygamma" and i == 0:  # its order is a constant always
                continue
            for found in (at[i], lanes[i, 0], lanes[i, 8]):
                assert same(float(found), float(slope), 1e-9), (name, operands, i, found, slope)


@pytest.mark.parametrize("name", ["maximum", "minimum", "max", "min"])
def test_ties_share_among_any_number(name, instruction_set):
    arity = 2 if gates.table[name].arity == 2 else 7
    operands = np.full((arity, 5), 1.25)
    for way in WAYS:
        value, gradient = way(name, operands, False)
        np.testing.assert_array_equal(value, 1.25)
        np.testing.assert_allclose(gradient, 1.0 / arity, rtol=1e-15)


def test_runs_of_any_length_and_any_order(instruction_set):
    """Gathers, broadcasts and tails: lengths around the widths of vectors, operands in order, reversed, repeated."""
    generator = random.Random(5)
    for name in ("add", "multiply", "divide", "maximum", "where", "tanh", "hypot", "clip", "square"):
        arity = gates.table[name].arity
        for count in [*range(1, 20), 31, 32, 33, 64, 65]:
            sketch = Sketch(count + 2)
            ways = [list(range(count)), list(range(count))[::-1], [count] * count]
            ways.append([generator.randrange(count + 2) for _ in range(count)])
            columns = [generator.choice(ways) for _ in range(arity)]
            outputs = [sketch.gate(name, *point) for point in zip(*columns)]
            draft = sketch.draft(outputs, run=[0, count])
            inputs = [generator.uniform(0.5, 2.0) for _ in range(count + 2)]
            pulls = [generator.uniform(-1.0, 1.0) for _ in range(count)]
            values, gradient, _ = at_point(draft, inputs, pulls)
            expected_values, expected, _ = by_reference(draft, inputs, pulls)
            np.testing.assert_allclose(values, expected_values, rtol=1e-14, err_msg=f"{name} {count} {columns}")
            np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13, err_msg=f"{name} {count} {columns}")


def test_the_callers_rounding_and_subnormals_are_not_changed(instruction_set):
    values = in_lanes(optimised(single_gate("multiply", 2)), [np.full(70, 2.0**-1060), 2.0**-10], [1.0])[0]
    assert (values == 2.0**-1070).all()
    assert 2.0**-1060 * 2.0**-10 == 2.0**-1070 and 1e16 + 1.0 == 1e16
