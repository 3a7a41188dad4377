"""Cases of the array reductions: logsumexp, softmax, log_softmax, logaddexp and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import accuracy
import numpy as np
import peers
from harness import Case, Limit, Work
from machine import reader

import logsum

torch, special = peers.torch, peers.special

# What the results promise beyond half an ulp, for sums of one sign (logsumexp.hpp).
_BEYOND_HALF_ULP = {np.float32: 4e-7, np.float64: 8e-16, np.float16: 4e-7}
# The bound on the worst error over all float32 inputs tried.
_WORST = 1e-6
_OVER_TORCH_AND_SCIPY = {"torch": 1.5, "SciPy": 3.0}
_READ, _CORE_EXP = "one read", "exp/float32/full"


# ---- inputs and references -----------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Scores as a model gives them: the naive formula survives them too."""
    return (3 * rng.standard_normal(shape, np.float32)).astype(dtype)


def _wide(array: np.ndarray) -> np.ndarray:
    # The reference of float64 needs more than float64; longdouble has it where the machine does.
    return array.astype(np.longdouble if array.dtype == np.float64 else np.float64)


def _logsumexp(array: np.ndarray, axis: int | None) -> np.ndarray:
    wide = _wide(array)
    top = wide.max(axis=axis, keepdims=True)
    # Adding a constant -inf or +inf to itself has no sum to shift.
    shift = np.where(np.isfinite(top), top, 0)
    with np.errstate(over="ignore", divide="ignore"):
        total = np.log(np.exp(wide - shift).sum(axis=axis, keepdims=True))
    return np.squeeze(total + shift, axis=axis)


def _softmax(array: np.ndarray, *, log: bool) -> np.ndarray:
    value = _wide(array) - np.expand_dims(_logsumexp(array, -1), -1)
    return value if log else np.exp(value)


def _allowed(reference: np.ndarray, dtype: Any) -> float:
    largest = np.abs(reference[np.isfinite(reference)]).max()
    return float(np.spacing(dtype(largest))) / 2 + _BEYOND_HALF_ULP[dtype]


# ---- work ----------------------------------------------------------------------------------


def _present(calls: Mapping[str, Callable[[], Any] | None]) -> dict[str, Callable[[], Any]]:
    return {name: call for name, call in calls.items() if call is not None}


def _naive(array: np.ndarray, axis: int | None) -> np.ndarray:
    return np.log(np.exp(array).sum(axis=axis))


def _reduction(
    rng: np.random.Generator,
    threads: int,
    *,
    shape: tuple[int, ...],
    axis: int | None,
    dtype: Any = np.float32,
) -> Work:
    array = _normal(rng, shape, dtype)
    tensor = torch.from_numpy(array) if torch else None
    dims = tuple(range(array.ndim)) if axis is None else axis
    reference = _logsumexp(array, axis)
    return Work(
        _present(
            {
                peers.OURS: lambda: logsum.logsumexp(array, axis),
                "torch": torch and (lambda: torch.logsumexp(tensor, dims)),
                "SciPy": special and (lambda: special.logsumexp(array, axis)),
                "NumPy": lambda: _naive(array, axis),
            }
        ),
        reference,
        _allowed(reference, dtype),
        array.size,
        {_READ: reader(array, threads)} if dtype == np.float32 else {},
    )


def _weighted(rng: np.random.Generator, _: int, *, shape: tuple[int, ...]) -> Work:
    array = _normal(rng, shape, np.float32)
    weights = rng.random(shape, np.float32)
    # Positive weights: the same as adding their logarithms, done in float64.
    reference = _logsumexp(_wide(array) + np.log(_wide(weights)), -1).astype(np.float64)
    return Work(
        _present(
            {
                peers.OURS: lambda: logsum.logsumexp(array, -1, b=weights),
                "SciPy": special and (lambda: special.logsumexp(array, -1, b=weights)),
                "NumPy": lambda: np.log((weights * np.exp(array)).sum(axis=-1)),
            }
        ),
        reference,
        _allowed(reference, np.float32),
        array.size,
    )


