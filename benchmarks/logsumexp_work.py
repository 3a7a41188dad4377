"""What the cases of logsumexp work on: arrays, every library's call, and float64 references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import peers
from harness import Work
from machine import reader

import logsum

torch, special = peers.torch, peers.special

READ = "one read"  # the yardstick of memory

# What the results promise beyond half an ulp, for sums of one sign (logsumexp.hpp).
_BEYOND_HALF_ULP = {np.float32: 4e-7, np.float64: 8e-16, np.float16: 4e-7}


# ---- inputs and references -----------------------------------------------------------------


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Scores as a model gives them: the naive formula survives them too."""
    return (3 * rng.standard_normal(shape, np.float32)).astype(dtype)


def widened(array: np.ndarray) -> np.ndarray:
    # The reference of float64 needs more than float64; longdouble has it where the machine does.
    return array.astype(np.longdouble if array.dtype == np.float64 else np.float64)


def logsumexp_of(array: np.ndarray, axis: int | None) -> np.ndarray:
    wide = widened(array)
    top = wide.max(axis=axis, keepdims=True)
    # Adding a constant -inf or +inf to itself has no sum to shift.
    shift = np.where(np.isfinite(top), top, 0)
    with np.errstate(over="ignore", divide="ignore"):
        total = np.log(np.exp(wide - shift).sum(axis=axis, keepdims=True))
    return np.squeeze(total + shift, axis=axis)


def softmax_of(array: np.ndarray, *, log: bool) -> np.ndarray:
    value = widened(array) - np.expand_dims(logsumexp_of(array, -1), -1)
    return value if log else np.exp(value)


def allowed_error(reference: np.ndarray, dtype: Any, roundings: int = 1) -> float:
    """Return half an ulp of the largest result for each rounding, and what the sum may be off."""
    largest = np.abs(reference[np.isfinite(reference)]).max()
    return roundings * float(np.spacing(dtype(largest))) / 2 + _BEYOND_HALF_ULP[dtype]


# ---- work ----------------------------------------------------------------------------------


def present(calls: Mapping[str, Callable[[], Any] | None]) -> dict[str, Callable[[], Any]]:
    return {name: call for name, call in calls.items() if call is not None}


def naive(array: np.ndarray, axis: int | None) -> np.ndarray:
    with np.errstate(over="ignore"):  # of float16 beyond 65504: recorded as its error
        return np.log(np.exp(array).sum(axis=axis))


def reduction(
    rng: np.random.Generator,
    threads: int,
    *,
    shape: tuple[int, ...],
    axis: int | None,
    dtype: Any = np.float32,
) -> Work:
    array = normal(rng, shape, dtype)
    tensor = torch.from_numpy(array) if torch else None
    dims = tuple(range(array.ndim)) if axis is None else axis
    reference = logsumexp_of(array, axis)
    return Work(
        present(
            {
                peers.OURS: lambda: logsum.logsumexp(array, axis),
                "torch": torch and (lambda: torch.logsumexp(tensor, dims)),
                "SciPy": special and (lambda: special.logsumexp(array, axis)),
                "NumPy": lambda: naive(array, axis),
            }
        ),
        reference,
        allowed_error(reference, dtype),
        array.size,
        {READ: reader(array, threads)} if dtype == np.float32 else {},
    )


def weighted(rng: np.random.Generator, _: int, *, shape: tuple[int, ...]) -> Work:
    array = normal(rng, shape, np.float32)
    weights = rng.random(shape, np.float32)
    # Positive weights: the same as adding their logarithms, done in float64.
    reference = logsumexp_of(widened(array) + np.log(widened(weights)), -1).astype(np.float64)
    return Work(
        present(
            {
                peers.OURS: lambda: logsum.logsumexp(array, -1, b=weights),
                "SciPy": special and (lambda: special.logsumexp(array, -1, b=weights)),
                "NumPy": lambda: np.log((weights * np.exp(array)).sum(axis=-1)),
            }
        ),
        reference,
        allowed_error(reference, np.float32),
        array.size,
    )


