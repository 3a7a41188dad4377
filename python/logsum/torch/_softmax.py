"""softmax and log_softmax on tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logsum._arguments import one_axis
from logsum.torch._operator import Operator
from logsum.torch._shares import log_softmax_operator, softmax_operator
from logsum.torch._tensors import as_floating


def softmax(a: Any, axis: Any, return_lse: bool) -> Tensor | tuple[Tensor, Tensor]:
    """`logsum.softmax` for tensors."""
    return _apply("softmax", softmax_operator, a, axis, return_lse)


def log_softmax(a: Any, axis: Any, return_lse: bool) -> Tensor | tuple[Tensor, Tensor]:
    """`logsum.log_softmax` for tensors."""
    return _apply("log_softmax", log_softmax_operator, a, axis, return_lse)


def _apply(
    name: str, operator: Operator, a: Any, axis: Any, return_lse: bool
) -> Tensor | tuple[Tensor, Tensor]:
    a = as_floating(name, "a", a)
    axis = one_axis(name, axis, a.ndim)
    out, lse = operator(a, axis)
    return (out, lse.squeeze(axis)) if return_lse else out
