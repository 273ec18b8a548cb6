"""Pictures of circuits: the numbers on their wires, folding, and what hostile input makes of them."""

import gc
import math
import operator
import pickle
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import fastprop as fp
from fastprop import draw, gates, reference
from fastprop.draw.circuit import MOST, wires_of
from fastprop.draw.diagram import diagram_of
from fastprop.draw.svg import GREEN, RED
from pictures import SVG, Cube, numbers, random_circuit, texts, tips, tutorial

# ------------------------------------------------------------------------------------------- numbers on the wires


def test_tutorial():
    *_, f = tutorial()
    f.name = "f"
    f.backward()
    assert numbers(draw.circuit(f)) == {
        "leaf x": (-2.0, -4.0),
        "leaf y": (5.0, -4.0),
        "leaf z": (-4.0, 3.0),
        "add": (3.0, -4.0),
        "multiply f": (-12.0, 1.0),
    }


def test_values_stand_above_the_wire_and_gradients_below():
    *_, f = tutorial()
    f.backward()
    picture = draw.circuit(f)
    values, gradients = texts(picture, GREEN), texts(picture, RED)
    assert [text for text, _ in values] == ["-2", "5", "-4", "3", "-12"]
    assert [text for text, _ in gradients] == ["-4", "-4", "3", "-4", "1"]
    assert [below - above for (_, above), (_, below) in zip(values, gradients)] == pytest.approx([19.0] * 5)


