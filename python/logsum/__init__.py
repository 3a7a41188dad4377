"""Exact, stable, memory-linear, differentiable computing with sums of exponentials.

`Array` in signatures is numpy.ndarray or torch.Tensor. Results are of the caller's kind and dtype,
any strides are accepted, and tensors are differentiable to any order in both directions. Wrong
shapes raise ValueError and wrong or mixed dtypes TypeError, naming function, argument, what was
expected and what was given.

-inf is a true zero: it contributes nothing and its gradient is 0. +inf dominates, and several share
equally. NaN that takes part gives NaN.
"""

from logsum import _core
from logsum._config import get_num_threads, set_num_threads, show_config
from logsum._einsum import logeinsumexp
from logsum._logaddexp import logaddexp
from logsum._logsumexp import logsumexp
from logsum._matmul import logmatmulexp
from logsum._merge import merge
from logsum._softmax import log_softmax, softmax

__version__ = _core.version

__all__ = [
    "__version__",
    "get_num_threads",
    "log_softmax",
    "logaddexp",
    "logeinsumexp",
    "logmatmulexp",
    "logsumexp",
    "merge",
    "set_num_threads",
    "show_config",
    "softmax",
]
