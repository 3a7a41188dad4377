"""The operator of a matrix product in the max semiring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from logsum import _core
from logsum._products import product_shape
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._product import Triple, part
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import view


class _MaxProduct(Operator):
    """The maximum c over k of a + b, with `keep` the lowest k that has it, its error bound.

    The gradient goes to that k alone, none to a maximum of -inf: linear, so torch's gather and
    scatter have it in every order.
    """

    schema = (
        "logmatmulexp_max(Tensor a, Tensor b, bool keep, bool bounded) -> (Tensor, Tensor, Tensor)"
    )
    kept = (0, 1)

    def allocate(self, a: Tensor, b: Tensor, keep: bool, bounded: bool) -> Triple:
        c = a.new_empty(product_shape("logmatmulexp", a.shape, b.shape))
        return c, part(c, keep, torch.int64), part(c, bounded, lse_dtype(a.dtype))

    def compute(self, outputs: Triple, a: Tensor, b: Tensor, keep: bool, bounded: bool) -> None:
        c, argmax, bound = outputs
        _core.logmatmulexp(
            view(a),
            view(b),
            view(c),
            view(bound) if bounded else None,
            view(argmax) if keep else None,
            None,
            _core.Semiring.max,
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, b = arguments[:2]
        if grads[0] is None:  # the others are constant
            return (None,) * 4
        grad = _alive(grads[0], kept[0])
        grad_a = _spread(grad, kept[1], a, -1) if needed[0] else None
        grad_b = _spread(grad, kept[1], b, -2) if needed[1] else None
        return grad_a, grad_b, None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        c, argmax = kept
        moved = torch.zeros_like(c)
        for tangent, axis in zip(tangents[:2], (-1, -2), strict=True):
            if tangent is not None:
                moved = moved + _picked(tangent, argmax, axis)
        bound = torch.zeros_like(part(c, arguments[3], lse_dtype(c.dtype)))
        return _alive(moved, c), None, bound


def _alive(values: Tensor, c: Tensor) -> Tensor:
    """The values, 0 where the maximum is -inf."""
    return torch.where(c == -torch.inf, 0.0, values)


def _extended(like: Tensor, argmax: Tensor) -> list[int]:
    """The shape of an operand with the product's batch axes."""
    return [*argmax.shape[:-2], *like.shape[-2:]]


def _spread(grad: Tensor, argmax: Tensor, like: Tensor, axis: int) -> Tensor:
    """The sum along the product's row or column of the gradients that go to each entry."""
    if like.shape[axis] == 0:
        return torch.zeros_like(like)
    # In float64, since torch adds one term after the other.
    wide = grad.new_zeros(_extended(like, argmax), dtype=torch.float64)
    wide = wide.scatter_add(axis, argmax, grad.to(wide.dtype))
    return wide.sum_to_size(like.shape).to(like.dtype)


def _picked(tangent: Tensor, argmax: Tensor, axis: int) -> Tensor:
    """The entry of the operand that each maximum takes."""
    if tangent.shape[axis] == 0:
        return tangent.new_zeros(argmax.shape)
    return tangent.expand(_extended(tangent, argmax)).gather(axis, argmax)


max_product = _MaxProduct()
