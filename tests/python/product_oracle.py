"""References at 50 digits for the log-space matrix product, values, indices and gradients.

As oracle.py, with one difference: a term is the sum of two inputs, kept exactly, however far apart
they are, so that differences of terms are exact too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

from oracle import Exact, exact, unbroadcast

_digits = mpmath.MPContext()
_digits.dps = 50
# A sum of two float64 has at most 2099 bits, from 2^1024 to 2^-1074.
_sums = mpmath.MPContext()
_sums.prec = 2300

_INF, _NAN = _sums.inf, _sums.nan
_ZERO, _ONE = _digits.mpf(0), _digits.mpf(1)

Slice = tuple[Any, list[Any], int]  # the result, the share of each term, the index of a maximum


@functools.lru_cache(maxsize=1 << 16)
def _term(a: float, b: float) -> Any:
    """The exact product of two logarithms; -inf, a zero, absorbs all but NaN."""
    if math.isnan(a) or math.isnan(b):
        return _NAN
    return -_INF if -math.inf in (a, b) else _sums.mpf(a) + _sums.mpf(b)


@functools.lru_cache(maxsize=1 << 16)
def _exp(difference: Any) -> Any:
    return _digits.exp(difference)


def _log(terms: Sequence[Any]) -> Slice:
    """The logarithm of a sum; of several infinite terms, equal shares."""
    if any(x != x for x in terms):
        return _NAN, [_ZERO if x == -_INF else _digits.nan for x in terms], _first(terms)
    place = _first(terms)
    top = terms[place] if terms else -_INF
    if abs(top) == _INF:
        ties = sum(x == _INF for x in terms)
        return top, [_ONE / ties if x == _INF else _ZERO for x in terms], place
    weights = [_ZERO if x == -_INF else _exp(x - top) for x in terms]
    rest = sum((w for k, w in enumerate(weights) if k != place), start=_ZERO)
    return top + _digits.log1p(rest), [w / (1 + rest) for w in weights], place


def _max(terms: Sequence[Any]) -> Slice:
    """The maximum; its lowest index has the whole share, unless it is -inf.

    Terms that round to the same number, huge ones that is, are equal.
    """
    place = _first([float(x) for x in terms])
    top = terms[place] if terms else -_INF
    return top, [_ONE if k == place and top != -_INF else _ZERO for k in range(len(terms))], place


def _first(terms: Sequence[Any]) -> int:
    """The lowest index of a maximum, NaN above all; -1 of nothing."""
    for k, x in enumerate(terms):
        if x != x:
            return k
    return max(range(len(terms)), key=terms.__getitem__, default=-1)


_REDUCTIONS: dict[str, Callable[[Sequence[Any]], Slice]] = {"log": _log, "max": _max}


def _reduced(
    a: npt.ArrayLike, b: npt.ArrayLike, semiring: str
) -> tuple[Exact, Exact, npt.NDArray[np.int64]]:
    """Return C (..., M, N), the shares (..., M, N, K), and the indices (..., M, N)."""
    left = np.asarray(a, dtype=np.float64)[..., :, None, :]
    right = np.swapaxes(np.asarray(b, dtype=np.float64), -1, -2)[..., None, :, :]
    left, right = np.broadcast_arrays(left, right)
    out = np.empty(left.shape[:-1], dtype=object)
    shares = np.empty(left.shape, dtype=object)
    place = np.empty(left.shape[:-1], dtype=np.int64)
    for index in np.ndindex(out.shape):
        pairs = zip(left[index].tolist(), right[index].tolist(), strict=True)
        terms = [_term(*pair) for pair in pairs]
        out[index], shares[index], place[index] = _REDUCTIONS[semiring](terms)
    return out, shares, place


def logmatmulexp(
    a: npt.ArrayLike, b: npt.ArrayLike, semiring: str = "log"
) -> tuple[Exact, npt.NDArray[np.int64]]:
    """Return the product and the lowest index of the largest term of each entry."""
    out, _, place = _reduced(a, b, semiring)
    return out, place


def wide_logmatmulexp(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the product of finite operands or zeros in the next wider type, for many entries."""
    kind = np.longdouble if a.dtype == np.float64 else np.float64
    left, right = a.astype(kind), b.astype(kind)
    out = np.empty(
        (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), kind
    )
    for row in range(a.shape[-2]):  # all at once would take M K N numbers
        terms = left[..., row, :, None] + right
        top = terms.max(axis=-2, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(top), top, 0)
        with np.errstate(divide="ignore"):
            out[..., row, :] = (np.log(np.exp(terms - shift).sum(axis=-2, keepdims=True)) + shift)[
                ..., 0, :
            ]
    return out


def logmatmulexp_gradient(
    cotangent: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, semiring: str = "log"
) -> tuple[Exact, Exact]:
    """Return the gradients of <cotangent, logmatmulexp(a, b)>."""
    _, shares, _ = _reduced(a, b, semiring)
    terms = exact(cotangent)[..., None] * shares
    by_a = np.sum(terms, axis=-2)
    by_b = np.swapaxes(np.sum(terms, axis=-3), -1, -2)
    return unbroadcast(by_a, np.shape(a)), unbroadcast(by_b, np.shape(b))
