"""What the functions of `logsum` do with tensors, by the same names."""

from logsum.torch._attention import attention
from logsum.torch._ctc import ctc_align, ctc_decode, ctc_loss
from logsum.torch._einsum import logeinsumexp
from logsum.torch._logaddexp import logaddexp
from logsum.torch._logsumexp import logsumexp
from logsum.torch._matmul import logmatmulexp
from logsum.torch._merge import merge
from logsum.torch._reduce import reduced
from logsum.torch._scan import backward_scores, forward_scores, logZ, marginals, viterbi
from logsum.torch._softmax import log_softmax, softmax

__all__ = [
    "attention",
    "backward_scores",
    "ctc_align",
    "ctc_decode",
    "ctc_loss",
    "forward_scores",
    "logZ",
    "log_softmax",
    "logaddexp",
    "logeinsumexp",
    "logmatmulexp",
    "logsumexp",
    "marginals",
    "merge",
    "reduced",
    "softmax",
    "viterbi",
]
