"""torch, where it is installed: the tests of tensors are skipped elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any
try:
    import torch
except ModuleNotFoundError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
