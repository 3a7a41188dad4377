"""References at 50 digits for the array reductions, values and gradients.

Everything takes float64 arrays (every float16, bfloat16 and float32 is one) and returns object
arrays of 50-digit numbers, so that a comparison loses nothing to the reference's own rounding.
The special values follow docs/numerics.md: -inf is a true zero, +inf dominates and is shared
equally, NaN that takes part gives NaN.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

Axes = int | Sequence[int] | None
Exact = npt.NDArray[np.object_]

_mp = mpmath.MPContext()
_mp.dps = 50

_INF = _mp.inf
_NAN = _mp.nan


def exact(values: npt.ArrayLike) -> Exact:
    """Return the same numbers as 50-digit ones."""
    array = np.asarray(values)
    return array if array.dtype == object else _lift(_mp.mpf)(array.astype(np.float64))


def _lift(function: Callable[..., Any], inputs: int = 1) -> Callable[..., Exact]:
    ufunc = np.frompyfunc(function, inputs, 1)

    def elementwise(*arrays: npt.ArrayLike) -> Exact:
        with np.errstate(all="ignore"):  # a NaN is an answer here
            return np.asarray(ufunc(*arrays), dtype=object)

    return elementwise


def _rows(array: npt.NDArray[Any], axis: Axes) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """Move the reduced axes into one last axis; return also the shape with them kept as ones."""
    axes = range(array.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    reduced = sorted(k % array.ndim for k in axes) if array.ndim else []
    kept = [k for k in range(array.ndim) if k not in reduced]
    shape = tuple(1 if k in reduced else array.shape[k] for k in range(array.ndim))
    terms = math.prod(array.shape[k] for k in reduced)
    moved = array.transpose(kept + reduced)
    return moved.reshape([array.shape[k] for k in kept] + [terms]), shape


def _signed_sum(terms: Iterable[tuple[float, float]]) -> tuple[Any, int]:
    """Log of the magnitude and sign of sum b exp(a) over pairs (a, b)."""
    counts = Counter((a, b) for a, b in terms if b != 0 and a != -math.inf)
    if any(math.isnan(a) or math.isnan(b) for a, b in counts):
        return _NAN, 0
    infinite = {math.copysign(1, b) for a, b in counts if math.inf in (a, abs(b))}
    if infinite:
        return (_NAN, 0) if len(infinite) == 2 else (_INF, int(infinite.pop()))
    if not counts:
        return -_INF, 0
    lead = max(counts, key=lambda pair: pair[0])
    top = _mp.mpf(lead[0])
    # One leading term stays out of the sum and enters by log1p: a result near 0, such as
    # log(1 + 1e-300), has no digits left at any fixed precision otherwise.
    rest = sum(
        ((n - (pair == lead)) * pair[1] * _mp.exp(pair[0] - top) for pair, n in counts.items()),
        start=_mp.mpf(0),
    )
    ratio = rest / lead[1]
    if ratio == -1:
        return -_INF, 0
    sign = int(math.copysign(1, lead[1])) * (1 if ratio > -1 else -1)
    magnitude = _mp.log1p(ratio) if ratio > -1 else _mp.log(-1 - ratio)
    return top + _mp.log(abs(_mp.mpf(lead[1]))) + magnitude, sign


def signed_logsumexp(
    a: npt.ArrayLike,
    axis: Axes = None,
    b: npt.ArrayLike | None = None,
    keepdims: bool = False,
    where: npt.ArrayLike | None = None,
) -> tuple[Exact, npt.NDArray[np.float64]]:
    """Return log |sum b exp(a)| over `axis` and the sum's sign; `where` false leaves a term out."""
    weight = 1.0 if b is None else np.asarray(b, dtype=np.float64)
    keep = True if where is None else np.asarray(where, dtype=bool)
    terms, weights = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.where(keep, weight, 0))
    rows, shape = _rows(terms, axis)
    weight_rows, _ = _rows(weights, axis)
    out = np.empty(rows.shape[:-1], dtype=object)
    sign = np.empty(rows.shape[:-1])
    for index in np.ndindex(out.shape):
        pairs = zip(rows[index].tolist(), weight_rows[index].tolist(), strict=True)
        out[index], sign[index] = _signed_sum(pairs)
    sign[np.array([x != x for x in out.flat], dtype=bool).reshape(out.shape)] = np.nan
    return (out.reshape(shape), sign.reshape(shape)) if keepdims else (out, sign)


