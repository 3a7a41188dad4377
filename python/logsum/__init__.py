"""Exact, stable, memory-linear, differentiable computing with sums of exponentials.

`Array` in signatures is numpy.ndarray or torch.Tensor. Results are of the caller's kind and dtype,
any strides are accepted, and tensors are differentiable in both directions, to any order (through
scans, `ctc_loss` and `attention` twice). Wrong shapes raise ValueError and wrong or mixed dtypes
TypeError, naming function, argument, what was expected and what was given.

-inf is a true zero: it contributes nothing and its gradient is 0. +inf dominates, and several share
equally. NaN that takes part gives NaN.
"""

from logsum import _core
from logsum._attention import attention
from logsum._config import get_num_threads, set_num_threads, show_config
from logsum._ctc import ctc_loss
from logsum._ctc_paths import ctc_align, ctc_decode
from logsum._einsum import logeinsumexp
from logsum._genred import Genred
from logsum._graph import Graph
from logsum._logaddexp import logaddexp
from logsum._logsumexp import logsumexp
from logsum._matmul import logmatmulexp
from logsum._merge import merge
from logsum._scan import logZ, marginals
from logsum._scores import backward_scores, forward_scores, viterbi
from logsum._semirings import Log, Max
from logsum._softmax import log_softmax, softmax

__version__ = _core.version

__all__ = [
    "Genred",
    "Graph",
    "Log",
    "Max",
    "__version__",
    "attention",
    "backward_scores",
    "ctc_align",
    "ctc_decode",
    "ctc_loss",
    "forward_scores",
    "get_num_threads",
    "logZ",
    "log_softmax",
    "logaddexp",
    "logeinsumexp",
    "logmatmulexp",
    "logsumexp",
    "marginals",
    "merge",
    "set_num_threads",
    "show_config",
    "softmax",
    "viterbi",
]
