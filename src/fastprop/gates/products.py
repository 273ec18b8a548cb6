"""Products of arrays, as compositions of matrix products: einsum and all that it can say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fastprop import gates
from fastprop.gates import blocks
from fastprop.gates.blocks import GetItem, MatMul, Reshape, Sum, shape_of
from fastprop.gates.items import as_item, described

__all__ = ["matmul", "einsum", "tensordot", "outer", "inner", "vdot", "kron"]


def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product of the last two axes, as ``a @ b`` does.

    Parameters
    ----------
    a, b : Array or array_like
        Vectors, matrices, or stacks of matrices, which broadcast.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.matmul(fp.Array([[1.0, 2.0], [3.0, 4.0]]), [1.0, 1.0]).value
    array([3., 7.])
    """
    return MatMul()(as_item(a), as_item(b))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sums of products along pairs of axes.

    Parameters
    ----------
    a, b : Array or array_like
        The operands.
    axes : int or pair of sequences of int, optional
        How many of the last axes of `a` meet the first ones of `b`, or which ones meet.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.tensordot(fp.Array([1.0, 2.0]), [3.0, 4.0], 1).value
    11.0
    """
    a, b = as_item(a), as_item(b)
    left, right = shape_of(a), shape_of(b)
    if np.ndim(axes) == 0:
        inner, outer = tuple(range(len(left) - axes, len(left))), tuple(range(axes))
    else:
        inner, outer = (normalize_axis_tuple(x, len(s)) for x, s in zip(axes, (left, right)))
    if len(inner) != len(outer) or [left[i] for i in inner] != [right[j] for j in outer]:
        raise ValueError(f"tensordot: the axes {inner} of {left} do not meet the axes {outer} of {right}")
    rows = [i for i in range(len(left)) if i not in inner]
    columns = [j for j in range(len(right)) if j not in outer]
    shape = tuple([left[i] for i in rows] + [right[j] for j in columns])
    count = math.prod(left[i] for i in inner)
    table = MatMul()(
        blocks.reshape(blocks.transpose(a, (*rows, *inner)), (math.prod(left[i] for i in rows), count)),
        blocks.reshape(blocks.transpose(b, (*outer, *columns)), (count, math.prod(right[j] for j in columns))),
    )
    return blocks.reshape(table, shape)


def outer(a: Any, b: Any) -> Any:
    """Return the products of all numbers of one operand with all of another, as a matrix.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.outer(fp.Array([1.0, 2.0]), [3.0, 4.0]).value
    array([[3., 4.],
           [6., 8.]])
    """
    return Reshape((-1, 1))(as_item(a)) * Reshape((1, -1))(as_item(b))


def inner(a: Any, b: Any) -> Any:
    """Return the sums of products along the last axes.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.inner(fp.Array([1.0, 2.0]), [[3.0, 4.0], [5.0, 6.0]]).value
    array([11., 17.])
    """
    a, b = as_item(a), as_item(b)
    if not shape_of(a) or not shape_of(b):
        return gates.multiply(a, b)
    if shape_of(a)[-1] != shape_of(b)[-1]:
        raise ValueError(f"inner: the last axes of the shapes {shape_of(a)} and {shape_of(b)} do not meet")
    return tensordot(a, b, (-1, -1))


def vdot(a: Any, b: Any) -> Any:
    """Return the sum of the products of all numbers of two operands.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.vdot(fp.Array([[1.0, 2.0]]), [[3.0], [4.0]]).value
    11.0
    """
    return inner(Reshape(-1)(as_item(a)), Reshape(-1)(as_item(b)))


def kron(a: Any, b: Any) -> Any:
    """Return a block with every number of one operand replaced by that number times another operand.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.kron(fp.Array([1.0, 2.0]), [1.0, 1.0]).value
    array([1., 1., 2., 2.])
    """
    a, b = as_item(a), as_item(b)
    dimensions = max(len(shape_of(a)), len(shape_of(b)))
    left = (1,) * (dimensions - len(shape_of(a))) + shape_of(a)
    right = (1,) * (dimensions - len(shape_of(b))) + shape_of(b)
    table = blocks.reshape(a, tuple(k for n in left for k in (n, 1))) * blocks.reshape(
        b, tuple(k for n in right for k in (1, n))
    )
    return blocks.reshape(table, tuple(n * m for n, m in zip(left, right)))


def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Return sums of products as Einstein writes them.

    Products of two operands are matrix products; those of more are taken from the left, two at a time.

    Parameters
    ----------
    subscripts : str
        A letter for every axis of every operand, and behind ``->`` those of the result: ``"ij,jk->ik"``. Without ``->``
        the letters that stand once, in alphabetical order. ``...`` stands for axes that broadcast.
    *operands : Array or array_like
        The operands.
    optimize : optional
        NumPy's; it changes nothing here: write products of more than two in the order that is best.

    Raises
    ------
    ValueError
        If letters and axes, or lengths under one letter, do not match.

    Examples
    --------
    >>> import fastprop as fp
    >>> a = fp.Array([[1.0, 2.0], [3.0, 4.0]])
    >>> fp.einsum("ij,j->i", a, [1.0, 1.0]).value
    array([3., 7.])
    >>> fp.einsum("ii", a).value
    5.0
    """
    if not isinstance(subscripts, str):
        raise TypeError(f'einsum takes the subscripts first, as in einsum("ij,jk->ik", a, b), not {subscripts!r:.60}')
    items = [as_item(x) for x in operands]
    letters, result = _read(subscripts, items)
    _lengths(subscripts, letters, items)
    block, have = _summed(items[0], letters[0], _elsewhere(letters[1:], result))
    for k in range(1, len(items)):
        rest = _elsewhere(letters[k + 1 :], result)
        other, more = _summed(items[k], letters[k], have + rest)
        block, have = _contracted(block, have, other, more, rest)
    block, have = _summed(block, have, result)
    return blocks.transpose(block, tuple(have.index(letter) for letter in result)) if have != result else block


