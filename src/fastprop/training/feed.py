"""Batches: rows of arrays, gathered and cast as they are needed, or what an iterable gives; checked either way."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastprop.gates.numbers import as_array, as_real
from fastprop.handles.nesting import Nesting, described, flatten

__all__ = ["ArrayFeed", "Batch", "StreamFeed", "Weighting", "arrays_of", "feed_of", "held_out", "is_arrays"]

NUMBERS = 1 << 16  # are looked at together


class Batch(NamedTuple):
    """Some examples: inputs and targets with the examples along the first axes, their weights, how many, which rows."""

    x: Any
    y: Any
    weights: np.ndarray[Any, Any] | None
    size: int
    rows: np.ndarray[Any, Any] | None


class Column:
    """One array of the data, of which rows are taken: floats in the dtype that is computed in, integers as they are."""

    def __init__(self, name: str, array: Any, dtype: np.dtype[Any]):
        found = as_array(array)
        found = np.asarray(array) if found is not None else None
        if found is None or found.dtype.kind not in "biuf":
            kind = type(array).__name__ if found is None else f"an array of dtype {found.dtype}"
            raise TypeError(f"{name} is {kind}; expected an array of numbers, with the examples along the first axis")
        if found.ndim == 0:
            raise ValueError(f"{name} is one number; expected an array, with the examples along the first axis")
        self.name, self.array = name, found
        self.dtype = dtype if found.dtype.kind == "f" else found.dtype.newbyteorder("=")
        self.is_direct = found.dtype == self.dtype and found.flags.c_contiguous and found.flags.aligned

    def take(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return some rows, a copy."""
        if self.is_direct:
            return self.array.take(rows, 0)
        with np.errstate(over="ignore"):  # what has no float32 is inf there, which `check` has refused
            return np.asarray(self.array[rows], self.dtype)

    def all(self) -> np.ndarray[Any, Any]:
        """Return all rows."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(self.array, self.dtype)

    def check(self) -> None:
        """Raise a ValueError that names the first row with NaN or an infinite number in it."""
        if self.dtype.kind != "f" or self.array.size == 0:
            return
        length = max(NUMBERS * len(self.array) // self.array.size, 1)
        for start in range(0, len(self.array), length):
            with np.errstate(over="ignore"):
                part = np.isfinite(np.asarray(self.array[start : start + length], self.dtype))
            if not part.all():
                row = start + int(np.argmin(part.reshape(len(part), -1).all(axis=1)))
                raise ValueError(f"{self.name} has NaN or infinite numbers in row {row}; expected finite numbers")


class Table:
    """Columns in the nesting in which they were given."""

    def __init__(self, name: str, data: Any, dtype: np.dtype[Any]):
        if isinstance(data, list):  # rows, not a container of arrays
            data = np.asarray(data)
        leaves, self.nesting = flatten(data)
        if not leaves:
            raise ValueError(f"{name} has no arrays in it; expected at least one")
        self.columns = [Column(name + self.nesting.path(i), leaf, dtype) for i, leaf in enumerate(leaves)]
        self.lengths = {column.name: len(column.array) for column in self.columns}
        self.single = self.columns[0] if self.nesting.kind is None else None

    def take(self, rows: np.ndarray[Any, Any]) -> Any:
        """Return some rows of everything."""
        if self.single is not None:
            return self.single.take(rows)
        return self.nesting.unflatten([column.take(rows) for column in self.columns])

    def all(self) -> Any:
        """Return all rows of everything."""
        nesting: Nesting = self.nesting
        return nesting.unflatten([column.all() for column in self.columns])

    def check(self) -> None:
        """Refuse what is not finite."""
        for column in self.columns:
            column.check()


class Weighting:
    """Weights of examples by their labels, times weights of their own."""

    def __init__(self, class_weight: Any):
        self.by_label: dict[int, float] | None = None
        self.is_balanced = isinstance(class_weight, str)
        if self.is_balanced and class_weight != "balanced":
            raise ValueError(f'class_weight is {class_weight!r:.60}; expected "balanced", or a weight for every label')
        if class_weight is None or self.is_balanced:
            return
        pairs = list(class_weight.items()) if isinstance(class_weight, dict) else _numbered(class_weight)
        named = [label for label, _ in pairs if not isinstance(label, (int, np.integer)) or isinstance(label, bool)]
        if named:
            raise TypeError(f"class_weight has a weight for {named[0]!r:.60}; labels are integers")
        self.by_label = {label: _weight(f"class_weight[{label!r}]", weight) for label, weight in pairs}
        self.is_open = isinstance(class_weight, dict)  # to labels that it does not name, which count once

    def of(
        self, y: Any, own: np.ndarray[Any, Any] | None, rows: np.ndarray[Any, Any] | None = None
    ) -> np.ndarray[Any, Any] | None:
        """Return the weights of some examples; None if all count once. `rows` are those that a balance is struck of."""
        if self.by_label is None and not self.is_balanced:
            return own
        labels = labels_of(y, "class_weight")
        found, which = np.unique(labels, return_inverse=True)
        if self.by_label is None:
            return _balanced(which, np.ones(len(which)) if own is None else own, slice(None) if rows is None else rows)
        unknown = [int(label) for label in found if int(label) not in self.by_label]
        if unknown and not self.is_open:
            raise ValueError(f"class_weight has no weight for label {unknown[0]}; it has {len(self.by_label)}")
        weights = np.array([self.by_label.get(int(label), 1.0) for label in found], np.float64)[which]
        return weights if own is None else weights * own


class ArrayFeed:
    """Batches of rows of arrays, shuffled anew for every epoch; nothing is copied but the rows of a batch."""

    rows: np.ndarray[Any, Any] | None = None
    batch_size, shuffle = 1, False

    def __init__(self, data: tuple[Any, ...], dtype: np.dtype[Any], sample_weight: Any = None):
        self.dtype = dtype
        self.x, self.y = Table("x", data[0], dtype), Table("y", data[1], dtype)
        lengths = {**self.x.lengths, **self.y.lengths}
        self.weights: np.ndarray[Any, Any] | None = None
        if sample_weight is not None:
            self.weights = _weights(sample_weight, "sample_weight")
            lengths["sample_weight"] = len(self.weights)
        self.count = next(iter(lengths.values()))
        if set(lengths.values()) != {self.count}:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"the lengths of the data differ: {shown}; expected one row for each example")
        if self.count == 0:
            raise ValueError("there are no examples: x and y have no rows")
        self.x.check()
        self.y.check()

    def dealt(
        self,
        batch_size: int,
        shuffle: bool,
        weighting: Weighting | None = None,
        rows: np.ndarray[Any, Any] | None = None,
    ) -> ArrayFeed:
        """Return what gives the batches of all rows, or of some, with weights by their labels."""
        feed = copy.copy(self)
        feed.batch_size, feed.shuffle, feed.rows = batch_size, shuffle, rows
        feed.count = self.count if rows is None else len(rows)
        if weighting is not None and (weighting.is_balanced or weighting.by_label is not None):
            feed.weights = weighting.of(self.y.all(), self.weights, rows)
        if feed.weights is not None:
            if not np.any(feed.weights if rows is None else feed.weights[rows]):
                raise ValueError("all weights of examples are 0; expected some to learn from")
            feed.weights = _narrowed(feed.weights, self.dtype)
        return feed

    @property
    def steps(self) -> int | None:
        """How many batches an epoch has."""
        return -(-self.count // self.batch_size)

    def epoch(self, random: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        order = random.permutation(self.count) if self.shuffle else np.arange(self.count)
        if self.rows is not None:
            order = self.rows[order]
        x, y, weights, size = self.x, self.y, self.weights, self.batch_size
        for start in range(0, self.count, size):
            rows = order[start : start + size]
            yield Batch(x.take(rows), y.take(rows), None if weights is None else weights[rows], len(rows), rows)


class StreamFeed:
    """Batches as an iterable, or a function that returns one, gives them: (x, y), or (x, y, weights)."""

    steps: int | None = None  # in an epoch: nobody knows

    def __init__(self, data: Any, dtype: np.dtype[Any], weighting: Weighting):
        self.data, self.dtype, self.weighting = data, dtype, weighting
        self.epochs = 0

    def epoch(self, random: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        self.epochs += 1
        number = -1
        for number, given in enumerate(self.data() if callable(self.data) else self.data):
            yield self._batch(given, f"batch {number}: ")
        if number < 0:
            raise ValueError(
                "the data gave no batches; expected at least one"
                if self.epochs == 1
                else f"the data gave no batches in epoch {self.epochs}: an iterator is spent after one epoch; give a "
                "list, or a function that returns an iterator"
            )

    def _batch(self, given: Any, name: str) -> Batch:
        """Return what was given as a Batch, cast and checked."""
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            arrays = isinstance(given, np.ndarray) and isinstance(self.data, list) and len(self.data) in (2, 3)
            wish = ": a list is one of batches, and arrays go in a tuple" if arrays else ""
            raise TypeError(f"{name}got {type(given).__name__}; expected (x, y) or (x, y, weights){wish}")
        if not isinstance(given[1], (dict, tuple, list)) and np.ndim(given[1]) == 0:
            raise ValueError(
                f"{name}y is {described(given[1])}; expected an array, with the examples along the first axis: a list "
                "of examples becomes two arrays, x = np.stack([x for x, y in data]) and y likewise"
            )
        tables = [Table(name + word, part, self.dtype) for word, part in zip("xy", given)]
        lengths = {**tables[0].lengths, **tables[1].lengths}
        weights = _weights(given[2], f"{name}weights") if len(given) == 3 else None
        if weights is not None:
            lengths["weights"] = len(weights)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{name}the lengths differ: {', '.join(f'{k} {n}' for k, n in lengths.items())}")
        for table in tables:
            table.check()
        x, y = (table.all() for table in tables)
        count = next(iter(lengths.values()))
        weights = self.weighting.of(y, weights) if count else weights
        return Batch(x, y, None if weights is None else _narrowed(weights, self.dtype), count, None)


def feed_of(
    data: Any, dtype: np.dtype[Any], batch_size: int, shuffle: bool, sample_weight: Any = None, class_weight: Any = None
) -> ArrayFeed | StreamFeed:
    """Return what gives the batches of data, whichever way they were given."""
    if is_arrays(data):
        return arrays_of(data, dtype, sample_weight).dealt(batch_size, shuffle, Weighting(class_weight))
    if sample_weight is not None:
        raise ValueError("sample_weight goes with arrays; batches of an iterable bring theirs: (x, y, weights)")
    weighting = Weighting(class_weight)
    if weighting.is_balanced:
        raise ValueError('class_weight="balanced" goes with arrays; with batches give every label a weight')
    return StreamFeed(data, dtype, weighting)


def arrays_of(data: tuple[Any, ...], dtype: np.dtype[Any], sample_weight: Any) -> ArrayFeed:
    """Return arrays, checked, with weights that were given in either way."""
    if len(data) == 3 and sample_weight is not None:
        raise ValueError("sample_weight is given twice: with the data, and by its name")
    return ArrayFeed(data, dtype, data[2] if len(data) == 3 else sample_weight)


def is_arrays(data: Any) -> bool:
    """Say whether data are inputs and targets, not batches; TypeError if they are neither."""
    if isinstance(data, np.ndarray) or (isinstance(data, tuple) and len(data) == 1 and isinstance(data[0], np.ndarray)):
        raise TypeError(
            f"data is {described(data)}; expected (x, y), or (x, y, weights): what learns without targets gets (x, x)"
        )
    if isinstance(data, (dict, str)) or not (callable(data) or isinstance(data, Iterable)):
        raise TypeError(f"data is {type(data).__name__}; expected (x, y), an iterable of batches, or a function")
    return isinstance(data, tuple) and len(data) in (2, 3) and not callable(data)


def held_out(feed: ArrayFeed, part: float, stratify: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the rows to learn from and the rows to validate with, by the data alone.

    So a training that is resumed holds out the same examples, whatever its random numbers.
    """
    order = np.random.RandomState(0).permutation(feed.count)  # whose stream NumPy promises not to change
    if not stratify:
        out = order[: _number_out(feed.count, part, "examples")]
    else:
        labels = labels_of(feed.y.all(), "stratify")
        rows = [order[labels[order] == label] for label in np.unique(labels)]
        out = np.concatenate([of[: _number_out(len(of), part, f"examples of class {labels[of[0]]}", 1)] for of in rows])
    left = np.ones(feed.count, bool)
    left[out] = False
    return np.flatnonzero(left), np.sort(out)


