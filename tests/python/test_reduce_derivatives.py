"""Derivatives of reductions of formulas, beside those of all M N values in torch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import logsum
from formulas import FUNCTIONS, OPERATORS, Formula
from tensors import torch

if torch is None:
    pytest.skip("torch is not installed", allow_module_level=True)

import reduce_oracle

EVERY = {**FUNCTIONS, **OPERATORS}
SMOOTH = ("Sum", "LogSumExp", "LogSumExpWeight", "SumSoftMaxWeight", "Min", "Max", "KMin")
both_axes = pytest.mark.parametrize("axis", [0, 1])
# Some hundred roundings of float64, of numbers of size one.
CLOSE = {"rtol": 1e-11, "atol": 1e-11}
PAIRS = Formula("SqDist(x, y) * s - x * y", ("x = Vi(2)", "y = Vj(2)", "s = Pm(1)"))
SCALAR = Formula("x * y * s + x", ("x = Vi(1)", "y = Vj(1)", "s = Pm(1)"))


def parts(op: str) -> dict[str, Any]:
    """Return what a reduction needs beside its formula."""
    if op in ("LogSumExpWeight", "SumSoftMaxWeight"):
        return {"formula2": "Exp(x - y)" if op == "LogSumExpWeight" else "Concat(x * s, Sin(y))"}
    return {"opt_arg": 3} if op == "KMin" else {}


def formula_for(op: str) -> Formula:
    return SCALAR if "formula2" in parts(op) else PAIRS


def leaves(arrays: list[Any]) -> list[Any]:
    return [torch.tensor(x).requires_grad_() for x in arrays]


def normal_like(x: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape, dtype=x.dtype, generator=generator)


def first_and_second(value: Any, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the gradients of <c, value> and of a functional of those."""
    options = {"allow_unused": True, "materialize_grads": True}
    cotangent = normal_like(value, 1).requires_grad_()
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in inputs], []
    first = torch.autograd.grad(value, inputs, cotangent, create_graph=True, **options)
    scalar = sum((normal_like(g, k) * g).sum() for k, g in enumerate(first))
    if not scalar.requires_grad:
        return list(first), []
    return list(first), list(torch.autograd.grad(scalar, [*inputs, cotangent], **options))


def judge(formula: Formula, op: str, axis: int, arrays: list[Any], **options: Any) -> None:
    """Fail unless gradients of two orders are those of the oracle."""
    call = logsum.Genred(formula.text, formula.aliases, op, axis, **options)
    inputs = leaves(arrays)
    (expected,) = reduce_oracle.genred(formula.text, formula.aliases, op, axis, inputs, **options)
    wants = first_and_second(expected, inputs)
    haves = first_and_second(call(*inputs), inputs)
    for name, want, have in zip(("first", "second"), wants, haves, strict=True):
        for k, x in enumerate(want):
            got = have[k] if have else torch.zeros_like(x)
            torch.testing.assert_close(
                got, x, **CLOSE, msg=lambda text, k=k, name=name: f"{name} of {k}: {text}"
            )


@pytest.mark.parametrize("name", EVERY)
@both_axes
def test_formulas(name: str, axis: int) -> None:
    formula = EVERY[name]
    judge(formula, "Sum", axis, formula.arrays(seed=6))


@pytest.mark.parametrize("name", EVERY)
def test_formulas_in_a_logsumexp(name: str) -> None:
    formula = EVERY[name]
    judge(formula, "LogSumExp", 1, formula.arrays(seed=7))


@pytest.mark.parametrize("op", SMOOTH)
@both_axes
def test_reductions(op: str, axis: int) -> None:
    formula = formula_for(op)
    judge(formula, op, axis, formula.arrays(seed=8), **parts(op))


@pytest.mark.parametrize("op", SMOOTH)
@both_axes
def test_batches(op: str, axis: int) -> None:
    """A gradient is summed over the batch axes that its argument has not."""
    formula = formula_for(op)
    for batch in ({"x": (3,)}, {"x": (2, 1), "s": (4,)}, {"x": (1, 3), "y": (2, 1), "s": (2, 3)}):
        judge(formula, op, axis, formula.arrays(batch=batch), **parts(op))


