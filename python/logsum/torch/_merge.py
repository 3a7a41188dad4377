"""merge on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum._states import check_alike, check_pair, lse_name, out_name
from logsum.torch._operator import Arguments, Gradients, Kept, Operator, is_direct
from logsum.torch._sum import lse_dtype, present, probabilities
from logsum.torch._tensors import HALF, as_floating, view


def merge(lse_parts: Sequence[Any], out_parts: Sequence[Any] | None) -> Any:
    """`logsum.merge` for tensors."""
    lses = [as_floating("merge", lse_name(k), part) for k, part in enumerate(lse_parts)]
    outs = [as_floating("merge", out_name(k), part) for k, part in enumerate(out_parts or ())]
    check_alike("merge", lse_name, lses)
    check_alike("merge", out_name, outs)
    if outs:
        check_pair(lses[0], outs[0], "torch.float32", HALF)
    kind = lse_dtype(lses[0].dtype)
    lses = [part.to(kind) for part in lses]
    parts = (*lses, *outs)
    if is_direct(parts):
        return _merge_parts(lses, outs)  # the stacks below would be a copy of everything
    lse = torch.stack(lses).movedim(0, -1)
    if not outs:
        return _merge_lse(lse)
    return tuple(reversed(_merge(lse, torch.stack(outs).movedim(0, -2))))


def _merge_parts(lses: Sequence[Tensor], outs: Sequence[Tensor]) -> Any:
    lse = torch.empty_like(lses[0])
    out = torch.empty_like(outs[0]) if outs else None
    _fill(lse, out, lses, outs)
    return lse if out is None else (out, lse)


def _fill(lse: Tensor, out: Tensor | None, lses: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    _core.merge(
        [view(part) for part in lses],
        [view(part) for part in outs],
        view(lse),
        None if out is None else view(out),
    )


class _MergeLse(Operator):
    """log Σ exp(lse) over the last axis, that of the parts."""

    schema = "merge_lse(Tensor lse) -> Tensor"
    kept = (0,)

    def allocate(self, lse: Tensor) -> Tensor:
        return lse.new_empty(lse.shape[:-1])

    def compute(self, merged: Tensor, lse: Tensor) -> None:
        _fill(merged, None, lse.unbind(-1), ())

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        grad = grads[0]
        return (_weights(arguments[0], kept[0]) * grad.unsqueeze(-1),)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        p = _weights(arguments[0], kept[0])
        return (p * present(tangents[0], p)).sum(-1)


class _Merge(Operator):
    """Merges lse (..., P) and out (..., P, D) over the parts: (merged lse, merged out)."""

    schema = "merge(Tensor lse, Tensor out) -> (Tensor, Tensor)"
    kept = (0, 1)

    def allocate(self, lse: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        return lse.new_empty(lse.shape[:-1]), out.new_empty((*lse.shape[:-1], out.shape[-1]))

    def compute(self, outputs: tuple[Tensor, Tensor], lse: Tensor, out: Tensor) -> None:
        _fill(*outputs, lse.unbind(-1), out.unbind(-2))

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        lse, out = arguments
        grad_lse, grad_out = grads
        p = _weights(lse, kept[0])
        by_lse = torch.zeros_like(p) if grad_lse is None else p * grad_lse.unsqueeze(-1)
        if grad_out is None:
            return by_lse, None
        incoming = grad_out.to(lse.dtype).unsqueeze(-2)
        by_lse = by_lse + p * (incoming * _deviations(p, out, kept[1])).sum(-1)
        return by_lse, (p.unsqueeze(-1) * incoming).to(out.dtype)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> tuple[Tensor, Tensor]:
        lse, out = arguments
        p = _weights(lse, kept[0])
        d_lse, d_out = tangents
        merged_lse = torch.zeros_like(kept[0])
        merged_out = torch.zeros_like(kept[1], dtype=lse.dtype)
        if d_lse is not None:
            terms = p * present(d_lse, p)
            merged_lse = terms.sum(-1)
            merged_out = (terms.unsqueeze(-1) * _deviations(p, out, kept[1])).sum(-2)
        if d_out is not None:
            p = p.unsqueeze(-1)
            merged_out = merged_out + (p * present(d_out.to(lse.dtype), p)).sum(-2)
        return merged_lse, merged_out.to(out.dtype)


def _weights(lse: Tensor, merged: Tensor) -> Tensor:
    """The weight exp(lse - merged) of each part; exactly 0 for an empty one."""
    return probabilities(lse, merged.unsqueeze(-1), None, (-1,))


def _deviations(p: Tensor, out: Tensor, merged: Tensor) -> Tensor:
    """Difference out - merged of each part; 0 for an empty one, whose out means nothing."""
    difference = out.to(p.dtype) - merged.to(p.dtype).unsqueeze(-2)
    return present(difference, p.unsqueeze(-1))


_merge_lse = _MergeLse()
_merge = _Merge()
