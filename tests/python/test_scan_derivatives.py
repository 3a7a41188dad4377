"""Derivatives of scans beyond what every operation must do."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import logsum
from tensors import torch

if torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)

SEMIRINGS = ("log", "max")
both = pytest.mark.parametrize("semiring", SEMIRINGS)
IDX = [[0, 2], [1, 0], [2, 1], [3, -1]]


def operands(steps: int = 5, batch: int = 3, seed: int = 0) -> list[Any]:
    """Return leaves Ms (T, N, 4, 2), v0 and vT (N, 4)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (steps, batch, 4, 2), (batch, 4), (batch, 4)
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    ]


def logz(ms: Any, v0: Any, vt: Any, semiring: Any = "log", **options: Any) -> Any:
    return logsum.logZ(ms, IDX, v0, vt, semiring, **options)


# ---- another implementation ------------------------------------------------------------------


class Semiring(NamedTuple):
    """A semiring in the form that seqdist has it, in torch alone."""

    zero: float
    one: float
    mul: Any
    sum: Any
    dsum: Any


def one_hot(x: Any, dim: int) -> Any:
    return torch.zeros_like(x).scatter_(dim, x.argmax(dim, keepdim=True), 1.0)


FOREIGN = {
    "log": Semiring(-1e38, 0.0, torch.add, torch.logsumexp, torch.softmax),
    "max": Semiring(-1e38, 0.0, torch.add, lambda x, dim: x.max(dim)[0], one_hot),
}


def scanned(ms: Any, idx: Any, start: Any, ring: Semiring) -> Any:
    """Return the scores of all states at every step, one step after the other."""
    rows = [start]
    for frame in ms.unbind(0):
        rows.append(ring.sum(ring.mul(frame, rows[-1][:, idx]), dim=2))
    return torch.stack(rows)


def by_two_scans(ms: Any, idx: Any, v0: Any, vt: Any, ring: Semiring) -> tuple[Any, Any]:
    """Return logZ and marginals, from a forward scan and one over the reversed graph.

    As seqdist does it: arcs that leave a state are as many as those that enter it.
    """
    steps, batch, states, width = ms.shape
    alpha = scanned(ms, idx, v0, ring)
    order = idx.flatten().argsort(stable=True).reshape(states, width)
    reverse = ms.flatten(2)[:, :, order].flip(0)
    beta = scanned(reverse, order // width, vt, ring).flip(0)
    through = ring.mul(ring.mul(ms, alpha[:-1][:, :, idx]), beta[1:, :, :, None])
    shares = ring.dsum(through.reshape(steps, batch, -1), dim=2).reshape(ms.shape)
    return ring.sum(ring.mul(alpha[-1], vt), dim=1), shares


@both
def test_call_of_seqdist(semiring: str) -> None:
    """`logZ(Ms, idx, v0, vT, S, K)` works unchanged, with its objects and its finite zero."""
    ring = FOREIGN[semiring]
    states = 7
    i = torch.arange(states)
    idx = torch.stack([i, i.roll(1), i.roll(2)], 1)
    generator = torch.Generator().manual_seed(1)
    ms = torch.randn(20, 4, states, 3, dtype=torch.float64, generator=generator)
    ms[:, :, 0, 1:] = ms[:, :, 1, 2] = ring.zero  # nothing wraps around
    v0, vt = torch.full((2, 4, states), ring.zero, dtype=torch.float64)
    v0[:, 0] = vt[:, -2:] = ring.one
    ms.requires_grad_()
    value, shares = by_two_scans(ms.detach(), idx, v0, vt, ring)
    for given in (ring, semiring, getattr(logsum, semiring.capitalize())):
        got = logsum.logZ(ms, idx, v0, vt, given, 4)
        torch.testing.assert_close(got, value, rtol=1e-13, atol=0)
        (gradient,) = torch.autograd.grad(got.sum(), ms)
        torch.testing.assert_close(gradient, shares, rtol=1e-11, atol=1e-13)


# ---- ways to the gradient --------------------------------------------------------------------


@both
def test_all_ways_agree(semiring: str) -> None:
    """Eager, twice, with a graph, through torch.func and compiled: one gradient."""
    leaves = operands()

    def total(*x: Any) -> Any:
        return (logz(*x, semiring) * torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)).sum()

    value = total(*leaves)
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    plain = [x.detach() for x in leaves]
    for other in (
        torch.autograd.grad(value, leaves, retain_graph=True),
        torch.autograd.grad(value, leaves, create_graph=True),
        torch.autograd.grad(compiled(*leaves), leaves),
        torch.func.grad(total, argnums=(0, 1, 2))(*plain),
    ):
        for one, two in zip(first, other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-14, atol=1e-16)
    if semiring == "log":
        torch.testing.assert_close(
            torch.autograd.grad(logz(*leaves).sum(), leaves[0])[0],
            logsum.marginals(plain[0], IDX, *plain[1:]),
        )


def test_gradients_accumulate() -> None:
    """What was handed out is the caller's: writing to it changes no other pass."""
    leaves = operands()
    value = logz(*leaves).sum()
    value.backward(retain_graph=True)
    expected = [x.grad.clone() for x in leaves]
    for leaf in leaves:
        leaf.grad.zero_()
    value.backward(retain_graph=True)
    value.backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, 2 * gradient)


