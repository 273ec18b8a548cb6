"""Weight images, embeddings and confusion matrices, where matplotlib is installed."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fastprop as fp
from fastprop import draw

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_figure_stays_open(monkeypatch):
    """Nothing is shown, and what pyplot opened is closed."""
    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("a picture must not show itself"))
    yield
    pyplot.close("all")


def drawn(axes):
    """Draw the figure, which may raise; return its pixels."""
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())


def test_weights_are_tiles():
    w = np.arange(12.0).reshape(3, 4) - 5.0
    axes = draw.weights(w)
    (image,) = axes.images
    sheet = np.ma.filled(image.get_array(), np.nan)
    assert np.array_equal(sheet[:2, :2], w[0].reshape(2, 2))
    assert np.array_equal(sheet[:2, 3:5], w[1].reshape(2, 2))
    assert np.array_equal(sheet[3:5, :2], w[2].reshape(2, 2))
    assert np.isnan(sheet[2]).all() and np.isnan(sheet[:, 2]).all()
    assert image.get_clim() == (-6.0, 6.0)
    drawn(axes)


@pytest.mark.parametrize(
    ("w", "shape", "columns", "expected"),
    [
        (np.zeros((1, 6)), (2, 3), None, (2, 3)),
        (np.zeros((5, 6)), (2, 3), 1, (14, 3)),
        (np.zeros((4, 3, 2)), None, 4, (3, 11)),
        (np.zeros((2, 3, 2, 2)), None, 2, (2, 13)),  # channels side by side
        (np.full((2, 4), np.nan), None, None, (2, 5)),
        (fp.Array(np.zeros((2, 4))), None, None, (2, 5)),
    ],
)
def test_shapes_of_weights(w, shape, columns, expected):
    axes = draw.weights(w, shape, columns=columns)
    assert axes.images[0].get_array().shape == expected
    drawn(axes)


def test_wrong_weights():
    with pytest.raises(ValueError, match=r"no square: say in shape"):
        draw.weights(np.zeros((2, 6)))
    with pytest.raises(ValueError, match="no 2 × 2"):
        draw.weights(np.zeros((2, 6)), (2, 2))
    with pytest.raises(ValueError, match="nothing to draw"):
        draw.weights(np.zeros((0, 4)))
    with pytest.raises(ValueError, match="a row for each neuron"):
        draw.weights(np.zeros(4))
    with pytest.raises(ValueError, match="columns is 0"):
        draw.weights(np.zeros((2, 4)), columns=0)
    with pytest.raises(TypeError, match="the weights"):
        draw.weights([["a"]])


def test_embedding():
    points = np.array([[0.0, 1.0], [2.0, 3.0], [np.nan, 0.0], [4.0, 5.0]])
    axes = draw.embedding(points, ["cat", "dog", "dog", "cat"], names=["a", "b", "c", "$x_"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cat", "dog"]
    assert [collection.get_offsets().tolist() for collection in axes.collections] == [
        [[0.0, 1.0], [4.0, 5.0]],
        [[2.0, 3.0]],
    ]
    assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [("a", 0.0), ("b", 2.0), (r"\$x_", 4.0)]
    drawn(axes)


@pytest.mark.parametrize("n", [0, 1, 500])
def test_embeddings_of_any_length(n):
    points = np.random.default_rng(0).normal(size=(n, 2))
    drawn(draw.embedding(points))
    axes = draw.embedding(fp.Array(points), np.arange(n))
    assert (axes.get_legend() is None) == (n != 1)
    drawn(axes)


def test_wrong_embeddings():
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        draw.embedding(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="labels of shape"):
        draw.embedding(np.zeros((3, 2)), [1, 2])
    with pytest.raises(ValueError, match="names of shape"):
        draw.embedding(np.zeros((3, 2)), names=["a"])


def test_confusion():
    true, predicted = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0]
    axes = draw.confusion(true, predicted)
    assert axes.images[0].get_array().tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert [text.get_text() for text in axes.texts] == ["1", "1", "0", "0", "1", "0", "1", "0", "2"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    drawn(axes)


def test_shares_and_labels():
    axes = draw.confusion(["b", "b"], ["a", "b"], labels=["b", "a", "c"], normalize=True)
    assert axes.images[0].get_array().tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a", "c"]
    drawn(axes)


def test_wrong_confusions():
    with pytest.raises(ValueError, match=r"\(2,\), predicted \(3,\)"):
        draw.confusion([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="'c' is not among the labels"):
        draw.confusion(["a"], ["c"], labels=["a"])
    with pytest.raises(ValueError, match="nothing to draw"):
        draw.confusion([], [])
    with pytest.raises(ValueError, match="twice"):
        draw.confusion([1], [1], labels=[1, 1])


def test_axes_that_are_given_are_drawn_on():
    axes = FigureCanvasAgg(Figure()).figure.subplots(1, 3)
    assert draw.weights(np.eye(4), ax=axes[0]) is axes[0]
    assert draw.embedding(np.eye(2), ax=axes[1]) is axes[1]
    assert draw.confusion([1], [1], ax=axes[2]) is axes[2]
    assert pyplot.get_fignums() == []
    assert (drawn(axes[0]) != 255).any()
