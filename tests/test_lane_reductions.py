"""lane_sum, lane_mean, lane_max, lane_min: across the lanes of the vmap around them, on all fronts, and derivatives."""

import numpy as np
import pytest

import fastprop as fp

REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}
LANE = {name: getattr(fp, f"lane_{name}") for name in REDUCTIONS}


def fronts(f, in_axes=0, reduce=None):
    """A function of lanes on every front that takes plain arguments."""
    mapped = fp.vmap(f, in_axes, reduce)
    compiled = fp.compile(mapped)

    def eager(*args):
        with fp.eager():
            return mapped(*args)

    def on_leaves(*args):
        found = mapped(*[fp.Array(x) if np.ndim(x) else fp.Unit(x) for x in args])
        return found.value

    def within(*args):
        return fp.compile(lambda *args: fp.vmap(f, in_axes, reduce)(*args))(*args)

    return {
        "now": mapped,
        "eager": eager,
        "compiled": compiled,
        "again": compiled,
        "leaves": on_leaves,
        "inner": within,
    }


def points(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("lanes", [1, 2, 5, 300])
def test_numbers_are_numpys(name, lanes):
    x = points(lanes)
    for front, f in fronts(lambda x: x * x - LANE[name](x)).items():
        np.testing.assert_allclose(f(x), x * x - REDUCTIONS[name](x), rtol=1e-13, atol=1e-13, err_msg=front)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_arrays_are_numpys(name):
    x = points((6, 2, 3))
    for front, f in fronts(lambda x: x / (2.0 + fp.square(LANE[name](x)))).items():
        expected = x / (2.0 + np.square(REDUCTIONS[name](x, axis=0)))
        np.testing.assert_allclose(f(x), expected, rtol=1e-13, err_msg=front)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_plain_number_is_the_same_in_all_lanes(name):
    x = points(4)
    for plain in (3.0, 3, np.float64(3.0), True, np.array([1.0, 2.0]), [1.0, 2.0]):
        full = np.broadcast_to(np.asarray(plain, float), (4, *np.shape(plain)))
        expected = np.multiply.outer(x, REDUCTIONS[name](full, axis=0))
        for front, f in fronts(lambda x, plain=plain: x * LANE[name](plain)).items():
            np.testing.assert_allclose(f(x), expected, rtol=1e-14, err_msg=front)


def test_conditions_are_counted():
    x = points(50)
    for front, f in fronts(lambda x: x * fp.lane_sum(x > 0.0)).items():
        np.testing.assert_allclose(f(x), x * np.sum(x > 0.0), rtol=1e-14, err_msg=front)


def test_uniform_arguments_and_reduce():
    x, w = points(20), 1.5
    scores = np.exp(w * x)
    for front, f in fronts(lambda w, x: x * fp.exp(w * x) / fp.lane_sum(fp.exp(w * x)), (None, 0), "sum").items():
        assert float(f(w, x)) == pytest.approx(np.sum(x * scores) / np.sum(scores), rel=1e-13), front
    for front, f in fronts(lambda x: fp.square(x - fp.lane_mean(x)), 0, "mean").items():
        assert float(f(x)) == pytest.approx(np.var(x), rel=1e-13), front


def test_ties_and_nan_are_as_of_max():
    x = np.array([1.0, 3.0, 3.0, 0.0])
    gradient = fp.compile(fp.grad(fp.vmap(lambda x: fp.lane_max(x), reduce="mean")))(x)
    np.testing.assert_allclose(gradient, [0.0, 0.5, 0.5, 0.0])
    with_nan = np.array([1.0, np.nan, 3.0])
    for name in REDUCTIONS:
        for front, f in fronts(lambda x, name=name: LANE[name](x)).items():
            assert np.all(np.isnan(f(with_nan))), (name, front)


def test_no_lanes():
    for front, f in fronts(lambda x: x - fp.lane_sum(x)).items():
        assert f(np.zeros(0)).shape == (0,), front


def test_float32_stays_float32():
    x = points(100).astype(np.float32)
    for f in (fp.vmap(lambda x: x - fp.lane_mean(x)), fp.compile(fp.vmap(lambda x: x - fp.lane_mean(x)))):
        found = f(x)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, x - x.mean(), atol=1e-6)


# Several reductions, and derivatives ----------------------------------------------------------------------------------

EPSILON = 1e-3


def normalised(x, scale, shift):
    """BatchNorm of one example: mean and variance are those of the batch."""
    centred = x - fp.lane_mean(x)
    return fp.tanh(centred / fp.sqrt(fp.lane_mean(fp.square(centred)) + EPSILON) * scale + shift)


