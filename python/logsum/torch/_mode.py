"""PyTorch's layers with this library's attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

from logsum.torch._layers import multi_head_attention_forward
from logsum.torch._sdpa import scaled_dot_product_attention


class AttentionMode(TorchFunctionMode):
    """A context in which PyTorch's layers, and whoever calls its function, attend by this library.

    Inside ``with logsum.torch.AttentionMode():``, calls of
    ``torch.nn.functional.scaled_dot_product_attention`` in this thread, by whatever name they were
    imported, are calls of :func:`scaled_dot_product_attention` here. So are those that
    ``torch.nn.MultiheadAttention`` and the transformer layers make, in training and in inference:
    no module is changed, and torch's fused inference paths, which make none, stand back.

    Notes
    -----
    ``MultiheadAttention`` returns weights unless it is called with ``need_weights=False``; then
    torch computes them, all L S of them, itself. The transformer layers don't ask for them. Dropout
    in attention is refused: make the layers with ``dropout=0.0``, or call them in eval mode.

    Examples
    --------
    >>> import torch
    >>> import logsum.torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    >>> x = torch.randn(1, 5, 8)
    >>> with logsum.torch.AttentionMode():
    ...     y = layer(x)
    >>> bool(torch.allclose(y, layer(x), atol=1e-5))
    True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer for two of torch's functions, and leave all others to it."""
        if func is functional.scaled_dot_product_attention:
            func = scaled_dot_product_attention
        elif func is functional.multi_head_attention_forward:
            func = multi_head_attention_forward
        return func(*args, **(kwargs or {}))
