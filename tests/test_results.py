"""None in what functions return, on all fronts."""

import pickle

import numpy as np
import pytest

import fastprop as fp


def with_nones(x):
    return x * x, None, {"a": [x, None]}


NONES = (4.0, None, {"a": [2.0, None]})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: fp.compile(with_nones)(2.0), NONES),
        (lambda: fp.trace(with_nones, 1.0)(2.0), NONES),
        (lambda: pickle.loads(pickle.dumps(fp.trace(with_nones, 1.0)))(2.0), NONES),
        (lambda: fp.compile(lambda x: fp.compile(with_nones)(x))(2.0), NONES),
        (lambda: fp.vjp(with_nones, 2.0)[1]((1.0, None, {"a": [2.0, None]})), (6.0,)),
        (lambda: fp.compile(lambda x: fp.vjp(with_nones, x)[1]((1.0, None, {"a": [2.0, None]})))(2.0), (6.0,)),
        (lambda: fp.jvp(with_nones, (2.0,), (1.0,))[1], (4.0, None, {"a": [1.0, None]})),
        (lambda: fp.jacobian(with_nones)(2.0), (4.0, None, {"a": [1.0, None]})),
        (lambda: fp.value_and_grad(lambda x: (x * x, None), has_aux=True)(2.0), ((4.0, None), 4.0)),
        (lambda: fp.compile(fp.value_and_grad(lambda x: (x * x, None), has_aux=True))(2.0), ((4.0, None), 4.0)),
        (lambda: fp.vmap(with_nones, reduce="sum")(np.array([2.0, 0.0])), NONES),
        (lambda: fp.compile(fp.vmap(with_nones, reduce="sum"))(np.array([2.0, 0.0])), NONES),
        (lambda: fp.scan(lambda c, x: (c + x, None), 0.0, np.ones(3)), (3.0, None)),
        (lambda: fp.compile(lambda xs: fp.scan(lambda c, x: (c + x, None), 0.0, xs))(np.ones(3)), (3.0, None)),
    ],
)
def test_none_in_a_result_stays_where_it_stands(found, expected):
    assert found() == expected


@pytest.mark.parametrize("axis", [np.arange(3.0), np.zeros(0)])
def test_none_in_the_results_of_lanes_and_steps(axis):
    for f in (fp.vmap(with_nones), fp.compile(fp.vmap(with_nones))):
        squares, nothing, nested = f(axis)
        assert squares.tolist() == (axis * axis).tolist() and nothing is None
        assert nested["a"][0].tolist() == axis.tolist() and nested["a"][1] is None
    for f in (fp.scan, fp.compile(fp.scan, static_argnums=0)):
        last, (kept, nothing) = f(lambda c, x: (c + x, (c, None)), 0.0, axis)
        assert (last, nothing, kept.shape) == (axis.sum(), None, axis.shape)


def test_none_in_the_result_of_a_call_with_handles():
    x = fp.Unit(2.0)
    square, nothing, nested = fp.compile(with_nones)(x)
    (square + nested["a"][0]).backward()
    assert (x.grad, nothing, nested["a"][1]) == (5.0, None, None)
    with pytest.raises(TypeError, match=r"the pull\[1\] is a single float, where None is expected"):
        fp.trace(with_nones, 1.0).vjp((3.0,), (1.0, 2.0, {"a": [0.0, None]}))


def test_none_in_the_place_of_a_result_is_no_result():
    for call in (fp.compile(lambda x: None), fp.vmap(lambda x: None), fp.grad(lambda x: None)):
        with pytest.raises(TypeError, match="returned None"):
            call(np.ones(2))


def test_what_depends_on_nothing_pulls_nothing():
    def constant(x):
        return fp.vjp(lambda y: fp.tanh(np.ones(2)), x)[1](np.ones(2))[0]

    assert constant(np.ones(3)).tolist() == fp.compile(constant)(np.ones(3)).tolist() == [0.0, 0.0, 0.0]
