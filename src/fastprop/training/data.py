"""Examples, and the fixed split into three parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Example = tuple[list[float], int]
"""One example: its inputs as plain floats, and its label."""


class Split(NamedTuple):
    """Examples in three parts: to learn from, to watch the learning by, and to judge the result by, once."""

    training: list[Example]
    validation: list[Example]
    test: list[Example]


def split(data: ArrayLike, target: ArrayLike, *, validation: int, test: int) -> Split:
    """Split a data set into three parts, always in the same way.

    Parameters
    ----------
    data : array_like, shape (examples, features)
        The inputs, one example in each row.
    target : array_like of int, shape (examples,)
        The label of each example.
    validation, test : int
        Sizes of these two parts; the rest is for training.

    Returns
    -------
    Split
        Three lists of examples, in an order that depends on their number alone: no seed, and the same in every version
        of NumPy, so that the test part stays apart from the others for good.

    Raises
    ------
    ValueError
        If the lengths of `data` and `target` differ, or nothing is left for training.
    """
    rows, labels = np.asarray(data, dtype=np.float64).tolist(), np.asarray(target).tolist()
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows of data but {len(labels)} labels; expected one label for each row")
    if min(validation, test) < 0 or validation + test >= len(rows):
        raise ValueError(
            f"validation={validation} and test={test} of {len(rows)} examples; some must be left to train on"
        )
    # RandomState, not default_rng: NumPy promises that this stream never changes.
    order = np.random.RandomState(0).permutation(len(rows)).tolist()
    examples = [(rows[i], labels[i]) for i in order]
    return Split(
        training=examples[validation + test :],
        validation=examples[test : validation + test],
        test=examples[:test],
    )


def arrays(examples: Sequence[Example]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Give the inputs of examples as one array, one example in each row, and their labels as another."""
    return np.array([inputs for inputs, _ in examples]), np.array([label for _, label in examples])
