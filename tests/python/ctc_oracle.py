"""References for CTC at 50 digits, and over all alignments one by one.

In the numbers of scan_oracle.py, but a frame with an entry of +inf or NaN makes its sequence NaN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scan_oracle import NOTHING, ONE, ZERO_WEIGHT, Doubles, Exact, Number, _mp, number

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """The loss of one sequence and its gradient (T, C)."""

    loss: Any
    gradient: list[list[Any]]


def exact(values: npt.ArrayLike) -> Exact:
    """Return the same numbers at 50 digits."""
    array = np.asarray(values, dtype=np.float64)
    numbers = np.empty(array.shape, dtype=object)
    numbers.ravel()[:] = [_mp.mpf(x) for x in array.ravel().tolist()]
    return numbers


def spread(target: Sequence[int], blank: int) -> list[int]:
    """Return a target with blanks around every label."""
    return [blank, *itertools.chain.from_iterable((label, blank) for label in target)]


def _enters(states: Sequence[int], s: int, blank: int) -> list[int]:
    """The states from which one may come to s."""
    found = [s] if s == 0 else [s, s - 1]
    if s > 1 and states[s] != blank and states[s] != states[s - 2]:
        found.append(s - 2)
    return found


def _emissions(frames: Doubles, from_logits: bool) -> tuple[list[list[Number]], list[list[Any]]]:
    """The probabilities of every class in every frame, and with from_logits what softmax adds."""
    rows = [[number(x) for x in row] for row in frames.tolist()]
    if not from_logits:
        return rows, [[_mp.mpf(0)] * frames.shape[1] for _ in rows]
    masses = [sum(row, start=NOTHING) for row in rows]
    shares = [[x.share_of(m) for x in row] for row, m in zip(rows, masses, strict=True)]
    return [[Number(p) for p in row] for row in shares], shares


def sequence(
    frames: Doubles, target: Sequence[int], blank: int = 0, from_logits: bool = False
) -> Result:
    """Return the loss and the gradient of one sequence of frames (T, C), all of them used."""
    steps, classes = frames.shape
    nothing = [[_mp.mpf(0)] * classes for _ in range(steps)]
    if not np.all(frames < np.inf):  # NaN too
        return Result(_mp.nan, [[_mp.nan] * classes for _ in range(steps)])
    states = spread(target, blank)
    emissions, added = _emissions(frames, from_logits)
    alpha, beta = _walk(states, emissions, blank)
    total = _total(alpha, beta, emissions, len(states))
    if total.size == 0:
        return Result(_mp.inf, nothing)
    gradient = [list(row) for row in added]
    for t, s in itertools.product(range(steps), range(len(states))):
        gradient[t][states[s]] -= (alpha[t][s] * beta[t][s]).share_of(total)
    return Result(-total.log, gradient)


def _walk(
    states: Sequence[int], emissions: Sequence[Sequence[Number]], blank: int
) -> tuple[list[list[Number]], list[list[Number]]]:
    """Forward sums with a frame's own emission, and backward sums without it."""
    count, steps = len(states), len(emissions)
    alpha: list[list[Number]] = []
    for t, row in enumerate(emissions):
        into = [
            sum((alpha[t - 1][r] for r in _enters(states, s, blank)), start=NOTHING)
            if t
            else (ONE if s < 2 else NOTHING)
            for s in range(count)
        ]
        alpha.append([into[s] * row[states[s]] for s in range(count)])
    beta = [[NOTHING] * count for _ in range(steps)]
    for t in reversed(range(steps)):
        for s in range(count):
            if t == steps - 1:
                beta[t][s] = ONE if s >= count - 2 else NOTHING
                continue
            for r in range(s, min(s + 3, count)):
                if s in _enters(states, r, blank):
                    beta[t][s] += emissions[t + 1][states[r]] * beta[t + 1][r]
    return alpha, beta


