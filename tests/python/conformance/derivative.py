"""Derivatives through autograd: reverse, forward, batched, double."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conformance.case import Case
from conformance.report import check, require
from conformance.sample import Kind, Sample, beside, torch


def leaves(case: Case, arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments, the differentiable ones as leaves that ask for a gradient."""
    marked = list(arguments)
    for index in case.differentiable:
        marked[index] = marked[index].detach().requires_grad_()
    return marked


def cotangents_for(outputs: Sequence[Any]) -> list[Any]:
    """Return incoming gradients of size one, the same for the same shapes."""
    return [beside(out, f"cotangent {k}") for k, out in enumerate(outputs)]


def differentiate(
    case: Case,
    outputs: Sequence[Any],
    arguments: Sequence[Any],
    cotangents: Sequence[Any],
    *,
    create_graph: bool = False,
) -> list[Any]:
    """Return the gradients in the differentiable arguments."""
    inputs = [arguments[index] for index in case.differentiable]
    found = torch.autograd.grad(
        outputs,
        inputs,
        cotangents,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return list(found)


def everything(
    case: Case,
    arguments: Sequence[Any],
    sample: Sample,
    incoming: Callable[[Sequence[Any]], list[Any]] = cotangents_for,
) -> list[Any]:
    """Return the outputs and, if an argument asks for it, the gradients."""
    outputs = case.outputs(arguments, sample)
    if not any(getattr(x, "requires_grad", False) for x in arguments):
        return list(outputs)
    smooth = [outputs[k] for k in case.smooth]
    gradients = differentiate(case, smooth, arguments, incoming(smooth))
    return [x.detach() for x in (*outputs, *gradients)]


def _expanded(tensor: Any) -> Any:
    return tensor.mean().expand(tensor.shape)


def _transposed(tensor: Any) -> Any:
    return tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor


def _strided(tensor: Any) -> Any:
    return torch.stack([tensor, tensor], -1)[..., 1]


# How incoming gradients arrive: .sum() expands one number, layers in between permute.
_ARRIVALS = {"plain": lambda t: t, "expanded": _expanded, "transposed": _transposed}
_ARRIVALS["strided"] = _strided


class DerivativeChecks(Case):
    """What autograd makes of the operation."""

    @check(hook="differentiables")
    def test_gradient(self, sample: Sample, kind: Kind) -> None:
        """Gradients lie within tolerance of the reference, however incoming ones are laid out."""
        arguments = leaves(self, kind.arrays(sample))
        outputs = self.smooth_outputs(arguments, sample)
        for name, arrange in _ARRIVALS.items():
            cotangents = [arrange(c) for c in cotangents_for(outputs)]
            got = torch.autograd.grad(
                outputs, [arguments[k] for k in self.differentiable], cotangents, retain_graph=True
            )
            self.judge_gradients(cotangents, arguments, sample, kind, got, name)

    @check(hook="differentiables", dtypes=("float64",))
    def test_gradient_parts(self, sample: Sample, kind: Kind) -> None:
        """One output alone, and one argument alone, have the gradients they have together."""
        arguments = leaves(self, kind.arrays(sample))
        for part in range(len(self.smooth)):
            outputs = self.smooth_outputs(arguments, sample)
            cotangents = cotangents_for(outputs)
            got = differentiate(
                self, outputs[part : part + 1], arguments, cotangents[part : part + 1]
            )
            alone = [c if k == part else torch.zeros_like(c) for k, c in enumerate(cotangents)]
            self.judge_gradients(alone, arguments, sample, kind, got, f"from output {part} alone")
        for index in self.differentiable:
            one = kind.arrays(sample)
            one[index].requires_grad_()
            outputs = self.smooth_outputs(one, sample)
            cotangents = cotangents_for(outputs)
            found = torch.autograd.grad(outputs, one[index], cotangents, materialize_grads=True)
            rest = differentiate(
                self, self.smooth_outputs(arguments, sample), arguments, cotangents
            )
            got = [
                found[0] if k == index else g
                for k, g in zip(self.differentiable, rest, strict=True)
            ]
            self.judge_gradients(cotangents, one, sample, kind, got, f"argument {index} alone")

    @check(hook="differentiables", dtypes=("float64",))
    def test_gradcheck(self, sample: Sample, kind: Kind) -> None:
        """Finite differences agree, in reverse, forward and batched mode."""
        arguments = leaves(self, kind.arrays(sample))
        function, inputs = self.of_differentiable(arguments, sample)
        torch.autograd.gradcheck(
            function,
            inputs,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
            check_undefined_grad=True,
        )

    @check(hook="differentiables", dtypes=("float64",))
    def test_gradgradcheck(self, sample: Sample, kind: Kind) -> None:
        """Finite differences of the gradient agree, reverse and forward over reverse."""
        arguments = leaves(self, kind.arrays(sample))
        function, inputs = self.of_differentiable(arguments, sample)
        torch.autograd.gradgradcheck(
            function, inputs, check_fwd_over_rev=True, check_batched_grad=True
        )
        require(all(out.requires_grad for out in function(*inputs)), "requires_grad", "detached")
