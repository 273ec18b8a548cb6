"""Misuse of traced values: what would bake a constant in, values from outside, values that leave their function."""

import copy
import math
import pickle
import re
import threading

import numpy as np
import pytest

import fastprop as fp

HERE = re.escape(__file__)

READS = {
    "value": lambda x: x.value,
    "value of a result": lambda x: fp.exp(x * 2.0).value,
    "format": lambda x: f"{x:.3f}",
}
NUMBERS = {
    "float": float,
    "int": int,
    "complex": complex,
    "math.exp": math.exp,
    "math.sqrt": math.sqrt,
    "np.asarray": np.asarray,
    "np.array": lambda x: np.array([x]),
    "np.float64": np.float64,
}
RECORDERS = {
    "trace": lambda f, x: fp.trace(f, x),
    "compile": lambda f, x: fp.compile(f)(x),
    "compiled gradient": lambda f, x: fp.compile(fp.grad(f))(x),
}


@pytest.mark.parametrize("recorder", RECORDERS)
@pytest.mark.parametrize("read", READS)
def test_reading_a_traced_value_names_the_line(recorder, read):
    def f(x):
        READS[read](x)
        return x * 2.0

    line = READS[read].__code__.co_firstlineno
    with pytest.raises(TypeError, match=rf"{HERE}:{line}: the value of a traced Unit.*bake a constant"):
        RECORDERS[recorder](f, 1.5)
    assert (fp.Unit(2.0) * 3.0).value == 6.0


@pytest.mark.parametrize("read", NUMBERS)
def test_making_a_number_of_a_traced_value(read):
    for use in (lambda x: NUMBERS[read](x), lambda x: NUMBERS[read](x * x)):
        for recorder in RECORDERS.values():
            with pytest.raises(TypeError, match=r"drop its derivative|bake a constant"):
                recorder(lambda x, use=use: (use(x), x * 1.0)[1], 1.5)


ARRAY_READS = {
    "value": lambda x: x.value,
    "value of a result": lambda x: (x * 2.0).value,
    "float": lambda x: float(x[:1]),
    "int": lambda x: int(x),
    "np.asarray": lambda x: np.asarray(x),
    "np.array": lambda x: np.array(x),
}


@pytest.mark.parametrize("read", ARRAY_READS)
def test_reading_a_traced_array_names_the_line(read):
    line = ARRAY_READS[read].__code__.co_firstlineno
    with pytest.raises(TypeError, match=rf"{HERE}:{line}: the value of a traced Array.*bake a constant"):
        fp.trace(lambda x: (ARRAY_READS[read](x), x.sum())[1], np.ones(3))


@pytest.mark.parametrize(
    "use",
    [
        bool,
        lambda x: x.grad,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda x: np.median(x),
        lambda x: np.unique(x),
    ],
    ids=range(7),
)
def test_what_else_a_traced_array_is_not_for(use):
    with pytest.raises(TypeError):
        fp.trace(lambda x: (use(x), x.sum())[1], np.ones(3))


@pytest.mark.parametrize(
    "use",
    [
        bool,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda x: setattr(x, "value", 3.0),
        lambda x: [1, 2][x],
        lambda x: fp.where(x, 1.0, 2.0),
    ],
    ids=range(7),
)
def test_what_else_a_traced_unit_is_not_for(use):
    with pytest.raises((TypeError, ValueError)):
        fp.trace(lambda x: (use(x), x * 2.0)[1], 1.5)


@pytest.mark.parametrize(
    "use",
    [lambda x: x.grad, lambda x: (x * x).backward(), float, math.exp, np.asarray],
    ids=["grad", "backward", "float", "math.exp", "np.asarray"],
)
def test_whatever_would_bake_a_constant_in_says_so(use):
    with pytest.raises(TypeError, match=rf"{HERE}:\d+: .*(bake|traced)"):
        fp.trace(lambda x: (use(x), x * 2.0)[1], 1.5)


@pytest.mark.parametrize("make", [np.array, np.asarray])
def test_arrays_made_of_traced_numbers_say_what_makes_them(make):
    x = np.array([1.0, 2.0])
    with pytest.raises(TypeError, match=rf"{HERE}:\d+: .*np.stack or fp.Array instead of np.array"):
        fp.trace(lambda x: make([x[0] * x[1], x[1]]).sum(), x)
    for instead in (np.stack, fp.Array):
        assert fp.compile(fp.grad(lambda x, instead=instead: instead([x[0] * x[1], x[1]]).sum()))(x).tolist() == [2, 2]