def _total(
    alpha: list[list[Number]],
    beta: list[list[Number]],
    emissions: Sequence[Sequence[Number]],
    count: int,
) -> Number:
    if not emissions:
        return ONE if count == 1 else NOTHING
    pairs = zip(alpha[-1], beta[-1], strict=True)
    return sum((a * b for a, b in pairs), start=NOTHING)


def batch(
    log_probs: Doubles,
    targets: Sequence[Sequence[int]],
    input_lengths: Sequence[int],
    **options: Any,
) -> tuple[Exact, Exact]:
    """Return the losses (N,) and each one's gradient (T, N, C)."""
    losses = np.empty(log_probs.shape[1], dtype=object)
    gradients = np.full(log_probs.shape, _mp.mpf(0), dtype=object)
    for n, (target, length) in enumerate(zip(targets, input_lengths, strict=True)):
        found = sequence(log_probs[:length, n], target, **options)
        losses[n] = found.loss
        for t, row in enumerate(found.gradient):
            gradients[t, n] = row
    return losses, gradients


# ---- alignment by alignment ------------------------------------------------------------------


def collapsed(labels: Sequence[int], blank: int) -> Labels:
    """Return labels with repeats merged and blanks dropped."""
    return tuple(k for k, _ in itertools.groupby(labels) if k != blank)


def alignments(steps: int, classes: int, target: Sequence[int], blank: int = 0) -> Iterator[Labels]:
    """Give every sequence of labels that says the target."""
    for labels in itertools.product(range(classes), repeat=steps):
        if collapsed(labels, blank) == tuple(target):
            yield labels


def score(frames: npt.NDArray[Any], labels: Sequence[int]) -> float:
    """Return the sum of an alignment's log-probabilities, -inf for one with a zero."""
    steps = [float(frames[t, k]) for t, k in enumerate(labels)]
    return -math.inf if min(steps, default=0) <= ZERO_WEIGHT else math.fsum(steps)


def by_enumeration(frames: Doubles, target: Sequence[int], blank: int = 0) -> Result:
    """Return the loss and gradient of finite or -inf frames over all alignments."""
    steps, classes = frames.shape
    every = {a: score(frames, a) for a in alignments(steps, classes, target, blank)}
    gradient = np.zeros(frames.shape)
    top = max(every.values(), default=-np.inf)
    if top == -np.inf:
        return Result(np.inf, gradient.tolist())
    total = math.fsum(math.exp(x - top) for x in every.values())
    for labels, x in every.items():
        gradient[range(steps), labels] -= math.exp(x - top) / total
    return Result(-top - math.log(total), gradient.tolist())


def aligned(frames: Doubles, target: Sequence[int], blank: int = 0) -> tuple[float, Labels | None]:
    """Return the score and labels of the best alignment.

    Of equal ones the lowest last state, then going back one that stays, else steps, else skips.
    """

    def rank(walk: tuple[int, ...]) -> Any:
        return walk[-1:], [-s for s in walk[-2::-1]]

    steps = len(frames)
    states = spread(target, blank)
    found: tuple[float, tuple[int, ...]] | None = None
    for walk in itertools.product(range(len(states)), repeat=steps):
        if walk and (walk[0] > 1 or walk[-1] < len(states) - 2):
            continue
        if any(a not in _enters(states, b, blank) for a, b in itertools.pairwise(walk)):
            continue
        x = score(frames, [states[s] for s in walk])
        if found is None or x > found[0] or (x == found[0] and rank(walk) < rank(found[1])):
            found = x, walk
    if found is None or found[0] == -np.inf:
        return -np.inf, None
    return found[0], tuple(states[s] for s in found[1])


def decoded(frames: Doubles, blank: int = 0) -> dict[Labels, float]:
    """Return the log-probability of every label sequence that the frames can say."""
    steps, classes = frames.shape
    masses: dict[Labels, list[float]] = {}
    for labels in itertools.product(range(classes), repeat=steps):
        masses.setdefault(collapsed(labels, blank), []).append(score(frames, labels))
    return {k: float(np.logaddexp.reduce(x)) for k, x in masses.items()}