def _normalised(
    rng: np.random.Generator, _: int, *, shape: tuple[int, ...], log: bool, dtype: Any = np.float32
) -> Work:
    array = _normal(rng, shape, dtype)
    tensor = torch.from_numpy(array) if torch else None
    name = "log_softmax" if log else "softmax"
    ours, scipy = getattr(logsum, name), special and getattr(special, name)
    theirs = torch and getattr(torch, name)
    reference = _softmax(array, log=log)
    # p = exp(a - lse) inherits the rounding of a - lse: relative, so at most that of p = 1.
    return Work(
        _present(
            {
                peers.OURS: lambda: ours(array, -1),
                "torch": theirs and (lambda: theirs(tensor, -1)),
                "SciPy": scipy and (lambda: scipy(array, -1)),
            }
        ),
        reference,
        _allowed(reference, dtype),
        array.size,
    )


def _added(rng: np.random.Generator, _: int, *, size: int) -> Work:
    a, b = (_normal(rng, (size,), np.float32) for _ in range(2))
    ta, tb = (torch.from_numpy(x) if torch else None for x in (a, b))
    reference = np.logaddexp(_wide(a), _wide(b))
    return Work(
        _present(
            {
                peers.OURS: lambda: logsum.logaddexp(a, b),
                "torch": torch and (lambda: torch.logaddexp(ta, tb)),
                "NumPy": lambda: np.logaddexp(a, b),
            }
        ),
        reference,
        _allowed(reference, np.float32),
        size,
    )


def _bfloat16(rng: np.random.Generator, _: int, *, shape: tuple[int, ...]) -> Work:
    tensor = torch.from_numpy(_normal(rng, shape, np.float32)).bfloat16()
    reference = _logsumexp(tensor.double().numpy(), -1).astype(np.float64)
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


def _small(rng: np.random.Generator, _: int, *, of_torch: bool) -> Work:
    array = _normal(rng, (10,), np.float32)
    tensor = torch.from_numpy(array) if of_torch else None
    reference = _logsumexp(array, 0)
    calls = (
        {
            peers.OURS: lambda: logsum.logsumexp(tensor, 0),
            "torch": lambda: torch.logsumexp(tensor, 0),
        }
        if of_torch
        else {
            peers.OURS: lambda: logsum.logsumexp(array, 0),
            "SciPy": special and (lambda: special.logsumexp(array, 0)),
            "NumPy": lambda: _naive(array, 0),
        }
    )
    return Work(_present(calls), reference, _allowed(reference, np.float32), array.size)


