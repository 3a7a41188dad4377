"""CTC under the conformance suite: from log-probabilities and from logits, and the best path."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import ctc_oracle
import logsum
import tolerances
from conformance import Conformance, Kind, Sample, normal, torch

# Repeats, an empty target, and unused frames.
TARGETS = [[1, 1, 2], [0, 0, 0], [2, 1, 2]]
OPTIONS = {"targets": TARGETS, "inputs": [4, 2, 3], "lengths": [3, 0, 3]}


def counting(log_probs: Any, blank: int) -> Any:
    """Return two labels a sequence that are not the blank, of the library of (T, N, C)."""
    batch, classes = log_probs.shape[1:]
    if isinstance(log_probs, np.ndarray):
        labels = np.arange(2 * batch).reshape(batch, 2) % max(classes - 1, 1)
    else:
        labels = torch.arange(2 * batch).reshape(batch, 2) % (classes - 1)
    return labels + (labels >= blank)


def full(log_probs: Any, value: int) -> Any:
    """Return a value for every sequence."""
    if isinstance(log_probs, np.ndarray):
        return np.full(log_probs.shape[1], value)
    return torch.full((log_probs.shape[1],), value)


def frames(name: str, *shape: int, scale: float = 3.0, **options: Any) -> Sample:
    """Return normal log-probabilities of a shape (T, N, C)."""
    given = {"targets": None, "inputs": None, "lengths": None, "blank": 0, **options}
    return Sample(name, (normal(*shape, scale=scale),), given)


PLAIN = frames("plain", 3, 2, 3)
UNEVEN = frames("uneven", 4, 3, 3, **OPTIONS)
TOO_LONG = frames("too long", 3, 2, 3, targets=[[1, 1], [2, 0]], inputs=[2, 3], lengths=[2, 1])
LAST_BLANK = frames("last blank", 3, 2, 3, blank=2)


class Ctc(Conformance):
    """What all forms of the loss share."""

    accuracy = (tolerances.PATH_SUM,)
    gradient_tolerance = tolerances.PATH_SHARE
    wide = (0,)
    from_logits: ClassVar[bool] = False
    semiring: ClassVar[str] = "log"

    def call(self, log_probs: Any, targets: Any, inputs: Any, lengths: Any, blank: int) -> Any:
        return logsum.ctc_loss(
            log_probs,
            counting(log_probs, blank) if targets is None else targets,
            full(log_probs, log_probs.shape[0]) if inputs is None else inputs,
            full(log_probs, 2) if lengths is None else lengths,
            blank,
            "none",
            from_logits=self.from_logits,
            semiring=self.semiring,
        )

    def exactly(self, log_probs: Any, targets: Any, inputs: Any, lengths: Any, blank: int) -> Any:
        """Return the losses and their gradients."""
        if targets is None:
            targets, inputs, lengths = (
                counting(log_probs, blank),
                full(log_probs, len(log_probs)),
                full(log_probs, 2),
            )
        labels = [list(map(int, row[:n])) for row, n in zip(targets, lengths, strict=True)]
        return self.oracle(log_probs, labels, inputs, blank=blank)

    def oracle(self, *arguments: Any, blank: int) -> Any:
        return ctc_oracle.batch(*arguments, blank=blank, from_logits=self.from_logits)

    def reference(self, log_probs: Any, **options: Any) -> Any:
        return self.exactly(log_probs, **options)[0]

    def gradient(self, cotangents: Any, log_probs: Any, **options: Any) -> Any:
        incoming = ctc_oracle.exact(cotangents[0])
        return [self.exactly(log_probs, **options)[1] * incoming[None, :, None]]

    def samples(self) -> list[Sample]:
        return [PLAIN, UNEVEN, LAST_BLANK, TOO_LONG]

    def differentiables(self) -> list[Sample]:
        return [PLAIN, UNEVEN, LAST_BLANK]

    def empties(self) -> list[Sample]:
        return [
            frames("no sequence", 4, 0, 3),
            frames("no frame", 0, 2, 3, targets=[[], []], inputs=[0, 0], lengths=[0, 0]),
        ]


class TestCtcLoss(Ctc):
    name = "ctc_loss"
    # What is added to 1e38 is lost, in whatever order.
    open_gradients = ("one huge", "huge and -huge")

    def larges(self) -> list[Sample]:
        return [frames("large", 60, 37, 11), frames("few and long", 501, 2, 9)]

    def heavies(self) -> list[Sample]:
        targets = np.tile(np.arange(1, 20), (64, 5))
        given = {"targets": targets, "inputs": [500] * 64, "lengths": [95] * 64}
        return [frames("heavy", 500, 64, 20, **given)]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # include/logsum/ctc.hpp, for up to four threads.
        steps, _, classes = sample.arguments[0].shape
        longest = max(sample.options["lengths"])
        if derivative:
            return 4 * steps * ((2 * longest + 1) * 16 + 128 + 8 * classes) + (1 << 20)
        return 4 * ((2 * longest + 1) * 64 + 8 * classes) + (1 << 20)


class TestCtcLossFromLogits(TestCtcLoss):
    name = "ctc_loss from logits"
    from_logits = True


class TestMaxCtc(Ctc):
    name = "ctc_loss of max"
    semiring = "max"
    open_gradients = ("one huge", "huge and -huge")

    def oracle(self, log_probs: Any, labels: Any, inputs: Any, blank: int) -> Any:
        losses, gradients = np.empty(len(labels)), np.zeros(log_probs.shape)
        for n, (target, length) in enumerate(zip(labels, inputs, strict=True)):
            used = log_probs[:length, n]
            if not np.all(used < np.inf):
                losses[n] = gradients[:length, n] = np.nan
                continue
            score, path = ctc_oracle.aligned(used, target, blank)
            losses[n] = -score
            if path is not None:
                gradients[range(length), n, path] = -1
        return losses, ctc_oracle.exact(gradients)