def normalised(
    rng: np.random.Generator, _: int, *, shape: tuple[int, ...], log: bool, dtype: Any = np.float32
) -> Work:
    array = normal(rng, shape, dtype)
    tensor = torch.from_numpy(array) if torch else None
    name = "log_softmax" if log else "softmax"
    ours, scipy = getattr(logsum, name), special and getattr(special, name)
    theirs = torch and getattr(torch, name)
    reference = softmax_of(array, log=log)
    return Work(
        present(
            {
                peers.OURS: lambda: ours(array, -1),
                "torch": theirs and (lambda: theirs(tensor, -1)),
                "SciPy": scipy and (lambda: scipy(array, -1)),
            }
        ),
        reference,
        # log_softmax subtracts twice, the maximum and the logarithm of the sum.
        allowed_error(reference, dtype, 2 if log else 1),
        array.size,
    )


def added(rng: np.random.Generator, _: int, *, shape: tuple[int, ...]) -> Work:
    a, b = normal(rng, (2, *shape), np.float32)
    ta, tb = (torch.from_numpy(x) if torch else None for x in (a, b))
    reference = np.logaddexp(widened(a), widened(b))
    return Work(
        present(
            {
                peers.OURS: lambda: logsum.logaddexp(a, b),
                "torch": torch and (lambda: torch.logaddexp(ta, tb)),
                "NumPy": lambda: np.logaddexp(a, b),
            }
        ),
        reference,
        allowed_error(reference, np.float32),
        a.size,
    )


def bfloat16(rng: np.random.Generator, _: int, *, shape: tuple[int, ...]) -> Work:
    tensor = torch.from_numpy(normal(rng, shape, np.float32)).bfloat16()
    reference = logsumexp_of(tensor.double().numpy(), -1).astype(np.float64)
    # bfloat16 keeps 8 bits: half an ulp of a result in [8, 16) is 2^-5.
    half = float(2.0 ** (np.floor(np.log2(np.abs(reference).max())) - 8))
    return Work(
        {
            peers.OURS: lambda: logsum.logsumexp(tensor, -1),
            "torch": lambda: torch.logsumexp(tensor, -1),
        },
        reference,
        half + _BEYOND_HALF_ULP[np.float16],
        tensor.numel(),
    )


def small(rng: np.random.Generator, _: int, *, of_torch: bool) -> Work:
    array = normal(rng, (10,), np.float32)
    tensor = torch.from_numpy(array) if of_torch else None
    reference = logsumexp_of(array, 0)
    calls = (
        {
            peers.OURS: lambda: logsum.logsumexp(tensor, 0),
            "torch": lambda: torch.logsumexp(tensor, 0),
        }
        if of_torch
        else {
            peers.OURS: lambda: logsum.logsumexp(array, 0),
            "SciPy": special and (lambda: special.logsumexp(array, 0)),
            "NumPy": lambda: naive(array, 0),
        }
    )
    return Work(present(calls), reference, allowed_error(reference, np.float32), array.size)


def gradient(
    rng: np.random.Generator, _: int, *, name: str, shape: tuple[int, ...], axis: int
) -> Work:
    """Forward and backward, with a fixed incoming gradient."""
    array = normal(rng, shape, np.float32)
    tensor = torch.from_numpy(array).requires_grad_()
    incoming_shape = np.delete(shape, axis) if name == "logsumexp" else shape
    incoming = rng.standard_normal(incoming_shape, np.float32)
    lse = np.expand_dims(logsumexp_of(array, axis), axis)
    posterior = np.exp(widened(array) - lse)
    if name == "logsumexp":
        through_sum = np.expand_dims(incoming, axis) * posterior
        reference = through_sum
    else:
        through_sum = posterior * incoming.sum(axis=axis, keepdims=True, dtype=np.float64)
        reference = incoming - through_sum
    # A probability rebuilt from a stored lse is |lse| 2^-24 away, and so is what it multiplies.
    rebuilt = float(np.abs(through_sum).max() * (np.abs(lse).max() + 16)) * 2.0**-24
    grad = torch.from_numpy(incoming)

    def through(function: Callable[[Any, int], Any]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(function(tensor, axis), tensor, grad)[0]

    return Work(
        {
            peers.OURS: through(getattr(logsum, name)),
            "torch": through(getattr(torch, name)),
        },
        reference,
        allowed_error(reference, np.float32) + rebuilt,
        array.size,
    )
