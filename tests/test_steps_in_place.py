"""Steps of a scan write what they carry on where it was; long arrays are computed part by part."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop.circuits.pipeline import PASSES
from fastprop.engine.program import Program

RANDOM = np.random.default_rng(5)
XS = RANDOM.normal(size=(5, 1))

# What a part of the carry may be at the next step, of what it is now (a), the other part (b), and a number of the step.
MOVES: dict[str, Callable[..., Any]] = {
    "the same": lambda a, b, x: a,
    "the other": lambda a, b, x: b,
    "a constant": lambda a, b, x: 0.25 * np.ones(a.shape),
    "added": lambda a, b, x: a + x,
    "both": lambda a, b, x: a - 0.5 * b,
    "products": lambda a, b, x: 0.9 * a + 0.1 * b + 0.2 * x,
    "ratio": lambda a, b, x: a / (2.0 + b * b),
    "root": lambda a, b, x: fp.sqrt(1.0 + a * a) - b,
    "larger": lambda a, b, x: fp.maximum(a, b) * 0.5,
    "chosen": lambda a, b, x: fp.where(a > 0.1, a * 0.5, b),
    "wave": lambda a, b, x: fp.sin(a) + x * b,
    "turned": lambda a, b, x: a[::-1] * 0.5,
    "shifted": lambda a, b, x: fp.roll(a, 1) - 0.1 * a,
    "around": lambda a, b, x: a - fp.mean(a),
    "by its first": lambda a, b, x: a * a[0],
    "by its last": lambda a, b, x: 0.5 * a - a[-1],
    "squared": lambda a, b, x: 0.1 * a * a,
    "less": lambda a, b, x: -a,
}


def walk(first: str, second: str, keeps: str) -> Callable[..., Any]:
    def step(carry: Any, x: Any) -> Any:
        a, b = carry
        new = MOVES[first](a, b, x[0]), MOVES[second](b, a, x[0])
        return new, {"old": a, "new": new[0], "sum": fp.sum(new[1] * new[1])}[keeps]

    return lambda a, b: fp.scan(step, (a, b), XS)


def flat(tree: Any) -> np.ndarray[Any, Any]:
    if isinstance(tree, tuple):
        return np.concatenate([flat(part) for part in tree])
    return np.ravel(np.asarray(tree, float))


@settings(max_examples=60)
@given(
    first=st.sampled_from(sorted(MOVES)),
    second=st.sampled_from(sorted(MOVES)),
    keeps=st.sampled_from(["old", "new", "sum"]),
    n=st.sampled_from([1, 2, 3, 9, 40, 1023, 1500, 2600]),
    single=st.booleans(),
)
def test_random_steps(first: str, second: str, keeps: str, n: int, single: bool) -> None:
    dtype = np.float32 if single else np.float64
    a, b = (np.random.default_rng(n).normal(size=(2, n)) * 0.5).astype(dtype)
    f = walk(first, second, keeps)
    with fp.eager():
        expected = flat(f(a, b))
    compiled = fp.compile(f)
    for _ in range(2):
        assert_allclose(flat(compiled(a, b)), expected, *((1e-4, 1e-5) if single else (1e-11, 1e-13)))


@pytest.mark.parametrize("first", sorted(MOVES))
def test_gradients_have_what_was_carried(first: str) -> None:
    f = walk(first, "products", "old")
    a, b = RANDOM.normal(size=(2, 6)) * 0.5
    slopes = fp.grad(lambda a, b: sum(fp.sum(fp.sin(part)) for part in (*f(a, b)[0], f(a, b)[1])), argnums=(0, 1))
    with fp.eager():
        expected = flat(slopes(a, b))
    assert_allclose(flat(fp.compile(slopes)(a, b)), expected, 1e-10, 1e-12)


def programs_of(call: Callable[[], Any]) -> list[Program]:
    """The programs that a call makes."""
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, Program)}
    call()
    return [found for found in gc.get_objects() if isinstance(found, Program) and id(found) not in before]


def momentum(carry: Any, x: Any) -> Any:
    w, v = carry
    v = 0.9 * v - 0.1 * fp.tanh(w * x[0])
    return (w + v, v), None


def written(n: int, step: Callable[..., Any]) -> int:
    """How many of the 2 n numbers that a step carries on are written where they were."""
    compiled = fp.compile(lambda w, v: fp.scan(step, (w, v), XS)[0])
    found = [program.outputs[: 2 * n] for program in programs_of(lambda: compiled(np.ones(n), np.zeros(n)))]
    return max(int(np.sum(slots == np.arange(2 * n))) for slots in found if len(slots) == 2 * n)


def test_what_is_carried_on_is_written_where_it_was() -> None:
    assert written(2000, momentum) == 4000


def test_what_is_read_again_is_not_written_over() -> None:
    assert written(300, lambda carry, x: ((carry[1], carry[0]), None)) == 0
    assert written(300, lambda carry, x: ((carry[0] * 0.5 + carry[1], carry[1] * 0.5 + carry[0]), None)) == 0
    assert written(300, lambda carry, x: ((carry[0][::-1] * 0.5, carry[1]), None)) == 300  # the second stays


def test_errors_say_what_a_step_was_given() -> None:
    """An index is named as it was looked up, though the step has written the next one there since."""

    def walked(i: Any, table: Any) -> Any:
        def step(i: Any, _: Any) -> Any:
            found = table[i]
            return i + 1, found

        return fp.scan(step, i, None, length=4)[1]

    compiled = fp.compile(walked)
    assert_array_equal(compiled(np.array(0), np.arange(5.0)), np.arange(4.0))
    with pytest.raises(IndexError, match=r"index 5 .* at step 2"):
        compiled(np.array(3), np.arange(5.0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n, lanes", [(16, 6), (64, 3), (600, 6), (64, 700)])
@pytest.mark.parametrize("around", [False, True])
def test_gradients_of_maps_in_steps_are_put_in_place(n: int, lanes: int, around: bool, dtype: str) -> None:
    """What a map pulls on the parameters of a step, also where its body has them as arguments and from around it."""
    w, b, xs = (RANDOM.normal(size=shape).astype(dtype) * 0.2 for shape in ((8, n), (8,), (lanes, n)))

    def step(carry: Any, x: Any) -> Any:
        def loss(w: Any, b: Any) -> Any:
            def one(own_w: Any, own_b: Any, x: Any) -> Any:
                return fp.sum(fp.tanh(own_w @ x + own_b) * (w @ x + b if around else 1.0))

            return fp.vmap(one, in_axes=(None, None, 0), reduce="mean")(w, b, xs)

        value, (on_w, on_b) = fp.value_and_grad(loss, (0, 1))(*carry)
        return (carry[0] - 0.1 * on_w, carry[1] - 0.1 * on_b), value

    def steps(w: Any, b: Any) -> Any:
        return fp.scan(step, (w, b), None, length=4)

    with fp.eager():
        expected = flat(steps(w, b))
    compiled = fp.compile(steps)
    for _ in range(2):
        assert_allclose(flat(compiled(w, b)), expected, *((2e-4, 2e-5) if dtype == "float32" else (1e-10, 1e-12)))


def long_chain(x: Any) -> Any:
    for k in range(12):
        x = fp.tanh(x * 1.1) + 0.1 * x * x - 0.01 * k
    return x


def test_long_arrays_are_computed_part_by_part() -> None:
    n, compiled = 30 * 1024, fp.compile(long_chain)
    x = RANDOM.normal(size=n)
    (program,) = programs_of(lambda: compiled(x))
    assert program.slots < 2 * n + 8 * 1024  # its argument, its result, and some parts between
    with fp.eager():
        assert_allclose(compiled(x), long_chain(x), 1e-12, 1e-14)


@pytest.mark.parametrize("n", [1024, 1025, 5000])
@pytest.mark.parametrize("left_out", ["schedule", "number", "recycle", "merge", None])
def test_their_gradients(n: int, left_out: str | None) -> None:
    def f(w: Any, x: Any) -> Any:
        y = long_chain(w * x) * w[::-1]
        return fp.sum(y * fp.mean(y)) + fp.sum(y[1:] * x[:-1])

    passes = [name for name in PASSES if name != left_out]
    w, x = RANDOM.normal(size=(2, n)) * 0.7
    with fp.eager():
        expected = fp.grad(f, argnums=(0, 1))(w, x)
    compiled = fp.compile(fp.grad(f, argnums=(0, 1)), passes=passes)
    found = compiled(w, x)
    assert_allclose(flat(found), flat(expected), 1e-8, 1e-8)
    assert_array_equal(flat(compiled(w, x)), flat(found))
