"""Types of arguments and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    ArrayT = TypeVar("ArrayT", NDArray[np.floating[Any]], torch.Tensor)

    Axes: TypeAlias = int | tuple[int, ...] | list[int] | None
