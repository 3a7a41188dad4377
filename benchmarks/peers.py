"""The libraries measured beside ours, and the settings they share."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

from logsum.tour import find_module

OURS = "logsum"
# By the name that tables use: the package, and whether it computes with more than one thread.
PACKAGES = {
    "torch": "torch",
    "SciPy": "scipy",
    "NumPy": "numpy",
    "semiring-einsum": "torch-semiring-einsum",
    "pykeops": "pykeops",
}
SINGLE_THREADED = frozenset({"SciPy", "NumPy"})
MISSING = "not installed"

torch: Any = find_module("torch")
special: Any = find_module("scipy.special")
semiring_einsum: Any = find_module("torch_semiring_einsum") if torch else None


def versions() -> dict[str, str]:
    """Return the version of every peer, or that it is not installed."""
    return {name: _version(package) for name, package in PACKAGES.items()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def to_float64(result: Any) -> np.ndarray:
    """Return a result of any library, half types included, as float64."""
    if torch is not None and isinstance(result, torch.Tensor):
        result = result.detach().double().numpy()
    return np.asarray(result, dtype=np.float64)
