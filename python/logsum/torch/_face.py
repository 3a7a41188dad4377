"""What the functions of `logsum` do with tensors, by the same names."""

from logsum.torch._einsum import logeinsumexp
from logsum.torch._logaddexp import logaddexp
from logsum.torch._logsumexp import logsumexp
from logsum.torch._matmul import logmatmulexp
from logsum.torch._merge import merge
from logsum.torch._softmax import log_softmax, softmax

__all__ = [
    "log_softmax",
    "logaddexp",
    "logeinsumexp",
    "logmatmulexp",
    "logsumexp",
    "merge",
    "softmax",
]
