"""Misuse: what must be refused, with which error, and that nothing has changed afterwards."""

import copy
import gc
import math
import pickle
import weakref
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal

# Tapes


def test_results_of_two_tapes_in_one_gate(engine):
    x = engine.Unit(3.0)
    with engine.Tape() as first:
        a, b = x * 2.0, engine.Array([1.0, 2.0]) * x
    with engine.Tape() as second:
        c = x * 5.0
    for call in (
        lambda: a * c,
        lambda: engine.multiply(c, a),
        lambda: engine.sum([a, x, c]),
        lambda: b * c,
        lambda: engine.Array([a, c]),
        lambda: engine.dot([a, 1.0], [c, 1.0]),
    ):
        with pytest.raises(ValueError, match=r"(?i)tapes?\D+\d+ and (tape )?\d+"):
            call()
    with pytest.raises(ValueError, match="multiply"):
        _ = a * c
    assert (len(first), len(second)) == (2, 1)
    (a * x).backward()
    (c * x).backward()
    assert x.grad == 12.0 + 30.0


STALE_USES = [
    lambda fp, y: y.value,
    lambda fp, y: y.grad,
    lambda fp, y: setattr(y, "grad", 1.0),
    lambda fp, y: y.backward(),
    lambda fp, y: y + 1.0,
    lambda fp, y: 1.0 - y,
    lambda fp, y: -y,
    lambda fp, y: y * y,
    lambda fp, y: fp.exp(y),
    lambda fp, y: fp.sum([1.0, y]),
    lambda fp, y: np.exp(y),
    lambda fp, y: np.array([1.0, 2.0]) * y,
    lambda fp, y: y < 1.0,
    lambda fp, y: y == 1.0,
    lambda fp, y: f"{y:.3f}",
    lambda fp, y: fp.Array([y, y]),
    lambda fp, y: fp.stop_gradient(y),
    lambda fp, y: fp.zero_grad([y]),
]


@pytest.mark.parametrize("use", STALE_USES)
def test_a_result_after_its_tape_was_reset(engine, use):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        y = x * 2.0
        tape.reset()
        z = x * 7.0  # stands where y stood
        for _ in range(2):
            with pytest.raises(engine.StaleUnitError, match="reset"):
                use(engine, y)
        z.backward()
    assert (z.value, x.grad) == (21.0, 7.0)
    assert issubclass(engine.StaleUnitError, ValueError)


def test_a_stale_array(engine):
    a = engine.Array([1.0, 2.0])
    with engine.Tape() as tape:
        b = a * 2.0
    value = b.value
    tape.reset()
    for use in (
        lambda: b.value,
        lambda: b.grad,
        lambda: b.backward([1.0, 1.0]),
        lambda: b + 1.0,
        lambda: b[0],
        lambda: b.sum(),
        lambda: b > 0,
        lambda: b.shape,
    ):
        with pytest.raises(engine.StaleUnitError, match="reset"):
            use()
    assert "stale" in repr(b)
    assert_array_equal(value, [2, 4])
    assert_array_equal(a.grad, [0, 0])


def test_a_stale_handle_says_so_in_its_repr(engine):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        y = x * 2.0
    tape.reset()
    assert "stale" in repr(y)
    assert "6.0" not in repr(y)
    assert repr(x) == "Unit(3.0, grad=0.0)"


def test_a_result_outlives_the_name_of_its_tape(engine):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        y = x * x
    dropped = weakref.ref(tape)
    del tape
    gc.collect()
    y.backward()
    assert x.grad == 6.0
    del y
    gc.collect()
    assert dropped() is None


def test_tapes_are_left_in_the_order_in_which_they_were_entered(engine):
    first, second = engine.Tape(), engine.Tape()
    default = engine.current_tape()
    first.__enter__()
    second.__enter__()
    with pytest.raises(RuntimeError, match="innermost"):
        first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    first.__exit__(None, None, None)
    assert engine.current_tape() is default


# Pulls


def test_backward_from_a_vector_without_a_pull(engine):
    a = engine.Array([1.0, 2.0, 3.0])
    for block in (a, a * 2.0, a.reshape(3, 1)):
        with pytest.raises(ValueError, match=r"\(3,"):
            block.backward()
    assert_array_equal(a.grad, [0, 0, 0])


