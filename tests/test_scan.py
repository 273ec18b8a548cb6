"""scan: a step taken again and again, on all fronts, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastprop as fp
from fastprop.handles.nesting import flatten

GENERATOR = np.random.default_rng(11)
W, U = GENERATOR.normal(size=(4, 4)) * 0.4, GENERATOR.normal(size=(4, 3)) * 0.4
XS = GENERATOR.normal(size=(6, 3))
BATCH = GENERATOR.normal(size=(37, 6, 3))
TABLE = GENERATOR.normal(size=(5, 2))


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in flatten(tree)[0]])


def recurrent(p: Any, xs: Any) -> Any:
    """An RNN in arrays."""
    h, ys = fp.scan(lambda h, x: (fp.tanh(p[0] @ h + p[1] @ x), h * h), np.zeros(4), xs)
    return fp.sum(h) + fp.sum(ys)


def neuron_by_neuron(p: Any, xs: Any) -> Any:
    """The same in scalars."""

    def step(h: Any, x: Any) -> Any:
        pre = [sum(p[0][i, j] * h[j] for j in range(4)) + sum(p[1][i, j] * x[j] for j in range(3)) for i in range(4)]
        return [fp.tanh(z) for z in pre], h[0] * x[1]

    h, ys = fp.scan(step, [0.0] * 4, xs)
    return sum(h) + fp.sum(ys)


def backwards_in_dicts(p: Any, xs: Any) -> Any:
    """Nested carries, the last row first; b is carried on without being used, a isn't kept."""

    def step(c: Any, x: Any) -> Any:
        return {"b": c["b"] + c["a"] * x["v"], "a": c["a"] * p[0][1, 1] + x["u"]}, (c["b"] * x["u"], {"a": 2.0})

    init = {"a": p[1][0, 0], "b": np.array([1.0, 2.0])}
    c, (ys, constant) = fp.scan(step, init, {"u": xs[:, 0], "v": xs[:, 1:]}, reverse=True)
    return c["a"] * 2 + fp.sum(c["b"] * np.array([1.0, 3.0])) + fp.sum(ys * ys) + fp.sum(constant["a"])


def scan_of_scans(p: Any, xs: Any) -> Any:
    def outer(c: Any, x: Any) -> Any:
        h, y = fp.scan(lambda h, z: (fp.tanh(h * p[0][0, 0] + z), h * z), c, x)
        return h, fp.sum(y) + h

    h, y = fp.scan(outer, 0.1, xs)
    return h + fp.sum(y * y)


def maps_at_steps(p: Any, xs: Any) -> Any:
    def step(c: Any, b: Any) -> Any:
        y = fp.vmap(lambda x: fp.tanh(p[1][0, 0] * x * c))(b)
        return c * 0.5 + fp.mean(y), (y, fp.vmap(lambda x: x * c, reduce="sum")(b))

    c, (ys, sums) = fp.scan(step, 0.7, xs)
    return c + fp.sum(ys * ys) + fp.sum(sums) * 0.1


def learns(p: Any, xs: Any) -> Any:
    """Gradients at every step, of a map: an epoch in one call."""

    def loss(w: Any, x: Any) -> Any:
        return fp.vmap(lambda x: (w * x - p[1][1, 1]) ** 2, reduce="mean")(x)

    def step(w: Any, x: Any) -> Any:
        value, slope = fp.value_and_grad(loss)(w, x)
        return w - 0.1 * slope, value

    w, losses = fp.scan(step, p[0][0, 0], xs)
    return w + fp.sum(losses)


def same_number_twice(p: Any, xs: Any) -> Any:
    """One operand is carried in two places, and used in the step, too."""
    w = p[0][0, 1] * 1.0
    (a, b), _ = fp.scan(lambda c, x: ((c[1] * w, c[0] + x[0]), None), (w, w), xs)
    return a * b


def untouched(p: Any, xs: Any) -> Any:
    """What is carried is passed on, exchanged, or thrown away."""
    (a, b, c), ys = fp.scan(lambda c, x: ((c[1], c[0], p[1][0, 1]), c[2]), (p[0][0, 0], p[0][0, 1], 3.0), xs)
    return a * 2 + b * 3 + c * 5 + fp.sum(ys)


def decides(p: Any, xs: Any) -> Any:
    """A branch at every step: recorded step by step."""
    return fp.scan(lambda c, x: (c * p[0][0, 0] + x[0] if x[0] > 0 else c * 0.5, None), 1.0, xs)[0]


