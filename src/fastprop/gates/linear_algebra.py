"""Linear algebra by LAPACK, through NumPy: over the last two axes, batched over the others.

The pulls are written with gates, so that they have derivatives in turn. A matrix that can't be taken is a
`numpy.linalg.LinAlgError`, which says which one of a batch it is; NaN in gives NaN. In circuits these are gates that
run for many lanes at once; on small matrices most of them are C's there, which leaves to these what is not plain.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from fastprop import gates
from fastprop.gates import Gate, blocks
from fastprop.gates.blocks import MatMul, ProdOfOthers, StrongMatMul, Sum, shape_of, swap_last, unbroadcast
from fastprop.gates.items import as_item, described
from fastprop.gates.shapes import concatenate, stack
from fastprop.gates.singular import matrix_error

__all__ = ["solve", "solve_triangular", "inv", "det", "slogdet", "cholesky", "eigh", "qr"]

SlogdetResult = namedtuple("SlogdetResult", ["sign", "logabsdet"])
EighResult = namedtuple("EighResult", ["eigenvalues", "eigenvectors"])
QRResult = namedtuple("QRResult", ["Q", "R"])


class Algebra(Gate):
    """A gate on matrices, which takes many at once."""

    vectorised = True
    kernel: str  # what engine/run/matrices.pxi calls it, which has it in C for small matrices
    reads_half: bool  # of each matrix

    @property
    def name(self) -> str:
        """The gate's name in messages and summaries: as NumPy writes it."""
        return super().name.lower()

    def __init_subclass__(cls, kernel: str = "", reads_half: bool = False) -> None:
        super().__init_subclass__()
        cls.kernel, cls.reads_half = kernel, reads_half
        for name in ("forward", "backward"):
            setattr(cls, name, np.errstate(all="ignore")(getattr(cls, name)))


def _each(function: Callable[..., Any], what: str, *arrays: Any) -> Any:
    """Apply a function of NumPy's to a batch; its error says which of the matrices it is about."""
    try:
        return function(*arrays)
    except LinAlgError:
        batch = np.broadcast_shapes(*[x.shape[:-2] for x in arrays])
        whole = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in arrays]
        for place in np.ndindex(batch):
            try:
                function(*[x[place] for x in whole])
            except LinAlgError:
                raise matrix_error(what, place) from None
        raise


def _product(a: Any, b: Any) -> Any:
    return StrongMatMul()(a, b)


def _triangle(n: int, k: int) -> np.ndarray:
    """Return True on and below a diagonal."""
    return np.tri(n, k=k, dtype=bool)


def _lower(x: Any, k: int = 0) -> Any:
    """Return matrices with zeros above a diagonal, whatever was there."""
    rows, columns = shape_of(x)[-2:]
    return gates.where(np.tri(rows, columns, k, dtype=bool), x, 0.0)


def _of_read_half(x: Any) -> Any:
    """Return the gradient by the lower half, which is all that is read, from one that treats all entries as read."""
    n = shape_of(x)[-1]
    return gates.where(_triangle(n, -1), x + swap_last(x), gates.where(_triangle(n, 0), x, 0.0))


def _mirrored(x: Any) -> Any:
    """Return the symmetric matrix of which the lower half is given."""
    return _lower(x) + swap_last(_lower(x, -1))


