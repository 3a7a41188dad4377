"""The operators of a log-space matrix product: itself, and the means its derivatives are made of.

With p[i, j, k] = exp(a[i, k] + b[k, j] - c[i, j]) every derivative, of any order and direction, is
a sum of p times weights over one of the three indices. `_Mean` is that sum, and its own derivatives
are again means: the weights and the incoming gradient change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from logsum import _core
from logsum._products import product_shape
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._sum import lse_dtype, present
from logsum.torch._tensors import optional_view, view

Triple: TypeAlias = tuple[Tensor, Tensor, Tensor]

# The roles a, b, c by number, and the index that a mean of each one's shape sums over.
_A, _B, _C = range(3)
_OVER = (
    int(_core.MatmulIndex.column),
    int(_core.MatmulIndex.row),
    int(_core.MatmulIndex.inner),
)
_SIGN = (1, 1, -1)  # of a role in the exponent of p


def part(c: Tensor, wanted: bool, dtype: torch.dtype) -> Tensor:
    """An empty tensor for what belongs to each entry of c; without columns if it is not wanted."""
    return c.new_empty(c.shape if wanted else (*c.shape[:-1], 0), dtype=dtype)


class _Product(Operator):
    """The product c, with `keep` what rounding took from it, and with `bounded` its error bound.

    Derivatives use c + residual; what is the derivative of this sum flows through c alone.
    """

    schema = "logmatmulexp(Tensor a, Tensor b, bool keep, bool bounded) -> (Tensor, Tensor, Tensor)"
    kept = (0, 1)

    def allocate(self, a: Tensor, b: Tensor, keep: bool, bounded: bool) -> Triple:
        c = a.new_empty(product_shape("logmatmulexp", a.shape, b.shape))
        wide = lse_dtype(a.dtype)
        return c, part(c, keep, wide), part(c, bounded, wide)

    def compute(self, outputs: Triple, a: Tensor, b: Tensor, keep: bool, bounded: bool) -> None:
        c, residual, bound = outputs
        _core.logmatmulexp(
            view(a),
            view(b),
            view(c),
            view(bound) if bounded else None,
            None,
            view(residual) if keep else None,
            _core.Semiring.log,
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, b = arguments[:2]
        grad = grads[0]
        if grad is None:  # the others are constant
            return (None,) * 4
        means = (
            _mean(a, b, *kept, _OVER[role], None, None, grad).to(a.dtype) if needed[role] else None
            for role in (_A, _B)
        )
        return (*means, None, None)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Triple:
        a, b, _, bounded = arguments
        c, residual = kept
        d_a, d_b = tangents[:2]
        moved = torch.zeros_like(c, dtype=residual.dtype)
        if d_a is not None:
            moved = moved + _mean(a, b, c, residual, _OVER[_C], d_a, None, None)
        if d_b is not None:
            moved = moved + _mean(a, b, c, residual, _OVER[_C], None, d_b, None)
        bound = torch.zeros_like(part(c, bounded, residual.dtype))
        return moved.to(c.dtype), torch.zeros_like(residual), bound


class _Mean(Operator):
    """Sum of p times weights over one index, by number of `_core.MatmulIndex`; float32 or wider.

    A weight that is missing is one, as that of the role whose shape the sum has must be. The
    derivative by a weight is the mean of that weight's shape, of the others and of the incoming
    gradient; by an exponent it is this times the weight, since dp = p (da + db - dc).
    """

    schema = (
        "logmatmulexp_mean(Tensor a, Tensor b, Tensor c, Tensor residual, int over, "
        "Tensor? weight_a, Tensor? weight_b, Tensor? weight_c) -> Tensor"
    )
    kept = (0,)

    def allocate(
        self, a: Tensor, b: Tensor, c: Tensor, residual: Tensor, over: int, *_: Any
    ) -> Tensor:
        return torch.empty_like((a, b, c)[_OVER.index(over)], dtype=residual.dtype)

    def compute(
        self,
        out: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        residual: Tensor,
        over: int,
        weight_a: Tensor | None,
        weight_b: Tensor | None,
        weight_c: Tensor | None,
    ) -> None:
        _core.logmatmulexp_mean(
            view(a),
            view(b),
            view(c),
            view(residual) if residual.shape == c.shape else None,  # not kept
            _core.MatmulIndex(over),
            optional_view(weight_a),
            optional_view(weight_b),
            optional_view(weight_c),
            view(out),
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        operands, over, weights = arguments[:4], arguments[4], list(arguments[5:])
        own = _OVER.index(over)
        weights[own] = grads[0]
        by_exponent: list[Tensor | None] = [None] * 3
        by_weight: list[Tensor | None] = [None] * 3
        for role, weight in enumerate(weights):
            if role == own:
                by_exponent[role] = kept[0] * present(weight, kept[0])
            elif needed[role] or needed[5 + role]:
                others = _replaced(weights, role, None)
                terms = _mean(*operands, _OVER[role], *others)
                by_weight[role] = terms if needed[5 + role] else None
                by_exponent[role] = terms if weight is None else terms * present(weight, terms)
        exponents = (
            None if grad is None else (sign * grad).to(operand.dtype)
            for grad, sign, operand in zip(by_exponent, _SIGN, operands[:3], strict=True)
        )
        return (*exponents, None, None, *_in_dtypes_of(arguments[5:], by_weight))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        operands, over, weights = arguments[:4], arguments[4], arguments[5:]
        own, out = _OVER.index(over), kept[0]
        moved = torch.zeros_like(out)
        for role, weight in enumerate(weights):
            exponent, change = tangents[role], tangents[5 + role]
            if exponent is not None:
                exponent = _SIGN[role] * exponent
                if role == own:
                    moved = moved + out * present(exponent, out)
                    continue
                by_exponent = exponent if weight is None else exponent * weight
                change = by_exponent if change is None else change + by_exponent
            if change is not None:
                moved = moved + _mean(*operands, over, *_replaced(weights, role, change))
        return moved


def _replaced(weights: Sequence[Any], role: int, weight: Tensor | None) -> list[Any]:
    """The weights with another for one role."""
    return [weight if k == role else other for k, other in enumerate(weights)]


def _in_dtypes_of(weights: Sequence[Any], grads: Sequence[Tensor | None]) -> Gradients:
    """Gradients in the dtypes of the weights that they belong to."""
    return tuple(
        None if grad is None else grad.to(weight.dtype)
        for weight, grad in zip(weights, grads, strict=True)
    )


product = _Product()
_mean = _Mean()