def counts(p: Any, xs: Any) -> Any:
    """Integers stay integers, and index; one that does not stay so is a number."""

    def step(c: Any, x: Any) -> Any:
        return (c[0] + 1, c[1] * x[0] + p[1][c[0] % 4][0] * p[0][0, 0]), c[0]

    (n, value), steps = fp.scan(step, (0, 0), xs)
    return value + 0.0 * n + fp.sum(steps)


PROGRAMS: list[Callable[..., Any]] = [
    recurrent, neuron_by_neuron, backwards_in_dicts, scan_of_scans, maps_at_steps, learns, same_number_twice, untouched,
    decides, counts,
]  # fmt: skip


@pytest.mark.parametrize("f", PROGRAMS)
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_compiled_scan_gives_what_the_loop_gives(f: Callable[..., Any], steps: int) -> None:
    xs = XS[:steps]
    expected = fp.value_and_grad(f, (0, 1))((W, U), xs)
    compiled = fp.compile(fp.value_and_grad(f, (0, 1)))
    for _ in range(2):
        np.testing.assert_allclose(flat(compiled((W, U), xs)), flat(expected), rtol=1e-12, atol=1e-12)
    assert fp.compile(f)((W, U), xs) == pytest.approx(expected[0], abs=1e-12)
    other = fp.value_and_grad(f, (0, 1))((U @ W[:3], U), xs[::-1] * 0.5) if steps else expected
    given = ((U @ W[:3], U), xs[::-1] * 0.5) if steps else ((W, U), xs)
    np.testing.assert_allclose(flat(compiled(*given)), flat(other), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", PROGRAMS)
@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0)])
def test_scans_in_lanes_give_what_each_lane_gives(f: Callable[..., Any], axes: tuple[Any, Any]) -> None:
    many = W + 0.1 * GENERATOR.normal(size=(37, 4, 4)), U + 0.1 * GENERATOR.normal(size=(37, 4, 3))
    p, xs = many if axes[0] == 0 else (W, U), BATCH if axes[1] == 0 else XS
    expected = fp.value_and_grad(lambda p, xs: fp.mean(loop(f, p, xs, axes)), (0, 1))(p, xs)
    compiled = fp.compile(fp.value_and_grad(fp.vmap(f, in_axes=axes, reduce="mean"), (0, 1)))
    for _ in range(2):
        np.testing.assert_allclose(flat(compiled(p, xs)), flat(expected), rtol=1e-10, atol=1e-12)
    alone = fp.vmap(f, in_axes=axes)(p, xs)
    np.testing.assert_allclose(fp.compile(fp.vmap(f, in_axes=axes))(p, xs), alone, rtol=1e-12, atol=1e-12)


def loop(f: Callable[..., Any], p: Any, xs: Any, axes: tuple[Any, Any]) -> Any:
    def lane(k: int) -> Any:
        return f((p[0][k], p[1][k]) if axes[0] == 0 else p, xs[k] if axes[1] == 0 else xs)

    return fp.Array([fp.Unit(0.0) + lane(k) for k in range(37)])


