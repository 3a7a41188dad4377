"""Properties of the array reductions on inputs that nobody thought of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import logsum
import oracle
from conformance.report import compare
from tolerances import LOG_SHARE, LOG_SUM, SHARE, Tolerance

Array = npt.NDArray[Any]

DTYPES: Any = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])


def _numbers(dtype: np.dtype[Any], top: float | None = None, special: bool = False) -> Any:
    """Return finite numbers up to `top` (any, without), or all that are not NaN."""
    bits: Any = dtype.itemsize * 8
    if special:
        return st.floats(width=bits, allow_nan=False)
    return st.floats(-top if top else None, top, width=bits, allow_nan=False, allow_infinity=False)


@st.composite
def vectors(draw: st.DrawFn, top: float | None = None, special: bool = False) -> Array:
    """Draw a vector of 1 to 40 terms."""
    dtype = draw(DTYPES)
    shape = st.integers(1, 40)
    return draw(arrays.arrays(dtype, shape, elements=_numbers(dtype, top, special)))


def _judge(expected: Any, got: Any, tolerance: Tolerance, a: Array) -> None:
    """Compare with the reference, judged by the largest logarithm in sight."""
    finite = np.abs(a[np.isfinite(a)]).astype(np.float64)
    magnitude = float(finite.max(initial=0)) + math.log(max(a.size, 2))
    found = np.asarray(got, dtype=np.float64)
    compare(expected, found, str(np.asarray(got).dtype), tolerance, magnitude=magnitude)


# ---- against 50 digits -----------------------------------------------------------------------


@given(vectors(special=True))
def test_logsumexp_of_anything(a: Array) -> None:
    _judge(oracle.logsumexp(a, 0), logsum.logsumexp(a, 0), LOG_SUM, a)


@given(vectors(top=100))
def test_logsumexp_of_ordinary_terms(a: Array) -> None:
    _judge(oracle.logsumexp(a, 0), logsum.logsumexp(a, 0), LOG_SUM, a)


@given(vectors(top=100))
def test_softmax(a: Array) -> None:
    out, lse = logsum.softmax(a, return_lse=True)
    want, want_lse = oracle.softmax(a)
    _judge(want, out, SHARE, a)
    _judge(want_lse, lse, LOG_SUM, a)


@given(vectors(special=True))
def test_log_softmax_of_anything(a: Array) -> None:
    out, lse = logsum.log_softmax(a, return_lse=True)
    want, want_lse = oracle.log_softmax(a)
    _judge(want, out, LOG_SHARE, a)
    _judge(want_lse, lse, LOG_SUM, a)


@given(vectors(special=True), st.data())
def test_logaddexp_of_anything(a: Array, data: st.DataObject) -> None:
    numbers = _numbers(a.dtype, special=True)
    b = data.draw(arrays.arrays(a.dtype, a.shape, elements=numbers))
    _judge(oracle.logaddexp(a, b), logsum.logaddexp(a, b), LOG_SUM, a)


@given(vectors(special=True), st.data())
def test_signed_sum_of_anything(a: Array, data: st.DataObject) -> None:
    """The sign is right wherever the sum is larger than its own rounding errors."""
    weights = data.draw(arrays.arrays(a.dtype, a.shape, elements=st.sampled_from([-1, 0, 1, 2.5])))
    out, sign = logsum.logsumexp(a, b=weights, return_sign=True)
    want, want_sign = oracle.signed_logsumexp(a, None, weights)
    total = oracle.logsumexp(a, None, np.abs(weights))[()]
    lost = float(total - want[()]) if abs(total) < np.inf and abs(want[()]) < np.inf else 0.0
    if lost < 3:  # a condition number below 20
        assert sign == want_sign or (np.isnan(sign) and np.isnan(want_sign))
        _judge(want, out, LOG_SUM.times(20), a)


# ---- laws ------------------------------------------------------------------------------------


def _close(one: Any, other: Any, roundings: float, a: Array) -> None:
    """Compare two results of the library with each other."""
    expected = np.asarray(one, dtype=np.float64)
    tolerance = LOG_SUM.times(roundings)
    compare(expected, np.asarray(other, np.float64), str(a.dtype), tolerance)


@given(vectors(top=100), st.integers(-64, 64))
def test_shift_by_what_a_term_can_hold(a: Array, shift: int) -> None:
    """logsumexp(a + c) = logsumexp(a) + c, where a + c is exact."""
    quantised = np.round(a * 256) / 256  # 17 bits: sums with integers are exact
    shifted = (quantised + shift).astype(a.dtype)
    lses = np.array([logsum.logsumexp(quantised), logsum.logsumexp(shifted)], np.float64)
    bounds = LOG_SUM.bound(lses, str(a.dtype))
    # The addition here rounds too.
    assert abs(lses[0] + shift - lses[1]) <= bounds.sum() + np.spacing(np.abs(lses)).max()
    _judge(logsum.softmax(quantised).astype(np.float64), logsum.softmax(shifted), SHARE.times(2), a)


@given(vectors(special=True), st.randoms(use_true_random=False))
def test_order_does_not_matter(a: Array, random: Any) -> None:
    order = list(range(a.size))
    random.shuffle(order)
    _close(logsum.logsumexp(a), logsum.logsumexp(a[order]), 2, a)


@given(vectors(special=True), st.integers(0, 40))
def test_parts_merge_into_the_whole(a: Array, cut: int) -> None:
    parts = [logsum.logsumexp(np.atleast_1d(part)) for part in (a[:cut], a[cut:])]
    _close(logsum.logsumexp(a), logsum.merge(*map(np.asarray, parts)), 3, a)


@given(vectors(special=True), st.data())
def test_masking_is_deleting(a: Array, data: st.DataObject) -> None:
    """`where`, zero weights and -inf all leave a term out, whatever it holds."""
    keep = data.draw(arrays.arrays(np.bool_, a.shape))
    poisoned = np.where(keep, a, np.array(np.nan, a.dtype))
    deleted = logsum.logsumexp(a[keep])
    _close(deleted, logsum.logsumexp(poisoned, where=keep), 2, a)
    _close(deleted, logsum.logsumexp(poisoned, b=keep.astype(a.dtype)), 2, a)
    _close(deleted, logsum.logsumexp(np.where(keep, a, np.array(-np.inf, a.dtype))), 2, a)


@given(vectors(top=2.0**100), st.data())
def test_more_is_more(a: Array, data: st.DataObject) -> None:
    """The lse is at least the maximum, at most that plus log n, and grows with every term."""
    index = data.draw(st.integers(0, a.size - 1))
    raised = a.copy()
    raised[index] = np.nextafter(a[index], np.array(np.inf, a.dtype))
    lse = np.float64(logsum.logsumexp(a))
    top = np.float64(a.max())
    slack = float(LOG_SUM.bound(np.array([lse]), str(a.dtype))[0])
    assert top - slack <= lse
    assert lse <= top + math.log(a.size) + slack
    assert np.float64(logsum.logsumexp(raised)) >= lse - 2 * slack


@given(vectors(top=80))
def test_shares_sum_to_one(a: Array) -> None:
    share = logsum.softmax(a).astype(np.float64)
    assert np.all(share >= 0)
    # Each share may be off by |lse| roundings of itself: so may their sum.
    roundings = 16 + np.abs(a).max() + math.log(a.size)
    assert abs(share.sum() - 1) <= roundings * np.finfo(a.dtype).eps
