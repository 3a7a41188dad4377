"""The operators of a sum of exponentials, which all other derivatives are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._tensors import HALF, optional_view, total, view


def lse_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of an lse that is kept: float32 for the half types, so that exp(a - lse) is too."""
    return torch.float32 if dtype in HALF else dtype


def lse_like(a: Tensor, axes: Sequence[int]) -> Tensor:
    """An empty lse over `axes`, which are kept with size one."""
    shape = list(a.shape)
    for axis in axes:
        shape[axis] = 1
    return a.new_empty(shape, dtype=lse_dtype(a.dtype))


def probabilities(a: Tensor, lse: Tensor, where: Tensor | None, axes: Sequence[int]) -> Tensor:
    """exp(a - lse) in the lse's dtype, exactly 0 for a term that takes no part."""
    p: Tensor = logsumexp_backward(torch.ones_like(lse), a.to(lse.dtype), lse, where, axes)
    return p


def present(values: Tensor, weights: Tensor) -> Tensor:
    """The values, 0 where the weight is: a term that takes no part may have an infinite tangent."""
    return torch.where(weights == 0, 0.0, values)


class _Logsumexp(Operator):
    """lse = log Σ exp(a) over axes, which are kept; false in `where` leaves a term out."""

    schema = "logsumexp(Tensor a, Tensor? where, int[] axes) -> Tensor"
    kept = (0,)

    def allocate(self, a: Tensor, where: Tensor | None, axes: Sequence[int]) -> Tensor:
        return lse_like(a, axes)

    def compute(self, lse: Tensor, a: Tensor, where: Tensor | None, axes: Sequence[int]) -> None:
        _core.logsumexp(view(a), axes, None, optional_view(where), view(lse), None)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, where, axes = arguments
        return logsumexp_backward(grads[0], a, kept[0], where, axes), None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        (a, where, axes), lse = arguments, kept[0]
        p = probabilities(a, lse, where, axes)
        return total(p * present(tangents[0], p), axes)


class _LogsumexpBackward(Operator):
    """G(g, a, lse) = g exp(a - lse), in closed form under differentiation.

    With p = exp(a - lse): dG = dg p + G (da - dlse). Nothing else is needed for any order.
    """

    schema = (
        "logsumexp_backward(Tensor grad, Tensor a, Tensor lse, Tensor? where, int[] axes) -> Tensor"
    )

    def allocate(self, grad: Tensor, a: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(a)

    def compute(
        self,
        grad_a: Tensor,
        grad: Tensor,
        a: Tensor,
        lse: Tensor,
        where: Tensor | None,
        axes: Sequence[int],
    ) -> None:
        lse_view, where_view = view(lse), optional_view(where)
        _core.logsumexp_backward(
            view(grad), view(a), None, where_view, lse_view, None, axes, view(grad_a), None
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        grad, a, lse, where, axes = arguments
        p = probabilities(a, lse, where, axes)
        terms = p * present(grads[0], p)
        grad_grad = total(terms, axes)
        return grad_grad, (grad * terms).to(a.dtype), -grad * grad_grad, None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        grad, a, lse, where, axes = arguments
        d_grad, d_a, d_lse = tangents[:3]
        p = probabilities(a, lse, where, axes)
        tangent = torch.zeros_like(p)
        if d_grad is not None:
            tangent = tangent + p * d_grad
        if d_a is not None:
            tangent = tangent + grad * p * present(d_a, p)
        if d_lse is not None:
            tangent = tangent - grad * p * present(d_lse, p)
        return tangent.to(a.dtype)


logsumexp_operator = _Logsumexp()
logsumexp_backward = _LogsumexpBackward()
