"""Entropic optimal transport between many pairs of images at once, by Sinkhorn's iteration.

A plan P = diag(u) K diag(v), K = exp(-cost / ε), has the wanted marginals a and b when
u = a / (K v) and v = b / (Kᵀ u); taking these in turns converges. In log space each is one
`logmatmulexp` of all pairs' potentials with one kernel. See G. Peyré, M. Cuturi, "Computational
Optimal Transport", 2019, sections 4.2 and 4.4; on going further than a step says, A. Thibault,
L. Chizat, C. Dossal, N. Papadakis, "Overrelaxed Sinkhorn-Knopp Algorithm for Regularized Optimal
Transport", Algorithms 14(5), 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum

Array = NDArray[Any]


def pixel_costs(side: int) -> Array:
    """Return squared distances of the pixels of a square image."""
    places = pixel_places(side)
    return np.asarray(((places[:, None] - places) ** 2).sum(axis=2))


def pixel_places(side: int) -> Array:
    """Return row and column of every pixel."""
    return np.stack(np.divmod(np.arange(side * side), side), axis=1).astype(np.float64)


def log_histograms(images: Array) -> Array:
    """Return the logarithm of each image's part of ink in every pixel, -inf for a blank one."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(images / images.sum(axis=1, keepdims=True)).astype(np.float32))


@dataclass(frozen=True)
class Plans:
    """Transport plans of many pairs, P = exp(log_u + log_v - costs / epsilon)."""

    log_u: Array
    log_v: Array
    costs: Array
    epsilon: float

    def kernel(self) -> Array:
        """Return log K."""
        return np.asarray((-self.costs / self.epsilon).astype(self.log_u.dtype))

    def distances(self) -> Array:
        """Return the cost of each plan: one more product, with the kernel times the costs."""
        with np.errstate(divide="ignore"):
            weighted = self.kernel() + np.log(self.costs).astype(self.log_u.dtype)
        moved = self.log_u + logsum.logmatmulexp(self.log_v, weighted)
        return np.asarray(np.exp(logsum.logsumexp(moved, axis=1)))

    def marginal_errors(self, log_a: Array, log_b: Array) -> Array:
        """Return how much mass leaves the wrong pixels, and how much arrives in wrong ones."""
        kernel = self.kernel()
        leaves = self.log_u + logsum.logmatmulexp(self.log_v, kernel)
        arrives = self.log_v + logsum.logmatmulexp(self.log_u, kernel)
        return _apart(leaves, log_a) + _apart(arrives, log_b)

    def plan(self, pair: int) -> Array:
        """Return the plan of one pair: from each pixel (row) to each pixel (column)."""
        return np.asarray(
            np.exp(self.log_u[pair][:, None] + self.log_v[pair] - self.costs / self.epsilon)
        )


def _apart(log_mass: Array, log_wanted: Array) -> Array:
    return np.asarray(np.abs(np.exp(log_mass) - np.exp(log_wanted)).sum(axis=1))


def schedule(epsilon: float) -> list[float]:
    """Return the values of ε that lead to the wanted one: each solution starts the next."""
    steps = [epsilon]
    while steps[0] < 4:
        steps.insert(0, 2 * steps[0])
    return steps


def total_sweeps(epsilon: float, sweeps: int) -> int:
    """Return how many sweeps `sinkhorn` makes in all."""
    return (len(schedule(epsilon)) - 1 + _LAST) * sweeps


def sinkhorn(
    log_a: Array,
    log_b: Array,
    costs: Array,
    epsilon: float,
    sweeps: int,
    watch: Callable[[Plans], None] | None = None,
) -> Plans:
    """Return plans from a to b, row by row, after so many sweeps for each ε of the schedule.

    The last ε gets several times as many. `watch` sees the plans after every sweep there.
    """
    log_u = np.where(np.isfinite(log_a), np.float32(0), log_a)
    log_v = np.where(np.isfinite(log_b), np.float32(0), log_b)
    before = np.inf
    for step in schedule(epsilon):
        kernel = (-costs / step).astype(log_a.dtype)
        if before < np.inf:  # potentials in units of cost carry over from one ε to the next
            log_u, log_v = (log_w * np.float32(before / step) for log_w in (log_u, log_v))
        before = step
        count = sweeps if step > epsilon else _LAST * sweeps
        for sweep in range(count):
            # A plain step at the end: what arrives is then right up to rounding.
            relax = _RELAX if sweep < count - 1 else 1.0
            # The kernel is symmetric.
            log_u = _towards(log_u, log_a - logsum.logmatmulexp(log_v, kernel), relax)
            log_v = _towards(log_v, log_b - logsum.logmatmulexp(log_u, kernel), relax)
            if watch is not None and step == epsilon:
                watch(Plans(log_u, log_v, costs, step))
    return Plans(log_u, log_v, costs, epsilon)


_LAST = 3
_RELAX = 1.8  # times what the step says; two is the most that can converge


def _towards(old: Array, new: Array, relax: float) -> Array:
    """Go from old to new and further; a blank pixel stays at -inf."""
    step = np.subtract(new, old, where=np.isfinite(new), out=np.zeros_like(new))
    return np.asarray(np.where(np.isfinite(new), old + np.float32(relax) * step, new))


def linear_sinkhorn(
    a: Array, b: Array, costs: Array, epsilon: float, sweeps: int, dtype: type[np.floating[Any]]
) -> tuple[Array, list[float]]:
    """Return which pairs the textbook's iteration loses, and the others' mean marginal errors.

    It works on u and v themselves. A pair is lost when one of them is infinite or NaN. Blank
    pixels are left out of the divisions: they need none.
    """
    a, b = a.astype(dtype), b.astype(dtype)
    kernel = np.exp(-costs / epsilon).astype(dtype)
    v = np.ones_like(b)
    lost = np.zeros(len(a), bool)
    errors = []
    with np.errstate(all="ignore"):
        for _ in range(sweeps):
            u = np.divide(a, v @ kernel, where=a > 0, out=np.zeros_like(a))
            v = np.divide(b, u @ kernel, where=b > 0, out=np.zeros_like(b))
            lost |= ~(np.isfinite(u).all(axis=1) & np.isfinite(v).all(axis=1))
            kept = np.abs(u * (v @ kernel) - a).sum(axis=1)[~lost]
            errors.append(float(kept.mean()) if kept.size else np.nan)
    return lost, errors