def test_pulls_of_the_wrong_shape(engine):
    a, x = engine.Array([1.0, 2.0, 3.0]), engine.Unit(1.0)
    b = a * 2.0
    for pull in ([1.0, 2.0], 1.0, [[1.0, 2.0, 3.0]], []):
        with pytest.raises(ValueError, match=r"\(3,\)"):
            b.backward(pull)
    with pytest.raises(TypeError):
        (x * 2.0).backward([1.0])
    assert_array_equal(a.grad, [0, 0, 0])
    assert x.grad == 0.0


def test_pulls_of_the_wrong_dtype(engine):
    a, x = engine.Array([1.0, 2.0]), engine.Unit(1.0)
    b = a * 2.0
    for pull in ([True, False], [1j, 2.0], ["1", "2"], [None, 1.0], np.float32([1, 2])):
        with pytest.raises(TypeError):
            b.backward(pull)
    for pull in (True, 1j, "1", x, object()):
        with pytest.raises(TypeError):
            (x * 2.0).backward(pull)
    assert_array_equal(a.grad, [0, 0])
    assert x.grad == 0.0


# Arrays given and taken


def test_arrays_that_were_taken_stay_as_they_are(engine):
    with engine.Tape() as tape:
        a = engine.Array([1.0, 2.0])
        b = a * 3.0
        b.backward([1.0, 1.0])
        taken = [a.value, a.grad, b.value, b.grad]
        copies = [array.copy() for array in taken]
        for i in range(20_000):
            dropped = b[i % 2] * 2.0
        b.backward([5.0, 5.0])
        a.value = [7.0, 8.0]
        a.grad = 0.0
        del dropped, b
        tape.reset()
    del a, tape
    gc.collect()
    for array, copied in zip(taken, copies, strict=True):
        assert_array_equal(array, copied)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0


def test_the_callers_array_may_change_after_recording(engine):
    leaf_values, constant, pull = np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([1.0, 1.0])
    index, mask = np.array([1, 0]), np.array([True, False])
    a = engine.Array(leaf_values)
    results = [a * constant, a[index], engine.where(mask, a, 0.0), a[mask], constant @ a]
    leaf_values[:], constant[:], index[:], mask[:] = 100.0, 100.0, 0, True
    assert_array_equal(a.value, [1, 2])
    assert_array_equal(results[0].value, [3, 8])
    results[0].backward(pull)
    pull[:] = 100.0
    assert_array_equal(results[0].grad, [1, 1])
    assert_array_equal(a.grad, [3, 4])
    for result, expected in zip(results[1:], ([10, 1], [1, 0], [1, 0], [3, 4]), strict=True):
        a.grad = 0.0
        result.backward(np.array([1.0, 10.0])[: result.shape[0]] if result.shape else 1.0)
        assert_array_equal(a.grad, expected)


def hostile_arrays():
    """The same six numbers in every memory layout that NumPy knows."""
    plain = np.arange(1.0, 7.0).reshape(2, 3)
    raw = np.frombuffer(b"\0" + plain.tobytes(), dtype=np.uint8)
    read_only = plain.copy()
    read_only.flags.writeable = False
    return {
        "C order": plain,
        "F order": np.asfortranarray(plain),
        "negative strides": plain[::-1, ::-1].copy()[::-1, ::-1],
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "misaligned": raw[1:].view(np.float64).reshape(2, 3),
        "big-endian": plain.astype(">f8"),
        "read-only": read_only,
        "integers": plain.astype(np.int16),
        "big-endian integers": plain.astype(">i4"),
        "nested lists": plain.tolist(),
    }


@pytest.mark.parametrize("layout", hostile_arrays())
def test_memory_layouts(engine, layout):
    given = hostile_arrays()[layout]
    expected = np.arange(1.0, 7.0).reshape(2, 3)
    a = engine.Array(given)
    ones = engine.Array(np.ones((2, 3)))
    assert a.dtype == np.float64
    assert_array_equal(a.value, expected)
    product = ones * given
    product.backward(given)
    assert_array_equal(product.value, expected)
    assert_array_equal(ones.grad, expected * expected)
    (a * a).backward(given)
    assert_array_equal(a.grad, 2.0 * expected * expected)
    a.value = given
    a.grad = given
    assert_array_equal(a.grad, expected)
    assert_array_equal(engine.sqrt(engine.Array(np.float32(expected).T)).value, np.sqrt(np.float32(expected).T))


