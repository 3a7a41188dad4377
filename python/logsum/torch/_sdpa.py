"""PyTorch's scaled_dot_product_attention, by its own signature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum._arguments import type_error, type_name, value_error
from logsum._attention import attention
from logsum.torch._tensors import EXPECTED, FLOATING, as_causal_bias

_NAME = "scaled_dot_product_attention"
_broadcast_shapes: Any = torch.broadcast_shapes


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend as ``torch.nn.functional.scaled_dot_product_attention`` does, which has its arguments.

    Parameters
    ----------
    query : Tensor
        Shape (..., Hq, L, E), with any number of batch axes in front, or (L, E).
    key, value : Tensor
        Shapes (..., H, S, E) and (..., H, S, Ev). Batch axes broadcast, and so do heads.
    attn_mask : Tensor, optional
        Broadcasts to (..., Hq, L, S): bool, where True takes part, or floating, which is added to
        the scores and gets a gradient in its own shape if it asks for one. Also one of
        `torch.nn.attention.bias`, of sizes (L, S).
    dropout_p : float, optional
        Only 0: weights that are dropped at random have no exact attention.
    is_causal : bool, optional
        Query i sees the keys up to i; not together with `attn_mask`.
    scale : float, optional
        What the products are multiplied by, 1/sqrt(E) by default.
    enable_gqa : bool, optional
        Let groups of Hq / H heads share a key and value head.

    Returns
    -------
    Tensor
        Shape (..., Hq, L, Ev). Queries that see no key get 0.

    Raises
    ------
    TypeError
        For tensors that are not floating and dense, or of mixed dtypes.
    ValueError
        For shapes that do not fit, dropout, and `attn_mask` beside `is_causal`.

    Notes
    -----
    A :func:`logsum.attention` without its lse: what its notes say of error, memory, threads and
    keys that are masked out is true here. Under autocast the tensors are narrowed as torch narrows
    them.
    """
    _check(query, key, value, attn_mask, dropout_p, is_causal)
    batch, heads = _common(query, key, value, enable_gqa)
    diagonal = _diagonal(attn_mask, query, key)
    pairs = None
    if attn_mask is not None and diagonal is None:
        pairs = _pairs(attn_mask, (*batch, heads[0]), query, key)
    q, k, v = (_folded(x, batch, h) for x, h in zip((query, key, value), heads, strict=True))
    is_mask = pairs is not None and pairs.dtype == torch.bool
    out = attention(
        q,
        k,
        v,
        causal=diagonal or is_causal,
        mask=pairs if is_mask else None,
        bias=None if is_mask else pairs,
        scale=scale,
    )
    if query.ndim == 2 and not batch and key.ndim == 2 and value.ndim == 2:
        return out[0, 0]
    return out.reshape(*batch, *out.shape[1:])


def _check(
    query: Any, key: Any, value: Any, attn_mask: Any, dropout_p: Any, is_causal: Any
) -> None:
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not isinstance(x, Tensor):
            raise type_error(_NAME, name, "torch.Tensor", type_name(x))
        if x.layout is not torch.strided:
            raise type_error(_NAME, name, "a dense tensor", x.layout)
        if x.dtype not in FLOATING:
            raise type_error(_NAME, name, EXPECTED, x.dtype)
        if x.dtype != query.dtype and not torch.is_autocast_enabled("cpu"):
            raise type_error(_NAME, name, f"query's dtype {query.dtype}", x.dtype)
        if x.ndim < 2:
            raise value_error(_NAME, name, "at least 2 axes", x.ndim)
    if key.shape[-1] != query.shape[-1]:
        expected = f"shape (..., S, E) with E = {query.shape[-1]} as query has"
        raise value_error(_NAME, "key", expected, tuple(key.shape))
    if value.shape[-2] != key.shape[-2]:
        expected = f"shape (..., S, Ev) with S = {key.shape[-2]} as key has"
        raise value_error(_NAME, "value", expected, tuple(value.shape))
    if dropout_p != 0.0:
        expected = "0.0 (attention without dropout; in torch.nn's layers dropout=0.0, or eval())"
        raise value_error(_NAME, "dropout_p", expected, dropout_p)
    if not isinstance(is_causal, bool):
        raise type_error(_NAME, "is_causal", "bool", type_name(is_causal))
    if attn_mask is None:
        return
    if not isinstance(attn_mask, Tensor):
        raise type_error(_NAME, "attn_mask", "torch.Tensor or None", type_name(attn_mask))
    if is_causal:
        raise value_error(_NAME, "attn_mask", "None beside is_causal=True", "a tensor")


