"""The paths that a call on tensors takes, and what may stand around it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logsum
from tensors import torch

if torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)

from torch.autograd import forward_ad

from logsum.torch._operator import Operator, is_direct
from logsum.torch._sum import logsumexp_operator

A = torch.tensor(np.random.default_rng(24).normal(size=(3, 4)))
PAIRS = logsum.Genred("SqDist(x, y)", ["x = Vi(4)", "y = Vj(4)"], "LogSumExp", axis=1)
CALLS: dict[str, tuple[Callable[..., Any], int]] = {
    "logsumexp": (lambda a: logsum.logsumexp(a, 1), 1),
    "where": (lambda a: logsum.logsumexp(a, 1, where=A > -1), 1),
    "weighted": (lambda a, b: logsum.logsumexp(a, 1, b=b, return_sign=True)[0], 2),
    "softmax": (lambda a: logsum.softmax(a, 0), 1),
    "log_softmax": (lambda a: logsum.log_softmax(a, 0), 1),
    "logaddexp": (logsum.logaddexp, 2),
    "logmatmulexp": (lambda a, b: logsum.logmatmulexp(a, b.mT), 2),
    "logmatmulexp of max": (lambda a, b: logsum.logmatmulexp(a, b.mT, semiring="max"), 2),
    "merge": (lambda a, b: logsum.merge(a, b), 2),
    "Genred": (lambda a, b: PAIRS(a, b), 2),
    "merge means": (lambda a, b: logsum.merge((a, a[:, 0]), (b, b[:, 0]))[0], 2),
}
every_call = pytest.mark.parametrize(("call", "count"), CALLS.values(), ids=CALLS.keys())


def arguments(count: int) -> list[Any]:
    """Return tensors that differ."""
    return [A * (k + 1) for k in range(count)]


class Calls(torch.utils._python_dispatch.TorchDispatchMode):
    """A mode that sees calls to registered operators."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None):  # noqa: ANN204
        self.seen.append(function.name())
        return function(*args, **(kwargs or {}))


class TestDirect:
    """Plain tensors go straight to C++."""

    @pytest.mark.parametrize(
        "tensor",
        [
            A,
            A[:, ::2],
            A.expand(2, 3, 4),
            A.T,
            torch.nn.Parameter(A, requires_grad=False),
            A.to(torch.bfloat16),
            torch.empty(0),
        ],
        ids=["plain", "slice", "expanded", "transposed", "parameter", "bfloat16", "empty"],
    )
    def test_what_is(self, tensor: Any) -> None:
        assert is_direct((tensor, None, (0,)))
        with torch.inference_mode():
            assert is_direct((tensor + 0,))

    def test_what_is_not(self) -> None:
        asking = A.clone().requires_grad_()
        assert not is_direct((asking,))
        with torch.no_grad():
            assert is_direct((asking,))
        assert not is_direct((A.to_sparse(),))
        assert not is_direct((A.to("meta"),))
        assert not is_direct((torch._efficientzerotensor(3),))
        assert not is_direct(((A + 0j).conj().imag,))  # negated when read
        assert not is_direct((A.as_subclass(Plain),))
        with Calls():
            assert not is_direct((A,))
        with torch.device("cpu"):  # a mode over torch functions
            assert not is_direct((A,))
        with forward_ad.dual_level():
            assert not is_direct((A,))
        torch.vmap(lambda row: assert_false(is_direct((row,))))(A)
        torch.func.grad(lambda a: assert_false(is_direct((a,))))(A.sum())

    @every_call
    def test_no_grad_is_direct(self, call: Callable[..., Any], count: int) -> None:
        asking = [a.requires_grad_() for a in arguments(count)]
        with torch.no_grad():
            out = call(*asking)
        assert not out.requires_grad
        assert torch.equal(out, call(*arguments(count)))
        assert torch.equal(out, call(*asking))


def assert_false(value: bool) -> Any:
    """Assert inside of a transform, which wants a number back."""
    assert not value
    return torch.zeros(())


class Plain(torch.Tensor):
    """A subclass that changes nothing."""