@pytest.mark.parametrize("f", PROGRAMS)
def test_scans_of_float32_are_near(f: Callable[..., Any]) -> None:
    p, xs = (W.astype(np.float32), U.astype(np.float32)), XS.astype(np.float32)
    expected = fp.value_and_grad(f, (0, 1))((W, U), XS)
    np.testing.assert_allclose(
        flat(fp.compile(fp.value_and_grad(f, (0, 1)))(p, xs)), flat(expected), rtol=1e-4, atol=1e-4
    )
    batch = fp.vmap(f, in_axes=(None, 0), reduce="mean")
    found = fp.compile(fp.value_and_grad(batch, (0, 1)))(p, BATCH.astype(np.float32))
    exact = fp.compile(fp.value_and_grad(batch, (0, 1)))((W, U), BATCH)
    np.testing.assert_allclose(flat(found), flat(exact), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("f", [recurrent, backwards_in_dicts, scan_of_scans, same_number_twice, untouched, decides])
def test_higher_derivatives(f: Callable[..., Any]) -> None:
    def of(w: Any) -> Any:
        return f((w, U), XS[:3])

    fp.check_grads(of, (W,), order=2)
    np.testing.assert_allclose(fp.compile(fp.hessian(of))(W), fp.hessian(of)(W), rtol=1e-10, atol=1e-12)
    along = fp.jvp(of, (W,), (U @ W[:3],))
    np.testing.assert_allclose(fp.compile(lambda w, t: fp.jvp(of, (w,), (t,)))(W, U @ W[:3]), along, rtol=1e-12)
    inside = fp.compile(lambda w: fp.vmap(lambda x: fp.value_and_grad(lambda w: f((w, U), x))(w))(BATCH[:5, :3]))(W)
    for k in range(5):
        value, slope = fp.value_and_grad(lambda w, k=k: f((w, U), BATCH[k, :3]))(W)
        np.testing.assert_allclose(inside[0][k], value, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(inside[1][k], slope, rtol=1e-10, atol=1e-12)


def test_what_is_kept_has_the_steps_first_and_carries_keep_their_nesting() -> None:
    carry, ys = fp.scan(lambda c, x: ((c[0] + x, c[1]), (c[0], [x * c[1]])), (0.0, np.ones(2)), np.arange(3.0))
    assert carry[0] == 3.0 and carry[1].tolist() == [1.0, 1.0]
    assert ys[0].tolist() == [0.0, 0.0, 1.0] and ys[1][0].tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    compiled = fp.compile(
        lambda xs: fp.scan(lambda c, x: ((c[0] + x, c[1]), (c[0], [x * c[1]])), (0.0, np.ones(2)), xs)
    )
    again = compiled(np.arange(3.0))
    assert flat(again).tolist() == flat((carry, ys)).tolist()
    assert isinstance(again[0], tuple) and isinstance(again[1][1], list) and again[1][1][0].shape == (3, 2)
    assert fp.scan(lambda c, x: (c, None), 1.5, length=2) == (1.5, None)
    assert fp.compile(lambda x: fp.scan(lambda c, x: (c, None), x, length=2)[0])(1.5) == 1.5


class State(NamedTuple):
    moments: Any
    size: Any


def test_none_in_a_carry_stays_none() -> None:
    def f(init: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            assert carry["rest"] is None
            moments, size = carry["state"]
            kept = {"state": State([None, moments[1] * 0.5 + x * np.ones(2)], size), "rest": None, "h": carry["h"] * x}
            return kept, (None, carry["h"])

        return fp.scan(step, init, xs)

    def h(xs: Any) -> Any:
        carry = f({"state": State([None, np.ones(2)], None), "rest": None, "h": 2.0}, xs)[0]
        return carry["h"] + fp.sum(carry["state"].moments[1])

    init = {"state": State([None, np.ones(2)], None), "rest": None, "h": 2.0}
    xs, lanes = np.array([1.0, 3.0]), np.array([[1.0, 3.0], [2.0, 5.0]])
    for front in (f, fp.compile(f), lambda init, xs: fp.compile(lambda xs: f(init, xs))(xs)):
        carry, (nothing, hs) = front(init, xs)
        assert nothing is carry["rest"] is carry["state"].moments[0] is carry["state"].size is None
        assert type(carry["state"]) is State
        np.testing.assert_array_equal(carry["state"].moments[1], [3.75, 3.75])
        np.testing.assert_array_equal(hs, [2.0, 2.0])
        assert carry["h"] == 6.0
    for front in (fp.vmap(f, in_axes=(None, 0)), fp.compile(fp.vmap(f, in_axes=(None, 0)))):
        carry, (nothing, _) = front(init, lanes)
        assert nothing is carry["state"].moments[0] is None
        np.testing.assert_array_equal(carry["h"], [6.0, 20.0])
    for slope in (fp.grad(h), fp.compile(fp.grad(h)), fp.compile(lambda xs: fp.grad(h)(xs))):
        np.testing.assert_array_equal(slope(xs), [7.0, 4.0])
    assert fp.compile(lambda xs: fp.jvp(h, (xs,), (xs,))[1])(xs) == fp.jvp(h, (xs,), (xs,))[1] == 19.0


def test_nothing_is_carried() -> None:
    def f(xs: Any) -> Any:
        return fp.scan(lambda carry, x: (carry, x * x), None, xs)

    for front in (f, fp.compile(f), lambda xs: fp.compile(fp.vmap(f))(np.stack([xs, xs]))):
        carry, ys = front(np.array([1.0, 2.0]))
        assert carry is None
        np.testing.assert_array_equal(np.ravel(ys)[-2:], [1.0, 4.0])
        assert front(np.zeros(0))[0] is None


def test_the_step_is_recorded_once_whatever_the_number_of_steps() -> None:
    calls = []

    def f(w: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            calls.append(1)
            return fp.tanh(w * h + x), None

        return fp.scan(step, 0.0, xs)[0]

    fp.compile(fp.value_and_grad(f))(0.5, np.ones(1000))
    fp.compile(fp.value_and_grad(fp.vmap(f, in_axes=(None, 0), reduce="sum")))(0.5, np.ones((3, 1000)))
    assert len(calls) == 2
    summary = fp.trace(f, 0.5, np.ones(1000)).summary()
    assert len(calls) == 3 and "body of the scan of step, 1000 steps:" in summary
    assert [line.split()[2] for line in summary.splitlines() if "as recorded" in line] == ["2", "3"]


def test_no_steps_of_integers() -> None:
    def f(table: Any, tokens: Any) -> Any:
        return fp.scan(lambda c, i: (c + table[i], table[i]), 0.0, tokens)[0]

    assert f(np.ones(3), np.zeros(0, int)) == fp.compile(f)(np.ones(3), np.zeros(0, int)) == 0.0


def test_results_are_nobody_elses_and_workspaces_are_used_again() -> None:
    compiled = fp.compile(lambda w, xs: fp.scan(lambda c, x: (c * w + x, c), 0.0, xs))
    first = compiled(0.5, np.arange(4.0))
    kept = first[1].copy()
    second = compiled(0.25, np.arange(4.0))
    assert first[1].tolist() == kept.tolist() != second[1].tolist()


def test_an_index_out_of_range_names_its_step() -> None:
    def f(table: Any, tokens: Any) -> Any:
        return fp.sum(fp.scan(lambda h, i: (fp.tanh(h + table[i]), None), np.zeros(2), tokens)[0])

    compiled = fp.compile(f)
    assert compiled(TABLE, np.array([0, 3, 4])) == f(TABLE, np.array([0, 3, 4]))
    with pytest.raises(IndexError, match=r"index 7 .* at step 1"):
        compiled(TABLE, np.array([0, 7, 4]))
    lanes = fp.compile(fp.vmap(f, in_axes=(None, 0)))
    assert lanes(TABLE, np.array([[0, 3], [4, 4]])).shape == (2,)
    with pytest.raises(IndexError, match=r"index 9 .* at step 1, in lane 2"):
        lanes(TABLE, np.array([[0, 3], [4, 4], [0, 9]]))
    assert compiled(TABLE, np.array([0, 3, 4])) == f(TABLE, np.array([0, 3, 4]))


REFUSED: list[tuple[Callable[..., Any], type[Exception], str]] = [
    (lambda xs: fp.scan(lambda c, x: c, 0.0, xs), TypeError, "a pair"),
    (lambda xs: fp.scan(lambda c, x: (c[0], x), (0.0, 1.0), xs), TypeError, "carry that it returned"),
    (lambda xs: fp.scan(lambda c, x: (x, x), 0.0, xs), ValueError, r"of shape \(3,\), but was given one of shape \(\)"),
    (lambda xs: fp.scan(lambda c, x: ({"h": x}, x), {"h": 0.0}, xs), ValueError, r"carry\['h'\]"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, [1.0, 2.0]), ValueError, r"xs\[0\] is a number"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0), ValueError, "give length"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, length=-1), ValueError, "0 or more"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, length=2.0), TypeError, "an integer"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, xs, length=2), ValueError, "length is 2, but .* 6 steps"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, (xs, xs[:2])), ValueError, r"numbers of steps: .*xs\[0\] has 6"),
    (lambda xs: fp.scan(3, 0.0, xs), TypeError, "takes a function first"),
    (lambda xs: fp.scan(lambda c, x: (None, x), 0.0, xs), TypeError, "carries on None"),
    (lambda xs: fp.scan(lambda c, x: ((None, None), x), (0.0, None), xs), TypeError, r"None as carry\[0\]"),
    (
        lambda xs: fp.scan(lambda c, x: ((x, x), x), (0.0, None), xs),
        TypeError,
        r"\[1\] is a .*, where None is expected",
    ),
    (lambda xs: fp.scan(lambda c, x: (x, x), None, xs), TypeError, "where None is expected"),
    (lambda xs: fp.scan(lambda c, x: (c, x), (xs > 0.0, None), xs), TypeError, r"init\[0\] is .*; what a scan carries"),
    (lambda xs: fp.scan(lambda c, x: (c, x), {"a": xs[0] > 0.0}, xs), TypeError, r"init\['a'\] is .*; what a scan"),
    (lambda xs: fp.scan(lambda c, x: ((c[0], "a"), x), (0.0, 1.0), xs), TypeError, r"'a'\) as carry\[1\]"),
    (lambda xs: fp.scan(lambda c, x: (c, x), "a", xs), TypeError, "init is a str"),
    (lambda xs: fp.scan(lambda c, x: (c, x), 0.0, xs, reverse="no"), TypeError, "reverse"),
]