def _number_out(count: int, part: float, what: str, least: int = 0) -> int:
    """Return how many of some examples are held out."""
    out = max(round(count * part), least)
    if not (0 < out < count and 0.0 < part < 1.0):
        raise ValueError(
            f"validation={part:g} of {count} {what} are {out}, with {count - out} left to learn from; expected at "
            "least one of each"
        )
    return out


def labels_of(y: Any, who: str) -> np.ndarray[Any, Any]:
    """Return targets that are labels."""
    labels = np.asarray(y) if not isinstance(y, (dict, tuple)) else None
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{who} needs targets that are labels: one array of integers, one for each example")
    return labels


def _balanced(which: np.ndarray[Any, Any], own: np.ndarray[Any, Any], rows: Any) -> np.ndarray[Any, Any]:
    """Return weights with which all classes count the same in some rows, and together as much as before."""
    counts = np.bincount(which[rows], own[rows], which.max() + 1)
    there = counts > 0.0  # a class without weight counts as absent
    shares = np.divide(counts.sum() / max(there.sum(), 1), counts, out=np.zeros(len(counts)), where=there)
    weights: np.ndarray[Any, Any] = shares[which] * own
    return weights


def _numbered(class_weight: Any) -> list[tuple[int, Any]]:
    """Return weights of the labels 0, 1, 2 …"""
    weights = np.asarray(class_weight)
    if weights.ndim != 1:
        raise TypeError(f'class_weight is {class_weight!r:.60}; expected "balanced", or a weight for every label')
    return list(enumerate(weights.tolist()))


def _weight(name: str, weight: Any) -> float:
    number = as_real(weight)
    if number is None or not 0.0 <= number < float("inf"):
        raise ValueError(f"{name} is {weight!r:.60}; expected a finite number, 0 or more")
    return number


def _weights(given: Any, name: str) -> np.ndarray[Any, Any]:
    """Return weights of examples as floats, none of them below 0."""
    weights = np.asarray(given)
    if weights.dtype.kind not in "biuf" or weights.ndim != 1:
        raise ValueError(f"{name} is an array of {weights.dtype}{list(weights.shape)}; expected one number per example")
    weights = weights.astype(np.float64)
    fine = (weights >= 0.0) & (weights < np.inf)
    if not fine.all():
        row = int(np.argmin(fine))
        raise ValueError(f"{name} is {weights[row]} in row {row}; expected a finite number, 0 or more")
    return weights


def _narrowed(weights: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return weights in the dtype of what learns, if they have a place in it: else all of a step were float64."""
    with np.errstate(over="ignore", under="ignore"):
        found = weights.astype(dtype)
        fits = np.isfinite(found.sum()) and np.array_equal(found >= np.finfo(dtype).tiny, weights > 0.0)
    return found if fits else weights
