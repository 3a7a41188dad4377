"""Sequences and their targets for the tests of CTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass
class Batch:
    """Normal scores (T, N, C), normalised or not, and random targets with repeats."""

    frames: Array
    targets: Array
    inputs: Array
    lengths: Array
    blank: int = 0

    @staticmethod
    def random(
        seed: int,
        shape: tuple[int, int, int],
        longest: int,
        *,
        blank: int = 0,
        scale: float = 2.0,
        normalised: bool = True,
    ) -> Batch:
        """Return a batch whose every sequence has an alignment."""
        rng = np.random.default_rng([seed, *shape, longest])
        steps, batch, classes = shape
        frames = scale * rng.standard_normal(shape)
        if normalised:
            frames -= np.log(np.exp(frames).sum(-1, keepdims=True))
        targets = rng.integers(0, classes - 1, (batch, longest))
        targets += targets >= blank
        lengths = rng.integers(0, longest + 1, batch)
        pairs = zip(targets, lengths, strict=True)
        needed = [n + int((row[1:n] == row[: max(n - 1, 0)]).sum()) for row, n in pairs]
        inputs = np.array([rng.integers(min(k, steps), steps + 1) for k in needed])
        lengths = np.where(np.array(needed) > steps, 0, lengths)
        return Batch(frames, targets, inputs, lengths, blank)

    @property
    def arguments(self) -> tuple[Array, Array, Array, Array, int]:
        """What the functions take, in their order."""
        return self.frames, self.targets, self.inputs, self.lengths, self.blank

    @property
    def labels(self) -> list[list[int]]:
        """The targets without padding."""
        pairs = zip(self.targets, self.lengths, strict=True)
        return [row[:n].tolist() for row, n in pairs]

    @property
    def concatenated(self) -> Array:
        """The targets one after the other."""
        return np.concatenate([np.array(row, np.int64) for row in self.labels])

    def frames_of(self, n: int) -> Array:
        """The frames that one sequence has."""
        return self.frames[: self.inputs[n], n]
