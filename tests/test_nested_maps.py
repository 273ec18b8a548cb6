"""Maps inside of maps, and what maps make taken apart: against the same functions recorded gate by gate."""

import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.handles.nesting import flatten, map_leaves
from programs import seeds

X = np.linspace(-2.0, 2.0, 5) + 0.1
Y = np.linspace(0.5, 1.0, 4)
M = np.arange(25.0).reshape(5, 5) / 7.0


def plain(result):
    """The leaves of a result as arrays."""
    return [np.asarray(x.value if isinstance(x, (fp.Unit, fp.Array)) else x) for x in flatten(result)[0]]


def one_number(result):
    """A number that depends on every number of a result."""
    total = 0.0
    for k, leaf in enumerate(flatten(result)[0]):
        term = leaf * leaf * 0.5 + leaf
        total = total + (k + 1.0) * (fp.sum(term) if np.shape(leaf) else term)
    return total


def same(found, expected, rtol=1e-11):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert_allclose(a, b, rtol=rtol, atol=rtol * (1.0 + np.abs(b).max(initial=0.0)))


def check(f, *args, rtol=1e-11, dtype=None):
    """Values and gradients, compiled, against what the eager engine records lane by lane."""
    argnums = tuple(range(len(args)))

    def reduced(*args):
        return one_number(f(*args))

    with fp.eager():
        value = plain(f(*args))
        total, slopes = fp.value_and_grad(reduced, argnums)(*args)
    given = [np.asarray(x, dtype) if np.ndim(x) else x for x in args]
    same(plain(fp.compile(f, dtype=dtype)(*given)), value, rtol)
    found, by = fp.compile(fp.value_and_grad(reduced, argnums), dtype=dtype)(*given)
    same([found, *by], [total, *slopes], rtol)


# Lanes taken apart

USES = [
    lambda h: h[0],
    lambda h: h[1:3],
    lambda h: h[-1] * h.sum(),
    lambda h: h.max(),
    lambda h: h.min(),
    list,
    lambda h: [x * x for x in h],
    lambda h: h @ h,
    lambda h: M @ h,
    lambda h: h * M,
    lambda h: M + h,
    lambda h: h.reshape(5, 1) * h,
    lambda h: fp.where(h > 0, h, 0.5),
    lambda h: fp.logsumexp(h),
    lambda h: h.prod(),
    lambda h: fp.vmap(lambda a: a * a)(h)[2],
    lambda h: fp.Array([h, h]).sum(0),
    lambda h: h[::-1] - h,
    lambda h: h.sum() if h[0] > 0 else h[1],
]


@pytest.mark.parametrize("row", range(len(USES)))
def test_lanes_taken_apart(row):
    def f(x):
        return USES[row](fp.vmap(lambda y: y * y * 1.5 - x[0])(x))

    check(f, X)
    same(plain(fp.trace(f, X * 1.01)(X)), plain(fp.compile(f)(X)))


def test_lanes_of_blocks_taken_apart():
    def rows(x):
        return fp.vmap(lambda a: fp.Array([a, a * a, 1.0]))(x)

    for use in (lambda h: h[1], lambda h: h[:, 2], lambda h: h.sum(1), lambda h: h * np.array([1.0, 2.0, 3.0]),
                lambda h: h.T @ h, lambda h: h.max(0), lambda h: h * np.arange(5.0).reshape(5, 1)):  # fmt: skip
        check(lambda x, use=use: use(rows(x)), X)


def test_lanes_are_taken_apart_once():
    def f(x, times):
        h = fp.vmap(lambda y: y * y)(x)
        return sum((h[i % 5] for i in range(times)), 0.0)

    sizes = [len(fp.trace(lambda x, times=times: f(x, times), X)) for times in (5, 10, 20)]
    assert sizes[1] - sizes[0] <= 5
    assert sizes[2] - sizes[1] <= 10
    with pytest.raises(TypeError, match="traced"):
        fp.compile(lambda x: fp.vmap(lambda y: y * y)(x).value)(X)


