"""Five ways to multiply matrices of logarithms, in torch where it is installed, else in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module

Array = NDArray[Any]
_NO_TORCH = "torch is not installed"


@dataclass(frozen=True)
class Way:
    """A way to compute log(exp(A) @ exp(B)).

    Attributes
    ----------
    name : str
    style : str
        Its colour and marker in pictures.
    call : callable or None
        Takes two tensors, or two arrays where there is no torch.
    missing : str
        Why `call` is None.
    """

    name: str
    style: str
    call: Callable[[Any, Any], Any] | None = None
    missing: str = ""

    def value(self, a: Array, b: Array) -> Array | None:
        """Return the product of two arrays, None where there is no such way."""
        if self.call is None:
            return None
        torch = find_module("torch")
        with np.errstate(all="ignore"):
            if torch is None:
                return np.asarray(self.call(a, b))
            return np.asarray(self.call(torch.from_numpy(a), torch.from_numpy(b)))

    def gradients(self, a: Array, b: Array) -> tuple[Array, Array] | None:
        """Return the gradients of the product's sum, None where torch is missing."""
        torch = find_module("torch")
        if torch is None or self.call is None:
            return None
        left, right = (torch.from_numpy(each.copy()).requires_grad_() for each in (a, b))
        self.call(left, right).sum().backward()
        return left.grad.numpy(), right.grad.numpy()

    def bind(self, a: Array, b: Array) -> Callable[[], object]:
        """Return a call to time: the product and, with torch, its gradients."""
        torch = find_module("torch")
        if torch is None:
            return lambda: self.value(a, b)
        left, right = (torch.from_numpy(each).requires_grad_() for each in (a, b))
        ones = torch.ones(a.shape[0], b.shape[1], dtype=left.dtype)

        def run() -> object:
            assert self.call is not None
            return torch.autograd.grad(self.call(left, right), (left, right), ones)

        return run


def ways() -> list[Way]:
    """Return all ways, ours first."""
    torch = find_module("torch")
    return [
        Way("logsum", "logsum", logsum.logmatmulexp),
        Way("broadcast", "torch", broadcast),
        Way("checkpoint", "checkpoint", None if torch is None else _checkpoint, _NO_TORCH),
        Way("max trick", "shifted", max_trick),
        Way("naive", "naive", naive),
    ]


def naive(a: Any, b: Any) -> Any:
    """Return the definition as written."""
    space = _space(a)
    return space.log(space.exp(a) @ space.exp(b))


def max_trick(a: Any, b: Any) -> Any:
    """Return the product after subtracting the maxima of A's rows and B's columns."""
    space = _space(a)
    top, left = _amax(a, 1), _amax(b, 0)
    return top + left + space.log(space.exp(a - top) @ space.exp(b - left))


def broadcast(a: Any, b: Any) -> Any:
    """Return logsumexp over all M x K x N terms: right, at a price."""
    terms = a[:, :, None] + b[None]
    torch = find_module("torch")
    if torch is not None and isinstance(terms, torch.Tensor):
        return torch.logsumexp(terms, 1)
    top = _amax(terms, 1)
    finite = np.where(np.isfinite(top), top, 0)
    return (finite + np.log(np.exp(terms - finite).sum(1, keepdims=True)))[:, 0]


def _checkpoint(a: Any, b: Any) -> Any:
    """Return the same, whose terms are computed again for the gradient instead of kept."""
    checkpoint: Any = find_module("torch.utils.checkpoint")
    return checkpoint.checkpoint(broadcast, a, b, use_reentrant=False)


def _space(a: Any) -> Any:
    return np if isinstance(a, np.ndarray) else find_module("torch")


def _amax(a: Any, axis: int) -> Any:
    if isinstance(a, np.ndarray):
        return a.max(axis, keepdims=True)
    return a.amax(axis, keepdim=True)
