"""Arrays of truth values among arguments: masks, which are truth values in whatever is compiled, mapped or scanned."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp

X, MASK = np.array([1.0, -2.0, 3.0]), np.array([True, False, True])
LANES = np.stack([2.0 * X, X]), np.stack([~MASK, MASK])

USES = {
    "chooses": lambda x, b: fp.sum(fp.where(b, x * x, x)),
    "chooses by NumPy": lambda x, b: np.sum(np.where(~b, x * x, x)),
    "and": lambda x, b: fp.sum(fp.where(b & (x > 0.0), x * x, x)),
    "or, xor": lambda x, b: fp.sum(fp.where((b | (x > 0.0)) ^ b[::-1], x * x, x)),
    "compared": lambda x, b: fp.sum(fp.where(b != (x > 0.0), x * x, fp.where(b == 0, x, 2.0 * x))),
    "a number": lambda x, b: fp.sum((1.0 - b) * x * x + b) * b.sum() * np.mean(b),
    "exists": lambda x, b: fp.where(b.any() & ~np.all(b), x[0] ** 2, x[1]),
    "picks": lambda x, b: fp.sum(x[b] ** 2) + fp.sum(x[~b]),
    "one of them": lambda x, b: fp.where(b[0], x[1] ** 2, x[2]),
    "decides": lambda x, b: x[1] ** 2 if b[1] else x[2] ** 3,
    "turned": lambda x, b: fp.sum(fp.where(b[:, None] & b.reshape(1, 3), x * x, x)),
    "put together": lambda x, b: fp.sum(fp.where(fp.stack([np.concatenate([b[1:], b[:1]]), b]), x * x, x)),
    "in a product": lambda x, b: (b @ x) ** 2,
    "as integers": lambda x, b: fp.sum(x[b.astype(int)] ** 2),
    "as floats": lambda x, b: fp.sum(b.astype(float) * x * x),
    "mapped": lambda x, b: fp.vmap(lambda a, c: fp.where(c, a * a, a), reduce="sum")(x, b),
    "decides in lanes": lambda x, b: fp.vmap(lambda a, c: a * a if c else a**3, reduce="sum")(x, b),
    "the same in all lanes": lambda x, b: fp.vmap(lambda a, c: fp.sum(fp.where(c, a * a, a)), (0, None), "sum")(x, b),
    "captured in lanes": lambda x, b: fp.vmap(lambda a: fp.sum(fp.where(b, a * a * x, a)), reduce="sum")(x),
    "by keyword": lambda x, b: fp.vmap(lambda a, *, m: fp.where(m, a * a, a), reduce="sum")(x, m=b),
    "compared and mapped": lambda x, b: fp.vmap(lambda a, c: fp.where(~c, a * a, a), reduce="sum")(x, x > 0.0),
    "of rows": lambda x, b: fp.vmap(lambda a, c: fp.sum(fp.where(c, a * x, 0.0)) ** 2, reduce="sum")(x, b[:, None] & b),
    "in maps of maps": lambda x, b: fp.vmap(
        lambda a, c: fp.vmap(lambda d, e: fp.where(c & e, a * d * a, a), reduce="sum")(x, b), reduce="sum"
    )(x, b),
    "returned by lanes": lambda x, b: fp.sum(fp.where(fp.vmap(lambda a, c: (a > 0.0) | c)(x, b), x * x, x)),
    "counted in lanes": lambda x, b: fp.vmap(lambda a, c: c, reduce="sum")(x, b) * fp.sum(x * x),
    "counted across lanes": lambda x, b: fp.vmap(lambda a, c: a * a * fp.lane_sum(c), reduce="sum")(x, b),
    "of steps": lambda x, b: fp.scan(lambda c, s: (fp.where(~s[1], c * s[0], c + s[0]), None), x[0], (x, b))[0],
    "kept of steps": lambda x, b: fp.sum(
        fp.where(fp.scan(lambda c, s: (c * s[0], s[1] & (c > 0.0)), x[0], (x, b))[1], x * x, x)
    ),
    "decides steps": lambda x, b: fp.scan(lambda c, s: (c * s[0] if s[1] else c + s[0], None), x[0], (x, b))[0],
    "of no steps": lambda x, b: fp.scan(lambda c, s: (fp.where(s, c, 2.0 * c), s), x[0] ** 2, b[:0])[0],
    "of steps in lanes": lambda x, b: fp.vmap(
        lambda a, c: fp.scan(lambda k, s: (fp.where(s & c, k * a, k + a), None), a, b)[0], reduce="sum"
    )(x, b),
    "in a gradient": lambda x, b: fp.sum(fp.grad(lambda y: fp.sum(fp.where(b, y**3, y)))(x) * x),
    "in gradients of lanes": lambda x, b: fp.sum(fp.vmap(fp.grad(lambda a, c: fp.where(c, a**3, a * a)))(x, b) * x),
    "in a tangent": lambda x, b: fp.jvp(lambda y: fp.sum(fp.where(b, y**3, y)), (x,), (x,))[1],
    "attends": lambda x, b: fp.sum(fp.nn.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], b) ** 2),
    "of losses": lambda x, b: fp.nn.cross_entropy(fp.stack([x, x * x, x]), np.array([0, 1, 2]), mask=b),
}
VALUES = {
    "handles": lambda f: f(fp.Array(X), MASK).value,
    "compiled": lambda f: fp.compile(f)(X, MASK),
    "mapped": lambda f: fp.vmap(f)(*LANES)[1],
    "compiled map": lambda f: fp.compile(fp.vmap(f))(*LANES)[1],
    "the same mask in all lanes": lambda f: fp.compile(fp.vmap(f, (0, None)))(LANES[0], MASK)[1],
    "a constant": lambda f: fp.compile(lambda x: f(x, MASK))(X),
}
GRADIENTS = {
    "compiled": lambda f: fp.compile(fp.grad(f))(X, MASK),
    "traced": lambda f: fp.compile(lambda x, b: fp.grad(f)(x, b))(X, MASK),
    "compiled map": lambda f: fp.compile(fp.vmap(fp.grad(f)))(*LANES)[1],
    "of a map": lambda f: fp.compile(fp.grad(lambda x, b: fp.vmap(f)(x, b)[1]))(*LANES)[1],
    "forward": lambda f: [
        fp.compile(lambda x, b, t=t: fp.jvp(lambda x: f(x, b), (x,), (t,))[1])(X, MASK) for t in np.eye(3)
    ],
}
HESSIANS = {
    "compiled": lambda f: fp.compile(fp.hessian(f))(X, MASK),
    "compiled map": lambda f: fp.compile(fp.vmap(fp.hessian(f)))(*LANES)[1],
    "of a map": lambda f: fp.compile(fp.hessian(lambda x, b: fp.vmap(f)(x, b)[1]))(*LANES)[1, :, 1],
}


@pytest.mark.parametrize("case", USES)
def test_masks_are_truth_values_on_every_front(case):
    """What is compared with is the plain function, and its eager derivatives."""
    f = USES[case]
    with fp.eager():
        value, slope, bend = f(X, MASK), fp.grad(f)(X, MASK), fp.hessian(f)(X, MASK)
    for fronts, expected in ((VALUES, value), (GRADIENTS, slope), (HESSIANS, bend)):
        for name, front in fronts.items():
            if case == "returned by lanes" and name == "handles":  # a map's result is numbers on a tape
                continue
            assert_allclose(front(f), expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_mask_in_a_circuit_is_an_input():
    f = fp.compile(lambda x, b: fp.where(b, x, 0.0))
    assert_array_equal(f(X, MASK), [1.0, 0.0, 3.0])
    assert_array_equal(f(X, ~MASK), [0.0, -2.0, 0.0])
    assert len(f.circuits()) == 1
    circuit = fp.trace(lambda x, b: fp.where(b, x * x, 0.0), X, MASK)
    value, slope = circuit.vjp((X, ~MASK), np.ones(3))
    assert_array_equal(value, [0.0, 4.0, 0.0])
    assert_array_equal(slope[0], [0.0, -4.0, 0.0])


def test_a_mask_that_is_mapped_is_read_as_a_whole():
    f = fp.compile(fp.vmap(lambda x, b: fp.where(b, x, 0.0)))
    assert_array_equal(f(X, MASK), [1.0, 0.0, 3.0])
    assert f.circuits()[0]._recording.own_inputs == 0


def test_lanes_of_which_some_give_numbers_give_numbers():
    found = fp.compile(fp.vmap(lambda x: x > 0.0 if x < 2.0 else x))(X)
    assert_array_equal(found, [1.0, 0.0, 3.0])


def test_what_traced_truth_values_choose_of_integers_are_integers():
    table = np.array([10.0, 20.0, 30.0])
    f = fp.compile(lambda x, table: table[np.where(x > 0.0, np.array([2, 1, 0]), 1)])
    assert_array_equal(f(X, table), [30.0, 20.0, 10.0])


def test_truth_values_are_neither_carried_nor_differentiated():
    for recorded in (lambda f: f, fp.compile):
        with pytest.raises(TypeError, match="what a scan carries"):
            recorded(lambda b: fp.scan(lambda c, _: (c, None), b, None, 2)[0])(MASK)
        with pytest.raises(TypeError, match="can't be differentiated"):
            recorded(fp.grad(lambda b: fp.sum(b * X)))(MASK)


DIRECTIONS = {
    "vjp": lambda b: fp.vjp(lambda x: x * x, X)[1](b),
    "jvp": lambda b: fp.jvp(lambda x: x * x, (X,), (b,)),
    "backward": lambda b: (fp.Array(X) * 2.0).backward(b),
    "circuit.vjp": lambda b: fp.trace(lambda x: x * x, X).vjp((X,), b),
    "circuit.jvp": lambda b: fp.trace(lambda x: x * x, X).jvp((X,), (b,)),
    "run": lambda b: fp.trace(lambda x: x * x, X).forward(X).backward(b),
    "compiled vjp": lambda b: fp.compile(lambda x, b: fp.vjp(lambda x: x * x, x)[1](b))(X, b),
    "compiled jvp": lambda b: fp.compile(lambda x, b: fp.jvp(lambda x: x * x, (x,), (b,)))(X, b),
}


@pytest.mark.parametrize("case", DIRECTIONS)
def test_truth_values_are_neither_pulls_nor_tangents(case):
    with pytest.raises(TypeError, match=r"bool|traced conditions|a Condition"):
        DIRECTIONS[case](MASK)
    DIRECTIONS[case](X)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: fp.vmap(lambda a: a > 0.0)(x).mean(),
        lambda x: fp.sum(fp.vmap(lambda a: a > 0.0)(x)),
        lambda x: (fp.vmap(lambda a: a > 0.0)(x) * x).sum(),
        lambda x: fp.vmap(lambda a: a > 0.0)(x),
    ],
)
def test_truth_values_of_lanes_stay_an_array_where_they_count_as_numbers(f):
    x = np.linspace(-1.0, 1.0, 300)
    compiled = fp.compile(f)
    with fp.eager():
        expected = f(x)
    np.testing.assert_allclose(compiled(x), expected, rtol=1e-13)
    assert len(compiled.circuits()[0]) <= 5


@pytest.mark.parametrize("transform", [fp.grad, fp.jacobian, lambda f: lambda x: fp.jvp(f, (x,), (x,))])
def test_what_returns_truth_values_is_refused_in_traced_code_as_eagerly(transform):
    for f in (
        lambda x: transform(lambda x: x > 0.0)(x),
        lambda x: fp.compile(lambda x: transform(lambda x: x > 0.0)(x))(x),
    ):
        with pytest.raises(TypeError, match=r"needs a function that returns|is only defined for"):
            f(1.0)
