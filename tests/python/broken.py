"""Broken operations: the specimen with one part replaced, for test_conformance_detects.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import logsum
import oracle
import specimen
from conformance import Conformance, Monoid
from conformance.case import WORDS
from specimen import LogSumExp, Sound, logsumexp, share

Call = Callable[..., Any]
_numbers = itertools.count()


def case(**members: Any) -> Conformance:
    """Return the specimen with parts of the case replaced."""
    return type("Broken", (Sound,), {"dtypes": WORDS, **members})()


def calling(call: Call) -> Conformance:
    """Return the specimen with another operation in its place."""
    return case(call=lambda self, a, axis: call(a, axis))


def applying(**members: Any) -> Conformance:
    """Return the specimen with parts of its autograd.Function replaced."""
    methods = {name: staticmethod(f) if callable(f) else f for name, f in members.items()}
    function: Any = type("Broken", (LogSumExp,), methods)
    return calling(lambda a, axis: function.apply(torch.as_tensor(a), axis))


def merging(merge: Callable[..., Any]) -> Conformance:
    """Return the specimen with another merge of float arrays."""
    laws = Sound.monoid
    return case(monoid=Monoid(lambda *s: (merge(*(x for (x,) in s)),), laws.unit, laws.parts))


def in_memory_order(a: Any) -> Any:
    """Return what a kernel sees that takes every array for contiguous."""
    tensor = torch.as_tensor(a)
    strides = torch.empty(tensor.shape, device="meta").stride()
    return torch.as_strided(tensor, tensor.shape, strides)


# ---- broken values ---------------------------------------------------------------------------


def drifting(a: Any, axis: int) -> Any:
    """One chain of float32 sums, of terms that are no powers of two."""
    x = torch.as_tensor(a).float().numpy()
    total = np.add.accumulate(np.exp(x - 1), axis, dtype=np.float32).take(-1, axis)
    out = torch.from_numpy(np.log(total) + 1)
    return out.to(a.dtype) if isinstance(a, torch.Tensor) else out.numpy().astype(a.dtype)


def like(a: Any, tensor: Any) -> Any:
    """Return a tensor as the kind of `a`."""
    return tensor if isinstance(a, torch.Tensor) else tensor.numpy()


def naive(a: Any, axis: int) -> Any:
    """The textbook's formula: overflows, underflows, and has no digits near zero."""
    return like(a, torch.as_tensor(a).exp().sum(axis).log())


def writing(a: Any, axis: int) -> Any:
    """An operation that uses its argument as scratch."""
    out = logsumexp(a, axis)
    a[...] = 0
    return out


def of_other_bits(a: Any, axis: int) -> Any:
    """NumPy's results one ulp away."""
    out = logsumexp(a, axis)
    return out if isinstance(a, torch.Tensor) else np.nextafter(out, np.array(0, out.dtype))


def empty_is_zero(a: Any, axis: int) -> Any:
    """The sum of nothing as 0 rather than -inf."""
    out = logsumexp(a, axis)
    out[out == -np.inf] = 0
    return out


def swallowing_nan(a: Any, axis: int) -> Any:
    """NaN taken for a zero, as by a maximum that compares with <."""
    return like(
        a, logsumexp(torch.as_tensor(a).nan_to_num(-torch.inf, torch.inf, -torch.inf), axis)
    )


def peer(a: Any, axis: int) -> Any:
    """torch.logsumexp itself: its gradient at infinities is NaN."""
    return torch.logsumexp(a, axis)


# ---- broken derivatives ----------------------------------------------------------------------


def pulled(ctx: Any, grad: Any) -> Any:
    """Return the sound gradient."""
    (a,) = ctx.saved_tensors
    return specimen.pull(grad, a, ctx.dim)


def scaled_backward(ctx: Any, grad: Any) -> Any:
    """A gradient that is off by a hundredth."""
    return 1.01 * pulled(ctx, grad), None


def unstrided_backward(ctx: Any, grad: Any) -> Any:
    """Takes the incoming gradient for contiguous."""
    whole = grad.expand(grad.shape).clone() if 0 in grad.stride() else in_memory_order(grad)
    return pulled(ctx, whole), None


def unstrided_argument_backward(ctx: Any, grad: Any) -> Any:
    """Takes the saved argument for contiguous."""
    (a,) = ctx.saved_tensors
    return specimen.pull(grad, in_memory_order(a), ctx.dim), None


def detached_backward(ctx: Any, grad: Any) -> Any:
    """A gradient that is a constant to whoever differentiates it again."""
    return pulled(ctx, grad).detach(), None


def detached_shares_backward(ctx: Any, grad: Any) -> Any:
    """A double backward that forgets that shares depend on the argument."""
    (a,) = ctx.saved_tensors
    return grad.unsqueeze(ctx.dim) * share(a, ctx.dim).detach().to(a.dtype), None


def halved_jvp(ctx: Any, tangent: Any, _: Any) -> Any:
    """Half the directional derivative."""
    return LogSumExp.jvp(ctx, tangent, None) / 2