# Maps inside of maps


def number(x):
    return fp.sum(x) if np.shape(x) else x


BODIES = [
    lambda w, a, b: fp.tanh(number(a) * w) + number(b) * w,
    lambda w, a, b: (number(a) * number(b), fp.exp(w * 0.3) * number(a)),
    lambda w, a, b: fp.where(number(a) > 0.1, number(b) * w, number(a) ** 2),
    lambda w, a, b: fp.Array([number(a), number(b) * w]) * fp.sin(w),
    lambda w, a, b: {"q": number(a) * fp.maximum(number(b), w)},
    lambda w, a, b: number(a),
]


def nested(rng, depth):
    """A function of w, a and b that is `depth` maps, and arguments for it."""
    f = BODIES[rng.integers(len(BODIES))]
    shapes = [[], rng.integers(1, 3, rng.integers(2)).tolist(), rng.integers(1, 3, rng.integers(2)).tolist()]
    for d in range(depth):
        lanes = int(rng.choice([0, 1, 2, 3] if d < depth - 1 else [1, 2, 3, 4, 70]))
        mapped = rng.integers(0, 2, 3)
        mapped[rng.integers(3)] = 1
        axes = [int(rng.integers(len(shape) + 1)) if used else None for used, shape in zip(mapped, shapes)]
        for axis, shape in zip(axes, shapes):
            if axis is not None:
                shape.insert(axis, lanes)
        f = wrapped(f, tuple(axes), [None, "sum", "mean", None][rng.integers(4)], rng.integers(3))
    return f, [rng.normal(size=shape) if shape else float(rng.normal()) for shape in shapes]


def wrapped(f, axes, reduce, style):
    if style == 0:
        return fp.vmap(f, axes, reduce)

    def captures(w, a, b):
        k = number(a) * 0.1 + 1.0
        return fp.vmap(lambda *lane: map_leaves(lambda x: x * k, f(*lane)), axes, reduce)(w, a, b)

    def uses_what_it_makes(w, a, b):
        result = fp.vmap(f, axes, reduce)(w, a, b)
        return result, one_number(result) * 0.5

    return captures if style == 1 else uses_what_it_makes


@pytest.mark.parametrize("seed", [*seeds(30, 150), pytest.param(41, id="no lanes in lanes")])
def test_random_nestings(seed):
    rng = np.random.default_rng(seed)
    f, args = nested(rng, 1 + seed % 3)
    check(f, *args)


@pytest.mark.parametrize("seed", seeds(6, 24))
def test_random_nestings_in_float32(seed):
    rng = np.random.default_rng(1000 + seed)
    f, args = nested(rng, 1 + seed % 3)
    check(f, *args, rtol=1e-3, dtype=np.float32)


def test_gradients_are_those_of_differences():
    def f(w, x, y):
        a = fp.vmap(lambda u: fp.vmap(lambda v: fp.sin(u * v * w))(y))(x)
        return fp.log(fp.vmap(lambda row: fp.vmap(lambda e: e * e, reduce="mean")(row) * w)(a).sum())

    slopes = fp.compile(fp.grad(f, (0, 1, 2)))(0.7, X, Y)
    same(slopes, fp.numerical_grad(f, (0.7, X, Y)), 1e-6)


