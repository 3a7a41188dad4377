"""What the cases of scans work on: weights, every library's call, and float64 references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import peers
from harness import Work
from records import judge

import logsum

torch = peers.torch

STREAM = "Ms read twice, gradient written"  # what any method must move: the yardstick of memory

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Weights:
    """Weights Ms (T, N, C, nz), v0 and vT (N, C), and the index of their arcs (C, nz)."""

    ms: np.ndarray
    idx: np.ndarray
    v0: np.ndarray
    vt: np.ndarray

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        """What every implementation takes, in its order."""
        return self.ms, self.idx, self.v0, self.vt


def weights(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float32, scale: float = 1.0
) -> Weights:
    """Return normal weights of a lattice as CTC has: a state follows itself and those before."""
    _, count, states, width = shape
    ms = rng.standard_normal(shape, np.float32)
    ms *= np.float32(scale)
    ends = scale * rng.standard_normal((2, count, states), np.float32)
    idx = (np.arange(states)[:, None] - np.arange(width)) % states
    return Weights(ms.astype(dtype, copy=False), idx, *ends.astype(dtype))


# ---- the same in other ways ----------------------------------------------------------------


def reference(made: Weights, *, best: bool = False) -> np.ndarray:
    """Return logZ in float64, a step at a time."""
    state = made.v0.astype(np.float64)
    for frame in made.ms:
        state = _reduced(frame.astype(np.float64) + state[:, made.idx], best=best)
    return _reduced(state + made.vt, best=best)


def _reduced(terms: np.ndarray, *, best: bool) -> np.ndarray:
    top = terms.max(-1)
    if best:
        return top
    shift = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms - shift[..., None]).sum(-1)) + shift


def forward_in_torch(ms: Any, idx: Any, v0: Any) -> Any:
    """Return the scores (T + 1, N, C) of plain torch: every step one call over N and C."""
    steps, count, states, _ = ms.shape
    alpha = ms.new_empty((steps + 1, count, states))
    alpha[0] = v0
    for t in range(steps):
        torch.logsumexp(ms[t] + alpha[t][:, idx], dim=2, out=alpha[t + 1])
    return alpha


def both_in_torch(ms: Any, idx: Any, v0: Any, vt: Any) -> tuple[Any, Any]:
    """Return logZ and the gradient of its sum for Ms, with an explicit backward scan.

    For a graph that as many arcs leave as enter each state: the reversed one has an index too.
    """
    states, width = idx.shape
    alpha = forward_in_torch(ms, idx, v0)
    value = torch.logsumexp(alpha[-1] + vt, dim=1)
    order = idx.flatten().argsort(stable=True).reshape(states, width)
    reverse, sources = ms.flatten(2), order // width
    beta, gradient = vt, torch.empty_like(ms)
    for t in range(len(ms) - 1, -1, -1):
        through = ms[t] + alpha[t][:, idx] + (beta - value[:, None])[:, :, None]
        torch.exp(through, out=gradient[t])
        beta = torch.logsumexp(reverse[t][:, order] + beta[:, sources], dim=2)
    return value, gradient


def streaming(ms: np.ndarray) -> Callable[[], Any]:
    """Return what reads Ms twice and writes an array of its size, on all threads."""
    if not torch:
        target = np.empty_like(ms)
        return lambda: (ms.sum(), ms.sum(), target.fill(0))
    source, target = torch.from_numpy(ms), torch.empty(ms.shape, dtype=torch.from_numpy(ms).dtype)
    return lambda: (source.sum(), source.sum(), target.zero_())


def allowed_error(exact: np.ndarray, dtype: Any, steps: int) -> float:
    """Return half an ulp of the largest value, and the roundings of float64 sums."""
    largest = max(1.0, float(np.abs(exact[np.isfinite(exact)]).max(initial=1)))
    return float(np.spacing(dtype(largest)) / 2 + 8 * steps * 2.0**-53 * max(1, largest / 100))


# ---- work ----------------------------------------------------------------------------------


def with_gradient(
    rng: np.random.Generator,
    _: int,
    *,
    shape: Shape,
    dtype: Any = np.float32,
    semiring: str = "log",
    checkpoint: int | None = None,
) -> Work:
    """logZ and the gradient for Ms, by torch's autograd; compared are the values."""
    made = weights(rng, shape, dtype)
    leaf = torch.from_numpy(made.ms).requires_grad_()
    idx, v0, vt = (torch.from_numpy(x) for x in made.arguments[1:])

    def ours() -> Any:
        value = logsum.logZ(leaf, idx, v0, vt, semiring, checkpoint=checkpoint)
        torch.autograd.grad(value.sum(), leaf)
        return value.detach()

    calls: dict[str, Callable[[], Any]] = {peers.OURS: ours}
    judged = []
    if semiring == "log":
        plain = leaf.detach()
        calls["torch"] = lambda: both_in_torch(plain, idx, v0, vt)[0]
        gradient = torch.autograd.grad(logsum.logZ(leaf, idx, v0, vt).sum(), leaf)[0]
        wide = both_in_torch(plain[:, :2].double(), idx, v0[:2].double(), vt[:2].double())[1]
        error = (gradient[:, :2] - wide).abs() / wide.clamp(min=1e-6)
        judged = [judge("relative error of the gradient", float(error.max()), at_most=1e-6)]
    exact = reference(made, best=semiring == "max")
    allowed = allowed_error(exact, dtype, shape[0])
    yardsticks = {STREAM: streaming(made.ms)}
    return Work(calls, exact, allowed, made.ms.size, yardsticks, judged)


def alone(
    rng: np.random.Generator, _: int, *, shape: Shape, semiring: str = "log", path: bool = False
) -> Work:
    """Values of arrays without a gradient, or those of the best path with it."""
    made = weights(rng, shape)
    graph = logsum.Graph.from_index(made.idx)
    rest = (graph, made.v0, made.vt)
    calls: dict[str, Callable[[], Any]] = {
        peers.OURS: (lambda: logsum.viterbi(made.ms, *rest)[0])
        if path
        else (lambda: logsum.logZ(made.ms, *rest, semiring))
    }
    if torch and semiring == "log":
        ms, idx, v0, vt = (torch.from_numpy(x) for x in made.arguments)
        calls["torch"] = lambda: torch.logsumexp(forward_in_torch(ms, idx, v0)[-1] + vt, 1)
    exact = reference(made, best=semiring == "max")
    return Work(calls, exact, allowed_error(exact, np.float32, shape[0]), made.ms.size)