def test_overlapping_inputs(engine):
    base = np.arange(4.0)
    overlapping = as_strided(base, (3, 2), (8, 8))
    a = engine.Array(overlapping)
    assert_array_equal(a.value, [[0, 1], [1, 2], [2, 3]])
    a.backward(overlapping)
    assert_array_equal(a.grad, a.value)
    repeated = engine.Array(np.broadcast_to(1.0, (2, 2)))
    (repeated * repeated).backward(np.broadcast_to(3.0, (2, 2)))
    assert_array_equal(repeated.grad, [[6, 6], [6, 6]])


# What is no real number

NOT_REAL = [1j, np.complex128(1), "1", b"1", None, object(), [1.0, None], np.array(["a"]), {}, {1.0}]


@pytest.mark.parametrize("thing", NOT_REAL, ids=lambda thing: type(thing).__name__)
def test_what_is_no_real_number_is_refused(engine, thing):
    x = engine.Unit(3.0)
    with engine.Tape() as tape:
        for call in (
            lambda: x + thing,
            lambda: thing * x,
            lambda: x**thing,
            lambda: engine.maximum(x, thing),
            lambda: engine.maximum(thing, x),
            lambda: engine.sum([x, thing]),
            lambda: engine.Array([x, thing]),
            lambda: engine.Unit(thing),
            lambda: engine.Unit(1.0, thing),
            lambda: setattr(x, "value", thing),
            lambda: setattr(x, "grad", thing),
        ):
            with pytest.raises(TypeError):
                call()
        assert len(tape) == 0
    assert (x.value, x.grad) == (3.0, 0.0)


def test_the_error_says_where_and_what(engine):
    x = engine.Unit(3.0)
    with pytest.raises(TypeError, match=r"(?s)multiply.*1.*None.*real number"):
        _ = x * None
    with pytest.raises(TypeError, match=r"(?s)arctan2.*0.*'a'.*real number"):
        engine.arctan2("a", x)
    with pytest.raises(TypeError, match=r"value.*True"):
        engine.Unit(True)


@pytest.mark.parametrize("values", [[True, False], [1j], ["1"], [None], [[1.0], [None]], [object()], "12", {"a": 1.0}])
def test_arrays_of_what_is_no_real_number(engine, values):
    with pytest.raises(TypeError):
        engine.Array(values)


@pytest.mark.parametrize("values", [[[1.0], [1.0, 2.0]], [1.0, [2.0]]])
def test_ragged_arrays(engine, values):
    with pytest.raises(ValueError, match=r"ragged|equal"):
        engine.Array(values)


def test_dtypes_that_are_not_float32_or_float64(engine):
    for dtype in (np.float16, np.longdouble):
        with pytest.raises(TypeError, match=str(np.dtype(dtype))):
            engine.Array(np.ones(2, dtype))
    with pytest.raises(TypeError, match="int"):
        engine.Array([1.0], dtype=int)
    assert engine.Array([1, 2], dtype=np.float32).dtype == np.float32
    assert engine.Array([Fraction(1, 2), Decimal("0.25")]).value.tolist() == [0.5, 0.25]


def test_what_would_drop_the_derivative(engine):
    x = engine.Unit(3.0)
    result = x * 2.0
    for unit in (x, result):
        for call in (
            lambda unit=unit: float(unit),
            lambda unit=unit: math.exp(unit),
            lambda unit=unit: math.sqrt(unit),
            lambda unit=unit: complex(unit),
            lambda unit=unit: np.asarray(unit),
            lambda unit=unit: np.array([unit, unit]),
            lambda unit=unit: np.float64(unit),
        ):
            with pytest.raises(TypeError, match=r"(?s)derivative.*\.value"):
                call()
    for call in (
        lambda: int(x),
        lambda: range(x),
        lambda: [1, 2][x],
        lambda: math.floor(x),
        lambda: math.ceil(x),
        lambda: math.trunc(x),
        lambda: np.floor_divide.at(x, 0, 2.0),
        lambda: np.add.accumulate(x),
    ):
        with pytest.raises(TypeError):
            call()