def test_what_inner_bodies_capture():
    leaf, block, table = fp.Unit(2.0), fp.Array([3.0, 5.0]), np.array([7.0, 11.0, 13.0])

    def f(w, x, y):
        inner = fp.exp(w)
        made = fp.vmap(lambda t: t * t * w)(y)

        def body(x):
            k = x * inner
            s = fp.vmap(lambda b: b * k * leaf, reduce="sum")(block) + fp.vmap(lambda c: c * k + block[0])(table).max()
            s = s + fp.vmap(lambda u, v: u * v * x * w + block[1])(made, y).sum()
            return s + fp.vmap(lambda v: v * x, reduce="mean")(y)

        return fp.vmap(body)(x)

    circuit = fp.trace(lambda *args: one_number(f(*args)), 0.1, X * 1.1, Y)
    for value, values in ((2.0, [3.0, 5.0]), (-1.5, [1.0, 2.0])):
        leaf.value, block.value = value, values
        check(f, 0.3, X, Y)
        found = []
        for way in ("circuit", "eager"):
            leaf.grad, block.grad = 0.0, [0.0, 0.0]
            if way == "circuit":
                circuit.forward(0.3, X, Y).backward()
            else:
                with fp.eager():
                    one_number(f(fp.Unit(0.3), fp.Array(X), fp.Array(Y))).backward()
            found.append([leaf.grad, np.array(block.grad)])
        same(*found)


def test_gates_of_ones_own_in_an_inner_body():
    class Cube(fp.Gate):
        def forward(self, x):
            return x**3

        def backward(self, pull, x):
            return pull * 3.0 * x * x

    check(lambda x, y: fp.vmap(lambda a: fp.vmap(lambda b: Cube()(a * b), reduce="sum")(y))(x), X, Y)


def test_maps_of_gradients_inside_of_maps():
    per_pair = fp.vmap(fp.vmap(fp.grad(lambda x, y: fp.sin(x * y)), (None, 0)), (0, None))
    same([fp.compile(per_pair)(X, Y)], [Y * np.cos(X[:, None] * Y)], 1e-12)

    def sums(x):
        return fp.vmap(lambda y: fp.sin(x[0] * y) * x[1], reduce="sum")(Y)

    points = np.stack([X, X + 1.0], 1)
    found = fp.vmap(fp.grad(sums))(points)
    expected = [(Y * np.cos(X[:, None] * Y)).sum(1) * (X + 1.0), np.sin(X[:, None] * Y).sum(1)]
    same([found], [np.stack(expected, 1)], 1e-12)
    whole = fp.vmap(fp.value_and_grad(lambda x: fp.vmap(lambda y: y**3, reduce="sum")(x) * x[0]))
    value, slope = whole(points)
    cubes = (points**3).sum(1)
    by = 3 * points**2 * points[:, :1]
    by[:, 0] += cubes
    same([value, slope], [cubes * X, by], 1e-12)


def test_branches_in_inner_and_outer_bodies():
    check(lambda x, y: fp.vmap(lambda a: fp.vmap(lambda b: a * b if b > 0.7 else a - b)(y))(x), X, Y)
    check(
        lambda x, y: fp.vmap(lambda a: fp.vmap(lambda b: a * b)(y) if a > 0 else fp.vmap(lambda b: a + b)(y))(x), X, Y
    )
    check(lambda x, y: fp.vmap(lambda a: a if fp.vmap(lambda b: a * b)(y).sum() > 1.0 else -a * a)(x), X, Y)


@pytest.mark.parametrize("reduce", [fp.sum, fp.mean, fp.max, fp.min])
def test_an_inner_body_decides_by_a_matrix_that_a_map_made_around_it(reduce):
    def f(w):
        made = fp.vmap(lambda row: fp.sin(row))(w)
        return fp.vmap(lambda s: s if reduce(made) > 0.1 else 2.0 * s)(w[0])

    check(lambda w: fp.vmap(f)(w), np.stack([M, -M, 0.5 * M])[:, :2, :3])


def test_recording_does_not_grow_with_the_lanes():
    def f(x, y):
        return fp.vmap(lambda a: fp.vmap(lambda b: fp.tanh(a * b) * a, reduce="sum")(y))(x)

    def size(plan):
        return len(plan.draft) + sum(size(region.body.root.plan) for region in plan.draft.payload.values())

    sizes = {size(fp.trace(f, np.ones(n), np.ones(m))._plan) for n in (10, 20, 40) for m in (10, 20, 40)}
    assert len(sizes) == 1


