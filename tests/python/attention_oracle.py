"""Attention with every feature, written densely in NumPy: values, and gradients by hand.

In 80-bit floats, so that it can judge float64. What is excluded is never multiplied: a product with
NaN or infinity would be NaN. Differentiation of the whole is checked against torch's in
test_attention_oracle.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.longdouble]
Indices = dict[str, Any]
Pointwise = Callable[..., Any]  # of the score, the indices and the arrays by name


@dataclass(frozen=True)
class Formula:
    """A score formula as text and as functions, with its derivatives."""

    text: str
    value: Pointwise
    by_score: Pointwise
    by_arrays: Mapping[str, tuple[str, Pointwise]] = field(default_factory=dict)
    """For each array the indices of its axes, and the derivative."""


FORMULAS = {
    "slopes": Formula(
        "s - slope(h) * Abs(i - j)",
        lambda s, at, slope: s - slope * abs(at["i"] - at["j"]),
        lambda s, at, slope: np.ones_like(s),
        {"slope": ("h", lambda s, at, slope: -abs(at["i"] - at["j"]) + 0 * s)},
    ),
    "square": Formula(
        "s * s / 4 - s",
        lambda s, at: s * s / 4 - s,
        lambda s, at: s / 2 - 1,
    ),
    "gates": Formula(
        "s * gate(b, j) + shift(i)",
        lambda s, at, gate, shift: s * gate + shift,
        lambda s, at, gate, shift: gate + 0 * s,
        {
            "gate": ("bj", lambda s, at, gate, shift: s),
            "shift": ("i", lambda s, at, gate, shift: np.ones_like(s)),
        },
    ),
}


@dataclass(frozen=True)
class Attended:
    """Scores and shares of one call."""

    excluded: npt.NDArray[np.bool_]
    raw: Wide  # scaled products
    capped: Wide
    share: Wide
    sink_share: Wide
    out: Wide
    lse: Wide


def admitted(
    shape: tuple[int, int, int, int],
    causal: Any = False,
    window: tuple[int, int] | None = None,
    mask: Any = None,
    lengths_q: Any = None,
    lengths_k: Any = None,
) -> npt.NDArray[np.bool_]:
    """Return which pairs take part, (B, Hq, M, N)."""
    batch, _, rows, columns = shape
    q_len = np.full(batch, rows) if lengths_q is None else np.asarray(lengths_q)
    k_len = np.full(batch, columns) if lengths_k is None else np.asarray(lengths_k)
    shift = np.where(causal == "bottom-right", k_len - q_len, 0)[:, None, None, None]
    i, j = np.arange(rows)[:, None], np.arange(columns)
    part = np.ones(shape, bool)
    part &= (i < q_len[:, None, None, None]) & (j < k_len[:, None, None, None])
    if causal:
        part &= j <= i + shift
    left, right = window or (-1, -1)
    if left >= 0:
        part &= j >= i + shift - left
    if right >= 0:
        part &= j <= i + shift + right
    return part if mask is None else part & mask


def attend(
    q: Any,
    k: Any,
    v: Any,
    *,
    bias: Any = None,
    sinks: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    score: str | None = None,
    score_args: Mapping[str, Any] | None = None,
    **pairs: Any,
) -> Attended:
    """Return everything about one call, for arguments as `logsum.attention` has."""
    q, k, v = (np.asarray(x, np.longdouble) for x in (q, k, v))
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = (x.repeat(group, 1) for x in (k, v))
    part = admitted((*q.shape[:3], k.shape[2]), **pairs)
    with np.errstate(all="ignore"):
        raw = _products(q, k) * _scale(scale, q.shape[3])
        capped = raw if softcap is None else softcap * np.tanh(raw / softcap)
        s = capped
        if score is not None:
            at, arrays = indexed(score, score_args, s.shape)
            s = FORMULAS[score].value(capped, at, **arrays)
        s = np.broadcast_to(s, part.shape)
        excluded = ~part | (s == -np.inf)
        if bias is not None:
            excluded |= np.asarray(bias) == -np.inf
            s = s + np.asarray(bias, np.longdouble)
        s = np.where(excluded, -np.inf, s)
        terms = np.concatenate([s, _sink_column(sinks, s.shape)], -1)
        share, lse = _softmax(terms)
        out = _weighted(share[..., :-1], excluded, v, keys=False)
        # NaN that takes part in a row makes all of it NaN.
        out = np.where(np.isnan(lse)[..., None], np.nan, out)
    return Attended(excluded, raw, capped, share[..., :-1], share[..., -1], out, lse)


def attention(q: Any, k: Any, v: Any, **options: Any) -> tuple[Wide, Wide]:
    """Return (out, lse)."""
    found = attend(q, k, v, **options)
    return found.out, found.lse


def attention_gradient(
    grad_out: Any, grad_lse: Any, q: Any, k: Any, v: Any, **options: Any
) -> dict[str, Wide]:
    """Return the gradients of <grad_out, out> + <grad_lse, lse> by the names of the arguments."""
    found = attend(q, k, v, **options)
    q, k, v, d_out, d_lse = (np.asarray(x, np.longdouble) for x in (q, k, v, grad_out, grad_lse))
    kv_heads = k.shape[1]
    group = q.shape[1] // kv_heads if kv_heads else 1
    k, v = (x.repeat(group, 1) for x in (k, v))
    p, away = found.share, found.excluded
    scale = _scale(options.get("scale"), q.shape[3])
    with np.errstate(all="ignore"):
        d_p = np.where(away, 0, _products(d_out, v))
        mean = np.where(away, 0, p * d_p).sum(-1)
        d_s = np.where(away, 0, p * (d_p - (mean - d_lse)[..., None]))
        gradients = {"v": _over_heads(_weighted(p, away, d_out, keys=True), kv_heads)}
        if options.get("sinks") is not None:
            gradients["sinks"] = (found.sink_share * (d_lse - mean)).sum((0, 2))
        if options.get("bias") is not None:
            gradients["bias"] = folded(d_s, np.shape(options["bias"]))
        d_raw = d_s
        if (score := options.get("score")) is not None:
            at, arrays = indexed(score, options.get("score_args"), d_s.shape)
            for name, (letters, by) in FORMULAS[score].by_arrays.items():
                terms = np.where(away, 0, d_s * by(found.capped, at, **arrays))
                gradients[name] = by_letters(terms, letters)
            d_raw = d_s * FORMULAS[score].by_score(found.capped, at, **arrays)
        if (cap := options.get("softcap")) is not None:
            d_raw = d_raw * (1 - (found.capped / cap) ** 2)
        d_raw = scale * np.where(away, 0, d_raw)
        gradients["q"] = _weighted(d_raw, away, k, keys=False)
        gradients["k"] = _over_heads(_weighted(d_raw, away, q, keys=True), kv_heads)
    return gradients


def gradient_sizes(
    grad_out: Any, grad_lse: Any, q: Any, k: Any, v: Any, **options: Any
) -> dict[str, float]:
    """Return for each gradient the largest sum of the sizes of what is added up in it."""
    found = attend(q, k, v, **options)
    q, k, v, d_out, d_lse = (
        abs(np.asarray(x, np.longdouble)) for x in (q, k, v, grad_out, grad_lse)
    )
    kv_heads = k.shape[1]
    k, v = (x.repeat(q.shape[1] // kv_heads, 1) for x in (k, v))
    mean = (d_out * (found.share @ v)).sum(-1)
    d_s = found.share * (_products(d_out, v) + (mean + d_lse)[..., None])
    scale = abs(_scale(options.get("scale"), q.shape[3]))
    sizes = {
        "q": scale * (d_s @ k),
        "k": scale * _over_heads(d_s.swapaxes(2, 3) @ q, kv_heads),
        "v": _over_heads(found.share.swapaxes(2, 3) @ d_out, kv_heads),
        "sinks": (found.sink_share * (mean + d_lse)).sum((0, 2)),
    }
    if options.get("bias") is not None:
        sizes["bias"] = folded(d_s, np.shape(options["bias"]))
    if (score := options.get("score")) is not None:
        at, arrays = indexed(score, options.get("score_args"), d_s.shape)
        for name, (letters, by) in FORMULAS[score].by_arrays.items():
            sizes[name] = by_letters(d_s * abs(by(found.capped, at, **arrays)), letters)
    return {name: float(x.max(initial=0)) for name, x in sizes.items()}


def _products(rows: Wide, columns: Wide) -> Wide:
    return rows @ columns.swapaxes(-1, -2)


def _weighted(weights: Wide, away: Any, rows: Wide, *, keys: bool) -> Wide:
    """Sums of weights times rows, over queries for each key or the other way round."""
    if np.isfinite(rows).all() and np.isfinite(weights).all():
        return (weights.swapaxes(-1, -2) if keys else weights) @ rows
    along = rows[:, :, :, None] if keys else rows[:, :, None]
    terms = np.where(away[..., None], 0, weights[..., None] * along)
    return np.asarray(terms.sum(2 if keys else 3))


def _scale(scale: float | None, size: int) -> Any:
    if scale is not None:
        return np.longdouble(scale)
    return 1 / np.sqrt(np.longdouble(size)) if size else np.longdouble(1)


def indexed(
    score: str, arrays: Mapping[str, Any] | None, shape: tuple[int, ...]
) -> tuple[Indices, dict[str, Wide]]:
    """Return the indices, and the arrays with an axis for each of b, h, i and j."""
    at = dict(zip("bhij", np.ogrid[tuple(slice(n) for n in shape)], strict=True))
    letters = {name: axes for name, (axes, _) in FORMULAS[score].by_arrays.items()}
    found = {
        name: np.asarray(x, np.longdouble)[
            tuple(slice(None) if letter in letters[name] else None for letter in "bhij")
        ]
        for name, x in (arrays or {}).items()
    }
    return at, found


def by_letters(terms: Wide, letters: str) -> Wide:
    """Return the sum over the axes that an array of a formula does not have."""
    axes = tuple(axis for axis, letter in enumerate("bhij") if letter not in letters)
    return np.asarray(terms.sum(axes))


def _sink_column(sinks: Any, shape: tuple[int, ...]) -> Wide:
    column = np.full((*shape[:-1], 1), -np.inf, np.longdouble)
    if sinks is not None:
        column[...] = np.asarray(sinks, np.longdouble)[:, None, None]
    return column


def _softmax(terms: Wide) -> tuple[Wide, Wide]:
    """Shares and log-sum-exp of rows, infinities as docs/numerics.md has them."""
    top = terms.max(-1, keepdims=True)  # NaN if there is one
    finite = np.isfinite(top)
    weights = np.exp(np.where(finite, terms - np.where(finite, top, 0), -np.inf))
    total = weights.sum(-1, keepdims=True)
    lse = np.where(finite, top + np.log(total), top)
    infinite = (terms == np.inf).astype(np.longdouble)
    shared = infinite / np.maximum(infinite.sum(-1, keepdims=True), 1)
    share = np.where(finite, weights / np.where(finite, total, 1), shared)
    share = np.where(np.isnan(top), np.where(terms == -np.inf, 0, np.nan), share)
    return share, lse[..., 0]


def _over_heads(x: Wide, kv_heads: int) -> Wide:
    """The sum over the query heads of each key head."""
    batch, heads, *rest = x.shape
    group = heads // kv_heads if kv_heads else 1
    return np.asarray(x.reshape(batch, kv_heads, group, *rest).sum(2))


def folded(x: Wide, shape: tuple[int, ...]) -> Wide:
    """The sum over the axes that an array of a shape repeats."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    axes = tuple(k for k, size in enumerate(shape) if size == 1)
    return np.asarray(x.sum(axes, keepdims=True)).reshape(shape)
