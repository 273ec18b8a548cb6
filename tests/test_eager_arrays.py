"""Gates of Arrays in C, against the reference and NumPy on random shapes, layouts and dtypes; and what they cost."""

import gc
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import gates, reference
from test_counted_work import counted

NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.0, 1e-30, 1e30, np.inf, -np.inf, np.nan]
ROWS = [row for row in gates.table.values() if row.arity > 0]
LARGE = 1_000_000
VIEWS = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[..., ::-1],
    "every other": lambda x: x[::2],
    "with an axis": lambda x: x[None],
}
DTYPES = [np.float64, np.float32]


def turned(x, view):
    """A view of an Array, a Unit or an array."""
    return VIEWS[view](x) if getattr(x, "ndim", 0) else x


def plain(x, layout):
    """The same numbers as a plain array that lies in memory in another way."""
    if layout == "big-endian":
        return x.astype(x.dtype.newbyteorder(">"))
    if layout == "misaligned":
        room = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        room[...] = x
        return room
    return np.asfortranarray(x) if layout == "Fortran's" else x


@st.composite
def given_operands(draw, count):
    """What a gate is given: makers of its operands for an engine, which are leaves, plain arrays or numbers."""
    shapes = draw(mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=4, min_side=0)).input_shapes
    made = []
    for shape in shapes:
        kind = draw(st.sampled_from(["Array", "Array", "plain", "Unit", "float", "int"]))
        dtype = draw(st.sampled_from(DTYPES))
        numbers = np.random.default_rng(draw(st.integers(0, 2**32))).choice(NUMBERS, (*shape, 2))
        layout = draw(st.sampled_from(["C's", "Fortran's", "big-endian", "misaligned"]))
        made.append((kind, numbers[..., 0].astype(dtype), layout, draw(st.sampled_from(NUMBERS))))
    return made


def operands_of(engine, made):
    """The leaves, and the operands that are made of them."""
    leaves, operands = [], []
    for kind, array, layout, number in made:
        if kind == "Array" and array.ndim:
            leaves.append(engine.Array(array))
            operands.append(leaves[-1])
        elif kind == "Unit":
            leaves.append(engine.Unit(number))
            operands.append(leaves[-1])
        elif kind in ("plain", "Array") and array.ndim:
            operands.append(plain(array, layout))
        else:
            operands.append(3 if kind == "int" else float(number))
    return leaves, operands


def outcome(engine, row, made):
    """A gate's value, dtype and pulls; or the class of its error."""
    leaves, operands = operands_of(engine, made)
    try:
        result = getattr(engine, row.name)(*operands)
        if not hasattr(result, "backward"):
            return np.asarray(result), []
        result.backward(np.linspace(0.0, 2.0, result.size).reshape(result.shape) if result.shape else 2.0)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return result.value, [leaf.grad for leaf in leaves]


def assert_near(found, expected, single, digits=2e-14):
    """Equal to a few units in the last place, NaN and infinity included."""
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    assert_allclose(found, expected, rtol=3e-6 if single else digits, atol=1e-44 if single else 1e-320)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
@settings(max_examples=20)
@given(data=st.data())
@pytest.mark.filterwarnings("error")
def test_a_gate_gives_and_pulls_what_the_reference_does(row, data):
    if row.name == "polygamma":
        made = [("float", np.zeros(()), "C's", 1.0), *data.draw(given_operands(1))]
    else:
        made = data.draw(given_operands(row.arity))
    found, expected = outcome(fp, row, made), outcome(reference, row, made)
    if isinstance(expected[0], type):
        assert found[0] is expected[0]
        return
    single = any(array.dtype == np.float32 for _, array, *_ in made)
    digits = 1e-11 if row.name == "polygamma" else 2e-14
    assert_near(found[0], expected[0], single, digits)
    for grad, expected_grad in zip(found[1], expected[1], strict=True):
        assert_near(grad, expected_grad, single, digits)


