"""Ways to compute a logsumexp: ours, its peers, and the two formulas people write first."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum

Array = NDArray[Any]


def find_module(name: str) -> Any | None:
    """Return an optional module, imported, or None where it is not installed."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        return None
    return importlib.import_module(name)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Give logsum, and torch where there is one, this many threads for a while."""
    torch = find_module("torch")
    ours, theirs = logsum.get_num_threads(), torch.get_num_threads() if torch else 1
    try:
        logsum.set_num_threads(count)
        if torch:
            torch.set_num_threads(count)
        yield
    finally:
        if torch:
            torch.set_num_threads(theirs)
        logsum.set_num_threads(ours)


@dataclass(frozen=True)
class Contender:
    """A way to reduce the last axis of an array, or the reason why there is none here.

    Attributes
    ----------
    name : str
    call : callable or None
        Takes an array of the kind that `prepare` returns.
    weighted : callable or None
        Takes values and weights, and returns log |Σ b exp(a)|; None where it cannot.
    prepare : callable
        Turns a NumPy array into what `call` takes, without a copy.
    missing : str
        Why `call` is None.
    """

    name: str
    call: Callable[[Any], Any] | None = None
    weighted: Callable[[Array, Array], Any] | None = None
    prepare: Callable[[Array], Any] = lambda array: array
    missing: str = ""


def naive(a: Array, b: Array | float = 1.0) -> Array:
    """Return the definition as written: overflows above 709 (float32: 88)."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(np.abs(np.sum(b * np.exp(a), axis=-1, dtype=a.dtype))))


def shifted(a: Array, b: Array | float = 1.0) -> Array:
    """Return the textbook's fix: subtract the maximum first, add it last."""
    with np.errstate(all="ignore"):
        top = np.max(a, axis=-1, keepdims=True)
        total = np.sum(b * np.exp(a - top), axis=-1, dtype=a.dtype)
        return np.asarray(top[..., 0] + np.log(np.abs(total)))


def contenders() -> list[Contender]:
    """Return all contenders, ours first; missing libraries are listed with a reason."""
    return [
        Contender(
            "logsum",
            lambda a: logsum.logsumexp(a, axis=-1),
            lambda a, b: logsum.logsumexp(a, axis=-1, b=b, return_sign=True)[0],
        ),
        _torch(),
        _scipy(),
        Contender("shifted", shifted, shifted),
        Contender("naive", naive, naive),
    ]


def _torch() -> Contender:
    torch = find_module("torch")
    if torch is None:
        return Contender("torch", missing="not installed")
    return Contender("torch", lambda a: torch.logsumexp(a, -1), prepare=torch.from_numpy)


def _scipy() -> Contender:
    special = find_module("scipy.special")
    if special is None:
        return Contender("SciPy", missing="not installed")

    def weighted(a: Array, b: Array) -> Any:
        with np.errstate(all="ignore"):
            return special.logsumexp(a, axis=-1, b=b, return_sign=True)[0]

    def call(a: Array) -> Any:
        with np.errstate(all="ignore"):
            return special.logsumexp(a, axis=-1)

    return Contender("SciPy", call, weighted)
