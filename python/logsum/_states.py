"""The states that `merge` takes: what they are called in errors, and what they must share."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from logsum._arguments import type_error, type_name, value_error


def lse_name(k: int) -> str:
    """What the lse of a state is called."""
    return f"states[{k}] lse"


def out_name(k: int) -> str:
    """What the out of a state is called."""
    return f"states[{k}] out"


def split(function: str, states: Sequence[Any]) -> tuple[list[Any], list[Any] | None]:
    """The lse of each state, and the out of each if the states are pairs (out, lse)."""
    if not states:
        raise value_error(function, "states", "at least one", "none")
    are_pairs = [isinstance(state, tuple | list) for state in states]
    if not any(are_pairs):
        return list(states), None
    for k, (state, is_pair) in enumerate(zip(states, are_pairs, strict=True)):
        if not is_pair or len(state) != 2:
            given = f"{len(state)} items" if is_pair else type_name(state)
            raise value_error(function, f"states[{k}]", "a pair (out, lse), like others", given)
    return [lse for _, lse in states], [out for out, _ in states]


def check_alike(function: str, name: Callable[[int], str], parts: Sequence[Any]) -> None:
    """Refuse parts that differ in dtype, shape or device from the first."""
    for k, part in enumerate(parts[1:], start=1):
        first = parts[0]
        if part.dtype != first.dtype:
            raise type_error(function, name(k), f"{name(0)}'s dtype {first.dtype}", part.dtype)
        if part.shape != first.shape:
            expected = f"{name(0)}'s shape {tuple(first.shape)}"
            raise value_error(function, name(k), expected, tuple(part.shape))
        if getattr(part, "device", None) != getattr(first, "device", None):
            raise value_error(function, name(k), f"{name(0)}'s device {first.device}", part.device)


def check_pair(lse: Any, out: Any, wide: str, half: Container[Any]) -> None:
    """Refuse an out that does not belong to its lse.

    The dtypes agree, except that the lse of a half type `out` may be (and is, from this library)
    float32, `wide` here.
    """
    if tuple(out.shape[:-1]) != tuple(lse.shape) or len(out.shape) != len(lse.shape) + 1:
        expected = f"shape {tuple(lse.shape)} + (D,)"
        raise value_error("merge", out_name(0), expected, tuple(out.shape))
    if out.dtype != lse.dtype and not (out.dtype in half and str(lse.dtype) == wide):
        raise type_error("merge", out_name(0), f"{lse_name(0)}'s dtype {lse.dtype}", out.dtype)