def _read(subscripts: str, items: Sequence[Any]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result; axes under ``...`` get capitals that are free."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(items):
        raise ValueError(f"einsum: {subscripts!r} has {len(terms)} operands; {len(items)} were given")
    used = set(given + result)
    free = [chr(k) for k in range(0x391, 0x391 + 64) if chr(k) not in used]  # Greek: they are nobody else's
    letters, most = [], 0
    for term, item in zip(terms, items):
        spread = len(shape_of(item)) - len(term.replace("...", ""))
        if "..." in term:
            most = max(most, spread)
        if spread < 0 or (spread and "..." not in term):
            raise ValueError(f"einsum: {term!r} of {subscripts!r} does not match an operand of {described(item)}")
        letters.append(term.replace("...", "".join(free[:spread][::-1])))
    broadcast = "".join(free[:most][::-1])
    if not arrow:
        once = sorted(x for x in set(given) - set(",.") if given.count(x) == 1)
        return _checked(subscripts, letters, broadcast + "".join(once))
    return _checked(subscripts, letters, result.replace("...", broadcast))


def _checked(subscripts: str, letters: list[str], result: str) -> tuple[list[str], str]:
    wrong = [x for x in "".join(letters) + result if not x.isalpha()]
    unknown = [x for x in result if x not in "".join(letters)]
    if wrong or unknown or len(set(result)) < len(result):
        what = f"{wrong[0]!r} is no letter" if wrong else "the result's letters must stand once, and in an operand"
        raise ValueError(f"einsum: {subscripts!r}: {what}")
    return letters, result


def _lengths(subscripts: str, letters: list[str], items: Sequence[Any]) -> None:
    """Prove that axes of one letter have one length (or, where they broadcast, 1)."""
    lengths: dict[str, int] = {}
    for term, item in zip(letters, items):
        for letter, length in zip(term, shape_of(item)):
            known = lengths.setdefault(letter, length)
            if known != length and not (letter >= "\u0391" and 1 in (known, length)):
                shapes = ", ".join(str(shape_of(x)) for x in items)
                raise ValueError(
                    f"einsum: {subscripts!r} of the shapes {shapes}: one letter stands for the lengths {known} and "
                    f"{length}"
                )
            lengths[letter] = max(known, length) if known and length else 0


def _elsewhere(letters: Sequence[str], result: str) -> str:
    return "".join(letters) + result


def _summed(x: Any, letters: str, kept: str) -> tuple[Any, str]:
    """Return an operand with the diagonals of repeated letters, summed over those that stand nowhere else."""
    for letter in dict.fromkeys(letters):
        if letters.count(letter) > 1:
            axes = [k for k, other in enumerate(letters) if other == letter]
            rest = [k for k in range(len(letters)) if k not in axes]
            along = np.arange(shape_of(x)[axes[0]])
            x = GetItem((..., *[along] * len(axes)))(blocks.transpose(x, (*rest, *axes)))
            letters = "".join(letters[k] for k in rest) + letter
    gone = tuple(k for k, letter in enumerate(letters) if letter not in kept)
    return (Sum(gone)(x), "".join(x for x in letters if x in kept)) if gone else (x, letters)


def _contracted(a: Any, left: str, b: Any, right: str, rest: str) -> tuple[Any, str]:
    """Return the product of two operands, summed over the letters of both that are not needed any more."""
    sizes = {**dict(zip(left, shape_of(a)))}
    for letter, length in zip(right, shape_of(b)):
        sizes[letter] = length if sizes.get(letter, 1) == 1 else sizes[letter]
    both = [x for x in left if x in right]
    summed = [x for x in both if x not in rest]
    if not summed:
        letters = left + "".join(x for x in right if x not in left)
        return _spread(a, left, letters) * _spread(b, right, letters), letters
    stacks, rows = [x for x in both if x in rest], [x for x in left if x not in right]
    columns = [x for x in right if x not in left]
    a = _widened(a, left, summed, sizes)
    b = _widened(b, right, summed, sizes)
    count = math.prod(sizes[x] for x in summed)
    first = blocks.transpose(a, tuple(left.index(x) for x in [*stacks, *rows, *summed]))
    second = blocks.transpose(b, tuple(right.index(x) for x in [*stacks, *summed, *columns]))
    here, there = shape_of(first)[: len(stacks)], shape_of(second)[: len(stacks)]
    table = MatMul()(
        blocks.reshape(first, (*here, math.prod(sizes[x] for x in rows), count)),
        blocks.reshape(second, (*there, count, math.prod(sizes[x] for x in columns))),
    )
    letters = "".join([*stacks, *rows, *columns])
    return blocks.reshape(table, tuple(sizes[x] for x in letters)), letters


def _widened(x: Any, letters: str, summed: Sequence[str], sizes: dict[str, int]) -> Any:
    """Return an operand repeated along summed axes where it has length one and the other has not."""
    shape = tuple(sizes[y] if y in summed else n for y, n in zip(letters, shape_of(x)))
    return blocks.broadcast_to(x, shape)


def _spread(x: Any, have: str, letters: str) -> Any:
    """Return an operand with its axes in the order of letters, and axes of length one for those that it has not."""
    if not have:
        return x  # a single number, which has no say in the dtype
    ordered = [letter for letter in letters if letter in have]
    x = blocks.transpose(x, tuple(have.index(letter) for letter in ordered))
    lengths = iter(shape_of(x))
    return blocks.reshape(x, tuple(next(lengths) if letter in have else 1 for letter in letters))
