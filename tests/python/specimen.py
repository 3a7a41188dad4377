"""A sound log-sum-exp in torch alone, for breaking.

It is written as the library's faces are (an autograd.Function with forward mode and vmap, an
operator for torch.compile) but shares nothing with them. test_conformance_detects.py replaces one
part at a time by a broken one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import oracle
from conformance import Conformance, Kind, Monoid, Sample, State, filled, normal


def value(a: torch.Tensor, dim: int) -> torch.Tensor:
    """Log of the sum of exponentials along one axis."""
    if a.shape[dim] == 0:
        return a.new_full(a.sum(dim).shape, -torch.inf)
    x = a.double()
    top, place = x.max(dim, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    terms = (x - top).exp()
    lead = terms.gather(dim, place)
    rest = terms.scatter(dim, place, 0.0).sum(dim, keepdim=True)
    plain = torch.where(lead == 1, rest.log1p(), (lead + rest).log())
    return (top + plain).squeeze(dim).to(a.dtype)


def share(a: torch.Tensor, dim: int) -> torch.Tensor:
    """Weight of each term in float64, differentiable; 0 at -inf, equal among +inf."""
    a = a.double()
    if a.shape[dim] == 0:
        return a
    infinite = a.detach().amax(dim, keepdim=True).isinf()
    ties = (a == torch.inf).double()
    shared = ties / ties.sum(dim, keepdim=True).clamp(min=1)
    return torch.where(infinite, shared, torch.where(infinite, 0.0, a).softmax(dim))


def pull(grad: torch.Tensor, a: torch.Tensor, dim: int) -> torch.Tensor:
    """Incoming gradient times shares."""
    return (grad.double().unsqueeze(dim) * share(a, dim)).to(a.dtype)


class LogSumExp(torch.autograd.Function):
    """The differentiable face."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: torch.Tensor, dim: int) -> torch.Tensor:
        return value(a, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        a, ctx.dim = inputs
        ctx.save_for_backward(a)
        ctx.save_for_forward(a)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        (a,) = ctx.saved_tensors
        return pull(grad, a, ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: Any) -> torch.Tensor:
        (a,) = ctx.saved_tensors
        return (tangent.double() * share(a, ctx.dim)).sum(ctx.dim).to(a.dtype)


@torch.library.custom_op("specimen::logsumexp", mutates_args=())
def operator(a: torch.Tensor, dim: int) -> torch.Tensor:
    """The face of torch.compile."""
    return value(a, dim)


@operator.register_fake
def fake(a: torch.Tensor, dim: int) -> torch.Tensor:
    """Shape and dtype of the operator's result."""
    return a.new_empty([n for k, n in enumerate(a.shape) if k != dim % a.ndim])


def setup(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what the operator's gradient needs."""
    a, ctx.dim = inputs
    ctx.save_for_backward(a)


def backward(ctx: Any, grad: torch.Tensor) -> Any:
    """Gradient of the operator."""
    (a,) = ctx.saved_tensors
    return pull(grad, a, ctx.dim), None


operator.register_autograd(backward, setup_context=setup)


def logsumexp(a: Any, axis: int = -1) -> Any:
    """The operation: NumPy, compiled or differentiable."""
    if not isinstance(a, torch.Tensor):
        return value(torch.from_numpy(a.copy()), axis).numpy()
    return operator(a, axis) if torch.compiler.is_compiling() else LogSumExp.apply(a, axis)


def merge(*states: State) -> State:
    arrays = [state[0] for state in states]
    if isinstance(arrays[0], torch.Tensor):
        return (logsumexp(torch.stack(arrays), 0),)
    return (logsumexp(np.stack(arrays), 0),)


def _unit(state: State) -> State:
    return (filled(state[0], -np.inf),)


def _parts(sample: Sample) -> list[Sample]:
    axis = sample.options["axis"]
    pieces = np.array_split(sample.arguments[0], 3, axis)
    return [sample.with_arguments(f"part {k}", (piece,)) for k, piece in enumerate(pieces)]


class Sound(Conformance):
    """The specimen as a case."""

    name = "specimen"
    namespace = "specimen"
    monoid = Monoid(merge, _unit, _parts)

    def call(self, a: Any, axis: int) -> Any:
        return logsumexp(a, axis)

    def reference(self, a: Any, axis: int) -> Any:
        return oracle.logsumexp(a, axis)

    def gradient(self, cotangents: Any, a: Any, axis: int) -> Any:
        return [oracle.logsumexp_gradient(cotangents[0], a, axis)]

    def samples(self) -> list[Sample]:
        return [Sample("rows", (normal(3, 5),), {"axis": 1})]

    def near_zero(self) -> list[Sample]:
        return [Sample("near zero", (np.array([[0.0, -40.0], [-30.0, 0.0]]),), {"axis": 1})]

    def constants(self) -> list[Sample]:
        return [Sample("equal", (np.full((1, 65536), 0.7),), {"axis": 1})]

    def larges(self) -> list[Sample]:
        return [Sample("large", (normal(20, 500),), {"axis": 1})]

    def heavies(self) -> list[Sample]:
        return [Sample("heavy", (np.zeros((2000, 1000)),), {"axis": 1})]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        return 11 * 8 * int(sample.arguments[0].size)  # a few float64 copies
