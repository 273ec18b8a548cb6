"""Many points at once: the same bits however they are cut, and any layout of arrays."""

import itertools
import math

import numpy as np
import pytest

import fastprop as fp
from fastprop.engine.program import instruction_sets, use_instruction_set
from fastprop.engine.run import LanesRun
from programs import LANES_W as W
from programs import Sketch, by_reference, in_lanes, optimised
from programs import lanes_data as data
from programs import lanes_loss as loss
from programs import lanes_oracle as oracle

SIZES = [0, 1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1000]


pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture(scope="module")
def circuit():
    return fp.trace(loss, W, 0.5, 0.25)


@pytest.fixture(scope="module")
def truth():
    return oracle(*data(1000))


def bound(circuit, x, y, reduce=None, **options):
    """Value and gradients in x, y and (with reduce) w, by a bound circuit."""
    run = circuit.bind(W, x, y, in_axes=(None, 0, 0), reduce=reduce, **options)
    run()
    return run.value, run.grad


@pytest.mark.parametrize("lanes", SIZES)
def test_every_lane_is_right_at_any_number_of_lanes(circuit, truth, lanes):
    x, y = (column[:lanes] for column in data(1000))
    value, (dw, dx, dy) = bound(circuit, x, y)
    found = np.array([value, *dw, dx, dy])
    np.testing.assert_allclose(found, truth[:, :lanes], rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(circuit.batch(W, x, y, in_axes=(None, 0, 0)), value)
    for reduce, scale in (("sum", 1.0), ("mean", 1.0 / lanes if lanes else math.nan)):
        total = circuit.batch(W, x, y, in_axes=(None, 0, 0), reduce=reduce)
        np.testing.assert_allclose(total, truth[0, :lanes].sum() * scale, rtol=1e-12, atol=1e-12)
        if lanes or reduce == "sum":
            summed, (dw, dx, dy) = bound(circuit, x, y, reduce)
            np.testing.assert_allclose(summed, total, rtol=1e-14)
            np.testing.assert_allclose(dw, truth[1:4, :lanes].sum(1) * scale, rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose([dx, dy], truth[4:, :lanes] * scale, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_bits_at_any_place_in_any_number_of_lanes(name, dtype):
    use_instruction_set(name)
    try:
        circuit = fp.trace(loss, W, 0.5, 0.25, dtype=dtype)
        x, y = data(1300, 1, dtype)
        value, (dw, dx, dy) = bound(circuit, x, y)
        whole = np.array([value, *dw, dx, dy])
        for begin, end in [(0, 1), (5, 6), (7, 71), (3, 68), (1, 65), (130, 387), (1, 513), (700, 1300), (1299, 1300)]:
            value, (dw, dx, dy) = bound(circuit, x[begin:end].copy(), y[begin:end].copy())
            np.testing.assert_array_equal(np.array([value, *dw, dx, dy]), whole[:, begin:end], err_msg=f"{begin} {end}")
        order = np.random.default_rng(2).permutation(1300)
        value, (dw, dx, dy) = bound(circuit, x[order], y[order])
        np.testing.assert_array_equal(np.array([value, *dw, dx, dy]), whole[:, order])
    finally:
        use_instruction_set()


@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_many_rows_pull_is_the_same_bits_in_any_number_of_lanes(name, dtype):
    """There are more of them than a product takes at once, and a narrow block takes as many as a wide one."""
    use_instruction_set(name)
    try:
        rng = np.random.default_rng(7)
        w, x = rng.normal(size=(200, 5)).astype(dtype), rng.normal(size=(600, 5)).astype(dtype)
        slopes = fp.compile(fp.vmap(fp.grad(lambda x, w: sum(fp.tanh(y) for y in w @ x)), in_axes=(0, None)))
        whole = slopes(x, w)
        for begin, end in [(0, 1), (3, 20), (7, 71), (130, 387)]:
            np.testing.assert_array_equal(slopes(x[begin:end].copy(), w), whole[begin:end], err_msg=f"{begin} {end}")
    finally:
        use_instruction_set()


HOSTILE = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -1e-310, 1.7e308, -(2.0**1023), 2.0**-1022]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pulls_of_quotients_and_roots_are_right_and_mind_no_neighbours(dtype):
    """They are taken a quick way, and again where that has no answer."""
    generator = np.random.default_rng(5)
    exponent = 40.0 if dtype == np.float64 else 6.0
    x, y, z = (10.0 ** generator.uniform(-exponent, exponent, 515).astype(dtype) for _ in range(3))
    y *= generator.choice([-1.0, 1.0], 515)
    circuit = fp.trace(lambda x, y, z: x / y + fp.sqrt(z), 1.0, 1.0, 1.0, dtype=dtype)
    grads = [np.zeros(515, dtype) for _ in range(3)]
    run = circuit.bind(x, y, z, in_axes=0, grad=tuple(grads))
    run()
    a, b, c = (column.astype(np.longdouble) for column in (x, y, z))
    for grad, truth in zip(grads, (1 / b, -a / (b * b), 1 / (2 * np.sqrt(c))), strict=True):
        assert np.all(np.abs(grad - truth) <= 4.0 * np.spacing(np.abs(grad)))
    expected = np.array(grads)
    odd = np.arange(3, 515, 7)
    with np.errstate(over="ignore"):
        for column in (x, y, z):
            column[odd] = generator.choice(np.array(HOSTILE).astype(dtype), len(odd))
    run()
    rest = np.setdiff1d(np.arange(515), odd)
    np.testing.assert_array_equal(np.array(grads)[:, rest], expected[:, rest])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("lanes", [1, 64, 257, 5000, 20011])
def test_the_same_bits_for_any_number_of_threads(lanes, dtype, always_threads):
    circuit = fp.trace(loss, W, 0.5, 0.25, dtype=dtype)
    x, y = data(lanes, 3, dtype)
    expected = None
    for threads in (1, 2, 3, 5, 8, 16):
        fp.set_num_threads(threads)
        found = [circuit.batch(W, x, y, in_axes=(None, 0, 0))]
        for reduce in (None, "sum", "mean"):
            value, gradients = bound(circuit, x, y, reduce)
            found += [np.array(value), *map(np.array, gradients)]
        if expected is None:
            expected = found
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{threads} threads")
    np.testing.assert_allclose(expected[1][:50], oracle(x[:50], y[:50])[0], rtol=1e-12 if dtype == np.float64 else 1e-4)


def test_float32_is_float64_to_rounding(circuit):
    x, y = data(300, 4, np.float32)
    single = fp.trace(loss, W, 0.5, 0.25, dtype="float32")
    value, (dw, dx, dy) = bound(single, x, y)
    assert value.dtype == dx.dtype == np.float32
    expected, (expected_dw, expected_dx, expected_dy) = bound(circuit, x.astype(np.float64), y.astype(np.float64))
    for found, exact in [(value, expected), (dw, expected_dw), (dx, expected_dx), (dy, expected_dy)]:
        np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-5)


# Draft by draft: outputs that are inputs or constants, uniform pulls, guards


@pytest.mark.parametrize("lanes", [1, 63, 64, 65, 256, 600])
def test_outputs_of_every_kind(lanes):
    sketch = Sketch(3)
    product = sketch.gate("multiply", 0, 1)
    square = sketch.gate("square", 2)
    outputs = [0, 2, sketch.constant(7.0), product, square, 0, product, 2]
    draft = optimised(sketch.draft(outputs))
    x, y = data(lanes, 5)
    pulls = [1.0, 2.0, 3.0, x, 5.0, y, 7.0, 8.0]
    values, gradients, _ = in_lanes(draft, [x, y, 1.5], pulls)
    constant = np.ones(lanes)
    np.testing.assert_array_equal(
        values, [x, 1.5 * constant, 7.0 * constant, x * y, 2.25 * constant, x, x * y, 1.5 * constant]
    )
    np.testing.assert_allclose(gradients[0], 1.0 + y + (x + 7.0) * y, rtol=1e-14)
    np.testing.assert_allclose(gradients[1], (x + 7.0) * x, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(gradients[2], lanes * (10.0 + 5.0 * 3.0), rtol=1e-14)


def test_values_outlive_the_sweep_backward():
    """Slots of values are used again for adjoints, but never before the values are out."""
    sketch = Sketch(2)
    wires, outputs = [0, 1], []
    for i in range(60):
        wires.append(sketch.gate(("multiply", "add", "sin", "maximum")[i % 4], *wires[-1 - (i % 4 != 2) :]))
        outputs.append(wires[-1])
    draft = optimised(sketch.draft(outputs))
    for lanes in (64, 512, 700):
        x, y = data(lanes, 6)
        values, gradients, _ = in_lanes(draft, [x, y], [0.01] * 60)
        for lane in (0, lanes // 2, lanes - 1):
            expected, gradient, _ = by_reference(sketch.draft(outputs), [x[lane], y[lane]], [0.01] * 60)
            np.testing.assert_allclose(values[:, lane], expected, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(gradients[:, lane], gradient, rtol=1e-9, atol=1e-12)


def test_a_broken_guard_names_its_lane():
    def f(x, y):
        return x * y if x < 0.9 else y

    circuit = fp.trace(f, 0.5, 1.0)
    for lanes, broken in [(1, 0), (100, 99), (1000, 0), (1000, 517), (5000, 4999)]:
        x, y = np.full(lanes, 0.5), np.ones(lanes)
        np.testing.assert_array_equal(circuit.batch(x, y), 0.5)
        x[broken] = 0.95
        with pytest.raises(fp.DivergenceError, match=rf"lane {broken}\b"):
            circuit.batch(x, y)
        run = circuit.bind(x, y, in_axes=0)
        with pytest.raises(fp.DivergenceError, match=rf"lane {broken}\b"):
            run()
        x[broken] = 0.25
        run()
        assert run.value[broken] == 0.25


def test_a_guard_of_what_is_uniform():
    def f(w, x):
        return x * w if w > 0.0 else x

    circuit = fp.trace(f, 1.0, 1.0)
    np.testing.assert_array_equal(circuit.batch(2.0, np.ones(100), in_axes=(None, 0)), 2.0)
    with pytest.raises(fp.DivergenceError, match="lane 0"):
        circuit.batch(-2.0, np.ones(100), in_axes=(None, 0))


# Layouts


def layouts(array):
    """The same numbers of an array of lanes × 3 in other layouts."""
    lanes = len(array)
    yield "row-major", array.copy()
    yield "slot-major", np.asfortranarray(array)
    wide = np.zeros((lanes, 7))
    wide[:, 1:6:2] = array
    yield "every other column", wide[:, 1:6:2]
    tall = np.zeros((2 * lanes + 1, 3))
    tall[1::2] = array
    yield "every other row", tall[1::2]
    yield "backward", array[::-1].copy()[::-1]
    yield "columns backward", array[:, ::-1].copy()[:, ::-1]
    buffer = np.zeros(array.nbytes + 16, np.uint8)
    for offset in (1, 4):
        misaligned = buffer[offset : offset + array.nbytes].view(np.float64).reshape(3, lanes).T
        misaligned[...] = array
        assert not misaligned.flags.aligned
        yield f"misaligned by {offset}", misaligned
        misaligned = buffer[offset : offset + array.nbytes].view(np.float64).reshape(lanes, 3)
        misaligned[...] = array
        yield f"rows misaligned by {offset}", misaligned
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen


def cubic(x):
    return x[0] * x[1] * x[2] + fp.sin(x[0]) + x[1]


def cubic_in_numpy(x):
    value = x[:, 0] * x[:, 1] * x[:, 2] + np.sin(x[:, 0]) + x[:, 1]
    slopes = [x[:, 1] * x[:, 2] + np.cos(x[:, 0]), x[:, 0] * x[:, 2] + 1.0, x[:, 0] * x[:, 1]]
    return value, np.array(slopes).T


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("lanes", [1, 64, 70, 300])
def test_any_layout_of_inputs(lanes):
    circuit = fp.trace(cubic, np.ones(3))
    x = np.random.default_rng(7).normal(size=(lanes, 3))
    value, slopes = cubic_in_numpy(x)
    for name, array in layouts(x):
        np.testing.assert_array_equal(array, x)
        np.testing.assert_allclose(circuit.batch(array), value, rtol=1e-13, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(circuit.batch(array.T, in_axes=1), value, rtol=1e-13, atol=1e-14, err_msg=name)
        run = circuit.bind(array, in_axes=0)
        run()
        np.testing.assert_allclose(run.value, value, rtol=1e-13, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(run.grad, slopes, rtol=1e-13, atol=1e-14, err_msg=name)
        np.testing.assert_array_equal(array, x)
    np.testing.assert_allclose(circuit.batch(x.astype(">f8")), value, rtol=1e-13, atol=1e-14)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("lanes", [1, 64, 70, 300])
def test_any_layout_of_outputs(lanes):
    circuit = fp.trace(cubic, np.ones(3))
    x = np.random.default_rng(8).normal(size=(lanes, 3))
    value, slopes = cubic_in_numpy(x)
    for name, gradient in layouts(np.full((lanes, 3), 9.0)):
        if name == "read-only":
            continue
        around = gradient.base.copy() if gradient.base is not None and gradient.base.dtype == np.float64 else None
        out = np.full(2 * lanes, 9.0)[::2]
        run = circuit.bind(x, grad=gradient, value=out, in_axes=0)
        for _ in range(2):
            run()
            np.testing.assert_allclose(out, value, rtol=1e-13, atol=1e-14, err_msg=name)
            np.testing.assert_allclose(gradient, slopes, rtol=1e-13, atol=1e-14, err_msg=name)
        assert (out.base[1::2] == 9.0).all()
        if name == "every other column":
            np.testing.assert_array_equal(gradient.base[:, ::2], around[:, ::2])
    flipped = np.empty((3, lanes))
    circuit.bind(x.T.copy(), grad=flipped, in_axes=1)()
    np.testing.assert_allclose(flipped.T, slopes, rtol=1e-13, atol=1e-14)


def test_out():
    circuit = fp.trace(cubic, np.ones(3))
    x = np.random.default_rng(9).normal(size=(100, 3))
    expected = cubic_in_numpy(x)[0]
    out = np.zeros(100)
    assert circuit.batch(x, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-14)
    strided = np.zeros(300)
    circuit.batch(x, out=strided[::3])
    np.testing.assert_array_equal(strided[::3], out)
    assert not strided[1::3].any()
    total = np.zeros(())
    circuit.batch(x, out=total, reduce="mean")
    assert total == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros(99), ValueError, r"shape \(99,\)"),
        (np.zeros((100, 1)), ValueError, "shape"),
        (np.zeros(100, np.float32), TypeError, "float32"),
        (np.zeros(100, ">f8"), TypeError, ">f8"),
        (np.broadcast_to(np.zeros(1), 100), ValueError, "read-only"),
        ([0.0] * 100, TypeError, "list"),
    ],
)
def test_wrong_out(out, error, message):
    circuit = fp.trace(cubic, np.ones(3))
    x = np.ones((100, 3))
    with pytest.raises(error, match=message):
        circuit.batch(x, out=out)
    with pytest.raises(error, match=message):
        circuit.bind(x, value=out, in_axes=0)


def test_overlapping_outputs_are_refused():
    circuit = fp.trace(cubic, np.ones(3))
    memory = np.ones((100, 7))
    x, inside, beside = memory[:, :3], memory[:, 2:5], memory[:, 3:6]
    for grad, value in [(x, None), (inside, None), (None, memory[:, 1]), (beside, memory[:, 4])]:
        with pytest.raises(ValueError, match="overlaps"):
            circuit.bind(x, grad=grad, value=value, in_axes=0)
    circuit.bind(x, grad=beside, value=memory[:, 6], in_axes=0)()
    np.testing.assert_allclose(memory[:, 3:], [[1.0 + np.cos(1.0), 2.0, 1.0, 2.0 + np.sin(1.0)]] * 100, rtol=1e-14)


def test_out_may_not_be_an_input_half_read():
    circuit = fp.trace(lambda x: x[0] + x[1], np.ones(2))
    memory = np.arange(200.0)
    x = memory.reshape(100, 2)
    expected = x.sum(1)
    try:
        circuit.batch(x, out=memory[:100])
    except ValueError as error:
        assert "overlaps" in str(error)
        np.testing.assert_array_equal(memory, np.arange(200.0))
    else:
        np.testing.assert_array_equal(memory[:100], expected)


def test_bound_arrays_are_read_at_every_call():
    run_x, w = np.zeros(300), np.zeros(3)
    circuit = fp.trace(lambda w, x: w[0] * x + w[1] * fp.exp(w[2]), np.ones(3), 1.0)
    run = circuit.bind(w, run_x, in_axes=(None, 0), reduce="sum")
    generator = np.random.default_rng(10)
    for _ in range(3):
        run_x[:], w[:] = generator.normal(size=300), generator.normal(size=3)
        run()
        power = np.exp(w[2])
        np.testing.assert_allclose(run.value, (w[0] * run_x + w[1] * power).sum(), rtol=1e-11)
        np.testing.assert_allclose(run.grad[0], [run_x.sum(), 300 * power, 300 * w[1] * power], rtol=1e-11)
        np.testing.assert_array_equal(run.grad[1], w[0])


def test_columns_are_checked_when_they_are_set():
    circuit = fp.trace(cubic, np.ones(3))
    plan = circuit._plan
    program = plan.lanes(True, np.zeros(3, np.uint8), np.ones(3, np.uint8))
    program = program[0] if isinstance(program, tuple) else program
    run = LanesRun(program, False, 10)
    for wrong in (np.zeros(10, np.float32), np.zeros((10, 1)), np.zeros(10, ">f8"), np.zeros(10, int)):
        for setter in (run.set_input, run.set_gradient, run.set_value):
            with pytest.raises(ValueError, match="a column is"):
                setter(0, wrong)
    frozen = np.zeros(10)
    frozen.flags.writeable = False
    for setter in (run.set_gradient, run.set_value):
        with pytest.raises(ValueError, match="read-only"):
            setter(0, frozen)


def test_lanes_that_are_picked():
    """Parted lanes: a run over some lanes reads and writes those alone."""
    compiled = fp.compile(fp.vmap(lambda x: fp.sin(x) if x > 0.0 else x * x if x > -0.5 else 1.0 / x))
    for lanes in (1, 63, 64, 65, 1000):
        x = np.random.default_rng(lanes).uniform(-1.0, 1.0, lanes)
        expected = np.select([x > 0.0, x > -0.5], [np.sin(x), x * x], 1.0 / x)
        np.testing.assert_allclose(compiled(x), expected, rtol=1e-14)
    shapes = itertools.product((1, 5, 64), (1, 3))
    for lanes, size in shapes:
        x = np.random.default_rng(lanes).uniform(0.1, 1.0, (lanes, size))
        found = fp.vmap(lambda row: fp.sum(row * row))(x)
        np.testing.assert_allclose(found, (x * x).sum(1), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_quotients_of_a_sum_pull_by_their_own_divisors(dtype):
    """Their pulls are one row, and follow each other: the quotient's of one, the divisor's of the other."""
    a, b, c, y = np.random.default_rng(0).uniform(1.0, 3.0, (4, 200)).astype(dtype)

    def f(a, b, c, y):
        first = c / y
        return a / b + first

    for order in ((0, 3), (0, 1), (2, 3), (1, 2)):
        found = fp.compile(fp.vmap(fp.grad(f, argnums=order)))(a, b, c, y)
        expected = [1.0 / b, -a / b**2, 1.0 / y, -c / y**2]
        for k, slopes in zip(order, found):
            np.testing.assert_allclose(slopes, expected[k], rtol=1e-5 if dtype == np.float32 else 1e-14)


def test_sums_are_the_same_bits_where_ways_were_found_and_anew():
    x = np.random.default_rng(1).uniform(-1.0, 1.0, 40_000)
    f = fp.compile(fp.vmap(lambda x: fp.exp(x) * x if x > 0.3 else fp.sin(x), reduce="sum"))
    grown = [f(x) for _ in range(3)]
    circuit_of = fp.compile(fp.vmap(lambda x: fp.exp(x) * x if x > 0.3 else fp.sin(x), reduce="sum"))
    circuit_of(x)
    for entry in circuit_of.forms.entries():
        for route in entry.routes.values():
            route.clear()
    assert circuit_of(x) == grown[-1]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_logsumexp_of_lanes_has_its_digits_near_zero(dtype):
    inf, low = math.inf, -40.0 if dtype == np.float64 else -20.0
    rows = [
        [0.0, low, 2.0 * low], [low, 0.0, low], [low, low, 0.0], [0.0, 0.0, low], [1.0, 2.0, 3.0], [1e4, 1e4, 1e4],
        [-inf, 0.0, low], [-inf, -inf, -inf], [inf, 1.0, 2.0], [inf, inf, -inf], [math.nan, 0.0, low],
    ]  # fmt: skip
    x = np.array(rows * 9, dtype)
    expected = np.array([fp.logsumexp(row) for row in x.tolist()])
    slopes = np.array([fp.grad(fp.logsumexp)(row) for row in x.astype(float)])
    mapped = fp.vmap(fp.logsumexp)
    both = fp.compile(fp.vmap(fp.value_and_grad(fp.logsumexp)))
    tolerance = 8.0 * np.finfo(dtype).eps
    for found in (mapped(x), fp.compile(mapped)(x), both(x)[0], fp.trace(fp.logsumexp, x[0], dtype=dtype).batch(x)):
        np.testing.assert_allclose(found, expected, rtol=tolerance)
    np.testing.assert_allclose(both(x)[1], slopes, rtol=tolerance, atol=1e-300)