@pytest.mark.parametrize("seed", range(12))
def test_numbers_are_those_of_the_reference(seed):
    nodes, judges = random_circuit(fp, seed), random_circuit(reference, seed)
    for i, node in enumerate(nodes):
        node.name = f"n{i}"
    nodes[-1].backward(0.75)
    judges[-1].backward(0.75)
    shown = {name.split()[-1]: pair for name, pair in numbers(draw.circuit(nodes[-1])).items()}
    reached = [i for i, judge in enumerate(judges) if judge.grad != 0.0]
    assert len(reached) > 5
    for i in reached:
        assert shown[f"n{i}"] == pytest.approx((judges[i].value, judges[i].grad), rel=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_wires_lead_to_the_operands(seed):
    nodes = random_circuit(fp, seed)
    out = nodes[-1]
    del nodes
    wires = wires_of(out, (), 1.0)
    assert wires.outputs == [len(wires) - 1]
    for node in range(len(wires)):
        if wires.kind[node] > 1:
            gate = gates.table[wires.kinds[wires.kind[node]]]
            operands = [float(wires.value[x]) for x in wires.operands(node)]
            value = gate(operands) if gate.arity == gates.SEQUENCE else gate(*operands)
            assert value == pytest.approx(wires.value[node], rel=1e-14)


def test_a_result_without_a_handle_has_its_gradient_too():
    x = fp.Unit(2.0, name="x")
    f = fp.tanh(x * x * 0.5) * x
    gc.collect()
    f.backward()
    y = math.tanh(2.0)
    shown = numbers(draw.circuit(f))
    assert shown["leaf x"] == pytest.approx((2.0, x.grad))
    assert shown["tanh"] == pytest.approx((y, 2.0))


def test_one_operand_twice():
    x = fp.Unit(3.0, name="x")
    picture = draw.circuit(x * x, pull=1.0)
    assert numbers(picture) == {"leaf x": (3.0, 6.0), "multiply": (9.0, 1.0)}
    assert diagram_of(wires_of(x * x, (), None), MOST).wires == [(0, 1), (0, 1)]


def test_drawing_leaves_no_trace():
    x, y, z, f = tutorial()
    f.backward()
    tape = f._tape
    before = len(tape), [unit.grad for unit in (x, y, z, f)]
    draw.circuit(f, pull=5.0)
    draw.sweeps(f)
    f._repr_svg_()
    assert (len(tape), [unit.grad for unit in (x, y, z, f)]) == before
    f.backward()
    assert x.grad == -8.0


def test_before_a_sweep_there_are_no_gradients():
    *_, f = tutorial()
    picture = draw.circuit(f)
    assert texts(picture, RED) == []
    assert len(texts(picture, GREEN)) == 5


def test_a_leaf_that_was_assigned_since_has_the_value_that_was_used():
    x = fp.Unit(2.0, name="x")
    f = x * 3.0
    x.value = 7.0
    assert numbers(draw.circuit(f))["leaf x"] == (2.0, None)


def test_several_results_are_pulled_together():
    x = fp.Unit(2.0, name="x")
    shown = numbers(draw.circuit([x * 3.0, fp.exp(x)], pull=[1.0, 0.5]))
    assert shown["leaf x"] == pytest.approx((2.0, 3.0 + 0.5 * math.exp(2.0)))


def test_arrays():
    w, v = fp.Array([[1.0, 2.0], [3.0, 4.0]], name="w"), fp.Array([1.0, -1.0], name="v")
    f = fp.tanh(w @ v).sum() + v[1]
    f.backward()
    picture = draw.circuit(f)
    shown = {name: (value, gradient) for name, value, gradient, _ in tips(picture)}
    assert shown["leaf v"][0] == "float64[2]: 1.0 -1.0"
    gradient = [float(number) for number in shown["leaf v"][1].split(": ")[1].split()]
    assert gradient == pytest.approx(v.grad.tolist(), rel=1e-14)
    gradient = [float(number) for number in shown["leaf w"][1].split(": ")[1].split()]
    assert gradient == pytest.approx(w.grad.ravel().tolist(), rel=1e-14)
    assert shown["getitem [1]"] == ("-1.0", "1.0")
    assert "2×2 1…4" in [text for text, _ in texts(picture, GREEN)]
    assert float(shown["matmul"][0].split(": ")[1].split()[0]) == -1.0


ON_ARRAYS = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: fp.tanh(a),
    lambda a, b: fp.maximum(a, b),
    lambda a, b: fp.relu(b),
    lambda a, b: a * b[1],
    lambda a, b: a * (a @ b),
    lambda a, b: fp.softmax(a),
    lambda a, b: fp.stack([a, b]).sum(axis=0),
    lambda a, b: fp.where(np.array([True, False, True]), a, b),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_arrays_are_those_of_backward(seed, dtype):
    rng = np.random.default_rng(seed)
    leaves = [fp.Array(rng.normal(size=3).astype(dtype), name=f"a{i}") for i in range(3)]
    nodes = list(leaves)
    for i, j, k in zip(*rng.integers(100, size=(3, 15))):
        nodes.append(ON_ARRAYS[k % len(ON_ARRAYS)](nodes[i % len(nodes)], nodes[j % len(nodes)]))
    out = fp.sum(nodes[-1] * nodes[-2] + nodes[-3] + nodes[-4])
    del nodes
    wires = wires_of(out, (), 1.5)
    assert all((leaf.grad == 0.0).all() for leaf in leaves)
    out.backward(1.5)
    arrays = {wires.names[node]: pair for node, pair in wires.arrays.items() if wires.kind[node] == 0}
    assert len(arrays) > 1
    for leaf in leaves:
        value, gradient = arrays.get(leaf.name, (leaf.value, np.zeros(3)))
        assert np.array_equal(value, leaf.value) and gradient == pytest.approx(leaf.grad, rel=1e-12, abs=1e-300)


def test_constant_arrays_and_arrays_as_they_were():
    a = fp.Array([1.0, 2.0], name="a")
    f = (a * np.array([3.0, 5.0])).sum()
    a.value = [9.0, 9.0]
    shown = {name: value for name, value, *_ in tips(draw.circuit(f, pull=1.0))}
    assert shown["leaf a"] == "float64[2]: 1.0 2.0"
    assert shown["constant"] == "float64[2]: 3.0 5.0"


def test_gates_of_ones_own():
    x = fp.Unit(2.0, name="x")
    shown = numbers(draw.circuit(Cube()(x) * 2.0, pull=1.0))
    assert (shown["Cube"], shown["leaf x"]) == ((8.0, 2.0), (2.0, 24.0))


@pytest.mark.parametrize("name", ["leaf", "constant", "less", "getitem"])
def test_a_gate_that_is_called_like_something_else(name):
    x = fp.Unit(2.0, name="x")
    f = type(name, (Cube,), {})()(x)
    shown = numbers(draw.circuit(f, pull=1.0))
    assert shown == {"leaf x": (2.0, 12.0), name: (8.0, 1.0)}
    assert "1 gate<" in draw.circuit(f).svg


def test_a_sweep_that_fails_leaves_the_tape_usable():
    class Broken(Cube):
        def backward(self, pull, x):
            raise RuntimeError("no way back")

    x = fp.Unit(2.0)
    f = Broken()(x) + x
    with pytest.raises(RuntimeError, match="no way back"):
        draw.circuit(f, pull=1.0)
    g = f * 2.0
    assert g.value == 20.0
    assert len(texts(draw.circuit(g), GREEN)) == 5


# ------------------------------------------------------------------------------------------------------- circuits


def neuron(w, x):
    """Names, a branch, a comparison and an operand that is not chosen."""
    s = w[0] * x[0] + w[1] * x[1]
    return fp.maximum(s, x[0]) if s > -100.0 else s


def test_a_circuit_at_arguments():
    w, x = [0.5, -1.0], np.array([2.0, 3.0])
    circuit = fp.trace(neuron, w, x)
    picture = draw.circuit(circuit, w, x)
    shown = numbers(picture)
    value, (gw, gx) = circuit.vjp((w, x))
    assert shown["leaf w[0]"] == (0.5, gw[0])
    assert shown["leaf x[1]"] == (3.0, gx[1])
    assert shown["maximum"] == (value, 1.0)
    assert shown["add"] == (-2.0, 0.0)  # a trace keeps what was not chosen
    assert numbers(draw.circuit(circuit.forward(w, x), pull=1.0)) == shown
    assert numbers(draw.circuit(neuron, w, x)) == shown


def test_source_lines():
    circuit = fp.trace(neuron, [0.5, -1.0], np.array([2.0, 3.0]))
    begin = neuron.__code__.co_firstlineno
    for picture in (draw.circuit(circuit), draw.circuit(circuit, [1.0, 2.0], np.array([2.0, 3.0]))):
        places = {name: place for name, _, _, place in tips(picture)}
        assert places["add"] == f"{__file__}:{begin + 2}"
        assert places["maximum"] == f"{__file__}:{begin + 3}"
        assert places["leaf w[0]"] is None


def test_a_circuit_without_arguments_has_no_values():
    circuit = fp.trace(lambda x: x * 2.0 + fp.exp(x), 1.0)
    picture = draw.circuit(circuit)
    assert texts(picture, RED) == []
    assert [text for text, _ in texts(picture, GREEN)] == ["2"]
    assert {name for name, *_ in tips(picture)} == {"leaf x", "constant", "multiply", "exp", "add"}
    assert circuit._repr_svg_() == picture.svg


def test_a_run_before_and_after_its_sweep():
    run = fp.trace(lambda x: x * x, 1.0).forward(3.0)
    assert texts(draw.circuit(run), RED) == []
    run.backward()
    assert numbers(draw.circuit(run)) == {"leaf x": (3.0, 6.0), "multiply": (9.0, 1.0)}


def test_captured_leaves():
    w = fp.Unit(2.0, name="w")
    circuit = fp.trace(lambda x: w * x, 1.0)
    assert numbers(draw.circuit(circuit, 5.0)) == {"leaf w": (2.0, 5.0), "leaf x": (5.0, 2.0), "multiply": (10.0, 1.0)}
    assert {name for name, *_ in tips(draw.circuit(circuit))} == {"leaf w", "leaf x", "multiply"}
    assert w.grad == 0.0


def test_a_map_in_a_circuit_is_one_gate():
    x = np.array([1.0, 2.0, 3.0])
    circuit = fp.trace(lambda x, k: fp.vmap(lambda a: a * a, reduce="sum")(x) * k, x, 2.0)
    shown = {name: (value, gradient) for name, value, gradient, _ in tips(draw.circuit(circuit, x, 2.0))}
    assert shown["multiply"] == ("28.0", "1.0")
    assert shown["leaf x"] == ("float64[3]: 1.0 2.0 3.0", "float64[3]: 4.0 8.0 12.0")
    assert {name for name, *_ in tips(draw.circuit(circuit))} == {"region map", "leaf k", "multiply"}


def test_a_scan_and_a_gate_of_ones_own_in_a_circuit():
    def f(c, xs):
        return fp.scan(lambda c, x: (c * 0.5 + x, c), c, xs)[0] * 2.0

    xs = np.arange(3.0)
    circuit = fp.trace(f, 1.0, xs)
    shown = {name: (value, gradient) for name, value, gradient, _ in tips(draw.circuit(circuit, 1.0, xs))}
    assert shown["leaf xs"] == ("float64[3]: 0.0 1.0 2.0", "float64[3]: 0.5 1.0 2.0")
    assert "region scan" in {name for name, *_ in tips(draw.circuit(circuit))}
    circuit = fp.trace(lambda x: Cube()(x) + 1.0, 1.0)
    assert "region Cube" in {name for name, *_ in tips(draw.circuit(circuit))}
    assert numbers(draw.circuit(circuit, 2.0))["Cube"] == (8.0, 1.0)


def test_results_of_several_numbers_take_a_pull():
    circuit = fp.trace(lambda x: (x * 2.0, fp.exp(x)), 0.0)
    assert texts(draw.circuit(circuit, 0.0), RED) == []
    assert numbers(draw.circuit(circuit, 0.0, pull=(3.0, 1.0)))["leaf x"] == (0.0, 7.0)


def test_a_circuit_that_was_pickled():
    circuit = pickle.loads(pickle.dumps(fp.trace(operator.mul, 1.0, 2.0)))
    assert {name for name, *_ in tips(draw.circuit(circuit))} == {"leaf argument 0", "leaf argument 1", "multiply"}
    with pytest.raises(TypeError, match="draw it without arguments"):
        draw.circuit(circuit, 1.0, 2.0)


def test_integers_and_static_arguments():
    def look_up(table, i, how):
        return table[i] * 2.0 if how == "twice" else table[i]

    table = np.array([1.0, 5.0, 3.0])
    circuit = fp.trace(look_up, table, np.int64(1), "twice", static_argnums=2)
    shown = numbers(draw.circuit(circuit, table, np.int64(2), "twice"))
    assert shown["multiply"] == (6.0, 1.0)
    assert shown["leaf table[2]"] == (3.0, 2.0)

    def mapped(table, i):
        return fp.vmap(lambda a: a * a)(table)[i]

    assert "25" in [text for text, _ in texts(draw.circuit(mapped, table, np.int64(1)), GREEN)]

    def masked(table, mask):
        return fp.vmap(lambda a, m: fp.where(m > 0, a * a, a), reduce="sum")(table, mask)

    assert texts(draw.circuit(masked, table, np.array([True, True, False])), GREEN)[-1][0] == "29"


def test_drawing_inside_of_a_transform():
    pictures = []

    def f(x):
        y = fp.exp(x) * x
        pictures.append(draw.circuit(y, pull=1.0))
        return y

    assert fp.grad(f)(2.0) == pytest.approx(3.0 * math.exp(2.0))
    assert numbers(pictures[0])["multiply"][1] == 1.0


def test_a_model():
    model = fp.nn.Sequential(fp.nn.Linear(2, 3, rng=0), fp.nn.Tanh(), fp.nn.Linear(3, 1, rng=1))
    x = np.array([1.0, -2.0])
    picture = draw.circuit(model, x, pull=np.ones(1))
    last = [text for text, _ in texts(picture, GREEN)][-1]
    assert last == format(model(x)[0], ".4g")


def test_another_branch_is_an_error_and_never_a_wrong_picture():
    circuit = fp.trace(lambda x: x * x if x > 0.0 else -x, 1.0)
    with pytest.raises(fp.DivergenceError):
        draw.circuit(circuit, -1.0)


# ------------------------------------------------------------------------------------------------ wrong, and hostile


def test_wrong_inputs_say_how_to_mend_it():
    x = fp.Unit(1.0)
    for bad in (3.0, None, "x", np.ones(3), {"a": x}, reference.Unit(1.0) * 2.0):
        with pytest.raises(TypeError, match="give a Unit or an Array"):
            draw.circuit(bad)
    with pytest.raises(TypeError, match="arguments are for a Circuit"):
        draw.circuit(x * x, 1.0)
    with pytest.raises(TypeError, match="1 argument"):
        draw.circuit(fp.trace(lambda x: x * x, 1.0), 1.0, 2.0)
    with pytest.raises(ValueError, match="needs its arguments"):
        draw.circuit(fp.trace(lambda x: x * x, 1.0), pull=1.0)
    with pytest.raises(ValueError, match="at least 1"):
        draw.circuit(x * x, most=0)
    for pull in ([1.0, 2.0], True, "a", 1j):
        with pytest.raises(TypeError, match="pull"):
            draw.circuit(x * x, pull=pull)
        with pytest.raises(TypeError, match="pull"):
            draw.circuit(lambda x: x * x, 1.0, pull=pull)
    a = fp.Array([1.0, 2.0])
    with pytest.raises(ValueError, match=r"pull has shape \(3,\)"):
        draw.circuit(a * a, pull=np.ones(3))
    with pytest.raises(ValueError, match=r"pull has shape \(3,\)"):
        draw.circuit(lambda a: a * a, np.ones(2), pull=np.ones(3))
    with pytest.raises(TypeError, match="traced value"):
        fp.trace(lambda x: draw.circuit(x * x), 1.0)
    with pytest.raises(ValueError, match="2 pulls for 1"):
        draw.circuit([x * x], pull=[1.0, 2.0])
    with fp.Tape():
        y = x * 2.0
    with pytest.raises(ValueError, match="several tapes"):
        draw.circuit([x * x, y])


def test_stale():
    with fp.Tape() as tape:
        y = fp.Unit(1.0) * 2.0
    tape.reset()
    with pytest.raises(fp.StaleUnitError):
        draw.circuit(y)
    assert y._repr_svg_() is None


def test_what_notebooks_show():
    *_, f = tutorial()
    assert f._repr_svg_() == draw.circuit(f)._repr_svg_() == draw.circuit(f).svg
    assert fp.Unit(1.0)._repr_svg_() is None
    assert fp.Array([1.0])._repr_svg_() is None
    assert (fp.Array([1.0], name="a") * 2.0)._repr_svg_().startswith("<svg")
    assert (reference.Unit(1.0) * 2.0)._repr_svg_() is None
    seen = []
    fp.trace(lambda x: seen.append((x * x)._repr_svg_()) or x, 1.0)
    assert seen == [None]


def test_nothing_to_draw():
    assert "nothing to draw" in draw.circuit([]).svg
    assert "nothing to draw" in draw.circuit(lambda: 1.0).svg
    assert numbers(draw.circuit(fp.Unit(2.0, name="x"))) == {"leaf x": (2.0, None)}
    assert numbers(draw.circuit(fp.Unit(2.0, name="x"), pull=3.0)) == {"leaf x": (2.0, 3.0)}
    assert "0×3" in draw.circuit(fp.Array(np.zeros((0, 3))) * 2.0).svg


HOSTILE = "<&\">' 😀 </script> \x00\x1b\ud800\uffff ]]>"


def test_names_are_escaped():
    x = fp.Unit(1.0, name=HOSTILE)
    f = x * 2.0
    f.name = HOSTILE
    for text in (draw.circuit(f).svg, draw.sweeps(f).html):
        text.encode()
        assert "<&" not in text
        assert text.count("</script>") == text.count("<script>")
    root = ET.fromstring(draw.circuit(f).svg)
    shown = [text.text for text in root.iter(f"{SVG}text")]
    assert sum(text.startswith("<&\">' 😀 </script> \ufffd\ufffd\ufffd") for text in shown) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (-0.0, "-0"), (1e300, "1e+300"), (1e-300, "1e-300")],
)
def test_odd_numbers_are_shown_and_are_no_coordinates(value, text):
    f = fp.Unit(value) + 0.0 * fp.Unit(1.0)
    picture = draw.circuit(f, pull=value)
    assert text in [shown for shown, _ in texts(picture, GREEN)]
    assert (text if value else "0") in [shown for shown, _ in texts(picture, RED)]
    coordinates = [
        x for node in ET.fromstring(picture.svg).iter() for x in (node.get("x"), node.get("y"), node.get("d"))
    ]
    assert not any(re.search("nan|inf|e", x) for x in coordinates if x is not None)


