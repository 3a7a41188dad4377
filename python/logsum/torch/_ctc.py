"""ctc_loss, ctc_align and ctc_decode on tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logsum._ctc_arguments import check_frames, fit_lengths, fit_targets
from logsum._integers import as_integer
from logsum.torch._alignment import align_operator, ctc_loss_operator, decode_operator
from logsum.torch._integers import as_integers
from logsum.torch._semirings import semiring_name
from logsum.torch._tensors import as_floating


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: Any,
    reduction: str,
    zero_infinity: Any,
    from_logits: Any,
    semiring: Any,
) -> Tensor:
    """`logsum.ctc_loss` for tensors."""
    name = "ctc_loss"
    kind, label = semiring_name(name, semiring), as_integer(name, "blank", blank)
    frames = as_floating(name, "log_probs", log_probs)
    shape = frames.shape
    check_frames(name, shape, unbatched=True)
    single = len(shape) == 2
    if single:
        frames = frames.unsqueeze(1)
    batch = 1 if single else shape[1]
    labels = fit_targets(name, as_integers(name, "targets", targets), batch, single=single)
    inputs = _lengths(name, "input_lengths", input_lengths, batch, single=single)
    lengths = _lengths(name, "target_lengths", target_lengths, batch, single=single)
    flags = (bool(from_logits), kind, bool(zero_infinity))
    losses = ctc_loss_operator.reduced(reduction, frames, labels, inputs, lengths, label, *flags)
    return losses.squeeze(0) if single and reduction == "none" else losses


def ctc_align(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: Any
) -> tuple[Tensor, Tensor]:
    """`logsum.ctc_align` for tensors."""
    name = "ctc_align"
    frames = as_floating(name, "log_probs", log_probs)
    check_frames(name, frames.shape, unbatched=False)
    batch = frames.shape[1]
    return align_operator(  # type: ignore[no-any-return]
        frames,
        fit_targets(name, as_integers(name, "targets", targets), batch, single=False),
        _lengths(name, "input_lengths", input_lengths, batch),
        _lengths(name, "target_lengths", target_lengths, batch),
        as_integer(name, "blank", blank),
    )


def ctc_decode(
    log_probs: Any, input_lengths: Any, blank: Any, beam: int
) -> tuple[list[Tensor], Tensor]:
    """`logsum.ctc_decode` for tensors."""
    name = "ctc_decode"
    frames = as_floating(name, "log_probs", log_probs).detach()
    check_frames(name, frames.shape, unbatched=False)
    lengths = _lengths(name, "input_lengths", input_lengths, frames.shape[1])
    labels, counts, scores = decode_operator(
        frames, lengths, as_integer(name, "blank", blank), beam
    )
    pairs = zip(labels, counts.tolist(), strict=True)
    return [row[:count].clone() for row, count in pairs], scores


def _lengths(function: str, argument: str, value: Any, batch: int, *, single: bool = False) -> Any:
    lengths = as_integers(function, argument, value)
    return fit_lengths(function, argument, lengths, batch, single=single)
