"""The log-space matrix product beyond what every operation must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import logsum
import product_oracle
from conformance.machine import cpu_target, cpu_targets
from conformance.memory import SLACK, Peak
from conformance.report import compare
from conformance.sample import widen
from product_oracle import wide_logmatmulexp
from tensors import needs_torch, torch
from tolerances import LONG_PRODUCT, MAXIMUM, PRODUCT, PRODUCT_GRADIENT, Tolerance

Array = npt.NDArray[Any]
WORDS = ("float32", "float64")
both_words = pytest.mark.parametrize("dtype", WORDS)


def normal(*shape: int, dtype: str = "float32", scale: float = 3.0, seed: int = 0) -> Array:
    """Return normal values, the same for the same shape and seed."""
    values = scale * np.random.default_rng([seed, *shape]).standard_normal(shape)
    return values.astype(dtype)


def judge(expected: Any, got: Any, tolerance: Tolerance = PRODUCT, where: str = "") -> None:
    """Compare a product with a reference."""
    compare(expected, widen(got), str(got.dtype).removeprefix("torch."), tolerance, where=where)


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


def families(k: int, dtype: str) -> dict[str, tuple[Array, Array]]:
    """Return operands of every kind that is hard in its own way, with 24 rows and 20 columns."""
    a, b = normal(24, k, dtype=dtype, scale=1), normal(k, 20, dtype=dtype, scale=1, seed=1)
    offsets = np.round(normal(k, dtype=dtype, scale=1000, seed=2))
    pattern = np.where(normal(24, k) > 0, 900, -500).astype(dtype)
    mask = normal(24, k, seed=3) > 2
    rows = np.where(np.arange(24)[:, None] % 5 == 0, -np.inf, a)
    return {
        "σ = 1": (a, b),
        "σ = 30": (30 * a, 30 * b),
        "σ = 300": (300 * a, 300 * b),
        "σ = 1000": (1000 * a, 1000 * b),
        "one wide operand": (a, 1000 * b),
        "offsets": (a + offsets, b - offsets[:, None]),
        "rows and columns far away": (a + 1e4 * a[:, :1], b - 1e4 * b[:1]),
        "permuted": (pattern, 400 - pattern[:20].T),
        "masks of -1e38": (np.where(mask, -1e38, a).astype(dtype), b),
        "masks of -inf": (np.where(mask, -np.inf, a).astype(dtype), b),
        "rows of -inf": (rows.astype(dtype), b),
        "equal": (np.full_like(a, 1000.7), np.full_like(b, -900.1)),
        "result near 0": (1e-3 * a - np.log(k).astype(dtype), 1e-3 * b),
    }


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
    assert np.all(bound <= 2 * promised)


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


# ---- derivatives -----------------------------------------------------------------------------


def gradients(a: Array, b: Array, grad: Array) -> list[Any]:
    """Return C's gradients as arrays."""
    leaves = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
    c = logsum.logmatmulexp(*leaves)
    return [g.numpy() for g in torch.autograd.grad(c, leaves, torch.from_numpy(grad))]


@needs_torch
@both_words
@pytest.mark.parametrize("k", [1, 40, 300])
def test_gradient_mass(k: int, dtype: str) -> None:
    """sum_k dA_ik = sum_j G_ij and sum_k dB_kj = sum_i G_ij, and each entry is the exact one."""
    rounding = 64 * (2.0**-24 if dtype == "float32" else 2.0**-53)
    for name, (a, b) in families(k, dtype).items():
        grad = normal(24, 20, dtype=dtype, scale=1, seed=7)
        by_a, by_b = (x.astype(np.longdouble) for x in gradients(a, b, grad))
        exact = wide_logmatmulexp(a, b)
        alive = np.where(np.isfinite(exact), grad, 0).astype(np.longdouble)
        size = np.abs(alive)
        for sums, wanted, scale in (
            (by_a.sum(1), alive.sum(1), size.sum(1)),
            (by_b.sum(0), alive.sum(0), size.sum(0)),
        ):
            assert np.all(np.abs(sums - wanted) <= rounding * scale), name
        shift = np.where(np.isfinite(exact), exact, 0)[:, None, :]
        terms = a.astype(exact.dtype)[:, :, None] + b.astype(exact.dtype)
        p = np.exp(terms - shift)
        assert np.all(
            np.abs(by_a - (p * alive[:, None]).sum(2)) <= rounding * size.sum(1)[:, None]
        ), name
        assert np.all(np.abs(by_b - (p * alive[:, None]).sum(0)) <= rounding * size.sum(0)), name


@needs_torch
def test_gradient_of_tiny_products() -> None:
    """Entries that are as small as 2^-68 beside others of their row and column."""
    a = np.array([[0, -125]], np.float32)
    b = np.array([[-126] * 4, [0] * 4], np.float32)
    grad = np.full((1, 4), 8, np.float32)
    expected = product_oracle.logmatmulexp_gradient(grad, a, b)
    for want, have in zip(expected, gradients(a, b, grad), strict=True):
        judge(want, have, PRODUCT_GRADIENT)


