"""Tensors as arguments: what is accepted, and how the C++ library reads their memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from logsum import _core
from logsum._arguments import check_ndim, error_text, type_error, type_name, value_error

DTYPES = {
    torch.float16: int(_core.DType.f16),
    torch.bfloat16: int(_core.DType.bf16),
    torch.float32: int(_core.DType.f32),
    torch.float64: int(_core.DType.f64),
    torch.int64: int(_core.DType.i64),
    torch.bool: int(_core.DType.boolean),
}
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HALF = (torch.float16, torch.bfloat16)
INTEGERS = (
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)
EXPECTED = "float16, bfloat16, float32 or float64"

_broadcast_shapes: Any = torch.broadcast_shapes
View: TypeAlias = tuple[int, int, Sequence[int], Sequence[int]]


def view(tensor: Tensor) -> View:
    """Memory, dtype, shape and strides, as `_core` takes them; the tensor must outlive it."""
    return tensor.data_ptr(), DTYPES[tensor.dtype], tensor.shape, tensor.stride()


def optional_view(tensor: Tensor | None) -> View | None:
    """The view of a tensor that may be missing."""
    return None if tensor is None else view(tensor)


def check_tensor(function: str, argument: str, value: Any) -> None:
    """Refuse what is no dense tensor on the CPU (or on meta, where only shapes are computed)."""
    if not isinstance(value, Tensor):
        raise type_error(function, argument, "torch.Tensor, like others", type_name(value))
    if type(value) is not Tensor and as_causal_bias(value) is not None:
        raise type_error(function, argument, "a tensor of numbers", type_name(value))
    if value.layout is not torch.strided:
        raise type_error(function, argument, "a dense tensor", value.layout)
    if not (value.is_cpu or value.is_meta):  # a fifth of the time of asking for the device's type
        expected = "a CPU tensor (this build computes on no other device)"
        raise RuntimeError(error_text(function, argument, expected, f"one on {value.device}"))
    check_ndim(function, argument, value.ndim)


def as_causal_bias(value: Any) -> Any:
    """One of torch's causal biases, tensors whose memory means nothing, or else None."""
    bias = sys.modules.get("torch.nn.attention.bias")  # whoever made one has imported it
    return value if bias is not None and isinstance(value, bias.CausalBias) else None


def as_floating(function: str, argument: str, value: Any, *, integers: bool = False) -> Tensor:
    """A tensor of a supported floating dtype; with `integers`, those become float64."""
    check_tensor(function, argument, value)
    tensor: Tensor = value
    if tensor.dtype in FLOATING:
        return tensor
    if integers and tensor.dtype in INTEGERS:
        return tensor.to(torch.float64)
    expected = f"{EXPECTED}, or integers" if integers else EXPECTED
    raise type_error(function, argument, expected, tensor.dtype)


def as_partner(function: str, argument: str, value: Any, name: str, like: Tensor) -> Tensor:
    """A tensor or number that is combined with the tensor `like`, named `name`, in its dtype.

    Numbers and integer tensors take the other's dtype; another floating dtype is an error, since
    the caller should say which of the two the result is to have.
    """
    if isinstance(value, bool | int | float):
        return torch.tensor(value, dtype=like.dtype, device=like.device)
    check_tensor(function, argument, value)
    tensor: Tensor = value
    if tensor.device != like.device:
        raise value_error(function, argument, f"{name}'s device {like.device}", tensor.device)
    if tensor.dtype == like.dtype:
        return tensor
    if tensor.dtype in INTEGERS:
        return tensor.to(like.dtype)
    raise type_error(function, argument, f"{name}'s dtype {like.dtype}", tensor.dtype)


def as_alike(function: str, argument: str, value: Any, name: str, like: Tensor) -> Tensor:
    """A tensor of the dtype and on the device of the floating tensor `like`, named `name`."""
    tensor = as_floating(function, argument, value)
    if tensor.dtype != like.dtype:
        raise type_error(function, argument, f"{name}'s dtype {like.dtype}", tensor.dtype)
    if tensor.device != like.device:
        raise value_error(function, argument, f"{name}'s device {like.device}", tensor.device)
    return tensor


def as_mask(function: str, argument: str, value: Any, like: Tensor) -> Tensor:
    """A boolean tensor or Python bool, on the device of the tensor `a`."""
    if isinstance(value, bool):
        return torch.tensor(value, device=like.device)
    check_tensor(function, argument, value)
    tensor: Tensor = value
    if tensor.dtype != torch.bool:
        raise type_error(function, argument, "torch.bool", tensor.dtype)
    if tensor.device != like.device:
        raise value_error(function, argument, f"a's device {like.device}", tensor.device)
    return tensor


def broadcast(function: str, tensors: dict[str, Tensor]) -> list[Tensor]:
    """The tensors expanded to their common shape; the keys are the arguments' names.

    Expansion copies nothing, and autograd sums a gradient over the axes that it added.
    """
    shapes = [tensor.shape for tensor in tensors.values()]
    if all(shape == shapes[0] for shape in shapes):
        return list(tensors.values())
    try:
        shape = _broadcast_shapes(*shapes)
    except RuntimeError:
        names = " and ".join(tensors)
        given = " and ".join(str(tuple(shape)) for shape in shapes)
        raise value_error(function, names, "shapes that broadcast together", given) from None
    return [tensor.expand(shape) for tensor in tensors.values()]


def squeeze(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor without `axes`, all of size one; torch's own takes no axes to mean some."""
    if len(axes) == 1:
        return tensor.squeeze(axes[0])  # a third faster than by a tuple
    return tensor.squeeze(axes) if axes else tensor


def total(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """The sum over `axes`, which are kept; torch's own takes no axes to mean all."""
    return tensor.sum(tuple(axes), keepdim=True) if axes else tensor
