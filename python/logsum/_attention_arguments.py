"""What the arguments of `attention` mean, whatever its arrays are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from logsum._arguments import type_error, type_name, value_error
from logsum._integers import as_integer

NAME = "attention"
CAUSAL = {False: 0, True: 1, "top-left": 1, "bottom-right": 2}
_UNBOUNDED = -1
_FARTHEST = (1 << 63) - 1  # what the C++ call's integers hold; no sequence is as long
# The C++ library reads a scale of 0 as the default one; this number times any score is 0 as well.
_NO_SCALE = 2.0**-1022
# Beyond, a cap or its reciprocal is no normal number in float32.
_LARGEST_CAP = 1e30


class Options(NamedTuple):
    """The options as numbers and text that any graph may carry, in the order of the C++ call."""

    causal: int
    window_left: int
    window_right: int
    scale: float
    softcap: float
    score: str
    score_names: str  # with spaces between


def read_options(
    causal: Any, window: Any, scale: Any, softcap: Any, score: Any, score_args: Any
) -> Options:
    """Refuse options that make no sense."""
    if not isinstance(causal, bool | str) or causal not in CAUSAL:
        raise value_error(NAME, "causal", 'False, True, "top-left" or "bottom-right"', repr(causal))
    left, right = _window(window)
    return Options(
        CAUSAL[causal],
        left,
        right,
        _scale(scale),
        _softcap(softcap),
        _score(score),
        _names(score, score_args),
    )


def _window(window: Any) -> tuple[int, int]:
    if window is None:
        return _UNBOUNDED, _UNBOUNDED
    expected = "a pair (left, right) of int, -1 for no bound"
    if not isinstance(window, tuple | list):
        raise type_error(NAME, "window", expected, type_name(window))
    if len(window) != 2:
        raise value_error(NAME, "window", expected, tuple(window))
    left, right = (as_integer(NAME, "window", side) for side in window)
    if min(left, right) < _UNBOUNDED:
        raise value_error(NAME, "window", expected, (left, right))
    return min(left, _FARTHEST), min(right, _FARTHEST)


def _real(argument: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        # NumPy's and torch's scalars of one number are welcome, text is not.
        if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
            raise type_error(NAME, argument, "a number", type_name(value))
        try:
            value = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise type_error(NAME, argument, "a number", type_name(value)) from None
    try:
        return float(value)
    except OverflowError:
        raise value_error(NAME, argument, "a number that a double can be", "an int") from None


def _scale(scale: Any) -> float:
    if scale is None:
        return 0.0
    number = _real("scale", scale)
    if not -math.inf < number < math.inf:  # what torch.compile traces of a scale made from sizes
        raise value_error(NAME, "scale", "a finite number, or None for 1/sqrt(D)", number)
    return number if number else _NO_SCALE


def _softcap(softcap: Any) -> float:
    if softcap is None:
        return 0.0
    number = _real("softcap", softcap)
    if not 1 / _LARGEST_CAP <= number <= _LARGEST_CAP:
        expected = f"a number from {1 / _LARGEST_CAP:g} to {_LARGEST_CAP:g}, or None"
        raise value_error(NAME, "softcap", expected, number)
    return number


def _score(score: Any) -> str:
    if score is None:
        return ""
    if not isinstance(score, str):
        raise type_error(NAME, "score", "str, a formula in s", type_name(score))
    if not score.strip():
        raise value_error(NAME, "score", "a formula in s, or None", repr(score))
    return score


def _names(score: Any, score_args: Any) -> str:
    if score_args is None:
        return ""
    if not isinstance(score_args, Mapping):
        expected = "a dict of arrays by their names in the formula"
        raise type_error(NAME, "score_args", expected, type_name(score_args))
    if score is None:
        raise value_error(NAME, "score_args", "a score that names them", "no score")
    for name in score_args:
        if not isinstance(name, str):
            raise type_error(NAME, "score_args", "names that are str", type_name(name))
        if not (name.isidentifier() and name.isascii()):
            expected = "names of letters, digits and underscores"
            raise value_error(NAME, "score_args", expected, repr(name))
    return " ".join(score_args)


def check_shapes(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> None:
    """Refuse queries, keys and values that do not fit together."""
    letters = {"q": "(B, Hq, M, D)", "k": "(B, Hkv, N, D)", "v": "(B, Hkv, N, Dv)"}
    for name, shape in (("q", q), ("k", k), ("v", v)):
        if len(shape) != 4:
            raise value_error(NAME, name, f"shape {letters[name]}", tuple(shape))
    if k[0] != q[0] or k[3] != q[3]:
        expected = f"shape (B, Hkv, N, D) with B = {q[0]} and D = {q[3]} as q has"
        raise value_error(NAME, "k", expected, tuple(k))
    if v[0] != k[0] or v[1] != k[1] or v[2] != k[2]:
        expected = f"shape (B, Hkv, N, Dv) with {tuple(k[:3])} as k has"
        raise value_error(NAME, "v", expected, tuple(v))
    if q[1] % k[1] if k[1] else q[1]:
        raise value_error(NAME, "q", f"a multiple of k's {k[1]} heads", f"{q[1]} heads")
