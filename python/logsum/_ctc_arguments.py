"""What people pass for sequences and their targets, in the one form that C++ reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logsum._arguments import value_error
from logsum._integers import as_integer

REDUCTIONS = ("none", "sum", "mean")


def check_reduction(function: str, reduction: Any) -> None:
    """Refuse what is not the name of a reduction."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise value_error(function, "reduction", '"none", "sum" or "mean"', repr(reduction))


def check_frames(function: str, shape: Sequence[int], *, unbatched: bool) -> None:
    """Refuse what is not frames of sequences; their number of classes is checked in C++."""
    if len(shape) == 3 or (unbatched and len(shape) == 2):
        return
    expected = "shape (T, N, C)" + " or (T, C)" * unbatched
    raise value_error(function, "log_probs", expected, tuple(shape))


def fit_lengths(function: str, argument: str, lengths: Any, batch: int, *, single: bool) -> Any:
    """One length a sequence; of a `single` sequence without a batch axis also a number."""
    if single and lengths.ndim == 0:
        lengths = lengths.reshape(1)
    if tuple(lengths.shape) != (batch,):
        raise value_error(function, argument, f"shape (N,) = {(batch,)}", tuple(lengths.shape))
    return lengths


def fit_targets(function: str, targets: Any, batch: int, *, single: bool) -> Any:
    """Padded targets (N, S), or concatenated ones; of a `single` sequence (S,), given its axis."""
    if single:
        if targets.ndim != 1:
            raise value_error(function, "targets", "shape (S,) beside (T, C)", tuple(targets.shape))
        return targets[None]
    if targets.ndim == 1 or (targets.ndim == 2 and targets.shape[0] == batch):
        return targets
    expected = f"shape (N, S) with N = {batch}, or (sum of target_lengths,)"
    raise value_error(function, "targets", expected, tuple(targets.shape))


def as_beam(function: str, beam: Any) -> int:
    """The number of prefixes kept, 0 for none."""
    if beam is None:
        return 0
    width = as_integer(function, "beam", beam)
    if width < 1:
        raise value_error(function, "beam", "None or an int >= 1", width)
    return width
