"""ADBench's mixture of Gaussians: the log-posterior of its parameters, and what it is compared with.

A mixture of K components in d dimensions has the parameters alphas (K; weights before they are normalised), means
(K, d) and factors (K, d(d+1)/2): each row a lower triangular Q with Qᵀ Q the inverse of the covariance, the logarithms
of its diagonal first, then what lies below the diagonal, column by column. The log-posterior is

    −n d/2 log 2π + Σ over points log Σ over k exp(alpha_k + log det Q_k − ½ |Q_k (x − mean_k)|²)
    − n log Σ exp(alphas) + the Wishart prior of the factors

The term of one point is written below as scalar code, as a user would write it, and mapped over the points; the rest is
scalar code, too. `formula` computes value and gradient with NumPy, by hand, independently of all that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuits import Answer, Number, agree

DATA = Path(__file__).resolve().parent / "data" / "adbench"
INSTANCES = ("d2_K5", "d10_K5", "d10_K25", "d20_K25")


@dataclass(frozen=True)
class Mixture:
    """One instance: the parameters at which it is measured, the points, and the prior's two numbers."""

    name: str
    alphas: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    points: np.ndarray
    gamma: float
    m: int

    @property
    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the gradient is taken in."""
        return self.alphas, self.means, self.factors

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Parameters, or their gradients, from one row of numbers."""
        ends = np.cumsum([part.size for part in self.parameters])
        return [flat[end - part.size : end].reshape(part.shape) for part, end in zip(self.parameters, ends)]

    def prove(self, answer: Answer, tolerance: float = 1e-9) -> None:
        """Raise AssertionError unless value and gradient (three parts) are the true ones."""
        value, gradient = formula(self)
        flat = [np.concatenate([np.ravel(part) for part in parts]) for parts in (answer[1], gradient)]
        agree((answer[0], flat[0]), (value, flat[1]), tolerance, f"GMM {self.name}")

    def prior_constant(self) -> float:
        """What of the log-posterior depends on no parameter."""
        n, d, K = len(self.points), self.means.shape[1], len(self.alphas)
        freedom = d + self.m + 1
        multigamma = 0.25 * d * (d - 1) * math.log(math.pi)
        multigamma += sum(math.lgamma(0.5 * (freedom + 1 - j)) for j in range(1, d + 1))
        wishart = freedom * d * (math.log(self.gamma) - 0.5 * math.log(2.0)) - multigamma
        return -0.5 * n * d * math.log(2.0 * math.pi) - K * wishart


