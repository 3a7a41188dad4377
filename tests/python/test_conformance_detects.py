"""Every check of the conformance suite can fail: each fails on an operation broken for it.

The sound specimen passes all of them, so that what a check finds is the one defect put in.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import logsum  # noqa: E402
import oracle  # noqa: E402
import specimen  # noqa: E402
from conformance import Conformance, Failure, Monoid, checks  # noqa: E402
from conformance.case import WORDS  # noqa: E402
from specimen import LogSumExp, Sound, logsumexp, share  # noqa: E402

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
    function = type("Broken", (LogSumExp,), methods)
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
    return like(a, logsumexp(torch.as_tensor(a).nan_to_num(-torch.inf, torch.inf, -torch.inf), axis))


def peer(a: Any, axis: int) -> Any:
    """torch.logsumexp itself: its gradient at infinities is NaN."""
    return torch.logsumexp(a, axis)


# ---- broken derivatives ----------------------------------------------------------------------


def scaled_backward(ctx: Any, grad: Any) -> Any:
    """A gradient that is off by a hundredth."""
    return 1.01 * specimen.pull(grad, *ctx.saved_tensors, ctx.dim), None


def unstrided_backward(ctx: Any, grad: Any) -> Any:
    """Takes the incoming gradient for contiguous."""
    whole = grad.expand(grad.shape).clone() if 0 in grad.stride() else in_memory_order(grad)
    return specimen.pull(whole, *ctx.saved_tensors, ctx.dim), None


def unstrided_argument_backward(ctx: Any, grad: Any) -> Any:
    """Takes the saved argument for contiguous."""
    (a,) = ctx.saved_tensors
    return specimen.pull(grad, in_memory_order(a), ctx.dim), None


def detached_backward(ctx: Any, grad: Any) -> Any:
    """A gradient that is a constant to whoever differentiates it again."""
    return specimen.pull(grad, *ctx.saved_tensors, ctx.dim).detach(), None


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
    return calling(lambda a, axis: (broken if torch.compiler.is_compiling() else logsumexp)(a, axis))


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


# For each check, what it must find and words of what it then says.
DEFECTS: dict[str, list[tuple[Conformance, str]]] = {
    "test_value": [
        (calling(lambda a, axis: logsumexp(a, axis) + 0.1), "off by 0.1"),
        (calling(lambda a, axis: logsumexp(a, axis) * np.float64(1)), "got float64"),
        (calling(lambda a, axis: logsumexp(a, axis)[..., None]), r"shape \(3,\)"),
    ],
    "test_near_zero": [(calling(naive), "got 0.0")],
    "test_constant": [(calling(drifting), "off by 0.0004")],
    "test_empty": [(calling(empty_is_zero), "expected -inf .* got 0.0")],
    "test_kind": [
        (calling(lambda a, axis: logsumexp(torch.as_tensor(a), axis)), "got Tensor"),
        (calling(writing), "arguments written to"),
        (calling(lambda a, axis: a[:, 0]), "expected memory of its own"),
    ],
    "test_numpy_and_torch": [(calling(of_other_bits), "as NumPy")],
    "test_special_value": [
        (calling(naive), "got -?inf"),
        (calling(swallowing_nan), "NaN in .* expected nan"),
    ],
    "test_special_gradient": [(calling(peer), "a slice of -inf in .* got nan")],
    "test_special_forward": [
        (calling(peer), "a slice of -inf in .* got nan"),
        (applying(jvp=infinite_jvp), "a slice of -inf in .* got nan"),
    ],
    "test_special_double_backward": [(calling(peer), "expected finite, got")],
    "test_strides": [
        (calling(lambda a, axis: like(a, logsumexp(in_memory_order(a), axis))), "transposed")
    ],
    "test_strides_gradient": [
        (applying(backward=unstrided_argument_backward), "transposed .* gradient in")
    ],
    "test_gradient": [
        (applying(backward=scaled_backward), "plain gradient in"),
        (applying(backward=unstrided_backward), "strided gradient in"),
    ],
    "test_gradient_parts": [
        (Pair(), "argument 0 alone"),
        (pair(BrokenParts), "from output 1 alone"),
    ],
    "test_gradcheck": [
        (applying(backward=scaled_backward), "Jacobian mismatch"),
        (applying(jvp=torch.autograd.Function.jvp), "implement the jvp"),
        (applying(jvp=halved_jvp), "with forward mode mismatch"),
    ],
    "test_gradgradcheck": [
        (applying(backward=detached_backward), "Numerical gradient"),
        (applying(backward=detached_shares_backward), "Jacobian mismatch"),
    ],
    # An operator with register_autograd alone has no torch.func.grad, and zeros for jvp.
    "test_func_reverse": [(calling(specimen.operator), "must override the setup_context")],
    "test_func_forward": [
        (calling(specimen.operator), "got 0.0"),
        (applying(jvp=halved_jvp), "<c, J t>"),
    ],
    "test_func_nested": [(applying(backward=detached_shares_backward), "against jacrev")],
    "test_vmap": [(applying(generate_vmap_rule=False, vmap=first_axis_vmap), r"in_dims=\(1,\)")],
    "test_vmap_nested": [(applying(generate_vmap_rule=False, vmap=twice_wrong_vmap), "vmap")],
    "test_vmap_derivatives": [
        (applying(generate_vmap_rule=False, vmap=detached_vmap), r"grad\(vmap\)")
    ],
    "test_compile": [(calling(reading), "data-dependent")],
    "test_compile_dynamic": [
        (calling(specialised), "Recompiling"),
        (compiling(lambda a, dim: a.new_empty(3)), "Recompiling"),
    ],
    "test_operators": [
        (calling(peer), "a graph without one"),
        (compiling(lambda a, dim: specimen.fake(a, dim).double()), "test_faketensor"),
        (compiling(lambda a, dim: a.new_empty(6)[::2]), "test_faketensor"),
    ],
    "test_threads": [(calling(of_threads), "2 threads")],
    "test_targets": [(calling(of_target), "off by 0.01")],
    "test_targets_threads": [(calling(of_threads), "2 threads")],
    "test_merge_whole": [(merging(lambda *states: states[0]), "parts merged")],
    "test_merge_associative": [(merging(biased), "a b")],
    "test_merge_commutative": [(merging(biased), "a b = b a")],
    "test_merge_unit": [(merging(dirty), "expected")],
    "test_memory": [(calling(hungry), "kB")],
    "test_memory_gradient": [(calling(keeping), "kB")],
}


def run(conformance: Conformance, method: str) -> None:
    """Run one check of a case over all its points."""
    for sample, kind in conformance.points(checks(Conformance)[method]):
        getattr(conformance, method)(sample, kind)


def test_every_check_has_a_defect() -> None:
    assert set(DEFECTS) == set(checks(Conformance))


@pytest.mark.parametrize("method", DEFECTS)
def test_sound_operation_passes(method: str) -> None:
    run(Sound(), method)


@pytest.mark.parametrize(
    ("method", "broken", "words"),
    [(method, *defect) for method, defects in DEFECTS.items() for defect in defects],
)
def test_broken_operation_fails(method: str, broken: Conformance, words: str) -> None:
    with pytest.raises(Failure) as caught:
        run(broken, method)
    message = str(caught.value)
    # Operation, sample, kind, check, expected and got: all must be there.
    check = method.removeprefix("test_")
    assert re.match(rf"specimen \[.*; .*\] fails {check}.*: expected .*, got ", message, re.DOTALL)
    assert re.search(words, message, re.DOTALL)