class Inverse(Algebra, kernel="inv"):
    """The inverse; with `lenient`, NaN where there is none."""

    def __init__(self, lenient: bool = False):
        self.lenient = lenient

    def forward(self, a: Any) -> Any:
        """Return the inverses."""
        try:
            return _each(np.linalg.inv, "inv: matrix{} is singular", a)
        except LinAlgError:
            if not self.lenient:
                raise
        found = np.full_like(a, np.nan)
        for place in np.ndindex(a.shape[:-2]):
            if np.linalg.slogdet(a[place])[0] != 0.0:
                found[place] = np.linalg.inv(a[place])
        return found

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull as d(inv) = -inv da inv has it."""
        turned = swap_last(self(a))
        return -_product(_product(turned, pull), turned)

    def tangent(self, tangents: tuple[Any, ...], a: Any) -> Any:
        """Return -inv da inv."""
        found = self(a)
        return -_product(_product(found, tangents[0]), found)


class Solve(Algebra, kernel="solve"):
    """The solutions x of ``a @ x = b``."""

    def forward(self, a: Any, b: Any) -> Any:
        """Return the solutions."""
        return _each(np.linalg.solve, "solve: matrix{} is singular", a, b)

    def backward(self, pull: Any, a: Any, b: Any) -> Any:
        """Solve with the transposed matrix; pull on the matrix by what that and the solution make."""
        on_b = Solve()(swap_last(a), pull)
        on_a = -_product(on_b, swap_last(self(a, b)))
        return unbroadcast(on_a, shape_of(a)), unbroadcast(on_b, shape_of(b))

    def tangent(self, tangents: tuple[Any, ...], a: Any, b: Any) -> Any:
        """Solve for ``db - da @ x``."""
        return self(a, _moved(tangents, self(a, b)))


def _moved(tangents: tuple[Any, ...], x: Any) -> Any:
    """Return ``db - da @ x``, of which one may be missing."""
    on_a = 0.0 if tangents[0] is None else _product(tangents[0], x)
    return -on_a if tangents[1] is None else tangents[1] - on_a


class SolveTriangular(Algebra, reads_half=True):
    """The solutions of ``a @ x = b`` by substitution, which reads one half of the matrix alone.

    A zero on the diagonal is an error; with `lenient`, NaN.
    """

    def __init__(self, lower: bool, lenient: bool = False):
        self.lower, self.lenient = lower, lenient
        self.kernel = "solve lower" if lower else "solve upper"

    def forward(self, a: Any, b: Any) -> Any:
        """Return the solutions."""
        singular = np.any(np.diagonal(a, axis1=-2, axis2=-1) == 0.0, -1)
        if np.any(singular) and not self.lenient:
            place = tuple(np.argwhere(singular)[0].tolist())
            raise matrix_error("solve_triangular: matrix{} has a zero on its diagonal, and is singular", place)
        x = self._substituted(a, b)
        return np.where(singular[..., np.newaxis, np.newaxis], np.nan, x).astype(x.dtype) if np.any(singular) else x

    def _substituted(self, a: Any, b: Any) -> Any:
        """Return the solution of one half of the rows, and with that the other: products of matrices do the work."""
        n = a.shape[-1]
        if n < 2:
            return b / a if n else b + np.zeros((*a.shape[:-2], 0, b.shape[-1]), a.dtype)
        parts = [slice(0, n // 2), slice(n // 2, n)]
        first, second = parts if self.lower else parts[::-1]
        known = self._substituted(a[..., first, first], b[..., first, :])
        rest = self._substituted(a[..., second, second], b[..., second, :] - a[..., second, first] @ known)
        return np.concatenate([known, rest] if self.lower else [rest, known], -2)

    def half(self, x: Any) -> Any:
        """Return the half that is read, zeros in the other one."""
        return _lower(x) if self.lower else gates.where(_triangle(shape_of(x)[-1], -1), 0.0, x)

    def backward(self, pull: Any, a: Any, b: Any) -> Any:
        """Solve with the transposed matrix; pull on the half of the matrix that is read."""
        on_b = SolveTriangular(not self.lower, self.lenient)(swap_last(a), pull)
        on_a = self.half(-_product(on_b, swap_last(self(a, b))))
        return unbroadcast(on_a, shape_of(a)), unbroadcast(on_b, shape_of(b))

    def tangent(self, tangents: tuple[Any, ...], a: Any, b: Any) -> Any:
        """Solve for ``db - da @ x``, of the half that is read."""
        on_a = None if tangents[0] is None else self.half(tangents[0])
        return self(a, _moved((on_a, tangents[1]), self(a, b)))


class Cholesky(Algebra, kernel="cholesky", reads_half=True):
    """The lower factor of ``a = L @ L.T``, of which the lower half is read."""

    def forward(self, a: Any) -> Any:
        """Return the factors."""
        n = a.shape[-1]
        lost = np.any(np.isnan(a) & _triangle(n, 0), (-2, -1))[..., np.newaxis, np.newaxis]
        usual = np.where(lost, np.eye(n), a).astype(a.dtype)
        found = _each(np.linalg.cholesky, "cholesky: matrix{} is not positive definite", usual)
        return np.where(lost & _triangle(n, 0), np.nan, found).astype(a.dtype)

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull on the lower half."""
        turned = swap_last(self(a))
        upper = SolveTriangular(False)
        inner = upper(turned, _halved(_product(turned, _lower(pull))))
        return _of_read_half(swap_last(upper(turned, swap_last(inner))))

    def tangent(self, tangents: tuple[Any, ...], a: Any) -> Any:
        """Return what the lower half's tangent brings."""
        factor, lower = self(a), SolveTriangular(True)
        inner = lower(factor, swap_last(lower(factor, _mirrored(tangents[0]))))
        return _product(factor, _halved(inner))


