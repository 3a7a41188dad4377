"""What the cases of matmul work on: operands, every library's call, and float64 references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import peers
from harness import Work
from records import judge

import logsum

torch, semiring_einsum = peers.torch, peers.semiring_einsum

PRODUCT = "A @ B"  # the yardstick of arithmetic: the same product of plain numbers
COPY = "one copy"  # the yardstick of memory: reads A and writes as much

# What the results promise beyond half an ulp, for up to so many terms (matmul.hpp).
_BEYOND_HALF_ULP = {np.float32: {512: 1e-6, 4096: 2e-6}, np.float64: {512: 2e-15, 4096: 4e-15}}

Pair = tuple[np.ndarray, np.ndarray]
Operands = Callable[[np.random.Generator, tuple[int, int, int], Any], Pair]


# ---- operands ------------------------------------------------------------------------------


def normal(scale: float) -> Operands:
    """Return what makes normal operands of a standard deviation."""

    def operands(rng: np.random.Generator, shape: tuple[int, int, int], dtype: Any) -> Pair:
        m, k, n = shape
        sizes = (m, k), (k, n)
        a, b = ((scale * rng.standard_normal(size, np.float32)).astype(dtype) for size in sizes)
        return a, b

    return operands


ORDINARY = normal(3)  # scores as a model gives them


def permuted(rng: np.random.Generator, shape: tuple[int, int, int], dtype: Any) -> Pair:
    """Return rows of -500 and 900, and columns of them in which the other is opposite."""
    m, k, n = shape
    pattern = np.where(rng.random((max(m, n), k)) < 0.5, 900, -500).astype(dtype)
    return pattern[:m], np.ascontiguousarray(400 - pattern[:n].T)


# ---- references ----------------------------------------------------------------------------


def by_linear_domain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product by the max trick in a wider type, for operands that allow it."""
    wide = np.longdouble if a.dtype == np.float64 else np.float64
    a, b = a.astype(wide), b.astype(wide)
    rows, columns = a.max(-1, keepdims=True), b.max(-2, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(a - rows) @ np.exp(b - columns)) + rows + columns


def by_terms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product term by term in float64, a row at a time."""
    wide = b.astype(np.float64)
    out = np.empty((a.shape[0], b.shape[1]))
    for i, row in enumerate(a.astype(np.float64)):
        terms = row[:, None] + wide
        top = terms.max(axis=0)
        shift = np.where(np.isfinite(top), top, 0)
        np.subtract(terms, shift, out=terms)
        with np.errstate(divide="ignore"):
            out[i] = np.log(np.exp(terms, out=terms).sum(axis=0)) + shift
    return out


def allowed_error(reference: np.ndarray, dtype: Any, terms: int) -> float:
    """Return half an ulp of the largest result, and what the sum may be off."""
    largest = np.abs(reference[np.isfinite(reference)]).max(initial=1)
    beyond = next(off for most, off in _BEYOND_HALF_ULP[dtype].items() if terms <= most)
    return float(np.spacing(dtype(largest))) / 2 + beyond


# ---- work ----------------------------------------------------------------------------------


def _plain(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    """Return the plain product of the same operands, by torch where there is torch."""
    if not torch:
        return lambda: a @ b
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    return lambda: left @ right


def max_trick(a: Any, b: Any) -> Any:
    """What people write: right unless the maxima of rows and columns hide each other's terms."""
    rows, columns = a.amax(-1, keepdim=True), b.amax(-2, keepdim=True)
    return ((a - rows).exp() @ (b - columns).exp()).log() + rows + columns


