"""The operators of CTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum._ctc_arguments import REDUCTIONS
from logsum.torch._large import empty_like
from logsum.torch._operator import Arguments, Gradients, Kept
from logsum.torch._paths import picked, spread
from logsum.torch._potential import Curvature, Potential, SequenceOperator
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import view

# By name: enumerations of the extension are asked for attributes at a third of a microsecond each.
_SEMIRINGS = {name: getattr(_core.Semiring, name) for name in ("log", "max")}
_REDUCTIONS = {name: getattr(_core.CtcReduction, name) for name in REDUCTIONS}


def _gradient(log_probs: Tensor, keep: int) -> Tensor:
    """An empty gradient, without elements but with the axis of sequences if it is not kept."""
    if keep:
        return empty_like(log_probs)
    return log_probs.new_empty((0, log_probs.shape[1], 0))


class _CtcLoss(Potential):
    """The losses (N,), and the gradient for log_probs."""

    schema = (
        "ctc_loss(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, "
        "int blank, bool from_logits, str semiring, bool zero_infinity, int keep) "
        "-> (Tensor, Tensor)"
    )
    count = 1
    kept = (1,)
    sequence_axes = (1,)
    axes_in = (1, 0, 0, 0, None, None, None, None, None)
    axes_out = (0, 1)

    def is_linear(self, arguments: Arguments) -> bool:
        from_logits, semiring = arguments[5:7]
        return semiring == "max" and not from_logits

    def allocate(self, log_probs: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        # A number for the shape takes two thirds of the time of a tuple.
        losses = log_probs.new_empty(log_probs.shape[1], dtype=lse_dtype(log_probs.dtype))
        return losses, _gradient(log_probs, rest[-1])

    def evaluate(
        self,
        outputs: tuple[Tensor, ...],
        reduction: str,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        blank: int,
        from_logits: bool,
        semiring: str,
        zero_infinity: bool,
        keep: int,
    ) -> None:
        losses, slope = outputs
        _core.ctc_loss(
            view(log_probs),
            view(targets),
            view(input_lengths),
            view(target_lengths),
            view(losses),
            view(slope) if keep else None,
            blank,
            from_logits,
            _SEMIRINGS[semiring],
            zero_infinity,
            _REDUCTIONS[reduction],
        )

    def shares(self, reduction: str, arguments: Arguments) -> Tensor:
        lengths: Tensor = arguments[3]
        if reduction == "sum":
            return torch.ones_like(lengths, dtype=torch.float64)
        return 1 / (lengths.shape[0] * lengths.clamp(min=1).to(torch.float64))


class _CtcLossTangent(Curvature):
    """How the losses and their gradient move along a direction."""

    schema = (
        "ctc_loss_tangent(Tensor log_probs, Tensor? direction, Tensor targets, "
        "Tensor input_lengths, Tensor target_lengths, int blank, bool from_logits, str semiring, "
        "bool zero_infinity, int keep) -> (Tensor, Tensor)"
    )
    count = 1
    axes_in = (1, 1, 0, 0, 0, None, None, None, None, None)
    axes_out = (0, 1)

    def allocate(self, log_probs: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        moved = log_probs.new_empty((log_probs.shape[1],), dtype=lse_dtype(log_probs.dtype))
        return moved, _gradient(log_probs, rest[-1])

    def compute(
        self,
        outputs: tuple[Tensor, ...],
        log_probs: Tensor,
        direction: Tensor | None,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        blank: int,
        from_logits: bool,
        semiring: str,
        zero_infinity: bool,
        keep: int,
    ) -> None:
        moved, change = outputs
        if direction is None:
            moved.zero_()
            change.zero_()
            return
        _core.ctc_loss_tangent(
            view(log_probs),
            view(targets),
            view(input_lengths),
            view(target_lengths),
            view(direction),
            view(moved),
            view(change) if keep else None,
            blank,
            from_logits,
            _SEMIRINGS[semiring],
        )


class _CtcAlign(SequenceOperator):
    """The best alignment's labels (N, T) and score; the score's gradient is one along it."""

    schema = (
        "ctc_align(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, "
        "int blank) -> (Tensor, Tensor)"
    )
    kept = (0,)
    axes_in = (1, 0, 0, 0, None)
    axes_out = (0, 0)

    def allocate(self, log_probs: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        steps, n = log_probs.shape[:2]
        return (
            log_probs.new_empty((n, steps), dtype=torch.int64),
            log_probs.new_empty((n,), dtype=lse_dtype(log_probs.dtype)),
        )

    def compute(
        self,
        outputs: tuple[Tensor, Tensor],
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        blank: int,
    ) -> None:
        labels, scores = outputs
        _core.ctc_align(
            view(log_probs),
            view(targets),
            view(input_lengths),
            view(target_lengths),
            view(labels),
            view(scores),
            blank,
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        if grads[1] is None:  # labels are integers
            return (None,) * 5
        return (spread(grads[1], kept[0].T, arguments[0]), *(None,) * 4)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        return None, picked(tangents[0], kept[0].T, (0,))


class _CtcDecode(SequenceOperator):
    """Labels (N, T), how many of them, and scores; greedy, or with a beam. It has no derivative."""

    schema = (
        "ctc_decode(Tensor log_probs, Tensor input_lengths, int blank, int beam) "
        "-> (Tensor, Tensor, Tensor)"
    )
    axes_in = (1, 0, None, None)
    axes_out = (0, 0, 0)

    def allocate(self, log_probs: Tensor, *_: Any) -> tuple[Tensor, ...]:
        steps, n = log_probs.shape[:2]
        return (
            log_probs.new_empty((n, steps), dtype=torch.int64),
            log_probs.new_empty((n,), dtype=torch.int64),
            log_probs.new_empty((n,), dtype=lse_dtype(log_probs.dtype)),
        )

    def compute(
        self,
        outputs: tuple[Tensor, ...],
        log_probs: Tensor,
        input_lengths: Tensor,
        blank: int,
        beam: int,
    ) -> None:
        labels, counts, scores = outputs
        _core.ctc_decode(
            view(log_probs),
            view(input_lengths),
            view(labels),
            view(counts),
            view(scores),
            blank,
            beam,
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        return (None,) * 4  # what it is called with is detached


ctc_loss_operator = _CtcLoss()
ctc_loss_operator.curvature = _CtcLossTangent()
ctc_loss_operator.curvature.potential = ctc_loss_operator
align_operator, decode_operator = _CtcAlign(), _CtcDecode()