def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, y, table = rng.normal(size=(3000, 3)), rng.normal(size=7), rng.normal(size=(4, 5))

    def f(w, x, y, table):
        made = fp.vmap(lambda row: fp.vmap(lambda t: t * w, reduce="sum")(row))(table)
        return fp.vmap(
            lambda a: (fp.vmap(lambda b, c: fp.tanh(b * c) * w, (0, None), "sum")(y, a[0])
                       + fp.vmap(lambda s: fp.exp(s * 0.1) * a[1], reduce="sum")(a)
                       + fp.vmap(lambda m: m * a[2] * a[2], reduce="mean")(made)),
            reduce="mean",
        )(x)  # fmt: skip

    found = []
    for threads in (1, 2, 3):
        fp.set_num_threads(threads)
        value, slopes = fp.compile(fp.value_and_grad(f, (0, 1, 2, 3)))(0.4, x, y, table)
        found.append([value, *slopes])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            assert_array_equal(a, b)
    with fp.eager():
        value, slopes = fp.value_and_grad(f, (0, 1, 2, 3))(0.4, x[:40], y, table)
    again, by = fp.compile(fp.value_and_grad(f, (0, 1, 2, 3)))(0.4, x[:40], y, table)
    same([again, *by], [value, *slopes])


def test_an_exception_in_an_inner_body_and_the_same_call_again():
    class Picky(fp.Gate):
        wrong = True

        def forward(self, x):
            if self.wrong and x > 1.5:
                raise ArithmeticError("too large")
            return 2.0 * x

        def backward(self, pull, x):
            return 2.0 * pull

    gate = Picky()
    f = fp.compile(
        fp.value_and_grad(lambda x, y: fp.vmap(lambda a: fp.vmap(lambda b: gate(a * b), reduce="sum")(y))(x).sum())
    )
    with pytest.raises(ArithmeticError, match="too large"):
        f(X, Y)
    gate.wrong = False
    value, slope = f(X, Y)
    same([value, slope], [2.0 * X.sum() * Y.sum(), np.full(5, 2.0 * Y.sum())])


def test_the_interpreter_runs_on_while_inner_lanes_do():
    f = fp.compile(lambda x, y: fp.vmap(lambda a: fp.vmap(lambda b: fp.sin(a * b), reduce="sum")(y))(x))
    x, y = np.linspace(0.0, 1.0, 64), np.linspace(0.0, 1.0, 200_000)
    f(x, y[:10])
    turns, ended = [], threading.Event()

    def count():
        while not ended.is_set():
            turns.append(len(turns))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = len(turns)
        found = f(x, y)
        after = len(turns)
    finally:
        ended.set()
        thread.join()
    assert after - before > 1000
    assert_allclose(found[-1], np.sin(y).sum(), rtol=1e-9)


def test_ctrl_c_ends_inner_lanes_and_the_same_call_works_again():
    x, y = np.linspace(0.0, 1.0, 64), np.linspace(0.0, 1.0, 100_000)
    f = fp.compile(
        lambda x, y: fp.vmap(
            lambda a: fp.vmap(lambda b: fp.vmap(lambda c: fp.sin(a * b * c), reduce="sum")(y), reduce="sum")(y)
        )(x)
    )
    few = f(x, y[:3])
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        f(x, y)  # which would take minutes
    timer.join()
    assert_array_equal(f(x, y[:3]), few)


LATE = {  # what a path that is first taken later uses of an array that a map made
    "sum": lambda t, y: t * fp.sum(y),
    "number": lambda t, y: t * y[0],
    "largest": lambda t, y: t * fp.max(y),
    "map": lambda t, y: fp.vmap(lambda s: s * t, reduce="sum")(y),
    "branching map": lambda t, y: fp.vmap(lambda s: s * t if s > t else t, reduce="sum")(y),
}


