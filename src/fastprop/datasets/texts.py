"""Small texts that ship with the package: a book to read, names to invent more of, and very regular lines."""

from __future__ import annotations

import functools
import gzip

from .digits import shipped

__all__ = ["load_genesis", "load_letters", "load_names"]


@functools.cache
def load_genesis() -> str:
    """Load the Book of Genesis in the World English Bible: 36,000 words of plain English.

    Returns
    -------
    str
        188,666 characters, all of them ASCII, in lines.

    Notes
    -----
    The World English Bible is in the public domain.

    Examples
    --------
    >>> text = load_genesis()
    >>> text[:55]
    'In the beginning God created the heavens and the earth.'
    """
    return _text("genesis.txt.gz")


@functools.cache
def load_names() -> tuple[str, ...]:
    """Load 4,000 first names, the most frequent ones of children born in the United States in 2018.

    Returns
    -------
    tuple of str
        In small letters, a to z.

    Notes
    -----
    Numbers of the United States' Social Security Administration, in the public domain.

    Examples
    --------
    >>> names = load_names()
    >>> len(names), names[:3]
    (4000, ('emma', 'olivia', 'ava'))
    """
    return tuple(_text("names.txt.gz").split())


@functools.cache
def load_letters() -> tuple[str, ...]:
    """Load the Unicode names of 3,693 letters of twenty scripts: lines that are made of few words, by rule.

    Returns
    -------
    tuple of str
        In small letters, spaces and hyphens, in the order of their code points.

    Notes
    -----
    From the Unicode Character Database, under the Unicode License v3.

    Examples
    --------
    >>> load_letters()[0]
    'latin capital letter a'
    """
    return tuple(_text("letters.txt.gz").splitlines())


def _text(name: str) -> str:
    """Read a packed text that lies beside this file."""
    return gzip.decompress(shipped(name)).decode("ascii")