def test_stop_gradient():
    circuit = fp.trace(lambda x: fp.stop_gradient(x * x) * x, 1.0)
    assert circuit.value_and_grad(3.0) == (27.0, 9.0)


def test_stop_gradient_of_nests_and_of_truth_values():
    def f(params, mask):
        held = fp.stop_gradient(
            {"w": params["w"], "few": [params["b"], None], "mask": mask, "above": params["w"] > 2.0}
        )
        assert held["few"][1] is None
        chosen = fp.where(held["mask"] & ~held["above"], held["w"], 0.5)
        return fp.sum(chosen * params["w"]) + held["few"][0] * params["b"] + fp.sum(held["above"] * params["w"])

    params, mask = {"w": np.array([1.0, 2.0, 3.0]), "b": 4.0}, np.array([True, False, True])
    slope = {"w": [1.0, 0.5, 1.5], "b": 4.0}
    lanes, masks = {"w": np.stack([params["w"]] * 2), "b": np.array([4.0, 4.0])}, np.stack([mask, mask])
    for gradient in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda *given: fp.grad(f)(*given))):
        np.testing.assert_array_equal(gradient(params, mask)["w"], slope["w"])
        assert gradient(params, mask)["b"] == slope["b"]
    for mapped in (fp.vmap(fp.grad(f)), fp.compile(fp.vmap(fp.grad(f)))):
        np.testing.assert_array_equal(mapped(lanes, masks)["w"], [slope["w"]] * 2)
    steps = fp.compile(fp.grad(lambda p: fp.scan(lambda c, m: (c + f(p, m), None), 0.0, masks)[0]))
    np.testing.assert_array_equal(steps(params)["w"], 2.0 * np.array(slope["w"]))


@pytest.mark.parametrize(
    "made",
    [
        lambda x: fp.scan(lambda carry, row: (carry + row, carry * row), np.ones(2), x)[1],
        lambda x: fp.vmap(lambda row: row * row.sum())(x),
        lambda x: fp.vmap(fp.vmap(fp.square))(x),
    ],
    ids=["scan", "vmap", "vmap of vmap"],
)
def test_stop_gradient_of_what_lanes_and_steps_have_made(made):
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    slope = 2.0 * x * made(x)

    def f(x):
        return (fp.stop_gradient(made(x)) * x * x).sum()

    for value in (f, fp.compile(f), fp.trace(f, x)):
        assert value(x) == (slope * x).sum() / 2.0
    for gradient in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda x: fp.grad(f)(x)), fp.trace(fp.grad(f), x)):
        np.testing.assert_allclose(gradient(x), slope, rtol=1e-15)
    for lanes in (fp.vmap(fp.grad(f)), fp.compile(fp.grad(lambda x: fp.vmap(f)(x).sum()))):
        np.testing.assert_allclose(lanes(np.stack([x, x])), [slope, slope], rtol=1e-15)


def test_what_is_held_of_integers_indexes_on():
    x = np.array([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])
    labels = np.array([2, 0])

    def f(x, labels):
        given, label, best = fp.stop_gradient(labels), fp.stop_gradient(labels[1]), fp.stop_gradient(np.argmax(x[1]))
        steps = fp.stop_gradient(fp.scan(lambda carry, label: (carry, label), 0.0, labels)[1])
        return x[np.arange(2), given].sum() + x[0, label] + x[0, best] + x[1, steps].sum()

    slope = [[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]]
    for value in (f, fp.compile(f), fp.trace(f, x, labels), lambda x, labels: fp.vmap(f)(x[None], labels[None])[0]):
        assert value(x, labels) == (x * slope).sum()
    for gradient in (fp.grad(f), fp.compile(fp.grad(f)), fp.compile(lambda x, labels: fp.grad(f)(x, labels))):
        assert gradient(x, labels).tolist() == slope
        assert fp.vmap(gradient)(x[None], labels[None]).tolist() == [slope]
    both = fp.grad(lambda x, labels: x[0, fp.stop_gradient(labels)] @ x[1, :2] * fp.stop_gradient(labels[0]), (0, 1))
    slopes = both(x, labels)
    assert slopes[0].tolist() == [[12.0, 0.0, 8.0], [4.0, 6.0, 0.0]] and not np.any(slopes[1])


