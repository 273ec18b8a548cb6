"""Arrays around the body of a map are read as wholes, wherever they are held, as if they had been its arguments."""

import collections
import dataclasses
import functools
import gc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastprop as fp
from fastprop import nn
from fastprop.circuits import mapping
from fastprop.circuits.enclosed import _Look
from fastprop.circuits.mapping import _give_gradients
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


def kept_by_the_body(w, v, b, xs):
    """What a body puts somewhere else is what was around it, in whatever order it is called later."""
    kept = {}
    last = None

    def body(x):
        nonlocal last
        kept.setdefault("w", w)
        last = (w, [b])
        return network(kept["w"], v, last[1][0], x)

    found = fp.mean(fp.vmap(body)(xs))
    return found + fp.sum(kept["w"] ** 2) * fp.sum(last[0]) + fp.sum(last[1][0])


def in_another_order(w, v, b, xs):
    held = [w, b]

    def body(x):
        held.append(held.pop(0))
        return sum(fp.sum(array) for array in held) * x[0]

    return fp.mean(fp.vmap(body)(xs)) + sum(fp.sum(array**2) for array in held)


def by_identity(w, v, b, xs):
    """Defaults and what partials hold are around a function, too: an array is the same one everywhere."""

    def body(x, *, known=w, seen, more=(b, v)):
        same = known is w and seen is b and more[0] is b
        return network(known, more[1], seen, x) * (2.0 if same else 1.0)

    return fp.mean(fp.vmap(functools.partial(body, seen=b))(xs)) + fp.mean(
        fp.vmap(functools.partial(lambda w2, x, b2=b: fp.sum(w2 @ x) * (w2 is w) + fp.sum(b2) * (b2 is b), w))(xs)
    )


def as_deep_as_one_looks(w, v, b, xs):
    """The inner body is farther away from the arrays: its derivative finds what stood for them, nevertheless."""
    deep = [w, v]
    for _ in range(5):
        deep = [deep]

    def inner(y):
        return network(deep[0][0][0][0][0][0], deep[0][0][0][0][0][1], b, y)

    return fp.mean(fp.vmap(lambda x: fp.mean(fp.vmap(lambda y: inner(x * y))(xs)) * deep[0][0][0][0][0][0][0, 0])(xs))


KEPT, SEEN = {}, []


def kept_in_globals(w, v, b, xs):
    def body(x):
        KEPT["w"] = w
        SEEN.append((v, 1.0))
        return network(w, SEEN[-1][0], b, x)

    found = fp.mean(fp.vmap(body)(xs))
    return found + fp.sum(KEPT.pop("w") ** 2) + fp.sum(SEEN.pop()[0] ** 3)


@dataclasses.dataclass(slots=True, frozen=True)
class Layer:
    w: object
    rest: object


def in_slots(w, v, b, xs):
    class Last:
        __slots__ = ("seen",)

    layer, last = Layer(w, (b, v)), Last()

    def body(x):
        last.seen = layer.w
        return network(layer.w, layer.rest[1], layer.rest[0], x)

    return fp.mean(fp.vmap(body)(xs)) + fp.sum(last.seen**2)


class Two(tuple):
    """A tuple that is not made of its parts."""

    __slots__ = ()

    def __new__(cls, left, right):
        return super().__new__(cls, (left, right))


class Marked(tuple):
    """A tuple with an attribute."""


class Frozen(dict):
    def __setitem__(self, key, value):
        raise TypeError("nothing is assigned here")


class FrozenList(list):
    def __setitem__(self, key, value):
        raise TypeError("nothing is assigned here")


class Checked(Pair):
    __slots__ = ()

    def __new__(cls, w):
        return super().__new__(cls, w, None)


def in_other_classes(w, v, b, xs):
    two, marked, one = Two(w, b), Marked((v,)), Checked(w)
    marked.scale = 2.0
    frozen, ordered = Frozen(w=w), [FrozenList([b]), collections.OrderedDict(v=v)]

    def body(x):
        first = network(two[0], marked[0], two[1], x) * marked.scale
        return first + network(frozen["w"], ordered[1]["v"], ordered[0][0], x) * fp.sum(one.w)

    return fp.mean(fp.vmap(body)(xs))


def in_each_other(w, v, b, xs):
    """Tuples that hold themselves many times over, and many of them, and one too deep to look into."""
    many, deep = (w,), (b,)
    for _ in range(40):
        many = many, many
    for _ in range(5_000):
        deep = (deep,)
    held = [many, deep, {"v": v}]
    held.append(held)
    return fp.mean(fp.vmap(lambda x: network(w, held[3][2]["v"], b, x) * len(held[0]))(xs))


def of_gradients(w, v, b, xs):
    """Around a function whose gradient is mapped: arrays come behind its arguments, from whose end it counts, too."""
    pull = fp.vmap(fp.grad(lambda x: network(w, v, b, x)))(xs)
    both = fp.vmap(fp.value_and_grad(lambda y, x: network(w, v, b, x * y), argnums=(-1, 0)))(xs, pull)
    rows = fp.vmap(fp.jacobian(lambda x: fp.tanh(w @ x + b)))(xs)
    return fp.sum(pull**2) + fp.sum(both[0]) + fp.sum(both[1][0] * both[1][1]) + fp.sum(rows * w)


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
    kept_by_the_body,
    in_another_order,
    by_identity,
    as_deep_as_one_looks,
    kept_in_globals,
    in_slots,
    in_other_classes,
    in_each_other,
    of_gradients,
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