def _halved(x: Any) -> Any:
    """Return the lower half, the diagonal by half."""
    n = shape_of(x)[-1]
    return gates.where(np.eye(n, dtype=bool), 0.5 * x, _lower(x, -1))


class Det(Algebra, kernel="det"):
    """The determinant."""

    def forward(self, a: Any) -> Any:
        """Return the determinants; by their logarithms where the product of pivots leaves the range of numbers."""
        found = np.asarray(np.linalg.det(a))
        if np.all(np.isfinite(found) & (found != 0.0)):
            return found[()]
        sign, logarithm = np.linalg.slogdet(a)
        again = np.asarray(sign * np.exp(logarithm)).astype(found.dtype)
        return np.where(np.isfinite(found) & (found != 0.0), found, again)[()]

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull by the cofactors."""
        return gates.strong_multiply(_spread(pull, 2), Cofactors()(a))

    def tangent(self, tangents: tuple[Any, ...], a: Any) -> Any:
        """Return the sum of cofactors times tangents."""
        return Sum((-2, -1))(gates.strong_multiply(Cofactors()(a), tangents[0]))


def _spread(x: Any, axes: int) -> Any:
    """Return a block, or a number, with more axes of length one behind."""
    return blocks.reshape(x, (*shape_of(x), *(1,) * axes))


def _rotated(a: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the singular values of matrices, what turns them there and back, the sign of that, and which are lost."""
    # those have entries that are not finite, beside others: LAPACK would raise, or look for their values for ever
    lost = ~np.all(np.isfinite(a), (-2, -1))[..., np.newaxis, np.newaxis]
    left, values, right = np.linalg.svd(np.where(lost, 0.0, a).astype(a.dtype))
    sign = np.sign(np.linalg.det(left) * np.linalg.det(right))
    return left, values, right, np.asarray(sign)[..., np.newaxis, np.newaxis], lost & (a.shape[-1] > 1)


