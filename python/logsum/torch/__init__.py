"""The face for PyTorch: what the functions of `logsum` do with tensors."""

from logsum.torch._logaddexp import logaddexp
from logsum.torch._logsumexp import logsumexp
from logsum.torch._softmax import log_softmax, softmax

__all__: list[str] = ["logsumexp","logaddexp","softmax","log_softmax"]
