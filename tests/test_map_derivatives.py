"""Derivatives of maps inside of traced functions: the same numbers as eagerly, and lanes at every order."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastprop as fp
from fastprop.handles.nesting import flatten

X = np.linspace(-2.0, 2.0, 3) + 0.1
Y = np.linspace(0.5, 1.0, 2)


def plain(result):
    """The leaves of a result as arrays."""
    return [np.asarray(x.value if isinstance(x, (fp.Unit, fp.Array)) else x) for x in flatten(result)[0]]


def squares(result):
    """A number that depends on every number of a result."""
    return sum(fp.sum(x * x) if np.shape(x) else x * x for x in flatten(result)[0])


def stacked(w, x):
    return fp.vmap(lambda a: fp.sin(w * a) * a)(x)


def summed(w, x):
    return fp.vmap(lambda a: fp.sin(w * a) * a, reduce="sum")(x)


def several_means(w, x):
    return sum(fp.vmap(lambda a: (fp.sin(w * a), a * a * w), reduce="mean")(x))


def logarithm_of_a_mean(w, x):
    return fp.log(stacked(w, x).mean() ** 2 + 1.0)


def in_sequence(w, x):
    a = fp.vmap(lambda y: fp.tanh(w * y) + y)(x)
    mean = a.mean()
    b = fp.vmap(lambda z, y: (z - mean) ** 2 * y)(a, x)
    return b.sum() * w + b[0]


def computed_outside(w, x):
    return fp.vmap(lambda a: fp.exp(w) * a * fp.sin(w * w), reduce="sum")(x)


def nested(w, x):
    return fp.vmap(lambda a: fp.vmap(lambda b: fp.sin(a * b * w), reduce="sum")(x))(x).sum()


def nested_maximum(w, x):
    return fp.vmap(lambda a: fp.vmap(lambda b: fp.sin(a * b * w))(Y).max() * a, reduce="mean")(x)


def branching(w, x):
    return fp.vmap(lambda a: w * a * a if a > 0.0 else fp.exp(a * w))(x).sum()


def deciding_outside(w, x):
    def body(a):
        return fp.vmap(lambda b: a * b * w * w if w > 0.3 else b, reduce="sum")(x) * fp.where(w > 1.0, 2.0, w)

    return fp.vmap(body)(x).sum() + fp.vmap(lambda a: a * w * w if w > 0.1 else a, reduce="sum")(x)


def rows(w, x):
    made = fp.vmap(lambda a: fp.Array([a, a * a * w]))(x)
    return fp.vmap(lambda r: r[0] * r[1] * w + (r * r).sum(), reduce="sum")(made)


def other_axis(w, x):
    return fp.vmap(lambda c: c[0] * c[1] ** 2 * w, in_axes=1, reduce="sum")(fp.Array([x, x * x]))


def the_same_in_all_lanes(w, x):
    made = fp.vmap(lambda a: a * a * w)(x)
    return fp.vmap(
        lambda a, v: (v * v).sum() * a + fp.vmap(lambda q: q * a * a, reduce="sum")(v), (0, None), "sum"
    )(Y, made)  # fmt: skip


def branching_rows(w, x):
    return fp.vmap(lambda r: r[0] * r[1] * r[1] * w if r[0] > 0.0 else r.sum() * w * w)(fp.stack([x, x * x], 1)).sum()


def branching_around_a_map(w, x):
    def body(r):
        scale = 2.0 * w if r[0] > 0.0 else w * w
        return fp.vmap(lambda a: a * a * w if a > 0.5 else a, reduce="sum")(r) * scale

    return fp.vmap(body)(fp.stack([x, x * x], 1)).sum()


def rebound(w, x):
    """A loop, in which each map uses what the one before it gave, by the same name."""
    y = w
    for k in range(3):

        def step(a):
            return fp.sin(a * y) + k * a  # noqa: B023 (on purpose)

        y = fp.vmap(lambda a: step(a) * w, reduce="mean")(x)
    return y


FUNCTIONS = [
    summed, several_means, logarithm_of_a_mean, in_sequence, computed_outside, nested, nested_maximum, branching,
    deciding_outside, rows, other_axis, the_same_in_all_lanes,
    branching_rows, branching_around_a_map, rebound,
]  # fmt: skip
TRANSFORMS = {
    "grad": lambda f: lambda w, x: fp.grad(f)(w, x),
    "grad of the lanes": lambda f: lambda w, x: fp.grad(f, 1)(w, x),
    "value_and_grad": lambda f: lambda w, x: fp.value_and_grad(f, (0, 1))(w, x),
    "vjp": lambda f: lambda w, x: fp.vjp(f, w, x)[1](2.0),
    "jvp": lambda f: lambda w, x: fp.jvp(f, (w, x), (w, x)),
    "jvp of one": lambda f: lambda w, x: fp.jvp(lambda w: f(w, x), (w,), (1.0,)),
    "hvp": lambda f: lambda w, x: fp.hvp(f, (w, x), (w, x)),
    "hessian": lambda f: lambda w, x: fp.hessian(f)(w, x),
    "hessian of the lanes": lambda f: lambda w, x: fp.hessian(f, 1)(w, x),
    "grad of grad": lambda f: lambda w, x: fp.grad(lambda w: fp.sum(fp.grad(f, 1)(w, x) ** 2))(w),
    "grad of jvp": lambda f: lambda w, x: fp.grad(lambda w, x: fp.jvp(f, (w, x), (w, x))[1], (0, 1))(w, x),
    "jvp of grad": lambda f: lambda w, x: fp.jvp(fp.grad(f, (0, 1)), (w, x), (w, x)),
    "grad of vmap of grad": lambda f: (
        lambda w, x: fp.grad(lambda w: fp.vmap(lambda u: fp.grad(f)(u * w, x))(Y).sum())(w)
    ),
}


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_recorded_derivatives_are_the_eager_ones(name, f):
    transformed = TRANSFORMS[name](f)
    with fp.eager():
        expected = plain(transformed(0.7, X))
        slopes = fp.grad(lambda w, x: squares(transformed(w, x)), (0, 1))(0.7, X)
    found = fp.compile(lambda w, x: transformed(w, x))(0.7, X)
    for a, b in zip(plain(found), expected, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    compiled = fp.compile(fp.grad(lambda w, x: squares(transformed(w, x)), (0, 1)))
    for a, b in zip(compiled(0.7, X), slopes, strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)


def test_pulls_and_tangents_of_lanes():
    pull = np.arange(1.0, 4.0)
    cosines = X * X * np.cos(0.7 * X)
    by_w, by_x = fp.compile(lambda w, x, p: fp.vjp(stacked, w, x)[1](p))(0.7, X, pull)
    slope = np.sin(0.7 * X) + 0.7 * X * np.cos(0.7 * X)
    assert_allclose(by_w, (pull * cosines).sum(), rtol=1e-12)
    assert_allclose(by_x, pull * slope, rtol=1e-12)
    value, tangent = fp.compile(lambda w, x, t: fp.jvp(stacked, (w, x), (1.0, t)))(0.7, X, pull)
    assert_allclose(value, np.sin(0.7 * X) * X, rtol=1e-12)
    assert_allclose(tangent, cosines + pull * slope, rtol=1e-12)
    jacobian = fp.compile(lambda w, x: fp.jacobian(stacked, (0, 1))(w, x))(0.7, X)
    assert_allclose(jacobian[0], cosines, rtol=1e-12)
    assert_allclose(jacobian[1], np.diag(slope), rtol=1e-12)


def size(plan):
    """How many gates a plan has, with those of the bodies in it."""
    bodies = [region.body.root.plan for region in plan.draft.payload.values() if hasattr(region, "body")]
    return len(plan.draft) + sum(map(size, bodies))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "hessian of the lanes"])
def test_recorded_gates_do_not_grow_with_the_lanes(name):
    for f in (summed, several_means, logarithm_of_a_mean, computed_outside, nested, nested_maximum, rows):
        transformed = TRANSFORMS[name](f)
        sizes = [
            size(fp.trace(lambda w, x, t=transformed: t(w, x), 0.7, np.linspace(-1.0, 1.0, n) + 0.01)._plan)
            for n in (5, 16)
        ]
        assert sizes[0] == sizes[1], f.__name__


def test_derivatives_in_float32_and_of_no_lanes():
    hvp = fp.compile(lambda w, x: fp.hvp(summed, (w, x), (w, x)), dtype="float32")
    wide = fp.compile(lambda w, x: fp.hvp(summed, (w, x), (w, x)))
    for a, b in zip(hvp(0.7, X.astype(np.float32)), wide(0.7, X)):
        assert_allclose(a, b, rtol=1e-4)
    for name in ("grad", "value_and_grad", "jvp", "hvp"):
        for f in (summed, nested, rows):
            transformed = TRANSFORMS[name](f)
            with fp.eager():
                expected = plain(transformed(0.7, np.zeros(0)))
            found = plain(fp.compile(lambda w, x, t=transformed: t(w, x))(0.7, np.zeros(0)))
            for a, b in zip(found, expected, strict=True):
                assert_allclose(a, b)


def test_a_value_from_outside_is_differentiated_inside_of_a_body():
    f = fp.compile(lambda w, x: fp.vmap(lambda a: fp.grad(lambda q: q * q * a)(w))(x))
    for w in (2.0, 3.0):  # no constant of the first call
        assert_allclose(f(w, X), 2.0 * w * X)


def test_gates_of_ones_own():
    class Cube(fp.Gate):
        def forward(self, x):
            return x**3

        def backward(self, pull, x):
            return pull * 3.0 * x * x

    def f(w, x):
        return fp.vmap(lambda a: Cube()(a * w), reduce="sum")(x)

    assert_allclose(fp.compile(lambda w, x: fp.grad(f)(w, x))(0.7, X), 3 * 0.49 * (X**3).sum(), rtol=1e-12)
    assert_allclose(fp.compile(lambda w, x: fp.hessian(f)(w, x))(0.7, X), 6 * 0.7 * (X**3).sum(), rtol=1e-12)


def test_derivatives_are_those_of_differences():
    f = fp.compile(lambda w, x: fp.grad(nested)(w, x) * fp.jvp(in_sequence, (w, x), (1.0, x))[1])
    slopes = fp.compile(fp.grad(lambda w, x: fp.grad(nested)(w, x) * fp.jvp(in_sequence, (w, x), (1.0, x))[1], (0, 1)))
    for found, expected in zip(slopes(0.7, X), fp.numerical_grad(f, (0.7, X))):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


UNREACHED = {
    "an item": lambda x: x[0] * x[0],
    "none": lambda x: 3.0,
    "some": lambda x: fp.sum(x[1:]) * x[2],
    "by a map": lambda x: fp.sum(fp.vmap(lambda y: y * y)(x[:2])),
}


@pytest.mark.parametrize("name", UNREACHED)
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("how", ["grad", "value_and_grad"])
def test_mapped_gradients_are_zeros_where_nothing_reaches(name, depth, how):
    f = UNREACHED[name]
    x = np.random.default_rng(0).normal(size=(2,) * depth + (3,))
    mapped = getattr(fp, how)(f)
    for _ in range(depth):
        mapped = fp.vmap(mapped)
    expected = np.array([fp.grad(f)(row) for row in x.reshape(-1, 3)]).reshape(x.shape)
    for call in (mapped, fp.compile(mapped)):
        junk = [np.full(x.shape, 7.25) for _ in range(50)]  # which memory has had for a while
        del junk
        found = call(x)
        np.testing.assert_allclose(found if how == "grad" else found[1], expected, rtol=1e-14)


# Integers among what is mapped ----------------------------------------------------------------------------------------

AT = np.array([0, 2, 2])
CHOSEN = {
    "mapped": lambda x: fp.vmap(lambda i: x[i] ** 3, reduce="sum")(AT),
    "in rows": lambda x: fp.sum(fp.vmap(lambda i: x[i] ** 3)(AT)),
    "taken": lambda x: fp.vmap(lambda i: fp.take(x, i) ** 3 * (i // 2), reduce="sum")(AT),
    "the same in all lanes": lambda x: fp.vmap(lambda k, i: fp.sum(x[i] * k) ** 3, (0, None), reduce="sum")(x, AT),
    "one number": lambda x: fp.vmap(lambda k, i: x[i] ** 3 * k, (0, None), reduce="sum")(x, np.int64(1)),
    "by keyword": lambda x: fp.vmap(lambda k, *, i: x[i] ** 3 * k, reduce="sum")(x, i=AT),
    "in a map inside": lambda x: fp.vmap(lambda k: fp.vmap(lambda i: x[i] ** 3 * k, reduce="sum")(AT), reduce="sum")(x),
    "labels": lambda x: fp.vmap(lambda k, i: fp.nn.cross_entropy(x * k, i), reduce="mean")(
        np.array([1.0, 2.0, 0.5]), AT
    ),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_constant_integers_stay_such_in_second_derivatives(case):
    f, x = CHOSEN[case], np.array([1.0, 2.0, 3.0])
    with fp.eager():
        expected = fp.hessian(f)(x)
    assert_allclose(fp.compile(fp.hessian(f))(x), expected, rtol=1e-12, atol=1e-12)
    assert_allclose(fp.compile(fp.vmap(fp.hessian(f)))(np.stack([x, x]))[1], expected, rtol=1e-12, atol=1e-12)
    forward = fp.compile(lambda x, t: fp.jvp(lambda x: fp.jvp(f, (x,), (t,))[1], (x,), (t,))[1])
    for t in np.eye(3):
        assert_allclose(forward(x, t), t @ expected @ t, rtol=1e-12, atol=1e-12)
