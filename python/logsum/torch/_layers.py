"""A namespace like torch.nn.functional's, in which attention is this library's.

What torch's layers call, `multi_head_attention_forward`, is code that finds its attention by a name
among its globals. Here the same code has other globals. They are those of a module, since
torch.compile looks there for what it guards.
"""

from __future__ import annotations

import types
from typing import Any

from torch.nn import functional

from logsum.torch._sdpa import scaled_dot_product_attention

_here = globals()
_here.update({name: x for name, x in vars(functional).items() if name not in _here})


def has_torch_function(tensors: Any) -> bool:
    """Whether somebody is to be asked first: the mode that leads here was."""
    return False


_original: Any = functional.multi_head_attention_forward
multi_head_attention_forward: Any = types.FunctionType(
    _original.__code__, _here, _original.__name__, _original.__defaults__, _original.__closure__
)

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]
