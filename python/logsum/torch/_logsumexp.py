"""logsumexp on tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from logsum._arguments import several_axes
from logsum.torch._sum import logsumexp_operator
from logsum.torch._tensors import as_floating, as_mask, as_partner, broadcast, squeeze
from logsum.torch._weighted import weighted_operator


def logsumexp(
    a: Any, axis: Any, b: Any, keepdims: bool, return_sign: bool, where: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """`logsum.logsumexp` for tensors."""
    name = "logsumexp"
    a = as_floating(name, "a", a, integers=True)
    if b is not None:
        a, b = broadcast(name, {"a": a, "b": as_partner(name, "b", b, "a", a)})
    if where is not None:
        # Against b's shape too; b follows a.
        a, where = broadcast(name, {"a": a, "where": as_mask(name, "where", where, a)})
        b = None if b is None else b.expand(a.shape)
    # As in torch, the axis of a tensor without axes may be called 0 or -1.
    axes = several_axes(name, axis, a.ndim or 1)
    axes = axes if a.ndim else ()
    if b is None:
        out = logsumexp_operator(a, where, axes)
    else:
        out, sign = weighted_operator(a, b, where, axes)
        if not return_sign:
            # Added, so that a negative sum keeps the gradient that log has there.
            out = out + torch.zeros_like(out).masked_fill(sign < 0, torch.nan)
    result = _finish(out, a.dtype, axes, keepdims)
    if not return_sign:
        return result
    if b is None:
        sign = _sign(out)
    return result, _finish(sign, a.dtype, axes, keepdims)


def _sign(out: Tensor) -> Tensor:
    """The sign of a sum without weights, from its logarithm."""
    return (out > -torch.inf).to(out.dtype).masked_fill(out.isnan(), torch.nan)


def _finish(out: Tensor, dtype: torch.dtype, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """The result in the caller's dtype and shape."""
    if out.dtype != dtype:
        out = out.to(dtype)
    return out if keepdims else squeeze(out, axes)
