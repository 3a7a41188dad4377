"""Derivatives of the CTC loss beyond what every operation must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logsum
from sequences import Batch
from tensors import torch

if torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)

REDUCTIONS = ("none", "sum", "mean")
forms = pytest.mark.parametrize("from_logits", [False, True])
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


class Loss:
    """A batch's loss as a function of its frames."""

    def __init__(self, batch: Batch, **options: Any) -> None:
        self.rest = [torch.from_numpy(x) for x in batch.arguments[1:4]]
        self.frames = torch.from_numpy(batch.frames)
        self.options = {"blank": batch.blank, **options}

    def __call__(self, frames: Any) -> Any:
        return logsum.ctc_loss(frames, *self.rest, **self.options)

    def leaf(self) -> Any:
        return self.frames.clone().requires_grad_()


@forms
@reductions
@pytest.mark.parametrize("semiring", ["log", "max"])
def test_gradcheck(reduction: str, from_logits: bool, semiring: str) -> None:
    """Every reduction has the true gradient, and its true gradient."""
    batch = Batch.random(0, (5, 3, 4), 2, normalised=not from_logits)
    batch.lengths[0] = 0
    loss = Loss(batch, reduction=reduction, from_logits=from_logits, semiring=semiring)
    torch.autograd.gradcheck(
        loss, loss.leaf(), check_forward_ad=True, check_batched_grad=True, check_undefined_grad=True
    )
    torch.autograd.gradgradcheck(
        loss, loss.leaf(), check_fwd_over_rev=True, check_batched_grad=True
    )


@forms
def test_gradcheck_of_one_sequence(from_logits: bool) -> None:
    frames = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def loss(x: Any) -> Any:
        return logsum.ctc_loss(x, [1, 2], 4, 2, from_logits=from_logits, reduction="none")

    assert loss(frames).shape == ()
    torch.autograd.gradcheck(loss, frames, check_forward_ad=True)
    torch.autograd.gradgradcheck(loss, frames)


@forms
@reductions
def test_all_ways_agree(reduction: str, from_logits: bool) -> None:
    """Eager, twice, with a graph, through torch.func and compiled: one gradient."""
    loss = Loss(
        Batch.random(1, (30, 7, 6), 8, normalised=not from_logits),
        reduction=reduction,
        from_logits=from_logits,
    )

    def total(x: Any) -> Any:
        return (loss(x) * 0.7).sum()

    leaf = loss.leaf()
    value = total(leaf)
    (first,) = torch.autograd.grad(value, leaf, retain_graph=True)
    (second,) = torch.autograd.grad(value, leaf, retain_graph=True)
    (graphed,) = torch.autograd.grad(value, leaf, create_graph=True)
    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    (through,) = torch.autograd.grad(compiled(leaf), leaf)
    for other in (second, graphed, through, torch.func.grad(total)(loss.frames)):
        torch.testing.assert_close(other, first, rtol=1e-14, atol=1e-16)
    direction = torch.randn_like(loss.frames)
    moved = torch.func.jvp(total, (loss.frames,), (direction,))[1]
    torch.testing.assert_close(moved, (first * direction).sum())
    batched = torch.func.vmap(total)(torch.stack([loss.frames, loss.frames + 0.1]))
    torch.testing.assert_close(batched[0], value)
    torch.testing.assert_close(batched[1], total(loss.frames + 0.1))


@reductions
def test_gradients_accumulate(reduction: str) -> None:
    """What was handed out is the caller's: writing to it changes no other pass."""
    loss = Loss(Batch.random(2, (12, 4, 5), 4), reduction=reduction)
    leaf = loss.leaf()
    value = loss(leaf).sum()
    value.backward(retain_graph=True)
    expected = leaf.grad.clone()
    leaf.grad.mul_(3)
    value.backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad, 4 * expected)
    value.backward()
    torch.testing.assert_close(leaf.grad, 5 * expected)


def test_incoming_gradients() -> None:
    """Each sequence's own, in any layout."""
    loss = Loss(Batch.random(3, (9, 5, 4), 3), reduction="none")
    leaf = loss.leaf()
    rows = torch.stack([torch.autograd.grad(loss(leaf)[n], leaf)[0] for n in range(5)])
    weights = torch.randn(10, dtype=torch.float64)[::2]
    (got,) = torch.autograd.grad(loss(leaf), leaf, weights)
    torch.testing.assert_close(got, torch.tensordot(weights, rows, 1))


def test_infeasible_sequences_have_no_gradient() -> None:
    batch = Batch.random(4, (6, 3, 4), 3)
    batch.inputs, batch.lengths = np.array([1, 6, 6]), np.array([3, 2, 0])
    for zero_infinity in (False, True):
        for reduction in ("sum", "mean"):
            loss = Loss(batch, reduction=reduction, zero_infinity=zero_infinity)
            leaf = loss.leaf()
            value = loss(leaf)
            value.backward()
            assert bool(torch.isfinite(value)) == zero_infinity
            assert not leaf.grad[:, 0].any()
            assert leaf.grad[:, 1].any()
            assert bool(torch.isfinite(leaf.grad).all())


def test_a_sum_over_frames_is_one() -> None:
    """From log-probabilities each used frame's gradients add to -1, from logits to 0."""
    batch = Batch.random(5, (40, 6, 9), 12)
    for from_logits, expected in ((False, -1.0), (True, 0.0)):
        loss = Loss(batch, reduction="sum", from_logits=from_logits)
        leaf = loss.leaf()
        loss(leaf).backward()
        sums = leaf.grad.sum(-1)
        for n, used in enumerate(batch.inputs):
            torch.testing.assert_close(
                sums[:used, n], torch.full((int(used),), expected).double(), atol=1e-12, rtol=0
            )
            assert not sums[used:, n].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@forms
def test_narrow_dtypes(dtype: Any, from_logits: bool) -> None:
    """The gradient has the input's dtype, the loss is float32."""
    batch = Batch.random(6, (15, 4, 5), 4)
    loss = Loss(batch, reduction="mean", from_logits=from_logits)
    narrow = loss.frames.to(dtype).requires_grad_()
    wide = narrow.detach().double().requires_grad_()
    got, expected = loss(narrow), loss(wide)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)
    (have,), (want,) = (torch.autograd.grad(x, y) for x, y in ((got, narrow), (expected, wide)))
    assert have.dtype == dtype
    torch.testing.assert_close(have, want.to(dtype), rtol=0.01, atol=1e-7)


def test_autocast() -> None:
    batch = Batch.random(7, (15, 4, 5), 4)
    loss = Loss(batch)
    loss.frames = loss.frames.float()
    expected = loss(loss.frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        leaf = loss.leaf()
        value = loss(leaf)
    assert torch.equal(value, expected)
    value.backward()
    assert leaf.grad.dtype == torch.float32


def test_third_derivatives_are_refused() -> None:
    loss = Loss(Batch.random(8, (4, 2, 3), 2), reduction="sum")
    leaf = loss.leaf()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="ctc_loss: the third derivative is not implemented"):
        torch.autograd.grad(second.sum(), leaf)


def test_a_module_trains() -> None:
    """A model in an optimiser's hands learns its targets."""
    torch.manual_seed(0)
    x, targets = torch.randn(20, 3, 4), torch.tensor([[1, 2], [2, 1], [1, 1]])
    model = torch.nn.Linear(4, 3)
    optimiser = torch.optim.Adam(model.parameters(), 0.1)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        value = logsum.ctc_loss(model(x), targets, [20] * 3, [2] * 3, from_logits=True)
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] / 4