def load(name: str, most: int | None = None) -> Mixture:
    """Read an instance, such as d10_K25, with at most so many points."""
    path = DATA / f"gmm_{name}.txt"
    words = path.read_text(encoding="ascii").split()
    d, K, n = map(int, words[:3])
    sizes = [K, K * d, K * (d * (d + 1) // 2), n * d, 2]
    numbers = np.array(words[3:], dtype=float)
    if len(numbers) != sum(sizes):
        raise ValueError(f"{path.name}: {len(numbers)} numbers after the sizes {d} {K} {n}; there must be {sum(sizes)}")
    alphas, means, factors, points, (gamma, m) = np.split(numbers, np.cumsum(sizes)[:-1])
    points = points.reshape(n, d)[:most].copy()
    return Mixture(name, alphas, means.reshape(K, d), factors.reshape(K, -1), points, float(gamma), int(m))


# The objective, as scalar code


def log_sum_exp(ops: Any, terms: Sequence[Number]) -> Number:
    """The logarithm of the sum of the exponentials, by the library's own gate where it has one."""
    if hasattr(ops, "logsumexp"):
        return ops.logsumexp(terms)
    total = ops.exp(terms[0])
    for term in terms[1:]:
        total = total + ops.exp(term)
    return ops.log(total)


def log_likelihood(
    ops: Any, alphas: Sequence[Number], means: Any, factors: Any, x: Sequence[Number], d: int, K: int
) -> Number:
    """The term of one point, without its constant."""
    terms = []
    for k in range(K):
        centred = [x[i] - means[k, i] for i in range(d)]
        scaled = [ops.exp(factors[k, i]) * centred[i] for i in range(d)]
        place = d
        for j in range(d):
            for i in range(j + 1, d):
                scaled[i] = scaled[i] + factors[k, place] * centred[j]
                place += 1
        log_determinant, square = factors[k, 0], scaled[0] * scaled[0]
        for i in range(1, d):
            log_determinant = log_determinant + factors[k, i]
            square = square + scaled[i] * scaled[i]
        terms.append(alphas[k] + log_determinant - 0.5 * square)
    return log_sum_exp(ops, terms)


def log_prior(ops: Any, mixture: Mixture, alphas: Sequence[Number], factors: Any) -> Number:
    """All but the points' terms: the weights' normalisation, the Wishart prior, and the constants."""
    K, d, size = len(mixture.alphas), mixture.means.shape[1], mixture.factors.shape[1]
    squares, logarithms = None, None
    for k in range(K):
        for i in range(size):
            entry = ops.exp(factors[k, i]) if i < d else factors[k, i]
            squares = entry * entry if squares is None else squares + entry * entry
            if i < d:
                logarithms = factors[k, i] if logarithms is None else logarithms + factors[k, i]
    normalisation = log_sum_exp(ops, [alphas[k] for k in range(K)]) * float(len(mixture.points))
    prior = squares * (0.5 * mixture.gamma**2) - logarithms * float(mixture.m)
    return prior - normalisation + mixture.prior_constant()


def objective(
    ops: Any, mixture: Mixture, mapped: Callable[[Callable[..., Number], tuple[int | None, ...]], Callable[..., Number]]
) -> Callable[[Any, Any, Any], Number]:
    """The log-posterior as a function of alphas, means and factors.

    `mapped(f, in_axes)` makes the function that sums `f` over the lanes of its arguments.
    """
    K, d = mixture.means.shape

    def of_point(alphas: Any, means: Any, factors: Any, x: Any) -> Number:
        return log_likelihood(ops, alphas, means, factors, x, d, K)

    over_points = mapped(of_point, (None, None, None, 0))

    def log_posterior(alphas: Any, means: Any, factors: Any) -> Number:
        total = over_points(alphas, means, factors, mixture.points)
        return total + log_prior(ops, mixture, alphas, factors)

    return log_posterior


# The same by NumPy and by hand


def triangles(mixture: Mixture) -> np.ndarray:
    """Every component's Q, (K, d, d)."""
    K, d = mixture.means.shape
    Q = np.zeros((K, d, d))
    columns, rows = np.triu_indices(d, 1)  # below the diagonal, column by column
    Q[:, rows, columns] = mixture.factors[:, d:]
    Q[:, range(d), range(d)] = np.exp(mixture.factors[:, :d])
    return Q


def formula(mixture: Mixture) -> Answer:
    """The value and the gradient's three parts."""
    alphas, means, factors = mixture.parameters
    d, n, m = means.shape[1], len(mixture.points), mixture.m
    Q = triangles(mixture)
    centred = mixture.points[:, None, :] - means  # (n, K, d)
    scaled = np.einsum("kij,nkj->nki", Q, centred)
    terms = alphas + factors[:, :d].sum(axis=1) - 0.5 * (scaled**2).sum(axis=2)
    top = terms.max(axis=1, keepdims=True)
    likelihoods = top[:, 0] + np.log(np.exp(terms - top).sum(axis=1))
    normaliser = alphas.max() + math.log(np.exp(alphas - alphas.max()).sum())
    square = (Q**2).sum()
    value = likelihoods.sum() - n * normaliser + 0.5 * mixture.gamma**2 * square - m * factors[:, :d].sum()

    shares = np.exp(terms - likelihoods[:, None])  # of each component in each point
    pulls = np.einsum("nk,nki,nkj->kij", shares, scaled, centred)  # what the squares pull on Q with, negated
    d_alphas = shares.sum(axis=0) - n * np.exp(alphas - normaliser)
    d_means = np.einsum("nk,kij,nki->kj", shares, Q, scaled)
    d_Q = mixture.gamma**2 * Q - pulls
    columns, rows = np.triu_indices(d, 1)
    diagonal = np.diagonal(d_Q, axis1=1, axis2=2) * np.diagonal(Q, axis1=1, axis2=2)
    d_factors = np.concatenate([diagonal + shares.sum(axis=0)[:, None] - m, d_Q[:, rows, columns]], axis=1)
    return float(value + mixture.prior_constant()), [d_alphas, d_means, d_factors]
