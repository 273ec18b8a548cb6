"""Arrays around the body of a map are read as wholes, wherever they are held, as if they had been its arguments."""

import collections
import functools
import gc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.engine.program import Program
from fastprop.handles.nesting import flatten

RANDOM = np.random.default_rng(0)
W, V, B = RANDOM.normal(size=(5, 4)), RANDOM.normal(size=(3, 5)), RANDOM.normal(size=5)
XS = RANDOM.normal(size=(6, 4))
Pair = collections.namedtuple("Pair", "w b")
MODEL = nn.Sequential(nn.Linear(4, 5, rng=0), nn.Tanh(), nn.Linear(5, 3, rng=1))


def network(w, v, b, x):
    return fp.sum(v @ fp.tanh(w @ x + b))


def in_variables(w, v, b, xs):
    return fp.sum(fp.vmap(lambda x: network(w, v, b, x))(xs))


def in_a_dict(w, v, b, xs):
    p = {"w": w, "rest": {"v": v, "b": b}}
    return fp.mean(fp.vmap(lambda x: network(p["w"], p["rest"]["v"], p["rest"]["b"], x))(xs))


def in_a_list_of_tuples(w, v, b, xs):
    layers = [(w, b), (v, None)]
    return fp.mean(fp.vmap(lambda x: network(layers[0][0], layers[1][0], layers[0][1], x))(xs))


def in_named_tuples(w, v, b, xs):
    p = (Pair(w, b), (v,))
    return fp.mean(fp.vmap(lambda x: network(p[0].w, p[1][0], p[0].b, x))(xs))


def in_a_bound_method(w, v, b, xs):
    class Held:
        def __init__(self):
            self.w, self.more = w, [v, b]

        def of(self, x):
            return network(self.w, *self.more, x)

    return fp.mean(fp.vmap(Held().of)(xs))


def in_a_partial_and_default(w, v, b, xs):
    return fp.mean(fp.vmap(functools.partial(lambda w, x, b=b: network(w, v, b, x), w))(xs))


def in_functions(w, v, b, xs):
    def first(x):
        return fp.tanh(w @ x + b)

    return fp.vmap(lambda x: fp.sum(v @ first(x)), reduce="sum")(xs)


def in_maps_in_maps(w, v, b, xs):
    return fp.mean(fp.vmap(lambda x: fp.mean(fp.vmap(lambda y: network(w, v, b, x * y))(xs)))(xs))


def in_a_scan(w, v, b, xs):
    def step(carry, x):
        found = fp.vmap(lambda y: network(w, v, b, x + carry * y))(xs)
        return 0.1 * fp.mean(found), fp.sum(found)

    return fp.sum(fp.scan(step, 1.0, xs)[1])


def beside_others(w, v, b, xs):
    """Read as a whole, by numbers, and as an argument."""
    found = fp.vmap(lambda y, x: network(w * w[0, 0], y, b, x), in_axes=(None, 0))(v, xs)
    return fp.sum(found) + fp.sum(w**2) + fp.sum(fp.vmap(lambda row: row @ b)(v))


def of_what_maps_make(w, v, b, xs):
    made = fp.vmap(lambda row: fp.tanh(row))(w)
    return fp.mean(fp.vmap(lambda x: network(made, v, b, x))(xs))


def of_the_data(w, v, b, xs):
    """What the body does not use is around it, too."""
    unused = {"xs": xs, "v": v}
    return fp.mean(fp.vmap(lambda x: fp.sum(w @ x) * len(unused))(xs))


def decided(w, v, b, xs):
    return fp.sum(fp.vmap(lambda x: network(w, v, b, x) if x[0] > 0.0 else fp.sum(b * b))(xs))


def with_a_gradient_inside(w, v, b, xs):
    slopes = fp.grad(lambda b: fp.mean(fp.vmap(lambda x: network(w, v, b, x))(xs)))(b)
    return fp.sum(fp.vmap(lambda x: network(w, v, b - 0.1 * slopes, x))(xs))


def after_a_change(w, v, b, xs):
    p = {"w": w}

    def body(x):
        p["w"] = p["w"] * 2.0  # once, while it is recorded
        return network(p["w"], v, b, x)

    with_one = fp.sum(fp.vmap(body)(xs[:1]))
    return with_one * 0.0 + fp.sum(fp.vmap(lambda x: network(w, v, b, x))(xs))