def normalised_by_hand(x, scale, shift):
    """The sum of the squares of the same, and its gradients, written out."""
    n = len(x)
    centred = x - x.mean(axis=0)
    deviation = np.sqrt(np.mean(centred**2, axis=0) + EPSILON)
    unit = centred / deviation
    out = np.tanh(unit * scale + shift)
    pull = 2.0 * out * (1.0 - out**2)
    on_unit = pull * scale
    inner = n * on_unit - on_unit.sum(axis=0) - unit * (on_unit * unit).sum(axis=0)
    return np.sum(out**2), (inner / (n * deviation), (pull * unit).sum(axis=0), pull.sum(axis=0))


@pytest.mark.parametrize("width", [None, 3])
def test_batch_norm_with_its_gradients(width):
    shape = () if width is None else (width,)
    x, scale, shift = points((30, *shape)), 1.0 + points(shape, 1), points(shape, 2)
    if width is None:
        scale, shift = float(scale), float(shift)
    expected = normalised_by_hand(x, scale, shift)

    def loss(x, scale, shift):
        return fp.sum(fp.square(normalised(x, scale, shift))) if width else fp.square(normalised(x, scale, shift))

    def of_all(x, scale, shift):
        return fp.sum(fp.square(fp.vmap(normalised, (0, None, None))(x, scale, shift)))

    for f in (fp.vmap(loss, (0, None, None), "sum"), of_all):
        step = fp.value_and_grad(f, argnums=(0, 1, 2))
        for front in (step, fp.compile(step), fp.compile(lambda *args, step=step: step(*args))):
            value, gradients = front(x, scale, shift)
            assert value == pytest.approx(expected[0], rel=1e-12)
            for found, each in zip(gradients, expected[1]):
                np.testing.assert_allclose(found, each, rtol=1e-9, atol=1e-11)