def test_only_what_is_asked() -> None:
    """Each operand alone has the gradient that it has beside the others."""
    leaves = operands()
    together = torch.autograd.grad(logz(*leaves).sum(), leaves)
    for k, expected in enumerate(together):
        alone = [x if i == k else x.detach() for i, x in enumerate(leaves)]
        (got,) = torch.autograd.grad(logz(*alone).sum(), leaves[k])
        assert torch.equal(got, expected)


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]])
def test_hessian(lengths: Any) -> None:
    """Second derivatives in every pair of operands and in both directions."""
    plain = [x.detach() for x in operands()]
    positions = (0, 1, 2)

    def total(*x: Any) -> Any:
        return logz(*x, lengths=lengths).sin().sum()

    func = torch.func
    gradient = func.grad(total, argnums=positions)
    expected = func.jacrev(gradient, argnums=positions)(*plain)
    for other in (
        func.jacfwd(gradient, argnums=positions)(*plain),
        func.jacrev(func.jacfwd(total, argnums=positions), argnums=positions)(*plain),
        func.jacfwd(func.jacfwd(total, argnums=positions), argnums=positions)(*plain),
    ):
        for row, rows in zip(expected, other, strict=True):
            for one, two in zip(row, rows, strict=True):
                torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


def test_marginals_are_differentiable() -> None:
    leaves = operands(3, 2)

    def call(*x: Any) -> Any:
        return logsum.marginals(x[0], IDX, *x[1:], lengths=[3, 1])

    torch.autograd.gradcheck(call, leaves, check_forward_ad=True, check_batched_grad=True)


def test_third_derivatives_are_refused() -> None:
    leaves = operands(3, 2)
    (first,) = torch.autograd.grad(logz(*leaves).sum(), leaves[0], create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="logZ: the third derivative is not implemented"):
        torch.autograd.grad(second.sum(), leaves[0])


@pytest.mark.parametrize("name", ["forward_scores", "backward_scores"])
def test_scores_have_no_gradient(name: str) -> None:
    leaves = operands()
    scores = getattr(logsum, name)(leaves[0], IDX, leaves[1])
    expected = getattr(logsum, name)(leaves[0].detach(), IDX, leaves[1].detach())
    assert torch.equal(scores, expected)
    with pytest.raises(RuntimeError, match=f"{name}: the derivative is not implemented"):
        scores.sum().backward()
    with pytest.raises(RuntimeError, match=f"{name}: the derivative is not implemented"):
        torch.func.jvp(
            lambda x: getattr(logsum, name)(x, IDX, expected[0]),
            (leaves[0].detach(),),
            (leaves[0].detach(),),
        )


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]])
def test_viterbi_score_is_logz_of_max(lengths: Any) -> None:
    """In value and in every derivative, states and arcs having none."""
    leaves = operands()

    def score(*x: Any) -> Any:
        return logsum.viterbi(x[0], IDX, *x[1:], lengths=lengths)[0]

    value, states, arcs = logsum.viterbi(leaves[0], IDX, *leaves[1:], lengths=lengths)
    assert not states.requires_grad
    assert not arcs.requires_grad
    other = logz(*leaves, "max", lengths=lengths)
    assert torch.equal(value, other)
    weights = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    pairs = zip(*(torch.autograd.grad(x, leaves, weights) for x in (value, other)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    torch.autograd.gradcheck(score, leaves, check_forward_ad=True, check_batched_grad=True)


def test_paths_and_scores_under_transforms() -> None:
    ms, v0, vt = (x.detach() for x in operands())
    batch = torch.stack([ms, ms.flip(0), -ms])

    def call(x: Any) -> Any:
        alpha = logsum.forward_scores(x, IDX, v0)
        return *logsum.viterbi(x, IDX, v0, vt), alpha, logsum.backward_scores(x, IDX, vt)

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    mapped = torch.func.vmap(call)(batch)
    for k, x in enumerate(batch):
        expected = call(x)
        for got in (compiled(x), [out[k] for out in mapped]):
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_graph_is_not_mapped_over() -> None:
    ms, v0, vt = (x.detach() for x in operands())
    idx = torch.tensor([IDX, IDX])
    with pytest.raises(ValueError, match="logZ: a graph cannot be mapped over"):
        torch.func.vmap(lambda i: logsum.logZ(ms, i, v0, vt))(idx)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_dtypes(dtype: Any) -> None:
    """Gradients have their operand's dtype, values are float32."""
    narrow = [x.detach().to(dtype).requires_grad_() for x in operands()]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    got, expected = logz(*narrow), logz(*wide)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-7, atol=1e-7)
    pairs = zip(
        torch.autograd.grad(got.sum(), narrow),
        torch.autograd.grad(expected.sum(), wide),
        strict=True,
    )
    for have, want in pairs:
        assert have.dtype == dtype
        torch.testing.assert_close(have, want.to(dtype))


def test_float32_gradients() -> None:
    """A relative error of 1e-6 in every share that is not tiny."""
    generator = np.random.default_rng(0)
    ms = generator.standard_normal((300, 5, 4, 2)).astype(np.float32)
    v0, vt = generator.standard_normal((2, 5, 4)).astype(np.float32)
    got = logsum.marginals(ms, IDX, v0, vt)
    expected = logsum.marginals(ms.astype(float), IDX, v0.astype(float), vt.astype(float))
    big = expected > 1e-30
    assert np.abs(got[big] / expected[big] - 1).max() <= 1e-6
