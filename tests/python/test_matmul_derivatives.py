"""Derivatives of the log-space matrix product beyond what every operation must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logsum
import product_oracle
from conformance.memory import SLACK, peak_growth
from matrices import Array, families, judge, normal
from product_oracle import wide_logmatmulexp
from tensors import torch
from tolerances import PRODUCT_GRADIENT

if torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)

both_words = pytest.mark.parametrize("dtype", ["float32", "float64"])


def gradients(a: Array, b: Array, grad: Array) -> list[Any]:
    """Return C's gradients as arrays."""
    leaves = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
    c = logsum.logmatmulexp(*leaves)
    return [g.numpy() for g in torch.autograd.grad(c, leaves, torch.from_numpy(grad))]


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


def test_gradient_of_tiny_products() -> None:
    """Entries that are as small as 2^-68 beside others of their row and column."""
    a = np.array([[0, -125]], np.float32)
    b = np.array([[-126] * 4, [0] * 4], np.float32)
    grad = np.full((1, 4), 8, np.float32)
    expected = product_oracle.logmatmulexp_gradient(grad, a, b)
    for want, have in zip(expected, gradients(a, b, grad), strict=True):
        judge(want, have, PRODUCT_GRADIENT)


def test_gradient_of_the_matrices_that_trick_the_max_trick() -> None:
    by_a, by_b = gradients(
        np.array([[-500.0, 900.0]]), np.array([[900.0], [-500.0]]), np.ones((1, 1))
    )
    np.testing.assert_allclose(by_a, [[0.5, 0.5]], rtol=1e-15)
    np.testing.assert_allclose(by_b, [[0.5], [0.5]], rtol=1e-15)


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


def test_bound_under_transforms() -> None:
    """vmap and torch.compile give the values and the bounds of plain calls."""
    a, b = (torch.from_numpy(normal(2, 3, 3, seed=seed)) for seed in (0, 1))

    def call(a: Any, b: Any) -> Any:
        return logsum.logmatmulexp(a, b, return_bound=True)

    expected = call(a, b)
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")(a, b)
    for got in (torch.func.vmap(call)(a, b), compiled):
        for one, other in zip(got, expected, strict=True):
            assert torch.equal(one, other)


def test_operator_without_what_rounding_took() -> None:
    """The operator called by name, with nothing kept, has derivatives all the same."""
    a, b = (
        torch.from_numpy(normal(3, 3, dtype="float64", seed=s)).requires_grad_() for s in (0, 1)
    )
    c, residual, bound = torch.ops.logsum.logmatmulexp(a, b, False, False)
    assert residual.shape == bound.shape == (3, 0)
    got = torch.autograd.grad(c.sin().sum(), (a, b))
    expected = torch.autograd.grad(logsum.logmatmulexp(a, b).sin().sum(), (a, b))
    torch.testing.assert_close(got, expected)


def _chain(product: Any, initial: Any, transition: Any, emissions: Any) -> Any:
    """Log-likelihoods of observations under a hidden Markov model, as products in a row."""
    alpha = initial
    for emission in emissions.unbind(0):
        alpha = product(alpha, transition) + emission
    return torch.logsumexp(alpha, -1).sin().sum()


def _dense(a: Any, b: Any) -> Any:
    return (a[..., :, :, None] + b[..., None, :, :]).logsumexp(-2)


def test_double_backward_through_a_chain() -> None:
    """Hessians of products of products are those of the formula written out."""
    parts = [normal(2, 3), normal(3, 3, seed=1), normal(4, 2, 3, seed=2)]
    inputs = tuple(torch.from_numpy(x.astype(np.float64)) for x in parts)
    positions = (0, 1, 2)

    def hessian(product: Any) -> Any:
        gradient = torch.func.grad(lambda *x: _chain(product, *x), positions)
        return torch.func.jacrev(gradient, positions)(*inputs)

    torch.testing.assert_close(hessian(logsum.logmatmulexp), hessian(_dense))


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


def test_memory_of_forward_and_backward() -> None:
    """Results included, a product and its gradients take at most six matrices."""
    n = 1536
    a, b = (torch.zeros(n, n, requires_grad=True) for _ in range(2))
    logsum.logmatmulexp(a[:8], b[:, :8]).sum().backward()  # pages code in, starts threads

    def both() -> None:
        a.grad = b.grad = None
        logsum.logmatmulexp(a, b).sum().backward()

    allowed = 6 * 4 * n * n + SLACK
    assert peak_growth(both, allowed) <= allowed
