"""CTC as a scan over a graph of general arcs, and its exact value, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logsum.tour._contenders import find_module

Array = NDArray[Any]
BLANK = 0
# A path moves on by at most two states a step: from a label to the next, over the blank between.
_REACH = 3


@dataclass(frozen=True)
class Lattice:
    """A sequence's states are a blank, its first label, a blank, ... its last label, a blank.

    Attributes
    ----------
    idx : array (states, 3)
        The state that arc j into a state leaves: itself, the one before, the one before that.
    labels : array (sequences, states, 3)
        The label whose score an arc has; `classes`, one past the last, where a sequence lacks it.
    initial, final : arrays (sequences, states)
        0 at the states where paths may start and end, -inf elsewhere.
    classes : int
    """

    idx: Array
    labels: Array
    initial: Array
    final: Array
    classes: int

    @classmethod
    def of(cls, targets: Array, target_lengths: Array, classes: int) -> Lattice:
        """Return the graph of targets (N, S), padded to one length."""
        count, longest = targets.shape
        states = 2 * longest + 1
        own = np.full((count, states), BLANK)
        own[:, 1::2] = targets
        idx = np.arange(states)[:, None] - np.arange(_REACH)
        idx[idx < 0] = -1
        labels = np.repeat(own[:, :, None], _REACH, axis=2)
        # Over a blank to another label only: equal ones would be merged.
        skips = np.zeros((count, states), bool)
        skips[:, 3::2] = own[:, 3::2] != own[:, 1:-2:2]
        labels[:, :, 2] = np.where(skips, own, classes)
        ends = np.arange(states) - 2 * target_lengths[:, None]
        return cls(
            idx,
            labels,
            np.where(np.arange(states) == 0, 0.0, np.full((count, 1), -np.inf)),
            np.where((ends == 0) | (ends == -1), 0.0, -np.inf),
            classes,
        )

    def arc_weights(self, log_probs: Any) -> Any:
        """Return Ms (T, N, states, 3) of log_probs (T, N, classes), an array or a tensor."""
        flat = self.labels.reshape(1, len(self.labels), -1)
        if isinstance(log_probs, np.ndarray):
            lacking = np.full((*log_probs.shape[:2], 1), -np.inf, log_probs.dtype)
            padded = np.concatenate([log_probs, lacking], axis=2)
            taken: Any = np.take_along_axis(padded, flat, axis=2)
        else:
            torch: Any = find_module("torch")
            padded = torch.nn.functional.pad(log_probs, (0, 1), value=-np.inf)
            taken = torch.take_along_dim(padded, torch.from_numpy(flat), dim=2)
        return taken.reshape(len(log_probs), *self.labels.shape)


def exact_losses(
    logits: Array, targets: Array, target_lengths: Array, semiring: str
) -> tuple[Array, Array]:
    """Return losses (N,) and gradients of logits (T, N, C), in the widest float that NumPy has.

    One step after the other, in log space, with nothing shared with what it judges.
    """
    wide = logits.astype(np.longdouble)
    shifted = wide - wide.max(axis=2, keepdims=True)
    scores = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    lattice = Lattice.of(targets, target_lengths, logits.shape[2])
    weights = [lattice.arc_weights(frame[None])[0] for frame in scores]  # (N, states, 3) a step
    alphas = [lattice.initial.astype(np.longdouble)]
    for weight in weights:
        alphas.append(_join(_arrivals(alphas[-1]) + weight, semiring))
    total = _join(alphas[-1] + lattice.final, semiring)
    beta = lattice.final.astype(np.longdouble)
    count, classes = logits.shape[1:]
    place = lattice.labels + (classes + 1) * np.arange(count)[:, None, None]
    gradient = np.exp(scores).astype(np.float64)
    for t in reversed(range(len(weights))):
        onward = weights[t] + beta[:, :, None]
        with np.errstate(invalid="ignore"):  # -inf less a total of -inf: replaced below
            share = _arrivals(alphas[t]) + onward - total[:, None, None]
        # The best path is unique but for rounding, unless there are ties, which logits of a
        # continuous distribution have not.
        used = np.exp(share) if semiring == "log" else share > -1e-9
        mass = np.bincount(
            place.ravel(), used.astype(np.float64).ravel(), minlength=count * (classes + 1)
        )
        gradient[t] -= mass.reshape(count, classes + 1)[:, :classes]
        beta = _join(_departures(onward), semiring)
    gradient[:, np.isneginf(total)] = 0  # no path, nothing to follow
    return -total, gradient


def _join(terms: Array, semiring: str) -> Array:
    """Return the semiring's sum over the last axis."""
    top = terms.max(axis=-1)
    if semiring == "max":
        return np.asarray(top)
    finite = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.asarray(finite + np.log(np.exp(terms - finite[..., None]).sum(axis=-1)))


def _arrivals(alpha: Array) -> Array:
    """Return what arcs 0, 1, 2 into each state bring: (N, states, 3)."""
    padded = np.pad(alpha, ((0, 0), (_REACH - 1, 0)), constant_values=-np.inf)
    states = alpha.shape[1]
    return np.stack([padded[:, _REACH - 1 - j :][:, :states] for j in range(_REACH)], axis=2)


def _departures(onward: Array) -> Array:
    """Return what follows each state by its arcs to itself, the next and the one after."""
    states = onward.shape[1]
    padded = np.pad(onward, ((0, 0), (0, _REACH - 1), (0, 0)), constant_values=-np.inf)
    return np.stack([padded[:, j : j + states, j] for j in range(_REACH)], axis=2)