def test_results_from_outside():
    outside = fp.Unit(3.0) * 2.0
    block = fp.Array([1.0, 2.0]) * 2.0
    for f in (
        lambda x: x * outside,
        lambda x: outside * 2.0 + x,
        lambda x: fp.exp(outside) * x,
        lambda x: fp.where(x > outside, x, 1.0),
        lambda x: fp.where(outside > 0.0, x, 1.0),
        lambda x: x * block[0],
        lambda x: (x * block).sum(),
        lambda x: fp.vmap(lambda y: y * outside)(fp.Array([x, x])).sum(),
        lambda x: fp.grad(lambda y: y * y)(outside) * x,
        lambda x: fp.grad(lambda y: fp.sum(y * y))(block).sum() * x,
        lambda x: fp.vjp(lambda y: y * y * x, outside)[1](1.0)[0],
        lambda x: fp.jvp(lambda y: y * y, (outside,), (1.0,))[1] * x,
        lambda x: fp.jacobian(lambda y: y * y)(block).sum() * x,
        lambda x: x if fp.any(block > 3.0) else x * x,
    ):
        for recorder in RECORDERS.values():
            with pytest.raises((ValueError, TypeError), match=r"outside|tape"):
                recorder(f, 1.0)
    with pytest.raises(ValueError, match="outside"):
        fp.trace(lambda x: outside, 1.0)
    assert fp.trace(lambda x: x * outside.value, 1.0)(2.0) == 12.0
    outside.backward()


def test_traced_values_that_leave_their_function():
    kept = []

    def f(x):
        kept.append((x, x * 2.0, x > 0))
        return x * 3.0

    circuit = fp.trace(f, 1.0)
    x, y, condition = kept[0]
    for recorder in RECORDERS.values():
        for use in (lambda z: z * x, lambda z: z * y, lambda z: fp.exp(y) * z, lambda z: fp.where(condition, z, 0.0)):
            with pytest.raises(ValueError, match=r"traces|must not leave"):
                recorder(use, 1.0)
        with pytest.raises(ValueError, match=r"outside|traces"):
            recorder(lambda z: y, 1.0)
    with pytest.raises(TypeError, match="bake"):
        _ = y.value
    with pytest.raises(ValueError, match="outside of the function"):
        bool(condition)
    assert circuit(5.0) == 15.0


def test_lanes_that_leave_their_vmap():
    kept = []

    def f(x):
        total = fp.vmap(lambda y: (kept.append(y), y * y)[1])(x).sum()
        return total * kept[0]

    for recorder in (fp.trace, lambda f, x: fp.compile(f)(x), lambda f, x: fp.compile(fp.grad(f))(x)):
        kept.clear()
        with pytest.raises(ValueError, match=r"another function|traces"):
            recorder(f, np.ones(3))


def test_a_trace_inside_of_a_trace():
    with pytest.raises(ValueError, match="traced inside"):
        fp.trace(lambda x: fp.trace(lambda y: y * y, 1.0)(x), 2.0)
    assert fp.trace(lambda x: fp.compile(lambda y: y * y)(x), 2.0)(3.0) == 9.0


def test_an_exception_comes_out_unchanged_and_leaves_no_trace():
    class MineError(Exception):
        pass

    def f(x):
        raise MineError(str(type(x).__name__))

    for recorder in RECORDERS.values():
        with pytest.raises(MineError, match="Unit"):
            recorder(f, 1.0)
    with pytest.raises(MineError):
        fp.vmap(f)(np.ones(3))
    x = fp.Unit(2.0)
    (x * x).backward()
    assert x.grad == 4.0
    assert (x > 1.0) is True


def test_threads_trace_side_by_side():
    ready, found = threading.Barrier(4), {}

    def work(k):
        def f(x):
            for _ in range(200):
                x = x * 0.5 + k
                if _ == 50:
                    ready.wait(10)
            return x

        found[k] = fp.trace(f, 1.0)(0.0)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {k: pytest.approx(2.0 * k) for k in range(4)}


SHOWS = {
    "repr": repr,
    "str": str,
    "f-string": lambda x: f"{x}",
    "%s": lambda x: "%s" % x,  # noqa: UP031
    "in a list": lambda x: str([x]),
}


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize("call", ["compile", "compiled gradient", "vmap", "scan"])
def test_what_is_recorded_shows_no_value(show, call):
    shown = []

    def f(x):
        shown.append(SHOWS[show](x * 2.0))
        return x * 2.0

    calls = {
        "vmap": lambda: fp.vmap(f)(np.array([1.5, 2.5])),
        "scan": lambda: fp.compile(lambda xs: fp.scan(lambda carry, x: (carry + f(x), None), 0.0, xs))(np.ones(2)),
    }
    calls.get(call, lambda: RECORDERS[call](f, 1.5))()
    assert shown == [("[{}]" if show == "in a list" else "{}").format("<traced Unit: recorded, no value>")]
    with fp.eager():
        calls.get(call, lambda: fp.compile(f)(1.5))()
    assert shown[-1].strip("[]").removeprefix("np.float64(").rstrip(")") in ("3.0", "2.0", "5.0")
    assert repr(fp.Unit(2.0) * 3.0) == "Unit(6.0, grad=0.0)"


