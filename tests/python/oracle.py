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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@functools.lru_cache(maxsize=1 << 14)
def _number(value: float) -> Any:
    return _mp.mpf(value)


def exact(values: npt.ArrayLike) -> Exact:
    """Return the same numbers as 50-digit ones."""
    array = np.asarray(values)
    return array if array.dtype == object else _lift(_number)(array.astype(np.float64))


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


@dataclass(frozen=True, eq=False)
class _Sum:
    """A sum b exp(a) as e^top · lead · (1 + rest), lead the weight of the leading term.

    Kept apart, because no fixed number of digits holds 1e300 + log 2, or log(1 + 1e-300).
    """

    top: Any
    lead: Any = 1
    rest: Any = 0

    @property
    def log(self) -> Any:
        """Log of the magnitude."""
        if self.rest == -1:
            return -_INF
        magnitude = _mp.log1p(self.rest) if self.rest > -1 else _mp.log(-1 - self.rest)
        return self.top + (_mp.log(abs(self.lead)) + magnitude)

    @property
    def sign(self) -> int:
        """Sign, 0 for no sum."""
        if self.rest == -1 or self.top == -_INF:
            return 0
        return int(math.copysign(1, self.lead)) * (1 if self.rest > -1 else -1)

    def share(self, a: float) -> Any:
        """Term exp(a) by the magnitude of the sum; 0 for -inf, and 1/n for n terms of +inf."""
        if a == -_INF or (self.top == _INF and a != _INF):
            return _number(0)
        if self.top == _INF:
            return 1 / (1 + self.rest)
        return _mp.exp(_number(a) - self.top) / abs(self.lead * (1 + self.rest))

    def log_share(self, a: float) -> Any:
        """Logarithm of the share, with every digit where it is near 0."""
        if self.share(a) == 0:
            return -_INF
        return (0 if a == self.top else _number(a) - self.top) - _mp.log1p(self.rest)


_NOTHING = _Sum(-_INF)
_UNDEFINED = _Sum(_NAN, rest=_NAN)


@functools.lru_cache(maxsize=1 << 10)
def _sum(terms: frozenset[tuple[tuple[float, float], int]]) -> _Sum:
    """Sum n b exp(a) over ((a, b), n)."""
    counts = {pair: n for pair, n in terms if pair[1] != 0 and pair[0] != -math.inf}
    if any(math.isnan(a) or math.isnan(b) for a, b in counts):
        return _UNDEFINED
    infinite = [(math.copysign(1, b), n) for (a, b), n in counts.items() if math.inf in (a, abs(b))]
    if infinite:
        signs = {sign for sign, _ in infinite}
        ties = sum(n for _, n in infinite)
        return _Sum(_INF, signs.pop(), ties - 1) if len(signs) == 1 else _UNDEFINED
    if not counts:
        return _NOTHING
    lead = max(counts, key=lambda pair: pair[0])
    top, weight = _number(lead[0]), _number(lead[1])
    rest = sum(
        (
            (n - (pair == lead)) * pair[1] * _mp.exp(_number(pair[0]) - top)
            for pair, n in counts.items()
        ),
        start=_number(0),
    )
    return _Sum(top, weight, rest / weight)


def _sums(
    a: npt.ArrayLike, axis: Axes, b: npt.ArrayLike | None, where: npt.ArrayLike | None
) -> tuple[Exact, tuple[int, ...]]:
    """Return a `_Sum` for each slice, and their shape with the axes kept."""
    weight = 1.0 if b is None else np.asarray(b, dtype=np.float64)
    keep = True if where is None else np.asarray(where, dtype=bool)
    terms, weights = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.where(keep, weight, 0))
    rows, shape = _rows(terms, axis)
    weight_rows, _ = _rows(weights, axis)
    out = np.empty(rows.shape[:-1], dtype=object)
    for index in np.ndindex(out.shape):
        pairs = zip(rows[index].tolist(), weight_rows[index].tolist(), strict=True)
        out[index] = _sum(frozenset(Counter(pairs).items()))
    return out, shape


