"""Memory for large results."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from logsum.torch._operator import is_plain

_LARGE = 4 << 20  # bytes, from where on NumPy does
_NUMPY = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}


def empty_like(tensor: Tensor) -> Tensor:
    """Return `torch.empty_like`, a large one in NumPy's memory.

    NumPy asks the system for large pages. Memory fresh from it otherwise costs a fault every 4 KB,
    which takes longer than to write a gradient there.
    """
    if tensor.numel() * tensor.element_size() < _LARGE:
        return torch.empty_like(tensor)
    dtype = _NUMPY.get(tensor.dtype)
    if dtype is None or not is_plain((tensor,)) or not tensor.is_contiguous():
        return torch.empty_like(tensor)
    return torch.from_numpy(np.empty(tensor.shape, dtype))