class Cofactors(Algebra):
    """The derivative of the determinant: by singular values, so that it is right for singular matrices."""

    def forward(self, a: Any) -> Any:
        """Return the cofactors."""
        if not a.size:
            return np.zeros_like(a)
        left, values, right, sign, lost = _rotated(a)
        others = ProdOfOthers().forward(values)[..., np.newaxis]
        scaled = gates.strong_multiply(sign * others, right)
        return np.where(lost, np.nan, StrongMatMul().forward(left, scaled)).astype(a.dtype)

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull by the second derivatives, which are symmetric."""
        return SecondMinors()(pull, a)

    def tangent(self, tangents: tuple[Any, ...], a: Any) -> Any:
        """Return the same of the tangent."""
        return SecondMinors()(tangents[0], a)


class SecondMinors(Algebra):
    """The second derivative of the determinant along a direction; right for singular matrices, too."""

    def forward(self, direction: Any, a: Any) -> Any:
        """Return it by singular values: where a matrix is diagonal, single products of the others remain."""
        if not a.size:
            return np.zeros_like(a)
        left, values, right, sign, lost = _rotated(a)
        table = np.asarray(ProdOfOthers().table(values))
        products = np.where(np.eye(a.shape[-1], dtype=bool), 0.0, ProdOfOthers().forward(table))
        turned = np.swapaxes(left, -1, -2) @ direction @ np.swapaxes(right, -1, -2)
        found = -products * np.swapaxes(turned, -1, -2)
        along = (products @ np.diagonal(turned, axis1=-2, axis2=-1)[..., np.newaxis])[..., 0]
        found = found + np.eye(a.shape[-1]) * along[..., np.newaxis]
        return np.where(lost, np.nan, sign * (left @ found @ right)).astype(np.result_type(direction, a))

    def backward(self, pull: Any, direction: Any, a: Any) -> Any:
        """Pull by the third derivatives, which take the inverse."""
        inverse = Inverse()(a)
        g, h = MatMul()(inverse, direction), MatMul()(inverse, pull)
        trace_g, trace_h = _spread(_trace(g), 2), _spread(_trace(h), 2)
        both = _spread(_trace(MatMul()(g, h)), 2)
        inner = (trace_g * trace_h - both) * inverse - trace_h * MatMul()(g, inverse) - trace_g * MatMul()(h, inverse)
        inner = inner + MatMul()(MatMul()(g, h) + MatMul()(h, g), inverse)
        return self(pull, a), swap_last(_spread(Det()(a), 2) * inner)


def _trace(x: Any) -> Any:
    return Sum((-2, -1))(gates.where(np.eye(shape_of(x)[-1], dtype=bool), x, 0.0))


class SlogDet(Algebra, kernel="slogdet"):
    """The sign of the determinant and the logarithm of its magnitude, side by side."""

    def forward(self, a: Any) -> Any:
        """Return both."""
        return np.stack(np.linalg.slogdet(a), -1)

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull on the logarithm by the inverse, which for a singular matrix is NaN; on the sign nothing."""
        return gates.strong_multiply(_spread(pull[..., 1], 2), swap_last(Inverse(lenient=True)(a)))

    def tangent(self, tangents: tuple[Any, ...], a: Any) -> Any:
        """Return 0 for the sign, and the logarithm's tangent."""
        inverse = swap_last(Inverse(lenient=True)(a))
        along = Sum((-2, -1))(gates.strong_multiply(inverse, tangents[0]))
        return stack([np.zeros(shape_of(along)) if shape_of(along) else 0.0, along], -1)


