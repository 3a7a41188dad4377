"""Strips of handwritten digits side by side, and a small model that reads their columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logsum.tour.chapters._naive_bayes import CLASSES, SIDE

Array = NDArray[Any]
HEIGHT = SIDE + 4  # room to move up and down
BLANK = CLASSES  # the label after the ten digits
_FEWEST, _MOST = 3, 6  # digits in a strip
_CLOSEST, _FURTHEST = -1, 4  # columns between two digits; -1 is an overlap
_BATCH = 24


@dataclass(frozen=True)
class Strips:
    """N strips of one width.

    Attributes
    ----------
    images : array (N, HEIGHT, T), 0 to 1
    widths : array (N,)
        The columns that count; the rest is blank.
    targets : array (N, S)
        The digits from left to right, BLANK after the last.
    lengths : array (N,)
        How many there are.
    """

    images: Array
    widths: Array
    targets: Array
    lengths: Array

    def target(self, n: int) -> list[int]:
        """Return the digits of one strip."""
        return [int(digit) for digit in self.targets[n, : self.lengths[n]]]


def make_strips(rng: np.random.Generator, digits: Array, labels: Array, count: int) -> Strips:
    """Put digits, drawn with replacement, side by side at uneven distances and heights."""
    lengths = rng.integers(_FEWEST, _MOST + 1, count)
    chosen = rng.integers(0, len(digits), (count, _MOST))
    gaps = rng.integers(_CLOSEST, _FURTHEST + 1, (count, _MOST))
    lefts = (SIDE + gaps).cumsum(axis=1) - SIDE - _CLOSEST
    tops = rng.integers(0, HEIGHT - SIDE + 1, (count, _MOST))
    widths = lefts[np.arange(count), lengths - 1] + SIDE + rng.integers(0, _FURTHEST, count)
    images = np.zeros((count, HEIGHT, widths.max()), np.float32)
    for n, length in enumerate(lengths):
        for k in range(length):
            top, left = tops[n, k], lefts[n, k]
            place = images[n, top : top + SIDE, left : left + SIDE]
            # Ink over ink: the darker one is seen.
            np.maximum(place, digits[chosen[n, k]].reshape(SIDE, SIDE) / 16, out=place)
    targets = np.where(np.arange(_MOST) < lengths[:, None], labels[chosen], BLANK)
    return Strips(images, widths, targets, lengths)


def new_model(torch: Any) -> Any:
    """Return convolutions over columns: images (N, HEIGHT, T) to logits (T, N, CLASSES + 1)."""
    nn, channels = torch.nn, 64
    layers, arriving = [], HEIGHT
    for _ in range(3):
        layers += [
            nn.Conv1d(arriving, channels, 5, padding=2, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        ]
        arriving = channels
    return nn.Sequential(*layers, nn.Conv1d(channels, CLASSES + 1, 1))


def logits_of(model: Any, images: Any) -> Any:
    """Return the model's logits in CTC's layout, time first."""
    return model(images).permute(2, 0, 1)


@dataclass(frozen=True)
class Step:
    """One step of training: its loss, and the seconds that the loss and its gradient took."""

    loss: float
    loss_seconds: float
    seconds: float


def train(
    torch: Any,
    digits: tuple[Array, Array],
    loss_of: Callable[[Any, Any, Any, Any], Any],
    steps: int,
    seed: int,
    until: int | None = None,
) -> tuple[Any, list[Step]]:
    """Train a model on strips made anew in every step; the same seed, the same strips and start.

    `until` ends it early, on the way to as many steps.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = new_model(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=steps)
    told: list[Step] = []
    for _ in range(until or steps):
        start = perf_counter()
        strips = make_strips(rng, *digits, _BATCH)
        logits = logits_of(model, torch.from_numpy(strips.images))
        loss_start = perf_counter()
        loss = loss_of(
            logits,
            *(torch.from_numpy(part) for part in (strips.targets, strips.widths, strips.lengths)),
        )
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        loss_end = perf_counter()
        optimizer.zero_grad()
        logits.backward(gradient)
        optimizer.step()
        schedule.step()
        told.append(Step(loss.item(), loss_end - loss_start, perf_counter() - start))
    return model, told


def edit_distance(read: list[int], true: list[int]) -> int:
    """Return the fewest insertions, deletions and exchanges that make one of the other."""
    above = list(range(len(true) + 1))
    for i, mine in enumerate(read, start=1):
        row = [i]
        for j, theirs in enumerate(true, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (mine != theirs)))
        above = row
    return above[-1]