@pytest.mark.parametrize("op", SMOOTH)
def test_third_derivatives(op: str) -> None:
    formula = formula_for(op)
    call = logsum.Genred(formula.text, formula.aliases, op, 1, **parts(op))
    inputs = leaves(formula.arrays(seed=9))

    def third(value: Any) -> list[Any]:
        total = (value * normal_like(value, 2)).sum().exp()
        for order in range(3):
            found = torch.autograd.grad(
                total, inputs, create_graph=True, allow_unused=True, materialize_grads=True
            )
            total = sum((normal_like(g, k + order) * g.sin()).sum() for k, g in enumerate(found))
        return list(found)

    (expected,) = reduce_oracle.genred(formula.text, formula.aliases, op, 1, inputs, **parts(op))
    scale = max(float(g.detach().abs().max()) for g in third(expected))
    for got, want in zip(third(call(*inputs)), third(expected), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("op", SMOOTH)
@both_axes
def test_forward_mode(op: str, axis: int) -> None:
    formula = formula_for(op)
    call = logsum.Genred(formula.text, formula.aliases, op, axis, **parts(op))
    inputs = tuple(torch.tensor(x) for x in formula.arrays(seed=10))
    tangents = tuple(normal_like(x, k) for k, x in enumerate(inputs))

    def oracle(*x: Any) -> Any:
        return reduce_oracle.genred(formula.text, formula.aliases, op, axis, x, **parts(op))[0]

    _, want = torch.autograd.functional.jvp(oracle, inputs, tangents)
    _, got = torch.func.jvp(call, inputs, tangents)
    torch.testing.assert_close(got, want, **CLOSE)
    for k in range(3):
        alone = [t if k == n else torch.zeros_like(t) for n, t in enumerate(tangents)]
        _, want = torch.autograd.functional.jvp(oracle, inputs, tuple(alone))
        _, got = torch.func.jvp(
            lambda x, k=k: call(*inputs[:k], x, *inputs[k + 1 :]), (inputs[k],), (tangents[k],)
        )
        torch.testing.assert_close(got, want, **CLOSE)


@both_axes
def test_one_minimum(axis: int) -> None:
    """KMin with K = 1 has the derivatives of Min, in both directions."""
    x, y, s = (torch.tensor(a) for a in SCALAR.arrays(seed=16))
    least = logsum.Genred(SCALAR.text, SCALAR.aliases, "Min", axis)
    one = logsum.Genred(SCALAR.text, SCALAR.aliases, "KMin", axis, opt_arg=1)
    tangents = tuple(normal_like(a, k) for k, a in enumerate((x, y, s)))
    for got, want in zip(
        torch.func.jvp(one, (x, y, s), tangents),
        torch.func.jvp(least, (x, y, s), tangents),
        strict=True,
    ):
        torch.testing.assert_close(got, want, **CLOSE)
    judge(SCALAR, "KMin", axis, SCALAR.arrays(seed=16), opt_arg=1)


def test_made_while_compiling() -> None:
    """A Genred may be made in a compiled function."""

    def loss(x: Any, y: Any) -> Any:
        return logsum.Genred("x * y", ["x = Vi(1)", "y = Vj(1)"], "LogSumExp", axis=1)(x, y).sum()

    torch._dynamo.reset()
    x, y, _ = leaves(SCALAR.arrays(seed=17))
    whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
    got = torch.autograd.grad(whole(x, y), (x, y))
    for pair in zip(got, torch.autograd.grad(loss(x, y), (x, y)), strict=True):
        torch.testing.assert_close(*pair)


def test_only_what_is_needed_is_computed() -> None:
    """One pass makes the gradients that are asked for, and no other."""
    call = logsum.Genred(PAIRS.text, PAIRS.aliases, "LogSumExp", axis=1)
    x, y, s = (torch.tensor(a) for a in PAIRS.arrays())
    for k, one in enumerate((x, y, s)):
        inputs = [x, y, s]
        inputs[k] = one.clone().requires_grad_()
        torch.autograd.backward(call(*inputs).sum())
        assert [a.grad is None for a in inputs] == [n != k for n in range(3)]
    derived = {step for step in call._program._derived if step.startswith("gradient")}
    assert derived == {"gradient 0", "gradient 1", "gradient 2"}


def test_expanded_gradients() -> None:
    call = logsum.Genred(PAIRS.text, PAIRS.aliases, "LogSumExp", axis=0)
    inputs = leaves(PAIRS.arrays(seed=11))
    value = call(*inputs)
    one = torch.ones((), dtype=torch.float64)
    got = torch.autograd.grad(value, inputs, one.expand(value.shape), retain_graph=True)
    want = torch.autograd.grad(value, inputs, torch.ones_like(value))
    for pair in zip(got, want, strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=0)


def test_gradients_of_infinite_terms() -> None:
    """-inf is a zero also where the formula's slope is infinite; +inf shares equally."""
    aliases = ["x = Vi(1)", "y = Vj(1)"]
    call = logsum.Genred("x + Log(y)", aliases, "LogSumExp", axis=1)
    x = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64, requires_grad=True)
    by_x, by_y = torch.autograd.grad(call(x, y).sum(), (x, y))
    assert by_x.flatten().tolist() == [1.0, 1.0]
    torch.testing.assert_close(by_y.flatten(), torch.tensor([0.0, 0.5, 0.5]).double())
    z = torch.tensor([[0.0], [torch.inf], [torch.inf]], dtype=torch.float64, requires_grad=True)
    plain = logsum.Genred("x + y", aliases, "LogSumExp", axis=1)
    by_x, by_z = torch.autograd.grad(plain(x, z).sum(), (x, z))
    assert by_x.flatten().tolist() == [1.0, 1.0]
    assert by_z.flatten().tolist() == [0.0, 1.0, 1.0]
    w = torch.full((3, 1), -torch.inf, dtype=torch.float64, requires_grad=True)
    by_x, by_w = torch.autograd.grad(plain(x, w).sum(), (x, w))
    assert not by_x.any()
    assert not by_w.any()