@pytest.mark.parametrize(("f", "error", "text"), REFUSED)
def test_wrong_scans_are_refused_alike(f: Callable[..., Any], error: type[Exception], text: str) -> None:
    for front, xs in ((f, XS), (fp.compile(f), XS), (fp.compile(fp.vmap(f)), BATCH)):
        with pytest.raises(error, match=text):
            front(xs)


LANES: list[Callable[[Any], Any]] = [
    lambda x: fp.scan(lambda c, _: (((c[0] / 2, c[1]) if c[0] > 1 else c), None), (x, 0.0), length=1)[0][0],
    lambda x: fp.sum(fp.scan(lambda h, _: (fp.tanh(h + x) if h[0] < x else h * 0.5, None), np.zeros(3), length=4)[0]),
    lambda x: fp.scan(lambda c, _: (c * (x * 2.0) if c > x else c + 1.0, None), 0.0, length=5)[0],
]


@pytest.mark.parametrize("f", LANES, ids=["halves", "array", "outside"])
@pytest.mark.parametrize("lanes", [4, 15, 100, 1000])
def test_steps_that_decide_in_lanes(f: Callable[[Any], Any], lanes: int) -> None:
    """Constants that are carried, and gates of what is outside, are recorded alike on all paths."""
    xs = np.linspace(0.1, 20.0, lanes)
    expected = [f(x) for x in xs.tolist()]
    for front in (fp.vmap(f), fp.compile(fp.vmap(f))):
        for _ in range(2):
            np.testing.assert_allclose(front(xs), expected, rtol=1e-12)
    slopes = [fp.grad(f)(x) for x in xs.tolist()]
    np.testing.assert_allclose(fp.compile(fp.grad(fp.vmap(f, reduce="sum")))(xs), slopes, rtol=1e-10)
    np.testing.assert_allclose(fp.compile(fp.vmap(fp.grad(f)))(xs), slopes, rtol=1e-10)


