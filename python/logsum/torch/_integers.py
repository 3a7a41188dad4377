"""Integers as arguments beside tensors: lengths, labels and indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from logsum._arguments import type_error
from logsum._integers import EXPECTED
from logsum._integers import as_integers as as_array
from logsum.torch._tensors import INTEGERS


def as_integers(function: str, argument: str, value: Any) -> Tensor:
    """Integers in a tensor on any device, an array or nested lists, as int64 on the CPU."""
    if isinstance(value, Tensor):
        if value.dtype == torch.int64 and value.is_cpu:
            return value  # at a fraction of the time that it takes `to` to see this
        if value.dtype not in INTEGERS or value.dtype == torch.bool:
            raise type_error(function, argument, EXPECTED, value.dtype)
        if value.dtype == torch.uint64:  # which int64 may not hold
            return torch.from_numpy(np.array(as_array(function, argument, value)))
        return value.to(device="cpu", dtype=torch.int64)
    if torch.compiler.is_compiling():
        known = isinstance(value, np.ndarray)
        tensor = torch.from_numpy(value) if known else torch.tensor(value)
        if tensor.numel() == 0 and not known:
            return tensor.to(torch.int64)
        return as_integers(function, argument, tensor)
    return torch.from_numpy(np.array(as_array(function, argument, value)))