class Eigh(Algebra):
    """The eigenvalues of symmetric matrices, of which the lower half is read, as a row above the eigenvectors."""

    def forward(self, a: Any) -> Any:
        """Return both."""
        lost = ~np.all(np.isfinite(a) | ~_triangle(a.shape[-1], 0), (-2, -1))[..., np.newaxis, np.newaxis]
        values, vectors = _each(
            np.linalg.eigh, "eigh: the eigenvalues of matrix{} were not found", np.where(lost, 0.0, a).astype(a.dtype)
        )
        both = np.concatenate([values[..., np.newaxis, :], vectors], -2)
        return np.where(lost, np.nan, both).astype(a.dtype)

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull on the lower half; what is pulled on the values of a group of equal ones is averaged over it."""
        both = self(a)
        values, vectors, on_vectors = both[..., 0, :], both[..., 1:, :], pull[..., 1:, :]
        n = shape_of(a)[-1]
        eye = np.eye(n, dtype=bool)
        rows = blocks.reshape(values, (*shape_of(values)[:-1], 1, n))
        gaps = rows - swap_last(rows)
        top = gates.max(gates.absolute(rows), axis=-1, keepdims=True) if n else 0.0
        near = gates.absolute(gaps) <= top * (n * float(np.finfo(getattr(a, "dtype", np.float64)).eps))
        same = near | eye
        counts = gates.where(same, 1.0, 0.0)
        averaged = MatMul()(pull[..., :1, :], counts / Sum(-2, True)(counts))
        inner = gates.divide(gates.where(same, 0.0, 1.0), gates.where(same, 1.0, gaps))
        turned = gates.strong_multiply(inner, _product(swap_last(vectors), on_vectors))
        mixed = (on_vectors != 0.0).any(-2, keepdims=True) & (same & ~eye).any(-2, keepdims=True)
        turned = gates.where(mixed.any(-1, keepdims=True), np.nan, turned)
        core = turned + gates.where(eye, averaged, 0.0)
        return _of_read_half(_product(_product(vectors, core), swap_last(vectors)))


class QR(Algebra):
    """Orthonormal columns above (or, of wide matrices, beside) the triangular factor."""

    def forward(self, a: Any) -> Any:
        """Return both."""
        q, r = np.linalg.qr(a)
        return np.concatenate([q, r], -2 if a.shape[-2] >= a.shape[-1] else -1)

    def backward(self, pull: Any, a: Any) -> Any:
        """Pull through the factors; NaN where the triangular one is singular."""
        m, n = shape_of(a)[-2:]
        both = self(a)
        if m >= n:
            return _pull_of_qr(both[..., :m, :], both[..., m:, :], pull[..., :m, :], pull[..., m:, :])
        q, r, on_q, on_r = both[..., :m], both[..., m:], pull[..., :m], pull[..., m:]
        on_q = on_q + _product(a[..., m:], swap_last(on_r[..., m:]))
        square = _pull_of_qr(q, r[..., :m], on_q, on_r[..., :m])
        return concatenate([square, _product(q, on_r[..., m:])], -1)


def _pull_of_qr(q: Any, r: Any, on_q: Any, on_r: Any) -> Any:
    """Return the pull on a matrix that is no wider than high."""
    on_r = gates.where(_triangle(shape_of(r)[-1], -1), 0.0, on_r)
    inner = _product(r, swap_last(on_r)) - _product(swap_last(on_q), q)
    whole = on_q + _product(q, _mirrored(inner))
    return swap_last(SolveTriangular(False, lenient=True)(r, swap_last(whole)))


def _matrices(name: str, a: Any, square: bool = True) -> Any:
    """Return an operand, proved to be matrices."""
    a = as_item(a)
    shape = shape_of(a)
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        raise ValueError(f"{name} of {described(a)}; expected {'square ' * square}matrices along the last two axes")
    return a


def _pair(name: str, a: Any, b: Any) -> tuple[Any, Any, bool]:
    """Return matrices and right-hand sides with equally many axes, and whether those were one vector."""
    a, b = _matrices(name, a), as_item(b)
    vector = len(shape_of(b)) == 1
    if not shape_of(b) or shape_of(b)[-1 if vector else -2] != shape_of(a)[-1]:
        raise ValueError(
            f"{name} of matrices of {described(a)} and right-hand sides of {described(b)}; expected a vector, or "
            f"matrices, of {shape_of(a)[-1]} rows"
        )
    if vector:
        b = blocks.reshape(b, (*shape_of(b), 1))
    try:
        np.broadcast_shapes(shape_of(a)[:-2], shape_of(b)[:-2])
    except ValueError:
        raise ValueError(f"{name}: the batches of {described(a)} and {described(b)} do not broadcast") from None
    axes = max(len(shape_of(a)), len(shape_of(b)))
    a, b = (blocks.reshape(x, (1,) * (axes - len(shape_of(x))) + shape_of(x)) for x in (a, b))
    return a, b, vector


def _solved(name: str, gate: Algebra, a: Any, b: Any) -> Any:
    a, b, vector = _pair(name, a, b)
    found = gate(a, b)
    return blocks.reshape(found, shape_of(found)[:-1]) if vector else found


def solve(a: Any, b: Any) -> Any:
    """Return the solutions x of ``a @ x = b``.

    Parameters
    ----------
    a : Array or array_like
        Square matrices.
    b : Array or array_like
        One vector, or matrices, whose columns are right-hand sides.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular; it says which one of the batch.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.solve(fp.Array([[2.0, 0.0], [0.0, 4.0]]), [1.0, 1.0]).value
    array([0.5 , 0.25])
    """
    return _solved("solve", Solve(), a, b)


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """Return the solutions x of ``a @ x = b`` where one half of the matrices is zero, or not to be read.

    Parameters
    ----------
    a : Array or array_like
        Square matrices.
    b : Array or array_like
        One vector, or matrices, whose columns are right-hand sides.
    lower : bool, optional
        Whether the lower half is read, not the upper one.

    Raises
    ------
    numpy.linalg.LinAlgError
        If there is a zero on a diagonal; it says in which matrix of the batch.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.solve_triangular(fp.Array([[2.0, 7.0], [1.0, 1.0]]), [2.0, 3.0], lower=True).value
    array([1., 2.])
    """
    return _solved("solve_triangular", SolveTriangular(bool(lower)), a, b)


def inv(a: Any) -> Any:
    """Return the inverses of matrices.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular; it says which one of the batch.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.inv(fp.Array([[2.0, 0.0], [0.0, 4.0]])).value
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return Inverse()(_matrices("inv", a))


