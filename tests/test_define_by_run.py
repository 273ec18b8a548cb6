"""Define by run: what Units, Arrays, gates and tapes mean, on both engines."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastprop as fp
from fastprop import at

INF = math.inf


def units(engine, *values):
    """Leaves with these values."""
    return [engine.Unit(value) for value in values]


# The chain rule


def test_the_documented_example(engine):
    x, y, z = units(engine, -2.0, 5.0, -4.0)
    f = (x + y) * z
    f.backward()
    assert (f.value, f.grad) == (-12.0, 1.0)
    assert (x.grad, y.grad, z.grad) == (-4.0, -4.0, 3.0)
    x.value += 0.01 * x.grad
    y.value += 0.01 * y.grad
    z.value += 0.01 * z.grad
    assert ((x + y) * z).value == pytest.approx(-11.5924, rel=1e-12)


def test_gradients_accumulate(engine):
    x, y = units(engine, 3.0, 4.0)
    f = x * y
    f.backward()
    f.backward()
    assert (x.grad, y.grad, f.grad) == (8.0, 6.0, 2.0)
    (x * x).backward()
    assert x.grad == 14.0


def test_a_pull_scales_and_intermediate_results_get_gradients(engine):
    x = engine.Unit(3.0)
    square = x * x
    f = square * 5.0
    f.backward(-2.0)
    assert (f.grad, square.grad, x.grad) == (-2.0, -10.0, -60.0)
    square.backward(1.0)
    assert (f.grad, square.grad, x.grad) == (-2.0, -9.0, -54.0)


def test_only_what_lies_below_the_output_is_swept(engine):
    x = engine.Unit(3.0)
    below = x * 2.0
    output = below * 5.0
    above = output * 7.0
    beside = below + 1.0
    output.backward()
    assert (x.grad, below.grad, output.grad, above.grad, beside.grad) == (10.0, 5.0, 1.0, 0.0, 0.0)


def test_scratch_is_clean_after_a_sweep(engine):
    x, y = units(engine, 2.0, 3.0)
    shared = x * y
    first, second = shared * 5.0, shared * 7.0
    first.backward()
    second.backward()
    assert (x.grad, y.grad, shared.grad) == (36.0, 24.0, 12.0)
    assert (first.grad, second.grad) == (1.0, 1.0)


def test_partials_are_as_recorded(engine):
    x, y = units(engine, 3.0, 4.0)
    f = x * y
    x.value = 100.0
    f.backward()
    assert (f.value, x.grad, y.grad) == (12.0, 4.0, 3.0)
    assert (x * y).value == 400.0
    a = engine.Array([1.0, 2.0])
    g = (a * a).sum()
    h = a @ a
    a.value = np.array([10.0, 20.0])
    g.backward()
    assert_array_equal(a.grad, [2, 4])
    h.backward()
    assert_array_equal(a.grad, [4, 8])


def test_gradients_can_be_assigned(engine):
    x = engine.Unit(3.0, 5.0)
    assert x.grad == 5.0
    f = x * 2.0
    x.grad, f.grad = 1, 10.0
    f.backward()
    assert (x.grad, f.grad) == (3.0, 11.0)
    with pytest.raises(TypeError):
        x.grad = "1"
    assert x.grad == 3.0


def test_values_of_leaves_can_be_assigned_and_of_results_cannot(engine):
    x = engine.Unit(3.0)
    f = x * 2.0
    with pytest.raises(ValueError, match=r"value of a result|result's value"):
        f.value = 1.0
    assert (f.value, x.value) == (6.0, 3.0)
    x.value = 7
    assert x.value == 7.0
    assert isinstance(x.value, float)
    with pytest.raises(TypeError):
        x.value = None
    assert x.value == 7.0
    a = engine.Array([1.0, 2.0])
    with pytest.raises(ValueError, match=r"value of a result|result's value"):
        (a * 2.0).value = [1.0, 2.0]


def test_zero_grad(engine):
    x, y = units(engine, 3.0, 4.0)
    a = engine.Array([1.0, 2.0])
    (x * y * a.sum()).backward()
    assert x.grad == 12.0
    engine.zero_grad([x, y, a])
    assert (x.grad, y.grad) == (0.0, 0.0)
    assert_array_equal(a.grad, [0, 0])
    x.grad = y.grad = 1.0
    with pytest.raises(TypeError, match="float"):
        engine.zero_grad([x, 1.0, y])
    assert (x.grad, y.grad) == (1.0, 1.0)
    engine.zero_grad(unit for unit in (x, y))
    assert (x.grad, y.grad) == (0.0, 0.0)


def test_zero_grad_of_a_module_and_of_what_is_none():
    model = fp.nn.Linear(2, 1, rng=0)
    model([1.0, 2.0]).sum().backward()
    assert np.all(model.weight.grad)
    fp.zero_grad(model)
    assert not np.any(model.weight.grad) and not np.any(model.bias.grad)
    for given in (3, None, 2.0):
        with pytest.raises(TypeError, match=r"zero_grad: got .*; expected Units and Arrays, in a list, or a Module"):
            fp.zero_grad(given)


def test_stop_gradient(engine):
    x = engine.Unit(3.0)
    stopped = engine.stop_gradient(x * x)
    assert stopped.value == 9.0
    (stopped * x).backward()
    assert x.grad == 9.0
    assert engine.stop_gradient(2.5) == 2.5
    a = engine.Array([1.0, 2.0])
    (engine.stop_gradient(a) * a).sum().backward()
    assert_array_equal(a.grad, [1, 2])


def test_stop_gradient_of_nests_keeps_what_has_no_derivative(engine):
    x, a, mask = engine.Unit(3.0), engine.Array([1.0, 2.0]), np.array([True, False])
    held = engine.stop_gradient({"x": x * x, "a": [a, (2, None)], "mask": mask, "flag": True})
    assert (held["x"].value, held["a"][1], held["mask"] is mask, held["flag"]) == (9.0, (2, None), True, True)
    (held["x"] * x + (held["a"][0] * a).sum()).backward()
    assert x.grad == 9.0
    assert_array_equal(a.grad, [1.0, 2.0])
    for wrong in ("x", [1j], object()):
        with pytest.raises(TypeError, match=r"stop_gradient: the operand.* is .*; expected a real number"):
            engine.stop_gradient(wrong)


# Operators

OPERATORS = [
    ("x + y", lambda x, y: x + y, 1.0, 1.0),
    ("x - y", lambda x, y: x - y, 1.0, -1.0),
    ("x * y", lambda x, y: x * y, 4.0, 3.0),
    ("x / y", lambda x, y: x / y, 0.25, -3.0 / 16.0),
    ("x ** y", lambda x, y: x**y, 108.0, 81.0 * math.log(3.0)),
    ("x % y", lambda x, y: x % y, 1.0, 0.0),
    ("-x + abs(-y)", lambda x, y: -x + abs(-y), -1.0, 1.0),
    ("+x", lambda x, y: +x, 1.0, 0.0),
]


@pytest.mark.parametrize(("f", "by_x", "by_y"), [row[1:] for row in OPERATORS], ids=[row[0] for row in OPERATORS])
def test_operators_with_units_and_plain_numbers_on_either_side(engine, f, by_x, by_y):
    x, y = units(engine, 3.0, 4.0)
    for left, right in ((x, y), (x, 4.0), (3.0, y), (x, 4), (3, y), (np.float64(3.0), y), (x, np.float32(4.0))):
        if not (isinstance(left, engine.Unit) or by_y):
            continue
        engine.zero_grad([x, y])
        result = f(left, right)
        assert isinstance(result, engine.Unit)
        result.backward()
        assert result.value == pytest.approx(float(f(3.0, 4.0)), rel=1e-15)
        assert x.grad == pytest.approx(by_x if left is x else 0.0, rel=1e-15)
        assert y.grad == pytest.approx(by_y if right is y else 0.0, rel=1e-15)


def test_in_place_operators_rebind(engine):
    x = engine.Unit(2.0)
    total = before = x * 1.0
    total += x
    total *= 3.0
    total -= 1.0
    total /= 2.0
    total **= 2
    assert (before.value, x.value) == (2.0, 2.0)
    assert total.value == 30.25
    total.backward()
    assert x.grad == pytest.approx(2 * 5.5 * 3.0 / 2.0 * 2.0)


def test_builtin_sum_and_generators(engine):
    xs = units(engine, 1.0, 2.0, 3.0)
    f = sum(x * x for x in xs)
    f.backward()
    assert f.value == 14.0
    assert [x.grad for x in xs] == [2.0, 4.0, 6.0]


def test_comparisons_are_of_values(engine):
    x, y = units(engine, 2.0, 3.0)
    assert (x < y) is True
    assert (x > y) is False
    assert x <= 2.0
    assert x >= 2
    assert x < 3
    assert x != y
    assert x == 2.0
    assert np.float64(2.0) == x
    assert x == engine.Unit(2.0)
    assert x < np.float64(2.5)
    assert not (x < math.nan) | (x > math.nan) | (x == math.nan)
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "2.0") is False
    assert max([x, y]) is y
    assert sorted([y, x])[0] is x
    with pytest.raises(TypeError):
        assert x < "3"


def test_hash_is_by_identity(engine):
    x, y = units(engine, 2.0, 2.0)
    assert len({x, y}) == 2
    assert {x: "x", y: "y"}[x] == "x"
    x.value = 3.0
    assert x in {x}


# Gates as functions


def test_gates_give_units_of_units_and_floats_of_floats(engine):
    x = engine.Unit(0.5)
    for name, expected in [("exp", math.exp(0.5)), ("tanh", math.tanh(0.5)), ("sqrt", math.sqrt(0.5)), ("relu", 0.5)]:
        gate = getattr(engine, name)
        assert type(gate(0.5)) is float
        assert gate(0.5) == pytest.approx(expected, rel=1e-15)
        assert isinstance(gate(x), engine.Unit)
        assert gate(x).value == gate(0.5)
    assert engine.maximum(x, 3).value == 3.0
    assert engine.where(x > 0, x, 1.0).value == 0.5
    assert engine.clip(x, 1.0, 2.0).value == 1.0
    assert_array_equal(engine.exp(np.array([0.0, 1.0])), np.exp([0.0, 1.0]))


@pytest.mark.parametrize(
    ("name", "value", "grads"),
    [
        ("sum", 6.0, [1.0, 1.0, 1.0]),
        ("prod", 6.0, [6.0, 3.0, 2.0]),
        ("mean", 2.0, [1 / 3, 1 / 3, 1 / 3]),
        ("max", 3.0, [0.0, 0.0, 1.0]),
        ("min", 1.0, [1.0, 0.0, 0.0]),
        ("logsumexp", 3.4076059644443806, [0.09003057317038046, 0.24472847105479767, 0.6652409557748219]),
    ],
)
def test_n_ary_gates_take_one_sequence(engine, name, value, grads):
    xs = units(engine, 1.0, 2.0, 3.0)
    result = getattr(engine, name)(xs)
    result.backward()
    assert result.value == pytest.approx(value, rel=1e-14)
    assert [x.grad for x in xs] == pytest.approx(grads, rel=1e-13)
    assert getattr(engine, name)([1.0, 2.0, 3.0]) == pytest.approx(value, rel=1e-14)
    mixed = getattr(engine, name)((xs[0], 2, np.float64(3.0)))
    assert mixed.value == pytest.approx(value, rel=1e-14)


def test_dot_takes_two_sequences(engine):
    xs, ws = units(engine, 1.0, 2.0), units(engine, 3.0, 4.0)
    f = engine.dot(xs, ws)
    f.backward()
    assert f.value == 11.0
    assert [x.grad for x in xs + ws] == [3.0, 4.0, 1.0, 2.0]
    g = engine.dot(xs, [10.0, 20])
    g.backward()
    assert g.value == 50.0
    assert [x.grad for x in xs] == [13.0, 24.0]
    with pytest.raises(ValueError, match=r"2.*1"):
        engine.dot(xs, ws[:1])


def test_a_unit_twice_in_an_n_ary_gate(engine):
    x, y = units(engine, 2.0, 2.0)
    engine.max([x, y, x, 1.0]).backward(3.0)
    assert (x.grad, y.grad) == (2.0, 1.0)
    engine.zero_grad([x, y])
    engine.prod([x, x, x, y]).backward()
    assert (x.grad, y.grad) == (24.0, 8.0)
    engine.zero_grad([x, y])
    engine.dot([x, x], [x, y]).backward()
    assert (x.grad, y.grad) == (6.0, 2.0)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_share_the_gradient(engine, name):
    x, y = units(engine, 1.0, 1.0)
    getattr(engine, name)(x, y).backward(6.0)
    assert (x.grad, y.grad) == (3.0, 3.0)
    getattr(engine, name)(x, x).backward(1.0)
    assert x.grad == 4.0


def test_numpys_functions_of_units(engine):
    x = engine.Unit(2.0)
    for result, value, grad in [
        (np.exp(x), math.exp(2.0), math.exp(2.0)),
        (np.maximum(x, 3), 3.0, 0.0),
        (np.maximum(1, x), 2.0, 1.0),
        (np.float64(3.0) * x, 6.0, 3.0),
        (np.float32(0.5) - x, -1.5, -1.0),
        (np.int64(3) / x, 1.5, -0.75),
        (np.array(3.0) * x, 6.0, 3.0),
        (np.power(x, 3), 8.0, 12.0),
        (np.where(True, x, 0.0), 2.0, 1.0),
        (np.where(False, x, 7.0), 7.0, 0.0),
        (np.abs(x), 2.0, 1.0),
        (np.square(x), 4.0, 4.0),
        (np.clip(x, 0.0, 5.0), 2.0, 1.0),
    ]:
        assert isinstance(result, engine.Unit)
        assert result.value == pytest.approx(value, rel=1e-15)
        x.grad = 0.0
        result.backward()
        assert x.grad == pytest.approx(grad, rel=1e-15)
    assert np.isfinite(x)
    assert not np.isnan(x)
    assert np.less(1.0, x)


def test_an_array_beside_a_unit(engine):
    x = engine.Unit(3.0)
    for product in (np.array([1, 2]) * x, x * np.array([1.0, 2.0]), engine.multiply(x, [1.0, 2.0])):
        assert isinstance(product, engine.Array)
        assert_array_equal(product.value, [3, 6])
        x.grad = 0.0
        product.backward([1.0, 10.0])
        assert x.grad == 21.0


# Numbers


@pytest.mark.parametrize(
    "number",
    [
        *[3, -7, 2**70 + 1, 2.5, INF, Fraction(1, 3), Decimal("0.1"), np.array(2.5), np.array(3), np.float16(0.1)],
        *[np.float32(0.1), np.float64(0.1), np.longdouble("0.1"), np.int8(-3), np.uint64(2**63)],
    ],
    ids=lambda number: f"{type(number).__name__} {number}",
)
def test_real_numbers_count_as_float_rounds_them(engine, number):
    x = engine.Unit(number)
    assert type(x.value) is float
    assert x.value == float(number)
    one = engine.Unit(1.0)
    result = one * number
    result.backward()
    assert (result.value, one.grad) == (float(number), float(number))
    assert (number + one).value == float(number) + 1.0
    one.backward(number)
    assert one.grad == 2.0 * float(number)
    one.value = number
    one.grad = number
    assert (one.value, one.grad) == (float(number), float(number))


def test_numbers_too_large_for_a_float(engine):
    x = engine.Unit(1.0)
    for call in (lambda: engine.Unit(10**400), lambda: x * 10**400, lambda: x.backward(10**400)):
        with pytest.raises(OverflowError):
            call()
    assert x.grad == 0.0


# Strings


def test_repr_shows_value_gradient_and_name(engine):
    x, y, z = units(engine, -2.0, 5.0, -4.0)
    f = (x + y) * z
    assert repr(f) == "Unit(-12.0, grad=0.0)"
    f.backward()
    assert repr(f) == "Unit(-12.0, grad=1.0)"
    assert repr(x) == "Unit(-2.0, grad=-4.0)"
    assert repr(engine.Unit(0.1, name="rate")) == "Unit(0.1, grad=0.0, name='rate')"
    assert engine.Unit(0.1, name="rate").name == "rate"
    assert x.name is None
    assert str(x) == repr(x)
    a = engine.Array([1.0, 2.5], name="w")
    assert repr(a) == "Array([1. , 2.5], grad=[0., 0.], name='w')"
    rows = engine.Array([[1.0, 2.0], [3.0, 4.0]], name="w")
    assert repr(rows).splitlines() == [
        "Array([[1., 2.],",
        "       [3., 4.]],",
        "      grad=[[0., 0.],",
        "            [0., 0.]], name='w')",
    ]


def test_format_is_that_of_the_number(engine):
    loss = engine.Unit(2.0) / 3.0
    assert f"{loss:.4f}" == "0.6667"
    assert f"{loss:>10.2e}" == "  6.67e-01"
    assert f"{loss}" == repr(loss)
    with pytest.raises(ValueError, match="format"):
        format(loss, "d")


# Arrays as leaves


def test_arrays_have_value_semantics(engine):
    w = engine.Array([1.0, 2.0])
    before = w.value
    with pytest.raises(ValueError, match=r"are read-only.*write w.value = fastprop.at\(w.value\)\[i\].set\(v\)"):
        w.value[0] = 1.0
    with pytest.raises(TypeError, match=r"grad is None \(NoneType\); expected a real number, such as 0.0"):
        w.grad = None
    (w * w).sum().backward()
    gradient = w.grad
    with pytest.raises(ValueError, match="read-only"):
        gradient[:] = 0.0
    copied = gradient.copy()
    copied[0] = 1.0
    w.value = at(w.value)[0].set(1.0)
    w.value -= 0.5 * w.grad
    assert_array_equal(w.value, [0, 0])
    assert_array_equal(before, [1, 2])
    (w * 3.0).sum().backward()
    assert_array_equal(w.grad, [5, 7])
    assert_array_equal(gradient, [2, 4])
    w.grad /= 2.0
    assert_array_equal(w.grad, [2.5, 3.5])
    assert repr(before) == "array([1., 2.])"
    double = before * 2.0
    double[0] = 7.0
    assert type(double) is np.ndarray
    assert type(before.sum()) is np.float64
    w.grad = 0.0
    assert_array_equal(w.grad, [0, 0])


def test_assigned_arrays_keep_shape_and_dtype(engine):
    w = engine.Array(np.float32([1, 2]))
    w.value = [3, 4]
    assert w.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        w.value = np.float32([1, 2, 3])
    with pytest.raises(TypeError, match="float64"):
        w.value = np.array([1.0, 2.0])
    with pytest.raises(TypeError, match="float64"):
        w.grad = np.array([1.0, 2.0])
    assert_array_equal(w.value, [3, 4])


# Strong zero


def test_a_pull_of_zero_pulls_nothing(engine):
    x, y = units(engine, 0.0, 2.0)
    (engine.log(x) * 0.0 + y).backward(0.0)
    assert (x.grad, y.grad) == (0.0, 0.0)
    steep = engine.sqrt(x)
    (steep * 0.0 + y).backward()
    assert (x.grad, y.grad, steep.grad) == (0.0, 1.0, 0.0)


def test_what_was_not_chosen_receives_nothing(engine):
    x, b = units(engine, 0.0, 7.0)
    f = engine.where(x > 0, engine.log(x), b)
    f.backward()
    assert (f.value, x.grad, b.grad) == (7.0, 0.0, 1.0)
    f.backward(INF)
    assert (x.grad, b.grad) == (0.0, INF)
    y = engine.Unit(-1.0)
    engine.relu(y).backward(INF)
    engine.maximum(y, 3.0).backward(math.nan)
    engine.floor(y).backward(INF)
    engine.max([y, 3.0]).backward(INF)
    assert y.grad == 0.0
