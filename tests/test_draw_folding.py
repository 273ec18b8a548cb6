"""Large circuits as pictures: what is folded, in how much work, and where everything stands."""

import math
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import fastprop as fp
from fastprop import draw
from fastprop.draw.circuit import MOST, wires_of
from fastprop.draw.diagram import diagram_of
from fastprop.draw.layout import lay_out
from fastprop.draw.svg import width_of
from pictures import SVG, Cube, random_circuit, tips

# -------------------------------------------------------------------------------------------------------- folding


def calls_of(work):
    """What a function gives, and how many Python functions it calls."""
    count = Counter()
    sys.setprofile(lambda frame, event, argument: count.update([event]))
    try:
        found = work()
    finally:
        sys.setprofile(None)
    return found, count["call"] + count["c_call"]


def test_deep_chains_are_folded_in_bounded_work():
    sizes, calls = [], []
    for gates_wanted in (10_000, 1_000_000):
        x = fp.Unit(1.0, name="x")
        f = x
        for _ in range(gates_wanted):
            f = f * 1.0
        picture, count = calls_of(lambda f=f: draw.circuit(f, pull=1.0))
        assert f"{gates_wanted:,} gates, folded" in picture.svg
        sizes.append(len(picture.svg))
        calls.append(count)
    assert max(sizes) < 20_000
    assert calls[1] < 1.1 * calls[0] < 20_000


def test_a_wide_circuit_is_folded_by_layer():
    xs = [fp.Unit(float(i)) for i in range(10_000)]
    f = fp.tanh(fp.sum([x * x for x in xs]) + 1.0)
    f.backward()
    shown = {name for name, *_ in tips(draw.circuit(f))}
    assert shown == {"leaf × 10000", "multiply × 10000", "sum × 1", "constant × 1", "add × 1", "tanh × 1"}
    assert "0…9.998e+07" in draw.circuit(f).svg


def test_ranges_of_groups_count_nan_and_arrays():
    xs = [fp.Unit(x) for x in [1.0, math.nan, -3.0, math.inf, *[0.0] * 200]]
    assert "-3…inf nan" in draw.circuit(fp.sum([x + 0.0 for x in xs])).svg
    arrays = [fp.Array([float(i), 2.0 * i]) for i in range(200)]
    assert "0…398" in draw.circuit(fp.sum([a.sum() for a in arrays])).svg


def test_names_and_kinds_without_end():
    x = fp.Unit(1.0, name="n" * 1_000_000)
    assert len(draw.circuit(x * 2.0).svg) < 5_000
    f = x
    for i in range(300):
        f = type(f"Gate{i}{'e' * 1000}", (Cube,), {})()(f)
    picture = draw.circuit(f)
    assert len(picture.svg) < 100_000
    assert "20 other kinds" in picture.svg
    assert "2 other kinds" in picture.svg


def test_every_gate_is_in_one_box():
    rng = np.random.default_rng(5)
    nodes = [fp.Unit(float(x)) for x in rng.normal(size=30)]
    for i in rng.integers(0, 30, size=(3000, 2)):
        nodes.append(nodes[-1 - i[0]] * 0.5 + nodes[-1 - i[1]] if i[0] % 2 else fp.tanh(nodes[-1 - i[0]]))
    wires = wires_of(fp.sum(nodes), (), 1.0)
    diagram = diagram_of(wires, MOST)
    assert len(diagram.boxes) <= 130
    counted = sum(int(line.split("× ")[1]) for box in diagram.boxes for line in box.title.split("\n"))
    assert counted == len(wires)
    assert all(diagram.boxes[i].rank < diagram.boxes[j].rank for i, j in diagram.wires)


# --------------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("seed", range(6))
def test_nothing_overlaps_and_nothing_is_cut_off(seed):
    picture = draw.circuit(random_circuit(fp, seed)[-1], pull=1.0)
    root = ET.fromstring(picture.svg)
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = []
    for text in root.iter(f"{SVG}text"):
        x, y, wide = float(text.get("x")), float(text.get("y")), width_of(text.text, float(text.get("font-size", 12)))
        x -= {"end": wide, "middle": wide / 2}.get(text.get("text-anchor"), 0.0)
        boxes.append((x, y - 9, x + wide, y + 1))
    for left, top, right, bottom in boxes:
        assert left >= 0 and right <= width and top >= 0 and bottom <= height
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom


def test_layout_keeps_room_and_untangles():
    wires = [(0, 5), (1, 4), (2, 3)]  # all of which cross as they are given
    layout = lay_out([0, 0, 0, 1, 1, 1], wires, [20.0] * 6, 10.0)
    assert sorted(layout.columns[0], key=lambda box: layout.y[box]) == layout.columns[0]
    assert [wire for box in layout.columns[0] for wire in wires if wire[0] == box] == [
        (i, j) for j in layout.columns[1] for i, k in wires if k == j
    ]
    for column in layout.columns:
        heights = [layout.y[box] for box in column]
        assert all(b - a >= 20.0 - 1e-9 for a, b in pairwise(heights))
