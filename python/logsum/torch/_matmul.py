"""logmatmulexp on tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from logsum._products import product_shape
from logsum.torch._max_product import max_product
from logsum.torch._operator import Operator, is_direct
from logsum.torch._product import product
from logsum.torch._tensors import as_alike, as_floating


def logmatmulexp(
    a: Any, b: Any, semiring: str, return_argmax: bool, return_bound: bool
) -> Tensor | tuple[Tensor, ...]:
    """`logsum.logmatmulexp` for tensors."""
    name = "logmatmulexp"
    a = as_floating(name, "A", a)
    b = as_alike(name, "B", b, "A", a)
    product_shape(name, a.shape, b.shape)
    a, b = _matched(a, b.ndim), _matched(b, a.ndim)
    # What only derivatives need is computed only where something watches.
    watched = not is_direct((a, b))
    operator: Operator = max_product if semiring == "max" else product
    call = operator if watched else operator.forward
    c, argmax, bound = call(a, b, watched or return_argmax, return_bound)
    results = [c]
    if return_argmax:
        results.append(argmax)
    if return_bound:
        results.append(bound.detach())
    return c if len(results) == 1 else tuple(results)


def _matched(tensor: Tensor, ndim: int) -> Tensor:
    """The tensor with at least so many axes, new ones in front and of size one."""
    missing = ndim - tensor.ndim
    return tensor[(None,) * missing] if missing > 0 else tensor
