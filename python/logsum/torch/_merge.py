"""merge on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from logsum import _core
from logsum.torch._operator import Arguments, Gradients, Kept, Operator, is_plain, wants_gradient
from logsum.torch._sum import logsumexp_operator, lse_dtype, present, probabilities
from logsum.torch._tensors import as_floating, view