def signed_logsumexp(
    a: npt.ArrayLike,
    axis: Axes = None,
    b: npt.ArrayLike | None = None,
    keepdims: bool = False,
    where: npt.ArrayLike | None = None,
) -> tuple[Exact, npt.NDArray[np.float64]]:
    """Return log |sum b exp(a)| over `axis` and the sum's sign; `where` false leaves a term out."""
    sums, shape = _sums(a, axis, b, where)
    out, sign = _lift(lambda s: s.log)(sums), _lift(lambda s: s.sign)(sums).astype(np.float64)
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


def _over(method: Callable[[_Sum, float], Any]) -> Callable[..., Exact]:
    """Return a method of the sum of each slice as a function of terms and sums."""
    return _lift(functools.lru_cache(maxsize=1 << 12)(lambda a, total: method(total, a)), 2)


def shares(
    a: npt.ArrayLike,
    axis: Axes,
    b: npt.ArrayLike | None = None,
    where: npt.ArrayLike | None = None,
) -> Exact:
    """Return exp(a) / |sum b exp(a)|: softmax, and what gradients are made of.

    Zero where `where` is false.
    """
    terms = np.asarray(a, dtype=np.float64)
    keep = np.broadcast_to(True if where is None else np.asarray(where, dtype=bool), terms.shape)
    sums, shape = _sums(terms, axis, b, where)
    kept = np.where(keep, terms, -np.inf).astype(object)
    return _over(_Sum.share)(kept, sums.reshape(shape))


def softmax(a: npt.ArrayLike, axis: int = -1) -> tuple[Exact, Exact]:
    """Return the shares and the lse; a slice of only -inf has shares 0."""
    return shares(a, axis), logsumexp(a, axis)


def log_softmax(a: npt.ArrayLike, axis: int = -1) -> tuple[Exact, Exact]:
    """Return the logarithm of the shares and the lse."""
    sums, shape = _sums(a, axis, None, None)
    terms = np.asarray(a, dtype=np.float64).astype(object)
    return _over(_Sum.log_share)(terms, sums.reshape(shape)), logsumexp(a, axis)


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
    return shares(a, axis, where=where) * _expand(cotangent, a, axis, keepdims)


def weighted_logsumexp_gradient(
    cotangent: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    axis: Axes = None,
    keepdims: bool = False,
) -> tuple[Exact, Exact]:
    """Return the gradients of <cotangent, log |sum b exp(a)|> in a and in b, of finite sums."""
    _, sign = signed_logsumexp(a, axis, b, keepdims=True)
    incoming = _expand(cotangent, a, axis, keepdims) * exact(sign)
    share = shares(a, axis, b)
    weights = exact(b)
    # A term of weight zero takes no part, whatever becomes of the others.
    terms = np.where(weights == 0, _number(0), incoming * share * weights)
    return terms, incoming * share


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
    share = shares(a, axis)
    # Where the share is 0 its logarithm is -inf whatever happens: nothing comes through there.
    alive = share != 0
    incoming = np.where(alive, exact(cotangents[0]), _number(0))
    total = np.sum(incoming, axis=axis, keepdims=True)
    if len(cotangents) > 1:
        total = total - _expand(cotangents[1], a, axis, keepdims=False)
    return np.where(alive, incoming - share * total, _number(0))


def _stacked(parts: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float64]:
    return np.stack(np.broadcast_arrays(*(np.asarray(p, dtype=np.float64) for p in parts)))


def unbroadcast(gradient: Exact, shape: tuple[int, ...]) -> Exact:
    """Sum a gradient over the axes in which an argument of this shape was broadcast."""
    gradient = np.asarray(gradient, dtype=object)
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
    terms = np.where(share == 0, _number(0), share * exact(_stacked(outs)))
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
    grad_lses = np.where(share == 0, _number(0), share * (moved + incoming_lse))
    return list(grad_outs), list(grad_lses)
