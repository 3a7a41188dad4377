"""Matrices of logarithms that are hard, each kind in its own way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.report import compare
from conformance.sample import widen
from tolerances import PRODUCT, Tolerance

Array = npt.NDArray[Any]


def normal(*shape: int, dtype: str = "float32", scale: float = 3.0, seed: int = 0) -> Array:
    """Return normal values, the same for the same shape and seed."""
    values = scale * np.random.default_rng([seed, *shape]).standard_normal(shape)
    return values.astype(dtype)


def judge(expected: Any, got: Any, tolerance: Tolerance = PRODUCT, where: str = "") -> None:
    """Compare a product with a reference."""
    compare(expected, widen(got), str(got.dtype).removeprefix("torch."), tolerance, where=where)


def families(k: int, dtype: str) -> dict[str, tuple[Array, Array]]:
    """Return operands of every kind that is hard in its own way, with 24 rows and 20 columns."""
    a, b = normal(24, k, dtype=dtype, scale=1), normal(k, 20, dtype=dtype, scale=1, seed=1)
    offsets = np.round(normal(k, dtype=dtype, scale=1000, seed=2))
    pattern = np.where(normal(24, k) > 0, 900, -500).astype(dtype)
    mask = normal(24, k, seed=3) > 2
    rows = np.where(np.arange(24)[:, None] % 5 == 0, -np.inf, a)
    return {
        "σ = 1": (a, b),
        "σ = 30": (30 * a, 30 * b),
        "σ = 300": (300 * a, 300 * b),
        "σ = 1000": (1000 * a, 1000 * b),
        "one wide operand": (a, 1000 * b),
        "offsets": (a + offsets, b - offsets[:, None]),
        "rows and columns far away": (a + 1e4 * a[:, :1], b - 1e4 * b[:1]),
        "permuted": (pattern, 400 - pattern[:20].T),
        "masks of -1e38": (np.where(mask, -1e38, a).astype(dtype), b),
        "masks of -inf": (np.where(mask, -np.inf, a).astype(dtype), b),
        "rows of -inf": (rows.astype(dtype), b),
        "equal": (np.full_like(a, 1000.7), np.full_like(b, -900.1)),
        "result near 0": (1e-3 * a - np.log(k).astype(dtype), 1e-3 * b),
    }
