"""The ways to a CTC loss that the tour compares: torch's, ours, and a scan over general arcs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module
from logsum.tour.chapters._lattice import BLANK, Lattice

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Logits (T, N, C) of N sequences of equal length, and a target for each."""

    logits: Array
    targets: Array
    target_lengths: Array

    @classmethod
    def random(
        cls, rng: np.random.Generator, steps: int, count: int, classes: int, lengths: range
    ) -> Batch:
        """Return normal logits, float32, and targets of uniform labels and lengths."""
        longest = lengths[-1]
        return cls(
            rng.standard_normal((steps, count, classes)).astype(np.float32),
            rng.integers(1, classes, (count, longest)),
            rng.choice(lengths, count),
        )

    @cached_property
    def lattice(self) -> Lattice:
        """The targets' graph."""
        return Lattice.of(self.targets, self.target_lengths, self.logits.shape[2])

    @property
    def input_lengths(self) -> Array:
        """All the same: of every frame."""
        return np.full(self.logits.shape[1], len(self.logits))

    def first(self, count: int) -> Batch:
        """Return the first sequences only."""
        return Batch(self.logits[:, :count], self.targets[:count], self.target_lengths[:count])


@dataclass(frozen=True)
class Way:
    """A way to losses (N,), in two parts, of which the second is what is timed.

    Attributes
    ----------
    name, semiring : str
    start : callable
        Takes logits, an array or a tensor, and a Batch, to what `finish` starts from.
    finish : callable
        Takes that and a Batch to the losses.
    """

    name: str
    semiring: str
    start: Callable[[Any, Batch], Any]
    finish: Callable[[Any, Batch], Any]

    @property
    def title(self) -> str:
        """Its name and semiring, as tables have them."""
        return f"{self.name}, {self.semiring.capitalize()}"

    def value(self, batch: Batch, dtype: Any) -> tuple[Array, Array | None]:
        """Return losses and gradients of the logits, None for these without torch."""
        logits = tensor(batch.logits, dtype)
        losses = self.finish(self.start(logits, batch), batch)
        torch: Any = find_module("torch")
        if torch is None:
            return losses, None
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        return losses.detach().numpy(), gradient.numpy()


def tensor(values: Array, dtype: Any) -> Any:
    """Return a torch leaf that takes gradients, or the array where there is no torch."""
    torch: Any = find_module("torch")
    array = values.astype(dtype)
    return array if torch is None else torch.from_numpy(array).requires_grad_()


def like(values: Array, other: Any) -> Any:
    """Return values as an array or a tensor, as `other` is; floats take its dtype."""
    if isinstance(other, np.ndarray):
        return values.astype(other.dtype) if values.dtype.kind == "f" else values
    torch: Any = find_module("torch")
    made = torch.from_numpy(values)
    return made.to(other.dtype) if made.is_floating_point() else made


def ways() -> list[Way]:
    """Return torch's loss, where there is torch, then ours in both semirings."""
    ours = [
        way
        for semiring in ("log", "max")
        for way in (
            Way("ctc_loss", semiring, _logits, _ctc(semiring)),
            Way("logZ", semiring, arc_weights, _scan(semiring)),
        )
    ]
    if find_module("torch") is None:
        return ours
    return [Way("torch", "log", _logits, _torch_ctc), *ours]


def _logits(logits: Any, _: Batch) -> Any:
    return logits


def arc_weights(logits: Any, batch: Batch) -> Any:
    """Return Ms (T, N, states, 3): the normalised score of every arc in every step."""
    return batch.lattice.arc_weights(logsum.log_softmax(logits, axis=-1))


def _ctc(semiring: str) -> Callable[[Any, Batch], Any]:
    def losses(logits: Any, batch: Batch) -> Any:
        return logsum.ctc_loss(
            logits,
            like(batch.targets, logits),
            like(batch.input_lengths, logits),
            like(batch.target_lengths, logits),
            blank=BLANK,
            reduction="none",
            from_logits=True,
            semiring=semiring,
        )

    return losses


def _scan(semiring: str) -> Callable[[Any, Batch], Any]:
    def losses(weights: Any, batch: Batch) -> Any:
        lattice = batch.lattice
        v0, vT = like(lattice.initial, weights), like(lattice.final, weights)
        return -logsum.logZ(weights, like(lattice.idx, weights), v0, vT, semiring)

    return losses


def _torch_ctc(logits: Any, batch: Batch) -> Any:
    functional: Any = find_module("torch.nn.functional")
    return functional.ctc_loss(
        logits.log_softmax(2),
        like(batch.targets, logits),
        like(batch.input_lengths, logits),
        like(batch.target_lengths, logits),
        blank=BLANK,
        reduction="none",
    )