def test_leaves_receive_their_gradients():
    x, scale, shift = points(30), fp.Unit(1.3), fp.Unit(0.2)
    given = fp.Array(x)
    fp.vmap(lambda x: fp.square(normalised(x, scale, shift)), reduce="sum")(given).backward()
    expected = normalised_by_hand(x, 1.3, 0.2)[1]
    np.testing.assert_allclose(given.grad, expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([scale.grad, shift.grad], expected[1:], rtol=1e-10)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_derivatives_are_the_numerical_ones(name):
    x = points(6)
    weights = points(6, 1)

    def loss(x):
        return fp.vmap(lambda w, x: w * fp.sin(LANE[name](x * x) * x), reduce="sum")(weights, x)

    fp.check_grads(loss, (x,), order=2)
    hessian = fp.hessian(loss)(x)
    numerical = np.array([fp.numerical_grad(lambda x, i=i: fp.grad(loss)(x)[i], (x,))[0] for i in range(6)])
    np.testing.assert_allclose(hessian, numerical, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fp.compile(fp.hessian(loss))(x), hessian, rtol=1e-10, atol=1e-12)
    direction = points(6, 2)
    assert fp.jvp(loss, (x,), (direction,))[1] == pytest.approx(float(fp.grad(loss)(x) @ direction), rel=1e-10)
    compiled = fp.compile(lambda x, t: fp.jvp(loss, (x,), (t,))[1])
    assert compiled(x, direction) == pytest.approx(float(fp.grad(loss)(x) @ direction), rel=1e-10)


def test_reductions_of_reductions():
    x = points(9)

    def body(x):
        for _ in range(3):
            x = fp.exp(x - fp.lane_max(x))
            x = x / fp.lane_sum(x)
        return x

    expected = x
    for _ in range(3):
        expected = np.exp(expected - expected.max())
        expected = expected / expected.sum()
    for front, f in fronts(body).items():
        np.testing.assert_allclose(f(x), expected, rtol=1e-13, err_msg=front)


def test_the_innermost_vmap_is_meant():
    x = points((4, 5))

    def outer(row):
        inner = fp.vmap(lambda x: x - fp.lane_mean(x))(row)
        return inner * fp.lane_sum(fp.sum(row * row))

    expected = (x - x.mean(axis=1, keepdims=True)) * np.sum(x * x)
    for front, f in fronts(outer).items():
        np.testing.assert_allclose(f(x), expected, rtol=1e-12, atol=1e-13, err_msg=front)
    loss = fp.value_and_grad(lambda x: fp.sum(fp.square(fp.vmap(outer)(x))))
    numerical = fp.numerical_grad(lambda x: float(loss(x)[0]), (x,))[0]
    for step in (loss, fp.compile(loss)):
        np.testing.assert_allclose(step(x)[1], numerical, rtol=1e-5, atol=1e-5)


def test_beside_branches_and_random_numbers():
    x = points(12)

    def body(x):
        y = x + 0.1 * fp.random.normal(3)
        y = y * y if y > 0.0 else -y
        mean = fp.lane_mean(y)
        return y - mean if y > mean else 2.0 * (y - mean)

    y = x + 0.1 * np.array([fp.random.normal(fp.random.fold_in(3, lane)) for lane in range(12)])
    y = np.where(y > 0.0, y * y, -y)
    expected = np.where(y > y.mean(), 1.0, 2.0) * (y - y.mean())
    for front, f in fronts(body).items():
        np.testing.assert_allclose(f(x), expected, rtol=1e-12, atol=1e-13, err_msg=front)
    compiled = fp.compile(fp.vmap(body))
    compiled(np.abs(x))
    np.testing.assert_allclose(compiled(x), expected, rtol=1e-12, atol=1e-13)


def test_nested_maps_that_branch():
    x = points((3, 4))

    def inner(x):
        y = fp.exp(x) if x > 0.0 else x * x
        return y / fp.lane_sum(y)

    def outer(row):
        shares = fp.vmap(inner)(row)
        total = fp.lane_mean(row[0])
        return shares * total if total > row[1] else shares

    y = np.where(x > 0.0, np.exp(x), x * x)
    shares = y / y.sum(axis=1, keepdims=True)
    expected = np.where(x[:, :1].mean() > x[:, 1:2], x[:, :1].mean(), 1.0) * shares
    for front, f in fronts(outer).items():
        np.testing.assert_allclose(f(x), expected, rtol=1e-12, err_msg=front)


def test_compiled_bodies_are_part_of_the_map():
    x = points(7)
    body = fp.compile(lambda x: x - fp.lane_mean(x) + fp.random.uniform(2))
    noise = [fp.random.uniform(fp.random.fold_in(2, lane)) for lane in range(7)]
    for front, f in fronts(body).items():
        np.testing.assert_allclose(f(x), x - x.mean() + noise, rtol=1e-12, atol=1e-13, err_msg=front)


def test_threads_do_not_matter():
    x = points(20_000)
    step = fp.compile(fp.value_and_grad(fp.vmap(lambda x: fp.tanh(x - fp.lane_mean(x)) / fp.lane_max(x), reduce="sum")))
    before, found = fp.get_num_threads(), []
    try:
        for threads in (1, 2):
            fp.set_num_threads(threads)
            found.append(step(x))
    finally:
        fp.set_num_threads(before)
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


# Work -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_stages_are_as_many_as_reductions(count):
    calls = 0

    def body(x):
        nonlocal calls
        calls += 1
        for _ in range(count):
            x = x - fp.lane_mean(x)
        return x

    compiled = fp.compile(fp.vmap(body))
    compiled(points(50))
    assert calls <= 2 * count + 1  # each reduction is found, and then stopped at
    compiled(points(50))
    assert calls <= 2 * count + 1


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCTIONS)
def test_outside_of_any_vmap(name):
    text = rf"lane_{name} works across the lanes of the vmap around it, and there is none; use fp.{name}"
    for call in (LANE[name], fp.compile(LANE[name]), fp.grad(LANE[name]), lambda x: fp.trace(LANE[name], x)):
        with pytest.raises(ValueError, match=text):
            call(1.0)
    fp.vmap(lambda x: x - LANE[name](x))(points(3))
    with pytest.raises(ValueError, match=text):
        LANE[name](fp.Unit(1.0))


UNEVEN = {
    "some": lambda x: x - fp.lane_sum(x) if x > 0.0 else x,
    "others": lambda x: x if x > 0.0 else x - fp.lane_sum(x),
    "kinds": lambda x: fp.lane_sum(x) if x > 0.0 else fp.lane_mean(x),
    "places": lambda x: fp.lane_sum(x) if x > 0.0 else fp.lane_sum(-x),
    "more": lambda x: x + fp.lane_sum(x) + (fp.lane_sum(x) if x > 0.0 else 0.0),
}