def infinite_jvp(ctx: Any, tangent: Any, _: Any) -> Any:
    """A directional derivative that multiplies 0 by infinity."""
    (a,) = ctx.saved_tensors
    return (tangent * (a - LogSumExp.apply(a, ctx.dim).unsqueeze(ctx.dim)).exp()).sum(ctx.dim)


def first_axis_vmap(info: Any, in_dims: Any, a: Any, dim: int) -> Any:
    """A batching rule that takes the batch for the first axis."""
    return LogSumExp.apply(a, dim + 1), 0


def twice_wrong_vmap(info: Any, in_dims: Any, a: Any, dim: int) -> Any:
    """A batching rule that is right for one level."""

    class Inner(LogSumExp):
        generate_vmap_rule = False

        @staticmethod
        def vmap(info: Any, in_dims: Any, a: Any, dim: int) -> Any:
            return LogSumExp.apply(a.movedim(in_dims[0], 0), dim), 0

    return Inner.apply(a.movedim(in_dims[0], 0), dim + 1), 0


def detached_vmap(info: Any, in_dims: Any, a: Any, dim: int) -> Any:
    """A batching rule that loses the graph."""
    return LogSumExp.apply(a.movedim(in_dims[0], 0).detach(), dim + 1), 0


class Pair(Sound):
    """Two outputs of two arguments."""

    differentiable = logarithmic = (0, 1)
    smooth = (0, 1)

    def call(self, a: Any, b: Any) -> Any:
        return BrokenPair.apply(a, b)

    def reference(self, a: Any, b: Any) -> Any:
        return oracle.logsumexp(a, 1), oracle.logsumexp(b, 1)

    def gradient(self, cotangents: Any, a: Any, b: Any) -> Any:
        pairs = zip(cotangents, (a, b), strict=True)
        return [oracle.logsumexp_gradient(g, x, 1) for g, x in pairs]

    def samples(self) -> Any:
        values = Sound.samples(self)[0].arguments[0]
        return [specimen.Sample("pair", (values, values - 1))]


def pair(function: Any) -> Conformance:
    """Return the pair with another autograd.Function."""
    return type("Pair", (Pair,), {"call": lambda self, a, b: function.apply(a, b)})()


class BrokenPair(torch.autograd.Function):
    """Sound as long as everything is asked for."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        return specimen.value(a, 1), specimen.value(b, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        a, b = ctx.saved_tensors
        scale = 1 if all(ctx.needs_input_grad) else 2
        return tuple(scale * specimen.pull(g, x, 1) for g, x in zip(grads, (a, b), strict=True))


class BrokenParts(BrokenPair):
    """Takes a missing incoming gradient for the end of the work."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        pulled = BrokenPair.backward(ctx, *grads)
        return pulled if grads[0].any() else tuple(0 * g for g in pulled)


# ---- broken graphs ---------------------------------------------------------------------------


def reading(a: Any, axis: int) -> Any:
    """A decision on data, which no graph can hold."""
    return logsumexp(a, axis) if float(a.max()) < 1e30 else naive(a, axis)


def specialised(a: Any, axis: int) -> Any:
    """A size that becomes a constant of the graph."""
    return logsumexp(a, axis) + 0.0 * len([None] * int(a.shape[axis]))


def compiling(fake: Call) -> Conformance:
    """Return the specimen with another fake of its operator."""
    name = f"specimen::wrong_fake_{next(_numbers)}"
    broken = torch.library.custom_op(name, specimen.value, mutates_args=())
    broken.register_fake(fake)
    broken.register_autograd(specimen.backward, setup_context=specimen.setup)
    return calling(
        lambda a, axis: (broken if torch.compiler.is_compiling() else logsumexp)(a, axis)
    )


# ---- broken machines -------------------------------------------------------------------------


def of_threads(a: Any, axis: int) -> Any:
    """A result that depends on the number of threads."""
    return logsumexp(a, axis) + np.float32(1e-5) * logsum.get_num_threads()


def of_target(a: Any, axis: int) -> Any:
    """A result that is off on the least CPU target."""
    config = logsum._core.config()
    return logsumexp(a, axis) + 0.01 * (config.cpu_target == config.cpu_targets[-1])


def hungry(a: Any, axis: int) -> Any:
    """Twelve float64 copies of the argument at once."""
    copies = [torch.as_tensor(a).double() + k for k in range(12)]
    return like(a, logsumexp(copies[0].to(torch.as_tensor(a).dtype), axis))


def keeping(a: Any, axis: int) -> Any:
    """A graph that keeps forty arrays of the argument's size."""
    out = logsumexp(a, axis)
    if not a.requires_grad:
        return out
    ghosts = a
    for _ in range(40):
        ghosts = ghosts.sin()
    return out + 0 * ghosts.sum()


def biased(*states: Any) -> Any:
    """A merge that weighs by position."""
    return sum((x / 2**k for k, x in enumerate(states)), start=0 * states[0])


def dirty(*states: Any) -> Any:
    """A merge that rounds even where there is nothing to add."""
    (out,) = specimen.merge(*((x,) for x in states))
    return out * (1 + 2e-3)
