"""attention on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logsum import _core
from logsum._arguments import type_error, value_error
from logsum._attention_arguments import NAME, Options, check_shapes
from logsum.torch._attention_derivatives import along, gradients
from logsum.torch._attention_point import OPERANDS_SCHEMA, OPTIONS_SCHEMA, AttentionOperator, Point
from logsum.torch._integers import as_integers
from logsum.torch._operator import Arguments, Gradients, Kept, without_history
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import (
    INTEGERS,
    as_floating,
    as_mask,
    check_tensor,
    view,
)


class _Attention(AttentionOperator):
    """(out, lse) of operands, options, and the arrays of the score formula."""

    schema = (
        f"attention({OPERANDS_SCHEMA}, {OPTIONS_SCHEMA}, Tensor[] score_args) -> (Tensor, Tensor)"
    )
    kept = (0, 1)

    def allocate(self, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        batch, heads, rows, _ = q.shape
        if q.stride(1) < q.stride(2):  # heads beside one another, as a projection leaves them
            out = q.new_empty((batch, rows, heads, v.shape[3])).transpose(1, 2)
        else:
            out = q.new_empty((batch, heads, rows, v.shape[3]))
        return out, q.new_empty((batch, heads, rows), dtype=lse_dtype(q.dtype))

    def compute(self, outputs: tuple[Tensor, Tensor], *arguments: Any) -> None:
        point = self.point(arguments)
        _core.attention(*point.core_arrays(), *map(view, outputs), *point.core_options())

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        found = gradients(
            self._point_of(arguments, kept), grads, self.needed_sources(needed, arguments)
        )
        return tuple(self.in_places(arguments, found))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        direction = self.of_sources(tangents, arguments)
        if not direction:
            return tuple(map(torch.zeros_like, kept))
        return along(self._point_of(arguments, kept), direction)

    def _point_of(self, arguments: Arguments, kept: Kept) -> Point:
        return self.point(arguments)._replace(results=without_history(kept))


attention_operator = _Attention()


# ---- the face ------------------------------------------------------------------------------


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    bias: Any,
    sinks: Any,
    lengths_q: Any,
    lengths_k: Any,
    score_args: dict[str, Any],
    options: Options,
    return_lse: bool,
) -> Any:
    """`logsum.attention` for tensors."""
    given = [as_floating(NAME, name, x) for name, x in (("q", q), ("k", k), ("v", v))]
    queries, keys, values = _narrowed(given)
    for name, x, before in (("k", keys, given[1]), ("v", values, given[2])):
        if x.dtype != queries.dtype:
            raise type_error(NAME, name, f"q's dtype {given[0].dtype}", before.dtype)
        if x.device != queries.device:
            raise value_error(NAME, name, f"q's device {queries.device}", x.device)
    check_shapes(queries.shape, keys.shape, values.shape)
    out, lse = attention_operator(
        queries,
        keys,
        values,
        None if mask is None else _mask(queries, mask),
        None if bias is None else _beside(queries, "bias", bias),
        None if sinks is None else _beside(queries, "sinks", sinks),
        None if lengths_q is None else as_integers(NAME, "lengths_q", lengths_q),
        None if lengths_k is None else as_integers(NAME, "lengths_k", lengths_k),
        *options,
        *(_score_argument(queries, name, x) for name, x in score_args.items()),
    )
    return (out, lse) if return_lse else out


def _narrowed(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors in autocast's dtype where it is on, as torch treats its own attention."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    narrow = torch.get_autocast_dtype("cpu")
    return [x if x.dtype == torch.float64 else x.to(narrow) for x in tensors]


def _mask(q: Tensor, value: Any) -> Tensor:
    if isinstance(value, bool | np.ndarray):
        raise type_error(NAME, "mask", "a torch.Tensor of bool", type(value).__name__)
    return as_mask(NAME, "mask", value, q)


def _beside(q: Tensor, name: str, value: Any) -> Tensor:
    """A floating tensor that joins the scores."""
    tensor = as_floating(NAME, name, value)
    if tensor.device != q.device:
        raise value_error(NAME, name, f"q's device {q.device}", tensor.device)
    wide = lse_dtype(q.dtype)
    if tensor.dtype in (q.dtype, wide):
        return tensor
    if torch.is_autocast_enabled("cpu"):
        return tensor.to(wide)
    expected = f"q's dtype {q.dtype}" + ("" if wide == q.dtype else f" or {wide}")
    raise type_error(NAME, name, expected, tensor.dtype)


def _score_argument(q: Tensor, name: str, value: Any) -> Tensor:
    """A tensor that a formula names: floating as a bias, bool, or integers as int64."""
    place = f"score_args[{name!r}]"
    check_tensor(NAME, place, value)
    tensor: Tensor = value
    if tensor.dtype not in INTEGERS:
        return _beside(q, place, tensor)
    if tensor.device != q.device:
        raise value_error(NAME, place, f"q's device {q.device}", tensor.device)
    return tensor if tensor.dtype == torch.bool else tensor.to(torch.int64)
