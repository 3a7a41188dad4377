"""The operators of a weighted, signed sum of exponentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._sum import lse_like, present
from logsum.torch._tensors import optional_view, total, view


class _Weighted(Operator):
    """log |Σ b exp(a)| and the sign of the sum, over axes, which are kept."""

    schema = "logsumexp_weighted(Tensor a, Tensor b, Tensor? where, int[] axes) -> (Tensor, Tensor)"
    kept = (0, 1)

    def allocate(
        self, a: Tensor, b: Tensor, where: Tensor | None, axes: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        out = lse_like(a, axes)
        return out, torch.empty_like(out)

    def compute(
        self,
        outputs: tuple[Tensor, Tensor],
        a: Tensor,
        b: Tensor,
        where: Tensor | None,
        axes: Sequence[int],
    ) -> None:
        out, sign = outputs
        _core.logsumexp(view(a), axes, view(b), optional_view(where), view(out), view(sign))

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, b, where, axes = arguments
        if grads[0] is None:  # the sign is constant
            return (None,) * 4
        shared = (grads[0], a, b, where, *kept, axes)
        grad_a = weighted_backward(*shared, False) if needed[0] else None
        grad_b = weighted_backward(*shared, True) if needed[1] else None
        return grad_a, grad_b, None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> tuple[Tensor, Tensor]:
        (a, b, where, axes), (out, sign) = arguments, kept
        d_a, d_b = tangents[:2]
        e = _terms(a, b, where, out, sign, axes)
        tangent = torch.zeros_like(e)
        if d_a is not None:
            tangent = tangent + e * b * present(d_a, e)
        if d_b is not None:
            tangent = tangent + e * present(d_b, e)
        return total(tangent, axes), torch.zeros_like(sign)


class _WeightedBackward(Operator):
    """The gradient in a, g b e, or in the weights, g e, of e = sign exp(a - out).

    In closed form under differentiation, with de = e (da - dout). A weight of zero is not masked
    here: its own derivative is e, and so are the mixed second ones.
    """

    schema = (
        "logsumexp_weighted_backward(Tensor grad, Tensor a, Tensor b, Tensor? where, Tensor out, "
        "Tensor sign, int[] axes, bool of_weights) -> Tensor"
    )

    def allocate(self, grad: Tensor, a: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(a)

    def compute(
        self,
        result: Tensor,
        grad: Tensor,
        a: Tensor,
        b: Tensor,
        where: Tensor | None,
        out: Tensor,
        sign: Tensor,
        axes: Sequence[int],
        of_weights: bool,
    ) -> None:
        grad_a, grad_b = (None, view(result)) if of_weights else (view(result), None)
        _core.logsumexp_backward(
            view(grad),
            view(a),
            view(b),
            optional_view(where),
            view(out),
            view(sign),
            axes,
            grad_a,
            grad_b,
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        grad, a, b, where, out, sign, axes, of_weights = arguments
        e = _terms(a, b, where, out, sign, axes)
        incoming = present(grads[0], e)
        terms = e * incoming if of_weights else e * incoming * b
        grad_grad = total(terms, axes)
        grad_b = None if of_weights else (grad * e * incoming).to(b.dtype)
        grad_a = (grad * terms).to(a.dtype)
        return grad_grad, grad_a, grad_b, None, -grad * grad_grad, None, None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        grad, a, b, where, out, sign, axes, of_weights = arguments
        d_grad, d_a, d_b, _, d_out = tangents[:5]
        e = _terms(a, b, where, out, sign, axes)
        weighted = e if of_weights else e * b
        tangent = torch.zeros_like(e)
        if d_grad is not None:
            tangent = tangent + weighted * d_grad
        if d_a is not None:
            tangent = tangent + grad * weighted * present(d_a, e)
        if d_out is not None:
            tangent = tangent - grad * weighted * present(d_out, e)
        if d_b is not None and not of_weights:
            tangent = tangent + grad * e * present(d_b, e)
        return tangent.to(a.dtype)


def _terms(
    a: Tensor, b: Tensor, where: Tensor | None, out: Tensor, sign: Tensor, axes: Sequence[int]
) -> Tensor:
    """Sign times exp(a - out), in out's dtype; 0 for a term that takes no part."""
    a, b = a.to(out.dtype), b.to(out.dtype)
    e: Tensor = weighted_backward(torch.ones_like(out), a, b, where, out, sign, axes, True)
    return e


weighted_operator = _Weighted()
weighted_backward = _WeightedBackward()