@settings(max_examples=60)
@given(data=st.data())
def test_views_of_arrays_are_operands_like_any_other(data):
    made = [(kind, array, layout, number) for kind, array, layout, number in data.draw(given_operands(2))]
    views = [data.draw(st.sampled_from(list(VIEWS))) for _ in made]
    row = data.draw(st.sampled_from([gates.add, gates.multiply, gates.divide, gates.maximum, gates.arctan2]))

    def run(engine):
        leaves, operands = operands_of(engine, made)
        try:
            result = getattr(engine, row.name)(*map(turned, operands, views))
        except ValueError:
            return None
        if hasattr(result, "backward"):
            result.backward(np.ones(result.shape, result.dtype) if result.shape else 1.0)
            return result.value, [leaf.grad for leaf in leaves]
        return result, []

    found, expected = run(fp), run(reference)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert_allclose(found[0], expected[0], rtol=2e-6)
        for grad, expected_grad in zip(found[1], expected[1], strict=True):
            assert_allclose(grad, expected_grad, rtol=3e-6)


@pytest.mark.parametrize("size", [1, 7, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1000, 1537, 20_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_a_long_array_is_computed_and_pulled(size, dtype, instruction_set):
    x, y = np.linspace(-2.0, 2.0, size).astype(dtype), np.linspace(0.5, 3.0, size).astype(dtype)
    a, b = fp.Array(x), fp.Array(y)
    pull = np.linspace(1.0, 2.0, size).astype(dtype)
    result = fp.tanh(a) * b + a / b
    result.backward(pull)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert_allclose(result.value, np.tanh(x) * y + x / y, rtol=tolerance, atol=tolerance)
    assert_allclose(a.grad, pull * ((1 - np.tanh(x) ** 2) * y + 1 / y), rtol=10 * tolerance, atol=tolerance)
    assert_allclose(b.grad, pull * (np.tanh(x) - x / y**2), rtol=10 * tolerance, atol=tolerance)
    assert result.dtype == a.grad.dtype == dtype


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(["sum", "mean"]),
    keepdims=st.booleans(),
    view=st.sampled_from(list(VIEWS)),
    data=st.data(),
)
def test_sums_along_axes(shape, dtype, name, keepdims, view, data):
    numbers = np.random.default_rng(3).normal(size=shape).astype(dtype)
    dimensions = VIEWS[view](numbers).ndim
    axes = data.draw(st.none() | st.lists(st.integers(0, dimensions - 1), unique=True).map(tuple))
    x = fp.Array(numbers)
    result = getattr(VIEWS[view](x), name)(axis=axes, keepdims=keepdims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(np, name)(VIEWS[view](numbers.astype(np.float64)), axis=axes, keepdims=keepdims)
    assert result.shape == np.shape(expected)
    assert_allclose(result.value, expected, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-12)
    pull = np.random.default_rng(4).normal(size=np.shape(expected))
    result.backward(pull.astype(dtype) if result.shape else float(pull))
    spread = np.zeros(np.shape(VIEWS[view](numbers)))
    every = tuple(range(dimensions)) if axes is None else axes
    kept = [1 if axis in every else n for axis, n in enumerate(spread.shape)]
    share = np.prod([spread.shape[axis] for axis in every]) if name == "mean" else 1.0
    spread += np.reshape(pull, kept) / max(share, 1.0)
    expected_grad = np.zeros(shape)
    VIEWS[view](expected_grad)[...] = spread
    assert_allclose(x.grad, expected_grad, rtol=1e-6 if dtype == np.float32 else 1e-14)


SIZES = st.sampled_from([0, 1, 2, 3, 5, 17, 33])


@settings(max_examples=60)
@given(rows=SIZES | st.none(), inner=SIZES, columns=SIZES | st.none(), dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 2),
       which=st.sampled_from(["both", "left", "right"]), turn=st.booleans())  # fmt: skip
def test_products(rows, inner, columns, dtypes, which, turn):
    random = np.random.default_rng(5)
    a = random.normal(size=inner if rows is None else (rows, inner)).astype(dtypes[0])
    b = random.normal(size=inner if columns is None else (inner, columns)).astype(dtypes[1])
    left = fp.Array(a.T) if turn else fp.Array(a)
    right = fp.Array(b)
    result = (a if which == "right" else left.T if turn else left) @ (b if which == "left" else right)
    expected = np.matmul(a, b)
    single = a.dtype == b.dtype == np.float32
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if single else {"rtol": 1e-11, "atol": 1e-12}
    assert result.shape == expected.shape
    assert result.shape == () or result.dtype == expected.dtype
    assert_allclose(result.value, expected, **tolerance)
    pull = random.normal(size=expected.shape).astype(expected.dtype)
    result.backward(pull if result.shape else float(pull))
    height, width = 1 if rows is None else rows, 1 if columns is None else columns
    matrix = pull.reshape(height, width)
    on_left = (matrix @ b.reshape(inner, width).T).reshape(a.shape)
    on_right = (a.reshape(height, inner).T @ matrix).reshape(b.shape)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if np.float32 in dtypes else tolerance
    if which != "right":
        assert_allclose(left.grad, on_left.T if turn else on_left, **tolerance)
    if which != "left":
        assert_allclose(right.grad, on_right, **tolerance)


@pytest.mark.parametrize("n", [2, 40])  # by loops of our own, and by NumPy
def test_a_factor_of_zero_makes_a_term_of_a_pull_zero(engine, n):
    a, b = np.ones((n, n)), np.ones((n, n))
    a[0] = [np.inf, np.nan, *a[0, 2:]]
    left, right = engine.Array(a), engine.Array(b)
    pull = np.ones((n, n))
    pull[0] = 0.0
    (left @ right).backward(pull)
    assert_array_equal(right.grad, np.full((n, n), n - 1.0))
    expected = np.full((n, n), float(n))
    expected[0] = 0.0
    assert_array_equal(left.grad, expected)


def test_indices_of_all_kinds_pull_where_they_picked():
    numbers = np.arange(24.0).reshape(2, 3, 4)
    for index in (
        1, -1, slice(None, None, -2), (0, 1), (Ellipsis, 2), (None, 1, slice(1, 3)), (slice(None), [0, 0, 2]),
        numbers > 7.0, (1, 2, 3), (np.int64(1), slice(0)), ([1, 1], [2, 2], [3, 3]), np.array([0, 1, 0], np.int8),
        (slice(5, 1), 0), True,
    ):  # fmt: skip
        x, y = fp.Array(numbers), reference.Array(numbers)
        pulls = []
        for array in (x, y):
            part = array[index]
            part = part * part
            part.backward(np.ones(part.shape) if part.shape else 1.0)
            pulls.append(array.grad)
        assert_array_equal(pulls[0], pulls[1])
        assert_array_equal(x[index].value, numbers[index])


def test_a_block_of_one_number_becomes_a_unit(engine):
    x = engine.Array([[3.0]])
    for unit in (x.reshape(()), x[0, 0], x[np.int64(0), 0], x.sum()):
        (unit * unit).backward()
    assert_array_equal(x.grad, [[24.0]])
    tangent = engine.jvp(lambda a: a.reshape(()) * 2.0, (np.array([[3.0]]),), (np.array([[5.0]]),))
    assert tangent == (6.0, 10.0)


@pytest.mark.parametrize(
    "move",
    [lambda x: x.T, lambda x: x.reshape(4, 6), lambda x: x[1:, ::-1], lambda x: x[None]],
    ids=["T", "reshape", "slices", "newaxis"],
)
def test_moves_are_views_where_numpy_has_views(move):
    x = fp.Array(np.arange(24.0).reshape(6, 4))
    old = x.value
    part = move(x)
    assert np.shares_memory(part.value, old)
    assert not part.value.flags.writeable
    x.value = np.zeros((6, 4))
    assert_array_equal(part.value, move(np.arange(24.0).reshape(6, 4)))


def test_plain_arrays_that_change_afterwards_change_nothing():
    x, plain_array = fp.Array([1.0, 2.0]), np.array([3.0, 4.0])
    results = [x * plain_array, x + plain_array, x / plain_array, np.ones((2, 2)) @ x, x - plain_array]
    plain_array[:] = np.nan
    fp.sum(results[0]).backward()
    assert_array_equal(x.grad, [3.0, 4.0])
    gradient = fp.grad(lambda a: fp.sum(fp.grad(lambda b: fp.sum(b * b * np.array([1.0, 2.0])))(a)))
    assert_array_equal(gradient(np.ones(2)), [2.0, 4.0])
    assert_array_equal(results[1].value, [4.0, 6.0])


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_dtypes_that_no_loop_computes_are_refused(dtype):
    with pytest.raises(TypeError, match=r"multiply: operand 1 has dtype float.*convert it with .astype first"):
        fp.Array(np.ones(3)) * np.ones(3, dtype)


# What it costs ----------------------------------------------------------------------------------------------------


GATES = {
    "sum": lambda a, b, p: a + b,
    "with a number": lambda a, b, p: 2.0 / a,
    "with a plain array": lambda a, b, p: a * p,
    "tanh": lambda a, b, p: fp.tanh(a),
    "clip": lambda a, b, p: fp.clip(a, 0.0, 1.0),
    "sum of all": lambda a, b, p: a.sum(),
    "mean of an axis": lambda a, b, p: a.reshape(-1, 5).mean(axis=0),
    "slice": lambda a, b, p: a[::-1],
    "broadcast": lambda a, b, p: a.reshape(-1, 5) * b[:5],
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_no_work_in_python_is_done_for_each_number(gate):
    work = []
    for size in (10, 50_000):
        a, b, p = fp.Array(np.ones(size)), fp.Array(np.ones(size)), np.ones(size)
        result = gate(a, b, p)
        pull = np.ones(result.shape) if result.shape else 1.0
        gate(a, b, p).backward(pull)
        work.append(counted(lambda a=a, b=b, p=p, pull=pull: gate(a, b, p).backward(pull))[:2])
    assert work[0] == work[1]


OPERATORS = {
    "sum": lambda a, b, p: a + b,
    "product": lambda a, b, p: a * b,
    "with a number": lambda a, b, p: a - 2.0,
    "tanh": lambda a, b, p: fp.tanh(a),
    "negative": lambda a, b, p: -a,
    "with a plain array": lambda a, b, p: a + p,
    "np.exp": lambda a, b, p: np.exp(a),
    "mean": lambda a, b, p: a.mean(),
    "transposed": lambda a, b, p: a.reshape(1000, 1000).T,
    "slice": lambda a, b, p: a[::2],
    "broadcast": lambda a, b, p: a.reshape(1000, 1000) + b[:1000],
    "product with a vector": lambda a, b, p: a.reshape(1000, 1000) @ b[:1000],
}


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_a_gate_allocates_its_result_and_nothing_else(operator):
    a, b, p = fp.Array(np.ones(LARGE)), fp.Array(np.ones(LARGE)), np.ones(LARGE)
    operator(a, b, p)
    gc.collect()
    tracemalloc.start()
    try:
        result = operator(a, b, p)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    is_view = result.shape == () or np.shares_memory(result.value, a.value)
    assert peak < (0 if is_view else result.value.nbytes) + 120_000


def test_a_plain_array_is_copied_once_and_only_if_a_partial_needs_it():
    a, p = fp.Array(np.ones(LARGE)), np.ones(LARGE)
    peaks = []
    for operator in (lambda: a + p, lambda: p - a, lambda: a * p, lambda: fp.where(p, a, 0.0)):
        operator()
        tracemalloc.start()
        try:
            kept = operator()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        del kept
    results = [round(peak / p.nbytes, 1) for peak in peaks]
    assert all(x <= expected for x, expected in zip(results, [1.0, 1.0, 2.0, 2.0], strict=True))


def test_large_arrays_that_died_are_reclaimed_soon():
    a = fp.Array(np.ones(LARGE // 4))
    with fp.Tape() as tape:
        for _ in range(100):
            b = fp.tanh(a) * a
        assert len(tape) < 12
    assert b.value[0] == np.tanh(1.0)


def test_adjoints_of_what_nobody_holds_are_passed_on():
    a = fp.Array(np.ones(LARGE))

    def chain():
        b = a
        for _ in range(20):
            b = fp.sin(b) * 0.5
        return b

    result, pull = chain(), np.ones(LARGE)
    result.backward(pull)
    tracemalloc.start()
    try:
        result.backward(pull)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * pull.nbytes


def test_gradients_taken_earlier_stay_as_they_were():
    a = fp.Array(np.ones(1000))
    (a * a).sum().backward()
    first = a.grad
    (a * a).sum().backward()
    assert_array_equal(first, np.full(1000, 2.0))
    assert_array_equal(a.grad, np.full(1000, 4.0))
    assert not a.grad.flags.writeable


def test_threads_sweep_large_arrays_each_on_its_tape():
    a = fp.Array(np.linspace(0.0, 1.0, 50_000))
    found = {}

    def work(k):
        with fp.Tape():
            x = fp.Array(a.value * k)
            for _ in range(20):
                x.grad = 0.0
                (fp.tanh(x) * x).sum().backward()
            found[k] = x.grad

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, grad in found.items():
        x = a.value * k
        assert_allclose(grad, np.tanh(x) + x * (1 - np.tanh(x) ** 2), rtol=1e-9)
    assert len(found) == 4


# What comes in and goes out by other ways


@pytest.mark.parametrize("dtype", [">f8", ">f4"])
def test_astype_of_what_loops_do_not_read(dtype):
    """An Array has floats of this machine: byte orders are put right."""
    w = fp.Array(np.arange(1.0, 11.0))
    a = w.astype(dtype)
    assert a.dtype in (np.float64, np.float32) and a.dtype.isnative
    (a * 2.0).sum().backward()
    np.testing.assert_array_equal((a * 2.0).value, 2.0 * np.arange(1.0, 11.0))
    np.testing.assert_array_equal(w.grad, np.full(10, 2.0))


@pytest.mark.parametrize("dtype", [np.float16, complex, np.longdouble, object])
def test_astype_of_what_is_refused(dtype):
    with pytest.raises(TypeError, match="float32"):
        fp.Array([1.0, 2.0]).astype(dtype)


@pytest.mark.parametrize("pull", [[1.0, 2.0, 3.0], np.array([1, 2, 3])])
def test_pulls_on_a_leaf_of_float32(pull):
    w = fp.Array(np.array([1, 2, 3], np.float32))
    w.backward(pull)
    (w * w).sum().backward()
    assert w.grad.dtype == np.float32
    np.testing.assert_array_equal(w.grad, [3.0, 6.0, 9.0])


def test_a_traced_unit_outside_of_its_trace_is_refused():
    box = []
    circuit = fp.trace(lambda x: box.append(x[0] * 2.0) or x[1], [1.0, 2.0])
    with pytest.raises(TypeError, match="traced"):
        fp.Array([1.0, 2.0, 3.0]) * box[0]
    assert circuit([1.0, 5.0]) == 5.0


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sums_of_float32_are_rounded_to_it(name):
    x = np.array([0.1, 0.2, 0.3], np.float32)
    found = getattr(fp.Array(x), name)().value
    assert found == float(np.float32(found))
    assert found == getattr(reference.Array(x), name)().value


def test_a_gate_with_too_few_operands():
    w = fp.Array([1.0, 2.0])
    with pytest.raises((TypeError, ValueError)):
        w.__array_ufunc__(np.add, "__call__", w)
    with pytest.raises((TypeError, ValueError)):
        w.__fastprop_gate__(fp.gates.table["add"], (w,), {})
