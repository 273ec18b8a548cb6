"""debug_nans: the first gate that makes NaN is named, whatever runs it, and nothing is left of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastprop as fp


def lines_of(f: Callable[[], Any], **options: Any) -> str:
    with fp.debug_nans(**options), pytest.raises(FloatingPointError) as caught:
        f()
    assert "test_debugging.py:" in str(caught.value)
    return str(caught.value)


EAGER: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: fp.log(x) * 2.0, r"log(-1) gave nan"),
    (lambda x: 1.0 + (x + 1.0) / (x + 1.0), "divide(0, 0) gave nan"),
    (lambda x: x**0.5, "gave nan"),
    (lambda x: (x * 1e308 * 10.0) - (x * 1e308 * 10.0), "subtract(-inf, -inf) gave nan"),
    (lambda x: fp.logsumexp([x, x * np.nan]), "multiply(-1, nan) gave nan"),
    (lambda x: fp.sum(fp.sqrt(fp.Array([4.0, 1.0]) * x)), "sqrt gave nan at [0]"),
    (lambda x: fp.grad(lambda y: fp.log(y))(x), "log(-1) gave nan"),
]


@pytest.mark.parametrize(("f", "text"), EAGER)
def test_the_gate_is_named_where_it_runs(f: Callable[[Any], Any], text: str) -> None:
    assert text in lines_of(lambda: f(fp.Unit(-1.0)))
    f(fp.Unit(-1.0))  # and outside of the block nobody minds


def test_infinite_numbers_are_refused_if_that_is_wanted() -> None:
    x = fp.Unit(0.0)
    with fp.debug_nans():
        assert (1.0 + fp.log(x)).value == -np.inf
    assert "log(0) gave -inf" in lines_of(lambda: fp.log(x), infs=True)


def loss(w: Any, x: Any) -> Any:
    h, _ = fp.scan(lambda h, z: (h + fp.log(w * z), None), 0.0, x)
    return h


COMPILED: list[tuple[Callable[..., Any], Any, Any, str]] = [
    (fp.compile(lambda x: fp.log(x) + 1.0), (2.0,), (-2.0,), "log(-2) gave nan"),
    (fp.compile(fp.value_and_grad(lambda x: fp.sqrt(x) * 2.0)), (2.0,), (-3.0,), "sqrt(-3) gave nan"),
    (fp.compile(loss), (2.0, np.ones(3)), (2.0, np.array([1.0, 1.0, -1.0])), "log(-2) gave nan"),
    (
        fp.compile(fp.value_and_grad(fp.vmap(loss, in_axes=(None, 0), reduce="mean"))),
        (2.0, np.ones((4, 3))),
        (2.0, np.array([[1.0], [1.0], [-4.0], [1.0]])),
        "log(-8) gave nan",
    ),
]


@pytest.mark.parametrize(("f", "good", "bad", "text"), COMPILED)
def test_compiled_functions_are_looked_into(f: Callable[..., Any], good: Any, bad: Any, text: str) -> None:
    expected = f(*good)
    with fp.debug_nans():
        assert str(f(*good)) == str(expected)
    assert text in lines_of(lambda: f(*bad))
    with fp.debug_nans():
        assert str(f(*good)) == str(expected)
    f(*bad)


def test_what_is_not_chosen_does_not_count() -> None:
    f = fp.compile(lambda x: fp.where(x > 0.0, fp.log(x), 0.0))
    with fp.debug_nans():
        assert f(-1.0) == 0.0


def test_derivatives_alone_are_named_as_such() -> None:
    f = fp.compile(fp.grad(lambda x: fp.exp(x * 1e3) * 0.0 + x))
    with fp.debug_nans(infs=True), pytest.raises(FloatingPointError, match=r"exp\(1000\) gave inf|derivatives"):
        fp.compile(fp.grad(lambda x: fp.exp(x * 1e3)))(1.0)
    assert f(0.0) == 1.0


def test_the_tape_is_as_it_was() -> None:
    with fp.Tape() as tape:
        x = fp.Unit(-1.0)
        y = x * 2.0
        with fp.debug_nans(), pytest.raises(FloatingPointError):
            fp.log(y)
        assert len(tape) == 1
        (y * 3.0).backward()
        assert x.grad == 6.0
        with fp.debug_nans(), pytest.raises(FloatingPointError):
            fp.sqrt(fp.Array([1.0, 4.0]) * y)
        z = fp.log(y)
    assert np.isnan(z.value)


def test_blocks_nest_and_go_for_one_thread() -> None:
    x = fp.Unit(0.0)
    with fp.debug_nans():
        with fp.debug_nans(infs=True), pytest.raises(FloatingPointError):
            fp.log(x)
        assert fp.log(x).value == -np.inf
        found: list[float] = []
        other = threading.Thread(target=lambda: found.append(fp.log(fp.Unit(-1.0)).value))
        other.start()
        other.join()
        assert np.isnan(found[0])
        with pytest.raises(FloatingPointError):
            x / x
    assert np.isnan((x / x).value)


def test_blocks_end_in_any_order() -> None:
    def held() -> Any:
        with fp.debug_nans():
            yield

    first, second = held(), held()
    next(first)
    next(second)
    first.close()
    with pytest.raises(FloatingPointError):
        fp.log(fp.Unit(-1.0))
    second.close()
    assert np.isnan(fp.log(fp.Unit(-1.0)).value)
    for given in (True, False):  # JAX's switches it on and off
        with pytest.raises(TypeError, match="takes 0 positional arguments"):
            fp.debug_nans(given)  # type: ignore[misc]
    with pytest.raises(TypeError, match="infs is 'x'"), fp.debug_nans(infs="x"):  # type: ignore[arg-type]
        pass


def test_calls_within_a_block_leave_other_tapes_as_they_are() -> None:
    double = fp.compile(lambda x: x * 2.0)
    with fp.debug_nans():
        y = fp.Unit(-1.0) * 1.0
        with fp.Tape():
            double(y)
        with pytest.raises(FloatingPointError):
            fp.log(y)