class TestAround:
    """Modes, subclasses, fake and lazy tensors."""

    @every_call
    def test_modes_see_the_operator(self, call: Callable[..., Any], count: int) -> None:
        with Calls() as mode:
            out = call(*arguments(count))
        assert any(name.startswith("logsum::") for name in mode.seen)
        assert torch.equal(out, call(*arguments(count)))

    @pytest.mark.parametrize("asking", [False, True])
    @every_call
    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # shapes are constants of it
    def test_traces_hold_the_operator(
        self, call: Callable[..., Any], count: int, asking: bool
    ) -> None:
        """Memory that C++ fills behind torch.jit.trace's back would be all that it sees."""
        inputs = tuple(a.requires_grad_(asking) for a in arguments(count))
        traced = torch.jit.trace(call, inputs, check_trace=False)
        others = [a.detach() + 1 for a in inputs]
        torch.testing.assert_close(traced(*others), call(*others))

    @every_call
    def test_modes_with_gradients(self, call: Callable[..., Any], count: int) -> None:
        def gradient() -> Any:
            asking = [a.requires_grad_() for a in arguments(count)]
            return torch.autograd.grad(call(*asking).sin().sum(), asking)

        with Calls():
            inside = gradient()
        torch.testing.assert_close(inside, gradient())

    @every_call
    def test_subclass_stays(self, call: Callable[..., Any], count: int) -> None:
        out = call(*(a.as_subclass(Plain) for a in arguments(count)))
        assert type(out) is Plain
        assert torch.equal(out.as_subclass(torch.Tensor), call(*arguments(count)))

    @every_call
    def test_shapes_without_values(self, call: Callable[..., Any], count: int) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        expected = call(*arguments(count))
        metas = [a.to("meta").requires_grad_() for a in arguments(count)]
        if call is not CALLS["where"][0]:
            out = call(*metas)
            assert (out.shape, out.dtype, out.device.type) == (
                expected.shape,
                expected.dtype,
                "meta",
            )
            grads = torch.autograd.grad(out.sum(), metas)
            assert [g.shape for g in grads] == [a.shape for a in metas]
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            out = call(*(mode.from_tensor(a) for a in arguments(count)))
            assert (out.shape, out.stride(), out.dtype) == (
                expected.shape,
                expected.stride(),
                expected.dtype,
            )

    def test_negated_view(self) -> None:
        lazy = (torch.zeros_like(A) + 1j * A).conj().imag
        assert lazy.is_neg()
        assert torch.equal(logsum.logsumexp(lazy, 1), logsum.logsumexp(-A, 1))

    @every_call
    def test_autocast_changes_nothing(self, call: Callable[..., Any], count: int) -> None:
        plain = [a.float() for a in arguments(count)]
        with torch.autocast("cpu", torch.bfloat16):
            out = call(*plain)
        assert torch.equal(out, call(*plain))

    def test_default_device_is_a_mode_too(self) -> None:
        with torch.device("meta"):
            assert torch.equal(logsum.logsumexp(A, 1), logsum.logsumexp(A, 1))

    def test_checkpointing(self) -> None:
        from torch.utils.checkpoint import checkpoint

        a = A.clone().requires_grad_()
        (grad,) = torch.autograd.grad(
            checkpoint(logsum.softmax, a, use_reentrant=False).sin().sum(), a
        )
        (expected,) = torch.autograd.grad(logsum.softmax(a).sin().sum(), a)
        assert torch.equal(grad, expected)


class TestNesting:
    """Where torch's own machinery has gaps."""

    @every_call
    def test_forward_over_forward(self, call: Callable[..., Any], count: int) -> None:
        # autograd.Function turns the outer level's tangents to zero, silently (torch 2.13).
        def scalar(*a: Any) -> Any:
            return call(*a).sin().sum()

        which = tuple(range(count))
        twice = torch.func.jacfwd(torch.func.jacfwd(scalar, which), which)(*arguments(count))
        expected = torch.autograd.functional.hessian(scalar, tuple(arguments(count)))
        torch.testing.assert_close(twice, expected)

    @every_call
    def test_pullback_outlives_its_transform(self, call: Callable[..., Any], count: int) -> None:
        out, pullback = torch.func.vjp(call, *arguments(count))
        incoming = torch.ones_like(out, requires_grad=True)
        grads = pullback(incoming)
        asking = [a.requires_grad_() for a in arguments(count)]
        expected = torch.autograd.grad(call(*asking).sum(), asking)
        torch.testing.assert_close([g.detach() for g in grads], list(expected))

    def test_constant_beside_a_transform(self) -> None:
        inner = torch.func.grad(lambda a: logsum.logaddexp(a, logsum.logsumexp(A)))
        torch.testing.assert_close(
            inner(torch.tensor(0.0, dtype=A.dtype)), torch.sigmoid(-torch.logsumexp(A, (0, 1)))
        )

    @every_call
    def test_third_order(self, call: Callable[..., Any], count: int) -> None:
        def scalar(a: Any) -> Any:
            return call(a, *arguments(count)[1:]).sin().sum()

        small = arguments(count)[0]
        directions = torch.ones_like(small), torch.arange(12.0, dtype=A.dtype).reshape(3, 4)

        def along(f: Any, direction: Any) -> Any:
            return lambda a: torch.func.jvp(f, (a,), (direction,))[1]

        forward = torch.func.grad(along(along(scalar, directions[0]), directions[1]))(small)
        backward = torch.func.grad(
            lambda a: (
                torch.func.grad(lambda a: (torch.func.grad(scalar)(a) * directions[0]).sum())(a)
                * directions[1]
            ).sum()
        )(small)
        torch.testing.assert_close(forward, backward)


def moved_by_transform(a: Any) -> Any:
    """Return the tangent of logsumexp along its own argument."""
    return torch.func.jvp(lambda a: logsum.logsumexp(a, 1), (a,), (a,))[1]


def moved_by_level(a: Any) -> Any:
    """Return the same."""
    with forward_ad.dual_level():
        out = logsum.logsumexp(forward_ad.make_dual(a, a.clone()), 1)
        return forward_ad.unpack_dual(out).tangent