@pytest.mark.parametrize("lanes", [3, 40, 1000])
def test_a_scan_without_arrays_where_lanes_are_parted(lanes: int) -> None:
    """Its rows lie by their places in a block, and not by their lanes."""

    def one(a: Any) -> Any:
        start = fp.sin(a) if a > 0.05 else a * a
        return fp.scan(lambda c, _: (fp.tanh(c + start), None), start, None, 2)[0]

    x = np.where(np.arange(lanes) % 3 == 0, -1.0, 2.0) + np.arange(lanes) * 1e-3
    expected = [fp.value_and_grad(one)(a) for a in x.tolist()]
    for f in (fp.vmap(one), fp.compile(fp.vmap(one))):
        np.testing.assert_allclose(f(x), [value for value, _ in expected], rtol=1e-12)
    for g in (
        fp.vmap(fp.grad(one)),
        fp.compile(fp.vmap(fp.grad(one))),
        fp.compile(fp.grad(fp.vmap(one, reduce="sum"))),
    ):
        np.testing.assert_allclose(g(x), [slope for _, slope in expected], rtol=1e-12)


@pytest.mark.parametrize(
    "step",
    [
        lambda c, row: (c.at[0].set(row[0]).at[1:].add(2.0), row.at[0].multiply(3.0)),
        lambda c, row: ((c * 0.5).at[[0, 0]].max(row[:2]) + np.roll(row, 1), np.pad(row.at[1].get() * c, 1)),
        lambda c, row: (fp.scan(lambda d, x: (d.at[0].add(x), None), c, row)[0], c @ row),
        lambda c, row: (fp.vmap(lambda x: 0.5 * x)(c), fp.grad(lambda x: fp.sum(x * x))(row)),
    ],
    ids=["at", "results", "inside", "transforms"],
)
def test_steps_by_themselves_are_given_what_has_the_face_of_what_is_traced(step):
    carry, rows = np.array([1.0, 2.0, 3.0, 4.0]), np.arange(12.0).reshape(3, 4)
    found = fp.scan(step, carry, rows)
    expected = fp.compile(lambda carry, rows: fp.scan(step, carry, rows))(carry, rows)
    for a, b in zip(found, expected):
        assert type(a) is np.ndarray
        np.testing.assert_allclose(a, b, rtol=1e-15)
    assert_changes_nothing(lambda c, row: (c.__setitem__(0, 1.0), None), carry, rows)


def assert_changes_nothing(step, carry, rows):
    """Steps that assign are refused, whatever runs them, and leave what they were given."""
    before = carry.copy()
    for scan in (fp.scan, lambda step, *given: fp.compile(lambda *given: fp.scan(step, *given))(*given)):
        with pytest.raises(TypeError, match=r"can't be assigned to; write a = a\.at\[i\]\.set\(v\)"):
            scan(step, carry, rows)
    np.testing.assert_array_equal(carry, before)