def test_masked_terms_have_no_gradient() -> None:
    """NaN and infinities behind a mask stay there."""
    call = logsum.Genred("x * y + Log(j < 2)", ["x = Vi(1)", "y = Vj(1)"], "LogSumExp", axis=1)
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1.0], [3.0], [1e300]], dtype=torch.float64, requires_grad=True)
    by_x, by_y = torch.autograd.grad(call(x, y).sum(), (x, y))
    dense = torch.logsumexp(x * y[:2].T, 1)
    want_x, want_y = torch.autograd.grad(dense.sum(), (x, y))
    torch.testing.assert_close(by_x, want_x)
    torch.testing.assert_close(by_y, want_y)


@both_axes
def test_gradients_that_share_sums(axis: int) -> None:
    """Several variables of one index, and a factor that is infinite where nothing takes part."""
    aliases = ["x = Vi(1)", "u = Vi(1)", "y = Vj(1)", "a = Vj(1)", "w = Vj(1)", "p = Pm(1)"]
    call = logsum.Genred("Log(w) - Square(p - a) * Square(x - u * y)", aliases, "LogSumExp", axis)
    generator = torch.Generator().manual_seed(2)
    x, u, y, a, w, p = (
        torch.rand(shape, dtype=torch.float64, generator=generator)
        for shape in ((300, 1), (300, 1), (700, 1), (700, 1), (700, 1), (1,))
    )
    w[::3] = 0
    inputs = [z.requires_grad_() for z in (x, u, y, a, w, p)]
    value = call(*inputs)
    some = w[:, 0] > 0
    dense = torch.log(w[some].T) - (p - a[some].T) ** 2 * (x - u * y[some].T) ** 2
    want = torch.logsumexp(dense, axis).sum()
    got = torch.autograd.grad(value[torch.isfinite(value)].sum(), inputs)
    for gradient, expected in zip(got, torch.autograd.grad(want, inputs), strict=True):
        torch.testing.assert_close(gradient, expected, **CLOSE)