def logsumexp(
    a: npt.ArrayLike,
    axis: Axes = None,
    b: npt.ArrayLike | None = None,
    keepdims: bool = False,
    where: npt.ArrayLike | None = None,
) -> Exact:
    """Return log sum b exp(a) over `axis`; NaN where the sum is negative."""
    out, sign = signed_logsumexp(a, axis, b, keepdims, where)
    return np.where(sign < 0, _NAN, out)


@functools.lru_cache(maxsize=1 << 12)
def _share(a: Any, lse: Any, ties: Any) -> Any:
    """Term exp(a - lse); 0 for a term of -inf and 1/ties for +inf."""
    if a == -_INF:
        return _mp.mpf(0)
    if lse == _INF:
        return 1 / _mp.mpf(ties) if a == _INF else _mp.mpf(0)
    return _mp.exp(a - lse)


def shares(a: npt.ArrayLike, axis: Axes, where: npt.ArrayLike | None = None) -> Exact:
    """Return the weight of each term in its sum: softmax, and the gradient of logsumexp."""
    terms = np.asarray(a, dtype=np.float64)
    keep = np.broadcast_to(True if where is None else np.asarray(where, dtype=bool), terms.shape)
    axes = tuple(axis) if isinstance(axis, Sequence) else axis
    ties = np.sum((terms == np.inf) & keep, axis=axes, keepdims=True)
    lse = logsumexp(terms, axis, keepdims=True, where=keep)
    return _lift(_share, 3)(np.where(keep, exact(terms), -_INF), lse, ties)


def softmax(a: npt.ArrayLike, axis: int = -1) -> tuple[Exact, Exact]:
    """Return the shares and the lse; a slice of only -inf has shares 0."""
    return shares(a, axis), logsumexp(a, axis)


def _log_share(row: Counter[float], term: float, lse: Any) -> Any:
    """Difference term - lse of a finite lse, with every digit where it is near 0."""
    value = _mp.mpf(term) - lse
    if value < -1:
        return value
    counts = row - Counter([term])
    return -_mp.log1p(sum((n * _mp.exp(_mp.mpf(a) - term) for a, n in counts.items()), _mp.mpf(0)))


def log_softmax(a: npt.ArrayLike, axis: int = -1) -> tuple[Exact, Exact]:
    """Return the logarithm of the shares and the lse."""
    terms = np.moveaxis(np.asarray(a, dtype=np.float64), axis, -1)
    lse = logsumexp(terms, -1)
    out = _lift(lambda p: -_INF if p == 0 else _mp.log(p))(shares(terms, -1))
    for index in np.ndindex(lse.shape):
        if abs(lse[index]) < _INF:
            row = Counter(terms[index].tolist())
            logs = {a: _log_share(row, a, lse[index]) for a in row}
            out[index] = [logs[a] for a in terms[index].tolist()]
    return np.moveaxis(out, -1, axis), lse


def _expand(reduced: npt.ArrayLike, like: npt.ArrayLike, axis: Axes, keepdims: bool) -> Exact:
    """Give a reduced array its reduced axes back, with size one."""
    if keepdims:
        return exact(reduced)
    _, shape = _rows(np.asarray(like), axis)
    return exact(reduced).reshape(shape)


def logsumexp_gradient(
    cotangent: npt.ArrayLike,
    a: npt.ArrayLike,
    axis: Axes = None,
    keepdims: bool = False,
    where: npt.ArrayLike | None = None,
) -> Exact:
    """Return the gradient of <cotangent, logsumexp(a)>."""
    return shares(a, axis, where) * _expand(cotangent, a, axis, keepdims)


