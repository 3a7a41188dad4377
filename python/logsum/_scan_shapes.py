"""The operands of a scan: what their shapes must be, and what its checkpoints are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logsum._arguments import value_error
from logsum._integers import as_integer

Shape = Sequence[int]

_DECIDE, _KEEP_ALL = -1, 0  # as C++ has them


def check_scan(
    function: str, ms: Shape, ends: Mapping[str, Shape], lengths: Shape | None, num_states: int
) -> None:
    """Refuse shapes that do not fit; how many slots a frame must have is checked in C++.

    `ends` are the weights of first and last states, by their arguments' names.
    """
    if len(ms) not in (3, 4):
        raise value_error(function, "Ms", "shape (T, N, E) or (T, N, C, nz)", tuple(ms))
    wanted = (ms[1], num_states)
    for name, shape in ends.items():
        if tuple(shape) != wanted:
            raise value_error(function, name, f"shape (N, C) = {wanted}", tuple(shape))
    if lengths is not None and tuple(lengths) != (ms[1],):
        raise value_error(function, "lengths", f"shape (N,) = {(ms[1],)}", tuple(lengths))


def checkpoint_interval(function: str, checkpoint: Any) -> int:
    """None, False or an interval as C++ takes it."""
    if checkpoint is None:
        return _DECIDE
    if checkpoint is False:
        return _KEEP_ALL
    interval = as_integer(function, "checkpoint", checkpoint)
    if checkpoint is True or interval < 1:
        raise value_error(function, "checkpoint", "None, False or an int >= 1", checkpoint)
    return interval
