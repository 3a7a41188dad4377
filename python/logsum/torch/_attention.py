"""attention on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from logsum import _core
from logsum._arguments import type_error, value_error
from logsum._attention import core_options
from logsum._attention_arguments import NAME, Options, check_shapes
from logsum.torch._integers import as_integers
from logsum.torch._listed import ListedOperator
from logsum.torch._operator import Arguments, Gradients, Kept
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import (
    INTEGERS,
    as_floating,
    as_mask,
    check_tensor,
    optional_view,
    view,
)

_OPERANDS = 8  # q, k, v, mask, bias, sinks, lengths_q, lengths_k
_OPTIONS = len(Options._fields)
_OPERANDS_SCHEMA = (
    "Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? bias, Tensor? sinks, "
    "Tensor? lengths_q, Tensor? lengths_k"
)
_OPTIONS_SCHEMA = (
    "int causal, int window_left, int window_right, float scale, float softcap, str score, "
    "str score_names"
)
# Of the operands, what a gradient flows to: q, k, v, bias, sinks.
_SMOOTH = (0, 1, 2, 4, 5)


class _Attention(ListedOperator):
    """(out, lse) of operands, options, and the arrays of the score formula."""

    schema = (
        f"attention({_OPERANDS_SCHEMA}, {_OPTIONS_SCHEMA}, Tensor[] score_args) -> (Tensor, Tensor)"
    )
    fixed = _OPERANDS + _OPTIONS
    kept = (0, 1)

    def allocate(self, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        batch, heads, rows, _ = q.shape
        if q.stride(1) < q.stride(2):  # heads beside one another, as a projection leaves them
            out = q.new_empty((batch, rows, heads, v.shape[3])).transpose(1, 2)
        else:
            out = q.new_empty((batch, heads, rows, v.shape[3]))
        return out, q.new_empty((batch, heads, rows), dtype=lse_dtype(q.dtype))

    def compute(self, outputs: tuple[Tensor, Tensor], *arguments: Any) -> None:
        operands, options, score_args = _parted(arguments)
        given: tuple[Any, ...] = (
            *map(optional_view, operands),
            [view(x) for x in score_args],
            *map(view, outputs),
            *core_options(options),
        )
        _core.attention(*given)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        operands, options, score_args = _parted(arguments)
        out, lse = kept
        grad_out, grad_lse = grads
        if grad_out is None:
            grad_out = torch.zeros((), dtype=out.dtype, device=out.device).expand(out.shape)
        smooth = [*_SMOOTH, *range(self.fixed, len(arguments))]
        wanted = [k for k in smooth if needed[k] and arguments[k].is_floating_point()]
        places = [k if k < _OPERANDS else k - _OPTIONS for k in wanted]
        gradients = attention_backward(
            grad_out, grad_lse, *operands, out, lse, *options, _bits(places), *score_args
        )
        found: list[Tensor | None] = [None] * len(arguments)
        for k, gradient in zip(wanted, gradients, strict=True):
            found[k] = gradient
        return tuple(found)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        raise RuntimeError(f"{NAME}: forward mode is not implemented, reverse mode is")

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        if info.batch_size > 0 and _joins_batch(arguments, in_dims, 0):
            joined = _joined(arguments, in_dims, info.batch_size, 0)
            outputs = self(*joined)
            return tuple(x.unflatten(0, (info.batch_size, -1)) for x in outputs), (0, 0)
        return _looped(self, info.batch_size, in_dims, arguments)


class _AttentionBackward(ListedOperator):
    """The gradients that the bits of `wanted` ask for, of operands and then of score arrays."""

    schema = (
        f"attention_backward(Tensor grad_out, Tensor? grad_lse, {_OPERANDS_SCHEMA}, Tensor out, "
        f"Tensor lse, {_OPTIONS_SCHEMA}, int wanted, Tensor[] score_args) -> Tensor[]"
    )
    fixed = 2 + _OPERANDS + 2 + _OPTIONS + 1
    returns_list = True

    def allocate(self, *arguments: Any) -> tuple[Tensor, ...]:
        sources = (*arguments[2 : 2 + _OPERANDS], *arguments[self.fixed :])
        wanted = arguments[self.fixed - 1]
        return tuple(torch.empty_like(x) for k, x in enumerate(sources) if wanted >> k & 1)

    def compute(self, outputs: tuple[Tensor, ...], *arguments: Any) -> None:
        grad_out, grad_lse = arguments[:2]
        *rest, wanted = arguments[2 : self.fixed]
        operands, (out, lse) = rest[:_OPERANDS], rest[_OPERANDS : _OPERANDS + 2]
        options = Options(*rest[_OPERANDS + 2 :])
        score_args = arguments[self.fixed :]
        found = iter(outputs)
        slots = [
            view(next(found)) if wanted >> k & 1 else None
            for k in range(_OPERANDS + len(score_args))
        ]
        given: tuple[Any, ...] = (
            view(grad_out),
            optional_view(grad_lse),
            *map(optional_view, operands),
            [view(x) for x in score_args],
            view(out),
            view(lse),
            *(slots[k] for k in _SMOOTH),
            slots[_OPERANDS:],
            *core_options(options),
        )
        _core.attention_backward(*given)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        raise RuntimeError(f"{NAME}: the second derivative is not implemented, the first is")

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        raise RuntimeError(f"{NAME}: the second derivative is not implemented, the first is")

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        # A gradient of what the entries share is theirs, not the sum over them.
        alone = info.batch_size > 0 and arguments[self.fixed - 1] < 1 << _SMOOTH[3]
        if alone and _joins_batch(arguments, in_dims, 2):
            joined = _joined(arguments, in_dims, info.batch_size, 2)
            found = tuple(x.unflatten(0, (info.batch_size, -1)) for x in self(*joined))
            return found, (0,) * len(found)
        return _looped(self, info.batch_size, in_dims, arguments)


def _parted(arguments: Arguments) -> tuple[Arguments, Options, Arguments]:
    """Operands, options, and the arrays of the formula."""
    last = _OPERANDS + _OPTIONS
    return arguments[:_OPERANDS], Options(*arguments[_OPERANDS:last]), arguments[last:]


def _bits(places: Sequence[int]) -> int:
    return sum(1 << k for k in places)


# ---- vmap ----------------------------------------------------------------------------------


def _joins_batch(arguments: Arguments, in_dims: Sequence[int | None], first: int) -> bool:
    """Whether a mapped axis may join that of the batch.

    A formula may speak of the entry of the batch, and sinks have none of theirs.
    """
    has_score = any(isinstance(x, str) and x for x in arguments)
    return not has_score and in_dims[first + 5] is None


def _joined(
    arguments: Arguments, in_dims: Sequence[int | None], size: int, first: int
) -> list[Any]:
    """The arguments with the mapped axis merged into the batch's; what broadcasts stays so.

    `first` is where the operands begin.
    """
    q, q_dim = arguments[first], in_dims[first]
    batch = q.shape[0] if q_dim is None else q.movedim(q_dim, 0).shape[1]
    found = list(arguments)
    for place, (x, dim) in enumerate(zip(arguments, in_dims, strict=True)):
        if not isinstance(x, Tensor) or place == first + 5:
            continue
        mapped = x if dim is None else x.movedim(dim, 0)
        if place in (first + 3, first + 4):  # a mask or bias
            axes = 4 + (dim is not None) - mapped.ndim
            mapped = mapped[(*(slice(None),) * (dim is not None), *(None,) * axes)]
            if dim is None and mapped.shape[0] == 1:
                found[place] = mapped
                continue
        if dim is None:
            mapped = mapped.expand(size, *mapped.shape)
        found[place] = mapped.expand(size, batch, *mapped.shape[2:]).flatten(0, 1)
    return found


def _looped(
    operator: ListedOperator, size: int, in_dims: Sequence[int | None], arguments: Arguments
) -> tuple[Any, Any]:
    def entry(k: int) -> tuple[Tensor, ...]:
        pairs = zip(arguments, in_dims, strict=True)
        return tuple(operator(*(x if dim is None else x.select(dim, k) for x, dim in pairs)))

    if size == 0:  # an entry of zeros tells the shapes
        arguments = tuple(
            x if dim is None else x.new_zeros((*x.shape[:dim], 1, *x.shape[dim + 1 :]))
            for x, dim in zip(arguments, in_dims, strict=True)
        )
        outputs = tuple(x.new_empty((0, *x.shape)) for x in entry(0))
    else:
        outputs = tuple(map(torch.stack, zip(*map(entry, range(size)), strict=True)))
    return outputs, (0,) * len(outputs)


attention_operator = _Attention()
attention_backward = _AttentionBackward()


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
