"""What the arguments of a call mean, whatever its arrays are: axes, synonyms, and error texts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

MAX_AXES = 8


def error_text(function: str, argument: str, expected: str, given: object) -> str:
    """Every error's text: function, argument, what was expected, what came."""
    return f"{function}: {argument}: expected {expected}, got {given}"


def value_error(function: str, argument: str, expected: str, given: object) -> ValueError:
    """A ValueError in the one form."""
    return ValueError(error_text(function, argument, expected, given))


def type_error(function: str, argument: str, expected: str, given: object) -> TypeError:
    """A TypeError in the one form."""
    return TypeError(error_text(function, argument, expected, given))


def type_name(value: object) -> str:
    """The type of a value, as an error names it: numpy.ndarray, int."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def synonym(function: str, name: str, value: Any, default: Any, other_name: str, other: Any) -> Any:
    """The value of an argument that goes by two names, the second None unless given."""
    if other is None:
        return value
    if value is not default and value != default and value != other:
        raise value_error(
            function,
            other_name,
            f"{name} or {other_name}, not both",
            f"{name}={value!r} and {other_name}={other!r}",
        )
    return other


def check_ndim(function: str, argument: str, ndim: int) -> None:
    """Refuse arrays of more axes than the C++ library's views have."""
    if ndim > MAX_AXES:
        raise value_error(function, argument, f"at most {MAX_AXES} axes", ndim)


def one_axis(function: str, axis: Any, ndim: int) -> int:
    """An axis counted from the back, so that batch axes put in front leave it right."""
    try:
        index = axis if type(axis) is int else operator.index(axis)
    except TypeError:
        raise type_error(function, "axis", "int", type_name(axis)) from None
    if not -ndim <= index < ndim:
        expected = f"{-ndim} <= axis < {ndim}" if ndim else "an array with at least one axis"
        raise value_error(function, "axis", expected, index if ndim else "one with none")
    return index if index < 0 else index - ndim


def several_axes(function: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """An int, a sequence of int or None (all axes), as distinct axes counted from the back."""
    if axis is None:
        return tuple(range(-ndim, 0))
    if type(axis) is not int and isinstance(axis, Sequence) and not isinstance(axis, str):
        axes = tuple(one_axis(function, item, ndim) for item in axis)
        if len(set(axes)) != len(axes):
            raise value_error(function, "axis", "each axis at most once", axis)
        return axes
    return (one_axis(function, axis, ndim),)


def reduced_shape(shape: Sequence[int], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape that a reduction over `axes` (counted from the back) leaves."""
    ndim = len(shape)
    if keepdims:
        return tuple(1 if i - ndim in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i - ndim not in axes)
