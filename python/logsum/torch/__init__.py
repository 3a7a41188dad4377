"""The face for PyTorch. Importing it registers the operators ``torch.ops.logsum.*``."""

from logsum.torch import _face  # noqa: F401 - registers the operators
from logsum.torch._mode import AttentionMode
from logsum.torch._sdpa import scaled_dot_product_attention

__all__ = ["AttentionMode", "scaled_dot_product_attention"]
