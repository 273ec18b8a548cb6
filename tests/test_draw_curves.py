"""Learning curves: axes, gaps, and the odd histories."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

import fastprop as fp
from fastprop import draw
from fastprop.draw.curves import ticks
from fastprop.training import Epoch, History

SVG = "{http://www.w3.org/2000/svg}"


def found(picture, tag):
    """The elements of a picture."""
    return list(ET.fromstring(picture.svg).iter(f"{SVG}{tag}"))


def texts(picture):
    """All texts."""
    return [text.text for text in found(picture, "text")]


def points(picture):
    """The points of each line."""
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in found(picture, "polyline")
    ]


def history(n, best=None):
    """The history of so many epochs."""
    epochs = [
        Epoch(i, 1.0 / i, 1.5 / i, {"accuracy": 1.0 - 1.0 / i}, {"accuracy": 0.9 - 0.9 / i}, 0.1, 4, 0.0)
        for i in range(1, n + 1)
    ]
    return History(epochs, best=epochs[best] if best is not None else None)


def test_a_history():
    picture = draw.curves(history(4, best=2), title="a & b")
    shown = texts(picture)
    assert shown[0] == "a & b"
    assert shown.count("training") == shown.count("validation") == 2
    assert [text for text in shown if text in ("loss", "accuracy")] == ["loss", "accuracy"]
    assert shown.count("best") == 2
    lines = points(picture)
    assert [len(line) for line in lines] == [4, 4, 4, 4]
    (x1, y1), (x2, y2) = lines[0][0], lines[1][0]
    assert x1 == x2 and y1 - y2 == pytest.approx(lines[0][1][1] - lines[0][0][1], abs=0.2)  # 1 and 1.5, 1 and 0.5
    assert all(a[0] < b[0] for line in lines for a, b in pairwise(line))


SHAPES = {
    "falling": (lambda t: 1.0 - t, -1),
    "falling fast": (lambda t: np.exp(-8.0 * t), -1),
    "falling in the middle": (lambda t: (t - 0.5) ** 2, 25),
    "rising": (lambda t: t, 0),
    "nearly": (lambda t: np.exp(-8.0 * t), -3),
    "a gap": (lambda t: np.where(np.abs(t - 0.5) < 0.3, np.nan, t), 25),
    "level": (lambda t: 0.0 * t, 10),
}


@pytest.mark.parametrize("shape, best", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3, 50])
def test_the_word_at_the_best_epoch_lies_on_no_curve(shape, best, number):
    losses = shape(np.linspace(0.0, 1.0, number))
    epochs = [Epoch(i + 1, y, 1.05 * y, {"up": 1.0 - y}, {"up": 0.9 - y}, 0.1, 1, 0.0) for i, y in enumerate(losses)]
    picture = draw.curves(History(epochs, best=epochs[min(max(best, -number), number - 1)]))
    words = [text for text in found(picture, "text") if text.text == "best"]
    assert len(words) == 2
    places = [(float(circle.get("cx")), float(circle.get("cy"))) for circle in found(picture, "circle")]
    for line in points(picture):
        for (x1, y1), (x2, y2) in pairwise(line):
            places += [(x1 + t * (x2 - x1), y1 + t * (y2 - y1)) for t in np.linspace(0.0, 1.0, 50)]
    for word in words:
        x, y = float(word.get("x")), float(word.get("y"))
        left = x - 27 if word.get("text-anchor") == "end" else x
        assert left >= 74 and left + 27 <= 74 + 520
        assert not [(a, b) for a, b in places if left < a < left + 27 and y - 9 < b < y + 1]


def test_places_on_the_axis_are_those_of_its_ticks():
    picture = draw.curves({"loss": [0.0, 20.0, 10.0]})
    heights = {text.text: float(text.get("y")) - 4 for text in found(picture, "text")}
    assert [y for _, y in points(picture)[0]] == pytest.approx([heights["0"], heights["20"], heights["10"]], abs=0.11)
    along = {text.text: float(text.get("x")) for text in found(picture, "text") if text.get("text-anchor") == "middle"}
    assert [x for x, _ in points(picture)[0]] == pytest.approx([along["1"], along["2"], along["3"]], abs=0.11)


def test_a_history_of_a_fit():
    x = np.arange(12.0).reshape(6, 2) / 10
    fitted = fp.fit(
        lambda w, x: (w * x).sum(), lambda y, t: (y - t) ** 2, (x, x[:, 0]), fp.optim.SGD(np.zeros(2), lr=0.1),
        params=np.zeros(2), epochs=3, batch_size=3, rng=0, progress=False,
    )  # fmt: skip
    picture = draw.curves(fitted)
    assert [len(line) for line in points(picture)] == [3]
    assert texts(picture).count("training") == 1


@pytest.mark.parametrize("nothing", [History(), {}, {"loss": []}, {"loss": [math.nan, None, math.inf]}], ids=repr)
def test_no_data(nothing):
    assert "no data" in texts(draw.curves(nothing))
    assert points(draw.curves(nothing, log=True)) == []


def test_one_epoch_is_a_point():
    picture = draw.curves(history(1))
    assert points(picture) == []
    assert len(found(picture, "circle")) == 4
    assert "no data" not in texts(picture)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.25, 1e300, -1e300, 1e-300, 5e-324, 1.7e308])
def test_constant(value):
    picture = draw.curves({"loss": [value] * 5})
    (line,) = points(picture)
    assert len({y for _, y in line}) == 1
    assert format(value if abs(value) > 1e-307 else 0.0, ".4g") in texts(picture)


def test_nan_is_a_gap():
    picture = draw.curves({"loss": [3.0, 2.0, math.nan, 1.0, math.inf, 2.0, 1.0, None]})
    assert [len(line) for line in points(picture)] == [2, 2]
    assert len(found(picture, "circle")) == 5
    assert "nan" not in picture.svg and "inf" not in picture.svg


def test_logarithmic():
    picture = draw.curves({"loss": [100.0, 1.0, 0.01, 0.0, -5.0], "accuracy": [0.0, 0.1, 0.2, 0.3, 0.4]}, log=True)
    assert "2 not above 0, left out" in texts(picture)
    (first, second, third), accuracy = points(picture)
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)
    assert len(accuracy) == 5
    heights = {text.text: float(text.get("y")) - 4 for text in found(picture, "text")}
    assert heights["100"] == pytest.approx(first[1], abs=0.11)
    assert "left out" not in " ".join(texts(draw.curves({"loss": [2.0, 1.0]}, log=True)))
    assert "no data" in texts(draw.curves({"loss": [-1.0]}, log=True))


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_any_scale(scale):
    picture = draw.curves({"loss": [1.0 * scale, 3.0 * scale]})
    assert [y for _, y in points(picture)[0]] == pytest.approx([243.5, 63.5], abs=20)
    assert format(2.0 * scale, ".4g") in texts(picture)


def test_extremes():
    picture = draw.curves({"loss": [-1.7e308, 1.7e308, 0.0]})
    ((_, low), (_, high), (_, middle)) = points(picture)[0]
    assert middle == pytest.approx((low + high) / 2, abs=0.1)


def test_many_epochs_are_thinned_and_keep_their_peaks():
    losses = [1.0] * 100_000
    losses[12_345] = 9.0
    picture = draw.curves({"loss": losses})
    (line,) = points(picture)
    assert len(line) <= 1000 and len(picture.svg) < 40_000
    assert min(y for _, y in line) == pytest.approx(min(float(y.get("y1")) for y in found(picture, "line")), abs=30)
    assert len({y for _, y in line}) == 2


def test_columns():
    picture = draw.curves({"epoch": [10, 20, 30], "validation_auc": [0.1, 0.2, 0.3], "rate": [1, 1, 1]})
    assert [text for text in texts(picture) if text in ("loss", "auc", "rate")] == ["loss", "auc"]
    assert "10" in texts(picture)
    assert "no data" in texts(picture)
    assert "a<b" in texts(draw.curves({"loss": [1.0], "a<b": [1.0]}))


def test_wrong_inputs():
    with pytest.raises(TypeError, match="History that fit returns"):
        draw.curves([1.0, 2.0])
    with pytest.raises(TypeError, match="'loss'"):
        draw.curves({"loss": ["a"]})
    with pytest.raises(TypeError, match="'loss'"):
        draw.curves({"loss": 3.0})
    with pytest.raises(ValueError, match="loss: 1, accuracy: 2"):
        draw.curves({"loss": [1.0], "accuracy": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3.0, 17.0), (1e-300, 2e-300), (-1e308, 1e308), (1.0, 1.0 + 1e-15), (0.0, 5e-324)]
)
def test_ticks_are_inside_few_and_in_order(low, high):
    places = ticks(low, high)
    assert 1 <= len(places) <= 20
    assert all(low - 1e-9 * abs(low) <= place <= high + 1e-9 * abs(high) for place in places)
    assert places == sorted(places)


@pytest.mark.parametrize("losses", [[5e-324, 0.0], [0.0, 5e-324, 5e-324], [1e308, -1e308], [10**300, 1]])
@pytest.mark.parametrize("log", [False, True])
def test_numbers_at_the_ends_of_what_floats_can_be(losses, log):
    picture = draw.curves({"loss": losses}, log=log, title=3)
    assert texts(picture)[0] == "3"
    assert all(0.0 <= x <= 600.0 and 0.0 <= y <= 300.0 for line in points(picture) for x, y in line)


def test_what_has_curves_says_where():
    class Estimator:
        history_ = history(2)

    with pytest.raises(TypeError, match="not a Estimator; give its history_"):
        draw.curves(Estimator())
    with pytest.raises(TypeError, match="expected a number or None for each epoch"):
        draw.curves({"loss": [10**400]})