HELD = [*PROGRAMS[:7], by_identity, in_slots]


def operands(f, differentiated=True):
    """Return of each map of a program how many numbers it reads one by one."""
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, Program)}
    compiled = fp.compile(fp.value_and_grad(f, (0, 1, 2)) if differentiated else f)
    compiled(W, V, B, XS)
    programs = [found for found in gc.get_objects() if isinstance(found, Program) and id(found) not in before]
    return [len(wiring.operands) for program in programs for wiring in program.regions]


@pytest.mark.parametrize("f", HELD, ids=lambda f: f.__name__)
def test_no_number_of_them_is_an_operand(f):
    assert max(operands(f)) <= 1


@pytest.mark.parametrize("call", [fp.compile, lambda f: fp.compile(fp.value_and_grad(f))])
def test_what_is_around_a_body_is_looked_through_twice(call, monkeypatch):
    """Before it is recorded, and after: what it has put where is then known to whatever keeps what was around it."""
    rows = [{"a": float(k), "more": [W]} for k in range(100)]
    looked = []
    into = _Look._of_container
    monkeypatch.setattr(_Look, "_of_container", lambda look, x: (looked.extend([x] * (x is rows)), into(look, x))[1])
    compiled = call(lambda w, xs: sum(fp.sum(fp.vmap(lambda x: fp.sum(w @ x) * len(rows))(xs)) for _ in range(5)))
    compiled(W, XS)
    assert len(looked) == 5 * 2


GRADIENTS = {
    "gradient": lambda w, v, b, xs: fp.vmap(fp.grad(lambda x: network(w, v, b, x)))(xs),
    "both": lambda w, v, b, xs: fp.vmap(fp.value_and_grad(lambda y, x: network(w, v, b, x * y), -1))(xs, xs),
    "jacobian": lambda w, v, b, xs: fp.vmap(fp.jacobian(lambda x: fp.tanh(w @ x + b)))(xs),
    "with aux": lambda w, v, b, xs: fp.vmap(fp.grad(lambda x: (network(w, v, b, x), x), has_aux=True))(xs),
    "decided": lambda w, v, b, xs: fp.vmap(fp.grad(lambda x: network(w, v, b, x) if x[0] > 0.0 else fp.sum(x)))(xs),
}


@pytest.mark.parametrize("f", GRADIENTS.values(), ids=list(GRADIENTS))
def test_arrays_around_functions_whose_gradients_are_mapped(f):
    assert max(operands(f, differentiated=False)) <= 1
    found, _ = flatten(fp.compile(f)(W, V, B, XS))
    with fp.eager():
        expected, _ = flatten(f(W, V, B, XS))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("argnums", [2, -3, (0, 2), True, "x"])
def test_gradients_by_what_is_no_argument(argnums):
    def f(w, xs):
        return fp.sum(fp.vmap(fp.grad(lambda x, y: fp.sum(w @ x) * fp.sum(y), argnums))(xs, xs))

    with pytest.raises((TypeError, ValueError), match="argnums"):
        fp.compile(f)(W, XS)


def per_example(w, v, b, xs):
    return fp.vmap(fp.grad(network, (0, 1, 2)), in_axes=(None, None, None, 0))(w, v, b, xs)


def of_windows(w, v, b, xs):
    """Each number is used at every place: what comes of that is added up as it comes."""
    return fp.vmap(fp.grad(lambda k, x: fp.sum(fp.convolve(x, k) ** 3)), in_axes=(None, 0))(b, np.tile(xs, 5))


@pytest.mark.parametrize(("f", "sweeps"), [(per_example, False), (of_windows, True), (GRADIENTS["decided"], True)])
def test_gradients_per_example(f, sweeps, monkeypatch):
    given = []
    monkeypatch.setattr(
        mapping, "_give_gradients", lambda region, *rest: (given.append(region), _give_gradients(region, *rest))
    )
    found, _ = flatten(fp.compile(f)(W, V, B, XS))
    with fp.eager():
        expected, _ = flatten(f(W, V, B, XS))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    assert bool(given) is sweeps


def test_what_a_body_has_for_its_own_is_read_number_by_number():
    """Maps in maps are run in many lanes of these at once: they took up to twice as long with wholes."""
    assert max(operands(in_maps_in_maps)) >= W.size + V.size + B.size + XS.shape[1]
    assert max(operands(in_a_scan)) == 1 + XS.shape[1]


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
            held["inside"] = id(p["w"]), id(p["all"][0][0])
            raise KeyError("here")

        try:
            return fp.sum(fp.vmap(body)(xs))
        finally:
            held["after"] = p["w"] is w and p["all"][0][0] is w

    with pytest.raises(KeyError, match="here"):
        fp.compile(fp.grad(loss))(W, XS)
    assert held["after"]
    assert held["inside"][0] == held["inside"][1]
    assert held["inside"][0] != id(held["p"]["w"])


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


def test_a_map_that_is_called_by_itself_records_its_body_once():
    """What is run once is not worth another recording."""
    calls = []

    def counted(w, x):
        calls.append(None)
        return fp.sum(fp.tanh(w @ x))

    by_itself = fp.vmap(fp.grad(counted), in_axes=(None, 0))
    found = by_itself(W, XS)
    assert len(calls) == 1
    assert_allclose(fp.compile(by_itself)(W, XS), found, rtol=1e-13)