PROGRAMS = [
    in_variables,
    in_a_dict,
    in_a_list_of_tuples,
    in_named_tuples,
    in_a_bound_method,
    in_a_partial_and_default,
    in_functions,
    in_maps_in_maps,
    in_a_scan,
    beside_others,
    of_what_maps_make,
    of_the_data,
    decided,
    with_a_gradient_inside,
    after_a_change,
]


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_values_and_derivatives(f):
    both = fp.value_and_grad(f, (0, 1, 2, 3))
    compiled = fp.compile(both)
    for scale in (1.0, -0.7):
        given = W * scale, V, B, XS
        with fp.eager():
            expected = both(*given)
        found = compiled(*given)
        assert_allclose(found[0], expected[0], rtol=1e-11)
        for one, other in zip(found[1], expected[1], strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    along = fp.compile(lambda w: fp.jvp(fp.grad(lambda w: f(w, V, B, XS)), (w,), (np.cos(w),))[1])
    with fp.eager():
        expected = fp.jvp(fp.grad(lambda w: f(w, V, B, XS)), (W,), (np.cos(W),))[1]
    assert_allclose(along(W), expected, rtol=1e-8, atol=1e-10)


HELD = [in_variables, in_a_dict, in_a_list_of_tuples, in_named_tuples, in_a_bound_method, in_functions]


@pytest.mark.parametrize("f", HELD, ids=lambda f: f.__name__)
def test_no_number_of_them_is_an_operand(f):
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, Program)}
    compiled = fp.compile(fp.value_and_grad(f, (0, 1, 2)))
    compiled(W, V, B, XS)
    programs = [found for found in gc.get_objects() if isinstance(found, Program) and id(found) not in before]
    wired = [wiring for program in programs for wiring in program.regions]
    assert wired
    assert all(len(wiring.operands) <= 1 for wiring in wired)


def test_a_module_that_is_bound():
    def loss(params, xs):
        bound = MODEL.bound(params)
        return fp.mean(fp.vmap(lambda x: fp.sum(bound(x) ** 2))(xs))

    params = MODEL.params()
    compiled = fp.compile(fp.value_and_grad(loss))
    with fp.eager():
        expected = fp.value_and_grad(loss)(params, XS)
    found = compiled(params, XS)
    assert_allclose(found[0], expected[0], rtol=1e-12)
    for one, other in zip(flatten(found[1])[0], flatten(expected[1])[0], strict=True):
        assert_allclose(one, other, rtol=1e-10)


def test_what_is_around_is_as_it_was_after_an_error():
    held = {}

    def loss(w, xs):
        p = held["p"] = {"w": w, "all": [(w, 1.0)]}

        def body(x):
            held["inside"] = p["w"], p["all"][0][0]
            raise KeyError("here")

        try:
            return fp.sum(fp.vmap(body)(xs))
        finally:
            held["after"] = p["w"] is w and p["all"][0][0] is w

    with pytest.raises(KeyError, match="here"):
        fp.compile(fp.grad(loss))(W, XS)
    assert held["after"]
    assert held["inside"][0] is held["inside"][1]
    assert held["inside"][0] is not held["p"]["w"]


def test_what_a_body_assigns_stays():
    seen = {}

    def loss(w, xs):
        p = {"w": w, "last": w}

        def body(x):
            p["last"] = "assigned"
            return fp.sum(p["w"] @ x)

        found = fp.sum(fp.vmap(body)(xs))
        seen.update(last=p["last"], w=p["w"] is w)
        return found

    fp.compile(loss)(W, XS)
    assert seen == {"last": "assigned", "w": True}


def test_what_another_call_has_left_is_no_array_of_this_one():
    """A handle of a recording that is over is refused where it is used, and harmless where it is only around."""
    left = []
    fp.compile(lambda w: left.append(w) or fp.sum(w))(W)
    compiled = fp.compile(lambda xs: fp.sum(fp.vmap(lambda x: fp.sum(x) * len(left))(xs)))
    assert_allclose(compiled(XS), XS.sum())
    assert_array_equal(compiled(XS), compiled(XS))
