"""What the cases of CTC work on: sequences and targets, calls, and float64 references."""

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

# What float32 losses and gradients promise: the loss its rounding, and the gradient's entries
# relative to the largest of them. float64 has the roundings of T sums.
_GRADIENT = 1e-6

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """Sequences (T, N, C) that are all used to their end, and their targets."""

    frames: np.ndarray
    targets: np.ndarray
    inputs: np.ndarray
    lengths: np.ndarray

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        """What every loss takes, in its order."""
        return self.frames, self.targets, self.inputs, self.lengths


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the shares along the last axis, in x's dtype."""
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def batch(
    rng: np.random.Generator, shape: Shape, labels: tuple[int, int], dtype: Any, *, logits: bool
) -> Batch:
    """Return normal scores, normalised unless they are logits, and random targets."""
    steps, count, classes = shape
    frames = rng.standard_normal(shape, np.float32)
    if not logits:
        frames = log_softmax(frames)
    least, most = labels
    targets = rng.integers(1, classes, (count, most))
    lengths = rng.integers(least, most + 1, count)
    return Batch(frames.astype(dtype), targets, np.full(count, steps), lengths)


def wrong(rng: np.random.Generator, shape: Shape, labels: tuple[int, int]) -> Batch:
    """Return a batch of a model that is confidently wrong.

    It is sure of blanks first and of the last label then, so that the labels between underflow
    beside what it prefers, wherever in the sequence they are said.
    """
    made = batch(rng, shape, labels, np.float32, logits=True)
    half = shape[0] // 2
    frames = made.frames
    frames[:half, :, 1:] -= 300
    last = made.targets[np.arange(shape[1]), made.lengths - 1]
    sure = last[:, None] == np.arange(shape[2])
    frames[half:] -= np.where(sure, 0, 600)
    return Batch(log_softmax(frames), *made.arguments[1:])


# ---- references ----------------------------------------------------------------------------


def reference(made: Batch, *, logits: bool = False, best: bool = False) -> np.ndarray:
    """Return the losses in float64, by sums of logarithms over the states of all sequences."""
    frames = made.frames.astype(np.float64)
    frames = log_softmax(frames) if logits else frames
    count, most = made.targets.shape
    states = np.zeros((count, 2 * most + 1), np.int64)
    states[:, 1::2] = made.targets
    skips = np.zeros(states.shape, bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    add = np.maximum if best else np.logaddexp
    alpha = np.full(states.shape, -np.inf)
    alpha[:, 0] = 0
    for t, frame in enumerate(frames):
        moved = alpha.copy()
        moved[:, 1:] = add(moved[:, 1:], alpha[:, :-1])
        if t:
            skipped = np.where(skips[:, 2:], alpha[:, :-2], -np.inf)
            moved[:, 2:] = add(moved[:, 2:], skipped)
        alpha = moved + np.take_along_axis(frame, states, 1)
    ends = 2 * made.lengths[:, None] + np.array([-1, 0])
    reached = np.where(ends < 0, -np.inf, np.take_along_axis(alpha, np.maximum(ends, 0), 1))
    return -add.reduce(reached, 1)


def allowed_error(exact: np.ndarray, dtype: Any, steps: int) -> float:
    """Return half an ulp of the largest loss, and the roundings of float64 sums."""
    largest = np.abs(exact[np.isfinite(exact)]).max(initial=1)
    return float(np.spacing(dtype(largest)) / 2 + 8 * steps * 2.0**-53 * max(1, largest / 100))


def gradient_error(made: Batch, **options: Any) -> float:
    """Return the largest error of a float32 gradient, relative to entries above 1e-6."""
    narrow, wide = (
        _core_gradient(x, made, **options) for x in (made.frames, made.frames.astype(np.float64))
    )
    return float((np.abs(narrow - wide) / np.maximum(np.abs(wide), 1e-6)).max())


def _core_gradient(frames: np.ndarray, made: Batch, *, from_logits: bool = False) -> np.ndarray:
    return evaluated(frames, made, from_logits=from_logits)[0]


def evaluated(
    frames: np.ndarray, made: Batch, *, from_logits: bool = False
) -> tuple[np.ndarray, int]:
    """Return the gradient of the sum, and how many sequences were computed again."""
    core = logsum._core
    losses, gradient = np.empty(frames.shape[1], frames.dtype), np.empty_like(frames)
    repaired = core.ctc_loss(
        frames,
        *made.arguments[1:],
        losses,
        gradient,
        0,
        from_logits,
        core.Semiring.log,
        False,
    )
    return gradient, repaired


# ---- work ----------------------------------------------------------------------------------


def with_gradient(
    rng: np.random.Generator,
    _: int,
    *,
    shape: Shape,
    labels: tuple[int, int],
    dtype: Any = np.float32,
    logits: bool = False,
    repaired: bool = False,
) -> Work:
    """The losses' sum and its gradient, by torch's autograd; compared are the losses."""
    if repaired:
        made = wrong(rng, shape, labels)
    else:
        made = batch(rng, shape, labels, dtype, logits=logits)
    leaf = torch.from_numpy(made.frames).requires_grad_()
    rest = [torch.from_numpy(x) for x in made.arguments[1:]]

    def through(losses: Callable[[Any], Any]) -> Callable[[], Any]:
        def call() -> Any:
            value = losses(leaf)
            torch.autograd.grad(value.sum(), leaf)
            return value.detach()

        return call

    def ours(x: Any) -> Any:
        return logsum.ctc_loss(x, *rest, reduction="none", from_logits=logits)

    def theirs(x: Any) -> Any:
        frames = x.log_softmax(-1) if logits else x
        return torch.nn.functional.ctc_loss(frames, *rest, reduction="none")

    exact = reference(made, logits=logits)
    judged = []
    if dtype == np.float32:
        error = gradient_error(made, from_logits=logits)
        judged.append(judge("relative error of the gradient", error, at_most=_GRADIENT))
    if repaired:
        share = evaluated(made.frames, made)[1] / shape[1]
        judged.append(judge("share of sequences that are repaired", share, at_least=1))
    return Work(
        {peers.OURS: through(ours), "torch": through(theirs)},
        exact,
        allowed_error(exact, dtype, shape[0]),
        made.frames.size,
        {},
        judged,
    )


def alone(
    rng: np.random.Generator,
    _: int,
    *,
    shape: Shape,
    labels: tuple[int, int],
    semiring: str = "log",
) -> Work:
    """The losses of arrays, without a gradient."""
    made = batch(rng, shape, labels, np.float32, logits=False)
    calls: dict[str, Callable[[], Any]] = {
        peers.OURS: lambda: logsum.ctc_loss(*made.arguments, 0, "none", semiring=semiring)
    }
    if torch and semiring == "log":
        tensors = [torch.from_numpy(x) for x in made.arguments]
        calls["torch"] = lambda: torch.nn.functional.ctc_loss(*tensors, reduction="none")
    exact = reference(made, best=semiring == "max")
    allowed = allowed_error(exact, np.float32, shape[0])
    return Work(calls, exact, allowed, made.frames.size)