def moved(by_level: bool, call: Callable[..., Any], arrays: Any, tangents: Any) -> Any:
    """Return the tangent of a call, by a level of forward mode or by a transform."""
    if not by_level:
        return torch.func.jvp(call, tuple(arrays), tuple(tangents))[1]
    with forward_ad.dual_level():
        out = call(*map(forward_ad.make_dual, arrays, tangents))
        return forward_ad.unpack_dual(out).tangent


@pytest.mark.parametrize("by_level", [False, True])
class TestComplexTangents:
    """Torch's own operators drop the imaginary part, or fail somewhere within."""

    @every_call
    def test_they_are_refused(self, call: Callable[..., Any], count: int, by_level: bool) -> None:
        given = arguments(count)
        with pytest.raises(TypeError, match=r"tangent of .*: expected float16, .*complex128"):
            moved(by_level, call, given, [a + 1j for a in given])

    def test_names(self, by_level: bool) -> None:
        def attend(q: Any, slope: Any) -> Any:
            return logsum.attention(q, q, q, score="s * slope(h)", score_args={"slope": slope})

        q, slope = torch.ones(1, 1, 2, 3), torch.ones(1)
        floats = "expected float16, bfloat16, float32 or float64, got torch.complex64"
        for found, call, arrays, place in (
            ("attention: tangent of q", attend, (q, slope), 0),
            (r"attention: tangent of score_args\[0\]", attend, (q, slope), 1),
            ("Genred: tangent of y", PAIRS, (A.float(), A.float()), 1),
        ):
            tangents = [x + 0j if k == place else x for k, x in enumerate(arrays)]
            with pytest.raises(TypeError, match=f"{found}: {floats}"):
                moved(by_level, call, arrays, tangents)


class TestCompiledForwardMode:
    """A registered operator has no forward mode, so none is put into a graph for it."""

    @pytest.mark.parametrize("moved", [moved_by_transform, moved_by_level])
    def test_it_breaks_the_graph(self, moved: Any) -> None:
        torch._dynamo.reset()
        got = torch.compile(moved, backend="aot_eager")(A)
        torch.testing.assert_close(got, (A.softmax(1) * A).sum(1))

    @pytest.mark.parametrize("moved", [moved_by_transform, moved_by_level])
    def test_it_does_not_compile_whole(self, moved: Any) -> None:
        torch._dynamo.reset()
        with pytest.raises(RuntimeError, match="logsumexp: forward mode does not compile"):
            torch.compile(moved, backend="aot_eager", fullgraph=True)(A)

    def test_genred(self) -> None:
        """Of programs in C++, which take a way of their own."""
        args = tuple(arguments(2))
        torch._dynamo.reset()

        def moved(*args: Any) -> Any:
            return torch.func.jvp(PAIRS, args, args)[1] * 2

        want = moved(*args)
        torch.testing.assert_close(torch.compile(moved, backend="aot_eager")(*args), want)
        torch._dynamo.reset()
        with pytest.raises(RuntimeError, match="Genred: forward mode does not compile"):
            torch.compile(moved, backend="aot_eager", fullgraph=True)(*args)

    def test_level_outside(self) -> None:
        """What was compiled without a level is not taken for a call inside of one."""
        torch._dynamo.reset()
        run = torch.compile(lambda a: logsum.logsumexp(a, 1), backend="aot_eager")
        torch.testing.assert_close(run(A), A.logsumexp(1))
        with forward_ad.dual_level():
            got = forward_ad.unpack_dual(run(forward_ad.make_dual(A, A.clone()))).tangent
        torch.testing.assert_close(got, (A.softmax(1) * A).sum(1))


def test_every_operator_is_registered() -> None:
    importlib.import_module("logsum.torch._face")  # which imports all

    def subclasses(kind: type) -> set[type]:
        return {kind, *(found for child in kind.__subclasses__() for found in subclasses(child))}

    declared = {kind for kind in subclasses(Operator) if "schema" in vars(kind)}
    names = {kind.schema.partition("(")[0] for kind in declared}  # type: ignore[attr-defined]
    assert names == {
        "attention",
        "attention_backward",
        "attention_backward_tangent",
        "attention_tangent",
        "backward_scores",
        "ctc_align",
        "ctc_decode",
        "ctc_loss",
        "ctc_loss_tangent",
        "forward_scores",
        "logZ",
        "logZ_covariance",
        "log_softmax",
        "log_softmax_backward",
        "logaddexp",
        "logmatmulexp",
        "logmatmulexp_max",
        "logmatmulexp_mean",
        "logsumexp",
        "logsumexp_backward",
        "logsumexp_weighted",
        "logsumexp_weighted_backward",
        "merge",
        "merge_lse",
        "reduce",
        "softmax",
        "softmax_backward",
        "viterbi",
    }
    for name in names:
        assert hasattr(torch.ops.logsum, name)
    out = torch.ops.logsum.logsumexp(A, None, [-1])
    assert torch.equal(out, logsumexp_operator(A, None, (-1,)))
