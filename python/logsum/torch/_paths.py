"""Best paths on tensors: the indicator that is the gradient of their score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def spread(grad: Tensor, path: Tensor, like: Tensor) -> Tensor:
    """Each sequence's number where its path is, 0 elsewhere: shape and dtype of `like`.

    `path` has the shape of `like` without the last axis, which it indexes, -1 for nowhere; `grad`
    broadcasts to it.
    """
    zeros = torch.zeros_like(like)
    if like.shape[-1] == 0:
        return zeros
    values = torch.where(path < 0, 0.0, grad).to(like.dtype)
    return zeros.scatter(-1, path.clamp(min=0).unsqueeze(-1), values.unsqueeze(-1))


def picked(values: Tensor, path: Tensor, axes: Sequence[int]) -> Tensor:
    """The sum over `axes` of the values that lie on a path, in float32 or wider."""
    wide = torch.promote_types(values.dtype, torch.float32)
    if values.shape[-1] == 0:
        return torch.zeros(path.shape, dtype=wide).sum(tuple(axes))
    found = values.to(wide).gather(-1, path.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(path < 0, 0.0, found).sum(tuple(axes)) if axes else found
