"""Integers as arguments: lengths, labels and indices, whatever holds them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logsum._arguments import type_error, type_name, value_error
from logsum._arrays import check_plain, readable

EXPECTED = "integers, in an array, a tensor or a list"


def as_integers(function: str, argument: str, value: Any) -> NDArray[np.int64]:
    """Integers in an array, a tensor on any device or nested lists, as an int64 array."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu().numpy()
    check_plain(function, argument, value)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        raise value_error(function, argument, EXPECTED, "a ragged list") from None
    if array.size == 0 and not isinstance(value, np.ndarray):
        return array.astype(np.int64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "iu":
        raise type_error(function, argument, EXPECTED, given(value, array))
    largest = np.iinfo(np.int64).max
    if array.dtype == np.uint64 and array.max(initial=0) > largest:
        raise value_error(function, argument, f"integers up to {largest}", array.max())
    return readable(array, np.dtype(np.int64))


def as_integer(function: str, argument: str, value: Any) -> int:
    """One Python int."""
    try:
        return operator.index(value)
    except TypeError:
        raise type_error(function, argument, "int", type_name(value)) from None


def given(value: Any, array: NDArray[Any]) -> str:
    """What came, for an error."""
    if isinstance(value, np.ndarray):
        return str(array.dtype)
    return type_name(value) if array.ndim == 0 else f"{type_name(value)} of {array.dtype}"