def _gradient(
    rng: np.random.Generator, _: int, *, name: str, shape: tuple[int, ...], axis: int
) -> Work:
    """Forward and backward, with a fixed incoming gradient."""
    array = _normal(rng, shape, np.float32)
    tensor = torch.from_numpy(array).requires_grad_()
    incoming_shape = np.delete(shape, axis) if name == "logsumexp" else shape
    incoming = rng.standard_normal(incoming_shape, np.float32)
    posterior = np.exp(_wide(array) - np.expand_dims(_logsumexp(array, axis), axis))
    if name == "logsumexp":
        reference = np.expand_dims(incoming, axis) * posterior
    else:
        reference = incoming - posterior * incoming.sum(axis=axis, keepdims=True, dtype=np.float64)
    grad = torch.from_numpy(incoming)

    def through(function: Callable[[Any, int], Any]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(function(tensor, axis), tensor, grad)[0]

    return Work(
        {
            peers.OURS: through(getattr(logsum, name)),
            "torch": through(getattr(torch, name)),
        },
        reference,
        # The sum of a row's incoming gradients, hundreds of terms, is rounded in float32.
        _allowed(reference, np.float32) + 4 * _BEYOND_HALF_ULP[np.float32],
        array.size,
    )


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks the arrays a hundredfold, names and checks stay."""

    def size(*shape: int) -> tuple[int, ...]:
        return tuple(max(2, n // 100) if quick and n == max(shape) else n for n in shape)

    def lse(shape: tuple[int, ...], axis: int | None, **options: Any) -> Any:
        return partial(_reduction, shape=size(*shape), axis=axis, **options)

    chosen = [
        Case(
            "logsumexp-long-rows",
            "logsumexp, 64 x 100000 over axis 1",
            lse((64, 100_000), 1),
            _OVER_TORCH_AND_SCIPY,
            Limit(1.25, _READ, _CORE_EXP),
            headline=True,
        ),
        Case(
            "logsumexp-short-rows",
            "logsumexp, 100000 x 16 over axis 1",
            lse((100_000, 16), 1),
            _OVER_TORCH_AND_SCIPY,
            headline=True,
        ),
        Case(
            "logsumexp-columns",
            "logsumexp, 1000 x 5000 over axis 0",
            lse((1000, 5000), 0),
            _OVER_TORCH_AND_SCIPY,
            headline=True,
        ),
        Case("logsumexp-all", "logsumexp, 2000 x 2000 over all axes", lse((2000, 2000), None)),
        Case(
            "logsumexp-float64",
            "logsumexp of float64, 64 x 20000 over axis 1",
            lse((64, 20_000), 1, dtype=np.float64),
        ),
        Case(
            "logsumexp-float16",
            "logsumexp of float16, 1000 x 1000 over axis 1",
            lse((1000, 1000), 1, dtype=np.float16),
        ),
        Case(
            "logsumexp-weights",
            "logsumexp with weights, 1000 x 1000 over axis 1",
            partial(_weighted, shape=size(1000, 1000)),
        ),
        Case(
            "softmax",
            "softmax, 2000 x 1000 over axis 1",
            partial(_normalised, shape=size(2000, 1000), log=False),
            headline=True,
        ),
        Case(
            "log_softmax",
            "log_softmax, 2000 x 1000 over axis 1",
            partial(_normalised, shape=size(2000, 1000), log=True),
            headline=True,
        ),
        Case("logaddexp", "logaddexp, 1000000", partial(_added, size=size(1_000_000)[0])),
        Case(
            "logsumexp-small-numpy",
            "logsumexp of 10 numbers, a NumPy array",
            partial(_small, of_torch=False),
            headline=True,
        ),
    ]
    if torch:
        chosen += [
            Case(
                "logsumexp-small-torch",
                "logsumexp of 10 numbers, a torch tensor",
                partial(_small, of_torch=True),
                {"torch": 0.5},
                headline=True,
            ),
            Case(
                "logsumexp-bfloat16",
                "logsumexp of bfloat16, 1000 x 1000 over axis 1",
                partial(_bfloat16, shape=size(1000, 1000)),
            ),
            Case(
                "logsumexp-gradient-long-rows",
                "logsumexp and its gradient, 64 x 100000 over axis 1",
                partial(_gradient, name="logsumexp", shape=size(64, 100_000), axis=1),
                headline=True,
            ),
            Case(
                "logsumexp-gradient-short-rows",
                "logsumexp and its gradient, 100000 x 16 over axis 1",
                partial(_gradient, name="logsumexp", shape=size(100_000, 16), axis=1),
            ),
            Case(
                "log_softmax-gradient",
                "log_softmax and its gradient, 2000 x 1000 over axis 1",
                partial(_gradient, name="log_softmax", shape=size(2000, 1000), axis=1),
                headline=True,
            ),
        ]
    return chosen


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(rng: np.random.Generator, *, quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    rows = 20 if quick else 1000
    for scale in (1, 10, 100):
        for terms in (2, 17, 1000):
            array = scale * rng.standard_normal((rows, terms))
            yield f"normal, sd {scale}, {terms} terms", array.astype(np.float32)
    long = 10_000 if quick else 1_000_000
    yield f"equal, {long} terms", np.repeat(_normal(rng, (4, 1), np.float32), long, axis=1)
    yield f"normal, {long} terms", _normal(rng, (4, long), np.float32)
    gaps = np.linspace(0, 110, 10 * rows)
    yield "two terms a gap apart", np.stack([0 * gaps, -gaps], axis=1).astype(np.float32)
    yield "result near 0", (-np.log(7) + rng.normal(0, 1e-3, (rows, 7))).astype(np.float32)
    crowd = np.full((4, 100 * rows), -16, np.float32)
    crowd[:, 0] = 0
    yield "one term and a crowd of small ones", crowd
    yield "uniform to ±1e38", (1e38 * rng.uniform(-1, 1, (rows, 9))).astype(np.float32)
    sparse = _normal(rng, (rows, 40), np.float32)
    yield "half of the terms -inf", np.where(rng.random(sparse.shape) < 0.5, -np.inf, sparse)


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst float32 errors by kind of input and contender."""
    calls = _present(
        {
            peers.OURS: lambda a: logsum.logsumexp(a, -1),
            "torch": torch and (lambda a: torch.logsumexp(torch.from_numpy(a), -1)),
            "SciPy": special and (lambda a: special.logsumexp(a, -1)),
        }
    )
    return accuracy.worst_errors(
        _inputs(np.random.default_rng(11), quick=quick),
        calls,
        lambda array: _logsumexp(array, -1),
        at_most=_WORST,
    )
