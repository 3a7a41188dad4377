"""References that every value of the tour and the benchmarks stands beside."""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The standard library's decimal arithmetic: correctly rounded exp and ln at any precision.
_DIGITS = 50
_INFINITY = decimal.Decimal("Infinity")
_NAN = decimal.Decimal("NaN")


def _context() -> decimal.Context:
    # Underflow to zero is legitimate here: exp(-1e38) lies below the smallest exponent.
    return decimal.Context(
        prec=_DIGITS,
        Emin=decimal.MIN_EMIN,
        Emax=decimal.MAX_EMAX,
        traps=[decimal.InvalidOperation, decimal.Overflow],
    )


def exact_logsumexp(
    values: Iterable[float], weights: Iterable[float] | None = None
) -> decimal.Decimal:
    """Return log |Σ b exp(a)| to 50 digits of the larger of 1 and the result.

    Parameters
    ----------
    values : iterable of float
        Taken as they are, exactly.
    weights : iterable of float, optional
        Of any sign; a term of weight zero takes no part.

    Returns
    -------
    decimal.Decimal
        Infinite or NaN where the sum is.

    Examples
    --------
    >>> round(exact_logsumexp([1000.0, 1000.0]), 10)
    Decimal('1000.6931471806')
    """
    terms = [float(value) for value in values]
    factors = [1.0] * len(terms) if weights is None else [float(weight) for weight in weights]
    pairs = [(a, b) for a, b in zip(terms, factors, strict=True) if b != 0 and a != -math.inf]
    if any(math.isnan(a) or math.isnan(b) for a, b in pairs):
        return _NAN
    infinite = {math.copysign(1, b) for a, b in pairs if math.inf in (a, abs(b))}
    if infinite:
        return _INFINITY if len(infinite) == 1 else _NAN
    if not pairs:
        return -_INFINITY
    with decimal.localcontext(_context()) as context:
        top = decimal.Decimal(max(a for a, _ in pairs))
        total = decimal.Decimal(0)
        # Smallest first; signed sums keep 50 digits less those that they cancel.
        for a, b in sorted(pairs):
            shifted = context.subtract(decimal.Decimal(a), top)
            total += decimal.Decimal(b) * shifted.exp(context)
        return -_INFINITY if total == 0 else top + abs(total).ln(context)


def precise_logsumexp(values: NDArray[Any]) -> float:
    """Return log Σ exp(a) of a finite one-dimensional array, summed exactly in float64.

    Fast enough for millions of entries, and about 1e-16 of the larger of 1 and the result away
    from the truth: a reference for float32.
    """
    wide = np.asarray(values, dtype=np.float64)
    place = int(wide.argmax())
    top = float(wide[place])
    return top + math.log1p(math.fsum(np.exp(np.delete(wide, place) - top)))


def error_in_ulps(value: float, exact: decimal.Decimal | float, dtype: type[np.floating]) -> float:
    """Return |value - exact| in units in the last place of the exact result in `dtype`.

    Zero where both are the same infinity or both NaN, infinite where only one is.
    """
    truth = decimal.Decimal(exact)
    if not (truth.is_finite() and math.isfinite(value)):
        same = math.isnan(value) if truth.is_nan() else decimal.Decimal(value) == truth
        return 0.0 if same else math.inf
    unit = float(np.spacing(dtype(abs(truth))))
    with decimal.localcontext(_context()):
        return float(abs(decimal.Decimal(value) - truth) / decimal.Decimal(unit))
