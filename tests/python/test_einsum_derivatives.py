"""logeinsumexp under autograd, torch.func and torch.compile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import logsum
from einsum_oracle import random_operands
from tensors import needs_torch, torch


def dense(equation: str, semiring: str) -> Callable[..., Any]:
    """The same in plain torch: all terms, then logsumexp or max; indices are single letters."""
    terms, _, output = equation.partition("->")
    split = terms.split(",")
    summed = sorted(set("".join(split)) - set(output))
    indices = [*output, *summed]

    def function(*operands: Any) -> Any:
        total = 0
        for term, operand in zip(split, operands, strict=True):
            order = sorted(term, key=indices.index)
            view = operand.permute([term.index(c) for c in order])
            shape = [view.shape[order.index(c)] if c in order else 1 for c in indices]
            total = total + view.reshape(shape)
        if not summed:
            return total
        if semiring == "max":
            return total.flatten(len(output)).max(-1).values
        return torch.logsumexp(total, list(range(len(output), len(indices))))

    return function


SMOOTH = {
    "ij,jk->ki": ((3, 2), (2, 4)),
    "ij,ij->ij": ((2, 3), (2, 3)),
    "ijk->j": ((2, 3, 2),),
    "aib,cb,a->ic": ((2, 3, 2), (3, 2), (2,)),
    "ij,jk,kl->il": ((2, 3), (3, 2), (2, 2)),
}


@needs_torch
@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", SMOOTH)
def test_gradients(equation: str, semiring: str) -> None:
    def leaves() -> list[Any]:
        return [torch.tensor(a, requires_grad=True) for a in random_operands(SMOOTH[equation])]

    ours, theirs = leaves(), leaves()
    out = logsum.logeinsumexp(equation, *ours, semiring=semiring)
    expected = dense(equation, semiring)(*theirs)
    torch.testing.assert_close(out, expected)
    cotangent = torch.as_tensor(random_operands([tuple(out.shape)], seed=1)[0])
    (out * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, yours.grad)


@needs_torch
@pytest.mark.parametrize("equation", SMOOTH)
def test_gradcheck(equation: str) -> None:
    operands = [torch.tensor(a, requires_grad=True) for a in random_operands(SMOOTH[equation])]

    def function(*values: Any) -> Any:
        return logsum.logeinsumexp(equation, *values)

    assert torch.autograd.gradcheck(function, operands, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, operands)


@needs_torch
@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", ["ij,ij->ij", "ij,jk->ik", "ij,ij,jk->", "ij->i"])
def test_gradients_of_zeros_are_zero(equation: str, semiring: str) -> None:
    terms = equation.partition("->")[0].split(",")
    operands = [torch.full((3,) * len(term), -math.inf, requires_grad=True) for term in terms]
    out = logsum.logeinsumexp(equation, *operands, semiring=semiring)
    assert (out == -math.inf).all()
    out.sum().backward()
    for operand in operands:
        torch.testing.assert_close(operand.grad, torch.zeros_like(operand))


@needs_torch
def test_max_gradient_goes_to_the_first_maximum() -> None:
    a = torch.zeros(4, requires_grad=True)
    logsum.logeinsumexp("i->", a, semiring="max").backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, 0.0, 0.0, 0.0]))


@needs_torch
def test_vmap() -> None:
    product = torch.func.vmap(lambda x, y: logsum.logeinsumexp("i,i->i", x, y), (0, None))
    rows, row = torch.randn(3, 4), torch.tensor([0.0, -math.inf, 1.0, math.inf])
    torch.testing.assert_close(product(rows, row), rows + row)
    a, b, c = (torch.as_tensor(x) for x in random_operands(((5, 3, 4), (4, 2), (5, 2, 3))))
    mapped = torch.func.vmap(
        lambda x, y, z: logsum.logeinsumexp("ij,jk,kl->il", x, y, z), (0, None, 0)
    )
    expected = logsum.logeinsumexp("bij,jk,bkl->bil", a, b, c)
    torch.testing.assert_close(mapped(a, b, c), expected)


@needs_torch
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(dynamic: bool) -> None:
    torch._dynamo.reset()

    def function(*operands: Any) -> Any:
        return logsum.logeinsumexp("ij,jk,k...->i...", *operands).exp()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for size in (3, 4):
        shapes = ((2, size), (size, 5), (5, 3, 2))
        ours, theirs = (
            [torch.tensor(a, requires_grad=True) for a in random_operands(shapes)] for _ in "ab"
        )
        out, expected = compiled(*ours), function(*theirs)
        torch.testing.assert_close(out, expected)
        out.sum().backward()
        expected.sum().backward()
        for mine, yours in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.grad, yours.grad)


@needs_torch
def test_two_operands_are_compiled_once_for_all_sizes() -> None:
    torch._dynamo.reset()
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda a, b: logsum.logeinsumexp("bij,bkj->bik", a, b),
        fullgraph=True,
        backend=count,
        dynamic=True,
    )
    for size in (3, 4, 5, 6):
        a = torch.zeros(2, size, 5)
        torch.testing.assert_close(compiled(a, a), logsum.logeinsumexp("bij,bkj->bik", a, a))
    assert count.frame_count == 1
