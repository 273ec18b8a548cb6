"""The UCI handwritten digits, loaded in scikit-learn's manner from the file that ships with the package."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

SIDE = 8

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set for classification; its arrays are read-only.

    Attributes
    ----------
    data : ndarray of float64, shape (examples, features)
        One example in each row.
    target : ndarray of int64, shape (examples,)
        The class of each example, an index into `target_names`.
    images : ndarray of float64, shape (examples, height, width)
        The same numbers as `data`, as pictures.
    feature_names : tuple of str
        A name for each column of `data`.
    target_names : ndarray of int64, shape (classes,)
        A name for each class.
    DESCR : str
        Where the data come from, under which licence, and what they mean.
    """

    data: Floats
    target: Integers
    images: Floats
    feature_names: tuple[str, ...]
    target_names: Integers
    DESCR: str

    def __repr__(self) -> str:
        """Show the sizes, not the numbers."""
        examples, features = self.data.shape
        return f"<Dataset: {examples} examples, {features} features, {len(self.target_names)} classes>"


@overload
def load_digits(*, n_class: int = ..., return_X_y: Literal[False] = ...) -> Dataset: ...
@overload
def load_digits(*, n_class: int = ..., return_X_y: Literal[True]) -> tuple[Floats, Integers]: ...
@overload
def load_digits(*, n_class: int = ..., return_X_y: bool) -> Dataset | tuple[Floats, Integers]: ...


def load_digits(*, n_class: int = 10, return_X_y: bool = False) -> Dataset | tuple[Floats, Integers]:
    """Load the UCI handwritten digits: 1,797 images of 8 x 8 pixels, ten classes.

    Same names, order, types and values as ``sklearn.datasets.load_digits``, without scikit-learn.

    Parameters
    ----------
    n_class : int, default 10
        Keep only the digits below this one, 1 to 10.
    return_X_y : bool, default False
        Return ``(data, target)`` and nothing else.

    Returns
    -------
    Dataset or tuple of ndarray
        `data` is float64 of shape (1797, 64), grey levels from 0 (paper) to 16 (ink); `target` is int64 of shape
        (1797,), the digit shown. All arrays are read-only.

    Raises
    ------
    ValueError
        If `n_class` is not from 1 to 10.

    Notes
    -----
    Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49, CC BY 4.0; by way of scikit-learn (BSD-3-Clause).

    Examples
    --------
    >>> digits = load_digits()
    >>> digits
    <Dataset: 1797 examples, 64 features, 10 classes>
    >>> digits.target[:5].tolist()
    [0, 1, 2, 3, 4]
    >>> X, y = load_digits(return_X_y=True)
    >>> X.shape, float(X.max())
    ((1797, 64), 16.0)
    """
    if isinstance(n_class, bool) or not isinstance(n_class, int) or not 1 <= n_class <= 10:
        raise ValueError(f"n_class is {n_class!r}; expected a whole number from 1 to 10: digits below it are kept")
    data, target = _numbers()
    if n_class < 10:
        chosen = target < n_class
        data, target = _read_only(data[chosen]), _read_only(target[chosen])
    if return_X_y:
        return data, target
    return Dataset(
        data=data,
        target=target,
        images=data.reshape(-1, SIDE, SIDE),
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)),
        target_names=_read_only(np.arange(n_class, dtype=np.int64)),
        DESCR=shipped("README.md").decode("utf-8"),
    )


def shipped(name: str) -> bytes:
    """Read a file that lies beside this one, wherever the package is installed."""
    from importlib import resources  # 12 ms, which `import fastprop` need not take

    return (resources.files(__package__) / name).read_bytes()


@functools.cache
def _numbers() -> tuple[Floats, Integers]:
    """Read data and target from the file, once."""
    with np.load(io.BytesIO(shipped("digits.npz")), allow_pickle=False) as arrays:
        return _read_only(arrays["data"].astype(np.float64)), _read_only(arrays["target"].astype(np.int64))


def _read_only(array: NDArray[Number]) -> NDArray[Number]:
    array.setflags(write=False)
    return array
