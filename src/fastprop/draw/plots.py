"""Weight images, embeddings and confusion matrices, drawn with matplotlib, an extra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastprop.handles.nesting import is_handle

__all__ = ["confusion", "embedding", "weights"]

MOST_WRITTEN = 30  # classes up to which a confusion matrix has its numbers written in
MOST_CLASSES = 20  # labels up to which an embedding has a legend


def _axes(ax: Any) -> Any:
    """Return the axes to draw on: those given, or new ones of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "this picture is drawn with matplotlib, which is not installed: pip install 'fastprop[draw]'"
        ) from None
    return pyplot.subplots(layout="constrained")[1]


def _numbers(x: Any, what: str) -> NDArray[np.float64]:
    """Return numbers as an array, those of a handle too."""
    try:
        return np.asarray(x.value if is_handle(x) else x, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{what} are {type(x).__name__}; expected an array of numbers, or an Array") from None


def weights(
    w: Any, shape: Sequence[int] | None = None, *, columns: int | None = None, ax: Any = None, cmap: str = "RdBu"
) -> Any:
    """Draw the weights of each neuron as an image, side by side as tiles: blue above 0, red below.

    Parameters
    ----------
    w : array_like or Array
        One row for each neuron, as `fastprop.nn.Linear` has them, or images: (n, h, w), or (n, c, h, w) as `Conv2d`
        has them, whose channels stand side by side.
    shape : (int, int), optional
        Of the image that a row is; by default a square, if it can be one.
    columns : int, optional
        How many tiles stand side by side; by default about as many as below each other.
    ax : matplotlib Axes, optional
        Where to draw; new ones by default.
    cmap : str, optional
        The colour map, whose middle is 0; NaN is left white.

    Returns
    -------
    matplotlib Axes
        Its ``figure`` is the whole.
    """
    images = _images(_numbers(w, "the weights"), shape)
    count, height, width = images.shape
    if columns is not None and columns < 1:
        raise ValueError(f"columns is {columns}; expected at least 1")
    across = min(columns or math.ceil(math.sqrt(count * height / width)), count)
    down = -(-count // across)
    sheet = np.full((down * (height + 1) - 1, across * (width + 1) - 1), np.nan)
    for i, image in enumerate(images):
        top, left = i // across * (height + 1), i % across * (width + 1)
        sheet[top : top + height, left : left + width] = image
    finite = np.abs(images[np.isfinite(images)])
    most = float(finite.max(initial=0.0)) or 1.0
    ax = _axes(ax)
    ax.imshow(sheet, cmap=cmap, vmin=-most, vmax=most, interpolation="nearest")
    ax.set_axis_off()
    return ax


def _images(w: NDArray[np.float64], shape: Sequence[int] | None) -> NDArray[np.float64]:
    """Return weights as images, (n, height, width)."""
    if w.size == 0:
        raise ValueError(f"the weights have shape {w.shape}: there is nothing to draw")
    if w.ndim == 4 and shape is None:
        return w.transpose(0, 2, 1, 3).reshape(w.shape[0], w.shape[2], -1)
    if w.ndim == 3 and shape is None:
        return w
    if w.ndim != 2:
        raise ValueError(f"the weights have shape {w.shape}; expected a row for each neuron, or images (n, h, w)")
    side = math.isqrt(w.shape[1])
    height, width = (side, side) if shape is None else shape
    if height * width != w.shape[1]:
        asked = "are no square" if shape is None else f"are no {height} × {width}"
        raise ValueError(f"{w.shape[1]} weights of a neuron {asked}: say in shape=(height, width) what they are")
    return w.reshape(-1, height, width)


def embedding(
    points: Any, labels: ArrayLike | None = None, *, names: Sequence[str] | None = None, ax: Any = None
) -> Any:
    """Draw points in the plane, as t-SNE or the first two columns of an embedding give them.

    Parameters
    ----------
    points : array_like or Array, shape (n, 2)
        The points. Those that are not finite are left out.
    labels : array_like, shape (n,), optional
        The class of each point: one colour for each, and a legend if there are no more than 20.
    names : sequence of str, optional
        What is written at each point, as words.
    ax : matplotlib Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib Axes
        Its ``figure`` is the whole.
    """
    places = _numbers(points, "the points")
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"the points have shape {places.shape}; expected (n, 2): give two columns of them")
    classes = np.asarray(labels) if labels is not None else None
    for what, given in (("labels", classes), ("names", names)):
        if given is not None and (len(given) != len(places) or np.ndim(given) != 1):
            raise ValueError(f"there are {len(places)} points and {what} of shape {np.shape(given)}; give one for each")
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(places).all(axis=1))
    ax = _axes(ax)
    if classes is None:
        ax.scatter(*places[finite].T, s=12)
    else:
        _scatter_classes(ax, places, finite, classes)
    for at, name, shown in zip(places, names or (), finite):
        if shown:
            ax.annotate(str(name).replace("$", r"\$"), at, xytext=(3, 3), textcoords="offset points", fontsize=8)
    ax.margins(0.1 if names else 0.05)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def _scatter_classes(ax: Any, places: NDArray[np.float64], finite: NDArray[np.bool_], classes: NDArray[Any]) -> None:
    """Draw the points of each class in a colour of its own."""
    from matplotlib import colormaps

    found, inverse = np.unique(classes, return_inverse=True)
    if len(found) > MOST_CLASSES:
        ax.scatter(*places[finite].T, s=12, c=inverse[finite], cmap="turbo")
        return
    colours = colormaps["tab10" if len(found) <= 10 else "tab20"]
    for i, label in enumerate(found.tolist()):
        ax.scatter(*places[finite & (inverse == i)].T, s=12, color=colours(i), label=str(label).replace("$", r"\$"))
    if len(found):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=2)


