"""Losses that tell implementations apart: certain, hopeless, impossible, unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module
from logsum.tour._model import Cell, Context, Table
from logsum.tour.chapters._ctc_ways import tensor
from logsum.tour.chapters._lattice import BLANK, exact_losses

Array = NDArray[Any]
_NO_TORCH = Cell("-", "torch is not installed", "quiet")


@dataclass(frozen=True)
class Case:
    """One sequence: logits (T, C), of which the first `frames` count, and its target."""

    name: str
    logits: Array
    target: list[int]
    frames: int

    def exact(self) -> tuple[float, Array]:
        """Return the loss and the gradient of the logits."""
        read = self.logits[: self.frames, None]
        target = np.array([self.target], dtype=np.int64).reshape(1, -1)
        losses, gradient = exact_losses(read, target, np.array([len(self.target)]), "log")
        rest = np.zeros((len(self.logits) - self.frames, 1, self.logits.shape[1]))
        return float(losses[0]), np.concatenate([gradient, rest])[:, 0]


def cases(context: Context) -> Iterator[Case]:
    """Yield the cases, float32."""
    rng = context.rng()
    plain = rng.standard_normal((40, 1, 6)).astype(np.float32)[:, 0]
    yield Case("certain", np.array([[0, 17], [0, 17]], np.float32), [1], 2)
    yield Case("ordinary", plain, [1, 2, 2, 5], 40)
    wrong = plain.copy()
    wrong[:, 3] += 1e4
    yield Case("certain, and wrong", wrong, [1, 2, 2, 5], 40)
    zeros = plain.copy()
    zeros[:, 4] = -np.inf
    zeros[::3, 2] = -np.inf
    yield Case("zeros", zeros, [1, 2, 2, 5], 40)
    unread = plain.copy()
    unread[30:] = np.nan
    yield Case("NaN after the end", unread, [1, 2, 2, 5], 30)
    yield Case("target too long", plain[:4], [1, 2, 2, 5], 4)
    yield Case("no target", plain, [], 40)


def hard_table(context: Context) -> Table:
    """Return the table of losses and of gradients' errors."""
    rows: list[list[Cell | str]] = []
    for case in cases(context):
        loss, gradient = case.exact()
        rows.append(
            [
                case.name,
                f"{loss:.7g}",
                _cell(case, _ours, loss, gradient),
                _cell(case, _theirs, loss, gradient) if find_module("torch") else _NO_TORCH,
            ]
        )
    return Table(
        "CTC losses of float32 logits, and under each how far the gradient is off",
        ["sequence", "exact", "logsum", "torch"],
        rows,
        "certain: logits [[0, 17], [0, 17]], label 1; the loss is the probability of two blanks. "
        "ordinary: normal logits, target 1 2 2 5. certain, and wrong: the same and 10,000 for "
        "label 3, which is not in the target. zeros: -inf for label 4, and for label 2 in every "
        "third frame. NaN after the end: past input_lengths. target too long: five frames are "
        "the least, for the blank between equal labels. Errors are beside extended precision; "
        "✗ marks a NaN, a gradient off by 0.001, or a loss off by 1e-6 of itself.",
    )


def _cell(
    case: Case, way: Callable[[Case], tuple[float, Array | None]], loss: float, gradient: Array
) -> Cell:
    value, given = way(case)
    # float32 is right elsewhere; near zero, for two frames, double arithmetic promises 4T 2^-53.
    bad = not np.isclose(value, loss, rtol=1e-6, atol=2**-50)
    detail = "no gradients without torch"
    if given is not None:
        off = float(np.abs(given - gradient).max())
        detail = "gradient NaN" if np.isnan(off) else f"gradient {off:.0e}"
        bad = bad or not off < 1e-3
    return Cell(f"{'✗ ' if bad else ''}{value:.7g}", detail, "bad" if bad else "good")


def _arguments(case: Case) -> tuple[Any, Any, Any, Any]:
    logits = tensor(case.logits[:, None], np.float32)
    whole = [np.array([case.target], dtype=np.int64).reshape(1, -1)]
    whole += [np.array([length]) for length in (case.frames, len(case.target))]
    torch: Any = find_module("torch")
    target, frames, length = whole if torch is None else map(torch.from_numpy, whole)
    return logits, target, frames, length


def _with_gradient(losses: Any, logits: Any) -> tuple[float, Array | None]:
    torch: Any = find_module("torch")
    if torch is None:
        return float(losses[0]), None
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    return losses.item(), gradient[:, 0].numpy()


def _ours(case: Case) -> tuple[float, Array | None]:
    logits, target, frames, length = _arguments(case)
    losses = logsum.ctc_loss(
        logits, target, frames, length, blank=BLANK, reduction="none", from_logits=True
    )
    return _with_gradient(losses, logits)


def _theirs(case: Case) -> tuple[float, Array | None]:
    functional: Any = find_module("torch.nn.functional")
    logits, *rest = _arguments(case)
    losses = functional.ctc_loss(logits.log_softmax(2), *rest, blank=BLANK, reduction="none")
    return _with_gradient(losses, logits)