def test_large_values_have_exact_shares() -> None:
    """A gradient at values near 1e4 in float32 is right to 1e-6: lse and residual are both kept."""
    generator = torch.Generator().manual_seed(0)
    x, y = (1e4 + torch.rand(n, 1, generator=generator) for n in (50, 600))
    call = logsum.Genred("x + y", ["x = Vi(1)", "y = Vj(1)"], "LogSumExp", axis=1)
    x.requires_grad_()
    (got,) = torch.autograd.grad(call(x, y).sum(), x)
    torch.testing.assert_close(got, torch.ones_like(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("op", SMOOTH)
def test_narrow_dtypes(op: str, dtype: Any) -> None:
    """Gradients have their argument's dtype, and are rounded once."""
    formula = formula_for(op)
    call = logsum.Genred(formula.text, formula.aliases, op, 1, **parts(op))
    narrow = [torch.tensor(x, dtype=dtype).requires_grad_() for x in formula.arrays(seed=12)]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    got, want = call(*narrow), call(*wide)
    assert got.dtype == dtype
    cotangent = normal_like(want, 3).to(dtype)
    pairs = zip(
        torch.autograd.grad(got, narrow, cotangent),
        torch.autograd.grad(want, wide, cotangent.double()),
        strict=True,
    )
    unit = torch.finfo(dtype).eps
    for have, expected in pairs:
        assert have.dtype == dtype
        size = float(expected.abs().max())
        torch.testing.assert_close(have.double(), expected, rtol=unit, atol=32 * unit * size)


def test_autocast() -> None:
    """Operands that autocast left in two dtypes are taken to the wider one."""
    x, y, s = (torch.tensor(a, dtype=torch.float32) for a in PAIRS.arrays(seed=13))
    call = logsum.Genred(PAIRS.text, PAIRS.aliases, "LogSumExp", axis=1)
    half = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = call(half, y, s)
        assert torch.equal(call(x, y, s), call(x, y, s))
    assert value.dtype == torch.float32
    value.sum().backward()
    assert half.grad.dtype == torch.bfloat16
    with pytest.raises(TypeError, match=r"Genred: y: expected x's dtype torch\.bfloat16"):
        call(half, y, s)


def test_compiled_training() -> None:
    """A compiled loss with its gradient, dynamic sizes and a pickled reduction."""
    call = pickle.loads(
        pickle.dumps(copy.deepcopy(logsum.Genred(PAIRS.text, PAIRS.aliases, "LogSumExp", axis=1)))
    )

    def loss(x: Any, y: Any, s: Any) -> Any:
        return (call(2 * x, y, s) ** 2).sum()

    torch._dynamo.reset()
    whole = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (5, 8):
        arrays = [np.tile(a, (size, 1)) if a.ndim == 2 else a for a in PAIRS.arrays(seed=14)]
        inputs = leaves(arrays)
        got = torch.autograd.grad(whole(*inputs), inputs)
        want = torch.autograd.grad(loss(*inputs), inputs)
        for pair in zip(got, want, strict=True):
            torch.testing.assert_close(*pair)


def test_threads_at_once() -> None:
    """One Genred in several Python threads, with gradients derived as they come."""
    from concurrent.futures import ThreadPoolExecutor

    call = logsum.Genred(PAIRS.text, PAIRS.aliases, "LogSumExp", axis=1)
    arrays = PAIRS.arrays(seed=15)

    def work(_: int) -> bytes:
        inputs = leaves(arrays)
        found = torch.autograd.grad(call(*inputs).sum(), inputs)
        return b"".join(g.numpy().tobytes() for g in found)

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(work, range(64)))
    assert len(results) == 1
