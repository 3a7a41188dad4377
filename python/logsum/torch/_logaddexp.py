"""logaddexp on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._sum import lse_dtype, present
from logsum.torch._tensors import FLOATING, as_floating, as_partner, broadcast, view


def logaddexp(a: Any, b: Any) -> Tensor:
    """`logsum.logaddexp` for tensors."""
    name = "logaddexp"
    # The floating one of the two says the dtype; a where both are, or both are integers.
    if isinstance(a, Tensor) and (not isinstance(b, Tensor) or b.dtype not in FLOATING):
        a = as_floating(name, "a", a, integers=True)
        b = as_partner(name, "b", b, "a", a)
    elif isinstance(a, Tensor) and a.dtype in FLOATING:
        b = as_partner(name, "b", b, "a", as_floating(name, "a", a))
    else:
        b = as_floating(name, "b", b, integers=True)
        a = as_partner(name, "a", a, "b", b)
    a, b = broadcast(name, {"a": a, "b": b})
    out: Tensor = _operator(a, b)
    return out


class _Logaddexp(Operator):
    """log(exp a + exp b), elementwise."""

    schema = "logaddexp(Tensor a, Tensor b) -> Tensor"

    def allocate(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.empty_like(a)

    def compute(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        _core.logaddexp(view(a), view(b), view(out))

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        share_a, share_b = _shares(*arguments)
        return grads[0] * share_a, grads[0] * share_b

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        out = torch.zeros_like(arguments[0])
        for share, tangent in zip(_shares(*arguments), tangents, strict=True):
            if tangent is not None:
                out = out + share * present(tangent, share)
        return out


def _shares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of both terms in the sum, from a - b: nothing is lost to the rounding of out.

    Two equal infinities have no difference: +inf share equally, -inf have no share.
    """
    dtype, kind = a.dtype, lse_dtype(a.dtype)
    a, b = a.to(kind), b.to(kind)
    equal_infinite = (a == b) & a.isinf()
    difference = torch.where(equal_infinite, 0.0, a - b)
    nothing = equal_infinite & (a < 0)
    share_a = torch.sigmoid(difference).masked_fill(nothing, 0.0)
    share_b = torch.sigmoid(-difference).masked_fill(nothing, 0.0)
    return share_a.to(dtype), share_b.to(dtype)


_operator = _Logaddexp()