def test_pictures_have_no_ids_and_the_same_bytes_every_time():
    pictures = []
    for _ in range(2):
        *_, f = tutorial()
        f.backward()
        pictures.append(draw.circuit(f).svg)
    assert pictures[0] == pictures[1]
    assert " id=" not in pictures[0] and "<style" not in pictures[0]


def test_the_picture_in_the_readme_is_that_of_its_code():
    *_, f = tutorial()
    f.backward()
    shown = Path(__file__).resolve().parents[1] / "docs" / "circuit.svg"
    assert shown.read_text(encoding="utf-8") == draw.circuit(f).svg


def test_save(tmp_path):
    *_, f = tutorial()
    draw.circuit(f).save(tmp_path / "f.svg")
    assert (tmp_path / "f.svg").read_bytes() == draw.circuit(f).svg.encode()
    draw.sweeps(f).save(tmp_path / "f.html")
    assert (tmp_path / "f.html").read_bytes() == draw.sweeps(f).html.encode()


# ----------------------------------------------------------------------------------------------------- matplotlib


@pytest.mark.parametrize(
    "picture",
    [lambda: draw.weights(np.ones((2, 4))), lambda: draw.embedding([[0.0, 1.0]]), lambda: draw.confusion([1], [1])],
    ids=["weights", "embedding", "confusion"],
)
def test_without_matplotlib_the_error_names_the_extra(monkeypatch, picture):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'fastprop\[draw\]'"):
        picture()


def test_pulls_go_to_their_results_where_none_is_among_them():
    def found(pull, *rest):
        return fp.draw.circuit(
            lambda x: (*rest, fp.sum(x * 2), fp.vmap(lambda a: a * a, reduce="sum")(x)), np.array([1.0, 2.0]), pull=pull
        ).svg

    assert found((None, 5.0, 7.0), None) == found((5.0, 7.0))