def product(
    rng: np.random.Generator,
    _: int,
    *,
    shape: tuple[int, int, int],
    operands: Operands = ORDINARY,
    dtype: Any = np.float32,
    streamed: bool = False,
    against: tuple[str, ...] = ("torch",),
) -> Work:
    """The product of ordinary operands; `streamed` for one that is bound by memory."""
    a, b = operands(rng, shape, dtype)
    reference = by_linear_domain(a, b)
    calls: dict[str, Callable[[], Any]] = {peers.OURS: lambda: logsum.logmatmulexp(a, b)}
    if torch:
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        if "torch" in against:
            calls["torch"] = lambda: max_trick(left, right)
        if "semiring-einsum" in against and semiring_einsum:
            equation = semiring_einsum.compile_equation("ik,kj->ij")
            calls["semiring-einsum"] = lambda: semiring_einsum.log_einsum(equation, left, right)
    yardsticks = {PRODUCT: _plain(a, b)}
    if streamed:
        target = np.empty_like(a)
        yardsticks[COPY] = lambda: np.copyto(target, a)
        if torch:
            yardsticks[COPY] = lambda: torch.from_numpy(target).copy_(torch.from_numpy(a))
    allowed = allowed_error(reference, dtype, shape[1])
    return Work(calls, reference, allowed, a.size, yardsticks)


def worst_case(
    rng: np.random.Generator, _: int, *, shape: tuple[int, int, int], operands: Operands
) -> Work:
    """A product that the max trick gets wrong, every entry held to its own bound."""
    a, b = operands(rng, shape, np.float32)
    reference = by_terms(a, b)
    c, bound = logsum.logmatmulexp(a, b, return_bound=True)
    largest = float((np.abs(c - reference) / bound).max())
    calls: dict[str, Callable[[], Any]] = {peers.OURS: lambda: logsum.logmatmulexp(a, b)}
    if torch:
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        calls["torch"] = lambda: max_trick(left, right)
    return Work(
        calls,
        reference,
        allowed_error(reference, np.float32, shape[1]),
        a.size,
        {PRODUCT: _plain(a, b)},
        [judge("largest error over its bound", largest, at_most=1)],
    )


def maximum(rng: np.random.Generator, _: int, *, shape: tuple[int, int, int]) -> Work:
    """The max semiring with indices, beside the plain product."""
    a, b = ORDINARY(rng, shape, np.float32)
    reference = np.stack([(row[:, None] + b.astype(np.float64)).max(0) for row in a])
    return Work(
        {peers.OURS: lambda: logsum.logmatmulexp(a, b, semiring="max", return_argmax=True)[0]},
        reference,
        float(np.spacing(np.float32(np.abs(reference).max()))),
        a.size,
        {PRODUCT: _plain(a, b)},
    )


def batch(rng: np.random.Generator, _: int, *, shape: tuple[int, int, int, int]) -> Work:
    """Many small products, a batch of M x K x N."""
    count, m, k, n = shape
    sizes = (count, m, k), (count, k, n)
    a, b = (3 * rng.standard_normal(size, np.float32) for size in sizes)
    reference = by_linear_domain(a, b)
    calls: dict[str, Callable[[], Any]] = {peers.OURS: lambda: logsum.logmatmulexp(a, b)}
    if torch:
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        calls["torch"] = lambda: max_trick(left, right)
    allowed = allowed_error(reference, np.float32, k)
    return Work(calls, reference, allowed, a.size, {PRODUCT: _plain(a, b)})


def gradient(rng: np.random.Generator, _: int, *, shape: tuple[int, int, int]) -> Work:
    """Forward and backward, with a fixed incoming gradient; compared is the gradient of A."""
    a, b = ORDINARY(rng, shape, np.float32)
    incoming = rng.standard_normal((shape[0], shape[2]), np.float32)
    left, right = (torch.from_numpy(x).requires_grad_() for x in (a, b))
    grad = torch.from_numpy(incoming)
    linear_a, linear_b = (np.exp(x.astype(np.float64)) for x in (a, b))
    reference = linear_a * ((incoming / (linear_a @ linear_b)) @ linear_b.T)

    def through(function: Callable[[Any, Any], Any]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(function(left, right), (left, right), grad)[0]

    # Roundings of the sum of the incoming gradients' sizes, which is what may cancel.
    allowed = 64 * 2.0**-24 * float(np.abs(incoming).sum(axis=1).max())
    return Work(
        {peers.OURS: through(logsum.logmatmulexp), "torch": through(max_trick)},
        reference,
        allowed,
        a.size,
        {PRODUCT: _plain(a, b)},
    )
