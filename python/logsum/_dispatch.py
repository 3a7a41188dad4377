"""Which face an array belongs to."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def torch_face(*arrays: object) -> ModuleType | None:
    """The face for PyTorch if one of the arrays is a tensor, else None.

    Whoever holds a tensor has imported torch, so this package never does.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    for array in arrays:
        if isinstance(array, torch.Tensor):
            return importlib.import_module("logsum.torch._face")
    return None