def _diagonal(attn_mask: Tensor | None, query: Tensor, key: Tensor) -> str | None:
    """What one of torch's causal biases says."""
    bias = as_causal_bias(attn_mask)
    if bias is None:
        return None
    from torch.nn.attention.bias import CausalVariant

    sizes = bias.seq_len_q, bias.seq_len_kv
    if sizes != (query.shape[-2], key.shape[-2]):
        expected = f"a bias of {query.shape[-2]} queries and {key.shape[-2]} keys"
        raise value_error(_NAME, "attn_mask", expected, f"{sizes[0]} and {sizes[1]}")
    is_upper = bias.variant == CausalVariant.UPPER_LEFT
    return "top-left" if is_upper else "bottom-right"


def _pairs(mask: Tensor, leading: tuple[int, ...], query: Tensor, key: Tensor) -> Tensor:
    """The mask or bias with at most one batch axis."""
    shape = (*leading, query.shape[-2], key.shape[-2])
    wide = (1,) * (4 - len(shape)) + shape
    sizes = zip(reversed(mask.shape), reversed(wide), strict=False)
    if mask.ndim > len(wide) or any(size not in (1, whole) for size, whole in sizes):
        expected = f"a shape that broadcasts to {shape}"
        raise value_error(_NAME, "attn_mask", expected, tuple(mask.shape))
    if mask.dtype not in (torch.bool, query.dtype, torch.float32):
        known = mask.dtype in FLOATING and torch.is_autocast_enabled("cpu")
        if not known:
            expected = f"bool, float32 or query's dtype {query.dtype}"
            raise type_error(_NAME, "attn_mask", expected, mask.dtype)
    elif query.dtype == torch.float64 and mask.dtype == torch.float32:
        mask = mask.double()
    return _folded_mask(mask, leading[:-1])


def _common(
    query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool
) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """The batch axes that the three broadcast to, and how many heads each is to have."""
    shapes = [tuple(x.shape) for x in (query, key, value)]
    hq, hk, hv = (shape[-3] if len(shape) > 2 else 1 for shape in shapes)
    if enable_gqa:
        if hk != hv or (hq % hk if hk else hq):
            expected = "query heads that are a multiple of key heads, as many as value heads"
            raise value_error(_NAME, "query, key and value", expected, f"{hq}, {hk} and {hv}")
        heads = hq, hk, hv
    else:
        most = _broadcast(shapes, [(hq,), (hk,), (hv,)])[0]
        heads = (most, 1, 1) if hk == hv == 1 else (most, most, most)
    return _broadcast(shapes, [shape[:-3] for shape in shapes]), heads


def _broadcast(
    shapes: Sequence[tuple[int, ...]], parts: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    try:
        return tuple(_broadcast_shapes(*parts))
    except RuntimeError:
        given = ", ".join(map(str, shapes))
        raise value_error(
            _NAME, "query, key and value", "batch axes and heads that broadcast", given
        ) from None


def _folded(x: Tensor, batch: tuple[int, ...], heads: int) -> Tensor:
    """A tensor with one batch axis; what broadcasts is not copied if there was one or none."""
    wide = x.expand(*batch, heads, *x.shape[-2:])
    if len(batch) == 1:
        return wide
    return wide.reshape(math.prod(batch), *wide.shape[-3:])


def _folded_mask(mask: Tensor, batch: tuple[int, ...]) -> Tensor:
    if mask.ndim <= 3 or len(batch) <= 1:
        return mask
    leading, pairs = mask.shape[:-3], mask.shape[-3:]
    if all(size == 1 for size in leading):
        return mask.reshape(1, *pairs)
    return mask.expand(*batch, *pairs).reshape(math.prod(batch), *pairs)
