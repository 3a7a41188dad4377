"""logeinsumexp on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

import torch
from torch import Tensor

from logsum._einsum_equation import NAME, Equation, Labels, argument, parse
from logsum._einsum_path import Pairs, joining_order
from logsum._einsum_plan import cached_plan, make_plan
from logsum._einsum_run import run
from logsum.torch._constant import constant
from logsum.torch._tensors import HALF, as_alike, as_floating


def logeinsumexp(equation: str, operands: Sequence[Any], semiring: str) -> Tensor:
    """`logsum.logeinsumexp` for tensors."""
    first = as_floating(NAME, argument(0), operands[0])
    others = enumerate(operands[1:], start=1)
    tensors = [first, *(as_alike(NAME, argument(k), x, argument(0), first) for k, x in others)]
    dtype = first.dtype
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    if torch.compiler.is_compiling():
        plan = make_plan(equation, shapes, _parse_once, _order_once)
    else:
        plan = cached_plan(equation, shapes)
    if dtype in HALF and plan.roundings > 1:
        tensors = [tensor.float() for tensor in tensors]
    out: Tensor = run(plan, tensors, semiring, _TENSORS)
    return out if out.dtype == dtype else out.to(dtype)


@constant
def _parse_once(equation: str, ranks: tuple[int, ...]) -> Equation:
    """The equation, without a trace of how its text was read."""
    return parse(equation, ranks)


def _order_once(
    inputs: tuple[Labels, ...], output: Labels, sizes: tuple[tuple[str, int], ...]
) -> Pairs:
    """The order as a constant of the trace.

    A search on symbols would become thousands of guards; `index` asks for the sizes as numbers, so
    that three operands or more are traced once a shape.
    """
    numbers = tuple((label, index(size)) for label, size in sizes)
    return _search_once(inputs, output, numbers)


@constant
def _search_once(
    inputs: tuple[Labels, ...], output: Labels, sizes: tuple[tuple[str, int], ...]
) -> Pairs:
    return joining_order(inputs, output, sizes)


class _Tensors:
    """PyTorch's part of the work."""

    def permute(self, array: Tensor, order: tuple[int, ...]) -> Tensor:
        return array.permute(order)

    def diagonal(self, array: Tensor, first: int, second: int) -> Tensor:
        return array.diagonal(0, first, second)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        # Filled in, not selected: no gradient passes where the product is zero.
        return (left + right).masked_fill_(torch.minimum(left, right) == -torch.inf, -torch.inf)

    def maximum(self, array: Tensor, axes: tuple[int, ...]) -> Tensor:
        axes = tuple(axis % array.ndim for axis in axes)
        kept = [axis for axis in range(array.ndim) if axis not in axes]
        shape = [array.shape[axis] for axis in kept]
        count = prod(array.shape[axis] for axis in axes)
        if count == 0:
            return array.new_full(shape, -torch.inf)
        # The index of torch.max is the first of several maxima; amax would share the gradient.
        top = array.permute(*kept, *axes).reshape(*shape, count).max(-1).values
        return top.masked_fill(top == -torch.inf, -torch.inf)


_TENSORS = _Tensors()