def test_a_bare_truth_value(engine):
    x = engine.Unit(3.0)
    for call in (lambda: bool(x), lambda: 1 if x * 2.0 else 0, lambda: not x, lambda: x and 1.0, lambda: any([x])):
        with pytest.raises(TypeError, match=r"(?s)truth.*> 0"):
            call()
    assert bool(x > 0) is True


# Handles


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, pickle.dumps, lambda x: copy.deepcopy([x]), lambda x: pickle.dumps({"x": x})],
)
def test_handles_are_not_copied_or_pickled(engine, duplicate):
    x, a = engine.Unit(3.0), engine.Array([1.0])
    for handle in (x, x * 2.0, a, a * 2.0):
        with pytest.raises(TypeError, match=r"\.value"):
            duplicate(handle)


def test_new_without_init(engine):
    x = engine.Unit.__new__(engine.Unit)
    try:
        _ = (x.value, x.grad, repr(x), x + 1.0)
        x.backward()
    except (TypeError, ValueError, AttributeError) as error:
        assert str(error)
    y = engine.Unit(2.0)
    (y * y).backward()
    assert y.grad == 4.0


def test_init_twice(engine):
    x = engine.Unit(2.0)
    f = x * x
    x.__init__(5.0, name="again")
    assert (x.value, x.name) == (5.0, "again")
    f.backward()
    assert (f.value, x.grad) == (4.0, 4.0)
    with pytest.raises(ValueError, match="result"):
        f.__init__(1.0)
    assert f.value == 4.0
    with pytest.raises(TypeError):
        x.__init__("a")
    assert x.value == 5.0


def test_missing_and_surplus_arguments(engine):
    for call in (
        lambda: engine.Unit(),
        lambda: engine.Unit(1.0, 2.0, "name"),
        lambda: engine.Unit(1.0, nam="x"),
        lambda: engine.Array(),
        lambda: engine.maximum(engine.Unit(1.0)),
        lambda: engine.exp(engine.Unit(1.0), 2.0),
        lambda: engine.sum(engine.Unit(1.0), engine.Unit(2.0)),
        lambda: engine.max([engine.Unit(1.0)], nokey=1),
    ):
        with pytest.raises(TypeError):
            call()


def test_subclasses(engine):
    class Weight(engine.Unit):
        def __init__(self, value, decay):
            super().__init__(value, name="weight")
            self.decay = decay

    w = Weight(3.0, decay=0.1)
    loss = w * w + w.decay
    loss.backward()
    assert (w.grad, w.name, w.decay) == (6.0, "weight", 0.1)
    assert type(loss) is engine.Unit
    assert {w: 1}[w] == 1
    dropped = weakref.ref(w)
    del w, loss
    engine.current_tape().reset()
    gc.collect()
    assert dropped() is None


def test_resurrection(engine):
    saved = []

    class Undead(engine.Unit):
        def __del__(self):
            saved.append(self)

    with engine.Tape() as tape:
        x = Undead(3.0)
        y = x * x
        del x
        y.backward()
        del y
        for _ in range(30_000):
            _ = engine.Unit(1.0) + 1.0
        tape.reset()
    gc.collect()
    assert len(saved) == 1
    assert saved[0].value == 3.0
    z = saved[0] * 2.0
    z.backward()
    assert saved[0].grad == 8.0


def test_unknown_attributes_are_refused(engine):
    with pytest.raises(AttributeError):
        engine.Unit(3.0).gard = 0.0


def test_handles_where_a_plain_number_belongs(engine):
    x = engine.Unit(1.0)
    for call in (lambda: engine.where(x, 2.0, 3.0), lambda: engine.where(x, x, x), lambda: engine.polygamma(x, 1.0)):
        with pytest.raises(TypeError, match=r"operand 0 is a Unit, .*; expected a comparison, such as"):
            call()
    assert engine.where(x > 0.0, x, 3.0).value == 1.0