FORMATS = [lambda x: f"{x:.3f}", lambda x: "%.3f" % x, "{:.3f}".format]  # noqa: UP031


@pytest.mark.parametrize("form", FORMATS)
def test_formats_say_where_values_are(form):
    with pytest.raises(TypeError, match=r"bake a constant.*within fp.eager\(\) there are values to look at"):
        fp.compile(lambda x: (form(x), x)[1])(1.5)
    with fp.eager():
        assert fp.compile(lambda x: (form(x), x)[1])(1.5) == 1.5


ASSIGNED = {
    "a number": lambda out, x: out.__setitem__(0, x[0]),
    "a slice": lambda out, x: out.__setitem__(slice(2), x[:2]),
    "a sum": lambda out, x: out.__setitem__(0, out[0] + x[0]),
    "all": lambda out, x: out.fill(x[0]),
}


@pytest.mark.parametrize("call", [fp.grad, fp.compile, fp.vmap], ids=["grad", "compile", "vmap"])
@pytest.mark.parametrize("given", ["floats", "integers"])
@pytest.mark.parametrize("assign", ASSIGNED)
def test_numbers_of_plain_arrays_can_not_be_assigned(assign, given, call):
    x = np.array([1.0, 2.0, 3.0])[(None,) * (call is fp.vmap)]
    x = x if given == "floats" else x.astype(int)

    def f(x):
        ASSIGNED[assign](np.zeros(3), x)
        return fp.sum(x)

    with pytest.raises(TypeError) as raised:
        call(f)(x)
    text = str(raised.value)
    assert "at(out)[i].set(v)" in text or "fp.at(table)[i].set(v) for table[i] = v" in text


def test_what_is_written_instead_of_assignments_works():
    x = np.array([1.0, 2.0, 3.0])

    def f(x, lists):
        out = np.zeros(3)
        out = fp.at(out)[0].set(x[0])
        out = fp.at(out)[1].add(x[1] * x[1])
        out = fp.where(out > 2.0, x * out, out)
        if lists:
            parts = [0.0, 0.0, 0.0]
            for k in range(3):
                parts[k] = out[k] * 1.0
            out = fp.stack(parts)
        return fp.sum(out)

    for lists in (False, True):
        for gradient in (
            fp.grad(f),
            fp.compile(fp.grad(f)),
            lambda x, lists: fp.vmap(lambda x: fp.grad(f)(x, lists))(x[None])[0],
        ):
            np.testing.assert_array_equal(gradient(x, lists), [1.0, 12.0, 0.0])


def test_traced_arrays_can_not_be_changed():
    def refused(change, error, text):
        def f(x):
            with pytest.raises(error, match=text):
                change(x)
            return fp.sum(x)

        assert fp.compile(f)(np.array([1.0, 2.0])) == 3.0

    refused(lambda x: setattr(x, "value", 3.0), ValueError, r"can't be assigned.*write x = x.at\[i\].set\(v\)")
    refused(lambda x: x.backward(), TypeError, rf"{HERE}:\d+: a traced value has no gradient, and no backward")
    refused(lambda x: x[0].backward(), TypeError, rf"{HERE}:\d+: a traced value has no gradient, and no backward")
    refused(lambda x: x.item(), TypeError, r"use .value, or .value.item\(\); recorded, it has no value")
    refused(lambda x: x.__delitem__(0), TypeError, r"nothing can be taken out of an Array; write a = a\[index\]")
    refused(lambda x: x.__setitem__(x > 1.0, 0.0), TypeError, r"of a mask a = fp.where\(mask, v, a\)")


def test_functions_of_scipy_are_none_of_its_lines():
    from scipy import special

    for f in (lambda x: special.logsumexp(x), lambda x: special.softmax(x)):
        with pytest.raises(TypeError, match=rf"{HERE}:{f.__code__.co_firstlineno}: "):
            fp.trace(f, np.array([0.5, 1.0]))
        with pytest.raises(TypeError, match=r"drop its derivative; use .* instead of SciPy's"):
            fp.grad(f)(np.array([0.5, 1.0]))
