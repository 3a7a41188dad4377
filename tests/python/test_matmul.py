"""The log-space matrix product beyond what every operation must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import logsum
import product_oracle
from conformance.machine import cpu_target, cpu_targets
from matrices import Array, families, judge, normal
from product_oracle import wide_logmatmulexp
from tolerances import LONG_PRODUCT, MAXIMUM, PRODUCT

WORDS = ("float32", "float64")
both_words = pytest.mark.parametrize("dtype", WORDS)


# ---- strategies ------------------------------------------------------------------------------


@st.composite
def operands(draw: st.DrawFn, top: float | None = None) -> tuple[Array, Array]:
    """Draw two small matrices of numbers up to `top`; without it, of all that are not NaN."""
    dtype = np.dtype(draw(st.sampled_from(WORDS)))
    m, k, n = (draw(st.integers(1, size)) for size in (4, 7, 4))
    limits = {} if top is None else {"min_value": -top, "max_value": top}
    numbers: Any = st.floats(
        width=8 * dtype.itemsize,  # type: ignore[arg-type]
        allow_nan=False,
        allow_infinity=None if top is None else False,
        allow_subnormal=False,
        **limits,
    )
    a, b = (draw(arrays.arrays(dtype, shape, elements=numbers)) for shape in ((m, k), (k, n)))
    return a, b


# ---- values ----------------------------------------------------------------------------------


def test_where_the_max_trick_fails() -> None:
    a, b = np.array([[-500.0, 900.0]]), np.array([[900.0], [-500.0]])
    for dtype in (np.float64, np.float32):
        c = logsum.logmatmulexp(a.astype(dtype), b.astype(dtype))
        judge(np.array([[400 + np.log(2)]]), c)


@given(operands())
def test_anything(pair: tuple[Array, Array]) -> None:
    judge(product_oracle.logmatmulexp(*pair)[0], logsum.logmatmulexp(*pair))


@given(operands())
def test_anything_of_max(pair: tuple[Array, Array]) -> None:
    judge(
        product_oracle.logmatmulexp(*pair, "max")[0],
        logsum.logmatmulexp(*pair, semiring="max"),
        MAXIMUM,
    )


@both_words
@pytest.mark.parametrize("k", [1, 33, 512, 4096])
def test_families(k: int, dtype: str) -> None:
    """Every hard kind of input, at every length, within the tolerance and within its own bound."""
    for name, (a, b) in families(k, dtype).items():
        c, bound = logsum.logmatmulexp(a, b, return_bound=True)
        exact = wide_logmatmulexp(a, b)
        judge(exact, c, LONG_PRODUCT if k > 512 else PRODUCT, name)
        finite = np.isfinite(exact)
        errors = np.abs(c[finite] - exact[finite])
        assert np.all(errors <= bound[finite]), (name, (errors / bound[finite]).max())
        assert np.all(bound[~finite] == 0), name


@both_words
def test_targets(dtype: str) -> None:
    """The same on every CPU target, forced in turn."""
    for name in cpu_targets():
        with cpu_target(name):
            test_families(65, dtype)


@both_words
def test_bound_is_of_use(dtype: str) -> None:
    """The bound of ordinary operands is of the size of the error that is promised."""
    a, b = families(512, dtype)["σ = 1"]
    c, bound = logsum.logmatmulexp(a, b, return_bound=True)
    promised = PRODUCT.bound(c.astype(np.float64), dtype)
    # All roundings at their worst together, where the promise is what they come to.
    assert np.all(bound <= 4 * promised)


# ---- laws ------------------------------------------------------------------------------------


@given(operands(top=100), st.data())
def test_gauge(pair: tuple[Array, Array], data: st.DataObject) -> None:
    """A[i, k] + t[k] and B[k, j] - t[k] have the same product, where both sums are exact."""
    a, b = (np.round(x * 256) / 256 for x in pair)
    t = data.draw(arrays.arrays(np.int64, a.shape[-1], elements=st.integers(-1000, 1000)))
    t = t.astype(a.dtype)
    one, other = logsum.logmatmulexp(a, b), logsum.logmatmulexp(a + t, b - t[:, None])
    judge(one.astype(np.float64), other, PRODUCT.times(2))


@given(operands(top=300), st.data())
def test_masking_is_deleting(pair: tuple[Array, Array], data: st.DataObject) -> None:
    """A term of -inf is no term, whatever finite number or +inf the other operand holds there."""
    a, b = pair
    keep = data.draw(arrays.arrays(np.bool_, a.shape[-1]))
    other = np.where(keep[:, None], b, data.draw(st.sampled_from([0, 1e30, np.inf, -np.inf])))
    masked = np.where(keep, a, -np.inf).astype(a.dtype)
    deleted = logsum.logmatmulexp(a[:, keep], b[keep])
    judge(
        deleted.astype(np.float64),
        logsum.logmatmulexp(masked, other.astype(b.dtype)),
        PRODUCT.times(2),
    )


@given(operands(top=50))
def test_transposed(pair: tuple[Array, Array]) -> None:
    a, b = pair
    c = logsum.logmatmulexp(a, b)
    judge(c.T.astype(np.float64), logsum.logmatmulexp(b.T, a.T), PRODUCT.times(2))


def test_nan_fills_its_row_and_column() -> None:
    """NaN is no mask, and -inf does not absorb it."""
    a, b = normal(4, 5), normal(5, 6, seed=1)
    a[1, 2], b[3, 4] = np.nan, np.nan
    b[2, 0] = a[0, 3] = -np.inf
    for semiring in ("log", "max"):
        c = logsum.logmatmulexp(a, b, semiring=semiring)
        expected = np.zeros(c.shape, bool)
        expected[1], expected[:, 4] = True, True
        np.testing.assert_array_equal(np.isnan(c), expected)


# ---- bound -----------------------------------------------------------------------------------


def excess(a: Array, b: Array) -> float:
    """Return the largest error over bound, and infinity where that means nothing."""
    c, bound = logsum.logmatmulexp(a, b, return_bound=True)
    exact = wide_logmatmulexp(a, b)
    errors = np.abs(c - exact) / bound
    if errors.max() > 0.9 and a.dtype == np.float64:
        # Half an ulp of long double is then worth a look at 50 digits.
        exact = product_oracle.logmatmulexp(a, b)[0]
        errors = np.abs((exact - product_oracle.exact(c)) / bound).astype(np.float64)
    return float(np.where(np.isnan(errors), np.inf, errors).max())


@given(operands(top=1e4))
def test_bound_of_anything(pair: tuple[Array, Array]) -> None:
    assert excess(*pair) <= 1


def _moved(x: Array, rng: np.random.Generator) -> Array:
    """Return an operand with some entries changed, by little or by much."""
    chosen = rng.random(x.shape) < rng.choice([0.05, 0.3, 1])
    step = 10.0 ** rng.uniform(-7, 2) * rng.standard_normal(x.shape)
    other = np.where(rng.random() < 0.2, rng.choice(x.ravel(), x.shape), x + step)
    return np.where(chosen, other, x).astype(x.dtype)


@both_words
@pytest.mark.parametrize("k", [1, 2, 7, 33])
def test_bound_withstands_a_search(k: int, dtype: str) -> None:
    """Climbing towards the largest error over bound, from every family, does not reach beyond 1."""
    rng = np.random.default_rng(5)
    for name, (a, b) in families(k, dtype).items():
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        a, b = a[:6], b[:, :6]
        best = excess(a, b)
        for _ in range(40):
            a_next, b_next = _moved(a, rng), _moved(b, rng)
            found = excess(a_next, b_next)
            if found >= best:
                best, a, b = found, a_next, b_next
        assert best <= 1, name


# ---- max -------------------------------------------------------------------------------------


def test_max_breaks_ties_to_the_lowest() -> None:
    """Values and indices are those of brute force, on integers full of ties."""
    rng = np.random.default_rng(0)
    a = rng.integers(-2, 3, (3, 1, 7, 9)).astype(np.float32)
    b = rng.integers(-2, 3, (2, 9, 8)).astype(np.float32)
    a[..., 0, :3], a[..., 1, :] = -np.inf, -np.inf
    c, argmax = logsum.logmatmulexp(a, b, semiring="max", return_argmax=True)
    terms = a[..., :, :, None] + b[..., None, :, :]
    np.testing.assert_array_equal(c, terms.max(axis=-2))
    np.testing.assert_array_equal(argmax, terms.argmax(axis=-2))
    assert argmax.dtype == np.int64


def test_max_of_nothing() -> None:
    c, argmax, bound = logsum.logmatmulexp(
        np.ones((2, 0)), np.ones((0, 3)), semiring="max", return_argmax=True, return_bound=True
    )
    np.testing.assert_array_equal(c, np.full((2, 3), -np.inf))
    np.testing.assert_array_equal(argmax, np.full((2, 3), -1))
    np.testing.assert_array_equal(bound, np.zeros((2, 3)))


@given(operands(top=1e5))
def test_max_within_its_bound(pair: tuple[Array, Array]) -> None:
    c, bound = logsum.logmatmulexp(*pair, semiring="max", return_bound=True)
    exact = product_oracle.logmatmulexp(*pair, "max")[0]
    assert np.all(abs(exact - product_oracle.exact(c)) <= bound)
