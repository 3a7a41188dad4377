"""What torch.compile need not trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def constant(function: FunctionT) -> FunctionT:
    """A function that torch.compile calls while it traces, on constants, for a constant.

    What torch.compiler.assume_constant_result does, but that imports torch._dynamo, a second's
    work that only those who compile should wait for.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
