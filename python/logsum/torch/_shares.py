"""The operators of softmax and log_softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from logsum import _core
from logsum.torch._operator import Arguments, Gradients, Kept, Operator
from logsum.torch._sum import lse_like, present, probabilities
from logsum.torch._tensors import optional_view, total, view

Pair: TypeAlias = tuple[Tensor, Tensor]


class _Softmax(Operator):
    """exp(a - lse) and lse, which keeps its axis."""

    schema = "softmax(Tensor a, int axis) -> (Tensor, Tensor)"
    kept = (1,)

    def allocate(self, a: Tensor, axis: int) -> Pair:
        return torch.empty_like(a), lse_like(a, (axis,))

    def compute(self, outputs: Pair, a: Tensor, axis: int) -> None:
        out, lse = outputs
        _core.softmax(view(a), axis, view(out), view(lse))

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, axis = arguments
        return softmax_backward(*grads, a, kept[0], axis), None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Pair:
        (a, axis), lse = arguments, kept[0]
        p = probabilities(a, lse, None, (axis,))
        tangent = present(tangents[0], p)
        mean = total(p * tangent, (axis,))
        return (p * (tangent - mean)).to(a.dtype), mean


class _LogSoftmax(_Softmax):
    """a - lse and lse, which keeps its axis."""

    schema = "log_softmax(Tensor a, int axis) -> (Tensor, Tensor)"

    def compute(self, outputs: Pair, a: Tensor, axis: int) -> None:
        out, lse = outputs
        _core.log_softmax(view(a), axis, view(out), view(lse))

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        a, axis = arguments
        return log_softmax_backward(*grads, a, kept[0], axis), None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Pair:
        (a, axis), lse = arguments, kept[0]
        p = probabilities(a, lse, None, (axis,))
        mean = total(p * present(tangents[0], p), (axis,))
        return _live(tangents[0] - mean, a).to(a.dtype), mean


class _SoftmaxBackward(Operator):
    """F(u, v, a, lse) = p (u - <u, p> + v), p = exp(a - lse), u and v the outputs' gradients."""

    schema = (
        "softmax_backward(Tensor? grad_out, Tensor? grad_lse, Tensor a, Tensor lse, int axis)"
        " -> Tensor"
    )

    def allocate(self, u: Tensor | None, v: Tensor | None, a: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(a)

    def compute(
        self, grad_a: Tensor, u: Tensor | None, v: Tensor | None, a: Tensor, lse: Tensor, axis: int
    ) -> None:
        _core.softmax_backward(
            optional_view(u), optional_view(v), view(a), view(lse), axis, view(grad_a)
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        u, v, p, axis = _filled(arguments)
        incoming = present(grads[0], p)
        mean = total(p * incoming, (axis,))
        by_p = incoming * (u - total(p * u, (axis,)) + v) - u * mean
        return _gradients(arguments, p * (incoming - mean), mean, by_p * p)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        u, v, p, axis = _filled(arguments)
        d_u, d_v, d_p = _tangents(p, tangents)
        tangent = p * (d_u - total(p * d_u, (axis,)) + d_v)
        tangent = tangent + d_p * (u - total(p * u, (axis,)) + v) - p * total(u * d_p, (axis,))
        return tangent.to(arguments[2].dtype)


class _LogSoftmaxBackward(_SoftmaxBackward):
    """F(u, v, a, lse) = u - p (Σu - v), without the terms where a is -inf: their F and u are 0."""

    schema = "log_" + _SoftmaxBackward.schema

    def compute(
        self, grad_a: Tensor, u: Tensor | None, v: Tensor | None, a: Tensor, lse: Tensor, axis: int
    ) -> None:
        _core.log_softmax_backward(
            optional_view(u), optional_view(v), view(a), view(lse), axis, view(grad_a)
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        u, v, p, axis = _filled(arguments)
        a = arguments[2]
        u = _live(u, a)
        terms = p * present(grads[0], p)
        mean = total(terms, (axis,))
        by_u = _live(grads[0] - mean, a)
        return _gradients(arguments, by_u, mean, terms * (v - total(u, (axis,))))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        u, v, p, axis = _filled(arguments)
        d_u, d_v, d_p = _tangents(p, tangents)
        a = arguments[2]
        u, d_u = _live(u, a), _live(d_u, a)
        tangent = d_u - p * (total(d_u, (axis,)) - d_v) - d_p * (total(u, (axis,)) - v)
        return tangent.to(a.dtype)


def _live(values: Tensor, a: Tensor) -> Tensor:
    """The values, 0 where a is -inf: such a term has no gradient and no tangent."""
    return torch.where(a == -torch.inf, 0.0, values)


def _filled(arguments: Arguments) -> tuple[Tensor, Tensor, Tensor, int]:
    """The incoming gradients, zeros where missing, and p, in lse's dtype."""
    u, v, a, lse, axis = arguments
    p = probabilities(a, lse, None, (axis,))
    u = torch.zeros_like(p) if u is None else u.to(lse.dtype)
    v = torch.zeros_like(lse) if v is None else v
    return u, v, p, axis


def _gradients(arguments: Arguments, by_u: Tensor, by_v: Tensor, by_a: Tensor) -> Gradients:
    """Gradients of the arguments; that of lse is minus the sum of a's, since p has a - lse."""
    u, v, a, _, axis = arguments
    return (
        None if u is None else by_u.to(u.dtype),
        None if v is None else by_v,
        by_a.to(a.dtype),
        -total(by_a, (axis,)),
        None,
    )


def _tangents(p: Tensor, tangents: Gradients) -> tuple[Tensor, Tensor, Tensor]:
    """Tangents of the incoming gradients and of p."""
    d_u, d_v, d_a, d_lse = (
        torch.zeros_like(p) if tangent is None else tangent for tangent in tangents[:4]
    )
    return d_u, d_v, p * (present(d_a, p) - present(d_lse, p))


softmax_operator = _Softmax()
log_softmax_operator = _LogSoftmax()
softmax_backward = _SoftmaxBackward()
log_softmax_backward = _LogSoftmaxBackward()