@needs_torch
def test_gradient_of_the_matrices_that_trick_the_max_trick() -> None:
    by_a, by_b = gradients(
        np.array([[-500.0, 900.0]]), np.array([[900.0], [-500.0]]), np.ones((1, 1))
    )
    np.testing.assert_allclose(by_a, [[0.5, 0.5]], rtol=1e-15)
    np.testing.assert_allclose(by_b, [[0.5], [0.5]], rtol=1e-15)


@needs_torch
def test_infinite_weights_where_nothing_is() -> None:
    """Where a term is zero, an infinite tangent or incoming gradient takes no part."""
    a = torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64)
    tangents = torch.tensor([[1.0, torch.inf]], dtype=torch.float64), torch.zeros_like(b)
    _, moved = torch.func.jvp(logsum.logmatmulexp, (a, b), tangents)
    assert torch.equal(moved, torch.ones(1, 2, dtype=torch.float64))
    _, pull = torch.func.vjp(logsum.logmatmulexp, a, b)
    by_a, by_b = pull(torch.tensor([[torch.inf, 1.0]], dtype=torch.float64))
    assert by_a[0, 1] == 0
    assert torch.equal(by_b[1], torch.zeros(2, dtype=torch.float64))


@needs_torch
def test_gradient_of_max_goes_to_the_lowest_maximum() -> None:
    a = torch.tensor([[1.0, 1.0, 0.0], [-torch.inf] * 3], requires_grad=True)
    b = torch.zeros(3, 2, requires_grad=True)
    c, argmax, bound = logsum.logmatmulexp(
        a, b, semiring="max", return_argmax=True, return_bound=True
    )
    assert not argmax.requires_grad
    assert not bound.requires_grad
    grads = torch.autograd.grad(c, (a, b), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert grads[0].tolist() == [[7.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert grads[1].tolist() == [[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]


@needs_torch
def test_bound_beside_a_gradient() -> None:
    """The bound is a constant, and asking for it changes nothing else."""
    a, b = (
        torch.from_numpy(normal(3, 3, dtype="float64", seed=s)).requires_grad_() for s in (0, 1)
    )
    c, bound = logsum.logmatmulexp(a, b, return_bound=True)
    assert not bound.requires_grad
    assert torch.equal(c, logsum.logmatmulexp(a, b))
    (gradient,) = torch.autograd.grad(c.sum(), a)
    (expected,) = torch.autograd.grad(logsum.logmatmulexp(a, b).sum(), a)
    assert torch.equal(gradient, expected)


def _chain(product: Any, initial: Any, transition: Any, emissions: Any) -> Any:
    """Log-likelihoods of observations under a hidden Markov model, as products in a row."""
    alpha = initial
    for emission in emissions.unbind(0):
        alpha = product(alpha, transition) + emission
    return torch.logsumexp(alpha, -1).sin().sum()


def _dense(a: Any, b: Any) -> Any:
    return (a[..., :, :, None] + b[..., None, :, :]).logsumexp(-2)


@needs_torch
def test_double_backward_through_a_chain() -> None:
    """Hessians of products of products are those of the formula written out."""
    parts = [normal(2, 3), normal(3, 3, seed=1), normal(4, 2, 3, seed=2)]
    inputs = tuple(torch.from_numpy(x.astype(np.float64)) for x in parts)
    positions = (0, 1, 2)

    def hessian(product: Any) -> Any:
        gradient = torch.func.grad(lambda *x: _chain(product, *x), positions)
        return torch.func.jacrev(gradient, positions)(*inputs)

    torch.testing.assert_close(hessian(logsum.logmatmulexp), hessian(_dense))


@needs_torch
def test_double_backward_of_half_types() -> None:
    """Second derivatives of bfloat16 lose no more than the storage does."""
    values = [normal(5, 4, scale=1), normal(4, 3, scale=1, seed=1)]
    inputs = [torch.from_numpy(x).bfloat16() for x in values]

    def second(product: Any, *x: Any) -> Any:
        x = [v.detach().requires_grad_() for v in x]
        first = torch.autograd.grad(product(*x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(sum((g * g).sum() for g in first), x)

    got = second(logsum.logmatmulexp, *inputs)
    wide = second(_dense, *(x.double() for x in inputs))
    for have, want in zip(got, wide, strict=True):
        assert have.dtype == torch.bfloat16
        size = float(want.abs().max())
        torch.testing.assert_close(have.double(), want, rtol=0, atol=0.02 * size)


# ---- memory ----------------------------------------------------------------------------------


@needs_torch
def test_memory_of_forward_and_backward() -> None:
    """Results included, a product and its gradients take at most six matrices."""
    n = 1024
    a, b = (torch.zeros(n, n, requires_grad=True) for _ in range(2))
    logsum.logmatmulexp(a[:8], b[:, :8]).sum().backward()  # pages code in, starts threads
    a.grad = b.grad = None
    peak = Peak()
    logsum.logmatmulexp(a, b).sum().backward()
    assert peak.bytes() <= 6 * 4 * n * n + SLACK