def weighted_logsumexp_gradient(
    cotangent: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    axis: Axes = None,
    keepdims: bool = False,
) -> tuple[Exact, Exact]:
    """Return the gradients of <cotangent, log |sum b exp(a)|> in a and in b, of finite sums."""
    out, sign = signed_logsumexp(a, axis, b, keepdims=True)
    incoming = _expand(cotangent, a, axis, keepdims) * exact(sign)
    share = _lift(lambda x, z: _share(x, z, 1), 2)(exact(a), out)
    return incoming * share * exact(b), incoming * share


def softmax_gradient(
    cotangents: Sequence[npt.ArrayLike], a: npt.ArrayLike, axis: int = -1
) -> Exact:
    """Return the gradient of <g0, softmax(a)> + <g1, lse(a)>; g1 may be missing."""
    share, incoming = shares(a, axis), exact(cotangents[0])
    mean = np.sum(share * incoming, axis=axis, keepdims=True)
    if len(cotangents) > 1:
        mean = mean - _expand(cotangents[1], a, axis, keepdims=False)
    return share * (incoming - mean)


def log_softmax_gradient(
    cotangents: Sequence[npt.ArrayLike], a: npt.ArrayLike, axis: int = -1
) -> Exact:
    """Return the gradient of <g0, log_softmax(a)> + <g1, lse(a)>; g1 may be missing."""
    share, incoming = shares(a, axis), exact(cotangents[0])
    total = np.sum(incoming, axis=axis, keepdims=True)
    if len(cotangents) > 1:
        total = total - _expand(cotangents[1], a, axis, keepdims=False)
    # A zero term's logarithm is -inf whatever happens: its gradient is 0.
    alive = np.asarray(a) != -np.inf
    return np.where(alive, incoming - share * total, _mp.mpf(0))


def _stacked(parts: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float64]:
    return np.stack(np.broadcast_arrays(*(np.asarray(p, dtype=np.float64) for p in parts)))


def unbroadcast(gradient: Exact, shape: tuple[int, ...]) -> Exact:
    """Sum a gradient over the axes in which an argument of this shape was broadcast."""
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + k for k, size in enumerate(shape) if size == 1 and gradient.shape[extra + k] != 1
    )
    return np.asarray(np.sum(gradient, axis=axes), dtype=object).reshape(shape)


def logaddexp(a: npt.ArrayLike, b: npt.ArrayLike) -> Exact:
    """Return log(exp a + exp b), broadcast."""
    return logsumexp(_stacked([a, b]), axis=0)


def logaddexp_gradient(
    cotangent: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike
) -> tuple[Exact, ...]:
    """Return the gradients of <cotangent, logaddexp(a, b)>."""
    gradient = logsumexp_gradient(cotangent, _stacked([a, b]), axis=0)
    return tuple(unbroadcast(gradient[k], np.shape(x)) for k, x in enumerate((a, b)))


def merge_means(
    outs: Sequence[npt.ArrayLike], lses: Sequence[npt.ArrayLike]
) -> tuple[Exact, Exact]:
    """Return the merged mean and lse of parts (out, lse)."""
    stack = _stacked(lses)
    share = shares(stack, 0)[..., None]
    # A part of weight zero is not read.
    terms = np.where(share == 0, _mp.mpf(0), share * exact(_stacked(outs)))
    return np.sum(terms, axis=0), logsumexp(stack, 0)


def merge_means_gradient(
    cotangents: Sequence[npt.ArrayLike],
    outs: Sequence[npt.ArrayLike],
    lses: Sequence[npt.ArrayLike],
) -> tuple[list[Exact], list[Exact]]:
    """Return the gradients in the outs and in the lses of <g0, out> + <g1, lse>."""
    share = shares(_stacked(lses), 0)
    merged, _ = merge_means(outs, lses)
    incoming, incoming_lse = exact(cotangents[0]), exact(cotangents[1])
    grad_outs = share[..., None] * incoming
    moved = np.sum(incoming * (exact(_stacked(outs)) - merged), axis=-1)
    grad_lses = np.where(share == 0, _mp.mpf(0), share * (moved + incoming_lse))
    return list(grad_outs), list(grad_lses)
