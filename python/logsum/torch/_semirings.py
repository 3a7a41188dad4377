"""Semirings as arguments of calls that torch.compile may see."""

from __future__ import annotations

from typing import Any

from logsum import _semirings
from logsum._semirings import Semiring
from logsum.torch._constant import constant


def semiring_name(function: str, value: Any) -> str:
    """Return "log" or "max"; what has to be tried out to be known is so once, while tracing."""
    if isinstance(value, str | Semiring):
        return _semirings.semiring_name(function, value)
    return str(_tried(function, value))


@constant
def _tried(function: str, value: Any) -> str:
    return _semirings.semiring_name(function, value)
