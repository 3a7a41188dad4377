"""The semirings that scans are computed in, and how other libraries' are recognised."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from logsum._arguments import value_error
from logsum._logsumexp import logsumexp
from logsum._softmax import softmax


class Semiring:
    """Numbers that are added in a way of their own and multiplied by ``+``.

    `Log` adds by log(e^x + e^y), `Max` by the maximum. Functions that take a semiring accept these
    two, their names, and other objects that have `zero`, `one` and `dsum` like theirs.

    Attributes
    ----------
    name : str
        "log" or "max".
    zero, one : float
        Neutral elements. The zero is finite, so that sums of a few remain numbers; everything from
        -1e30 down is a zero to a scan.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> x = np.log([1.0, 2.0, 1.0])
    >>> float(np.exp(logsum.Log.sum(x)).round(12)), float(np.exp(logsum.Max.sum(x)).round(12))
    (4.0, 2.0)
    >>> logsum.Log.dsum(x), logsum.Max.dsum(x)
    (array([0.25, 0.5 , 0.25]), array([0., 1., 0.]))
    """

    zero = -1e38
    one = 0.0

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        """The public name."""
        return f"logsum.{self.name.capitalize()}"

    def __reduce__(self) -> str:
        """Pickles and copies are the one object."""
        return self.name.capitalize()

    def mul(self, a: Any, b: Any) -> Any:
        """Multiply: ``a + b``."""
        return a + b

    def sum(self, x: Any, dim: int = -1) -> Any:
        """Add along one axis."""
        if self.name == "log":
            return logsumexp(x, dim)
        return x.max(dim) if isinstance(x, np.ndarray) else x.amax(dim)

    def dsum(self, x: Any, dim: int = -1) -> Any:
        """Differentiate `sum` by its terms: softmax, or one at the first maximum."""
        if self.name == "log":
            return softmax(x, dim)
        if isinstance(x, np.ndarray):
            first = np.expand_dims(x.argmax(dim), dim)
            shares = np.zeros_like(x)
            np.put_along_axis(shares, first, 1, dim)
            return shares
        equal = x == x.amax(dim, keepdim=True)
        return (equal & (equal.cumsum(dim) == 1)).to(x.dtype)


Log = Semiring("log")
Max = Semiring("max")

_NAMES = ("log", "max")

# Of these terms the sum of exponentials has three different shares, the maximum one.
_PROBE = np.array([0.0, 1.0, -1.0])
_SHARES = {
    "log": np.exp(_PROBE) / np.exp(_PROBE).sum(),
    "max": np.array([0.0, 1.0, 0.0]),
}


def own_semiring_name(function: str, value: Any) -> str:
    """Return "log" or "max" for a name or one of our semirings."""
    name = value.name if isinstance(value, Semiring) else value
    if not isinstance(name, str) or name not in _NAMES:
        expected = '"log", "max", logsum.Log or logsum.Max'
        raise value_error(function, "semiring", expected, repr(value))
    return name


def semiring_name(function: str, value: Any) -> str:
    """Return "log" or "max" for a name, one of our semirings, or an object that acts like one."""
    if isinstance(value, Semiring):
        return value.name
    if isinstance(value, str):
        if value in _NAMES:
            return value
    elif all(hasattr(value, name) for name in ("zero", "one", "dsum")):
        found = _recognised(value)
        if found is not None:
            return found
    expected = '"log", "max", logsum.Log, logsum.Max, or an object with their zero, one and dsum'
    raise value_error(function, "semiring", expected, repr(value))


def _recognised(foreign: Any) -> str | None:
    """Which semiring an object is, by what its neutral elements are and how its sum moves."""
    if not (float(foreign.zero) <= -1e30 and float(foreign.one) == 0):
        return None
    shares = _dsum(foreign)
    for name, expected in _SHARES.items():
        # The other semiring's shares are far off: float32 of whatever made them is near enough.
        if shares.shape == expected.shape and np.allclose(shares, expected, atol=1e-5):
            return name
    return None


def _dsum(foreign: Any) -> Any:
    """The shares of the probe, as tensors where there are any: most such objects are torch's."""
    torch = sys.modules.get("torch")
    probe = _PROBE if torch is None else torch.tensor(_PROBE)
    try:
        return np.asarray(foreign.dsum(probe, dim=0))
    except (TypeError, AttributeError, ValueError):
        return np.asarray(foreign.dsum(_PROBE, 0))