def det(a: Any) -> Any:
    """Return the determinants of matrices; their derivatives are right for singular ones, too.

    Examples
    --------
    >>> import fastprop as fp
    >>> a = fp.Array([[1.0, 2.0], [2.0, 4.0]])
    >>> fp.det(a).backward()
    >>> a.grad.round(12)
    array([[ 4., -2.],
           [-2.,  1.]])
    """
    return Det()(_matrices("det", a))


def slogdet(a: Any) -> Any:
    """Return the signs of determinants and the logarithms of their magnitudes, without overflow.

    Of a singular matrix they are 0 and -inf, and the gradient is NaN.

    Examples
    --------
    >>> import fastprop as fp
    >>> sign, logarithm = fp.slogdet(fp.Array([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.value, logarithm.value
    (-1.0, 0.0)
    """
    both = SlogDet()(_matrices("slogdet", a))
    return SlogdetResult(both[..., 0], both[..., 1])


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """Return the lower factors L of positive definite matrices ``L @ L.T``.

    The lower half is read, and has all of the gradient.

    Parameters
    ----------
    a : Array or array_like
        Positive definite matrices.
    upper : bool, optional
        Whether the upper half is read, and the upper factor returned.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite; it says which one of the batch.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.cholesky(fp.Array([[4.0, 2.0], [2.0, 2.0]])).value
    array([[2., 0.],
           [1., 1.]])
    """
    a = _matrices("cholesky", a)
    return swap_last(Cholesky()(swap_last(a))) if upper else Cholesky()(a)


def eigh(a: Any, UPLO: str = "L") -> Any:
    """Return the eigenvalues of symmetric matrices, in order, and their eigenvectors, as columns.

    One half is read, and has all of the gradient. Pulls on equal eigenvalues are averaged; a pull on their vectors,
    which may be any, gives NaN.

    Parameters
    ----------
    a : Array or array_like
        Symmetric matrices.
    UPLO : {"L", "U"}, optional
        Whether the lower or the upper half is read.

    Examples
    --------
    >>> import fastprop as fp
    >>> fp.eigh(fp.Array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.value
    array([1., 2.])
    """
    if UPLO not in ("L", "U"):
        raise ValueError(f'eigh: UPLO is {UPLO!r:.60}; expected "L" or "U"')
    a = _matrices("eigh", a)
    both = Eigh()(swap_last(a) if UPLO == "U" else a)
    return EighResult(both[..., 0, :], both[..., 1:, :])


def qr(a: Any, mode: str = "reduced") -> Any:
    """Return orthonormal columns Q and upper triangles R with ``a = Q @ R``; signs are LAPACK's.

    Parameters
    ----------
    a : Array or array_like
        Matrices.
    mode : {"reduced", "complete", "r"}, optional
        "r": R alone; "complete" is the same as "reduced" unless there are more rows than columns, where it is refused.

    Examples
    --------
    >>> import fastprop as fp
    >>> abs(fp.qr(fp.Array([[3.0], [4.0]])).R).value
    array([[5.]])
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f'qr: mode {mode!r}; expected "reduced", "complete" or "r"')
    a = _matrices("qr", a, square=False)
    m, n = shape_of(a)[-2:]
    if mode == "complete" and m > n:
        raise ValueError(f'qr: "complete" of {described(a)} has columns that are not determined; use "reduced"')
    both = QR()(a)
    q, r = (both[..., :m, :], both[..., m:, :]) if m >= n else (both[..., :m], both[..., m:])
    return r if mode == "r" else QRResult(q, r)