@pytest.mark.parametrize("body", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("x", [[1.0, -1.0], [-1.0, 1.0]])
def test_lanes_that_do_not_come_by(body, x):
    for f in fronts(body).values():
        with pytest.raises(
            ValueError, match=r"some lanes come by lane_\w+ at .*test_lane_reductions.py:\d+ and others"
        ):
            f(np.array(x))
    later = fp.compile(fp.vmap(body))
    later(np.abs(x))
    with pytest.raises(ValueError, match="some lanes come by"):
        later(np.array(x))
    np.testing.assert_array_equal(later(np.abs(x)), fp.vmap(body)(np.abs(x)))


def test_a_derivative_of_each_lane():
    def body(x):
        return fp.square(x - fp.lane_mean(x))

    for f in (fp.grad(body), lambda x: fp.grad(body)(x) * 1.0, lambda x: fp.jvp(body, (x,), (1.0,))[1]):
        for front in fronts(f).values():
            with pytest.raises(ValueError, match=r"in a derivative that each lane of .* takes for itself"):
                front(points(3))


@pytest.mark.parametrize("given", ["x", None, 1j, {"a": 1.0}, np.array(["a"])])
def test_what_is_no_number(given):
    for f in fronts(lambda x: x + fp.lane_sum(given)).values():
        with pytest.raises(TypeError, match="lane_sum: operand 0"):
            f(points(3))


def test_users_handlers_do_not_catch_a_stage():
    def body(x):
        try:
            return x - fp.lane_sum(x + 0.0 * fp.random.uniform(1))
        except Exception:
            return 0.0

    for f in fronts(body).values():
        np.testing.assert_allclose(f(np.array([1.0, 2.0])), [-2.0, -1.0])


def test_errors_of_the_body_come_through():
    def body(x):
        fp.lane_sum(x)
        raise KeyError("mine")

    for f in fronts(body).values():
        with pytest.raises(KeyError, match="mine"):
            f(points(3))
    with pytest.raises(ValueError, match="there is none"):
        fp.lane_sum(1.0)


# Sums of what a map makes ---------------------------------------------------------------------------------------------


def piecewise(w, x):
    return fp.exp(-w * x) if x > 0.5 else w * x if x > -0.5 else fp.sin(w + x)


OF_A_MAP = {
    "sum": lambda w, x: fp.sum(fp.vmap(lambda x: fp.tanh(w * x))(x)),
    "mean": lambda w, x: fp.mean(fp.vmap(piecewise, in_axes=(None, 0))(w, x)),
    "method": lambda w, x: fp.vmap(lambda x: fp.tanh(w * x))(x).mean() * w,
    "by hand": lambda w, x: fp.mean((fp.vmap(lambda x: fp.tanh(w * x))(x) - x) ** 2),
    "both": lambda w, x: (lambda y: fp.sum(y) * fp.mean(y))(fp.vmap(piecewise, in_axes=(None, 0))(w, x)),
    "and its numbers": lambda w, x: (lambda y: fp.mean(y) + y[0] * y[-1])(fp.vmap(piecewise, in_axes=(None, 0))(w, x)),
    "rows": lambda w, x: fp.sum(fp.vmap(lambda x: fp.stack([x, w, w * x]))(x)),
    "integers": lambda w, x: fp.sum(fp.vmap(lambda k: k * 2)(np.arange(len(x)))) * w,
    "truth": lambda w, x: fp.sum(fp.vmap(lambda x: x > 0.0)(x)) * w,
}  # fmt: skip


@pytest.mark.parametrize("lanes", [1, 4, 300])
@pytest.mark.parametrize("name", OF_A_MAP)
def test_sums_of_what_a_map_makes(name, lanes):
    f, x = OF_A_MAP[name], points(lanes, 3)
    for derivative in (
        f, fp.value_and_grad(f, (0, 1)), fp.grad(fp.grad(f)), lambda w, x: fp.jvp(f, (w, x), (1.0, x)),
        lambda w, x: (f(w, x), fp.vmap(lambda x: fp.tanh(w * x))(x)),
        lambda w, x: fp.vmap(lambda w: f(w, x))(np.array([0.5, -1.0]) * w),
        lambda w, x: fp.scan(lambda w, y: (w - 0.1 * fp.grad(f)(w, x), y), w, x[:2]),
    ):  # fmt: skip
        with fp.eager():
            expected = derivative(0.7, x)
        compiled = fp.compile(derivative)
        for _ in range(2):
            same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)  # noqa: E731
            fp.tree_map(same, compiled(0.7, x), expected)
        with fp.eager():
            expected = derivative(-0.3, -2.0 * x)
        fp.tree_map(same, compiled(-0.3, -2.0 * x), expected)  # other lanes take other ways


@pytest.mark.parametrize("name", ["sum", "mean", "method", "by hand"])
def test_a_map_adds_up_itself_what_is_only_added_up(name):
    compiled = fp.compile(fp.value_and_grad(OF_A_MAP[name]))
    compiled(0.7, points(40))
    draft = compiled.circuits()[0]._plan.draft
    assert [region.summed for region in draft.payload.values()][-1]
    assert not any(region.name == "positive" for region in draft.payload.values())