def confusion(
    true: ArrayLike,
    predicted: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    normalize: bool = False,
    ax: Any = None,
) -> Any:
    """Draw a confusion matrix: how often each class (a row) was taken for each class (a column).

    Parameters
    ----------
    true, predicted : array_like, shape (n,)
        The classes of the examples, and what a model takes them for.
    labels : sequence, optional
        The classes in the order in which they stand; by default all that occur, sorted.
    normalize : bool, optional
        Colour and write shares of the row instead of numbers; a row without examples is 0.
    ax : matplotlib Axes, optional
        Where to draw; new ones by default.

    Returns
    -------
    matplotlib Axes
        Its ``figure`` is the whole.
    """
    known, counts = confusion_counts(true, predicted, labels)
    rows = counts.sum(axis=1, keepdims=True)
    shown = counts / np.maximum(rows, 1) if normalize else counts
    ax = _axes(ax)
    ax.imshow(shown, cmap="Blues", vmin=0, vmax=1 if normalize else max(int(counts.max(initial=0)), 1))
    names = [str(label).replace("$", r"\$") for label in known]
    upright = max(map(len, names)) <= 3
    ax.set_xticks(range(len(names)), names, rotation=0 if upright else 45, ha="center" if upright else "right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    if len(names) <= MOST_WRITTEN:
        half = shown.max() / 2
        for (i, j), number in np.ndenumerate(shown):
            text = f"{number:.2f}" if normalize else f"{number}"
            ax.text(j, i, text, ha="center", va="center", color="white" if number > half else "black", fontsize=8)
    return ax


def confusion_counts(
    true: ArrayLike, predicted: ArrayLike, labels: Sequence[Any] | None = None
) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the classes, and how often each (a row) was taken for each (a column).

    Examples
    --------
    >>> from fastprop.draw.plots import confusion_counts
    >>> known, counts = confusion_counts(["cat", "dog", "dog"], ["cat", "dog", "cat"])
    >>> known, counts.tolist()
    (['cat', 'dog'], [[1, 0], [1, 1]])
    """
    rows, columns = np.asarray(true), np.asarray(predicted)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"true has shape {rows.shape}, predicted {columns.shape}; expected one class for each example in both"
        )
    known = np.unique(np.concatenate([rows, columns])).tolist() if labels is None else list(labels)
    if not known:
        raise ValueError("there are no examples and no labels: there is nothing to draw")
    number = {label: i for i, label in enumerate(known)}
    if len(number) < len(known):
        raise ValueError("labels name a class twice")
    counts = np.zeros((len(known), len(known)), np.int64)
    for row, column in zip(rows.tolist(), columns.tolist()):
        if row not in number or column not in number:
            raise ValueError(
                f"the class {row if row not in number else column!r} is not among the labels {known!r:.80}"
            )
        counts[number[row], number[column]] += 1
    return known, counts
