"""What a fused attention kernel carries and stores, written out in NumPy, and dense references."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LN2 = math.log(2)


@dataclass(frozen=True)
class Example:
    """Queries, keys and values of one head, float32, and which pairs take part.

    Attributes
    ----------
    q, k, v : Array
        (M, D), (N, D), (N, Dv).
    options : dict
        What `logsum.attention` is told beside them.
    bias : Array
        (M, N): what the options add to a score, -inf where they exclude the pair.
    """

    q: Array
    k: Array
    v: Array
    options: dict[str, Any]
    bias: Array

    def batch(self, dtype: str) -> tuple[Array, Array, Array]:
        """Return q, k and v with axes for one batch and one head."""
        q, k, v = (part.astype(dtype)[None, None] for part in (self.q, self.k, self.v))
        return q, k, v

    def scores(self) -> Array:
        """Return q kᵀ / √D plus the bias, in double, (M, N)."""
        q, k = self.q.astype(np.float64), self.k.astype(np.float64)
        return q @ k.T / math.sqrt(q.shape[1]) + self.bias


def examples(rng: np.random.Generator, count: int) -> dict[str, Example]:
    """Return heads of `count` queries and keys whose scores are of different kinds."""
    q, k, v = (rng.standard_normal((count, 64)).astype(np.float32) for _ in "qkv")
    i, j = np.arange(count)[:, None], np.arange(count)[None]
    half = np.arange(count) % 2 == 0
    # Of size 1e4 and exact in float32, as a penalty that someone adds to every score.
    far = np.full(count, -10000.0, np.float32)

    def where(admitted: Array) -> Array:
        return np.where(admitted, 0.0, -math.inf)

    width = count // 8
    return {
        "plain": Example(q, k, v, {}, where(j >= 0)),
        "sharp, q times 30": Example(30 * q, k, v, {}, where(j >= 0)),
        "causal": Example(q, k, v, {"causal": True}, where(j <= i)),
        f"window of {width}": Example(
            q, k, v, {"window": (width - 1, 0)}, where((j <= i) & (j > i - width))
        ),
        "every other query without a key": Example(
            q, k, v, {"mask": half[None, None, :, None]}, where(half[:, None] & (j >= 0))
        ),
        "all scores 10000 down": Example(
            q, k, v, {"bias": far[None, None, None]}, far[None] + where(i >= 0)
        ),
    }


def softmax_rows(scores: Array) -> Array:
    """Return the softmax of each row as textbooks have it; zeros for a row without a key."""
    top = scores.max(axis=1, keepdims=True)
    terms = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = terms.sum(axis=1, keepdims=True)
    return np.asarray(terms / np.where(total > 0, total, 1))


def rebuilt(scores: Array, lse: Array) -> Array:
    """Return exp(s - lse), all that a backward pass needs; zeros for a row without a key."""
    return np.asarray(np.exp(scores - np.where(np.isfinite(lse), lse, 0)[:, None]))


@dataclass(frozen=True)
class Running:
    """What a fused kernel carries for its rows, after each block of keys; all to base 2.

    Attributes
    ----------
    maximum, total : Array
        (blocks, M): the running maximum m, and the running sum l = Σ 2^(s - m).
    """

    maximum: Array
    total: Array

    @property
    def stored(self) -> Array:
        """What the kernel stores: m + log2 l, -inf where no key has taken part."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.maximum + np.log2(self.total))


def run_blocks(scores: Array, block: int) -> Running:
    """Walk over the keys in blocks as fused kernels do, with scores to base 2, s / ln 2.

    Hardware has exp2, so kernels fold 1 / ln 2 into the scale of the scores.
    """
    binary = scores / LN2
    maximum = np.full(len(scores), -math.inf)
    total = np.zeros(len(scores))
    maxima, totals = [], []
    for start in range(0, scores.shape[1], block):
        part = binary[:, start : start + block]
        higher = np.maximum(maximum, part.max(axis=1))
        # A row of which no key has been seen has nothing to rescale.
        shift = np.where(np.isfinite(higher), higher, 0)
        total = total * np.exp2(maximum - shift) + np.exp2(part - shift[:, None]).sum(axis=1)
        maximum = higher
        maxima.append(maximum)
        totals.append(total)
    return Running(np.stack(maxima), np.stack(totals))


@dataclass(frozen=True)
class Gradients:
    """Of sum(grad_out out) + sum(grad_lse lse): dq, dk and dv."""

    q: Array
    k: Array
    v: Array


def gradients_from_lse(
    example: Example, out: Array, lse: Array, grad_out: Array, grad_lse: Array
) -> Gradients:
    """Return gradients from what is stored, out and lse alone, without a stored softmax.

    The sum Σ_j p_j dP_j in the derivative of a softmax is rowsum(grad_out out), so no second walk
    is needed; and a gradient of lse is subtracted from it, since dlse/ds = p.
    """
    p = rebuilt(example.scores(), lse)
    dp = grad_out @ example.v.astype(np.float64).T
    ds = p * (dp - ((grad_out * out).sum(axis=1) - grad_lse)[:, None])
    ds /= math.sqrt(example.q.shape[1])
    return Gradients(ds @ example.k, ds.T @ example.q, p.T @ grad_out)