@pytest.mark.parametrize("use", LATE.values(), ids=LATE)
def test_a_later_path_uses_an_array_from_outside(use):
    def f(x):
        y = fp.vmap(lambda t: t * t)(x)
        return fp.vmap(lambda t: use(t, y) if t > 0.0 else t)(x)

    def loss(x):
        return fp.sum(fp.square(f(x)))

    x = np.array([-1.0, -2.0, -0.5])
    for g in (f, fp.value_and_grad(loss), fp.grad(lambda x: fp.sum(fp.square(fp.grad(loss)(x))))):
        compiled = fp.compile(g)
        for signs in (1.0, -1.0, [1.0, -1.0, 1.0], [-2.0, -1.0, 1.0]):
            with fp.eager():
                expected = g(x * signs)
            same(plain(compiled(x * signs)), plain(expected))


def test_a_later_path_finds_the_variables_of_its_time():
    def f(x):
        y = x[0]
        for k in range(1, 4):
            x = fp.vmap(lambda t: t * k + y if t > 0.0 else t - k)(x)  # noqa: B023 (on purpose)
            y = x[1] * k
        return x

    def last(x):
        for k in range(1, 4):
            x = fp.vmap(lambda t: t * k if t > 0.0 else t)(x)  # noqa: B023
        return x

    x = np.array([-1.0, -2.0, -0.5])
    for g in (f, last, fp.value_and_grad(lambda x: fp.sum(fp.square(f(x))))):
        compiled = fp.compile(g)
        for signs in (1.0, -1.0, [1.0, -4.0, 1.0], [-2.0, -1.0, 1.0], 3.0):
            with fp.eager():
                expected = g(x * signs)
            same(plain(compiled(x * signs)), plain(expected))


def test_a_function_that_calls_itself_and_one_that_is_not_bound_yet():
    def power(t, n):
        return 1.0 if n == 0 else t * power(t, n - 1)

    def later(t):
        return power(t, 3) + (unbound(t) if False else 0.0)

    found = fp.compile(fp.grad(lambda x: fp.sum(fp.grad(lambda x: fp.sum(fp.vmap(later)(x)))(x))))(X)
    assert_allclose(found, 6.0 * X)
    unbound = None
    assert unbound is None


def test_an_array_that_outlives_its_function():
    kept = []
    fp.compile(lambda x: kept.append(fp.vmap(lambda t: t * t)(x)) or 0.0)(X)
    with pytest.raises(ValueError, match="a traced array is used where the function that computed it has returned"):
        kept[0][0]


TRUTHS = {
    "map": lambda t: fp.vmap(lambda r, c: r * 2.0 + c)(t, t > 0.0),
    "of rows": lambda t: fp.vmap(lambda r, c: fp.sum(c * r), in_axes=(0, None))(t, t > 0.0),
    "turned": lambda t: fp.vmap(lambda r, c: fp.where(c > 0.5, r, -r))(t, ~(t > 0.0)),
    "in a map": lambda t: fp.vmap(lambda r: fp.sum(fp.vmap(lambda u, c: u * r + c)(t, t > r)))(t),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_truth_values_of_a_trace_are_what_its_maps_are_given(case):
    f = TRUTHS[case]
    rows = np.array([[1.5, -0.5, 0.3], [-1.5, 0.5, -0.3]])
    expected = [by_loops(case, row) for row in rows]
    for found in (fp.vmap(f)(rows), fp.compile(fp.vmap(f))(rows), [fp.compile(f)(row) for row in rows]):
        assert_allclose(np.asarray(found), expected, rtol=1e-12)


def by_loops(case, t):
    """The same in NumPy."""
    if case == "map":
        return t * 2.0 + (t > 0.0)
    if case == "of rows":
        return t * np.sum(t > 0.0)
    if case == "turned":
        return np.where(t > 0.0, -t, t)
    return np.array([np.sum(t * r + (t > r)) for r in t])
